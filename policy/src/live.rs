//! The lists in use: one pointer, swapped as a whole.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};

use crate::blocklist::Blocklist;

/// The generation that queries are judged by. Readers never wait; a swap is one store.
#[derive(Debug)]
pub struct LiveLists {
    current: ArcSwap<Blocklist>,
    swaps: AtomicU64,
    last_swap_ns: AtomicU64,
}

impl LiveLists {
    /// Starts with a generation.
    #[must_use]
    pub fn new(first: Arc<Blocklist>) -> Self {
        Self { current: ArcSwap::new(first), swaps: AtomicU64::new(0), last_swap_ns: AtomicU64::new(0) }
    }

    /// The current generation: load it once for a query.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Blocklist>> {
        self.current.load()
    }

    /// The current generation, to keep.
    #[must_use]
    pub fn current(&self) -> Arc<Blocklist> {
        self.current.load_full()
    }

    /// Makes a generation live and returns the one before, so that the caller frees it where nobody waits.
    pub fn install(&self, next: Arc<Blocklist>) -> Arc<Blocklist> {
        let before = self.current.swap(next);
        self.swaps.fetch_add(1, Ordering::Relaxed);
        before
    }

    /// Records how long the last swap took, from the artefact's opening until every new query used it.
    pub fn record_swap(&self, took: Duration) {
        self.last_swap_ns.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many swaps there were since the start, and how long the last one took.
    #[must_use]
    pub fn swaps(&self) -> (u64, Duration) {
        (self.swaps.load(Ordering::Relaxed), Duration::from_nanos(self.last_swap_ns.load(Ordering::Relaxed)))
    }
}
