//! Bad input gets a precise error; nothing is lost and nothing fails.

use std::time::Duration;

use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::json;

use crate::world::{Switch::*, World, eventually, seed};

#[tokio::test]
async fn every_good_question_beside_fuzzed_packets_is_answered() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    let client = world.client("127.0.7.9");
    let short_wait = client.with_timeout(Duration::from_secs(5));
    let good = client.query("a.example. A").to_vec().unwrap();
    let mut chance = StdRng::seed_from_u64(seed());
    let socket = std::net::UdpSocket::bind("127.0.7.8:0").unwrap();
    socket.connect(world.daemon.addresses().dns()).unwrap();
    for round in 0..20_000 {
        let packet = match round % 4 {
            0 => {
                let mut random = vec![0; chance.random_range(0..600)];
                chance.fill_bytes(&mut random);
                random
            }
            1 => good[..chance.random_range(0..=good.len())].to_vec(),
            _ => {
                let mut bent = good.clone();
                for _ in 0..chance.random_range(1..6) {
                    let place = chance.random_range(0..bent.len());
                    bent[place] = chance.random();
                }
                bent
            }
        };
        socket.send(&packet).unwrap();
        if round % 1000 == 0 {
            // Like any client it retries if its packet is lost in the full queue of the server.
            let what = format!("an answer after {round} packets");
            eventually(&what, Duration::from_secs(60), async || {
                short_wait.ask("a.example. A").await == "192.0.2.1"
            })
            .await;
        }
    }
    assert_eq!(client.ask("a.example. A").await, "192.0.2.1");
    assert!(world.api.metric("ox_protect_packets_malformed_total").await > 100.0);
    assert_eq!(world.api.metric("ox_protect_panics_total").await, 0.0);
    assert!(world.daemon.exit_status().is_none());
}

#[tokio::test]
async fn malformed_packets_get_the_code_that_says_so() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    let client = world.client("127.0.7.9");
    let not_long = client.with_timeout(Duration::from_millis(400));
    let good = client.query("a.example. A").to_vec().unwrap();
    let bent = |place: usize, octet: u8| {
        let mut packet = good.clone();
        packet[place] = octet;
        packet
    };
    let code = async |packet: Vec<u8>| client.send(&packet).await.map(|reply| reply[3] & 0x0f);
    assert_eq!(code(bent(5, 2)).await, Some(1), "two questions");
    assert_eq!(code(bent(2, 0x28)).await, Some(4), "UPDATE");
    assert_eq!(code(bent(12, 0xc0)).await, Some(1), "a compressed question");
    assert_eq!(
        code(good[..14].to_vec()).await,
        Some(1),
        "a question that ends early"
    );
    assert_eq!(
        not_long.send(&bent(2, 0x80)).await,
        None,
        "an answer is never answered"
    );
    assert_eq!(
        not_long.send(&good[..11]).await,
        None,
        "too short for a header"
    );
    assert_eq!(client.over_tcp().ask("a.example. A").await, "192.0.2.1");
}

#[tokio::test]
async fn tcp_clients_that_stall_or_send_nonsense_delay_no_other_client() {
    use tokio::io::AsyncWriteExt;
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    let mut stalled = Vec::new();
    for octets in [&b""[..], b"\0", b"\0\x40\x12", b"\xff\xff", b"\0\0"] {
        for _ in 0..20 {
            let mut stream = tokio::net::TcpStream::connect(world.daemon.addresses().dns())
                .await
                .unwrap();
            stream.write_all(octets).await.unwrap();
            stalled.push(stream);
        }
    }
    assert_eq!(
        world
            .client("127.0.7.9")
            .over_tcp()
            .ask("a.example. A")
            .await,
        "192.0.2.1"
    );
}

#[tokio::test]
async fn each_kind_of_bad_request_gets_its_code_and_changes_nothing() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .listing("gambling", "a.example")
        .start()
        .await;
    world.household("other", "127.0.8.0/24").await;
    world.toggle("home", "gambling", Block).await;
    let before = world.api.get("/v1/households/home").await.ok().text;
    let cases: [(Method, &str, Option<&str>, u16, &str); 13] = [
        (
            Method::PUT,
            "/v1/households/home/categories/gambling",
            Some("{\"state\":"),
            400,
            "json",
        ),
        (
            Method::PUT,
            "/v1/households/home/categories/gambling",
            Some("{\"state\":\"maybe\"}"),
            422,
            "body",
        ),
        (
            Method::PUT,
            "/v1/households/home/categories/gambling",
            Some("{\"state\":\"allow\",\"until\":1}"),
            422,
            "body",
        ),
        (
            Method::PUT,
            "/v1/households/home/categories/gamblign",
            Some("{\"state\":\"allow\"}"),
            404,
            "unknown_category",
        ),
        (
            Method::PUT,
            "/v1/households/nobody/categories/gambling",
            Some("{\"state\":\"allow\"}"),
            404,
            "unknown_household",
        ),
        (
            Method::PUT,
            "/v1/households/home/networks/127.0.8.0%2F24",
            None,
            409,
            "network_taken",
        ),
        (
            Method::PUT,
            "/v1/households/home/networks/127.0.8.1%2F24",
            None,
            422,
            "cidr",
        ),
        (
            Method::PUT,
            "/v1/households/home/networks/nowhere",
            None,
            422,
            "cidr",
        ),
        (
            Method::PUT,
            "/v1/households/home",
            Some("{\"time_zone\":\"Mars/Base\"}"),
            422,
            "time_zone",
        ),
        (
            Method::PUT,
            "/v1/households/home",
            Some("{\"colour\":1}"),
            422,
            "body",
        ),
        (
            Method::PUT,
            "/v1/households/home/devices/tv",
            Some("{\"identifiers\":[{\"mac\":\"zz\"}]}"),
            422,
            "body",
        ),
        (
            Method::PUT,
            "/v1/households/home/names/not%20a%20name",
            Some("{\"state\":\"block\"}"),
            422,
            "name",
        ),
        (Method::GET, "/v1/nothing", None, 404, "unknown_route"),
    ];
    for (method, path, body, status, code) in cases {
        let answer = world
            .api
            .request(method.clone(), path, body.map(str::to_owned))
            .await;
        assert_eq!(
            (answer.status, answer.problem()),
            (status, code),
            "{method} {path}: {}",
            answer.text
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{method} {path}"
        );
    }
    for key in ["", "ox_wrong"] {
        assert_eq!(
            world
                .api
                .with_key(key)
                .get("/v1/households/home")
                .await
                .status,
            401
        );
    }
    let stale = world
        .api
        .with_header("if-match", "\"1\"")
        .put(
            "/v1/households/home/categories/gambling",
            json!({ "state": "allow" }),
        )
        .await;
    assert_eq!((stale.status, stale.problem()), (412, "version_mismatch"));
    assert_eq!(
        world.api.get("/v1/households/home").await.ok().text,
        before,
        "nothing half-applies"
    );
    assert_eq!(
        world.client("127.0.7.9").ask("a.example. A").await,
        "blocked: gambling"
    );
}
