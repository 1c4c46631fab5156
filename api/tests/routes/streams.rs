//! Event streams: limited in number, and ended with what opened them.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream},
    http::{Method, Request},
};
use futures_util::StreamExt;
use policy_store::Role;
use tower::ServiceExt;

use crate::world::{World, author};

const HOME: &str = "/v1/households/home";
const EVENTS: &str = "/v1/households/home/events";
/// A stream ends long before this timeout; a test that waits for ever fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A test's stream.
pub struct Listener(BodyDataStream);

impl Listener {
    pub async fn open(world: &World, key: &str, path: &str) -> Self {
        Self::resume(world, key, path, None).await
    }

    /// Opens a stream behind the last event that the client has.
    pub async fn resume(world: &World, key: &str, path: &str, last: Option<&str>) -> Self {
        let last = last.map(|last| ("last-event-id", last));
        let headers: Vec<_> = [("authorization", key)].into_iter().chain(last).collect();
        Self::with(world, &headers, path).await
    }

    /// Opens a stream by a request with these headers.
    pub async fn with(world: &World, headers: &[(&str, &str)], path: &str) -> Self {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = world.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        Self(response.into_body().into_data_stream())
    }

    /// The next event, with its identifier.
    pub async fn next(&mut self) -> String {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
            let piece = next
                .expect("something is heard")
                .expect("it is open")
                .unwrap();
            let text = String::from_utf8_lossy(&piece).into_owned();
            if text.contains("data:") {
                return text;
            }
        }
    }

    /// All remaining events of the stream.
    pub async fn rest(mut self) -> String {
        let mut heard = String::new();
        let all = async {
            while let Some(piece) = self.0.next().await {
                let piece = piece.unwrap();
                let text = String::from_utf8_lossy(&piece);
                // A stream begins with an identifier alone.
                if text.contains("data:") {
                    heard += &text;
                }
            }
        };
        tokio::time::timeout(PATIENCE, all)
            .await
            .expect("the stream ends");
        heard
    }

    /// Whether the stream is open: the next change arrives.
    pub async fn hears(&mut self, world: &World) -> bool {
        world
            .put(
                &format!("{HOME}/categories/gambling"),
                r#"{"state":"block"}"#,
            )
            .await
            .ok();
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next())
                .await
                .expect("something is heard, or the end");
            let Some(piece) = next else { return false };
            // A stream begins with an identifier alone.
            if String::from_utf8_lossy(&piece.unwrap()).contains("change") {
                return true;
            }
        }
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_key_is_revoked_over_the_api() {
    let world = World::with_home().await;
    let (parent, id) = world.key_in(Role::Parent, "home").await;
    let other = world.key_of(Role::Parent).await;
    let mut first = Listener::open(&world, &parent, EVENTS).await;
    let mut second = Listener::open(&world, &other, EVENTS).await;
    assert!(first.hears(&world).await && second.hears(&world).await);
    world.delete(&format!("{HOME}/keys/{id}")).await.ok();
    // Later events do not arrive, however soon they are.
    world
        .put(
            &format!("{HOME}/names/later.example"),
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    assert_eq!(first.rest().await, "");
    assert!(second.hears(&world).await, "another's goes on");
}

#[tokio::test]
async fn a_stream_ends_when_another_process_revokes_its_key() {
    let world = World::with_home().await;
    let outside = world.other_process().await;
    for (role, path) in [
        (Role::Auditor, "/v1/events"),
        (Role::Operator, "/v1/events"),
        (Role::Child, EVENTS),
        (Role::Operator, EVENTS),
    ] {
        let (key, id) = world.key_in(role, "home").await;
        let listener = Listener::open(&world, &key, path).await;
        let other = Listener::open(&world, &key, path).await;
        outside
            .revoke_key(&author(), None, &id)
            .await
            .unwrap()
            .expect("it was in force");
        assert_eq!(
            (listener.rest().await, other.rest().await),
            (String::new(), String::new()),
            "{role} {path}"
        );
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_household_and_with_its_device() {
    let world = World::with_home().await;
    let operator = format!("Bearer {}", world.key);
    let child = Listener::open(&world, &world.key_of(Role::Child).await, EVENTS).await;
    let mut parent = Listener::open(&world, &world.key_of(Role::Parent).await, EVENTS).await;
    let of_operator = Listener::open(&world, &operator, EVENTS).await;
    let mut of_lists = Listener::open(&world, &operator, "/v1/events").await;
    world.delete(&format!("{HOME}/devices/phone")).await.ok();
    child.rest().await;
    assert!(parent.hears(&world).await);
    world.delete(HOME).await.ok();
    parent.rest().await;
    of_operator.rest().await;
    // A stream without a household goes on.
    let next = tokio::time::timeout(Duration::from_millis(500), of_lists.0.next()).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test]
async fn one_key_has_eight_streams_of_all_kinds_and_gets_its_places_back() {
    let world = World::with_home().await;
    let operator = format!("Bearer {}", world.key);
    let mut open = Vec::new();
    for number in 0..8 {
        open.push(
            Listener::open(
                &world,
                &operator,
                if number % 2 == 0 {
                    "/v1/events"
                } else {
                    EVENTS
                },
            )
            .await,
        );
    }
    for path in ["/v1/events", EVENTS] {
        world
            .as_key(&operator, Method::GET, path, "")
            .await
            .is_problem(429, "streams_limit");
    }
    let auditor = world.key_of(Role::Auditor).await;
    let _of_another_key = Listener::open(&world, &auditor, "/v1/events").await;
    open.pop();
    let _in_its_place = Listener::open(&world, &operator, "/v1/events").await;
    world
        .as_key(&operator, Method::GET, "/v1/events", "")
        .await
        .is_problem(429, "streams_limit");
    // Streams of a revoked key are removed.
    let (parent, id) = world.key_in(Role::Parent, "home").await;
    let mut gone = Vec::new();
    for _ in 0..8 {
        gone.push(Listener::open(&world, &parent, EVENTS).await);
    }
    world.delete(&format!("{HOME}/keys/{id}")).await.ok();
    for listener in gone {
        listener.rest().await;
    }
}

/// A line of an event, such as its `id`.
fn line<'e>(event: &'e str, name: &str) -> &'e str {
    event
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("no {name} in {event}"))
}

