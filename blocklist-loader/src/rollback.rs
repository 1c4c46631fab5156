//! The way back, and what lies between: making what was live once live again, and telling what
//! differs between two generations.
//!
//! Nothing is compiled for that. A generation that is to be live again gets a new number and
//! continues the one that it repeats with no change at all; a single feed that goes back is a delta
//! of what it said then.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::Path,
};

use policy::lists::{
    artefact::{FeedSummary, Header, peek},
    blocklist::{Blocklist, NameCursor},
    delta::Delta,
    entry::{EntryAction, ListEntry, LocalData, NO_CATEGORY, Polarity},
};

use crate::{
    feed::Feed,
    generations::{delta_path, newest, path_of},
    review::shown,
};

/// NameCursor that a single feed may change when it goes back; beyond, the overlay would be a second set
/// of lists, and the generation as a whole goes back as quickly.
const RESTORED_MAX: usize = 1 << 20;

/// A generation that repeats another one, under a new number, of the feeds that are defined now.
/// Feeds are held whose versions differ from those of `live` or that were defined otherwise then;
/// those that are defined no longer say nothing, and those that were not defined then are held
/// back.
#[must_use]
pub fn repeat(
    directory: &Path,
    (live, then): (&Blocklist, &Blocklist),
    defined: &[Feed],
    generation: u64,
    now: jiff::Timestamp,
) -> Delta {
    let feed_of = |summary: &FeedSummary| {
        defined
            .iter()
            .find(|feed| feed.name == summary.name)
            .filter(|_| !summary.withdrawn)
    };
    let feeds = then.header().feeds.iter().map(|summary| {
        let Some(feed) = feed_of(summary) else {
            return FeedSummary {
                withdrawn: true,
                held: false,
                refused: None,
                ..summary.clone()
            };
        };
        let is_other =
            |now: &FeedSummary| now.name == summary.name && now.version != summary.version;
        let held = summary.held
            || !feed.was_defined_so(&summary.definition)
            || live.header().feeds.iter().any(is_other);
        // What is held goes on as it was until it is let go on, or until it is defined otherwise
        // after this.
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
    });
    let feeds: Vec<FeedSummary> = feeds.collect();
    let is_there = |feed: &&Feed| {
        feeds
            .iter()
            .any(|summary| summary.name == feed.name && !summary.withdrawn)
    };
    let gone = feeds
        .iter()
        .zip(&then.header().feeds)
        .filter(|(now, then)| now.withdrawn && !then.withdrawn);
    let entries_gone: u64 = gone
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
        entries: then.header().entries.saturating_sub(entries_gone),
        ..then.header().clone()
    };
    Delta {
        path: delta_path(directory, generation),
        header,
        changes: Vec::new(),
        sha256: String::new(),
    }
}

