//! A connection to a primary over TCP: framed, signed where there is a key, and limited in time and
//! octets whatever the primary does. It does not interpret transfers.
//!
//! The SOA query uses TCP as well: its answer is harder to spoof than over UDP, needs no size
//! limit, and every primary that offers transfers accepts TCP.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{
    base::{
        Message, MessageBuilder, Name, ToName, Ttl,
        iana::{Class, Rcode, Rtype},
        message_builder::AdditionalBuilder,
    },
    rdata::{Soa, tsig::Time48},
    tsig::{ClientSequence, Key, ValidationError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    fetch::{
        address::{NotPublic, is_public},
        error::FetchError,
    },
    gate::Gate,
};

/// The longest silence during a transfer. A primary that prepares a large zone needs seconds before
/// its first message and none between two messages.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Octets of a DNS header; a shorter message is invalid.
const HEADER_OCTETS: usize = 12;
/// The SOA in an IXFR query only carries a serial; its other fields are unused.
const NO_TTL: Ttl = Ttl::ZERO;

/// Limits of a fetch.
#[derive(Debug, Clone, Copy)]
pub(super) struct TransferLimits {
    /// The deadline.
    pub(super) until: Instant,
    /// The most octets over one connection.
    pub(super) octets: u64,
    /// Whether only primaries on the public Internet are connected to.
    pub(super) public_only: bool,
}

/// The query to a primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TransferQuery {
    Soa,
    /// The changes since this serial.
    Ixfr(u32),
    Axfr,
}

/// One query and the messages of its response. Each message is verified before it is returned.
pub(super) struct PrimaryConnection {
    stream: TcpStream,
    bounds: TransferLimits,
    zone: Name<Bytes>,
    asked: TransferQuery,
    id: u16,
    is_first: bool,
    is_refused: bool,
    signatures: Option<ClientSequence<Arc<Key>>>,
}

/// Connects to a public address of a host, if it has one.
async fn connect_public(primary: &str) -> io::Result<TcpStream> {
    let all: Vec<SocketAddr> = tokio::net::lookup_host(primary).await?.collect();
    let public: Vec<SocketAddr> = all
        .iter()
        .copied()
        .filter(|address| is_public(address.ip()))
        .collect();
    match all.first() {
        Some(address) if public.is_empty() => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            NotPublic(address.ip()),
        )),
        _ => TcpStream::connect(&public[..]).await,
    }
}

impl PrimaryConnection {
    /// Connects and sends the query.
    pub(super) async fn open(
        primary: &str,
        zone: &Name<Bytes>,
        key: Option<&Arc<Key>>,
        asked: TransferQuery,
        bounds: TransferLimits,
    ) -> Result<Self, FetchError> {
        let (message, id, signatures) = question(zone, key, asked)?;
        let stream = within(bounds.until, async {
            let mut stream = if bounds.public_only {
                connect_public(primary).await?
            } else {
                TcpStream::connect(primary).await?
            };
            stream.set_nodelay(true)?;
            stream.write_all(&message).await?;
            Ok(stream)
        })
        .await?;
        Ok(Self {
            stream,
            bounds,
            zone: zone.clone(),
            asked,
            id,
            is_first: true,
            is_refused: false,
            signatures,
        })
    }

    /// The next message of the response.
    ///
    /// # Errors
    /// Gate `transport` where the connection ends, `time` and `size` where a limit is exceeded,
    /// `tsig` where the signature is missing or wrong, `format` where the message does not answer
    /// the query.
    pub(super) async fn message(&mut self) -> Result<Message<Bytes>, FetchError> {
        let octets = self.framed().await?;
        let short = |_| FetchError::new(Gate::Format, "a message shorter than its header");
        let mut message = Message::from_octets(octets).map_err(short)?;
        self.is_refused = message.is_error();
        self.check_signature(&mut message)?;
        let message = Message::from_octets(Bytes::from(message.into_octets())).map_err(short)?;
        self.check_question(&message)?;
        self.is_first = false;
        Ok(message)
    }

    /// Whether the last message had an error RCODE, authenticated or not.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Ends the response. The signature of the last message authenticates the unsigned messages
    /// before it.
    ///
    /// # Errors
    /// Gate `tsig` if the last message was not signed.
    pub(super) fn done(self) -> Result<(), FetchError> {
        match self.signatures {
            Some(signatures) => signatures.done().map_err(|_| {
                FetchError::new(Gate::Tsig, "the last message of the transfer is not signed")
            }),
            None => Ok(()),
        }
    }

    async fn framed(&mut self) -> Result<Vec<u8>, FetchError> {
        let Self { stream, bounds, .. } = self;
        let length = usize::from(within(bounds.until, stream.read_u16()).await?);
        if length < HEADER_OCTETS {
            return Err(FetchError::new(
                Gate::Format,
                format!("a message of {length} octets"),
            ));
        }
        bounds.octets = bounds.octets.checked_sub(length as u64).ok_or_else(|| {
            FetchError::new(Gate::Size, "the transfer is larger than size_max_mib")
        })?;
        let mut octets = vec![0; length];
        within(bounds.until, stream.read_exact(&mut octets)).await?;
        Ok(octets)
    }

