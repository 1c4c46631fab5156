//! Tests of NSEC3 records: the zone of RFC 5155 appendix A, and chains of a shape of their own.

use super::*;
use crate::recursor::dnssec::{
    context::ValidationSettings,
    testing::{NOW, name, opaque, sets, with_context, with_context_at},
};

/// Appendix A of RFC 5155: Opt-Out, 12 iterations, a salt of four octets.
const RFC_5155: [&str; 12] = [
    "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX DNSKEY NS SOA NSEC3PARAM RRSIG",
    "2t7b4g4vsa5smi47k61mv5bv1a22bojr 2vptu5timamqttgl4luu9kg21e0aor3s A RRSIG",
    "2vptu5timamqttgl4luu9kg21e0aor3s 35mthgpgcu1qg68fab165klnsnk3dpvl MX RRSIG",
    "35mthgpgcu1qg68fab165klnsnk3dpvl b4um86eghhds6nea196smvmlo4ors995 NS DS RRSIG",
    "b4um86eghhds6nea196smvmlo4ors995 gjeqe526plbf1g8mklp59enfd789njgi MX RRSIG",
    "gjeqe526plbf1g8mklp59enfd789njgi ji6neoaepv8b5o6k4ev33abha8ht9fgc HINFO A AAAA RRSIG",
    "ji6neoaepv8b5o6k4ev33abha8ht9fgc k8udemvp1j2f7eg6jebps17vp3n8i58h",
    "k8udemvp1j2f7eg6jebps17vp3n8i58h kohar7mbb8dc2ce8a9qvl8hon4k53uhi",
    "kohar7mbb8dc2ce8a9qvl8hon4k53uhi q04jkcevqvmu85r014c7dkba38o0ji5r A RRSIG",
    "q04jkcevqvmu85r014c7dkba38o0ji5r r53bq7cc2uvmubfu5ocmm6pers9tk9en A RRSIG",
    "r53bq7cc2uvmubfu5ocmm6pers9tk9en t644ebqk9bibcna874givr6joj62mlhv MX RRSIG",
    "t644ebqk9bibcna874givr6joj62mlhv 0p9mhaveqvm6t7vbl5lop2u3t2rp3tom HINFO A AAAA RRSIG",
];

const SALT: [u8; 4] = [0xaa, 0xbb, 0xcc, 0xdd];

fn chain(lines: &[String]) -> Option<Nsec3Chain> {
    Nsec3Chain::of(sets(&lines.join("\n")).iter(), name("example").borrow())
}

/// Those records of the RFC's zone whose hashes begin like this.
fn some(beginnings: &[&str]) -> Nsec3Chain {
    some_with(beginnings, "1 1 12 aabbccdd")
}

fn some_with(beginnings: &[&str], parameters: &str) -> Nsec3Chain {
    let lines: Vec<String> = RFC_5155
        .iter()
        .filter(|line| beginnings.iter().any(|begin| line.starts_with(begin)))
        .map(|line| {
            let (owner, rest) = line.split_once(' ').unwrap();
            format!("{owner}.example. 60 NSEC3 {parameters} {rest}")
        })
        .collect();
    assert_eq!(lines.len(), beginnings.len());
    chain(&lines).expect("usable records")
}

const OPT_OUT: Finding = Finding::Insecure(InsecurityCause::OptOut);
const MX: Rtype = Rtype::new(15);

fn nxdomain(mut chain: Nsec3Chain, text: &str) -> Option<Finding> {
    with_context(|context| chain.nxdomain(name(text).borrow(), context)).unwrap()
}

fn nodata(
    mut chain: Nsec3Chain,
    text: &str,
    rtype: Rtype,
) -> Result<Option<Finding>, ValidationFault> {
    with_context(|context| chain.nodata(name(text).borrow(), rtype, context))
}

fn absence(mut chain: Nsec3Chain, text: &str) -> Option<Finding> {
    with_context(|context| chain.absence(name(text).borrow(), context)).unwrap()
}

fn cut_at(mut chain: Nsec3Chain, text: &str) -> Result<Option<Delegation>, ValidationFault> {
    with_context(|context| chain.cut(name(text).borrow(), context))
}

