//! Limits of feeds defined over the API: no file, secret or network of the machine, unless the
//! configuration permits it.

use std::{net::Ipv4Addr, time::Duration};

use serde_json::{Value, json};

use crate::world::{Switch::*, World, eventually};

const LIVE_WITHIN: Duration = Duration::from_secs(30);
const FREE: &str = "192.0.2.77";
const SECRET: &str = "secret.of-this-machine.example";

fn definition(source: &str) -> Value {
    json!({ "name": "own", "source": source, "format": "domains", "scope": "subtree", "category": "gambling" })
}

fn with(source: &str, key: &str, value: Value) -> Value {
    let mut definition = definition(source);
    definition[key] = value;
    definition
}

#[tokio::test]
async fn the_api_defines_no_feed_that_reaches_into_the_machine() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .listing("gambling", "bets.example")
        .start()
        .await;
    let secret = world.folder().join("secret.txt");
    std::fs::write(&secret, SECRET).unwrap();
    let (path, remote) = (secret.to_str().unwrap(), "https://lists.example/list.txt");
    let file = format!("file:{path}");
    let tsig = json!({ "name": "key", "secret": file });
    let mut zone = with("rpz://ns.lists.example/zone", "tsig", tsig);
    zone["format"] = "rpz".into();
    zone.as_object_mut().unwrap().remove("scope");
    let cases = [
        (definition(path), "local_source", "source"),
        (definition("secret.txt"), "local_source", "source"),
        (definition("/etc/passwd"), "local_source", "source"),
        (
            with(remote, "bearer", json!(file)),
            "secret_reference",
            "bearer",
        ),
        (
            with(remote, "bearer", json!("env:HOME")),
            "secret_reference",
            "bearer",
        ),
        (
            with(remote, "password", json!(file)),
            "secret_reference",
            "password",
        ),
        (
            with(remote, "username", json!("env:HOME")),
            "secret_reference",
            "username",
        ),
        (
            with(remote, "minisign_key", json!(file)),
            "secret_reference",
            "minisign_key",
        ),
        (zone, "secret_reference", "tsig.secret"),
        (
            with(remote, "allow_private", json!(true)),
            "private_address",
            "allow_private",
        ),
        (
            with(remote, "sha256_url", json!("http://10.0.0.1/sum")),
            "private_address",
            "sha256_url",
        ),
        (
            definition("http://127.0.0.1/list"),
            "private_address",
            "source",
        ),
        (
            definition("http://169.254.169.254/latest"),
            "private_address",
            "source",
        ),
        (
            definition("http://localhost:8080/list"),
            "private_address",
            "source",
        ),
        (
            with("rpz://192.168.0.1/zone", "format", json!("rpz")),
            "private_address",
            "source",
        ),
        (
            definition(&format!("file://{path}")),
            "definition",
            "source",
        ),
    ];
    for (definition, code, field) in cases {
        for answer in [
            world.api.post("/v1/feeds", definition.clone()).await,
            world.api.put("/v1/feeds/own", definition.clone()).await,
        ] {
            assert_eq!(
                (answer.status, answer.problem()),
                (422, code),
                "{definition:#}\n{}",
                answer.text
            );
            assert_eq!(
                answer.json["field"], field,
                "{definition:#}\n{}",
                answer.text
            );
            assert!(!answer.text.contains(SECRET), "{}", answer.text);
        }
    }
    assert_eq!(world.api.get("/v1/feeds/own").await.status, 404);
    // A later change of an accepted definition is checked, too.
    world.api.post("/v1/feeds", definition(remote)).await.ok();
    assert_eq!(
        world
            .api
            .put("/v1/feeds/own", with(remote, "bearer", json!(file)))
            .await
            .problem(),
        "secret_reference"
    );
    assert_eq!(
        world
            .api
            .put("/v1/feeds/own", definition(path))
            .await
            .problem(),
        "local_source"
    );
}

#[tokio::test]
async fn local_feeds_of_the_api_live_in_their_folder_and_links_lead_nowhere() {
    let uploads = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let path = |name: &str| uploads.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("list.txt"), "one.bets.example\n").unwrap();
    std::fs::write(
        elsewhere.path().join("secret.txt"),
        format!("{SECRET}\nno name at all\n"),
    )
    .unwrap();
    let config = format!(
        "[lists]\napi_folder = {:?}\n",
        uploads.path().display().to_string()
    );
    let world = World::with_every_name_at(Ipv4Addr::new(192, 0, 2, 77))
        .listing("violence", "fight.example")
        .config(&config)
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let home = world.client("127.0.7.9");
    let api = &world.api;
    api.post("/v1/feeds", definition(&path("list.txt")))
        .await
        .ok();
    eventually("it is live", LIVE_WITHIN, async || {
        home.ask("one.bets.example. A").await == "blocked: gambling"
    })
    .await;

    let link = |to: &str| {
        let _it_may_be_new = std::fs::remove_file(path("list.txt"));
        std::os::unix::fs::symlink(elsewhere.path().join(to), path("list.txt")).unwrap();
    };
    link("secret.txt");
    let state = async || api.get("/v1/feeds/own").await.ok();
    eventually("it is not read", LIVE_WITHIN, async || {
        state().await.json["alarm"]["gate"] == "transport"
    })
    .await;
    let feed = state().await;
    assert!(
        !feed.text.contains("no name at all") && !feed.text.contains(SECRET),
        "{}",
        feed.text
    );
    assert_eq!(home.ask(&format!("{SECRET}. A")).await, FREE);
    assert_eq!(home.ask("one.bets.example. A").await, "blocked: gambling");
    for outside in ["list.txt", "../secret.txt", "new/../../secret.txt"] {
        assert_eq!(
            api.put("/v1/feeds/own", definition(&path(outside)))
                .await
                .problem(),
            "local_source",
            "{outside}"
        );
    }

    // If the configuration no longer permits it, the feed keeps its entries and raises an alarm.
    std::fs::remove_file(path("list.txt")).unwrap();
    std::fs::write(path("list.txt"), "two.bets.example\n").unwrap();
    eventually("it goes on", LIVE_WITHIN, async || {
        home.ask("two.bets.example. A").await == "blocked: gambling"
    })
    .await;
    let settings = std::fs::read_to_string(world.daemon.config()).unwrap();
    let without: String = settings
        .lines()
        .filter(|line| !line.starts_with("api_folder"))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(world.daemon.config(), without).unwrap();
    std::fs::write(path("list.txt"), "three.bets.example\n").unwrap();
    world.daemon.restart().await;
    let feed = state().await.json;
    assert_eq!(
        (&feed["state"], &feed["alarm"]["gate"], &feed["origin"]),
        (&json!("failing"), &json!("definition"), &json!("api")),
        "{feed:#}"
    );
    assert_eq!(
        home.ask("two.bets.example. A").await,
        "blocked: gambling",
        "what it had stays"
    );
    world.replace_feed("violence", "fight.example brawl.example");
    world.toggle("home", "violence", Block).await;
    eventually("others go on", LIVE_WITHIN, async || {
        home.ask("brawl.example. A").await == "blocked: violence"
    })
    .await;
    assert_eq!(
        home.ask("two.bets.example. A").await,
        "blocked: gambling",
        "over every build"
    );
    assert_eq!(home.ask("three.bets.example. A").await, FREE);
    assert_eq!(api.delete("/v1/feeds/own").await.status, 200);
    eventually("it is gone", LIVE_WITHIN, async || {
        home.ask("two.bets.example. A").await == FREE
    })
    .await;
}
