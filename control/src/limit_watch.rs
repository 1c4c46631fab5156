//! Events for clients, zones and networks that are limited: the heaviest, by name. What is limited
//! now, all of it, is in [`crate::limits`].

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use metrics::{describe_gauge, gauge};
use policy::lists::current::CurrentLists;
use tokio::time::MissedTickBehavior;

use crate::{
    limits::{LimitEntry, LimitKind, LimitReason},
    lists::{model::EventKind, status::ListStatus},
    shutdown::Shutdown,
};

/// How often the limits are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// An event is sent from so many limited queries or connections on. A count: a device that is
/// limited for a moment is no event.
const QUERIES_MIN: u64 = 100;
/// Limits that have an event at a time, the heaviest ones. A count.
const NAMED_MAX: usize = 20;

/// Watches who is limited until the node shuts down.
pub async fn run(
    limited: impl Fn() -> Vec<LimitEntry>,
    status: Arc<ListStatus>,
    lists: Arc<CurrentLists>,
    shutdown: Shutdown,
) {
    describe_gauge!(
        "ox_protect_limited",
        "Clients, zones and networks that were limited in the last minute, by reason"
    );
    let mut named = Named::default();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.tick(&mut tick).await {
        let limited = limited();
        for reason in LimitReason::ALL {
            let count = limited.iter().filter(|entry| entry.reason == reason);
            gauge!("ox_protect_limited", "reason" => reason.as_str()).set(count.count() as f64);
        }
        for change in named.observe(limited) {
            let (kind, detail) = change.told();
            let generation = lists.load().generation();
            status.publish(kind, None, generation, Some(detail), Timestamp::now());
        }
    }
}

type Key = (LimitKind, String, LimitReason);

/// The limits that have an event.
#[derive(Default)]
struct Named(BTreeSet<Key>);

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Begins(LimitEntry),
    /// It was not limited for a minute, or others are heavier.
    Ends(Key),
}

impl Change {
    fn told(&self) -> (EventKind, String) {
        let name = |kind: LimitKind, name: &str| match name.is_empty() {
            true => kind.as_str().to_owned(),
            false => format!("{} {name}", kind.as_str()),
        };
        match self {
            Self::Begins(limit) => {
                let (name, reason) = (name(limit.kind, &limit.name), limit.reason.as_str());
                let (queries, since) = (limit.queries, limit.since);
                let detail = format!("{name}, by {reason}: {queries} since {since:.0}");
                (EventKind::Limited, detail)
            }
            Self::Ends((kind, of, reason)) => {
                let detail = format!("{}, by {}", name(*kind, of), reason.as_str());
                (EventKind::NotLimited, detail)
            }
        }
    }
}

fn key(limit: &LimitEntry) -> Key {
    (limit.kind, limit.name.clone(), limit.reason)
}

impl Named {
    fn observe(&mut self, mut limited: Vec<LimitEntry>) -> Vec<Change> {
        limited.retain(|limit| limit.queries >= QUERIES_MIN);
        limited.sort_by_key(|limit| Reverse(limit.queries));
        limited.truncate(NAMED_MAX);
        let now: BTreeSet<Key> = limited.iter().map(key).collect();
        let ended = self.0.difference(&now).cloned().map(Change::Ends);
        let ended: Vec<Change> = ended.collect();
        let begun = limited
            .into_iter()
            .filter(|limit| !self.0.contains(&key(limit)))
            .map(Change::Begins);
        let changes = ended.into_iter().chain(begun).collect();
        self.0 = now;
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(name: &str, queries: u64) -> LimitEntry {
        LimitEntry {
            kind: LimitKind::Zone,
            name: name.to_owned(),
            reason: LimitReason::Failures,
            since: Timestamp::UNIX_EPOCH,
            last: Timestamp::UNIX_EPOCH,
            queries,
        }
    }

    #[test]
    fn a_limit_has_an_event_when_it_begins_and_when_it_ends() {
        let mut named = Named::default();
        assert_eq!(named.observe(vec![limit("a.test", 99)]), []);
        let [begins] = &named.observe(vec![limit("a.test", 100), limit("b.test", 3)])[..] else {
            panic!("one begins");
        };
        let told = "zone a.test, by failures: 100 since 1970-01-01T00:00:00Z";
        assert_eq!(begins.told(), (EventKind::Limited, told.to_owned()));
        assert_eq!(named.observe(vec![limit("a.test", 5_000)]), []);
        let [ends] = &named.observe(Vec::new())[..] else {
            panic!("it ends");
        };
        let told = "zone a.test, by failures".to_owned();
        assert_eq!(ends.told(), (EventKind::NotLimited, told));
    }

    #[test]
    fn the_heaviest_have_events_and_these_are_bounded() {
        let mut named = Named::default();
        let mut many: Vec<_> = (0..30)
            .map(|n| limit(&format!("z{n}.test"), 100 + n))
            .collect();
        let begun = named.observe(many.clone());
        assert_eq!(begun.len(), NAMED_MAX);
        assert_eq!(begun[0], Change::Begins(limit("z29.test", 129)));
        many[0].queries = 9_000;
        let changes = named.observe(many);
        let ends = (
            LimitKind::Zone,
            "z10.test".to_owned(),
            LimitReason::Failures,
        );
        assert_eq!(
            changes,
            [Change::Ends(ends), Change::Begins(limit("z0.test", 9_000))]
        );
    }
}
