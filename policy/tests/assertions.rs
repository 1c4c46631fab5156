//! A MAC address that a query asserts never relaxes what the source address proves: where both
//! select a device, the stricter rules apply.

// A test that cannot continue fails.
#![allow(clippy::unwrap_used)]

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use jiff::Timestamp;
use policy::{
    category::{CategorySet, Taxonomy},
    decide::{Action, EffectivePolicy, Layer, Verdict, decide, judge, review},
    identity::directory::{Directory, IdentitySource, Trust},
    lists::blocklist::Classification,
    name::Name,
    rules::{
        builtin_names::{BuiltinName, BuiltinNames},
        bypass::BypassPrevention,
        compiled::HouseholdRules,
        household::{Household, Mac},
        operator::OperatorDefaults,
    },
    unix_seconds::UnixSeconds,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

static TAXONOMY: LazyLock<Taxonomy> = LazyLock::new(Taxonomy::shipped);

const PHONE: Mac = Mac([2, 0, 0, 0, 0, 1]);
const TABLET: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// A MAC address that no device of the household has.
const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 9]);
const ROUTER: &str = "192.0.2.1";

fn set(value: Value) -> Value {
    let mut value = value;
    value["set_by"] = json!("tests");
    value["set_at"] = json!("1970-01-01T00:00:00Z");
    value
}

fn merged(mut below: Value, above: &Value) -> Value {
    for (key, value) in above.as_object().unwrap() {
        below[key] = value.clone();
    }
    below
}

/// A household whose phone is known by an address and a MAC, its tablet by a MAC alone. The
/// arguments are the settings of each device and of the household.
fn directory(phone: &Value, tablet: &Value, all: &Value) -> Directory {
    let device = |identifiers, settings: &Value| {
        merged(
            json!({ "name": "", "log": true, "identifiers": identifiers }),
            settings,
        )
    };
    let document = json!({
        "id": "home", "version": 1, "time_zone": "UTC", "filtering": "on", "preset": "off", "networks": ["192.0.2.0/24"],
        "devices": {
            "phone": device(json!([{ "address": "192.0.2.7" }, { "mac": PHONE.to_string() }]), phone),
            "tablet": device(json!([{ "mac": TABLET.to_string() }]), tablet),
        },
    });
    let household: Household = serde_json::from_value(merged(document, all)).unwrap();
    let defaults = OperatorDefaults {
        bypass: BypassPrevention {
            canary: true,
            relay: true,
        },
        ..OperatorDefaults::default()
    };
    let directory = Directory::new(defaults);
    directory.install(HouseholdRules::compile(
        &household,
        &TAXONOMY,
        defaults,
        Timestamp::UNIX_EPOCH,
    ));
    directory
}

fn client(directory: &Directory, from: &str, mac: Option<Mac>) -> EffectivePolicy {
    directory
        .identify(
            from.parse::<IpAddr>().unwrap(),
            mac,
            false,
            UnixSeconds::FIRST,
        )
        .policy
}

fn judged(
    client: &EffectivePolicy,
    name: &str,
    said: &Classification,
    behind: &[(Name, Classification)],
) -> (Verdict, usize) {
    judge(
        client,
        Name::parse(name).unwrap().borrow(),
        said,
        behind.iter().map(|(name, said)| (name.borrow(), said)),
    )
}

/// The layer that decides for the phone's address with each of these assertions.
fn layers(
    directory: &Directory,
    name: &str,
    said: &Classification,
    behind: &[(Name, Classification)],
) -> [Layer; 4] {
    [None, Some(PHONE), Some(TABLET), Some(STRANGER)].map(|mac| {
        judged(&client(directory, "192.0.2.7", mac), name, said, behind)
            .0
            .layer
    })
}

/// Another household that has registered the phone as its own.
fn install_other(directory: &Directory, id: &str, settings: &Value) {
    let phone = json!({ "name": "", "log": true, "identifiers": [{ "mac": PHONE.to_string() }] });
    let document = json!({
        "id": id, "version": 1, "time_zone": "UTC", "filtering": "on", "preset": "off",
        "devices": { "mine": merged(phone, settings) },
    });
    let household: Household = serde_json::from_value(document).unwrap();
    let defaults = OperatorDefaults::default();
    directory.install(HouseholdRules::compile(
        &household,
        &TAXONOMY,
        defaults,
        Timestamp::UNIX_EPOCH,
    ));
}

