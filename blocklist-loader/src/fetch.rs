//! Getting what providers publish. A fetcher verifies transport (octets, checksums, signatures,
//! sizes, times, sequences), puts the content into its feed's spool in one step, and reports.
//! Whether the content is good for the lists is not asked here.

mod address;
pub(crate) mod category;
mod client;
mod http;
pub(crate) mod manifest;
pub mod notify;
pub mod transfer;

use std::{error::Error, io, path::Path, time::Duration};

pub use self::address::{NotPublic, PublicOnly, is_public};
use crate::{
    feed::{Feed, Format},
    gate::Gate,
    spool::folder_of,
};

use self::transfer::{Transfer, TransferSettings};

/// Fetches one feed, and remembers in its spool what came.
pub enum Fetcher {
    /// A list that is published as one file.
    Http(Box<http::HttpList>),
    /// Snapshots and deltas of names with codes.
    CategoryFeed(Box<category::CategoryFeed>),
    /// A response policy zone.
    Transfer(Box<Transfer>),
}

impl Fetcher {
    /// For a feed that is fetched, whose definition was checked. `directory` is that of the
    /// artefacts.
    ///
    /// # Errors
    /// The spool cannot be opened, or nothing can be asked at all.
    pub fn new(feed: &Feed, directory: &Path) -> Result<Self, FetchError> {
        match feed.format {
            Format::CategoryFeed => Ok(Self::CategoryFeed(Box::new(category::CategoryFeed::new(
                feed, directory,
            )?))),
            Format::Rpz => Ok(Self::Transfer(Box::new(Transfer::new(
                TransferSettings::of(feed)?,
                &folder_of(directory, &feed.name),
            )?))),
            _ => Ok(Self::Http(Box::new(http::HttpList::new(feed, directory)?))),
        }
    }

    /// Asks the provider, once. It needs a runtime of tokio; the disk is waited for on other
    /// threads than the caller's.
    ///
    /// # Errors
    /// See [`FetchError`]. The spool then holds what it held.
    pub async fn fetch(&mut self) -> Result<Fetched, FetchError> {
        match self {
            Self::Http(list) => list.fetch().await,
            Self::CategoryFeed(feed) => feed.fetch().await,
            Self::Transfer(transfer) => transfer.fetch().await,
        }
    }

    /// Whether the disk takes as much as the feed's content has now, and a mebibyte: after it
    /// refused, there is no use in asking a provider before that.
    pub async fn has_room(&self) -> bool {
        let spool = match self {
            Self::Http(list) => list.spool().clone(),
            Self::CategoryFeed(feed) => feed.spool().clone(),
            Self::Transfer(transfer) => transfer.spool().clone(),
        };
        tokio::task::spawn_blocking(move || spool.has_room())
            .await
            .unwrap_or(true)
    }

    /// How long to wait before the next fetch, where that is not for the definition alone to say: a
    /// zone has its refresh, and its retry after a failure.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        if let Self::Transfer(transfer) = self {
            Some(transfer.interval())
        } else {
            None
        }
    }

    /// The zone whose NOTIFY is about this feed: lower case, no dot at the end.
    #[must_use]
    pub fn zone(&self) -> Option<String> {
        if let Self::Transfer(transfer) = self {
            Some(transfer.zone())
        } else {
            None
        }
    }

    /// Makes the spool quick to read again if many changes have piled up in it. Its content stays
    /// the same, and so does what is built of it. It reads and writes all of it, so it is for after
    /// a change is live.
    ///
    /// # Errors
    /// The disk refused; the spool then is as it was.
    pub async fn tidy(&mut self) -> Result<(), FetchError> {
        let spool = match self {
            Self::Http(_) => return Ok(()),
            Self::CategoryFeed(feed) => feed.spool().clone(),
            Self::Transfer(transfer) => transfer.spool().clone(),
        };
        let folding = tokio::task::spawn_blocking(move || {
            if spool.should_be_folded() {
                spool.fold()
            } else {
                Ok(())
            }
        });
        folding
            .await
            .map_err(io::Error::other)
            .and_then(|folded| folded)
            .map_err(disk)
    }
}

/// What a fetch found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The provider published nothing new.
    Unchanged,
    /// The content was replaced as a whole; the spool holds it.
    Replaced {
        /// What the provider calls it.
        version: String,
    },
    /// Rows changed between two versions; the spool holds them too.
    Changed {
        /// The version before.
        from: String,
        /// The version now.
        version: String,
        /// What changed, in order.
        rows: Vec<RowChange>,
    },
}

/// What the provider calls the content that a fetcher's state tells of: a sequence number, a
/// serial, or the beginning of a SHA-256.
pub(crate) fn version_of(state: &serde_json::Value) -> Option<String> {
    let number = ["sequence", "serial"]
        .iter()
        .find_map(|key| state.get(key)?.as_u64())
        .map(|number| number.to_string());
    number.or_else(|| {
        Some(
            state
                .get("sha256")?
                .as_str()?
                .get(..VERSION_DIGITS)?
                .to_owned(),
        )
    })
}

/// Digits of a SHA-256 that stand for it in a version's name: nobody publishes as many versions as
/// that tells apart.
pub(crate) const VERSION_DIGITS: usize = 16;

/// One row of a feed came or went.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowChange {
    /// Whether it came. Where rows have keys, it takes the place of the row that had its key.
    pub added: bool,
    /// The row; of one that went, its key is enough.
    pub row: Vec<u8>,
}

impl RowChange {
    /// This row came.
    #[must_use]
    pub fn added(row: impl Into<Vec<u8>>) -> Self {
        Self {
            added: true,
            row: row.into(),
        }
    }

    /// This row, or the one of this key, went.
    #[must_use]
    pub fn removed(row: impl Into<Vec<u8>>) -> Self {
        Self {
            added: false,
            row: row.into(),
        }
    }
}

/// Why a fetch brought nothing. The spool holds what it held before.
#[derive(Debug, thiserror::Error)]
#[error("{gate}: {detail}")]
pub struct FetchError {
    /// What stopped it.
    pub gate: Gate,
    /// For the person who mends it: what was asked, what came. Never a credential.
    pub detail: String,
    /// The cause, where there is one beneath.
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

/// Our own disk refused.
pub(crate) fn disk(error: io::Error) -> FetchError {
    FetchError::because(Gate::Disk, "keeping what was fetched", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_may_run_on_any_thread() {
        fn sendable<T: Send>(_: &T) {}
        let (feed, folder) = (
            Feed::new("a", "http://127.0.0.1/a", Format::Domains),
            tempfile::tempdir().unwrap(),
        );
        let mut fetcher = Fetcher::new(&feed, folder.path()).unwrap();
        sendable(&fetcher.fetch());
        sendable(&fetcher.tidy());
    }

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
