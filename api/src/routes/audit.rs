//! The audit, read: who did what, when, and whether anybody wrote it otherwise since.

use std::sync::Arc;

use axum::{Json, extract::State};
use policy_store::{ChainReport, Order, Record};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{Context, auth::guards::Reader, extract::Asked, problem::Problem};

/// Rows on a page where the request does not say, and at most.
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1_000;

/// Which rows.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// Only those about this: `household:home`, `feed:gambling`, `mandate:court-7`, `lists`.
    subject: Option<String>,
    /// `oldest` first, which is also what is meant where nothing is said, or `newest`.
    #[serde(default)]
    #[param(value_type = Option<String>, pattern = "^(oldest|newest)$")]
    order: Order,
    /// From where the reading goes on: `next` of the page before.
    cursor: Option<String>,
    /// Rows on a page, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// A page of the audit.
#[derive(Serialize, ToSchema)]
pub struct AuditPage {
    /// The rows.
    #[schema(value_type = Vec<AuditRecord>)]
    records: Vec<Record>,
    /// The cursor of the next page; none where there is none.
    next: Option<String>,
}

/// A row of the audit.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the shape of the store's record, for the document"
)]
struct AuditRecord {
    /// 1 for the first, then one more each time.
    sequence: u64,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    at: String,
    /// Who: `key:ID`, or `jwt:SUBJECT` for the bearer of a token.
    actor: String,
    /// In which role.
    role: String,
    /// What: `create`, `change`, `delete`, `revoke`, `refresh`, `approve`, `rollback`; with
    /// `_failed` where it was not done, with `_done` where the outcome is told in a row of its own.
    action: String,
    /// To what: `household:ID`, `key:ID`, `feed:NAME`, `mandate:ID` or `lists`.
    subject: String,
    /// What was so before; of a changed household what differs.
    before: Option<Value>,
    /// What is so after.
    after: Option<Value>,
    /// Hash of the row before, hexadecimal; zeros before the first.
    previous: String,
    /// SHA-256 over all of the row and the hash before, hexadecimal.
    hash: String,
}

/// Who did what, when, with what was so before and after.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(Pages),
    responses((status = 200, description = "a page", body = AuditPage), (status = 422, description = "a value cannot be used")))]
pub async fn list(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    Asked(pages): Asked<Pages>,
) -> Result<Json<AuditPage>, Problem> {
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
    Ok(Json(AuditPage {
        records: page.records,
        next: page.next.map(|next| next.to_string()),
    }))
}

/// What the verification of the chain found.
#[derive(Serialize, ToSchema)]
pub struct Verified {
    /// Whether every row fits.
    is_whole: bool,
    /// Rows that fit, counted from the first.
    rows: u64,
    /// Hash of the last row that fits, hexadecimal. Kept elsewhere, it proves later that nothing
    /// before it is missing.
    head: String,
    /// The last row that a signed head covers; none where no head is known.
    signed: Option<u64>,
    /// The newest signed head, as one word. Kept elsewhere, it proves later that no row up to it
    /// was changed or taken away.
    signed_head: Option<String>,
    /// The first row that does not fit; none where all do.
    fault: Option<Misfit>,
}

/// The first row that does not fit.
#[derive(Serialize, ToSchema)]
pub struct Misfit {
    /// Its sequence.
    sequence: u64,
    /// What is wrong with it.
    detail: String,
}

/// Whether the audit is as it was written: names the first row that does not fit the chain, its
/// signed heads, or the database's own protection.
#[utoipa::path(get, path = "/v1/audit/verify", tag = "audit", responses((status = 200, description = "what was found", body = Verified)))]
pub async fn verify(
    State(context): State<Arc<Context>>,
    _reader: Reader,
) -> Result<Json<Verified>, Problem> {
    let signed_head = context
        .control
        .store
        .signed_head()?
        .map(|head| head.to_string());
    let ChainReport {
        rows,
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
        head,
        signed,
        signed_head,
        fault,
    }))
}
