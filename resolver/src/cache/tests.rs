//! What an entry keeps and for how long; what the shared cache and local caches hold.

use std::{sync::Arc, time::Duration};

use policy::{
    category::Taxonomy,
    lists::{
        blocklist::Blocklist,
        mandates::{ActiveMandates, Mandate, MandateDocument},
    },
    name::Name,
};

use super::{classified::Classified, entry::ttl_offsets, shared::ByOctets, *};
use crate::{
    message::types::{Class, Rtype},
    weighed::{HeapWeigher as _, measured::check},
};

/// Room for all entries of a test.
const LOCAL_OCTETS: u64 = 64 << 20;

fn key(name: &Name) -> QuestionKeyRef<'_> {
    QuestionKeyRef::new(name.borrow(), Rtype::A, Class::IN)
}

/// A cached answer of this many octets, for tests of weights and slots. It is no valid message.
fn entry(octets: usize) -> Arc<AnswerEntry> {
    Arc::new(AnswerEntry {
        octets: vec![0; octets].into(),
        ttl_s: 60.into(),
        ..AnswerEntry::empty()
    })
}

#[test]
fn a_borrowed_key_finds_what_its_owned_form_keeps() {
    let cache = AnswerCache::new(1 << 20);
    let names: Vec<Name> = (0..100)
        .map(|number| Name::parse(&format!("n{number}.example")).unwrap())
        .collect();
    for (octets, name) in names.iter().enumerate() {
        cache.insert(key(name).to_owned(), entry(octets));
    }
    for (octets, name) in names.iter().enumerate() {
        assert_eq!(
            cache.find(&key(name)).map(|entry| entry.octets.len()),
            Some(octets)
        );
        for other in [
            QuestionKeyRef::new(name.borrow(), Rtype::AAAA, Class::IN),
            QuestionKeyRef::new(name.borrow(), Rtype::A, Class::CH),
        ] {
            assert!(
                cache.find(&other).is_none(),
                "type and class are part of the key"
            );
        }
    }
}

#[test]
fn a_local_cache_shows_what_the_shared_one_holds_and_newer_entries() {
    let cache = AnswerCache::new(1 << 20);
    let mut local = LocalCache::new(LOCAL_OCTETS);
    let names: Vec<Name> = (0..3_000)
        .map(|number| Name::parse(&format!("n{number}.example")).unwrap())
        .collect();
    for name in &names {
        assert!(local.find(&cache, &key(name)).is_none());
        cache.insert(
            key(name).to_owned(),
            Arc::new(AnswerEntry::placeholder(&key(name))),
        );
    }
    for _ in 0..3 {
        for name in &names {
            let found = local.find(&cache, &key(name)).unwrap();
            assert!(found.answers(&key(name)), "never another name's entry");
            let other = QuestionKeyRef::new(name.borrow(), Rtype::A, Class::CH);
            assert!(
                local.find(&cache, &other).is_none(),
                "the class is part of the key"
            );
            assert!(local.find_newer(&cache, &key(name), &found).is_none());
        }
    }
    // An entry that the shared cache evicted comes back when the local one is used.
    let popular = key(&names[9]);
    let shown = local.find(&cache, &popular).unwrap();
    cache.entries.remove(&popular);
    assert!((0..=64).all(|_| Arc::ptr_eq(&local.find(&cache, &popular).unwrap(), &shown)));
    assert!(Arc::ptr_eq(&cache.find(&popular).unwrap(), &shown));
    let name = &names[7];
    let known = local.find(&cache, &key(&names[7])).unwrap();
    let newer = Arc::new(AnswerEntry {
        ttl_s: 60.into(),
        ..AnswerEntry::placeholder(&key(name))
    });
    cache.insert(key(name).to_owned(), Arc::clone(&newer));
    assert!(Arc::ptr_eq(
        &local.find_newer(&cache, &key(name), &known).unwrap(),
        &newer
    ));
    assert!(Arc::ptr_eq(
        &local.find(&cache, &key(name)).unwrap(),
        &newer
    ));
}

