//! Concurrent writes, and clients that disconnect: what is stored and what is live stay equal.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, mpsc},
    task::Poll,
};

use axum::{
    body::Body,
    http::{Method, Request},
};
use control::households::{turns::WRITES_MAX, write::change_existing};
use policy::{identity::directory::Directory, rules::household::Household};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::world::{World, author};

const HOME: &str = "/v1/households/home";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_toggles_at_once_end_with_the_last_one_stored_live() {
    let world = Arc::new(World::with_home().await);
    let first = world.get(HOME).await.version();
    for round in 0..5 {
        let toggle = |number: usize| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let body = if number.is_multiple_of(2) {
                    r#"{"state":"block"}"#
                } else {
                    r#"{"state":"allow"}"#
                };
                let place = if number.is_multiple_of(3) {
                    "/devices/phone"
                } else {
                    ""
                };
                world
                    .put(&format!("{HOME}{place}/categories/gambling"), body)
                    .await
                    .version()
            })
        };
        let mut versions = Vec::new();
        for toggling in (0..100).map(toggle).collect::<Vec<_>>() {
            versions.push(toggling.await.unwrap());
        }
        versions.sort_unstable();
        let start = first + round * 100;
        assert_eq!(
            versions,
            (start + 1..=start + 100).collect::<Vec<_>>(),
            "each has a version of its own"
        );
        world.assert_live_is_stored().await;
    }
}

