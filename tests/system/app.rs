//! The parents' app on the real program: its files, sessions of browsers, links that open it.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::world::{Api, CertificateIssuer, World, eventually};

const SESSION: &str = "/v1/session";
/// A line that is not printed by then will not be.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A home that a browser will log into, and its parent's key.
async fn home() -> (World, String) {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .household("home", "127.0.7.0/24")
        .start()
        .await;
    let made = world
        .api
        .post("/v1/households/home/keys", json!({ "role": "parent" }))
        .await
        .ok();
    let key = made.json["secret"].as_str().unwrap().to_owned();
    (world, key)
}

/// Logs in; returns a client with the session's cookie and token, and the whole cookie.
pub async fn log_in(world: &World, body: serde_json::Value) -> (Api, String) {
    let outsider = world.api.with_key("");
    let answer = outsider.post(SESSION, body).await.ok();
    let cookie = answer.header("set-cookie").unwrap().to_owned();
    let pair = cookie.split(';').next().unwrap();
    let browser = outsider
        .with_header("cookie", pair)
        .with_header("x-csrf-token", answer.json["csrf"].as_str().unwrap())
        .with_header("sec-fetch-site", "same-origin");
    (browser, cookie)
}

#[tokio::test]
async fn a_switch_of_a_browser_holds_on_the_next_query_and_after_a_crash() {
    let (world, key) = home().await;
    let said = world.daemon.stdout().join("\n");
    assert!(said.contains("\napp ready on http://127.0.0.1:"), "{said}");
    let (browser, _) = log_in(&world, json!({ "key": key })).await;
    let phone = world.client("127.0.7.9");
    let gambling = "/v1/households/home/categories/gambling";
    browser
        .put(gambling, json!({ "state": "allow" }))
        .await
        .ok();
    assert_eq!(phone.ask("bets.example. A").await, "192.0.2.7");
    browser
        .put(gambling, json!({ "state": "block" }))
        .await
        .ok();
    assert_eq!(phone.ask("bets.example. A").await, "blocked: gambling");
    // A page of another site, in the same browser.
    let forged = browser.with_header("origin", "http://evil.example");
    let refused = forged.put(gambling, json!({ "state": "allow" })).await;
    assert_eq!((refused.status, refused.problem()), (403, "csrf"));
    assert_eq!(phone.ask("bets.example. A").await, "blocked: gambling");
    world.daemon.kill();
    world.daemon.restart().await;
    browser.get(SESSION).await.ok();
    browser.delete(SESSION).await.ok();
    let out = browser.get(SESSION).await;
    assert_eq!((out.status, out.problem()), (401, "session_missing"));
}

#[tokio::test]
async fn a_link_opens_the_app_once_also_when_the_node_crashes_after_it() {
    let (world, _) = home().await;
    let made = world
        .api
        .post(
            "/v1/households/home/links",
            json!({ "role": "second-parent" }),
        )
        .await
        .ok();
    let secret = made.json["secret"].as_str().unwrap().to_owned();
    let link = made.json["link"].as_str().unwrap();
    assert!(link.starts_with("http://127.0.0.1:"), "{link}");
    let (browser, _) = log_in(&world, json!({ "link": secret })).await;
    world.daemon.kill();
    world.daemon.restart().await;
    let again = world
        .api
        .with_key("")
        .post(SESSION, json!({ "link": secret }))
        .await;
    assert_eq!((again.status, again.problem()), (410, "link_used"));
    let me = browser.get("/v1/me").await.ok();
    assert_eq!(me.json["role"], "second-parent");
    let log = world.daemon.stderr();
    assert!(!log.contains(&secret), "a secret is in the log");
}

#[tokio::test]
async fn the_stream_of_a_browser_ends_with_its_log_out() {
    let (world, key) = home().await;
    let (browser, _) = log_in(&world, json!({ "key": key })).await;
    let stream = browser.request(Method::GET, "/v1/households/home/events", None);
    let log_out = async {
        browser.delete(SESSION).await.ok();
    };
    // The answer to the first is complete only because the stream has ended.
    let (stream, ()) = tokio::join!(stream, log_out);
    assert!([200, 401].contains(&stream.status), "{}", stream.status);
}

