//! The canonical form of names, data and RRsets: RFC 4034 section 6, RFC 6840 section 5.1.

use std::{borrow::Cow, cmp::Ordering, ops::Range};

use hickory_proto::{
    rr::{Name as ProtoName, RData, Record},
    serialize::binary::{BinEncodable as _, BinEncoder, NameEncoding},
};
use policy::name::{LABELS_MAX, Name, NameRef, WireName};

use crate::{
    message::types::{Class, Rtype},
    recursor::rrset::RrSet,
};

/// The data of an RRset in canonical form and order, without duplicates.
pub(super) struct CanonicalSet {
    rtype: Rtype,
    octets: Vec<u8>,
    /// Where each record's data stand, in canonical order.
    places: Vec<Range<usize>>,
}

impl CanonicalSet {
    /// None where the data of a record cannot be encoded.
    pub(super) fn new(set: &RrSet) -> Option<Self> {
        let mut octets = Vec::new();
        let mut places = Vec::with_capacity(set.records.len());
        for record in &set.records {
            let start = octets.len();
            write_data(record, &mut octets)?;
            places.push(start..octets.len());
        }
        // RFC 4034 section 6.3: sorted as octet strings, and duplicates count once.
        places.sort_unstable_by(|a, b| octets[a.clone()].cmp(&octets[b.clone()]));
        places.dedup_by(|a, b| octets[a.clone()] == octets[b.clone()]);
        Some(Self {
            rtype: set.rtype,
            octets,
            places,
        })
    }

    /// Appends the records as a signature covers them, RFC 4034 section 3.1.8.1. `owner` is a name in
    /// wire form: the owner, or the wildcard that it is expanded from.
    pub(super) fn write(&self, owner: &[u8], original_ttl_s: u32, into: &mut Vec<u8>) {
        for place in &self.places {
            let data = &self.octets[place.clone()];
            let length = u16::try_from(data.len()).expect("data have at most 65,535 octets");
            into.extend_from_slice(owner);
            into.extend(self.rtype.to_be_bytes());
            into.extend(Class::IN.to_be_bytes());
            into.extend(original_ttl_s.to_be_bytes());
            into.extend(length.to_be_bytes());
            into.extend_from_slice(data);
        }
    }
}

/// The data of a record as received, without compression; none where they cannot be encoded.
pub(super) fn data_octets(record: &Record) -> Option<Cow<'_, [u8]>> {
    match &record.data {
        RData::Unknown { rdata, .. } => Some(Cow::Borrowed(&rdata.anything)),
        other => {
            let mut octets = Vec::new();
            let mut encoder = BinEncoder::new(&mut octets);
            encoder.set_name_encoding(NameEncoding::Uncompressed);
            other.emit(&mut encoder).ok()?;
            Some(Cow::Owned(octets))
        }
    }
}

/// Appends the canonical data of a record. None where they cannot be encoded or are too long.
fn write_data(record: &Record, into: &mut Vec<u8>) -> Option<()> {
    let start = into.len();
    match &record.data {
        RData::A(address) => into.extend(address.octets()),
        RData::AAAA(address) => into.extend(address.octets()),
        RData::NS(name) => write_name(&name.0, into),
        RData::CNAME(name) => write_name(&name.0, into),
        RData::PTR(name) => write_name(&name.0, into),
        RData::MX(data) => {
            into.extend(data.preference.to_be_bytes());
            write_name(&data.exchange, into);
        }
        RData::SOA(data) => {
            write_name(&data.mname, into);
            write_name(&data.rname, into);
            into.extend(data.serial.to_be_bytes());
            for number in [data.refresh, data.retry, data.expire] {
                into.extend(number.to_be_bytes());
            }
            into.extend(data.minimum.to_be_bytes());
        }
        _ => {
            into.extend_from_slice(&data_octets(record)?);
            lower_names(Rtype::from(record.record_type()), &mut into[start..]);
        }
    }
    u16::try_from(into.len() - start).ok().map(drop)
}

