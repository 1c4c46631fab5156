//! Opens the stores of a node, locks them, and decides whether this is the node's first start.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use blocklist_loader::newest;
use control::{causes, disk};
use metrics::{describe_gauge, gauge};
use policy_store::{ActivityStore, Findings, Lock, Store, StorePaths};

use crate::config::Checked;

/// A file in the folder of the lists. It says that a command built them before the first start, so
/// they do not prove that there was a store.
const BUILT_AHEAD: &str = "built-before-first-start";

/// The stores of a daemon.
pub struct Stores {
    /// Households, keys and mandates.
    pub store: Store,
    /// Faults of its audit, found when it was opened.
    pub findings: Findings,
    /// The activity of households. `None` if its file cannot be opened: everything else works
    /// without it.
    pub activity: Option<Arc<ActivityStore>>,
    /// Held until the daemon ends.
    _locks: Vec<Lock>,
}

/// The store and the folder that belongs to it.
pub fn home(checked: &Checked) -> StorePaths<'_> {
    StorePaths {
        url: &checked.config.store.url,
        lists: &checked.config.lists.directory,
    }
}

/// The folders in which a node writes, each with what it holds.
pub fn folders(checked: &Checked) -> disk::Folders {
    let config = &checked.config;
    let folder = |url: &str| {
        let file = file_of(url);
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new(".")).to_owned()
    };
    vec![
        ("store", folder(&config.store.url)),
        ("history", folder(&config.history.url)),
        ("lists", config.lists.directory.clone()),
    ]
}

/// Opens the stores for a daemon. `is_new` lets a node that lost its store begin with an empty one.
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

async fn open_activity(checked: &Checked, locks: &mut Vec<Lock>) -> Option<Arc<ActivityStore>> {
    let url = &checked.config.history.url;
    let file = file_of(url);
    if fs::metadata(&file).is_ok_and(|file| file.len() == 0) {
        tracing::warn!(
            path = %file.display(),
            "the file of households' activity is empty: counts that it had are gone"
        );
    }
    describe_gauge!(
        "ox_protect_history_available",
        "0 when the file of households' activity could not be opened"
    );
    let opened = async {
        locks.push(Lock::take(url)?);
        ActivityStore::open(url).await
    };
    let opened = opened.await;
    gauge!("ox_protect_history_available").set(f64::from(u8::from(opened.is_ok())));
    let said = "households' activity cannot be opened; nothing is counted until the program starts with a file that can be (history.url)";
    opened
        .inspect_err(|error| tracing::error!(error = causes(error), "{said}"))
        .ok()
        .map(Arc::new)
}

/// A process of root can read every file, and so can an attacker who takes it over. It is allowed,
/// because containers run as root.
fn warn_of_root() {
    if rustix::process::geteuid().is_root() {
        tracing::warn!(
            "running as root: give the service a user of its own, and ports below 1024 by CAP_NET_BIND_SERVICE"
        );
    }
}

/// A generation of the lists that a daemon left in the folder: it proves that there was a store.
fn built_lists(checked: &Checked) -> anyhow::Result<Option<PathBuf>> {
    let directory = &checked.config.lists.directory;
    if directory.join(BUILT_AHEAD).exists() {
        return Ok(None);
    }
    let kept = newest(directory).with_context(|| format!("listing {}", directory.display()))?;
    Ok(kept.into_iter().next().map(|artefact| artefact.path))
}

/// Whether there is no trace of an earlier start.
pub fn is_before_first_start(checked: &Checked) -> anyhow::Result<bool> {
    Ok(built_lists(checked)?.is_none() && !Store::is_there(&checked.config.store.url))
}

/// Notes that a command built the lists before the first start.
pub fn note_built_ahead(checked: &Checked) -> anyhow::Result<()> {
    let path = checked.config.lists.directory.join(BUILT_AHEAD);
    let text = "These lists were built before `ox-protect serve` ran for the first time; it removes this file.\n";
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

fn file_of(url: &str) -> PathBuf {
    url.strip_prefix("sqlite:").unwrap_or(url).into()
}
