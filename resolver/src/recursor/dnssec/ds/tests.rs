//! Tests of DS records.

use policy::name::Name;

use super::*;
use crate::recursor::dnssec::testing::{Signer, name, records, set, with_context};

fn key(owner: &str, data: &str) -> ZoneKey {
    ZoneKey::of(&records(&format!("{owner} 60 DNSKEY {data}"))[0]).unwrap()
}

fn ds(data: &str) -> DsData {
    let record = &records(&format!("example. 60 DS {data}"))[0];
    DsData::from_data(&data_octets(record).unwrap()).unwrap()
}

/// RFC 6605 section 6, RFC 8080 section 6.1, RFC 4509 section 2.3.
#[test]
fn digests_are_those_of_the_rfcs() {
    let vectors = [
        (
            "example.net.",
            "257 3 13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQ\
             Lc8NAA==",
            "55648 13 2 b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17",
        ),
        (
            "example.net.",
            "257 3 14 xKYaNhWdGOfJ+nPrL8/arkwf2EY3MDJ+SErKivBVSum1w/egsXvSADtNJhyem5RCOpgQ6K8X1DRSEkrb\
             YQ+OB+v8/uX45NBwY8rp65F6Glur8I/mlVNgF6W/qTI37m40",
            "10771 14 4 72d7b62976ce06438e9c0bf319013cf801f09ecc84b8d7e9495f27e305c6a9b0563a9b5f4d288405\
             c3008a946df983d6",
        ),
        (
            "example.com.",
            "257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
            "3613 15 2 3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b",
        ),
    ];
    for (owner, key_data, ds_data) in vectors {
        let (key, mut ds) = (key(owner, key_data), ds(ds_data));
        let owner = name(owner);
        let matches = |ds: &DsData, zone: &Name| {
            with_context(|context| ds.matches(zone.borrow(), &key, context)).unwrap()
        };
        assert!(matches(&ds, &owner), "{ds_data}");
        assert!(!matches(&ds, &name("other.")), "another owner");
        ds.digest[0] ^= 1;
        assert!(!matches(&ds, &owner), "another digest");
    }
}

#[test]
fn a_digest_of_another_length_matches_nothing() {
    let signer = Signer::new("example", 15);
    let mut ds = signer.ds();
    ds.digest = ds.digest[..31].into();
    let zone = name("example");
    assert_eq!(
        with_context(|context| ds.matches(zone.borrow(), &signer.key(), context)),
        Ok(false)
    );
}

fn usable(records: &str) -> Result<usize, InsecurityCause> {
    let text: Vec<String> = records
        .split(',')
        .map(|data| format!("a.example. 60 DS {data}"))
        .collect();
    UsableDs::new(&set(&text.join("\n")), &ValidationSettings::default())
        .map(|ds| ds.records().len())
}

/// Disabling algorithm 8 once disabled digest type 2 as well (PowerDNS #17840).
#[test]
fn algorithm_and_digest_type_are_two_lists() {
    assert_eq!(usable("1 8 2 AA"), Ok(1));
    assert_eq!(usable("1 13 4 AA"), Ok(1));
    assert_eq!(usable("1 8 1 AA"), Err(InsecurityCause::UnsupportedDigest));
    assert_eq!(usable("1 13 3 AA"), Err(InsecurityCause::UnsupportedDigest));
    assert_eq!(
        usable("1 16 2 AA"),
        Err(InsecurityCause::UnsupportedAlgorithm)
    );
    assert_eq!(
        usable("1 12 2 AA"),
        Err(InsecurityCause::UnsupportedAlgorithm)
    );
}

/// RFC 9905 section 2.
#[test]
fn rsa_with_sha1_is_insecure_unless_it_is_switched_on() {
    assert_eq!(
        usable("1 5 2 AA"),
        Err(InsecurityCause::UnsupportedAlgorithm)
    );
    assert_eq!(
        usable("1 7 2 AA"),
        Err(InsecurityCause::UnsupportedAlgorithm)
    );
    let settings = ValidationSettings {
        accepts_rsa_sha1: true,
        ..ValidationSettings::default()
    };
    for algorithm in [5, 7] {
        let ds = set(&format!("a.example. 60 DS 1 {algorithm} 2 AA"));
        assert!(UsableDs::new(&ds, &settings).is_ok());
    }
}

/// Systemd #19824: one DS record that is not understood made a zone bogus.
#[test]
fn unknown_records_beside_a_usable_one_are_ignored() {
    assert_eq!(usable("1 16 2 AA,2 8 1 AA,3 8 2 AA,4 250 250 AA"), Ok(1));
}

/// RFC 4509 section 3.
#[test]
fn a_sha1_digest_is_ignored_beside_a_sha256_digest() {
    assert_eq!(usable("1 8 1 AA,1 8 2 AA"), Ok(1));
}

#[test]
fn at_most_eight_records_are_used() {
    let many: Vec<String> = (0..30).map(|tag| format!("{tag} 8 2 AA")).collect();
    assert_eq!(usable(&many.join(",")), Ok(RECORDS_MAX));
}
