//! Zones by three signers that are broken in all ways that a zone file can express, and good ones of
//! each algorithm and denial: the resolver tells secure from insecure from bogus, and why. Unbound
//! and delv say the same, but for differences that an RFC explains.
//!
//! The table is in `broken_zones/signatures.txt` and `broken_zones/denials.txt`. What no zone file
//! that NSD serves can express has a test elsewhere: duplicate records, and data of other kinds in
//! any order (`recursor/dnssec/rrsig/tests.rs`), unknown flags of NSEC3 records that are signed
//! (`nsec3/tests.rs`), signatures by a key without the Zone Key flag (`rrsig/tests.rs`), and a CNAME
//! that its DNAME does not synthesise (`recursor/scrub/tests.rs`).

mod changes;
mod hierarchy;
mod signers;
mod table;
mod text_record;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::Command,
    time::Duration,
};

use super::nsd;
use crate::world::{Client, Internet, Unbound, World, client, eventually};
use hierarchy::{Hierarchy, build};
use table::{BrokenZone, Finding, Validity, ZoneQuery};

/// Unbound queries no other port.
const DNS_PORT: u16 = 53;
/// delv processes at the same time.
const DELV_AT_A_TIME: usize = 4;

/// An address of this process for the authority, and a port: 53 where the process may bind it.
fn authority_address() -> (Ipv4Addr, u16) {
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 61, high, low.max(1));
    let is_free = |port| {
        TcpListener::bind((address, port)).is_ok() && UdpSocket::bind((address, port)).is_ok()
    };
    let free = || TcpListener::bind((address, 0)).and_then(|socket| socket.local_addr());
    match is_free(DNS_PORT) {
        true => (address, DNS_PORT),
        false => (address, free().expect("a free port").port()),
    }
}

fn all(hierarchy: &Hierarchy) -> impl Iterator<Item = (&BrokenZone, &ZoneQuery)> {
    let zones = hierarchy.zones.iter();
    zones.flat_map(|zone| zone.queries.iter().map(move |query| (zone, query)))
}

/// What a resolver says of a name, and its answer as text.
async fn found(client: &Client, query: &ZoneQuery) -> (Finding, String) {
    let question = format!("{} {}", query.name, query.rtype);
    let reply = client.reply(&question).await;
    let reply = reply.unwrap_or_else(|| panic!("{question}: no reply"));
    let text = reply.to_string();
    let validity = if text == "SERVFAIL" {
        Validity::Bogus
    } else if reply.message.metadata.authentic_data {
        Validity::Secure
    } else {
        Validity::Insecure
    };
    let code = reply.extended_errors().first().map(|error| error.code);
    (Finding { validity, code }, text)
}

