//! dnsmasq options for a domain and everything below it. `address=/name/SINK`, `local=/name/` and
//! `server=/name/` block it. `server=/name/#` forwards it to the default servers: an exception. As
//! in dnsmasq, the longest matching domain decides, leading dots are dropped, `*.name` covers only
//! what is below the name, and one option may have several domains.

use policy::lists::entry::{Polarity, Scope};

use super::text::{before_comment, is_own_machine};
use crate::rows::{EntryRule, Rows};

/// Targets of `address` that block. Empty means NXDOMAIN, `#` both unspecified addresses.
const SINKS: [&[u8]; 6] = [b"", b"#", b"0.0.0.0", b"::", b"127.0.0.1", b"::1"];
/// The target that means the default servers.
const USUAL_SERVERS: &[u8] = b"#";

/// What an option does with its domains.
enum Effect {
    /// Blocks them.
    Block,
    /// Forwards them to the default servers.
    Except,
    /// Gives them another address or server, which is not supported and does not block.
    Forward,
}

pub(super) fn row(row: &[u8], _scope: Scope, rows: &mut Rows<'_>) {
    let option = before_comment(row);
    if option.is_empty() {
        return;
    }
    let Some(equals) = option.iter().position(|&octet| octet == b'=') else {
        return rows.unsupported(row, "an option that lists no name");
    };
    let key = option[..equals].trim_ascii_end();
    let value = option[equals + 1..].trim_ascii_start();
    if !matches!(key, b"address" | b"local" | b"server") {
        return rows.unsupported(row, "an option that lists no name");
    }
    let names_and_target = value.strip_prefix(b"/").and_then(|value| {
        value
            .iter()
            .rposition(|&octet| octet == b'/')
            .map(|at| (&value[..at], &value[at + 1..]))
    });
    let Some((names, target)) = names_and_target else {
        return rows.unsupported(row, "names no domain between slashes");
    };
    let effect = match key {
        b"address" if SINKS.contains(&target) => Effect::Block,
        b"address" => Effect::Forward,
        _ if target.is_empty() => Effect::Block,
        _ if target == USUAL_SERVERS => Effect::Except,
        _ => Effect::Forward,
    };
    for domain in names.split(|&octet| octet == b'/') {
        one(row, domain, &effect, rows);
    }
}

fn one(row: &[u8], domain: &[u8], effect: &Effect, rows: &mut Rows<'_>) {
    let domain = &domain[domain.iter().take_while(|&&octet| octet == b'.').count()..];
    // `//` is every name without a dot and `#` is every name: rules for the local network, not for
    // a domain.
    if matches!(domain, b"" | b"#" | b"*") {
        return rows.unsupported(row, "a pattern, not a name");
    }
    let (scope, name) = match domain.strip_prefix(b"*") {
        None => (Scope::Subtree, domain),
        Some(rest) => match rest.strip_prefix(b".") {
            Some(name) => (Scope::Descendants, name),
            // `*name` also matches every name that ends in these letters.
            None if matches!(effect, Effect::Block) => {
                return rows.unsupported(row, "a pattern, not a name");
            }
            None => {
                return rows.unsupported_exception(
                    row,
                    rest,
                    EntryRule::allow(Scope::Subtree),
                    "a pattern, not a name",
                );
            }
        },
    };
    let rule = EntryRule {
        polarity: if matches!(effect, Effect::Block) {
            Polarity::Deny
        } else {
            Polarity::Allow
        },
        ..EntryRule::deny(scope)
    };
    match effect {
        Effect::Block if is_own_machine(name) => {}
        Effect::Block | Effect::Except => rows.entry(row, name, rule),
        Effect::Forward => rows.unsupported_exception(
            row,
            name,
            rule,
            "sends the domain elsewhere, which is not a listing",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, counts};
    use crate::feed::Format::Dnsmasq;

    #[test]
    fn a_domain_that_answers_nothing_is_listed_with_all_below_it() {
        for sink in ["", "#", "0.0.0.0", "::", "127.0.0.1", "::1"] {
            check(
                Dnsmasq,
                format!("address=/a.example/{sink}\n"),
                "subtree a.example",
                counts(1),
            );
        }
        check(
            Dnsmasq,
            "local=/a.example/\nserver=/B.example/\n",
            "subtree a.example, subtree b.example",
            counts(2),
        );
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
    fn dots_before_a_domain_are_dropped() {
        for option in [
            "address=/.a.example/127.0.0.1",
            "address=/..a.example/#",
            "server=/.a.example/",
            "local=/.a.example/",
        ] {
            check(Dnsmasq, option, "subtree a.example", counts(1));
        }
        check(
            Dnsmasq,
            "address=/.a.example/.b.example/0.0.0.0\n",
            "subtree a.example, subtree b.example",
            counts(2),
        );
        check(
            Dnsmasq,
            "server=/.a.example/#\n",
            "allow subtree a.example",
            counts(1),
        );
    }

    #[test]
    fn a_star_is_what_is_below_the_domain() {
        check(
            Dnsmasq,
            "address=/*.a.example/\nlocal=/*.b.example/\n",
            "descendants a.example, descendants b.example",
            counts(2),
        );
        check(
            Dnsmasq,
            "address=/*a.example/\naddress=/*/\naddress=/a.*.example/#\n",
            "",
            counts(0).unsupported(2).bad(1),
        );
    }

    #[test]
    fn a_domain_of_the_usual_servers_is_an_exception() {
        check(
            Dnsmasq,
            "address=/a.example/0.0.0.0\nserver=/good.a.example/#\nlocal=/b.example/c.example/# # why\nserver=/*.d.example/#\n",
            "subtree a.example, allow subtree good.a.example, allow subtree b.example, allow subtree c.example, allow descendants d.example",
            counts(5),
        );
    }

    #[test]
    fn a_domain_that_is_sent_elsewhere_is_counted_and_not_blocked() {
        for option in [
            "address=/a.example/192.0.2.1",
            "server=/a.example/192.0.2.1#5353",
            "local=/a.example/192.0.2.1",
            "server=/*a.example/#",
        ] {
            check(
                Dnsmasq,
                option,
                "allow subtree a.example",
                counts(0).unsupported(1),
            );
        }
    }

    #[test]
    fn the_own_names_of_a_machine_are_no_entries() {
        check(
            Dnsmasq,
            "address=/localhost/127.0.0.1\naddress=/localhost.localdomain/a.example/::1\n",
            "subtree a.example",
            counts(1),
        );
    }

    #[test]
    fn an_option_that_does_something_else_is_counted() {
        for option in [
            "server=192.0.2.1",
            "address=/#/0.0.0.0",
            "address=//0.0.0.0",
            "address=/./0.0.0.0",
            "address=a.example",
            "address=/a.example",
            "cache-size=1000",
            "no-resolv",
            "a.example",
            "=/a.example/",
            "! a.example",
            "a.example##.banner",
        ] {
            check(Dnsmasq, option, "", counts(0).unsupported(1));
        }
        check(
            Dnsmasq,
            "address=/a.example##.banner/#\naddress=/a.example/#why\n",
            "allow subtree a.example",
            counts(0).unsupported(1).bad(1),
        );
    }

    #[test]
    fn one_bad_name_of_several_does_not_take_the_others_with_it() {
        check(
            Dnsmasq,
            "address=/a..example/b.example/com/#\n",
            "subtree b.example",
            counts(1).bad(1).public_suffixes(1),
        );
    }
}
