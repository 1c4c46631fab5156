//! Counts that are not written yet, and recent erasures. Plain memory: the caller holds the lock.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Range,
};

use jiff::{SignedDuration, Timestamp};
use policy::rules::household::{DEVICES_MAX, Id};

use super::{
    counts::{CountedQuery, Counts},
    erasure::ErasureScope,
    hours::{hour_of, last_hour, until},
    limits::{MARKS_KEPT, PIECES_WAITING_MAX, WAITING_MAX, WRITE_AFTER},
};

/// The most marks of one household: one for each device that it can have, and the other kinds.
const MARKS_MAX: usize = DEVICES_MAX + 8;
/// How often the marks of all households are checked; recording waits meanwhile.
const SWEEP_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// The pending counts of all households.
#[derive(Debug)]
pub(super) struct PendingCounts {
    homes: HashMap<Id, Home>,
    /// Households in the order in which they began to wait. The place of a household that was
    /// erased since remains here, with nothing waiting for it.
    order: VecDeque<Place>,
    /// The number of the next place.
    next: u64,
    entries: usize,
    pieces: usize,
    marks: HashMap<Id, Vec<(Timestamp, Mark)>>,
    /// When the marks were last swept.
    swept: Option<Timestamp>,
    /// The hour in which due counts were last dropped; nothing is due before the next hour.
    expired: Option<i64>,
    /// The latest hour for which anything may be here or in the file.
    latest: i64,
    dropped: u64,
}

/// The pending counts of one household.
#[derive(Debug, Default)]
struct Home {
    /// The number of its place.
    place: u64,
    hours: BTreeMap<i64, PendingHour>,
}

/// The place of a household in the order of waiting.
#[derive(Debug)]
struct Place {
    since: Timestamp,
    number: u64,
    household: Id,
}

/// The pending counts of one hour.
#[derive(Debug, Clone, Default)]
pub(super) struct PendingHour {
    /// The hour at whose beginning it is due for deletion.
    pub(super) until: i64,
    pub(super) counts: Counts,
}

/// One hour of one household, taken out to be written.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) household: Id,
    pub(super) hour: i64,
    pub(super) waited: PendingHour,
}

/// A recent decision. Queries from before it are still on their way here, and must not undo it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    Erased(ErasureScope),
    Days(u16),
}

impl Mark {
    /// Whether a newer mark covers this one.
    fn is_replaced_by(&self, newer: &Self) -> bool {
        matches!((self, newer), (Self::Days(_), Self::Days(_))) || self == newer
    }

    /// Removes from a query what it may no longer add. Returns whether anything of it is left to
    /// count.
    fn apply(&self, told: &mut CountedQuery) -> bool {
        match self {
            Self::Erased(ErasureScope::All) => return false,
            Self::Erased(ErasureScope::Device(id)) => return told.device.as_ref() != Some(id),
            Self::Erased(ErasureScope::Unknown) => return told.device.is_some(),
            Self::Erased(ErasureScope::Names) => told
                .blocked
                .iter_mut()
                .for_each(|blocked| blocked.name = None),
            Self::Days(days) => told.days = told.days.min(*days),
        }
        true
    }
}

impl Default for PendingCounts {
    fn default() -> Self {
        Self {
            homes: HashMap::new(),
            order: VecDeque::new(),
            next: 0,
            entries: 0,
            pieces: 0,
            marks: HashMap::new(),
            swept: None,
            expired: None,
            // Earlier processes may have written any hour.
            latest: i64::MAX,
            dropped: 0,
        }
    }
}

impl PendingCounts {
    /// Counts one query.
    pub(super) fn count(&mut self, mut told: CountedQuery, now: Timestamp) {
        if let Some(marks) = self.marks.get(&told.household)
            && !marks
                .iter()
                .all(|(at, mark)| *at < told.at || mark.apply(&mut told))
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
        let there = self
            .homes
            .get_mut(&told.household)
            .and_then(|home| home.hours.get_mut(&hour));
        let waited = match there {
            Some(waited) => waited,
            None if is_room_for_entry => {
                self.entries += 1;
                self.latest = self.latest.max(hour);
                self.home(&told.household, now)
                    .hours
                    .entry(hour)
                    .or_insert(PendingHour {
                        until,
                        ..PendingHour::default()
                    })
            }
            None => return self.add_dropped(1),
        };
        // An hour that was recorded under two retentions keeps the shorter one.
        waited.until = waited.until.min(until);
        match waited.counts.count(&told, is_room) {
            Some(pieces) => self.pieces += pieces,
            None => self.add_dropped(1),
        }
    }

