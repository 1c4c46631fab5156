//! Asking: one open request for a name, and none for what is not blocked.

use axum::http::Method;
use policy_store::Role;
use serde_json::{Value, json};

use crate::world::{Answer, World};

const REQUESTS: &str = "/v1/households/home/requests";

/// A home that blocks gambling.
async fn home() -> World {
    let world = World::with_home().await;
    world
        .put(
            "/v1/households/home/categories/gambling",
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    world.put("/v1/households/home/devices/tv", "{}").await.ok();
    world
}

impl World {
    async fn request(&self, name: &str) -> Answer {
        self.request_for("phone", name).await
    }

    async fn request_for(&self, device: &str, name: &str) -> Answer {
        self.post(
            REQUESTS,
            &json!({ "name": name, "device": device }).to_string(),
        )
        .await
    }

    async fn open_requests(&self) -> Vec<Value> {
        let all = self.get(REQUESTS).await.ok().json;
        all["requests"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|request| request["state"] == "open")
            .cloned()
            .collect()
    }
}

#[tokio::test]
async fn a_name_that_waits_for_an_answer_is_not_asked_again() {
    let world = home().await;
    let first = world.request("bets.example").await;
    assert_eq!(first.status, 201, "{}", first.text);
    // The same name in other clothes, and names below it, which an answer would open, too.
    for again in [
        "bets.example",
        "BETS.Example",
        "bets.example.",
        "www.bets.example",
        "ｂｅｔｓ.example",
    ] {
        let again = world.request(again).await;
        assert_eq!(
            (again.status, &again.json["id"]),
            (200, &first.json["id"]),
            "{}",
            again.text
        );
    }
    let open = world.open_requests().await;
    assert_eq!((open.len(), &open[0]["id"]), (1, &first.json["id"]));
    // Another device asks for itself.
    assert_eq!(world.request_for("tv", "bets.example").await.status, 201);
    // What was answered may be asked again.
    let path = format!("{REQUESTS}/{}", first.json["id"].as_str().unwrap());
    world.put(&path, r#"{"answer":"deny"}"#).await.ok();
    let second = world.request("bets.example").await;
    assert_eq!(second.status, 201);
    assert_ne!(second.json["id"], first.json["id"]);
}

#[tokio::test]
async fn a_request_below_an_open_one_is_covered_and_one_above_is_not() {
    let world = home().await;
    let below = world.request("a.b.bets.example").await;
    assert_eq!(below.status, 201);
    let above = world.request("b.bets.example").await;
    assert_eq!(above.status, 201, "it asks for more");
    assert_eq!(
        world.request("c.b.bets.example").await.json["id"],
        above.json["id"]
    );
    assert_eq!(
        world.request("ab.bets.example").await.status,
        201,
        "a neighbour"
    );
    assert_eq!(world.open_requests().await.len(), 3);
}

#[tokio::test]
async fn of_many_requests_at_once_one_is_made() {
    let world = home().await;
    let asked = (0..12).map(|_| world.request("bets.example"));
    let answers = futures_util::future::join_all(asked).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 201).count(),
        1
    );
    assert!(
        answers
            .iter()
            .all(|answer| answer.json["id"] == answers[0].json["id"])
    );
    assert_eq!(world.open_requests().await.len(), 1);
}

