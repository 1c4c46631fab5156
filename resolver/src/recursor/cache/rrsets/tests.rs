//! What the cache keeps, for how long, and which queries it answers.

use std::net::Ipv4Addr;

use hickory_proto::rr::{RecordType, rdata};
use policy::name::Name;

use crate::{upstream::proto_name, weighed::measured::check};

use super::*;

const A: Rtype = Rtype::A;
const AAAA: Rtype = Rtype::AAAA;
const BOUNDS: TtlBounds = TtlBounds {
    min_s: 0,
    max_s: 86_400,
    negative_max_s: 3_600,
};

fn at(second: u64) -> Duration {
    Duration::from_secs(second)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn record(owner: &str, ttl_s: u32, last: u8) -> Record {
    Record::from_rdata(
        proto_name(name(owner).borrow()),
        ttl_s,
        RData::A(Ipv4Addr::new(192, 0, 2, last).into()),
    )
}

fn set(owner: &str, ttl_s: u32) -> RrSet {
    RrSet::unsigned(name(owner), A, vec![record(owner, ttl_s, 1)])
}

fn soa(ttl_s: u32, minimum: u32) -> Record {
    let root = hickory_proto::rr::Name::root();
    Record::from_rdata(
        root.clone(),
        ttl_s,
        RData::SOA(rdata::SOA::new(root.clone(), root, 1, 2, 3, 4, minimum)),
    )
}

/// A denial whose SOA has this TTL and MINIMUM.
fn denial(ttl_s: u32) -> Denial {
    let soa = soa(ttl_s, ttl_s);
    Denial {
        soa: Some(RrSet::unsigned(name("example"), Rtype::SOA, vec![soa])),
        proofs: Vec::new(),
    }
}

fn rrsets() -> RrSetCache {
    RrSetCache::new(1 << 20, BOUNDS)
}

/// What is found for a name and type after so many seconds.
fn found(rrsets: &RrSetCache, of: &str, rtype: Rtype, now: u64) -> &'static str {
    match rrsets
        .find(name(of).borrow(), rtype, at(now))
        .map(|entry| entry.data.clone())
    {
        Some(CachedData::Records(_)) => "records",
        Some(CachedData::NoData(_)) => "no data",
        Some(CachedData::NxDomain(_)) => "no name",
        None => "nothing",
    }
}

#[test]
fn a_negative_entry_covers_all_types_of_its_name_and_no_other_name() {
    let rrsets = rrsets();
    rrsets.insert_nxdomain(
        name("a.example").borrow(),
        denial(60),
        Credibility::Authoritative,
        at(0),
    );
    assert_eq!(
        [A, AAAA, Rtype::TXT].map(|rtype| found(&rrsets, "a.example", rtype, 59)),
        ["no name"; 3]
    );
    assert_eq!(
        ["b.a.example", "c.b.a.example", "example", "aa.example"]
            .map(|of| found(&rrsets, of, A, 59)),
        ["nothing"; 4]
    );
    assert_eq!(
        found(&rrsets, "a.example", A, 60),
        "nothing",
        "negative entries expire"
    );
}

#[test]
fn a_denial_of_a_minimised_name_answers_no_query() {
    let rrsets = rrsets();
    let is_denied = |of: &str, now| rrsets.is_denied(name(of).borrow(), at(now));
    rrsets.insert_minimised_nxdomain(name("a.example").borrow(), denial(60), at(0));
    assert_eq!(
        [A, AAAA].map(|rtype| found(&rrsets, "a.example", rtype, 1)),
        ["nothing"; 2]
    );
    assert!(
        is_denied("a.example", 59)
            && !is_denied("a.example", 60)
            && !is_denied("b.a.example", 1)
            && !is_denied("example", 1)
    );
    rrsets.insert_nxdomain(
        name("b.example").borrow(),
        denial(60),
        Credibility::Authoritative,
        at(0),
    );
    assert!(is_denied("b.example", 59) && !is_denied("b.example", 60));
    rrsets.insert_nodata(
        name("c.example").borrow(),
        A,
        denial(60),
        Credibility::Authoritative,
        at(0),
    );
    assert!(!is_denied("c.example", 1));
}

