//! Services: names that belong to a category without a feed, beside feeds, and below all layers
//! above categories.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    decide::{Action, EffectivePolicy, Layer, Verdict, decide, review},
    lists::{
        artefact::{FeedSummary, Header},
        blocklist::Blocklist,
        builder::ArtefactBuilder,
        entry::{EntryAction, ListEntry, NO_CATEGORY, Scope, Tier},
        mandates::{ActiveMandates, Mandate, MandateDocument},
    },
    name::Name,
    rules::{
        builtin_names::BuiltinNames, compiled::HouseholdRules, household::Household,
        operator::OperatorDefaults,
    },
    unix_seconds::UnixSeconds,
};
use serde_json::{Value, json};

const NOW: &str = "2030-01-01T12:00:00Z";

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Two services, one of which has names below the other's, and categories that only feeds fill.
fn taxonomy() -> Taxonomy {
    let category = |slug: &str, names: &str| {
        format!("[[category]]\nslug = \"{slug}\"\ntitle = \"\"\ngroup = \"\"\nnames = [{names}]\n")
    };
    let text = [
        category(
            "video",
            r#""video.test", "Cdn.Host.test.", "deep.part.chat.test""#,
        ),
        category("chat", r#""chat.test", "video.test""#),
        category("gambling", ""),
        category("malware", ""),
    ];
    Taxonomy::parse(&text.concat()).unwrap()
}

/// Lists from rows: a name, its tier, and its category if it has one.
fn lists(rows: &[(&str, Tier, &str)], taxonomy: &Taxonomy) -> Arc<Blocklist> {
    let mut builder = ArtefactBuilder::new();
    let slugs: Vec<String> = taxonomy
        .categories()
        .iter()
        .map(|category| category.slug.clone())
        .collect();
    for (feed, (listed, _, slug)) in (0..).zip(rows) {
        let category = slugs
            .iter()
            .position(|other| other == slug)
            .map_or(NO_CATEGORY, |place| place as u8);
        builder
            .push(
                name(listed).borrow(),
                ListEntry {
                    action: EntryAction::Nxdomain,
                    ..ListEntry::deny(feed, category, Scope::Subtree)
                },
            )
            .unwrap();
    }
    let feeds = rows
        .iter()
        .enumerate()
        .map(|(place, (_, tier, _))| FeedSummary::new(&format!("feed-{place}"), *tier))
        .collect();
    let header = Header {
        feeds,
        categories: slugs,
        ..Header::of(1, Timestamp::UNIX_EPOCH)
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lists");
    builder.write(header, None, &path).unwrap();
    Blocklist::open(&path, taxonomy).unwrap()
}

/// A client whose household blocks both services and has the given settings.
fn client(document: Value, taxonomy: &Taxonomy) -> EffectivePolicy {
    let set = |what: Value| with(json!({ "set_by": "tests", "set_at": NOW }), what);
    let block = || set(json!({ "state": "block" }));
    let categories = json!({ "video": block(), "chat": block(), "gambling": block() });
    let mut whole = json!({ "id": "home", "version": 1, "time_zone": "UTC", "filtering": "on", "categories": categories });
    for (key, what) in document.as_object().unwrap() {
        whole[key] = match what.get("until") {
            Some(_) => set(what.clone()),
            None => what
                .as_object()
                .unwrap()
                .iter()
                .map(|(key, what)| (key.clone(), set(what.clone())))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        };
    }
    let household: Household = serde_json::from_value(whole).unwrap();
    let now: Timestamp = NOW.parse().unwrap();
    EffectivePolicy::of(
        &Arc::new(HouseholdRules::compile(
            &household,
            taxonomy,
            OperatorDefaults::default(),
            now,
        )),
        None,
        UnixSeconds::of(now),
    )
}

fn with(mut whole: Value, more: Value) -> Value {
    whole
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    whole
}

fn judge(client: &EffectivePolicy, lists: &Blocklist, asked: &str) -> Verdict {
    decide(
        client,
        name(asked).borrow(),
        &lists.classify(name(asked).borrow()),
    )
}

#[test]
fn a_service_has_its_names_and_all_below_and_nothing_above_or_beside() {
    let taxonomy = taxonomy();
    let empty = Blocklist::empty(&taxonomy);
    let of_feeds = lists(&[("bets.test", Tier::Choice, "gambling")], &taxonomy);
    let next = of_feeds.with_deltas(&[], &taxonomy).unwrap();
    let mandated = of_feeds.with_mandates(&Arc::new(
        ActiveMandates::default().lifting(&[name("other.test")]),
    ));
    for lists in [&empty, &*of_feeds, &*next, &*mandated] {
        for (asked, expected) in [
            ("video.test", vec!["video", "chat"]),
            ("a.b.VIDEO.test", vec!["video", "chat"]),
            ("cdn.host.test", vec!["video"]),
            ("x.cdn.host.test", vec!["video"]),
            ("chat.test", vec!["chat"]),
            ("part.chat.test", vec!["chat"]),
            ("a.deep.part.chat.test", vec!["video", "chat"]),
            ("host.test", vec![]),
            ("acdn.host.test", vec![]),
            ("notvideo.test", vec![]),
            ("video.test.other", vec![]),
            ("test", vec![]),
            (".", vec![]),
        ] {
            let said = lists.classify(name(asked).borrow());
            assert_eq!(taxonomy.slugs(said.choice), expected, "{asked}");
            assert!(
                said.listings == [None; 4]
                    && !said.mandatory
                    && !said.never_block
                    && said.security.is_empty(),
                "{asked}"
            );
        }
    }
    let asked = name("a.deep.part.chat.test");
    let entries = empty
        .service_matches(asked.borrow())
        .into_iter()
        .map(|found| (found.entry.to_string(), taxonomy.slugs(found.categories)));
    assert_eq!(
        entries.collect::<Vec<_>>(),
        [
            ("chat.test".to_owned(), vec!["chat"]),
            ("deep.part.chat.test".to_owned(), vec!["video"])
        ]
    );
    assert_eq!(
        lists(&[], &Taxonomy::parse("").unwrap()).classify(asked.borrow()),
        Default::default(),
        "a taxonomy need not have any"
    );
}

#[test]
fn where_service_and_feed_block_a_name_the_feed_is_named() {
    let taxonomy = taxonomy();
    let rows = [
        ("www.video.test", Tier::Choice, "gambling"),
        ("chat.test", Tier::Choice, "chat"),
        ("video.test", Tier::Security, "malware"),
    ];
    let lists = lists(&rows[..2], &taxonomy);
    let client = client(json!({}), &taxonomy);
    let told = |asked: &str| {
        let verdict = judge(&client, &lists, asked);
        (
            verdict.layer,
            taxonomy.slugs(verdict.categories),
            verdict.feed,
            verdict.action,
        )
    };
    assert_eq!(
        told("video.test"),
        (
            Layer::Category,
            vec!["video", "chat"],
            None,
            Action::OperatorPolicy
        )
    );
    assert_eq!(
        told("www.video.test"),
        (
            Layer::Category,
            vec!["video", "chat", "gambling"],
            Some(0),
            Action::Nxdomain
        )
    );
    assert_eq!(
        told("www.chat.test"),
        (Layer::Category, vec!["chat"], Some(1), Action::Nxdomain)
    );
    assert_eq!(
        told("deep.part.chat.test"),
        (
            Layer::Category,
            vec!["video", "chat"],
            Some(1),
            Action::Nxdomain
        )
    );
    // Services are of the choice tier: security ranks above it.
    assert_eq!(
        judge(&client, &self::lists(&rows, &taxonomy), "video.test").layer,
        Layer::Security
    );
}

#[test]
fn every_layer_above_categories_is_above_services() {
    let taxonomy = taxonomy();
    let until = "2030-01-01T13:00:00Z";
    let own =
        |state: &str| json!({ "names": { "video.test": { "state": state, "scope": "subtree" } } });
    let grant = |slug: &str| json!({ "grants": { "g": { "category": slug, "until": until } } });
    let without = lists(&[], &taxonomy);
    for (document, asked, layer) in [
        (json!({}), "www.video.test", Layer::Category),
        (own("allow"), "www.video.test", Layer::HouseholdAllow),
        (own("block"), "www.video.test", Layer::HouseholdDeny),
        (
            json!({ "pause": { "until": until } }),
            "www.video.test",
            Layer::Paused,
        ),
        (grant("chat"), "www.chat.test", Layer::Grant),
        (grant("video"), "www.chat.test", Layer::Category),
        // Both block it, and a grant of one lifts only names that the other does not block.
        (grant("video"), "www.video.test", Layer::Category),
        (grant("video"), "cdn.host.test", Layer::Grant),
    ] {
        assert_eq!(
            judge(&client(document.clone(), &taxonomy), &without, asked).layer,
            layer,
            "{asked} {document}"
        );
    }
    let plain = client(json!({}), &taxonomy);
    let never = lists(&[("video.test", Tier::NeverBlock, "")], &taxonomy);
    assert_eq!(
        judge(&plain, &never, "www.video.test").layer,
        Layer::NeverBlock
    );
    let lifted = without.with_mandates(&Arc::new(
        ActiveMandates::default().lifting(&[name("video.test")]),
    ));
    assert_eq!(
        judge(&plain, &lifted, "www.video.test").layer,
        Layer::NeverBlock
    );
    let document = MandateDocument {
        name: Some("video.test".to_owned()),
        basis: "sanctions".to_owned(),
        ..MandateDocument::default()
    };
    let mandate = Mandate::read("m".parse().unwrap(), document).unwrap();
    let mandated = without.with_mandates(&Arc::new(ActiveMandates::of(vec![Arc::new(mandate)])));
    assert_eq!(
        judge(
            &client(own("allow"), &taxonomy),
            &mandated,
            "www.video.test"
        )
        .layer,
        Layer::Mandatory
    );
    // The alias target is looked up in the same way, and an allow of the name covers it.
    let class = without.classify(name("cdn.host.test").borrow());
    for (document, asked, decided) in [
        (json!({}), "free.test", (Layer::Category, 1)),
        (own("allow"), "www.video.test", (Layer::HouseholdAllow, 0)),
    ] {
        let client = client(document, &taxonomy);
        let queried = judge(&client, &without, asked);
        let (verdict, hop) = review(
            &client,
            queried,
            std::iter::once((name("cdn.host.test").borrow(), &class)),
        );
        assert_eq!((verdict.layer, hop), decided, "{asked}");
    }
}

#[test]
fn the_shipped_services_are_sound() {
    let taxonomy = Taxonomy::shipped();
    let mut service_names: BTreeMap<Name, &str> = BTreeMap::new();
    for category in taxonomy.categories() {
        assert!(
            !category.service || !category.names.is_empty(),
            "{} is a service without a name",
            category.slug
        );
        let names: Vec<Name> = category.names.iter().map(|text| name(text)).collect();
        for (text, name) in category.names.iter().zip(&names) {
            assert_eq!(
                *text,
                name.to_string(),
                "{} is written as it is read",
                category.slug
            );
            let above = names
                .iter()
                .find(|other| *other != name && name.borrow().is_within(other.borrow()));
            assert!(
                above.is_none(),
                "{}: {name} is in {above:?} anyway",
                category.slug
            );
            if category.service {
                assert_eq!(
                    service_names.insert(name.clone(), &category.slug),
                    None,
                    "{name} is of two services"
                );
            }
        }
    }
    for (name, slug) in &service_names {
        let inside = service_names
            .iter()
            .find(|(other, _)| *other != name && name.borrow().is_within(other.borrow()));
        assert_eq!(
            inside, None,
            "{name} of {slug} lies in another service's name"
        );
    }
    assert!(
        service_names.len() > 200
            && taxonomy
                .categories()
                .iter()
                .filter(|category| category.service)
                .count()
                >= 40
    );
    let lists = Blocklist::empty(&taxonomy);
    let slugs = |asked: &str| taxonomy.slugs(lists.classify(name(asked).borrow()).choice);
    for (asked, slug) in [
        ("www.tiktok.com", "tiktok"),
        ("m.youtube.com", "youtube"),
        ("i.instagram.com", "instagram"),
        ("www.roblox.com", "roblox"),
        ("mozilla.cloudflare-dns.com", "doh"),
        ("chrome.cloudflare-dns.com", "doh"),
        ("dns64.dns.google", "doh"),
        ("firefox.dns.nextdns.io", "doh"),
        ("api.nordvpn.com", "vpn"),
        ("www.torproject.org", "proxy"),
    ] {
        assert_eq!(slugs(asked), [slug], "{asked}");
    }
    // Shared infrastructure stays open, whatever a family blocks.
    let shared = "google.com www.google.com googleapis.com apple.com amazon.com alexa.amazon.com s3.amazonaws.com microsoft.com login.live.com \
        cloudfront.net akamaihd.net akamaized.net fastly.net cloudflare.com fbcdn.net openai.com proton.me opendns.com quad9.net nextdns.io \
        live-video.net yandex.net signal example.com use-application-dns.net mask.icloud.com";
    for asked in shared.split_whitespace() {
        assert_eq!(slugs(asked), Vec::<&str>::new(), "{asked}");
    }
    // Names of search engines are left to safe search, except the one that is a service as a whole.
    let youtube = usize::from(BuiltinNames::shipped().engine("youtube").unwrap());
    for (place, engine) in BuiltinNames::shipped().engines().iter().enumerate() {
        let expected = if place == youtube {
            vec!["youtube"]
        } else {
            vec![]
        };
        assert_eq!(
            slugs(&engine.strict.to_string()),
            expected,
            "{}",
            engine.slug
        );
    }
}

#[test]
fn presets_block_what_they_blocked_and_services_that_are_like_it() {
    let taxonomy = Taxonomy::shipped();
    let services = |preset: &str| {
        let mut slugs = taxonomy.slugs(taxonomy.preset(preset).unwrap());
        slugs.retain(|slug| taxonomy.category(taxonomy.find(slug).unwrap()).service);
        slugs
    };
    assert_eq!(
        (services("light"), services("moderate")),
        (vec!["onlyfans"], vec!["onlyfans", "tinder"])
    );
    let strict = services("strict");
    for slug in [
        "facebook",
        "whatsapp",
        "twitter",
        "tiktok",
        "instagram",
        "snapchat",
        "discord",
        "onlyfans",
        "tinder",
    ] {
        assert!(strict.contains(&slug), "{slug}");
    }
    for slug in [
        "youtube", "netflix", "roblox", "steam", "amazon", "chatgpt", "zoom",
    ] {
        assert!(!strict.contains(&slug), "{slug}");
    }
}
