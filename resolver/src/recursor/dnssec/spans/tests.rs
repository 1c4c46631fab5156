//! Tests of spans: what is concluded from which records, for how long, and what they weigh.

use super::*;
use crate::{
    recursor::dnssec::{
        nsec3::hash_of_name,
        testing::{name, sets, with_context},
    },
    weighed::measured,
};

const SOA: &str = "example. 300 SOA ns.example. h.example. 1 3600 600 86400 120";
const ITERATIONS_MAX: u16 = 50;
const DS: Rtype = Rtype::DS;

fn at(second: u64) -> Duration {
    Duration::from_secs(second)
}

/// The zone `example` with these NSEC and NSEC3 RRsets, which arrive at second 0.
fn zone(text: &str) -> ZoneSpans {
    let mut spans = ZoneSpans::new(name("example").borrow());
    spans.insert_soa(&sets(SOA)[0], 300, at(0));
    insert(&mut spans, text, at(0));
    spans
}

fn insert(spans: &mut ZoneSpans, text: &str, now: Duration) {
    for set in sets(text) {
        spans.insert(&set, set.ttl_s(), now, ITERATIONS_MAX);
    }
}

fn synthesised(spans: &ZoneSpans, text: &str, rtype: Rtype, now: Duration) -> Option<Synthesised> {
    with_context(|context| spans.synthesise(name(text).borrow(), rtype, now, context))
}

/// The conclusion at second 0, and the owners of the proofs.
fn concluded(spans: &ZoneSpans, text: &str, rtype: Rtype) -> Option<(Synthesis, Vec<String>)> {
    let found = synthesised(spans, text, rtype, at(0))?;
    let owners = found.proofs.iter().map(|set| set.owner.to_string());
    Some((found.conclusion, owners.collect()))
}

fn conclusion(spans: &ZoneSpans, text: &str, rtype: Rtype) -> Option<Synthesis> {
    concluded(spans, text, rtype).map(|(conclusion, _)| conclusion)
}

fn owners(names: &[&str]) -> Vec<String> {
    names.iter().map(|owner| (*owner).to_owned()).collect()
}

const NX: Option<Synthesis> = Some(Synthesis::NxDomain);
const NODATA: Option<Synthesis> = Some(Synthesis::NoData);

fn by_wildcard(text: &str) -> Option<Synthesis> {
    Some(Synthesis::Wildcard(name(text)))
}

const NSEC: &str = "example. 300 NSEC alpha.example. NS SOA RRSIG NSEC DNSKEY
    alpha.example. 300 NSEC cut.example. A RRSIG NSEC
    cut.example. 300 NSEC dname.example. NS RRSIG NSEC
    dname.example. 300 NSEC in.out.example. DNAME RRSIG NSEC
    in.out.example. 300 NSEC www.example. A RRSIG NSEC
    www.example. 300 NSEC *.y.example. CNAME RRSIG NSEC
    *.y.example. 300 NSEC a.y.example. A MX RRSIG NSEC
    a.y.example. 300 NSEC example. A RRSIG NSEC";

#[test]
fn nsec_records_deny_what_lies_between_two_names() {
    let spans = zone(NSEC);
    for (text, rtype, expected) in [
        // Covered, with the wildcard at the closest encloser.
        ("beta.example", Rtype::A, NX),
        ("x.y.z.beta.example", Rtype::TXT, NX),
        ("x.alpha.example", Rtype::A, NX),
        // Behind the last name.
        ("zulu.example", Rtype::A, NX),
        ("alpha.example", Rtype::AAAA, NODATA),
        ("alpha.example", Rtype::A, None),
        ("example", Rtype::A, NODATA),
        ("example", Rtype::NS, None),
        // An empty non-terminal.
        ("out.example", Rtype::A, NODATA),
        ("y.example", Rtype::A, NODATA),
        ("x.out.example", Rtype::A, NX),
        // An alias stands in for all types.
        ("www.example", Rtype::A, None),
        // Below a zone cut, and below a DNAME.
        ("x.cut.example", Rtype::A, None),
        ("cut.example", Rtype::A, None),
        ("cut.example", DS, NODATA),
        ("x.cut.example", DS, None),
        ("x.dname.example", Rtype::A, None),
        ("dname.example", Rtype::A, NODATA),
        // A wildcard without the type, and with it.
        ("b.y.example", Rtype::TXT, NODATA),
        ("b.y.example", Rtype::A, by_wildcard("*.y.example")),
        ("c.b.y.example", Rtype::A, by_wildcard("*.y.example")),
    ] {
        assert_eq!(
            conclusion(&spans, text, rtype),
            expected,
            "{text} {rtype:?}"
        );
    }
    let proofs = |text, rtype| concluded(&spans, text, rtype).unwrap().1;
    assert_eq!(
        proofs("beta.example", Rtype::A),
        owners(&["alpha.example", "example"])
    );
    // One record covers name and wildcard.
    assert_eq!(
        proofs("x.alpha.example", Rtype::A),
        owners(&["alpha.example"])
    );
    assert_eq!(proofs("b.y.example", Rtype::A), owners(&["a.y.example"]));
    assert_eq!(
        proofs("b.y.example", Rtype::TXT),
        owners(&["a.y.example", "\\042.y.example"])
    );
}

