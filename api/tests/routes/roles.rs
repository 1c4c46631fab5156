//! Authorisation: every route of the document, requested by every role, compared with one table.
//!
//! A route that is not in the table fails these tests: its author enters its guard here.

use std::{collections::BTreeMap, sync::Arc};

use axum::http::Method;
use policy_store::Role;
use serde_json::{Value, json};

use crate::world::{Answer, World, author};

/// The guard of each route, see `api/src/auth/guards.rs`; `open` needs no key. `…` is a household,
/// each of its people, and each of its devices.
const TABLE: &str = "
    open     GET /healthz
    open     GET /readyz
    open     GET /readyz/dns
    open     GET /metrics
    open     POST /v1/session
    open     GET /v1/session
    open     DELETE /v1/session
    open     GET /v1/push/key
    open     GET /v1/push
    open     PUT /v1/push
    open     DELETE /v1/push
    anyone   GET /v1/me
    holder   GET /v1/households/{id}/sessions
    holder   DELETE /v1/households/{id}/sessions
    holder   DELETE /v1/households/{id}/sessions/{session}
    holder   GET /v1/households/{id}/links
    holder   POST /v1/households/{id}/links
    holder   DELETE /v1/households/{id}/links/{link}
    operator GET /v1/limits
    anyone   GET /v1/categories
    anyone   GET /v1/presets
    anyone   GET /v1/explain
    reader   GET /v1/households
    family   PUT /v1/households/{id}
    viewer   GET /v1/households/{id}
    operator DELETE /v1/households/{id}
    member   GET /v1/households/{id}/home
    family   GET /v1/households/{id}/changes
    family   POST /v1/households/{id}/changes/{version}/undo
    operator PUT /v1/households/{id}/networks/{cidr}
    operator DELETE /v1/households/{id}/networks/{cidr}
    family   PUT …/categories/{slug}
    family   DELETE …/categories/{slug}
    family   PUT …/names/{domain}
    family   DELETE …/names/{domain}
    family   PUT …/safe-search
    family   PUT …/search-unlock
    family   DELETE …/search-unlock
    family   PUT …/bypass
    family   DELETE …/bypass
    family   PUT …/schedules/{name}
    family   DELETE …/schedules/{name}
    family   POST …/grants
    family   DELETE …/grants
    family   DELETE …/grants/{grant}
    family   PUT …/pause
    family   DELETE …/pause
    family   PUT /v1/households/{id}/people/{person}
    viewer   GET /v1/households/{id}/people/{person}
    family   DELETE /v1/households/{id}/people/{person}
    family   PUT /v1/households/{id}/devices/{device}
    viewer   GET /v1/households/{id}/devices/{device}
    family   DELETE /v1/households/{id}/devices/{device}
    family   GET /v1/households/{id}/devices/{device}/thing
    family   PUT /v1/households/{id}/devices/{device}/thing
    family   PUT /v1/households/{id}/devices/{device}/thing/mud
    family   GET /v1/households/{id}/new-devices
    family   PUT /v1/households/{id}/new-devices
    family   PUT /v1/households/{id}/new-devices/hints
    family   PUT /v1/households/{id}/new-devices/{sighting}
    family   GET /v1/households/{id}/prompts
    family   PUT /v1/households/{id}/prompts/{prompt}
    member   GET /v1/households/{id}/history
    holder   PUT /v1/households/{id}/history
    holder   DELETE /v1/households/{id}/history
    home     GET /v1/households/{id}/activity
    holder   DELETE /v1/households/{id}/activity
    viewer   GET /v1/households/{id}/effective
    member   GET /v1/households/{id}/effective/{device}
    viewer   GET /v1/households/{id}/keys
    holder   POST /v1/households/{id}/keys
    holder   DELETE /v1/households/{id}/keys/{key}
    member   GET /v1/households/{id}/requests
    member   POST /v1/households/{id}/requests
    family   PUT /v1/households/{id}/requests/{request}
    member   GET /v1/households/{id}/events
    open     GET /v1/check
    open     GET /v1/home-test
    open     POST /v1/reports
    reader   GET /v1/reports
    reader   GET /v1/reports/{report}
    operator PUT /v1/reports/{report}
    reader   GET /v1/reports/choice
    reader   GET /v1/reports/export
    reader   GET /v1/feeds
    operator POST /v1/feeds
    reader   GET /v1/feeds/{name}
    operator PUT /v1/feeds/{name}
    operator DELETE /v1/feeds/{name}
    operator POST /v1/feeds/{name}/refresh
    operator POST /v1/feeds/{name}/approve
    operator POST /v1/feeds/{name}/rollback
    reader   GET /v1/feeds/{name}/what-if
    reader   GET /v1/mandates
    reader   GET /v1/mandates/{id}
    operator PUT /v1/mandates/{id}
    operator DELETE /v1/mandates/{id}
    reader   GET /v1/negative-trust-anchors
    reader   GET /v1/negative-trust-anchors/{name}
    operator PUT /v1/negative-trust-anchors/{name}
    operator DELETE /v1/negative-trust-anchors/{name}
    reader   GET /v1/lists
    reader   GET /v1/lists/generations
    reader   GET /v1/lists/diff
    operator POST /v1/lists/rollback
    reader   GET /v1/audit
    reader   GET /v1/audit/verify
    reader   GET /v1/events
