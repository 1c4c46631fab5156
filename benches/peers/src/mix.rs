//! What is asked, and what is listed: generated from a fixed seed, so that every machine measures
//! the same.
//!
//! Domains are asked by Zipf's law, as people do. Listed names stand under top-level domains of our
//! world, where a wildcard gives them an address: an NXDOMAIN for one proves that it was blocked.

use std::{collections::HashSet, fmt::Write as _};

use rand::{Rng, SeedableRng, rngs::StdRng};

/// Second-level domains of the world; ten top-level ones share them.
pub const DOMAINS: usize = 10_000;
/// Top-level domains of the world.
pub const TLDS: usize = 10;
/// Zones of the signed Internet.
pub const SIGNED_ZONES: usize = 100;
/// An OPT record that takes 1,232 octets, with DO (RFC 6891 section 6.1.2, RFC 3225).
const OPT_DO: [u8; 11] = [0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0];
/// Names in front of a domain.
const HOSTS: [&str; 8] = ["www", "api", "cdn", "img", "mail", "m", "static", "app"];
/// A, AAAA and HTTPS, and their shares in percent.
const TYPES: [(u16, u32); 3] = [(1, 60), (28, 25), (65, 15)];
/// How steep popularity falls.
const ZIPF_EXPONENT: f64 = 0.95;
/// So many of the listed names are asked at all.
const LISTED_ASKED: usize = 50_000;
/// Queries of a mix; it is asked round and round.
const QUERIES: usize = 1_000_000;
const SEED: u64 = 20_261_121;

/// A domain of the world, by its number.
pub fn domain(number: usize) -> String {
    format!("d{number}.tld{}", number % TLDS)
}

/// A zone of the signed Internet, by its number.
pub fn signed_zone(number: usize) -> String {
    format!("z{number}.signed")
}

/// The first label of a name of the signed Internet. Each run has names of its own, because some
/// rivals keep their cache on disk.
pub fn signed_label(number: usize) -> String {
    format!("p{}n{number}", std::process::id())
}

/// A name that is on no list and asked often.
pub fn unlisted() -> String {
    format!("{}.{}", HOSTS[0], domain(0))
}

/// Distinct names that look like names: two to five syllables and a top-level domain, 15 octets on
/// average.
pub fn listed(count: usize) -> Vec<String> {
    const CONSONANTS: &[u8] = b"bcdfghklmnprstvz";
    const VOWELS: &[u8] = b"aeiou";
    let mut chance = StdRng::seed_from_u64(SEED);
    let mut names = Vec::with_capacity(count);
    let mut seen = HashSet::with_capacity(count);
    while names.len() < count {
        let mut name = String::new();
        for _ in 0..chance.random_range(4..=6) {
            name.push(char::from(
                CONSONANTS[chance.random_range(0..CONSONANTS.len())],
            ));
            name.push(char::from(VOWELS[chance.random_range(0..VOWELS.len())]));
        }
        let _ = write!(name, ".tld{}", chance.random_range(0..TLDS));
        if seen.insert(name.clone()) {
            names.push(name);
        }
    }
    names
}

/// A list with `count` of its names gone, spread over all of it, and as many new ones at its end;
/// returns the new ones, too.
pub fn changed(list: &[String], count: usize) -> (Vec<String>, Vec<String>) {
    let count = count.min(list.len());
    // The generator goes on where the list ends, so these are on no list yet.
    let new = listed(list.len() + count).split_off(list.len());
    // As a line is drawn on a raster: `count` steps, evenly spread over all places.
    let is_gone = |place: usize| (place + 1) * count / list.len() > place * count / list.len();
    let kept = list
        .iter()
        .enumerate()
        .filter(|(place, _)| !is_gone(*place))
        .map(|(_, name)| name.clone());
    (kept.chain(new.iter().cloned()).collect(), new)
}

/// Packets to ask, and what the answers to them must be.
pub struct Mix {
    /// Queries, ids zero. Those for signed names have DO, the others no EDNS.
    pub packets: Vec<Box<[u8]>>,
    /// The share of them that is listed, 0 to 1.
    pub listed_share: f64,
}

/// Numbers by Zipf's law, the lowest most often.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize) -> Self {
        let mut sum = 0.0;
        Self(
            (1..=count)
                .map(|rank| (sum += (rank as f64).powf(-ZIPF_EXPONENT), sum).1)
                .collect(),
        )
    }

    fn draw(&self, chance: &mut StdRng) -> usize {
        let point = chance.random::<f64>() * self.0.last().expect("it is not empty");
        self.0
            .partition_point(|&sum| sum < point)
            .min(self.0.len() - 1)
    }
}

