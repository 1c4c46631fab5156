//! The one task that decides what is live.

mod back;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use api::control::{ActError, EventKind, Origin, RolledBack};
use blocklist_loader::{
    Feed, Fetched, Need, Outcome, Plan, RowChange, Watcher,
    changes::{self, ChangeError, Changed},
    generations, needs_building, newest,
    share::Role,
};
use jiff::Timestamp;
use metrics::counter;
use policy::{
    artefact::{FeedSummary, Header},
    blocklist::Blocklist,
    category::Taxonomy,
    live::LiveLists,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{Settings, board::Board, child, fetching::Wakes, sharing::Outbox, swap};

/// Names in the overlay, as a part of the base's, beyond which it is folded: with a fiftieth of five million its filter lies in a core's
/// own cache, and a lookup takes at most a twentieth longer than without (`benches/deltas.rs`).
const FOLD_PART: u64 = 50;
/// Smaller overlays are never folded: they cost nothing.
const FOLD_NAMES_MIN: usize = 50_000;
/// Deltas on end beyond which they are folded, so that a start opens no more files than this.
const FOLD_CHAIN: u64 = 500;
/// Times of arrival beyond which lists are built anew, well before their table is full (65,535).
const ARRIVALS_MAX: usize = 50_000;
/// How soon a feed whose rows cannot be applied is read as a whole again.
const REBUILD_AFTER: Duration = Duration::from_secs(30);
/// How often the folder is looked into for what others put there, and ages are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Rows that wait for a build to end; beyond, the next build reads them.
const WAITING_ROWS_MAX: usize = 2_000_000;
/// Acts that wait for their turn.
const ACTS_MAX: usize = 64;

/// Something for the keeper to do.
pub enum Act {
    /// A feed has something new; `done` is told when it has been dealt with.
    Fetched { feed: String, fetched: Fetched, done: oneshot::Sender<()> },
    /// Files may have changed.
    Files,
    /// An operator lets a version, or a held feed, go on.
    Approve { feed: String, version: Option<String>, reply: oneshot::Sender<Result<(), ActError>> },
    /// An operator takes one feed back.
    RollBackFeed { feed: String, to: Option<u64>, reply: oneshot::Sender<Result<RolledBack, ActError>> },
    /// An operator takes all lists back.
    RollBack { to: Option<u64>, reply: oneshot::Sender<Result<RolledBack, ActError>> },
    /// Another node's generation lies in the folder; whether it is live now.
    Offer { generation: u64, reply: oneshot::Sender<bool> },
    /// A feed is defined.
    Define { feed: Box<Feed>, reply: oneshot::Sender<()> },
    /// A feed is no more.
    Remove { feed: String, reply: oneshot::Sender<()> },
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
    Built(anyhow::Result<Outcome>),
    Folded(anyhow::Result<()>),
}

/// Keeps the lists of a node.
pub struct Keeper {
    pub(super) plan: Plan,
    keep: usize,
    taxonomy_path: PathBuf,
    pub(super) taxonomy: Arc<Taxonomy>,
    pub(super) board: Arc<Board>,
    pub(super) live: Arc<LiveLists>,
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
    meanwhile: Vec<Meanwhile>,
    /// Who waits for the next build, and who for the one under way: a build knows nothing of what came after it began.
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
    pub fn new(settings: Settings, board: Arc<Board>, live: Arc<LiveLists>) -> anyhow::Result<Self> {
        let Settings { plan, keep, taxonomy_path, taxonomy, share } = settings;
        let (sender, acts) = mpsc::channel(ACTS_MAX);
        let highest = newest(&plan.directory).context("listing the generations")?.first().map_or(0, |artefact| artefact.generation);
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
            follows: share.is_some_and(|share| share.role == Role::Follow),
            builds: false,
            again: false,
            not_before: None,
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

    /// Builds once, before anything else runs.
    pub async fn build_now(&mut self) {
        let plan = self.next_plan();
        let result = child::build(&plan, &self.taxonomy_path, child::Node::Starts).await;
        self.built(result).await;
    }

    /// Shows what is live.
    pub fn show_live(&self) {
        swap::show(&self.live);
        self.tell_of_refusals(&self.live.current().header().feeds);
    }

    /// Keeps the lists until the process ends.
    pub async fn run(mut self) {
        if !self.follows {
            for feed in &self.plan.feeds {
                self.wakes.start(feed, &self.plan, &self.sender, &self.board);
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
                    match brought {
                        Ok(Brought::Built(result)) => self.built(result).await,
                        Ok(Brought::Folded(result)) => self.folded(result).await,
                        Err(error) => tracing::error!(%error, "work on the lists was lost"),
                    }
                }
                _ = tick.tick() => self.look_around().await,
            }
            self.start_child();
        }
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Fetched { feed, fetched, done } => match fetched {
                Fetched::Unchanged => {}
                Fetched::Replaced { .. } => {
                    self.again = true;
                    self.next.fetched.push(done);
                }
                Fetched::Changed { from, version, rows } => {
                    let meanwhile = Meanwhile { feed, from, version, rows };
                    self.apply(&meanwhile).await;
                    if self.child.is_some() && self.builds {
                        self.remember(meanwhile);
                    }
                    let _ = done.send(());
                }
            },
            Act::Files => self.again |= self.files_have_changed().await,
            Act::Approve { feed, version, reply } => self.approve(feed, version, reply),
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
                    tracing::error!(error = format!("{error:#}"), generation, "a shared generation cannot be used; what is live stays");
                }
                self.prune().await;
                let _ = reply.send(result.is_ok());
            }
            Act::Define { feed, reply } => {
                self.plan.feeds.retain(|other| other.name != feed.name);
                self.wakes.start(&feed, &self.plan, &self.sender, &self.board);
                self.plan.feeds.push(*feed);
                self.watch_files();
                self.again = true;
                let _ = reply.send(());
            }
            Act::Remove { feed, reply } => {
                self.wakes.stop(&feed);
                self.plan.feeds.retain(|other| other.name != feed);
                self.again = true;
                let _ = reply.send(());
            }
        }
    }

    /// Whether a file differs from what it was when it was read. What is fetched is not asked: its spool may be a step ahead of rows that
    /// are just coming.
    async fn files_have_changed(&self) -> bool {
        let lists = self.live.current();
        let files: Vec<Feed> = self.plan.feeds.iter().filter(|feed| !feed.is_fetched()).cloned().collect();
        let is_file = |summary: &&FeedSummary| files.iter().any(|feed| feed.name == summary.name);
        let header = Header { feeds: lists.header().feeds.iter().filter(is_file).cloned().collect(), ..lists.header().clone() };
        let plan = Plan { feeds: files, ..self.plan.clone() };
        let looked = tokio::task::spawn_blocking(move || needs_building(&plan, Some(&header)) != Need::Nothing);
        looked.await.unwrap_or(true)
    }

    /// Watches the files of the feeds as they are defined now.
    fn watch_files(&mut self) {
        let sender = self.sender.clone();
        // A full queue is being worked on; the watcher looks again in a while whatever happens.
        let wake = move || drop(sender.try_send(Act::Files));
        match Watcher::start(self.plan.feeds.clone(), wake) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => tracing::error!(error = crate::config::causes(&error), "list files are not watched"),
        }
    }

    fn remember(&mut self, meanwhile: Meanwhile) {
        let rows: usize = self.meanwhile.iter().map(|meanwhile| meanwhile.rows.len()).sum();
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
            let (full, delta) =
                (generations::path_of(&self.plan.directory, generation), generations::delta_path(&self.plan.directory, generation));
            full.exists() || delta.exists()
        };
        self.highest = (self.highest + 1..).find(|generation| !is_taken(*generation)).expect("there are more numbers than files");
        self.highest
    }

    /// A plan with a number for what comes of it.
    fn next_plan(&mut self) -> Plan {
        let generation = Some(self.next_generation());
        Plan { generation, ..self.plan.clone() }
    }

    /// Starts what whole lists need, one at a time: a build first, then a fold.
    fn start_child(&mut self) {
        // Who follows gets whole artefacts from who builds.
        if self.child.is_some() || self.follows {
            return;
        }
        if self.again && self.not_before.is_none_or(|at| at <= tokio::time::Instant::now()) {
            (self.again, self.builds, self.not_before) = (false, true, None);
            self.under_way = std::mem::take(&mut self.next);
            let (plan, taxonomy) = (self.next_plan(), self.taxonomy_path.clone());
            self.child = Some(tokio::spawn(async move { Brought::Built(child::build(&plan, &taxonomy, child::Node::Serves).await) }));
            return;
        }
        let lists = self.live.current();
        // Only a build makes room in the table of times; with a delta every minute that is once a month.
        if lists.header().arrivals.len() > ARRIVALS_MAX {
            (self.again, self.plan.force) = (true, true);
        }
        let (overlay, base) = (lists.overlay_size().0, lists.header().names);
        let chain = lists.generation().saturating_sub(lists.base_generation());
        if overlay > FOLD_NAMES_MIN.max(usize::try_from(base / FOLD_PART).unwrap_or(usize::MAX)) || chain > FOLD_CHAIN && overlay > 0 {
            self.builds = false;
            let (directory, generation, taxonomy) = (self.plan.directory.clone(), lists.generation(), self.taxonomy_path.clone());
            self.child = Some(tokio::spawn(async move { Brought::Folded(child::fold(&directory, generation, &taxonomy).await) }));
        }
    }

    /// Applies changed rows to what is live.
    async fn apply(&mut self, changed: &Meanwhile) {
        let began = Instant::now();
        let Some(feed) = self.plan.feeds.iter().find(|feed| feed.name == changed.feed).cloned() else { return };
        let lists = self.live.current();
        match self.propose(&lists, &feed, changed).await {
            Ok(next) => {
                let generation = next.generation();
                self.install(next, began);
                tracing::info!(feed = feed.name, version = changed.version, rows = changed.rows.len(), generation, took = ?began.elapsed(), "changed rows are live");
                self.board.live(&feed.name, &changed.version, generation, Timestamp::now());
            }
            Err(ChangeError::Stopped(stop, proposal)) => {
                self.board.stopped(&feed.name, stop.gate, &stop.detail, Some((&changed.version, proposal.entries)), Timestamp::now());
                let (directory, version) = (self.plan.directory.clone(), changed.version.clone());
                let kept = tokio::task::spawn_blocking(move || {
                    blocklist_loader::review::keep_changes(&directory, &feed, &version, &proposal.changes)
                });
                if let Ok(Err(error)) = kept.await {
                    tracing::warn!(%error, "the refused version could not be kept for review");
                }
            }
            Err(ChangeError::NotContinued) => {
                // The spool has the whole of it; a feed that is refused is not read again with each of its steps.
                let is_held = lists.header().feeds.iter().any(|summary| summary.name == feed.name && summary.held);
                if !is_held {
                    self.again = true;
                    let soon = tokio::time::Instant::now() + REBUILD_AFTER;
                    self.not_before = self.board.refused(&feed.name).map(|_| self.not_before.unwrap_or(soon));
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
    async fn propose(&mut self, lists: &Arc<Blocklist>, feed: &Feed, changed: &Meanwhile) -> Result<Arc<Blocklist>, ChangeError> {
        let generation = self.next_generation();
        let (plan, lists, feed, taxonomy) = (self.plan.clone(), Arc::clone(lists), feed.clone(), Arc::clone(&self.taxonomy));
        let (from, version, rows) = (changed.from.clone(), changed.version.clone(), changed.rows.clone());
        let work = move || {
            let path = generations::delta_path(&plan.directory, generation);
            let changed = Changed { feed: &feed, from: &from, version: &version, rows: &rows };
            let mut delta = changes::propose(&plan, &lists, changed, (generation, &path), Timestamp::now())?.delta;
            delta.write()?;
            Ok(lists.with(&[delta], &taxonomy)?)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(ChangeError::NotContinued))
    }

    /// A build has ended.
    async fn built(&mut self, result: anyhow::Result<Outcome>) {
        self.plan.force = false;
        let meanwhile = std::mem::take(&mut self.meanwhile);
        let result = match result {
            Ok(Outcome::Built(built)) => {
                let refused = built.refused.clone();
                self.adopt(built.written.header.generation, meanwhile).await.map(|()| refused)
            }
            Ok(Outcome::Unchanged { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let error = result.as_ref().err().map(|error| format!("{error:#}"));
        if let Some(error) = &error {
            counter!("ox_protect_list_build_failures_total").increment(1);
            tracing::error!(error, "the lists could not be renewed; the last good generation stays");
        }
        let now = Timestamp::now();
        let refused = result.unwrap_or_default();
        let lists = self.live.current();
        let summaries = &lists.header().feeds;
        for refusal in &refused {
            let summary = summaries.iter().find(|feed| feed.name == refusal.feed);
            let entries = summary.and_then(|feed| feed.refused.as_ref()).map_or(0, |refused| refused.entries);
            self.board.stopped(&refusal.feed, refusal.gate, &refusal.reason, Some((&refusal.version, entries)), now);
        }
        let Waiting { approvals, fetched } = std::mem::take(&mut self.under_way);
        for (feed, reply) in approvals {
            let approved = self.plan.approved.remove(&feed);
            self.plan.released.retain(|released| *released != feed);
            let refusal = refused.iter().find(|refused| refused.feed == feed);
            let result = match (&error, refusal) {
                (Some(error), _) => Err(ActError::Failed(error.clone())),
                // The provider was quicker than the operator.
                (None, Some(refusal)) if approved.as_ref().is_some_and(|approved| *approved != refusal.version) => {
                    Err(ActError::AnotherVersion { waiting: refusal.version.clone() })
                }
                (None, Some(refusal)) => Err(ActError::Failed(refusal.reason.clone())),
                (None, None) => {
                    self.board.say(EventKind::FeedApproved, Some(&feed), lists.generation(), None, now);
                    Ok(())
                }
            };
            let _ = reply.send(result);
        }
        // A build that changed nothing leaves what was refused before it refused.
        let still = summaries.iter().filter_map(|feed| Some(format!("{}: {}", feed.name, feed.refused.as_ref()?.detail)));
        let refusals: Vec<String> = still.collect();
        self.board.set_last_error(error.or_else(|| (!refusals.is_empty()).then(|| refusals.join("; "))));
        for done in fetched {
            let _ = done.send(());
        }
        self.prune().await;
    }

    /// Makes a generation live that was built aside, with the rows that came meanwhile.
    async fn adopt(&mut self, generation: u64, meanwhile: Vec<Meanwhile>) -> anyhow::Result<()> {
        let began = Instant::now();
        let before = self.live.current();
        let mut next = self.open(generation).await?;
        for changed in meanwhile {
            // Rows that the build has read already do not continue what it read.
            if let Some(feed) = self.plan.feeds.iter().find(|feed| feed.name == changed.feed).cloned() {
                match self.propose(&next, &feed, &changed).await {
                    Ok(more) => next = more,
                    Err(ChangeError::NotContinued) => {}
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
        let (generation, names, bytes) = (next.generation(), next.header().names, next.octets());
        let feeds = next.header().feeds.clone();
        self.install(next, began);
        tracing::info!(generation, names, bytes, "new lists are live");
        let now = Timestamp::now();
        for feed in &feeds {
            let was = before.header().feeds.iter().find(|before| before.name == feed.name);
            if feed.held && was.is_some_and(|was| !was.held) {
                self.board.say(EventKind::FeedHeld, Some(&feed.name), generation, None, now);
            }
            if feed.refused.is_none() && was.is_none_or(|was| was.version != feed.version || was.refused.is_some() || was.held != feed.held)
            {
                self.board.live(&feed.name, &feed.version, generation, now);
            }
        }
        Ok(())
    }

    /// Makes lists live, and tells the other nodes.
    pub(super) fn install(&self, next: Arc<Blocklist>, began: Instant) {
        swap::install(&self.live, next, began);
        self.outbox.changed();
    }

    pub(super) async fn open(&self, generation: u64) -> anyhow::Result<Arc<Blocklist>> {
        let (directory, taxonomy) = (self.plan.directory.clone(), Arc::clone(&self.taxonomy));
        let opened = tokio::task::spawn_blocking(move || generations::open(&directory, generation, &taxonomy)).await;
        Ok(opened.context("opening a generation")??)
    }

    /// A fold has ended: the same content, in one artefact.
    async fn folded(&mut self, result: anyhow::Result<()>) {
        let began = Instant::now();
        let generation = self.live.load().generation();
        let opened = match result {
            Ok(()) => self.open(generation).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(next) => {
                tracing::info!(generation, base = next.base_generation(), "the overlay was folded into a new base");
                self.install(next, began);
                self.prune().await;
            }
            Err(error) => tracing::error!(error = format!("{error:#}"), "the overlay could not be folded; it goes on growing"),
        }
    }

    async fn prune(&self) {
        let (directory, keep, live) = (self.plan.directory.clone(), self.keep, self.live.load().generation());
        let pruned = tokio::task::spawn_blocking(move || generations::prune_around(&directory, keep, Some(live))).await;
        if let Ok(Err(error)) = pruned {
            tracing::warn!(%error, "old generations could not be pruned");
        }
    }

    /// Ages, and generations that somebody else put into the folder: the command line, or another node.
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
        let Some(newest) = listed.ok().and_then(Result::ok).and_then(|all| all.first().map(|artefact| artefact.generation)) else { return };
        // Numbers that were given and came to nothing, as those of refused rows, are free for others.
        if newest > self.live.load().generation() && newest != self.passed_over {
            self.highest = self.highest.max(newest);
            let before = self.live.load().generation();
            match self.adopt(newest, Vec::new()).await {
                Ok(()) => {
                    tracing::info!(generation = newest, "a generation from elsewhere is live");
                    // What continues something older than what was live takes that back.
                    if let Some(to) = self.live.current().header().parent.filter(|to| *to < before) {
                        self.outbox.withdraw(to + 1..=before);
                        let detail = format!("generation {to} is live again");
                        self.board.say(EventKind::RolledBack, None, newest, Some(detail), Timestamp::now());
                    }
                }
                Err(error) => {
                    self.passed_over = newest;
                    tracing::error!(error = format!("{error:#}"), generation = newest, "a generation from elsewhere cannot be used");
                }
            }
        }
    }

    /// Refusals that a restart finds in what is live.
    fn tell_of_refusals(&self, feeds: &[FeedSummary]) {
        for feed in feeds {
            if let Some(refused) = &feed.refused
                && let Ok(gate) = serde_json::from_value(refused.gate.clone().into())
            {
                self.board.stopped(&feed.name, gate, &refused.detail, Some((&refused.version, refused.entries)), refused.at);
            }
        }
    }

    /// Puts the feeds on the board.
    pub fn define_all(board: &Board, plan: &Plan, of_api: &[String]) {
        for feed in &plan.feeds {
            board.define(feed, if of_api.contains(&feed.name) { Origin::Api } else { Origin::Config });
        }
    }
}
