//! Replies, parsed again: aliases with the answers of their targets, and rejections.

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name as ProtoName, RData, Record, RecordType, rdata},
};
use policy::{
    category::Taxonomy,
    decide::{Layer, Verdict},
    name::{Name, WireName},
};

use super::*;
use crate::message::{
    ede::{BlockContact, EdeWords},
    types::EdeCode,
};

fn packet(name: &str, with_edns: bool) -> Vec<u8> {
    let name = Name::parse(name).unwrap();
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(with_edns)];
    packet.extend_from_slice(name.borrow().wire());
    packet.extend([0, 1, 0, 1]);
    if with_edns {
        packet.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    }
    packet
}

fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(ProtoName::from_ascii(owner).unwrap(), ttl, data)
}

fn address(owner: &str) -> Record {
    record(owner, 30, RData::A(rdata::A::new(203, 0, 113, 1)))
}

/// A message with these sections, as the answer of a target.
fn answer(rcode: ResponseCode, answers: Vec<Record>, authorities: Vec<Record>) -> Message {
    let mut message = Message::query();
    message.metadata.response_code = rcode;
    message.answers = answers;
    message.authorities = authorities;
    message
}

/// The reply to a name with an alias to `target`, which has this answer.
fn aliased(asked: &str, target: &str, answer: &Message) -> (Vec<u8>, Message) {
    let words = EdeWords::new(
        std::sync::Arc::new(Taxonomy::shipped()),
        &BlockContact::default(),
    );
    let packet = packet(asked, true);
    let mut name_buffer = WireName::default();
    let mut buffer = vec![0xff; 9];
    let query = Query::parse(&packet, &mut name_buffer).ok().unwrap();
    let target = Name::parse(target).unwrap();
    let reason = Reason::Blocked(Verdict::of_layer(Layer::Category), None, &words);
    Reply::new(&query, Transport::Tcp, &mut buffer).alias(
        target.borrow(),
        60,
        Some(answer),
        reason,
    );
    let message = Message::from_vec(&buffer).unwrap();
    (buffer, message)
}

#[test]
fn compressed_names_behind_an_alias_are_read_back_as_they_were() {
    for (asked, target) in [
        ("bets.example", "garden.example"),
        ("a.b.c.d.bets.example", "x.garden.test"),
        ("a", "b"),
        ("www.garden.test", "garden.test"),
    ] {
        let fqdn = format!("{target}.");
        let [below, cousin] = ["www.", "mail."].map(|label| format!("{label}{fqdn}"));
        let answers = vec![
            record(
                &fqdn,
                30,
                RData::CNAME(rdata::CNAME(ProtoName::from_ascii(&below).unwrap())),
            ),
            address(&below),
            address(&fqdn),
            record(
                &fqdn,
                20,
                RData::MX(rdata::MX::new(10, ProtoName::from_ascii(&cousin).unwrap())),
            ),
        ];
        let soa = rdata::SOA::new(
            ProtoName::from_ascii(&fqdn).unwrap(),
            ProtoName::from_ascii("host.invalid.").unwrap(),
            1,
            2,
            3,
            4,
            5,
        );
        let authorities = vec![record(&fqdn, 5, RData::SOA(soa))];
        let (wire, message) = aliased(
            asked,
            target,
            &answer(ResponseCode::NXDomain, answers.clone(), authorities.clone()),
        );
        assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(
            message.answers[0].to_string(),
            format!("{asked}. 30 IN CNAME {fqdn}")
        );
        let shown =
            |records: &[Record]| records.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            shown(&message.answers[1..]),
            shown(&answers),
            "{asked} -> {target}"
        );
        assert_eq!(shown(&message.authorities), shown(&authorities));
        let spelled = |name: &str| Name::parse(name).unwrap().borrow().wire().to_vec();
        assert_eq!(
            wire.windows(spelled(target).len())
                .filter(|octets| *octets == spelled(target))
                .count(),
            1 + usize::from(asked.ends_with(target)),
            "the target is spelled out once"
        );
    }
}

#[test]
fn an_alias_whose_target_has_more_than_a_message_holds_stands_alone() {
    let answers = (0..5_000).map(|_| address("garden.example.")).collect();
    let (_, message) = aliased(
        "bets.example",
        "garden.example",
        &answer(ResponseCode::NXDomain, answers, Vec::new()),
    );
    assert_eq!(
        (
            message.metadata.response_code,
            message.answers.len(),
            message.authorities.len()
        ),
        (ResponseCode::NoError, 1, 0)
    );
    assert_eq!(message.answers[0].record_type(), RecordType::CNAME);
}

#[test]
fn a_code_is_split_between_the_header_and_the_opt_record() {
    let mut packet = packet("a.example", true);
    let version = packet.len() - 5;
    packet[version] = 1;
    let mut reply = vec![0xff; 3];
    write_rejection(&mut reply, &packet, Rcode::BadVers, None);
    let opt = &reply[reply.len() - 11..];
    assert_eq!(
        (reply[3] & 0x0f, opt),
        (0, &[0, 0, 41, 4, 0xd0, 1, 0, 0, 0, 0, 0][..])
    );
    for rcode in [Rcode::FormErr, Rcode::NotImp, Rcode::Refused] {
        write_rejection(
            &mut reply,
            &packet,
            rcode,
            Some(Reason::Code(EdeCode::PROHIBITED)),
        );
        let opt = &reply[reply.len() - 17..];
        assert_eq!(
            (reply[3] & 0x0f, opt),
            (
                rcode as u8,
                &[0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 6, 0, 15, 0, 2, 0, 18][..]
            )
        );
    }
}
