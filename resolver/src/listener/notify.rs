//! NOTIFY (RFC 1996): a hint that a zone has changed. It only makes the loader ask the zone's server
//! earlier, so that a TSIG signature is not checked. The handler limits how often that happens.

use std::net::IpAddr;

use policy::name::{Name, NameRef, WireName};

use crate::message::{
    reply::push_opt_for,
    types::{Class, Rcode, Rtype},
    wire::{HEADER_OCTETS, read_u16},
};

/// The opcode in the third octet of a header, RFC 1996 section 3.3, and its bits.
const NOTIFY: u8 = 4 << 3;
const OPCODE_BITS: u8 = 0x78;
/// The bits QR and AA.
const QR: u8 = 0x80;
const AA: u8 = 0x04;

/// Handles a NOTIFY for a zone from a source address. Returns false if the zone is none of a feed's,
/// or the source may not notify about it.
pub type OnNotify = std::sync::Arc<dyn Fn(Name, IpAddr) -> bool + Send + Sync>;

/// Whether a packet that is no response is a NOTIFY.
pub(crate) fn is_notify(packet: &[u8]) -> bool {
    packet
        .get(2)
        .is_some_and(|flags| flags & OPCODE_BITS == NOTIFY)
}

/// Calls the handler and writes the answer: NOERROR if the handler accepts, REFUSED if not, FORMERR
/// if the packet does not parse.
pub(crate) fn answer(packet: &[u8], source: IpAddr, on_notify: &OnNotify, reply: &mut Vec<u8>) {
    let mut name_buffer = WireName::default();
    let question = read_question(packet, &mut name_buffer);
    let rcode = match question {
        Some((zone, true)) if on_notify(zone.to_owned(), source.to_canonical()) => Rcode::NoError,
        Some((_, true)) => Rcode::Refused,
        _ => Rcode::FormErr,
    };
    reply.clear();
    reply.extend_from_slice(&[
        packet[0],
        packet[1],
        QR | AA | NOTIFY,
        rcode as u8,
        0,
        u8::from(question.is_some()),
        0,
        0,
        0,
        0,
        0,
        0,
    ]);
    if let Some((zone, _)) = question {
        // The question, in the letter case of the packet.
        reply.extend_from_slice(&packet[HEADER_OCTETS..HEADER_OCTETS + zone.wire().len() + 4]);
    }
    push_opt_for(reply, packet);
}

/// The name of the one question, and whether that is `ZONE IN SOA`.
fn read_question<'r>(packet: &[u8], name_buffer: &'r mut WireName) -> Option<(NameRef<'r>, bool)> {
    if read_u16(packet, 4)? != 1 {
        return None;
    }
    let zone = name_buffer.read(packet, HEADER_OCTETS).ok()?;
    let at = HEADER_OCTETS + zone.wire().len();
    let rtype = Rtype::new(read_u16(packet, at)?);
    let class = Class::new(read_u16(packet, at + 2)?);
    Some((zone, rtype == Rtype::SOA && class == Class::IN))
}

#[cfg(test)]
mod tests;
