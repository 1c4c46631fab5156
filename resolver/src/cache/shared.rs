//! The answer cache that all workers share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use policy::name::{Name, NameRef};
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
pub struct AnswerCache {
    pub(super) entries: WeighedCache<QuestionKey, Arc<AnswerEntry>, ByOctets, DefaultHashBuilder>,
    /// Raised when entries are forgotten: before that, so that what was resolved earlier is not
    /// stored, and after it, so that the workers' own caches forget theirs.
    generation: AtomicU64,
}

impl AnswerCache {
    /// A cache of at most `budget` octets.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        Self {
            entries: WeighedCache::new(budget, TYPICAL_OCTETS, ByOctets),
            generation: AtomicU64::new(0),
        }
    }

    /// The entry of a question. It may be stale.
    #[must_use]
    pub fn find(&self, key: &QuestionKeyRef<'_>) -> Option<Arc<AnswerEntry>> {
        self.entries.get(key)
    }

    /// The same by an owned key.
    #[must_use]
    pub fn find_owned(&self, key: &QuestionKey) -> Option<Arc<AnswerEntry>> {
        self.entries.get(key)
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
        self.entries.insert(key, entry);
    }

    /// The number that changes when entries are forgotten.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Stores an entry that was obtained in this generation, unless entries were forgotten since.
    pub(crate) fn insert_of(&self, generation: u64, key: QuestionKey, entry: Arc<AnswerEntry>) {
        if self.generation() != generation {
            return;
        }
        self.insert(key.clone(), entry);
        if self.generation() != generation {
            // They were forgotten meanwhile, and a worker may already have this one.
            self.entries.remove(&key);
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Forgets the answers about these names and names below them, also those that an alias leads
    /// to. Walks through the whole cache.
    pub fn forget_below(&self, names: &[Name]) {
        self.keep(|key, entry| !is_about(names, key, entry));
    }

    /// Ends the TTL of the same answers now: they may be served stale, until there are new ones.
    pub fn expire_below(&self, names: &[Name], now: Duration) {
        self.keep(|key, entry| !is_about(names, key, entry) || entry.expire(now));
    }

    fn keep(&self, is_kept: impl Fn(&QuestionKey, &AnswerEntry) -> bool) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.entries.retain(|key, entry| is_kept(key, entry));
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Remembers what the lists say of an entry. Where the entry becomes heavier by that, a copy
    /// with its own weight replaces it in the cache.
    pub(crate) fn remember(&self, entry: &AnswerEntry, classified: Classified, has_older: bool) {
        if entry.remember(classified, has_older) {
            return;
        }
        let generation = self.generation();
        let is_stored = |key: &QuestionKey| {
            let stored = self.entries.peek(key);
            stored.filter(|stored| std::ptr::eq(&**stored, entry))
        };
        if let Some((key, stored)) = entry
            .key()
            .and_then(|key| is_stored(&key).map(|stored| (key, stored)))
        {
            self.insert_of(generation, key, stored);
        }
    }

    /// Octets and entries in use.
    #[must_use]
    pub fn usage(&self) -> (u64, usize) {
        (self.entries.octets(), self.entries.len())
    }

    /// Sets another budget, in octets.
    pub fn resize(&self, budget: u64) {
        self.entries.resize(budget);
    }
}

/// Whether an answer is about these names or names below them, or an alias leads there.
fn is_about(names: &[Name], key: &QuestionKey, entry: &AnswerEntry) -> bool {
    let is_below = |name: NameRef<'_>| names.iter().any(|top| name.is_within(top.borrow()));
    is_below(key.name()) || entry.chain().iter().any(|name| is_below(name.borrow()))
}
