//! One customer cannot hurt another: clients that query for names of dead zones, and floods of
//! names below one zone, beside a client that queries for names that are not cached.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream, UdpSocket},
};

use crate::world::{Behaviour, Client, Internet, World, ask_all, quantile};

/// Zones whose servers do not respond.
const DEAD_ZONES: usize = 12;
/// Attackers, each with an address of its own.
const ATTACKERS: u8 = 5;
/// Pause between two bursts of one attacker.
const PAUSE: Duration = Duration::from_millis(10);
/// How hard the attack is. The short run is part of the tests; `ATTACK_SCALE=1` (or 3, 10) runs the
/// default configuration under 1,500 queries a second for dead zones, or 15,000 below one zone that
/// answers, times that number.
struct Scale {
    /// Places for resolutions: in the short run fewer than the attack holds at any time.
    places: usize,
    /// Queries of the other client, one after the other, and the pause between them.
    cold_names: usize,
    cold_pause: Duration,
    /// Queries of one attacker in one burst.
    for_dead_zones: usize,
    below_one_zone: usize,
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
        },
        Some(times) => Scale {
            places: 4_096,
            cold_names: 1_000,
            cold_pause: Duration::from_millis(10),
            for_dead_zones: 3 * times,
            below_one_zone: 30 * times,
        },
    }
}

fn zones() -> Internet {
    let mut internet =
        Internet::new().zone("good.example.", "@ 3600 A 192.0.2.1\n* 3600 A 192.0.2.1");
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

/// Starts the attackers; they end with the flag.
fn attack(world: &World, burst: usize, name: fn(usize) -> String) -> Arc<AtomicBool> {
    let ends = Arc::new(AtomicBool::new(false));
    for attacker in 1..=ATTACKERS {
        let client = world.client("127.0.8.9");
        let to = world.daemon.addresses().dns();
        let from = Ipv4Addr::new(127, 0, 66, attacker);
        tokio::spawn(flood(client, to, from, Arc::clone(&ends), (burst, name)));
    }
    ends
}

/// Asks for cold names, and requires that at least 99 of 100 are answered. Prints how long that
/// took.
async fn ask_cold_names(client: &Client, round: &str) {
    let Scale {
        cold_names,
        cold_pause,
        ..
    } = scale();
    let mut asked = Vec::new();
    for number in 0..cold_names {
        let question = format!("c{number}.{round}.good.example. A");
        asked.extend(ask_all(client, [question], 1).await);
        tokio::time::sleep(cold_pause).await;
    }
    let took = |share| quantile(asked.iter().map(|asked| asked.took), share);
    println!("{round}: median {:?}, p99 {:?}", took(0.5), took(0.99));
    let wrong: Vec<&str> = asked
        .iter()
        .map(|asked| &*asked.answer)
        .filter(|answer| *answer != "192.0.2.1")
        .collect();
    assert!(
        wrong.len() <= cold_names / 100,
        "{round}: {} of {cold_names} cold names are not answered: {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(3)]
    );
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_for_dead_zones_take_no_place_from_others() {
    let world = world().await;
    let other = world.client("127.0.7.9");
    for number in 0..DEAD_ZONES {
        let zone = format!("dead{number}.test.");
        assert_eq!(other.ask(&format!("warm.{zone} A")).await, "192.0.2.66");
        world.internet.set_behaviour(&zone, &Behaviour::Silent);
    }
    assert_eq!(other.ask("good.example. A").await, "192.0.2.1");
    ask_cold_names(&other, "before").await;
    let ends = attack(&world, scale().for_dead_zones, in_dead_zone);
    // Until all places are taken, or the servers are known to be down.
    tokio::time::sleep(Duration::from_secs(1)).await;
    ask_cold_names(&other, "during").await;
    let evicted = world
        .api
        .metric("ox_protect_resolutions_evicted_total")
        .await;
    println!("{evicted} resolutions made room");
    let is_short = std::env::var_os("ATTACK_SCALE").is_none();
    assert!(evicted > 0.0 || !is_short, "all places were taken");
    ends.store(true, Ordering::Relaxed);
    ask_cold_names(&other, "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_below_one_zone_stops_no_other_name() {
    let world = world().await;
    let other = world.client("127.0.7.9");
    for name in ["good.example.", "flood.example."] {
        assert_ne!(other.ask(&format!("{name} A")).await, "SERVFAIL");
    }
    ask_cold_names(&other, "before").await;
    let ends = attack(&world, scale().below_one_zone, below_one_zone);
    tokio::time::sleep(Duration::from_secs(1)).await;
    ask_cold_names(&other, "during").await;
    ends.store(true, Ordering::Relaxed);
    ask_cold_names(&other, "after").await;
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
        // A third is silent, a third sends half a head, a third a body that never ends.
        let begin: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /v1/categories HT",
            _ => b"POST /v1/reports HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        };
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
    let ends = attack(&world, 1, |number| format!("r{number}.dead0.test. A"));
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
