//! Tests of the trust in a zone's keys.

use hickory_proto::rr::Record;

use super::*;
use crate::recursor::dnssec::{
    anchors::TrustAnchor,
    canonical::data_octets,
    ds::DsData,
    testing::{NOW, Signer, Terms, name, opaque, set, with_context},
};

fn from_ds(set: &RrSet, ds: Vec<DsData>) -> Result<ZoneTrust, ValidationFault> {
    with_context(|context| {
        let ds = UsableDs::pick(ds.into_iter(), context.settings).expect("a usable DS");
        ZoneKeys::from_ds(set, &ds, context)
    })
}

fn tags(trust: Result<ZoneTrust, ValidationFault>) -> Result<Vec<u16>, ValidationFault> {
    trust.map(|trust| match trust {
        ZoneTrust::Secure(keys) => keys.keys().map(|key| key.tag).collect(),
        ZoneTrust::Insecure(cause) => panic!("{cause}"),
    })
}

#[test]
fn a_ds_record_leads_to_all_keys_that_its_key_signs() {
    let (ksk, mut zsk) = (Signer::new("example", 13), Signer::new("example", 15));
    zsk.flags = 256;
    let set = Signer::key_set(&[&ksk, &zsk]);
    assert_eq!(
        tags(from_ds(&set, vec![ksk.ds()])),
        Ok(vec![ksk.key().tag, zsk.key().tag])
    );
}

#[test]
fn one_of_several_ds_records_is_enough() {
    let (old, new) = (Signer::new("example", 13), Signer::new("example", 15));
    let set = Signer::key_set(&[&new]);
    assert!(tags(from_ds(&set, vec![old.ds(), new.ds()])).is_ok());
}

#[test]
fn a_key_set_that_no_ds_record_matches_is_bogus() {
    let (real, other) = (Signer::new("example", 13), Signer::new("example", 13));
    let set = Signer::key_set(&[&other]);
    let untrusted = Err(ValidationFault::KeyUntrusted);
    assert_eq!(tags(from_ds(&set, vec![real.ds()])), untrusted);
    // The same tag, another digest.
    let mut ds = other.ds();
    ds.digest[0] ^= 1;
    assert_eq!(tags(from_ds(&set, vec![ds])), untrusted);
}

/// A key that the DS RRset does not name cannot sign the key set, although it is in it.
#[test]
fn the_key_of_the_ds_record_must_sign_the_key_set() {
    let (real, attacker) = (Signer::new("example", 13), Signer::new("example", 15));
    let set = Signer::key_set(&[&attacker, &real]);
    assert_eq!(
        tags(from_ds(&set, vec![real.ds()])),
        Err(ValidationFault::KeyMissing)
    );
}

#[test]
fn a_key_set_with_an_expired_signature_is_bogus() {
    let signer = Signer::new("example", 13);
    let mut set = Signer::key_set(&[&signer]);
    set.signatures.clear();
    let terms = Terms {
        inception: NOW - 500_000,
        expiration: NOW - 200_000,
        ..Terms::default()
    };
    let set = signer.signed_on(set, &terms);
    assert_eq!(
        tags(from_ds(&set, vec![signer.ds()])),
        Err(ValidationFault::SignatureExpired)
    );
}

#[test]
fn a_missing_key_set_is_named() {
    let signer = Signer::new("example", 13);
    let empty = RrSet::unsigned(name("example"), Rtype::DNSKEY, Vec::new());
    assert_eq!(
        tags(from_ds(&empty, vec![signer.ds()])),
        Err(ValidationFault::KeySetMissing)
    );
}

#[test]
fn a_ds_record_of_a_key_that_is_no_zone_key_is_named() {
    for (flags, fault) in [
        (0x0001, ValidationFault::KeyNotOfZone),
        (0x0181, ValidationFault::KeyRevoked),
    ] {
        let mut signer = Signer::new("example", 13);
        signer.flags = flags;
        let set = Signer::key_set(&[&signer]);
        assert_eq!(tags(from_ds(&set, vec![signer.ds()])), Err(fault));
    }
}

#[test]
fn revoked_keys_are_left_out() {
    let (signer, mut revoked) = (Signer::new("example", 13), Signer::new("example", 13));
    revoked.flags = 0x0181;
    let set = Signer::key_set(&[&signer, &revoked]);
    assert_eq!(
        tags(from_ds(&set, vec![signer.ds()])),
        Ok(vec![signer.key().tag])
    );
}

#[test]
fn keys_of_unknown_algorithms_do_no_harm() {
    let signer = Signer::new("example", 13);
    let mut set = Signer::key_set(&[&signer]);
    for algorithm in [0, 16, 23, 253, 255] {
        let data = vec![1, 0, 3, algorithm, 1, 2, 3];
        set.records
            .push(opaque(name("example").borrow(), Rtype::DNSKEY, data));
    }
    set.signatures.clear();
    let set = signer.signed(set);
    assert_eq!(
        tags(from_ds(&set, vec![signer.ds()])),
        Ok(vec![signer.key().tag])
    );
}

