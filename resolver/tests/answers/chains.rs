//! Chains of aliases: each name is judged, in chains of any length.

use policy::lists::entry::{EntryAction::*, Tier::*};

use crate::world::{Lists, World};

/// A chain of `count` aliases with an address at the end.
fn chain(count: usize) -> String {
    let aliases = (0..count)
        .map(|number| format!("c{number}.example. 300 IN CNAME c{}.example.\n", number + 1));
    aliases
        .chain([format!("c{count}.example. 300 IN A 192.0.2.7\n")])
        .collect()
}

#[tokio::test]
async fn the_last_of_sixteen_aliases_is_judged_like_the_first() {
    for listed in [1, 12, 15, 16] {
        for tier in [Choice, Security, Mandatory] {
            let name = format!("c{listed}.example");
            let world = World::new(
                &chain(16),
                Lists::default().name("feed", tier, &name, Nxdomain),
            );
            for round in 0..2 {
                let said = world.ask("c0.example. A").await;
                assert!(
                    said.starts_with("NXDOMAIN ("),
                    "{name}, {tier:?}, round {round}: {said}"
                );
            }
        }
    }
    let open = World::new(
        &chain(16),
        Lists::default().name("feed", Choice, "c17.example", Nxdomain),
    );
    let said = open.ask("c0.example. A").await;
    assert_eq!(
        (said.matches("-> ").count(), said.ends_with(" 192.0.2.7")),
        (16, true),
        "{said}"
    );
}
