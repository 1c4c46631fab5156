//! Response policy zones from real primaries in the running daemon: announced by NOTIFY, live at
//! once, with every action visible on the wire.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;

use crate::world::{Client, KEY, Kind, Primary, SECRET, World, ZONE, Zone, eventually, row};

/// Long for a change announced by NOTIFY, short beside the hour between polls without one.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest wait of a client whose query is dropped.
const SILENCE: Duration = Duration::from_millis(400);

fn rules() -> BTreeSet<String> {
    [
        row("nxdomain.site.example", "CNAME", "."),
        row("*.nxdomain.site.example", "CNAME", "."),
        row("nodata.site.example", "CNAME", "*."),
        row("drop.site.example", "CNAME", "rpz-drop."),
        row("tcp-only.site.example", "CNAME", "rpz-tcp-only."),
        row("local.site.example", "A", "192.0.2.80"),
        row("local.site.example", "TXT", "\"why it is so\""),
        row("alias.site.example", "CNAME", "garden.site.example."),
        row("*.below.site.example", "CNAME", "."),
        row("passed.below.site.example", "CNAME", "rpz-passthru."),
        row("32.66.2.0.192.rpz-ip", "CNAME", "."),
        row("32.67.2.0.192.rpz-ip", "A", "192.0.2.81"),
    ]
    .into()
}

const SITE: &str = "site.example. 60 A 192.0.2.7
    *        60 A 192.0.2.7
    garden   60 A 192.0.2.8
    a.below  60 A 192.0.2.7
    below    60 A 192.0.2.7
    passed.below 60 A 192.0.2.7
    evil     60 A 192.0.2.66
    moved    60 A 192.0.2.67";

/// The answers of a home, and the differences that only the packets show.
async fn every_action_is_on_the_wire(home: &Client) {
    let code = async |question: &str| home.reply(question).await.unwrap().code().to_string();
    let blocked = async |question: &str| {
        let answer = home.ask(question).await;
        assert!(answer.starts_with("blocked: "), "{question}: {answer}");
        code(question).await
    };
    let nxdomain = "Non-Existent Domain";
    assert_eq!(blocked("nxdomain.site.example. A").await, nxdomain);
    assert_eq!(blocked("x.nxdomain.site.example. AAAA").await, nxdomain);
    let nodata = home.reply("nodata.site.example. A").await.unwrap();
    assert_eq!(
        (nodata.code().to_string().as_str(), nodata.answer_lines()),
        ("No Error", Vec::new())
    );
    assert_eq!(
        home.with_timeout(SILENCE).ask("drop.site.example. A").await,
        "silence"
    );
    let truncated = home.reply("tcp-only.site.example. A").await.unwrap();
    assert!(
        truncated.is_truncated() && truncated.answer_lines().is_empty(),
        "{truncated:?}"
    );
    assert_eq!(
        home.over_tcp().ask("tcp-only.site.example. A").await,
        "192.0.2.7"
    );
    let lines = async |question: &str| home.reply(question).await.unwrap().answer_lines();
    assert_eq!(
        lines("local.site.example. A").await,
        ["local.site.example. A 192.0.2.80"]
    );
    assert_eq!(
        lines("local.site.example. TXT").await,
        ["local.site.example. TXT why it is so"]
    );
    assert!(lines("local.site.example. AAAA").await.is_empty());
    assert_eq!(
        lines("alias.site.example. A").await[0],
        "alias.site.example. CNAME garden.site.example."
    );
    assert_eq!(blocked("a.below.site.example. A").await, nxdomain);
    assert_eq!(home.ask("below.site.example. A").await, "192.0.2.7");
    assert_eq!(home.ask("passed.below.site.example. A").await, "192.0.2.7");
    assert_eq!(blocked("evil.site.example. A").await, nxdomain);
    assert_eq!(
        lines("moved.site.example. A").await,
        ["moved.site.example. A 192.0.2.81"]
    );
    assert_eq!(home.ask("free.site.example. A").await, "192.0.2.7");
}

async fn a_zone_is_followed_by_notify(kind: Kind) {
    let world = World::with_zone(SITE)
        .config("[dns]\nworkers = 1\n[lists]\napi_allow_private = true\n")
        .start()
        .await;
    let home = world.client("127.0.7.9");
    let port = world.daemon.addresses().dns().port();
    let zone = Zone {
        serial: 7,
        rows: rules(),
    };
    let mut primary = tokio::task::block_in_place(|| Primary::telling(port, kind, zone));
    let definition = json!({
        "name": "zone",
        "source": format!("rpz://127.0.0.1:{}/{ZONE}", primary.port),
        "format": "rpz",
        "tier": "mandatory",
        "allow_private": true,
        // Only NOTIFY can be in time.
        "interval_s": 3600,
        "tsig": { "name": KEY, "algorithm": "hmac-sha256", "secret": SECRET },
    });
    world.api.post("/v1/feeds", definition).await.ok();
    eventually("the zone is live", TIMEOUT, async || {
        home.ask("nxdomain.site.example. A")
            .await
            .starts_with("blocked: ")
    })
    .await;
    every_action_is_on_the_wire(&home).await;

    let mut took = Vec::new();
    for number in 0..5 {
        let (new, old) = (
            format!("new{number}.site.example"),
            format!("new{}.site.example", number - 1),
        );
        assert_eq!(
            home.ask(&format!("{new}. A")).await,
            "192.0.2.7",
            "in the cache from now on"
        );
        let gone = if number > 0 {
            vec![row(&old, "CNAME", ".")]
        } else {
            Vec::new()
        };
        tokio::task::block_in_place(|| primary.change(&gone, &[row(&new, "CNAME", ".")]));
        let is_live = async || {
            home.ask(&format!("{new}. A"))
                .await
                .starts_with("blocked: ")
        };
        took.push(eventually("the rule is live", TIMEOUT, is_live).await);
        if number > 0 {
            assert_eq!(
                home.ask(&format!("{old}. A")).await,
                "192.0.2.7",
                "what is no rule any more is free"
            );
        }
    }
    println!("{kind:?}: from the update at the primary to the verdict: {took:?}");
    let feed = world.api.get("/v1/feeds/zone").await.ok().json;
    assert_eq!(feed["version"], primary.zone.serial.to_string(), "{feed:#}");
    assert!(feed["alarm"].is_null(), "{feed:#}");
    assert!(!feed.to_string().contains(SECRET), "{feed:#}");
    world.daemon.restart().await;
    assert!(
        home.ask("new4.site.example. A")
            .await
            .starts_with("blocked: ")
    );
    every_action_is_on_the_wire(&home).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_of_bind_is_live_by_notify_and_every_action_is_on_the_wire() {
    a_zone_is_followed_by_notify(Kind::Bind).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_of_knot_is_live_by_notify_and_every_action_is_on_the_wire() {
    a_zone_is_followed_by_notify(Kind::Knot).await;
}
