//! Why sharing failed.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::gate::Gate;

/// What can be wrong with the table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareSettingsFault {
    /// A URL that is neither a folder nor S3.
    #[error("url {0:?} is neither a folder (a path, or file:///path) nor s3://bucket/prefix")]
    Url(String),
    /// A key for S3 beside a folder.
    #[error("{0} is for s3://, but url is a folder")]
    NotS3(&'static str),
    /// A publisher without a secret key.
    #[error(
        "secret_key is missing: role \"publish\" signs; `ox-protect lists keygen` makes a pair"
    )]
    SecretKeyMissing,
    /// A follower without a public key.
    #[error("public_key is missing: role \"follow\" trusts nothing that is not signed")]
    PublicKeyMissing,
    /// A key of the other role.
    #[error("{0} has no meaning for role \"{1}\"")]
    OtherRole(&'static str, &'static str),
    /// A number out of its range.
    #[error("{0} must be {1} to {2}")]
    Bounds(&'static str, u64, u64),
    /// An incomplete pair of credentials.
    #[error("access_key_id and secret_access_key belong together; one is missing")]
    HalfCredentials,
    /// A malformed service URL.
    #[error("endpoint {0:?} must be https://host[:port], or http:// with allow_http = true")]
    Endpoint(String),
    /// A key that cannot be used.
    #[error("{0}")]
    Key(String),
    /// A secret that cannot be read.
    #[error("{0}: {1}")]
    Secret(&'static str, String),
}

/// Why sharing failed. Nothing in use is changed.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The settings cannot be used.
    #[error("lists.share: {0}")]
    ShareSettings(#[from] ShareSettingsFault),
    /// A key cannot be read or used.
    #[error("the key {key}: {reason}")]
    Key { key: String, reason: String },
    /// The store did not answer, or refused.
    #[error("{step} {object}")]
    ShareStore {
        step: &'static str,
        object: String,
        #[source]
        source: object_store::Error,
    },
    /// The store has no manifest yet.
    #[error("nothing was published in {0} yet")]
    NothingPublished(String),
    /// An object that the manifest names is missing.
    #[error("{0} is not in the store, although the manifest names it")]
    Missing(String),
    /// A request took too long.
    #[error("{object} took longer than {seconds} s")]
    Slow {
        object: String,
        /// The time limit.
        seconds: u64,
    },
    /// An object is longer than allowed.
    #[error("{object} has more than {most} octets")]
    TooLarge {
        object: String,
        /// The limit.
        most: u64,
    },
    /// An object ends early.
    #[error("{object} ends after {octets} of {expected} octets")]
    Truncated {
        object: String,
        /// The octets that came.
        octets: u64,
        /// The octets that the manifest states.
        expected: u64,
    },
    /// An object, or a file to be published, has other content than expected.
    #[error("{object} has SHA-256 {sha256}, not {expected}")]
    Digest {
        object: String,
        /// The actual digest.
        sha256: String,
        /// The expected digest.
        expected: String,
    },
    /// The manifest is not signed by the key in the settings.
    #[error("the manifest is not signed by our key: {0}")]
    Signature(String),
    /// The manifest is older than one that this node has seen.
    #[error(
        "the manifest has sequence {offered}, but {seen} was seen before: it is an old one. If the store was set up anew, delete {memory}"
    )]
    Replayed {
        /// The sequence of the store's manifest.
        offered: u64,
        /// The highest sequence that was seen.
        seen: u64,
        /// The file that stores the highest sequence.
        memory: PathBuf,
    },
    /// Two manifests with one sequence.
    #[error("there are two manifests of sequence {0}: two publishers wrote independently")]
    Forked(u64),
    /// A signed manifest with unsupported or inconsistent content.
    #[error("the manifest cannot be used: {0}")]
    Format(String),
    /// Two contents of one generation.
    #[error(
        "generation {generation} has SHA-256 {ours} in {directory}, but {theirs} in the store: two builders used one number"
    )]
    Clash {
        generation: u64,
        /// The local folder.
        directory: PathBuf,
        /// The local digest.
        ours: String,
        /// The store's digest.
        theirs: String,
    },
    /// Another publisher is ahead of this one.
    #[error(
        "the store is at generation {live} and this node at {ours}: follow it first, or withdraw the newer generations"
    )]
    Overtaken {
        /// The live generation in the store.
        live: u64,
        /// The generation that was to become live.
        ours: u64,
    },
    /// The generation that was to become live is withdrawn.
    #[error("generation {0} was withdrawn; reinstate it to make it live again")]
    Withdrawn(u64),
    /// The published files do not suffice to open a generation.
    #[error("generation {0} cannot be opened with the published files")]
    Unreachable(u64),
    /// More generations than a manifest may have.
    #[error(
        "{0} generations are more than a manifest holds: fold deltas into a full artefact, or keep fewer"
    )]
    TooMany(usize),
    /// Other publishers changed the manifest at every attempt.
    #[error("other publishers changed the manifest {0} times while this one tried")]
    Outrun(u32),
    /// An error of the local disk.
    #[error("{step} {path}")]
    Disk {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl ShareError {
    /// The corresponding gate in metrics, API and alarms.
    #[must_use]
    pub fn gate(&self) -> Gate {
        match self {
            Self::ShareStore { .. }
            | Self::NothingPublished(_)
            | Self::Missing(_)
            | Self::ShareSettings(_) => Gate::Transport,
            Self::Slow { .. } => Gate::Time,
            Self::TooLarge { .. } => Gate::Size,
            Self::Truncated { .. } | Self::Digest { .. } => Gate::Checksum,
            Self::Signature(_) | Self::Key { .. } => Gate::Signature,
            Self::Replayed { .. }
            | Self::Forked(_)
            | Self::Clash { .. }
            | Self::Overtaken { .. }
            | Self::Withdrawn(_)
            | Self::Outrun(_) => Gate::Sequence,
            Self::Format(_) | Self::Unreachable(_) | Self::TooMany(_) => Gate::Format,
            Self::Disk { .. } => Gate::Disk,
        }
    }
}

pub(super) fn disk(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ShareError {
    let path = path.to_owned();
    move |source| ShareError::Disk { step, path, source }
}

/// Runs file I/O on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("the task neither panics nor is cancelled")
}

/// An error with its causes, in one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
