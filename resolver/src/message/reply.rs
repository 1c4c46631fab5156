//! Messages on their way out: a cached answer patched, a block, an error. Written into the caller's
//! buffer.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use hickory_proto::{
    ProtoError,
    op::{Edns, ResponseCode},
    rr::rdata::opt::{EdnsCode, EdnsOption},
    serialize::binary::{BinEncodable as _, BinEncoder},
};
use policy::{
    decide::{Layer, Verdict},
    lists::{
        entry::LocalData,
        mandates::{Landing, Mandate},
    },
};

use crate::{
    cache::Entry,
    engine::alias::{Alias, TYPE_CNAME},
    message::{
        addresses::{TYPE_A, TYPE_AAAA},
        ede::Form,
        query::{HEADER_OCTETS, Query, Rcode, Remains, TYPE_ANY},
    },
    upstream::Answer,
};

pub use crate::message::ede::Reason;

/// The largest UDP answer we send and the payload we advertise: what passes every path unfragmented
/// (DNS flag day 2020).
pub const UDP_PAYLOAD_MAX: u16 = 1232;
/// How long a client may keep a block, in seconds: a parent's "yes" must not wait for a stub's
/// cache.
pub const BLOCKED_TTL_S: u32 = 10;
/// How long a client may keep an answer that is older than it should be, in seconds, RFC 8767
/// section 4.
pub const STALE_TTL_S: u32 = 30;
/// EDNS option code of the Extended DNS Error, RFC 8914 section 2.
pub(crate) const OPTION_EDE: u16 = 15;
const TYPE_SOA: u16 = 6;
const TYPE_HINFO: u16 = 13;
/// The longest a client may keep what stands in the place of an answer, in seconds: records of a
/// feed's own, and the proxy's addresses.
pub(crate) const LOCAL_TTL_MAX_S: u32 = 30;
/// Room that a long answer leaves for the OPT record with its reason, in octets.
const OPT_OCTETS_MAX: u16 = 512;
/// Octets of an OPT record without options, and of an Extended DNS Error in it without text.
const OPT_OCTETS: usize = 11;
const EDE_OCTETS: usize = 6;
/// A pointer to the question's name.
const POINTER_TO_QUESTION: [u8; 2] = [0xc0, HEADER_OCTETS as u8];
/// Places in the header of the lower octets of the counts, RFC 1035 section 4.1.1.
const QUESTION_COUNT: usize = 5;
const ANSWER_COUNT: usize = 7;
const AUTHORITY_COUNT: usize = 9;
const ADDITIONAL_COUNT: usize = 11;
/// The flag TC in the third octet of a header.
const TRUNCATED: u8 = 0x02;
/// The data of a SOA that says nothing but how long a negative answer lives: names under `invalid`
/// (RFC 6761) lead nowhere; serial 1, refresh 3600 s, retry 600 s, expire 86,400 s, minimum
/// [`BLOCKED_TTL_S`].
const BLOCKED_SOA: &[u8] = b"\x0aox-protect\x07invalid\x00\x07nothing\x07invalid\x00\
    \x00\x00\x00\x01\x00\x00\x0e\x10\x00\x00\x02\x58\x00\x01\x51\x80\x00\x00\x00\x0a";

/// What a blocked name is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BlockedAnswer {
    /// The name does not exist.
    #[default]
    NxDomain,
    /// The name exists but has nothing of this type.
    NoData,
    /// The operator's page for A and AAAA, nothing for other types.
    Landing {
        /// For A.
        v4: Option<Ipv4Addr>,
        /// For AAAA.
        v6: Option<Ipv6Addr>,
    },
}

impl BlockedAnswer {
    /// The code and the address that this sends for a type.
    #[must_use]
    pub fn parts(self, record_type: u16) -> (Rcode, Option<IpAddr>) {
        match (self, record_type) {
            (Self::NxDomain, _) => (Rcode::NxDomain, None),
            (Self::Landing { v4: Some(v4), .. }, TYPE_A) => (Rcode::NoError, Some(v4.into())),
            (Self::Landing { v6: Some(v6), .. }, TYPE_AAAA) => (Rcode::NoError, Some(v6.into())),
            (Self::NoData | Self::Landing { .. }, _) => (Rcode::NoError, None),
        }
    }
}

impl From<Landing> for BlockedAnswer {
    fn from(Landing { v4, v6 }: Landing) -> Self {
        Self::Landing { v4, v6 }
    }
}

