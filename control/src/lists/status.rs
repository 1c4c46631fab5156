//! What is known of each feed beside its entries: when it was asked, what went wrong, what waits
//! for an operator; and who is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use super::model::{Alarm, Condition, EventKind, FeedState, ListEvent, Origin, RefusedVersion};
use blocklist_loader::{Feed, Gate};
use jiff::Timestamp;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use policy::lists::{
    artefact::{FeedSummary, Refused},
    blocklist::Blocklist,
};
use tokio::sync::broadcast;

/// Events that a slow reader may be behind.
const EVENTS_MAX: usize = 256;

/// One feed's state.
#[derive(Debug, Clone)]
struct Entry {
    feed: Feed,
    origin: Origin,
    /// When the source was last asked with success.
    fetched_at: Option<Timestamp>,
    /// What is wrong with the source, or with the version that is refused.
    alarm: Option<Alarm>,
    refused: Option<RefusedVersion>,
    /// Why what came of it could not be built; it is tried again.
    build: Option<Alarm>,
    /// Why it is not read at all.
    barred: Option<Alarm>,
    failures: BTreeMap<Gate, u64>,
    is_stale: bool,
}

impl Entry {
    /// What stands most in the way.
    fn foremost(&self) -> Option<&Alarm> {
        self.barred
            .as_ref()
            .or(self.build.as_ref())
            .or(self.alarm.as_ref())
    }

    fn count(&mut self, gate: Gate) {
        counter!("ox_protect_feed_failures_total", "feed" => self.feed.name.clone(), "gate" => gate.as_str()).increment(1);
        *self.failures.entry(gate).or_default() += 1;
    }

    /// What is wrong with it, as gauges.
    fn show(&self) {
        let flag = |is_so: bool| f64::from(u8::from(is_so));
        gauge!("ox_protect_feed_refused", "feed" => self.feed.name.clone())
            .set(flag(self.refused.is_some()));
        gauge!("ox_protect_feed_alarm", "feed" => self.feed.name.clone())
            .set(flag(self.foremost().is_some()));
    }
}

/// The feeds, and who listens.
pub struct ListStatus {
    entries: Mutex<BTreeMap<String, Entry>>,
    last_error: Mutex<Option<String>>,
    events: Mutex<Option<broadcast::Sender<ListEvent>>>,
    started: Timestamp,
}

