//! Addresses and hints of complete and broken messages.

use super::*;

/// A message with one question, whose name owns the answers.
fn message(answers: &[(Rtype, &[u8])]) -> Vec<u8> {
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
    for (rtype, data) in answers {
        message.extend([0xc0, 12]);
        message.extend(rtype.to_be_bytes());
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
        (Rtype::CNAME, b"\x01b\0"),
        (Rtype::A, &[192, 0, 2, 9]),
        (Rtype::TXT, b"\x04text"),
        (Rtype::AAAA, &v6),
        (Rtype::HTTPS, &https),
        (Rtype::A, &[1; 4]),
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
    // A record that is cut off, or has a wrong length, is skipped; the others are read.
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).len() <= 6);
    }
    assert_eq!(
        read(&message(&[(Rtype::A, &[1, 2, 3]), (Rtype::A, &[1; 4])])),
        ["1.1.1.1"]
    );
}

#[test]
fn broken_parameters_hide_no_later_address() {
    // One hint, then a parameter that is longer than the record; then a good record of the same
    // set.
    let broken = b"\0\x01\0\0\x04\0\x04\xc0\0\x02\x01\0\x05\0\x09short";
    let good = b"\0\x02\0\0\x04\0\x04\xc0\0\x02\x02";
    assert_eq!(
        read(&message(&[
            (Rtype::HTTPS, broken),
            (Rtype::HTTPS, good),
            (Rtype::A, &[1; 4])
        ])),
        ["192.0.2.1", "192.0.2.2", "1.1.1.1"]
    );
    assert_eq!(
        read(&message(&[
            (Rtype::SVCB, b"\0"),
            (Rtype::HTTPS, b""),
            (Rtype::A, &[1; 4])
        ])),
        ["1.1.1.1"]
    );
}
