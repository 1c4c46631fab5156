//! One customer cannot hurt another: clients that query for names of dead zones, and floods of
//! names below one zone, beside a client that queries for names that are not cached.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream, UdpSocket},
};

use crate::world::{
    Asked, Behaviour, Client, Internet, Switch, Unbound, World, ask_all, eventually, quantile,
};

/// Zones whose servers do not respond.
const DEAD_ZONES: usize = 12;
/// Attackers, each with an address of its own.
const ATTACKERS: u8 = 5;
/// Pause between two bursts of one attacker.
const PAUSE: Duration = Duration::from_millis(10);
/// What connections to the API begin with: nothing, half of a head, half of a body.
const SILENT: [&[u8]; 3] = [
    b"",
    b"GET /v1/categories HT",
    b"POST /v1/reports HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
];
macro_rules! wrong_key {
    () => {
        "GET /v1/presets HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ox_0\r\n\r\n"
    };
}
/// Octets of a client that keeps its connection busy: requests with wrong keys, one behind the
/// other, the answers to which it does not read.
const BUSY: [&[u8]; 1] =
    [concat!(wrong_key!(), wrong_key!(), wrong_key!(), wrong_key!()).as_bytes()];
/// Requests that a client of an attack sends one behind the other.
const PIPELINED: usize = 16;
/// How hard the attack is. The short run is part of the tests; `ATTACK_SCALE=1` (or 3, 10) runs the
/// default configuration under 1,500 queries a second for dead zones, or 15,000 below one zone that
/// answers, or 10,000 connections to the API or to DNS over TCP, times that number.
struct Scale {
    /// Places for resolutions: in the short run fewer than the attack holds at any time.
    places: usize,
    /// Queries of the other client, one after the other, and the pause between them.
    cold_names: usize,
    cold_pause: Duration,
    /// Queries of one attacker in one burst.
    for_dead_zones: usize,
    below_one_zone: usize,
    /// Attackers' connections at a time, each from an address of its own: to the API, which takes
    /// fewer, and to DNS over TCP, which takes 1,024. How many of them begin in a millisecond.
    to_api: usize,
    api_takes: usize,
    to_dns: usize,
    in_a_ms: usize,
    /// Toggles of one household, one after the other.
    toggles: usize,
}

fn scale() -> Scale {
    let times = std::env::var("ATTACK_SCALE").ok();
    match times.map(|times| times.parse::<usize>().expect("ATTACK_SCALE is a number")) {
        None => Scale {
            places: 200,
            cold_names: 150,
            cold_pause: Duration::ZERO,
            for_dead_zones: 1,
            below_one_zone: 4,
            to_api: 150,
            api_takes: 100,
            to_dns: 1_300,
            in_a_ms: 1,
            toggles: 20,
        },
        Some(times) => Scale {
            places: 4_096,
            cold_names: 1_000,
            cold_pause: Duration::from_millis(10),
            for_dead_zones: 3 * times,
            below_one_zone: 30 * times,
            to_api: 10_000 * times,
            api_takes: 10_000,
            to_dns: 10_000 * times,
            in_a_ms: 5,
            toggles: 500,
        },
    }
}

fn is_long_run() -> bool {
    std::env::var_os("ATTACK_SCALE").is_some()
}

/// In the long run on port 53, the only port of Unbound's queries, if that is possible.
fn zones() -> Internet {
    let on_port_53 = is_long_run().then(Internet::on_port_53).flatten();
    let mut internet = on_port_53
        .unwrap_or_else(Internet::new)
        .zone("good.example.", "@ 3600 A 192.0.2.1\n* 3600 A 192.0.2.1");
    for number in 0..DEAD_ZONES {
        internet = internet.zone(&format!("dead{number}.test."), "* 60 A 192.0.2.66");
    }
    internet
}

