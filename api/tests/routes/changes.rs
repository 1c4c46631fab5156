//! The history of a household's changes, and undo.

use axum::http::Method;
use policy_store::{NewKey, Role};
use serde_json::{Value, json};

use crate::world::{Answer, World, author};

const HOME: &str = "/v1/households/home";
const CHANGES: &str = "/v1/households/home/changes";

impl World {
    /// A key of a parent with a label.
    async fn parent(&self, role: Role, label: &str) -> String {
        let new = NewKey::new(role, Some("home".parse().unwrap()), None, label).unwrap();
        let store = &self.context.control.store;
        let (secret, _) = store.create_key(&author(), new).await.unwrap();
        format!("Bearer {secret}")
    }

    /// A write of a family; returns the version that it made.
    async fn writes(&self, key: &str, method: Method, path: &str, body: &str) -> u64 {
        let path = format!("{HOME}{path}");
        self.as_key(key, method, &path, body).await.ok().version()
    }

    async fn undoes(&self, key: &str, version: u64) -> Answer {
        let path = format!("{CHANGES}/{version}/undo");
        self.as_key(key, Method::POST, &path, "").await
    }

    async fn changes(&self, key: &str) -> Vec<Value> {
        let page = self.as_key(key, Method::GET, CHANGES, "").await.ok();
        page.json["changes"].as_array().unwrap().clone()
    }
}

const BLOCK: &str = r#"{"state":"block"}"#;

#[tokio::test]
async fn the_history_says_who_changed_what_and_an_undo_takes_it_back() {
    let world = World::with_home().await;
    let mum = world.parent(Role::Parent, "Mum").await;
    let dad = world.parent(Role::SecondParent, "Dad").await;
    let version = world
        .writes(&mum, Method::PUT, "/categories/gambling", BLOCK)
        .await;
    assert!(world.blocks("192.0.2.7", "bets.example"));
    let first = world.changes(&dad).await[0].clone();
    assert_eq!(
        (&first["version"], &first["by_name"], &first["role"]),
        (&json!(version), &json!("Mum"), &json!("parent"))
    );
    assert_eq!(
        first["what"],
        json!([{ "text_key": "category", "level": "household", "of": null, "of_name": null,
            "subject": "gambling", "before": null, "after": "block" }])
    );
    assert!(first["undoable_until"].is_string());
    // Later changes of other things stay.
    world
        .writes(&mum, Method::PUT, "/categories/adult", BLOCK)
        .await;
    let undone = world.undoes(&dad, version).await.ok();
    assert_eq!(undone.version(), version + 2);
    assert!(!world.blocks("192.0.2.7", "bets.example"));
    let home = world.get(HOME).await.json;
    assert_eq!(home["categories"]["gambling"], json!(null));
    assert_eq!(home["categories"]["adult"]["state"], "block");
    let changes = world.changes(&mum).await;
    assert_eq!(
        (&changes[0]["undoes"], &changes[0]["by_name"]),
        (&json!(version), &json!("Dad"))
    );
    assert_eq!(
        (&changes[2]["undone_by_name"], &changes[2]["undoable_until"]),
        (&json!("Dad"), &json!(null))
    );
    world
        .undoes(&mum, version)
        .await
        .is_problem(409, "changed_since");
    // An undo is a change like others.
    world.undoes(&mum, version + 2).await.ok();
    assert!(world.blocks("192.0.2.7", "bets.example"));
    assert_eq!(world.get("/v1/audit/verify").await.json["is_whole"], true);
}

#[tokio::test]
async fn what_was_changed_since_is_not_undone() {
    let world = World::with_home().await;
    let mum = world.parent(Role::Parent, "Mum").await;
    let version = world
        .writes(&mum, Method::PUT, "/categories/gambling", BLOCK)
        .await;
    world
        .writes(&mum, Method::PUT, "/categories/gambling", BLOCK)
        .await;
    let before = world.get(HOME).await.text;
    let refused = world.undoes(&mum, version).await;
    refused.is_problem(409, "changed_since");
    let detail = refused.json["detail"].as_str().unwrap();
    assert!(detail.contains("categories.gambling"), "{detail}");
    assert_eq!(world.get(HOME).await.text, before);
    for unknown in ["0", "9999", "x", "-1"] {
        let path = format!("{CHANGES}/{unknown}/undo");
        world
            .as_key(&mum, Method::POST, &path, "")
            .await
            .is_problem(404, "unknown_change");
    }
}

