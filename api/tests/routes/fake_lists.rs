//! A fake list manager: two feeds, three generations, and a record of every operation.
//!
//! ```text
//! court   of the configuration, live
//! bets    of the configuration, version "2" was refused by the gate "shrink", which can be opened
//! leaky   of the configuration, version "9" was refused by the gate "signature", which cannot
//! ```

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use control::lists::model::{
    Alarm, Change, Condition, DefinitionError, Difference, FeedState, GenerationState, ListControl,
    ListError, ListEvent, ListedName, Origin, OverlayState, RefusedVersion, RolledBack, Touched,
    WhatIf,
};
use jiff::Timestamp;
use policy::lists::{artefact::FeedReport, blocklist::Blocklist, entry::Tier};
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// Few, so that a test can fall behind.
pub const EVENTS_MAX: usize = 4;

/// The generation that is live at first.
pub const LIVE: u64 = 7;

pub struct FakeLists {
    state: Mutex<State>,
}

pub struct State {
    pub feeds: BTreeMap<String, FeedState>,
    /// The operations, in words.
    pub asked: Vec<String>,
    /// The result of the next operation.
    pub fails_with: Option<ListError>,
    pub events: Option<broadcast::Sender<ListEvent>>,
    /// Whether the next operation panics.
    pub panics: bool,
}

pub fn feed(name: &str, origin: Origin, definition: Value) -> FeedState {
    FeedState {
        name: name.to_owned(),
        source: definition["source"].as_str().unwrap().to_owned(),
        format: "domains".to_owned(),
        tier: Tier::Choice,
        origin,
        state: Condition::Live,
        version: Some("1".to_owned()),
        generation: Some(LIVE),
        fetched_at: Some(Timestamp::UNIX_EPOCH),
        published_at: None,
        age_s: Some(9),
        max_age_s: Some(3600),
        is_stale: false,
        entries: 1,
        report: FeedReport::default(),
        alarm: None,
        refused: None,
        failures: BTreeMap::from([("size".to_owned(), 2)]),
        hits: 5,
        definition,
    }
}

fn refused(name: &str, version: &str, gate: &str, may_be_approved: bool) -> FeedState {
    let detail = format!("{gate} of https://ox:hunter2@lists.example/{name}?key=hunter2");
    let at = Timestamp::UNIX_EPOCH;
    let version = version.to_owned();
    let definition = json!({ "name": name, "source": format!("https://ox:hunter2@lists.example/{name}?key=hunter2"), "password": "hunter2" });
    FeedState {
        state: Condition::Refused,
        alarm: Some(Alarm {
            gate: gate.to_owned(),
            detail: detail.clone(),
            since: at,
            version: Some(version.clone()),
        }),
        refused: Some(RefusedVersion {
            version,
            gate: gate.to_owned(),
            detail,
            at,
            entries: Some(3),
            may_be_approved,
        }),
        ..feed(name, Origin::Config, definition)
    }
}

