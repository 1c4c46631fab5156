//! Sources of answers: local records, special names, forwarders, or recursion from the root.
//!
//! Everything behind [`Recursion`] can be replaced. The engine uses it on cache misses only. A
//! question is a name and a type: no source knows a household, a list or a verdict, and device ids
//! never leave the node.

pub mod local_records;
pub mod special_names;

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record, RecordType},
};
use policy::name::{Name as PolicyName, NameRef};

use crate::message::types::{DnssecBits, Rtype};

/// Aliases that are followed from a name to its records, in one response or in several. A count, as
/// in BIND up to 9.18.28; Unbound follows 11.
pub const ALIASES_MAX: usize = 16;

/// A question of class IN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub name: PolicyName,
    pub rtype: Rtype,
    /// Whether data near the end of their TTL are queried again.
    pub prefetch: bool,
    /// Whether the answer has signatures and proofs, and whether it may be bogus.
    pub bits: DnssecBits,
}

impl Question {
    /// A question that is no prefetch.
    #[must_use]
    pub fn new(name: PolicyName, rtype: Rtype) -> Self {
        Self {
            name,
            rtype,
            prefetch: false,
            bits: DnssecBits::default(),
        }
    }

    /// The same question with the DO and CD bits of a query.
    #[must_use]
    pub fn with_bits(self, bits: DnssecBits) -> Self {
        Self { bits, ..self }
    }

    /// The name in the record library's type.
    #[must_use]
    pub fn proto_name(&self) -> Name {
        proto_name(self.name.borrow())
    }

    /// The record type in the record library's type.
    #[must_use]
    pub fn proto_type(&self) -> RecordType {
        RecordType::from(self.rtype.to_u16())
    }
}

/// The answer to a question.
#[derive(Debug, Clone)]
pub struct Answer {
    pub rcode: ResponseCode,
    /// The answer section: aliases, then the records of the queried type.
    pub answers: Vec<Record>,
    /// The authority section: the SOA of a negative answer, and with DO the proofs.
    pub authorities: Vec<Record>,
    /// Whether each RRset of both sections, and each denial, is secure: the AD bit (RFC 4035 section
    /// 3.2.3).
    pub is_secure: bool,
    /// The info-code of the Extended DNS Error of an answer that is not validated although an anchor
    /// is above it.
    pub code: Option<u16>,
}

impl Answer {
    /// An answer without records.
    #[must_use]
    pub fn empty(rcode: ResponseCode) -> Self {
        Self {
            rcode,
            answers: Vec::new(),
            authorities: Vec::new(),
            is_secure: false,
            code: None,
        }
    }
}

impl From<RecordType> for Rtype {
    fn from(rtype: RecordType) -> Self {
        Self::new(rtype.into())
    }
}

/// Converts a name to the record library's type.
pub(crate) fn proto_name(name: NameRef<'_>) -> Name {
    let mut proto = Name::from_labels(name.labels()).expect("a canonical name is a name");
    proto.set_fqdn(true);
    proto
}

/// Converts a name of the record library to the canonical form: lower case, wire format.
pub(crate) fn canonical(name: &Name) -> PolicyName {
    let mut wire = Vec::with_capacity(name.len() + 1);
    for label in name.iter() {
        wire.push(u8::try_from(label.len()).expect("a label has at most 63 octets"));
        wire.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    wire.push(0);
    NameRef::from_wire(&wire)
        .expect("a name of the record library is a name")
        .to_owned()
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[error("resolving {name} {rtype}")]
pub struct RecursionError {
    pub name: PolicyName,
    pub rtype: Rtype,
    /// The info-code of the Extended DNS Error for the client, RFC 8914. None without one.
    pub code: Option<u16>,
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A source of answers to questions that the answer cache cannot answer.
#[async_trait]
pub trait Recursion: Send + Sync {
    /// Resolves a question. NXDOMAIN and NODATA are answers; the engine answers SERVFAIL to an error
    /// and does not cache it.
    ///
    /// # Errors
    /// [`RecursionError`] when no source has an answer.
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError>;

    /// Whether it is known that resolving the question fails (RFC 9520), with the info-code of the
    /// Extended DNS Error. Asks no server.
    fn known_failure(&self, _: &Question) -> Option<u16> {
        None
    }
}
