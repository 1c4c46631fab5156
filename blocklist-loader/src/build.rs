//! All feeds into the next generation: read, written, opened again and checked before anybody hears
//! of it.
//!
//! A feed that is refused keeps the entries it had in the generation before, if it was defined then
//! as it is now; the others go on. What fails here leaves everything that is in use as it was.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
};

use policy::{
    category::Taxonomy,
    lists::{
        artefact::{ArtefactError, FeedSummary, Header, RejectedVersion, WrittenArtefact},
        blocklist::Blocklist,
        builder::{ArtefactBuilder, Checkpoint},
        entry::{EntryAction, ListEntry, NO_CATEGORY, Polarity, Scope},
    },
    name::Name,
};
use serde::{Deserialize, Serialize};

use crate::{
    feed::{Bounds, Feed, FeedError, Format, Matching},
    gate::{Gate, Sentry, Stop, by_numbers, by_own_names, own_names},
    generations::{lock, newest, path_of},
    read_feed::{Reading, Refusal, read_feed},
    review,
    rows::Said,
    source::{SourceError, fingerprint},
    verdict::{self, Verdict},
};

/// What is to be built, and where: plain data, so that a daemon can hand it to a process that
/// builds in its stead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// The feeds, in the order of the configuration, their sources resolved.
    pub feeds: Vec<Feed>,
    /// The folder of the artefacts; made if it is not there.
    pub directory: PathBuf,
    /// Whether to build even when nothing changed.
    pub force: bool,
    /// The number of the new generation, where somebody has it reserved.
    pub generation: Option<u64>,
    /// Names of the operator's own, which no feed may block.
    pub own_names: Vec<Name>,
    /// Versions that an operator lets through gates of sense, by feed.
    pub approved: BTreeMap<String, String>,
    /// Feeds that were rolled back and may go on.
    pub released: Vec<String>,
    /// What feeds may reach that were defined over the API, by name: their own JSON does not carry
    /// it.
    pub bounds: BTreeMap<String, Bounds>,
    /// Feeds that are not read because their definitions reach beyond that; they go on with the
    /// entries they had.
    pub barred: BTreeSet<String>,
}

impl Plan {
    /// Gives each feed of the API its bounds, which are lost where a plan is sent as JSON.
    pub fn bound(&mut self) {
        for feed in &mut self.feeds {
            feed.bounds = self.bounds.get(&feed.name).cloned();
        }
    }
}

/// What differs between a plan and what was built last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// Files.
    Content,
    /// Feeds were added, removed, moved or defined otherwise; or nothing was built yet.
    Definitions,
}

/// How a build ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing that was read and found good differs from what this generation was built of, so
    /// there is no new one.
    Unchanged {
        /// The generation that stays.
        generation: u64,
        /// The feeds that were refused, now or before.
        #[serde(default)]
        refused: Vec<RefusedFeed>,
    },
    /// A new generation lies in the folder, verified.
    Built(Box<Built>),
    /// Nothing was built, and nothing is said of any feed: how a process that builds tells of its
    /// error.
    Failed {
        /// `disk` or `build`.
        gate: Gate,
        /// Why, for people.
        detail: String,
    },
}

/// A new generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Built {
    /// The artefact.
    pub written: WrittenArtefact,
    /// The feeds that were refused.
    pub refused: Vec<RefusedFeed>,
}

/// A feed that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedFeed {
    /// The feed.
    pub feed: String,
    /// Which version.
    pub version: String,
    /// Which gate stopped it.
    pub gate: Gate,
    /// Why.
    pub reason: String,
    /// How many entries of the generation before it goes on with.
    pub carried: u64,
    /// Entries that the version would have had.
    #[serde(default)]
    pub entries: u64,
    /// When it was read.
    #[serde(default)]
    pub at: jiff::Timestamp,
}

