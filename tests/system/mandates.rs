//! Mandates: no subscriber can lift them, and they begin and end by the clock.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::world::{Client, Feed, Reply, Switch::*, World, eventually, ox_protect};

/// The longest delay of a mandate's beginning and end.
const TIMEOUT: Duration = Duration::from_secs(60);

/// `16 192.0.2.80 court-order`: code and text of the reason, with the answer between them.
fn in_words(reply: &Reply) -> String {
    let errors = reply.extended_errors();
    let asked = reply.message.queries[0].query_type;
    let data: Vec<String> = reply
        .message
        .answers
        .iter()
        .filter(|record| record.record_type() == asked)
        .map(|record| record.data.to_string())
        .collect();
    let answer = if data.is_empty() {
        format!("{:?}", reply.code())
    } else {
        data.join(" ")
    };
    match &errors[..] {
        [] => answer,
        [error] => format!("{} {answer} {}", error.code, error.text)
            .trim_end()
            .to_owned(),
        several => panic!("one reason: {several:?}"),
    }
}

async fn ask(client: &Client, question: &str) -> String {
    in_words(&client.reply(question).await.unwrap())
}

#[tokio::test]
async fn what_a_court_orders_stays_whatever_a_household_chooses() {
    let world = World::with_zone("ordered.example. 60 A 192.0.2.7\nwww 60 A 192.0.2.8")
        .start()
        .await;
    world
        .api
        .household("home", json!({ "filtering": "off" }))
        .await
        .ok();
    world
        .device("home", "phone", ("address", "127.0.7.9"))
        .await;
    let home = world.client("127.0.7.9");
    assert_eq!(ask(&home, "www.ordered.example. A").await, "192.0.2.8");
    let order = json!({ "name": "ordered.example", "basis": "court-order", "landing": { "v4": "192.0.2.80", "v6": "2001:db8::80" } });
    assert_eq!(world.api.mandate("hc-2030-1", order).await.ok().status, 201);
    for question in [
        "ordered.example. A",
        "www.ordered.example. A",
        "a.b.ordered.example. A",
    ] {
        assert_eq!(
            ask(&home, question).await,
            "16 192.0.2.80 court-order",
            "{question}"
        );
        assert_eq!(
            ask(&home.over_tcp(), question).await,
            "16 192.0.2.80 court-order",
            "{question} over TCP"
        );
    }
    assert_eq!(
        ask(&home, "ordered.example. AAAA").await,
        "16 2001:db8::80 court-order"
    );
    for question in ["ordered.example. HTTPS", "ordered.example. MX"] {
        assert_eq!(
            ask(&home, question).await,
            "16 NoError court-order",
            "{question}: a landing has nothing else"
        );
    }
    assert_eq!(
        ask(&world.client("127.0.9.9"), "ordered.example. A").await,
        "16 192.0.2.80 court-order",
        "a client outside all households"
    );
    let before = world.api.get("/v1/households/home").await.ok().text;
    let of_household = world
        .api
        .own_name("home", "www.ordered.example", "exact", Allow)
        .await;
    let of_device = world
        .api
        .own_name_of_device("home", "phone", "ordered.example", "subtree", Allow)
        .await;
    for refused in [of_household, of_device] {
        assert_eq!(
            (refused.status, refused.problem()),
            (409, "mandatory"),
            "{}",
            refused.text
        );
    }
    assert_eq!(
        world.api.get("/v1/households/home").await.ok().text,
        before,
        "nothing is stored"
    );
    world.own_name("home", "ordered.example", Block).await;
    assert_eq!(
        ask(&home, "ordered.example. A").await,
        "16 192.0.2.80 court-order"
    );
    let explained = world
        .api
        .explain("www.ordered.example", "home")
        .await
        .ok()
        .json;
    assert_eq!(
        (
            &explained["layer"],
            &explained["entry"],
            &explained["scope"]
        ),
        (
            &json!("mandatory"),
            &json!("ordered.example"),
            &json!("subtree")
        )
    );
    let expected = json!({ "id": "hc-2030-1", "basis": "court-order", "reference": null, "confidential": false });
    assert_eq!(
        (&explained["mandate"], &explained["answer"]["ede"]["code"]),
        (&expected, &json!(16))
    );
    world.api.delete("/v1/mandates/hc-2030-1").await.ok();
    world
        .api
        .household("home", json!({ "filtering": "on" }))
        .await
        .ok();
    world.own_name("home", "ordered.example", Inherit).await;
    assert_eq!(ask(&home, "www.ordered.example. A").await, "192.0.2.8");
    world.own_name("home", "ordered.example", Allow).await;
}

/// Queries until the answer changes; returns the daemon's time at that moment.
async fn change_of(world: &World, question: &str, from: &str) -> Timestamp {
    let home = world.client("127.0.7.9");
    eventually(question, TIMEOUT, async || {
        ask(&home, question).await != from
    })
    .await;
    world.clock().now()
}