#[test]
fn the_budget_holds_for_any_entries() {
    const BUDGET: u64 = 1 << 20;
    let cache = AnswerCache::new(BUDGET);
    for number in 0..50_000 {
        let name = Name::parse(&format!("n{number}.example")).unwrap();
        // One of 500 weighs more than a shard's budget.
        cache.insert(
            key(&name).to_owned(),
            entry(if number % 500 == 0 {
                60_000
            } else {
                number % 700
            }),
        );
        assert!(
            cache.usage().0 <= BUDGET + BUDGET / 20,
            "{:?} after {number}",
            cache.usage()
        );
    }
    let (octets, entries) = cache.usage();
    assert!(
        octets > BUDGET / 2 && entries > 1_000,
        "{octets} octets, {entries} entries"
    );
}

#[test]
fn popular_names_outlive_a_flood_of_names_asked_once() {
    let cache = AnswerCache::new(1 << 20);
    let hot: Vec<Name> = (0..100)
        .map(|number| Name::parse(&format!("hot{number}.example")).unwrap())
        .collect();
    for name in &hot {
        cache.insert(key(name).to_owned(), entry(100));
    }
    for number in 0..30_000 {
        assert!(
            number % 300 != 0 || hot.iter().all(|name| cache.find(&key(name)).is_some()),
            "lost before {number}"
        );
        cache.insert(
            key(&Name::parse(&format!("cold{number}.example")).unwrap()).to_owned(),
            entry(100),
        );
    }
}

/// A message that answers `a.test. A` with these records: type, TTL, data. The queried name owns
/// them.
fn message(rcode: u8, records: &[(u16, u32, &[u8])]) -> Vec<u8> {
    let mut message = vec![
        0,
        0,
        0x80,
        rcode,
        0,
        1,
        0,
        u8::try_from(records.len()).unwrap(),
        0,
        0,
        0,
        0,
    ];
    message.extend(b"\x01a\x04test\0\0\x01\0\x01");
    for (record_type, ttl_s, data) in records {
        message.extend([0xc0, 12]);
        message.extend(record_type.to_be_bytes());
        message.extend([0, 1]);
        message.extend(ttl_s.to_be_bytes());
        message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        message.extend_from_slice(data);
    }
    message
}

fn address(last: u8) -> [u8; 4] {
    [192, 0, 2, last]
}

fn answered(records: &[(u16, u32, &[u8])], ttl_s: u32, at_s: u64) -> AnswerEntry {
    AnswerEntry::new(message(0, records), ttl_s, Duration::from_secs(at_s)).unwrap()
}

fn ttls(wire: &[u8]) -> Vec<u32> {
    let message = hickory_proto::op::Message::from_vec(wire).unwrap();
    message
        .answers
        .iter()
        .chain(&message.authorities)
        .map(|record| record.ttl)
        .collect()
}

#[test]
fn the_ttls_of_a_cached_answer_fall_second_by_second() {
    let entry = answered(
        &[
            (1, 60, &address(1)),
            (1, 45, &address(2)),
            (16, 300, b"\x04text"),
        ],
        45,
        1_000,
    );
    for age in [0, 1, 2, 44, 45, 46, 60, 299, 300, 400] {
        let mut copy = entry.message().to_vec();
        entry.age_ttls(&mut copy, Duration::from_secs(1_000 + age));
        let left = |ttl: u64| u32::try_from(ttl.saturating_sub(age)).unwrap();
        assert_eq!(ttls(&copy), [left(60), left(45), left(300)], "{age} s old");
        let with = |message: &[u8]| hickory_proto::op::Message::from_vec(message).unwrap();
        let was = with(entry.message());
        let is = with(&copy);
        assert!(
            was.answers
                .iter()
                .zip(&is.answers)
                .all(|(was, is)| was.data == is.data && was.name == is.name),
            "nothing else changes"
        );
    }
    let mut copy = entry.message().to_vec();
    entry.age_ttls(&mut copy, Duration::from_secs(1));
    assert_eq!(
        ttls(&copy),
        [60, 45, 300],
        "an entry stored later than now has age 0"
    );
    entry.set_ttls(&mut copy, 7);
    assert_eq!(ttls(&copy), [7, 7, 7]);
    assert_eq!(
        ttls(entry.message()),
        [60, 45, 300],
        "the entry keeps its TTLs"
    );
}

