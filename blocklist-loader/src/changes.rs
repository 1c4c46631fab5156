//! Turns changed rows of a feed into the next generation without a build.
//!
//! ```text
//! rows -- the same parsers and the same guard --> the feed's new entries of each key -- gates --> delta
//! ```
//!
//! Entries of other feeds stay. Nothing here changes the lists in use or writes a file: the caller
//! writes the delta and lays it over the lists.

mod answers;
mod delta_builder;
mod proposal;

use std::path::Path;

use policy::lists::{
    artefact::{FeedReport, FeedSummary, Header},
    blocklist::Blocklist,
    delta::Delta,
};

use self::delta_builder::DeltaBuilder;
pub use self::proposal::{ChangedRows, DeltaError, Proposal};
use crate::{
    feed::Feed,
    gate::{Gate, Refusal, by_own_names, by_size, own_names},
    plan::Plan,
    source,
};

/// The highest share of bad rows among changed rows, in percent.
const BAD_PERCENT_MAX: u64 = 20;

/// The least number of bad rows at which their share counts.
const BAD_ROWS_MIN: u64 = 5;

/// Makes the next generation from changed rows.
///
/// # Errors
/// A [`DeltaError`]; the lists are unchanged.
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
    let mut parts = builder.finish(now);
    let had = &summary.report;
    let has = read.applied_to(had, &parts);
    let result = by_rows(read.bad, changed.rows.len() as u64)
        .and_then(|()| by_emptiness(feed, &has))
        .and_then(|()| by_size(feed, had.entries + had.paths, has.entries + has.paths))
        .and_then(|()| builder.guard(feed, &own).check())
        .and_then(|()| by_suffixes(feed, had, &has))
        .and_then(|()| by_own_names(Some(had), &denied));
    let entries = has.entries;
    let header = Header {
        generation,
        parent: Some(lists.generation()),
        built_at: now,
        answers: builder.new_answers(&mut parts.changes),
        arrivals: parts.arrivals,
        names: lists.header().names.saturating_add_signed(parts.names),
        entries: (lists.header().entries + has.entries + has.paths)
            .saturating_sub(had.entries + had.paths),
        ..lists.header().clone()
    };
    let mut delta = Delta {
        path: path.to_owned(),
        header,
        changes: parts.changes,
        sha256: String::new(),
    };
    delta.header.feeds[usize::from(place)] = FeedSummary {
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
    let proposal = Proposal {
        delta,
        changes: parts.blocked,
        entries,
    };
    match result {
        Ok(()) => Ok(proposal),
        Err(refusal) => Err(DeltaError::Refused(refusal, Box::new(proposal))),
    }
}

/// A feed's summary in the lists, if its definition is unchanged.
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
            "no entry would be left; allow_empty = true would accept that",
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
