//! The queries of each source on one thread, counted in fixed memory that no other thread writes.
//!
//! A source whose queries reach the quantum, or whose replies 4 KiB, is *due*: both are charged to the
//! buckets that all threads share. So a home with few queries writes nothing that is
//! shared.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::Duration,
};

use foldhash::{HashMap, HashMapExt, fast};
use policy::rules::household::Mac;

/// Sources of one set.
const WAYS: usize = 4;
/// Replies are counted in units of so many octets, rounded up.
const OCTET_UNIT: usize = 64;
/// So many units make a source due, too: 4 KiB.
const UNITS_MAX: u16 = 64;
/// Limited keys that one thread remembers. A count.
const BLOCKED_MAX: usize = 4_096;

/// Counters of sources on one thread.
pub struct SourceCounters {
    sets: Box<[Set]>,
    hasher: fast::FixedState,
    /// Queries of a source until it is due.
    quantum: u16,
    /// The set and the way of the source that was counted last.
    last: (usize, usize),
    /// Queries of sources that found their set full, since the last charge for them.
    uncounted: u16,
    /// Keys of clients and networks that are limited, and until when.
    blocked: HashMap<u64, Duration>,
    /// When the last one of them ends.
    blocked_until: Duration,
    /// Replies that were limited, for the slip.
    pub(super) slips: u32,
}

#[derive(Clone, Copy, Default)]
#[repr(align(32))]
struct Set {
    /// Parts of the sources' hashes; 0 is no source.
    tags: [u32; WAYS],
    queries: [u16; WAYS],
    octets: [u16; WAYS],
}

/// What a source has used since it was charged last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) queries: u32,
    pub(super) octets: u32,
}

impl SourceCounters {
    /// Counters for about four times `sets` sources.
    pub(crate) fn new(sets: usize, quantum: u16) -> Self {
        Self {
            // Behind the sets of sources is one for what has no place in them.
            sets: vec![Set::default(); sets.next_power_of_two() + 1].into(),
            hasher: fast::FixedState::with_seed(RandomState::new().hash_one(0)),
            quantum: quantum.max(1),
            last: (0, 0),
            uncounted: 0,
            blocked: HashMap::new(),
            blocked_until: Duration::ZERO,
            slips: 0,
        }
    }

    /// Loads the set of a source into the processor's cache.
    #[inline]
    pub(crate) fn touch(&self, source: IpAddr) -> u32 {
        let hash = self.hash(source, false);
        self.sets[self.index(hash)].tags[0]
    }

    #[inline]
    fn index(&self, hash: u64) -> usize {
        // The number of sets without the last one is a power of two.
        hash as usize & (self.sets.len() - 2)
    }

    #[inline]
    fn hash(&self, source: IpAddr, is_proven: bool) -> u64 {
        let bits = match source {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            // A client has a /56. The bits below are its own to choose.
            IpAddr::V6(v6) => (v6.to_bits() >> 72) as u64 | 1 << 63,
        };
        self.hasher.hash_one(bits ^ u64::from(is_proven) << 62)
    }

    /// Counts a query of a source. Returns what it used, when it is due.
    #[inline]
    pub(super) fn count(
        &mut self,
        source: IpAddr,
        mac: Option<Mac>,
        is_proven: bool,
    ) -> Option<Due> {
        let mut hash = self.hash(source, is_proven);
        if let Some(mac) = mac {
            hash ^= self.hasher.hash_one(mac.0);
        }
        let tag = (hash >> 32) as u32 | 1;
        let index = self.index(hash);
        let set = &mut self.sets[index];
        match set.tags.iter().position(|known| *known == tag) {
            Some(way) => {
                set.queries[way] += 1;
                self.last = (index, way);
                let is_due = set.queries[way] >= self.quantum || set.octets[way] >= UNITS_MAX;
                is_due.then(|| self.take(index, way))
            }
            None => self.enter(index, tag),
        }
    }

    /// Lets a new source take the place of the one with the fewest queries, once that one has lost
    /// them: each new source takes one from it.
    #[cold]
    #[inline(never)]
    fn enter(&mut self, index: usize, tag: u32) -> Option<Due> {
        let set = &mut self.sets[index];
        let lowest = (0..WAYS).min_by_key(|way| set.queries[*way]).unwrap_or(0);
        if set.queries[lowest] == 0 {
            set.tags[lowest] = tag;
            set.queries[lowest] = 1;
            set.octets[lowest] = 0;
            self.last = (index, lowest);
            return (self.quantum == 1).then(|| self.take(index, lowest));
        }
        set.queries[lowest] -= 1;
        self.last = (self.sets.len() - 1, 0);
        // One of so many queries that are not counted stands for all of them.
        self.uncounted += 1;
        if self.uncounted < self.quantum {
            return None;
        }
        let (index, way) = self.last;
        self.sets[index].queries[way] = std::mem::take(&mut self.uncounted);
        Some(self.take(index, way))
    }

