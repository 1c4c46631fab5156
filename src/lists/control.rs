//! The lists as the API sees and works them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use api::control::{
    ActError, Change, Difference, FeedState, GenerationState, ListControl, ListEvent, ListedName,
    Origin, OverlayState, Refusal, RolledBack, Touched, TouchedName, WhatIf,
};
use async_trait::async_trait;
use blocklist_loader::{Bounds, Feed, diff, generations, newest, review};
use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    lists::{artefact, blocklist::Blocklist, current::CurrentLists},
    name::Name,
};
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{Act, board::Board, fetching::Wakes};

/// Names that an answer shows.
const SHOWN_MAX: usize = 100;

/// What was asked yesterday: names, and about how often.
///
/// Reads a file of several megabytes: not for the runtime's own threads.
pub type Yesterday = Arc<dyn Fn() -> Vec<(Name, u64)> + Send + Sync>;
/// Queries in which each feed decided.
pub type Hits = Box<dyn Fn() -> BTreeMap<String, u64> + Send + Sync>;

/// Speaks for the keeper.
pub struct Control {
    /// Where acts are handed in.
    pub acts: mpsc::Sender<Act>,
    /// What is known of feeds.
    pub board: Arc<Board>,
    /// The lists in use.
    pub live: Arc<CurrentLists>,
    /// Who can have feeds asked.
    pub wakes: Arc<Wakes>,
    /// The folder of the generations.
    pub directory: std::path::PathBuf,
    /// The folder that relative sources are seen from.
    pub base: std::path::PathBuf,
    /// What definitions of the API may name.
    pub bounds: Bounds,
    /// The taxonomy.
    pub taxonomy: Arc<Taxonomy>,
    /// What was asked yesterday.
    pub yesterday: Yesterday,
    /// Who decided.
    pub hits: Hits,
}

impl Control {
    async fn act<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Act) -> Result<T, ActError> {
        let (reply, answer) = oneshot::channel();
        let gone = |_| ActError::Failed("the node is about to end".to_owned());
        self.acts
            .send(make(reply))
            .await
            .map_err(|error| gone(error.to_string()))?;
        answer.await.map_err(|error| gone(error.to_string()))
    }

    async fn open(&self, generation: u64) -> Result<Arc<Blocklist>, ActError> {
        let live = self.live.current();
        if live.generation() == generation {
            return Ok(live);
        }
        let directory = self.directory.clone();
        let taxonomy = Arc::clone(&self.taxonomy);
        let opened = tokio::task::spawn_blocking(move || {
            generations::open(&directory, generation, &taxonomy)
        })
        .await;
        opened
            .ok()
            .and_then(Result::ok)
            .ok_or(ActError::UnknownGeneration(generation))
    }
}

#[async_trait]
impl ListControl for Control {
    async fn feeds(&self) -> Vec<FeedState> {
        self.board
            .states(&self.live.current(), &(self.hits)(), Timestamp::now())
    }

    async fn feed(&self, name: &str) -> Option<FeedState> {
        self.feeds()
            .await
            .into_iter()
            .find(|feed| feed.name == name)
    }