#[test]
fn data_of_a_name_remove_its_nxdomain_entry() {
    for (what, credibility, left) in [
        ("records", Credibility::Authoritative, "nothing"),
        ("no data", Credibility::Authoritative, "nothing"),
        ("records", Credibility::NonAuthoritative, "no name"),
    ] {
        let rrsets = rrsets();
        rrsets.insert_nxdomain(
            name("a.example").borrow(),
            denial(60),
            Credibility::NonAuthoritative,
            at(0),
        );
        match what {
            "records" => rrsets.insert(set("a.example", 60), credibility, Duration::MAX, at(0)),
            _ => rrsets.insert_nodata(
                name("a.example").borrow(),
                A,
                denial(60),
                credibility,
                at(0),
            ),
        }
        assert_eq!(
            (
                found(&rrsets, "a.example", A, 1),
                found(&rrsets, "a.example", AAAA, 1)
            ),
            (what, left),
            "{what} {credibility:?}"
        );
    }
    let rrsets = rrsets();
    rrsets.insert_nxdomain(
        name("a.example").borrow(),
        denial(60),
        Credibility::Authoritative,
        at(0),
    );
    rrsets.insert_nodata(
        name("a.example").borrow(),
        A,
        denial(60),
        Credibility::NonAuthoritative,
        at(0),
    );
    assert_eq!(
        found(&rrsets, "a.example", AAAA, 1),
        "no name",
        "but not by non-authoritative data"
    );
}

#[test]
fn only_data_as_credible_replace_an_entry_that_lives() {
    let last = |rrsets: &RrSetCache, now| {
        let entry = rrsets.get(name("a.example").borrow(), A, at(now)).unwrap();
        let CachedData::Records(set) = &entry.data else {
            panic!("{:?}", entry.data)
        };
        set.records[0].clone()
    };
    let keep = |rrsets: &RrSetCache, octet, credibility, now| {
        let set = RrSet {
            records: vec![record("a.example", 60, octet)],
            ..set("a.example", 60)
        };
        rrsets.insert(set, credibility, Duration::MAX, at(now));
    };
    let rrsets = rrsets();
    for (octet, credibility, now, kept) in [
        (1, Credibility::NonAuthoritative, 0, 1),
        (2, Credibility::NonAuthoritative, 1, 2),
        (3, Credibility::Authoritative, 2, 3),
        (4, Credibility::NonAuthoritative, 3, 3),
        (5, Credibility::Authoritative, 4, 5),
        (6, Credibility::NonAuthoritative, 64, 6),
    ] {
        keep(&rrsets, octet, credibility, now);
        assert_eq!(
            last(&rrsets, now),
            record("a.example", 60, kept),
            "{octet} {credibility:?}"
        );
    }
}

