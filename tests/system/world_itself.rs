//! Tests of the simulated Internet itself. Without them a passing test of the program would mean
//! nothing.
//!
//! A bare client plays the resolver here: it sends queries like a resolver, and every step is
//! checked.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::ResponseCode,
    rr::{RData, RecordType},
};

use serde_json::json;

use crate::world::{
    Attack, Authority, Behaviour, Client, FORGED_NAME, Internet, Lie, Reply, Spoofer, World,
    ask_all, client, eventually, seed,
};

/// How long a test waits for something that must not arrive.
const LONG_ENOUGH: Duration = Duration::from_millis(700);
/// How long a test waits where some answers must arrive and others must not: far longer than
/// loopback needs, even on a busy machine.
const COMES_OR_NOT: Duration = Duration::from_secs(10);

/// A zone with several kinds of records.
const BETS: &str = "
    @     60 A     192.0.2.7
    www   60 CNAME @
    mail  60 MX    10 post.elsewhere.test.
    *.any 60 A     192.0.2.8
    deep.below.here 60 TXT \"found me\"
";

fn internet() -> Internet {
    Internet::new().zone("bets.example.", BETS)
}

/// A resolver's connection to one server.
fn resolver(server: &Authority) -> Client {
    client("127.0.0.53").to(server.address()).iterative()
}

/// Whether a response is a referral as a real server sends it.
fn is_referral(reply: &Reply) -> bool {
    let name_servers_only = reply
        .message
        .authorities
        .iter()
        .all(|record| record.record_type() == RecordType::NS);
    !reply.is_authoritative()
        && reply.code() == ResponseCode::NoError
        && reply.message.answers.is_empty()
        && !reply.message.authorities.is_empty()
        && name_servers_only
}

#[tokio::test]
async fn a_question_is_followed_from_the_root_by_referrals_and_glue() {
    let internet = internet();
    let mut server = internet.root().address();
    let mut path = Vec::new();
    let answer = loop {
        let reply = client("127.0.0.53")
            .to(server)
            .iterative()
            .reply("www.bets.example. A")
            .await
            .unwrap();
        if !is_referral(&reply) {
            break reply;
        }
        path.extend(reply.authority_lines());
        let glue = reply
            .message
            .additionals
            .iter()
            .find_map(|record| match record.data {
                RData::A(address) => Some(address.0),
                _ => None,
            });
        server = (
            glue.expect("the server below the cut has glue"),
            internet.port(),
        )
            .into();
    };
    assert_eq!(
        path,
        [
            "example. NS a.nic.example.",
            "bets.example. NS ns1.bets.example."
        ]
    );
    assert!(answer.is_authoritative());
    assert_eq!(
        answer.answer_lines(),
        [
            "www.bets.example. CNAME bets.example.",
            "bets.example. A 192.0.2.7"
        ]
    );
    assert_eq!(answer.to_string(), "192.0.2.7");
}

#[tokio::test]
async fn a_zone_says_what_is_not_there_and_how_long_that_holds() {
    let internet = internet();
    let zone = resolver(&internet.server("ns1.bets.example."));
    for (question, expected) in [
        ("bets.example. A", "192.0.2.7"),
        ("bets.example. AAAA", "NODATA"),
        ("below.here.bets.example. A", "NODATA"),
        ("nothing.bets.example. A", "NXDOMAIN"),
        ("x.any.bets.example. A", "192.0.2.8"),
        ("mail.bets.example. MX", "10 post.elsewhere.test."),
        ("deep.below.here.bets.example. TXT", "found me"),
        ("other.example. A", "REFUSED"),
    ] {
        assert_eq!(zone.ask(question).await, expected, "{question}");
    }
    let absent = zone.reply("nothing.bets.example. A").await.unwrap();
    let RData::SOA(soa) = &absent.message.authorities[0].data else {
        panic!("{absent:?}")
    };
    assert_eq!((soa.minimum, absent.is_authoritative()), (60, true));
}

#[tokio::test]
async fn a_parent_zone_refers_ns_queries_too() {
    let internet = internet();
    let top_level = resolver(&internet.server("a.nic.example."));
    let reply = top_level.reply("bets.example. NS").await.unwrap();
    assert!(is_referral(&reply), "{reply:?}");
    assert!(
        top_level
            .reply("bets.example. DS")
            .await
            .unwrap()
            .is_authoritative(),
        "DS is the parent's own"
    );
}

