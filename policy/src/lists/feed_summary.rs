//! The state of one feed in a generation, as the header of an artefact holds it.

use serde::{Deserialize, Serialize};

use crate::lists::entry::{Scope, Tier};

/// Replaces a secret in text.
pub const HIDDEN: &str = "(hidden)";

/// Removes user information and query, in which providers put licence keys, from an address. Other
/// text stays as it is. Every node and every reader of a shared folder can read an artefact.
#[must_use]
pub fn without_secrets(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, format!("?{HIDDEN}")),
        None => (rest, String::new()),
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}{path}{query}"),
        None => format!("{scheme}://{host}{path}{query}"),
    }
}

/// The state of one feed in a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedSummary {
    pub name: String,
    /// The source as configured, [without secrets](without_secrets).
    pub source: String,
    /// The format as configured.
    pub format: String,
    /// What a bare name in it means; `None` where the format's own syntax says it.
    pub scope: Option<Scope>,
    pub tier: Tier,
    /// Digest of the feed's definition. Entries of another definition are not carried over.
    pub definition: String,
    /// Digest of paths, sizes and modification times of the files. The feed is read again when it
    /// differs.
    pub fingerprint: String,
    /// Whether a deeper entry of this feed replaces the shallower ones instead of adding to them.
    #[serde(default)]
    pub most_specific: bool,
    /// The version that the entries are of: a zone's serial, a sequence number, or the start of a
    /// SHA-256.
    #[serde(default)]
    pub version: String,
    /// The generation in which that version arrived.
    #[serde(default)]
    pub generation: u64,
    /// When the entries were last read from their source and accepted.
    #[serde(default)]
    pub read_at: jiff::Timestamp,
    /// Whether an operator rolled the feed back. It keeps this version until the operator resumes
    /// it.
    #[serde(default)]
    pub held: bool,
    /// Whether the feed was no longer defined when the operator rolled the lists back. Its entries
    /// are in the file and have no effect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
    /// The rejected version, if the newest was rejected; the entries are then those of the version
    /// before. Artefacts of this version of the format leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RejectedVersion>,
    pub report: FeedReport,
}

impl FeedSummary {
    /// A feed that nothing was read of.
    #[must_use]
    pub fn new(name: &str, tier: Tier) -> Self {
        Self {
            name: name.to_owned(),
            source: String::new(),
            format: String::new(),
            scope: None,
            tier,
            definition: String::new(),
            fingerprint: String::new(),
            most_specific: false,
            version: String::new(),
            generation: 0,
            read_at: jiff::Timestamp::UNIX_EPOCH,
            held: false,
            withdrawn: false,
            refused: None,
            report: FeedReport::default(),
        }
    }
}

/// A version of a feed that a gate rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedVersion {
    pub version: String,
    /// The gate's identifier, as in the API.
    pub gate: String,
    /// The explanation for the operator.
    pub detail: String,
    /// Entries that the version would have had.
    pub entries: u64,
    pub at: jiff::Timestamp,
}

/// What was read of a feed and what was not. Bad lines are data, never an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FeedReport {
    /// Lines read, comments and blank lines included.
    pub lines: u64,
    /// Entries accepted.
    pub entries: u64,
    /// Entries with a path; they never block their host.
    pub paths: u64,
    /// Entries about addresses in answers.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub addresses: u64,
    /// Rows in a syntax that the format's supported subset does not have.
    pub unsupported: u64,
    /// Rows without a valid name.
    pub bad: u64,
    /// Subtree entries at a public suffix: rejected at a top-level domain, narrowed to the name
    /// itself at a longer suffix (`co.uk`).
    pub public_suffixes: u64,
    /// Those of `public_suffixes` that are a registry's. Suffixes that are not, such as
    /// `github.io`, occur in lists every day.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub registry_suffixes: u64,
    /// Own names of the operator that the feed's entries cover; they are excepted.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub own_names: u64,
    /// Rows of folders or codes that the configuration maps to no category.
    pub unmapped: u64,
    /// SHA-256 of the content, in hexadecimal.
    pub sha256: String,
    /// The first few complaints, for the maintainer of the feed.
    pub samples: Vec<Complaint>,
}

/// One row that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Complaint {
    /// The file, where the feed is a folder.
    pub file: String,
    /// The line number, from 1.
    pub line: u64,
    /// The row, shortened, with unprintable characters replaced.
    pub text: String,
    /// Why it was not accepted.
    pub reason: String,
}