/// What can stop a build.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A feed's definition cannot be used.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The folder of the artefacts refused.
    #[error("{step} {path}")]
    Directory {
        /// What was being done.
        step: &'static str,
        /// To which folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The artefact could not be built or written.
    #[error("writing generation {generation}")]
    Write {
        /// Which one.
        generation: u64,
        /// Why not.
        #[source]
        source: ArtefactError,
    },
    /// What was written is not what was meant; the file was deleted.
    #[error("verifying generation {generation}")]
    Verify {
        /// Which one.
        generation: u64,
        /// What is wrong with it.
        #[source]
        source: ArtefactError,
    },
}

/// Whether a build would make a difference. Looks at files, reads none.
#[must_use]
pub fn needs_building(plan: &Plan, built: Option<&Header>) -> Need {
    let Some(built) = built else {
        return Need::Definitions;
    };
    // What was taken back together with a feed that is no more, or before a feed was there, is as
    // if that feed were not defined.
    let defined = plan
        .feeds
        .iter()
        .filter(|feed| !is_held_back(plan, built, &feed.name));
    let live = built.feeds.iter().filter(|summary| !summary.withdrawn);
    let is_defined_so = |(feed, summary): (&Feed, &FeedSummary)| {
        feed.name == summary.name && is_of_definition(plan, feed, summary)
    };
    if defined.clone().count() != live.clone().count()
        || !defined.clone().zip(live.clone()).all(is_defined_so)
    {
        Need::Definitions
    } else if defined
        .zip(live)
        .any(|(feed, summary)| has_changed(plan, feed, summary))
    {
        Need::Content
    } else {
        Need::Nothing
    }
}

/// The feeds that wait for a build: those whose content or definition is not what these lists were
/// built of.
#[must_use]
pub fn waiting(plan: &Plan, built: &Header) -> Vec<String> {
    let waits = |feed: &&Feed| match built
        .feeds
        .iter()
        .find(|summary| summary.name == feed.name && !summary.withdrawn)
    {
        Some(summary) => !is_of_definition(plan, feed, summary) || has_changed(plan, feed, summary),
        None => !is_held_back(plan, built, &feed.name),
    };
    plan.feeds
        .iter()
        .filter(waits)
        .map(|feed| feed.name.clone())
        .collect()
}

/// Whether a rollback led to before the feed was there, and nobody has let it go on since.
fn is_held_back(plan: &Plan, built: &Header, feed: &str) -> bool {
    built.held_back.iter().any(|held| held == feed)
        && !plan.released.iter().any(|released| released == feed)
}

/// Whether entries were read under the definition that the feed has now. One that is not read now
/// goes on with what it had.
fn is_of_definition(plan: &Plan, feed: &Feed, summary: &FeedSummary) -> bool {
    summary.definition == feed.definition()
        || plan.barred.contains(&feed.name) && feed.was_defined_so(&summary.definition)
}

/// Whether a feed's content must be read: it differs from what is live, and from what was read
/// since and did not become live.
fn has_changed(plan: &Plan, feed: &Feed, summary: &FeedSummary) -> bool {
    if plan.barred.contains(&feed.name) {
        return false;
    }
    if summary.held {
        return plan.released.contains(&feed.name);
    }
    let verdict = verdict::standing(plan, feed, summary);
    let refused = verdict
        .as_ref()
        .and_then(|verdict| verdict.refused.as_ref());
    if refused.is_some_and(|refused| plan.approved.get(&feed.name) == Some(&refused.version)) {
        return true;
    }
    // A verdict is on what was read last, which may be other content than what is live. Where the
    // live content comes back, it is read once more, and what was said of the other is no longer
    // true.
    let read_last = verdict
        .as_ref()
        .map_or(&summary.fingerprint, |verdict| &verdict.fingerprint);
    *read_last != fingerprint(feed, &plan.directory)
}

