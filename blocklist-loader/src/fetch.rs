//! Downloads what providers publish. A fetcher verifies the transport (octets, checksums,
//! signatures, sizes, times, sequences), stores the content in its feed's spool in one step, and
//! reports the result. The gates check the content later.

mod address;
mod category;
pub(crate) mod category_state;
mod client;
mod error;
mod fetched;
mod http;
pub(crate) mod manifest;
pub mod notify;
pub mod transfer;

use std::{io, path::Path, time::Duration};

pub(crate) use self::fetched::{VERSION_DIGITS, version_of};
pub use self::{
    address::{NotPublic, PublicOnly, is_public},
    error::FetchError,
    fetched::Fetched,
};
use crate::{
    feed::{Feed, Format},
    spool::folder_of,
};

use self::{
    error::disk,
    transfer::{Transfer, TransferSettings},
};

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
}