impl ListStatus {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        describe();
        let events = Mutex::new(Some(broadcast::Sender::new(EVENTS_MAX)));
        Arc::new(Self {
            entries: Mutex::default(),
            last_error: Mutex::default(),
            events,
            started: Timestamp::now(),
        })
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries
            .lock()
            .expect("nothing panics while it holds the status")
    }

    /// Takes a feed in, or its new definition.
    pub fn define(&self, feed: &Feed, origin: Origin) {
        let entry = Entry {
            feed: feed.clone(),
            origin,
            fetched_at: None,
            alarm: None,
            refused: None,
            build: None,
            barred: None,
            failures: BTreeMap::new(),
            is_stale: false,
        };
        entry.show();
        self.entries().insert(feed.name.clone(), entry);
    }

    /// Forgets a feed.
    pub fn remove(&self, name: &str) {
        if let Some(entry) = self.entries().remove(name) {
            Entry {
                alarm: None,
                refused: None,
                build: None,
                barred: None,
                ..entry
            }
            .show();
        }
    }

    /// Who defined a feed; none where nobody did.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.entries().get(name).map(|entry| entry.origin)
    }

    /// The version that waits for an operator.
    pub fn refused(&self, name: &str) -> Option<RefusedVersion> {
        self.entries().get(name)?.refused.clone()
    }

    /// Why the last build went wrong, if it did.
    pub fn last_error(&self) -> Option<String> {
        self.last_error
            .lock()
            .expect("nothing panics while it holds the lock")
            .clone()
    }

    /// Says why a build went wrong, or that all is well.
    pub fn set_last_error(&self, error: Option<String>) {
        *self
            .last_error
            .lock()
            .expect("nothing panics while it holds the lock") = error;
    }

    /// A source was asked with success: whatever was wrong with asking it is over.
    pub fn fetched(&self, name: &str, now: Timestamp) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.fetched_at = Some(now);
            // What a gate of sense stopped is still stopped.
            entry.alarm = entry.refused.as_ref().map(alarm_of);
            entry.show();
        }
    }

    /// Something stopped a version, or the asking for one. An event is told once for as long as the
    /// reason stays the same; a version counts once however often it is read again.
    pub fn stopped(
        &self,
        name: &str,
        gate: Gate,
        detail: &str,
        refused: Option<(&str, u64)>,
        now: Timestamp,
    ) {
        let is_news = {
            let mut entries = self.entries();
            let Some(entry) = entries.get_mut(name) else {
                return;
            };
            let version = refused.map(|(version, _)| version.to_owned());
            let is_same = |alarm: &Alarm| alarm.gate == gate.as_str() && alarm.version == version;
            let since = entry
                .alarm
                .as_ref()
                .filter(|alarm| is_same(alarm))
                .map(|alarm| alarm.since);
            if since.is_none() || refused.is_none() {
                entry.count(gate);
            }
            let gate_word = gate.to_string();
            let detail = detail.to_owned();
            let at = since.unwrap_or(now);
            match refused {
                Some((version, entries)) => {
                    let version = version.to_owned();
                    let entries = Some(entries);
                    let may_be_approved = gate.may_be_approved();
                    let refused = RefusedVersion {
                        version,
                        gate: gate_word,
                        detail,
                        at,
                        entries,
                        may_be_approved,
                    };
                    entry.alarm = Some(alarm_of(&refused));
                    entry.refused = Some(refused);
                }
                None => {
                    entry.alarm = Some(Alarm {
                        gate: gate_word,
                        detail,
                        since: at,
                        version,
                    })
                }
            }
            entry.show();
            since.is_none()
        };
        if is_news {
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
            let version = refused.map(|(version, _)| version.to_owned());
            self.tell(ListEvent {
                gate: Some(gate.to_string()),
                detail: Some(detail.to_owned()),
                version,
                ..event(kind, Some(name), now)
            });
        }
    }

    /// What came of these feeds could not be built. Counted each time, told once for as long as the
    /// reason stays the same.
    pub fn not_built(&self, feeds: &[String], gate: Gate, detail: &str, now: Timestamp) {
        let mut news = Vec::new();
        for name in feeds {
            let mut entries = self.entries();
            let Some(entry) = entries.get_mut(name) else {
                continue;
            };
            entry.count(gate);
            let since = entry
                .build
                .as_ref()
                .filter(|alarm| alarm.gate == gate.as_str())
                .map(|alarm| alarm.since);
            entry.build = Some(Alarm {
                gate: gate.to_string(),
                detail: detail.to_owned(),
                since: since.unwrap_or(now),
                version: None,
            });
            entry.show();
            if since.is_none() {
                news.push(name);
            }
        }
        for name in news {
            tracing::error!(
                feed = name,
                gate = gate.as_str(),
                detail,
                "a feed could not be built; it goes on with the entries it had"
            );
            let told = ListEvent {
                gate: Some(gate.to_string()),
                detail: Some(detail.to_owned()),
                ..event(EventKind::FeedFailing, Some(name), now)
            };
            self.tell(told);
        }
    }

    /// A build came to its end: what is refused is what it says, and nothing waits for a build.
    pub fn built(&self, refused: &[&str], generation: u64, now: Timestamp) {
        let mut over = Vec::new();
        for entry in self.entries().values_mut() {
            entry.build = None;
            if entry.refused.is_some() && !refused.contains(&entry.feed.name.as_str()) {
                let was = entry.refused.take().map(|refused| refused.version);
                entry.alarm = entry
                    .alarm
                    .take()
                    .filter(|alarm| alarm.version.is_none() || alarm.version != was);
                over.push(entry.feed.name.clone());
            }
            entry.show();
        }
        for name in over {
            self.tell(ListEvent {
                generation: Some(generation),
                ..event(EventKind::FeedLive, Some(&name), now)
            });
        }
    }

    /// A feed is not read, because its definition names what it must not.
    pub fn bar(&self, name: &str, detail: &str, now: Timestamp) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.count(Gate::Definition);
            entry.barred = Some(Alarm {
                gate: Gate::Definition.to_string(),
                detail: detail.to_owned(),
                since: now,
                version: None,
            });
            entry.show();
        }
        tracing::error!(
            feed = name,
            gate = Gate::Definition.as_str(),
            detail,
            "a feed is not read; it goes on with the entries it had"
        );
    }

    /// What is refused at the moment, by feed.
    pub fn refusals(&self) -> BTreeMap<String, Refused> {
        let of = |refused: RefusedVersion| Refused {
            version: refused.version,
            gate: refused.gate,
            detail: refused.detail,
            entries: refused.entries.unwrap_or(0),
            at: refused.at,
        };
        let entries = self.entries();
        entries
            .iter()
            .filter_map(|(name, entry)| Some((name.clone(), of(entry.refused.clone()?))))
            .collect()
    }

    /// A version is live: nothing waits any more.
    pub fn live(&self, name: &str, version: &str, generation: u64, now: Timestamp) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.refused = None;
            entry.alarm = None;
            entry.show();
        }
        self.tell(ListEvent {
            version: Some(version.to_owned()),
            generation: Some(generation),
            ..event(EventKind::FeedLive, Some(name), now)
        });
    }

    /// Tells of something else.
    pub fn publish(
        &self,
        kind: EventKind,
        name: Option<&str>,
        generation: u64,
        detail: Option<String>,
        now: Timestamp,
    ) {
        self.tell(ListEvent {
            generation: Some(generation),
            detail,
            ..event(kind, name, now)
        });
    }

    fn tell(&self, event: ListEvent) {
        if let Some(events) = &*self
            .events
            .lock()
            .expect("nothing panics while it holds the events")
        {
            // Nobody needs to listen.
            let _ = events.send(event);
        }
    }

    /// Events from now on; none any more once the daemon ends.
    pub fn subscribe(&self) -> broadcast::Receiver<ListEvent> {
        let events = self
            .events
            .lock()
            .expect("nothing panics while it holds the events");
        events.as_ref().map_or_else(
            || broadcast::Sender::new(1).subscribe(),
            broadcast::Sender::subscribe,
        )
    }

    /// Ends the streams of all who listen.
    pub fn close(&self) {
        self.events
            .lock()
            .expect("nothing panics while it holds the events")
            .take();
    }

    /// Feeds as they are now.
    pub fn states(
        &self,
        lists: &Blocklist,
        hits: &BTreeMap<String, u64>,
        now: Timestamp,
    ) -> Vec<FeedState> {
        let entries = self.entries();
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
        let own = entries.values().map(|entry| {
            let name = &entry.feed.name;
            state(
                entry,
                summary(name),
                is_held(name),
                hits,
                self.age(entry, now),
            )
        });
        // What another node, or another configuration, built of feeds that this one does not
        // define.
        let shared = header
            .feeds
            .iter()
            .filter(|feed| !entries.contains_key(&feed.name) && !feed.withdrawn);
        own.chain(shared.map(|summary| shared_state(summary, hits)))
            .collect()
    }

    /// How old what is known of a source is, and how old it may be, in seconds. A file is not
    /// asked: it is as old as its content, and only where somebody says how old that may be.
    fn age(&self, entry: &Entry, now: Timestamp) -> Option<(u64, u64)> {
        let is_watched = entry.feed.is_fetched() || entry.feed.max_age_s.is_some();
        let since = entry.fetched_at.unwrap_or(self.started);
        is_watched.then(|| {
            (
                u64::try_from(now.as_second() - since.as_second()).unwrap_or(0),
                entry.feed.max_age().as_secs(),
            )
        })
    }

    /// Looks for feeds that have become too old, and for those that are so no longer.
    pub fn watch_ages(&self, now: Timestamp) {
        let mut stale = Vec::new();
        {
            let mut entries = self.entries();
            let ages: Vec<_> = entries.values().map(|entry| self.age(entry, now)).collect();
            for (entry, age) in entries.values_mut().zip(ages) {
                let Some((age, most)) = age else { continue };
                let name = entry.feed.name.clone();
                gauge!("ox_protect_feed_age_seconds", "feed" => name.clone()).set(age as f64);
                gauge!("ox_protect_feed_stale", "feed" => name.clone())
                    .set(f64::from(u8::from(age > most)));
                if age > most && !entry.is_stale {
                    stale.push((name, Duration::from_secs(age), Duration::from_secs(most)));
                }
                entry.is_stale = age > most;
            }
        }
        for (name, age, most) in stale {
            tracing::error!(feed = name, ?age, ?most, "a feed is older than it may be");
            let detail =
                format!("{age:?} since its source was asked with success; it may be {most:?}");
            self.tell(ListEvent {
                detail: Some(detail),
                ..event(EventKind::FeedStale, Some(&name), now)
            });
        }
    }
}

