//! The lists of a running node: opened at the start, built by a child process, swapped in by one pointer.
//!
//! ```text
//! a file changed -> child: `lists build` -> artefact -> open and verify -> swap -> prune
//! ```
//!
//! The build runs in a process of its own, in the scheduler's idle class: the resolver's memory never sees it, and when it ends, by
//! whatever cause, all it took is given back. A step that fails leaves the generation in use, and says so.

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use blocklist_loader::{Need, Outcome, Plan, RefusedFeed, Watcher, needs_building, newest, prune};
use metrics::{counter, gauge};
use policy::{blocklist::Blocklist, category::Taxonomy, live::LiveLists};
use tokio::{io::AsyncWriteExt, sync::Notify};

use crate::config::causes;

/// How much lower the priority of a build is than the resolver's: the most there is.
const BUILD_NICENESS: &str = "19";

/// How long a build may take in the idle class before it is let into the ordinary one, where it gets its share of a busy core.
const IDLE_CLASS_MAX: Duration = Duration::from_secs(60);

/// How often it is looked whether somebody still holds a generation that is no longer in use.
const RETIRE_AFTER: Duration = Duration::from_millis(100);

/// The lists of this node and how they are renewed.
pub struct Keeper {
    plan: Plan,
    keep: usize,
    taxonomy_path: std::path::PathBuf,
    taxonomy: Arc<Taxonomy>,
    /// The lists in use.
    pub live: Arc<LiveLists>,
    /// Why the last build went wrong, if it did.
    pub last_error: Arc<Mutex<Option<String>>>,
}

/// The newest artefact that can be read; those that cannot are named in the log.
pub fn open_newest(directory: &Path, taxonomy: &Taxonomy) -> anyhow::Result<Option<Arc<Blocklist>>> {
    for artefact in newest(directory).with_context(|| format!("listing {}", directory.display()))? {
        match Blocklist::open(&artefact.path, taxonomy) {
            Ok(lists) => return Ok(Some(lists)),
            Err(error) => tracing::error!(error = causes(&error), "an artefact cannot be used; the one before is tried"),
        }
    }
    Ok(None)
}

impl Keeper {
    /// Opens the newest artefact. Where there is none, or the feeds are defined otherwise by now, builds first: a query is
    /// never answered before its lists are there.
    pub async fn start(plan: Plan, keep: usize, taxonomy_path: std::path::PathBuf, taxonomy: Arc<Taxonomy>) -> anyhow::Result<Self> {
        let newest = open_newest(&plan.directory, &taxonomy)?;
        let needs_build = needs_building(&plan, newest.as_deref().map(Blocklist::header)) == Need::Definitions;
        let first = newest.unwrap_or_else(|| Arc::new(Blocklist::empty()));
        let live = Arc::new(LiveLists::new(first));
        let keeper = Self { plan, keep, taxonomy_path, taxonomy, live, last_error: Arc::default() };
        if needs_build {
            keeper.renew().await;
        } else {
            keeper.show_live();
        }
        // Generation 0 is no lists at all: whoever answered under it would let everything through.
        if keeper.live.load().generation() == 0 {
            let error = keeper.last_error.lock().expect("nothing panics while it holds the lock").clone();
            bail!("there are no lists to answer under: {}", error.unwrap_or_default());
        }
        Ok(keeper)
    }

    /// Renews the lists whenever a source changes, until the process ends.
    pub async fn watch(self: Arc<Self>) -> anyhow::Result<()> {
        let changed = Arc::new(Notify::new());
        let wake = Arc::clone(&changed);
        let _watcher = Watcher::start(self.plan.feeds.clone(), move || wake.notify_one()).context("watching the lists")?;
        loop {
            changed.notified().await;
            self.renew().await;
        }
    }

    /// Builds, verifies and swaps. Whatever goes wrong is logged, counted and shown, and changes nothing in use.
    async fn renew(&self) {
        let result = self.build_and_swap().await;
        let error = result.as_ref().err().map(|error| format!("{error:#}"));
        if let Some(error) = &error {
            counter!("ox_protect_list_build_failures_total").increment(1);
            tracing::error!(error, "the lists could not be renewed; the last good generation stays");
        }
        let refused = result.unwrap_or_default();
        for RefusedFeed { feed, reason, carried, .. } in &refused {
            tracing::error!(feed, reason, carried, "a feed was refused; it goes on with the entries it had");
        }
        let refusals: Vec<String> = refused.iter().map(|refused| format!("{}: {}", refused.feed, refused.reason)).collect();
        let all = error.or_else(|| (!refusals.is_empty()).then(|| refusals.join("; ")));
        *self.last_error.lock().expect("nothing panics while it holds the lock") = all;
        self.show_live();
    }

