//! Builds and folds: when they start, and what becomes of their results.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use blocklist_loader::{BuildOutcome, Plan, RefusedFeed, changes::DeltaError, last_check, waiting};
use jiff::Timestamp;
use metrics::counter;
use policy::lists::{artefact::FeedSummary, blocklist::Blocklist};
use tokio::sync::Notify;

use super::{
    build_process::{self, Failure, Node},
    command::RowUpdate,
    job::{Job, JobResult, NextBuild, Waiters},
    manager::ListManager,
    model::{EventKind, ListError},
};
use crate::causes;

/// The overlay is folded when it has more than this part of the base's names. With a fiftieth of
/// five million names its filter fits into the cache of one core, and a lookup takes at most a
/// twentieth longer than without an overlay (`benches/deltas.rs`).
const FOLD_PART: u64 = 50;
/// Overlays with fewer names are never folded: they cost nothing.
const FOLD_NAMES_MIN: usize = 50_000;
/// A longer chain of deltas is folded, so that a start opens no more files than this.
const FOLD_CHAIN: u64 = 500;
/// Lists with more times of arrival are built again, well before their table is full (65,535).
const ARRIVALS_MAX: usize = 50_000;
/// The wait after a build that failed, doubled with each further failure.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest wait: lists are live within a minute after the cause of the failures is gone.
const RETRY_MAX: Duration = Duration::from_secs(30);

impl ListManager {
    /// Builds once, before anything else runs, however long it takes.
    pub async fn build_now(&mut self) {
        let plan = self.next_plan();
        let node = Node::Starts(Arc::default());
        let result = build_process::build(&plan, &self.taxonomy_path, node).await;
        self.built(result, Waiters::default(), Vec::new()).await;
    }

    /// Builds once, and waits at most `patience` for it. A build that takes longer becomes live when
    /// it is done.
    pub async fn build_within(&mut self, patience: Duration) {
        let serves_now = Arc::new(Notify::new());
        self.start_build(Node::Starts(Arc::clone(&serves_now)), Waiters::default());
        match tokio::time::timeout(patience, self.job.end()).await {
            Ok(result) => self.job_ended(result).await,
            Err(_) => {
                tracing::warn!(
                    "the feeds are defined otherwise than the last good lists; these are live until the build of the others is done"
                );
                serves_now.notify_one();
            }
        }
    }

    pub(super) async fn job_ended(&mut self, result: JobResult) {
        match result {
            JobResult::Built {
                result,
                waiters,
                pending,
            } => self.built(result, waiters, pending).await,
            JobResult::Folded(result) => self.folded(result).await,
        }
    }

    /// The plan, with a generation number for its result.
    fn next_plan(&mut self) -> Plan {
        let generation = Some(self.next_generation());
        Plan {
            generation,
            ..self.plan.clone()
        }
    }

    /// Starts the job that is due, if none is under way: a build first, then a fold.
    pub(super) fn start_job(&mut self) {
        // A follower takes whole artefacts from the publisher.
        if !self.job.is_idle() || self.follows {
            return;
        }
        if self.next_build.is_due() {
            self.next_build = NextBuild::NotWanted;
            let waiters = std::mem::take(&mut self.next_waiters);
            self.start_build(Node::Serves, waiters);
            return;
        }
        let lists = self.live.current();
        // Only a build makes room in the table of arrivals. With a delta every minute that is once
        // a month.
        if lists.header().arrivals.len() > ARRIVALS_MAX {
            self.next_build.want();
            self.plan.force = true;
        }
        if self
            .no_fold_before
            .is_none_or(|at| at <= tokio::time::Instant::now())
            && is_fold_due(&lists)
        {
            self.start_fold(lists.generation());
        }
    }

    fn start_build(&mut self, node: Node, waiters: Waiters) {
        let plan = self.next_plan();
        let taxonomy = self.taxonomy_path.clone();
        let process =
            tokio::spawn(async move { build_process::build(&plan, &taxonomy, node).await });
        self.job = Job::Building {
            process,
            waiters,
            pending: Vec::new(),
        };
    }

    fn start_fold(&mut self, generation: u64) {
        let directory = self.plan.directory.clone();
        let taxonomy = self.taxonomy_path.clone();
        let process =
            tokio::spawn(
                async move { build_process::fold(&directory, generation, &taxonomy).await },
            );
        self.job = Job::Folding { process };
    }

    /// A build has ended.
    async fn built(
        &mut self,
        result: Result<BuildOutcome, Failure>,
        waiters: Waiters,
        pending: Vec<RowUpdate>,
    ) {
        let result = match result {
            Ok(BuildOutcome::Built(built)) => {
                let adopted = self.adopt(built.written.header.generation, pending).await;
                adopted
                    .map(|()| built.refused)
                    .map_err(|error| Failure::of_build(format!("{error:#}")))
            }
            Ok(BuildOutcome::Unchanged { refused, .. }) => Ok(refused),
            Ok(BuildOutcome::Failed { gate, detail }) => Err(Failure { gate, detail }),
            Err(failure) => Err(failure),
        };
        let result = match result {
            Ok(refused) => Ok(self.build_succeeded(refused)),
            Err(failure) => {
                self.build_failed(&failure).await;
                Err(failure.detail)
            }
        };
        self.answer_approvals(waiters.approvals, &result);
        self.status.set_last_error(match result {
            Ok(refused) if refused.is_empty() => None,
            Ok(refused) => Some(sentence(&refused)),
            Err(error) => Some(error),
        });
        for done in waiters.fetched {
            let _ = done.send(());
        }
        self.prune().await;
    }