/// Sends queries from a loopback address until `ends`, and reads no reply.
async fn flood(
    client: Client,
    to: SocketAddr,
    from: Ipv4Addr,
    ends: Arc<AtomicBool>,
    (burst, name): (usize, fn(usize) -> String),
) {
    let socket = UdpSocket::bind((from, 0))
        .await
        .expect("a loopback address");
    let mut number = usize::from(from.octets()[3]) * 1_000_000;
    while !ends.load(Ordering::Relaxed) {
        for _ in 0..burst {
            let query = client.query(&name(number)).to_vec().expect("a query");
            // The kernel may have no room: the query is lost, as on any network.
            let _ = socket.send_to(&query, to).await;
            number += 1;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Starts the attackers of a resolver; they end with the flag.
fn attack(
    client: &Client,
    to: SocketAddr,
    burst: usize,
    name: fn(usize) -> String,
) -> Arc<AtomicBool> {
    let ends = Arc::new(AtomicBool::new(false));
    for attacker in 1..=ATTACKERS {
        let from = Ipv4Addr::new(127, 0, 66, attacker);
        let ends = Arc::clone(&ends);
        tokio::spawn(flood(client.clone(), to, from, ends, (burst, name)));
    }
    ends
}

/// Queries before, during and after an attack.
async fn ask_under_attack(
    client: &Client,
    to: SocketAddr,
    burst: usize,
    name: fn(usize) -> String,
) -> Rounds {
    let before = ask_cold_names(client, "before").await;
    let ends = attack(client, to, burst, name);
    // Until all places are taken, or the servers are known to be down.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let during = ask_cold_names(client, "during").await;
    ends.store(true, Ordering::Relaxed);
    let after = ask_cold_names(client, "after").await;
    Rounds([before, during, after])
}

/// The queries before, during and after an attack.
struct Rounds([Round; 3]);

struct Round {
    name: &'static str,
    cold: Vec<Asked>,
    cached: Vec<Asked>,
}

impl Rounds {
    /// Prints how long the answers took.
    fn print(&self, resolver: &str) {
        for Round { name, cold, cached } in &self.0 {
            let took =
                |asked: &[Asked], share| quantile(asked.iter().map(|asked| asked.took), share);
            println!(
                "{resolver} {name}: cold names: {} of {} failed, median {:?}, p99 {:?}; cached: {} failed, median {:?}, p99 {:?}",
                failed(cold).len(),
                cold.len(),
                took(cold, 0.5),
                took(cold, 0.99),
                failed(cached).len(),
                took(cached, 0.5),
                took(cached, 0.99),
            );
        }
    }

    /// Requires that each query is answered, in each round.
    fn judge_all(&self) {
        for Round { name, cold, cached } in &self.0 {
            for asked in [cold, cached] {
                assert_eq!(failed(asked), [""; 0], "{name}");
            }
        }
    }

    /// Requires that at least 99 of 100 queries are answered, in each round.
    fn judge(&self) {
        for Round { name, cold, cached } in &self.0 {
            for asked in [cold, cached] {
                let wrong = failed(asked);
                assert!(
                    wrong.len() <= asked.len() / 100,
                    "{name}: {} of {} are not answered: {:?}",
                    wrong.len(),
                    asked.len(),
                    &wrong[..wrong.len().min(3)]
                );
            }
        }
    }
}

/// Answers other than the right one.
fn failed(asked: &[Asked]) -> Vec<&str> {
    asked
        .iter()
        .map(|asked| &*asked.answer)
        .filter(|answer| *answer != "192.0.2.1")
        .collect()
}

/// Asks for cold names, and after each one for a name that is cached.
async fn ask_cold_names(client: &Client, round: &'static str) -> Round {
    let Scale {
        cold_names,
        cold_pause,
        ..
    } = scale();
    let mut cold = Vec::new();
    let mut cached = Vec::new();
    for number in 0..cold_names {
        let question = format!("c{number}.{round}.good.example. A");
        cold.extend(ask_all(client, [question], 1).await);
        cached.extend(ask_all(client, ["good.example. A".to_owned()], 1).await);
        tokio::time::sleep(cold_pause).await;
    }
    Round {
        name: round,
        cold,
        cached,
    }
}

fn in_dead_zone(number: usize) -> String {
    format!("r{number}.dead{}.test. A", number % DEAD_ZONES)
}

fn below_one_zone(number: usize) -> String {
    format!("r{number}.flood.example. A")
}

async fn world() -> World {
    let places = scale().places;
    World::builder(zones().zone("flood.example.", "@ 60 A 192.0.2.3\n* 60 A 192.0.2.3"))
        .config(&format!(
            "[dns]\nresolutions_max = {places}\nallow_from = [\"127.0.0.0/8\"]\n"
        ))
        .start()
        .await
}

/// The other client's queries to this resolver while it is attacked, and in the long run to Unbound
/// beside it, one after the other on the same Internet. `prepare` asks what both must know before.
async fn compare(
    world: &World,
    prepare: impl AsyncFn(&Client),
    strike: impl Fn(),
    burst: usize,
    name: fn(usize) -> String,
) -> Rounds {
    let ours = world.client("127.0.7.9");
    let unbound = if is_long_run() && world.internet.port() == 53 && Unbound::is_installed() {
        Some(Unbound::start(&world.internet).await)
    } else {
        None
    };
    let theirs = unbound
        .as_ref()
        .map(|unbound| (unbound.client("127.0.7.9"), unbound.address()));
    for client in [&ours]
        .into_iter()
        .chain(theirs.iter().map(|(client, _)| client))
    {
        prepare(client).await;
        assert_eq!(client.ask("good.example. A").await, "192.0.2.1");
    }
    strike();
    let rounds = ask_under_attack(&ours, world.daemon.addresses().dns(), burst, name).await;
    rounds.print("ox-protect");
    if let Some((client, to)) = theirs {
        let rounds = ask_under_attack(&client, to, burst, name).await;
        rounds.print("Unbound");
    }
    rounds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_for_dead_zones_take_no_place_from_others() {
    let world = world().await;
    let zone = |number| format!("dead{number}.test.");
    let prepare = async |client: &Client| {
        for number in 0..DEAD_ZONES {
            let name = format!("warm.{} A", zone(number));
            assert_eq!(client.ask(&name).await, "192.0.2.66");
        }
    };
    let strike = || {
        for number in 0..DEAD_ZONES {
            world
                .internet
                .set_behaviour(&zone(number), &Behaviour::Silent);
        }
    };
    let burst = scale().for_dead_zones;
    let rounds = compare(&world, prepare, strike, burst, in_dead_zone).await;
    rounds.judge();
    let evicted = world
        .api
        .metric("ox_protect_resolutions_evicted_total")
        .await;
    println!("{evicted} resolutions made room");
    assert!(evicted > 0.0 || is_long_run(), "all places were taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_below_one_zone_stops_no_other_name() {
    let world = world().await;
    let prepare = async |client: &Client| {
        assert_ne!(client.ask("flood.example. A").await, "SERVFAIL");
    };
    let burst = scale().below_one_zone;
    let rounds = compare(&world, prepare, || {}, burst, below_one_zone).await;
    rounds.judge();
}

/// Raises this process's limit of file descriptors: 1,024 on a Debian machine.
pub(super) fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("up to the hard limit");
}

/// A connection from this address, held open.
async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from: IpAddr = from.parse().expect("an address");
    socket.bind((from, 0).into()).expect("a loopback address");
    socket.connect(to).await.expect("a listener")
}

/// Whether the other side has closed a connection. Waits for it.
async fn is_closed(mut connection: TcpStream, within: Duration) -> bool {
    let closed = async {
        let mut rest = [0; 512];
        while !matches!(connection.read(&mut rest).await, Ok(0) | Err(_)) {}
    };
    tokio::time::timeout(within, closed).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_all_connections_takes_none_from_others() {
    /// The daemon's limit for one listener, and some more.
    const CONNECTIONS: usize = 1_040;
    raise_descriptors();
    let world = world().await;
    let other = world.client("127.0.7.9");
    assert_eq!(other.ask("good.example. A").await, "192.0.2.1");
    let query = other.query("good.example. A").to_vec().expect("a query");
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = connect("127.0.66.1", world.daemon.addresses().dns()).await;
        connection
            .write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat())
            .await
            .ok();
        held.push(connection);
    }
    for _ in 0..20 {
        assert_eq!(other.over_tcp().ask("good.example. A").await, "192.0.2.1");
    }
    let limited = world
        .api
        .metric("ox_protect_tcp_connections_limited_total")
        .await;
    assert!(limited >= 16.0, "{limited} connections were limited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_the_api_that_send_nothing_stop_no_toggle() {
    let world = World::builder(zones())
        .config("[api]\nconnections_max = 50\n")
        .start()
        .await;
    let mut held = Vec::new();
    for number in 0..60 {
        let mut connection = connect("127.0.66.1", world.daemon.addresses().api()).await;
        let begin = SILENT[number % SILENT.len()];
        connection.write_all(begin).await.ok();
        held.push(connection);
    }
    for number in 0..10 {
        let home = format!("home-{number}");
        world.api.household(&home, json!({})).await.ok();
    }
    let limited = world
        .api
        .metric("ox_protect_api_connections_limited_total")
        .await;
    assert!(limited >= 10.0, "{limited} connections were limited");
    // Those that are left end by themselves: the head after 15 s, the body after 30 s.
    for connection in held {
        assert!(is_closed(connection, Duration::from_secs(60)).await);
    }
}

/// Attackers that begin connections one after the other, each from an address of its own, and hold
/// the last ones.
struct Crowd {
    to: SocketAddr,
    begins: Vec<Vec<u8>>,
    held: VecDeque<TcpStream>,
    held_max: usize,
    begun: usize,
}

impl Crowd {
    /// Begins as many connections as it holds. As far as descriptors allow: half of this process's.
    async fn gather(to: SocketAddr, begins: &[impl AsRef<[u8]>], held_max: usize) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let mut crowd = Self {
            to,
            begins: begins.iter().map(|begin| begin.as_ref().to_vec()).collect(),
            held: VecDeque::new(),
            held_max: held_max.min(usize::try_from(descriptors / 2).unwrap_or(usize::MAX)),
            begun: 0,
        };
        println!("{} attackers' connections", crowd.held_max);
        while crowd.begun < crowd.held_max {
            crowd.begin_one().await;
        }
        crowd
    }

    async fn begin_one(&mut self) {
        let number = self.begun;
        self.begun += 1;
        if number.is_multiple_of(scale().in_a_ms) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while self.held.len() >= self.held_max {
            self.held.pop_front();
        }
        let [.., high, low] = (number % self.held_max).to_be_bytes();
        let from = Ipv4Addr::new(127, 128, high, low);
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("a loopback address");
        // The listener may have closed the connection already.
        if let Ok(mut connection) = socket.connect(self.to).await {
            let _ = connection
                .write_all(&self.begins[number % self.begins.len()])
                .await;
            self.held.push_back(connection);
        }
    }

    /// Begins connections for as long as something takes.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.begin_one() => {}
            }
        }
    }
}

