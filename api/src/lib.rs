//! The REST API: HTTP and nothing else.
//!
//! ```text
//! server -> panics -> strict_http -> idempotency -> auth (in handlers' signatures) -> routes -> control
//! ```
//!
//! - [`server`]: HTTP/1.1 connections; [`strict_http`]: requests that are refused whatever their
//!   route; [`panics`]: answers to panics.
//! - [`auth`]: keys, tokens, roles and rate limits.
//! - `idempotency`: writes that a client repeats under one `Idempotency-Key`.
//! - `extract`: path segments, query, body and preconditions of a request.
//! - [`routes`]: the handlers, one file for each kind of resource; `audited`: their operations on
//!   lists, written to the audit.
//! - [`event_streams`]: how many streams of server-sent events there may be, and when each must
//!   end.
//! - [`problem`]: refusals (RFC 9457); `control_errors`: errors of `control` as problems;
//!   `versioned`: answers with a version; `redact`: secrets in
//!   feed definitions.
//! - `openapi`: what the OpenAPI document says of all routes alike; `schema`: schemas of answers
//!   without a type.
//!
//! The OpenAPI document is generated from the handlers that the router calls. What the API needs of
//! the running node comes in a [`Context`].

mod audited;
pub mod auth;
mod context;
mod control_errors;
pub mod event_streams;
mod extract;
mod idempotency;
mod openapi;
pub mod panics;
pub mod problem;
mod redact;
pub mod report_intake;
pub mod routes;
pub mod server;
pub mod strict_http;
mod versioned;
mod written;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, http::StatusCode, middleware};

pub use crate::context::Context;
use crate::problem::Problem;

/// All routes. Opens no socket.
pub fn router(context: Arc<Context>) -> Router {
    let (router, document) = routes::all().split_for_parts();
    router
        // Only what is routed can be done twice.
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(&context),
            idempotency::once,
        ))
        .route(
            routes::openapi::PATH,
            routes::openapi::serve(openapi::complete(document)),
        )
        .fallback(|| async {
            Problem::not_found("unknown_route", "there is nothing here; see /openapi.json")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "this route has no such method; see /openapi.json",
            )
        })
        .layer(DefaultBodyLimit::max(extract::BODY_OCTETS_MAX))
        .layer(middleware::from_fn(strict_http::read_strictly))
        .layer(middleware::from_fn(panics::caught))
        .with_state(context)
}
