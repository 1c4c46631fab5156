//! The simulated Internet keeps its own promises. Without them a green test of the program would mean nothing.
//!
//! A bare client plays the resolver here: it asks as a resolver asks, and every step is looked at.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::ResponseCode,
    rr::{RData, RecordType},
};

use crate::world::{Authority, Behaviour, FORGED_NAME, Internet, Lie, Line, Reply, eventually, line, seed};

/// How long a test waits for something that must not come. Loopback answers in far less, even on a busy machine.
const LONG_ENOUGH: Duration = Duration::from_millis(700);

/// A zone with a bit of everything.
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

/// A resolver's side of the conversation with one server.
fn resolver(server: &Authority) -> Line {
    line("127.0.0.53").to(server.address()).iterative()
}

/// Whether a reply is a referral as a real server sends it.
fn is_referral(reply: &Reply) -> bool {
    let name_servers_only = reply.message.authorities.iter().all(|record| record.record_type() == RecordType::NS);
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
        let reply = line("127.0.0.53").to(server).iterative().reply("www.bets.example. A").await.unwrap();
        if !is_referral(&reply) {
            break reply;
        }
        path.extend(reply.authority_lines());
        let glue = reply.message.additionals.iter().find_map(|record| match record.data {
            RData::A(address) => Some(address.0),
            _ => None,
        });
        server = (glue.expect("the server below the cut has glue"), internet.port()).into();
    };
    assert_eq!(path, ["example. NS a.nic.example.", "bets.example. NS ns1.bets.example."]);
    assert!(answer.is_authoritative());
    assert_eq!(answer.answer_lines(), ["www.bets.example. CNAME bets.example.", "bets.example. A 192.0.2.7"]);
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
    let RData::SOA(soa) = &absent.message.authorities[0].data else { panic!("{absent:?}") };
    assert_eq!((soa.minimum, absent.is_authoritative()), (60, true));
}

#[tokio::test]
async fn a_parent_refers_even_those_who_ask_for_name_servers() {
    let internet = internet();
    let top_level = resolver(&internet.server("a.nic.example."));
    let reply = top_level.reply("bets.example. NS").await.unwrap();
    assert!(is_referral(&reply), "{reply:?}");
    assert!(top_level.reply("bets.example. DS").await.unwrap().is_authoritative(), "DS is the parent's own");
}

#[tokio::test]
async fn a_server_named_elsewhere_comes_without_glue_and_is_found_in_its_own_zone() {
    let internet = internet().zone("host.test.", "").zone_served_by("news.example.", &["ns.host.test."], "@ A 192.0.2.9");
    let referral = resolver(&internet.server("a.nic.example.")).reply("news.example. A").await.unwrap();
    assert_eq!(referral.authority_lines(), ["news.example. NS ns.host.test."]);
    assert!(referral.additional_lines().is_empty());
    let server = internet.server("ns.host.test.");
    let address = resolver(&internet.server("ns1.host.test.")).ask("ns.host.test. A").await;
    assert_eq!(address, server.address().ip().to_string());
    assert_eq!(resolver(&server).ask("news.example. A").await, "192.0.2.9");
}

#[tokio::test]
async fn a_zone_with_two_servers_is_answered_by_either() {
    let internet = Internet::new().zone_served_by("two.example.", &["ns1.two.example.", "ns2.two.example."], "@ A 192.0.2.2");
    let servers = internet.servers_of("two.example.");
    assert_ne!(servers[0].address().ip(), servers[1].address().ip());
    servers[0].becomes(Behaviour::Silent);
    assert_eq!(resolver(&servers[0]).with_patience(LONG_ENOUGH).ask("two.example. A").await, "silence");
    assert_eq!(resolver(&servers[1]).ask("two.example. A").await, "192.0.2.2");
    let glue = resolver(&internet.server("a.nic.example.")).reply("two.example. A").await.unwrap();
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
    let referral = resolver(&internet.server("a.nic.example.")).reply("bets.example. A").await.unwrap();
    assert_eq!(referral.authority_lines(), ["bets.example. NS ns.wrong.test."]);
}

