//! DNSKEY data, RFC 4034 section 2, and the public keys in them.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aws_lc_rs::{
    digest::{self, SHA256_OUTPUT_LEN},
    signature::{ParsedPublicKey, RsaPublicKeyComponents},
};
use data_encoding::BASE64;
use hickory_proto::rr::Record;

use super::{
    algorithm::{KeyForm, SignatureAlgorithm},
    canonical::data_octets,
    context::ValidationSettings,
    fault::ValidationFault,
};
use crate::weighed::{arc_octets, heap_octets};

/// RFC 4034 section 2.1.1: the key may sign the zone's data.
const FLAG_ZONE: u16 = 0x0100;
/// RFC 5011 section 3.
const FLAG_REVOKED: u16 = 0x0080;
/// RFC 4034 section 2.1.1: a hint that the key signs the DNSKEY RRset.
const FLAG_ENTRY_POINT: u16 = 0x0001;
/// RFC 4034 section 2.1.2.
const PROTOCOL: u8 = 3;
/// Flags, protocol and algorithm, in octets.
const FIXED_OCTETS: usize = 4;
/// Bits of an RSA modulus. RFC 3110 section 2 allows up to 4096. RFC 5702 section 2 allows from 512
/// or 1024, and the cryptographic library verifies from 1024.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 1024..=4096;
/// Bits of an RSA exponent that the cryptographic library accepts.
const EXPONENT_BITS_MAX: usize = 33;
/// The first octet of an uncompressed point, SEC 1 section 2.3.3.
const POINT_UNCOMPRESSED: u8 = 4;
/// What the cryptographic library allocates for a parsed key, in octets: an estimate.
const PARSED_KEY_OCTETS: usize = 2_048;
/// Signatures of a key that are remembered: those of the SOA RRset and of NSEC3 RRsets come with each
/// denial, and an attacker asks for denials. A count.
const REMEMBERED_MAX: usize = 16;

/// A DNSKEY record. Its public key is parsed when it is first needed, and once.
#[derive(Debug, Clone)]
pub struct ZoneKey {
    /// RFC 4034 appendix B.
    pub tag: u16,
    pub flags: u16,
    /// The number of the algorithm.
    pub algorithm: u8,
    protocol: u8,
    /// The whole data of the record.
    data: Box<[u8]>,
    public: OnceLock<PublicKey>,
    verified: Arc<Mutex<VerifiedSignatures>>,
}

/// The signatures that verified last, each with what it signs, as digests. Whether a signature is
/// that of a message does not change with time.
#[derive(Debug, Default)]
struct VerifiedSignatures {
    digests: [[u8; SHA256_OUTPUT_LEN]; REMEMBERED_MAX],
    count: usize,
}

impl VerifiedSignatures {
    fn has(&self, digest: &[u8]) -> bool {
        let known = self.count.min(REMEMBERED_MAX);
        self.digests[..known].iter().any(|known| known == digest)
    }

    fn add(&mut self, digest: &[u8]) {
        self.digests[self.count % REMEMBERED_MAX].copy_from_slice(digest);
        self.count += 1;
    }
}

#[derive(Debug, Clone)]
enum PublicKey {
    Parsed(ParsedPublicKey),
    /// The octets are no key of the algorithm, or of a size that is not supported.
    Unusable,
}

impl ZoneKey {
    /// Reads a DNSKEY record; none where its data are too short.
    #[must_use]
    pub fn of(record: &Record) -> Option<Self> {
        Self::from_data(&data_octets(record)?)
    }

    /// Reads the data of a DNSKEY record.
    #[must_use]
    pub fn from_data(data: &[u8]) -> Option<Self> {
        let (&[flags_high, flags_low, protocol, algorithm], key) =
            data.split_first_chunk::<FIXED_OCTETS>()?;
        (!key.is_empty()).then(|| Self {
            tag: key_tag(data),
            flags: u16::from_be_bytes([flags_high, flags_low]),
            algorithm,
            protocol,
            data: data.into(),
            public: OnceLock::new(),
            verified: Arc::default(),
        })
    }

    /// The whole data of the record.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Whether the key may sign RRsets of the zone: it is a zone key of protocol 3 and not revoked.
    #[must_use]
    pub fn may_sign(&self) -> bool {
        self.is_of_zone() && self.protocol == PROTOCOL && !self.is_revoked()
    }

    /// Whether the Zone Key flag is set.
    #[must_use]
    pub fn is_of_zone(&self) -> bool {
        self.flags & FLAG_ZONE != 0
    }

