//! Computes a feed's entries of each key that its changed rows touch. The rows are read one by one,
//! with the parsers that a build uses.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use policy::{
    lists::{
        artefact::{ArtefactError, FeedReport},
        blocklist::Blocklist,
        entry::{EntryAction, ListEntry, LocalData, NO_CATEGORY, Polarity, Scope},
        index_key::split_path,
        public_suffix::{SuffixKind, public_suffix},
    },
    name::{Name, NameRef, name_of_key},
};

use super::{answers::Answers, proposal::DeltaError};
use crate::{
    feed::{Feed, Format},
    gate::NameGuard,
    parse::{category_feed, rpz},
    review::{NameDiff, shown},
    row_change::RowChange,
    rows::{EntryRule, ParsedEntry, Rows},
    source,
    spool::{self, RowKey},
};

/// Marks of one feed before and after the change.
pub(super) struct DeltaBuilder<'l> {
    lists: &'l Blocklist,
    place: u16,
    /// The feed's entries after the change, by key.
    touched: BTreeMap<Vec<u8>, Vec<ListEntry>>,
    answers: Answers<'l>,
}

/// Counts of the rows that were read.
#[derive(Default)]
pub(super) struct RowCounts {
    /// Bad rows among the added ones.
    pub(super) bad: u64,
    came: FeedReport,
    went: FeedReport,
    /// Whether removed rows can be parsed. If so, everything is counted by rows, as in a build.
    /// Otherwise entries are counted by entries, and rows without a entry are unknown.
    counts_rows: bool,
}

/// What the delta consists of.
pub(super) struct DeltaParts {
    pub(super) changes: Vec<(Box<[u8]>, Vec<ListEntry>)>,
    pub(super) arrivals: Vec<jiff::Timestamp>,
    /// By how much the number of names changes.
    pub(super) names: i64,
    entries: i64,
    paths: i64,
    /// The names that become blocked or unblocked.
    pub(super) blocked: Vec<NameDiff>,
}

impl RowCounts {
    /// The feed's report after the change.
    pub(super) fn applied_to(&self, report: &FeedReport, parts: &DeltaParts) -> FeedReport {
        let by = |had: u64, came: u64, went: u64| (had + came).saturating_sub(went);
        let registry_suffixes = by(
            report.registry_suffixes,
            self.came.registry_suffixes,
            self.went.registry_suffixes,
        );
        if !self.counts_rows {
            return FeedReport {
                entries: report.entries.saturating_add_signed(parts.entries),
                paths: report.paths.saturating_add_signed(parts.paths),
                registry_suffixes,
                ..report.clone()
            };
        }
        FeedReport {
            lines: by(report.lines, self.came.lines, self.went.lines),
            entries: by(report.entries, self.came.entries, self.went.entries),
            addresses: by(report.addresses, self.came.addresses, self.went.addresses),
            unsupported: by(
                report.unsupported,
                self.came.unsupported,
                self.went.unsupported,
            ),
            bad: by(report.bad, self.came.bad, self.went.bad),
            public_suffixes: by(
                report.public_suffixes,
                self.came.public_suffixes,
                self.went.public_suffixes,
            ),
            registry_suffixes,
            ..report.clone()
        }
    }
}

impl<'l> DeltaBuilder<'l> {
    pub(super) fn new(lists: &'l Blocklist, place: u16) -> Self {
        Self {
            lists,
            place,
            touched: BTreeMap::new(),
            answers: Answers::after(lists.answers()),
        }
    }

    /// The feed's entries of a key in the lists.
    fn before(&self, key: &[u8]) -> Vec<ListEntry> {
        self.lists
            .marks(key)
            .into_iter()
            .filter(|mark| mark.feed == self.place)
            .collect()
    }

    /// The feed's entries of a key after the changes so far.
    fn after(&self, key: &[u8]) -> Vec<ListEntry> {
        self.touched
            .get(key)
            .cloned()
            .unwrap_or_else(|| self.before(key))
    }

    fn touch(&mut self, key: &[u8]) -> &mut Vec<ListEntry> {
        if !self.touched.contains_key(key) {
            self.touched.insert(key.to_owned(), self.before(key));
        }
        self.touched.get_mut(key).expect("just put there")
    }

    /// Reads the rows as a build would and applies each.
    pub(super) fn read(
        &mut self,
        feed: &Feed,
        directory: &Path,
        rows: &[RowChange],
    ) -> Result<RowCounts, DeltaError> {
        let slugs = &self.lists.header().categories;
        // A slug that the lists do not have cannot be in the feed's definition.
        let place_of = |slug: &str| {
            let place = slugs.iter().position(|category| category == slug);
            place
                .and_then(|place| u8::try_from(place).ok())
                .unwrap_or(NO_CATEGORY)
        };
        let content = source::content(feed, directory);
        match feed.format {
            Format::Rpz => self.read_records(feed, &content, rows, &place_of),
            _ => self.read_codes(feed, &content, rows, &place_of),
        }
    }

