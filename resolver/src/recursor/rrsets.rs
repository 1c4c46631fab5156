//! What is known of names: sets of records, denials, and failures, each for as long as it holds.
//!
//! A set is kept under its own name and type, whatever question brought it, and serves every
//! question that meets it again. What is better vouched for replaces what is worse, never the other
//! way round while it lives (RFC 2181 section 5.4.1). Signatures will lie beside the records of a
//! set, in [`RrSet`], when answers are validated.

use std::{hash::Hash, sync::Arc, time::Duration};

use foldhash::quality::RandomState;
use hickory_proto::{
    rr::{RData, Record},
    serialize::binary::BinEncodable as _,
};
use policy::name::{Name, NameRef};
use quick_cache::{
    UnitWeighter, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::{
    cache::{Key, KeyRef},
    message::types::Class,
    upstream::canonical,
};

use super::Failure;

/// A set costs this beside its records, and a record this beside its data, in octets; measured with
/// heaptrack-like counting of a million typical ones would be finer than a budget needs.
const SET_OVERHEAD_OCTETS: u64 = 260;
const RECORD_OVERHEAD_OCTETS: u64 = 260;
/// Each string of a text record is an allocation.
const TEXT_OVERHEAD_OCTETS: u64 = 32;
/// What an average entry weighs, in octets: for sizing tables.
const TYPICAL_OCTETS: u64 = 700;
/// Failures remembered. A count.
const FAILURES_MAX: usize = 100_000;
/// The first time that a failure is remembered, and the longest after repetitions: RFC 9520 section
/// 3.2 asks for 1 s to 5 min.
const FAILURE_FIRST: Duration = Duration::from_secs(3);
const FAILURE_MAX: Duration = Duration::from_secs(60);
/// The type under which the denial of a whole name is kept; no record has it (RFC 6895 section
/// 3.1).
const TYPE_NO_NAME: u16 = 0;
/// The type under which the denial of a minimised name is kept: OPT, which no client may ask for
/// (RFC 6891 section 6.1.1).
const TYPE_NO_MINIMISED_NAME: u16 = 41;
/// How long a denial without SOA is kept, in seconds. RFC 2308 section 5 names no TTL for it;
/// Unbound has 5 s as well.
const DENIAL_WITHOUT_SOA_S: u32 = 5;

/// Records of one name and type.
#[derive(Debug, Clone)]
pub struct RrSet {
    /// The name.
    pub owner: Name,
    /// The type.
    pub record_type: u16,
    /// The records; their TTLs count from when the set came.
    pub records: Vec<Record>,
}

impl RrSet {
    /// How long all of it holds, in seconds: sets have one TTL, RFC 2181 section 5.2, and a TTL
    /// with the upper bit set is none, section 8.
    #[must_use]
    pub fn ttl_s(&self) -> u32 {
        let ttl = |record: &Record| {
            if record.ttl > i32::MAX.unsigned_abs() {
                0
            } else {
                record.ttl
            }
        };
        self.records.iter().map(ttl).min().unwrap_or(0)
    }

    /// Gives all records this TTL in seconds.
    pub fn set_ttl(&mut self, ttl_s: u32) {
        self.records
            .iter_mut()
            .for_each(|record| record.ttl = ttl_s);
    }

    /// Where an alias leads.
    #[must_use]
    pub fn alias_target(&self) -> Option<Name> {
        match &self.records.first()?.data {
            RData::CNAME(target) => Some(canonical(&target.0)),
            _ => None,
        }
    }

    fn octets(&self) -> u64 {
        let data = |record: &Record| match &record.data {
            RData::A(_) | RData::AAAA(_) => 0,
            RData::TXT(text) => text
                .txt_data
                .iter()
                .map(|part| TEXT_OVERHEAD_OCTETS + part.len() as u64)
                .sum(),
            RData::Unknown { rdata, .. } => rdata.anything.len() as u64,
            // In memory they are never more than twice what they are in a packet.
            other => other.to_bytes().map_or(0, |octets| 2 * octets.len() as u64),
        };
        SET_OVERHEAD_OCTETS
            + self
                .records
                .iter()
                .map(|record| RECORD_OVERHEAD_OCTETS + data(record))
                .sum::<u64>()
    }
}

/// What is known of a name and a type.
#[derive(Debug, Clone)]
pub enum Fact {
    /// These records.
    Records(RrSet),
    /// No records of this type; the zone's SOA.
    NoData(Option<Record>),
    /// No such name; the zone's SOA. Says nothing of names below it: RFC 8020 holds for denials
    /// that DNSSEC proves.
    NxDomain(Option<Record>),
}

/// How well a fact is vouched for, RFC 2181 section 5.4.1, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Said by somebody without authority.
    Hearsay,
    /// Said by an authority, or by the forwarder we trust for the zone.
    Answer,
}

/// A fact, and until when it holds.
#[derive(Debug)]
pub struct Kept {
    /// What is known.
    pub fact: Fact,
    rank: Rank,
    expires: Duration,
    ttl_s: u32,
    /// When the delegation ends of the zone that said these records.
    delegated_until: Duration,
}

