//! Queries to authorities as octets, and whether what comes back is the reply.

use policy::name::NameRef;

use crate::message::wire::{HEADER_OCTETS, read_u16};

/// What we take in one datagram: passes every path unfragmented (DNS flag day 2020). Octets.
const PAYLOAD_OCTETS: u16 = 1_232;
/// Type and class behind the name, in octets.
const QUESTION_TAIL_OCTETS: usize = 4;
/// The OPT record with the longest cookie, 40 octets (RFC 7873 section 4.2).
const OPT_OCTETS_MAX: usize = 11 + 4 + 40;
const CLASS_IN: u16 = 1;
const TYPE_OPT: u16 = 41;
const OPTION_COOKIE: u16 = 10;
/// Octets of a client cookie, RFC 7873 section 4.
pub const CLIENT_COOKIE_OCTETS: usize = 8;
const FLAG_QR: u8 = 0x80;
const FLAG_RD: u8 = 0x01;
/// Codes that a server may send without repeating the question: it could not or would not read it.
const CODES_WITHOUT_QUESTION: [u8; 4] = [1, 2, 4, 5];

/// EDNS as we send it.
#[derive(Debug, Clone)]
pub struct Edns {
    /// Client cookie, and the server's where it is known.
    pub cookie: Vec<u8>,
}

/// A query to be sent.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Its id.
    pub id: u16,
    /// The name asked for.
    pub name: NameRef<'a>,
    /// The type.
    pub record_type: u16,
    /// Ask for recursion: only of a forwarder.
    pub recursion_desired: bool,
    /// Bits that turn letters to upper case, one a letter; zero leaves the name as it is.
    pub case: u64,
    /// With EDNS, or not.
    pub edns: Option<&'a Edns>,
}

/// How much a packet is like the reply that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// It is the reply.
    Right,
    /// Nearly: somebody may be guessing.
    Near,
    /// Nothing of ours.
    Noise,
}

/// What a reply must repeat.
#[derive(Debug)]
pub struct Expected {
    id: [u8; 2],
    question: Vec<u8>,
}

impl Outgoing<'_> {
    /// The octets, and what the reply must repeat.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, Expected) {
        let id = self.id.to_be_bytes();
        let mut question = Vec::with_capacity(self.name.wire().len() + QUESTION_TAIL_OCTETS);
        question.extend_from_slice(self.name.wire());
        mix_case(&mut question, self.case);
        question.extend(self.record_type.to_be_bytes());
        question.extend(CLASS_IN.to_be_bytes());
        let recursion = if self.recursion_desired { FLAG_RD } else { 0 };
        let mut packet = Vec::with_capacity(HEADER_OCTETS + question.len() + OPT_OCTETS_MAX);
        packet.extend([
            id[0],
            id[1],
            recursion,
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            u8::from(self.edns.is_some()),
        ]);
        packet.extend_from_slice(&question);
        if let Some(edns) = self.edns {
            let option = edns.cookie.len() as u16;
            packet.push(0);
            for field in [TYPE_OPT, PAYLOAD_OCTETS, 0, 0] {
                packet.extend(field.to_be_bytes());
            }
            if option == 0 {
                packet.extend([0, 0]);
            } else {
                for field in [option + 4, OPTION_COOKIE, option] {
                    packet.extend(field.to_be_bytes());
                }
                packet.extend_from_slice(&edns.cookie);
            }
        }
        (packet, Expected { id, question })
    }
}

impl Expected {
    /// Compares a packet with what is waited for.
    #[must_use]
    pub fn compare(&self, packet: &[u8]) -> Likeness {
        if packet.len() < HEADER_OCTETS || packet[2] & FLAG_QR == 0 || packet[2] & 0x78 != 0 {
            return Likeness::Noise;
        }
        if packet[..2] != self.id {
            return Likeness::Near;
        }
        match read_u16(packet, 4) {
            Some(1) if self.repeats(packet, |ours, theirs| ours == theirs) => Likeness::Right,
            Some(1) if self.repeats(packet, <[u8]>::eq_ignore_ascii_case) => Likeness::Near,
            Some(0) if CODES_WITHOUT_QUESTION.contains(&(packet[3] & 0x0f)) => Likeness::Right,
            _ => Likeness::Noise,
        }
    }

    /// Whether this would be the reply if letter case were nothing. Where nobody else can answer,
    /// that is enough.
    #[must_use]
    pub fn is_same_but_for_case(&self, packet: &[u8]) -> bool {
        self.compare(packet) == Likeness::Near && packet[..2] == self.id
    }

    /// Whether one of the name's first labels, so many, was shown with a capital.
    #[must_use]
    pub fn has_capitals(&self, labels: usize) -> bool {
        let name = &self.question[..self.question.len() - QUESTION_TAIL_OCTETS];
        let mut at = 0;
        let mut label = 0;
        while label < labels && name[at] != 0 {
            let end = at + 1 + usize::from(name[at]);
            if name[at + 1..end].iter().any(u8::is_ascii_uppercase) {
                return true;
            }
            (at, label) = (end, label + 1);
        }
        false
    }

