//! Negative trust anchors (RFC 7646): names at and below which nothing is validated for a while. The
//! operator writes them; the operator and auditors read them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use control::negative_anchors::AnchorRefusal;
use jiff::Timestamp;
use policy::{name::Name, text::Text};
use policy_store::{NegativeAnchorTerms, StoredNegativeAnchor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Context,
    auth::guards::{Operator, Reader},
    extract::{Body, IfMatch, Precondition, Segments, check_name},
    panics,
    problem::Problem,
    versioned::{Versioned, made_or_changed},
    written::Written,
};

/// The longest reason, in octets.
const REASON_OCTETS_MAX: usize = 256;

/// A negative trust anchor.
#[derive(Serialize, ToSchema)]
#[schema(as = NegativeTrustAnchor)]
pub struct NegativeAnchorView {
    /// Nothing at and below this name is validated.
    #[schema(value_type = String)]
    name: Name,
    /// Whether it is one of the configuration. It has no end then, and only its name is not null.
    configured: bool,
    /// When it ends, RFC 3339.
    until: Option<Timestamp>,
    /// Why it is there.
    reason: Option<String>,
    /// Rises with every change. Also the `ETag`.
    version: Option<u64>,
    /// When it was first written, RFC 3339.
    created_at: Option<Timestamp>,
    /// Who wrote it first.
    created_by: Option<String>,
    /// When it was last changed, RFC 3339.
    updated_at: Option<Timestamp>,
    /// Who changed it last.
    updated_by: Option<String>,
}

impl NegativeAnchorView {
    fn configured(name: Name) -> Self {
        Self {
            name,
            configured: true,
            until: None,
            reason: None,
            version: None,
            created_at: None,
            created_by: None,
            updated_at: None,
            updated_by: None,
        }
    }

    fn stored(anchor: StoredNegativeAnchor) -> Self {
        Self {
            name: anchor.name,
            configured: false,
            until: Some(anchor.terms.until),
            reason: Some(anchor.terms.reason),
            version: Some(anchor.version),
            created_at: Some(anchor.created_at),
            created_by: Some(anchor.created_by),
            updated_at: Some(anchor.updated_at),
            updated_by: Some(anchor.updated_by),
        }
    }
}

/// All negative trust anchors in force, in the canonical order of names (RFC 4034 section 6.1).
#[derive(Serialize, ToSchema)]
#[schema(as = NegativeTrustAnchorList)]
pub struct AllNegativeAnchors {
    negative_trust_anchors: Vec<NegativeAnchorView>,
}

/// Until when a name is not validated, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NegativeTrustAnchorTerms)]
pub struct Terms {
    /// When it ends, RFC 3339: in the future, at most `recursion.nta_days_max` days from now.
    until: Timestamp,
    /// Why the name is not validated, 1 to 256 octets.
    #[schema(value_type = String)]
    reason: Text,
}

fn unknown_anchor(name: &Name) -> Problem {
    Problem::not_found(
        "unknown_negative_trust_anchor",
        format!("there is no negative trust anchor at {name}"),
    )
}

impl From<AnchorRefusal> for Problem {
    fn from(refusal: AnchorRefusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            AnchorRefusal::NothingValidated => Self::value("name", "not_validating", detail),
            AnchorRefusal::Root => Self::value("name", "too_wide", detail),
            AnchorRefusal::Configured => Self::conflict("configured", detail),
            AnchorRefusal::End(_) => Self::value("until", "limit", detail),
            AnchorRefusal::TooMany => Self::value("name", "limit", detail),
        }
    }
}

/// All negative trust anchors in force, those of the configuration included.
#[utoipa::path(get, path = "/v1/negative-trust-anchors", operation_id = "list_negative_trust_anchors", tag = "negative trust anchors",
    responses((status = 200, description = "all that are in force", body = AllNegativeAnchors)))]
pub async fn list(
    State(context): State<Arc<Context>>,
    _reader: Reader,
) -> Result<Json<AllNegativeAnchors>, Problem> {
    let registry = &context.control.negative_anchors;
    let readable = |read: Result<StoredNegativeAnchor, _>| {
        read.inspect_err(|error| {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "a stored negative trust anchor cannot be read"
            )
        })
        .ok()
    };
    let stored = context.control.store.negative_anchors().await?;
    let in_force = stored
        .into_iter()
        .filter_map(readable)
        .filter(|anchor| registry.is_in_force(&anchor.name))
        .map(|anchor| (anchor.name.clone(), NegativeAnchorView::stored(anchor)));
    let configured = registry
        .configured()
        .map(|name| (name.clone(), NegativeAnchorView::configured(name.clone())));
    let by_name: BTreeMap<Name, NegativeAnchorView> = in_force.chain(configured).collect();
    Ok(Json(AllNegativeAnchors {
        negative_trust_anchors: by_name.into_values().collect(),
    }))
}

