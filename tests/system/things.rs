//! Things, such as a camera: what it newly wants to reach is one prompt, and the answer holds at its
//! next query, for those domains and nothing else.

use std::time::Duration;

use crate::world::{Client, Events, World, eventually};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const TIMEOUT: Duration = Duration::from_secs(60);
const CAMERA: &str = "02:00:5e:00:53:01";
const THING: &str = "/v1/households/house/devices/camera/thing";
const PROMPTS: &str = "/v1/households/house/prompts";
/// Twenty names of three companies in two countries.
const NAMES: [&str; 20] = [
    "a.ring.com",
    "b.ring.com",
    "c.ring.com",
    "d.ring.com",
    "e.ring.com",
    "f.ring.com",
    "g.ring.com",
    "h.ring.com",
    "i.ring.com",
    "j.ring.com",
    "k.ring.com",
    "l.ring.com",
    "a.hikvision.com",
    "b.hikvision.com",
    "c.hikvision.com",
    "d.hikvision.com",
    "e.hikvision.com",
    "a.trackers.test",
    "b.trackers.test",
    "c.trackers.test",
];

async fn world() -> World {
    let world = World::with_zone("ring.com. 60 A 192.0.2.1\n*.ring.com. 60 A 192.0.2.1")
        .zone("hikvision.com. 60 A 192.0.2.2\n*.hikvision.com. 60 CNAME far.cdn.test.")
        .zone("trackers.test. 60 A 192.0.2.3\n*.trackers.test. 60 A 192.0.2.3")
        .zone("cdn.test. 60 A 192.0.2.4\nfar 60 A 192.0.2.4")
        .listing("ads", "trackers.test")
        .household("house", "127.0.7.0/24")
        .start()
        .await;
    world.device("house", "camera", ("mac", CAMERA)).await;
    world
        .device("house", "phone", ("address", "127.0.7.9"))
        .await;
    world
}

async fn set(world: &World, body: Value) -> Value {
    world.api.put(THING, body).await.ok().json
}

/// The names of these that are answered.
async fn answered<'n>(client: &Client, names: &[&'n str]) -> Vec<&'n str> {
    let mut answered = Vec::new();
    for name in names {
        if client
            .ask(&format!("{name}. A"))
            .await
            .starts_with("192.0.2.")
        {
            answered.push(*name);
        }
    }
    answered
}

/// The open prompts, once they have so many domains.
async fn prompts(world: &World, domains: usize) -> Vec<Value> {
    let open = async || {
        let path = format!("{PROMPTS}?state=open");
        let json = world.api.get(&path).await.ok().json;
        json["prompts"].as_array().unwrap().clone()
    };
    let count = |prompts: &[Value]| {
        let groups = prompts
            .iter()
            .flat_map(|prompt| prompt["groups"].as_array().unwrap());
        groups
            .map(|group| group["domains"].as_array().unwrap().len())
            .sum::<usize>()
    };
    let what = format!("{domains} domains are asked about");
    eventually(&what, TIMEOUT, async || count(&open().await) == domains).await;
    open().await
}

fn answer_path(prompt: &Value) -> String {
    format!("{PROMPTS}/{}", prompt["id"].as_str().unwrap())
}

/// The answer of a family that has seen this prompt.
fn answer(prompt: &Value, answer: &str) -> Value {
    let groups = prompt["groups"].as_array().unwrap().iter();
    let seen = groups.flat_map(|group| domains(&group["domains"]));
    let seen: Vec<&str> = seen.collect();
    json!({ "answer": answer, "domains": seen })
}

