//! The audit: who did what and when, and whether it is as it was written.

use std::sync::Arc;

use axum::{Json, extract::State};
use policy_store::{AuditRecord, ChainReport, SortOrder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Context, auth::guards::Reader, extract::QueryParameters, problem::Problem};

/// Rows on a page: the default and the most.
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1_000;

/// Which rows to show.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// Only rows of this subject: `household:home`, `feed:gambling`, `mandate:court-7`,
    /// `negative_trust_anchor:example`, `session:21403eb5fbc1`, `lists`.
    subject: Option<String>,
    /// `oldest` first (the default), or `newest`.
    #[serde(default)]
    #[param(inline)]
    order: SortOrder,
    /// The cursor of the page: `next` of the page before.
    cursor: Option<String>,
    /// Rows on a page, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// A page of the audit.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditPage)]
pub struct AuditRecords {
    /// In the order that was asked for.
    records: Vec<AuditRecord>,
    /// The cursor of the next page. Null on the last one.
    next: Option<String>,
}

/// Rows of the audit: who did what and when, with the state before and after.
#[utoipa::path(get, path = "/v1/audit", operation_id = "list_audit_records", tag = "audit", params(Pages),
    responses((status = 200, description = "a page", body = AuditRecords), (status = 422, description = "a value cannot be used")))]
pub async fn list(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    QueryParameters(pages): QueryParameters<Pages>,
) -> Result<Json<AuditRecords>, Problem> {
    let limit = pages.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::value("limit", "limit", format!("1 to {PAGE_MAX}")));
    }
    let after = pages.cursor.as_deref().map(str::parse).transpose();
    let after = after
        .map_err(|_| Problem::value("cursor", "cursor", "a cursor is `next` of the page before"))?;
    let page = context
        .control
        .store
        .audit(pages.subject.as_deref(), pages.order, after, limit)
        .await?;
    Ok(Json(AuditRecords {
        records: page.records,
        next: page.next.map(|next| next.to_string()),
    }))
}

/// The outcome of the verification.
#[derive(Serialize, ToSchema)]
pub struct Verified {
    /// Whether all rows fit.
    is_whole: bool,
    /// The number of the last row that fits: all from the first on do, or from the archived ones
    /// on.
    rows: u64,
    /// The last row that was exported and removed; 0 for none.
    archived: u64,
    /// Hash of the last row that fits, hexadecimal. Kept elsewhere, it proves later that no row
    /// before it is missing.
    head: String,
    /// The last row covered by a signed head. Null if no head is known.
    signed: Option<u64>,
    /// The newest signed head. Kept elsewhere, it proves later that no row up to it was changed or
    /// removed.
    signed_head: Option<String>,
    /// The first row that does not fit. Null if all do.
    fault: Option<Misfit>,
}

/// The first row that does not fit.
#[derive(Serialize, ToSchema)]
pub struct Misfit {
    /// The number of the row.
    sequence: u64,
    /// Why it does not fit.
    detail: String,
}

/// Verifies the audit. Names the first row that does not fit the chain, its signed heads, or the
/// protection of the database.
#[utoipa::path(get, path = "/v1/audit/verify", operation_id = "verify_audit", tag = "audit", responses((status = 200, description = "what was found", body = Verified)))]
pub async fn verify(
    State(context): State<Arc<Context>>,
    _reader: Reader,
) -> Result<Json<Verified>, Problem> {
    let _seat = context.past_reads.audit.take(None).await?;
    let signed_head = context
        .control
        .store
        .signed_head()?
        .map(|head| head.to_string());
    let ChainReport {
        rows,
        archived,
        head,
        signed,
        fault,
    } = context.control.store.verify_audit().await?;
    let fault = fault.map(|fault| Misfit {
        sequence: fault.sequence,
        detail: fault.detail,
    });
    Ok(Json(Verified {
        is_whole: fault.is_none(),
        rows,
        archived,
        head,
        signed,
        signed_head,
        fault,
    }))
}
