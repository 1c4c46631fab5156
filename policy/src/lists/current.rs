//! The current lists: one pointer that is swapped as a whole.

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

/// Number of recent generations whose feed names are kept. A query may be answered under lists that
/// are ten seconds old, and no feed changes more often than once a second.
const REMEMBERED: usize = 256;

/// The lists that queries are judged by. Readers never wait; a swap is one store.
#[derive(Debug)]
pub struct CurrentLists {
    current: ArcSwap<Blocklist>,
    swaps: AtomicU64,
    last_swap_ns: AtomicU64,
    feeds: Mutex<VecDeque<(u64, FeedNames)>>,
    /// The mandates in force, for the current lists and all that follow. A swap holds this lock.
    mandates: Mutex<Arc<ActiveMandates>>,
}

/// The names of a generation's feeds, by the index in verdicts.
pub type FeedNames = Arc<[Box<str>]>;

impl CurrentLists {
    #[must_use]
    pub fn new(first: Arc<Blocklist>) -> Self {
        let lists = Self {
            current: ArcSwap::new(Arc::clone(&first)),
            swaps: AtomicU64::new(0),
            last_swap_ns: AtomicU64::new(0),
            feeds: Mutex::default(),
            mandates: Mutex::default(),
        };
        lists.remember(&first);
        lists
    }

    /// The feeds of the lists with this stamp, if they were current recently.
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

    /// The current lists. A batch of queries loads them once.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Blocklist>> {
        self.current.load()
    }

    /// The current lists, to keep for longer.
    #[must_use]
    pub fn current(&self) -> Arc<Blocklist> {
        self.current.load_full()
    }

    /// Makes lists current and returns the previous ones, so that the caller frees them outside the
    /// query path.
    pub fn install(&self, next: Arc<Blocklist>) -> Arc<Blocklist> {
        let mandates = self.mandates();
        let before = self.swap(next.with_mandates(&mandates));
        self.swaps.fetch_add(1, Ordering::Relaxed);
        before
    }

    /// Puts mandates in force, for the current lists and all that follow. Not counted as a swap,
    /// because the feeds stay.
    pub fn set_mandates(&self, next: Arc<ActiveMandates>) {
        let mut mandates = self.mandates();
        if mandates.stamp() != next.stamp() {
            *mandates = next;
            // Both share their names, so freeing the previous lists is quick.
            drop(self.swap(self.current().with_mandates(&mandates)));
        }
    }

    fn swap(&self, next: Arc<Blocklist>) -> Arc<Blocklist> {
        self.remember(&next);
        self.current.swap(next)
    }

    fn mandates(&self) -> MutexGuard<'_, Arc<ActiveMandates>> {
        self.mandates
            .lock()
            .expect("nothing panics while it holds the mandates")
    }

    /// Records how long the last swap took, from opening the artefact until every new query used
    /// it.
    pub fn record_swap(&self, took: Duration) {
        self.last_swap_ns.store(
            u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// The number of swaps since the start, and the duration of the last one.
    #[must_use]
    pub fn swaps(&self) -> (u64, Duration) {
        (
            self.swaps.load(Ordering::Relaxed),
            Duration::from_nanos(self.last_swap_ns.load(Ordering::Relaxed)),
        )
    }
}
