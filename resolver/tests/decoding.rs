//! Our reading of a query against hickory's: what both take must be the same, and what we refuse must be refusable.
//!
//! Packets are built whole and then bent: octets flipped, cut out, put in, lengths and counts changed. `WORLD_SEED` repeats a run,
//! `WORLD_CASES` makes it longer.

// A test that cannot go on says so by failing.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query as ProtoQuery},
    rr::{Name, RData, Record, RecordType, rdata::A, rdata::opt::EdnsOption},
};
use policy::name::WireName;
use rand::{Rng, SeedableRng, rngs::StdRng};
use resolver::query::{Query, Rcode, Rejection};

/// Some seconds of an unoptimised test.
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
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn name(chance: &mut StdRng) -> Name {
    Name::from_ascii(NAMES[chance.random_range(0..NAMES.len())]).unwrap()
}

fn whole(chance: &mut StdRng) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = chance.random();
    message.metadata.checking_disabled = chance.random();
    message.add_query(ProtoQuery::query(name(chance), RecordType::from(chance.random_range(1..70_u16))));
    if chance.random_range(0..8) == 0 {
        message.add_answer(Record::from_rdata(name(chance), 60, RData::A(A::new(192, 0, 2, 1))));
    }
    if chance.random_range(0..30) == 0 {
        message.metadata.message_type = MessageType::Response;
        message.metadata.op_code = OpCode::Update;
    }
    if chance.random_range(0..4) > 0 {
        let mut edns = Edns::new();
        edns.set_max_payload(chance.random()).set_dnssec_ok(chance.random());
        for _ in 0..chance.random_range(0..4) {
            let value = (0..chance.random_range(0..20)).map(|_| chance.random()).collect();
            edns.options_mut().insert(EdnsOption::Unknown(OPTIONS[chance.random_range(0..OPTIONS.len())], value));
        }
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

fn bend(packet: &mut Vec<u8>, chance: &mut StdRng) {
    for _ in 0..chance.random_range(0..4) {
        let at = chance.random_range(0..=packet.len());
        match chance.random_range(0..6) {
            0 if at < packet.len() => packet[at] ^= 1 << chance.random_range(0..8),
            1 if at < packet.len() => packet[at] = [0, 1, 12, 41, 63, 64, 0xc0, 0xff][chance.random_range(0..8)],
            2 => packet.truncate(at),
            3 => packet.insert(at, chance.random()),
            4 if at < packet.len() => _ = packet.remove(at),
            // The counts in the header.
            _ if packet.len() > 11 => packet[4 + chance.random_range(0..8)] = chance.random_range(0..3),
            _ => {}
        }
    }
}

/// Whether the question's name has a pointer in it: hickory follows one into the header, we take none.
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

/// Why a packet that hickory reads may be no query for us.
fn refusable(packet: &[u8], theirs: &Message) -> Option<Rejection> {
    if packet[2] & 0x80 != 0 {
        return Some(Rejection::Silent);
    }
    if packet[2] & 0x78 != 0 {
        return Some(Rejection::Answer(Rcode::NotImp));
    }
    if theirs.queries.len() != 1 || has_pointer(packet) {
        return Some(Rejection::Answer(Rcode::FormErr));
    }
    theirs.edns.as_ref().filter(|edns| edns.version() != 0).map(|_| Rejection::Answer(Rcode::BadVers))
}

#[test]
fn what_both_read_is_the_same_and_what_we_refuse_is_refusable() {
    let seed = from_environment("WORLD_SEED", rand::random());
    let cases = from_environment("WORLD_CASES", CASES);
    println!("WORLD_SEED={seed} WORLD_CASES={cases}");
    let mut chance = StdRng::seed_from_u64(seed);
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for case in 0..cases {
        let mut packet = whole(&mut chance);
        bend(&mut packet, &mut chance);
        let mut room = WireName::default();
        let outcome = match (Query::parse(&packet, &mut room), Message::from_vec(&packet)) {
            (Ok(ours), Ok(theirs)) => {
                assert_eq!(refusable(&packet, &theirs), None, "case {case}: {packet:02x?}");
                same(&ours, &theirs, &packet);
                "both read it"
            }
            (Err(ours), Ok(theirs)) => match refusable(&packet, &theirs) {
                Some(expected) => {
                    assert_eq!(ours, expected, "case {case}: {packet:02x?}");
                    "we refuse it, with reason"
                }
                // Hickory is content with an OPT record that is none of the root, stands twice, or has options that do not add up.
                None => {
                    assert_eq!(ours, Rejection::Answer(Rcode::FormErr), "case {case}: {packet:02x?}");
                    assert!(packet.windows(2).any(|pair| pair == [0, 41]), "case {case}: {packet:02x?}");
                    "we refuse its OPT"
                }
            },
            // We do not look into the data of records that a query has no business to carry.
            (Ok(_), Err(_)) => "we do not read its records",
            (Err(_), Err(_)) => "neither reads it",
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{outcomes:#?}");
    assert!(outcomes["both read it"] > cases / 10 && outcomes["neither reads it"] > cases / 100, "{outcomes:?}");
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
    assert_eq!((ours.record_type, ours.class), (u16::from(question.query_type), u16::from(question.query_class)));
    assert_eq!(ours.id(), packet[..2]);
    assert_eq!(ours.recursion_desired(), theirs.metadata.recursion_desired);
    assert_eq!(ours.checking_disabled(), theirs.metadata.checking_disabled);
    assert_eq!(ours.edns.is_some(), theirs.edns.is_some());
    if let (Some(ours), Some(theirs)) = (ours.edns, &theirs.edns) {
        assert_eq!((ours.dnssec_ok, ours.payload_max), (theirs.flags().dnssec_ok, theirs.max_payload().max(512)));
    }
}
