//! Automated updates of trust anchors, RFC 5011: which keys of a zone are trusted, as its DNSKEY
//! RRset changes over months.
//!
//! ```text
//!            30 days in each RRset            not in the RRset
//! (new) --> Pending ------------------> Valid <--------------> Missing
//!   ^          │ not in the RRset         │  REVOKE flag, signed by itself │
//!   └──────────┘                          └────────────> Revoked <─────────┘
//! ```

use policy::name::{Name, NameRef};

use crate::recursor::rrset::RrSet;

use super::{
    anchors::TrustAnchor,
    context::ValidationContext,
    dnskey::ZoneKey,
    fault::ValidationFault,
    rrsig,
    zone_keys::{ZoneKeys, ZoneTrust},
};

/// The add hold-down time, RFC 5011 section 2.4.1: 30 days, in seconds, or the original TTL of the
/// DNSKEY RRset if that is longer.
const HOLD_DOWN_S: u64 = 30 * 86_400;
/// The bounds of the time between two looks at a zone's keys, RFC 5011 section 2.3, in seconds.
const LOOK_AGAIN_S: std::ops::RangeInclusive<u32> = 3_600..=15 * 86_400;

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It is trusted from this time on, in seconds since 1970, if it stays in the DNSKEY RRset.
    Pending {
        until_unix_s: u64,
    },
    Valid,
    /// It is trusted, and is not in the DNSKEY RRset.
    Missing,
    /// It is never trusted again.
    Revoked,
}

/// A key that is trusted, may become so, or was.
#[derive(Debug, Clone)]
pub struct TrackedKey {
    /// Without the REVOKE flag.
    pub key: ZoneKey,
    pub state: KeyState,
    /// Since when, in seconds since 1970.
    pub since_unix_s: u64,
}

/// A zone with trust anchors: those of the configuration, and the keys that its own have vouched
/// for.
#[derive(Debug, Clone)]
pub struct TrustPoint {
    zone: Name,
    configured: Vec<TrustAnchor>,
    keys: Vec<TrackedKey>,
}

/// The entry points of a DNSKEY RRset.
#[derive(Debug, Clone)]
pub struct ObservedKeys {
    /// None if no trusted key signs the RRset: then it says nothing but what is revoked.
    keys: Option<Vec<ZoneKey>>,
    /// Keys with the REVOKE flag that sign the RRset. No other signature is needed to revoke a key
    /// (RFC 5011 section 2.1).
    revoked: Vec<ZoneKey>,
    original_ttl_s: u32,
}

/// A key whose state has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The key tag, RFC 4034 appendix B.
    pub tag: u16,
    /// None for a pending key that has left the RRset.
    pub state: Option<KeyState>,
}

impl ObservedKeys {
    /// Reads a DNSKEY RRset, which a key must sign that one of these anchors vouches for; or one that
    /// it revokes.
    ///
    /// # Errors
    /// Why the RRset is bogus, or [`ValidationFault::KeyUnusable`] if its keys are not supported.
    pub fn of(
        set: &RrSet,
        anchors: &[TrustAnchor],
        context: ValidationContext<'_>,
    ) -> Result<Self, ValidationFault> {
        let entries = set.records.iter().filter_map(ZoneKey::of);
        let entries = entries.filter(|key| key.is_entry_point() && key.is_of_zone());
        let (revoked, keys) = entries.partition::<Vec<_>, _>(ZoneKey::is_revoked);
        let zone = set.owner.borrow();
        let is_anchor = |key: &ZoneKey| {
            let key = key.without_revocation();
            let mut anchors = anchors.iter();
            anchors.any(|anchor| anchor.vouches_for(zone, &key, context) == Ok(true))
        };
        let signs = |key: &ZoneKey| rrsig::signs(set, key, context);
        let revoked: Vec<ZoneKey> = revoked.into_iter().filter(signs).collect();
        let trusted = match ZoneKeys::from_anchors(set, anchors, context) {
            Ok(ZoneTrust::Secure(trusted)) => Ok(trusted),
            Ok(ZoneTrust::Insecure(_)) => Err(ValidationFault::KeyUnusable),
            Err(fault) => Err(fault),
        };
        match trusted {
            Ok(trusted) => Ok(Self {
                keys: Some(keys),
                revoked,
                original_ttl_s: trusted.ttl_max_s(),
            }),
            Err(_) if revoked.iter().any(is_anchor) => Ok(Self {
                keys: None,
                revoked,
                original_ttl_s: 0,
            }),
            Err(fault) => Err(fault),
        }
    }

    /// When to look again, in seconds from now: after half of the time that the RRset may be kept.
    #[must_use]
    pub fn look_again_s(&self) -> u32 {
        (self.original_ttl_s / 2).clamp(*LOOK_AGAIN_S.start(), *LOOK_AGAIN_S.end())
    }
}

impl TrustPoint {
    /// A zone with anchors of the configuration, and what was known of its keys.
    #[must_use]
    pub fn new(zone: Name, configured: Vec<TrustAnchor>, keys: Vec<TrackedKey>) -> Self {
        Self {
            zone,
            configured,
            keys,
        }
    }

