//! Tests of the simulated Internet itself. Without them a passing test of the program would mean
//! nothing.
//!
//! A bare client plays the resolver here: it sends queries like a resolver, and every step is
//! checked.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::ResponseCode,
    rr::{RData, RecordType},
};

use serde_json::json;

use crate::world::{Authority, Behaviour, Client, Internet, Reply, World, client, eventually};

mod faults;

/// How long a test waits for something that must not arrive.
const LONG_ENOUGH: Duration = Duration::from_millis(700);
/// How long a test waits where some answers must arrive and others must not: far longer than
/// loopback needs, even on a busy machine.
const COMES_OR_NOT: Duration = Duration::from_secs(10);

/// A zone with several kinds of records.
const BETS: &str = "
    @     60 A     192.0.2.7
    www   60 CNAME @
    mail  60 MX    10 post.elsewhere.test.
    *.any 60 A     192.0.2.8
    deep.below.here 60 TXT \"found me\"
";

fn internet() -> Internet {
    Internet::new().zone("bets.example.", BETS)
}

/// A resolver's connection to one server.
fn resolver(server: &Authority) -> Client {
    client("127.0.0.53").to(server.address()).iterative()
}

/// Whether a response is a referral as a real server sends it.
fn is_referral(reply: &Reply) -> bool {
    let name_servers_only = reply
        .message
        .authorities
        .iter()
        .all(|record| record.record_type() == RecordType::NS);
    !reply.is_authoritative()
        && reply.code() == ResponseCode::NoError
        && reply.message.answers.is_empty()
        && !reply.message.authorities.is_empty()
        && name_servers_only
}

#[tokio::test]
async fn a_question_is_followed_from_the_root_by_referrals_and_glue() {
    let internet = internet();
    let mut server = internet.root().address();
    let mut path = Vec::new();
    let answer = loop {
        let reply = client("127.0.0.53")
            .to(server)
            .iterative()
            .reply("www.bets.example. A")
            .await
            .unwrap();
        if !is_referral(&reply) {
            break reply;
        }
        path.extend(reply.authority_lines());
        let glue = reply
            .message
            .additionals
            .iter()
            .find_map(|record| match record.data {
                RData::A(address) => Some(address.0),
                _ => None,
            });
        server = (
            glue.expect("the server below the cut has glue"),
            internet.port(),
        )
            .into();
    };
    assert_eq!(
        path,
        [
            "example. NS a.nic.example.",
            "bets.example. NS ns1.bets.example."
        ]
    );
    assert!(answer.is_authoritative());
    assert_eq!(
        answer.answer_lines(),
        [
            "www.bets.example. CNAME bets.example.",
            "bets.example. A 192.0.2.7"
        ]
    );
    assert_eq!(answer.to_string(), "192.0.2.7");
}

#[tokio::test]
async fn a_zone_denies_missing_names_with_a_negative_ttl() {
    let internet = internet();
    let zone = resolver(&internet.server("ns1.bets.example."));
    for (question, expected) in [
        ("bets.example. A", "192.0.2.7"),
        ("bets.example. AAAA", "NODATA"),
        ("below.here.bets.example. A", "NODATA"),
        ("nothing.bets.example. A", "NXDOMAIN"),
        ("x.any.bets.example. A", "192.0.2.8"),
        ("mail.bets.example. MX", "10 post.elsewhere.test."),
        ("deep.below.here.bets.example. TXT", "found me"),
        ("other.example. A", "REFUSED"),
    ] {
        assert_eq!(zone.ask(question).await, expected, "{question}");
    }
    let absent = zone.reply("nothing.bets.example. A").await.unwrap();
    let RData::SOA(soa) = &absent.message.authorities[0].data else {
        panic!("{absent:?}")
    };
    assert_eq!((soa.minimum, absent.is_authoritative()), (60, true));
}

#[tokio::test]
async fn a_parent_zone_refers_ns_queries_too() {
    let internet = internet();
    let top_level = resolver(&internet.server("a.nic.example."));
    let reply = top_level.reply("bets.example. NS").await.unwrap();
    assert!(is_referral(&reply), "{reply:?}");
    assert!(
        top_level
            .reply("bets.example. DS")
            .await
            .unwrap()
            .is_authoritative(),
        "DS is the parent's own"
    );
}

