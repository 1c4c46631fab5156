//! Whole lists: what is built and folded by another process, when that is tried, and what becomes
//! of what comes back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use api::control::{ActError, EventKind};
use blocklist_loader::{BuildOutcome, Plan, RefusedFeed, changes::DeltaError, last_check, waiting};
use jiff::Timestamp;
use metrics::counter;
use tokio::{sync::Notify, task::JoinError};

use super::{Brought, Keeper, Meanwhile, Waiting};
use crate::lists::child::{self, Failure};

/// Names in the overlay, as a part of the base's, beyond which it is folded: with a fiftieth of
/// five million its filter lies in a core's own cache, and a lookup takes at most a twentieth
/// longer than without (`benches/deltas.rs`).
const FOLD_PART: u64 = 50;
/// Smaller overlays are never folded: they cost nothing.
const FOLD_NAMES_MIN: usize = 50_000;
/// Deltas on end beyond which they are folded, so that a start opens no more files than this.
const FOLD_CHAIN: u64 = 500;
/// Times of arrival beyond which lists are built anew, well before their table is full (65,535).
const ARRIVALS_MAX: usize = 50_000;
/// After a build that failed the next attempt comes after this, doubled each time.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Beyond this the wait is not doubled any more: whatever stood in the way, lists are live within a
/// minute after it is gone.
const RETRY_MAX: Duration = Duration::from_secs(30);

impl Keeper {
    /// Builds once, before anything else runs, however long it takes.
    pub async fn build_now(&mut self) {
        let plan = self.next_plan();
        let result = child::build(
            &plan,
            &self.taxonomy_path,
            child::Node::Starts(Arc::default()),
        )
        .await;
        self.built(result).await;
    }

    /// Builds once, and waits for it for a while; what takes longer becomes live when it is done.
    pub async fn build_within(&mut self, most: Duration) {
        let plan = self.next_plan();
        let taxonomy = self.taxonomy_path.clone();
        let serves_now = Arc::new(Notify::new());
        let node = child::Node::Starts(Arc::clone(&serves_now));
        self.builds = true;
        let mut child =
            tokio::spawn(async move { Brought::Built(child::build(&plan, &taxonomy, node).await) });
        match tokio::time::timeout(most, &mut child).await {
            Ok(brought) => self.brought(brought).await,
            Err(_) => {
                tracing::warn!(
                    "the feeds are defined otherwise than the last good lists; these are live until the build of the others is done"
                );
                serves_now.notify_one();
                self.child = Some(child);
            }
        }
    }

    /// A child has ended.
    pub(super) async fn brought(&mut self, brought: Result<Brought, JoinError>) {
        match brought {
            Ok(Brought::Built(result)) => self.built(result).await,
            Ok(Brought::Folded(result)) => self.folded(result).await,
            Err(error) if self.builds => self.built(Err(Failure::of_build(error))).await,
            Err(error) => self.folded(Err(Failure::of_build(error))).await,
        }
    }

    /// A plan with a number for what comes of it.
    fn next_plan(&mut self) -> Plan {
        let generation = Some(self.next_generation());
        Plan {
            generation,
            ..self.plan.clone()
        }
    }

    /// Starts what whole lists need, one at a time: a build first, then a fold.
    pub(super) fn start_child(&mut self) {
        // Who follows gets whole artefacts from who builds.
        if self.child.is_some() || self.follows {
            return;
        }
        if self.again
            && self
                .not_before
                .is_none_or(|at| at <= tokio::time::Instant::now())
        {
            (self.again, self.builds, self.not_before) = (false, true, None);
            self.under_way = std::mem::take(&mut self.next);
            let plan = self.next_plan();
            let taxonomy = self.taxonomy_path.clone();
            self.child = Some(tokio::spawn(async move {
                Brought::Built(child::build(&plan, &taxonomy, child::Node::Serves).await)
            }));
            return;
        }
        let lists = self.live.current();
        // Only a build makes room in the table of times; with a delta every minute that is once a
        // month.
        if lists.header().arrivals.len() > ARRIVALS_MAX {
            (self.again, self.plan.force) = (true, true);
        }
        if self
            .no_fold_before
            .is_some_and(|at| at > tokio::time::Instant::now())
        {
            return;
        }
        let overlay = lists.overlay_size().0;
        let base = lists.header().names;
        let chain = lists.generation().saturating_sub(lists.base_generation());
        if overlay > FOLD_NAMES_MIN.max(usize::try_from(base / FOLD_PART).unwrap_or(usize::MAX))
            || chain > FOLD_CHAIN && overlay > 0
        {
            self.builds = false;
            let directory = self.plan.directory.clone();
            let generation = lists.generation();
            let taxonomy = self.taxonomy_path.clone();
            self.child = Some(tokio::spawn(async move {
                Brought::Folded(child::fold(&directory, generation, &taxonomy).await)
            }));
        }
    }

