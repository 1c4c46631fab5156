//! The simulated Internet: a root, top-level domains and zones, each served on loopback inside the test process.
//!
//! ```text
//! Internet::new()                                             .  and its server at 127.P.0.1
//!     .zone("bets.example.", "@ 60 A 192.0.2.7")              example.  and  bets.example.,  each at an address
//!     .zone_served_by("news.example.", &["ns.host.test."], …) a server with a name elsewhere: found without glue
//! ```
//!
//! Root and top-level zones, delegations and glue are generated. Every server has an address of its own, all of them
//! one port, which the resolver under test is given as `recursion.authority_port`. The servers run on a runtime of
//! their own, so that a test may block, and everything can be changed while they run.

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
    listen::Sockets,
    tally::Tally,
    zone::{self, Zone},
};

/// Ports are looked for from here on: above the privileged and the well-known ones …
const FIRST_PORT: u16 = 10_240;

/// … and below Linux' ephemeral ones, so that no client socket ever sits on a port that was found free.
const PORTS: u16 = 20_000;

/// Runs one whole Internet; dropped with it.
pub struct Internet {
    port: u16,
    runtime: Option<Runtime>,
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    zones: BTreeMap<LowerName, Zone>,
    authorities: BTreeMap<Name, Arc<Authority>>,
}

