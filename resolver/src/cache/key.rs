//! Keys of the answer cache: lower-case wire name, type and class, and the DO and CD bits in the
//! upper bits of the class: with DO, an answer has signatures and proofs; with CD, it may be bogus.

use std::hash::{Hash, Hasher};

use policy::name::NameRef;
use quick_cache::Equivalent;

use crate::message::{
    query::Query,
    types::{Class, DnssecBits, Rtype},
};

/// Bits of the class in a key. Only answers of class IN are cached, whose number has neither.
const CLASS_DO: u8 = 0x80;
const CLASS_CD: u8 = 0x40;
const CLASS_CO: u8 = 0x20;
/// Octets of type and class behind the name in a key, as in a question.
const TAIL_OCTETS: usize = 4;

/// The question that an answer is cached under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionKey(Box<[u8]>);

/// A key that borrows the name from a query, so that a lookup allocates nothing.
#[derive(Clone, Copy)]
pub struct QuestionKeyRef<'a> {
    pub(super) name: NameRef<'a>,
    pub(super) tail: [u8; TAIL_OCTETS],
}

impl<'a> QuestionKeyRef<'a> {
    /// The key of a query.
    #[must_use]
    pub fn of(query: &'a Query<'_>) -> Self {
        Self::new(query.name(), query.resolved_type(), query.class).with_bits(query.dnssec_bits())
    }

    /// The key of the same question with these bits.
    #[inline]
    #[must_use]
    pub(crate) fn with_bits(mut self, bits: DnssecBits) -> Self {
        self.tail[2] |= u8::from(bits.dnssec_ok) * CLASS_DO;
        self.tail[2] |= u8::from(bits.checking_disabled) * CLASS_CD;
        self.tail[2] |= u8::from(bits.compact_ok) * CLASS_CO;
        self
    }

    pub(crate) fn new(name: NameRef<'a>, rtype: Rtype, class: Class) -> Self {
        let [t0, t1] = rtype.to_be_bytes();
        let [c0, c1] = class.to_be_bytes();
        Self {
            name,
            tail: [t0, t1, c0, c1],
        }
    }

    /// The key of the same type and class for another name.
    #[must_use]
    pub fn with_name<'b>(&self, name: NameRef<'b>) -> QuestionKeyRef<'b> {
        QuestionKeyRef {
            name,
            tail: self.tail,
        }
    }

    #[must_use]
    pub fn to_owned(self) -> QuestionKey {
        QuestionKey([self.name.wire(), &self.tail].concat().into())
    }
}

impl QuestionKey {
    /// The key of a question in wire form, its name in lower case.
    pub(super) fn of_question(question: &[u8]) -> Self {
        Self(question.into())
    }

    /// Writes the key over the question section at the beginning of `to`.
    pub(super) fn write_question(&self, to: &mut [u8]) {
        to[..self.0.len()].copy_from_slice(&self.0);
    }

    /// Length in octets.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.0.len()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> NameRef<'_> {
        NameRef::from_wire(self.parts().0).expect("a key begins with a name")
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        self.0.split_at(self.0.len() - TAIL_OCTETS)
    }
}

// A key and its borrowed form must have the same hash: the name, then the tail.
impl Hash for QuestionKeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.name.wire());
        state.write(&self.tail);
    }
}

impl Hash for QuestionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (name, tail) = self.parts();
        state.write(name);
        state.write(tail);
    }
}

impl Equivalent<QuestionKey> for QuestionKeyRef<'_> {
    fn equivalent(&self, key: &QuestionKey) -> bool {
        let (name, tail) = key.parts();
        name == self.name.wire() && tail == self.tail
    }
}
