//! The lists as the API sees and works them: for now what the keeper of local files can say. What it cannot do yet it refuses.

use std::{collections::BTreeMap, sync::Arc};

use api::control::{
    ActError, Condition, Difference, FeedState, GenerationState, ListControl, ListEvent, Origin, OverlayState, Refusal, RolledBack, WhatIf,
};
use async_trait::async_trait;
use policy::artefact::{FeedSummary, Header};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::lists::Keeper;

/// Events that a slow reader may be behind.
const EVENTS_MAX: usize = 256;

/// The keeper, and whoever listens to what happens.
pub struct Control {
    keeper: Arc<Keeper>,
    events: broadcast::Sender<ListEvent>,
}

impl Control {
    /// Speaks for a keeper.
    pub fn new(keeper: Arc<Keeper>) -> Self {
        Self { keeper, events: broadcast::Sender::new(EVENTS_MAX) }
    }

    fn error(&self) -> Option<String> {
        self.keeper.last_error.lock().expect("nothing panics while it holds the lock").clone()
    }
}

fn state(header: &Header, feed: &FeedSummary) -> FeedState {
    FeedState {
        name: feed.name.clone(),
        source: feed.source.clone(),
        format: feed.format.clone(),
        tier: feed.tier,
        origin: Origin::Config,
        state: if feed.refused.is_some() { Condition::Refused } else { Condition::Live },
        version: feed.report.sha256.get(..16).map(str::to_owned),
        generation: Some(header.generation),
        fetched_at: Some(header.built_at),
        published_at: None,
        age_s: None,
        max_age_s: None,
        is_stale: false,
        entries: feed.report.entries,
        report: feed.report.clone(),
        alarm: None,
        refused: None,
        failures: BTreeMap::new(),
        hits: 0,
        definition: json!({ "name": feed.name, "source": feed.source, "format": feed.format, "scope": feed.scope, "tier": feed.tier }),
    }
}

fn not_built<T>() -> Result<T, ActError> {
    Err(ActError::Failed("not built yet in this version".to_owned()))
}

#[async_trait]
impl ListControl for Control {
    async fn feeds(&self) -> Vec<FeedState> {
        let lists = self.keeper.live.current();
        lists.header().feeds.iter().map(|feed| state(lists.header(), feed)).collect()
    }

    async fn feed(&self, name: &str) -> Option<FeedState> {
        self.feeds().await.into_iter().find(|feed| feed.name == name)
    }

    async fn check_definition(&self, _: Value) -> Result<Value, Refusal> {
        Err(Refusal { field: None, message: "feeds are defined in the configuration in this version".to_owned() })
    }

    async fn define(&self, _: &str, _: Value, _: bool) {}

    async fn remove(&self, _: &str) {}

    async fn refresh(&self, _: &str) -> Result<(), ActError> {
        not_built()
    }

    async fn what_if(&self, _: &str) -> Result<WhatIf, ActError> {
        not_built()
    }

    async fn approve(&self, _: &str, _: Option<&str>, _: &str) -> Result<(), ActError> {
        not_built()
    }

    async fn roll_back_feed(&self, _: &str, _: Option<u64>, _: &str) -> Result<RolledBack, ActError> {
        not_built()
    }

    async fn generations(&self) -> Result<Vec<GenerationState>, ActError> {
        not_built()
    }

    async fn diff(&self, _: u64, _: u64, _: usize) -> Result<Difference, ActError> {
        not_built()
    }

    async fn roll_back(&self, _: Option<u64>, _: &str) -> Result<RolledBack, ActError> {
        not_built()
    }

    fn overlay(&self) -> OverlayState {
        OverlayState { base_generation: self.keeper.live.load().generation(), last_error: self.error(), ..OverlayState::default() }
    }

    fn subscribe(&self) -> broadcast::Receiver<ListEvent> {
        self.events.subscribe()
    }
}
