//! One customer cannot hurt another: clients that query for names of dead zones, and floods of
//! names below one zone, beside a client that queries for names that are not cached.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::net::UdpSocket;

use crate::world::{Behaviour, Client, Internet, World};

/// Zones whose servers do not respond.
const DEAD_ZONES: usize = 12;
/// Attackers, each with an address of its own.
const ATTACKERS: u8 = 5;
/// Pause between two queries of one attacker: 100 each second.
const PAUSE: Duration = Duration::from_millis(10);
/// Places for resolutions: fewer than the attack holds at any time.
const PLACES: usize = 200;
/// Queries of the other client, one after the other.
const COLD_NAMES: usize = 150;

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
    to: std::net::SocketAddr,
    from: Ipv4Addr,
    ends: Arc<AtomicBool>,
    name: fn(usize) -> String,
) {
    let socket = UdpSocket::bind((from, 0))
        .await
        .expect("a loopback address");
    let mut number = usize::from(from.octets()[3]) * 1_000_000;
    while !ends.load(Ordering::Relaxed) {
        let query = client.query(&name(number)).to_vec().expect("a query");
        // The kernel may have no room: the query is lost, as on any network.
        let _ = socket.send_to(&query, to).await;
        number += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Starts the attackers; they end with the flag.
fn attack(world: &World, name: fn(usize) -> String) -> Arc<AtomicBool> {
    let ends = Arc::new(AtomicBool::new(false));
    for attacker in 1..=ATTACKERS {
        let client = world.client("127.0.8.9");
        let to = world.daemon.addresses().dns();
        let from = Ipv4Addr::new(127, 0, 66, attacker);
        tokio::spawn(flood(client, to, from, Arc::clone(&ends), name));
    }
    ends
}

/// The answers to cold names that are not the right one.
async fn wrong_answers(client: &Client, round: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for number in 0..COLD_NAMES {
        let answer = client
            .ask(&format!("c{number}.{round}.good.example. A"))
            .await;
        if answer != "192.0.2.1" {
            wrong.push(answer);
        }
    }
    wrong
}

fn in_dead_zone(number: usize) -> String {
    format!("r{number}.dead{}.test. A", number % DEAD_ZONES)
}

async fn world() -> World {
    World::builder(zones())
        .config(&format!(
            "[dns]\nresolutions_max = {PLACES}\nallow_from = [\"127.0.0.0/8\"]\n"
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
    let ends = attack(&world, in_dead_zone);
    // Until all places are taken.
    let full = async {
        while world
            .api
            .metric("ox_protect_resolutions_evicted_total")
            .await
            == 0.0
        {
            let _ = other.ask("n.full.good.example. A").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), full).await;
    let wrong = wrong_answers(&other, "during").await;
    assert!(
        wrong.len() <= COLD_NAMES / 100,
        "{} of {COLD_NAMES} cold names are not answered: {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(3)]
    );
    ends.store(true, Ordering::Relaxed);
}
