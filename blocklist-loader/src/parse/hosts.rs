//! The syntax of `/etc/hosts`: an address, then names; `#` begins a comment. Which address does not matter. The names
//! that such a file holds for its own machine's sake are not entries.

use std::net::IpAddr;

use policy::listing::Scope;

use super::{before_comment, words};
use crate::rows::{Claim, Rows};

/// What the head of a hosts file says of the machine itself, over the common systems.
const OWN_NAMES: [&str; 12] = [
    "localhost",
    "localhost.localdomain",
    "local",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
    "0.0.0.0",
];

pub(super) fn row(row: &[u8], scope: Scope, rows: &mut Rows<'_>) {
    let mut words = words(before_comment(row));
    let Some(address) = words.next() else {
        return;
    };
    if !is_address(address) {
        return rows.bad(row, &"does not begin with an address; is this another format?");
    }
    let mut names = words.peekable();
    if names.peek().is_none() {
        return rows.bad(row, &"an address without a name");
    }
    for name in names {
        if !OWN_NAMES.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name)) {
            rows.entry(row, name, Claim::deny(scope));
        }
    }
}

/// `fe80::1%lo0` is an address too: macOS writes its interface behind it.
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
        let head = "127.0.0.1 localhost LOCALHOST.localdomain\n127.0.0.1 local\n255.255.255.255 broadcasthost\n::1 ip6-localhost ip6-loopback\nfe80::1%lo0 localhost\nff00::0 ip6-localnet ip6-mcastprefix\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\nff02::3 ip6-allhosts\n0.0.0.0 0.0.0.0\n";
        check(Hosts, head, "", counts(0));
    }

    #[test]
    fn a_row_without_address_or_name_is_bad() {
        check(Hosts, "a.example\n0.0.0.0\n0.0.0 a.example\n0.0.0.0 # a.example\n", "", counts(0).bad(4));
        check(Hosts, "0.0.0.0 a..example b.example\n", "subtree b.example", counts(1).bad(1));
        check(Hosts, "0.0.0.0 com b.example\n", "subtree b.example", counts(1).public_suffixes(1));
    }
}
