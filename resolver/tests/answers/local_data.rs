//! Local data of a feed in the place of an answer.

use policy::lists::entry::Tier::*;
use resolver::message::types::Transport;

use crate::world::{INTERNET, LANDING, Lists, Setup, World};

#[tokio::test]
async fn local_data_replaces_the_answer_with_the_reason_of_its_layer() {
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

#[tokio::test]
async fn local_data_beyond_a_datagram_comes_complete_over_tcp() {
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
