//! Caches within a budget of octets, and what things take in memory.
//!
//! A weight is what the allocator takes: each block with its header and rounding, and the cache's
//! own tables. So a budget is the memory that a cache fills, not the length of its data.
//!
//! ```text
//! budget = capacity (entries: heap + slot) + tables of the keys that were evicted lately
//! ```

use std::hash::{BuildHasher, Hash};

use foldhash::quality::RandomState;
use quick_cache::{
    Equivalent, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

/// The header of a block of glibc's malloc, its rounding, and its smallest block, in octets.
const BLOCK_HEADER_OCTETS: usize = 8;
const BLOCK_ROUNDING_OCTETS: usize = 16;
const BLOCK_MIN_OCTETS: usize = 32;
/// The two counts in front of a value in an `Arc`, in octets.
const ARC_COUNTS_OCTETS: usize = 16;
/// Octets of a slot beside key and value: state, references, and links to two neighbours.
const SLOT_STATE_OCTETS: usize = 16;
/// Octets of an entry in the hash table: four and a control octet, at an average load of five
/// eighths, and what is held twice while the table grows.
const HASHED_OCTETS: usize = 12;
/// Keys that were evicted lately are remembered, by their hash: half as many as typical entries fit.
const EVICTED_SHARE: f64 = 0.5;

/// What the allocator takes for a block of this many octets.
pub(crate) const fn heap_octets(octets: usize) -> usize {
    if octets == 0 {
        return 0;
    }
    let rounded = (octets + BLOCK_HEADER_OCTETS).next_multiple_of(BLOCK_ROUNDING_OCTETS);
    if rounded < BLOCK_MIN_OCTETS {
        BLOCK_MIN_OCTETS
    } else {
        rounded
    }
}

/// What the allocator takes for a value behind an `Arc`.
pub(crate) const fn arc_octets<T>() -> usize {
    heap_octets(size_of::<T>() + ARC_COUNTS_OCTETS)
}

/// What an entry takes in the tables of a cache.
pub(crate) const fn slot_octets<K, V>() -> usize {
    size_of::<(K, V)>() + SLOT_STATE_OCTETS + HASHED_OCTETS
}

/// Octets that an entry takes on the heap. Constant while the entry is in the cache.
pub(crate) trait HeapWeigher<K, V>: Clone {
    fn heap_octets(&self, key: &K, value: &V) -> usize;
}

#[derive(Clone)]
struct WithSlot<W>(W);

impl<K, V, W: HeapWeigher<K, V>> Weighter<K, V> for WithSlot<W> {
    fn weight(&self, key: &K, value: &V) -> u64 {
        (self.0.heap_octets(key, value) + slot_octets::<K, V>()) as u64
    }
}

/// A cache within a budget of octets, with eviction that resists scans (S3-FIFO). Remote parties
/// choose the keys, so the hash is seeded.
pub(crate) struct WeighedCache<K, V, W, S = RandomState> {
    entries: Cache<K, V, WithSlot<W>, S>,
    /// The part of the budget that is for entries.
    entries_share: f64,
}

impl<K, V, W, S> WeighedCache<K, V, W, S>
where
    K: Eq + Hash,
    V: Clone,
    W: HeapWeigher<K, V>,
    S: BuildHasher + Clone + Default,
{
    /// A cache of at most `budget` octets. `typical` is the heap of an average entry: it sizes the
    /// table of evicted keys.
    pub(crate) fn new(budget: u64, typical: usize, weigher: W) -> Self {
        let slot = slot_octets::<K, V>();
        let entry = (typical + slot) as f64;
        let entries_share = entry / (entry + EVICTED_SHARE * slot as f64);
        let capacity = budget as f64 * entries_share;
        let options = OptionsBuilder::new()
            .estimated_items_capacity(((capacity / entry) as usize).max(16))
            .weight_capacity(capacity as u64)
            .ghost_allocation(EVICTED_SHARE)
            .build()
            .expect("both capacities are set");
        Self {
            entries: Cache::with_options(
                options,
                WithSlot(weigher),
                S::default(),
                DefaultLifecycle::default(),
            ),
            entries_share,
        }
    }

    #[inline]
    pub(crate) fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        self.entries.get(key)
    }

    /// The entry, without counting this as a use.
    pub(crate) fn peek<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        self.entries.peek(key)
    }

    /// Stores an entry. One that is heavier than a shard's part of the budget is not stored.
    pub(crate) fn insert(&self, key: K, value: V) {
        self.entries.insert(key, value);
    }

    pub(crate) fn remove<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) {
        self.entries.remove(key);
    }

    /// Removes the entries that do not meet a condition.
    pub(crate) fn retain(&self, keeps: impl Fn(&K, &V) -> bool) {
        self.entries.retain(keeps);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Octets in use, with the tables as they are.
    pub(crate) fn octets(&self) -> u64 {
        let slots = (self.entries.len() * slot_octets::<K, V>()) as u64;
        let tables = self.entries.memory_used().total() as u64;
        self.entries.weight().saturating_sub(slots) + tables.max(slots)
    }

    /// Sets another budget, in octets. What exceeds it is evicted at once.
    pub(crate) fn resize(&self, budget: u64) {
        let capacity = (budget as f64 * self.entries_share) as u64;
        self.entries.set_capacity(capacity.max(1));
    }
}