#[test]
fn ttls_have_bounds_and_a_ttl_of_zero_is_not_cached() {
    let of = |ttls: &[u32]| {
        RrSet {
            records: ttls
                .iter()
                .map(|ttl| record("a.example", *ttl, 1))
                .collect(),
            ..set("a.example", 0)
        }
        .ttl_s()
    };
    assert_eq!(
        [
            of(&[]),
            of(&[7]),
            of(&[9, 5, 8]),
            of(&[u32::MAX]),
            of(&[1 << 31]),
            of(&[(1 << 31) - 1])
        ],
        [0, 7, 5, 0, 0, (1 << 31) - 1]
    );
    let bounds = TtlBounds {
        min_s: 20,
        max_s: 30,
        negative_max_s: 10,
    };
    assert_eq!(
        [0, 25, 99].map(|ttl| bounds.of_set(&set("a.example", ttl))),
        [20, 25, 30]
    );
    let of_denial = |bounds: TtlBounds, ttl, minimum| bounds.of_denial(Some(&soa(ttl, minimum)));
    assert_eq!(
        [
            of_denial(BOUNDS, 60, 90),
            of_denial(BOUNDS, 90, 60),
            of_denial(BOUNDS, 9_999, 9_999),
            of_denial(BOUNDS, 0, 60)
        ],
        [60, 60, 3_600, 0]
    );
    assert_eq!(
        (of_denial(bounds, 0, 0), of_denial(bounds, 60, 60)),
        (10, 10),
        "the maximum wins over the minimum"
    );
    assert_eq!(
        BOUNDS.of_denial(Some(&record("a.example", 60, 1))),
        0,
        "no SOA at all"
    );
    assert_eq!(BOUNDS.of_denial(None), 5);
    assert_eq!(
        TtlBounds {
            negative_max_s: 0,
            ..BOUNDS
        }
        .of_denial(None),
        0
    );
    let rrsets = rrsets();
    rrsets.insert(
        set("a.example", 0),
        Credibility::Authoritative,
        Duration::MAX,
        at(0),
    );
    rrsets.insert_nodata(
        name("b.example").borrow(),
        A,
        Denial::default(),
        Credibility::Authoritative,
        at(0),
    );
    rrsets.insert_nxdomain(
        name("c.example").borrow(),
        Denial::default(),
        Credibility::Authoritative,
        at(0),
    );
    assert_eq!(
        ["a.example", "b.example", "c.example"].map(|of| found(&rrsets, of, A, 0)),
        ["nothing", "no data", "no name"]
    );
    assert_eq!(
        ["b.example", "c.example"].map(|of| found(&rrsets, of, A, 5)),
        ["nothing"; 2]
    );
}

#[test]
fn the_address_of_a_server_expires_with_the_delegation() {
    let rrsets = rrsets();
    let server_address = |of: &str, now| {
        rrsets
            .server_address(name(of).borrow(), A, at(now))
            .is_some()
    };
    rrsets.insert(
        set("ns.example", 100),
        Credibility::Authoritative,
        at(50),
        at(0),
    );
    assert!(server_address("ns.example", 49));
    assert_eq!(
        found(&rrsets, "ns.example", A, 60),
        "records",
        "a client may get it for longer"
    );
    assert!(!server_address("ns.example", 50));
    assert_eq!(
        found(&rrsets, "ns.example", A, 60),
        "nothing",
        "an address of no use is looked up again"
    );
    rrsets.insert(
        set("ns.example", 10),
        Credibility::Authoritative,
        at(50),
        at(0),
    );
    assert!(
        server_address("ns.example", 9) && !server_address("ns.example", 10),
        "nor longer than its TTL"
    );
    rrsets.insert_nodata(
        name("no.example").borrow(),
        A,
        denial(60),
        Credibility::Authoritative,
        at(0),
    );
    assert!(
        server_address("no.example", 59),
        "negative entries count as well"
    );
    assert_eq!(found(&rrsets, "no.example", A, 59), "no data");
}

#[test]
fn an_entry_knows_its_remaining_ttl() {
    let rrsets = rrsets();
    rrsets.insert(
        set("a.example", 100),
        Credibility::Authoritative,
        Duration::MAX,
        at(0),
    );
    let entry = rrsets.get(name("a.example").borrow(), A, at(0)).unwrap();
    assert_eq!(
        [0, 1, 99, 100, 200].map(|now| entry.remaining_s(at(now))),
        [100, 99, 1, 0, 0]
    );
    assert_eq!(
        entry.remaining_s(Duration::from_millis(99_001)),
        1,
        "rounded up"
    );
    assert_eq!(
        [0, 89, 90, 100].map(|now| entry.is_prefetch_due(at(now))),
        [false, false, true, true]
    );
}

