//! Safe search: a search engine's names lead to its family address, where it is set, whatever
//! allows the names.

use crate::world::{Client, Feed, Switch::*, World};
use serde_json::{Value, json};

const TABLET: &str = "127.0.7.10";
const COMPUTER: &str = "127.0.7.11";

/// The engines' own addresses are 198.51.100.x, the family addresses 203.0.113.x.
const ENGINES: [&str; 5] = [
    "google.com. 60 A 198.51.100.1\nwww 60 A 198.51.100.2\nwww 60 AAAA 2001:db8::2\nwww 60 HTTPS 1 . alpn=h2\nforcesafesearch 60 A 203.0.113.1\nforcesafesearch 60 AAAA 2001:db8::b1",
    "bing.com. 60 A 198.51.100.3\nwww 60 A 198.51.100.4\nstrict 60 A 203.0.113.2",
    "youtube.com. 60 A 198.51.100.5\nwww 60 A 198.51.100.6\nrestrict 60 A 203.0.113.3\nrestrictmoderate 60 A 203.0.113.4",
    "duckduckgo.com. 60 A 198.51.100.7\nsafe 60 A 203.0.113.5\nhtml 60 A 198.51.100.8\nhtml 60 HTTPS 1 . alpn=h2\nlite 60 A 198.51.100.9",
    "yandex.tm. 60 A 198.51.100.10\nwww 60 A 198.51.100.11",
];

/// A home with a tablet and a computer, in an Internet with the engines and an alias of each.
async fn home() -> World {
    let draft = World::with_zone(ENGINES[0]);
    let draft = ENGINES[1..]
        .iter()
        .fold(draft, |draft, zone| draft.zone(zone));
    let world = draft
        .zone("yandex.ru. 60 A 198.51.100.12\nfamilysearch 60 A 203.0.113.6")
        .zone("mirror.example. 60 A 192.0.2.1\ng 60 CNAME www.google.com.\nd 60 CNAME html.duckduckgo.com.")
        .feed(Feed::new("open").tier("never-block").without_category().names("www.bing.com"))
        .clock("2030-06-03 12:00:00")
        .start()
        .await;
    for (device, address) in [("tablet", TABLET), ("computer", COMPUTER)] {
        world.device("home", device, ("address", address)).await;
    }
    world
}

async fn lines(client: &Client, question: &str) -> String {
    client
        .reply(question)
        .await
        .unwrap()
        .answer_lines()
        .join(" | ")
}

/// Whether a name leads to the engine's family address, judged by its A record, which follows the
/// alias.
async fn is_led(client: &Client, name: &str) -> bool {
    let answer = lines(client, &format!("{name}. A")).await;
    assert!(
        answer.contains("203.0.113.") != answer.contains("198.51.100."),
        "{name}: {answer}"
    );
    answer.contains("203.0.113.")
}

async fn explained(world: &World, name: &str) -> Value {
    world
        .api
        .get(&format!(
            "/v1/explain?name={name}&household=home&device=tablet"
        ))
        .await
        .ok()
        .json
}

