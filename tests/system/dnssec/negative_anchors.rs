//! Negative trust anchors over REST: live when their write is answered, for cached answers too, and
//! over by themselves.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::*;
use crate::world::ox_protect;

const WRONG: &str = "/v1/negative-trust-anchors/wrong.example";
/// A name in the broken zone, and an alias of a sound zone that leads to it.
const BROKEN: [&str; 2] = ["a.wrong.example. A", "bad.ok.example. A"];
/// So many clients reach each worker, and fill its own cache.
const CLIENTS: usize = 16;

fn after(seconds: i64) -> serde_json::Value {
    let until = Timestamp::now() + SignedDuration::from_secs(seconds);
    json!({"until": until, "reason": "its DS is of another key"})
}

/// Requires that all clients see the broken names like this.
async fn all_see(world: &World, answer: &str, code: u16) {
    for number in 0..CLIENTS {
        let home = world.client("127.0.7.9").with_dnssec();
        for question in BROKEN {
            assert_eq!(
                seen(&home, question).await,
                (answer.to_owned(), false, Some(code)),
                "{question}, client {number}"
            );
        }
    }
}

/// What the command `resolve` prints, which has no caches.
fn resolved(world: &World, name: &str) -> String {
    let config = world.daemon.config();
    let config = config.to_str().expect("a plain path");
    let output = ox_protect(&["resolve", name, "--config", config]);
    String::from_utf8(output.stdout).expect("the command prints text")
}

#[tokio::test]
async fn an_anchor_heals_at_once_survives_and_its_deletion_restores() {
    let (_signed, world) = signed_world("").await;
    let world = world.start().await;
    let home = world.client("127.0.7.9").with_dnssec();
    let sound = ("192.0.2.10".to_owned(), true, None);
    let in_force = async || {
        let of = [("source", "api")];
        let metric = "ox_protect_negative_trust_anchors";
        world.api.metric_of(metric, &of).await
    };
    all_see(&world, "SERVFAIL", 6).await;
    assert!(resolved(&world, "a.wrong.example").starts_with("SERVFAIL (EDE 6)"));
    let made = world.api.put(WRONG, after(3_600)).await.ok();
    assert_eq!((made.status, in_force().await), (201, 1.0));
    all_see(&world, "192.0.2.99", 33).await;
    // The command knows the anchors of the store.
    let said = resolved(&world, "a.wrong.example");
    assert!(said.contains("192.0.2.99"), "{said}");
    // From the cache it is the same, without a query to a server.
    let queries = async || world.api.metric("ox_protect_upstream_queries_total").await;
    let before = queries().await;
    all_see(&world, "192.0.2.99", 33).await;
    assert_eq!(queries().await, before);
    assert_eq!(seen(&home, "a.ok.example. A").await, sound);
    world.daemon.restart().await;
    assert_eq!(in_force().await, 1.0);
    all_see(&world, "192.0.2.99", 33).await;
    world.api.delete(WRONG).await.ok();
    all_see(&world, "SERVFAIL", 6).await;
    assert_eq!(in_force().await, 0.0);
    assert_eq!(seen(&home, "a.ok.example. A").await, sound);
    let subject = "/v1/audit?subject=negative_trust_anchor:wrong.example";
    let rows = world.api.get(subject).await.ok().json["records"].clone();
    let actions: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["create", "delete"]);
}

#[tokio::test]
async fn an_anchor_ends_by_itself_and_validation_is_back() {
    let (_signed, world) = signed_world("nta_days_max = 1\n").await;
    let world = world.start().await;
    let home = world.client("127.0.7.9").with_dnssec();
    let bogus = ("SERVFAIL".to_owned(), false, Some(6));
    let healed = ("192.0.2.99".to_owned(), false, Some(33));
    // An anchor may also stand inside of a zone.
    let inside = "/v1/negative-trust-anchors/a.wrong.example";
    world.api.put(inside, after(3_600)).await.ok();
    all_see(&world, "192.0.2.99", 33).await;
    world.api.delete(inside).await.ok();
    all_see(&world, "SERVFAIL", 6).await;
    let far = world.api.put(WRONG, after(86_400 + 60)).await;
    assert_eq!((far.status, far.problem()), (422, "limit"));
    // A busy machine may need longer than a short anchor holds; then a longer one is set.
    let mut is_healed = false;
    for seconds in [3, 10, 30] {
        world.api.put(WRONG, after(seconds)).await.ok();
        is_healed =
            seen(&home, BROKEN[0]).await == healed && seen(&home, BROKEN[1]).await == healed;
        if is_healed {
            break;
        }
    }
    assert!(is_healed);
    for question in BROKEN {
        eventually(
            "it is validated again",
            Duration::from_secs(60),
            async || seen(&home, question).await == bogus,
        )
        .await;
    }
    all_see(&world, "SERVFAIL", 6).await;
    let gone = world.api.get(WRONG).await;
    assert_eq!(gone.problem(), "unknown_negative_trust_anchor");
    let line = "a negative trust anchor has ended; its names are validated again";
    assert!(world.daemon.stderr().contains(line));
}
