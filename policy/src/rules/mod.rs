//! The rules engine: a household's document, and what it compiles to for each of its devices.

pub mod compiled;
pub mod custom_names;
pub mod household;
pub mod relaxations;
pub mod schedule;
pub mod special;
pub mod timeline;
