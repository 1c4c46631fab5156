//! The legal basis of a mandate, and how a verdict refers to the mandate that decided.

/// The legal bases: the slug in JSON, and the words that complete "blocked because of".
///
/// A basis is stored by its slug, so the order here may change.
pub const BASES: [(&str, &str); 5] = [
    ("court-order", "a court's order"),
    ("sanctions", "sanctions"),
    ("iwf", "the list of the Internet Watch Foundation"),
    ("regulator", "a regulator's order"),
    ("police", "an order of the police"),
];

/// One of [`BASES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Basis(u8);

impl Basis {
    pub(crate) fn find(slug: &str) -> Option<Self> {
        let index = BASES.iter().position(|(word, _)| *word == slug)?;
        u8::try_from(index).ok().map(Self)
    }

    /// The index in [`BASES`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The slug in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        BASES[self.index()].0
    }

    /// The words that complete "blocked because of".
    #[must_use]
    pub fn title(self) -> &'static str {
        BASES[self.index()].1
    }
}

/// Bits of the mandate's index; the basis stands above them.
const INDEX_BITS: u32 = 26;

/// Refers to a mandate of one set of active mandates. Holds the basis as well, so that metrics count
/// a block without access to the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MandateRef(u32);

impl MandateRef {
    /// `None` where the index has more than 26 bits.
    pub(crate) fn new(index: usize, basis: Basis) -> Option<Self> {
        let index = u32::try_from(index)
            .ok()
            .filter(|index| *index < 1 << INDEX_BITS)?;
        Some(Self(u32::from(basis.0) << INDEX_BITS | index))
    }

    /// The basis's index in [`BASES`].
    #[must_use]
    pub fn basis_index(self) -> usize {
        (self.0 >> INDEX_BITS) as usize
    }

    pub(crate) fn index(self) -> usize {
        (self.0 & ((1 << INDEX_BITS) - 1)) as usize
    }
}
