//! The lists as a whole: the live generation, the kept ones, differences and rollbacks.

use std::sync::Arc;

use axum::{Json, extract::State};
use control::lists::model::{Difference, GenerationState, OverlayState, RolledBack};
use jiff::Timestamp;
use policy::lists::artefact::{FeedSummary, RejectedVersion};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    Context,
    audited::Act,
    auth::guards::{Operator, Reader},
    extract::{Body, QueryParameters},
    problem::Problem,
    redact,
};

/// Names in a difference, added and removed each: the default and the most.
const SAMPLE: usize = 100;
const SAMPLE_MAX: usize = 1_000;

/// The live lists.
#[derive(Serialize, ToSchema)]
pub struct Lists {
    /// The live generation.
    generation: u64,
    /// The generation to which it is a delta. Null if it is whole.
    parent: Option<u64>,
    /// The generation of the base.
    base_generation: u64,
    /// When it was built, RFC 3339.
    built_at: Timestamp,
    /// Distinct names.
    names: u64,
    /// Entries of all feeds. A name in three feeds counts three times.
    entries: u64,
    /// The size of the artefact, in octets.
    bytes: u64,
    /// SHA-256 of the artefact, hexadecimal.
    sha256: String,
    /// Entries of the overlay.
    overlay_entries: u64,
    /// Memory of the overlay, in octets.
    overlay_bytes: u64,
    /// Swaps since the start.
    swaps: u64,
    /// The duration of the last swap, until all new queries used it, in milliseconds.
    last_swap_ms: f64,
    /// Why the last build failed, or what it refused. Null if neither.
    last_error: Option<String>,
    /// The feeds in this generation.
    #[schema(value_type = Vec<Object>)]
    feeds: Vec<FeedSummary>,
}

/// The live generation, its feeds, and lines that could not be parsed.
#[utoipa::path(get, path = "/v1/lists", operation_id = "get_lists", tag = "lists", responses((status = 200, description = "the lists in use", body = Lists)))]
pub async fn lists(State(context): State<Arc<Context>>, _reader: Reader) -> Json<Lists> {
    let lists = context.control.lists.current();
    let (swaps, last_swap) = context.control.lists.swaps();
    let OverlayState {
        refused,
        entries: overlay_entries,
        bytes: overlay_bytes,
        base_generation,
        parent,
        last_error,
    } = context.control.lists_control.overlay();
    let header = lists.header();
    let shown = |feed: &FeedSummary| FeedSummary {
        source: redact::address(&feed.source),
        refused: refused
            .get(&feed.name)
            .cloned()
            .map(|refused| RejectedVersion {
                detail: redact::sentence(&refused.detail),
                ..refused
            }),
        ..feed.clone()
    };
    Json(Lists {
        generation: header.generation,
        parent,
        base_generation,
        built_at: header.built_at,
        names: header.names,
        entries: header.entries,
        bytes: lists.octets() as u64,
        sha256: lists.sha256().to_string(),
        overlay_entries,
        overlay_bytes,
        swaps,
        last_swap_ms: last_swap.as_secs_f64() * 1e3,
        last_error: last_error.as_deref().map(redact::sentence),
        feeds: header
            .feeds
            .iter()
            .filter(|feed| !feed.withdrawn)
            .map(shown)
            .collect(),
    })
}

/// The kept generations.
#[derive(Serialize, ToSchema)]
pub struct Generations {
    /// Newest first.
    generations: Vec<GenerationState>,
}

/// The kept generations, newest first. A rollback can restore each of them.
#[utoipa::path(get, path = "/v1/lists/generations", operation_id = "list_generations", tag = "lists",
    responses((status = 200, description = "what is kept", body = Generations)))]
pub async fn generations(
    State(context): State<Arc<Context>>,
    _reader: Reader,
) -> Result<Json<Generations>, Problem> {
    Ok(Json(Generations {
        generations: context.control.lists_control.generations().await?,
    }))
}

/// The generations to compare.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Between {
    /// The earlier generation.
    from: u64,
    /// The later generation. Default: the live one.
    to: Option<u64>,
    /// Names added and removed, each, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// The difference between two kept generations, by feed and category.
#[utoipa::path(get, path = "/v1/lists/diff", operation_id = "get_lists_diff", tag = "lists", params(Between),
    responses((status = 200, description = "what came and what went", body = Difference),
        (status = 404, description = "a generation is not kept"), (status = 422, description = "a value cannot be used")))]
pub async fn diff(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    QueryParameters(between): QueryParameters<Between>,
) -> Result<Json<Difference>, Problem> {
    let limit = between.limit.unwrap_or(SAMPLE);
    if !(1..=SAMPLE_MAX).contains(&limit) {
        return Err(Problem::value(
            "limit",
            "limit",
            format!("1 to {SAMPLE_MAX}"),
        ));
    }
    let to = between
        .to
        .unwrap_or_else(|| context.control.lists.load().generation());
    Ok(Json(
        context
            .control
            .lists_control
            .diff(between.from, to, limit)
            .await?,
    ))
}

/// The generation to restore.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackBody {
    /// A kept generation. Default: the latest one whose content differs from the live one.
    #[serde(default)]
    pub generation: Option<u64>,
}

/// Makes a kept generation live again, without a build. The feeds that it changes are held until
/// each is approved to go on.
#[utoipa::path(post, path = "/v1/lists/rollback", operation_id = "roll_back_lists", tag = "lists", request_body = RollbackBody,
    responses((status = 200, description = "live", body = RolledBack), (status = 404, description = "the generation is not kept"),
        (status = 409, description = "there is nothing to go back to"), (status = 422, description = "a value cannot be used")))]
pub async fn rollback(
    State(context): State<Arc<Context>>,
    Operator(by): Operator,
    Body(body): Body<RollbackBody>,
) -> Result<Json<RolledBack>, Problem> {
    let to = body.generation;
    let before = json!({ "generation": context.control.lists.load().generation() });
    let after = json!({ "generation": to });
    let act = Act {
        by,
        action: "rollback",
        subject: "lists".to_owned(),
    };
    let doing = move |context: Arc<Context>, by: String| async move {
        context.control.lists_control.roll_back(to, &by).await
    };
    Ok(Json(act.rolled_back(&context, before, after, doing).await?))
}
