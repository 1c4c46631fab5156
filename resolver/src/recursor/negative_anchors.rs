//! Negative trust anchors, RFC 7646: names at and below which nothing is validated for a while,
//! because their zone is broken.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use policy::name::{Name, NameRef};

/// A negative trust anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegativeTrustAnchor {
    pub name: Name,
    /// Its end, in seconds since 1970. None for one of the configuration.
    pub until_unix_s: Option<u64>,
}

/// The names at and below which validation has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegativeAnchorChanges {
    /// Nothing is validated there from now on.
    pub begun: Vec<Name>,
    /// All is validated there again.
    pub ended: Vec<Name>,
}

/// The negative trust anchors in force.
#[derive(Default)]
pub(super) struct NegativeAnchors(RwLock<InForce>);

#[derive(Default)]
struct InForce {
    anchors: Vec<NegativeTrustAnchor>,
    /// How often they were replaced.
    version: u64,
}

impl NegativeAnchors {
    /// Whether one is at or above a name. A trust anchor below it, `anchored`, counts more (RFC 7646
    /// section 2).
    pub fn covers(&self, name: NameRef<'_>, anchored: NameRef<'_>, now_unix_s: u64) -> bool {
        self.read().anchors.iter().any(|anchor| {
            let negative = anchor.name.borrow();
            anchor.until_unix_s.is_none_or(|until| now_unix_s < until)
                && name.is_within(negative)
                && (anchored == negative || !anchored.is_within(negative))
        })
    }

    /// Replaces all. Returns the names below which validation has changed.
    pub fn replace(&self, anchors: Vec<NegativeTrustAnchor>) -> NegativeAnchorChanges {
        let mut in_force = self.0.write().unwrap_or_else(PoisonError::into_inner);
        in_force.version += 1;
        let current = &mut in_force.anchors;
        let is_in =
            |name: &Name, all: &[NegativeTrustAnchor]| all.iter().any(|known| known.name == *name);
        let gone = current.iter().filter(|known| !is_in(&known.name, &anchors));
        let new = anchors.iter().filter(|new| !is_in(&new.name, current));
        let names = |anchors: &mut dyn Iterator<Item = &NegativeTrustAnchor>| {
            anchors.map(|anchor| anchor.name.clone()).collect()
        };
        let changes = NegativeAnchorChanges {
            begun: names(&mut { new }),
            ended: names(&mut { gone }),
        };
        *current = anchors;
        changes
    }

    /// The number of the anchors in force now, for [`Self::if_unchanged`].
    pub fn version(&self) -> u64 {
        self.read().version
    }

    /// Caches what was derived since [`Self::version`], if the anchors are still the same. What is
    /// cached here is cached before [`Self::replace`], so the caller of that can remove it.
    pub fn if_unchanged(&self, version: u64, cache: impl FnOnce()) {
        let in_force = self.read();
        if in_force.version == version {
            cache();
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, InForce> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(name: &str, until_unix_s: Option<u64>) -> NegativeTrustAnchor {
        NegativeTrustAnchor {
            name: Name::parse(name).unwrap(),
            until_unix_s,
        }
    }

    #[test]
    fn an_anchor_covers_its_name_and_what_is_below_until_its_end() {
        let anchors = NegativeAnchors::default();
        let root = Name::root();
        let covers = |name: &str, now| {
            anchors.covers(Name::parse(name).unwrap().borrow(), root.borrow(), now)
        };
        assert!(!covers("de", 1));
        let changed = anchors.replace(vec![anchor("de", Some(10)), anchor("corp.test", None)]);
        assert_eq!((changed.begun.len(), changed.ended.len()), (2, 0));
        assert!(covers("de", 9) && covers("www.example.de", 9) && covers("corp.test", u64::MAX));
        assert!(!covers("de", 10) && !covers("test", 1) && !covers("xde", 1));
        let below = Name::parse("a.corp.test").unwrap();
        let name = Name::parse("b.a.corp.test").unwrap();
        assert!(anchors.covers(name.borrow(), root.borrow(), 1));
        assert!(!anchors.covers(name.borrow(), below.borrow(), 1));
        let changed = anchors.replace(vec![anchor("corp.test", None), anchor("uk", Some(10))]);
        let names = ["uk", "de"].map(|name| vec![Name::parse(name).unwrap()]);
        assert_eq!([changed.begun, changed.ended], names);
    }

    #[test]
    fn what_was_derived_before_a_change_is_not_cached_after_it() {
        let anchors = NegativeAnchors::default();
        let is_cached = |version| {
            let mut cached = false;
            anchors.if_unchanged(version, || cached = true);
            cached
        };
        let before = anchors.version();
        assert!(is_cached(before));
        anchors.replace(vec![anchor("de", Some(10))]);
        assert!(!is_cached(before) && is_cached(anchors.version()));
        let before = anchors.version();
        anchors.replace(Vec::new());
        assert!(!is_cached(before), "an end changes them as well");
    }
}
