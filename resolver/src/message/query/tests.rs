//! Queries as clients write them, and packets that are none; the parser against hickory's.

use super::*;
use hickory_proto::{
    op::{Edns as ProtoEdns, Message, Query as ProtoQuery},
    rr::{Name, RecordType, rdata::opt::EdnsOption},
};
use proptest::prelude::*;

fn packet(name: &str, edns: Option<&[(u16, &[u8])]>) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(ProtoQuery::query(
        Name::from_ascii(name).unwrap(),
        RecordType::AAAA,
    ));
    if let Some(options) = edns {
        let mut edns = ProtoEdns::new();
        edns.set_max_payload(1400).set_dnssec_ok(true);
        options.iter().for_each(|(code, value)| {
            edns.options_mut()
                .insert(EdnsOption::Unknown(*code, value.to_vec()))
        });
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

#[test]
fn a_query_is_read_in_place() {
    let packet = packet(
        "WwW.Example.com.",
        Some(&[(10, b"12345678"), (65001, b"\x02\0\x5e\0\x53\x01")]),
    );
    let mut room = WireName::default();
    let query = Query::parse(&packet, &mut room).ok().unwrap();
    assert_eq!(query.name().to_string(), "www.example.com");
    assert_eq!((query.rtype, query.class), (Rtype::AAAA, Class::IN));
    assert!(query.recursion_desired() && !query.checking_disabled());
    assert_eq!(&query.question()[..5], b"\x03WwW\x07");
    let edns = query.edns.unwrap();
    assert_eq!((edns.payload_max, edns.dnssec_ok), (1400, true));
    assert_eq!(edns.mac.unwrap().to_string(), "02:00:5e:00:53:01");
}

#[test]
fn a_mac_address_is_accepted_as_octets_or_text_only() {
    let mac = |value: &[u8]| {
        Query::parse(
            &packet("a.", Some(&[(65001, value)])),
            &mut WireName::default(),
        )
        .ok()
        .unwrap()
        .edns
        .unwrap()
        .mac
        .map(|mac| mac.to_string())
    };
    assert_eq!(
        mac(b"02:00:5E:00:53:01").as_deref(),
        Some("02:00:5e:00:53:01")
    );
    assert_eq!(
        mac(b"02-00-5e-00-53-01").as_deref(),
        Some("02:00:5e:00:53:01")
    );
    assert_eq!(mac(b"12345"), None);
    assert_eq!(mac(b"\xff\xff\xff\xff\xff\xff\xff"), None);
    assert_eq!(mac(b""), None);
}

#[test]
fn an_empty_extended_error_asks_for_json() {
    let wants = |options: &[(u16, &[u8])]| {
        Query::parse(&packet("a.", Some(options)), &mut WireName::default())
            .ok()
            .unwrap()
            .edns
            .unwrap()
            .wants_json
    };
    assert!(wants(&[(10, b"12345678"), (15, b"\0\0")]));
    assert!(!wants(&[]));
    for (code, value) in [
        (15, &b""[..]),
        (15, b"\0"),
        (15, b"\0\x11"),
        (15, b"\0\0x"),
        (16, b"\0\0"),
    ] {
        assert!(!wants(&[(code, value)]), "{code} {value:?}");
    }
}

#[test]
fn a_packet_that_is_no_query_is_rejected_or_ignored() {
    let good = packet("a.example.", None);
    let with = |at: usize, octet: u8| {
        let mut packet = good.clone();
        packet[at] = octet;
        Query::parse(&packet, &mut WireName::default()).err()
    };
    assert_eq!(
        Query::parse(&good[..11], &mut WireName::default()).err(),
        Some(Rejection::Ignore)
    );
    assert_eq!(
        with(2, 0x81),
        Some(Rejection::Ignore),
        "a response is never answered"
    );
    assert_eq!(
        with(2, 0x28),
        Some(Rejection::Answer(Rcode::NotImp)),
        "UPDATE"
    );
    assert_eq!(
        with(5, 0),
        Some(Rejection::Answer(Rcode::FormErr)),
        "no question"
    );
    assert_eq!(
        with(5, 2),
        Some(Rejection::Answer(Rcode::FormErr)),
        "two questions"
    );
    assert_eq!(
        with(12, 0xc0),
        Some(Rejection::Answer(Rcode::FormErr)),
        "a compressed question"
    );
    assert_eq!(
        with(11, 1),
        Some(Rejection::Answer(Rcode::FormErr)),
        "a missing record"
    );
    let mut version = packet("a.", Some(&[]));
    let at = version.len() - 5;
    version[at] = 1;
    assert_eq!(
        Query::parse(&version, &mut WireName::default()).err(),
        Some(Rejection::Answer(Rcode::BadVers))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn the_parser_agrees_with_hickorys(mut packet in prop::collection::vec(any::<u8>(), 0..80), flips in prop::collection::vec((0_usize..90, any::<u8>()), 0..4), random in any::<bool>()) {
        if !random {
            packet = self::packet("wWw.example.COM.", Some(&[(65001, b"\x02\0\x5e\0\x53\x01"), (12, b"\0\0\0")]));
            for (at, octet) in flips {
                if let Some(place) = packet.get_mut(at) {
                    *place = octet;
                }
            }
        }
        // Hickory also parses the rdata, and may reject what ours accepts. What both accept must be
        // equal.
        let mut room = WireName::default();
        if let (Ok(ours), Ok(theirs)) = (Query::parse(&packet, &mut room), Message::from_vec(&packet)) {
            prop_assert_eq!(theirs.queries.len(), 1);
            let question = &theirs.queries[0];
            let mut name = Vec::new();
            for label in question.name.iter() {
                name.push(u8::try_from(label.len()).unwrap());
                name.extend(label.to_ascii_lowercase());
            }
            name.push(0);
            prop_assert_eq!(ours.name().wire(), &name[..]);
            prop_assert_eq!(ours.rtype.to_u16(), u16::from(question.query_type));
            prop_assert_eq!(ours.edns.is_some(), theirs.edns.is_some());
            if let (Some(ours), Some(theirs)) = (ours.edns, &theirs.edns) {
                prop_assert_eq!(ours.dnssec_ok, theirs.flags().dnssec_ok);
                prop_assert_eq!(ours.payload_max, theirs.max_payload().max(512));
            }
        }
    }
}

#[test]
fn a_cookie_is_read_with_its_server_part() {
    let cookie = |value: &[u8]| {
        let packet = packet("a.", Some(&[(65001, b"\x02\0\x5e\0\x53\x01"), (10, value)]));
        let mut room = WireName::default();
        let query = Query::parse(&packet, &mut room).ok()?;
        let (client, server) = query.cookie().unwrap();
        Some((*client, server.to_vec()))
    };
    assert_eq!(cookie(b"12345678"), Some((*b"12345678", Vec::new())));
    assert_eq!(
        cookie(b"12345678abcdefgh"),
        Some((*b"12345678", b"abcdefgh".to_vec()))
    );
    for octets in [0, 7, 9, 15, 41, 300] {
        assert_eq!(cookie(&vec![1; octets]), None, "{octets} octets");
    }
}
