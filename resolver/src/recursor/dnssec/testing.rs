//! Words for tests of validation: RRsets from master-file text, read as from a packet, and a signer
//! that follows RFC 4034 on its own.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair as _, ML_DSA_44_SIGNING, PqdsaKeyPair, RSA_PKCS1_SHA256,
        RSA_PKCS1_SHA512, RsaKeyPair,
    },
};
use domain::{
    base::{name::ToName as _, rdata::ComposeRecordData as _},
    zonefile::inplace::{Entry, Zonefile},
};
use hickory_proto::rr::{RData, Record, RecordType, rdata::NULL};
use policy::name::{Name, NameRef};

use crate::{
    message::{reader, types::Rtype},
    recursor::{rrset::RrSet, sections},
    upstream::{canonical, proto_name},
};

use super::{
    anchors::TrustAnchor,
    budget::ValidationBudget,
    canonical::data_octets,
    context::{ValidationContext, ValidationSettings},
    dnskey::ZoneKey,
    ds::DsData,
    zone_keys::{ZoneKeys, ZoneTrust},
};

/// 2026-12-01 00:00 UTC.
pub(super) const NOW: u32 = 1_796_083_200;
/// TTL of sets that tests make, in seconds.
pub(super) const TTL_S: u32 = 3_600;

