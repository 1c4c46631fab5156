//! Unbound's `local-zone: "name" TYPE`. A type that answers nothing blocks the name and everything
//! below it; a type that resolves normally excepts both. As in Unbound, the closest enclosing zone
//! decides.

use policy::lists::entry::Scope;

use super::text::{before_comment, is_own_machine};
use crate::rows::{EntryRule, Rows};

/// The types that keep a client from the Internet's answer.
const BLOCKING_TYPES: [&str; 10] = [
    "static",
    "redirect",
    "refuse",
    "deny",
    "inform_deny",
    "always_null",
    "always_nxdomain",
    "always_nodata",
    "always_refuse",
    "always_deny",
];

/// The types that give the Internet's answer, whatever a parent zone states.
const EXCEPTING_TYPES: [&str; 7] = [
    "transparent",
    "typetransparent",
    "always_transparent",
    "nodefault",
    "inform",
    "ipset",
    "noview",
];
/// The types that give a part of the Internet's answer.
const HALF_EXCEPTING_TYPES: [&str; 2] = ["block_a", "inform_redirect"];

pub(super) fn row(row: &[u8], _scope: Scope, rows: &mut Rows<'_>) {
    let statement = before_comment(row);
    // `server:` opens the section of the zones.
    if statement.is_empty() || statement == b"server:" {
        return;
    }
    let Some(zone) = statement.strip_prefix(b"local-zone:") else {
        return rows.unsupported(row, "a statement other than local-zone");
    };
    let Some((name, kind)) = name_and_type(zone.trim_ascii_start()) else {
        return rows.bad(row, &"not of the form local-zone: \"name\" TYPE");
    };
    let is_of = |types: &[&str]| {
        types
            .iter()
            .any(|one| one.as_bytes().eq_ignore_ascii_case(kind))
    };
    if is_of(&BLOCKING_TYPES) {
        if !is_own_machine(name) {
            rows.entry(row, name, EntryRule::deny(Scope::Subtree));
        }
    } else if is_of(&EXCEPTING_TYPES) {
        rows.entry(row, name, EntryRule::allow(Scope::Subtree));
    } else if is_of(&HALF_EXCEPTING_TYPES) {
        rows.unsupported_exception(
            row,
            name,
            EntryRule::allow(Scope::Subtree),
            "a type of zone that blocks some record types",
        );
    } else {
        rows.unsupported(row, "a type of zone that does not block");
    }
}

/// The name may be in either kind of quotes or in none.
fn name_and_type(zone: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, kind) = match zone.first()? {
        &quote @ (b'"' | b'\'') => {
            let end = zone[1..].iter().position(|&octet| octet == quote)?;
            (&zone[1..=end], &zone[end + 2..])
        }
        _ => zone.split_at(zone.iter().position(u8::is_ascii_whitespace)?),
    };
    Some((name, kind.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, counts};
    use crate::feed::Format::Unbound;

    #[test]
    fn a_zone_that_answers_nothing_is_listed_with_all_below_it() {
        for kind in super::BLOCKING_TYPES {
            check(
                Unbound,
                format!("local-zone: \"a.example.\" {kind}\n"),
                "subtree a.example",
                counts(1),
            );
        }
        check(
            Unbound,
            "server:\n  local-zone: a.example static # note\n\tlocal-zone:'B.example'  refuse\n# note\n",
            "subtree a.example, subtree b.example",
            counts(2),
        );
    }

    #[test]
    fn a_zone_that_resolves_is_an_exception() {
        for kind in super::EXCEPTING_TYPES {
            check(
                Unbound,
                format!("local-zone: \"a.example\" {kind}\n"),
                "allow subtree a.example",
                counts(1),
            );
        }
        check(
            Unbound,
            "local-zone: \"example\" always_nxdomain\nlocal-zone: \"good.b.example.\" Transparent # why\n",
            "allow subtree good.b.example",
            counts(1).public_suffixes(1),
        );
    }

    #[test]
    fn what_does_not_block_is_counted() {
        for kind in ["always_nul", "static#why"] {
            check(
                Unbound,
                format!("local-zone: \"a.example\" {kind}\n"),
                "",
                counts(0).unsupported(1),
            );
        }
        check(
            Unbound,
            "local-zone: \"a.example\" block_a\n",
            "allow subtree a.example",
            counts(0).unsupported(1),
        );
        check(
            Unbound,
            "local-data: \"a.example A 192.0.2.1\"\nforward-zone:\n  name: \".\"\n",
            "",
            counts(0).unsupported(3),
        );
        check(
            Unbound,
            "local-zone: \"localhost.\" static\nlocal-zone: \"localhost.localdomain\" static\n",
            "",
            counts(0),
        );
    }

    #[test]
    fn a_comment_begins_with_a_hash_after_white_space() {
        check(
            Unbound,
            "local-zone: \"a.example\" static # b\n#local-zone: b.example static\n",
            "subtree a.example",
            counts(1),
        );
        check(
            Unbound,
            "local-zone: a.example##.banner static\n",
            "",
            counts(0).bad(1),
        );
    }

    #[test]
    fn a_zone_without_name_or_type_is_bad() {
        for zone in [
            "local-zone:",
            "local-zone: \"a.example",
            "local-zone: a.example",
            "local-zone: \"\" static",
            "local-zone: \"a b\" static",
        ] {
            check(Unbound, zone, "", counts(0).bad(1));
        }
        check(
            Unbound,
            "local-zone: \"a.example\"\n",
            "",
            counts(0).unsupported(1),
        );
        check(
            Unbound,
            "local-zone: \".\" refuse\nlocal-zone: \"com.\" refuse\n",
            "",
            counts(0).public_suffixes(2),
        );
    }
}