    /// Gives the question of a reply the letter case it is known by. Names in the reply that are
    /// compressed point there, and so all of them lose our mixed letters.
    pub fn restore_case(&self, packet: &mut [u8], name: NameRef<'_>) {
        let has_question = read_u16(packet, 4) == Some(1);
        if let Some(question) = packet
            .get_mut(HEADER_OCTETS..HEADER_OCTETS + name.wire().len())
            .filter(|_| has_question)
        {
            question.copy_from_slice(name.wire());
        }
    }

    fn repeats(&self, packet: &[u8], is_same: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        packet
            .get(HEADER_OCTETS..HEADER_OCTETS + self.question.len())
            .is_some_and(|question| is_same(&self.question, question))
    }
}

/// Turns letters of a wire name to upper case, as the bits say (draft-vixie-dnsext-dns0x20).
/// Lengths are below any letter.
fn mix_case(wire: &mut [u8], case: u64) {
    for (place, octet) in wire
        .iter_mut()
        .filter(|octet| octet.is_ascii_lowercase())
        .enumerate()
    {
        if case.rotate_right(place as u32) & 1 == 1 {
            octet.make_ascii_uppercase();
        }
    }
}

/// The cookie in the OPT record of a reply: the client's part, and the server's.
#[must_use]
pub fn cookie_of(edns: &hickory_proto::op::Edns) -> Option<&[u8]> {
    use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
    match edns.option(EdnsCode::Cookie)? {
        EdnsOption::Unknown(OPTION_COOKIE, cookie) => Some(cookie),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Message;
    use policy::name::Name;

    use super::*;

    fn query(case: u64, edns: Option<&Edns>) -> (Vec<u8>, Expected) {
        let name = Name::parse("www.example.com").unwrap();
        Outgoing {
            id: 0x1234,
            name: name.borrow(),
            record_type: 28,
            recursion_desired: false,
            case,
            edns,
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
        let edns = Edns { cookie: vec![7; 8] };
        let (packet, _) = query(0b1010, Some(&edns));
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
    fn only_the_reply_to_this_query_is_right() {
        let (packet, expected) = query(0b1010, None);
        let bent = |bend: fn(&mut Vec<u8>)| {
            let mut reply = reply(&packet);
            bend(&mut reply);
            expected.compare(&reply)
        };
        assert_eq!(bent(|_| {}), Likeness::Right);
        assert_eq!(bent(|reply| reply[0] ^= 1), Likeness::Near);
        assert_eq!(bent(|reply| reply[13] ^= 0x20), Likeness::Near);
        assert_eq!(bent(|reply| reply[13] ^= 0x01), Likeness::Noise);
        assert_eq!(bent(|reply| reply[2] &= !FLAG_QR), Likeness::Noise);
        assert_eq!(bent(|reply| reply[2] |= 0x10), Likeness::Noise);
        assert_eq!(bent(|reply| reply.truncate(11)), Likeness::Noise);
        assert_eq!(bent(|reply| reply.truncate(14)), Likeness::Noise);
        assert_eq!(bent(|reply| reply[5] = 0), Likeness::Noise);
        // FORMERR with nothing but a header is how old servers complain.
        assert_eq!(bent(|reply| (reply[3], reply[5]) = (1, 0)), Likeness::Right);
    }

    #[test]
    fn capitals_are_found_in_the_labels_that_count() {
        let mut octets = b"\x03www\x07example\x03coM\0\0\x1c\0\x01".to_vec();
        let capitals = |question: &[u8], labels| {
            Expected {
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
        // The root has no letters, whatever its type is called.
        assert!(!capitals(b"\0AA\0\x01", 9));
    }

    #[test]
    fn a_query_without_options_has_an_opt_of_eleven_octets() {
        let (with, _) = query(0, Some(&Edns { cookie: vec![7; 8] }));
        let (bare, _) = query(0, Some(&Edns { cookie: Vec::new() }));
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
    fn only_letters_are_mixed_each_by_a_bit_of_its_own() {
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
            "the 65th letter begins anew"
        );
    }

    #[test]
    fn a_reply_without_question_is_right_only_as_a_complaint() {
        let (packet, expected) = query(0b1010, None);
        let likeness = |code: u8| {
            let mut reply = reply(&packet);
            (reply[3], reply[5]) = (code, 0);
            expected.compare(&reply)
        };
        for code in 0..16 {
            let is_complaint = matches!(code, 1 | 2 | 4 | 5);
            assert_eq!(
                likeness(code),
                if is_complaint {
                    Likeness::Right
                } else {
                    Likeness::Noise
                },
                "code {code}"
            );
        }
        let mut reply = reply(&packet);
        assert!(!expected.is_same_but_for_case(&reply), "it is the same");
        reply[13] ^= 0x20;
        assert!(expected.is_same_but_for_case(&reply));
        reply[1] ^= 1;
        assert!(!expected.is_same_but_for_case(&reply), "another id as well");
        let short = &mut reply[..HEADER_OCTETS].to_vec();
        expected.restore_case(short, Name::parse("a").unwrap().borrow());
    }

    #[test]
    fn letter_case_is_mixed_and_restored() {
        let name = Name::parse("www.example.com").unwrap();
        let (packet, expected) = query(u64::MAX, None);
        let mut reply = reply(&packet);
        assert!(reply.windows(3).any(|octets| octets == b"WWW"));
        assert_eq!(expected.compare(&reply), Likeness::Right);
        expected.restore_case(&mut reply, name.borrow());
        assert!(!reply.iter().any(u8::is_ascii_uppercase));
    }
}
