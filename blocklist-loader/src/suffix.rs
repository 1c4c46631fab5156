//! The public-suffix guard: an entry that covers everything under `co.uk` is a mistake, whoever made it.
//!
//! Two kinds are told apart. Under a top-level name lies a part of the Internet, and no list means that: the row is
//! refused. A longer suffix (`co.uk`, `github.io`, but also `bet.br` and `ec2-192-0-2-1.compute-1.amazonaws.com`) is often
//! listed for what stands at the name itself, while its children have owners of their own: the row is narrowed to the name.

use policy::name::NameRef;
use psl::Psl as _;

/// The most labels of a rule in the public suffix list, a wildcard's own label included, with one to spare: a longer
/// name cannot stand at a suffix and is not looked up. Counted over the list in `psl` 2.1.247: seven.
const SUFFIX_LABELS_MAX: usize = 8;

/// A name below which everything belongs to strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suffix {
    /// A single label, or the root.
    TopLevel,
    /// A longer one of a registry.
    Registry,
    /// A longer one of a host that many share.
    Private,
}

/// Whether a name is itself a public suffix, and of which kind.
pub(crate) fn public_suffix(name: NameRef<'_>) -> Option<Suffix> {
    let mut labels = [b"".as_slice(); SUFFIX_LABELS_MAX];
    let mut count = 0;
    for label in name.labels() {
        if count == SUFFIX_LABELS_MAX {
            return None;
        }
        labels[count] = label;
        count += 1;
    }
    if count <= 1 {
        return Some(Suffix::TopLevel);
    }
    // The length is that of the text, dots between labels included: the wire form without its first and last octet.
    let suffix = psl::List.find(labels[..count].iter().rev().copied());
    let kind = match suffix.typ? {
        psl::Type::Icann => Suffix::Registry,
        psl::Type::Private => Suffix::Private,
    };
    (suffix.len == name.wire().len() - 2).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::name::Name;

    fn check(name: &str, expected: Option<Suffix>) {
        assert_eq!(public_suffix(Name::parse(name).unwrap().borrow()), expected, "{name}");
    }

    #[test]
    fn top_level_names_and_shared_suffixes_are_told_apart_and_their_children_are_neither() {
        for name in [".", "com", "xn--p1ai", "unknown-tld"] {
            check(name, Some(Suffix::TopLevel));
        }
        for name in ["co.uk", "bet.br", "公司.cn", "anything.ck"] {
            check(name, Some(Suffix::Registry));
        }
        for name in ["github.io", "blogspot.com", "ec2-192-0-2-1.compute-1.amazonaws.com"] {
            check(name, Some(Suffix::Private));
        }
        for name in ["example.com", "example.co.uk", "someone.github.io", "www.ck", "ads.unknown-tld", "192.0.2.1", "a.公司.cn"] {
            check(name, None);
        }
        check(&"a.".repeat(100), None);
    }
}