    #[must_use]
    pub fn zone(&self) -> NameRef<'_> {
        self.zone.borrow()
    }

    #[must_use]
    pub fn keys(&self) -> &[TrackedKey] {
        &self.keys
    }

    /// The anchors of the configuration in presentation form, in order.
    #[must_use]
    pub fn configured(&self) -> Vec<String> {
        let mut configured: Vec<_> = self
            .configured
            .iter()
            .map(TrustAnchor::to_presentation)
            .collect();
        configured.sort();
        configured
    }

    /// Takes in what was known of the keys before.
    pub fn restore(&mut self, keys: Vec<TrackedKey>) {
        self.keys = keys;
    }

    /// Takes in what the zone has now. Returns what has changed.
    pub fn observe(
        &mut self,
        observed: &ObservedKeys,
        now_unix_s: u64,
        context: ValidationContext<'_>,
    ) -> Vec<KeyChange> {
        let mut changes = Vec::new();
        for tracked in &mut self.keys {
            let next = tracked.next(observed, now_unix_s);
            if next == Some(tracked.state) {
                continue;
            }
            changes.push(tracked.change(next));
            if let Some(state) = next {
                (tracked.state, tracked.since_unix_s) = (state, now_unix_s);
            }
        }
        // A pending key that has left is forgotten, as if it had never been there.
        self.keys
            .retain(|tracked| tracked.next(observed, now_unix_s).is_some());
        let hold_down_s = HOLD_DOWN_S.max(observed.original_ttl_s.into());
        for key in observed.keys.iter().flatten() {
            if self.is_configured(key, context) {
                // It is trusted already.
                self.track(key.clone(), KeyState::Valid, now_unix_s);
                continue;
            }
            let until_unix_s = now_unix_s + hold_down_s;
            let state = KeyState::Pending { until_unix_s };
            changes.extend(self.track(key.clone(), state, now_unix_s));
        }
        for key in &observed.revoked {
            let key = key.without_revocation();
            if self.is_configured(&key, context) {
                changes.extend(self.track(key, KeyState::Revoked, now_unix_s));
            }
        }
        changes
    }

    /// Begins to track a key, if it is not tracked.
    fn track(&mut self, key: ZoneKey, state: KeyState, now_unix_s: u64) -> Option<KeyChange> {
        if self.keys.iter().any(|known| known.key.is_same_key(&key)) {
            return None;
        }
        let tracked = TrackedKey {
            key,
            state,
            since_unix_s: now_unix_s,
        };
        let change = tracked.change(Some(state));
        self.keys.push(tracked);
        Some(change)
    }

    fn is_configured(&self, key: &ZoneKey, context: ValidationContext<'_>) -> bool {
        let zone = self.zone.borrow();
        let mut anchors = self.configured.iter();
        anchors.any(|anchor| anchor.vouches_for(zone, key, context) == Ok(true))
    }

    /// The anchors to validate with: those of the configuration that are not revoked, and the keys
    /// that have become trusted. None if all are revoked: the zone is as if it had none (RFC 5011
    /// section 5).
    #[must_use]
    pub fn anchors(&self, context: ValidationContext<'_>) -> Vec<TrustAnchor> {
        let zone = self.zone.borrow();
        let revoked = || {
            self.keys
                .iter()
                .filter(|key| key.state == KeyState::Revoked)
        };
        let is_revoked = |anchor: &&TrustAnchor| {
            revoked().any(|known| anchor.vouches_for(zone, &known.key, context) == Ok(true))
        };
        let configured = self.configured.iter().filter(|anchor| !is_revoked(anchor));
        let learned = self.keys.iter().filter(|known| {
            matches!(known.state, KeyState::Valid | KeyState::Missing)
                && !self.is_configured(&known.key, context)
        });
        let learned = learned.map(|known| TrustAnchor::Key(known.key.clone()));
        configured.cloned().chain(learned).collect()
    }
}

impl TrackedKey {
    /// The state after a look at the RRset, RFC 5011 section 4. None: it is forgotten.
    fn next(&self, observed: &ObservedKeys, now_unix_s: u64) -> Option<KeyState> {
        let is_in = |keys: &[ZoneKey]| keys.iter().any(|key| key.is_same_key(&self.key));
        let is_present = observed.keys.as_deref().map(is_in);
        match (self.state, is_present) {
            (KeyState::Revoked, _) => Some(KeyState::Revoked),
            (KeyState::Valid | KeyState::Missing, _) if is_in(&observed.revoked) => {
                Some(KeyState::Revoked)
            }
            (state, None) => Some(state),
            (KeyState::Pending { .. }, Some(false)) => None,
            (KeyState::Pending { until_unix_s }, Some(true)) if now_unix_s < until_unix_s => {
                Some(self.state)
            }
            (_, Some(true)) => Some(KeyState::Valid),
            (_, Some(false)) => Some(KeyState::Missing),
        }
    }

    fn change(&self, state: Option<KeyState>) -> KeyChange {
        KeyChange {
            tag: self.key.tag,
            state,
        }
    }
}

#[cfg(test)]
mod tests;