fn write_name(name: &ProtoName, into: &mut Vec<u8>) {
    for label in name.iter() {
        into.push(u8::try_from(label.len()).expect("a label has at most 63 octets"));
        into.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    into.push(0);
}

/// A step through data with names.
enum Step {
    Octets(usize),
    Text,
    /// The prefix length and the address suffix of an A6 record, RFC 2874 section 3.1.
    A6Address,
    Name,
}

/// Puts the names in data to lower case, for the types of RFC 4034 section 6.2: without NSEC, and
/// with RRSIG (RFC 6840 section 5.1). Data that do not have these fields stay as they are.
fn lower_names(rtype: Rtype, data: &mut [u8]) {
    use Step::{A6Address, Name, Octets, Text};
    let steps: &[Step] = match rtype.to_u16() {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, NXT, DNAME
        2..=5 | 7..=9 | 12 | 30 | 39 => &[Name],
        // SOA, MINFO, RP
        6 | 14 | 17 => &[Name, Name],
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => &[Octets(2), Name],
        // SIG, RRSIG
        24 | 46 => &[Octets(18), Name],
        // PX
        26 => &[Octets(2), Name, Name],
        // SRV
        33 => &[Octets(6), Name],
        // NAPTR
        35 => &[Octets(4), Text, Text, Text, Name],
        // A6
        38 => &[A6Address, Name],
        _ => return,
    };
    let mut at = 0;
    for step in steps {
        at += match step {
            Octets(length) => *length,
            Text => match data.get(at) {
                Some(length) => 1 + usize::from(*length),
                None => return,
            },
            A6Address => match data.first() {
                Some(&prefix @ 0..=128) => 1 + usize::from(128 - prefix).div_ceil(8),
                _ => return,
            },
            Name => {
                let rest = data.get_mut(at..).unwrap_or_default();
                let Some(length) = name_octets(rest) else {
                    return;
                };
                // A length octet is at most 63 and therefore no letter.
                rest[..length].make_ascii_lowercase();
                length
            }
        };
    }
}

/// The octets of the uncompressed name that data begin with.
fn name_octets(data: &[u8]) -> Option<usize> {
    WireName::default()
        .read(data, 0)
        .ok()
        .map(|name| name.wire().len())
}

/// The uncompressed name at an offset of data in lower case, and the offset behind it.
pub(super) fn name_at(data: &[u8], at: usize) -> Option<(Name, usize)> {
    let mut space = WireName::default();
    let name = space.read(data, at).ok()?;
    Some((name.to_owned(), at + name.wire().len()))
}

/// A name with a further label at its front; none where it becomes too long.
pub(super) fn child(label: &[u8], parent: NameRef<'_>) -> Option<Name> {
    let length = u8::try_from(label.len()).ok()?;
    let mut wire = Vec::with_capacity(1 + label.len() + parent.wire().len());
    wire.push(length);
    wire.extend_from_slice(label);
    wire.extend_from_slice(parent.wire());
    NameRef::from_wire(&wire).ok().map(NameRef::to_owned)
}

/// The wildcard below a name; none where it becomes too long.
pub fn wildcard(parent: NameRef<'_>) -> Option<Name> {
    child(b"*", parent)
}

/// Compares names in canonical order, RFC 4034 section 6.1: label by label from the right.
pub(super) fn compare_names(a: NameRef<'_>, b: NameRef<'_>) -> Ordering {
    let (a, b) = (LabelsFromTop::new(a), LabelsFromTop::new(b));
    a.iter().cmp(b.iter())
}

/// The labels that two names share, from the right.
pub(super) fn common_labels(a: NameRef<'_>, b: NameRef<'_>) -> usize {
    let (a, b) = (LabelsFromTop::new(a), LabelsFromTop::new(b));
    a.iter()
        .zip(b.iter())
        .take_while(|(ours, theirs)| ours == theirs)
        .count()
}

/// The labels of a name, found once to be walked from the right.
struct LabelsFromTop<'a> {
    labels: [&'a [u8]; LABELS_MAX],
    count: usize,
}

impl<'a> LabelsFromTop<'a> {
    fn new(name: NameRef<'a>) -> Self {
        let mut labels: [&[u8]; LABELS_MAX] = [&[]; LABELS_MAX];
        let mut count = 0;
        for (place, label) in labels.iter_mut().zip(name.labels()) {
            *place = label;
            count += 1;
        }
        Self { labels, count }
    }

    fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.labels[..self.count].iter().rev().copied()
    }
}

#[cfg(test)]
mod tests;
