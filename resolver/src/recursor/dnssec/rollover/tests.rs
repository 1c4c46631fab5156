//! A zone whose keys change from day to day.

use super::*;
use crate::{
    message::types::Rtype,
    recursor::dnssec::{
        context::ValidationSettings,
        testing::{NOW, Signer, name, opaque, with_context_at},
    },
};

const DAY_S: u64 = 86_400;

/// A zone with trust anchors.
struct Zone {
    point: TrustPoint,
}

fn signer(flags: u16) -> Signer {
    let mut signer = Signer::new("example", 15);
    signer.flags = flags;
    signer
}

/// The DNSKEY RRset of the first keys, and of more, signed by the first ones.
fn key_set(signed_by: &[&Signer], more: &[&Signer]) -> RrSet {
    let owner = name("example");
    let all = signed_by.iter().chain(more);
    let records = all.map(|signer| opaque(owner.borrow(), Rtype::DNSKEY, signer.data()));
    let unsigned = RrSet::unsigned(owner.clone(), Rtype::DNSKEY, records.collect());
    signed_by
        .iter()
        .fold(unsigned, |set, signer| signer.signed(set))
}

/// The key with the REVOKE flag.
fn revoked(mut signer: Signer) -> Signer {
    signer.flags |= 0x80;
    signer
}

impl Zone {
    fn with(anchors: Vec<TrustAnchor>) -> Self {
        Self {
            point: TrustPoint::new(name("example"), anchors, Vec::new()),
        }
    }

    /// What changes when the zone has this RRset on a day. The clock of the signatures stands still.
    fn see(&mut self, day: u64, set: &RrSet) -> Result<Vec<Option<KeyState>>, ValidationFault> {
        let now = u64::from(NOW) + day * DAY_S;
        with_context_at(NOW, ValidationSettings::default(), |context| {
            let observed = ObservedKeys::of(set, &self.point.anchors(context), context)?;
            let changes = self.point.observe(&observed, now, context);
            Ok(changes.into_iter().map(|change| change.state).collect())
        })
    }

    fn trusts(&self, signer: &Signer) -> bool {
        with_context_at(NOW, ValidationSettings::default(), |context| {
            let anchors = self.point.anchors(context);
            let key = signer.key();
            let zone = name("example");
            let vouches =
                |anchor: &TrustAnchor| anchor.vouches_for(zone.borrow(), &key, context) == Ok(true);
            anchors.iter().any(vouches)
        })
    }
}

fn pending_until(day: u64) -> Option<KeyState> {
    let until_unix_s = u64::from(NOW) + day * DAY_S;
    Some(KeyState::Pending { until_unix_s })
}

#[test]
fn a_new_key_is_trusted_after_thirty_days_in_the_set() {
    let (old, new) = (signer(257), signer(257));
    let mut zone = Zone::with(vec![TrustAnchor::Ds(old.ds())]);
    assert_eq!(zone.see(0, &key_set(&[&old], &[])), Ok(vec![]));
    let both = key_set(&[&old], &[&new]);
    assert_eq!(zone.see(1, &both), Ok(vec![pending_until(31)]));
    assert_eq!(zone.see(30, &both), Ok(vec![]));
    assert!(!zone.trusts(&new));
    assert_eq!(zone.see(31, &both), Ok(vec![Some(KeyState::Valid)]));
    assert!(zone.trusts(&new) && zone.trusts(&old));
    // The old one may leave and come back, and the new one carries the zone alone.
    let alone = key_set(&[&new], &[]);
    assert_eq!(zone.see(40, &alone), Ok(vec![Some(KeyState::Missing)]));
    assert!(zone.trusts(&old));
    assert_eq!(zone.see(41, &both), Ok(vec![Some(KeyState::Valid)]));
}

#[test]
fn a_new_key_that_leaves_begins_anew() {
    let (old, new) = (signer(257), signer(257));
    let mut zone = Zone::with(vec![old.anchor()]);
    let both = key_set(&[&old], &[&new]);
    zone.see(0, &both).unwrap();
    assert_eq!(zone.see(20, &key_set(&[&old], &[])), Ok(vec![None]));
    assert_eq!(zone.see(25, &both), Ok(vec![pending_until(55)]));
    assert_eq!(zone.see(40, &both), Ok(vec![]));
    assert!(!zone.trusts(&new));
}

#[test]
fn a_revoked_key_is_never_trusted_again() {
    let (old, new) = (signer(257), signer(257));
    let mut zone = Zone::with(vec![TrustAnchor::Ds(old.ds()), new.anchor()]);
    let again = key_set(&[&new], &[&old]);
    zone.see(0, &key_set(&[&old, &new], &[])).unwrap();
    let old = revoked(old);
    // Not signed by itself, the flag says nothing.
    let unsigned = key_set(&[&new], &[&old]);
    assert_eq!(zone.see(1, &unsigned), Ok(vec![Some(KeyState::Missing)]));
    let signed = key_set(&[&old, &new], &[]);
    assert_eq!(zone.see(2, &signed), Ok(vec![Some(KeyState::Revoked)]));
    assert_eq!(zone.see(3, &again), Ok(vec![]));
    assert_eq!(left(&zone), 1, "the other one");
}

/// The number of anchors that are left.
fn left(zone: &Zone) -> usize {
    with_context_at(NOW, ValidationSettings::default(), |context| {
        zone.point.anchors(context).len()
    })
}

#[test]
fn a_configured_key_that_was_revoked_before_the_first_look_is_not_trusted() {
    let (old, new) = (signer(257), signer(257));
    let anchors = vec![TrustAnchor::Ds(old.ds()), new.anchor()];
    let mut zone = Zone::with(anchors);
    let old = revoked(old);
    let changes = zone.see(0, &key_set(&[&new, &old], &[]));
    assert_eq!(changes, Ok(vec![Some(KeyState::Revoked)]));
    assert_eq!(left(&zone), 1);
    // The last one revokes itself: nothing is left, and the zone is as if it had no anchor.
    let new = revoked(new);
    let changes = zone.see(1, &key_set(&[&new], &[&signer(257)]));
    assert_eq!(changes, Ok(vec![Some(KeyState::Revoked)]));
    assert_eq!((left(&zone), zone.point.keys().len()), (0, 2));
}

#[test]
fn what_no_trusted_key_signs_changes_nothing() {
    let (old, other) = (signer(257), signer(257));
    let mut zone = Zone::with(vec![old.anchor()]);
    zone.see(0, &key_set(&[&old], &[])).unwrap();
    let forged = key_set(&[&other], &[&old]);
    assert!(zone.see(1, &forged).is_err());
    assert_eq!(zone.point.keys().len(), 1);
    // A key that signs data only is no anchor.
    let signing = signer(256);
    let set = key_set(&[&old], &[&signing]);
    assert_eq!(zone.see(2, &set), Ok(vec![]));
}

#[test]
fn the_next_look_is_within_an_hour_and_fifteen_days() {
    let look = |original_ttl_s| {
        let observed = ObservedKeys {
            keys: None,
            revoked: Vec::new(),
            original_ttl_s,
        };
        observed.look_again_s()
    };
    assert_eq!(
        [60, 172_800, u32::MAX].map(look),
        [3_600, 86_400, 1_296_000]
    );
}
