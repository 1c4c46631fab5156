//! Rules of ad blockers that cover whole names. Everything else, including bare names, is counted
//! as unsupported, because half a rule is a different rule.
//!
//! ```text
//! ||name^      deny, the name and all below it         @@||name^    allow, likewise
//! |name^       deny, the name alone                    @@|name^     allow, likewise
//! …^$important takes precedence over the other rules of this feed
//! @@…^|        the same as @@…^: nothing follows a host name
//! …$badfilter  disables the rule before the modifier, wherever in the feed that rule is
//! ```
//!
//! An exception with unsupported conditions is counted as unsupported, and its name is excepted as
//! a whole: no rule of the feed blocks what its author excepted.

use policy::lists::entry::{Polarity, Scope};

use super::text::before_comment;
use crate::rows::{EntryRule, Rows};

/// The modifier that disables a rule.
const BAD_FILTER: &[u8] = b"badfilter";
/// The modifier that gives a rule precedence.
const IMPORTANT: &[u8] = b"important";
/// Modifiers of exceptions that concern the appearance or the sub-requests of a page, not requests
/// to the name.
const OF_PAGES: [&[u8]; 11] = [
    b"elemhide",
    b"ehide",
    b"generichide",
    b"ghide",
    b"specifichide",
    b"shide",
    b"genericblock",
    b"urlblock",
    b"jsinject",
    b"content",
    b"extension",
];

pub(super) fn row(row: &[u8], _scope: Scope, rows: &mut Rows<'_>) {
    if is_comment(row) {
        return;
    }
    let rule = before_comment(row);
    let parsed = Rule::parse(rule);
    // `bad_filter` has collected the disabled rules before.
    if parsed.modifiers.contains(&BAD_FILTER) || rows.is_disabled(|| Rule::parse(rule).identity()) {
        return;
    }
    let (scope, rest) = match (
        parsed.pattern.strip_prefix(b"||"),
        parsed.pattern.strip_prefix(b"|"),
    ) {
        (Some(rest), _) => (Scope::Subtree, rest),
        (None, Some(rest)) => (Scope::Exact, rest),
        (None, None) => {
            let reason = "begins with neither || nor |";
            return unsupported(row, &parsed, (Scope::Subtree, parsed.pattern), rows, reason);
        }
    };
    match parsed.name(rest) {
        Ok(name) => {
            let rule = EntryRule {
                polarity: parsed.polarity,
                important: parsed.modifiers == [IMPORTANT],
                ..EntryRule::deny(scope)
            };
            rows.entry(row, name, rule);
        }
        Err(reason) => unsupported(row, &parsed, (scope, rest), rows, reason),
    }
}

/// The rule that a `$badfilter` row disables, by its identity.
pub(crate) fn bad_filter(row: &[u8]) -> Option<Box<[u8]>> {
    let row = row.trim_ascii();
    if !row
        .windows(BAD_FILTER.len())
        .any(|window| window.eq_ignore_ascii_case(BAD_FILTER))
        || is_comment(row)
    {
        return None;
    }
    let mut rule = Rule::parse(before_comment(row));
    let all = rule.modifiers.len();
    rule.modifiers.retain(|modifier| *modifier != BAD_FILTER);
    (rule.modifiers.len() < all).then(|| rule.identity())
}

/// The parts of a rule.
struct Rule<'r> {
    polarity: Polarity,
    pattern: &'r [u8],
    modifiers: Vec<&'r [u8]>,
}

impl<'r> Rule<'r> {
    /// A name has no `$`, so the modifiers begin at the first one.
    fn parse(rule: &'r [u8]) -> Self {
        let (polarity, rule) = match rule.strip_prefix(b"@@") {
            Some(rule) => (Polarity::Allow, rule),
            None => (Polarity::Deny, rule),
        };
        let dollar = rule.iter().position(|&octet| octet == b'$');
        let (pattern, modifiers) =
            dollar.map_or((rule, None), |at| (&rule[..at], Some(&rule[at + 1..])));
        let modifiers = modifiers.map(|modifiers| {
            modifiers
                .split(|&octet| octet == b',')
                .map(<[u8]>::trim_ascii)
                .collect()
        });
        Self {
            polarity,
            pattern,
            modifiers: modifiers.unwrap_or_default(),
        }
    }

