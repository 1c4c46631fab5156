//! Mandates, and every layer that meets them: a mandate in force blocks a name whatever else is
//! said of it, of its alias chain, or by which client.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::HashSet, sync::Arc};

use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    decide::{EffectivePolicy, Layer, decide, review},
    lists::{
        artefact::{FeedSummary, Header},
        blocklist::Blocklist,
        builder::ArtefactBuilder,
        current::CurrentLists,
        entry::{EntryAction, ListEntry, NO_CATEGORY, Scope, Tier},
        index_key::name_of_address,
        mandate_registry::MandateRegistry,
        mandates::{ActiveMandates, Landing, Mandate, MandateDocument},
    },
    name::Name,
    rules::{
        bypass::BypassPrevention, compiled::HouseholdRules, household::Household,
        operator::OperatorDefaults,
    },
    unix_seconds::UnixSeconds,
};
use serde_json::{Value, json};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn mandate(about: &str) -> Arc<Mandate> {
    let is_name =
        about.parse::<ipnet::IpNet>().is_err() && about.parse::<std::net::IpAddr>().is_err();
    let document = MandateDocument {
        name: is_name.then(|| about.to_owned()),
        address: (!is_name).then(|| about.to_owned()),
        basis: "sanctions".to_owned(),
        landing: Some(Landing {
            v4: Some([192, 0, 2, 80].into()),
            v6: None,
        }),
        ..MandateDocument::default()
    };
    Arc::new(Mandate::read("m".parse().unwrap(), document).unwrap())
}

/// A name for each layer, which decides about it without a mandate.
const LAYERS: [(&str, Layer); 17] = [
    ("fed.test", Layer::Mandatory),
    ("tcp.test", Layer::Mandatory),
    ("help.test", Layer::NeverBlock),
    ("device-allow.test", Layer::DeviceAllow),
    ("person-allow.test", Layer::PersonAllow),
    ("household-allow.test", Layer::HouseholdAllow),
    ("granted.test", Layer::Grant),
    ("device-deny.test", Layer::DeviceDeny),
    ("person-deny.test", Layer::PersonDeny),
    ("household-deny.test", Layer::HouseholdDeny),
    ("evil.test", Layer::Security),
    ("bets.test", Layer::Category),
    ("use-application-dns.net", Layer::Bypass),
    ("html.duckduckgo.com", Layer::SafeSearchDeny),
    ("thing.test", Layer::Thing),
    ("www.google.com", Layer::SafeSearch),
    ("free.test", Layer::Default),
];

