//! Rates: how many queries a client may send, and how many octets may be sent to a network that may
//! be forged.
//!
//! ```text
//! worker: query ──count──> its source's counter ──due──> buckets: client's queries, network's octets
//!            │ limited                                        │ over
//!            └──> dropped, truncated, BADCOOKIE or REFUSED <──┘ until the bucket has drained
//! ```
//!
//! - *Queries* are counted by client: a household, a device behind a forwarder, an IPv4 address or
//!   the /56 of an IPv6 address outside of households. Those whose address is proven, by TCP or a
//!   server cookie (RFC 7873), are counted apart: an attacker who forges an address cannot use up
//!   what its owner may send.
//! - *Responses* over UDP to addresses that are not proven are counted by network, in octets. So a
//!   flood with forged addresses gets back less than it sends.
//! - *Late replies* of one client are spread, see [`releases`].

mod buckets;
mod counters;
mod releases;

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use foldhash::{HashSet, fast};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use policy::rules::household::Mac;

use self::{buckets::TokenBuckets, counters::Due, releases::Releases};
use crate::{
    admission::{ClientKey, LimitCause, Limited, LimitedGroup, LimitedGroups},
    listener::{client::Client, network_set::NetworkSet},
};

pub use self::counters::SourceCounters;
pub(crate) use self::releases::Release;

/// Networks by which responses are counted.
const V4_NETWORK_BITS: u8 = 24;
const V6_NETWORK_BITS: u8 = 56;
/// Sources that a worker counts: four times as many. The counters take 32 octets for each four.
const WORKER_SETS: usize = 1 << 14;
/// Sources that a thread of the runtime counts, a fourth of them.
const RUNTIME_SETS: usize = 1 << 10;
/// The most queries of a source that a worker counts before it charges them.
const QUANTUM_MAX: u32 = 32;
/// A client is charged at least so many times in the burst that it may send.
const CHARGES_IN_BURST: u32 = 64;
/// Responses of so many seconds at the highest rate are a burst.
const RESPONSE_BURST_S: u32 = 2;

/// One address may use one of so many shares of its network's octets, so that a line with many large
/// replies does not limit its neighbours.
const SHARES: u32 = 8;

/// Settings of the rates.
#[derive(Debug, Clone, Default)]
pub struct RateSettings {
    /// Queries a second of one client. 0: no limit.
    pub queries_per_s: u32,
    /// Queries of one client at once.
    pub queries_burst: u32,
    /// Octets a second to one network whose addresses are not proven. 0: no limit.
    pub response_octets_per_s: u32,
    /// One of so many limited replies is sent truncated, so that a client can come back over TCP.
    /// 0: none.
    pub slip: u32,
    /// Networks without these limits.
    pub exempt_from: Vec<IpNet>,
    /// Households without a limit of queries, by identifier.
    pub exempt_households: Vec<String>,
}

/// How a query is answered whose client or network is over its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverRate {
    Drop,
    /// An empty reply that a client repeats over TCP, or with its cookie.
    Slip,
    /// The address is proven.
    Refuse,
}

/// The keys of a client's buckets.
struct BucketKeys {
    queries: u64,
    octets: u64,
    network: u64,
}

/// The rates of all clients.
pub struct Rates {
    settings: RateSettings,
    exempt: NetworkSet,
    exempt_households: HashSet<Box<str>>,
    clients: Option<TokenBuckets>,
    /// Octets to one address.
    shares: Option<TokenBuckets>,
    networks: Option<TokenBuckets>,
    releases: Releases,
    hasher: fast::FixedState,
    limited: Mutex<LimitedGroups>,
}

impl Rates {
    #[must_use]
    pub fn new(settings: RateSettings) -> Self {
        let RateSettings {
            queries_per_s,
            queries_burst,
            response_octets_per_s,
            ..
        } = settings;
        let response_burst = response_octets_per_s.saturating_mul(RESPONSE_BURST_S);
        Self {
            exempt: NetworkSet::of(&settings.exempt_from),
            exempt_households: settings
                .exempt_households
                .iter()
                .map(|id| id.as_str().into())
                .collect(),
            clients: TokenBuckets::new(queries_per_s, queries_burst),
            shares: TokenBuckets::new(
                response_octets_per_s.div_ceil(SHARES),
                response_burst.div_ceil(SHARES),
            ),
            networks: TokenBuckets::new(response_octets_per_s, response_burst),
            releases: Releases::default(),
            hasher: fast::FixedState::with_seed(RandomState::new().hash_one(0)),
            limited: Mutex::default(),
            settings,
        }
    }

    /// Counters for a worker.
    pub(crate) fn worker_counters(&self) -> SourceCounters {
        SourceCounters::new(WORKER_SETS, self.quantum())
    }

    /// Counters for a thread of the runtime.
    pub(crate) fn runtime_counters(&self) -> SourceCounters {
        SourceCounters::new(RUNTIME_SETS, self.quantum())
    }

    fn quantum(&self) -> u16 {
        let by_burst = self.settings.queries_burst / CHARGES_IN_BURST;
        let quantum = match self.clients {
            Some(_) => by_burst.clamp(1, QUANTUM_MAX),
            None => QUANTUM_MAX,
        };
        quantum as u16
    }

