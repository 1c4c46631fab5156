//! Provider feeds that are broken in every known way, under load: nothing of them becomes live,
//! nothing live is lost, and the operator is told which gate refused what.

use std::{net::Ipv4Addr, time::Duration};

use serde_json::{Value, json};

use crate::world::{
    CategoryFeed, Events, Feed, Load, Page, Provider, Signer, Switch::*, World, WorldBuilder,
    eventually, gzip, sha256,
};

/// The longest time from publication to the result of the gates: a poll, a build and a swap, on a
/// busy machine.
const DEALT_WITH_WITHIN: Duration = Duration::from_secs(60);
/// Names in a good version.
const NAMES: u32 = 40;
/// The address of every name that is not listed.
const FREE: &str = "192.0.2.77";

/// One feed, its fault, and the expected result.
struct Case {
    name: &'static str,
    gate: &'static str,
    /// Further keys of its definition.
    keys: String,
    file: String,
    /// Its file in a good and in a broken version.
    good: fn(&str) -> Page,
    broken: fn(&str) -> Page,
    /// A name that only the broken version lists, or that must never be blocked.
    never_blocked: String,
}

impl Case {
    fn new(name: &'static str, gate: &'static str, broken: fn(&str) -> Page) -> Self {
        let file = format!("/{name}.txt");
        let never_blocked = format!("broken.{name}.example");
        Self {
            name,
            gate,
            keys: String::new(),
            file,
            good: |name| Page::of(listed(name, NAMES)),
            broken,
            never_blocked,
        }
    }

    fn with(self, keys: impl Into<String>) -> Self {
        Self {
            keys: keys.into(),
            ..self
        }
    }

    fn packed(self) -> Self {
        Self {
            file: format!("/{}.txt.gz", self.name),
            good: |name| Page::of(gzip(listed(name, NAMES))),
            ..self
        }
    }

    fn feed(&self, provider: &Provider) -> Feed {
        Feed::new("gambling")
            .called(self.name)
            .fetched_from(&provider.url(&self.file))
            .with(&self.keys)
    }
}

fn listed(feed: &str, count: u32) -> String {
    (0..count)
        .map(|number| format!("n{number}.{feed}.example\n"))
        .collect()
}

/// The good list and one more name.
fn and(feed: &str, name: &str) -> Page {
    Page::of(format!("{}{name}\n", listed(feed, NAMES)))
}

fn broken(feed: &str) -> Page {
    and(feed, &format!("broken.{feed}.example"))
}

/// All cases except those of category feeds.
fn cases(provider: &Provider, signer: &Signer) -> Vec<Case> {
    vec![
        Case::new("empty", "empty", |_| Page::of("")),
        Case::new("shrunk", "shrink", |name| {
            Page::of(listed(name, NAMES * 4 / 10))
        }),
        Case {
            never_blocked: "shop.co.uk".to_owned(),
            ..Case::new("registry", "public-suffix", |name| and(name, "co.uk"))
        },
        Case::new("truncated", "compression", |name| {
            let packed = gzip(listed(name, NAMES) + &format!("broken.{name}.example\n"));
            Page::of(&packed[..packed.len() / 2])
        })
        .packed(),
        Case::new("checksum", "checksum", broken).with(format!(
            "sha256_url = {:?}",
            provider.url("/checksum.txt.sha256")
        )),
        Case::new("signature", "signature", broken)
            .with(format!("minisign_key = {:?}", signer.public_key())),
        Case::new("page", "bad-rows", |_| {
            Page::of("<html>\n<head><title>Sign in</title></head>\n<body>\n<p>Your session is over.</p>\n</body>\n</html>\n".repeat(9))
        }),
        Case::new("binary", "format", |_| {
            Page::of(b"\x7fELF\0\x01\0\x02broken.binary.example\n".repeat(50))
        }),
        Case::new("bomb", "size", |_| Page::of(gzip("\n".repeat(32 << 20))))
            .with("size_max_mib = 1")
            .packed(),
        Case::new("too-long", "size", |name| Page::of(listed(name, 80_000)))
            .with("size_max_mib = 1"),
        Case {
            good: |name| Page::of(listed(name, 3 * NAMES)),
            ..Case::new("grown", "growth", |name| {
                Page::of(listed(name, 30 * NAMES) + &format!("broken.{name}.example\n"))
            })
        },
        Case::new("covers", "canary", broken)
            .with("must_not_match = [\"www.broken.covers.example\"]"),
        Case::new("lacks", "canary", |name| {
            Page::of(broken(name).body.split_off("n0.lacks.example\n".len()))
        })
        .with("must_match = [\"www.n0.lacks.example\"]"),
        Case {
            never_blocked: "portal.own.example".to_owned(),
            ..Case::new("own", "own-names", |name| and(name, "own.example"))
        },
        Case::new("failing", "transport", |_| Page::status(503)),
        Case::new("silent", "time", |_| Page {
            is_silent: true,
            ..Page::of("")
        })
        .with("timeout_s = 1"),
        Case::new("circle", "transport", |_| Page::redirect("/circle.txt")),
        Case::new("cut", "transport", |name| Page {
            cut_at: Some(100),
            ..broken(name)
        }),
    ]
}

