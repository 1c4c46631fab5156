//! From what the Internet said to what the cache keeps, written as wire. The bounds on TTLs are
//! recursion's (`recursion.ttl_*`); this file has none of its own.

use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query as ProtoQuery};

use crate::{
    cache::Entry,
    upstream::{Answer, Question, RecursionError},
};

/// An answer as the cache keeps it.
pub(crate) fn encode(
    question: &Question,
    mut answer: Answer,
    now: Duration,
) -> Result<Entry, RecursionError> {
    let ttl_s = shortest_ttl(&mut answer);
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.metadata.response_code = answer.rcode;
    message.add_query(ProtoQuery::query(
        question.proto_name(),
        question.proto_type(),
    ));
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

/// How long the whole may be kept, in seconds: as long as each of its records. A TTL with the upper
/// bit set is none (RFC 2181 section 8).
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
mod tests {
    use hickory_proto::{
        op::ResponseCode,
        rr::{Name, RData, Record, RecordType, rdata},
    };
    use policy::name::Name as PolicyName;

    use super::*;

    const NOW: Duration = Duration::from_secs(10);

    fn entry(record_type: RecordType, answers: Vec<Record>, authorities: Vec<Record>) -> Entry {
        let question = Question::new(
            PolicyName::parse("www.example.com").unwrap(),
            record_type.into(),
        );
        encode(
            &question,
            Answer {
                rcode: ResponseCode::NoError,
                answers,
                authorities,
            },
            NOW,
        )
        .unwrap()
    }

    fn address(ttl: u32) -> Record {
        Record::from_rdata(
            Name::from_ascii("www.example.com.").unwrap(),
            ttl,
            RData::A(rdata::A::new(192, 0, 2, 1)),
        )
    }

    /// The TTLs of all records, and how long the whole is fresh.
    fn check(answers: Vec<Record>, authorities: Vec<Record>, ttls: &[u32], fresh_s: u64) {
        let entry = entry(RecordType::A, answers, authorities);
        let message = crate::message::reader::read(entry.message())
            .unwrap()
            .message;
        let written: Vec<u32> = message
            .answers
            .iter()
            .chain(&message.authorities)
            .map(|record| record.ttl)
            .collect();
        assert_eq!(written, ttls);
        assert_eq!(entry.may_be_kept(), fresh_s > 0);
        assert!(
            !entry.is_fresh(NOW + Duration::from_secs(fresh_s)),
            "{ttls:?}"
        );
        assert!(
            fresh_s == 0 || entry.is_fresh(NOW + Duration::from_secs(fresh_s - 1)),
            "{ttls:?}"
        );
    }

    #[test]
    fn recursion_has_bounded_ttls_and_nothing_bounds_them_again() {
        check(vec![address(604_800)], vec![], &[604_800], 604_800);
        check(vec![address(300), address(60)], vec![], &[300, 60], 60);
        check(
            vec![address(i32::MAX.unsigned_abs())],
            vec![],
            &[i32::MAX.unsigned_abs()],
            u64::from(i32::MAX.unsigned_abs()),
        );
        check(vec![address(1 << 31)], vec![], &[0], 0);
        check(vec![], vec![], &[], 0);
        // The minimum of the SOA is shorter than what the operator wants a denial to be kept for,
        // and than a day.
        let soa = |ttl| {
            let name = Name::from_ascii("example.com.").unwrap();
            let soa = rdata::SOA::new(name.clone(), name.clone(), 1, 2, 3, 4, 5);
            Record::from_rdata(name, ttl, RData::SOA(soa))
        };
        check(vec![], vec![soa(60)], &[60], 60);
        check(vec![], vec![soa(86_400)], &[86_400], 86_400);
        check(vec![address(600)], vec![soa(60)], &[600, 60], 60);
    }

    #[test]
    fn opaque_data_is_written_as_it_came() {
        for (record_type, octets) in [
            (65_281, &b""[..]),
            (65, b"\0\x01\0\0\x01\0\x03\x02h2\0\x01\0\x03\x02h3"),
            (16, b"\x09short"),
            (33, b"\xc0\x0c"),
        ] {
            let mut rdata = rdata::NULL::new();
            rdata.anything = octets.to_vec();
            let data = RData::Unknown {
                code: RecordType::from(record_type),
                rdata,
            };
            let entry = entry(
                RecordType::from(record_type),
                vec![Record::from_rdata(Name::root(), 60, data)],
                vec![],
            );
            let length = u16::try_from(octets.len()).unwrap().to_be_bytes();
            assert!(
                entry.message().ends_with(&[&length[..], octets].concat()),
                "{:02x?}",
                entry.message()
            );
        }
    }

    #[test]
    fn what_a_service_record_leads_to_is_in_the_chain() {
        for record_type in [RecordType::HTTPS, RecordType::SVCB] {
            let data = |octets: &[u8]| RData::Unknown {
                code: record_type,
                rdata: rdata::NULL::with(octets.to_vec()),
            };
            let record = |octets: &[u8]| Record::from_rdata(Name::root(), 60, data(octets));
            let answers = vec![
                record(b"\0\0\x03Bad\x07EXAMPLE\0"),
                record(b"\0\x01\0"),
                record(b"\0"),
                record(b"\0\x01\x01b\0\0\x01\0\x03\x02h2"),
            ];
            let chain: Vec<String> = entry(record_type, answers, vec![])
                .chain()
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(chain, ["bad.example", "b"]);
        }
    }
}
