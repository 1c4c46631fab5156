//! The client of a query: its address, its transport, and the identity that it asserts.
//!
//! Identifiers that a later listener learns belong here: the address behind a proxy, the name in a
//! TLS handshake, the token in a DoH path.

use std::net::IpAddr;

use policy::rules::household::Mac;

use crate::message::types::Transport;

/// The sender of a query, as known from the listener and the packet.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// The source address of the packet or connection.
    pub source: IpAddr,
    pub transport: Transport,
    /// Whether the client receives what is sent to its address: it is connected over TCP, or its
    /// query has a valid server cookie.
    pub is_proven: bool,
    /// The MAC address that the query's EDNS option asserts; the engine fills it in when the packet
    /// is parsed.
    pub mac: Option<Mac>,
}

impl Client {
    /// A client whose packet is not parsed yet.
    #[must_use]
    pub fn new(source: IpAddr, transport: Transport) -> Self {
        Self {
            source,
            transport,
            is_proven: transport == Transport::Tcp,
            mac: None,
        }
    }
}
