//! A build in progress: which feeds are read, which keep their entries, and what is refused.

use std::collections::{BTreeMap, HashMap};

use policy::{
    lists::{
        artefact::{ArtefactError, FeedSummary, Header, RejectedVersion, without_secrets},
        blocklist::Blocklist,
        builder::{ArtefactBuilder, Checkpoint},
        entry::{EntryAction, ListEntry, NO_CATEGORY, Polarity, Scope},
    },
    name::Name,
};

use super::{
    need::{has_changed, is_held_back, is_of_definition},
    result::RefusedFeed,
};
use crate::{
    feed::{Feed, Format, Matching},
    gate::{NameGuard, Refusal, by_numbers, by_own_names, own_names},
    last_check::{self, LastCheck},
    plan::Plan,
    read_feed::{FeedReadError, FeedReading, read_feed},
    review,
    rows::ParsedEntry,
    source::SourceError,
};

/// A build in progress.
pub(super) struct GenerationBuild<'p> {
    plan: &'p Plan,
    previous: Option<&'p Blocklist>,
    generation: u64,
    now: jiff::Timestamp,
    own: Vec<Name>,
    categories: Vec<String>,
    builder: ArtefactBuilder,
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

/// A version that was read into the builder, before it is accepted or refused.
struct FeedCandidate<'c> {
    feed: &'c Feed,
    place: u16,
    /// The feed in the previous generation: its index there, and its summary.
    before: Option<(u16, &'c FeedSummary)>,
    /// The state of the builder before the version was read.
    checkpoint: Checkpoint,
    summary: FeedSummary,
    /// Whether the feed's previous entries are live and not held, or an operator approved this
    /// version.
    is_live: bool,
}

impl FeedCandidate<'_> {
    /// The result that is stored for this version.
    fn check(&self, own_names: &[Name], refused: Option<RejectedVersion>) -> LastCheck {
        let against = self.before.map_or("", |(_, before)| &before.version);
        LastCheck::of(
            self.feed,
            own_names,
            against,
            self.summary.fingerprint.clone(),
            refused,
        )
    }
}

