//! Identification of clients: households by network, devices by address or by the MAC that their
//! router adds.

use serde_json::{Value, json};

use crate::world::{Client, Switch::*, World};

const PHONE: &str = "02:00:5e:00:53:01";

async fn world(trusted_peers: &str) -> World {
    World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .household("street", "127.0.0.0/16")
        .household("house", "127.0.7.0/24")
        .household("flat", "127.0.7.64/32")
        .config(&format!("[dns]\ntrusted_peers = [{trusted_peers}]\n"))
        .start()
        .await
}

#[tokio::test]
async fn the_most_specific_network_wins() {
    let world = world("").await;
    world.toggle("house", "gambling", Block).await;
    let ask = |from: &'static str| {
        let client = world.client(from);
        async move { client.ask("bets.example. A").await }
    };
    assert_eq!(ask("127.0.8.1").await, "192.0.2.7");
    assert_eq!(ask("127.0.7.1").await, "blocked: gambling");
    assert_eq!(ask("127.0.7.64").await, "192.0.2.7");
    world
        .api
        .delete("/v1/households/flat/networks/127.0.7.64%2F32")
        .await
        .ok();
    assert_eq!(ask("127.0.7.64").await, "blocked: gambling");
    world.api.delete("/v1/households/house").await.ok();
    assert_eq!(
        ask("127.0.7.64").await,
        "192.0.2.7",
        "the street's rules from now on"
    );
}

#[tokio::test]
async fn inside_a_household_a_mac_address_in_octets_or_text_picks_the_device() {
    let world = world("").await;
    world.device("house", "phone", ("mac", PHONE)).await;
    world
        .toggle_device("house", "phone", "gambling", Block)
        .await;
    let router = world.client("127.0.7.1");
    assert_eq!(router.ask("bets.example. A").await, "192.0.2.7");
    assert_eq!(
        router.with_mac(PHONE).ask("bets.example. A").await,
        "blocked: gambling"
    );
    assert_eq!(
        router.with_mac_as_text(PHONE).ask("bets.example. A").await,
        "blocked: gambling"
    );
    assert_eq!(
        router
            .with_mac("02:00:5e:00:53:99")
            .ask("bets.example. A")
            .await,
        "192.0.2.7",
        "an undefined device has its household's rules"
    );
    assert_eq!(
        world
            .client("127.0.8.1")
            .with_mac(PHONE)
            .ask("bets.example. A")
            .await,
        "192.0.2.7",
        "another household's device is unknown here"
    );
}

#[tokio::test]
async fn outside_all_households_only_a_trusted_peer_may_identify_a_client() {
    let world = world("\"127.1.0.5/32\"").await;
    world.device("house", "phone", ("mac", PHONE)).await;
    world
        .toggle_device("house", "phone", "gambling", Block)
        .await;
    let proxy = world.client("127.1.0.5");
    let stranger = world.client("127.1.0.6");
    assert_eq!(
        proxy.with_mac(PHONE).ask("bets.example. A").await,
        "blocked: gambling"
    );
    assert_eq!(proxy.ask("bets.example. A").await, "192.0.2.7");
    let dropped = || world.api.metric("ox_protect_identities_dropped_total");
    let before = dropped().await;
    assert_eq!(
        stranger.with_mac(PHONE).ask("bets.example. A").await,
        "192.0.2.7"
    );
    assert!(dropped().await > before, "what is dropped is counted");
    // A second household has the same MAC and blocks nothing: the block holds.
    world.device("flat", "clone", ("mac", PHONE)).await;
    assert_eq!(
        proxy.with_mac(PHONE).ask("bets.example. A").await,
        "blocked: gambling"
    );
}

#[tokio::test]
async fn ids_of_devices_never_leave_the_house() {
    let world = world("").await;
    world
        .client("127.0.7.1")
        .with_mac(PHONE)
        .ask("bets.example. A")
        .await;
    assert!(world.internet.counts().queries() > 0);
    assert!(
        !world.internet.counts().edns_options().contains(&65001),
        "an authority saw a MAC address"
    );
}

