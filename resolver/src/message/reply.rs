//! Replies, written into the caller's buffer: a cached answer with its TTLs adapted, a block, an
//! error.

use std::net::IpAddr;

use hickory_proto::{
    ProtoError,
    op::{Message, ResponseCode},
    serialize::binary::{BinEncodable as _, BinEncoder},
};
use policy::{lists::entry::LocalData, name::NameRef};

use crate::message::{
    blocked::BlockedAnswer,
    cookie::FullCookie,
    ede::{Reason, TextForm},
    opt::{self, COOKIE_OCTETS, EDE_OCTETS, OPT_OCTETS, UDP_PAYLOAD_MAX},
    query::{Query, ReadableParts},
    types::{Class, Rcode, Rtype, Transport},
    wire::HEADER_OCTETS,
};

pub use crate::message::opt::read_extended_error;

/// TTL of a block, in seconds: short, because a stub resolver's cache delays an unblock by a parent.
pub const BLOCKED_TTL_S: u32 = 10;
/// TTL of a stale answer, in seconds, RFC 8767 section 4.
pub const STALE_TTL_S: u32 = 30;
/// The highest TTL of local data in the place of an answer (records of a feed, addresses of the
/// proxy), in seconds.
pub(crate) const LOCAL_TTL_MAX_S: u32 = 30;
/// Octets that a long answer leaves free for an OPT record with its reason.
const OPT_OCTETS_MAX: u16 = 512;
/// A compression pointer to the name of the question.
const POINTER_TO_QUESTION: [u8; 2] = [0xc0, HEADER_OCTETS as u8];
/// Offsets of the lower octets of the header's counts, RFC 1035 section 4.1.1.
const QUESTION_COUNT: usize = 5;
const ANSWER_COUNT: usize = 7;
const AUTHORITY_COUNT: usize = 9;
const ADDITIONAL_COUNT: usize = 11;
/// The TC bit in the third octet of the header.
const TRUNCATED: u8 = 0x02;
/// The AD bit in the fourth octet of the header.
const AUTHENTIC_DATA: u8 = 0x20;
/// The four lower bits of the header's fourth octet hold the rcode.
const RCODE_BITS: u8 = 0x0f;
/// The data of the SOA record of negative answers, which sets nothing but their TTL: names under
/// `invalid` (RFC 6761), serial 1, refresh 3,600 s, retry 600 s, expire 86,400 s, minimum
/// [`BLOCKED_TTL_S`].
const BLOCKED_SOA: &[u8] = b"\x0aox-protect\x07invalid\x00\x07nothing\x07invalid\x00\
    \x00\x00\x00\x01\x00\x00\x0e\x10\x00\x00\x02\x58\x00\x01\x51\x80\x00\x00\x00\x0a";

/// The reply to one query, in the caller's buffer. Each method begins the message anew and writes
/// all of it.
pub struct Reply<'r> {
    pub query: &'r Query<'r>,
    pub transport: Transport,
    /// The cookie that the reply returns, if the query has one.
    pub cookie: Option<&'r FullCookie>,
    buffer: &'r mut Vec<u8>,
}

impl<'r> Reply<'r> {
    /// A reply that is not written yet.
    #[inline]
    #[must_use]
    pub fn new(query: &'r Query<'r>, transport: Transport, buffer: &'r mut Vec<u8>) -> Self {
        Self {
            query,
            transport,
            cookie: None,
            buffer,
        }
    }

    /// Whether nothing is written, and so nothing is sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Discards the message: no reply is sent.
    pub fn discard(&mut self) {
        self.buffer.clear();
    }

    /// Copies a message without OPT record to the same question, in any letter case. `set_ttls`
    /// writes the TTLs of the copy; id, flags and the question's letter case become the query's. The
    /// copy is AD if the message is and the client understands it.
    #[inline]
    pub fn copy(
        &mut self,
        message: &[u8],
        set_ttls: impl FnOnce(&mut [u8]),
        reason: Option<Reason<'_>>,
    ) {
        self.buffer.clear();
        self.buffer.extend_from_slice(message);
        let is_secure = message[3] & AUTHENTIC_DATA != 0 && self.query.understands_ad();
        patch_header(self.buffer, self.query, message[3] & RCODE_BITS);
        self.buffer[3] |= if is_secure { AUTHENTIC_DATA } else { 0 };
        let question = self.query.question();
        self.buffer[HEADER_OCTETS..HEADER_OCTETS + question.len()].copy_from_slice(question);
        set_ttls(self.buffer);
        self.finish(reason);
    }

