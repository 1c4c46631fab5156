//! An explanation: the data path is asked, and what it says is put into words.

use std::sync::Arc;

use policy::{
    blocklist::Blocklist,
    decide::Asker,
    explain::{AnswerSummary, Explained},
    name::{Name, WireName},
};

use crate::{
    alias::Alias,
    cache::{Entry, KeyRef},
    engine::{AtHand, CLASS_IN, Engine, Walked},
    message::{self, presentation},
    query::{Query, Rcode},
    recurse::Question,
    respond::{self, Reason, Transport},
};

/// Stands for a code where no answer is sent.
const NO_ANSWER: &str = "DROPPED";

impl Engine {
    /// Says what an asker would get and why, by asking the data path for it: by the live lists, or by others, which may be old.
    pub async fn explain(&self, asker: Asker, name: Name, record_type: u16, lists: Option<Arc<Blocklist>>) -> Explained {
        let packet = question_packet(&name, record_type);
        let mut room = WireName::default();
        let Ok(query) = Query::parse(&packet, &mut room) else {
            unreachable!("our own query can be read");
        };
        let live = self.parts.lists.current();
        let lists = lists.unwrap_or_else(|| Arc::clone(&live));
        // What other lists say of an entry is not to be remembered with it.
        let own = |entry: Arc<Entry>| if lists.stamp() == live.stamp() { entry } else { Arc::new(entry.unjudged()) };
        let mut reply = Vec::new();
        let key = KeyRef::of(&query);
        let mut entry = own(self.cache.find(&key).unwrap_or_else(|| Arc::new(Entry::unresolved(&key))));
        let mut walk = |entry: &Entry, is_usable| {
            let at_hand = AtHand { entry, is_usable, is_stale: false, now: self.now() };
            self.walk(&query, &asker, &lists, at_hand, Transport::Told, &mut reply)
        };
        let mut walked = walk(&entry, entry.is_fresh(self.now()));
        if matches!(walked, Walked::NoAnswer { .. }) {
            match self.obtain(key.to_owned(), Question::new(name.clone(), record_type)).await {
                Ok(resolved) => {
                    let resolved = own(resolved);
                    walked = walk(&resolved, true);
                    entry = resolved;
                }
                Err(code) => respond::write_error(&mut reply, &query, Rcode::ServFail, code.map(Reason::Code), Transport::Told),
            }
        }
        if let Walked::NoTarget { verdict, .. } = walked
            && let Some(alias) = Alias::wanted(query.name(), verdict, &lists)
        {
            let obtained = self.obtain(alias.key(&query).to_owned(), alias.question(&query)).await.ok();
            let resolved = obtained.as_ref().map(|entry| AtHand { entry, is_usable: true, is_stale: false, now: self.now() });
            self.lead(&query, verdict, &lists, resolved, Transport::Told, &mut reply);
        }
        let (verdict, hop) = match walked {
            Walked::Answered { verdict, hop } | Walked::NoTarget { verdict, hop } => (verdict, hop),
            // Without an answer only the name itself could be judged.
            Walked::NoAnswer { verdict } => (verdict, 0),
        };
        let names = std::iter::once(name.clone()).chain(entry.hops(&lists)).collect();
        Explained { names, hop, verdict, lists, answer: summarise(&reply) }
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
        return AnswerSummary { rcode: NO_ANSWER.to_owned(), records: Vec::new(), error: None };
    }
    let message = message::read(reply).expect("our own reply can be read").message;
    let error = message.edns.as_ref().and_then(respond::read_extended_error);
    AnswerSummary {
        rcode: respond::rcode_name(message.metadata.response_code),
        records: message.answers.iter().map(presentation).collect(),
        error,
    }
}
