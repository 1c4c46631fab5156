//! What lists do to answers: how an entry wants its name answered, the addresses behind a name,
//! hosts with listed paths, and who is told.

// A test that cannot go on says so by failing.
#![allow(clippy::unwrap_used)]

mod ageing;
mod any;
mod asking;
mod chains;
mod identities;
mod judged;
mod orders;
mod unreadable;
mod world;

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name as ProtoName, RecordType},
};
use policy::{
    decide::Action,
    lists::{
        entry::{EntryAction::*, Tier::*},
        index_key::prefix_of_name,
    },
};
use resolver::message::{blocked::BlockedAnswer, types::Transport};
use world::{Lists, Setup, World};

const INTERNET: &str = "\
bets.example. 300 IN A 192.0.2.7
bets.example. 300 IN AAAA 2001:db8::7
bets.example. 300 IN TXT \"dice\"
sneaky.example. 300 IN CNAME bets.example.
news.example. 300 IN A 192.0.2.80
news.example. 300 IN AAAA 2001:db8::80
";

const LANDING: BlockedAnswer = BlockedAnswer::Landing {
    v4: Some(std::net::Ipv4Addr::new(192, 0, 2, 99)),
    v6: None,
};

#[tokio::test]
async fn an_entry_says_how_its_name_is_answered_before_the_operator_does() {
    for (action, over_udp) in [
        (OperatorPolicy, "192.0.2.99 (17)"),
        (Nxdomain, "NXDOMAIN (17)"),
        (Nodata, "nothing (17)"),
        (Drop, "silence"),
    ] {
        let lists = || Lists::default().name("bets", Choice, "bets.example", action);
        let setup = || Setup {
            blocked: LANDING.into(),
            ..Setup::default()
        };
        let world = World::with(INTERNET, lists(), setup());
        assert_eq!(world.ask("bets.example. A").await, over_udp, "{action:?}");
        assert_eq!(
            world.ask_tcp("bets.example. A").await,
            over_udp,
            "{action:?} over TCP"
        );
        assert_eq!(
            world.ask("sneaky.example. A").await,
            over_udp,
            "{action:?} behind an alias"
        );
        assert_eq!(
            world.ask("sneaky.example. A").await,
            over_udp,
            "{action:?} behind an alias that is known"
        );
        assert_eq!(world.ask("news.example. A").await, "192.0.2.80");
        let allowed = World::with(
            INTERNET,
            lists(),
            Setup {
                allowed: &["bets.example"],
                ..setup()
            },
        );
        assert_eq!(
            allowed.ask("bets.example. A").await,
            "192.0.2.7",
            "{action:?} but allowed"
        );
        assert_eq!(world.hits("bets"), Some(4));
        assert_eq!(allowed.hits("bets"), Some(0));
    }
}

#[tokio::test]
async fn what_wants_tcp_is_truncated_over_udp_and_answered_over_tcp() {
    let world = World::new(
        INTERNET,
        Lists::default().name("slow", Security, "bets.example", TcpOnly),
    );
    for _ in 0..2 {
        for question in ["bets.example. A", "sneaky.example. A"] {
            assert_eq!(world.ask(question).await, "truncated");
        }
        assert_eq!(world.ask_tcp("bets.example. A").await, "192.0.2.7");
        assert_eq!(
            world.ask_tcp("sneaky.example. A").await,
            "-> bets.example. 192.0.2.7"
        );
    }
    let explained = world.explain("bets.example A").await;
    assert!(
        explained.verdict.is_block()
            && explained.verdict.action == Action::TcpOnly
            && explained.answer.records.is_empty()
    );
}

#[tokio::test]
async fn who_comes_over_tcp_is_still_blocked_for_what_others_say() {
    let lists = Lists::default()
        .name("slow", Security, "bets.example", TcpOnly)
        .name("bets", Choice, "bets.example", OperatorPolicy);
    let world = World::new(INTERNET, lists);
    assert_eq!(world.ask("bets.example. A").await, "truncated");
    assert_eq!(world.ask_tcp("bets.example. A").await, "NXDOMAIN (17)");
    assert_eq!((world.hits("slow"), world.hits("bets")), (Some(1), Some(1)));
    let world = World::new(
        INTERNET,
        Lists::default()
            .named("one", "adult", "bets.example", TcpOnly)
            .named("two", "gambling", "bets.example", Nodata),
    );
    assert_eq!(world.ask_tcp("bets.example. A").await, "nothing (17)");
    let world = World::new(
        INTERNET,
        Lists::default().name("court", Mandatory, "bets.example", TcpOnly),
    );
    assert_eq!(
        (
            world.ask("bets.example. A").await,
            world.ask_tcp("bets.example. A").await
        ),
        ("truncated".into(), "192.0.2.7".into())
    );
}

