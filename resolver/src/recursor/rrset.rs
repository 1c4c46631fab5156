//! An RRset: the records of one owner name and type, with the signatures that cover them and their
//! DNSSEC security status.

use hickory_proto::{
    rr::{Name as ProtoName, RData, Record},
    serialize::binary::BinEncodable as _,
};
use policy::name::Name;

use crate::{message::types::Rtype, upstream::canonical, weighed::heap_octets};

use super::dnssec::ValidationFault;

/// Octets of labels, and labels, that a name of the record library holds without a block of its own.
const INLINE_LABEL_OCTETS: usize = 32;
const INLINE_LABELS: usize = 24;

/// The DNSSEC security status of an RRset, RFC 4033 section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityStatus {
    /// A chain of signatures leads from a trust anchor to the set.
    Secure,
    /// The chain ends above the set, and this is proved.
    Insecure,
    /// The chain to the set is broken, or its proof of being insecure is.
    Bogus(ValidationFault),
    /// No trust anchor covers the set, or it is not validated yet.
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

    /// Memory behind the set, in octets.
    pub(super) fn heap_octets(&self) -> usize {
        heap_octets(self.owner.borrow().wire().len())
            + octets_of(&self.records)
            + octets_of(&self.signatures)
    }
}

/// Memory of sets, in octets.
pub(super) fn octets_of_sets(sets: &Vec<RrSet>) -> usize {
    let behind: usize = sets.iter().map(RrSet::heap_octets).sum();
    heap_octets(sets.capacity() * size_of::<RrSet>()) + behind
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
