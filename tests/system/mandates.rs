//! Mandates: no subscriber can lift them, and they begin and end by the clock.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::world::{Client, Feed, Reply, Switch::*, World, eventually};

mod operator;

/// The longest delay of a mandate's beginning and end.
const TIMEOUT: Duration = Duration::from_secs(60);

/// `16 192.0.2.80 court-order`: code and text of the reason, with the answer between them.
fn in_words(reply: &Reply) -> String {
    let errors = reply.extended_errors();
    let asked = reply.message.queries[0].query_type;
    let data: Vec<String> = reply
        .message
        .answers
        .iter()
        .filter(|record| record.record_type() == asked)
        .map(|record| record.data.to_string())
        .collect();
    let answer = if data.is_empty() {
        format!("{:?}", reply.code())
    } else {
        data.join(" ")
    };
    match &errors[..] {
        [] => answer,
        [error] => format!("{} {answer} {}", error.code, error.text)
            .trim_end()
            .to_owned(),
        several => panic!("one reason: {several:?}"),
    }
}

async fn ask(client: &Client, question: &str) -> String {
    in_words(&client.reply(question).await.unwrap())
}

#[tokio::test]
async fn a_mandate_blocks_whatever_a_household_chooses() {
    let world = World::with_zone("ordered.example. 60 A 192.0.2.7\nwww 60 A 192.0.2.8")
        .start()
        .await;
    world
        .api
        .household("home", json!({ "filtering": "off" }))
        .await
        .ok();
    world
        .device("home", "phone", ("address", "127.0.7.9"))
        .await;
    let home = world.client("127.0.7.9");
    assert_eq!(ask(&home, "www.ordered.example. A").await, "192.0.2.8");
    let mandate = json!({ "name": "ordered.example", "basis": "court-order", "landing": { "v4": "192.0.2.80", "v6": "2001:db8::80" } });
    assert_eq!(
        world.api.mandate("hc-2030-1", mandate).await.ok().status,
        201
    );
    for question in [
        "ordered.example. A",
        "www.ordered.example. A",
        "a.b.ordered.example. A",
    ] {
        assert_eq!(
            ask(&home, question).await,
            "16 192.0.2.80 court-order",
            "{question}"
        );
        assert_eq!(
            ask(&home.over_tcp(), question).await,
            "16 192.0.2.80 court-order",
            "{question} over TCP"
        );
    }
    assert_eq!(
        ask(&home, "ordered.example. AAAA").await,
        "16 2001:db8::80 court-order"
    );
    for question in ["ordered.example. HTTPS", "ordered.example. MX"] {
        assert_eq!(
            ask(&home, question).await,
            "16 NoError court-order",
            "{question}: a landing has nothing else"
        );
    }
    assert_eq!(
        ask(&world.client("127.0.9.9"), "ordered.example. A").await,
        "16 192.0.2.80 court-order",
        "a client outside all households"
    );
    let before = world.api.get("/v1/households/home").await.ok().text;
    let of_household = world
        .api
        .own_name("home", "www.ordered.example", "exact", Allow)
        .await;
    let of_device = world
        .api
        .own_name_of_device("home", "phone", "ordered.example", "subtree", Allow)
        .await;
    for refused in [of_household, of_device] {
        assert_eq!(
            (refused.status, refused.problem()),
            (409, "mandatory"),
            "{}",
            refused.text
        );
    }
    assert_eq!(
        world.api.get("/v1/households/home").await.ok().text,
        before,
        "nothing is stored"
    );
    world.own_name("home", "ordered.example", Block).await;
    assert_eq!(
        ask(&home, "ordered.example. A").await,
        "16 192.0.2.80 court-order"
    );
    let explained = world
        .api
        .explain("www.ordered.example", "home")
        .await
        .ok()
        .json;
    assert_eq!(
        (
            &explained["layer"],
            &explained["entry"],
            &explained["scope"]
        ),
        (
            &json!("mandatory"),
            &json!("ordered.example"),
            &json!("subtree")
        )
    );
    let expected = json!({ "id": "hc-2030-1", "basis": "court-order", "reference": null, "confidential": false });
    assert_eq!(
        (&explained["mandate"], &explained["answer"]["ede"]["code"]),
        (&expected, &json!(16))
    );
    world.api.delete("/v1/mandates/hc-2030-1").await.ok();
    world
        .api
        .household("home", json!({ "filtering": "on" }))
        .await
        .ok();
    world.own_name("home", "ordered.example", Inherit).await;
    assert_eq!(ask(&home, "www.ordered.example. A").await, "192.0.2.8");
    world.own_name("home", "ordered.example", Allow).await;
}

