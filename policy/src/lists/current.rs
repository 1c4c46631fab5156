//! The current lists: one pointer, swapped as a whole.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};

use crate::lists::{blocklist::Blocklist, mandates::ActiveMandates};

/// Generations whose feeds are still known by name: a query may be answered under lists that are
/// ten seconds old, and no feed changes more often than once a second.
const REMEMBERED: usize = 256;

/// The generation that queries are judged by. Readers never wait; a swap is one store.
#[derive(Debug)]
pub struct CurrentLists {
    current: ArcSwap<Blocklist>,
    swaps: AtomicU64,
    last_swap_ns: AtomicU64,
    feeds: Mutex<VecDeque<(u64, FeedNames)>>,
    /// What is ordered now: it hangs on whatever is live. Who swaps holds it.
    orders: Mutex<Arc<ActiveMandates>>,
}

/// The names of a generation's feeds, in the order by which verdicts name them.
pub type FeedNames = Arc<[Box<str>]>;

impl CurrentLists {
    /// Starts with a generation.
    #[must_use]
    pub fn new(first: Arc<Blocklist>) -> Self {
        let lists = Self {
            current: ArcSwap::new(Arc::clone(&first)),
            swaps: AtomicU64::new(0),
            last_swap_ns: AtomicU64::new(0),
            feeds: Mutex::default(),
            orders: Mutex::default(),
        };
        lists.remember(&first);
        lists
    }

    /// The feeds of the lists with this stamp, where they were in use lately.
    #[must_use]
    pub fn feeds_of(&self, stamp: u64) -> Option<FeedNames> {
        let feeds = self
            .feeds
            .lock()
            .expect("nothing panics while it holds the feeds");
        feeds
            .iter()
            .rev()
            .find(|(known, _)| *known == stamp)
            .map(|(_, names)| Arc::clone(names))
    }

    fn remember(&self, lists: &Blocklist) {
        let mut feeds = self
            .feeds
            .lock()
            .expect("nothing panics while it holds the feeds");
        let names = || lists.header().feeds.iter().map(|feed| feed.name.as_str());
        let last = feeds
            .back()
            .map(|(_, last)| Arc::clone(last))
            .filter(|last| last.iter().map(|name| &**name).eq(names()));
        let names = last.unwrap_or_else(|| names().map(Box::from).collect());
        if feeds.len() == REMEMBERED {
            feeds.pop_front();
        }
        feeds.push_back((lists.stamp(), names));
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

    /// Makes a generation current and returns the previous one, so that the caller frees it off the
    /// query path.
    pub fn install(&self, next: Arc<Blocklist>) -> Arc<Blocklist> {
        let orders = self.orders();
        let before = self.swap(next.with_mandates(&orders));
        self.swaps.fetch_add(1, Ordering::Relaxed);
        before
    }

    /// Makes a set of mandates live, on the generation that is live and on all that follow. Not
    /// counted as a swap: the lists are the same.
    pub fn order(&self, mandates: Arc<ActiveMandates>) {
        let mut orders = self.orders();
        if orders.stamp() != mandates.stamp() {
            *orders = mandates;
            // What was before shares its names with what is now: freeing it is quick.
            drop(self.swap(self.current().with_mandates(&orders)));
        }
    }

    fn swap(&self, next: Arc<Blocklist>) -> Arc<Blocklist> {
        self.remember(&next);
        self.current.swap(next)
    }

    fn orders(&self) -> MutexGuard<'_, Arc<ActiveMandates>> {
        self.orders
            .lock()
            .expect("nothing panics while it holds the orders")
    }

    /// LocalData how long the last swap took, from the artefact's opening until every new query used
    /// it.
    pub fn record_swap(&self, took: Duration) {
        self.last_swap_ns.store(
            u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// How many swaps there were since the start, and how long the last one took.
    #[must_use]
    pub fn swaps(&self) -> (u64, Duration) {
        (
            self.swaps.load(Ordering::Relaxed),
            Duration::from_nanos(self.last_swap_ns.load(Ordering::Relaxed)),
        )
    }
}