async fn block(world: &World, name: &str) {
    let path = format!("{HOME}/names/{name}");
    world.put(&path, r#"{"state":"block"}"#).await.ok();
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed() {
    let world = World::with_home().await;
    let parent = world.key_of(Role::Parent).await;
    let mut stream = Listener::open(&world, &parent, EVENTS).await;
    block(&world, "a.example").await;
    let first = stream.next().await;
    let last = line(&first, "id").to_owned();
    drop(stream);
    block(&world, "b.example").await;
    block(&world, "c.example").await;
    let mut stream = Listener::resume(&world, &parent, EVENTS, Some(&last)).await;
    let versions = [stream.next().await, stream.next().await].map(|event| {
        assert_eq!(line(&event, "event"), "change");
        let data: serde_json::Value = serde_json::from_str(line(&event, "data")).unwrap();
        data["version"].as_u64().unwrap()
    });
    let now = world.get(HOME).await.version();
    assert_eq!(versions, [now - 1, now]);
    for unknown in ["00000000-1", "rubbish", "18446744073709551616"] {
        let mut stream = Listener::resume(&world, &parent, EVENTS, Some(unknown)).await;
        let lost = stream.next().await;
        assert_eq!(line(&lost, "event"), "lost", "{unknown}");
    }
}

#[tokio::test]
async fn a_later_device_of_the_same_name_learns_nothing_of_the_earlier_one() {
    let world = World::with_home().await;
    let parent = world.key_of(Role::Parent).await;
    world
        .put(
            &format!("{HOME}/categories/gambling"),
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    let mut stream = Listener::open(&world, &parent, EVENTS).await;
    block(&world, "a.example").await;
    let last = line(&stream.next().await, "id").to_owned();
    let body = r#"{"name":"bets.example","device":"phone"}"#;
    world.post(&format!("{HOME}/requests"), body).await.ok();
    assert_eq!(line(&stream.next().await, "event"), "request");
    let phone = format!("{HOME}/devices/phone");
    world.delete(&phone).await.ok();
    world.put(&phone, "{}").await.ok();
    let child = world.key_of(Role::Child).await;
    let mut stream = Listener::resume(&world, &child, EVENTS, Some(&last)).await;
    assert_eq!(line(&stream.next().await, "event"), "lost");
}

#[tokio::test]
async fn one_stream_brings_an_operator_the_requests_of_all_households() {
    let world = World::with_home().await;
    let operator = format!("Bearer {}", world.key);
    for (household, network) in [("home", None), ("other", Some("198.51.100.0%2F24"))] {
        let path = format!("/v1/households/{household}");
        world.put(&path, "{}").await.ok();
        if let Some(network) = network {
            world
                .put(&format!("{path}/networks/{network}"), "")
                .await
                .ok();
        }
        world.put(&format!("{path}/devices/tv"), "{}").await.ok();
        world
            .put(
                &format!("{path}/categories/gambling"),
                r#"{"state":"block"}"#,
            )
            .await
            .ok();
    }
    let all = "/v1/events?households=true";
    let auditor = world.key_of(Role::Auditor).await;
    world
        .as_key(&auditor, Method::GET, all, "")
        .await
        .is_problem(403, "role");
    let mut stream = Listener::open(&world, &operator, all).await;
    let mut seen = Vec::new();
    for household in ["home", "other"] {
        let path = format!("/v1/households/{household}/requests");
        let made = world
            .post(&path, r#"{"name":"bets.example","device":"tv"}"#)
            .await
            .ok();
        let path = format!("{path}/{}", made.json["id"].as_str().unwrap());
        world.put(&path, r#"{"answer":"deny"}"#).await.ok();
        for kind in ["request", "answer"] {
            let event = stream.next().await;
            assert_eq!(line(&event, "event"), kind, "{event}");
            let data: serde_json::Value = serde_json::from_str(line(&event, "data")).unwrap();
            assert_eq!(
                (&data["household"], &data["event"]["name"]),
                (&household.into(), &"bets.example".into())
            );
            seen.push(line(&event, "id").to_owned());
        }
    }
    drop(stream);
    let mut stream = Listener::resume(&world, &operator, all, Some(&seen[1])).await;
    assert_eq!(line(&stream.next().await, "id"), seen[2]);
    assert_eq!(line(&stream.next().await, "id"), seen[3]);
}
