//! Rate limits: of each household, operator and auditor, and before authentication, of failures by
//! address.
//!
//! All keys and tokens of a household share one rate, because a household makes keys by itself. Its
//! children share half of it, so that a child cannot keep the parents from a setting. Writes have a
//! second rate, by day, which bounds what a household adds to the audit and to the notices.
//!
//! Before authentication, only failures count against an address. A valid key always works, also
//! from an address from which others guess keys: a thousand homes, or the portal, may share one.
//! See `known`. Large documents that need no key count against the address, too.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use governor::{Quota, RateLimiter, clock::MonotonicClock, state::keyed::HashMapStateStore};
use policy_store::{Store, StoreError};

use crate::auth::known::{Actor, ActorKind, Known};

/// The most counters. More are needed only if more clients are active than a node can answer.
const COUNTERS_MAX: usize = 100_000;
/// How often idle counters are looked for.
const SWEEP_EVERY_MS: u64 = 1_000;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A rate and a burst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second. 0: no limit.
    pub per_s: u32,
    /// Requests at once before the rate applies.
    pub burst: u32,
}

/// All counters. By default there is no limit.
#[derive(Default)]
pub struct Limits {
    requests: Shares,
    writes: Shares,
    operator: RateCounters<Arc<str>>,
    failures: RateCounters<IpAddr>,
    open: RateCounters<IpAddr>,
    /// Fingerprints of valid credentials.
    pub(crate) known: Known,
}

impl Limits {
    /// Limits for each household, for each operator and auditor, and for failed authentications.
    #[must_use]
    pub fn new(family: Rate, operator: Rate, failures: Rate) -> Self {
        let requests = Shares::new(family.per_s, family.burst, SECOND);
        let operator = RateCounters::new(operator);
        let failures = RateCounters::new(failures);
        Self {
            requests,
            operator,
            failures,
            ..Self::default()
        }
    }

    /// Adds a limit for the writes of each household in a day: half of them at once, and the rest
    /// over the day. 0: no limit.
    #[must_use]
    pub fn with_writes_per_day(self, writes: u32) -> Self {
        Self {
            writes: Shares::new(writes, writes.div_ceil(2), DAY),
            ..self
        }
    }

    /// Adds a limit for each address on documents that need no key: `/openapi.json` and `/metrics`.
    #[must_use]
    pub fn with_open(self, open: Rate) -> Self {
        Self {
            open: RateCounters::new(open),
            ..self
        }
    }

    /// Reads the valid keys, so that they work from the first request on, whatever their address
    /// did before.
    pub async fn learn(&self, store: &Store) -> Result<(), StoreError> {
        self.known.read(store).await
    }

    /// Counts a request of a principal. Fails with the time to wait.
    pub(crate) fn ask(&self, actor: &Actor, is_write: bool) -> Result<(), Duration> {
        if actor.kind == ActorKind::Operator {
            return self.operator.count(Arc::clone(&actor.counted));
        }
        self.requests.count(actor)?;
        match is_write {
            true => self.writes.count(actor),
            false => Ok(()),
        }
    }

    /// Counts a failure of an address. Fails with the time to wait.
    pub(crate) fn fail(&self, client: IpAddr) -> Result<(), Duration> {
        self.failures.count(counted(client))
    }

    /// Counts a request of an address for a document that needs no key. Fails with the time to
    /// wait.
    pub(crate) fn read_open(&self, client: IpAddr) -> Result<(), Duration> {
        self.open.count(counted(client))
    }
}

/// The part of an address that is counted: a client with one IPv6 address has 2^64 of them.
pub(crate) fn counted(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into(),
        four => four,
    }
}

/// The counters of households, and of the half that their children share.
#[derive(Default)]
struct Shares {
    all: RateCounters<Arc<str>>,
    children: RateCounters<Arc<str>>,
}

impl Shares {
    /// So many in a period, and a burst.
    fn new(count: u32, burst: u32, period: Duration) -> Self {
        let counters = |count, burst| RateCounters::with(period.checked_div(count), burst);
        Self {
            all: counters(count, burst),
            children: counters(count.div_ceil(2), burst.div_ceil(2)),
        }
    }

    fn count(&self, actor: &Actor) -> Result<(), Duration> {
        if actor.kind == ActorKind::Child {
            self.children.count(Arc::clone(&actor.counted))?;
        }
        self.all.count(Arc::clone(&actor.counted))
    }
}

/// Counters of one kind, made when needed and removed when they are full again.
struct RateCounters<K: Hash + Eq + Clone> {
    limiter: Option<RateLimiter<K, HashMapStateStore<K>, MonotonicClock>>,
    begun: Instant,
    swept_ms: AtomicU64,
}

impl<K: Hash + Eq + Clone> Default for RateCounters<K> {
    fn default() -> Self {
        Self::new(Rate::default())
    }
}

impl<K: Hash + Eq + Clone> RateCounters<K> {
    fn new(rate: Rate) -> Self {
        Self::with(SECOND.checked_div(rate.per_s), rate.burst)
    }