/// One negative trust anchor.
#[utoipa::path(get, path = "/v1/negative-trust-anchors/{name}", operation_id = "get_negative_trust_anchor", tag = "negative trust anchors",
    params(("name" = String, Path)),
    responses((status = 200, description = "the anchor", body = NegativeAnchorView), (status = 404, description = "there is none in force")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    Segments(name): Segments<String>,
) -> Result<Response, Problem> {
    let name = read_name(&name)?;
    if context.control.negative_anchors.is_configured(&name) {
        return Ok(Json(NegativeAnchorView::configured(name)).into_response());
    }
    let anchor = in_force(&context, &name).await?;
    Ok(Versioned::read(anchor.version, NegativeAnchorView::stored(anchor)).into_response())
}

/// Stops validation at and below a name until a time. It holds for all answers from then on, cached
/// ones included.
#[utoipa::path(put, path = "/v1/negative-trust-anchors/{name}", operation_id = "put_negative_trust_anchor", tag = "negative trust anchors",
    params(("name" = String, Path)), request_body = Terms,
    responses((status = 201, description = "in force", body = NegativeAnchorView), (status = 200, description = "changed", body = NegativeAnchorView),
        (status = 409, description = "it is one of the configuration"), (status = 412, description = "another version"),
        (status = 422, description = "a value cannot be used")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    Operator(by): Operator,
    Segments(name): Segments<String>,
    precondition: Precondition,
    Body(Terms { until, reason }): Body<Terms>,
) -> Result<Versioned<NegativeAnchorView>, Problem> {
    let name = read_name(&name)?;
    check_name("reason", Some(&reason), REASON_OCTETS_MAX)?;
    let terms = NegativeAnchorTerms {
        until,
        reason: reason.into_string(),
    };
    let changed = in_turn(&context, move |context| async move {
        let registry = &context.control.negative_anchors;
        let now = Timestamp::now();
        registry.check(&name, until, now)?;
        if precondition.is_there && precondition.version.is_none() && !registry.is_in_force(&name) {
            return Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "version_mismatch",
                "there is none",
            ));
        }
        let store = &context.control.store;
        let changed = store
            .change_negative_anchor(&by, &name, precondition.version, Some(&terms), now)
            .await?;
        let live = registry.put(name, until).await;
        live.map_err(panics::of_failed_task)?;
        Ok(changed)
    });
    let changed = changed.await?;
    let stored = changed.stored.expect("it was just written");
    Ok(Versioned {
        status: made_or_changed(changed.is_new),
        version: changed.version,
        body: NegativeAnchorView::stored(stored),
    })
}

/// Ends a negative trust anchor before its time. Its names are validated from then on.
#[utoipa::path(delete, path = "/v1/negative-trust-anchors/{name}", operation_id = "delete_negative_trust_anchor", tag = "negative trust anchors",
    params(("name" = String, Path)),
    responses((status = 200, description = "gone", body = Written), (status = 404, description = "there was none"),
        (status = 409, description = "it is one of the configuration"), (status = 412, description = "another version")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Operator(by): Operator,
    Segments(name): Segments<String>,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<Written>, Problem> {
    let name = read_name(&name)?;
    if context.control.negative_anchors.is_configured(&name) {
        return Err(AnchorRefusal::Configured.into());
    }
    let version = in_turn(&context, move |context| async move {
        in_force(&context, &name).await?;
        let control = &context.control;
        let changed = control
            .store
            .change_negative_anchor(&by, &name, expected, None, Timestamp::now())
            .await?;
        let live = control.negative_anchors.remove(name).await;
        live.map_err(panics::of_failed_task)?;
        Ok(changed.version)
    });
    let version = version.await?;
    Ok(Versioned::read(version, Written { version }))
}

fn read_name(text: &str) -> Result<Name, Problem> {
    Name::parse(text).map_err(|error| Problem::value("name", "name", error.to_string()))
}

/// The stored anchor at a name, if it is in force.
async fn in_force(context: &Context, name: &Name) -> Result<StoredNegativeAnchor, Problem> {
    let stored = context.control.store.negative_anchor(name).await?;
    stored
        .filter(|anchor| context.control.negative_anchors.is_in_force(&anchor.name))
        .ok_or_else(|| unknown_anchor(name))
}

/// Runs a change in its turn and to its end, whether the client waits or not. What is stored last is
/// in force last.
async fn in_turn<T: Send + 'static, F: Future<Output = Result<T, Problem>> + Send>(
    context: &Arc<Context>,
    work: impl FnOnce(Arc<Context>) -> F + Send + 'static,
) -> Result<T, Problem> {
    let context = Arc::clone(context);
    let done = tokio::spawn(async move {
        let _turn = context.control.negative_anchors.writes.lock().await;
        work(Arc::clone(&context)).await
    });
    panics::of_task(done.await)?
}
