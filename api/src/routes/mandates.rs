//! Mandates: names and addresses that must be blocked, and from when until when. The operator
//! writes them; the operator and auditors read them.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use jiff::Timestamp;
use policy::{
    lists::{
        entry::Scope,
        mandates::{Landing, Mandate, MandateDocument, MandatePhase, MandateTarget},
        public_suffix::is_at_or_above_suffix,
    },
    name::NameRef,
    rules::household::Id,
    text::Text,
};
use policy_store::{MandateChanged, StoredMandate};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Context,
    auth::guards::{Operator, Reader},
    extract::{Body, IfMatch, Precondition, QueryParameters, Segments, segment},
    panics,
    problem::Problem,
    versioned::{Versioned, made_or_changed},
    written::Written,
};

/// Mandates on a page: the default and the most.
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1_000;

/// A mandate and its state.
#[derive(Serialize, ToSchema)]
#[schema(as = Mandate)]
pub struct MandateView {
    /// Its identifier, chosen by the operator.
    #[schema(value_type = String)]
    id: Id,
    /// Rises with every change. Also the `ETag`.
    version: u64,
    /// Whether it is in force.
    state: MandatePhase,
    /// The name. Null for a mandate of addresses.
    name: Option<String>,
    /// An address in answers, or a network in CIDR notation. Null for a mandate of a name.
    address: Option<String>,
    /// The scope of the name.
    scope: Option<Scope>,
    #[schema(schema_with = policy::schema::bases)]
    basis: String,
    /// The reference of the order.
    reference: Option<String>,
    /// When it begins, RFC 3339. Null: it is in force at once.
    not_before: Option<Timestamp>,
    /// When it ends, RFC 3339. Null: never.
    not_after: Option<Timestamp>,
    /// The answers to A and AAAA. Null: as the operator configured.
    landing: Option<Landing>,
    /// Whether only the operator and auditors may see it.
    confidential: bool,
    /// Whether it may cover more than an order usually does.
    force: bool,
    /// When it was first written, RFC 3339.
    created_at: Timestamp,
    /// Who wrote it first.
    created_by: String,
    /// When it was last changed, RFC 3339.
    updated_at: Timestamp,
    /// Who changed it last.
    updated_by: String,
}

impl MandateView {
    fn new(stored: StoredMandate) -> Self {
        let StoredMandate {
            mandate,
            version,
            created_at,
            created_by,
            updated_at,
            updated_by,
        } = stored;
        let state = mandate.phase(Timestamp::now());
        let MandateDocument {
            name,
            address,
            scope,
            basis,
            reference,
            not_before,
            not_after,
            landing,
            confidential,
            force,
        } = mandate.document();
        Self {
            id: mandate.id,
            version,
            state,
            name,
            address,
            scope,
            basis,
            reference,
            not_before,
            not_after,
            landing,
            confidential,
            force,
            created_at,
            created_by,
            updated_at,
            updated_by,
        }
    }

    fn answer(self, status: StatusCode) -> Versioned<Self> {
        Versioned {
            status,
            version: self.version,
            body: self,
        }
    }
}

/// A page of mandates, by identifier.
#[derive(Serialize, ToSchema)]
#[schema(as = MandatePage)]
pub struct Mandates {
    mandates: Vec<MandateView>,
    /// The cursor of the next page. Null on the last one.
    next: Option<String>,
}

/// Which mandates to show.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// The cursor of the page: `next` of the page before.
    cursor: Option<String>,
    /// Mandates on a page, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

fn unknown_mandate(id: &Id) -> Problem {
    Problem::not_found("unknown_mandate", format!("there is no mandate {id}"))
}

/// All mandates, including future and past ones.
#[utoipa::path(get, path = "/v1/mandates", operation_id = "list_mandates", tag = "mandates", params(Pages),
    responses((status = 200, description = "a page", body = Mandates), (status = 422, description = "a value cannot be used")))]
pub async fn list(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    QueryParameters(pages): QueryParameters<Pages>,
) -> Result<Json<Mandates>, Problem> {
    let limit = pages.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::value("limit", "limit", format!("1 to {PAGE_MAX}")));
    }
    let page = context
        .control
        .store
        .mandates(pages.cursor.as_deref(), limit)
        .await?;
    let readable = |read: Result<StoredMandate, _>| {
        read.inspect_err(|error| {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "a stored mandate cannot be read"
            )
        })
        .ok()
    };
    let mandates = page
        .mandates
        .into_iter()
        .filter_map(readable)
        .map(MandateView::new)
        .collect();
    Ok(Json(Mandates {
        mandates,
        next: page.next,
    }))
}

/// One mandate.
#[utoipa::path(get, path = "/v1/mandates/{id}", operation_id = "get_mandate", tag = "mandates", params(("id" = String, Path)),
    responses((status = 200, description = "the mandate", body = MandateView), (status = 404, description = "there is none")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    Segments(id): Segments<String>,
) -> Result<Versioned<MandateView>, Problem> {
    let id: Id = segment("id", &id)?;
    let stored = context
        .control
        .store
        .mandate(&id)
        .await?
        .ok_or_else(|| unknown_mandate(&id))?;
    Ok(MandateView::new(stored).answer(StatusCode::OK))
}