    /// One request in this time, and a burst. `None`: no limit.
    fn with(each: Option<Duration>, burst: u32) -> Self {
        let quota = each.and_then(Quota::with_period);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let limiter = quota
            .map(|quota| RateLimiter::hashmap_with_clock(quota.allow_burst(burst), MonotonicClock));
        Self {
            limiter,
            begun: Instant::now(),
            swept_ms: AtomicU64::new(0),
        }
    }

    fn count(&self, key: K) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        if limiter.len() >= COUNTERS_MAX && !self.sweep(limiter) {
            return Err(Duration::from_secs(1));
        }
        limiter
            .check_key(&key)
            .map_err(|not_until| not_until.wait_time_from(Instant::now()))
    }

    /// Removes counters that are full again. Returns whether there is room for another one.
    fn sweep(&self, limiter: &RateLimiter<K, HashMapStateStore<K>, MonotonicClock>) -> bool {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let swept = self.swept_ms.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(swept) >= SWEEP_EVERY_MS || swept == 0;
        if is_due
            && self
                .swept_ms
                .compare_exchange(swept, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        limiter.len() < COUNTERS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(counted: &str, kind: ActorKind) -> Actor {
        Actor {
            counted: counted.into(),
            kind,
        }
    }

    #[test]
    fn children_share_half_of_what_their_household_may_ask() {
        let half = Rate { per_s: 1, burst: 6 };
        let limits = Limits::new(half, Rate::default(), Rate::default());
        let ask = |kind| limits.ask(&actor("home", kind), false);
        let admitted = (0..1_000)
            .take_while(|_| ask(ActorKind::Child).is_ok())
            .count();
        assert!((3..6).contains(&admitted), "{admitted}");
        assert_eq!(ask(ActorKind::Parent), Ok(()));
        assert!((0..1_000).any(|_| ask(ActorKind::Parent).is_err()));
    }

    #[test]
    fn writes_of_a_day_are_bounded_and_reads_are_not() {
        let limits = Limits::default().with_writes_per_day(100);
        let write = |kind| limits.ask(&actor("home", kind), true);
        assert!((0..25).all(|_| write(ActorKind::Child).is_ok()));
        assert!(write(ActorKind::Child).is_err(), "their half of the burst");
        let parents = (0..1_000).filter(|_| write(ActorKind::Parent).is_ok());
        assert!((24..27).contains(&parents.count()));
        let wait = write(ActorKind::Parent).unwrap_err();
        assert!(wait <= DAY / 100, "{wait:?}");
        assert_eq!(limits.ask(&actor("home", ActorKind::Parent), false), Ok(()));
        assert_eq!(limits.ask(&actor("away", ActorKind::Parent), true), Ok(()));
        assert_eq!(
            limits.ask(&actor("home", ActorKind::Operator), true),
            Ok(())
        );
    }

    #[test]
    fn a_burst_passes_and_then_one_must_wait_each_for_itself() {
        let limits = Limits::new(
            Rate { per_s: 1, burst: 3 },
            Rate::default(),
            Rate { per_s: 1, burst: 1 },
        );
        for _ in 0..3 {
            assert_eq!(limits.ask(&actor("a", ActorKind::Parent), false), Ok(()));
        }
        // A second later, one more request is admitted.
        let wait = (0..1_000)
            .find_map(|_| limits.ask(&actor("a", ActorKind::Parent), false).err())
            .unwrap();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(limits.ask(&actor("b", ActorKind::Parent), false), Ok(()));
        for _ in 0..10_000 {
            assert_eq!(
                limits.ask(&actor("key:operator", ActorKind::Operator), false),
                Ok(()),
                "none is set for operators"
            );
        }
        let fail = |peer: &str| limits.fail(peer.parse().unwrap());
        assert!(
            fail("2001:db8::1").is_ok() && (0..1_000).any(|_| fail("2001:db8::2").is_err()),
            "one home, one network"
        );
        assert!(fail("2001:db8:0:1::1").is_ok() && fail("192.0.2.1").is_ok());
        assert!(
            (0..1_000).any(|_| fail("::ffff:192.0.2.1").is_err()),
            "the same address in another spelling"
        );
    }

    #[test]
    fn counters_have_a_bound_and_go_when_nobody_asks() {
        let counters = RateCounters::new(Rate {
            per_s: 1_000_000,
            burst: 1,
        });
        for number in 0..COUNTERS_MAX {
            assert_eq!(counters.count(number), Ok(()));
        }
        std::thread::yield_now();
        assert_eq!(
            counters.count(COUNTERS_MAX),
            Ok(()),
            "the first are long full again"
        );
        assert!(counters.limiter.as_ref().unwrap().len() < COUNTERS_MAX);
        let slow = RateCounters::new(Rate { per_s: 1, burst: 1 });
        for number in 0..2 * COUNTERS_MAX {
            let _refused_once_they_are_too_many = slow.count(number);
        }
        assert!(slow.limiter.as_ref().unwrap().len() <= COUNTERS_MAX);
    }
}