/// What blocked names are answered with, by who decides about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockedAnswers {
    /// By order.
    pub mandatory: BlockedAnswer,
    /// By the operator's security lists.
    pub security: BlockedAnswer,
    /// By the family's choice.
    pub choice: BlockedAnswer,
}

impl BlockedAnswers {
    /// The answer to a verdict that blocks, under this mandate if there is one.
    #[must_use]
    pub fn to(&self, verdict: Verdict, mandate: Option<&Mandate>) -> BlockedAnswer {
        match verdict.layer {
            Layer::Mandatory => mandate
                .and_then(|mandate| mandate.landing)
                .map_or(self.mandatory, BlockedAnswer::from),
            Layer::Security => self.security,
            _ => self.choice,
        }
    }
}

impl From<BlockedAnswer> for BlockedAnswers {
    fn from(answer: BlockedAnswer) -> Self {
        Self {
            mandatory: answer,
            security: answer,
            choice: answer,
        }
    }
}

/// How an answer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Bounded by what the client takes.
    Udp,
    /// Bounded by the length field.
    Tcp,
    /// Not at all: what is explained is answered as over UDP, but as long as it likes.
    Told,
}

impl Transport {
    fn octets_max(self, query: &Query<'_>) -> usize {
        match self {
            Self::Tcp | Self::Told => usize::from(u16::MAX),
            // Without EDNS 512 octets, RFC 1035 section 4.2.1.
            Self::Udp => usize::from(
                query
                    .edns
                    .map_or(512, |edns| edns.payload_max.min(UDP_PAYLOAD_MAX)),
            ),
        }
    }
}

/// A cached answer: copied, then id, flags, TTLs and the question's letter case are the client's.
pub fn write_cached(
    reply: &mut Vec<u8>,
    query: &Query<'_>,
    entry: &Entry,
    now: Duration,
    transport: Transport,
) {
    copy_cached(reply, query, entry);
    entry.write_ttls(reply, now);
    finish(reply, query, None, transport);
}

/// A cached answer that is older than it should be, for a short while and with the reason.
#[cold]
#[inline(never)]
pub fn write_stale(reply: &mut Vec<u8>, query: &Query<'_>, entry: &Entry, transport: Transport) {
    copy_cached(reply, query, entry);
    entry.write_ttl(reply, STALE_TTL_S);
    let rcode = if entry.message()[3] & 0x0f == Rcode::NxDomain as u8 {
        Rcode::NxDomain
    } else {
        Rcode::NoError
    };
    finish(reply, query, Some(Reason::Stale(rcode)), transport);
}

#[inline]
fn copy_cached(reply: &mut Vec<u8>, query: &Query<'_>, entry: &Entry) {
    reply.clear();
    reply.extend_from_slice(entry.message());
    patch_header(reply, query, entry.message()[3] & 0x0f);
    let question = query.question();
    reply[HEADER_OCTETS..HEADER_OCTETS + question.len()].copy_from_slice(question);
}

/// A block, with a SOA so that its short life is ours to set (RFC 2308 section 5), and its reason.
pub fn write_blocked(
    reply: &mut Vec<u8>,
    query: &Query<'_>,
    answer: BlockedAnswer,
    reason: Reason<'_>,
    transport: Transport,
) {
    let (rcode, address) = answer.parts(query.record_type);
    start(reply, query, rcode);
    match address {
        Some(IpAddr::V4(address)) => push_record(reply, TYPE_A, BLOCKED_TTL_S, &address.octets()),
        Some(IpAddr::V6(address)) => {
            push_record(reply, TYPE_AAAA, BLOCKED_TTL_S, &address.octets())
        }
        None => push_record(reply, TYPE_SOA, BLOCKED_TTL_S, BLOCKED_SOA),
    }
    reply[if address.is_some() {
        ANSWER_COUNT
    } else {
        AUTHORITY_COUNT
    }] = 1;
    finish(reply, query, Some(reason), transport);
}

