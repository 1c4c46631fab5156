//! Reads one feed from end to end: all its files and rows.
//!
//! A bad row is data; a bad feed is refused: its new entries are discarded and its previous entries
//! stay. This module only detects content that cannot be read. The gates check whether the entries
//! make sense.

use std::path::Path;

use policy::lists::{
    artefact::{ArtefactError, FeedReport},
    entry::NO_CATEGORY,
};
use sha2::{Digest, Sha256};

use crate::{
    digest::hexadecimal,
    feed::{Feed, Format},
    fetch::{VERSION_DIGITS, version_of},
    gate::{Gate, Refusal},
    parse::{self, adblock, category_feed, rpz},
    rows::{BadFilters, Rows, Take},
    source::{self, SourceError, SourceFile, SourceItem},
    spool::Content,
    unpack::UnpackError,
};

/// Why a feed could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedReadError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("it changed while it was read")]
    Changed,
}

impl From<FeedReadError> for Refusal {
    fn from(refusal: FeedReadError) -> Self {
        let gate = match &refusal {
            FeedReadError::Source(
                SourceError::Io { .. }
                | SourceError::NotAFile(_)
                | SourceError::NotAFolder(_)
                | SourceError::NotFetched,
            ) => Gate::Transport,
            FeedReadError::Source(SourceError::Unpack {
                source: UnpackError::TooLarge(_),
                ..
            }) => Gate::Size,
            FeedReadError::Source(SourceError::Unpack { .. }) => Gate::Compression,
            FeedReadError::Source(
                SourceError::Binary { .. }
                | SourceError::LineTooLong { .. }
                | SourceError::Archive(_),
            ) => Gate::Format,
            FeedReadError::Changed => Gate::Disk,
        };
        Self::new(gate, refusal.to_string())
    }
}

/// The result of reading a feed.
pub(crate) struct FeedReading {
    pub(crate) report: FeedReport,
    pub(crate) fingerprint: String,
    /// The provider's version, or the first digits of the content's SHA-256.
    pub(crate) version: String,
    /// Rows with content, accepted or not.
    pub(crate) rows: u64,
    pub(crate) error: Option<FeedReadError>,
}

/// Reads a feed from its files or its spool in the folder of the artefacts. The caller must discard
/// the entries if the feed is refused in the end.
///
/// # Errors
/// Those of `take`. Every fault of the feed itself is in the [`FeedReading`].
pub(crate) fn read_feed(
    feed: &Feed,
    directory: &Path,
    place_of: &dyn Fn(&str) -> u8,
    take: &mut Take<'_>,
) -> Result<FeedReading, ArtefactError> {
    let before = source::fingerprint(feed, directory);
    let mut rows = Rows::new(!feed.force_public_suffixes, take);
    let mut hash = Sha256::new();
    let content = source::content(feed, directory);
    let read = match feed.format {
        Format::CategoryFeed => {
            category_feed::read(feed, &content, place_of, &mut rows, &mut hash).map(Some)
        }
        Format::Rpz => rpz::read(feed, &content, place_of, &mut rows, &mut hash).map(Some),
        _ => read_files(feed, directory, place_of, &mut rows, &mut hash).map(|()| None),
    };
    if let Some(error) = rows.failure() {
        return Err(error);
    }
    let count = rows.rows();
    let mut report = rows.report;
    report.sha256 = hexadecimal(&hash.finalize());
    let mut reading = FeedReading {
        version: report.sha256[..VERSION_DIGITS].to_owned(),
        report,
        fingerprint: before,
        rows: count,
        error: None,
    };
    match read {
        Err(error) => reading.error = Some(error.into()),
        // The spool is read as of one moment, whatever its writer does meanwhile.
        Ok(Some(Content { digest, state })) => {
            reading.version = version_of(&state).unwrap_or(reading.version);
            reading.fingerprint = source::fingerprint_of_content(feed, directory, digest);
        }
        Ok(None) if source::fingerprint(feed, directory) != reading.fingerprint => {
            reading.error = Some(FeedReadError::Changed)
        }
        Ok(None) => {}
    }
    Ok(reading)
}

/// The rules that `$badfilter` rows disable. Such rows may stand anywhere in the feed, so they are
/// collected before any rule is read.
fn taken_away(feed: &Feed, files: &[SourceFile]) -> Result<BadFilters, SourceError> {
    let mut rules = BadFilters::new();
    for file in files {
        source::read(
            file,
            feed.format,
            feed.octets_max(),
            &mut Sha256::new(),
            |found| {
                if let SourceItem::Line(line) = found {
                    rules.extend(adblock::bad_filter(line));
                }
            },
        )?;
    }
    Ok(rules)
}

fn read_files(
    feed: &Feed,
    directory: &Path,
    place_of: &dyn Fn(&str) -> u8,
    rows: &mut Rows<'_>,
    hash: &mut Sha256,
) -> Result<(), SourceError> {
    let mut complained = String::new();
    let is_about_categories = feed.is_about_categories();
    let files = source::files(feed, directory)?;
    if feed.format == Format::Adblock {
        rows.set_bad_filters(taken_away(feed, &files)?);
    }
    for file in files {
        // The name of the folder decides the category of its rows.
        if !feed.categories.is_empty() {
            hash.update(&file.folder);
        }
        let mut parser = parse::parser(feed.format, file.kind);
        source::read(
            &file,
            feed.format,
            feed.octets_max(),
            hash,
            |found| match found {
                SourceItem::Line(line) => parse::line(parser, line, feed.bare_scope(), rows),
                SourceItem::File(label, folder, kind) => {
                    parser = parse::parser(feed.format, kind);
                    let slug = feed
                        .category
                        .as_ref()
                        .or_else(|| feed.categories.get(folder));
                    rows.enter(
                        label,
                        if is_about_categories {
                            slug.map(|slug| place_of(slug))
                        } else {
                            Some(NO_CATEGORY)
                        },
                    );
                    if is_about_categories && slug.is_none() && folder != complained {
                        rows.complain_unmapped(folder);
                        folder.clone_into(&mut complained);
                    }
                }
            },
        )?;
    }
    Ok(())
}
