//! The rules engine: a household's document, and the rules that it compiles to for each device.
//!
//! - `household`, `schedule`, `thing`: the document. `holdings`: how much it may hold. `relaxations`: what a
//!   change of it permits.
//! - `compiled`: the document compiled into one flat record, with `timeline` for what changes by the
//!   clock, `custom_names` for lists, and `flags` for all that is not about categories.
//! - `operator`: the operator's defaults.
//! - `builtin_names`: the names of `safe_search` and of `bypass` prevention.

pub mod builtin_names;
pub mod bypass;
pub mod compiled;
pub mod custom_names;
pub(crate) mod effective_rules;
pub mod flags;
pub mod holdings;
pub mod household;
pub mod name_source;
pub mod operator;
pub mod relaxations;
pub mod safe_search;
pub mod schedule;
pub mod thing;
pub mod timeline;
