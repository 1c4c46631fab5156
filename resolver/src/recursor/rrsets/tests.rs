//! What is kept, for how long, and what it is an answer to.

use std::net::Ipv4Addr;

use hickory_proto::rr::{RecordType, rdata};

use crate::upstream::proto_name;

use super::*;

const A: u16 = 1;
const AAAA: u16 = 28;
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
    RrSet {
        owner: name(owner),
        record_type: A,
        records: vec![record(owner, ttl_s, 1)],
    }
}

fn soa(ttl_s: u32, minimum: u32) -> Record {
    let root = hickory_proto::rr::Name::root();
    Record::from_rdata(
        root.clone(),
        ttl_s,
        RData::SOA(rdata::SOA::new(root.clone(), root, 1, 2, 3, 4, minimum)),
    )
}

fn rrsets() -> RrSetCache {
    RrSetCache::new(1 << 20, BOUNDS)
}

/// What is found of a name and type after so many seconds.
fn found(rrsets: &RrSetCache, of: &str, record_type: u16, now: u64) -> &'static str {
    match rrsets
        .find(name(of).borrow(), record_type, at(now))
        .map(|kept| kept.fact.clone())
    {
        Some(CachedData::Records(_)) => "records",
        Some(CachedData::NoData(_)) => "no data",
        Some(CachedData::NxDomain(_)) => "no name",
        None => "nothing",
    }
}

#[test]
fn a_denial_holds_for_its_name_in_every_type_and_for_no_other_name() {
    let rrsets = rrsets();
    rrsets.insert_nxdomain(
        name("a.example").borrow(),
        Some(soa(60, 60)),
        Trust::Authoritative,
        at(0),
    );
    assert_eq!(
        [A, AAAA, 16].map(|record_type| found(&rrsets, "a.example", record_type, 59)),
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
        "a denial has an end"
    );
}

#[test]
fn a_denial_of_a_shown_name_only_makes_longer_ones_shown() {
    let rrsets = rrsets();
    let is_denied = |of: &str, now| rrsets.is_denied(name(of).borrow(), at(now));
    rrsets.insert_minimised_nxdomain(name("a.example").borrow(), Some(soa(60, 60)), at(0));
    assert_eq!(
        [A, AAAA].map(|record_type| found(&rrsets, "a.example", record_type, 1)),
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
        Some(soa(60, 60)),
        Trust::Authoritative,
        at(0),
    );
    assert!(is_denied("b.example", 59) && !is_denied("b.example", 60));
    rrsets.insert_nodata(
        name("c.example").borrow(),
        A,
        Some(soa(60, 60)),
        Trust::Authoritative,
        at(0),
    );
    assert!(!is_denied("c.example", 1));
}

#[test]
fn what_exists_denies_its_denial() {
    for (what, rank, left) in [
        ("records", Trust::Authoritative, "nothing"),
        ("no data", Trust::Authoritative, "nothing"),
        ("records", Trust::NonAuthoritative, "no name"),
    ] {
        let rrsets = rrsets();
        rrsets.insert_nxdomain(
            name("a.example").borrow(),
            Some(soa(60, 60)),
            Trust::NonAuthoritative,
            at(0),
        );
        match what {
            "records" => rrsets.insert(set("a.example", 60), rank, Duration::MAX, at(0)),
            _ => rrsets.insert_nodata(
                name("a.example").borrow(),
                A,
                Some(soa(60, 60)),
                rank,
                at(0),
            ),
        }
        assert_eq!(
            (
                found(&rrsets, "a.example", A, 1),
                found(&rrsets, "a.example", AAAA, 1)
            ),
            (what, left),
            "{what} {rank:?}"
        );
    }
    let rrsets = rrsets();
    rrsets.insert_nxdomain(
        name("a.example").borrow(),
        Some(soa(60, 60)),
        Trust::Authoritative,
        at(0),
    );
    rrsets.insert_nodata(
        name("a.example").borrow(),
        A,
        Some(soa(60, 60)),
        Trust::NonAuthoritative,
        at(0),
    );
    assert_eq!(
        found(&rrsets, "a.example", AAAA, 1),
        "no name",
        "but not by fallback"
    );
}

#[test]
fn what_is_better_vouched_for_replaces_what_is_worse_while_that_lives() {
    let last = |rrsets: &RrSetCache, now| {
        let kept = rrsets
            .exact(name("a.example").borrow(), A, at(now))
            .unwrap();
        let CachedData::Records(set) = &kept.fact else {
            panic!("{:?}", kept.fact)
        };
        set.records[0].clone()
    };
    let keep = |rrsets: &RrSetCache, octet, rank, now| {
        let set = RrSet {
            records: vec![record("a.example", 60, octet)],
            ..set("a.example", 60)
        };
        rrsets.insert(set, rank, Duration::MAX, at(now));
    };
    let rrsets = rrsets();
    for (octet, rank, now, kept) in [
        (1, Trust::NonAuthoritative, 0, 1),
        (2, Trust::NonAuthoritative, 1, 2),
        (3, Trust::Authoritative, 2, 3),
        (4, Trust::NonAuthoritative, 3, 3),
        (5, Trust::Authoritative, 4, 5),
        (6, Trust::NonAuthoritative, 64, 6),
    ] {
        keep(&rrsets, octet, rank, now);
        assert_eq!(
            last(&rrsets, now),
            record("a.example", 60, kept),
            "{octet} {rank:?}"
        );
    }
}

