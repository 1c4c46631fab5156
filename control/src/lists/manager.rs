//! The list manager: the one task that decides which lists are live.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use blocklist_loader::{
    BuildNeed, Feed, Fetched, Gate, Plan, RefusedFeed, Watcher, generations, last_check,
    needs_building, newest,
    share::{self, ShareRole},
};
use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    lists::{
        artefact::{FeedSummary, Header},
        blocklist::Blocklist,
        current::CurrentLists,
    },
};
use tokio::sync::{mpsc, oneshot};

use super::{
    command::{ListCommand, RowUpdate},
    fetchers::Fetchers,
    job::{Job, NextBuild, Waiters},
    model::{EventKind, Origin},
    sharing::Outbox,
    status::ListStatus,
    swap,
};
use crate::{causes, shutdown::BackgroundTasks};

/// How long the first start of a node waits for its feeds: with a build of what came, it answers
/// within five seconds.
const FIRST_FETCH_MAX: Duration = Duration::from_secs(4);
/// How often the manager looks for generations of other processes and for stale feeds.
const TICK: Duration = Duration::from_secs(1);
/// Commands that wait for their turn.
const COMMANDS_MAX: usize = 64;

/// What the list manager is given.
pub struct ListSettings {
    /// The feeds, and the folder of the generations.
    pub plan: Plan,
    /// How many whole generations are kept, with the deltas between them.
    pub keep: usize,
    /// A taxonomy document; empty is the shipped one.
    pub taxonomy_path: PathBuf,
    pub taxonomy: Arc<Taxonomy>,
    /// How nodes share lists. `None` if they do not.
    pub share: Option<share::ShareSettings>,
}

/// Manages the lists of a node.
pub struct ListManager {
    pub(super) plan: Plan,
    keep: usize,
    pub(super) taxonomy_path: PathBuf,
    pub(super) taxonomy: Arc<Taxonomy>,
    pub(super) status: Arc<ListStatus>,
    pub(super) live: Arc<CurrentLists>,
    fetchers: Arc<Fetchers>,
    commands: mpsc::Receiver<ListCommand>,
    sender: mpsc::Sender<ListCommand>,
    watcher: Option<Watcher>,
    /// What a publishing node tells its followers.
    pub(super) outbox: Arc<Outbox>,
    /// Whether this node takes the generations of a publisher, and builds none.
    pub(super) follows: bool,
    pub(super) job: Job,
    pub(super) next_build: NextBuild,
    /// Who waits for the next build. The build under way has waiters of its own.
    pub(super) next_waiters: Waiters,
    /// Consecutive builds that failed.
    pub(super) failures: u32,
    pub(super) no_fold_before: Option<tokio::time::Instant>,
    /// Whether the fetchers run.
    has_fetchers: bool,
    /// The highest number given to a generation.
    highest: u64,
    /// A generation of another process that cannot be used.
    passed_over: u64,
}

impl ListManager {
    /// Takes over the live lists. `tasks` runs the fetchers.
    pub fn new(
        settings: ListSettings,
        status: Arc<ListStatus>,
        live: Arc<CurrentLists>,
        tasks: &BackgroundTasks,
    ) -> anyhow::Result<Self> {
        let ListSettings {
            plan,
            keep,
            taxonomy_path,
            taxonomy,
            share,
        } = settings;
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let highest = newest(&plan.directory)
            .context("listing the generations")?
            .first()
            .map_or(0, |artefact| artefact.generation);
        let fetchers = Fetchers::new(&plan.directory, &sender, &status, tasks);
        Ok(Self {
            plan,
            keep,
            taxonomy_path,
            taxonomy,
            status,
            live,
            fetchers: Arc::new(fetchers),
            commands,
            sender,
            watcher: None,
            outbox: Arc::default(),
            follows: share.is_some_and(|share| share.role == ShareRole::Follow),
            job: Job::Idle,
            next_build: NextBuild::NotWanted,
            next_waiters: Waiters::default(),
            failures: 0,
            no_fold_before: None,
            has_fetchers: false,
            highest,
            passed_over: 0,
        })
    }