    fn check_signature(&mut self, message: &mut Message<Vec<u8>>) -> Result<(), FetchError> {
        let Some(signatures) = &mut self.signatures else {
            return Ok(());
        };
        signatures.answer(message, Time48::now()).map_err(|error| {
            let rcode = message.header().rcode();
            let detail = match error {
                ValidationError::ServerBadKey => {
                    "the primary does not know this key by this name and algorithm".to_owned()
                }
                ValidationError::ServerBadSig => {
                    "the primary has another secret under this key's name".to_owned()
                }
                ValidationError::ServerUnsigned if rcode != Rcode::NOERROR => {
                    format!("the primary refused ({rcode}) without a signature")
                }
                error => format!(
                    "{error}{}",
                    if rcode == Rcode::NOERROR {
                        String::new()
                    } else {
                        format!(" ({rcode})")
                    }
                ),
            };
            FetchError::new(Gate::Tsig, detail)
        })
    }

    /// Checks that a message answers the query. An error RCODE is reported before anything else is
    /// checked.
    fn check_question(&self, message: &Message<Bytes>) -> Result<(), FetchError> {
        let header = message.header();
        if !header.qr() || header.id() != self.id {
            return Err(FetchError::new(
                Gate::Format,
                "a message that does not answer the query",
            ));
        }
        if message.is_error() {
            return Err(FetchError::new(
                Gate::Transport,
                format!(
                    "the primary answered {} {}",
                    self.asked.rtype(),
                    header.rcode()
                ),
            ));
        }
        match message.sole_question() {
            Ok(question)
                if question.qname().name_eq(&self.zone)
                    && question.qtype() == self.asked.rtype() =>
            {
                Ok(())
            }
            // RFC 5936 section 2.2.1: only the first message must repeat the question.
            Err(_) if !self.is_first && message.header_counts().qdcount() == 0 => Ok(()),
            _ => Err(FetchError::new(
                Gate::Format,
                "a message that answers another query",
            )),
        }
    }
}

impl TransferQuery {
    pub(super) fn rtype(self) -> Rtype {
        match self {
            Self::Soa => Rtype::SOA,
            Self::Ixfr(_) => Rtype::IXFR,
            Self::Axfr => Rtype::AXFR,
        }
    }
}

type Signed = (Vec<u8>, u16, Option<ClientSequence<Arc<Key>>>);

/// The query with its length prefix, its id, and the verifier of the response.
fn question(
    zone: &Name<Bytes>,
    key: Option<&Arc<Key>>,
    asked: TransferQuery,
) -> Result<Signed, FetchError> {
    let failed = |_| FetchError::new(Gate::Format, "the query does not fit into a message");
    let mut builder = MessageBuilder::new_stream_vec().question();
    builder.header_mut().set_random_id();
    let id = builder.header().id();
    builder
        .push((zone, asked.rtype(), Class::IN))
        .map_err(failed)?;
    let mut builder = builder.authority();
    if let TransferQuery::Ixfr(serial) = asked {
        let root = Name::root_bytes();
        let soa = Soa::new(
            root.clone(),
            root,
            serial.into(),
            NO_TTL,
            NO_TTL,
            NO_TTL,
            NO_TTL,
        );
        builder
            .push((zone, Class::IN, NO_TTL, soa))
            .map_err(failed)?;
    }
    let mut builder: AdditionalBuilder<_> = builder.additional();
    let signatures = match key {
        Some(key) => Some(
            ClientSequence::request(Arc::clone(key), &mut builder, Time48::now())
                .map_err(failed)?,
        ),
        None => None,
    };
    let octets = builder.finish().into_target();
    Ok((octets, id, signatures))
}

/// Runs one I/O step within the deadline and the idle limit.
async fn within<T>(
    until: Instant,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, FetchError> {
    let left = until.saturating_duration_since(Instant::now());
    // A timeout of zero would still poll once.
    if left.is_zero() {
        return Err(FetchError::new(
            Gate::Time,
            "the transfer took longer than timeout_s",
        ));
    }
    match timeout(left.min(IDLE_MAX), step).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(FetchError::new(
            Gate::Transport,
            "the connection ended before the answer did",
        )),
        Ok(Err(error)) => Err(FetchError::new(Gate::Transport, error.to_string())),
        Err(_) if left < IDLE_MAX => Err(FetchError::new(
            Gate::Time,
            "the transfer took longer than timeout_s",
        )),
        Err(_) => Err(FetchError::new(
            Gate::Time,
            format!("no data for {} seconds", IDLE_MAX.as_secs()),
        )),
    }
}