impl Kept {
    /// Seconds it still holds.
    #[must_use]
    pub fn remaining_s(&self, now: Duration) -> u32 {
        u32::try_from(self.expires.saturating_sub(now).as_secs_f64().ceil() as u64)
            .unwrap_or(u32::MAX)
    }

    /// Whether nine tenths of its time are over: worth to be asked again while it is still good.
    #[must_use]
    pub fn is_old(&self, now: Duration) -> bool {
        // Rounded down, as in the answer cache, which asks for this.
        self.expires.saturating_sub(now).as_secs() * 10 <= u64::from(self.ttl_s)
    }
}

/// Bounds on how long anything is kept, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct TtlBounds {
    /// The least.
    pub min_s: u32,
    /// The most.
    pub max_s: u32,
    /// The most for denials, RFC 2308 section 5.
    pub negative_max_s: u32,
}

impl TtlBounds {
    /// How long a denial with this SOA holds: the lesser of the SOA's TTL and its last field, RFC
    /// 2308 section 5. Without SOA, for seconds.
    #[must_use]
    pub fn of_denial(self, soa: Option<&Record>) -> u32 {
        let ttl = soa.map_or(DENIAL_WITHOUT_SOA_S, |soa| match &soa.data {
            RData::SOA(data) => soa.ttl.min(data.minimum),
            _ => 0,
        });
        ttl.clamp(self.min_s.min(self.negative_max_s), self.negative_max_s)
    }

    /// How long a set holds.
    #[must_use]
    pub fn of_set(self, set: &RrSet) -> u32 {
        set.ttl_s().clamp(self.min_s, self.max_s)
    }
}

/// A cache of so many things. Its hashes are seeded, for names are chosen by strangers, and fast.
pub(super) fn counted<K: Eq + Hash, V: Clone>(
    max: usize,
) -> Cache<K, V, UnitWeighter, RandomState> {
    Cache::with(
        max,
        max as u64,
        UnitWeighter,
        RandomState::default(),
        DefaultLifecycle::default(),
    )
}

#[derive(Clone)]
struct ByOctets;

impl Weighter<Key, Arc<Kept>> for ByOctets {
    fn weight(&self, key: &Key, kept: &Arc<Kept>) -> u64 {
        let fact = match &kept.fact {
            Fact::Records(set) => set.octets(),
            Fact::NoData(_) | Fact::NxDomain(_) => SET_OVERHEAD_OCTETS + RECORD_OVERHEAD_OCTETS,
        };
        fact + key.octets() as u64
    }
}

#[derive(Clone)]
struct Failed {
    failure: Failure,
    until: Duration,
    lasts: Duration,
}

/// The caches of facts and of failures.
pub struct RrSets {
    facts: Cache<Key, Arc<Kept>, ByOctets, RandomState>,
    failures: Cache<Key, Failed, UnitWeighter, RandomState>,
    bounds: TtlBounds,
}

impl RrSets {
    /// Caches that hold at most `budget` octets of facts.
    #[must_use]
    pub fn new(budget: u64, bounds: TtlBounds) -> Self {
        let items = usize::try_from(budget / TYPICAL_OCTETS)
            .unwrap_or(usize::MAX)
            .max(16);
        let facts = Cache::with(
            items,
            budget,
            ByOctets,
            RandomState::default(),
            DefaultLifecycle::default(),
        );
        Self {
            facts,
            failures: counted(FAILURES_MAX),
            bounds,
        }
    }

    /// Octets held, and facts.
    #[must_use]
    pub fn usage(&self) -> (u64, usize) {
        (self.facts.weight(), self.facts.len())
    }

    /// The bounds on how long things are kept.
    #[must_use]
    pub fn bounds(&self) -> TtlBounds {
        self.bounds
    }

    /// What is known of a name and a type, or of the name as a whole. What is known of names above
    /// it says nothing of this one.
    #[must_use]
    pub fn find(&self, name: NameRef<'_>, record_type: u16, now: Duration) -> Option<Arc<Kept>> {
        self.exact(name, record_type, now)
            .or_else(|| self.exact(name, TYPE_NO_NAME, now))
    }

    /// What is known of exactly this name and type.
    #[must_use]
    pub fn exact(&self, name: NameRef<'_>, record_type: u16, now: Duration) -> Option<Arc<Kept>> {
        self.facts
            .get(&key(name, record_type))
            .filter(|kept| kept.expires > now)
    }

    /// What is known of the address of a zone's server. What a zone says of a server counts here
    /// only as long as the delegation under which it was said; what is older is forgotten, because
    /// a look-up must not find it either.
    #[must_use]
    pub fn of_server(
        &self,
        name: NameRef<'_>,
        record_type: u16,
        now: Duration,
    ) -> Option<Arc<Kept>> {
        let kept = self.exact(name, record_type, now)?;
        if kept.delegated_until <= now {
            self.facts.remove(&key(name, record_type));
            return None;
        }
        Some(kept)
    }

