//! Aggressive use of the validated cache (RFC 8198, RFC 8020): which names the resolver answers
//! without a query to their zone, with signed zones that NSD serves and a relay in front of it that
//! counts.

use std::{fs, time::Duration};

use hickory_proto::rr::{RData, Record, RecordType};

use self::relay::Relay;
use super::{
    dnssec::{Unsigned, seen, sign},
    nsd::{self, Nsd},
};
use crate::world::{Client, Internet, Switch::*, World, client, eventually};

mod relay;

/// NSD, the relay, and the resolver.
struct Signed {
    world: World,
    home: Client,
    authority: Client,
    relay: Relay,
    _nsd: Nsd,
    folder: tempfile::TempDir,
}

/// A signed root and `example.`, which is signed with Opt-Out; below it `nsec.example.`,
/// `hashed.example.`, and `plain.example.` without signatures. `keys` are further keys of
/// `[recursion]`.
async fn start(keys: &str) -> Signed {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let port = nsd::free_port();
    let records = |zone: &str| {
        format!(
            "alpha.{zone} 60 IN A 192.0.2.10\nlima.{zone} 60 IN A 192.0.2.11\n\
             *.wild.{zone} 60 IN A 192.0.2.12\nin.out.{zone} 60 IN A 192.0.2.13\n"
        )
    };
    let zones = [("nsec.example.", &[][..]), ("hashed.example.", &["-n"])];
    let mut delegations = "plain.example. 3600 IN NS ns.example.\n".to_owned();
    for (name, arguments) in zones {
        let records = records(name);
        let ds = sign(path, &unsigned(name, records, arguments));
        delegations += &format!("{name} 3600 IN NS ns.example.\n{ds}\n");
    }
    let server = format!("ns.example. 3600 IN A {}\n", relay::ADDRESS);
    delegations += &server;
    let plain = "plain.example. 3600 IN SOA ns.example. h.example. 1 3600 600 86400 60\n\
         plain.example. 3600 IN NS ns.example.\n";
    fs::write(path.join("plain.example.zone"), plain).unwrap();
    let ds = sign(path, &unsigned("example.", delegations, &["-n", "-p"]));
    let glue = format!("example. 3600 IN NS ns.example.\n{ds}\n{server}");
    let anchor = sign(path, &unsigned(".", glue, &[]));
    let anchor = anchor.trim().replace('\t', " ");
    let mut files: Vec<(String, String)> = ["nsec.example.", "hashed.example.", "example.", "."]
        .map(|name| (name.to_owned(), format!("{name}zone.signed")))
        .into();
    files.push(("plain.example.".to_owned(), "plain.example.zone".to_owned()));
    let nsd = nsd::serve(path, port, &files);
    let address = format!("{}:{port}", nsd::ADDRESS).parse().unwrap();
    let authority = client("127.0.7.9")
        .to(address)
        .with_timeout(Duration::from_millis(300))
        .with_dnssec();
    eventually("NSD answers", Duration::from_secs(20), async || {
        authority.ask("alpha.nsec.example. A").await == "192.0.2.10"
    })
    .await;
    let authority = authority.with_timeout(Duration::from_secs(20));
    let relay = Relay::start(port, address).await;
    let hints = path.join("hints");
    let text = format!(
        ". 3600000 NS ns.example.\nns.example. 3600000 A {}\n",
        relay::ADDRESS
    );
    fs::write(&hints, text).unwrap();
    let recursion = format!(
        "[recursion]\nroot_hints = {hints:?}\nauthority_port = {port}\ndnssec = true\n\
         trust_anchors = [\"{anchor}\"]\n{keys}"
    );
    let world = World::builder(Internet::new())
        .listing("gambling", "bets.nsec.example")
        .config(&recursion)
        .start()
        .await;
    Signed {
        home: world.client("127.0.7.9").with_dnssec(),
        world,
        authority,
        relay,
        _nsd: nsd,
        folder,
    }
}

