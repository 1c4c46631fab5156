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

/// The rates of all clients.
pub struct Rates {
    settings: RateSettings,
    exempt: NetworkSet,
    exempt_households: HashSet<Box<str>>,
    clients: Option<TokenBuckets>,
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
        let due = counters.count(client.source, mac, client.is_proven);
        if due.is_none() && counters.has_no_blocked() {
            return None;
        }
        self.charge(client, counters, due, now, client_key)
    }

    /// Charges a client that is due, and looks whether it is limited.
    #[cold]
    #[inline(never)]
    fn charge(
        &self,
        client: &Client,
        counters: &mut SourceCounters,
        due: Option<Due>,
        now: Duration,
        client_key: impl FnOnce() -> ClientKey,
    ) -> Option<OverRate> {
        if self.exempt.contains(client.source) {
            return None;
        }
        let key = client_key();
        let network = network_of(client.source);
        let network_hash = self.hasher.hash_one(network);
        let client_hash = self.hasher.hash_one((&key, client.is_proven));
        let is_exempt =
            matches!(&key, ClientKey::Household(id) if self.exempt_households.contains(id));
        let clients = self.clients.as_ref().filter(|_| !is_exempt);
        let networks = self.networks.as_ref().filter(|_| !client.is_proven);
        // What is not answered is not charged: a client over its rate still gets its rate.
        let is_client_over = clients.is_some() && counters.is_blocked(client_hash, now);
        let is_network_over = networks.is_some() && counters.is_blocked(network_hash, now);
        let (is_client_over, is_network_over) = match due {
            Some(due) if !is_client_over && !is_network_over => {
                let mut is_over = |buckets: Option<&TokenBuckets>, hash, units| {
                    let wait = buckets.map(|buckets| buckets.charge(hash, units, now));
                    let wait = wait.filter(|wait| !wait.is_zero());
                    wait.inspect(|wait| counters.block(hash, now + *wait, now))
                        .is_some()
                };
                (
                    is_over(clients, client_hash, due.queries),
                    is_over(networks, network_hash, due.octets),
                )
            }
            _ => (is_client_over, is_network_over),
        };
        let (group, cause) = if is_client_over {
            (LimitedGroup::Client(key), LimitCause::Queries)
        } else if is_network_over {
            (LimitedGroup::Network(network), LimitCause::Responses)
        } else {
            return None;
        };
        self.limited_groups().note(group, cause, now);
        Some(self.answer_over_rate(client, counters))
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

    /// Decides when a late reply over UDP leaves, and charges it to its network.
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
        let release = self.releases.take(client.source, arrived, now);
        if release != Release::Discard
            && let Some(networks) = &self.networks
            && !self.exempt.contains(client.source)
        {
            let hash = self.hasher.hash_one(network_of(client.source));
            networks.charge(hash, u32::try_from(octets).unwrap_or(u32::MAX), now);
        }
        release
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
