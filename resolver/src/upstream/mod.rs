//! Where answers come from: local records, a forwarder for a zone, or recursion from the root.
//!
//! Everything behind [`Recursion`] is replaceable. It is asked on misses only and knows no
//! household, no list and no verdict; ids of devices never leave the house, because a question here
//! is a name and a type.

pub mod local_records;
pub mod special_names;

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record, RecordType},
};
use policy::name::{Name as PolicyName, NameRef};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name.
    pub name: PolicyName,
    /// The type.
    pub record_type: u16,
    /// Whether what is known already, but will not hold for long, is to be asked again.
    pub prefetch: bool,
}

impl Question {
    /// A question about a name.
    #[must_use]
    pub fn new(name: PolicyName, record_type: u16) -> Self {
        Self {
            name,
            record_type,
            prefetch: false,
        }
    }

    /// The same name in the record library's words.
    #[must_use]
    pub fn proto_name(&self) -> Name {
        proto_name(self.name.borrow())
    }

    /// The same type in the record library's words.
    #[must_use]
    pub fn proto_type(&self) -> RecordType {
        RecordType::from(self.record_type)
    }
}

/// What the Internet said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The code.
    pub rcode: ResponseCode,
    /// The answer section, the chain in front.
    pub answers: Vec<Record>,
    /// The authority section: the SOA of a negative answer.
    pub authorities: Vec<Record>,
}

impl Answer {
    /// No records, this code.
    #[must_use]
    pub fn empty(rcode: ResponseCode) -> Self {
        Self {
            rcode,
            answers: Vec::new(),
            authorities: Vec::new(),
        }
    }
}

/// A name in the record library's words.
pub(crate) fn proto_name(name: NameRef<'_>) -> Name {
    let mut proto = Name::from_labels(name.labels()).expect("a canonical name is a name");
    proto.set_fqdn(true);
    proto
}

/// The house's form of a record library's name.
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

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("resolving {name} {record_type}")]
pub struct RecursionError {
    /// The name.
    pub name: PolicyName,
    /// The type.
    pub record_type: u16,
    /// The info-code of the Extended DNS Error that tells the client, RFC 8914; none where there is
    /// nothing to tell.
    pub code: Option<u16>,
    /// What is wrong.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Somebody who can answer a question that is not in the cache.
#[async_trait]
pub trait Recursion: Send + Sync {
    /// Finds the answer. A negative answer is an answer; an error is answered SERVFAIL and not
    /// kept.
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError>;
}
