//! Where zones begin and who serves them.
//!
//! A delegation is what the *parent* says, and lives no longer than the parent said: a child cannot
//! prolong its own delegation, so a name that its registry took away is gone when that time is over
//! (ghost domains). What the *child* says of its servers is kept apart, only adds servers to try,
//! and ends with the parent's word.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use foldhash::{HashMap, quality::RandomState};
use policy::name::{Name, NameRef};
use quick_cache::{
    Equivalent, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::recursor::scrub::{NameServer, Referral, ServerRole};

/// Budget of what is known of delegations, and of what zones say of themselves, each, in octets.
const DELEGATIONS_OCTETS_MAX: u64 = 128 << 20;
/// What an average delegation weighs, for sizing tables; what it costs beside its servers; and a server
/// beside its name. Octets.
const DELEGATION_TYPICAL_OCTETS: u64 = 700;
const DELEGATION_OVERHEAD_OCTETS: u64 = 250;
const SERVER_OVERHEAD_OCTETS: u64 = 64;
const ADDRESS_OCTETS: u64 = 17;
/// The longest that a delegation is believed, in seconds.
const DELEGATION_MAX_S: u32 = 86_400;
/// The shortest: a delegation with a TTL of zero would be asked for at each step.
const DELEGATION_MIN_S: u32 = 1;

/// A zone and its servers.
#[derive(Debug, Clone)]
pub struct Delegation {
    /// The zone.
    pub zone: Name,
    /// Its servers by name.
    pub servers: Vec<NameServer>,
    /// InfraCache by address, as configured or hinted.
    pub addresses: Vec<SocketAddr>,
    /// How they are asked.
    pub role: ServerRole,
    /// The name that they prove to have over TLS; none asks in the clear.
    pub tls: Option<String>,
    /// Configured, and to be asked by recursion instead when it fails.
    pub then_recurse: bool,
    /// Configured: nothing above it is ever asked.
    pub is_fixed: bool,
    /// The root as the hints have it, of which the root itself is asked.
    pub is_hint: bool,
    expires: Duration,
}

impl Delegation {
    /// A zone whose servers are configured.
    #[must_use]
    pub fn configured(
        zone: Name,
        addresses: Vec<SocketAddr>,
        role: ServerRole,
        tls: Option<String>,
        then_recurse: bool,
    ) -> Self {
        Self {
            zone,
            servers: Vec::new(),
            addresses,
            role,
            tls,
            then_recurse,
            is_fixed: true,
            is_hint: false,
            expires: Duration::MAX,
        }
    }

    /// When the parent's word ends.
    #[must_use]
    pub fn expires(&self) -> Duration {
        self.expires
    }
}

/// A zone's name in somebody else's memory, to ask with.
#[derive(Hash)]
struct Zone<'a>(NameRef<'a>);

impl Equivalent<Name> for Zone<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        name.borrow() == self.0
    }
}

#[derive(Clone)]
struct ByOctets;

impl Weighter<Name, Arc<Delegation>> for ByOctets {
    fn weight(&self, zone: &Name, delegation: &Arc<Delegation>) -> u64 {
        let octets = |name: &Name| name.borrow().wire().len() as u64;
        let server = |server: &NameServer| {
            SERVER_OVERHEAD_OCTETS
                + octets(&server.name)
                + ADDRESS_OCTETS * server.glue.len() as u64
        };
        DELEGATION_OVERHEAD_OCTETS
            + 2 * octets(zone)
            + delegation.servers.iter().map(server).sum::<u64>()
    }
}

type ByZone = Cache<Name, Arc<Delegation>, ByOctets, RandomState>;

/// The zones that are known.
pub struct DelegationCache {
    fixed: HashMap<Name, Arc<Delegation>>,
    learnt: ByZone,
    apexes: ByZone,
}

impl DelegationCache {
    /// Knows the configured ones.
    #[must_use]
    pub fn new(fixed: impl IntoIterator<Item = Delegation>) -> Self {
        Self::within(DELEGATIONS_OCTETS_MAX, fixed)
    }