    /// Whether the REVOKE flag is set, RFC 5011 section 2.1.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.flags & FLAG_REVOKED != 0
    }

    /// Whether the Secure Entry Point flag is set.
    #[must_use]
    pub fn is_entry_point(&self) -> bool {
        self.flags & FLAG_ENTRY_POINT != 0
    }

    /// Whether the key differs from another one in its flags at most, as a key that is revoked
    /// differs from itself before (RFC 5011 section 2.1).
    #[must_use]
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.data[2..] == other.data[2..]
    }

    /// The key without the REVOKE flag, as it was before it was revoked.
    pub(super) fn without_revocation(&self) -> Self {
        let mut data = self.data.clone();
        let [high, low] = (self.flags & !FLAG_REVOKED).to_be_bytes();
        data[..2].copy_from_slice(&[high, low]);
        Self::from_data(&data).expect("as long as before")
    }

    /// The data in presentation form, RFC 4034 section 2.2.
    #[must_use]
    pub fn to_presentation(&self) -> String {
        let public = BASE64.encode(&self.data[FIXED_OCTETS..]);
        format!(
            "{} {} {} {public}",
            self.flags, self.protocol, self.algorithm
        )
    }

    /// Whether the algorithm is supported.
    #[must_use]
    pub fn is_supported(&self, settings: &ValidationSettings) -> bool {
        SignatureAlgorithm::supported(self.algorithm, settings).is_some()
    }

    /// Whether it is an RSA key of a size that the cryptographic library does not verify with.
    pub(super) fn has_unsupported_size(&self) -> bool {
        let form = SignatureAlgorithm::known(self.algorithm).map(SignatureAlgorithm::key_form);
        let Some(KeyForm::Rsa(_)) = form else {
            return false;
        };
        rsa_components(&self.data[FIXED_OCTETS..]).is_some_and(|(exponent, modulus)| {
            !MODULUS_BITS.contains(&bits(modulus)) || bits(exponent) > EXPONENT_BITS_MAX
        })
    }

    /// Whether the public key can be used. One of another protocol is invalid, RFC 4034 section
    /// 2.1.2.
    pub(super) fn is_usable(&self) -> bool {
        self.protocol == PROTOCOL && matches!(self.public(), PublicKey::Parsed(_))
    }

    /// Checks a signature over a message.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), ValidationFault> {
        let PublicKey::Parsed(key) = self.public() else {
            return Err(ValidationFault::KeyUnusable);
        };
        let mut both = digest::Context::new(&digest::SHA256);
        both.update(&message.len().to_be_bytes());
        both.update(message);
        both.update(signature);
        let both = both.finish();
        let verified = || self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified().has(both.as_ref()) {
            return Ok(());
        }
        key.verify_sig(message, signature)
            .map_err(|_| ValidationFault::SignatureWrong)?;
        verified().add(both.as_ref());
        Ok(())
    }

    fn public(&self) -> &PublicKey {
        self.public.get_or_init(|| {
            parse(self.algorithm, &self.data[FIXED_OCTETS..])
                .filter(|_| !self.has_unsupported_size())
                .map_or(PublicKey::Unusable, PublicKey::Parsed)
        })
    }

    /// Memory behind the key, in octets. A key that is not parsed yet counts as if it were.
    pub(super) fn heap_octets(&self) -> usize {
        heap_octets(self.data.len())
            + PARSED_KEY_OCTETS
            + 2 * self.data.len()
            + arc_octets::<Mutex<VerifiedSignatures>>()
    }
}

/// RFC 4034 appendix B.
fn key_tag(data: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in data.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    sum += sum >> 16;
    (sum & 0xffff) as u16
}

fn parse(algorithm: u8, key: &[u8]) -> Option<ParsedPublicKey> {
    match SignatureAlgorithm::known(algorithm)?.key_form() {
        KeyForm::Rsa(parameters) => {
            let (e, n) = rsa_components(key)?;
            RsaPublicKeyComponents { n, e }
                .to_parsed_public_key(parameters)
                .ok()
        }
        KeyForm::Point(algorithm) => {
            let point = [&[POINT_UNCOMPRESSED], key].concat();
            ParsedPublicKey::new(algorithm, point).ok()
        }
        KeyForm::Plain(algorithm) => ParsedPublicKey::new(algorithm, key).ok(),
    }
}

/// The exponent and the modulus, RFC 3110 section 2, without leading zeros. The length of the
/// exponent takes one octet, or three of which the first is zero.
fn rsa_components(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match key {
        [0, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        [length, rest @ ..] => (usize::from(*length), rest),
        [] => return None,
    };
    let (exponent, modulus) = rest.split_at_checked(length)?;
    let (exponent, modulus) = (without_zeros(exponent), without_zeros(modulus));
    (!exponent.is_empty() && !modulus.is_empty()).then_some((exponent, modulus))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    &number[zeros..]
}

/// The bits of a number without leading zero octets.
fn bits(number: &[u8]) -> usize {
    let first = number.first().copied().unwrap_or(0);
    (number.len() * 8).saturating_sub(first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests;
