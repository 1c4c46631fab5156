//! Actions of parents: one device, certain hours, a reward. Each is in effect on the next query,
//! only for its target, and ends by the clock without further action.

use std::time::Duration;

use crate::world::{Api, Client, Switch::*, World, eventually};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value, json};

/// The longest wait for a change by the clock.
const TIMEOUT: Duration = Duration::from_secs(60);

const ZONES: [&str; 6] = [
    "fight.example. 60 A 192.0.2.1",
    "chat.example. 60 A 192.0.2.2",
    "play.example. 60 A 192.0.2.3",
    "essays.example. 60 A 192.0.2.4",
    "tube.example. 60 A 192.0.2.5",
    "news.example. 60 A 192.0.2.6",
];

/// A home with a tablet, a computer and a phone in Europe/London, whose preset blocks nothing here
/// except violence.
async fn family(clock: &str) -> World {
    let draft = World::with_zone(ZONES[0]);
    let draft = ZONES[1..]
        .iter()
        .fold(draft, |draft, zone| draft.zone(zone));
    let world = draft
        .listing("violence", "fight.example")
        .listing("social", "chat.example")
        .listing("games", "play.example")
        .listing("cheating", "essays.example")
        .listing("youtube", "tube.example")
        .clock(clock)
        .start()
        .await;
    world
        .api
        .household(
            "home",
            json!({ "time_zone": "Europe/London", "preset": "light", "filtering": "on" }),
        )
        .await
        .ok();
    for (device, address) in [
        ("tablet", "127.0.7.10"),
        ("computer", "127.0.7.11"),
        ("phone", "127.0.7.12"),
    ] {
        world.device("home", device, ("address", address)).await;
    }
    world
}

const TABLET: &str = "127.0.7.10";
const COMPUTER: &str = "127.0.7.11";
const UNKNOWN_DEVICE: &str = "127.0.7.99";

/// The results of a client for some names: `+` an answer, `-` a block.
async fn sees(client: &Client, names: &[&str]) -> String {
    let mut seen = String::new();
    for name in names {
        let answer = client.ask(&format!("{name}.example. A")).await;
        seen.push(if answer.starts_with("blocked") {
            '-'
        } else {
            '+'
        });
    }
    seen
}

async fn effective(api: &Api, device: &str) -> Value {
    api.get(&format!("/v1/households/home/effective/{device}"))
        .await
        .ok()
        .json
}