#[tokio::test]
async fn queries_are_counted_by_name_and_type_and_server() {
    let internet = internet();
    let (root, zone) = (internet.root(), internet.server("ns1.bets.example."));
    for _ in 0..3 {
        resolver(&zone).ask("bets.example. A").await;
    }
    resolver(&root).over_tcp().with_mac("02:00:00:00:00:07").ask("BETS.example. A").await;
    assert_eq!(internet.asked("bets.example.", RecordType::A), 4);
    assert_eq!(internet.asked("bets.example.", RecordType::AAAA), 0);
    assert_eq!((zone.tally().over_udp(), root.tally().over_tcp()), (3, 1));
    assert!(root.tally().edns_options().contains(&65_001));
    assert!(zone.tally().edns_options().is_empty());
    internet.forget_questions();
    assert_eq!(internet.tally().queries(), 0);
}

#[tokio::test]
async fn a_silent_server_takes_the_query_and_never_replies() {
    let internet = internet();
    let zone = internet.server("ns1.bets.example.");
    zone.becomes(Behaviour::Silent);
    let patient = resolver(&zone).with_patience(LONG_ENOUGH);
    assert_eq!(patient.ask("bets.example. A").await, "silence");
    assert_eq!(patient.over_tcp().ask("bets.example. A").await, "silence");
    assert_eq!(internet.asked("bets.example.", RecordType::A), 2);
    zone.becomes(Behaviour::Answers);
    assert_eq!(resolver(&zone).ask("bets.example. A").await, "192.0.2.7");
}

#[tokio::test]
async fn a_slow_server_answers_after_its_delay_and_not_one_query_after_the_other() {
    let internet = internet();
    let delay = Duration::from_millis(500);
    internet.make("bets.example.", &Behaviour::Delays(delay));
    let zone = resolver(&internet.server("ns1.bets.example."));
    let began = Instant::now();
    let (first, second) = tokio::join!(zone.reply("bets.example. A"), zone.reply("www.bets.example. A"));
    assert!(first.unwrap().took >= delay && second.unwrap().took >= delay);
    assert!(began.elapsed() < 2 * delay, "two delays side by side took {:?}", began.elapsed());
}

