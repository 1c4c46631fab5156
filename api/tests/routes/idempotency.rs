//! Idempotent writes, and rate limits.

use std::sync::Arc;

use api::auth::limits::{Limits, Rate};
use axum::http::Method;
use policy_store::Role;
use serde_json::json;

use crate::world::{Answer, World};

const HOME: &str = "/v1/households/home";

async fn once(world: &World, method: Method, path: &str, key: &str, body: &str) -> Answer {
    world
        .ask(method, path, &[("idempotency-key", key)], body)
        .await
}

#[tokio::test]
async fn a_write_that_comes_twice_is_done_once_and_answered_the_same() {
    let world = World::with_home().await;
    let path = format!("{HOME}/names/a.example");
    let first = once(&world, Method::PUT, &path, "k1", r#"{"state":"block"}"#)
        .await
        .ok();
    assert_eq!(
        (first.status, first.header("idempotency-replayed")),
        (201, "")
    );
    let version = world.get(HOME).await.version();
    let again = once(&world, Method::PUT, &path, "k1", r#"{"state":"block"}"#).await;
    assert_eq!(
        (
            again.status,
            again.header("idempotency-replayed"),
            again.header("etag")
        ),
        (201, "true", first.header("etag"))
    );
    assert_eq!(
        (&again.text, again.header("content-type")),
        (&first.text, "application/json")
    );
    assert_eq!(world.get(HOME).await.version(), version, "nothing was done");
    // Another name for it, or another principal's, is another write.
    assert_eq!(
        once(&world, Method::PUT, &path, "k2", r#"{"state":"block"}"#)
            .await
            .ok()
            .status,
        200
    );
    let parent = world.key_of(Role::Parent).await;
    let header = [
        ("authorization", parent.as_str()),
        ("idempotency-key", "k1"),
        ("content-type", "application/json"),
    ];
    let theirs = world
        .send(Method::PUT, &path, &header, r#"{"state":"block"}"#)
        .await
        .ok();
    assert_eq!(
        (theirs.status, theirs.header("idempotency-replayed")),
        (200, "")
    );
}

#[tokio::test]
async fn a_name_of_one_write_is_not_taken_for_another() {
    let world = World::with_home().await;
    let path = format!("{HOME}/categories/gambling");
    once(&world, Method::PUT, &path, "k1", r#"{"state":"block"}"#)
        .await
        .ok();
    let others = [
        (Method::PUT, path.clone(), r#"{"state":"allow"}"#),
        (
            Method::PUT,
            format!("{HOME}/categories/social"),
            r#"{"state":"block"}"#,
        ),
        (Method::DELETE, path.clone(), ""),
    ];
    for (method, path, body) in others {
        let refused = once(&world, method, &path, "k1", body).await;
        refused.is_problem(422, "idempotency_key_reused");
        assert_eq!(refused.json["field"], "Idempotency-Key");
    }
    let conditional = [("idempotency-key", "k1"), ("if-match", "\"9\"")];
    world
        .ask(Method::PUT, &path, &conditional, r#"{"state":"block"}"#)
        .await
        .is_problem(422, "idempotency_key_reused");
    for key in ["", "a b", "\u{e9}", &"x".repeat(256)] {
        once(&world, Method::PUT, &path, key, "{}")
            .await
            .is_problem(400, "idempotency_key");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    world
        .ask(Method::PUT, &path, &twice, "{}")
        .await
        .is_problem(400, "idempotency_key");
    // A read has no effect to be had once.
    assert_eq!(
        once(&world, Method::GET, HOME, "k1", "")
            .await
            .ok()
            .header("idempotency-replayed"),
        ""
    );
    world
        .send(Method::PUT, &path, &[("idempotency-key", "k1")], "{}")
        .await
        .is_problem(401, "key_missing");
}

#[tokio::test]
async fn a_refusal_is_answered_again_and_a_failure_of_ours_is_tried_again() {
    let world = World::with_home().await;
    once(
        &world,
        Method::DELETE,
        &format!("{HOME}/names/a.example"),
        "k1",
        "",
    )
    .await
    .is_problem(404, "unknown_name");
    world
        .put(&format!("{HOME}/names/a.example"), r#"{"state":"block"}"#)
        .await
        .ok();
    let again = once(
        &world,
        Method::DELETE,
        &format!("{HOME}/names/a.example"),
        "k1",
        "",
    )
    .await;
    again.is_problem(404, "unknown_name");
    assert_eq!(again.header("idempotency-replayed"), "true");
    world.fake_lists.state().fails_with = Some(control::lists::model::ListError::Failed(
        "the disk is full".to_owned(),
    ));
    once(&world, Method::POST, "/v1/feeds/court/refresh", "k2", "")
        .await
        .is_problem(500, "lists_failed");
    assert_eq!(
        once(&world, Method::POST, "/v1/feeds/court/refresh", "k2", "")
            .await
            .ok()
            .header("idempotency-replayed"),
        ""
    );
    let asked = world.fake_lists.state().asked.clone();
    once(&world, Method::POST, "/v1/feeds/court/refresh", "k2", "")
        .await
        .ok();
    assert_eq!(
        world.fake_lists.state().asked,
        asked,
        "the third time nothing was asked of the fake_lists"
    );
}

#[tokio::test]
async fn a_write_under_way_is_said_to_be_and_is_finished_without_its_client() {
    let world = Arc::new(World::with_home().await);
    let home = "home".parse().unwrap();
    let turn = world.context.control.turns.wait(&home).await;
    let ask = |world: Arc<World>| async move {
        once(
            &world,
            Method::PUT,
            &format!("{HOME}/categories/gambling"),
            "k1",
            r#"{"state":"block"}"#,
        )
        .await
    };
    // Two at once: one is under way and waits for its turn, so the other is answered first.
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..2 {
        clients.spawn(ask(Arc::clone(&world)));
    }
    clients
        .join_next()
        .await
        .unwrap()
        .unwrap()
        .is_problem(409, "idempotency_in_progress");
    clients.shutdown().await;
    drop(turn);
    let mut answer = ask(Arc::clone(&world)).await;
    while answer.status == 409 {
        tokio::task::yield_now().await;
        answer = ask(Arc::clone(&world)).await;
    }
    assert_eq!(
        (answer.status, answer.header("idempotency-replayed")),
        (200, "true")
    );
}

#[tokio::test]
async fn a_secret_is_answered_once_and_never_kept() {
    let world = World::with_home().await;
    let path = format!("{HOME}/keys");
    let made = once(&world, Method::POST, &path, "k1", r#"{"role":"parent"}"#)
        .await
        .ok();
    let id = made.json["id"].as_str().unwrap();
    let secret = made.json["secret"].as_str().unwrap();
    let again = once(&world, Method::POST, &path, "k1", r#"{"role":"parent"}"#).await;
    again.is_problem(409, "idempotency_secret");
    assert!(again.json["detail"].as_str().unwrap().contains(id) && !again.text.contains(secret));
    assert_eq!(
        world.get(&path).await.json["keys"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    world.context.control.store.close().await;
    assert!(
        !world.holds(&secret.as_bytes()[3..]),
        "nowhere in the store's files"
    );
}

/// Asks again while it is let through, once for each second that a busy machine takes.
async fn until_refused(ask: impl AsyncFn() -> Answer) -> Answer {
    for _ in 0..1_000 {
        let answer = ask().await;
        if answer.status == 429 {
            return answer;
        }
    }
    panic!("nothing is ever refused")
}

#[tokio::test]
async fn a_household_that_asks_too_often_is_told_when_to_come_back() {
    let limits = Limits::new(
        Rate { per_s: 1, burst: 5 },
        Rate::default(),
        Rate { per_s: 1, burst: 3 },
    );
    let world = World::admitting(limits, None).await.and_home().await;
    let parent = world.key_of(Role::Parent).await;
    let other = world.key_of(Role::SecondParent).await;
    let ask = async |key: &str| world.as_key(key, Method::GET, HOME, "").await;
    for _ in 0..5 {
        ask(&parent).await.ok();
    }
    let refused = until_refused(async || ask(&parent).await).await;
    refused.is_problem(429, "rate");
    assert_eq!(refused.header("retry-after"), "1");
    let of_the_household = async || ask(&other).await;
    until_refused(of_the_household)
        .await
        .is_problem(429, "rate");
    world.put("/v1/households/away", "{}").await.ok();
    let (away, _) = world.key_in(Role::Parent, "away").await;
    let other = async || {
        world
            .as_key(&away, Method::GET, "/v1/households/away", "")
            .await
    };
    other().await.ok();
    for _ in 0..200 {
        world.get(HOME).await.ok();
    }
    for _ in 0..3 {
        ask("Bearer ox_wrong").await.is_problem(401, "key_wrong");
    }
    until_refused(async || ask("Bearer ox_wrong").await)
        .await
        .is_problem(429, "rate");
    let elsewhere = [("x-forwarded-for", "192.0.2.9")];
    until_refused(async || world.send(Method::GET, HOME, &elsewhere, "").await)
        .await
        .is_problem(429, "rate");
    world.get(HOME).await.ok();
    assert_eq!(
        other().await.json["id"],
        json!("away"),
        "a key in force is not held up by those who guess"
    );
}
