//! What does a million households cost: memory, finding out who asks, deciding?
//!
//! Each household has an IPv4 address, an IPv6 /56 and four devices with a MAC address each, one
//! device in four with a switch of its own. Lines ask in random order, as a real network's do. Two
//! ways are measured: one query after the other, where the next line follows from the last answer
//! so that nothing overlaps, and in batches of 32 as a worker receives them, plain and touched
//! first. Not measured: the packets, and other cores that write.

use std::{
    collections::BTreeMap,
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use ipnet::IpNet;
use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    decide::decide,
    identity::directory::{Directory, DirectoryReader},
    lists::blocklist::Classification,
    name::Name,
    rules::{
        compiled::HouseholdRules,
        household::{
            Attributed, Device, DeviceIdentifier, Household, Mac, Settings, Switch, SwitchState,
        },
        operator::OperatorDefaults,
    },
    unix_seconds::UnixSeconds,
};

/// Queries of one measurement, and of one batch.
const QUERIES: u32 = 2_000_000;
const BATCH: usize = 32;

/// A multiplicative hash: random enough for lines, and a few instructions.
fn mix(number: u64) -> u64 {
    let mixed = (number ^ number >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

fn v4(line: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + line).into()
}

fn v6(line: u32) -> IpAddr {
    Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(line) << 72 | 1).into()
}

fn mac(line: u32, device: u8) -> Mac {
    let [a, b, c, d] = line.to_be_bytes();
    Mac([2, device, a, b, c, d])
}

fn household(line: u32) -> Household {
    let mut household = Household::new(format!("line-{line:08}").parse().expect("an identifier"));
    household.networks = [IpNet::new(v4(line), 32), IpNet::new(v6(line), 56)]
        .map(|network| network.expect("a network").trunc())
        .into();
    if line.is_multiple_of(3) {
        household.preset = Some("strict".to_owned());
    }
    for place in 0..4 {
        let switch = Attributed {
            value: Switch {
                state: SwitchState::Block,
            },
            set_by: String::new(),
            set_at: Timestamp::UNIX_EPOCH,
        };
        let categories = if place == 3 {
            BTreeMap::from([("social".to_owned(), switch)])
        } else {
            BTreeMap::new()
        };
        let identifiers = vec![DeviceIdentifier::Mac(mac(line, place))];
        let name = String::new();
        let kind = None;
        let person = None;
        let log = true;
        let settings = Settings {
            categories,
            ..Settings::default()
        };
        let device = Device {
            name,
            kind,
            person,
            identifiers,
            log,
            thing: None,
            settings,
        };
        household.devices.insert(
            format!("device-{place}").parse().expect("an identifier"),
            device,
        );
    }
    household
}

/// Resident memory in octets.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("it says how much is resident");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<f64>().ok())
        .expect("a number of KiB")
        * 1024.0
}

/// Nanoseconds a query where each follows from the one before.
fn in_sequence(households: u32, mut ask: impl FnMut(u32) -> u64) -> f64 {
    let mut state = 1;
    let began = Instant::now();
    for _ in 0..QUERIES {
        let line = ((mix(state) >> 32) * u64::from(households)) >> 32;
        state = state.wrapping_add(1).wrapping_add(ask(line as u32) & 1);
    }
    black_box(state);
    began.elapsed().as_nanos() as f64 / f64::from(QUERIES)
}

/// Nanoseconds a query in batches whose lines are all known before the first is answered, `touched`
/// first or not.
fn in_batches(
    directory: &Directory,
    households: u32,
    touched: bool,
    ask: impl Fn(&DirectoryReader<'_>, u32) -> u64,
) -> f64 {
    let mut state = 1_u64;
    let mut sum = 0_u64;
    let began = Instant::now();
    for _ in 0..QUERIES / BATCH as u32 {
        let lines: [u32; BATCH] = std::array::from_fn(|place| {
            (((mix(state + place as u64) >> 32) * u64::from(households)) >> 32) as u32
        });
        let reader = directory.reader(UnixSeconds::FIRST);
        if touched {
            black_box(reader.touch(lines.iter().map(|line| v4(*line))));
        }
        // Each waits for the one before, by a number that is zero: in a worker, writing a reply
        // stands between two of them.
        lines
            .iter()
            .for_each(|line| sum = ask(&reader, *line + (sum >> 63) as u32));
        state += BATCH as u64 + sum;
    }
    black_box(sum);
    began.elapsed().as_nanos() as f64 / f64::from(QUERIES)
}

fn main() {
    let taxonomy = Taxonomy::shipped();
    let defaults = OperatorDefaults {
        preset: taxonomy.preset("light").expect("a shipped preset"),
        ..OperatorDefaults::default()
    };
    let name = Name::parse("www.example.com").expect("a name");
    let said = Classification {
        choice: taxonomy.find("social").into_iter().collect(),
        ..Classification::NOTHING
    };
    for count in [1_u32, 100_000, 1_000_000] {
        let before = resident();
        let directory = Directory::new(defaults);
        let began = Instant::now();
        (0..count).for_each(|line| {
            directory.install(HouseholdRules::compile(
                &household(line),
                &taxonomy,
                defaults,
                Timestamp::UNIX_EPOCH,
            ))
        });
        println!(
            "{count} households: {:.0} octets each, compiled and installed in {:.2?}",
            (resident() - before) / f64::from(count),
            began.elapsed(),
        );
        let by_v4 = |line| {
            directory
                .identify(v4(line), None, false, UnixSeconds::FIRST)
                .policy
                .blocked()
                .is_empty()
                .into()
        };
        let by_v6 = |line| {
            directory
                .identify(v6(line), None, false, UnixSeconds::FIRST)
                .policy
                .blocked()
                .is_empty()
                .into()
        };
        let by_mac = |line| {
            directory
                .identify(v4(line), Some(mac(line, 2)), false, UnixSeconds::FIRST)
                .policy
                .blocked()
                .is_empty()
                .into()
        };
        let batched = |reader: &DirectoryReader<'_>, line| {
            reader
                .identify(v4(line), None, false)
                .policy
                .blocked()
                .is_empty()
                .into()
        };
        println!(
            "  identify in sequence: IPv4 {:.0} ns, IPv6 {:.0} ns, IPv4 and MAC {:.0} ns; IPv4 in batches: plain {:.0} ns, touched first {:.0} ns",
            in_sequence(count, by_v4),
            in_sequence(count, by_v6),
            in_sequence(count, by_mac),
            in_batches(&directory, count, false, batched),
            in_batches(&directory, count, true, batched),
        );
        let asker = directory
            .identify(v4(0), None, false, UnixSeconds::FIRST)
            .policy;
        let deciding = in_sequence(count, |_| {
            black_box(decide(black_box(&asker), name.borrow(), black_box(&said)))
                .is_block()
                .into()
        });
        println!("  decide: {deciding:.1} ns");
    }
}
