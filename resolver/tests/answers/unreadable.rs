//! Packets that are no query are answered with the code, the question if it can be read, and an OPT
//! record if the sender speaks EDNS (RFC 6891 sections 6.1.1, 6.1.3 and 7).

use hickory_proto::op::{Message, ResponseCode};
use resolver::message::types::Transport;

use crate::world::{Lists, World, query};

/// A header with these counts: id 0x1234, opcode QUERY, RD.
fn header(counts: [u8; 4]) -> Vec<u8> {
    let mut header = vec![0x12, 0x34, 1, 0];
    header.extend(counts.into_iter().flat_map(|count| [0, count]));
    header
}

const QUESTION: &[u8] = b"\x04HeRe\x03own\0\0\x01\0\x01";
const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
const OPT_DO: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0";
const OPT_VERSION_1: &[u8] = b"\0\0\x29\x04\xd0\0\x01\0\0\0\0";
/// An option with a length of four octets and one octet of data.
const OPT_BAD_OPTION: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\x05\0\x0a\0\x04x";
/// A record whose data is longer than the packet.
const OPT_CUT: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\x09\0\x0a";
const OPT_BEGUN: &[u8] = b"\0\0\x29\x04";
const OPT_NAMED: &[u8] = b"\x01x\0\0\x29\x04\xd0\0\0\0\0\0\0";
const A: &[u8] = b"\x01x\0\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";

