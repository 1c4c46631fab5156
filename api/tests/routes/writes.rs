//! What can be written, what comes back, and that it is live when it does.

use axum::http::Method;
use serde_json::json;

use crate::world::World;

const HOME: &str = "/v1/households/home";
const PHONE: &str = "/v1/households/home/devices/phone";

#[tokio::test]
async fn when_a_write_is_answered_its_rules_are_live() {
    let world = World::with_home().await;
    let block = r#"{"state":"block"}"#;
    let allow = r#"{"state":"allow"}"#;
    // address, name, and whether it is blocked behind each step
    let steps = [
        (
            Method::PUT,
            format!("{HOME}/categories/gambling"),
            block,
            true,
            true,
        ),
        (
            Method::PUT,
            format!("{PHONE}/categories/gambling"),
            allow,
            false,
            true,
        ),
        (
            Method::DELETE,
            format!("{PHONE}/categories/gambling"),
            "",
            true,
            true,
        ),
        (
            Method::PUT,
            format!("{PHONE}/names/bets.example"),
            allow,
            false,
            true,
        ),
        (
            Method::PUT,
            format!("{HOME}/names/BETS.example."),
            r#"{"state":"allow","scope":"exact"}"#,
            false,
            false,
        ),
        (
            Method::PUT,
            format!("{PHONE}/names/bets.example"),
            block,
            false,
            false,
        ),
        (
            Method::DELETE,
            format!("{HOME}/names/bets.example"),
            "",
            true,
            true,
        ),
        (
            Method::DELETE,
            format!("{PHONE}/names/bets.example"),
            "",
            true,
            true,
        ),
        (
            Method::PUT,
            HOME.to_owned(),
            r#"{"filtering":"off"}"#,
            false,
            false,
        ),
        (
            Method::PUT,
            HOME.to_owned(),
            r#"{"filtering":"on"}"#,
            true,
            true,
        ),
        (
            Method::DELETE,
            format!("{HOME}/categories/gambling"),
            "",
            false,
            false,
        ),
        (
            Method::PUT,
            HOME.to_owned(),
            r#"{"preset":"moderate"}"#,
            true,
            true,
        ),
        (
            Method::PUT,
            HOME.to_owned(),
            r#"{"preset":null}"#,
            false,
            false,
        ),
    ];
    let mut version = world.get(HOME).await.version();
    for (method, path, body, of_phone, of_others) in steps {
        let answer = world.ask(method.clone(), &path, &[], body).await.ok();
        version += 1;
        assert_eq!(answer.version(), version, "{method} {path} {body}");
        let live = (
            world.blocks("192.0.2.7", "bets.example"),
            world.blocks("192.0.2.8", "bets.example"),
        );
        assert_eq!(live, (of_phone, of_others), "{method} {path} {body}");
        world.assert_live_is_stored().await;
    }
}