    /// Reports what a build refused, and returns it.
    fn build_succeeded(&mut self, mut refused: Vec<RefusedFeed>) -> Vec<RefusedFeed> {
        let lists = self.live.current();
        // Rows may have been refused while the build was under way.
        for standing in last_check::refusals(&self.plan, lists.header()) {
            if !refused.iter().any(|known| known.feed == standing.feed) {
                refused.push(standing);
            }
        }
        self.plan.force = false;
        self.failures = 0;
        let names: Vec<&str> = refused
            .iter()
            .map(|refused| refused.feed.as_str())
            .collect();
        self.status
            .built(&names, lists.generation(), Timestamp::now());
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
            self.status
                .stopped(feed, *gate, reason, Some((version, *entries)), *at);
        }
        refused
    }

    /// Tells operators what became of the versions that they approved.
    fn answer_approvals(
        &mut self,
        approvals: Vec<Approval>,
        built: &Result<Vec<RefusedFeed>, String>,
    ) {
        for (feed, reply) in approvals {
            let approved = self.plan.approved.remove(&feed);
            self.plan.released.retain(|released| *released != feed);
            let refusal = match built {
                Ok(refused) => refused.iter().find(|refused| refused.feed == feed),
                Err(error) => {
                    let _ = reply.send(Err(ListError::Failed(error.clone())));
                    continue;
                }
            };
            let result = match refusal {
                // The provider was quicker than the operator.
                Some(refusal) if approved.is_some_and(|approved| approved != refusal.version) => {
                    Err(ListError::AnotherVersion {
                        waiting: refusal.version.clone(),
                    })
                }
                Some(refusal) => Err(ListError::Failed(refusal.reason.clone())),
                None => {
                    self.status.publish(
                        EventKind::FeedApproved,
                        Some(&feed),
                        self.live.load().generation(),
                        None,
                        Timestamp::now(),
                    );
                    Ok(())
                }
            };
            let _ = reply.send(result);
        }
    }

    /// A build failed: the feeds that wait for it have an alarm, and it is tried again, ever less
    /// often.
    async fn build_failed(&mut self, failure: &Failure) {
        counter!("ox_protect_list_build_failures_total").increment(1);
        let wait = (RETRY_MIN * 2_u32.saturating_pow(self.failures.min(8))).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        self.next_build = NextBuild::At(tokio::time::Instant::now() + wait);
        let Failure { gate, detail } = failure;
        tracing::error!(
            gate = gate.as_str(),
            detail,
            ?wait,
            "the lists could not be renewed; the last good generation stays"
        );
        let plan = self.plan.clone();
        let lists = self.live.current();
        let feeds = tokio::task::spawn_blocking(move || waiting(&plan, lists.header()))
            .await
            .unwrap_or_default();
        self.status
            .not_built(&feeds, *gate, detail, Timestamp::now());
    }

    /// Makes a generation live that another process built, with the rows that came since it began.
    pub(super) async fn adopt(
        &mut self,
        generation: u64,
        pending: Vec<RowUpdate>,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        let before = self.live.current();
        let mut next = self.open(generation).await?;
        for changed in pending {
            let Some(feed) = self.feed(&changed.feed) else {
                continue;
            };
            match self.propose(&next, &feed, &changed).await {
                Ok(more) => next = more,
                // The build has read these rows already.
                Err(DeltaError::NotContinued) => {}
                Err(error) => {
                    tracing::warn!(
                        feed = feed.name,
                        error = causes(&error),
                        "rows that came during a build are read by another build"
                    );
                    self.next_build.want();
                }
            }
        }
        let generation = next.generation();
        let names = next.header().names;
        let bytes = next.octets();
        let feeds = next.header().feeds.clone();
        self.install(next, began);
        tracing::info!(generation, names, bytes, "new lists are live");
        self.report_changes(&before, &feeds, generation);
        Ok(())
    }

    /// Publishes an event for each feed with another version, or newly held.
    fn report_changes(&self, before: &Blocklist, feeds: &[FeedSummary], generation: u64) {
        let now = Timestamp::now();
        for feed in feeds {
            let was = before
                .header()
                .feeds
                .iter()
                .find(|before| before.name == feed.name);
            if feed.held && was.is_some_and(|was| !was.held) {
                let name = Some(feed.name.as_str());
                self.status
                    .publish(EventKind::FeedHeld, name, generation, None, now);
            }
            let is_other =
                was.is_none_or(|was| was.version != feed.version || was.held != feed.held);
            if is_other && !feed.withdrawn && !feed.version.is_empty() {
                self.status.live(&feed.name, &feed.version, generation, now);
            }
        }
    }

    /// A fold has ended: its artefact has the same content as the live lists.
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

/// An approval that waits for a build.
type Approval = (String, tokio::sync::oneshot::Sender<Result<(), ListError>>);

/// Whether the overlay has grown so large, or the chain of deltas so long, that they are folded.
fn is_fold_due(lists: &Blocklist) -> bool {
    let overlay = lists.overlay_size().0;
    let part = usize::try_from(lists.header().names / FOLD_PART).unwrap_or(usize::MAX);
    let chain = lists.generation().saturating_sub(lists.base_generation());
    overlay > FOLD_NAMES_MIN.max(part) || chain > FOLD_CHAIN && overlay > 0
}

/// All refusals of a build in one text.
fn sentence(refused: &[RefusedFeed]) -> String {
    let each = refused
        .iter()
        .map(|refused| format!("{}: {}", refused.feed, refused.reason));
    each.collect::<Vec<_>>().join("; ")
}
