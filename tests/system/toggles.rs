//! A toggle is in effect on the next query, for its target only.

use std::time::Instant;

use crate::world::{Switch::*, World, seed};
use rand::{Rng, SeedableRng, rngs::StdRng};

#[tokio::test]
async fn a_toggle_takes_effect_on_the_next_query() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .start()
        .await;
    let home = world.client("127.0.7.9");
    assert_eq!(home.ask("bets.example. A").await, "192.0.2.7");
    world.toggle("home", "gambling", Block).await;
    assert_eq!(home.ask("bets.example. A").await, "blocked: gambling");
}

#[tokio::test]
async fn none_of_1000_toggles_is_followed_by_an_answer_under_the_old_rule() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .start()
        .await;
    world
        .device("home", "phone", ("address", "127.0.7.9"))
        .await;
    let phone = world.client("127.0.7.9");
    let mut took = Vec::new();
    for round in 0..1000 {
        let switch = if round % 2 == 0 { Block } else { Allow };
        let began = Instant::now();
        match round % 4 {
            0 | 1 => {
                world
                    .toggle_device("home", "phone", "gambling", switch)
                    .await
            }
            _ => {
                world.toggle("home", "gambling", switch).await;
                world
                    .toggle_device("home", "phone", "gambling", Inherit)
                    .await;
            }
        }
        let expected = if round % 2 == 0 {
            "blocked: gambling"
        } else {
            "192.0.2.7"
        };
        assert_eq!(
            phone.ask("bets.example. A").await,
            expected,
            "round {round}"
        );
        took.push(began.elapsed());
    }
    took.sort();
    println!(
        "toggle to effect, request and query included: median {:?}, p99 {:?}, worst {:?}",
        took[500], took[990], took[999]
    );
}

#[tokio::test]
async fn a_device_and_its_household_inherit_from_the_top_down() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .zone("fight.example. 60 A 192.0.2.8")
        .listing("gambling", "bets.example")
        .listing("violence", "fight.example")
        .start()
        .await;
    world
        .device("home", "iphone", ("address", "127.0.7.10"))
        .await;
    let iphone = world.client("127.0.7.10");
    let others = world.client("127.0.7.11");
    world
        .toggle_device("home", "iphone", "violence", Block)
        .await;
    assert_eq!(iphone.ask("fight.example. A").await, "blocked: violence");
    assert_eq!(others.ask("fight.example. A").await, "192.0.2.8");
    world.toggle("home", "violence", Block).await;
    world
        .toggle_device("home", "iphone", "violence", Allow)
        .await;
    assert_eq!(iphone.ask("fight.example. A").await, "192.0.2.8");
    assert_eq!(others.ask("fight.example. A").await, "blocked: violence");
    world
        .toggle_device("home", "iphone", "violence", Inherit)
        .await;
    assert_eq!(iphone.ask("fight.example. A").await, "blocked: violence");
    assert_eq!(
        iphone.ask("bets.example. A").await,
        "192.0.2.7",
        "every other setting is kept"
    );
}

#[tokio::test]
async fn an_explanation_says_what_a_query_then_gets() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .zone("fight.example. 60 A 192.0.2.8\nvia 60 CNAME bets.example.")
        .listing("gambling", "bets.example")
        .listing("violence", "fight.example deep.bets.example")
        .start()
        .await;
    world
        .device("home", "phone", ("address", "127.0.7.9"))
        .await;
    let phone = world.client("127.0.7.9");
    let mut chance = StdRng::seed_from_u64(seed());
    let names = [
        "bets.example",
        "deep.bets.example",
        "x.fight.example",
        "via.fight.example",
        "fight.example",
        "absent.example",
    ];
    for round in 0..200 {
        let switch = [Block, Allow, Inherit][chance.random_range(0..3)];
        let slug = ["gambling", "violence"][chance.random_range(0..2)];
        match chance.random_range(0..3) {
            0 => world.toggle("home", slug, switch).await,
            1 => world.toggle_device("home", "phone", slug, switch).await,
            _ if switch == Inherit => {}
            _ => {
                world
                    .own_name("home", names[chance.random_range(0..names.len())], switch)
                    .await
            }
        }
        let name = names[chance.random_range(0..names.len())];
        let explained = world
            .api
            .get(&format!(
                "/v1/explain?name={name}&household=home&device=phone"
            ))
            .await
            .ok()
            .json;
        let reply = phone.reply(&format!("{name}. A")).await.unwrap();
        let is_blocked = reply.to_string().starts_with("blocked: ");
        assert_eq!(
            explained["verdict"],
            if is_blocked { "block" } else { "allow" },
            "round {round} {name}: {explained}"
        );
        let ede = reply.extended_errors().first().map(|error| error.code);
        assert_eq!(
            explained["answer"]["ede"]["code"].as_u64(),
            ede.map(u64::from),
            "round {round} {name}"
        );
        let records = explained["answer"]["records"].as_array().unwrap().len();
        assert_eq!(records, reply.answer_lines().len(), "round {round} {name}");
        if is_blocked {
            assert!(
                explained["setter"].is_object() && explained["entry"].is_string(),
                "round {round}: {explained}"
            );
        }
    }
}
