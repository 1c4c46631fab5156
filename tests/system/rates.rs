//! Rates of queries and responses, over the network: floods with forged addresses, clients over
//! their rate, and many queries that wait for one slow server.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::net::UdpSocket;

use crate::world::{Behaviour, Internet, World};

/// Addresses of the forged network, 127.0.66.0/24.
const FORGED: u8 = 40;
/// The longest time that passes between two replies of a burst.
const QUIET: Duration = Duration::from_secs(3);

fn zones() -> Internet {
    let text = "x".repeat(250);
    let texts = format!("\"{text}\" \"{text}\" \"{text}\" \"{text}\"");
    Internet::new().zone(
        "good.example.",
        &format!("@ 3600 A 192.0.2.1\n* 3600 A 192.0.2.1\nlarge 3600 TXT {texts}"),
    )
}

async fn world(limits: &str) -> World {
    World::builder(zones())
        .config(&format!(
            "[dns]\nallow_from = [\"127.0.0.0/8\"]\n[limits]\nexempt_from = []\n{limits}"
        ))
        .start()
        .await
}

async fn socket(from: Ipv4Addr) -> UdpSocket {
    UdpSocket::bind((from, 0))
        .await
        .expect("a loopback address")
}

/// Reads replies for as long as they come. Returns the number of octets and when each one came.
async fn read_replies(socket: &UdpSocket, quiet: Duration) -> (usize, Vec<Instant>) {
    let mut octets = 0;
    let mut times = Vec::new();
    let mut reply = [0; 4_096];
    while let Ok(Ok(length)) = tokio::time::timeout(quiet, socket.recv(&mut reply)).await {
        octets += length;
        times.push(Instant::now());
    }
    (octets, times)
}

async fn limit_of(world: &World, kind: &str) -> Option<serde_json::Value> {
    let limits = world.api.get("/v1/limits").await.ok().json["limits"].clone();
    limits
        .as_array()
        .into_iter()
        .flatten()
        .find(|limit| limit["kind"] == kind)
        .cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_with_forged_addresses_gets_back_less_than_it_sends() {
    const ROUNDS: usize = 1_000;
    let world = world("response_kib_per_s = 4\n").await;
    let other = world
        .client("127.0.7.9")
        .with_timeout(Duration::from_secs(2));
    assert!(other.ask("large.good.example. TXT").await.contains("xxx"));
    let query = other
        .query("large.good.example. TXT")
        .to_vec()
        .expect("a query");
    let mut readers = Vec::new();
    let mut senders = Vec::new();
    for last in 1..=FORGED {
        let socket = std::sync::Arc::new(socket(Ipv4Addr::new(127, 0, 66, last)).await);
        let reader = std::sync::Arc::clone(&socket);
        readers.push(tokio::spawn(
            async move { read_replies(&reader, QUIET).await.0 },
        ));
        senders.push(socket);
    }
    let to: SocketAddr = world.daemon.addresses().dns();
    let mut sent = 0;
    let mut answered = 0;
    for round in 0..ROUNDS {
        for socket in &senders {
            sent += socket.send_to(&query, to).await.unwrap_or(0);
        }
        if round % 20 == 0 {
            answered += usize::from(other.ask("good.example. A").await == "192.0.2.1");
        }
        tokio::task::yield_now().await;
    }
    let forged = world.client("127.0.66.7");
    assert!(
        forged
            .over_tcp()
            .ask("large.good.example. TXT")
            .await
            .contains("xxx"),
        "an honest client of the network is answered over TCP"
    );
    let limit = limit_of(&world, "network")
        .await
        .expect("a limited network");
    assert_eq!(
        (&limit["name"], &limit["reason"]),
        (&"127.0.66.0/24".into(), &"responses".into())
    );
    let mut received = 0;
    for reader in readers {
        received += reader.await.expect("a reader");
    }
    println!("sent {sent} octets, received {received}");
    assert!(received <= sent, "{received} octets for {sent}");
    // A busy machine may lose a datagram in a full socket buffer.
    let asked = ROUNDS / 20;
    assert!(
        answered * 10 >= asked * 9,
        "{answered} of {asked}: another network is not limited"
    );
    let limited = world.api.metric("ox_protect_queries_limited_total").await;
    assert!(limited > 1_000.0, "{limited} queries were limited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_household_over_its_rate_is_limited_and_no_other() {
    let world = world("queries_per_s = 1\nqueries_burst = 50\nslip = 1\n").await;
    world
        .api
        .household("busy", serde_json::json!({}))
        .await
        .ok();
    for network in ["127.0.66.0%2F25", "127.0.67.0%2F24"] {
        let path = format!("/v1/households/busy/networks/{network}");
        world.api.put(&path, serde_json::json!({})).await.ok();
    }
    let lines = ["127.0.66.1", "127.0.66.2", "127.0.67.1"].map(|line| world.client(line));
    let other = world.client("127.0.7.9");
    let mut answered = 0;
    for number in 0..150 {
        // A truncated reply makes the client of the tests report it.
        let answer = lines[number % 3].ask("good.example. A").await;
        answered += usize::from(answer == "192.0.2.1");
    }
    assert!((50..=100).contains(&answered), "{answered} of 150 answered");
    assert_eq!(other.ask("good.example. A").await, "192.0.2.1");
    let limit = limit_of(&world, "household")
        .await
        .expect("a limited household");
    assert_eq!(
        (&limit["name"], &limit["reason"]),
        (&"busy".into(), &"queries".into())
    );
    let over_tcp = lines[0].over_tcp();
    assert_eq!(over_tcp.ask("good.example. A").await, "192.0.2.1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_of_a_slow_name_do_not_leave_in_one_pulse() {
    const QUERIES: usize = 1_000;
    const BURST: usize = 10;
    /// On a busy machine few queries may wait for a name at the same time.
    const ATTEMPTS: usize = 8;
    let world = world("").await;
    let other = world.client("127.0.7.9");
    assert_eq!(other.ask("good.example. A").await, "192.0.2.1");
    let held = Behaviour::Delays(Duration::from_secs(1));
    world.internet.set_behaviour("good.example.", &held);
    let to = world.daemon.addresses().dns();
    let mut late = 0.0;
    for attempt in 1..=ATTEMPTS {
        let query = other
            .query(&format!("slow{attempt}.good.example. A"))
            .to_vec()
            .expect("a query");
        let socket = std::sync::Arc::new(socket(Ipv4Addr::new(127, 0, 66, 1)).await);
        let reader = std::sync::Arc::clone(&socket);
        let replies = tokio::spawn(async move { read_replies(&reader, QUIET).await.1 });
        let began = Instant::now();
        for _ in 0..QUERIES / BURST {
            for _ in 0..BURST {
                socket.send_to(&query, to).await.expect("sent");
            }
            tokio::time::sleep(Duration::from_millis(6)).await;
        }
        let sent_in = began.elapsed();
        let times = replies.await.expect("a reader");
        let (Some(first), Some(last)) = (times.first(), times.last()) else {
            panic!("no reply");
        };
        let spread = *last - *first;
        println!(
            "{} replies to {QUERIES} queries in {sent_in:?} came in {spread:?}",
            times.len()
        );
        // A pulse of ten milliseconds before; a busy machine makes both longer.
        assert!(
            spread * 10 >= sent_in.min(Duration::from_secs(1)),
            "{} in {spread:?}",
            times.len()
        );
        late = world.api.metric("ox_protect_late_replies_total").await;
        if late > 100.0 {
            return;
        }
    }
    panic!("{late} replies were spread or discarded");
}
