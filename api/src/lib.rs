//! The REST API: HTTP and nothing else.
//!
//! ```text
//! server -> panics -> strict_http -> idempotency -> auth (in handlers' signatures) -> routes -> control
//! ```
//!
//! - [`server`]: HTTP/1.1 connections; `announced`, [`tls`]: their start, with a PROXY header and a
//!   TLS handshake; `answered_stream`: refusals with a body; `bodies`: who waits for whom;
//!   `recognition`: who has shown a credential.
//! - [`client_address`]: the client behind a reverse proxy; [`strict_http`]: requests that are
//!   refused whatever their route; [`panics`]: answers to panics.
//! - [`auth`]: keys, tokens, sessions of browsers, roles and rate limits.
//! - [`app`]: the parents' app under `/app/`.
//! - `idempotency`: writes that a client repeats under one `Idempotency-Key`.
//! - `extract`: path segments, query, body and preconditions of a request.
//! - [`routes`]: the handlers, one file for each kind of resource; `audited`: their operations on
//!   lists, written to the audit.
//! - [`past_reads`]: how many reads of the past run at a time.
//! - [`event_streams`]: how many streams of server-sent events there may be, and when each must
//!   end.
//! - [`landing`]: the block page; [`home_test`]: names by which a browser tests its filter. Both have
//!   listeners of their own.
//! - [`problem`]: refusals (RFC 9457); `control_errors`: errors of `control` as problems;
//!   `versioned`: answers with a version; `conditional`: reads that need no repetition; `names`:
//!   labels beside keys; `packing`: gzip; `redact`: secrets in
//!   feed definitions.
//! - `openapi`: what the OpenAPI document says of all routes alike; `schema`: schemas of answers
//!   without a type.
//!
//! The OpenAPI document is generated from the handlers that the router calls. What the API needs of
//! the running node comes in a [`Context`].

mod announced;
mod answered_stream;
pub mod app;
mod audited;
pub mod auth;
mod bodies;
pub mod client_address;
mod conditional;
mod context;
mod control_errors;
pub mod event_streams;
mod extract;
pub mod home_test;
mod idempotency;
pub mod landing;
mod names;
mod openapi;
mod packing;
pub mod panics;
pub mod past_reads;
pub mod problem;
mod recognition;
mod redact;
pub mod report_intake;
pub mod routes;
pub mod server;
pub mod strict_http;
pub mod tls;
mod versioned;
mod written;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, http::StatusCode, middleware, routing::on};

pub use crate::context::Context;
use crate::problem::Problem;

/// All routes and the app. Opens no socket.
pub fn router(context: Arc<Context>) -> Router {
    let app = app_routes(&context);
    complete(context, routes::all(true), app)
}

/// All routes without the app, for the operator's listener beside the public's.
pub fn operator_router(context: Arc<Context>) -> Router {
    complete(context, routes::all(true), Router::new())
}

/// All routes but the operator's, and the app, for a listener beside one with all of them. To a
/// client, the operator's routes are unknown.
pub fn public_router(context: Arc<Context>) -> Router {
    let app = app_routes(&context);
    complete(context, routes::all(false), app)
}

fn app_routes(context: &Context) -> Router<Arc<Context>> {
    let routes = |settings| app::routes(settings, app::embedded());
    context.app.as_ref().map(routes).unwrap_or_default()
}

fn complete(context: Arc<Context>, routes: routes::Routes, app: Router<Arc<Context>>) -> Router {
    let (router, document) = routes.router.split_for_parts();
    let beside_others = routes
        .hidden
        .into_iter()
        .filter(|(path, _)| document.paths.paths.contains_key(path))
        .collect::<Vec<_>>();
    let router = router
        // Only what is routed can be done twice.
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(&context),
            idempotency::once,
        ))
        .route(
            routes::openapi::PATH,
            routes::openapi::serve(openapi::complete(document)),
        );
    beside_others
        .into_iter()
        .fold(router, |router, (path, method)| {
            router.route(&path, on(method, unknown_route))
        })
        .merge(app)
        .fallback(unknown_route)
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "this route has no such method; see /openapi.json",
            )
        })
        .layer(DefaultBodyLimit::max(extract::BODY_OCTETS_MAX))
        .layer(packing::layer())
        .layer(middleware::from_fn(strict_http::read_strictly))
        .layer(middleware::from_fn(panics::caught))
        .with_state(context)
}

async fn unknown_route() -> Problem {
    Problem::not_found("unknown_route", "there is nothing here; see /openapi.json")
}