impl FakeLists {
    pub fn new() -> Self {
        let court = feed(
            "court",
            Origin::Config,
            json!({ "name": "court", "source": "lists/court.txt" }),
        );
        let feeds = [
            court,
            refused("bets", "2", "shrink", true),
            refused("leaky", "9", "signature", false),
        ];
        let feeds = feeds
            .into_iter()
            .map(|feed| (feed.name.clone(), feed))
            .collect();
        let events = Some(broadcast::Sender::new(EVENTS_MAX));
        Self {
            state: Mutex::new(State {
                feeds,
                asked: Vec::new(),
                fails_with: None,
                events,
                panics: false,
            }),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn say(&self, event: ListEvent) {
        let _ = self.state().events.as_ref().unwrap().send(event);
    }

    /// Makes the next operation panic.
    pub fn panics(&self) {
        self.state().panics = true;
    }

    fn act(&self, asked: String) -> Result<(), ListError> {
        let panics = std::mem::take(&mut self.state().panics);
        assert!(!panics, "what the caller must not see");
        let mut state = self.state();
        state.asked.push(asked);
        state.fails_with.take().map_or(Ok(()), Err)
    }
}

pub fn listed(name: &str) -> ListedName {
    ListedName {
        name: name.to_owned(),
        feed: "bets".to_owned(),
        category: Some("gambling".to_owned()),
    }
}

#[async_trait]
impl ListControl for FakeLists {
    async fn feeds(&self) -> Vec<FeedState> {
        self.state().feeds.values().rev().cloned().collect()
    }

    async fn feed(&self, name: &str) -> Option<FeedState> {
        self.state().feeds.get(name).cloned()
    }

    async fn check_definition(&self, mut definition: Value) -> Result<Value, DefinitionError> {
        if definition["source"].as_str().is_none_or(str::is_empty) {
            return Err(DefinitionError {
                field: Some("source".to_owned()),
                code: "definition",
                message: "source is empty; name a file or a folder".to_owned(),
            });
        }
        definition["tier"] = "choice".into();
        Ok(definition)
    }

    async fn define(&self, name: &str, definition: Value, is_new: bool) {
        let mut state = self.state();
        state
            .asked
            .push(format!("define {name} new={is_new} {definition}"));
        let defined = FeedState {
            state: Condition::Waiting,
            ..feed(name, Origin::Api, definition)
        };
        state.feeds.insert(name.to_owned(), defined);
    }

    async fn remove(&self, name: &str) {
        let mut state = self.state();
        state.asked.push(format!("remove {name}"));
        state.feeds.remove(name);
    }

    async fn refresh(&self, name: &str) -> Result<(), ListError> {
        self.act(format!("refresh {name}"))
    }

    async fn what_if(&self, name: &str) -> Result<WhatIf, ListError> {
        self.act(format!("what-if {name}"))?;
        let refused = self.state().feeds[name]
            .refused
            .clone()
            .ok_or(ListError::NothingRefused)?;
        Ok(WhatIf {
            feed: name.to_owned(),
            version: refused.version,
            newly_blocked: BTreeMap::from([("gambling".to_owned(), 2)]),
            newly_unblocked: BTreeMap::new(),
            sample_blocked: vec![listed("a.example")],
            sample_unblocked: Vec::new(),
            queries_yesterday: Touched {
                queries: 12,
                names: 1,
                top: Vec::new(),
            },
        })
    }

    async fn approve(&self, name: &str, version: Option<&str>, by: &str) -> Result<(), ListError> {
        self.act(format!("approve {name} {version:?} by {by}"))?;
        let mut state = self.state();
        let feed = state.feeds.get_mut(name).unwrap();
        (feed.state, feed.refused, feed.version) =
            (Condition::Live, None, version.map(str::to_owned));
        Ok(())
    }

    async fn roll_back_feed(
        &self,
        name: &str,
        to: Option<u64>,
        by: &str,
    ) -> Result<RolledBack, ListError> {
        self.act(format!("roll back {name} to {to:?} by {by}"))?;
        self.state().feeds.get_mut(name).unwrap().state = Condition::Held;
        Ok(RolledBack {
            from: LIVE,
            to: to.unwrap_or(LIVE - 1),
            live: LIVE + 1,
            took_ms: 0.5,
        })
    }

    async fn at(&self, _: Timestamp) -> Result<Arc<Blocklist>, ListError> {
        Err(ListError::NotKept(Timestamp::UNIX_EPOCH))
    }

    async fn generations(&self) -> Result<Vec<GenerationState>, ListError> {
        let generation = |number: u64| GenerationState {
            generation: number,
            parent: (number == LIVE).then_some(number - 1),
            built_at: Timestamp::UNIX_EPOCH,
            names: 3,
            entries: 3,
            bytes: 100,
            sha256: "0".repeat(64),
            is_live: number == LIVE,
            versions: BTreeMap::from([("bets".to_owned(), "1".to_owned())]),
        };
        Ok((LIVE - 2..=LIVE).rev().map(generation).collect())
    }

    async fn diff(&self, from: u64, to: u64, limit: usize) -> Result<Difference, ListError> {
        self.act(format!("diff {from} {to} {limit}"))?;
        let change = Change {
            feed: "bets".to_owned(),
            category: Some("gambling".to_owned()),
            added: 1,
            removed: 2,
        };
        Ok(Difference {
            from,
            to,
            changes: vec![change],
            added: vec![listed("a.example")],
            removed: vec![listed("b.example")],
        })
    }

    async fn roll_back(&self, to: Option<u64>, by: &str) -> Result<RolledBack, ListError> {
        self.act(format!("roll back to {to:?} by {by}"))?;
        let to = to.unwrap_or(LIVE - 1);
        Ok(RolledBack {
            from: LIVE,
            to,
            live: to,
            took_ms: 0.5,
        })
    }

    fn overlay(&self) -> OverlayState {
        let last_error =
            Some("bets: no answer from https://ox:hunter2@lists.example/bets".to_owned());
        OverlayState {
            entries: 10,
            bytes: 1_000,
            base_generation: 5,
            parent: Some(6),
            last_error,
            refused: Default::default(),
        }
    }

    fn subscribe(&self) -> broadcast::Receiver<ListEvent> {
        self.state().events.as_ref().map_or_else(
            || broadcast::Sender::new(1).subscribe(),
            broadcast::Sender::subscribe,
        )
    }
}
