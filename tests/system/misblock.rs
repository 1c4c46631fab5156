//! Reports of wrongly blocked names: anyone can report one, the operator answers by the clock, and
//! what is unblocked stays so for the stated time.

use std::time::Duration;

use crate::world::{Switch::*, World, eventually};
use serde_json::json;

const DAY: Duration = Duration::from_secs(24 * 3_600);

#[tokio::test]
async fn an_override_holds_over_updates_and_restarts_until_its_review() {
    let world = World::with_zone("mild.example. 60 A 192.0.2.7\nwww 60 A 192.0.2.8")
        .zone("other.example. 60 A 192.0.2.9")
        .listing("adult", "mild.example")
        .clock("2030-06-03 12:00:00")
        .start()
        .await;
    world.toggle("home", "adult", Block).await;
    let home = world.client("127.0.7.9");
    let public = world.api.with_key("");
    assert_eq!(home.ask("mild.example. A").await, "blocked: adult");

    let ticket =
        public.post("/v1/reports", json!({ "name": "mild.example", "reason": "a clinic", "contact": "doctor@mild.example" })).await.ok();
    assert_eq!(
        (
            ticket.status,
            &ticket.json["state"],
            &ticket.json["contact"]
        ),
        (201, &json!("open"), &json!(null))
    );
    assert!(
        ticket.json["due_at"]
            .as_str()
            .unwrap()
            .starts_with("2030-06-06T12:"),
        "{}",
        ticket.text
    );
    public
        .post("/v1/reports", json!({ "name": "mild.example" }))
        .await
        .ok();
    assert_eq!(
        public.get("/v1/reports").await.status,
        401,
        "who reports does not read what others report"
    );
    let reports = world.api.get("/v1/reports?state=open").await.ok().json;
    assert_eq!(
        (
            reports["reports"].as_array().unwrap().len(),
            &reports["reports"][1]["contact"]
        ),
        (2, &json!("doctor@mild.example"))
    );

    world.clock().advance(Duration::from_secs(7_200));
    let path =
        |report: &serde_json::Value| format!("/v1/reports/{}", report["id"].as_str().unwrap());
    let answer =
        json!({ "outcome": "unblocked", "note": "it is a clinic", "override": { "days": 90 } });
    let answered = world.api.put(&path(&ticket.json), answer).await.ok().json;
    assert_eq!(
        home.ask("www.mild.example. A").await,
        "192.0.2.8",
        "it holds when it is answered"
    );
    assert_eq!(
        (
            &answered["state"],
            answered["override_until"]
                .as_str()
                .unwrap()
                .starts_with("2030-09-01")
        ),
        (&json!("unblocked"), true)
    );
    world
        .api
        .put(
            &path(&reports["reports"][0]),
            json!({ "outcome": "duplicate" }),
        )
        .await
        .ok();
    let explained = world.api.explain("mild.example", "home").await.ok().json;
    assert_eq!(
        (&explained["layer"], &explained["setter"]["by"]),
        (&json!("never-block"), &json!("override")),
        "{explained}"
    );

    world.replace_feed("adult", "mild.example other.example");
    eventually("the feed is updated", Duration::from_secs(30), async || {
        home.ask("other.example. A").await == "blocked: adult"
    })
    .await;
    assert_eq!(
        home.ask("mild.example. A").await,
        "192.0.2.7",
        "an update takes nothing back"
    );
    world.daemon.kill();
    world.daemon.restart().await;
    assert_eq!(
        home.ask("mild.example. A").await,
        "192.0.2.7",
        "nor does a restart"
    );

    let export = world
        .api
        .get("/v1/reports/export?month=2030-06")
        .await
        .ok()
        .json;
    assert_eq!(
        (
            &export["received"],
            &export["unblocked"],
            &export["duplicate"],
            &export["open"]
        ),
        (&json!(2), &json!(1), &json!(1), &json!(0))
    );
    let median = export["answered_after_median_s"].as_i64().unwrap();
    assert!(
        (7_200..9_000).contains(&median) && export["late"] == 0,
        "{export}"
    );
    let sheet = world
        .api
        .with_header("accept", "text/csv")
        .get("/v1/reports/export?month=2030-06")
        .await
        .ok();
    assert!(
        sheet.text.starts_with("month,received,open,unblocked,")
            && sheet.text.contains("\r\n2030-06,2,0,1,0,1,0,"),
        "{}",
        sheet.text
    );
    assert_eq!(
        world
            .api
            .get("/v1/reports/export?month=2030-13")
            .await
            .status,
        422
    );

    world.clock().advance(89 * DAY);
    assert_eq!(home.ask("mild.example. A").await, "192.0.2.7");
    world.clock().advance(DAY);
    eventually("it ends by itself", Duration::from_secs(1), async || {
        home.ask("mild.example. A").await == "blocked: adult"
    })
    .await;
    let due = world.api.get("/v1/reports?state=review").await.ok().json;
    assert_eq!(
        (
            due["reports"].as_array().unwrap().len(),
            &due["reports"][0]["id"]
        ),
        (1, &ticket.json["id"]),
        "{due}"
    );
    assert!(
        due["reports"][0]["due_at"]
            .as_str()
            .unwrap()
            .starts_with("2030-09-04"),
        "{due}"
    );
}

