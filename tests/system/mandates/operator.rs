//! Mandates as the operator manages them: documents, confidentiality, metrics, and the form of answers.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use super::{TIMEOUT, ask};
use crate::world::{Feed, Switch::*, World, eventually, ox_protect};

#[tokio::test]
async fn only_the_operator_can_tell_a_confidential_mandate_from_another() {
    let contact = "[dns]\ncontact = [\"mailto:help@isp.example\"]\norganization = \"ISP\"\n";
    let world = World::with_zone("secret.example. 60 A 192.0.2.7")
        .zone("open.example. 60 A 192.0.2.8")
        .zone("fed.example. 60 A 192.0.2.9")
        .feed(Feed::new("piracy").tier("mandatory").names("fed.example"))
        .config(contact)
        .start()
        .await;
    let document = |name: &str, confidential| json!({ "name": name, "basis": "police", "reference": "P/7", "confidential": confidential });
    world
        .api
        .mandate("secret", document("secret.example", true))
        .await
        .ok();
    world
        .api
        .mandate("open", document("open.example", false))
        .await
        .ok();
    let home = world.client("127.0.7.9");
    let asks_for_json = home.with_option(15, &[0, 0]);
    for client in [&home, &home.over_tcp()] {
        for question in ["secret.example. A", "open.example. A"] {
            assert_eq!(
                ask(client, question).await,
                "16 NXDomain police",
                "{question}"
            );
        }
        assert_eq!(
            ask(client, "fed.example. A").await,
            "16 NXDomain",
            "the basis of a mandatory feed is not known"
        );
    }
    for client in [&asks_for_json, &asks_for_json.over_tcp()] {
        for question in ["secret.example. A", "open.example. A"] {
            let told = client
                .reply(question)
                .await
                .unwrap()
                .extended_errors()
                .remove(0)
                .text;
            let expected = json!({ "c": ["mailto:help@isp.example"], "j": "an order of the police", "o": "ISP", "l": "en" });
            assert_eq!(
                serde_json::from_str::<Value>(&told).unwrap(),
                expected,
                "{question}"
            );
        }
    }
    let refused = world
        .api
        .own_name("home", "secret.example", "exact", Allow)
        .await;
    let of_feed = world
        .api
        .own_name("home", "fed.example", "exact", Allow)
        .await;
    assert_eq!((refused.status, refused.problem()), (409, "mandatory"));
    assert_eq!(
        refused.text, of_feed.text,
        "a refusal does not tell one mandate from another"
    );
    let key = |role: &str| {
        let place = if role == "parent" {
            &["--household", "home"][..]
        } else {
            &[]
        };
        let config = world.daemon.config();
        let made = ox_protect(
            &[
                &[
                    "keys",
                    "create",
                    "--role",
                    role,
                    "--config",
                    config.to_str().unwrap(),
                ],
                place,
            ]
            .concat(),
        );
        String::from_utf8(made.stdout)
            .unwrap()
            .trim()
            .split_once(": ")
            .unwrap()
            .1
            .to_owned()
    };
    let auditor = world.api.with_key(&key("auditor"));
    assert_eq!(
        auditor.get("/v1/mandates/secret").await.ok().json["reference"],
        "P/7"
    );
    assert_eq!(
        auditor
            .mandate("other", document("b.example", true))
            .await
            .status,
        403
    );
    assert_eq!(auditor.delete("/v1/mandates/secret").await.status, 403);
    for path in ["/v1/mandates", "/v1/mandates/secret"] {
        let parent = world.api.with_key(&key("parent")).get(path).await;
        assert!(
            [403, 404].contains(&parent.status) && !parent.text.contains("secret.example"),
            "{path}: {}",
            parent.text
        );
    }
    // Both are counted under their basis, and under nothing else.
    let page = async || world.api.get("/metrics").await.ok().text;
    let is_of_verdicts = |line: &&str| {
        line.starts_with("ox_protect_mandate") || line.starts_with("ox_protect_verdicts")
    };
    let mandate_metrics = |page: &str| {
        page.lines()
            .filter(is_of_verdicts)
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    // Counters of workers are published a moment later, on a busy machine several: the test waits
    // until they stop changing.
    let settled = async || {
        let mut last = BTreeSet::new();
        let is_still = async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let before = std::mem::replace(&mut last, mandate_metrics(&page().await));
            before == last
                && last
                    .iter()
                    .any(|line| line.starts_with("ox_protect_mandate_hits_total"))
        };
        eventually("the counts are still", TIMEOUT, is_still).await;
        last
    };
    let change = async |question: &str| {
        let before = settled().await;
        ask(&home, question).await;
        eventually("it is counted", TIMEOUT, async || {
            mandate_metrics(&page().await) != before
        })
        .await;
        let after = settled().await;
        after
            .difference(&before)
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let counted = change("secret.example. A").await;
    assert_eq!(counted, change("open.example. A").await);
    assert!(
        counted.iter().any(|line| line.contains("police")),
        "{counted:?}"
    );
    let page = page().await;
    assert!(
        !page.contains("secret") && !page.contains("P/7"),
        "metrics name no mandate"
    );
    assert!(
        !world.daemon.stderr().contains("secret"),
        "and so does the log"
    );
}

#[tokio::test]
async fn a_mandate_that_covers_too_much_is_refused_unless_it_is_meant() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .config("[lists]\nown_names = [\"portal.isp.example\"]\n")
        .start()
        .await;
    let home = world.client("127.0.7.9");
    let document = |about: &str, value: &str, force: bool| json!({ about: value, "basis": "court-order", "force": force });
    for (about, value, code) in [
        ("name", "example", "public_suffix"),
        ("name", "co.uk", "public_suffix"),
        ("name", "github.io", "public_suffix"),
        ("name", "kobe.jp", "public_suffix"),
        ("name", "isp.example", "own_name"),
        ("name", "www.portal.isp.example", "own_name"),
        ("address", "0.0.0.0/0", "too_wide"),
        ("address", "2000::/3", "too_wide"),
        ("name", "..", "mandate"),
        ("address", "192.0.2.1/24", "mandate"),
    ] {
        let refused = world.api.mandate("m", document(about, value, false)).await;
        assert_eq!(
            (refused.status, refused.problem(), &refused.json["field"]),
            (422, code, &json!(about)),
            "{value}: {}",
            refused.text
        );
    }
    assert_eq!(
        world.api.get("/v1/mandates/m").await.problem(),
        "unknown_mandate"
    );
    world
        .api
        .mandate("m", document("name", "example", true))
        .await
        .ok();
    assert_eq!(
        ask(&home, "bets.example. A").await,
        "16 NXDomain court-order",
        "it is meant"
    );
    let changed = world
        .api
        .with_header("If-Match", "\"1\"")
        .mandate("m", document("name", "bets.example", false))
        .await
        .ok();
    assert_eq!(
        (
            changed.status,
            changed.header("etag"),
            &changed.json["version"]
        ),
        (200, Some("\"2\""), &json!(2))
    );
    let stale = world
        .api
        .with_header("If-Match", "\"1\"")
        .mandate("m", document("name", "other.example", false))
        .await;
    assert_eq!((stale.status, stale.problem()), (412, "version_mismatch"));
    let there = world
        .api
        .with_header("If-None-Match", "*")
        .mandate("m", document("name", "other.example", false))
        .await;
    assert_eq!(there.status, 412);
    assert_eq!(
        world
            .api
            .with_header("If-Match", "*")
            .mandate("n", document("name", "other.example", false))
            .await
            .status,
        412
    );
    for id in ["a", "b", "c"] {
        world
            .api
            .mandate(id, document("name", &format!("{id}.example"), false))
            .await
            .ok();
    }
    let first = world.api.get("/v1/mandates?limit=3").await.ok().json;
    let second = world
        .api
        .get(&format!(
            "/v1/mandates?limit=3&cursor={}",
            first["next"].as_str().unwrap()
        ))
        .await
        .ok()
        .json;
    let ids = |page: &Value| {
        page["mandates"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (ids(&first).concat(), ids(&second).concat(), &second["next"]),
        ("abc".into(), "m".into(), &Value::Null)
    );
    assert_eq!(world.api.delete("/v1/mandates/m").await.ok().version(), 3);
    assert_eq!(world.api.delete("/v1/mandates/m").await.status, 404);
    assert_eq!(ask(&home, "bets.example. A").await, "192.0.2.7");
    let records = world.api.get("/v1/audit?subject=mandate:m").await.ok().json["records"].clone();
    let told: Vec<_> = records
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                &row["action"],
                &row["before"]["name"],
                &row["after"]["name"],
            )
        })
        .collect();
    let [example, bets, none] = [json!("example"), json!("bets.example"), Value::Null];
    let [create, change, delete] = [json!("create"), json!("change"), json!("delete")];
    assert_eq!(
        told,
        [
            (&create, &none, &example),
            (&change, &example, &bets),
            (&delete, &bets, &none)
        ]
    );
}

