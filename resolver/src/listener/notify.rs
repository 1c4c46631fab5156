//! NOTIFY, RFC 1996: a hint that a zone has changed. It is never believed but only makes somebody
//! ask the zone's server earlier, so that a signature in it (TSIG) is as good as none, and how
//! often that may happen is the business of whoever is told.

use std::net::IpAddr;

use policy::name::{Name, NameRef, WireName};

use crate::message::{
    query::{HEADER_OCTETS, Rcode, number},
    reply::push_opt_for,
};

/// The opcode in the third octet of a header, RFC 1996 section 3.3, and where it stands.
const NOTIFY: u8 = 4 << 3;
const OPCODE_BITS: u8 = 0x78;
/// This is an answer; and it is authoritative.
const QR: u8 = 0x80;
const AA: u8 = 0x04;
const TYPE_SOA: u16 = 6;
const CLASS_IN: u16 = 1;

/// Whom a zone's change is told, and by which peer; whether that is anybody's business here.
pub type OnNotify = std::sync::Arc<dyn Fn(Name, IpAddr) -> bool + Send + Sync>;

/// Whether a packet is one. It is no answer: those were dropped before.
pub(crate) fn is_notify(packet: &[u8]) -> bool {
    packet
        .get(2)
        .is_some_and(|flags| flags & OPCODE_BITS == NOTIFY)
}

/// Tells and answers: NOERROR where it was somebody's business, REFUSED where it was not, FORMERR
/// where it cannot be read.
pub(crate) fn answer(packet: &[u8], peer: IpAddr, tell: &OnNotify, reply: &mut Vec<u8>) {
    let mut room = WireName::default();
    let zone = read_zone(packet, &mut room);
    let rcode = match zone {
        None => Rcode::FormErr,
        Some(zone) if tell(zone.to_owned(), peer.to_canonical()) => Rcode::NoError,
        Some(_) => Rcode::Refused,
    };
    reply.clear();
    reply.extend_from_slice(&[
        packet[0],
        packet[1],
        QR | AA | NOTIFY,
        rcode as u8,
        0,
        u8::from(zone.is_some()),
        0,
        0,
        0,
        0,
        0,
        0,
    ]);
    if let Some(zone) = zone {
        // The letter case is the peer's.
        reply.extend_from_slice(&packet[HEADER_OCTETS..HEADER_OCTETS + zone.wire().len() + 4]);
    }
    push_opt_for(reply, packet);
}

/// The zone of the one question: `ZONE IN SOA`.
fn read_zone<'r>(packet: &[u8], room: &'r mut WireName) -> Option<NameRef<'r>> {
    if number(packet, 4)? != 1 {
        return None;
    }
    let zone = room.read(packet, HEADER_OCTETS).ok()?;
    let at = HEADER_OCTETS + zone.wire().len();
    (number(packet, at)? == TYPE_SOA && number(packet, at + 2)? == CLASS_IN).then_some(zone)
}

#[cfg(test)]
mod tests {
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
    fn a_notify_is_told_and_answered_and_what_is_none_is_not() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let tell: OnNotify = Arc::new(move |zone, peer| {
            heard
                .lock()
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
                &tell,
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
            *told.lock().unwrap(),
            [("rpz.example", "192.0.2.1"), ("other.example", "192.0.2.1")]
                .map(|(z, p)| (z.into(), p.into()))
        );
        assert_eq!(
            ask(&packet("rpz.example.", RecordType::A))
                .metadata
                .response_code,
            ResponseCode::FormErr
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
            told.lock().unwrap().len(),
            2,
            "what cannot be read is nobody's business"
        );
    }
}
