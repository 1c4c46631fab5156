//! Builds the next generation from all feeds: reads them, writes the artefact, opens it again and
//! verifies it before it is announced.
//!
//! A refused feed keeps the entries of the previous generation if its definition is unchanged; the
//! other feeds continue. A failed build leaves everything in use as it was.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
};

use policy::{
    category::Taxonomy,
    lists::{
        artefact::{ArtefactError, FeedSummary, Header, Refused, Written},
        blocklist::Blocklist,
        builder::{Builder, Checkpoint},
        entry::{Action, Mark, NO_CATEGORY, Polarity, Scope},
    },
    name::Name,
};
use serde::{Deserialize, Serialize};

use crate::{
    feed::{Bounds, Feed, FeedError, Format, Matching},
    gate::{Gate, NameGuard, Refusal, by_numbers, by_own_names, own_names},
    generations::{lock, newest, path_of},
    last_check::{self, LastCheck},
    read_feed::{ReadError, Reading, read_feed},
    review,
    rows::ParsedEntry,
    source::{SourceError, fingerprint},
};

/// What is to be built, and where. Plain data, so that a daemon can pass it to a build process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// The feeds in the order of the configuration, with absolute sources.
    pub feeds: Vec<Feed>,
    /// The folder of the artefacts; created if it is missing.
    pub directory: PathBuf,
    /// Whether to build even if nothing changed.
    pub force: bool,
    /// The number of the new generation, where the caller has reserved one.
    pub generation: Option<u64>,
    /// The operator's own names, which no feed may block.
    pub own_names: Vec<Name>,
    /// Versions that an operator has approved although a gate refused them, by feed.
    pub approved: BTreeMap<String, String>,
    /// Feeds that were rolled back and are released from being held.
    pub released: Vec<String>,
    /// Source limits of feeds defined over the API, by name. The feeds' own JSON does not carry
    /// them.
    pub bounds: BTreeMap<String, Bounds>,
    /// Feeds whose definitions exceed these limits. They are not read and keep the entries they
    /// had.
    pub barred: BTreeSet<String>,
}

impl Plan {
    /// Gives each feed of the API its limits, which are lost where a plan is sent as JSON.
    pub fn bound(&mut self) {
        for feed in &mut self.feeds {
            feed.bounds = self.bounds.get(&feed.name).cloned();
        }
    }
}

/// What differs between a plan and the current lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Nothing,
    /// The content of a source.
    Content,
    /// A feed was added, removed, moved or redefined; or there are no lists yet.
    Definitions,
}

/// How a build ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum BuildOutcome {
    /// No accepted content differs from the current generation, so there is no new one.
    Unchanged {
        /// The generation that stays live.
        generation: u64,
        /// The feeds that were refused, now or earlier.
        #[serde(default)]
        refused: Vec<RefusedFeed>,
    },
    /// A new generation is in the folder, verified.
    Built(Box<Built>),
    /// Nothing was built. A build process reports its own error this way.
    Failed {
        /// `disk` or `build`.
        gate: Gate,
        /// The reason, for people.
        detail: String,
    },
}

/// A new generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Built {
    pub written: Written,
    /// The feeds that were refused.
    pub refused: Vec<RefusedFeed>,
}

/// A feed that a gate refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedFeed {
    pub feed: String,
    /// The refused version.
    pub version: String,
    /// The gate that refused it.
    pub gate: Gate,
    /// The reason, for people.
    pub reason: String,
    /// The number of entries of the previous generation that the feed keeps.
    pub carried: u64,
    /// The number of entries that the version would have had.
    #[serde(default)]
    pub entries: u64,
    /// When the version was read.
    #[serde(default)]
    pub at: jiff::Timestamp,
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A feed's definition cannot be used.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The folder of the artefacts cannot be used.
    #[error("{step} {path}")]
    Directory {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The artefact cannot be built or written.
    #[error("writing generation {generation}")]
    Write {
        generation: u64,
        #[source]
        source: ArtefactError,
    },
    /// The written artefact is not the intended one; the file was deleted.
    #[error("verifying generation {generation}")]
    Verify {
        generation: u64,
        #[source]
        source: ArtefactError,
    },
}

