//! What people write, on every route that takes it: what shows nothing, or turns what stands around
//! it, is refused by its field.

use axum::http::Method;
use serde_json::{Value, json};

use crate::world::World;

/// Each route that takes a text of a person: method, path, a body with `TEXT` for it, and the
/// field.
const ROUTES: [(&str, &str, &str, &str); 14] = [
    (
        "PUT",
        "/v1/households/home",
        r#"{"external_ref":TEXT}"#,
        "external_ref",
    ),
    ("PUT", "/v1/households/home", r#"{"locale":TEXT}"#, "locale"),
    (
        "PUT",
        "/v1/households/home/people/ella",
        r#"{"name":TEXT}"#,
        "name",
    ),
    (
        "PUT",
        "/v1/households/home/devices/phone",
        r#"{"name":TEXT}"#,
        "name",
    ),
    (
        "PUT",
        "/v1/households/home/devices/phone",
        r#"{"kind":TEXT}"#,
        "kind",
    ),
    (
        "POST",
        "/v1/households/home/keys",
        r#"{"role":"parent","label":TEXT}"#,
        "label",
    ),
    (
        "POST",
        "/v1/households/home/requests",
        r#"{"name":"bets.example","device":"phone","reason":TEXT}"#,
        "reason",
    ),
    (
        "PUT",
        "/v1/households/home/requests/REQUEST",
        r#"{"answer":"deny","note":TEXT}"#,
        "note",
    ),
    (
        "POST",
        "/v1/reports",
        r#"{"name":"bets.example","reason":TEXT}"#,
        "reason",
    ),
    (
        "POST",
        "/v1/reports",
        r#"{"name":"bets.example","contact":TEXT}"#,
        "contact",
    ),
    (
        "PUT",
        "/v1/reports/REPORT",
        r#"{"outcome":"kept","note":TEXT}"#,
        "note",
    ),
    (
        "PUT",
        "/v1/mandates/m",
        r#"{"name":"a.example","basis":"iwf","reference":TEXT}"#,
        "reference",
    ),
    (
        "PUT",
        "/v1/negative-trust-anchors/de",
        r#"{"until":"UNTIL","reason":TEXT}"#,
        "reason",
    ),
    (
        "PUT",
        "/v1/households/home",
        r#"{"contact":{"email":TEXT}}"#,
        "contact",
    ),
];

fn tomorrow() -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24)).to_string()
}

