//! Faulty authoritative servers: lame, silent, slow, broken and lossy. Names that at least one good
//! server serves are resolved.

use std::{net::Ipv4Addr, time::Duration};

use hickory_proto::rr::LowerName;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::world::{
    Asked, Behaviour, Client, Internet, Lie, Unbound, World, all_at_once, ask_all, check, quantile,
    seed,
};

const ZONES: usize = 1_000;
/// Concurrent queries.
const AT_ONCE: usize = 32;
/// Servers of each faulty kind, and good ones; zones share them.
const EACH_BAD: usize = 3;
const GOOD: usize = 12;
/// The zone of the pool's server names.
const HOSTS: &str = "hosts.example.";
/// The name that forgers want to take over, its address, and the forged one.
const BANK: (&str, &str) = ("bank.example.", "192.0.2.99");
const FORGED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);

/// The kinds of faulty servers.
fn bad_kinds() -> [(&'static str, Behaviour); 9] {
    let bank = format!("{} 3600 A {FORGED}", BANK.0);
    let takeover = format!(
        "example. 3600 NS evil.{HOSTS}\n{} 3600 NS evil.{HOSTS}",
        BANK.0
    );
    [
        ("lame", Behaviour::RefersUpwards),
        ("silent", Behaviour::Silent),
        ("slow", Behaviour::Delays(Duration::from_millis(300))),
        ("truncating", Behaviour::Truncates),
        ("edns-hating", Behaviour::RejectsEdns),
        ("wrong-id", Behaviour::Lies(Lie::WrongId)),
        ("adding-answers", Behaviour::Lies(Lie::ExtraAnswer(bank))),
        (
            "adding-authority",
            Behaviour::Lies(Lie::ExtraAuthority(takeover)),
        ),
        ("refusing-or-failing", Behaviour::Refuses),
    ]
}

/// Every server of the pool: its name and its behaviour. The names are in [`HOSTS`].
fn pool() -> Vec<(String, Behaviour)> {
    let mut pool: Vec<_> = (0..GOOD)
        .map(|number| (format!("good{number}.{HOSTS}"), Behaviour::Answers))
        .collect();
    for (kind, behaviour) in bad_kinds() {
        for number in 0..EACH_BAD {
            // Of three that refuse, one responds SERVFAIL instead.
            let behaviour = if matches!(behaviour, Behaviour::Refuses) && number == 0 {
                Behaviour::Fails
            } else {
                behaviour.clone()
            };
            pool.push((format!("{kind}{number}.{HOSTS}"), behaviour));
        }
    }
    pool
}

fn zone(number: usize) -> String {
    format!("z{number}.example.")
}

/// The correct address of a zone.
fn address(number: usize) -> Ipv4Addr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(198, 18, high, low)
}

/// Two to four servers of the pool, one of them good.
fn choose(chance: &mut StdRng, pool: &[(String, Behaviour)]) -> Vec<String> {
    let good = chance.random_range(0..GOOD);
    let mut bad: Vec<usize> = (GOOD..pool.len()).collect();
    bad.shuffle(chance);
    let mut chosen = bad[..chance.random_range(1..=3)].to_vec();
    chosen.push(good);
    chosen.shuffle(chance);
    chosen
        .into_iter()
        .map(|place| pool[place].0.clone())
        .collect()
}

/// A thousand zones on forty servers. Every other zone names its servers in itself, so that they
/// have glue.
fn populate(internet: Internet, seed: u64) -> Internet {
    let pool = pool();
    let mut chance = StdRng::seed_from_u64(seed);
    let evil = format!("evil.{HOSTS}");
    let names: Vec<&str> = pool.iter().map(|(name, _)| name.as_str()).collect();
    let internet = internet
        .zone(HOSTS, "")
        .zone_served_by("pool.example.", &names, "")
        .zone(BANK.0, &format!("@ 60 A {}", BANK.1));
    let internet = internet.zone_served_by("evil.example.", &[&evil], "");
    internet
        .server(&evil)
        .set_behaviour(Behaviour::AnswersEverything(FORGED));
    let declared: Vec<(String, Vec<String>, String)> = (0..ZONES)
        .map(|number| {
            let apex = zone(number);
            let mut servers = choose(&mut chance, &pool);
            if number % 2 == 0 {
                for (place, server) in servers.iter_mut().enumerate() {
                    let own_name = format!("ns{place}.{apex}");
                    internet.alias(&own_name, server);
                    *server = own_name;
                }
            }
            (apex, servers, format!("www 300 A {}", address(number)))
        })
        .collect();
    let servers: Vec<Vec<&str>> = declared
        .iter()
        .map(|(_, servers, _)| servers.iter().map(String::as_str).collect())
        .collect();
    let zones = declared
        .iter()
        .zip(&servers)
        .map(|((apex, _, records), servers)| (apex.as_str(), servers.as_slice(), records.as_str()));
    let internet = internet.zones_served_by(zones);
    for (name, behaviour) in pool {
        internet.server(&name).set_behaviour(behaviour);
    }
    internet
}