#[test]
fn another_household_that_registers_a_device_lifts_nothing() {
    let blocks = |name: &str| json!({ "names": { name: set(json!({ "state": "block", "scope": "subtree" })) } });
    let allows = |name: &str| json!({ "names": { name: set(json!({ "state": "allow", "scope": "subtree" })) } });
    let directory = directory(&blocks("kid.test"), &json!({}), &json!({}));
    let from_outside = || {
        directory
            .identify(
                "203.0.113.1".parse::<IpAddr>().unwrap(),
                Some(PHONE),
                Trust::Forwarder,
                UnixSeconds::FIRST,
            )
            .policy
    };
    let layer = |name| {
        judged(&from_outside(), name, &Classification::NOTHING, &[])
            .0
            .layer
    };
    assert_eq!(layer("kid.test"), Layer::DeviceDeny);
    install_other(&directory, "thief", &allows("kid.test"));
    for others in 0..20 {
        assert_eq!(layer("kid.test"), Layer::DeviceDeny, "{others} others");
        assert!(
            !from_outside().flags().is_recorded(),
            "it is no household's"
        );
        install_other(
            &directory,
            &format!("other-{others}"),
            &blocks("other.test"),
        );
    }
    assert_eq!(layer("other.test"), Layer::DeviceDeny);
    assert_eq!(layer("free.test"), Layer::Default);
}

fn category(slug: &str) -> CategorySet {
    TAXONOMY.find(slug).into_iter().collect()
}

/// The three documents, the classifications of the name and of its chain, and the layer that
/// decides.
type Case<'c> = (
    [&'c Value; 3],
    Classification,
    &'c [(Name, Classification)],
    Layer,
);

#[test]
fn no_assertion_lifts_what_the_address_is_blocked_and_any_adds_its_own() {
    let gambling = Classification {
        choice: category("gambling"),
        ..Classification::NOTHING
    };
    let canary = Classification {
        builtin: BuiltinName::Canary,
        ..Classification::NOTHING
    };
    let plain = Classification::NOTHING;
    let bets = [(Name::parse("bets.test").unwrap(), gambling)];
    let own = |state: &str| json!({ "names": { "a.test": set(json!({ "state": state, "scope": "exact" })) } });
    let block = json!({ "categories": { "gambling": set(json!({ "state": "block" })) } });
    let pause = json!({ "pause": set(json!({ "until": "2030-01-01T00:00:00Z" })) });
    let no_bypass = json!({ "bypass": set(json!({ "state": "block" })) });
    let bypass = json!({ "bypass": set(json!({ "state": "allow" })) });
    let nothing = json!({});
    let block_own = own("block");
    let allow_own = own("allow");
    let cases: [Case<'_>; 6] = [
        ([&block, &nothing, &nothing], gambling, &[], Layer::Category),
        ([&block, &nothing, &nothing], plain, &bets, Layer::Category),
        (
            [&block_own, &nothing, &nothing],
            plain,
            &[],
            Layer::DeviceDeny,
        ),
        ([&pause, &nothing, &nothing], plain, &[], Layer::Paused),
        ([&no_bypass, &bypass, &bypass], canary, &[], Layer::Bypass),
        (
            [&block, &allow_own, &nothing],
            gambling,
            &[],
            Layer::Category,
        ),
    ];
    for ([strict, loose, all], said, behind, expected) in cases {
        let what = strict;
        let of_phone = layers(&directory(strict, loose, all), "a.test", &said, behind);
        assert_eq!(
            of_phone, [expected; 4],
            "{what} of the device that the address proves"
        );
        let of_tablet = layers(&directory(loose, strict, all), "a.test", &said, behind);
        assert!(
            !of_tablet[0].blocks() && !of_tablet[1].blocks(),
            "{what} is not for the phone: {of_tablet:?}"
        );
        assert_eq!(
            of_tablet[2], expected,
            "{what} of the device that is asserted"
        );
        assert!(
            !of_tablet[3].blocks(),
            "{what} is not for all: {of_tablet:?}"
        );
    }
}

#[test]
fn an_unknown_mac_takes_away_what_a_device_may_beyond_the_house() {
    let gambling = Classification {
        choice: category("gambling"),
        ..Classification::NOTHING
    };
    let [block, allow] = ["block", "allow"]
        .map(|state| json!({ "categories": { "gambling": set(json!({ "state": state })) } }));
    let directory = directory(&allow, &allow, &block);
    let [alone, own, other, unknown] = layers(&directory, "a.test", &gambling, &[]);
    assert_eq!(
        [alone, own, other, unknown],
        [
            Layer::Default,
            Layer::Default,
            Layer::Default,
            Layer::Category
        ]
    );
}

