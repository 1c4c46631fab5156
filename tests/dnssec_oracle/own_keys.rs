//! Keys that the test signs with: RFC 4034 section 3.1.8.1 from a third hand.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
    },
};

use crate::{
    ZONE,
    forms::{Part, form_of, parts, wire_name},
    ours::unix_s,
    wire::{DNSKEY, Item, SignedSet, Zone},
};

/// How long signatures are valid before and after the time of the test, in seconds.
const VALID_S: u32 = 30 * 86_400;

enum Pair {
    Rsa(RsaKeyPair, &'static dyn aws_lc_rs::signature::RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key of the zone.
pub struct OwnKey {
    algorithm: u8,
    pair: Pair,
}

impl OwnKey {
    pub fn new(algorithm: u8) -> Self {
        let rsa = || RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let ecdsa = |curve| Pair::Ecdsa(EcdsaKeyPair::generate(curve).unwrap());
        let pair = match algorithm {
            8 => Pair::Rsa(rsa(), &RSA_PKCS1_SHA256),
            10 => Pair::Rsa(rsa(), &RSA_PKCS1_SHA512),
            13 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            14 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            15 => Pair::Ed25519(Ed25519KeyPair::generate().unwrap()),
            _ => panic!("no key is made for algorithm {algorithm}"),
        };
        Self { algorithm, pair }
    }

    /// The data of the DNSKEY record, RFC 3110, 6605, 8080.
    fn data(&self) -> Vec<u8> {
        let mut data = vec![1, 1, 3, self.algorithm];
        match &self.pair {
            Pair::Rsa(pair, _) => {
                let exponent = pair.public_key().exponent();
                let exponent = exponent.big_endian_without_leading_zero();
                data.push(u8::try_from(exponent.len()).unwrap());
                data.extend_from_slice(exponent);
                let modulus = pair.public_key().modulus();
                data.extend_from_slice(modulus.big_endian_without_leading_zero());
            }
            Pair::Ecdsa(pair) => data.extend_from_slice(&pair.public_key().as_ref()[1..]),
            Pair::Ed25519(pair) => data.extend_from_slice(pair.public_key().as_ref()),
        }
        data
    }

    /// RFC 4034 appendix B.
    fn tag(&self) -> u16 {
        let mut sum = 0_u32;
        for (place, octet) in self.data().iter().enumerate() {
            sum += u32::from(*octet) << if place % 2 == 0 { 8 } else { 0 };
        }
        ((sum + (sum >> 16)) & 0xffff) as u16
    }

    /// A zone with this key and these sets.
    pub fn zone(&self, sets: Vec<SignedSet>) -> Zone {
        let owner = wire_name(ZONE);
        let key = Item {
            owner: owner.clone(),
            ttl_s: 3_600,
            data: self.data(),
        };
        let keys = SignedSet {
            owner,
            rtype: DNSKEY,
            records: vec![key],
            signatures: Vec::new(),
        };
        Zone {
            keys: self.signed(keys, 3_600),
            sets,
        }
    }

    /// The set with a signature of this original TTL, in seconds.
    pub fn signed(&self, mut set: SignedSet, original_ttl_s: u32) -> SignedSet {
        let original_ttl_s = original_ttl_s % 1_000_000 + 1;
        let owner = set.owner.to_ascii_lowercase();
        let labels = labels(&owner);
        let mut fields = set.rtype.to_be_bytes().to_vec();
        fields.extend([self.algorithm, labels]);
        let now = u32::try_from(unix_s()).unwrap();
        for number in [original_ttl_s, now + VALID_S, now - VALID_S] {
            fields.extend(number.to_be_bytes());
        }
        fields.extend(self.tag().to_be_bytes());
        fields.extend(wire_name(ZONE));
        let mut data: Vec<Vec<u8>> = set
            .records
            .iter()
            .map(|item| lower(set.rtype, item))
            .collect();
        data.sort();
        data.dedup();
        let mut message = fields.clone();
        for octets in data {
            message.extend_from_slice(&owner);
            message.extend(set.rtype.to_be_bytes());
            message.extend([0, 1]);
            message.extend(original_ttl_s.to_be_bytes());
            message.extend(u16::try_from(octets.len()).unwrap().to_be_bytes());
            message.extend(octets);
        }
        fields.extend(self.sign(&message));
        set.signatures.push(Item {
            owner: set.owner.clone(),
            ttl_s: original_ttl_s,
            data: fields,
        });
        set
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Pair::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

/// The labels of a name that is no wildcard, without the root.
fn labels(owner: &[u8]) -> u8 {
    let mut at = 0;
    let mut count = 0;
    while owner[at] != 0 {
        at += 1 + usize::from(owner[at]);
        count += 1;
    }
    count
}

/// The data in canonical form.
fn lower(rtype: u16, item: &Item) -> Vec<u8> {
    let mut data = item.data.clone();
    for (part, place) in parts(form_of(rtype), &item.data) {
        if part == Part::Name {
            data[place].make_ascii_lowercase();
        }
    }
    data
}
