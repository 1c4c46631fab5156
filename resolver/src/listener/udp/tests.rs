//! Batches over loopback sockets.

use super::*;

fn bound(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    prepare(&socket, socket.local_addr().unwrap()).unwrap();
    socket
}

#[test]
fn addresses_survive_a_round_trip_through_the_kernels_form() {
    for text in ["192.0.2.7:53", "[2001:db8::7]:853", "[fe80::1%3]:53"] {
        let address: SocketAddr = text.parse().unwrap();
        assert_eq!(RawAddress::new(address).read(), address);
    }
}

#[test]
fn each_reply_of_a_batch_reaches_its_peer_in_order() {
    let server = bound("127.0.0.1:0");
    let clients: Vec<UdpSocket> = (0..5).map(|_| bound("127.0.0.1:0")).collect();
    let mut batch = UdpBatch::new(32);
    for round in 0..40_u8 {
        for (number, client) in (0..).zip(&clients) {
            client
                .send_to(&[round, number], server.local_addr().unwrap())
                .unwrap();
        }
        let mut taken = 0;
        while taken < clients.len() {
            let count = batch.receive(&server, true).unwrap();
            for slot in &mut batch.slots_mut()[..count] {
                let (packet, path, reply) = slot.parts();
                assert!(
                    clients
                        .iter()
                        .any(|client| client.local_addr().unwrap() == path.peer())
                );
                assert_eq!(
                    path.local(),
                    None,
                    "a socket on one address does not report it"
                );
                reply.extend_from_slice(packet);
                reply.push(b'!');
            }
            assert_eq!(
                batch.send(&server, count),
                Sent {
                    sent: count,
                    refused: 0
                }
            );
            taken += count;
        }
        for (number, client) in (0..).zip(&clients) {
            let mut buffer = [0; 16];
            assert_eq!(client.recv(&mut buffer).unwrap(), 3);
            assert_eq!(buffer[..3], [round, number, b'!']);
        }
    }
}

#[test]
fn a_slot_without_a_reply_sends_nothing() {
    let server = bound("127.0.0.1:0");
    let client = bound("127.0.0.1:0");
    let mut batch = UdpBatch::new(4);
    for octet in 0..3 {
        client
            .send_to(&[octet], server.local_addr().unwrap())
            .unwrap();
    }
    let mut count = 0;
    while count < 3 {
        count += batch.receive(&server, true).unwrap();
    }
    assert_eq!(count, 3);
    batch.slots_mut()[1].reply.push(7);
    assert_eq!(
        batch.send(&server, count),
        Sent {
            sent: 1,
            refused: 0
        }
    );
    assert_eq!(client.recv(&mut [0; 4]).unwrap(), 1);
    assert_eq!(
        batch.receive(&server, false).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    assert!(batch.slots()[1].packet().len() == 1);
}

#[test]
fn a_wildcard_socket_replies_from_the_queried_address() {
    let families = [
        ("0.0.0.0:0", "127.0.77.1", "127.0.77.2:0"),
        ("[::]:0", "::1", "[::1]:0"),
    ];
    for (wildcard, asked, from) in families {
        let server = bound(wildcard);
        let client = bound(from);
        let asked = SocketAddr::new(asked.parse().unwrap(), server.local_addr().unwrap().port());
        // A connected socket receives datagrams from that address only.
        client.connect(asked).unwrap();
        client.send(b"?").unwrap();
        let mut batch = UdpBatch::new(8);
        assert_eq!(batch.receive(&server, true).unwrap(), 1);
        let path = *batch.slots()[0].path();
        assert_eq!(
            (path.peer(), path.local()),
            (client.local_addr().unwrap(), Some(asked.ip()))
        );
        batch.slots_mut()[0].reply.extend(b"batch");
        batch.send(&server, 1);
        assert_eq!(
            send(&server, &path, b"alone"),
            Sent {
                sent: 1,
                refused: 0
            }
        );
        for expected in [b"batch", b"alone"] {
            let mut buffer = [0; 16];
            assert_eq!(client.recv(&mut buffer).unwrap(), 5);
            assert_eq!(&buffer[..5], expected);
        }
    }
}

#[test]
fn a_client_can_send_from_any_of_its_addresses() {
    let server = bound("127.0.0.1:0");
    let client = bound("0.0.0.0:0");
    let mut batch = UdpBatch::new(2);
    for (place, address) in ["127.0.77.3", "127.0.77.4"].into_iter().enumerate() {
        let slot = &mut batch.slots_mut()[place];
        slot.set_path(UdpPath::new(
            server.local_addr().unwrap(),
            Some(address.parse().unwrap()),
        ));
        slot.reply.extend(address.as_bytes());
    }
    assert_eq!(batch.send(&client, 2).sent, 2);
    for _ in 0..2 {
        let mut buffer = [0; 16];
        let (octets, peer) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(
            std::str::from_utf8(&buffer[..octets]).unwrap(),
            peer.ip().to_string()
        );
    }
}

#[test]
fn a_reply_that_cannot_be_sent_does_not_stop_the_others() {
    let server = bound("127.0.0.1:0");
    let client = bound("127.0.0.1:0");
    let mut batch = UdpBatch::new(3);
    // A v6 peer on a v4 socket is refused.
    let peers = [
        client.local_addr().unwrap(),
        "[2001:db8::1]:53".parse().unwrap(),
        client.local_addr().unwrap(),
    ];
    for (slot, peer) in batch.slots_mut().iter_mut().zip(peers) {
        slot.set_path(UdpPath::new(peer, None));
        slot.reply.push(1);
    }
    assert_eq!(
        batch.send(&server, 3),
        Sent {
            sent: 2,
            refused: 1
        }
    );
}

#[test]
fn datagrams_lost_to_a_full_buffer_are_counted() {
    let server = bound("127.0.0.1:0");
    let client = bound("127.0.0.1:0");
    socket2::SockRef::from(&server)
        .set_recv_buffer_size(4_096)
        .unwrap();
    for _ in 0..200 {
        client
            .send_to(&[0; 512], server.local_addr().unwrap())
            .unwrap();
    }
    assert!(
        (100..200).contains(&overflows(&server).unwrap()),
        "{:?}",
        overflows(&server)
    );
}

#[test]
fn broken_control_messages_are_ignored() {
    let mut path = UdpPath::new("192.0.2.1:53".parse().unwrap(), None);
    for length in [0_usize, 1, 15, 16, 20, 41, usize::MAX] {
        let mut octets = [0xff; CONTROL_OCTETS];
        octets[..size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
        read_controls(&octets, &mut path);
    }
    assert_eq!(path.local(), None);
}
