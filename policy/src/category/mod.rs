//! Categories: the subjects that a name can be listed for.
//!
//! - `set`: category ids and sets of them, one bit each.
//! - `taxonomy`: the document that defines categories and presets.

pub(crate) mod set;
mod taxonomy;

pub use self::{
    set::{CATEGORIES_MAX, CategoryId, CategorySet},
    taxonomy::{Category, Preset, Taxonomy, TaxonomyError},
};
