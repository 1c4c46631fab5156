//! Bounds-checked reading of a message in place: numbers and the extent of names.

use policy::name::LABEL_OCTETS_MAX;

/// Octets of a DNS header, RFC 1035 section 4.1.1.
pub const HEADER_OCTETS: usize = 12;

/// The 16-bit number at an offset, in network byte order; none behind the end of the packet.
pub(crate) fn read_u16(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(
        packet.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

/// The offset behind the name at an offset: behind its root label, or behind its first compression
/// pointer (RFC 1035 section 4.1.4).
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
