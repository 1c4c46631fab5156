//! Where an answer leads to, read from its wire: its addresses (A, AAAA, and the hints of HTTPS and
//! SVCB, which a client may use instead) and the names behind the one that was asked for.

use std::{net::IpAddr, ops::Range};

use policy::name::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX, Name, NameRef};

use crate::message::query::{HEADER_OCTETS, number, skip_name};

/// Record types, RFC 1035, RFC 3596, RFC 6672 and RFC 9460.
pub(crate) const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
pub(crate) const TYPE_AAAA: u16 = 28;
const TYPE_DNAME: u16 = 39;
pub(crate) const TYPE_SVCB: u16 = 64;
pub(crate) const TYPE_HTTPS: u16 = 65;
/// Keys of parameters, RFC 9460 section 14.3.2.
const KEY_IPV4_HINT: u16 = 4;
const KEY_IPV6_HINT: u16 = 6;

/// Calls with each address of the answer section, in order. A record that cannot be read is passed
/// over; a message that cannot, ends.
pub(crate) fn for_each_address(message: &[u8], mut visit: impl FnMut(IpAddr)) {
    for (record_type, data) in answers(message) {
        let data = &message[data];
        match record_type {
            TYPE_A => addresses::<4>(data, &mut visit),
            TYPE_AAAA => addresses::<16>(data, &mut visit),
            // Parameters that cannot be read end here, and hide nothing of what stands behind them.
            TYPE_SVCB | TYPE_HTTPS => _ = hints(data, &mut visit),
            _ => {}
        }
    }
}

/// The names behind the one asked for, each once, in order: targets of CNAME, DNAME, HTTPS and
/// SVCB.
pub(crate) fn targets(message: &[u8]) -> Vec<Name> {
    let mut found = Vec::new();
    for (record_type, data) in answers(message) {
        let target = match record_type {
            TYPE_CNAME | TYPE_DNAME => read_name(message, data.start),
            // Behind the priority. A target of `.` is the owner itself (RFC 9460 section 2.5),
            // which is judged already.
            TYPE_SVCB | TYPE_HTTPS => read_name(message, data.start + 2),
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

/// The records of the answer section, as far as the message can be walked: type, and where the data
/// stand.
fn answers(message: &[u8]) -> impl Iterator<Item = (u16, Range<usize>)> {
    let questions = number(message, 4).unwrap_or(0);
    let mut at = (0..questions).try_fold(HEADER_OCTETS, |at, _| Some(skip_name(message, at)? + 4));
    (0..number(message, 6).unwrap_or(0)).map_while(move |_| {
        let head = skip_name(message, at?)?;
        let record_type = number(message, head)?;
        let length = usize::from(number(message, head + 8)?);
        let data = head + 10..head + 10 + length;
        at = Some(data.end);
        message.get(data.clone()).map(|_| (record_type, data))
    })
}

/// A name at a place of a message, compressed or not (RFC 1035 section 4.1.4). A pointer leads
/// back, so that the walk ends.
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
                at = Some(usize::from(number(message, at)? & 0x3fff))
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

/// Behind the priority and the target stand the parameters: key, length, value.
pub(crate) fn hints(data: &[u8], visit: &mut impl FnMut(IpAddr)) -> Option<()> {
    let mut at = skip_name(data, 2)?;
    while at < data.len() {
        let key = number(data, at)?;
        let length = usize::from(number(data, at + 2)?);
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
mod tests {
    use super::*;

    /// A message with one question, and answers of one octet of name each.
    fn message(answers: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![
            0,
            0,
            0x80,
            0,
            0,
            1,
            0,
            u8::try_from(answers.len()).unwrap(),
            0,
            0,
            0,
            0,
            1,
            b'a',
            0,
            0,
            1,
            0,
            1,
        ];
        for (record_type, data) in answers {
            message.extend([0xc0, 12]);
            message.extend(record_type.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 60]);
            message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend_from_slice(data);
        }
        message
    }

    fn read(message: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for_each_address(message, |address| found.push(address.to_string()));
        found
    }

    #[test]
    fn addresses_and_hints_are_found_in_order_and_nothing_else() {
        let v6: Vec<u8> = [0x20, 1, 0x0d, 0xb8]
            .into_iter()
            .chain([0; 11])
            .chain([7])
            .collect();
        // Priority 1, target b.; alpn h2; two IPv4 hints; one IPv6 hint.
        let https = [
            b"\0\x01\x01b\0\0\x01\0\x03\x02h2\0\x04\0\x08\xc0\0\x02\x01\xc0\0\x02\x02\0\x06\0\x10"
                .as_slice(),
            &v6,
        ]
        .concat();
        let whole = message(&[
            (5, b"\x01b\0"),
            (TYPE_A, &[192, 0, 2, 9]),
            (16, b"\x04text"),
            (TYPE_AAAA, &v6),
            (TYPE_HTTPS, &https),
            (TYPE_A, &[1; 4]),
        ]);
        assert_eq!(
            read(&whole),
            [
                "192.0.2.9",
                "2001:db8::7",
                "192.0.2.1",
                "192.0.2.2",
                "2001:db8::7",
                "1.1.1.1"
            ]
        );
        // Whatever is cut off or lies about its length is not read, and is no end of anything else.
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).len() <= 6);
        }
        assert_eq!(
            read(&message(&[(TYPE_A, &[1, 2, 3]), (TYPE_A, &[1; 4])])),
            ["1.1.1.1"]
        );
    }

    #[test]
    fn parameters_that_cannot_be_read_hide_no_address_behind_them() {
        // One hint, then a parameter that is longer than the record; then a good record of the same
        // set.
        let broken = b"\0\x01\0\0\x04\0\x04\xc0\0\x02\x01\0\x05\0\x09short";
        let good = b"\0\x02\0\0\x04\0\x04\xc0\0\x02\x02";
        assert_eq!(
            read(&message(&[
                (TYPE_HTTPS, broken),
                (TYPE_HTTPS, good),
                (TYPE_A, &[1; 4])
            ])),
            ["192.0.2.1", "192.0.2.2", "1.1.1.1"]
        );
        assert_eq!(
            read(&message(&[
                (TYPE_SVCB, b"\0"),
                (TYPE_HTTPS, b""),
                (TYPE_A, &[1; 4])
            ])),
            ["1.1.1.1"]
        );
    }
}
