//! Listed addresses in answers.

use policy::lists::{
    entry::{EntryAction::*, Tier::*},
    index_key::prefix_of_name,
};

use crate::world::{INTERNET, Lists, Setup, World};

#[tokio::test]
async fn a_listed_address_blocks_an_answer_unless_its_name_is_allowed() {
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
async fn an_ordered_block_of_an_address_holds_for_allowed_names() {
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
async fn addresses_are_classified_anew_after_a_list_swap() {
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
