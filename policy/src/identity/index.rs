//! The index: from a key to the slots that may have it. Eight octets an entry, whatever the key.
//!
//! ```text
//! key -> hash -> fingerprint (its upper 32 bits) -> place = fingerprint * capacity >> 32, then the next, and the next, ...
//! entry = fingerprint (32 bits) | slot + 1 (32 bits)        0: nothing was ever here        tombstone: go on
//! ```
//!
//! The index stores no keys, so an entry proves nothing: the caller checks whether the slot has the
//! key, and takes the next entry if not. Two owners of one key have two entries. The position
//! follows from the fingerprint, so a table grows without the keys, in one pass from front to back.
//!
//! Readers never lock. The directory's lock ensures that there is one writer at a time. An entry
//! never moves inside its table, and a larger table holds all entries before it is swapped in. A
//! reader therefore finds every entry that existed from before its search began until after it
//! ended.

use std::{
    hash::{BuildHasher, Hash},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};
use foldhash::quality::RandomState;

/// Never used: a search ends here.
const EMPTY: u64 = 0;
/// Removed: a search continues. No entry has this slot number.
const TOMBSTONE: u64 = u32::MAX as u64;
/// The smallest table.
const CAPACITY_MIN: usize = 16;

pub(crate) struct Index<S = RandomState> {
    table: ArcSwap<Table>,
    /// Seeded at random in each process, so that clients cannot choose colliding keys.
    hasher: S,
}

struct Table {
    entries: Box<[AtomicU64]>,
    /// Number of entries; read by the writer only.
    live: AtomicUsize,
    /// Number of tombstones; read by the writer only.
    dead: AtomicUsize,
}

/// The index as one search sees it.
pub(crate) struct IndexView<'a, S = RandomState> {
    table: Guard<Arc<Table>>,
    hasher: &'a S,
}

/// The start of a search, and its fingerprint.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Probe {
    fingerprint: u32,
    first: usize,
}

impl<S: BuildHasher> IndexView<'_, S> {
    /// Prepares the search for a key.
    pub fn search(&self, key: impl Hash) -> Probe {
        let fingerprint = fingerprint(self.hasher, key);
        Probe {
            fingerprint,
            first: self.table.first_place(fingerprint),
        }
    }

    /// Reads the first position of a search, whatever it holds.
    pub fn touch(&self, search: Probe) -> u64 {
        self.table.entries[search.first].load(Ordering::Relaxed)
    }

    /// The slots that may have this key. A slot can occur twice.
    pub fn slots(&self, key: impl Hash) -> impl Iterator<Item = u32> {
        self.found(self.search(key))
    }

    /// The slots that a search finds.
    pub fn found(&self, search: Probe) -> impl Iterator<Item = u32> {
        let mut places = self.table.places(search.fingerprint);
        std::iter::from_fn(move || {
            loop {
                // Acquire: a reader of a slot number also sees the chunk with the slot.
                match self.table.entries[places.next()?].load(Ordering::Acquire) {
                    EMPTY => return None,
                    entry if (entry >> 32) as u32 == search.fingerprint && entry != TOMBSTONE => {
                        return Some(entry as u32 - 1);
                    }
                    _ => {}
                }
            }
        })
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::new(RandomState::default())
    }
}

impl<S: BuildHasher> Index<S> {
    pub fn new(hasher: S) -> Self {
        Self {
            table: ArcSwap::from_pointee(Table::with_capacity(CAPACITY_MIN)),
            hasher,
        }
    }

    /// The current table, for one search.
    pub fn view(&self) -> IndexView<'_, S> {
        IndexView {
            table: self.table.load(),
            hasher: &self.hasher,
        }
    }

    /// Adds an entry. The caller ensures that there is one writer at a time.
    pub fn insert(&self, key: impl Hash, slot: u32) {
        let mut table = self.table.load_full();
        if table.is_full() {
            table = Arc::new(table.rebuilt());
            self.table.store(Arc::clone(&table));
        }
        table.place(entry(fingerprint(&self.hasher, key), slot));
    }

    /// Removes an entry that was added. The caller ensures that there is one writer at a time.
    pub fn remove(&self, key: impl Hash, slot: u32) {
        self.table
            .load()
            .bury(entry(fingerprint(&self.hasher, key), slot));
    }

    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.table.load().entries.len()
    }
}

