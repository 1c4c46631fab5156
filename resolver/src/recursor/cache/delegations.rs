//! The delegation cache: which servers serve which zone.
//!
//! A delegation is what the *parent* says, and expires when the parent's TTL ends: a child cannot
//! prolong its own delegation, so a name that its registry removes is gone after that time (ghost
//! domains). The NS RRset at the *child's* apex is kept apart, only adds servers to try, and expires
//! with the parent's.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use foldhash::HashMap;
use policy::name::{Name, NameRef};
use quick_cache::Equivalent;

use crate::{
    recursor::{
        response::{DelegationSigner, NameServer, Referral, ServerRole},
        settings::ConfiguredZone,
    },
    weighed::{HeapWeigher, WeighedCache, arc_octets, heap_octets},
};

/// The heap of a typical delegation, in octets.
const TYPICAL_OCTETS: usize = 700;
/// The longest lifetime of a delegation, in seconds.
const DELEGATION_MAX_S: u32 = 86_400;
/// The shortest, in seconds: the parent would be queried at each step for a TTL of zero.
const DELEGATION_MIN_S: u32 = 1;

/// A zone and its servers.
#[derive(Debug)]
pub struct Delegation {
    pub zone: Name,
    pub source: DelegationSource,
}

/// Where a delegation comes from.
#[derive(Debug)]
pub enum DelegationSource {
    /// The root hints. They serve until the root is primed (RFC 8109).
    Hints(Vec<SocketAddr>),
    /// A forward or stub zone.
    Configured(ConfiguredServers),
    /// A referral of the parent zone, or of the root itself when it is primed.
    Learned(LearnedServers),
}

/// The servers of a forward or stub zone.
#[derive(Debug)]
pub struct ConfiguredServers {
    pub addresses: Vec<SocketAddr>,
    pub role: ServerRole,
    /// The name that the servers prove by their certificate; None without TLS.
    pub tls: Option<String>,
    /// Whether the recursor resolves from the root when these servers fail.
    pub then_recurse: bool,
}

/// The servers that a referral names.
#[derive(Debug)]
pub struct LearnedServers {
    pub servers: Vec<NameServer>,
    /// When the referral arrived.
    pub learned: Duration,
    /// When the parent's NS RRset expires.
    pub expires: Duration,
    /// The parent's DS RRset for the zone, or the proof that there is none.
    pub ds: DelegationSigner,
}

impl Delegation {
    /// The root, as the hints have it.
    #[must_use]
    pub fn hints(addresses: Vec<SocketAddr>) -> Self {
        Self {
            zone: Name::root(),
            source: DelegationSource::Hints(addresses),
        }
    }

    /// A forward or stub zone.
    #[must_use]
    pub fn configured(zone: &ConfiguredZone) -> Self {
        Self {
            zone: zone.zone.clone(),
            source: DelegationSource::Configured(ConfiguredServers {
                addresses: zone.to.clone(),
                role: zone.role,
                tls: zone.tls.clone(),
                then_recurse: zone.then_recurse,
            }),
        }
    }

    fn learned(referral: Referral, now: Duration) -> (Name, LearnedServers) {
        let ttl_s = referral.ttl_s.clamp(DELEGATION_MIN_S, DELEGATION_MAX_S);
        let mut servers = referral.servers;
        servers
            .iter_mut()
            .for_each(|server| server.glue.shrink_to_fit());
        servers.shrink_to_fit();
        let servers = LearnedServers {
            servers,
            learned: now,
            expires: now + Duration::from_secs(ttl_s.into()),
            ds: referral.ds,
        };
        (referral.zone, servers)
    }

