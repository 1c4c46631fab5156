//! The stores of a node at its start: whether this is the node's first start, which process has
//! them, and that they are opened.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use blocklist_loader::newest;
use control::causes;
use metrics::gauge;
use policy_store::{Activity, Findings, Home, Lock, Store};

use crate::config::Checked;

/// In the folder of the lists: they were built by a command before the first start, so they do not
/// show that there was a store.
const BUILT_AHEAD: &str = "built-before-first-start";

/// The stores of a daemon.
pub struct Stores {
    /// Households, keys, orders.
    pub store: Store,
    /// What does not fit in its audit.
    pub findings: Findings,
    /// The file of what households want counted. Without it everything else goes on: no count is
    /// worth an answer.
    pub activity: Option<Arc<Activity>>,
    /// Held as long as the daemon lives.
    _locks: Vec<Lock>,
}

/// Where this node keeps what belongs to its store.
pub fn home(checked: &Checked) -> Home<'_> {
    Home {
        url: &checked.config.store.url,
        lists: &checked.config.lists.directory,
    }
}

/// Opens the stores for a daemon; `is_new` lets a node begin anew that lost its store.
pub async fn open(checked: &Checked, is_new: bool) -> anyhow::Result<Stores> {
    warn_of_root();
    let mut locks = vec![Lock::take(&checked.config.store.url)?];
    let history = file_of(&checked.config.history.url);
    let lists = built_lists(checked)?;
    let evidence: Vec<&Path> = lists
        .as_deref()
        .into_iter()
        .chain([history.as_path()])
        .collect();
    let (store, findings) = Store::serve(&home(checked), is_new, &evidence).await?;
    let _only_needed_until_now = fs::remove_file(checked.config.lists.directory.join(BUILT_AHEAD));
    let activity = open_activity(checked, &mut locks).await;
    Ok(Stores {
        store,
        findings,
        activity,
        _locks: locks,
    })
}

async fn open_activity(checked: &Checked, locks: &mut Vec<Lock>) -> Option<Arc<Activity>> {
    let url = &checked.config.history.url;
    let opened = async {
        locks.push(Lock::take(url)?);
        Activity::open(url).await
    };
    let opened = opened.await;
    gauge!("ox_protect_history_available").set(f64::from(u8::from(opened.is_ok())));
    let said = "households' activity cannot be opened; nothing is counted until the program starts with a file that can be (history.url)";
    opened
        .inspect_err(|error| tracing::error!(error = causes(error), "{said}"))
        .ok()
        .map(Arc::new)
}

/// Root can read every file of the machine, and so can what takes over a process of root.
/// Containers run as root, so it is allowed.
fn warn_of_root() {
    if rustix::process::geteuid().is_root() {
        tracing::warn!(
            "running as root: give the service a user of its own, and ports below 1024 by CAP_NET_BIND_SERVICE"
        );
    }
}

/// A generation of lists that a daemon has left in the folder, which shows that it had a store.
fn built_lists(checked: &Checked) -> anyhow::Result<Option<PathBuf>> {
    let directory = &checked.config.lists.directory;
    if directory.join(BUILT_AHEAD).exists() {
        return Ok(None);
    }
    let kept = newest(directory).with_context(|| format!("listing {}", directory.display()))?;
    Ok(kept.into_iter().next().map(|artefact| artefact.path))
}

/// Whether nothing shows that this node ever had a store.
pub fn is_before_first_start(checked: &Checked) -> anyhow::Result<bool> {
    Ok(built_lists(checked)?.is_none() && !Store::is_there(&checked.config.store.url))
}

/// Notes that the lists in the folder were built by a command, before the first start.
pub fn note_built_ahead(checked: &Checked) -> anyhow::Result<()> {
    let path = checked.config.lists.directory.join(BUILT_AHEAD);
    let text = "These lists were built before `ox-protect serve` ran for the first time; it removes this file.\n";
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

fn file_of(url: &str) -> PathBuf {
    url.strip_prefix("sqlite:").unwrap_or(url).into()
}
