//! New devices, things and prompts over the API: what is refused, what keeps its author, what goes
//! with what.

use axum::http::Method;
use jiff::Timestamp;
use policy::{
    name::Name,
    rules::household::{DeviceIdentifier, Id},
};
use policy_store::{PromptDomain, Role, SeenDevice, ThingWants};
use serde_json::{Value, json};

use crate::world::{Answer, World};

const HOME: &str = "/v1/households/home";
const THING: &str = "/v1/households/home/devices/phone/thing";
const NEW_DEVICES: &str = "/v1/households/home/new-devices";
const PROMPTS: &str = "/v1/households/home/prompts";
const MAC: &str = "02:00:5e:00:53:09";

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

impl World {
    /// A device was seen, as the data path would report it.
    pub async fn sees(&self, mac: &str) {
        let seen = SeenDevice {
            household: id("home"),
            identifier: DeviceIdentifier::Mac(mac.parse().unwrap()),
            seen: Timestamp::now(),
            guess: None,
        };
        let store = &self.context.control.store;
        store.note_sightings(&[seen]).await.unwrap();
    }

    /// A thing asked for these domains. Returns the prompt's path.
    pub async fn wants(&self, device: &str, domains: &[&str]) -> String {
        let domain = |domain: &&str| PromptDomain {
            domain: Name::parse(domain).unwrap(),
            names: vec![Name::parse(&format!("a.{domain}")).unwrap()],
            first_seen: Timestamp::now(),
            queries: 1,
        };
        let wants = ThingWants {
            household: id("home"),
            device: id(device),
            domains: domains.iter().map(domain).collect(),
        };
        let store = &self.context.control.store;
        let grown = store
            .grow_prompts(&[wants], Timestamp::now())
            .await
            .unwrap();
        format!("{PROMPTS}/{}", grown[0].prompt.id)
    }

    /// The domains of a prompt, as a family would see them now.
    async fn shown(&self, path: &str) -> Vec<String> {
        let all = self.get(PROMPTS).await.ok().json;
        let prompts = all["prompts"].as_array().unwrap().iter();
        let mut prompt = prompts.filter(|prompt| path.ends_with(prompt["id"].as_str().unwrap()));
        let groups = prompt.next().map(|prompt| prompt["groups"].clone());
        let groups = groups.unwrap_or_default();
        let groups = groups.as_array().into_iter().flatten();
        groups
            .flat_map(|group| domains(&group["domains"]))
            .map(str::to_owned)
            .collect()
    }

    async fn answer(&self, path: &str, answer: &str) -> Answer {
        let domains = self.shown(path).await;
        self.answer_seen(path, answer, &domains).await
    }

    async fn answer_seen(&self, path: &str, answer: &str, domains: &[String]) -> Answer {
        let body = json!({ "answer": answer, "domains": domains });
        self.put(path, &body.to_string()).await
    }
}