#[tokio::test]
async fn a_server_named_elsewhere_has_no_glue_and_is_found_in_its_own_zone() {
    let internet = internet().zone("host.test.", "").zone_served_by(
        "news.example.",
        &["ns.host.test."],
        "@ A 192.0.2.9",
    );
    let referral = resolver(&internet.server("a.nic.example."))
        .reply("news.example. A")
        .await
        .unwrap();
    assert_eq!(
        referral.authority_lines(),
        ["news.example. NS ns.host.test."]
    );
    assert!(referral.additional_lines().is_empty());
    let server = internet.server("ns.host.test.");
    let address = resolver(&internet.server("ns1.host.test."))
        .ask("ns.host.test. A")
        .await;
    assert_eq!(address, server.address().ip().to_string());
    assert_eq!(resolver(&server).ask("news.example. A").await, "192.0.2.9");
}

#[tokio::test]
async fn a_zone_with_two_servers_is_answered_by_either() {
    let internet = Internet::new().zone_served_by(
        "two.example.",
        &["ns1.two.example.", "ns2.two.example."],
        "@ A 192.0.2.2",
    );
    let servers = internet.servers_of("two.example.");
    assert_ne!(servers[0].address().ip(), servers[1].address().ip());
    servers[0].set_behaviour(Behaviour::Silent);
    assert_eq!(
        resolver(&servers[0])
            .with_timeout(LONG_ENOUGH)
            .ask("two.example. A")
            .await,
        "silence"
    );
    assert_eq!(
        resolver(&servers[1]).ask("two.example. A").await,
        "192.0.2.2"
    );
    let glue = resolver(&internet.server("a.nic.example."))
        .reply("two.example. A")
        .await
        .unwrap();
    assert_eq!(glue.additional_lines().len(), 2);
}

#[tokio::test]
async fn new_records_are_answered_from_the_next_query_on() {
    let internet = internet();
    let zone = resolver(&internet.server("ns1.bets.example."));
    assert_eq!(zone.ask("bets.example. A").await, "192.0.2.7");
    internet.replace("bets.example.", "@ 60 A 198.51.100.1");
    assert_eq!(zone.ask("bets.example. A").await, "198.51.100.1");
    assert_eq!(zone.ask("www.bets.example. A").await, "NXDOMAIN");
}

#[tokio::test]
async fn what_a_test_writes_goes_before_what_is_generated() {
    let internet = internet().zone("example.", "bets NS ns.wrong.test.");
    let referral = resolver(&internet.server("a.nic.example."))
        .reply("bets.example. A")
        .await
        .unwrap();
    assert_eq!(
        referral.authority_lines(),
        ["bets.example. NS ns.wrong.test."]
    );
}

#[tokio::test]
async fn queries_are_counted_by_name_and_type_and_server() {
    let internet = internet();
    let root = internet.root();
    let zone = internet.server("ns1.bets.example.");
    for _ in 0..3 {
        resolver(&zone).ask("bets.example. A").await;
    }
    resolver(&root)
        .over_tcp()
        .with_mac("02:00:00:00:00:07")
        .ask("BETS.example. A")
        .await;
    assert_eq!(internet.asked("bets.example.", RecordType::A), 4);
    assert_eq!(internet.asked("bets.example.", RecordType::AAAA), 0);
    assert_eq!((zone.counts().over_udp(), root.counts().over_tcp()), (3, 1));
    assert!(root.counts().edns_options().contains(&65_001));
    assert!(zone.counts().edns_options().is_empty());
    internet.reset_counts();
    assert_eq!(internet.counts().queries(), 0);
}

#[tokio::test]
async fn a_silent_server_takes_the_query_and_never_replies() {
    let internet = internet();
    let zone = internet.server("ns1.bets.example.");
    zone.set_behaviour(Behaviour::Silent);
    let patient = resolver(&zone).with_timeout(LONG_ENOUGH);
    assert_eq!(patient.ask("bets.example. A").await, "silence");
    assert_eq!(patient.over_tcp().ask("bets.example. A").await, "silence");
    assert_eq!(internet.asked("bets.example.", RecordType::A), 2);
    zone.set_behaviour(Behaviour::Answers);
    assert_eq!(resolver(&zone).ask("bets.example. A").await, "192.0.2.7");
}