    /// Sends commands to the manager.
    pub fn sender(&self) -> mpsc::Sender<ListCommand> {
        self.sender.clone()
    }

    pub(super) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    pub fn fetchers(&self) -> Arc<Fetchers> {
        Arc::clone(&self.fetchers)
    }

    /// Sets the gauges of the live lists, and reports refusals of an earlier run.
    pub fn show_live(&self) {
        swap::show(&self.live);
        if !self.follows {
            self.report_refusals();
        }
    }

    /// Manages the lists until the task is dropped.
    pub async fn run(mut self) {
        if !self.follows {
            if self.waits_for_a_build().await {
                self.next_build.want();
            }
            if !self.has_fetchers {
                self.start_fetchers();
            }
            self.watch_files();
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.execute(command).await,
                    None => return,
                },
                result = self.job.end() => self.job_ended(result).await,
                _ = tick.tick() => self.look_around().await,
            }
            self.start_job();
        }
    }

    async fn execute(&mut self, command: ListCommand) {
        match command {
            ListCommand::Fetched {
                feed,
                fetched,
                done,
            } => self.fetched(feed, fetched, done).await,
            ListCommand::Files => {
                if self.files_have_changed().await {
                    self.next_build.want();
                }
            }
            ListCommand::Approve {
                feed,
                version,
                reply,
            } => self.approve(feed, version, reply),
            ListCommand::RollBackFeed { feed, to, reply } => {
                let result = self.roll_back_feed(&feed, to).await;
                let _ = reply.send(result);
            }
            ListCommand::RollBack { to, reply } => {
                let result = self.roll_back(to).await;
                let _ = reply.send(result);
            }
            ListCommand::Offer { generation, reply } => {
                let is_live = self.take_offer(generation).await;
                let _ = reply.send(is_live);
            }
            ListCommand::Define { feed, reply } => {
                self.define(*feed);
                let _ = reply.send(());
            }
            ListCommand::Remove { feed, reply } => {
                self.remove(&feed);
                let _ = reply.send(());
            }
        }
    }

    /// A fetcher has a new version.
    async fn fetched(&mut self, feed: String, fetched: Fetched, done: oneshot::Sender<()>) {
        match fetched {
            Fetched::Unchanged => {}
            Fetched::Replaced { .. } => {
                self.next_build.want();
                self.next_waiters.fetched.push(done);
            }
            Fetched::Changed {
                from,
                version,
                rows,
            } => {
                let changed = RowUpdate {
                    feed,
                    from,
                    version,
                    rows,
                };
                self.apply(&changed).await;
                self.keep_for_build(changed);
                let _ = done.send(());
            }
        }
    }

    /// Makes a publisher's generation live. Returns whether it is.
    async fn take_offer(&mut self, generation: u64) -> bool {
        self.highest = self.highest.max(generation);
        let result = self.adopt(generation, Vec::new()).await;
        if let Err(error) = &result {
            tracing::error!(
                error = format!("{error:#}"),
                generation,
                "a shared generation cannot be used; what is live stays"
            );
        }
        self.prune().await;
        result.is_ok()
    }

    /// Takes a definition of the API, in the place that it has after a restart too: behind those of
    /// the configuration, by name.
    fn define(&mut self, feed: Feed) {
        self.fetchers.start(&feed, None);
        self.plan.barred.remove(&feed.name);
        self.plan
            .bounds
            .insert(feed.name.clone(), feed.bounds.clone().unwrap_or_default());
        let bounds = &self.plan.bounds;
        let comes_after = |other: &Feed| bounds.contains_key(&other.name) && other.name > feed.name;
        let feeds = &mut self.plan.feeds;
        match feeds.iter().position(|other| other.name == feed.name) {
            Some(index) => feeds[index] = feed,
            None => {
                let index = feeds.iter().position(comes_after).unwrap_or(feeds.len());
                feeds.insert(index, feed);
            }
        }
        self.watch_files();
        self.next_build.want();
    }

    fn remove(&mut self, feed: &str) {
        self.fetchers.stop(feed);
        self.plan.feeds.retain(|other| other.name != feed);
        self.plan.bounds.remove(feed);
        self.plan.barred.remove(feed);
        self.next_build.want();
    }

    /// The feeds that may be read.
    fn readable_feeds(&self) -> impl Iterator<Item = &Feed> {
        let barred = &self.plan.barred;
        let feeds = self.plan.feeds.iter();
        feeds.filter(|feed| !barred.contains(&feed.name))
    }

    /// The definition of a feed.
    pub(super) fn feed(&self, name: &str) -> Option<Feed> {
        let mut feeds = self.plan.feeds.iter();
        feeds.find(|feed| feed.name == name).cloned()
    }

    /// Starts the fetchers of all feeds.
    fn start_fetchers(&mut self) {
        self.has_fetchers = true;
        for feed in self.readable_feeds() {
            self.fetchers.start(feed, None);
        }
    }

    /// Starts the fetchers of all feeds, and waits for the first attempt of each, at most
    /// [`FIRST_FETCH_MAX`]. Otherwise the first lists of a node would be empty because its first
    /// build is quicker than its providers.
    pub async fn fetch_first(&mut self) {
        self.has_fetchers = true;
        let mut attempts = Vec::new();
        for feed in self.readable_feeds().filter(|feed| feed.is_fetched()) {
            let (first, attempt) = oneshot::channel();
            self.fetchers.start(feed, Some(first));
            attempts.push((feed.name.clone(), attempt));
        }
        let until = tokio::time::Instant::now() + FIRST_FETCH_MAX;
        for (name, attempt) in attempts {
            if tokio::time::timeout_at(until, attempt).await.is_err() {
                let detail = format!(
                    "its source did not answer within {FIRST_FETCH_MAX:?}; the node starts without it, and goes on asking"
                );
                self.status
                    .stopped(&name, Gate::Time, &detail, None, Timestamp::now());
            }
        }
    }

    /// Whether anything differs from what is live: a node that ended between fetching and building
    /// has newer content in its spools.
    async fn waits_for_a_build(&self) -> bool {
        let plan = self.plan.clone();
        let lists = self.live.current();
        let needs = move || needs_building(&plan, Some(lists.header())) != BuildNeed::Nothing;
        tokio::task::spawn_blocking(needs).await.unwrap_or(true)
    }

    /// Whether a file differs from what was read. Fetched feeds are left out: their spools may be a
    /// step ahead of rows that are about to arrive.
    async fn files_have_changed(&self) -> bool {
        let lists = self.live.current();
        let files: Vec<Feed> = self
            .plan
            .feeds
            .iter()
            .filter(|feed| !feed.is_fetched())
            .cloned()
            .collect();
        let is_file = |summary: &&FeedSummary| files.iter().any(|feed| feed.name == summary.name);
        let header = Header {
            feeds: lists
                .header()
                .feeds
                .iter()
                .filter(is_file)
                .cloned()
                .collect(),
            ..lists.header().clone()
        };
        let plan = Plan {
            feeds: files,
            ..self.plan.clone()
        };
        let needs = move || needs_building(&plan, Some(&header)) != BuildNeed::Nothing;
        tokio::task::spawn_blocking(needs).await.unwrap_or(true)
    }

    /// Watches the files of the feeds as they are defined now.
    fn watch_files(&mut self) {
        let sender = self.sender.clone();
        // If the queue is full, the watcher looks again later anyway.
        let wake = move || drop(sender.try_send(ListCommand::Files));
        match Watcher::start(self.readable_feeds().cloned().collect(), wake) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                tracing::error!(error = causes(&error), "list files are not watched")
            }
        }
    }

    /// A number that no generation has. A command on the command line may have taken the next one.
    pub(super) fn next_generation(&mut self) -> u64 {
        let is_taken = |generation| {
            let full = generations::path_of(&self.plan.directory, generation);
            let delta = generations::delta_path(&self.plan.directory, generation);
            full.exists() || delta.exists()
        };
        self.highest = (self.highest + 1..)
            .find(|generation| !is_taken(*generation))
            .expect("there are more numbers than files");
        self.highest
    }

    /// Makes lists live, and tells the followers.
    pub(super) fn install(&self, next: Arc<Blocklist>, began: Instant) {
        swap::install(&self.live, next, began);
        self.outbox.changed();
    }

    pub(super) async fn open(&self, generation: u64) -> anyhow::Result<Arc<Blocklist>> {
        let directory = self.plan.directory.clone();
        let taxonomy = Arc::clone(&self.taxonomy);
        let opened = tokio::task::spawn_blocking(move || {
            generations::open(&directory, generation, &taxonomy)
        })
        .await;
        Ok(opened.context("opening a generation")??)
    }

    /// Removes old generations.
    pub(super) async fn prune(&self) {
        let directory = self.plan.directory.clone();
        let keep = self.keep;
        let live = self.live.load().generation();
        let pruned = tokio::task::spawn_blocking(move || {
            generations::prune_around(&directory, keep, Some(live))
        })
        .await;
        if let Ok(Err(error)) = pruned {
            tracing::warn!(%error, "old generations could not be pruned");
        }
    }

    /// Looks for stale feeds, and for a generation that another process put into the folder: a
    /// command on the command line, or another node.
    async fn look_around(&mut self) {
        if self.follows {
            return;
        }
        self.status.watch_ages(Timestamp::now());
        if !self.job.is_idle() {
            return;
        }
        let directory = self.plan.directory.clone();
        let listed = tokio::task::spawn_blocking(move || newest(&directory)).await;
        let Some(newest) = listed
            .ok()
            .and_then(Result::ok)
            .and_then(|all| all.first().map(|artefact| artefact.generation))
        else {
            return;
        };
        // The manager's own numbers that led to no file, such as those of refused rows, may be
        // taken by others.
        if newest > self.live.load().generation() && newest != self.passed_over {
            self.highest = self.highest.max(newest);
            self.adopt_foreign(newest).await;
        }
    }

    /// Makes a generation of another process live.
    async fn adopt_foreign(&mut self, generation: u64) {
        let before = self.live.load().generation();
        if let Err(error) = self.adopt(generation, Vec::new()).await {
            self.passed_over = generation;
            tracing::error!(
                error = format!("{error:#}"),
                generation,
                "a generation from elsewhere cannot be used"
            );
            return;
        }
        tracing::info!(generation, "a generation from elsewhere is live");
        self.report_refusals();
        // A generation that continues an older one than was live is a rollback.
        let parent = self.live.current().header().parent;
        if let Some(to) = parent.filter(|to| *to < before) {
            self.outbox.withdraw(to + 1..=before);
            let detail = format!("generation {to} is live again");
            self.status.publish(
                EventKind::RolledBack,
                None,
                generation,
                Some(detail),
                Timestamp::now(),
            );
        }
    }

    /// Reports the refusals that the folder of the lists knows of.
    fn report_refusals(&self) {
        for RefusedFeed {
            feed,
            version,
            gate,
            reason,
            entries,
            at,
            ..
        } in last_check::refusals(&self.plan, self.live.current().header())
        {
            self.status
                .stopped(&feed, gate, &reason, Some((&version, entries)), at);
        }
    }
}

/// Enters the feeds of a plan into the status.
pub fn define_all(status: &ListStatus, plan: &Plan) {
    for feed in &plan.feeds {
        let origin = if plan.bounds.contains_key(&feed.name) {
            Origin::Api
        } else {
            Origin::Config
        };
        status.define(feed, origin);
    }
}
