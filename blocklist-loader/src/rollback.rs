//! Makes earlier content live again.
//!
//! Nothing is compiled. An earlier generation gets a new number: an empty delta on top of it. A
//! single feed goes back by a delta with its earlier entries.

use std::{collections::HashMap, io, path::Path};

use policy::lists::{
    artefact::{FeedSummary, Header, peek},
    blocklist::Blocklist,
    delta::Delta,
    entry::{EntryAction, ListEntry, LocalData, NO_CATEGORY},
};

use crate::{
    diff::MergedNames,
    feed::Feed,
    generations::{delta_path, newest, path_of},
};

/// The most names that may change when a single feed goes back. A larger overlay would be a second
/// set of lists; the whole generation goes back just as fast.
const RESTORED_MAX: usize = 1 << 20;

/// A generation with the content of an earlier one, under a new number. Feeds are held if their
/// version differs from that of `live` or if they were defined otherwise. Feeds that are no longer
/// defined are withdrawn; feeds that were not defined then are held back.
#[must_use]
pub fn repeat_generation(
    directory: &Path,
    (live, then): (&Blocklist, &Blocklist),
    defined: &[Feed],
    generation: u64,
    now: jiff::Timestamp,
) -> Delta {
    let feeds: Vec<FeedSummary> = then
        .header()
        .feeds
        .iter()
        .map(|summary| repeated(summary, live, defined))
        .collect();
    let is_there = |feed: &&Feed| {
        feeds
            .iter()
            .any(|summary| summary.name == feed.name && !summary.withdrawn)
    };
    let withdrawn = feeds
        .iter()
        .zip(&then.header().feeds)
        .filter(|(now, then)| now.withdrawn && !then.withdrawn);
    let entries_withdrawn: u64 = withdrawn
        .map(|(now, _)| now.report.entries + now.report.paths)
        .sum();
    let header = Header {
        generation,
        parent: Some(then.generation()),
        built_at: now,
        held_back: defined
            .iter()
            .filter(|feed| !is_there(feed))
            .map(|feed| feed.name.clone())
            .collect(),
        feeds,
        entries: then.header().entries.saturating_sub(entries_withdrawn),
        ..then.header().clone()
    };
    Delta {
        path: delta_path(directory, generation),
        header,
        changes: Vec::new(),
        sha256: String::new(),
    }
}

/// The summary of an earlier generation's feed when that generation is repeated.
fn repeated(summary: &FeedSummary, live: &Blocklist, defined: &[Feed]) -> FeedSummary {
    let feed = defined
        .iter()
        .find(|feed| feed.name == summary.name)
        .filter(|_| !summary.withdrawn);
    let Some(feed) = feed else {
        return FeedSummary {
            withdrawn: true,
            held: false,
            refused: None,
            ..summary.clone()
        };
    };
    let is_other = |now: &FeedSummary| now.name == summary.name && now.version != summary.version;
    let held = summary.held
        || !feed.was_defined_so(&summary.definition)
        || live.header().feeds.iter().any(is_other);
    // A held feed keeps its entries until it is released or redefined.
    let definition = if held {
        feed.definition()
    } else {
        summary.definition.clone()
    };
    FeedSummary {
        held,
        definition,
        refused: None,
        ..summary.clone()
    }
}

/// A generation in which one feed has its earlier entries and is held. `None` where too much would
/// change, or where the feed is not in both generations.
#[must_use]
pub fn restore_feed(
    directory: &Path,
    live: &Blocklist,
    then: &Blocklist,
    feed: &str,
    generation: u64,
    now: jiff::Timestamp,
) -> Option<Delta> {
    let place = place_of(live, feed)?;
    let then_place = place_of(then, feed)?;
    let mut arrivals = live.header().arrivals.clone();
    arrivals.push(now);
    let mut translation = FeedTranslation::new(live, then, place, arrivals.len() - 1)?;
    let mut changes = Vec::new();
    let mut entries = 0_i64;
    let mut names = 0_i64;
    for (key, all, was) in MergedNames::new(live, then) {
        let (mine, others): (Vec<ListEntry>, Vec<ListEntry>) =
            all.iter().partition(|mark| mark.feed == place);
        let was = was.iter().filter(|mark| mark.feed == then_place);
        let back = was
            .map(|mark| translation.mark(mark, &mine))
            .collect::<Option<Vec<ListEntry>>>()?;
        if is_same(&mine, &back)
            && !back
                .iter()
                .any(|mark| mark.action == EntryAction::LocalData)
        {
            continue;
        }
        if changes.len() == RESTORED_MAX {
            return None;
        }
        entries += back.len() as i64 - mine.len() as i64;
        let mut marks = others;
        marks.extend(back);
        marks.sort_unstable();
        names += i64::from(!marks.is_empty()) - i64::from(!all.is_empty());
        changes.push((key.into(), marks));
    }
    let mut feeds = live.header().feeds.clone();
    let summary = &mut feeds[usize::from(place)];
    *summary = FeedSummary {
        held: true,
        refused: None,
        // The current definition; otherwise the next build would take the feed as redefined and
        // read it again.
        definition: summary.definition.clone(),
        ..then.header().feeds[usize::from(then_place)].clone()
    };
    let header = Header {
        generation,
        parent: Some(live.generation()),
        built_at: now,
        feeds,
        arrivals,
        answers: translation.answers,
        names: live.header().names.saturating_add_signed(names),
        entries: live.header().entries.saturating_add_signed(entries),
        ..live.header().clone()
    };
    Some(Delta {
        path: delta_path(directory, generation),
        header,
        changes,
        sha256: String::new(),
    })
}

