//! Formats, one file each: a row in, entries out. A parser gets one trimmed row, keeps no state and
//! cannot fail; it passes rows that it does not understand to [`Rows`] with the reason.

pub(crate) mod adblock;
pub(crate) mod category_feed;
mod dnsmasq;
mod domains;
mod hosts;
mod records;
pub(crate) mod rpz;
mod squidguard;
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

/// A row up to its comment, trimmed. A comment begins with a `#` at the start of the row or after
/// white space. `shop.example##.banner` is a browser rule and `a.example#b` is no name, so neither
/// lists `shop.example` or `a.example`.
fn before_comment(row: &[u8]) -> &[u8] {
    let begins = |at: usize| row[at] == b'#' && (at == 0 || row[at - 1].is_ascii_whitespace());
    let end = (0..row.len()).find(|&at| begins(at)).unwrap_or(row.len());
    row[..end].trim_ascii_end()
}

/// The same for a list of bare names, where a row that begins with `!`, `;` or `//` is a comment as
/// well. Publishers put headers of other formats above such lists, and no name begins this way.
fn names_of(row: &[u8]) -> &[u8] {
    if starts_comment_row(row) {
        &[]
    } else {
        before_comment(row)
    }
}

/// Whether a comment of another format begins here.
fn starts_comment_row(row: &[u8]) -> bool {
    row.starts_with(b"!") || row.starts_with(b";") || row.starts_with(b"//")
}

/// Local host names in the headers of hosts files of the common systems, and in lists that were
/// converted from hosts files. They are never entries.
const OWN_NAMES: [&str; 25] = [
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost4.localdomain4",
    "localhost6",
    "localhost6.localdomain6",
    "localhost.local",
    "local",
    "localdomain",
    "loopback",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
    "ipv6-localhost",
    "ipv6-loopback",
    "ipv6-localnet",
    "ipv6-mcastprefix",
    "ipv6-allnodes",
    "ipv6-allrouters",
    "ipv6-allhosts",
];

/// Whether a name is a local host name.
fn is_own_machine(name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    OWN_NAMES
        .iter()
        .any(|own| own.as_bytes().eq_ignore_ascii_case(name))
}

fn words(row: &[u8]) -> impl Iterator<Item = &[u8]> {
    row.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod testing;
