//! Web push: a browser asks for notices, and for the key by which push services know this node.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use control::notifications::push::Pusher;
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use policy_store::PushSubscription;
use serde::{Deserialize, Serialize};

use crate::{Context, extract::Body, problem::Problem, routes::session::OwnSession};

/// The longest tag of a language, in octets.
const LOCALE_OCTETS_MAX: usize = 35;

/// The subscription that a browser has made at its push service.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PushBody {
    /// The address to which notices go: of a push service that is known here.
    endpoint: String,
    keys: PushKeys,
    /// The language of the notices, BCP 47; English unless it is Welsh.
    #[serde(default)]
    locale: Option<String>,
}

/// The keys of a subscription (RFC 8291), in base64url.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PushKeys {
    /// The browser's public key, an uncompressed point of P-256.
    p256dh: String,
    /// The browser's secret, 16 octets.
    auth: String,
}

/// The public key of this node.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PushKey {
    /// An uncompressed point of P-256 in base64url: `applicationServerKey`.
    key: String,
}

/// Whether the session's browser gets notices.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PushState {
    subscribed: bool,
}

fn pusher(context: &Context) -> Result<&Pusher, Problem> {
    let none = || Problem::not_found("unknown_route", "this node sends no web push");
    context.pusher.as_deref().ok_or_else(none)
}

/// The key by which push services know this node.
#[utoipa::path(get, path = "/v1/push/key", operation_id = "get_push_key", tag = "session", security(()),
    responses((status = 200, description = "the key", body = PushKey), (status = 401, description = "no session: `session_missing`")))]
pub async fn key(
    State(context): State<Arc<Context>>,
    _own: OwnSession,
) -> Result<Json<PushKey>, Problem> {
    let key = pusher(&context)?.public_key();
    Ok(Json(PushKey { key }))
}

/// Whether notices go to the browser of this session. A browser may still have the subscription of a
/// session before, which has ended.
#[utoipa::path(get, path = "/v1/push", operation_id = "get_push", tag = "session", security(()),
    responses((status = 200, description = "whether it is subscribed", body = PushState), (status = 401, description = "no session: `session_missing`")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    own: OwnSession,
) -> Result<Json<PushState>, Problem> {
    let (_, session) = own.of_household()?;
    let store = &context.control.store;
    let subscribed = store.has_push_subscription(session).await?;
    Ok(Json(PushState { subscribed }))
}

/// Sends notices to the browser of this session: requests and silent devices to a parent, answers to
/// a child; at most one of a kind in an hour. They end with the session.
#[utoipa::path(put, path = "/v1/push", operation_id = "put_push", tag = "session", request_body = PushBody, security(()),
    responses((status = 200, description = "subscribed", body = PushState), (status = 401, description = "no session: `session_missing`"),
        (status = 422, description = "a value cannot be used: `push`")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    own: OwnSession,
    Body(body): Body<PushBody>,
) -> Result<Json<PushState>, Problem> {
    let pusher = pusher(&context)?;
    let locale = body.locale.unwrap_or_default();
    if locale.len() > LOCALE_OCTETS_MAX {
        let detail = format!("at most {LOCALE_OCTETS_MAX} octets");
        return Err(Problem::value("locale", "limit", detail));
    }
    let octets = |field: &str, text: &str| {
        let text = text.trim_end_matches('=').as_bytes();
        let decoded = BASE64URL_NOPAD.decode(text);
        decoded.map_err(|_| Problem::value(field, "push", "octets in base64url"))
    };
    let (household, session) = own.of_household()?;
    let subscription = PushSubscription {
        device: own.principal.device.clone(),
        actor: own.principal.author.actor.clone(),
        public: octets("keys.p256dh", &body.keys.p256dh)?,
        secret: octets("keys.auth", &body.keys.auth)?,
        endpoint: body.endpoint,
        locale,
    };
    pusher
        .check(&subscription)
        .map_err(|(field, detail)| Problem::value(field, "push", detail))?;
    let store = &context.control.store;
    store
        .add_push_subscription(household, session, &subscription, Timestamp::now())
        .await?;
    Ok(Json(PushState { subscribed: true }))
}

/// Ends the notices to the browser of this session.
#[utoipa::path(delete, path = "/v1/push", operation_id = "delete_push", tag = "session", security(()),
    responses((status = 200, description = "no longer subscribed", body = PushState), (status = 401, description = "no session: `session_missing`")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    own: OwnSession,
) -> Result<(StatusCode, Json<PushState>), Problem> {
    let (_, session) = own.of_household()?;
    let store = &context.control.store;
    store.remove_push_subscriptions(session).await?;
    Ok((StatusCode::OK, Json(PushState { subscribed: false })))
}
