//! Reader for responses of servers. It decodes only the data that recursion needs, and names that
//! may be compressed; other data is opaque and passed on octet for octet (RFC 3597). It skips a
//! record whose data does not fit the type, and keeps the others.
//!
//! ```text
//! A AAAA NS CNAME PTR MX SOA            decoded
//! SRV NAPTR RP DNAME SVCB HTTPS …       names decompressed, otherwise octets: `RData::Unknown`
//! TXT CAA TLSA APL TYPE65281 …          octets: `RData::Unknown`
//! ```
//!
//! The packet is untrusted: each read is bounded by the packet, a compression pointer must lead
//! backwards, and nothing panics.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use hickory_proto::{
    op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{self, opt::EdnsOption},
    },
    serialize::binary::{BinDecodable as _, BinDecoder, Restrict},
};
use policy::name::NameRef;

use crate::message::{
    types::{Class, Rtype},
    wire::{HEADER_OCTETS, read_u16, skip_name},
};

/// Octets of a name on the wire, and of a label: RFC 1035 section 2.3.4.
const NAME_OCTETS_MAX: usize = 255;
const LABEL_OCTETS_MAX: u8 = 63;
/// Type, class, TTL and length behind a record's owner, in octets.
const RECORD_FIXED_OCTETS: usize = 10;
/// The last five fields of an SOA, in octets.
const SOA_NUMBERS_OCTETS: usize = 20;

/// How much of a message the reader could parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    Whole,
    /// The additional section ends early: it has fewer records than the header says, or a record
    /// reaches past the end.
    WithoutAdditionals,
    /// The answer or the authority section ends early.
    Short,
}

/// A message as far as the reader could parse it.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The parsed records. The first of several OPT records counts, up to its first broken option.
    pub message: Message,
    pub extent: Extent,
    /// Number of skipped records of the answer section: their data does not fit their type.
    pub broken_answers: usize,
}

/// Parses a packet. None if the header or the question is broken.
#[must_use]
pub fn read(packet: &[u8]) -> Option<Reading> {
    let header = Header::read(&mut BinDecoder::new(packet.get(..HEADER_OCTETS)?)).ok()?;
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.metadata = header.metadata;
    let mut at = HEADER_OCTETS;
    for _ in 0..read_u16(packet, 4)? {
        let (name, end) = name_at(packet, at)?;
        let mut query = Query::query(name, RecordType::from(read_u16(packet, end)?));
        query.set_query_class(DNSClass::from(read_u16(packet, end + 2)?));
        message.queries.push(query);
        at = end + 4;
    }
    let mut reading = Reading {
        message,
        extent: Extent::Whole,
        broken_answers: 0,
    };
    if reading.read_sections(packet, at).is_none() && reading.extent == Extent::Whole {
        reading.extent = Extent::Short;
    }
    if let Some(edns) = &reading.message.edns {
        let low = reading.message.metadata.response_code.low();
        reading.message.metadata.response_code = ResponseCode::from(edns.rcode_high(), low);
    }
    Some(reading)
}

impl Reading {
    /// Parses the three sections. None if one of them ends early.
    fn read_sections(&mut self, packet: &[u8], mut at: usize) -> Option<()> {
        for _ in 0..read_u16(packet, 6)? {
            let raw = Raw::at(packet, at)?;
            at = raw.data.end;
            match raw.decode(packet) {
                Some(record) => self.message.answers.push(record),
                None => self.broken_answers += 1,
            }
        }
        for _ in 0..read_u16(packet, 8)? {
            let raw = Raw::at(packet, at)?;
            at = raw.data.end;
            self.message.authorities.extend(raw.decode(packet));
        }
        self.extent = Extent::WithoutAdditionals;
        for _ in 0..read_u16(packet, 10)? {
            let raw = Raw::at(packet, at)?;
            at = raw.data.end;
            if raw.rtype == Rtype::OPT {
                self.message.edns.get_or_insert_with(|| raw.edns(packet));
            } else {
                self.message.additionals.extend(raw.decode(packet));
            }
        }
        self.extent = Extent::Whole;
        Some(())
    }
}

/// The offsets of a record in a packet, and its fixed fields.
struct Raw {
    owner: usize,
    rtype: Rtype,
    class: Class,
    ttl: u32,
    data: Range<usize>,
}

