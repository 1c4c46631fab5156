//! The state of a thread that answers queries: its metrics, its local cache, its due prefetches.

use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    admission::Place,
    cache::{LocalCache, QuestionKey},
    rates::{Rates, SourceCounters},
    telemetry::metrics::{QueryMetrics, WorkerMetrics},
    upstream::Question,
};

/// What one thread answers queries with.
pub struct WorkerState {
    pub metrics: WorkerMetrics,
    pub(crate) local_cache: LocalCache,
    pub(crate) rates: SourceCounters,
    /// Prefetches that the answers of this batch made due. The caller hands them to the runtime.
    pub prefetches: Vec<Prefetch>,
}

impl WorkerState {
    /// The state of a worker thread, with a local cache.
    pub(crate) fn of_worker(
        metrics: &QueryMetrics,
        rates: SourceCounters,
        local_cache: LocalCache,
    ) -> Self {
        Self {
            metrics: metrics.worker(),
            rates,
            local_cache,
            prefetches: Vec::new(),
        }
    }

    /// The state of a runtime thread, which asks the shared cache.
    fn of_runtime(metrics: &QueryMetrics, rates: SourceCounters) -> Self {
        Self::of_worker(metrics, rates, LocalCache::disabled())
    }
}

/// An answer near the end of its TTL, to be resolved again.
pub struct Prefetch {
    pub(crate) key: QuestionKey,
    pub(crate) question: Question,
    pub(crate) _place: Place,
}

/// The states of the runtime's threads, one for each, so that queries over streams and finished
/// misses do not share a lock. A lock is contended only if the runtime has more threads than the
/// machine has processors.
pub(crate) struct RuntimeStates(Box<[Mutex<WorkerState>]>);

static THREADS: AtomicUsize = AtomicUsize::new(0);
thread_local! {
    /// The number of this thread, in the order of first use.
    static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

impl RuntimeStates {
    pub(crate) fn new(metrics: &QueryMetrics, rates: &Rates) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self(
            (0..threads)
                .map(|_| Mutex::new(WorkerState::of_runtime(metrics, rates.runtime_counters())))
                .collect(),
        )
    }

    /// The state of the calling thread. The caller must not hold it across an await.
    pub(crate) fn of_this_thread(&self) -> MutexGuard<'_, WorkerState> {
        let slot = THREAD.with(|number| number % self.0.len());
        self.0[slot]
            .lock()
            .expect("panics over a message are caught while a thread holds its state")
    }
}
