//! Sessions of browsers: log-in, log-out, links, and what other sites cannot do with them.

use axum::http::Method;
use policy_store::Role;
use serde_json::{Value, json};

use crate::world::{Answer, World, author};

const SESSION: &str = "/v1/session";
const GAMBLING: &str = "/v1/households/home/categories/gambling";
const LINKS: &str = "/v1/households/home/links";

/// A browser: its cookie and the token of its session.
#[derive(Clone, Debug)]
pub struct Browser {
    pub cookie: String,
    pub csrf: String,
}

impl Browser {
    pub fn of(answer: &Answer) -> Self {
        let cookie = answer.header("set-cookie");
        Self {
            cookie: cookie.split(';').next().unwrap().to_owned(),
            csrf: answer.json["csrf"].as_str().unwrap().to_owned(),
        }
    }
}

impl World {
    /// Logs in by a body such as `{"key":"…"}`, with more headers.
    pub async fn logs_in(&self, body: Value, headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![
            ("content-type", "application/json"),
            ("host", "home.example"),
        ];
        all.extend(headers);
        self.send(Method::POST, SESSION, &all, body.to_string())
            .await
    }

    /// A browser in which a role of `home` has logged in.
    pub async fn browser_of(&self, role: Role) -> Browser {
        let key = self.key_of(role).await;
        let key = key.trim_start_matches("Bearer ");
        Browser::of(&self.logs_in(json!({ "key": key }), &[]).await.ok())
    }

    /// A request of a browser as the app sends it.
    pub async fn browse(
        &self,
        browser: &Browser,
        method: Method,
        path: &str,
        body: &str,
    ) -> Answer {
        let headers = [
            ("cookie", browser.cookie.as_str()),
            ("x-csrf-token", browser.csrf.as_str()),
            ("host", "home.example"),
            ("origin", "http://home.example"),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/json"),
        ];
        self.send(method, path, &headers, body.to_owned()).await
    }

    /// A link of `home`, made by a parent.
    pub async fn link(&self, body: Value) -> Answer {
        self.post(LINKS, &body.to_string()).await
    }
}

const BLOCK: &str = r#"{"state":"block"}"#;

#[tokio::test]
async fn a_browser_logs_in_by_key_and_acts_as_that_key() {
    let world = World::with_home().await;
    let (key, id) = world.key_in(Role::Parent, "home").await;
    let key = key.trim_start_matches("Bearer ");
    let answer = world.logs_in(json!({ "key": key }), &[]).await.ok();
    assert_eq!(answer.header("cache-control"), "no-store");
    let browser = Browser::of(&answer);
    let me = world.browse(&browser, Method::GET, SESSION, "").await.ok();
    assert_eq!(me.json["csrf"], browser.csrf);
    let of_me = world.browse(&browser, Method::GET, "/v1/me", "").await.ok();
    assert_eq!(of_me.json, me.json);
    assert_eq!(
        (&me.json["role"], &me.json["household"], &me.json["device"]),
        (&json!("parent"), &json!("home"), &json!(null))
    );
    world
        .browse(&browser, Method::PUT, GAMBLING, BLOCK)
        .await
        .ok();
    assert!(world.blocks("192.0.2.7", "bets.example"));
    let shown = world.get("/v1/households/home").await.json;
    assert_eq!(
        shown["categories"]["gambling"]["set_by"],
        format!("key:{id}")
    );
    assert!(!world.holds(browser.cookie.split_once('=').unwrap().1.as_bytes()));
}

#[tokio::test]
async fn the_cookie_is_for_this_host_alone_and_no_script_reads_it() {
    let world = World::with_home().await;
    let key = world.key_of(Role::Parent).await;
    let key = key.trim_start_matches("Bearer ");
    let answer = world.logs_in(json!({ "key": key }), &[]).await.ok();
    let parts: Vec<&str> = answer.header("set-cookie").split("; ").collect();
    assert!(parts[0].starts_with("ox_session=oxs_"), "{parts:?}");
    for part in ["Path=/", "HttpOnly", "SameSite=Strict", "Max-Age=15552000"] {
        assert!(parts.contains(&part), "{part}: {parts:?}");
    }
    assert!(!parts.iter().any(|part| part.starts_with("Domain")));
    assert!(
        !parts.contains(&"Secure"),
        "over plain HTTP it would be lost"
    );
    let out = world
        .browse(&Browser::of(&answer), Method::DELETE, SESSION, "")
        .await
        .ok();
    assert!(out.header("set-cookie").starts_with("ox_session=; "));
    assert!(out.header("set-cookie").contains("Max-Age=0"));
}

