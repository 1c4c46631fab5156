//! Notices to browsers by web push: the real program, and a push service on loopback.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    routing::post,
};
use serde_json::json;

use crate::{
    app::log_in,
    world::{Api, World, eventually},
};

const PUSH: &str = "/v1/push";
const REQUESTS: &str = "/v1/households/home/requests";
const TIMEOUT: Duration = Duration::from_secs(120);

type Message = (String, HeaderMap, Bytes);

/// A push service; it ends with the test's runtime.
#[derive(Clone, Default)]
struct PushService {
    messages: Arc<Mutex<Vec<Message>>>,
    status: Arc<AtomicU16>,
}

impl PushService {
    /// Returns the service and its origin.
    async fn open() -> (Self, String) {
        let service = Self::default();
        service.status.store(201, Ordering::Relaxed);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let take = |State(service): State<Self>, uri: Uri, headers: HeaderMap, body: Bytes| async move {
            let message = (uri.path().to_owned(), headers, body);
            service.messages.lock().unwrap().push(message);
            StatusCode::from_u16(service.status.load(Ordering::Relaxed)).unwrap()
        };
        let router = Router::new()
            .route("/{browser}", post(take))
            .with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (service, origin)
    }

    async fn next(&self) -> Message {
        let mut next = None;
        eventually("a message arrives", TIMEOUT, async || {
            next = self.messages.lock().unwrap().pop();
            next.is_some()
        })
        .await;
        next.unwrap()
    }
}

async fn subscribe(browser: &Api, endpoint: String) {
    let keys = json!({
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        "auth": "BTBZMqHH6r4Tts7J_aSIgg",
    });
    let body = json!({ "endpoint": endpoint, "keys": keys, "locale": "en" });
    browser.put(PUSH, body).await.ok();
}

#[tokio::test]
async fn a_request_reaches_the_parents_browser_and_its_answer_the_childs() {
    let (service, origin) = PushService::open().await;
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .listing("gambling", "more.example")
        .config("[app]\npush_hosts = [\"127.0.0.1\"]\n")
        .start()
        .await;
    world
        .device("home", "phone", ("address", "127.0.7.9"))
        .await;
    world
        .toggle("home", "gambling", crate::world::Switch::Block)
        .await;
    let link = async |body| {
        let made = world.api.post("/v1/households/home/links", body).await.ok();
        log_in(&world, json!({ "link": made.json["secret"] }))
            .await
            .0
    };
    let parent = link(json!({ "role": "parent" })).await;
    let child = link(json!({ "role": "child", "device": "phone" })).await;
    subscribe(&parent, format!("{origin}/parent")).await;
    subscribe(&child, format!("{origin}/child")).await;

    let asked = child
        .post(REQUESTS, json!({ "name": "bets.example" }))
        .await
        .ok();
    let (path, headers, body) = service.next().await;
    assert_eq!(path, "/parent");
    assert_eq!(headers["content-encoding"], "aes128gcm");
    assert_eq!(headers["ttl"], "86400");
    let authorization = headers["authorization"].to_str().unwrap();
    let key = parent.get("/v1/push/key").await.ok().json["key"].clone();
    let of_node = format!(", k={}", key.as_str().unwrap());
    assert!(authorization.starts_with("vapid t=") && authorization.ends_with(&of_node));
    let is_plain = body.windows(4).any(|window| window == b"bets");
    assert!(!is_plain, "the push service reads nothing");

    // Of one kind, one an hour.
    child
        .post(REQUESTS, json!({ "name": "more.example" }))
        .await
        .ok();
    let too_soon = [("outcome", "too_soon")];
    eventually("the second one is left out", TIMEOUT, async || {
        let count = world
            .api
            .metric_of("ox_protect_push_messages_total", &too_soon);
        count.await >= 1.0
    })
    .await;
    // An answer is for the child. The service says that this browser is gone.
    service.status.store(410, Ordering::Relaxed);
    let request = format!("{REQUESTS}/{}", asked.json["id"].as_str().unwrap());
    parent.put(&request, json!({ "answer": "deny" })).await.ok();
    assert_eq!(service.next().await.0, "/child");
    let ended = [("outcome", "ended")];
    eventually("the subscription is removed", TIMEOUT, async || {
        let count = world
            .api
            .metric_of("ox_protect_push_messages_total", &ended);
        count.await >= 1.0
    })
    .await;
    assert!(service.messages.lock().unwrap().is_empty());
}
