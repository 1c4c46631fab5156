//! The validator beside hickory's verifier: RRsets of many types, signed by ldns, BIND and Knot DNS
//! and by keys of the test, in any order and letter case, with any TTLs and duplicates.
//!
//! - Ours is asked through the recursor, as it is shipped: a server in memory sends the set, and the
//!   answer is secure or is refused.
//! - hickory's verifier ([`theirs`]) sorts by TTL and received letter case, and keeps duplicates. It
//!   is given the set with those levelled.
//!
//! Both must accept each set as it is, and refuse it with one bit changed.

#![allow(clippy::unwrap_used)] // A test that cannot begin has failed.

mod forms;
mod ours;
mod own_keys;
mod programs;
mod theirs;
mod wire;

use std::collections::BTreeMap;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use self::{
    forms::{random_set, with_odd_owner},
    ours::Validator,
    own_keys::OwnKey,
    wire::{SignedSet, Zone, mangled, with_a_bit_changed},
};

/// What chance begins from. A failure prints the case.
const SEED: u64 = 17;
/// The zone of all sets.
const ZONE: &str = "signed.test";
/// Sets for each algorithm that the test's own keys sign.
const SETS_BY_OWN_KEYS: usize = 400;
/// Times that each set of a signer's zone is changed on its way.
const TIMES_ON_THE_WAY: usize = 3;

/// Counts of what was verified, by type.
type Verified = BTreeMap<u16, usize>;

/// Holds what both say of a set against what they must say, as it is and with one bit changed.
async fn check(
    what: &str,
    zone: &Zone,
    set: &SignedSet,
    chance: &mut StdRng,
    verified: &mut Verified,
) {
    let sent = mangled(set, true, chance);
    let said = Validator::new(zone, chance.random()).ask(&sent).await;
    assert_eq!(said, "secure", "{what}: ours refuses {sent:?}");
    let said = theirs::verify(&sent.levelled(), zone);
    assert_eq!(said, Ok(()), "{what}: hickory refuses {sent:?}");
    *verified.entry(set.rtype).or_default() += 1;

    let sent = mangled(set, false, chance);
    let (bad, place) = with_a_bit_changed(&sent, chance);
    let said = Validator::new(zone, chance.random()).ask(&bad).await;
    assert_ne!(said, "secure", "{what}: ours accepts {place} of {bad:?}");
    let said = theirs::verify(&bad.levelled(), zone);
    assert!(said.is_err(), "{what}: hickory accepts {place} of {bad:?}");
}

/// Checks all sets of a zone.
async fn check_zone(what: &str, zone: &Zone, times: usize, chance: &mut StdRng) -> Verified {
    let mut verified = Verified::new();
    for time in 0..times {
        for (number, set) in zone.sets.iter().enumerate() {
            let what = format!("{what}, time {time}, set {number}");
            check(&what, zone, set, chance, &mut verified).await;
        }
    }
    verified
}

#[tokio::test(start_paused = true)]
async fn both_agree_on_random_sets_of_every_algorithm() {
    let mut chance = StdRng::seed_from_u64(SEED);
    for algorithm in [8, 10, 13, 14, 15] {
        let key = OwnKey::new(algorithm);
        let sets = (0..SETS_BY_OWN_KEYS).map(|number| {
            let mut set = random_set(&format!("n{number}"), &forms::ALL, &mut chance);
            if chance.random() {
                set = with_odd_owner(set, &mut chance);
            }
            key.signed(set, chance.random())
        });
        let sets = sets.collect();
        let zone = key.zone(sets);
        let verified = check_zone(&format!("algorithm {algorithm}"), &zone, 1, &mut chance).await;
        assert_eq!(verified.len(), forms::ALL.len(), "{verified:?}");
    }
}

/// Checks a random zone that a signer has signed.
async fn check_signer(signer: &str, sign: fn(&str, u8) -> String) {
    let mut chance = StdRng::seed_from_u64(SEED);
    for algorithm in [8, 13, 14, 15] {
        let (sets, text) = programs::random_zone(&mut chance);
        let zone = Zone::read(&sign(&text, algorithm), &sets);
        let what = format!("{signer}, algorithm {algorithm}");
        let verified = check_zone(&what, &zone, TIMES_ON_THE_WAY, &mut chance).await;
        for rtype in forms::IN_FILES {
            assert!(verified.contains_key(&rtype.0), "{what}: {verified:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn both_agree_on_what_ldns_signs() {
    check_signer("ldns", programs::by_ldns).await;
}

#[tokio::test(start_paused = true)]
async fn both_agree_on_what_bind_signs() {
    check_signer("BIND", programs::by_bind).await;
}

#[tokio::test(start_paused = true)]
async fn both_agree_on_what_knot_signs() {
    check_signer("Knot", programs::by_knot).await;
}
