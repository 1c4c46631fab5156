//! Hits of feeds, and the sample of queried names.

use policy::lists::entry::{EntryAction::*, Tier::*};

use crate::world::{INTERNET, Lists, Setup, World};

#[tokio::test]
async fn hits_are_counted_for_their_feed_after_its_index_changes() {
    let world = World::new(
        INTERNET,
        Lists::default()
            .name("a", Security, "bets.example", OperatorPolicy)
            .name("b", Choice, "news.example", OperatorPolicy),
    );
    world.ask("bets.example. A").await;
    world.ask("news.example. A").await;
    // The rings still hold these hits when the lists are swapped.
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
async fn queried_names_are_sampled_blocked_or_not() {
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
    // A hit and a finished miss are recorded by different threads, in no order.
    names.sort();
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
        .drain_sample(|name| panic!("{name} is sampled twice"));
}
