//! The lists as a whole, and the stream of what happens to them.

use axum::{
    body::{Body, BodyDataStream},
    http::Request,
};
use control::lists::model::{EventKind, ListEvent};
use futures_util::StreamExt;
use jiff::Timestamp;
use policy_store::Role;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{fake_lists::EVENTS_MAX, world::World};

#[tokio::test]
async fn the_lists_say_what_is_live_and_what_stands_in_front_of_it() {
    let world = World::new().await;
    let lists = world.get("/v1/lists").await.ok().json;
    for (field, value) in [
        ("generation", json!(7)),
        ("base_generation", json!(5)),
        ("parent", json!(6)),
        ("overlay_entries", json!(10)),
        ("overlay_bytes", json!(1_000)),
        ("names", json!(3)),
        ("entries", json!(3)),
        ("swaps", json!(0)),
        (
            "last_error",
            json!("bets: no answer from https://(hidden)@lists.example/bets"),
        ),
        ("built_at", json!("1970-01-01T00:00:00Z")),
    ] {
        assert_eq!(lists[field], value, "{field}");
    }
    assert_eq!(lists["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(lists["feeds"][0]["name"], "bets-feed");
    assert!(lists["bytes"].as_u64().unwrap() > 0 && lists["last_swap_ms"].is_number());
}

#[tokio::test]
async fn what_is_kept_and_what_differs_can_be_looked_at() {
    let world = World::new().await;
    let kept = world.get("/v1/lists/generations").await.ok().json;
    let numbers: Vec<_> = kept["generations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kept| kept["generation"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [7, 6, 5]);
    assert_eq!(
        (
            &kept["generations"][0]["is_live"],
            &kept["generations"][0]["parent"]
        ),
        (&json!(true), &json!(6))
    );
    let difference = world
        .get("/v1/lists/diff?from=5&to=6&limit=9")
        .await
        .ok()
        .json;
    assert_eq!(
        difference["changes"],
        json!([{ "feed": "bets", "category": "gambling", "added": 1, "removed": 2 }])
    );
    assert_eq!(
        world.get("/v1/lists/diff?from=5").await.ok().json["to"],
        7,
        "the live one"
    );
    assert_eq!(
        world.fake_lists.state().asked,
        ["diff 5 6 9", "diff 5 7 100"]
    );
    world.get("/v1/lists/diff").await.is_problem(400, "query");
    world
        .get("/v1/lists/diff?from=a")
        .await
        .is_problem(400, "query");
    world
        .get("/v1/lists/diff?from=5&limit=0")
        .await
        .is_problem(422, "limit");
    world
        .get("/v1/lists/diff?from=5&limit=1001")
        .await
        .is_problem(422, "limit");
}

#[tokio::test]
async fn the_lists_go_back_to_a_kept_generation() {
    let world = World::new().await;
    assert_eq!(
        world.post("/v1/lists/rollback", "").await.ok().json,
        json!({ "from": 7, "to": 6, "live": 6, "took_ms": 0.5 })
    );
    assert_eq!(
        world
            .post("/v1/lists/rollback", r#"{"generation":5}"#)
            .await
            .ok()
            .json["to"],
        5
    );
    let wrong = world
        .post("/v1/lists/rollback", r#"{"generation":"five"}"#)
        .await;
    wrong.is_problem(422, "body");
    assert_eq!(wrong.json["field"], "generation");
}

/// A stream of events, read event by event.
struct Stream(BodyDataStream);

impl Stream {
    async fn open(world: &World, key: &str) -> Self {
        let request = Request::get("/v1/events")
            .header("authorization", key)
            .body(Body::empty())
            .unwrap();
        let response = world.router.clone().oneshot(request).await.unwrap();
        assert_eq!(
            (
                response.status().as_u16(),
                response.headers()["content-type"].to_str().unwrap()
            ),
            (200, "text/event-stream")
        );
        Self(response.into_body().into_data_stream())
    }

    /// The name and the data of the next event; nothing at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        let text = String::from_utf8(self.0.next().await?.unwrap().to_vec()).unwrap();
        let line = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_else(|| panic!("{text:?}"))
                .trim()
                .to_owned()
        };
        Some((
            line("event:"),
            serde_json::from_str(&line("data:")).unwrap(),
        ))
    }
}

fn refused(version: u64) -> ListEvent {
    ListEvent {
        at: Timestamp::UNIX_EPOCH,
        kind: EventKind::FeedRefused,
        feed: Some("bets".to_owned()),
        version: Some(version.to_string()),
        generation: None,
        gate: Some("shrink".to_owned()),
        detail: Some("half of https://ox:hunter2@lists.example/ is gone".to_owned()),
    }
}

#[tokio::test]
async fn what_happens_is_told_to_all_who_listen_as_it_happens() {
    let world = World::new().await;
    let operator = format!("Bearer {}", world.key);
    let auditor = world.key_of(Role::Auditor).await;
    let mut streams = [
        Stream::open(&world, &operator).await,
        Stream::open(&world, &auditor).await,
    ];
    world.fake_lists.say(refused(1));
    for stream in &mut streams {
        let (name, event) = stream.next().await.unwrap();
        assert_eq!(
            (name.as_str(), &event["kind"], &event["gate"]),
            ("feed_refused", &json!("feed_refused"), &json!("shrink"))
        );
        assert_eq!(
            (&event["at"], &event["version"]),
            (&json!("1970-01-01T00:00:00Z"), &json!("1"))
        );
        assert_eq!(
            event["detail"],
            "half of https://(hidden)@lists.example/ is gone"
        );
    }
    world.fake_lists.state().events = None;
    assert!(
        streams[0].next().await.is_none(),
        "the stream ends with the node"
    );
    assert!(Stream::open(&world, &operator).await.next().await.is_none());
}

#[tokio::test]
async fn a_listener_who_falls_behind_is_told_how_much_it_lost() {
    let world = World::new().await;
    let mut stream = Stream::open(&world, &format!("Bearer {}", world.key)).await;
    let said = 10;
    let kept = EVENTS_MAX as u64;
    (1..=said).for_each(|version| world.fake_lists.say(refused(version)));
    assert_eq!(
        stream.next().await.unwrap(),
        ("lost".to_owned(), json!({ "lost": said - kept }))
    );
    for version in said - kept + 1..=said {
        assert_eq!(
            stream.next().await.unwrap().1["version"],
            version.to_string()
        );
    }
}

#[test]
fn an_events_name_is_its_kind() {
    use EventKind::{
        FeedApproved, FeedFailing, FeedHeld, FeedLive, FeedRefused, FeedStale, RolledBack,
    };
    for kind in [
        FeedRefused,
        FeedLive,
        FeedApproved,
        FeedHeld,
        FeedStale,
        FeedFailing,
        RolledBack,
    ] {
        assert_eq!(json!(kind), kind.as_str());
    }
}
