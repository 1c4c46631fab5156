//! Faults of the simulated servers: silence, delay, loss, truncation, lies, spoofing and attacks.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use hickory_proto::{op::ResponseCode, rr::RecordType};

use super::{COMES_OR_NOT, LONG_ENOUGH, internet, is_referral, resolver};
use crate::world::{
    Attack, Behaviour, FORGED_NAME, Internet, Lie, Spoofer, ask_all, eventually, seed,
};

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
