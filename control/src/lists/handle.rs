//! The lists as the API sees and changes them: commands to the manager, and its status.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use blocklist_loader::{Bounds, Feed, diff, generations as artefacts, newest};
use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    lists::{blocklist::Blocklist, current::CurrentLists},
    name::Name,
};
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    command::ListCommand,
    fetchers::Fetchers,
    generations,
    model::{
        DefinitionError, Difference, FeedState, GenerationState, ListControl, ListError, ListEvent,
        Origin, OverlayState, RolledBack, WhatIf,
    },
    review,
    status::ListStatus,
};

/// Returns the names asked for yesterday, with the approximate number of queries of each.
///
/// Reads a file of several megabytes, so it must run on a blocking thread.
pub type Yesterday = Arc<dyn Fn() -> Vec<(Name, u64)> + Send + Sync>;
/// Returns the number of queries that each feed decided, since the start.
pub type QueryHits = Box<dyn Fn() -> BTreeMap<String, u64> + Send + Sync>;

/// Sends commands to the manager, and reads the status.
pub struct ManagerHandle {
    pub commands: mpsc::Sender<ListCommand>,
    pub status: Arc<ListStatus>,
    pub live: Arc<CurrentLists>,
    pub fetchers: Arc<Fetchers>,
    /// The folder of the generations.
    pub directory: PathBuf,
    /// The folder to which relative sources are relative.
    pub base: PathBuf,
    /// Where feeds of the API may come from.
    pub bounds: Bounds,
    pub taxonomy: Arc<Taxonomy>,
    pub yesterday: Yesterday,
    pub hits: QueryHits,
}

impl ManagerHandle {
    async fn send<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<T>) -> ListCommand,
    ) -> Result<T, ListError> {
        let (reply, answer) = oneshot::channel();
        let gone = |_| ListError::Failed("the node is about to end".to_owned());
        self.commands
            .send(make(reply))
            .await
            .map_err(|error| gone(error.to_string()))?;
        answer.await.map_err(|error| gone(error.to_string()))
    }

    async fn open(&self, generation: u64) -> Result<Arc<Blocklist>, ListError> {
        let live = self.live.current();
        if live.generation() == generation {
            return Ok(live);
        }
        let directory = self.directory.clone();
        let taxonomy = Arc::clone(&self.taxonomy);
        let opened =
            tokio::task::spawn_blocking(move || artefacts::open(&directory, generation, &taxonomy))
                .await;
        opened
            .ok()
            .and_then(Result::ok)
            .ok_or(ListError::UnknownGeneration(generation))
    }
}

#[async_trait]
impl ListControl for ManagerHandle {
    async fn feeds(&self) -> Vec<FeedState> {
        self.status
            .states(&self.live.current(), &(self.hits)(), Timestamp::now())
    }

    async fn feed(&self, name: &str) -> Option<FeedState> {
        self.feeds()
            .await
            .into_iter()
            .find(|feed| feed.name == name)
    }

    async fn check_definition(&self, definition: Value) -> Result<Value, DefinitionError> {
        let feed: Feed = serde_path_to_error::deserialize(definition).map_err(|error| {
            // The message names a missing or unknown key in backticks. Of any other key, the path is
            // known.
            let path = error.path().to_string();
            let message = error.inner().to_string();
            let field = if path == "." {
                message.split('`').nth(1).map(str::to_owned)
            } else {
                Some(path)
            };
            DefinitionError {
                field,
                code: "definition",
                message,
            }
        })?;
        let feed = feed.rooted(&self.base);
        self.bounds.check(&feed).map_err(|error| DefinitionError {
            field: Some(error.field().to_owned()),
            code: error.code(),
            message: error.to_string(),
        })?;
        feed.check(&self.taxonomy).map_err(|error| {
            let message = error.fault.to_string();
            let field = message
                .split([' ', ':'])
                .next()
                .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            DefinitionError {
                field: field.map(str::to_owned),
                code: "definition",
                message,
            }
        })?;
        serde_json::to_value(&feed).map_err(|error| DefinitionError {
            field: None,
            code: "definition",
            message: error.to_string(),
        })
    }

