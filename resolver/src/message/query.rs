//! One query, read in place: header, the one question, and the OPT record. Nothing is allocated.
//!
//! What the wire says is untrusted: every read is bounded by the packet, a question is one
//! uncompressed name, and what does not add up is answered with an error code or not at all (RFC
//! 1035 section 4, RFC 6891, RFC 9619).

use policy::{
    name::{LABEL_OCTETS_MAX, NameRef, WireName},
    rules::household::Mac,
};

use crate::message::reply::OPTION_EDE;

/// Octets of a DNS header, RFC 1035 section 4.1.1.
pub const HEADER_OCTETS: usize = 12;
/// EDNS option of dnsmasq's `add-mac`: the asking device's MAC address, six octets or text.
const OPTION_MAC: u16 = 65001;
/// The record types of an OPT record, RFC 6891 section 6.1.1, of an address, and of a query for
/// whatever there is.
const TYPE_OPT: u16 = 41;
const TYPE_A: u16 = 1;
pub(crate) const TYPE_ANY: u16 = 255;
/// The smallest answer that every client takes over UDP, RFC 1035 section 4.2.1, in octets.
const UDP_PAYLOAD_MIN: u16 = 512;

/// Response codes that the listener itself gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rcode {
    /// All is well.
    NoError = 0,
    /// The query cannot be understood.
    FormErr = 1,
    /// We failed.
    ServFail = 2,
    /// The name does not exist.
    NxDomain = 3,
    /// The kind of query is not implemented.
    NotImp = 4,
    /// We do not want to.
    Refused = 5,
    /// An EDNS version that we do not speak, RFC 6891 section 9.
    BadVers = 16,
}

/// What the client told by EDNS.
#[derive(Debug, Clone, Copy, Default)]
pub struct Edns {
    /// The largest answer it takes over UDP, at least 512.
    pub payload_max: u16,
    /// It wants DNSSEC records.
    pub dnssec_ok: bool,
    /// The MAC address that somebody on the way asserts: of several such options the first one
    /// speaks, and the others are ignored.
    pub mac: Option<Mac>,
    /// It would like the reason of a block as JSON, see `reason.rs`.
    pub wants_json: bool,
}

/// A query that can be answered.
pub struct Query<'p> {
    packet: &'p [u8],
    name: NameRef<'p>,
    /// The question's type.
    pub record_type: u16,
    /// The question's class.
    pub class: u16,
    /// What EDNS said, if it was there.
    pub edns: Option<Edns>,
}

/// A query that cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// Not a query: an answer (answering one could loop) or too short to answer.
    Silent,
    /// Answer with this code, and with what can be read of the question.
    Answer(Rcode),
}

impl<'p> Query<'p> {
    /// Reads a packet; its name is folded in `room`.
    ///
    /// # Errors
    /// What to do with a packet that is no query for us.
    pub fn parse(packet: &'p [u8], room: &'p mut WireName) -> Result<Self, Rejection> {
        const FORMERR: Rejection = Rejection::Answer(Rcode::FormErr);
        let header = packet.get(..HEADER_OCTETS).ok_or(Rejection::Silent)?;
        if header[2] & 0x80 != 0 {
            return Err(Rejection::Silent);
        }
        if header[2] & 0x78 != 0 {
            return Err(Rejection::Answer(Rcode::NotImp));
        }
        // RFC 9619: a query has one question.
        let count = |at| usize::from(number(packet, at).unwrap_or(0));
        if count(4) != 1 {
            return Err(FORMERR);
        }
        // There is nothing that the question's name could point to: it is uncompressed.
        let name = room.read(packet, HEADER_OCTETS).map_err(|_| FORMERR)?;
        let at = HEADER_OCTETS + name.wire().len();
        let (record_type, class) = number(packet, at)
            .zip(number(packet, at + 2))
            .ok_or(FORMERR)?;
        let mut query = Self {
            packet,
            name,
            record_type,
            class,
            edns: None,
        };
        query.read_records(at + 4, count(6) + count(8), count(10))?;
        Ok(query)
    }

