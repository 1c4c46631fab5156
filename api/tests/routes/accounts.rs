//! The audit: every write is in it with who, when, before and after, and nothing else is.

use axum::http::Method;
use control::lists::model::ListError;
use policy_store::Role;
use serde_json::{Value, json};

use crate::world::World;

/// The audit of a subject: actions, before and after.
async fn told(world: &World, subject: &str) -> Vec<(String, Value, Value)> {
    let page = world
        .get(&format!("/v1/audit?subject={subject}"))
        .await
        .ok()
        .json;
    let rows = page["records"].as_array().unwrap().iter();
    rows.map(|row| {
        (
            row["action"].as_str().unwrap().to_owned(),
            row["before"].clone(),
            row["after"].clone(),
        )
    })
    .collect()
}

async fn actions(world: &World, subject: &str) -> Vec<String> {
    told(world, subject)
        .await
        .into_iter()
        .map(|(action, ..)| action)
        .collect()
}

/// Waits until a row is there that is written after the answer.
async fn row(world: &World, subject: &str, action: &str) -> (String, Value, Value) {
    for _ in 0..10_000 {
        if let Some(row) = told(world, subject)
            .await
            .into_iter()
            .find(|(is, ..)| is == action)
        {
            return row;
        }
        tokio::task::yield_now().await;
    }
    panic!("{action} of {subject} is not in the audit");
}

