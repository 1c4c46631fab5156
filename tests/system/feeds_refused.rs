//! A refused version changes nothing: no new generation, no change of the kept generations and of
//! the history.

use std::{net::Ipv4Addr, time::Duration};

use serde_json::{Value, json};

use crate::world::{Feed, Provider, Switch::*, World, eventually, ox_protect};

const DEALT_WITH_WITHIN: Duration = Duration::from_secs(30);
const FREE: &str = "192.0.2.77";

fn everywhere() -> crate::world::WorldBuilder {
    World::with_every_name_at(Ipv4Addr::new(192, 0, 2, 77)).config("[lists]\nkeep = 3\n")
}

/// The kept generations, newest first.
async fn kept(world: &World) -> Vec<u64> {
    let kept = world.api.get("/v1/lists/generations").await.ok().json;
    kept["generations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kept| kept["generation"].as_u64().unwrap())
        .collect()
}

async fn generation(world: &World) -> Value {
    world.api.get("/v1/lists").await.ok().json["generation"].clone()
}

async fn feed(world: &World) -> Value {
    world.api.get("/v1/feeds/gambling").await.ok().json
}

/// Publishes a page that is no list, and waits until it is refused.
async fn is_refused(world: &World, page: u32, publish: impl Fn(&str)) {
    let before = feed(world).await["refused"]["version"].clone();
    publish(&format!("<html>sorry, page {page}</html>\n").repeat(9));
    world
        .api
        .post("/v1/feeds/gambling/refresh", json!({}))
        .await
        .ok();
    let is_told = async || {
        let refused = feed(world).await["refused"].clone();
        !refused.is_null() && refused["version"] != before
    };
    eventually(
        &format!("page {page} is refused"),
        DEALT_WITH_WITHIN,
        is_told,
    )
    .await;
}

#[tokio::test]
async fn twelve_broken_pages_make_no_generation_and_cost_no_past() {
    let provider = Provider::open();
    provider.publish("/bets.txt", "one.bets.example\n");
    let fetched = Feed::new("gambling").fetched_from(&provider.url("/bets.txt"));
    let world = everywhere()
        .feed(fetched)
        .listing("violence", "fight.example")
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let home = world.client("127.0.7.9");
    let first = jiff::Timestamp::now().to_string();
    tokio::time::sleep(Duration::from_millis(5)).await;
    provider.publish("/bets.txt", "two.bets.example\n");
    world
        .api
        .post("/v1/feeds/gambling/refresh", json!({}))
        .await
        .ok();
    eventually("two is live", DEALT_WITH_WITHIN, async || {
        home.ask("two.bets.example. A").await == "blocked: gambling"
    })
    .await;
    let live = generation(&world).await;
    let before = kept(&world).await;
    let past = async || {
        let explained = world
            .api
            .get(&format!(
                "/v1/explain?name=one.bets.example&household=home&at={first}"
            ))
            .await
            .ok()
            .json;
        (
            explained["generation"].clone(),
            explained["entry"].clone(),
            explained["feed"].clone(),
        )
    };
    let told = past().await;

    for page in 0..12 {
        is_refused(&world, page, |text| provider.publish("/bets.txt", text)).await;
    }
    assert_eq!(
        (generation(&world).await, kept(&world).await),
        (live.clone(), before.clone())
    );
    assert_eq!(past().await, told, "the past is what it was");
    assert_eq!(home.ask("two.bets.example. A").await, "blocked: gambling");
    let refused = feed(&world).await["refused"].clone();
    assert_eq!(
        world
            .api
            .metric_of("ox_protect_feed_refused", &[("feed", "gambling")])
            .await,
        1.0
    );

    // The same page again causes no build, and a restart knows of it without one.
    let builds = || world.daemon.stderr().matches("new lists are live").count();
    let built = builds();
    world.daemon.restart().await;
    let again = feed(&world).await;
    assert_eq!(
        (&again["state"], &again["refused"]["version"]),
        (&json!("refused"), &refused["version"]),
        "{again:#}"
    );
    assert_eq!(
        (generation(&world).await, kept(&world).await),
        (live.clone(), before.clone())
    );

    // The good version is back: it is live as before, and nothing is refused.
    provider.publish("/bets.txt", "two.bets.example\n");
    world
        .api
        .post("/v1/feeds/gambling/refresh", json!({}))
        .await
        .ok();
    eventually("all is well", DEALT_WITH_WITHIN, async || {
        feed(&world).await["state"] == "live"
    })
    .await;
    let lists = world.api.get("/v1/lists").await.ok().json;
    assert_eq!(
        (&lists["generation"], &lists["last_error"]),
        (&live, &Value::Null),
        "{lists:#}"
    );
    assert_eq!(builds(), built, "no lists came of any of it");
    let back = world
        .api
        .post("/v1/lists/rollback", json!({}))
        .await
        .ok()
        .json;
    assert_eq!(
        back["to"], before[1],
        "the way back is still there: {back:#}"
    );
    assert_eq!(home.ask("one.bets.example. A").await, "blocked: gambling");
}

#[tokio::test]
async fn broken_and_touched_files_make_no_generation_either() {
    let world = everywhere()
        .listing("gambling", "one.bets.example")
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let live = generation(&world).await;
    let before = kept(&world).await;
    for page in 0..4 {
        is_refused(&world, page, |text| {
            world.replace_feed_text("gambling", text)
        })
        .await;
    }
    world.replace_feed("gambling", "one.bets.example");
    eventually("all is well", DEALT_WITH_WITHIN, async || {
        feed(&world).await["state"] == "live"
    })
    .await;
    // Touched, and then changed: when the later change is live, the earlier one has been processed.
    world.replace_feed("gambling", "one.bets.example");
    world
        .api
        .post("/v1/feeds/gambling/refresh", json!({}))
        .await
        .ok();
    assert_eq!(
        (generation(&world).await, kept(&world).await),
        (live.clone(), before.clone())
    );
    is_refused(&world, 9, |text| world.replace_feed_text("gambling", text)).await;
    assert_eq!(
        (generation(&world).await, kept(&world).await),
        (live, before.clone())
    );
    world.replace_feed("gambling", "one.bets.example two.bets.example");
    let home = world.client("127.0.7.9");
    eventually("a good one is live", DEALT_WITH_WITHIN, async || {
        home.ask("two.bets.example. A").await == "blocked: gambling"
    })
    .await;
    assert_eq!(kept(&world).await.len(), before.len() + 1);
}

#[tokio::test]
async fn a_deleted_feed_stays_deleted_whatever_is_rolled_back() {
    let provider = Provider::open();
    provider.publish("/own.txt", "own.bets.example\n");
    let world = everywhere()
        .listing("violence", "fight.example")
        .config("[lists]\napi_allow_private = true\n")
        .start()
        .await;
    for slug in ["gambling", "violence"] {
        world.toggle("home", slug, Block).await;
    }
    let home = world.client("127.0.7.9");
    let api = &world.api;
    let definition = json!({
        "name": "own", "source": provider.url("/own.txt"), "format": "domains", "scope": "subtree", "category": "gambling", "allow_private": true,
    });
    let becomes = async |answer: &str| {
        eventually(
            &format!("own.bets.example: {answer}"),
            DEALT_WITH_WITHIN,
            async || home.ask("own.bets.example. A").await == answer,
        )
        .await
    };
    api.post("/v1/feeds", definition.clone()).await.ok();
    becomes("blocked: gambling").await;
    let with = generation(&world).await;
    assert_eq!(api.delete("/v1/feeds/own").await.status, 200);
    becomes(FREE).await;

    let is_gone = async |what: &str| {
        assert_eq!(home.ask("own.bets.example. A").await, FREE, "{what}");
        assert_eq!(
            home.ask("fight.example. A").await,
            "blocked: violence",
            "{what}"
        );
        assert_eq!(api.get("/v1/feeds/own").await.status, 404, "{what}");
        let feeds = api.get("/v1/feeds").await.ok();
        assert!(
            !feeds.text.contains("own.bets") && !feeds.text.contains("\"own\""),
            "{what}: {}",
            feeds.text
        );
        let lists = api.get("/v1/lists").await.ok().json;
        assert!(
            lists["feeds"]
                .as_array()
                .unwrap()
                .iter()
                .all(|feed| feed["name"] != "own"),
            "{what}: {lists:#}"
        );
    };
    api.post("/v1/lists/rollback", json!({})).await.ok();
    is_gone("rolled back").await;
    api.post("/v1/lists/rollback", json!({ "generation": with }))
        .await
        .ok();
    is_gone("rolled back to when it was there").await;
    world.daemon.restart().await;
    is_gone("started again").await;
    let config = world.daemon.config();
    let output = ox_protect(&[
        "lists",
        "rollback",
        "--config",
        config.to_str().unwrap(),
        &with.to_string(),
    ]);
    assert!(output.status.success(), "{output:?}");
    let before = generation(&world).await;
    eventually(
        "the command's generation is live",
        DEALT_WITH_WITHIN,
        async || generation(&world).await != before,
    )
    .await;
    is_gone("rolled back by the command line").await;
    // The name is free for another feed.
    api.post("/v1/feeds", definition).await.ok();
    becomes("blocked: gambling").await;
    assert_eq!(api.get("/v1/feeds/own").await.ok().json["origin"], "api");
    assert_eq!(api.delete("/v1/feeds/own").await.status, 200);
    becomes(FREE).await;
}

#[tokio::test]
async fn a_feed_that_was_rolled_back_to_before_it_came_waits_to_be_approved() {
    let provider = Provider::open();
    provider.publish("/own.txt", "own.bets.example\n");
    let world = everywhere()
        .listing("violence", "fight.example")
        .config("[lists]\napi_allow_private = true\n")
        .start()
        .await;
    for slug in ["gambling", "violence"] {
        world.toggle("home", slug, Block).await;
    }
    let home = world.client("127.0.7.9");
    let api = &world.api;
    let definition = json!({
        "name": "own", "source": provider.url("/own.txt"), "format": "domains", "scope": "subtree", "category": "gambling", "allow_private": true,
    });
    api.post("/v1/feeds", definition).await.ok();
    eventually("it is live", DEALT_WITH_WITHIN, async || {
        home.ask("own.bets.example. A").await == "blocked: gambling"
    })
    .await;
    let back = api
        .post("/v1/lists/rollback", json!({ "generation": 1 }))
        .await
        .ok()
        .json;
    let is_held = async |what: &str| {
        assert_eq!(home.ask("own.bets.example. A").await, FREE, "{what}");
        let feed = api.get("/v1/feeds/own").await.ok().json;
        assert_eq!(
            (&feed["state"], &feed["origin"]),
            (&json!("held"), &json!("api")),
            "{what}: {feed:#}"
        );
    };
    is_held("rolled back").await;
    world.daemon.restart().await;
    is_held("started again").await;
    world.replace_feed("violence", "fight.example brawl.example");
    eventually("another feed goes on", DEALT_WITH_WITHIN, async || {
        home.ask("brawl.example. A").await == "blocked: violence"
    })
    .await;
    is_held("built for another feed").await;
    assert!(generation(&world).await.as_u64() > back["live"].as_u64());
    api.post("/v1/feeds/own/approve", json!({})).await.ok();
    assert_eq!(home.ask("own.bets.example. A").await, "blocked: gambling");
}