/// Queries until the answer changes; returns the daemon's time at that moment.
async fn change_of(world: &World, question: &str, from: &str) -> Timestamp {
    let home = world.client("127.0.7.9");
    eventually(question, TIMEOUT, async || {
        ask(&home, question).await != from
    })
    .await;
    world.clock().now()
}

/// Never before its time. The delay after it is printed and not judged, because the machine may be
/// busy.
fn is_not_before(moment: Timestamp, time: &str) -> bool {
    let late = moment.duration_since(time.parse().unwrap());
    println!("{late:?} late");
    late >= jiff::SignedDuration::ZERO
}

#[tokio::test]
async fn a_mandate_begins_and_ends_by_the_clock_also_across_a_restart() {
    let world = World::with_zone("match.example. 60 A 192.0.2.7")
        .clock("2030-06-01 14:30:00")
        .start()
        .await;
    let home = world.client("127.0.7.9");
    let mandate = json!({ "name": "match.example", "basis": "court-order", "not_before": "2030-06-01T14:45:00Z", "not_after": "2030-06-01T17:15:00Z" });
    assert_eq!(
        world.api.mandate("match-day", mandate).await.ok().json["state"],
        "pending"
    );
    assert_eq!(ask(&home, "match.example. A").await, "192.0.2.7");
    world.clock().set("2030-06-01 14:44:59");
    let began = change_of(&world, "match.example. A", "192.0.2.7").await;
    assert!(is_not_before(began, "2030-06-01T14:45:00Z"), "{began}");
    assert_eq!(
        ask(&home, "match.example. A").await,
        "16 NXDomain court-order"
    );
    assert_eq!(
        world.api.get("/v1/mandates/match-day").await.ok().json["state"],
        "active"
    );
    // A crash inside the window: the first answer afterwards obeys the mandate.
    world.daemon.restart().await;
    assert_eq!(
        ask(&home, "match.example. A").await,
        "16 NXDomain court-order"
    );
    world.clock().set("2030-06-01 17:00:00");
    assert_eq!(
        ask(&home, "match.example. A").await,
        "16 NXDomain court-order"
    );
    world.clock().set("2030-06-01 17:14:59");
    let ended = change_of(&world, "match.example. A", "16 NXDomain court-order").await;
    assert!(is_not_before(ended, "2030-06-01T17:15:00Z"), "{ended}");
    assert_eq!(
        world.api.get("/v1/mandates/match-day").await.ok().json["state"],
        "expired"
    );
    // The daemon detects a clock that is corrected in either direction, and mandates whose time
    // passed while it was down.
    for (time, answer) in [
        ("2030-06-01 16:00:00", "16 NXDomain court-order"),
        ("2030-06-01 11:00:00", "192.0.2.7"),
    ] {
        world.clock().set(time);
        let took = eventually(time, TIMEOUT, async || {
            ask(&home, "match.example. A").await == answer
        })
        .await;
        println!("{time}: {took:?}");
    }
    world.daemon.kill();
    world.clock().set("2030-06-01 17:00:00");
    world.daemon.restart().await;
    assert_eq!(
        ask(&home, "match.example. A").await,
        "16 NXDomain court-order"
    );
    world.daemon.kill();
    world.clock().advance(Duration::from_secs(15 * 60));
    world.daemon.restart().await;
    assert_eq!(ask(&home, "match.example. A").await, "192.0.2.7");
}