    async fn build_and_swap(&self) -> anyhow::Result<Vec<RefusedFeed>> {
        let Outcome::Built(built) = self.build_in_child().await? else {
            return Ok(Vec::new());
        };
        let (path, taxonomy, began) = (built.written.path.clone(), Arc::clone(&self.taxonomy), Instant::now());
        let next = tokio::task::spawn_blocking(move || Blocklist::open(&path, &taxonomy)).await.context("opening the new generation")??;
        let (generation, names) = (next.generation(), next.header().names);
        let before = self.live.install(next);
        self.live.record_swap(began.elapsed());
        tracing::info!(generation, names, bytes = built.written.octets, "new lists are live");
        tokio::spawn(retire(before));
        prune(&self.plan.directory, self.keep).context("pruning old generations")?;
        Ok(built.refused)
    }

    /// Runs `lists build` as a child with this plan on its standard input.
    async fn build_in_child(&self) -> anyhow::Result<Outcome> {
        let program = std::env::current_exe().context("finding this program")?;
        let spawn = |launcher: &str, arguments: &[&str]| {
            let mut command = tokio::process::Command::new(launcher);
            command.args(arguments).arg(&program).args(["lists", "build", "--plan", "-", "--json"]);
            if !self.taxonomy_path.as_os_str().is_empty() {
                command.arg("--taxonomy").arg(&self.taxonomy_path);
            }
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()
        };
        let niceness = ["-n", BUILD_NICENESS];
        // In the idle class a build gives way to a worker the moment that one has a packet; a nice process ends its slice first.
        let child = match spawn("chrt", &["--idle", "0", "nice", niceness[0], niceness[1]]) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => spawn("nice", &niceness),
            child => child,
        };
        let mut child = child.context("starting a build")?;
        let plan = serde_json::to_vec(&self.plan).context("writing the plan")?;
        // A child that fails early closes its end; its own complaint below says more than a broken pipe.
        let _ = child.stdin.take().context("the child has a standard input")?.write_all(&plan).await;
        let id = child.id();
        let end = child.wait_with_output();
        tokio::pin!(end);
        let output = match tokio::time::timeout(IDLE_CLASS_MAX, &mut end).await {
            Ok(output) => output,
            // A node without an idle moment must not keep yesterday's lists for ever.
            Err(_) => {
                leave_idle_class(id).await;
                end.await
            }
        };
        let output = output.context("waiting for a build")?;
        if !output.status.success() {
            bail!("the build ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("reading what the build said")
    }

    /// What is live, as gauges.
    fn show_live(&self) {
        let lists = self.live.current();
        let header = lists.header();
        let count = |value: u64| value as f64;
        gauge!("ox_protect_list_generation").set(count(header.generation));
        gauge!("ox_protect_list_names").set(count(header.names));
        gauge!("ox_protect_list_entries").set(count(header.entries));
        gauge!("ox_protect_list_bytes").set(lists.octets() as f64);
        gauge!("ox_protect_list_built_timestamp_seconds").set(header.built_at.as_second() as f64);
        for feed in &header.feeds {
            let name = feed.name.clone();
            gauge!("ox_protect_feed_entries", "feed" => name.clone()).set(count(feed.report.entries));
            gauge!("ox_protect_feed_bad_lines", "feed" => name.clone()).set(count(feed.report.bad));
            gauge!("ox_protect_feed_refused", "feed" => name).set(f64::from(u8::from(feed.refused.is_some())));
        }
    }
}

/// Lets a build into the ordinary class, at the lowest priority there.
async fn leave_idle_class(id: Option<u32>) {
    let Some(id) = id else { return };
    tracing::warn!("a build of the lists has had no idle core for {IDLE_CLASS_MAX:?}; from now on it takes its share of busy ones");
    let moved = tokio::process::Command::new("chrt").args(["--other", "--pid", "0", &id.to_string()]).status().await;
    if !moved.is_ok_and(|status| status.success()) {
        tracing::warn!("the scheduler refuses; the build goes on when a core is idle");
    }
}

/// Frees a generation where nobody waits. Whoever holds it last frees it, tens of megabytes of it; that must not be a worker in
/// the middle of a batch, so this waits until nobody else is left.
async fn retire(generation: Arc<Blocklist>) {
    while Arc::strong_count(&generation) > 1 {
        tokio::time::sleep(RETIRE_AFTER).await;
    }
    let _ = tokio::task::spawn_blocking(move || drop(generation)).await;
}
