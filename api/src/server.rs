//! The server of the API: strict HTTP/1.1 over TCP or TLS.
//!
//! ```text
//! socket -> PROXY header -> TLS -> AnsweredStream -> HTTP/1.1 -> Host -> router
//!           (both if configured)   (refusals of the HTTP library get a body)
//! ```
//!
//! HTTP/2 is not supported. One connection could carry any number of requests; and without TLS, a
//! client would need to know beforehand that the server supports it (RFC 9113, section 3.3), which
//! browsers never do. A proxy in front may offer it.

use std::{convert::Infallible, future::poll_fn, io, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, Version, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use control::{Connection, Connections};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use metrics::{counter, describe_counter};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::{
    announced,
    answered_stream::{AnsweredStream, whole},
    bodies::{AnswerBody, RequestBody},
    client_address::{SecureTransport, TrustedProxies, contains},
    problem::{ClosesConnection, Problem},
    recognition::RequestConnection,
    strict_http::{HEADER_OCTETS_MAX, TARGET_OCTETS_MAX},
    tls,
};

/// The pause after a connection could not be accepted: the process has no file descriptor left
/// until others are closed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long, and how many octets, a client may send after its last answer.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_OCTETS_MAX: u64 = 1 << 20;
/// The longest time until a PROXY header and a TLS handshake are complete, then until a request's
/// head is complete, and until the next request of a connection begins.
const HEAD_MAX: Duration = Duration::from_secs(15);

/// The most octets of a connection that are read and not handled: a request target and headers of
/// the greatest length. What a client that reads nothing holds beside them is one answer.
const BUFFER_OCTETS_MAX: usize = TARGET_OCTETS_MAX + HEADER_OCTETS_MAX + (4 << 10);

/// What a listener does with its connections.
pub struct ApiListener {
    pub router: Router,
    /// The connections of this listener, shared by client.
    pub connections: Connections,
    /// Reverse proxies, whose headers name the client of a request.
    pub trusted_proxies: TrustedProxies,
    /// Load balancers, whose connections begin with a PROXY header.
    pub proxy_from: Vec<IpNet>,
    /// `None`: plain HTTP.
    pub tls: Option<TlsAcceptor>,
}

/// Serves until `end` changes, then finishes the requests under way. Each client has its share of
/// the connections.
pub async fn serve(socket: TcpListener, listener: ApiListener, mut end: watch::Receiver<()>) {
    describe();
    let listener = Arc::new(ApiListener {
        router: listener.router.layer(middleware::from_fn(one_host)),
        ..listener
    });
    // Each connection holds a receiver, so the sender sees when the last one is dropped.
    let (open, is_open) = watch::channel(());
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = end.changed() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let peer = peer.ip().to_canonical();
                let open = |_: &Connections| listener.place_of_peer(peer);
                let Some(place) = granted(listener.connections.open_after(open).await) else {
                    continue;
                };
                let listener = Arc::clone(&listener);
                let end = end.clone();
                let is_open = is_open.clone();
                tokio::spawn(async move {
                    listener.attend(stream, peer, place, end).await;
                    drop(is_open);
                });
            }
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the API cannot take a connection"
                );
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop((socket, is_open));
    open.closed().await;
}

impl ApiListener {
    /// The place of a new connection. A load balancer's counts for its client as soon as that is
    /// known.
    fn place_of_peer(&self, peer: IpAddr) -> Option<Connection> {
        if contains(&self.proxy_from, peer) {
            self.connections.open_for_many()
        } else {
            self.place_of_client(peer)
        }
    }

    /// The place of a client's connection. Those of a reverse proxy are many clients'.
    fn place_of_client(&self, client: IpAddr) -> Option<Connection> {
        if self.trusted_proxies.contains(client) {
            self.connections.open_for_many()
        } else {
            self.connections.open(client)
        }
    }

