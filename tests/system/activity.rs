//! Activity counts: what a family may see of its devices' queries. Counts are kept as long as the
//! household chooses, and are then deleted from the API and from the disk.

use std::{fs, time::Duration};

use crate::world::{Answer, Api, Events, Switch::*, World, eventually};
use serde_json::{Value, json};

mod deletion;

/// The longest wait until queries are counted.
const COUNTED_WITHIN: Duration = Duration::from_secs(60);

const HISTORY: &str = "/v1/households/home/history";
const ACTIVITY: &str = "/v1/households/home/activity";

/// A home with a child's tablet, a computer and a guest's phone, which blocks `youtube` and
/// `violence`.
async fn home(clock: &str) -> World {
    let draft = World::with_zone("tube.example. 60 A 192.0.2.5\nwww 60 A 192.0.2.6")
        .zone("fight.example. 60 A 192.0.2.7\nguest 60 A 192.0.2.7\nvisitor 60 A 192.0.2.7")
        .zone("ordered.example. 60 A 192.0.2.8")
        .zone("ordered-host.example. 60 A 192.0.2.21\nat 60 A 192.0.2.20\nleads 60 CNAME ordered.example.")
        .zone("news.example. 60 A 192.0.2.9")
        .zone("icloud.com. 60 A 192.0.2.10\nmask 60 A 192.0.2.11")
        .zone("resolver.example. 60 A 192.0.2.12");
    let world = draft
        .listing("youtube", "tube.example")
        .listing("violence", "fight.example")
        .listing("doh", "resolver.example")
        .clock(clock)
        .start()
        .await;
    for (device, address) in [("tablet", TABLET), ("computer", COMPUTER), ("guest", GUEST)] {
        world.device("home", device, ("address", address)).await;
    }
    world.toggle("home", "youtube", Block).await;
    world.toggle("home", "violence", Block).await;
    world
}

const TABLET: &str = "127.0.7.10";
const COMPUTER: &str = "127.0.7.11";
const GUEST: &str = "127.0.7.12";
/// A device without a definition.
const VISITOR: &str = "127.0.7.99";

async fn keep(world: &World, body: Value) -> Answer {
    world.api.put(HISTORY, body).await.ok()
}

async fn api_with_new_key(world: &World, body: Value) -> Api {
    let made = world.api.post("/v1/households/home/keys", body).await.ok();
    world.api.with_key(made.json["secret"].as_str().unwrap())
}

async fn ask(world: &World, from: &str, name: &str, times: usize) {
    let client = world.client(from);
    for _ in 0..times {
        client.ask(&format!("{name}. A")).await;
    }
}

async fn activity(api: &Api, query: &str) -> Value {
    api.get(&format!("{ACTIVITY}{query}")).await.ok().json
}

/// Waits until this many queries are counted; returns what is shown then.
async fn counted(api: &Api, asked: u64) -> Value {
    let what = format!("{asked} queries are counted");
    eventually(&what, COUNTED_WITHIN, async || {
        activity(api, "").await["asked"] == asked
    })
    .await;
    activity(api, "").await
}

fn devices(shown: &Value) -> Vec<(String, u64, u64)> {
    let devices = shown["devices"].as_array().unwrap().iter();
    let row = |row: &Value| {
        (
            row["device"].to_string(),
            row["asked"].as_u64().unwrap(),
            row["blocked"].as_u64().unwrap(),
        )
    };
    devices.map(row).collect()
}

/// Whether a text occurs in any file of the node.
fn is_on_disk(world: &World, text: &str) -> bool {
    let mut folders = vec![world.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read(&path).is_ok_and(|octets| {
                octets
                    .windows(text.len())
                    .any(|window| window == text.as_bytes())
            }) {
                return true;
            }
        }
    }
    false
}

