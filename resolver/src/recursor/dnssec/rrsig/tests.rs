//! Tests of signatures: the vectors of the RFCs, and each check of RFC 4035 section 5.3.

use proptest::{prelude::*, sample::SizeRange};

use super::*;
use crate::recursor::dnssec::{
    context::ValidationSettings,
    testing::{
        NOW, Signer, TTL_S, Terms, name, opaque, records, set, sets, with_context, with_context_at,
        with_sha1,
    },
};

/// Verifies the first set of a text with the DNSKEY records in it, in the middle of the validity of
/// its signature.
fn check_vector(text: &str, zone: &str) -> Result<VerifiedSet, ValidationFault> {
    let keys: Vec<ZoneKey> = records(text)
        .iter()
        .filter_map(|record| {
            (Rtype::from(record.record_type()) == Rtype::DNSKEY).then(|| ZoneKey::of(record))?
        })
        .collect();
    let set = sets(text).remove(0);
    let signature = Signature::of(&set.signatures[0]).unwrap();
    with_sha1(signature.inception, |context| {
        verify(&set, name(zone).borrow(), keys.iter(), context)
    })
}

const RFC_4035_KEY: &str = "example. 3600 DNSKEY 256 3 5 AQOy1bZVvpPqhg4j7EJoM9rI3ZmyEx2OzDBVrZy/lvI5CQeP\
    xXHZS4i8dANH4DX3tbHol61ek8EFMcsGXxKciJFHyhl94C+NwILQdzsUlSFovBZsyl/NX6yEbtw/xN9ZNcrbYvgjjZ/UVPZIySF\
    NsgEYvh0z2542lzMKR4Dh8uZffQ==";

/// RFC 4035 appendix B.6: an answer from `*.w.example`.
#[test]
fn the_wildcard_answer_of_rfc_4035_verifies() {
    let text = format!(
        "a.z.w.example. 3600 MX 1 ai.example.
         a.z.w.example. 3600 RRSIG MX 5 2 3600 20040509183619 20040409183619 38519 example. \
         OMK8rAZlepfzLWW75Dxd63jy2wswESzxDKG2f9AMN1CytCd10cYISAxfAdvXSZ7xujKAtPbctvOQ2ofO7AZJ+d01EeeQTVBP\
         q4/6KCWhqe2XTjnkVLNvvhnc0u28aoSsG0+4InvkkOHknKxw4kX18MMR34i8lC36SR5xBni8vHI=
         {RFC_4035_KEY}"
    );
    let verified = check_vector(&text, "example").unwrap();
    assert_eq!(verified.closest_encloser, Some(name("w.example")));
    assert_eq!(verified.key, (38_519, 5));
}

#[test]
fn the_answer_of_rfc_6605_with_p256_verifies() {
    let verified = check_vector(
        "www.example.net. 3600 A 192.0.2.1
         www.example.net. 3600 RRSIG A 13 3 3600 20100909100439 20100812100439 55648 example.net. \
         qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==
         example.net. 3600 DNSKEY 257 3 13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNc\
         P+e+MAnLr+Wi9xMWyQLc8NAA==",
        "example.net",
    );
    assert_eq!(verified.unwrap().closest_encloser, None);
}

#[test]
fn the_answer_of_rfc_6605_with_p384_verifies() {
    check_vector(
        "www.example.net. 3600 A 192.0.2.1
         www.example.net. 3600 RRSIG A 14 3 3600 20100909102025 20100812102025 10771 example.net. \
         /L5hDKIvGDyI1fcARX3z65qrmPsVz73QD1Mr5CEqOiLP95hxQouuroGCeZOvzFaxsT8Glr74hbavRKayJNuydCuzWTSSPdz\
         7wnqXL5bdcJzusdnI0RSMROxxwGipWcJm
         example.net. 3600 DNSKEY 257 3 14 xKYaNhWdGOfJ+nPrL8/arkwf2EY3MDJ+SErKivBVSum1w/egsXvSADtNJhyem5\
         RCOpgQ6K8X1DRSEkrbYQ+OB+v8/uX45NBwY8rp65F6Glur8I/mlVNgF6W/qTI37m40",
        "example.net",
    )
    .unwrap();
}

