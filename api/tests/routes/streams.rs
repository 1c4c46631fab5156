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
        let request = Request::get(path)
            .header("authorization", key)
            .body(Body::empty())
            .unwrap();
        let response = world.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        Self(response.into_body().into_data_stream())
    }

    /// All remaining events of the stream.
    pub async fn rest(mut self) -> String {
        let mut heard = String::new();
        let all = async {
            while let Some(piece) = self.0.next().await {
                heard += &String::from_utf8_lossy(&piece.unwrap());
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
        let next = tokio::time::timeout(PATIENCE, self.0.next())
            .await
            .expect("something is heard, or the end");
        next.is_some_and(|piece| String::from_utf8_lossy(&piece.unwrap()).contains("change"))
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
