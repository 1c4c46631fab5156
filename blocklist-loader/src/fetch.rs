//! Downloads what providers publish. A fetcher verifies the transport (octets, checksums,
//! signatures, sizes, times, sequences), stores the content in its feed's spool in one step, and
//! reports the result. The gates check the content later.

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

/// Fetches one feed and keeps its state in the feed's spool.
pub enum Fetcher {
    /// A list that is published as one file.
    Http(Box<http::HttpList>),
    /// Snapshots and deltas of names with codes.
    CategoryFeed(Box<category::CategoryFeed>),
    /// A response policy zone.
    Transfer(Box<Transfer>),
}

impl Fetcher {
    /// The fetcher of a feed whose definition was checked. `directory` is the folder of the
    /// artefacts.
    ///
    /// # Errors
    /// The spool cannot be opened, or the client cannot be set up.
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

    /// Fetches once. Needs a tokio runtime; disk access runs on blocking threads.
    ///
    /// # Errors
    /// After a [`FetchError`] the spool has the same content as before.
    pub async fn fetch(&mut self) -> Result<Fetched, FetchError> {
        match self {
            Self::Http(list) => list.fetch().await,
            Self::CategoryFeed(feed) => feed.fetch().await,
            Self::Transfer(transfer) => transfer.fetch().await,
        }
    }

    /// Whether the disk has room for as much as the feed's content, plus one mebibyte. After a disk
    /// error, a new fetch makes no sense before that.
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

    /// The time until the next fetch, where the source determines it: a zone has its refresh, and
    /// its retry after a failure.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        if let Self::Transfer(transfer) = self {
            Some(transfer.interval())
        } else {
            None
        }
    }

    /// The zone whose NOTIFY concerns this feed: lower case, no trailing dot.
    #[must_use]
    pub fn zone(&self) -> Option<String> {
        if let Self::Transfer(transfer) = self {
            Some(transfer.zone())
        } else {
            None
        }
    }

    /// Folds the spool's deltas if there are many. Content and digest stay the same. The whole
    /// content is read and written, so this is done after a change is live.
    ///
    /// # Errors
    /// The disk failed; the spool is unchanged.
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

/// The result of a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The provider published nothing new.
    Unchanged,
    /// The whole content was replaced; the spool has it.
    Replaced { version: String },
    /// Rows changed between two versions; the spool has them too.
    Changed {
        from: String,
        version: String,
        /// The changes in order.
        rows: Vec<RowChange>,
    },
}

/// The provider's name for the content of a fetcher's state: a sequence number, a serial, or the
/// first digits of a SHA-256.
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

/// Digits of a SHA-256 that identify a version. A feed never has enough versions for these to
/// collide.
pub(crate) const VERSION_DIGITS: usize = 16;

/// One row that was added to or removed from a feed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowChange {
    /// Whether the row was added. In a feed with row keys, an added row replaces the row with its
    /// key.
    pub added: bool,
    /// The row; for a removed one its key is enough.
    pub row: Vec<u8>,
}

impl RowChange {
    /// An added row.
    #[must_use]
    pub fn added(row: impl Into<Vec<u8>>) -> Self {
        Self {
            added: true,
            row: row.into(),
        }
    }

    /// A removed row, or the key of one.
    #[must_use]
    pub fn removed(row: impl Into<Vec<u8>>) -> Self {
        Self {
            added: false,
            row: row.into(),
        }
    }
}

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
