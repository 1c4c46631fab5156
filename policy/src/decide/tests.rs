//! The order of the layers, pair by pair, and what an allow leaves unchanged.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::{
    category::{CategorySet, Taxonomy},
    name::Name,
    rules::{
        builtin_names::BuiltinNames, bypass::BypassPrevention, compiled::HouseholdRules,
        household::Household, operator::OperatorDefaults,
    },
    unix_seconds::UnixSeconds,
};

const NAME: &str = "name.test";

/// Pairs that never both apply: a name has one built-in meaning, and a custom list has one entry
/// for a name.
const STRANGERS: [[Layer; 2]; 6] = [
    [Layer::DeviceAllow, Layer::DeviceDeny],
    [Layer::PersonAllow, Layer::PersonDeny],
    [Layer::HouseholdAllow, Layer::HouseholdDeny],
    [Layer::Bypass, Layer::SafeSearchDeny],
    [Layer::Bypass, Layer::SafeSearch],
    [Layer::SafeSearchDeny, Layer::SafeSearch],
];
const OPENERS: [Layer; 5] = [
    Layer::NeverBlock,
    Layer::DeviceAllow,
    Layer::PersonAllow,
    Layer::HouseholdAllow,
    Layer::Grant,
];
const OF_SEARCH: [Layer; 2] = [Layer::SafeSearchDeny, Layer::SafeSearch];

fn set(mut what: Value) -> Value {
    (what["set_by"], what["set_at"]) = (json!("tests"), json!(Timestamp::UNIX_EPOCH));
    what
}

/// A policy and a classification for which exactly these layers apply, beside the default.
fn asked(layers: &[Layer], more: &[(&str, Value)]) -> (EffectivePolicy, Classification) {
    let taxonomy = Taxonomy::shipped();
    let of = |slug: &str| {
        [taxonomy.find(slug).expect("it is shipped")]
            .into_iter()
            .collect()
    };
    let mut document = json!({
        "id": "home", "version": 1, "time_zone": "UTC", "filtering": "on",
        "people": { "ella": { "name": "Ella" } },
        "devices": { "phone": { "name": "phone", "person": "ella", "log": true } },
    });
    let mut said = Classification::NOTHING;
    let mut defaults = OperatorDefaults::default();
    for layer in layers {
        let own = |state: &str| json!({ NAME: set(json!({ "state": state, "scope": "exact" })) });
        match layer {
            Layer::Mandatory => said.mandatory = true,
            Layer::NeverBlock => said.never_block = true,
            Layer::DeviceAllow => document["devices"]["phone"]["names"] = own("allow"),
            Layer::PersonAllow => document["people"]["ella"]["names"] = own("allow"),
            Layer::HouseholdAllow => document["names"] = own("allow"),
            Layer::Grant => {
                document["grants"] = json!({ "g": set(json!({ "everything": true, "until": "2030-01-01T00:00:00Z" })) })
            }
            Layer::DeviceDeny => document["devices"]["phone"]["names"] = own("block"),
            Layer::PersonDeny => document["people"]["ella"]["names"] = own("block"),
            Layer::HouseholdDeny => document["names"] = own("block"),
            Layer::Paused => document["pause"] = set(json!({ "until": "2030-01-01T00:00:00Z" })),
            Layer::Security => said.security = of("malware"),
            Layer::Category => {
                said.choice = of("gambling");
                document["categories"] = json!({ "gambling": set(json!({ "state": "block" })) });
            }
            Layer::Bypass => {
                said.builtin = BuiltinName::Canary;
                defaults.bypass = BypassPrevention {
                    canary: true,
                    relay: false,
                };
            }
            Layer::SafeSearchDeny | Layer::SafeSearch => {
                said.builtin = if *layer == Layer::SafeSearch {
                    BuiltinName::Search(0)
                } else {
                    BuiltinName::SearchClosed(0)
                };
                document["safe_search"] = json!({ BuiltinNames::shipped().engines()[0].slug.as_str(): set(json!({ "level": "strict" })) });
            }
            Layer::Thing => {
                document["devices"]["phone"]["thing"] =
                    set(json!({ "mode": "locked", "allowed": {}, "denied": {} }));
            }
            Layer::Default => {}
        }
    }
    for (path, value) in more {
        let key = path.rsplit('/').next().expect("a path has an end");
        let place = document.pointer_mut(
            path.strip_suffix(&format!("/{key}"))
                .expect("it ends with its key"),
        );
        place.expect("it is there")[key] = value.clone();
    }
    let household: Household = serde_json::from_value(document).expect("a document");
    let rules = Arc::new(HouseholdRules::compile(
        &household,
        &taxonomy,
        defaults,
        Timestamp::UNIX_EPOCH,
    ));
    let phone = rules.device_by_id(&"phone".parse().expect("an identifier"));
    (EffectivePolicy::of(&rules, phone, UnixSeconds::FIRST), said)
}

