//! Changed rows of a feed: they become live within a second, without a build.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use blocklist_loader::{
    Feed, Refusal,
    changes::{self, ChangedRows, DeltaError, Proposal},
    generations, last_check, review,
};
use jiff::Timestamp;
use policy::lists::{artefact::RejectedVersion, blocklist::Blocklist};

use super::{
    command::RowUpdate,
    job::{Job, NextBuild},
    manager::ListManager,
};
use crate::causes;

/// A feed whose rows cannot be applied is read as a whole again after this time.
const REBUILD_AFTER: Duration = Duration::from_secs(30);
/// Rows that wait for the end of a build; beyond, the next build reads them.
const PENDING_ROWS_MAX: usize = 2_000_000;

impl ListManager {
    /// Applies changed rows to the live lists.
    pub(super) async fn apply(&mut self, changed: &RowUpdate) {
        let began = Instant::now();
        let Some(feed) = self.feed(&changed.feed) else {
            return;
        };
        let lists = self.live.current();
        match self.propose(&lists, &feed, changed).await {
            Ok(next) => {
                let generation = next.generation();
                self.install(next, began);
                tracing::info!(feed = feed.name, version = changed.version, rows = changed.rows.len(), generation, took = ?began.elapsed(), "changed rows are live");
                self.status
                    .live(&feed.name, &changed.version, generation, Timestamp::now());
            }
            Err(DeltaError::Refused(stop, proposal)) => {
                self.refuse_rows(lists, feed, &changed.version, stop, proposal)
                    .await;
            }
            Err(DeltaError::NotContinued) => self.read_again(&lists, &feed.name),
            Err(error) => {
                tracing::error!(
                    feed = feed.name,
                    error = causes(&error),
                    "changed rows could not be applied; the feed is read as a whole"
                );
                self.next_build.want();
            }
        }
    }

    /// A gate stopped changed rows: reports it, and keeps them for an operator's review.
    async fn refuse_rows(
        &self,
        lists: Arc<Blocklist>,
        feed: Feed,
        version: &str,
        stop: Refusal,
        proposal: Box<Proposal>,
    ) {
        self.status.stopped(
            &feed.name,
            stop.gate,
            &stop.detail,
            Some((version, proposal.entries)),
            Timestamp::now(),
        );
        let plan = self.plan.clone();
        let version = version.to_owned();
        let refused = RejectedVersion {
            version: version.clone(),
            gate: stop.gate.to_string(),
            detail: stop.detail,
            entries: proposal.entries,
            at: Timestamp::now(),
        };
        let kept = tokio::task::spawn_blocking(move || {
            let mut feeds = lists.header().feeds.iter();
            if let Some(summary) = feeds.find(|summary| summary.name == feed.name) {
                last_check::keep_refusal(&plan, &feed, summary, refused)?;
            }
            review::keep_changes(&plan.directory, &feed, &version, &proposal.changes)
        });
        if let Ok(Err(error)) = kept.await {
            tracing::warn!(%error, "the refused version could not be kept for review");
        }
    }

    /// Rows do not continue the live version. The spool has the whole feed, so a build reads it;
    /// but a refused feed is not read again with each of its steps.
    fn read_again(&mut self, lists: &Blocklist, feed: &str) {
        let mut feeds = lists.header().feeds.iter();
        if feeds.any(|summary| summary.name == feed && summary.held) {
            return;
        }
        let is_refused = self.status.refused(feed).is_some();
        self.next_build = match self.next_build {
            // A build that failed is not tried again the sooner for these rows.
            NextBuild::At(at) if is_refused || self.failures > 0 => NextBuild::At(at),
            _ if is_refused => NextBuild::At(tokio::time::Instant::now() + REBUILD_AFTER),
            _ => NextBuild::Now,
        };
    }

    /// Makes the next generation out of changed rows, on disk and in memory.
    pub(super) async fn propose(
        &mut self,
        lists: &Arc<Blocklist>,
        feed: &Feed,
        changed: &RowUpdate,
    ) -> Result<Arc<Blocklist>, DeltaError> {
        let generation = self.next_generation();
        let plan = self.plan.clone();
        let lists = Arc::clone(lists);
        let feed = feed.clone();
        let taxonomy = Arc::clone(&self.taxonomy);
        let from = changed.from.clone();
        let version = changed.version.clone();
        let rows = changed.rows.clone();
        let work = move || {
            let path = generations::delta_path(&plan.directory, generation);
            let changed = ChangedRows {
                feed: &feed,
                from: &from,
                version: &version,
                rows: &rows,
            };
            let mut delta = changes::propose(
                &plan,
                &lists,
                changed,
                (generation, &path),
                Timestamp::now(),
            )?
            .delta;
            delta.write()?;
            Ok(lists.with_deltas(&[delta], &taxonomy)?)
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or(Err(DeltaError::NotContinued))
    }

    /// Keeps rows for the result of the build under way, if there is one.
    pub(super) fn keep_for_build(&mut self, changed: RowUpdate) {
        let Job::Building { pending, .. } = &mut self.job else {
            return;
        };
        let rows: usize = pending.iter().map(|pending| pending.rows.len()).sum();
        if rows + changed.rows.len() > PENDING_ROWS_MAX {
            // The result of this build is out of date; the spools have all rows for the next one.
            pending.clear();
            self.next_build.want();
        } else {
            pending.push(changed);
        }
    }
}
