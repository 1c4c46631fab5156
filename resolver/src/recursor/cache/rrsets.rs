//! The RRset cache: RRsets and negative entries by name and type.
//!
//! An RRset is kept under its own owner name and type, whichever query brought it, and serves every
//! query that meets it. Within its lifetime, an entry is replaced only by one of the same or a higher
//! credibility (RFC 2181 section 5.4.1).

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use hickory_proto::rr::{RData, Record};
use policy::name::NameRef;

use crate::{
    cache::{QuestionKey, QuestionKeyRef},
    message::types::{Class, Rtype},
    recursor::{
        response::Denial,
        rrset::{Credibility, RrSet, SecurityStatus},
    },
    weighed::{HeapWeigher, WeighedCache, arc_octets, heap_octets},
};

/// The heap of a typical entry, in octets.
const TYPICAL_OCTETS: usize = 700;
/// The type of the NXDOMAIN entry of a name; no record has it (RFC 6895 section 3.1).
const TYPE_NXDOMAIN: Rtype = Rtype::RESERVED;
/// The type of the NXDOMAIN entry of a minimised name: OPT, which no client may query (RFC 6891
/// section 6.1.1).
const TYPE_MINIMISED_NXDOMAIN: Rtype = Rtype::OPT;
/// Lifetime of a negative entry without SOA, in seconds. RFC 2308 section 5 gives none; Unbound has
/// 5 s as well.
const NEGATIVE_WITHOUT_SOA_S: u32 = 5;

/// The content of a cache entry.
#[derive(Debug, Clone)]
pub enum CachedData {
    Records(RrSet),
    /// The name has no records of this type.
    NoData(Denial),
    /// The name does not exist. The entry does not cover the names below it: RFC 8020 applies to
    /// denials that DNSSEC proves.
    NxDomain(Denial),
}

/// An entry of the RRset cache.
#[derive(Debug)]
pub struct CacheEntry {
    pub data: CachedData,
    credibility: Credibility,
    expires: Duration,
    ttl_s: u32,
    /// When the delegation of the zone expires that the data come from.
    delegated_until: Duration,
    /// What validation found, once it looked at the entry.
    security: OnceLock<SecurityStatus>,
}

impl CacheEntry {
    /// What validation found; indeterminate before that.
    #[must_use]
    pub fn security(&self) -> SecurityStatus {
        self.security
            .get()
            .copied()
            .unwrap_or(SecurityStatus::Indeterminate)
    }

    /// Notes what validation found.
    pub fn set_security(&self, status: SecurityStatus) {
        // Of two that validate at the same time, the first counts.
        let _ = self.security.set(status);
    }

    /// The remaining TTL in seconds, rounded up.
    #[must_use]
    pub fn remaining_s(&self, now: Duration) -> u32 {
        u32::try_from(self.expires.saturating_sub(now).as_secs_f64().ceil() as u64)
            .unwrap_or(u32::MAX)
    }

    /// Whether at most a tenth of the TTL remains, so that a prefetch must query again.
    #[must_use]
    pub fn is_prefetch_due(&self, now: Duration) -> bool {
        // Rounded down, as in the answer cache, which starts the prefetch.
        self.expires.saturating_sub(now).as_secs() * 10 <= u64::from(self.ttl_s)
    }
}

/// Bounds on the lifetime of cache entries, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct TtlBounds {
    pub min_s: u32,
    pub max_s: u32,
    /// The maximum of negative entries, RFC 2308 section 5.
    pub negative_max_s: u32,
}

impl TtlBounds {
    /// The lifetime of a negative entry: the lower of the SOA's TTL and its MINIMUM field (RFC 2308
    /// section 5), within the bounds.
    #[must_use]
    pub fn of_denial(self, soa: Option<&Record>) -> u32 {
        let ttl = soa.map_or(NEGATIVE_WITHOUT_SOA_S, |soa| match &soa.data {
            RData::SOA(data) => soa.ttl.min(data.minimum),
            _ => 0,
        });
        ttl.clamp(self.min_s.min(self.negative_max_s), self.negative_max_s)
    }