fn packet(counts: [u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    [&header(counts)[..], &parts.concat()].concat()
}

fn with_opcode(mut packet: Vec<u8>, opcode: u8) -> Vec<u8> {
    packet[2] |= opcode << 3;
    packet
}

/// The reply to a packet of a client that may query, in octets; equal over both transports.
async fn reply(packet: &[u8]) -> Vec<u8> {
    let world = World::new("here.own. 60 IN A 192.0.2.1\n", Lists::default());
    let over_udp = world.answer("127.0.7.9", Transport::Udp, packet).await;
    assert_eq!(
        world.answer("127.0.7.9", Transport::Tcp, packet).await,
        over_udp
    );
    over_udp
}

#[tokio::test]
async fn a_bad_query_with_edns_is_answered_with_edns_and_its_question() {
    // BADVERS and BADSIG are both 16.
    use ResponseCode::{BADSIG as BADVERS, FormErr, NotImp};
    let good = packet([1, 0, 0, 1], &[QUESTION, OPT_DO]);
    for (what, packet, code, has_question, dnssec_ok) in [
        ("STATUS", with_opcode(good.clone(), 2), NotImp, true, true),
        ("UPDATE", with_opcode(good.clone(), 5), NotImp, true, true),
        (
            "NOTIFY without a handler",
            with_opcode(good.clone(), 4),
            NotImp,
            true,
            true,
        ),
        (
            "an unassigned opcode",
            with_opcode(good.clone(), 15),
            NotImp,
            true,
            true,
        ),
        (
            "DSO",
            with_opcode(packet([0, 0, 0, 1], &[OPT]), 6),
            NotImp,
            false,
            false,
        ),
        (
            "no question",
            packet([0, 0, 0, 1], &[OPT_DO]),
            FormErr,
            false,
            true,
        ),
        (
            "two questions",
            packet([2, 0, 0, 1], &[QUESTION, QUESTION, OPT]),
            FormErr,
            false,
            false,
        ),
        (
            "two OPT records",
            packet([1, 0, 0, 2], &[QUESTION, OPT_DO, OPT]),
            FormErr,
            true,
            true,
        ),
        (
            "three of them",
            packet([1, 0, 0, 3], &[QUESTION, OPT, OPT_DO, OPT]),
            FormErr,
            true,
            false,
        ),
        (
            "an option longer than the record",
            packet([1, 0, 0, 1], &[QUESTION, OPT_BAD_OPTION]),
            FormErr,
            true,
            false,
        ),
        (
            "an OPT record that is cut off",
            packet([1, 0, 0, 1], &[QUESTION, OPT_CUT]),
            FormErr,
            true,
            true,
        ),
        (
            "one that has only begun",
            packet([1, 0, 0, 1], &[QUESTION, OPT_BEGUN]),
            FormErr,
            true,
            false,
        ),
        (
            "an OPT record with a name",
            packet([1, 0, 0, 1], &[QUESTION, OPT_NAMED]),
            FormErr,
            true,
            false,
        ),
        (
            "an OPT record as an answer",
            packet([1, 1, 0, 0], &[QUESTION, OPT]),
            FormErr,
            true,
            false,
        ),
        (
            "an OPT record as an authority",
            packet([1, 0, 1, 0], &[QUESTION, OPT_DO]),
            FormErr,
            true,
            true,
        ),
        (
            "one too early and one in place",
            packet([1, 0, 1, 1], &[QUESTION, OPT, OPT_DO]),
            FormErr,
            true,
            false,
        ),
        (
            "a record that is missing behind it",
            packet([1, 0, 0, 2], &[QUESTION, OPT_DO]),
            FormErr,
            true,
            true,
        ),
        (
            "another version",
            packet([1, 0, 0, 1], &[QUESTION, OPT_VERSION_1]),
            BADVERS,
            true,
            false,
        ),
        (
            "another version behind a record",
            packet([1, 1, 0, 1], &[QUESTION, A, OPT_VERSION_1]),
            BADVERS,
            true,
            false,
        ),
        (
            "a compressed question",
            packet([1, 0, 0, 1], &[b"\xc0\x0c\0\x01\0\x01", OPT]),
            FormErr,
            false,
            false,
        ),
    ] {
        let wire = reply(&packet).await;
        let message = Message::from_vec(&wire).unwrap();
        assert_eq!(
            (message.metadata.response_code, message.metadata.id),
            (code, 0x1234),
            "{what}"
        );
        assert_eq!(
            u8::from(message.metadata.op_code),
            packet[2] >> 3 & 15,
            "{what}"
        );
        assert!(
            message.metadata.recursion_desired && wire[2] & 0x80 != 0,
            "{what}"
        );
        assert_eq!(
            wire[12..].starts_with(QUESTION) && message.queries.len() == 1,
            has_question,
            "{what}"
        );
        let edns = message
            .edns
            .as_ref()
            .unwrap_or_else(|| panic!("{what}: no OPT record"));
        assert_eq!(
            (edns.flags().dnssec_ok, edns.version(), edns.max_payload()),
            (dnssec_ok, 0, 1_232),
            "{what}"
        );
        assert!(
            message.answers.is_empty()
                && message.authorities.is_empty()
                && message.additionals.is_empty(),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_bad_query_without_edns_is_answered_without() {
    for (what, packet, code, octets) in [
        (
            "UPDATE",
            with_opcode(packet([1, 0, 0, 0], &[QUESTION]), 5),
            4,
            12 + QUESTION.len(),
        ),
        ("no question", packet([0; 4], &[]), 1, 12),
        (
            "two questions",
            packet([2, 0, 0, 0], &[QUESTION, QUESTION]),
            1,
            12,
        ),
        (
            "a question that is cut off",
            packet([1, 0, 0, 0], &[&QUESTION[..7]]),
            1,
            12,
        ),
        (
            "a question without its class",
            packet([1, 0, 0, 0], &[&QUESTION[..QUESTION.len() - 1]]),
            1,
            12,
        ),
        (
            "a record that is not there",
            packet([1, 0, 0, 1], &[QUESTION]),
            1,
            12 + QUESTION.len(),
        ),
        (
            "counts without end",
            packet([255, 255, 255, 255], &[QUESTION]),
            1,
            12,
        ),
    ] {
        let wire = reply(&packet).await;
        assert_eq!(
            (wire.len(), wire[3] & 0x0f, wire[11]),
            (octets, code, 0),
            "{what}"
        );
        assert_eq!(
            wire[2..4],
            [0x80 | packet[2], 0x80 | code],
            "{what}: opcode and RD come back, RA is set"
        );
        assert_eq!(
            (usize::from(wire[5]), &wire[6..11]),
            (usize::from(octets > 12), &[0; 5][..]),
            "{what}"
        );
    }
}

#[tokio::test]
async fn flags_of_a_bad_query_are_repeated_in_the_answer() {
    for (third, fourth, expected) in [
        (0x28, 0x00, [0xa8, 0x84]),
        (0x29, 0x10, [0xa9, 0x94]),
        (0x2f, 0xff, [0xa9, 0x94]),
    ] {
        let mut packet = packet([1, 0, 0, 0], &[QUESTION]);
        (packet[2], packet[3]) = (third, fourth);
        assert_eq!(
            reply(&packet).await[2..4],
            expected,
            "{third:#x} {fourth:#x}"
        );
    }
}

#[tokio::test]
async fn cd_and_rd_are_repeated_in_an_answer() {
    for (flags, expected) in [
        ("", [0x81, 0x80]),
        (" +cd", [0x81, 0x90]),
        (" +cd +do", [0x81, 0x90]),
    ] {
        for question in [
            "here.own. A",
            "nowhere.own. A",
            "x.broken.example. A",
            "here.own. ANY",
            "here.own. AXFR",
        ] {
            let wire = reply(&query(&format!("{question}{flags}")).to_vec().unwrap()).await;
            assert_eq!([wire[2], wire[3] & 0xf0], expected, "{question}{flags}");
        }
    }
}
