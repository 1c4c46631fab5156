//! Services: names that belong to a category by themselves, such as those of TikTok or the
//! resolvers that browsers use to bypass a filter. They are part of the taxonomy, so they need no
//! feed and are the same for every generation of the lists.
//!
//! ```text
//! taxonomy ── names of each category ──> name -> set of categories ── part of the blocklist
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

/// The names of all categories that have services. Immutable.
#[derive(Default)]
pub struct ServiceNames {
    /// From the key of a name to an index in `sets`.
    index: Overlay,
    sets: Vec<CategorySet>,
}

/// One service name that covers a queried name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceMatch<'a> {
    /// The name in the taxonomy.
    pub entry: NameRef<'a>,
    /// The categories that it belongs to.
    pub categories: CategorySet,
}

impl ServiceNames {
    /// Indexes these names. None of them is a single label.
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

    /// The categories of a name and of all names above it.
    pub(crate) fn find(&self, name: &Labels<'_>) -> CategorySet {
        let mut found = CategorySet::EMPTY;
        if !self.sets.is_empty() {
            self.walk(name, |_, categories| found = found.union(categories));
        }
        found
    }

    /// Every service name that covers a name, from the top.
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

    #[must_use]
    pub fn len(&self) -> usize {
        self.sets.len()
    }

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
