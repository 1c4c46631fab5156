//! Rates of queries, server cookies (RFC 7873), and the release of late replies.

use std::time::Duration;

use hickory_proto::{
    op::{Edns, Message, ResponseCode},
    rr::rdata::opt::{EdnsCode, EdnsOption},
};
use policy::lists::entry::{EntryAction::Nxdomain, Tier::Security};
use resolver::{admission::LimitCause, message::types::Transport, rates::RateSettings};

use crate::world::{INTERNET, Lists, Setup, World, query};

const COOKIE: u16 = 10;
const CLIENT_COOKIE: &[u8] = b"12345678";
const STRANGER: &str = "127.0.9.1";

/// A query with a COOKIE option of this content.
fn with_cookie(question: &str, content: &[u8]) -> Vec<u8> {
    let mut message = query(question);
    let mut edns = Edns::new();
    edns.options_mut()
        .insert(EdnsOption::Unknown(COOKIE, content.to_vec()));
    message.set_edns(edns);
    message.to_vec().unwrap()
}

/// The COOKIE option of a reply.
fn cookie_of(reply: &Message) -> Option<Vec<u8>> {
    match reply.edns.as_ref()?.option(EdnsCode::from(COOKIE))? {
        EdnsOption::Unknown(_, content) => Some(content.clone()),
        _ => None,
    }
}

async fn ask(world: &World, from: &str, transport: Transport, packet: &[u8]) -> Option<Message> {
    let wire = world.answer(from, transport, packet).await;
    (!wire.is_empty()).then(|| Message::from_vec(&wire).unwrap())
}

fn limited() -> World {
    let rates = RateSettings {
        queries_per_s: 1,
        queries_burst: 4,
        slip: 2,
        ..RateSettings::default()
    };
    let setup = Setup {
        rates,
        one_worker: true,
        ..Setup::default()
    };
    World::with(INTERNET, Lists::default(), setup)
}

#[tokio::test]
async fn every_kind_of_reply_returns_the_cookie() {
    let lists = Lists::default().name("evil", Security, "bets.example", Nxdomain);
    let world = World::new(INTERNET, lists);
    for (question, rcode) in [
        ("news.example. A", ResponseCode::NoError),
        ("news.example. A", ResponseCode::NoError),
        ("bets.example. A", ResponseCode::NXDomain),
        ("a.broken.example. A", ResponseCode::ServFail),
        ("a.denied.example. A", ResponseCode::NXDomain),
        ("news.example. ANY", ResponseCode::NoError),
        ("news.example. AXFR", ResponseCode::Refused),
    ] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let packet = with_cookie(question, CLIENT_COOKIE);
            let reply = ask(&world, STRANGER, transport, &packet).await.unwrap();
            let cookie = cookie_of(&reply).expect(question);
            assert_eq!(
                (cookie.len(), &cookie[..8]),
                (24, CLIENT_COOKIE),
                "{question}"
            );
            let code = reply.metadata.response_code;
            assert!(
                code == rcode || code == ResponseCode::NotImp,
                "{question}: {code}"
            );
        }
    }
    let plain = world
        .reply(STRANGER, Transport::Udp, "news.example. A")
        .await;
    assert_eq!(cookie_of(&plain.unwrap()), None, "without one none is sent");
}

