//! Negative trust anchors: live when their write is answered, with an end that is not far, and in
//! the audit.

use axum::http::Method;
use jiff::{SignedDuration, Timestamp};
use policy_store::Role;
use serde_json::{Value, json};

use crate::world::World;

const DE: &str = "/v1/negative-trust-anchors/de";

/// An end so many hours from now.
fn hours(hours: i64) -> String {
    (Timestamp::now() + SignedDuration::from_hours(hours)).to_string()
}

fn terms(until: &str) -> String {
    json!({"until": until, "reason": "DS of 5 May does not match"}).to_string()
}

fn unvalidated(world: &World) -> Vec<String> {
    world.unvalidated.lock().unwrap().clone()
}

#[tokio::test]
async fn an_anchor_is_in_force_when_its_write_is_answered() {
    let world = World::new().await;
    let until = hours(24);
    let made = world.put(DE, &terms(&until)).await.ok();
    assert_eq!((made.status, made.version()), (201, 1));
    assert_eq!(unvalidated(&world), ["corp.example", "de"]);
    assert_eq!(
        (&made.json["until"], &made.json["reason"]),
        (&json!(until), &json!("DS of 5 May does not match"))
    );
    let changed = world.put(DE, &terms(&hours(48))).await.ok();
    assert_eq!((changed.status, changed.version()), (200, 2));
    // Names are names, however they are written.
    let same = world.get("/v1/negative-trust-anchors/DE.").await.ok();
    assert_eq!(same.json, changed.json);
    assert_eq!(world.delete(DE).await.ok().version(), 3);
    assert_eq!(unvalidated(&world), ["corp.example"]);
    for gone in [world.get(DE).await, world.delete(DE).await] {
        gone.is_problem(404, "unknown_negative_trust_anchor");
    }
}

#[tokio::test]
async fn the_list_has_those_of_the_configuration_and_they_stay() {
    let world = World::new().await;
    world.put(DE, &terms(&hours(1))).await.ok();
    let all = world.get("/v1/negative-trust-anchors").await.ok().json;
    let all = all["negative_trust_anchors"].as_array().unwrap().clone();
    let seen: Vec<(&Value, &Value)> = all
        .iter()
        .map(|anchor| (&anchor["name"], &anchor["configured"]))
        .collect();
    assert_eq!(
        seen,
        [
            (&json!("de"), &json!(false)),
            (&json!("corp.example"), &json!(true)),
        ]
    );
    assert_eq!(all[1]["until"], Value::Null);
    let corp = "/v1/negative-trust-anchors/corp.example";
    assert_eq!(world.get(corp).await.ok().json, all[1]);
    for refused in [
        world.put(corp, &terms(&hours(1))).await,
        world.delete(corp).await,
    ] {
        refused.is_problem(409, "configured");
    }
    assert_eq!(unvalidated(&world), ["corp.example", "de"]);
}

#[tokio::test]
async fn an_end_that_is_past_or_far_and_a_root_are_refused() {
    let world = World::new().await;
    let without_reason = json!({"until": hours(1)}).to_string();
    let without_end = json!({"reason": "broken"}).to_string();
    let blank = json!({"until": hours(1), "reason": " "}).to_string();
    let long = json!({"until": hours(1), "reason": "x".repeat(257)}).to_string();
    for (name, body, code, field) in [
        ("de", terms(&hours(0)), "limit", "until"),
        ("de", terms(&hours(-1)), "limit", "until"),
        ("de", terms(&hours(7 * 24 + 1)), "limit", "until"),
        ("de", terms("tomorrow"), "body", "until"),
        ("de", without_end, "body", "until"),
        ("de", without_reason, "body", "reason"),
        ("de", blank, "limit", "reason"),
        ("de", long, "limit", "reason"),
        ("a..b", terms(&hours(1)), "name", "name"),
        ("%2E", terms(&hours(1)), "too_wide", "name"),
    ] {
        let path = format!("/v1/negative-trust-anchors/{name}");
        let refused = world.put(&path, &body).await;
        refused.is_problem(422, code);
        assert_eq!(refused.json["field"], field, "{body}: {}", refused.text);
    }
    assert!(unvalidated(&world).is_empty(), "nothing was changed");
}

#[tokio::test]
async fn an_anchor_has_a_version_that_writes_can_name() {
    let world = World::new().await;
    let put = async |header: (&str, &str)| {
        world
            .ask(Method::PUT, DE, &[header], &terms(&hours(1)))
            .await
    };
    put(("if-match", "*"))
        .await
        .is_problem(412, "version_mismatch");
    put(("if-none-match", "*")).await.ok();
    put(("if-none-match", "*")).await.is_problem(412, "exists");
    put(("if-match", "\"1\"")).await.ok();
    let stale = world.ask(Method::DELETE, DE, &[("if-match", "\"1\"")], "");
    stale.await.is_problem(412, "version_mismatch");
    assert_eq!(unvalidated(&world), ["corp.example", "de"]);
}

#[tokio::test]
async fn operators_write_auditors_read_and_each_write_is_in_the_audit() {
    let world = World::with_home().await;
    let auditor = world.key_of(Role::Auditor).await;
    let until = hours(1);
    world.put(DE, &terms(&until)).await.ok();
    world.as_key(&auditor, Method::GET, DE, "").await.ok();
    let written = world
        .as_key(&auditor, Method::PUT, DE, &terms(&until))
        .await;
    written.is_problem(403, "role");
    let deleted = world.as_key(&auditor, Method::DELETE, DE, "").await;
    deleted.is_problem(403, "role");
    world.delete(DE).await.ok();
    let rows = world
        .get("/v1/audit?subject=negative_trust_anchor:de")
        .await;
    let rows = rows.ok().json["records"].as_array().unwrap().clone();
    let seen: Vec<(&str, &Value, &Value)> = rows
        .iter()
        .map(|row| {
            let action = row["action"].as_str().unwrap();
            (action, &row["before"]["until"], &row["after"]["until"])
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("create", &Value::Null, &json!(until)),
            ("delete", &json!(until), &Value::Null),
        ]
    );
    let verified = world.get("/v1/audit/verify").await.ok().json;
    assert_eq!(verified["is_whole"], true, "{verified}");
}
