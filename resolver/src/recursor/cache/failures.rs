//! The failure cache, RFC 9520: a query that could not be resolved is answered SERVFAIL for a while,
//! without a new attempt.

use std::time::Duration;

use policy::name::NameRef;

use crate::{
    cache::{QuestionKey, QuestionKeyRef},
    message::types::{Class, Rtype},
    recursor::failure::ResolutionFailure,
    weighed::{HeapWeigher, WeighedCache, heap_octets},
};

/// The key of a typical entry, in octets.
const TYPICAL_KEY_OCTETS: usize = 48;
/// Lifetime of the first entry, doubled for each failure in a row up to the maximum: RFC 9520
/// section 3.2 asks for 1 s to 5 min.
const FAILURE_FIRST: Duration = Duration::from_secs(3);
const FAILURE_MAX: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct FailureEntry {
    failure: ResolutionFailure,
    expires: Duration,
    lifetime: Duration,
}

#[derive(Clone)]
struct FailureWeigher;

impl HeapWeigher<QuestionKey, FailureEntry> for FailureWeigher {
    fn heap_octets(&self, key: &QuestionKey, _: &FailureEntry) -> usize {
        heap_octets(key.octets())
    }
}

/// Failures by name and type.
pub struct FailureCache(WeighedCache<QuestionKey, FailureEntry, FailureWeigher>);

impl FailureCache {
    /// A cache of at most `budget` octets.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        Self(WeighedCache::new(
            budget,
            TYPICAL_KEY_OCTETS,
            FailureWeigher,
        ))
    }

    /// Sets another budget, in octets.
    pub fn resize(&self, budget: u64) {
        self.0.resize(budget);
    }

    /// Octets in use.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.0.octets()
    }

    #[must_use]
    pub fn get(&self, name: NameRef<'_>, rtype: Rtype, now: Duration) -> Option<ResolutionFailure> {
        self.0
            .get(&key(name, rtype))
            .filter(|entry| entry.expires > now)
            .map(|entry| entry.failure)
    }

    /// Inserts a failure. Its lifetime doubles when the previous entry expired less than that
    /// entry's lifetime ago.
    pub fn insert(
        &self,
        name: NameRef<'_>,
        rtype: Rtype,
        failure: ResolutionFailure,
        now: Duration,
    ) {
        let previous = self
            .0
            .get(&key(name, rtype))
            .filter(|entry| now < entry.expires + entry.lifetime);
        // A concurrent query has inserted the same failure.
        if previous
            .as_ref()
            .is_some_and(|previous| now < previous.expires)
        {
            return;
        }
        let lifetime = previous.map_or(FAILURE_FIRST, |previous| {
            (previous.lifetime * 2).min(FAILURE_MAX)
        });
        self.0.insert(
            key(name, rtype).to_owned(),
            FailureEntry {
                failure,
                expires: now + lifetime,
                lifetime,
            },
        );
    }

    /// Removes all failures of a name and of names below it.
    pub fn remove_below(&self, name: NameRef<'_>) {
        self.0.retain(|key, _| !key.name().is_within(name));
    }

    pub fn remove(&self, name: NameRef<'_>, rtype: Rtype) {
        self.0.remove(&key(name, rtype));
    }
}

fn key(name: NameRef<'_>, rtype: Rtype) -> QuestionKeyRef<'_> {
    QuestionKeyRef::new(name, rtype, Class::IN)
}

#[cfg(test)]
mod tests {
    use policy::name::Name;

    use super::*;

    const A: Rtype = Rtype::A;
    const AAAA: Rtype = Rtype::AAAA;

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn a_failure_lives_longer_each_time_in_a_row() {
        let failures = FailureCache::new(1 << 20);
        let name = Name::parse("a.example").unwrap();
        let failure = |now: u64| failures.get(name.borrow(), A, at(now));
        let insert = |failure, now| failures.insert(name.borrow(), A, failure, at(now));
        let mut now = 1;
        for lifetime_s in [3, 6, 12, 24, 48, 60, 60] {
            insert(ResolutionFailure::Useless, now);
            // A second failure within the lifetime does not extend it.
            insert(ResolutionFailure::Unreachable, now + 1);
            assert_eq!(
                (failure(now + lifetime_s - 1), failure(now + lifetime_s)),
                (Some(ResolutionFailure::Useless), None),
                "{lifetime_s} s"
            );
            now += lifetime_s;
        }
        assert_eq!(failures.get(name.borrow(), AAAA, at(2)), None);
        // As long again without a failure, and the lifetime begins at three seconds.
        insert(ResolutionFailure::Useless, now + 60);
        assert_eq!(
            (failure(now + 62), failure(now + 63)),
            (Some(ResolutionFailure::Useless), None)
        );
        failures.remove(name.borrow(), A);
        assert_eq!(failure(now + 61), None);
    }
}
