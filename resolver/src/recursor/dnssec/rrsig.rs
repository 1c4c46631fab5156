//! RRSIG data, RFC 4034 section 3, and the checks of RFC 4035 section 5.3.

use std::borrow::Cow;

use hickory_proto::rr::Record;
use policy::name::{Name, NameRef};

use crate::{message::types::Rtype, recursor::rrset::RrSet};

use super::{
    algorithm::SignatureAlgorithm,
    canonical::{CanonicalSet, data_octets, name_at, wildcard},
    context::ValidationContext,
    dnskey::ZoneKey,
    fault::ValidationFault,
};

/// Octets of RRSIG data before the signer's name.
const FIXED_OCTETS: usize = 18;
/// How wrong the clock of a signer may be: a tenth of the signature's lifetime, from one hour to one
/// day if the operator does not choose less, in seconds. The figures of Unbound.
const SKEW_LIFETIME_PART: u32 = 10;
const SKEW_MIN_S: u32 = 3_600;
/// How long a set is kept whose signature has expired within the skew, in seconds.
const EXPIRED_TTL_S: u32 = 60;
/// Signatures of one RRset that are looked at. A count, as in Unbound.
const SIGNATURES_MAX: usize = 8;
/// Keys with the tag and algorithm of one signature that are tried. A count, as in PowerDNS.
const KEYS_PER_SIGNATURE_MAX: usize = 2;

/// What the verification of an RRset says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSet {
    /// How long the set may be kept, in seconds: the original TTL, the TTL of the signature, and
    /// what is left of its validity (RFC 4035 section 5.3.3). The TTL of the set is another bound.
    pub ttl_max_s: u32,
    /// Where the set is expanded from a wildcard: the closest encloser, which is the parent of the
    /// wildcard. The set is secure only with [`Proofs::wildcard_answer`] of it.
    ///
    /// [`Proofs::wildcard_answer`]: super::Proofs::wildcard_answer
    pub closest_encloser: Option<Name>,
    /// The key tag and the algorithm of the signature, for a trace.
    pub key: (u16, u8),
}

/// Verifies an RRset of `zone` with one of these keys. `keys` are keys of the zone, trusted ones.
pub(super) fn verify<'k>(
    set: &RrSet,
    zone: NameRef<'_>,
    keys: impl Iterator<Item = &'k ZoneKey> + Clone,
    context: ValidationContext<'_>,
) -> Result<VerifiedSet, ValidationFault> {
    check_place(set, zone)?;
    let mut fault = ValidationFault::SignatureMissing;
    let mut canonical = None;
    let mut message = Vec::new();
    for record in set.signatures.iter().take(SIGNATURES_MAX) {
        let outcome = Signature::of(record).and_then(|signature| {
            signature.check(set, zone, context)?;
            if canonical.is_none() {
                canonical = CanonicalSet::new(set);
            }
            let canonical = canonical
                .as_ref()
                .ok_or(ValidationFault::SignatureMalformed)?;
            signature.write_message(set.owner.borrow(), canonical, &mut message);
            signature.verify(&message, keys.clone(), context)?;
            Ok(signature.verified(record, set.owner.borrow(), context.now_unix))
        });
        match outcome {
            Err(ValidationFault::TooMuchWork) => return Err(ValidationFault::TooMuchWork),
            Err(further) => fault = fault.or_graver(further),
            Ok(verified) => return Ok(verified),
        }
    }
    Err(fault)
}

/// Whether a DNSKEY RRset is signed by this key, which may be revoked (RFC 5011 section 2.1).
pub(super) fn signs(set: &RrSet, key: &ZoneKey, context: ValidationContext<'_>) -> bool {
    let Some(canonical) = CanonicalSet::new(set) else {
        return false;
    };
    let zone = set.owner.borrow();
    let mut message = Vec::new();
    set.signatures.iter().take(SIGNATURES_MAX).any(|record| {
        let Ok(signature) = Signature::of(record) else {
            return false;
        };
        let is_of_key = signature.tag == key.tag && signature.algorithm == key.algorithm;
        if !is_of_key || signature.check(set, zone, context).is_err() {
            return false;
        }
        signature.write_message(zone, &canonical, &mut message);
        context.budget.charge_signature().is_ok()
            && key
                .verify(&message, &signature.data[signature.signature_at..])
                .is_ok()
    })
}

