//! Caches that are bounded by a count of entries.

use std::hash::Hash;

use foldhash::quality::RandomState;
use quick_cache::{
    UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};

/// A cache of at most `entries_max` entries. Remote parties choose the keys, so the hash is seeded.
pub(super) type BoundedCache<K, V> = Cache<K, V, UnitWeighter, RandomState>;

pub(super) fn bounded<K: Eq + Hash, V: Clone>(entries_max: usize) -> BoundedCache<K, V> {
    Cache::with(
        entries_max,
        entries_max as u64,
        UnitWeighter,
        RandomState::default(),
        DefaultLifecycle::default(),
    )
}