#[test]
fn an_answer_is_fresh_until_its_ttl_and_stale_until_its_bound() {
    let entry = answered(&[(1, 60, &address(1))], 60, 1_000);
    let longer = Duration::from_secs(100);
    for (age, is_fresh, is_stale) in [
        (0, true, false),
        (59, true, false),
        (60, false, true),
        (61, false, true),
        (159, false, true),
        (160, false, false),
        (10_000, false, false),
    ] {
        let now = Duration::from_secs(1_000 + age);
        assert_eq!(
            (
                entry.is_fresh(now),
                entry.is_stale_but_servable(now, longer)
            ),
            (is_fresh, is_stale),
            "{age} s old"
        );
        assert!(
            !entry.is_stale_but_servable(now, Duration::ZERO),
            "{age} s old, nothing stale is served"
        );
    }
    assert!(entry.is_cacheable());
    let placeholder = AnswerEntry::placeholder(&key(&Name::parse("a.test").unwrap()));
    for now in [Duration::ZERO, Duration::from_secs(1)] {
        assert!(
            !placeholder.is_fresh(now)
                && !placeholder.is_stale_but_servable(now, longer)
                && !placeholder.is_cacheable()
        );
    }
    let momentary = answered(&[(1, 0, &address(1))], 0, 1_000);
    assert!(
        !momentary.is_cacheable()
            && !momentary.is_stale_but_servable(Duration::from_secs(1_000), longer)
    );
}

#[test]
fn a_prefetch_is_claimed_once_and_in_the_last_tenth_of_the_ttl() {
    let is_wanted = |ttl_s: u32, age: u64| {
        let entry = answered(&[(1, ttl_s, &address(1))], ttl_s, 1_000);
        let now = Duration::from_secs(1_000 + age);
        let first = entry.claim_prefetch(now);
        assert!(!entry.claim_prefetch(now), "once: {ttl_s} {age}");
        first
    };
    for (ttl_s, age, expected) in [
        (100, 0, false),
        (100, 50, false),
        (100, 89, false),
        (100, 90, true),
        (100, 99, true),
        (10, 8, false),
        (10, 9, true),
        (9, 8, false),
        (9, 9, false),
        (86_400, 77_759, false),
        (86_400, 77_760, true),
    ] {
        assert_eq!(is_wanted(ttl_s, age), expected, "{age} of {ttl_s} s");
    }
    // An early look does not claim it.
    let entry = answered(&[(1, 100, &address(1))], 100, 0);
    assert_eq!(
        [10, 80, 95, 96].map(|now| entry.claim_prefetch(Duration::from_secs(now))),
        [false, false, true, false]
    );
}

#[test]
fn a_message_that_does_not_parse_is_no_entry() {
    let whole = message(0, &[(1, 60, &address(1)), (16, 60, b"\x04text")]);
    assert!(AnswerEntry::new(whole.clone(), 60, Duration::ZERO).is_some());
    for end in 0..whole.len() {
        assert!(
            AnswerEntry::new(whole[..end].to_vec(), 60, Duration::ZERO).is_none(),
            "{end}"
        );
    }
    assert!(
        AnswerEntry::new([&whole[..], &[0]].concat(), 60, Duration::ZERO).is_none(),
        "an octet behind the message"
    );
    for (place, count) in [(5, 0), (5, 2), (7, 1), (7, 3), (9, 1), (11, 1)] {
        let mut wrong = whole.clone();
        wrong[place] = count;
        assert!(
            AnswerEntry::new(wrong, 60, Duration::ZERO).is_none(),
            "count {count} at {place}"
        );
    }
    assert!(
        AnswerEntry::new(vec![0; 70_000], 60, Duration::ZERO).is_none(),
        "longer than any message"
    );
    let mut moved = whole.clone();
    // The same records as authority and additional ones.
    (moved[7], moved[9], moved[11]) = (0, 1, 1);
    assert_eq!(ttl_offsets(&moved), ttl_offsets(&whole));
    assert_eq!(ttl_offsets(&whole).unwrap(), [30, 46]);
}