#[tokio::test]
async fn loss_follows_its_seed_and_spares_tcp() {
    let internet = internet();
    let zone = internet.server("ns1.bets.example.");
    let seed = seed();
    let asks = async || {
        zone.becomes(Behaviour::Loses { share: 0.5, seed });
        zone.forget_questions();
        let mut asking = Vec::new();
        for number in 1..=24 {
            let patient = resolver(&zone).with_patience(LONG_ENOUGH);
            asking.push(tokio::spawn(async move { patient.reply("bets.example. A").await.is_some() }));
            // The next one leaves when this one has met its fate, so that the order is the same in every run.
            eventually("the query arrives", LONG_ENOUGH, async || zone.tally().queries() == number).await;
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
    zone.becomes(Behaviour::Loses { share: 1.0, seed });
    assert_eq!(resolver(&zone).over_tcp().ask("bets.example. A").await, "192.0.2.7");
}

#[tokio::test]
async fn a_server_can_refuse_fail_be_lame_or_dislike_edns() {
    let internet = internet();
    let server = internet.server("ns1.bets.example.");
    let zone = resolver(&server);
    for (behaviour, expected) in [(Behaviour::Refuses, "REFUSED"), (Behaviour::Fails, "SERVFAIL"), (Behaviour::RejectsEdns, "FORMERR")] {
        server.becomes(behaviour);
        assert_eq!(zone.ask("bets.example. A").await, expected);
    }
    assert_eq!(zone.without_edns().ask("bets.example. A").await, "192.0.2.7");
    server.becomes(Behaviour::RefersUpwards);
    let upwards = zone.reply("bets.example. A").await.unwrap();
    assert!(is_referral(&upwards));
    assert_eq!(upwards.authority_lines(), [". NS a.root-servers.net."]);
}

#[tokio::test]
async fn a_truncated_answer_is_whole_over_tcp() {
    let internet = internet();
    let server = internet.server("ns1.bets.example.");
    server.becomes(Behaviour::Truncates);
    assert_eq!(resolver(&server).ask("bets.example. A").await, "truncated");
    assert_eq!(resolver(&server).over_tcp().ask("bets.example. A").await, "192.0.2.7");
}

#[tokio::test]
async fn an_answer_too_large_for_udp_is_truncated_of_itself() {
    let lines: String = (0..200).map(|host| format!("@ 60 A 192.0.2.{host}\n")).collect();
    let internet = Internet::new().zone("large.example.", &lines);
    let zone = resolver(&internet.server("ns1.large.example."));
    let cut = zone.reply("large.example. A").await.unwrap();
    assert!(cut.is_truncated() && cut.wire.len() <= 1232);
    let plain = zone.without_edns().reply("large.example. A").await.unwrap();
    assert!(plain.is_truncated() && plain.wire.len() <= 512);
    assert_eq!(zone.over_tcp().reply("large.example. A").await.unwrap().message.answers.len(), 200);
}

#[tokio::test]
async fn a_liar_bends_ids_questions_sections_and_bytes() {
    let internet = internet();
    let server = internet.server("ns1.bets.example.");
    let zone = resolver(&server);

    server.becomes(Behaviour::Lies(Lie::WrongId));
    let deaf = zone.with_patience(LONG_ENOUGH).ask("bets.example. A").await;
    assert_eq!(deaf, "silence", "a reply under another id is none");
    let query = zone.query("bets.example. A").to_vec().unwrap();
    let forged = zone.send(&query).await.unwrap();
    assert_ne!(forged[..2], query[..2]);

    server.becomes(Behaviour::LiesFirst(Lie::WrongId));
    assert_eq!(zone.ask("bets.example. A").await, "192.0.2.7");

    server.becomes(Behaviour::Lies(Lie::WrongQuestion));
    let reply = zone.reply("bets.example. A").await.unwrap();
    assert_eq!(reply.message.queries[0].name.to_string(), FORGED_NAME);

    server.becomes(Behaviour::Lies(Lie::ExtraAdditional("bank.example. 60 A 203.0.113.6".into())));
    let reply = zone.reply("bets.example. A").await.unwrap();
    assert_eq!(reply.additional_lines(), ["bank.example. A 203.0.113.6"]);
    assert_eq!(reply.to_string(), "192.0.2.7");

    server.becomes(Behaviour::Lies(Lie::Garbage(vec![0xff; 5])));
    assert_eq!(zone.over_tcp().send(&query).await.unwrap(), [0xff; 5]);
}

#[tokio::test]
async fn one_root_server_can_stand_for_an_internet_in_which_every_name_exists() {
    let internet = Internet::new();
    internet.root().becomes(Behaviour::AnswersEverything(Ipv4Addr::new(192, 0, 2, 1)));
    let root = resolver(&internet.root());
    assert_eq!(root.ask("any.name.whatever. A").await, "192.0.2.1");
    assert_eq!(root.ask("any.name.whatever. NS").await, "NODATA");
}

#[tokio::test]
async fn root_hints_name_every_root_server_with_its_address() {
    let internet = Internet::new().zone_served_by(".", &["a.root-servers.net.", "b.root-servers.net."], "");
    let addresses: Vec<String> = internet.servers_of(".").iter().map(|server| server.address().ip().to_string()).collect();
    let hints = internet.root_hints();
    let words: Vec<Vec<&str>> = hints.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[2], [".", "3600000", "NS", "b.root-servers.net."]);
    assert_eq!(words[3], ["b.root-servers.net.", "3600000", "A", &addresses[1]]);
    let priming = resolver(&internet.root()).reply(". NS").await.unwrap();
    assert_eq!((priming.message.answers.len(), priming.message.additionals.len()), (2, 2));
}

#[tokio::test]
async fn an_internet_that_ends_frees_its_addresses() {
    let internet = internet();
    let address = internet.root().address();
    drop(internet);
    eventually("the root's port is free again", Duration::from_secs(5), async || {
        std::net::UdpSocket::bind(address).is_ok() && std::net::TcpListener::bind(address).is_ok()
    })
    .await;
}