    async fn check_definition(&self, definition: Value) -> Result<Value, Refusal> {
        let feed: Feed = serde_path_to_error::deserialize(definition).map_err(|error| {
            // A key that is missing or unknown is named in the sentence, between backticks; of any
            // other it is known where it stands.
            let path = error.path().to_string();
            let message = error.inner().to_string();
            let field = if path == "." {
                message.split('`').nth(1).map(str::to_owned)
            } else {
                Some(path)
            };
            Refusal {
                field,
                code: "definition",
                message,
            }
        })?;
        let feed = feed.rooted(&self.base);
        self.bounds.check(&feed).map_err(|error| Refusal {
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
            Refusal {
                field: field.map(str::to_owned),
                code: "definition",
                message,
            }
        })?;
        serde_json::to_value(&feed).map_err(|error| Refusal {
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
                self.board.define(&feed, Origin::Api);
                let _ = self
                    .act(|reply| Act::Define {
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
        self.board.remove(name);
        let feed = name.to_owned();
        let _ = self.act(|reply| Act::Remove { feed, reply }).await;
    }

    async fn refresh(&self, name: &str) -> Result<(), ActError> {
        self.board.origin(name).ok_or(ActError::UnknownFeed)?;
        if !self.wakes.wake(name) {
            // A file: looked at again like all the others.
            self.acts
                .send(Act::Files)
                .await
                .map_err(|error| ActError::Failed(error.to_string()))?;
        }
        Ok(())
    }

    async fn what_if(&self, name: &str) -> Result<WhatIf, ActError> {
        self.board.origin(name).ok_or(ActError::UnknownFeed)?;
        let waiting = self.board.refused(name).ok_or(ActError::NothingRefused)?;
        let directory = self.directory.clone();
        let feed = name.to_owned();
        let yesterday = Arc::clone(&self.yesterday);
        let weighed = tokio::task::spawn_blocking(move || {
            weigh(&directory, &feed, waiting.version, &yesterday())
        })
        .await;
        weighed.map_err(|error| ActError::Failed(error.to_string()))?
    }

    async fn approve(&self, name: &str, version: Option<&str>, _by: &str) -> Result<(), ActError> {
        let feed = name.to_owned();
        let version = version.map(str::to_owned);
        self.act(|reply| Act::Approve {
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
    ) -> Result<RolledBack, ActError> {
        let feed = name.to_owned();
        self.act(|reply| Act::RollBackFeed { feed, to, reply })
            .await?
    }

    async fn generations(&self) -> Result<Vec<GenerationState>, ActError> {
        let directory = self.directory.clone();
        let live = self.live.load().generation();
        let listed =
            tokio::task::spawn_blocking(move || -> std::io::Result<Vec<GenerationState>> {
                Ok(newest(&directory)?
                    .into_iter()
                    .filter_map(|kept| state(&kept, live))
                    .collect())
            });
        let failed = |error: String| ActError::Failed(error);
        listed
            .await
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))
    }

    async fn at(&self, at: Timestamp) -> Result<Arc<Blocklist>, ActError> {
        let live = self.live.current();
        if live.header().built_at <= at {
            return Ok(live);
        }
        let directory = self.directory.clone();
        let taxonomy = Arc::clone(&self.taxonomy);
        let opened =
            tokio::task::spawn_blocking(move || super::open_at(&directory, &taxonomy, at)).await;
        let opened = opened.map_err(|error| ActError::Failed(error.to_string()))?;
        opened
            .map_err(|error| ActError::Failed(format!("{error:#}")))?
            .ok_or(ActError::NotKept(at))
    }

    async fn diff(&self, from: u64, to: u64, limit: usize) -> Result<Difference, ActError> {
        let before = self.open(from).await?;
        let after = self.open(to).await?;
        let differences =
            tokio::task::spawn_blocking(move || diff::diff(&before, &after, limit)).await;
        Ok(difference(
            from,
            to,
            differences.map_err(|error| ActError::Failed(error.to_string()))?,
        ))
    }

    async fn roll_back(&self, to: Option<u64>, _by: &str) -> Result<RolledBack, ActError> {
        self.act(|reply| Act::RollBack { to, reply }).await?
    }

    fn overlay(&self) -> OverlayState {
        let lists = self.live.current();
        let (entries, bytes) = lists.overlay_size();
        OverlayState {
            entries: entries as u64,
            bytes: bytes as u64,
            base_generation: lists.base_generation(),
            parent: lists.header().parent,
            last_error: self.board.last_error(),
            refused: self.board.refusals(),
        }
    }

    fn subscribe(&self) -> broadcast::Receiver<ListEvent> {
        self.board.subscribe()
    }
}

/// What differs between two generations, in the API's words.
pub fn difference(from: u64, to: u64, differences: diff::Diff) -> Difference {
    let diff::Diff {
        counts: moved,
        added,
        removed,
    } = differences;
    let listed = |names: Vec<diff::DiffName>| {
        names
            .into_iter()
            .map(
                |diff::DiffName {
                     name,
                     feed,
                     category,
                 }| ListedName {
                    name,
                    feed,
                    category,
                },
            )
            .collect()
    };
    let change =
        |((feed, category), moved): ((String, Option<String>), diff::EntryCounts)| Change {
            feed,
            category,
            added: moved.added,
            removed: moved.removed,
        };
    Difference {
        from,
        to,
        changes: moved.into_iter().map(change).collect(),
        added: listed(added),
        removed: listed(removed),
    }
}

/// A kept generation. One whose file cannot be read is not offered.
fn state(kept: &generations::Artefact, live: u64) -> Option<GenerationState> {
    let header = artefact::peek(&kept.path).ok()?;
    let bytes = std::fs::metadata(&kept.path).ok()?.len();
    Some(GenerationState {
        generation: kept.generation,
        parent: header.parent,
        built_at: header.built_at,
        names: header.names,
        entries: header.entries,
        bytes,
        sha256: artefact::sha256_of(&kept.path).ok()?,
        is_live: kept.generation == live,
        versions: header
            .feeds
            .into_iter()
            .filter(|feed| !feed.withdrawn)
            .map(|feed| (feed.name, feed.version))
            .collect(),
    })
}

/// What a refused version would change, and which of yesterday's queries it would have touched.
fn weigh(
    directory: &std::path::Path,
    feed: &str,
    version: String,
    yesterday: &[(Name, u64)],
) -> Result<WhatIf, ActError> {
    let mut what_if = WhatIf {
        feed: feed.to_owned(),
        version,
        newly_blocked: BTreeMap::new(),
        newly_unblocked: BTreeMap::new(),
        sample_blocked: Vec::new(),
        sample_unblocked: Vec::new(),
        queries_yesterday: Touched {
            queries: 0,
            names: 0,
            top: Vec::new(),
        },
    };
    let mut touched: HashMap<String, ()> = HashMap::new();
    let kept = review::changes(
        directory,
        feed,
        |review::NameChange {
             blocked,
             category,
             name,
         }| {
            let (counts, sample) = match blocked {
                true => (&mut what_if.newly_blocked, &mut what_if.sample_blocked),
                false => (&mut what_if.newly_unblocked, &mut what_if.sample_unblocked),
            };
            *counts
                .entry(category.clone().unwrap_or_else(|| "none".to_owned()))
                .or_default() += 1;
            if sample.len() < SHOWN_MAX {
                sample.push(ListedName {
                    name: name.clone(),
                    feed: feed.to_owned(),
                    category,
                });
            }
            touched.insert(name, ());
        },
    );
    match kept {
        Ok(Some(version)) if version == what_if.version => {}
        Ok(_) => {
            return Err(ActError::Failed(
                "what the version would change was not kept".to_owned(),
            ));
        }
        Err(error) => return Err(ActError::Failed(error.to_string())),
    }
    let mut asked: Vec<TouchedName> = yesterday
        .iter()
        .filter(|(name, _)| {
            name.borrow()
                .ancestors()
                .any(|ancestor| touched.contains_key(&ancestor.to_string()))
        })
        .map(|(name, queries)| TouchedName {
            name: name.to_string(),
            queries: *queries,
        })
        .collect();
    asked.sort_by(|a, b| b.queries.cmp(&a.queries).then_with(|| a.name.cmp(&b.name)));
    what_if.queries_yesterday.queries = asked.iter().map(|asked| asked.queries).sum();
    what_if.queries_yesterday.names = asked.len() as u64;
    asked.truncate(SHOWN_MAX);
    what_if.queries_yesterday.top = asked;
    Ok(what_if)
}