    /// Walks over the other records for the one OPT, which stands among the additional ones.
    fn read_records(
        &mut self,
        mut at: usize,
        before: usize,
        additional: usize,
    ) -> Result<(), Rejection> {
        const FORMERR: Rejection = Rejection::Answer(Rcode::FormErr);
        for place in 0..before + additional {
            let is_root = self.packet.get(at) == Some(&0);
            at = skip_name(self.packet, at).ok_or(FORMERR)?;
            let record_type = number(self.packet, at).ok_or(FORMERR)?;
            let length = usize::from(number(self.packet, at + 8).ok_or(FORMERR)?);
            let data = self.packet.get(at + 10..at + 10 + length).ok_or(FORMERR)?;
            if record_type == TYPE_OPT {
                // RFC 6891 section 6.1.1: at most one, in the additional section, and its name is
                // the root.
                if self.edns.is_some() || !is_root || place < before {
                    return Err(FORMERR);
                }
                let flags = self.packet.get(at + 2..at + 8).ok_or(FORMERR)?;
                if flags[3] != 0 {
                    // What a version that we do not speak may write into the options is not ours to
                    // judge.
                    return Err(Rejection::Answer(Rcode::BadVers));
                }
                let (mac, wants_json) = read_options(data).ok_or(FORMERR)?;
                let payload_max = u16::from_be_bytes([flags[0], flags[1]]).max(UDP_PAYLOAD_MIN);
                self.edns = Some(Edns {
                    payload_max,
                    dnssec_ok: flags[4] & 0x80 != 0,
                    mac,
                    wants_json,
                });
            }
            at += 10 + length;
        }
        Ok(())
    }

    /// The name in canonical form.
    #[must_use]
    pub fn name(&self) -> NameRef<'p> {
        self.name
    }

    /// The packet that it was read from.
    #[must_use]
    pub fn packet(&self) -> &'p [u8] {
        self.packet
    }

    /// The type that is resolved for it. Nobody resolves ANY (RFC 8482): whether the name exists is
    /// learnt from its addresses, which most others ask for too.
    #[must_use]
    pub fn resolved_type(&self) -> u16 {
        if self.record_type == TYPE_ANY {
            TYPE_A
        } else {
            self.record_type
        }
    }

    /// The message id.
    #[must_use]
    pub fn id(&self) -> [u8; 2] {
        [self.packet[0], self.packet[1]]
    }

    /// Recursion desired.
    #[must_use]
    pub fn recursion_desired(&self) -> bool {
        self.packet[2] & 0x01 != 0
    }

    /// Checking disabled, RFC 4035 section 3.2.2.
    #[must_use]
    pub fn checking_disabled(&self) -> bool {
        self.packet[3] & 0x10 != 0
    }

    /// The question as the client wrote it, letter case and all.
    #[must_use]
    pub fn question(&self) -> &'p [u8] {
        &self.packet[HEADER_OCTETS..HEADER_OCTETS + self.name().wire().len() + 4]
    }
}

/// What of a packet that is no query can be read all the same: what the reply to it needs (RFC 6891
/// sections 6.1.1 and 7).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Remains<'p> {
    /// The question, where there is exactly one and it is whole.
    pub question: Option<&'p [u8]>,
    /// Whether the sender wants DNSSEC records, if it speaks EDNS: it sent an OPT record, wherever
    /// that stands and however it ends.
    pub dnssec_ok: Option<bool>,
}

impl<'p> Remains<'p> {
    /// Reads as far as the packet can be read.
    pub fn of(packet: &'p [u8]) -> Self {
        let mut remains = Self::default();
        // Each step returns none where the packet ends early.
        let _ = remains.read(packet);
        remains
    }

    fn read(&mut self, packet: &'p [u8]) -> Option<()> {
        let count = |at| number(packet, at).map(usize::from);
        let questions = count(4)?;
        let mut at = HEADER_OCTETS;
        for _ in 0..questions {
            at = skip_name(packet, at)? + 4;
        }
        let question = packet.get(HEADER_OCTETS..at)?;
        // There is nothing that a question's name could point to, so one with a pointer is not
        // repeated.
        self.question = (questions == 1 && WireName::default().read(packet, HEADER_OCTETS).is_ok())
            .then_some(question);
        for _ in 0..count(6)? + count(8)? + count(10)? {
            at = skip_name(packet, at)?;
            if number(packet, at)? == TYPE_OPT {
                self.dnssec_ok = Some(packet.get(at + 6).is_some_and(|flags| flags & 0x80 != 0));
                return Some(());
            }
            at += 10 + count(at + 8)?;
        }
        Some(())
    }
}

