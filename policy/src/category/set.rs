//! Sets of categories as bits, as the data path compares them.

/// The most categories of a taxonomy: the bits of a [`CategorySet`].
pub const CATEGORIES_MAX: usize = 128;

/// A category's index in the running taxonomy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CategoryId(u8);

impl CategoryId {
    pub(crate) fn new(index: u8) -> Self {
        Self(index)
    }

    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A set of categories, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct CategorySet(u128);

impl CategorySet {
    pub const EMPTY: Self = Self(0);

    /// The set as bits; a category's bit is its index.
    pub(crate) fn to_bits(self) -> u128 {
        self.0
    }

    pub(crate) fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The categories of this set that are not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub fn contains(self, category: CategoryId) -> bool {
        self.0 & (1 << category.0) != 0
    }

    pub fn insert(&mut self, category: CategoryId) {
        self.0 |= 1 << category.0;
    }

    pub fn remove(&mut self, category: CategoryId) {
        self.0 &= !(1 << category.0);
    }

    /// The categories, in the order of the taxonomy.
    pub fn iter(self) -> impl Iterator<Item = CategoryId> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let bit = u8::try_from(rest.trailing_zeros()).expect("at most 128");
            (rest != 0).then(|| {
                rest &= rest - 1;
                CategoryId(bit)
            })
        })
    }
}

impl Extend<CategoryId> for CategorySet {
    fn extend<I: IntoIterator<Item = CategoryId>>(&mut self, categories: I) {
        categories
            .into_iter()
            .for_each(|category| self.insert(category));
    }
}

impl FromIterator<CategoryId> for CategorySet {
    fn from_iter<I: IntoIterator<Item = CategoryId>>(categories: I) -> Self {
        let mut set = Self::EMPTY;
        set.extend(categories);
        set
    }
}
