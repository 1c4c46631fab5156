//! `*.name` a line; `#` begins a comment at the start of the row or after white space. Programs
//! disagree whether the name itself is covered, so the definition's scope decides.

use policy::lists::entry::Scope;

use super::text::names_of;
use crate::rows::{EntryRule, Rows};

pub(super) fn row(row: &[u8], scope: Scope, rows: &mut Rows<'_>) {
    let pattern = names_of(row);
    if pattern.is_empty() {
        return;
    }
    match pattern.strip_prefix(b"*.") {
        Some(name) if !name.iter().any(u8::is_ascii_whitespace) => {
            rows.entry(row, name, EntryRule::deny(scope))
        }
        _ => rows.bad(row, &"not of the form *.name"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, counts};
    use crate::feed::Format::Wildcard;

    #[test]
    fn what_a_star_means_is_the_configuration_s_word() {
        check(
            Wildcard,
            "# head\n*.a.example\n*.B.example # why\n",
            "subtree a.example, subtree b.example",
            counts(2),
        );
        check(
            (Wildcard, "descendants"),
            "*.a.example\n",
            "descendants a.example",
            counts(1),
        );
    }

    #[test]
    fn a_row_without_its_star_is_bad() {
        check(
            Wildcard,
            "a.example\n*a.example\n*.\n*.*.a.example\n* .a.example\n*.a.example b\n",
            "",
            counts(0).bad(6),
        );
        check(
            Wildcard,
            "*.a.example#why\n*.shop.example##.banner\n*.a.example ; why\n*.a.example:80\n",
            "",
            counts(0).bad(4),
        );
        check(Wildcard, "! head\n; head\n// head\n", "", counts(0));
        check(
            Wildcard,
            "*.com\n*.co.uk\n",
            "exact co.uk",
            counts(1).public_suffixes(2),
        );
    }
}