/// Never before its time. The delay after it is printed and not judged, because the machine may be
/// busy.
fn is_not_before(moment: Timestamp, time: &str) -> bool {
    let late = moment.duration_since(time.parse().unwrap());
    println!("{late:?} late");
    late >= jiff::SignedDuration::ZERO
}

#[tokio::test]
async fn a_mandate_begins_and_ends_by_the_clock_also_across_a_restart() {
    let world = World::with_zone("match.example. 60 A 192.0.2.7")
        .clock("2030-06-01 14:30:00")
        .start()
        .await;
    let home = world.client("127.0.7.9");
    let order = json!({ "name": "match.example", "basis": "court-order", "not_before": "2030-06-01T14:45:00Z", "not_after": "2030-06-01T17:15:00Z" });
    assert_eq!(
        world.api.mandate("match-day", order).await.ok().json["state"],
        "pending"
    );
    assert_eq!(ask(&home, "match.example. A").await, "192.0.2.7");
    world.clock().set("2030-06-01 14:44:59");
    let began = change_of(&world, "match.example. A", "192.0.2.7").await;
    assert!(is_not_before(began, "2030-06-01T14:45:00Z"), "{began}");
    assert_eq!(
        ask(&home, "match.example. A").await,
        "16 NXDomain court-order"
    );
    assert_eq!(
        world.api.get("/v1/mandates/match-day").await.ok().json["state"],
        "active"
    );
    // A crash inside the window: the first answer afterwards obeys the mandate.
    world.daemon.restart().await;
    assert_eq!(
        ask(&home, "match.example. A").await,
        "16 NXDomain court-order"
    );
    world.clock().set("2030-06-01 17:00:00");
    assert_eq!(
        ask(&home, "match.example. A").await,
        "16 NXDomain court-order"
    );
    world.clock().set("2030-06-01 17:14:59");
    let ended = change_of(&world, "match.example. A", "16 NXDomain court-order").await;
    assert!(is_not_before(ended, "2030-06-01T17:15:00Z"), "{ended}");
    assert_eq!(
        world.api.get("/v1/mandates/match-day").await.ok().json["state"],
        "expired"
    );
    // The daemon detects a clock that is corrected in either direction, and mandates whose time
    // passed while it was down.
    for (time, answer) in [
        ("2030-06-01 16:00:00", "16 NXDomain court-order"),
        ("2030-06-01 11:00:00", "192.0.2.7"),
    ] {
        world.clock().set(time);
        let took = eventually(time, TIMEOUT, async || {
            ask(&home, "match.example. A").await == answer
        })
        .await;
        println!("{time}: {took:?}");
    }
    world.daemon.kill();
    world.clock().set("2030-06-01 17:00:00");
    world.daemon.restart().await;
    assert_eq!(
        ask(&home, "match.example. A").await,
        "16 NXDomain court-order"
    );
    world.daemon.kill();
    world.clock().advance(Duration::from_secs(15 * 60));
    world.daemon.restart().await;
    assert_eq!(ask(&home, "match.example. A").await, "192.0.2.7");
}