fn judged(layers: &[Layer], more: &[(&str, Value)]) -> Verdict {
    let (client, said) = asked(layers, more);
    decide(&client, Name::parse(NAME).expect("a name").borrow(), &said)
}

#[test]
fn of_every_two_layers_that_meet_the_first_decides() {
    let mut pairs = 0;
    for (place, first) in Layer::ALL.into_iter().enumerate() {
        assert_eq!(judged(&[first], &[]).layer, first, "alone");
        for second in Layer::ALL
            .into_iter()
            .skip(place + 1)
            .filter(|second| !STRANGERS.contains(&[first, *second]))
        {
            // An allow of a search engine's name does not unlock its safe search.
            let expected = if OPENERS.contains(&first) && OF_SEARCH.contains(&second) {
                second
            } else {
                first
            };
            assert_eq!(
                judged(&[first, second], &[]).layer,
                expected,
                "{first:?} before {second:?}"
            );
            pairs += 1;
        }
    }
    assert_eq!(
        pairs,
        Layer::ALL.len() * (Layer::ALL.len() - 1) / 2 - STRANGERS.len()
    );
}

#[test]
fn whatever_opens_a_search_engine_its_safe_search_holds() {
    let blocks = [
        Layer::HouseholdDeny,
        Layer::Paused,
        Layer::Security,
        Layer::Category,
        Layer::Default,
    ];
    for opener in OPENERS {
        for block in blocks
            .into_iter()
            .filter(|block| !STRANGERS.contains(&[opener, *block]))
        {
            for search in OF_SEARCH {
                let verdict = judged(&[opener, block, search], &[]);
                assert_eq!(
                    (verdict.layer, verdict.allowed_by),
                    (search, Some(opener)),
                    "{opener:?} over {block:?}"
                );
                let led = (search == Layer::SafeSearch)
                    .then(|| BuiltinNames::shipped().engines()[0].strict.clone());
                assert_eq!(
                    verdict.safe_search_target(),
                    led.as_ref(),
                    "{opener:?} over {block:?}"
                );
            }
        }
    }
    // Without an allow, a name is blocked as before and the verdict names no allow.
    assert_eq!(
        judged(&[Layer::HouseholdDeny, Layer::SafeSearch], &[]).layer,
        Layer::HouseholdDeny
    );
    assert_eq!(judged(&[Layer::SafeSearch], &[]).allowed_by, None);
    assert_eq!(judged(&[Layer::DeviceAllow], &[]).allowed_by, None);
}

#[test]
fn a_household_may_say_that_an_allow_also_unlocks_search() {
    let allow = || set(json!({ "state": "allow" }));
    let block = || set(json!({ "state": "block" }));
    let home = "/search_unlock";
    let person = "/people/ella/search_unlock";
    let device = "/devices/phone/search_unlock";
    // The search unlock of each level, and whether it applies: the nearest level decides.
    let cases: [(&[(&str, Value)], bool); 6] = [
        (&[(home, allow())], true),
        (&[(home, block())], false),
        (&[(home, allow()), (person, block())], false),
        (&[(home, block()), (person, allow())], true),
        (
            &[(home, block()), (person, block()), (device, allow())],
            true,
        ),
        (
            &[(home, allow()), (person, allow()), (device, block())],
            false,
        ),
    ];
    for (said, is_unlocked) in cases {
        for opener in OPENERS {
            for search in OF_SEARCH {
                let expected = if is_unlocked { opener } else { search };
                assert_eq!(judged(&[opener, search], said).layer, expected, "{said:?}");
            }
        }
        assert_eq!(
            judged(&[Layer::SafeSearch], said).layer,
            Layer::SafeSearch,
            "{said:?}: nothing opened it"
        );
    }
}

#[test]
fn without_filtering_there_is_no_safe_search_to_unlock() {
    let off = [("/filtering", json!("off"))];
    for (layers, expected) in [
        (&[Layer::SafeSearch][..], Layer::Default),
        (&[Layer::SafeSearchDeny], Layer::Default),
        (&[Layer::NeverBlock, Layer::SafeSearch], Layer::NeverBlock),
        (
            &[Layer::HouseholdAllow, Layer::SafeSearch],
            Layer::HouseholdAllow,
        ),
    ] {
        assert_eq!(judged(layers, &off).layer, expected);
    }
}

