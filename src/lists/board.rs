//! What is known of each feed beside its entries: when it was asked, what went wrong, what waits for an operator; and who is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use api::control::{Alarm, Condition, EventKind, FeedState, ListEvent, Origin, RefusedVersion};
use blocklist_loader::{Feed, Gate};
use jiff::Timestamp;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use policy::{artefact::FeedSummary, blocklist::Blocklist};
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
    alarm: Option<Alarm>,
    refused: Option<RefusedVersion>,
    failures: BTreeMap<Gate, u64>,
    is_stale: bool,
}

/// The feeds, and who listens.
pub struct Board {
    entries: Mutex<BTreeMap<String, Entry>>,
    last_error: Mutex<Option<String>>,
    events: Mutex<Option<broadcast::Sender<ListEvent>>>,
    started: Timestamp,
}

impl Board {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        describe();
        let events = Mutex::new(Some(broadcast::Sender::new(EVENTS_MAX)));
        Arc::new(Self { entries: Mutex::default(), last_error: Mutex::default(), events, started: Timestamp::now() })
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().expect("nothing panics while it holds the board")
    }

    /// Takes a feed in, or its new definition.
    pub fn define(&self, feed: &Feed, origin: Origin) {
        let entry =
            Entry { feed: feed.clone(), origin, fetched_at: None, alarm: None, refused: None, failures: BTreeMap::new(), is_stale: false };
        self.entries().insert(feed.name.clone(), entry);
    }

    /// Forgets a feed.
    pub fn remove(&self, name: &str) {
        self.entries().remove(name);
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
        self.last_error.lock().expect("nothing panics while it holds the lock").clone()
    }

    /// Says why a build went wrong, or that all is well.
    pub fn set_last_error(&self, error: Option<String>) {
        *self.last_error.lock().expect("nothing panics while it holds the lock") = error;
    }

    /// A source was asked with success: whatever was wrong with asking it is over.
    pub fn fetched(&self, name: &str, now: Timestamp) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.fetched_at = Some(now);
            // What a gate of sense stopped is still stopped.
            entry.alarm = entry.refused.as_ref().map(alarm_of);
        }
    }

    /// Something stopped a version, or the asking for one. An event is told once for as long as the reason stays the same; a version
    /// counts once however often it is read again.
    pub fn stopped(&self, name: &str, gate: Gate, detail: &str, refused: Option<(&str, u64)>, now: Timestamp) {
        let is_news = {
            let mut entries = self.entries();
            let Some(entry) = entries.get_mut(name) else { return };
            let version = refused.map(|(version, _)| version.to_owned());
            let is_same = |alarm: &Alarm| alarm.gate == gate.as_str() && alarm.version == version;
            let since = entry.alarm.as_ref().filter(|alarm| is_same(alarm)).map(|alarm| alarm.since);
            if since.is_none() || refused.is_none() {
                counter!("ox_protect_feed_failures_total", "feed" => name.to_owned(), "gate" => gate.as_str()).increment(1);
                *entry.failures.entry(gate).or_default() += 1;
            }
            let (gate_word, detail, at) = (gate.to_string(), detail.to_owned(), since.unwrap_or(now));
            match refused {
                Some((version, entries)) => {
                    let (version, entries, may_be_approved) = (version.to_owned(), Some(entries), gate.may_be_approved());
                    let refused = RefusedVersion { version, gate: gate_word, detail, at, entries, may_be_approved };
                    entry.alarm = Some(alarm_of(&refused));
                    entry.refused = Some(refused);
                }
                None => entry.alarm = Some(Alarm { gate: gate_word, detail, since: at, version }),
            }
            since.is_none()
        };
        if is_news {
            tracing::error!(feed = name, gate = gate.as_str(), detail, "a feed was stopped; it goes on with the entries it had");
            let kind = if refused.is_some() { EventKind::FeedRefused } else { EventKind::FeedFailing };
            let version = refused.map(|(version, _)| version.to_owned());
            self.tell(ListEvent { gate: Some(gate.to_string()), detail: Some(detail.to_owned()), version, ..event(kind, Some(name), now) });
        }
    }

    /// A version is live: nothing waits any more.
    pub fn live(&self, name: &str, version: &str, generation: u64, now: Timestamp) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.refused = None;
            entry.alarm = None;
        }
        self.tell(ListEvent {
            version: Some(version.to_owned()),
            generation: Some(generation),
            ..event(EventKind::FeedLive, Some(name), now)
        });
    }

    /// Tells of something else.
    pub fn say(&self, kind: EventKind, name: Option<&str>, generation: u64, detail: Option<String>, now: Timestamp) {
        self.tell(ListEvent { generation: Some(generation), detail, ..event(kind, name, now) });
    }

    fn tell(&self, event: ListEvent) {
        if let Some(events) = &*self.events.lock().expect("nothing panics while it holds the events") {
            // Nobody needs to listen.
            let _ = events.send(event);
        }
    }

    /// Events from now on; none any more once the daemon ends.
    pub fn subscribe(&self) -> broadcast::Receiver<ListEvent> {
        let events = self.events.lock().expect("nothing panics while it holds the events");
        events.as_ref().map_or_else(|| broadcast::Sender::new(1).subscribe(), broadcast::Sender::subscribe)
    }

    /// Ends the streams of all who listen.
    pub fn close(&self) {
        self.events.lock().expect("nothing panics while it holds the events").take();
    }

    /// Feeds as they are now.
    pub fn states(&self, lists: &Blocklist, hits: &BTreeMap<String, u64>, now: Timestamp) -> Vec<FeedState> {
        let entries = self.entries();
        let summary = |name: &str| lists.header().feeds.iter().find(|feed| feed.name == name);
        let own = entries.values().map(|entry| state(entry, summary(&entry.feed.name), hits, self.age(entry, now)));
        // What another node built of feeds that this one does not define.
        let shared = lists.header().feeds.iter().filter(|feed| !entries.contains_key(&feed.name));
        own.chain(shared.map(|summary| shared_state(summary, hits))).collect()
    }

    /// How old what is known of a source is, and how old it may be, in seconds. A file is not asked: it is as old as its content, and
    /// only where somebody says how old that may be.
    fn age(&self, entry: &Entry, now: Timestamp) -> Option<(u64, u64)> {
        let is_watched = entry.feed.is_fetched() || entry.feed.max_age_s.is_some();
        let since = entry.fetched_at.unwrap_or(self.started);
        is_watched.then(|| (u64::try_from(now.as_second() - since.as_second()).unwrap_or(0), entry.feed.max_age().as_secs()))
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
                gauge!("ox_protect_feed_stale", "feed" => name.clone()).set(f64::from(u8::from(age > most)));
                if age > most && !entry.is_stale {
                    stale.push((name, Duration::from_secs(age), Duration::from_secs(most)));
                }
                entry.is_stale = age > most;
            }
        }
        for (name, age, most) in stale {
            tracing::error!(feed = name, ?age, ?most, "a feed is older than it may be");
            let detail = format!("{age:?} since its source was asked with success; it may be {most:?}");
            self.tell(ListEvent { detail: Some(detail), ..event(EventKind::FeedStale, Some(&name), now) });
        }
    }
}