#[tokio::test]
async fn each_log_in_has_a_new_secret_and_ends_the_session_before() {
    let world = World::with_home().await;
    let key = world.key_of(Role::Parent).await;
    let body = json!({ "key": key.trim_start_matches("Bearer ") });
    // An attacker has put a cookie into the browser: one of no session, and one of its own.
    let invented = format!("ox_session=oxs_{}", "7".repeat(64));
    let attacker = world.browser_of(Role::Child).await;
    for planted in [invented.as_str(), attacker.cookie.as_str()] {
        let browser = Browser::of(
            &world
                .logs_in(body.clone(), &[("cookie", planted)])
                .await
                .ok(),
        );
        assert_ne!(browser.cookie, planted);
        world
            .send(Method::GET, SESSION, &[("cookie", planted)], "")
            .await
            .is_problem(401, "session_missing");
    }
}

#[tokio::test]
async fn a_write_without_the_sessions_token_or_from_elsewhere_is_refused() {
    let world = World::with_home().await;
    let browser = world.browser_of(Role::Parent).await;
    let other = world.browser_of(Role::Parent).await;
    let before = world.get("/v1/households/home").await.text;
    let (cookie, csrf) = (browser.cookie.as_str(), browser.csrf.as_str());
    let good = [
        ("cookie", cookie),
        ("x-csrf-token", csrf),
        ("host", "home.example"),
        ("content-type", "application/json"),
    ];
    let without = |name: &str| good.iter().copied().filter(|(of, _)| *of != name).collect();
    let with = |name: &'static str, value| [without(name), vec![(name, value)]].concat();
    let forged: [Vec<(&str, &str)>; 9] = [
        without("x-csrf-token"),
        with("x-csrf-token", ""),
        with("x-csrf-token", &other.csrf),
        with("origin", "http://evil.example"),
        with("origin", "null"),
        with("origin", "http://home.example.evil.example"),
        with("origin", "http://home.example:8080"),
        with("sec-fetch-site", "cross-site"),
        with("sec-fetch-site", "same-site"),
    ];
    for headers in &forged {
        for (method, path) in [
            (Method::PUT, GAMBLING),
            (Method::DELETE, "/v1/households/home/devices/phone"),
            (Method::POST, LINKS),
            (Method::DELETE, SESSION),
        ] {
            let answer = world.send(method, path, headers, BLOCK).await;
            answer.is_problem(403, "csrf");
        }
        let retried = [&headers[..], &[("idempotency-key", "a")]].concat();
        let answer = world.send(Method::PUT, GAMBLING, &retried, BLOCK).await;
        answer.is_problem(403, "csrf");
    }
    assert_eq!(world.get("/v1/households/home").await.text, before);
    world.send(Method::PUT, GAMBLING, &good, BLOCK).await.ok();
    // Reading needs no token: an event stream cannot send one.
    let bare = [("cookie", cookie)];
    let events = "/v1/households/home/events";
    world.send(Method::GET, events, &bare, "").await.ok();
}

#[tokio::test]
async fn another_site_cannot_log_a_browser_in() {
    let world = World::with_home().await;
    let key = world.key_of(Role::Parent).await;
    let body = json!({ "key": key.trim_start_matches("Bearer ") });
    for header in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let answer = world.logs_in(body.clone(), &[header]).await;
        answer.is_problem(403, "csrf");
        assert_eq!(answer.header("set-cookie"), "");
    }
}

