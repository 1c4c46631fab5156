//! Names and addresses that an answer leads to, read from the wire: addresses of A and AAAA records,
//! address hints of HTTPS and SVCB records, which clients use like addresses, and the targets of
//! CNAME, DNAME, HTTPS and SVCB records.

use std::{net::IpAddr, ops::Range};

use policy::name::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX, Name, NameRef};

use crate::message::{
    types::Rtype,
    wire::{HEADER_OCTETS, read_u16, skip_name},
};

/// SvcParamKeys, RFC 9460 section 14.3.2.
const KEY_IPV4_HINT: u16 = 4;
const KEY_IPV6_HINT: u16 = 6;

/// Visits each address of the answer section, in order. A record with broken data is skipped; the
/// walk ends where the message cannot be parsed.
pub(crate) fn for_each_address(message: &[u8], mut visit: impl FnMut(IpAddr)) {
    for (rtype, data) in answers(message) {
        let data = &message[data];
        match rtype {
            Rtype::A => addresses::<4>(data, &mut visit),
            Rtype::AAAA => addresses::<16>(data, &mut visit),
            // Broken parameters end this record only; later records are visited.
            Rtype::SVCB | Rtype::HTTPS => _ = hints(data, &mut visit),
            _ => {}
        }
    }
}

/// The targets of CNAME, DNAME, HTTPS and SVCB records of the answer section, each once, in order.
pub(crate) fn names(message: &[u8]) -> Vec<Name> {
    let mut found = Vec::new();
    for (rtype, data) in answers(message) {
        let target = match rtype {
            Rtype::CNAME | Rtype::DNAME => read_name(message, data.start),
            // The target follows the priority. The target `.` is the owner (RFC 9460 section 2.5),
            // which the caller judges anyway.
            Rtype::SVCB | Rtype::HTTPS => read_name(message, data.start + 2),
            _ => None,
        };
        if let Some(target) =
            target.filter(|target| !target.borrow().is_root() && !found.contains(target))
        {
            found.push(target);
        }
    }
    found
}

/// The records of the answer section, as far as the message can be parsed: type and range of the
/// data.
fn answers(message: &[u8]) -> impl Iterator<Item = (Rtype, Range<usize>)> {
    let questions = read_u16(message, 4).unwrap_or(0);
    let mut at = (0..questions).try_fold(HEADER_OCTETS, |at, _| Some(skip_name(message, at)? + 4));
    (0..read_u16(message, 6).unwrap_or(0)).map_while(move |_| {
        let head = skip_name(message, at?)?;
        let rtype = Rtype::new(read_u16(message, head)?);
        let length = usize::from(read_u16(message, head + 8)?);
        let data = head + 10..head + 10 + length;
        at = Some(data.end);
        message.get(data.clone()).map(|_| (rtype, data))
    })
}

/// The name at an offset, compressed or not (RFC 1035 section 4.1.4). Each pointer must lead
/// backwards, so that the loop ends.
fn read_name(message: &[u8], mut at: usize) -> Option<Name> {
    let mut wire = Vec::new();
    loop {
        match usize::from(*message.get(at)?) {
            0 => break,
            length if length <= LABEL_OCTETS_MAX => {
                wire.extend(
                    message
                        .get(at..=at + length)?
                        .iter()
                        .map(u8::to_ascii_lowercase),
                );
                at += 1 + length;
            }
            length if length >= 0xc0 => {
                at = Some(usize::from(read_u16(message, at)? & 0x3fff))
                    .filter(|&before| before < at)?
            }
            _ => return None,
        }
        if wire.len() >= NAME_OCTETS_MAX {
            return None;
        }
    }
    wire.push(0);
    NameRef::from_wire(&wire).ok().map(NameRef::to_owned)
}

fn addresses<const OCTETS: usize>(data: &[u8], visit: &mut impl FnMut(IpAddr))
where
    IpAddr: From<[u8; OCTETS]>,
{
    data.as_chunks::<OCTETS>()
        .0
        .iter()
        .for_each(|&octets| visit(octets.into()));
}

/// Visits the address hints of the data of an HTTPS or SVCB record (RFC 9460 section 2.2). None if
/// the parameters are broken.
pub(crate) fn hints(data: &[u8], visit: &mut impl FnMut(IpAddr)) -> Option<()> {
    let mut at = skip_name(data, 2)?;
    while at < data.len() {
        let key = read_u16(data, at)?;
        let length = usize::from(read_u16(data, at + 2)?);
        let value = data.get(at + 4..at + 4 + length)?;
        match key {
            KEY_IPV4_HINT => addresses::<4>(value, visit),
            KEY_IPV6_HINT => addresses::<16>(value, visit),
            _ => {}
        }
        at += 4 + length;
    }
    Some(())
}

#[cfg(test)]
mod tests;
