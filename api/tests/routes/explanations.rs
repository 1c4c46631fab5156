//! Explanations: who set the deciding rule, and the sentence to read out.

use control::households::subscriber::Subscriber;
use serde_json::{Value, json};

use crate::world::World;

const HOME: &str = "/v1/households/home";

impl World {
    async fn explain(&self, query: &str) -> Value {
        self.get(&format!("/v1/explain?{query}")).await.ok().json
    }
}

const OF_PHONE: &str = "name=bets.example&household=home&device=phone";

#[tokio::test]
async fn the_setter_is_the_nearest_one_who_says_so() {
    let world = World::with_home().await;
    let by_key = format!("key:{}", world.key_id);
    let block = r#"{"state":"block"}"#;
    let allow = r#"{"state":"allow"}"#;
    // what is written, then verdict, layer, setter's layer, setter, and words of the reason
    let steps = [
        (
            HOME.to_owned(),
            r#"{"preset":"strict"}"#,
            "block",
            "category",
            Some(("preset", "strict")),
            "the household's preset blocks",
        ),
        (
            format!("{HOME}/categories/gambling"),
            block,
            "block",
            "category",
            Some(("household", &*by_key)),
            "blocked for this household",
        ),
        (
            format!("{HOME}/devices/phone/categories/gambling"),
            block,
            "block",
            "category",
            Some(("device", &*by_key)),
            "blocked for this device",
        ),
        (
            format!("{HOME}/devices/phone/categories/gambling"),
            allow,
            "allow",
            "default",
            Some(("device", &*by_key)),
            "allowed for this device",
        ),
        (
            format!("{HOME}/names/bets.example"),
            block,
            "block",
            "household-deny",
            Some(("household", &*by_key)),
            "household's own list",
        ),
        (
            format!("{HOME}/devices/phone/names/bets.example"),
            allow,
            "allow",
            "device-allow",
            Some(("device", &*by_key)),
            "device's own list",
        ),
    ];
    for (path, body, verdict, layer, setter, words) in steps {
        world.put(&path, body).await.ok();
        let explained = world.explain(OF_PHONE).await;
        assert_eq!(
            (&explained["verdict"], &explained["layer"]),
            (&json!(verdict), &json!(layer)),
            "{path} {body}"
        );
        let told = explained["setter"].as_object().map(|setter| {
            (
                setter["layer"].as_str().unwrap(),
                setter["by"].as_str().unwrap(),
            )
        });
        assert_eq!(told, setter, "{path} {body}");
        let has_time = explained["setter"]["at"].is_string();
        assert_eq!(
            has_time,
            setter.is_some_and(|(layer, _)| layer != "preset"),
            "{path} {body}"
        );
        assert!(
            explained["reason"].as_str().unwrap().contains(words),
            "{}",
            explained["reason"]
        );
    }
}

#[tokio::test]
async fn what_the_operator_decides_is_the_operators() {
    let world = World::with_home().await;
    // gambling is not in the default preset, violence would be; nothing of either is set by the
    // household.
    let explained = world.explain(OF_PHONE).await;
    assert_eq!(
        (&explained["verdict"], &explained["setter"]),
        (&json!("allow"), &json!(null))
    );
    assert_eq!(explained["matches"][0]["feed"], "bets-feed");
    assert!(
        explained["reason"]
            .as_str()
            .unwrap()
            .contains("is not blocked here"),
        "{}",
        explained["reason"]
    );
    for (name, layer, feed) in [
        ("a.evil.example", "security", "evil-feed"),
        ("ordered.example", "mandatory", "court-feed"),
    ] {
        let explained = world.explain(&format!("name={name}&household=home")).await;
        assert_eq!(
            (
                &explained["verdict"],
                &explained["layer"],
                &explained["feed"]
            ),
            (&json!("block"), &json!(layer), &json!(feed))
        );
        assert_eq!(
            explained["setter"],
            json!({ "layer": "feed", "by": feed, "at": null })
        );
    }
    let unlisted = world.explain("name=missing.example").await;
    assert_eq!(
        (
            &unlisted["layer"],
            &unlisted["household"],
            &unlisted["setter"]
        ),
        (&json!("default"), &json!(null), &json!(null))
    );
    assert_eq!(
        unlisted["reason"],
        "missing.example is not blocked: it is on no list; but the name does not exist."
    );
}

