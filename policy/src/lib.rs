//! Identifies the client of a query, finds its rules, and decides about the name.
//!
//! ```text
//! documents                       lists                      a query
//!   household ── compile ──┐        artefact ── open ──┐       address, MAC
//!                          v                           v          |
//!                        rules ──> directory        blocklist     v
//!                                     |                |       identify
//!                                     └─ effective ────┼──────────┤
//!                                          policy      └─ classify ─> decide ─> verdict
//! ```
//!
//! - [`name`], [`category`], [`text`], [`unix_seconds`]: the values.
//! - [`lists`]: the list engine. Mandates belong to it.
//! - [`rules`]: the rules engine. [`identity`]: the directory of all households.
//! - [`decide`]: the order of the layers. [`verdict`]: what a decision results in.
//!
//! No sockets, no async, no clock; the only disk access is in [`lists::artefact`]. A decision cannot
//! fail, wait or allocate. This crate knows nothing of DNS messages, HTTP or feed formats.

pub mod category;
pub mod decide;
pub(crate) mod effective_policy;
pub mod explain;
pub mod identity;
pub mod lists;
pub mod name;
pub mod rules;
#[cfg(feature = "schema")]
pub mod schema;
pub mod text;
pub mod unix_seconds;
pub mod verdict;