/// Sends a request, and disconnects after so many polls. Returns whether the answer came in time.
async fn ask_and_leave(world: &World, patience: usize, body: &'static str) -> bool {
    let request = Request::builder()
        .method(Method::PUT)
        .uri(format!("{HOME}/categories/gambling"));
    let request = request
        .header("authorization", format!("Bearer {}", world.key))
        .header("content-type", "application/json");
    let mut asking = pin!(
        world
            .router
            .clone()
            .oneshot(request.body(Body::from(body)).unwrap())
    );
    for _ in 0..patience {
        if std::future::poll_fn(|context| Poll::Ready(asking.as_mut().poll(context).is_ready()))
            .await
        {
            return true;
        }
        // The database's own thread goes on meanwhile, so where the cut falls differs from run to
        // run; all of it must hold.
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test]
async fn a_client_that_goes_away_during_a_write_leaves_store_and_rules_equal() {
    let world = World::with_home().await;
    let mut answered = 0;
    let mut left = 0;
    let first = world.get(HOME).await.version();
    for round in 0..400 {
        let body = if round % 2 == 0 {
            r#"{"state":"block"}"#
        } else {
            r#"{"state":"allow"}"#
        };
        match ask_and_leave(&world, round, body).await {
            true => answered += 1,
            false => left += 1,
        }
        // One thread runs all tasks in turn: a write that began is in the queue before this one.
        tokio::task::yield_now().await;
        drop(
            world
                .context
                .control
                .turns
                .wait(&"home".parse().unwrap())
                .await,
        );
        world.assert_live_is_stored().await;
    }
    let written = world.get(HOME).await.version() - first;
    assert!(
        left > 0 && written > answered,
        "{left} left, {answered} were answered, {written} written: no write was cut in the middle"
    );
}

const BLOCK: &str = r#"{"state":"block"}"#;

#[tokio::test]
async fn households_write_and_are_read_while_a_write_of_another_one_is_stuck() {
    let world = World::with_home().await;
    for household in ["a", "b"] {
        world
            .put(&format!("/v1/households/{household}"), "{}")
            .await
            .ok();
    }
    let (begun, has_begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let control = Arc::clone(&world.context.control);
    let stuck = tokio::spawn(async move {
        let edit = move |household: &mut Household| {
            begun.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
            household.locale = Some("fr".to_owned());
            Ok::<_, ()>(())
        };
        let home = "home".parse().unwrap();
        change_existing(&control, &author(), home, None, edit)
            .await
            .map(drop)
    });
    while has_begun.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        for household in ["a", "b"] {
            let path = format!("/v1/households/{household}/categories/gambling");
            world.put(&path, BLOCK).await.ok();
        }
    }
    // Reads of the household itself do not wait, either.
    for path in [
        HOME,
        "/v1/households/home/effective",
        "/v1/explain?name=bets.example&household=home",
    ] {
        world.get(path).await.ok();
    }
    assert!(!stuck.is_finished());
    release.send(()).unwrap();
    stuck.await.unwrap().unwrap();
    assert_eq!(world.get(HOME).await.json["locale"], "fr");
    world.assert_live_is_stored().await;
}

#[tokio::test]
async fn of_many_writers_that_expect_one_version_one_succeeds() {
    let world = Arc::new(World::with_home().await);
    let version = world.get(HOME).await.version();
    let mut writers = JoinSet::new();
    for _ in 0..20 {
        let world = Arc::clone(&world);
        writers.spawn(async move {
            let expects = [("if-match", &*format!("\"{version}\""))];
            let path = format!("{HOME}/categories/gambling");
            world.ask(Method::PUT, &path, &expects, BLOCK).await.status
        });
    }
    let mut answers = writers.join_all().await;
    answers.sort_unstable();
    assert_eq!((answers[0], answers[1], answers[19]), (200, 412, 412));
    assert_eq!(world.get(HOME).await.version(), version + 1);
}

#[tokio::test]
async fn a_household_with_too_many_waiting_writes_is_told_to_come_back() {
    /// Writes that find no place.
    const SURPLUS: usize = 5;
    let world = Arc::new(World::with_home().await);
    world.put("/v1/households/other", "{}").await.ok();
    let home = "home".parse().unwrap();
    let turn = world.context.control.turns.wait(&home).await;
    let write = async |world: &World, number: usize| {
        let named = [("idempotency-key", &*format!("k{number}"))];
        let path = format!("{HOME}/categories/gambling");
        (number, world.ask(Method::PUT, &path, &named, BLOCK).await)
    };
    let mut writers = JoinSet::new();
    // The turn itself is one of the writes.
    for number in 0..WRITES_MAX - 1 + SURPLUS {
        let world = Arc::clone(&world);
        writers.spawn(async move { write(&world, number).await });
    }
    let mut refused = 0;
    for _ in 0..SURPLUS {
        let (number, answer) = writers.join_next().await.unwrap().unwrap();
        answer.is_problem(429, "rate");
        assert_eq!(answer.header("retry-after"), "1");
        refused = number;
    }
    world
        .put("/v1/households/other/categories/gambling", BLOCK)
        .await
        .ok();
    drop(turn);
    for (_, answer) in writers.join_all().await {
        answer.ok();
    }
    let (_, again) = write(&world, refused).await;
    let again = again.ok();
    assert_eq!(again.header("idempotency-replayed"), "", "it is done now");
}

#[tokio::test]
async fn a_start_makes_all_households_live_but_one_that_cannot_be_read() {
    let world = World::with_home().await;
    world.put("/v1/households/broken", "{}").await.ok();
    world.break_document("broken").await;
    let started = Directory::new(world.context.control.defaults);
    let store = world.other_process().await;
    let taxonomy = &world.context.control.taxonomy;
    let defaults = world.context.control.defaults;
    assert_eq!(
        control::households::load::load_all(&store, &started, taxonomy, defaults)
            .await
            .unwrap(),
        1
    );
    assert!(
        started.household(&"home".parse().unwrap()).is_some()
            && started.household(&"broken".parse().unwrap()).is_none()
    );
}

#[tokio::test]
async fn a_start_makes_live_exactly_what_is_stored() {
    let world = World::with_home().await;
    world
        .put(
            &format!("{HOME}/devices/phone/categories/gambling"),
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    world.put("/v1/households/gone", "{}").await.ok();
    world.delete("/v1/households/gone").await.ok();
    let started = Directory::new(world.context.control.defaults);
    let store = world.other_process().await;
    let taxonomy = &world.context.control.taxonomy;
    let defaults = world.context.control.defaults;
    assert_eq!(
        control::households::load::load_all(&store, &started, taxonomy, defaults)
            .await
            .unwrap(),
        1
    );
    for address in ["192.0.2.7", "192.0.2.8", "203.0.113.1"] {
        let after = &started;
        let before = &world.context.control.directory;
        let address: std::net::IpAddr = address.parse().unwrap();
        let identify = |directory: &Directory| {
            directory.identify(
                address,
                None,
                false,
                policy::unix_seconds::UnixSeconds::FIRST,
            )
        };
        assert_eq!(after.household_of(address), before.household_of(address));
        assert_eq!(
            (identify(after).policy, identify(after).source),
            (identify(before).policy, identify(before).source)
        );
    }
}