#[test]
fn nothing_is_concluded_without_all_records_and_the_soa() {
    let lines: Vec<&str> = NSEC.lines().collect();
    let without_wildcard = zone(lines[1]);
    // The zone may have a wildcard.
    assert_eq!(
        conclusion(&without_wildcard, "beta.example", Rtype::A),
        by_wildcard("*.example")
    );
    assert_eq!(
        conclusion(&without_wildcard, "x.alpha.example", Rtype::A),
        NX
    );
    assert_eq!(conclusion(&without_wildcard, "www.example", Rtype::A), None);
    let mut without_soa = ZoneSpans::new(name("example").borrow());
    insert(&mut without_soa, NSEC, at(0));
    assert_eq!(conclusion(&without_soa, "beta.example", Rtype::A), None);
    without_soa.insert_soa(&sets(SOA)[0], 300, at(0));
    assert_eq!(conclusion(&without_soa, "beta.example", Rtype::A), NX);
}

/// RFC 9824, and records that a signer makes for one query (RFC 7129 appendix B).
#[test]
fn records_that_deny_one_name_only_are_not_kept() {
    for text in [
        "www.example. 300 NSEC \\000.www.example. A RRSIG NSEC",
        "www.example. 300 NSEC \\000.www.example. RRSIG NSEC TYPE128",
        "www.example. 300 NSEC zzz.example. RRSIG NSEC TYPE128",
        "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example. 300 NSEC3 1 0 0 - 0p9mhaveqvm6t7vbl5lop2u3t2rp3too A",
        "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example. 300 NSEC3 1 0 0 - t644ebqk9bibcna874givr6joj62mlhv TYPE128",
        "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example. 300 NSEC3 1 0 51 - t644ebqk9bibcna874givr6joj62mlhv A",
        // Out of the zone.
        "www.example. 300 NSEC zzz.test. A RRSIG NSEC",
        "www.test. 300 NSEC zzz.test. A RRSIG NSEC",
    ] {
        let spans = zone(text);
        assert_eq!(spans.len(), 0, "{text}");
    }
}

/// NSEC3 records for these names of the zone `example`, in a complete chain.
fn hashed(names: &[(&str, &str)], flags: u8, salt: &str) -> String {
    let salt_octets = match salt {
        "-" => Vec::new(),
        _ => data_encoding::HEXLOWER.decode(salt.as_bytes()).unwrap(),
    };
    let mut hashes: Vec<(String, &str)> = names
        .iter()
        .map(|(text, types)| {
            let hash = hash_of_name(name(text).borrow(), &salt_octets, 1);
            (data_encoding::BASE32_DNSSEC.encode(&hash), *types)
        })
        .collect();
    hashes.sort();
    let next = hashes.iter().cycle().skip(1);
    hashes
        .iter()
        .zip(next)
        .map(|((hash, types), (next, _))| {
            format!("{hash}.example. 300 NSEC3 1 {flags} 1 {salt} {next} {types}\n")
        })
        .collect()
}

const NAMES: [(&str, &str); 8] = [
    ("example", "NS SOA RRSIG DNSKEY NSEC3PARAM"),
    ("alpha.example", "A RRSIG"),
    ("cut.example", "NS"),
    ("dname.example", "DNAME RRSIG"),
    ("out.example", ""),
    ("in.out.example", "A RRSIG"),
    ("y.example", ""),
    ("*.y.example", "A MX RRSIG"),
];

