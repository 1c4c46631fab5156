//! Who is asking, what are their rules, what is the verdict.
//!
//! ```text
//! documents                       lists                      a query
//!   household ── compile ──┐        artefact ── open ──┐       address, MAC
//!                          v                           v          |
//!                        rules ──> directory        blocklist     v
//!                                     |                |       identify
//!                                     └── Asker ───────┼──────────┤
//!                                                      └─ classify ─> decide ─> verdict
//! ```
//!
//! No sockets, no async, no clock; the only disk is in [`artefact`]. Deciding cannot fail, wait or allocate.
//! This crate knows nothing of DNS messages, HTTP or feed formats.

pub mod artefact;
pub mod blocklist;
pub mod builder;
pub mod category;
mod cell;
mod classification;
pub mod decide;
pub mod delta;
pub mod directory;
pub mod explain;
pub mod household;
mod index;
pub mod key;
pub mod listing;
pub mod live;
pub mod moment;
pub mod name;
mod network;
mod overlay;
pub mod own;
pub mod rules;
pub mod schedule;
pub mod special;
pub mod timeline;