    /// A row of a category feed replaces all entries of its name.
    fn read_codes(
        &mut self,
        feed: &Feed,
        content: &Path,
        rows: &[RowChange],
        place_of: &dyn Fn(&str) -> u8,
    ) -> Result<RowCounts, DeltaError> {
        let mut reader = category_feed::Reader::new(feed, content, place_of);
        let mut read = RowCounts::default();
        for RowChange { added, row } in rows {
            if let Some(key) = category_feed::key(row) {
                let marks = self.touch(&key);
                read.went.registry_suffixes += narrowed(feed, &key, marks);
                marks.retain(|mark| {
                    is_exception(mark) || mark.action == EntryAction::RedirectToProxy
                });
            }
            if *added {
                let counted = read_row(feed, &mut |entry| self.add(&entry), |rows| {
                    reader.read(row, rows)
                })?;
                read.bad += counted.bad;
                read.came.registry_suffixes += counted.registry_suffixes;
            }
        }
        Ok(read)
    }

    /// A row of a zone adds to the other rows of its owner name.
    fn read_records(
        &mut self,
        feed: &Feed,
        content: &Path,
        rows: &[RowChange],
        place_of: &dyn Fn(&str) -> u8,
    ) -> Result<RowCounts, DeltaError> {
        let mut reader = rpz::Reader::new(feed, place_of);
        let mut read = RowCounts {
            counts_rows: true,
            ..RowCounts::default()
        };
        // A removed and an added row may stand for the same entry in different spellings, in any
        // order.
        let last: BTreeMap<&[u8], bool> = rows
            .iter()
            .map(|change| (change.row.as_slice(), change.added))
            .collect();
        let mut removed = BTreeSet::new();
        let mut is_about_addresses = false;
        for row in last
            .iter()
            .filter(|(_, added)| !**added)
            .map(|(row, _)| row)
        {
            is_about_addresses |= rpz::is_about_addresses(row);
            let mut remove = |entry: ParsedEntry<'_>| {
                removed.insert(entry.key());
                self.remove(&entry)
            };
            count(
                &mut read.went,
                &read_row(feed, &mut remove, |rows| reader.read(row, rows))?,
            );
        }
        for row in last.iter().filter(|(_, added)| **added).map(|(row, _)| row) {
            let counted = read_row(feed, &mut |entry| self.add(&entry), |rows| {
                reader.read(row, rows)
            })?;
            read.bad += counted.bad;
            count(&mut read.came, &counted);
        }
        // A prefix that ends between two labels is several keys, which other prefixes may share.
        // The remaining rows add these keys again.
        if is_about_addresses {
            let mut failed = Ok(());
            spool::for_each_row(content, RowKey::WholeRow, &mut |row| {
                if failed.is_ok() && rpz::is_about_addresses(row) {
                    let mut add = |entry: ParsedEntry<'_>| {
                        if removed.contains(&entry.key()) {
                            self.add(&entry)
                        } else {
                            Ok(())
                        }
                    };
                    failed = read_row(feed, &mut add, |rows| reader.read(row, rows)).map(|_| ());
                }
            })?;
            failed?;
        }
        Ok(read)
    }

    fn add(&mut self, entry: &ParsedEntry<'_>) -> Result<(), ArtefactError> {
        let key = entry.key();
        let mut mark = entry.mark(self.place);
        let old = self
            .touch(&key)
            .iter()
            .position(|other| other.says_what(&mark));
        let Some(records) = entry.records else {
            if old.is_none() {
                self.touch(&key).push(mark);
            }
            return Ok(());
        };
        // A name has one set of records, whichever rows they come from.
        let mut all = match old {
            Some(old) => {
                let old = self.touch(&key).remove(old);
                self.answers.at(old.data)
            }
            None => LocalData::default(),
        };
        all.0.extend(records.0.iter().cloned());
        all.0.sort();
        all.0.dedup();
        mark.data = self.answers.place(all)?;
        self.touch(&key).push(mark);
        Ok(())
    }

    fn remove(&mut self, entry: &ParsedEntry<'_>) -> Result<(), ArtefactError> {
        let key = entry.key();
        let mark = entry.mark(self.place);
        let marks = self.touch(&key);
        let Some(old) = marks.iter().position(|other| other.says_what(&mark)) else {
            return Ok(());
        };
        let was = marks.remove(old);
        if let Some(gone) = entry.records {
            let mut left = self.answers.at(was.data);
            left.0.retain(|record| !gone.0.contains(record));
            if !left.0.is_empty() {
                let data = self.answers.place(left)?;
                self.touch(&key).push(ListEntry { data, ..was });
            }
        }
        Ok(())
    }

    /// Excepts the operator's own names that would be covered, and no others; returns these names.
    pub(super) fn guard_own_names(&mut self, feed: &Feed, own: &[Name]) -> Vec<Name> {
        let denied = self.guard(feed, own).own_names_denied();
        for name in own {
            let key = key_of(name.borrow());
            let is_excepted = self.after(&key).iter().any(is_exception);
            match (denied.contains(name), is_excepted) {
                (true, false) => {
                    let except = ListEntry {
                        polarity: Polarity::Allow,
                        important: true,
                        ..ListEntry::deny(self.place, NO_CATEGORY, Scope::Subtree)
                    };
                    self.touch(&key).push(except);
                }
                (false, true) => self.touch(&key).retain(|mark| !is_exception(mark)),
                _ => {}
            }
        }
        denied
    }

    /// A guard that has observed the feed's entries after the change.
    pub(super) fn guard<'f>(&self, feed: &'f Feed, own: &'f [Name]) -> NameGuard<'f> {
        let mut guard = NameGuard::new(feed, own);
        let names: Vec<Name> = guard.names().map(NameRef::to_owned).collect();
        for name in &names {
            for mark in self
                .after(&key_of(name.borrow()))
                .iter()
                .filter(|mark| !is_exception(mark))
            {
                let ListEntry {
                    scope,
                    polarity,
                    important,
                    action,
                    category,
                    ..
                } = *mark;
                let rule = EntryRule {
                    scope,
                    polarity,
                    important,
                    action,
                };
                guard.observe(&ParsedEntry {
                    name: name.borrow(),
                    path: None,
                    category,
                    rule,
                    records: None,
                });
            }
        }
        guard
    }

    /// Updates the count of paths of each host whose paths changed.
    pub(super) fn count_paths(&mut self) {
        let mut moved: BTreeMap<(Vec<u8>, u8), i64> = BTreeMap::new();
        for (key, after) in &self.touched {
            let before = self.before(key);
            for (marks, by) in [(&before, -1), (after, 1)] {
                for mark in marks.iter().filter(|mark| mark.action == EntryAction::Path) {
                    *moved
                        .entry((split_path(key).0.to_vec(), mark.category))
                        .or_default() += by;
                }
            }
        }
        for ((host, category), by) in moved.into_iter().filter(|(_, by)| *by != 0) {
            let proxied = ListEntry {
                action: EntryAction::RedirectToProxy,
                ..ListEntry::deny(self.place, category, Scope::Exact)
            };
            let marks = self.touch(&host);
            let count = match marks.iter().position(|mark| mark.says_what(&proxied)) {
                Some(place) => i64::from(marks.remove(place).data),
                None => 0,
            };
            if let Ok(data @ 1..) = u32::try_from(count + by) {
                marks.push(ListEntry { data, ..proxied });
            }
        }
    }

    /// All new entries of each key that differs, with their time of arrival, and the changes of the
    /// counts.
    pub(super) fn finish(&self, now: jiff::Timestamp) -> DeltaParts {
        let arrivals = self.lists.header().arrivals.clone();
        let mut parts = DeltaParts {
            changes: Vec::new(),
            arrivals,
            names: 0,
            entries: 0,
            paths: 0,
            blocked: Vec::new(),
        };
        let mut new = None;
        for (key, after) in &self.touched {
            let all = self.lists.marks(key);
            let (mut before, mut marks): (Vec<ListEntry>, Vec<ListEntry>) =
                all.iter().partition(|mark| mark.feed == self.place);
            let arrivals = &mut parts.arrivals;
            let dated =
                after
                    .iter()
                    .map(|mark| match before.iter().find(|old| old.says_what(mark)) {
                        Some(old) => ListEntry {
                            arrival: old.arrival,
                            ..*mark
                        },
                        None => ListEntry {
                            arrival: *new.get_or_insert_with(|| next_arrival(arrivals, now)),
                            ..*mark
                        },
                    });
            let mut after: Vec<ListEntry> = dated.collect();
            after.sort_unstable();
            before.sort_unstable();
            if before == after {
                continue;
            }
            for (marks, by) in [(&before, -1), (&after, 1)] {
                for mark in marks.iter().filter(|mark| {
                    !is_exception(mark) && mark.action != EntryAction::RedirectToProxy
                }) {
                    *(if mark.action == EntryAction::Path {
                        &mut parts.paths
                    } else {
                        &mut parts.entries
                    }) += by;
                }
            }
            let had = self.listed(&before);
            let has = self.listed(&after);
            let changed = had
                .difference(&has)
                .map(|entry| (false, entry))
                .chain(has.difference(&had).map(|entry| (true, entry)));
            parts
                .blocked
                .extend(changed.map(|(blocked, (category, is_path))| NameDiff {
                    blocked,
                    category: category.clone(),
                    name: shown(key, *is_path),
                }));
            marks.extend(after);
            marks.sort_unstable();
            parts.names += i64::from(!marks.is_empty()) - i64::from(!all.is_empty());
            parts.changes.push((key.as_slice().into(), marks));
        }
        parts
    }

    /// The categories that entries block, each with whether only a path is blocked. A reviewer needs
    /// no more detail.
    fn listed(&self, marks: &[ListEntry]) -> BTreeSet<(Option<String>, bool)> {
        let category = |mark: &ListEntry| {
            self.lists
                .header()
                .categories
                .get(usize::from(mark.category))
                .cloned()
        };
        let denies = marks.iter().filter(|mark| {
            mark.polarity == Polarity::Deny && mark.action != EntryAction::RedirectToProxy
        });
        denies
            .map(|mark| (category(mark), mark.action == EntryAction::Path))
            .collect()
    }

    /// The records that the changes need beyond those of the lists.
    pub(super) fn new_answers(
        &self,
        changes: &mut [(Box<[u8]>, Vec<ListEntry>)],
    ) -> Vec<LocalData> {
        self.answers.needed_by(changes)
    }
}

