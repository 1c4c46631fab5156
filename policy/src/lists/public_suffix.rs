//! The public-suffix guard: an entry that covers everything below `co.uk` is a mistake, in a feed
//! as well as in a mandate.
//!
//! There are two cases. Below a top-level domain lies a part of the Internet, which no list means:
//! the row is rejected. A longer suffix (`co.uk`, `github.io`, but also `bet.br` and
//! `ec2-192-0-2-1.compute-1.amazonaws.com`) is often listed for the name itself, while its children
//! have other owners: the row is narrowed to the name.

use psl::Psl as _;

use crate::name::NameRef;

/// The most labels of a suffix that is looked up: the longest rule of the public suffix list has
/// seven (`psl` 2.1.247, wildcard labels included), plus one.
const SUFFIX_LABELS_MAX: usize = 8;

/// A kind of public suffix: a name whose children belong to other owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuffixKind {
    /// A single label, or the root.
    TopLevel,
    /// A suffix of a registry with two labels or more.
    Registry,
    /// A suffix of a hosting provider with two labels or more.
    Private,
}

/// The kind of public suffix that a name is; `None` for other names.
#[must_use]
pub fn public_suffix(name: NameRef<'_>) -> Option<SuffixKind> {
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
        return Some(SuffixKind::TopLevel);
    }
    // The length is that of the text with the dots between labels: the wire form without its first
    // and last octet.
    let suffix = psl::List.find(labels[..count].iter().rev().copied());
    let kind = match suffix.typ? {
        psl::Type::Icann => SuffixKind::Registry,
        psl::Type::Private => SuffixKind::Private,
    };
    (suffix.len == name.wire().len() - 2).then_some(kind)
}

