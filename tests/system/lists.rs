//! Lists with real data and under change: exact, immediate, and never partial.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::world::{Behaviour, Client, Feed, Internet, Switch::*, World, eventually};

/// The longest time until a change on disk is live: a second of quiet, a build and a swap, on a
/// busy machine.
const LIVE_WITHIN: Duration = Duration::from_secs(60);

/// The folder of real lists; absent on machines without them.
fn data() -> Option<PathBuf> {
    let path = std::env::var_os("OX_PROTECT_DATA")
        .map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let path = path.canonicalize().ok();
    if path.is_none() {
        eprintln!("NOT RUN: no real lists at ../shared/data or $OX_PROTECT_DATA");
    }
    path
}

/// An Internet in which every name has this address, reached by forwarding, so that tens of
/// thousands of names need no iteration from the root.
async fn everything_exists(feeds: Vec<Feed>) -> (World, Internet) {
    let elsewhere = Internet::new();
    elsewhere
        .root()
        .set_behaviour(Behaviour::AnswersEverything(Ipv4Addr::new(192, 0, 2, 77)));
    let forward = format!(
        "[recursion]\nforward = [{{ zone = \".\", to = [\"{}\"] }}]\n",
        elsewhere.root().address()
    );
    let draft = feeds.into_iter().fold(
        World::builder(Internet::new()).config(&forward),
        crate::world::WorldBuilder::feed,
    );
    (draft.start().await, elsewhere)
}

/// Queries many names, 64 concurrently, and passes each answer on.
async fn ask_all(client: &Client, names: &[String], mut check: impl FnMut(&str, &str)) {
    for names in names.chunks(64) {
        let asked: Vec<_> = names
            .iter()
            .map(|name| {
                let client = client.clone();
                let question = format!("{name}. A");
                tokio::spawn(async move { client.ask(&question).await })
            })
            .collect();
        for (name, answer) in names.iter().zip(asked) {
            check(name, &answer.await.unwrap());
        }
    }
}

