//! What the recursor gets from outside: a clock, random numbers, and the network. They are arguments,
//! so that a test runs a whole dialogue in milliseconds and repeats it from a seed.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use super::wire::ExpectedReply;

/// The outcome of one query on the network.
#[derive(Debug)]
pub enum TransportOutcome {
    /// The reply to this query.
    Reply(Vec<u8>),
    /// A datagram from the server's address that is not the reply, because its id or the letter case
    /// of its name differs. The server is broken or an attacker spoofs replies, so no datagram can be
    /// trusted now.
    Mismatch {
        /// Whether the letter case is the only difference.
        is_case_only: bool,
    },
    /// No reply within the timeout.
    Timeout,
    /// The network has no route, or the host has no socket left.
    Unreachable(io::Error),
}

/// A clock, random numbers, and a network.
pub trait Environment: Send + Sync + 'static {
    /// Time since a fixed instant in the past.
    fn now(&self) -> Duration;

    /// The time of day, in seconds since 1970: signatures have times of day (RFC 4034 section 3.1.5).
    fn unix_s(&self) -> u64;

    /// An unpredictable number.
    fn random(&self) -> u64;

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;

    /// Sends a datagram from an unpredictable port and waits for the expected reply. Unrelated
    /// datagrams are skipped.
    fn udp(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> impl Future<Output = TransportOutcome> + Send;

    /// Queries over TCP. The timeout includes the connection's set-up.
    fn tcp(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> impl Future<Output = TransportOutcome> + Send;

    /// Queries over TLS (RFC 7858). The server's certificate must prove `tls_name`.
    fn tls(
        &self,
        server: SocketAddr,
        tls_name: &str,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> impl Future<Output = TransportOutcome> + Send;
}

impl<E: Environment> Environment for Arc<E> {
    fn now(&self) -> Duration {
        self.as_ref().now()
    }

    fn unix_s(&self) -> u64 {
        self.as_ref().unix_s()
    }

    fn random(&self) -> u64 {
        self.as_ref().random()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        self.as_ref().sleep(duration)
    }

    fn udp(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> impl Future<Output = TransportOutcome> + Send {
        self.as_ref().udp(server, query, expected, timeout)
    }

    fn tcp(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> impl Future<Output = TransportOutcome> + Send {
        self.as_ref().tcp(server, query, expected, timeout)
    }

    fn tls(
        &self,
        server: SocketAddr,
        tls_name: &str,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> impl Future<Output = TransportOutcome> + Send {
        self.as_ref()
            .tls(server, tls_name, query, expected, timeout)
    }
}
