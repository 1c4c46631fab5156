//! What is counted and not written yet, and what was forgotten a moment ago. Plain memory: whoever has it, has its lock.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Range,
};

use jiff::{SignedDuration, Timestamp};
use policy::household::{DEVICES_MAX, Id};

use super::{
    Forgotten, MARKS_KEPT, PIECES_WAITING_MAX, Told, WAITING_MAX, WRITE_AFTER,
    counts::Counts,
    hours::{hour_of, until},
};

/// The most marks of one household: one for each device that it can have, and the other kinds.
const MARKS_MAX: usize = DEVICES_MAX + 8;

/// The counts of all homes that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    homes: HashMap<Id, BTreeMap<i64, Waited>>,
    /// Homes in the order in which they began to wait. One that was forgotten since is still here, and nothing waits for it.
    order: VecDeque<(Timestamp, Id)>,
    entries: usize,
    pieces: usize,
    marks: HashMap<Id, Vec<(Timestamp, Mark)>>,
    dropped: u64,
}

/// What waits of one hour.
#[derive(Debug, Clone, Default)]
pub(super) struct Waited {
    /// The hour at whose beginning it is due to go.
    pub(super) until: i64,
    pub(super) counts: Counts,
}

/// One hour of one home, taken out to be written.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) household: Id,
    pub(super) hour: i64,
    pub(super) waited: Waited,
    since: Timestamp,
}

/// What was decided a moment ago. Queries from before it are still on their way here, and must not undo it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    Forgotten(Forgotten),
    Days(u16),
}

impl Mark {
    /// Whether a newer one says all that this one says.
    fn is_replaced_by(&self, newer: &Self) -> bool {
        matches!((self, newer), (Self::Days(_), Self::Days(_))) || self == newer
    }

    /// Takes out of a query what it may not bring any more; says whether anything of it is left to count.
    fn apply(&self, told: &mut Told) -> bool {
        match self {
            Self::Forgotten(Forgotten::All) => return false,
            Self::Forgotten(Forgotten::Device(id)) => return told.device.as_ref() != Some(id),
            Self::Forgotten(Forgotten::Unknown) => return told.device.is_some(),
            Self::Forgotten(Forgotten::Names) => told.blocked.iter_mut().for_each(|blocked| blocked.name = None),
            Self::Days(days) => told.days = told.days.min(*days),
        }
        true
    }
}

impl Waiting {
    /// Counts one query.
    pub(super) fn count(&mut self, mut told: Told, now: Timestamp) {
        if let Some(marks) = self.marks.get(&told.household)
            && !marks.iter().all(|(at, mark)| *at < told.at || mark.apply(&mut told))
        {
            return;
        }
        let hour = hour_of(told.at);
        let until = until(hour, told.days);
        if told.days == 0 || until <= hour_of(now) {
            return;
        }
        let is_room = self.pieces < PIECES_WAITING_MAX;
        let is_room_for_entry = is_room && self.entries < WAITING_MAX;
        let there = self.homes.get_mut(&told.household).and_then(|hours| hours.get_mut(&hour));
        let waited = match there {
            Some(waited) => waited,
            None if is_room_for_entry => {
                self.entries += 1;
                let hours = self.homes.entry(told.household.clone()).or_default();
                if hours.is_empty() {
                    self.order.push_back((now, told.household.clone()));
                }
                hours.entry(hour).or_insert(Waited { until, ..Waited::default() })
            }
            None => {
                self.dropped += 1;
                return;
            }
        };
        // An hour that was counted under two promises keeps the shorter one.
        waited.until = waited.until.min(until);
        match waited.counts.count(&told, is_room) {
            Some(pieces) => self.pieces += pieces,
            None => self.dropped += 1,
        }
    }

    /// Takes out about `max` entries of the homes that have waited long enough, or of all. What is due meanwhile goes unwritten.
    pub(super) fn take(&mut self, now: Timestamp, is_all: bool, max: usize) -> Vec<Entry> {
        self.marks_sweep(now);
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some((since, _)) = self.order.front()
            // The wall clock may have been set back: what waits since a time to come has waited.
            && (is_all || now < *since || now.duration_since(*since) >= WRITE_AFTER)
            && let Some((since, household)) = self.order.pop_front()
        {
            for (hour, waited) in self.homes.remove(&household).unwrap_or_default() {
                self.entries -= 1;
                self.pieces -= waited.counts.pieces();
                if waited.until > hour_of(now) {
                    taken.push(Entry { household: household.clone(), hour, waited, since });
                }
            }
        }
        // In the order of the file, so that neighbours are written together.
        taken.sort_unstable_by(|a, b| (&a.household, a.hour).cmp(&(&b.household, b.hour)));
        taken
    }

