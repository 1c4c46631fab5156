//! A connection on which each refusal has a body, also those that the HTTP library writes itself.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::StatusCode;
use control::Connection;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use crate::problem::{MEDIA_TYPE, Problem};

/// The longest refusal that the HTTP library writes itself, in octets.
const BARE_OCTETS_MAX: usize = 256;

/// The longest time in which a client reads nothing of what it is sent.
const STALLED_MAX: Duration = Duration::from_secs(30);

/// A connection on which each refusal has a body, and which fails if its client does not read. Its
/// place learns when there is nothing to be read, and when the client does not read.
pub struct AnsweredStream<S> {
    stream: S,
    place: Arc<Connection>,
    /// The replacement of a refusal, and how much of it is written.
    own: Vec<u8>,
    written: usize,
    /// Since the client reads nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Whether something was written behind the last flush.
    has_written: bool,
}

impl<S: AsyncWrite + Unpin> AnsweredStream<S> {
    pub fn new(stream: S, place: Arc<Connection>) -> Self {
        Self {
            stream,
            place,
            own: Vec::new(),
            written: 0,
            stalled: None,
            has_written: false,
        }
    }

    /// Passes on how a write went. One that makes no progress for too long fails.
    fn poll_progress<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.stalled.take().is_some() {
                self.place.go_on();
            }
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| {
            self.place.stall();
            Box::pin(sleep(STALLED_MAX))
        });
        ready!(stalled.as_mut().poll(context));
        self.stalled = None;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
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

    fn poll_answer(&mut self, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
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
}

impl<S: AsyncRead + Unpin> AsyncRead for AnsweredStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() {
            self.place.find_nothing();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for AnsweredStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.has_written = true;
        let written = self.poll_answer(context, octets);
        self.poll_progress(context, written)
    }

    /// An answer with a body is passed on as it is, so that a client that does not read has no copy
    /// of the body. What the HTTP library refuses by itself is one slice.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.has_written = true;
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        let written = match (filled.next(), filled.next()) {
            (Some(only), None) => self.poll_answer(context, only),
            _ => match self.poll_own(context) {
                Poll::Ready(Ok(())) => {
                    Pin::new(&mut self.stream).poll_write_vectored(context, slices)
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            },
        };
        self.poll_progress(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match self.poll_own(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.stream).poll_flush(context),
            other => other,
        };
        let flushed = self.poll_progress(context, flushed);
        // The HTTP library flushes when it has handed over all that it has.
        if flushed.is_ready() && std::mem::take(&mut self.has_written) {
            self.place.release();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A refusal as octets, written without the router.
pub fn whole(problem: &Problem) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_given_up() {
        let (mut client, server) = duplex(1_000);
        let place = control::Connections::new(1).open([192, 0, 2, 1].into());
        let mut stream = AnsweredStream::new(server, Arc::new(place.expect("room")));
        stream.write_all(&[0; 1_000]).await.unwrap();
        let begun = tokio::time::Instant::now();
        let error = stream.write_all(&[0; 1_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), STALLED_MAX);
        // A slow client is none of these.
        let slow = async {
            for _ in 0..10 {
                sleep(STALLED_MAX / 2).await;
                client.read_exact(&mut [0; 100]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(stream.write_all(&[0; 900]), slow);
        written.unwrap();
    }

    #[tokio::test]
    async fn what_is_flushed_is_not_held_any_more() {
        let connections = control::Connections::that_recognise(2, 100);
        let open = |last| connections.open([192, 0, 2, last].into()).expect("room");
        let (place, other) = (Arc::new(open(1)), open(2));
        place.find_nothing();
        place.hold(90);
        let (_client, server) = duplex(1_000);
        let mut stream = AnsweredStream::new(server, Arc::clone(&place));
        stream.write_all(&[0; 90]).await.unwrap();
        stream.flush().await.unwrap();
        other.hold(90);
        assert!(place.closing().now_or_never().is_none(), "it is written");
        other.release();
        // The library flushes also while it reads a body.
        place.hold(90);
        stream.flush().await.unwrap();
        other.hold(11);
        assert!(place.closing().now_or_never().is_some(), "101 of 100");
    }

    #[tokio::test]
    async fn an_answer_in_several_slices_is_passed_on_as_it_is() {
        let (mut client, server) = duplex(1_000);
        let place = control::Connections::new(1).open([192, 0, 2, 1].into());
        let mut stream = AnsweredStream::new(server, Arc::new(place.expect("room")));
        assert!(stream.is_write_vectored(), "as the stream below");
        let head = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n";
        let slices = [head, &b""[..], b"no"].map(io::IoSlice::new);
        let written = stream.write_vectored(&slices).await.unwrap();
        assert_eq!(written, head.len() + 2);
        let mut read = vec![0; written];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(read, [head, &b"no"[..]].concat());
        // What has no body gets one, as in a write of one slice.
        let bare = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let written = stream.write_vectored(&[io::IoSlice::new(bare)]).await;
        assert_eq!(written.unwrap(), bare.len());
        stream.flush().await.unwrap();
        drop(stream);
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert!(
            text.contains("content-type: application/problem+json"),
            "{text}"
        );
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