fn fingerprint(hasher: &impl BuildHasher, key: impl Hash) -> u32 {
    (hasher.hash_one(key) >> 32) as u32
}

fn entry(fingerprint: u32, slot: u32) -> u64 {
    u64::from(fingerprint) << 32 | u64::from(slot + 1)
}

impl Table {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            entries: (0..capacity).map(|_| AtomicU64::new(EMPTY)).collect(),
            live: AtomicUsize::new(0),
            dead: AtomicUsize::new(0),
        }
    }

    /// The first position of a fingerprint.
    fn first_place(&self, fingerprint: u32) -> usize {
        ((u64::from(fingerprint) * self.entries.len() as u64) >> 32) as usize
    }

    /// The positions of a fingerprint, in the order of a search.
    fn places(&self, fingerprint: u32) -> impl Iterator<Item = usize> + use<> {
        let capacity = self.entries.len();
        let first = self.first_place(fingerprint);
        (0..capacity).map(move |step| {
            if first + step < capacity {
                first + step
            } else {
                first + step - capacity
            }
        })
    }

    /// Whether four fifths are used. Above that, a search without result visits a dozen positions
    /// or more.
    fn is_full(&self) -> bool {
        let taken = self.live.load(Ordering::Relaxed) + self.dead.load(Ordering::Relaxed);
        (taken + 1) * 5 > self.entries.len() * 4
    }

    /// Returns a table with the same entries and without tombstones. With 13/8 positions for each
    /// entry its load is 0.62: a table full of entries grows by 1.3, one full of tombstones shrinks
    /// or keeps its size.
    ///
    /// The pass begins behind an empty position, so that owners of one key keep their order also
    /// where they reach over the end of the table: the caller may look at the first ones only.
    fn rebuilt(&self) -> Self {
        let live = self.live.load(Ordering::Relaxed);
        let next = Self::with_capacity(CAPACITY_MIN.max(live * 13 / 8));
        let is_empty = |entry: &AtomicU64| entry.load(Ordering::Relaxed) == EMPTY;
        let begin = self.entries.iter().position(is_empty).unwrap_or(0);
        let (front, back) = self.entries.split_at(begin);
        for entry in back.iter().chain(front) {
            match entry.load(Ordering::Relaxed) {
                EMPTY | TOMBSTONE => {}
                entry => next.place(entry),
            }
        }
        next
    }

    fn place(&self, entry: u64) {
        for place in self.places((entry >> 32) as u32) {
            let here = self.entries[place].load(Ordering::Relaxed);
            if here == EMPTY || here == TOMBSTONE {
                self.entries[place].store(entry, Ordering::Release);
                self.live.fetch_add(1, Ordering::Relaxed);
                self.dead
                    .fetch_sub(usize::from(here == TOMBSTONE), Ordering::Relaxed);
                return;
            }
        }
        unreachable!("a fifth of the places is free");
    }

    fn bury(&self, entry: u64) {
        for place in self.places((entry >> 32) as u32) {
            let here = self.entries[place].load(Ordering::Relaxed);
            if here == entry {
                self.entries[place].store(TOMBSTONE, Ordering::Release);
                self.live.fetch_sub(1, Ordering::Relaxed);
                self.dead.fetch_add(1, Ordering::Relaxed);
                self.clear_behind(place);
                return;
            }
            if here == EMPTY {
                return;
            }
        }
    }

    /// Turns tombstones before an empty position into empty ones: a search may end there.
    fn clear_behind(&self, place: usize) {
        let capacity = self.entries.len();
        if self.entries[(place + 1) % capacity].load(Ordering::Relaxed) != EMPTY {
            return;
        }
        let mut place = place;
        while self.entries[place].load(Ordering::Relaxed) == TOMBSTONE {
            self.entries[place].store(EMPTY, Ordering::Release);
            self.dead.fetch_sub(1, Ordering::Relaxed);
            place = (place + capacity - 1) % capacity;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet, HashMap},
        hash::Hasher,
    };

    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    /// Only 200 fingerprints, all at the end of the table, so that keys collide and searches wrap
    /// around.
    #[derive(Clone, Copy, Default)]
    struct Crowded(u64);

    impl Hasher for Crowded {
        fn finish(&self) -> u64 {
            u64::MAX - ((self.0 % 200) << 32)
        }
        fn write(&mut self, octets: &[u8]) {
            self.0 = octets
                .iter()
                .fold(self.0, |hash, octet| hash << 8 | u64::from(*octet));
        }
    }

    impl BuildHasher for Crowded {
        type Hasher = Self;
        fn build_hasher(&self) -> Self {
            Self::default()
        }
    }

    #[test]
    fn owners_of_one_key_keep_their_order_while_the_table_grows() {
        let index = Index::new(Crowded::default());
        let mut capacities = BTreeSet::new();
        for slot in 0..100 {
            index.insert(7_u16, slot);
            let found: Vec<u32> = index.view().slots(7_u16).collect();
            assert_eq!(found, (0..=slot).collect::<Vec<u32>>());
            capacities.insert(index.capacity());
        }
        assert!(capacities.len() > 3, "{capacities:?}");
    }

    /// As a caller does: an entry counts where its slot has the key.
    fn find<S: BuildHasher>(
        index: &Index<S>,
        key: u16,
        slots: &HashMap<u32, BTreeSet<u16>>,
    ) -> Vec<u32> {
        let mut found: Vec<u32> = index
            .view()
            .slots(key)
            .filter(|slot| slots.get(slot).is_some_and(|keys| keys.contains(&key)))
            .collect();
        // Two keys of one slot can have the same fingerprint: then the slot occurs twice.
        found.sort_unstable();
        found.dedup();
        found
    }

    fn compare<S: BuildHasher>(index: &Index<S>, seed: u64) {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut slots: HashMap<u32, BTreeSet<u16>> = HashMap::new();
        let mut owners: BTreeMap<u16, BTreeSet<u32>> = BTreeMap::new();
        let mut capacities = BTreeSet::new();
        // It grows, is emptied and grows again; in between, entries are replaced.
        for round in 0..40_000 {
            let key = chance.random_range(0..900_u16);
            let slot = chance.random_range(0..3_u32);
            let keeps = if (15_000..20_000).contains(&round) {
                0.1
            } else {
                0.6
            };
            let is_there = slots.entry(slot).or_default().contains(&key);
            if chance.random_bool(keeps) && !is_there {
                index.insert(key, slot);
                slots.entry(slot).or_default().insert(key);
                owners.entry(key).or_default().insert(slot);
            } else if is_there {
                index.remove(key, slot);
                slots.entry(slot).or_default().remove(&key);
                owners.entry(key).or_default().remove(&slot);
            }
            let asked = chance.random_range(0..900_u16);
            for key in [key, asked] {
                let expected: Vec<u32> = owners.get(&key).into_iter().flatten().copied().collect();
                assert_eq!(find(index, key, &slots), expected, "round {round}");
            }
            capacities.insert(index.capacity());
        }
        assert!(capacities.len() > 3, "{capacities:?}");
        let table = index.table.load();
        let live = owners.values().map(BTreeSet::len).sum::<usize>();
        assert_eq!(table.live.load(Ordering::Relaxed), live);
        let dead = table
            .entries
            .iter()
            .filter(|entry| entry.load(Ordering::Relaxed) == TOMBSTONE)
            .count();
        assert_eq!(table.dead.load(Ordering::Relaxed), dead);
    }

    #[test]
    fn whatever_comes_and_goes_an_index_finds_what_a_map_finds() {
        compare(&Index::default(), 1);
    }

    #[test]
    fn keys_that_collide_are_found_all_the_same() {
        compare(&Index::new(Crowded::default()), 2);
    }

    #[test]
    fn coming_and_going_for_ever_does_not_make_a_table_grow() {
        let index = Index::default();
        for number in 0..100_000_u32 {
            index.insert(number, number);
            if number >= 100 {
                index.remove(number - 100, number - 100);
            }
        }
        assert!(index.capacity() < 300, "{}", index.capacity());
    }
}
