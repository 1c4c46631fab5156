//! What the recursor does not have of itself: a clock, chance, and the network. They are its
//! arguments, so that a dialogue runs in a test in milliseconds and can be replayed from a seed.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::wire::ExpectedReply;

/// What came of asking once.
#[derive(Debug)]
pub enum TransportOutcome {
    /// The reply to this very query.
    Reply(Vec<u8>),
    /// Something came from the server's address that is nearly the reply: another id, or other
    /// letter case. Either a fault or somebody who guesses; what comes by datagram is not to be
    /// trusted now.
    Mismatch {
        /// Whether only the letter case is other.
        is_case: bool,
    },
    /// Nothing, for as long as was waited.
    Timeout,
    /// The network says that there is no way, or this machine has no socket left.
    Unreachable(std::io::Error),
}

/// A clock, chance, and a network.
#[async_trait]
pub trait Environment: Send + Sync + 'static {
    /// Time since some instant in the past.
    fn now(&self) -> Duration;

    /// A number that nobody can foresee.
    fn random(&self) -> u64;

    /// Waits.
    async fn sleep(&self, duration: Duration);

    /// Sends a datagram from a port that nobody can foresee and waits for what was expected. Noise
    /// is skipped.
    async fn udp(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome;

    /// Asks over TCP.
    async fn tcp(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome;

    /// Asks over TLS (RFC 7858) a server that must prove to have this name.
    async fn tls(
        &self,
        server: SocketAddr,
        name: &str,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome;
}

#[async_trait]
impl<S: Environment> Environment for Arc<S> {
    fn now(&self) -> Duration {
        self.as_ref().now()
    }

    fn random(&self) -> u64 {
        self.as_ref().random()
    }

    async fn sleep(&self, duration: Duration) {
        self.as_ref().sleep(duration).await;
    }

    async fn udp(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome {
        self.as_ref().udp(server, query, expected, timeout).await
    }

    async fn tcp(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome {
        self.as_ref().tcp(server, query, expected, timeout).await
    }

    async fn tls(
        &self,
        server: SocketAddr,
        name: &str,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome {
        self.as_ref()
            .tls(server, name, query, expected, timeout)
            .await
    }
}
