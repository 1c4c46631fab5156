//! How an authority server behaves: well, badly, or as a liar.
//!
//! A behaviour can be changed at any moment with [`Authority::becomes`](super::Authority::becomes) and holds from the
//! next query on. This file says what each one means; `authority.rs` carries it out.

use std::{net::Ipv4Addr, time::Duration};

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::Name;

use super::zone;

/// What a server does with the queries that reach it.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers from its zones.
    Answers,
    /// Takes queries and never replies, over UDP and TCP.
    Silent,
    /// Answers, but only after this long.
    Delays(Duration),
    /// Leaves this share of the UDP queries, 0 to 1, unanswered; the seed makes a run repeatable. TCP loses nothing.
    Loses {
        /// Probability that a query gets no reply.
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
    /// Replies FORMERR to every query that carries EDNS, as some old servers do, and answers the others.
    RejectsEdns,
    /// Answers every A question, whatever its name, with this address, and all else with NODATA. With it one root
    /// server stands for a whole Internet in which every name exists.
    AnswersEverything(Ipv4Addr),
    /// Sends the lie in place of the answer.
    Lies(Lie),
    /// Sends the lie, and directly after it the answer: an attacker who was faster. Over TCP only the answer.
    LiesFirst(Lie),
}

/// One way of not telling the truth.
#[derive(Clone, Debug)]
pub enum Lie {
    /// The answer under another message id.
    WrongId,
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
    /// These bytes.
    Garbage(Vec<u8>),
}

/// The name put into the question by [`Lie::WrongQuestion`].
pub const FORGED_NAME: &str = "never-asked.invalid.";

impl Lie {
    /// The truth, bent. `None` means that no message can say it; [`Lie::Garbage`] then has the bytes.
    pub(super) fn bend(&self, mut truth: Message) -> Option<Message> {
        match self {
            Self::WrongId => truth.metadata.id ^= 0x5aa5,
            Self::WrongQuestion => {
                let forged = Name::from_ascii(FORGED_NAME).expect("the constant is a name");
                truth.queries.iter_mut().for_each(|question| question.name = forged.clone());
            }
            Self::NotAReply => truth.metadata.message_type = MessageType::Query,
            Self::ExtraAnswer(lines) => truth.answers.extend(records(lines)),
            Self::ExtraAuthority(lines) => truth.authorities.extend(records(lines)),
            Self::ExtraAdditional(lines) => truth.additionals.extend(records(lines)),
            Self::Garbage(_) => return None,
        }
        Some(truth)
    }
}

fn records(lines: &str) -> Vec<hickory_proto::rr::Record> {
    zone::parse(&Name::root(), lines).values().flat_map(|set| set.records_without_rrsigs().cloned()).collect()
}