#[tokio::test]
async fn a_device_known_by_its_address_stays_blocked_whatever_mac_it_asserts() {
    let world = world("\"127.0.0.0/8\"").await;
    world.toggle("house", "gambling", Block).await;
    world
        .device("house", "tablet", ("address", "127.0.7.10"))
        .await;
    world.device("house", "laptop", ("mac", PHONE)).await;
    world
        .toggle_device("house", "laptop", "gambling", Allow)
        .await;
    let tablet = world.client("127.0.7.10");
    for client in [
        tablet.clone(),
        tablet.with_mac(PHONE),
        tablet.with_mac("02:00:5e:00:53:99"),
        tablet.with_mac_as_text(PHONE),
    ] {
        assert_eq!(client.ask("bets.example. A").await, "blocked: gambling");
        assert_eq!(
            client.over_tcp().ask("bets.example. A").await,
            "blocked: gambling"
        );
    }
    let router = world.client("127.0.7.1");
    assert_eq!(
        router.with_mac(PHONE).ask("bets.example. A").await,
        "192.0.2.7",
        "the router's word picks the laptop"
    );
    world.toggle("house", "gambling", Allow).await;
    world.own_name("house", "www.example", Block).await;
    world
        .toggle_device("house", "laptop", "gambling", Block)
        .await;
    assert_eq!(tablet.ask("bets.example. A").await, "192.0.2.7");
    assert_eq!(
        tablet.with_mac(PHONE).ask("bets.example. A").await,
        "blocked: gambling",
        "what it asserts adds its own"
    );
}

#[tokio::test]
async fn unknown_devices_are_a_person_with_rules_of_their_own() {
    let world = world("").await;
    world.device("house", "phone", ("mac", PHONE)).await;
    let router = world.client("127.0.7.1");
    let phone = router.with_mac(PHONE);
    let guest = router.with_mac("02:00:5e:00:53:99");
    let person = "/v1/households/house/people/unknown-devices";
    let shown = world.api.get(person).await.ok().json;
    assert_eq!(
        shown["name"], "Unknown devices",
        "it is there from the start"
    );
    let api = &world.api;
    let block = json!({ "state": "block" });
    let set = |rest: &str, body: Value| {
        let path = format!("{person}/{rest}");
        async move { api.put(&path, body).await.ok() }
    };
    set("categories/gambling", block.clone()).await;
    let ask = async |client: &Client| client.ask("bets.example. A").await;
    for unknown in [&router, &guest] {
        assert_eq!(ask(unknown).await, "blocked: gambling");
    }
    assert_eq!(ask(&phone).await, "192.0.2.7");
    // Its own list, its pause, and what explains both.
    set("names/bets.example", json!({ "state": "allow" })).await;
    assert_eq!(ask(&guest).await, "192.0.2.7");
    set("pause", json!({ "minutes": 30 })).await;
    set("names/bets.example", block).await;
    assert!(ask(&guest).await.starts_with("blocked"));
    let told = api.explain("bets.example", "house").await.ok().json;
    assert_eq!(
        [&told["layer"], &told["setter"]["layer"]],
        [&json!("person-deny"), &json!("person")]
    );
    let effective = "/v1/households/house/effective";
    let paused = api.get(effective).await.ok().json["paused"].clone();
    assert_eq!(paused["layer"], "person", "{paused}");
    // It stays, it owns no named device, and a device that is named leaves it.
    let gone = api.delete(person).await;
    assert_eq!((gone.status, gone.problem()), (409, "unknown_devices"));
    let body = json!({ "person": "unknown-devices" });
    let refused = api.device("house", "phone", body).await;
    assert_eq!(
        (refused.status, refused.problem()),
        (422, "unknown_devices")
    );
    world
        .device("house", "guest", ("mac", "02:00:5e:00:53:99"))
        .await;
    assert_eq!(ask(&guest).await, "192.0.2.7");
    assert!(ask(&router).await.starts_with("blocked"));
}

#[tokio::test]
async fn of_two_macs_in_one_query_the_first_one_holds() {
    let world = world("").await;
    world.device("house", "phone", ("mac", PHONE)).await;
    world
        .toggle_device("house", "phone", "gambling", Block)
        .await;
    let router = world.client("127.0.7.1");
    assert_eq!(
        router
            .with_mac(PHONE)
            .with_mac("02:00:5e:00:53:99")
            .ask("bets.example. A")
            .await,
        "blocked: gambling"
    );
    assert_eq!(
        router
            .with_mac("02:00:5e:00:53:99")
            .with_mac(PHONE)
            .ask("bets.example. A")
            .await,
        "192.0.2.7"
    );
}