    async fn define(&self, name: &str, definition: Value, _is_new: bool) {
        match serde_json::from_value::<Feed>(definition) {
            Ok(feed) => {
                let feed = Feed {
                    bounds: Some(self.bounds.clone()),
                    ..feed
                };
                self.status.define(&feed, Origin::Api);
                let _ = self
                    .send(|reply| ListCommand::Define {
                        feed: Box::new(feed),
                        reply,
                    })
                    .await;
            }
            Err(error) => {
                tracing::error!(feed = name, %error, "a definition that was checked cannot be read")
            }
        }
    }

    async fn remove(&self, name: &str) {
        self.status.remove(name);
        let feed = name.to_owned();
        let _ = self.send(|reply| ListCommand::Remove { feed, reply }).await;
    }

    async fn refresh(&self, name: &str) -> Result<(), ListError> {
        self.status.origin(name).ok_or(ListError::UnknownFeed)?;
        if !self.fetchers.fetch_now(name) {
            // A file: the manager checks it with all the others.
            self.commands
                .send(ListCommand::Files)
                .await
                .map_err(|error| ListError::Failed(error.to_string()))?;
        }
        Ok(())
    }

    async fn what_if(&self, name: &str) -> Result<WhatIf, ListError> {
        self.status.origin(name).ok_or(ListError::UnknownFeed)?;
        let waiting = self.status.refused(name).ok_or(ListError::NothingRefused)?;
        let directory = self.directory.clone();
        let feed = name.to_owned();
        let yesterday = Arc::clone(&self.yesterday);
        let weighed = tokio::task::spawn_blocking(move || {
            review::what_if(&directory, &feed, waiting.version, &yesterday())
        })
        .await;
        weighed.map_err(|error| ListError::Failed(error.to_string()))?
    }

    async fn approve(&self, name: &str, version: Option<&str>, _by: &str) -> Result<(), ListError> {
        let feed = name.to_owned();
        let version = version.map(str::to_owned);
        self.send(|reply| ListCommand::Approve {
            feed,
            version,
            reply,
        })
        .await?
    }

    async fn roll_back_feed(
        &self,
        name: &str,
        to: Option<u64>,
        _by: &str,
    ) -> Result<RolledBack, ListError> {
        let feed = name.to_owned();
        self.send(|reply| ListCommand::RollBackFeed { feed, to, reply })
            .await?
    }

    async fn generations(&self) -> Result<Vec<GenerationState>, ListError> {
        let directory = self.directory.clone();
        let live = self.live.load().generation();
        let listed =
            tokio::task::spawn_blocking(move || -> std::io::Result<Vec<GenerationState>> {
                Ok(newest(&directory)?
                    .into_iter()
                    .filter_map(|kept| generations::state(&kept, live))
                    .collect())
            });
        let failed = |error: String| ListError::Failed(error);
        listed
            .await
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))
    }

    async fn at(&self, at: Timestamp) -> Result<Arc<Blocklist>, ListError> {
        let live = self.live.current();
        if live.header().built_at <= at {
            return Ok(live);
        }
        let directory = self.directory.clone();
        let taxonomy = Arc::clone(&self.taxonomy);
        let opened =
            tokio::task::spawn_blocking(move || generations::open_at(&directory, &taxonomy, at))
                .await;
        let opened = opened.map_err(|error| ListError::Failed(error.to_string()))?;
        opened
            .map_err(|error| ListError::Failed(format!("{error:#}")))?
            .ok_or(ListError::NotKept(at))
    }

    async fn diff(&self, from: u64, to: u64, limit: usize) -> Result<Difference, ListError> {
        let before = self.open(from).await?;
        let after = self.open(to).await?;
        let differences =
            tokio::task::spawn_blocking(move || diff::diff(&before, &after, limit)).await;
        Ok(generations::difference(
            from,
            to,
            differences.map_err(|error| ListError::Failed(error.to_string()))?,
        ))
    }

    async fn roll_back(&self, to: Option<u64>, _by: &str) -> Result<RolledBack, ListError> {
        self.send(|reply| ListCommand::RollBack { to, reply })
            .await?
    }

    fn overlay(&self) -> OverlayState {
        let lists = self.live.current();
        let (entries, bytes) = lists.overlay_size();
        OverlayState {
            entries: entries as u64,
            bytes: bytes as u64,
            base_generation: lists.base_generation(),
            parent: lists.header().parent,
            last_error: self.status.last_error(),
            refused: self.status.refusals(),
        }
    }

    fn subscribe(&self) -> broadcast::Receiver<ListEvent> {
        self.status.subscribe()
    }
}
