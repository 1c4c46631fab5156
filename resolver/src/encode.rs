//! From what the Internet said to what the cache keeps: TTLs within bounds, written as wire.

use std::time::Duration;

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query as ProtoQuery},
    rr::RData,
};

use crate::{
    cache::Entry,
    recurse::{Answer, Question, RecursionError},
};

/// The longest an answer is kept, in seconds: RFC 8767 section 4 advises a cap of days, a day loses nothing.
const POSITIVE_TTL_MAX_S: u32 = 86_400;
/// The longest a negative answer is kept, in seconds, RFC 2308 section 5.
const NEGATIVE_TTL_MAX_S: u32 = 3_600;

/// An answer as the cache keeps it.
pub(crate) fn encode(question: &Question, mut answer: Answer, now: Duration) -> Result<Entry, RecursionError> {
    let ttl_s = cap_ttls(&mut answer);
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.metadata.response_code = answer.rcode;
    message.add_query(ProtoQuery::query(question.proto_name(), question.proto_type()));
    message.add_answers(answer.answers);
    message.add_authorities(answer.authorities);
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| RecursionError {
        name: question.name.clone(),
        record_type: question.record_type,
        code: None,
        source,
    };
    let wire = message.to_vec().map_err(|error| failed(error.into()))?;
    Entry::new(wire, ttl_s, now).ok_or_else(|| failed("the answer cannot be walked".into()))
}

/// Brings TTLs into bounds and returns how long the whole may be kept, in seconds.
fn cap_ttls(answer: &mut Answer) -> u32 {
    for record in &mut answer.answers {
        // A TTL with the upper bit set is none, RFC 2181 section 8.
        record.ttl = if record.ttl > i32::MAX.unsigned_abs() { 0 } else { record.ttl.min(POSITIVE_TTL_MAX_S) };
    }
    for record in &mut answer.authorities {
        if let RData::SOA(soa) = &record.data {
            record.ttl = record.ttl.min(soa.minimum).min(NEGATIVE_TTL_MAX_S);
        }
    }
    let records = answer.answers.iter().chain(&answer.authorities);
    records.map(|record| record.ttl).min().unwrap_or(0)
}