/// A generation in which one feed says what it said then, and is held. None where that would change
/// too much, or where the feed is not in both.
#[must_use]
pub fn restore(
    directory: &Path,
    live: &Blocklist,
    then: &Blocklist,
    feed: &str,
    generation: u64,
    now: jiff::Timestamp,
) -> Option<Delta> {
    let place = |lists: &Blocklist| {
        lists
            .header()
            .feeds
            .iter()
            .position(|summary| summary.name == feed && !summary.withdrawn)
            .and_then(|place| u16::try_from(place).ok())
    };
    let (place, then_place) = (place(live)?, place(then)?);
    let mut answers: Vec<LocalData> = Vec::new();
    let mut places: HashMap<u32, u32> = HashMap::new();
    let mut arrivals = live.header().arrivals.clone();
    arrivals.push(now);
    let arrival = u16::try_from(arrivals.len() - 1).ok()?;
    let category_places: Vec<Option<u8>> = then
        .header()
        .categories
        .iter()
        .map(|slug| {
            u8::try_from(
                live.header()
                    .categories
                    .iter()
                    .position(|other| other == slug)?,
            )
            .ok()
        })
        .collect();
    let mut changes = Vec::new();
    let mut entries = 0_i64;
    let mut names = 0_i64;
    for (key, all, was) in Both::new(live, then) {
        let (mine, others): (Vec<ListEntry>, Vec<ListEntry>) =
            all.iter().partition(|mark| mark.feed == place);
        let mut back: Vec<ListEntry> = Vec::new();
        for mark in was.iter().filter(|mark| mark.feed == then_place) {
            let category = if mark.category == NO_CATEGORY {
                NO_CATEGORY
            } else {
                category_places[usize::from(mark.category)]?
            };
            let mut mark = ListEntry {
                feed: place,
                category,
                ..*mark
            };
            if mark.action == EntryAction::LocalData {
                let old = mark.data;
                mark.data = match places.get(&old) {
                    Some(&place) => place,
                    None => {
                        answers.push(then.answers().get(old as usize)?.clone());
                        let place = u32::try_from(live.answers().len() + answers.len() - 1).ok()?;
                        places.insert(old, place);
                        place
                    }
                };
            }
            mark.arrival = mine
                .iter()
                .find(|mine| mine.says_what(&mark))
                .map_or(arrival, |mine| mine.arrival);
            back.push(mark);
        }
        let is_same = |left: &[ListEntry], right: &[ListEntry]| {
            left.len() == right.len()
                && left.iter().all(|mark| {
                    right.iter().any(|other| {
                        other.says_what(mark)
                            && (mark.action != EntryAction::RedirectToProxy
                                || mark.data == other.data)
                    })
                })
        };
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
    let old = &then.header().feeds[usize::from(then_place)];
    // As the feed is defined now, or the next build would take the difference for a new definition
    // and read it anew.
    let definition = feeds[usize::from(place)].definition.clone();
    feeds[usize::from(place)] = FeedSummary {
        held: true,
        refused: None,
        definition,
        ..old.clone()
    };
    let header = Header {
        generation,
        parent: Some(live.generation()),
        built_at: now,
        feeds,
        arrivals,
        answers,
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

/// The newest kept generation that is older than what `live` says and says something else. What was
/// rolled back already is not gone back to: a rollback of a rollback leads on into the past.
///
/// # Errors
/// The folder cannot be listed.
pub fn before(directory: &Path, live: &Header) -> io::Result<Option<u64>> {
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
    // From the last repetition of this content back to where it began.
    while let Some(header) = parent
        .and_then(|parent| header_of(directory, parent))
        .filter(|header| versions(header) == now)
    {
        (since, parent) = (header.generation, header.parent);
    }
    search(directory, since, |header| versions(header) != now)
}

/// The newest kept generation in which this feed, as it is in `live`, was at an earlier version.
///
/// # Errors
/// The folder cannot be listed.
pub fn before_feed(directory: &Path, live: &Header, now: &FeedSummary) -> io::Result<Option<u64>> {
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

/// What one feed says more, or less, of one category.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    /// Entries that came.
    pub added: u64,
    /// Entries that went.
    pub removed: u64,
}

/// One name that came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedName {
    /// The name.
    pub name: String,
    /// The feed.
    pub feed: String,
    /// The category, where it is about one.
    pub category: Option<String>,
}

/// What differs between two generations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// By feed and category.
    pub moved: BTreeMap<(String, Option<String>), Moved>,
    /// NameCursor that came, the first of them.
    pub added: Vec<MovedName>,
    /// NameCursor that went, the first of them.
    pub removed: Vec<MovedName>,
}

/// What differs from one generation to another, with at most `limit` names each way.
#[must_use]
pub fn differences(from: &Blocklist, to: &Blocklist, limit: usize) -> Differences {
    type Said = (String, Option<String>, bool);
    let said = |lists: &Blocklist, marks: &[ListEntry]| -> BTreeSet<Said> {
        let denies = marks.iter().filter(|mark| {
            mark.polarity == Polarity::Deny && mark.action != EntryAction::RedirectToProxy
        });
        denies
            .map(|mark| {
                let feeds = &lists.header().feeds;
                let categories = &lists.header().categories;
                (
                    feeds[usize::from(mark.feed)].name.clone(),
                    categories.get(usize::from(mark.category)).cloned(),
                    mark.action == EntryAction::Path,
                )
            })
            .collect()
    };
    let mut differences = Differences::default();
    for (key, before, after) in Both::new(from, to) {
        let before = said(from, &before);
        let after = said(to, &after);
        for (feed, category, is_path) in after.difference(&before) {
            differences
                .moved
                .entry((feed.clone(), category.clone()))
                .or_default()
                .added += 1;
            if differences.added.len() < limit {
                differences.added.push(MovedName {
                    name: shown(&key, *is_path),
                    feed: feed.clone(),
                    category: category.clone(),
                });
            }
        }
        for (feed, category, is_path) in before.difference(&after) {
            differences
                .moved
                .entry((feed.clone(), category.clone()))
                .or_default()
                .removed += 1;
            if differences.removed.len() < limit {
                differences.removed.push(MovedName {
                    name: shown(&key, *is_path),
                    feed: feed.clone(),
                    category: category.clone(),
                });
            }
        }
    }
    differences
}

/// Walks two lists in step: each key of either, with what each says of it. Keys of which both say
/// the very same are left out where both lists agree on feeds and categories.
struct Both<'l> {
    left: Side<'l>,
    right: Side<'l>,
    /// Whether marks of the one mean in the other what they mean there.
    comparable: bool,
}