    /// The name that the rule covers, from the pattern behind `||` or `|`. The error is the reason
    /// why the rule is unsupported.
    fn name(&self, pattern: &'r [u8]) -> Result<&'r [u8], &'static str> {
        if !self.modifiers.is_empty() && self.modifiers != [IMPORTANT] {
            return Err("a modifier other than $important");
        }
        // In a blocking rule, `^|` may mean the root page alone.
        let name = pattern.strip_suffix(b"^").or_else(|| {
            pattern
                .strip_suffix(b"^|")
                .filter(|_| self.polarity == Polarity::Allow)
        });
        let name = name.ok_or("does not end in ^")?;
        // Octets beyond ASCII may form an internationalised name; the name parser decides.
        if name.iter().copied().all(is_of_a_name) {
            Ok(name)
        } else {
            Err("a pattern, not a name")
        }
    }

    /// A key that is equal for equal rules, whatever the letter case and the order of modifiers.
    fn identity(mut self) -> Box<[u8]> {
        self.modifiers.sort_unstable();
        let polarity = if self.polarity == Polarity::Allow {
            "@@"
        } else {
            ""
        };
        [
            polarity.as_bytes(),
            self.pattern,
            b"$",
            &self.modifiers.join(&b','),
        ]
        .concat()
        .to_ascii_lowercase()
        .into()
    }
}

/// Counts an unsupported rule; excepts the name of an exception.
fn unsupported(
    row: &[u8],
    rule: &Rule<'_>,
    (scope, rest): (Scope, &[u8]),
    rows: &mut Rows<'_>,
    reason: &str,
) {
    let modifiers = &rule.modifiers;
    let is_of_pages =
        !modifiers.is_empty() && modifiers.iter().all(|modifier| OF_PAGES.contains(modifier));
    match leading_name(rest).filter(|_| rule.polarity == Polarity::Allow && !is_of_pages) {
        Some(name) => {
            let rule = EntryRule {
                important: modifiers.contains(&IMPORTANT),
                ..EntryRule::allow(scope)
            };
            rows.unsupported_exception(row, name, rule, reason);
        }
        None => rows.unsupported(row, reason),
    }
}

/// The whole name at the start of a pattern, after an optional scheme.
fn leading_name(pattern: &[u8]) -> Option<&[u8]> {
    let pattern = [&b"http://"[..], b"https://", b"://"]
        .iter()
        .find_map(|scheme| pattern.strip_prefix(*scheme))
        .unwrap_or(pattern);
    let end = pattern
        .iter()
        .position(|&octet| !is_of_a_name(octet))
        .unwrap_or(pattern.len());
    let (name, behind) = pattern.split_at(end);
    let ends = behind.first().is_none_or(|octet| b"^/|:?*".contains(octet));
    (ends && name.contains(&b'.') && !name.ends_with(b".")).then_some(name)
}

fn is_of_a_name(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-_.".contains(&octet) || !octet.is_ascii()
}

