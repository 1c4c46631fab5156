//! Who is asking, what are their rules, what is the verdict.
//!
//! ```text
//! documents                       lists                      a query
//!   household ── compile ──┐        artefact ── open ──┐       address, MAC
//!                          v                           v          |
//!                        rules ──> directory        blocklist     v
//!                                     |                |       identify
//!                                     └── EffectivePolicy ───────┼──────────┤
//!                                                      └─ classify ─> decide ─> verdict
//! ```
//!
//! What is ordered beside the lists hangs on them ([`mandates`], and [`register`] for all that are
//! in force at some time).
//!
//! No sockets, no async, no clock; the only disk is in [`artefact`]. Deciding cannot fail, wait or
//! allocate. This crate knows nothing of DNS messages, HTTP or feed formats.

pub mod category;
pub mod decide;
pub(crate) mod effective_policy;
pub mod explain;
pub mod identity;
pub mod lists;
pub mod name;
pub mod rules;
pub mod text;
pub mod unix_seconds;
pub mod verdict;