/// The index of a feed in lists.
fn place_of(lists: &Blocklist, feed: &str) -> Option<u16> {
    let mut feeds = lists.header().feeds.iter();
    let place = feeds.position(|summary| summary.name == feed && !summary.withdrawn)?;
    u16::try_from(place).ok()
}

/// Whether two sets of entries state the same.
fn is_same(left: &[ListEntry], right: &[ListEntry]) -> bool {
    let is_in_right = |mark: &ListEntry| {
        right.iter().any(|other| {
            other.says_what(mark)
                && (mark.action != EntryAction::RedirectToProxy || mark.data == other.data)
        })
    };
    left.len() == right.len() && left.iter().all(is_in_right)
}

/// Translates entries of an earlier generation into the indexes of the live one.
struct FeedTranslation<'l> {
    live: &'l Blocklist,
    then: &'l Blocklist,
    /// Index of the feed in the live lists.
    place: u16,
    /// The time of arrival of entries that the live lists do not have.
    arrival: u16,
    /// Index of each earlier category in the live lists.
    categories: Vec<Option<u8>>,
    /// The records that the delta adds.
    answers: Vec<LocalData>,
    /// From the index of earlier records to their new index.
    answer_places: HashMap<u32, u32>,
}

impl<'l> FeedTranslation<'l> {
    fn new(live: &'l Blocklist, then: &'l Blocklist, place: u16, arrival: usize) -> Option<Self> {
        let slugs = &live.header().categories;
        let category = |slug: &String| {
            let place = slugs.iter().position(|other| other == slug)?;
            u8::try_from(place).ok()
        };
        Some(Self {
            live,
            then,
            place,
            arrival: u16::try_from(arrival).ok()?,
            categories: then.header().categories.iter().map(category).collect(),
            answers: Vec::new(),
            answer_places: HashMap::new(),
        })
    }

    /// The entry in the live lists. `live` are the feed's live entries of the same key.
    fn mark(&mut self, mark: &ListEntry, live: &[ListEntry]) -> Option<ListEntry> {
        let category = if mark.category == NO_CATEGORY {
            NO_CATEGORY
        } else {
            self.categories[usize::from(mark.category)]?
        };
        let mut mark = ListEntry {
            feed: self.place,
            category,
            ..*mark
        };
        if mark.action == EntryAction::LocalData {
            mark.data = self.answer(mark.data)?;
        }
        mark.arrival = live
            .iter()
            .find(|live| live.says_what(&mark))
            .map_or(self.arrival, |live| live.arrival);
        Some(mark)
    }

    /// The new index of earlier records.
    fn answer(&mut self, old: u32) -> Option<u32> {
        if let Some(&place) = self.answer_places.get(&old) {
            return Some(place);
        }
        let records = self.then.answers().get(old as usize)?.clone();
        let place = u32::try_from(self.live.answers().len() + self.answers.len()).ok()?;
        self.answers.push(records);
        self.answer_places.insert(old, place);
        Some(place)
    }
}

/// The newest kept generation that is older than the live content and differs from it. Generations
/// that a rollback has already skipped are not returned, so repeated rollbacks go further back.
///
/// # Errors
/// The folder cannot be listed.
/// The folder cannot be listed.
pub fn previous_generation(directory: &Path, live: &Header) -> io::Result<Option<u64>> {
    let defined = |header: &Header| {
        header
            .feeds
            .iter()
            .filter(|feed| !feed.withdrawn)
            .cloned()
            .collect::<Vec<_>>()
    };
    let versions = |header: &Header| {
        defined(header)
            .into_iter()
            .map(|feed| (feed.name, feed.version))
            .collect::<Vec<_>>()
    };
    let now = versions(live);
    let mut since = live.generation;
    let mut parent = live.parent;
    // From the last repetition of this content back to its first generation.
    while let Some(header) = parent
        .and_then(|parent| header_of(directory, parent))
        .filter(|header| versions(header) == now)
    {
        (since, parent) = (header.generation, header.parent);
    }
    search(directory, since, |header| versions(header) != now)
}

/// The newest kept generation in which this feed had an earlier version than in `live`.
///
/// # Errors
/// The folder cannot be listed.
pub fn previous_of_feed(
    directory: &Path,
    live: &Header,
    now: &FeedSummary,
) -> io::Result<Option<u64>> {
    let is_another = |feed: &FeedSummary| {
        feed.name == now.name
            && feed.version != now.version
            && !feed.version.is_empty()
            && !feed.withdrawn
    };
    search(directory, now.generation.min(live.generation), |header| {
        header.feeds.iter().any(is_another)
    })
}

fn header_of(directory: &Path, generation: u64) -> Option<Header> {
    [
        delta_path(directory, generation),
        path_of(directory, generation),
    ]
    .iter()
    .find_map(|path| peek(path).ok())
}

fn search(
    directory: &Path,
    before: u64,
    is_it: impl Fn(&Header) -> bool,
) -> io::Result<Option<u64>> {
    let mut older = newest(directory)?
        .into_iter()
        .filter(|artefact| artefact.generation < before);
    Ok(older
        .find(|artefact| peek(&artefact.path).is_ok_and(|header| is_it(&header)))
        .map(|artefact| artefact.generation))
}
