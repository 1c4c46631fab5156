//! Queries on streams (TCP and TLS), and the idle TLS connections that later queries use again.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::{
    environment::TransportOutcome,
    wire::{ExpectedReply, ReplyMatch},
};

/// How long a TLS connection may be idle. Servers close theirs after ten seconds or more.
const IDLE_MAX: Duration = Duration::from_secs(8);
/// Idle connections to one server. A count.
const IDLE_CONNECTIONS_MAX: usize = 32;

/// Sends one query and reads its reply.
pub(super) async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    query: &[u8],
    expected: &ExpectedReply,
) -> io::Result<TransportOutcome> {
    let length = u16::try_from(query.len()).expect("a query is short");
    stream
        .write_all(&[&length.to_be_bytes(), query].concat())
        .await?;
    stream.flush().await?;
    let length = u64::from(stream.read_u16().await?);
    // The buffer grows with what arrives: a length alone does not cost memory.
    let mut reply = Vec::new();
    stream.take(length).read_to_end(&mut reply).await?;
    if (reply.len() as u64) < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // The connection carries one query at a time, so that no other reply can arrive.
    let is_reply =
        expected.compare(&reply) == ReplyMatch::Match || expected.differs_in_case_only(&reply);
    if is_reply {
        Ok(TransportOutcome::Reply(reply))
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Idle TLS connections, RFC 7858 section 3.4.
#[derive(Default)]
pub(super) struct IdleConnections(Mutex<ByServer>);

/// Connections, and since when they are idle, by address and by the name that the certificate
/// proved.
type ByServer = HashMap<ServerKey, Vec<(TlsStream<TcpStream>, Duration)>>;

type ServerKey = (SocketAddr, String);

impl IdleConnections {
    /// The connection that became idle last.
    pub fn take(&self, key: &ServerKey, now: Duration) -> Option<TlsStream<TcpStream>> {
        let mut idle = self.lock();
        let connections = idle.get_mut(key)?;
        connections.retain(|(_, since)| now < *since + IDLE_MAX);
        connections.pop().map(|(stream, _)| stream)
    }

    pub fn put(&self, key: &ServerKey, stream: TlsStream<TcpStream>, now: Duration) {
        let mut idle = self.lock();
        let connections = idle.entry(key.clone()).or_default();
        if connections.len() < IDLE_CONNECTIONS_MAX {
            connections.push((stream, now));
        }
    }

    fn lock(&self) -> MutexGuard<'_, ByServer> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}
