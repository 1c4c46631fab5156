//! Feeds: how they are shown and defined, and what an operator does about a refused version.

use axum::http::Method;
use control::lists::model::{Condition, ListError, Origin};
use policy_store::SortOrder;
use serde_json::{Value, json};

use crate::{fake_lists, world::World};

const SECRET: &str = "hunter2";

fn definition() -> Value {
    json!({ "source": "https://lists.example/new?key=hunter2", "format": "domains", "category": "gambling", "password": SECRET })
}

/// The operations that the fake lists were asked for.
fn asked(world: &World) -> Vec<String> {
    std::mem::take(&mut world.fake_lists.state().asked)
}

#[tokio::test]
async fn feeds_come_by_name_page_by_page_each_once() {
    let world = World::new().await;
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world
            .get(&format!("/v1/feeds?limit=1{cursor}"))
            .await
            .ok()
            .json;
        names.extend(
            page["feeds"]
                .as_array()
                .unwrap()
                .iter()
                .map(|feed| feed["name"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["bets", "court", "leaky"]);
    assert_eq!(
        world.get("/v1/feeds").await.ok().json["feeds"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    for limit in ["0", "1001"] {
        world
            .get(&format!("/v1/feeds?limit={limit}"))
            .await
            .is_problem(422, "limit");
    }
}

#[tokio::test]
async fn a_feed_says_how_it_is_which_gate_stopped_what_and_no_secret() {
    let world = World::new().await;
    let answer = world.get("/v1/feeds/bets").await.ok();
    let feed = &answer.json;
    assert_eq!(
        (
            &feed["state"],
            &feed["origin"],
            &feed["tier"],
            &feed["version"]
        ),
        (
            &json!("refused"),
            &json!("config"),
            &json!("choice"),
            &json!("1")
        )
    );
    assert_eq!(
        (
            &feed["failures"],
            &feed["hits"],
            &feed["age_s"],
            &feed["generation"]
        ),
        (&json!({ "size": 2 }), &json!(5), &json!(9), &json!(7))
    );
    assert_eq!(feed["refused"]["gate"], "shrink");
    assert_eq!(
        feed["refused"]["detail"],
        "shrink of https://(hidden)@lists.example/bets?(hidden)"
    );
    assert_eq!(
        (&feed["revision"], answer.header("etag")),
        (&Value::Null, ""),
        "the configuration's has none"
    );
    for path in [
        "/v1/feeds",
        "/v1/feeds/bets",
        "/v1/feeds/leaky",
        "/v1/lists",
    ] {
        assert!(!world.get(path).await.ok().text.contains(SECRET), "{path}");
    }
    world
        .get("/v1/feeds/none")
        .await
        .is_problem(404, "unknown_feed");
}

#[tokio::test]
async fn a_feed_is_defined_once_and_kept_and_taken_into_use() {
    let world = World::new().await;
    let mut sent = definition();
    sent["name"] = "my feed".into();
    let answer = world.post("/v1/feeds", &sent.to_string()).await.ok();
    assert_eq!(
        (
            answer.status,
            answer.header("location"),
            answer.header("etag")
        ),
        (201, "/v1/feeds/my%20feed", "\"1\"")
    );
    assert_eq!(
        (
            &answer.json["state"],
            &answer.json["origin"],
            &answer.json["revision"]
        ),
        (&json!("waiting"), &json!("api"), &json!(1))
    );
    assert_eq!(answer.json["updated_by"], format!("key:{}", world.key_id));
    assert!(!answer.text.contains(SECRET));
    assert!(
        asked(&world)[0].contains(SECRET),
        "whoever fetches knows it"
    );
    let kept = world
        .other_process()
        .await
        .feed("my feed")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (&kept.document["password"], &kept.document["tier"]),
        (&json!(SECRET), &json!("choice")),
        "it is kept as it was made canonical"
    );
    let got = world.get("/v1/feeds/my%20feed").await.ok();
    assert_eq!(
        (got.header("etag"), &got.json["definition"]["password"]),
        ("\"1\"", &json!("(hidden)"))
    );
    for name in ["my feed", "court"] {
        sent["name"] = name.into();
        world
            .post("/v1/feeds", &sent.to_string())
            .await
            .is_problem(409, "exists");
    }
    assert!(asked(&world).is_empty());
}

#[tokio::test]
async fn an_unusable_definition_is_refused_with_its_field() {
    let world = World::new().await;
    let with = |field: &str, value: Value| {
        let mut sent = definition();
        sent[field] = value;
        sent.to_string()
    };
    let cases = [
        (
            Method::POST,
            "/v1/feeds",
            definition().to_string(),
            "missing",
            "name",
        ),
        (
            Method::POST,
            "/v1/feeds",
            with("name", json!(7)),
            "missing",
            "name",
        ),
        (
            Method::POST,
            "/v1/feeds",
            json!({ "name": "new", "source": "" }).to_string(),
            "definition",
            "source",
        ),
        (
            Method::PUT,
            "/v1/feeds/new",
            "{}".to_owned(),
            "definition",
            "source",
        ),
        (
            Method::PUT,
            "/v1/feeds/new",
            with("name", json!("other")),
            "name",
            "name",
        ),
        (
            Method::PUT,
            "/v1/feeds/new",
            with("password", json!("(hidden)")),
            "hidden",
            "password",
        ),
        (
            Method::PUT,
            "/v1/feeds/new",
            with("source", json!("https://(hidden)@lists.example/")),
            "hidden",
            "source",
        ),
    ];
    for (method, path, body, code, field) in cases {
        let answer = world.ask(method, path, &[], &body).await;
        answer.is_problem(422, code);
        assert_eq!(answer.json["field"], field, "{body}");
    }
    world
        .put("/v1/feeds/new", "[]")
        .await
        .is_problem(422, "body");
    assert!(
        world
            .context
            .control
            .store
            .feeds()
            .await
            .unwrap()
            .is_empty()
            && asked(&world).is_empty()
    );
    assert_eq!(
        world
            .context
            .control
            .store
            .audit(None, SortOrder::Oldest, None, 10)
            .await
            .unwrap()
            .records
            .len(),
        1,
        "that of the key"
    );
}

#[tokio::test]
async fn a_definition_sent_back_as_it_was_shown_keeps_its_secrets() {
    let world = World::new().await;
    assert_eq!(
        world
            .put("/v1/feeds/new", &definition().to_string())
            .await
            .ok()
            .status,
        201
    );
    let mut shown = world.get("/v1/feeds/new").await.ok().json["definition"].clone();
    shown["interval_s"] = 60.into();
    let answer = world.put("/v1/feeds/new", &shown.to_string()).await.ok();
    assert_eq!((answer.status, &answer.json["revision"]), (200, &json!(2)));
    let kept = world
        .context
        .control
        .store
        .feed("new")
        .await
        .unwrap()
        .unwrap()
        .document;
    assert_eq!(
        (&kept["password"], &kept["source"], &kept["interval_s"]),
        (&json!(SECRET), &definition()["source"], &json!(60))
    );
    shown["source"] = "https://thief.example/".into();
    world
        .put("/v1/feeds/new", &shown.to_string())
        .await
        .is_problem(422, "hidden");
}

#[tokio::test]
async fn writers_of_a_feed_who_race_are_told_so() {
    let world = World::new().await;
    let body = definition().to_string();
    let put = async |headers: &[(&str, &str)]| {
        world
            .ask(Method::PUT, "/v1/feeds/new", headers, &body)
            .await
    };
    put(&[("if-match", "*")])
        .await
        .is_problem(412, "version_mismatch");
    put(&[("if-match", "\"1\"")])
        .await
        .is_problem(412, "version_mismatch");
    assert_eq!(put(&[("if-none-match", "*")]).await.ok().status, 201);
    put(&[("if-none-match", "*")])
        .await
        .is_problem(412, "exists");
    put(&[("if-match", "\"2\"")])
        .await
        .is_problem(412, "version_mismatch");
    assert_eq!(
        put(&[("if-match", "\"1\"")]).await.ok().header("etag"),
        "\"2\""
    );
    world
        .ask(
            Method::DELETE,
            "/v1/feeds/new",
            &[("if-match", "\"1\"")],
            "",
        )
        .await
        .is_problem(412, "version_mismatch");
    let gone = world
        .ask(
            Method::DELETE,
            "/v1/feeds/new",
            &[("if-match", "\"2\"")],
            "",
        )
        .await
        .ok();
    assert_eq!(
        (gone.header("etag"), &gone.json),
        ("\"3\"", &json!({ "revision": 3 }))
    );
    world
        .get("/v1/feeds/new")
        .await
        .is_problem(404, "unknown_feed");
    world
        .delete("/v1/feeds/new")
        .await
        .is_problem(404, "unknown_feed");
    assert_eq!(put(&[]).await.ok().header("etag"), "\"4\"");
}

#[tokio::test]
async fn a_feed_of_the_configuration_is_changed_there() {
    let world = World::new().await;
    world
        .put("/v1/feeds/court", &definition().to_string())
        .await
        .is_problem(409, "configured");
    world
        .delete("/v1/feeds/court")
        .await
        .is_problem(409, "configured");
    assert!(
        asked(&world).is_empty()
            && world
                .context
                .control
                .store
                .feeds()
                .await
                .unwrap()
                .is_empty()
    );
}

#[tokio::test]
async fn a_feed_is_refreshed_whatever_its_schedule() {
    let world = World::new().await;
    let answer = world.post("/v1/feeds/court/refresh", "").await.ok();
    assert_eq!(
        (answer.status, &answer.json["name"]),
        (202, &json!("court"))
    );
    world
        .post("/v1/feeds/none/refresh", "")
        .await
        .is_problem(404, "unknown_feed");
    assert_eq!(asked(&world), ["refresh court"]);
}

#[tokio::test]
async fn what_a_version_would_change_is_shown_before_it_is_let_through() {
    let world = World::new().await;
    let what_if = world.get("/v1/feeds/bets/what-if").await.ok().json;
    assert_eq!(
        (&what_if["version"], &what_if["newly_blocked"]),
        (&json!("2"), &json!({ "gambling": 2 }))
    );
    assert_eq!(
        (
            &what_if["queries_yesterday"]["queries"],
            &what_if["sample_blocked"][0]["name"]
        ),
        (&json!(12), &json!("a.example"))
    );
    world
        .get("/v1/feeds/court/what-if")
        .await
        .is_problem(409, "nothing_refused");
    world
        .get("/v1/feeds/none/what-if")
        .await
        .is_problem(404, "unknown_feed");
}

#[tokio::test]
async fn an_approval_lets_through_only_the_version_that_was_looked_at() {
    let world = World::new().await;
    let other = world
        .post("/v1/feeds/bets/approve", r#"{"version":"3"}"#)
        .await;
    other.is_problem(409, "another_version");
    assert!(
        other.json["detail"].as_str().unwrap().contains("is 2"),
        "{}",
        other.text
    );
    let answer = world
        .post("/v1/feeds/bets/approve", r#"{"version":"2"}"#)
        .await
        .ok();
    assert_eq!(
        (
            &answer.json["state"],
            &answer.json["version"],
            &answer.json["refused"]
        ),
        (&json!("live"), &json!("2"), &Value::Null)
    );
    assert_eq!(
        asked(&world),
        [format!(r#"approve bets Some("2") by key:{}"#, world.key_id)]
    );
    world
        .post("/v1/feeds/bets/approve", "")
        .await
        .is_problem(409, "nothing_refused");
    world
        .post("/v1/feeds/leaky/approve", "")
        .await
        .is_problem(409, "not_approvable");
    world
        .post("/v1/feeds/none/approve", "")
        .await
        .is_problem(404, "unknown_feed");
    world
        .post("/v1/feeds/bets/approve", r#"{"force":true}"#)
        .await
        .is_problem(422, "body");
    assert!(asked(&world).is_empty());
}

#[tokio::test]
async fn a_feed_goes_back_and_stays_until_it_is_approved_to_go_on() {
    let world = World::new().await;
    let by = format!("by key:{}", world.key_id);
    let answer = world
        .post("/v1/feeds/court/rollback", r#"{"generation":5}"#)
        .await
        .ok();
    assert_eq!(
        answer.json,
        json!({ "from": 7, "to": 5, "live": 8, "took_ms": 0.5 })
    );
    assert_eq!(
        world.get("/v1/feeds/court").await.ok().json["state"],
        "held"
    );
    world.post("/v1/feeds/court/approve", "").await.ok();
    assert_eq!(
        world.get("/v1/feeds/court").await.ok().json["state"],
        "live"
    );
    world.post("/v1/feeds/court/rollback", "").await.ok();
    let acts: Vec<_> = asked(&world)
        .into_iter()
        .filter(|asked| !asked.starts_with("diff"))
        .collect();
    assert_eq!(
        acts,
        [
            format!("roll back court to Some(5) {by}"),
            format!("approve court None {by}"),
            format!("roll back court to None {by}")
        ]
    );
    world
        .post("/v1/feeds/none/rollback", "")
        .await
        .is_problem(404, "unknown_feed");
}

#[tokio::test]
async fn an_act_that_fails_says_why_with_a_code_that_stays() {
    let world = World::new().await;
    let cases = [
        (ListError::UnknownFeed, 404, "unknown_feed"),
        (ListError::NothingRefused, 409, "nothing_refused"),
        (
            ListError::AnotherVersion {
                waiting: "4".to_owned(),
            },
            409,
            "another_version",
        ),
        (
            ListError::NotApprovable {
                gate: "checksum".to_owned(),
            },
            409,
            "not_approvable",
        ),
        (ListError::UnknownGeneration(1), 404, "unknown_generation"),
        (
            ListError::NothingBefore("it is live".to_owned()),
            409,
            "nothing_before",
        ),
        (
            ListError::Failed("no answer from https://ox:hunter2@lists.example/".to_owned()),
            500,
            "lists_failed",
        ),
    ];
    for (error, status, code) in cases {
        for path in [
            "/v1/feeds/bets/refresh",
            "/v1/feeds/bets/approve",
            "/v1/feeds/bets/rollback",
            "/v1/lists/rollback",
        ] {
            world.fake_lists.state().fails_with = Some(error.clone());
            let answer = world.post(path, "").await;
            answer.is_problem(status, code);
            assert!(!answer.text.contains(SECRET));
        }
    }
    assert_eq!(
        world.get("/v1/feeds/bets").await.ok().json["state"],
        "refused",
        "nothing was done"
    );
}

#[tokio::test]
async fn a_stored_feed_in_the_shadow_of_the_configuration_lends_it_nothing() {
    let world = World::new().await;
    world
        .put("/v1/feeds/new", &definition().to_string())
        .await
        .ok();
    let configured = fake_lists::feed(
        "new",
        Origin::Config,
        json!({ "name": "new", "source": "a.txt" }),
    );
    world
        .fake_lists
        .state()
        .feeds
        .insert("new".to_owned(), configured);
    let answer = world.get("/v1/feeds/new").await.ok();
    assert_eq!(
        (
            &answer.json["revision"],
            &answer.json["source"],
            answer.header("etag")
        ),
        (&Value::Null, &json!("a.txt"), "")
    );
    assert_eq!(world.fake_lists.state().feeds["new"].state, Condition::Live);
}