fn lists() -> Arc<Blocklist> {
    let feeds = [
        ("court", Tier::Mandatory),
        ("help", Tier::NeverBlock),
        ("evil", Tier::Security),
        ("bets", Tier::Choice),
    ];
    let mut builder = ArtefactBuilder::new();
    let mut push = |listed: &str, feed: u16, category, action| {
        let mark = ListEntry {
            action,
            ..ListEntry::deny(feed, category, Scope::Subtree)
        };
        builder.push(name(listed).borrow(), mark).unwrap();
    };
    push("fed.test", 0, NO_CATEGORY, EntryAction::Nxdomain);
    push("tcp.test", 0, NO_CATEGORY, EntryAction::TcpOnly);
    push("help.test", 1, NO_CATEGORY, EntryAction::OperatorPolicy);
    push("evil.test", 2, 0, EntryAction::OperatorPolicy);
    push("bets.test", 3, 1, EntryAction::OperatorPolicy);
    let header = Header {
        feeds: feeds
            .map(|(feed, tier)| FeedSummary::new(feed, tier))
            .into(),
        categories: vec!["malware".to_owned(), "gambling".to_owned()],
        ..Header::of(1, Timestamp::UNIX_EPOCH)
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lists");
    builder.write(header, None, &path).unwrap();
    Blocklist::open(&path, &Taxonomy::shipped()).unwrap()
}

/// The instant of these tests.
const NOW: &str = "2030-01-01T12:00:00Z";

/// A device whose family has settings for each of these names, as in the documents.
fn client(filtering: &str, is_paused: bool) -> EffectivePolicy {
    let set = |what: Value| {
        let mut set = json!({ "set_by": "tests", "set_at": NOW });
        set.as_object_mut()
            .unwrap()
            .extend(what.as_object().unwrap().clone());
        set
    };
    let own = |state: &str| set(json!({ "state": state, "scope": "subtree" }));
    let later = "2030-01-01T13:00:00Z";
    let names = |whose: &str| json!({ format!("{whose}-allow.test"): own("allow"), format!("{whose}-deny.test"): own("block") });
    let thing = json!({
        "mode": "learning", "set_by": "tests", "set_at": NOW, "denied": { "thing.test": set(json!({})) },
    });
    let mut document = json!({
        "id": "home", "version": 1, "time_zone": "UTC", "filtering": filtering, "names": names("household"),
        "categories": { "gambling": set(json!({ "state": "block" })) },
        "grants": { "g": set(json!({ "domain": "granted.test", "until": later })) },
        "safe_search": { "google": set(json!({ "level": "strict" })), "duckduckgo": set(json!({ "level": "strict" })) },
        "bypass": set(json!({ "state": "block" })),
        "people": { "ella": { "name": "Ella", "names": names("person") } },
        "devices": { "phone": { "name": "phone", "person": "ella", "log": true, "names": names("device"), "thing": thing } },
    });
    if is_paused {
        document["pause"] = set(json!({ "until": later }));
    }
    let household: Household = serde_json::from_value(document).unwrap();
    let now: Timestamp = NOW.parse().unwrap();
    let defaults = OperatorDefaults {
        bypass: BypassPrevention {
            canary: true,
            relay: true,
        },
        ..OperatorDefaults::default()
    };
    let rules = Arc::new(HouseholdRules::compile(
        &household,
        &Taxonomy::shipped(),
        defaults,
        now,
    ));
    let phone = rules.device_by_id(&"phone".parse().unwrap());
    EffectivePolicy::of(&rules, phone, UnixSeconds::of(now))
}

#[test]
fn a_mandate_overrides_every_layer_that_it_meets() {
    let lists = lists();
    let (client, paused) = (client("on", false), client("on", true));
    let mut met = HashSet::new();
    for (asked, layer) in LAYERS {
        let judge = |client: &EffectivePolicy, lists: &Blocklist| {
            decide(
                client,
                name(asked).borrow(),
                &lists.classify(name(asked).borrow()),
            )
        };
        assert_eq!(
            judge(&client, &lists).layer,
            layer,
            "{asked} without a mandate"
        );
        met.extend([layer, judge(&paused, &lists).layer]);
        for about in [asked, asked.rsplit('.').next().unwrap()] {
            let mandated = lists.with_mandates(&Arc::new(ActiveMandates::of(vec![mandate(about)])));
            for client in [&client, &paused] {
                let verdict = judge(client, &mandated);
                let decided = (verdict.layer, verdict.mandate().is_some(), verdict.feed);
                assert_eq!(
                    decided,
                    (Layer::Mandatory, true, None),
                    "{asked} under a mandate on {about}"
                );
                assert_eq!(
                    mandated
                        .mandates()
                        .get(verdict.mandate().unwrap())
                        .unwrap()
                        .id
                        .as_str(),
                    "m"
                );
                let over_tcp = mandated.classify(name(asked).borrow()).over_tcp();
                assert_eq!(
                    decide(client, name(asked).borrow(), &over_tcp).layer,
                    Layer::Mandatory,
                    "{asked} over TCP"
                );
            }
        }
    }
    let missed: Vec<Layer> = Layer::ALL
        .into_iter()
        .filter(|layer| !met.contains(layer))
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn a_mandate_on_an_alias_target_overrides_every_layer_that_allows() {
    let lists = lists();
    let address = name_of_address("203.0.113.7".parse().unwrap());
    for (about, behind) in [
        ("behind.test", name("www.behind.test")),
        ("203.0.113.0/24", address),
    ] {
        let mandated = lists.with_mandates(&Arc::new(ActiveMandates::of(vec![mandate(about)])));
        let class = match about.parse::<ipnet::IpNet>() {
            Ok(_) => mandated.classify_address("203.0.113.7".parse().unwrap()),
            Err(_) => mandated.classify(behind.borrow()),
        };
        for (asked, layer) in LAYERS {
            let client = client("on", false);
            let queried = decide(
                &client,
                name(asked).borrow(),
                &mandated.classify(name(asked).borrow()),
            );
            let (verdict, hop) =
                review(&client, queried, std::iter::once((behind.borrow(), &class)));
            let expected = if layer.blocks() {
                (layer, 0)
            } else {
                (Layer::Mandatory, 1)
            };
            assert_eq!(
                (verdict.layer, hop),
                expected,
                "{asked} whose alias leads to {about}"
            );
        }
    }
}

#[test]
fn a_mandate_blocks_without_filtering_and_for_unknown_clients() {
    let mandated = lists().with_mandates(&Arc::new(ActiveMandates::of(vec![mandate("free.test")])));
    let empty = Household::new("x".parse().unwrap());
    let empty = HouseholdRules::compile(
        &empty,
        &Taxonomy::shipped(),
        OperatorDefaults::default(),
        NOW.parse().unwrap(),
    );
    let unknown = EffectivePolicy::of(
        &Arc::new(empty),
        None,
        UnixSeconds::of(NOW.parse().unwrap()),
    );
    for client in [client("off", false), client("not_asked", false), unknown] {
        assert_eq!(
            decide(
                &client,
                name("www.free.test").borrow(),
                &mandated.classify(name("www.free.test").borrow())
            )
            .layer,
            Layer::Mandatory
        );
    }
}

#[test]
fn mandates_apply_to_every_generation_and_are_not_in_its_header() {
    let live = Arc::new(CurrentLists::new(lists()));
    let before = live.current();
    let registry = MandateRegistry::new(Arc::clone(&live));
    registry.put((*mandate("203.0.113.7")).clone(), Timestamp::UNIX_EPOCH);
    let mandated = live.current();
    assert!(!before.has_addresses() && mandated.has_addresses());
    assert_ne!(before.stamp(), mandated.stamp());
    assert_eq!(
        (before.sha256(), before.header()),
        (mandated.sha256(), mandated.header())
    );
    // Lists that continue others keep the mandates.
    let next = mandated.with_deltas(&[], &Taxonomy::shipped()).unwrap();
    for next in [
        next,
        before.with_deltas(&[], &Taxonomy::shipped()).unwrap(),
        lists(),
    ] {
        live.install(next);
        assert_eq!(
            live.load().stamp(),
            mandated.stamp(),
            "the same lists under the same mandates"
        );
        assert!(
            live.load()
                .classify_address("203.0.113.7".parse().unwrap())
                .mandatory
        );
        assert!(
            !live
                .load()
                .classify_address("203.0.113.8".parse().unwrap())
                .mandatory
        );
    }
    registry.remove(&"m".parse().unwrap(), Timestamp::UNIX_EPOCH);
    assert_eq!(live.load().stamp(), before.stamp());
}