/// RFC 8080 section 6.1 with its erratum 4935.
#[test]
fn the_answers_of_rfc_8080_verify() {
    for (key, tag, signature) in [
        (
            "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
            3_613,
            "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==",
        ),
        (
            "zPnZ/QwEe7S8C5SPz2OfS5RR40ATk2/rYnE9xHIEijs=",
            35_217,
            "zXQ0bkYgQTEFyfLyi9QoiY6D8ZdYo4wyUhVioYZXFdT410QPRITQSqJSnzQoSm5poJ7gD7AQR0O7KuI5k2pcBg==",
        ),
    ] {
        let text = format!(
            "example.com. 3600 MX 10 mail.example.com.
             example.com. 3600 RRSIG MX 15 2 3600 20150819220000 20150729220000 {tag} example.com. {signature}
             example.com. 3600 DNSKEY 257 3 15 {key}"
        );
        check_vector(&text, "example.com").unwrap();
    }
}

/// RFC 5702 section 6.2.
#[test]
fn the_answer_of_rfc_5702_with_sha512_verifies() {
    check_vector(
        "www.example.net. 3600 A 192.0.2.91
         www.example.net. 3600 RRSIG A 10 3 3600 20300101000000 20000101000000 3740 example.net. \
         tsb4wnjRUDnB1BUi+t6TMTXThjVnG+eCkWqjvvjhzQL1d0YRoOe0CbxrVDYd0xDtsuJRaeUw1ep94PzEWzr0iGYgZBWm/zp\
         q+9fOuagYJRfDqfReKBzMweOLDiNa8iP5g9vMhpuv6OPlvpXwm9Sa9ZXIbNl1MBGk0fthPgxdDLw=
         example.net. 3600 DNSKEY 256 3 10 AwEAAdHoNTOW+et86KuJOWRDp1pndvwb6Y83nSVXXyLA3DLroROUkN6X0O6pnW\
         njJQujX/AyhqFDxj13tOnD9u/1kTg7cV6rklMrZDtJCQ5PCl/D7QNPsgVsMu1J2Q8gpMpztNFLpPBz1bWXjDtaR7ZQBlZ3PFY\
         12ZTSncorffcGmhOL",
        "example.net",
    )
    .unwrap();
}

#[test]
fn every_algorithm_verifies_what_it_signs_and_nothing_else() {
    for algorithm in [8, 10, 13, 14, 15, 18] {
        let signer = Signer::new("example", algorithm);
        let signed = signer.signed(address());
        let verify = |set: &RrSet| with_context(|context| signer.keys().verify(set, context));
        assert_eq!(
            verify(&signed).map(|verified| verified.key.1),
            Ok(algorithm)
        );
        let mut other = signed.clone();
        other.records = set("www.example. 60 A 192.0.2.2").records;
        assert_eq!(verify(&other), Err(ValidationFault::SignatureWrong));
        let mut cut = signed;
        cut.signatures = vec![shortened(&cut.signatures[0])];
        assert_eq!(verify(&cut), Err(ValidationFault::SignatureWrong));
    }
}

fn address() -> RrSet {
    set("www.example. 3600 A 192.0.2.1")
}

/// The record without its last octet.
fn shortened(record: &Record) -> Record {
    let mut data = data_octets(record).unwrap().into_owned();
    data.pop();
    opaque(name("www.example").borrow(), Rtype::RRSIG, data)
}

/// Signs `www.example A` on these terms and verifies it now.
fn verdict(terms: &Terms) -> Result<VerifiedSet, ValidationFault> {
    let signer = Signer::new("example", 15);
    let signed = signer.signed_on(address(), terms);
    with_context(|context| signer.keys().verify(&signed, context))
}