/// The alarm of a version that a gate stopped.
fn alarm_of(refused: &RefusedVersion) -> Alarm {
    let RefusedVersion {
        version,
        gate,
        detail,
        at,
        ..
    } = refused.clone();
    Alarm {
        gate,
        detail,
        since: at,
        version: Some(version),
    }
}

fn event(kind: EventKind, feed: Option<&str>, at: Timestamp) -> ListEvent {
    ListEvent {
        at,
        kind,
        feed: feed.map(str::to_owned),
        version: None,
        generation: None,
        gate: None,
        detail: None,
    }
}

fn state(
    entry: &Entry,
    summary: Option<&FeedSummary>,
    is_held: bool,
    hits: &BTreeMap<String, u64>,
    age: Option<(u64, u64)>,
) -> FeedState {
    let feed = &entry.feed;
    let version = summary
        .map(|summary| summary.version.clone())
        .filter(|version| !version.is_empty());
    let condition = match entry.foremost() {
        _ if is_held => Condition::Held,
        _ if entry.refused.is_some() => Condition::Refused,
        Some(_) => Condition::Failing,
        _ if version.is_none() => Condition::Waiting,
        _ => Condition::Live,
    };
    FeedState {
        name: feed.name.clone(),
        source: feed.source.clone(),
        format: feed.format.to_string(),
        tier: feed.tier,
        origin: entry.origin,
        state: condition,
        generation: summary
            .filter(|_| version.is_some())
            .map(|summary| summary.generation),
        version,
        fetched_at: entry
            .fetched_at
            .or_else(|| summary.map(|summary| summary.read_at)),
        published_at: None,
        age_s: age.map(|(age, _)| age),
        max_age_s: age.map(|(_, most)| most),
        is_stale: entry.is_stale,
        entries: summary.map_or(0, |summary| summary.report.entries),
        report: summary
            .map(|summary| summary.report.clone())
            .unwrap_or_default(),
        alarm: entry.foremost().cloned(),
        refused: entry.refused.clone(),
        failures: entry
            .failures
            .iter()
            .map(|(gate, count)| (gate.to_string(), *count))
            .collect(),
        hits: hits.get(&feed.name).copied().unwrap_or(0),
        definition: serde_json::to_value(feed).unwrap_or_default(),
    }
}

