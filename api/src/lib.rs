//! REST: what people and programs switch, and the questions they ask.
//!
//! - `request`: what a request carries, read strictly, and who asks.
//! - [`apply`]: a write from the first to the last step.
//! - `households`, `devices`, `switches`: what can be written.
//! - [`explain`]: why; `grounds`: by whom, and in words.
//! - `service`: taxonomy, lists, health, metrics.
//! - `problem`: what a refused request is answered with.
//! - `document`: what the OpenAPI document says of all routes.
//!
//! The OpenAPI document is generated from the same handlers that the router calls. This crate opens no socket and knows no
//! DNS message; what it needs of the running node comes in a [`Context`].

pub mod apply;
mod devices;
mod document;
pub mod explain;
mod grounds;
mod households;
mod problem;
mod request;
mod service;
mod switches;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::{Json, Router, extract::DefaultBodyLimit, http::StatusCode, routing::get};
use policy::{
    category::Taxonomy, decide::Asker, directory::Directory, explain::Explained, live::LiveLists, name::Name, rules::OperatorDefaults,
};
use policy_store::Store;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::problem::Problem;

/// Somebody who can say what a query would be answered: the data path itself.
#[async_trait]
pub trait Explainer: Send + Sync {
    /// Judges and answers one question as the data path does.
    async fn explain(&self, asker: Asker, name: Name, record_type: u16) -> Explained;
}

/// What the API needs of the running node.
pub struct Context {
    /// Households and keys.
    pub store: Store,
    /// The live rules.
    pub directory: Arc<Directory>,
    /// Categories and presets.
    pub taxonomy: Arc<Taxonomy>,
    /// What holds for those who chose nothing.
    pub defaults: OperatorDefaults,
    /// The live lists.
    pub lists: Arc<LiveLists>,
    /// Why the last build of the lists went wrong, if it did.
    pub last_list_error: Arc<Mutex<Option<String>>>,
    /// The data path.
    pub explainer: Arc<dyn Explainer>,
    /// Writes the counters down.
    pub render_metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Whether queries are answered.
    pub is_ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// Writers take turns here.
    pub writes: tokio::sync::Mutex<()>,
}

/// All routes. Opens no socket.
pub fn router(context: Arc<Context>) -> Router {
    let routes = OpenApiRouter::with_openapi(document::base())
        .routes(routes!(service::categories))
        .routes(routes!(service::presets))
        .routes(routes!(households::list))
        .routes(routes!(households::put, households::get, households::delete))
        .routes(routes!(households::put_network, households::delete_network))
        .routes(routes!(switches::put_category, switches::delete_category))
        .routes(routes!(switches::put_name, switches::delete_name))
        .routes(routes!(devices::put, devices::get, devices::delete))
        .routes(routes!(switches::put_device_category, switches::delete_device_category))
        .routes(routes!(switches::put_device_name, switches::delete_device_name))
        .routes(routes!(service::lists))
        .routes(routes!(explain::explain))
        .routes(routes!(service::healthz))
        .routes(routes!(service::readyz))
        .routes(routes!(service::metrics));
    let (router, document) = routes.split_for_parts();
    let document = Arc::new(document::complete(document));
    router
        .route("/openapi.json", get(move || async move { Json(document.as_ref().clone()) }))
        .fallback(|| async { Problem::not_found("unknown_route", "there is nothing here; see /openapi.json") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this route has no such method; see /openapi.json")
        })
        .layer(DefaultBodyLimit::max(request::BODY_OCTETS_MAX))
        .with_state(context)
}