#[tokio::test]
async fn an_undo_takes_back_no_newer_decision_of_another_parent() {
    let world = World::with_home().await;
    let mum = world.parent(Role::Parent, "Mum").await;
    let dad = world.parent(Role::SecondParent, "Dad").await;
    let level = async |key: &str, level: &str| {
        let body = json!({ "preset": level }).to_string();
        world.writes(key, Method::PUT, "", &body).await
    };
    let is = async |level: &str| assert_eq!(world.get(HOME).await.json["preset"], level);
    level(&mum, "light").await;
    let strict = level(&mum, "strict").await;
    let moderate = level(&dad, "moderate").await;
    let again = level(&dad, "strict").await;
    // The value is the one that the change gave, but it is Dad's decision.
    let refused = world.undoes(&mum, strict).await;
    refused.is_problem(409, "changed_since");
    let detail = refused.json["detail"].as_str().unwrap();
    assert!(detail.contains("preset"), "{detail}");
    is("strict").await;
    // What was undone counts for nothing: one after the other, the newest first.
    for (version, before) in [(again, "moderate"), (moderate, "strict"), (strict, "light")] {
        world.undoes(&mum, version).await.ok();
        is(before).await;
    }
    // It is undone once, also after a new decision of the same value.
    level(&dad, "strict").await;
    world
        .undoes(&mum, strict)
        .await
        .is_problem(409, "changed_since");
    is("strict").await;
}