    /// The lifetime of an RRset, within the bounds.
    #[must_use]
    pub fn of_set(self, set: &RrSet) -> u32 {
        set.ttl_s().clamp(self.min_s, self.max_s)
    }
}

#[derive(Clone)]
struct EntryWeigher;

impl HeapWeigher<QuestionKey, Arc<CacheEntry>> for EntryWeigher {
    fn heap_octets(&self, key: &QuestionKey, entry: &Arc<CacheEntry>) -> usize {
        let data = match &entry.data {
            CachedData::Records(set) => set.heap_octets(),
            CachedData::NoData(denial) | CachedData::NxDomain(denial) => denial.heap_octets(),
        };
        heap_octets(key.octets()) + arc_octets::<CacheEntry>() + data
    }
}

/// RRsets and negative entries, within a budget of octets.
pub struct RrSetCache {
    entries: WeighedCache<QuestionKey, Arc<CacheEntry>, EntryWeigher>,
    bounds: TtlBounds,
}

impl RrSetCache {
    /// A cache of at most `budget` octets.
    #[must_use]
    pub fn new(budget: u64, bounds: TtlBounds) -> Self {
        Self {
            entries: WeighedCache::new(budget, TYPICAL_OCTETS, EntryWeigher),
            bounds,
        }
    }

    /// Octets and entries in use.
    #[must_use]
    pub fn usage(&self) -> (u64, usize) {
        (self.entries.octets(), self.entries.len())
    }

    /// Sets another budget, in octets.
    pub fn resize(&self, budget: u64) {
        self.entries.resize(budget);
    }

    #[must_use]
    pub fn bounds(&self) -> TtlBounds {
        self.bounds
    }

    /// The entry of a name and type, or the NXDOMAIN entry of the name. Entries of names above are
    /// not consulted.
    #[must_use]
    pub fn find(&self, name: NameRef<'_>, rtype: Rtype, now: Duration) -> Option<Arc<CacheEntry>> {
        self.get(name, rtype, now)
            .or_else(|| self.nxdomain(name, now))
    }

    /// The entry of exactly this name and type.
    #[must_use]
    pub fn get(&self, name: NameRef<'_>, rtype: Rtype, now: Duration) -> Option<Arc<CacheEntry>> {
        self.entries
            .get(&key(name, rtype))
            .filter(|entry| entry.expires > now)
    }

    /// The NXDOMAIN entry of a name.
    #[must_use]
    pub fn nxdomain(&self, name: NameRef<'_>, now: Duration) -> Option<Arc<CacheEntry>> {
        self.get(name, TYPE_NXDOMAIN, now)
    }

    /// The address entry of a name server. An entry from a zone whose delegation has expired is
    /// removed, so that the lookup that follows cannot find it (ghost domains).
    #[must_use]
    pub fn server_address(
        &self,
        server: NameRef<'_>,
        rtype: Rtype,
        now: Duration,
    ) -> Option<Arc<CacheEntry>> {
        let entry = self.get(server, rtype, now)?;
        if entry.delegated_until <= now {
            self.entries.remove(&key(server, rtype));
            return None;
        }
        Some(entry)
    }

    /// Inserts an RRset from a zone whose delegation expires at `delegated_until`.
    pub fn insert(
        &self,
        set: RrSet,
        credibility: Credibility,
        delegated_until: Duration,
        now: Duration,
    ) {
        let ttl_s = self.bounds.of_set(&set);
        let name = set.owner.clone();
        let rtype = set.rtype;
        if credibility == Credibility::Authoritative {
            self.remove_nxdomain(name.borrow());
        }
        let entry = CacheEntry {
            delegated_until,
            ..entry(CachedData::Records(set), credibility, ttl_s, now)
        };
        self.put(name.borrow(), rtype, entry, now);
    }