/// One resolver's results for the thousand zones.
#[derive(Debug)]
struct Played {
    /// Queries with a wrong or missing address.
    wrong: Vec<String>,
    /// Median number of upstream queries for a zone.
    queries: u64,
}

/// Queries one uncached name in each zone.
async fn play(who: &str, client: &Client, internet: &Internet) -> Played {
    internet.reset_counts();
    let mut asked = ask_all(
        client,
        (0..ZONES).map(|number| format!("www.{} A", zone(number))),
        AT_ONCE,
    )
    .await;
    asked.sort_by_key(|asked| asked.took);
    let tally = internet.counts();
    let about = |number| tally.queries_below(&zone(number).parse::<LowerName>().unwrap());
    let story = |asked: &Asked| {
        let number = zone_number(asked);
        let servers: Vec<String> = internet
            .servers_of(&zone(number))
            .iter()
            .map(|server| server.name().to_string())
            .collect();
        let Asked {
            question,
            answer,
            took,
        } = asked;
        format!(
            "{question}: {answer} after {took:?} and {} queries, served by {}",
            about(number),
            servers.join(" ")
        )
    };
    let is_wrong = |asked: &&Asked| asked.answer != address(zone_number(asked)).to_string();
    let wrong: Vec<String> = asked.iter().filter(is_wrong).map(story).collect();
    let latency = |share| quantile(asked.iter().map(|asked| asked.took), share);
    let played = Played {
        wrong,
        queries: quantile((0..ZONES).map(about), 0.5),
    };
    println!(
        "{who}: {} of {ZONES} wrong; queries about a name {} in the median, {:.2} on average over all; latency {:?}, p95 {:?}, p99 {:?}",
        played.wrong.len(),
        played.queries,
        tally.queries() as f64 / ZONES as f64,
        latency(0.5),
        latency(0.95),
        latency(0.99)
    );
    asked
        .iter()
        .rev()
        .take(5)
        .for_each(|asked| println!("{who}, slow: {}", story(asked)));
    played
}

fn zone_number(asked: &Asked) -> usize {
    asked.question["www.z".len()..]
        .split('.')
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_zones_with_one_good_server_each_resolve_rightly() {
    let world = World::builder(populate(Internet::new(), seed()))
        .start()
        .await;
    let home = world.client("127.0.7.9");
    let played = play("ours", &home, &world.internet).await;
    assert!(
        played.wrong.is_empty(),
        "{} of {ZONES}: {:#?}",
        played.wrong.len(),
        &played.wrong[..played.wrong.len().min(20)]
    );
    assert_eq!(home.ask(&format!("{} A", BANK.0)).await, BANK.1);
}

/// Both resolvers run on the same Internet, one after the other. It must be on port 53, the only
/// port of Unbound's queries to authorities.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_servers_cost_no_more_queries_than_they_cost_unbound() {
    let Some(internet) = Internet::on_port_53().filter(|_| Unbound::is_installed()) else {
        eprintln!("NOT RUN: it needs Unbound, and root to listen on port 53");
        return;
    };
    let world = World::builder(populate(internet, seed())).start().await;
    let ours = play("ours", &world.client("127.0.7.9"), &world.internet).await;
    let unbound = Unbound::start(&world.internet).await;
    let theirs = play("Unbound", &unbound.client("127.0.7.9"), &world.internet).await;
    assert!(
        ours.queries * 10 <= theirs.queries * 11,
        "queries: {} to {}",
        ours.queries,
        theirs.queries
    );
}

