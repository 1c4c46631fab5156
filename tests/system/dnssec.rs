//! DNSSEC with zones that a real signer signed and a real authority serves: what is secure, insecure
//! and bogus, and what filtering makes of it.

use std::{fs, path::Path, process::Command, time::Duration};

use hickory_proto::op::ResponseCode;

use super::nsd::{self, ADDRESS};
use crate::world::{Client, Internet, Switch::*, World, WorldBuilder, client, eventually};

mod bad_day;
mod negative_anchors;
mod rollover;

/// A zone of the test, before it is signed.
pub(super) struct Unsigned {
    pub(super) name: &'static str,
    pub(super) records: String,
    /// Further arguments of the signer.
    pub(super) arguments: &'static [&'static str],
}

/// Runs one of the tools of ldns in a folder. Returns what it prints.
fn ldns(folder: &Path, tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("{tool}, which `make test` installs: {error}"));
    assert!(
        output.status.success(),
        "{tool} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("the tool prints text")
}

/// Makes a key for the keys of a zone. Returns the name of its files.
fn make_key(folder: &Path, zone: &str) -> String {
    let arguments = ["-a", "ECDSAP256SHA256", "-k", zone];
    let key = ldns(folder, "ldns-keygen", &arguments);
    key.trim().to_owned()
}

/// Signs a zone with a key of its own. Returns its DS record.
pub(super) fn sign(folder: &Path, zone: &Unsigned) -> String {
    let key = make_key(folder, zone.name);
    sign_with(folder, zone, &key);
    fs::read_to_string(folder.join(format!("{key}.ds"))).unwrap()
}

/// Signs a zone with this key.
fn sign_with(folder: &Path, zone: &Unsigned, key: &str) {
    let file = format!("{}zone", zone.name);
    let soa = "3600 IN SOA ns.example. hostmaster.example. 1 3600 600 86400 60";
    let text = format!(
        "{name} {soa}\n{name} 3600 IN NS ns.example.\n{records}",
        name = zone.name,
        records = zone.records
    );
    fs::write(folder.join(&file), text).unwrap();
    let signed = format!("{file}.signed");
    let arguments = [zone.arguments, &["-f", &signed, &file, key]].concat();
    ldns(folder, "ldns-signzone", &arguments);
}

/// A signed root, top-level domain and zones. Returns the zones with their files, and the anchor.
fn signed_internet(folder: &Path) -> (Vec<(String, String)>, String) {
    let zone = |name, records: &str, arguments| Unsigned {
        name,
        records: records.to_owned(),
        arguments,
    };
    let children = [
        zone(
            "ok.example.",
            "a.ok.example. 60 IN A 192.0.2.10\n*.wild.ok.example. 60 IN A 192.0.2.11\n\
             out.ok.example. 60 IN CNAME www.plain.example.\nbad.ok.example. 60 IN CNAME a.wrong.example.\n",
            &[][..],
        ),
        zone(
            "hashed.example.",
            "a.hashed.example. 60 IN A 192.0.2.12\n",
            &["-n"][..],
        ),
        zone(
            "wrong.example.",
            "a.wrong.example. 60 IN A 192.0.2.30\n",
            &[][..],
        ),
        zone(
            "expired.example.",
            "a.expired.example. 60 IN A 192.0.2.31\n",
            &["-i", "20200101000000", "-e", "20200201000000"][..],
        ),
    ];
    let mut delegations = "plain.example. 3600 IN NS ns.example.\n".to_owned();
    let registry = bad_day::registry(&[]);
    for child in children.iter().chain([&registry]) {
        let ds = sign(folder, child);
        delegations += &format!("{} 3600 IN NS ns.example.\n{ds}\n", child.name);
    }
    delegations += &format!("ns.example. 3600 IN A {ADDRESS}\n");
    // What the signature says is not what the zone says.
    let wrong = folder.join("wrong.example.zone.signed");
    let text = fs::read_to_string(&wrong).unwrap();
    assert!(text.contains("192.0.2.30"));
    fs::write(&wrong, text.replace("192.0.2.30", "192.0.2.99")).unwrap();
    let plain = "plain.example. 3600 IN SOA ns.example. h.example. 1 3600 600 86400 60\n\
         plain.example. 3600 IN NS ns.example.\nwww.plain.example. 60 IN A 192.0.2.20\n";
    fs::write(folder.join("plain.example.zone"), plain).unwrap();
    let ds = sign(folder, &zone("example.", &delegations, &["-n", "-p"][..]));
    let glue = format!("example. 3600 IN NS ns.example.\n{ds}\nns.example. 3600 IN A {ADDRESS}\n");
    // A key of the root that does not sign yet.
    let next = make_key(folder, ".");
    let next = fs::read_to_string(folder.join(format!("{next}.key"))).unwrap();
    let anchor = sign(folder, &zone(".", &format!("{glue}{next}"), &[][..]));
    let mut zones: Vec<(String, String)> = children
        .iter()
        .map(|child| child.name)
        .chain([registry.name, "example.", "."])
        .map(|name| (name.to_owned(), format!("{name}zone.signed")))
        .collect();
    zones.push(("plain.example.".to_owned(), "plain.example.zone".to_owned()));
    (zones, anchor.trim().replace('\t', " "))
}

