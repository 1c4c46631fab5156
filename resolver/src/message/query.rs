//! One query, parsed in place: header, the one question and the OPT record. The parser allocates
//! nothing.
//!
//! The packet is untrusted. Each read is bounded by the packet, the question is one uncompressed
//! name, and a packet that breaks a rule gets an error code or no answer (RFC 1035 section 4, RFC
//! 6891, RFC 9619).

use policy::{
    name::{NameRef, WireName},
    rules::household::Mac,
};

use crate::message::{
    types::{Class, DnssecBits, OptionCode, Rcode, Rtype},
    wire::{HEADER_OCTETS, read_u16, skip_name},
};

/// The smallest answer that every client takes over UDP, in octets, RFC 1035 section 4.2.1.
const UDP_PAYLOAD_MIN: u16 = 512;

/// The OPT record of a query.
#[derive(Debug, Clone, Copy, Default)]
pub struct Edns {
    /// The largest answer that the client takes over UDP, in octets; at least 512.
    pub payload_max: u16,
    /// The DO bit: the client takes DNSSEC records, RFC 4035 section 3.2.1.
    pub dnssec_ok: bool,
    /// The CO bit, beside DO.
    pub compact_ok: bool,
    /// The MAC address in the first option of that kind; later ones are ignored.
    pub mac: Option<Mac>,
    /// The client takes the reason of a block as JSON, see [`crate::message::ede`].
    pub wants_json: bool,
    /// Where the data of the first COOKIE option is in the packet, behind its length; 0 without one.
    cookie_at: u16,
}

/// A packet that is a well-formed query.
pub struct Query<'p> {
    packet: &'p [u8],
    name: NameRef<'p>,
    pub rtype: Rtype,
    pub class: Class,
    pub edns: Option<Edns>,
}

/// Why a packet is no query for this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// A response, whose answer could start a loop, or a packet shorter than a header: no answer.
    Ignore,
    /// Answer with this code, and with the part of the question that can be read.
    Answer(Rcode),
}

impl<'p> Query<'p> {
    /// Parses a packet. The name is written to `buffer` in canonical form, in lower case.
    ///
    /// # Errors
    /// The packet is no query for this server; the [`Rejection`] says how to answer it.
    pub fn parse(packet: &'p [u8], buffer: &'p mut WireName) -> Result<Self, Rejection> {
        const FORMERR: Rejection = Rejection::Answer(Rcode::FormErr);
        let header = packet.get(..HEADER_OCTETS).ok_or(Rejection::Ignore)?;
        if header[2] & 0x80 != 0 {
            return Err(Rejection::Ignore);
        }
        if header[2] & 0x78 != 0 {
            return Err(Rejection::Answer(Rcode::NotImp));
        }
        // RFC 9619: a query has one question.
        let count = |at| usize::from(read_u16(packet, at).unwrap_or(0));
        if count(4) != 1 {
            return Err(FORMERR);
        }
        // No name stands before the question's, so that it cannot be compressed.
        let name = buffer.read(packet, HEADER_OCTETS).map_err(|_| FORMERR)?;
        let at = HEADER_OCTETS + name.wire().len();
        let (rtype, class) = read_u16(packet, at)
            .zip(read_u16(packet, at + 2))
            .ok_or(FORMERR)?;
        let mut query = Self {
            packet,
            name,
            rtype: Rtype::new(rtype),
            class: Class::new(class),
            edns: None,
        };
        query.read_records(at + 4, count(6) + count(8), count(10))?;
        Ok(query)
    }

