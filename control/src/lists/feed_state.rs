//! What the node knows of one feed beside its entries.

use std::collections::BTreeMap;

use blocklist_loader::{Feed, Gate};
use jiff::Timestamp;
use metrics::{counter, gauge};
use policy::lists::artefact::{FeedSummary, RejectedVersion};

use super::model::{Alarm, Condition, FeedState, Origin, RefusedVersion};

/// A feed that this node defines.
#[derive(Debug, Clone)]
pub struct DefinedFeed {
    pub feed: Feed,
    pub origin: Origin,
    /// The last successful fetch.
    pub fetched_at: Option<Timestamp>,
    /// What is wrong with the source, or with the refused version.
    pub alarm: Option<Alarm>,
    /// The version that waits for an operator.
    pub refused: Option<RefusedVersion>,
    /// Why its content could not be built. The build is tried again.
    pub build: Option<Alarm>,
    /// Why it is not read at all.
    pub barred: Option<Alarm>,
    /// Failures since the start.
    pub failures: BTreeMap<Gate, u64>,
    pub is_stale: bool,
}

/// The age of a feed's last successful fetch, and its limit, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Age {
    pub age_s: u64,
    pub max_age_s: u64,
}

impl Age {
    pub fn is_stale(self) -> bool {
        self.age_s > self.max_age_s
    }
}

impl DefinedFeed {
    pub fn new(feed: &Feed, origin: Origin) -> Self {
        Self {
            feed: feed.clone(),
            origin,
            fetched_at: None,
            alarm: None,
            refused: None,
            build: None,
            barred: None,
            failures: BTreeMap::new(),
            is_stale: false,
        }
    }

    /// The most severe alarm.
    pub fn worst_alarm(&self) -> Option<&Alarm> {
        self.barred
            .as_ref()
            .or(self.build.as_ref())
            .or(self.alarm.as_ref())
    }

    /// Counts a failure.
    pub fn count(&mut self, gate: Gate) {
        counter!("ox_protect_feed_failures_total", "feed" => self.feed.name.clone(), "gate" => gate.as_str()).increment(1);
        *self.failures.entry(gate).or_default() += 1;
    }

    /// Removes all alarms: the feed was removed.
    pub fn clear_alarms(&mut self) {
        self.alarm = None;
        self.refused = None;
        self.build = None;
        self.barred = None;
        self.show();
    }

    /// Sets the gauges of the alarms.
    pub fn show(&self) {
        let flag = |is_so: bool| f64::from(u8::from(is_so));
        gauge!("ox_protect_feed_refused", "feed" => self.feed.name.clone())
            .set(flag(self.refused.is_some()));
        gauge!("ox_protect_feed_alarm", "feed" => self.feed.name.clone())
            .set(flag(self.worst_alarm().is_some()));
    }

    /// A gate stopped a version (`refused`: its name and number of entries), or the fetch of one.
    /// Returns true if the alarm is new. A version counts once, however often it is read again.
    pub fn stopped(
        &mut self,
        gate: Gate,
        detail: &str,
        refused: Option<(&str, u64)>,
        now: Timestamp,
    ) -> bool {
        let version = refused.map(|(version, _)| version.to_owned());
        let is_same = |alarm: &&Alarm| alarm.gate == gate.as_str() && alarm.version == version;
        let since = self.alarm.as_ref().filter(is_same).map(|alarm| alarm.since);
        if since.is_none() || refused.is_none() {
            self.count(gate);
        }
        match refused {
            Some((version, entries)) => {
                let refused = RefusedVersion {
                    version: version.to_owned(),
                    gate: gate.to_string(),
                    detail: detail.to_owned(),
                    at: since.unwrap_or(now),
                    entries: Some(entries),
                    may_be_approved: gate.may_be_approved(),
                };
                self.alarm = Some(alarm_of(&refused));
                self.refused = Some(refused);
            }
            None => self.alarm = Some(alarm(gate, detail, since.unwrap_or(now))),
        }
        self.show();
        since.is_none()
    }

