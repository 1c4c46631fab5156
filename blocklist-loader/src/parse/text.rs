//! Parts of rows that several formats share: comments, words, local host names.

/// A row up to its comment, trimmed. A comment begins with a `#` at the start of the row or after
/// white space. `shop.example##.banner` is a browser rule and `a.example#b` is no name, so neither
/// lists `shop.example` or `a.example`.
pub(super) fn before_comment(row: &[u8]) -> &[u8] {
    let begins = |at: usize| row[at] == b'#' && (at == 0 || row[at - 1].is_ascii_whitespace());
    let end = (0..row.len()).find(|&at| begins(at)).unwrap_or(row.len());
    row[..end].trim_ascii_end()
}

/// The same for a list of bare names, where a row that begins with `!`, `;` or `//` is a comment as
/// well. Publishers put headers of other formats above such lists, and no name begins this way.
pub(super) fn names_of(row: &[u8]) -> &[u8] {
    if starts_comment_row(row) {
        &[]
    } else {
        before_comment(row)
    }
}

/// Whether a comment of another format begins here.
pub(super) fn starts_comment_row(row: &[u8]) -> bool {
    row.starts_with(b"!") || row.starts_with(b";") || row.starts_with(b"//")
}

/// Local host names in the headers of hosts files of the common systems, and in lists that were
/// converted from hosts files. They are never entries.
const OWN_NAMES: [&str; 28] = [
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
    // What container software writes into a machine's own file.
    "host.docker.internal",
    "gateway.docker.internal",
    "kubernetes.docker.internal",
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
pub(super) fn is_own_machine(name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    OWN_NAMES
        .iter()
        .any(|own| own.as_bytes().eq_ignore_ascii_case(name))
}

pub(super) fn words(row: &[u8]) -> impl Iterator<Item = &[u8]> {
    row.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}