fn insecurity(trust: Result<ZoneTrust, ValidationFault>) -> Option<InsecurityCause> {
    match trust {
        Ok(ZoneTrust::Insecure(cause)) => Some(cause),
        _ => None,
    }
}

/// A key of 512 bits, whose DS record vouches for it.
#[test]
fn a_zone_with_a_short_rsa_key_is_insecure() {
    let short = "AwEAAcFcGsaxxdgiuuGmCkVImy4h99CqT7jwY3pexPGcnUFtR2Fh36BponcwtkZ4cAgtvd4Qs8PkxUdp6p/DlUmObdk=";
    let key_set = set(&format!("example. 3600 DNSKEY 256 3 8 {short}"));
    let key = ZoneKey::of(&key_set.records[0]).unwrap();
    let octets = [name("example").borrow().wire(), key.data()].concat();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &octets);
    let ds = DsData {
        tag: key.tag,
        algorithm: 8,
        digest_type: 2,
        digest: digest.as_ref().into(),
    };
    let cause = Some(InsecurityCause::UnsupportedKeySize);
    assert_eq!(insecurity(from_ds(&key_set, vec![ds.clone()])), cause);
    let mut longer = ds.clone();
    longer.digest_type = 4;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, &octets);
    longer.digest = digest.as_ref().into();
    assert_eq!(insecurity(from_ds(&key_set, vec![longer])), cause);
    // Another DS record leads to a key that is left out here: nothing of this set is verified.
    let good = Signer::new("example", 13);
    let fault = from_ds(&key_set, vec![ds, good.ds()]).map(|_| ());
    assert_eq!(fault, Err(ValidationFault::KeyUntrusted));
}

/// A key of 512 bits beside one that is long enough.
#[test]
fn what_only_a_short_rsa_key_signs_is_insecure_and_the_rest_secure() {
    let short = "AwEAAcFcGsaxxdgiuuGmCkVImy4h99CqT7jwY3pexPGcnUFtR2Fh36BponcwtkZ4cAgtvd4Qs8PkxUdp6p/DlUmObdk=";
    let short = set(&format!("example. 3600 DNSKEY 256 3 8 {short}"));
    let tag = ZoneKey::of(&short.records[0]).unwrap().tag;
    let signer = Signer::new("example", 13);
    let mut both = Signer::key_set(&[&signer]);
    both.records.extend(short.records);
    both.signatures.clear();
    let both = signer.signed(both);
    let Ok(ZoneTrust::Secure(keys)) = from_ds(&both, vec![signer.ds()]) else {
        panic!("the zone has a key that is long enough");
    };
    let verify = |set: &RrSet| with_context(|context| keys.verify(set, context).map(drop));
    let by_good = signer.signed(set("a.example. 3600 A 192.0.2.1"));
    let terms = Terms {
        tag: Some(tag),
        ..Terms::default()
    };
    let mut by_short = signer.signed_on(set("a.example. 3600 A 192.0.2.1"), &terms);
    let mut data = data_octets(&by_short.signatures[0]).unwrap().into_owned();
    data[2] = 8;
    by_short.signatures = vec![opaque(by_short.owner.borrow(), Rtype::RRSIG, data)];
    assert_eq!(verify(&by_good), Ok(()));
    assert_eq!(verify(&by_short), Err(ValidationFault::KeySize));
    let cause = Some(InsecurityCause::UnsupportedKeySize);
    assert_eq!(ValidationFault::KeySize.insecurity(), cause);
    // A signature by the good key counts first, also a wrong one.
    let mut wrong = by_good.clone();
    wrong.records = set("a.example. 3600 A 192.0.2.9").records;
    wrong.signatures.extend(by_short.signatures);
    assert_eq!(verify(&wrong), Err(ValidationFault::SignatureWrong));
    // Nor does it sign the keys, as one for which another DS record vouches.
    let mut stripped = both.clone();
    stripped.signatures[0] = {
        let mut data = data_octets(&both.signatures[0]).unwrap().into_owned();
        data[2] = 8;
        data[16..18].copy_from_slice(&tag.to_be_bytes());
        opaque(both.owner.borrow(), Rtype::RRSIG, data)
    };
    let octets = [
        name("example").borrow().wire(),
        &data_octets(&both.records[1]).unwrap(),
    ]
    .concat();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &octets);
    let of_short = DsData {
        tag,
        algorithm: 8,
        digest_type: 2,
        digest: digest.as_ref().into(),
    };
    let fault = from_ds(&stripped, vec![signer.ds(), of_short]).map(|_| ());
    assert_eq!(fault, Err(ValidationFault::KeyMissing));
}