/// Publishes the page of a list, with its checksum and its signature where the case needs them.
fn publish(provider: &Provider, signer: &Signer, case: &Case, page: Page) {
    match case.name {
        "checksum" => provider.publish("/checksum.txt.sha256", sha256(&page.body)),
        "signature" => provider.publish("/signature.txt.minisig", signer.sign(&page.body)),
        _ => {}
    }
    provider.answer(&case.file, page);
}

/// Codes of the category feeds here.
const CODES: [(&str, &str); 2] = [("1", "gambling"), ("2", "adult")];

fn coded(feed: &str, count: u32) -> String {
    (0..count)
        .map(|number| format!("n{number}.{feed}.example\t{}\n", 1 + number % 2))
        .collect()
}

fn expected(name: &str, answer: &str) -> (String, String) {
    (format!("{name}. A"), answer.to_owned())
}

async fn state(world: &World, feed: &str) -> Value {
    world.api.get(&format!("/v1/feeds/{feed}")).await.ok().json
}

/// Waits until a feed's alarm names a gate, which must appear in all other places too; the live
/// content must be unchanged.
async fn is_stopped_and_told(
    world: &World,
    events: &Events,
    (feed, gate): (&str, &str),
    before: &Value,
) {
    eventually(
        &format!("{feed} is stopped by {gate}"),
        DEALT_WITH_WITHIN,
        async || state(world, feed).await["alarm"]["gate"] == gate,
    )
    .await;
    let now = state(world, feed).await;
    for key in ["version", "generation", "entries"] {
        assert_eq!(
            now[key], before[key],
            "{feed}: {key} of what is live: {now:#}"
        );
    }
    assert!(
        now["state"] == "refused" || now["state"] == "failing",
        "{feed}: {now:#}"
    );
    assert!(now["failures"][gate].as_u64() >= Some(1), "{feed}: {now:#}");
    assert!(
        !now["alarm"]["detail"].as_str().unwrap().is_empty(),
        "{feed}: {now:#}"
    );
    let counted = world
        .api
        .metric_of(
            "ox_protect_feed_failures_total",
            &[("feed", feed), ("gate", gate)],
        )
        .await;
    assert!(counted >= 1.0, "{feed}: no {gate} in the metrics");
    let kind = if now["refused"].is_null() {
        "feed_failing"
    } else {
        "feed_refused"
    };
    events
        .wait_for(kind, &[("feed", feed), ("gate", gate)])
        .await;
    let told = format!("feed=\"{feed}\" gate=\"{gate}\"");
    assert!(
        world
            .daemon
            .stderr()
            .lines()
            .any(|line| line.contains("ERROR") && line.contains(&told)),
        "no {told} in the log"
    );
}

fn draft() -> WorldBuilder {
    World::with_every_name_at(Ipv4Addr::new(192, 0, 2, 77)).config(
        "[lists]\nown_names = [\"portal.own.example\"]\nquery_sample = 1\n[dns]\nworkers = 1\n",
    )
}