/// Switches a category of a household on and off, each time over a connection of its own. Each
/// request is answered. Prints how long that took.
async fn toggle_often(world: &World, round: &str) {
    let api = world.api.with_header("connection", "close");
    let mut took = Vec::new();
    for number in 0..scale().toggles {
        let switch = [Switch::Block, Switch::Allow][number % 2];
        let begun = Instant::now();
        api.toggle("home", "gambling", switch).await.ok();
        took.push(begun.elapsed());
    }
    let took = |share| quantile(took.iter().copied(), share);
    println!(
        "{round}: toggles median {:?}, p99 {:?}",
        took(0.5),
        took(0.99)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_the_api_stops_no_name_and_no_toggle() {
    crowd_the_api(|_| SILENT.map(<[u8]>::to_vec).to_vec(), is_of_crowd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_with_wrong_keys_stops_no_name_and_no_toggle() {
    crowd_the_api(|_| BUSY.map(<[u8]>::to_vec).to_vec(), is_of_crowd).await;
}

/// What is answered without a key does not close its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_asks_without_a_key_stops_no_name_and_no_toggle() {
    let asks = "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n".repeat(PIPELINED);
    crowd_the_api(|_| vec![asks.into_bytes()], is_of_crowd).await;
}

/// The key is in force, and its household has one share of the connections, whatever the addresses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_with_one_homes_key_is_limited_as_that_home() {
    let asks = |key: &str| {
        let ask = "GET /v1/presets HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer";
        format!("{ask} {key}\r\n\r\n").repeat(PIPELINED)
    };
    let is_that_home = |limit: &Value| limit["kind"] == "household" && limit["name"] == "away";
    crowd_the_api(|key| vec![asks(key).into_bytes()], is_that_home).await;
}

/// Connections that each begin with what `begins` makes of another home's key, beside names and
/// toggles. One of the clients that `is_named` is limited.
async fn crowd_the_api(
    begins: impl FnOnce(&str) -> Vec<Vec<u8>>,
    is_named: impl Fn(&Value) -> bool,
) {
    raise_descriptors();
    let Scale {
        to_api, api_takes, ..
    } = scale();
    let world = World::builder(zones())
        .config(&format!("[api]\nconnections_max = {api_takes}\n"))
        .start()
        .await;
    let other = world.client("127.0.7.9");
    assert_eq!(other.ask("good.example. A").await, "192.0.2.1");
    let both = async |round: &'static str| {
        tokio::join!(ask_cold_names(&other, round), toggle_often(&world, round)).0
    };
    world.api.household("away", json!({})).await.ok();
    let key = world
        .api
        .post("/v1/households/away/keys", json!({ "role": "parent" }))
        .await
        .ok();
    let begins = begins(key.json["secret"].as_str().expect("a secret"));
    let before = both("before").await;
    let mut crowd = Crowd::gather(world.daemon.addresses().api(), &begins, to_api).await;
    let during = crowd.beside(both("during")).await;
    assert_named(&world, is_named).await;
    drop(crowd);
    let rounds = Rounds([before, during, both("after").await]);
    rounds.print("beside a crowd at the API");
    rounds.judge_all();
    let limited = "ox_protect_api_connections_limited_total";
    let limited = world.api.metric(limited).await;
    assert!(limited > 0.0, "all places were taken");
}

/// Whether one of the crowd's addresses is limited.
fn is_of_crowd(limit: &Value) -> bool {
    let name = limit["name"].as_str().unwrap_or_default();
    limit["kind"] == "address" && name.starts_with("127.128.")
}

/// The API names such a client as limited by connections, and says since when.
async fn assert_named(world: &World, is_named: impl Fn(&Value) -> bool) {
    let answer = world.api.get("/v1/limits").await.ok().json;
    let limits = answer["limits"].as_array().expect("a list");
    let by_connections = |limit: &&Value| {
        limit["reason"] == "connections" && limit["queries"] != 0 && limit["since"].is_string()
    };
    let mut named = limits.iter().filter(by_connections);
    assert!(named.any(is_named), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_not_whole_hold_a_bounded_memory() {
    /// The place for this many connections is 1.6 MiB.
    const CONNECTIONS_MAX: usize = 100;
    const BODY_OCTETS: usize = 200_000;
    const BODIES: usize = 24;
    let world = World::builder(zones())
        .config(&format!("[api]\nconnections_max = {CONNECTIONS_MAX}\n"))
        .start()
        .await;
    let head = |key: &str, path: &str| {
        let head = format!("{path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n");
        format!("{head}Content-Type: application/json\r\nContent-Length: {BODY_OCTETS}\r\n\r\n")
    };
    let head = head(&world.daemon.key(), "PUT /v1/households/home");
    let half = [head.as_bytes(), &[b' '; BODY_OCTETS - 1]].concat();
    let mut held = Vec::new();
    for _ in 0..BODIES {
        let mut connection = connect("127.0.66.1", world.daemon.addresses().api()).await;
        connection.write_all(&half).await.ok();
        held.push(connection);
    }
    let limited = "ox_protect_api_connections_limited_total";
    let closed = async || world.api.metric_of(limited, &[("how", "closed")]).await;
    let enough = (BODIES - CONNECTIONS_MAX * (16 << 10) / BODY_OCTETS) as f64;
    let within = Duration::from_secs(30);
    eventually("the oldest are closed", within, async || {
        closed().await >= enough
    })
    .await;
    // The last one is read to its end.
    let mut last = held.pop().expect("some");
    last.write_all(b" ").await.expect("it is open");
    let mut begin = [0; 12];
    last.read_exact(&mut begin).await.expect("an answer");
    assert_eq!(&begin, b"HTTP/1.1 400", "spaces are no object");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_dns_over_tcp_stops_no_name_over_tcp() {
    /// Nothing, half of a length, a length without its message, half of a header.
    const BEGINS: [&[u8]; 4] = [b"", b"\0", b"\0\x1d", b"\0\x1d\x12\x34\x01\0"];
    raise_descriptors();
    let world = world().await;
    let other = world.client("127.0.7.9").over_tcp();
    assert_eq!(other.ask("good.example. A").await, "192.0.2.1");
    let before = ask_cold_names(&other, "before").await;
    let mut crowd = Crowd::gather(world.daemon.addresses().dns(), &BEGINS, scale().to_dns).await;
    let during = crowd.beside(ask_cold_names(&other, "during")).await;
    assert_named(&world, is_of_crowd).await;
    drop(crowd);
    let after = ask_cold_names(&other, "after").await;
    let rounds = Rounds([before, during, after]);
    rounds.print("beside a crowd at DNS over TCP");
    rounds.judge_all();
    let limited = "ox_protect_tcp_connections_limited_total";
    let closed = world.api.metric_of(limited, &[("how", "closed")]).await;
    assert!(closed > 0.0, "all places were taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_limited_stands_in_the_api() {
    let world = world().await;
    let other = world.client("127.0.7.9");
    assert_eq!(other.ask("warm.dead0.test. A").await, "192.0.2.66");
    world
        .internet
        .set_behaviour("dead0.test.", &Behaviour::Silent);
    let limits = async || world.api.get("/v1/limits").await.ok().json["limits"].clone();
    assert_eq!(limits().await, json!([]));
    let to = world.daemon.addresses().dns();
    let ends = attack(&other, to, 1, |number| format!("r{number}.dead0.test. A"));
    let zone = async || {
        // A query of a small client makes room for itself.
        let _ = other.ask("n.full.good.example. A").await;
        let limits = limits().await;
        limits
            .as_array()
            .into_iter()
            .flatten()
            .find(|limit| limit["kind"] == "zone" && limit["name"] == "dead0.test")
            .cloned()
    };
    let mut found = None;
    for _ in 0..100 {
        found = zone().await;
        if found.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ends.store(true, Ordering::Relaxed);
    let limit = found.expect("the zone is limited");
    // Its resolutions fail, and it holds the most.
    let reason = limit["reason"].as_str();
    assert!(
        matches!(reason, Some("resolutions" | "failures")),
        "{limit}"
    );
    assert!(
        limit["since"].is_string() && limit["queries"].as_u64() > Some(0),
        "{limit}"
    );
}