    /// Takes back what could not be written, before what came since.
    pub(super) fn put_back(&mut self, entries: Vec<Entry>) {
        for Entry { household, hour, mut waited, since } in entries {
            let newer = self.homes.get_mut(&household).and_then(|hours| hours.remove(&hour));
            if let Some(newer) = newer {
                self.entries -= 1;
                self.pieces -= newer.counts.pieces();
                waited.until = waited.until.min(newer.until);
                self.dropped += waited.counts.add(&newer.counts);
            } else if self.entries >= WAITING_MAX || self.pieces >= PIECES_WAITING_MAX {
                self.dropped += waited.counts.asked();
                continue;
            }
            self.entries += 1;
            self.pieces += waited.counts.pieces();
            self.order.push_front((since, household.clone()));
            self.homes.entry(household).or_default().insert(hour, waited);
        }
    }

    /// The hours of a home that wait and are not due.
    pub(super) fn hours(&self, household: &Id, hours: Range<i64>, now: Timestamp) -> BTreeMap<i64, Waited> {
        let there = self.homes.get(household).into_iter().flat_map(|there| there.range(hours.clone()));
        there.filter(|(_, waited)| waited.until > hour_of(now)).map(|(hour, waited)| (*hour, waited.clone())).collect()
    }

    /// Forgets what waits, and what is still on its way.
    pub(super) fn forget(&mut self, household: &Id, what: &Forgotten, now: Timestamp) {
        self.mark(household, Mark::Forgotten(what.clone()), now);
        self.retain(household, |_, waited| {
            waited.counts.forget(what);
            !waited.counts.0.is_empty()
        });
    }

    /// Keeps what waits, and what is still on its way, no longer than so many days.
    pub(super) fn keep(&mut self, household: &Id, days: u16, now: Timestamp) {
        self.mark(household, Mark::Days(days), now);
        self.retain(household, |hour, waited| {
            waited.until = waited.until.min(until(hour, days));
            days > 0 && waited.until > hour_of(now)
        });
    }

