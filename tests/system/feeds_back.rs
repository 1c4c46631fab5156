//! Rollback: an earlier content is live again at once, and stays live until it is released.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::world::{Client, Events, Feed, Provider, Switch::*, World, eventually, ox_protect};

const LIVE_WITHIN: Duration = Duration::from_secs(60);
const FREE: &str = "192.0.2.77";

fn everywhere() -> crate::world::WorldBuilder {
    World::with_every_name_at(Ipv4Addr::new(192, 0, 2, 77))
}

/// The full artefacts in the folder: each was written by a build or a fold.
fn compiled(world: &World) -> Vec<String> {
    let names = std::fs::read_dir(world.folder().join("lists"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".oxl")).collect();
    names.sort();
    names
}

async fn is_blocked(client: &Client, name: &str) -> bool {
    match client.ask(&format!("{name}. A")).await.as_str() {
        FREE => false,
        answer if answer.starts_with("blocked: ") => true,
        answer => panic!("{name}: {answer}"),
    }
}

/// Which of these names are blocked.
async fn blocked(client: &Client, names: &[&str]) -> String {
    let mut blocked = Vec::new();
    for name in names {
        if is_blocked(client, name).await {
            blocked.push(*name);
        }
    }
    blocked.join(" ")
}

async fn feed(world: &World, name: &str) -> Value {
    world.api.get(&format!("/v1/feeds/{name}")).await.ok().json
}

async fn lists(world: &World) -> Value {
    world.api.get("/v1/lists").await.ok().json
}

/// Waits until the daemon has polled a feed from now on and has processed the result.
async fn is_asked_again(world: &World, name: &str) {
    for _ in 0..2 {
        let before = feed(world, name).await["fetched_at"].clone();
        world
            .api
            .post(&format!("/v1/feeds/{name}/refresh"), json!({}))
            .await
            .ok();
        eventually("the feed is asked", LIVE_WITHIN, async || {
            feed(world, name).await["fetched_at"] != before
        })
        .await;
    }
}

/// The last row of the audit with this action.
async fn audited(world: &World, subject: &str, action: &str) -> Value {
    let mut found = Value::Null;
    eventually(
        &format!("{action} of {subject} is in the audit"),
        LIVE_WITHIN,
        async || {
            let audit = world
                .api
                .get(&format!("/v1/audit?subject={subject}&order=newest"))
                .await
                .ok()
                .json;
            let row = audit["records"]
                .as_array()
                .unwrap()
                .iter()
                .find(|row| row["action"] == action)
                .cloned();
            found = row.unwrap_or_default();
            !found.is_null()
        },
    )
    .await;
    found
}

const ONE: &str = "kept.bets.example\nwithdrawn.bets.example\n";
const TWO: &str = "kept.bets.example\nmistaken.bets.example\n";
const THREE: &str = "kept.bets.example\nthird.bets.example\n";
const BETS: [&str; 4] = [
    "kept.bets.example",
    "withdrawn.bets.example",
    "mistaken.bets.example",
    "third.bets.example",
];

