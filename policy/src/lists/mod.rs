//! The list engine: classifies a name by the feeds, services and mandates in force.
//!
//! - `entry`: what a feed says of one name. `index_key`: the keys of names, addresses and paths.
//! - `artefact`, `builder`, `delta`: the files, read and written. `feed_summary`: a feed in a header.
//! - `blocklist`: one generation in memory (an artefact behind an `overlay` of deltas) with
//!   `services` and `mandates`; classifies names into a `classification`.
//! - `mandate_registry`, `current`: the mandates of a node; the lists that queries use now.
//! - `public_suffix`: names that no subtree entry may cover.

pub mod artefact;
pub mod blocklist;
pub mod builder;
pub(crate) mod classification;
pub mod current;
pub mod delta;
pub mod entry;
pub(crate) mod feed_summary;
pub mod index_key;
pub mod mandate_basis;
pub mod mandate_registry;
pub mod mandates;
pub(crate) mod overlay;
pub mod public_suffix;
pub mod services;
