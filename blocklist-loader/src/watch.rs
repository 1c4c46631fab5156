//! Detects that a local source may have changed and calls back. The caller finds out whether it
//! did.
//!
//! ```text
//! watch every folder -> fingerprint all sources -> differs? call back -> wait for an event or the next rescan
//!        ^                                                                   |
//!        '--------------- wait until no event comes for 250 ms <-------------'
//! ```
//!
//! Events only trigger a look: which files are sources, and whether one changed, is read from the
//! file system after all watches are renewed. So a folder that is deleted, recreated or missing
//! needs no special case, lost events cost at most one rescan interval, and changes of neighbouring
//! files only wake this thread.

use std::{
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use notify::{EventKind, RecursiveMode, Watcher as _, event::AccessKind, event::AccessMode};

use crate::{
    feed::{Feed, Format},
    source::fingerprint,
};

/// A writer counts as finished when no event comes for this long.
const QUIET: Duration = Duration::from_millis(250);
/// The longest wait for a writer that does not pause.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often all sources are examined without an event: network file systems send none, and full
/// queues lose some.
const RESCAN: Duration = Duration::from_secs(60);

/// Watches until it is dropped. Uses one thread.
#[derive(Debug)]
pub struct Watcher {
    wake: Sender<Wake>,
    thread: Option<JoinHandle<()>>,
}

enum Wake {
    Event,
    Stop,
}

impl Watcher {
    /// Watches the sources of these feeds. `changed` is called on the watcher's thread: once at the
    /// start, because earlier changes are unknown, and then each time a source may have changed.
    ///
    /// # Errors
    /// The thread cannot be started. Missing events are only logged, because rescans continue
    /// without them.
    pub fn start(feeds: Vec<Feed>, changed: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let (wake, woken) = channel();
        let events = wake.clone();
        let watch = move || watch(&feeds, &events, &woken, changed);
        let thread = std::thread::Builder::new()
            .name("list-watcher".to_owned())
            .spawn(watch)?;
        Ok(Self {
            wake,
            thread: Some(thread),
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Neither error matters: a finished thread needs no stop.
        let _ = self.wake.send(Wake::Stop);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn watch(feeds: &[Feed], events: &Sender<Wake>, woken: &Receiver<Wake>, mut changed: impl FnMut()) {
    // The fetchers report changes of remote sources themselves.
    let feeds: Vec<Feed> = feeds
        .iter()
        .filter(|feed| !feed.is_fetched())
        .cloned()
        .collect();
    let fingerprint = |feed| fingerprint(feed, Path::new(""));
    let mut seen = None;
    loop {
        let armed = arm(&feeds, events);
        let seen_now = Some(feeds.iter().map(fingerprint).collect::<Vec<_>>());
        if seen != seen_now {
            seen = seen_now;
            changed();
        }
        match woken.recv_timeout(RESCAN) {
            Ok(Wake::Event) if wait_for_quiet(woken) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        drop(armed);
    }
}

/// Waits until events pause. Returns false if the watcher must stop.
fn wait_for_quiet(woken: &Receiver<Wake>) -> bool {
    let begun = Instant::now();
    loop {
        match woken.recv_timeout(QUIET.min(QUIET_WAIT_MAX.saturating_sub(begun.elapsed()))) {
            Ok(Wake::Event) if begun.elapsed() < QUIET_WAIT_MAX => {}
            Ok(Wake::Event) | Err(RecvTimeoutError::Timeout) => return true,
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

/// Watches all folders of all sources as they are now.
fn arm(feeds: &[Feed], events: &Sender<Wake>) -> Option<notify::RecommendedWatcher> {
    let events = events.clone();
    let handler = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| is_only_reading(event.kind)) {
            return;
        }
        // The receiver is gone only while the watcher is dropped.
        let _ = events.send(Wake::Event);
    };
    let mut armed = notify::recommended_watcher(handler)
        .inspect_err(|error| tracing::warn!(%error, "no file system events for list files; they are checked every {} s", RESCAN.as_secs()))
        .ok()?;
    for (folder, mode) in folders(feeds) {
        if let Err(error) = armed.watch(&folder, mode) {
            tracing::warn!(%error, folder = %folder.display(), "no file system events for a folder of lists; it is checked every {} s", RESCAN.as_secs());
        }
    }
    Some(armed)
}

/// Reading a source must not count as a change.
fn is_only_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

/// The folders to watch: sources that are folders, the parents of sources, and the parents of
/// symbolic links on the way to them. For a missing folder, its nearest existing ancestor.
fn folders(feeds: &[Feed]) -> Vec<(PathBuf, RecursiveMode)> {
    let mut folders = Vec::new();
    for feed in feeds {
        let source = Path::new(&feed.source);
        if source.is_dir() {
            let is_deep = feed.format == Format::Squidguard;
            folders.push((
                source.to_owned(),
                if is_deep {
                    RecursiveMode::Recursive
                } else {
                    RecursiveMode::NonRecursive
                },
            ));
        }
        let far_end = source.canonicalize().unwrap_or_else(|_| source.to_owned());
        let links = source.ancestors().filter(|path| path.is_symlink());
        for path in [source, &far_end].into_iter().chain(links) {
            folders
                .extend(nearest_holder(path).map(|folder| (folder, RecursiveMode::NonRecursive)));
        }
    }
    // A folder that is wanted in both modes is watched recursively.
    folders.sort_by_key(|(path, mode)| (path.clone(), *mode == RecursiveMode::NonRecursive));
    folders.dedup_by(|a, b| a.0 == b.0);
    folders
}

/// The parent of this path, or the nearest existing folder above it.
fn nearest_holder(path: &Path) -> Option<PathBuf> {
    let holders = path.ancestors().skip(1).map(|folder| {
        if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        }
    });
    holders
        .into_iter()
        .find(|folder| folder.is_dir())
        .map(Path::to_owned)
}
