//! Local faults: a failing disk, a replaced program, a provider that is silent when the node
//! starts.

use std::{
    fs::Permissions,
    net::Ipv4Addr,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

use crate::world::{Feed, Page, Provider, Switch::*, World, eventually};

/// A retry comes after at most half a minute, and a build takes its time on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(90);
const FREE: &str = "192.0.2.77";

fn everywhere() -> crate::world::WorldBuilder {
    World::with_every_name_at(Ipv4Addr::new(192, 0, 2, 77))
}

async fn feed(world: &World, name: &str) -> Value {
    world.api.get(&format!("/v1/feeds/{name}")).await.ok().json
}

/// Waits until the feed has this alarm, in all other places too.
async fn has_alarm(world: &World, name: &str, gate: &str) {
    eventually(&format!("{name}: {gate}"), TIMEOUT, async || {
        feed(world, name).await["alarm"]["gate"] == gate
    })
    .await;
    let now = feed(world, name).await;
    assert_eq!(now["state"], "failing", "{now:#}");
    assert!(
        now["failures"][gate].as_u64() >= Some(1)
            && !now["alarm"]["detail"].as_str().unwrap().is_empty(),
        "{now:#}"
    );
    assert!(
        world
            .api
            .metric_of(
                "ox_protect_feed_failures_total",
                &[("feed", name), ("gate", gate)]
            )
            .await
            >= 1.0
    );
    assert_eq!(
        world
            .api
            .metric_of("ox_protect_feed_alarm", &[("feed", name)])
            .await,
        1.0
    );
}

/// Waits until a name is blocked without intervention and the alarm has ended.
async fn is_live(world: &World, name: &str, listed: &str) {
    let home = world.client("127.0.7.9");
    eventually("it is live by itself", TIMEOUT, async || {
        home.ask(&format!("{listed}. A")).await == "blocked: gambling"
    })
    .await;
    let now = feed(world, name).await;
    assert_eq!(
        (&now["state"], &now["alarm"]),
        (&json!("live"), &Value::Null),
        "{now:#}"
    );
    assert_eq!(
        world
            .api
            .metric_of("ox_protect_feed_alarm", &[("feed", name)])
            .await,
        0.0
    );
}

/// Puts a folder in place of a file that the daemon must write. This simulates a failing disk even
/// for root.
fn block(path: &Path) {
    let _it_may_not_be_there = std::fs::remove_file(path);
    std::fs::create_dir(path).unwrap();
}

#[tokio::test]
async fn a_full_disk_under_a_build_is_an_alarm_until_the_list_is_live() {
    let world = everywhere()
        .listing("gambling", "one.bets.example")
        .listing("violence", "fight.example")
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let home = world.client("127.0.7.9");
    let lock = world.folder().join("lists/building.lock");
    block(&lock);
    world.replace_feed("gambling", "one.bets.example two.bets.example");
    has_alarm(&world, "gambling", "disk").await;
    assert_eq!(
        home.ask("one.bets.example. A").await,
        "blocked: gambling",
        "the last good list goes on"
    );
    assert_eq!(home.ask("two.bets.example. A").await, FREE);
    assert!(
        feed(&world, "violence").await["alarm"].is_null(),
        "nothing of it waits"
    );
    let failed = feed(&world, "gambling").await["failures"]["disk"].as_u64();
    eventually("it is tried again", TIMEOUT, async || {
        feed(&world, "gambling").await["failures"]["disk"].as_u64() > failed
    })
    .await;
    // A restart in between keeps the alarm.
    world.daemon.restart().await;
    has_alarm(&world, "gambling", "disk").await;
    std::fs::remove_dir(&lock).unwrap();
    is_live(&world, "gambling", "two.bets.example").await;
}

#[tokio::test]
async fn a_full_disk_under_a_fetch_is_an_alarm_and_no_provider_is_asked_in_vain() {
    let provider = Provider::open();
    provider.publish("/bets.txt", "one.bets.example\n");
    let fetched = Feed::new("gambling").fetched_from(&provider.url("/bets.txt"));
    let world = everywhere()
        .feed(fetched)
        .listing("violence", "fight.example")
        .start()
        .await;
    for slug in ["gambling", "violence"] {
        world.toggle("home", slug, Block).await;
    }
    // The content does not fit, as on a full disk.
    let aside = world
        .folder()
        .join("lists/feeds/gambling/state.json.writing");
    let _it_may_not_be_there = std::fs::remove_file(&aside);
    symlink("/dev/full", &aside).unwrap();
    provider.publish("/bets.txt", "one.bets.example\ntwo.bets.example\n");
    has_alarm(&world, "gambling", "disk").await;
    provider.requests();
    let home = world.client("127.0.7.9");
    world.replace_feed("violence", "brawl.example");
    eventually("another feed goes on", TIMEOUT, async || {
        home.ask("brawl.example. A").await == "blocked: violence"
    })
    .await;
    assert!(
        provider.requests().is_empty(),
        "what comes could not be kept"
    );
    assert_eq!(home.ask("one.bets.example. A").await, "blocked: gambling");
    std::fs::remove_file(&aside).unwrap();
    is_live(&world, "gambling", "two.bets.example").await;
}

#[tokio::test]
async fn content_fetched_before_a_kill_is_built_after_it() {
    let provider = Provider::open();
    provider.publish("/bets.txt", "one.bets.example\n");
    let world = everywhere()
        .feed(Feed::new("gambling").fetched_from(&provider.url("/bets.txt")))
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let lock = world.folder().join("lists/building.lock");
    block(&lock);
    provider.publish("/bets.txt", "one.bets.example\ntwo.bets.example\n");
    has_alarm(&world, "gambling", "disk").await;
    world.daemon.kill();
    std::fs::remove_dir(&lock).unwrap();
    // The provider's version is unchanged: only the spool has the new content.
    world.daemon.restart().await;
    is_live(&world, "gambling", "two.bets.example").await;
}

#[tokio::test]
async fn lists_are_built_by_the_running_program_whatever_lies_under_its_name() {
    let world = everywhere()
        .listing("gambling", "one.bets.example")
        .with_program_copy("/nowhere")
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let program = world.folder().join("ox-protect");
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "another version").unwrap();
    world.replace_feed("gambling", "two.bets.example");
    is_live(&world, "gambling", "two.bets.example").await;
    std::fs::remove_file(&program).unwrap();
    world.replace_feed("gambling", "three.bets.example");
    is_live(&world, "gambling", "three.bets.example").await;
}

