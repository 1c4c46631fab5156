//! Tests of the canonical form.

use proptest::prelude::*;

use super::*;
use crate::recursor::dnssec::testing::{group, name, records, set};

/// The order of RFC 4034 section 6.1.
#[test]
fn names_sort_by_labels_from_the_right() {
    let sorted = [
        "example",
        "a.example",
        "yljkjljk.a.example",
        "Z.a.example",
        "zABC.a.EXAMPLE",
        "z.example",
        "\\001.z.example",
        "*.z.example",
        "\\200.z.example",
    ];
    for (place, first) in sorted.iter().enumerate() {
        for (other, second) in sorted.iter().enumerate() {
            assert_eq!(
                compare_names(name(first).borrow(), name(second).borrow()),
                place.cmp(&other),
                "{first} and {second}"
            );
        }
    }
}

#[test]
fn common_labels_are_counted_from_the_right() {
    let common = |a, b| common_labels(name(a).borrow(), name(b).borrow());
    assert_eq!(common("a.b.example", "x.b.example"), 2);
    assert_eq!(common("a.b.example", "b.example"), 2);
    assert_eq!(common("a.example", "a.example"), 2);
    assert_eq!(common("a.example", "a.test"), 0);
    assert_eq!(common(".", "a.test"), 0);
}

fn data(text: &str) -> Vec<u8> {
    let mut data = Vec::new();
    write_data(&records(text)[0], &mut data).unwrap();
    data
}

#[test]
fn names_in_data_of_the_old_types_are_lower_case() {
    for (upper, lower) in [
        (
            "a.example. 60 NS NS.Example.",
            "a.example. 60 NS ns.example.",
        ),
        (
            "a.example. 60 MX 10 MX.Example.",
            "a.example. 60 MX 10 mx.example.",
        ),
        (
            "a.example. 60 SOA NS.Example. Host.Example. 1 2 3 4 5",
            "a.example. 60 SOA ns.example. host.example. 1 2 3 4 5",
        ),
        (
            "a.example. 60 SRV 1 2 3 Target.Example.",
            "a.example. 60 SRV 1 2 3 target.example.",
        ),
        (
            "a.example. 60 NAPTR 1 2 \"U\" \"SIP\" \"Rex\" Next.Example.",
            "a.example. 60 NAPTR 1 2 \"U\" \"SIP\" \"Rex\" next.example.",
        ),
        (
            "a.example. 60 DNAME Target.Example.",
            "a.example. 60 DNAME target.example.",
        ),
        (
            "a.example. 60 MINFO A.Example. B.Example.",
            "a.example. 60 MINFO a.example. b.example.",
        ),
        (
            "a.example. 60 RRSIG A 13 2 60 1 2 3 Example. AAAA",
            "a.example. 60 RRSIG A 13 2 60 1 2 3 example. AAAA",
        ),
        (
            "a.example. 60 TYPE38 \\# 15 40 0011223344556677 0141 02584d 00",
            "a.example. 60 TYPE38 \\# 15 40 0011223344556677 0161 02786d 00",
        ),
    ] {
        assert_eq!(data(upper), data(lower), "{upper}");
    }
}

/// RFC 6840 section 5.1; RFC 3597 section 7 for the types after it.
#[test]
fn names_in_nsec_and_in_new_types_keep_their_case() {
    for (upper, lower) in [
        (
            "a.example. 60 NSEC B.Example. A",
            "a.example. 60 NSEC b.example. A",
        ),
        (
            "a.example. 60 HTTPS 1 Svc.Example.",
            "a.example. 60 HTTPS 1 svc.example.",
        ),
        ("a.example. 60 TXT \"Text\"", "a.example. 60 TXT \"text\""),
    ] {
        assert_ne!(data(upper), data(lower), "{upper}");
    }
}

#[test]
fn names_are_not_compressed() {
    let soa = data("a.example. 60 SOA ns.a.example. host.a.example. 1 2 3 4 5");
    assert_eq!(soa.len(), 14 + 16 + 20);
    let record = &records("a.example. 60 SOA ns.a.example. host.a.example. 1 2 3 4 5")[0];
    assert_eq!(data_octets(record).unwrap(), soa);
}

#[test]
fn records_are_sorted_as_octets_and_count_once() {
    let mut given = set("a.example. 60 MX 10 b.example.
         a.example. 50 MX 10 A.example.
         a.example. 40 MX 9 zz.example.
         a.example. 30 MX 10 C.example.");
    given.records.push(given.records[1].clone());
    let canonical = CanonicalSet::new(&given).unwrap();
    let mut message = Vec::new();
    canonical.write(b"\x01a\x07example\x00", 77, &mut message);
    let mut expected = Vec::new();
    for data in [
        &b"\x00\x09\x02zz\x07example\x00"[..],
        b"\x00\x0a\x01a\x07example\x00",
        b"\x00\x0a\x01b\x07example\x00",
        b"\x00\x0a\x01c\x07example\x00",
    ] {
        expected.extend_from_slice(b"\x01a\x07example\x00\x00\x0f\x00\x01\x00\x00\x00\x4d\x00");
        expected.push(data.len() as u8);
        expected.extend_from_slice(data);
    }
    assert_eq!(message, expected);
}

proptest! {
    /// Data of any type and any length neither panic nor grow.
    #[test]
    fn any_data_have_a_canonical_form(rtype in 0_u16..70, octets in any::<Vec<u8>>()) {
        let mut lowered = octets.clone();
        lower_names(Rtype::new(rtype), &mut lowered);
        prop_assert!(lowered.eq_ignore_ascii_case(&octets));
    }
}

#[test]
fn sets_of_a_file_are_found_with_their_signatures() {
    let sets = group(&records(
        "a.example. 60 A 192.0.2.1
         a.example. 60 RRSIG A 13 2 60 1 2 3 example. AAAA
         A.example. 60 A 192.0.2.2",
    ));
    assert_eq!(
        (sets.len(), sets[0].records.len(), sets[0].signatures.len()),
        (1, 2, 1)
    );
}
