//! The differences between two generations, by feed and category, and as names.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use policy::lists::{
    blocklist::{Blocklist, NameCursor},
    entry::{EntryAction, ListEntry, Polarity},
};

use crate::review::shown;

/// Entries that one feed gains and loses in one category.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryCounts {
    pub added: u64,
    pub removed: u64,
}

/// One name that was added or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffName {
    pub name: String,
    pub feed: String,
    /// The category; `None` where the feed assigns none.
    pub category: Option<String>,
}

/// The differences between two generations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Counts by feed and category.
    pub counts: BTreeMap<(String, Option<String>), EntryCounts>,
    /// The first names that were added.
    pub added: Vec<DiffName>,
    /// The first names that were removed.
    pub removed: Vec<DiffName>,
}

/// The differences from one generation to another, with at most `limit` names each way.
#[must_use]
pub fn diff(from: &Blocklist, to: &Blocklist, limit: usize) -> Diff {
    type ListedName = (String, Option<String>, bool);
    let said = |lists: &Blocklist, marks: &[ListEntry]| -> BTreeSet<ListedName> {
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
    let mut diff = Diff::default();
    for (key, before, after) in MergedNames::new(from, to) {
        let before = said(from, &before);
        let after = said(to, &after);
        for (feed, category, is_path) in after.difference(&before) {
            diff.counts
                .entry((feed.clone(), category.clone()))
                .or_default()
                .added += 1;
            if diff.added.len() < limit {
                diff.added.push(DiffName {
                    name: shown(&key, *is_path),
                    feed: feed.clone(),
                    category: category.clone(),
                });
            }
        }
        for (feed, category, is_path) in before.difference(&after) {
            diff.counts
                .entry((feed.clone(), category.clone()))
                .or_default()
                .removed += 1;
            if diff.removed.len() < limit {
                diff.removed.push(DiffName {
                    name: shown(&key, *is_path),
                    feed: feed.clone(),
                    category: category.clone(),
                });
            }
        }
    }
    diff
}

/// Walks two lists in step: visits each key of either with both sets of entries. Skips keys with
/// equal entries where both lists have the same feeds and categories.
pub(crate) struct MergedNames<'l> {
    left: Side<'l>,
    right: Side<'l>,
    /// Whether feed and category indexes mean the same in both lists.
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

impl<'l> MergedNames<'l> {
    pub(crate) fn new(left: &'l Blocklist, right: &'l Blocklist) -> Self {
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

impl Iterator for MergedNames<'_> {
    type Item = (Vec<u8>, Vec<ListEntry>, Vec<ListEntry>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (&self.left.at, &self.right.at) {
                (None, None) => return None,
                (Some((left, _)), Some((right, _))) => left.cmp(right),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            };
            let (key, left, right) = match order {
                Ordering::Less => self
                    .left
                    .step()
                    .map(|(key, marks)| (key, marks, Vec::new()))?,
                Ordering::Greater => self
                    .right
                    .step()
                    .map(|(key, marks)| (key, Vec::new(), marks))?,
                Ordering::Equal => {
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
