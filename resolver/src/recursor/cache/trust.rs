//! The trust cache: what the chain of trust says of a name, from an anchor down to it.

use std::{sync::Arc, time::Duration};

use policy::name::{Name, NameRef};

use crate::{
    recursor::dnssec::{InsecurityCause, ValidationFault, ZoneKeys},
    weighed::{HeapWeigher, WeighedCache, heap_octets},
};

use super::delegations::ZoneRef;

/// The heap of a typical entry, in octets: three keys.
const TYPICAL_OCTETS: usize = 1_500;
/// The longest lifetime of an entry: the lists of anchors may change, and the clock.
const LIFETIME_MAX: Duration = Duration::from_secs(86_400);
/// How long a broken zone is not validated again. Unbound has the same `val-bogus-ttl`.
pub const BOGUS_FOR: Duration = Duration::from_secs(60);

/// What the chain of trust says of a name.
#[derive(Debug, Clone)]
pub enum ChainTrust {
    /// A zone with these keys.
    Keys(Arc<ZoneKeys>),
    /// No zone begins at this name, or none that a chain of trust leads to.
    NoCut,
    /// The chain ends at or above this name, provably.
    Insecure(InsecurityCause),
    /// No trust anchor is at this name or above it.
    NoAnchor,
    /// The chain is broken at or above this name.
    Broken(BrokenChain),
}

/// Where and why a chain of trust breaks.
#[derive(Debug, Clone)]
pub struct BrokenChain {
    pub fault: ValidationFault,
    /// The zone whose keys, signatures or proofs are wrong.
    pub zone: Name,
    /// Whether the bounds of the client query ended the validation, perhaps before another server
    /// was asked: nothing lasting is known.
    pub is_of_query: bool,
}

impl BrokenChain {
    #[must_use]
    pub fn at(zone: NameRef<'_>, fault: ValidationFault) -> Self {
        Self {
            fault,
            zone: zone.to_owned(),
            is_of_query: fault.is_of_query(),
        }
    }

    /// What is known after another server was asked: the fault of its data, or of the data before
    /// where the bounds of the client query ended the validation of its data.
    #[must_use]
    pub fn after(self, first: Option<Self>) -> Self {
        match first {
            Some(first) if self.is_of_query => Self {
                is_of_query: true,
                ..first
            },
            _ => self,
        }
    }
}

#[derive(Clone)]
struct TrustEntry {
    trust: ChainTrust,
    expires: Duration,
}

#[derive(Clone)]
struct TrustWeigher;

impl HeapWeigher<Name, TrustEntry> for TrustWeigher {
    fn heap_octets(&self, zone: &Name, entry: &TrustEntry) -> usize {
        let keys = match &entry.trust {
            ChainTrust::Keys(keys) => keys.heap_octets(),
            ChainTrust::Broken(broken) => heap_octets(broken.zone.borrow().wire().len()),
            _ => 0,
        };
        heap_octets(zone.borrow().wire().len()) + keys
    }
}

/// Trust by name, within a budget of octets.
pub struct TrustCache(WeighedCache<Name, TrustEntry, TrustWeigher>);

impl TrustCache {
    /// A cache of at most `budget` octets.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        Self(WeighedCache::new(budget, TYPICAL_OCTETS, TrustWeigher))
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
    pub fn get(&self, name: NameRef<'_>, now: Duration) -> Option<ChainTrust> {
        self.0
            .get(&ZoneRef(name))
            .filter(|entry| entry.expires > now)
            .map(|entry| entry.trust)
    }

    pub fn insert(&self, name: NameRef<'_>, trust: ChainTrust, lifetime: Duration, now: Duration) {
        let expires = now + lifetime.min(LIFETIME_MAX);
        self.0
            .insert(name.to_owned(), TrustEntry { trust, expires });
    }

    /// Removes the entries of a name and of names below it.
    pub fn remove_below(&self, name: NameRef<'_>) {
        self.0.retain(|known, _| !known.borrow().is_within(name));
    }
}
