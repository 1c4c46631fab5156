//! The gates: checks that a version of a feed must pass before its entries judge queries. A gate
//! refuses a version that differs too much from the last good one, or that would block a name that
//! must never be blocked.
//!
//! The word is "gate" in the API, in metrics and in the documentation; a failed check is a
//! [`Refusal`]. Transport errors are reported by the fetchers and syntax errors by the parsers,
//! under gates of their own. An operator can approve a version that failed a plausibility gate, but
//! never damaged content.

mod checks;
mod name_guard;
mod refusal;

pub use checks::own_names;
pub(crate) use checks::{by_numbers, by_own_names, by_size};
pub(crate) use name_guard::NameGuard;
pub use refusal::{Gate, Refusal};

#[cfg(test)]
mod tests;
