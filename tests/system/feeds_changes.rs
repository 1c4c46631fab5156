//! Changes that a provider publishes every second: rows, not lists. They are live at once, without
//! a build, and folded in the background.

use std::{fmt::Write, net::Ipv4Addr, time::Duration};

use serde_json::Value;

use crate::world::{CategoryFeed, Client, Feed, Load, Provider, Switch::*, World, eventually};

const NAMES: usize = 100_000;
/// Rows of one delta: half of them are added, half removed.
const ROWS: usize = 10_000;
/// Deltas until the overlay must have been folded at least once.
const DELTAS: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(60);
const FREE: &str = "192.0.2.77";

fn kept(number: usize) -> String {
    format!("kept{number}.list.example")
}

/// A name that the delta with this number removes.
fn gone(delta: usize, number: usize) -> String {
    format!("gone{delta}-{number}.list.example")
}

/// A name that it adds.
fn come(delta: usize, number: usize) -> String {
    format!("come{delta}-{number}.list.example")
}

fn rows(delta: usize) -> String {
    let mut rows = String::new();
    for number in 0..ROWS / 2 {
        writeln!(
            rows,
            "+{}\t1\n-{}",
            come(delta, number),
            gone(delta, number)
        )
        .unwrap();
    }
    rows
}

async fn ask(client: &Client, name: &str) -> String {
    client.ask(&format!("{name}. A")).await
}

/// The state before or after a delta: two names that it added, two that it removed.
async fn has_delta(client: &Client, delta: usize, is_there: bool) {
    let (came, went) = if is_there {
        ("blocked: gambling", FREE)
    } else {
        (FREE, "blocked: gambling")
    };
    for number in [0, ROWS / 2 - 1] {
        assert_eq!(
            ask(client, &come(delta, number)).await,
            came,
            "delta {delta}"
        );
        assert_eq!(
            ask(client, &format!("www.{}", gone(delta, number))).await,
            went,
            "delta {delta}"
        );
    }
}

async fn lists(world: &World) -> Value {
    world.api.get("/v1/lists").await.ok().json
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_changed_rows_become_live_and_no_list_is_built() {
    let provider = Provider::open();
    let mut first = String::new();
    for number in 0..NAMES - DELTAS * ROWS / 2 {
        writeln!(first, "{}\t1", kept(number)).unwrap();
    }
    for (delta, number) in
        (1..=DELTAS).flat_map(|delta| (0..ROWS / 2).map(move |number| (delta, number)))
    {
        writeln!(first, "{}\t1", gone(delta, number)).unwrap();
    }
    let mut published = CategoryFeed::publish(&provider, "provider", &first);
    let feed = Feed::new("gambling")
        .categories(&[("1", "gambling")])
        .format("category-feed")
        .fetched_from(&published.url());
    let world = World::with_every_name_at(Ipv4Addr::new(192, 0, 2, 77))
        .config("[dns]\nworkers = 1\n")
        .feed(feed)
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let home = world.client("127.0.7.9");
    let begun = lists(&world).await;
    assert_eq!(
        (&begun["names"], &begun["overlay_entries"]),
        (&NAMES.into(), &0.into())
    );
    let steady = (0..50).map(|number| {
        (
            format!("{}. A", kept(number * 100)),
            "blocked: gambling".to_owned(),
        )
    });
    let steady: Vec<_> = steady
        .chain((0..50).map(|number| (format!("free{number}.list.example. A"), FREE.to_owned())))
        .collect();
    let mut load = Load::on(&home, steady.clone());
    let mut asked = 0;

    let mut folded = 0;
    for delta in 1..=DELTAS {
        has_delta(&home, delta, false).await;
        let before = lists(&world).await;
        provider.requests();
        published.delta(&rows(delta));
        let took = eventually("the change is live", TIMEOUT, async || {
            ask(&home, &come(delta, 7)).await == "blocked: gambling"
        })
        .await;
        let path = published.delta_path();
        let fetches = provider
            .requests()
            .iter()
            .filter(|request| request.path == path)
            .count();
        assert_eq!(
            fetches, 1,
            "its rows are fetched once, and the first verdict after that is the new one"
        );
        has_delta(&home, delta, true).await;
        let after = lists(&world).await;
        if after["base_generation"] == before["base_generation"] {
            assert_eq!(
                after["parent"], before["generation"],
                "it stands on what was live: {after:#}"
            );
            assert!(
                after["overlay_entries"].as_u64()
                    >= before["overlay_entries"]
                        .as_u64()
                        .map(|before| before + ROWS as u64 / 2)
            );
        } else {
            folded += 1;
        }
        assert_eq!(after["names"], NAMES, "as many came as went");
        println!(
            "delta {delta}: {took:?} from its publication; the daemon's own part {} ms; overlay {} names",
            after["last_swap_ms"], after["overlay_entries"]
        );
        if delta == DELTAS / 2 {
            // A crash in between, with the current overlay.
            asked += load.end().await;
            let generation = lists(&world).await["generation"].clone();
            world.daemon.restart().await;
            assert_eq!(
                lists(&world).await["generation"],
                generation,
                "what was live is what is opened"
            );
            load = Load::on(&home, steady.clone());
            for delta in 1..=delta {
                has_delta(&home, delta, true).await;
            }
            has_delta(&home, delta + 1, false).await;
        }
    }
    let is_folded = async || {
        let now = lists(&world).await;
        now["base_generation"] != begun["base_generation"]
            && now["overlay_entries"].as_u64() < Some(50_000)
    };
    eventually("the overlay is folded into a new base", TIMEOUT, is_folded).await;
    for delta in 1..=DELTAS {
        has_delta(&home, delta, true).await;
    }
    let kept = world.api.get("/v1/lists/generations").await.ok().json;
    let kept = kept["generations"].as_array().unwrap();
    assert!(
        kept.len() > DELTAS,
        "every version is there to go back to: {kept:#?}"
    );
    let built = world
        .daemon
        .stderr()
        .lines()
        .filter(|line| line.contains("new lists are live"))
        .count();
    assert_eq!(
        built, 1,
        "only the first lists were built; {folded} folds came between two deltas"
    );
    println!(
        "{} queries meanwhile, none with a wrong verdict",
        asked + load.end().await
    );
    world.daemon.restart().await;
    assert_eq!(lists(&world).await["names"], NAMES);
    for delta in 1..=DELTAS {
        has_delta(&home, delta, true).await;
    }
}
