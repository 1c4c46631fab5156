//! The mandatory choice of a preset, and the figures that an operator must report about it.

use std::time::Instant;

use crate::world::World;
use policy::rules::household::Household;
use policy_store::Store;
use serde_json::json;
use tokio::task::JoinSet;

const ACCOUNTS: usize = 10_000;
const CHOOSE: usize = 6_000;
/// Concurrent households.
const AT_ONCE: usize = 32;

#[tokio::test]
async fn of_ten_thousand_accounts_six_thousand_choose_and_the_figures_are_right() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("adult", "bets.example")
        .without_households()
        .config("[policy]\ndefault_preset = \"light\"\n")
        .start()
        .await;
    let store = Store::open(&format!(
        "sqlite:{}",
        world.folder().join("ox-protect.db").display()
    ))
    .await
    .unwrap();
    let household = |number: usize| {
        let mut household = Household::new(format!("h{number}").parse().unwrap());
        household.networks.insert(
            format!("127.{}.{}.0/24", number >> 8, number & 255)
                .parse()
                .unwrap(),
        );
        household
    };
    store.add_all((0..ACCOUNTS).map(household)).await.unwrap();
    store.close().await;
    world.daemon.restart().await;
    let report = async || world.api.get("/v1/reports/choice").await.ok().json;
    let begin = report().await;
    assert_eq!(
        (&begin["asked"], &begin["undecided"]),
        (&json!(0), &json!(ACCOUNTS))
    );

    let began = Instant::now();
    let mut under_way = JoinSet::new();
    for number in 0..CHOOSE {
        let api = world.api.clone();
        let choice = if number % 3 == 0 { "off" } else { "on" };
        let channel = ["portal", "app", "call-centre", "shop"][number % 4];
        under_way.spawn(async move {
            api.household(
                &format!("h{number}"),
                json!({ "filtering": choice, "channel": channel }),
            )
            .await
            .ok()
        });
        if under_way.len() == AT_ONCE {
            under_way.join_next().await.unwrap().unwrap();
        }
    }
    under_way.join_all().await;
    println!("{CHOOSE} choices took {:?}", began.elapsed());
    // One of the undecided households has a preset of its own.
    world
        .api
        .household("h9999", json!({ "preset": "strict" }))
        .await
        .ok();

    let began = Instant::now();
    let report = world.api.get("/v1/reports/choice?by=day").await.ok().json;
    println!("the report took {:?}", began.elapsed());
    assert_eq!(
        (
            &report["households"],
            &report["asked"],
            &report["undecided"]
        ),
        (&json!(ACCOUNTS), &json!(CHOOSE), &json!(ACCOUNTS - CHOOSE))
    );
    assert_eq!(report["chosen"], json!({ "on": 4_000, "off": 2_000 }));
    assert_eq!(report["default"]["preset"], "light");
    let received = report["undecided_receive"].as_array().unwrap();
    assert_eq!(received.len(), 2, "{received:?}");
    assert_eq!(
        (
            &received[0]["preset"],
            &received[0]["set_by"],
            &received[0]["households"]
        ),
        (&json!("light"), &json!("operator"), &json!(3_999))
    );
    assert_eq!(
        (
            &received[1]["preset"],
            &received[1]["set_by"],
            &received[1]["households"]
        ),
        (&json!("strict"), &json!("household"), &json!(1))
    );
    let channel = |name: &str| {
        report["by_channel"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["channel"] == name)
            .cloned()
            .unwrap()
    };
    assert_eq!(
        channel("shop"),
        json!({ "channel": "shop", "on": 1_000, "off": 500 })
    );
    assert_eq!(
        report["by_day"]
            .as_array()
            .unwrap()
            .iter()
            .map(|day| day["off"].as_i64().unwrap())
            .sum::<i64>(),
        2_000
    );

    // The undecided get the reported default, and an explanation names who decided.
    let undecided = world.client("127.39.14.1");
    let off = world.client("127.0.0.9");
    assert_eq!(
        (
            undecided.ask("bets.example. A").await,
            off.ask("bets.example. A").await
        ),
        ("blocked: adult".into(), "192.0.2.7".into())
    );
    let explained = world.api.explain("bets.example", "h9998").await.ok().json;
    assert_eq!(
        (&explained["setter"]["layer"], &explained["setter"]["by"]),
        (&json!("operator"), &json!("default preset"))
    );
    let chosen = world.api.get("/v1/households/h1").await.ok().json;
    assert!(
        chosen["choice"]["channel"] == "app" && chosen["choice"]["set_by"].is_string(),
        "{chosen}"
    );
    let refused = world
        .api
        .household("h1", json!({ "filtering": "on", "channel": "pigeon" }))
        .await;
    assert_eq!((refused.status, refused.problem()), (422, "channel"));
}
