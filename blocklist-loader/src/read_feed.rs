//! One feed from end to end: all its files, all its rows, and whether the result can be trusted.
//!
//! A bad row is data, a bad feed is refused: what it gave is forgotten and the entries it had
//! before go on. The rules here ask only whether this is the list it claims to be; whether its
//! content is sane is a later gate's question.

use std::path::Path;

use policy::lists::{
    artefact::{ArtefactError, FeedReport},
    entry::NO_CATEGORY,
};
use sha2::{Digest, Sha256};

use crate::{
    feed::{Feed, Format},
    fetch::{VERSION_DIGITS, version_of},
    gate::{Gate, Refusal},
    parse::{
        self,
        adblock::{self, BadFilters},
        category_feed, rpz,
    },
    rows::{Rows, Take},
    source::{self, SourceError, SourceFile, SourceItem, hexadecimal},
    spool::Content,
    unpack::UnpackError,
};

/// Why a feed was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("it changed while it was read")]
    Changed,
}

impl From<ReadError> for Refusal {
    fn from(refusal: ReadError) -> Self {
        let gate = match &refusal {
            ReadError::Source(
                SourceError::Io { .. }
                | SourceError::NotAFile(_)
                | SourceError::NotAFolder(_)
                | SourceError::NotFetched,
            ) => Gate::Transport,
            ReadError::Source(SourceError::Unpack {
                source: UnpackError::TooLarge(_),
                ..
            }) => Gate::Size,
            ReadError::Source(SourceError::Unpack { .. }) => Gate::Compression,
            ReadError::Source(
                SourceError::Binary { .. }
                | SourceError::LineTooLong { .. }
                | SourceError::Archive(_),
            ) => Gate::Format,
            ReadError::Changed => Gate::Disk,
        };
        Self::new(gate, refusal.to_string())
    }
}

/// What became of a feed.
pub(crate) struct Reading {
    pub(crate) report: FeedReport,
    pub(crate) fingerprint: String,
    /// What the provider calls it, or the beginning of its SHA-256.
    pub(crate) version: String,
    /// Rows that held something, understood or not.
    pub(crate) rows: u64,
    pub(crate) refused: Option<ReadError>,
}

/// Reads a feed, or what was fetched of it into the folder of the artefacts. What `take` was given
/// counts only if the feed is not refused in the end.
///
/// # Errors
/// Those of `take`; everything that is wrong with the feed is in the [`Reading`].
pub(crate) fn read_feed(
    feed: &Feed,
    directory: &Path,
    place_of: &dyn Fn(&str) -> u8,
    take: &mut Take<'_>,
) -> Result<Reading, ArtefactError> {
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
    let mut reading = Reading {
        version: report.sha256[..VERSION_DIGITS].to_owned(),
        report,
        fingerprint: before,
        rows: count,
        refused: None,
    };
    match read {
        Err(error) => reading.refused = Some(error.into()),
        // What was read of a spool is of one moment, whatever was written to it meanwhile.
        Ok(Some(Content { digest, state })) => {
            reading.version = version_of(&state).unwrap_or(reading.version);
            reading.fingerprint = source::fingerprint_of_content(feed, directory, digest);
        }
        Ok(None) if source::fingerprint(feed, directory) != reading.fingerprint => {
            reading.refused = Some(ReadError::Changed)
        }
        Ok(None) => {}
    }
    Ok(reading)
}

/// The rules that rows of the feed take away: these may stand anywhere in it, so they are looked
/// for before any rule is read.
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
        // The folder's name says which category its rows have.
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