impl Internet {
    /// An Internet with a root and nothing below it.
    pub fn new() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("internet")
            .enable_all()
            .build()
            .expect("a runtime needs only a thread");
        let mut internet = Self { port: 0, runtime: Some(runtime), plan: Mutex::default() };
        let root = name("a.root-servers.net.");
        let (port, authority) = loop {
            let port = free_port();
            // A process with the same addresses may have been faster between looking and binding.
            if let Some(authority) = internet.settle(&root, nth_address(0), port) {
                break (port, authority);
            }
        };
        internet.port = port;
        internet.plan().authorities.insert(root.clone(), authority);
        internet.zone_served_by(".", &["a.root-servers.net."], "")
    }

    /// Adds a zone with one server, `ns1` in the zone, or replaces the records of a zone that is there.
    pub fn zone(self, apex: &str, records: &str) -> Self {
        self.zones([(apex, records)])
    }

    /// Adds many zones at once.
    pub fn zones<'text>(self, zones: impl IntoIterator<Item = (&'text str, &'text str)>) -> Self {
        let mut plan = self.plan();
        for (apex, records) in zones {
            self.declare(&mut plan, &name(apex), &[], records);
        }
        plan.publish();
        drop(plan);
        self
    }

    /// Adds a zone served by all of `servers`. A server that is already there serves one zone more.
    pub fn zone_served_by(self, apex: &str, servers: &[&str], records: &str) -> Self {
        let servers: Vec<Name> = servers.iter().map(|server| name(server)).collect();
        let mut plan = self.plan();
        self.declare(&mut plan, &name(apex), &servers, records);
        plan.publish();
        drop(plan);
        self
    }

    /// Gives a zone new records, from the next query on.
    pub fn replace(&self, apex: &str, records: &str) {
        let mut plan = self.plan();
        let zone = plan.zones.get_mut(&LowerName::from(&name(apex))).unwrap_or_else(|| panic!("no zone {apex}"));
        zone.rewrite(records);
        plan.publish();
    }

    /// The server of this name.
    pub fn server(&self, server: &str) -> Arc<Authority> {
        self.plan().authorities.get(&name(server)).cloned().unwrap_or_else(|| panic!("no server {server}"))
    }

    /// All servers of a zone, in the order of its NS records.
    pub fn servers_of(&self, apex: &str) -> Vec<Arc<Authority>> {
        let plan = self.plan();
        let zone = plan.zones.get(&LowerName::from(&name(apex))).unwrap_or_else(|| panic!("no zone {apex}"));
        zone.servers.iter().filter_map(|server| plan.authorities.get(server).cloned()).collect()
    }

    /// The first server of the root.
    pub fn root(&self) -> Arc<Authority> {
        self.servers_of(".").swap_remove(0)
    }

    /// Makes every server of a zone behave so.
    pub fn make(&self, apex: &str, behaviour: &Behaviour) {
        for server in self.servers_of(apex) {
            server.becomes(behaviour.clone());
        }
    }

    /// What reached all servers together.
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for server in self.plan().authorities.values() {
            sum.add(&server.tally());
        }
        sum
    }

    /// How often any server was asked exactly this.
    pub fn asked(&self, question: &str, kind: RecordType) -> u64 {
        self.tally().asked(&LowerName::from(&name(question)), kind)
    }

    /// Starts counting anew, at every server.
    pub fn forget_questions(&self) {
        for server in self.plan().authorities.values() {
            server.forget_questions();
        }
    }

    /// The port of every authority.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The root hints, in the form of IANA's `named.root`.
    pub fn root_hints(&self) -> String {
        let line = |server: &Arc<Authority>| format!(".  3600000  NS  {0}\n{0}  3600000  A  {1}\n", server.name(), server.address().ip());
        self.servers_of(".").iter().map(line).collect()
    }

    /// Notes a zone and what it needs: its top-level domain, and servers where it has none.
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
            if !plan.authorities.contains_key(server) {
                let address = nth_address(plan.authorities.len());
                let authority = self.settle(server, address, self.port).unwrap_or_else(|| panic!("{address} is taken"));
                plan.authorities.insert(server.clone(), authority);
            }
        }
        plan.zones.insert(key, Zone::new(apex, servers, records));
    }

    /// Starts a server at an address, or says that another socket is there.
    fn settle(&self, server: &Name, address: Ipv4Addr, port: u16) -> Option<Arc<Authority>> {
        let address = SocketAddr::from((address, port));
        let sockets = match Sockets::bind(address) {
            Ok(sockets) => sockets,
            Err(error) if error.kind() == ErrorKind::AddrInUse => return None,
            Err(error) => panic!("{address}: {error}"),
        };
        let authority = Arc::new(Authority::new(server.clone(), address));
        let runtime = self.runtime.as_ref().expect("the runtime lives as long as the Internet");
        sockets.serve(runtime.handle(), &authority);
        Some(authority)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    /// Completes every zone and hands each server what it serves.
    fn publish(&self) {
        let address = |(name, server): (&Name, &Arc<Authority>)| (name.clone(), server.address().ip().to_string());
        let addresses = self.authorities.iter().map(address).collect();
        let completed: Vec<_> = self.zones.values().map(|zone| (zone, zone.complete(&self.zones, &addresses))).collect();
        for (name, server) in &self.authorities {
            let served = completed.iter().filter(|(zone, _)| zone.servers.contains(name));
            server.publish(served.map(|(zone, records)| (zone.apex.clone(), records.clone())).collect());
        }
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        // A runtime dropped inside another one would panic; in the background it may end anywhere.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Reads a name, which is absolute with or without its final dot.
pub fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap_or_else(|error| panic!("name {text:?}: {error}"));
    name.set_fqdn(true);
    name
}

/// The address of the n-th server, from a range that differs between processes that run at the same time. 127.0 to
/// 127.63 stay free for those who ask.
fn nth_address(number: usize) -> Ipv4Addr {
    let range = 64 + u8::try_from(std::process::id() % 64).expect("the remainder is below 64");
    let [.., high, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(127, range, high, low)
}

/// A port on which nobody listens at any address.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Neighbouring processes start to look far from each other.
    let start = std::process::id().wrapping_mul(101) % u32::from(PORTS);
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST_PORT + u16::try_from((start + u32::from(step)) % u32::from(PORTS)).expect("below PORTS");
        let everywhere = (Ipv4Addr::UNSPECIFIED, port);
        if UdpSocket::bind(everywhere).is_ok() && TcpListener::bind(everywhere).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST_PORT} on");
}