    /// A block. A negative one has a SOA record, whose minimum sets the TTL (RFC 2308 section 5).
    pub fn block(&mut self, answer: BlockedAnswer, reason: Reason<'_>) {
        let (rcode, address) = answer.parts(self.query.rtype);
        self.start(rcode);
        match address {
            Some(IpAddr::V4(v4)) => self.push_record(Rtype::A, BLOCKED_TTL_S, &v4.octets()),
            Some(IpAddr::V6(v6)) => self.push_record(Rtype::AAAA, BLOCKED_TTL_S, &v6.octets()),
            None => self.push_record(Rtype::SOA, BLOCKED_TTL_S, BLOCKED_SOA),
        }
        self.buffer[if address.is_some() {
            ANSWER_COUNT
        } else {
            AUTHORITY_COUNT
        }] = 1;
        self.finish(Some(reason));
    }

    /// Local data of a feed: its records of the query's type, or NODATA if it has none.
    #[inline(never)]
    pub fn records(&mut self, records: &LocalData, reason: Reason<'_>) {
        let asked = self.query.rtype;
        let is_asked = |rtype| asked == Rtype::ANY || asked == rtype;
        let mut count = 0_u16;
        self.start(Rcode::NoError);
        for record in &records.0 {
            let rtype = Rtype::new(record.record_type);
            // `finish` truncates what the client cannot take; no message is longer than 65,535
            // octets.
            let has_space = record.rdata.len() + self.buffer.len() < usize::from(u16::MAX);
            if is_asked(rtype) && has_space {
                self.push_record(rtype, record.ttl_s.min(LOCAL_TTL_MAX_S), &record.rdata);
                count += 1;
            }
        }
        if count == 0 {
            return self.block(BlockedAnswer::NoData, reason);
        }
        self.buffer[ANSWER_COUNT - 1..=ANSWER_COUNT].copy_from_slice(&count.to_be_bytes());
        self.finish(Some(reason));
    }

    /// A CNAME record to `target`, and the sections of the target's own answer if it is known. The
    /// rcode is the target's (RFC 6604 section 3).
    #[inline(never)]
    pub(crate) fn alias(
        &mut self,
        target: NameRef<'_>,
        ttl_s: u32,
        answer: Option<&Message>,
        reason: Reason<'_>,
    ) {
        self.start(Rcode::NoError);
        self.push_record(Rtype::CNAME, ttl_s.min(LOCAL_TTL_MAX_S), target.wire());
        self.buffer[ANSWER_COUNT] = 1;
        let alias_end = self.buffer.len();
        if let Some(answer) = answer
            && self.push_target(target, answer).is_err()
        {
            // The target's answer fits no message. The client may ask for the target itself.
            self.buffer.truncate(alias_end);
            self.buffer[3] &= !RCODE_BITS;
            self.buffer[ANSWER_COUNT - 1..=AUTHORITY_COUNT].copy_from_slice(&[0, 1, 0, 0]);
        }
        self.finish(Some(reason));
    }

    /// Appends the target's sections behind its CNAME record, which ends the buffer, and sets rcode
    /// and counts.
    fn push_target(&mut self, target: NameRef<'_>, answer: &Message) -> Result<(), ProtoError> {
        let end = self.buffer.len();
        let offset = u32::try_from(end).expect("an alias is short");
        let mut encoder = BinEncoder::with_offset(self.buffer, offset);
        encoder.set_max_size(u16::MAX - OPT_OCTETS_MAX);
        // Names equal to the target are compressed to it (RFC 1035 section 4.1.4). The stored
        // suffix ends before the root label.
        encoder.store_label_pointer(end - target.wire().len(), end - 1);
        let mut counts = [1_u16, 0];
        for (section, count) in [&answer.answers, &answer.authorities]
            .into_iter()
            .zip(&mut counts)
        {
            for record in section {
                record.emit(&mut encoder)?;
                *count += 1;
            }
        }
        for (count, offset) in counts.into_iter().zip([ANSWER_COUNT, AUTHORITY_COUNT]) {
            self.buffer[offset - 1..=offset].copy_from_slice(&count.to_be_bytes());
        }
        self.buffer[3] |= answer.metadata.response_code.low();
        Ok(())
    }