/// A row of the table: an entry of the cache under its key.
fn row(owner: &str, data: CachedData) -> (QuestionKey, Arc<CacheEntry>) {
    let entry = entry(data, Credibility::Authoritative, 60, at(0));
    (key(name(owner).borrow(), A).to_owned(), Arc::new(entry))
}

fn opaque(owner: &str, code: RecordType, octets: usize) -> Record {
    let rdata = rdata::NULL::with(vec![0; octets]);
    Record::from_rdata(
        proto_name(name(owner).borrow()),
        60,
        RData::Unknown { code, rdata },
    )
}

#[test]
fn entries_weigh_what_the_allocator_gave() {
    let weigh =
        |(key, entry): &(QuestionKey, Arc<CacheEntry>)| EntryWeigher.heap_octets(key, entry);
    let records = |records: &dyn Fn(&str) -> Vec<Record>, number: usize| {
        let owner = format!("n{number}.some.example");
        let records = records(&owner);
        row(
            &owner,
            CachedData::Records(RrSet::unsigned(name(&owner), A, records)),
        )
    };
    let addresses = |count: u8| {
        move |owner: &str| {
            (0..count)
                .map(|last| record(owner, 60, last))
                .collect::<Vec<_>>()
        }
    };
    check("an address", |number| records(&addresses(1), number), weigh);
    check(
        "40 addresses",
        |number| records(&addresses(40), number),
        weigh,
    );
    let text = |owner: &str| vec![opaque(owner, RecordType::TXT, 1_200)];
    check("a text", |number| records(&text, number), weigh);
    let alias = |owner: &str| {
        let target = "a.target.with.a.name.that.is.no.part.of.it.edge.example.net";
        let data = RData::CNAME(rdata::CNAME(proto_name(name(target).borrow())));
        vec![Record::from_rdata(
            proto_name(name(owner).borrow()),
            60,
            data,
        )]
    };
    check("a long alias", |number| records(&alias, number), weigh);
    let signed = |number: usize| {
        let owner = format!("n{number}.some.example");
        let signatures = vec![opaque(&owner, RecordType::RRSIG, 90)];
        let set = RrSet {
            signatures,
            ..set(&owner, 60)
        };
        row(&owner, CachedData::Records(set))
    };
    check("a signed address", signed, weigh);
    let denied = |number: usize, proofs: usize| {
        let owner = format!("n{number}.some.example");
        let proof = |number: usize| {
            let name = format!("p{number}.some.example");
            RrSet {
                signatures: vec![opaque(&name, RecordType::RRSIG, 90)],
                ..set(&name, 60)
            }
        };
        let proofs = (0..proofs).map(proof).collect();
        row(
            &owner,
            CachedData::NxDomain(Denial {
                proofs,
                ..denial(60)
            }),
        )
    };
    check("a denial", |number| denied(number, 0), weigh);
    check("a denial with proofs", |number| denied(number, 3), weigh);
}

#[test]
fn the_budget_of_rrsets_holds_for_any_entries() {
    const BUDGET: u64 = 1 << 20;
    let rrsets = rrsets();
    for number in 0..10_000 {
        rrsets.insert(
            set(&format!("n{number}.example"), 60),
            Credibility::Authoritative,
            Duration::MAX,
            at(0),
        );
        rrsets.insert_nxdomain(
            name(&format!("d{number}.example")).borrow(),
            denial(60),
            Credibility::Authoritative,
            at(0),
        );
        assert!(rrsets.usage().0 <= BUDGET + BUDGET / 20, "after {number}");
    }
    let (octets, entries) = rrsets.usage();
    assert!(
        octets > BUDGET / 2 && (700..2_100).contains(&entries),
        "{octets} octets, {entries} entries"
    );
    rrsets.resize(BUDGET / 4);
    assert!(rrsets.usage().1 * 4 <= entries + 40);
}
