//! The vocabulary of responses: what a server says, classified once, with the RRsets that it says it
//! by, their signatures, and the proofs of the authority section.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::{op::ResponseCode, rr::Record};
use policy::name::Name;

use super::rrset::{Credibility, RrSet, octets_of_sets};

/// The kind of server that a query goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerRole {
    /// An authoritative server of the zone: it is believed within the zone only.
    Authority,
    /// A resolver: queries have RD set, and the whole answer is believed.
    Forwarder,
}

/// A name server of a zone, with the addresses that came with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServer {
    pub name: Name,
    /// Glue that the referring zone may vouch for.
    pub glue: Vec<IpAddr>,
}

/// The NS RRset of a zone, as a referral or as the zone's own apex.
#[derive(Debug, Clone)]
pub struct Referral {
    pub zone: Name,
    pub servers: Vec<NameServer>,
    /// TTL of the NS RRset, in seconds.
    pub ttl_s: u32,
    pub ds: DelegationSigner,
}

/// What a referral says about the DS RRset of the zone, RFC 4035 section 3.1.4.
#[derive(Debug, Clone, Default)]
pub struct DelegationSigner {
    /// The DS RRset with its signatures.
    pub set: Option<RrSet>,
    /// NSEC and NSEC3 RRsets; without a DS RRset they may prove that there is none.
    pub proofs: Vec<RrSet>,
}

impl DelegationSigner {
    /// Memory behind it, in octets.
    pub(super) fn heap_octets(&self) -> usize {
        self.set.as_ref().map_or(0, RrSet::heap_octets) + octets_of_sets(&self.proofs)
    }
}

/// The SOA and the proofs of an authority section.
#[derive(Debug, Clone, Default)]
pub struct Denial {
    /// The SOA RRset of the zone that denies. Present in responses of the kinds NXDOMAIN and NODATA
    /// only.
    pub soa: Option<RrSet>,
    /// NSEC and NSEC3 RRsets, also those of a wildcard answer (RFC 4035 section 3.1.3.3).
    pub proofs: Vec<RrSet>,
}

impl Denial {
    #[must_use]
    pub fn soa_record(&self) -> Option<&Record> {
        self.soa.as_ref()?.records.first()
    }

    /// Lowers the TTL of the SOA, by which a denial is kept, to what its proofs and signatures allow
    /// (RFC 9077, RFC 4035 section 5.3.3).
    pub(super) fn limit_by_proofs(&mut self, now_unix: u32) {
        let of_set = |set: &RrSet| {
            let signed = set.signed_ttl_max_s(now_unix).unwrap_or(u32::MAX);
            set.ttl_s().min(signed)
        };
        let Some(soa) = &mut self.soa else {
            return;
        };
        let ttl_s = self.proofs.iter().map(of_set).fold(of_set(soa), u32::min);
        soa.set_ttl(ttl_s);
    }

    /// A copy with another TTL, in seconds.
    #[must_use]
    pub fn with_ttl(&self, ttl_s: u32) -> Self {
        Self {
            soa: self.soa.as_ref().map(|soa| soa.with_ttl(ttl_s)),
            proofs: self
                .proofs
                .iter()
                .map(|proof| proof.with_ttl(ttl_s))
                .collect(),
        }
    }

    /// Memory behind it, in octets.
    pub(super) fn heap_octets(&self) -> usize {
        self.soa.as_ref().map_or(0, RrSet::heap_octets) + octets_of_sets(&self.proofs)
    }
}

/// What a response says.
#[derive(Debug, Clone)]
pub enum ResponseKind {
    /// The last RRset of the answer section is the one queried; aliases that lead to it precede it.
    Answer,
    /// Aliases lead to a name that the response says nothing about.
    Alias {
        target: Name,
    },
    /// The name at the end of the aliases does not exist.
    NxDomain {
        name: Name,
    },
    /// The name at the end of the aliases has no records of the queried type.
    NoData {
        name: Name,
    },
    /// The last RRset of the answer section is a DNAME whose substitution makes a name that is too
    /// long, RFC 6672 section 2.2.
    DnameTooLong,
    /// Another zone, further down, is responsible.
    Referral(Referral),
    Unusable(ResponseFault),
}

/// Why a response is unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFault {
    /// An error code.
    Code(ResponseCode),
    /// The server is not authoritative for the zone: it refers upwards or sideways, or sends
    /// nothing that belongs to the query.
    Lame,
    /// The code denies a name for which the answer section has a record.
    Inconsistent,
    /// An RRset has more records than the recursor accepts.
    TooMuch,
}

/// A response, scrubbed: everything out of the server's bailiwick is left out.
#[derive(Debug, Clone)]
pub struct Response {
    pub kind: ResponseKind,
    /// RRsets of the answer section, in the order of the alias chain.
    pub answer: Vec<RrSet>,
    pub denial: Denial,
    /// Non-authoritative responses serve only when no other server gives a better one.
    pub credibility: Credibility,
    /// The NS RRset that the zone has at its own apex.
    pub apex: Option<Referral>,
    /// The server that sent it.
    pub server: Option<SocketAddr>,
}