/// Whether a build would change anything. Examines file metadata only.
#[must_use]
pub fn needs_building(plan: &Plan, built: Option<&Header>) -> Need {
    let Some(built) = built else {
        return Need::Definitions;
    };
    // A withdrawn feed that is no longer defined, and a feed held back by a rollback to before it
    // existed, count as undefined.
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

/// The feeds that need a build: their content or definition differs from the current lists.
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

/// Whether a rollback led to before the feed existed and the feed has not been released since.
fn is_held_back(plan: &Plan, built: &Header, feed: &str) -> bool {
    built.held_back.iter().any(|held| held == feed)
        && !plan.released.iter().any(|released| released == feed)
}

/// Whether the entries were read under the feed's current definition. A barred feed may keep
/// entries that an earlier version of the program read.
fn is_of_definition(plan: &Plan, feed: &Feed, summary: &FeedSummary) -> bool {
    summary.definition == feed.definition()
        || plan.barred.contains(&feed.name) && feed.was_defined_so(&summary.definition)
}

/// Whether a feed's content must be read: it differs from the live content and from the content
/// that was read last and refused.
fn has_changed(plan: &Plan, feed: &Feed, summary: &FeedSummary) -> bool {
    if plan.barred.contains(&feed.name) {
        return false;
    }
    if summary.held {
        return plan.released.contains(&feed.name);
    }
    let check = last_check::current(plan, feed, summary);
    let refused = check.as_ref().and_then(|check| check.refused.as_ref());
    if refused.is_some_and(|refused| plan.approved.get(&feed.name) == Some(&refused.version)) {
        return true;
    }
    // The last check is about the content read last, which may differ from the live content. If the
    // live content comes back, it is read once more, and the earlier result is replaced.
    let read_last = check
        .as_ref()
        .map_or(&summary.fingerprint, |check| &check.fingerprint);
    *read_last != fingerprint(feed, &plan.directory)
}

/// Builds the next generation, if it would differ. Refused and held feeds keep their entries of
/// `previous`.
///
/// # Errors
/// After a [`BuildError`] the folder has the same content as before.
pub fn build(
    plan: &Plan,
    taxonomy: &Taxonomy,
    previous: Option<&Blocklist>,
    now: jiff::Timestamp,
) -> Result<BuildOutcome, BuildError> {
    let mut bounded = plan.clone();
    bounded.bound();
    let plan = &bounded;
    Feed::check_all(&plan.feeds, taxonomy)?;
    let need = needs_building(plan, previous.map(Blocklist::header));
    let same = previous.filter(|_| !plan.force);
    if let Some(previous) = same.filter(|_| need == Need::Nothing) {
        return Ok(BuildOutcome::Unchanged {
            generation: previous.generation(),
            refused: last_check::refusals(plan, previous.header()),
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
    // An unreadable file still occupies its number: the same number must never stand for other
    // octets.
    let highest = newest(&plan.directory)
        .map_err(failed("listing"))?
        .first()
        .map_or(0, |artefact| artefact.generation);
    let next = highest.max(previous.map_or(0, Blocklist::generation)) + 1;
    let generation = plan.generation.unwrap_or(next);

    let write_error = |source| BuildError::Write { generation, source };
    let mut build = GenerationBuild::new(plan, previous, generation, now);
    // Changed feeds are read first. If all of them are refused or equal the live content, the other
    // feeds need not be read.
    if let Some(previous) = same.filter(|_| need == Need::Content) {
        for (place, feed) in plan.feeds.iter().enumerate() {
            let summary = previous
                .header()
                .feeds
                .iter()
                .find(|summary| summary.name == feed.name);
            if summary.is_some_and(|summary| has_changed(plan, feed, summary)) {
                build.add(place, feed).map_err(write_error)?;
            }
        }
        if !build.differs {
            build.save_checks();
            let before = last_check::refusals(plan, previous.header()).into_iter();
            let read: Vec<RefusedFeed> = build.refused;
            let earlier = before.filter(|refused| {
                !read.iter().any(|read| read.feed == refused.feed)
                    && !build.checks.contains_key(&refused.feed)
            });
            let refused = earlier
                .collect::<Vec<_>>()
                .into_iter()
                .chain(read.iter().cloned())
                .collect();
            return Ok(BuildOutcome::Unchanged {
                generation: previous.generation(),
                refused,
            });
        }
    }
    for (place, feed) in plan.feeds.iter().enumerate() {
        if build.summaries[place].is_none() {
            build.add(place, feed).map_err(write_error)?;
        }
    }
    build.carry_over().map_err(write_error)?;
    build.save_checks();
    let GenerationBuild {
        builder,
        summaries,
        refused,
        categories,
        ..
    } = build;
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
    Ok(BuildOutcome::Built(Box::new(Built { written, refused })))
}

/// The slugs of all feeds, each once, and the slugs of the previous lists where held feeds may keep
/// their entries.
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

/// A build in progress.
struct GenerationBuild<'p> {
    plan: &'p Plan,
    previous: Option<&'p Blocklist>,
    generation: u64,
    now: jiff::Timestamp,
    own: Vec<Name>,
    categories: Vec<String>,
    builder: Builder,
    /// The new summary of each feed, in the order of the plan.
    summaries: Vec<Option<FeedSummary>>,
    refused: Vec<RefusedFeed>,
    /// The result of each feed that was read; `None` for content that becomes live.
    checks: BTreeMap<String, Option<LastCheck>>,
    /// Whether any accepted content differs from the live content.
    differs: bool,
    /// Feeds that keep their entries: from their index in the previous generation to their index in
    /// this one.
    carried: HashMap<u16, u16>,
}

impl<'p> GenerationBuild<'p> {
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
            builder: Builder::new(),
            summaries: vec![None; plan.feeds.len()],
            refused: Vec::new(),
            checks: BTreeMap::new(),
            differs: false,
            carried: HashMap::new(),
        }
    }

    /// The feed in the previous generation, if its definition is unchanged.
    fn before(&self, feed: &Feed) -> Option<(usize, &'p FeedSummary)> {
        let is_it = |(_, old): &(usize, &FeedSummary)| {
            old.name == feed.name && !old.withdrawn && is_of_definition(self.plan, feed, old)
        };
        self.previous?.header().feeds.iter().enumerate().find(is_it)
    }

    /// Reads one feed into the builder. A held or refused feed adds nothing and keeps its entries.
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
        let mut guard = NameGuard::new(feed, &self.own);
        let reading = read_feed(
            feed,
            &self.plan.directory,
            &place_of,
            &mut |said: ParsedEntry<'_>| {
                guard.observe(&said);
                let mut mark = said.mark(place);
                if let Some(records) = said.records {
                    mark.data = builder.answer(records.clone())?;
                }
                match said.path {
                    Some(path) => builder.push_path(said.name, path, mark),
                    None => builder.push(said.name, mark),
                }
            },
        )?;
        let Reading {
            mut report,
            fingerprint,
            version,
            rows,
            refused,
        } = reading;
        let denied = guard.own_names_denied();
        report.own_names = denied.len() as u64;
        // Entries under another definition say nothing about the expected size, nor does a version
        // without entries.
        let expected = before
            .map(|(_, summary)| &summary.report)
            .filter(|report| report.entries + report.paths > 0);
        // The fetcher reports why there is no content yet; there is no version that could be
        // refused.
        let was_fetched = !matches!(refused, Some(ReadError::Source(SourceError::NotFetched)));
        let is_approved = self.plan.approved.get(&feed.name) == Some(&version);
        let stop = match refused {
            Some(refusal) => Err(refusal.into()),
            None => by_numbers(feed, expected, &report, rows)
                .and_then(|()| guard.check())
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
            LastCheck::of(
                feed,
                &self.plan.own_names,
                &against,
                summary.fingerprint.clone(),
                refused,
            )
        };
        if let Err(Refusal { gate, detail }) = stop {
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
                refused = Some(Refused {
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
            self.checks
                .insert(feed.name.clone(), Some(judged(&summary, refused)));
            // A released feed that is refused is not held any more.
            self.differs |= !is_live;
            self.builder.rewind(&checkpoint);
            if let Some((old, before)) = before {
                self.carried.insert(narrow(old), place);
                summary.version.clone_from(&before.version);
                (summary.read_at, summary.generation) = (before.read_at, before.generation);
                // A feed that never had an entry reports only why it is refused.
                if before.report.entries > 0 {
                    summary.report = before.report.clone();
                }
            } else {
                summary.version.clear();
            }
        } else {
            let is_same = before
                .is_some_and(|(_, before)| is_live && is_same_content(feed, before, &summary));
            self.checks
                .insert(feed.name.clone(), is_same.then(|| judged(&summary, None)));
            self.differs |= !is_same;
            for name in denied {
                let except = Mark {
                    polarity: Polarity::Allow,
                    important: true,
                    ..Mark::deny(place, NO_CATEGORY, Scope::Subtree)
                };
                self.builder.push(name.borrow(), except)?;
            }
        }
        self.summaries[at] = Some(summary);
        Ok(())
    }

    /// The summary of a feed before it is read.
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

    /// The stored refusal of the feed's current content, which is therefore not read again.
    fn refused_before(&self, feed: &Feed, live: &FeedSummary) -> Option<RefusedFeed> {
        let stays = !self.plan.force && !live.held && !has_changed(self.plan, feed, live);
        stays
            .then(|| last_check::refusal(self.plan, feed, live))
            .flatten()
    }

    /// Stores the result of what was read. Best effort: without it, the same content is read and
    /// judged again.
    fn save_checks(&self) {
        let directory = &self.plan.directory;
        for (feed, check) in &self.checks {
            let kept = match check {
                Some(check) => check.save(directory, feed),
                None => last_check::forget(directory, feed),
            };
            if let Err(error) = kept {
                tracing::warn!(feed, %error, "the result for the feed's newest content could not be stored");
            }
        }
    }

    /// Stores what a refused version would change, for the operator. Best effort: the refusal
    /// itself is what matters.
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

    /// Copies the previous entries of refused and held feeds.
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
                    let mut mark = Mark {
                        feed,
                        category,
                        ..*mark
                    };
                    if mark.action == Action::Records {
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

/// Whether the content equals the live content octet for octet. For a category feed the names of
/// codes count as well; only the fingerprint covers these.
fn is_same_content(feed: &Feed, live: &FeedSummary, read: &FeedSummary) -> bool {
    feed.format != Format::CategoryFeed
        && !live.version.is_empty()
        && live.version == read.version
        && live.report.sha256 == read.report.sha256
}

fn narrow(place: usize) -> u16 {
    u16::try_from(place).expect("marks name feeds by 16 bits")
}

/// Opens the written artefact as its users do; deletes it if it is not the intended one.
fn verify(path: &Path, written: &Written, taxonomy: &Taxonomy) -> Result<(), ArtefactError> {
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
        // Best effort: the error above is the one that matters, and every reader refuses a bad
        // artefact.
        let _ = std::fs::remove_file(path);
    }
    opened
}
