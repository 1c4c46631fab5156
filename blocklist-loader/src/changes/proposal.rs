//! Changed rows, and the generation that they lead to.

use std::io;

use policy::lists::{artefact::ArtefactError, delta::Delta};

use crate::{feed::Feed, gate::Refusal, review::NameDiff, row_change::RowChange};

/// Why rows did not become a generation.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// The lists do not have the version that the rows continue, or hold the feed. The feed must be
    /// read as a whole.
    #[error("the rows do not continue the live version")]
    NotContinued,
    /// A gate refused them.
    #[error("{0}")]
    Refused(#[source] Refusal, Box<Proposal>),
    /// The rows do not fit into an artefact.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
    /// The feed's other rows, which are needed too, cannot be read.
    #[error("reading the spool")]
    Spool(#[from] io::Error),
}

/// A generation that is neither written nor installed yet.
#[derive(Debug)]
pub struct Proposal {
    pub delta: Delta,
    /// The names that would be blocked or unblocked, as [`crate::review`] keeps them.
    pub changes: Vec<NameDiff>,
    /// The number of entries of the feed.
    pub entries: u64,
}

/// Changed rows that are to be applied.
#[derive(Debug, Clone, Copy)]
pub struct ChangedRows<'c> {
    pub feed: &'c Feed,
    /// The version that the rows continue.
    pub from: &'c str,
    /// The version that they lead to.
    pub version: &'c str,
    /// The rows in order.
    pub rows: &'c [RowChange],
}
