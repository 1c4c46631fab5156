//! Formats, one file each: a row in, entries out. A parser gets one trimmed row, keeps no state and
//! cannot fail; it passes rows that it does not understand to [`Rows`] with the reason.

pub(crate) mod adblock;
pub(crate) mod category_feed;
pub(crate) mod category_row;
mod dnsmasq;
mod domains;
mod hosts;
mod records;
pub(crate) mod rpz;
mod squidguard;
mod text;
mod unbound;
mod wildcard;

use policy::lists::entry::Scope;

use crate::{feed::Format, rows::Rows, source::FileKind};

/// Parses one row, which is neither empty nor surrounded by white space. The scope is what a bare
/// name covers.
pub(crate) type Parser = fn(&[u8], Scope, &mut Rows<'_>);

/// The parser of a file. Formats without files need none; their definitions were refused.
pub(crate) fn parser(format: Format, kind: FileKind) -> Parser {
    match (format, kind) {
        (Format::Hosts, _) => hosts::row,
        (Format::Wildcard, _) => wildcard::row,
        (Format::Adblock, _) => adblock::row,
        (Format::Dnsmasq, _) => dnsmasq::row,
        (Format::Unbound, _) => unbound::row,
        (Format::Squidguard, FileKind::Names) => squidguard::domains_row,
        (Format::Squidguard, FileKind::Urls) => squidguard::urls_row,
        (Format::Rpz, _) => rpz::row,
        (Format::Domains | Format::CategoryFeed, _) => domains::row,
    }
}

/// Parses one line. Every format ignores white space around a row, and empty rows.
pub(crate) fn line(parser: Parser, line: &[u8], scope: Scope, rows: &mut Rows<'_>) {
    rows.next_line();
    let row = line.trim_ascii();
    if !row.is_empty() {
        parser(row, scope, rows);
    }
}

#[cfg(test)]
mod testing;