    /// Keeps a set that a zone said whose delegation ends at `delegated_until`.
    pub fn keep(&self, set: RrSet, rank: Rank, delegated_until: Duration, now: Duration) {
        let ttl_s = self.bounds.of_set(&set);
        let name = set.owner.clone();
        let record_type = set.record_type;
        if rank == Rank::Answer {
            self.forget_denial(name.borrow());
        }
        self.put(
            name.borrow(),
            record_type,
            Fact::Records(set),
            rank,
            (ttl_s, delegated_until),
            now,
        );
    }

    /// Keeps that a name has no records of a type.
    pub fn keep_no_data(
        &self,
        name: NameRef<'_>,
        record_type: u16,
        soa: Option<Record>,
        rank: Rank,
        now: Duration,
    ) {
        let ttl_s = self.bounds.of_denial(soa.as_ref());
        if rank == Rank::Answer {
            self.forget_denial(name);
        }
        self.put(
            name,
            record_type,
            Fact::NoData(soa),
            rank,
            (ttl_s, Duration::MAX),
            now,
        );
    }

    /// Keeps that a name does not exist.
    pub fn keep_no_name(&self, name: NameRef<'_>, soa: Option<Record>, rank: Rank, now: Duration) {
        let ttl_s = self.bounds.of_denial(soa.as_ref());
        self.put(
            name,
            TYPE_NO_NAME,
            Fact::NxDomain(soa),
            rank,
            (ttl_s, Duration::MAX),
            now,
        );
    }

    /// Keeps that a zone denied a name that was shown to it in place of a longer one. Many servers
    /// deny so what has names below it, and nothing follows from it but that longer names are asked
    /// for whole; see [`Self::is_denied`].
    pub fn keep_no_minimised_name(&self, name: NameRef<'_>, soa: Option<Record>, now: Duration) {
        let ttl_s = self.bounds.of_denial(soa.as_ref());
        self.put(
            name,
            TYPE_NO_MINIMISED_NAME,
            Fact::NxDomain(soa),
            Rank::Hearsay,
            (ttl_s, Duration::MAX),
            now,
        );
    }

    /// Whether a name was denied, asked for itself or shown in place of a longer one: to show it
    /// again would be a query for nothing.
    #[must_use]
    pub fn is_denied(&self, name: NameRef<'_>, now: Duration) -> bool {
        [TYPE_NO_NAME, TYPE_NO_MINIMISED_NAME]
            .into_iter()
            .any(|record_type| self.exact(name, record_type, now).is_some())
    }

    /// What exists denies that it does not.
    fn forget_denial(&self, name: NameRef<'_>) {
        if self.facts.get(&key(name, TYPE_NO_NAME)).is_some() {
            self.facts.remove(&key(name, TYPE_NO_NAME));
        }
    }

    fn put(
        &self,
        name: NameRef<'_>,
        record_type: u16,
        fact: Fact,
        rank: Rank,
        (ttl_s, delegated_until): (u32, Duration),
        now: Duration,
    ) {
        let known = self.exact(name, record_type, now);
        if ttl_s > 0 && known.is_none_or(|known| known.rank <= rank) {
            let kept = Kept {
                fact,
                rank,
                expires: now + Duration::from_secs(ttl_s.into()),
                ttl_s,
                delegated_until,
            };
            self.facts
                .insert(key(name, record_type).to_owned(), Arc::new(kept));
        }
    }

    /// Why this question could not be answered a moment ago, if so.
    #[must_use]
    pub fn failure(&self, name: NameRef<'_>, record_type: u16, now: Duration) -> Option<Failure> {
        self.failures
            .get(&key(name, record_type))
            .filter(|failed| failed.until > now)
            .map(|failed| failed.failure)
    }

    /// Remembers that a question could not be answered, longer each time in a row (RFC 9520).
    pub fn keep_failure(
        &self,
        name: NameRef<'_>,
        record_type: u16,
        failure: Failure,
        now: Duration,
    ) {
        let before = self
            .failures
            .get(&key(name, record_type))
            .filter(|failed| now < failed.until + failed.lasts);
        // The same failure, met by somebody else.
        if before.as_ref().is_some_and(|before| now < before.until) {
            return;
        }
        let lasts = before.map_or(FAILURE_FIRST, |before| (before.lasts * 2).min(FAILURE_MAX));
        self.failures.insert(
            key(name, record_type).to_owned(),
            Failed {
                failure,
                until: now + lasts,
                lasts,
            },
        );
    }

    /// Forgets a failure.
    pub fn forget_failure(&self, name: NameRef<'_>, record_type: u16) {
        self.failures.remove(&key(name, record_type));
    }
}

fn key(name: NameRef<'_>, record_type: u16) -> KeyRef<'_> {
    KeyRef::new(name, record_type.into(), Class::IN)
}

#[cfg(test)]
mod tests;
