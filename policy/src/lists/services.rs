//! Names that categories bring themselves: a service such as TikTok, the resolvers that browsers go
//! around a filter with. They are part of the taxonomy, so they are there without a feed, and the
//! same for every generation of the lists.
//!
//! ```text
//! taxonomy ── names of each category ──> name -> set of categories ── hangs on the lists, asked while classifying
//! ```
//!
//! A name covers all names below it. Services are in the choice tier: mandates, never-block names
//! and custom lists override them, as they override feeds.

use std::collections::BTreeMap;

use crate::{
    category::CategorySet,
    lists::overlay::Overlay,
    name::{Labels, Name, NameRef},
};

/// The names of all categories that bring some. Never changed.
#[derive(Default)]
pub struct ServiceNames {
    /// From a name's key to its categories' place.
    index: Overlay,
    sets: Vec<CategorySet>,
}

/// One entry that speaks for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceMatch<'a> {
    /// The name that stands in the taxonomy.
    pub entry: NameRef<'a>,
    /// The categories that bring it.
    pub categories: CategorySet,
}

impl ServiceNames {
    /// The services with these names. None of them is a single label.
    pub(crate) fn of(names: &BTreeMap<Name, CategorySet>) -> Self {
        let mut index = Overlay::default().grown(
            names.len(),
            names.keys().map(|name| name.borrow().wire().len()).sum(),
        );
        for (place, name) in (0..).zip(names.keys()) {
            let mut key = Vec::new();
            name.borrow().write_key(&mut key);
            index.set(&key, place);
        }
        Self {
            index,
            sets: names.values().copied().collect(),
        }
    }

    /// The categories that bring a name, or a name above it.
    pub(crate) fn find(&self, name: &Labels<'_>) -> CategorySet {
        let mut found = CategorySet::EMPTY;
        if !self.sets.is_empty() {
            self.walk(name, |_, categories| found = found.union(categories));
        }
        found
    }

    /// Every entry that speaks for a name, from the top.
    pub(crate) fn entries<'a>(&self, name: NameRef<'a>) -> Vec<ServiceMatch<'a>> {
        let mut found = Vec::new();
        self.walk(&Labels::of(name), |depth, categories| {
            found.push(ServiceMatch {
                entry: name.last_labels(usize::from(depth)),
                categories,
            });
        });
        found
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Whether no category brings any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    fn walk(&self, name: &Labels<'_>, mut visit: impl FnMut(u8, CategorySet)) {
        self.index
            .walk(name, self.index.look(name), |depth, place| {
                visit(depth, self.sets[place as usize])
            });
    }
}

impl std::fmt::Debug for ServiceNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceNames")
            .field("names", &self.sets.len())
            .finish_non_exhaustive()
    }
}
