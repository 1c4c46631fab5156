//! The behaviour of an authoritative server: correct, faulty or hostile.
//!
//! A behaviour can be changed at any time with
//! [`Authority::set_behaviour`](super::Authority::set_behaviour) and applies from the next query
//! on. This file defines each one; `authority.rs` implements it.

use std::{net::Ipv4Addr, time::Duration};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{Name, RData, rdata},
};

use super::{attack::Attack, spoofer::Spoofer, zone};

/// How a server treats its queries.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers from its zones.
    Answers,
    /// Accepts queries over UDP and TCP and never responds.
    Silent,
    /// Answers after this delay.
    Delays(Duration),
    /// Drops this share (0 to 1) of the UDP queries; a seed makes a run repeatable. TCP is not
    /// affected.
    Loses {
        /// Probability that a query gets no response.
        share: f64,
        /// Seed of the random numbers; see [`seed`](super::seed).
        seed: u64,
    },
    /// Drops this share (0 to 1) of the UDP queries, and the same share of the responses.
    LosesBothWays {
        /// Probability that a packet is lost.
        share: f64,
        /// Seed of the random numbers; see [`seed`](super::seed).
        seed: u64,
    },
    /// Responds REFUSED, like a server that does not have the zone.
    Refuses,
    /// Responds SERVFAIL.
    Fails,
    /// Lame: responds without authority and without an answer, with a referral to the root.
    RefersUpwards,
    /// Sends empty truncated responses over UDP; answers over TCP.
    Truncates,
    /// Sends empty truncated responses over UDP; accepts queries over TCP and never responds.
    TruncatesAndHangs,
    /// Sends empty truncated responses over UDP; over TCP it sends one octet at this interval.
    Drips(Duration),
    /// Responds FORMERR to every query with EDNS, like some old servers; answers others.
    RejectsEdns,
    /// Responds NXDOMAIN to every name with a capital letter; answers others.
    DeniesCapitals,
    /// Responds SERVFAIL to every query with EDNS options; answers others.
    FailsOnOptions,
    /// Answers every A query with this address, whatever its name, and others with NODATA. One root
    /// server with this behaviour is an Internet in which every name exists.
    AnswersEverything(Ipv4Addr),
    /// Sends a forged response in place of the answer.
    Lies(Lie),
    /// Sends forged responses directly before the answer, like a faster attacker. Over TCP only the
    /// answer.
    LiesFirst(Vec<Lie>),
    /// Answers after an off-path attacker's packets. Over TCP only the answer.
    Spoofed(Spoofer),
    /// Answers from its zones; names below them attract the resolver into an attack.
    Plays(Attack),
}

/// A forged response.
#[derive(Clone, Debug)]
pub enum Lie {
    /// The answer with another message id.
    WrongId,
    /// The answer with an id at this distance from the right one.
    IdPlus(u16),
    /// The answer with the case of each letter of its question inverted.
    WrongCase,
    /// The answer with this address in place of each address.
    ForgedAddress(Ipv4Addr),
    /// The answer without its question.
    NoQuestion,
    /// No records, with this RCODE.
    Code(ResponseCode),
    /// The answer with an OPT record whose option exceeds its length.
    BrokenOpt,
    /// The answer with another question.
    WrongQuestion,
    /// The answer with the QR bit clear.
    NotAReply,
    /// The answer with these records (zone-file lines, full names) added to the answer section.
    ExtraAnswer(String),
    /// The same in the authority section.
    ExtraAuthority(String),
    /// The same in the additional section.
    ExtraAdditional(String),
    /// All of these, in this order.
    AllOf(Vec<Self>),
    /// These bytes.
    Garbage(Vec<u8>),
}

/// The name in the question of [`Lie::WrongQuestion`].
pub const FORGED_NAME: &str = "never-asked.invalid.";

impl Lie {
    /// Forges the answer. `None` where no message can express it, as for [`Lie::Garbage`].
    pub(super) fn bend(&self, mut truth: Message) -> Option<Message> {
        match self {
            Self::WrongId => truth.metadata.id ^= 0x5aa5,
            Self::IdPlus(distance) => truth.metadata.id = truth.metadata.id.wrapping_add(*distance),
            Self::WrongCase => truth
                .queries
                .iter_mut()
                .for_each(|question| question.name = other_case(&question.name)),
            Self::ForgedAddress(address) => forge_addresses(&mut truth, *address),
            Self::NoQuestion => truth.queries.clear(),
            Self::Code(code) => {
                (truth.answers, truth.authorities, truth.additionals) = Default::default();
                truth.metadata.response_code = *code;
            }
            // Broken in the bytes only; see `scar`.
            Self::BrokenOpt => truth.edns = None,
            Self::WrongQuestion => {
                let forged = Name::from_ascii(FORGED_NAME).expect("the constant is a name");
                truth
                    .queries
                    .iter_mut()
                    .for_each(|question| question.name = forged.clone());
            }
            Self::NotAReply => truth.metadata.message_type = MessageType::Query,
            Self::ExtraAnswer(lines) => truth.answers.extend(records(lines)),
            Self::ExtraAuthority(lines) => truth.authorities.extend(records(lines)),
            Self::ExtraAdditional(lines) => truth.additionals.extend(records(lines)),
            Self::AllOf(lies) => {
                return lies
                    .iter()
                    .try_fold(truth, |message, lie| lie.bend(message));
            }
            Self::Garbage(_) => return None,
        }
        Some(truth)
    }

    /// Applies what no message can express to the bytes of a forged message.
    pub(super) fn scar(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Self::BrokenOpt => {
                // ARCOUNT is in the last two octets of the header.
                let additionals = u16::from_be_bytes([bytes[10], bytes[11]]) + 1;
                bytes[10..12].copy_from_slice(&additionals.to_be_bytes());
                bytes.extend(BROKEN_OPT);
                bytes
            }
            Self::AllOf(lies) => lies.iter().fold(bytes, |bytes, lie| lie.scar(bytes)),
            _ => bytes,
        }
    }
}

/// Root, OPT, 1232 octets, no flags, four octets of data: option 10 with a length of 65,535 octets.
const BROKEN_OPT: [u8; 15] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 4, 0, 10, 0xff, 0xff];

/// The name with the case of each letter inverted.
fn other_case(name: &Name) -> Name {
    let swap = |octet: &u8| {
        if octet.is_ascii_lowercase() {
            octet.to_ascii_uppercase()
        } else {
            octet.to_ascii_lowercase()
        }
    };
    let labels: Vec<Vec<u8>> = name
        .iter()
        .map(|label| label.iter().map(swap).collect())
        .collect();
    let mut swapped = Name::from_labels(labels).expect("letters of a name make a name");
    swapped.set_fqdn(true);
    swapped
}

fn forge_addresses(message: &mut Message, address: Ipv4Addr) {
    for record in message.answers.iter_mut().chain(&mut message.additionals) {
        if matches!(record.data, RData::A(_)) {
            record.data = RData::A(rdata::A(address));
        }
    }
}

fn records(lines: &str) -> Vec<hickory_proto::rr::Record> {
    zone::parse(&Name::root(), lines)
        .values()
        .flat_map(|set| set.records_without_rrsigs().cloned())
        .collect()
}