/// What delv says, which validates by itself and has its data from a resolver that does not check.
fn found_by_delv(resolver: SocketAddr, anchors: &Path, query: &ZoneQuery) -> Validity {
    let output = Command::new("delv")
        .arg(format!("@{}", resolver.ip()))
        .args(["-p", &resolver.port().to_string(), "+root=.", "-a"])
        .arg(anchors)
        .args([&query.name, &query.rtype])
        .output()
        .unwrap_or_else(|error| panic!("delv, which `make test` installs: {error}"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    if text.contains("unsigned answer") {
        Validity::Insecure
    } else if text.contains("fully validated") {
        Validity::Secure
    } else if text.contains("resolution failed") {
        Validity::Bogus
    } else {
        panic!("{} {}: delv says {text}", query.name, query.rtype)
    }
}

/// The trust anchors as delv reads them. It uses that of the root.
fn delv_anchors(anchors: &[String]) -> String {
    let entries = anchors.iter().map(|anchor| {
        let fields: Vec<&str> = anchor.split_whitespace().collect();
        let [zone, .., tag, algorithm, digest_type, digest] = fields[..] else {
            panic!("{anchor:?} is no DS record");
        };
        format!("{zone} static-ds {tag} {algorithm} {digest_type} \"{digest}\"; ")
    });
    format!("trust-anchors {{ {} }};\n", entries.collect::<String>())
}

/// Compares with Unbound and with delv.
async fn compare(folder: &Path, hints: &str, hierarchy: &Hierarchy, answers: &[String]) {
    let unbound = Unbound::start_validating(hints, &hierarchy.anchors).await;
    let home = unbound.client("127.0.7.9").with_dnssec().over_tcp();
    let mut differences = Vec::new();
    for ((_, query), answer) in all(hierarchy).zip(answers) {
        let (finding, text) = found(&home, query).await;
        let is_same =
            finding == query.expected && (finding.validity == Validity::Bogus || text == *answer);
        if !is_same && !query.unbound.contains(&finding) {
            differences.push(format!(
                "{} {}: {finding:?} {text}",
                query.name, query.rtype
            ));
        }
    }
    assert!(differences.is_empty(), "Unbound: {differences:#?}");
    let anchors = folder.join("delv.anchors");
    fs::write(&anchors, delv_anchors(&hierarchy.anchors)).unwrap();
    let queries: Vec<&ZoneQuery> = all(hierarchy).map(|(_, query)| query).collect();
    let part = queries.len().div_ceil(DELV_AT_A_TIME);
    let (anchors, address) = (&anchors, unbound.address());
    let differences: Vec<String> = std::thread::scope(|scope| {
        let parts = queries.chunks(part).map(|queries| {
            scope.spawn(move || {
                let differing = queries.iter().filter_map(|query| {
                    let expected = query.delv.unwrap_or(query.expected.validity);
                    let found = found_by_delv(address, anchors, query);
                    (found != expected)
                        .then(|| format!("{} {}: {found:?}", query.name, query.rtype))
                });
                differing.collect::<Vec<String>>()
            })
        });
        let parts: Vec<_> = parts.collect();
        let found = parts
            .into_iter()
            .map(|part| part.join().expect("delv runs"));
        found.flatten().collect()
    });
    assert!(differences.is_empty(), "delv: {differences:#?}");
}

#[test]
fn every_difference_in_the_table_has_its_reason() {
    let zones = [
        include_str!("broken_zones/signatures.txt"),
        include_str!("broken_zones/denials.txt"),
    ];
    let zones: Vec<BrokenZone> = zones.iter().flat_map(|text| table::zones(text)).collect();
    assert!(zones.len() >= 100);
    for zone in &zones {
        assert!(!zone.queries.is_empty(), "{}", zone.name);
        assert!(zone.way.starts_with("RFC "), "{}: {}", zone.name, zone.way);
        for query in &zone.queries {
            let differs = !query.unbound.is_empty() || query.delv.is_some();
            assert_eq!(differs, query.because.contains("RFC "), "{}", query.name);
            assert!(!query.unbound.contains(&query.expected), "{}", query.name);
            assert_ne!(query.delv, Some(query.expected.validity), "{}", query.name);
        }
    }
}

#[tokio::test]
async fn broken_zones_are_told_from_good_ones_as_unbound_and_delv_do() {
    let folder = tempfile::tempdir().unwrap();
    let (address, port) = authority_address();
    let hierarchy = build(folder.path(), address);
    let at = format!("{address}@{port}");
    let _nsd = nsd::serve_at(folder.path(), &at, &hierarchy.files);
    let authority = client("127.0.7.9")
        .to((address, port).into())
        .with_timeout(Duration::from_millis(300));
    eventually("NSD answers", Duration::from_secs(60), async || {
        authority.ask("a.forged.example. A").await == "192.0.2.1"
    })
    .await;
    let hints = format!(". 3600000 NS ns.example.\nns.example. 3600000 A {address}\n");
    let file = folder.path().join("hints");
    fs::write(&file, &hints).unwrap();
    let recursion = format!(
        "[recursion]\nroot_hints = {file:?}\nauthority_port = {port}\ndnssec = true\n\
         trust_anchors = {:?}\n",
        hierarchy.anchors
    );
    let world = World::builder(Internet::new())
        .config(&recursion)
        .start()
        .await;
    let home = world.client("127.0.7.9").with_dnssec().over_tcp();
    let mut differences = Vec::new();
    let mut answers = Vec::new();
    for (zone, query) in all(&hierarchy) {
        let (finding, text) = found(&home, query).await;
        if finding != query.expected {
            differences.push(format!(
                "{} {} ({}): {finding:?} {text}, not {:?}",
                query.name, query.rtype, zone.way, query.expected
            ));
        }
        answers.push(text);
    }
    println!("{} zones, {} queries", hierarchy.zones.len(), answers.len());
    assert!(differences.is_empty(), "{differences:#?}");
    if port == DNS_PORT && Unbound::is_installed() {
        compare(folder.path(), &hints, &hierarchy, &answers).await;
    }
}