/// Builds the next generation, if it would be another one. `previous` is what refused and held
/// feeds go on with.
///
/// # Errors
/// See [`BuildError`]; the folder then holds what it held before.
pub fn build(
    plan: &Plan,
    taxonomy: &Taxonomy,
    previous: Option<&Blocklist>,
    now: jiff::Timestamp,
) -> Result<Outcome, BuildError> {
    let mut bounded = plan.clone();
    bounded.bound();
    let plan = &bounded;
    Feed::check_all(&plan.feeds, taxonomy)?;
    let need = needs_building(plan, previous.map(Blocklist::header));
    let same = previous.filter(|_| !plan.force);
    if let Some(previous) = same.filter(|_| need == Need::Nothing) {
        return Ok(Outcome::Unchanged {
            generation: previous.generation(),
            refused: verdict::refusals(plan, previous.header()),
        });
    }
    let failed = |step| {
        move |source| BuildError::Directory {
            step,
            path: plan.directory.clone(),
            source,
        }
    };
    std::fs::create_dir_all(&plan.directory).map_err(failed("creating"))?;
    let _lock = lock(&plan.directory).map_err(failed("locking"))?;
    // A file that cannot be read still has its number: whoever remembers it must not meet other
    // octets under it.
    let highest = newest(&plan.directory)
        .map_err(failed("listing"))?
        .first()
        .map_or(0, |artefact| artefact.generation);
    let next = highest.max(previous.map_or(0, Blocklist::generation)) + 1;
    let generation = plan.generation.unwrap_or(next);

    let write_error = |source| BuildError::Write { generation, source };
    let mut bench = Bench::new(plan, previous, generation, now);
    // What changed is read first: where all of it is refused, or is what is live already, the rest
    // need not be read at all.
    if let Some(previous) = same.filter(|_| need == Need::Content) {
        for (place, feed) in plan.feeds.iter().enumerate() {
            let summary = previous
                .header()
                .feeds
                .iter()
                .find(|summary| summary.name == feed.name);
            if summary.is_some_and(|summary| has_changed(plan, feed, summary)) {
                bench.add(place, feed).map_err(write_error)?;
            }
        }
        if !bench.differs {
            bench.keep_verdicts();
            let before = verdict::refusals(plan, previous.header()).into_iter();
            let read: Vec<RefusedFeed> = bench.refused;
            let earlier = before.filter(|refused| {
                !read.iter().any(|read| read.feed == refused.feed)
                    && !bench.verdicts.contains_key(&refused.feed)
            });
            let refused = earlier
                .collect::<Vec<_>>()
                .into_iter()
                .chain(read.iter().cloned())
                .collect();
            return Ok(Outcome::Unchanged {
                generation: previous.generation(),
                refused,
            });
        }
    }
    for (place, feed) in plan.feeds.iter().enumerate() {
        if bench.summaries[place].is_none() {
            bench.add(place, feed).map_err(write_error)?;
        }
    }
    bench.carry_over().map_err(write_error)?;
    bench.keep_verdicts();
    let Bench {
        builder,
        summaries,
        refused,
        categories,
        ..
    } = bench;
    let header = Header {
        feeds: summaries.into_iter().flatten().collect(),
        categories,
        ..Header::of(generation, now)
    };
    let path = path_of(&plan.directory, generation);
    let written = builder
        .write(header, previous, &path)
        .map_err(write_error)?;
    verify(&path, &written, taxonomy)
        .map_err(|source| BuildError::Verify { generation, source })?;
    Ok(Outcome::Built(Box::new(Built { written, refused })))
}

/// The slugs that the feeds use, each once, and those of entries that feeds may go on with from the
/// lists before.
fn categories_of(feeds: &[Feed], previous: Option<&Blocklist>) -> Vec<String> {
    let goes_on =
        |previous: &&Blocklist| previous.header().feeds.iter().any(|summary| summary.held);
    let held = previous
        .filter(goes_on)
        .map(|previous| previous.header().categories.iter().cloned());
    let mut categories: Vec<String> = feeds
        .iter()
        .flat_map(Feed::slugs)
        .map(str::to_owned)
        .chain(held.into_iter().flatten())
        .collect();
    categories.sort();
    categories.dedup();
    categories
}

/// What is being built.
struct Bench<'p> {
    plan: &'p Plan,
    previous: Option<&'p Blocklist>,
    generation: u64,
    now: jiff::Timestamp,
    own: Vec<Name>,
    categories: Vec<String>,
    builder: ArtefactBuilder,
    /// What becomes of each feed, in the order of the plan.
    summaries: Vec<Option<FeedSummary>>,
    refused: Vec<RefusedFeed>,
    /// What became of what was read; none of content that becomes live.
    verdicts: BTreeMap<String, Option<Verdict>>,
    /// Whether anything that was read is good and is not what is live.
    differs: bool,
    /// Feeds that go on with the entries they had: from their place in the generation before to
    /// their place now.
    carried: HashMap<u16, u16>,
}