fn rows(path: &Path) -> Vec<String> {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .map(|row| row.trim().trim_end_matches('.'))
        .filter(|row| !row.is_empty() && !row.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// All real lists, as feeds of seven formats.
fn real_feeds(data: &Path) -> Vec<Feed> {
    let file = |path: &str| data.join("lists").join(path).display().to_string();
    let single = |category: &str, path: &str, format: &str| {
        Feed::new(category).source(&file(path)).format(format)
    };
    let ut1 = [
        ("gambling", "gambling"),
        ("games", "games"),
        ("dating", "dating"),
        ("shopping", "shopping"),
        ("vpn", "vpn"),
        ("doh", "doh"),
        ("cryptojacking", "cryptojacking"),
        ("malware", "malware"),
        ("phishing", "phishing"),
        ("audio-video", "streaming"),
        ("agressif", "hate"),
        ("sports", "sports"),
        ("warez", "piracy"),
        ("social_networks", "social"),
    ];
    vec![
        Feed::new("gambling")
            .source(&file("ut1"))
            .format("squidguard")
            .categories(&ut1),
        single("phishing", "blocklistproject/phishing.txt", "domains"),
        single("drugs", "blocklistproject/drugs.txt", "domains"),
        single("tracking", "blocklistproject/tracking.txt", "domains"),
        single("ads", "hagezi/light.adblock.txt", "adblock"),
        single("proxy", "hagezi/light.wildcard.txt", "wildcard"),
        single("cults", "hagezi/adguarddns.hosts.txt", "hosts").scope("exact"),
        single("news", "hagezi/easylist.dnsmasq.txt", "dnsmasq"),
        single("jobs", "hagezi/easylist.unbound.conf", "unbound"),
        single("travel", "hagezi/stevenblack.domains.txt", "domains"),
    ]
}

#[tokio::test]
async fn every_name_of_three_real_lists_is_blocked_only_where_switched_on() {
    let Some(data) = data() else { return };
    let (world, _elsewhere) = everything_exists(real_feeds(&data)).await;
    let lists = world.api.get("/v1/lists").await.ok().json;
    println!(
        "{} names, {} entries, {} bytes in memory",
        lists["names"], lists["entries"], lists["bytes"]
    );
    world.household("neighbours", "127.0.8.0/24").await;
    let home = world.client("127.0.7.9");
    let neighbours = world.client("127.0.8.9");
    for (slug, folder) in [
        ("dating", "dating"),
        ("vpn", "vpn"),
        ("gambling", "gambling"),
    ] {
        world.toggle("home", slug, Block).await;
        let names = rows(&data.join("lists/ut1").join(folder).join("domains"));
        ask_all(&home, &names, |name, answer| {
            assert!(answer.starts_with("blocked: "), "{slug}: {name}: {answer}")
        })
        .await;
        ask_all(&neighbours, &names, |name, answer| {
            assert_eq!(answer, "192.0.2.77", "{slug}: {name}")
        })
        .await;
        println!(
            "{slug}: {} names blocked for one and resolved for the other",
            names.len()
        );
        world.toggle("home", slug, Inherit).await;
    }
}

#[tokio::test]
async fn twenty_thousand_real_names_are_decided_as_a_naive_set_decides_them() {
    let Some(data) = data() else { return };
    let blocked = ["gambling", "tracking", "drugs", "travel"];
    let (world, _elsewhere) = everything_exists(real_feeds(&data)).await;
    let mut naive: HashMap<String, HashSet<&str>> = HashMap::new();
    let files = [
        ("gambling", "lists/ut1/gambling/domains"),
        ("tracking", "lists/blocklistproject/tracking.txt"),
        ("drugs", "lists/blocklistproject/drugs.txt"),
        ("travel", "lists/hagezi/stevenblack.domains.txt"),
    ];
    for (slug, file) in files {
        world.toggle("home", slug, Block).await;
        for name in rows(&data.join(file)) {
            naive.entry(name.to_lowercase()).or_default().insert(slug);
        }
    }
    let mut names = rows(&data.join("names/opendns-top-domains.txt"));
    names.extend(rows(&data.join("names/opendns-random-domains.txt")));
    assert!(names.len() >= 20_000);
    let mut count = 0;
    ask_all(&world.client("127.0.7.9"), &names, |name, answer| {
        let labels: Vec<&str> = name.split('.').collect();
        let ancestors = (0..labels.len()).map(|from| labels[from..].join(".").to_lowercase());
        let listed: HashSet<&str> = ancestors
            .filter_map(|ancestor| naive.get(&ancestor))
            .flatten()
            .copied()
            .collect();
        let expected: Vec<&str> = blocked
            .iter()
            .copied()
            .filter(|slug| listed.contains(slug))
            .collect();
        match answer.strip_prefix("blocked: ") {
            Some(slugs) => assert_eq!(
                slugs.split(", ").collect::<HashSet<_>>(),
                expected.iter().copied().collect(),
                "{name}"
            ),
            None => assert!(
                expected.is_empty() && answer == "192.0.2.77",
                "{name}: {answer}, but listed for {expected:?}"
            ),
        }
        count += usize::from(!expected.is_empty());
    })
    .await;
    println!(
        "{} names asked, {count} of them blocked, each as the naive set says",
        names.len()
    );
    assert!(count > 100);
}

#[tokio::test]
async fn a_changed_list_goes_live_and_a_broken_one_leaves_the_old_in_use() {
    let world = World::with_zone("old.example. 60 A 192.0.2.1")
        .zone("new.example. 60 A 192.0.2.2")
        .listing("gambling", "old.example")
        .listing("violence", "fight.example")
        .start()
        .await;
    for slug in ["gambling", "violence"] {
        world.toggle("home", slug, Block).await;
    }
    let home = world.client("127.0.7.9");
    assert_eq!(
        home.ask("new.example. A").await,
        "192.0.2.2",
        "in the cache from now on"
    );
    world.replace_feed("gambling", "new.example");
    eventually("the new list is live", LIVE_WITHIN, async || {
        home.ask("new.example. A").await == "blocked: gambling"
    })
    .await;
    assert_eq!(home.ask("old.example. A").await, "192.0.2.1");

    let generation = async || {
        world.api.get("/v1/lists").await.ok().json["generation"]
            .as_u64()
            .unwrap()
    };
    for (what, broken) in [
        ("garbage", "\0\u{1}\0binary\0".repeat(1000)),
        ("empty", String::new()),
        ("prose", "not a list <at all>\n".repeat(50)),
    ] {
        world.replace_feed_text("gambling", &broken);
        let said = async || {
            let lists = world.api.get("/v1/lists").await.ok().json;
            lists["last_error"]
                .as_str()
                .is_some_and(|error| error.contains("gambling"))
        };
        eventually(what, LIVE_WITHIN, said).await;
        assert_eq!(
            home.ask("new.example. A").await,
            "blocked: gambling",
            "{what}: the last good entries stay"
        );
        // The broken feed does not delay another one.
        let before = generation().await;
        world.replace_feed("violence", &format!("fight.example {what}.example"));
        eventually("the other feed is live", LIVE_WITHIN, async || {
            generation().await > before
        })
        .await;
        assert_eq!(
            home.ask(&format!("{what}.example. A")).await,
            "blocked: violence"
        );
        assert_eq!(
            home.ask("new.example. A").await,
            "blocked: gambling",
            "{what}: carried on over the next generation"
        );
        world.replace_feed("gambling", "new.example");
        eventually("the mended list is taken", LIVE_WITHIN, async || {
            world.api.get("/v1/lists").await.ok().json["last_error"].is_null()
        })
        .await;
    }
    let log = world.daemon.stderr();
    for gate in ["format", "empty", "bad-rows"] {
        let told = format!("feed=\"gambling\" gate=\"{gate}\"");
        assert!(
            log.lines()
                .any(|line| line.contains("ERROR") && line.contains(&told)),
            "{told} is not in\n{log}"
        );
    }
}

#[test]
fn a_daemon_that_cannot_have_lists_does_not_start_to_answer_without_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lists"), "a file where a folder must be").unwrap();
    let config = folder.path().join("c.toml");
    std::fs::write(&config, "[dns]\nlisten = [\"127.0.0.1:0\"]\n[api]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"sqlite:x.db\"\n[lists]\ndirectory = \"lists\"\n").unwrap();
    let output = crate::world::ox_protect(&["serve", "--config", config.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("lists"), "{said}");
    assert!(
        !String::from_utf8_lossy(&output.stdout).contains("ready"),
        "it promised what it cannot keep"
    );
}

#[tokio::test]
async fn a_damaged_artefact_is_passed_over_at_the_start() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.1")
        .listing("gambling", "bets.example")
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    world.daemon.kill();
    let folder = world.folder().join("lists");
    let newest = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "oxl"))
        .max()
        .unwrap();
    let octets = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &octets[..octets.len() / 2]).unwrap();
    let verified = crate::world::ox_protect(&["lists", "verify", newest.to_str().unwrap()]);
    assert!(
        !verified.status.success() && String::from_utf8_lossy(&verified.stderr).contains("damaged"),
        "{verified:?}"
    );
    world.daemon.restart().await;
    assert_eq!(
        world.client("127.0.7.9").ask("bets.example. A").await,
        "blocked: gambling",
        "built anew before the first answer"
    );
}