#[test]
fn ttls_have_bounds_and_zero_is_not_kept() {
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
        "the least is never more than the most"
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
        Trust::Authoritative,
        Duration::MAX,
        at(0),
    );
    rrsets.insert_nodata(
        name("b.example").borrow(),
        A,
        None,
        Trust::Authoritative,
        at(0),
    );
    rrsets.insert_nxdomain(
        name("c.example").borrow(),
        None,
        Trust::Authoritative,
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
fn what_a_zone_says_of_a_server_counts_as_long_as_its_delegation() {
    let rrsets = rrsets();
    let server_address = |of: &str, now| {
        rrsets
            .server_address(name(of).borrow(), A, at(now))
            .is_some()
    };
    rrsets.insert(set("ns.example", 100), Trust::Authoritative, at(50), at(0));
    assert!(server_address("ns.example", 49));
    assert_eq!(
        found(&rrsets, "ns.example", A, 60),
        "records",
        "a client may know it longer"
    );
    assert!(!server_address("ns.example", 50));
    assert_eq!(
        found(&rrsets, "ns.example", A, 60),
        "nothing",
        "what no server is asked by is asked for again"
    );
    rrsets.insert(set("ns.example", 10), Trust::Authoritative, at(50), at(0));
    assert!(
        server_address("ns.example", 9) && !server_address("ns.example", 10),
        "nor longer than its TTL"
    );
    rrsets.insert_nodata(
        name("no.example").borrow(),
        A,
        Some(soa(60, 60)),
        Trust::Authoritative,
        at(0),
    );
    assert!(
        server_address("no.example", 59),
        "that there is no address is known as well"
    );
    assert_eq!(found(&rrsets, "no.example", A, 59), "no data");
}

#[test]
fn failures_last_longer_each_time_in_a_row() {
    let rrsets = rrsets();
    let of = name("a.example");
    let failure = |now: u64| rrsets.failure(of.borrow(), A, at(now));
    let mut now = 1;
    for lasts in [3, 6, 12, 24, 48, 60, 60] {
        rrsets.insert_failure(of.borrow(), A, ResolutionFailure::Useless, at(now));
        // The same failure, met by another question meanwhile, makes it no longer.
        rrsets.insert_failure(of.borrow(), A, ResolutionFailure::Unreachable, at(now + 1));
        assert_eq!(
            (failure(now + lasts - 1), failure(now + lasts)),
            (Some(ResolutionFailure::Useless), None),
            "{lasts} s"
        );
        now += lasts;
    }
    assert_eq!(rrsets.failure(of.borrow(), AAAA, at(2)), None);
    // After as long again without one, it begins anew.
    rrsets.insert_failure(of.borrow(), A, ResolutionFailure::Useless, at(now + 60));
    assert_eq!(
        (failure(now + 62), failure(now + 63)),
        (Some(ResolutionFailure::Useless), None)
    );
    rrsets.remove_failure(of.borrow(), A);
    assert_eq!(failure(now + 61), None);
}

#[test]
fn what_is_kept_knows_how_long_it_holds() {
    let rrsets = rrsets();
    rrsets.insert(
        set("a.example", 100),
        Trust::Authoritative,
        Duration::MAX,
        at(0),
    );
    let kept = rrsets.exact(name("a.example").borrow(), A, at(0)).unwrap();
    assert_eq!(
        [0, 1, 99, 100, 200].map(|now| kept.remaining_s(at(now))),
        [100, 99, 1, 0, 0]
    );
    assert_eq!(
        kept.remaining_s(Duration::from_millis(99_001)),
        1,
        "what is begun counts whole"
    );
    assert_eq!(
        [0, 89, 90, 100].map(|now| kept.is_prefetch_due(at(now))),
        [false, false, true, true]
    );
}

#[test]
fn facts_weigh_what_they_hold_and_the_budget_holds() {
    let of = |record_type, data: RData| {
        let record = Record::from_rdata(proto_name(name("a.example").borrow()), 60, data);
        RrSet {
            owner: name("a.example"),
            record_type,
            records: vec![record],
        }
        .octets()
    };
    let empty = SET_OVERHEAD_OCTETS + RECORD_OVERHEAD_OCTETS;
    assert_eq!((set("a.example", 60).octets(), empty), (520, 520));
    assert_eq!(
        of(
            16,
            RData::TXT(rdata::TXT::new(vec!["12345".to_owned(), "678".to_owned()]))
        ),
        empty + 2 * 32 + 8
    );
    assert_eq!(
        of(
            39,
            RData::Unknown {
                code: RecordType::DNAME,
                rdata: rdata::NULL::with(vec![0; 9])
            }
        ),
        empty + 9
    );
    assert_eq!(
        of(
            2,
            RData::NS(rdata::NS(proto_name(name("ns.example").borrow())))
        ),
        empty + 2 * 12
    );
    let rrsets = RrSetCache::new(1 << 20, BOUNDS);
    for number in 0..10_000 {
        rrsets.insert(
            set(&format!("n{number}.example"), 60),
            Trust::Authoritative,
            Duration::MAX,
            at(0),
        );
        rrsets.insert_nxdomain(
            name(&format!("d{number}.example")).borrow(),
            Some(soa(60, 60)),
            Trust::Authoritative,
            at(0),
        );
        assert!(rrsets.usage().0 <= 1 << 20, "after {number}");
    }
    let (octets, facts) = rrsets.usage();
    assert!(
        octets > 1 << 19 && (900..2_100).contains(&facts),
        "{octets} octets, {facts} facts"
    );
}