/// LocalData of a feed's own in the place of an answer: those of the type that is asked for. Where
/// there is none, the name exists but has nothing of this type.
#[inline(never)]
pub fn write_records(
    reply: &mut Vec<u8>,
    query: &Query<'_>,
    records: &LocalData,
    reason: Reason<'_>,
    transport: Transport,
) {
    let is_asked = |record_type| query.record_type == TYPE_ANY || query.record_type == record_type;
    let mut count = 0_u16;
    start(reply, query, Rcode::NoError);
    for record in records
        .0
        .iter()
        .filter(|record| is_asked(record.record_type))
    {
        // What is longer than a message cannot be sent; `finish` truncates the rest.
        if record.rdata.len() + reply.len() < usize::from(u16::MAX) {
            push_record(
                reply,
                record.record_type,
                record.ttl_s.min(LOCAL_TTL_MAX_S),
                &record.rdata,
            );
            count += 1;
        }
    }
    if count == 0 {
        return write_blocked(reply, query, BlockedAnswer::NoData, reason, transport);
    }
    reply[ANSWER_COUNT - 1..=ANSWER_COUNT].copy_from_slice(&count.to_be_bytes());
    finish(reply, query, Some(reason), transport);
}

/// An alias of a feed's own in the place of an answer, and what its target has where that is known.
/// The code is the target's (RFC 6604 section 3), and so is the SOA where it has nothing.
#[inline(never)]
pub(crate) fn write_alias(
    reply: &mut Vec<u8>,
    query: &Query<'_>,
    alias: &Alias,
    target: Option<&Answer>,
    reason: Reason<'_>,
    transport: Transport,
) {
    start(reply, query, Rcode::NoError);
    push_record(
        reply,
        TYPE_CNAME,
        alias.ttl_s.min(LOCAL_TTL_MAX_S),
        alias.target.borrow().wire(),
    );
    reply[ANSWER_COUNT] = 1;
    let alone = reply.len();
    if let Some(target) = target
        && push_target(reply, alias, target).is_err()
    {
        // Longer than any message: the client may ask for the target itself.
        reply.truncate(alone);
        reply[3] &= 0xf0;
        reply[ANSWER_COUNT - 1..=AUTHORITY_COUNT].copy_from_slice(&[0, 1, 0, 0]);
    }
    finish(reply, query, Some(reason), transport);
}

/// Appends what an alias' target has behind the alias, whose data ends the reply, and sets code and
/// counts.
fn push_target(reply: &mut Vec<u8>, alias: &Alias, target: &Answer) -> Result<(), ProtoError> {
    let end = reply.len();
    let mut encoder =
        BinEncoder::with_offset(reply, u32::try_from(end).expect("an alias is short"));
    encoder.set_max_size(u16::MAX - OPT_OCTETS_MAX);
    // What is called like the target, which nearly all of it is, points there. The root's octet is
    // not of the label.
    encoder.store_label_pointer(end - alias.target.borrow().wire().len(), end - 1);
    let mut counts = [1_u16, 0];
    for (section, count) in [&target.answers, &target.authorities]
        .into_iter()
        .zip(&mut counts)
    {
        for record in section {
            record.emit(&mut encoder)?;
            *count += 1;
        }
    }
    for (count, place) in counts.into_iter().zip([ANSWER_COUNT, AUTHORITY_COUNT]) {
        reply[place - 1..=place].copy_from_slice(&count.to_be_bytes());
    }
    reply[3] |= target.rcode.low();
    Ok(())
}

/// The addresses of the proxy that looks at a host's paths, for the types that lead to a host; it
/// has nothing of the others, and none of the service records by which a client would go around it.
#[inline(never)]
pub fn write_proxied(
    reply: &mut Vec<u8>,
    query: &Query<'_>,
    proxy: &[IpAddr],
    transport: Transport,
) {
    start(reply, query, Rcode::NoError);
    let mut count = 0_u8;
    for address in proxy {
        match (address, query.record_type) {
            (IpAddr::V4(v4), TYPE_A) => push_record(reply, TYPE_A, LOCAL_TTL_MAX_S, &v4.octets()),
            (IpAddr::V6(v6), TYPE_AAAA) => {
                push_record(reply, TYPE_AAAA, LOCAL_TTL_MAX_S, &v6.octets())
            }
            _ => continue,
        }
        count += 1;
    }
    reply[ANSWER_COUNT] = count;
    if count == 0 {
        push_record(reply, TYPE_SOA, BLOCKED_TTL_S, BLOCKED_SOA);
        reply[AUTHORITY_COUNT] = 1;
    }
    finish(reply, query, None, transport);
}

/// Nothing but the wish to be asked again over TCP.
#[inline(never)]
pub fn write_truncated(reply: &mut Vec<u8>, query: &Query<'_>, transport: Transport) {
    start(reply, query, Rcode::NoError);
    reply[2] |= TRUNCATED;
    finish(reply, query, None, transport);
}