    /// Inserts the RRset of a wildcard, which is secure. No name server has such a name, so it need not
    /// end with its delegation.
    pub fn insert_wildcard(&self, set: RrSet, now: Duration) {
        let ttl_s = self.bounds.of_set(&set);
        let name = set.owner.clone();
        let rtype = set.rtype;
        let data = CachedData::Records(set);
        let entry = entry(data, Credibility::Authoritative, ttl_s, now);
        entry.set_security(SecurityStatus::Secure);
        self.put(name.borrow(), rtype, entry, now);
    }

    pub fn insert_nodata(
        &self,
        name: NameRef<'_>,
        rtype: Rtype,
        denial: Denial,
        credibility: Credibility,
        now: Duration,
    ) {
        let ttl_s = self.bounds.of_denial(denial.soa_record());
        if credibility == Credibility::Authoritative {
            self.remove_nxdomain(name);
        }
        let entry = entry(CachedData::NoData(denial), credibility, ttl_s, now);
        self.put(name, rtype, entry, now);
    }

    pub fn insert_nxdomain(
        &self,
        name: NameRef<'_>,
        denial: Denial,
        credibility: Credibility,
        now: Duration,
    ) {
        let ttl_s = self.bounds.of_denial(denial.soa_record());
        let entry = entry(CachedData::NxDomain(denial), credibility, ttl_s, now);
        self.put(name, TYPE_NXDOMAIN, entry, now);
    }

    /// Inserts that a zone denied a minimised name (RFC 9156). Many servers deny empty
    /// non-terminals, so the only consequence is that longer names are queried in full; see
    /// [`Self::is_denied`].
    pub fn insert_minimised_nxdomain(&self, name: NameRef<'_>, denial: Denial, now: Duration) {
        let ttl_s = self.bounds.of_denial(denial.soa_record());
        let data = CachedData::NxDomain(denial);
        let entry = entry(data, Credibility::NonAuthoritative, ttl_s, now);
        self.put(name, TYPE_MINIMISED_NXDOMAIN, entry, now);
    }

    /// Whether a name was denied, in full or as a minimised name: querying it again as a minimised
    /// name would be useless.
    #[must_use]
    pub fn is_denied(&self, name: NameRef<'_>, now: Duration) -> bool {
        [TYPE_NXDOMAIN, TYPE_MINIMISED_NXDOMAIN]
            .into_iter()
            .any(|rtype| self.get(name, rtype, now).is_some())
    }

    /// Removes what is bogus: the entry of a name and type, or the NXDOMAIN entry of the name.
    pub fn remove(&self, name: NameRef<'_>, rtype: Rtype) {
        self.entries.remove(&key(name, rtype));
        self.entries.remove(&key(name, TYPE_NXDOMAIN));
    }

    /// Removes all entries of a name and of names below it.
    pub fn remove_below(&self, name: NameRef<'_>) {
        self.entries.retain(|key, _| !key.name().is_within(name));
    }

    /// Removes the NXDOMAIN entry of a name that exists.
    fn remove_nxdomain(&self, name: NameRef<'_>) {
        if self.entries.get(&key(name, TYPE_NXDOMAIN)).is_some() {
            self.entries.remove(&key(name, TYPE_NXDOMAIN));
        }
    }

    fn put(&self, name: NameRef<'_>, rtype: Rtype, entry: CacheEntry, now: Duration) {
        let known = self.get(name, rtype, now);
        if entry.ttl_s > 0 && known.is_none_or(|known| known.credibility <= entry.credibility) {
            self.entries
                .insert(key(name, rtype).to_owned(), Arc::new(entry));
        }
    }
}

/// An entry that does not depend on a delegation.
fn entry(data: CachedData, credibility: Credibility, ttl_s: u32, now: Duration) -> CacheEntry {
    CacheEntry {
        data,
        credibility,
        expires: now + Duration::from_secs(ttl_s.into()),
        ttl_s,
        delegated_until: Duration::MAX,
        security: OnceLock::new(),
    }
}

fn key(name: NameRef<'_>, rtype: Rtype) -> QuestionKeyRef<'_> {
    QuestionKeyRef::new(name, rtype, Class::IN)
}

#[cfg(test)]
mod tests;
