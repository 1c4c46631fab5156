//! The real surroundings: sockets of the runtime, the system's clock and its random numbers.

use std::{
    cell::RefCell,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use async_trait::async_trait;
use rand::Rng as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, sleep, timeout},
};

use super::{
    surroundings::{Reception, Surroundings},
    wire::{Expected, Likeness},
};

/// Source ports are drawn from here on: below are those of services (RFC 5452 section 9.2).
const FIRST_PORT: u16 = 1_024;
/// How often another port is drawn when one is taken, before the system's choice is taken.
const PORT_DRAWS: usize = 8;
/// The largest datagram that can be a reply to us: we advertise 1,232 octets, and servers without EDNS send 512. Octets.
const DATAGRAM_OCTETS_MAX: usize = 4_096;

thread_local! {
    /// Where this thread reads a datagram before it knows whether it is one to keep.
    static DATAGRAM: RefCell<Box<[u8]>> = RefCell::new(vec![0; DATAGRAM_OCTETS_MAX].into());
}

/// The Internet, or whatever network this machine is in.
pub struct Internet {
    started: Instant,
}

impl Internet {
    /// The clock starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }

    /// A socket on a port drawn by chance, connected: the system then drops what comes from elsewhere, and tells of unreachable
    /// servers.
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
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => chance = self.random(),
                Err(error) => return Err(error),
                Ok(socket) => return socket.connect(server).await.map(|()| socket),
            }
        }
        let socket = UdpSocket::bind(local(0)).await?;
        socket.connect(server).await.map(|()| socket)
    }
}

impl Default for Internet {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Surroundings for Internet {
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

    async fn udp(&self, server: SocketAddr, query: &[u8], expected: &Expected, patience: Duration) -> Reception {
        let exchange = async {
            let socket = self.socket(server).await?;
            socket.send(query).await?;
            loop {
                socket.readable().await?;
                let received: io::Result<Option<Reception>> = DATAGRAM.with_borrow_mut(|room| {
                    let octets = socket.try_recv(room)?;
                    Ok(match expected.compare(&room[..octets]) {
                        Likeness::Noise => None,
                        Likeness::Near => Some(Reception::NearMiss),
                        Likeness::Right => Some(Reception::Reply(room[..octets].to_vec())),
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
        settle(timeout(patience, exchange).await)
    }

    async fn tcp(&self, server: SocketAddr, query: &[u8], expected: &Expected, patience: Duration) -> Reception {
        let exchange = async {
            let mut stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            let length = u16::try_from(query.len()).expect("a query is short");
            stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
            let length = u64::from(stream.read_u16().await?);
            // Read as it comes: a length alone must not cost memory.
            let mut reply = Vec::new();
            stream.take(length).read_to_end(&mut reply).await?;
            if (reply.len() as u64) < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // One query, one reply: there is nobody else on this connection whose reply it could be.
            let is_right = expected.compare(&reply) == Likeness::Right || expected.is_same_but_for_case(&reply);
            if is_right { Ok(Reception::Reply(reply)) } else { Err(io::ErrorKind::InvalidData.into()) }
        };
        settle(timeout(patience, exchange).await)
    }
}

fn settle(result: Result<io::Result<Reception>, tokio::time::error::Elapsed>) -> Reception {
    match result {
        Ok(Ok(reception)) => reception,
        Ok(Err(error)) => Reception::Unreachable(error),
        Err(_) => Reception::Silent,
    }
}
