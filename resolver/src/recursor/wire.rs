//! Upstream queries in wire format, and the check whether a packet is the reply to one.

use policy::name::NameRef;

use crate::message::{
    types::{Class, DnssecBits, Rtype},
    wire::{HEADER_OCTETS, read_u16},
};

/// The UDP payload size that queries advertise, in octets: datagrams of it pass without
/// fragmentation (DNS flag day 2020).
const PAYLOAD_OCTETS: u16 = 1_232;
/// Type and class behind the name, in octets.
const QUESTION_TAIL_OCTETS: usize = 4;
/// An OPT record with the longest cookie, 40 octets (RFC 7873 section 4.2).
const OPT_OCTETS_MAX: usize = 11 + 4 + 40;
const OPTION_COOKIE: u16 = 10;
/// Octets of a client cookie, RFC 7873 section 4.
pub const CLIENT_COOKIE_OCTETS: usize = 8;
const FLAG_QR: u8 = 0x80;
const FLAG_RD: u8 = 0x01;
/// In the fourth octet of the header.
const FLAG_CD: u8 = 0x10;
/// In the flags of the OPT record.
const FLAG_DO: u16 = 0x8000;
/// Response codes that a server may send without the question: FORMERR, SERVFAIL, NOTIMP, REFUSED.
const CODES_WITHOUT_QUESTION: [u8; 4] = [1, 2, 4, 5];

/// A query to a server.
#[derive(Debug)]
pub struct OutgoingQuery<'a> {
    pub id: u16,
    pub name: NameRef<'a>,
    pub rtype: Rtype,
    /// RD: set in queries to forwarders only.
    pub recursion_desired: bool,
    /// One bit a letter turns it to upper case. Zero leaves the name in lower case.
    pub case: u64,
    /// With EDNS: the client cookie, and the server cookie where it is known. Empty for no option.
    pub cookie: Option<&'a [u8]>,
    pub dnssec: DnssecBits,
}

/// How well a packet matches the expected reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyMatch {
    /// It is the reply.
    Match,
    /// The id or the letter case differs. An attacker may be guessing.
    Mismatch,
    /// It has nothing to do with the query.
    Unrelated,
}

/// What a reply must repeat of its query.
#[derive(Debug)]
pub struct ExpectedReply {
    id: [u8; 2],
    question: Vec<u8>,
}

impl OutgoingQuery<'_> {
    /// The packet, and what the reply must repeat.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, ExpectedReply) {
        let id = self.id.to_be_bytes();
        let mut question = Vec::with_capacity(self.name.wire().len() + QUESTION_TAIL_OCTETS);
        question.extend_from_slice(self.name.wire());
        mix_case(&mut question, self.case);
        question.extend(self.rtype.to_be_bytes());
        question.extend(Class::IN.to_be_bytes());
        let recursion = if self.recursion_desired { FLAG_RD } else { 0 };
        let checking = if self.dnssec.checking_disabled {
            FLAG_CD
        } else {
            0
        };
        let additionals = u8::from(self.cookie.is_some());
        let mut packet = Vec::with_capacity(HEADER_OCTETS + question.len() + OPT_OCTETS_MAX);
        packet.extend([id[0], id[1], recursion, checking]);
        packet.extend([0, 1, 0, 0, 0, 0, 0, additionals]);
        packet.extend_from_slice(&question);
        if let Some(cookie) = self.cookie {
            push_opt(&mut packet, cookie, self.dnssec.dnssec_ok);
        }
        (packet, ExpectedReply { id, question })
    }
}

fn push_opt(packet: &mut Vec<u8>, cookie: &[u8], dnssec_ok: bool) {
    let flags = if dnssec_ok { FLAG_DO } else { 0 };
    packet.push(0);
    for field in [Rtype::OPT.to_u16(), PAYLOAD_OCTETS, 0, flags] {
        packet.extend(field.to_be_bytes());
    }
    let length = cookie.len() as u16;
    if length == 0 {
        packet.extend([0, 0]);
        return;
    }
    for field in [length + 4, OPTION_COOKIE, length] {
        packet.extend(field.to_be_bytes());
    }
    packet.extend_from_slice(cookie);
}

impl ExpectedReply {
    /// Compares a packet with the expected reply.
    #[must_use]
    pub fn compare(&self, packet: &[u8]) -> ReplyMatch {
        if packet.len() < HEADER_OCTETS || packet[2] & FLAG_QR == 0 || packet[2] & 0x78 != 0 {
            return ReplyMatch::Unrelated;
        }
        if packet[..2] != self.id {
            return ReplyMatch::Mismatch;
        }
        match read_u16(packet, 4) {
            Some(1) if self.repeats(packet, |ours, theirs| ours == theirs) => ReplyMatch::Match,
            Some(1) if self.repeats(packet, <[u8]>::eq_ignore_ascii_case) => ReplyMatch::Mismatch,
            Some(0) if CODES_WITHOUT_QUESTION.contains(&(packet[3] & 0x0f)) => ReplyMatch::Match,
            _ => ReplyMatch::Unrelated,
        }
    }

    /// Whether the letter case is the only difference. Over TCP and TLS such a packet is the reply,
    /// because it cannot be spoofed.
    #[must_use]
    pub fn differs_in_case_only(&self, packet: &[u8]) -> bool {
        self.compare(packet) == ReplyMatch::Mismatch && packet[..2] == self.id
    }

    /// Whether the query has an upper-case letter in one of the first `labels` labels of its name.
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
            at = end;
            label += 1;
        }
        false
    }

    /// Writes the name in lower case into the question of a reply. Compressed names of the reply
    /// point there, so that they lose the mixed case as well.
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

/// Turns letters of a wire name to upper case, one bit a letter (draft-vixie-dnsext-dns0x20). Length
/// octets have lower values than letters.
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

/// The cookie in the OPT record of a reply: the client cookie, and the server cookie behind it.
#[must_use]
pub fn cookie_of(edns: &hickory_proto::op::Edns) -> Option<&[u8]> {
    use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
    match edns.option(EdnsCode::Cookie)? {
        EdnsOption::Unknown(OPTION_COOKIE, cookie) => Some(cookie),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