#[test]
fn an_allow_covers_an_alias_only_where_both_rule_sets_allow() {
    let gambling = Classification {
        choice: category("gambling"),
        ..Classification::NOTHING
    };
    let behind = [(Name::parse("bets.test").unwrap(), gambling)];
    let allow =
        json!({ "names": { "a.test": set(json!({ "state": "allow", "scope": "exact" })) } });
    let all = json!({ "categories": { "gambling": set(json!({ "state": "block" })) } });
    let one = directory(&allow, &json!({}), &all);
    assert_eq!(
        layers(&one, "a.test", &Classification::NOTHING, &behind)[..3],
        [Layer::DeviceAllow, Layer::DeviceAllow, Layer::Category]
    );
    let both = directory(&allow, &allow, &all);
    assert_eq!(
        layers(&both, "a.test", &Classification::NOTHING, &behind)[2],
        Layer::DeviceAllow
    );
}

#[test]
fn the_stricter_safe_search_holds_and_a_block_is_stricter() {
    let engine = &BuiltinNames::shipped()
        .engines()
        .iter()
        .position(|engine| engine.moderate.is_some())
        .unwrap();
    let slug = BuiltinNames::shipped().engines()[*engine].slug.as_str();
    let search = |level: &str| json!({ "safe_search": { slug: set(json!({ "level": level })) } });
    let said = Classification {
        builtin: BuiltinName::Search(u8::try_from(*engine).unwrap()),
        ..Classification::NOTHING
    };
    let target = |phone: &Value, tablet: &Value| {
        let directory = directory(phone, tablet, &json!({}));
        judged(
            &client(&directory, "192.0.2.7", Some(TABLET)),
            "search.test",
            &said,
            &[],
        )
        .0
    };
    let engine = &BuiltinNames::shipped().engines()[*engine];
    let strict = Some(&engine.strict);
    let moderate = engine.moderate.as_ref();
    for (phone, tablet, expected) in [
        ("strict", "off", strict),
        ("off", "strict", strict),
        ("strict", "moderate", strict),
        ("moderate", "strict", strict),
        ("moderate", "off", moderate),
        ("off", "moderate", moderate),
        ("off", "off", None),
    ] {
        assert_eq!(
            target(&search(phone), &search(tablet)).safe_search_target(),
            expected,
            "{phone} and {tablet}"
        );
    }
    let pause = json!({ "pause": set(json!({ "until": "2030-01-01T00:00:00Z" })) });
    assert_eq!(target(&search("strict"), &pause).layer, Layer::Paused);
    assert_eq!(target(&pause, &search("strict")).layer, Layer::Paused);
}

#[test]
fn an_address_that_proves_the_house_alone_lets_the_mac_pick_the_device() {
    let block = json!({ "categories": { "gambling": set(json!({ "state": "block" })) } });
    let directory = directory(&block, &json!({}), &json!({}));
    for (mac, blocks, by) in [
        (None, false, IdentitySource::Network),
        (Some(PHONE), true, IdentitySource::Mac),
        (Some(TABLET), false, IdentitySource::Mac),
        (Some(STRANGER), false, IdentitySource::Network),
    ] {
        let identity = directory.identify(ROUTER.parse().unwrap(), mac, false, UnixSeconds::FIRST);
        assert_eq!(
            (identity.policy.blocked().is_empty(), identity.source),
            (!blocks, by),
            "{mac:?}"
        );
        assert!(identity.policy.asserted().is_none());
    }
}

#[test]
fn a_forwarder_asserts_other_devices_and_its_address_proves_none() {
    let block = json!({ "categories": { "gambling": set(json!({ "state": "block" })) } });
    let directory = directory(&block, &json!({}), &json!({}));
    let find = |mac, trust| {
        let identity =
            directory.identify("192.0.2.7".parse().unwrap(), mac, trust, UnixSeconds::FIRST);
        (
            identity.policy.blocked().is_empty(),
            identity.policy.asserted().is_some(),
            identity.source,
        )
    };
    for trust in [Trust::Household, Trust::Network] {
        assert_eq!(
            find(Some(TABLET), trust),
            (false, true, IdentitySource::Address),
            "{trust:?}"
        );
        assert_eq!(
            find(Some(STRANGER), trust),
            (false, true, IdentitySource::Address),
            "{trust:?}"
        );
    }
    assert_eq!(
        find(Some(TABLET), Trust::Forwarder),
        (true, false, IdentitySource::Mac)
    );
    assert_eq!(
        find(Some(STRANGER), Trust::Forwarder),
        (true, false, IdentitySource::Network)
    );
    assert_eq!(
        find(Some(PHONE), Trust::Forwarder),
        (false, false, IdentitySource::Mac)
    );
    assert_eq!(
        find(None, Trust::Forwarder),
        (false, false, IdentitySource::Address),
        "without an assertion it asks for itself"
    );
}