#[tokio::test]
async fn every_switch_of_a_household_is_written_down_with_who_and_what_differs() {
    let world = World::with_home().await;
    world
        .put(
            "/v1/households/home/categories/gambling",
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    world
        .put(
            "/v1/households/home/categories/nothing",
            r#"{"state":"block"}"#,
        )
        .await
        .is_problem(404, "unknown_category");
    world.delete("/v1/households/home").await.ok();
    let rows = told(&world, "household:home").await;
    let words: Vec<_> = rows.iter().map(|(action, ..)| action.as_str()).collect();
    assert_eq!(words, ["create", "change", "change", "change", "delete"]);
    let (_, before, after) = &rows[3];
    assert_eq!(
        *before,
        json!({ "categories": {}, "version": 3 }),
        "what differs, and nothing else"
    );
    assert_eq!(
        (&after["categories"]["gambling"]["state"], &after["version"]),
        (&json!("block"), &json!(4))
    );
    let page = world
        .get("/v1/audit?subject=household:home")
        .await
        .ok()
        .json;
    for row in page["records"].as_array().unwrap() {
        assert_eq!(
            (&row["actor"], &row["role"]),
            (&json!(format!("key:{}", world.key_id)), &json!("operator"))
        );
        assert!(
            row["at"]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .is_ok()
        );
    }
}

#[tokio::test]
async fn every_act_on_feeds_and_lists_is_written_down_and_no_secret_with_it() {
    let world = World::new().await;
    let definition =
        json!({ "source": "https://lists.example/?key=hunter2", "password": "hunter2" });
    world
        .put("/v1/feeds/new", &definition.to_string())
        .await
        .ok();
    world
        .put("/v1/feeds/new", &definition.to_string())
        .await
        .ok();
    world.post("/v1/feeds/new/refresh", "").await.ok();
    world.delete("/v1/feeds/new").await.ok();
    assert_eq!(
        actions(&world, "feed:new").await,
        ["create", "change", "refresh", "delete"]
    );
    world.post("/v1/feeds/bets/approve", "").await.ok();
    let rows = told(&world, "feed:bets").await;
    assert_eq!(
        (
            rows[0].0.as_str(),
            &rows[0].1["refused"]["gate"],
            &rows[0].1["version"]
        ),
        ("approve", &json!("shrink"), &json!("1"))
    );
    assert_eq!(rows[0].2, json!({ "version": "2" }));
    world
        .post("/v1/feeds/court/rollback", r#"{"generation":5}"#)
        .await
        .ok();
    let (_, _, after) = row(&world, "feed:court", "rollback_done").await;
    assert_eq!(
        (&after["generation"], &after["content_of"]),
        (&json!(8), &json!(5))
    );
    assert!(!world.get("/v1/audit").await.ok().text.contains("hunter2"));
    assert_eq!(
        world.get("/v1/audit/verify").await.ok().json["is_whole"],
        true
    );
}

#[tokio::test]
async fn a_rollback_is_written_down_with_the_names_that_came_and_went() {
    let world = World::new().await;
    world
        .post("/v1/lists/rollback", r#"{"generation":5}"#)
        .await
        .ok();
    let first = &told(&world, "lists").await[0];
    assert_eq!(
        *first,
        (
            "rollback".to_owned(),
            json!({ "generation": 7 }),
            json!({ "generation": 5 })
        ),
        "it is there when the answer is"
    );
    let (_, before, after) = row(&world, "lists", "rollback_done").await;
    assert_eq!(
        (&before["generation"], &after["generation"]),
        (&json!(7), &json!(5))
    );
    let difference = &after["difference"];
    assert_eq!(
        (
            &difference["changes"][0]["category"],
            &difference["added"][0]["name"]
        ),
        (&json!("gambling"), &json!("a.example"))
    );
    assert_eq!(
        world.fake_lists.state().asked.last().unwrap(),
        "diff 7 5 1000"
    );
}

#[tokio::test]
async fn an_act_that_failed_is_in_the_audit_and_a_refused_one_is_not() {
    let world = World::new().await;
    world
        .post("/v1/feeds/leaky/approve", "")
        .await
        .is_problem(409, "not_approvable");
    world
        .post("/v1/feeds/court/approve", "")
        .await
        .is_problem(409, "nothing_refused");
    world
        .put("/v1/feeds/court", "{}")
        .await
        .is_problem(409, "configured");
    assert_eq!(
        world.get("/v1/audit").await.ok().json["records"]
            .as_array()
            .unwrap()
            .len(),
        1,
        "that of the key that asks"
    );
    for (path, subject, action) in [
        ("/v1/feeds/bets/refresh", "feed:bets", "refresh"),
        ("/v1/feeds/leaky/rollback", "feed:leaky", "rollback"),
        ("/v1/lists/rollback", "lists", "rollback"),
    ] {
        world.fake_lists.state().fails_with =
            Some(ListError::Failed("the disk is full".to_owned()));
        world.post(path, "").await.is_problem(500, "lists_failed");
        let rows = told(&world, subject).await;
        assert_eq!(
            (rows.len(), rows[0].0.as_str(), rows[1].0.clone()),
            (2, action, format!("{action}_failed"))
        );
        assert_eq!(
            rows[1].2,
            json!({ "code": "lists_failed", "detail": "what is live stays: the disk is full" })
        );
    }
}

#[tokio::test]
async fn the_audit_is_read_page_by_page_by_operators_and_auditors_alone() {
    let world = World::new().await;
    for number in 0..5 {
        world
            .put(&format!("/v1/households/h{number}"), "{}")
            .await
            .ok();
    }
    let auditor = world.key_of(Role::Auditor).await;
    let mut sequences = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/audit?limit=2{cursor}");
        let page = world
            .send(Method::GET, &path, &[("authorization", &auditor)], "")
            .await
            .ok()
            .json;
        sequences.extend(
            page["records"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["sequence"].as_u64().unwrap()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6, 7], "two keys were made, too");
    let newest = world.get("/v1/audit?limit=2&order=newest").await.ok().json;
    assert_eq!(
        (&newest["records"][0]["sequence"], &newest["next"]),
        (&json!(7), &json!("6"))
    );
    let (parent, _) = world.key_in(Role::Parent, "h1").await;
    for path in ["/v1/audit", "/v1/audit/verify"] {
        world
            .send(Method::GET, path, &[("authorization", &parent)], "")
            .await
            .is_problem(403, "role");
    }
    world
        .get("/v1/audit?limit=0")
        .await
        .is_problem(422, "limit");
    world
        .get("/v1/audit?limit=1001")
        .await
        .is_problem(422, "limit");
    world
        .get("/v1/audit?cursor=first")
        .await
        .is_problem(422, "cursor");
    world
        .get("/v1/audit?order=random")
        .await
        .is_problem(400, "query");
    world
        .get("/v1/audit?colour=1")
        .await
        .is_problem(400, "query");
}

#[tokio::test]
async fn the_verification_names_the_head_that_somebody_may_keep_elsewhere() {
    let world = World::new().await;
    let first = world.get("/v1/audit").await.ok().json["records"][0].clone();
    let verified = world.get("/v1/audit/verify").await.ok().json;
    assert_eq!(
        verified,
        json!({ "is_whole": true, "rows": 1, "archived": 0, "head": first["hash"], "signed": null, "signed_head": null, "fault": null })
    );
    world.put("/v1/households/home", "{}").await.ok();
    let last = world.get("/v1/audit?order=newest").await.ok().json["records"][0].clone();
    let verified = world.get("/v1/audit/verify").await.ok().json;
    assert_eq!(
        (&verified["rows"], &verified["head"]),
        (&json!(2), &last["hash"])
    );
}
