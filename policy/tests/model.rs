//! Decisions against a naive model: 10,000 households with random rules at household and device
//! level, 1,000,000 decisions.
//!
//! The model reads the documents and walks the layers in words. It has no masks, compiled records
//! or sorted lists, so its errors differ from those of the code under test.

// A test that cannot continue fails.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;
use jiff::Timestamp;
use policy::{
    category::{CategorySet, Taxonomy},
    decide::{EffectivePolicy, decide, review},
    identity::directory::{Directory, IdentityEvent, IdentitySource, Trust},
    lists::{blocklist::Classification, entry::Scope},
    name::Name,
    rules::{
        compiled::HouseholdRules,
        household::{
            Attributed, CustomName, Device, DeviceIdentifier, Filtering, Household, Id, Mac,
            Settings, Switch, SwitchState,
        },
        operator::OperatorDefaults,
    },
    unix_seconds::UnixSeconds,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::coded::Code;

mod coded;

const HOUSEHOLDS: usize = 10_000;
const DECISIONS: usize = 1_000_000;
const MOVES: u32 = 3_000;
const SLUGS: [&str; 6] = ["gambling", "violence", "social", "games", "adult", "ads"];
const NAMES: [&str; 8] = [
    "a.test",
    "b.a.test",
    "c.b.a.test",
    "x.test",
    "test",
    "d.example",
    "e.d.example",
    "other.invalid",
];

/// A fixed seed, so that failures are reproducible.
const SEED: u64 = 7;

/// The random numbers of one test.
fn chance() -> StdRng {
    StdRng::seed_from_u64(SEED)
}

fn pick<T: Copy>(chance: &mut StdRng, from: &[T]) -> T {
    from[chance.random_range(0..from.len())]
}

fn set<T>(value: T) -> Attributed<T> {
    Attributed {
        value,
        set_by: "model".to_owned(),
        set_at: Timestamp::UNIX_EPOCH,
    }
}

fn switches(chance: &mut StdRng) -> BTreeMap<String, Attributed<Switch>> {
    let count = chance.random_range(0..4);
    (0..count)
        .map(|_| {
            (
                pick(chance, &SLUGS).to_owned(),
                set(Switch {
                    state: pick(chance, &[SwitchState::Block, SwitchState::Allow]),
                }),
            )
        })
        .collect()
}

fn own_names(chance: &mut StdRng) -> BTreeMap<Name, Attributed<CustomName>> {
    let count = chance.random_range(0..6_usize).saturating_sub(2);
    let mut entry = || {
        let own = CustomName {
            state: pick(chance, &[SwitchState::Block, SwitchState::Allow]),
            scope: pick(chance, &[Scope::Exact, Scope::Subtree]),
        };
        (Name::parse(pick(chance, &NAMES)).unwrap(), set(own))
    };
    (0..count).map(|_| entry()).collect()
}

fn household(chance: &mut StdRng, number: usize) -> Household {
    let mut household = Household::new(format!("h{number}").parse().unwrap());
    household.preset = pick(
        chance,
        &[
            None,
            Some("light"),
            Some("moderate"),
            Some("strict"),
            Some("off"),
        ],
    )
    .map(str::to_owned);
    household.filtering = pick(
        chance,
        &[
            Filtering::NotAsked,
            Filtering::On,
            Filtering::On,
            Filtering::Off,
        ],
    );
    household.settings.categories = switches(chance);
    household.settings.names = own_names(chance);
    for place in 0..chance.random_range(0..5) {
        let device = Device {
            name: String::new(),
            kind: None,
            person: None,
            identifiers: Vec::new(),
            log: true,
            thing: None,
            settings: Settings {
                categories: switches(chance),
                names: own_names(chance),
                ..Settings::default()
            },
        };
        household
            .devices
            .insert(format!("d{place}").parse().unwrap(), device);
    }
    household
}

fn classification(chance: &mut StdRng, taxonomy: &Taxonomy) -> Classification {
    let mut set = |most: usize| -> CategorySet {
        (0..chance.random_range(0..=most))
            .map(|_| taxonomy.find(pick(chance, &SLUGS)).unwrap())
            .collect()
    };
    let choice = set(3);
    let security = set(1);
    let rare = |chance: &mut StdRng| chance.random_range(0..20) == 0;
    let security = if rare(chance) {
        security
    } else {
        CategorySet::EMPTY
    };
    Classification {
        choice,
        security,
        mandatory: rare(chance),
        never_block: rare(chance),
        ..Classification::NOTHING
    }
}

/// The longest entry of a custom list that covers a name.
fn own_list(names: &BTreeMap<Name, Attributed<CustomName>>, name: &str) -> Option<SwitchState> {
    let covers = |entry: &str, scope| {
        name == entry || (scope == Scope::Subtree && name.ends_with(&format!(".{entry}")))
    };
    let covering = names
        .iter()
        .filter(|(entry, own)| covers(&entry.to_string(), own.value.scope));
    covering
        .max_by_key(|(entry, _)| entry.to_string().split('.').count())
        .map(|(_, own)| own.value.state)
}

/// The layers in words; returns the layer's name and the categories it blocks for.
fn model(
    household: &Household,
    device: Option<&Device>,
    name: &str,
    said: Classification,
    taxonomy: &Taxonomy,
    default: &str,
) -> (&'static str, BTreeSet<String>) {
    let nothing = BTreeSet::new;
    let slugs = |set: CategorySet| {
        taxonomy
            .slugs(set)
            .into_iter()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let is_off = household.filtering == Filtering::Off;
    let device_list =
        device.and_then(|device| own_list_without(&device.settings.names, name, is_off));
    let household_list = own_list_without(&household.settings.names, name, is_off);
    if said.mandatory {
        return ("mandatory", nothing());
    }
    if said.never_block {
        return ("never-block", nothing());
    }
    for (list, layer) in [
        (device_list, "device-allow"),
        (household_list, "household-allow"),
    ] {
        if list == Some(SwitchState::Allow) {
            return (layer, nothing());
        }
    }
    for (list, layer) in [
        (device_list, "device-deny"),
        (household_list, "household-deny"),
    ] {
        if list == Some(SwitchState::Block) {
            return (layer, nothing());
        }
    }
    if !said.security.is_empty() {
        return ("security", slugs(said.security));
    }
    let preset = household.preset.as_deref().unwrap_or(default);
    let is_blocked = |slug: &String| {
        let switch = device
            .and_then(|device| device.settings.categories.get(slug))
            .or_else(|| household.settings.categories.get(slug));
        match switch.map(|switch| switch.value.state) {
            Some(state) => state == SwitchState::Block,
            None => taxonomy
                .category(taxonomy.find(slug).unwrap())
                .presets
                .iter()
                .any(|other| other == preset),
        }
    };
    let blocked: BTreeSet<String> = slugs(said.choice)
        .into_iter()
        .filter(|slug| !is_off && is_blocked(slug))
        .collect();
    if blocked.is_empty() {
        ("default", nothing())
    } else {
        ("category", blocked)
    }
}

/// Without filtering, a household's own blocks have no effect.
fn own_list_without(
    names: &BTreeMap<Name, Attributed<CustomName>>,
    name: &str,
    blocks_are_off: bool,
) -> Option<SwitchState> {
    let kept = names
        .iter()
        .filter(|(_, own)| !(blocks_are_off && own.value.state == SwitchState::Block));
    own_list(
        &kept
            .map(|(name, own)| (name.clone(), own.clone()))
            .collect(),
        name,
    )
}

#[test]
fn a_million_decisions_over_ten_thousand_households_equal_the_model() {
    let taxonomy = Taxonomy::shipped();
    let mut chance = chance();
    let default = "light";
    let defaults = OperatorDefaults {
        preset: taxonomy.preset(default).unwrap(),
        ..OperatorDefaults::default()
    };
    let mut layers: BTreeMap<&str, usize> = BTreeMap::new();
    for number in 0..HOUSEHOLDS {
        let household = household(&mut chance, number);
        let rules = std::sync::Arc::new(HouseholdRules::compile(
            &household,
            &taxonomy,
            defaults,
            Timestamp::UNIX_EPOCH,
        ));
        for _ in 0..DECISIONS / HOUSEHOLDS {
            let place = chance.random_range(0..=household.devices.len());
            let device = household.devices.iter().nth(place);
            let client = EffectivePolicy::of(
                &rules,
                device.and_then(|(id, _)| rules.device_by_id(id)),
                UnixSeconds::FIRST,
            );
            let name = pick(&mut chance, &NAMES);
            let said = classification(&mut chance, &taxonomy);
            let verdict = decide(&client, Name::parse(name).unwrap().borrow(), &said);
            let (layer, slugs) = model(
                &household,
                device.map(|(_, device)| device),
                name,
                said,
                &taxonomy,
                default,
            );
            let decided: BTreeSet<String> = taxonomy
                .slugs(verdict.categories)
                .into_iter()
                .map(str::to_owned)
                .collect();
            assert_eq!(
                (verdict.layer.as_str(), decided),
                (layer, slugs),
                "{name} {said:?} {device:?}\n{household:?}"
            );
            *layers.entry(layer).or_default() += 1;
        }
    }
    println!("{layers:?}");
    assert_eq!(layers.len(), 9, "every layer decided something: {layers:?}");
}

#[test]
fn a_chain_is_blocked_by_its_first_blocked_name_as_in_the_model() {
    let taxonomy = Taxonomy::shipped();
    let mut household = Household::new("home".parse().unwrap());
    household.settings.categories.insert(
        "gambling".into(),
        set(Switch {
            state: SwitchState::Block,
        }),
    );
    household.settings.names.insert(
        Name::parse("ok.test").unwrap(),
        set(CustomName {
            state: SwitchState::Allow,
            scope: Scope::Exact,
        }),
    );
    let rules = HouseholdRules::compile(
        &household,
        &taxonomy,
        OperatorDefaults::default(),
        Timestamp::UNIX_EPOCH,
    );
    let client = EffectivePolicy::of(&rules.into(), None, UnixSeconds::FIRST);
    let gambling = Classification {
        choice: [taxonomy.find("gambling").unwrap()].into_iter().collect(),
        ..Classification::NOTHING
    };
    let ordered = Classification {
        mandatory: true,
        ..Classification::NOTHING
    };
    let [free, bets, last] =
        ["free.test", "bets.test", "last.test"].map(|name| Name::parse(name).unwrap());
    let judge = |queried: &str, chain: &[(&Name, Classification)]| {
        let name = Name::parse(queried).unwrap();
        let verdict = decide(&client, name.borrow(), &Classification::NOTHING);
        let (verdict, hop) = review(
            &client,
            verdict,
            chain.iter().map(|(name, said)| (name.borrow(), said)),
        );
        (verdict.layer.as_str(), hop)
    };
    assert_eq!(
        judge("free.test", &[(&free, Classification::NOTHING)]),
        ("default", 0)
    );
    assert_eq!(
        judge(
            "free.test",
            &[
                (&free, Classification::NOTHING),
                (&bets, gambling),
                (&last, ordered)
            ]
        ),
        ("category", 2)
    );
    assert_eq!(
        judge("ok.test", &[(&bets, gambling)]),
        ("household-allow", 0)
    );
    assert_eq!(
        judge("ok.test", &[(&bets, gambling), (&last, ordered)]),
        ("mandatory", 2)
    );
}

/// One of few networks, so that they meet, contain each other, and have every length that the code
/// treats differently.
fn network(chance: &mut StdRng) -> IpNet {
    let [site, host] = [4, 8].map(|most| chance.random_range(0..most));
    if chance.random_range(0..400) == 0 {
        return pick(chance, &["0.0.0.0/0", "::/0"]).parse().unwrap();
    }
    if chance.random() {
        IpNet::new(
            IpAddr::from([10, 0, site as u8, host as u8]),
            pick(chance, &[22, 24, 30, 31, 32]),
        )
        .unwrap()
        .trunc()
    } else {
        let address = IpAddr::from([0x2001, 0xdb8, 0, site << 6, 0, 0, 0, host]);
        IpNet::new(address, pick(chance, &[48, 56, 64, 65, 125, 126, 128]))
            .unwrap()
            .trunc()
    }
}

fn source(chance: &mut StdRng) -> IpAddr {
    let [site, host] = [5, 9].map(|most| chance.random_range(0..most));
    match chance.random_range(0..3) {
        0 => IpAddr::from([10, 0, site as u8, host as u8]),
        // The IPv4-mapped form, as a dual-stack socket reports it.
        1 => Ipv4Addr::new(10, 0, site as u8, host as u8)
            .to_ipv6_mapped()
            .into(),
        _ => IpAddr::from([0x2001, 0xdb8, 0, site << 6, 0, 0, 0, host]),
    }
}

/// A household with some of few networks, MAC addresses and device addresses, and masks that
/// identify their owner.
fn coded_household(chance: &mut StdRng, number: u16, version: u32) -> Household {
    let code = Code {
        household: number,
        device: 0,
        version,
    };
    let mut household = Household::new(format!("h{number}").parse().unwrap());
    household.settings.categories = code.switches();
    household.networks = (0..chance.random_range(0..5))
        .map(|_| network(chance))
        .collect();
    for place in 0..chance.random_range(0..4) {
        let identifiers = (0..chance.random_range(0..3)).map(|_| match chance.random_range(0..4) {
            0 => DeviceIdentifier::Address(source(chance)),
            _ => DeviceIdentifier::Mac(Mac([2, 0, 0, 0, 0, chance.random_range(0..24)])),
        });
        let device = coded::device(
            Code {
                device: place + 1,
                ..code
            },
            identifiers.collect(),
        );
        household
            .devices
            .insert(format!("d{place}").parse().unwrap(), device);
    }
    household
}

/// The index of the first device with this identifier, plus one.
fn device_of(household: &Household, is_it: impl Fn(&DeviceIdentifier) -> bool) -> Option<u8> {
    let place = household
        .devices
        .values()
        .position(|device| device.identifiers.iter().any(&is_it))?;
    Some(place as u8 + 1)
}

/// The result of a search: the code of the policy, those of asserted policies, and the source.
type Found = (Option<Code>, Vec<Code>, IdentitySource);

/// Identifies the client by looking at every household.
fn naive_search(
    there: &BTreeMap<Id, Household>,
    source: IpAddr,
    mac: Option<Mac>,
    trust: Trust,
) -> Found {
    let source = source.to_canonical();
    let has_mac = |identifier: &DeviceIdentifier| {
        mac.is_some_and(|mac| *identifier == DeviceIdentifier::Mac(mac))
    };
    let has_address = |identifier: &DeviceIdentifier| matches!(identifier, DeviceIdentifier::Address(address) if address.to_canonical() == source);
    let around = there.values().flat_map(|household| {
        household
            .networks
            .iter()
            .map(move |network| (network, household))
    });
    let around = around
        .filter(|(network, _)| network.contains(&source))
        .max_by_key(|(network, _)| network.prefix_len());
    let owners: Vec<&Household> = there
        .values()
        .filter(|household| device_of(household, has_mac).is_some())
        .collect();
    let code = |household: &Household, device: u8| {
        Some(Code {
            household: household.id.as_str()[1..].parse().unwrap(),
            device,
            version: household.version as u32,
        })
    };
    match (around, &owners[..]) {
        (Some((_, household)), _) => {
            let by_mac = device_of(household, has_mac);
            let by_address = device_of(household, has_address)
                .filter(|_| mac.is_none() || trust != Trust::Forwarder);
            match (by_address, by_mac) {
                (Some(device), None) if mac.is_none() => {
                    (code(household, device), Vec::new(), IdentitySource::Address)
                }
                (Some(device), other) if other != Some(device) => (
                    code(household, device),
                    code(household, other.unwrap_or(0)).into_iter().collect(),
                    IdentitySource::Address,
                ),
                (_, Some(device)) => (code(household, device), Vec::new(), IdentitySource::Mac),
                (_, None) => (code(household, 0), Vec::new(), IdentitySource::Network),
            }
        }
        (None, [owner]) if trust != Trust::Household => (
            code(owner, device_of(owner, has_mac).unwrap()),
            Vec::new(),
            IdentitySource::Mac,
        ),
        // The rules of each owner apply, and the query is of none of them.
        (None, owners) if trust != Trust::Household => (
            None,
            owners
                .iter()
                .filter_map(|owner| code(owner, device_of(owner, has_mac).unwrap()))
                .collect(),
            IdentitySource::Unknown,
        ),
        _ => (None, Vec::new(), IdentitySource::Unknown),
    }
}

#[test]
fn through_all_changes_the_directory_agrees_with_a_naive_search() {
    let taxonomy = coded::taxonomy();
    let mut chance = chance();
    let directory = Directory::new(OperatorDefaults::default());
    let mut there: BTreeMap<Id, Household> = BTreeMap::new();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for version in 0..MOVES {
        let number = chance.random_range(0..40);
        let id: Id = format!("h{number}").parse().unwrap();
        if chance.random_range(0..4) == 0 {
            there.remove(&id);
            directory.remove(&id);
        } else {
            let mut household = coded_household(&mut chance, number, version);
            household.version = version.into();
            directory.install(HouseholdRules::compile(
                &household,
                &taxonomy,
                OperatorDefaults::default(),
                Timestamp::UNIX_EPOCH,
            ));
            // A network belongs to the last household that claims it.
            there.values_mut().for_each(|other| {
                other
                    .networks
                    .retain(|network| !household.networks.contains(network))
            });
            there.insert(id.clone(), household);
        }
        for _ in 0..10 {
            let source = source(&mut chance);
            let mac = chance
                .random::<bool>()
                .then(|| Mac([2, 0, 0, 0, 0, chance.random_range(0..24)]));
            let trust = pick(
                &mut chance,
                &[Trust::Household, Trust::Network, Trust::Forwarder],
            );
            let (code, asserted, by) = naive_search(&there, source, mac, trust);
            let identity = directory.identify(source, mac, trust, UnixSeconds::FIRST);
            let others =
                std::iter::successors(identity.policy.asserted(), |policy| policy.asserted());
            let mut others: Vec<Code> = others
                .map(|other| Code::read(other.blocked()).unwrap())
                .collect();
            others.sort_by_key(|code| code.household);
            let mut asserted_in_order = asserted.clone();
            asserted_in_order.sort_by_key(|code| code.household);
            assert_eq!(
                (
                    Code::read(identity.policy.blocked()),
                    others,
                    identity.source
                ),
                (code, asserted_in_order, by),
                "{source} {mac:?} {trust:?}"
            );
            let event = match (mac, by) {
                (Some(_), IdentitySource::Unknown) if trust == Trust::Household => {
                    Some(IdentityEvent::UntrustedPeer)
                }
                (Some(_), IdentitySource::Address)
                    if asserted.first().is_some_and(|asserted| asserted.device > 0) =>
                {
                    Some(IdentityEvent::OtherDevice)
                }
                (Some(_), by) if by != IdentitySource::Mac => Some(IdentityEvent::UnknownMac),
                _ => None,
            };
            let told = identity.event;
            let told = told.filter(|event| *event != IdentityEvent::UnknownAddress);
            assert_eq!(told, event);
            let (by_address, ..) = naive_search(&there, source, None, Trust::Household);
            let household = directory.household_of(source);
            assert_eq!(
                household.map(|rules| rules.id().to_owned()),
                by_address
                    .as_ref()
                    .map(|code| format!("h{}", code.household))
            );
            let is_inside = by_address.is_some();
            *found
                .entry(format!("{by:?} {event:?} {is_inside}"))
                .or_default() += 1;
        }
        assert_eq!(directory.len(), there.len());
        let live = directory.household(&id);
        assert_eq!(live.is_some(), there.contains_key(&id));
        if let Some(live) = live {
            let household = &there[&id];
            assert_eq!(live.networks().collect::<BTreeSet<_>>(), household.networks);
            assert_eq!(
                (live.id(), live.version()),
                (id.as_str(), household.version)
            );
            for (place, device) in (0..).zip(household.devices.keys()) {
                assert_eq!(
                    (live.device_id(place), live.device_by_id(device)),
                    (Some(device.as_str()), Some(place))
                );
            }
        }
    }
    println!("{found:?}");
    assert_eq!(
        found.len(),
        10,
        "every way to be found or not happened: {found:?}"
    );
}