/// An answer without records.
#[cold]
#[inline(never)]
pub fn write_error(
    reply: &mut Vec<u8>,
    query: &Query<'_>,
    rcode: Rcode,
    reason: Option<Reason<'_>>,
    transport: Transport,
) {
    start(reply, query, rcode);
    finish(reply, query, reason, transport);
}

/// The answer to ANY of a name that exists: one record that says so, RFC 8482 section 4.2.
#[cold]
#[inline(never)]
pub fn write_any(
    reply: &mut Vec<u8>,
    query: &Query<'_>,
    reason: Option<Reason<'_>>,
    transport: Transport,
) {
    start(reply, query, Rcode::NoError);
    push_record(reply, TYPE_HINFO, 3600, b"\x07RFC8482\x00");
    reply[ANSWER_COUNT] = 1;
    finish(reply, query, reason, transport);
}

/// The answer to a packet that is no query for us: a header, the question where it can be read, and
/// an OPT record where the sender speaks EDNS (RFC 6891 section 7).
#[cold]
#[inline(never)]
pub fn write_rejection(
    reply: &mut Vec<u8>,
    packet: &[u8],
    rcode: Rcode,
    reason: Option<Reason<'_>>,
) {
    let Remains {
        question,
        dnssec_ok,
    } = Remains::of(packet);
    reply.clear();
    // Opcode, RD and CD are the sender's.
    reply.extend_from_slice(&[
        packet[0],
        packet[1],
        0x80 | packet[2] & 0x79,
        0x80 | packet[3] & 0x10 | rcode as u8 & 0x0f,
    ]);
    reply.resize(HEADER_OCTETS, 0);
    if let Some(question) = question {
        reply[QUESTION_COUNT] = 1;
        reply.extend_from_slice(question);
    }
    if let Some(dnssec_ok) = dnssec_ok {
        reply[ADDITIONAL_COUNT] = 1;
        push_opt(
            reply,
            rcode,
            dnssec_ok,
            reason.map(|reason| (reason, Form::Bare)),
        );
    }
}

/// The OPT record of a reply that has none yet, where the sender of the packet speaks EDNS.
pub(crate) fn push_opt_for(reply: &mut Vec<u8>, packet: &[u8]) {
    if let Some(dnssec_ok) = Remains::of(packet).dnssec_ok {
        reply[ADDITIONAL_COUNT] = 1;
        push_opt(reply, Rcode::NoError, dnssec_ok, None);
    }
}

fn start(reply: &mut Vec<u8>, query: &Query<'_>, rcode: Rcode) {
    let mut header = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    patch_header(&mut header, query, rcode as u8);
    reply.clear();
    reply.extend_from_slice(&header);
    reply.extend_from_slice(query.question());
}

/// Id and flags: QR, RD as asked, RA, CD as asked. Never AA, for nothing here is ours to say, and
/// AD only with validation.
fn patch_header(reply: &mut [u8], query: &Query<'_>, rcode: u8) {
    reply[..2].copy_from_slice(&query.id());
    reply[2] = 0x80 | u8::from(query.recursion_desired());
    reply[3] = 0x80 | u8::from(query.checking_disabled()) << 4 | rcode & 0x0f;
}

fn push_record(reply: &mut Vec<u8>, record_type: u16, ttl: u32, data: &[u8]) {
    let octets = u16::try_from(data.len()).expect("our own records are short");
    // One piece, for one look at the room that is left.
    let mut head = [0; 12];
    head[..2].copy_from_slice(&POINTER_TO_QUESTION);
    head[2..4].copy_from_slice(&record_type.to_be_bytes());
    head[4..6].copy_from_slice(&1_u16.to_be_bytes());
    head[6..10].copy_from_slice(&ttl.to_be_bytes());
    head[10..].copy_from_slice(&octets.to_be_bytes());
    reply.extend_from_slice(&head);
    reply.extend_from_slice(data);
}

/// The OPT record where the client has EDNS, and truncation where it does not fit.
fn finish(
    reply: &mut Vec<u8>,
    query: &Query<'_>,
    reason: Option<Reason<'_>>,
    transport: Transport,
) {
    let octets_max = transport.octets_max(query);
    let form = match (query.edns, reason) {
        (Some(edns), Some(reason)) if edns.wants_json => json_form(
            reason,
            octets_max.saturating_sub(reply.len() + OPT_OCTETS + EDE_OCTETS),
        ),
        _ => Form::Plain,
    };
    let reason = reason.map(|reason| (reason, form));
    add_opt(reply, query, reason);
    if reply.len() > octets_max {
        truncate(reply, query, reason);
    }
}