#[tokio::test]
async fn over_tls_the_cookie_is_secure_and_no_cookie_of_plain_http_is_taken() {
    let issuer = CertificateIssuer::new();
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .household("home", "127.0.7.0/24")
        .with_certificate(&issuer)
        .start()
        .await;
    let made = world
        .api
        .post("/v1/households/home/links", json!({ "role": "parent" }))
        .await
        .ok();
    let link = made.json["link"].as_str().unwrap();
    assert!(link.starts_with("https://"), "{link}");
    let (browser, cookie) = log_in(&world, json!({ "link": made.json["secret"] })).await;
    assert!(cookie.starts_with("__Host-ox_session=oxs_"), "{cookie}");
    for part in ["; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    browser.get(SESSION).await.ok();
    let (_, pair) = cookie.split_once("__Host-").unwrap();
    let plain = world.api.with_key("").with_header("cookie", pair);
    let refused = plain.get(SESSION).await;
    assert_eq!(
        (refused.status, refused.problem()),
        (401, "session_missing")
    );
}

/// The secret of the link that the program prints at its start of this number.
async fn printed_link(world: &World, start: usize) -> String {
    let mut secret = None;
    eventually("the link is printed", TIMEOUT, async || {
        let said = world.daemon.stdout();
        let mut links = said.iter().filter(|line| line.starts_with("app link: "));
        let link = links.nth(start - 1);
        secret = link.and_then(|link| Some(link.rsplit('/').next()?.to_owned()));
        secret.is_some()
    })
    .await;
    secret.unwrap()
}

#[tokio::test]
async fn a_demonstration_is_opened_by_a_link_marked_and_removed_as_a_whole() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .config("[app]\ndemonstration = true\n")
        .start()
        .await;
    let first = printed_link(&world, 1).await;
    world.daemon.restart().await;
    let second = printed_link(&world, 2).await;
    let outsider = world.api.with_key("");
    let old = outsider.post(SESSION, json!({ "link": first })).await;
    assert_eq!((old.status, old.problem()), (401, "link_wrong"));
    let (browser, _) = log_in(&world, json!({ "link": second })).await;
    let me = browser.get("/v1/me").await.ok().json;
    assert_eq!(
        (&me["household"], &me["demonstration"]),
        (&json!("demonstration"), &json!(true))
    );
    let home = browser
        .get("/v1/households/demonstration/home")
        .await
        .ok()
        .json;
    assert_eq!(home["demonstration"], true);
    let count = |list: &str| home[list].as_array().unwrap().len();
    assert_eq!((count("people"), count("devices")), (3, 8));
    let activity = browser
        .get("/v1/households/demonstration/activity")
        .await
        .ok()
        .json;
    assert!(activity["asked"].as_u64().unwrap() > 1_000, "{activity}");
    assert!(activity["blocked"].as_u64().unwrap() > 100, "{activity}");
    let line = world.client("127.0.0.1");
    assert_eq!(line.ask("bets.example. A").await, "blocked: gambling");
    world.api.delete("/v1/households/demonstration").await.ok();
    assert_eq!(line.ask("bets.example. A").await, "192.0.2.7");
    assert_eq!(browser.get(SESSION).await.status, 401);
    // A later household of the same name inherits nothing.
    let later = "/v1/households/demonstration";
    world.api.put(later, json!({})).await.ok();
    let history = format!("{later}/history");
    world.api.put(&history, json!({ "days": 30 })).await.ok();
    let rest = world.api.get(&format!("{later}/activity")).await.ok();
    assert_eq!(rest.json["asked"], 0);
}

#[tokio::test]
async fn the_app_comes_with_its_page_and_policy() {
    let (world, _) = home().await;
    let page = world.api.with_key("").get("/app/people/ella").await.ok();
    assert!(page.text.starts_with("<!doctype html>"), "{}", page.text);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
    let log = world.daemon.stderr();
    assert!(!log.contains("serving /"), "{log}");
}
