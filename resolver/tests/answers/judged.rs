//! All names and addresses of an answer are judged, in any number.

use policy::{
    lists::{
        entry::{
            EntryAction::{Nodata, OperatorPolicy, TcpOnly},
            Scope,
            Tier::{Choice, Mandatory, Security},
        },
        mandates::{ActiveMandates, Mandate, MandateDocument},
    },
    rules::household::{Attributed, CustomName, Household, SwitchState},
};
use resolver::message::types::Transport;

use crate::world::{Lists, Setup, World, in_words};

/// An address outside of the family, for which no category is blocked.
const OPEN: &str = "127.0.8.9";

/// A name with `count` addresses from 192.0.2.1 on.
fn addresses(count: usize) -> String {
    (1..=count)
        .map(|last| format!("many.own. 60 IN A 192.0.2.{last}\n"))
        .collect()
}

/// Lists in which each of `count` addresses is in a feed of its own, in a category that not all
/// clients block.
fn listed_apart(count: usize) -> Lists {
    (1..=count).fold(Lists::default(), |lists, last| {
        lists.network(
            &format!("feed-{last:03}"),
            Choice,
            &format!("192.0.2.{last}/32"),
            OperatorPolicy,
        )
    })
}

async fn over_tcp(world: &World, from: &str, question: &str) -> String {
    in_words(&world.reply(from, Transport::Tcp, question).await.unwrap())
}

