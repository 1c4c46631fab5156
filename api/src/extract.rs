//! Extractors: path segments, query, body and preconditions of a request, parsed strictly.

use std::{collections::HashSet, fmt, str::FromStr};

use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use policy::text::{REFUSAL, Text};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, SeqAccess, Visitor},
};

use crate::{
    auth::{principal::Principal, roles::Admits},
    problem::Problem,
};

/// The largest body, in octets. The longest custom list of a device is far smaller.
pub const BODY_OCTETS_MAX: usize = 256 << 10;
/// The largest body of a request without a credential, in octets: a report, each of whose
/// characters JSON writes as six.
const OPEN_BODY_OCTETS_MAX: usize = 16 << 10;

/// Path segments as text. Each handler parses its own with [`segment`].
pub struct Segments<T>(pub T);

impl<T> Admits for Segments<T> {}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segments = Path::<T>::from_request_parts(parts, state).await;
        segments
            .map(|Path(segments)| Self(segments))
            .map_err(|rejection| {
                Problem::new(StatusCode::BAD_REQUEST, "path", rejection.body_text())
            })
    }
}

/// Parses a path segment.
pub fn segment<T: FromStr<Err: fmt::Display>>(field: &str, text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|error: T::Err| Problem::value(field, "identifier", error.to_string()))
}

/// Refuses a text that is too long, in octets.
pub fn check_length(field: &str, text: Option<&Text>, max: usize) -> Result<(), Problem> {
    match text {
        Some(text) if text.octets() > max => Err(Problem::value(
            field,
            "limit",
            format!("at most {max} octets"),
        )),
        _ => Ok(()),
    }
}

/// Refuses a name that is too long or blank.
pub fn check_name(field: &str, name: Option<&Text>, max: usize) -> Result<(), Problem> {
    match name {
        Some(name) if name.is_blank() || name.octets() > max => Err(Problem::value(
            field,
            "limit",
            format!("1 to {max} octets, not all of them white space"),
        )),
        _ => Ok(()),
    }
}

/// The query string.
pub struct QueryParameters<T>(pub T);

impl<T> Admits for QueryParameters<T> {}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryParameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|rejection| {
            // axum writes "FIELD: reason" after its own words, and only "reason" if no field is at
            // fault.
            let text = rejection.body_text();
            let text = text
                .strip_prefix("Failed to deserialize query string: ")
                .unwrap_or(&text);
            let (path, reason) = text
                .split_once(": ")
                .filter(|(path, _)| !path.contains(' '))
                .unwrap_or(("", text));
            Problem::new(StatusCode::BAD_REQUEST, "query", text).with_field(field(path, reason))
        })
    }
}

/// The field of a serde error. A missing or unknown field is named only in the message.
fn field(path: &str, message: &str) -> Option<String> {
    let named = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|words| message.strip_prefix(words)?.split('`').next());
    // serde_path_to_error writes "." for the whole and "?" for a part without a name.
    let parent = Some(path.trim_end_matches(['.', '?'])).filter(|path| !path.is_empty());
    match (parent, named) {
        (Some(parent), Some(named))
            if parent != named && !parent.ends_with(&format!(".{named}")) =>
        {
            Some(format!("{parent}.{named}"))
        }
        (parent, named) => parent.or(named).map(str::to_owned),
    }
}

/// A JSON body. An empty one counts as `{}`, so that a household can be made without any field.
pub struct Body<T>(pub T);

impl<T> Admits for Body<T> {}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Problem> {
        let has_principal = request.extensions().get::<Principal>().is_some();
        let octets_max = [OPEN_BODY_OCTETS_MAX, BODY_OCTETS_MAX][usize::from(has_principal)];
        DefaultBodyLimit::max(octets_max).apply(&mut request);
        // Compressed bodies are refused (RFC 9110, section 8.4).
        let coding = request
            .headers()
            .get(header::CONTENT_ENCODING)
            .filter(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        if coding.is_some() {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content_encoding",
                "the body must come as it is, not packed",
            ));
        }
        let content_type = request
            .headers()
            .get(header::CONTENT_TYPE)
            .map(|value| value.to_str().unwrap_or_default().to_owned());
        let octets =
            Bytes::from_request(request, state)
                .await
                .map_err(|rejection| match rejection.status() {
                    status @ StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
                        status,
                        "too_large",
                        format!("a body has at most {octets_max} octets"),
                    ),
                    status => Problem::new(status, "body", "the body could not be read"),
                })?;
        let octets: &[u8] = if octets.is_empty() { b"{}" } else { &octets };
        if content_type.is_some_and(|kind| !is_json(&kind, octets)) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media_type",
                "the body must be application/json",
            ));
        }
        parse(octets).map(Self)
    }
}

