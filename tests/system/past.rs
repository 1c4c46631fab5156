//! Explanations of the past: an explanation by the rules, lists and mandates of a past time equals
//! the explanation at that time.

use std::time::Duration;

use crate::world::{Switch::*, World, eventually, ox_protect};
use serde_json::{Value, json};

/// An explanation without the details that depend on the current moment.
fn essence(explained: &Value) -> Value {
    let of = |key: &str| explained[key].clone();
    json!([
        of("verdict"),
        of("layer"),
        of("category"),
        of("entry"),
        of("feed"),
        of("generation"),
        of("setter"),
        explained["answer"]["ede"]
    ])
}

#[tokio::test]
async fn an_explanation_of_a_past_time_equals_the_one_given_then() {
    let world = World::with_zone("shop.example. 60 A 192.0.2.1")
        .zone("play.example. 60 A 192.0.2.2")
        .zone("match.example. 60 A 192.0.2.3")
        .listing("gambling", "shop.example")
        .listing("games", "play.example")
        .clock("2030-06-04 16:02:00")
        .start()
        .await;
    world
        .device("home", "phone", ("address", "127.0.7.9"))
        .await;
    let names = ["shop.example", "play.example", "match.example"];
    let path =
        |name: &str, at: &str| format!("/v1/explain?name={name}&household=home&device=phone{at}");
    let mut told: Vec<(String, Vec<Value>)> = Vec::new();
    let home = "/v1/households/home";
    for step in 0..9 {
        match step {
            0 => {}
            1 => world.toggle("home", "gambling", Block).await,
            2 => drop(
                world
                    .api
                    .put(
                        &format!("{home}/devices/phone/schedules/hw"),
                        json!({ "from": "16:00", "to": "18:00", "block": ["games"] }),
                    )
                    .await
                    .ok(),
            ),
            3 => drop(
                world
                    .api
                    .post(
                        &format!("{home}/grants"),
                        json!({ "category": "gambling", "minutes": 30 }),
                    )
                    .await
                    .ok(),
            ),
            4 => world.own_name("home", "shop.example", Allow).await,
            5 => {
                let mandate = json!({ "name": "match.example", "basis": "court-order", "not_after": "2030-06-04T17:00:00Z" });
                world.api.mandate("hc", mandate).await.ok();
            }
            6 => {
                world.replace_feed("gambling", "other.example");
                eventually("the list is live", Duration::from_secs(20), async || {
                    world.api.get("/v1/lists").await.ok().json["generation"].as_u64() > Some(1)
                })
                .await;
            }
            7 => world.own_name("home", "shop.example", Inherit).await,
            _ => drop(
                world
                    .api
                    .delete(&format!("{home}/devices/phone/schedules/hw"))
                    .await
                    .ok(),
            ),
        }
        world.clock().advance(Duration::from_secs(20));
        let mut explained = Vec::new();
        for name in names {
            explained.push(essence(&world.api.get(&path(name, "")).await.ok().json));
        }
        told.push((world.clock().now().to_string(), explained));
        world.clock().advance(Duration::from_secs(20));
    }
    let verdicts: Vec<String> = told
        .iter()
        .map(|(_, explained)| {
            explained
                .iter()
                .map(|told| &told[1])
                .map(Value::to_string)
                .collect()
        })
        .collect();
    println!("{verdicts:#?}");
    // The next day, with the clock past all of it; also after a restart.
    world.clock().advance(Duration::from_secs(86_400));
    world.daemon.restart().await;
    for (at, expected) in &told {
        for (name, expected) in names.iter().zip(expected) {
            let past = world
                .api
                .get(&path(name, &format!("&at={at}")))
                .await
                .ok()
                .json;
            assert_eq!(essence(&past), *expected, "{name} at {at}: {past}");
        }
    }
    let now = world.api.get(&path("match.example", "")).await.ok().json;
    assert_eq!(
        (&now["layer"], &told[5].1[2][1]),
        (&json!("default"), &json!("mandatory"))
    );
    let config = world.daemon.config();
    let arguments = [
        "explain",
        "shop.example",
        "--household",
        "home",
        "--at",
        &told[1].0,
        "--config",
        config.to_str().unwrap(),
    ];
    let by_command = ox_protect(&arguments);
    let by_command: Value =
        serde_json::from_slice(&by_command.stdout).unwrap_or_else(|_| panic!("{by_command:?}"));
    assert_eq!(
        (&by_command["layer"], &by_command["feed"]),
        (&json!("category"), &json!("gambling"))
    );
    for (at, status, code) in [
        ("2030-06-01T00:00:00Z", 404, "unknown_household"),
        ("2040-01-01T00:00:00Z", 422, "future"),
        ("noon", 422, "time"),
    ] {
        let refused = world
            .api
            .get(&path("shop.example", &format!("&at={at}")))
            .await;
        assert_eq!((refused.status, refused.problem()), (status, code), "{at}");
    }
    let refused = world
        .api
        .get("/v1/explain?name=shop.example&at=2020-01-01T00:00:00Z")
        .await;
    assert_eq!((refused.status, refused.problem()), (404, "not_kept"));
}