#[tokio::test]
async fn a_slow_server_answers_queries_beside_each_other_after_its_delay() {
    const QUESTIONS: usize = 250;
    let internet = internet();
    let delay = Duration::from_millis(500);
    internet.set_behaviour("bets.example.", &Behaviour::Delays(delay));
    let zone = resolver(&internet.server("ns1.bets.example."));
    let began = Instant::now();
    let asked = ask_all(
        &zone,
        (0..QUESTIONS).map(|_| "bets.example. A".to_owned()),
        QUESTIONS,
    )
    .await;
    assert!(
        asked
            .iter()
            .all(|asked| asked.answer == "192.0.2.7" && asked.took >= delay),
        "{asked:?}"
    );
    // Sequentially they would take more than two minutes.
    assert!(
        began.elapsed() < delay * (QUESTIONS as u32) / 2,
        "{QUESTIONS} delays side by side took {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn loss_follows_its_seed_and_spares_tcp() {
    let internet = internet();
    let zone = internet.server("ns1.bets.example.");
    let seed = seed();
    let asks = async || {
        zone.set_behaviour(Behaviour::Loses { share: 0.5, seed });
        zone.reset_counts();
        let mut asking = Vec::new();
        for number in 1..=24 {
            let patient = resolver(&zone).with_timeout(COMES_OR_NOT);
            asking.push(tokio::spawn(async move {
                patient.reply("bets.example. A").await.is_some()
            }));
            // The next query is sent after this one has arrived or been dropped, so that the order
            // is the same in every run.
            eventually("the query arrives", COMES_OR_NOT, async || {
                zone.counts().queries() == number
            })
            .await;
        }
        let mut answered = Vec::new();
        for outcome in asking {
            answered.push(outcome.await.unwrap());
        }
        answered
    };
    let first = asks().await;
    assert!(first.contains(&true) && first.contains(&false), "{first:?}");
    assert_eq!(first, asks().await);
    zone.set_behaviour(Behaviour::Loses { share: 1.0, seed });
    assert_eq!(
        resolver(&zone).over_tcp().ask("bets.example. A").await,
        "192.0.2.7"
    );
}

#[tokio::test]
async fn a_server_can_refuse_fail_be_lame_or_dislike_edns() {
    let internet = internet();
    let server = internet.server("ns1.bets.example.");
    let zone = resolver(&server);
    for (behaviour, expected) in [
        (Behaviour::Refuses, "REFUSED"),
        (Behaviour::Fails, "SERVFAIL"),
        (Behaviour::RejectsEdns, "FORMERR"),
    ] {
        server.set_behaviour(behaviour);
        assert_eq!(zone.ask("bets.example. A").await, expected);
    }
    assert_eq!(
        zone.without_edns().ask("bets.example. A").await,
        "192.0.2.7"
    );
    server.set_behaviour(Behaviour::RefersUpwards);
    let upwards = zone.reply("bets.example. A").await.unwrap();
    assert!(is_referral(&upwards));
    assert_eq!(upwards.authority_lines(), [". NS a.root-servers.net."]);
}

#[tokio::test]
async fn a_truncated_answer_is_whole_over_tcp() {
    let internet = internet();
    let server = internet.server("ns1.bets.example.");
    server.set_behaviour(Behaviour::Truncates);
    assert_eq!(resolver(&server).ask("bets.example. A").await, "truncated");
    assert_eq!(
        resolver(&server).over_tcp().ask("bets.example. A").await,
        "192.0.2.7"
    );
}

#[tokio::test]
async fn an_answer_too_large_for_udp_is_truncated_of_itself() {
    let lines: String = (0..200)
        .map(|host| format!("@ 60 A 192.0.2.{host}\n"))
        .collect();
    let internet = Internet::new().zone("large.example.", &lines);
    let zone = resolver(&internet.server("ns1.large.example."));
    let cut = zone.reply("large.example. A").await.unwrap();
    assert!(cut.is_truncated() && cut.wire.len() <= 1232);
    let plain = zone.without_edns().reply("large.example. A").await.unwrap();
    assert!(plain.is_truncated() && plain.wire.len() <= 512);
    assert_eq!(
        zone.over_tcp()
            .reply("large.example. A")
            .await
            .unwrap()
            .message
            .answers
            .len(),
        200
    );
}

#[tokio::test]
async fn a_liar_bends_ids_questions_sections_and_bytes() {
    let internet = internet();
    let server = internet.server("ns1.bets.example.");
    let zone = resolver(&server);

    server.set_behaviour(Behaviour::Lies(Lie::WrongId));
    let deaf = zone.with_timeout(LONG_ENOUGH).ask("bets.example. A").await;
    assert_eq!(deaf, "silence", "a reply under another id is none");
    let query = zone.query("bets.example. A").to_vec().unwrap();
    let forged = zone.send(&query).await.unwrap();
    assert_ne!(forged[..2], query[..2]);

    server.set_behaviour(Behaviour::LiesFirst(vec![Lie::WrongId]));
    assert_eq!(zone.ask("bets.example. A").await, "192.0.2.7");

    server.set_behaviour(Behaviour::Lies(Lie::WrongQuestion));
    let reply = zone.reply("bets.example. A").await.unwrap();
    assert_eq!(reply.message.queries[0].name.to_string(), FORGED_NAME);

    server.set_behaviour(Behaviour::Lies(Lie::ExtraAdditional(
        "bank.example. 60 A 203.0.113.6".into(),
    )));
    let reply = zone.reply("bets.example. A").await.unwrap();
    assert_eq!(reply.additional_lines(), ["bank.example. A 203.0.113.6"]);
    assert_eq!(reply.to_string(), "192.0.2.7");

    server.set_behaviour(Behaviour::Lies(Lie::Garbage(vec![0xff; 5])));
    assert_eq!(zone.over_tcp().send(&query).await.unwrap(), [0xff; 5]);
}

#[tokio::test]
async fn one_root_server_can_stand_for_an_internet_in_which_every_name_exists() {
    let internet = Internet::new();
    internet
        .root()
        .set_behaviour(Behaviour::AnswersEverything(Ipv4Addr::new(192, 0, 2, 1)));
    let root = resolver(&internet.root());
    assert_eq!(root.ask("any.name.whatever. A").await, "192.0.2.1");
    assert_eq!(root.ask("any.name.whatever. NS").await, "NODATA");
}

#[tokio::test]
async fn root_hints_name_every_root_server_with_its_address() {
    let internet =
        Internet::new().zone_served_by(".", &["a.root-servers.net.", "b.root-servers.net."], "");
    let addresses: Vec<String> = internet
        .servers_of(".")
        .iter()
        .map(|server| server.address().ip().to_string())
        .collect();
    let hints = internet.root_hints();
    let words: Vec<Vec<&str>> = hints
        .lines()
        .map(|client| client.split_whitespace().collect())
        .collect();
    assert_eq!(words[2], [".", "3600000", "NS", "b.root-servers.net."]);
    assert_eq!(
        words[3],
        ["b.root-servers.net.", "3600000", "A", &addresses[1]]
    );
    let priming = resolver(&internet.root()).reply(". NS").await.unwrap();
    assert_eq!(
        (
            priming.message.answers.len(),
            priming.message.additionals.len()
        ),
        (2, 2)
    );
}

#[tokio::test]
async fn an_internet_that_ends_frees_its_addresses() {
    let internet = internet();
    let address = internet.root().address();
    drop(internet);
    eventually(
        "the root's port is free again",
        Duration::from_secs(5),
        async || {
            std::net::UdpSocket::bind(address).is_ok()
                && std::net::TcpListener::bind(address).is_ok()
        },
    )
    .await;
}

#[tokio::test]
async fn three_packets_in_ten_lost_each_way_lose_half_of_the_exchanges() {
    let internet = internet();
    let server = internet.server("ns1.bets.example.");
    server.set_behaviour(Behaviour::LosesBothWays {
        share: 0.3,
        seed: 7,
    });
    let patient = resolver(&server).with_timeout(COMES_OR_NOT);
    let asked = ask_all(
        &patient,
        (0..200).map(|_| "bets.example. A".to_owned()),
        200,
    )
    .await;
    let lost = asked
        .iter()
        .filter(|asked| asked.answer == "silence")
        .count();
    assert!((70..130).contains(&lost), "{lost} of 200");
    assert_eq!(patient.over_tcp().ask("bets.example. A").await, "192.0.2.7");
}

#[tokio::test]
async fn a_server_can_truncate_and_then_hang_or_drip_over_tcp() {
    let internet = internet();
    let server = internet.server("ns1.bets.example.");
    for behaviour in [
        Behaviour::TruncatesAndHangs,
        Behaviour::Drips(Duration::from_millis(100)),
    ] {
        server.set_behaviour(behaviour);
        assert_eq!(resolver(&server).ask("bets.example. A").await, "truncated");
        assert_eq!(
            resolver(&server)
                .over_tcp()
                .with_timeout(LONG_ENOUGH)
                .ask("bets.example. A")
                .await,
            "silence"
        );
    }
    server.set_behaviour(Behaviour::Drips(Duration::from_millis(1)));
    assert_eq!(
        resolver(&server).over_tcp().ask("bets.example. A").await,
        "192.0.2.7"
    );
}

#[tokio::test]
async fn lies_can_be_told_together_and_in_turn() {
    let internet = internet();
    let server = internet.server("ns1.bets.example.");
    let zone = resolver(&server);
    let forged = Lie::ForgedAddress(Ipv4Addr::new(203, 0, 113, 66));

    server.set_behaviour(Behaviour::Lies(Lie::AllOf(vec![
        forged.clone(),
        Lie::WrongCase,
    ])));
    let reply = zone.reply("bets.Example. A").await.unwrap();
    assert_eq!(
        (reply.to_string(), reply.message.queries[0].name.to_string()),
        ("203.0.113.66".into(), "BETS.eXAMPLE.".into())
    );

    server.set_behaviour(Behaviour::Lies(Lie::AllOf(vec![
        Lie::NoQuestion,
        Lie::Code(ResponseCode::FormErr),
    ])));
    let reply = zone.reply("bets.example. A").await.unwrap();
    assert_eq!(
        (reply.to_string(), reply.message.queries.len()),
        ("FORMERR".into(), 0)
    );

    server.set_behaviour(Behaviour::Lies(Lie::BrokenOpt));
    let broken = zone
        .send(&zone.query("bets.example. A").to_vec().unwrap())
        .await
        .unwrap();
    assert_eq!(
        (&broken[10..12], &broken[broken.len() - 4..]),
        (&[0, 1][..], &[0, 10, 0xff, 0xff][..])
    );

    server.set_behaviour(Behaviour::LiesFirst(vec![
        Lie::AllOf(vec![forged.clone(), Lie::IdPlus(1)]),
        Lie::IdPlus(2),
    ]));
    assert_eq!(zone.ask("bets.example. A").await, "192.0.2.7");
    server.set_behaviour(Behaviour::LiesFirst(vec![Lie::IdPlus(1), forged]));
    assert_eq!(
        zone.ask("bets.example. A").await,
        "203.0.113.66",
        "a lie under the right id is an answer for a resolver that checks nothing else"
    );
}

#[tokio::test]
async fn a_spoofers_packets_come_first_and_each_has_something_wrong() {
    let internet = internet();
    let server = internet.server("ns1.bets.example.");
    server.set_behaviour(Behaviour::Spoofed(Spoofer {
        times: 5,
        address: Ipv4Addr::new(203, 0, 113, 66),
    }));
    let mut believed = 0;
    let mut right = 0;
    for _ in 0..64 {
        // This resolver checks id and source, but not the letter case.
        match resolver(&server).reply("bets.example. A").await.unwrap() {
            reply if reply.to_string() == "192.0.2.7" => right += 1,
            reply => {
                assert_eq!(reply.message.queries[0].name.to_string(), "BETS.EXAMPLE.");
                believed += 1;
            }
        }
    }
    assert!(
        believed > 2 && right > 20,
        "{believed} believed, {right} right"
    );
}

#[tokio::test]
async fn an_attackers_server_leads_on_only_below_its_zone() {
    let internet = Internet::new().zone("bad.example.", "");
    let server = internet.server("ns1.bad.example.");
    let zone = resolver(&server).over_tcp();
    let victim = "victim.example.";

    server.set_behaviour(Behaviour::Plays(Attack::GluelessReferrals {
        servers: 100,
        victim,
    }));
    let referral = zone.reply("www.u1.bad.example. A").await.unwrap();
    assert!(is_referral(&referral));
    assert_eq!(
        (
            referral.authority_lines().len(),
            &*referral.authority_lines()[1]
        ),
        (100, "u1.bad.example. NS 1x0-u1.victim.example.")
    );
    assert_eq!(
        zone.ask("ns1.bad.example. A").await,
        server.address().ip().to_string()
    );

    server.set_behaviour(Behaviour::Plays(Attack::Aliases { length: 2 }));
    for (question, next) in [("u1", "1-u1"), ("1-u1", "2-u1")] {
        let alias = zone
            .reply(&format!("{question}.bad.example. A"))
            .await
            .unwrap();
        assert_eq!(
            alias.answer_lines(),
            [format!("{question}.bad.example. CNAME {next}.bad.example.")]
        );
    }
    assert_eq!(
        zone.ask("2-u1.bad.example. A").await,
        server.address().ip().to_string()
    );

    server.set_behaviour(Behaviour::Plays(Attack::EndlessReferrals));
    let referral = zone.reply("ns.7-u1.bad.example. A").await.unwrap();
    assert_eq!(
        referral.authority_lines(),
        ["7-u1.bad.example. NS ns.8-u1.bad.example."]
    );

    server.set_behaviour(Behaviour::Plays(Attack::EverDeeper));
    for cut in [
        "u2.bad.example.",
        "b.u2.bad.example.",
        "a.b.u2.bad.example.",
    ] {
        let referral = zone.reply("a.b.u2.bad.example. A").await.unwrap();
        assert_eq!(referral.authority_lines(), [format!("{cut} NS ns.{cut}")]);
        assert_eq!(
            referral.additional_lines(),
            [format!("ns.{cut} A {}", server.address().ip())]
        );
    }

    server.set_behaviour(Behaviour::Plays(Attack::BackToItself));
    assert_eq!(
        zone.reply("u3.bad.example. A")
            .await
            .unwrap()
            .authority_lines(),
        ["bad.example. NS ns1.bad.example."]
    );

    server.set_behaviour(Behaviour::Plays(Attack::AliasesAcrossReferrals {
        servers: 2,
        victim,
    }));
    assert_eq!(
        zone.reply("www.u4.bad.example. A")
            .await
            .unwrap()
            .authority_lines()
            .len(),
        3
    );
    let alias = zone.reply("www.u4.bad.example. A").await.unwrap();
    assert_eq!(
        alias.answer_lines(),
        ["www.u4.bad.example. CNAME www.1-u4.bad.example."]
    );
}

#[tokio::test]
async fn a_server_can_have_several_names_and_a_delegation_can_be_taken_back() {
    let internet = internet();
    internet.alias("ns.other.example.", "ns1.bets.example.");
    let internet =
        internet.zone_served_by("other.example.", &["ns.other.example."], "@ 60 A 192.0.2.3");
    let server = internet.server("ns.other.example.");
    let parent = internet.server("a.nic.example.");
    assert_eq!(
        server.address(),
        internet.server("ns1.bets.example.").address()
    );
    assert_eq!(resolver(&server).ask("other.example. A").await, "192.0.2.3");
    assert_eq!(resolver(&server).ask("bets.example. A").await, "192.0.2.7");
    let glue = resolver(&parent)
        .reply("other.example. A")
        .await
        .unwrap()
        .additional_lines();
    assert_eq!(
        glue,
        [format!("ns.other.example. A {}", server.address().ip())]
    );
    internet.revoke("other.example.");
    assert_eq!(resolver(&parent).ask("other.example. A").await, "NXDOMAIN");
    assert_eq!(resolver(&server).ask("other.example. A").await, "192.0.2.3");
}

#[tokio::test]
async fn ports_ids_and_letters_of_queries_are_noted() {
    let internet = internet();
    let zone = internet.server("ns1.bets.example.");
    for _ in 0..20 {
        resolver(&zone).ask("BETS.example. A").await;
    }
    let tally = zone.counts();
    assert!(tally.ports().len() > 15 && tally.ids().len() > 15);
    assert!((tally.capitals() - 4.0 / 11.0).abs() < 1e-9);
    assert_eq!(tally.queries_below(&"example.".parse().unwrap()), 20);
}

#[tokio::test]
async fn a_daemon_sees_its_worlds_clock_or_else_the_machines() {
    let written = async |world: &World| -> jiff::Timestamp {
        let order = json!({ "name": "a.example", "basis": "iwf" });
        world.api.mandate("a", order).await.ok().json["updated_at"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    };
    let is_near = |seen: jiff::Timestamp, time: jiff::Timestamp| {
        seen.duration_since(time).abs() < jiff::SignedDuration::from_secs(60)
    };
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .clock("2030-01-01 12:00:00")
        .start()
        .await;
    let begun = Instant::now();
    assert!(
        is_near(written(&world).await, world.clock().now())
            && world
                .clock()
                .now()
                .to_string()
                .starts_with("2030-01-01T12:0")
    );
    world.clock().set("2019-12-31 23:59:59");
    world.clock().advance(Duration::from_secs(86_400));
    assert!(is_near(
        written(&world).await,
        "2020-01-01T23:59:59Z".parse().unwrap()
    ));
    world.daemon.restart().await;
    let passed = jiff::SignedDuration::try_from(begun.elapsed()).unwrap();
    assert!(
        is_near(
            written(&world).await,
            "2020-01-01T23:59:59Z".parse::<jiff::Timestamp>().unwrap() + passed
        ),
        "it goes on over a restart"
    );
    let plain = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    assert!(is_near(written(&plain).await, jiff::Timestamp::now()));
}