/// A home with an open request and an open report.
async fn home() -> (World, String, String) {
    let world = World::with_home().await;
    world
        .put(
            "/v1/households/home/categories/gambling",
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    let id = |json: &Value| json["id"].as_str().unwrap().to_owned();
    let request = world
        .post(
            "/v1/households/home/requests",
            r#"{"name":"www.bets.example","device":"phone"}"#,
        )
        .await
        .ok();
    let report = world
        .post("/v1/reports", r#"{"name":"bets.example"}"#)
        .await
        .ok();
    (world, id(&request.json), id(&report.json))
}

#[tokio::test]
async fn what_shows_nothing_or_turns_the_text_is_refused_by_its_field() {
    let (world, request, report) = home().await;
    let before = world.get("/v1/households/home").await.text;
    let characters = [
        "\0",
        "\u{1}",
        "\u{7}",
        "\t",
        "\n",
        "\r\n",
        "\u{1b}[31m",
        "\u{7f}",
        "\u{85}",
        "\u{9b}",
        "\u{ad}",
        "\u{61c}",
        "\u{200b}",
        "\u{200e}",
        "\u{200f}",
        "\u{2028}",
        "\u{2029}",
        "\u{202a}",
        "\u{202e}",
        "\u{2060}",
        "\u{2066}",
        "\u{2069}",
        "\u{feff}",
        "\u{fdd0}",
        "\u{ffff}",
        "\u{1fffe}",
        "\u{e0041}",
    ];
    let mut wrong = Vec::new();
    for (method, path, body, field) in ROUTES {
        for character in characters {
            let text = if field == "contact" && body.contains("email") {
                format!("a{character}b@example.org")
            } else {
                format!("a{character}b")
            };
            let path = path.replace("REQUEST", &request).replace("REPORT", &report);
            let body = body
                .replace("TEXT", &json!(text).to_string())
                .replace("UNTIL", &tomorrow());
            let method: Method = method.parse().unwrap();
            let answer = world.ask(method.clone(), &path, &[], &body).await;
            let is_field = answer.json["field"]
                .as_str()
                .is_some_and(|told| told == field);
            if answer.status != 422 || !is_field {
                wrong.push(format!("{method} {path} {body}: {}", answer.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(world.get("/v1/households/home").await.text, before);
}

#[tokio::test]
async fn what_people_type_is_taken_as_it_is() {
    let (world, request, report) = home().await;
    for text in [
        "Zoë’s “big” TV",
        "هاتف",
        "👨\u{200d}👩\u{200d}👧",
        "می\u{200c}خواهم",
        "❤\u{fe0f}",
        "電視",
    ] {
        for (method, path, body, field) in ROUTES
            .into_iter()
            .filter(|(_, _, body, field)| *field != "locale" && !body.contains("email"))
        {
            if path.ends_with("REQUEST") {
                continue;
            }
            let path = path.replace("REPORT", &report);
            let answer = world
                .ask(
                    method.parse().unwrap(),
                    &path,
                    &[],
                    &body
                        .replace("TEXT", &json!(text).to_string())
                        .replace("UNTIL", &tomorrow()),
                )
                .await;
            assert!(
                (200..300).contains(&answer.status),
                "{method} {path} {field}: {}",
                answer.text
            );
        }
        assert_eq!(
            world.get("/v1/households/home/devices/phone").await.json["name"],
            text
        );
    }
    let noted = world
        .put(
            &format!("/v1/households/home/requests/{request}"),
            r#"{"answer":"deny","note":"après dîner 👍🏽"}"#,
        )
        .await
        .ok();
    assert_eq!(noted.json["answer"]["note"], "après dîner 👍🏽");
}

#[tokio::test]
async fn a_name_of_white_space_alone_is_none() {
    let world = World::with_home().await;
    for path in [
        "/v1/households/home/devices/phone",
        "/v1/households/home/people/ella",
    ] {
        for name in ["", " ", "\u{3000}\u{a0}"] {
            let answer = world.put(path, &json!({ "name": name }).to_string()).await;
            answer.is_problem(422, "limit");
            assert_eq!(answer.json["field"], "name");
        }
    }
}

#[tokio::test]
async fn names_of_things_are_identifiers_and_domains_are_names() {
    let world = World::with_home().await;
    let schedule = r#"{"from":"21:30","to":"06:30","pause":true}"#;
    for path in [
        "schedules/bed%0Atime",
        "schedules/bed%E2%80%AEtime",
        "people/el%00la",
        "devices/pho%E2%80%8Bne",
        "names/a%E2%80%AEb.example",
    ] {
        let body = if path.starts_with("names") {
            r#"{"state":"block"}"#
        } else if path.starts_with("schedules") {
            schedule
        } else {
            "{}"
        };
        let answer = world
            .put(&format!("/v1/households/home/{path}"), body)
            .await;
        assert_eq!(answer.status, 422, "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn identifiers_that_no_query_has_yet_are_refused_by_name() {
    let world = World::with_home().await;
    let phone = "/v1/households/home/devices/phone";
    let before = world.get(phone).await.json;
    for (identifiers, field) in [
        (json!([{ "cpe_id": "line-7" }]), "identifiers[0].cpe_id"),
        (json!([{ "token": "t0ken" }]), "identifiers[0].token"),
        (
            json!([{ "address": "192.0.2.9" }, { "mac": "02:00:5e:00:53:01" }, { "token": "t0ken" }]),
            "identifiers[2].token",
        ),
    ] {
        let refused = world
            .put(phone, &json!({ "identifiers": identifiers }).to_string())
            .await;
        refused.is_problem(422, "not_built");
        assert_eq!(refused.json["field"], field);
        let new = world
            .put(
                "/v1/households/home/devices/new",
                &json!({ "identifiers": identifiers }).to_string(),
            )
            .await;
        new.is_problem(422, "not_built");
    }
    assert_eq!(world.get(phone).await.json, before);
    // A document that has them is kept, shown, and changed in its other parts.
    let edit = |household: Option<policy::rules::household::Household>| {
        let mut household = household.unwrap();
        household.devices.get_mut("phone").unwrap().identifiers =
            serde_json::from_value(json!([{ "cpe_id": "line-7" }])).unwrap();
        Ok::<_, ()>(Some(household))
    };
    world
        .context
        .control
        .store
        .change(
            &crate::world::author(),
            &"home".parse().unwrap(),
            None,
            edit,
        )
        .await
        .unwrap();
    let shown = world.put(phone, r#"{"name":"Phone"}"#).await.ok();
    assert_eq!(
        (&shown.json["name"], &shown.json["identifiers"]),
        (&json!("Phone"), &json!([{ "cpe_id": "line-7" }]))
    );
    world
        .put(phone, r#"{"identifiers":[{"address":"192.0.2.7"}]}"#)
        .await
        .ok();
}
