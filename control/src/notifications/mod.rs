//! Notices to account holders: their text, and their delivery.

pub mod delivery;
pub mod settings;
pub mod text;
