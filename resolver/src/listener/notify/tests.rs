//! NOTIFY messages and their answers.

use std::sync::{Arc, Mutex};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name as ProtoName, RecordType},
};

use super::*;

fn packet(zone: &str, record_type: RecordType) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Notify);
    message.metadata.authoritative = true;
    message.add_query(Query::query(
        ProtoName::from_ascii(zone).unwrap(),
        record_type,
    ));
    message.to_vec().unwrap()
}

#[test]
fn a_notify_is_handled_and_answered_and_a_broken_one_is_not() {
    let notified = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&notified);
    let on_notify: OnNotify = Arc::new(move |zone, peer| {
        log.lock()
            .unwrap()
            .push((zone.to_string(), peer.to_string()));
        zone.to_string() == "rpz.example"
    });
    let ask = |packet: &[u8]| {
        let mut reply = vec![1, 2, 3];
        assert!(is_notify(packet));
        answer(
            packet,
            "::ffff:192.0.2.1".parse().unwrap(),
            &on_notify,
            &mut reply,
        );
        Message::from_vec(&reply).unwrap()
    };
    let taken = ask(&packet("RpZ.example.", RecordType::SOA));
    assert_eq!(
        (
            taken.metadata.id,
            taken.metadata.op_code,
            taken.metadata.message_type
        ),
        (4711, OpCode::Notify, MessageType::Response)
    );
    assert!(taken.metadata.authoritative);
    assert_eq!(
        (
            taken.metadata.response_code,
            taken.queries[0].name.to_ascii().as_str()
        ),
        (ResponseCode::NoError, "RpZ.example.")
    );
    assert_eq!(
        ask(&packet("other.example.", RecordType::SOA))
            .metadata
            .response_code,
        ResponseCode::Refused
    );
    assert_eq!(
        *notified.lock().unwrap(),
        [("rpz.example", "192.0.2.1"), ("other.example", "192.0.2.1")]
            .map(|(z, p)| (z.into(), p.into()))
    );
    let of_other_type = ask(&packet("rpz.example.", RecordType::A));
    assert_eq!(of_other_type.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(
        of_other_type.queries.len(),
        1,
        "the question comes back where it can be read"
    );
    let whole = packet("rpz.example.", RecordType::SOA);
    for end in 12..whole.len() {
        assert_eq!(
            ask(&whole[..end]).metadata.response_code,
            ResponseCode::FormErr,
            "{end}"
        );
    }
    assert_eq!(
        notified.lock().unwrap().len(),
        2,
        "the handler is not called for a broken packet"
    );
}