#[test]
fn anchors_are_keys_or_digests() {
    let signer = Signer::new("example", 13);
    let set = Signer::key_set(&[&signer]);
    for anchor in [signer.anchor(), TrustAnchor::Ds(signer.ds())] {
        let trust = with_context(|context| ZoneKeys::from_anchors(&set, &[anchor], context));
        assert_eq!(tags(trust), Ok(vec![signer.key().tag]));
    }
    let other = Signer::new("example", 13).anchor();
    let trust = with_context(|context| ZoneKeys::from_anchors(&set, &[other], context));
    assert_eq!(tags(trust), Err(ValidationFault::KeyUntrusted));
}

#[test]
fn anchors_without_a_supported_algorithm_make_a_zone_insecure() {
    let signer = Signer::new("example", 13);
    let mut ds = signer.ds();
    ds.algorithm = 16;
    let set = Signer::key_set(&[&signer]);
    let trust =
        with_context(|context| ZoneKeys::from_anchors(&set, &[TrustAnchor::Ds(ds)], context));
    assert_eq!(
        insecurity(trust),
        Some(InsecurityCause::UnsupportedAlgorithm)
    );
}

/// The TTL of the set and the signature bound how long the keys are kept.
#[test]
fn keys_are_kept_as_long_as_their_set() {
    let signer = Signer::new("example", 13);
    let mut set = Signer::key_set(&[&signer]);
    set.records[0].ttl = 120;
    let trust = with_context(|context| ZoneKeys::from_anchors(&set, &[signer.anchor()], context));
    let Ok(ZoneTrust::Secure(keys)) = trust else {
        panic!("insecure");
    };
    assert_eq!(keys.ttl_max_s(), 120);
    assert!(keys.heap_octets() > signer.data().len());
}

/// The DS records of a zone and its keys multiply: CVE-2023-50387 at the level of digests.
#[test]
fn ds_records_times_keys_are_bounded() {
    let signer = Signer::new("example", 13);
    let mut set = Signer::key_set(&[&signer]);
    set.records.extend(of_same_tag(&signer, 1..4));
    let mut ds = signer.ds();
    ds.digest[0] ^= 1;
    let all = vec![ds; 8];
    let usable = with_context(|context| UsableDs::pick(all.into_iter(), context.settings));
    let usable = usable.expect("a usable DS");
    // Each set costs up to 8 digests for each of its 4 keys. One query may cause 128.
    let faults = with_context(|context| {
        let sets = (0..17).map(|_| ZoneKeys::from_ds(&set, &usable, context).unwrap_err());
        sets.collect::<Vec<_>>()
    });
    assert_eq!(faults[0], ValidationFault::KeyUntrusted);
    assert_eq!(faults[16], ValidationFault::TooMuchWork);
}

/// Keys with the tag of the signer's: moving octets by an even distance keeps it.
fn of_same_tag(signer: &Signer, turns: std::ops::Range<usize>) -> impl Iterator<Item = Record> {
    turns.map(|turn| {
        let mut data = signer.data();
        data[4..].rotate_left(turn % 14 * 2);
        let swapped = 4 + turn / 14;
        data.swap(swapped, swapped + 2);
        opaque(name("example").borrow(), Rtype::DNSKEY, data)
    })
}

/// KeyTrap, CVE-2023-50387: a zone in order has no such keys.
#[test]
fn a_zone_with_many_keys_of_one_tag_is_bogus_as_a_whole() {
    let signer = Signer::new("example", 15);
    for (count, outcome) in [(3, Ok(4)), (4, Err(ValidationFault::KeyTags))] {
        let mut set = Signer::key_set(&[&signer]);
        set.records.extend(of_same_tag(&signer, 1..count + 1));
        set.signatures.clear();
        let set = signer.signed(set);
        let keys = tags(from_ds(&set, vec![signer.ds()])).map(|tags| tags.len());
        assert_eq!(keys, outcome, "{count}");
    }
}

/// The second server's keys are within the budget of the query, so the zone is known to be broken and
/// not asked for each name anew.
#[test]
fn eighty_keys_of_one_tag_cost_no_digest() {
    let signer = Signer::new("example", 15);
    let mut set = Signer::key_set(&[&signer]);
    set.records.extend(of_same_tag(&signer, 1..80));
    let usable = with_context(|context| {
        UsableDs::pick([signer.ds()].into_iter(), context.settings).expect("a usable DS")
    });
    with_context(|context| {
        for _ in 0..4 {
            let fault = ZoneKeys::from_ds(&set, &usable, context).unwrap_err();
            assert_eq!(fault, ValidationFault::KeyTags);
        }
    });
}