";

/// All operations of the OpenAPI document.
pub async fn templates(world: &World) -> Vec<(Method, String)> {
    let document = world
        .send(Method::GET, "/openapi.json", &[], "")
        .await
        .ok()
        .json;
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            operations.push((method.to_uppercase().parse().unwrap(), path.clone()));
        }
    }
    operations
}

/// A path with examples in place of its parameters.
pub fn example(template: &str, household: &str) -> String {
    let known = BTreeMap::from([
        ("id", household),
        ("device", "phone"),
        ("slug", "gambling"),
        ("cidr", "192.0.2.0%2F24"),
        ("domain", "a.example"),
        ("name", "bets"),
    ]);
    let is_of_household = template.starts_with("/v1/households/");
    let one = |segment: &str| match segment
        .strip_prefix('{')
        .and_then(|segment| segment.strip_suffix('}'))
    {
        Some("id") if !is_of_household => "1".to_owned(),
        Some(name) => (*known.get(name).unwrap_or(&"1")).to_owned(),
        None => segment.to_owned(),
    };
    template.split('/').map(one).collect::<Vec<_>>().join("/")
}

/// The table, checked for completeness: guard, method, template.
async fn table(world: &World) -> Vec<(&'static str, Method, String)> {
    let mut table: Vec<(&str, Method, String)> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let places: &[&str] = if words[2].starts_with('…') {
            &["", "/people/{person}", "/devices/{device}"]
        } else {
            &[""]
        };
        for place in places {
            table.push((
                words[0],
                words[1].parse().unwrap(),
                words[2].replace('…', &format!("/v1/households/{{id}}{place}")),
            ));
        }
    }
    let listed = templates(world).await;
    for (method, path) in &listed {
        assert!(
            table.iter().any(|(_, is, of)| (is, of) == (method, path)),
            "{method} {path} is not in the table of roles"
        );
    }
    for (_, method, path) in &table {
        assert!(
            listed.contains(&(method.clone(), path.clone())),
            "{method} {path} is in the table of roles and nowhere else"
        );
    }
    table
}

/// Whether a role may pass a guard, in its own household.
fn may(role: Role, guard: &str, method: &Method) -> bool {
    let roles: &[Role] = match guard {
        "operator" => &[Role::Operator],
        "reader" => &[Role::Operator, Role::Auditor],
        "holder" => &[Role::Operator, Role::Parent],
        "family" => &[Role::Operator, Role::Parent, Role::SecondParent],
        "viewer" => &[
            Role::Operator,
            Role::Auditor,
            Role::Parent,
            Role::SecondParent,
        ],
        "home" => &[
            Role::Operator,
            Role::Parent,
            Role::SecondParent,
            Role::Child,
        ],
        "member" | "anyone" => &Role::ALL,
        other => panic!("{other} is no guard"),
    };
    roles.contains(&role) && (role != Role::Auditor || method == Method::GET)
}

/// A valid request of a role: `explain` needs a query.
fn asked(path: &str) -> String {
    match path {
        "/v1/explain" => "/v1/explain?name=a.example&household=home&device=phone".to_owned(),
        other => other.to_owned(),
    }
}

fn is_let_in(answer: &Answer) -> bool {
    ![401, 403, 429].contains(&answer.status) && answer.json["code"] != "unknown_household"
}

#[tokio::test]
async fn every_route_lets_in_whom_the_table_says_and_refuses_all_others() {
    for role in Role::ALL {
        let world = World::with_home().await;
        let key = world.key_of(role).await;
        // Deleting comes last: what is gone cannot be asked for.
        let mut table = table(&world).await;
        table.sort_by_key(|(_, method, path)| {
            (*method == Method::DELETE, std::cmp::Reverse(path.len()))
        });
        for (guard, method, template) in table.into_iter().filter(|(guard, ..)| *guard != "open") {
            let path = asked(&example(&template, "home"));
            let answer = world.as_key(&key, method.clone(), &path, "").await;
            match may(role, guard, &method) {
                true => assert!(
                    is_let_in(&answer),
                    "{role}: {method} {path}: {} {}",
                    answer.status,
                    answer.text
                ),
                false => answer.is_problem(403, "role"),
            }
        }
    }
}