    /// Drops what is due.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let is_due = |hours: &BTreeMap<i64, Waited>| hours.values().any(|waited| waited.until <= hour_of(now));
        let due: Vec<Id> = self.homes.iter().filter(|(_, hours)| is_due(hours)).map(|(id, _)| id.clone()).collect();
        for household in due {
            self.retain(&household, |_, waited| waited.until > hour_of(now));
        }
    }

    /// How many hours of homes wait.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Whether half of the room is taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.entries >= WAITING_MAX / 2 || self.pieces >= PIECES_WAITING_MAX / 2
    }

    /// How many queries found no place.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Counts queries that found no place elsewhere.
    pub(super) fn add_dropped(&mut self, queries: u64) {
        self.dropped += queries;
    }

    fn retain(&mut self, household: &Id, mut is_kept: impl FnMut(i64, &mut Waited) -> bool) {
        let Some(hours) = self.homes.get_mut(household) else { return };
        let weigh = |hours: &BTreeMap<i64, Waited>| (hours.len(), hours.values().map(|waited| waited.counts.pieces()).sum::<usize>());
        let before = weigh(hours);
        hours.retain(|hour, waited| is_kept(*hour, waited));
        let after = weigh(hours);
        self.entries -= before.0 - after.0;
        self.pieces -= before.1 - after.1;
        if hours.is_empty() {
            self.homes.remove(household);
        }
    }

    fn mark(&mut self, household: &Id, mark: Mark, now: Timestamp) {
        self.marks_sweep(now);
        let marks = self.marks.entry(household.clone()).or_default();
        marks.retain(|(_, older)| !older.is_replaced_by(&mark));
        if marks.len() >= MARKS_MAX {
            marks.remove(0);
        }
        marks.push((now, mark));
    }

    /// Drops marks whose time is over, or has not come yet because the clock was set back.
    fn marks_sweep(&mut self, now: Timestamp) {
        let holds = |at: Timestamp| (SignedDuration::ZERO..=MARKS_KEPT).contains(&now.duration_since(at).abs());
        self.marks.retain(|_, marks| {
            marks.retain(|(at, _)| holds(*at));
            !marks.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn told(household: &str, device: Option<&str>, second: i64) -> Told {
        let (household, device) = (household.parse().unwrap(), device.map(|id| id.parse().unwrap()));
        Told { household, device, at: at(second), days: 1, categories: Vec::new(), blocked: None, sign: None }
    }

    fn asked(entries: &[Entry]) -> Vec<(&str, i64, u64)> {
        entries.iter().map(|entry| (entry.household.as_str(), entry.hour, entry.waited.counts.asked())).collect()
    }

    #[test]
    fn homes_are_taken_once_they_have_waited_and_at_once_where_the_clock_was_set_back() {
        let mut waiting = Waiting::default();
        waiting.count(told("b", None, 3_599), at(4_000));
        waiting.count(told("b", None, 3_600), at(4_030));
        waiting.count(told("a", None, 3_601), at(4_030));
        assert!(waiting.take(at(4_059), false, 9).is_empty());
        assert_eq!(asked(&waiting.take(at(4_060), false, 9)), [("b", 0, 1), ("b", 1, 1)]);
        assert!(waiting.take(at(4_089), false, 9).is_empty());
        assert_eq!(asked(&waiting.take(at(4_029), false, 9)), [("a", 1, 1)]);
        assert_eq!((waiting.entries, waiting.pieces, waiting.order.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_put_back_stands_before_what_came_since_and_goes_first() {
        let mut waiting = Waiting::default();
        waiting.count(told("a", None, 4_000), at(4_000));
        waiting.count(told("b", None, 4_000), at(4_001));
        let taken = waiting.take(at(4_060), false, 9);
        waiting.count(told("a", Some("tv"), 4_060), at(4_060));
        waiting.put_back(taken);
        assert_eq!((waiting.entries, waiting.pieces), (2, 3));
        assert_eq!(asked(&waiting.take(at(4_060), false, 9)), [("a", 1, 2)]);
        assert_eq!(asked(&waiting.take(at(4_061), false, 9)), [("b", 1, 1)]);
    }

    #[test]
    fn queries_on_their_way_undo_nothing_and_those_behind_count() {
        let (home, tv): (Id, Id) = ("home".parse().unwrap(), "tv".parse().unwrap());
        let mut waiting = Waiting::default();
        waiting.forget(&home, &Forgotten::Device(tv), at(5_000));
        for second in [5_000, 5_001] {
            waiting.count(told("home", Some("tv"), second), at(5_010));
            waiting.count(told("home", None, second), at(5_010));
            waiting.count(told("other", Some("tv"), second), at(5_010));
        }
        assert_eq!(asked(&waiting.take(at(5_010), true, 9)), [("home", 1, 3), ("other", 1, 2)]);
        waiting.keep(&home, 0, at(5_020));
        waiting.count(told("home", None, 5_020), at(5_030));
        assert_eq!(waiting.entries, 0);
        // A mark is kept as long as anything can be on its way, and a clock that was set back ends it.
        for later in [5_020 + 601, 5_020 - 601] {
            waiting.keep(&home, 0, at(5_020));
            waiting.take(at(later), true, 9);
            assert!(waiting.marks.is_empty());
        }
        for number in 0..MARKS_MAX * 2 {
            waiting.forget(&home, &Forgotten::Device(format!("d{number}").parse().unwrap()), at(6_000));
            waiting.forget(&home, &Forgotten::All, at(6_000));
        }
        assert_eq!(waiting.marks[&home].len(), MARKS_MAX);
    }

    #[test]
    fn an_hour_under_two_promises_keeps_the_shorter_one() {
        let mut waiting = Waiting::default();
        for days in [9, 2, 5] {
            waiting.count(Told { days, ..told("home", None, 3_600) }, at(3_600));
        }
        assert_eq!(waiting.take(at(3_600), true, 9)[0].waited.until, 1 + 48 + 1);
        // Late, and due already.
        waiting.count(told("home", None, 0), at(25 * 3_600));
        waiting.count(Told { days: 0, ..told("home", None, 90_000) }, at(90_000));
        assert_eq!((waiting.entries, waiting.dropped), (0, 0));
    }
}
