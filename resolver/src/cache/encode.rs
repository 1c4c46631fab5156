//! Encodes an upstream answer as a cache entry. The recursor has bounded its TTLs
//! (`recursion.ttl_*`).

use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query as ProtoQuery};

use crate::{
    cache::{AnswerEntry, QuestionKeyRef},
    message::{
        types::{Class, EdeCode},
        wire::HEADER_OCTETS,
    },
    upstream::{Answer, Question, RecursionError},
};

pub(crate) fn encode(
    question: &Question,
    mut answer: Answer,
    now: Duration,
) -> Result<AnswerEntry, RecursionError> {
    let ttl_s = shortest_ttl(&mut answer);
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.metadata.response_code = answer.rcode;
    message.metadata.authentic_data = answer.is_secure;
    let code = answer.code.map(EdeCode::new);
    message.add_query(ProtoQuery::query(
        question.proto_name(),
        question.proto_type(),
    ));
    message.add_answers(answer.answers);
    message.add_authorities(answer.authorities);
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| RecursionError {
        name: question.name.clone(),
        rtype: question.rtype,
        code: None,
        source,
    };
    let mut wire = message.to_vec().map_err(|error| failed(error.into()))?;
    // The question of an entry is its key. A reply has the question of its query.
    let key = QuestionKeyRef::new(question.name.borrow(), question.rtype, Class::IN)
        .with_bits(question.bits)
        .to_owned();
    key.write_question(&mut wire[HEADER_OCTETS..]);
    AnswerEntry::new(wire, ttl_s, now)
        .map(|entry| entry.with_code(code))
        .ok_or_else(|| failed("the encoded answer cannot be parsed".into()))
}

/// The lowest TTL of all records, in seconds. A TTL with the most significant bit set counts as 0
/// (RFC 2181 section 8).
fn shortest_ttl(answer: &mut Answer) -> u32 {
    let records = answer.answers.iter_mut().chain(&mut answer.authorities);
    let ttls = records.map(|record| {
        if record.ttl > i32::MAX.unsigned_abs() {
            record.ttl = 0;
        }
        record.ttl
    });
    ttls.min().unwrap_or(0)
}

#[cfg(test)]
mod tests;
