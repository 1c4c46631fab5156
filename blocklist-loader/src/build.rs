//! All feeds into the next generation: read, written, opened again and checked before anybody hears of it.
//!
//! A feed that is refused keeps the entries it had in the generation before, if it was defined then as it is now; the
//! others go on. What fails here leaves everything that is in use as it was.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
};

use policy::{
    artefact::{ArtefactError, FeedSummary, Header, Refused, Written},
    blocklist::Blocklist,
    builder::{Builder, Checkpoint},
    category::Taxonomy,
    listing::{Action, Mark, NO_CATEGORY, Polarity, Scope},
    name::Name,
};
use serde::{Deserialize, Serialize};

use crate::{
    feed::{Feed, FeedError, Matching},
    gate::{Gate, Sentry, Stop, by_numbers, by_own_names, own_names},
    generations::{lock, newest, path_of},
    reading::{Reading, Refusal, read_feed},
    review,
    rows::Said,
    source::{SourceError, fingerprint},
};

/// What is to be built, and where: plain data, so that a daemon can hand it to a process that builds in its stead.
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
    /// No file and no definition differs from what this generation was built of.
    Unchanged {
        /// The generation that stays.
        generation: u64,
    },
    /// A new generation lies in the folder, verified.
    Built(Box<Built>),
}

/// A new generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Built {
    /// The artefact.
    pub written: Written,
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
    let is_defined_so = |(feed, summary): (&Feed, &FeedSummary)| feed.name == summary.name && feed.definition() == summary.definition;
    let has_changed = |(feed, summary): (&Feed, &FeedSummary)| {
        let is_approved = summary.refused.as_ref().is_some_and(|refused| plan.approved.get(&feed.name) == Some(&refused.version));
        let is_released = plan.released.contains(&feed.name);
        if summary.held { is_released } else { is_approved || fingerprint(feed, &plan.directory) != summary.fingerprint }
    };
    if plan.feeds.len() != built.feeds.len() || !plan.feeds.iter().zip(&built.feeds).all(is_defined_so) {
        Need::Definitions
    } else if plan.feeds.iter().zip(&built.feeds).any(has_changed) {
        Need::Content
    } else {
        Need::Nothing
    }
}

/// Builds the next generation. `previous` is what refused and held feeds go on with.
///
/// # Errors
/// See [`BuildError`]; the folder then holds what it held before.
pub fn build(plan: &Plan, taxonomy: &Taxonomy, previous: Option<&Blocklist>, now: jiff::Timestamp) -> Result<Outcome, BuildError> {
    Feed::check_all(&plan.feeds, taxonomy)?;
    if let Some(previous) = previous
        && !plan.force
        && needs_building(plan, Some(previous.header())) == Need::Nothing
    {
        return Ok(Outcome::Unchanged { generation: previous.generation() });
    }
    let failed = |step| move |source| BuildError::Directory { step, path: plan.directory.clone(), source };
    std::fs::create_dir_all(&plan.directory).map_err(failed("creating"))?;
    let _lock = lock(&plan.directory).map_err(failed("locking"))?;
    // A file that cannot be read still has its number: whoever remembers it must not meet other octets under it.
    let highest = newest(&plan.directory).map_err(failed("listing"))?.first().map_or(0, |artefact| artefact.generation);
    let next = highest.max(previous.map_or(0, Blocklist::generation)) + 1;
    let generation = plan.generation.unwrap_or(next);

    let write_error = |source| BuildError::Write { generation, source };
    let mut bench = Bench::new(plan, previous, generation, now);
    for feed in &plan.feeds {
        bench.add(feed).map_err(write_error)?;
    }
    bench.carry_over().map_err(write_error)?;
    let Bench { builder, summaries, refused, categories, .. } = bench;
    let header = Header { feeds: summaries, categories, ..Header::of(generation, now) };
    let path = path_of(&plan.directory, generation);
    let written = builder.write(header, previous, &path).map_err(write_error)?;
    verify(&path, &written, taxonomy).map_err(|source| BuildError::Verify { generation, source })?;
    Ok(Outcome::Built(Box::new(Built { written, refused })))
}

