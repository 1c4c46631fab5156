//! Keys of a household: of its parents, and of its children's devices.
//!
//! Keys of operators and auditors are made on the command line, by those who can read the store
//! anyway.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderName, StatusCode, header},
};
use control::notifications::text::of_key;
use policy::{
    rules::household::{Household, Id},
    text::Text,
};
use policy_store::{Key, KeyError, NewKey, Role, fingerprint};
use serde::{Deserialize, Serialize};

use crate::{
    Context,
    auth::guards::{Holder, Viewer},
    extract::{Body, Segments, segment},
    problem::Problem,
    versioned::unknown_household,
};

/// A key to be made.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    /// `parent`, `second-parent` or `child`.
    role: Role,
    /// The device of a child's key.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    device: Option<Id>,
    /// A label, at most 128 octets.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 128)]
    label: Option<Text>,
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => error.into(),
            KeyError::Unfit {
                field: "label",
                detail,
            } => Self::value("label", "limit", detail),
            KeyError::Unfit { field, detail } => Self::value(field, field, detail),
            KeyError::NoHousehold(id) => unknown_household(&id),
            KeyError::NoDevice(id) => Self::value(
                "device",
                "unknown_device",
                format!("the household has no device {id}"),
            ),
            KeyError::LinkUsed => Self::new(StatusCode::GONE, "link_used", error.to_string()),
            KeyError::TooMany => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "limit", error.to_string())
            }
        }
    }
}

/// The keys of a household.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Keys {
    /// The oldest first.
    keys: Vec<Key>,
}

/// A key that was made.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = NewKey)]
pub struct MadeKey {
    #[serde(flatten)]
    key: Key,
    /// What its holder sends as `Authorization: Bearer SECRET`. It is answered once.
    secret: String,
}

/// The keys of a household, without their secrets, including recently revoked ones.
#[utoipa::path(get, path = "/v1/households/{id}/keys", operation_id = "list_household_keys", tag = "keys", params(("id" = String, Path)),
    responses((status = 200, description = "the keys", body = Keys), (status = 404, description = "no such household")))]
pub async fn list(
    State(context): State<Arc<Context>>,
    _viewer: Viewer,
    Segments(id): Segments<String>,
) -> Result<Json<Keys>, Problem> {
    let id: Id = segment("id", &id)?;
    if context.control.directory.household(&id).is_none() {
        return Err(unknown_household(&id));
    }
    let keys = context.control.store.keys(Some(&id)).await?;
    Ok(Json(Keys { keys }))
}

/// Makes a key for a parent or for a child's device. Its secret is answered here and cannot be
/// shown again. The account holder is notified of a parent's key.
#[utoipa::path(post, path = "/v1/households/{id}/keys", operation_id = "post_household_key", tag = "keys", params(("id" = String, Path)), request_body = KeyBody,
    responses((status = 201, description = "made", body = MadeKey), (status = 404, description = "no such household")))]
pub async fn post(
    State(context): State<Arc<Context>>,
    Holder(author): Holder,
    Segments(id): Segments<String>,
    Body(body): Body<KeyBody>,
) -> Result<SecretAnswer, Problem> {
    let id: Id = segment("id", &id)?;
    if !body.role.is_of_household() {
        return Err(Problem::value(
            "role",
            "role",
            "a household's key is one of a parent, second-parent or child",
        ));
    }
    let new = NewKey::new(
        body.role,
        Some(id),
        body.device,
        body.label.unwrap_or_default().into_string(),
    )?;
    let label = context.control.store.label_of(&author.actor).await?;
    let tell = |key: &Key, household: &Household| {
        of_key(
            context.control.notices,
            &author,
            label.as_deref(),
            household,
            key,
        )
    };
    let (secret, key) = context
        .control
        .store
        .create_key_and_tell(&author, new, tell)
        .await?;
    if let Some(fingerprint) = fingerprint(&secret) {
        context.limits.known.add_key(fingerprint);
    }
    Ok((
        StatusCode::CREATED,
        Extension(SecretOf(key.id.clone())),
        [(header::CACHE_CONTROL, "no-store")],
        Json(MadeKey { key, secret }),
    ))
}

/// A key with its secret, which nothing on the way may store.
type SecretAnswer = (
    StatusCode,
    Extension<SecretOf>,
    [(HeaderName, &'static str); 1],
    Json<MadeKey>,
);

/// Marks an answer with a secret, so that it is not stored.
#[derive(Debug, Clone)]
pub struct SecretOf(pub String);

/// Revokes a key. It is refused from the next request on, and its streams end. The account holder
/// is notified of a parent's key.
#[utoipa::path(delete, path = "/v1/households/{id}/keys/{key}", operation_id = "delete_household_key", tag = "keys", params(("id" = String, Path), ("key" = String, Path)),
    responses((status = 200, description = "revoked", body = Key), (status = 404, description = "no such household, or it has no such key in force")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Holder(author): Holder,
    Segments((id, key)): Segments<(String, String)>,
) -> Result<Json<Key>, Problem> {
    let id: Id = segment("id", &id)?;
    if context.control.directory.household(&id).is_none() {
        return Err(unknown_household(&id));
    }
    let label = context.control.store.label_of(&author.actor).await?;
    let tell = |key: &Key, household: &Household| {
        of_key(
            context.control.notices,
            &author,
            label.as_deref(),
            household,
            key,
        )
    };
    let revoked = context
        .control
        .store
        .revoke_key_and_tell(&author, Some(&id), &key, tell)
        .await?;
    if let Some(key) = &revoked {
        context.streams.end_of(&format!("key:{}", key.id));
    }
    revoked
        .map(Json)
        .ok_or_else(|| Problem::not_found("unknown_key", "the household has no such key in force"))
}