#[tokio::test]
async fn nothing_is_counted_until_the_family_turns_it_on() {
    let world = home("2030-06-03 12:10:00").await;
    ask(&world, TABLET, "www.tube.example", 3).await;
    let shown = activity(&world.api, "").await;
    assert_eq!(
        (&shown["asked"], &shown["history"]["days"]),
        (&json!(0), &json!(0))
    );
    let refused = world.api.put(HISTORY, json!({ "days": 91 })).await;
    assert_eq!(
        (refused.status, refused.problem(), &refused.json["field"]),
        (422, "limit", &json!("days"))
    );

    let kept = keep(&world, json!({ "days": 7 })).await.json;
    assert_eq!(
        (
            &kept["history"]["names"],
            &kept["history"]["unknown_devices"]
        ),
        (&json!(true), &json!(false))
    );
    keep(&world, json!({ "days": 7, "unknown_devices": true })).await;
    // Omitted keys stay unchanged.
    assert_eq!(
        keep(&world, json!({ "days": 7 })).await.json["history"]["unknown_devices"],
        true
    );
    let mother = api_with_new_key(&world, json!({ "role": "parent" })).await;
    let ear = Events::of_household(&mother, "home").await;
    let stranger = Events::of_household(&world.api, "home").await;
    ask(&world, TABLET, "www.tube.example", 3).await;
    ask(&world, TABLET, "news.example", 2).await;
    ask(&world, COMPUTER, "fight.example", 1).await;
    ask(&world, VISITOR, "news.example", 1).await;
    counted(&world.api, 7).await;
    world.clock().set("2030-06-03 14:59:58");
    ask(&world, COMPUTER, "news.example", 4).await;
    let shown = counted(&world.api, 11).await;
    assert_eq!(shown["blocked"], 4);
    let row = |device: &str, asked, blocked| (device.to_owned(), asked, blocked);
    assert_eq!(
        devices(&shown),
        [
            row("null", 1, 0),
            row("\"computer\"", 5, 1),
            row("\"tablet\"", 5, 3)
        ]
    );
    let category =
        |slug: &str, count: u64| json!({ "category": slug, "asked": count, "blocked": count });
    assert_eq!(
        shown["categories"],
        json!([category("youtube", 3), category("violence", 1)])
    );
    let hour = |hour: &str, asked: u64, blocked: u64| json!({ "hour": hour, "asked": asked, "blocked": blocked });
    assert_eq!(
        shown["hours"],
        json!([
            hour("2030-06-03T12:00:00Z", 7, 4),
            hour("2030-06-03T14:00:00Z", 4, 0)
        ])
    );
    let names = shown["blocked_names"].as_array().unwrap();
    let name = |place: usize| {
        (
            &names[place]["name"],
            &names[place]["device"],
            &names[place]["count"],
            &names[place]["layer"],
        )
    };
    assert_eq!(
        name(0),
        (
            &json!("www.tube.example"),
            &json!("tablet"),
            &json!(3),
            &json!("category")
        )
    );
    assert_eq!(
        name(1),
        (
            &json!("fight.example"),
            &json!("computer"),
            &json!(1),
            &json!("category")
        )
    );
    assert_eq!(
        (names.len(), &names[0]["categories"]),
        (2, &json!(["youtube"]))
    );
    ear.wait_for(
        "block",
        &[
            ("device", "tablet"),
            ("name", "www.tube.example"),
            ("layer", "category"),
        ],
    )
    .await;
    assert!(
        stranger
            .received()
            .iter()
            .all(|event| event["kind"] != "block"),
        "the operator is not of the family"
    );
    // Access from outside the family leaves an audit row, and the auditor sees only that row.
    let audit = world
        .api
        .get("/v1/audit?subject=activity:home")
        .await
        .ok()
        .json;
    assert_eq!(
        (&audit["records"][0]["action"], &audit["records"][0]["role"]),
        (&json!("read"), &json!("operator"))
    );
    let traces = audit["records"].as_array().unwrap().len();
    activity(&mother, "").await;
    assert_eq!(
        world
            .api
            .get("/v1/audit?subject=activity:home")
            .await
            .ok()
            .json["records"]
            .as_array()
            .unwrap()
            .len(),
        traces
    );

    let shown = activity(&world.api, "?device=computer&from=2030-06-03T14:00:00Z").await;
    assert_eq!(
        (&shown["asked"], devices(&shown)),
        (&json!(4), vec![row("\"computer\"", 4, 0)])
    );
    let shown = activity(&world.api, "?to=2030-06-03T14:00:00Z&top=0").await;
    assert_eq!(
        (&shown["asked"], &shown["blocked_names"]),
        (&json!(7), &json!([])),
        "the hour at the end is the next one's"
    );
    // Counts survive a restart.
    world.daemon.terminate().await;
    world.daemon.restart().await;
    assert_eq!(activity(&world.api, "").await["asked"], 11);
}

