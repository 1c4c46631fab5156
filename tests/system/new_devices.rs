//! New devices: the first query of a device that the household has not named is one notice, with a
//! guess and what tells it; until the device is named, the rules of unknown devices hold.

use std::{collections::BTreeSet, time::Duration};

use crate::world::{Events, Switch::*, World, eventually};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(60);
const NEW_DEVICES: &str = "/v1/households/house/new-devices";
/// In a block of the register, and made up by the device.
const CAMERA: &str = "00:00:5e:00:53:01";
const RANDOM: &str = "02:00:5e:00:53:02";
/// The maker of the block, in the words of the IEEE.
const REGISTER: &str = "Registry,Assignment,Organization Name,Organization Address\n\
    MA-L,00005E,\"Unheard Of, Ltd\",Leeds\n";

/// The world, and the folder of the register's file.
async fn world() -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("oui.csv");
    std::fs::write(&file, REGISTER).unwrap();
    let config = format!(
        "[new_devices]\nmac_register = [{:?}]\n",
        file.display().to_string()
    );
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .zone("ring.com. 60 A 192.0.2.8\n*.ring.com. 60 A 192.0.2.8")
        .listing("gambling", "bets.example")
        .household("house", "127.0.7.0/24")
        .household("line", "127.0.8.1/32")
        .config(&config)
        .start()
        .await;
    (world, folder)
}

/// The events that a parent receives: operators receive none of what devices ask for.
async fn parents_events(world: &World, household: &str) -> Events {
    let keys = format!("/v1/households/{household}/keys");
    let made = world
        .api
        .post(&keys, json!({ "role": "parent" }))
        .await
        .ok()
        .json;
    let parent = world.api.with_key(made["secret"].as_str().unwrap());
    Events::of_household(&parent, household).await
}

async fn seen(world: &World) -> Vec<Value> {
    let listed = world.api.get(NEW_DEVICES).await.ok().json;
    listed["devices"].as_array().unwrap().clone()
}

/// The new devices that a stream told of, by what tells each from the others.
fn told(events: &Events) -> Vec<Value> {
    let events = events.received().into_iter();
    let told = events.filter(|event| event["kind"] == "new_device");
    told.map(|event| event["new_device"]["identifiers"][0].clone())
        .collect()
}

#[tokio::test]
async fn an_unknown_device_is_one_notice_with_a_guess_and_its_evidence() {
    let (world, _folder) = world().await;
    let phone = parents_events(&world, "house").await;
    world
        .device("house", "tablet", ("mac", "02:00:5e:00:53:77"))
        .await;
    let person = "/v1/households/house/people/unknown-devices/categories/gambling";
    let block = json!({ "state": "block" });
    world.api.put(person, block).await.ok();
    let router = world.client("127.0.7.1");
    let camera = router.with_mac(CAMERA);
    let random = router.with_mac(RANDOM);
    assert_eq!(camera.ask("bets.example. A").await, "blocked: gambling");
    for name in ["fw.ring.com. A", "es.ring.com. A"] {
        random.ask(name).await;
    }
    router
        .with_mac("02:00:5e:00:53:77")
        .ask("bets.example. A")
        .await;
    eventually("both are told", TIMEOUT, async || told(&phone).len() == 2).await;
    let list = seen(&world).await;
    assert_eq!(list.len(), 2, "{list:?}");
    let of = |mac: &str| {
        let is_it = |device: &&Value| device["identifiers"] == json!([{ "mac": mac }]);
        list.iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{mac} in {list:?}"))
    };
    let (named, made_up) = (of(CAMERA), of(RANDOM));
    assert_eq!(named["is_random_mac"], false);
    assert_eq!(named["guess"]["maker"], "Unheard Of, Ltd");
    assert_eq!(made_up["is_random_mac"], true);
    assert_eq!(made_up["guess"]["maker"], "Ring");
    assert_eq!(made_up["guess"]["kind"], "doorbell or camera");
    let evidence = made_up["guess"]["evidence"][0].as_str().unwrap();
    // Two workers may have taken the queries.
    let has = |name| evidence.contains(name);
    assert!(has("fw.ring.com") && has("es.ring.com"), "{evidence}");
    // What is named leaves the list and gets the household's rules.
    world.device("house", "camera", ("mac", CAMERA)).await;
    assert_eq!(camera.ask("bets.example. A").await, "192.0.2.7");
    assert_eq!(seen(&world).await.len(), 1);
    // What is dismissed stays on it. Neither is told again, also after a restart.
    let path = format!("{NEW_DEVICES}/{}", made_up["id"].as_str().unwrap());
    let dismissed = world
        .api
        .put(&path, json!({ "dismissed": true }))
        .await
        .ok();
    assert_eq!(dismissed.json["dismissed"], true);
    world.daemon.restart().await;
    let phone = parents_events(&world, "house").await;
    random.ask("fw.ring.com. A").await;
    router
        .with_mac("02:00:5e:00:53:09")
        .ask("fw.ring.com. A")
        .await;
    eventually("a third is told", TIMEOUT, async || {
        !told(&phone).is_empty()
    })
    .await;
    assert_eq!(told(&phone), [json!({ "mac": "02:00:5e:00:53:09" })]);
    assert_eq!(seen(&world).await.len(), 2);
}

