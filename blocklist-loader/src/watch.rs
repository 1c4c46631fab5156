//! Notices that a source may have changed, and says so; whether it did and what follows is not
//! decided here.
//!
//! ```text
//! arm every folder -> look at all sources -> differs? say so -> sleep until an event or the next rescan
//!        ^                                                            |
//!        '-------------- wait until it is quiet <---------------------'
//! ```
//!
//! Events only say when to look: which files are sources, and whether one changed, is read off the
//! file system after all folders are armed anew. So a folder that was deleted, made again or is not
//! there yet needs no case of its own, events that were lost cost at most a rescan, and a neighbour
//! of a source wakes nobody but this thread.

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

/// Without an event for so long, a writer is taken to have finished.
const QUIET: Duration = Duration::from_millis(250);
/// A writer that never pauses is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often all sources are looked at without any event: network file systems send none, full
/// queues lose some.
const RESCAN: Duration = Duration::from_secs(60);

/// Watches until it is dropped. One thread.
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
    /// start, because what happened before is unknown, and then each time a source may have
    /// changed.
    ///
    /// # Errors
    /// The system gave no thread. Without events there are still rescans, so that is no error but a
    /// log line.
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
        // Neither can fail in a way that matters: a thread that is gone needs no stopping.
        let _ = self.wake.send(Wake::Stop);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn watch(feeds: &[Feed], events: &Sender<Wake>, woken: &Receiver<Wake>, mut changed: impl FnMut()) {
    // What is fetched is told of by whoever fetches it.
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

/// Waits until a stream of events pauses. False if the watcher shall stop.
fn wait_for_quiet(woken: &Receiver<Wake>) -> bool {
    let begun = Instant::now();
    loop {
        match woken.recv_timeout(QUIET.min(PATIENCE.saturating_sub(begun.elapsed()))) {
            Ok(Wake::Event) if begun.elapsed() < PATIENCE => {}
            Ok(Wake::Event) | Err(RecvTimeoutError::Timeout) => return true,
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

/// Asks the system for events on all folders of all sources, as they are at this moment.
fn arm(feeds: &[Feed], events: &Sender<Wake>) -> Option<notify::RecommendedWatcher> {
    let events = events.clone();
    let handler = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| is_only_reading(event.kind)) {
            return;
        }
        // Nobody listens any more only when the watcher is being dropped.
        let _ = events.send(Wake::Event);
    };
    let mut armed = notify::recommended_watcher(handler)
        .inspect_err(|error| tracing::warn!(%error, "no events for list files; they are looked at every {} s", RESCAN.as_secs()))
        .ok()?;
    for (folder, mode) in folders(feeds) {
        if let Err(error) = armed.watch(&folder, mode) {
            tracing::warn!(%error, folder = %folder.display(), "no events for a folder of lists; it is looked at every {} s", RESCAN.as_secs());
        }
    }
    Some(armed)
}

/// Our own reading of a source must not look like a change of it.
fn is_only_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

/// The folders to watch: those that are sources, those that hold one, and those that hold a
/// symbolic link on the way to one. Of what is not there, the nearest ancestor that is.
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
    // A folder that is wanted in both ways is watched in the one that sees more.
    folders.sort_by_key(|(path, mode)| (path.clone(), *mode == RecursiveMode::NonRecursive));
    folders.dedup_by(|a, b| a.0 == b.0);
    folders
}

/// The folder that holds this path, or the nearest one above it that exists.
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
