//! An RRset: the records of one owner name and type, with the signatures that cover them and their
//! DNSSEC security status.

use hickory_proto::{
    rr::{Name as ProtoName, RData, Record},
    serialize::binary::BinEncodable as _,
};
use policy::name::{Name, WireName};

use crate::{message::types::Rtype, upstream::canonical, weighed::heap_octets};

use super::dnssec::InsecurityCause;

/// Octets of labels, and labels, that a name of the record library holds without a block of its own.
const INLINE_LABEL_OCTETS: usize = 32;
const INLINE_LABELS: usize = 24;

/// Where the original TTL and the expiration begin in the data of an RRSIG record, RFC 4034 section
/// 3.1.
const ORIGINAL_TTL_AT: usize = 4;
const EXPIRATION_AT: usize = 8;
/// How long a set is kept whose signatures have expired, in seconds: within the skew they verify.
const EXPIRED_TTL_S: i32 = 60;
/// Where the signer's name begins in the data of an RRSIG record.
const SIGNER_AT: usize = 18;

/// The DNSSEC security status of an RRset or a denial, RFC 4033 section 5. What is bogus has none: it
/// is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityStatus {
    /// It was not validated: no trust anchor covers it, or no query needed that yet.
    Indeterminate,
    /// An ancestor that is secure proves that no chain of trust leads to it.
    Insecure(InsecurityCause),
    /// A chain of trust leads to it, and its signatures verify.
    Secure,
}

impl SecurityStatus {
    /// The status of two things together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Indeterminate, _) | (_, Self::Indeterminate) => Self::Indeterminate,
            // The cause with an info-code says more.
            (Self::Insecure(cause), Self::Insecure(another)) => {
                Self::Insecure(if cause.ede().is_some() {
                    cause
                } else {
                    another
                })
            }
            (insecure @ Self::Insecure(_), _) | (_, insecure @ Self::Insecure(_)) => insecure,
            (Self::Secure, Self::Secure) => Self::Secure,
        }
    }
}

/// How credible data are, RFC 2181 section 5.4.1, the least credible first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Credibility {
    /// The server that sent the data has no authority for them.
    NonAuthoritative,
    /// The data come from an authority of the zone, or from the forwarder configured for it.
    Authoritative,
}

/// The records of one owner name and type, class IN.
#[derive(Debug, Clone)]
pub struct RrSet {
    pub owner: Name,
    pub rtype: Rtype,
    /// Their TTLs count from the arrival of the set.
    pub records: Vec<Record>,
    /// The RRSIG records that cover the set, RFC 4034 section 3.
    pub signatures: Vec<Record>,
    /// Where the set was expanded from a wildcard: the NSEC and NSEC3 sets of its response, which
    /// prove that its owner does not exist itself (RFC 4035 section 3.1.3.3).
    pub proofs: Vec<Self>,
    pub security: SecurityStatus,
}

impl RrSet {
    /// A set without signatures.
    #[must_use]
    pub fn unsigned(owner: Name, rtype: Rtype, records: Vec<Record>) -> Self {
        Self {
            owner,
            rtype,
            records,
            signatures: Vec::new(),
            proofs: Vec::new(),
            security: SecurityStatus::Indeterminate,
        }
    }

    /// The lowest TTL of the records, in seconds: an RRset has one TTL (RFC 2181 section 5.2). A
    /// TTL with the most significant bit set counts as 0 (section 8).
    #[must_use]
    pub fn ttl_s(&self) -> u32 {
        let ttl = |record: &Record| {
            if record.ttl > i32::MAX.unsigned_abs() {
                0
            } else {
                record.ttl
            }
        };
        self.records.iter().map(ttl).min().unwrap_or(0)
    }

    /// Sets the TTL of all records and signatures, in seconds.
    pub fn set_ttl(&mut self, ttl_s: u32) {
        self.records
            .iter_mut()
            .chain(&mut self.signatures)
            .for_each(|record| record.ttl = ttl_s);
        self.proofs
            .iter_mut()
            .for_each(|proof| proof.set_ttl(ttl_s));
    }

    /// A copy with another TTL, in seconds.
    #[must_use]
    pub fn with_ttl(&self, ttl_s: u32) -> Self {
        let mut set = self.clone();
        set.set_ttl(ttl_s);
        set
    }

    /// Whether the set was expanded from a wildcard: its signature counts fewer labels than its owner
    /// has (RFC 4034 section 3.1.3).
    #[must_use]
    pub fn is_expanded(&self) -> bool {
        self.signatures
            .iter()
            .filter_map(signed_labels)
            .any(|labels| usize::from(labels) < self.labels())
    }

    /// The labels of the owner, without the root and the asterisk of a wildcard.
    fn labels(&self) -> usize {
        let owner = self.owner.borrow();
        let is_wildcard = owner.labels().next() == Some(b"*".as_slice());
        owner.label_count() - usize::from(is_wildcard)
    }

