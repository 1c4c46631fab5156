//! Concurrent readers and a writer: each reader gets a mask that was installed for its own address,
//! and never an older one than before.

// A test that cannot continue fails.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use ipnet::IpNet;
use policy::{
    category::Taxonomy,
    identity::directory::Directory,
    rules::{
        compiled::HouseholdRules,
        household::{DeviceIdentifier, Household, Mac},
        operator::OperatorDefaults,
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::coded::Code;

mod coded;

const LINES: u16 = 24;
/// About a second of writing on one core; at least as many reads.
const WRITES: u32 = 12_000;

/// An address that stays in its household, whose rules and networks change around it.
fn steady(line: u16) -> IpAddr {
    IpAddr::from([10, 0, line as u8, 7])
}

/// An address that moves between two households.
fn moving(line: u16) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, line, 0, 0, 0, 0, 7])
}

/// An address of a household that is installed and removed.
fn passing(line: u16) -> IpAddr {
    IpAddr::from([10, 1, line as u8, 7])
}

/// The households of the addresses: the second household of [`moving`] is 300 higher.
const STEADY: u16 = 0;
const MOVING: u16 = 100;
const PASSING: u16 = 200;
const OTHER: u16 = 300;

fn mac(household: u16) -> Mac {
    Mac([2, 0, 0, 0, (household >> 8) as u8, household as u8])
}

fn around(address: IpAddr, length: u8) -> IpNet {
    IpNet::new(address, length).unwrap().trunc()
}

fn rules(taxonomy: &Taxonomy, household: u16, version: u32, networks: &[IpNet]) -> HouseholdRules {
    let code = Code {
        household,
        device: 0,
        version,
    };
    let mut document = Household::new(format!("h{household}").parse().unwrap());
    document.settings.categories = code.switches();
    document.networks = networks.iter().copied().collect();
    let device = coded::device(
        Code { device: 1, ..code },
        vec![DeviceIdentifier::Mac(mac(household))],
    );
    document.devices.insert("d".parse().unwrap(), device);
    HouseholdRules::compile(
        &document,
        taxonomy,
        OperatorDefaults::default(),
        jiff::Timestamp::UNIX_EPOCH,
    )
}

/// Networks that contain a steady address, in changing ways: in the digest or only in the record,
/// long or short.
fn networks(chance: &mut StdRng, line: u16) -> Vec<IpNet> {
    let address = steady(line);
    let mut networks: Vec<IpNet> = [24, 30, 32]
        .into_iter()
        .filter(|_| chance.random())
        .map(|length| around(address, length))
        .collect();
    if networks.is_empty() {
        networks.push(around(address, 28));
    }
    if chance.random() {
        networks.push(around(IpAddr::from([10, 0, line as u8, 0]), 32));
    }
    networks
}

/// Writes, at the pace of the readers.
fn write(directory: &Directory, taxonomy: &Taxonomy, is_read_often: impl Fn(u32) -> bool) {
    let mut chance = StdRng::seed_from_u64(7);
    for version in 1..WRITES {
        while !is_read_often(version) {
            std::thread::yield_now();
        }
        let line = chance.random_range(0..LINES);
        match chance.random_range(0..3) {
            0 => directory.install(rules(
                taxonomy,
                STEADY + line,
                version,
                &networks(&mut chance, line),
            )),
            1 => {
                let owner = if chance.random() { MOVING } else { OTHER } + line;
                directory.install(rules(
                    taxonomy,
                    owner,
                    version,
                    &[around(moving(line), 56 + line as u8)],
                ));
            }
            _ if chance.random() => {
                directory.remove(&format!("h{}", PASSING + line).parse().unwrap())
            }
            _ => directory.install(rules(
                taxonomy,
                PASSING + line,
                version,
                &[around(passing(line), 32)],
            )),
        }
    }
}

fn read(directory: &Directory, seed: u64, is_over: &AtomicBool, reads: &AtomicU64) {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut newest: HashMap<IpAddr, u32> = HashMap::new();
    while !is_over.load(Ordering::Relaxed) {
        let line = chance.random_range(0..LINES);
        let (source, owners) = match chance.random_range(0..3) {
            0 => (steady(line), [STEADY + line; 2]),
            1 => (moving(line), [MOVING + line, OTHER + line]),
            _ => (passing(line), [PASSING + line; 2]),
        };
        let mac = chance.random::<bool>().then(|| mac(owners[0]));
        let code = Code::read(
            directory
                .identify(source, mac, false, policy::unix_seconds::UnixSeconds::FIRST)
                .policy
                .blocked(),
        );
        reads.fetch_add(1, Ordering::Relaxed);
        let Some(code) = code else {
            assert_eq!(
                owners[0],
                PASSING + line,
                "{source} has a household at every moment"
            );
            continue;
        };
        assert!(owners.contains(&code.household), "{source} is {code:?}");
        assert_eq!(
            code.device == 1,
            mac.is_some() && code.household == owners[0],
            "{source} is {code:?}"
        );
        let newest = newest.entry(source).or_default();
        assert!(
            code.version >= *newest,
            "{source} is {code:?} after version {newest}"
        );
        *newest = code.version;
    }
}

#[test]
fn readers_never_see_a_torn_foreign_or_older_mask_while_all_moves() {
    let taxonomy = coded::taxonomy();
    let directory = Directory::new(OperatorDefaults::default());
    for line in 0..LINES {
        directory.install(rules(
            &taxonomy,
            STEADY + line,
            0,
            &[around(steady(line), 24)],
        ));
        directory.install(rules(
            &taxonomy,
            MOVING + line,
            0,
            &[around(moving(line), 56 + line as u8)],
        ));
    }
    let is_over = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let readers = [1, 2].map(|seed| {
            scope.spawn({
                let directory = &directory;
                let is_over = &is_over;
                let reads = &reads;
                move || read(directory, seed, is_over, reads)
            })
        });
        // Does not wait for a reader that failed.
        let is_failing = || readers.iter().any(|reader| reader.is_finished());
        write(&directory, &taxonomy, |writes| {
            reads.load(Ordering::Relaxed) >= writes.into() || is_failing()
        });
        is_over.store(true, Ordering::Relaxed);
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
    });
    println!(
        "{} reads during {WRITES} writes",
        reads.load(Ordering::Relaxed)
    );
}
