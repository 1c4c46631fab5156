//! What the Internet said, shared by every household: never a decision, and no household in the key.
//!
//! An entry is the wire answer without its OPT record, the places of its TTLs, and the names that a decision must look
//! at: the one asked for and its chain. What the lists say of those names lies beside them, stamped with the lists'
//! content, and is renewed by the first query after a swap.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use policy::{
    blocklist::{Blocklist, Classification},
    name::{Name, NameRef},
};
use quick_cache::{Weighter, sync::Cache};

use crate::query::{HEADER_OCTETS, Query, number, skip_name};

/// Octets an entry costs beside its key and wire answer: pointers, counters, the cache's own tables.
const ENTRY_OVERHEAD_OCTETS: u64 = 200;
/// What an average entry weighs, for sizing the cache's tables, in octets.
const ENTRY_TYPICAL_OCTETS: u64 = 500;

/// The question an answer is kept under: lower-case wire name, type, class, DO and CD.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Box<[u8]>);

impl Key {
    /// The key of a query.
    #[must_use]
    pub fn of(query: &Query<'_>) -> Self {
        let flags = u8::from(query.edns.is_some_and(|edns| edns.dnssec_ok)) | u8::from(query.checking_disabled()) << 1;
        Self::new(query.name(), query.record_type, query.class, flags)
    }

    pub(crate) fn new(name: NameRef<'_>, record_type: u16, class: u16, flags: u8) -> Self {
        let mut key = Vec::with_capacity(name.wire().len() + 5);
        key.extend_from_slice(name.wire());
        key.extend(record_type.to_be_bytes());
        key.extend(class.to_be_bytes());
        key.push(flags);
        Self(key.into())
    }
}

/// What the lists of one generation say of an entry's names, in their order.
struct Classified {
    stamp: u64,
    classes: Box<[Classification]>,
}

/// One answer.
pub struct Entry {
    /// The message: header, question in lower case, sections; no OPT.
    pub wire: Box<[u8]>,
    /// Where the TTL of each record stands in it.
    ttl_places: Box<[u16]>,
    /// The name asked for, then each name of its chain.
    names: Box<[Name]>,
    classified: ArcSwap<Classified>,
    stored_s: u64,
    /// How long it may be used, in seconds.
    pub ttl_s: u32,
}

impl Entry {
    /// Takes a wire answer without OPT, with the names a decision must look at.
    ///
    /// Returns none where the message cannot be walked; that is a fault of ours and is answered SERVFAIL.
    #[must_use]
    pub fn new(wire: Vec<u8>, names: Vec<Name>, ttl_s: u32, now: Duration) -> Option<Self> {
        let ttl_places = ttl_places(&wire)?;
        let classified = ArcSwap::from_pointee(Classified { stamp: u64::MAX, classes: Box::default() });
        Some(Self { wire: wire.into(), ttl_places, names: names.into(), classified, stored_s: now.as_secs(), ttl_s })
    }

    /// Whether it may still be used.
    #[must_use]
    pub fn is_fresh(&self, now: Duration) -> bool {
        now.as_secs().saturating_sub(self.stored_s) < u64::from(self.ttl_s)
    }

    /// The names a decision looks at, each with what the lists say of it; classified once a generation.
    pub fn classified<R>(&self, lists: &Blocklist, read: impl FnOnce(&[Name], &[Classification]) -> R) -> R {
        let current = self.classified.load();
        if current.stamp == lists.stamp() {
            return read(&self.names, &current.classes);
        }
        let classes: Box<[Classification]> = self.names.iter().map(|name| lists.classify(name.borrow())).collect();
        let renewed = Arc::new(Classified { stamp: lists.stamp(), classes });
        self.classified.store(Arc::clone(&renewed));
        read(&self.names, &renewed.classes)
    }

    /// The names a decision looks at.
    #[must_use]
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// Writes the age into the TTLs of a copy of the message.
    pub fn write_ttls(&self, copy: &mut [u8], now: Duration) {
        let age = u32::try_from(now.as_secs().saturating_sub(self.stored_s)).unwrap_or(u32::MAX);
        for &place in &self.ttl_places {
            let place = usize::from(place);
            let ttl = u32::from_be_bytes(copy[place..place + 4].try_into().expect("four octets"));
            copy[place..place + 4].copy_from_slice(&ttl.saturating_sub(age).to_be_bytes());
        }
    }
}

/// Where each record's TTL stands; none where the message does not add up.
fn ttl_places(wire: &[u8]) -> Option<Box<[u16]>> {
    let mut at = HEADER_OCTETS;
    for _ in 0..number(wire, 4)? {
        at = skip_name(wire, at)? + 4;
    }
    let records = (6..12).step_by(2).map(|place| number(wire, place).map(usize::from)).sum::<Option<usize>>()?;
    let mut places = Vec::with_capacity(records);
    for _ in 0..records {
        at = skip_name(wire, at)?;
        places.push(u16::try_from(at + 4).ok()?);
        at += 10 + usize::from(number(wire, at + 8)?);
    }
    (at == wire.len()).then(|| places.into())
}

#[derive(Clone)]
struct ByOctets;

impl Weighter<Key, Arc<Entry>> for ByOctets {
    fn weight(&self, key: &Key, entry: &Arc<Entry>) -> u64 {
        let names: usize = entry.names.iter().map(|name| name.borrow().wire().len() + size_of::<Classification>()).sum();
        (key.0.len() + entry.wire.len() + 2 * entry.ttl_places.len() + names) as u64 + ENTRY_OVERHEAD_OCTETS
    }
}

/// The answer cache: a hard budget in octets, scan-resistant eviction.
pub struct AnswerCache(Cache<Key, Arc<Entry>, ByOctets>);

impl AnswerCache {
    /// A cache that holds at most `budget` octets.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        let items = usize::try_from(budget / ENTRY_TYPICAL_OCTETS).unwrap_or(usize::MAX).max(16);
        Self(Cache::with_weighter(items, budget, ByOctets))
    }

    /// The answer, if it is there and still fresh.
    #[must_use]
    pub fn find(&self, key: &Key, now: Duration) -> Option<Arc<Entry>> {
        self.0.get(key).filter(|entry| entry.is_fresh(now))
    }

    /// Keeps an answer.
    pub fn insert(&self, key: Key, entry: Arc<Entry>) {
        self.0.insert(key, entry);
    }

    /// Octets held, and entries.
    #[must_use]
    pub fn usage(&self) -> (u64, usize) {
        (self.0.weight(), self.0.len())
    }
}