    /// The addresses of the proxy that filters a host's paths, for A and AAAA; NODATA for other
    /// types, also for HTTPS and SVCB, by which a client would bypass the proxy.
    #[inline(never)]
    pub fn proxy(&mut self, proxy: &[IpAddr]) {
        self.start(Rcode::NoError);
        let mut count = 0_u8;
        for address in proxy {
            match (address, self.query.rtype) {
                (IpAddr::V4(v4), Rtype::A) => {
                    self.push_record(Rtype::A, LOCAL_TTL_MAX_S, &v4.octets())
                }
                (IpAddr::V6(v6), Rtype::AAAA) => {
                    self.push_record(Rtype::AAAA, LOCAL_TTL_MAX_S, &v6.octets())
                }
                _ => continue,
            }
            count += 1;
        }
        self.buffer[ANSWER_COUNT] = count;
        if count == 0 {
            self.push_record(Rtype::SOA, BLOCKED_TTL_S, BLOCKED_SOA);
            self.buffer[AUTHORITY_COUNT] = 1;
        }
        self.finish(None);
    }

    /// An empty answer with the TC bit: the client asks again over TCP.
    #[inline(never)]
    pub fn truncated(&mut self) {
        self.start(Rcode::NoError);
        self.buffer[2] |= TRUNCATED;
        self.finish(None);
    }

    /// An empty answer that asks the client to repeat the query with the cookie in it (RFC 7873
    /// section 5.2.3).
    #[cold]
    #[inline(never)]
    pub fn bad_cookie(&mut self) {
        let Some(edns) = self.query.edns else { return };
        self.start(Rcode::BadCookie);
        self.buffer[ADDITIONAL_COUNT] = 1;
        opt::push(
            self.buffer,
            Rcode::BadCookie,
            edns.dnssec_ok,
            None,
            self.cookie,
        );
    }

    /// An answer without records.
    #[cold]
    #[inline(never)]
    pub fn error(&mut self, rcode: Rcode, reason: Option<Reason<'_>>) {
        self.start(rcode);
        self.finish(reason);
    }

    /// The answer to ANY for a name that exists: one HINFO record, RFC 8482 section 4.2.
    #[cold]
    #[inline(never)]
    pub fn any(&mut self, reason: Option<Reason<'_>>) {
        self.start(Rcode::NoError);
        self.push_record(Rtype::HINFO, 3600, b"\x07RFC8482\x00");
        self.buffer[ANSWER_COUNT] = 1;
        self.finish(reason);
    }

    /// One TXT record of class CH, for the server's own names (RFC 4892). A text of more than 255
    /// octets is cut.
    pub fn text(&mut self, text: &str) {
        let text = &text.as_bytes()[..text.len().min(255)];
        let mut data = vec![u8::try_from(text.len()).expect("cut to 255")];
        data.extend(text);
        self.start(Rcode::NoError);
        let class = self.buffer.len() + 4;
        self.push_record(Rtype::TXT, 0, &data);
        self.buffer[class..class + 2].copy_from_slice(&Class::CH.to_be_bytes());
        self.buffer[ANSWER_COUNT] = 1;
        self.finish(None);
    }

    /// Writes header and question.
    fn start(&mut self, rcode: Rcode) {
        let mut header = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        patch_header(&mut header, self.query, rcode as u8);
        self.buffer.clear();
        self.buffer.extend_from_slice(&header);
        self.buffer.extend_from_slice(self.query.question());
    }

    /// Appends a record of class IN that the name of the question owns.
    fn push_record(&mut self, rtype: Rtype, ttl_s: u32, data: &[u8]) {
        let octets = u16::try_from(data.len()).expect("local data is short");
        // One slice, so that the vector checks its capacity once.
        let mut fields = [0; 12];
        fields[..2].copy_from_slice(&POINTER_TO_QUESTION);
        fields[2..4].copy_from_slice(&rtype.to_be_bytes());
        fields[4..6].copy_from_slice(&Class::IN.to_be_bytes());
        fields[6..10].copy_from_slice(&ttl_s.to_be_bytes());
        fields[10..].copy_from_slice(&octets.to_be_bytes());
        self.buffer.extend_from_slice(&fields);
        self.buffer.extend_from_slice(data);
    }

