//! The simulated Internet: a root, top-level domains and zones, each served on loopback inside the
//! test process.
//!
//! ```text
//! Internet::new()                                             .  and its server at 127.P.0.1
//!     .zone("bets.example.", "@ 60 A 192.0.2.7")              example.  and  bets.example.,  each at an address
//!     .zone_served_by("news.example.", &["ns.host.test."], …) a server with a name in another zone, without glue
//! ```
//!
//! Root and top-level zones, delegations and glue are generated. Every server has an address of its
//! own; all share one port, which the resolver under test gets as `recursion.authority_port`. A
//! server may have several names, so that thousands of zones need few sockets. The servers run on a
//! runtime of their own, so that a test may block. Everything can be changed while they run.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use hickory_proto::rr::{LowerName, Name, RecordType};
use tokio::runtime::{Builder, Runtime};

use super::{
    authority::Authority,
    behaviour::Behaviour,
    query_counts::QueryCounts,
    sockets::Sockets,
    zone::{Below, Records, Zone},
};

/// The first port that is tried: above the privileged and the well-known ones …
const FIRST_PORT: u16 = 10_240;

/// … and below Linux' ephemeral ones, so that no client socket uses a port that was found free.
const PORTS: u16 = 20_000;

/// The standard DNS port.
const DNS_PORT: u16 = 53;

/// Servers have addresses from 127.64 to 127.127; 127.0 to 127.63 are for clients.
const FIRST_RANGE: u8 = 64;
const LAST_RANGE: u8 = 127;

/// Runs one simulated Internet until it is dropped.
pub struct Internet {
    port: u16,
    range: u8,
    runtime: Option<Runtime>,
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    zones: BTreeMap<LowerName, Zone>,
    authorities: BTreeMap<Name, Arc<Authority>>,
    aliases: BTreeMap<Name, Arc<Authority>>,
}

impl Internet {
    /// An Internet with only a root.
    pub fn new() -> Self {
        let range = first_range();
        // Another process with the same addresses may bind a port after it was found free.
        std::iter::repeat_with(free_port)
            .find_map(|port| Self::at(range, port))
            .expect("the ports do not end")
    }

