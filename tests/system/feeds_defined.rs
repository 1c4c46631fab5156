//! Feeds defined over the API: fetched, live, changed, deleted; and still there after a restart.

use std::{net::Ipv4Addr, time::Duration};

use serde_json::{Value, json};

use crate::world::{Events, Provider, Switch::*, World, eventually};

const LIVE_WITHIN: Duration = Duration::from_secs(60);
const FREE: &str = "192.0.2.77";
/// The providers of the tests have loopback addresses.
const PRIVATE: &str = "[lists]\napi_allow_private = true\n";

fn definition(provider: &Provider, path: &str) -> Value {
    json!({
        "name": "provider",
        "source": provider.url(path),
        "format": "domains",
        "scope": "subtree",
        "category": "gambling",
        "interval_s": 1,
        "allow_private": true,
        "username": "ox",
        "password": "a secret of ours",
    })
}

#[tokio::test]
async fn a_feed_made_by_the_api_is_fetched_and_outlives_a_restart() {
    let provider = Provider::open();
    provider.publish("/one.txt", "one.bets.example\n");
    provider.publish("/two.txt", "two.bets.example\n");
    let world = World::with_every_name_at(Ipv4Addr::new(192, 0, 2, 77))
        .listing("violence", "fight.example")
        .config(PRIVATE)
        .start()
        .await;
    for slug in ["gambling", "adult", "violence"] {
        world.toggle("home", slug, Block).await;
    }
    let home = world.client("127.0.7.9");
    let api = &world.api;
    let events = Events::listen(&world.api).await;
    let becomes = async |name: &str, answer: &str| {
        let question = format!("{name}. A");
        eventually(&format!("{name}: {answer}"), LIVE_WITHIN, async || {
            home.ask(&question).await == answer
        })
        .await
    };

    let made = api
        .post("/v1/feeds", definition(&provider, "/one.txt"))
        .await;
    assert_eq!(
        (made.status, made.header("location")),
        (201, Some("/v1/feeds/provider")),
        "{}",
        made.text
    );
    let took = becomes("one.bets.example", "blocked: gambling").await;
    println!("a new feed is live {took:?} after it was defined");
    let feed = api.get("/v1/feeds/provider").await.ok();
    assert_eq!(
        (
            &feed.json["state"],
            &feed.json["origin"],
            &feed.json["entries"]
        ),
        (&json!("live"), &json!("api"), &json!(1))
    );
    assert!(feed.json["alarm"].is_null(), "{}", feed.text);
    assert!(!feed.text.contains("a secret of ours"), "{}", feed.text);
    let stopped: Vec<Value> = events
        .received()
        .into_iter()
        .filter(|event| event["kind"] != "feed_live")
        .collect();
    assert!(
        stopped.is_empty(),
        "a feed that waits for its first fetch is no reason for an alarm: {stopped:?}"
    );

    // Another category, and the secret as the API shows it.
    let changed = Value::Object(
        [
            ("category", json!("adult")),
            ("password", json!("(hidden)")),
        ]
        .into_iter()
        .fold(
            definition(&provider, "/one.txt")
                .as_object()
                .unwrap()
                .clone(),
            |mut all, (key, value)| {
                all.insert(key.to_owned(), value);
                all
            },
        ),
    );
    assert_eq!(
        api.put("/v1/feeds/provider", changed.clone()).await.status,
        200
    );
    becomes("one.bets.example", "blocked: adult").await;
    // Another source: the names of the old one are unblocked.
    assert_eq!(
        api.put("/v1/feeds/provider", definition(&provider, "/two.txt"))
            .await
            .status,
        200
    );
    becomes("two.bets.example", "blocked: gambling").await;
    assert_eq!(home.ask("one.bets.example. A").await, FREE);
    let basic = provider
        .requests()
        .into_iter()
        .rfind(|request| request.path == "/two.txt")
        .unwrap();
    assert_eq!(
        basic.header("authorization"),
        Some("Basic b3g6YSBzZWNyZXQgb2Ygb3Vycw==")
    );

    world.daemon.restart().await;
    assert_eq!(
        home.ask("two.bets.example. A").await,
        "blocked: gambling",
        "from the first answer on"
    );
    assert_eq!(
        api.get("/v1/feeds/provider").await.ok().json["origin"],
        "api"
    );
    provider.publish("/two.txt", "two.bets.example\nthree.bets.example\n");
    becomes("three.bets.example", "blocked: gambling").await;

    assert_eq!(api.delete("/v1/feeds/provider").await.status, 200);
    becomes("two.bets.example", FREE).await;
    assert_eq!(
        home.ask("fight.example. A").await,
        "blocked: violence",
        "the others stay"
    );
    assert_eq!(api.get("/v1/feeds/provider").await.status, 404);
    assert_eq!(api.delete("/v1/feeds/provider").await.status, 404);
    world.daemon.restart().await;
    assert_eq!(home.ask("two.bets.example. A").await, FREE);
    let audit = api.get("/v1/audit?subject=feed:provider").await.ok();
    let actions: Vec<&str> = audit.json["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["create", "change", "change", "delete"]);
    assert!(!audit.text.contains("a secret of ours"), "{}", audit.text);
}

#[tokio::test]
async fn an_unusable_feed_definition_is_refused_with_the_wrong_field() {
    let provider = Provider::open();
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .listing("gambling", "bets.example")
        .config(PRIVATE)
        .start()
        .await;
    let with = |key: &str, value: Value| {
        let mut definition = definition(&provider, "/one.txt");
        definition[key] = value;
        definition
    };
    let cases = [
        (with("name", json!("a/b")), 422, "definition", "name"),
        (with("name", Value::Null), 422, "missing", "name"),
        (
            with("source", json!("ftp://a.example/list")),
            422,
            "definition",
            "source",
        ),
        (
            with("source", json!("http://me:secret@127.0.0.1/list")),
            422,
            "definition",
            "source",
        ),
        (with("format", json!("xml")), 422, "definition", "format"),
        (with("scope", Value::Null), 422, "definition", "scope"),
        (
            with("category", json!("gamblign")),
            422,
            "definition",
            "category",
        ),
        (
            with("interval_s", json!(0)),
            422,
            "definition",
            "interval_s",
        ),
        (
            with("minisign_key", json!("no key")),
            422,
            "definition",
            "minisign_key",
        ),
        (
            with("must_match", json!(["not a name"])),
            422,
            "definition",
            "must_match",
        ),
        (with("colour", json!("red")), 422, "definition", "colour"),
        (
            with("password", json!("(hidden)")),
            422,
            "hidden",
            "password",
        ),
        (with("name", json!("gambling")), 409, "exists", "name"),
    ];
    for (definition, status, code, field) in cases {
        let refused = world.api.post("/v1/feeds", definition.clone()).await;
        assert_eq!(
            (refused.status, refused.problem()),
            (status, code),
            "{definition:#}\n{}",
            refused.text
        );
        assert_eq!(
            refused.json["field"], field,
            "{definition:#}\n{}",
            refused.text
        );
        assert!(!refused.text.contains("secret"), "{}", refused.text);
    }
    let configured = world
        .api
        .put("/v1/feeds/gambling", with("name", json!("gambling")))
        .await;
    assert_eq!(
        (configured.status, configured.problem()),
        (409, "configured"),
        "{}",
        configured.text
    );
    assert_eq!(
        world.api.delete("/v1/feeds/gambling").await.problem(),
        "configured"
    );
    assert_eq!(
        world.api.get("/v1/feeds").await.ok().json["feeds"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
