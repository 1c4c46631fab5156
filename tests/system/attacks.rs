//! Attacks on a resolver and through it: the cost of one query for others, and the effect on other
//! clients. The limits are the best that current resolvers were measured at.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use hickory_proto::rr::RecordType;
use tokio::task::JoinSet;

use crate::world::{
    Asked, Attack, Behaviour, Client, Internet, World, all_at_once, ask_all, check, eventually,
    quantile,
};

/// The attacker's zone.
pub(super) const ATTACKER: &str = "attacker.example.";
/// The zone that the attacker's referrals point to.
const VICTIM: &str = "victim.example.";
/// A zone of other clients, and the address of every name in it.
pub(super) const GOOD: (&str, &str) = ("good.example.", "192.0.2.1");
/// The address in forged answers.
pub(super) const FORGED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
/// The longest wait until the resolver sends no more queries.
const QUIET_WITHIN: Duration = Duration::from_secs(120);

/// An attacker, a victim and an uninvolved zone.
pub(super) fn internet() -> Internet {
    Internet::new()
        .zone(ATTACKER, "")
        .zone(VICTIM, "")
        .zone(GOOD.0, &format!("@ 3600 A {0}\n* 3600 A {0}", GOOD.1))
}

fn attacker_behaves(behaviour: &Behaviour) -> Internet {
    let internet = internet().zone(ATTACKER, "* 60 A 192.0.2.66");
    internet.set_behaviour(ATTACKER, behaviour);
    internet
}

fn attacker_plays(game: Attack) -> Internet {
    let internet = internet();
    internet.set_behaviour(ATTACKER, &Behaviour::Plays(game));
    internet
}

fn glueless_referrals() -> Internet {
    attacker_plays(Attack::GluelessReferrals {
        servers: 100,
        victim: VICTIM,
    })
}

fn dead_servers() -> Internet {
    let servers: Vec<String> = (1..=60)
        .map(|number| format!("ns{number}.{ATTACKER}"))
        .collect();
    let internet = internet().zone_served_by(
        ATTACKER,
        &servers.iter().map(String::as_str).collect::<Vec<_>>(),
        "",
    );
    internet.set_behaviour(ATTACKER, &Behaviour::Silent);
    internet
}

/// Two zones whose only servers are named in each other; one is the attacker's.
fn cycle() -> Internet {
    let other = format!("ns.other.{ATTACKER}");
    internet()
        .zone_served_by("cycle.example.", &[&other], "* 60 A 192.0.2.66")
        .zone_served_by(&format!("other.{ATTACKER}"), &["ns.cycle.example."], "")
}

/// A name below the attacker's zone that was not queried before.
fn fresh(number: usize) -> String {
    format!("u{number}.{ATTACKER} A")
}

/// A name deep enough to be referred a hundred times.
fn deep(number: usize) -> String {
    format!("{}u{number}.{ATTACKER} A", "a.".repeat(100))
}

fn in_cycle(number: usize) -> String {
    format!(
        "u{number}.{} A",
        if number.is_multiple_of(2) {
            "cycle.example.".to_owned()
        } else {
            format!("other.{ATTACKER}")
        }
    )
}

/// Waits until the resolver sends no more queries; returns their number.
async fn when_quiet(internet: &Internet) -> u64 {
    let began = Instant::now();
    let mut before = internet.counts().queries();
    loop {
        // The longest pause of a resolver that is still working: one timeout.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let now = internet.counts().queries();
        if now == before {
            return now;
        }
        assert!(
            began.elapsed() < QUIET_WITHIN,
            "still asking: {now} queries"
        );
        before = now;
    }
}

/// Sends one query and requires a response, even if it is SERVFAIL. Returns it, and the number of
/// queries that it caused.
async fn cost(world: &World, question: &str) -> (String, u64) {
    let asked = ask_all(&world.client("127.0.7.9"), [question.to_owned()], 1)
        .await
        .remove(0);
    let queries = when_quiet(&world.internet).await;
    println!(
        "{question}: {} after {:?}, {queries} queries",
        asked.answer, asked.took
    );
    assert_ne!(asked.answer, "silence", "{question}");
    (asked.answer, queries)
}

