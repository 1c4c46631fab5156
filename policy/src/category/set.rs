//! Sets of categories as bits: what the data path compares.

/// The most categories a taxonomy may hold: the bits of a [`CategorySet`].
pub const CATEGORIES_MAX: usize = 128;

/// One category's place in the running taxonomy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CategoryId(u8);

impl CategoryId {
    pub(crate) fn new(index: u8) -> Self {
        Self(index)
    }

    /// The bit that stands for this category.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A set of categories: one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct CategorySet(u128);

impl CategorySet {
    /// No category.
    pub const EMPTY: Self = Self(0);

    /// The set as bits, a category at its index.
    pub(crate) fn to_bits(self) -> u128 {
        self.0
    }

    /// The set of these bits.
    pub(crate) fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The categories in both sets.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The categories in either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The categories of this one that are not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is no category in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this category is in it.
    #[must_use]
    pub fn contains(self, category: CategoryId) -> bool {
        self.0 & (1 << category.0) != 0
    }

    /// Puts a category in.
    pub fn insert(&mut self, category: CategoryId) {
        self.0 |= 1 << category.0;
    }

    /// Takes a category out.
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