    /// The pending counts of a household; at the end of the order if they are new.
    fn home(&mut self, household: &Id, now: Timestamp) -> &mut Home {
        let Self {
            homes, order, next, ..
        } = self;
        homes.entry(household.clone()).or_insert_with(|| {
            let number = *next;
            *next += 1;
            order.push_back(Place {
                since: now,
                number,
                household: household.clone(),
            });
            Home {
                place: number,
                ..Home::default()
            }
        })
    }

    /// The number of places, for callers that take until all of these were seen.
    pub(super) fn places(&self) -> usize {
        self.order.len()
    }

    /// Takes out about `max` entries of the households that have waited long enough, or of all.
    /// `places` is the number of places to look at; it is counted down. Entries that became due are
    /// dropped.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
        is_all: bool,
        max: usize,
        places: &mut usize,
    ) -> Vec<Entry> {
        self.marks_sweep(now);
        let mut taken = Vec::new();
        while taken.len() < max
            && *places > 0
            && let Some(Place { since, .. }) = self.order.front()
            // The wall clock may have been set back: a household that waits since a future time has
            // waited long enough.
            && (is_all || now < *since || now.duration_since(*since) >= WRITE_AFTER)
            && let Some(Place { number, household, .. }) = self.order.pop_front()
        {
            *places -= 1;
            // A household that was erased and has begun again has a later place.
            if self
                .homes
                .get(&household)
                .is_none_or(|home| home.place != number)
            {
                continue;
            }
            for (hour, waited) in self.homes.remove(&household).unwrap_or_default().hours {
                self.entries -= 1;
                self.pieces -= waited.counts.pieces();
                if waited.until > hour_of(now) {
                    taken.push(Entry {
                        household: household.clone(),
                        hour,
                        waited,
                    });
                }
            }
        }
        // In the order of the file, so that neighbours are written together.
        taken.sort_unstable_by(|a, b| (&a.household, a.hour).cmp(&(&b.household, b.hour)));
        taken
    }

    /// Takes back entries that could not be written. They count as older than newer counts, and
    /// wait behind all others: the failure may be in just these entries.
    pub(super) fn put_back(&mut self, entries: Vec<Entry>, now: Timestamp) {
        // Another hour may have begun meanwhile.
        self.expired = None;
        for Entry {
            household,
            hour,
            mut waited,
        } in entries
        {
            let newer = self
                .homes
                .get_mut(&household)
                .and_then(|home| home.hours.remove(&hour));
            if let Some(newer) = newer {
                self.entries -= 1;
                self.pieces -= newer.counts.pieces();
                waited.until = waited.until.min(newer.until);
                let dropped = waited.counts.add(&newer.counts);
                self.add_dropped(dropped);
            } else if self.entries >= WAITING_MAX || self.pieces >= PIECES_WAITING_MAX {
                self.add_dropped(waited.counts.asked());
                continue;
            }
            self.entries += 1;
            self.pieces += waited.counts.pieces();
            self.home(&household, now).hours.insert(hour, waited);
        }
    }

    /// The pending hours of a household that are not due.
    pub(super) fn hours(
        &self,
        household: &Id,
        hours: Range<i64>,
        now: Timestamp,
    ) -> BTreeMap<i64, PendingHour> {
        let there = self
            .homes
            .get(household)
            .into_iter()
            .flat_map(|home| home.hours.range(hours.clone()));
        there
            .filter(|(_, waited)| waited.until > hour_of(now))
            .map(|(hour, waited)| (*hour, waited.clone()))
            .collect()
    }

    /// Erases pending counts, and queries that are still on their way.
    pub(super) fn forget(&mut self, household: &Id, what: &ErasureScope, now: Timestamp) {
        self.mark(household, Mark::Erased(what.clone()), now);
        self.retain(household, |_, waited| {
            waited.counts.forget(what);
            !waited.counts.0.is_empty()
        });
    }

    /// Limits the retention of pending counts, and of queries that are still on their way.
    pub(super) fn keep(&mut self, household: &Id, days: u16, now: Timestamp) {
        self.mark(household, Mark::Days(days), now);
        self.retain(household, |hour, waited| {
            waited.until = waited.until.min(until(hour, days));
            days > 0 && waited.until > hour_of(now)
        });
    }

    /// Limits the retention of all pending counts.
    pub(super) fn bound(&mut self, days: u16) {
        self.retain_all(|hour, waited| {
            waited.until = waited.until.min(until(hour, days));
            days > 0
        });
    }

    /// Drops what is due, and hours in the future that a wrong clock left. Returns whether the file
    /// may hold such hours as well; a caller that does not look there calls [`Self::look_ahead`].
    pub(super) fn expire(&mut self, now: Timestamp) -> bool {
        self.marks_sweep(now);
        let is_ahead = self.latest > last_hour(now);
        self.latest = self.latest.min(last_hour(now));
        if self.expired.replace(hour_of(now)) != Some(hour_of(now)) || is_ahead {
            self.retain_all(|hour, waited| waited.until > hour_of(now) && hour <= last_hour(now));
        }
        is_ahead
    }

    /// The file may hold any hour.
    pub(super) fn look_ahead(&mut self) {
        self.latest = i64::MAX;
    }

    /// Whether half of the room is taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.entries >= WAITING_MAX / 2 || self.pieces >= PIECES_WAITING_MAX / 2
    }

    /// The number of queries for which there was no room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Adds queries for which there was no room elsewhere.
    pub(super) fn add_dropped(&mut self, queries: u64) {
        self.dropped = self.dropped.saturating_add(queries);
    }

    fn retain(&mut self, household: &Id, is_kept: impl FnMut(i64, &mut PendingHour) -> bool) {
        let Some(home) = self.homes.get_mut(household) else {
            return;
        };
        let (entries, pieces) = home.retain(is_kept);
        self.entries -= entries;
        self.pieces -= pieces;
        if home.hours.is_empty() {
            self.homes.remove(household);
        }
    }

    fn retain_all(&mut self, mut is_kept: impl FnMut(i64, &mut PendingHour) -> bool) {
        let Self {
            homes,
            entries,
            pieces,
            ..
        } = self;
        homes.retain(|_, home| {
            let gone = home.retain(&mut is_kept);
            *entries -= gone.0;
            *pieces -= gone.1;
            !home.hours.is_empty()
        });
    }

    fn mark(&mut self, household: &Id, mark: Mark, now: Timestamp) {
        let marks = self.marks.entry(household.clone()).or_default();
        marks.retain(|(at, older)| holds(*at, now) && !older.is_replaced_by(&mark));
        if marks.len() >= MARKS_MAX {
            marks.remove(0);
        }
        marks.push((now, mark));
    }

    /// Drops expired marks from time to time; there can be as many as households.
    fn marks_sweep(&mut self, now: Timestamp) {
        if self
            .swept
            .is_none_or(|swept| now.duration_since(swept).abs() >= SWEEP_AFTER)
        {
            self.swept = Some(now);
            self.marks.retain(|_, marks| {
                marks.retain(|(at, _)| holds(*at, now));
                !marks.is_empty()
            });
        }
    }
}

impl Home {
    /// Returns how many entries and pieces were removed.
    fn retain(&mut self, mut is_kept: impl FnMut(i64, &mut PendingHour) -> bool) -> (usize, usize) {
        let weigh = |hours: &BTreeMap<i64, PendingHour>| {
            (
                hours.len(),
                hours
                    .values()
                    .map(|waited| waited.counts.pieces())
                    .sum::<usize>(),
            )
        };
        let before = weigh(&self.hours);
        self.hours.retain(|hour, waited| is_kept(*hour, waited));
        let after = weigh(&self.hours);
        (before.0 - after.0, before.1 - after.1)
    }
}

/// Whether a mark is valid: not expired, and not in the future because the clock was set back.
fn holds(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at).abs() <= MARKS_KEPT
}

#[cfg(test)]
mod tests;
