//! The rules of adblockers that speak of whole names. Everything else, bare names included, is counted and shown: half
//! a rule is another rule.
//!
//! ```text
//! ||name^      deny, the name and all below it         @@||name^    allow, likewise
//! |name^       deny, the name alone                    @@|name^     allow, likewise
//! …^$important beats the rules of this feed that are not
//! ```

use policy::listing::{Polarity, Scope};

use crate::rows::{Claim, Rows};

pub(super) fn row(row: &[u8], _scope: Scope, rows: &mut Rows<'_>) {
    if is_comment(row) {
        return;
    }
    let (polarity, rule) = match row.strip_prefix(b"@@") {
        Some(rule) => (Polarity::Allow, rule),
        None => (Polarity::Deny, row),
    };
    let (scope, rule) = match (rule.strip_prefix(b"||"), rule.strip_prefix(b"|")) {
        (Some(rule), _) => (Scope::Subtree, rule),
        (None, Some(rule)) => (Scope::Exact, rule),
        (None, None) => return rows.unsupported(row, "begins with neither || nor |"),
    };
    let (pattern, important) = match rule.strip_suffix(b"$important") {
        Some(pattern) => (pattern, true),
        None => (rule, false),
    };
    if pattern.contains(&b'$') {
        return rows.unsupported(row, "a modifier other than $important");
    }
    let Some(name) = pattern.strip_suffix(b"^") else {
        return rows.unsupported(row, "does not end in ^");
    };
    // Octets beyond ASCII may be an internationalised name; whether they are is decided where names are read.
    if !name.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(octet) || !octet.is_ascii()) {
        return rows.unsupported(row, "a pattern, not a name");
    }
    rows.entry(row, name, Claim { polarity, important, ..Claim::deny(scope) });
}

/// `!`, `#` and the `[Adblock Plus 2.0]` header. `##.banner` and its kin look like comments and are rules for browsers.
fn is_comment(row: &[u8]) -> bool {
    match row {
        [b'!', ..] => true,
        [b'[', .., b']'] => true,
        [b'#', b'@' | b'?' | b'$' | b'%', b'#' | b'?' | b'@' | b'$' | b'%', ..] => false,
        [b'#', b'#', next, ..] => next.is_ascii_whitespace() || b"#-=*".contains(next),
        [b'#', ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, counts};
    use crate::feed::Format::Adblock;

    #[test]
    fn the_rules_that_speak_of_whole_names_are_taken() {
        check(Adblock, "||a.example^\n|b.example^\n", "subtree a.example, exact b.example", counts(2));
        check(Adblock, "@@||a.example^\n@@|b.example^\n", "allow subtree a.example, allow exact b.example", counts(2));
        check(
            Adblock,
            "||a.example^$important\n@@|b.example^$important\n",
            "important subtree a.example, important allow exact b.example",
            counts(2),
        );
        check(Adblock, "||Bücher.example^\r\n||192.0.2.1^\n", "subtree xn--bcher-kva.example, subtree 192.0.2.1", counts(2));
    }

    #[test]
    fn comments_and_headers_say_nothing() {
        check(Adblock, "[Adblock Plus 2.0]\n! title\n# note\n##\n## note\n#### note\n!\n\n", "", counts(0));
    }

    #[test]
    fn everything_else_is_counted_and_never_half_applied() {
        for rule in [
            "a.example",
            "||a.example",
            "||a.example/path^",
            "||a.*.example^",
            "||*.a.example^",
            "|a.example",
            "|https://a.example^",
            "||a.example^$third-party",
            "||a.example^$important,third-party",
            "||a.example^$third-party,important",
            "||a.example^$denyallow=b.example",
            "||a.example^$important$important",
            "||a.example^|",
            "@@a.example",
            "@@@@||a.example^",
            "/banner[0-9]+/",
            "-banner-",
            "##.banner",
            "#@#.banner",
            "#?#div",
            "a.example##.banner",
            "0.0.0.0 a.example",
            "||a.example^ ||b.example^",
        ] {
            check(Adblock, rule, "", counts(0).unsupported(1));
        }
    }

    #[test]
    fn a_rule_without_a_name_is_bad_and_one_for_a_registry_is_refused() {
        check(Adblock, "||^\n||a..example^\n", "", counts(0).bad(2));
        check(Adblock, b"||caf\xe9.example^\n", "", counts(0).bad(1));
        check(Adblock, "||com^\n|com^\n@@||com^\n", "exact com, allow subtree com", counts(2).public_suffixes(1));
    }
}
