//! Makes earlier content live again.
//!
//! Nothing is compiled. An earlier generation gets a new number: an empty delta on top of it. A
//! single feed goes back by a delta with its earlier entries.

use std::{collections::HashMap, io, path::Path};

use policy::lists::{
    artefact::{FeedSummary, Header, peek},
    blocklist::Blocklist,
    delta::Delta,
    entry::{Action, Mark, NO_CATEGORY, Records},
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
    let place = |lists: &Blocklist| {
        lists
            .header()
            .feeds
            .iter()
            .position(|summary| summary.name == feed && !summary.withdrawn)
            .and_then(|place| u16::try_from(place).ok())
    };
    let (place, then_place) = (place(live)?, place(then)?);
    let mut answers: Vec<Records> = Vec::new();
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
    for (key, all, was) in MergedNames::new(live, then) {
        let (mine, others): (Vec<Mark>, Vec<Mark>) =
            all.iter().partition(|mark| mark.feed == place);
        let mut back: Vec<Mark> = Vec::new();
        for mark in was.iter().filter(|mark| mark.feed == then_place) {
            let category = if mark.category == NO_CATEGORY {
                NO_CATEGORY
            } else {
                category_places[usize::from(mark.category)]?
            };
            let mut mark = Mark {
                feed: place,
                category,
                ..*mark
            };
            if mark.action == Action::Records {
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
        let is_same = |left: &[Mark], right: &[Mark]| {
            left.len() == right.len()
                && left.iter().all(|mark| {
                    right.iter().any(|other| {
                        other.says_what(mark)
                            && (mark.action != Action::Proxied || mark.data == other.data)
                    })
                })
        };
        if is_same(&mine, &back) && !back.iter().any(|mark| mark.action == Action::Records) {
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
    // The current definition; otherwise the next build would take the feed as redefined and read it
    // again.
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