/// Writes a whole mandate. It is in force from the next query on, or begins by itself at its time.
#[utoipa::path(put, path = "/v1/mandates/{id}", operation_id = "put_mandate", tag = "mandates", params(("id" = String, Path)), request_body = MandateDocument,
    responses((status = 201, description = "written", body = MandateView), (status = 200, description = "changed", body = MandateView),
        (status = 412, description = "another version"), (status = 422, description = "a value cannot be used, or covers too much")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    Operator(by): Operator,
    Segments(id): Segments<String>,
    precondition: Precondition,
    Body(document): Body<MandateDocument>,
) -> Result<Versioned<MandateView>, Problem> {
    let id: Id = segment("id", &id)?;
    // Stored mandates are not checked again: a mandate is in force whatever its reference.
    let reference = document
        .reference
        .as_deref()
        .unwrap_or_default()
        .parse::<Text>();
    reference.map_err(|error| Problem::value("reference", "text", error.to_string()))?;
    let mandate = Mandate::read(id.clone(), document)
        .map_err(|error| Problem::value(error.field, "mandate", error.message))?;
    if !mandate.force {
        refuse_too_much(&context, &mandate.target)?;
    }
    let written = in_turn(&context, move |context| async move {
        if precondition.is_there
            && precondition.version.is_none()
            && context.control.store.mandate(&id).await?.is_none()
        {
            return Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "version_mismatch",
                "there is none",
            ));
        }
        let changed = context
            .control
            .store
            .change_mandate(&by, &id, precondition.version, Some(&mandate))
            .await?;
        context.control.mandates.put(mandate, Timestamp::now());
        Ok(changed)
    });
    let MandateChanged { stored, is_new, .. } = written.await?;
    Ok(MandateView::new(stored.expect("it was just written")).answer(made_or_changed(is_new)))
}

/// Removes a mandate. Its block ends with the next query.
#[utoipa::path(delete, path = "/v1/mandates/{id}", operation_id = "delete_mandate", tag = "mandates", params(("id" = String, Path)),
    responses((status = 200, description = "gone", body = Written), (status = 404, description = "there was none"),
        (status = 412, description = "another version")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Operator(by): Operator,
    Segments(id): Segments<String>,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<Written>, Problem> {
    let id: Id = segment("id", &id)?;
    let gone = in_turn(&context, move |context| async move {
        context
            .control
            .store
            .mandate(&id)
            .await?
            .ok_or_else(|| unknown_mandate(&id))?;
        let changed = context
            .control
            .store
            .change_mandate(&by, &id, expected, None)
            .await?;
        context.control.mandates.remove(&id, Timestamp::now());
        Ok(changed.version)
    });
    let version = gone.await?;
    Ok(Versioned::read(version, Written { version }))
}

/// Runs a change of mandates in its turn and to its end, whether the client waits or not. What is
/// stored last is live last.
pub async fn in_turn<T: Send + 'static, F: Future<Output = Result<T, Problem>> + Send>(
    context: &Arc<Context>,
    work: impl FnOnce(Arc<Context>) -> F + Send + 'static,
) -> Result<T, Problem> {
    let context = Arc::clone(context);
    let done = tokio::spawn(async move {
        let _turn = context.control.mandate_writes.lock().await;
        work(Arc::clone(&context)).await
    });
    panics::of_task(done.await)?
}

/// Refuses targets that no order means: a part of the Internet, or this service itself.
fn refuse_too_much(context: &Context, target: &MandateTarget) -> Result<(), Problem> {
    let refuse = |field: &str, code, why: String| {
        Err(Problem::value(
            field,
            code,
            format!("{why}; \"force\": true takes it"),
        ))
    };
    match target {
        MandateTarget::Name(name, _) if is_at_or_above_suffix(name.borrow()) => refuse(
            "name",
            "public_suffix",
            format!("{name} is a public suffix, or above one: all below it belongs to strangers"),
        ),
        MandateTarget::Name(name, _) => {
            let is_own = |own: &&policy::name::Name| {
                target.covers(own.borrow()) || name.borrow().is_within(own.borrow())
            };
            match context.control.own_names.iter().find(is_own) {
                Some(own) => refuse(
                    "name",
                    "own_name",
                    format!("{own} is a name that is never blocked here"),
                ),
                None => Ok(()),
            }
        }
        MandateTarget::Addresses(network) if target.is_too_wide() => refuse(
            "address",
            "too_wide",
            format!("{network} is a part of the Internet"),
        ),
        MandateTarget::Addresses(_) => Ok(()),
    }
}

/// Refuses to allow a name that a mandate blocks. The answer does not say by which one, nor whether
/// it is confidential.
pub fn refuse_ordered(context: &Context, name: NameRef<'_>) -> Result<(), Problem> {
    match context.control.lists.load().classify(name).mandatory {
        true => Err(ordered()),
        false => Ok(()),
    }
}

/// 409 for a name that a mandate blocks.
pub fn ordered() -> Problem {
    Problem::conflict(
        "mandatory",
        "this name is blocked by order; nobody can allow it",
    )
}