impl Raw {
    /// Finds the end of a record without parsing its data.
    fn at(packet: &[u8], owner: usize) -> Option<Self> {
        let at = skip_name(packet, owner)?;
        let fixed = packet.get(at..at.checked_add(RECORD_FIXED_OCTETS)?)?;
        let number = |place: usize| u16::from_be_bytes([fixed[place], fixed[place + 1]]);
        let ttl = u32::from(number(4)) << 16 | u32::from(number(6));
        let data = at + RECORD_FIXED_OCTETS..at + RECORD_FIXED_OCTETS + usize::from(number(8));
        (data.end <= packet.len()).then_some(Self {
            owner,
            rtype: Rtype::new(number(0)),
            class: Class::new(number(2)),
            ttl,
            data,
        })
    }

    /// Parses the record. None if its owner or its data is broken.
    fn decode(&self, packet: &[u8]) -> Option<Record> {
        let (owner, _) = name_at(packet, self.owner)?;
        let mut record = Record::from_rdata(owner, self.ttl, self.decode_data(packet)?);
        record.dns_class = DNSClass::from(self.class.to_u16());
        Some(record)
    }

    fn decode_data(&self, packet: &[u8]) -> Option<RData> {
        let octets = packet.get(self.data.clone())?;
        let record_type = RecordType::from(self.rtype.to_u16());
        let Some(fields) = layout(record_type).filter(|_| self.class == Class::IN) else {
            return Some(opaque(record_type, octets.to_vec()));
        };
        let plain = decompress(packet, self.data.clone(), fields)?;
        let mut decoder = BinDecoder::new(&plain);
        Some(match record_type {
            RecordType::A => RData::A(Ipv4Addr::from(<[u8; 4]>::try_from(&plain[..]).ok()?).into()),
            RecordType::AAAA => {
                RData::AAAA(Ipv6Addr::from(<[u8; 16]>::try_from(&plain[..]).ok()?).into())
            }
            RecordType::NS => RData::NS(rdata::NS(Name::read(&mut decoder).ok()?)),
            RecordType::CNAME => RData::CNAME(rdata::CNAME(Name::read(&mut decoder).ok()?)),
            RecordType::PTR => RData::PTR(rdata::PTR(Name::read(&mut decoder).ok()?)),
            RecordType::MX | RecordType::SOA => {
                let length = u16::try_from(plain.len()).ok()?;
                RData::read(&mut decoder, record_type, Restrict::new(length)).ok()?
            }
            _ => opaque(record_type, plain),
        })
    }

    /// Parses the OPT record. A broken option ends the list; the options before it count (RFC 6891
    /// section 6.1.2).
    fn edns(&self, packet: &[u8]) -> Edns {
        let [rcode_high, version, flags @ ..] = self.ttl.to_be_bytes();
        let flags = u16::from_be_bytes(flags);
        let mut edns = Edns::new();
        edns.set_max_payload(self.class.to_u16())
            .set_rcode_high(rcode_high)
            .set_version(version);
        *edns.flags_mut() = flags.into();
        let mut rest = packet.get(self.data.clone()).unwrap_or_default();
        while let Some(((code, length), value)) =
            read_u16(rest, 0).zip(read_u16(rest, 2)).zip(rest.get(4..))
        {
            let Some((value, behind)) = value.split_at_checked(usize::from(length)) else {
                break;
            };
            edns.options_mut()
                .insert(EdnsOption::Unknown(code, value.to_vec()));
            rest = behind;
        }
        edns
    }
}

/// Data that is passed on without being decoded.
fn opaque(code: RecordType, octets: Vec<u8>) -> RData {
    let mut rdata = rdata::NULL::new();
    rdata.anything = octets;
    RData::Unknown { code, rdata }
}

/// A field of a record's data.
#[derive(Clone, Copy)]
enum Field {
    /// A fixed number of octets.
    Octets(usize),
    /// A character-string: one octet of length, then the text (RFC 1035 section 3.3).
    Text,
    /// A name, which may be compressed.
    Name,
    /// All remaining octets.
    Rest,
}

