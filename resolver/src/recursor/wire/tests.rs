//! Queries as they are sent, and which packets are replies to them.

use hickory_proto::op::Message;
use policy::name::Name;

use super::*;

fn query(case: u64, cookie: Option<&[u8]>) -> (Vec<u8>, ExpectedReply) {
    let name = Name::parse("www.example.com").unwrap();
    OutgoingQuery {
        id: 0x1234,
        name: name.borrow(),
        rtype: Rtype::AAAA,
        recursion_desired: false,
        case,
        cookie,
        dnssec: DnssecBits::default(),
    }
    .encode()
}

fn reply(packet: &[u8]) -> Vec<u8> {
    let mut reply = packet.to_vec();
    reply[2] |= FLAG_QR;
    reply
}

#[test]
fn the_record_library_reads_what_is_sent() {
    let (packet, _) = query(0b1010, Some(&[7; 8]));
    let message = Message::from_vec(&packet).unwrap();
    assert_eq!(message.metadata.id, 0x1234);
    assert!(
        message.queries[0]
            .name
            .to_string()
            .eq_ignore_ascii_case("www.example.com.")
    );
    let options = message.edns.unwrap();
    assert_eq!(
        (options.max_payload(), cookie_of(&options)),
        (1_232, Some(&[7; 8][..]))
    );
    assert!(Message::from_vec(&query(0, None).0).unwrap().edns.is_none());
}

#[test]
fn only_the_reply_to_this_query_matches() {
    let (packet, expected) = query(0b1010, None);
    let bent = |bend: fn(&mut Vec<u8>)| {
        let mut reply = reply(&packet);
        bend(&mut reply);
        expected.compare(&reply)
    };
    assert_eq!(bent(|_| {}), ReplyMatch::Match);
    assert_eq!(bent(|reply| reply[0] ^= 1), ReplyMatch::Mismatch);
    assert_eq!(bent(|reply| reply[13] ^= 0x20), ReplyMatch::Mismatch);
    assert_eq!(bent(|reply| reply[13] ^= 0x01), ReplyMatch::Unrelated);
    assert_eq!(bent(|reply| reply[2] &= !FLAG_QR), ReplyMatch::Unrelated);
    assert_eq!(bent(|reply| reply[2] |= 0x10), ReplyMatch::Unrelated);
    assert_eq!(bent(|reply| reply.truncate(11)), ReplyMatch::Unrelated);
    assert_eq!(bent(|reply| reply.truncate(14)), ReplyMatch::Unrelated);
    assert_eq!(bent(|reply| reply[5] = 0), ReplyMatch::Unrelated);
    // Old servers send FORMERR as a header alone.
    assert_eq!(
        bent(|reply| (reply[3], reply[5]) = (1, 0)),
        ReplyMatch::Match
    );
}

#[test]
fn capitals_are_found_in_the_first_labels_only() {
    let mut octets = b"\x03www\x07example\x03coM\0\0\x1c\0\x01".to_vec();
    let capitals = |question: &[u8], labels| {
        ExpectedReply {
            id: [0; 2],
            question: question.to_vec(),
        }
        .has_capitals(labels)
    };
    assert_eq!(
        [0, 1, 2, 3, 99].map(|labels| capitals(&octets, labels)),
        [false, false, false, true, true]
    );
    octets[1] = b'W';
    assert_eq!(
        [0, 1, 2].map(|labels| capitals(&octets, labels)),
        [false, true, true]
    );
    // The root has no letters; those of the type do not count.
    assert!(!capitals(b"\0AA\0\x01", 9));
}

#[test]
fn a_query_without_options_has_an_opt_of_eleven_octets() {
    let (with, _) = query(0, Some(&[7; 8]));
    let (bare, _) = query(0, Some(&[]));
    let (none, _) = query(0, None);
    assert_eq!((with.len() - none.len(), bare.len() - none.len()), (23, 11));
    assert_eq!(
        (&with[none.len()..][..11], &with[none.len() + 11..][..4]),
        (&b"\0\0\x29\x04\xd0\0\0\0\0\0\x0c"[..], &b"\0\x0a\0\x08"[..])
    );
    assert_eq!(bare[none.len()..], *b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
    assert_eq!(
        (none[10..12].to_vec(), bare[10..12].to_vec()),
        (vec![0, 0], vec![0, 1])
    );
}

#[test]
fn only_letters_are_mixed_each_by_its_own_bit() {
    let mut wire = b"\x05a-1zb\0".to_vec();
    mix_case(&mut wire, 0b101);
    assert_eq!(wire, b"\x05A-1zB\0");
    let mut wire = [&[63][..], &[b'a'; 63], &[10], &[b'b'; 10], &[0]].concat();
    mix_case(&mut wire, 1);
    assert_eq!(
        wire.iter()
            .filter(|octet| octet.is_ascii_uppercase())
            .count(),
        2,
        "the 65th letter has the first bit again"
    );
}

#[test]
fn a_reply_without_question_matches_only_with_an_error_code() {
    let (packet, expected) = query(0b1010, None);
    let matches = |code: u8| {
        let mut reply = reply(&packet);
        (reply[3], reply[5]) = (code, 0);
        expected.compare(&reply)
    };
    for code in 0..16 {
        let is_error = matches!(code, 1 | 2 | 4 | 5);
        assert_eq!(
            matches(code),
            if is_error {
                ReplyMatch::Match
            } else {
                ReplyMatch::Unrelated
            },
            "code {code}"
        );
    }
    let mut reply = reply(&packet);
    assert!(
        !expected.differs_in_case_only(&reply),
        "the case is the same"
    );
    reply[13] ^= 0x20;
    assert!(expected.differs_in_case_only(&reply));
    reply[1] ^= 1;
    assert!(
        !expected.differs_in_case_only(&reply),
        "the id differs as well"
    );
    let short = &mut reply[..HEADER_OCTETS].to_vec();
    expected.restore_case(short, Name::parse("a").unwrap().borrow());
}

#[test]
fn letter_case_is_mixed_and_restored() {
    let name = Name::parse("www.example.com").unwrap();
    let (packet, expected) = query(u64::MAX, None);
    let mut reply = reply(&packet);
    assert!(reply.windows(3).any(|octets| octets == b"WWW"));
    assert_eq!(expected.compare(&reply), ReplyMatch::Match);
    expected.restore_case(&mut reply, name.borrow());
    assert!(!reply.iter().any(u8::is_ascii_uppercase));
}

#[test]
fn dnssec_bits_stand_in_the_header_and_in_the_opt_record() {
    let name = Name::parse("a").unwrap();
    let query = |dnssec_ok, checking_disabled| {
        let query = OutgoingQuery {
            id: 1,
            name: name.borrow(),
            rtype: Rtype::A,
            recursion_desired: true,
            case: 0,
            cookie: Some(&[]),
            dnssec: DnssecBits {
                dnssec_ok,
                checking_disabled,
                ..DnssecBits::default()
            },
        };
        let message = Message::from_vec(&query.encode().0).unwrap();
        (
            message.edns.unwrap().flags().dnssec_ok,
            message.metadata.checking_disabled,
        )
    };
    for bits in [(false, false), (true, false), (false, true)] {
        assert_eq!(query(bits.0, bits.1), bits);
    }
}
