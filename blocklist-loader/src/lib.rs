//! Feeds in, one verified artefact out. The only crate that knows what list files look like.
//!
//! ```text
//! fetch -> spool
//!            |
//! feed -> source -> parse -> rows -> reading -> build -> generations
//!                                                ^
//!                              watch ------------'  says when to look again
//! ```
//!
//! - [`feed`]: one `[[feeds]]` table of the configuration, and what can be wrong with it.
//! - [`fetch`]: gets what providers publish, verifies how it came, and puts it into the feed's
//!   spool.
//! - `spool`: what was fetched last, on disk, replaced or changed in one step.
//! - `source`: which files a feed is, whether they changed, their lines.
//! - `unpack`: compressed files and archives.
//! - `parse`: one file a format; a row in, claims out.
//! - `rows`: what parsers say goes through here: canonical names, the public-suffix guard, counts,
//!   complaints.
//! - `reading`: one feed from end to end, and the reasons to refuse it.
//! - [`mod@build`]: all feeds into the next generation, or the reason why not.
//! - [`verdict`]: what became of content that did not become live.
//! - [`gate`]: whether a version makes sense; [`review`]: what an operator judges a refused one by.
//! - [`changes`]: changed rows into the next generation, without a build; [`rollback`]: the way back.
//! - [`generations`]: the artefacts in their folder.
//! - [`share`]: one node builds, the others fetch what it built.
//! - [`watch`]: notices that a source may have changed.
pub mod build;
pub mod changes;
pub mod diff;
pub mod feed;
pub mod fetch;
pub mod gate;
pub mod generations;
pub mod last_check;
mod parse;
mod read_feed;
pub mod review;
pub mod rollback;
mod rows;
pub mod share;
mod source;
mod spool;
#[cfg(test)]
mod testing;
mod unpack;
pub mod watch;

pub use build::{
    BuildError, BuildOutcome, Built, Need, Plan, RefusedFeed, build, needs_building, waiting,
};
pub use feed::{
    Bounds, Feed, FeedError, FeedFault, Format, Matching, OutOfBounds, Secret, Tsig, TsigAlgorithm,
};
pub use fetch::{FetchError, Fetched, Fetcher, NotPublic, PublicOnly, RowChange, is_public};
pub use gate::{Gate, Refusal};
pub use generations::{Artefact, ArtefactKind, OpenError, newest, prune, prune_around};
pub use watch::Watcher;