    fn take(&mut self, index: usize, way: usize) -> Due {
        let set = &mut self.sets[index];
        Due {
            queries: std::mem::take(&mut set.queries[way]).into(),
            octets: u32::from(std::mem::take(&mut set.octets[way])) * OCTET_UNIT as u32,
        }
    }

    /// Counts the octets of the reply to the query that was counted last.
    #[inline]
    pub(crate) fn replied(&mut self, octets: usize) {
        let (index, way) = self.last;
        let counted = &mut self.sets[index].octets[way];
        *counted = counted.saturating_add((octets / OCTET_UNIT) as u16 + 1);
    }

    /// Whether any key is limited now.
    #[inline]
    pub(super) fn has_blocked(&self, now: Duration) -> bool {
        now < self.blocked_until
    }

    /// Whether a key is limited now.
    pub(super) fn is_blocked(&self, key: u64, now: Duration) -> bool {
        self.blocked.get(&key).is_some_and(|until| *until > now)
    }

    /// Limits a key.
    pub(super) fn block(&mut self, key: u64, until: Duration, now: Duration) {
        if now >= self.blocked_until {
            self.blocked.clear();
        } else if self.blocked.len() >= BLOCKED_MAX {
            self.blocked.retain(|_, until| *until > now);
        }
        if self.blocked.len() < BLOCKED_MAX {
            self.blocked.insert(key, until);
            self.blocked_until = self.blocked_until.max(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(number))
    }

    #[test]
    fn a_source_is_due_at_each_quantum_with_what_it_used() {
        let mut counters = SourceCounters::new(16, 3);
        let mut dues = Vec::new();
        for _ in 0..7 {
            dues.extend(counters.count(source(1), None, false));
            counters.replied(100);
        }
        let due = |octets| Due { queries: 3, octets };
        // The third query is charged before its reply is known.
        assert_eq!(dues, [due(256), due(384)]);
    }

    #[test]
    fn large_replies_make_a_source_due_before_its_quantum() {
        let mut counters = SourceCounters::new(16, 32);
        let mut dues = Vec::new();
        for _ in 0..9 {
            dues.extend(counters.count(source(1), None, false));
            counters.replied(1_200);
        }
        let due = Due {
            queries: 5,
            octets: 4 * 1_216,
        };
        assert_eq!(dues, [due, Due { queries: 4, ..due }]);
    }

    #[test]
    fn a_quantum_of_one_charges_each_query() {
        let mut counters = SourceCounters::new(1, 1);
        for number in 0..100 {
            assert!(counters.count(source(number), None, false).is_some());
        }
    }

    #[test]
    fn a_heavy_source_stays_among_many_light_ones_and_all_are_charged() {
        let mut counters = SourceCounters::new(16, 32);
        let mut charged = 0;
        for number in 0..32_000 {
            let due = counters.count(source(number), None, false);
            charged += due.map_or(0, |due| due.queries);
        }
        assert!(
            charged >= 15_000,
            "{charged} of sources with one query each"
        );
        let mut heavy = 0;
        for number in 0..10_000 {
            let due = counters.count(source(u32::MAX), None, false);
            heavy += due.map_or(0, |due| due.queries);
            if number % 4 == 0 {
                let _of_another = counters.count(source(number), None, false);
            }
        }
        assert!(heavy >= 9_000, "{heavy} of 10000");
    }

    #[test]
    fn the_addresses_of_a_56_are_one_source_and_devices_are_their_own() {
        let mut counters = SourceCounters::new(16, 2);
        let v6 = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(counters.count(v6("2001:db8::1"), None, false), None);
        assert!(
            counters
                .count(v6("2001:db8:0:ff::2"), None, false)
                .is_some()
        );
        assert_eq!(counters.count(v6("2001:db8:0:100::1"), None, false), None);
        let mac = |last| Some(Mac([2, 0, 0, 0, 0, last]));
        for device in 0..9 {
            assert_eq!(counters.count(source(9), mac(device), false), None);
        }
        assert_eq!(counters.count(source(9), None, true), None, "proven");
        assert_eq!(counters.count(source(9), None, false), None);
    }

    #[test]
    fn a_key_is_limited_until_its_time_and_keys_are_bounded() {
        let mut counters = SourceCounters::new(1, 1);
        let at = Duration::from_secs;
        counters.block(7, at(10), at(0));
        assert!(counters.is_blocked(7, at(9)) && !counters.is_blocked(8, at(9)));
        assert!(counters.has_blocked(at(9)) && !counters.has_blocked(at(10)));
        assert!(!counters.is_blocked(7, at(10)));
        for key in 0..2 * BLOCKED_MAX as u64 {
            counters.block(key, at(20), at(11));
        }
        assert_eq!(counters.blocked.len(), BLOCKED_MAX);
        counters.block(1 << 40, at(40), at(30));
        assert_eq!(counters.blocked.len(), 1);
    }
}
