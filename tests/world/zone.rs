//! One zone of the simulated Internet: the text of a test and the generated records.
//!
//! A test writes only the records that matter to it. The rest is generated:
//!
//! ```text
//! SOA, apex NS                     unless the text has its own
//! addresses of name servers        in the zone that encloses the server's name
//! NS and glue of each child zone   glue only for servers named below the cut, as RFC 9471 requires of a parent
//! ```
//!
//! The test's own text has precedence, so that a test can also write a wrong delegation or leave
//! out an address. This file knows no sockets and no messages.

use std::collections::BTreeMap;

use hickory_proto::rr::{LowerName, Name, RData, Record, RecordSet, RecordType, RrKey};
use hickory_proto::serialize::txt::Parser;

/// All record sets of one zone, as hickory keeps them.
pub type Records = BTreeMap<RrKey, RecordSet>;

/// TTL of a record whose line has none, and of negative answers, in seconds.
const DEFAULT_TTL_S: u32 = 60;

/// TTL of generated delegations, glue and apex records, in seconds: an hour, longer than any test.
const GENERATED_TTL_S: u32 = 3600;

/// A zone as the test declared it, with its servers.
#[derive(Clone)]
pub struct Zone {
    pub apex: LowerName,
    /// Names of its servers.
    pub servers: Vec<Name>,
    written: Records,
    is_revoked: bool,
}

/// The children and the server names directly below each zone.
#[derive(Default)]
pub struct Below<'plan> {
    children: BTreeMap<LowerName, Vec<&'plan Zone>>,
    servers: BTreeMap<LowerName, Vec<&'plan Name>>,
}

impl<'plan> Below<'plan> {
    /// Finds the closest enclosing zone of each zone and each server.
    pub fn new(
        zones: &'plan BTreeMap<LowerName, Zone>,
        servers: impl Iterator<Item = &'plan Name>,
    ) -> Self {
        let mut below = Self::default();
        for child in zones
            .values()
            .filter(|zone| !zone.apex.is_root() && !zone.is_revoked)
        {
            if let Some(parent) = closest(zones, &child.apex.base_name()) {
                below
                    .children
                    .entry(parent.apex.clone())
                    .or_default()
                    .push(child);
            }
        }
        for server in servers {
            if let Some(zone) = closest(zones, &LowerName::from(server)) {
                below
                    .servers
                    .entry(zone.apex.clone())
                    .or_default()
                    .push(server);
            }
        }
        below
    }
}

impl Zone {
    /// Parses `records`, zone-file lines relative to `apex`.
    pub fn new(apex: &Name, servers: Vec<Name>, records: &str) -> Self {
        Self {
            apex: apex.into(),
            servers,
            written: parse(apex, records),
            is_revoked: false,
        }
    }

    /// Removes the delegation from the parent zone. The zone itself is served as before.
    pub fn revoke(&mut self) {
        self.is_revoked = true;
    }

    /// Replaces the written records; the servers stay.
    pub fn rewrite(&mut self, records: &str) {
        self.written = parse(&Name::from(&self.apex), records);
    }

    /// The complete zone, given what is below each zone of this Internet and the address of each
    /// name server.
    pub fn complete(&self, below: &Below, addresses: &BTreeMap<Name, String>) -> Records {
        let mut generated = self.start_of_authority();
        for server in below.servers.get(&self.apex).into_iter().flatten() {
            generated += &address_line(server, addresses);
        }
        for child in below.children.get(&self.apex).into_iter().flatten() {
            generated += &child.name_server_lines();
            let below_the_cut = |server: &&Name| child.apex.zone_of(&LowerName::from(*server));
            for server in child.servers.iter().filter(below_the_cut) {
                generated += &address_line(server, addresses);
            }
        }
        let mut complete = self.written.clone();
        for (key, set) in parse(&Name::from(&self.apex), &generated) {
            complete.entry(key).or_insert(set);
        }
        complete
    }

