//! The gates by name, and the refusal of a version.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The check that refused a version: a stable word for metrics, API and alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// The source did not answer, or violated its protocol.
    Transport,
    /// The content is larger than `size_max_mib`.
    Size,
    /// The fetch took longer than `timeout_s`.
    Time,
    /// The content does not match its checksum.
    Checksum,
    /// The content is not signed by the key in the definition.
    Signature,
    /// A compressed file or an archive is truncated or damaged.
    Compression,
    /// Versions or serials that are not consecutive.
    Sequence,
    /// A zone transfer that is not authentic (RFC 8945).
    Tsig,
    /// Content that is not text or not in the feed's format.
    Format,
    /// The local disk failed, or the source changed while it was read.
    Disk,
    /// The build process could not start or did not finish.
    Build,
    /// A definition of the API that exceeds its limits; nothing is read.
    Definition,
    /// No entries.
    Empty,
    /// Too many rows without an entry.
    BadRows,
    /// Far fewer entries than the last good version.
    Shrink,
    /// Far more entries than the last good version.
    Growth,
    /// A canary name of `must_match` that is not covered, or one of `must_not_match` that is.
    Canary,
    /// An entry that covers a registry's suffix, such as `co.uk`, and that the last good version
    /// did not have.
    PublicSuffix,
    /// An entry that covers one of the operator's own names, or a name of certificate revocation
    /// checks.
    OwnNames,
}

impl Gate {
    /// The value in JSON and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Size => "size",
            Self::Time => "time",
            Self::Checksum => "checksum",
            Self::Signature => "signature",
            Self::Compression => "compression",
            Self::Sequence => "sequence",
            Self::Tsig => "tsig",
            Self::Format => "format",
            Self::Disk => "disk",
            Self::Build => "build",
            Self::Definition => "definition",
            Self::Empty => "empty",
            Self::BadRows => "bad-rows",
            Self::Shrink => "shrink",
            Self::Growth => "growth",
            Self::Canary => "canary",
            Self::PublicSuffix => "public-suffix",
            Self::OwnNames => "own-names",
        }
    }

    /// Whether an operator may approve a version that this gate refused. An operator can judge
    /// plausibility, not missing octets.
    #[must_use]
    pub fn may_be_approved(self) -> bool {
        matches!(
            self,
            Self::Empty
                | Self::BadRows
                | Self::Shrink
                | Self::Growth
                | Self::Canary
                | Self::PublicSuffix
                | Self::OwnNames
        )
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a version was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    pub gate: Gate,
    /// The reason, for people.
    pub detail: String,
}

impl Refusal {
    pub(crate) fn new(gate: Gate, detail: impl Into<String>) -> Self {
        Self {
            gate,
            detail: detail.into(),
        }
    }
}