/// A context with defaults at [`NOW`].
pub(in crate::recursor) fn with_context<T>(run: impl FnOnce(ValidationContext<'_>) -> T) -> T {
    with_context_at(NOW, ValidationSettings::default(), run)
}

/// The same with algorithms 5 and 7.
pub(super) fn with_sha1<T>(now_unix: u32, run: impl FnOnce(ValidationContext<'_>) -> T) -> T {
    let settings = ValidationSettings {
        accepts_rsa_sha1: true,
        ..ValidationSettings::default()
    };
    with_context_at(now_unix, settings, run)
}

pub(super) fn with_context_at<T>(
    now_unix: u32,
    settings: ValidationSettings,
    run: impl FnOnce(ValidationContext<'_>) -> T,
) -> T {
    let budget = ValidationBudget::default();
    run(ValidationContext {
        now_unix,
        settings: &settings,
        budget: &budget,
    })
}

/// A name; an asterisk and escapes of other octets (`\000`) are allowed.
pub(in crate::recursor) fn name(text: &str) -> Name {
    let parsed: domain::base::Name<Vec<u8>> = text.parse().expect("a name");
    let wire = parsed.as_octets().to_ascii_lowercase();
    NameRef::from_wire(&wire).expect("a name").to_owned()
}

/// The records of a master file, as the reader of responses gives them. Names are absolute.
pub(super) fn records(text: &str) -> Vec<Record> {
    let text: String = text
        .lines()
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    let mut file = Zonefile::from(text.as_str());
    file.set_default_class(domain::base::iana::Class::IN);
    let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut count = 0_u16;
    while let Some(entry) = file.next_entry().expect("a master file") {
        let Entry::Record(record) = entry else {
            continue;
        };
        let mut data = Vec::new();
        record.data().compose_rdata(&mut data).expect("data");
        let owner: domain::base::Name<Vec<u8>> = record.owner().to_name();
        packet.extend_from_slice(owner.as_octets());
        packet.extend(record.rtype().to_int().to_be_bytes());
        packet.extend([0, 1]);
        packet.extend(record.ttl().as_secs().to_be_bytes());
        packet.extend(u16::try_from(data.len()).expect("short data").to_be_bytes());
        packet.extend(data);
        count += 1;
    }
    packet[6..8].copy_from_slice(&count.to_be_bytes());
    let reading = reader::read(&packet).expect("a packet");
    assert_eq!(reading.broken_answers, 0, "{text}");
    reading.message.answers
}

/// All RRsets of a master file with their signatures, in the order of their first records.
pub(in crate::recursor) fn sets(text: &str) -> Vec<RrSet> {
    group(&records(text))
}

/// All RRsets of these records with their signatures.
pub(super) fn group(records: &[Record]) -> Vec<RrSet> {
    let mut sets: Vec<RrSet> = Vec::new();
    for record in records {
        let owner = canonical(&record.name);
        let rtype = Rtype::from(record.record_type());
        let is_known = sets
            .iter()
            .any(|set| set.owner == owner && set.rtype == rtype);
        if rtype != Rtype::RRSIG && !is_known {
            sets.extend(sections::rrset(records, owner.borrow(), rtype));
        }
    }
    sets
}

/// The only RRset of a master file.
pub(in crate::recursor) fn set(text: &str) -> RrSet {
    let mut sets = sets(text);
    assert_eq!(sets.len(), 1, "{text}");
    sets.remove(0)
}

/// A record with these data.
pub(super) fn opaque(owner: NameRef<'_>, rtype: Rtype, data: Vec<u8>) -> Record {
    let code = RecordType::from(rtype.to_u16());
    let mut rdata = NULL::new();
    rdata.anything = data;
    Record::from_rdata(proto_name(owner), TTL_S, RData::Unknown { code, rdata })
}

enum Pair {
    Rsa(RsaKeyPair, &'static dyn aws_lc_rs::signature::RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair),
}

/// A key of a zone that signs.
pub(in crate::recursor) struct Signer {
    pub(super) zone: Name,
    pub(super) flags: u16,
    pub(super) protocol: u8,
    algorithm: u8,
    pair: Pair,
}

/// The fields of an RRSIG that a test may want to be wrong.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) labels: Option<u8>,
    pub(super) original_ttl_s: u32,
    pub(super) expiration: u32,
    pub(super) inception: u32,
    pub(super) signer: Option<Name>,
    pub(super) tag: Option<u16>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            labels: None,
            original_ttl_s: TTL_S,
            expiration: NOW + 30 * 86_400,
            inception: NOW - 86_400,
            signer: None,
            tag: None,
        }
    }
}

impl Signer {
    /// A new key with the flags of a key that signs everything.
    pub(in crate::recursor) fn new(zone: &str, algorithm: u8) -> Self {
        let rsa = || RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let ecdsa = |algorithm| Pair::Ecdsa(EcdsaKeyPair::generate(algorithm).expect("a key"));
        let pair = match algorithm {
            8 => Pair::Rsa(rsa(), &RSA_PKCS1_SHA256),
            10 => Pair::Rsa(rsa(), &RSA_PKCS1_SHA512),
            13 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            14 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            15 => Pair::Ed25519(Ed25519KeyPair::generate().expect("a key")),
            18 => Pair::MlDsa(PqdsaKeyPair::generate(&ML_DSA_44_SIGNING).expect("a key")),
            _ => panic!("the signer has no algorithm {algorithm}"),
        };
        Self {
            zone: name(zone),
            flags: 257,
            protocol: 3,
            algorithm,
            pair,
        }
    }

    /// The data of its DNSKEY record.
    pub(super) fn data(&self) -> Vec<u8> {
        let mut data = self.flags.to_be_bytes().to_vec();
        data.extend([self.protocol, self.algorithm]);
        match &self.pair {
            Pair::Rsa(pair, _) => {
                let exponent = pair.public_key().exponent();
                let exponent = exponent.big_endian_without_leading_zero();
                data.push(u8::try_from(exponent.len()).expect("a short exponent"));
                data.extend_from_slice(exponent);
                let modulus = pair.public_key().modulus();
                data.extend_from_slice(modulus.big_endian_without_leading_zero());
            }
            Pair::Ecdsa(pair) => data.extend_from_slice(&pair.public_key().as_ref()[1..]),
            Pair::Ed25519(pair) => data.extend_from_slice(pair.public_key().as_ref()),
            Pair::MlDsa(pair) => data.extend_from_slice(pair.public_key().as_ref()),
        }
        data
    }

    pub(super) fn key(&self) -> ZoneKey {
        ZoneKey::from_data(&self.data()).expect("a key")
    }

    /// A trust anchor for the key.
    pub(super) fn anchor(&self) -> TrustAnchor {
        TrustAnchor::Key(self.key())
    }

    /// The data of a DS record for the key, digest type 2.
    pub(super) fn ds(&self) -> DsData {
        let octets = [self.zone.borrow().wire(), &self.data()].concat();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &octets);
        DsData {
            tag: self.key().tag,
            algorithm: self.algorithm,
            digest_type: 2,
            digest: digest.as_ref().into(),
        }
    }

    /// The DNSKEY RRset of these keys, signed by the first.
    pub(super) fn key_set(signers: &[&Self]) -> RrSet {
        let zone = signers[0].zone.borrow();
        let records = signers
            .iter()
            .map(|signer| opaque(zone, Rtype::DNSKEY, signer.data()))
            .collect();
        signers[0].signed(RrSet::unsigned(zone.to_owned(), Rtype::DNSKEY, records))
    }

    /// The trusted keys of a zone that has this key alone.
    pub(in crate::recursor) fn keys(&self) -> ZoneKeys {
        let set = Self::key_set(&[self]);
        let trust = with_context(|context| {
            ZoneKeys::from_anchors(&set, &[self.anchor()], context).expect("a secure zone")
        });
        match trust {
            ZoneTrust::Secure(keys) => keys,
            ZoneTrust::Insecure(cause) => panic!("{cause}"),
        }
    }

    /// The set with a signature more. Its data are in canonical form already.
    pub(in crate::recursor) fn signed(&self, set: RrSet) -> RrSet {
        self.signed_on(set, &Terms::default())
    }

    pub(super) fn signed_on(&self, mut set: RrSet, terms: &Terms) -> RrSet {
        let data = set
            .records
            .iter()
            .map(|record| data_octets(record).expect("data").into_owned())
            .collect();
        let signature = self.signature(set.owner.borrow(), set.rtype, data, terms);
        set.signatures
            .push(opaque(set.owner.borrow(), Rtype::RRSIG, signature));
        set
    }

    /// The data of an RRSIG record over canonical data: RFC 4034 sections 3.1.8.1 and 6.3.
    pub(super) fn signature(
        &self,
        owner: NameRef<'_>,
        rtype: Rtype,
        mut data: Vec<Vec<u8>>,
        terms: &Terms,
    ) -> Vec<u8> {
        let labels: Vec<&[u8]> = owner.labels().collect();
        let counted = labels.len() - usize::from(labels.first() == Some(&&b"*"[..]));
        let counted = u8::try_from(counted).expect("few labels");
        let signed_labels = terms.labels.unwrap_or(counted);
        let mut fields = rtype.to_be_bytes().to_vec();
        fields.extend([self.algorithm, signed_labels]);
        for number in [terms.original_ttl_s, terms.expiration, terms.inception] {
            fields.extend(number.to_be_bytes());
        }
        fields.extend(terms.tag.unwrap_or(self.key().tag).to_be_bytes());
        fields.extend_from_slice(terms.signer.as_ref().unwrap_or(&self.zone).borrow().wire());
        let mut source = Vec::new();
        if signed_labels < counted {
            source.extend(b"\x01*");
        }
        let kept = if signed_labels < counted {
            &labels[labels.len() - usize::from(signed_labels)..]
        } else {
            &labels[..]
        };
        for label in kept {
            source.push(u8::try_from(label.len()).expect("a label"));
            source.extend_from_slice(label);
        }
        source.push(0);
        data.sort();
        data.dedup();
        let mut message = fields.clone();
        for octets in data {
            message.extend_from_slice(&source);
            message.extend(rtype.to_be_bytes());
            message.extend([0, 1]);
            message.extend(terms.original_ttl_s.to_be_bytes());
            message.extend(u16::try_from(octets.len()).expect("data").to_be_bytes());
            message.extend(octets);
        }
        fields.extend(self.sign(&message));
        fields
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&random, message).expect("a signature");
                signature.as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::MlDsa(pair) => {
                let mut signature = vec![0; ML_DSA_44_SIGNING.signature_len()];
                let length = pair.sign(message, &mut signature).expect("a signature");
                signature.truncate(length);
                signature
            }
        }
    }
}
