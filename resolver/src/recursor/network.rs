//! The environment of the running program: sockets, the system's clock and its random numbers.

use std::{
    cell::RefCell,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rand::Rng as _;
use tokio::{
    net::{TcpStream, UdpSocket},
    time::{Instant, error::Elapsed},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use super::{
    environment::{Environment, TransportOutcome},
    stream::{IdleConnections, exchange},
    wire::{ExpectedReply, ReplyMatch},
};

/// The lowest source port: those below belong to services (RFC 5452 section 9.2).
const FIRST_PORT: u16 = 1_024;
/// Random ports that are tried before the system chooses one. A count.
const PORT_DRAWS: usize = 8;
/// The largest datagram that can be a reply, in octets: queries advertise 1,232 octets, and servers
/// without EDNS send 512.
const DATAGRAM_OCTETS_MAX: usize = 4_096;

thread_local! {
    /// Where a thread receives a datagram before it knows whether it is the reply.
    static DATAGRAM: RefCell<Box<[u8]>> = RefCell::new(vec![0; DATAGRAM_OCTETS_MAX].into());
}

/// The network, the clock and the random numbers of this host.
pub struct SystemEnvironment {
    started: Instant,
    tls: TlsConnector,
    idle: IdleConnections,
}

/// Why certificates cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    #[error("{0} holds no certificates that can be read")]
    File(PathBuf),
}

impl SystemEnvironment {
    /// Starts the clock. `authorities` is a PEM file with the certificate authorities that servers
    /// are verified by over TLS; without one, those that the system trusts are used.
    ///
    /// # Errors
    /// [`CertificatesError`] when the file holds no certificate.
    pub fn new(authorities: Option<&Path>) -> Result<Self, CertificatesError> {
        let certificates = match authorities {
            Some(file) => CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect)
                .unwrap_or_default(),
            None => rustls_native_certs::load_native_certs().certs,
        };
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates);
        if let Some(file) = authorities.filter(|_| added == 0) {
            return Err(CertificatesError::File(file.to_owned()));
        }
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            started: Instant::now(),
            tls: TlsConnector::from(Arc::new(config)),
            idle: IdleConnections::default(),
        })
    }

    /// A connected socket on a random port. The system drops datagrams from other addresses, and
    /// reports unreachable servers.
    async fn socket(&self, server: SocketAddr) -> io::Result<UdpSocket> {
        let local = |port| match server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        };
        let mut drawn = self.random();
        for _ in 0..PORT_DRAWS {
            let port = FIRST_PORT + (drawn % u64::from(u16::MAX - FIRST_PORT)) as u16;
            match UdpSocket::bind(local(port)).await {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
                    ) =>
                {
                    drawn = self.random();
                }
                Err(error) => return Err(error),
                Ok(socket) => return socket.connect(server).await.map(|()| socket),
            }
        }
        let socket = UdpSocket::bind(local(0)).await?;
        socket.connect(server).await.map(|()| socket)
    }
}

impl Environment for SystemEnvironment {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn unix_s(&self) -> u64 {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    fn random(&self) -> u64 {
        // Seeded by the system, and cryptographically secure (ChaCha).
        rand::rng().random()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(duration)
    }

    async fn udp(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome {
        let attempt = async {
            let socket = self.socket(server).await?;
            socket.send(query).await?;
            loop {
                socket.readable().await?;
                let received: io::Result<Option<TransportOutcome>> =
                    DATAGRAM.with_borrow_mut(|buffer| {
                        let octets = socket.try_recv(buffer)?;
                        Ok(outcome_of(&buffer[..octets], expected))
                    });
                match received {
                    Ok(Some(outcome)) => return Ok(outcome),
                    Ok(None) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        };
        settle(tokio::time::timeout(timeout, attempt).await)
    }

    async fn tcp(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome {
        let attempt = async {
            let mut stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            exchange(&mut stream, query, expected).await
        };
        settle(tokio::time::timeout(timeout, attempt).await)
    }

    async fn tls(
        &self,
        server: SocketAddr,
        tls_name: &str,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome {
        let key = (server, tls_name.to_owned());
        let attempt = async {
            // The server may have closed an idle connection; then a new one is made.
            if let Some(mut stream) = self.idle.take(&key, self.now())
                && let Ok(reply) = exchange(&mut stream, query, expected).await
            {
                self.idle.put(&key, stream, self.now());
                return Ok(reply);
            }
            let name = ServerName::try_from(tls_name.to_owned()).map_err(io::Error::other)?;
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            let mut stream = self.tls.connect(name, stream).await?;
            let reply = exchange(&mut stream, query, expected).await?;
            self.idle.put(&key, stream, self.now());
            Ok(reply)
        };
        settle(tokio::time::timeout(timeout, attempt).await)
    }
}

/// What a datagram means. None for an unrelated one.
fn outcome_of(datagram: &[u8], expected: &ExpectedReply) -> Option<TransportOutcome> {
    match expected.compare(datagram) {
        ReplyMatch::Unrelated => None,
        ReplyMatch::Mismatch => Some(TransportOutcome::Mismatch {
            is_case_only: expected.differs_in_case_only(datagram),
        }),
        ReplyMatch::Match => Some(TransportOutcome::Reply(datagram.to_vec())),
    }
}

fn settle(result: Result<io::Result<TransportOutcome>, Elapsed>) -> TransportOutcome {
    match result {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => TransportOutcome::Unreachable(error),
        Err(_) => TransportOutcome::Timeout,
    }
}
