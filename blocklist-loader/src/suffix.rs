//! The public-suffix guard: an entry that covers everything under `co.uk` is a mistake, whoever made it.
//!
//! Both halves of the list count: `com` because it is a registry, `github.io` because its children have different
//! owners all the same. A lone label always counts, whether or not the list has heard of it, and so does the root.

use policy::name::NameRef;
use psl::Psl as _;

/// The most labels of a rule in the public suffix list, a wildcard's own label included, with one to spare: a longer
/// name cannot stand at a suffix and is not looked up. Counted over the list in `psl` 2.1.247: seven.
const SUFFIX_LABELS_MAX: usize = 8;

/// Whether a name is itself a public suffix, so that everything below it belongs to strangers.
pub(crate) fn is_public_suffix(name: NameRef<'_>) -> bool {
    let mut labels = [b"".as_slice(); SUFFIX_LABELS_MAX];
    let mut count = 0;
    for label in name.labels() {
        if count == SUFFIX_LABELS_MAX {
            return false;
        }
        labels[count] = label;
        count += 1;
    }
    if count <= 1 {
        return true;
    }
    // The length is that of the text, dots between labels included: the wire form without its first and last octet.
    let suffix = psl::List.find(labels[..count].iter().rev().copied());
    suffix.typ.is_some() && suffix.len == name.wire().len() - 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::name::Name;

    fn check(name: &str, is_suffix: bool) {
        assert_eq!(is_public_suffix(Name::parse(name).unwrap().borrow()), is_suffix, "{name}");
    }

    #[test]
    fn registries_and_shared_hosts_are_guarded_and_their_children_are_not() {
        for name in [".", "com", "co.uk", "github.io", "blogspot.com", "xn--p1ai", "公司.cn", "anything.ck", "unknown-tld", "s3.dualstack.cn-north-1.amazonaws.com.cn"] {
            check(name, true);
        }
        for name in ["example.com", "example.co.uk", "someone.github.io", "www.ck", "ads.unknown-tld", "192.0.2.1", "a.公司.cn"] {
            check(name, false);
        }
        check(&"a.".repeat(100), false);
    }
}
