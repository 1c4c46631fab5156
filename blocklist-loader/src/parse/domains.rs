//! One name a line; `#` begins a comment at the start of the row or after white space. The
//! definition's scope decides what a bare name covers.
//!
//! A row that is an IPv4 address is taken as a name. Published lists have hundreds of them, and
//! some programs query an address as if it were a name. This affects no other name, because no such
//! top-level domain exists, and the number of entries stays equal to that in the list's header.

use policy::lists::entry::Scope;

use super::text::{is_own_machine, names_of};
use crate::rows::{EntryRule, Rows};

pub(super) fn row(row: &[u8], scope: Scope, rows: &mut Rows<'_>) {
    let name = names_of(row);
    if name.is_empty() || is_own_machine(name) {
        return;
    }
    if name.iter().any(u8::is_ascii_whitespace) {
        return rows.bad(row, &"more than one word; is this another format?");
    }
    rows.entry(row, name, EntryRule::deny(scope));
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, counts};
    use crate::feed::Format::Domains;

    #[test]
    fn one_name_a_line_with_comments_anywhere() {
        check(
            Domains,
            "a.example\nB.Example.\n",
            "subtree a.example, subtree b.example",
            counts(2),
        );
        check(
            Domains,
            "# head\n\n  a.example   # why\nb.example\t#why\n#\n",
            "subtree a.example, subtree b.example",
            counts(2),
        );
        check(
            Domains,
            "! head\n; head\n//head\n!\na.example\n",
            "subtree a.example",
            counts(1),
        );
        check(
            Domains,
            "a.example\r\nb.example\r\n",
            "subtree a.example, subtree b.example",
            counts(2),
        );
        check(
            Domains,
            "\u{feff}a.example\nb.example",
            "subtree a.example, subtree b.example",
            counts(2),
        );
        check(
            Domains,
            "bücher.example\n_dmarc.a.example\n",
            "subtree xn--bcher-kva.example, subtree _dmarc.a.example",
            counts(2),
        );
        check(Domains, "192.0.2.1\n", "subtree 192.0.2.1", counts(1));
        check(Domains, "", "", counts(0));
    }

    #[test]
    fn what_is_no_name_is_a_bad_row_and_never_the_end() {
        check(
            Domains,
            "0.0.0.0 a.example\na.example\n",
            "subtree a.example",
            counts(1).bad(1),
        );
        check(
            Domains,
            "*.a.example\n||b.example^\n.c.example\nd..example\n",
            "",
            counts(0).bad(4),
        );
        check(
            Domains,
            "a.example/path\nhttps://b.example\n",
            "",
            counts(0).bad(2),
        );
        check(
            Domains,
            b"caf\xe9.example\na.example\n",
            "subtree a.example",
            counts(1).bad(1),
        );
        check(
            Domains,
            b"# caf\xe9\na.example\n",
            "subtree a.example",
            counts(1),
        );
        check(
            Domains,
            format!("{}.example\n", "x".repeat(64)),
            "",
            counts(0).bad(1),
        );
        check(Domains, "abcdefg.".repeat(40), "", counts(0).bad(1));
    }

    #[test]
    fn a_rule_for_browsers_lists_nothing_and_is_counted() {
        for row in [
            "shop.example##.banner",
            "shop.example#@#.x",
            "shop.example#?#div",
            "shop.example#$#a{}",
            "shop.example#why",
            "a.example# why",
        ] {
            check(Domains, row, "", counts(0).bad(1));
        }
    }

    #[test]
    fn what_follows_a_name_without_a_hash_is_no_comment() {
        for row in [
            "a.example ; why",
            "a.example // why",
            "a.example ! why",
            "a.example$third-party",
            "a.example;why",
        ] {
            check(Domains, row, "", counts(0).bad(1));
        }
    }

    #[test]
    fn a_url_a_port_and_a_network_are_no_names() {
        for row in [
            "https://a.example/",
            "a.example:8080",
            "a.example/path",
            "a.example?x",
            "user@a.example",
            "2001:db8::1",
            "[::1]",
            "192.0.2.0/24",
        ] {
            check(Domains, row, "", counts(0).bad(1));
        }
    }

    #[test]
    fn the_own_names_of_a_machine_are_no_entries() {
        check(
            Domains,
            "localhost\nLOCALHOST.localdomain\nlocalhost4.localdomain4.\na.example\n",
            "subtree a.example",
            counts(1),
        );
    }

    #[test]
    fn a_registry_is_never_listed_whole() {
        check(
            Domains,
            "com\nco.uk\ngithub.io\n.\nexample.co.uk\n",
            "exact co.uk, exact github.io, subtree example.co.uk",
            counts(3).public_suffixes(4),
        );
        check(
            (Domains, "exact"),
            "com\ngithub.io\n",
            "exact com, exact github.io",
            counts(2),
        );
        check(
            (Domains, "descendants"),
            "com\na.example\n",
            "descendants a.example",
            counts(1).public_suffixes(1),
        );
    }
}
