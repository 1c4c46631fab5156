//! The status of all feeds, beside their entries: last fetches, alarms, refused versions; and the
//! events about them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use blocklist_loader::{Feed, Gate};
use jiff::Timestamp;
use metrics::{describe_counter, describe_gauge, gauge};
use policy::lists::{artefact::RejectedVersion, blocklist::Blocklist};
use tokio::sync::broadcast;

use super::{
    events::{ListEvents, event},
    feed_state::{Age, DefinedFeed, alarm_of, barred, refusal, shared_state},
    model::{EventKind, FeedState, ListEvent, Origin, RefusedVersion},
};

/// The status of all feeds.
pub struct ListStatus {
    feeds: Mutex<BTreeMap<String, DefinedFeed>>,
    last_error: Mutex<Option<String>>,
    events: ListEvents,
    started: Timestamp,
}

impl ListStatus {
    /// A status without feeds.
    pub fn new() -> Arc<Self> {
        describe();
        Arc::new(Self {
            feeds: Mutex::default(),
            last_error: Mutex::default(),
            events: ListEvents::default(),
            started: Timestamp::now(),
        })
    }

    fn feeds(&self) -> MutexGuard<'_, BTreeMap<String, DefinedFeed>> {
        self.feeds
            .lock()
            .expect("no code panics while it holds the feeds")
    }

    /// Adds a feed, or replaces its definition.
    pub fn define(&self, feed: &Feed, origin: Origin) {
        let defined = DefinedFeed::new(feed, origin);
        defined.show();
        self.feeds().insert(feed.name.clone(), defined);
    }

    pub fn remove(&self, name: &str) {
        if let Some(mut feed) = self.feeds().remove(name) {
            feed.clear_alarms();
        }
    }

    /// Where a feed is defined. `None` if it is not.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.feeds().get(name).map(|feed| feed.origin)
    }

    /// The version of a feed that waits for an operator.
    pub fn refused(&self, name: &str) -> Option<RefusedVersion> {
        self.feeds().get(name)?.refused.clone()
    }

    /// Why the last build failed, or what it refused.
    pub fn last_error(&self) -> Option<String> {
        self.lock_last_error().clone()
    }

    pub fn set_last_error(&self, error: Option<String>) {
        *self.lock_last_error() = error;
    }

    fn lock_last_error(&self) -> MutexGuard<'_, Option<String>> {
        self.last_error
            .lock()
            .expect("no code panics while it holds the error")
    }

    /// A fetch succeeded: alarms about earlier fetches end.
    pub fn fetched(&self, name: &str, now: Timestamp) {
        if let Some(feed) = self.feeds().get_mut(name) {
            feed.fetched_at = Some(now);
            // A refused version stays refused.
            feed.alarm = feed.refused.as_ref().map(alarm_of);
            feed.show();
        }
    }

    /// A gate stopped a version (`refused`: its name and number of entries), or a fetch failed. One
    /// event is published for as long as the reason stays the same.
    pub fn stopped(
        &self,
        name: &str,
        gate: Gate,
        detail: &str,
        refused: Option<(&str, u64)>,
        now: Timestamp,
    ) {
        let is_new = self
            .feeds()
            .get_mut(name)
            .is_some_and(|feed| feed.stopped(gate, detail, refused, now));
        if !is_new {
            return;
        }
        tracing::error!(
            feed = name,
            gate = gate.as_str(),
            detail,
            "a feed was stopped; it goes on with the entries it had"
        );
        let kind = if refused.is_some() {
            EventKind::FeedRefused
        } else {
            EventKind::FeedFailing
        };
        self.events.publish(ListEvent {
            gate: Some(gate.to_string()),
            detail: Some(detail.to_owned()),
            version: refused.map(|(version, _)| version.to_owned()),
            ..event(kind, Some(name), now)
        });
    }

    /// The content of these feeds could not be built. Each failure counts; one event is published
    /// for as long as the reason stays the same.
    pub fn not_built(&self, names: &[String], gate: Gate, detail: &str, now: Timestamp) {
        for name in names {
            let is_new = self
                .feeds()
                .get_mut(name)
                .is_some_and(|feed| feed.not_built(gate, detail, now));
            if !is_new {
                continue;
            }
            tracing::error!(
                feed = name,
                gate = gate.as_str(),
                detail,
                "a feed could not be built; it goes on with the entries it had"
            );
            self.events.publish(ListEvent {
                gate: Some(gate.to_string()),
                detail: Some(detail.to_owned()),
                ..event(EventKind::FeedFailing, Some(name), now)
            });
        }
    }

    /// A build succeeded, and refused these feeds.
    pub fn built(&self, refused: &[&str], generation: u64, now: Timestamp) {
        let mut live = Vec::new();
        for (name, feed) in self.feeds().iter_mut() {
            if feed.built(refused.contains(&name.as_str())) {
                live.push(name.clone());
            }
        }
        for name in live {
            self.publish(EventKind::FeedLive, Some(&name), generation, None, now);
        }
    }

    /// A feed is not read, because its definition is out of bounds.
    pub fn bar(&self, name: &str, detail: &str, now: Timestamp) {
        if let Some(feed) = self.feeds().get_mut(name) {
            feed.count(Gate::Definition);
            feed.barred = Some(barred(detail, now));
            feed.show();
        }
        tracing::error!(
            feed = name,
            gate = Gate::Definition.as_str(),
            detail,
            "a feed is not read; it goes on with the entries it had"
        );
    }

    /// The refused versions, by feed.
    pub fn refusals(&self) -> BTreeMap<String, RejectedVersion> {
        let feeds = self.feeds();
        feeds
            .iter()
            .filter_map(|(name, feed)| Some((name.clone(), refusal(feed.refused.as_ref()?))))
            .collect()
    }

    /// A version is live, so no version of the feed is refused.
    pub fn live(&self, name: &str, version: &str, generation: u64, now: Timestamp) {
        if let Some(feed) = self.feeds().get_mut(name) {
            feed.refused = None;
            feed.alarm = None;
            feed.show();
        }
        self.events.publish(ListEvent {
            version: Some(version.to_owned()),
            generation: Some(generation),
            ..event(EventKind::FeedLive, Some(name), now)
        });
    }

    /// Publishes any other event.
    pub fn publish(
        &self,
        kind: EventKind,
        feed: Option<&str>,
        generation: u64,
        detail: Option<String>,
        now: Timestamp,
    ) {
        self.events.publish(ListEvent {
            generation: Some(generation),
            detail,
            ..event(kind, feed, now)
        });
    }

    /// Subscribes to events from now on. The subscription ends at the shutdown.
    pub fn subscribe(&self) -> broadcast::Receiver<ListEvent> {
        self.events.subscribe()
    }

    /// Ends all subscriptions.
    pub fn close(&self) {
        self.events.close();
    }

    /// The states of all feeds. `hits` is the number of queries that each feed decided.
    pub fn states(
        &self,
        lists: &Blocklist,
        hits: &BTreeMap<String, u64>,
        now: Timestamp,
    ) -> Vec<FeedState> {
        let feeds = self.feeds();
        let header = lists.header();
        let summary = |name: &str| {
            header
                .feeds
                .iter()
                .find(|feed| feed.name == name && !feed.withdrawn)
        };
        let is_held = |name: &str| {
            summary(name).map_or_else(
                || header.held_back.iter().any(|held| held == name),
                |summary| summary.held,
            )
        };
        let own = feeds.iter().map(|(name, feed)| {
            feed.state(summary(name), is_held(name), hits, self.age(feed, now))
        });
        let shared = header
            .feeds
            .iter()
            .filter(|feed| !feeds.contains_key(&feed.name) && !feed.withdrawn);
        own.chain(shared.map(|summary| shared_state(summary, hits)))
            .collect()
    }

    /// The age of a feed. `None` for a file without a `max_age_s`: it is as old as its content.
    fn age(&self, feed: &DefinedFeed, now: Timestamp) -> Option<Age> {
        let is_watched = feed.feed.is_fetched() || feed.feed.max_age_s.is_some();
        let since = feed.fetched_at.unwrap_or(self.started);
        is_watched.then(|| Age {
            age_s: u64::try_from(now.as_second() - since.as_second()).unwrap_or(0),
            max_age_s: feed.feed.max_age().as_secs(),
        })
    }

    /// Looks for feeds that have become stale, and for those that no longer are.
    pub fn watch_ages(&self, now: Timestamp) {
        let mut stale = Vec::new();
        for (name, feed) in self.feeds().iter_mut() {
            let Some(age) = self.age(feed, now) else {
                continue;
            };
            gauge!("ox_protect_feed_age_seconds", "feed" => name.clone()).set(age.age_s as f64);
            gauge!("ox_protect_feed_stale", "feed" => name.clone())
                .set(f64::from(u8::from(age.is_stale())));
            if age.is_stale() && !feed.is_stale {
                stale.push((name.clone(), age));
            }
            feed.is_stale = age.is_stale();
        }
        for (name, Age { age_s, max_age_s }) in stale {
            let age = Duration::from_secs(age_s);
            let most = Duration::from_secs(max_age_s);
            tracing::error!(feed = name, ?age, ?most, "a feed is older than it may be");
            let detail =
                format!("{age:?} since its source was asked with success; it may be {most:?}");
            self.events.publish(ListEvent {
                detail: Some(detail),
                ..event(EventKind::FeedStale, Some(&name), now)
            });
        }
    }
}

