//! Bad input: a pointed problem each, and nothing half-applies.

use axum::{body::Body, http::Method};
use policy::rules::household::{CUSTOM_NAMES_MAX, DEVICES_MAX, IDENTIFIERS_MAX, NETWORKS_MAX};
use serde_json::json;

use crate::world::World;

const HOME: &str = "/v1/households/home";
const PHONE: &str = "/v1/households/home/devices/phone";

#[tokio::test]
async fn every_kind_of_bad_input_is_a_problem_that_names_its_field() {
    let world = World::with_home().await;
    world.put("/v1/households/other", "{}").await.ok();
    world
        .put("/v1/households/other/networks/198.51.100.0%2F24", "")
        .await
        .ok();
    let before = world.get(HOME).await.text;
    let long = format!(r#"{{"external_ref":"{}"}}"#, "x".repeat(257));
    let cases = [
        // the path
        (
            Method::PUT,
            "/v1/households/a%20b".to_owned(),
            "{}",
            422,
            "identifier",
            Some("id"),
        ),
        (
            Method::PUT,
            "/v1/households/..%2Fetc".to_owned(),
            "{}",
            422,
            "identifier",
            Some("id"),
        ),
        (
            Method::PUT,
            format!("/v1/households/{}", "x".repeat(65)),
            "{}",
            422,
            "identifier",
            Some("id"),
        ),
        (
            Method::GET,
            "/v1/households/%FF".to_owned(),
            "",
            400,
            "path",
            None,
        ),
        (
            Method::PUT,
            format!("{HOME}/networks/nowhere"),
            "",
            422,
            "cidr",
            Some("cidr"),
        ),
        (
            Method::PUT,
            format!("{HOME}/networks/192.0.2.7%2F24"),
            "",
            422,
            "cidr",
            Some("cidr"),
        ),
        (
            Method::PUT,
            format!("{HOME}/networks/192.0.2.0%2F33"),
            "",
            422,
            "cidr",
            Some("cidr"),
        ),
        (
            Method::PUT,
            format!("{HOME}/networks/%3A%3Affff%3A192.0.2.0%2F120"),
            "",
            422,
            "cidr",
            Some("cidr"),
        ),
        (
            Method::PUT,
            format!("{HOME}/networks/198.51.100.0%2F24"),
            "",
            409,
            "network_taken",
            Some("cidr"),
        ),
        (
            Method::DELETE,
            format!("{HOME}/networks/203.0.113.0%2F24"),
            "",
            404,
            "unknown_network",
            None,
        ),
        (
            Method::PUT,
            format!("{HOME}/categories/gamblign"),
            r#"{"state":"block"}"#,
            404,
            "unknown_category",
            Some("slug"),
        ),
        (
            Method::PUT,
            format!("{HOME}/names/not%20a%20name"),
            r#"{"state":"block"}"#,
            422,
            "name",
            Some("domain"),
        ),
        (
            Method::PUT,
            format!("{HOME}/names/."),
            r#"{"state":"block"}"#,
            422,
            "name",
            Some("domain"),
        ),
        (
            Method::DELETE,
            format!("{HOME}/names/a.example"),
            "",
            404,
            "unknown_name",
            None,
        ),
        (
            Method::DELETE,
            format!("{PHONE}/names/a.example"),
            "",
            404,
            "unknown_name",
            None,
        ),
        (
            Method::GET,
            format!("{HOME}/devices/none"),
            "",
            404,
            "unknown_device",
            None,
        ),
        (
            Method::DELETE,
            format!("{HOME}/devices/none"),
            "",
            404,
            "unknown_device",
            None,
        ),
        (
            Method::PUT,
            format!("{HOME}/devices/none/categories/gambling"),
            r#"{"state":"block"}"#,
            404,
            "unknown_device",
            None,
        ),
        (
            Method::PUT,
            format!("{HOME}/devices/none/names/a.example"),
            r#"{"state":"block"}"#,
            404,
            "unknown_device",
            None,
        ),
        (
            Method::GET,
            "/v1/nothing".to_owned(),
            "",
            404,
            "unknown_route",
            None,
        ),
        (Method::GET, "/".to_owned(), "", 404, "unknown_route", None),
        (Method::POST, HOME.to_owned(), "{}", 405, "method", None),
        // the body
        (Method::PUT, HOME.to_owned(), "{", 400, "json", None),
        (Method::PUT, HOME.to_owned(), "{} {}", 400, "json", None),
        (
            Method::PUT,
            HOME.to_owned(),
            r#"["Europe/Berlin"]"#,
            422,
            "body",
            None,
        ),
        (Method::PUT, HOME.to_owned(), "null", 422, "body", None),
        (Method::PUT, HOME.to_owned(), "no", 400, "json", None),
        (
            Method::PUT,
            HOME.to_owned(),
            r#"{"colour":1}"#,
            422,
            "body",
            Some("colour"),
        ),
        (
            Method::PUT,
            HOME.to_owned(),
            r#"{"time_zone":"Mars/Base"}"#,
            422,
            "time_zone",
            Some("time_zone"),
        ),
        (
            Method::PUT,
            HOME.to_owned(),
            r#"{"time_zone":"Etc/Unknown"}"#,
            422,
            "time_zone",
            Some("time_zone"),
        ),
        (
            Method::PUT,
            HOME.to_owned(),
            r#"{"time_zone":7}"#,
            422,
            "body",
            Some("time_zone"),
        ),
        (
            Method::PUT,
            HOME.to_owned(),
            r#"{"preset":"harsh"}"#,
            422,
            "unknown_preset",
            Some("preset"),
        ),
        (
            Method::PUT,
            HOME.to_owned(),
            r#"{"filtering":"perhaps"}"#,
            422,
            "body",
            Some("filtering"),
        ),
        (
            Method::PUT,
            HOME.to_owned(),
            r#"{"locale":"en GB"}"#,
            422,
            "locale",
            Some("locale"),
        ),
        (
            Method::PUT,
            HOME.to_owned(),
            &long,
            422,
            "limit",
            Some("external_ref"),
        ),
        (
            Method::PUT,
            format!("{HOME}/categories/gambling"),
            "",
            422,
            "body",
            Some("state"),
        ),
        (
            Method::PUT,
            format!("{HOME}/categories/gambling"),
            r#"{"state":"perhaps"}"#,
            422,
            "body",
            Some("state"),
        ),
        (
            Method::PUT,
            format!("{HOME}/names/a.example"),
            r#"{"state":"block","scope":"descendants"}"#,
            422,
            "scope",
            Some("scope"),
        ),
        (
            Method::PUT,
            PHONE.to_owned(),
            r#"{"identifiers":[{"mac":"zz"}]}"#,
            422,
            "body",
            Some("identifiers[0].mac"),
        ),
        (
            Method::PUT,
            PHONE.to_owned(),
            r#"{"identifiers":[{"address":"192.0.2"}]}"#,
            422,
            "body",
            Some("identifiers[0].address"),
        ),
        (
            Method::PUT,
            PHONE.to_owned(),
            r#"{"name":""}"#,
            422,
            "limit",
            Some("name"),
        ),
        (
            Method::PUT,
            PHONE.to_owned(),
            r#"{"categories":{}}"#,
            422,
            "body",
            Some("categories"),
        ),
        (
            Method::PUT,
            format!("{HOME}/categories/gambling"),
            r#"{"state":"block","state":"allow"}"#,
            422,
            "body",
            Some("state"),
        ),
        // the query
        (
            Method::GET,
            "/v1/households?limit=0".to_owned(),
            "",
            422,
            "limit",
            Some("limit"),
        ),
        (
            Method::GET,
            "/v1/households?address=192.0.2.7&limit=0".to_owned(),
            "",
            422,
            "limit",
            Some("limit"),
        ),
        (
            Method::GET,
            "/v1/households?limit=many".to_owned(),
            "",
            400,
            "query",
            Some("limit"),
        ),
        (
            Method::GET,
            "/v1/households?colour=1".to_owned(),
            "",
            400,
            "query",
            Some("colour"),
        ),
        (
            Method::GET,
            "/v1/households?address=here".to_owned(),
            "",
            422,
            "identifier",
            Some("address"),
        ),
        (
            Method::GET,
            "/v1/households?cursor=a%20b".to_owned(),
            "",
            422,
            "identifier",
            Some("cursor"),
        ),
        (
            Method::GET,
            "/v1/explain".to_owned(),
            "",
            400,
            "query",
            Some("name"),
        ),
        (
            Method::GET,
            "/v1/explain?name=a..b".to_owned(),
            "",
            422,
            "name",
            Some("name"),
        ),
        (
            Method::GET,
            "/v1/explain?name=a.example&type=ZZ".to_owned(),
            "",
            422,
            "record_type",
            Some("type"),
        ),
        (
            Method::GET,
            "/v1/explain?name=a.example&device=phone".to_owned(),
            "",
            422,
            "missing",
            Some("household"),
        ),
        (
            Method::GET,
            "/v1/explain?name=a.example&at=noon".to_owned(),
            "",
            422,
            "time",
            Some("at"),
        ),
        (
            Method::GET,
            "/v1/explain?name=a.example&household=none".to_owned(),
            "",
            404,
            "unknown_household",
            None,
        ),
        (
            Method::GET,
            "/v1/explain?name=a.example&household=home&device=none".to_owned(),
            "",
            404,
            "unknown_device",
            None,
        ),
    ];
    let mut wrong = Vec::new();
    for (method, path, body, status, code, field) in cases {
        let answer = world.ask(method.clone(), &path, &[], body).await;
        let told = (
            answer.status,
            answer.json["code"].as_str(),
            answer.json["field"].as_str(),
            answer.header("content-type"),
        );
        if told != (status, Some(code), field, "application/problem+json") {
            wrong.push(format!("{method} {path} {body}: {}", answer.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(world.get(HOME).await.text, before);
    world.assert_live_is_stored().await;
}

#[tokio::test]
async fn nothing_of_a_household_that_is_not_there_can_be_written() {
    let world = World::new().await;
    let body = r#"{"state":"block"}"#;
    let parts = [
        "networks/192.0.2.0%2F24",
        "categories/gambling",
        "names/a.example",
        "devices/d",
        "devices/d/categories/gambling",
        "devices/d/names/a.example",
    ];
    for part in parts {
        let path = format!("/v1/households/nobody/{part}");
        let sent = if part == "devices/d" { "{}" } else { body };
        world
            .put(&path, sent)
            .await
            .is_problem(404, "unknown_household");
        world
            .delete(&path)
            .await
            .is_problem(404, "unknown_household");
    }
    world
        .get("/v1/households/nobody")
        .await
        .is_problem(404, "unknown_household");
    world
        .delete("/v1/households/nobody")
        .await
        .is_problem(404, "unknown_household");
    assert!(world.context.control.directory.is_empty());
}

#[tokio::test]
async fn a_body_is_json_of_a_bounded_length() {
    let world = World::with_home().await;
    let xml = [("content-type", "application/xml")];
    let form = [("content-type", "application/x-www-form-urlencoded")];
    world
        .ask(Method::PUT, HOME, &xml, "<a/>")
        .await
        .is_problem(415, "media_type");
    world
        .ask(Method::PUT, HOME, &[("content-type", "text/plain")], "{}")
        .await
        .is_problem(415, "media_type");
    world
        .ask(Method::PUT, HOME, &form, "preset=light")
        .await
        .is_problem(415, "media_type");
    // The content type of `curl -d`, and an unnecessary charset.
    world
        .ask(Method::PUT, HOME, &form, r#"{"preset":"light"}"#)
        .await
        .ok();
    world
        .ask(
            Method::PUT,
            HOME,
            &[("content-type", "Application/JSON; charset=utf-8")],
            "{}",
        )
        .await
        .ok();
    let room = 256 << 10;
    let padded = |length: usize| format!("{{{}}}", " ".repeat(length - 2));
    world.put(HOME, &padded(room)).await.ok();
    world
        .put(HOME, &padded(room + 1))
        .await
        .is_problem(413, "too_large");
    let deep = "[".repeat(100_000);
    world.put(HOME, &deep).await.is_problem(400, "json");
    world
        .put(PHONE, &format!(r#"{{"identifiers":{deep}"#))
        .await
        .is_problem(400, "json");
    let key = format!("Bearer {}", world.key);
    let garbage = Body::from(vec![0xff; 64]);
    world
        .send(
            Method::PUT,
            HOME,
            &[
                ("authorization", &key),
                ("content-type", "application/json"),
            ],
            garbage,
        )
        .await
        .is_problem(400, "json");
}

#[tokio::test]
async fn what_a_household_may_hold_is_bounded() {
    let world = World::with_home().await;
    let household = "home".parse().unwrap();
    let by = policy_store::Author {
        actor: "tests".to_owned(),
        role: "operator".to_owned(),
    };
    let full = |home: Option<policy::rules::household::Household>| {
        let mut home = home.unwrap();
        let device = home.devices.first_key_value().unwrap().1.clone();
        home.networks = (0..NETWORKS_MAX)
            .map(|number| format!("10.0.{number}.0/24").parse().unwrap())
            .collect();
        home.devices.extend((1..DEVICES_MAX).map(|number| {
            (
                format!("d{number}").parse().unwrap(),
                policy::rules::household::Device {
                    identifiers: Vec::new(),
                    ..device.clone()
                },
            )
        }));
        let entry = serde_json::from_value::<
            policy::rules::household::Attributed<policy::rules::household::CustomName>,
        >(
            json!({"state": "block", "scope": "exact", "set_by": "t", "set_at": "2026-01-01T00:00:00Z"}),
        );
        let entry = entry.unwrap();
        home.settings.names = (0..CUSTOM_NAMES_MAX)
            .map(|number| {
                (
                    policy::name::Name::parse(&format!("n{number}.example")).unwrap(),
                    entry.clone(),
                )
            })
            .collect();
        Ok::<_, ()>(Some(home))
    };
    world
        .context
        .control
        .store
        .change(&by, &household, None, full)
        .await
        .unwrap();
    let before = world.get(HOME).await.text;
    world
        .put(&format!("{HOME}/networks/10.1.0.0%2F24"), "")
        .await
        .is_problem(422, "limit");
    world
        .put(&format!("{HOME}/devices/another"), "{}")
        .await
        .is_problem(422, "limit");
    world
        .put(
            &format!("{HOME}/names/another.example"),
            r#"{"state":"block"}"#,
        )
        .await
        .is_problem(422, "limit");
    let identifiers: Vec<_> = (0..=IDENTIFIERS_MAX)
        .map(|number| json!({ "address": format!("10.9.9.{number}") }))
        .collect();
    world
        .put(PHONE, &json!({ "identifiers": identifiers }).to_string())
        .await
        .is_problem(422, "limit");
    assert_eq!(world.get(HOME).await.text, before);
    // What is there already can still be changed.
    world
        .put(&format!("{HOME}/names/n0.example"), r#"{"state":"allow"}"#)
        .await
        .ok();
    world
        .put(&format!("{HOME}/devices/d1"), r#"{"name":"renamed"}"#)
        .await
        .ok();
}

#[tokio::test]
async fn an_identifier_belongs_to_one_device_of_the_household() {
    let world = World::with_home().await;
    world
        .put(
            &format!("{HOME}/devices/tv"),
            r#"{"identifiers":[{"mac":"02:00:5e:00:53:01"},{"address":"192.0.2.8"}]}"#,
        )
        .await
        .ok();
    for identifier in [
        r#"{"mac":"02-00-5E-00-53-01"}"#,
        r#"{"address":"192.0.2.8"}"#,
        r#"{"address":"::ffff:192.0.2.8"}"#,
    ] {
        let answer = world
            .put(PHONE, &format!(r#"{{"identifiers":[{identifier}]}}"#))
            .await;
        answer.is_problem(409, "identifier_taken");
        assert!(
            answer.json["detail"].as_str().unwrap().contains("tv"),
            "{}",
            answer.text
        );
    }
    // Its own it may keep, and give up for another.
    world
        .put(
            &format!("{HOME}/devices/tv"),
            r#"{"identifiers":[{"address":"192.0.2.8"}]}"#,
        )
        .await
        .ok();
    world
        .put(PHONE, r#"{"identifiers":[{"mac":"02:00:5e:00:53:01"}]}"#)
        .await
        .ok();
}