    /// A build has ended.
    async fn built(&mut self, result: Result<BuildOutcome, Failure>) {
        let meanwhile = std::mem::take(&mut self.meanwhile);
        let result = match result {
            Ok(BuildOutcome::Built(built)) => {
                let adopted = self.adopt(built.written.header.generation, meanwhile).await;
                adopted
                    .map(|()| built.refused)
                    .map_err(|error| Failure::of_build(format!("{error:#}")))
            }
            Ok(BuildOutcome::Unchanged { refused, .. }) => Ok(refused),
            Ok(BuildOutcome::Failed { gate, detail }) => Err(Failure { gate, detail }),
            Err(failure) => Err(failure),
        };
        let (refused, error) = match result {
            Ok(mut refused) => {
                // Rows may have been refused while the build was under way.
                let standing =
                    last_check::refusals(&self.plan, self.live.current().header()).into_iter();
                let known: Vec<String> =
                    refused.iter().map(|refused| refused.feed.clone()).collect();
                refused.extend(standing.filter(|standing| !known.contains(&standing.feed)));
                (refused, None)
            }
            Err(failure) => {
                self.failed(&failure).await;
                (Vec::new(), Some(failure.detail))
            }
        };
        let now = Timestamp::now();
        let lists = self.live.current();
        if error.is_none() {
            (self.plan.force, self.failures) = (false, 0);
            let names: Vec<&str> = refused
                .iter()
                .map(|refused| refused.feed.as_str())
                .collect();
            self.board.built(&names, lists.generation(), now);
        }
        for RefusedFeed {
            feed,
            version,
            gate,
            reason,
            entries,
            at,
            ..
        } in &refused
        {
            self.board
                .stopped(feed, *gate, reason, Some((version, *entries)), *at);
        }
        let Waiting { approvals, fetched } = std::mem::take(&mut self.under_way);
        for (feed, reply) in approvals {
            let approved = self.plan.approved.remove(&feed);
            self.plan.released.retain(|released| *released != feed);
            let refusal = refused.iter().find(|refused| refused.feed == feed);
            let result = match (&error, refusal) {
                (Some(error), _) => Err(ActError::Failed(error.clone())),
                // The provider was quicker than the operator.
                (None, Some(refusal))
                    if approved
                        .as_ref()
                        .is_some_and(|approved| *approved != refusal.version) =>
                {
                    Err(ActError::AnotherVersion {
                        waiting: refusal.version.clone(),
                    })
                }
                (None, Some(refusal)) => Err(ActError::Failed(refusal.reason.clone())),
                (None, None) => {
                    self.board.say(
                        EventKind::FeedApproved,
                        Some(&feed),
                        lists.generation(),
                        None,
                        now,
                    );
                    Ok(())
                }
            };
            let _ = reply.send(result);
        }
        let refusals: Vec<String> = refused
            .iter()
            .map(|refused| format!("{}: {}", refused.feed, refused.reason))
            .collect();
        self.board
            .set_last_error(error.or_else(|| (!refusals.is_empty()).then(|| refusals.join("; "))));
        for done in fetched {
            let _ = done.send(());
        }
        self.prune().await;
    }

    /// A build failed: the feeds that wait for it have an alarm, and it is tried again, ever less
    /// often.
    async fn failed(&mut self, failure: &Failure) {
        counter!("ox_protect_list_build_failures_total").increment(1);
        let wait = (RETRY_MIN * 2_u32.saturating_pow(self.failures.min(8))).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        (self.again, self.not_before) = (true, Some(tokio::time::Instant::now() + wait));
        let Failure { gate, detail } = failure;
        tracing::error!(
            gate = gate.as_str(),
            detail,
            ?wait,
            "the lists could not be renewed; the last good generation stays"
        );
        let plan = self.plan.clone();
        let lists = self.live.current();
        let waits = tokio::task::spawn_blocking(move || waiting(&plan, lists.header()))
            .await
            .unwrap_or_default();
        self.board
            .not_built(&waits, *gate, detail, Timestamp::now());
    }

    /// Makes a generation live that was built aside, with the rows that came meanwhile.
    pub(super) async fn adopt(
        &mut self,
        generation: u64,
        meanwhile: Vec<Meanwhile>,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        let before = self.live.current();
        let mut next = self.open(generation).await?;
        for changed in meanwhile {
            // Rows that the build has read already do not continue what it read.
            if let Some(feed) = self
                .plan
                .feeds
                .iter()
                .find(|feed| feed.name == changed.feed)
                .cloned()
            {
                match self.propose(&next, &feed, &changed).await {
                    Ok(more) => next = more,
                    Err(DeltaError::NotContinued) => {}
                    Err(error) => {
                        tracing::warn!(
                            feed = feed.name,
                            error = crate::config::causes(&error),
                            "rows that came meanwhile are read by another build"
                        );
                        self.again = true;
                    }
                }
            }
        }
        let generation = next.generation();
        let names = next.header().names;
        let bytes = next.octets();
        let feeds = next.header().feeds.clone();
        self.install(next, began);
        tracing::info!(generation, names, bytes, "new lists are live");
        let now = Timestamp::now();
        for feed in &feeds {
            let was = before
                .header()
                .feeds
                .iter()
                .find(|before| before.name == feed.name);
            if feed.held && was.is_some_and(|was| !was.held) {
                self.board
                    .say(EventKind::FeedHeld, Some(&feed.name), generation, None, now);
            }
            let is_other =
                was.is_none_or(|was| was.version != feed.version || was.held != feed.held);
            if is_other && !feed.withdrawn && !feed.version.is_empty() {
                self.board.live(&feed.name, &feed.version, generation, now);
            }
        }
        Ok(())
    }

    /// A fold has ended: the same content, in one artefact.
    async fn folded(&mut self, result: Result<(), Failure>) {
        let began = Instant::now();
        let generation = self.live.load().generation();
        let opened = match result {
            Ok(()) => self.open(generation).await,
            Err(failure) => Err(anyhow::anyhow!(failure.detail)),
        };
        match opened {
            Ok(next) => {
                tracing::info!(
                    generation,
                    base = next.base_generation(),
                    "the overlay was folded into a new base"
                );
                self.install(next, began);
                self.prune().await;
            }
            Err(error) => {
                self.no_fold_before = Some(tokio::time::Instant::now() + RETRY_MAX);
                tracing::error!(
                    error = format!("{error:#}"),
                    "the overlay could not be folded; it goes on growing"
                );
            }
        }
    }
}