    /// Adds the OPT record if the client speaks EDNS, and truncates the message if it does not fit.
    fn finish(&mut self, reason: Option<Reason<'_>>) {
        let octets_max = octets_max(self.query, self.transport);
        let form = match (self.query.edns, reason) {
            (Some(edns), Some(reason)) if edns.wants_json => opt::json_form(
                reason,
                octets_max.saturating_sub(
                    self.buffer.len()
                        + OPT_OCTETS
                        + EDE_OCTETS
                        + self.cookie.map_or(0, |_| COOKIE_OCTETS),
                ),
            ),
            _ => TextForm::Plain,
        };
        let reason = reason.map(|reason| (reason, form));
        self.add_opt(reason);
        if self.buffer.len() > octets_max {
            self.truncate(reason);
        }
    }

    /// Removes all sections but the question and the OPT record, and sets the TC bit.
    #[cold]
    #[inline(never)]
    fn truncate(&mut self, reason: Option<(Reason<'_>, TextForm)>) {
        self.buffer
            .truncate(HEADER_OCTETS + self.query.question().len());
        self.buffer[2] |= TRUNCATED;
        self.buffer[6..HEADER_OCTETS].fill(0);
        self.add_opt(reason);
    }

    fn add_opt(&mut self, reason: Option<(Reason<'_>, TextForm)>) {
        if let Some(edns) = self.query.edns {
            let additional = u16::from_be_bytes([self.buffer[10], self.buffer[11]]) + 1;
            self.buffer[10..12].copy_from_slice(&additional.to_be_bytes());
            opt::push(
                self.buffer,
                Rcode::NoError,
                edns.dnssec_ok,
                reason,
                self.cookie,
            );
        }
    }
}

/// The longest message that the client takes, in octets.
fn octets_max(query: &Query<'_>, transport: Transport) -> usize {
    match transport {
        Transport::Tcp | Transport::Internal => usize::from(u16::MAX),
        // Without EDNS 512 octets, RFC 1035 section 4.2.1.
        Transport::Udp => usize::from(
            query
                .edns
                .map_or(512, |edns| edns.payload_max.min(UDP_PAYLOAD_MAX)),
        ),
    }
}

/// Writes id and flags: QR and RA set, RD and CD as in the query. AA is clear, because the resolver
/// has no authority; AD is clear: a copy of a secure answer sets it.
fn patch_header(message: &mut [u8], query: &Query<'_>, rcode: u8) {
    message[..2].copy_from_slice(&query.id());
    message[2] = 0x80 | u8::from(query.recursion_desired());
    message[3] = 0x80 | u8::from(query.checking_disabled()) << 4 | rcode & RCODE_BITS;
}

/// The reply to a packet that is no query for this server: a header, the question if it can be read,
/// and an OPT record if the sender speaks EDNS (RFC 6891 section 7). Opcode, RD and CD are the
/// sender's.
#[cold]
#[inline(never)]
pub fn write_rejection(
    buffer: &mut Vec<u8>,
    packet: &[u8],
    rcode: Rcode,
    reason: Option<Reason<'_>>,
) {
    let ReadableParts {
        question,
        dnssec_ok,
    } = ReadableParts::of(packet);
    buffer.clear();
    buffer.extend_from_slice(&[
        packet[0],
        packet[1],
        0x80 | packet[2] & 0x79,
        0x80 | packet[3] & 0x10 | rcode as u8 & RCODE_BITS,
    ]);
    buffer.resize(HEADER_OCTETS, 0);
    if let Some(question) = question {
        buffer[QUESTION_COUNT] = 1;
        buffer.extend_from_slice(question);
    }
    if let Some(dnssec_ok) = dnssec_ok {
        buffer[ADDITIONAL_COUNT] = 1;
        let reason = reason.map(|reason| (reason, TextForm::CodeOnly));
        opt::push(buffer, rcode, dnssec_ok, reason, None);
    }
}

/// Adds an OPT record to a reply without one, if the sender of the packet speaks EDNS.
pub(crate) fn push_opt_for(buffer: &mut Vec<u8>, packet: &[u8]) {
    if let Some(dnssec_ok) = ReadableParts::of(packet).dnssec_ok {
        buffer[ADDITIONAL_COUNT] = 1;
        opt::push(buffer, Rcode::NoError, dnssec_ok, None, None);
    }
}

/// The mnemonic of a response code, as `dig` prints it.
#[must_use]
pub fn rcode_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

#[cfg(test)]
mod tests;