/// The MAC address that the first such option asserts, if it is one, and whether JSON is asked for;
/// none where the options do not add up.
fn read_options(mut data: &[u8]) -> Option<(Option<Mac>, bool)> {
    // Who comes first speaks, also where that names nobody: a device cannot be talked over by what
    // others append to its query.
    let mut mac = None;
    let mut wants_json = false;
    while !data.is_empty() {
        let code = number(data, 0)?;
        let length = usize::from(number(data, 2)?);
        let value = data.get(4..4 + length)?;
        if code == OPTION_MAC {
            mac = mac.or_else(|| Some(read_mac(value)));
        } else if code == OPTION_EDE {
            wants_json |= value == [0, 0];
        }
        data = &data[4 + length..];
    }
    Some((mac.flatten(), wants_json))
}

/// Six octets, or text such as `02:00:5e:00:53:01`. Anything else names nobody.
fn read_mac(value: &[u8]) -> Option<Mac> {
    match <[u8; 6]>::try_from(value) {
        Ok(octets) => Some(Mac(octets)),
        Err(_) => std::str::from_utf8(value).ok()?.parse().ok(),
    }
}

/// Two octets at a place, big endian.
pub(crate) fn number(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(
        packet.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

/// Where a name ends: after its root label, or after the first compression pointer (RFC 1035
/// section 4.1.4).
pub(crate) fn skip_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return (at + 2 <= packet.len()).then_some(at + 2),
            length if usize::from(length) <= LABEL_OCTETS_MAX => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!((query.record_type, query.class), (28, 1));
        assert!(query.recursion_desired() && !query.checking_disabled());
        assert_eq!(&query.question()[..5], b"\x03WwW\x07");
        let edns = query.edns.unwrap();
        assert_eq!((edns.payload_max, edns.dnssec_ok), (1400, true));
        assert_eq!(edns.mac.unwrap().to_string(), "02:00:5e:00:53:01");
    }

    #[test]
    fn a_mac_comes_in_octets_or_in_text_and_otherwise_not_at_all() {
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
    fn json_is_asked_for_by_an_extended_error_that_says_nothing() {
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
    fn what_is_no_query_is_refused_or_ignored() {
        let good = packet("a.example.", None);
        let with = |at: usize, octet: u8| {
            let mut packet = good.clone();
            packet[at] = octet;
            Query::parse(&packet, &mut WireName::default()).err()
        };
        assert_eq!(
            Query::parse(&good[..11], &mut WireName::default()).err(),
            Some(Rejection::Silent)
        );
        assert_eq!(
            with(2, 0x81),
            Some(Rejection::Silent),
            "an answer is never answered"
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
            "a record that is not there"
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
        fn our_reading_agrees_with_hickorys(mut packet in prop::collection::vec(any::<u8>(), 0..80), flips in prop::collection::vec((0_usize..90, any::<u8>()), 0..4), random in any::<bool>()) {
            if !random {
                packet = self::packet("wWw.example.COM.", Some(&[(65001, b"\x02\0\x5e\0\x53\x01"), (12, b"\0\0\0")]));
                for (at, octet) in flips {
                    if let Some(place) = packet.get_mut(at) {
                        *place = octet;
                    }
                }
            }
            // Hickory reads more than we do (all rdata), so it may refuse what we take; what both
            // take must be the same.
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
                prop_assert_eq!(ours.record_type, u16::from(question.query_type));
                prop_assert_eq!(ours.edns.is_some(), theirs.edns.is_some());
                if let (Some(ours), Some(theirs)) = (ours.edns, &theirs.edns) {
                    prop_assert_eq!(ours.dnssec_ok, theirs.flags().dnssec_ok);
                    prop_assert_eq!(ours.payload_max, theirs.max_payload().max(512));
                }
            }
        }
    }
}