#[tokio::test]
async fn blocks_by_a_mandate_are_not_counted_in_the_activity() {
    let world = home("2030-06-03 12:10:00").await;
    let with_basis = |what: Value| {
        let mut document = json!({ "basis": "court-order", "confidential": true });
        document
            .as_object_mut()
            .unwrap()
            .extend(what.as_object().unwrap().clone());
        document
    };
    world
        .api
        .mandate("name", with_basis(json!({ "name": "ordered.example" })))
        .await
        .ok();
    world
        .api
        .mandate("address", with_basis(json!({ "address": "192.0.2.20" })))
        .await
        .ok();
    // Blocked by a category as well: the mandate decides, and the category's counts do not change.
    world
        .api
        .mandate(
            "listed",
            with_basis(json!({ "name": "www.tube.example", "scope": "exact" })),
        )
        .await
        .ok();
    keep(&world, json!({ "days": 7 })).await;
    let ear = Events::of_household(
        &api_with_new_key(&world, json!({ "role": "parent" })).await,
        "home",
    )
    .await;
    for name in [
        "ordered.example",
        "at.ordered-host.example",
        "leads.ordered-host.example",
        "www.tube.example",
    ] {
        let answer = world.client(TABLET).ask(&format!("{name}. A")).await;
        assert!(answer.starts_with("blocked"), "{name}: {answer}");
    }
    ask(&world, TABLET, "tube.example", 1).await;
    let shown = counted(&world.api, 1).await;
    assert_eq!(devices(&shown), [("\"tablet\"".to_owned(), 1, 1)]);
    assert_eq!(
        shown["categories"],
        json!([{ "category": "youtube", "asked": 1, "blocked": 1 }])
    );
    ear.wait_for("block", &[("name", "tube.example")]).await;
    assert!(
        ear.received()
            .iter()
            .all(|event| event["kind"] != "block" || event["name"] == "tube.example"),
        "{:?}",
        ear.received()
    );
    world.daemon.terminate().await;
    let kept = fs::read(world.folder().join("ox-protect-history.db")).unwrap();
    let holds = |text: &[u8]| kept.windows(text.len()).any(|window| window == text);
    assert!(holds(b"tube.example") && !holds(b"ordered") && !holds(b"www.tube"));
    world.daemon.restart().await;
}

#[tokio::test]
async fn a_device_that_bypasses_the_filter_is_shown_as_such() {
    let world = home("2030-06-03 19:00:00").await;
    world
        .api
        .put("/v1/households/home/bypass", json!({ "state": "allow" }))
        .await
        .ok();
    keep(&world, json!({ "days": 7 })).await;
    let parent = Events::of_household(
        &api_with_new_key(&world, json!({ "role": "parent" })).await,
        "home",
    )
    .await;
    for device in [TABLET, COMPUTER, GUEST] {
        ask(&world, device, "news.example", 1).await;
    }
    world.clock().set("2030-06-03 19:04:00");
    ask(&world, TABLET, "news.example", 1).await;
    // Private Relay on the tablet, a public resolver in the computer's browser; the guest's phone
    // is idle.
    ask(&world, TABLET, "mask.icloud.com", 1).await;
    ask(&world, COMPUTER, "resolver.example", 1).await;
    counted(&world.api, 6).await;
    world.clock().set("2030-06-03 19:06:00");
    // The computer keeps using the filter nevertheless.
    ask(&world, COMPUTER, "news.example", 1).await;
    counted(&world.api, 7).await;
    world.clock().set("2030-06-03 19:13:00");
    ask(&world, TABLET, "mask.icloud.com", 1).await;
    let shown = counted(&world.api, 8).await;
    assert!(
        shown["devices"]
            .as_array()
            .unwrap()
            .iter()
            .all(|device| device["silent"].is_null()),
        "{shown}"
    );

    world.clock().set("2030-06-03 19:15:00");
    ask(&world, COMPUTER, "news.example", 1).await;
    parent
        .wait_for("silent", &[("device", "tablet"), ("sign", "relay")])
        .await;
    let shown = counted(&world.api, 9).await;
    let silent = |device: &str| {
        shown["devices"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["device"] == device)
            .unwrap()["silent"]
            .clone()
    };
    assert_eq!(silent("computer"), Value::Null);
    assert_eq!(
        silent("guest"),
        json!({ "since": "2030-06-03T19:00:00Z", "sign": null }),
        "nothing tells that it is not just off"
    );
    let tablet = silent("tablet");
    assert!(
        tablet["since"]
            .as_str()
            .unwrap()
            .starts_with("2030-06-03T19:04:"),
        "not using your filter since 19:04: {tablet}"
    );
    assert_eq!(tablet["sign"], "relay");
    // The device comes back.
    ask(&world, TABLET, "news.example", 1).await;
    let shown = counted(&world.api, 10).await;
    assert!(
        shown["devices"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["device"] == "tablet" && row["silent"].is_null())
    );

    // A deleted observation is not reported.
    ask(&world, TABLET, "mask.icloud.com", 1).await;
    counted(&world.api, 11).await;
    world.api.delete(ACTIVITY).await.ok();
    let told = parent.received().len();
    world.clock().set("2030-06-03 19:40:00");
    ask(&world, COMPUTER, "news.example", 1).await;
    counted(&world.api, 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let later = parent.received();
    assert!(
        later[told..].iter().all(|event| event["kind"] != "silent"),
        "{later:?}"
    );
}