/// The alarm of a version that a gate stopped.
fn alarm_of(refused: &RefusedVersion) -> Alarm {
    let RefusedVersion { version, gate, detail, at, .. } = refused.clone();
    Alarm { gate, detail, since: at, version: Some(version) }
}

fn event(kind: EventKind, feed: Option<&str>, at: Timestamp) -> ListEvent {
    ListEvent { at, kind, feed: feed.map(str::to_owned), version: None, generation: None, gate: None, detail: None }
}

fn state(entry: &Entry, summary: Option<&FeedSummary>, hits: &BTreeMap<String, u64>, age: Option<(u64, u64)>) -> FeedState {
    let feed = &entry.feed;
    let version = summary.map(|summary| summary.version.clone()).filter(|version| !version.is_empty());
    let condition = match summary {
        Some(summary) if summary.held => Condition::Held,
        _ if entry.refused.is_some() => Condition::Refused,
        _ if entry.alarm.is_some() => Condition::Failing,
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
        generation: summary.filter(|_| version.is_some()).map(|summary| summary.generation),
        version,
        fetched_at: entry.fetched_at.or_else(|| summary.map(|summary| summary.read_at)),
        published_at: None,
        age_s: age.map(|(age, _)| age),
        max_age_s: age.map(|(_, most)| most),
        is_stale: entry.is_stale,
        entries: summary.map_or(0, |summary| summary.report.entries),
        report: summary.map(|summary| summary.report.clone()).unwrap_or_default(),
        alarm: entry.alarm.clone(),
        refused: entry.refused.clone(),
        failures: entry.failures.iter().map(|(gate, count)| (gate.to_string(), *count)).collect(),
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
        origin: Origin::Config,
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
    describe_counter!("ox_protect_feed_failures_total", "Versions that were stopped and fetches that brought nothing, by feed and gate");
    describe_gauge!("ox_protect_feed_age_seconds", "Time since a feed's source was last asked with success");
    describe_gauge!("ox_protect_feed_stale", "1 while a feed is older than it may be");
    describe_gauge!("ox_protect_feed_entries", "Entries of a feed that are live");
    describe_gauge!("ox_protect_feed_generation", "The generation in which a feed's live version came");
    describe_gauge!("ox_protect_feed_version", "A feed's live version: serial, sequence, or the beginning of its SHA-256 as a number");
    describe_gauge!("ox_protect_feed_refused", "1 while a version of a feed waits for an operator");
    describe_gauge!("ox_protect_feed_held", "1 while a feed is held at an earlier version");
    describe_gauge!("ox_protect_list_generation", "The generation of the lists that is live");
    describe_gauge!("ox_protect_list_names", "Distinct names in the lists");
    describe_gauge!("ox_protect_list_overlay_names", "Names in the overlay in front of the base");
    describe_gauge!("ox_protect_list_swap_seconds", "How long the last swap took, from the content's arrival until new queries used it");
}
