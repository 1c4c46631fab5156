//! The quick way: rows that a provider changed become the next generation, without reading the rest of any feed.
//!
//! ```text
//! rows ── the same parsers and the same guard ──> what the feed says of each name now ── gates ──> delta
//! ```
//!
//! What other feeds say of these names stays. Nothing here touches what is in use or writes a file: the caller writes the delta, and
//! lays it over the lists.

use std::{collections::BTreeMap, path::Path};

use policy::{
    artefact::{ArtefactError, FeedReport, FeedSummary, Header},
    blocklist::Blocklist,
    delta::{self, Delta},
    key::split_path,
    listing::{Action, Mark, NO_CATEGORY, Polarity, Records, Scope},
    name::{Name, NameRef},
};

use crate::{
    build::Plan,
    feed::{Feed, Format},
    fetch::RowChange,
    gate::{Gate, Sentry, Stop, by_size, own_names},
    parse::{category_feed, rpz},
    rows::{Claim, Rows, Said},
    source,
};

/// Above this share of bad rows, in percent, what changed is not in the feed's format.
const BAD_PERCENT_MAX: u64 = 20;
/// Below this many the share says nothing.
const BAD_ROWS_MIN: u64 = 5;

/// Why rows did not become a generation.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The lists do not have the version that the rows continue, or hold the feed back: it has to be read as a whole.
    #[error("the rows do not continue what is live")]
    NotContinued,
    /// A gate stopped them.
    #[error("{0}")]
    Stopped(#[source] Stop, Box<Proposal>),
    /// They do not fit the format.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
}

/// A generation that nobody has written or installed yet.
#[derive(Debug)]
pub struct Proposal {
    /// What it changes.
    pub delta: Delta,
    /// The names that it would block, and those that it would no longer block, as [`crate::review`] keeps them.
    pub changes: Vec<crate::review::Change>,
    /// Entries of the feed then.
    pub entries: u64,
}

/// What is to be applied.
#[derive(Debug, Clone, Copy)]
pub struct Changed<'c> {
    /// The feed.
    pub feed: &'c Feed,
    /// The version that the rows continue.
    pub from: &'c str,
    /// The version that they lead to.
    pub version: &'c str,
    /// The rows, in order.
    pub rows: &'c [RowChange],
}

/// Makes the next generation of changed rows.
///
/// # Errors
/// See [`ChangeError`].
pub fn propose(
    plan: &Plan,
    lists: &Blocklist,
    changed: Changed<'_>,
    (generation, path): (u64, &Path),
    now: jiff::Timestamp,
) -> Result<Proposal, ChangeError> {
    let feed = changed.feed;
    let (place, summary) = live_summary(lists, feed).ok_or(ChangeError::NotContinued)?;
    if summary.version != changed.from || summary.held {
        return Err(ChangeError::NotContinued);
    }
    let own = own_names(&plan.own_names);
    let mut desk = Desk::new(lists, place);
    let report = desk.read(feed, &plan.directory, changed.rows)?;
    let denied = desk.guard_own_names(feed, &own);
    desk.count_paths();
    let (changes, tally) = desk.finish(now);
    let has = tally.applied_to(&summary.report);
    let stop = by_rows(&report, changed.rows.len() as u64)
        .and_then(|()| by_size(feed, summary.report.entries + summary.report.paths, has.entries + has.paths))
        .and_then(|()| desk.sentry(feed, &own).judge())
        .and_then(|()| by_suffixes(feed, &report))
        .and_then(|()| match denied.first() {
            Some(name) if denied.len() as u64 > summary.report.own_names => {
                Err(Stop::new(Gate::OwnNames, format!("it covers {name}, which is never to be blocked")))
            }
            _ => Ok(()),
        });
    let entries = has.entries;
    let mut feeds = lists.header().feeds.clone();
    feeds[usize::from(place)] = FeedSummary {
        version: changed.version.to_owned(),
        generation,
        read_at: now,
        fingerprint: source::fingerprint(feed, &plan.directory),
        refused: None,
        report: FeedReport { own_names: denied.len() as u64, ..has },
        ..summary.clone()
    };
    let header = Header {
        generation,
        parent: Some(lists.generation()),
        built_at: now,
        feeds,
        arrivals: desk.arrivals,
        answers: desk.answers,
        names: lists.header().names.saturating_add_signed(tally.names),
        entries: lists.header().entries.saturating_add_signed(tally.entries + tally.paths),
        ..lists.header().clone()
    };
    let told = tally.told;
    let proposal = Proposal { delta: Delta { path: path.to_owned(), header, changes, sha256: String::new() }, changes: told, entries };
    match stop {
        Ok(()) => Ok(proposal),
        Err(stop) => Err(ChangeError::Stopped(stop, Box::new(proposal))),
    }
}