#[tokio::test]
async fn a_block_by_the_operators_default_preset_says_so() {
    let world = World::with_home().await;
    let mut context = world.context;
    // The same node whose operator blocks more by default.
    let strict = policy::rules::operator::OperatorDefaults {
        preset: context.control.taxonomy.preset("strict").unwrap(),
        ..Default::default()
    };
    let shared = std::sync::Arc::get_mut(&mut context);
    assert!(shared.is_none(), "the router holds it too");
    let directory = policy::identity::directory::Directory::new(strict);
    control::households::load::load_all(
        &context.control.store,
        &directory,
        &context.control.taxonomy,
        strict,
    )
    .await
    .unwrap();
    let home = context
        .control
        .store
        .household(&"home".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    for address in ["192.0.2.7", "203.0.113.1"] {
        let address: std::net::IpAddr = address.parse().unwrap();
        let line = directory.household_of(address).map(|rules| {
            let device = rules.device_by_address(address);
            Subscriber {
                household: std::sync::Arc::new(home.clone()),
                rules,
                device,
                at: jiff::Timestamp::now(),
            }
        });
        let asker = directory
            .identify(
                address,
                None,
                false,
                policy::unix_seconds::UnixSeconds::FIRST,
            )
            .policy;
        assert_eq!(
            line.as_ref()
                .map_or_else(|| directory.unknown_line(), Subscriber::asker),
            asker
        );
        let explained = context
            .control
            .explainer
            .explain(
                asker,
                None,
                policy::name::Name::parse("bets.example").unwrap(),
                1,
                None,
            )
            .await;
        let composed = json!(control::explain::compose(
            &explained,
            1,
            line.as_ref(),
            &context.control.taxonomy,
            control::explain::Sight::Whole
        ));
        assert_eq!(
            composed["setter"],
            json!({ "layer": "operator", "by": "default preset", "at": null })
        );
        assert!(
            composed["reason"]
                .as_str()
                .unwrap()
                .contains("the operator's default blocks")
        );
    }
}

#[tokio::test]
async fn an_own_entry_is_named_only_where_its_scope_reaches() {
    let world = World::with_home().await;
    world
        .put(&format!("{HOME}/names/a.example"), r#"{"state":"block"}"#)
        .await
        .ok();
    world
        .put(
            &format!("{HOME}/names/b.a.example"),
            r#"{"state":"allow","scope":"exact"}"#,
        )
        .await
        .ok();
    let explained = world.explain("name=c.b.a.example&household=home").await;
    assert_eq!(
        (
            &explained["verdict"],
            &explained["entry"],
            &explained["scope"]
        ),
        (&json!("block"), &json!("a.example"), &json!("subtree"))
    );
    let home = world.get(HOME).await.json;
    assert_eq!(
        explained["setter"]["at"],
        home["names"]["a.example"]["set_at"]
    );
}

#[tokio::test]
async fn a_block_behind_an_alias_names_the_name_that_decided() {
    let world = World::with_home().await;
    world
        .put(
            &format!("{HOME}/categories/gambling"),
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    let explained = world
        .explain("name=leads.example&household=home&type=aaaa")
        .await;
    assert_eq!(
        explained["hop"],
        json!({ "index": 1, "name": "bets.example" })
    );
    assert_eq!(
        (&explained["name"], &explained["chain"]),
        (&json!("leads.example"), &json!(["bets.example"]))
    );
    assert_eq!(
        (&explained["type"], &explained["category"]),
        (&json!("AAAA"), &json!("gambling"))
    );
    assert_eq!(
        explained["answer"],
        json!({ "rcode": "NXDOMAIN", "records": [], "ede": { "code": 17, "text": "(gambling)" } })
    );
    assert!(
        explained["reason"]
            .as_str()
            .unwrap()
            .ends_with("because it leads to bets.example."),
        "{}",
        explained["reason"]
    );
}

#[tokio::test]
async fn an_entry_says_where_it_stands_in_a_feed_a_bundle_or_an_own_list() {
    let world = World::with_home().await;
    for slug in ["gambling", "tiktok"] {
        world
            .put(&format!("{HOME}/categories/{slug}"), r#"{"state":"block"}"#)
            .await
            .ok();
    }
    world
        .put(&format!("{HOME}/names/own.example"), r#"{"state":"block"}"#)
        .await
        .ok();
    for (asked, entry, source, feed, category) in [
        (
            "www.tiktok.com",
            "tiktok.com",
            json!("bundle"),
            json!(null),
            json!("tiktok"),
        ),
        (
            "www.bets.example",
            "bets.example",
            json!("feed"),
            json!("bets-feed"),
            json!("gambling"),
        ),
        (
            "www.own.example",
            "own.example",
            json!("own-list"),
            json!(null),
            json!(null),
        ),
    ] {
        let explained = world.explain(&format!("name={asked}&household=home")).await;
        let told =
            ["entry", "source", "feed", "category", "scope"].map(|key| explained[key].clone());
        assert_eq!(
            told,
            [json!(entry), source, feed, category, json!("subtree")],
            "{explained}"
        );
    }
    let explained = world.explain("name=www.tiktok.com&household=home").await;
    let expected = json!({
        "entry": "tiktok.com", "source": "bundle", "feed": null, "category": "tiktok", "scope": "subtree", "polarity": "deny",
        "tier": "choice", "action": "policy", "counts": true, "since": null,
    });
    assert_eq!(
        (&explained["matches"], &explained["setter"]["layer"]),
        (&json!([expected]), &json!("household")),
        "{explained}"
    );
    assert_eq!(
        world.explain("name=www.bets.example").await["matches"][0]["source"],
        "feed"
    );
    // Where nothing blocks it, an explanation says for what it is listed all the same, and so does
    // the page for everybody.
    let open = world.explain("name=m.youtube.com&household=home").await;
    assert_eq!(
        (
            &open["entry"],
            &open["source"],
            &open["matches"][0]["entry"]
        ),
        (&json!(null), &json!(null), &json!("youtube.com"))
    );
    assert!(
        open["reason"]
            .as_str()
            .unwrap()
            .contains("it is listed as YouTube, which is not blocked here"),
        "{}",
        open["reason"]
    );
    let check = world.get("/v1/check?name=i.instagram.com").await.ok().json;
    assert_eq!(
        check["categories"],
        json!([{ "slug": "instagram", "title": "Instagram", "tier": "choice" }])
    );
    assert_eq!(check["presets"], json!(["strict"]));
    let categories = world.get("/v1/categories").await.ok().json;
    let of = |slug: &str| {
        categories["categories"]
            .as_array()
            .unwrap()
            .iter()
            .find(|category| category["slug"] == slug)
            .unwrap()
            .clone()
    };
    assert_eq!(
        (&of("tiktok")["service"], &of("tiktok")["names"][0]),
        (&json!(true), &json!("tiktok.com"))
    );
    assert_eq!(
        (&of("gambling")["service"], &of("gambling")["names"]),
        (&json!(false), &json!([]))
    );
}

#[tokio::test]
async fn an_allow_of_a_search_engine_says_that_safe_search_holds() {
    let world = World::with_home().await;
    let phone = format!("{HOME}/devices/phone");
    world
        .put(
            &format!("{phone}/safe-search"),
            r#"{"google":"strict","duckduckgo":"strict"}"#,
        )
        .await
        .ok();
    let explain = async |name: &str| {
        world
            .explain(&format!("name={name}&household=home&device=phone"))
            .await
    };
    let told = |explained: &Value| {
        (
            explained["layer"].as_str().unwrap().to_owned(),
            explained["setter"]["layer"].as_str().unwrap().to_owned(),
        )
    };
    let says = |explained: &Value, words: &str| {
        assert!(
            explained["reason"].as_str().unwrap().contains(words),
            "{}",
            explained["reason"]
        )
    };
    let alone = explain("www.google.com").await;
    assert_eq!(told(&alone), ("safe-search".into(), "device".into()));
    assert_eq!(
        alone["reason"],
        "www.google.com leads to its safe search, as set for this device."
    );
    for name in ["www.google.com", "html.duckduckgo.com"] {
        world
            .put(&format!("{HOME}/names/{name}"), r#"{"state":"allow"}"#)
            .await
            .ok();
    }
    let allowed = explain("www.google.com").await;
    assert_eq!(
        (told(&allowed), &allowed["verdict"]),
        (("safe-search".into(), "device".into()), &json!("allow"))
    );
    says(&allowed, "that it is allowed does not lift this");
    let closed = explain("html.duckduckgo.com").await;
    assert_eq!(
        (told(&closed), &closed["verdict"]),
        (
            ("safe-search-deny".into(), "device".into()),
            &json!("block")
        )
    );
    says(
        &closed,
        "DuckDuckGo has no safe search there, which is set for this device; that it is allowed does not lift this",
    );
    world
        .post(
            &format!("{HOME}/grants"),
            r#"{"everything":true,"minutes":5}"#,
        )
        .await
        .ok();
    says(
        &explain("google.com").await,
        "that it is open for a while does not lift this",
    );
    // Who says that it does lift it is shown, and then it does.
    world
        .put(&format!("{HOME}/search-unlock"), r#"{"state":"allow"}"#)
        .await
        .ok();
    assert_eq!(
        told(&explain("www.google.com").await),
        ("household-allow".into(), "household".into())
    );
    assert_eq!(
        told(&explain("html.duckduckgo.com").await),
        ("household-allow".into(), "household".into())
    );
    let shown = world
        .get(&format!("{HOME}/effective/phone"))
        .await
        .ok()
        .json["search_unlock"]
        .clone();
    assert_eq!(
        (&shown["unlocked"], &shown["layer"], &shown["set_by"]),
        (
            &json!(true),
            &json!("household"),
            &json!(format!("key:{}", world.key_id))
        )
    );
    world
        .put(&format!("{phone}/search-unlock"), r#"{"state":"block"}"#)
        .await
        .ok();
    assert_eq!(
        told(&explain("www.google.com").await),
        ("safe-search".into(), "device".into())
    );
}

#[tokio::test]
async fn a_household_that_chose_no_filtering_is_told_so() {
    let world = World::with_home().await;
    world
        .put(
            &format!("{HOME}/categories/gambling"),
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    world.put(HOME, r#"{"filtering":"off"}"#).await.ok();
    let explained = world.explain(OF_PHONE).await;
    assert_eq!(
        (&explained["verdict"], &explained["setter"]),
        (&json!("allow"), &json!(null))
    );
    assert!(
        explained["reason"]
            .as_str()
            .unwrap()
            .contains("this household chose no filtering"),
        "{}",
        explained["reason"]
    );
}

#[tokio::test]
async fn every_key_of_an_explanation_is_always_there() {
    let world = World::with_home().await;
    for query in [
        "name=bets.example",
        OF_PHONE,
        "name=ordered.example&type=65",
    ] {
        let explained = world.explain(query).await;
        let keys: Vec<&str> = explained
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut expected = [
            "name",
            "type",
            "household",
            "device",
            "verdict",
            "layer",
            "mandate",
            "action",
            "reason",
            "category",
            "categories",
            "entry",
            "source",
            "feed",
            "scope",
            "generation",
            "setter",
            "hop",
            "chain",
            "matches",
            "answer",
        ];
        expected.sort_unstable();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(keys, expected, "{query}");
    }
}
