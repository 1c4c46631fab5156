//! The syntax of `/etc/hosts`: an address, then names; `#` begins a comment at the start of the row
//! or after white space. The address is ignored. Local host names are not entries, whatever their
//! address is.

use std::net::IpAddr;

use policy::lists::entry::Scope;

use super::text::{is_own_machine, names_of, starts_comment_row, words};
use crate::rows::{EntryRule, Rows};

pub(super) fn row(row: &[u8], scope: Scope, rows: &mut Rows<'_>) {
    let mut words = words(names_of(row));
    let Some(address) = words.next() else {
        return;
    };
    if !is_address(address) {
        return rows.bad(
            row,
            &"does not begin with an address; is this another format?",
        );
    }
    let mut names = words.peekable();
    if names.peek().is_none() {
        return rows.bad(row, &"an address without a name");
    }
    for name in names {
        // Prose may follow, whose words would be names as well.
        if name.contains(&b'#') || starts_comment_row(name) {
            return rows.bad(
                row,
                &"a comment begins with # after white space; nothing is taken from here on",
            );
        }
        // Many headers have `0.0.0.0 0.0.0.0`: an address with itself as name.
        if name != address && !is_own_machine(name) {
            rows.entry(row, name, EntryRule::deny(scope));
        }
    }
}

/// `fe80::1%lo0` is an address too: macOS appends the interface.
fn is_address(word: &[u8]) -> bool {
    let word = word.split(|&octet| octet == b'%').next().unwrap_or(word);
    std::str::from_utf8(word).is_ok_and(|word| word.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, counts};
    use crate::feed::Format::Hosts;

    #[test]
    fn every_name_after_an_address_is_listed() {
        check(
            (Hosts, "exact"),
            "0.0.0.0 a.example\n127.0.0.1\tb.example c.example # d.example\n",
            "exact a.example, exact b.example, exact c.example",
            counts(3),
        );
        check(
            Hosts,
            "::1 a.example\n::  b.example\n192.0.2.7 c.example\n",
            "subtree a.example, subtree b.example, subtree c.example",
            counts(3),
        );
    }

    #[test]
    fn the_machine_s_own_names_are_not_entries() {
        let heads = [
            "127.0.0.1 localhost LOCALHOST.localdomain\n127.0.0.1 local\n255.255.255.255 broadcasthost\n::1 ip6-localhost ip6-loopback\nfe80::1%lo0 localhost\nff00::0 ip6-localnet ip6-mcastprefix\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\nff02::3 ip6-allhosts\n0.0.0.0 0.0.0.0\n",
            "127.0.0.1   localhost localhost.localdomain localhost4 localhost4.localdomain4\n::1 localhost localhost.localdomain localhost6 localhost6.localdomain6\n",
            "::1 localhost ipv6-localhost ipv6-loopback\nfe00::0 ipv6-localnet\nff00::0 ipv6-mcastprefix\nff02::1 ipv6-allnodes\n",
            "127.0.0.1 kubernetes.docker.internal\n192.168.65.2 host.docker.internal gateway.docker.internal\n",
            "0.0.0.0 localhost. localhost6.localdomain6.\n192.0.2.7 Localhost4 ip6-localhost\n127.0.0.1 loopback\n127.0.0.1 127.0.0.1\n",
        ];
        for head in heads {
            check(Hosts, head, "", counts(0));
        }
        check(
            Hosts,
            "127.0.0.1 localhost a.example localhost4 b.example\n127.0.0.1 localhost.example\n",
            "subtree a.example, subtree b.example, subtree localhost.example",
            counts(3),
        );
    }

    #[test]
    fn a_comment_begins_with_a_hash_after_white_space() {
        check(
            Hosts,
            "# head\n! head\n; head\n// head\n0.0.0.0 a.example # b.example\n",
            "subtree a.example",
            counts(1),
        );
        for row in [
            "0.0.0.0 shop.example##.banner",
            "0.0.0.0 shop.example#@#.x",
            "0.0.0.0 shop.example#why b.example",
            "0.0.0.0 // b.example",
        ] {
            check(Hosts, row, "", counts(0).bad(1));
        }
        check(
            Hosts,
            "0.0.0.0 a.example ; not b.example\n0.0.0.0 c.example // b.example\n",
            "subtree a.example, subtree c.example",
            counts(2).bad(2),
        );
    }

    #[test]
    fn a_row_without_address_or_name_is_bad() {
        check(
            Hosts,
            "a.example\n0.0.0.0\n0.0.0 a.example\n0.0.0.0 # a.example\n",
            "",
            counts(0).bad(4),
        );
        check(
            Hosts,
            "0.0.0.0 a..example b.example\n",
            "subtree b.example",
            counts(1).bad(1),
        );
        check(
            Hosts,
            "0.0.0.0 com b.example\n",
            "subtree b.example",
            counts(1).public_suffixes(1),
        );
    }
}
