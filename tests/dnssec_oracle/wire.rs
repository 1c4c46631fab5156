//! Records as octets: sets and their signatures, how a path may change them, and how they are levelled.

use domain::{
    base::{name::ToName as _, rdata::ComposeRecordData as _},
    zonefile::inplace::{Entry, Zonefile},
};
use rand::{Rng as _, rngs::StdRng, seq::SliceRandom as _};

use crate::forms::{Part, form_of, name_length, parts};

pub const RRSIG: u16 = 46;
pub const DNSKEY: u16 = 48;
pub const NSEC3: u16 = 50;
const CLASS_IN: [u8; 2] = [0, 1];
/// Where the original TTL stands in the data of an RRSIG record, RFC 4034 section 3.1.
const ORIGINAL_TTL_AT: usize = 4;

/// A record without its owner and type, which the set has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// In the letter case in which it is sent.
    pub owner: Vec<u8>,
    pub ttl_s: u32,
    pub data: Vec<u8>,
}

/// An RRset and the RRSIG records that cover it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedSet {
    /// In wire form.
    pub owner: Vec<u8>,
    pub rtype: u16,
    pub records: Vec<Item>,
    pub signatures: Vec<Item>,
}

/// A signed zone: its keys, and the sets that are checked.
pub struct Zone {
    /// The DNSKEY RRset.
    pub keys: SignedSet,
    pub sets: Vec<SignedSet>,
}

impl Zone {
    /// The signed sets of what a signer has written, a record a line, NSEC3 left out: no query is for
    /// those. Data are taken from `written`, which the signer was given, where they are there: the
    /// library does not read all types.
    pub fn read(text: &str, written: &[SignedSet]) -> Self {
        let mut sets = written.to_vec();
        let mut signatures = Vec::new();
        for line in text.lines() {
            match item(line) {
                Some((RRSIG, item)) => signatures.push(item),
                Some((rtype, item)) if !is_in(written, rtype, &item) => add(&mut sets, rtype, item),
                _ => {}
            }
        }
        for signature in signatures {
            let covered = u16::from_be_bytes([signature.data[0], signature.data[1]]);
            let set = sets.iter_mut().find(|set| {
                set.rtype == covered && set.owner.eq_ignore_ascii_case(&signature.owner)
            });
            set.unwrap().signatures.push(signature);
        }
        let keys = sets.iter().find(|set| set.rtype == DNSKEY).unwrap().clone();
        sets.retain(|set| !set.signatures.is_empty() && ![DNSKEY, NSEC3].contains(&set.rtype));
        Self { keys, sets }
    }
}

fn is_in(sets: &[SignedSet], rtype: u16, item: &Item) -> bool {
    sets.iter()
        .any(|set| set.rtype == rtype && set.owner.eq_ignore_ascii_case(&item.owner))
}

/// The record of a line; none where there is none, or of a type that the library cannot read.
fn item(line: &str) -> Option<(u16, Item)> {
    let line = format!("{line}\n");
    let mut file = Zonefile::from(line.as_str());
    file.set_default_class(domain::base::iana::Class::IN);
    let entry = match file.next_entry() {
        Err(error) => {
            let is_signature = line.split_whitespace().any(|word| word == "RRSIG");
            assert!(!is_signature, "{line}: {error}");
            None
        }
        Ok(entry) => entry,
    };
    let Some(Entry::Record(record)) = entry else {
        return None;
    };
    let mut data = Vec::new();
    record.data().compose_rdata(&mut data).unwrap();
    let owner: domain::base::Name<Vec<u8>> = record.owner().to_name();
    let item = Item {
        owner: owner.as_octets().clone(),
        ttl_s: record.ttl().as_secs(),
        data,
    };
    Some((record.rtype().to_int(), item))
}

fn add(sets: &mut Vec<SignedSet>, rtype: u16, item: Item) {
    let known = sets
        .iter_mut()
        .find(|set| set.rtype == rtype && set.owner.eq_ignore_ascii_case(&item.owner));
    match known {
        Some(set) => set.records.push(item),
        None => sets.push(SignedSet {
            owner: item.owner.clone(),
            rtype,
            records: vec![item],
            signatures: Vec::new(),
        }),
    }
}

impl SignedSet {
    /// The set as hickory's verifier wants it: one TTL, lower case where RFC 4034 section 6.2 wants
    /// it, each record once.
    pub fn levelled(&self) -> Self {
        let ttl = self.signatures[0].data[ORIGINAL_TTL_AT..ORIGINAL_TTL_AT + 4].try_into();
        let ttl_s = u32::from_be_bytes(ttl.unwrap());
        let level = |item: &Item, rtype| Item {
            owner: item.owner.to_ascii_lowercase(),
            ttl_s,
            data: in_case(rtype, &item.data, |octet| {
                *octet = octet.to_ascii_lowercase()
            }),
        };
        let mut levelled = Self {
            owner: self.owner.to_ascii_lowercase(),
            rtype: self.rtype,
            records: Vec::new(),
            signatures: Vec::new(),
        };
        for item in self.records.iter().map(|item| level(item, self.rtype)) {
            if !levelled.records.contains(&item) {
                levelled.records.push(item);
            }
        }
        levelled.signatures = self
            .signatures
            .iter()
            .map(|item| level(item, RRSIG))
            .collect();
        levelled
    }