#[tokio::test]
async fn an_address_is_a_device_unless_it_is_the_whole_line() {
    let (world, _folder) = world().await;
    let whole = world.client("127.0.8.1");
    let part = world.client("127.0.7.20");
    for client in [&whole, &part] {
        assert_eq!(client.ask("fw.ring.com. A").await, "192.0.2.8");
    }
    eventually("the address is seen", TIMEOUT, async || {
        !seen(&world).await.is_empty()
    })
    .await;
    let list = seen(&world).await;
    assert_eq!(list[0]["identifiers"], json!([{ "address": "127.0.7.20" }]));
    // The line's own address was heard before, and is no device. Its household has others.
    let of_line = "/v1/households/line/new-devices";
    whole.with_mac(RANDOM).ask("fw.ring.com. A").await;
    eventually("the MAC address is seen", TIMEOUT, async || {
        let listed = world.api.get(of_line).await.ok().json;
        listed["devices"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
    })
    .await;
    let listed = world.api.get(of_line).await.ok().json;
    let identifiers = &listed["devices"][0]["identifiers"];
    assert_eq!(*identifiers, json!([{ "mac": RANDOM }]));
    assert_eq!(listed["devices"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_family_hears_of_few_new_devices_an_hour_and_of_none_if_it_says_so() {
    let (world, _folder) = world().await;
    let phone = parents_events(&world, "house").await;
    let router = world.client("127.0.7.1");
    let mac = |number: usize| format!("02:00:5e:00:54:{number:02x}");
    let all: BTreeSet<String> = (0..70).map(mac).collect();
    for mac in &all {
        router.with_mac(mac).ask("fw.ring.com. A").await;
    }
    eventually("the list is full", TIMEOUT, async || {
        seen(&world).await.len() == 64
    })
    .await;
    eventually("eight are told", TIMEOUT, async || told(&phone).len() >= 8).await;
    let quiet = world.api.put(NEW_DEVICES, json!({ "notify": false })).await;
    assert_eq!(quiet.ok().json["notify"], false);
    // Another household hears of its own, which shows that the detection went on.
    let other = parents_events(&world, "line").await;
    router
        .with_mac("02:00:5e:00:55:01")
        .ask("fw.ring.com. A")
        .await;
    world
        .client("127.0.8.1")
        .with_mac(RANDOM)
        .ask("fw.ring.com. A")
        .await;
    eventually("the other is told", TIMEOUT, async || {
        told(&other).len() == 1
    })
    .await;
    let told = told(&phone);
    assert_eq!(told.len(), 8, "{told:?}");
}

#[tokio::test]
async fn a_child_hears_nothing_of_new_devices_and_cannot_read_them() {
    let (world, _folder) = world().await;
    world
        .device("house", "tablet", ("address", "127.0.7.10"))
        .await;
    let keys = "/v1/households/house/keys";
    let body = json!({ "role": "child", "device": "tablet" });
    let made = world.api.post(keys, body).await.ok().json;
    let child = world.api.with_key(made["secret"].as_str().unwrap());
    let (ear, phone) = (
        Events::of_household(&child, "house").await,
        parents_events(&world, "house").await,
    );
    world.toggle("house", "gambling", Block).await;
    world
        .client("127.0.7.1")
        .with_mac(RANDOM)
        .ask("fw.ring.com. A")
        .await;
    eventually("the parents hear", TIMEOUT, async || {
        told(&phone).len() == 1
    })
    .await;
    world.toggle("house", "gambling", Allow).await;
    eventually("the child hears of changes", TIMEOUT, async || {
        let changes = ear.received().into_iter();
        changes.filter(|event| event["kind"] == "change").count() == 2
    })
    .await;
    assert!(told(&ear).is_empty());
    assert_eq!(child.get(NEW_DEVICES).await.status, 403);
}
