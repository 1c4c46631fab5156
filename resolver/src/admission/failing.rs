//! Clients and zones nearly all of whose resolutions fail: those with names of dead servers, and the
//! targets of floods with random names, which do not exist.

use std::{hash::Hash, time::Duration};

use foldhash::HashMap;

/// A group is judged after so many resolutions.
const JUDGED_FROM: u32 = 64;
/// The share of failures, in tenths, from which a group is failing.
const FAILING_TENTHS: u32 = 9;
/// After this time, what was counted before weighs a fourth.
const WINDOW: Duration = Duration::from_secs(5);
/// Groups that are remembered. When there are more, those that are not judged are forgotten.
const GROUPS_MAX: usize = 16_384;

/// The outcomes of recent resolutions, by group.
pub(super) struct Failing<K>(HashMap<K, Tally>);

#[derive(Clone, Copy)]
struct Tally {
    ended: u32,
    failed: u32,
    begun: Duration,
}

impl<K> Default for Failing<K> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Clone + Eq + Hash> Failing<K> {
    /// Counts a resolution that has ended.
    pub(super) fn count(&mut self, key: &K, has_failed: bool, now: Duration) {
        if !self.0.contains_key(key) {
            if !has_failed {
                return;
            }
            if self.0.len() >= GROUPS_MAX {
                self.0.retain(|_, tally| {
                    tally.ended >= JUDGED_FROM && now.saturating_sub(tally.begun) < 2 * WINDOW
                });
                if self.0.len() >= GROUPS_MAX {
                    return;
                }
            }
        }
        let tally = self.0.entry(key.clone()).or_insert(Tally {
            ended: 0,
            failed: 0,
            begun: now,
        });
        tally.age(now);
        tally.ended += 1;
        tally.failed += u32::from(has_failed);
    }

    /// Whether nearly all resolutions of a group fail.
    pub(super) fn is_failing(&mut self, key: &K, now: Duration) -> bool {
        let Some(tally) = self.0.get_mut(key) else {
            return false;
        };
        tally.age(now);
        tally.ended >= JUDGED_FROM && tally.failed * 10 >= tally.ended * FAILING_TENTHS
    }
}

impl Tally {
    fn age(&mut self, now: Duration) {
        let windows = now.saturating_sub(self.begun).as_millis() / WINDOW.as_millis();
        if windows > 0 {
            let shift = u32::try_from(2 * windows).unwrap_or(u32::MAX);
            self.ended = self.ended.checked_shr(shift).unwrap_or(0);
            self.failed = self.failed.checked_shr(shift).unwrap_or(0);
            self.begun = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn a_group_is_failing_when_nine_of_ten_fail_and_recovers() {
        let mut failing = Failing::default();
        for number in 0..64 {
            assert!(!failing.is_failing(&"a", NOW), "{number} are too few");
            failing.count(&"a", number % 10 != 0, NOW);
            failing.count(&"b", number % 4 != 0, NOW);
        }
        assert!(!failing.is_failing(&"a", NOW), "seven of 64 succeeded");
        for _ in 0..10 {
            failing.count(&"a", true, NOW);
        }
        assert!(failing.is_failing(&"a", NOW) && !failing.is_failing(&"b", NOW));
        for _ in 0..10 {
            failing.count(&"a", false, NOW);
        }
        assert!(!failing.is_failing(&"a", NOW));
    }

    #[test]
    fn failures_are_forgotten_with_time_and_groups_are_bounded() {
        let mut failing = Failing::default();
        for _ in 0..200 {
            failing.count(&0, true, NOW);
        }
        assert!(failing.is_failing(&0, NOW + Duration::from_secs(4)));
        assert!(!failing.is_failing(&0, NOW + Duration::from_secs(10)));
        for key in 0..3 * GROUPS_MAX {
            failing.count(&key, true, NOW);
            failing.count(&(key + 1_000_000), false, NOW);
        }
        assert!(failing.0.len() <= GROUPS_MAX);
    }
}
