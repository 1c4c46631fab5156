//! One household cannot hold up the settings of another: the largest household that is allowed, which
//! writes with many keys as fast as it may, beside a household that toggles one category.
//!
//! The short run is part of the tests and compares counts. `ATTACK_KEYS=200` measures the default
//! configuration, with rates, and without them (`docs/operations.md`, *Sizes*).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use policy::{
    name::Name,
    rules::{
        holdings::DOCUMENT_OCTETS_MAX,
        household::{Attributed, CustomName, Device, Household, Person, Settings},
    },
};
use policy_store::Store;
use serde_json::json;

use crate::world::{Api, Switch, World, quantile};

/// Keys of the attacking household in the short run: fewer than its writes that may wait.
const KEYS: usize = 48;
/// Toggles of the other household in the short run.
const TOGGLES: usize = 40;
/// Devices of the largest household, all of one person.
const DEVICES: usize = 64;

fn keys() -> usize {
    std::env::var("ATTACK_KEYS").map_or(KEYS, |keys| keys.parse().expect("ATTACK_KEYS is a number"))
}

fn toggles() -> usize {
    match std::env::var_os("ATTACK_KEYS") {
        None => TOGGLES,
        Some(_) => 500,
    }
}

/// A household that is as large as it may be: a person with many devices and a long list, and a
/// household's long list.
fn largest() -> Household {
    let entry: Attributed<CustomName> = serde_json::from_value(json!({
        "state": "block", "scope": "subtree", "set_by": "key:0123456789ab", "set_at": "2026-01-01T00:00:00.123456789Z",
    }))
    .expect("an entry");
    let device = |number: usize| -> Device {
        serde_json::from_value(json!({
            "name": format!("device {number}"), "person": "p", "log": true,
            "identifiers": [{ "mac": format!("02:00:00:00:00:{number:02x}") }],
        }))
        .expect("a device")
    };
    let mut household = Household::new("large".parse().expect("an identifier"));
    household.devices = (0..DEVICES)
        .map(|number| (format!("d{number}").parse().expect("one"), device(number)))
        .collect();
    let person = Person {
        name: "P".to_owned(),
        settings: Settings::default(),
    };
    household.people = [("p".parse().expect("an identifier"), person)].into();
    let octets = |household: &Household| serde_json::to_vec(household).expect("plain data").len();
    // Room for switches of the household and its devices.
    while octets(&household) + 16 * 1_024 < DOCUMENT_OCTETS_MAX {
        for _ in 0..50 {
            let add = |settings: &mut Settings| {
                let number = settings.names.len();
                let name = Name::parse(&format!("n{number}.example")).expect("a name");
                settings.names.insert(name, entry.clone());
            };
            add(&mut household.settings);
            household
                .people
                .values_mut()
                .for_each(|person| add(&mut person.settings));
        }
    }
    household
}

/// A world with a household `home` and the largest household, and keys of the latter's parents.
async fn world(config: &str) -> (World, Vec<Api>) {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .config(config)
        .start()
        .await;
    world.daemon.kill();
    let file = world.folder().join("ox-protect.db");
    let store = Store::open(&format!("sqlite:{}", file.display()))
        .await
        .expect("the store");
    store.add_all([largest()]).await.expect("it fits");
    store.close().await;
    world.daemon.restart().await;
    let mut all = Vec::new();
    for _ in 0..keys() {
        let made = world
            .api
            .post("/v1/households/large/keys", json!({ "role": "parent" }))
            .await
            .ok();
        all.push(
            world
                .api
                .with_key(made.json["secret"].as_str().expect("a secret")),
        );
    }
    (world, all)
}

/// Writes of the large household: answered, and refused for its rate or its queue.
#[derive(Default)]
struct Written {
    done: AtomicUsize,
    refused: AtomicUsize,
    is_over: AtomicBool,
}

