//! The cache of validated NSEC and NSEC3 records, by zone: what it proves of names that were never
//! queried (RFC 8198).
//!
//! The zone that was used least recently is evicted first. No zone has more than an eighth of the
//! budget, so that a large zone, or an attacker's, does not evict all others.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use foldhash::quality::RandomState;
use hashlink::LruCache;
use policy::name::NameRef;

use crate::{
    message::types::Rtype,
    recursor::{
        dnssec::{Synthesised, ValidationContext, ZoneSpans},
        rrset::RrSet,
    },
    weighed::{arc_octets, heap_octets},
};

/// The part of the budget that one zone may have.
const ZONE_DIVISOR: u64 = 8;
/// Octets of a zone in the table, beside its name: a node of the list and a place in the table.
const TABLE_OCTETS: usize = heap_octets(size_of::<(Box<[u8]>, Kept)>() + 16) + 20;

/// An RRset that is secure, and how long it may be kept, in seconds.
pub type SecureSet<'s> = (&'s RrSet, u32);

#[derive(Clone)]
struct Kept {
    spans: Arc<RwLock<ZoneSpans>>,
    octets: u64,
}

struct Zones {
    /// By the zone's name in wire format, so that a borrowed name finds it.
    by_name: LruCache<Box<[u8]>, Kept, RandomState>,
    octets: u64,
    budget: u64,
}

/// Validated NSEC and NSEC3 records, within a budget of octets.
pub struct DenialCache(Mutex<Zones>);

impl DenialCache {
    /// A cache of at most `budget` octets.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        Self(Mutex::new(Zones {
            by_name: LruCache::with_hasher(usize::MAX, RandomState::default()),
            octets: 0,
            budget,
        }))
    }

    /// Sets another budget, in octets. What exceeds it is evicted at once.
    pub fn resize(&self, budget: u64) {
        let mut zones = self.lock();
        zones.budget = budget;
        zones.evict();
    }

    /// Octets in use.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.lock().octets
    }

    /// The count of zones.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().by_name.len()
    }

    /// Takes the SOA RRset and the NSEC and NSEC3 RRsets of a zone, which are secure.
    pub fn learn<'s>(
        &self,
        zone: NameRef<'_>,
        soa: Option<SecureSet<'_>>,
        proofs: impl IntoIterator<Item = SecureSet<'s>>,
        now: Duration,
        iterations_max: u16,
    ) {
        let (spans, budget) = self.zone(zone);
        let octets = {
            let mut spans = spans.write().unwrap_or_else(PoisonError::into_inner);
            if let Some((set, lifetime_s)) = soa {
                spans.insert_soa(set, lifetime_s, now);
            }
            for (set, lifetime_s) in proofs {
                spans.insert(set, lifetime_s, now, iterations_max);
            }
            let octets_max = usize::try_from(budget / ZONE_DIVISOR).unwrap_or(usize::MAX);
            if spans.heap_octets() > octets_max {
                spans.trim(octets_max, now);
            }
            (spans.len() > 0).then(|| spans.heap_octets())
        };
        self.lock().weigh(zone, &spans, octets);
    }

    /// The spans of a zone, and the budget.
    fn zone(&self, zone: NameRef<'_>) -> (Arc<RwLock<ZoneSpans>>, u64) {
        let mut zones = self.lock();
        let budget = zones.budget;
        if let Some(known) = zones.by_name.get(zone.wire()) {
            return (Arc::clone(&known.spans), budget);
        }
        let kept = Kept {
            spans: Arc::new(RwLock::new(ZoneSpans::new(zone))),
            octets: 0,
        };
        zones.by_name.insert(zone.wire().into(), kept.clone());
        (kept.spans, budget)
    }

    /// What is proved of a name and type by the deepest zone that is at or above `start` and at or
    /// below `top`, a zone that encloses it.
    #[must_use]
    pub fn synthesise(
        &self,
        name: NameRef<'_>,
        rtype: Rtype,
        (start, top): (NameRef<'_>, NameRef<'_>),
        now: Duration,
        context: ValidationContext<'_>,
    ) -> Option<Synthesised> {
        let spans = self.closest(start, top)?;
        let spans = spans.read().unwrap_or_else(PoisonError::into_inner);
        spans.synthesise(name, rtype, now, context)
    }

    fn closest(&self, start: NameRef<'_>, top: NameRef<'_>) -> Option<Arc<RwLock<ZoneSpans>>> {
        let mut zones = self.lock();
        let mut at = start;
        loop {
            if let Some(kept) = zones.by_name.get(at.wire()) {
                return Some(Arc::clone(&kept.spans));
            }
            at = at.parent().filter(|_| at != top)?;
        }
    }

    /// Removes what says anything about a name or the names below it: the zones below, and those
    /// above.
    pub fn remove_about(&self, name: NameRef<'_>) {
        let mut zones = self.lock();
        let mut removed = 0;
        zones.by_name.retain(|zone, kept| {
            let is_about = NameRef::from_wire(zone)
                .is_ok_and(|zone| zone.is_within(name) || name.is_within(zone));
            removed += if is_about { kept.octets } else { 0 };
            !is_about
        });
        zones.octets -= removed;
    }

    fn lock(&self) -> MutexGuard<'_, Zones> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Zones {
    /// Notes what a zone takes now, unless it was evicted meanwhile. Without octets it has no span,
    /// and is removed.
    fn weigh(&mut self, zone: NameRef<'_>, spans: &Arc<RwLock<ZoneSpans>>, octets: Option<usize>) {
        let known = self.by_name.get_mut(zone.wire());
        let Some(kept) = known.filter(|kept| Arc::ptr_eq(&kept.spans, spans)) else {
            return;
        };
        let Some(octets) = octets else {
            self.octets -= kept.octets;
            self.by_name.remove(zone.wire());
            return;
        };
        let table = TABLE_OCTETS + heap_octets(zone.wire().len());
        let octets = (table + arc_octets::<RwLock<ZoneSpans>>() + octets) as u64;
        self.octets = self.octets - kept.octets + octets;
        kept.octets = octets;
        self.evict();
    }

    fn evict(&mut self) {
        while self.octets > self.budget {
            let Some((_, kept)) = self.by_name.remove_lru() else {
                break;
            };
            self.octets -= kept.octets;
        }
    }
}

#[cfg(test)]
mod tests;
