//! The node itself: taxonomy, health and metrics.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use policy::category::{Category, CategorySet, Preset};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Context,
    auth::{guards::Anyone, roles::Admits},
    problem::Problem,
    routes::openapi::OpenReader,
};

/// The taxonomy.
#[derive(Serialize, ToSchema)]
pub struct Categories {
    /// In the order of the taxonomy.
    categories: Vec<Category>,
}

/// The presets.
#[derive(Serialize, ToSchema)]
pub struct Presets {
    /// In the order of the taxonomy.
    presets: Vec<PresetView>,
}

/// A starting point of a household.
#[derive(Serialize, ToSchema)]
#[schema(as = Preset)]
struct PresetView {
    /// The categories that it blocks, by slug.
    blocks: Vec<String>,
    /// The identifier.
    slug: String,
    /// The name for people.
    title: String,
}

/// All categories, with the presets that block each.
#[utoipa::path(get, path = "/v1/categories", operation_id = "list_categories", tag = "taxonomy", responses((status = 200, description = "the taxonomy", body = Categories)))]
pub async fn categories(State(context): State<Arc<Context>>, _anyone: Anyone) -> Json<Categories> {
    let categories = context.control.taxonomy.categories().to_vec();
    Json(Categories { categories })
}

/// All presets, with the categories that each blocks.
#[utoipa::path(get, path = "/v1/presets", operation_id = "list_presets", tag = "taxonomy", responses((status = 200, description = "the presets", body = Presets)))]
pub async fn presets(State(context): State<Arc<Context>>, _anyone: Anyone) -> Json<Presets> {
    let taxonomy = &context.control.taxonomy;
    let view = |(preset, blocks): (&Preset, CategorySet)| PresetView {
        blocks: taxonomy
            .slugs(blocks)
            .into_iter()
            .map(str::to_owned)
            .collect(),
        slug: preset.slug.clone(),
        title: preset.title.clone(),
    };
    Json(Presets {
        presets: taxonomy.presets().map(view).collect(),
    })
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

/// The operator's monitoring, which reads metrics without a key. It must wait if it asks too often.
pub struct Monitoring;

impl Admits for Monitoring {
    const IS_OPERATORS: bool = true;
}

impl FromRequestParts<Arc<Context>> for Monitoring {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &Arc<Context>,
    ) -> Result<Self, Problem> {
        OpenReader::from_request_parts(parts, context).await?;
        Ok(Self)
    }
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", operation_id = "get_metrics", tag = "node", responses((status = 200, description = "the counters", body = String),
    (status = 429, description = "too many from this address")))]
pub async fn metrics(State(context): State<Arc<Context>>, _monitoring: Monitoring) -> Response {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        (context.render_metrics)(),
    )
        .into_response()
}