/// The slugs that the feeds use, each once.
fn categories_of(feeds: &[Feed]) -> Vec<String> {
    let mut categories: Vec<String> = feeds.iter().flat_map(Feed::slugs).map(str::to_owned).collect();
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
    builder: Builder,
    summaries: Vec<FeedSummary>,
    refused: Vec<RefusedFeed>,
    /// Feeds that go on with the entries they had: from their place in the generation before to their place now.
    carried: HashMap<u16, u16>,
}

impl<'p> Bench<'p> {
    fn new(plan: &'p Plan, previous: Option<&'p Blocklist>, generation: u64, now: jiff::Timestamp) -> Self {
        Self {
            plan,
            previous,
            generation,
            now,
            own: own_names(&plan.own_names),
            categories: categories_of(&plan.feeds),
            builder: Builder::new(),
            summaries: Vec::new(),
            refused: Vec::new(),
            carried: HashMap::new(),
        }
    }

    /// The feed in the generation before, where it was defined as it is now.
    fn before(&self, feed: &Feed) -> Option<(usize, &'p FeedSummary)> {
        let is_it = |(_, old): &(usize, &FeedSummary)| old.name == feed.name && old.definition == feed.definition();
        self.previous?.header().feeds.iter().enumerate().find(is_it)
    }