/// Whether the zone may have the RRset: it owns the name, a DS RRset belongs to the zone above the
/// name (RFC 4035 section 2.4), and SOA and DNSKEY stand at the apex.
fn check_place(set: &RrSet, zone: NameRef<'_>) -> Result<(), ValidationFault> {
    let owner = set.owner.borrow();
    let is_apex = owner == zone;
    let fits = match set.rtype {
        Rtype::DS => !is_apex,
        Rtype::SOA | Rtype::DNSKEY => is_apex,
        _ => true,
    };
    if fits && owner.is_within(zone) {
        Ok(())
    } else {
        Err(ValidationFault::SignerForeign)
    }
}

/// The data of an RRSIG record.
struct Signature<'a> {
    data: Cow<'a, [u8]>,
    covered: Rtype,
    algorithm: u8,
    labels: usize,
    original_ttl_s: u32,
    expiration: u32,
    inception: u32,
    tag: u16,
    signer: Name,
    signature_at: usize,
}

impl<'a> Signature<'a> {
    fn of(record: &'a Record) -> Result<Self, ValidationFault> {
        data_octets(record)
            .and_then(Self::parse)
            .ok_or(ValidationFault::SignatureMalformed)
    }

    fn parse(data: Cow<'a, [u8]>) -> Option<Self> {
        let fixed: [u8; FIXED_OCTETS] = *data.first_chunk()?;
        let short = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let long = |at: usize| {
            u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
        };
        let (signer, signature_at) = name_at(&data, FIXED_OCTETS)?;
        (signature_at < data.len()).then(|| Self {
            covered: Rtype::new(short(0)),
            algorithm: fixed[2],
            labels: usize::from(fixed[3]),
            original_ttl_s: long(4),
            expiration: long(8),
            inception: long(12),
            tag: short(16),
            signer,
            signature_at,
            data,
        })
    }

    /// The checks that need no key, RFC 4035 section 5.3.1.
    fn check(
        &self,
        set: &RrSet,
        zone: NameRef<'_>,
        context: ValidationContext<'_>,
    ) -> Result<(), ValidationFault> {
        if self.covered != set.rtype {
            return Err(ValidationFault::SignatureMalformed);
        }
        if self.signer.borrow() != zone {
            return Err(ValidationFault::SignerForeign);
        }
        let labels = signed_labels(set.owner.borrow());
        if self.labels > labels || self.labels < zone.label_count() {
            return Err(ValidationFault::SignatureLabels);
        }
        if self.labels < labels && is_never_wildcard(set.rtype) {
            return Err(ValidationFault::WildcardForbidden);
        }
        if SignatureAlgorithm::supported(self.algorithm, context.settings).is_none() {
            return Err(ValidationFault::SignatureAlgorithm);
        }
        self.check_times(context.now_unix, context.settings.skew_max_s)
    }

    /// Whether the signature is valid now, in serial number arithmetic (RFC 4034 section 3.1.5).
    fn check_times(&self, now: u32, skew_max_s: u32) -> Result<(), ValidationFault> {
        if serial_difference(self.expiration, self.inception) < 0 {
            return Err(ValidationFault::SignatureLifetime);
        }
        let lifetime = self.expiration.wrapping_sub(self.inception);
        let skew = i64::from(
            (lifetime / SKEW_LIFETIME_PART)
                .max(SKEW_MIN_S)
                .min(skew_max_s),
        );
        if serial_difference(now, self.expiration) > skew {
            Err(ValidationFault::SignatureExpired)
        } else if serial_difference(self.inception, now) > skew {
            Err(ValidationFault::SignatureNotYetValid)
        } else {
            Ok(())
        }
    }

