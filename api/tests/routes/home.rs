//! A whole home in one read, names beside keys, reads that need no repetition, packed answers.

use axum::http::Method;
use policy_store::{NewKey, Role};
use serde_json::{Value, json};

use crate::world::{Answer, World, author};

const HOME: &str = "/v1/households/home";
const WHOLE: &str = "/v1/households/home/home";

/// A home with a person, two devices, and a switch that a parent with a label has set.
async fn home() -> World {
    let world = World::with_home().await;
    let new = NewKey::new(Role::Parent, Some("home".parse().unwrap()), None, "Mum").unwrap();
    let store = &world.context.control.store;
    let (mum, _) = store.create_key(&author(), new).await.unwrap();
    let mum = format!("Bearer {mum}");
    for (path, body) in [
        ("people/ella", r#"{"name":"Ella"}"#),
        ("people/tom", r#"{"name":"Tom"}"#),
        ("devices/phone", r#"{"person":"ella"}"#),
        ("devices/tv", r#"{"kind":"television"}"#),
        ("people/ella/categories/gambling", r#"{"state":"block"}"#),
        ("people/ella/pause", r#"{"minutes":30}"#),
        ("devices/tv/categories/gambling", r#"{"state":"allow"}"#),
    ] {
        let path = format!("{HOME}/{path}");
        world.as_key(&mum, Method::PUT, &path, body).await.ok();
    }
    world
}

async fn known(world: &World, path: &str, tag: &str) -> Answer {
    let headers = [("if-none-match", tag)];
    world.ask(Method::GET, path, &headers, "").await
}

fn device<'h>(home: &'h Value, id: &str) -> &'h Value {
    let devices = home["devices"].as_array().unwrap();
    devices.iter().find(|device| device["id"] == id).unwrap()
}

#[tokio::test]
async fn one_read_has_what_is_in_force_on_each_device_and_who_set_it() {
    let world = home().await;
    let home = world.get(WHOLE).await.ok().json;
    assert_eq!(home["household"]["id"], "home");
    assert_eq!(home["version"], world.get(HOME).await.json["version"]);
    let people: Vec<&Value> = home["people"].as_array().unwrap().iter().collect();
    assert_eq!((people.len(), &people[0]["name"]), (2, &json!("Ella")));
    let phone = device(&home, "phone");
    let gambling = &phone["effective"]["blocked"]["gambling"];
    assert_eq!(
        (&gambling["layer"], &gambling["set_by_name"]),
        (&json!("person"), &json!("Mum"))
    );
    assert_eq!(phone["effective"]["paused"]["state"], true);
    assert_eq!(phone["effective"]["paused"]["layer"], "person");
    assert_eq!(
        phone["effective"]["next_change"],
        phone["effective"]["paused"]["until"]
    );
    let tv = device(&home, "tv");
    assert_eq!(tv["effective"]["paused"]["state"], false);
    assert_eq!(tv["effective"]["blocked"]["gambling"], json!(null));
    assert_eq!(tv["effective"]["next_change"], json!(null));
    // It is what the read of one device says.
    for id in ["phone", "tv"] {
        let one = world.get(&format!("{HOME}/effective/{id}")).await.json;
        let all = &device(&home, id)["effective"];
        for (slug, state) in one["categories"].as_object().unwrap() {
            let is_block = state["state"] == "block";
            assert_eq!(is_block, all["blocked"][slug] == *state, "{id} {slug}");
        }
        for field in ["grants", "paused", "filtering", "recorded"] {
            assert_eq!(one[field], all[field], "{id} {field}");
        }
    }
}

#[tokio::test]
async fn a_child_reads_its_own_device_and_nothing_of_the_others() {
    let world = home().await;
    world
        .put(HOME, r#"{"contact":{"email":"mum@example.org"}}"#)
        .await
        .ok();
    let child = world.key_of(Role::Child).await;
    let answer = world.as_key(&child, Method::GET, WHOLE, "").await.ok();
    let ids = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|item| item["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&answer.json["devices"]), ["phone"]);
    assert_eq!(ids(&answer.json["people"]), ["ella"]);
    for hidden in ["mum@example.org", "Tom", "television"] {
        assert!(!answer.text.contains(hidden), "{hidden}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_read_that_has_not_changed_is_not_sent_again() {
    let world = home().await;
    for path in [
        WHOLE,
        HOME,
        "/v1/households/home/people/ella",
        "/v1/households/home/devices/phone",
        "/v1/households/home/history",
    ] {
        let first = world.get(path).await.ok();
        let tag = first.header("etag").to_owned();
        assert_eq!(first.header("cache-control"), "private, no-cache", "{path}");
        for tag in [tag.as_str(), &format!("\"a\", {tag}"), "*"] {
            let again = known(&world, path, tag).await;
            assert_eq!(
                (again.status, again.text.as_str()),
                (304, ""),
                "{path} {tag}"
            );
            assert_eq!(again.header("etag"), first.header("etag"), "{path}");
        }
        assert_eq!(known(&world, path, "\"a\"").await.status, 200, "{path}");
        world
            .put(&format!("{HOME}/names/a.example"), r#"{"state":"block"}"#)
            .await
            .ok();
        assert_eq!(known(&world, path, &tag).await.status, 200, "{path}");
        // A client that may not read it learns nothing by the tag.
        let refused = world
            .send(Method::GET, path, &[("if-none-match", "*")], "")
            .await;
        refused.is_problem(401, "key_missing");
    }
}

#[tokio::test]
async fn an_open_request_and_its_answer_change_the_home() {
    let world = home().await;
    world
        .put(
            &format!("{HOME}/categories/gambling"),
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    let before = world.get(WHOLE).await.ok();
    let tag = before.header("etag").to_owned();
    let requests = format!("{HOME}/requests");
    let child = world.key_of(Role::Child).await;
    let body = r#"{"name":"bets.example"}"#;
    world
        .as_key(&child, Method::POST, &requests, body)
        .await
        .ok();
    let after = known(&world, WHOLE, &tag).await;
    assert_eq!(
        (before.json["requests_open"].as_u64(), after.status),
        (Some(0), 200)
    );
    assert_eq!(after.json["requests_open"], 1);
    assert_eq!(after.json["version"], before.json["version"]);
}

#[tokio::test]
async fn the_counts_of_today_are_the_familys_alone() {
    let world = home().await;
    let parent = world.key_of(Role::Parent).await;
    let of = async |key: &str| world.as_key(key, Method::GET, WHOLE, "").await.ok().json;
    assert_eq!(of(&parent).await["today"], json!(null));
    world
        .put(&format!("{HOME}/history"), r#"{"days":7}"#)
        .await
        .ok();
    let today = &of(&parent).await["today"];
    assert_eq!(
        (&today["queries"], &today["blocked"]),
        (&json!(0), &json!(0))
    );
    for role in [Role::Operator, Role::Auditor] {
        assert_eq!(of(&world.key_of(role).await).await["today"], json!(null));
    }
}

#[tokio::test]
async fn a_large_answer_is_packed_but_never_one_with_a_secret() {
    let world = home().await;
    let packed = [("accept-encoding", "gzip")];
    let coding = async |method, path: &str, body: &str| {
        let key = format!("Bearer {}", world.key);
        let headers = [
            ("authorization", key.as_str()),
            ("content-type", "application/json"),
            packed[0],
        ];
        let request = headers.iter().fold(
            axum::http::Request::builder().method(method).uri(path),
            |request, (name, value)| request.header(*name, *value),
        );
        let request = request
            .body(axum::body::Body::from(body.to_owned()))
            .unwrap();
        let router = world.router.clone();
        let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
        assert!(response.status().is_success(), "{path}");
        let coding = response.headers().get("content-encoding").cloned();
        coding.map(|coding| coding.to_str().unwrap().to_owned())
    };
    let gzip = Some("gzip".to_owned());
    assert_eq!(coding(Method::GET, WHOLE, "").await, gzip);
    assert_eq!(coding(Method::GET, "/v1/categories", "").await, gzip);
    assert_eq!(coding(Method::GET, "/healthz", "").await, None);
    assert_eq!(
        coding(Method::GET, "/v1/households?limit=1&external_ref=x", "").await,
        None
    );
    // A label makes the answer long.
    let label = "x".repeat(128);
    let body = json!({ "role": "parent", "label": label }).to_string();
    for path in ["/v1/households/home/keys", "/v1/households/home/links"] {
        assert_eq!(coding(Method::POST, path, &body).await, None, "{path}");
    }
    assert!(
        world
            .get(WHOLE)
            .await
            .ok()
            .header("content-encoding")
            .is_empty()
    );
}