#[tokio::test]
async fn a_server_named_elsewhere_has_no_glue_and_is_found_in_its_own_zone() {
    let internet = internet().zone("host.test.", "").zone_served_by(
        "news.example.",
        &["ns.host.test."],
        "@ A 192.0.2.9",
    );
    let referral = resolver(&internet.server("a.nic.example."))
        .reply("news.example. A")
        .await
        .unwrap();
    assert_eq!(
        referral.authority_lines(),
        ["news.example. NS ns.host.test."]
    );
    assert!(referral.additional_lines().is_empty());
    let server = internet.server("ns.host.test.");
    let address = resolver(&internet.server("ns1.host.test."))
        .ask("ns.host.test. A")
        .await;
    assert_eq!(address, server.address().ip().to_string());
    assert_eq!(resolver(&server).ask("news.example. A").await, "192.0.2.9");
}

#[tokio::test]
async fn a_zone_with_two_servers_is_answered_by_either() {
    let internet = Internet::new().zone_served_by(
        "two.example.",
        &["ns1.two.example.", "ns2.two.example."],
        "@ A 192.0.2.2",
    );
    let servers = internet.servers_of("two.example.");
    assert_ne!(servers[0].address().ip(), servers[1].address().ip());
    servers[0].set_behaviour(Behaviour::Silent);
    assert_eq!(
        resolver(&servers[0])
            .with_timeout(LONG_ENOUGH)
            .ask("two.example. A")
            .await,
        "silence"
    );
    assert_eq!(
        resolver(&servers[1]).ask("two.example. A").await,
        "192.0.2.2"
    );
    let glue = resolver(&internet.server("a.nic.example."))
        .reply("two.example. A")
        .await
        .unwrap();
    assert_eq!(glue.additional_lines().len(), 2);
}

#[tokio::test]
async fn new_records_are_answered_from_the_next_query_on() {
    let internet = internet();
    let zone = resolver(&internet.server("ns1.bets.example."));
    assert_eq!(zone.ask("bets.example. A").await, "192.0.2.7");
    internet.replace("bets.example.", "@ 60 A 198.51.100.1");
    assert_eq!(zone.ask("bets.example. A").await, "198.51.100.1");
    assert_eq!(zone.ask("www.bets.example. A").await, "NXDOMAIN");
}

#[tokio::test]
async fn records_of_a_test_override_generated_ones() {
    let internet = internet().zone("example.", "bets NS ns.wrong.test.");
    let referral = resolver(&internet.server("a.nic.example."))
        .reply("bets.example. A")
        .await
        .unwrap();
    assert_eq!(
        referral.authority_lines(),
        ["bets.example. NS ns.wrong.test."]
    );
}

#[tokio::test]
async fn queries_are_counted_by_name_and_type_and_server() {
    let internet = internet();
    let root = internet.root();
    let zone = internet.server("ns1.bets.example.");
    for _ in 0..3 {
        resolver(&zone).ask("bets.example. A").await;
    }
    resolver(&root)
        .over_tcp()
        .with_mac("02:00:00:00:00:07")
        .ask("BETS.example. A")
        .await;
    assert_eq!(internet.asked("bets.example.", RecordType::A), 4);
    assert_eq!(internet.asked("bets.example.", RecordType::AAAA), 0);
    assert_eq!((zone.counts().over_udp(), root.counts().over_tcp()), (3, 1));
    assert!(root.counts().edns_options().contains(&65_001));
    assert!(zone.counts().edns_options().is_empty());
    internet.reset_counts();
    assert_eq!(internet.counts().queries(), 0);
}

#[tokio::test]
async fn one_root_server_can_stand_for_an_internet_in_which_every_name_exists() {
    let internet = Internet::new();
    internet
        .root()
        .set_behaviour(Behaviour::AnswersEverything(Ipv4Addr::new(192, 0, 2, 1)));
    let root = resolver(&internet.root());
    assert_eq!(root.ask("any.name.whatever. A").await, "192.0.2.1");
    assert_eq!(root.ask("any.name.whatever. NS").await, "NODATA");
}

