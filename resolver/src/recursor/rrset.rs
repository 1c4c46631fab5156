//! An RRset: the records of one owner name and type, with the signatures that cover them and their
//! DNSSEC security status.

use hickory_proto::{
    rr::{RData, Record},
    serialize::binary::BinEncodable as _,
};
use policy::name::Name;

use crate::{message::types::Rtype, upstream::canonical};

/// Memory of a set beside its records, and of a record beside its data. Estimates, in octets.
const SET_OVERHEAD_OCTETS: u64 = 260;
const RECORD_OVERHEAD_OCTETS: u64 = 260;
/// Each character-string of a TXT record is an allocation of its own.
const TEXT_OVERHEAD_OCTETS: u64 = 32;
/// Memory of a negative cache entry: a set with one record, the SOA.
pub(super) const NEGATIVE_OCTETS: u64 = SET_OVERHEAD_OCTETS + RECORD_OVERHEAD_OCTETS;

/// The DNSSEC security status of an RRset, RFC 4033 section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityStatus {
    /// No trust anchor covers the set. Every set has this status, because the recursor does not
    /// validate.
    Indeterminate,
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
    }

    /// A copy with another TTL, in seconds.
    #[must_use]
    pub fn with_ttl(&self, ttl_s: u32) -> Self {
        let mut set = self.clone();
        set.set_ttl(ttl_s);
        set
    }

    /// The target of a CNAME.
    #[must_use]
    pub fn alias_target(&self) -> Option<Name> {
        match &self.records.first()?.data {
            RData::CNAME(target) => Some(canonical(&target.0)),
            _ => None,
        }
    }

    /// Estimated memory, in octets.
    pub(super) fn octets(&self) -> u64 {
        SET_OVERHEAD_OCTETS + octets_of(&self.records) + octets_of(&self.signatures)
    }
}

/// Estimated memory of records, in octets.
pub(super) fn octets_of(records: &[Record]) -> u64 {
    let data = |record: &Record| match &record.data {
        RData::A(_) | RData::AAAA(_) => 0,
        RData::TXT(text) => text
            .txt_data
            .iter()
            .map(|part| TEXT_OVERHEAD_OCTETS + part.len() as u64)
            .sum(),
        RData::Unknown { rdata, .. } => rdata.anything.len() as u64,
        // In memory, decoded data take at most twice their octets on the wire.
        other => other.to_bytes().map_or(0, |octets| 2 * octets.len() as u64),
    };
    records
        .iter()
        .map(|record| RECORD_OVERHEAD_OCTETS + data(record))
        .sum()
}
