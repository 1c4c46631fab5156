//! The data of record types: of which parts they are made, and random ones.

use std::ops::Range;

use rand::{Rng as _, rngs::StdRng};

use crate::{
    ZONE,
    wire::{Item, RRSIG, SignedSet},
};

/// A part of the data of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Octets of any value.
    Any(usize),
    /// These octets.
    These(&'static [u8]),
    /// A length, and letters and digits.
    Text,
    /// A name whose letter case does not count: RFC 4034 section 6.2, RFC 6840 section 5.1.
    Name,
    /// A name that is signed as it is written.
    KeptName,
    /// What is left, at least one octet.
    Rest,
}

/// A type, its parts, and how many records of it a set may have.
pub type Form = (u16, &'static [Part], usize);

use Part::{Any, KeptName, Name, Rest, Text, These};

/// The types that a zone may have at any name, and that are written in files.
pub const IN_FILES: [Form; 22] = [
    (1, &[Any(4)], 9),
    (5, &[Name], 1),
    (12, &[Name], 5),
    (13, &[Text, Text], 3),
    (15, &[Any(2), Name], 9),
    (16, &[Text, Text], 5),
    (17, &[Name, Name], 3),
    (18, &[Any(2), Name], 4),
    (21, &[Any(2), Name], 3),
    (28, &[Any(16)], 9),
    (33, &[Any(6), Name], 9),
    (35, &[Any(4), Text, Text, These(&[0]), Name], 4),
    (36, &[Any(2), Name], 3),
    (39, &[Name], 1),
    (44, &[These(&[4, 2]), Any(32)], 3),
    (52, &[These(&[3, 1, 1]), Any(32)], 3),
    (61, &[Rest], 2),
    (64, &[Any(2), KeptName], 1),
    (65, &[Any(2), KeptName], 1),
    (256, &[Any(4), Rest], 3),
    (257, &[These(&[0]), Text, Rest], 3),
    (65_400, &[Rest], 4),
];

/// Those, and types that mean more than data to a signer of files.
pub const ALL: [Form; 27] = {
    let mut all = [IN_FILES[0]; 27];
    let mut place = 0;
    while place < IN_FILES.len() {
        all[place] = IN_FILES[place];
        place += 1;
    }
    all[22] = (2, &[Name], 9);
    all[23] = (43, &[Any(2), These(&[13, 2]), Any(32)], 4);
    all[24] = (47, &[KeptName, These(&[0, 4, 0x40, 0, 0, 3])], 1);
    all[25] = (14, &[Name, Name], 3);
    all[26] = (26, &[Any(2), Name, Name], 3);
    all
};

/// The parts of a type's data. Of other types the data are octets.
pub fn form_of(rtype: u16) -> &'static [Part] {
    match rtype {
        6 => &[Name, Name, Any(20)],
        RRSIG => &[Any(18), Name, Rest],
        _ => ALL
            .iter()
            .find(|(known, ..)| *known == rtype)
            .map_or(&[Rest], |(_, parts, _)| parts),
    }
}

/// Where the parts stand in data. Those that broken data do not have are left out.
pub fn parts(form: &[Part], data: &[u8]) -> Vec<(Part, Range<usize>)> {
    let mut at = 0;
    let mut found = Vec::new();
    for part in form {
        let rest = data.get(at..).unwrap_or_default();
        let length = match part {
            Any(length) => Some(*length),
            These(octets) => Some(octets.len()),
            Text => rest.first().map(|length| 1 + usize::from(*length)),
            Name | KeptName => name_length(rest),
            Rest => Some(rest.len()),
        };
        let Some(length) = length.filter(|length| *length <= rest.len()) else {
            break;
        };
        found.push((*part, at..at + length));
        at += length;
    }
    found
}

/// The octets of the uncompressed name that data begin with.
pub fn name_length(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *data.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

/// A name in wire form.
pub fn wire_name(text: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// An unsigned set of one of these types. The owner begins with the label.
pub fn random_set(label: &str, forms: &[Form], chance: &mut StdRng) -> SignedSet {
    let number: usize = label.trim_start_matches('n').parse().unwrap();
    // All types come up.
    let (rtype, form, most) = forms[number % forms.len()];
    let below: String = match chance.random_range(0..3) {
        0 => String::new(),
        1 => ".a".to_owned(),
        _ => format!(".{}.b", random_label(chance)),
    };
    let owner = wire_name(&format!("{label}{below}.{ZONE}"));
    let count = chance.random_range(1..=most);
    let mut records: Vec<Item> = Vec::new();
    while records.len() < count {
        let data = form
            .iter()
            .flat_map(|part| random_part(*part, chance))
            .collect();
        let item = Item {
            owner: owner.clone(),
            ttl_s: 3_600,
            data,
        };
        let is_new = |known: &Item| !known.data.eq_ignore_ascii_case(&item.data);
        if records.iter().all(is_new) {
            records.push(item);
        }
    }
    SignedSet {
        owner,
        rtype,
        records,
        signatures: Vec::new(),
    }
}

/// The same set of a name with a label of any octets: no signer of text files writes it so.
pub fn with_odd_owner(mut set: SignedSet, chance: &mut StdRng) -> SignedSet {
    let first = 1 + usize::from(set.owner[0]);
    let mut owner = set.owner[..first].to_vec();
    let length = chance.random_range(1..10_u8);
    owner.push(length);
    owner.extend((0..length).map(|_| chance.random::<u8>()));
    owner.extend(wire_name(ZONE));
    set.records
        .iter_mut()
        .for_each(|item| item.owner.clone_from(&owner));
    SignedSet { owner, ..set }
}

fn random_part(part: Part, chance: &mut StdRng) -> Vec<u8> {
    let mut octets = |length: usize| (0..length).map(|_| chance.random()).collect::<Vec<u8>>();
    match part {
        Any(length) => octets(length),
        These(octets) => octets.to_vec(),
        Text => {
            let text = random_label(chance);
            let length = u8::try_from(text.len()).unwrap();
            [&[length], text.as_bytes()].concat()
        }
        Name | KeptName => {
            let labels = chance.random_range(1..4);
            let labels: Vec<String> = (0..labels).map(|_| random_label(chance)).collect();
            wire_name(&labels.join("."))
        }
        Rest => {
            let length = chance.random_range(1..40);
            (0..length).map(|_| chance.random()).collect()
        }
    }
}

/// Letters of both cases and digits; few values, so that sets have data with equal beginnings.
fn random_label(chance: &mut StdRng) -> String {
    let length = chance.random_range(1..6);
    (0..length)
        .map(|_| char::from(b"aAbBzZ019"[chance.random_range(0..9)]))
        .collect()
}