fn describe() {
    describe_counter!(
        "ox_protect_feed_failures_total",
        "Refused versions and failed fetches, by feed and gate"
    );
    describe_gauge!(
        "ox_protect_feed_age_seconds",
        "Seconds since the last successful fetch of a feed"
    );
    describe_gauge!(
        "ox_protect_feed_stale",
        "1 while a feed is older than its max_age_s"
    );
    describe_gauge!("ox_protect_feed_entries", "Live entries of a feed");
    describe_gauge!(
        "ox_protect_feed_generation",
        "The generation in which a feed's live version became live"
    );
    describe_gauge!(
        "ox_protect_feed_version",
        "A feed's live version: serial, sequence, or the first digits of its SHA-256 as a number"
    );
    describe_gauge!(
        "ox_protect_feed_refused",
        "1 while a version of a feed waits for an operator"
    );
    describe_gauge!(
        "ox_protect_feed_alarm",
        "1 while a feed has an alarm: see GET /v1/feeds/{name}"
    );
    describe_gauge!(
        "ox_protect_feed_held",
        "1 while a feed is held at an earlier version"
    );
    describe_gauge!(
        "ox_protect_list_generation",
        "The live generation of the lists"
    );
    describe_gauge!(
        "ox_protect_feed_bad_lines",
        "Lines of a feed's live version that are no entry"
    );
    describe_gauge!("ox_protect_list_names", "Distinct names in the lists");
    describe_gauge!(
        "ox_protect_list_entries",
        "Entries in the lists; a name can have several"
    );
    describe_gauge!("ox_protect_list_bytes", "Size of the list artefact");
    describe_gauge!(
        "ox_protect_list_built_timestamp_seconds",
        "Unix time at which the live lists were built"
    );
    describe_counter!(
        "ox_protect_list_build_failures_total",
        "Builds of the lists that failed; the live lists stay"
    );
    describe_gauge!(
        "ox_protect_list_overlay_names",
        "Names in the overlay in front of the base"
    );
    describe_gauge!(
        "ox_protect_list_swap_seconds",
        "Seconds from the arrival of the last new content until new queries used it"
    );
}
