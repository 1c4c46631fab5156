//! What a request carries, read strictly: path segments, query, body, preconditions, and who asks.

use std::{str::FromStr, sync::Arc};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use policy_store::Role;
use serde::de::DeserializeOwned;

use crate::{Context, problem::Problem};

/// The largest body, in octets: the longest own list of a device is far below.
pub const BODY_OCTETS_MAX: usize = 256 << 10;

/// The operator, by a key in force. Every route under `/v1` has one of these in its signature.
pub struct Operator {
    /// What is written beside whatever is set: `key:ID`.
    pub actor: String,
}

impl FromRequestParts<Arc<Context>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, context: &Arc<Context>) -> Result<Self, Problem> {
        let missing = || Problem::new(StatusCode::UNAUTHORIZED, "key_missing", "send the key as Authorization: Bearer KEY");
        let header = parts.headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
        let (scheme, secret) = header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(missing());
        }
        let key = context.store.authenticate(secret.trim()).await?;
        let key = key.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "key_wrong", "this key is not in force"))?;
        match key.role {
            Role::Operator => Ok(Self { actor: format!("key:{}", key.id) }),
            role => Err(Problem::new(StatusCode::FORBIDDEN, "role", format!("the role {role} may not do this"))),
        }
    }
}

/// Path segments as text; each handler parses its own with [`segment`].
pub struct Segments<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segments = Path::<T>::from_request_parts(parts, state).await;
        segments
            .map(|Path(segments)| Self(segments))
            .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, "path", rejection.body_text()))
    }
}

/// Reads a path segment.
pub fn segment<T: FromStr<Err: std::fmt::Display>>(field: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| Problem::value(field, "identifier", error.to_string()))
}

/// The query string.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, "query", rejection.body_text()))
    }
}

/// A JSON body. An empty one reads as `{}`, so that a household can be made without saying anything of it.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_none_or(is_json);
        let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("a body has at most {BODY_OCTETS_MAX} octets"));
        let octets = Bytes::from_request(request, state).await.map_err(|_| too_large())?;
        let octets: &[u8] = if octets.is_empty() { b"{}" } else { &octets };
        // curl says it sends a form where it was not told otherwise; a body that is JSON is taken for what it is.
        let looks_like_json = octets.trim_ascii_start().first() == Some(&b'{');
        if !is_json && !looks_like_json {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", "the body must be application/json"));
        }
        let mut reader = serde_json::Deserializer::from_slice(octets);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let field = error.path().to_string();
            let (status, code) = match error.inner().classify() {
                serde_json::error::Category::Data => (StatusCode::UNPROCESSABLE_ENTITY, "body"),
                _ => (StatusCode::BAD_REQUEST, "json"),
            };
            let problem = Problem::new(status, code, error.into_inner().to_string());
            if field == "." { problem } else { problem.with_field(field) }
        })?;
        reader.end().map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "json", error.to_string()))?;
        Ok(Self(value))
    }
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json")
}

/// What the writer believes the version to be: `If-Match`, or 0 for `If-None-Match: *`.
pub struct Precondition(pub Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for Precondition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read_precondition(&parts.headers).map(Self)
    }
}

fn read_precondition(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let wrong = |field| Problem::new(StatusCode::BAD_REQUEST, "precondition", "an ETag of ours is a version in quotes").with_field(field);
    if let Some(value) = headers.get(header::IF_MATCH) {
        let text = value.to_str().map_err(|_| wrong("If-Match"))?.trim();
        if text == "*" {
            return Ok(None);
        }
        let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        // No household has version 0, so it cannot be meant.
        return version.parse().ok().filter(|version| *version > 0).map(Some).ok_or_else(|| wrong("If-Match"));
    }
    match headers.get(header::IF_NONE_MATCH) {
        Some(value) if value.as_bytes() == b"*" => Ok(Some(0)),
        Some(_) => Err(wrong("If-None-Match")),
        None => Ok(None),
    }
}
