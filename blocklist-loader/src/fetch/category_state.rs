//! The state of a category feed's fetcher, as its spool keeps it, and the code map in it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    client::Validators,
    manifest::{Codes, Files},
};
use crate::spool;

/// The state that is stored with the content.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) source: String,
    /// Identity of the feed, where its producer states one.
    pub(super) id: Option<String>,
    pub(super) sequence: u64,
    /// The files that the last manifest named.
    #[serde(default)]
    pub(super) files: Files,
    /// SHA-256 of the manifest, and its validators.
    pub(super) manifest: String,
    pub(super) validators: Validators,
    pub(super) codes: Codes,
    pub(super) codes_sha256: String,
}

/// The code map of a feed as it was fetched last.
pub(crate) fn codes(content: &Path) -> Codes {
    spool::read_state::<State>(content)
        .map(|state| state.codes)
        .unwrap_or_default()
}

/// The part of a code map that decides what rows mean; titles are only for people.
pub(crate) fn codenames(content: &Path) -> String {
    names_of(&codes(content))
}

pub(super) fn names_of(codes: &Codes) -> String {
    let named = codes
        .codes
        .iter()
        .filter_map(|code| Some(format!("{}={}", code.code, code.codename.as_ref()?)));
    format!(
        "{} {}",
        codes.use_codename,
        named.collect::<Vec<_>>().join(" ")
    )
}
