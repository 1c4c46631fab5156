//! Requests at the edges of what HTTP, numbers and calendars allow: a refusal with a code each, and
//! never a failure of ours.

use api::auth::limits::{Limits, Rate};
use axum::{
    body::Body,
    http::{Method, Request},
};
use policy_store::Role;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{World, author};

const HOME: &str = "/v1/households/home";
const PHONE: &str = "/v1/households/home/devices/phone";

/// Instants at and behind the ends of the calendar.
const INSTANTS: [&str; 8] = [
    "9999-12-31T23:59:59.999999999Z",
    "9999-12-30T22:00:00Z",
    "9999-12-31T23:59:59-23:59",
    "-009999-01-02T01:59:59Z",
    "-009999-01-01T00:00:00+23:59",
    "0000-01-01T00:00:00Z",
    "1970-01-01T00:00:00Z",
    "2106-02-07T06:28:16Z",
];

/// Numbers at and behind the ends of their kinds, as JSON and as a query have them.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "255",
    "65536",
    "527040",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "1e300",
    "340282366920938463463374607431768211456",
];

fn is_refused_or_done(answer: &crate::world::Answer, what: &str) {
    assert!(
        answer.status < 500,
        "{what}: {} {}",
        answer.status,
        answer.text
    );
    if answer.status >= 400 {
        assert!(answer.json["code"].is_string(), "{what}: {}", answer.text);
    }
}

