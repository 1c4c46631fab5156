//! An explanation: the data path is asked, and what it says is put into words.

use std::sync::Arc;

use policy::{
    decide::EffectivePolicy,
    explain::{AnswerSummary, QueryExplanation},
    lists::blocklist::Blocklist,
    name::{Name, WireName},
};

use crate::{
    cache::{Entry, KeyRef},
    engine::{Asked, AtHand, CLASS_IN, Engine, Walked},
    message::{
        query::{Query, Rcode},
        reader::{self, presentation},
        reply::{self, Transport},
    },
};

/// Stands for a code where no answer is sent.
const NO_ANSWER: &str = "DROPPED";

impl Engine {
    /// Says what an asker would get and why, by asking the data path for it: by the live lists, or
    /// by others, which may be old.
    pub async fn explain(
        self: &Arc<Self>,
        asker: EffectivePolicy,
        name: Name,
        record_type: u16,
        lists: Option<Arc<Blocklist>>,
    ) -> QueryExplanation {
        let packet = question_packet(&name, record_type);
        let mut room = WireName::default();
        let Ok(query) = Query::parse(&packet, &mut room) else {
            unreachable!("our own query can be read");
        };
        let live = self.parts.lists.current();
        let lists = lists.unwrap_or_else(|| Arc::clone(&live));
        let mut reply = Vec::new();
        let key = KeyRef::of(&query);
        let known = self
            .cache
            .find(&key)
            .unwrap_or_else(|| Arc::new(Entry::unresolved(&key)));
        // What other lists say of an entry is not to be remembered with it.
        let mut entry = if lists.stamp() == live.stamp() {
            known
        } else {
            Arc::new(known.unjudged())
        };
        let at_hand = AtHand {
            entry: &entry,
            is_usable: entry.is_fresh(self.now()),
            is_stale: false,
            now: self.now(),
        };
        let mut walked = self.walk(&query, &asker, &lists, at_hand, Transport::Told, &mut reply);
        if !matches!(walked, Walked::Answered { .. }) {
            // From here on as with a query: it takes a permit, waits as long as a client does, and
            // is given what that is given.
            match Arc::clone(&self.resolutions).try_acquire_owned() {
                Ok(permit) => {
                    let asked = Asked {
                        query: &query,
                        asker: &asker,
                        lists: &lists,
                        transport: Transport::Told,
                    };
                    let completed = self.complete(asked, walked, permit, &mut reply).await;
                    walked = completed.walked;
                    entry = completed.entry.unwrap_or(entry);
                }
                Err(_) => match walked {
                    Walked::NoTarget { verdict, .. } => {
                        self.lead(&query, verdict, &lists, None, Transport::Told, &mut reply)
                    }
                    _ => reply::write_error(
                        &mut reply,
                        &query,
                        Rcode::ServFail,
                        None,
                        Transport::Told,
                    ),
                },
            }
        }
        let (verdict, hop) = match walked {
            Walked::Answered { verdict, hop } | Walked::NoTarget { verdict, hop } => (verdict, hop),
            // Without an answer only the name itself could be judged.
            Walked::NoAnswer { verdict } => (verdict, 0),
        };
        let names = std::iter::once(name.clone())
            .chain(entry.hops(&lists))
            .collect();
        QueryExplanation {
            names,
            hop,
            verdict,
            lists,
            answer: summarise(&reply),
        }
    }
}

/// A query as a client with EDNS would send it.
fn question_packet(name: &Name, record_type: u16) -> Vec<u8> {
    let mut packet = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(name.borrow().wire());
    packet.extend(record_type.to_be_bytes());
    packet.extend(CLASS_IN.to_be_bytes());
    packet.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    packet
}

fn summarise(reply: &[u8]) -> AnswerSummary {
    if reply.is_empty() {
        return AnswerSummary {
            rcode: NO_ANSWER.to_owned(),
            records: Vec::new(),
            error: None,
        };
    }
    let message = reader::read(reply)
        .expect("our own reply can be read")
        .message;
    let error = message.edns.as_ref().and_then(reply::read_extended_error);
    AnswerSummary {
        rcode: reply::rcode_name(message.metadata.response_code),
        records: message.answers.iter().map(presentation).collect(),
        error,
    }
}