#[tokio::test]
async fn a_hundred_glueless_names_cost_their_zone_sixteen_queries_at_most() {
    let broken = all_at_once(
        [
            Behaviour::Answers,
            Behaviour::Fails,
            Behaviour::Refuses,
            Behaviour::Silent,
        ],
        async |victim| {
            let world = World::builder(glueless_referrals()).start().await;
            world.internet.set_behaviour(VICTIM, &victim);
            let (answer, _) = cost(&world, &fresh(0)).await;
            let queries = world.internet.servers_of(VICTIM)[0].counts().queries();
            check(answer == "SERVFAIL" && queries <= 16, || {
                format!("{answer}, and {queries} queries to a victim that {victim:?}")
            })
        },
    )
    .await;
    assert!(broken.is_empty(), "{broken:#?}");
}

#[tokio::test]
async fn sixty_dead_servers_are_not_all_tried_and_not_only_one() {
    let world = World::builder(dead_servers()).start().await;
    assert_eq!(cost(&world, &fresh(0)).await.0, "SERVFAIL");
    let queries: Vec<u64> = world
        .internet
        .servers_of(ATTACKER)
        .iter()
        .map(|server| server.counts().queries())
        .collect();
    assert!(queries.iter().sum::<u64>() <= 50, "{queries:?}");
    assert!(
        queries.iter().filter(|queries| **queries > 0).count() > 1,
        "{queries:?}"
    );
}

#[tokio::test]
async fn a_chain_of_two_hundred_aliases_costs_its_owner_twenty_queries_at_most() {
    let world = World::builder(attacker_plays(Attack::Aliases { length: 200 }))
        .start()
        .await;
    cost(&world, &fresh(0)).await;
    let queries = world.internet.servers_of(ATTACKER)[0].counts().queries();
    assert!(queries <= 20, "{queries} queries");
}