/// The answer, AD, and the info-code of the Extended DNS Error.
pub(super) async fn seen(client: &Client, question: &str) -> (String, bool, Option<u16>) {
    let reply = client.reply(question).await.expect("a reply");
    let code = reply.extended_errors().first().map(|error| error.code);
    (
        reply.to_string(),
        reply.message.metadata.authentic_data,
        code,
    )
}

/// The signed Internet, served until this is dropped.
struct Signed {
    nsd: nsd::Nsd,
    folder: tempfile::TempDir,
}

/// Serves the signed Internet. Returns a world that validates it.
async fn signed_world(keys: &str) -> (Signed, WorldBuilder) {
    let folder = tempfile::tempdir().unwrap();
    let port = nsd::free_port();
    let (zones, anchor) = signed_internet(folder.path());
    let nsd = nsd::serve(folder.path(), port, &zones);
    let authority = client("127.0.7.9")
        .to(format!("{ADDRESS}:{port}").parse().unwrap())
        .with_timeout(Duration::from_millis(300));
    eventually("NSD answers", Duration::from_secs(20), async || {
        authority.ask("a.ok.example. A").await == "192.0.2.10"
    })
    .await;
    let hints = folder.path().join("hints");
    let text = format!(". 3600000 NS ns.example.\nns.example. 3600000 A {ADDRESS}\n");
    fs::write(&hints, text).unwrap();
    let recursion = format!(
        "[recursion]\nroot_hints = {hints:?}\nauthority_port = {port}\ndnssec = true\n\
         trust_anchors = [\"{anchor}\"]\n{keys}"
    );
    let world = World::builder(Internet::new()).config(&recursion);
    (Signed { nsd, folder }, world)
}

#[tokio::test]
async fn signed_zones_are_secure_insecure_or_bogus_as_they_are() {
    let (_signed, world) = signed_world("").await;
    let world = world
        .listing("gambling", "a.wrong.example")
        .listing("gambling", "a.ok.example")
        .start()
        .await;
    let home = world.client("127.0.7.9").with_dnssec();
    for (question, answer, is_secure, code) in [
        ("a.ok.example. A", "192.0.2.10", true, None),
        ("a.ok.example. A", "192.0.2.10", true, None),
        ("x.wild.ok.example. A", "192.0.2.11", true, None),
        ("absent.ok.example. A", "NXDOMAIN", true, None),
        ("a.ok.example. AAAA", "NODATA", true, None),
        ("wild.ok.example. A", "NODATA", true, None),
        ("a.hashed.example. A", "192.0.2.12", true, None),
        ("absent.hashed.example. A", "NXDOMAIN", true, None),
        ("www.plain.example. A", "192.0.2.20", false, None),
        ("absent.plain.example. A", "NXDOMAIN", false, None),
        ("out.ok.example. A", "192.0.2.20", false, None),
        ("a.wrong.example. A", "SERVFAIL", false, Some(6)),
        ("a.wrong.example. A", "SERVFAIL", false, Some(6)),
        ("bad.ok.example. A", "SERVFAIL", false, Some(6)),
        ("a.expired.example. A", "SERVFAIL", false, Some(7)),
    ] {
        assert_eq!(
            seen(&home, question).await,
            (answer.to_owned(), is_secure, code),
            "{question}"
        );
    }
    // Nothing signs signatures, and they are not bogus for that.
    let signatures = home.reply("ok.example. RRSIG").await.expect("a reply");
    let metadata = &signatures.message.metadata;
    let code = (metadata.response_code, metadata.authentic_data);
    assert_eq!(code, (ResponseCode::NoError, false));
    // Who disables checking sees what is bogus, and no other client does.
    let unchecked = home.checking_disabled();
    assert_eq!(unchecked.ask("a.wrong.example. A").await, "192.0.2.99");
    assert_eq!(home.ask("a.wrong.example. A").await, "SERVFAIL");
    // Without DO, the answer has no signatures, and AD is for those who ask for it.
    let plain = world.client("127.0.7.9");
    assert_eq!(
        seen(&plain, "a.ok.example. A").await,
        ("192.0.2.10".to_owned(), false, None)
    );
    // A block by name needs no answer; one by an alias needs one that is not bogus.
    world.toggle("home", "gambling", Block).await;
    for name in ["a.wrong.example. A", "a.ok.example. A"] {
        let reply = home.reply(name).await.expect("a reply");
        assert_eq!(reply.to_string(), "blocked: gambling", "{name}");
        assert!(!reply.message.metadata.authentic_data, "{name}");
    }
    assert_eq!(home.ask("bad.ok.example. A").await, "SERVFAIL");
}

#[test]
fn each_class_of_fault_has_its_test() {
    let list = include_str!("dnssec/classes.txt");
    let mut tests = 0;
    for line in list.lines().filter(|line| line.starts_with(' ')) {
        let (file, name) = line.trim().split_once(' ').expect("a file and a name");
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(
            text.contains(&format!("fn {name}()")),
            "{file} has no {name}"
        );
        tests += 1;
    }
    assert!(tests >= 25, "{tests}");
}
