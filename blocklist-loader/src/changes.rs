//! The quick way: rows that a provider changed become the next generation, without reading the rest
//! of any feed.
//!
//! ```text
//! rows ── the same parsers and the same guard ──> what the feed says of each name now ── gates ──> delta
//! ```
//!
//! What other feeds say of these names stays. Nothing here touches what is in use or writes a file:
//! the caller writes the delta, and lays it over the lists.

mod answers;
pub(crate) mod delta_builder;

use std::{io, path::Path};

use policy::lists::{
    artefact::{ArtefactError, FeedReport, FeedSummary, Header},
    blocklist::Blocklist,
    delta::Delta,
};

use self::delta_builder::DeltaBuilder;
use crate::{
    build::Plan,
    feed::Feed,
    fetch::RowChange,
    gate::{Gate, Refusal, by_own_names, by_size, own_names},
    source,
};

/// Above this share of bad rows, in percent, what changed is not in the feed's format.
const BAD_PERCENT_MAX: u64 = 20;
/// Below this many the share says nothing.
const BAD_ROWS_MIN: u64 = 5;

/// Why rows did not become a generation.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// The lists do not have the version that the rows continue, or hold the feed back: it has to
    /// be read as a whole.
    #[error("the rows do not continue what is live")]
    NotContinued,
    /// A gate stopped them.
    #[error("{0}")]
    Stopped(#[source] Refusal, Box<Proposal>),
    /// They do not fit the format.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
    /// The rest of the feed's rows, which they are about as well, cannot be read.
    #[error("reading the spool")]
    Spool(#[from] io::Error),
}

/// A generation that nobody has written or installed yet.
#[derive(Debug)]
pub struct Proposal {
    /// What it changes.
    pub delta: Delta,
    /// The names that it would block, and those that it would no longer block, as [`crate::review`]
    /// keeps them.
    pub changes: Vec<crate::review::NameChange>,
    /// Entries of the feed then.
    pub entries: u64,
}

/// What is to be applied.
#[derive(Debug, Clone, Copy)]
pub struct ChangedRows<'c> {
    /// The feed.
    pub feed: &'c Feed,
    /// The version that the rows continue.
    pub from: &'c str,
    /// The version that they lead to.
    pub version: &'c str,
    /// The rows, in order.
    pub rows: &'c [RowChange],
}

/// Makes the next generation of changed rows.
///
/// # Errors
/// See [`ChangeError`].
pub fn propose(
    plan: &Plan,
    lists: &Blocklist,
    changed: ChangedRows<'_>,
    (generation, path): (u64, &Path),
    now: jiff::Timestamp,
) -> Result<Proposal, DeltaError> {
    let feed = changed.feed;
    let (place, summary) = live_summary(lists, feed).ok_or(DeltaError::NotContinued)?;
    if summary.version != changed.from || summary.held {
        return Err(DeltaError::NotContinued);
    }
    let own = own_names(&plan.own_names);
    let mut builder = DeltaBuilder::new(lists, place);
    let read = builder.read(feed, &plan.directory, changed.rows)?;
    let denied = builder.guard_own_names(feed, &own);
    builder.count_paths();
    let mut finished = builder.finish(now);
    let has = read.applied_to(&summary.report, &finished);
    let stop = by_rows(read.bad, changed.rows.len() as u64)
        .and_then(|()| by_emptiness(feed, &has))
        .and_then(|()| {
            by_size(
                feed,
                summary.report.entries + summary.report.paths,
                has.entries + has.paths,
            )
        })
        .and_then(|()| builder.guard(feed, &own).check())
        .and_then(|()| by_suffixes(feed, &summary.report, &has))
        .and_then(|()| by_own_names(Some(&summary.report), &denied));
    let entries = has.entries;
    let mut feeds = lists.header().feeds.clone();
    feeds[usize::from(place)] = FeedSummary {
        version: changed.version.to_owned(),
        generation,
        read_at: now,
        fingerprint: source::fingerprint(feed, &plan.directory),
        refused: None,
        report: FeedReport {
            own_names: denied.len() as u64,
            ..has
        },
        ..summary.clone()
    };
    let header = Header {
        generation,
        parent: Some(lists.generation()),
        built_at: now,
        feeds,
        arrivals: finished.arrivals,
        answers: builder.new_answers(&mut finished.changes),
        names: lists.header().names.saturating_add_signed(finished.names),
        entries: (lists.header().entries + has.entries + has.paths)
            .saturating_sub(summary.report.entries + summary.report.paths),
        ..lists.header().clone()
    };
    let delta = Delta {
        path: path.to_owned(),
        header,
        changes: finished.changes,
        sha256: String::new(),
    };
    let proposal = Proposal {
        delta,
        changes: finished.told,
        entries,
    };
    match stop {
        Ok(()) => Ok(proposal),
        Err(stop) => Err(DeltaError::Stopped(stop, Box::new(proposal))),
    }
}

/// A feed's summary in lists, if it was defined there as it is now.
fn live_summary<'l>(lists: &'l Blocklist, feed: &Feed) -> Option<(u16, &'l FeedSummary)> {
    let mut summaries = (0..).zip(&lists.header().feeds);
    summaries.find(|(_, summary)| {
        summary.name == feed.name && !summary.withdrawn && summary.definition == feed.definition()
    })
}

fn by_rows(bad: u64, rows: u64) -> Result<(), Refusal> {
    if bad >= BAD_ROWS_MIN && bad * 100 > rows * BAD_PERCENT_MAX {
        return Err(Refusal::new(
            Gate::BadRows,
            format!("{bad} of its {rows} changed rows are bad"),
        ));
    }
    Ok(())
}

fn by_emptiness(feed: &Feed, has: &FeedReport) -> Result<(), Refusal> {
    if has.entries + has.paths == 0 && !feed.allow_empty {
        return Err(Refusal::new(
            Gate::Empty,
            "no entry would be left; allow_empty = true would take it as empty",
        ));
    }
    Ok(())
}

fn by_suffixes(feed: &Feed, had: &FeedReport, has: &FeedReport) -> Result<(), Refusal> {
    if has.registry_suffixes > had.registry_suffixes && !feed.force_public_suffixes {
        let new = has.registry_suffixes - had.registry_suffixes;
        return Err(Refusal::new(
            Gate::PublicSuffix,
            format!("{new} of its new entries cover a registry's suffix"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