#[tokio::test]
async fn no_broken_version_becomes_live_and_every_gate_is_reported() {
    let provider = Provider::open();
    let signer = Signer::new();
    let cases = cases(&provider, &signer);
    let mut world = draft();
    for case in &cases {
        publish(&provider, &signer, case, (case.good)(case.name));
        world = world.feed(case.feed(&provider));
    }
    let mut coded_feeds = Vec::new();
    for name in ["hole", "half-a-delta", "less-codes"] {
        let feed = CategoryFeed::publish(&provider, name, &coded(name, NAMES));
        world = world.feed(
            Feed::new("gambling")
                .categories(&CODES)
                .called(name)
                .format("category-feed")
                .fetched_from(&feed.url()),
        );
        coded_feeds.push(feed);
    }
    let world = world.start().await;
    for slug in ["gambling", "adult"] {
        world.toggle("home", slug, Block).await;
    }
    let names: Vec<(&str, &str)> = cases.iter().map(|case| (case.name, case.gate)).collect();
    let all = [
        &names[..],
        &[
            ("hole", "sequence"),
            ("half-a-delta", "compression"),
            ("less-codes", "shrink"),
        ],
    ]
    .concat();

    let events = Events::listen(&world.api).await;
    let home = world.client("127.0.7.9");
    let mut asked: Vec<_> = cases
        .iter()
        .map(|case| expected(&case.never_blocked, FREE))
        .collect();
    asked.extend(
        all.iter()
            .map(|(name, _)| expected(&format!("www.n0.{name}.example"), "blocked: gambling")),
    );
    asked.extend(
        all.iter()
            .map(|(name, _)| expected(&format!("nobody-lists.{name}.example"), FREE)),
    );
    let mut before = Vec::new();
    for (name, _) in &all {
        let feed = state(&world, name).await;
        assert_eq!(feed["state"], "live", "{feed:#}");
        before.push(feed);
    }
    let load = Load::on(&home, asked);
    for _ in 0..7 {
        assert_eq!(
            home.ask("www.n39.shrunk.example. A").await,
            "blocked: gambling"
        );
    }

    for case in &cases {
        match case.name {
            // The published checksum or signature stays, as when an attacker replaces only the
            // list.
            "checksum" | "signature" => provider.answer(&case.file, (case.broken)(case.name)),
            _ => publish(&provider, &signer, case, (case.broken)(case.name)),
        }
    }
    let [hole, half, less] = &mut coded_feeds[..] else {
        unreachable!()
    };
    hole.delta_behind_a_hole("broken.hole.example\t1\n");
    half.damaged_delta(&"broken.half-a-delta.example\t1\n".repeat(20));
    less.snapshot(&coded("less-codes", NAMES * 4 / 10));
    for (which, before) in all.iter().zip(&before) {
        is_stopped_and_told(&world, &events, *which, before).await;
    }

    the_shrunk_ones_go_live_when_an_operator_says_so(&world, &events).await;

    for case in &cases {
        publish(
            &provider,
            &signer,
            case,
            Page::of(if case.file.ends_with(".gz") {
                gzip(mended(case))
            } else {
                mended(case).into()
            }),
        );
    }
    for feed in &mut coded_feeds {
        let name = feed.url().rsplit('/').nth(1).unwrap().to_owned();
        feed.snapshot(&(coded(&name, NAMES - 4) + &format!("mended.{name}.example\t1\n")));
    }
    for (name, _) in &all {
        world
            .api
            .post(&format!("/v1/feeds/{name}/refresh"), json!({}))
            .await
            .ok();
        let question = format!("mended.{name}.example. A");
        let is_live = async || {
            home.ask(&question).await == "blocked: gambling"
                || *name == "shrunk"
                || *name == "less-codes"
        };
        eventually(&format!("{name} goes on"), DEALT_WITH_WITHIN, is_live).await;
    }
    for (name, _) in all
        .iter()
        .filter(|(name, _)| *name != "shrunk" && *name != "less-codes")
    {
        let is_well = async || state(&world, name).await["alarm"].is_null();
        eventually(&format!("{name} is well"), DEALT_WITH_WITHIN, is_well).await;
        assert_eq!(state(&world, name).await["state"], "live", "{name}");
    }
    let asked = load.end().await;
    println!(
        "{} kinds of broken feed; {asked} queries meanwhile, none with a wrong verdict",
        all.len()
    );
    assert!(asked > 100, "{asked} queries are no load");
}