#[test]
fn an_alias_of_a_search_engine_leads_to_its_safe_search() {
    let door = Name::parse("door.test").expect("a name");
    let behind = |layers: &[Layer], of_door: &[Layer]| {
        let (client, said) = asked(&[layers, of_door].concat(), &[]);
        let queried = Classification {
            builtin: BuiltinName::None,
            ..said
        };
        let behind = Classification {
            builtin: said.builtin,
            ..Classification::NOTHING
        };
        let name = Name::parse(NAME).expect("a name");
        let verdict = decide(&client, name.borrow(), &queried);
        let (verdict, hop) = review(&client, verdict, [(door.borrow(), &behind)].into_iter());
        (verdict.layer, hop)
    };
    for opener in [
        &[][..],
        &[Layer::HouseholdAllow],
        &[Layer::NeverBlock],
        &[Layer::Grant],
    ] {
        assert_eq!(
            behind(opener, &[Layer::SafeSearch]),
            (Layer::SafeSearch, 1),
            "{opener:?}"
        );
        assert_eq!(
            behind(opener, &[Layer::SafeSearchDeny]),
            (Layer::SafeSearchDeny, 1),
            "{opener:?}"
        );
    }
    assert_eq!(
        behind(&[Layer::HouseholdDeny], &[Layer::SafeSearch]),
        (Layer::HouseholdDeny, 0)
    );
    assert_eq!(
        behind(&[Layer::HouseholdAllow], &[]),
        (Layer::HouseholdAllow, 0)
    );
}

#[test]
fn an_allowed_search_engine_keeps_its_chain_and_a_mandate_blocks_it() {
    let (client, said) = asked(
        &[Layer::HouseholdAllow, Layer::Category, Layer::SafeSearch],
        &[],
    );
    let queried = decide(&client, Name::parse(NAME).expect("a name").borrow(), &said);
    let next = Name::parse("next.test").expect("a name");
    let listed = Classification {
        builtin: BuiltinName::None,
        ..said
    };
    let mandated = Classification {
        mandatory: true,
        ..Classification::NOTHING
    };
    let review =
        |class: &Classification| review(&client, queried, [(next.borrow(), class)].into_iter());
    assert_eq!(review(&listed), (queried, 0));
    assert_eq!(review(&mandated).0.layer, Layer::Mandatory);
    // Without an allow, each name of the chain is decided by itself.
    let (client, said) = asked(&[Layer::Category, Layer::SafeSearch], &[]);
    let free = Classification {
        choice: CategorySet::EMPTY,
        ..said
    };
    let queried = decide(&client, next.borrow(), &free);
    assert_eq!(queried.layer, Layer::SafeSearch);
    assert_eq!(
        super::review(&client, queried, [(next.borrow(), &said)].into_iter())
            .0
            .layer,
        Layer::Category
    );
}

#[test]
fn a_name_with_listed_paths_is_led_to_safe_search_where_no_proxy_is() {
    let (client, said) = asked(&[Layer::SafeSearch], &[]);
    let said = Classification {
        path_mandatory: true,
        ..said
    };
    let name = Name::parse(NAME).expect("a name");
    let verdict = decide(&client, name.borrow(), &said);
    assert_eq!(
        (verdict.action.as_str(), verdict.safe_search_target()),
        ("proxied", None),
        "the proxy applies the mandate"
    );
    let without = verdict.without_proxy();
    assert_eq!(
        (without.action.as_str(), without.safe_search_target()),
        ("led", Some(&BuiltinNames::shipped().engines()[0].strict))
    );
    let (client, _) = asked(&[], &[]);
    assert_eq!(
        decide(&client, name.borrow(), &said).without_proxy().action,
        Action::OperatorPolicy
    );
}

#[test]
fn names_of_software_are_denied_and_closed_doors_answered_as_blocked() {
    assert_eq!(
        judged(&[Layer::Bypass], &[]).action,
        Action::Nxdomain,
        "a page would tell software that no filter is wanted"
    );
    let closed = judged(&[Layer::SafeSearchDeny], &[]);
    assert_eq!(
        (
            closed.action,
            closed.is_block(),
            closed.safe_search_target()
        ),
        (Action::OperatorPolicy, true, None)
    );
}