    /// Counts a query. Returns how it is answered if its client or network is over its rate. `mac` is
    /// the device that the source may assert; `client_key` finds the client whose bucket is charged.
    #[inline]
    pub(crate) fn count(
        &self,
        client: &Client,
        mac: Option<Mac>,
        counters: &mut SourceCounters,
        now: Duration,
        client_key: impl FnOnce() -> ClientKey,
    ) -> Option<OverRate> {
        if counters.has_blocked(now) {
            let key = client_key();
            if let Some(over) = self.over_rate(client, counters, now, &key) {
                return Some(over);
            }
            if let Some(due) = counters.count(client.source, mac, client.is_proven) {
                self.charge(client, counters, due, now, &key);
            }
        } else if let Some(due) = counters.count(client.source, mac, client.is_proven) {
            self.charge(client, counters, due, now, &client_key());
        }
        None
    }

    /// Looks whether a client or its network is limited now.
    #[cold]
    #[inline(never)]
    fn over_rate(
        &self,
        client: &Client,
        counters: &mut SourceCounters,
        now: Duration,
        key: &ClientKey,
    ) -> Option<OverRate> {
        if self.exempt.contains(client.source) {
            return None;
        }
        let keys = self.keys(client, key);
        let (group, cause) = if counters.is_blocked(keys.queries, now) {
            (LimitedGroup::Client(key.clone()), LimitCause::Queries)
        } else if counters.is_blocked(keys.octets, now) {
            (LimitedGroup::Client(key.clone()), LimitCause::Responses)
        } else if counters.is_blocked(keys.network, now) {
            let network = network_of(client.source);
            (LimitedGroup::Network(network), LimitCause::Responses)
        } else {
            return None;
        };
        self.limited_groups().note(group, cause, now);
        Some(self.answer_over_rate(client, counters))
    }

    /// Charges what a client has used. A client or network that is over a rate then is limited from
    /// the next query on, until its bucket has drained.
    #[cold]
    #[inline(never)]
    fn charge(
        &self,
        client: &Client,
        counters: &mut SourceCounters,
        due: Due,
        now: Duration,
        key: &ClientKey,
    ) {
        if self.exempt.contains(client.source) {
            return;
        }
        let keys = self.keys(client, key);
        let mut charge = |buckets: &Option<TokenBuckets>, key, units| {
            let Some(buckets) = buckets else { return };
            let wait = buckets.charge(key, units, now);
            if !wait.is_zero() {
                counters.block(key, now + wait, now);
            }
        };
        let is_exempt =
            matches!(key, ClientKey::Household(id) if self.exempt_households.contains(id));
        if !is_exempt {
            charge(&self.clients, keys.queries, due.queries);
        }
        if !client.is_proven {
            charge(&self.shares, keys.octets, due.octets);
            charge(&self.networks, keys.network, due.octets);
        }
    }

    fn keys(&self, client: &Client, key: &ClientKey) -> BucketKeys {
        let network = if client.is_proven {
            0
        } else {
            self.hasher.hash_one(network_of(client.source))
        };
        BucketKeys {
            queries: self.hasher.hash_one((key, client.is_proven)),
            octets: self.hasher.hash_one((client.source, client.is_proven)),
            network,
        }
    }

    fn answer_over_rate(&self, client: &Client, counters: &mut SourceCounters) -> OverRate {
        if client.is_proven {
            return OverRate::Refuse;
        }
        counters.slips = counters.slips.wrapping_add(1);
        let slip = self.settings.slip;
        if slip > 0 && counters.slips.is_multiple_of(slip) {
            OverRate::Slip
        } else {
            OverRate::Drop
        }
    }

    /// Decides when a late reply over UDP leaves, and charges it to its address and network.
    pub(crate) fn release(
        &self,
        client: &Client,
        octets: usize,
        arrived: Duration,
        now: Duration,
    ) -> Release {
        if client.is_proven {
            return Release::Now;
        }
        if !self.exempt.contains(client.source) {
            let keys = self.keys(client, &ClientKey::of_address(client.source));
            let octets = u32::try_from(octets).unwrap_or(u32::MAX);
            let is_over = |buckets: &Option<TokenBuckets>, key| {
                buckets
                    .as_ref()
                    .is_some_and(|buckets| !buckets.charge_if_fits(key, octets, now))
            };
            if is_over(&self.shares, keys.octets) || is_over(&self.networks, keys.network) {
                return Release::Discard;
            }
        }
        self.releases.take(client.source, arrived, now)
    }

    /// Clients and networks that were limited in the last minute, longest first.
    pub(crate) fn limited(&self, now: Duration) -> Vec<(LimitedGroup, LimitCause, Limited)> {
        self.limited_groups().current(now)
    }

    fn limited_groups(&self) -> MutexGuard<'_, LimitedGroups> {
        self.limited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The network by which responses to an address are counted.
fn network_of(source: IpAddr) -> IpNet {
    match source.to_canonical() {
        IpAddr::V4(v4) => {
            let bits = v4.to_bits() & (u32::MAX << (32 - u32::from(V4_NETWORK_BITS)));
            Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), V4_NETWORK_BITS).into()
        }
        IpAddr::V6(v6) => {
            let bits = v6.to_bits() & (u128::MAX << (128 - u32::from(V6_NETWORK_BITS)));
            Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), V6_NETWORK_BITS).into()
        }
    }
}

#[cfg(test)]
mod tests;