    /// Servers that are known by address and not by name.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        match &self.source {
            DelegationSource::Hints(addresses) => addresses,
            DelegationSource::Configured(configured) => &configured.addresses,
            DelegationSource::Learned(_) => &[],
        }
    }

    /// Servers that are known by name.
    #[must_use]
    pub fn servers(&self) -> &[NameServer] {
        match &self.source {
            DelegationSource::Learned(learned) => &learned.servers,
            DelegationSource::Hints(_) | DelegationSource::Configured(_) => &[],
        }
    }

    #[must_use]
    pub fn role(&self) -> ServerRole {
        self.configured_servers()
            .map_or(ServerRole::Authority, |configured| configured.role)
    }

    /// The name that the servers prove by their certificate. None where queries are not encrypted.
    #[must_use]
    pub fn tls(&self) -> Option<&str> {
        self.configured_servers()?.tls.as_deref()
    }

    /// When the delegation expires. Hints and configured zones never do.
    #[must_use]
    pub fn expires(&self) -> Duration {
        match &self.source {
            DelegationSource::Learned(learned) => learned.expires,
            DelegationSource::Hints(_) | DelegationSource::Configured(_) => Duration::MAX,
        }
    }

    /// What the parent's referral said about the zone's DS RRset, and its age.
    #[must_use]
    pub fn ds(&self, now: Duration) -> Option<(&DelegationSigner, Duration)> {
        match &self.source {
            DelegationSource::Learned(learned) => {
                Some((&learned.ds, now.saturating_sub(learned.learned)))
            }
            DelegationSource::Hints(_) | DelegationSource::Configured(_) => None,
        }
    }

    #[must_use]
    pub fn is_hints(&self) -> bool {
        matches!(self.source, DelegationSource::Hints(_))
    }

    /// Whether the operator configures the servers, so that no zone above is asked for them.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.configured_servers().is_some()
    }

    /// Whether the recursor resolves from the root when these servers fail.
    #[must_use]
    pub fn then_recurses(&self) -> bool {
        self.configured_servers()
            .is_some_and(|configured| configured.then_recurse)
    }

    fn configured_servers(&self) -> Option<&ConfiguredServers> {
        match &self.source {
            DelegationSource::Configured(configured) => Some(configured),
            DelegationSource::Hints(_) | DelegationSource::Learned(_) => None,
        }
    }
}

/// The NS RRset at the apex of a zone.
#[derive(Debug)]
pub struct ApexServers {
    pub servers: Vec<NameServer>,
    pub expires: Duration,
}

/// A borrowed zone name, to look up with.
#[derive(Hash)]
pub(super) struct ZoneRef<'a>(pub NameRef<'a>);

impl Equivalent<Name> for ZoneRef<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        name.borrow() == self.0
    }
}

#[derive(Clone)]
struct DelegationWeigher;

impl HeapWeigher<Name, Arc<Delegation>> for DelegationWeigher {
    fn heap_octets(&self, zone: &Name, delegation: &Arc<Delegation>) -> usize {
        let ds = match &delegation.source {
            DelegationSource::Learned(learned) => learned.ds.heap_octets(),
            DelegationSource::Hints(_) | DelegationSource::Configured(_) => 0,
        };
        let names = octets_of_name(zone) + octets_of_name(&delegation.zone);
        arc_octets::<Delegation>() + names + octets_of_servers(delegation.servers()) + ds
    }
}

impl HeapWeigher<Name, Arc<ApexServers>> for DelegationWeigher {
    fn heap_octets(&self, zone: &Name, apex: &Arc<ApexServers>) -> usize {
        arc_octets::<ApexServers>() + octets_of_name(zone) + octets_of_servers(&apex.servers)
    }
}

fn octets_of_name(name: &Name) -> usize {
    heap_octets(name.borrow().wire().len())
}

fn octets_of_servers(servers: &[NameServer]) -> usize {
    let behind = |server: &NameServer| {
        octets_of_name(&server.name) + heap_octets(server.glue.capacity() * size_of::<IpAddr>())
    };
    heap_octets(size_of_val(servers)) + servers.iter().map(behind).sum::<usize>()
}

type ByZone<T> = WeighedCache<Name, Arc<T>, DelegationWeigher>;

/// The zones that are known, configured and learned.
pub struct DelegationCache {
    /// By the zone's name in wire format, so that a borrowed name finds it.
    configured: HashMap<Box<[u8]>, Arc<Delegation>>,
    learned: ByZone<Delegation>,
    apexes: ByZone<ApexServers>,
}

