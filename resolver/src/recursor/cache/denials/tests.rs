//! Tests of the cache of validated denials: which zone speaks for a name, and what is evicted.

use policy::name::Name;

use super::*;
use crate::recursor::dnssec::{
    Synthesis, ValidationBudget, ValidationSettings,
    testing::{name, sets},
};

const BUDGET: u64 = 1 << 20;
const NOW: Duration = Duration::ZERO;

/// The records of a zone without other names than its apex.
fn learn(cache: &DenialCache, zone: &str) {
    let dot = if zone == "." { "" } else { "." };
    let soa = format!("{zone}{dot} 300 SOA ns.test. h.test. 1 3600 600 86400 120");
    let apex = format!("{zone}{dot} 300 NSEC {zone}{dot} NS SOA RRSIG NSEC DNSKEY");
    learn_sets(cache, zone, &soa, &apex);
}

fn learn_sets(cache: &DenialCache, zone: &str, soa: &str, proofs: &str) {
    let (soa, proofs) = (sets(soa), sets(proofs));
    cache.learn(
        name(zone).borrow(),
        soa.first().map(|set| (set, 300)),
        proofs.iter().map(|set| (set, 300)),
        NOW,
        50,
    );
}

/// The zone that denies a name, looked for up to a zone that encloses the name.
fn denied_by(cache: &DenialCache, text: &str, top: &str) -> Option<Name> {
    let (subject, top) = (name(text), name(top));
    let zones = (subject.borrow(), top.borrow());
    let context = ValidationContext {
        now_unix: 0,
        settings: &ValidationSettings::default(),
        budget: &ValidationBudget::default(),
    };
    let found = cache.synthesise(subject.borrow(), Rtype::A, zones, NOW, context)?;
    assert_eq!(found.conclusion, Synthesis::NxDomain);
    Some(found.soa.owner)
}

#[test]
fn the_deepest_zone_that_is_known_speaks_for_a_name() {
    let cache = DenialCache::new(BUDGET);
    assert_eq!(denied_by(&cache, "a.b.example", "."), None);
    learn(&cache, ".");
    assert_eq!(denied_by(&cache, "a.b.example", "."), Some(Name::root()));
    // A delegation to this zone is known.
    assert_eq!(denied_by(&cache, "a.b.example", "example"), None);
    learn(&cache, "example");
    learn(&cache, "other.example");
    for top in [".", "example"] {
        assert_eq!(denied_by(&cache, "a.b.example", top), Some(name("example")));
    }
    assert_eq!(cache.len(), 3);
}

#[test]
fn what_says_something_of_a_name_and_those_below_is_removed() {
    let cache = DenialCache::new(BUDGET);
    for zone in [".", "example", "a.b.example", "c.example", "test"] {
        learn(&cache, zone);
    }
    cache.remove_about(name("b.example").borrow());
    assert_eq!(denied_by(&cache, "x.a.b.example", "."), None);
    assert_eq!(
        denied_by(&cache, "x.c.example", "."),
        Some(name("c.example"))
    );
    assert_eq!(denied_by(&cache, "x.test", "."), Some(name("test")));
    cache.remove_about(Name::root().borrow());
    assert_eq!((cache.len(), cache.octets()), (0, 0));
}

#[test]
fn a_zone_without_records_of_use_is_not_kept() {
    let cache = DenialCache::new(BUDGET);
    let soa = "example. 300 SOA ns.test. h.test. 1 3600 600 86400 120";
    let compact = "a.example. 300 NSEC \\000.a.example. RRSIG NSEC TYPE128";
    learn_sets(&cache, "example", soa, compact);
    assert_eq!((cache.len(), cache.octets()), (0, 0));
}

#[test]
fn the_zone_that_was_used_least_recently_makes_room() {
    let cache = DenialCache::new(BUDGET);
    learn(&cache, "used.test");
    learn(&cache, "unused.test");
    for number in 0..3_000 {
        learn(&cache, &format!("n{number}.test"));
        assert!(cache.octets() <= BUDGET, "after {number}");
        assert!(denied_by(&cache, "x.used.test", ".").is_some());
    }
    assert_eq!(denied_by(&cache, "x.unused.test", "."), None);
    let before = cache.len();
    assert!((100..3_000).contains(&before), "{before} zones");
    cache.resize(BUDGET / 4);
    assert!(cache.octets() <= BUDGET / 4 && cache.len() * 3 < before);
}

#[test]
fn one_zone_has_an_eighth_of_the_budget_at_most() {
    let cache = DenialCache::new(BUDGET);
    learn(&cache, "small.test");
    let small = cache.octets();
    for number in 0..5_000 {
        let soa = "large.test. 300 SOA ns.test. h.test. 1 3600 600 86400 120";
        let proof = format!(
            "n{number:05}.large.test. 300 NSEC n{:05}.large.test. A",
            number + 1
        );
        learn_sets(&cache, "large.test", soa, &proof);
        assert!(
            cache.octets() <= small + BUDGET / 8 + 1_000,
            "after {number}"
        );
    }
    assert!(cache.octets() > BUDGET / 20, "half of it is kept at least");
    assert!(denied_by(&cache, "x.small.test", ".").is_some());
}