/// The registrable domain above a name: the suffix of a registry and one more label, so the zone
/// that one registrant has. Below a suffix of a hosting provider it is the provider's, whose servers
/// answer for all of its customers. A name without one stands for itself.
#[must_use]
pub fn registrable_domain(name: NameRef<'_>) -> NameRef<'_> {
    let name = name.last_labels(name.label_count().min(SUFFIX_LABELS_MAX));
    let mut labels = [b"".as_slice(); SUFFIX_LABELS_MAX];
    let mut count = 0;
    for (label, slot) in name.labels().zip(&mut labels) {
        *slot = label;
        count += 1;
    }
    let mut labels = &labels[..count];
    loop {
        let suffix = psl::List.find(labels.iter().rev().copied());
        let mut octets = 0;
        let suffix_labels = labels
            .iter()
            .rev()
            .take_while(|label| {
                octets += label.len() + 1;
                octets <= suffix.len + 1
            })
            .count();
        if suffix.typ != Some(psl::Type::Private) || suffix_labels <= 1 {
            return name.last_labels((suffix_labels + 1).min(count));
        }
        // The names above the provider's suffix have a shorter one.
        labels = &labels[labels.len() - (suffix_labels - 1)..];
    }
}

/// The domain of the one registrant, or the one customer of a hosting provider, that a name belongs
/// to: its public suffix and one more label. `None` for a public suffix, a single label, and the
/// names of addresses and services below `arpa`.
#[must_use]
pub fn registrant_domain(name: NameRef<'_>) -> Option<NameRef<'_>> {
    let name = name.last_labels(name.label_count().min(SUFFIX_LABELS_MAX));
    let mut labels = [b"".as_slice(); SUFFIX_LABELS_MAX];
    let mut count = 0;
    for (label, slot) in name.labels().zip(&mut labels) {
        *slot = label;
        count += 1;
    }
    let labels = &labels[..count];
    if labels.last() == Some(&ARPA) {
        return None;
    }
    let suffix = psl::List.find(labels.iter().rev().copied());
    let mut octets = 0;
    let suffix_labels = labels
        .iter()
        .rev()
        .take_while(|label| {
            octets += label.len() + 1;
            octets <= suffix.len + 1
        })
        .count();
    (suffix_labels < count).then(|| name.last_labels(suffix_labels + 1))
}

/// The top-level domain of the Internet's infrastructure (RFC 3172).
const ARPA: &[u8] = b"arpa";

/// A label that no rule of the list has.
const UNUSED_LABEL: &[u8] = b"nobodys-own-label";

/// Whether a name, or any possible child of it, is a public suffix. `kobe.jp` is none itself, but
/// every name directly below it is one.
#[must_use]
pub fn is_at_or_above_suffix(name: NameRef<'_>) -> bool {
    let child = || {
        let wire = [&[UNUSED_LABEL.len() as u8], UNUSED_LABEL, name.wire()].concat();
        NameRef::from_wire(&wire).is_ok_and(|child| public_suffix(child).is_some())
    };
    public_suffix(name).is_some() || child()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    fn check(name: &str, expected: Option<SuffixKind>) {
        assert_eq!(
            public_suffix(Name::parse(name).unwrap().borrow()),
            expected,
            "{name}"
        );
    }

    #[test]
    fn a_registrable_domain_is_one_label_below_the_public_suffix() {
        for (name, expected) in [
            (".", "."),
            ("com", "com"),
            ("example.com", "example.com"),
            ("a.b.example.com", "example.com"),
            ("a.b.example.co.uk", "example.co.uk"),
            ("co.uk", "co.uk"),
            ("a.someone.github.io", "github.io"),
            ("x1.cloudfront.net", "cloudfront.net"),
            ("a.x.s3.dualstack.eu-west-1.amazonaws.com", "amazonaws.com"),
            ("someone.blogspot.co.uk", "blogspot.co.uk"),
            ("www.name.test", "name.test"),
            ("1.0.0.127.in-addr.arpa", "127.in-addr.arpa"),
        ] {
            let parsed = Name::parse(name).unwrap();
            let domain = registrable_domain(parsed.borrow());
            assert_eq!(
                domain.to_string(),
                Name::parse(expected).unwrap().to_string(),
                "{name}"
            );
        }
        let long = Name::parse(&format!("{}example.com", "a.".repeat(100))).unwrap();
        assert_eq!(registrable_domain(long.borrow()).to_string(), "example.com");
    }

    #[test]
    fn a_registrant_is_one_label_below_a_registry_or_a_hosting_provider() {
        for (name, expected) in [
            (".", None),
            ("com", None),
            ("co.uk", None),
            ("github.io", None),
            ("printer", None),
            ("7.2.0.192.in-addr.arpa", None),
            ("example.com", Some("example.com")),
            ("a.b.example.co.uk", Some("example.co.uk")),
            ("a.someone.github.io", Some("someone.github.io")),
            ("x1.cloudfront.net", Some("x1.cloudfront.net")),
            ("www.name.test", Some("name.test")),
        ] {
            let parsed = Name::parse(name).unwrap();
            let domain = registrant_domain(parsed.borrow());
            assert_eq!(
                domain.map(|domain| domain.to_string()).as_deref(),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn top_level_names_and_shared_suffixes_are_told_apart() {
        for name in [".", "com", "xn--p1ai", "unknown-tld"] {
            check(name, Some(SuffixKind::TopLevel));
        }
        for name in ["co.uk", "bet.br", "公司.cn", "anything.ck"] {
            check(name, Some(SuffixKind::Registry));
        }
        for name in [
            "github.io",
            "blogspot.com",
            "ec2-192-0-2-1.compute-1.amazonaws.com",
        ] {
            check(name, Some(SuffixKind::Private));
        }
        for name in [
            "example.com",
            "example.co.uk",
            "someone.github.io",
            "www.ck",
            "ads.unknown-tld",
            "192.0.2.1",
            "a.公司.cn",
        ] {
            check(name, None);
        }
        check(&"a.".repeat(100), None);
    }

    #[test]
    fn a_name_whose_every_child_is_a_suffix_is_above_one() {
        let is_above = |name: &str| is_at_or_above_suffix(Name::parse(name).unwrap().borrow());
        for name in [".", "com", "co.uk", "github.io", "kobe.jp", "anything.ck"] {
            assert!(is_above(name), "{name}");
        }
        for name in [
            "example.com",
            "example.co.uk",
            "city.kobe.jp",
            "www.ck",
            "a.example",
        ] {
            assert!(!is_above(name), "{name}");
        }
    }
}
