//! Shares: how many places each group holds, and which group holds the most. Groups are clients or
//! zones; a place is a number, and a lower number is older.

use std::{collections::BTreeSet, hash::Hash};

use foldhash::{HashMap, HashMapExt};

/// Who holds which places, group by group.
pub(crate) struct Groups<K> {
    holders: HashMap<K, BTreeSet<u64>>,
    by_size: BTreeSet<(usize, K)>,
}

impl<K: Clone + Eq + Hash + Ord> Groups<K> {
    pub(crate) fn new() -> Self {
        Self {
            holders: HashMap::new(),
            by_size: BTreeSet::new(),
        }
    }

    pub(crate) fn size(&self, key: &K) -> usize {
        self.holders.get(key).map_or(0, BTreeSet::len)
    }

    pub(crate) fn add(&mut self, key: &K, place: u64) {
        let holders = self.holders.entry(key.clone()).or_default();
        self.by_size.remove(&(holders.len(), key.clone()));
        holders.insert(place);
        self.by_size.insert((holders.len(), key.clone()));
    }

    pub(crate) fn remove(&mut self, key: &K, place: u64) {
        let Some(holders) = self.holders.get_mut(key) else {
            return;
        };
        self.by_size.remove(&(holders.len(), key.clone()));
        holders.remove(&place);
        if holders.is_empty() {
            self.holders.remove(key);
        } else {
            self.by_size.insert((holders.len(), key.clone()));
        }
    }

    /// The group with the most places.
    pub(crate) fn largest(&self) -> Option<(usize, &K)> {
        self.by_size.last().map(|(size, key)| (*size, key))
    }

    pub(crate) fn oldest(&self, key: &K) -> Option<u64> {
        self.holders.get(key)?.first().copied()
    }
}
