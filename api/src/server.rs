//! The server of the API: strict HTTP/1.1 over TCP.
//!
//! ```text
//! socket -> AnsweredStream (refusals of the HTTP library get a body) -> HTTP/1.1 -> Host -> router
//! ```
//!
//! HTTP/2 is not supported. Without TLS, a client would need to know beforehand that the server
//! supports it (RFC 9113, section 3.3), which browsers never do; and one connection could carry any
//! number of requests. A proxy in front may offer it.

use std::{
    convert::Infallible,
    future::{Future as _, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderValue, StatusCode, Version, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use control::Connections;
use hyper::{
    body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::{counter, describe_counter};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tower::ServiceExt;

use crate::problem::{MEDIA_TYPE, Problem};

/// The pause after a connection could not be accepted: the process has no file descriptor left
/// until others are closed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long, and how many octets, a client may send after its last answer.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_OCTETS_MAX: u64 = 1 << 20;
/// The longest time until a request's head is complete, and until the next request of a connection
/// begins.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// The longest time until a request's body is complete: 1 MiB over a line of 300 kbit/s.
const BODY_MAX: Duration = Duration::from_secs(30);
/// The longest refusal that the HTTP library writes itself, in octets.
const BARE_OCTETS_MAX: usize = 256;

/// Serves until `end` changes, then finishes the requests under way. Each client has its share of
/// the connections.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Connections,
    mut end: watch::Receiver<()>,
) {
    describe();
    let router = router.layer(middleware::from_fn(one_host));
    // Each connection holds a receiver, so the sender sees when the last one is dropped.
    let (open, is_open) = watch::channel(());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = end.changed() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = connections.open(peer.ip()) else {
                    counter!("ox_protect_api_connections_limited_total", "how" => "refused")
                        .increment(1);
                    continue;
                };
                let router = router.clone();
                let end = end.clone();
                let is_open = is_open.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = converse(stream, peer, router, end) => {}
                        () = place.closing() => {
                            counter!("ox_protect_api_connections_limited_total", "how" => "closed")
                                .increment(1);
                        }
                    }
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
    drop((listener, is_open));
    open.closed().await;
}

/// Whether the client closed a connection before it was accepted.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Serves one connection.
async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut end: watch::Receiver<()>,
) {
    // Answers are small and complete, so the kernel need not wait for more (Nagle's algorithm). If
    // this cannot be set, they are slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        let mut request = request.map(|body| Body::new(TimedBody::new(body)));
        request.extensions_mut().insert(ConnectInfo(peer));
        Box::pin(async move {
            Ok::<_, Infallible>(
                router
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|never| match never {}),
            )
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .serve_connection(TokioIo::new(AnsweredStream::new(stream)), service);
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
    // The rest of the client's data is read, within bounds: closing the socket before would discard
    // the answer (RFC 9112, section 9.6).
    let mut rest = stream.take(LINGER_OCTETS_MAX);
    let _in_time = tokio::time::timeout(
        LINGER_MAX,
        tokio::io::copy(&mut rest, &mut tokio::io::sink()),
    )
    .await;
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

/// A refusal as octets, written without the router.
fn whole(problem: &Problem) -> Vec<u8> {
    let status = problem.status();
    let body = problem.to_json().to_string();
    let reason = status.canonical_reason().unwrap_or("Refused");
    let head = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        status.as_u16(),
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

/// Refusals of the HTTP library, which have no body because no request could be parsed.
fn refusal(status: u16) -> Option<Problem> {
    let (status, code, detail) = match status {
        400 => (
            StatusCode::BAD_REQUEST,
            "http",
            "this is no request of HTTP/1.1 (RFC 9112)",
        ),
        414 => (
            StatusCode::URI_TOO_LONG,
            "uri_too_long",
            "the request target is too long",
        ),
        431 => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            "the headers are too many or too long",
        ),
        _ => return None,
    };
    Some(Problem::new(status, code, detail))
}

/// Where a refusal without a body begins in the output, and its replacement. It is the last output
/// on its connection. The router's own refusals have a body and a type.
fn bare(octets: &[u8]) -> Option<(usize, Vec<u8>)> {
    const END: &[u8] = b"\r\n\r\n";
    const BEGIN: &[u8] = b"HTTP/1.1 ";
    if !octets.ends_with(END) {
        return None;
    }
    let tail = octets.len().saturating_sub(BARE_OCTETS_MAX);
    let begin = tail
        + octets[tail..]
            .windows(BEGIN.len())
            .rposition(|window| window == BEGIN)?;
    let head = std::str::from_utf8(&octets[begin..]).ok()?;
    let lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    let has_body =
        lines.contains(&"") || lines.iter().any(|line| line.starts_with("content-type:"));
    if has_body || !lines.contains(&"content-length: 0") {
        return None;
    }
    let problem = refusal(lines[0].get(BEGIN.len()..)?.get(..3)?.parse().ok()?)?;
    Some((begin, whole(&problem)))
}

/// A body that must be complete in [`BODY_MAX`].
struct TimedBody {
    body: Incoming,
    deadline: Pin<Box<tokio::time::Sleep>>,
}

impl TimedBody {
    fn new(body: Incoming) -> Self {
        Self {
            body,
            deadline: Box::pin(tokio::time::sleep(BODY_MAX)),
        }
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => self.deadline.as_mut().poll(context).map(|()| {
                let late = io::Error::new(io::ErrorKind::TimedOut, "the body takes too long");
                Some(Err(axum::Error::new(late)))
            }),
            ready => ready.map_err(axum::Error::new),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn describe() {
    describe_counter!(
        "ox_protect_api_connections_limited_total",
        "Connections to the API refused, or closed for a client with fewer, when all were taken"
    );
}

/// A connection on which each refusal has a body.
struct AnsweredStream {
    stream: TcpStream,
    /// The replacement of a refusal, and how much of it is written.
    own: Vec<u8>,
    written: usize,
}

impl AnsweredStream {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            own: Vec::new(),
            written: 0,
        }
    }

    fn poll_own(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.own.len() {
            let count =
                ready!(Pin::new(&mut self.stream).poll_write(context, &self.own[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        (self.own, self.written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for AnsweredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for AnsweredStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_own(context))?;
        let Some((begin, refusal)) = bare(octets) else {
            return Pin::new(&mut self.stream).poll_write(context, octets);
        };
        self.own = [&octets[..begin], &refusal].concat();
        // The rest is written by the flush that follows.
        if let Poll::Ready(Err(error)) = self.poll_own(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
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

    #[test]
    fn only_a_refusal_without_a_body_gets_one() {
        let bare_one = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        let before =
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n";
        let (begin, written) = bare(&[&before[..], bare_one].concat()).unwrap();
        assert_eq!(begin, before.len());
        let (head, body) = std::str::from_utf8(&written)
            .unwrap()
            .split_once("\r\n\r\n")
            .unwrap();
        assert!(
            head.starts_with("HTTP/1.1 431 ")
                && head.contains(&format!("content-length: {}", body.len())),
            "{head}"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(body).unwrap()["code"],
            "headers_too_large"
        );
        for other in [
            &before[..],
            b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
            b"\r\n\r\n",
            b"",
        ] {
            assert!(bare(other).is_none(), "{}", String::from_utf8_lossy(other));
        }
    }
}
