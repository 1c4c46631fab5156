//! Shares lists between nodes: one node builds, the others fetch its artefacts and verify them. An
//! object store lies between them: a folder or S3.
//!
//! ```text
//! live                    a signature and the manifest that it signs: the generations, and which one is live
//! objects/<sha256>.oxl    a full artefact, exactly as in the publisher's folder; never changed
//! objects/<sha256>.oxd    a delta
//! publish.lock            only in a folder: one publisher at a time
//! ```
//!
//! The store and the network are not trusted. The manifest is signed, so only the publisher decides
//! what is live. It has a sequence number, so an old one cannot be replayed. It names every object
//! by length and SHA-256, so an object cannot be replaced. An attacker can only keep a node from
//! advancing, which [`Follower::status`] shows as the manifest's age.
//!
//! - `settings`: the table `[lists.share]`.
//! - `keys`: generates and reads keys.
//! - `manifest`: the signed document, and which generation a node should have.
//! - `store`: a folder or S3.
//! - `publisher` and `follower`: the two sides.
//!
//! Time and randomness are arguments. Nothing here judges lists or swaps them: the daemon opens
//! what was fetched, and reports if it refuses it.

mod follower;
mod keys;
mod local;
mod manifest;
mod publisher;
mod settings;
mod store;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use follower::{Follower, FollowerStatus, ReadyGeneration, random_fraction};
pub use keys::{KeyFiles, generate_keys};
pub use manifest::{Manifest, ManifestEntry};
pub use publisher::{PublishRequest, PublishResult, Publisher};
pub use settings::{ShareRole, ShareSettings, ShareSettingsFault};

use crate::gate::Gate;

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
    Store {
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
            Self::Store { .. }
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

fn disk(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ShareError {
    let path = path.to_owned();
    move |source| ShareError::Disk { step, path, source }
}

/// Runs file I/O on a blocking thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("the task neither panics nor is cancelled")
}

/// An error with its causes, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