    /// The same on port 53, for resolvers that cannot use another port; `None` where this process
    /// may not bind it.
    pub fn on_port_53() -> Option<Self> {
        let may_listen = |range| match UdpSocket::bind((nth_address(range, 0), DNS_PORT)) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::AddrInUse,
        };
        let ranges = (FIRST_RANGE..=LAST_RANGE)
            .cycle()
            .skip(usize::from(first_range() - FIRST_RANGE));
        let each_once = ranges.take(usize::from(LAST_RANGE - FIRST_RANGE) + 1);
        each_once
            .filter(|range| may_listen(*range))
            .find_map(|range| Self::at(range, DNS_PORT))
    }

    /// `None` if another Internet uses this range.
    fn at(range: u8, port: u16) -> Option<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("internet")
            .enable_all()
            .build()
            .expect("a runtime needs only a thread");
        let internet = Self {
            port,
            range,
            runtime: Some(runtime),
            plan: Mutex::default(),
        };
        let root = name("a.root-servers.net.");
        let authority = internet.settle(&root, nth_address(range, 0))?;
        internet.plan().authorities.insert(root, authority);
        Some(internet.zone_served_by(".", &["a.root-servers.net."], ""))
    }

    /// Adds a zone with one server, `ns1` in the zone, or replaces the records of an existing zone.
    pub fn zone(self, apex: &str, records: &str) -> Self {
        self.zones([(apex, records)])
    }

    /// Adds many zones.
    pub fn zones<'text>(self, zones: impl IntoIterator<Item = (&'text str, &'text str)>) -> Self {
        let mut plan = self.plan();
        for (apex, records) in zones {
            self.declare(&mut plan, &name(apex), &[], records);
        }
        plan.publish();
        drop(plan);
        self
    }

    /// Adds a zone served by all of `servers`. An existing server gets one more zone.
    pub fn zone_served_by(self, apex: &str, servers: &[&str], records: &str) -> Self {
        self.zones_served_by([(apex, servers, records)])
    }

    /// Adds many zones, each with its servers.
    pub fn zones_served_by<'text>(
        self,
        zones: impl IntoIterator<Item = (&'text str, &'text [&'text str], &'text str)>,
    ) -> Self {
        let mut plan = self.plan();
        for (apex, servers, records) in zones {
            let servers: Vec<Name> = servers.iter().map(|server| name(server)).collect();
            self.declare(&mut plan, &name(apex), &servers, records);
        }
        plan.publish();
        drop(plan);
        self
    }

    /// Gives a server another name, for zones that are declared from now on.
    pub fn alias(&self, alias: &str, server: &str) {
        let server = self.server(server);
        self.plan().aliases.insert(name(alias), server);
    }

    /// Removes a zone's delegation from its parent. Its servers keep answering.
    pub fn revoke(&self, apex: &str) {
        let mut plan = self.plan();
        let zone = plan
            .zones
            .get_mut(&LowerName::from(&name(apex)))
            .unwrap_or_else(|| panic!("no zone {apex}"));
        zone.revoke();
        plan.publish();
    }

    /// Replaces the records of a zone from the next query on.
    pub fn replace(&self, apex: &str, records: &str) {
        let mut plan = self.plan();
        let zone = plan
            .zones
            .get_mut(&LowerName::from(&name(apex)))
            .unwrap_or_else(|| panic!("no zone {apex}"));
        zone.rewrite(records);
        plan.publish();
    }

    /// The server with this name.
    pub fn server(&self, server: &str) -> Arc<Authority> {
        self.plan()
            .find(&name(server))
            .cloned()
            .unwrap_or_else(|| panic!("no server {server}"))
    }

    /// All servers of a zone, in the order of its NS records.
    pub fn servers_of(&self, apex: &str) -> Vec<Arc<Authority>> {
        let plan = self.plan();
        let zone = plan
            .zones
            .get(&LowerName::from(&name(apex)))
            .unwrap_or_else(|| panic!("no zone {apex}"));
        zone.servers
            .iter()
            .filter_map(|server| plan.find(server).cloned())
            .collect()
    }

    /// The first server of the root.
    pub fn root(&self) -> Arc<Authority> {
        self.servers_of(".").swap_remove(0)
    }

    /// Sets the behaviour of every server of a zone.
    pub fn set_behaviour(&self, apex: &str, behaviour: &Behaviour) {
        for server in self.servers_of(apex) {
            server.set_behaviour(behaviour.clone());
        }
    }

    /// The counts of all servers together.
    pub fn counts(&self) -> QueryCounts {
        let mut sum = QueryCounts::default();
        for server in self.plan().authorities.values() {
            sum.add(&server.counts());
        }
        sum
    }

    /// The number of queries to all servers; cheaper than a tally.
    pub fn queries(&self) -> u64 {
        self.plan()
            .authorities
            .values()
            .map(|server| server.queries())
            .sum()
    }

    /// How often this question reached any server.
    pub fn asked(&self, question: &str, kind: RecordType) -> u64 {
        self.counts().asked(&LowerName::from(&name(question)), kind)
    }

    /// Resets the counts of every server.
    pub fn reset_counts(&self) {
        for server in self.plan().authorities.values() {
            server.reset_counts();
        }
    }

    /// The port of every server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The root hints in the format of IANA's `named.root`.
    pub fn root_hints(&self) -> String {
        let line = |server: &Arc<Authority>| {
            format!(
                ".  3600000  NS  {0}\n{0}  3600000  A  {1}\n",
                server.name(),
                server.address().ip()
            )
        };
        self.servers_of(".").iter().map(line).collect()
    }

    /// Adds a zone, its top-level domain, and servers where it has none.
    fn declare(&self, plan: &mut Plan, apex: &Name, servers: &[Name], records: &str) {
        let key = LowerName::from(apex);
        if apex.num_labels() > 1 {
            let top_level = apex.trim_to(1);
            if !plan.zones.contains_key(&LowerName::from(&top_level)) {
                self.declare(plan, &top_level, &[], "");
            }
        }
        let servers = match (servers, plan.zones.get(&key)) {
            ([], Some(known)) => known.servers.clone(),
            ([], None) if apex.num_labels() == 1 => vec![name(&format!("a.nic.{apex}"))],
            ([], None) => vec![name(&format!("ns1.{apex}"))],
            (named, _) => named.to_vec(),
        };
        for server in &servers {
            if plan.find(server).is_none() {
                let address = nth_address(self.range, plan.authorities.len());
                let authority = self
                    .settle(server, address)
                    .unwrap_or_else(|| panic!("{address} is taken"));
                plan.authorities.insert(server.clone(), authority);
            }
        }
        plan.zones.insert(key, Zone::new(apex, servers, records));
    }

    /// Starts a server at an address; `None` if another socket uses it.
    fn settle(&self, server: &Name, address: Ipv4Addr) -> Option<Arc<Authority>> {
        let address = SocketAddr::from((address, self.port));
        let sockets = match Sockets::bind(address) {
            Ok(sockets) => sockets,
            Err(error) if error.kind() == ErrorKind::AddrInUse => return None,
            Err(error) => panic!("{address}: {error}"),
        };
        let authority = Arc::new(Authority::new(server.clone(), address));
        let runtime = self
            .runtime
            .as_ref()
            .expect("the runtime lives as long as the Internet");
        sockets.serve(runtime.handle(), &authority);
        Some(authority)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    /// The server with this name or alias.
    fn find(&self, server: &Name) -> Option<&Arc<Authority>> {
        self.authorities
            .get(server)
            .or_else(|| self.aliases.get(server))
    }

    /// Completes every zone and gives each server its zones.
    fn publish(&self) {
        let all = || self.authorities.iter().chain(&self.aliases);
        let addresses = all()
            .map(|(name, server)| (name.clone(), server.address().ip().to_string()))
            .collect();
        let below = Below::new(&self.zones, all().map(|(name, _)| name));
        let mut served: BTreeMap<SocketAddr, BTreeMap<LowerName, Records>> = BTreeMap::new();
        for zone in self.zones.values() {
            let records = zone.complete(&below, &addresses);
            for server in zone.servers.iter().filter_map(|server| self.find(server)) {
                served
                    .entry(server.address())
                    .or_default()
                    .insert(zone.apex.clone(), records.clone());
            }
        }
        for server in self.authorities.values() {
            server.publish(served.remove(&server.address()).unwrap_or_default());
        }
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        // Dropping a runtime inside another one panics, so it is shut down in the background.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Parses a name, which is absolute with or without a final dot. With an escape (`\DDD`) its labels may
/// have any octets.
pub fn name(text: &str) -> Name {
    let parsed = if text.contains('\\') {
        let escaped = policy::name::Name::of_presentation(text)
            .unwrap_or_else(|error| panic!("name {text:?}: {error}"));
        Name::from_labels(escaped.borrow().labels())
    } else {
        Name::from_ascii(text)
    };
    let mut name = parsed.unwrap_or_else(|error| panic!("name {text:?}: {error}"));
    name.set_fqdn(true);
    name
}

/// The address of the n-th server in a range, the second octet.
fn nth_address(range: u8, number: usize) -> Ipv4Addr {
    let [.., high, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(127, range, high, low)
}

/// A range that differs between concurrent processes.
fn first_range() -> u8 {
    let ranges = u32::from(LAST_RANGE - FIRST_RANGE) + 1;
    FIRST_RANGE + u8::try_from(std::process::id() % ranges).expect("the remainder is below 64")
}

/// A port that is free at every address.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes with neighbouring ids start their search far apart.
    let start = std::process::id().wrapping_mul(101) % u32::from(PORTS);
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST_PORT
            + u16::try_from((start + u32::from(step)) % u32::from(PORTS)).expect("below PORTS");
        let everywhere = (Ipv4Addr::UNSPECIFIED, port);
        if UdpSocket::bind(everywhere).is_ok() && TcpListener::bind(everywhere).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST_PORT} on");
}
