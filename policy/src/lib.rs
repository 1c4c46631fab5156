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
//! What is ordered beside the lists hangs on them ([`mandates`], and [`register`] for all that are
//! in force at some time).
//!
//! No sockets, no async, no clock; the only disk is in [`artefact`]. Deciding cannot fail, wait or
//! allocate. This crate knows nothing of DNS messages, HTTP or feed formats.

pub mod artefact;
pub mod blocklist;
pub mod builder;
pub mod bundles;
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
pub mod loosened;
pub mod mandates;
pub mod moment;
pub mod name;
mod network;
mod overlay;
pub mod own;
pub mod register;
pub mod rules;
pub mod schedule;
pub mod special;
pub mod suffix;
pub mod text;
pub mod timeline;