    /// The content could not be built. Returns true if the alarm is new.
    pub fn not_built(&mut self, gate: Gate, detail: &str, now: Timestamp) -> bool {
        self.count(gate);
        let is_same = |alarm: &&Alarm| alarm.gate == gate.as_str();
        let since = self.build.as_ref().filter(is_same).map(|alarm| alarm.since);
        self.build = Some(alarm(gate, detail, since.unwrap_or(now)));
        self.show();
        since.is_none()
    }

    /// A build succeeded. Returns true if it took the version that was refused before.
    pub fn built(&mut self, is_refused: bool) -> bool {
        self.build = None;
        let was = self.refused.take_if(|_| !is_refused);
        if let Some(RefusedVersion { version, .. }) = &was {
            let is_of_it = |alarm: &mut Alarm| alarm.version.as_ref() == Some(version);
            self.alarm.take_if(is_of_it);
        }
        self.show();
        was.is_some()
    }

    /// The state as the API shows it.
    pub fn state(
        &self,
        summary: Option<&FeedSummary>,
        is_held: bool,
        hits: &BTreeMap<String, u64>,
        age: Option<Age>,
    ) -> FeedState {
        let feed = &self.feed;
        let version = summary
            .map(|summary| summary.version.clone())
            .filter(|version| !version.is_empty());
        let condition = match self.worst_alarm() {
            _ if is_held => Condition::Held,
            _ if self.refused.is_some() => Condition::Refused,
            Some(_) => Condition::Failing,
            _ if version.is_none() => Condition::Waiting,
            _ => Condition::Live,
        };
        FeedState {
            name: feed.name.clone(),
            source: feed.source.clone(),
            format: feed.format.to_string(),
            tier: feed.tier,
            origin: self.origin,
            state: condition,
            generation: summary
                .filter(|_| version.is_some())
                .map(|summary| summary.generation),
            version,
            fetched_at: self
                .fetched_at
                .or_else(|| summary.map(|summary| summary.read_at)),
            published_at: None,
            age_s: age.map(|age| age.age_s),
            max_age_s: age.map(|age| age.max_age_s),
            is_stale: self.is_stale,
            entries: summary.map_or(0, |summary| summary.report.entries),
            report: summary
                .map(|summary| summary.report.clone())
                .unwrap_or_default(),
            alarm: self.worst_alarm().cloned(),
            refused: self.refused.clone(),
            failures: self
                .failures
                .iter()
                .map(|(gate, count)| (gate.to_string(), *count))
                .collect(),
            hits: hits.get(&feed.name).copied().unwrap_or(0),
            definition: serde_json::to_value(feed).unwrap_or_default(),
        }
    }
}

fn alarm(gate: Gate, detail: &str, since: Timestamp) -> Alarm {
    Alarm {
        gate: gate.to_string(),
        detail: detail.to_owned(),
        since,
        version: None,
    }
}

/// The alarm of a refused version.
pub fn alarm_of(refused: &RefusedVersion) -> Alarm {
    Alarm {
        gate: refused.gate.clone(),
        detail: refused.detail.clone(),
        since: refused.at,
        version: Some(refused.version.clone()),
    }
}

/// Why a feed is barred.
pub fn barred(detail: &str, since: Timestamp) -> Alarm {
    alarm(Gate::Definition, detail, since)
}

/// A refused version, as the header of an artefact names it.
pub fn refusal(refused: &RefusedVersion) -> RejectedVersion {
    RejectedVersion {
        version: refused.version.clone(),
        gate: refused.gate.clone(),
        detail: refused.detail.clone(),
        entries: refused.entries.unwrap_or(0),
        at: refused.at,
    }
}

/// The state of a feed that this node does not define: another node, or another configuration,
/// built it.
pub fn shared_state(summary: &FeedSummary, hits: &BTreeMap<String, u64>) -> FeedState {
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