    /// Writes what the signature covers, RFC 4034 section 3.1.8.1.
    fn write_message(&self, owner: NameRef<'_>, set: &CanonicalSet, message: &mut Vec<u8>) {
        message.clear();
        message.extend_from_slice(&self.data[..FIXED_OCTETS]);
        message.extend_from_slice(self.signer.borrow().wire());
        let source = self.closest_encloser(owner).and_then(wildcard);
        let owner = source.as_ref().map_or(owner, Name::borrow);
        set.write(owner.wire(), self.original_ttl_s, message);
    }

    /// The closest encloser of an owner that is expanded from a wildcard, RFC 4035 section 5.3.2.
    fn closest_encloser<'n>(&self, owner: NameRef<'n>) -> Option<NameRef<'n>> {
        (self.labels < signed_labels(owner)).then(|| owner.last_labels(self.labels))
    }

    /// Checks the signature with the keys of its tag and algorithm.
    fn verify<'k>(
        &self,
        message: &[u8],
        keys: impl Iterator<Item = &'k ZoneKey>,
        context: ValidationContext<'_>,
    ) -> Result<(), ValidationFault> {
        let named = keys.filter(|key| key.tag == self.tag && key.algorithm == self.algorithm);
        let mut fault = ValidationFault::KeyMissing;
        for (place, key) in named.take(KEYS_PER_SIGNATURE_MAX).enumerate() {
            if place > 0 {
                context.budget.charge_collision()?;
            }
            if let Some(further) = unfit(key) {
                fault = fault.or_graver(further);
                continue;
            }
            context.budget.charge_signature()?;
            match key.verify(message, &self.data[self.signature_at..]) {
                Ok(()) => return Ok(()),
                Err(further) => fault = fault.or_graver(further),
            }
            context.budget.charge_wrong_signature()?;
        }
        Err(fault)
    }

    fn verified(&self, record: &Record, owner: NameRef<'_>, now: u32) -> VerifiedSet {
        let left_s = match u32::try_from(serial_difference(self.expiration, now)) {
            Ok(left_s @ 1..) => left_s,
            _ => EXPIRED_TTL_S,
        };
        VerifiedSet {
            ttl_max_s: self.original_ttl_s.min(record.ttl).min(left_s),
            closest_encloser: self.closest_encloser(owner).map(NameRef::to_owned),
            key: (self.tag, self.algorithm),
        }
    }
}

/// Why a key may not check signatures.
fn unfit(key: &ZoneKey) -> Option<ValidationFault> {
    if !key.is_of_zone() {
        Some(ValidationFault::KeyNotOfZone)
    } else if key.is_revoked() {
        Some(ValidationFault::KeyRevoked)
    } else if key.has_unsupported_size() {
        Some(ValidationFault::KeySize)
    } else if !key.is_usable() {
        Some(ValidationFault::KeyUnusable)
    } else {
        None
    }
}

/// The labels of an owner as the labels field counts them, RFC 4034 section 3.1.3: without the root
/// and without the asterisk of a wildcard.
fn signed_labels(owner: NameRef<'_>) -> usize {
    let is_wildcard = owner.labels().next() == Some(b"*");
    owner.label_count() - usize::from(is_wildcard)
}

/// Whether a wildcard cannot have the type. An NSEC RRset that is expanded from a wildcard would
/// move a denial to any name (CVE-2017-15105); RFC 4592 section 4 excludes the others.
fn is_never_wildcard(rtype: Rtype) -> bool {
    matches!(
        rtype,
        Rtype::NSEC | Rtype::NSEC3 | Rtype::NSEC3PARAM | Rtype::DS | Rtype::DNSKEY | Rtype::SOA
    )
}

/// `a - b` in serial number arithmetic, RFC 1982, in seconds.
fn serial_difference(a: u32, b: u32) -> i64 {
    i64::from(a.wrapping_sub(b).cast_signed())
}

#[cfg(test)]
mod tests;
