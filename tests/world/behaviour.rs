//! How an authority server behaves: well, badly, or as a liar.
//!
//! A behaviour can be changed at any moment with [`Authority::becomes`](super::Authority::becomes)
//! and holds from the next query on. This file says what each one means; `authority.rs` carries it
//! out.

use std::{net::Ipv4Addr, time::Duration};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{Name, RData, rdata},
};

use super::{game::Game, spoofer::Spoofer, zone};

/// What a server does with the queries that reach it.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers from its zones.
    Answers,
    /// Takes queries and never replies, over UDP and TCP.
    Silent,
    /// Answers, but only after this long.
    Delays(Duration),
    /// Leaves this share of the UDP queries, 0 to 1, unanswered; the seed makes a run repeatable.
    /// TCP loses nothing.
    Loses {
        /// Probability that a query gets no reply.
        share: f64,
        /// Start of the chain of chances; see [`seed`](super::seed).
        seed: u64,
    },
    /// Loses this share of the UDP packets, 0 to 1, on their way in, and the same share of what is
    /// left on its way out.
    LosesBothWays {
        /// Probability that one packet is lost.
        share: f64,
        /// Start of the chain of chances; see [`seed`](super::seed).
        seed: u64,
    },
    /// Replies REFUSED, as a server does that was never told of the zone.
    Refuses,
    /// Replies SERVFAIL.
    Fails,
    /// Lame: replies without authority and without answer, pointing back to the root.
    RefersUpwards,
    /// Over UDP says only that the answer is truncated; answers over TCP.
    Truncates,
    /// Over UDP says only that the answer is truncated; over TCP takes the query and never replies.
    TruncatesAndHangs,
    /// Over UDP says only that the answer is truncated; over TCP sends one octet of it each time
    /// this long has passed.
    Drips(Duration),
    /// Replies FORMERR to every query that carries EDNS, as some old servers do, and answers the
    /// others.
    RejectsEdns,
    /// Replies NXDOMAIN to every name that has a capital, and answers the others.
    DeniesCapitals,
    /// Replies SERVFAIL to every query that carries EDNS options, and answers the others.
    FailsOnOptions,
    /// Answers every A question, whatever its name, with this address, and all else with NODATA.
    /// With it one root server stands for a whole Internet in which every name exists.
    AnswersEverything(Ipv4Addr),
    /// Sends the lie in place of the answer.
    Lies(Lie),
    /// Sends the lies, and directly after them the answer: an attacker who was faster. Over TCP
    /// only the answer.
    LiesFirst(Vec<Lie>),
    /// Answers, but an attacker off the path was faster. Over TCP only the answer.
    Spoofed(Spoofer),
    /// Answers what stands in its zones; below them an attacker leads the resolver on.
    Plays(Game),
}

/// One way of not telling the truth.
#[derive(Clone, Debug)]
pub enum Lie {
    /// The answer under another message id.
    WrongId,
    /// The answer under an id that lies this far from the right one.
    IdPlus(u16),
    /// The answer, each letter of its question in the other case.
    WrongCase,
    /// The answer with this address in place of each that it holds.
    ForgedAddress(Ipv4Addr),
    /// The answer without its question.
    NoQuestion,
    /// No records but this code.
    Code(ResponseCode),
    /// The answer with an OPT record whose option reaches past its end.
    BrokenOpt,
    /// The answer, but to a question nobody asked.
    WrongQuestion,
    /// The answer with the QR bit clear.
    NotAReply,
    /// The answer, with these records (master-file lines, full names) added to the answer section.
    ExtraAnswer(String),
    /// The same, added to the authority section.
    ExtraAuthority(String),
    /// The same, added to the additional section.
    ExtraAdditional(String),
    /// All of these at once, in this order.
    AllOf(Vec<Self>),
    /// These bytes.
    Garbage(Vec<u8>),
}

/// The name put into the question by [`Lie::WrongQuestion`].
pub const FORGED_NAME: &str = "never-asked.invalid.";

impl Lie {
    /// The truth, bent. `None` means that no message can say it; [`Lie::Garbage`] then has the
    /// bytes.
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
            // What is broken in the bytes only; see `scar`.
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

    /// The bytes of what `bend` made, with what no message can say.
    pub(super) fn scar(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Self::BrokenOpt => {
                // ARCOUNT, which stands in the last two octets of the header.
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

/// Root, OPT, 1232 octets, no flags, four octets of data: option 10 with 65,535 octets.
const BROKEN_OPT: [u8; 15] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 4, 0, 10, 0xff, 0xff];

/// The name with each letter in the other case.
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
