//! A DNS client with a source address of its own.
//!
//! By default it sends one query over UDP with EDNS and waits a minute, without retry or fallback,
//! so that tests see what the server does. Variants: `home.over_tcp()`, `home.without_edns()`,
//! `home.with_mac("02:00:00:00:00:07")`.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode},
    rr::rdata::opt::EdnsOption,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, UdpSocket},
    time::timeout,
};

use super::{addresses::ListenAddresses, question::question, reply::Reply};

/// The announced UDP payload size (DNS flag day 2020).
const UDP_PAYLOAD: u16 = 1232;

/// The EDNS option with the device's MAC, as routers send it.
pub const MAC_OPTION: u16 = 65_001;

/// The longest wait for a response: longer than a resolver may work on one query, so that its
/// SERVFAIL arrives, also on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A DNS client at one source address. Each variant is a clone, so that a test can keep several.
#[derive(Clone)]
pub struct Client {
    from: IpAddr,
    to: Target,
    tcp: bool,
    edns: bool,
    dnssec_ok: bool,
    recursion_desired: bool,
    checking_disabled: bool,
    options: Vec<(u16, Vec<u8>)>,
    timeout: Duration,
}

/// The daemon, whose port changes when it restarts, or a fixed address.
#[derive(Clone)]
enum Target {
    Nowhere,
    Address(SocketAddr),
    Daemon(Arc<ListenAddresses>),
}

/// A client at this source address; the server is set next.
pub fn client(from: &str) -> Client {
    Client {
        from: from
            .parse()
            .unwrap_or_else(|_| panic!("{from:?} is not an IP address")),
        to: Target::Nowhere,
        tcp: false,
        edns: true,
        dnssec_ok: false,
        recursion_desired: true,
        checking_disabled: false,
        options: Vec::new(),
        timeout: TIMEOUT,
    }
}

impl Client {
    /// Sends queries to this address.
    pub fn to(&self, address: SocketAddr) -> Self {
        Self {
            to: Target::Address(address),
            ..self.clone()
        }
    }

    /// Sends queries to the daemon's current address.
    pub(super) fn to_daemon(&self, doors: Arc<ListenAddresses>) -> Self {
        Self {
            to: Target::Daemon(doors),
            ..self.clone()
        }
    }

    /// Uses TCP.
    pub fn over_tcp(&self) -> Self {
        Self {
            tcp: true,
            ..self.clone()
        }
    }

    /// Sends no EDNS.
    pub fn without_edns(&self) -> Self {
        Self {
            edns: false,
            ..self.clone()
        }
    }

    /// Sets DO.
    pub fn with_dnssec(&self) -> Self {
        Self {
            dnssec_ok: true,
            ..self.clone()
        }
    }

    /// Sets CD.
    pub fn checking_disabled(&self) -> Self {
        Self {
            checking_disabled: true,
            ..self.clone()
        }
    }

    /// Clears RD, as a resolver does in queries to authorities.
    pub fn iterative(&self) -> Self {
        Self {
            recursion_desired: false,
            ..self.clone()
        }
    }

    /// Adds an EDNS option.
    pub fn with_option(&self, code: u16, data: &[u8]) -> Self {
        let mut options = self.options.clone();
        options.push((code, data.to_vec()));
        Self {
            options,
            ..self.clone()
        }
    }

    /// Adds the device's MAC, written `02:00:00:00:00:07`, as six octets.
    pub fn with_mac(&self, mac: &str) -> Self {
        let octet =
            |text| u8::from_str_radix(text, 16).unwrap_or_else(|_| panic!("{mac:?} is not a MAC"));
        let octets: Vec<u8> = mac.split(':').map(octet).collect();
        assert_eq!(octets.len(), 6, "{mac:?} is not a MAC");
        self.with_option(MAC_OPTION, &octets)
    }

    /// Adds the device's MAC as text.
    pub fn with_mac_as_text(&self, mac: &str) -> Self {
        self.with_option(MAC_OPTION, mac.as_bytes())
    }

    /// Sets the longest wait for a response.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// Sends a query and returns the result as one line: `192.0.2.7`, `blocked: gambling`,
    /// `NXDOMAIN`, `NODATA`, `truncated`, or `silence`.
    pub async fn ask(&self, text: &str) -> String {
        self.reply(text)
            .await
            .map_or_else(|| "silence".to_owned(), |reply| reply.to_string())
    }

    /// Sends a query and returns the response; `None` without one in time.
    pub async fn reply(&self, text: &str) -> Option<Reply> {
        let query = self.query(text);
        let wire = query
            .to_vec()
            .expect("a question made of parsed names can be written");
        let began = Instant::now();
        let answered = self
            .exchange(&wire, |bytes| {
                bytes.starts_with(&query.metadata.id.to_be_bytes())
            })
            .await?;
        let took = began.elapsed();
        Some(
            Reply::read(answered.clone(), took)
                .unwrap_or_else(|| panic!("{text}: not a DNS message: {answered:02x?}")),
        )
    }

    /// Sends these bytes and returns the first response.
    pub async fn send(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.exchange(bytes, |_| true).await
    }

    /// The query that this client would send.
    pub fn query(&self, text: &str) -> Message {
        let mut query = Message::new(rand::random(), MessageType::Query, OpCode::Query);
        query.metadata.recursion_desired = self.recursion_desired;
        query.metadata.checking_disabled = self.checking_disabled;
        query.add_query(question(text));
        if self.edns {
            let edns: &mut Edns = query.edns.get_or_insert_default();
            edns.set_max_payload(UDP_PAYLOAD);
            edns.set_dnssec_ok(self.dnssec_ok);
            for (code, data) in &self.options {
                edns.options_mut()
                    .insert(EdnsOption::Unknown(*code, data.clone()));
            }
        }
        query
    }

    async fn exchange(&self, bytes: &[u8], fits: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let outcome = match self.tcp {
            true => timeout(self.timeout, self.exchange_over_tcp(bytes)).await,
            false => timeout(self.timeout, self.exchange_over_udp(bytes, fits)).await,
        };
        // A refused or broken connection counts as silence.
        outcome.ok().and_then(Result::ok)
    }

    async fn exchange_over_udp(
        &self,
        bytes: &[u8],
        fits: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Vec<u8>> {
        let socket = UdpSocket::bind((self.from, 0)).await?;
        socket.connect(self.server()).await?;
        socket.send(bytes).await?;
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if fits(&buffer[..length]) {
                buffer.truncate(length);
                return Ok(buffer);
            }
        }
    }

    async fn exchange_over_tcp(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let socket = if self.from.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.bind((self.from, 0).into())?;
        let mut stream = socket.connect(self.server()).await?;
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        stream
            .write_all(&[&length.to_be_bytes()[..], bytes].concat())
            .await?;
        let mut reply = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut reply).await?;
        Ok(reply)
    }

    fn server(&self) -> SocketAddr {
        match &self.to {
            Target::Nowhere => panic!("client({}) has no server: call .to(address)", self.from),
            Target::Address(address) => *address,
            Target::Daemon(doors) => doors.dns(),
        }
    }
}