#[test]
fn a_set_without_signatures_is_bogus() {
    let signer = Signer::new("example", 15);
    let outcome = with_context(|context| signer.keys().verify(&address(), context));
    assert_eq!(outcome, Err(ValidationFault::SignatureMissing));
}

/// The downgrade of numa #393: an RRSIG that names another zone as its signer.
#[test]
fn the_signer_must_be_the_zone_itself() {
    for signer in [".", "test", "www.example", "sub.www.example"] {
        let terms = Terms {
            signer: Some(name(signer)),
            ..Terms::default()
        };
        assert_eq!(
            verdict(&terms),
            Err(ValidationFault::SignerForeign),
            "{signer}"
        );
    }
}

#[test]
fn a_name_outside_the_zone_is_not_signed_by_it() {
    let signer = Signer::new("example", 15);
    let signed = signer.signed(set("www.test. 60 A 192.0.2.1"));
    let outcome = with_context(|context| signer.keys().verify(&signed, context));
    assert_eq!(outcome, Err(ValidationFault::SignerForeign));
}

/// RFC 4035 section 2.4: the child does not sign its own DS RRset.
#[test]
fn a_ds_set_belongs_to_the_parent_and_keys_to_the_apex() {
    let signer = Signer::new("example", 15);
    let verify = |text: &str| {
        let signed = signer.signed(set(text));
        with_context(|context| signer.keys().verify(&signed, context)).map(drop)
    };
    let foreign = Err(ValidationFault::SignerForeign);
    assert_eq!(verify("example. 60 DS 1 15 2 AA"), foreign);
    assert_eq!(verify("a.example. 60 DS 1 15 2 AA"), Ok(()));
    assert_eq!(verify("a.example. 60 DNSKEY 256 3 15 AAAA"), foreign);
    assert_eq!(verify("a.example. 60 SOA a. a. 1 2 3 4 5"), foreign);
    assert_eq!(verify("example. 60 SOA a. a. 1 2 3 4 5"), Ok(()));
}

/// RFC 4035 section 5.3.1; Knot Resolver 6.4.1 for the lower bound.
#[test]
fn labels_lie_between_those_of_the_signer_and_the_owner() {
    let with = |labels| {
        verdict(&Terms {
            labels: Some(labels),
            ..Terms::default()
        })
        .map(|verified| verified.closest_encloser)
    };
    assert_eq!(with(0), Err(ValidationFault::SignatureLabels));
    assert_eq!(with(1), Ok(Some(name("example"))));
    assert_eq!(with(2), Ok(None));
    assert_eq!(with(3), Err(ValidationFault::SignatureLabels));
    assert_eq!(with(255), Err(ValidationFault::SignatureLabels));
}

#[test]
fn the_wildcard_itself_is_not_expanded() {
    let signer = Signer::new("example", 15);
    let signed = signer.signed(set("*.w.example. 60 A 192.0.2.1"));
    let verified = with_context(|context| signer.keys().verify(&signed, context)).unwrap();
    assert_eq!(verified.closest_encloser, None);
}

/// CVE-2017-15105: an NSEC record that is expanded from a wildcard denies any name.
#[test]
fn denials_and_keys_do_not_come_from_a_wildcard() {
    let signer = Signer::new("example", 15);
    let source = Terms {
        labels: Some(1),
        ..Terms::default()
    };
    for data in [
        "NSEC z.example. A",
        "DS 1 15 2 AA",
        "NSEC3 1 0 0 - 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A",
    ] {
        let signed = signer.signed_on(set(&format!("a.example. 60 {data}")), &source);
        let outcome = with_context(|context| signer.keys().verify(&signed, context));
        assert_eq!(outcome, Err(ValidationFault::WildcardForbidden), "{data}");
    }
}

