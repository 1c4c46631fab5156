//! One feed from end to end: all its files, all its rows, and whether the result can be trusted.
//!
//! A bad row is data, a bad feed is refused: what it gave is forgotten and the entries it had before go on. The rules
//! here ask only whether this is the list it claims to be; whether its content is sane is a later gate's question.

use policy::{
    artefact::{ArtefactError, FeedReport},
    listing::NO_CATEGORY,
};
use sha2::{Digest, Sha256};

use crate::{
    feed::Feed,
    gate::{Gate, Stop},
    parse,
    rows::{Rows, Take},
    source::{self, SourceError, SourceFile, hexadecimal},
};

/// Why a feed was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("it changed while it was read")]
    Changed,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        let gate = match &refusal {
            Refusal::Source(SourceError::Io { .. } | SourceError::NotAFile(_) | SourceError::NotAFolder(_)) => Gate::Transport,
            Refusal::Source(SourceError::Binary { .. } | SourceError::LineTooLong { .. }) => Gate::Format,
            Refusal::Changed => Gate::Disk,
        };
        Self::new(gate, refusal.to_string())
    }
}

/// What became of a feed.
pub(crate) struct Reading {
    pub(crate) report: FeedReport,
    pub(crate) fingerprint: String,
    /// Rows that held something, understood or not.
    pub(crate) rows: u64,
    pub(crate) refused: Option<Refusal>,
}

/// Reads a feed. What `take` was given counts only if the feed is not refused in the end.
///
/// # Errors
/// Those of `take`; everything that is wrong with the feed is in the [`Reading`].
pub(crate) fn read_feed(feed: &Feed, place_of: &dyn Fn(&str) -> u8, take: &mut Take<'_>) -> Result<Reading, ArtefactError> {
    let fingerprint = source::fingerprint(feed);
    let mut rows = Rows::new(!feed.force_public_suffixes, take);
    let mut hash = Sha256::new();
    let refused = read_files(feed, place_of, &mut rows, &mut hash).err().map(Refusal::from);
    if let Some(error) = rows.failure() {
        return Err(error);
    }
    let refused = refused.or_else(|| (source::fingerprint(feed) != fingerprint).then_some(Refusal::Changed));
    let count = rows.rows();
    let mut report = rows.report;
    report.sha256 = hexadecimal(&hash.finalize());
    Ok(Reading { report, fingerprint, rows: count, refused })
}

fn read_files(feed: &Feed, place_of: &dyn Fn(&str) -> u8, rows: &mut Rows<'_>, hash: &mut Sha256) -> Result<(), SourceError> {
    let mut complained = String::new();
    for SourceFile { path, label, folder, holds } in source::files(feed)? {
        let slug = feed.category.as_ref().or_else(|| feed.categories.get(&folder));
        let is_about_categories = feed.slugs().next().is_some();
        rows.enter(&label, if is_about_categories { slug.map(|slug| place_of(slug)) } else { Some(NO_CATEGORY) });
        if is_about_categories && slug.is_none() && folder != complained {
            rows.complain_unmapped(&folder);
            complained = folder;
        }
        let parser = parse::parser(feed.format, holds);
        source::for_each_line(&path, hash, |line| parse::line(parser, line, feed.bare_scope(), rows))?;
    }
    Ok(())
}