#[tokio::test]
async fn a_cookie_of_a_wrong_length_is_a_format_error() {
    let world = World::new(INTERNET, Lists::default());
    for (octets, is_good) in [
        (0, false),
        (7, false),
        (8, true),
        (9, false),
        (15, false),
        (16, true),
        (40, true),
        (41, false),
    ] {
        let packet = with_cookie("news.example. A", &vec![7; octets]);
        let reply = ask(&world, STRANGER, Transport::Udp, &packet)
            .await
            .unwrap();
        let expected = if is_good {
            ResponseCode::NoError
        } else {
            ResponseCode::FormErr
        };
        assert_eq!(reply.metadata.response_code, expected, "{octets} octets");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_over_its_rate_is_dropped_or_told_to_come_over_tcp() {
    let world = limited();
    let mut answered = Vec::new();
    for _ in 0..10 {
        let reply = world
            .reply(STRANGER, Transport::Udp, "news.example. A")
            .await;
        answered.push(reply.map(|reply| reply.metadata.truncation));
    }
    assert_eq!(answered[..5], [Some(false); 5]);
    // Each query is on a thread of its own, which slips the second of its own.
    assert!(
        answered[5..].iter().all(|reply| *reply != Some(false)),
        "{answered:?}"
    );
    let over_tcp = world
        .reply(STRANGER, Transport::Tcp, "news.example. A")
        .await;
    assert_eq!(over_tcp.unwrap().answers.len(), 1, "TCP proves the address");
    assert_eq!(
        world.ask_from("127.0.9.2", "news.example. A").await,
        "192.0.2.80"
    );
    tokio::time::advance(Duration::from_secs(8)).await;
    assert_eq!(
        world.ask_from(STRANGER, "news.example. A").await,
        "192.0.2.80"
    );
    let (limited, _) = world.engine.limited();
    assert_eq!(limited[0].0.to_string(), format!("client {STRANGER}"));
    assert_eq!(
        (limited[0].1, limited[0].2.queries),
        (LimitCause::Queries, 5)
    );
}

#[tokio::test(start_paused = true)]
async fn over_tcp_a_client_over_its_rate_is_refused() {
    let world = limited();
    for number in 0..8 {
        let reply = world
            .reply(STRANGER, Transport::Tcp, "news.example. A")
            .await;
        let code = reply.unwrap().metadata.response_code;
        assert_eq!(
            code == ResponseCode::Refused,
            number >= 5,
            "{number}: {code}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_valid_cookie_is_not_limited_by_what_others_forge() {
    let world = limited();
    let packet = with_cookie("news.example. A", CLIENT_COOKIE);
    let reply = ask(&world, STRANGER, Transport::Udp, &packet)
        .await
        .unwrap();
    let proven = with_cookie("news.example. A", &cookie_of(&reply).unwrap());
    for _ in 0..20 {
        let _forged = world
            .reply(STRANGER, Transport::Udp, "news.example. A")
            .await;
    }
    let reply = ask(&world, STRANGER, Transport::Udp, &proven)
        .await
        .unwrap();
    assert_eq!(reply.answers.len(), 1);
    let stolen = ask(&world, "127.0.9.8", Transport::Udp, &proven).await;
    assert_eq!(
        stolen.unwrap().answers.len(),
        1,
        "of another: as without one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_limited_client_with_cookies_gets_badcookie_and_can_go_on() {
    let world = World::with(
        INTERNET,
        Lists::default(),
        Setup {
            rates: RateSettings {
                queries_per_s: 1,
                queries_burst: 4,
                slip: 1,
                ..RateSettings::default()
            },
            one_worker: true,
            ..Setup::default()
        },
    );
    let packet = with_cookie("news.example. A", CLIENT_COOKIE);
    for _ in 0..5 {
        ask(&world, STRANGER, Transport::Udp, &packet)
            .await
            .unwrap();
    }
    let told = ask(&world, STRANGER, Transport::Udp, &packet)
        .await
        .unwrap();
    let code = told.metadata.response_code;
    assert_eq!((code, told.answers.len()), (ResponseCode::BADCOOKIE, 0));
    let again = with_cookie("news.example. A", &cookie_of(&told).unwrap());
    let reply = ask(&world, STRANGER, Transport::Udp, &again).await.unwrap();
    assert_eq!(reply.answers.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn clients_that_may_not_ask_are_limited_as_well() {
    let world = limited();
    for number in 0..7 {
        let reply = world
            .reply("198.51.100.7", Transport::Udp, "news.example. A")
            .await;
        let code = reply.map(|reply| reply.metadata.response_code);
        assert_eq!(
            code == Some(ResponseCode::Refused),
            number < 5,
            "{number}: {code:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn packets_that_are_no_queries_are_limited_as_well() {
    let world = limited();
    // Opcode 5, an OPT record that is cut off, and an EDNS version that does not exist.
    let mut badvers = query("news.example. A").to_vec().unwrap();
    let version = badvers.len() - 5;
    badvers[version] = 9;
    for packet in [
        &b"\0\x01\x28\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01"[..],
        &badvers,
    ] {
        let mut answered = 0;
        for _ in 0..20 {
            let reply = world.answer(STRANGER, Transport::Udp, packet).await;
            answered += usize::from(!reply.is_empty());
        }
        assert!(answered <= 5, "{answered} of 20");
    }
}

#[tokio::test(start_paused = true)]
async fn a_made_up_mac_address_is_no_client_of_its_own() {
    let rates = RateSettings {
        queries_per_s: 1,
        queries_burst: 4,
        ..RateSettings::default()
    };
    let setup = Setup {
        rates,
        one_worker: true,
        trusted_peers: &["127.0.9.0/24"],
        ..Setup::default()
    };
    let world = World::with(INTERNET, Lists::default(), setup);
    let mut answered = 0;
    for number in 0..20 {
        let question = format!("news.example. A mac=02:00:5e:00:54:{number:02x}");
        answered += usize::from(world.ask_from(STRANGER, &question).await == "192.0.2.80");
    }
    assert_eq!(answered, 5);
}

/// Sends queries for a slow name, with so many milliseconds between them. Returns after how many
/// milliseconds each was answered, if it was.
async fn answered_after(
    from: &'static str,
    transport: Transport,
    pauses: &[u64],
) -> Vec<Option<u64>> {
    let world = std::sync::Arc::new(World::new(INTERNET, Lists::default()));
    let start = tokio::time::Instant::now();
    let mut queries = Vec::new();
    for pause in pauses {
        tokio::time::sleep(Duration::from_millis(*pause)).await;
        let world = std::sync::Arc::clone(&world);
        queries.push(tokio::spawn(async move {
            let reply = world.reply(from, transport, "a.slow.example. A").await;
            reply.map(|_| u64::try_from(start.elapsed().as_millis()).unwrap())
        }));
    }
    let mut answered = Vec::new();
    for query in queries {
        answered.push(query.await.unwrap());
    }
    answered
}

#[tokio::test(start_paused = true)]
async fn replies_to_many_waiting_queries_are_spread_and_old_ones_discarded() {
    // One query in 100 ms for 1.6 s, as many as one client may have; the answer comes after 3 s.
    let answered = answered_after(STRANGER, Transport::Udp, &[100; 16]).await;
    let at: Vec<u64> = answered.iter().copied().flatten().collect();
    assert!(at.iter().all(|at| *at >= 3_100), "{answered:?}");
    let distinct: std::collections::BTreeSet<_> = at.iter().collect();
    assert!(distinct.len() + 1 >= at.len(), "one by one: {answered:?}");
    // Behind 50 ms of others, those that are older than 1.9 s.
    let discarded = answered[12..].iter().filter(|at| at.is_none()).count();
    assert!(discarded <= 1, "{answered:?}");
    assert!(answered[..8].iter().all(Option::is_some), "{answered:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lone_query_is_answered_however_late_and_tcp_is_not_discarded() {
    let answered = answered_after(STRANGER, Transport::Udp, &[0]).await;
    assert_eq!(answered, [Some(3_000)]);
    let answered = answered_after(STRANGER, Transport::Tcp, &[100; 8]).await;
    assert_eq!(answered, [Some(3_100); 8]);
}
