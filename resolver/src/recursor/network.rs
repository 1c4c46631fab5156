//! The real environment: sockets of the runtime, the system's clock and its random numbers.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use rand::Rng as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, sleep},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use super::wire::{ExpectedReply, ReplyMatch};
use crate::recursor::environment::{Environment, TransportOutcome};

/// Source ports are drawn from here on: below are those of services (RFC 5452 section 9.2).
const FIRST_PORT: u16 = 1_024;
/// How often another port is drawn when one is taken, before the system's choice is taken.
const PORT_DRAWS: usize = 8;
/// The largest datagram that can be a reply to us: we advertise 1,232 octets, and servers without
/// EDNS send 512. Octets.
const DATAGRAM_OCTETS_MAX: usize = 4_096;

/// How long a connection over TLS may be left open, and how many to one server. InfraCache close
/// theirs after ten seconds or more.
const IDLE_MAX: Duration = Duration::from_secs(8);
const IDLE_CONNECTIONS_MAX: usize = 32;

thread_local! {
    /// Where this thread reads a datagram before it knows whether it is one to keep.
    static DATAGRAM: RefCell<Box<[u8]>> = RefCell::new(vec![0; DATAGRAM_OCTETS_MAX].into());
}

/// The Internet, or whatever network this machine is in.
pub struct SystemEnvironment {
    started: Instant,
    tls: TlsConnector,
    idle: Idle,
}

/// Why certificates cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// The file cannot be read, or holds no certificate.
    #[error("{0} holds no certificates that can be read")]
    File(PathBuf),
}

impl SystemEnvironment {
    /// The clock starts now. InfraCache asked over TLS must be vouched for by a certificate in this
    /// PEM file; without one, by those that the system trusts.
    ///
    /// # Errors
    /// [`CertificatesError`].
    pub fn new(authorities: Option<&Path>) -> Result<Self, CertificatesError> {
        let certificates = match authorities {
            Some(file) => CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect)
                .unwrap_or_default(),
            None => rustls_native_certs::load_native_certs().certs,
        };
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(certificates);
        if let Some(file) = authorities.filter(|_| taken == 0) {
            return Err(CertificatesError::File(file.to_owned()));
        }
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            started: Instant::now(),
            tls: TlsConnector::from(Arc::new(config)),
            idle: Idle::default(),
        })
    }

    /// A socket on a port drawn by chance, connected: the system then drops what comes from
    /// elsewhere, and tells of unreachable servers.
    async fn socket(&self, server: SocketAddr) -> io::Result<UdpSocket> {
        let local = |port| match server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        };
        let mut chance = self.random();
        for _ in 0..PORT_DRAWS {
            let port = FIRST_PORT + (chance % u64::from(u16::MAX - FIRST_PORT)) as u16;
            match UdpSocket::bind(local(port)).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => chance = self.random(),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    chance = self.random()
                }
                Err(error) => return Err(error),
                Ok(socket) => return socket.connect(server).await.map(|()| socket),
            }
        }
        let socket = UdpSocket::bind(local(0)).await?;
        socket.connect(server).await.map(|()| socket)
    }
}

#[async_trait]
impl Environment for SystemEnvironment {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn random(&self) -> u64 {
        // Seeded by the system, and cryptographically secure (ChaCha).
        rand::rng().random()
    }

    async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }

    async fn udp(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome {
        let exchange = async {
            let socket = self.socket(server).await?;
            socket.send(query).await?;
            loop {
                socket.readable().await?;
                let received: io::Result<Option<TransportOutcome>> =
                    DATAGRAM.with_borrow_mut(|room| {
                        let octets = socket.try_recv(room)?;
                        Ok(match expected.compare(&room[..octets]) {
                            ReplyMatch::Unrelated => None,
                            ReplyMatch::Mismatch => Some(TransportOutcome::Mismatch {
                                is_case: expected.is_same_but_for_case(&room[..octets]),
                            }),
                            ReplyMatch::Match => {
                                Some(TransportOutcome::Reply(room[..octets].to_vec()))
                            }
                        })
                    });
                match received {
                    Ok(Some(reception)) => return Ok(reception),
                    Ok(None) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        };
        settle(tokio::time::timeout(timeout, exchange).await)
    }

    async fn tcp(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome {
        let exchange = async {
            let mut stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            converse(&mut stream, query, expected).await
        };
        settle(tokio::time::timeout(timeout, exchange).await)
    }

    async fn tls(
        &self,
        server: SocketAddr,
        name: &str,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome {
        let door = (server, name.to_owned());
        let exchange = async {
            // A connection that was left open may be closed by now; then a new one is made.
            if let Some(mut stream) = self.idle.take(&door, self.now())
                && let Ok(reply) = converse(&mut stream, query, expected).await
            {
                self.idle.leave(&door, stream, self.now());
                return Ok(reply);
            }
            let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            let mut stream = self.tls.connect(name, stream).await?;
            let reply = converse(&mut stream, query, expected).await?;
            self.idle.leave(&door, stream, self.now());
            Ok(reply)
        };
        settle(tokio::time::timeout(timeout, exchange).await)
    }
}

/// One query and its reply on a stream.
async fn converse(
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
    // Read as it comes: a length alone must not cost memory.
    let mut reply = Vec::new();
    stream.take(length).read_to_end(&mut reply).await?;
    if (reply.len() as u64) < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // One query, one reply: there is nobody else on this connection whose reply it could be.
    let is_right =
        expected.compare(&reply) == ReplyMatch::Match || expected.is_same_but_for_case(&reply);
    if is_right {
        Ok(TransportOutcome::Reply(reply))
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Connections over TLS that nobody uses at the moment, RFC 7858 section 3.4.
#[derive(Default)]
struct Idle(Mutex<IdleByServer>);

/// Connections by address and by the name that was proved there, each with the time since when
/// nobody uses it.
type IdleByServer = HashMap<(SocketAddr, String), Vec<(TlsStream<TcpStream>, Duration)>>;

impl Idle {
    /// The one that was used last.
    fn take(&self, door: &(SocketAddr, String), now: Duration) -> Option<TlsStream<TcpStream>> {
        let mut idle = self.lock();
        let left = idle.get_mut(door)?;
        left.retain(|(_, since)| now < *since + IDLE_MAX);
        left.pop().map(|(stream, _)| stream)
    }

    fn leave(&self, door: &(SocketAddr, String), stream: TlsStream<TcpStream>, now: Duration) {
        let mut idle = self.lock();
        let left = idle.entry(door.clone()).or_default();
        if left.len() < IDLE_CONNECTIONS_MAX {
            left.push((stream, now));
        }
    }

    fn lock(&self) -> MutexGuard<'_, IdleByServer> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

fn settle(
    result: Result<io::Result<TransportOutcome>, tokio::time::error::Elapsed>,
) -> TransportOutcome {
    match result {
        Ok(Ok(reception)) => reception,
        Ok(Err(error)) => TransportOutcome::Unreachable(error),
        Err(_) => TransportOutcome::Timeout,
    }
}
