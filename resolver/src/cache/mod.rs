//! The answer cache: what the Internet said, shared by all households. It holds no decision, and no
//! household is part of a key.
//!
//! ```text
//! local    one worker's cache  ──>  shared    all workers' cache, bounded in octets
//!                                      │ key ──> entry: wire answer, TTL offsets, chain
//!                                      │            └─ classified: what the lists say of it
//! encode   from a resolver's answer to an entry
//! ```
//!
//! The first query after a list swap classifies an entry anew. A name that is blocked for each
//! client that asks is never resolved; it has a placeholder entry, so that its classification is
//! remembered, too.

pub(crate) mod classified;
pub(crate) mod encode;
mod entry;
mod key;
mod local;
mod shared;

pub use self::{
    entry::AnswerEntry,
    key::{QuestionKey, QuestionKeyRef},
    local::LocalCache,
    shared::AnswerCache,
};

#[cfg(test)]
mod tests;
