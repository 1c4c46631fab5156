//! The list engine: what lists say about a name. A generation is a mapped artefact with overlays in
//! front of it; mandates, overrides and services hang on it.

pub mod artefact;
pub mod blocklist;
pub mod builder;
pub(crate) mod classification;
pub mod current;
pub mod delta;
pub mod entry;
pub mod index_key;
pub mod mandate_registry;
pub mod mandates;
pub(crate) mod overlay;
pub mod public_suffix;
pub mod services;
