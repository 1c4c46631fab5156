//! Turns feeds into one verified artefact. No other crate knows the formats of list files.
//!
//! ```text
//! fetch -> spool
//!            |
//! feed -> source -> parse -> rows -> read_feed -> build -> generations
//!                                                  ^
//!                                watch ------------'  triggers a build when a local source changes
//! ```
//!
//! - [`feed`]: one `[[feeds]]` table of the configuration and its validation.
//! - [`fetch`]: downloads what providers publish, verifies the transport, and stores the content in
//!   the feed's spool.
//! - `spool`: the content of the last fetch on disk; replaced or appended atomically.
//! - `source`: the files of a feed, their fingerprint, their lines.
//! - `unpack`: compressed files and archives.
//! - `parse`: one file per format; a row in, entries out.
//! - `rows`: validates what parsers return: canonical names, the public-suffix guard, counts,
//!   complaints.
//! - `read_feed`: reads one feed from end to end.
//! - [`mod@build`]: builds the next generation from all feeds.
//! - [`last_check`]: the stored result of content that was read and is not live.
//! - [`gate`]: the checks that a version must pass; [`review`]: what a refused version would
//!   change.
//! - [`changes`]: turns changed rows into the next generation without a build.
//! - [`rollback`]: makes earlier content live again; [`mod@diff`]: compares two generations.
//! - [`generations`]: the artefacts in their folder.
//! - [`share`]: one node builds, the others fetch its artefacts.
//! - [`watch`]: detects that a local source may have changed.
pub mod build;
pub mod changes;
mod confined;
pub mod diff;
mod digest;
pub mod feed;
pub mod fetch;
pub mod gate;
pub mod generations;
pub mod last_check;
mod parse;
mod plan;
mod read_feed;
pub mod review;
pub mod rollback;
mod row_change;
mod rows;
pub mod share;
mod source;
mod spool;
#[cfg(test)]
mod testing;
mod unpack;
pub mod watch;

pub use build::{
    BuildError, BuildNeed, BuildOutcome, Built, RefusedFeed, build, needs_building, waiting,
};
pub use feed::{
    Bounds, Feed, FeedError, FeedFault, Format, Matching, OutOfBounds, Secret, Tsig, TsigAlgorithm,
};
pub use fetch::{FetchError, Fetched, Fetcher, NotPublic, PublicOnly, is_public};
pub use gate::{Gate, Refusal};
pub use generations::{Artefact, ArtefactKind, OpenError, newest, prune, prune_around};
pub use plan::Plan;
pub use row_change::RowChange;
pub use watch::Watcher;