#[tokio::test]
async fn an_authorization_wins_over_a_cookie() {
    let world = World::with_home().await;
    let browser = world.browser_of(Role::Parent).await;
    let child = world.key_of(Role::Child).await;
    let both = |key| [("authorization", key), ("cookie", browser.cookie.as_str())];
    let me = world
        .send(Method::GET, "/v1/me", &both(&child), "")
        .await
        .ok();
    assert_eq!(
        (&me.json["role"], &me.json["csrf"]),
        (&json!("child"), &json!(null))
    );
    world
        .send(Method::GET, "/v1/me", &both("Bearer ox_wrong"), "")
        .await
        .is_problem(401, "key_wrong");
    world
        .send(Method::GET, "/v1/me", &both("Basic a"), "")
        .await
        .is_problem(401, "key_missing");
}

#[tokio::test]
async fn who_has_no_place_in_the_app_has_no_session() {
    let world = World::with_home().await;
    for role in [Role::Operator, Role::Auditor] {
        let (key, _) = world.key_in(role, "").await;
        let key = key.trim_start_matches("Bearer ");
        let answer = world.logs_in(json!({ "key": key }), &[]).await;
        answer.is_problem(422, "role");
        assert_eq!(answer.header("set-cookie"), "");
    }
    for (body, status, code) in [
        (json!({ "key": "ox_wrong" }), 401, "key_wrong"),
        (json!({ "link": "wrong" }), 401, "link_wrong"),
        (json!({}), 422, "one_of"),
        (json!({ "key": "a", "link": "b" }), 422, "one_of"),
        (json!({ "password": "a" }), 422, "body"),
    ] {
        world.logs_in(body, &[]).await.is_problem(status, code);
    }
    world
        .send(Method::GET, SESSION, &[], "")
        .await
        .is_problem(401, "session_missing");
}

#[tokio::test]
async fn a_session_ends_with_its_key_its_device_its_household_and_by_log_out() {
    let world = World::with_home().await;
    let is_out = async |browser: &Browser| {
        world
            .browse(browser, Method::GET, "/v1/categories", "")
            .await
            .is_problem(401, "session_missing")
    };
    let (key, id) = world.key_in(Role::SecondParent, "home").await;
    let key = key.trim_start_matches("Bearer ");
    let second = Browser::of(&world.logs_in(json!({ "key": key }), &[]).await.ok());
    let child = world.browser_of(Role::Child).await;
    let parent = world.browser_of(Role::Parent).await;
    let elsewhere = world.browser_of(Role::Parent).await;
    world
        .delete(&format!("/v1/households/home/keys/{id}"))
        .await
        .ok();
    is_out(&second).await;
    world
        .browse(&parent, Method::DELETE, SESSION, "")
        .await
        .ok();
    is_out(&parent).await;
    let phone = "/v1/households/home/devices/phone";
    world.delete(phone).await.ok();
    world.put(phone, "{}").await.ok();
    is_out(&child).await;
    world
        .browse(&elsewhere, Method::GET, "/v1/categories", "")
        .await
        .ok();
    world.delete("/v1/households/home").await.ok();
    world.put("/v1/households/home", "{}").await.ok();
    is_out(&elsewhere).await;
}

#[tokio::test]
async fn a_link_opens_the_app_once_with_a_key_of_its_own() {
    let world = World::with_home().await;
    let made = world
        .link(json!({ "role": "child", "device": "phone", "label": "Ella" }))
        .await
        .ok();
    let secret = made.json["secret"].as_str().unwrap();
    assert!(secret.len() >= 33, "130 bits are 33 hexadecimal digits");
    let link = made.json["link"].as_str().unwrap();
    assert!(link.ends_with(&format!("/app/#/link/{secret}")), "{link}");
    assert_eq!(made.header("cache-control"), "no-store");
    assert!(!world.holds(secret.as_bytes()));
    let answer = world.logs_in(json!({ "link": secret }), &[]).await.ok();
    assert_eq!(
        (
            &answer.json["role"],
            &answer.json["device"],
            &answer.json["label"]
        ),
        (&json!("child"), &json!("phone"), &json!("Ella"))
    );
    let browser = Browser::of(&answer);
    let keys = world.get("/v1/households/home/keys").await.json;
    let key = &keys["keys"].as_array().unwrap().last().unwrap()["id"];
    let key = key.as_str().unwrap().to_owned();
    // The link again, and one of no meaning.
    let again = world.logs_in(json!({ "link": secret }), &[]).await;
    again.is_problem(410, "link_used");
    assert_eq!(again.header("set-cookie"), "");
    // A revoked key ends the session.
    let path = format!("/v1/households/home/keys/{key}");
    world.delete(&path).await.ok();
    world
        .browse(&browser, Method::GET, SESSION, "")
        .await
        .is_problem(401, "session_missing");
}

