//! Replies as they are read back: aliases and what stands behind them.

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name as ProtoName, RData, Record, RecordType, rdata},
};
use policy::{
    category::Taxonomy,
    name::{Name, WireName},
};

use super::*;
use crate::message::ede::{Contact, Wording};

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

/// The reply to a name that is led to `target`, which has these records.
fn led(asked: &str, target: &str, answer: &Answer) -> (Vec<u8>, Message) {
    let wording = Wording::new(
        std::sync::Arc::new(Taxonomy::shipped()),
        &Contact::default(),
    );
    let packet = packet(asked, true);
    let mut room = WireName::default();
    let mut reply = vec![0xff; 9];
    let query = Query::parse(&packet, &mut room).ok().unwrap();
    let alias = Alias {
        target: Name::parse(target).unwrap(),
        ttl_s: 60,
    };
    let reason = Reason::Blocked(Verdict::of_layer(Layer::Category), None, &wording);
    write_alias(
        &mut reply,
        &query,
        &alias,
        Some(answer),
        reason,
        Transport::Tcp,
    );
    let message = Message::from_vec(&reply).unwrap();
    (reply, message)
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
        let (wire, message) = led(
            asked,
            target,
            &Answer {
                rcode: ResponseCode::NXDomain,
                answers: answers.clone(),
                authorities: authorities.clone(),
            },
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
            "it is spelled out once"
        );
    }
}

#[test]
fn an_alias_whose_target_has_more_than_a_message_holds_stands_alone() {
    let answers = (0..5_000).map(|_| address("garden.example.")).collect();
    let (_, message) = led(
        "bets.example",
        "garden.example",
        &Answer {
            answers,
            ..Answer::empty(ResponseCode::NXDomain)
        },
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
        write_rejection(&mut reply, &packet, rcode, Some(Reason::Code(18)));
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