impl DelegationCache {
    /// A cache that knows the configured zones only, of at most three quarters of `budget` octets: the rest
    /// is for the keys of zones.
    #[must_use]
    pub fn new<'z>(budget: u64, configured: impl IntoIterator<Item = &'z ConfiguredZone>) -> Self {
        let configured = configured
            .into_iter()
            .map(|zone| {
                let wire = zone.zone.borrow().wire().into();
                (wire, Arc::new(Delegation::configured(zone)))
            })
            .collect();
        Self {
            configured,
            learned: WeighedCache::new(budget / 2, TYPICAL_OCTETS, DelegationWeigher),
            apexes: WeighedCache::new(budget / 4, TYPICAL_OCTETS, DelegationWeigher),
        }
    }

    /// Sets another budget, in octets.
    pub fn resize(&self, budget: u64) {
        self.learned.resize(budget / 2);
        self.apexes.resize(budget / 4);
    }

    /// Octets in use.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.learned.octets() + self.apexes.octets()
    }

    /// The closest known zone at or above a name. None when not even the root is known.
    /// `skip_forward_first` leaves out the configured zones that fall back to recursion.
    #[must_use]
    pub fn closest(
        &self,
        name: NameRef<'_>,
        now: Duration,
        skip_forward_first: bool,
    ) -> Option<Arc<Delegation>> {
        let root = Name::root();
        let mut zones = name.ancestors().chain([root.borrow()]);
        zones.find_map(|zone| {
            let configured = self
                .configured_zone(zone)
                .filter(|delegation| !(skip_forward_first && delegation.then_recurses()));
            configured.cloned().or_else(|| self.learned_zone(zone, now))
        })
    }

    fn configured_zone(&self, zone: NameRef<'_>) -> Option<&Arc<Delegation>> {
        // Most operators configure none.
        if self.configured.is_empty() {
            return None;
        }
        self.configured.get(zone.wire())
    }

    fn learned_zone(&self, zone: NameRef<'_>, now: Duration) -> Option<Arc<Delegation>> {
        self.learned
            .get(&ZoneRef(zone))
            .filter(|delegation| delegation.expires() > now)
    }

    /// Learns a delegation from a referral of its parent zone. It expires no later than the parent
    /// zone, however deep it is (Phoenix domains); the root and the top-level domains are exempt,
    /// because they are not removed at short notice.
    pub fn learn(&self, referral: Referral, parent: &Delegation, now: Duration) -> Arc<Delegation> {
        let (zone, mut learned) = Delegation::learned(referral, now);
        if parent.zone.borrow().label_count() >= 2 {
            learned.expires = learned.expires.min(parent.expires());
        }
        let delegation = Arc::new(Delegation {
            zone: zone.clone(),
            source: DelegationSource::Learned(learned),
        });
        // The apex NS RRset was learned under the previous delegation.
        self.apexes.remove(&zone);
        self.learned.insert(zone, Arc::clone(&delegation));
        delegation
    }

    /// Learns the NS RRset at a zone's apex. Ignored unless `delegation`, under which the servers
    /// were queried, is the current one of the zone; expires with it.
    pub fn learn_apex(&self, referral: Referral, delegation: &Arc<Delegation>, now: Duration) {
        if self
            .learned
            .get(&delegation.zone)
            .is_some_and(|current| Arc::ptr_eq(&current, delegation))
        {
            let (_, learned) = Delegation::learned(referral, now);
            let apex = ApexServers {
                servers: learned.servers,
                expires: learned.expires.min(delegation.expires()),
            };
            self.apexes.insert(delegation.zone.clone(), Arc::new(apex));
        }
    }

    #[must_use]
    pub fn apex(&self, zone: &Name, now: Duration) -> Option<Arc<ApexServers>> {
        self.apexes.get(zone).filter(|apex| apex.expires > now)
    }

    /// The glue of a name server in the delegations of all zones that its name is in.
    #[must_use]
    pub fn glue_of(&self, server: &Name, now: Duration) -> Vec<IpAddr> {
        let delegations = server
            .borrow()
            .ancestors()
            .filter_map(|zone| self.learned_zone(zone, now));
        let of_server = |delegation: Arc<Delegation>| {
            delegation
                .servers()
                .iter()
                .find(|known| known.name == *server)
                .map(|known| known.glue.clone())
        };
        delegations.filter_map(of_server).flatten().collect()
    }

    /// Removes a zone none of whose servers helped: its parent may name other ones by now.
    pub fn remove(&self, zone: &Name) {
        self.learned.remove(zone);
        self.apexes.remove(zone);
    }

    /// The count of learned delegations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.learned.len()
    }
}

#[cfg(test)]
mod tests;
