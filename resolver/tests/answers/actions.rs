//! The action of a list entry decides how its name is answered, before the operator's settings do.

use policy::{
    decide::Action,
    lists::entry::{EntryAction::*, Tier::*},
};

use crate::world::{INTERNET, LANDING, Lists, Setup, World};

#[tokio::test]
async fn the_action_of_an_entry_comes_before_the_operators_settings() {
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
async fn tcp_only_is_truncated_over_udp_and_answered_over_tcp() {
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
async fn a_client_over_tcp_is_still_blocked_by_other_entries() {
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
async fn a_dropped_query_is_explained_without_an_answer() {
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