#[test]
fn a_name_exists_unless_its_own_denial_says_so() {
    let alias: (u16, u32, &[u8]) = (5, 60, b"\x01b\x04test\0");
    let has_name = |rcode, records: &[_]| {
        AnswerEntry::new(message(rcode, records), 60, Duration::ZERO)
            .unwrap()
            .has_name()
    };
    let none: [(u16, u32, &[u8]); 0] = [];
    assert!(
        has_name(0, &[(1, 60, b"\xc0\0\x02\x01")]) && has_name(0, &none) && has_name(0, &[alias])
    );
    assert!(!has_name(3, &none), "NXDOMAIN");
    assert!(has_name(3, &[alias]), "the target does not exist");
    assert!(
        !has_name(6, &none) && !has_name(6, &[(39, 60, b"\x01b\x04test\0")]),
        "YXDOMAIN"
    );
}

#[test]
fn the_chain_of_an_entry_is_read_from_its_message() {
    let records: [(u16, u32, &[u8]); 6] = [
        (39, 60, b"\x05other\x04test\0"),
        (5, 60, b"\x01B\xc0\x0e"),
        (5, 60, b"\x01b\x04test\0"),
        (65, 60, b"\0\x01\x01h\x04test\0\0\x04\0\x04\xc0\0\x02\x05"),
        (64, 60, b"\0\0\x01s\x04test\0"),
        (65, 60, b"\0\x01\0"),
    ];
    let entry = answered(&records, 60, 0);
    let names: Vec<String> = entry.chain().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["other.test", "b.test", "h.test", "s.test"]);
    let copy = entry.unclassified();
    assert_eq!(
        (copy.chain(), copy.message()),
        (entry.chain(), entry.message())
    );
    assert_eq!(
        (copy.ttl_s(), copy.stored_s),
        (entry.ttl_s(), entry.stored_s)
    );
}

/// Lists that order the block of `test` and all names below it.
fn ordered() -> Arc<Blocklist> {
    let document = MandateDocument {
        name: Some("test".to_owned()),
        basis: "court-order".to_owned(),
        ..Default::default()
    };
    let mandate = Arc::new(Mandate::read("a".parse().unwrap(), document).unwrap());
    let empty = Arc::new(Blocklist::empty(&Taxonomy::shipped()));
    empty.with_mandates(&Arc::new(ActiveMandates::of(vec![mandate])))
}

/// The key of a question, and the placeholder or the answer to it, classified as the engine does.
fn row(name: &str, answer: Option<Vec<u8>>, lists: &Blocklist) -> (QuestionKey, Arc<AnswerEntry>) {
    let name = Name::parse(name).unwrap();
    let entry = match answer {
        Some(message) => AnswerEntry::new(message, 60, Duration::ZERO).unwrap(),
        None => AnswerEntry::placeholder(&key(&name)),
    };
    let classified = Classified::look_up(name.borrow(), entry.chain(), entry.message(), lists);
    assert!(entry.remember(classified, false), "not weighed yet");
    assert!(entry.fix_weight());
    (key(&name).to_owned(), Arc::new(entry))
}

#[test]
fn answers_weigh_what_the_allocator_gave() {
    let weigh = |(key, entry): &(QuestionKey, Arc<AnswerEntry>)| ByOctets.heap_octets(key, entry);
    let none = Blocklist::empty(&Taxonomy::shipped());
    let ordered = ordered();
    let addresses = |count: u8| {
        let data: Vec<[u8; 4]> = (0..count).map(address).collect();
        let records: Vec<(u16, u32, &[u8])> = data.iter().map(|data| (1, 60, &data[..])).collect();
        message(0, &records)
    };
    let fresh = |number| {
        row(
            &format!("r{number}.flood.example"),
            Some(addresses(1)),
            &none,
        )
    };
    check("a fresh name", fresh, weigh);
    let denied = |number| {
        row(
            &format!("r{number}.flood.example"),
            Some(addresses(0)),
            &none,
        )
    };
    check("a denial", denied, weigh);
    let large = |number| {
        row(
            &format!("r{number}.flood.example"),
            Some(addresses(80)),
            &none,
        )
    };
    check("80 addresses", large, weigh);
    let listed = |number| row(&format!("r{number}.test"), None, &ordered);
    check("a listed name", listed, weigh);
    let below = |number| {
        row(
            &format!("a.name.below.r{number}.listed.test"),
            None,
            &ordered,
        )
    };
    check("a name below a listed one", below, weigh);
    let alias: (u16, u32, &[u8]) = (5, 60, b"\x05alias\x04test\0");
    let chain = |number| {
        row(
            &format!("r{number}.example"),
            Some(message(0, &[alias; 12])),
            &none,
        )
    };
    check("a chain of twelve", chain, weigh);
    let listed_chain = |number| {
        row(
            &format!("r{number}.example"),
            Some(message(0, &[alias; 12])),
            &ordered,
        )
    };
    check("a listed chain of twelve", listed_chain, weigh);
}