#[tokio::test]
async fn a_generation_and_a_feed_go_back_without_compiling_and_stay_there() {
    let provider = Provider::open();
    provider.publish("/bets.txt", ONE);
    provider.publish("/adult.txt", "one.adult.example\n");
    let fetched = |slug: &str, name: &str| {
        Feed::new(slug)
            .called(name)
            .fetched_from(&provider.url(&format!("/{name}.txt")))
    };
    let world = everywhere()
        .feed(fetched("gambling", "bets"))
        .feed(fetched("adult", "adult"))
        .config("[dns]\nworkers = 1\n")
        .start()
        .await;
    for slug in ["gambling", "adult"] {
        world.toggle("home", slug, Block).await;
    }
    let home = world.client("127.0.7.9");
    let events = Events::listen(&world.api).await;
    assert_eq!(
        blocked(&home, &BETS).await,
        "kept.bets.example withdrawn.bets.example"
    );
    let first = lists(&world).await["generation"].clone();
    provider.publish("/bets.txt", TWO);
    eventually("version two is live", LIVE_WITHIN, async || {
        is_blocked(&home, "mistaken.bets.example").await
    })
    .await;
    let second = lists(&world).await["generation"].clone();

    // All lists.
    let before = compiled(&world);
    let began = Instant::now();
    let back = world
        .api
        .post("/v1/lists/rollback", json!({}))
        .await
        .ok()
        .json;
    assert_eq!(
        blocked(&home, &BETS).await,
        "kept.bets.example withdrawn.bets.example",
        "live when the rollback returns"
    );
    println!(
        "all lists: {} ms of the daemon's, {:?} from the request to the verdicts",
        back["took_ms"],
        began.elapsed()
    );
    assert_eq!((&back["from"], &back["to"]), (&second, &first));
    assert_eq!(compiled(&world), before, "nothing was compiled");
    assert_eq!(lists(&world).await["generation"], back["live"]);
    let bets = feed(&world, "bets").await;
    let adult = feed(&world, "adult").await;
    assert_eq!(
        (&bets["state"], &adult["state"]),
        (&json!("held"), &json!("live")),
        "{bets:#}"
    );
    events.wait_for("rolled_back", &[]).await;
    events.wait_for("feed_held", &[("feed", "bets")]).await;

    let row = audited(&world, "lists", "rollback_done").await;
    let difference = &row["after"]["difference"];
    assert_eq!(
        difference["changes"],
        json!([{ "feed": "bets", "category": "gambling", "added": 1, "removed": 1 }]),
        "{row:#}"
    );
    let listed = |name: &str| json!([{ "name": name, "feed": "bets", "category": "gambling" }]);
    assert_eq!(
        difference["added"],
        listed("withdrawn.bets.example"),
        "newly blocked: {row:#}"
    );
    assert_eq!(
        difference["removed"],
        listed("mistaken.bets.example"),
        "{row:#}"
    );

    // A held feed does not take the provider's next version, and other feeds are not held.
    provider.publish("/bets.txt", THREE);
    provider.publish("/adult.txt", "one.adult.example\ntwo.adult.example\n");
    eventually("the other feed goes on", LIVE_WITHIN, async || {
        is_blocked(&home, "two.adult.example").await
    })
    .await;
    is_asked_again(&world, "bets").await;
    assert_eq!(
        blocked(&home, &BETS).await,
        "kept.bets.example withdrawn.bets.example",
        "it is held"
    );
    assert_eq!(
        (
            &feed(&world, "bets").await["state"],
            &feed(&world, "bets").await["version"]
        ),
        (&json!("held"), &bets["version"])
    );

    // After a crash, the rolled-back content is live.
    world.daemon.restart().await;
    let names = [&BETS[..], &["one.adult.example", "two.adult.example"]].concat();
    let now = "kept.bets.example withdrawn.bets.example one.adult.example two.adult.example";
    assert_eq!(blocked(&home, &names).await, now);
    is_asked_again(&world, "bets").await;
    assert_eq!(blocked(&home, &names).await, now);
    assert_eq!(feed(&world, "bets").await["state"], "held");

    let released = world
        .api
        .post("/v1/feeds/bets/approve", json!({}))
        .await
        .ok()
        .json;
    assert_eq!(released["state"], "live", "{released:#}");
    assert_eq!(
        blocked(&home, &BETS).await,
        "kept.bets.example third.bets.example"
    );

    // One feed.
    let before = compiled(&world);
    let adult = feed(&world, "adult").await["version"].clone();
    let began = Instant::now();
    let back = world
        .api
        .post("/v1/feeds/bets/rollback", json!({ "generation": second }))
        .await
        .ok()
        .json;
    assert_eq!(
        blocked(&home, &names).await,
        "kept.bets.example mistaken.bets.example one.adult.example two.adult.example"
    );
    println!(
        "one feed: {} ms of the daemon's, {:?} from the request to the verdicts",
        back["took_ms"],
        began.elapsed()
    );
    assert_eq!(compiled(&world), before, "nothing was compiled");
    assert_eq!(feed(&world, "bets").await["state"], "held");
    assert_eq!(
        (
            &feed(&world, "adult").await["state"],
            &feed(&world, "adult").await["version"]
        ),
        (&json!("live"), &adult)
    );
    let row = audited(&world, "feed:bets", "rollback_done").await;
    assert_eq!(
        row["after"]["difference"]["added"],
        listed("mistaken.bets.example"),
        "{row:#}"
    );
    // A second rollback goes further back, not to the content that was just rolled back.
    world
        .api
        .post("/v1/feeds/bets/rollback", json!({}))
        .await
        .ok();
    assert_eq!(
        blocked(&home, &BETS).await,
        "kept.bets.example withdrawn.bets.example"
    );
    world.daemon.restart().await;
    assert_eq!(blocked(&home, &names).await, now);
    assert_eq!(feed(&world, "bets").await["state"], "held");
    assert_eq!(
        world.api.get("/v1/audit/verify").await.ok().json["is_whole"],
        true
    );
}

#[tokio::test]
async fn the_command_line_compares_and_goes_back_beside_the_running_daemon() {
    let world = everywhere()
        .listing("gambling", "kept.bets.example withdrawn.bets.example")
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let home = world.client("127.0.7.9");
    let first = lists(&world).await["generation"].clone();
    world.replace_feed("gambling", "kept.bets.example mistaken.bets.example");
    eventually("the new list is live", LIVE_WITHIN, async || {
        is_blocked(&home, "mistaken.bets.example").await
    })
    .await;
    let second = lists(&world).await["generation"].clone();
    let config = world.daemon.config();
    let run = |arguments: &[&str]| {
        let output = ox_protect(
            &[
                &["lists"],
                arguments,
                &["--config", config.to_str().unwrap()],
            ]
            .concat(),
        );
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{said}");
        said
    };
    let said = run(&["diff", &first.to_string(), &second.to_string()]);
    assert!(
        said.contains("+ mistaken.bets.example") && said.contains("- withdrawn.bets.example"),
        "{said}"
    );

    let before = compiled(&world);
    let began = Instant::now();
    let said = run(&["rollback"]);
    assert!(
        said.contains(&format!("repeats {first}")) && said.contains("gambling"),
        "{said}"
    );
    eventually("it is live", LIVE_WITHIN, async || {
        blocked(&home, &BETS).await == "kept.bets.example withdrawn.bets.example"
    })
    .await;
    println!("from the command to the verdict: {:?}", began.elapsed());
    assert_eq!(compiled(&world), before, "nothing was compiled");
    assert_eq!(feed(&world, "gambling").await["state"], "held");
    let row = audited(&world, "lists", "rollback_done").await;
    assert_eq!(row["actor"], "command line", "{row:#}");
    assert_eq!(
        row["after"]["difference"]["added"][0]["name"], "withdrawn.bets.example",
        "{row:#}"
    );
    run(&["verify"]);
    world.daemon.restart().await;
    assert_eq!(
        blocked(&home, &BETS).await,
        "kept.bets.example withdrawn.bets.example"
    );
    world
        .api
        .post("/v1/feeds/gambling/approve", json!({}))
        .await
        .ok();
    assert_eq!(
        blocked(&home, &BETS).await,
        "kept.bets.example mistaken.bets.example"
    );
}
