//! Aliases of a feed in the place of an answer: a walled garden, resolved like any other name.

use hickory_proto::op::ResponseCode;
use policy::{
    decide::Action,
    lists::entry::{EntryAction::*, Tier::*},
};
use resolver::message::types::Transport;

use crate::world::{Lists, Setup, World};

const GARDEN: &str = "\
garden.example. 300 IN A 203.0.113.1
garden.example. 5 IN A 203.0.113.2
garden.example. 300 IN AAAA 2001:db8:99::1
garden.example. 300 IN HTTPS 1 . alpn=\"h2\" ipv4hint=203.0.113.1
garden.example. 300 IN MX 10 mail.garden.example.
www.bets.example.garden.example. 300 IN A 203.0.113.3
hosted.example. 300 IN CNAME garden.example.
bets.example. 300 IN A 192.0.2.7
sneaky.example. 300 IN CNAME bets.example.
";

/// The names of a list lead to a garden.
fn alias_to(target: &str) -> Lists {
    Lists::default().records(
        "own",
        Choice,
        "bets.example",
        &format!("60 IN CNAME {target}"),
    )
}

#[tokio::test]
async fn an_alias_comes_with_its_targets_records_of_the_queried_type() {
    let world = World::new(GARDEN, alias_to("Garden.example."));
    let cases = [
        (
            "bets.example. A",
            "-> garden.example. 203.0.113.1 203.0.113.2 (17)",
        ),
        (
            "bets.example. AAAA",
            "-> garden.example. 2001:db8:99::1 (17)",
        ),
        (
            "bets.example. HTTPS",
            "-> garden.example. 1 . alpn=h2, ipv4hint=203.0.113.1, (17)",
        ),
        (
            "bets.example. MX",
            "-> garden.example. 10 mail.garden.example. (17)",
        ),
        ("bets.example. TXT", "-> garden.example. (17)"),
        (
            "sneaky.example. A",
            "-> garden.example. 203.0.113.1 203.0.113.2 (17)",
        ),
    ];
    for round in ["not cached", "cached"] {
        for (question, expected) in cases {
            assert_eq!(world.ask(question).await, expected, "{question}, {round}");
            assert_eq!(
                world.ask_tcp(question).await,
                expected,
                "{question} over TCP, {round}"
            );
        }
    }
    assert_eq!(
        world.resolutions("bets.example"),
        0,
        "what is blocked is not resolved"
    );
    assert_eq!(world.hits("own"), Some(24), "each query is counted once");
    for question in ["bets.example. CNAME", "bets.example. ANY"] {
        assert_eq!(
            world.ask(question).await,
            "-> garden.example. (17)",
            "{question} is about the alias"
        );
    }
}

#[tokio::test]
async fn a_target_is_resolved_once_for_direct_queries_and_aliases() {
    let world = World::new(GARDEN, alias_to("garden.example."));
    let questions = [
        "bets.example. A",
        "www.bets.example. A",
        "garden.example. A",
        "bets.example. A",
    ];
    let answers =
        futures_util::future::join_all(questions.map(|question| world.ask(question))).await;
    assert_eq!(
        answers[1..3],
        [
            "-> garden.example. 203.0.113.1 203.0.113.2 (17)",
            "203.0.113.1 203.0.113.2"
        ]
    );
    world.ask("bets.example. A").await;
    world.explain("bets.example A").await;
    assert_eq!(
        (
            world.resolutions("garden.example"),
            world.resolutions("bets.example")
        ),
        (1, 0)
    );
}

#[tokio::test]
async fn the_ttls_of_an_alias_and_its_target_are_short() {
    let world = World::new(GARDEN, alias_to("garden.example."));
    for round in ["not cached", "cached"] {
        let reply = world
            .reply("127.0.7.9", Transport::Udp, "BETS.example. A")
            .await
            .unwrap();
        let lines: Vec<String> = reply
            .answers
            .iter()
            .map(|record| format!("{} {}", record.name, record.ttl))
            .collect();
        assert_eq!(
            lines,
            [
                "BETS.example. 30",
                "garden.example. 30",
                "garden.example. 5"
            ],
            "{round}"
        );
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    }
    let direct = world
        .reply("127.0.7.9", Transport::Udp, "garden.example. AAAA")
        .await
        .unwrap();
    assert_eq!(
        direct.answers[0].ttl, 300,
        "the garden itself is like any other name"
    );
}

#[tokio::test]
async fn a_target_that_is_an_alias_is_followed_and_not_judged() {
    let blocked = alias_to("hosted.example.")
        .name("all", Mandatory, "garden.example", Nodata)
        .name("all", Mandatory, "hosted.example", Nodata);
    let blocked = blocked.network("net", Security, "203.0.113.0/24", Nxdomain);
    let world = World::new(GARDEN, blocked);
    for _ in 0..2 {
        assert_eq!(
            world.ask("bets.example. A").await,
            "-> hosted.example. -> garden.example. 203.0.113.1 203.0.113.2 (17)"
        );
        assert_eq!(
            world.ask("hosted.example. A").await,
            "nothing (16)",
            "a direct query for it is judged by the lists"
        );
    }
    let world = World::new(GARDEN, alias_to("sneaky.example."));
    assert_eq!(
        world.ask("bets.example. A").await,
        "-> sneaky.example. -> bets.example. 192.0.2.7 (17)",
        "a feed that leads back is taken at its word"
    );
}

