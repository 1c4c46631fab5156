//! Panics of handlers, of their tasks and of streams: answered with 500 and a code, logged and
//! counted. The node goes on.
//!
//! The message of a panic is only logged: it may contain what the caller must not see.

use std::{any::Any, panic::AssertUnwindSafe};

use axum::{
    extract::Request,
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::task::JoinError;

use crate::problem::Problem;

/// The counter of panics, by where they were caught: `handler`, `task` or `stream`.
const COUNTER: &str = "ox_protect_api_panics_total";

/// Describes the counter, and exports it before the first panic.
pub fn describe() {
    metrics::describe_counter!(
        "ox_protect_api_panics_total",
        "Panics of API handlers, of their tasks and of event streams, each answered 500 or ended"
    );
    for place in ["handler", "task", "stream"] {
        metrics::counter!(COUNTER, "place" => place).increment(0);
    }
}

/// Middleware before all routes. A handler that panics is answered with 500, and its connection
/// stays open.
pub async fn caught(request: Request, next: Next) -> Response {
    let asked = format!("{} {}", request.method(), request.uri().path());
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => told("handler", &asked, panic.as_ref()).into_response(),
    }
}

/// The result of a task that a handler waits for.
pub fn of_task<T>(joined: Result<T, JoinError>) -> Result<T, Problem> {
    joined.map_err(of_failed_task)
}

/// The problem of a task that panicked or was cancelled.
pub fn of_failed_task(error: JoinError) -> Problem {
    match error.try_into_panic() {
        Ok(panic) => told("task", "a task of a handler", panic.as_ref()),
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ending",
            "the program ends; the change may not have been made",
        ),
    }
}

/// Starts a task that no handler waits for.
pub fn spawn(what: &'static str, work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
            let _answered_to_no_client = told("task", what, panic.as_ref());
        }
    });
}

/// A stream that ends if it panics.
pub fn ended_by<S: Stream>(stream: S) -> impl Stream<Item = S::Item> {
    let items = AssertUnwindSafe(stream).catch_unwind();
    let told = |item: Result<S::Item, Box<dyn Any + Send>>| {
        item.map_err(|panic| drop(told("stream", "a stream of events", panic.as_ref())))
    };
    items
        .map(told)
        .take_while(|item| std::future::ready(item.is_ok()))
        .flat_map(stream::iter)
}

fn told(place: &'static str, what: &str, panic: &(dyn Any + Send)) -> Problem {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(
        place,
        what,
        panic = said.unwrap_or("without a message"),
        "a panic of the API was caught"
    );
    metrics::counter!(COUNTER, "place" => place).increment(1);
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "panicked",
        "this node failed in a way that it should not; the operator's log says how",
    )
}
