//! Links that open the app once, for another parent or a child's device.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{FromRequestParts, State},
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
};
use jiff::{SignedDuration, Timestamp};
use policy::{rules::household::Id, text::Text};
use policy_store::{KeyError, LINK_AGE_MAX, LINKS_MAX, Link, NewKey, OpenLink, Role};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Context,
    auth::{guards::Holder, roles::Admits, session},
    extract::{Body, Segments, segment},
    names::named,
    problem::Problem,
    routes::keys::SecretOf,
    versioned::unknown_household,
};

/// How long a link lasts unless its maker says so, in minutes: a day.
const MINUTES: u32 = 24 * 60;

/// A link to be made.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkBody {
    /// `parent`, `second-parent` or `child`.
    role: Role,
    /// The device of a child's link.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    device: Option<Id>,
    /// The label of the key that the link makes, at most 128 octets.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 128)]
    label: Option<Text>,
    /// For how long the link can be used, 1 to 10080 (7 days). Default: 1440 (a day).
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10080)]
    minutes: Option<u32>,
}

/// A link that was made.
#[derive(Serialize, utoipa::ToSchema)]
pub struct MadeLink {
    #[serde(flatten)]
    made: Link,
    /// The address that opens the app once. Its secret is in the fragment, which browsers do not
    /// send, so that it is in no log.
    link: String,
    /// The secret alone, for `POST /v1/session`. It is answered once.
    secret: String,
}

/// The origin of the app, as the browsers of this request's sender reach it.
pub struct AppOrigin(String);

impl Admits for AppOrigin {}

impl FromRequestParts<Arc<Context>> for AppOrigin {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &Arc<Context>,
    ) -> Result<Self, Problem> {
        let configured = context.app.as_ref().and_then(|app| app.origin.clone());
        Ok(Self(
            configured.unwrap_or_else(|| session::own_origin(parts)),
        ))
    }
}

/// A link with its secret, which nothing on the way may store.
type LinkAnswer = (
    StatusCode,
    Extension<SecretOf>,
    [(HeaderName, HeaderValue); 1],
    Json<MadeLink>,
);

/// The links that can still be used.
#[derive(Serialize, utoipa::ToSchema)]
pub struct OpenLinks {
    /// The first to expire first.
    links: Vec<OpenLink>,
}

/// The links of a household that can still be used, without their secrets.
#[utoipa::path(get, path = "/v1/households/{id}/links", operation_id = "list_household_links", tag = "session", params(("id" = String, Path)),
    responses((status = 200, description = "the links", body = OpenLinks), (status = 404, description = "no such household")))]
pub async fn list(
    State(context): State<Arc<Context>>,
    _holder: Holder,
    Segments(id): Segments<String>,
) -> Result<Json<Value>, Problem> {
    let id: Id = segment("id", &id)?;
    if context.control.directory.household(&id).is_none() {
        return Err(unknown_household(&id));
    }
    let store = &context.control.store;
    let links = store.open_links(&id, Timestamp::now()).await?;
    let answer = named(&context, &id, &OpenLinks { links }).await?;
    Ok(Json(answer))
}

/// Makes a link that opens the app once, with a key of its own. It ends with the key that made it.
/// The account holder is notified when a parent's link is used.
#[utoipa::path(post, path = "/v1/households/{id}/links", operation_id = "post_household_link", tag = "session", params(("id" = String, Path)), request_body = LinkBody,
    responses((status = 201, description = "made", body = MadeLink), (status = 404, description = "no such household")))]
pub async fn post(
    State(context): State<Arc<Context>>,
    Holder(author): Holder,
    Segments(id): Segments<String>,
    AppOrigin(origin): AppOrigin,
    Body(body): Body<LinkBody>,
) -> Result<LinkAnswer, Problem> {
    let id: Id = segment("id", &id)?;
    let rules = context.control.directory.household(&id);
    let rules = rules.ok_or_else(|| unknown_household(&id))?;
    if !body.role.is_of_household() {
        let detail = "a link is one of a parent, second-parent or child";
        return Err(Problem::value("role", "role", detail));
    }
    let minutes = body.minutes.unwrap_or(MINUTES);
    let age = SignedDuration::from_mins(minutes.into());
    if minutes == 0 || age > LINK_AGE_MAX {
        return Err(Problem::value(
            "minutes",
            "limit",
            "1 to 10080, which are 7 days",
        ));
    }
    if let Some(device) = &body.device
        && rules.device_by_id(device).is_none()
    {
        return Err(KeyError::NoDevice(device.clone()).into());
    }
    let label = body.label.unwrap_or_default().into_string();
    let new = NewKey::new(body.role, Some(id), body.device, label)?;
    let made = context
        .control
        .store
        .make_link(&author, new, age, Timestamp::now());
    let (secret, made) = made.await.map_err(|error| match error {
        KeyError::TooMany => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "limit",
            format!("a household has at most {LINKS_MAX} links that were not used"),
        ),
        error => error.into(),
    })?;
    let no_store = HeaderValue::from_static("no-store");
    Ok((
        StatusCode::CREATED,
        Extension(SecretOf(made.id.clone())),
        [(header::CACHE_CONTROL, no_store)],
        Json(MadeLink {
            link: format!("{origin}/app/#/link/{secret}"),
            made,
            secret,
        }),
    ))
}

/// A link that was removed.
#[derive(Serialize, utoipa::ToSchema)]
pub struct LinkRemoved {
    /// The link's identifier.
    id: String,
}

/// Removes a link before it is used.
#[utoipa::path(delete, path = "/v1/households/{id}/links/{link}", operation_id = "delete_household_link", tag = "session", params(("id" = String, Path), ("link" = String, Path)),
    responses((status = 200, description = "gone", body = LinkRemoved), (status = 404, description = "no such household, or it has no such link that can be used")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Holder(author): Holder,
    Segments((id, link)): Segments<(String, String)>,
) -> Result<Json<LinkRemoved>, Problem> {
    let id: Id = segment("id", &id)?;
    if context.control.directory.household(&id).is_none() {
        return Err(unknown_household(&id));
    }
    let store = &context.control.store;
    match store
        .remove_link(&author, &id, &link, Timestamp::now())
        .await?
    {
        true => Ok(Json(LinkRemoved { id: link })),
        false => Err(Problem::not_found(
            "unknown_link",
            "the household has no such link",
        )),
    }
}
