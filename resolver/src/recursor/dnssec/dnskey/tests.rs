//! Tests of keys: tags of known keys, RSA encodings, flags.

use super::*;
use crate::recursor::dnssec::testing::{Signer, records};

fn key(data: &str) -> ZoneKey {
    ZoneKey::of(&records(&format!("example. 60 DNSKEY {data}"))[0]).unwrap()
}

/// The tags that IANA and the RFCs give.
#[test]
fn key_tags_are_those_of_the_rfcs() {
    for (tag, data) in [
        (38_519, RFC_4035),
        (55_648, RFC_6605_P256),
        (10_771, RFC_6605_P384),
        (3_613, RFC_8080),
        (9_033, RFC_5702_SHORT),
        (3_740, RFC_5702_SHA512),
    ] {
        assert_eq!(key(data).tag, tag, "{data}");
    }
}

const RFC_4035: &str = "256 3 5 AQOy1bZVvpPqhg4j7EJoM9rI3ZmyEx2OzDBVrZy/lvI5CQePxXHZS4i8dANH4DX3tbHol6\
    1ek8EFMcsGXxKciJFHyhl94C+NwILQdzsUlSFovBZsyl/NX6yEbtw/xN9ZNcrbYvgjjZ/UVPZIySFNsgEYvh0z2542lzMKR4\
    Dh8uZffQ==";
const RFC_6605_P256: &str = "257 3 13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==";
const RFC_6605_P384: &str = "257 3 14 xKYaNhWdGOfJ+nPrL8/arkwf2EY3MDJ+SErKivBVSum1w/egsXvSADtNJhyem\
    5RCOpgQ6K8X1DRSEkrbYQ+OB+v8/uX45NBwY8rp65F6Glur8I/mlVNgF6W/qTI37m40";
const RFC_8080: &str = "257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";
const RFC_5702_SHORT: &str = "256 3 8 AwEAAcFcGsaxxdgiuuGmCkVImy4h99CqT7jwY3pexPGcnUFtR2Fh36Bponcwtk\
    Z4cAgtvd4Qs8PkxUdp6p/DlUmObdk=";
const RFC_5702_SHA512: &str = "256 3 10 AwEAAdHoNTOW+et86KuJOWRDp1pndvwb6Y83nSVXXyLA3DLroROUkN6X0O6p\
    nWnjJQujX/AyhqFDxj13tOnD9u/1kTg7cV6rklMrZDtJCQ5PCl/D7QNPsgVsMu1J2Q8gpMpztNFLpPBz1bWXjDtaR7ZQBlZ3\
    PFY12ZTSncorffcGmhOL";

#[test]
fn keys_of_all_algorithms_are_usable() {
    for data in [
        RFC_4035,
        RFC_6605_P256,
        RFC_6605_P384,
        RFC_8080,
        RFC_5702_SHA512,
    ] {
        assert!(
            key(data).is_usable() && !key(data).has_unsupported_size(),
            "{data}"
        );
    }
    for algorithm in [8, 10, 13, 14, 15, 18] {
        assert!(Signer::new("example", algorithm).key().is_usable());
    }
}

/// RFC 5702 allows 512 bits for algorithm 8; the library verifies from 1,024.
#[test]
fn a_short_rsa_key_has_an_unsupported_size() {
    assert!(key(RFC_5702_SHORT).has_unsupported_size());
    assert!(!key(RFC_5702_SHORT).is_usable());
}

/// An RSA key of algorithm 8 with this encoding of exponent and modulus.
fn rsa(key: &[u8]) -> ZoneKey {
    ZoneKey::from_data(&[&[1, 0, 3, 8], key].concat()).unwrap()
}

#[test]
fn the_exponent_length_may_take_three_octets() {
    let modulus = [0xc1; 128];
    assert!(rsa(&[&[3, 1, 0, 1], &modulus[..]].concat()).is_usable());
    assert!(rsa(&[&[0, 0, 3, 1, 0, 1], &modulus[..]].concat()).is_usable());
}

/// PowerDNS and Unbound had to learn this in 2026.
#[test]
fn leading_zeros_of_exponent_and_modulus_do_not_count() {
    let modulus = [0xc1; 128];
    let padded = [&[5, 0, 0, 1, 0, 1, 0, 0, 0], &modulus[..]].concat();
    assert!(rsa(&padded).is_usable());
    // A modulus of 1,023 bits remains one, whatever precedes it.
    let mut short = modulus;
    short[0] = 0x41;
    assert!(rsa(&[&[3, 1, 0, 1, 0, 0], &short[..]].concat()).has_unsupported_size());
}

