//! The addresses that an answer leads to, read from its wire: A, AAAA, and the hints of HTTPS and SVCB, which a client may use instead.

use std::net::IpAddr;

use crate::query::{HEADER_OCTETS, number, skip_name};

/// Record types, RFC 1035, RFC 3596 and RFC 9460.
pub(crate) const TYPE_A: u16 = 1;
pub(crate) const TYPE_AAAA: u16 = 28;
pub(crate) const TYPE_SVCB: u16 = 64;
pub(crate) const TYPE_HTTPS: u16 = 65;
/// Keys of parameters, RFC 9460 section 14.3.2.
const KEY_IPV4_HINT: u16 = 4;
const KEY_IPV6_HINT: u16 = 6;

/// Calls with each address of the answer section, in order. What cannot be read ends it.
pub(crate) fn for_each_address(message: &[u8], mut visit: impl FnMut(IpAddr)) {
    // Each step returns none where the message ends early; ours do not.
    let _ = walk(message, &mut visit);
}

fn walk(message: &[u8], visit: &mut impl FnMut(IpAddr)) -> Option<()> {
    let mut at = HEADER_OCTETS;
    for _ in 0..number(message, 4)? {
        at = skip_name(message, at)? + 4;
    }
    for _ in 0..number(message, 6)? {
        at = skip_name(message, at)?;
        let (record_type, length) = (number(message, at)?, usize::from(number(message, at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        match record_type {
            TYPE_A => addresses::<4>(data, visit),
            TYPE_AAAA => addresses::<16>(data, visit),
            TYPE_SVCB | TYPE_HTTPS => hints(data, visit)?,
            _ => {}
        }
        at += 10 + length;
    }
    Some(())
}

fn addresses<const OCTETS: usize>(data: &[u8], visit: &mut impl FnMut(IpAddr))
where
    IpAddr: From<[u8; OCTETS]>,
{
    data.as_chunks::<OCTETS>().0.iter().for_each(|&octets| visit(octets.into()));
}

/// Behind the priority and the target stand the parameters: key, length, value.
fn hints(data: &[u8], visit: &mut impl FnMut(IpAddr)) -> Option<()> {
    let mut at = skip_name(data, 2)?;
    while at < data.len() {
        let (key, length) = (number(data, at)?, usize::from(number(data, at + 2)?));
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