fn unsigned(name: &'static str, records: String, arguments: &'static [&'static str]) -> Unsigned {
    Unsigned {
        name,
        records,
        arguments,
    }
}

/// Names that no zone has, spread over the alphabet and over hashes.
fn random_names(zone: &str, count: u64) -> impl Iterator<Item = String> {
    let label = |number: u64| {
        let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed
            .to_be_bytes()
            .map(|octet| char::from(b'a' + octet % 26))
            .iter()
            .collect::<String>()
    };
    (0..count).map(move |number| format!("{}.{zone} A", label(number)))
}

impl Signed {
    /// Asks for names that do not exist. Returns how many queries for names of the zone that caused.
    async fn flood(&self, zone: &str, count: u64) -> usize {
        let before = self.relay.queries(zone);
        for question in random_names(zone, count) {
            assert_eq!(self.home.ask(&question).await, "NXDOMAIN", "{question}");
        }
        self.relay.queries(zone) - before
    }

    async fn synthesised(&self, kind: &str) -> f64 {
        let name = "ox_protect_aggressive_nsec_total";
        self.world.api.metric_of(name, &[("kind", kind)]).await
    }
}

/// The records of the authority section that prove a denial, without TTLs, in any order.
fn proof(records: &[Record]) -> Vec<String> {
    let is_of_servers = |record: &&Record| {
        // The type that a signature covers comes first, RFC 4034 section 3.1.
        let covers_ns = matches!(&record.data, RData::Unknown { code: RecordType::RRSIG, rdata }
            if rdata.anything.starts_with(&[0, 2]));
        record.record_type() != RecordType::NS && !covers_ns
    };
    let mut lines: Vec<String> = records
        .iter()
        .filter(is_of_servers)
        .map(|record| format!("{} {} {}", record.name, record.record_type(), record.data))
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn a_flood_of_random_names_stops_at_the_cached_proofs_of_its_zone() {
    let signed = start("").await;
    // A zone has no more spans than names, and each query teaches one at least.
    for zone in ["nsec.example.", "hashed.example."] {
        let queries = signed.flood(zone, 300).await;
        assert!(queries <= 30, "{queries} queries in {zone}");
        let last = random_names(zone, 300).last().unwrap();
        let seen = seen(&signed.home, &last).await;
        assert_eq!(seen, ("NXDOMAIN".to_owned(), true, None), "{zone}");
    }
    assert!(signed.synthesised("nxdomain").await >= 540.0);
    // An unsigned delegation may be in a span with Opt-Out, and nothing is proved of plain zones.
    for zone in ["example.", "plain.example."] {
        let queries = signed.flood(zone, 40).await;
        assert!(queries >= 40, "{queries} queries in {zone}");
    }
}

#[tokio::test]
async fn synthesised_answers_carry_the_proof_that_the_authority_gives() {
    let signed = start("").await;
    for zone in ["nsec.example.", "hashed.example."] {
        signed.flood(zone, 40).await;
        // The wildcard itself must be known, and the names below it denied.
        assert_eq!(
            signed.home.ask(&format!("x.wild.{zone} A")).await,
            "192.0.2.12"
        );
        signed.home.ask(&format!("x.wild.{zone} TXT")).await;
        signed.home.ask(&format!("out.{zone} TXT")).await;
        signed.home.ask(&format!("lima.{zone} TXT")).await;
        let before =
            signed.relay.queries("nsec.example.") + signed.relay.queries("hashed.example.");
        for (question, kind) in [
            ("mike", "nxdomain"),
            ("deeper.and.deeper.mike", "nxdomain"),
            ("lima AAAA", "nodata"),
            ("out AAAA", "nodata"),
            ("other.wild AAAA", "nodata"),
            ("other.wild A", "wildcard"),
            ("b.other.wild A", "wildcard"),
        ] {
            let (label, rtype) = question.split_once(' ').unwrap_or((question, "A"));
            let question = format!("{label}.{zone} {rtype}");
            let counted = signed.synthesised(kind).await;
            let reply = signed.home.reply(&question).await.expect("a reply");
            let truth = signed.authority.reply(&question).await.expect("a reply");
            assert_eq!(reply.to_string(), truth.to_string(), "{question}");
            assert!(reply.message.metadata.authentic_data, "{question}");
            assert_eq!(signed.synthesised(kind).await, counted + 1.0, "{question}");
            assert_eq!(
                proof(&reply.message.authorities),
                proof(&truth.message.authorities),
                "{question}"
            );
            assert_eq!(
                proof(&reply.message.answers),
                proof(&truth.message.answers),
                "{question}"
            );
            let records = reply.message.authorities.iter();
            assert!(
                records
                    .map(|record| record.ttl)
                    .all(|ttl| (1..=60).contains(&ttl))
            );
            // Without DO, the proofs stay behind.
            let plain = signed.world.client("127.0.7.9").reply(&question).await;
            let plain = plain.expect("a reply");
            assert_eq!(plain.to_string(), truth.to_string(), "{question}");
            assert!(plain.message.authorities.len() <= 1, "{question}");
        }
        let after = signed.relay.queries("nsec.example.") + signed.relay.queries("hashed.example.");
        assert_eq!(after, before, "{zone}");
    }
}

#[tokio::test]
async fn a_block_holds_for_a_name_that_a_cached_proof_denies() {
    let signed = start("").await;
    signed.flood("nsec.example.", 40).await;
    let before = signed.relay.queries("nsec.example.");
    let question = "www.bets.nsec.example. A";
    assert_eq!(signed.home.ask(question).await, "NXDOMAIN");
    signed.world.toggle("home", "gambling", Block).await;
    for question in [question, "bets.nsec.example. A"] {
        let reply = signed.home.reply(question).await.expect("a reply");
        assert_eq!(reply.to_string(), "blocked: gambling");
        assert!(!reply.message.metadata.authentic_data);
    }
    assert_eq!(signed.relay.queries("nsec.example."), before);
}

#[tokio::test]
async fn without_the_keys_each_name_is_queried_for_at_its_zone() {
    let signed = start("aggressive_nsec = false\nharden_below_nxdomain = false\n").await;
    for zone in ["nsec.example.", "hashed.example."] {
        let queries = signed.flood(zone, 20).await;
        assert!(queries >= 20, "{queries} queries in {zone}");
        let below = random_names(zone, 1).next().unwrap();
        let before = signed.relay.queries(zone);
        assert_eq!(signed.home.ask(&format!("x.{below}")).await, "NXDOMAIN");
        assert!(signed.relay.queries(zone) > before);
    }
    assert!(signed.folder.path().exists());
}

#[tokio::test]
async fn below_a_name_that_provably_does_not_exist_nothing_exists() {
    let signed = start("aggressive_nsec = false\n").await;
    for (zone, is_secure) in [
        ("nsec.example.", true),
        ("hashed.example.", true),
        ("example.", false),
        ("plain.example.", false),
    ] {
        let gone = random_names(zone, 1).next().unwrap();
        assert_eq!(signed.home.ask(&gone).await, "NXDOMAIN", "{gone}");
        let before = signed.relay.queries(zone);
        for question in [format!("x.{gone}"), format!("y.x.{gone}AAA")] {
            let seen = seen(&signed.home, &question).await;
            assert_eq!(seen, ("NXDOMAIN".to_owned(), is_secure, None), "{question}");
        }
        assert_eq!(signed.relay.queries(zone) == before, is_secure, "{zone}");
    }
    assert_eq!(signed.synthesised("below-nxdomain").await, 4.0);
}