/// Toggles with all keys at once, each as fast as it is answered, until it is over.
fn attack(keys: Vec<Api>) -> (Arc<Written>, Vec<tokio::task::JoinHandle<()>>) {
    let written = Arc::new(Written::default());
    let attackers = keys.into_iter().enumerate().map(|(number, api)| {
        let written = Arc::clone(&written);
        tokio::spawn(async move {
            let device = format!("d{}", number % DEVICES);
            let mut switch = [Switch::Block, Switch::Allow].into_iter().cycle();
            while !written.is_over.load(Ordering::Relaxed) {
                let switch = switch.next().expect("a cycle");
                let answer = match number % 2 {
                    0 => api.toggle("large", "gambling", switch).await,
                    _ => {
                        api.toggle_device("large", &device, "gambling", switch)
                            .await
                    }
                };
                match answer.status {
                    429 => {
                        written.refused.fetch_add(1, Ordering::Relaxed);
                        // As a client that does not wait as long as it is told to.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    _ => {
                        answer.ok();
                        written.done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        })
    });
    let attackers = attackers.collect();
    (written, attackers)
}

/// Toggles of a household, one after the other. Prints how long they took.
async fn toggle(world: &World, household: &str, round: &str) {
    let mut took = Vec::new();
    for number in 0..toggles() {
        let switch = if number % 2 == 0 {
            Switch::Block
        } else {
            Switch::Allow
        };
        let began = Instant::now();
        world.toggle(household, "gambling", switch).await;
        took.push(began.elapsed());
        if toggles() > TOGGLES {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let share = |share| quantile(took.iter().copied(), share);
    println!(
        "{round}: toggles of {household}, median {:?}, p99 {:?}",
        share(0.5),
        share(0.99)
    );
}

/// Attacks, toggles beside it, and returns the writes of the attackers meanwhile, and those that were
/// refused.
async fn beside(
    world: &World,
    keys: Vec<Api>,
    round: &str,
    has_begun: fn(&Written) -> bool,
) -> (usize, usize) {
    toggle(world, "home", &format!("before {round}")).await;
    toggle(world, "large", &format!("before {round}")).await;
    let (written, attackers) = attack(keys);
    while !has_begun(&written) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let count = || {
        let load = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (load(&written.done), load(&written.refused))
    };
    let (done, refused) = count();
    toggle(world, "home", &format!("beside {round}")).await;
    let (done_after, refused_after) = count();
    written.is_over.store(true, Ordering::Relaxed);
    for attacker in attackers {
        attacker.await.expect("an attacker's writes are answered");
    }
    let (done, refused) = (done_after - done, refused_after - refused);
    println!("{round}: {done} writes of the large household meanwhile, {refused} refused");
    (done, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_household_with_all_its_keys_delays_no_other() {
    let (world, keys) = world("[api]\nrate_per_s = 0\n").await;
    let count = keys.len();
    let (done, _) = beside(&world, keys, "without rates", |written| {
        written.done.load(Ordering::Relaxed) >= KEYS
    })
    .await;
    // In one queue, each toggle would wait for the writes of all keys.
    assert!(
        done < toggles() * count / 4,
        "{done} writes of {count} keys went before {} toggles",
        toggles()
    );
    let large = world.api.get("/v1/households/large").await.ok();
    assert_eq!(
        large.json["devices"].as_object().expect("all").len(),
        DEVICES
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_keys_of_a_household_share_its_rate() {
    // In the short run a rate that the machine reaches in any case.
    let config = match std::env::var_os("ATTACK_KEYS") {
        None => "[api]\nrate_per_s = 1\nrate_burst = 10\n",
        Some(_) => "",
    };
    let (world, keys) = world(config).await;
    let (done, refused) = beside(&world, keys, "with rates", |written| {
        written.refused.load(Ordering::Relaxed) >= KEYS
    })
    .await;
    // The burst has passed, and then the rate is that of one key.
    assert!(refused > done, "{done} written, {refused} refused");
}