fn domains(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|entry| entry["domain"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn twenty_names_of_a_camera_are_one_prompt_and_no_blocks_them_alone() {
    let world = world().await;
    let keys = "/v1/households/house/keys";
    let made = world
        .api
        .post(keys, json!({ "role": "parent" }))
        .await
        .ok()
        .json;
    let parent = world.api.with_key(made["secret"].as_str().unwrap());
    let phone = Events::of_household(&parent, "house").await;
    let camera = world.client("127.0.7.1").with_mac(CAMERA);
    let app = world.client("127.0.7.9");
    assert_eq!(
        answered(&camera, &NAMES[..1]).await.len(),
        1,
        "it is no thing yet"
    );
    set(&world, json!({ "mode": "asking" })).await;
    assert_eq!(answered(&camera, &NAMES).await, [""; 0]);
    assert_eq!(answered(&app, &NAMES).await.len(), 20);
    let asked = prompts(&world, 3).await;
    assert_eq!(asked.len(), 1, "{asked:?}");
    let groups = asked[0]["groups"].as_array().unwrap();
    let shown: Vec<_> = groups
        .iter()
        .map(|group| (&group["owner"], &group["country"], &group["category"]))
        .collect();
    assert_eq!(
        shown,
        [
            (&json!("Hikvision"), &json!("CN"), &Value::Null),
            (&json!("Ring"), &json!("US"), &Value::Null),
            (&json!("trackers.test"), &Value::Null, &json!("ads")),
        ]
    );
    eventually("all names are listed", TIMEOUT, async || {
        let listed = prompts(&world, 3).await;
        let groups = listed[0]["groups"].as_array().unwrap().iter();
        let of = |group: &Value| group["domains"][0]["names"].as_array().unwrap().len();
        groups.map(of).sum::<usize>() == 20
    })
    .await;
    phone.wait_for("prompt", &[("device", "camera")]).await;
    let events = phone.received().into_iter();
    let told: Vec<Value> = events.filter(|event| event["kind"] == "prompt").collect();
    assert!(
        told.iter().all(|event| event["id"] == asked[0]["id"]),
        "{told:?}"
    );
    // No: these domains, for this device, and nothing else.
    let answered_no = world
        .api
        .put(&answer_path(&asked[0]), answer(&asked[0], "no"))
        .await;
    assert_eq!(answered_no.ok().json["state"], "answered");
    let thing = set(&world, json!({ "mode": "learning" })).await;
    assert_eq!(
        domains(&thing["denied"]),
        ["hikvision.com", "ring.com", "trackers.test"]
    );
    let others = ["cdn.test", "far.cdn.test"];
    assert_eq!(answered(&camera, &NAMES).await, [""; 0]);
    assert_eq!(answered(&camera, &others).await, others);
    assert_eq!(answered(&app, &NAMES).await.len(), 20);
    let again = world
        .api
        .put(&answer_path(&asked[0]), answer(&asked[0], "yes"))
        .await;
    assert_eq!((again.status, again.problem()), (409, "answered"));
}

#[tokio::test]
async fn yes_works_at_the_next_retry_also_where_a_domain_leads_elsewhere() {
    let world = world().await;
    let camera = world.client("127.0.7.1").with_mac(CAMERA);
    set(&world, json!({ "mode": "asking" })).await;
    let names = ["a.hikvision.com", "b.hikvision.com"];
    assert_eq!(answered(&camera, &names).await, [""; 0]);
    let told = world
        .api
        .get("/v1/explain?name=a.hikvision.com&household=house&device=camera")
        .await;
    let told = told.ok().json;
    assert_eq!(
        (&told["layer"], &told["setter"]["layer"]),
        (&json!("thing"), &json!("device"))
    );
    let asked = prompts(&world, 1).await;
    let yes = world
        .api
        .put(&answer_path(&asked[0]), answer(&asked[0], "yes"))
        .await;
    yes.ok();
    assert_eq!(answered(&camera, &names).await, names);
    assert_eq!(
        answered(&camera, &["far.cdn.test", "a.ring.com"]).await,
        [""; 0]
    );
    // The next prompt has what is new, and the answer `maker` goes by the thing's maker.
    let asked = prompts(&world, 2).await;
    assert_eq!(asked[0]["maker"], "Hikvision", "{asked:?}");
    let maker = world
        .api
        .put(&answer_path(&asked[0]), answer(&asked[0], "maker"))
        .await;
    maker.ok();
    let thing = world.api.get(THING).await.ok().json;
    assert_eq!(domains(&thing["allowed"]), ["hikvision.com"]);
    assert_eq!(domains(&thing["denied"]), ["cdn.test", "ring.com"]);
    // Another layer still blocks what the thing may reach.
    let block = json!({ "state": "block" });
    let own = "/v1/households/house/devices/camera/names/b.hikvision.com";
    world.api.put(own, block).await.ok();
    assert_eq!(answered(&camera, &names).await, ["a.hikvision.com"]);
}

#[tokio::test]
async fn a_learning_thing_learns_its_domains_and_is_then_locked_to_them() {
    let world = world().await;
    let camera = world.client("127.0.7.1").with_mac(CAMERA);
    set(
        &world,
        json!({ "mode": "learning", "denied": [{ "domain": "trackers.test" }] }),
    )
    .await;
    let names = [
        "a.ring.com",
        "b.ring.com",
        "a.trackers.test",
        "7.7.0.127.in-addr.arpa",
    ];
    assert_eq!(
        answered(&camera, &names).await,
        ["a.ring.com", "b.ring.com"]
    );
    eventually("the domain is learned", TIMEOUT, async || {
        let thing = world.api.get(THING).await.ok().json;
        domains(&thing["allowed"]) == ["ring.com"]
    })
    .await;
    let thing = world.api.get(THING).await.ok().json;
    assert_eq!(thing["allowed"][0]["set_by"], "learning");
    set(&world, json!({ "mode": "locked" })).await;
    let names = ["c.ring.com", "a.hikvision.com", "a.trackers.test"];
    assert_eq!(answered(&camera, &names).await, ["c.ring.com"]);
    // A locked thing asks for nothing; its maker's file adds to what it may reach.
    let ace = json!({ "name": "c", "matches": { "ipv4": { "ietf-acldns:dst-dnsname": "a.hikvision.com" } },
        "actions": { "forwarding": "accept" } });
    let file = json!({
        "ietf-mud:mud": { "mud-version": 1,
            "from-device-policy": { "access-lists": { "access-list": [{ "name": "from" }] } } },
        "ietf-access-control-list:acls": { "acl": [{ "name": "from", "aces": { "ace": [ace] } }] },
    });
    let mud = format!("{THING}/mud");
    world.api.put(&mud, file).await.ok();
    let names = ["a.hikvision.com", "b.hikvision.com"];
    assert_eq!(answered(&camera, &names).await, ["a.hikvision.com"]);
    let refused = world.api.put(&mud, json!({ "ietf-mud:mud": {} })).await;
    assert_eq!((refused.status, refused.problem()), (422, "mud"));
    let all = world.api.get(PROMPTS).await.ok().json;
    assert_eq!(all["prompts"], json!([]));
    set(&world, json!({ "mode": "off" })).await;
    assert_eq!(answered(&camera, &["a.trackers.test"]).await.len(), 1);
}

#[tokio::test]
async fn of_many_things_that_ask_at_a_time_no_prompt_is_lost() {
    const HOMES: u8 = 60;
    let world = world().await;
    let path = |home: u8, rest: &str| format!("/v1/households/h{home}{rest}");
    for home in 0..HOMES {
        let (id, network) = (format!("h{home}"), format!("127.9.{home}.1/32"));
        world.household(&id, &network).await;
        world.device(&id, "camera", ("mac", CAMERA)).await;
        let thing = path(home, "/devices/camera/thing");
        world
            .api
            .put(&thing, json!({ "mode": "asking" }))
            .await
            .ok();
    }
    let mut asking = JoinSet::new();
    for home in 0..HOMES {
        let camera = world.client(&format!("127.9.{home}.1")).with_mac(CAMERA);
        asking.spawn(async move { answered(&camera, &NAMES).await.len() });
    }
    let all = asking.join_all().await;
    assert!(all.iter().all(|answered| *answered == 0), "{all:?}");
    for home in 0..HOMES {
        let names = async || {
            let json = world.api.get(&path(home, "/prompts")).await.ok().json;
            let prompts = json["prompts"].as_array().unwrap().clone();
            assert!(prompts.len() <= 1, "{prompts:?}");
            let groups = prompts
                .iter()
                .flat_map(|prompt| prompt["groups"].as_array().unwrap());
            let domains = groups.flat_map(|group| group["domains"].as_array().unwrap());
            domains
                .map(|domain| domain["names"].as_array().unwrap().len())
                .sum::<usize>()
        };
        let what = format!("the prompt of h{home} has all names");
        eventually(&what, TIMEOUT, async || names().await == NAMES.len()).await;
    }
    let dropped = world.api.metric("ox_protect_detection_dropped_total").await;
    assert!(dropped.abs() < f64::EPSILON, "{dropped}");
}

/// A device may ask for names of any octets.
#[tokio::test]
async fn names_of_odd_octets_stop_neither_the_home_nor_its_prompts() {
    let world = world().await;
    let camera = world.client("127.0.7.1").with_mac(CAMERA);
    set(&world, json!({ "mode": "learning" })).await;
    for name in [r"a\032b.ring.com. A", r"odd\000.com. A", "a.ring.com. A"] {
        camera.ask(name).await;
    }
    eventually("the domain is learned", TIMEOUT, async || {
        let thing = world.api.get(THING).await.ok().json;
        domains(&thing["allowed"]) == ["ring.com"]
    })
    .await;
    set(&world, json!({ "mode": "asking" })).await;
    camera.ask(r"Living\032Room.hikvision.com. A").await;
    prompts(&world, 1).await;
    // The stored prompt grows.
    camera.ask("b.trackers.test. A").await;
    let asked = prompts(&world, 2).await;
    let groups = asked[0]["groups"].as_array().unwrap();
    assert_eq!(
        groups[0]["domains"][0]["names"],
        json!([r"living\032room.hikvision.com"])
    );
    let yes = world
        .api
        .put(&answer_path(&asked[0]), answer(&asked[0], "yes"))
        .await;
    yes.ok();
    let names = ["a.hikvision.com", "a.trackers.test"];
    eventually("both are answered", TIMEOUT, async || {
        answered(&camera, &names).await.len() == 2
    })
    .await;
}