#[tokio::test]
async fn networks_devices_and_households_come_and_go_at_once() {
    let world = World::with_home().await;
    world
        .put(
            &format!("{PHONE}/categories/gambling"),
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    world
        .delete(&format!("{HOME}/networks/192.0.2.0%2F24"))
        .await
        .ok();
    assert!(!world.blocks("192.0.2.7", "bets.example"), "nobody's line");
    world
        .put(&format!("{HOME}/networks/192.0.2.0%2F25"), "")
        .await
        .ok();
    assert!(world.blocks("192.0.2.7", "bets.example"));
    world.delete(PHONE).await.ok();
    assert!(
        !world.blocks("192.0.2.7", "bets.example"),
        "an unknown device of the household"
    );
    world.delete(HOME).await.ok();
    assert!(world.context.control.directory.is_empty());
    world.put("/v1/households/other", "{}").await.ok();
    world
        .put("/v1/households/other/networks/192.0.2.0%2F25", "")
        .await
        .ok();
    world.assert_live_is_stored().await;
}

#[tokio::test]
async fn a_write_says_201_for_what_it_made_and_200_for_what_was_there() {
    let world = World::new().await;
    let entry = r#"{"state":"block"}"#;
    let parts = [
        "",
        "/networks/192.0.2.0%2F24",
        "/devices/tv",
        "/names/a.example",
        "/devices/tv/names/a.example",
    ];
    for part in parts {
        let body = if part.contains("names") { entry } else { "" };
        let path = format!("{HOME}{part}");
        assert_eq!(world.put(&path, body).await.status, 201, "{path}");
        assert_eq!(world.put(&path, body).await.status, 200, "{path}");
    }
    // A switch is there as long as its category: it is never made, and inheriting twice is
    // inheriting.
    assert_eq!(
        world
            .put(&format!("{HOME}/categories/gambling"), entry)
            .await
            .status,
        200
    );
    for _ in 0..2 {
        assert_eq!(
            world
                .delete(&format!("{HOME}/categories/gambling"))
                .await
                .status,
            200
        );
    }
    for part in parts.iter().rev() {
        let path = format!("{HOME}{part}");
        assert_eq!(world.delete(&path).await.status, 200, "{path}");
        assert_eq!(world.delete(&path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_given_stays_and_null_takes_it_back() {
    let world = World::with_home().await;
    world
        .put(
            &format!("{PHONE}/categories/gambling"),
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    world.put(HOME, r#"{"time_zone":"europe/berlin","preset":"strict","external_ref":"crm-1","locale":"de-DE"}"#).await.ok();
    world.put(&format!("{HOME}/people/ella"), "{}").await.ok();
    world
        .put(PHONE, r#"{"kind":"phone","person":"ella","log":false}"#)
        .await
        .ok();
    let home = world.put(HOME, r#"{"preset":null}"#).await.ok().json;
    assert_eq!(
        home["time_zone"], "Europe/Berlin",
        "as everybody else writes it"
    );
    assert_eq!(
        (&home["preset"], &home["external_ref"]),
        (&json!(null), &json!("crm-1"))
    );
    assert_eq!(home["networks"], json!(["192.0.2.0/24"]));
    let phone = world.get(PHONE).await.ok();
    assert_eq!(
        (&phone.json["id"], &phone.json["name"], &phone.json["kind"]),
        (&json!("phone"), &json!("Ella's"), &json!("phone"))
    );
    assert_eq!(
        (&phone.json["log"], &phone.json["identifiers"]),
        (&json!(false), &json!([{ "address": "192.0.2.7" }]))
    );
    assert_eq!(phone.json["categories"]["gambling"]["state"], "block");
    assert_eq!(phone.version(), home["version"].as_u64().unwrap());
}

#[tokio::test]
async fn a_switch_remembers_which_key_set_it_and_when() {
    let world = World::with_home().await;
    let before = jiff::Timestamp::now();
    world
        .put(
            &format!("{HOME}/categories/gambling"),
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    world
        .put(&format!("{PHONE}/names/a.example"), r#"{"state":"allow"}"#)
        .await
        .ok();
    let home = world.get(HOME).await.ok().json;
    for set in [
        &home["categories"]["gambling"],
        &home["devices"]["phone"]["names"]["a.example"],
    ] {
        assert_eq!(set["set_by"], format!("key:{}", world.key_id));
        assert!(
            set["set_at"]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .unwrap()
                >= before
        );
    }
}

#[tokio::test]
async fn a_writer_with_an_old_version_is_told_the_new_one_and_changes_nothing() {
    let world = World::with_home().await;
    let block = r#"{"state":"block"}"#;
    let version = world.get(HOME).await.version();
    let now = format!("\"{version}\"");
    let old = format!("\"{}\"", version - 1);
    let writes = [
        (Method::PUT, HOME.to_owned(), "{}"),
        (Method::DELETE, HOME.to_owned(), ""),
        (Method::PUT, format!("{HOME}/networks/10.0.0.0%2F8"), ""),
        (Method::PUT, format!("{HOME}/categories/gambling"), block),
        (Method::DELETE, format!("{HOME}/categories/gambling"), ""),
        (Method::PUT, format!("{HOME}/names/a.example"), block),
        (Method::PUT, PHONE.to_owned(), "{}"),
        (Method::DELETE, PHONE.to_owned(), ""),
        (Method::PUT, format!("{PHONE}/categories/gambling"), block),
    ];
    for (method, path, body) in writes {
        let answer = world.ask(method, &path, &[("if-match", &old)], body).await;
        answer.is_problem(412, "version_mismatch");
        assert!(
            answer.json["detail"]
                .as_str()
                .unwrap()
                .contains(&version.to_string())
        );
    }
    assert_eq!(world.get(HOME).await.version(), version);
    assert_eq!(
        world
            .ask(
                Method::PUT,
                &format!("{HOME}/categories/gambling"),
                &[("if-match", &now)],
                block
            )
            .await
            .version(),
        version + 1
    );
    world
        .ask(Method::PUT, HOME, &[("if-match", "*")], "{}")
        .await
        .ok();
    for wrong in ["yesterday", "\"1\", \"2\"", "\"1", "+1", "0", "1"] {
        world
            .ask(Method::PUT, HOME, &[("if-match", wrong)], "{}")
            .await
            .is_problem(400, "precondition");
    }
    for never in ["\"0\"", "W/\"1\"", "\"\"", "\"abc\""] {
        world
            .ask(Method::PUT, HOME, &[("if-match", never)], "{}")
            .await
            .is_problem(412, "version_mismatch");
    }
}

#[tokio::test]
async fn a_household_can_be_made_only_where_there_is_none() {
    let world = World::new().await;
    let none = [("if-none-match", "*")];
    assert_eq!(world.ask(Method::PUT, HOME, &none, "{}").await.status, 201);
    world
        .ask(Method::PUT, HOME, &none, "{}")
        .await
        .is_problem(412, "exists");
    world.delete(HOME).await.ok();
    world
        .ask(Method::PUT, HOME, &[("if-match", "\"1\"")], "{}")
        .await
        .is_problem(412, "version_mismatch");
    assert_eq!(
        world.ask(Method::PUT, HOME, &none, "{}").await.version(),
        3,
        "no version of the one before"
    );
    world
        .ask(Method::PUT, PHONE, &none, "{}")
        .await
        .is_problem(400, "precondition");
    // "Whatever is there" is not there either (RFC 9110, section 13.1.1), and nothing is made by
    // the way.
    for condition in ["*", "\"1\""] {
        let answer = world
            .ask(
                Method::PUT,
                "/v1/households/nobody",
                &[("if-match", condition)],
                "{}",
            )
            .await;
        answer.is_problem(412, "version_mismatch");
    }
    world
        .get("/v1/households/nobody")
        .await
        .is_problem(404, "unknown_household");
}

#[tokio::test]
async fn a_network_of_length_nought_takes_every_line_that_nobody_else_has() {
    let world = World::with_home().await;
    for (household, network) in [("rest", "0.0.0.0%2F0"), ("rest", "%3A%3A%2F0")] {
        world
            .put(&format!("/v1/households/{household}"), "{}")
            .await
            .ok();
        let path = format!("/v1/households/{household}/networks/{network}");
        world.put(&path, "").await.is_problem(422, "too_wide");
        world.put(&path, r#"{"force":true}"#).await.ok();
    }
    for (address, household) in [
        ("192.0.2.7", "home"),
        ("203.0.113.1", "rest"),
        ("2001:db8::1", "rest"),
    ] {
        let found = world
            .get(&format!("/v1/households?address={address}"))
            .await
            .ok()
            .json;
        assert_eq!(found["households"][0]["id"], household, "{address}");
    }
    world.assert_live_is_stored().await;
}

#[tokio::test]
async fn households_are_found_by_page_reference_and_most_specific_network() {
    let world = World::with_home().await;
    for number in 0..7 {
        world
            .put(
                &format!("/v1/households/h{number}"),
                &format!(r#"{{"external_ref":"crm-{}"}}"#, number % 2),
            )
            .await
            .ok();
    }
    world
        .put("/v1/households/h3/networks/192.0.2.128%2F25", "")
        .await
        .ok();
    let ids = |page: &serde_json::Value| {
        page["households"]
            .as_array()
            .unwrap()
            .iter()
            .map(|home| home["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let mut seen = Vec::new();
    let mut path = "/v1/households?limit=3".to_owned();
    loop {
        let page = world.get(&path).await.ok().json;
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/v1/households?limit=3&cursor={next}");
    }
    assert_eq!(seen, ["h0", "h1", "h2", "h3", "h4", "h5", "h6", "home"]);
    for (query, found) in [
        ("external_ref=crm-1", &["h1", "h3", "h5"][..]),
        ("external_ref=none", &[]),
        ("address=192.0.2.7", &["home"]),
        ("address=192.0.2.200", &["h3"]),
        ("address=203.0.113.1", &[]),
    ] {
        assert_eq!(
            ids(&world
                .get(&format!("/v1/households?{query}"))
                .await
                .ok()
                .json),
            found,
            "{query}"
        );
    }
}

#[tokio::test]
async fn the_taxonomy_and_the_lists_say_what_is_in_use() {
    let world = World::new().await;
    let categories = world.get("/v1/categories").await.ok().json;
    let gambling = categories["categories"]
        .as_array()
        .unwrap()
        .iter()
        .find(|category| category["slug"] == "gambling")
        .unwrap()
        .clone();
    assert!(
        gambling["title"].is_string()
            && gambling["group"].is_string()
            && gambling["presets"].is_array(),
        "{gambling}"
    );
    let presets = world.get("/v1/presets").await.ok().json;
    let slugs: Vec<_> = presets["presets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|preset| preset["slug"].as_str().unwrap())
        .collect();
    assert_eq!(slugs, ["light", "moderate", "strict", "off"]);
    let lists = world.get("/v1/lists").await.ok().json;
    assert_eq!(
        (&lists["generation"], &lists["names"], &lists["entries"]),
        (&json!(7), &json!(3), &json!(3))
    );
    assert_eq!(lists["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(lists["feeds"][0]["report"]["entries"], 1);
    for field in [
        "built_at",
        "bytes",
        "swaps",
        "last_swap_ms",
        "overlay_entries",
    ] {
        assert!(!lists[field].is_null(), "{field}");
    }
}