#[tokio::test]
async fn referrals_without_end_cost_fifty_queries_at_most() {
    type Question = fn(usize) -> String;
    let games: [(Attack, Question); 5] = [
        (Attack::EndlessReferrals, fresh),
        (Attack::EverDeeper, deep),
        (Attack::EverDeeper, fresh),
        (Attack::BackToItself, fresh),
        (
            Attack::AliasesAcrossReferrals {
                servers: 10,
                victim: VICTIM,
            },
            fresh,
        ),
    ];
    let broken = all_at_once(games, async |(game, question)| {
        let what = format!("{game:?}");
        let world = World::builder(attacker_plays(game)).start().await;
        let (answer, queries) = cost(&world, &question(0)).await;
        check(answer == "SERVFAIL" && queries <= 50, || {
            format!("{what}: {answer} and {queries} queries")
        })
    })
    .await;
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The same two names fifty times, and fifty different ones.
#[tokio::test]
async fn fifty_questions_about_circular_zones_cost_25_queries_at_most() {
    let broken = all_at_once([2, 50], async |names| {
        let world = World::builder(cycle()).start().await;
        let asked = ask_all(
            &world.client("127.0.7.9"),
            (0..50).map(|number| in_cycle(number % names)),
            5,
        )
        .await;
        let queries = when_quiet(&world.internet).await;
        let slowest = asked.iter().map(|asked| asked.took).max().unwrap();
        let all_fail = asked.iter().all(|asked| asked.answer == "SERVFAIL");
        println!("{names} names: {queries} queries, the slowest answer after {slowest:?}");
        check(all_fail && queries <= 25, || {
            format!(
                "{names} names: {queries} queries, {slowest:?}, {:?}",
                world.internet.counts().questions()
            )
        })
    })
    .await;
    assert!(broken.is_empty(), "{broken:#?}");
}

#[tokio::test]
async fn a_server_that_truncates_and_stalls_costs_fifty_queries_at_most() {
    let broken = all_at_once(
        [
            Behaviour::TruncatesAndHangs,
            Behaviour::Drips(Duration::from_secs(1)),
        ],
        async |behaviour| {
            let world = World::builder(attacker_behaves(&behaviour)).start().await;
            let (_, queries) = cost(&world, &fresh(0)).await;
            check(queries <= 50, || {
                format!("{behaviour:?}: {queries} queries")
            })
        },
    )
    .await;
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The results of another client.
#[derive(Default)]
struct Service {
    /// The number of queries to all servers of the Internet while one uncached name was resolved.
    meanwhile: Vec<u64>,
    wrong: Vec<Asked>,
}

/// Queries two cached names and an uncached one repeatedly, at most fifty times a second.
async fn use_service(world: &World, client: &Client) -> Service {
    let mut ticks = interval(Duration::from_millis(20));
    let mut service = Service::default();
    for tick in 0..150 {
        ticks.tick().await;
        let before = world.internet.queries();
        let cold = ask_all(client, [format!("under{tick}.{} A", GOOD.0)], 1);
        let cached = ask_all(
            client,
            [format!("{} A", GOOD.0), format!("warm.{} A", GOOD.0)],
            2,
        );
        let (cold, cached) = tokio::join!(
            async { (cold.await, world.internet.queries() - before) },
            cached
        );
        service.meanwhile.push(cold.1);
        service.wrong.extend(
            cold.0
                .into_iter()
                .chain(cached)
                .filter(|asked| asked.answer != GOOD.1),
        );
    }
    service
}

/// A timer that skips ticks missed on a busy machine.
fn interval(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

/// Keeps 200 queries from 50 addresses in flight, at most 200 new ones a second, and ignores the
/// answers. Ends when it is dropped.
fn attack(world: &World, question: fn(usize) -> String) -> JoinSet<()> {
    const UNDER_WAY: usize = 200;
    let clients: Vec<Client> = (1..=50)
        .map(|host| world.client(&format!("127.0.20.{host}")))
        .collect();
    let mut attack = JoinSet::new();
    attack.spawn(async move {
        let mut ticks = interval(Duration::from_millis(5));
        let mut under_way = JoinSet::new();
        for (number, client) in clients.iter().cycle().enumerate() {
            ticks.tick().await;
            let client = client.clone();
            under_way.spawn(async move { client.ask(&question(number)).await });
            if under_way.len() == UNDER_WAY {
                under_way.join_next().await;
            }
        }
    });
    attack
}

/// Another client gets all its answers during the attack, and gets them before the attack's own
/// lookups have finished. The time depends on the machine; the order of events does not.
async fn others_notice_nothing(internet: Internet, question: fn(usize) -> String) {
    /// The most queries for the attack while one uncached name is resolved: those already sent, and
    /// some more for each. Behind a full round of the attack, the name would wait for 200 lookups
    /// with up to 50 queries each.
    const MEANWHILE_MAX: u64 = 1_000;
    let world = World::builder(internet).start().await;
    let other_client = world.client("127.0.7.9");
    for name in ["", "warm."] {
        assert_eq!(
            other_client.ask(&format!("{name}{} A", GOOD.0)).await,
            GOOD.1
        );
    }
    let queries = world.internet.queries();
    let cpu = world.daemon.resource_usage().cpu;
    let began = Instant::now();
    let _attack = attack(&world, question);
    let service = use_service(&world, &other_client).await;
    let meanwhile = |share| quantile(service.meanwhile.iter().copied(), share);
    println!(
        "queries while a cold name was asked for: median {}, p90 {}, p99 {}; {} queries and {:?} of CPU in {:?}",
        meanwhile(0.5),
        meanwhile(0.9),
        meanwhile(0.99),
        world.internet.queries() - queries,
        world.daemon.resource_usage().cpu - cpu,
        began.elapsed()
    );
    assert!(
        service.wrong.is_empty(),
        "{} of 450: {:#?}",
        service.wrong.len(),
        &service.wrong[..service.wrong.len().min(5)]
    );
    assert!(
        meanwhile(0.9) <= MEANWHILE_MAX,
        "{} queries, in nine of ten cases at most, before one cold name is known",
        meanwhile(0.9)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_notice_nothing_of_glueless_referrals() {
    others_notice_nothing(glueless_referrals(), fresh).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_notice_nothing_of_dead_servers() {
    others_notice_nothing(dead_servers(), fresh).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_notice_nothing_of_long_chains_of_aliases() {
    others_notice_nothing(attacker_plays(Attack::Aliases { length: 200 }), fresh).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_notice_nothing_of_referrals_without_end() {
    others_notice_nothing(attacker_plays(Attack::EndlessReferrals), fresh).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_notice_nothing_of_ever_deeper_referrals() {
    others_notice_nothing(attacker_plays(Attack::EverDeeper), deep).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_notice_nothing_of_zones_that_need_each_other() {
    others_notice_nothing(cycle(), in_cycle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_notice_nothing_of_servers_that_truncate_and_hang() {
    others_notice_nothing(attacker_behaves(&Behaviour::TruncatesAndHangs), fresh).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_notice_nothing_of_servers_that_drip() {
    others_notice_nothing(
        attacker_behaves(&Behaviour::Drips(Duration::from_millis(200))),
        fresh,
    )
    .await;
}

/// A silent server with this many zones: the attacker's, and others at the same address.
fn silent_authority(zones: usize) -> Internet {
    let mut internet = attacker_behaves(&Behaviour::Silent);
    for number in 1..zones {
        let zone = format!("silent{number}.example.");
        internet.alias(&format!("ns1.{zone}"), &format!("ns1.{ATTACKER}"));
        internet = internet.zone(&zone, "");
    }
    internet
}

/// Names below one zone of a silent server, and below twenty of them in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_unanswerable_questions_leave_room_for_another_client() {
    for (zones, questions) in [(1, 3_000), (20, 6_000)] {
        let world = World::builder(silent_authority(zones)).start().await;
        let greedy = world.client("127.0.20.1");
        let other = world.client("127.0.7.9");
        assert_eq!(other.ask(&format!("{} A", GOOD.0)).await, GOOD.1);
        let mut flood = JoinSet::new();
        flood.spawn(async move {
            let below = |number: usize| match number % zones {
                0 => fresh(number),
                zone => format!("u{number}.silent{zone}.example. A"),
            };
            ask_all(&greedy, (0..questions).map(below), questions).await
        });
        let queries = || world.internet.servers_of(ATTACKER)[0].queries();
        eventually("the flood is there", Duration::from_secs(60), async || {
            queries() > 100
        })
        .await;
        let mut broken = Vec::new();
        for number in 0..50 {
            let asked = ask_all(&other, [format!("cold{number}.{} A", GOOD.0)], 1)
                .await
                .remove(0);
            if asked.answer != GOOD.1 {
                broken.push(format!("{asked:?}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!(
            "{questions} questions in {zones} zones: {} queries",
            queries()
        );
        assert!(
            broken.is_empty(),
            "{questions} questions in {zones} zones: {} of 50: {broken:#?}",
            broken.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_clients_with_one_question_cause_one_query() {
    let world = World::builder(internet()).start().await;
    let herd_asks = async |name: &'static str| {
        let mut herd = JoinSet::new();
        for number in 0..500 {
            let client = world.client(&format!("127.0.{}.{}", 7 + number / 250, 1 + number % 250));
            herd.spawn(async move { client.ask(&format!("{name}.{} A", GOOD.0)).await });
        }
        let answers = herd.join_all().await;
        assert!(answers.iter().all(|answer| answer == GOOD.1), "{answers:?}");
        let server = world.internet.servers_of(GOOD.0)[0].counts();
        server.asked(
            &format!("{name}.{}", GOOD.0).parse().unwrap(),
            RecordType::A,
        )
    };
    // Long enough for most answers to arrive in time, shorter than the timeout for an unknown
    // server. On a very busy machine an answer seems lost and the query is repeated.
    let few = 1..=4;
    world
        .internet
        .set_behaviour(GOOD.0, &Behaviour::Delays(Duration::from_millis(200)));
    let queries = herd_asks("cold").await;
    assert!(few.contains(&queries), "{queries} queries");
    world.internet.set_behaviour(GOOD.0, &Behaviour::Answers);
    let queries = herd_asks("known").await;
    assert!(few.contains(&queries), "{queries} queries");
}