struct Side<'l> {
    names: NameCursor<'l>,
    at: Option<(Vec<u8>, Vec<ListEntry>)>,
}

impl<'l> Side<'l> {
    fn new(lists: &'l Blocklist) -> Self {
        let mut side = Self {
            names: lists.names(),
            at: None,
        };
        side.step();
        side
    }

    fn step(&mut self) -> Option<(Vec<u8>, Vec<ListEntry>)> {
        let next = self
            .names
            .next()
            .map(|(key, marks)| (key.to_vec(), marks.to_vec()));
        std::mem::replace(&mut self.at, next)
    }
}

impl<'l> Both<'l> {
    fn new(left: &'l Blocklist, right: &'l Blocklist) -> Self {
        let names = |lists: &Blocklist| {
            lists
                .header()
                .feeds
                .iter()
                .map(|feed| feed.name.clone())
                .collect::<Vec<_>>()
        };
        let comparable =
            names(left) == names(right) && left.header().categories == right.header().categories;
        Self {
            left: Side::new(left),
            right: Side::new(right),
            comparable,
        }
    }
}

impl Iterator for Both<'_> {
    type Item = (Vec<u8>, Vec<ListEntry>, Vec<ListEntry>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (&self.left.at, &self.right.at) {
                (None, None) => return None,
                (Some((left, _)), Some((right, _))) => left.cmp(right),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
            };
            let (key, left, right) = match order {
                std::cmp::Ordering::Less => self
                    .left
                    .step()
                    .map(|(key, marks)| (key, marks, Vec::new()))?,
                std::cmp::Ordering::Greater => self
                    .right
                    .step()
                    .map(|(key, marks)| (key, Vec::new(), marks))?,
                std::cmp::Ordering::Equal => {
                    let (key, left) = self.left.step()?;
                    (key, left, self.right.step()?.1)
                }
            };
            let is_plain = |mark: &ListEntry| {
                mark.action != EntryAction::LocalData && mark.action != EntryAction::RedirectToProxy
            };
            let says_the_same = self.comparable
                && left.len() == right.len()
                && left
                    .iter()
                    .zip(&right)
                    .all(|(left, right)| is_plain(left) && left.says_what(right));
            if !says_the_same {
                return Some((key, left, right));
            }
        }
    }
}