impl Mix {
    /// A mix in which about `share` of the queries are for listed names.
    pub fn new(listed: &[String], share: f64) -> Self {
        let mut chance = StdRng::seed_from_u64(SEED + 1);
        let domains = Zipf::new(DOMAINS);
        let asked = Zipf::new(LISTED_ASKED.min(listed.len().max(1)));
        let mut listed_count = 0;
        let packets = (0..QUERIES).map(|_| {
            let record_type = draw_type(&mut chance);
            if chance.random_bool(share) {
                listed_count += 1;
                // Spread over the whole list: neighbours in it are not asked together.
                let number =
                    asked.draw(&mut chance) * (listed.len() / LISTED_ASKED.min(listed.len()));
                return packet(&listed[number], record_type);
            }
            let domain = domain(domains.draw(&mut chance));
            packet(
                &format!("{}.{domain}", HOSTS[chance.random_range(0..HOSTS.len())]),
                record_type,
            )
        });
        let packets = packets.collect();
        Self {
            packets,
            listed_share: f64::from(listed_count) / QUERIES as f64,
        }
    }

    /// Names that were not asked for before, in domains whose servers are known: each costs one query to
    /// an authority. Some rivals keep their cache on disk, so each run has names of its own.
    pub fn cold(round: usize, count: usize) -> Self {
        let mut chance = StdRng::seed_from_u64(SEED + 2 + round as u64);
        let packets = (0..count).map(|number| {
            packet(
                &format!(
                    "p{}r{round}n{number}.{}",
                    std::process::id(),
                    domain(chance.random_range(0..DOMAINS))
                ),
                1,
            )
        });
        Self {
            packets: packets.collect(),
            listed_share: 0.0,
        }
    }

    /// A name of each signed zone: to warm a cache with their keys.
    pub fn signed_zones() -> Self {
        let names = (0..SIGNED_ZONES).map(|number| "ns.".to_owned() + &signed_zone(number));
        Self {
            packets: names.map(|name| signed_packet(&name)).collect(),
            listed_share: 0.0,
        }
    }

    /// Signed names that were not asked for before, in zones whose keys are known.
    pub fn cold_signed(round: usize, count: usize) -> Self {
        let numbers = round * count..(round + 1) * count;
        let name = |number| signed_label(number) + "." + &signed_zone(number % SIGNED_ZONES);
        Self {
            packets: numbers.map(|number| signed_packet(&name(number))).collect(),
            listed_share: 0.0,
        }
    }

    /// Each distinct packet once: to warm a cache.
    pub fn distinct(&self) -> Self {
        let mut seen = HashSet::new();
        let packets = self
            .packets
            .iter()
            .filter(|packet| seen.insert(&***packet))
            .cloned()
            .collect();
        Self {
            packets,
            listed_share: f64::NAN,
        }
    }
}

fn draw_type(chance: &mut StdRng) -> u16 {
    let mut point = chance.random_range(0..TYPES.iter().map(|(_, share)| share).sum());
    for (record_type, share) in TYPES {
        if point < share {
            return record_type;
        }
        point -= share;
    }
    unreachable!("the point is below the sum of the shares")
}

/// A query with recursion desired and without EDNS.
pub fn packet(name: &str, record_type: u16) -> Box<[u8]> {
    let mut packet = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).expect("our labels are short"));
        packet.extend(label.as_bytes());
    }
    packet.push(0);
    packet.extend(record_type.to_be_bytes());
    packet.extend(1_u16.to_be_bytes());
    packet.into()
}

/// A query for an address, with DO.
pub fn signed_packet(name: &str) -> Box<[u8]> {
    let mut packet = packet(name, 1).into_vec();
    packet[11] = 1;
    packet.extend(OPT_DO);
    packet.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_list_has_as_many_names_and_exactly_so_many_others() {
        for (names, count) in [(10_007, 1_000), (1_000, 1_000), (7, 1_000)] {
            let list = listed(names);
            let (next, new) = changed(&list, count);
            let before: HashSet<_> = list.iter().collect();
            let after: HashSet<_> = next.iter().collect();
            let count = count.min(names);
            assert_eq!((next.len(), after.len(), new.len()), (names, names, count));
            assert_eq!(
                (
                    after.difference(&before).count(),
                    before.difference(&after).count()
                ),
                (count, count)
            );
            assert!(
                new.iter()
                    .all(|name| after.contains(name) && !before.contains(name))
            );
        }
        let list = listed(10_000);
        let next = changed(&listed(10_000), 10).0;
        assert!(
            list[..900] == next[..900] && list[..5_000] != next[..5_000],
            "spread over the whole list"
        );
    }

    #[test]
    fn a_mix_is_the_same_each_time_and_has_the_shares_it_promises() {
        let names = listed(60_000);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        let mean = names.iter().map(String::len).sum::<usize>() as f64 / names.len() as f64;
        assert!((14.0..16.0).contains(&mean), "{mean} octets");
        let mix = Mix::new(&names, 0.2);
        let again = Mix::new(&names, 0.2);
        assert!(
            mix.packets == again.packets && (mix.listed_share - 0.2).abs() < 0.002,
            "{}",
            mix.listed_share
        );
        let of_type = |wanted: u8| {
            mix.packets
                .iter()
                .filter(|packet| packet[packet.len() - 3] == wanted)
                .count() as f64
                / QUERIES as f64
        };
        assert!((of_type(1) - 0.6).abs() < 0.01 && (of_type(65) - 0.15).abs() < 0.01);
        let distinct = mix.distinct().packets.len();
        assert!(
            (100_000..400_000).contains(&distinct),
            "{distinct} distinct"
        );
    }
}
