//! The directory's contents, and lookups while index entries and slots disagree. Identification is
//! compared with a naive search in `policy/tests/model.rs`, and tested under concurrent changes in
//! `policy/tests/readers.rs`.

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::{
    category::Taxonomy,
    rules::household::{Attributed, DeviceIdentifier, Household, Switch, SwitchState},
};

const LINE: &str = "192.0.2.7";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn network(text: &str) -> Network {
    Network::from(&text.parse::<IpNet>().unwrap())
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

/// A household with these networks, and a device for each of these MAC addresses, which blocks
/// gambling.
fn household(name: &str, networks: &[&str], macs: &[u8]) -> Household {
    let mut household = Household::new(id(name));
    household.preset = Some("off".to_owned());
    household.networks = networks
        .iter()
        .map(|network| network.parse().unwrap())
        .collect();
    let switch = Attributed {
        value: Switch {
            state: SwitchState::Block,
        },
        set_by: String::new(),
        set_at: Timestamp::UNIX_EPOCH,
    };
    household
        .settings
        .categories
        .insert("gambling".to_owned(), switch);
    for last in macs {
        let mut device: crate::rules::household::Device =
            serde_json::from_value(json!({ "name": "", "log": true })).unwrap();
        device.identifiers = vec![DeviceIdentifier::Mac(mac(*last))];
        household.devices.insert(id(&format!("d{last}")), device);
    }
    household
}

/// The same with rules that end at this second of 1970.
fn ending(name: &str, networks: &[&str], second: i64) -> Household {
    let mut household = household(name, networks, &[]);
    let value = serde_json::from_value(json!({ "until": Timestamp::from_second(second).unwrap() }))
        .unwrap();
    household.settings.pause = Some(Attributed {
        value,
        set_by: String::new(),
        set_at: Timestamp::UNIX_EPOCH,
    });
    household
}

fn rules(household: &Household) -> HouseholdRules {
    HouseholdRules::compile(
        household,
        &Taxonomy::shipped(),
        OperatorDefaults::default(),
        Timestamp::UNIX_EPOCH,
    )
}

fn install(directory: &Directory, household: &Household) {
    directory.install(rules(household));
}

fn holding(households: &[Household]) -> Directory {
    let directory = Directory::new(OperatorDefaults::default());
    households
        .iter()
        .for_each(|household| install(&directory, household));
    directory
}

fn is_found(directory: &Directory, source: &str) -> bool {
    let is_known = directory
        .identify(address(source), None, false, UnixSeconds::FIRST)
        .source
        != IdentitySource::Unknown;
    assert_eq!(
        directory.household_of(address(source)).is_some(),
        is_known,
        "{source}"
    );
    is_known
}

fn lengths(directory: &Directory) -> Vec<u8> {
    [true, false]
        .into_iter()
        .flat_map(|is_v4| directory.lengths.longest_first(is_v4))
        .collect()
}

fn ways(directory: &Directory, networks: &[&str], macs: &[u8], ids: &[&str]) -> [usize; 3] {
    let by_network = directory.networks.view();
    let by_mac = directory.macs.view();
    let by_id = directory.ids.view();
    [
        networks
            .iter()
            .map(|text| by_network.slots(network(text)).count())
            .sum(),
        macs.iter()
            .map(|last| by_mac.slots(mac(*last)).count())
            .sum(),
        ids.iter().map(|id| by_id.slots(*id).count()).sum(),
    ]
}

#[test]
fn an_unknown_address_is_a_devices_where_the_network_has_several() {
    let networks = ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/56"];
    let directory = holding(&[household("a", &networks, &[1])]);
    let event = |source: &str, mac| {
        let identity = directory.identify(address(source), mac, false, UnixSeconds::FIRST);
        assert_eq!(
            identity.source == IdentitySource::Mac,
            mac == Some(self::mac(1)),
            "{source}"
        );
        identity.event
    };
    let unknown = Some(IdentityEvent::UnknownAddress);
    for (source, expected) in [
        ("192.0.2.9", unknown),
        ("198.51.100.7", None),
        ("2001:db8::9", unknown),
    ] {
        assert_eq!(event(source, None), expected, "{source}");
        assert_eq!(event(source, Some(mac(1))), None, "{source}");
        let other = event(source, Some(mac(2)));
        assert_eq!(other, Some(IdentityEvent::UnknownMac), "{source}");
    }
    assert_eq!(
        directory
            .identify(address("203.0.113.1"), None, false, UnixSeconds::FIRST)
            .event,
        None
    );
}

#[test]
fn a_removed_household_leaves_no_index_entry_and_frees_its_slot() {
    let networks = ["192.0.2.0/24", "2001:db8::/48"];
    let macs = [1, 2];
    let directory = holding(&[household("a", &networks, &macs)]);
    assert_eq!((directory.len(), directory.is_empty()), (1, false));
    assert_eq!(ways(&directory, &networks, &macs, &["a"]), [2, 2, 1]);
    directory.remove(&id("a"));
    assert_eq!(
        (
            directory.len(),
            directory.is_empty(),
            is_found(&directory, LINE)
        ),
        (0, true, false)
    );
    assert_eq!(
        (
            ways(&directory, &networks, &macs, &["a"]),
            lengths(&directory)
        ),
        ([0, 0, 0], vec![])
    );
    directory.remove(&id("a"));
    assert_eq!(directory.len(), 0, "twice is as good as once");
    install(&directory, &household("b", &["192.0.2.0/24"], &[]));
    let slots = || {
        let book = directory.book.lock().unwrap();
        (book.made, book.free.len())
    };
    assert_eq!(slots(), (1, 0));
    install(&directory, &household("c", &["198.51.100.0/24"], &[]));
    assert_eq!((slots(), directory.len()), ((2, 0), 2));
}

#[test]
fn a_change_removes_old_index_entries_and_keeps_the_others() {
    let networks = ["192.0.2.0/24", "2001:db8::/48", "198.51.100.0/25"];
    let macs = [1, 2, 3];
    let directory = holding(&[household("a", &networks[..2], &macs[..2])]);
    for _ in 0..2 {
        install(&directory, &household("a", &networks[1..], &macs[1..]));
        assert_eq!(ways(&directory, &networks[..1], &macs[..1], &[]), [0, 0, 0]);
        assert_eq!(
            ways(&directory, &networks[1..], &macs[1..], &["a"]),
            [2, 2, 1]
        );
        assert_eq!((lengths(&directory), directory.len()), (vec![25, 48], 1));
    }
    assert_eq!(
        [LINE, "2001:db8::1", "198.51.100.1"].map(|source| is_found(&directory, source)),
        [false, true, true]
    );
}

#[test]
fn a_length_is_looked_for_as_long_as_one_network_has_it() {
    let directory = holding(&[
        household("a", &["192.0.2.0/24", "10.0.0.0/8"], &[]),
        household("b", &["198.51.100.0/24"], &[]),
    ]);
    assert_eq!(lengths(&directory), [24, 8]);
    install(&directory, &household("a", &["10.0.0.0/8"], &[]));
    assert_eq!(
        (lengths(&directory), is_found(&directory, "198.51.100.1")),
        (vec![24, 8], true)
    );
    directory.remove(&id("b"));
    assert_eq!(
        (lengths(&directory), is_found(&directory, "10.1.1.1")),
        (vec![8], true)
    );
}

#[test]
fn a_network_that_another_household_takes_is_that_ones_alone() {
    let shared = "192.0.2.0/24";
    let directory = holding(&[
        household("a", &[shared, "10.0.0.0/8"], &[]),
        household("b", &[shared], &[]),
    ]);
    assert_eq!(directory.household_of(address(LINE)).unwrap().id(), "b");
    assert_eq!(ways(&directory, &[shared], &[], &[]), [1, 0, 0]);
    let former = directory.household(&id("a")).unwrap();
    assert_eq!(
        former.networks().collect::<Vec<_>>(),
        ["10.0.0.0/8".parse::<IpNet>().unwrap()]
    );
    assert_eq!(directory.book.lock().unwrap().length_counts[&(true, 24)], 1);
    directory.remove(&id("a"));
    assert_eq!(
        (
            is_found(&directory, LINE),
            is_found(&directory, "10.1.1.1"),
            lengths(&directory)
        ),
        (true, false, vec![24])
    );
}

#[test]
fn an_entry_that_leads_to_another_slot_is_skipped_and_reported() {
    let directory = holding(&[
        household("a", &["192.0.2.0/24"], &[]),
        household("b", &["10.0.0.0/8"], &[]),
    ]);
    let certain = |source: &str| {
        let owns = |cell: &Slot, network| {
            cell.rules()
                .as_ref()
                .filter(|rules| rules.has_network(network))
                .map(|rules| rules.id().to_owned())
        };
        directory.search_once(&directory.networks.view(), address(source), owns)
    };
    assert_eq!(certain(LINE), (Some("a".to_owned()), true));
    assert_eq!(certain("198.51.100.1"), (None, true));
    // As in the middle of a change: index entries that the slot does not know of.
    directory.networks.insert(network("192.0.2.7/32"), 1);
    directory.networks.insert(network("198.51.100.0/24"), 1);
    directory.lengths.record(true, 32);
    assert_eq!(certain(LINE), (Some("a".to_owned()), false));
    assert_eq!(certain("198.51.100.1"), (None, false));
    assert!(is_found(&directory, LINE) && !is_found(&directory, "198.51.100.1"));
}

#[test]
fn a_search_that_met_a_change_is_repeated_and_no_other() {
    let directory = holding(&[household("a", &["192.0.2.0/24"], &[])]);
    let looks = std::cell::Cell::new(0);
    let search = |says: bool, moves: bool| {
        looks.set(0);
        let found = directory.search(address(LINE), |_, _| {
            looks.set(looks.get() + 1);
            directory
                .moves
                .fetch_add(u64::from(moves), Ordering::Relaxed);
            says.then_some(())
        });
        (found.is_some(), looks.get())
    };
    assert_eq!(search(true, false), (true, 1));
    // A slot that refuses, or a move meanwhile: the search is repeated up to its bound.
    assert_eq!(search(false, false), (false, 4));
    assert_eq!(search(true, true), (true, 4));
}

#[test]
fn a_reader_from_before_a_change_finds_the_networks_it_added() {
    let directory = holding(&[household("first", &["192.0.2.0/24"], &[])]);
    let reader = directory.reader(UnixSeconds::FIRST);
    // So many entries that the index has moved to a larger table, which this reader has not loaded.
    let lines: Vec<String> = (0..60)
        .map(|number| format!("10.0.{number}.0/24"))
        .collect();
    for (number, line) in lines.iter().enumerate() {
        install(
            &directory,
            &household(&format!("h{number}"), &[line.as_str()], &[]),
        );
    }
    for number in 0..60 {
        let found = reader.identify(IpAddr::from([10, 0, number, 1]), None, false);
        assert_eq!(found.source, IdentitySource::Network, "{number}");
    }
    assert_eq!(
        reader.identify(address("10.1.0.1"), None, false).source,
        IdentitySource::Unknown
    );
}

#[test]
fn the_digest_and_the_record_say_the_same_of_a_line() {
    let directory = holding(&[household("a", &["192.0.2.0/24"], &[1])]);
    let gambling = Taxonomy::shipped().find("gambling").into_iter().collect();
    for asserted in [None, Some(mac(1)), Some(mac(9))] {
        assert_eq!(
            directory
                .identify(address(LINE), asserted, false, UnixSeconds::FIRST)
                .policy
                .blocked(),
            gambling,
            "{asserted:?}"
        );
    }
    let unknown = directory.identify(address("10.0.0.1"), None, false, UnixSeconds::FIRST);
    assert_eq!(
        (unknown.policy, unknown.source),
        (directory.unknown_line(), IdentitySource::Unknown)
    );
}

#[test]
fn rules_that_have_ended_are_read_from_the_record() {
    let directory = holding(&[ending("a", &["192.0.2.0/24"], 100)]);
    let is_paused = |second| {
        directory
            .identify(address(LINE), None, false, UnixSeconds::from_unix(second))
            .policy
            .flags()
            .is_paused()
    };
    assert_eq!(
        [50, 99, 100, 101].map(is_paused),
        [true, true, false, false]
    );
}

#[test]
fn an_unknown_line_has_the_operators_preset_and_refusals() {
    let preset = Taxonomy::shipped().preset("strict").unwrap();
    let bypass = crate::rules::bypass::BypassPrevention {
        canary: true,
        relay: false,
    };
    let directory = Directory::new(OperatorDefaults { preset, bypass });
    let policy = directory
        .identify(address(LINE), None, true, UnixSeconds::FIRST)
        .policy;
    let refuses = |special| policy.flags().prevents(special);
    assert_eq!(policy.blocked(), preset);
    assert!(
        refuses(crate::rules::builtin_names::BuiltinName::Canary)
            && !refuses(crate::rules::builtin_names::BuiltinName::Relay)
    );
}

#[test]
fn a_mac_of_two_households_identifies_neither_from_outside() {
    let directory = holding(&[
        household("a", &["192.0.2.0/24"], &[1, 2]),
        household("b", &["10.0.0.0/8"], &[2, 3]),
    ]);
    let found = |last, trust: Trust| {
        let identity = directory.identify(
            address("203.0.113.1"),
            Some(mac(last)),
            trust,
            UnixSeconds::FIRST,
        );
        (identity.source, identity.event)
    };
    let unknown = |event| (IdentitySource::Unknown, Some(event));
    for trust in [Trust::Network, Trust::Forwarder] {
        let by_mac = (IdentitySource::Mac, None);
        let none = unknown(IdentityEvent::UnknownMac);
        assert_eq!(
            [1, 2, 3, 4].map(|last| found(last, trust)),
            [by_mac, none, by_mac, none],
            "{trust:?}"
        );
    }
    assert_eq!(
        found(1, Trust::Household),
        unknown(IdentityEvent::UntrustedPeer)
    );
    assert_eq!(
        [Trust::from(true), Trust::from(false)],
        [Trust::Network, Trust::Household]
    );
}

#[test]
fn expired_households_are_returned_once_the_longest_expired_first() {
    let homes = [("a", 300), ("b", 100), ("c", 200), ("d", 400)];
    let homes = homes.map(|(name, second)| ending(name, &[], second));
    let directory = holding(&homes);
    install(&directory, &household("never", &[], &[]));
    let due = |second, most| -> Vec<String> {
        directory
            .due(UnixSeconds::from_unix(second), most)
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(due(99, 9), [""; 0]);
    assert_eq!(due(300, 0), [""; 0]);
    assert_eq!(due(100, 9), ["b"], "at that very second");
    assert_eq!(due(100, 9), [""; 0], "once");
    // A household that is installed again with the same end is returned once.
    install(&directory, &homes[2]);
    assert_eq!(directory.book.lock().unwrap().due.len(), 3);
    assert_eq!(due(399, 1), ["c"]);
    assert_eq!(due(399, 9), ["a"]);
    // A household that changed meanwhile is returned when the newer record ends.
    install(&directory, &ending("d", &[], 500));
    assert_eq!(due(499, 9), [""; 0]);
    assert_eq!(due(500, 9), ["d"]);
    assert_eq!(due(u64::from(u32::MAX), 9), [""; 0]);
}

#[test]
fn all_households_with_a_change_by_the_clock_are_named_and_no_others() {
    let directory = holding(&[
        ending("a", &[], 100),
        household("b", &[], &[]),
        ending("c", &[], 200),
        ending("gone", &[], 300),
    ]);
    directory.remove(&id("gone"));
    let timed: BTreeSet<String> = directory.timed().iter().map(ToString::to_string).collect();
    assert_eq!(timed, ["a".to_owned(), "c".to_owned()].into());
}

#[test]
fn a_batch_is_read_before_it_is_searched_as_far_as_there_is_room() {
    let directory = holding(&[
        household("a", &["192.0.2.0/24"], &[]),
        household("b", &["10.0.0.0/24"], &[]),
    ]);
    let reader = directory.reader(UnixSeconds::FIRST);
    let read = |text: &str| {
        let view = directory.networks.view();
        let search = view.search(Network::around(address(text), 24));
        let slot = view.found(search).next();
        view.touch(search) ^ slot.map_or(0, |slot| directory.slots.get(slot).touch())
    };
    let touched = |lines: &[&str]| reader.touch(lines.iter().map(|line| address(line)));
    assert_ne!(read(LINE), read("10.0.0.1"));
    assert_eq!((touched(&[]), touched(&[LINE])), (0, read(LINE)));
    assert_eq!(
        touched(&["::ffff:192.0.2.9", "10.0.0.1"]),
        read(LINE) ^ read("10.0.0.1")
    );
    assert_eq!(touched(&["198.51.100.1"]), read("198.51.100.1"));
    // Two equal reads cancel out, so the rest says how many were read.
    assert_eq!(touched(&[LINE; 64]), 0);
    let more: Vec<&str> = [LINE; 63]
        .into_iter()
        .chain(["10.0.0.1", "10.0.0.1", "10.0.0.1"])
        .collect();
    assert_eq!(touched(&more), read(LINE) ^ read("10.0.0.1"));
}