    fn start_of_authority(&self) -> String {
        let primary = self
            .servers
            .first()
            .expect("every zone is declared with a server");
        format!(
            "@ {GENERATED_TTL_S} SOA {primary} hostmaster.{primary} 1 3600 600 86400 {DEFAULT_TTL_S}\n{}",
            self.name_server_lines()
        )
    }

    fn name_server_lines(&self) -> String {
        self.servers
            .iter()
            .map(|server| format!("{} {GENERATED_TTL_S} NS {server}\n", Name::from(&self.apex)))
            .collect()
    }
}

/// The zone that encloses `name` most closely.
pub fn closest<'zones, T>(
    zones: &'zones BTreeMap<LowerName, T>,
    name: &LowerName,
) -> Option<&'zones T> {
    let mut enclosing = name.clone();
    loop {
        if let Some(zone) = zones.get(&enclosing) {
            return Some(zone);
        }
        if enclosing.is_root() {
            return None;
        }
        enclosing = enclosing.base_name();
    }
}

/// The NS set at the highest zone cut strictly below `apex` and at or above `name`, if there is
/// one.
///
/// A DS query for the cut itself belongs to the parent (RFC 4035 section 3.1.4.1), so it has no cut
/// there.
pub fn cut_above<'records>(
    records: &'records Records,
    apex: &LowerName,
    name: &LowerName,
    kind: RecordType,
) -> Option<&'records RecordSet> {
    let mut highest = None;
    let mut cut = name.clone();
    while cut != *apex && !cut.is_root() {
        let asked_of_the_parent = kind == RecordType::DS && cut == *name;
        if let Some(set) = records
            .get(&RrKey::new(cut.clone(), RecordType::NS))
            .filter(|_| !asked_of_the_parent)
        {
            highest = Some(set);
        }
        cut = cut.base_name();
    }
    highest
}

/// The addresses that a zone has for the targets of `name_servers`.
pub fn glue(records: &Records, name_servers: &[Record]) -> Vec<Record> {
    let targets = name_servers.iter().filter_map(|record| match &record.data {
        RData::NS(target) => Some(LowerName::from(&target.0)),
        _ => None,
    });
    let keys = targets.flat_map(|target| {
        [RecordType::A, RecordType::AAAA].map(|kind| RrKey::new(target.clone(), kind))
    });
    keys.filter_map(|key| records.get(&key))
        .flat_map(|set| set.records_without_rrsigs().cloned())
        .collect()
}

/// Parses zone-file lines. They are trimmed, so that a test may indent them; therefore each must
/// have its owner.
pub fn parse(origin: &Name, text: &str) -> Records {
    let lines: Vec<String> = text
        .lines()
        .map(|line| with_origin_spelled_out(line.trim(), origin))
        .collect();
    let whole = format!("$TTL {DEFAULT_TTL_S}\n{}\n", lines.join("\n"));
    match Parser::new(whole, None, Some(origin.clone())).parse() {
        Ok((_, records)) => records,
        Err(error) => panic!("zone {origin}: {error} in\n{text}"),
    }
}

/// `www CNAME @` is valid by RFC 1035, but hickory's parser accepts `@` only as an owner.
fn with_origin_spelled_out(line: &str, origin: &Name) -> String {
    let (owner, data) = line.split_at(line.find(char::is_whitespace).unwrap_or(line.len()));
    let quotes = data.contains('"');
    let word = |piece: &str| match piece.trim() {
        "@" if !quotes => format!("{origin} "),
        _ => piece.to_owned(),
    };
    let data: String = data
        .split_inclusive(char::is_whitespace)
        .map(word)
        .collect();
    format!("{owner}{data}")
}

fn address_line(server: &Name, addresses: &BTreeMap<Name, String>) -> String {
    addresses.get(server).map_or_else(String::new, |address| {
        format!("{server} {GENERATED_TTL_S} A {address}\n")
    })
}
