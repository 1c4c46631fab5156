//! The answer cache that all workers share.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache};

use crate::cache::{
    entry::AnswerEntry,
    key::{QuestionKey, QuestionKeyRef},
};

/// Typical weight of an entry, in octets; sizes the cache's tables.
const TYPICAL_OCTETS: u64 = 320;

#[derive(Clone)]
pub(super) struct ByOctets;

impl Weighter<QuestionKey, Arc<AnswerEntry>> for ByOctets {
    fn weight(&self, key: &QuestionKey, entry: &Arc<AnswerEntry>) -> u64 {
        key.octets() as u64 + entry.weight()
    }
}

/// The answer cache: a hard budget in octets, and eviction that resists scans (S3-FIFO).
pub struct AnswerCache(pub(super) Cache<QuestionKey, Arc<AnswerEntry>, ByOctets>);

impl AnswerCache {
    /// A cache of at most `budget` octets.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        let items = usize::try_from(budget / TYPICAL_OCTETS)
            .unwrap_or(usize::MAX)
            .max(16);
        Self(Cache::with_weighter(items, budget, ByOctets))
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

    /// Stores an entry. One that is heavier than a shard's part of the budget is not stored.
    pub fn insert(&self, key: QuestionKey, entry: Arc<AnswerEntry>) {
        self.0.insert(key, entry);
    }

    /// Octets and entries in use.
    #[must_use]
    pub fn usage(&self) -> (u64, usize) {
        (self.0.weight(), self.0.len())
    }
}