#[test]
fn rsa_keys_above_4096_bits_are_not_supported() {
    assert!(!rsa(&[&[3, 1, 0, 1], &[0xc1; 512][..]].concat()).has_unsupported_size());
    assert!(rsa(&[&[3, 1, 0, 1], &[0xc1; 513][..]].concat()).has_unsupported_size());
    // An exponent of 34 bits.
    assert!(rsa(&[&[5, 2, 0, 0, 0, 1], &[0xc1; 128][..]].concat()).has_unsupported_size());
}

#[test]
fn broken_keys_are_unusable_and_do_not_panic() {
    for octets in [
        &[0][..],
        &[0, 0],
        &[0, 1, 0],
        &[200, 1, 2],
        &[0, 255, 255, 1],
        &[1, 0, 1],
        &[3, 1, 0, 1],
    ] {
        assert!(!rsa(octets).is_usable(), "{octets:?}");
    }
    for algorithm in [1, 3, 12, 13, 14, 15, 16, 18, 253, 255] {
        assert!(
            !ZoneKey::from_data(&[1, 0, 3, algorithm, 1])
                .unwrap()
                .is_usable()
        );
    }
    assert!(ZoneKey::from_data(&[1, 0, 3, 8]).is_none());
}

#[test]
fn only_zone_keys_of_protocol_3_that_are_not_revoked_sign() {
    let with = |flags: u16, protocol| {
        let [high, low] = flags.to_be_bytes();
        ZoneKey::from_data(&[high, low, protocol, 15, 1]).unwrap()
    };
    assert!(with(0x0100, 3).may_sign() && with(0x0101, 3).may_sign());
    // Flags that are not assigned do not matter (RFC 4034 section 2.1.1, DELEG's ADT).
    assert!(with(0x0302, 3).may_sign());
    assert!(!with(0x0000, 3).may_sign() && !with(0x0001, 3).may_sign());
    assert!(!with(0x0100, 2).may_sign());
    assert!(!with(0x0180, 3).may_sign());
}

/// RFC 5011 section 2.1: the flag changes the tag.
#[test]
fn a_revoked_key_is_the_same_key_with_another_tag() {
    let signer = Signer::new("example", 15);
    let mut data = signer.data();
    data[1] |= 0x80;
    let revoked = ZoneKey::from_data(&data).unwrap();
    assert!(revoked.is_same_key(&signer.key()) && revoked.is_revoked());
    assert_ne!(revoked.tag, signer.key().tag);
}

/// `hickory-proto` parses a key anew for each signature.
#[test]
fn a_key_is_parsed_once_and_shared_between_threads() {
    fn assert_shared<T: Send + Sync>(_: &T) {}
    let key = Signer::new("example", 13).key();
    assert_shared(&key);
    assert!(key.public.get().is_none(), "not before it is needed");
    assert!(std::ptr::eq(key.public(), key.public()));
}

#[test]
fn a_signature_that_verified_is_remembered_with_what_it_signs() {
    let signer = Signer::new("example", 13);
    let key = signer.key();
    let sign = |number: usize| {
        let message = number.to_be_bytes().to_vec();
        let signature = signer.sign(&message);
        (message, signature)
    };
    let signed: Vec<_> = (0..3 * REMEMBERED_MAX).map(sign).collect();
    for _ in 0..2 {
        for (message, signature) in &signed {
            assert_eq!(key.verify(message, signature), Ok(()));
            assert_eq!(key.verify(message, signature), Ok(()), "again");
            let mut other = message.clone();
            other[0] ^= 1;
            let wrong = Err(ValidationFault::SignatureWrong);
            assert_eq!(key.verify(&other, signature), wrong);
            // Nor does an octet belong to either.
            let (head, tail) = signature.split_at(1);
            assert_eq!(key.verify(&[&message[..], head].concat(), tail), wrong);
        }
    }
    let remembered = key.verified.lock().unwrap().count;
    assert_eq!(remembered, 2 * signed.len(), "the oldest were forgotten");
    let few = &signed[..REMEMBERED_MAX];
    for _ in 0..3 {
        for (message, signature) in few {
            assert_eq!(key.verify(message, signature), Ok(()));
        }
    }
    let verified = key.verified.lock().unwrap().count - remembered;
    assert_eq!(verified, few.len(), "each once");
}
