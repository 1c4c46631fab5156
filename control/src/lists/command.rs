//! What the list manager can be told to do.

use blocklist_loader::{Feed, Fetched, RowChange};
use tokio::sync::oneshot;

use super::model::{ListError, RolledBack};

/// A command to the list manager.
pub enum ListCommand {
    /// A fetcher has a new version of its feed. `done` is told when the manager has dealt with it.
    Fetched {
        feed: String,
        fetched: Fetched,
        done: oneshot::Sender<()>,
    },
    /// The files of feeds may have changed.
    Files,
    /// An operator lets a refused version, or a held feed, go on.
    Approve {
        feed: String,
        version: Option<String>,
        reply: oneshot::Sender<Result<(), ListError>>,
    },
    /// An operator rolls back one feed.
    RollBackFeed {
        feed: String,
        to: Option<u64>,
        reply: oneshot::Sender<Result<RolledBack, ListError>>,
    },
    /// An operator rolls back all lists.
    RollBack {
        to: Option<u64>,
        reply: oneshot::Sender<Result<RolledBack, ListError>>,
    },
    /// A generation of another node is in the folder. The reply says whether it is live now.
    Offer {
        generation: u64,
        reply: oneshot::Sender<bool>,
    },
    /// A feed was defined, or defined again.
    Define {
        feed: Box<Feed>,
        reply: oneshot::Sender<()>,
    },
    /// A feed was removed.
    Remove {
        feed: String,
        reply: oneshot::Sender<()>,
    },
}

/// Changed rows of a feed, from one version to the next.
pub struct RowUpdate {
    pub feed: String,
    pub from: String,
    pub version: String,
    pub rows: Vec<RowChange>,
}