impl<'p> Bench<'p> {
    fn new(
        plan: &'p Plan,
        previous: Option<&'p Blocklist>,
        generation: u64,
        now: jiff::Timestamp,
    ) -> Self {
        Self {
            plan,
            previous,
            generation,
            now,
            own: own_names(&plan.own_names),
            categories: categories_of(&plan.feeds, previous),
            builder: ArtefactBuilder::new(),
            summaries: vec![None; plan.feeds.len()],
            refused: Vec::new(),
            verdicts: BTreeMap::new(),
            differs: false,
            carried: HashMap::new(),
        }
    }

    /// The feed in the generation before, where it was defined as it is now.
    fn before(&self, feed: &Feed) -> Option<(usize, &'p FeedSummary)> {
        let is_it = |(_, old): &(usize, &FeedSummary)| {
            old.name == feed.name && !old.withdrawn && is_of_definition(self.plan, feed, old)
        };
        self.previous?.header().feeds.iter().enumerate().find(is_it)
    }

    /// Reads one feed into the builder; one that is held or refused leaves nothing there and is
    /// carried over.
    fn add(&mut self, at: usize, feed: &Feed) -> Result<(), ArtefactError> {
        let place = u16::try_from(at)
            .map_err(|_| ArtefactError::TooMany(usize::from(u16::MAX), "feeds"))?;
        let before = self.before(feed);
        let stays = self.plan.barred.contains(&feed.name);
        if let Some((old, summary)) = before
            && let Some(refused) = self.refused_before(feed, summary)
        {
            self.refused.push(refused);
            self.summaries[usize::from(place)] = Some(FeedSummary {
                refused: None,
                ..summary.clone()
            });
            self.carried.insert(narrow(old), place);
            return Ok(());
        }
        if let Some((old, summary)) = before.filter(|(_, summary)| {
            stays || summary.held && !self.plan.released.contains(&feed.name)
        }) {
            self.summaries[at] = Some(FeedSummary {
                refused: None,
                ..summary.clone()
            });
            self.carried.insert(narrow(old), place);
            return Ok(());
        }
        let is_held = self
            .previous
            .is_some_and(|previous| is_held_back(self.plan, previous.header(), &feed.name));
        if stays || is_held {
            self.summaries[at] = Some(FeedSummary {
                held: is_held,
                ..self.summary(feed)
            });
            return Ok(());
        }
        let checkpoint = self.builder.checkpoint();
        let categories = &self.categories;
        let place_of = |slug: &str| {
            let place = categories
                .iter()
                .position(|category| category == slug)
                .expect("all slugs of all feeds are in it");
            u8::try_from(place).expect("checked slugs are of the taxonomy, which has at most 128")
        };
        let builder = &mut self.builder;
        let mut sentry = Sentry::new(feed, &self.own);
        let reading = read_feed(feed, &self.plan.directory, &place_of, &mut |said: Said<
            '_,
        >| {
            sentry.hear(&said);
            let mut mark = said.mark(place);
            if let Some(records) = said.records {
                mark.data = builder.answer(records.clone())?;
            }
            match said.path {
                Some(path) => builder.push_path(said.name, path, mark),
                None => builder.push(said.name, mark),
            }
        })?;
        let Reading {
            mut report,
            fingerprint,
            version,
            rows,
            refused,
        } = reading;
        let denied = sentry.own_names_denied();
        report.own_names = denied.len() as u64;
        // Entries under another definition say nothing about what to expect of this one, and those
        // of a first reading neither.
        let expected = before
            .map(|(_, summary)| &summary.report)
            .filter(|report| report.entries + report.paths > 0);
        // Its fetcher tells why nothing is there yet; that is no version of which anything could be
        // wrong.
        let was_fetched = !matches!(refused, Some(Refusal::Source(SourceError::NotFetched)));
        let is_approved = self.plan.approved.get(&feed.name) == Some(&version);
        let stop = match refused {
            Some(refusal) => Err(refusal.into()),
            None => by_numbers(feed, expected, &report, rows)
                .and_then(|()| sentry.judge())
                .and_then(|()| by_own_names(expected, &denied))
                .or_else(|stop| if is_approved { Ok(()) } else { Err(stop) }),
        };
        let is_live = is_approved || before.is_some_and(|(_, before)| !before.held);
        let mut summary = FeedSummary {
            fingerprint,
            generation: before
                .filter(|(_, before)| before.version == version)
                .map_or(self.generation, |(_, before)| before.generation),
            version,
            read_at: self.now,
            report,
            ..self.summary(feed)
        };
        let against = before.map_or("", |(_, before)| &before.version).to_owned();
        let judged = |summary: &FeedSummary, refused| {
            Verdict::of(
                feed,
                &self.plan.own_names,
                &against,
                summary.fingerprint.clone(),
                refused,
            )
        };
        if let Err(Stop { gate, detail }) = stop {
            let mut refused = None;
            if was_fetched {
                self.keep_for_review(
                    feed,
                    place,
                    before.map(|(old, _)| narrow(old)),
                    &checkpoint,
                    &summary,
                );
                let version = summary.version.clone();
                let entries = summary.report.entries;
                let at = self.now;
                refused = Some(RejectedVersion {
                    version: version.clone(),
                    gate: gate.to_string(),
                    detail: detail.clone(),
                    entries,
                    at,
                });
                let carried =
                    before.map_or(0, |(_, before)| before.report.entries + before.report.paths);
                self.refused.push(RefusedFeed {
                    feed: feed.name.clone(),
                    version,
                    gate,
                    reason: detail,
                    carried,
                    entries,
                    at,
                });
            }
            self.verdicts
                .insert(feed.name.clone(), Some(judged(&summary, refused)));
            // One that was released and is refused is held no longer.
            self.differs |= !is_live;
            self.builder.rewind(&checkpoint);
            if let Some((old, before)) = before {
                self.carried.insert(narrow(old), place);
                summary.version.clone_from(&before.version);
                (summary.read_at, summary.generation) = (before.read_at, before.generation);
                // A feed that never had an entry has nothing to tell but why it is refused now.
                if before.report.entries > 0 {
                    summary.report = before.report.clone();
                }
            } else {
                summary.version.clear();
            }
        } else {
            let is_same = before
                .is_some_and(|(_, before)| is_live && is_same_content(feed, before, &summary));
            self.verdicts
                .insert(feed.name.clone(), is_same.then(|| judged(&summary, None)));
            self.differs |= !is_same;
            for name in denied {
                let except = ListEntry {
                    polarity: Polarity::Allow,
                    important: true,
                    ..ListEntry::deny(place, NO_CATEGORY, Scope::Subtree)
                };
                self.builder.push(name.borrow(), except)?;
            }
        }
        self.summaries[at] = Some(summary);
        Ok(())
    }

