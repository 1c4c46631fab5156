//! Explanations: the data path answers a query of its own making, and the explanation says which
//! verdict and which records the client would get.

use std::sync::Arc;

use policy::{
    decide::EffectivePolicy,
    explain::{AnswerSummary, QueryExplanation},
    lists::blocklist::Blocklist,
    name::{Name, WireName},
};

use crate::{
    admission::{Admitted, ClientKey},
    cache::{AnswerEntry, QuestionKeyRef},
    engine::{
        core::Engine,
        walk::{CachedAnswer, Decision, Ended, Unavailable, Walk},
    },
    message::{
        query::Query,
        reader::{self, presentation},
        reply::{self, Reply},
        types::{Class, Rtype, Transport},
    },
    telemetry::counters::Count,
};

/// The response code of an explanation where no answer is sent.
const NO_ANSWER: &str = "DROPPED";

impl Engine {
    /// Explains what a policy would get for a name and type, and why: under the live lists, or under
    /// others, which may be older. A resolution takes a place of `client`.
    pub async fn explain(
        self: &Arc<Self>,
        policy: EffectivePolicy,
        client: ClientKey,
        (name, record_type): (Name, u16),
        lists: Option<Arc<Blocklist>>,
    ) -> QueryExplanation {
        let packet = query_packet(&name, record_type.into());
        let mut name_buffer = WireName::default();
        let Ok(query) = Query::parse(&packet, &mut name_buffer) else {
            unreachable!("the packet is a valid query");
        };
        let lists = lists.unwrap_or_else(|| self.config.lists.current());
        let mut buffer = Vec::new();
        let key = QuestionKeyRef::of(&query);
        let known = self
            .cache
            .find(&key)
            .unwrap_or_else(|| Arc::new(AnswerEntry::placeholder(&key)));
        let mut entry = self.classified_by(known, &lists);
        let mut walk = Walk {
            policy: &policy,
            lists: &lists,
            reply: Reply::new(&query, Transport::Internal, &mut buffer),
        };
        let ended = match self.walk(&mut walk, CachedAnswer::new(&entry, self.now())) {
            Ok(decision) => Ended::Answered(decision),
            // A miss, as for a client: it takes a place, and waits as long as a client does.
            Err(lacking) => match self.admission.admit(client, query.name(), self.now()) {
                Ok(Admitted { place, evicted }) => {
                    if let Some(group) = evicted {
                        self.runtime_state().metrics.count(Count::evicted(&group));
                    }
                    let completed = self.complete_or_evict(&mut walk, lacking, place).await;
                    entry = completed.entry.unwrap_or(entry);
                    completed.ended
                }
                Err(_) => self.give_up(&mut walk, lacking, Unavailable::SERVFAIL),
            },
        };
        let (verdict, hop) = match ended {
            Ended::Answered(Decision { verdict, hop }) => (verdict, hop),
            // Without an answer only the queried name was judged.
            Ended::Unresolved(verdict) => (verdict, 0),
        };
        let names = std::iter::once(name.clone())
            .chain(entry.hops(&lists))
            .collect();
        QueryExplanation {
            names,
            hop,
            verdict,
            lists,
            answer: summarise(&buffer),
        }
    }
}

/// A query with RD and an EDNS payload size of 1,232 octets.
fn query_packet(name: &Name, rtype: Rtype) -> Vec<u8> {
    let mut packet = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(name.borrow().wire());
    packet.extend(rtype.to_be_bytes());
    packet.extend(Class::IN.to_be_bytes());
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
        .expect("the engine's own reply parses")
        .message;
    let error = message.edns.as_ref().and_then(reply::read_extended_error);
    AnswerSummary {
        rcode: reply::rcode_name(message.metadata.response_code),
        records: message.answers.iter().map(presentation).collect(),
        error,
    }
}