#[tokio::test]
async fn the_document_lists_the_roles_of_each_operation() {
    let world = World::with_home().await;
    let document = world
        .send(Method::GET, "/openapi.json", &[], "")
        .await
        .ok()
        .json;
    for (guard, method, template) in table(&world).await {
        let operation = &document["paths"][&template][method.as_str().to_lowercase()];
        let expected = match guard {
            "open" => json!(null),
            guard => json!(
                Role::ALL
                    .into_iter()
                    .filter(|role| may(*role, guard, &method))
                    .collect::<Vec<_>>()
            ),
        };
        assert_eq!(operation["x-roles"], expected, "{method} {template}");
    }
}

#[tokio::test]
async fn the_publics_router_has_none_of_the_operators_routes() {
    let mut world = World::with_home().await;
    let table = table(&world).await;
    world.router = api::public_router(Arc::clone(&world.context));
    for (guard, method, template) in table {
        let is_operators = ["operator", "reader"].contains(&guard) || template == "/metrics";
        let path = asked(&example(&template, "home"));
        let answer = world.send(method.clone(), &path, &[], "").await;
        assert_eq!(
            answer.status == 404 && answer.json["code"] == "unknown_route",
            is_operators,
            "{method} {template}: {} {}",
            answer.status,
            answer.text
        );
    }
}

#[tokio::test]
async fn another_household_is_told_that_this_one_is_unknown_on_every_route() {
    let world = World::with_home().await;
    world.put("/v1/households/other", "{}").await.ok();
    world
        .put("/v1/households/other/devices/phone", "{}")
        .await
        .ok();
    let before = world.get("/v1/households/home").await.text;
    for role in [Role::Parent, Role::SecondParent, Role::Child] {
        let (key, _) = world.key_in(role, "other").await;
        for (guard, method, template) in table(&world)
            .await
            .into_iter()
            .filter(|(guard, ..)| *guard != "open")
        {
            let there = world
                .as_key(
                    &key,
                    method.clone(),
                    &asked(&example(&template, "home")),
                    r#"{"state":"block"}"#,
                )
                .await;
            if template.starts_with("/v1/households/{id}") {
                let nowhere = world
                    .as_key(
                        &key,
                        method.clone(),
                        &example(&template, "none"),
                        r#"{"state":"block"}"#,
                    )
                    .await;
                for answer in [&there, &nowhere] {
                    answer.is_problem(404, "unknown_household");
                }
                assert_eq!(
                    there.text.replace("home", "none"),
                    nowhere.text,
                    "{role}: {method} {template}"
                );
                assert_eq!(
                    there.headers, nowhere.headers,
                    "{role}: {method} {template}"
                );
            } else if template == "/v1/explain" {
                there.is_problem(404, "unknown_household");
            } else if !may(role, guard, &method) {
                there.is_problem(403, "role");
            }
        }
    }
    assert_eq!(world.get("/v1/households/home").await.text, before);
}