#[test]
fn nsec3_records_deny_what_lies_between_two_hashes() {
    for salt in ["-", "aabbccdd"] {
        let spans = zone(&hashed(&NAMES, 0, salt));
        assert_eq!(spans.len(), 8);
        for (text, rtype, expected) in [
            ("beta.example", Rtype::A, NX),
            ("x.y.z.beta.example", Rtype::TXT, NX),
            ("x.alpha.example", Rtype::A, NX),
            ("zulu.example", Rtype::A, NX),
            ("alpha.example", Rtype::AAAA, NODATA),
            ("alpha.example", Rtype::A, None),
            ("out.example", Rtype::A, NODATA),
            ("x.out.example", Rtype::A, NX),
            ("x.cut.example", Rtype::A, None),
            ("cut.example", Rtype::A, None),
            ("cut.example", DS, NODATA),
            ("x.dname.example", Rtype::A, None),
            ("b.y.example", Rtype::TXT, NODATA),
            ("b.y.example", Rtype::A, by_wildcard("*.y.example")),
            ("c.b.y.example", Rtype::A, by_wildcard("*.y.example")),
        ] {
            assert_eq!(
                conclusion(&spans, text, rtype),
                expected,
                "{text} {rtype:?}"
            );
        }
        let proofs = concluded(&spans, "b.y.example", Rtype::A).unwrap().1;
        assert_eq!(
            proofs.len(),
            1,
            "the record that covers the next closer name"
        );
        let proofs = concluded(&spans, "beta.example", Rtype::A).unwrap().1;
        assert!((1..=3).contains(&proofs.len()));
    }
}

#[test]
fn one_nsec3_record_denies_all_other_names() {
    let spans = zone(&hashed(&NAMES[..1], 0, "-"));
    for text in ["a.example", "b.example", "c.d.e.example", "*.example"] {
        assert_eq!(conclusion(&spans, text, Rtype::A), NX, "{text}");
    }
    assert_eq!(conclusion(&spans, "example", Rtype::A), NODATA);
}

#[test]
fn nothing_is_concluded_from_a_span_with_opt_out() {
    let spans = zone(&hashed(&NAMES, 1, "-"));
    for (text, rtype) in [
        ("beta.example", Rtype::A),
        ("beta.example", DS),
        ("b.y.example", Rtype::A),
        ("b.y.example", Rtype::TXT),
        ("x.alpha.example", Rtype::A),
    ] {
        assert_eq!(conclusion(&spans, text, rtype), None, "{text}");
    }
    // The record of a name says what it has, with or without the flag.
    assert_eq!(conclusion(&spans, "alpha.example", Rtype::AAAA), NODATA);
    assert_eq!(conclusion(&spans, "cut.example", DS), NODATA);
}

#[test]
fn a_new_salt_replaces_the_records_of_the_old_one() {
    let mut spans = zone(&hashed(&NAMES, 0, "-"));
    insert(&mut spans, &hashed(&NAMES[..1], 0, "aabbccdd"), at(1));
    assert_eq!(spans.len(), 1);
    assert_eq!(conclusion(&spans, "alpha.example", Rtype::AAAA), NX);
}

#[test]
fn a_long_name_costs_few_hashes() {
    let budget = crate::recursor::dnssec::ValidationBudget::default();
    let settings = crate::recursor::dnssec::ValidationSettings::default();
    let context = ValidationContext {
        now_unix: 0,
        settings: &settings,
        budget: &budget,
    };
    let long = format!("{}example", "a.".repeat(100));
    let whole = zone(&hashed(&NAMES, 0, "-"));
    let apart = zone(&hashed(&NAMES, 1, "-"));
    for _ in 0..20 {
        // Denied at the second label; and nowhere, because of Opt-Out.
        let found =
            |spans: &ZoneSpans| spans.synthesise(name(&long).borrow(), Rtype::A, at(0), context);
        assert!(found(&whole).is_some());
    }
    let mut tries = 0;
    while budget.charge_hash().is_ok() {
        tries += 1;
    }
    assert_eq!(tries, 300 - 20 * 3);
    let budget = crate::recursor::dnssec::ValidationBudget::default();
    let context = ValidationContext {
        budget: &budget,
        ..context
    };
    assert!(
        apart
            .synthesise(name(&long).borrow(), Rtype::A, at(0), context)
            .is_none()
    );
    tries = 0;
    while budget.charge_hash().is_ok() {
        tries += 1;
    }
    assert_eq!(tries, 300 - HASHES_MAX);
}

