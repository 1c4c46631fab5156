//! Token buckets of many keys in fixed memory, shared by all threads.
//!
//! A set of four buckets holds the keys whose hashes fall into it. A new key takes the bucket with
//! the lowest level, so that a flood of keys with little use does not displace those with much.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Locks, each over a part of the sets.
const SHARDS: usize = 64;
/// Sets of each lock.
const SETS: usize = 64;
const WAYS: usize = 4;
/// Levels are in thousandths, so that a low rate drains in short intervals, too.
const SCALE: u64 = 1_000;

/// One bucket for each key: `per_s` units drain in a second, and `burst` units fit.
pub(super) struct TokenBuckets {
    shards: Box<[Mutex<Box<[Set]>>]>,
    per_s: u64,
    burst: u64,
}

type Set = [Bucket; WAYS];

#[derive(Clone, Copy, Default)]
struct Bucket {
    key: u64,
    /// Thousandths of a unit that have not drained.
    level: u64,
    at_ms: u64,
}

impl TokenBuckets {
    /// Buckets of this rate. None with a rate of 0: no limit.
    pub(super) fn new(per_s: u32, burst: u32) -> Option<Self> {
        let shard = || Mutex::new(vec![Set::default(); SETS].into());
        (per_s > 0).then(|| Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            per_s: per_s.into(),
            burst: u64::from(burst) * SCALE,
        })
    }

    /// Adds units to the bucket of a key. Returns how long it takes until they fit: zero if they do.
    pub(super) fn charge(&self, key: u64, units: u32, now: Duration) -> Duration {
        self.with_bucket(key, now, |bucket| {
            bucket.level += u64::from(units) * SCALE;
            let over = bucket.level.saturating_sub(self.burst);
            Duration::from_millis(over.div_ceil(self.per_s))
        })
    }

    /// Adds units to the bucket of a key if it is not over its burst. Returns whether it was not.
    pub(super) fn charge_if_fits(&self, key: u64, units: u32, now: Duration) -> bool {
        self.with_bucket(key, now, |bucket| {
            let fits = bucket.level <= self.burst;
            if fits {
                bucket.level += u64::from(units) * SCALE;
            }
            fits
        })
    }

    fn with_bucket<T>(&self, key: u64, now: Duration, change: impl FnOnce(&mut Bucket) -> T) -> T {
        let shard = key as usize % SHARDS;
        let set = key as usize / SHARDS % SETS;
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut shard = self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let set = &mut shard[set];
        for bucket in &mut *set {
            let drained = now_ms
                .saturating_sub(bucket.at_ms)
                .saturating_mul(self.per_s);
            bucket.level = bucket.level.saturating_sub(drained);
            // The time of another thread's batch may be a little behind.
            bucket.at_ms = bucket.at_ms.max(now_ms);
        }
        let way = set.iter().position(|bucket| bucket.key == key);
        let way = way.unwrap_or_else(|| {
            let lowest = (0..WAYS).min_by_key(|way| set[*way].level).unwrap_or(0);
            set[lowest] = Bucket {
                key,
                level: 0,
                at_ms: now_ms,
            };
            lowest
        });
        change(&mut set[way])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(5);

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let buckets = TokenBuckets::new(10, 20).unwrap();
        assert_eq!(buckets.charge(7, 20, START), Duration::ZERO);
        assert_eq!(buckets.charge(7, 5, START), Duration::from_millis(500));
        assert_eq!(buckets.charge(8, 20, START), Duration::ZERO, "another key");
        let later = START + Duration::from_millis(600);
        assert_eq!(buckets.charge(7, 1, later), Duration::ZERO);
    }

    #[test]
    fn a_low_rate_drains_in_short_intervals() {
        let buckets = TokenBuckets::new(1, 1).unwrap();
        let waits: Vec<Duration> = (0..4_000)
            .map(|ms| buckets.charge(7, u32::from(ms == 0), START + Duration::from_millis(ms)))
            .collect();
        assert!(waits.iter().all(|wait| wait.is_zero()));
        let later = START + Duration::from_secs(4);
        assert_eq!(buckets.charge(7, 1, later), Duration::ZERO);
    }

    #[test]
    fn many_light_keys_do_not_displace_a_heavy_one() {
        let buckets = TokenBuckets::new(1, 100).unwrap();
        buckets.charge(7, 100, START);
        for key in 1_000..100_000 {
            buckets.charge(key, 1, START);
        }
        assert_eq!(buckets.charge(7, 1, START), Duration::from_secs(1));
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        assert!(TokenBuckets::new(0, 5).is_none());
    }
}
