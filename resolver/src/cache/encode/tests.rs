//! Answers as the cache keeps them.

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType, rdata},
};
use policy::name::Name as PolicyName;

use super::*;

const NOW: Duration = Duration::from_secs(10);

fn entry(record_type: RecordType, answers: Vec<Record>, authorities: Vec<Record>) -> AnswerEntry {
    let question = Question::new(
        PolicyName::parse("www.example.com").unwrap(),
        record_type.into(),
    );
    encode(
        &question,
        Answer {
            answers,
            authorities,
            ..Answer::empty(ResponseCode::NoError)
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

/// Compares the TTLs of all records, and the time for which the entry is fresh.
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
    assert_eq!(entry.is_cacheable(), fresh_s > 0);
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
fn the_encoder_keeps_the_ttls_that_the_recursor_has_bounded() {
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
    // The minimum of the SOA does not bound the TTL again.
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
fn opaque_data_is_written_unchanged() {
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
fn targets_of_service_records_are_in_the_chain() {
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
