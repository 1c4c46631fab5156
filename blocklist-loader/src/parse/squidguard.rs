//! squidGuard's two files. In `domains` a row is a name, in `urls` a host with a path. A row about
//! a part of a host never blocks the host in either file: DNS cannot distinguish the parts, and
//! other sites share the host.

use policy::lists::entry::Scope;

use super::text::names_of;
use crate::rows::{EntryRule, Rows};

pub(super) fn domains_row(row: &[u8], scope: Scope, rows: &mut Rows<'_>) {
    let name = names_of(row);
    if name.is_empty() {
        return;
    }
    if let Some(slash) = name.iter().position(|&octet| octet == b'/') {
        return rows.path_entry(row, &name[..slash], &name[slash..]);
    }
    if name.iter().any(u8::is_ascii_whitespace) {
        return rows.bad(row, &"more than one word");
    }
    rows.entry(row, name, EntryRule::deny(scope));
}

/// `#` may be part of a URL, so only a row that begins with it is a comment.
pub(super) fn urls_row(row: &[u8], scope: Scope, rows: &mut Rows<'_>) {
    if row.starts_with(b"#") {
        return;
    }
    let (scheme, rest) = without_scheme(row);
    let host = rest
        .split(|octet| b"/?#".contains(octet))
        .next()
        .unwrap_or(rest);
    // Even a lone slash after the host is a path: the root page, which says nothing about the rest
    // of the host.
    let (host, path) = rest.split_at(host.len());
    // User information is not part of the host.
    let host = host.rsplit(|&octet| octet == b'@').next().unwrap_or(host);
    let (host, port) = host.split_at(
        host.iter()
            .position(|&octet| octet == b':')
            .unwrap_or(host.len()),
    );
    // Another port is another service on the same host and counts as a path.
    let is_usual = port.is_empty() || is_usual_port(scheme, &port[1..]);
    if path.is_empty() && is_usual {
        return rows.entry(row, host, EntryRule::deny(scope));
    }
    let port = if is_usual { b"" } else { port };
    let slash = if path.starts_with(b"/") && is_usual {
        ""
    } else {
        "/"
    };
    rows.path_entry(row, host, &[slash.as_bytes(), port, path].concat());
}

fn without_scheme(row: &[u8]) -> (&[u8], &[u8]) {
    let separator = b"://";
    match row
        .windows(separator.len())
        .position(|window| window == separator)
    {
        Some(at) if row[..at].iter().all(u8::is_ascii_alphanumeric) => {
            (&row[..at], &row[at + separator.len()..])
        }
        _ => (b"", row),
    }
}

/// The default ports of the scheme.
fn is_usual_port(scheme: &[u8], port: &[u8]) -> bool {
    match port {
        b"" => true,
        b"80" => !scheme.eq_ignore_ascii_case(b"https"),
        b"443" => !scheme.eq_ignore_ascii_case(b"http"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, check_urls, counts};
    use crate::feed::Format::Squidguard;

    #[test]
    fn a_domain_is_listed_and_a_path_never_is() {
        check(
            Squidguard,
            "a.example\n192.0.2.1\n# note\nb.example # note\n",
            "subtree a.example, subtree 192.0.2.1, subtree b.example",
            counts(3),
        );
        check(
            (Squidguard, "exact"),
            "a.example\n",
            "exact a.example",
            counts(1),
        );
        check(
            Squidguard,
            "a.example/path\na.example/\n/path\n",
            "",
            counts(0).paths(2).bad(1),
        );
        check(
            Squidguard,
            "a..example\na.example b.example\n",
            "",
            counts(0).bad(2),
        );
        check(
            Squidguard,
            "shop.example##.banner\na.example#why\na.example ; why\na.example:80\n",
            "",
            counts(0).bad(4),
        );
        check(
            Squidguard,
            "! head\n; head\n// head\na.example\t# why\n",
            "subtree a.example",
            counts(1),
        );
    }

    #[test]
    fn a_url_lists_its_host_only_when_it_means_all_of_it() {
        check_urls(
            "a.example\nhttp://b.example\nHTTPS://user:secret@c.example:443\nd.example:80\n",
            "subtree a.example, subtree b.example, subtree c.example, subtree d.example",
            counts(4),
        );
        check_urls(
            "a.example/\na.example/~b\nhttp://c.example/d\ne.example?f\ng.example#h\ni.example:8080\nhttp://j.example:443\n",
            "",
            counts(0).paths(7),
        );
        check_urls(
            "webring.example/cgi?ring=a;b c\nredirect.example/?to=http://other.example\n",
            "",
            counts(0).paths(2),
        );
        check_urls("# note\nhttp://\na b\n", "", counts(0).bad(2));
        check_urls(
            "a.example/#!page\nb.example##.banner\n",
            "",
            counts(0).paths(2),
        );
    }
}