/// `!`, `#` and the `[Adblock Plus 2.0]` header. `##.banner` and similar rows look like comments
/// and are browser rules.
fn is_comment(row: &[u8]) -> bool {
    match row {
        [b'!', ..] => true,
        [b'[', .., b']'] => true,
        [
            b'#',
            b'@' | b'?' | b'$' | b'%',
            b'#' | b'?' | b'@' | b'$' | b'%',
            ..,
        ] => false,
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
        check(
            Adblock,
            "||a.example^\n|b.example^\n",
            "subtree a.example, exact b.example",
            counts(2),
        );
        check(
            Adblock,
            "@@||a.example^\n@@|b.example^\n",
            "allow subtree a.example, allow exact b.example",
            counts(2),
        );
        check(
            Adblock,
            "||a.example^$important\n@@|b.example^$important\n",
            "important subtree a.example, important allow exact b.example",
            counts(2),
        );
        check(
            Adblock,
            "||Bücher.example^\r\n||192.0.2.1^\n",
            "subtree xn--bcher-kva.example, subtree 192.0.2.1",
            counts(2),
        );
    }

    #[test]
    fn comments_and_headers_say_nothing() {
        check(
            Adblock,
            "[Adblock Plus 2.0]\n! title\n# note\n##\n## note\n#### note\n!\n\n",
            "",
            counts(0),
        );
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
            "||a.example^$important,important",
            "||a.example^|",
            "@@@@||a.example^",
            "@@||a.*.example^",
            "@@/regex[0-9]/",
            "@@||a.example^$elemhide",
            "@@||a.example^$generichide,specifichide",
            "||a.example^#comment",
            "||a.example^ ! comment",
            "||a.example^ ; comment",
            "a.example#@#.banner",
            "a.example#?#div",
            "a.example#$#body { margin: 0 }",
            "a.example#comment",
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
    fn a_comment_begins_with_a_hash_after_white_space() {
        check(
            Adblock,
            "||a.example^ # why\n@@||b.example^\t#why\n",
            "subtree a.example, allow subtree b.example",
            counts(2),
        );
    }

    #[test]
    fn an_exception_that_ends_at_its_host_is_an_exception() {
        check(
            Adblock,
            "@@||a.example^|\n@@|b.example^|\n",
            "allow subtree a.example, allow exact b.example",
            counts(2),
        );
        check(
            Adblock,
            "@@||a.example^|$important\n",
            "important allow subtree a.example",
            counts(1),
        );
    }

    #[test]
    fn a_name_whose_exception_says_more_is_let_through_as_a_whole() {
        for rule in [
            "@@||a.example^$third-party",
            "@@||a.example^$script,domain=b.example",
            "@@||a.example/path",
            "@@||a.example/path^$image",
            "@@||a.example",
            "@@||a.example|",
            "@@||a.example:8080^",
            "@@||a.example*",
            "@@a.example",
            "@@://a.example^",
            "@@||a.example^$dnstype=AAAA",
        ] {
            check(
                Adblock,
                rule,
                "allow subtree a.example",
                counts(0).unsupported(1),
            );
        }
        check(
            Adblock,
            "@@|https://a.example^\n@@|a.example/\n",
            "allow exact a.example, allow exact a.example",
            counts(0).unsupported(2),
        );
        check(
            Adblock,
            "@@||a.example^$important,third-party\n",
            "important allow subtree a.example",
            counts(0).unsupported(1),
        );
    }

    #[test]
    fn a_bad_filter_takes_away_the_very_rule_it_names() {
        let both_ways = |rule: &str, filter: &str, entries: &str, count: u64| {
            check(
                Adblock,
                format!("{rule}\n{filter}\n||z.example^\n"),
                entries,
                counts(count),
            );
            check(
                Adblock,
                format!("{filter}\n{rule}\n||z.example^\n"),
                entries,
                counts(count),
            );
        };
        both_ways(
            "||a.example^",
            "||a.example^$badfilter",
            "subtree z.example",
            1,
        );
        both_ways(
            "||A.Example^",
            "||a.example^$badfilter # why",
            "subtree z.example",
            1,
        );
        both_ways(
            "@@||a.example^",
            "@@||a.example^$badfilter",
            "subtree z.example",
            1,
        );
        both_ways(
            "||a.example^$important",
            "||a.example^$badfilter,important",
            "subtree z.example",
            1,
        );
        both_ways(
            "@@||a.example^$script,third-party",
            "@@||a.example^$third-party,script,badfilter",
            "subtree z.example",
            1,
        );
        for (rule, filter) in [
            ("||a.example^", "||a.example^$important,badfilter"),
            ("||a.example^", "@@||a.example^$badfilter"),
            ("||a.example^", "||b.a.example^$badfilter"),
            ("||a.example^", "|a.example^$badfilter"),
            ("||a.example^", "! ||a.example^$badfilter"),
        ] {
            let text = format!("{filter}\n{rule}\n");
            check(Adblock, text, "subtree a.example", counts(1));
        }
    }

    #[test]
    fn a_rule_without_a_name_is_bad_and_one_for_a_registry_is_refused() {
        check(Adblock, "||^\n||a..example^\n", "", counts(0).bad(2));
        check(Adblock, b"||caf\xe9.example^\n", "", counts(0).bad(1));
        check(
            Adblock,
            "||com^\n|com^\n@@||com^\n",
            "exact com, allow subtree com",
            counts(2).public_suffixes(1),
        );
    }
}
