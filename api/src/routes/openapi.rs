//! The route of the OpenAPI document. It is serialised and compressed once, and not sent again to a
//! client that has it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    sync::{Arc, OnceLock},
};

use axum::{
    Extension,
    body::Bytes,
    extract::{FromRequestParts, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use utoipa::openapi::OpenApi;

use crate::{
    Context, auth::roles::Admits, bodies::SharedDocument, client_address, conditional,
    problem::Problem,
};

/// The path.
pub const PATH: &str = "/openapi.json";
/// A client may cache the document, and must revalidate it.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("no-cache");

/// The serialised document.
struct Written {
    plain: Bytes,
    packed: Bytes,
    tag: HeaderValue,
}

impl Written {
    fn of(document: &OpenApi) -> Self {
        let plain = serde_json::to_vec(document).expect("the document is plain data");
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        let packed = packer
            .write_all(&plain)
            .and_then(|()| packer.finish())
            .expect("memory takes what is written");
        let mut hasher = DefaultHasher::new();
        plain.hash(&mut hasher);
        // Weak, because it is the same for both encodings (RFC 9110, section 8.8.1).
        let tag = format!(
            "W/\"{}-{:016x}\"",
            env!("CARGO_PKG_VERSION"),
            hasher.finish()
        );
        Self {
            plain: plain.into(),
            packed: packed.into(),
            tag: tag.try_into().expect("digits and quotes"),
        }
    }
}

/// A client that reads a document without a key. It must wait if it asks too often.
pub struct OpenReader;

impl Admits for OpenReader {}

impl FromRequestParts<Arc<Context>> for OpenReader {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &Arc<Context>,
    ) -> Result<Self, Problem> {
        context
            .limits
            .read_open(client_address::of_request(parts))
            .map_err(|wait| Problem::too_often(wait).closing())?;
        Ok(Self)
    }
}

/// The route of the document.
pub fn serve(document: OpenApi) -> axum::routing::MethodRouter<Arc<Context>> {
    let written = Arc::new(OnceLock::<Written>::new());
    let document = Arc::new(document);
    axum::routing::get(
        move |State(_): State<Arc<Context>>, _reader: OpenReader, headers: HeaderMap| async move {
            answer(written.get_or_init(|| Written::of(&document)), &headers)
        },
    )
}

fn answer(written: &Written, headers: &HeaderMap) -> Response {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
            .unwrap_or_default()
    };
    let common = [
        (header::ETAG, written.tag.clone()),
        (header::CACHE_CONTROL, CACHE_CONTROL),
        (header::VARY, HeaderValue::from_static("Accept-Encoding")),
    ];
    let tag = written.tag.to_str().unwrap_or_default();
    if conditional::holds(text(header::IF_NONE_MATCH), tag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let json = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )];
    let shared = Extension(SharedDocument);
    match takes_gzip(text(header::ACCEPT_ENCODING)) {
        true => (
            shared,
            common,
            json,
            [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))],
            written.packed.clone(),
        )
            .into_response(),
        false => (shared, common, json, written.plain.clone()).into_response(),
    }
}

/// Whether a client accepts gzip (RFC 9110, section 12.5.3).
fn takes_gzip(accept_encoding: &str) -> bool {
    let weight = |coding: &str| {
        let of = accept_encoding
            .split(',')
            .map(|part| part.split_once(';').unwrap_or((part, "")));
        let mut of = of.filter(|(name, _)| name.trim().eq_ignore_ascii_case(coding));
        let weight = of.next().map(|(_, weight)| {
            weight
                .trim()
                .trim_start_matches("q=")
                .trim()
                .parse::<f32>()
                .unwrap_or(1.0)
        });
        weight.map(|weight| weight > 0.0)
    };
    weight("gzip").or_else(|| weight("*")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_only_to_who_takes_it() {
        for (accepted, takes) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("br, *;q=0", false),
        ] {
            assert_eq!(takes_gzip(accepted), takes, "{accepted:?}");
        }
    }
}