    /// Serves a connection from its first octet to its last.
    async fn attend(
        &self,
        mut stream: TcpStream,
        peer: IpAddr,
        mut place: Connection,
        mut end: watch::Receiver<()>,
    ) {
        // Answers are small and complete, so the kernel need not wait for more (Nagle's algorithm).
        // If this cannot be set, they are slower.
        let _ = stream.set_nodelay(true);
        let deadline = Instant::now() + HEAD_MAX;
        let mut client = peer;
        if contains(&self.proxy_from, peer) {
            place.find_nothing();
            let announced = tokio::select! {
                announced = timeout_at(deadline, announced::read(&mut stream)) => announced,
                () = place.closing() => return count_limited("closed"),
                _ = end.changed() => return,
            };
            match announced {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(address))) => {
                    client = address;
                    // There may be no other place than its own.
                    drop(place);
                    let Some(of_client) = granted(self.place_of_client(client)) else {
                        return;
                    };
                    place = of_client;
                }
                Ok(Err(_)) | Err(_) => return count_failed("proxy_header"),
            }
        }
        let place = Arc::new(place);
        tokio::select! {
            () = self.begin(stream, client, &place, (deadline, end)) => {}
            () = place.closing() => count_limited("closed"),
        }
    }

    /// Shakes hands if there is TLS, then serves requests.
    async fn begin(
        &self,
        stream: TcpStream,
        peer: IpAddr,
        place: &Arc<Connection>,
        (deadline, mut end): (Instant, watch::Receiver<()>),
    ) {
        let Some(acceptor) = &self.tls else {
            return self.converse(stream, peer, place, end).await;
        };
        place.find_nothing();
        let shaken = tokio::select! {
            shaken = timeout_at(deadline, acceptor.accept_with(stream, tls::bounded)) => shaken,
            _ = end.changed() => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.converse(stream, peer, place, end).await,
            Ok(Err(_)) | Err(_) => count_failed("tls"),
        }
    }

    /// Serves the requests of one connection.
    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: IpAddr,
        place: &Arc<Connection>,
        mut end: watch::Receiver<()>,
    ) {
        let service = service_fn(|request: Request<Incoming>| {
            let router = self.router.clone();
            let place = Arc::clone(place);
            let mut request =
                request.map(|body| Body::new(RequestBody::new(body, Arc::clone(&place))));
            let connection = RequestConnection::new(&place);
            request.extensions_mut().insert(connection);
            let client = self.trusted_proxies.client(peer, request.headers());
            if self.tls.is_some() || self.trusted_proxies.says_secure(peer, request.headers()) {
                request.extensions_mut().insert(SecureTransport);
            }
            request.extensions_mut().insert(client);
            let is_shared = self.trusted_proxies.contains(peer);
            Box::pin(async move {
                let mut answer = router
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|never| match never {});
                let closes = answer.extensions().get::<ClosesConnection>().is_some();
                if closes && !is_shared {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(AnswerBody::new(answer, place))
            })
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .max_buf_size(BUFFER_OCTETS_MAX)
            .serve_connection(
                TokioIo::new(AnsweredStream::new(stream, Arc::clone(place))),
                service,
            );
        let mut is_ending = false;
        let result = loop {
            tokio::select! {
                result = poll_fn(|context| connection.poll_without_shutdown(context)) => break result,
                _ = end.changed(), if !is_ending => {
                    is_ending = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        let mut stream = connection.into_parts().io.into_inner();
        // The client has been answered, or has sent no request.
        place.find_nothing();
        if result.is_err_and(|error| error.is_parse_version_h2()) {
            let detail = "this listener speaks HTTP/1.1; a proxy in front of it may speak HTTP/2";
            let refusal = whole(&Problem::new(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "http_version",
                detail,
            ));
            let _client_may_be_gone = stream.write_all(&refusal).await;
        }
        let _client_may_be_gone = stream.shutdown().await;
        // The rest of the client's data is read, within bounds: closing the socket before would
        // discard the answer (RFC 9112, section 9.6).
        let mut rest = stream.take(LINGER_OCTETS_MAX);
        let _in_time = timeout(
            LINGER_MAX,
            tokio::io::copy(&mut rest, &mut tokio::io::sink()),
        )
        .await;
    }
}

/// Counts a connection that has no place.
fn granted(place: Option<Connection>) -> Option<Connection> {
    if place.is_none() {
        count_limited("refused");
    }
    place
}

fn count_limited(how: &'static str) {
    counter!("ox_protect_api_connections_limited_total", "how" => how).increment(1);
}

fn count_failed(step: &'static str) {
    counter!("ox_protect_api_handshakes_failed_total", "step" => step).increment(1);
}

/// Whether the client closed a connection before it was accepted.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Refuses a request without a valid `Host`, or with two of them (RFC 9112, section 3.2).
async fn one_host(request: Request, next: Next) -> Response {
    match host(request.version(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(detail) => {
            let refused =
                Problem::new(StatusCode::BAD_REQUEST, "host", detail).with_field("Host".to_owned());
            // The rest of this connection cannot be trusted either.
            (
                [(header::CONNECTION, HeaderValue::from_static("close"))],
                refused,
            )
                .into_response()
        }
    }
}

fn host(version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => Err("the header Host stands more than once"),
        (None, None) if version < Version::HTTP_11 => Ok(()),
        (None, None) => Err("the header Host is missing"),
        // Empty if the target has no host.
        (Some(host), None) if host.is_empty() => Ok(()),
        (Some(host), None) => match host
            .to_str()
            .ok()
            .and_then(|host| host.parse::<Authority>().ok())
        {
            Some(authority) if !authority.as_str().contains('@') => Ok(()),
            _ => Err("the header Host names no host"),
        },
    }
}

fn describe() {
    describe_counter!(
        "ox_protect_api_connections_limited_total",
        "Connections to the API refused, or closed for a new one, when all were taken"
    );
    describe_counter!(
        "ox_protect_api_handshakes_failed_total",
        "Connections to the API closed because the PROXY header or the TLS handshake failed or took too long"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_hosts(hosts: &[&str]) -> HeaderMap {
        hosts
            .iter()
            .map(|host| (header::HOST, HeaderValue::from_str(host).unwrap()))
            .collect()
    }

    #[test]
    fn a_request_names_one_host() {
        for good in [
            "",
            "localhost",
            "127.0.0.1:8080",
            "[::1]:8080",
            "api.isp.example",
        ] {
            assert_eq!(
                host(Version::HTTP_11, &with_hosts(&[good])),
                Ok(()),
                "{good}"
            );
        }
        for bad in [
            &["a", "b"][..],
            &["a", "a"],
            &["a b"],
            &["user@host"],
            &["a/b"],
            &["a,b c"],
        ] {
            assert!(host(Version::HTTP_11, &with_hosts(bad)).is_err(), "{bad:?}");
        }
        assert!(host(Version::HTTP_11, &HeaderMap::new()).is_err());
        assert_eq!(host(Version::HTTP_10, &HeaderMap::new()), Ok(()));
        assert!(host(Version::HTTP_10, &with_hosts(&["a", "b"])).is_err());
    }
}