#[test]
fn an_entry_that_becomes_heavier_is_weighed_anew() {
    let cache = AnswerCache::new(1 << 20);
    let lists = ordered();
    let name = Name::parse("a.test").unwrap();
    let stored = Arc::new(answered(&[(1, 60, &address(1))], 60, 0));
    cache.insert(key(&name).to_owned(), Arc::clone(&stored));
    let before = cache.usage().0;
    let classify = |entry: &AnswerEntry| {
        let classified = Classified::look_up(name.borrow(), entry.chain(), entry.message(), &lists);
        cache.remember(entry, classified, false);
    };
    classify(&stored);
    let replaced = cache.find(&key(&name)).unwrap();
    assert!(!Arc::ptr_eq(&replaced, &stored) && cache.usage().0 > before + 100);
    assert!(replaced.classification.listed().by(lists.stamp()).is_some());
    assert_eq!(replaced.message(), stored.message());
    classify(&replaced);
    assert!(
        Arc::ptr_eq(&cache.find(&key(&name)).unwrap(), &replaced),
        "it weighs enough"
    );
    // Local caches may still hold the first one: it replaces nothing.
    classify(&stored);
    assert!(Arc::ptr_eq(&cache.find(&key(&name)).unwrap(), &replaced));
    cache.entries.remove(&key(&name));
    cache.insert(key(&name).to_owned(), stored);
    assert!(
        cache.usage().0 > before + 100,
        "nor is it stored with its old weight"
    );
}

#[test]
fn a_local_cache_keeps_no_more_than_its_budget() {
    const BUDGET: usize = 64 << 10;
    let cache = AnswerCache::new(16 << 20);
    let mut local = LocalCache::new(BUDGET as u64);
    for number in 0..5_000 {
        let name = Name::parse(&format!("n{number}.example")).unwrap();
        cache.insert(key(&name).to_owned(), entry(number % 1_000));
        assert!(local.find(&cache, &key(&name)).is_some());
        let held: usize = local.held();
        assert!(held <= BUDGET, "{held} after {number}");
    }
    assert!(local.held() > BUDGET / 2);
}

#[test]
fn a_local_cache_keeps_no_message_longer_than_a_datagram() {
    let cache = AnswerCache::new(1 << 20);
    let mut local = LocalCache::new(LOCAL_OCTETS);
    let names = ["small.test", "large.test"].map(|name| Name::parse(name).unwrap());
    for (name, octets) in names.iter().zip([1_232, 1_233]) {
        cache.insert(key(name).to_owned(), entry(octets));
        assert!(local.find(&cache, &key(name)).is_some());
    }
    assert_eq!(local.len(), 1);
    let mut none = LocalCache::disabled();
    assert!(none.find(&cache, &key(&names[0])).is_some() && none.len() == 0);
    let known = cache.find(&key(&names[0])).unwrap();
    assert!(none.find_newer(&cache, &key(&names[0]), &known).is_none());
    cache.insert(key(&names[0]).to_owned(), entry(7));
    assert!(none.find_newer(&cache, &key(&names[0]), &known).is_some());
}

#[test]
fn one_of_64_local_hits_reaches_the_shared_cache() {
    let cache = AnswerCache::new(1 << 20);
    let mut local = LocalCache::new(LOCAL_OCTETS);
    let name = Name::parse("a.test").unwrap();
    cache.insert(
        key(&name).to_owned(),
        Arc::new(AnswerEntry::placeholder(&key(&name))),
    );
    local.find(&cache, &key(&name));
    cache.entries.remove(&key(&name));
    for _ in 1..64 {
        local.find(&cache, &key(&name));
        assert!(cache.find(&key(&name)).is_none());
    }
    local.find(&cache, &key(&name));
    assert!(cache.find(&key(&name)).is_some());
}