    /// Skips the other records and reads the one OPT record, which must be an additional one.
    fn read_records(
        &mut self,
        mut at: usize,
        before: usize,
        additional: usize,
    ) -> Result<(), Rejection> {
        const FORMERR: Rejection = Rejection::Answer(Rcode::FormErr);
        for index in 0..before + additional {
            let is_root = self.packet.get(at) == Some(&0);
            at = skip_name(self.packet, at).ok_or(FORMERR)?;
            let rtype = Rtype::new(read_u16(self.packet, at).ok_or(FORMERR)?);
            let length = usize::from(read_u16(self.packet, at + 8).ok_or(FORMERR)?);
            let data = self.packet.get(at + 10..at + 10 + length).ok_or(FORMERR)?;
            if rtype == Rtype::OPT {
                // RFC 6891 section 6.1.1: at most one, in the additional section, owned by the root.
                if self.edns.is_some() || !is_root || index < before {
                    return Err(FORMERR);
                }
                let flags = self.packet.get(at + 2..at + 8).ok_or(FORMERR)?;
                if flags[3] != 0 {
                    // The options of an unknown version may have another syntax: not read.
                    return Err(Rejection::Answer(Rcode::BadVers));
                }
                let options = match data {
                    [] => Options::default(),
                    data => read_options(data, at + 10).ok_or(FORMERR)?,
                };
                let payload_max = u16::from_be_bytes([flags[0], flags[1]]).max(UDP_PAYLOAD_MIN);
                self.edns = Some(Edns {
                    payload_max,
                    dnssec_ok: flags[4] & 0x80 != 0,
                    // Alone it says nothing, RFC 9824 section 5.1.
                    compact_ok: flags[4] & 0xc0 == 0xc0,
                    mac: options.mac,
                    wants_json: options.wants_json,
                    cookie_at: options.cookie_at,
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

    /// The COOKIE option: the client cookie of 8 octets, and the server cookie if there is one.
    #[must_use]
    pub fn cookie(&self) -> Option<(&'p [u8; 8], &'p [u8])> {
        let at = usize::from(self.edns?.cookie_at);
        let octets = usize::from(read_u16(self.packet, at.checked_sub(2)?)?);
        self.packet.get(at..at + octets)?.split_first_chunk()
    }

    /// The packet that the query was parsed from.
    #[must_use]
    pub fn packet(&self) -> &'p [u8] {
        self.packet
    }

    /// The type to resolve. ANY is not resolved (RFC 8482): the A records say whether the name
    /// exists, and other clients ask for them anyway.
    #[must_use]
    pub fn resolved_type(&self) -> Rtype {
        if self.rtype == Rtype::ANY {
            Rtype::A
        } else {
            self.rtype
        }
    }

    #[must_use]
    pub fn id(&self) -> [u8; 2] {
        [self.packet[0], self.packet[1]]
    }

    /// The RD bit.
    #[must_use]
    pub fn recursion_desired(&self) -> bool {
        self.packet[2] & 0x01 != 0
    }

    /// The CD bit, RFC 4035 section 3.2.2.
    #[must_use]
    pub fn checking_disabled(&self) -> bool {
        self.packet[3] & 0x10 != 0
    }

    /// The bits DO, CO and CD.
    #[inline]
    #[must_use]
    pub fn dnssec_bits(&self) -> DnssecBits {
        DnssecBits {
            dnssec_ok: self.edns.is_some_and(|edns| edns.dnssec_ok),
            compact_ok: self.edns.is_some_and(|edns| edns.compact_ok),
            checking_disabled: self.checking_disabled(),
        }
    }

    /// Whether the client understands the AD bit: it set it, or DO (RFC 6840 section 5.7).
    #[inline]
    #[must_use]
    pub fn understands_ad(&self) -> bool {
        self.packet[3] & 0x20 != 0 || self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// The question section, in the letter case of the client.
    #[must_use]
    pub fn question(&self) -> &'p [u8] {
        &self.packet[HEADER_OCTETS..HEADER_OCTETS + self.name().wire().len() + 4]
    }
}

/// The parts of a rejected packet that its reply repeats (RFC 6891 sections 6.1.1 and 7).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadableParts<'p> {
    /// The question section, if it is complete and holds exactly one question.
    pub question: Option<&'p [u8]>,
    /// The DO bit, if the sender speaks EDNS: any OPT record in the packet counts, also a broken
    /// one.
    pub dnssec_ok: Option<bool>,
}

impl<'p> ReadableParts<'p> {
    /// Reads as far as the packet can be read.
    pub fn of(packet: &'p [u8]) -> Self {
        let mut parts = Self::default();
        // None says that the packet ended early. The parts read until then count.
        let _ = parts.read(packet);
        parts
    }

    fn read(&mut self, packet: &'p [u8]) -> Option<()> {
        let count = |at| read_u16(packet, at).map(usize::from);
        let questions = count(4)?;
        let mut at = HEADER_OCTETS;
        for _ in 0..questions {
            at = skip_name(packet, at)? + 4;
        }
        let question = packet.get(HEADER_OCTETS..at)?;
        // A question with a compression pointer is invalid and is not repeated.
        self.question = (questions == 1 && WireName::default().read(packet, HEADER_OCTETS).is_ok())
            .then_some(question);
        for _ in 0..count(6)? + count(8)? + count(10)? {
            at = skip_name(packet, at)?;
            if Rtype::new(read_u16(packet, at)?) == Rtype::OPT {
                self.dnssec_ok = Some(packet.get(at + 6).is_some_and(|flags| flags & 0x80 != 0));
                return Some(());
            }
            at += 10 + count(at + 8)?;
        }
        Some(())
    }
}

/// What the options of a query say.
#[derive(Default)]
struct Options {
    mac: Option<Mac>,
    wants_json: bool,
    cookie_at: u16,
}

/// Reads the options, which begin at this offset of the packet. None if an option reaches past the
/// end, or the length of a COOKIE option is neither 8 nor 16 to 40 octets (RFC 7873 section 5.2.2).
#[inline(never)]
fn read_options(mut data: &[u8], at: usize) -> Option<Options> {
    // The first MAC option counts even if it is invalid: an option that is appended on the way
    // cannot replace the device's own.
    let mut mac = None;
    let mut options = Options::default();
    let end = at + data.len();
    while !data.is_empty() {
        let code = OptionCode::new(read_u16(data, 0)?);
        let length = usize::from(read_u16(data, 2)?);
        let value = data.get(4..4 + length)?;
        if code == OptionCode::MAC {
            mac = mac.or_else(|| Some(read_mac(value)));
        } else if code == OptionCode::EDE {
            options.wants_json |= value == [0, 0];
        } else if code == OptionCode::COOKIE {
            if length != 8 && !(16..=40).contains(&length) {
                return None;
            }
            if options.cookie_at == 0 {
                options.cookie_at = (end - data.len() + 4) as u16;
            }
        }
        data = &data[4 + length..];
    }
    options.mac = mac.flatten();
    Some(options)
}

/// A MAC address as six octets or as text such as `02:00:5e:00:53:01`.
fn read_mac(value: &[u8]) -> Option<Mac> {
    match <[u8; 6]>::try_from(value) {
        Ok(octets) => Some(Mac(octets)),
        Err(_) => std::str::from_utf8(value).ok()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