impl<'p> GenerationBuild<'p> {
    pub(super) fn new(
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
            checks: BTreeMap::new(),
            differs: false,
            carried: HashMap::new(),
        }
    }

    /// Reads the feeds whose content has changed. Returns all refused feeds if no accepted content
    /// differs from the previous lists, so that the build ends here.
    pub(super) fn read_changed(
        &mut self,
        previous: &'p Blocklist,
    ) -> Result<Option<Vec<RefusedFeed>>, ArtefactError> {
        let plan = self.plan;
        let summaries = &previous.header().feeds;
        for (place, feed) in plan.feeds.iter().enumerate() {
            let summary = summaries.iter().find(|summary| summary.name == feed.name);
            if summary.is_some_and(|summary| has_changed(plan, feed, summary)) {
                self.add(place, feed)?;
            }
        }
        if self.differs {
            return Ok(None);
        }
        self.save_checks();
        let read = std::mem::take(&mut self.refused);
        let is_earlier = |refused: &RefusedFeed| {
            !read.iter().any(|read| read.feed == refused.feed)
                && !self.checks.contains_key(&refused.feed)
        };
        let mut refused = last_check::refusals(plan, previous.header());
        refused.retain(is_earlier);
        refused.extend(read);
        Ok(Some(refused))
    }

    /// Reads the feeds that were not read yet. Returns all entries, the header of the generation,
    /// and the refused feeds.
    pub(super) fn finish(
        mut self,
    ) -> Result<(ArtefactBuilder, Header, Vec<RefusedFeed>), ArtefactError> {
        let plan = self.plan;
        for (place, feed) in plan.feeds.iter().enumerate() {
            if self.summaries[place].is_none() {
                self.add(place, feed)?;
            }
        }
        self.carry_over()?;
        self.save_checks();
        let header = Header {
            feeds: self.summaries.into_iter().flatten().collect(),
            categories: self.categories,
            ..Header::of(self.generation, self.now)
        };
        Ok((self.builder, header, self.refused))
    }

    /// The feed in the previous generation, if its definition is unchanged.
    fn before(&self, feed: &Feed) -> Option<(u16, &'p FeedSummary)> {
        let is_it = |(_, old): &(usize, &FeedSummary)| {
            old.name == feed.name && !old.withdrawn && is_of_definition(self.plan, feed, old)
        };
        let feeds = &self.previous?.header().feeds;
        let (place, summary) = feeds.iter().enumerate().find(is_it)?;
        Some((narrow(place), summary))
    }

    /// Reads one feed into the builder. A held or refused feed adds nothing and keeps its entries.
    fn add(&mut self, at: usize, feed: &Feed) -> Result<(), ArtefactError> {
        let place = u16::try_from(at)
            .map_err(|_| ArtefactError::TooMany(usize::from(u16::MAX), "feeds"))?;
        let before = self.before(feed);
        if self.keeps_entries(place, feed, before) {
            return Ok(());
        }
        let checkpoint = self.builder.checkpoint();
        let ReadVersion {
            reading,
            own_names_denied,
            canaries,
        } = self.read(place, feed)?;
        let FeedReading {
            report,
            fingerprint,
            version,
            rows,
            error,
        } = reading;
        // Entries under another definition say nothing about the expected size, nor does a version
        // without entries.
        let expected = before
            .map(|(_, summary)| &summary.report)
            .filter(|report| report.entries + report.paths > 0);
        // The fetcher reports why there is no content yet; there is no version that could be
        // refused.
        let was_fetched = !matches!(error, Some(FeedReadError::Source(SourceError::NotFetched)));
        let is_approved = self.plan.approved.get(&feed.name) == Some(&version);
        let result = match error {
            Some(error) => Err(error.into()),
            None => by_numbers(feed, expected, &report, rows)
                .and(canaries)
                .and_then(|()| by_own_names(expected, &own_names_denied))
                .or_else(|refusal| if is_approved { Ok(()) } else { Err(refusal) }),
        };
        let candidate = FeedCandidate {
            feed,
            place,
            before,
            checkpoint,
            is_live: is_approved || before.is_some_and(|(_, before)| !before.held),
            summary: FeedSummary {
                fingerprint,
                generation: before
                    .filter(|(_, before)| before.version == version)
                    .map_or(self.generation, |(_, before)| before.generation),
                version,
                report,
                ..self.summary(feed)
            },
        };
        match result {
            Ok(()) => self.accept(candidate, &own_names_denied)?,
            Err(refusal) => self.refuse(candidate, Some(refusal).filter(|_| was_fetched)),
        }
        Ok(())
    }

    /// Whether a feed is not read and keeps its entries: it is held or barred, or its content was
    /// refused before.
    fn keeps_entries(
        &mut self,
        place: u16,
        feed: &Feed,
        before: Option<(u16, &FeedSummary)>,
    ) -> bool {
        let is_barred = self.plan.barred.contains(&feed.name);
        let refused = before.and_then(|(_, summary)| self.refused_before(feed, summary));
        let stays = |summary: &FeedSummary| {
            is_barred || summary.held && !self.plan.released.contains(&feed.name)
        };
        let kept = before.filter(|(_, summary)| refused.is_some() || stays(summary));
        self.refused.extend(refused);
        if let Some((old, summary)) = kept {
            self.carried.insert(old, place);
            self.summaries[usize::from(place)] = Some(FeedSummary {
                refused: None,
                ..summary.clone()
            });
            return true;
        }
        let is_held = self
            .previous
            .is_some_and(|previous| is_held_back(self.plan, previous.header(), &feed.name));
        if is_barred || is_held {
            self.summaries[usize::from(place)] = Some(FeedSummary {
                held: is_held,
                ..self.summary(feed)
            });
        }
        is_barred || is_held
    }

    /// Reads a feed's entries into the builder.
    fn read(&mut self, place: u16, feed: &Feed) -> Result<ReadVersion, ArtefactError> {
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
        let mut take = |entry: ParsedEntry<'_>| {
            guard.observe(&entry);
            let mut mark = entry.mark(place);
            if let Some(records) = entry.records {
                mark.data = builder.answer(records.clone())?;
            }
            match entry.path {
                Some(path) => builder.push_path(entry.name, path, mark),
                None => builder.push(entry.name, mark),
            }
        };
        let mut reading = read_feed(feed, &self.plan.directory, &place_of, &mut take)?;
        let own_names_denied = guard.own_names_denied();
        reading.report.own_names = own_names_denied.len() as u64;
        Ok(ReadVersion {
            reading,
            canaries: guard.check(),
            own_names_denied,
        })
    }

    /// Makes a version part of the generation.
    fn accept(
        &mut self,
        candidate: FeedCandidate<'_>,
        denied: &[Name],
    ) -> Result<(), ArtefactError> {
        let is_same = candidate.before.is_some_and(|(_, before)| {
            candidate.is_live && is_same_content(candidate.feed, before, &candidate.summary)
        });
        let check = is_same.then(|| candidate.check(&self.plan.own_names, None));
        self.checks.insert(candidate.feed.name.clone(), check);
        self.differs |= !is_same;
        for name in denied {
            let except = ListEntry {
                polarity: Polarity::Allow,
                important: true,
                ..ListEntry::deny(candidate.place, NO_CATEGORY, Scope::Subtree)
            };
            self.builder.push(name.borrow(), except)?;
        }
        self.summaries[usize::from(candidate.place)] = Some(candidate.summary);
        Ok(())
    }

    /// Removes a version from the builder; the feed keeps its entries. There is no refusal where
    /// nothing was fetched yet.
    fn refuse(&mut self, candidate: FeedCandidate<'_>, refusal: Option<Refusal>) {
        let refused = refusal.map(|refusal| self.record(&candidate, refusal));
        let check = candidate.check(&self.plan.own_names, refused);
        self.checks.insert(candidate.feed.name.clone(), Some(check));
        // A released feed that is refused is not held any more.
        self.differs |= !candidate.is_live;
        self.builder.rewind(&candidate.checkpoint);
        let mut summary = candidate.summary;
        if let Some((old, before)) = candidate.before {
            self.carried.insert(old, candidate.place);
            summary.version.clone_from(&before.version);
            summary.read_at = before.read_at;
            summary.generation = before.generation;
            // A feed that never had an entry reports only why it is refused.
            if before.report.entries > 0 {
                summary.report = before.report.clone();
            }
        } else {
            summary.version.clear();
        }
        self.summaries[usize::from(candidate.place)] = Some(summary);
    }

    /// Keeps a refused version for review and adds it to the refused feeds.
    fn record(&mut self, candidate: &FeedCandidate<'_>, refusal: Refusal) -> RejectedVersion {
        self.keep_for_review(candidate);
        let Refusal { gate, detail } = refusal;
        let summary = &candidate.summary;
        self.refused.push(RefusedFeed {
            feed: candidate.feed.name.clone(),
            version: summary.version.clone(),
            gate,
            reason: detail.clone(),
            carried: candidate
                .before
                .map_or(0, |(_, before)| before.report.entries + before.report.paths),
            entries: summary.report.entries,
            at: self.now,
        });
        RejectedVersion {
            version: summary.version.clone(),
            gate: gate.to_string(),
            detail,
            entries: summary.report.entries,
            at: self.now,
        }
    }

    /// The summary of a feed before it is read.
    fn summary(&self, feed: &Feed) -> FeedSummary {
        FeedSummary {
            source: without_secrets(&feed.source),
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
    fn keep_for_review(&self, candidate: &FeedCandidate<'_>) {
        let FeedCandidate { feed, summary, .. } = candidate;
        let kept = review::keep(&self.plan.directory, feed, &summary.version, |out| {
            let entries = self.builder.since(&candidate.checkpoint);
            let before = review::Before {
                names: self.previous.map(Blocklist::names),
                place: candidate.before.map(|(place, _)| place),
                slugs: self
                    .previous
                    .map(|previous| previous.header().categories.as_slice())
                    .unwrap_or_default(),
            };
            let now = review::Now {
                entries: &entries,
                place: candidate.place,
                slugs: &self.categories,
            };
            review::write_changes(out, before, now)
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

/// The entries of a feed in the builder, and what the gates need to know of them.
struct ReadVersion {
    reading: FeedReading,
    /// The operator's own names that the version would block.
    own_names_denied: Vec<Name>,
    /// The result of the canary check.
    canaries: Result<(), Refusal>,
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