#[tokio::test]
async fn a_mandate_of_addresses_blocks_what_leads_to_them_and_nothing_else() {
    let zone = "a.example. 60 A 203.0.113.7\na.example. 60 AAAA 2001:db8:7::7\nsafe 60 A 203.0.114.1\nwww 60 CNAME a.example.";
    let world = World::with_zone(zone)
        .zone("b.example. 60 A 203.0.113.200\nb.example. 60 HTTPS 1 . ipv4hint=203.0.113.200")
        .start()
        .await;
    let home = world.client("127.0.7.9");
    assert_eq!(ask(&home, "a.example. A").await, "203.0.113.7");
    world
        .api
        .mandate(
            "net",
            json!({ "address": "203.0.113.0/24", "basis": "sanctions", "reference": "S 1" }),
        )
        .await
        .ok();
    for question in [
        "a.example. A",
        "www.a.example. A",
        "b.example. A",
        "b.example. HTTPS",
    ] {
        assert_eq!(
            ask(&home, question).await,
            "16 NXDomain sanctions",
            "{question}"
        );
    }
    for (question, answer) in [
        ("safe.a.example. A", "203.0.114.1"),
        ("a.example. AAAA", "2001:db8:7::7"),
    ] {
        assert_eq!(ask(&home, question).await, answer, "{question}");
    }
    world.own_name("home", "a.example", Allow).await;
    assert_eq!(
        ask(&home, "a.example. A").await,
        "16 NXDomain sanctions",
        "an allow of the name does not lift it"
    );
    let explained = world.api.explain("a.example", "home").await.ok().json;
    assert_eq!(
        (&explained["hop"]["name"], &explained["entry"]),
        (&json!("203.0.113.7"), &json!("203.0.113.0/24")),
        "{explained}"
    );
    assert_eq!(
        (
            &explained["mandate"]["id"],
            &explained["mandate"]["reference"]
        ),
        (&json!("net"), &json!("S 1"))
    );
    world
        .api
        .mandate(
            "net",
            json!({ "address": "203.0.113.200", "basis": "sanctions" }),
        )
        .await
        .ok();
    assert_eq!(ask(&home, "a.example. A").await, "203.0.113.7");
    assert_eq!(ask(&home, "b.example. A").await, "16 NXDomain sanctions");
}

#[tokio::test]
async fn help_lines_earlier_allows_and_new_lists_lift_no_mandate() {
    let world = World::with_zone("help.example. 60 A 192.0.2.7\nvia 60 CNAME ordered.example.")
        .zone("ordered.example. 60 A 192.0.2.8")
        .feed(
            Feed::new("health")
                .tier("never-block")
                .names("help.example"),
        )
        .listing("gambling", "bets.example")
        .start()
        .await;
    world.own_name("home", "ordered.example", Allow).await;
    world.own_name("home", "via.help.example", Allow).await;
    let home = world.client("127.0.7.9");
    assert_eq!(ask(&home, "via.help.example. A").await, "192.0.2.8");
    world
        .api
        .mandate(
            "a",
            json!({ "name": "help.example", "scope": "exact", "basis": "regulator" }),
        )
        .await
        .ok();
    world
        .api
        .mandate("b", json!({ "name": "ordered.example", "basis": "iwf" }))
        .await
        .ok();
    let holds = async || {
        assert_eq!(ask(&home, "help.example. A").await, "16 NXDomain regulator");
        assert_eq!(ask(&home, "ordered.example. A").await, "16 NXDomain iwf");
        assert_eq!(
            ask(&home, "via.help.example. A").await,
            "16 NXDomain iwf",
            "an allow covers its chain, except for a mandate"
        );
    };
    holds().await;
    world.toggle("home", "gambling", Block).await;
    world.replace_feed("gambling", "bets.example more.example");
    eventually(
        "the new list is live",
        Duration::from_secs(30),
        async || ask(&home, "more.example. A").await.contains("gambling"),
    )
    .await;
    holds().await;
    world.daemon.restart().await;
    holds().await;
}