/// Takes everything back but the question and the OPT record.
#[cold]
#[inline(never)]
fn truncate(reply: &mut Vec<u8>, query: &Query<'_>, reason: Option<(Reason<'_>, Form)>) {
    reply.truncate(HEADER_OCTETS + query.question().len());
    reply[2] |= TRUNCATED;
    reply[6..HEADER_OCTETS].fill(0);
    add_opt(reply, query, reason);
}

fn add_opt(reply: &mut Vec<u8>, query: &Query<'_>, reason: Option<(Reason<'_>, Form)>) {
    if let Some(edns) = query.edns {
        let additional = u16::from_be_bytes([reply[10], reply[11]]) + 1;
        reply[10..12].copy_from_slice(&additional.to_be_bytes());
        push_opt(reply, Rcode::NoError, edns.dnssec_ok, reason);
    }
}

/// The most that can be told in so many octets: no answer is truncated for a text.
#[cold]
#[inline(never)]
fn json_form(reason: Reason<'_>, room: usize) -> Form {
    [Form::Whole, Form::Brief]
        .into_iter()
        .find(|form| reason.octets(*form) <= room)
        .unwrap_or(Form::Bare)
}

fn push_opt(
    reply: &mut Vec<u8>,
    rcode: Rcode,
    dnssec_ok: bool,
    reason: Option<(Reason<'_>, Form)>,
) {
    // Root name, type 41, our payload size, the upper bits of the code, version 0, flags, no
    // options: RFC 6891 section 6.1.
    let [payload_high, payload_low] = UDP_PAYLOAD_MAX.to_be_bytes();
    let flags = u8::from(dnssec_ok) << 7;
    reply.extend_from_slice(&[
        0,
        0,
        41,
        payload_high,
        payload_low,
        (rcode as u8) >> 4,
        0,
        flags,
        0,
        0,
        0,
    ]);
    if let Some((reason, form)) = reason {
        push_reason(reply, reason, form);
    }
}

/// Appends a reason to an OPT record without options, and says how long both are now.
fn push_reason(reply: &mut Vec<u8>, reason: Reason<'_>, form: Form) {
    let begin = reply.len();
    let ([option_high, option_low], [code_high, code_low]) =
        (OPTION_EDE.to_be_bytes(), reason.code().to_be_bytes());
    reply.extend_from_slice(&[option_high, option_low, 0, 0, code_high, code_low]);
    reason.write(form, |piece| reply.extend_from_slice(piece.as_bytes()));
    let octets = u16::try_from(reply.len() - begin).expect("a list of slugs is short");
    reply[begin - 2..begin].copy_from_slice(&octets.to_be_bytes());
    reply[begin + 2..begin + 4].copy_from_slice(&(octets - 4).to_be_bytes());
}

/// One text record, for the server's own names in class CH (RFC 4892).
pub fn write_text(reply: &mut Vec<u8>, query: &Query<'_>, text: &str, transport: Transport) {
    const TYPE_TXT: u16 = 16;
    const CLASS_CH: u16 = 3;
    let text = &text.as_bytes()[..text.len().min(255)];
    let mut data = vec![u8::try_from(text.len()).expect("cut to 255")];
    data.extend(text);
    start(reply, query, Rcode::NoError);
    let class = reply.len() + 4;
    push_record(reply, TYPE_TXT, 0, &data);
    reply[class..class + 2].copy_from_slice(&CLASS_CH.to_be_bytes());
    reply[ANSWER_COUNT] = 1;
    finish(reply, query, None, transport);
}

/// The Extended DNS Error in an OPT record: its info-code and its text.
#[must_use]
pub fn read_extended_error(edns: &Edns) -> Option<(u16, String)> {
    match edns.option(EdnsCode::Unknown(OPTION_EDE))? {
        EdnsOption::Unknown(_, data) => {
            let (code, text) = data.split_first_chunk::<2>()?;
            Some((
                u16::from_be_bytes(*code),
                String::from_utf8_lossy(text).into_owned(),
            ))
        }
        _ => None,
    }
}

/// The mnemonic of a code, as `dig` prints it.
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