#[tokio::test]
async fn a_build_that_cannot_start_is_an_alarm_and_is_tried_again() {
    let world = everywhere()
        .listing("gambling", "one.bets.example")
        .with_program_copy("/nowhere")
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    // A program that no user may execute, not even the tester.
    let may_run = |mode: u32| {
        std::fs::set_permissions(
            world.folder().join("ox-protect"),
            Permissions::from_mode(mode),
        )
        .unwrap()
    };
    may_run(0o644);
    world.replace_feed("gambling", "two.bets.example");
    has_alarm(&world, "gambling", "build").await;
    assert_eq!(
        world.client("127.0.7.9").ask("one.bets.example. A").await,
        "blocked: gambling",
        "the last good list goes on"
    );
    may_run(0o755);
    is_live(&world, "gambling", "two.bets.example").await;
}

#[tokio::test]
async fn a_node_starts_without_a_silent_provider_and_has_all_other_lists() {
    let provider = Provider::open();
    provider.answer(
        "/silent.txt",
        Page {
            is_silent: true,
            ..Page::of("")
        },
    );
    provider.publish("/adult.txt", "one.adult.example\n");
    let silent = Feed::new("gambling").fetched_from(&provider.url("/silent.txt"));
    let fetched = Feed::new("adult").fetched_from(&provider.url("/adult.txt"));
    let world = everywhere()
        .feed(silent)
        .feed(fetched)
        .listing("violence", "fight.example")
        .start()
        .await;
    for slug in ["gambling", "adult", "violence"] {
        world.toggle("home", slug, Block).await;
    }
    let home = world.client("127.0.7.9");
    assert_eq!(
        home.ask("fight.example. A").await,
        "blocked: violence",
        "from the first answer on"
    );
    assert_eq!(
        home.ask("one.adult.example. A").await,
        "blocked: adult",
        "from the first answer on"
    );
    let now = feed(&world, "gambling").await;
    assert_eq!(
        (&now["state"], &now["alarm"]["gate"]),
        (&json!("failing"), &json!("time")),
        "{now:#}"
    );
    provider.publish("/silent.txt", "one.bets.example\n");
    world.daemon.restart().await;
    assert_eq!(
        home.ask("fight.example. A").await,
        "blocked: violence",
        "last good lists are live at once"
    );
    is_live(&world, "gambling", "one.bets.example").await;
}

#[tokio::test]
async fn a_silent_provider_holds_up_no_start_of_a_node_that_has_lists() {
    let provider = Provider::open();
    provider.answer(
        "/silent.txt",
        Page {
            is_silent: true,
            ..Page::of("")
        },
    );
    let world = everywhere()
        .listing("gambling", "one.bets.example")
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let more = format!(
        "\n[[feeds]]\nname = \"silent\"\nsource = {:?}\nformat = \"domains\"\nscope = \"subtree\"\ncategory = \"adult\"\nallow_private = true\n",
        provider.url("/silent.txt")
    );
    let settings = std::fs::read_to_string(world.daemon.config()).unwrap();
    std::fs::write(world.daemon.config(), settings + &more).unwrap();
    world.daemon.restart().await;
    assert_eq!(
        world.client("127.0.7.9").ask("one.bets.example. A").await,
        "blocked: gambling"
    );
    let complaints = world.daemon.stderr();
    assert!(
        !complaints.contains("the node starts without it"),
        "it was waited for: {complaints}"
    );
    assert_eq!(feed(&world, "silent").await["origin"], "config");
}
