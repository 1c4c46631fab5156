//! Decisions against a naive model: 10,000 households with random rules at household and device level, 1,000,000 decisions.
//!
//! The model reads the documents and walks the layers in words. It knows no mask, no compiled record and no sorted list, so it
//! can only be wrong in another way than the code it checks.

// A test that cannot go on says so by failing.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;
use jiff::Timestamp;
use policy::{
    blocklist::Classification,
    category::{CategorySet, Taxonomy},
    decide::{Asker, decide, review},
    directory::{Directory, IdentitySource},
    household::{Device, Filtering, Household, Id, Identifier, Mac, OwnName, Set, State, Switch},
    listing::Scope,
    name::Name,
    rules::{HouseholdRules, OperatorDefaults},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

const HOUSEHOLDS: usize = 10_000;
const DECISIONS: usize = 1_000_000;
const SLUGS: [&str; 6] = ["gambling", "violence", "social", "games", "adult", "ads"];
const NAMES: [&str; 8] = ["a.test", "b.a.test", "c.b.a.test", "x.test", "test", "d.example", "e.d.example", "other.invalid"];

/// A fixed seed: a failure is the same for everybody.
const SEED: u64 = 7;

/// The chance of one test.
fn chance() -> StdRng {
    StdRng::seed_from_u64(SEED)
}

fn pick<T: Copy>(chance: &mut StdRng, from: &[T]) -> T {
    from[chance.random_range(0..from.len())]
}

fn set<T>(value: T) -> Set<T> {
    Set { value, set_by: "model".to_owned(), set_at: Timestamp::UNIX_EPOCH }
}

fn switches(chance: &mut StdRng) -> BTreeMap<String, Set<Switch>> {
    let count = chance.random_range(0..4);
    (0..count).map(|_| (pick(chance, &SLUGS).to_owned(), set(Switch { state: pick(chance, &[State::Block, State::Allow]) }))).collect()
}

fn own_names(chance: &mut StdRng) -> BTreeMap<Name, Set<OwnName>> {
    let count = chance.random_range(0..6_usize).saturating_sub(2);
    let mut entry = || {
        let own = OwnName { state: pick(chance, &[State::Block, State::Allow]), scope: pick(chance, &[Scope::Exact, Scope::Subtree]) };
        (Name::parse(pick(chance, &NAMES)).unwrap(), set(own))
    };
    (0..count).map(|_| entry()).collect()
}

fn household(chance: &mut StdRng, number: usize) -> Household {
    let mut household = Household::new(format!("h{number}").parse().unwrap());
    household.preset = pick(chance, &[None, Some("light"), Some("moderate"), Some("strict"), Some("off")]).map(str::to_owned);
    household.filtering = pick(chance, &[Filtering::NotAsked, Filtering::On, Filtering::On, Filtering::Off]);
    household.categories = switches(chance);
    household.names = own_names(chance);
    for place in 0..chance.random_range(0..5) {
        let device = Device {
            name: String::new(),
            kind: None,
            person: None,
            identifiers: Vec::new(),
            log: true,
            categories: switches(chance),
            names: own_names(chance),
        };
        household.devices.insert(format!("d{place}").parse().unwrap(), device);
    }
    household
}

fn classification(chance: &mut StdRng, taxonomy: &Taxonomy) -> Classification {
    let mut set =
        |most: usize| -> CategorySet { (0..chance.random_range(0..=most)).map(|_| taxonomy.find(pick(chance, &SLUGS)).unwrap()).collect() };
    let (choice, security) = (set(3), set(1));
    let rare = |chance: &mut StdRng| chance.random_range(0..20) == 0;
    let security = if rare(chance) { security } else { CategorySet::EMPTY };
    Classification { choice, security, mandatory: rare(chance), never_block: rare(chance) }
}

/// What a list says of a name, read as a person reads it: the longest entry that covers it.
fn own_list(names: &BTreeMap<Name, Set<OwnName>>, name: &str) -> Option<State> {
    let covers = |entry: &str, scope| name == entry || (scope == Scope::Subtree && name.ends_with(&format!(".{entry}")));
    let covering = names.iter().filter(|(entry, own)| covers(&entry.to_string(), own.value.scope));
    covering.max_by_key(|(entry, _)| entry.to_string().split('.').count()).map(|(_, own)| own.value.state)
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
    let slugs = |set: CategorySet| taxonomy.slugs(set).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    let is_off = household.filtering == Filtering::Off;
    let device_list = device.and_then(|device| own_list_without(&device.names, name, is_off));
    let household_list = own_list_without(&household.names, name, is_off);
    if said.mandatory {
        return ("mandatory", nothing());
    }
    if said.never_block {
        return ("never-block", nothing());
    }
    for (list, layer) in [(device_list, "device-allow"), (household_list, "household-allow")] {
        if list == Some(State::Allow) {
            return (layer, nothing());
        }
    }
    for (list, layer) in [(device_list, "device-deny"), (household_list, "household-deny")] {
        if list == Some(State::Block) {
            return (layer, nothing());
        }
    }
    if !said.security.is_empty() {
        return ("security", slugs(said.security));
    }
    let preset = household.preset.as_deref().unwrap_or(default);
    let is_blocked = |slug: &String| {
        let switch = device.and_then(|device| device.categories.get(slug)).or_else(|| household.categories.get(slug));
        match switch.map(|switch| switch.value.state) {
            Some(state) => state == State::Block,
            None => taxonomy.category(taxonomy.find(slug).unwrap()).presets.iter().any(|other| other == preset),
        }
    };
    let blocked: BTreeSet<String> = slugs(said.choice).into_iter().filter(|slug| !is_off && is_blocked(slug)).collect();
    if blocked.is_empty() { ("default", nothing()) } else { ("category", blocked) }
}

/// Without filtering a household's own blocks are as if they were not written.
fn own_list_without(names: &BTreeMap<Name, Set<OwnName>>, name: &str, blocks_are_off: bool) -> Option<State> {
    let kept = names.iter().filter(|(_, own)| !(blocks_are_off && own.value.state == State::Block));
    own_list(&kept.map(|(name, own)| (name.clone(), own.clone())).collect(), name)
}

#[test]
fn a_million_decisions_over_ten_thousand_households_equal_the_model() {
    let taxonomy = Taxonomy::shipped();
    let mut chance = chance();
    let default = "light";
    let defaults = OperatorDefaults { preset: taxonomy.preset(default).unwrap() };
    let mut layers: BTreeMap<&str, usize> = BTreeMap::new();
    for number in 0..HOUSEHOLDS {
        let household = household(&mut chance, number);
        let rules = std::sync::Arc::new(HouseholdRules::compile(&household, &taxonomy, defaults));
        for _ in 0..DECISIONS / HOUSEHOLDS {
            let place = chance.random_range(0..=household.devices.len());
            let device = household.devices.iter().nth(place);
            let asker = Asker { household: std::sync::Arc::clone(&rules), device: device.and_then(|(id, _)| rules.device_by_id(id)) };
            let name = pick(&mut chance, &NAMES);
            let said = classification(&mut chance, &taxonomy);
            let verdict = decide(&asker, Name::parse(name).unwrap().borrow(), said);
            let (layer, slugs) = model(&household, device.map(|(_, device)| device), name, said, &taxonomy, default);
            let decided: BTreeSet<String> = taxonomy.slugs(verdict.categories).into_iter().map(str::to_owned).collect();
            assert_eq!((verdict.layer.as_str(), decided), (layer, slugs), "{name} {said:?} {device:?}\n{household:?}");
            *layers.entry(layer).or_default() += 1;
        }
    }
    println!("{layers:?}");
    assert_eq!(layers.len(), 9, "every layer decided something: {layers:?}");
}

#[test]
fn a_chain_is_blocked_by_its_first_blocked_name_and_an_allow_of_the_name_covers_all_but_an_order() {
    let taxonomy = Taxonomy::shipped();
    let mut household = Household::new("home".parse().unwrap());
    household.categories.insert("gambling".into(), set(Switch { state: State::Block }));
    household.names.insert(Name::parse("ok.test").unwrap(), set(OwnName { state: State::Allow, scope: Scope::Exact }));
    let rules = HouseholdRules::compile(&household, &taxonomy, OperatorDefaults::default());
    let asker = Asker { household: rules.into(), device: None };
    let gambling = Classification { choice: [taxonomy.find("gambling").unwrap()].into_iter().collect(), ..Classification::NOTHING };
    let ordered = Classification { mandatory: true, ..Classification::NOTHING };
    let [free, bets, last] = ["free.test", "bets.test", "last.test"].map(|name| Name::parse(name).unwrap());
    let judge = |queried: &str, chain: &[(&Name, Classification)]| {
        let name = Name::parse(queried).unwrap();
        let verdict = decide(&asker, name.borrow(), Classification::NOTHING);
        let (verdict, hop) = review(&asker, verdict, chain.iter().map(|(name, said)| (name.borrow(), *said)));
        (verdict.layer.as_str(), hop)
    };
    assert_eq!(judge("free.test", &[(&free, Classification::NOTHING)]), ("default", 0));
    assert_eq!(judge("free.test", &[(&free, Classification::NOTHING), (&bets, gambling), (&last, ordered)]), ("category", 2));
    assert_eq!(judge("ok.test", &[(&bets, gambling)]), ("household-allow", 0));
    assert_eq!(judge("ok.test", &[(&bets, gambling), (&last, ordered)]), ("mandatory", 2));
}

#[test]
fn whoever_comes_goes_or_moves_the_directory_finds_whom_a_naive_search_finds() {
    let taxonomy = Taxonomy::shipped();
    let mut chance = chance();
    let directory = Directory::new(HouseholdRules::of_unknown_lines(OperatorDefaults::default()));
    let mut there: BTreeMap<Id, (Household, BTreeSet<IpNet>)> = BTreeMap::new();
    for _ in 0..3_000 {
        let id: Id = format!("h{}", chance.random_range(0..40)).parse().unwrap();
        if chance.random_range(0..4) == 0 {
            there.remove(&id);
            directory.remove(&id);
        } else {
            let mut household = Household::new(id.clone());
            let taken: BTreeSet<IpNet> =
                there.iter().filter(|(other, _)| **other != id).flat_map(|(_, (_, networks))| networks.iter().copied()).collect();
            let networks = (0..chance.random_range(0..4)).map(|_| {
                let address = Ipv4Addr::new(10, 0, chance.random_range(0..4), chance.random_range(0..8));
                IpNet::new(address.into(), pick(&mut chance, &[0, 16, 24, 30, 32])).unwrap().trunc()
            });
            let networks: BTreeSet<IpNet> = networks.filter(|network| !taken.contains(network)).collect();
            let identifiers =
                (0..chance.random_range(0..3)).map(|_| Identifier::Mac(Mac([2, 0, 0, 0, 0, chance.random_range(0..12)]))).collect();
            let device = Device {
                name: String::new(),
                kind: None,
                person: None,
                identifiers,
                log: true,
                categories: BTreeMap::new(),
                names: BTreeMap::new(),
            };
            household.devices.insert("d".parse().unwrap(), device);
            directory.install(HouseholdRules::compile(&household, &taxonomy, OperatorDefaults::default()), &networks);
            there.insert(id, (household, networks));
        }
        let source = IpAddr::from([10, 0, chance.random_range(0..5), chance.random_range(0..9)]);
        let mac = Mac([2, 0, 0, 0, 0, chance.random_range(0..12)]);
        let (asserts, is_trusted) = (chance.random::<bool>(), chance.random::<bool>());
        let has_mac = |household: &Household| household.devices.values().any(|device| device.identifiers.contains(&Identifier::Mac(mac)));
        let by_network = there.values().flat_map(|(household, networks)| networks.iter().map(move |network| (network, household)));
        let by_network = by_network
            .filter(|(network, _)| network.contains(&source))
            .max_by_key(|(network, _)| network.prefix_len())
            .map(|(_, household)| household);
        let owners: Vec<&Household> = there.values().map(|(household, _)| household).filter(|household| has_mac(household)).collect();
        let (household, device) = match (by_network, &owners[..]) {
            (Some(household), _) => (Some(household), asserts && has_mac(household)),
            (None, [owner]) if asserts && is_trusted => (Some(*owner), true),
            _ => (None, false),
        };
        let identity = directory.identify(source, asserts.then_some(mac), is_trusted);
        assert_eq!(identity.asker.household.id.as_ref(), household.map(|household| &household.id), "{source} {mac} {asserts} {is_trusted}");
        assert_eq!(identity.asker.device.is_some(), device);
        assert_eq!(identity.source == IdentitySource::Unknown, household.is_none());
        assert_eq!(directory.len(), there.len());
    }
}