/// A feed's summary in lists, if it was defined there as it is now.
fn live_summary<'l>(lists: &'l Blocklist, feed: &Feed) -> Option<(u16, &'l FeedSummary)> {
    let mut summaries = (0..).zip(&lists.header().feeds);
    summaries.find(|(_, summary)| summary.name == feed.name && summary.definition == feed.definition())
}

fn by_rows(report: &FeedReport, rows: u64) -> Result<(), Stop> {
    if report.bad >= BAD_ROWS_MIN && report.bad * 100 > rows * BAD_PERCENT_MAX {
        return Err(Stop::new(Gate::BadRows, format!("{} of its {rows} changed rows are bad", report.bad)));
    }
    Ok(())
}

fn by_suffixes(feed: &Feed, report: &FeedReport) -> Result<(), Stop> {
    if report.registry_suffixes > 0 && !feed.force_public_suffixes {
        let detail = format!("{} of its new entries cover a registry's suffix", report.registry_suffixes);
        return Err(Stop::new(Gate::PublicSuffix, detail));
    }
    Ok(())
}

/// How much more, or less, there is of each thing; and by name what is blocked from now on and what no longer.
#[derive(Default)]
struct Tally {
    names: i64,
    entries: i64,
    paths: i64,
    told: Vec<crate::review::Change>,
}

impl Tally {
    fn applied_to(&self, report: &FeedReport) -> FeedReport {
        FeedReport {
            entries: report.entries.saturating_add_signed(self.entries),
            paths: report.paths.saturating_add_signed(self.paths),
            ..report.clone()
        }
    }
}

/// What one feed says of each key that its rows touch.
struct Desk<'l> {
    lists: &'l Blocklist,
    place: u16,
    /// The feed's marks as they will be.
    touched: BTreeMap<Vec<u8>, Vec<Mark>>,
    /// Answers beyond those of the lists.
    answers: Vec<Records>,
    arrivals: Vec<jiff::Timestamp>,
}

impl<'l> Desk<'l> {
    fn new(lists: &'l Blocklist, place: u16) -> Self {
        Self { lists, place, touched: BTreeMap::new(), answers: Vec::new(), arrivals: lists.header().arrivals.clone() }
    }

    /// The feed's marks at a key as they are in the lists.
    fn before(&self, key: &[u8]) -> Vec<Mark> {
        self.lists.marks(key).into_iter().filter(|mark| mark.feed == self.place).collect()
    }

    /// The same as they will be.
    fn after(&self, key: &[u8]) -> Vec<Mark> {
        self.touched.get(key).cloned().unwrap_or_else(|| self.before(key))
    }

    fn touch(&mut self, key: Vec<u8>) -> &mut Vec<Mark> {
        let before = if self.touched.contains_key(&key) { Vec::new() } else { self.before(&key) };
        self.touched.entry(key).or_insert(before)
    }