#[tokio::test]
async fn mandates_are_counted_by_basis_and_listed_by_the_command_line() {
    let world = World::with_zone("ordered.example. 60 A 192.0.2.7")
        .clock("2030-01-01 12:00:00")
        .start()
        .await;
    let document = |from: &str, to: &str| json!({ "name": "ordered.example", "basis": "iwf", "not_before": from, "not_after": to });
    world
        .api
        .mandate(
            "now",
            document("2020-01-01T12:00:00Z", "2090-01-01T12:00:00Z"),
        )
        .await
        .ok();
    world
        .api
        .mandate(
            "later",
            document("2030-01-01T13:00:00Z", "2030-01-01T14:00:00Z"),
        )
        .await
        .ok();
    world
        .api
        .mandate(
            "over",
            document("2029-01-01T12:00:00Z", "2030-01-01T11:59:59Z"),
        )
        .await
        .ok();
    let home = world.client("127.0.7.9");
    for _ in 0..3 {
        assert_eq!(ask(&home, "ordered.example. A").await, "16 NXDomain iwf");
    }
    for state in ["active", "pending", "expired"] {
        assert_eq!(
            world
                .api
                .metric_of("ox_protect_mandates", &[("state", state)])
                .await,
            1.0,
            "{state}"
        );
    }
    assert_eq!(
        world
            .api
            .metric_of("ox_protect_mandate_hits_total", &[("basis", "iwf")])
            .await,
        3.0
    );
    assert_eq!(world.api.metric("ox_protect_mandate_hits_total").await, 3.0);
    let config = world.daemon.config();
    let told = ox_protect(&[
        "explain",
        "www.ordered.example",
        "--config",
        config.to_str().unwrap(),
    ]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(
        (
            &told["layer"],
            &told["mandate"]["id"],
            &told["answer"]["ede"]["text"]
        ),
        (&json!("mandatory"), &json!("now"), &json!("iwf"))
    );
}

#[tokio::test]
async fn the_operator_chooses_the_blocked_answer_of_each_tier() {
    let settings = "[dns]\nblocked_answer = \"nodata\"\ncontact = [\"https://isp.example/blocked\"]\n
        [dns.blocked_by.mandatory]\nanswer = \"landing\"\nv4 = \"192.0.2.80\"\n[dns.blocked_by.security]\nanswer = \"nxdomain\"\n";
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .feed(Feed::new("malware").tier("security").names("evil.example"))
        .feed(Feed::new("piracy").tier("mandatory").names("fed.example"))
        .config(settings)
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    world.own_name("home", "own.example", Block).await;
    world
        .api
        .mandate(
            "a",
            json!({ "name": "ordered.example", "basis": "sanctions" }),
        )
        .await
        .ok();
    let home = world.client("127.0.7.9");
    for (question, answer) in [
        ("bets.example. A", "17 NoError gambling"),
        ("evil.example. A", "15 NXDomain malware"),
        ("fed.example. A", "16 192.0.2.80"),
        ("ordered.example. A", "16 192.0.2.80 sanctions"),
        ("ordered.example. AAAA", "16 NoError sanctions"),
    ] {
        assert_eq!(ask(&home, question).await, answer, "{question}");
    }
    let json = home.with_option(15, &[0, 0]);
    let contact = "https://isp.example/blocked";
    for (question, expected) in [
        (
            "bets.example. A",
            json!({ "c": [contact], "j": "Gambling", "l": "en" }),
        ),
        (
            "evil.example. A",
            json!({ "c": [contact], "j": "Malware", "s": 1, "l": "en" }),
        ),
        (
            "own.example. A",
            json!({ "c": [contact], "j": "own list", "l": "en" }),
        ),
        (
            "ordered.example. A",
            json!({ "c": [contact], "j": "sanctions", "l": "en" }),
        ),
    ] {
        let error = json
            .reply(question)
            .await
            .unwrap()
            .extended_errors()
            .remove(0);
        assert_eq!(
            serde_json::from_str::<Value>(&error.text).unwrap(),
            expected,
            "{question}"
        );
        assert!(
            !error.text.contains("\": ") && !error.text.contains(", \""),
            "minimal: {}",
            error.text
        );
    }
}