fn mended(case: &Case) -> String {
    let count = if case.name == "grown" {
        3 * NAMES
    } else {
        NAMES
    };
    listed(case.name, count) + &format!("mended.{}.example\n", case.name)
}

/// Approval by an operator: the changes are shown, only the right version can be approved, and
/// never damaged content.
async fn the_shrunk_ones_go_live_when_an_operator_says_so(world: &World, events: &Events) {
    let home = world.client("127.0.7.9");
    let api = &world.api;
    let what_if = api.get("/v1/feeds/shrunk/what-if").await.ok().json;
    assert_eq!(
        (&what_if["newly_blocked"], &what_if["newly_unblocked"]),
        (&json!({}), &json!({ "gambling": NAMES * 6 / 10 }))
    );
    let touched = &what_if["queries_yesterday"];
    assert_eq!(
        (&touched["queries"], &touched["names"]),
        (&json!(7), &json!(1)),
        "{what_if:#}"
    );
    assert_eq!(
        touched["top"],
        json!([{ "name": "www.n39.shrunk.example", "queries": 7 }])
    );
    let what_if = api.get("/v1/feeds/less-codes/what-if").await.ok().json;
    assert_eq!(
        what_if["newly_unblocked"],
        json!({ "gambling": NAMES * 3 / 10, "adult": NAMES * 3 / 10 }),
        "{what_if:#}"
    );

    let approve = async |feed: &str, version: Value| {
        let body = if version.is_null() {
            json!({})
        } else {
            json!({ "version": version })
        };
        api.post(&format!("/v1/feeds/{feed}/approve"), body).await
    };
    let another = approve("shrunk", json!("0123456789abcdef")).await;
    assert_eq!(
        (another.status, another.problem()),
        (409, "another_version"),
        "{}",
        another.text
    );
    for damaged in [
        "truncated",
        "checksum",
        "signature",
        "failing",
        "binary",
        "hole",
    ] {
        let refused = approve(damaged, Value::Null).await;
        assert_eq!(
            (refused.status, refused.problem()),
            (409, "not_approvable"),
            "{damaged}: {}",
            refused.text
        );
    }
    for feed in ["shrunk", "less-codes"] {
        let version = state(world, feed).await["refused"]["version"].clone();
        let live = approve(feed, version.clone()).await.ok().json;
        assert_eq!(
            (&live["version"], &live["state"], &live["refused"]),
            (&version, &json!("live"), &Value::Null),
            "{live:#}"
        );
        assert_eq!(
            home.ask(&format!("www.n39.{feed}.example. A")).await,
            FREE,
            "live when the approval returns"
        );
        assert_eq!(
            home.ask(&format!("www.n0.{feed}.example. A")).await,
            "blocked: gambling"
        );
        events.wait_for("feed_approved", &[("feed", feed)]).await;
        events
            .wait_for(
                "feed_live",
                &[("feed", feed), ("version", version.as_str().unwrap())],
            )
            .await;
        let audit = api
            .get(&format!("/v1/audit?subject=feed:{feed}&order=newest"))
            .await
            .ok()
            .json;
        let row = &audit["records"][0];
        assert_eq!(
            (&row["action"], &row["after"]["version"]),
            (&json!("approve"), &version),
            "{audit:#}"
        );
        assert_eq!(row["before"]["refused"]["gate"], "shrink", "{audit:#}");
        assert!(
            row["actor"].as_str().unwrap().starts_with("key:"),
            "{audit:#}"
        );
    }
}