#[tokio::test]
async fn a_mandate_of_addresses_blocks_what_leads_to_them_and_nothing_else() {
    let zone = "a.example. 60 A 203.0.113.7\na.example. 60 AAAA 2001:db8:7::7\nsafe 60 A 203.0.114.1\nwww 60 CNAME a.example.";
    let world = World::with_zone(zone)
        .zone("b.example. 60 A 203.0.113.200\nb.example. 60 HTTPS 1 . ipv4hint=203.0.113.200")
        .start()
        .await;
    let home = world.client("127.0.7.9");
    assert_eq!(ask(&home, "a.example. A").await, "203.0.113.7");
    world
        .api
        .mandate(
            "net",
            json!({ "address": "203.0.113.0/24", "basis": "sanctions", "reference": "S 1" }),
        )
        .await
        .ok();
    for question in [
        "a.example. A",
        "www.a.example. A",
        "b.example. A",
        "b.example. HTTPS",
    ] {
        assert_eq!(
            ask(&home, question).await,
            "16 NXDomain sanctions",
            "{question}"
        );
    }
    for (question, answer) in [
        ("safe.a.example. A", "203.0.114.1"),
        ("a.example. AAAA", "2001:db8:7::7"),
    ] {
        assert_eq!(ask(&home, question).await, answer, "{question}");
    }
    world.own_name("home", "a.example", Allow).await;
    assert_eq!(
        ask(&home, "a.example. A").await,
        "16 NXDomain sanctions",
        "an allow of the name does not lift it"
    );
    let explained = world.api.explain("a.example", "home").await.ok().json;
    assert_eq!(
        (&explained["hop"]["name"], &explained["entry"]),
        (&json!("203.0.113.7"), &json!("203.0.113.0/24")),
        "{explained}"
    );
    assert_eq!(
        (
            &explained["mandate"]["id"],
            &explained["mandate"]["reference"]
        ),
        (&json!("net"), &json!("S 1"))
    );
    world
        .api
        .mandate(
            "net",
            json!({ "address": "203.0.113.200", "basis": "sanctions" }),
        )
        .await
        .ok();
    assert_eq!(ask(&home, "a.example. A").await, "203.0.113.7");
    assert_eq!(ask(&home, "b.example. A").await, "16 NXDomain sanctions");
}

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
    let order = |name: &str, confidential| json!({ "name": name, "basis": "police", "reference": "P/7", "confidential": confidential });
    world
        .api
        .mandate("secret", order("secret.example", true))
        .await
        .ok();
    world
        .api
        .mandate("open", order("open.example", false))
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
            "the basis of what a feed orders is not known"
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
        "a refusal does not tell one order from another"
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
            .mandate("other", order("b.example", true))
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
    // Both are counted under what they are based on, and under nothing else.
    let page = async || world.api.get("/metrics").await.ok().text;
    let is_of_verdicts = |line: &&str| {
        line.starts_with("ox_protect_mandate") || line.starts_with("ox_protect_verdicts")
    };
    let orders = |page: &str| {
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
            let before = std::mem::replace(&mut last, orders(&page().await));
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
            orders(&page().await) != before
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
async fn help_lines_earlier_allows_and_new_lists_lift_no_mandate() {
    let world = World::with_zone("help.example. 60 A 192.0.2.7\nvia 60 CNAME ordered.example.")
        .zone("ordered.example. 60 A 192.0.2.8")
        .feed(
            Feed::new("health")
                .tier("never-block")
                .names("help.example"),
        )
        .listing("gambling", "bets.example")
        .start()
        .await;
    world.own_name("home", "ordered.example", Allow).await;
    world.own_name("home", "via.help.example", Allow).await;
    let home = world.client("127.0.7.9");
    assert_eq!(ask(&home, "via.help.example. A").await, "192.0.2.8");
    world
        .api
        .mandate(
            "a",
            json!({ "name": "help.example", "scope": "exact", "basis": "regulator" }),
        )
        .await
        .ok();
    world
        .api
        .mandate("b", json!({ "name": "ordered.example", "basis": "iwf" }))
        .await
        .ok();
    let holds = async || {
        assert_eq!(ask(&home, "help.example. A").await, "16 NXDomain regulator");
        assert_eq!(ask(&home, "ordered.example. A").await, "16 NXDomain iwf");
        assert_eq!(
            ask(&home, "via.help.example. A").await,
            "16 NXDomain iwf",
            "an allow covers its chain, but for an order"
        );
    };
    holds().await;
    world.toggle("home", "gambling", Block).await;
    world.replace_feed("gambling", "bets.example more.example");
    eventually(
        "the new list is live",
        Duration::from_secs(30),
        async || ask(&home, "more.example. A").await.contains("gambling"),
    )
    .await;
    holds().await;
    world.daemon.restart().await;
    holds().await;
}

#[tokio::test]
async fn a_mandate_that_covers_too_much_is_refused_unless_it_is_meant() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .config("[lists]\nown_names = [\"portal.isp.example\"]\n")
        .start()
        .await;
    let home = world.client("127.0.7.9");
    let order = |about: &str, value: &str, force: bool| json!({ about: value, "basis": "court-order", "force": force });
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
        let refused = world.api.mandate("m", order(about, value, false)).await;
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
        .mandate("m", order("name", "example", true))
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
        .mandate("m", order("name", "bets.example", false))
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
        .mandate("m", order("name", "other.example", false))
        .await;
    assert_eq!((stale.status, stale.problem()), (412, "version_mismatch"));
    let there = world
        .api
        .with_header("If-None-Match", "*")
        .mandate("m", order("name", "other.example", false))
        .await;
    assert_eq!(there.status, 412);
    assert_eq!(
        world
            .api
            .with_header("If-Match", "*")
            .mandate("n", order("name", "other.example", false))
            .await
            .status,
        412
    );
    for id in ["a", "b", "c"] {
        world
            .api
            .mandate(id, order("name", &format!("{id}.example"), false))
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
    let order = |from: &str, to: &str| json!({ "name": "ordered.example", "basis": "iwf", "not_before": from, "not_after": to });
    world
        .api
        .mandate("now", order("2020-01-01T12:00:00Z", "2090-01-01T12:00:00Z"))
        .await
        .ok();
    world
        .api
        .mandate(
            "later",
            order("2030-01-01T13:00:00Z", "2030-01-01T14:00:00Z"),
        )
        .await
        .ok();
    world
        .api
        .mandate(
            "over",
            order("2029-01-01T12:00:00Z", "2030-01-01T11:59:59Z"),
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