    /// Reads the rows as a build would, and applies each.
    fn read(&mut self, feed: &Feed, directory: &Path, rows: &[RowChange]) -> Result<FeedReport, ArtefactError> {
        let slugs = &self.lists.header().categories;
        // A slug that the lists do not have yet could not be in the feed's definition.
        let place_of = |slug: &str| {
            let place = slugs.iter().position(|category| category == slug);
            place.and_then(|place| u8::try_from(place).ok()).unwrap_or(NO_CATEGORY)
        };
        let content = source::content(feed, directory);
        let mut speaker = Speaker::new(feed, &content, &place_of);
        let mut total = FeedReport::default();
        for change in rows {
            if let Some(key) = speaker.replaced_key(&change.row) {
                self.touch(key).retain(is_exception);
                if !change.added {
                    continue;
                }
            }
            let mut failed = None;
            let mut take = |said: Said<'_>| {
                let done = if change.added { self.add(&said) } else { self.remove(&said) };
                failed = done.err();
                Ok(())
            };
            let mut heard = Rows::new(!feed.force_public_suffixes, &mut take);
            heard.enter("changes", Some(NO_CATEGORY));
            speaker.speak(&change.row, &mut heard);
            if change.added {
                total.bad += heard.report.bad;
                total.registry_suffixes += heard.report.registry_suffixes;
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(total)
    }

    fn add(&mut self, said: &Said<'_>) -> Result<(), ArtefactError> {
        let mut mark = said.mark(self.place);
        let key = said.key();
        if let Some(records) = said.records {
            // One name has one set of records, whatever the rows they came in.
            let old = self.touch(key.clone()).iter().position(|other| other.says_what(&mark));
            let mut all = old.map(|old| self.records(self.touched[&key][old].data)).unwrap_or_default();
            all.0.extend(records.0.iter().cloned());
            all.0.sort();
            all.0.dedup();
            mark.data = self.answer(all)?;
            if let Some(old) = old {
                self.touch(key).remove(old);
                return self.add_mark(said.key(), mark);
            }
        }
        self.add_mark(key, mark)
    }

    fn add_mark(&mut self, key: Vec<u8>, mark: Mark) -> Result<(), ArtefactError> {
        let marks = self.touch(key);
        if !marks.iter().any(|other| other.says_what(&mark)) {
            marks.push(mark);
        }
        Ok(())
    }

    fn remove(&mut self, said: &Said<'_>) -> Result<(), ArtefactError> {
        let (key, mark) = (said.key(), said.mark(self.place));
        let Some(old) = self.touch(key.clone()).iter().position(|other| other.says_what(&mark)) else {
            return Ok(());
        };
        let was = self.touch(key.clone()).remove(old);
        if let Some(gone) = said.records {
            let mut left = self.records(was.data);
            left.0.retain(|record| !gone.0.contains(record));
            if !left.0.is_empty() {
                let data = self.answer(left)?;
                self.touch(key).push(Mark { data, ..was });
            }
        }
        Ok(())
    }

    /// Records by their place among the answers of the lists and the new ones.
    fn records(&self, place: u32) -> Records {
        let (old, place) = (self.lists.answers(), place as usize);
        old.get(place).or_else(|| self.answers.get(place - old.len())).cloned().unwrap_or_default()
    }

    fn answer(&mut self, records: Records) -> Result<u32, ArtefactError> {
        let place = match self.answers.iter().position(|other| *other == records) {
            Some(place) => place,
            None => {
                self.answers.push(records);
                self.answers.len() - 1
            }
        };
        u32::try_from(self.lists.answers().len() + place).map_err(|_| ArtefactError::TooMany(u32::MAX as usize, "answers"))
    }

    /// Excepts the operator's own names that would be covered, and says which.
    fn guard_own_names(&mut self, feed: &Feed, own: &[Name]) -> Vec<Name> {
        let denied = self.sentry(feed, own).own_names_denied();
        for name in &denied {
            let except = Mark { polarity: Polarity::Allow, important: true, ..Mark::deny(self.place, NO_CATEGORY, Scope::Subtree) };
            let marks = self.touch(key_of(name.borrow()));
            if !marks.iter().any(|mark| mark.says_what(&except)) {
                marks.push(except);
            }
        }
        denied
    }

    /// A sentry that has heard what the feed will say.
    fn sentry<'f>(&self, feed: &'f Feed, own: &'f [Name]) -> Sentry<'f> {
        let mut sentry = Sentry::new(feed, own);
        let names: Vec<Name> = sentry.names().map(NameRef::to_owned).collect();
        for name in &names {
            for mark in self.after(&key_of(name.borrow())).iter().filter(|mark| !is_exception(mark)) {
                let Mark { scope, polarity, important, action, category, .. } = *mark;
                let claim = Claim { scope, polarity, important, action };
                sentry.hear(&Said { name: name.borrow(), path: None, category, claim, records: None });
            }
        }
        sentry
    }

    /// Counts the paths of each host whose paths came or went.
    fn count_paths(&mut self) {
        let mut moved: BTreeMap<(Vec<u8>, u8), i64> = BTreeMap::new();
        for (key, after) in &self.touched {
            let before = self.before(key);
            for (marks, by) in [(&before, -1), (after, 1)] {
                for mark in marks.iter().filter(|mark| mark.action == Action::Path) {
                    *moved.entry((split_path(key).0.to_vec(), mark.category)).or_default() += by;
                }
            }
        }
        for ((host, category), by) in moved.into_iter().filter(|(_, by)| *by != 0) {
            let proxied = Mark { action: Action::Proxied, ..Mark::deny(self.place, category, Scope::Exact) };
            let marks = self.touch(host);
            let count = match marks.iter().position(|mark| mark.says_what(&proxied)) {
                Some(place) => i64::from(marks.remove(place).data),
                None => 0,
            };
            if let Ok(data @ 1..) = u32::try_from(count + by) {
                marks.push(Mark { data, ..proxied });
            }
        }
    }

    /// All that will be said of each key that differs, with the time at which it came; and how much more there is.
    fn finish(&mut self, now: jiff::Timestamp) -> (Vec<delta::Change>, Tally) {
        let (mut changes, mut tally, mut new) = (Vec::new(), Tally::default(), None);
        for (key, after) in &self.touched {
            let all = self.lists.marks(key);
            let (before, others): (Vec<Mark>, Vec<Mark>) = all.iter().partition(|mark| mark.feed == self.place);
            let arrivals = &mut self.arrivals;
            let dated = after.iter().map(|mark| match before.iter().find(|old| old.says_what(mark)) {
                Some(old) => Mark { arrival: old.arrival, ..*mark },
                None => Mark { arrival: *new.get_or_insert_with(|| next_arrival(arrivals, now)), ..*mark },
            });
            let mut after: Vec<Mark> = dated.collect();
            after.sort_unstable();
            let mut sorted = before.clone();
            sorted.sort_unstable();
            if sorted == after {
                continue;
            }
            for (marks, by) in [(&before, -1), (&after, 1)] {
                for mark in marks.iter().filter(|mark| !is_exception(mark) && mark.action != Action::Proxied) {
                    *(if mark.action == Action::Path { &mut tally.paths } else { &mut tally.entries }) += by;
                }
            }
            for (mark, blocked, other) in
                before.iter().map(|mark| (mark, false, &after)).chain(after.iter().map(|mark| (mark, true, &before)))
            {
                let is_told = mark.polarity == Polarity::Deny && mark.action != Action::Proxied;
                if is_told && !other.iter().any(|other| other.says_what(mark)) {
                    let category = self.lists.header().categories.get(usize::from(mark.category)).cloned();
                    let name = crate::review::shown(key, mark.action == Action::Path);
                    tally.told.push(crate::review::Change { blocked, category, name });
                }
            }
            let mut marks = others;
            marks.extend(after);
            marks.sort_unstable();
            tally.names += i64::from(!marks.is_empty()) - i64::from(!all.is_empty());
            changes.push((key.as_slice().into(), marks));
        }
        (changes, tally)
    }
}

/// The exception that keeps an own name reachable; rows know nothing of it.
fn is_exception(mark: &Mark) -> bool {
    mark.polarity == Polarity::Allow && mark.important && mark.category == NO_CATEGORY && mark.scope == Scope::Subtree
}

fn key_of(name: NameRef<'_>) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.wire().len());
    name.write_key(&mut key);
    key
}

/// Deltas that come sooner after each other than this have one time of arrival: a table of times with a delta every second would be full
/// in a day, and nobody asks for the second. In seconds.
const ARRIVALS_APART_S: i64 = 60;

/// The place of now in a table of arrivals. A full table tells no more times apart, until the next build thins it.
fn next_arrival(arrivals: &mut Vec<jiff::Timestamp>, now: jiff::Timestamp) -> u16 {
    let is_near = arrivals.last().is_some_and(|last| (0..ARRIVALS_APART_S).contains(&(now.as_second() - last.as_second())));
    if arrivals.is_empty() || !is_near && arrivals.len() < usize::from(u16::MAX) {
        arrivals.push(now);
    }
    u16::try_from(arrivals.len() - 1).expect("at most 65,535 places")
}

/// Says what a row says, in its format's way.
enum Speaker<'s> {
    Codes(Box<category_feed::Reader<'s>>),
    Zone(rpz::Reader),
}

impl<'s> Speaker<'s> {
    fn new(feed: &'s Feed, content: &Path, place_of: &'s dyn Fn(&str) -> u8) -> Self {
        match feed.format {
            Format::Rpz => Self::Zone(rpz::Reader::new(feed, place_of)),
            _ => Self::Codes(Box::new(category_feed::Reader::new(feed, content, place_of))),
        }
    }

    /// The key that a row takes the whole place of, in formats where it does.
    fn replaced_key(&self, row: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Codes(_) => category_feed::key(row),
            Self::Zone(_) => None,
        }
    }

    fn speak(&mut self, row: &[u8], rows: &mut Rows<'_>) {
        match self {
            Self::Codes(reader) => reader.read(row, rows),
            Self::Zone(reader) => reader.read(row, rows),
        }
    }
}