    /// Reads one feed into the builder; one that is held or refused leaves nothing there and is carried over.
    fn add(&mut self, feed: &Feed) -> Result<(), ArtefactError> {
        let place = u16::try_from(self.summaries.len()).map_err(|_| ArtefactError::TooMany(usize::from(u16::MAX), "feeds"))?;
        let before = self.before(feed);
        if let Some((old, summary)) = before.filter(|(_, summary)| summary.held && !self.plan.released.contains(&feed.name)) {
            self.summaries.push(summary.clone());
            self.carried.insert(narrow(old), place);
            return Ok(());
        }
        let (checkpoint, categories) = (self.builder.checkpoint(), &self.categories);
        let place_of = |slug: &str| {
            let place = categories.iter().position(|category| category == slug).expect("all slugs of all feeds are in it");
            u8::try_from(place).expect("checked slugs are of the taxonomy, which has at most 128")
        };
        let (builder, mut sentry) = (&mut self.builder, Sentry::new(feed, &self.own));
        let reading = read_feed(feed, &self.plan.directory, &place_of, &mut |said: Said<'_>| {
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
        let Reading { mut report, fingerprint, version, rows, refused } = reading;
        let denied = sentry.own_names_denied();
        report.own_names = denied.len() as u64;
        // Entries under another definition say nothing about what to expect of this one, and those of a first reading neither.
        let expected = before.map(|(_, summary)| &summary.report).filter(|report| report.entries + report.paths > 0);
        // Its fetcher tells why nothing is there yet; that is no version of which anything could be wrong.
        let was_fetched = !matches!(refused, Some(Refusal::Source(SourceError::NotFetched)));
        let is_approved = self.plan.approved.get(&feed.name) == Some(&version);
        let stop = match refused {
            Some(refusal) => Err(refusal.into()),
            None => by_numbers(feed, expected, &report, rows)
                .and_then(|()| sentry.judge())
                .and_then(|()| by_own_names(expected, &denied))
                .or_else(|stop| if is_approved { Ok(()) } else { Err(stop) }),
        };
        let mut summary = FeedSummary {
            source: feed.source.clone(),
            format: feed.format.to_string(),
            scope: feed.reported_scope(),
            most_specific: feed.matching == Matching::MostSpecific,
            definition: feed.definition(),
            fingerprint,
            generation: before.filter(|(_, before)| before.version == version).map_or(self.generation, |(_, before)| before.generation),
            version,
            read_at: self.now,
            report,
            ..FeedSummary::new(&feed.name, feed.tier)
        };
        if let Err(Stop { gate, detail }) = stop {
            if was_fetched {
                self.keep_for_review(feed, place, before.map(|(old, _)| narrow(old)), &checkpoint, &summary);
                let (feed, version, entries) = (feed.name.clone(), summary.version.clone(), summary.report.entries);
                self.refused.push(RefusedFeed { feed, version: version.clone(), gate, reason: detail.clone(), carried: 0 });
                summary.refused = Some(Refused { version, gate: gate.to_string(), detail, entries, at: self.now });
            }
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
            for name in denied {
                let except = Mark { polarity: Polarity::Allow, important: true, ..Mark::deny(place, NO_CATEGORY, Scope::Subtree) };
                self.builder.push(name.borrow(), except)?;
            }
        }
        self.summaries.push(summary);
        Ok(())
    }

    /// Keeps what an operator needs to judge a refused version by: what it would change. Best effort: the refusal is what matters.
    fn keep_for_review(&self, feed: &Feed, place: u16, before: Option<u16>, checkpoint: &Checkpoint, summary: &FeedSummary) {
        let kept = review::keep(&self.plan.directory, feed, &summary.version, |out| {
            let now = self.builder.since(checkpoint);
            let names = self.previous.map(Blocklist::names);
            let old = self.previous.map(|previous| previous.header().categories.as_slice()).unwrap_or_default();
            review::write_changes(out, (names, before, old), (&now, place, &self.categories))
        });
        if let Err(error) = kept {
            tracing::warn!(feed = feed.name, %error, "the refused version could not be kept for review");
        }
    }

    /// Gives refused and held feeds the entries they had.
    fn carry_over(&mut self) -> Result<(), ArtefactError> {
        let Some(previous) = self.previous.filter(|_| !self.carried.is_empty()) else { return Ok(()) };
        let place_of = |slug: &String| self.categories.iter().position(|category| category == slug);
        let category_places: Vec<Option<u8>> = previous.header().categories.iter().map(|slug| u8::try_from(place_of(slug)?).ok()).collect();
        let mut counts: HashMap<u16, u64> = HashMap::new();
        let mut names = previous.names();
        while let Some((key, marks)) = names.next() {
            for mark in marks {
                let category = if mark.category == NO_CATEGORY { Some(NO_CATEGORY) } else { category_places[usize::from(mark.category)] };
                if let (Some(&feed), Some(category)) = (self.carried.get(&mark.feed), category) {
                    let mut mark = Mark { feed, category, ..*mark };
                    if mark.action == Action::Records {
                        mark.data = self.builder.answer(previous.answers()[mark.data as usize].clone())?;
                    }
                    self.builder.push_key(key, mark)?;
                    *counts.entry(feed).or_default() += 1;
                }
            }
        }
        for refused in &mut self.refused {
            let place = self.summaries.iter().position(|summary| summary.name == refused.feed).expect("every feed has a summary");
            refused.carried = counts.get(&narrow(place)).copied().unwrap_or(0);
        }
        Ok(())
    }
}

fn narrow(place: usize) -> u16 {
    u16::try_from(place).expect("marks name feeds by 16 bits")
}

/// Opens what was written as its users will; deletes it if it is not what was meant.
fn verify(path: &Path, written: &Written, taxonomy: &Taxonomy) -> Result<(), ArtefactError> {
    let opened = Blocklist::open(path, taxonomy).and_then(|opened| {
        let differs = || ArtefactError::Damaged { path: path.to_owned(), what: "its header is not the one written" };
        // Opened lists keep the answers beside the header.
        let header = Header { answers: opened.answers().to_vec(), ..opened.header().clone() };
        if header == written.header { Ok(()) } else { Err(differs()) }
    });
    if opened.is_err() {
        // Best effort: the error that matters is the one above, and a bad artefact is refused by every reader.
        let _ = std::fs::remove_file(path);
    }
    opened
}
