//! Servers that lack features or need seconds, and the operator's settings for all answers, as a
//! client sees them.

use std::time::Duration;

use crate::world::{Behaviour, Internet, World, ox_protect};

const NAMES: &str = "marvellous 60 A 192.0.2.1\nwonderful 60 A 192.0.2.2";

#[tokio::test]
async fn authorities_that_understand_less_are_asked_more_plainly() {
    let zone = |kind: &str| (format!("{kind}.example"), NAMES.to_owned());
    let zones = ["small", "bare", "slow"].map(zone);
    let world = World::builder(
        Internet::new().zones(
            zones
                .iter()
                .map(|(apex, records)| (apex.as_str(), records.as_str())),
        ),
    )
    .start()
    .await;
    world
        .internet
        .set_behaviour("small.example.", &Behaviour::DeniesCapitals);
    world
        .internet
        .set_behaviour("bare.example.", &Behaviour::FailsOnOptions);
    world.internet.set_behaviour(
        "slow.example.",
        &Behaviour::Delays(Duration::from_millis(2_200)),
    );
    let home = world.client("127.0.7.9");
    for kind in ["small", "bare", "slow"] {
        assert_eq!(
            home.ask(&format!("marvellous.{kind}.example. A")).await,
            "192.0.2.1",
            "{kind}"
        );
    }
    world.internet.reset_counts();
    for kind in ["small", "bare"] {
        assert_eq!(
            home.ask(&format!("wonderful.{kind}.example. A")).await,
            "192.0.2.2",
            "{kind}"
        );
        let server = world
            .internet
            .servers_of(&format!("{kind}.example."))
            .swap_remove(0);
        assert_eq!(server.counts().queries(), 1, "{kind}: it is remembered");
    }
}

#[tokio::test]
async fn without_cookies_no_authority_sees_an_option() {
    for (config, options) in [("", &[10][..]), ("[recursion]\ncookies = false\n", &[])] {
        let world = World::with_zone("a.example. 60 A 192.0.2.1")
            .config(config)
            .start()
            .await;
        assert_eq!(
            world.client("127.0.7.9").ask("a.example. A").await,
            "192.0.2.1"
        );
        assert!(
            world.internet.counts().edns_options().iter().eq(options),
            "{config:?}"
        );
    }
}

#[tokio::test]
async fn bounds_on_ttls_are_those_of_the_configuration() {
    let zone = "a.example. 604800 A 192.0.2.1\nshort 5 A 192.0.2.2\na.example. 86400 SOA ns.a.example. host.a.example. 1 2 3 4 86400";
    let world = World::with_zone(zone)
        .zone("b.example. 60 A 192.0.2.3\nb.example. 5 SOA ns.b.example. host.b.example. 1 2 3 4 5")
        .config("[recursion]\nttl_min_s = 60\nttl_max_s = 604800\nttl_negative_max_s = 86400\n")
        .start()
        .await;
    let home = world.client("127.0.7.9");
    for (question, ttl_s) in [
        ("a.example. A", 604_800),
        ("short.a.example. A", 60),
        ("none.a.example. A", 86_400),
        ("none.b.example. A", 60),
        ("b.example. MX", 60),
    ] {
        let message = home.reply(question).await.unwrap().message;
        let ttls: Vec<u32> = message
            .answers
            .iter()
            .chain(&message.authorities)
            .map(|record| record.ttl)
            .collect();
        assert!(
            ttls.len() == 1 && (ttl_s - 5..=ttl_s).contains(&ttls[0]),
            "{question}: {ttls:?}"
        );
    }
}

#[tokio::test]
async fn a_public_name_leads_to_no_private_address() {
    let zone = "a.example. 60 A 192.0.2.1\nnas 60 A 192.168.0.1\nalias 60 CNAME nas\nboth 60 A 192.168.0.1\nboth 60 A 192.0.2.2\n\
        https 60 HTTPS 1 . alpn=h2 ipv4hint=192.168.0.1\ngood 60 HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1\nmapped 60 AAAA ::ffff:192.168.0.1\nhome 60 A 192.168.0.2";
    let config = "[recursion]\nprivate_addresses = [\"192.168.0.0/16\"]\nprivate_domains = [\"home.a.example\"]\n";
    let world = World::with_zone(zone).config(config).start().await;
    let client = world.client("127.0.7.9");
    for question in [
        "nas.a.example. A",
        "alias.a.example. A",
        "https.a.example. HTTPS",
        "mapped.a.example. AAAA",
    ] {
        assert_eq!(client.ask(question).await, "NODATA", "{question}");
    }
    assert_eq!(client.ask("both.a.example. A").await, "192.0.2.2");
    assert_eq!(client.ask("home.a.example. A").await, "192.168.0.2");
    assert!(
        client
            .ask("good.a.example. HTTPS")
            .await
            .contains("192.0.2.1")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_names_zone_and_question_of_each_server_that_failed() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    world
        .internet
        .set_behaviour("a.example.", &Behaviour::Refuses);
    let config = world.daemon.config();
    let output = ox_protect(&[
        "resolve",
        "www.a.example",
        "--trace",
        "--config",
        config.to_str().unwrap(),
    ]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains(" ms  "))
        .collect();
    assert!(lines.iter().any(|line| line.contains("Refused")), "{shown}");
    for line in lines
        .iter()
        .filter(|line| !line.contains("is delegated by"))
    {
        assert!(line.contains("): "), "{line}");
    }
    assert!(
        lines
            .iter()
            .any(|line| line.contains("(a.example): www.a.example A: Code(Refused)")),
        "{shown}"
    );
}