#[tokio::test]
async fn no_number_of_a_client_ends_in_a_failure_of_ours() {
    let world = World::with_home().await;
    world
        .put(
            &format!("{HOME}/categories/gambling"),
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    let asked = world
        .post(
            &format!("{HOME}/requests"),
            r#"{"name":"bets.example","device":"phone"}"#,
        )
        .await
        .ok();
    let report = world
        .post("/v1/reports", r#"{"name":"bets.example"}"#)
        .await
        .ok();
    let request = asked.json["id"].as_str().unwrap();
    let report = report.json["id"].as_str().unwrap();
    let bodies = [
        (Method::PUT, format!("{HOME}/pause"), r#"{"minutes":N}"#),
        (Method::PUT, format!("{PHONE}/pause"), r#"{"minutes":N}"#),
        (
            Method::POST,
            format!("{HOME}/grants"),
            r#"{"everything":true,"minutes":N}"#,
        ),
        (
            Method::POST,
            format!("{PHONE}/grants"),
            r#"{"category":"gambling","minutes":N}"#,
        ),
        (
            Method::PUT,
            format!("{HOME}/requests/{request}"),
            r#"{"answer":"allow","minutes":N}"#,
        ),
        (
            Method::PUT,
            format!("/v1/reports/{report}"),
            r#"{"outcome":"unblocked","override":{"days":N}}"#,
        ),
        (Method::PUT, format!("{HOME}/history"), r#"{"days":N}"#),
        (
            Method::POST,
            "/v1/lists/rollback".to_owned(),
            r#"{"generation":N}"#,
        ),
        (
            Method::POST,
            "/v1/feeds/bets/rollback".to_owned(),
            r#"{"generation":N}"#,
        ),
    ];
    let queries = [
        "/v1/households?limit=N",
        "/v1/mandates?limit=N",
        "/v1/audit?limit=N",
        "/v1/audit?cursor=N",
        "/v1/audit?cursor=N&order=newest",
        "/v1/reports?limit=N",
        "/v1/reports?cursor=N",
        "/v1/lists/diff?from=N",
        "/v1/lists/diff?from=1&to=N&limit=N",
        "/v1/households/home/activity?top=N",
        "/v1/explain?name=a.example&type=N",
        "/v1/reports/export?month=N",
    ];
    for number in NUMBERS {
        for (method, path, body) in &bodies {
            let body = body.replace('N', number);
            let answer = world.ask(method.clone(), path, &[], &body).await;
            is_refused_or_done(&answer, &format!("{method} {path} {body}"));
        }
        for query in queries {
            let query = query.replace('N', number);
            is_refused_or_done(&world.get(&query).await, &query);
        }
        for version in [format!("\"{number}\""), format!("W/\"{number}\"")] {
            for (method, path, body) in [
                (Method::PUT, HOME, "{}"),
                (Method::PUT, "/v1/households/new", "{}"),
                (
                    Method::PUT,
                    &format!("{HOME}/categories/gambling"),
                    r#"{"state":"block"}"#,
                ),
                (
                    Method::PUT,
                    "/v1/mandates/m",
                    r#"{"name":"m.example","basis":"iwf"}"#,
                ),
                (Method::DELETE, "/v1/mandates/m", ""),
                (Method::PUT, "/v1/feeds/bets", r#"{"source":"a.txt"}"#),
                (Method::DELETE, "/v1/feeds/bets", ""),
            ] {
                let answer = world
                    .ask(method.clone(), path, &[("if-match", &version)], body)
                    .await;
                is_refused_or_done(&answer, &format!("{method} {path} {version}"));
            }
        }
    }
    for minutes in ["4294967295", "527041", "0"] {
        let refused = world
            .put(
                &format!("{HOME}/pause"),
                &format!(r#"{{"minutes":{minutes}}}"#),
            )
            .await;
        refused.is_problem(422, "limit");
        assert_eq!(refused.json["field"], "minutes");
    }
    world
        .put(&format!("{HOME}/pause"), r#"{"minutes":527040}"#)
        .await
        .ok();
    world.assert_live_is_stored().await;
}

#[tokio::test]
async fn no_instant_of_a_client_ends_in_a_failure_of_ours() {
    let world = World::with_home().await;
    world
        .put(
            &format!("{HOME}/schedules/bedtime"),
            r#"{"from":"21:30","to":"06:30","pause":true}"#,
        )
        .await
        .ok();
    for instant in INSTANTS {
        let encoded = instant.replace('+', "%2B");
        for query in [
            format!("/v1/explain?name=a.example&at={encoded}"),
            format!("/v1/explain?name=a.example&household=home&device=phone&at={encoded}"),
            format!("{HOME}/activity?from={encoded}"),
            format!("{HOME}/activity?to={encoded}"),
            format!("{HOME}/activity?from={encoded}&to={encoded}"),
        ] {
            is_refused_or_done(&world.get(&query).await, &query);
        }
        let refused = world
            .put(
                &format!("{HOME}/pause"),
                &json!({ "until": instant }).to_string(),
            )
            .await;
        // Some of them are behind the calendar's end only where they are.
        assert!(
            refused.status == 422
                && [json!("limit"), json!("body")].contains(&refused.json["code"]),
            "{instant}: {}",
            refused.text
        );
        for mandate in [
            json!({ "name": "m.example", "basis": "iwf", "not_before": instant }),
            json!({ "name": "m.example", "basis": "iwf", "not_after": instant }),
            json!({ "name": "m.example", "basis": "iwf", "not_before": INSTANTS[3], "not_after": instant }),
            json!({ "name": "m.example", "basis": "iwf", "not_before": instant, "not_after": INSTANTS[0] }),
        ] {
            is_refused_or_done(
                &world.put("/v1/mandates/m", &mandate.to_string()).await,
                &mandate.to_string(),
            );
            world.get("/v1/mandates").await.ok();
            world.get("/v1/check?name=m.example").await.ok();
        }
    }
    for date in ["9999-12-31", "-009999-01-01", "0000-02-29", "2024-02-30"] {
        let schedule =
            json!({ "from": "21:30", "to": "06:30", "pause": true, "except": [date] }).to_string();
        is_refused_or_done(
            &world.put(&format!("{HOME}/schedules/s"), &schedule).await,
            date,
        );
    }
    for month in [
        "9999-12",
        "0000-01",
        "-009999-01",
        "2026-13",
        "2026-1",
        "é026-01",
    ] {
        let path = format!("/v1/reports/export?month={}", month.replace('é', "%C3%A9"));
        is_refused_or_done(&world.get(&path).await, &path);
    }
    world.assert_live_is_stored().await;
}

#[tokio::test]
async fn a_request_that_is_no_http_of_ours_is_refused_with_a_code() {
    let world = World::with_home().await;
    let long = format!("/v1/check?name={}", "x".repeat(9_000));
    world.get(&long).await.is_problem(414, "uri_too_long");
    let large = "x".repeat(33_000);
    world
        .ask(Method::GET, HOME, &[("x-large", &large)], "")
        .await
        .is_problem(431, "headers_too_large");
    for name in ["authorization", "content-type", "if-match", "if-none-match"] {
        let twice = [(name, "\"1\""), (name, "\"1\"")];
        let refused = world.send(Method::PUT, HOME, &twice, "{}").await;
        refused.is_problem(400, "header_twice");
        assert_eq!(refused.json["field"], name);
    }
    for method in ["BREW", "get", "PROPFIND"] {
        world
            .ask(method.parse().unwrap(), HOME, &[], "")
            .await
            .is_problem(501, "method_unknown");
    }
    for method in ["PATCH", "POST", "OPTIONS", "TRACE"] {
        let refused = world.ask(method.parse().unwrap(), HOME, &[], "").await;
        refused.is_problem(405, "method");
        assert!(!refused.header("allow").is_empty(), "{method}");
    }
    for path in [
        "/v1/households/%ff",
        "/v1/households/%zz",
        "/v1/households/100%",
        "/%c3%28",
        "/v1/households/home/names/%ed%a0%80.example",
    ] {
        world.get(path).await.is_problem(400, "path");
    }
    for query in [
        "/v1/check?name=%ff",
        "/v1/households?external_ref=%zz",
        "/v1/households?external_ref=a%",
    ] {
        world.get(query).await.is_problem(400, "query");
    }
    for query in [
        "/v1/check?name=a.example&name=b.example",
        "/v1/households?limit=1&limit=2",
        "/v1/audit?order=newest&order=oldest",
    ] {
        world.get(query).await.is_problem(400, "query");
    }
    for coding in ["gzip", "br", "identity, gzip"] {
        world
            .ask(Method::PUT, HOME, &[("content-encoding", coding)], "{}")
            .await
            .is_problem(415, "content_encoding");
    }
    world
        .ask(Method::PUT, HOME, &[("content-encoding", "Identity")], "{}")
        .await
        .ok();
    world
        .get("http://api.isp.example/v1/households/home")
        .await
        .ok();
}

#[tokio::test]
async fn a_member_that_stands_twice_is_refused_at_any_depth() {
    let world = World::with_home().await;
    for (method, path, body, field) in [
        (
            Method::PUT,
            format!("{HOME}/safe-search"),
            r#"{"google":"strict","google":"off"}"#,
            "google",
        ),
        (
            Method::PUT,
            HOME.to_owned(),
            r#"{"contact":{"email":"a@b.example","email":"c@d.example"}}"#,
            "email",
        ),
        (
            Method::PUT,
            PHONE.to_owned(),
            r#"{"identifiers":[{"address":"192.0.2.7","address":"192.0.2.8"}]}"#,
            "address",
        ),
        (
            Method::POST,
            "/v1/feeds".to_owned(),
            r#"{"name":"a","source":"a.txt","source":"b.txt"}"#,
            "source",
        ),
        (
            Method::POST,
            "/v1/feeds".to_owned(),
            r#"{"name":"a","source":"a.txt","tsig":{"name":"a","name":"b"}}"#,
            "name",
        ),
        (
            Method::PUT,
            "/v1/mandates/m".to_owned(),
            r#"{"name":"a.example","basis":"iwf","na\u006de":"b.example"}"#,
            "name",
        ),
    ] {
        let refused = world.ask(method, &path, &[], body).await;
        refused.is_problem(422, "body");
        assert_eq!(refused.json["field"], field, "{body}: {}", refused.text);
    }
    let again = r#"{"identifiers":[{"address":"192.0.2.7"},{"address":"192.0.2.8"}]}"#;
    world.put(PHONE, again).await.ok();
}

#[tokio::test]
async fn a_network_that_hardly_is_one_households_needs_force() {
    let world = World::with_home().await;
    let path = |cidr: &str| {
        format!(
            "{HOME}/networks/{}",
            cidr.replace('/', "%2F").replace(':', "%3A")
        )
    };
    for (cidr, code) in [
        ("0.0.0.0/0", "too_wide"),
        ("0.0.0.0/1", "too_wide"),
        ("10.0.0.0/8", "too_wide"),
        ("10.0.0.0/15", "too_wide"),
        ("::/0", "too_wide"),
        ("2000::/3", "too_wide"),
        ("2001:db8::/31", "too_wide"),
        ("169.254.0.0/16", "special_network"),
        ("240.0.0.1", "special_network"),
        ("fe80::/64", "special_network"),
    ] {
        let refused = world.put(&path(cidr), "").await;
        refused.is_problem(422, code);
        assert_eq!(refused.json["field"], "cidr");
        assert!(
            refused.json["detail"].as_str().unwrap().contains("force"),
            "{}",
            refused.text
        );
        world
            .put(&path(cidr), r#"{"force":false}"#)
            .await
            .is_problem(422, code);
    }
    for cidr in [
        "0.0.0.0/8",
        "0.0.0.0",
        "224.0.0.0/4",
        "239.1.2.3",
        "::",
        "ff02::/16",
    ] {
        for path in [path(cidr), format!("{}?force=true", path(cidr))] {
            world.put(&path, "").await.is_problem(422, "no_source");
        }
    }
    assert_eq!(
        world.get(HOME).await.json["networks"],
        json!(["192.0.2.0/24"]),
        "nothing was given"
    );
    for cidr in [
        "10.0.0.0/16",
        "127.0.0.0/16",
        "192.168.1.0/24",
        "2001:db8::/32",
        "2001:db8:1::/48",
        "fd00:1::/64",
        "203.0.113.7",
    ] {
        world.put(&path(cidr), "").await.ok();
    }
    world
        .put(&path("0.0.0.0/0"), r#"{"force":true}"#)
        .await
        .ok();
    world
        .put(&format!("{}?force=true", path("2000::/3")), "")
        .await
        .ok();
    // What it has it may be given again.
    world.put(&path("0.0.0.0/0"), "").await.ok();
    world
        .put(&path("10.9.0.0/24"), r#"{"forced":true}"#)
        .await
        .is_problem(422, "body");
    world
        .put(&format!("{}?forced=true", path("10.9.0.0/24")), "")
        .await
        .is_problem(400, "query");
}

#[tokio::test]
async fn wrong_keys_are_refused_before_the_store_is_asked() {
    let seldom = Rate { per_s: 1, burst: 2 };
    let world = World::admitting(Limits::new(Rate::default(), Rate::default(), seldom), None)
        .await
        .and_home()
        .await;
    world.context.control.store.close().await;
    let begun = std::time::Instant::now();
    let mut statuses = Vec::new();
    for number in 0..300 {
        let key = format!("Bearer ox_{number:064x}");
        statuses.push(world.as_key(&key, Method::GET, HOME, "").await.status);
    }
    // Two at once and one a second; eight times at once, and once a second, it is looked whether
    // another process made keys.
    let may_ask = 12 + 2 * begun.elapsed().as_secs() as usize;
    let asked = statuses.iter().filter(|status| **status == 503).count();
    assert!((1..=may_ask).contains(&asked), "{asked} of {may_ask}");
    assert!(
        statuses.iter().all(|status| [429, 503].contains(status)),
        "{statuses:?}"
    );
    // What cannot be a key is not looked up at all.
    let world = World::new().await;
    world.context.control.store.close().await;
    for key in [
        "Bearer ox_wrong",
        "Bearer ox_",
        "Bearer x",
        &format!("Bearer ox_{}", "G".repeat(64)),
        &format!("Bearer ox_{}", "a".repeat(9_000)),
    ] {
        world
            .as_key(key, Method::GET, HOME, "")
            .await
            .is_problem(401, "key_wrong");
    }
}

#[tokio::test]
async fn a_key_in_force_opens_from_an_address_from_which_others_guess() {
    let seldom = Rate { per_s: 1, burst: 1 };
    let world = World::admitting(Limits::new(Rate::default(), Rate::default(), seldom), None).await;
    world
        .context
        .limits
        .learn(&world.context.control.store)
        .await
        .unwrap();
    let world = world.and_home().await;
    let guess = async || {
        world
            .as_key(
                &format!("Bearer ox_{}", "0".repeat(64)),
                Method::GET,
                HOME,
                "",
            )
            .await
            .status
    };
    let crowd = async || {
        for _ in 0..50 {
            guess().await;
        }
    };
    crowd().await;
    for _ in 0..20 {
        world.get(HOME).await.ok();
        guess().await;
    }
    // One that the API makes opens at once.
    let made = world
        .post(&format!("{HOME}/keys"), r#"{"role":"parent"}"#)
        .await
        .ok();
    let parent = format!("Bearer {}", made.json["secret"].as_str().unwrap());
    crowd().await;
    world.as_key(&parent, Method::GET, HOME, "").await.ok();
    // One that another process makes opens as soon as the store is looked at again.
    let (operator, id) = world.key_in(Role::Operator, "").await;
    let mut answers = 0;
    loop {
        crowd().await;
        let answer = world.as_key(&operator, Method::GET, HOME, "").await;
        if answer.status == 200 {
            break;
        }
        answer.is_problem(429, "rate");
        assert!(answer.header("retry-after") == "1");
        answers += 1;
        assert!(answers < 200, "it never opens");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // A key that was revoked is a guess like any other.
    world
        .context
        .control
        .store
        .revoke_key(&author(), None, &id)
        .await
        .unwrap();
    let after = world.as_key(&operator, Method::GET, HOME, "").await;
    assert!([401, 429].contains(&after.status), "{}", after.text);
    crowd().await;
    let mut refused = Vec::new();
    for _ in 0..20 {
        refused.push(world.as_key(&operator, Method::GET, HOME, "").await.status);
    }
    assert!(
        refused.contains(&429) && !refused.contains(&200),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_rate_of_a_family_is_counted_before_its_key_is_looked_up() {
    let seldom = Rate { per_s: 1, burst: 3 };
    let world = World::admitting(Limits::new(seldom, Rate::default(), Rate::default()), None)
        .await
        .and_home()
        .await;
    let parent = world.key_of(Role::Parent).await;
    world.as_key(&parent, Method::GET, HOME, "").await.ok();
    world.context.control.store.close().await;
    let begun = std::time::Instant::now();
    let mut asked = 0;
    for _ in 0..200 {
        asked += usize::from(world.as_key(&parent, Method::GET, HOME, "").await.status == 500);
    }
    assert!(asked <= 3 + begun.elapsed().as_secs() as usize, "{asked}");
}

#[tokio::test]
async fn the_document_is_sent_once_and_packed_to_who_takes_it() {
    let world = World::new().await;
    let plain = world.send(Method::GET, "/openapi.json", &[], "").await.ok();
    let tag = plain.header("etag").to_owned();
    assert!(
        tag.starts_with("W/\"") && plain.header("vary").eq_ignore_ascii_case("accept-encoding"),
        "{:?}",
        plain.headers
    );
    for known in [tag.as_str(), &tag[2..], "*", &format!("\"other\", {tag}")] {
        let again = world
            .send(
                Method::GET,
                "/openapi.json",
                &[("if-none-match", known)],
                "",
            )
            .await;
        assert_eq!(
            (again.status, again.text.as_str(), again.header("etag")),
            (304, "", tag.as_str()),
            "{known}"
        );
    }
    assert_eq!(
        world
            .send(
                Method::GET,
                "/openapi.json",
                &[("if-none-match", "\"other\"")],
                ""
            )
            .await
            .status,
        200
    );
    let request = Request::get("/openapi.json")
        .header("accept-encoding", "gzip")
        .body(Body::empty())
        .unwrap();
    let packed = world.router.clone().oneshot(request).await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert_eq!(packed.headers()["etag"], tag.as_str());
    let octets = axum::body::to_bytes(packed.into_body(), 64 << 20)
        .await
        .unwrap();
    assert!(
        octets.len() * 5 < plain.text.len(),
        "{} of {}",
        octets.len(),
        plain.text.len()
    );
    let unpacked: Value =
        serde_json::from_reader(flate2::read::GzDecoder::new(&octets[..])).unwrap();
    assert_eq!(unpacked, plain.json);
    let head = world.send(Method::HEAD, "/openapi.json", &[], "").await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

#[tokio::test]
async fn documents_without_a_key_have_a_rate_of_their_own() {
    let limits = Limits::default().with_open(Rate { per_s: 1, burst: 4 });
    let world = World::admitting(limits, None).await;
    let mut statuses = Vec::new();
    for number in 0..40 {
        let path = if number % 2 == 0 {
            "/openapi.json"
        } else {
            "/metrics"
        };
        statuses.push(world.send(Method::GET, path, &[], "").await.status);
    }
    assert!(
        statuses[..4] == [200; 4] && statuses[4..].contains(&429),
        "{statuses:?}"
    );
    // What says that the node lives is never refused, and who has a key is not held up.
    for _ in 0..40 {
        assert_eq!(
            world.send(Method::GET, "/healthz", &[], "").await.status,
            200
        );
        world.get("/v1/categories").await.ok();
    }
}