#[test]
fn a_local_cache_replaces_only_the_named_entry() {
    let cache = AnswerCache::new(1 << 20);
    let mut local = LocalCache::new(LOCAL_OCTETS);
    let name = Name::parse("a.test").unwrap();
    let [first, second, third] = [(); 3].map(|()| {
        Arc::new(AnswerEntry {
            ttl_s: 60.into(),
            ..AnswerEntry::placeholder(&key(&name))
        })
    });
    cache.insert(key(&name).to_owned(), Arc::clone(&first));
    local.find(&cache, &key(&name));
    cache.insert(key(&name).to_owned(), Arc::clone(&third));
    // The shared cache has a third entry.
    assert!(Arc::ptr_eq(
        &local.find_newer(&cache, &key(&name), &second).unwrap(),
        &third
    ));
    assert!(Arc::ptr_eq(
        &local.find(&cache, &key(&name)).unwrap(),
        &first
    ));
    assert!(Arc::ptr_eq(
        &local.find_newer(&cache, &key(&name), &first).unwrap(),
        &third
    ));
    assert!(Arc::ptr_eq(
        &local.find(&cache, &key(&name)).unwrap(),
        &third
    ));
}

#[test]
fn an_entry_answers_its_name_type_and_class_and_no_other() {
    let name = |text: &str| Name::parse(text).unwrap();
    let entry = AnswerEntry::placeholder(&QuestionKeyRef::new(
        name("a.test").borrow(),
        Rtype::A,
        Class::IN,
    ));
    assert_eq!(entry.message()[12..], b"\x01a\x04test\0\0\x01\0\x01"[..]);
    for (other, rtype, class, expected) in [
        ("a.test", 1, 1, true),
        ("A.Test", 1, 1, true),
        ("b.test", 1, 1, false),
        ("test", 1, 1, false),
        ("a.test.a.test", 1, 1, false),
        ("a.test", 28, 1, false),
        ("a.test", 257, 1, false),
        ("a.test", 1, 3, false),
    ] {
        let other = name(other);
        assert_eq!(
            entry.answers(&QuestionKeyRef::new(
                other.borrow(),
                rtype.into(),
                class.into()
            )),
            expected,
            "{other} {rtype} {class}"
        );
    }
    let elsewhere = name("elsewhere.test");
    let of_a = name("a.test");
    let moved = QuestionKeyRef::new(elsewhere.borrow(), Rtype::AAAA, Class::IN);
    assert_eq!(
        QuestionKeyRef::new(of_a.borrow(), Rtype::AAAA, Class::IN)
            .with_name(elsewhere.borrow())
            .to_owned(),
        moved.to_owned()
    );
}

#[test]
fn a_local_cache_loads_the_entries_of_a_batch() {
    let cache = AnswerCache::new(1 << 20);
    let mut local = LocalCache::new(LOCAL_OCTETS);
    let packet = |name: &str, record_type: u8| {
        [
            &[7; 12],
            Name::parse(name).unwrap().borrow().wire(),
            &[0, record_type, 0, 1],
        ]
        .concat()
    };
    for (name, first) in [("a.test", 0x13), ("b.test", 0x22)] {
        let name = Name::parse(name).unwrap();
        let entry = AnswerEntry {
            octets: vec![first; 40].into(),
            ..AnswerEntry::empty()
        };
        cache.insert(key(&name).to_owned(), Arc::new(entry));
        // The local cache stores what the shared one returns, whatever question it holds.
        local.find(&cache, &key(&name));
    }
    let loaded = |packets: &[Vec<u8>]| local.load_memory(packets.iter().map(Vec::as_slice));
    let [a, b] = ["a.test", "b.test"].map(|name| packet(name, 1));
    assert_eq!(
        (
            loaded(&[]),
            loaded(std::slice::from_ref(&a)),
            loaded(&[a.clone(), b.clone()])
        ),
        (0, 0x13, 0x13 ^ 0x22)
    );
    assert_eq!(
        loaded(&[b"short".to_vec(), b.clone(), packet("a.test", 28)]),
        0x22,
        "a packet that is no query, and a question without an entry"
    );
    let many: Vec<Vec<u8>> = (0..63)
        .map(|_| a.clone())
        .chain([b.clone(), b.clone(), b.clone()])
        .collect();
    assert_eq!(loaded(&many), 0x13 ^ 0x22, "the first 64 packets");
    assert_eq!(
        LocalCache::disabled().load_memory([a.as_slice()].into_iter()),
        0
    );
}