    /// How long the set may be kept by its signatures, in seconds: no longer than their original TTL
    /// and their validity (RFC 4035 section 5.3.3). The longest, because any of them may be the one
    /// that verifies. None without signatures.
    #[must_use]
    pub(super) fn signed_ttl_max_s(&self, now_unix: u32) -> Option<u32> {
        let of_signature = |record: &Record| {
            let RData::Unknown { rdata, .. } = &record.data else {
                return None;
            };
            let field = |at: usize| rdata.anything.get(at..at + 4)?.try_into().ok();
            let original_s = u32::from_be_bytes(field(ORIGINAL_TTL_AT)?);
            let expiration = u32::from_be_bytes(field(EXPIRATION_AT)?);
            let left_s = expiration.wrapping_sub(now_unix).cast_signed();
            Some(original_s.min(left_s.max(EXPIRED_TTL_S).unsigned_abs()))
        };
        self.signatures.iter().filter_map(of_signature).max()
    }

    /// The signers of its signatures, RFC 4034 section 3.1.7.
    pub(super) fn signers(&self) -> impl Iterator<Item = Name> {
        self.signatures.iter().filter_map(signer)
    }

    /// The target of a CNAME.
    #[must_use]
    pub fn alias_target(&self) -> Option<Name> {
        match &self.records.first()?.data {
            RData::CNAME(target) => Some(canonical(&target.0)),
            _ => None,
        }
    }

    /// Memory behind the set, in octets.
    pub(super) fn heap_octets(&self) -> usize {
        heap_octets(self.owner.borrow().wire().len())
            + octets_of(&self.records)
            + octets_of(&self.signatures)
            + octets_of_sets(&self.proofs)
    }
}

/// Memory of sets, in octets.
pub(super) fn octets_of_sets(sets: &Vec<RrSet>) -> usize {
    let behind: usize = sets.iter().map(RrSet::heap_octets).sum();
    heap_octets(sets.capacity() * size_of::<RrSet>()) + behind
}

/// The labels field of an RRSIG record, RFC 4034 section 3.1.
fn signed_labels(record: &Record) -> Option<u8> {
    match &record.data {
        RData::Unknown { rdata, .. } => rdata.anything.get(3).copied(),
        _ => None,
    }
}

/// The signer's name of an RRSIG record, which is not compressed.
fn signer(record: &Record) -> Option<Name> {
    let RData::Unknown { rdata, .. } = &record.data else {
        return None;
    };
    let mut name = WireName::default();
    let read = name.read(&rdata.anything, SIGNER_AT).ok()?;
    Some(read.to_owned())
}

/// Memory of records, in octets.
fn octets_of(records: &Vec<Record>) -> usize {
    let data = |record: &Record| match &record.data {
        RData::A(_) | RData::AAAA(_) => 0,
        RData::NS(name) => octets_of_name(&name.0),
        RData::CNAME(name) => octets_of_name(&name.0),
        RData::PTR(name) => octets_of_name(&name.0),
        RData::MX(data) => octets_of_name(&data.exchange),
        RData::SOA(data) => octets_of_name(&data.mname) + octets_of_name(&data.rname),
        RData::Unknown { rdata, .. } => heap_octets(rdata.anything.capacity()),
        // The reader of responses decodes no other type; local records are not cached here.
        other => other
            .to_bytes()
            .map_or(0, |octets| heap_octets(2 * octets.len())),
    };
    let behind: usize = records
        .iter()
        .map(|record| octets_of_name(&record.name) + data(record))
        .sum();
    heap_octets(records.capacity() * size_of::<Record>()) + behind
}

/// Memory behind a name of the record library, in octets.
fn octets_of_name(name: &ProtoName) -> usize {
    let labels = usize::from(name.num_labels());
    let octets = name.len().saturating_sub(labels + 1);
    let block = |length, inline| {
        if length > inline {
            heap_octets(length)
        } else {
            0
        }
    };
    block(octets, INLINE_LABEL_OCTETS) + block(labels, INLINE_LABELS)
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{RecordType, rdata::NULL};

    use crate::upstream::proto_name;

    use super::*;

    fn signed(signatures: &[(u32, u32)]) -> RrSet {
        let owner = Name::parse("a.example").unwrap();
        let signature = |(original_s, expiration): &(u32, u32)| {
            let octets = [
                &[0, 1, 13, 2][..],
                &original_s.to_be_bytes(),
                &expiration.to_be_bytes(),
            ];
            let rdata = NULL::with(octets.concat());
            let code = RecordType::RRSIG;
            Record::from_rdata(
                proto_name(owner.borrow()),
                3_600,
                RData::Unknown { code, rdata },
            )
        };
        RrSet {
            signatures: signatures.iter().map(signature).collect(),
            ..RrSet::unsigned(owner.clone(), Rtype::A, Vec::new())
        }
    }

    #[test]
    fn a_set_is_kept_no_longer_than_its_signatures_allow() {
        const NOW: u32 = 1_800_000_000;
        for (signatures, max_s) in [
            (&[][..], None),
            (&[(300, NOW + 1_000)], Some(300)),
            (&[(3_600, NOW + 1_000)], Some(1_000)),
            (&[(3_600, NOW + 100), (3_600, NOW + 200)], Some(200)),
            (&[(3_600, NOW - 5)], Some(60)),
            (&[(30, NOW - 5)], Some(30)),
        ] {
            assert_eq!(signed(signatures).signed_ttl_max_s(NOW), max_s);
        }
        // Times wrap (RFC 4034 section 3.1.5).
        assert_eq!(signed(&[(3_600, 99)]).signed_ttl_max_s(u32::MAX), Some(100));
    }
}
