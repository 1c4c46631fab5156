//! NOTIFY (RFC 1996): a primary announces that its zone changed. The message is only a hint: it
//! makes the next SOA query earlier, and that query is authenticated. So a NOTIFY is accepted from
//! any sender, signed or not. The daemon limits how often one may trigger a fetch.

use domain::{
    base::{
        Message, MessageBuilder, ParsedName, Question,
        iana::{Opcode, Rcode, Rtype},
    },
    rdata::Soa,
};

/// A primary's notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// The changed zone: lower case, no trailing dot.
    pub zone: String,
    /// The zone's new serial, if the message has it.
    pub serial: Option<u32>,
}

/// Parses a packet as a NOTIFY for a zone's SOA.
#[must_use]
pub fn read_notify(packet: &[u8]) -> Option<Notify> {
    let message = Message::from_octets(packet).ok()?;
    let question = question_of(&message)?;
    let zone = question.qname().to_string().to_ascii_lowercase();
    let soa = message
        .answer()
        .ok()?
        .limit_to::<Soa<_>>()
        .next()
        .and_then(Result::ok);
    let serial = soa
        .filter(|record| record.owner() == question.qname())
        .map(|record| record.data().serial().into_int());
    Some(Notify { zone, serial })
}

/// The reply to a NOTIFY: the same id and question with QR and AA. For any other packet the reply
/// is empty and must not be sent, because replies to arbitrary packets only help attackers.
#[must_use]
pub fn answer_notify(packet: &[u8]) -> Vec<u8> {
    let reply = || {
        let message = Message::from_octets(packet).ok()?;
        let question = question_of(&message)?;
        let mut builder = MessageBuilder::new_vec().question();
        let header = builder.header_mut();
        header.set_id(message.header().id());
        header.set_qr(true);
        header.set_opcode(Opcode::NOTIFY);
        header.set_aa(true);
        header.set_rcode(Rcode::NOERROR);
        builder.push(question).ok()?;
        Some(builder.finish())
    };
    reply().unwrap_or_default()
}

/// The question of a NOTIFY: the SOA of the changed zone.
fn question_of<'a>(message: &Message<&'a [u8]>) -> Option<Question<ParsedName<&'a [u8]>>> {
    let header = message.header();
    let question = message.sole_question().ok()?;
    (!header.qr() && header.opcode() == Opcode::NOTIFY && question.qtype() == Rtype::SOA)
        .then_some(question)
}

#[cfg(test)]
mod tests {
    use domain::{
        base::{Name, Serial, Ttl, iana::Class},
        rdata::tsig::Time48,
        tsig::{Algorithm, ClientTransaction, Key},
    };

    use super::*;

    /// A NOTIFY as a primary sends it: AA set, the new SOA in the answer, optionally signed.
    fn notify(zone: &str, serial: Option<u32>, signed: bool) -> Vec<u8> {
        let zone: Name<Vec<u8>> = zone.parse().unwrap();
        let mut builder = MessageBuilder::new_vec().question();
        builder.header_mut().set_id(0x4242);
        builder.header_mut().set_opcode(Opcode::NOTIFY);
        builder.header_mut().set_aa(true);
        builder.push((&zone, Rtype::SOA)).unwrap();
        let mut builder = builder.answer();
        if let Some(serial) = serial {
            let soa = Soa::new(
                &zone,
                &zone,
                Serial::from(serial),
                Ttl::ZERO,
                Ttl::ZERO,
                Ttl::ZERO,
                Ttl::ZERO,
            );
            builder.push((&zone, Class::IN, Ttl::ZERO, soa)).unwrap();
        }
        let mut builder = builder.additional();
        if signed {
            let key = Key::new(
                Algorithm::Sha256,
                b"secret",
                "key".parse().unwrap(),
                None,
                None,
            )
            .unwrap();
            ClientTransaction::request(std::sync::Arc::new(key), &mut builder, Time48::now())
                .unwrap();
        }
        builder.finish()
    }

    #[test]
    fn a_notify_says_which_zone_changed_and_to_which_serial() {
        for signed in [false, true] {
            let expected = |serial| {
                Some(Notify {
                    zone: "rpz.example".into(),
                    serial,
                })
            };
            assert_eq!(
                read_notify(&notify("RPZ.example", Some(7), signed)),
                expected(Some(7))
            );
            assert_eq!(
                read_notify(&notify("rpz.example.", None, signed)),
                expected(None)
            );
        }
    }

    #[test]
    fn the_answer_repeats_id_and_question_with_qr_and_aa_and_nothing_else() {
        let asked = notify("rpz.example", Some(7), true);
        let octets = answer_notify(&asked);
        let answer = Message::from_slice(&octets).unwrap();
        let header = answer.header();
        assert_eq!(
            (
                header.id(),
                header.qr(),
                header.aa(),
                header.opcode(),
                header.rcode()
            ),
            (0x4242, true, true, Opcode::NOTIFY, Rcode::NOERROR)
        );
        assert_eq!(
            answer.sole_question().unwrap(),
            Message::from_slice(&asked)
                .unwrap()
                .sole_question()
                .unwrap()
        );
        let counts = answer.header_counts();
        assert_eq!(
            (counts.ancount(), counts.nscount(), counts.arcount()),
            (0, 0, 0)
        );
    }

    #[test]
    fn what_is_no_notify_is_neither_read_nor_answered() {
        let good = notify("rpz.example", Some(7), false);
        let bent = |place: usize, octet: u8| {
            let mut packet = good.clone();
            packet[place] = octet;
            packet
        };
        let answer = bent(2, 0xa4);
        let query = bent(2, 0);
        let no_question = bent(5, 0);
        let of_another_type = bent(12 + 13 + 1, 1);
        for packet in [
            &answer,
            &query,
            &no_question,
            &of_another_type,
            &good[..11].to_vec(),
            &good[..20].to_vec(),
            &Vec::new(),
        ] {
            assert_eq!(read_notify(packet), None, "{packet:?}");
            assert!(answer_notify(packet).is_empty(), "{packet:?}");
        }
    }
}