fn domains(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|entry| entry["domain"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_thing_has_domains_of_one_company_each_on_one_list_only() {
    let world = World::with_home().await;
    let first = world.get(THING).await.ok();
    assert_eq!(
        (&first.json["mode"], &first.json["set_by"]),
        (&json!("off"), &Value::Null)
    );
    let set = r#"{"mode":"locked","allowed":[{"domain":"Maker.example"}],"denied":[{"domain":"x.test"}]}"#;
    let made = world.put(THING, set).await.ok();
    made.version();
    assert_eq!(domains(&made.json["allowed"]), ["maker.example"]);
    let many: Vec<Value> = (0..257)
        .map(|n| json!({ "domain": format!("n{n}.example") }))
        .collect();
    for (body, status, code) in [
        (
            json!({ "allowed": [{ "domain": "co.uk" }] }),
            422,
            "public_suffix",
        ),
        (json!({ "allowed": [{ "domain": "a b" }] }), 422, "name"),
        (
            json!({ "allowed": [{ "domain": "x.test" }] }),
            422,
            "contradiction",
        ),
        (json!({ "denied": many }), 422, "limit"),
        (json!({ "mode": "loud" }), 422, "body"),
        (json!({ "allowed": ["a.test"] }), 422, "body"),
    ] {
        world
            .put(THING, &body.to_string())
            .await
            .is_problem(status, code);
    }
    let nowhere = "/v1/households/home/devices/nothing/thing";
    world
        .put(nowhere, set)
        .await
        .is_problem(404, "unknown_device");
    // What is sent back as it was read keeps author and time.
    let shown = world.get(THING).await.ok().json;
    let again = json!({ "allowed": [shown["allowed"][0], { "domain": "new.test" }] });
    let after = world.put(THING, &again.to_string()).await.ok().json;
    assert_eq!(after["allowed"][0], shown["allowed"][0]);
    assert_eq!(domains(&after["allowed"]), ["maker.example", "new.test"]);
    assert_eq!(
        (&after["mode"], &after["denied"]),
        (&shown["mode"], &shown["denied"])
    );
}

#[tokio::test]
async fn a_dhcp_name_is_shown_as_evidence_and_names_nothing() {
    let world = World::with_home().await;
    let hints = format!("{NEW_DEVICES}/hints");
    let tell = async |identifier: Value, name: Value| {
        let body = json!({ "hints": [{ "identifier": identifier, "dhcp_name": name }] });
        world.put(&hints, &body.to_string()).await
    };
    // A lease comes before the first query.
    let mac = json!({ "mac": MAC });
    let told = tell(mac.clone(), json!("Ellas-iPhone")).await.ok();
    assert_eq!(told.json["devices"], json!([]), "it was not seen");
    world.sees(MAC).await;
    world.sees("00:00:5e:00:53:0a").await;
    let seen = world.get(NEW_DEVICES).await.ok().json;
    let of = |mac: &str| {
        let mut devices = seen["devices"].as_array().unwrap().iter();
        let device = devices.find(|device| device["identifiers"][0]["mac"] == mac);
        device.unwrap().clone()
    };
    let told = of(MAC);
    assert_eq!(told["dhcp_name"], "Ellas-iPhone");
    assert_eq!(told["guess"]["maker"], "Apple");
    let evidence = json!(["its name at the router is “Ellas-iPhone”"]);
    assert_eq!(told["guess"]["evidence"], evidence);
    let other = of("00:00:5e:00:53:0a");
    assert_eq!(
        (&other["dhcp_name"], &other["guess"]),
        (&Value::Null, &Value::Null)
    );
    for (identifier, name, code) in [
        (json!({ "token": "abc" }), json!("a"), "identifier"),
        (json!({ "mac": "x" }), json!("a"), "body"),
        (mac.clone(), json!("a".repeat(65)), "limit"),
        (mac.clone(), json!(" "), "limit"),
        (mac.clone(), json!("a\u{202e}b"), "text"),
        (mac.clone(), json!("a\nb"), "text"),
    ] {
        tell(identifier, name).await.is_problem(422, code);
    }
    let many: Vec<Value> = (0..65)
        .map(|n| json!({ "identifier": { "address": format!("192.0.2.{n}") }, "dhcp_name": "a" }))
        .collect();
    let many = json!({ "hints": many }).to_string();
    world.put(&hints, &many).await.is_problem(422, "limit");
    let taken_back = tell(mac, Value::Null).await.ok().json;
    let mut devices = taken_back["devices"].as_array().unwrap().iter();
    assert!(devices.all(|device| device["dhcp_name"] == Value::Null));
}

#[tokio::test]
async fn effective_and_explanations_show_a_things_mode_and_lists() {
    let world = World::with_home().await;
    let effective = "/v1/households/home/effective/phone";
    let plain = world.get(effective).await.ok();
    assert_eq!(plain.json["thing"], Value::Null, "it is no thing");
    let set = r#"{"mode":"asking","allowed":[{"domain":"maker.example"}],"denied":[{"domain":"x.test"}]}"#;
    world.put(THING, set).await.ok();
    let (key, _) = world.key_in(Role::Child, "home").await;
    let child = world.as_key(&key, Method::GET, effective, "").await.ok();
    for answer in [child, world.get(effective).await.ok()] {
        let thing = &answer.json["thing"];
        assert_eq!(
            (&thing["mode"], &thing["in_force"], &thing["layer"]),
            (&json!("asking"), &json!(true), &json!("device"))
        );
        assert_eq!(domains(&thing["allowed"]), ["maker.example"]);
        assert_eq!(domains(&thing["denied"]), ["x.test"]);
        assert!(thing["set_by"].is_string() && thing["denied"][0]["set_at"].is_string());
    }
    let whole = world.get("/v1/households/home/effective").await.ok();
    assert_eq!(whole.json["thing"], Value::Null);
    let explain = async |name: &str| {
        let path = format!("/v1/explain?name={name}&household=home&device=phone");
        world.get(&path).await.ok().json
    };
    let denied = explain("a.x.test").await;
    assert_eq!(
        (&denied["layer"], &denied["entry"], &denied["source"]),
        (&json!("thing"), &json!("x.test"), &json!("thing"))
    );
    let reason = "a.x.test is blocked: this device may not reach x.test.";
    assert_eq!(denied["reason"], reason);
    let new = explain("new.example").await;
    assert_eq!(
        (&new["layer"], &new["entry"]),
        (&json!("thing"), &Value::Null)
    );
    assert!(
        new["reason"]
            .as_str()
            .unwrap()
            .ends_with("; the parents are asked.")
    );
    assert_eq!(explain("maker.example").await["verdict"], "allow");
    // The lists rest while filtering is off, and stay as they are.
    let off = r#"{"filtering":"off"}"#;
    world.put("/v1/households/home", off).await.ok();
    let rests = world.get(effective).await.ok().json;
    assert_eq!(
        (&rests["thing"]["in_force"], &rests["thing"]["mode"]),
        (&json!(false), &json!("asking"))
    );
}

#[tokio::test]
async fn a_named_device_leaves_the_list_and_a_dismissed_one_stays() {
    let world = World::with_home().await;
    for mac in [MAC, "00:00:5e:00:53:0a"] {
        world.sees(mac).await;
    }
    let listed = world.get(NEW_DEVICES).await.ok();
    let version = listed.version();
    let list = listed.json["devices"].as_array().unwrap().clone();
    assert_eq!((list.len(), &listed.json["notify"]), (2, &json!(true)));
    let of = |mac: &str| {
        let is_it = |device: &&Value| device["identifiers"][0]["mac"] == mac;
        let found = list.iter().find(is_it).unwrap();
        (
            found,
            format!("{NEW_DEVICES}/{}", found["id"].as_str().unwrap()),
        )
    };
    let (random, path) = of(MAC);
    assert_eq!(
        (&random["is_random_mac"], &random["guess"]),
        (&json!(true), &Value::Null)
    );
    let body = r#"{"dismissed":true}"#;
    let stale = [("if-match", "\"1\"")];
    let refused = world.ask(Method::PUT, &path, &stale, body).await;
    refused.is_problem(412, "version_mismatch");
    let done = world.put(&path, body).await.ok();
    assert_eq!(
        (done.version(), &done.json["dismissed"]),
        (version, &json!(true))
    );
    let none = format!("{NEW_DEVICES}/none");
    world
        .put(&none, body)
        .await
        .is_problem(404, "unknown_sighting");
    let device = json!({ "identifiers": [{ "mac": "00:00:5e:00:53:0a" }] });
    world
        .put(&format!("{HOME}/devices/toy"), &device.to_string())
        .await
        .ok();
    let listed = world.get(NEW_DEVICES).await.ok().json;
    let left = listed["devices"].as_array().unwrap();
    assert_eq!((left.len(), &left[0]["dismissed"]), (1, &json!(true)));
    world.delete(HOME).await.ok();
    let kept = &world.context.control.store;
    assert_eq!(
        kept.sightings(&id("home"), Timestamp::now()).await.unwrap(),
        []
    );
}

#[tokio::test]
async fn an_answer_moves_the_domains_of_its_prompt_once() {
    let world = World::with_home().await;
    world.put(THING, r#"{"mode":"asking"}"#).await.ok();
    let prompt = world.wants("phone", &["ring.com", "a.test"]).await;
    assert_eq!(world.wants("phone", &["b.test"]).await, prompt, "it grows");
    let listed = world.get(&format!("{PROMPTS}?state=open")).await.ok().json;
    let groups = listed["prompts"][0]["groups"].as_array().unwrap();
    let owners: Vec<&str> = groups
        .iter()
        .map(|group| group["owner"].as_str().unwrap())
        .collect();
    assert_eq!(owners, ["Ring", "a.test", "b.test"]);
    let answered = world.answer(&prompt, "maker").await.ok();
    answered.version();
    assert_eq!(answered.json["answer"], "maker");
    let thing = world.get(THING).await.ok().json;
    assert_eq!(domains(&thing["allowed"]), ["ring.com"]);
    assert_eq!(domains(&thing["denied"]), ["a.test", "b.test"]);
    world
        .answer(&prompt, "yes")
        .await
        .is_problem(409, "answered");
    let open = world.get(&format!("{PROMPTS}?state=open")).await.ok().json;
    assert_eq!(open["prompts"], json!([]));
    let unknown = format!("{PROMPTS}/none");
    world
        .answer(&unknown, "yes")
        .await
        .is_problem(404, "unknown_prompt");
    // A thing without a known maker.
    world.put(&format!("{HOME}/devices/toy"), "{}").await.ok();
    let toys = world.wants("toy", &["c.test"]).await;
    world
        .answer(&toys, "maker")
        .await
        .is_problem(409, "maker_unknown");
    world.answer(&toys, "yes").await.ok();
    // A device that is removed takes its prompts along.
    let another = world.wants("toy", &["d.test"]).await;
    world.delete(&format!("{HOME}/devices/toy")).await.ok();
    world
        .answer(&another, "yes")
        .await
        .is_problem(404, "unknown_prompt");
}

#[tokio::test]
async fn an_answer_holds_for_the_domains_that_the_family_has_seen() {
    let world = World::with_home().await;
    world.put(THING, r#"{"mode":"asking"}"#).await.ok();
    let prompt = world.wants("phone", &["vendor.test"]).await;
    let seen = world.shown(&prompt).await;
    world.wants("phone", &["c2.test"]).await;
    for answer in ["yes", "no"] {
        let refused = world.answer_seen(&prompt, answer, &seen).await;
        refused.is_problem(409, "changed_since");
        assert_eq!(refused.json["field"], "domains");
    }
    let thing = world.get(THING).await.ok().json;
    assert_eq!(
        (&thing["allowed"], &thing["denied"]),
        (&json!([]), &json!([]))
    );
    let other = ["vendor.test".to_owned(), "other.test".to_owned()];
    let refused = world.answer_seen(&prompt, "yes", &other).await;
    refused.is_problem(409, "changed_since");
    let unsaid = world.put(&prompt, r#"{"answer":"yes"}"#).await;
    unsaid.is_problem(422, "body");
    for (domains, code) in [(json!(["a b"]), "name"), (json!(vec!["a"; 65]), "limit")] {
        let body = json!({ "answer": "yes", "domains": domains });
        let refused = world.put(&prompt, &body.to_string()).await;
        refused.is_problem(422, code);
    }
    world.answer(&prompt, "yes").await.ok();
    let thing = world.get(THING).await.ok().json;
    assert_eq!(domains(&thing["allowed"]), ["c2.test", "vendor.test"]);
}
