//! Access requests: a child asks, the parents are notified at once, and what they allow is in
//! effect on the next query and ends by itself.

use std::time::Duration;

use crate::world::{Api, Events, Switch::*, World, eventually};
use serde_json::json;

const REQUESTS: &str = "/v1/households/home/requests";

/// A home whose household blocks `youtube`, with a child's tablet and a computer.
async fn home() -> World {
    let draft = World::with_zone("tube.example. 60 A 192.0.2.5\nwww 60 A 192.0.2.6")
        .zone("ordered.example. 60 A 192.0.2.7");
    let world = draft
        .listing("youtube", "tube.example ordered.example")
        .clock("2030-06-03 12:00:00")
        .start()
        .await;
    for (device, address) in [("tablet", "127.0.7.10"), ("computer", "127.0.7.11")] {
        world.device("home", device, ("address", address)).await;
    }
    world.toggle("home", "youtube", Block).await;
    world
}

async fn api_with_new_key(world: &World, body: serde_json::Value) -> Api {
    let made = world.api.post("/v1/households/home/keys", body).await.ok();
    world.api.with_key(made.json["secret"].as_str().unwrap())
}

#[tokio::test]
async fn a_childs_request_reaches_its_parent_and_opens_an_hour() {
    let world = home().await;
    let child = api_with_new_key(&world, json!({ "role": "child", "device": "tablet" })).await;
    let parent = api_with_new_key(
        &world,
        json!({ "role": "second-parent", "label": "Mum's phone" }),
    )
    .await;
    let tablet = world.client("127.0.7.10");
    let computer = world.client("127.0.7.11");
    let phone = Events::of_household(&parent, "home").await;
    let ear = Events::of_household(&child, "home").await;
    assert_eq!(tablet.ask("www.tube.example. A").await, "blocked: youtube");

    let asked = child
        .post(
            REQUESTS,
            json!({ "name": "tube.example", "reason": "homework" }),
        )
        .await
        .ok();
    assert_eq!(
        (
            asked.status,
            &asked.json["categories"],
            &asked.json["state"]
        ),
        (201, &json!(["youtube"]), &json!("open"))
    );
    phone
        .wait_for(
            "request",
            &[
                ("device", "tablet"),
                ("name", "tube.example"),
                ("reason", "homework"),
            ],
        )
        .await;
    let path = format!("{REQUESTS}/{}", asked.json["id"].as_str().unwrap());
    let refused = child.put(&path, json!({ "answer": "allow" })).await;
    assert_eq!((refused.status, refused.problem()), (403, "role"));

    let answered = parent
        .put(&path, json!({ "answer": "allow", "minutes": 60 }))
        .await
        .ok();
    assert_eq!(
        tablet.ask("www.tube.example. A").await,
        "192.0.2.6",
        "the next query"
    );
    assert_eq!(
        computer.ask("tube.example. A").await,
        "blocked: youtube",
        "only the tablet has asked"
    );
    assert_eq!(
        (&answered.json["state"], answered.version() > 0),
        (&json!("allowed"), true)
    );
    ear.wait_for("answer", &[("state", "allowed")]).await;
    let told = child.get(REQUESTS).await.ok().json;
    assert_eq!(
        (
            &told["requests"][0]["answer"]["answer"],
            &told["requests"][0]["answer"]["until"]
        ),
        (&json!("allow"), &answered.json["answer"]["until"])
    );
    let again = parent.put(&path, json!({ "answer": "deny" })).await;
    assert_eq!((again.status, again.problem()), (409, "answered"));

    world.clock().advance(Duration::from_secs(55 * 60));
    assert_eq!(tablet.ask("tube.example. A").await, "192.0.2.5");
    world.clock().advance(Duration::from_secs(6 * 60));
    eventually("it closes by itself", Duration::from_secs(60), async || {
        tablet.ask("tube.example. A").await == "blocked: youtube"
    })
    .await;
}

