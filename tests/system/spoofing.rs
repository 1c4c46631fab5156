//! Spoofed, malformed and foreign responses: an off-path attacker is not believed.

use hickory_proto::{op::ResponseCode, rr::RecordType};

use super::attacks::{FORGED, GOOD, internet};
use crate::world::{Behaviour, Lie, Spoofer, World, ask_all};

#[tokio::test]
async fn a_hundred_near_misses_make_the_resolver_ask_over_tcp() {
    let guess = |distance| Lie::AllOf(vec![Lie::ForgedAddress(FORGED), Lie::IdPlus(distance)]);
    let internet = internet();
    internet.set_behaviour(
        GOOD.0,
        &Behaviour::LiesFirst((1..=100).map(guess).collect()),
    );
    let world = World::builder(internet).start().await;
    let client = world.client("127.0.7.9");
    for asked in ask_all(
        &client,
        (0..20).map(|number| format!("n{number}.{} A", GOOD.0)),
        1,
    )
    .await
    {
        assert_eq!(asked.answer, GOOD.1, "{asked:?}");
    }
    let tally = world.internet.servers_of(GOOD.0)[0].counts();
    assert!(
        tally.over_tcp() > 0,
        "{} queries over UDP, none over TCP",
        tally.over_udp()
    );
}

/// A normal run sends 100,000 forged packets; `SPOOFS=1000000` raises the number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_of_a_hundred_thousand_spoofed_answers_is_believed() {
    const TIMES: u16 = 400;
    let wanted: u64 = std::env::var("SPOOFS").map_or(100_000, |text| text.parse().unwrap());
    let servers: Vec<String> = (1..=8)
        .map(|number| format!("ns{number}.{}", GOOD.0))
        .collect();
    let names: Vec<&str> = servers.iter().map(String::as_str).collect();
    let internet = internet().zone_served_by(GOOD.0, &names, &format!("* 3600 A {}", GOOD.1));
    internet.set_behaviour(
        GOOD.0,
        &Behaviour::Spoofed(Spoofer {
            times: TIMES,
            address: FORGED,
        }),
    );
    let world = World::builder(internet).start().await;
    let client = world.client("127.0.7.9");
    let spoofs = || {
        world
            .internet
            .servers_of(GOOD.0)
            .iter()
            .map(|server| server.counts().over_udp() * u64::from(TIMES))
            .sum::<u64>()
    };
    let mut questions = 0;
    let mut wrong = Vec::new();
    // Each name is at least one query, unless the resolver has switched to TCP; then the attacker
    // has failed as well.
    while spoofs() < wanted && questions * u64::from(TIMES) < 4 * wanted {
        let round = questions..questions + 50;
        questions = round.end;
        let asked = ask_all(
            &client,
            round.map(|number| format!("n{number}.{} A", GOOD.0)),
            4,
        )
        .await;
        wrong.extend(asked.into_iter().filter(|asked| asked.answer != GOOD.1));
    }
    println!("{} forged packets for {questions} names", spoofs());
    assert!(
        wrong.is_empty(),
        "{} of {questions}: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(10)]
    );
    let kept = ask_all(
        &client,
        (0..questions).map(|number| format!("n{number}.{} A", GOOD.0)),
        4,
    )
    .await;
    assert!(
        kept.iter().all(|asked| asked.answer == GOOD.1),
        "the cache was poisoned"
    );
    assert!(
        spoofs() * 4 >= wanted,
        "the attacker sent only {} packets",
        spoofs()
    );
}

#[tokio::test]
async fn a_malformed_or_foreign_packet_does_not_end_the_wait_for_the_answer() {
    /// One is enough. A forged error makes the resolver retry without one feature (options, mixed
    /// case, EDNS), and over TCP in the end. On a busy machine the answer may seem lost once.
    const QUERIES_MAX: u64 = 6;
    let forged = |lie| Lie::AllOf(vec![Lie::ForgedAddress(FORGED), lie]);
    let lies = [
        forged(Lie::NotAReply),
        forged(Lie::NoQuestion),
        forged(Lie::WrongQuestion),
        forged(Lie::WrongId),
        Lie::BrokenOpt,
        Lie::Code(ResponseCode::FormErr),
        Lie::AllOf(vec![Lie::NoQuestion, Lie::Code(ResponseCode::FormErr)]),
        Lie::Garbage(Vec::new()),
        Lie::Garbage(vec![0xff; 5]),
        Lie::Garbage(vec![0xff; 600]),
    ];
    let world = World::builder(internet()).start().await;
    let client = world.client("127.0.7.9");
    let each = lies.iter().map(|lie| vec![lie.clone()]);
    let mut broken = Vec::new();
    for (number, lies) in each.chain([lies.to_vec()]).enumerate() {
        world
            .internet
            .set_behaviour(GOOD.0, &Behaviour::LiesFirst(lies.clone()));
        let asked = ask_all(&client, [format!("n{number}.{} A", GOOD.0)], 1)
            .await
            .remove(0);
        let queries = world
            .internet
            .asked(&format!("n{number}.{}", GOOD.0), RecordType::A);
        println!("{queries} queries for {lies:?}, {:?}", asked.took);
        if asked.answer != GOOD.1 || queries > QUERIES_MAX {
            broken.push(format!(
                "{} after {queries} queries: {lies:?}",
                asked.answer
            ));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[tokio::test]
async fn ports_ids_and_letter_case_of_queries_cannot_be_guessed() {
    let world = World::builder(internet()).start().await;
    let asked = ask_all(
        &world.client("127.0.7.9"),
        (0..400).map(|number| format!("guess-me-{number}.{} A", GOOD.0)),
        8,
    )
    .await;
    assert!(
        asked.iter().all(|asked| asked.answer == GOOD.1),
        "{asked:#?}"
    );
    let tally = world.internet.counts();
    let queries = usize::try_from(tally.queries()).unwrap();
    println!(
        "{queries} queries, {} ports, {} ids, {:.3} capitals",
        tally.ports().len(),
        tally.ids().len(),
        tally.capitals()
    );
    assert!(
        (400..800).contains(&queries),
        "{queries} queries for 400 names"
    );
    for (what, values, bits) in [("ports", tally.ports(), 12), ("ids", tally.ids(), 12)] {
        // Among this many random values out of some tens of thousands, a few occur twice.
        assert!(
            values.len() * 100 >= queries * 95,
            "{what}: {} different ones in {queries} queries",
            values.len()
        );
        let neighbours = values
            .iter()
            .zip(values.iter().skip(1))
            .filter(|(one, next)| *next - *one == 1)
            .count();
        assert!(
            neighbours * 10 < values.len(),
            "{what} are handed out in order: {neighbours} neighbours"
        );
        let parts: std::collections::BTreeSet<u16> =
            values.iter().map(|value| value >> bits).collect();
        assert!(
            parts.len() >= 6,
            "{what} come from a corner only: {parts:?}"
        );
    }
    assert!(
        (0.4..0.6).contains(&tally.capitals()),
        "{:.3} of all letters are capitals",
        tally.capitals()
    );
}
