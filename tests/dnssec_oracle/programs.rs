//! The three signers, and a zone for them.

use std::{env, fmt::Write as _, fs, path::Path, process::Command};

use data_encoding::HEXLOWER;
use rand::rngs::StdRng;
use tempfile::TempDir;

use crate::{
    ZONE,
    forms::{IN_FILES, random_set},
    wire::SignedSet,
};

/// Sets of a zone, beside those that a signer adds.
const SETS: usize = 4 * IN_FILES.len();
/// From the past into the future of every run, as BIND and ldns take them.
const TIMES: [&str; 2] = ["20200101000000", "20370101000000"];

/// Random sets, and a zone with them as a master file (RFC 3597 section 5).
pub fn random_zone(chance: &mut StdRng) -> (Vec<SignedSet>, String) {
    let mut text = format!(
        "{ZONE}. 3600 IN SOA Ns.{ZONE}. Host.{ZONE}. 1 7200 3600 1209600 300\n\
         {ZONE}. 3600 IN NS Ns.{ZONE}.\n{ZONE}. 3600 IN NS b.nS.{ZONE}.\n\
         Ns.{ZONE}. 60 IN A 192.0.2.1\nb.nS.{ZONE}. 60 IN A 192.0.2.2\n"
    );
    let sets: Vec<SignedSet> = (0..SETS)
        .map(|number| random_set(&format!("n{number}"), &IN_FILES, chance))
        .collect();
    for set in &sets {
        let owner = text_name(&set.owner);
        for item in &set.records {
            let (rtype, length) = (set.rtype, item.data.len());
            let data = HEXLOWER.encode(&item.data);
            writeln!(text, "{owner} 3600 IN TYPE{rtype} \\# {length} {data}").unwrap();
        }
    }
    (sets, text)
}

fn text_name(mut wire: &[u8]) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = wire.split_first().filter(|(length, _)| **length > 0) {
        let (label, below) = rest.split_at(usize::from(*length));
        text += &(String::from_utf8_lossy(label) + ".");
        wire = below;
    }
    text
}

/// Runs a tool, which may be an administrator's, in a folder. Returns what it prints.
fn run(folder: &Path, tool: &str, arguments: &[&str]) -> String {
    let path = format!("{}:/usr/sbin", env::var("PATH").unwrap_or_default());
    let output = Command::new(tool)
        .args(arguments)
        .env("PATH", path)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("{tool}, which `make tools` installs: {error}"));
    assert!(
        output.status.success(),
        "{tool} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn folder_with(zone: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("zone"), zone).unwrap();
    folder
}

/// The zone signed by ldns-signzone.
pub fn by_ldns(zone: &str, algorithm: u8) -> String {
    let folder = folder_with(zone);
    let key = run(
        folder.path(),
        "ldns-keygen",
        &["-a", mnemonic(algorithm), "-b", "2048", "-k", ZONE],
    );
    let times = ["-i", TIMES[0], "-e", TIMES[1], "-f", "signed", "zone", &key];
    run(folder.path(), "ldns-signzone", &times);
    fs::read_to_string(folder.path().join("signed")).unwrap()
}

/// The zone signed by BIND's dnssec-signzone.
pub fn by_bind(zone: &str, algorithm: u8) -> String {
    let folder = folder_with(zone);
    let mut arguments = vec!["-q", "-a", mnemonic(algorithm), "-f", "KSK"];
    if algorithm == 8 {
        arguments.extend(["-b", "2048"]);
    }
    arguments.push(ZONE);
    let key = run(folder.path(), "dnssec-keygen", &arguments);
    let text =
        zone.to_owned() + &fs::read_to_string(folder.path().join(format!("{key}.key"))).unwrap();
    fs::write(folder.path().join("zone"), text).unwrap();
    let arguments = ["-q", "-z", "-P", "-x", "-O", "full", "-o", ZONE];
    let times = ["-s", TIMES[0], "-e", TIMES[1], "-f", "signed", "zone", &key];
    run(
        folder.path(),
        "dnssec-signzone",
        &[&arguments[..], &times].concat(),
    );
    fs::read_to_string(folder.path().join("signed")).unwrap()
}

/// The zone signed by Knot's kzonesign.
pub fn by_knot(zone: &str, algorithm: u8) -> String {
    let folder = folder_with(zone);
    let name = mnemonic(algorithm).to_ascii_lowercase();
    let config = format!(
        "database:\n  storage: \"{folder}/db\"\npolicy:\n  - id: p\n    algorithm: {name}\n    \
         single-type-signing: on\n    rrsig-lifetime: 365d\n    rrsig-refresh: 30d\n    \
         cds-cdnskey-publish: none\nzone:\n  - domain: {ZONE}\n    storage: \"{folder}\"\n    \
         file: zone\n    dnssec-signing: on\n    dnssec-policy: p\n",
        folder = folder.path().display(),
    );
    fs::write(folder.path().join("conf"), config).unwrap();
    for inner in ["db", "out"] {
        fs::create_dir(folder.path().join(inner)).unwrap();
    }
    run(
        folder.path(),
        "kzonesign",
        &["-c", "conf", "-o", "out", ZONE],
    );
    fs::read_to_string(folder.path().join("out/zone")).unwrap()
}

fn mnemonic(algorithm: u8) -> &'static str {
    match algorithm {
        8 => "RSASHA256",
        13 => "ECDSAP256SHA256",
        14 => "ECDSAP384SHA384",
        15 => "ED25519",
        _ => panic!("the signers are not asked for algorithm {algorithm}"),
    }
}