/// The addresses of the faulty servers are cached, the good one's name must be resolved.
#[tokio::test]
async fn a_good_server_without_glue_is_looked_up_before_bad_ones_are_exhausted() {
    /// The most queries to each faulty server before the good one is queried: one, and retries
    /// where it may have been lost.
    const QUERIES_MAX: u64 = 4;
    let kinds = [
        ("silent", Behaviour::Silent),
        ("wrong-id", Behaviour::Lies(Lie::WrongId)),
        ("lame", Behaviour::RefersUpwards),
    ];
    let broken = all_at_once(kinds, async |(kind, behaviour)| {
        let servers = ["good", "bad0", "bad1"].map(|name| format!("{name}.{HOSTS}"));
        let names = servers.each_ref().map(String::as_str);
        let internet = Internet::new().zone(HOSTS, "").zone_served_by(
            "z0.example.",
            &names,
            "www 300 A 198.18.0.0",
        );
        for bad in &servers[1..] {
            internet.server(bad).set_behaviour(behaviour.clone());
        }
        let world = World::builder(internet).start().await;
        let home = world.client("127.0.7.9");
        for bad in &servers[1..] {
            assert_eq!(
                home.ask(&format!("{bad} A")).await,
                world.internet.server(bad).address().ip().to_string()
            );
        }
        let asked = ask_all(&home, ["www.z0.example. A".to_owned()], 1)
            .await
            .remove(0);
        let queries = servers
            .each_ref()
            .map(|server| world.internet.server(server).queries());
        println!("{kind}: {asked:?}; queries to the good one and to each bad one: {queries:?}");
        check(
            asked.answer == "198.18.0.0"
                && queries[1..].iter().all(|queries| *queries <= QUERIES_MAX),
            || {
                format!(
                    "{kind} servers: {}; queries to the good one and to each bad one: {queries:?}",
                    asked.answer
                )
            },
        )
    })
    .await;
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The Internet of the packet-loss test: 500 zones with a name each, and 5 zones with 100 names
/// each. All of these and their parents have two servers, as RFC 1034 requires.
fn lossy_internet(seed: u64) -> Internet {
    let small: Vec<String> = (0..500).map(zone).collect();
    let large: Vec<String> = (0..5)
        .map(|number| format!("large{number}.example."))
        .collect();
    let names: Vec<String> = (0..8).map(|number| format!("ns{number}.{HOSTS}")).collect();
    let pairs: Vec<[&str; 2]> = (0..8)
        .map(|number| [names[number].as_str(), names[(number + 1) % 8].as_str()])
        .collect();
    let records: Vec<String> = (0..500)
        .map(|number| format!("www 300 A {}", address(number)))
        .collect();
    let large_records: Vec<String> = (0..5)
        .map(|zone| {
            (zone * 100..zone * 100 + 100)
                .map(|number| format!("n{number} 300 A {}\n", address(number)))
                .collect()
        })
        .collect();
    let internet = Internet::new()
        .zone_served_by(".", &["a.root-servers.net.", "b.root-servers.net."], "")
        .zone_served_by("example.", &["a.nic.example.", "b.nic.example."], "")
        .zone_served_by(HOSTS, &["ns-a.hosts.example.", "ns-b.hosts.example."], "");
    let apexes = small
        .iter()
        .zip(&records)
        .chain(large.iter().zip(&large_records))
        .enumerate();
    let internet =
        internet.zones_served_by(apexes.map(|(place, (apex, records))| {
            (apex.as_str(), &pairs[place % 8][..], records.as_str())
        }));
    let servers = [".", "example.", HOSTS]
        .map(|apex| internet.servers_of(apex))
        .into_iter()
        .flatten();
    let servers = servers.chain(names.iter().map(|name| internet.server(name)));
    for (seed, server) in (seed..).zip(servers) {
        server.set_behaviour(Behaviour::LosesBothWays { share: 0.3, seed });
    }
    internet
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_three_packets_in_ten_lost_both_ways_cold_names_still_resolve() {
    let world = World::builder(lossy_internet(seed())).start().await;
    let home = world.client("127.0.7.9");
    let names = (0..500).map(|number| (format!("www.{}", zone(number)), number));
    let more = (0..500).map(|number| (format!("n{number}.large{}.example.", number / 100), number));
    let expected: std::collections::HashMap<String, String> = names
        .chain(more)
        .map(|(name, number)| (format!("{name} A"), address(number).to_string()))
        .collect();
    let asked = ask_all(&home, expected.keys().cloned(), 2 * AT_ONCE).await;
    let (failed, other): (Vec<&Asked>, Vec<&Asked>) = asked
        .iter()
        .filter(|asked| asked.answer != expected[&asked.question])
        .partition(|asked| ["SERVFAIL", "silence"].contains(&asked.answer.as_str()));
    println!(
        "{} names, {} failed; latency {:?}, p95 {:?}, p99 {:?}; {} queries that arrived",
        asked.len(),
        failed.len(),
        quantile(asked.iter().map(|asked| asked.took), 0.5),
        quantile(asked.iter().map(|asked| asked.took), 0.95),
        quantile(asked.iter().map(|asked| asked.took), 0.99),
        world.internet.counts().queries()
    );
    assert!(other.is_empty(), "wrong: {other:#?}");
    // One in a thousand fails by chance; a machine so busy that servers seem slow costs some more.
    assert!(
        failed.len() * 100 <= asked.len(),
        "{} of {} failed: {:#?}",
        failed.len(),
        asked.len(),
        &failed[..failed.len().min(10)]
    );
}
