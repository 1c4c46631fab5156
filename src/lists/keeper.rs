//! The one task that decides what is live.

mod back;
mod builds;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use api::control::{ActError, EventKind, Origin, RolledBack};
use blocklist_loader::{
    BuildOutcome, Feed, Fetched, Gate, Need, Plan, RefusedFeed, RowChange, Watcher,
    changes::{self, ChangedRows, DeltaError},
    generations, last_check, needs_building, newest, review,
    share::ShareRole,
};
use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    lists::{
        artefact::{FeedSummary, Header, RejectedVersion},
        blocklist::Blocklist,
        current::CurrentLists,
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{Settings, board::Board, child::Failure, fetching::Wakes, sharing::Outbox, swap};

/// How soon a feed whose rows cannot be applied is read as a whole again.
const REBUILD_AFTER: Duration = Duration::from_secs(30);
/// How long the first start of a node waits for its feeds: with a build of what came, it answers
/// within five seconds.
const FIRST_FETCH_MAX: Duration = Duration::from_secs(4);
/// How often the folder is looked into for what others put there, and ages are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Rows that wait for a build to end; beyond, the next build reads them.
const WAITING_ROWS_MAX: usize = 2_000_000;
/// Acts that wait for their turn.
const ACTS_MAX: usize = 64;

/// Something for the keeper to do.
pub enum Act {
    /// A feed has something new; `done` is told when it has been dealt with.
    Fetched {
        feed: String,
        fetched: Fetched,
        done: oneshot::Sender<()>,
    },
    /// Files may have changed.
    Files,
    /// An operator lets a version, or a held feed, go on.
    Approve {
        feed: String,
        version: Option<String>,
        reply: oneshot::Sender<Result<(), ActError>>,
    },
    /// An operator takes one feed back.
    RollBackFeed {
        feed: String,
        to: Option<u64>,
        reply: oneshot::Sender<Result<RolledBack, ActError>>,
    },
    /// An operator takes all lists back.
    RollBack {
        to: Option<u64>,
        reply: oneshot::Sender<Result<RolledBack, ActError>>,
    },
    /// Another node's generation lies in the folder; whether it is live now.
    Offer {
        generation: u64,
        reply: oneshot::Sender<bool>,
    },
    /// A feed is defined.
    Define {
        feed: Box<Feed>,
        reply: oneshot::Sender<()>,
    },
    /// A feed is no more.
    Remove {
        feed: String,
        reply: oneshot::Sender<()>,
    },
}

/// Rows that were applied while a build was under way, and must be applied to its result as well.
struct Meanwhile {
    feed: String,
    from: String,
    version: String,
    rows: Vec<RowChange>,
}

/// What a child brings back.
enum Brought {
    Built(Result<BuildOutcome, Failure>),
    Folded(Result<(), Failure>),
}

/// Keeps the lists of a node.
pub struct Keeper {
    pub(super) plan: Plan,
    keep: usize,
    taxonomy_path: PathBuf,
    pub(super) taxonomy: Arc<Taxonomy>,
    pub(super) board: Arc<Board>,
    pub(super) live: Arc<CurrentLists>,
    wakes: Arc<Wakes>,
    acts: mpsc::Receiver<Act>,
    /// Hands acts in.
    pub sender: mpsc::Sender<Act>,
    watcher: Option<Watcher>,
    child: Option<JoinHandle<Brought>>,
    /// What other nodes are told, where this one publishes.
    pub(super) outbox: Arc<Outbox>,
    /// Whether this node takes what another one builds, and builds nothing.
    follows: bool,
    /// Whether the child builds; otherwise it folds.
    builds: bool,
    /// Another build is wanted when this one is done, and not before.
    again: bool,
    not_before: Option<tokio::time::Instant>,
    /// Builds on end that failed.
    failures: u32,
    /// No fold before this.
    no_fold_before: Option<tokio::time::Instant>,
    /// Whether the feeds are asked already.
    asks: bool,
    meanwhile: Vec<Meanwhile>,
    /// Who waits for the next build, and who for the one under way: a build knows nothing of what
    /// came after it began.
    next: Waiting,
    under_way: Waiting,
    /// The highest number given to a generation.
    highest: u64,
    /// A generation of somebody else's that cannot be used.
    passed_over: u64,
}

/// Who is told when a build is done.
#[derive(Default)]
struct Waiting {
    /// Operators who let a feed go on.
    approvals: Vec<(String, oneshot::Sender<Result<(), ActError>>)>,
    /// Fetchers whose content it reads.
    fetched: Vec<oneshot::Sender<()>>,
}

impl Keeper {
    /// Takes over what is live.
    pub fn new(
        settings: Settings,
        board: Arc<Board>,
        live: Arc<CurrentLists>,
    ) -> anyhow::Result<Self> {
        let Settings {
            plan,
            keep,
            taxonomy_path,
            taxonomy,
            share,
        } = settings;
        let (sender, acts) = mpsc::channel(ACTS_MAX);
        let highest = newest(&plan.directory)
            .context("listing the generations")?
            .first()
            .map_or(0, |artefact| artefact.generation);
        Ok(Self {
            plan,
            keep,
            taxonomy_path,
            taxonomy,
            board,
            live,
            wakes: Arc::default(),
            acts,
            sender,
            watcher: None,
            child: None,
            outbox: Arc::default(),
            follows: share.is_some_and(|share| share.role == ShareRole::Follow),
            builds: false,
            again: false,
            not_before: None,
            failures: 0,
            no_fold_before: None,
            asks: false,
            meanwhile: Vec::new(),
            next: Waiting::default(),
            under_way: Waiting::default(),
            highest,
            passed_over: 0,
        })
    }

    /// What other nodes are told.
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// Who can have feeds asked.
    pub fn wakes(&self) -> Arc<Wakes> {
        Arc::clone(&self.wakes)
    }

    /// Shows what is live.
    pub fn show_live(&self) {
        swap::show(&self.live);
        if !self.follows {
            self.tell_of_refusals();
        }
    }

    /// Keeps the lists until the process ends.
    pub async fn run(mut self) {
        if !self.follows {
            self.again |= self.waits_for_a_build().await;
            if !self.asks {
                self.ask_feeds();
            }
            self.watch_files();
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                act = self.acts.recv() => match act {
                    Some(act) => self.act(act).await,
                    None => return,
                },
                brought = async { self.child.as_mut().expect("polled only while there is one").await }, if self.child.is_some() => {
                    self.child = None;
                    self.brought(brought).await;
                }
                _ = tick.tick() => self.look_around().await,
            }
            self.start_child();
        }
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Fetched {
                feed,
                fetched,
                done,
            } => match fetched {
                Fetched::Unchanged => {}
                Fetched::Replaced { .. } => {
                    self.again = true;
                    self.next.fetched.push(done);
                }
                Fetched::Changed {
                    from,
                    version,
                    rows,
                } => {
                    let meanwhile = Meanwhile {
                        feed,
                        from,
                        version,
                        rows,
                    };
                    self.apply(&meanwhile).await;
                    if self.child.is_some() && self.builds {
                        self.remember(meanwhile);
                    }
                    let _ = done.send(());
                }
            },
            Act::Files => self.again |= self.files_have_changed().await,
            Act::Approve {
                feed,
                version,
                reply,
            } => self.approve(feed, version, reply),
            Act::RollBackFeed { feed, to, reply } => {
                let result = self.roll_back_feed(&feed, to).await;
                let _ = reply.send(result);
            }
            Act::RollBack { to, reply } => {
                let result = self.roll_back(to).await;
                let _ = reply.send(result);
            }
            Act::Offer { generation, reply } => {
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
                let _ = reply.send(result.is_ok());
            }
            Act::Define { feed, reply } => {
                self.define(*feed);
                let _ = reply.send(());
            }
            Act::Remove { feed, reply } => {
                self.wakes.stop(&feed);
                self.plan.feeds.retain(|other| other.name != feed);
                self.plan.bounds.remove(&feed);
                self.plan.barred.remove(&feed);
                self.again = true;
                let _ = reply.send(());
            }
        }
    }

    /// Takes a definition of the API in, at the place that it has after a restart too: behind those
    /// of the configuration, by name.
    fn define(&mut self, feed: Feed) {
        self.wakes
            .start(&feed, &self.plan, &self.sender, &self.board, None);
        self.plan.barred.remove(&feed.name);
        self.plan
            .bounds
            .insert(feed.name.clone(), feed.bounds.clone().unwrap_or_default());
        let bounds = &self.plan.bounds;
        let comes_after = |other: &Feed| bounds.contains_key(&other.name) && other.name > feed.name;
        match self
            .plan
            .feeds
            .iter()
            .position(|other| other.name == feed.name)
        {
            Some(place) => self.plan.feeds[place] = feed,
            None => {
                let place = self
                    .plan
                    .feeds
                    .iter()
                    .position(comes_after)
                    .unwrap_or(self.plan.feeds.len());
                self.plan.feeds.insert(place, feed);
            }
        }
        self.watch_files();
        self.again = true;
    }

    /// Asks all feeds from now on.
    fn ask_feeds(&mut self) {
        self.asks = true;
        for feed in self
            .plan
            .feeds
            .iter()
            .filter(|feed| !self.plan.barred.contains(&feed.name))
        {
            self.wakes
                .start(feed, &self.plan, &self.sender, &self.board, None);
        }
    }

    /// Asks all feeds from now on, and waits for a while until each was asked once: the first lists
    /// of a node shall not be empty because its first build was quicker than its providers.
    pub async fn ask_first(&mut self) {
        self.asks = true;
        let mut asked = Vec::new();
        for feed in self
            .plan
            .feeds
            .iter()
            .filter(|feed| feed.is_fetched() && !self.plan.barred.contains(&feed.name))
        {
            let (first, is_asked) = oneshot::channel();
            self.wakes
                .start(feed, &self.plan, &self.sender, &self.board, Some(first));
            asked.push((feed.name.clone(), is_asked));
        }
        let until = tokio::time::Instant::now() + FIRST_FETCH_MAX;
        for (name, is_asked) in asked {
            if tokio::time::timeout_at(until, is_asked).await.is_err() {
                let detail = format!(
                    "its source did not answer within {FIRST_FETCH_MAX:?}; the node starts without it, and goes on asking"
                );
                self.board
                    .stopped(&name, Gate::Time, &detail, None, Timestamp::now());
            }
        }
    }

    /// Whether anything differs from what is live: a daemon that ended between fetching and
    /// building has more in its spools.
    async fn waits_for_a_build(&self) -> bool {
        let plan = self.plan.clone();
        let lists = self.live.current();
        let looked = tokio::task::spawn_blocking(move || {
            needs_building(&plan, Some(lists.header())) != Need::Nothing
        });
        looked.await.unwrap_or(true)
    }

    /// Whether a file differs from what it was when it was read. What is fetched is not asked: its
    /// spool may be a step ahead of rows that are just coming.
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
        let looked = tokio::task::spawn_blocking(move || {
            needs_building(&plan, Some(&header)) != Need::Nothing
        });
        looked.await.unwrap_or(true)
    }

    /// Watches the files of the feeds as they are defined now.
    fn watch_files(&mut self) {
        let sender = self.sender.clone();
        // A full queue is being worked on; the watcher looks again in a while whatever happens.
        let wake = move || drop(sender.try_send(Act::Files));
        let feeds = self
            .plan
            .feeds
            .iter()
            .filter(|feed| !self.plan.barred.contains(&feed.name))
            .cloned()
            .collect();
        match Watcher::start(feeds, wake) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => tracing::error!(
                error = crate::config::causes(&error),
                "list files are not watched"
            ),
        }
    }

    fn remember(&mut self, meanwhile: Meanwhile) {
        let rows: usize = self
            .meanwhile
            .iter()
            .map(|meanwhile| meanwhile.rows.len())
            .sum();
        if rows + meanwhile.rows.len() > WAITING_ROWS_MAX {
            // What this build brings is not what is wanted any more; the spools have it all.
            self.meanwhile.clear();
            self.again = true;
        } else {
            self.meanwhile.push(meanwhile);
        }
    }

    /// A number that no generation has. Somebody at the command line may have taken the next one.
    fn next_generation(&mut self) -> u64 {
        let is_taken = |generation| {
            let (full, delta) = (
                generations::path_of(&self.plan.directory, generation),
                generations::delta_path(&self.plan.directory, generation),
            );
            full.exists() || delta.exists()
        };
        self.highest = (self.highest + 1..)
            .find(|generation| !is_taken(*generation))
            .expect("there are more numbers than files");
        self.highest
    }

    /// Applies changed rows to what is live.
    async fn apply(&mut self, changed: &Meanwhile) {
        let began = Instant::now();
        let Some(feed) = self
            .plan
            .feeds
            .iter()
            .find(|feed| feed.name == changed.feed)
            .cloned()
        else {
            return;
        };
        let lists = self.live.current();
        match self.propose(&lists, &feed, changed).await {
            Ok(next) => {
                let generation = next.generation();
                self.install(next, began);
                tracing::info!(feed = feed.name, version = changed.version, rows = changed.rows.len(), generation, took = ?began.elapsed(), "changed rows are live");
                self.board
                    .live(&feed.name, &changed.version, generation, Timestamp::now());
            }
            Err(DeltaError::Refused(stop, proposal)) => {
                self.board.stopped(
                    &feed.name,
                    stop.gate,
                    &stop.detail,
                    Some((&changed.version, proposal.entries)),
                    Timestamp::now(),
                );
                let plan = self.plan.clone();
                let version = changed.version.clone();
                let refused = RejectedVersion {
                    version: version.clone(),
                    gate: stop.gate.to_string(),
                    detail: stop.detail,
                    entries: proposal.entries,
                    at: Timestamp::now(),
                };
                let kept = tokio::task::spawn_blocking(move || {
                    if let Some(summary) = lists
                        .header()
                        .feeds
                        .iter()
                        .find(|summary| summary.name == feed.name)
                    {
                        last_check::keep_refusal(&plan, &feed, summary, refused)?;
                    }
                    review::keep_changes(&plan.directory, &feed, &version, &proposal.changes)
                });
                if let Ok(Err(error)) = kept.await {
                    tracing::warn!(%error, "the refused version could not be kept for review");
                }
            }
            Err(DeltaError::NotContinued) => {
                // The spool has the whole of it; a feed that is refused is not read again with each
                // of its steps.
                let is_held = lists
                    .header()
                    .feeds
                    .iter()
                    .any(|summary| summary.name == feed.name && summary.held);
                if !is_held {
                    self.again = true;
                    let soon = tokio::time::Instant::now() + REBUILD_AFTER;
                    let is_refused = self.board.refused(&feed.name).is_some();
                    // A build that failed is not tried again the sooner for it.
                    self.not_before = self
                        .not_before
                        .or(is_refused.then_some(soon))
                        .filter(|_| is_refused || self.failures > 0);
                }
            }
            Err(error) => {
                tracing::error!(
                    feed = feed.name,
                    error = crate::config::causes(&error),
                    "changed rows could not be applied; the feed is read as a whole"
                );
                self.again = true;
            }
        }
    }

    /// Makes the next generation of changed rows, on disk and in memory.
    async fn propose(
        &mut self,
        lists: &Arc<Blocklist>,
        feed: &Feed,
        changed: &Meanwhile,
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
            Ok(lists.with(&[delta], &taxonomy)?)
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or(Err(DeltaError::NotContinued))
    }

    /// Makes lists live, and tells the other nodes.
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

    async fn prune(&self) {
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

    /// Ages, and generations that somebody else put into the folder: the command line, or another
    /// node.
    async fn look_around(&mut self) {
        if self.follows {
            return;
        }
        self.board.watch_ages(Timestamp::now());
        if self.child.is_some() {
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
        // Numbers that were given and came to nothing, as those of refused rows, are free for
        // others.
        if newest > self.live.load().generation() && newest != self.passed_over {
            self.highest = self.highest.max(newest);
            let before = self.live.load().generation();
            match self.adopt(newest, Vec::new()).await {
                Ok(()) => {
                    tracing::info!(generation = newest, "a generation from elsewhere is live");
                    self.tell_of_refusals();
                    // What continues something older than what was live takes that back.
                    if let Some(to) = self
                        .live
                        .current()
                        .header()
                        .parent
                        .filter(|to| *to < before)
                    {
                        self.outbox.withdraw(to + 1..=before);
                        let detail = format!("generation {to} is live again");
                        self.board.say(
                            EventKind::RolledBack,
                            None,
                            newest,
                            Some(detail),
                            Timestamp::now(),
                        );
                    }
                }
                Err(error) => {
                    self.passed_over = newest;
                    tracing::error!(
                        error = format!("{error:#}"),
                        generation = newest,
                        "a generation from elsewhere cannot be used"
                    );
                }
            }
        }
    }

    /// Refusals that a restart finds.
    fn tell_of_refusals(&self) {
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
            self.board
                .stopped(&feed, gate, &reason, Some((&version, entries)), at);
        }
    }

    /// Puts the feeds on the board.
    pub fn define_all(board: &Board, plan: &Plan) {
        for feed in &plan.feeds {
            board.define(
                feed,
                if plan.bounds.contains_key(&feed.name) {
                    Origin::Api
                } else {
                    Origin::Config
                },
            );
        }
    }
}