#[tokio::test]
async fn an_explanation_is_of_ones_own_line_but_for_operators_and_auditors() {
    let world = World::with_home().await;
    world
        .put("/v1/households/home/devices/tablet", "{}")
        .await
        .ok();
    world.put("/v1/households/other", "{}").await.ok();
    let cases = [
        // where; operator, auditor, parent, second parent, child
        ("", [200, 200, 403, 403, 403]),
        ("&household=home", [200, 200, 200, 200, 403]),
        ("&household=home&device=phone", [200, 200, 200, 200, 200]),
        ("&household=home&device=tablet", [200, 200, 200, 200, 403]),
        ("&household=home&device=none", [404, 404, 404, 404, 403]),
        ("&household=other", [200, 200, 404, 404, 404]),
        ("&household=none", [404, 404, 404, 404, 404]),
    ];
    for (place, expected) in cases {
        for (role, expected) in Role::ALL.into_iter().zip(expected) {
            let key = world.key_of(role).await;
            let answer = world
                .as_key(
                    &key,
                    Method::GET,
                    &format!("/v1/explain?name=bets.example{place}"),
                    "",
                )
                .await;
            assert_eq!(answer.status, expected, "{role} {place}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_second_parent_sets_all_but_whether_the_household_is_filtered() {
    let world = World::with_home().await;
    let home = "/v1/households/home";
    let parent = world.key_of(Role::Parent).await;
    let second = world.key_of(Role::SecondParent).await;
    let put = async |key: &str, body: &str| world.as_key(key, Method::PUT, home, body).await;
    for key in [&parent, &second] {
        put(
            key,
            r#"{"preset":"light","time_zone":"Europe/London","locale":"en-GB"}"#,
        )
        .await
        .ok();
        let refused = put(key, r#"{"external_ref":"crm-1"}"#).await;
        refused.is_problem(403, "role");
        assert_eq!(refused.json["field"], "external_ref");
    }
    put(&parent, r#"{"filtering":"off"}"#).await.ok();
    let refused = put(&second, r#"{"filtering":"on","preset":"strict"}"#).await;
    refused.is_problem(403, "role");
    assert_eq!(refused.json["field"], "filtering");
    let shown = world.get(home).await.json;
    assert_eq!(
        (
            &shown["filtering"],
            &shown["preset"],
            &shown["external_ref"]
        ),
        (&json!("off"), &json!("light"), &json!(null))
    );
}

#[tokio::test]
async fn what_is_set_is_signed_by_the_key_that_set_it_and_so_is_the_audit() {
    let world = World::with_home().await;
    let (parent, id) = world.key_in(Role::Parent, "home").await;
    world
        .as_key(
            &parent,
            Method::PUT,
            "/v1/households/home/categories/gambling",
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    let shown = world.get("/v1/households/home").await.json;
    assert_eq!(
        shown["categories"]["gambling"]["set_by"],
        format!("key:{id}")
    );
    let audit = world.get("/v1/audit?order=newest&limit=1").await.json["records"][0].clone();
    assert_eq!(
        (&audit["actor"], &audit["role"]),
        (&json!(format!("key:{id}")), &json!("parent"))
    );
}

#[tokio::test]
async fn a_parent_makes_and_ends_keys_of_the_family_and_the_audit_knows() {
    let world = World::with_home().await;
    let keys = "/v1/households/home/keys";
    let parent = world.key_of(Role::Parent).await;
    let made = world
        .as_key(
            &parent,
            Method::POST,
            keys,
            r#"{"role":"child","device":"phone","label":"Ella"}"#,
        )
        .await
        .ok();
    let id = made.json["id"].as_str().unwrap().to_owned();
    let secret = made.json["secret"].as_str().unwrap().to_owned();
    assert_eq!(
        (
            made.status,
            made.header("cache-control"),
            &made.json["device"]
        ),
        (201, "no-store", &json!("phone"))
    );
    let child = format!("Bearer {secret}");
    world
        .as_key(&child, Method::GET, "/v1/categories", "")
        .await
        .ok();
    world
        .as_key(&child, Method::POST, keys, r#"{"role":"parent"}"#)
        .await
        .is_problem(403, "role");
    let listed = world.as_key(&parent, Method::GET, keys, "").await.ok();
    assert!(
        listed.text.contains(&id) && !listed.text.contains(&secret),
        "{}",
        listed.text
    );
    for (body, code, field) in [
        (r#"{"role":"operator"}"#, "role", "role"),
        (r#"{"role":"king"}"#, "body", "role"),
        (r#"{"role":"child"}"#, "device", "device"),
        (r#"{"role":"parent","device":"phone"}"#, "device", "device"),
        (
            r#"{"role":"child","device":"none"}"#,
            "unknown_device",
            "device",
        ),
        (r#"{}"#, "body", "role"),
    ] {
        let refused = world.as_key(&parent, Method::POST, keys, body).await;
        refused.is_problem(422, code);
        assert_eq!(refused.json["field"], field, "{body}");
    }
    world
        .as_key(
            &parent,
            Method::POST,
            keys,
            &json!({ "role": "parent", "label": "x".repeat(129) }).to_string(),
        )
        .await
        .is_problem(422, "limit");
    let ended = world
        .as_key(&parent, Method::DELETE, &format!("{keys}/{id}"), "")
        .await
        .ok();
    assert!(ended.json["revoked_at"].is_string());
    world
        .as_key(&child, Method::GET, "/v1/categories", "")
        .await
        .is_problem(401, "key_wrong");
    world
        .as_key(&parent, Method::DELETE, &format!("{keys}/{id}"), "")
        .await
        .is_problem(404, "unknown_key");
    world
        .as_key(
            &parent,
            Method::DELETE,
            &format!("{keys}/{}", world.key_id),
            "",
        )
        .await
        .is_problem(404, "unknown_key");
    world.get("/v1/categories").await.ok();
    let audit = world.get(&format!("/v1/audit?subject=key:{id}")).await.ok();
    let rows = audit.json["records"].as_array().unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["action"].as_str().unwrap(),
                row["role"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [("create", "parent"), ("revoke", "parent")]);
    assert_eq!(
        (&rows[0]["after"]["household"], &rows[0]["after"]["role"]),
        (&json!("home"), &json!("child"))
    );
    assert!(!world.get("/v1/audit").await.text.contains(&secret[3..]));
    assert_eq!(world.get("/v1/audit/verify").await.json["is_whole"], true);
}

#[tokio::test]
async fn a_key_of_a_deleted_household_or_device_never_opens_again() {
    let world = World::with_home().await;
    let parent = world.key_of(Role::Parent).await;
    let child = world.key_of(Role::Child).await;
    let phone = "/v1/households/home/devices/phone";
    world.delete(phone).await.ok();
    let is_out = async |key: &str| {
        world
            .as_key(key, Method::GET, "/v1/categories", "")
            .await
            .is_problem(401, "key_wrong")
    };
    is_out(&child).await;
    world.put(phone, "{}").await.ok();
    is_out(&child).await;
    world
        .as_key(&parent, Method::GET, "/v1/categories", "")
        .await
        .ok();
    world.delete("/v1/households/home").await.ok();
    is_out(&parent).await;
    world.put("/v1/households/home", "{}").await.ok();
    is_out(&parent).await;
    let revoked = world
        .context
        .control
        .store
        .audit(None, policy_store::SortOrder::Newest, None, 10)
        .await
        .unwrap()
        .records;
    assert_eq!(
        revoked.iter().filter(|row| row.action == "revoke").count(),
        2
    );
}

#[tokio::test]
async fn a_household_has_so_many_keys_and_no_more_and_forgets_old_ones() {
    let world = World::with_home().await;
    let home: policy::rules::household::Id = "home".parse().unwrap();
    for _ in 0..70 {
        let (_, id) = world.key_in(Role::Parent, "home").await;
        world
            .context
            .control
            .store
            .revoke_key(&author(), Some(&home), &id)
            .await
            .unwrap()
            .unwrap();
    }
    let keys = world.get("/v1/households/home/keys").await.json["keys"]
        .as_array()
        .unwrap()
        .len();
    assert!((60..70).contains(&keys), "{keys}");
    for _ in 0..policy_store::KEYS_MAX {
        world.key_in(Role::Parent, "home").await;
    }
    world
        .post("/v1/households/home/keys", r#"{"role":"parent"}"#)
        .await
        .is_problem(422, "limit");
    world
        .get("/v1/households/none/keys")
        .await
        .is_problem(404, "unknown_household");
    world
        .post("/v1/households/none/keys", r#"{"role":"parent"}"#)
        .await
        .is_problem(404, "unknown_household");
}

#[tokio::test]
async fn a_device_made_anew_stays_left_alone_until_the_holder_says() {
    let world = World::with_home().await;
    let dad = world.key_of(Role::SecondParent).await;
    let mum = world.key_of(Role::Parent).await;
    let cam = "/v1/households/home/devices/cam";
    let tv = "/v1/households/home/devices/tv";
    let mac = json!([{ "mac": "02:00:5e:00:53:09" }]);
    let with = |log: Value| {
        let mut body = json!({ "identifiers": mac });
        if !log.is_null() {
            body["log"] = log;
        }
        body.to_string()
    };
    let put =
        async |key: &str, path: &str, body: &str| world.as_key(key, Method::PUT, path, body).await;
    put(&mum, cam, &with(json!(false))).await.ok();
    world.as_key(&dad, Method::DELETE, cam, "").await.ok();
    let refused = put(&dad, cam, &with(json!(true))).await;
    refused.is_problem(403, "role");
    assert_eq!(refused.json["field"], "log");
    let made = put(&dad, cam, &with(Value::Null)).await.ok();
    assert_eq!(made.json["log"], false);
    // Nor on another device, to which the identifier goes.
    put(&dad, tv, "{}").await.ok();
    put(&dad, cam, r#"{"identifiers":[]}"#).await.ok();
    let moved = put(&dad, tv, &with(Value::Null)).await.ok();
    assert_eq!(moved.json["log"], false);
    put(&dad, tv, &with(json!(true)))
        .await
        .is_problem(403, "role");
    // The account holder decides.
    world.as_key(&dad, Method::DELETE, tv, "").await.ok();
    let made = put(&mum, tv, &with(json!(true))).await.ok();
    assert_eq!(made.json["log"], true);
    world.as_key(&dad, Method::DELETE, tv, "").await.ok();
    let made = put(&dad, tv, &with(Value::Null)).await.ok();
    assert_eq!(made.json["log"], true);
}