#[tokio::test]
async fn of_many_uses_of_a_link_at_once_one_opens_the_app() {
    let world = World::with_home().await;
    let made = world.link(json!({ "role": "second-parent" })).await.ok();
    let body = json!({ "link": made.json["secret"] });
    let uses = (0..8).map(|_| world.logs_in(body.clone(), &[]));
    let answers = futures_util::future::join_all(uses).await;
    let opened = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(opened, 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.is_problem(410, "link_used");
    }
    let keys = world.get("/v1/households/home/keys").await.json;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_link_ends_with_the_key_that_made_it_and_when_it_is_removed() {
    let world = World::with_home().await;
    let (parent, id) = world.key_in(Role::Parent, "home").await;
    let make = async || {
        let body = r#"{"role":"parent","minutes":10080}"#;
        world
            .as_key(&parent, Method::POST, LINKS, body)
            .await
            .ok()
            .json
    };
    let (removed, left) = (make().await, make().await);
    let path = format!("{LINKS}/{}", removed["id"].as_str().unwrap());
    world.as_key(&parent, Method::DELETE, &path, "").await.ok();
    world
        .as_key(&parent, Method::DELETE, &path, "")
        .await
        .is_problem(404, "unknown_link");
    world
        .logs_in(json!({ "link": removed["secret"] }), &[])
        .await
        .is_problem(401, "link_wrong");
    let control = &world.context.control;
    control
        .store
        .revoke_key(&author(), None, &id)
        .await
        .unwrap();
    world
        .logs_in(json!({ "link": left["secret"] }), &[])
        .await
        .is_problem(410, "link_expired");
    for (body, code, field) in [
        (json!({ "role": "operator" }), "role", "role"),
        (json!({ "role": "child" }), "device", "device"),
        (
            json!({ "role": "child", "device": "none" }),
            "unknown_device",
            "device",
        ),
        (
            json!({ "role": "parent", "minutes": 0 }),
            "limit",
            "minutes",
        ),
        (
            json!({ "role": "parent", "minutes": 10081 }),
            "limit",
            "minutes",
        ),
    ] {
        let refused = world.link(body).await;
        refused.is_problem(422, code);
        assert_eq!(refused.json["field"], field);
    }
}

#[tokio::test]
async fn log_out_ends_the_key_that_a_link_made() {
    let world = World::with_home().await;
    let made = world.link(json!({ "role": "second-parent" })).await.ok();
    let body = json!({ "link": made.json["secret"] });
    let browser = Browser::of(&world.logs_in(body, &[]).await.ok());
    world
        .browse(&browser, Method::DELETE, SESSION, "")
        .await
        .ok();
    let keys = world.get("/v1/households/home/keys").await.json;
    assert!(keys["keys"][0]["revoked_at"].is_string(), "{keys}");
    assert_eq!(world.get("/v1/audit/verify").await.json["is_whole"], true);
}

#[tokio::test]
async fn a_child_learns_whose_device_it_is() {
    let world = World::with_home().await;
    world
        .put("/v1/households/home/people/ella", r#"{"name":"Ella"}"#)
        .await
        .ok();
    world
        .put("/v1/households/home/devices/phone", r#"{"person":"ella"}"#)
        .await
        .ok();
    let child = world.key_of(Role::Child).await;
    let me = world
        .as_key(&child, Method::GET, "/v1/me", "")
        .await
        .ok()
        .json;
    assert_eq!(
        me,
        json!({ "role": "child", "household": "home", "device": "phone", "person": "ella",
            "label": null, "expires_at": null, "demonstration": false })
    );
}