#[tokio::test]
async fn a_feeds_own_records_replace_the_answer_in_the_name_of_its_layer() {
    let own = "3600 IN A 203.0.113.1\n5 IN A 203.0.113.2\n60 IN AAAA 2001:db8:99::1\n60 IN TXT \"garden\"";
    for (tier, code) in [(Mandatory, 16), (Security, 15), (Choice, 17)] {
        let setup = Setup {
            blocked: LANDING.into(),
            ..Setup::default()
        };
        let world = World::with(
            INTERNET,
            Lists::default().records("own", tier, "bets.example", own),
            setup,
        );
        for (record_type, expected) in [
            ("A", "203.0.113.1 203.0.113.2"),
            ("AAAA", "2001:db8:99::1"),
            ("TXT", "garden"),
            ("MX", "nothing"),
            ("HTTPS", "nothing"),
        ] {
            let answer = world.ask(&format!("www.bets.example. {record_type}")).await;
            assert_eq!(
                answer,
                format!("{expected} ({code})"),
                "{tier:?} {record_type}"
            );
        }
        let reply = world
            .reply("127.0.7.9", Transport::Udp, "BETS.example. A")
            .await
            .unwrap();
        assert_eq!(
            reply
                .answers
                .iter()
                .map(|record| record.ttl)
                .collect::<Vec<_>>(),
            [30, 5],
            "short-lived"
        );
        assert!(reply.authorities.is_empty());
        let nothing = world
            .reply("127.0.7.9", Transport::Udp, "bets.example. MX")
            .await
            .unwrap();
        assert_eq!(nothing.authorities.len(), 1, "a SOA makes it short-lived");
        assert!(
            world
                .ask("sneaky.example. A")
                .await
                .starts_with("203.0.113.1"),
            "behind an alias"
        );
    }
    let allowed = Setup {
        allowed: &["bets.example"],
        ..Setup::default()
    };
    let world = World::with(
        INTERNET,
        Lists::default().records("own", Choice, "bets.example", own),
        allowed,
    );
    assert_eq!(
        world.ask("bets.example. A").await,
        "192.0.2.7",
        "the family's word is above a feed's"
    );
    let allowed = Setup {
        allowed: &["bets.example"],
        ..Setup::default()
    };
    let world = World::with(
        INTERNET,
        Lists::default().records("own", Mandatory, "bets.example", own),
        allowed,
    );
    assert_eq!(
        world.ask("bets.example. A").await,
        "203.0.113.1 203.0.113.2 (16)",
        "an order is above the family's"
    );
}

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
fn leading_to(target: &str) -> Lists {
    Lists::default().records(
        "own",
        Choice,
        "bets.example",
        &format!("60 IN CNAME {target}"),
    )
}

