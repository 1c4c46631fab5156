//! The recursor compared with hickory's, on thousands of names of one simulated Internet. Every
//! difference must be a known one.

use hickory_proto::rr::{Name, RecordType};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::world::{Internet, Oracle, World, seed};

/// Zones, under four top-level domains.
const ZONES: usize = 250;
/// Concurrent queries.
const AT_A_TIME: usize = 16;
/// The queries in each zone: names relative to it, and types.
const NAMES: &[&str] = &[
    "@",
    "www",
    "alias",
    "twice",
    "far",
    "nowhere",
    "dangling",
    "any.wild",
    "a.b.wild",
    "deep.er",
    "x.deep.er",
    "mail",
    "gone",
    "_srv._tcp",
    "sub",
    "host.sub",
];
const TYPES: [RecordType; 6] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::MX,
    RecordType::TXT,
    RecordType::CNAME,
    RecordType::NS,
];

/// The zone with this number; its aliases lead into the next one.
fn zone(number: usize) -> (String, String) {
    let name = |number: usize| format!("z{number}.{}.", ["com", "net", "test", "co"][number % 4]);
    let next = name((number + 1) % ZONES);
    let host = number % 200 + 1;
    let records = format!(
        "@ 300 A 192.0.2.{host}\n@ 300 MX 10 mail\n@ 300 TXT \"zone {number}\"\nwww 300 A 192.0.2.{host}\nwww 300 AAAA 2001:db8::{host:x}\n\
         alias 300 CNAME www\ntwice 300 CNAME alias\nfar 300 CNAME alias.{next}\nnowhere 300 CNAME gone.{next}\ndangling 300 CNAME mail\n\
         *.wild 300 A 192.0.2.250\nx.deep.er 300 TXT \"deep\"\nmail 300 A 192.0.2.25\n_srv._tcp 300 SRV 1 1 443 www\n"
    );
    (name(number), records)
}

/// Known differences in which this recursor is right. The servers here deny `wild`, which has only
/// a wildcard below it and therefore exists (RFC 4592 section 2.2.2). hickory's recursor stops at
/// that denial; this one queries the whole name first.
fn is_known(name: &str, ours: &str, theirs: &str) -> bool {
    name.contains(".wild.") && ours == "192.0.2.250" && theirs == "NXDOMAIN"
}

#[tokio::test]
async fn thousands_of_names_are_found_as_hickory_finds_them() {
    let zones: Vec<(String, String)> = (0..ZONES).map(zone).collect();
    let parents = zones
        .iter()
        .map(|(apex, records)| (apex.as_str(), records.as_str()));
    // Every fifth zone has a child zone.
    let children: Vec<(String, String)> = zones
        .iter()
        .step_by(5)
        .map(|(apex, _)| {
            (
                format!("sub.{apex}"),
                "@ 60 A 192.0.2.201\nhost 60 A 192.0.2.202\n".to_owned(),
            )
        })
        .collect();
    let internet = Internet::new().zones(parents).zones(
        children
            .iter()
            .map(|(apex, records)| (apex.as_str(), records.as_str())),
    );
    let oracle = Oracle::new(&internet);
    let world = World::builder(internet).start().await;
    let oracle = &oracle;
    let home = &world.client("127.0.7.9");
    let mut chance = StdRng::seed_from_u64(seed());
    let mut questions: Vec<(Name, RecordType)> = Vec::new();
    for (apex, _) in &zones {
        for label in NAMES {
            let text = if *label == "@" {
                apex.clone()
            } else {
                format!("{label}.{apex}")
            };
            questions.push((
                Name::from_ascii(text).unwrap(),
                TYPES[chance.random_range(0..TYPES.len())],
            ));
        }
    }
    let mut differences = Vec::new();
    let mut asked = 0;
    for batch in questions.chunks(AT_A_TIME) {
        for (name, kind) in batch {
            let (ours, theirs) = tokio::join!(
                async { home.ask(&format!("{name} {kind}")).await },
                oracle.ask(name, *kind)
            );
            asked += 1;
            if ours != theirs && !is_known(&name.to_ascii(), &ours, &theirs) {
                differences.push(format!("{name} {kind}: ours {ours}, hickory's {theirs}"));
            }
        }
    }
    println!("{asked} questions, {} differences", differences.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