#[tokio::test]
async fn safe_search_leads_only_its_device_to_the_engines_family_addresses() {
    let world = home().await;
    let tablet = world.client(TABLET);
    let computer = world.client(COMPUTER);
    let levels = json!({ "google": "strict", "bing": "strict", "youtube": "moderate", "duckduckgo": "strict" });
    // The previous content of the cache must not matter.
    assert_eq!(tablet.ask("www.google.com. A").await, "198.51.100.2");
    world
        .api
        .put("/v1/households/home/devices/tablet/safe-search", levels)
        .await
        .ok();
    for round in ["first", "from the cache"] {
        for (question, target, address) in [
            (
                "www.google.com. A",
                "forcesafesearch.google.com.",
                "203.0.113.1",
            ),
            (
                "www.google.com. AAAA",
                "forcesafesearch.google.com.",
                "2001:db8::b1",
            ),
            ("www.bing.com. A", "strict.bing.com.", "203.0.113.2"),
            (
                "www.youtube.com. A",
                "restrictmoderate.youtube.com.",
                "203.0.113.4",
            ),
            ("duckduckgo.com. A", "safe.duckduckgo.com.", "203.0.113.5"),
        ] {
            let answer = lines(&tablet, question).await;
            assert!(
                answer.contains(target) && answer.ends_with(address),
                "{round}: {question}: {answer}"
            );
        }
        assert_eq!(
            lines(&tablet, "www.google.com. HTTPS").await,
            "",
            "{round}: by its own service record a browser would go around"
        );
        assert!(
            lines(&computer, "www.google.com. HTTPS")
                .await
                .contains("h2"),
            "{round}"
        );
        for (question, address) in [
            ("www.google.com. A", "198.51.100.2"),
            ("www.youtube.com. A", "198.51.100.6"),
            ("google.com. MX", ""),
        ] {
            assert!(
                lines(&computer, question).await.ends_with(address),
                "{round}: {question}"
            );
        }
    }
    let why = explained(&world, "www.google.com").await;
    assert_eq!(
        (&why["layer"], &why["verdict"]),
        (&json!("safe-search"), &json!("allow")),
        "{why}"
    );
    world
        .api
        .put(
            "/v1/households/home/devices/tablet/safe-search",
            json!({ "google": "off", "youtube": "strict", "bing": null }),
        )
        .await
        .ok();
    assert!(
        lines(&tablet, "www.google.com. A")
            .await
            .ends_with("198.51.100.2")
    );
    assert!(
        lines(&tablet, "www.youtube.com. A")
            .await
            .ends_with("203.0.113.3")
    );
    assert!(
        lines(&tablet, "www.bing.com. A")
            .await
            .ends_with("198.51.100.4")
    );
    let refused = world
        .api
        .put(
            "/v1/households/home/safe-search",
            json!({ "altavista": "strict" }),
        )
        .await;
    assert_eq!((refused.status, refused.problem()), (422, "unknown_engine"));
}

#[tokio::test]
async fn a_reward_and_an_allow_open_youtube_and_leave_it_restricted() {
    let world = home().await;
    let tablet = world.client(TABLET);
    let computer = world.client(COMPUTER);
    world
        .api
        .put(
            "/v1/households/home/safe-search",
            json!({ "youtube": "strict", "google": "strict" }),
        )
        .await
        .ok();
    world.toggle("home", "youtube", Block).await;
    assert_eq!(tablet.ask("www.youtube.com. A").await, "blocked: youtube");
    let tablets = "/v1/households/home/devices/tablet";
    // A category, a name, everything, by grant; a name by the own list of device and household; a
    // category by a switch and by a schedule.
    for grant in [
        json!({ "category": "youtube", "minutes": 5 }),
        json!({ "domain": "youtube.com", "minutes": 5 }),
        json!({ "everything": true, "minutes": 5 }),
    ] {
        world
            .api
            .post(&format!("{tablets}/grants"), grant.clone())
            .await
            .ok();
        assert!(
            is_led(&tablet, "www.youtube.com").await && is_led(&tablet, "www.google.com").await,
            "{grant}"
        );
        let why = explained(&world, "www.youtube.com").await;
        assert_eq!(
            (&why["layer"], &why["verdict"], &why["setter"]["layer"]),
            (&json!("safe-search"), &json!("allow"), &json!("household"))
        );
        assert!(
            why["reason"]
                .as_str()
                .unwrap()
                .contains("open for a while does not lift this"),
            "{}",
            why["reason"]
        );
        world.api.delete(&format!("{tablets}/grants")).await.ok();
        assert_eq!(tablet.ask("www.youtube.com. A").await, "blocked: youtube");
    }
    for place in [tablets, "/v1/households/home"] {
        let path = format!("{place}/names/youtube.com");
        world.api.put(&path, json!({ "state": "allow" })).await.ok();
        assert!(is_led(&tablet, "www.youtube.com").await, "{place}");
        assert!(
            explained(&world, "www.youtube.com").await["reason"]
                .as_str()
                .unwrap()
                .contains("allowed does not lift this")
        );
        world.api.delete(&path).await.ok();
    }
    world
        .toggle_device("home", "tablet", "youtube", Allow)
        .await;
    assert!(is_led(&tablet, "www.youtube.com").await);
    world
        .toggle_device("home", "tablet", "youtube", Inherit)
        .await;
    let noon = json!({ "from": "12:00", "to": "14:00", "allow": ["youtube"] });
    world
        .api
        .put(&format!("{tablets}/schedules/noon"), noon)
        .await
        .ok();
    assert!(is_led(&tablet, "www.youtube.com").await);
    assert_eq!(
        computer.ask("www.youtube.com. A").await,
        "blocked: youtube",
        "and a block is a block"
    );
}