/// A million names with little in common, so that the artefact is as large as a provider's; each
/// generation has its own.
fn million(generation: u64) -> String {
    (0..1_000_000)
        .map(|number| hashed(generation, number) + "\n")
        .collect()
}

fn hashed(generation: u64, number: u64) -> String {
    let bits = (generation << 32 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        "{:x}.{}",
        bits >> 16,
        ["example", "test", "invalid"][(bits % 3) as usize]
    )
}

#[tokio::test]
async fn no_query_is_lost_while_a_million_names_change_again_and_again() {
    const GENERATIONS: u64 = 5;
    let feed = Feed::new("gambling").text(&million(1));
    let world = World::with_zone("a.example. 600 A 192.0.2.1\nb 600 A 192.0.2.2")
        .feed(feed)
        .household("home", "127.0.0.0/16")
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let before = world.daemon.resource_usage();
    let queries = world.folder().join("queries.txt");
    let listed: String = (1..=GENERATIONS)
        .map(|generation| hashed(generation, 999_999) + " A\n")
        .collect();
    std::fs::write(&queries, format!("a.example A\nb.a.example A\n{listed}")).unwrap();
    let address = world.daemon.addresses().dns();
    let mut load = Command::new("dnsperf");
    load.args([
        "-s",
        "127.0.0.1",
        "-p",
        &address.port().to_string(),
        "-l",
        "3600",
        "-Q",
        "1000",
        "-c",
        "4",
        "-t",
        "60",
        "-d",
    ])
    .arg(&queries);
    let load = load
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("dnsperf, which `make test` installs");
    let home = world
        .client("127.0.0.9")
        .with_timeout(Duration::from_secs(5));
    for generation in 2..=GENERATIONS {
        world.replace_feed_text("gambling", &million(generation));
        let new = hashed(generation, 999_999);
        let old = hashed(generation - 1, 999_999);
        let is_live = async || home.ask(&format!("{new}. A")).await == "blocked: gambling";
        let took = eventually("the new million is live", LIVE_WITHIN, is_live).await;
        assert_ne!(
            home.ask(&format!("{old}. A")).await,
            "blocked: gambling",
            "what is no longer listed is free"
        );
        println!("generation {generation}: live {took:?} after the change");
    }
    // All changes happened under load: the load ends on request and then reports its counts.
    let told = Command::new("sh")
        .args(["-c", "kill -s INT \"$0\"", &load.id().to_string()])
        .status();
    assert!(
        told.is_ok_and(|status| status.success()),
        "dnsperf ended before the last change"
    );
    let said = tokio::task::spawn_blocking(move || load.wait_with_output().unwrap())
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let after = world.daemon.resource_usage();
    let bytes = world.api.get("/v1/lists").await.ok().json["bytes"].clone();
    println!(
        "{said}\nlists {bytes} bytes; resident {} MiB before, {} MiB after, peak {} MiB",
        before.resident >> 20,
        after.resident >> 20,
        after.peak >> 20
    );
    let number = |label: &str| {
        said.lines().find_map(|line| {
            line.trim()
                .strip_prefix(label)?
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        })
    };
    assert_eq!(number("Queries lost:"), Some(0), "{said}");
    assert!(
        number("Queries completed:").is_some_and(|completed| completed > 1_000),
        "{said}"
    );
}
