//! Root, top-level domain and the zones of the table, signed and changed.

use std::{collections::BTreeMap, net::Ipv4Addr, path::Path, thread};

use super::{
    changes::change,
    signers::{SignedZone, SigningFolder},
    table::{BrokenZone, good_zones, zones},
    text_record::TextRecord,
};

const TABLES: [&str; 2] = [include_str!("signatures.txt"), include_str!("denials.txt")];
/// Zones that are signed at the same time.
const AT_A_TIME: usize = 4;

/// What each zone of the table has.
const CONTENT: &str = "\
    @ 60 TXT apex\na 60 A 192.0.2.1\nalias 60 CNAME a\nb.ent 60 A 192.0.2.2\nm 60 TXT m\n\
    *.wild 60 A 192.0.2.3\nz 60 A 192.0.2.4\nsub 3600 NS ns.example.\n";
/// What the zones have that are not signed.
const PLAIN_CONTENT: &str = "a 60 A 192.0.2.9\n";

/// Signed zones in files.
pub struct Hierarchy {
    /// The zones of the table.
    pub zones: Vec<BrokenZone>,
    /// All zones by name and file.
    pub files: Vec<(String, String)>,
    /// Trust anchors: the DS record of the root, and those of the zones with the term `anchor`.
    pub anchors: Vec<String>,
}

/// The zones above those of the table.
fn above(address: Ipv4Addr) -> Vec<BrokenZone> {
    zones(&format!(
        "way -\nzone example. ldns 13 nsec\nbare\nadd ns 3600 A {address}\n\n\
         way -\nzone . ldns 13 nsec\nbare\nadd ns.example. 3600 A {address}"
    ))
}

/// Builds all zones in a folder. One server at this address has them all.
pub fn build(path: &Path, address: Ipv4Addr) -> Hierarchy {
    let folder = SigningFolder::new(path);
    let mut table: Vec<BrokenZone> = TABLES.iter().flat_map(|text| zones(text)).collect();
    table.extend(good_zones());
    let mut all: Vec<BrokenZone> = table.iter().cloned().chain(above(address)).collect();
    all.sort_by_key(|zone| std::cmp::Reverse(depth(zone)));
    let mut delegations: BTreeMap<String, String> = BTreeMap::new();
    let mut ready: BTreeMap<String, Vec<TextRecord>> = BTreeMap::new();
    let mut anchors = Vec::new();
    // A zone needs the DS records of the zones below it.
    for level in all.chunk_by(|a, b| depth(a) == depth(b)) {
        for zone in level {
            let below = delegations.get(&zone.name).map_or("", String::as_str);
            folder.write(&format!("{}zone", zone.name), &(unsigned(zone) + below));
        }
        for (zone, signed) in level.iter().zip(sign_all(&folder, level)) {
            let digests = folder.delegation_digests(zone, &signed);
            let mut digests: String = digests.iter().map(TextRecord::to_string).collect();
            let (_, parent) = zone.name.split_once('.').expect("the name ends with a dot");
            if zone.name == "." || zone.term("anchor").is_some() {
                anchors.push(digests.trim().to_owned());
                digests.clear();
            }
            let parent = if parent.is_empty() { "." } else { parent };
            *delegations.entry(parent.to_owned()).or_default() +=
                &format!("{} 3600 IN NS ns.example.\n{digests}", zone.name);
            ready.insert(zone.name.clone(), signed.records);
        }
    }
    let mut files = Vec::new();
    for zone in &all {
        let others = |name: &str| ready[name].clone();
        let records = change(&folder, zone, ready[&zone.name].clone(), &others);
        let text: String = records.iter().map(TextRecord::to_string).collect();
        files.push(save(&folder, &zone.name, &text));
        let below = format!("sub.{}", zone.name);
        if zone
            .queries
            .iter()
            .any(|query| query.name.ends_with(&below))
        {
            let text = content(&below, PLAIN_CONTENT);
            files.push(save(&folder, &below, &text));
        }
    }
    Hierarchy {
        zones: table,
        files,
        anchors,
    }
}

fn sign_all(folder: &SigningFolder, level: &[BrokenZone]) -> Vec<SignedZone> {
    let part = level.len().div_ceil(AT_A_TIME);
    thread::scope(|scope| {
        let signing: Vec<_> = level
            .chunks(part)
            .map(|zones| {
                scope.spawn(move || {
                    let signed = zones.iter().map(|zone| folder.sign(zone));
                    signed.collect::<Vec<SignedZone>>()
                })
            })
            .collect();
        let signed = signing
            .into_iter()
            .map(|part| part.join().expect("all are signed"));
        signed.flatten().collect()
    })
}

fn save(folder: &SigningFolder, name: &str, text: &str) -> (String, String) {
    let file = format!("{name}served");
    folder.write(&file, text);
    (name.to_owned(), file)
}

/// How many labels are above a zone.
fn depth(zone: &BrokenZone) -> usize {
    zone.name
        .split('.')
        .filter(|label| !label.is_empty())
        .count()
}

fn unsigned(zone: &BrokenZone) -> String {
    let mut text = if zone.term("bare").is_some() {
        String::new()
    } else {
        CONTENT.to_owned()
    };
    for term in zone.terms.iter().filter(|term| term[0] == "add") {
        text += &(term[1..].join(" ") + "\n");
    }
    content(&zone.name, &text)
}

/// A zone with these records, whose names are relative to it.
fn content(apex: &str, records: &str) -> String {
    let absolute = |name: &str| match name {
        "@" => apex.to_owned(),
        name if name.ends_with('.') => name.to_owned(),
        name => format!("{name}.{apex}"),
    };
    let soa =
        "@ 3600 SOA ns.example. hostmaster.example. 1 3600 600 86400 60\n@ 3600 NS ns.example.\n";
    let lines = soa.lines().chain(records.lines());
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let data = match &words[3..] {
                [target] if words[2] == "CNAME" => absolute(target),
                data => data.join(" "),
            };
            format!(
                "{} {} IN {} {data}\n",
                absolute(words[0]),
                words[1],
                words[2]
            )
        })
        .collect()
}
