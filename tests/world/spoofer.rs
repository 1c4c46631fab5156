//! An off-path attacker, who sees no query and sends thousands of guesses for each.
//!
//! The attacker must guess the message id, the port and the letter case of the question. Each query
//! is met with one kind of wrong guess; everything else in the packets is right. Packets from a
//! foreign port or address even have the right id: the resolver's socket must reject them.

use std::net::Ipv4Addr;

use super::behaviour::Lie;

/// Sends forged responses before the server's own.
#[derive(Clone, Debug)]
pub struct Spoofer {
    /// Number of packets for each query.
    pub times: u16,
    /// The address in the forged answers.
    pub address: Ipv4Addr,
}

/// A packet to a resolver.
pub(super) struct Packet {
    pub bytes: Vec<u8>,
    pub sender: Sender,
}

/// The source address of a packet.
#[derive(Clone, Copy)]
pub(super) enum Sender {
    /// Address and port of the queried server.
    Itself,
    /// The server's address with another port.
    OtherPort,
    /// Another address.
    OtherAddress,
}

impl Packet {
    /// A packet from the queried server.
    pub fn own(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            sender: Sender::Itself,
        }
    }
}

impl Spoofer {
    /// The forged packets; `tell` encodes a forged response.
    pub(super) fn forge(&self, tell: impl Fn(&Lie) -> Vec<u8>) -> Vec<Packet> {
        let lie = Lie::ForgedAddress(self.address);
        let forged = tell(&lie);
        let repeated = |bytes: &[u8], sender| {
            (0..self.times)
                .map(|_| Packet {
                    bytes: bytes.to_vec(),
                    sender,
                })
                .collect()
        };
        // The resolver chose the id at random; its last two bits select the kind of guess.
        match forged[1] % 4 {
            0 => (1..=self.times)
                .map(|distance| Packet::own(with_id_plus(&forged, distance)))
                .collect(),
            1 => repeated(
                &tell(&Lie::AllOf(vec![lie, Lie::WrongCase])),
                Sender::Itself,
            ),
            2 => repeated(&forged, Sender::OtherPort),
            _ => repeated(&forged, Sender::OtherAddress),
        }
    }
}

fn with_id_plus(packet: &[u8], distance: u16) -> Vec<u8> {
    let id = u16::from_be_bytes([packet[0], packet[1]]).wrapping_add(distance);
    [&id.to_be_bytes()[..], &packet[2..]].concat()
}
