//! The parsers of queries and responses against hickory's: messages that both accept must be equal,
//! and a message that ours rejects must break a rule.
//!
//! Each packet is built valid and then mutated: octets flipped, removed or inserted, lengths and
//! counts changed. `WORLD_SEED` repeats a run, `WORLD_CASES` makes it longer.

// A test that cannot go on says so by failing.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query as ProtoQuery, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{self, A, opt::EdnsOption},
    },
    serialize::binary::BinEncodable as _,
};
use policy::name::WireName;
use rand::{Rng, SeedableRng, rngs::StdRng};
use resolver::message::{
    query::{Query, Rejection},
    reader::{self, Extent, Reading},
    types::Rcode,
};

/// Takes some seconds without optimisation.
const CASES: u64 = 300_000;
const NAMES: [&str; 7] = [
    ".",
    "a.",
    "wWw.Example.COM.",
    "_443._tcp.x.y.",
    "xn--bcher-kva.example.",
    "1.0.0.127.in-addr.arpa.",
    "very.many.labels.in.one.name.test.",
];
const OPTIONS: [u16; 8] = [3, 8, 10, 12, 15, 65_001, 65_073, 65_074];

fn from_environment(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

fn name(chance: &mut StdRng) -> Name {
    Name::from_ascii(NAMES[chance.random_range(0..NAMES.len())]).unwrap()
}

fn whole(chance: &mut StdRng) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = chance.random();
    message.metadata.checking_disabled = chance.random();
    message.add_query(ProtoQuery::query(
        name(chance),
        RecordType::from(chance.random_range(1..70_u16)),
    ));
    if chance.random_range(0..8) == 0 {
        message.add_answer(Record::from_rdata(
            name(chance),
            60,
            RData::A(A::new(192, 0, 2, 1)),
        ));
    }
    if chance.random_range(0..30) == 0 {
        message.metadata.message_type = MessageType::Response;
        message.metadata.op_code = OpCode::Update;
    }
    if chance.random_range(0..4) > 0 {
        let mut edns = Edns::new();
        edns.set_max_payload(chance.random())
            .set_dnssec_ok(chance.random());
        for _ in 0..chance.random_range(0..4) {
            let value = (0..chance.random_range(0..20))
                .map(|_| chance.random())
                .collect();
            edns.options_mut().insert(EdnsOption::Unknown(
                OPTIONS[chance.random_range(0..OPTIONS.len())],
                value,
            ));
        }
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

fn mutate(packet: &mut Vec<u8>, chance: &mut StdRng) {
    for _ in 0..chance.random_range(0..4) {
        let at = chance.random_range(0..=packet.len());
        match chance.random_range(0..6) {
            0 if at < packet.len() => packet[at] ^= 1 << chance.random_range(0..8),
            1 if at < packet.len() => {
                packet[at] = [0, 1, 12, 41, 63, 64, 0xc0, 0xff][chance.random_range(0..8)]
            }
            2 => packet.truncate(at),
            3 => packet.insert(at, chance.random()),
            4 if at < packet.len() => _ = packet.remove(at),
            // The counts in the header.
            _ if packet.len() > 11 => {
                packet[4 + chance.random_range(0..8)] = chance.random_range(0..3)
            }
            _ => {}
        }
    }
}

/// Whether the question's name has a compression pointer: hickory follows one into the header, ours
/// rejects it.
fn has_pointer(packet: &[u8]) -> bool {
    let mut at = 12;
    while let Some(&length) = packet.get(at) {
        match length {
            0 => return false,
            0xc0.. => return true,
            length => at += 1 + usize::from(length),
        }
    }
    false
}

/// The rule that a packet breaks, although hickory accepts it.
fn broken_rule(packet: &[u8], theirs: &Message) -> Option<Rejection> {
    if packet[2] & 0x80 != 0 {
        return Some(Rejection::Ignore);
    }
    if packet[2] & 0x78 != 0 {
        return Some(Rejection::Answer(Rcode::NotImp));
    }
    if theirs.queries.len() != 1 || has_pointer(packet) {
        return Some(Rejection::Answer(Rcode::FormErr));
    }
    theirs
        .edns
        .as_ref()
        .filter(|edns| edns.version() != 0)
        .map(|_| Rejection::Answer(Rcode::BadVers))
}

#[test]
fn both_parsers_agree_and_ours_rejects_only_invalid_packets() {
    let seed = from_environment("WORLD_SEED", rand::random());
    let cases = from_environment("WORLD_CASES", CASES);
    println!("WORLD_SEED={seed} WORLD_CASES={cases}");
    let mut chance = StdRng::seed_from_u64(seed);
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for case in 0..cases {
        let mut packet = whole(&mut chance);
        mutate(&mut packet, &mut chance);
        let mut room = WireName::default();
        let outcome = match (Query::parse(&packet, &mut room), Message::from_vec(&packet)) {
            (Ok(ours), Ok(theirs)) => {
                assert_eq!(
                    broken_rule(&packet, &theirs),
                    None,
                    "case {case}: {packet:02x?}"
                );
                same(&ours, &theirs, &packet);
                "both read it"
            }
            (Err(ours), Ok(theirs)) => match broken_rule(&packet, &theirs) {
                Some(expected) => {
                    assert_eq!(ours, expected, "case {case}: {packet:02x?}");
                    "we refuse it, with reason"
                }
                // Hickory accepts an OPT record of another owner than the root, two of them, and
                // one with broken options.
                None => {
                    assert_eq!(
                        ours,
                        Rejection::Answer(Rcode::FormErr),
                        "case {case}: {packet:02x?}"
                    );
                    assert!(
                        packet.windows(2).any(|pair| pair == [0, 41]),
                        "case {case}: {packet:02x?}"
                    );
                    "we refuse its OPT"
                }
            },
            // Ours ignores the data of records that a query need not carry.
            (Ok(_), Err(_)) => "we do not read its records",
            (Err(_), Err(_)) => "neither reads it",
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{outcomes:#?}");
    assert!(
        outcomes["both read it"] > cases / 10 && outcomes["neither reads it"] > cases / 100,
        "{outcomes:?}"
    );
}

fn same(ours: &Query<'_>, theirs: &Message, packet: &[u8]) {
    let question = &theirs.queries[0];
    let mut name = Vec::new();
    for label in question.name.iter() {
        name.push(u8::try_from(label.len()).unwrap());
        name.extend(label.to_ascii_lowercase());
    }
    name.push(0);
    assert_eq!(ours.name().wire(), &name[..]);
    assert_eq!(
        (ours.rtype, ours.class),
        (
            u16::from(question.query_type).into(),
            u16::from(question.query_class).into()
        )
    );
    assert_eq!(ours.id(), packet[..2]);
    assert_eq!(ours.recursion_desired(), theirs.metadata.recursion_desired);
    assert_eq!(ours.checking_disabled(), theirs.metadata.checking_disabled);
    assert_eq!(ours.edns.is_some(), theirs.edns.is_some());
    if let (Some(ours), Some(theirs)) = (ours.edns, &theirs.edns) {
        assert_eq!(
            (ours.dnssec_ok, ours.payload_max),
            (theirs.flags().dnssec_ok, theirs.max_payload().max(512))
        );
    }
}

/// A valid response with records of many types.
fn reply(chance: &mut StdRng) -> Message {
    let mut message = Message::response(chance.random(), OpCode::Query);
    message.metadata.authoritative = chance.random();
    message.metadata.truncation = chance.random_range(0..9) == 0;
    message.metadata.response_code = ResponseCode::from(0, chance.random_range(0..6));
    message.add_query(ProtoQuery::query(
        name(chance),
        RecordType::from(chance.random_range(1..70_u16)),
    ));
    for section in 0..3 {
        let records = (0..chance.random_range(0..4))
            .map(|_| record(chance))
            .collect::<Vec<_>>();
        match section {
            0 => message.add_answers(records),
            1 => message.add_authorities(records),
            _ => message.add_additionals(records),
        };
    }
    if chance.random() {
        let mut edns = Edns::new();
        edns.set_max_payload(chance.random())
            .set_dnssec_ok(chance.random());
        let value = (0..chance.random_range(0..20))
            .map(|_| chance.random())
            .collect();
        edns.options_mut().insert(EdnsOption::Unknown(10, value));
        message.set_edns(edns);
    }
    message
}

fn record(chance: &mut StdRng) -> Record {
    let owner = name(chance);
    let target = name(chance);
    let octets: Vec<u8> = (0..chance.random_range(1..30))
        .map(|_| chance.random())
        .collect();
    let data = match chance.random_range(0..12) {
        0 => RData::A(A::new(192, 0, 2, chance.random())),
        1 => RData::AAAA(rdata::AAAA::new(
            0x2001,
            0xdb8,
            0,
            0,
            0,
            0,
            0,
            chance.random(),
        )),
        2 => RData::NS(rdata::NS(target)),
        3 => RData::CNAME(rdata::CNAME(target)),
        4 => RData::PTR(rdata::PTR(target)),
        5 => RData::MX(rdata::MX::new(chance.random(), target)),
        6 => RData::SOA(rdata::SOA::new(
            target,
            name(chance),
            chance.random(),
            1,
            2,
            3,
            chance.random(),
        )),
        7 => RData::SRV(rdata::SRV::new(
            chance.random(),
            chance.random(),
            chance.random(),
            target,
        )),
        8 => RData::TXT(rdata::TXT::from_bytes(vec![&octets])),
        9 => RData::NAPTR(rdata::NAPTR::new(
            1,
            2,
            b"U".as_slice().into(),
            b"x".as_slice().into(),
            octets.into(),
            target,
        )),
        10 => RData::HTTPS(rdata::HTTPS(rdata::SVCB::new(
            chance.random(),
            target,
            Vec::new(),
        ))),
        _ => RData::Unknown {
            code: RecordType::Unknown(65_281),
            rdata: rdata::NULL::with(octets),
        },
    };
    Record::from_rdata(owner, chance.random(), data)
}

/// A record's data without compression, decoded or opaque.
fn octets(record: &Record) -> Vec<u8> {
    record.data.to_bytes().unwrap()
}

fn same_records(ours: &[Record], theirs: &[Record]) {
    let theirs: Vec<&Record> = theirs.iter().collect();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(
            (&ours.name, ours.ttl, ours.dns_class),
            (&theirs.name, theirs.ttl, theirs.dns_class)
        );
        assert_eq!(
            (ours.record_type(), octets(ours)),
            (theirs.record_type(), octets(theirs)),
            "{theirs}"
        );
    }
}

#[test]
fn valid_responses_are_parsed_as_by_hickory() {
    let seed = from_environment("WORLD_SEED", rand::random());
    println!("WORLD_SEED={seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    for _ in 0..20_000 {
        let packet = reply(&mut chance).to_vec().unwrap();
        let theirs = Message::from_vec(&packet).unwrap();
        let Reading {
            message,
            extent,
            broken_answers,
        } = reader::read(&packet).unwrap();
        assert_eq!((extent, broken_answers), (Extent::Whole, 0));
        assert_eq!(
            (message.metadata, &message.queries),
            (theirs.metadata, &theirs.queries)
        );
        for (ours, theirs) in [
            (&message.answers, &theirs.answers),
            (&message.authorities, &theirs.authorities),
            (&message.additionals, &theirs.additionals),
        ] {
            same_records(ours, theirs);
        }
        assert_eq!(message.edns, theirs.edns);
        // Encoded again, the message is the same.
        let again = Message::from_vec(&message.to_vec().unwrap()).unwrap();
        same_records(&again.answers, &theirs.answers);
        message
            .answers
            .iter()
            .for_each(|record| assert!(!reader::presentation(record).is_empty()));
    }
}

#[test]
fn no_packet_panics_and_what_hickory_parses_is_parsed() {
    let seed = from_environment("WORLD_SEED", rand::random());
    let cases = from_environment("WORLD_CASES", CASES / 3);
    println!("WORLD_SEED={seed} WORLD_CASES={cases}");
    let mut chance = StdRng::seed_from_u64(seed);
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for case in 0..cases {
        let mut packet = match case % 4 {
            0 => (0..chance.random_range(0..100))
                .map(|_| chance.random())
                .collect(),
            _ => reply(&mut chance).to_vec().unwrap(),
        };
        mutate(&mut packet, &mut chance);
        let ours = reader::read(&packet);
        if let Some(reading) = &ours {
            let sections = [
                &reading.message.answers,
                &reading.message.authorities,
                &reading.message.additionals,
            ];
            sections
                .into_iter()
                .flatten()
                .for_each(|record| _ = reader::presentation(record));
        }
        let outcome = match (ours, Message::from_vec(&packet)) {
            // The parsers treat signed messages, a misplaced OPT record and skipped records in
            // different ways.
            (Some(ours), Ok(theirs))
                if theirs.signature.is_none()
                    && ours.extent == Extent::Whole
                    && ours.broken_answers == 0 =>
            {
                assert_eq!(
                    ours.message.answers.len(),
                    theirs.answers.len(),
                    "case {case}: {packet:02x?}"
                );
                for (ours, theirs) in ours.message.answers.iter().zip(&theirs.answers) {
                    assert_eq!(
                        (&ours.name, ours.ttl, ours.record_type()),
                        (&theirs.name, theirs.ttl, theirs.record_type()),
                        "case {case}"
                    );
                }
                "both read it"
            }
            (Some(_), Ok(_)) => "both read it, each in its way",
            (Some(_), Err(_)) => "hickory does not read it",
            (None, Ok(_)) => panic!("case {case}: only hickory reads {packet:02x?}"),
            (None, Err(_)) => "neither reads it",
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{outcomes:#?}");
    assert!(
        outcomes["both read it"] > cases / 20 && outcomes["neither reads it"] > cases / 1_000,
        "{outcomes:?}"
    );
}

#[test]
fn names_with_loops_or_beyond_255_octets_are_skipped() {
    let read = |owner: &[u8]| {
        let mut packet = vec![0, 0, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        packet.extend_from_slice(owner);
        packet.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
        let reading = reader::read(&packet).unwrap();
        (reading.message.answers.len(), reading.broken_answers)
    };
    assert_eq!(read(b"\x01a\0"), (1, 0));
    assert_eq!(read(b"\xc0\x0c"), (0, 1), "to itself");
    assert_eq!(read(b"\x01a\xc0\x0c"), (0, 1), "to its own beginning");
    assert_eq!(read(b"\xc0\x0e"), (0, 1), "forwards");
    assert_eq!(read(b"\xff\xff"), (0, 1), "out of the message");
    let labels = |count: usize, last: usize| {
        [
            [&[63][..], &[b'x'; 63]].concat().repeat(count),
            [&[last as u8][..], &vec![b'y'; last], &[0]].concat(),
        ]
        .concat()
    };
    assert_eq!(read(&labels(3, 61)), (1, 0), "255 octets");
    assert_eq!(read(&labels(3, 62)), (0, 1), "256 octets");
}

#[test]
fn the_reader_reports_how_much_it_could_parse() {
    let mut chance = StdRng::seed_from_u64(1);
    let mut whole = Message::response(7, OpCode::Query);
    whole.add_query(ProtoQuery::query(name(&mut chance), RecordType::A));
    let address = || Record::from_rdata(Name::root(), 60, RData::A(A::new(192, 0, 2, 1)));
    whole.add_answer(address());
    whole.add_authorities([address()]);
    whole.add_additionals([address()]);
    let packet = whole.to_vec().unwrap();
    // Each of the three records takes 15 octets.
    let end = packet.len();
    let extent = |length: usize| reader::read(&packet[..length]).map(|reading| reading.extent);
    assert_eq!(extent(end), Some(Extent::Whole));
    assert_eq!(
        [end - 1, end - 15].map(extent),
        [Some(Extent::WithoutAdditionals); 2]
    );
    assert_eq!(
        [end - 16, end - 30, end - 31, end - 45].map(extent),
        [Some(Extent::Short); 4]
    );
    assert_eq!([end - 46, 12, 11, 0].map(extent), [None; 4]);
    assert_eq!(
        reader::read(&packet[..end - 1])
            .unwrap()
            .message
            .authorities
            .len(),
        1
    );
}

#[test]
fn opaque_data_is_shown_in_the_form_of_its_type_or_as_octets() {
    let check = |code: u16, octets: &[u8], expected: &str| {
        let mut rdata = rdata::NULL::new();
        rdata.anything = octets.to_vec();
        let data = RData::Unknown {
            code: RecordType::from(code),
            rdata,
        };
        let record = Record::from_rdata(Name::from_ascii("a.example.").unwrap(), 60, data);
        assert_eq!(
            reader::presentation(&record),
            format!("a.example. 60 IN {expected}")
        );
    };
    check(65_281, b"", "TYPE65281 \\# 0");
    check(65_281, b"\x01\xff", "TYPE65281 \\# 2 01ff");
    check(33, b"\0\x01\0\x02\x01\xbb\x01b\0", "SRV 1 2 443 b.");
    check(65, b"\0\x01\x01b\0", "HTTPS 1 b.");
    check(65, b"\0", "HTTPS \\# 1 00");
    check(39, b"\x01B\x07example\0", "DNAME b.example.");
    check(39, b"\x01", "DNAME \\# 1 01");
    check(16, b"\x09short", "TXT \\# 6 0973686f7274");
    let whole = Record::from_rdata(Name::root(), 60, RData::A(A::new(192, 0, 2, 1)));
    assert_eq!(reader::presentation(&whole), ". 60 IN A 192.0.2.1");
}