    fn within(octets_max: u64, fixed: impl IntoIterator<Item = Delegation>) -> Self {
        let fixed = fixed
            .into_iter()
            .map(|delegation| (delegation.zone.clone(), Arc::new(delegation)))
            .collect();
        let items = (octets_max / DELEGATION_TYPICAL_OCTETS) as usize;
        let cache = || {
            Cache::with(
                items,
                octets_max,
                ByOctets,
                RandomState::default(),
                DefaultLifecycle::default(),
            )
        };
        Self {
            fixed,
            learnt: cache(),
            apexes: cache(),
        }
    }

    /// The closest known zone that a name is in; none when not even the root is known.
    /// `without_fixed` leaves out those that are only tried first.
    #[must_use]
    pub fn closest(
        &self,
        name: NameRef<'_>,
        now: Duration,
        without_first: bool,
    ) -> Option<Arc<Delegation>> {
        let root = Name::root();
        let mut zones = name.ancestors().chain([root.borrow()]);
        zones.find_map(|zone| {
            let fixed = if self.fixed.is_empty() {
                None
            } else {
                self.fixed.get(&zone.to_owned())
            };
            let fixed = fixed
                .filter(|delegation| !(without_first && delegation.then_recurse))
                .cloned();
            fixed.or_else(|| {
                self.learnt
                    .get(&Zone(zone))
                    .filter(|delegation| delegation.expires > now)
            })
        })
    }

    /// Learns a delegation from the zone above it. What a zone delegates goes when the zone itself goes,
    /// however deep it is (Phoenix domains); the root and top-level domains are not taken away, and
    /// what they say holds for as long as they say.
    pub fn learn(&self, referral: Referral, parent: &Delegation, now: Duration) -> Arc<Delegation> {
        let zone = referral.zone.clone();
        let mut delegation = learnt(referral, now);
        if parent.zone.borrow().label_count() >= 2 {
            delegation.expires = delegation.expires.min(parent.expires);
        }
        let delegation = Arc::new(delegation);
        // What the zone said of itself was said under the word before.
        self.apexes.remove(&zone);
        self.learnt.insert(zone, Arc::clone(&delegation));
        delegation
    }

    /// Learns what a zone says of its own servers, where these were asked under the parent's last
    /// word, and for as long as that holds.
    pub fn learn_apex(&self, referral: Referral, delegation: &Arc<Delegation>, now: Duration) {
        if self
            .learnt
            .get(&delegation.zone)
            .is_some_and(|last| Arc::ptr_eq(&last, delegation))
        {
            let mut apex = learnt(referral, now);
            apex.expires = apex.expires.min(delegation.expires);
            self.apexes.insert(delegation.zone.clone(), Arc::new(apex));
        }
    }

    /// What a zone says of its own servers.
    #[must_use]
    pub fn apex(&self, zone: &Name, now: Duration) -> Option<Arc<Delegation>> {
        self.apexes.get(zone).filter(|apex| apex.expires > now)
    }

    /// The addresses that came with a server's name wherever a zone it is in was delegated.
    #[must_use]
    pub fn glue_of(&self, server: &Name, now: Duration) -> Vec<IpAddr> {
        let delegations = server
            .borrow()
            .ancestors()
            .filter_map(|zone| self.learnt.get(&Zone(zone)))
            .filter(|delegation| delegation.expires > now);
        let server_address = |delegation: Arc<Delegation>| {
            delegation
                .servers
                .iter()
                .find(|known| known.name == *server)
                .map(|known| known.glue.clone())
        };
        delegations.filter_map(server_address).flatten().collect()
    }

    /// Forgets a zone: none of its servers helped, and the zone above may know better ones by now.
    pub fn forget(&self, zone: &Name) {
        self.learnt.remove(zone);
        self.apexes.remove(zone);
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.learnt.len()
    }
}

fn learnt(referral: Referral, now: Duration) -> Delegation {
    let Referral {
        zone,
        servers,
        ttl_s,
    } = referral;
    let expires = now + Duration::from_secs(ttl_s.clamp(DELEGATION_MIN_S, DELEGATION_MAX_S).into());
    Delegation {
        zone,
        servers,
        addresses: Vec::new(),
        role: ServerRole::Authority,
        tls: None,
        then_recurse: false,
        is_fixed: false,
        is_hint: false,
        expires,
    }
}

#[cfg(test)]
mod tests;