/// Reads one row and returns its counts.
fn read_row(
    feed: &Feed,
    take: &mut dyn FnMut(ParsedEntry<'_>) -> Result<(), ArtefactError>,
    parse: impl FnOnce(&mut Rows<'_>),
) -> Result<FeedReport, ArtefactError> {
    let mut collector = Rows::new(!feed.force_public_suffixes, take);
    collector.enter("changes", Some(NO_CATEGORY));
    collector.next_line();
    parse(&mut collector);
    match collector.failure() {
        Some(error) => Err(error),
        None => Ok(collector.report),
    }
}

fn count(total: &mut FeedReport, counted: &FeedReport) {
    total.lines += counted.lines;
    total.entries += counted.entries;
    total.addresses += counted.addresses;
    total.unsupported += counted.unsupported;
    total.bad += counted.bad;
    total.public_suffixes += counted.public_suffixes;
    total.registry_suffixes += counted.registry_suffixes;
}

/// The number of entries of a key that would have covered a registry's suffix and were narrowed to
/// the name itself.
fn narrowed(feed: &Feed, key: &[u8], marks: &[ListEntry]) -> u64 {
    if feed.force_public_suffixes || feed.bare_scope() != Scope::Subtree {
        return 0;
    }
    let is_narrowed = |mark: &&ListEntry| {
        mark.polarity == Polarity::Deny
            && mark.scope == Scope::Exact
            && mark.action == EntryAction::OperatorPolicy
    };
    let is_suffix = name_of_key(key)
        .is_ok_and(|name| public_suffix(name.borrow()) == Some(SuffixKind::Registry));
    if is_suffix {
        marks.iter().filter(is_narrowed).count() as u64
    } else {
        0
    }
}

/// Whether a entry is the exception of an own name. Rows do not know of these.
fn is_exception(mark: &ListEntry) -> bool {
    mark.polarity == Polarity::Allow
        && mark.important
        && mark.category == NO_CATEGORY
        && mark.scope == Scope::Subtree
}

fn key_of(name: NameRef<'_>) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.wire().len());
    name.write_key(&mut key);
    key
}

/// Deltas less than this far apart share one time of arrival, in seconds. A table with an entry for
/// each second would be full within a day, and arrival times need no such precision.
const ARRIVALS_APART_S: i64 = 60;

/// The index of the current time in the table of arrivals. A full table gets no more entries until
/// the next build thins it.
fn next_arrival(arrivals: &mut Vec<jiff::Timestamp>, now: jiff::Timestamp) -> u16 {
    let is_near = arrivals
        .last()
        .is_some_and(|last| (0..ARRIVALS_APART_S).contains(&(now.as_second() - last.as_second())));
    if arrivals.is_empty() || !is_near && arrivals.len() < usize::from(u16::MAX) {
        arrivals.push(now);
    }
    u16::try_from(arrivals.len() - 1).expect("at most 65,535 places")
}