#[tokio::test]
async fn a_request_that_is_allowed_opens_youtube_and_leaves_it_restricted() {
    let world = home().await;
    let tablet = world.client(TABLET);
    world
        .api
        .put(
            "/v1/households/home/safe-search",
            json!({ "youtube": "moderate" }),
        )
        .await
        .ok();
    world.toggle("home", "youtube", Block).await;
    let requests = "/v1/households/home/requests";
    for answer in [
        json!({ "answer": "allow", "minutes": 5 }),
        json!({ "answer": "allow", "whose": "household" }),
    ] {
        let asked = world
            .api
            .post(
                requests,
                json!({ "name": "www.youtube.com", "device": "tablet" }),
            )
            .await
            .ok();
        world
            .api
            .put(
                &format!("{requests}/{}", asked.json["id"].as_str().unwrap()),
                answer.clone(),
            )
            .await
            .ok();
        assert!(
            lines(&tablet, "www.youtube.com. A")
                .await
                .contains("restrictmoderate.youtube.com."),
            "{answer}"
        );
        world
            .api
            .delete("/v1/households/home/devices/tablet/grants")
            .await
            .ok();
    }
}

#[tokio::test]
async fn never_block_names_keep_their_safe_search() {
    let world = home().await;
    let tablet = world.client(TABLET);
    let computer = world.client(COMPUTER);
    world
        .api
        .put(
            "/v1/households/home/devices/tablet/safe-search",
            json!({ "bing": "strict", "google": "moderate" }),
        )
        .await
        .ok();
    // By a feed, and by an answer to a report.
    let report = world
        .api
        .post("/v1/reports", json!({ "name": "google.com" }))
        .await
        .ok();
    let lift = json!({ "outcome": "unblocked", "override": { "days": 1 } });
    world
        .api
        .put(
            &format!("/v1/reports/{}", report.json["id"].as_str().unwrap()),
            lift,
        )
        .await
        .ok();
    for name in ["www.bing.com", "google.com", "www.google.com"] {
        assert!(
            is_led(&tablet, name).await && !is_led(&computer, name).await,
            "{name}"
        );
    }
    assert_eq!(
        explained(&world, "www.bing.com").await["layer"],
        "safe-search"
    );
}

#[tokio::test]
async fn a_household_may_have_an_allow_unlock_search_and_sees_that_it_does() {
    let world = home().await;
    let tablet = world.client(TABLET);
    let computer = world.client(COMPUTER);
    world
        .api
        .put(
            "/v1/households/home/safe-search",
            json!({ "google": "strict" }),
        )
        .await
        .ok();
    world.own_name("home", "google.com", Allow).await;
    let effective = async || {
        world
            .api
            .get("/v1/households/home/effective/tablet")
            .await
            .ok()
            .json["search_unlock"]
            .clone()
    };
    assert_eq!(effective().await, json!({ "unlocked": false }));
    let unlock = "/v1/households/home/devices/tablet/search-unlock";
    world
        .api
        .put(unlock, json!({ "state": "allow" }))
        .await
        .ok();
    assert!(!is_led(&tablet, "www.google.com").await && is_led(&computer, "www.google.com").await);
    let shown = effective().await;
    assert_eq!(
        (
            &shown["unlocked"],
            &shown["layer"],
            shown["set_by"].is_string()
        ),
        (&json!(true), &json!("device"), true),
        "{shown}"
    );
    assert_eq!(
        explained(&world, "www.google.com").await["layer"],
        "household-allow"
    );
    // It unlocks what is allowed, and nothing else.
    world
        .api
        .delete("/v1/households/home/names/google.com")
        .await
        .ok();
    assert!(is_led(&tablet, "www.google.com").await);
    // The most specific setting decides; without one it is locked.
    world.own_name("home", "google.com", Allow).await;
    world
        .api
        .put(
            "/v1/households/home/search-unlock",
            json!({ "state": "allow" }),
        )
        .await
        .ok();
    world
        .api
        .put(unlock, json!({ "state": "block" }))
        .await
        .ok();
    assert!(is_led(&tablet, "www.google.com").await && !is_led(&computer, "www.google.com").await);
    world
        .api
        .delete("/v1/households/home/search-unlock")
        .await
        .ok();
    world.api.delete(unlock).await.ok();
    assert!(is_led(&tablet, "www.google.com").await && is_led(&computer, "www.google.com").await);
}