#[test]
fn the_algorithm_of_a_signature_must_be_supported() {
    let signer = Signer::new("example", 15);
    let mut signed = signer.signed(address());
    for algorithm in [0, 1, 3, 5, 7, 12, 16, 253] {
        let mut data = data_octets(&signed.signatures[0]).unwrap().into_owned();
        data[2] = algorithm;
        signed.signatures = vec![opaque(name("www.example").borrow(), Rtype::RRSIG, data)];
        let outcome = with_context(|context| signer.keys().verify(&signed, context));
        assert_eq!(outcome, Err(ValidationFault::SignatureAlgorithm));
    }
}

/// One broken signature does not spoil another (RFC 6840 section 5.4).
#[test]
fn one_good_signature_of_several_is_enough() {
    let signer = Signer::new("example", 15);
    let expired = Terms {
        expiration: NOW - 200_000,
        inception: NOW - 300_000,
        ..Terms::default()
    };
    let mut signed = signer.signed_on(address(), &expired);
    signed = Signer::new("example", 13).signed(signed);
    signed
        .signatures
        .push(opaque(signed.owner.borrow(), Rtype::RRSIG, vec![0, 1]));
    let verify = |set: &RrSet| with_context(|context| signer.keys().verify(set, context)).map(drop);
    assert_eq!(verify(&signed), Err(ValidationFault::SignatureExpired));
    assert_eq!(verify(&signer.signed(signed)), Ok(()));
}

#[test]
fn a_key_that_is_not_there_is_missing() {
    let terms = Terms {
        tag: Some(1),
        ..Terms::default()
    };
    assert_eq!(verdict(&terms), Err(ValidationFault::KeyMissing));
}

fn times(inception: i64, expiration: i64) -> Result<u32, ValidationFault> {
    let at = |offset: i64| u32::try_from(i64::from(NOW) + offset).unwrap();
    verdict(&Terms {
        inception: at(inception),
        expiration: at(expiration),
        ..Terms::default()
    })
    .map(|verified| verified.ttl_max_s)
}

/// The skew: a tenth of the lifetime, from one hour to one day.
#[test]
fn signature_times_have_a_bounded_skew() {
    const DAY: i64 = 86_400;
    let expired = Err(ValidationFault::SignatureExpired);
    let early = Err(ValidationFault::SignatureNotYetValid);
    assert_eq!(times(-DAY, 30 * DAY), Ok(TTL_S));
    // A lifetime of two hours: the skew is an hour.
    assert_eq!(times(-7_200 - 3_600, -3_600), Ok(EXPIRED_TTL_S));
    assert_eq!(times(-7_200 - 3_601, -3_601), expired);
    assert_eq!(times(3_600, 3_600 + 7_200), Ok(TTL_S));
    assert_eq!(times(3_601, 3_601 + 7_200), early);
    // A lifetime of five days: half a day.
    assert_eq!(times(-5 * DAY - DAY / 2, -DAY / 2), Ok(EXPIRED_TTL_S));
    assert_eq!(times(-5 * DAY - DAY / 2 - 1, -DAY / 2 - 1), expired);
    // A lifetime of a year: a day.
    assert_eq!(times(-366 * DAY, -DAY), Ok(EXPIRED_TTL_S));
    assert_eq!(times(-366 * DAY - 1, -DAY - 1), expired);
}

#[test]
fn a_signature_does_not_expire_before_it_becomes_valid() {
    assert_eq!(times(100, -100), Err(ValidationFault::SignatureLifetime));
    assert_eq!(times(0, 0), Ok(EXPIRED_TTL_S));
}

/// RFC 4035 section 5.3.3.
#[test]
fn a_set_is_kept_no_longer_than_its_signature_is_valid() {
    assert_eq!(times(-1_000, 500), Ok(500));
    assert_eq!(times(-1_000, 1), Ok(1));
    assert_eq!(times(-1_000, 5_000), Ok(TTL_S));
    let original = Terms {
        original_ttl_s: 77,
        ..Terms::default()
    };
    assert_eq!(
        verdict(&original).map(|verified| verified.ttl_max_s),
        Ok(77)
    );
}