#[tokio::test]
async fn the_public_check_reveals_only_the_basis_of_a_mandate() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .config("[reports]\nper_minute = 6\n")
        .start()
        .await;
    let document = |name: &str, is_confidential: bool| json!({ "name": name, "basis": "police", "reference": "case 7", "confidential": is_confidential });
    world
        .api
        .mandate("open", document("open.example", false))
        .await
        .ok();
    world
        .api
        .mandate("secret", document("secret.example", true))
        .await
        .ok();
    let public = world.api.with_key("");
    let check = async |name: &str| public.get(&format!("/v1/check?name={name}")).await.ok();
    let bets = check("www.bets.example").await.json;
    assert_eq!(
        (
            &bets["categories"][0]["slug"],
            &bets["order"],
            &bets["always"]
        ),
        (&json!("gambling"), &json!(null), &json!(false))
    );
    assert!(
        bets["presets"]
            .as_array()
            .unwrap()
            .contains(&json!("strict")),
        "{bets}"
    );
    // Literally equal, so that no caller can find out which mandate is confidential.
    let open = check("open.example").await;
    let secret = check("secret.example").await;
    assert_eq!(
        open.text.replace("open.example", "NAME"),
        secret.text.replace("secret.example", "NAME")
    );
    assert_eq!(
        secret.json["order"],
        json!({ "basis": "police", "reference": null })
    );
    assert!(!open.text.contains("case 7"), "{}", open.text);
    assert_eq!(check("nothing.example").await.json["presets"], json!([]));
    let lifted = public
        .post("/v1/reports", json!({ "name": "open.example" }))
        .await
        .ok();
    let path = format!("/v1/reports/{}", lifted.json["id"].as_str().unwrap());
    let refused = world
        .api
        .put(&path, json!({ "outcome": "unblocked", "override": {} }))
        .await;
    assert_eq!((refused.status, refused.problem()), (409, "mandatory"));
    check("bets.example").await;
    // One more request a minute is permitted, in case this takes so long.
    let mut often = public.get("/v1/check?name=bets.example").await;
    for _ in 0..20 {
        if often.status == 200 {
            often = public.get("/v1/check?name=bets.example").await;
        }
    }
    assert_eq!(
        (
            often.status,
            often.problem(),
            often.header("retry-after").is_some()
        ),
        (429, "rate", true)
    );
    assert_eq!(
        world.api.get("/v1/reports").await.status,
        200,
        "who has a key is not counted there"
    );
}
