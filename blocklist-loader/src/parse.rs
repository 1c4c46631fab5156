//! Formats, one file each: a row in, claims out. A parser sees one trimmed row, keeps no state and cannot fail; what it
//! does not understand it hands to [`Rows`] with the reason.

mod adblock;
pub(crate) mod category_feed;
mod dnsmasq;
mod domains;
mod hosts;
mod records;
pub(crate) mod rpz;
mod squidguard;
mod unbound;
mod wildcard;

use policy::listing::Scope;

use crate::{feed::Format, rows::Rows, source::Holds};

/// Reads one row, which is neither empty nor surrounded by white space. The scope is what a bare name means.
pub(crate) type Parser = fn(&[u8], Scope, &mut Rows<'_>);

/// The parser of a file. The formats that are not files have none; their definitions were refused.
pub(crate) fn parser(format: Format, holds: Holds) -> Parser {
    match (format, holds) {
        (Format::Hosts, _) => hosts::row,
        (Format::Wildcard, _) => wildcard::row,
        (Format::Adblock, _) => adblock::row,
        (Format::Dnsmasq, _) => dnsmasq::row,
        (Format::Unbound, _) => unbound::row,
        (Format::Squidguard, Holds::Names) => squidguard::domains_row,
        (Format::Squidguard, Holds::Urls) => squidguard::urls_row,
        (Format::Rpz, _) => rpz::row,
        (Format::Domains | Format::CategoryFeed, _) => domains::row,
    }
}

/// Reads one line: every format ignores white space around a row, and empty rows.
pub(crate) fn line(parser: Parser, line: &[u8], scope: Scope, rows: &mut Rows<'_>) {
    rows.next_line();
    let row = line.trim_ascii();
    if !row.is_empty() {
        parser(row, scope, rows);
    }
}

/// A row up to its `#` comment, trimmed.
fn before_comment(row: &[u8]) -> &[u8] {
    let end = row.iter().position(|&octet| octet == b'#').unwrap_or(row.len());
    row[..end].trim_ascii_end()
}

/// The words of a row.
fn words(row: &[u8]) -> impl Iterator<Item = &[u8]> {
    row.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod testing;
