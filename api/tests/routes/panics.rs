//! A panic is a counted 500, wherever it happens, and changes nothing.

use std::sync::OnceLock;

use api::problem::Problem;
use axum::http::Method;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use policy::rules::household::Household;

use crate::world::{World, author};

const HOME: &str = "/v1/households/home";

/// What the counters say. One recorder serves all tests of a process.
fn counted(place: &str) -> u64 {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let recorder = RECORDER.get_or_init(|| {
        let handle = PrometheusBuilder::new().install_recorder().unwrap();
        api::panics::describe();
        handle
    });
    let line = format!("ox_protect_api_panics_total{{place=\"{place}\"}} ");
    recorder
        .render()
        .lines()
        .find_map(|text| text.strip_prefix(&line)?.parse().ok())
        .expect("it is there before the first panic")
}

#[tokio::test]
async fn a_handler_that_panics_is_a_counted_500_and_the_node_goes_on() {
    let world = World::with_home().await;
    let before = counted("handler");
    let path = "/v1/explain?name=panic.example";
    let answer = world.get(path).await;
    answer.is_problem(500, "panicked");
    assert!(
        !answer.text.contains("what the caller must not see"),
        "{}",
        answer.text
    );
    world.get(path).await.is_problem(500, "panicked");
    assert_eq!(counted("handler"), before + 2);
    world.get("/v1/explain?name=a.example").await.ok();
}

#[tokio::test]
async fn a_write_that_panics_is_a_counted_500_and_changes_nothing() {
    let world = World::with_home().await;
    let before = counted("task");
    let was = world.get(HOME).await.text;
    let edit = |_: Option<Household>| -> Result<(Option<Household>, ()), Problem> {
        panic!("while it was edited")
    };
    for _ in 0..8 {
        let refused = control::households::write::change(
            &world.context.control,
            &author(),
            "home".parse().unwrap(),
            None,
            edit,
        )
        .await
        .map_err(Problem::from)
        .unwrap_err();
        assert_eq!(
            (refused.status().as_u16(), refused.code()),
            (500, "panicked")
        );
    }
    assert_eq!(counted("task"), before + 8);
    assert_eq!(world.get(HOME).await.text, was);
    // More often than there are connections to the store: none of them is lost.
    world
        .put(
            &format!("{HOME}/categories/gambling"),
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    world.assert_live_is_stored().await;
}

#[tokio::test]
async fn an_act_on_the_lists_that_panics_is_a_counted_500() {
    let world = World::new().await;
    let before = counted("task");
    world.fake_lists.panics();
    world
        .post("/v1/feeds/bets/refresh", "{}")
        .await
        .is_problem(500, "panicked");
    world.fake_lists.panics();
    world
        .post("/v1/lists/rollback", "{}")
        .await
        .is_problem(500, "panicked");
    // A write that names itself runs in a task of its own, too; what failed may be tried again.
    world.fake_lists.panics();
    let named = [("idempotency-key", "once")];
    world
        .ask(Method::POST, "/v1/lists/rollback", &named, "{}")
        .await
        .is_problem(500, "panicked");
    assert_eq!(counted("task"), before + 3);
    world
        .ask(Method::POST, "/v1/lists/rollback", &named, "{}")
        .await
        .ok();
}

#[tokio::test]
async fn a_stream_that_panics_ends_and_is_counted() {
    use futures_util::{StreamExt, stream};
    let before = counted("stream");
    let items = stream::iter(0..5).map(|number| {
        if number == 2 {
            panic!("at the third")
        } else {
            number
        }
    });
    assert_eq!(
        api::panics::ended_by(items).collect::<Vec<_>>().await,
        [0, 1]
    );
    assert_eq!(counted("stream"), before + 1);
}
