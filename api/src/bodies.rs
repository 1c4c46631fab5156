//! Bodies of requests and answers. While a client owes octets, its connection may be closed in
//! favour of another one; while it waits for an answer, it may not.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
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

/// An answer's body. Behind its end, the connection waits for the client.
pub struct AnswerBody {
    body: Body,
    place: Arc<Connection>,
}

impl AnswerBody {
    pub fn new(body: Body, place: Arc<Connection>) -> Self {
        Self { body, place }
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
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