    /// What is said of a feed before it is read.
    fn summary(&self, feed: &Feed) -> FeedSummary {
        FeedSummary {
            source: feed.source.clone(),
            format: feed.format.to_string(),
            scope: feed.reported_scope(),
            most_specific: feed.matching == Matching::MostSpecific,
            definition: feed.definition(),
            generation: self.generation,
            read_at: self.now,
            ..FeedSummary::new(&feed.name, feed.tier)
        }
    }

    /// The verdict on what a feed has beside its live version, where that is what was refused
    /// already: it is not read once more.
    fn refused_before(&self, feed: &Feed, live: &FeedSummary) -> Option<RefusedFeed> {
        let stays = !self.plan.force && !live.held && !has_changed(self.plan, feed, live);
        stays
            .then(|| verdict::refusal(self.plan, feed, live))
            .flatten()
    }

    /// Keeps what became of what was read. Best effort: without it, the same is read and found once
    /// more.
    fn keep_verdicts(&self) {
        let directory = &self.plan.directory;
        for (feed, verdict) in &self.verdicts {
            let kept = match verdict {
                Some(verdict) => verdict.keep(directory, feed),
                None => verdict::forget(directory, feed),
            };
            if let Err(error) = kept {
                tracing::warn!(feed, %error, "what became of its newest content could not be kept");
            }
        }
    }

