//! One feed from end to end: all its files, all its rows, and whether the result can be trusted.
//!
//! A bad row is data, a bad feed is refused: what it gave is forgotten and the entries it had before go on. The rules
//! here ask only whether this is the list it claims to be; whether its content is sane is a later gate's question.

use std::path::Path;

use policy::{
    artefact::{ArtefactError, FeedReport},
    listing::NO_CATEGORY,
};
use sha2::{Digest, Sha256};

use crate::{
    feed::{Feed, Format},
    parse::{self, category_feed},
    rows::{Rows, Take},
    source::{self, Found, Holds, SourceError, hexadecimal},
    spool::{self, RowKey},
};

/// Above this share of bad rows, in percent, a file is not what its format says: a page of HTML, another format, half a
/// download. Published lists have less than one in a thousand.
const BAD_PERCENT_MAX: u64 = 20;
/// Below this many bad rows the share says nothing: a list of four names may have a typing error in one.
const BAD_ROWS_MIN: u64 = 5;

/// Why a feed was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{bad} of its {rows} rows are bad: this is not a list in its format")]
    Bad { bad: u64, rows: u64 },
    #[error("it holds no rows; allow_empty = true would take it as empty")]
    Empty,
    #[error("none of its {rows} rows gave an entry; allow_empty = true would take it as empty")]
    NothingUnderstood { rows: u64 },
    #[error("it changed while it was read")]
    Changed,
}

/// What became of a feed.
pub(crate) struct Reading {
    pub(crate) report: FeedReport,
    pub(crate) fingerprint: String,
    pub(crate) refused: Option<Refusal>,
}

/// Reads a feed, or what was fetched of it into the folder of the artefacts. What `take` was given counts only if the feed is not refused in the end.
///
/// # Errors
/// Those of `take`; everything that is wrong with the feed is in the [`Reading`].
pub(crate) fn read_feed(
    feed: &Feed,
    directory: &Path,
    place_of: &dyn Fn(&str) -> u8,
    take: &mut Take<'_>,
) -> Result<Reading, ArtefactError> {
    let fingerprint = source::fingerprint(feed, directory);
    let mut rows = Rows::new(!feed.force_public_suffixes, take);
    let mut hash = Sha256::new();
    let read = match feed.format {
        Format::CategoryFeed => category_feed::read(feed, &source::content(feed, directory), place_of, &mut rows, &mut hash),
        Format::Rpz => read_zone(feed, &source::content(feed, directory), place_of, &mut rows, &mut hash),
        _ => read_files(feed, directory, place_of, &mut rows, &mut hash),
    };
    let refused = read.err().map(Refusal::from);
    if let Some(error) = rows.failure() {
        return Err(error);
    }
    let refused = refused
        .or_else(|| judge(feed, &rows))
        .or_else(|| (source::fingerprint(feed, directory) != fingerprint).then_some(Refusal::Changed));
    let mut report = rows.report;
    report.sha256 = hexadecimal(&hash.finalize());
    Ok(Reading { report, fingerprint, refused })
}

fn read_files(
    feed: &Feed,
    directory: &Path,
    place_of: &dyn Fn(&str) -> u8,
    rows: &mut Rows<'_>,
    hash: &mut Sha256,
) -> Result<(), SourceError> {
    let (mut complained, is_about_categories) = (String::new(), feed.is_about_categories());
    for file in source::files(feed, directory)? {
        let mut parser = parse::parser(feed.format, file.holds);
        source::read(&file, feed.format, feed.octets_max(), hash, |found| match found {
            Found::Line(line) => parse::line(parser, line, feed.bare_scope(), rows),
            Found::File(label, folder, holds) => {
                parser = parse::parser(feed.format, holds);
                let slug = feed.category.as_ref().or_else(|| feed.categories.get(folder));
                rows.enter(label, if is_about_categories { slug.map(|slug| place_of(slug)) } else { Some(NO_CATEGORY) });
                if is_about_categories && slug.is_none() && folder != complained {
                    rows.complain_unmapped(folder);
                    folder.clone_into(&mut complained);
                }
            }
        })?;
    }
    Ok(())
}

/// A policy zone: the rows that its secondary spooled.
fn read_zone(
    feed: &Feed,
    content: &Path,
    place_of: &dyn Fn(&str) -> u8,
    rows: &mut Rows<'_>,
    hash: &mut Sha256,
) -> Result<(), SourceError> {
    rows.enter("zone", Some(feed.category.as_ref().map_or(NO_CATEGORY, |slug| place_of(slug))));
    let parser = parse::parser(feed.format, Holds::Names);
    spool::for_each_row(content, RowKey::WholeRow, &mut |row| {
        hash.update(row);
        hash.update(b"\n");
        parse::line(parser, row, feed.bare_scope(), rows);
    })
    .map_err(|source| SourceError::Io { step: "reading the spool", path: content.to_owned(), source })
}

/// Whether what was understood is enough.
fn judge(feed: &Feed, rows: &Rows<'_>) -> Option<Refusal> {
    let (bad, understood, rows) = (rows.report.bad, rows.report.entries + rows.report.paths, rows.rows());
    if bad >= BAD_ROWS_MIN && bad * 100 > rows * BAD_PERCENT_MAX {
        Some(Refusal::Bad { bad, rows })
    } else if understood > 0 || feed.allow_empty {
        None
    } else if rows == 0 {
        Some(Refusal::Empty)
    } else {
        Some(Refusal::NothingUnderstood { rows })
    }
}
