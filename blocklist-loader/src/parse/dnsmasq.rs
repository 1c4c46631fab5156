//! The options of dnsmasq that make a domain and all below it answer nothing: `address=/name/SINK`, `local=/name/`,
//! `server=/name/`. An option that sends a domain somewhere else is not a listing.

use policy::listing::Scope;

use crate::rows::{Claim, Rows};

/// Where an `address` points that points nowhere. Absent means NXDOMAIN, `#` both unspecified addresses.
const SINKS: [&[u8]; 6] = [b"", b"#", b"0.0.0.0", b"::", b"127.0.0.1", b"::1"];

pub(super) fn row(row: &[u8], _scope: Scope, rows: &mut Rows<'_>) {
    let option = before_comment(row);
    if option.is_empty() {
        return;
    }
    let Some(equals) = option.iter().position(|&octet| octet == b'=') else {
        return rows.unsupported(row, "an option that lists no name");
    };
    let (key, value) = (option[..equals].trim_ascii_end(), option[equals + 1..].trim_ascii_start());
    let sinks: &[&[u8]] = match key {
        b"address" => &SINKS,
        b"local" | b"server" => &SINKS[..1],
        _ => return rows.unsupported(row, "an option that lists no name"),
    };
    let names_and_target = value
        .strip_prefix(b"/")
        .and_then(|value| value.iter().rposition(|&octet| octet == b'/').map(|at| (&value[..at], &value[at + 1..])));
    let Some((names, target)) = names_and_target else {
        return rows.unsupported(row, "names no domain between slashes");
    };
    if !sinks.contains(&target) {
        return rows.unsupported(row, "sends the domain elsewhere, which is not a listing");
    }
    // `//` is every name without a dot and `#` every name at all: rules about the network, not about a domain.
    if names.split(|&octet| octet == b'/').any(|name| matches!(name, b"" | b"#") || name.contains(&b'*')) {
        return rows.unsupported(row, "a pattern, not a name");
    }
    for name in names.split(|&octet| octet == b'/') {
        rows.entry(row, name, Claim::deny(Scope::Subtree));
    }
}

/// Here `#` also is a sink, so a comment begins at the start of the line or after white space.
fn before_comment(row: &[u8]) -> &[u8] {
    let starts = |at: usize| row[at] == b'#' && (at == 0 || row[at - 1].is_ascii_whitespace());
    let end = (0..row.len()).find(|&at| starts(at)).unwrap_or(row.len());
    row[..end].trim_ascii_end()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, counts};
    use crate::feed::Format::Dnsmasq;

    #[test]
    fn a_domain_that_answers_nothing_is_listed_with_all_below_it() {
        for sink in ["", "#", "0.0.0.0", "::", "127.0.0.1", "::1"] {
            check(Dnsmasq, format!("address=/a.example/{sink}\n"), "subtree a.example", counts(1));
        }
        check(Dnsmasq, "local=/a.example/\nserver=/B.example/\n", "subtree a.example, subtree b.example", counts(2));
        check(
            Dnsmasq,
            "address=/a.example/b.example/0.0.0.0\nlocal=/c.example/d.example/\n",
            "subtree a.example, subtree b.example, subtree c.example, subtree d.example",
            counts(4),
        );
        check(
            Dnsmasq,
            "# note\naddress = /a.example/# # note\n  local=/b.example/ # note\n#\n",
            "subtree a.example, subtree b.example",
            counts(2),
        );
    }

    #[test]
    fn an_option_that_does_something_else_is_counted() {
        for option in [
            "address=/a.example/192.0.2.1",
            "server=/a.example/192.0.2.1",
            "server=/a.example/#",
            "local=/a.example/#",
            "server=192.0.2.1",
            "address=/#/0.0.0.0",
            "address=//0.0.0.0",
            "address=/*.a.example/",
            "address=a.example",
            "address=/a.example",
            "cache-size=1000",
            "no-resolv",
            "a.example",
            "=/a.example/",
        ] {
            check(Dnsmasq, option, "", counts(0).unsupported(1));
        }
    }

    #[test]
    fn one_bad_name_of_several_does_not_take_the_others_with_it() {
        check(Dnsmasq, "address=/a..example/b.example/com/#\n", "subtree b.example", counts(1).bad(1).public_suffixes(1));
    }
}