fn instant(value: &Value) -> Timestamp {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no instant: {value}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_block_of_one_device_applies_to_that_device_only() {
    let world = family("2030-06-03 12:00:00").await;
    let tablet = world.client(TABLET);
    let computer = world.client(COMPUTER);
    world.toggle("home", "violence", Allow).await;
    world
        .toggle_device("home", "computer", "games", Block)
        .await;
    let names = ["fight", "play", "chat"];
    assert_eq!(
        (sees(&tablet, &names).await, sees(&computer, &names).await),
        ("+++".to_owned(), "+-+".to_owned())
    );
    world
        .toggle_device("home", "tablet", "violence", Block)
        .await;
    assert_eq!(
        (sees(&tablet, &names).await, sees(&computer, &names).await),
        ("-++".to_owned(), "+-+".to_owned())
    );
    let shown = effective(&world.api, "tablet").await;
    assert_eq!(
        (
            &shown["categories"]["violence"]["state"],
            &shown["categories"]["violence"]["layer"]
        ),
        (&json!("block"), &json!("device"))
    );
    assert_eq!(
        (
            &shown["categories"]["games"]["state"],
            &shown["categories"]["games"]["layer"]
        ),
        (&json!("allow"), &json!("preset"))
    );
    assert_eq!(shown["categories"]["adult"]["layer"], json!("preset"));
}

#[tokio::test]
async fn a_persons_rules_hold_below_the_devices_own_and_above_the_households() {
    let world = family("2030-06-03 12:00:00").await;
    world
        .api
        .put("/v1/households/home/people/emma", json!({ "name": "Emma" }))
        .await
        .ok();
    for device in ["tablet", "computer"] {
        world
            .api
            .device("home", device, json!({ "person": "emma" }))
            .await
            .ok();
    }
    let person = "/v1/households/home/people/emma";
    world
        .api
        .put(
            &format!("{person}/categories/games"),
            json!({ "state": "block" }),
        )
        .await
        .ok();
    world
        .api
        .put(
            &format!("{person}/names/news.example"),
            json!({ "state": "block" }),
        )
        .await
        .ok();
    world
        .toggle_device("home", "computer", "games", Allow)
        .await;
    let names = ["play", "news", "fight"];
    let [tablet, computer, phone] =
        [TABLET, COMPUTER, "127.0.7.12"].map(|address| world.client(address));
    assert_eq!(sees(&tablet, &names).await, "---");
    assert_eq!(sees(&computer, &names).await, "+--");
    assert_eq!(sees(&phone, &names).await, "++-");
    let explained = world
        .api
        .get("/v1/explain?name=news.example&household=home&device=tablet")
        .await
        .ok()
        .json;
    assert_eq!(
        (&explained["layer"], &explained["setter"]["layer"]),
        (&json!("person-deny"), &json!("person")),
        "{explained}"
    );
    let explained = world
        .api
        .get("/v1/explain?name=play.example&household=home&device=tablet")
        .await
        .ok()
        .json;
    assert_eq!(
        (&explained["layer"], &explained["setter"]["layer"]),
        (&json!("category"), &json!("person")),
        "{explained}"
    );
    assert_eq!(
        world.api.get(person).await.ok().json["devices"],
        json!(["computer", "tablet"])
    );
    world.api.delete(person).await.ok();
    assert_eq!(sees(&tablet, &names).await, "++-");
}

/// Checks some minutes before an instant and at it. The clock jumps there from days before, which
/// the daemon detects, too.
async fn around(
    world: &World,
    client: &Client,
    instant: Timestamp,
    names: &[&str],
    before: &str,
    after: &str,
) {
    for (at, expected) in [
        (instant - SignedDuration::from_mins(5), before),
        (instant, after),
    ] {
        world.clock().set(
            &at.to_zoned(TimeZone::UTC)
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string(),
        );
        eventually(&format!("{expected} at {at}"), TIMEOUT, async || {
            sees(client, names).await == expected
        })
        .await;
    }
}

#[tokio::test]
async fn bedtime_holds_over_midnight_and_when_clocks_change() {
    // A Monday in term.
    let world = family("2026-03-23 12:00:00").await;
    let tablet = world.client(TABLET);
    let computer = world.client(COMPUTER);
    let school_nights = json!(["sun", "mon", "tue", "wed", "thu", "sat"]);
    let bedtime = json!({ "days": school_nights, "from": "21:30", "to": "06:30", "pause": true, "except": ["2026-03-25"] });
    assert_eq!(
        world
            .api
            .put("/v1/households/home/schedules/bedtime", bedtime)
            .await
            .ok()
            .status,
        201
    );
    let homework = json!({ "days": ["mon", "tue", "wed", "thu", "fri"], "from": "16:00", "to": "18:00", "block": ["social", "games", "cheating"] });
    world
        .api
        .put(
            "/v1/households/home/devices/tablet/schedules/homework",
            homework,
        )
        .await
        .ok();
    let names = ["chat", "play", "essays", "news"];
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    // Homework: that tablet, these hours.
    around(
        &world,
        &tablet,
        at("2026-03-23T16:00:00Z"),
        &names,
        "++++",
        "---+",
    )
    .await;
    assert_eq!(sees(&computer, &names).await, "++++");
    let shown = effective(&world.api, "tablet").await;
    assert_eq!(
        shown["categories"]["games"]["schedule"],
        json!("homework"),
        "{}",
        shown["categories"]["games"]
    );
    assert_eq!(
        instant(&shown["categories"]["games"]["next_change"]),
        at("2026-03-23T18:00:00Z")
    );
    assert_eq!(
        instant(&shown["paused"]["next_change"]),
        at("2026-03-23T21:30:00Z")
    );
    around(
        &world,
        &tablet,
        at("2026-03-23T18:00:00Z"),
        &names,
        "---+",
        "++++",
    )
    .await;
    // Bedtime: the whole household, over midnight.
    around(
        &world,
        &computer,
        at("2026-03-23T21:30:00Z"),
        &names,
        "++++",
        "----",
    )
    .await;
    assert_eq!(
        world.client(UNKNOWN_DEVICE).ask("news.example. A").await,
        "blocked: paused"
    );
    around(
        &world,
        &computer,
        at("2026-03-24T00:00:00Z"),
        &names,
        "----",
        "----",
    )
    .await;
    world.daemon.restart().await;
    assert_eq!(
        sees(&computer, &names).await,
        "----",
        "also after a restart in the night"
    );
    around(
        &world,
        &computer,
        at("2026-03-24T06:30:00Z"),
        &names,
        "----",
        "++++",
    )
    .await;
    // A holiday, and a Friday that is no school night.
    around(
        &world,
        &computer,
        at("2026-03-25T21:30:00Z"),
        &names,
        "++++",
        "++++",
    )
    .await;
    around(
        &world,
        &computer,
        at("2026-03-27T21:30:00Z"),
        &names,
        "++++",
        "++++",
    )
    .await;
    // Clocks go forward on 29 March and back on 25 October.
    for (begin, end) in [
        ("2026-03-28T21:30:00Z", "2026-03-29T05:30:00Z"),
        ("2026-10-24T20:30:00Z", "2026-10-25T06:30:00Z"),
    ] {
        around(&world, &computer, at(begin), &names, "++++", "----").await;
        around(&world, &computer, at(end), &names, "----", "++++").await;
    }
    // A write is in effect whatever the clock was set to meanwhile.
    world
        .api
        .delete("/v1/households/home/schedules/bedtime")
        .await
        .ok();
    around(
        &world,
        &computer,
        at("2026-10-26T22:30:00Z"),
        &names,
        "++++",
        "++++",
    )
    .await;
}

#[tokio::test]
async fn a_reward_opens_one_computer_for_its_minutes_is_seen_and_can_be_ended() {
    let world = family("2030-06-03 16:00:00").await;
    let tablet = world.client(TABLET);
    let computer = world.client(COMPUTER);
    world.toggle("home", "youtube", Block).await;
    world
        .api
        .put(
            "/v1/households/home/devices/computer/names/news.example",
            json!({ "state": "block" }),
        )
        .await
        .ok();
    let grants = "/v1/households/home/devices/computer/grants";
    let names = ["tube", "news", "fight"];
    assert_eq!(
        (sees(&tablet, &names).await, sees(&computer, &names).await),
        ("-+-".to_owned(), "---".to_owned())
    );
    let grant = world
        .api
        .post(grants, json!({ "category": "youtube", "minutes": 45 }))
        .await
        .ok();
    assert_eq!(grant.status, 201);
    assert_eq!(
        (sees(&tablet, &names).await, sees(&computer, &names).await),
        ("-+-".to_owned(), "+--".to_owned())
    );
    let shown = effective(&world.api, "computer").await;
    assert_eq!(
        (
            &shown["grants"][0]["category"],
            &shown["grants"][0]["layer"]
        ),
        (&json!("youtube"), &json!("device")),
        "{shown}"
    );
    let explained = world
        .api
        .get("/v1/explain?name=tube.example&household=home&device=computer")
        .await
        .ok()
        .json;
    assert_eq!(
        (&explained["layer"], &explained["setter"]["until"]),
        (&json!("grant"), &grant.json["until"]),
        "{explained}"
    );
    // The grant ends by itself.
    world.clock().advance(Duration::from_secs(40 * 60));
    assert_eq!(sees(&computer, &names).await, "+--");
    world.clock().advance(Duration::from_secs(6 * 60));
    eventually("the grant ends", TIMEOUT, async || {
        sees(&computer, &names).await == "---"
    })
    .await;
    assert_eq!(effective(&world.api, "computer").await["grants"], json!([]));
    // Ended early; a name; everything, also while the Internet is off.
    let grant = world
        .api
        .post(grants, json!({ "domain": "news.example", "minutes": 45 }))
        .await
        .ok();
    assert_eq!(sees(&computer, &names).await, "-+-");
    world
        .api
        .delete(&format!(
            "{grants}/{}",
            grant.json["grant"].as_str().unwrap()
        ))
        .await
        .ok();
    assert_eq!(sees(&computer, &names).await, "---");
    world
        .api
        .put("/v1/households/home/pause", json!({ "minutes": 60 }))
        .await
        .ok();
    assert_eq!(sees(&tablet, &["news"]).await, "-");
    world
        .api
        .post(grants, json!({ "everything": true, "minutes": 10 }))
        .await
        .ok();
    assert_eq!(
        (sees(&computer, &names).await, sees(&tablet, &names).await),
        ("+++".to_owned(), "---".to_owned())
    );
    world.api.delete(grants).await.ok();
    assert_eq!(sees(&computer, &names).await, "---");
    world.api.delete("/v1/households/home/pause").await.ok();
    assert_eq!(sees(&tablet, &names).await, "-+-");
    for (wrong, field) in [
        (json!({ "minutes": 5 }), "category"),
        (
            json!({ "category": "youtube", "everything": true, "minutes": 5 }),
            "category",
        ),
        (json!({ "category": "none-such", "minutes": 5 }), "category"),
        (json!({ "category": "youtube", "minutes": 0 }), "minutes"),
        (
            json!({ "category": "youtube", "minutes": 10_081 }),
            "minutes",
        ),
        (json!({ "domain": ".", "minutes": 5 }), "domain"),
    ] {
        let refused = world.api.post(grants, wrong.clone()).await;
        assert_eq!(
            (refused.status, refused.json["field"].as_str()),
            (422, Some(field)),
            "{wrong}: {}",
            refused.text
        );
    }
}

#[tokio::test]
async fn bypass_names_are_answered_negatively_where_filtering_is_on() {
    let world = World::with_zone("use-application-dns.net. 60 A 192.0.2.9")
        .zone("icloud.com. 60 A 192.0.2.10\nmask 60 A 192.0.2.11\nmask-h2 60 A 192.0.2.12")
        .start()
        .await;
    let home = world.client("127.0.7.9");
    let outsider = world.client("127.0.9.9");
    for name in [
        "use-application-dns.net",
        "mask.icloud.com",
        "mask-h2.icloud.com",
    ] {
        let question = format!("{name}. A");
        assert_eq!(
            home.ask(&question).await,
            "blocked: filtering is on",
            "{name}"
        );
        assert!(
            outsider.ask(&question).await.starts_with("192.0.2."),
            "{name}: the operator filters nothing"
        );
    }
    world
        .api
        .put("/v1/households/home/bypass", json!({ "state": "allow" }))
        .await
        .ok();
    assert_eq!(home.ask("mask.icloud.com. A").await, "192.0.2.11");
    world.api.delete("/v1/households/home/bypass").await.ok();
    world
        .api
        .household("home", json!({ "filtering": "off" }))
        .await
        .ok();
    assert_eq!(home.ask("mask.icloud.com. A").await, "192.0.2.11");
}

#[tokio::test]
async fn bypass_names_are_answered_negatively_even_with_a_landing() {
    let world = World::with_zone("use-application-dns.net. 60 A 192.0.2.9")
        .zone("icloud.com. 60 A 192.0.2.10\nmask 60 A 192.0.2.11")
        .config(
            "[dns]\nblocked_answer = \"landing\"\nlanding = [\"192.0.2.99\", \"2001:db8::99\"]\n",
        )
        .start()
        .await;
    let home = world.client("127.0.7.9");
    for question in [
        "use-application-dns.net. A",
        "use-application-dns.net. AAAA",
        "mask.icloud.com. A",
        "mask.icloud.com. HTTPS",
    ] {
        let reply = home.reply(question).await.unwrap();
        assert_eq!(
            (u16::from(reply.code()), reply.answer_lines().len()),
            (3, 0),
            "{question}: a page would say that no filter is wanted"
        );
    }
}
