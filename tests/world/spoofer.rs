//! An attacker off the path: he sees no query, so he guesses, thousands of times for each.
//!
//! What he must guess is the message id, the port and the letter case of the question. Each query
//! is met with one kind of wrong guess; everything else in his packets is right, as if he had
//! guessed that already. Packets under a foreign port or address even bear the right id: it is the
//! resolver's socket that must not take them.

use std::net::Ipv4Addr;

use super::behaviour::Lie;

/// Sends forged answers before the server's own.
#[derive(Clone, Debug)]
pub struct Spoofer {
    /// How many packets he sends for each query.
    pub times: u16,
    /// The address he wants to be believed.
    pub address: Ipv4Addr,
}

/// A packet on its way to a resolver.
pub(super) struct Packet {
    pub bytes: Vec<u8>,
    pub sender: Sender,
}

/// The source address a packet bears.
#[derive(Clone, Copy)]
pub(super) enum Sender {
    /// Address and port of the server that was asked.
    Itself,
    /// The server's address, another port.
    OtherPort,
    /// Another address.
    OtherAddress,
}

impl Packet {
    /// A packet from the server that was asked.
    pub fn own(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            sender: Sender::Itself,
        }
    }
}

impl Spoofer {
    /// The forged packets; `tell` puts a lie about the answer into bytes.
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
        // The resolver drew the id; its last two bits choose the kind of guess.
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