#[tokio::test]
async fn each_host_of_an_engine_is_led_or_where_it_has_none_blocked() {
    let world = home().await;
    let tablet = world.client(TABLET);
    let computer = world.client(COMPUTER);
    world
        .api
        .put(
            "/v1/households/home/devices/tablet/safe-search",
            json!({ "yandex": "strict", "duckduckgo": "strict" }),
        )
        .await
        .ok();
    for name in ["yandex.tm", "www.yandex.tm", "duckduckgo.com"] {
        assert!(
            is_led(&tablet, name).await && !is_led(&computer, name).await,
            "{name}"
        );
    }
    for question in [
        "html.duckduckgo.com. A",
        "html.duckduckgo.com. AAAA",
        "html.duckduckgo.com. HTTPS",
        "lite.duckduckgo.com. A",
    ] {
        assert_eq!(
            tablet.ask(question).await,
            "blocked: safe search",
            "{question}"
        );
    }
    assert!(!is_led(&computer, "html.duckduckgo.com").await);
    // No allow lifts it; the engine's level does.
    world.own_name("home", "duckduckgo.com", Allow).await;
    assert_eq!(
        tablet.ask("html.duckduckgo.com. A").await,
        "blocked: safe search"
    );
    let why = explained(&world, "html.duckduckgo.com").await;
    assert_eq!(
        (&why["layer"], &why["setter"]["layer"]),
        (&json!("safe-search-deny"), &json!("device")),
        "{why}"
    );
    assert!(
        why["reason"]
            .as_str()
            .unwrap()
            .contains("DuckDuckGo has no safe search there"),
        "{}",
        why["reason"]
    );
    world
        .api
        .put(
            "/v1/households/home/devices/tablet/safe-search",
            json!({ "duckduckgo": "off" }),
        )
        .await
        .ok();
    assert_eq!(tablet.ask("html.duckduckgo.com. A").await, "198.51.100.8");
}

#[tokio::test]
async fn an_alias_of_a_search_engine_is_led_to_its_safe_search() {
    let world = home().await;
    let tablet = world.client(TABLET);
    let computer = world.client(COMPUTER);
    world
        .api
        .put(
            "/v1/households/home/devices/tablet/safe-search",
            json!({ "google": "strict", "duckduckgo": "strict" }),
        )
        .await
        .ok();
    for round in ["first", "from the cache", "with an allow"] {
        assert!(
            is_led(&tablet, "g.mirror.example").await
                && !is_led(&computer, "g.mirror.example").await,
            "{round}"
        );
        assert!(
            lines(&tablet, "g.mirror.example. AAAA")
                .await
                .contains("2001:db8::b1"),
            "{round}"
        );
        assert_eq!(
            lines(&tablet, "g.mirror.example. HTTPS").await,
            "",
            "{round}"
        );
        assert!(
            lines(&computer, "g.mirror.example. HTTPS")
                .await
                .contains("h2"),
            "{round}"
        );
        assert_eq!(
            tablet.ask("d.mirror.example. A").await,
            "blocked: safe search",
            "{round}"
        );
        assert_eq!(
            tablet.ask("mirror.example. A").await,
            "192.0.2.1",
            "{round}"
        );
        world.own_name("home", "mirror.example", Allow).await;
    }
    assert_eq!(
        explained(&world, "g.mirror.example").await["hop"]["name"],
        "www.google.com"
    );
}