#[tokio::test]
async fn root_hints_name_every_root_server_with_its_address() {
    let internet =
        Internet::new().zone_served_by(".", &["a.root-servers.net.", "b.root-servers.net."], "");
    let addresses: Vec<String> = internet
        .servers_of(".")
        .iter()
        .map(|server| server.address().ip().to_string())
        .collect();
    let hints = internet.root_hints();
    let words: Vec<Vec<&str>> = hints
        .lines()
        .map(|client| client.split_whitespace().collect())
        .collect();
    assert_eq!(words[2], [".", "3600000", "NS", "b.root-servers.net."]);
    assert_eq!(
        words[3],
        ["b.root-servers.net.", "3600000", "A", &addresses[1]]
    );
    let priming = resolver(&internet.root()).reply(". NS").await.unwrap();
    assert_eq!(
        (
            priming.message.answers.len(),
            priming.message.additionals.len()
        ),
        (2, 2)
    );
}

#[tokio::test]
async fn an_internet_that_ends_frees_its_addresses() {
    let internet = internet();
    let address = internet.root().address();
    drop(internet);
    eventually(
        "the root's port is free again",
        Duration::from_secs(5),
        async || {
            std::net::UdpSocket::bind(address).is_ok()
                && std::net::TcpListener::bind(address).is_ok()
        },
    )
    .await;
}

#[tokio::test]
async fn a_server_can_have_several_names_and_a_delegation_can_be_taken_back() {
    let internet = internet();
    internet.alias("ns.other.example.", "ns1.bets.example.");
    let internet =
        internet.zone_served_by("other.example.", &["ns.other.example."], "@ 60 A 192.0.2.3");
    let server = internet.server("ns.other.example.");
    let parent = internet.server("a.nic.example.");
    assert_eq!(
        server.address(),
        internet.server("ns1.bets.example.").address()
    );
    assert_eq!(resolver(&server).ask("other.example. A").await, "192.0.2.3");
    assert_eq!(resolver(&server).ask("bets.example. A").await, "192.0.2.7");
    let glue = resolver(&parent)
        .reply("other.example. A")
        .await
        .unwrap()
        .additional_lines();
    assert_eq!(
        glue,
        [format!("ns.other.example. A {}", server.address().ip())]
    );
    internet.revoke("other.example.");
    assert_eq!(resolver(&parent).ask("other.example. A").await, "NXDOMAIN");
    assert_eq!(resolver(&server).ask("other.example. A").await, "192.0.2.3");
}

#[tokio::test]
async fn ports_ids_and_letters_of_queries_are_noted() {
    let internet = internet();
    let zone = internet.server("ns1.bets.example.");
    for _ in 0..20 {
        resolver(&zone).ask("BETS.example. A").await;
    }
    let tally = zone.counts();
    assert!(tally.ports().len() > 15 && tally.ids().len() > 15);
    assert!((tally.capitals() - 4.0 / 11.0).abs() < 1e-9);
    assert_eq!(tally.queries_below(&"example.".parse().unwrap()), 20);
}

#[tokio::test]
async fn a_daemon_sees_its_worlds_clock_or_else_the_machines() {
    let written = async |world: &World| -> jiff::Timestamp {
        let mandate = json!({ "name": "a.example", "basis": "iwf" });
        world.api.mandate("a", mandate).await.ok().json["updated_at"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    };
    let is_near = |seen: jiff::Timestamp, time: jiff::Timestamp| {
        seen.duration_since(time).abs() < jiff::SignedDuration::from_secs(60)
    };
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .clock("2030-01-01 12:00:00")
        .start()
        .await;
    let begun = Instant::now();
    assert!(
        is_near(written(&world).await, world.clock().now())
            && world
                .clock()
                .now()
                .to_string()
                .starts_with("2030-01-01T12:0")
    );
    world.clock().set("2019-12-31 23:59:59");
    world.clock().advance(Duration::from_secs(86_400));
    assert!(is_near(
        written(&world).await,
        "2020-01-01T23:59:59Z".parse().unwrap()
    ));
    world.daemon.restart().await;
    let passed = jiff::SignedDuration::try_from(begun.elapsed()).unwrap();
    assert!(
        is_near(
            written(&world).await,
            "2020-01-01T23:59:59Z".parse::<jiff::Timestamp>().unwrap() + passed
        ),
        "it goes on over a restart"
    );
    let plain = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    assert!(is_near(written(&plain).await, jiff::Timestamp::now()));
}