    /// Keeps what an operator needs to judge a refused version by: what it would change. Best
    /// effort: the refusal is what matters.
    fn keep_for_review(
        &self,
        feed: &Feed,
        place: u16,
        before: Option<u16>,
        checkpoint: &Checkpoint,
        summary: &FeedSummary,
    ) {
        let kept = review::keep(&self.plan.directory, feed, &summary.version, |out| {
            let now = self.builder.since(checkpoint);
            let names = self.previous.map(Blocklist::names);
            let old = self
                .previous
                .map(|previous| previous.header().categories.as_slice())
                .unwrap_or_default();
            review::write_changes(out, (names, before, old), (&now, place, &self.categories))
        });
        if let Err(error) = kept {
            tracing::warn!(feed = feed.name, %error, "the refused version could not be kept for review");
        }
    }

    /// Gives refused and held feeds the entries they had.
    fn carry_over(&mut self) -> Result<(), ArtefactError> {
        let Some(previous) = self.previous.filter(|_| !self.carried.is_empty()) else {
            return Ok(());
        };
        let place_of = |slug: &String| self.categories.iter().position(|category| category == slug);
        let category_places: Vec<Option<u8>> = previous
            .header()
            .categories
            .iter()
            .map(|slug| u8::try_from(place_of(slug)?).ok())
            .collect();
        let mut counts: HashMap<u16, u64> = HashMap::new();
        let mut names = previous.names();
        while let Some((key, marks)) = names.next() {
            for mark in marks {
                let category = if mark.category == NO_CATEGORY {
                    Some(NO_CATEGORY)
                } else {
                    category_places[usize::from(mark.category)]
                };
                if let (Some(&feed), Some(category)) = (self.carried.get(&mark.feed), category) {
                    let mut mark = ListEntry {
                        feed,
                        category,
                        ..*mark
                    };
                    if mark.action == EntryAction::LocalData {
                        mark.data = self
                            .builder
                            .answer(previous.answers()[mark.data as usize].clone())?;
                    }
                    self.builder.push_key(key, mark)?;
                    *counts.entry(feed).or_default() += 1;
                }
            }
        }
        for refused in &mut self.refused {
            let place = self
                .plan
                .feeds
                .iter()
                .position(|feed| feed.name == refused.feed)
                .expect("only feeds of the plan are refused");
            refused.carried = counts.get(&narrow(place)).copied().unwrap_or(0);
        }
        Ok(())
    }
}

/// Whether what was read is octet for octet what is live. Of a feed with codes, what the codes are
/// called counts as well, and that is in the fingerprint alone.
fn is_same_content(feed: &Feed, live: &FeedSummary, read: &FeedSummary) -> bool {
    feed.format != Format::CategoryFeed
        && !live.version.is_empty()
        && live.version == read.version
        && live.report.sha256 == read.report.sha256
}

fn narrow(place: usize) -> u16 {
    u16::try_from(place).expect("marks name feeds by 16 bits")
}

/// Opens what was written as its users will; deletes it if it is not what was meant.
fn verify(
    path: &Path,
    written: &WrittenArtefact,
    taxonomy: &Taxonomy,
) -> Result<(), ArtefactError> {
    let opened = Blocklist::open(path, taxonomy).and_then(|opened| {
        let differs = || ArtefactError::Damaged {
            path: path.to_owned(),
            what: "its header is not the one written",
        };
        // Opened lists keep the answers beside the header.
        let header = Header {
            answers: opened.answers().to_vec(),
            ..opened.header().clone()
        };
        if header == written.header {
            Ok(())
        } else {
            Err(differs())
        }
    });
    if opened.is_err() {
        // Best effort: the error that matters is the one above, and a bad artefact is refused by
        // every reader.
        let _ = std::fs::remove_file(path);
    }
    opened
}
