//! The result of a build.

use std::{io, path::PathBuf};

use policy::lists::artefact::{ArtefactError, WrittenArtefact};
use serde::{Deserialize, Serialize};

use crate::{feed::FeedError, gate::Gate};

/// How a build ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum BuildOutcome {
    /// No accepted content differs from the current generation, so there is no new one.
    Unchanged {
        /// The generation that stays live.
        generation: u64,
        /// The feeds that were refused, now or earlier.
        #[serde(default)]
        refused: Vec<RefusedFeed>,
    },
    /// A new generation is in the folder, verified.
    Built(Box<Built>),
    /// Nothing was built. A build process reports its own error this way.
    Failed {
        /// `disk` or `build`.
        gate: Gate,
        /// The reason, for people.
        detail: String,
    },
}

/// A new generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Built {
    pub written: WrittenArtefact,
    /// The feeds that were refused.
    pub refused: Vec<RefusedFeed>,
}

/// A feed that a gate refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedFeed {
    pub feed: String,
    /// The refused version.
    pub version: String,
    /// The gate that refused it.
    pub gate: Gate,
    /// The reason, for people.
    pub reason: String,
    /// The number of entries of the previous generation that the feed keeps.
    pub carried: u64,
    /// The number of entries that the version would have had.
    #[serde(default)]
    pub entries: u64,
    /// When the version was read.
    #[serde(default)]
    pub at: jiff::Timestamp,
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A feed's definition cannot be used.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The folder of the artefacts cannot be used.
    #[error("{step} {path}")]
    Directory {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The artefact cannot be built or written.
    #[error("writing generation {generation}")]
    Write {
        generation: u64,
        #[source]
        source: ArtefactError,
    },
    /// The written artefact is not the intended one; the file was deleted.
    #[error("verifying generation {generation}")]
    Verify {
        generation: u64,
        #[source]
        source: ArtefactError,
    },
}