/// RFC 4034 section 3.1.5, RFC 1982: in 2106 the numbers begin again.
#[test]
fn signature_times_are_serial_numbers() {
    let signer = Signer::new("example", 15);
    for now in [u32::MAX - 10, u32::MAX, 0, 10] {
        let terms = Terms {
            inception: now.wrapping_sub(86_400),
            expiration: now.wrapping_add(86_400),
            ..Terms::default()
        };
        let signed = signer.signed_on(address(), &terms);
        let keys = [signer.key()];
        let outcome = with_context_at(now, ValidationSettings::default(), |context| {
            verify(&signed, signer.zone.borrow(), keys.iter(), context)
        });
        assert!(outcome.is_ok(), "{now}");
    }
}

#[test]
fn keys_that_may_not_sign_verify_nothing() {
    for (flags, fault) in [
        (0x0000, ValidationFault::KeyNotOfZone),
        (0x0180, ValidationFault::KeyRevoked),
    ] {
        let mut signer = Signer::new("example", 15);
        signer.flags = flags;
        let signed = signer.signed(address());
        let keys = [signer.key()];
        let outcome =
            with_context(|context| verify(&signed, signer.zone.borrow(), keys.iter(), context));
        assert_eq!(outcome, Err(fault));
    }
}

/// RFC 4034 section 2.1.2: a key of another protocol is invalid.
#[test]
fn a_key_of_another_protocol_verifies_nothing() {
    let mut signer = Signer::new("example", 15);
    signer.protocol = 2;
    let signed = signer.signed(address());
    let keys = [signer.key()];
    let outcome =
        with_context(|context| verify(&signed, signer.zone.borrow(), keys.iter(), context));
    assert_eq!(outcome, Err(ValidationFault::KeyUnusable));
}

/// CVE-2023-50387: many keys of one tag, and many signatures that name it.
#[test]
fn keytrap_costs_a_bounded_number_of_verifications() {
    let signer = Signer::new("example", 13);
    let tag = signer.key().tag;
    let keys: Vec<ZoneKey> = (0..80)
        .map(|_| {
            let mut key = Signer::new("example", 13).key();
            key.tag = tag;
            key
        })
        .collect();
    let mut trap = address();
    for number in 0..80 {
        let terms = Terms {
            original_ttl_s: number,
            ..Terms::default()
        };
        trap = signer.signed_on(trap, &terms);
    }
    let budget = crate::recursor::dnssec::ValidationBudget::default();
    let settings = ValidationSettings::default();
    let context = ValidationContext {
        now_unix: NOW,
        settings: &settings,
        budget: &budget,
    };
    let attempt = || verify(&trap, signer.zone.borrow(), keys.iter(), context);
    assert_eq!(attempt(), Err(ValidationFault::SignatureWrong));
    assert_eq!(
        attempt(),
        Err(ValidationFault::TooMuchWork),
        "a retry resets nothing"
    );
    let left = (0..100)
        .take_while(|_| budget.charge_signature().is_ok())
        .count();
    assert!(
        left >= 64 - 17,
        "at most 17 signatures are checked, {left} are left"
    );
}

/// Two keys may share a tag by chance.
#[test]
fn the_second_key_of_a_tag_is_tried() {
    let signer = Signer::new("example", 13);
    let mut other = Signer::new("example", 13).key();
    other.tag = signer.key().tag;
    let keys = [other, signer.key()];
    let signed = signer.signed(address());
    assert!(
        with_context(|context| verify(&signed, signer.zone.borrow(), keys.iter(), context)).is_ok()
    );
}

#[test]
fn broken_signatures_are_faults_and_do_not_panic() {
    let signer = Signer::new("example", 15);
    let whole = data_octets(&signer.signed(address()).signatures[0])
        .unwrap()
        .into_owned();
    for length in 0..whole.len() {
        let mut cut = address();
        cut.signatures = vec![opaque(
            cut.owner.borrow(),
            Rtype::RRSIG,
            whole[..length].to_vec(),
        )];
        let outcome = with_context(|context| signer.keys().verify(&cut, context));
        assert!(outcome.is_err(), "{length}");
    }
}