/// Parses a body: exactly one JSON object, without duplicate names.
fn parse<T: DeserializeOwned>(octets: &[u8]) -> Result<T, Problem> {
    // serde would accept an array as a body, with the fields in the order of the code.
    if !octets.trim_ascii_start().starts_with(b"{") {
        return Err(
            match serde_json::from_slice::<serde::de::IgnoredAny>(octets) {
                Ok(_) => Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "body",
                    "the body must be a JSON object",
                ),
                Err(error) => Problem::new(StatusCode::BAD_REQUEST, "json", error.to_string()),
            },
        );
    }
    // Duplicate names in an object are read differently by different programs (RFC 8259,
    // section 4), so they are refused.
    if let Err(error) = serde_json::from_slice::<Unique>(octets)
        && let Some(member) = twice(&error)
    {
        return Err(
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "body", error.to_string())
                .with_field(member),
        );
    }
    let mut reader = serde_json::Deserializer::from_slice(octets);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = field(&error.path().to_string(), &error.inner().to_string());
        let text = error.inner().to_string();
        let (status, code) = match error.inner().classify() {
            serde_json::error::Category::Data if text.contains(REFUSAL) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "text")
            }
            serde_json::error::Category::Data => (StatusCode::UNPROCESSABLE_ENTITY, "body"),
            _ => (StatusCode::BAD_REQUEST, "json"),
        };
        Problem::new(status, code, text).with_field(field)
    })?;
    reader
        .end()
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "json", error.to_string()))?;
    Ok(value)
}

/// JSON without duplicate names in an object. It keeps nothing of the value.
struct Unique;

/// The beginning of the error about a duplicate name.
const TWICE: &str = "duplicate field `";

/// The duplicate name in an error.
fn twice(error: &serde_json::Error) -> Option<String> {
    Some(
        error
            .to_string()
            .strip_prefix(TWICE)?
            .rsplit_once('`')?
            .0
            .to_owned(),
    )
}

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if names.contains(&name) {
                return Err(serde::de::Error::custom(format_args!("{TWICE}{name}`")));
            }
            names.insert(name);
            members.next_value::<Self>()?;
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

/// Whether the content type of a body counts as JSON.
fn is_json(content_type: &str, octets: &[u8]) -> bool {
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    // `curl -d` sends the content type of a form by default. An object is no form, so it is
    // accepted as JSON.
    let is_curl = || {
        kind == "application/x-www-form-urlencoded" && octets.trim_ascii_start().starts_with(b"{")
    };
    kind == "application/json" || kind.ends_with("+json") || is_curl()
}

/// The precondition of a write to a household.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// The expected version (`If-Match: "7"`). 0: the household must not exist (`If-None-Match:
    /// *`).
    pub version: Option<u64>,
    /// The household must exist, in any version (`If-Match: *`).
    pub is_there: bool,
}

impl Admits for Precondition {}

impl<S: Send + Sync> FromRequestParts<S> for Precondition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read_precondition(&parts.headers)
    }
}

/// The expected version of the household in a write to a part of it. `If-None-Match` would be about
/// the part, which has no version of its own, so it is refused. `If-Match: *` has no effect: the
/// parts of an unknown household are 404 first (RFC 9110, section 13.2.1).
pub struct IfMatch(pub Option<u64>);

impl Admits for IfMatch {}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if parts.headers.contains_key(header::IF_NONE_MATCH) {
            let detail = "only the PUT of a household takes If-None-Match";
            return Err(
                Problem::new(StatusCode::BAD_REQUEST, "precondition", detail)
                    .with_field("If-None-Match".to_owned()),
            );
        }
        read_precondition(&parts.headers).map(|precondition| Self(precondition.version))
    }
}

/// A version that no household has.
const NO_VERSION: u64 = u64::MAX;

/// Whether a text is one entity tag (RFC 9110, section 8.8.3).
fn is_tag(text: &str) -> bool {
    let tag = text.strip_prefix("W/").unwrap_or(text);
    let inside = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    inside.is_some_and(|inside| {
        inside
            .bytes()
            .all(|octet| octet.is_ascii_graphic() && octet != b'"')
    })
}

fn read_precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    let wrong = |field: &str, detail: &str| {
        Problem::new(StatusCode::BAD_REQUEST, "precondition", detail).with_field(field.to_owned())
    };
    match (
        headers.get(header::IF_MATCH),
        headers.get(header::IF_NONE_MATCH),
    ) {
        (None, None) => Ok(Precondition::default()),
        (None, Some(value)) if value.as_bytes() == b"*" => Ok(Precondition {
            version: Some(0),
            is_there: false,
        }),
        (None, Some(_)) => Err(wrong(
            "If-None-Match",
            "a write takes If-None-Match: * alone",
        )),
        (Some(_), Some(_)) => Err(wrong("If-None-Match", "either If-Match or If-None-Match")),
        (Some(value), None) if value.as_bytes() == b"*" => Ok(Precondition {
            version: None,
            is_there: true,
        }),
        (Some(value), None) => {
            let text = value.to_str().unwrap_or_default().trim();
            if !is_tag(text) {
                return Err(wrong(
                    "If-Match",
                    "an ETag of ours is one version in quotes",
                ));
            }
            let number = text.trim_matches('"');
            // `parse` alone would accept "+7". Any other entity tag is one that no household ever
            // had.
            let version = number
                .parse()
                .ok()
                .filter(|version: &u64| *version > 0 && version.to_string() == number);
            Ok(Precondition {
                version: Some(version.unwrap_or(NO_VERSION)),
                is_there: true,
            })
        }
    }
}
