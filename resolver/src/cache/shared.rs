//! The answer cache that all workers share.

use std::sync::Arc;

use quick_cache::DefaultHashBuilder;

use crate::{
    cache::{
        classified::Classified,
        entry::AnswerEntry,
        key::{QuestionKey, QuestionKeyRef},
    },
    weighed::{HeapWeigher, WeighedCache, heap_octets},
};

/// The heap of a typical entry, in octets.
const TYPICAL_OCTETS: usize = 320;

#[derive(Clone)]
pub(super) struct ByOctets;

impl HeapWeigher<QuestionKey, Arc<AnswerEntry>> for ByOctets {
    fn heap_octets(&self, key: &QuestionKey, entry: &Arc<AnswerEntry>) -> usize {
        heap_octets(key.octets()) + entry.heap_octets()
    }
}

/// The answer cache: a hard budget in octets, and eviction that resists scans (S3-FIFO).
pub struct AnswerCache(
    pub(super) WeighedCache<QuestionKey, Arc<AnswerEntry>, ByOctets, DefaultHashBuilder>,
);

impl AnswerCache {
    /// A cache of at most `budget` octets.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        Self(WeighedCache::new(budget, TYPICAL_OCTETS, ByOctets))
    }

    /// The entry of a question. It may be stale.
    #[must_use]
    pub fn find(&self, key: &QuestionKeyRef<'_>) -> Option<Arc<AnswerEntry>> {
        self.0.get(key)
    }

    /// The same by an owned key.
    #[must_use]
    pub fn find_owned(&self, key: &QuestionKey) -> Option<Arc<AnswerEntry>> {
        self.0.get(key)
    }

    /// Stores an entry. One that is heavier than a shard's part of the budget is not stored. An
    /// entry that has become heavier since it was stored first is stored as a copy.
    pub fn insert(&self, key: QuestionKey, entry: Arc<AnswerEntry>) {
        let entry = if entry.fix_weight() {
            entry
        } else {
            let copy = entry.reweighed();
            copy.fix_weight();
            Arc::new(copy)
        };
        self.0.insert(key, entry);
    }

    /// Remembers what the lists say of an entry. Where the entry becomes heavier by that, a copy
    /// with its own weight replaces it in the cache.
    pub(crate) fn remember(&self, entry: &AnswerEntry, classified: Classified, has_older: bool) {
        if entry.remember(classified, has_older) {
            return;
        }
        let is_stored = |key: &QuestionKey| {
            let stored = self.0.peek(key);
            stored.filter(|stored| std::ptr::eq(&**stored, entry))
        };
        if let Some((key, stored)) = entry
            .key()
            .and_then(|key| is_stored(&key).map(|stored| (key, stored)))
        {
            self.insert(key, stored);
        }
    }

    /// Octets and entries in use.
    #[must_use]
    pub fn usage(&self) -> (u64, usize) {
        (self.0.octets(), self.0.len())
    }

    /// Sets another budget, in octets.
    pub fn resize(&self, budget: u64) {
        self.0.resize(budget);
    }
}