/// What a server and the path may do to a set without breaking it: order, letter case, TTLs,
/// duplicates.
fn mangled(
    owner: &str,
    texts: &[String],
    order: &[usize],
    is_upper: &[bool],
    ttls: &[u32],
) -> Vec<Record> {
    let mut lines: Vec<String> = Vec::new();
    for (place, &source) in order.iter().enumerate() {
        let text = &texts[source % texts.len()];
        let (rtype, data) = text.split_once(' ').unwrap();
        let is_upper = is_upper[place % is_upper.len()];
        // Text strings are data, not names.
        let data = if is_upper && rtype != "TXT" {
            data.to_ascii_uppercase()
        } else {
            data.to_owned()
        };
        let owner = if is_upper {
            owner.to_ascii_uppercase()
        } else {
            owner.to_owned()
        };
        lines.push(format!(
            "{owner} {} {rtype} {data}",
            ttls[place % ttls.len()]
        ));
    }
    records(&lines.join("\n"))
}

fn texts_of_one_type() -> impl Strategy<Value = Vec<String>> {
    let label = "[a-z]{1,3}";
    let size = || SizeRange::from(1..6);
    prop_oneof![
        prop::collection::vec(
            label.prop_map(|label| format!("NS {label}.example.")),
            size()
        ),
        prop::collection::vec(
            (0_u16..3, label).prop_map(|(weight, label)| format!("MX {weight} {label}.example.")),
            size()
        ),
        prop::collection::vec(
            (0_u16..3, label)
                .prop_map(|(weight, label)| format!("SRV 1 {weight} 53 {label}.example.")),
            size()
        ),
        prop::collection::vec(
            any::<u32>().prop_map(|address| { format!("A {}", std::net::Ipv4Addr::from(address)) }),
            size()
        ),
        prop::collection::vec(label.prop_map(|text| format!("TXT \"{text}\"")), size()),
        prop::collection::vec(
            label.prop_map(|label| format!("PTR {label}.example.")),
            size()
        ),
        prop::collection::vec(
            label.prop_map(|label| { format!("NAPTR 1 1 \"S\" \"X\" \"\" {label}.example.") }),
            size()
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn order_case_ttls_and_duplicates_do_not_matter(
        texts in texts_of_one_type(),
        extra in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        seed in any::<u64>(),
        is_upper in prop::collection::vec(any::<bool>(), 1..6),
        ttls in prop::collection::vec(0_u32..100_000, 1..6),
    ) {
        let signer = Signer::new("example", 15);
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.extend(extra.iter().map(|index| index.index(texts.len())));
        let mut state = seed;
        for place in (1..order.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            order.swap(place, (state >> 33) as usize % (place + 1));
        }
        let plain: Vec<String> =
            texts.iter().map(|text| format!("www.example. 60 {text}")).collect();
        let plain = records(&plain.join("\n"));
        let rtype = Rtype::from(plain[0].record_type());
        let owner = name("www.example");
        let data = plain.iter().map(|record| data_octets(record).unwrap().into_owned()).collect();
        let signature = signer.signature(owner.borrow(), rtype, data, &Terms::default());
        let received = RrSet {
            signatures: vec![opaque(owner.borrow(), Rtype::RRSIG, signature)],
            ..RrSet::unsigned(owner, rtype, mangled("www.example.", &texts, &order, &is_upper, &ttls))
        };
        let outcome = with_context(|context| signer.keys().verify(&received, context));
        prop_assert!(outcome.is_ok(), "{:?} {:?}", outcome, received.records);
    }
}

proptest! {
    /// The data of an RRSIG record are whatever a server sends.
    #[test]
    fn any_signature_data_are_read_without_panic(data in any::<Vec<u8>>()) {
        let signer = Signer::new("example", 15);
        let mut set = address();
        set.signatures = vec![opaque(set.owner.borrow(), Rtype::RRSIG, data)];
        prop_assert!(with_context(|context| signer.keys().verify(&set, context)).is_err());
    }
}
