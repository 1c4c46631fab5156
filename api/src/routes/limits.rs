//! Who is limited on this node.

use std::sync::Arc;

use axum::{Json, extract::State};
use control::limits::LimitEntry;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{Context, auth::guards::Operator};

/// The clients and zones that are limited.
#[derive(Serialize, ToSchema)]
pub(crate) struct LimitEntries {
    /// Longest first.
    limits: Vec<LimitEntry>,
}

/// Clients and zones whose queries were refused, or ended for others, in the last minute.
#[utoipa::path(get, path = "/v1/limits", operation_id = "list_limits", tag = "node", responses((status = 200, description = "who is limited, since when and why; empty if none is", body = LimitEntries)))]
pub(crate) async fn list(
    State(context): State<Arc<Context>>,
    _operator: Operator,
) -> Json<LimitEntries> {
    Json(LimitEntries {
        limits: (context.limited)(),
    })
}