#[tokio::test]
async fn requests_are_limited_shown_to_their_child_and_answered_in_each_way() {
    let world = home().await;
    let child = api_with_new_key(&world, json!({ "role": "child", "device": "tablet" })).await;
    let parent = api_with_new_key(&world, json!({ "role": "parent" })).await;
    let tablet = world.client("127.0.7.10");
    let computer = world.client("127.0.7.11");
    let ear = Events::of_household(&child, "home").await;
    let ask = async |name: &str| {
        child
            .post(REQUESTS, json!({ "name": name }))
            .await
            .ok()
            .json["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let other = child
        .post(
            REQUESTS,
            json!({ "name": "tube.example", "device": "computer" }),
        )
        .await;
    assert_eq!((other.status, other.problem()), (403, "role"));
    let id = ask("tube.example").await;
    parent
        .put(
            &format!("{REQUESTS}/{id}"),
            json!({ "answer": "deny", "note": "after dinner" }),
        )
        .await
        .ok();
    ear.wait_for("answer", &[("state", "denied")]).await;
    assert_eq!(tablet.ask("tube.example. A").await, "blocked: youtube");
    // Permanently, the whole category, for the household.
    let id = ask("www.tube.example").await;
    parent
        .put(
            &format!("{REQUESTS}/{id}"),
            json!({ "answer": "allow", "scope": "category", "whose": "household" }),
        )
        .await
        .ok();
    assert_eq!(
        (
            tablet.ask("tube.example. A").await,
            computer.ask("tube.example. A").await
        ),
        ("192.0.2.5".into(), "192.0.2.5".into())
    );
    world.toggle("home", "youtube", Block).await;
    // Permanently, the name, for the device.
    let id = ask("www.tube.example").await;
    let for_no_person = parent
        .put(
            &format!("{REQUESTS}/{id}"),
            json!({ "answer": "allow", "whose": "person" }),
        )
        .await;
    assert_eq!(
        (for_no_person.status, for_no_person.problem()),
        (422, "person"),
        "the tablet belongs to no person"
    );
    parent
        .put(&format!("{REQUESTS}/{id}"), json!({ "answer": "allow" }))
        .await
        .ok();
    assert_eq!(
        (
            tablet.ask("www.tube.example. A").await,
            tablet.ask("tube.example. A").await
        ),
        ("192.0.2.6".into(), "blocked: youtube".into())
    );
    // A mandate cannot be lifted, even if it comes later.
    let id = ask("ordered.example").await;
    world
        .api
        .mandate(
            "m",
            json!({ "name": "ordered.example", "basis": "court-order" }),
        )
        .await
        .ok();
    let refused = [
        parent
            .put(
                &format!("{REQUESTS}/{id}"),
                json!({ "answer": "allow", "minutes": 5 }),
            )
            .await,
        child
            .post(REQUESTS, json!({ "name": "ordered.example" }))
            .await,
    ];
    for refused in refused {
        assert_eq!((refused.status, refused.problem()), (409, "mandatory"));
    }
    // A parent's own request for another device is not visible to the child.
    parent
        .post(
            REQUESTS,
            json!({ "name": "tube.example", "device": "computer" }),
        )
        .await
        .ok();
    let count = async |api: &Api| {
        api.get(REQUESTS).await.ok().json["requests"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((count(&child).await, count(&parent).await), (4, 5));
    assert!(
        ear.received()
            .iter()
            .all(|event| event["device"] != "computer"),
        "{:?}",
        ear.received()
    );
    for number in 4..20 {
        ask(&format!("n{number}.tube.example")).await;
    }
    let full = child
        .post(REQUESTS, json!({ "name": "tube.example" }))
        .await;
    assert_eq!((full.status, full.problem()), (429, "requests_limit"));
    world.clock().advance(Duration::from_secs(31 * 24 * 3_600));
    assert_eq!(count(&parent).await, 0, "a month is all that is kept");
    ask("tube.example").await;
}

#[tokio::test]
async fn a_name_is_asked_for_once_and_one_that_is_open_not_at_all() {
    let world = World::with_zone("tube.example. 60 A 192.0.2.5")
        .zone("free.example. 60 A 192.0.2.6\nalias 60 CNAME tube.example.")
        .listing("youtube", "tube.example")
        .start()
        .await;
    world
        .device("home", "tablet", ("address", "127.0.7.10"))
        .await;
    world.toggle("home", "youtube", Block).await;
    let child = api_with_new_key(&world, json!({ "role": "child", "device": "tablet" })).await;
    let parent = api_with_new_key(&world, json!({ "role": "parent" })).await;
    let phone = Events::of_household(&parent, "home").await;
    let first = child
        .post(REQUESTS, json!({ "name": "tube.example" }))
        .await
        .ok();
    for again in ["tube.example", "TUBE.example.", "www.tube.example"] {
        let again = child.post(REQUESTS, json!({ "name": again })).await.ok();
        assert_eq!((again.status, &again.json["id"]), (200, &first.json["id"]));
    }
    let open = child
        .post(REQUESTS, json!({ "name": "free.example" }))
        .await;
    assert_eq!((open.status, open.problem()), (409, "not_blocked"));
    // A name is blocked because of its CNAME target, too.
    let behind = child
        .post(REQUESTS, json!({ "name": "alias.free.example" }))
        .await
        .ok();
    assert_eq!(
        (behind.status, &behind.json["categories"]),
        (201, &json!(["youtube"]))
    );
    phone
        .wait_for("request", &[("name", "alias.free.example")])
        .await;
    assert_eq!(
        phone
            .received()
            .iter()
            .filter(|event| event["kind"] == "request" || event["state"] == "open")
            .count(),
        2
    );
}