#[tokio::test]
async fn a_wildcard_alias_contains_the_queried_name() {
    let world = World::new(GARDEN, alias_to("*.garden.example."));
    for _ in 0..2 {
        for answer in [
            world.ask("www.bets.example. A").await,
            world.ask_tcp("WWW.Bets.example. A").await,
        ] {
            assert_eq!(
                answer,
                "-> www.bets.example.garden.example. 203.0.113.3 (17)"
            );
        }
    }
    assert_eq!(world.resolutions("www.bets.example.garden.example"), 1);
    assert_eq!(
        world.ask("www.bets.example. CNAME").await,
        "-> www.bets.example.garden.example. (17)"
    );
    let long = format!(
        "{}.bets.example.",
        [
            "a".repeat(60),
            "b".repeat(60),
            "c".repeat(60),
            "d".repeat(45)
        ]
        .join(".")
    );
    assert_eq!(
        world.ask(&format!("{long} A")).await,
        "NXDOMAIN (17)",
        "no room for the name"
    );
}

#[tokio::test]
async fn an_alias_is_sent_alone_without_its_targets_answer() {
    let alone = "-> www.broken.example. (17)";
    let setup = || Setup {
        snoop_from: &["127.0.0.0/8"],
        ..Setup::default()
    };
    let world = World::with(GARDEN, alias_to("www.broken.example."), setup());
    for _ in 0..2 {
        assert_eq!(
            (
                world.ask("bets.example. A").await,
                world.ask_tcp("bets.example. A").await
            ),
            (alone.into(), alone.into())
        );
        assert_eq!(world.ask("sneaky.example. A").await, alone);
    }
    assert_eq!(
        world.explain("bets.example A").await.answer.records.len(),
        1
    );
    assert_eq!(world.hits("own"), Some(6));

    let busy = World::with(
        GARDEN,
        alias_to("garden.example."),
        Setup {
            resolutions_max: 0,
            ..Setup::default()
        },
    );
    assert_eq!(
        busy.ask("bets.example. A").await,
        "-> garden.example. (17)",
        "no place for one more resolution"
    );

    let world = World::with(GARDEN, alias_to("garden.example."), setup());
    assert_eq!(
        world.ask("bets.example. A +norecurse").await,
        "-> garden.example. (17)",
        "who wants no recursion starts none"
    );
    assert_eq!(world.resolutions("garden.example"), 0);
    world.ask("garden.example. A").await;
    assert_eq!(
        world.ask("bets.example. A +norecurse").await,
        "-> garden.example. 203.0.113.1 203.0.113.2 (17)"
    );
}

#[tokio::test]
async fn a_target_that_does_not_exist_sets_the_response_code() {
    let world = World::new(GARDEN, alias_to("nowhere.test."));
    for transport in [Transport::Udp, Transport::Tcp, Transport::Udp] {
        let reply = world
            .reply("127.0.7.9", transport, "bets.example. A")
            .await
            .unwrap();
        assert_eq!(
            (reply.metadata.response_code, reply.answers.len()),
            (ResponseCode::NXDomain, 1)
        );
    }
}

#[tokio::test]
async fn a_target_beyond_a_datagram_comes_complete_over_tcp() {
    let many: String = (0..200)
        .map(|number| format!("garden.example. 300 IN A 203.0.113.{number}\n"))
        .collect();
    let world = World::new(&many, alias_to("garden.example."));
    for _ in 0..2 {
        assert_eq!(world.ask("bets.example. A").await, "truncated (17)");
        assert_eq!(
            world.ask_tcp("bets.example. A").await.split(' ').count(),
            203
        );
    }
}

#[tokio::test]
async fn an_alias_is_explained_as_it_is_answered() {
    for is_cached in [false, true] {
        let world = World::new(GARDEN, alias_to("garden.example."));
        if is_cached {
            world.ask("bets.example. A").await;
        }
        let explained = world.explain("bets.example A").await;
        assert!(
            explained.verdict.is_block()
                && matches!(explained.verdict.action, Action::LocalData(_))
                && explained.hop == 0
        );
        let records = [
            "bets.example. 30 IN CNAME garden.example.",
            "garden.example. 30 IN A 203.0.113.1",
            "garden.example. 5 IN A 203.0.113.2",
        ];
        assert_eq!(
            (
                explained.answer.rcode.as_str(),
                &explained.answer.records[..]
            ),
            ("NOERROR", &records.map(str::to_owned)[..])
        );
        assert_eq!(explained.answer.error.map(|(code, _)| code), Some(17));
        assert_eq!(world.explain("sneaky.example A").await.hop, 1);
    }
}