#[tokio::test]
async fn a_name_that_is_not_blocked_for_the_device_is_not_asked_for() {
    let world = home().await;
    world
        .put(
            "/v1/households/home/devices/tv/categories/gambling",
            r#"{"state":"allow"}"#,
        )
        .await
        .ok();
    for (device, name) in [
        ("phone", "free.example"),
        ("tv", "bets.example"),
        ("tv", "leads.example"),
        ("phone", "missing.example"),
    ] {
        let refused = world.request_for(device, name).await;
        refused.is_problem(409, "not_blocked");
        assert_eq!(refused.json["field"], "name", "{name}");
    }
    // What it leads to is blocked, and so is it.
    let behind = world.request("leads.example").await;
    assert_eq!(
        (behind.status, &behind.json["categories"]),
        (201, &json!(["gambling"])),
        "{}",
        behind.text
    );
    // By whatever layer: an own list, the operator's security, a pause.
    world
        .put(
            "/v1/households/home/names/own.example",
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    for name in ["own.example", "evil.example"] {
        assert_eq!(world.request(name).await.status, 201, "{name}");
    }
    world
        .put("/v1/households/home/pause", r#"{"minutes":5}"#)
        .await
        .ok();
    assert_eq!(world.request("free.example").await.status, 201);
    world
        .put("/v1/households/home", r#"{"filtering":"off"}"#)
        .await
        .ok();
    world
        .request("www.own.example")
        .await
        .is_problem(409, "not_blocked");
    assert_eq!(world.open_requests().await.len(), 4);
}

#[tokio::test]
async fn what_no_answer_would_open_is_not_asked_for() {
    let world = home().await;
    world
        .put(
            "/v1/households/home/safe-search",
            r#"{"duckduckgo":"strict","google":"strict"}"#,
        )
        .await
        .ok();
    world
        .request("html.duckduckgo.com")
        .await
        .is_problem(409, "safe_search");
    world
        .request("www.google.com")
        .await
        .is_problem(409, "not_blocked");
    world
        .request("ordered.example")
        .await
        .is_problem(409, "mandatory");
    // Also where something else blocks it first.
    world
        .put(
            "/v1/households/home/names/html.duckduckgo.com",
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    world
        .request("html.duckduckgo.com")
        .await
        .is_problem(409, "safe_search");
    assert_eq!(world.open_requests().await, [] as [Value; 0]);
    // Where an allow unlocks search, an answer opens it.
    world
        .put("/v1/households/home/search-unlock", r#"{"state":"allow"}"#)
        .await
        .ok();
    assert_eq!(world.request("html.duckduckgo.com").await.status, 201);
}

#[tokio::test]
async fn a_child_asks_once_for_its_own_device() {
    let world = home().await;
    let child = world.key_of(Role::Child).await;
    let ask = async |body: &str| world.as_key(&child, Method::POST, REQUESTS, body).await;
    let first = ask(r#"{"name":"bets.example","reason":"please"}"#).await;
    let again = ask(r#"{"name":"bets.example","reason":"now!"}"#).await;
    assert_eq!(
        (first.status, again.status, &again.json["reason"]),
        (201, 200, &json!("please"))
    );
    assert_eq!(world.open_requests().await.len(), 1);
}

impl World {
    async fn answers(&self, request: &Answer, answer: &Value) -> Answer {
        let path = format!("{REQUESTS}/{}", request.json["id"].as_str().unwrap());
        self.put(&path, &answer.to_string()).await
    }
}

#[tokio::test]
async fn what_is_no_site_of_one_company_is_not_asked_for() {
    let world = home().await;
    let pause = "/v1/households/home/pause";
    world.put(pause, r#"{"minutes":5}"#).await.ok();
    for name in ["com", "co.uk", "github.io"] {
        let refused = world.request(name).await;
        refused.is_problem(422, "public_suffix");
        assert_eq!(refused.json["field"], "name", "{name}");
    }
    assert_eq!(world.request("one.github.io").await.status, 201);
    assert_eq!(world.open_requests().await.len(), 1);
}

#[tokio::test]
async fn a_way_round_the_filter_is_not_asked_for() {
    let world = home().await;
    let pause = "/v1/households/home/pause";
    world.put(pause, r#"{"minutes":5}"#).await.ok();
    for name in [
        "mask.icloud.com",
        "use-application-dns.net",
        // An allow of it would open the names below it, too.
        "icloud.com",
    ] {
        world.request(name).await.is_problem(409, "bypass");
    }
    assert_eq!(world.request("www.icloud.com").await.status, 201);
    // Where the family permits the ways round, nothing of that is left to refuse.
    let bypass = "/v1/households/home/bypass";
    world.put(bypass, r#"{"state":"allow"}"#).await.ok();
    let asked = world.request("icloud.com").await;
    assert_eq!(asked.status, 201, "{}", asked.text);
    // An answer is held against the rules of its own time.
    world.delete(bypass).await.ok();
    let allow = json!({ "answer": "allow" });
    world
        .answers(&asked, &allow)
        .await
        .is_problem(409, "bypass");
}

#[tokio::test]
async fn the_categories_of_a_request_are_those_of_its_block() {
    let world = home().await;
    let body = json!({ "name": "bets.example", "device": "phone", "category": "adult" });
    let made_up = world.post(REQUESTS, &body.to_string()).await;
    made_up.is_problem(422, "body");
    let own = "/v1/households/home/devices/phone/names/";
    for name in ["own.example", "bets.example"] {
        let path = format!("{own}{name}");
        world.put(&path, r#"{"state":"block"}"#).await.ok();
        let asked = world.request(name).await;
        assert_eq!((asked.status, &asked.json["categories"]), (201, &json!([])));
        let category = json!({ "answer": "allow", "scope": "category" });
        let refused = world.answers(&asked, &category).await;
        refused.is_problem(422, "scope");
    }
}

#[tokio::test]
async fn an_allow_that_opens_nothing_is_refused() {
    let world = home().await;
    let asked = world.request("bets.example").await;
    // The device's own switch comes before the household's.
    let own = "/v1/households/home/devices/phone/categories/gambling";
    world.put(own, r#"{"state":"block"}"#).await.ok();
    let before = world.get("/v1/households/home").await.text;
    let category = |whose: &str| json!({ "answer": "allow", "scope": "category", "whose": whose });
    let refused = world.answers(&asked, &category("household")).await;
    refused.is_problem(409, "still_blocked");
    assert_eq!(world.get("/v1/households/home").await.text, before);
    assert_eq!(world.open_requests().await.len(), 1);
    assert!(world.blocks("192.0.2.7", "bets.example"));
    world.answers(&asked, &category("device")).await.ok();
    assert!(!world.blocks("192.0.2.7", "bets.example"));
}
