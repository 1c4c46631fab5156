//! Arrival times of entries, carried over from the previous lists by walking both in the order of
//! their keys.

use jiff::Timestamp;

use crate::lists::{
    artefact::Header,
    blocklist::{Blocklist, NameCursor},
    entry::ListEntry,
};

/// The most arrival times that a build keeps. Above it, the older half is kept at half the
/// resolution. A mark has 16 bits for it; a support case needs the minute of last week and the hour
/// of last month.
const ARRIVALS_MAX: usize = 4096;

/// Arrival times of entries, taken from the previous lists.
pub(super) struct PastArrivals<'l> {
    names: Option<NameCursor<'l>>,
    /// The current key of the walk through the previous lists, and its marks with the indices of
    /// the new lists.
    at: Option<(Vec<u8>, Vec<ListEntry>)>,
    /// From indices of the previous lists to those of the new ones.
    feeds: Vec<Option<u16>>,
    categories: Vec<Option<u8>>,
    places: Vec<u16>,
    arrivals: Vec<Timestamp>,
    /// The index of `built_at`, once an entry arrived now.
    now: Option<u16>,
    built_at: Timestamp,
}

impl<'l> PastArrivals<'l> {
    pub(super) fn new(previous: Option<&'l Blocklist>, header: &Header) -> Self {
        let place = |found: Option<usize>| found.and_then(|place| u16::try_from(place).ok());
        let old = previous.map(Blocklist::header);
        let feeds = |old: &Header| {
            old.feeds
                .iter()
                .map(|feed| place(header.feeds.iter().position(|new| new.name == feed.name)))
                .collect::<Vec<_>>()
        };
        let categories = |old: &Header| {
            let place = |slug| {
                header
                    .categories
                    .iter()
                    .position(|new| new == slug)
                    .and_then(|place| u8::try_from(place).ok())
            };
            old.categories.iter().map(place).collect::<Vec<_>>()
        };
        let (arrivals, places) = old.map(|old| thin(&old.arrivals)).unwrap_or_default();
        let mut past = Self {
            feeds: old.map(feeds).unwrap_or_default(),
            categories: old.map(categories).unwrap_or_default(),
            names: previous.map(Blocklist::names),
            at: None,
            places,
            arrivals,
            now: None,
            built_at: header.built_at,
        };
        past.advance();
        past
    }

    /// Sets the arrival of the marks of a name. Names come in order.
    pub(super) fn date(&mut self, key: &[u8], marks: &mut [ListEntry]) {
        while self.at.as_ref().is_some_and(|(at, _)| at.as_slice() < key) {
            self.advance();
        }
        let arrivals = &mut self.arrivals;
        let built_at = self.built_at;
        let old = self
            .at
            .as_ref()
            .filter(|(at, _)| at == key)
            .map_or(&[][..], |(_, marks)| marks);
        for mark in marks {
            mark.arrival = match old.iter().find(|old| old.says_what(mark)) {
                Some(old) => old.arrival,
                None => *self.now.get_or_insert_with(|| {
                    arrivals.push(built_at);
                    u16::try_from(arrivals.len() - 1).expect("thinned to fewer")
                }),
            };
        }
    }

    fn advance(&mut self) {
        let Some((key, marks)) = self.names.as_mut().and_then(NameCursor::next) else {
            self.at = None;
            return;
        };
        let (at, translated) = self.at.get_or_insert_default();
        key.clone_into(at);
        translated.clear();
        for mark in marks.iter() {
            let category = match self.categories.get(usize::from(mark.category)) {
                Some(category) => *category,
                None => Some(mark.category),
            };
            if let (Some(Some(feed)), Some(category)) =
                (self.feeds.get(usize::from(mark.feed)), category)
            {
                let arrival = self
                    .places
                    .get(usize::from(mark.arrival))
                    .copied()
                    .unwrap_or(0);
                translated.push(ListEntry {
                    feed: *feed,
                    category,
                    arrival,
                    ..*mark
                });
            }
        }
    }

    pub(super) fn arrivals(self) -> Vec<Timestamp> {
        self.arrivals
    }
}

/// Thins a full table of arrivals. Returns the table, and for each old index the new one. Two times
/// that become one take the later: the entry had arrived by then.
fn thin(arrivals: &[Timestamp]) -> (Vec<Timestamp>, Vec<u16>) {
    let is_full = arrivals.len() >= ARRIVALS_MAX;
    let mut kept = Vec::with_capacity(arrivals.len());
    let mut places = Vec::with_capacity(arrivals.len());
    for (place, &at) in arrivals.iter().enumerate() {
        if is_full && place < arrivals.len() / 2 && place % 2 == 1 {
            *kept.last_mut().expect("an odd place follows one") = at;
        } else {
            kept.push(at);
        }
        places.push(u16::try_from(kept.len() - 1).expect("a table of arrivals has a bound"));
    }
    (kept, places)
}
