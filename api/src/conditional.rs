//! Reads that a client need not read again: it sends the entity tag that it has (`If-None-Match`,
//! RFC 9110, section 13.1.2).

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{auth::roles::Admits, problem::Problem};

/// A client may keep an answer, and asks each time whether it is still right.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("private, no-cache");
/// Octets of a hash in an entity tag.
const TAG_OCTETS: usize = 12;

/// The entity tags of the answer that the client has.
pub struct Known(Option<HeaderValue>);

impl Admits for Known {}

impl<S: Send + Sync> FromRequestParts<S> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(parts.headers.get(header::IF_NONE_MATCH).cloned()))
    }
}

impl Known {
    /// Answers with what is the same as long as the household has this version.
    pub fn of_version<T: Serialize>(&self, version: u64, answer: T) -> Response {
        self.answer(&format!("\"{version}\""), Json(answer))
    }

    /// Answers with what also changes by itself: its tag has a hash of the content, and is weak
    /// because the version alone is what `If-Match` takes.
    pub fn of_content(&self, version: u64, answer: &impl Serialize) -> Response {
        let octets = serde_json::to_vec(answer).expect("an answer is plain data");
        let hash = Sha256::digest(&octets);
        let hash = hash[..TAG_OCTETS]
            .iter()
            .map(|octet| format!("{octet:02x}"));
        let tag = format!("W/\"{version}-{}\"", hash.collect::<String>());
        let json = HeaderValue::from_static("application/json");
        self.answer(&tag, ([(header::CONTENT_TYPE, json)], octets))
    }

    fn answer(&self, tag: &str, answer: impl IntoResponse) -> Response {
        let is_known = self.0.as_ref().is_some_and(|known| {
            let known = known.to_str().unwrap_or_default();
            holds(known, tag)
        });
        let mut response = match is_known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => answer.into_response(),
        };
        let headers = response.headers_mut();
        let tag = HeaderValue::from_str(tag).expect("digits and quotes");
        headers.insert(header::ETAG, tag);
        headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
        response
    }
}

/// Whether a list of tags holds this one, by weak comparison.
pub fn holds(if_none_match: &str, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let ours = opaque(tag);
    if_none_match
        .split(',')
        .any(|known| known.trim() == "*" || opaque(known) == ours)
}