#[tokio::test]
async fn an_ordered_address_is_found_behind_any_number_of_others() {
    for count in [1, 2, 15, 16, 17, 18, 33, 200] {
        let order = |lists: Lists| {
            lists.network("court", Mandatory, &format!("192.0.2.{count}/32"), Nodata)
        };
        for (what, lists) in [
            ("none is listed", order(Lists::default())),
            ("each is listed apart", order(listed_apart(count - 1))),
        ] {
            let world = World::new(&addresses(count), lists);
            for round in ["not cached", "cached"] {
                assert_eq!(
                    over_tcp(&world, OPEN, "many.own. A").await,
                    "nothing (16)",
                    "{count}, {what}, {round}"
                );
                assert_eq!(
                    world
                        .reply(OPEN, Transport::Udp, "many.own. A")
                        .await
                        .map(|reply| in_words(&reply))
                        .unwrap(),
                    "nothing (16)"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_order_on_an_address_holds_for_ipv6_addresses_that_embed_it() {
    for (record, question) in [
        ("AAAA ::ffff:192.0.2.1", "w.own. AAAA"),
        ("AAAA 64:ff9b::192.0.2.1", "w.own. AAAA"),
        ("AAAA 2002:c000:201::1", "w.own. AAAA"),
        ("HTTPS 1 . ipv6hint=::ffff:192.0.2.1", "w.own. HTTPS"),
    ] {
        for network in ["192.0.2.1/32", "::ffff:192.0.2.1/128"] {
            let lists = Lists::default().network("court", Mandatory, network, Nodata);
            let world = World::new(&format!("w.own. 60 IN {record}\n"), lists);
            assert_eq!(
                over_tcp(&world, OPEN, question).await,
                "nothing (16)",
                "{record}"
            );
        }
        let lists = Lists::default().network("court", Mandatory, "192.0.2.2/32", Nodata);
        let world = World::new(&format!("w.own. 60 IN {record}\n"), lists);
        assert_ne!(
            over_tcp(&world, OPEN, question).await,
            "nothing (16)",
            "{record}"
        );
    }
}

#[tokio::test]
async fn a_security_address_is_found_behind_many_listed_ones() {
    for count in [17, 40] {
        let lists = listed_apart(count - 1).network(
            "evil",
            Security,
            &format!("192.0.2.{count}/32"),
            OperatorPolicy,
        );
        let world = World::new(&addresses(count), lists);
        assert_eq!(
            over_tcp(&world, OPEN, "many.own. A").await,
            "NXDOMAIN (15)",
            "{count}"
        );
        let explained = world.explain("many.own A").await;
        assert!(
            explained.verdict.is_block() && explained.names.len() == count + 1,
            "{count}: {}",
            explained.names.len()
        );
    }
}

#[tokio::test]
async fn a_mandate_on_an_address_is_found_behind_others() {
    let world = World::new(&addresses(18), listed_apart(17));
    assert_eq!(
        over_tcp(&world, OPEN, "many.own. A")
            .await
            .split(' ')
            .count(),
        18
    );
    let document = MandateDocument {
        address: Some("192.0.2.18".parse().unwrap()),
        basis: "court-order".to_owned(),
        ..MandateDocument::default()
    };
    world
        .lists
        .set_mandates(std::sync::Arc::new(ActiveMandates::of(vec![
            std::sync::Arc::new(Mandate::read("a".parse().unwrap(), document).unwrap()),
        ])));
    assert_eq!(over_tcp(&world, OPEN, "many.own. A").await, "NXDOMAIN (16)");
}

#[tokio::test]
async fn each_name_of_a_long_chain_is_judged() {
    const ALIASES: usize = 7;
    let chain: String = (0..ALIASES)
        .map(|step| format!("n{step}.own. 60 IN CNAME n{}.own.\n", step + 1))
        .collect();
    let internet = format!("{chain}n{ALIASES}.own. 60 IN A 192.0.2.1\n");
    for step in 0..=ALIASES {
        let world = World::new(
            &internet,
            Lists::default().name("court", Mandatory, &format!("n{step}.own"), Nodata),
        );
        for _ in 0..2 {
            assert_eq!(
                world.ask("n0.own. A").await,
                "nothing (16)",
                "the name at step {step}"
            );
        }
        assert_eq!(world.explain("n0.own A").await.hop, step);
    }
}

#[tokio::test]
async fn addresses_with_equal_classification_are_kept_once() {
    let world = World::new(
        &addresses(40),
        Lists::default().network("net", Choice, "192.0.2.0/24", OperatorPolicy),
    );
    let explained = world.explain("many.own A").await;
    assert_eq!((explained.names.len(), explained.hop), (2, 1));
}

#[tokio::test]
async fn a_tcp_only_address_is_truncated_over_udp_and_answered_over_tcp() {
    let slow = || Lists::default().network("slow", Security, "192.0.2.1/32", TcpOnly);
    let world = World::new(&addresses(2), slow());
    for _ in 0..2 {
        assert_eq!(
            (
                world.ask("many.own. A").await,
                world.ask_tcp("many.own. A").await
            ),
            ("truncated".into(), "192.0.2.1 192.0.2.2".into())
        );
    }
    let blocked = World::new(
        &addresses(2),
        slow().network("bets", Choice, "192.0.2.2/32", OperatorPolicy),
    );
    assert_eq!(
        (
            blocked.ask("many.own. A").await,
            blocked.ask_tcp("many.own. A").await
        ),
        ("truncated".into(), "NXDOMAIN (17)".into())
    );
}

#[tokio::test]
async fn an_alias_target_among_the_familys_custom_names_is_blocked() {
    let internet = "a.own. 60 IN CNAME b.own.\nb.own. 60 IN A 192.0.2.1\n";
    let family = |household: &mut Household| {
        let value = CustomName {
            state: SwitchState::Block,
            scope: Scope::Exact,
        };
        let set = Attributed {
            value,
            set_by: String::new(),
            set_at: jiff::Timestamp::UNIX_EPOCH,
        };
        household
            .settings
            .names
            .insert(crate::world::name("b.own"), set);
    };
    let world = World::with(
        internet,
        Lists::default(),
        Setup {
            family,
            ..Setup::default()
        },
    );
    for round in ["not cached", "cached"] {
        assert_eq!(world.ask("a.own. A").await, "NXDOMAIN (17)", "{round}");
        assert_eq!(
            world.ask_from(OPEN, "a.own. A").await,
            "-> b.own. 192.0.2.1",
            "{round}"
        );
    }
    assert_eq!(world.explain("a.own A").await.hop, 1);
}

#[tokio::test(start_paused = true)]
async fn the_chain_of_an_expired_answer_decides_nothing() {
    let internet = "a.own. 60 IN CNAME b.own.\nb.own. 60 IN A 192.0.2.1\n";
    for lists in [
        Lists::default().name("bets", Choice, "b.own", OperatorPolicy),
        Lists::default().network("bets", Choice, "192.0.2.1/32", OperatorPolicy),
    ] {
        let world = World::new(internet, lists);
        for resolutions in 1..4 {
            for _ in 0..2 {
                assert_eq!(
                    (world.ask("a.own. A").await, world.resolutions("a.own")),
                    ("NXDOMAIN (17)".into(), resolutions)
                );
            }
            tokio::time::advance(std::time::Duration::from_secs(60)).await;
        }
    }
}

#[tokio::test]
async fn each_cached_answer_is_classified_by_the_lists_of_the_moment() {
    let world = World::new(&addresses(1), Lists::default());
    let none = || Lists::default().name("other", Choice, "other.own", OperatorPolicy);
    let listed = || Lists::default().network("net", Choice, "192.0.2.1/32", OperatorPolicy);
    let named = || Lists::default().name("bets", Choice, "many.own", OperatorPolicy);
    for (lists, expected) in [
        (none(), "192.0.2.1"),
        (listed(), "NXDOMAIN (17)"),
        (none(), "192.0.2.1"),
        (named(), "NXDOMAIN (17)"),
        (listed(), "NXDOMAIN (17)"),
        (none(), "192.0.2.1"),
    ] {
        world.relist(lists);
        for _ in 0..2 {
            assert_eq!(world.ask("many.own. A").await, expected);
        }
    }
    assert_eq!(world.resolutions("many.own"), 1);
}

#[tokio::test]
async fn an_allow_covers_many_addresses_but_for_an_order() {
    let lists = || listed_apart(16).network("evil", Security, "192.0.2.17/32", OperatorPolicy);
    let setup = || Setup {
        allowed: &["many.own"],
        ..Setup::default()
    };
    let world = World::with(&addresses(17), lists(), setup());
    assert_eq!(
        over_tcp(&world, "127.0.7.9", "many.own. A")
            .await
            .split(' ')
            .count(),
        17
    );
    let ordered = World::with(
        &addresses(17),
        lists().network("court", Mandatory, "192.0.2.17/32", Nodata),
        setup(),
    );
    assert_eq!(
        over_tcp(&ordered, "127.0.7.9", "many.own. A").await,
        "nothing (16)"
    );
}
