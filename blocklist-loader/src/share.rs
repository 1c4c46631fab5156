//! Sharing: one node builds the lists, all others fetch what it built and check it again. Between
//! them lies a store of objects: a folder, or S3.
//!
//! ```text
//! live                    signature, and below it the manifest that it signs: which generations there are, and which is live
//! objects/<sha256>.oxl    a full artefact, exactly as in the publisher's folder; never changed
//! objects/<sha256>.oxd    a delta
//! publish.lock            only in a folder: one publisher at a time
//! ```
//!
//! The store and the way to it are not trusted. The manifest is signed, so nobody else can say what
//! is live; it is numbered, so nobody can show an old one again; and it names every object by
//! length and SHA-256, so nobody can put other octets in its place. What an attacker can do is to
//! keep a node where it is, which [`Follower::status`] shows by the manifest's age.
//!
//! - `settings`: the table `[lists.share]`.
//! - `keys`: making them, reading them.
//! - `manifest`: what is signed; which generation a node should have.
//! - `store`: a folder or S3, by the few calls that are needed.
//! - `publisher` and `follower`: the two sides.
//!
//! Time is an argument, and so is chance. Nothing here decides whether lists are good, and nothing
//! swaps: the daemon opens what was fetched, and says if it refuses it.

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

/// What can stop sharing. Whatever it is, nothing in use is changed.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The settings cannot be used.
    #[error("lists.share: {0}")]
    ShareSettings(#[from] ShareSettingsFault),
    /// A key cannot be read or used.
    #[error("the key {key}: {reason}")]
    Key {
        /// Which one.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store could not be asked, or refused.
    #[error("{step} {object}")]
    Store {
        /// What was being done.
        step: &'static str,
        /// To which object.
        object: String,
        /// The store's reason.
        #[source]
        source: object_store::Error,
    },
    /// Nothing was ever published there.
    #[error("nothing was published in {0} yet")]
    NothingPublished(String),
    /// An object that the manifest names is not there.
    #[error("{0} is not in the store, although the manifest names it")]
    Missing(String),
    /// It took too long.
    #[error("{object} took longer than {seconds} s")]
    Slow {
        /// Which object.
        object: String,
        /// The time that it had.
        seconds: u64,
    },
    /// An object is longer than it may be.
    #[error("{object} has more than {most} octets")]
    TooLarge {
        /// Which object.
        object: String,
        /// What it may have.
        most: u64,
    },
    /// An object ends early.
    #[error("{object} ends after {octets} of {expected} octets")]
    Truncated {
        /// Which object.
        object: String,
        /// Those that came.
        octets: u64,
        /// Those that the manifest names.
        expected: u64,
    },
    /// An object, or a file that is to become one, holds other octets than it should.
    #[error("{object} has SHA-256 {sha256}, not {expected}")]
    Digest {
        /// Which object.
        object: String,
        /// Of what is there.
        sha256: String,
        /// Of what should be there.
        expected: String,
    },
    /// The manifest is not signed by the key that the settings name.
    #[error("the manifest is not signed by our key: {0}")]
    Signature(String),
    /// The manifest is older than one that this node has seen.
    #[error(
        "the manifest has sequence {offered}, but {seen} was seen before: somebody shows an old one. If the store was set up anew, delete {memory}"
    )]
    Replayed {
        /// The sequence that is offered.
        offered: u64,
        /// The one that was seen.
        seen: u64,
        /// The file that remembers it.
        memory: PathBuf,
    },
    /// Two manifests of one number.
    #[error("there are two manifests of sequence {0}: two publishers do not see each other")]
    Forked(u64),
    /// It is signed, but not what we understand.
    #[error("the manifest cannot be used: {0}")]
    Format(String),
    /// Two contents of one generation.
    #[error(
        "generation {generation} has SHA-256 {ours} in {directory}, but {theirs} in the store: two builders gave one number twice"
    )]
    Clash {
        /// Which one.
        generation: u64,
        /// Our folder.
        directory: PathBuf,
        /// What we have.
        ours: String,
        /// What the store has.
        theirs: String,
    },
    /// Another publisher is further than we are.
    #[error(
        "the store is at generation {live} and this node at {ours}: follow it first, or withdraw what is newer"
    )]
    Overtaken {
        /// What is live by the store.
        live: u64,
        /// What we wanted to make live.
        ours: u64,
    },
    /// What should become live was withdrawn.
    #[error("generation {0} was withdrawn; reinstate it to make it live again")]
    Withdrawn(u64),
    /// Nobody can reach a generation by what would be published.
    #[error("generation {0} cannot be opened by what is published")]
    Unreachable(u64),
    /// More than a manifest holds.
    #[error(
        "{0} generations are more than a manifest holds: fold deltas into a full artefact, or keep fewer"
    )]
    TooMany(usize),
    /// Other publishers were faster, again and again.
    #[error("other publishers changed the manifest {0} times while this one tried")]
    Outrun(u32),
    /// Our own disk refused.
    #[error("{step} {path}")]
    Disk {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl ShareError {
    /// The word for it in metrics, API and alarms.
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

/// Runs what reads or writes files where it holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("it does not panic and nobody cancels it")
}

/// An error and what is beneath it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
