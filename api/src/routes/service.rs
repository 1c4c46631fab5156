//! The node itself: taxonomy, health and metrics.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{Context, auth::guards::Anyone, problem::Problem, routes::openapi::OpenReader, schema};

/// All categories, with the presets that block each.
#[utoipa::path(get, path = "/v1/categories", operation_id = "list_categories", tag = "taxonomy", responses((status = 200, description = "the taxonomy", body = schema::Categories)))]
pub async fn categories(State(context): State<Arc<Context>>, _anyone: Anyone) -> Json<Value> {
    Json(json!({ "categories": context.control.taxonomy.categories() }))
}

/// All presets, with the categories that each blocks.
#[utoipa::path(get, path = "/v1/presets", operation_id = "list_presets", tag = "taxonomy", responses((status = 200, description = "the presets", body = schema::Presets)))]
pub async fn presets(State(context): State<Arc<Context>>, _anyone: Anyone) -> Json<Value> {
    let preset = |(preset, blocks): (&policy::category::Preset, policy::category::CategorySet)| json!({ "slug": preset.slug, "title": preset.title, "blocks": context.control.taxonomy.slugs(blocks) });
    Json(json!({ "presets": context.control.taxonomy.presets().map(preset).collect::<Vec<_>>() }))
}

/// The process runs.
#[utoipa::path(get, path = "/healthz", operation_id = "get_health", tag = "node", responses((status = 200, description = "alive")))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Queries are answered by the lists and rules of this node, and changes are accepted.
#[utoipa::path(get, path = "/readyz", operation_id = "get_readiness", tag = "node", responses((status = 200, description = "ready"),
    (status = 503, description = "not ready: the code is `not_ready`, or `store_not_writable` while queries are answered and changes are not taken")))]
pub async fn readyz(State(context): State<Arc<Context>>) -> Result<&'static str, Problem> {
    let ready = readyz_dns(State(Arc::clone(&context))).await?;
    match context.control.store.health().failure() {
        None => Ok(ready),
        Some(failure) => {
            // The reason is one word. Paths and the database's message are for the operator, in the
            // log and in the event.
            let detail = format!(
                "queries are answered; changes are not taken: the store cannot be written ({})",
                failure.reason.as_str()
            );
            Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_not_writable",
                detail,
            ))
        }
    }
}

/// Queries are answered by the lists and rules of this node, whether or not changes are accepted:
/// for a load balancer of DNS.
#[utoipa::path(get, path = "/readyz/dns", operation_id = "get_dns_readiness", tag = "node", responses((status = 200, description = "ready"), (status = 503, description = "not yet")))]
pub async fn readyz_dns(State(context): State<Arc<Context>>) -> Result<&'static str, Problem> {
    let not_ready = || {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            "the listeners are not up yet",
        )
    };
    if (context.is_ready)() {
        Ok("ready\n")
    } else {
        Err(not_ready())
    }
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", operation_id = "get_metrics", tag = "node", responses((status = 200, description = "the counters", body = String),
    (status = 429, description = "too many from this address")))]
pub async fn metrics(State(context): State<Arc<Context>>, _reader: OpenReader) -> Response {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        (context.render_metrics)(),
    )
        .into_response()
}
