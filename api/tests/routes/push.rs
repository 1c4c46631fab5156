//! Web push: which browsers get notices, and when they end.

use axum::http::Method;
use policy_store::Role;
use serde_json::{Value, json};

use crate::{sessions::Browser, world::World};

const PUSH: &str = "/v1/push";

/// A subscription at the push service of the tests.
fn subscription(name: &str) -> Value {
    json!({
        "endpoint": format!("https://push.example/{name}"),
        "keys": {
            "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "auth": "BTBZMqHH6r4Tts7J_aSIgg",
        },
        "locale": "cy",
    })
}

impl World {
    async fn subscribes(&self, browser: &Browser, name: &str) {
        let body = subscription(name).to_string();
        self.browse(browser, Method::PUT, PUSH, &body).await.ok();
    }

    /// Whether notices go to the browser, as the app reads it.
    async fn is_subscribed(&self, browser: &Browser) -> bool {
        let told = self.browse(browser, Method::GET, PUSH, "").await.ok();
        told.json["subscribed"].as_bool().unwrap()
    }

    /// The endpoints of the household's browsers that get notices.
    async fn endpoints(&self) -> Vec<String> {
        let store = &self.context.control.store;
        let home = "home".parse().unwrap();
        let all = store
            .push_subscriptions(&home, jiff::Timestamp::now())
            .await;
        let mut all: Vec<_> = all.unwrap().into_iter().map(|one| one.endpoint).collect();
        all.sort();
        all
    }
}

#[tokio::test]
async fn a_browser_gets_notices_as_long_as_its_session_lasts() {
    let world = World::with_home().await;
    let [one, two, three] = [
        world.browser_of(Role::Parent).await,
        world.browser_of(Role::Parent).await,
        world.browser_of(Role::Child).await,
    ];
    let key = world
        .browse(&one, Method::GET, "/v1/push/key", "")
        .await
        .ok();
    assert_eq!(
        key.json["key"].as_str().map(str::len),
        Some(87),
        "65 octets"
    );
    world.subscribes(&one, "one").await;
    world.subscribes(&one, "one").await;
    world.subscribes(&two, "two").await;
    world.subscribes(&three, "three").await;
    let of = |names: &[&str]| -> Vec<String> {
        names
            .iter()
            .map(|name| format!("https://push.example/{name}"))
            .collect()
    };
    assert_eq!(world.endpoints().await, of(&["one", "three", "two"]));
    // A browser has one subscription: a child that asks often takes no place of its parents.
    for number in 0..70 {
        world.subscribes(&three, &format!("three{number}")).await;
    }
    world.subscribes(&three, "three").await;
    assert_eq!(world.endpoints().await, of(&["one", "three", "two"]));
    world.browse(&one, Method::DELETE, PUSH, "").await.ok();
    assert_eq!(world.endpoints().await, of(&["three", "two"]));
    world
        .browse(&two, Method::DELETE, "/v1/session", "")
        .await
        .ok();
    assert_eq!(world.endpoints().await, of(&["three"]));
    world.delete("/v1/households/home/devices/phone").await.ok();
    assert_eq!(world.endpoints().await, of(&[]));
}

#[tokio::test]
async fn a_new_session_of_a_browser_is_not_subscribed() {
    let world = World::with_home().await;
    let first = world.browser_of(Role::Parent).await;
    assert!(!world.is_subscribed(&first).await);
    world.subscribes(&first, "one").await;
    assert!(world.is_subscribed(&first).await);
    world
        .browse(&first, Method::DELETE, "/v1/session", "")
        .await
        .ok();
    // The browser keeps its subscription at the push service; the program has it no longer.
    let next = world.browser_of(Role::Parent).await;
    assert!(!world.is_subscribed(&next).await);
    world.subscribes(&next, "one").await;
    assert!(world.is_subscribed(&next).await);
    world.browse(&next, Method::DELETE, PUSH, "").await.ok();
    assert!(!world.is_subscribed(&next).await);
    let key = world.key_of(Role::Parent).await;
    world
        .as_key(&key, Method::GET, PUSH, "")
        .await
        .is_problem(401, "session_missing");
}

#[tokio::test]
async fn a_subscription_that_leads_elsewhere_or_has_no_key_is_refused() {
    let world = World::with_home().await;
    let browser = world.browser_of(Role::Parent).await;
    let refused = async |change: fn(&mut Value), field: &str| {
        let mut body = subscription("a");
        change(&mut body);
        let answer = world
            .browse(&browser, Method::PUT, PUSH, &body.to_string())
            .await;
        answer.is_problem(422, "push");
        assert_eq!(answer.json["field"], field);
    };
    refused(
        |body| body["endpoint"] = json!("https://127.0.0.1/a"),
        "endpoint",
    )
    .await;
    refused(
        |body| body["endpoint"] = json!("http://fcm.googleapis.com/a"),
        "endpoint",
    )
    .await;
    refused(
        |body| body["endpoint"] = json!("https://:p@fcm.googleapis.com/a"),
        "endpoint",
    )
    .await;
    refused(|body| body["keys"]["p256dh"] = json!("AAAA"), "keys.p256dh").await;
    refused(|body| body["keys"]["p256dh"] = json!("/+"), "keys.p256dh").await;
    refused(|body| body["keys"]["auth"] = json!("AAAA"), "keys.auth").await;
    assert!(world.endpoints().await.is_empty());
    // A key is no session: nothing ends the notices of a program.
    let key = world.key_of(Role::Parent).await;
    world
        .as_key(&key, Method::PUT, PUSH, &subscription("a").to_string())
        .await
        .is_problem(401, "session_missing");
}