#[test]
fn hashes_are_those_of_rfc_5155() {
    for (text, hash) in [
        ("example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
        ("a.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
        ("ai.example", "gjeqe526plbf1g8mklp59enfd789njgi"),
        ("ns1.example", "2t7b4g4vsa5smi47k61mv5bv1a22bojr"),
        ("ns2.example", "q04jkcevqvmu85r014c7dkba38o0ji5r"),
        ("w.example", "k8udemvp1j2f7eg6jebps17vp3n8i58h"),
        ("*.w.example", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
        ("x.w.example", "b4um86eghhds6nea196smvmlo4ors995"),
        ("y.w.example", "ji6neoaepv8b5o6k4ev33abha8ht9fgc"),
        ("x.y.w.example", "2vptu5timamqttgl4luu9kg21e0aor3s"),
        ("xx.example", "t644ebqk9bibcna874givr6joj62mlhv"),
        ("XX.Example", "t644ebqk9bibcna874givr6joj62mlhv"),
    ] {
        let expected = hash_of_label(hash.as_bytes()).unwrap();
        assert_eq!(
            hash_of_name(name(text).borrow(), &SALT, 12),
            expected,
            "{text}"
        );
    }
}

/// Appendix B.1: the closest encloser x.w.example, the next closer name, the wildcard.
#[test]
fn the_name_error_of_rfc_5155_takes_three_records() {
    let all = ["0p9m", "b4um", "35mt"];
    assert_eq!(nxdomain(some(&all), "a.c.x.w.example"), Some(OPT_OUT));
    let without_opt_out = some_with(&all, "1 0 12 aabbccdd");
    assert_eq!(
        nxdomain(without_opt_out, "a.c.x.w.example"),
        Some(Finding::Secure)
    );
    for missing in 0..all.len() {
        let mut some_of_all = all.to_vec();
        some_of_all.remove(missing);
        assert_eq!(nxdomain(some(&some_of_all), "a.c.x.w.example"), None);
    }
}

/// PowerDNS 4.9 and 5.0: the order of the records must not matter.
#[test]
fn proofs_hold_in_any_order_of_the_records() {
    let mut order = ["0p9m", "b4um", "35mt"];
    for _ in 0..3 {
        order.rotate_left(1);
        let mut chain = some(&order);
        chain.records.sort_by_key(|record| {
            let places = order.map(|begin| BASE32_DNSSEC.encode(&record.hash).starts_with(begin));
            places.iter().position(|is_here| *is_here)
        });
        assert_eq!(nxdomain(chain, "a.c.x.w.example"), Some(OPT_OUT));
    }
}

/// Appendix B.2 and B.2.1.
#[test]
fn the_nodata_of_rfc_5155_is_proved() {
    assert_eq!(
        nodata(some(&["2t7b"]), "ns1.example", MX),
        Ok(Some(Finding::Secure))
    );
    assert_eq!(
        nodata(some(&["2t7b"]), "ns1.example", Rtype::A),
        Err(ValidationFault::DenialContradicted)
    );
    assert_eq!(
        nodata(some(&["ji6n"]), "y.w.example", Rtype::A),
        Ok(Some(Finding::Secure))
    );
    assert_eq!(
        nxdomain(some(&["ji6n"]), "y.w.example"),
        None,
        "an empty non-terminal"
    );
}

/// Appendix B.3: the unsigned zone c.example lies in an opt-out span.
#[test]
fn the_opt_out_delegation_of_rfc_5155_is_insecure() {
    let insecure = Ok(Some(Delegation::Insecure(InsecurityCause::OptOut)));
    assert_eq!(cut_at(some(&["35mt", "0p9m"]), "c.example"), insecure);
    let without_opt_out = some_with(&["35mt", "0p9m"], "1 0 12 aabbccdd");
    assert_eq!(
        cut_at(without_opt_out, "c.example"),
        Ok(Some(Delegation::NoCut))
    );
    assert_eq!(
        cut_at(some(&["35mt"]), "c.example"),
        Ok(None),
        "no closest encloser"
    );
    assert_eq!(
        cut_at(some(&["0p9m"]), "c.example"),
        Ok(None),
        "the span is missing"
    );
    assert_eq!(
        nodata(some(&["35mt", "0p9m"]), "c.example", Rtype::DS),
        Ok(Some(OPT_OUT))
    );
}

/// Appendix B.4: a.z.w.example from `*.w.example`.
#[test]
fn the_wildcard_answer_of_rfc_5155_has_no_closer_name() {
    assert_eq!(absence(some(&["q04j"]), "z.w.example"), Some(OPT_OUT));
    assert_eq!(
        absence(some_with(&["q04j"], "1 0 12 aabbccdd"), "z.w.example"),
        Some(Finding::Secure)
    );
    assert_eq!(absence(some(&["0p9m"]), "z.w.example"), None);
}

/// Appendix B.5.
#[test]
fn the_wildcard_nodata_of_rfc_5155_is_proved() {
    let all = ["k8ud", "q04j", "r53b"];
    assert_eq!(
        nodata(some(&all), "a.z.w.example", Rtype::AAAA),
        Ok(Some(OPT_OUT))
    );
    let with = |beginnings: &[&str], rtype| {
        nodata(
            some_with(beginnings, "1 0 12 aabbccdd"),
            "a.z.w.example",
            rtype,
        )
    };
    assert_eq!(with(&all, Rtype::AAAA), Ok(Some(Finding::Secure)));
    assert_eq!(with(&all, MX), Err(ValidationFault::DenialContradicted));
    assert_eq!(with(&["k8ud", "q04j"], Rtype::AAAA), Ok(None));
    assert_eq!(with(&["k8ud", "r53b"], Rtype::AAAA), Ok(None));
    assert_eq!(with(&["q04j", "r53b"], Rtype::AAAA), Ok(None));
}

/// Appendix B.6.
#[test]
fn the_childs_record_denies_no_ds_set() {
    assert_eq!(nodata(some(&["0p9m"]), "example", Rtype::DS), Ok(None));
    assert_eq!(cut_at(some(&["0p9m"]), "example"), Ok(None));
}

/// RFC 5155 section 8.3: the closest encloser is no cut and no DNAME.
#[test]
fn nothing_below_a_cut_or_a_dname_is_denied() {
    let hash = |text: &str| BASE32_DNSSEC.encode(&hash_of_name(name(text).borrow(), &[], 0));
    for (types, is_hidden) in [
        ("NS", true),
        ("NS DS", true),
        ("DNAME", true),
        ("NS SOA", false),
        ("A", false),
    ] {
        // The record of b.example covers all other names.
        let owner = hash("b.example");
        let lines = [format!("{owner}.example. 60 NSEC3 1 0 0 - {owner} {types}")];
        let outcome = nxdomain(chain(&lines).unwrap(), "x.b.example");
        assert_eq!(outcome.is_none(), is_hidden, "{types}");
    }
}

/// A zone of one name: the record leads to itself. PowerDNS, Unbound.
#[test]
fn a_single_record_covers_every_other_name() {
    let apex = BASE32_DNSSEC.encode(&hash_of_name(name("example").borrow(), &[], 0));
    let lines = [format!(
        "{apex}.example. 60 NSEC3 1 0 0 - {apex} NS SOA DNSKEY"
    )];
    let single = || chain(&lines).unwrap();
    assert_eq!(nxdomain(single(), "a.example"), Some(Finding::Secure));
    assert_eq!(nxdomain(single(), "a.b.c.example"), Some(Finding::Secure));
    assert_eq!(nxdomain(single(), "example"), None);
    assert_eq!(
        nodata(single(), "example", Rtype::A),
        Ok(Some(Finding::Secure))
    );
}

/// The last record of a chain: its hash is above the next one.
#[test]
fn the_last_record_covers_both_ends() {
    let record = |hash: u8, next: u8| Nsec3 {
        hash: [hash; 20],
        next: [next; 20],
        is_opt_out: false,
        types: TypeBitmap::parse(&[]).unwrap(),
    };
    let last = record(200, 10);
    for (hash, is_covered) in [
        (0, true),
        (9, true),
        (10, false),
        (100, false),
        (200, false),
        (255, true),
    ] {
        assert_eq!(last.covers(&[hash; 20]), is_covered, "{hash}");
    }
    let first = record(10, 200);
    for (hash, is_covered) in [
        (0, false),
        (10, false),
        (11, true),
        (199, true),
        (200, false),
        (255, false),
    ] {
        assert_eq!(first.covers(&[hash; 20]), is_covered, "{hash}");
    }
    let single = record(10, 10);
    assert!(!single.covers(&[10; 20]) && single.covers(&[9; 20]) && single.covers(&[11; 20]));
}

#[test]
fn an_empty_salt_and_no_iterations_are_a_plain_hash() {
    let once = aws_lc_rs::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, b"\x07example\x00");
    assert_eq!(
        hash_of_name(name("example").borrow(), &[], 0),
        once.as_ref()
    );
}

/// RFC 5155 sections 8.1 and 8.2.
#[test]
fn unknown_hashes_and_flags_and_foreign_owners_are_ignored() {
    let with = |owner: &str, parameters: &str, next: &str| {
        chain(&[format!("{owner} 60 NSEC3 {parameters} {next} A")]).is_some()
    };
    let owner = "2t7b4g4vsa5smi47k61mv5bv1a22bojr.example.";
    let next = "2vptu5timamqttgl4luu9kg21e0aor3s";
    assert!(with(owner, "1 0 0 -", next) && with(owner, "1 1 0 -", next));
    assert!(!with(owner, "2 0 0 -", next), "hash algorithm");
    assert!(
        !with(owner, "1 2 0 -", next) && !with(owner, "1 129 0 -", next),
        "flags"
    );
    assert!(!with("2t7b.example.", "1 0 0 -", next), "a short owner");
    assert!(
        !with("2t7b4g4vsa5smi47k61mv5bv1a22bojz.example.", "1 0 0 -", next),
        "not base32"
    );
    assert!(
        !with(&format!("a.{owner}"), "1 0 0 -", next),
        "not below the apex"
    );
    assert!(
        !with(owner, "1 0 0 -", "2vptu5timamqttgl"),
        "a short next hash"
    );
    assert!(
        with(&owner.to_ascii_uppercase(), "1 0 0 -", next),
        "letter case"
    );
}

/// `domain` 0.12.3 panicked at one.
#[test]
fn broken_records_are_ignored_and_do_not_panic() {
    let whole = [&[1, 0, 0, 1, 2, 7, 7, 20][..], &[9; 20], &[0, 1, 0x40]].concat();
    let owner = name("2t7b4g4vsa5smi47k61mv5bv1a22bojr.example");
    for length in 0..=whole.len() {
        let record = opaque(owner.borrow(), Rtype::NSEC3, whole[..length].to_vec());
        let set = RrSet::unsigned(owner.clone(), Rtype::NSEC3, vec![record]);
        let found = Nsec3Chain::of([&set].into_iter(), name("example").borrow()).is_some();
        // Without its type bit map the record is whole as well.
        assert_eq!(
            found,
            length == whole.len() || length == whole.len() - 3,
            "{length}"
        );
    }
}

/// Records of two chains, as while the salt changes, do not mix.
#[test]
fn only_the_records_of_one_chain_are_used() {
    let text = |parameters: &str, owner: &str| {
        format!("{owner}.example. 60 NSEC3 {parameters} 2vptu5timamqttgl4luu9kg21e0aor3s A")
    };
    let lines = [
        text("1 0 9 -", "00000000000000000000000000000000"),
        text("1 0 3 aa", "00000000000000000000000000000001"),
        text("1 0 3 aa", "00000000000000000000000000000002"),
    ];
    let chain = chain(&lines).unwrap();
    assert_eq!((chain.records.len(), chain.iterations()), (2, 3));
}

/// RFC 9824 section 3.1 has NSEC3 as well.
#[test]
fn compact_denial_by_nsec3_tells_a_missing_name() {
    let hash = BASE32_DNSSEC.encode(&hash_of_name(name("none.example").borrow(), &[], 0));
    let lines = [format!(
        "{hash}.example. 60 NSEC3 1 0 0 - {} TYPE128",
        "v".repeat(32)
    )];
    assert_eq!(
        nxdomain(chain(&lines).unwrap(), "none.example"),
        Some(Finding::Compact)
    );
    assert_eq!(
        nodata(chain(&lines).unwrap(), "none.example", Rtype::A),
        Ok(Some(Finding::Compact))
    );
}

/// CVE-2023-50868: a name of many labels costs a hash for each, and a question pays for all.
#[test]
fn hashes_are_bounded_and_each_name_is_hashed_once() {
    let deep = format!("{}example", "a.".repeat(100));
    let mut chain = some(&["0p9m"]);
    with_context(|context| {
        let count = || {
            let mut left = 0;
            while context.budget.charge_hash().is_ok() {
                left += 1;
            }
            left
        };
        for _ in 0..10 {
            chain
                .nxdomain(name(&deep).borrow(), context)
                .expect("within the budget");
        }
        assert_eq!(count(), 300 - 101, "each name once, and the wildcard never");
    });
    let outcome = with_context_at(NOW, ValidationSettings::default(), |context| {
        (0..10).try_for_each(|number| {
            let deep = format!("x{number}.{}example", format!("y{number}.").repeat(60));
            some(&["0p9m"])
                .nxdomain(name(&deep).borrow(), context)
                .map(drop)
        })
    });
    assert_eq!(outcome, Err(ValidationFault::TooMuchWork));
}
