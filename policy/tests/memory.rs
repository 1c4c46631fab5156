//! The memory of a household in the directory. `benches/households.rs` measures it for a million.

#![cfg(target_os = "linux")]
// A test that cannot continue fails.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use policy::{
    category::Taxonomy,
    identity::directory::Directory,
    rules::{
        compiled::HouseholdRules,
        household::{Device, DeviceIdentifier, Household, Mac, Settings},
        operator::OperatorDefaults,
    },
};

const HOUSEHOLDS: u32 = 50_000;
/// The aim is 400 for a million; a fifth more for what is not shared by as many: the unused part of
/// a chunk, the heap of the compiler.
const OCTETS_MAX: u64 = 480;

fn household(line: u32) -> Household {
    let mut household = Household::new(format!("line-{line:08}").parse().unwrap());
    let v4 = Ipv4Addr::from_bits(0x0a00_0000 + line);
    let v6 = Ipv6Addr::from_bits((0x2001_0db8 << 96) | (u128::from(line) << 72));
    household.networks = [
        IpNet::new(v4.into(), 32).unwrap(),
        IpNet::new(v6.into(), 56).unwrap(),
    ]
    .into();
    for place in 0..4 {
        let [a, b, c, d] = line.to_be_bytes();
        let identifiers = vec![DeviceIdentifier::Mac(Mac([2, place, a, b, c, d]))];
        let name = String::new();
        let settings = Settings::default();
        let device = Device {
            name,
            kind: None,
            person: None,
            identifiers,
            log: true,
            thing: None,
            settings,
        };
        household
            .devices
            .insert(format!("device-{place}").parse().unwrap(), device);
    }
    household
}

/// Resident memory of this process in octets.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[test]
fn a_household_with_four_devices_costs_less_than_480_octets() {
    let taxonomy = Taxonomy::shipped();
    let defaults = OperatorDefaults::default();
    let directory = Directory::new(defaults);
    let before = resident();
    (0..HOUSEHOLDS).for_each(|line| {
        directory.install(HouseholdRules::compile(
            &household(line),
            &taxonomy,
            defaults,
            jiff::Timestamp::UNIX_EPOCH,
        ))
    });
    let octets = (resident() - before) / u64::from(HOUSEHOLDS);
    println!("{octets} octets a household");
    assert_eq!(directory.len(), HOUSEHOLDS as usize);
    assert!(octets < OCTETS_MAX, "{octets} octets a household");
}
