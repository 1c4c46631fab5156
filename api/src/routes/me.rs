//! Who asks: what a key, a token or a session may see.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, header},
};
use control::demonstration::is_demonstration;
use jiff::Timestamp;
use policy::rules::household::Id;
use policy_store::Role;
use serde::Serialize;

use crate::{
    Context,
    auth::{guards::Anyone, principal::Principal},
    problem::Problem,
};

/// The principal of a request.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Me {
    pub role: Role,
    /// The only household that it may see. Null for roles of the operator.
    #[schema(value_type = Option<String>)]
    pub household: Option<Id>,
    /// The device of a child.
    #[schema(value_type = Option<String>)]
    pub device: Option<Id>,
    /// The person whose device that is.
    #[schema(value_type = Option<String>)]
    pub person: Option<Id>,
    /// The label of the key.
    pub label: Option<String>,
    /// When the token or the session ends, RFC 3339. Null for a key.
    pub expires_at: Option<Timestamp>,
    /// Whether the household is a demonstration, whose activity is made up.
    pub demonstration: bool,
    /// What each write of a session carries as `X-CSRF-Token`. Absent without a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub csrf: Option<String>,
}

/// Reads what the store knows of a principal.
pub async fn of(context: &Context, principal: &Principal) -> Result<Me, Problem> {
    let store = &context.control.store;
    let household = match &principal.household {
        Some(household) => store.household(household).await?,
        None => None,
    };
    let device = household.as_ref().and_then(|household| {
        let device = principal.device.as_ref()?;
        household.devices.get(device)
    });
    Ok(Me {
        role: principal.role,
        household: principal.household.clone(),
        device: principal.device.clone(),
        person: device.and_then(|device| device.person.clone()),
        demonstration: household.as_ref().is_some_and(is_demonstration),
        label: store.label_of(&principal.author.actor).await?,
        expires_at: principal.expires_at,
        csrf: principal.session.as_ref().map(|shown| shown.csrf.clone()),
    })
}

/// What the key, token or session of this request is.
#[utoipa::path(get, path = "/v1/me", operation_id = "get_me", tag = "session",
    responses((status = 200, description = "who asks", body = Me)))]
pub async fn get(
    State(context): State<Arc<Context>>,
    Anyone(principal): Anyone,
) -> Result<([(HeaderName, HeaderValue); 1], Json<Me>), Problem> {
    let me = of(&context, &principal).await?;
    let no_store = HeaderValue::from_static("no-store");
    Ok(([(header::CACHE_CONTROL, no_store)], Json(me)))
}