#[tokio::test]
async fn an_undo_allows_nothing_that_is_blocked_by_order_meanwhile() {
    let world = World::with_home().await;
    let mum = world.parent(Role::Parent, "Mum").await;
    let (name, allow) = ("/names/news.example", r#"{"state":"allow"}"#);
    world.writes(&mum, Method::PUT, name, allow).await;
    let stays = "/names/www.news.example";
    world.writes(&mum, Method::PUT, stays, allow).await;
    let other = world
        .writes(&mum, Method::PUT, "/categories/gambling", BLOCK)
        .await;
    let removed = world.writes(&mum, Method::DELETE, name, "").await;
    let grant = r#"{"domain":"news.example","minutes":30}"#;
    let path = format!("{HOME}/devices/phone/grants");
    let granted = world.as_key(&mum, Method::POST, &path, grant).await.ok();
    let path = format!(
        "/devices/phone/grants/{}",
        granted.json["grant"].as_str().unwrap()
    );
    let ended = world.writes(&mum, Method::DELETE, &path, "").await;
    let order = r#"{"name":"news.example","basis":"court-order"}"#;
    world.put("/v1/mandates/o1", order).await.ok();
    let before = world.get(HOME).await.text;
    for version in [removed, ended] {
        world
            .undoes(&mum, version)
            .await
            .is_problem(409, "mandatory");
    }
    assert_eq!(world.get(HOME).await.text, before);
    // Other changes are undone as before, beside an allow that was there when the order came.
    world.undoes(&mum, other).await.ok();
}

#[tokio::test]
async fn a_removed_device_comes_back_with_its_settings_but_not_with_its_keys() {
    let world = World::with_home().await;
    let mum = world.parent(Role::Parent, "Mum").await;
    let child = world.key_of(Role::Child).await;
    world
        .writes(
            &mum,
            Method::PUT,
            "/devices/phone/categories/gambling",
            BLOCK,
        )
        .await;
    let before = world.get(&format!("{HOME}/devices/phone")).await.json;
    let version = world
        .writes(&mum, Method::DELETE, "/devices/phone", "")
        .await;
    assert_eq!(
        world.changes(&mum).await[0]["what"][0]["before"]["name"],
        "Ella's"
    );
    assert!(!world.blocks("192.0.2.7", "bets.example"));
    world.undoes(&mum, version).await.ok();
    assert!(world.blocks("192.0.2.7", "bets.example"));
    let after = world.get(&format!("{HOME}/devices/phone")).await.json;
    assert_eq!(after["categories"], before["categories"]);
    assert_eq!(after["identifiers"], before["identifiers"]);
    world
        .as_key(&child, Method::GET, "/v1/categories", "")
        .await
        .is_problem(401, "key_wrong");
    // Not where another device has its address meanwhile.
    let version = world
        .writes(&mum, Method::DELETE, "/devices/phone", "")
        .await;
    let body = r#"{"identifiers":[{"address":"192.0.2.7"}]}"#;
    world.writes(&mum, Method::PUT, "/devices/new", body).await;
    world
        .undoes(&mum, version)
        .await
        .is_problem(409, "changed_since");
}

#[tokio::test]
async fn a_role_undoes_only_what_it_may_change() {
    let world = World::with_home().await;
    let mum = world.parent(Role::Parent, "Mum").await;
    let dad = world.parent(Role::SecondParent, "Dad").await;
    let operator = format!("Bearer {}", world.key);
    let filtering = world
        .writes(&mum, Method::PUT, "", r#"{"filtering":"off"}"#)
        .await;
    let refused = world.undoes(&dad, filtering).await;
    refused.is_problem(403, "role");
    assert_eq!(refused.json["field"], "filtering");
    assert_eq!(world.changes(&dad).await[0]["undoable_until"], json!(null));
    let log = world
        .writes(&mum, Method::PUT, "/devices/phone", r#"{"log":false}"#)
        .await;
    let refused = world.undoes(&dad, log).await;
    refused.is_problem(403, "role");
    assert_eq!(refused.json["field"], "log");
    let path = "/networks/198.51.100.0%2F24";
    let network = world.writes(&operator, Method::PUT, path, "").await;
    let refused = world.undoes(&mum, network).await;
    refused.is_problem(403, "role");
    assert_eq!(refused.json["field"], "networks");
    for version in [filtering, log] {
        world.undoes(&mum, version).await.ok();
    }
    world.undoes(&operator, network).await.ok();
}

#[tokio::test]
async fn a_history_is_read_page_by_page() {
    let world = World::with_home().await;
    let mum = world.parent(Role::Parent, "Mum").await;
    let mut made = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        let path = format!("/names/{name}.example");
        made.push(world.writes(&mum, Method::PUT, &path, BLOCK).await);
    }
    let (mut read, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("{CHANGES}?limit=2{cursor}");
        let page = world.as_key(&mum, Method::GET, &path, "").await.ok().json;
        let changes = page["changes"].as_array().unwrap();
        read.extend(
            changes
                .iter()
                .map(|change| change["version"].as_u64().unwrap()),
        );
        let Some(next) = page["next"].as_u64() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    read.reverse();
    assert_eq!(read[read.len() - 5..], made);
    world
        .as_key(&mum, Method::GET, &format!("{CHANGES}?limit=0"), "")
        .await
        .is_problem(422, "limit");
}

#[tokio::test]
async fn an_undo_assigns_no_device_to_a_person_that_is_gone() {
    let world = World::with_home().await;
    let mum = world.parent(Role::Parent, "Mum").await;
    let phone = "/devices/phone";
    world.writes(&mum, Method::PUT, "/people/ella", "{}").await;
    let assigned = r#"{"person":"ella"}"#;
    world.writes(&mum, Method::PUT, phone, assigned).await;
    let taken = r#"{"person":null}"#;
    let taken = world.writes(&mum, Method::PUT, phone, taken).await;
    world.writes(&mum, Method::DELETE, "/people/ella", "").await;
    let refused = world.undoes(&mum, taken).await;
    refused.is_problem(409, "changed_since");
    // And takes no person away from a device.
    let made = world.writes(&mum, Method::PUT, "/people/tom", "{}").await;
    let assigned = r#"{"person":"tom"}"#;
    world.writes(&mum, Method::PUT, phone, assigned).await;
    let refused = world.undoes(&mum, made).await;
    refused.is_problem(409, "changed_since");
}

#[tokio::test]
async fn an_undo_counts_no_device_again_that_was_left_alone() {
    let world = World::with_home().await;
    let mum = world.parent(Role::Parent, "Mum").await;
    let dad = world.parent(Role::SecondParent, "Dad").await;
    let body = r#"{"identifiers":[{"mac":"02:00:5e:00:53:09"}]}"#;
    world.writes(&dad, Method::PUT, "/devices/cam", body).await;
    let removed = world.writes(&dad, Method::DELETE, "/devices/cam", "").await;
    let alone = r#"{"log":false,"identifiers":[{"mac":"02:00:5e:00:53:09"}]}"#;
    world.writes(&mum, Method::PUT, "/devices/new", alone).await;
    world.writes(&dad, Method::DELETE, "/devices/new", "").await;
    world.undoes(&dad, removed).await.ok();
    let cam = world.get(&format!("{HOME}/devices/cam")).await.ok();
    assert_eq!(cam.json["log"], false);
    // The change does not show as a setting.
    let changes = world.changes(&mum).await;
    let what = changes[0]["what"].as_array().unwrap();
    assert_eq!(what.len(), 1, "{what:?}");
}