#[tokio::test]
async fn a_feeds_own_alias_leads_to_its_targets_records_of_the_asked_type() {
    let world = World::new(GARDEN, leading_to("Garden.example."));
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
async fn a_garden_is_resolved_once_for_all_who_ask_or_are_led_there() {
    let world = World::new(GARDEN, leading_to("garden.example."));
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
async fn nothing_of_a_garden_is_kept_for_long() {
    let world = World::new(GARDEN, leading_to("garden.example."));
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
async fn a_garden_that_is_an_alias_is_followed_whatever_lists_say() {
    let blocked = leading_to("hosted.example.")
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
            "who asks for it by name is told what lists say of it"
        );
    }
    let world = World::new(GARDEN, leading_to("sneaky.example."));
    assert_eq!(
        world.ask("bets.example. A").await,
        "-> sneaky.example. -> bets.example. 192.0.2.7 (17)",
        "a feed that leads back is taken at its word"
    );
}

#[tokio::test]
async fn an_alias_below_a_garden_holds_the_name_that_was_asked_for() {
    let world = World::new(GARDEN, leading_to("*.garden.example."));
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
async fn an_alias_stands_alone_where_its_target_cannot_be_had() {
    let alone = "-> www.broken.example. (17)";
    let setup = || Setup {
        snoop_from: &["127.0.0.0/8"],
        ..Setup::default()
    };
    let world = World::with(GARDEN, leading_to("www.broken.example."), setup());
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
        leading_to("garden.example."),
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

    let world = World::with(GARDEN, leading_to("garden.example."), setup());
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
async fn a_target_that_does_not_exist_is_told_as_such() {
    let world = World::new(GARDEN, leading_to("nowhere.test."));
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
async fn a_garden_with_more_than_a_datagram_holds_comes_whole_over_tcp() {
    let many: String = (0..200)
        .map(|number| format!("garden.example. 300 IN A 203.0.113.{number}\n"))
        .collect();
    let world = World::new(&many, leading_to("garden.example."));
    for _ in 0..2 {
        assert_eq!(world.ask("bets.example. A").await, "truncated (17)");
        assert_eq!(
            world.ask_tcp("bets.example. A").await.split(' ').count(),
            203
        );
    }
}

#[tokio::test]
async fn a_garden_is_explained_as_it_is_answered() {
    for is_cached in [false, true] {
        let world = World::new(GARDEN, leading_to("garden.example."));
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

#[tokio::test]
async fn records_beyond_a_datagram_are_truncated_and_come_whole_over_tcp() {
    let many: Vec<String> = (0..200)
        .map(|number| format!("60 IN A 203.0.113.{number}"))
        .collect();
    let world = World::new(
        INTERNET,
        Lists::default().records("own", Choice, "bets.example", &many.join("\n")),
    );
    assert_eq!(world.ask("bets.example. A").await, "truncated (17)");
    assert_eq!(
        world.ask_tcp("bets.example. A").await.split(' ').count(),
        201
    );
    assert_eq!(
        world.explain("bets.example A").await.answer.records.len(),
        200
    );
}

#[tokio::test]
async fn what_is_dropped_is_explained_without_an_answer() {
    let world = World::new(
        INTERNET,
        Lists::default().name("evil", Security, "bets.example", Drop),
    );
    let explained = world.explain("bets.example A").await;
    assert_eq!(
        (explained.verdict.action, explained.answer.rcode.as_str()),
        (Action::Drop, "DROPPED")
    );
    let explained = world.explain("sneaky.example A").await;
    assert_eq!(
        (explained.hop, explained.answer.rcode.as_str()),
        (1, "DROPPED")
    );
}

#[tokio::test]
async fn an_answer_is_blocked_for_its_addresses_unless_its_name_is_allowed() {
    let lists = || {
        let lists = Lists::default().network("net", Security, "192.0.2.0/25", OperatorPolicy);
        lists
            .network("net", Security, "2001:db8::/45", Nodata)
            .name("bets", Choice, "sub.bets.example", OperatorPolicy)
    };
    let world = World::new(INTERNET, lists());
    for _ in 0..2 {
        assert_eq!(world.ask("bets.example. A").await, "NXDOMAIN (15)");
        assert_eq!(world.ask("sneaky.example. A").await, "NXDOMAIN (15)");
        assert_eq!(
            world.ask("sneaky.example. AAAA").await,
            "nothing (15)",
            "IPv6"
        );
        assert_eq!(
            world.ask("bets.example. TXT").await,
            "dice",
            "an answer without addresses"
        );
    }
    let explained = world.explain("sneaky.example A").await;
    let names: Vec<String> = explained.names[..2]
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        (names, explained.hop),
        (
            vec!["sneaky.example".to_owned(), "bets.example".to_owned()],
            2
        )
    );
    assert_eq!(
        prefix_of_name(explained.names[2].borrow())
            .unwrap()
            .to_string(),
        "192.0.2.7/32"
    );
    assert_eq!(world.hits("net"), Some(6), "explanations are not counted");

    let world = World::with(
        INTERNET,
        lists(),
        Setup {
            allowed: &["sneaky.example"],
            ..Setup::default()
        },
    );
    assert_eq!(
        world.ask("sneaky.example. A").await,
        "-> bets.example. 192.0.2.7",
        "what is allowed is allowed with its addresses"
    );
    assert_eq!(world.ask("bets.example. A").await, "NXDOMAIN (15)");
}

#[tokio::test]
async fn an_address_blocked_by_order_is_blocked_behind_an_allowed_name_too() {
    let lists = Lists::default()
        .network("net", Security, "192.0.2.0/24", OperatorPolicy)
        .network("court", Mandatory, "192.0.2.7/32", Nodata);
    let world = World::with(
        INTERNET,
        lists,
        Setup {
            allowed: &["sneaky.example", "news.example"],
            ..Setup::default()
        },
    );
    assert_eq!(world.ask("sneaky.example. A").await, "nothing (16)");
    assert_eq!(
        world.ask("news.example. A").await,
        "192.0.2.80",
        "no order is about this one"
    );
}

#[tokio::test]
async fn addresses_are_looked_up_again_when_the_lists_change() {
    let world = World::new(
        INTERNET,
        Lists::default().name("other", Choice, "other.example", OperatorPolicy),
    );
    assert_eq!(world.ask("bets.example. A").await, "192.0.2.7");
    world.relist(Lists::default().network("net", Choice, "192.0.2.7/32", OperatorPolicy));
    assert_eq!(world.ask("bets.example. A").await, "NXDOMAIN (17)");
    world.relist(Lists::default().network("net", Choice, "192.0.2.8/32", OperatorPolicy));
    assert_eq!(world.ask("bets.example. A").await, "192.0.2.7");
}

#[tokio::test]
async fn a_host_with_listed_paths_is_led_to_the_proxy_where_there_is_one() {
    let lists = || Lists::default().path("paths", Choice, "bets.example", "/slots");
    let world = World::with(
        INTERNET,
        lists(),
        Setup {
            proxy: &["203.0.113.80", "203.0.113.81", "2001:db8:80::1"],
            ..Setup::default()
        },
    );
    for _ in 0..2 {
        assert_eq!(
            world.ask("bets.example. A").await,
            "203.0.113.80 203.0.113.81"
        );
        assert_eq!(world.ask("bets.example. AAAA").await, "2001:db8:80::1");
        assert_eq!(world.ask("bets.example. HTTPS").await, "nothing");
        assert_eq!(world.ask("bets.example. SVCB").await, "nothing");
        assert_eq!(
            world.ask("bets.example. TXT").await,
            "dice",
            "other types pass"
        );
        assert_eq!(
            world.ask("www.bets.example. A").await,
            "NXDOMAIN",
            "it is about the host, not about what is below it"
        );
        assert_eq!(
            world.ask("sneaky.example. A").await,
            "-> bets.example. 192.0.2.7",
            "nor about who shares its server"
        );
    }
    let reply = world
        .reply("127.0.7.9", Transport::Udp, "bets.example. A")
        .await
        .unwrap();
    assert_eq!(reply.answers[0].ttl, 30);
    let stranger = world
        .reply("127.0.8.9", Transport::Udp, "bets.example. A")
        .await
        .unwrap();
    assert_eq!(
        stranger.answers[0].data.to_string(),
        "192.0.2.7",
        "who does not block the category goes there himself"
    );
    assert_eq!(world.hits("paths"), Some(9), "what passed is not counted");
    let explained = world.explain("bets.example A").await;
    assert!(
        !explained.verdict.is_block()
            && matches!(explained.verdict.action, Action::RedirectToProxy { .. })
    );
    let explained = world.explain("bets.example TXT").await;
    assert!(!matches!(
        explained.verdict.action,
        Action::RedirectToProxy { .. }
    ));

    let v4_only = World::with(
        INTERNET,
        lists(),
        Setup {
            proxy: &["203.0.113.80"],
            ..Setup::default()
        },
    );
    assert_eq!(v4_only.ask("bets.example. AAAA").await, "nothing");
    let no_proxy = World::new(INTERNET, lists());
    assert_eq!(no_proxy.ask("bets.example. A").await, "192.0.2.7");
    assert_eq!(no_proxy.ask("bets.example. AAAA").await, "2001:db8::7");
    assert_eq!(no_proxy.hits("paths"), Some(0));
    let allowed = World::with(
        INTERNET,
        lists(),
        Setup {
            proxy: &["203.0.113.80"],
            allowed: &["bets.example"],
            ..Setup::default()
        },
    );
    assert_eq!(
        allowed.ask("bets.example. A").await,
        "192.0.2.7",
        "who allows the host allows its paths"
    );
    let order = Lists::default().path("court", Mandatory, "bets.example", "/slots");
    let ordered = World::with(
        INTERNET,
        order,
        Setup {
            proxy: &["203.0.113.80"],
            allowed: &["bets.example"],
            ..Setup::default()
        },
    );
    assert_eq!(
        ordered.ask("bets.example. A").await,
        "203.0.113.80",
        "but not what an order is about"
    );
    assert_eq!(ordered.hits("court"), Some(1));
    let both = Lists::default()
        .path("paths", Choice, "bets.example", "/slots")
        .name("bets", Choice, "bets.example", OperatorPolicy);
    let blocked = World::with(
        INTERNET,
        both,
        Setup {
            proxy: &["203.0.113.80"],
            ..Setup::default()
        },
    );
    assert_eq!(
        blocked.ask("bets.example. A").await,
        "NXDOMAIN (17)",
        "a host that is listed itself is blocked"
    );
    assert_eq!(
        (blocked.hits("bets"), blocked.hits("paths")),
        (Some(1), Some(0))
    );
}

#[tokio::test]
async fn hits_go_to_the_feed_that_decided_also_when_its_place_changes() {
    let world = World::new(
        INTERNET,
        Lists::default()
            .name("a", Security, "bets.example", OperatorPolicy)
            .name("b", Choice, "news.example", OperatorPolicy),
    );
    world.ask("bets.example. A").await;
    world.ask("news.example. A").await;
    // The rings are not empty yet when other lists come.
    world.relist(
        Lists::default()
            .name("b", Choice, "news.example", OperatorPolicy)
            .name("c", Choice, "bets.example", OperatorPolicy),
    );
    world.ask("news.example. A").await;
    world.ask("bets.example. A").await;
    world.ask("sneaky.example. A").await;
    assert_eq!(
        ["a", "b", "c", "d"].map(|feed| world.hits(feed)),
        [Some(1), Some(2), Some(2), None]
    );
    assert_eq!(world.hits("c"), Some(2), "each is counted once");
}

#[tokio::test]
async fn names_asked_for_are_sampled_whether_they_are_blocked_or_not() {
    let setup = Setup {
        sample_every: 1,
        ..Setup::default()
    };
    let world = World::with(
        INTERNET,
        Lists::default().name("bets", Choice, "bets.example", OperatorPolicy),
        setup,
    );
    for question in [
        "bets.example. A",
        "News.Example. A",
        "news.example. AAAA",
        "nowhere.example. A",
    ] {
        world.ask(question).await;
    }
    let mut names = Vec::new();
    world
        .engine
        .metrics
        .drain_sample(|name| names.push(name.to_string()));
    assert_eq!(
        names,
        [
            "bets.example",
            "news.example",
            "news.example",
            "nowhere.example"
        ]
    );
    world
        .engine
        .metrics
        .drain_sample(|name| panic!("{name} is told twice"));
}

#[tokio::test]
async fn the_hearer_of_zone_changes_decides_and_without_one_none_is_heard() {
    let packet = |zone: &str| {
        let mut message = Message::new(4711, MessageType::Query, OpCode::Notify);
        message.metadata.authoritative = true;
        message.add_query(Query::query(
            ProtoName::from_ascii(zone).unwrap(),
            RecordType::SOA,
        ));
        message.to_vec().unwrap()
    };
    let world = World::with(
        INTERNET,
        Lists::default(),
        Setup {
            handles_notify: true,
            ..Setup::default()
        },
    );
    for transport in [Transport::Udp, Transport::Tcp] {
        let taken = Message::from_vec(
            &world
                .answer("192.0.2.53", transport, &packet("rpz.example."))
                .await,
        )
        .unwrap();
        assert_eq!(
            (taken.metadata.id, taken.metadata.op_code),
            (4711, OpCode::Notify)
        );
        assert_eq!(
            (taken.metadata.response_code, taken.metadata.authoritative),
            (ResponseCode::NoError, true)
        );
        let refused = Message::from_vec(
            &world
                .answer("2001:db8::53", transport, &packet("other.example."))
                .await,
        )
        .unwrap();
        assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    }
    let told = world.told.lock().unwrap().clone();
    let expected = [
        ("rpz.example", "192.0.2.53"),
        ("other.example", "2001:db8::53"),
    ]
    .map(|(zone, peer)| (zone.to_owned(), peer.parse().unwrap()));
    assert_eq!((&told[..2], &told[2..]), (&expected[..], &expected[..]));
    let mut answer = packet("rpz.example.");
    answer[2] |= 0x80;
    assert!(
        world
            .answer("192.0.2.53", Transport::Udp, &answer)
            .await
            .is_empty(),
        "an answer is never answered"
    );

    let deaf = World::new(INTERNET, Lists::default());
    let reply = deaf
        .answer("127.0.7.9", Transport::Udp, &packet("rpz.example."))
        .await;
    assert_eq!(reply[3] & 0x0f, 4, "NOTIMP");
}