/// Random custom lists, switches, pauses and safe search.
fn settings(chance: &mut StdRng) -> Value {
    let state = |chance: &mut StdRng| if chance.random() { "block" } else { "allow" };
    let mut settings = json!({ "names": {}, "categories": {} });
    for name in ["a.test", "test", "bets.test"] {
        if chance.random_range(0..4) == 0 {
            settings["names"][name] = set(json!({ "state": state(chance), "scope": "subtree" }));
        }
    }
    for slug in ["gambling", "social"] {
        if chance.random() {
            settings["categories"][slug] = set(json!({ "state": state(chance) }));
        }
    }
    if chance.random_range(0..8) == 0 {
        settings["pause"] = set(json!({ "until": "2030-01-01T00:00:00Z" }));
    }
    let level = ["off", "moderate", "strict"][chance.random_range(0..3)];
    settings["safe_search"] = json!({ BuiltinNames::shipped().engines()[0].slug.as_str(): set(json!({ "level": level })) });
    settings
}

fn said(chance: &mut StdRng) -> Classification {
    let choice =
        [CategorySet::EMPTY, category("gambling"), category("social")][chance.random_range(0..3)];
    let special = if chance.random_range(0..3) == 0 {
        BuiltinName::Search(0)
    } else {
        BuiltinName::None
    };
    Classification {
        choice,
        builtin: special,
        mandatory: chance.random_range(0..9) == 0,
        ..Classification::NOTHING
    }
}

#[test]
fn of_two_rule_sets_each_verdict_is_as_strict_as_the_stricter_one() {
    let mut chance = StdRng::seed_from_u64(7);
    let mut blocks = [0; 3];
    for _ in 0..400 {
        let directory = directory(
            &settings(&mut chance),
            &settings(&mut chance),
            &settings(&mut chance),
        );
        let rules: Arc<HouseholdRules> = directory.household(&"home".parse().unwrap()).unwrap();
        let [phone, tablet] =
            ["phone", "tablet"].map(|id| rules.device_by_id(&id.parse().unwrap()));
        for (mac, device) in [(TABLET, tablet), (STRANGER, None)] {
            let both = client(&directory, "192.0.2.7", Some(mac));
            let each = [phone, device]
                .map(|device| EffectivePolicy::of(&rules, device, UnixSeconds::FIRST));
            let queried = said(&mut chance);
            let behind = [
                (Name::parse("bets.test").unwrap(), said(&mut chance)),
                (Name::parse("c.example").unwrap(), said(&mut chance)),
            ];
            let name = Name::parse("a.test").unwrap();
            let alone = each.map(|client| {
                review(
                    &client,
                    decide(&client, name.borrow(), &queried),
                    behind.iter().map(|(name, said)| (name.borrow(), said)),
                )
            });
            let together = judged(&both, "a.test", &queried, &behind);
            let are_blocks = alone.map(|(verdict, _)| verdict.is_block());
            assert_eq!(
                together.0.is_block(),
                are_blocks.contains(&true),
                "{alone:?} {together:?}"
            );
            assert!(
                alone.contains(&together),
                "it is the verdict of one of them"
            );
            if !together.0.is_block() {
                let levels = alone.map(|(verdict, _)| search_level(verdict));
                assert_eq!(
                    search_level(together.0),
                    levels.into_iter().max().unwrap(),
                    "{alone:?}"
                );
            }
            blocks[are_blocks.into_iter().filter(|is_block| *is_block).count()] += 1;
        }
    }
    assert!(
        blocks.iter().all(|count| *count > 50),
        "each case was met: {blocks:?}"
    );
}

/// The level of safe search that a verdict applies.
fn search_level(verdict: Verdict) -> Option<policy::rules::safe_search::SearchLevel> {
    match verdict.action {
        Action::SafeSearch(search) => Some(search.level),
        _ => None,
    }
}