/// RFC 9077: the least of the record's TTL, the SOA's TTL and its MINIMUM field.
#[test]
fn a_conclusion_holds_as_long_as_its_shortest_part() {
    let text = "example. 300 NSEC alpha.example. NS SOA
        alpha.example. 50 NSEC example. A";
    let left = |spans: &ZoneSpans, text: &str, second| {
        let found = synthesised(spans, text, Rtype::TXT, at(second))?;
        let sets = found.proofs.iter().chain([&found.soa]);
        assert!(sets.map(RrSet::ttl_s).all(|ttl| ttl == found.ttl_s));
        Some(found.ttl_s)
    };
    let mut spans = zone(text);
    assert_eq!(left(&spans, "beta.example", 0), Some(50));
    assert_eq!(left(&spans, "beta.example", 20), Some(30));
    assert_eq!(
        left(&spans, "beta.example", 50),
        None,
        "one of the two is gone"
    );
    // MINIMUM is 120, the TTL of the record 300.
    assert_eq!(left(&spans, "example", 0), Some(120));
    assert_eq!(left(&spans, "example", 100), Some(20));
    assert_eq!(left(&spans, "example", 120), None);
    // A newer SOA does not prolong what came before it.
    spans.insert_soa(&sets(SOA)[0], 300, at(100));
    assert_eq!(left(&spans, "example", 119), Some(1));
    assert_eq!(left(&spans, "example", 120), None);
    insert(&mut spans, text, at(200));
    assert_eq!(left(&spans, "example", 200), Some(120));
    // The signature of the SOA ends.
    spans.insert_soa(&sets(SOA)[0], 10, at(200));
    assert_eq!(left(&spans, "example", 200), Some(10));
    assert_eq!(left(&spans, "example", 210), None);
}

#[test]
fn the_older_records_of_a_zone_make_room() {
    let mut spans = zone("");
    for number in 0..1_000 {
        let text = format!(
            "n{number:04}.example. 300 NSEC n{:04}.example. A",
            number + 1
        );
        insert(&mut spans, &text, at(number / 100));
    }
    let whole = spans.heap_octets();
    spans.trim(whole, at(9));
    assert_eq!(spans.len(), 1_000, "there is room");
    spans.trim(whole * 6 / 10, at(9));
    assert!(spans.heap_octets() <= whole * 6 / 10 && spans.len() >= 400);
    let nodata = |spans: &ZoneSpans, text| conclusion(spans, text, Rtype::TXT);
    assert_eq!(nodata(&spans, "n0010.example"), None);
    assert_eq!(nodata(&spans, "n0990.example"), NODATA);
    // What has expired goes first.
    insert(&mut spans, "zzz.example. 300 NSEC example. A", at(305));
    spans.trim(usize::MAX, at(306));
    assert!(spans.len() < 400, "{}", spans.len());
    spans.trim(0, at(306));
    assert_eq!(spans.len(), 0);
    let empty = zone("").heap_octets();
    assert_eq!(spans.heap_octets(), empty);
    insert(&mut spans, &hashed(&NAMES, 0, "-"), at(306));
    insert(&mut spans, &hashed(&NAMES, 0, "-"), at(306));
    spans.trim(0, at(306));
    assert_eq!((spans.len(), spans.heap_octets()), (0, empty));
}

#[test]
fn a_zone_weighs_what_it_takes() {
    const LABELS: usize = 200;
    let nsec = |seed: usize| {
        let mut spans = ZoneSpans::new(name("example").borrow());
        for number in 0..LABELS {
            let mixed = (number * 7_919 + seed) % 100_000;
            let text = format!("n{mixed:05}.example. 300 NSEC zzz.example. A AAAA RRSIG NSEC");
            insert(&mut spans, &text, at(0));
        }
        spans
    };
    let weigh = |spans: &ZoneSpans| size_of::<ZoneSpans>() + spans.heap_octets();
    let (spans, real) = measured::heap_of(|| nsec(0));
    let ratio = (weigh(&spans) - size_of::<ZoneSpans>()) as f64 / real as f64;
    assert!((1.0..=1.2).contains(&ratio), "NSEC: {ratio}");
    let mut spans = zone("");
    let names: Vec<String> = (0..LABELS)
        .map(|number| format!("n{number}.example"))
        .collect();
    let pairs: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.as_str(), "A RRSIG"))
        .collect();
    let sets = sets(&hashed(&pairs, 0, "aabbccdd"));
    let before = spans.heap_octets();
    let ((), real) = measured::heap_of(|| {
        for set in &sets {
            spans.insert(set, 300, at(0), ITERATIONS_MAX);
        }
    });
    let ratio = (spans.heap_octets() - before) as f64 / real as f64;
    assert!((1.0..=1.2).contains(&ratio), "NSEC3: {ratio}");
}
