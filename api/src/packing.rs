//! Answers that are sent with gzip to clients that accept it: JSON of more than [`OCTETS_MIN`].
//!
//! An answer with a secret is never packed: its length would tell something of the secret to a
//! reader of the line who can choose a part of the answer (CRIME, BREACH). Such answers say
//! `no-store`.

use axum::http::{Extensions, HeaderMap, StatusCode, Version, header};
use tower_http::compression::{
    CompressionLayer,
    predicate::{And, Predicate, SizeAbove},
};

use crate::routes::keys::SecretOf;

/// The size from which packing saves more than it costs, in octets.
const OCTETS_MIN: u16 = 1_024;

type Packs = fn(StatusCode, Version, &HeaderMap, &Extensions) -> bool;

/// The layer that packs answers.
pub fn layer() -> CompressionLayer<And<SizeAbove, Packs>> {
    let packs: Packs = |_, _, headers, extensions| may_pack(headers, extensions);
    CompressionLayer::new()
        .gzip(true)
        .compress_when(SizeAbove::new(OCTETS_MIN).and(packs))
}

fn may_pack(headers: &HeaderMap, extensions: &Extensions) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_json = text(header::CONTENT_TYPE).is_some_and(|kind| kind.contains("json"));
    let has_secret = text(header::CACHE_CONTROL).is_some_and(|said| said.contains("no-store"))
        || headers.contains_key(header::SET_COOKIE)
        || extensions.get::<SecretOf>().is_some();
    is_json && !has_secret
}