fn shared_state(summary: &FeedSummary, hits: &BTreeMap<String, u64>) -> FeedState {
    let refused = summary.refused.as_ref().map(|refused| RefusedVersion {
        version: refused.version.clone(),
        gate: refused.gate.clone(),
        detail: refused.detail.clone(),
        at: refused.at,
        entries: Some(refused.entries),
        may_be_approved: false,
    });
    let condition = match (summary.held, &refused, summary.version.is_empty()) {
        (true, ..) => Condition::Held,
        (_, Some(_), _) => Condition::Refused,
        (.., true) => Condition::Waiting,
        _ => Condition::Live,
    };
    FeedState {
        name: summary.name.clone(),
        source: summary.source.clone(),
        format: summary.format.clone(),
        tier: summary.tier,
        origin: Origin::Elsewhere,
        state: condition,
        version: Some(summary.version.clone()).filter(|version| !version.is_empty()),
        generation: Some(summary.generation),
        fetched_at: Some(summary.read_at),
        published_at: None,
        age_s: None,
        max_age_s: None,
        is_stale: false,
        entries: summary.report.entries,
        report: summary.report.clone(),
        alarm: None,
        refused,
        failures: BTreeMap::new(),
        hits: hits.get(&summary.name).copied().unwrap_or(0),
        definition: serde_json::json!({ "name": summary.name, "source": summary.source, "format": summary.format, "tier": summary.tier }),
    }
}

fn describe() {
    describe_counter!(
        "ox_protect_feed_failures_total",
        "Versions that were stopped and fetches that brought nothing, by feed and gate"
    );
    describe_gauge!(
        "ox_protect_feed_age_seconds",
        "Time since a feed's source was last asked with success"
    );
    describe_gauge!(
        "ox_protect_feed_stale",
        "1 while a feed is older than it may be"
    );
    describe_gauge!("ox_protect_feed_entries", "Entries of a feed that are live");
    describe_gauge!(
        "ox_protect_feed_generation",
        "The generation in which a feed's live version came"
    );
    describe_gauge!(
        "ox_protect_feed_version",
        "A feed's live version: serial, sequence, or the beginning of its SHA-256 as a number"
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
        "The generation of the lists that is live"
    );
    describe_gauge!("ox_protect_list_names", "Distinct names in the lists");
    describe_gauge!(
        "ox_protect_list_overlay_names",
        "Names in the overlay in front of the base"
    );
    describe_gauge!(
        "ox_protect_list_swap_seconds",
        "How long the last swap took, from the content's arrival until new queries used it"
    );
}