    /// The records and the signatures, in this order, with the type of each.
    pub fn items(&self) -> impl Iterator<Item = (u16, &Item)> {
        let records = self.records.iter().map(|item| (self.rtype, item));
        records.chain(self.signatures.iter().map(|item| (RRSIG, item)))
    }
}

/// Data with the letters of their names changed, where case does not count.
fn in_case(rtype: u16, data: &[u8], mut change: impl FnMut(&mut u8)) -> Vec<u8> {
    let mut data = data.to_vec();
    for (part, place) in parts(form_of(rtype), &data) {
        if part == Part::Name {
            data[place].iter_mut().for_each(&mut change);
        }
    }
    data
}

/// A letter in another case, by chance. A length octet is at most 63 and therefore no letter.
fn any_case(chance: &mut StdRng) -> impl FnMut(&mut u8) {
    |octet| {
        if octet.is_ascii_alphabetic() && chance.random() {
            *octet ^= 0x20;
        }
    }
}

/// The set as it may arrive: in another order and letter case, with other TTLs, and with duplicates.
pub fn mangled(set: &SignedSet, with_duplicates: bool, chance: &mut StdRng) -> SignedSet {
    let mut mangled = set.clone();
    let duplicates = if with_duplicates {
        chance.random_range(0..3)
    } else {
        0
    };
    for _ in 0..duplicates {
        let record = set.records[chance.random_range(0..set.records.len())].clone();
        mangled.records.push(record);
    }
    mangled.records.shuffle(chance);
    mangled.signatures.shuffle(chance);
    for item in &mut mangled.records {
        item.ttl_s = chance.random_range(1..100_000);
        item.owner.iter_mut().for_each(any_case(chance));
        item.data = in_case(set.rtype, &item.data, any_case(chance));
    }
    for item in &mut mangled.signatures {
        item.ttl_s = chance.random_range(1..100_000);
        item.owner.iter_mut().for_each(any_case(chance));
        item.data = in_case(RRSIG, &item.data, any_case(chance));
    }
    mangled
}

/// The set with one bit changed in the data of a record or of the signature, which is the only one.
/// Not the case of a letter whose case does not count. Returns which bit.
pub fn with_a_bit_changed(set: &SignedSet, chance: &mut StdRng) -> (SignedSet, String) {
    let levelled = set.levelled();
    loop {
        let mut changed = set.clone();
        changed.signatures.truncate(1);
        let is_of_signature = chance.random();
        let items = if is_of_signature {
            &mut changed.signatures
        } else {
            &mut changed.records
        };
        let item = chance.random_range(0..items.len());
        let data = &mut items[item].data;
        if data.is_empty() {
            continue;
        }
        let (octet, bit) = (
            chance.random_range(0..data.len()),
            chance.random_range(0..8),
        );
        data[octet] ^= 1 << bit;
        let now = changed.levelled();
        let is_other =
            now.records != levelled.records || now.signatures[0] != levelled.signatures[0];
        if is_other {
            let of = if is_of_signature {
                "signature"
            } else {
                "record"
            };
            return (
                changed,
                format!("bit {bit} of octet {octet} of {of} {item}"),
            );
        }
    }
}

/// A response with this question: the records in the answer section, or none.
pub fn response(query: &[u8], set: Option<&SignedSet>) -> Vec<u8> {
    let question_end = 12 + name_length(&query[12..]).unwrap() + 4;
    let answers = set.map_or(0, |set| set.items().count());
    let mut packet = query[..2].to_vec();
    packet.extend([0x84, 0, 0, 1]);
    packet.extend(u16::try_from(answers).unwrap().to_be_bytes());
    packet.extend([0, 0, 0, 1]);
    packet.extend_from_slice(&query[12..question_end]);
    for (rtype, item) in set.into_iter().flat_map(SignedSet::items) {
        write(rtype, item, &mut packet);
    }
    // An OPT record with DO.
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
    packet
}

pub fn write(rtype: u16, item: &Item, packet: &mut Vec<u8>) {
    packet.extend_from_slice(&item.owner);
    packet.extend(rtype.to_be_bytes());
    packet.extend(CLASS_IN);
    packet.extend(item.ttl_s.to_be_bytes());
    packet.extend(u16::try_from(item.data.len()).unwrap().to_be_bytes());
    packet.extend_from_slice(&item.data);
}