#[cfg(test)]
pub(crate) mod measured {
    //! What things really take, by an allocator that counts.

    use std::alloc::System;

    use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

    use super::BLOCK_HEADER_OCTETS;

    #[global_allocator]
    static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

    /// What is made, and the octets that the allocator gave for it, with the header of each block.
    /// Each test runs in a process of its own, so nothing else allocates meanwhile.
    pub(crate) fn heap_of<T>(make: impl FnOnce() -> T) -> (T, usize) {
        let region = Region::new(ALLOCATOR);
        let made = make();
        let change = region.change();
        let octets = change.bytes_allocated - change.bytes_deallocated;
        let blocks = change.allocations - change.deallocations;
        (made, octets + blocks * BLOCK_HEADER_OCTETS)
    }

    /// Requires that entries weigh at least what they take and at most a fifth more. `weigh` gives
    /// the weight of one.
    pub(crate) fn check<T>(what: &str, make: impl Fn(usize) -> T, weigh: impl Fn(&T) -> usize) {
        const ENTRIES: usize = 500;
        let mut made = Vec::with_capacity(ENTRIES);
        // What is set up once, at its first use, is no entry's.
        drop(make(ENTRIES));
        let ((), real) = heap_of(|| made.extend((0..ENTRIES).map(make)));
        let weighed: usize = made.iter().map(weigh).sum();
        let ratio = weighed as f64 / real as f64;
        println!(
            "{what}: {} octets, weighed {ratio:.3} of that",
            real / ENTRIES
        );
        assert!((1.0..=1.2).contains(&ratio), "{what}: {weighed} of {real}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Blocks;

    impl HeapWeigher<u64, std::sync::Arc<[u8]>> for Blocks {
        fn heap_octets(&self, _: &u64, value: &std::sync::Arc<[u8]>) -> usize {
            heap_octets(value.len() + ARC_COUNTS_OCTETS)
        }
    }

    #[test]
    fn a_block_takes_its_header_and_is_rounded() {
        let blocks = [0, 1, 24, 25, 40, 41, 1_000];
        assert_eq!(blocks.map(heap_octets), [0, 32, 32, 48, 48, 64, 1_008]);
        assert_eq!(arc_octets::<[u8; 8]>(), 32);
    }

    #[test]
    fn a_cache_takes_what_its_budget_says() {
        const BUDGET: u64 = 4 << 20;
        for octets in [16, 100, 300, 2_000] {
            let (cache, real) = measured::heap_of(|| {
                let cache: WeighedCache<_, _, _> = WeighedCache::new(BUDGET, 300, Blocks);
                for number in 0..200_000 {
                    cache.insert(number, vec![0; octets].into());
                }
                cache
            });
            let used = cache.octets();
            println!(
                "{octets}: {real} octets, {used} counted, {} entries",
                cache.len()
            );
            assert!(used <= BUDGET + BUDGET / 20, "{octets}: {used}");
            // A growing table has room for twice its entries, which is not resident before it is used.
            assert!((real as u64) < BUDGET + BUDGET / 4, "{octets}: {real}");
            assert!(used > BUDGET / 5 * 4, "{octets}: {used}");
        }
    }

    #[test]
    fn a_smaller_budget_evicts_at_once_and_a_larger_one_lets_grow() {
        let cache: WeighedCache<_, _, _> = WeighedCache::new(4 << 20, 300, Blocks);
        let fill = || (0..50_000).for_each(|number| cache.insert(number, vec![0; 300].into()));
        fill();
        let whole = cache.len();
        cache.resize(1 << 20);
        assert!(cache.len() * 4 <= whole + 4, "{} of {whole}", cache.len());
        fill();
        assert!(cache.len() * 4 <= whole + 4, "{} of {whole}", cache.len());
        cache.resize(4 << 20);
        fill();
        assert!(cache.len() * 10 > whole * 9, "{} of {whole}", cache.len());
    }
}