/// The fields of a type's data, for types that the reader decodes or whose names may be compressed:
/// the types of RFC 1035, those that RFC 3597 section 4 lists, and KX; and DNAME, SVCB and HTTPS,
/// whose names are never compressed but whose targets the policy judges.
fn layout(record_type: RecordType) -> Option<&'static [Field]> {
    use Field::{Name, Octets, Rest, Text};
    Some(match u16::from(record_type) {
        // A, AAAA
        1 => &[Octets(4)],
        28 => &[Octets(16)],
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME
        2..=5 | 7..=9 | 12 | 39 => &[Name],
        // SOA
        6 => &[Name, Name, Octets(SOA_NUMBERS_OCTETS)],
        // MINFO, RP
        14 | 17 => &[Name, Name],
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => &[Octets(2), Name],
        // SIG
        24 => &[Octets(18), Name, Rest],
        // PX
        26 => &[Octets(2), Name, Name],
        // NXT
        30 => &[Name, Rest],
        // SRV
        33 => &[Octets(6), Name],
        // NAPTR
        35 => &[Octets(4), Text, Text, Text, Name],
        // SVCB, HTTPS
        64 | 65 => &[Octets(2), Name, Rest],
        _ => return None,
    })
}

/// The data with its names decompressed. None if it does not have these fields.
fn decompress(packet: &[u8], data: Range<usize>, fields: &[Field]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(data.len());
    let mut at = data.start;
    for field in fields {
        let length = match field {
            Field::Name => {
                at = copy_name(packet, at, &mut plain)?;
                continue;
            }
            Field::Octets(length) => *length,
            Field::Text => 1 + usize::from(*packet.get(at)?),
            Field::Rest => data.end.checked_sub(at)?,
        };
        plain.extend_from_slice(packet.get(at..at + length)?);
        at += length;
    }
    (at == data.end).then_some(plain)
}

/// Parses a name; returns it and the offset behind it.
fn name_at(packet: &[u8], at: usize) -> Option<(Name, usize)> {
    let mut wire = Vec::with_capacity(NAME_OCTETS_MAX);
    let end = copy_name(packet, at, &mut wire)?;
    Name::read(&mut BinDecoder::new(&wire))
        .ok()
        .map(|name| (name, end))
}

/// Copies a name without compression, in its letter case; returns the offset behind it. Each
/// pointer must lead to before the labels that it ends (RFC 1035 section 4.1.4), which rules out
/// loops.
fn copy_name(packet: &[u8], mut at: usize, into: &mut Vec<u8>) -> Option<usize> {
    let begin = into.len();
    let mut labels_from = at;
    let mut end = None;
    loop {
        match *packet.get(at)? {
            0 => {
                into.push(0);
                return Some(end.unwrap_or(at + 1));
            }
            length @ 1..=LABEL_OCTETS_MAX => {
                let label = packet.get(at..=at + usize::from(length))?;
                // One octet is for the root label that follows.
                if into.len() - begin + label.len() + 1 > NAME_OCTETS_MAX {
                    return None;
                }
                into.extend_from_slice(label);
                at += label.len();
            }
            0xc0.. => {
                let target = usize::from(read_u16(packet, at)? & 0x3fff);
                if target >= labels_from {
                    return None;
                }
                end.get_or_insert(at + 2);
                (at, labels_from) = (target, target);
            }
            _ => return None,
        }
    }
}

/// A record in master-file form. Data that the record library can parse is shown in the form of its
/// type, other data in the generic form of RFC 3597 section 5.
#[must_use]
pub fn presentation(record: &Record) -> String {
    let RData::Unknown { code, rdata } = &record.data else {
        return record.to_string();
    };
    let octets = &rdata.anything[..];
    let known = match u16::try_from(octets.len()) {
        Ok(length @ 1..) => {
            RData::read(&mut BinDecoder::new(octets), *code, Restrict::new(length)).ok()
        }
        _ => None,
    };
    let record_type = match code {
        RecordType::Unknown(number) => format!("TYPE{number}"),
        known => known.to_string(),
    };
    let front = format!(
        "{} {} {} {record_type}",
        record.name, record.ttl, record.dns_class
    );
    match known
        .filter(|data| !matches!(data, RData::Unknown { .. } | RData::NULL(_) | RData::OPT(_)))
    {
        Some(data) => format!("{front} {data}"),
        None if *code == RecordType::DNAME => {
            match NameRef::from_wire(&octets.to_ascii_lowercase()) {
                Ok(target) => format!("{front} {target}."),
                Err(_) => format!("{front} {}", hexadecimal(octets)),
            }
        }
        None => format!("{front} {}", hexadecimal(octets)),
    }
}

/// The generic form of RFC 3597 section 5: `\# 3 a1b2c3`.
fn hexadecimal(octets: &[u8]) -> String {
    let mut text = format!("\\# {}", octets.len());
    for (place, octet) in octets.iter().enumerate() {
        let space = if place == 0 { " " } else { "" };
        write!(text, "{space}{octet:02x}").expect("a String takes any text");
    }
    text
}
