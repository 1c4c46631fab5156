//! All feeds into the next generation: read, written, opened again and checked before anybody hears of it.
//!
//! A feed that is refused keeps the entries it had in the generation before, if it was defined then as it is now; the
//! others go on. What fails here leaves everything that is in use as it was.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use policy::{
    artefact::{ArtefactError, Builder, FeedSummary, Header, Written},
    blocklist::Blocklist,
    category::Taxonomy,
    listing::{Mark, NO_CATEGORY},
};
use serde::{Deserialize, Serialize};

use crate::{
    feed::{Feed, FeedError},
    generations::{lock, newest, path_of},
    reading::read_feed,
    source::fingerprint,
};

/// What is to be built, and where: plain data, so that a daemon can hand it to a process that builds in its stead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The feeds, in the order of the configuration, their sources resolved.
    pub feeds: Vec<Feed>,
    /// The folder of the artefacts; made if it is not there.
    pub directory: PathBuf,
    /// Whether to build even when nothing changed.
    #[serde(default)]
    pub force: bool,
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
    if plan.feeds.len() != built.feeds.len() || !plan.feeds.iter().zip(&built.feeds).all(is_defined_so) {
        Need::Definitions
    } else if plan.feeds.iter().zip(&built.feeds).any(|(feed, summary)| fingerprint(feed, &plan.directory) != summary.fingerprint) {
        Need::Content
    } else {
        Need::Nothing
    }
}

/// Builds the next generation. `previous` is what refused feeds go on with.
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
    let generation = highest.max(previous.map_or(0, Blocklist::generation)) + 1;

    let write_error = |source| BuildError::Write { generation, source };
    let categories = categories_of(&plan.feeds);
    let (mut builder, mut summaries, mut refused) = (Builder::new(), Vec::new(), Vec::new());
    for (place, feed) in plan.feeds.iter().enumerate() {
        let place = u16::try_from(place).map_err(|_| write_error(ArtefactError::TooMany(usize::from(u16::MAX), "feeds")))?;
        let (summary, reason) = add_feed(feed, place, &plan.directory, &categories, &mut builder).map_err(write_error)?;
        summaries.push(summary);
        refused.extend(reason.map(|reason| RefusedFeed { feed: feed.name.clone(), reason, carried: 0 }));
    }
    if let Some(previous) = previous
        && !refused.is_empty()
    {
        carry_over(previous, &mut summaries, &mut refused, &categories, &mut builder).map_err(write_error)?;
    }
    let header =
        Header { generation, built_at: now, feeds: summaries, categories, names: 0, entries: 0, mark_sets_octets: 0, fst_octets: 0 };
    let path = path_of(&plan.directory, generation);
    let written = builder.write(header, &path).map_err(write_error)?;
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

/// Reads one feed into the builder; says why, if it was refused and therefore left nothing there.
fn add_feed(
    feed: &Feed,
    place: u16,
    directory: &Path,
    categories: &[String],
    builder: &mut Builder,
) -> Result<(FeedSummary, Option<String>), ArtefactError> {
    let checkpoint = builder.checkpoint();
    let place_of = |slug: &str| {
        let place = categories.iter().position(|category| category == slug).expect("all slugs of all feeds are in it");
        u8::try_from(place).expect("checked slugs are of the taxonomy, which has at most 128")
    };
    let reading = read_feed(feed, directory, &place_of, &mut |name, category, claim| builder.push(name, claim.mark(place, category)))?;
    if reading.refused.is_some() {
        builder.rewind(&checkpoint);
    }
    let refused = reading.refused.map(|refusal| refusal.to_string());
    let summary = FeedSummary {
        name: feed.name.clone(),
        source: feed.source.clone(),
        format: feed.format.to_string(),
        scope: feed.reported_scope(),
        tier: feed.tier,
        definition: feed.definition(),
        fingerprint: reading.fingerprint,
        refused: refused.clone(),
        report: reading.report,
    };
    Ok((summary, refused))
}

/// Gives refused feeds the entries they had, with the report that tells of them.
fn carry_over(
    previous: &Blocklist,
    summaries: &mut [FeedSummary],
    refused: &mut [RefusedFeed],
    categories: &[String],
    builder: &mut Builder,
) -> Result<(), ArtefactError> {
    let before = previous.header();
    // From the place of a feed in the generation before to its place among the summaries and among the refused.
    let mut places: HashMap<u16, (u16, usize)> = HashMap::new();
    for (refusal, refused) in refused.iter().enumerate() {
        let place = summaries.iter().position(|summary| summary.name == refused.feed).expect("every feed has a summary");
        let summary = &mut summaries[place];
        let is_the_same = |old: &FeedSummary| old.name == summary.name && old.definition == summary.definition;
        if let Some(old) = before.feeds.iter().position(is_the_same) {
            let place_of = |place| u16::try_from(place).expect("marks name feeds by 16 bits");
            places.insert(place_of(old), (place_of(place), refusal));
            // A feed that never had an entry has nothing to tell but why it is refused now.
            if before.feeds[old].report.entries > 0 {
                summary.report = before.feeds[old].report.clone();
            }
        }
    }
    let category_places: Vec<Option<u8>> =
        before.categories.iter().map(|slug| u8::try_from(categories.iter().position(|category| category == slug)?).ok()).collect();
    let mut result = Ok(());
    previous.for_each_name(|key, marks| {
        for mark in marks {
            if result.is_ok()
                && let Some(&(feed, refusal)) = places.get(&mark.feed)
                && let Some(category) =
                    if mark.category == NO_CATEGORY { Some(NO_CATEGORY) } else { category_places[usize::from(mark.category)] }
            {
                result = builder.push_key(key, Mark { feed, category, ..mark });
                refused[refusal].carried += 1;
            }
        }
    });
    result
}

/// Opens what was written as its users will; deletes it if it is not what was meant.
fn verify(path: &Path, written: &Written, taxonomy: &Taxonomy) -> Result<(), ArtefactError> {
    let opened = Blocklist::open(path, taxonomy).and_then(|opened| {
        let differs = || ArtefactError::Damaged { path: path.to_owned(), what: "its header is not the one written" };
        if *opened.header() == written.header { Ok(()) } else { Err(differs()) }
    });
    if opened.is_err() {
        // Best effort: the error that matters is the one above, and a bad artefact is refused by every reader.
        let _ = std::fs::remove_file(path);
    }
    opened
}
