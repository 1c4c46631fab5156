//! Why a fetch failed.

use std::{error::Error, io};

use crate::{gate::Gate, unpack::UnpackError};

/// Why a fetch failed. The spool has the same content as before.
#[derive(Debug, thiserror::Error)]
#[error("{gate}: {detail}")]
pub struct FetchError {
    pub gate: Gate,
    /// What was requested and what came, for the operator. Never contains a credential.
    pub detail: String,
    /// The underlying error, if there is one.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl FetchError {
    pub(crate) fn new(gate: Gate, detail: impl Into<String>) -> Self {
        Self {
            gate,
            detail: detail.into(),
            source: None,
        }
    }

    pub(crate) fn because(
        gate: Gate,
        detail: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            gate,
            detail: detail.into(),
            source: Some(source.into()),
        }
    }
}

/// An error of the local disk.
pub(crate) fn disk(error: io::Error) -> FetchError {
    FetchError::because(Gate::Disk, "keeping what was fetched", error)
}

/// An error while a fetched file is unpacked.
pub(super) fn unpack_failed(name: &str, error: UnpackError) -> FetchError {
    match error {
        UnpackError::Io(source) => disk(source),
        UnpackError::TooLarge(_) => FetchError::new(Gate::Size, format!("{name}: {error}")),
        UnpackError::Damaged(..) | UnpackError::Nothing(_) => {
            FetchError::new(Gate::Compression, format!("{name}: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_has_one_word_everywhere_and_an_error_shows_its_cause_beneath() {
        let error = FetchError::because(Gate::Disk, "writing the spool", io::Error::other("full"));
        assert_eq!(error.to_string(), "disk: writing the spool");
        assert_eq!(error.source().unwrap().to_string(), "full");
        assert!(FetchError::new(Gate::Size, "too much").source().is_none());
        for gate in [Gate::Transport, Gate::Checksum, Gate::Tsig] {
            assert_eq!(serde_json::to_value(gate).unwrap(), gate.as_str());
        }
    }
}
