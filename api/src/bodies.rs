//! Bodies of requests and answers. While a client owes octets, its connection may be closed in
//! favour of another one; while it waits for an answer, it may not, if it has shown a credential in
//! force. What is read and not handled, and what is to be written, counts as held.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, response::Response};
use control::Connection;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};

/// The longest time until a request's body is complete: 1 MiB over a line of 300 kbit/s.
const BODY_MAX: Duration = Duration::from_secs(30);

/// A request's body, which must be complete in [`BODY_MAX`].
pub struct RequestBody {
    body: Incoming,
    deadline: Pin<Box<tokio::time::Sleep>>,
    place: Arc<Connection>,
    is_whole: bool,
}

impl RequestBody {
    pub fn new(body: Incoming, place: Arc<Connection>) -> Self {
        let mut request = Self {
            body,
            deadline: Box::pin(tokio::time::sleep(BODY_MAX)),
            place,
            is_whole: false,
        };
        request.look_at_end();
        request
    }

    /// Says once that the request is whole.
    fn look_at_end(&mut self) {
        if !self.is_whole && self.body.is_end_stream() {
            self.is_whole = true;
            self.place.work();
        }
    }
}

impl HttpBody for RequestBody {
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
            ready => {
                if let Poll::Ready(Some(Ok(frame))) = &ready {
                    self.place.hold(octets_of(frame));
                }
                self.look_at_end();
                ready.map_err(axum::Error::new)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn octets_of(frame: &Frame<Bytes>) -> usize {
    frame.data_ref().map_or(0, Bytes::len)
}

/// In the extensions of an answer: its body is a document that all clients share, and takes no
/// memory of its own.
#[derive(Debug, Clone, Copy)]
pub struct SharedDocument;

/// An answer's body. Its octets count as held until they are written. Behind its end, the connection
/// waits for the client.
pub struct AnswerBody {
    body: Body,
    place: Arc<Connection>,
    /// Whether each part counts as it comes: the whole has no known length.
    counts_parts: bool,
}

impl AnswerBody {
    pub fn new(answer: Response, place: Arc<Connection>) -> Response<Self> {
        let is_shared = answer.extensions().get::<SharedDocument>().is_some();
        answer.map(|body| {
            let whole = body.size_hint().exact();
            // Those of the request are read.
            place.release();
            if let Some(octets) = whole.filter(|_| !is_shared) {
                place.hold(usize::try_from(octets).unwrap_or(usize::MAX));
            }
            let counts_parts = whole.is_none() && !is_shared;
            Self {
                body,
                place,
                counts_parts,
            }
        })
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.place.wait();
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let part = Pin::new(&mut self.body).poll_frame(context);
        if let (true, Poll::Ready(Some(Ok(frame)))) = (self.counts_parts, &part) {
            self.place.hold(octets_of(frame));
        }
        part
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use control::Connections;
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn an_answer_holds_its_octets_and_a_shared_document_none() {
        let connections = Connections::that_recognise(9, 100);
        for (is_shared, is_closed) in [(false, true), (true, false)] {
            let open = |last| Arc::new(connections.open([192, 0, 2, last].into()).expect("room"));
            let (place, other) = (open(1), open(2));
            place.find_nothing();
            // What the request held is read.
            place.hold(90);
            let mut answer = vec![b' '; 60].into_response();
            if is_shared {
                answer.extensions_mut().insert(SharedDocument);
            }
            let answer = AnswerBody::new(answer, Arc::clone(&place));
            other.hold(40);
            assert!(place.closing().now_or_never().is_none(), "100 of 100");
            other.hold(1);
            assert_eq!(place.closing().now_or_never().is_some(), is_closed);
            drop(answer);
        }
    }
}
