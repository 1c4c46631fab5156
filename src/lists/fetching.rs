//! Asking providers: a task for each feed that is fetched, which goes on whatever happens to the others.

use std::{
    collections::HashMap,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use blocklist_loader::{Feed, FetchError, Fetched, Fetcher, Gate, Plan};
use jiff::Timestamp;
use policy::name::Name;
use rand::Rng;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
};

use super::{Act, board::Board};

/// Between two times that a source is asked, however often somebody says that it has changed.
const APART_MIN: Duration = Duration::from_millis(200);
/// After a failure the next attempt comes after this, doubled each time, or after the feed's interval if that is longer.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Beyond this the wait is not doubled any more.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// The same where our own disk refused: what stood in the way is gone when somebody makes room, and a provider is asked again only then.
const DISK_RETRY_MAX: Duration = Duration::from_secs(30);

/// Who is to be woken by whose NOTIFY.
#[derive(Default)]
pub struct Wakes(Mutex<HashMap<String, Wake>>);

struct Wake {
    zone: Option<Name>,
    /// Where its NOTIFYs come from; none where the source is a name, whose addresses may change.
    primary: Option<IpAddr>,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Wakes {
    /// Has a feed asked now. False where it is not one that is asked.
    pub fn wake(&self, feed: &str) -> bool {
        self.wakes().get(feed).inspect(|wake| wake.wake.notify_one()).is_some()
    }

    /// Somebody says that a zone has changed (RFC 1996). A primary at an address is believed there only (section 3.10); it is a hint all
    /// the same, for what follows is asked of the configured primary. Hints that come together are one.
    pub fn notified(&self, zone: &Name, peer: IpAddr) -> bool {
        let mut is_ours = false;
        let is_from = |wake: &&Wake| wake.primary.is_none_or(|primary| primary == peer.to_canonical());
        for wake in self.wakes().values().filter(|wake| wake.zone.as_ref() == Some(zone)).filter(is_from) {
            wake.wake.notify_one();
            is_ours = true;
        }
        is_ours
    }

    /// Asks a feed from now on, in place of what was asked under its name.
    ///
    /// `first` is told when it was asked once, whatever came of that.
    pub fn start(&self, feed: &Feed, plan: &Plan, acts: &mpsc::Sender<Act>, board: &Arc<Board>, first: Option<oneshot::Sender<()>>) {
        self.stop(&feed.name);
        if !feed.is_fetched() {
            return;
        }
        let wake = Arc::new(Notify::new());
        // A zone is the last part of its source; a definition without one was refused.
        let (host, zone) = feed.source.strip_prefix("rpz://").and_then(|rest| rest.split_once('/')).unwrap_or_default();
        let zone = Name::parse(zone).ok();
        let address = || host.parse::<std::net::SocketAddr>().map(|address| address.ip()).or_else(|_| host.parse());
        let primary = address().ok().map(|address: IpAddr| address.to_canonical());
        let following = Following {
            feed: feed.clone(),
            directory: plan.directory.clone(),
            wake: Arc::clone(&wake),
            acts: acts.clone(),
            board: Arc::clone(board),
        };
        let task = tokio::spawn(following.follow(first));
        self.wakes().insert(feed.name.clone(), Wake { zone, primary, wake, task });
    }

    /// Asks a feed no longer.
    pub fn stop(&self, feed: &str) {
        if let Some(wake) = self.wakes().remove(feed) {
            wake.task.abort();
        }
    }

    fn wakes(&self) -> std::sync::MutexGuard<'_, HashMap<String, Wake>> {
        self.0.lock().expect("nothing panics while it holds the wakes")
    }
}

/// The asking of one feed.
struct Following {
    feed: Feed,
    directory: PathBuf,
    wake: Arc<Notify>,
    acts: mpsc::Sender<Act>,
    board: Arc<Board>,
}

impl Following {
    /// Asks for ever.
    async fn follow(self, mut first: Option<oneshot::Sender<()>>) {
        let Self { feed, board, .. } = &self;
        let mut fetcher = None;
        let mut failures = 0;
        loop {
            let began = tokio::time::Instant::now();
            let result = fetch(feed, &self.directory, &mut fetcher).await;
            failures = if result.is_ok() { 0 } else { failures + 1 };
            let is_of_disk = result.as_ref().is_err_and(|error| error.gate == Gate::Disk);
            let wait = match &result {
                Ok(_) => fetcher.as_ref().and_then(Fetcher::interval).or_else(|| feed.interval()).unwrap_or(RETRY_MAX),
                Err(_) => feed
                    .interval()
                    .unwrap_or(RETRY_MIN)
                    .min(RETRY_MAX)
                    .max(RETRY_MIN * 2_u32.saturating_pow(failures.min(8)))
                    .min(RETRY_MAX),
            };
            let has_changed = !matches!(result, Ok(Fetched::Unchanged) | Err(_));
            match &result {
                Ok(_) => board.fetched(&feed.name, Timestamp::now()),
                Err(error) => board.stopped(&feed.name, error.gate, &crate::config::causes(error), None, Timestamp::now()),
            }
            if let Some(first) = first.take() {
                let _ = first.send(());
            }
            if let Ok(fetched @ (Fetched::Replaced { .. } | Fetched::Changed { .. })) = result {
                // The next version is fetched when this one has been dealt with: rows continue what is live.
                let (done, is_done) = oneshot::channel();
                if self.acts.send(Act::Fetched { feed: feed.name.clone(), fetched, done }).await.is_err() {
                    return;
                }
                let _ = is_done.await;
            }
            if has_changed
                && let Some(fetcher) = &mut fetcher
                && let Err(error) = fetcher.tidy().await
            {
                tracing::warn!(feed = feed.name, error = crate::config::causes(&error), "the spool could not be tidied");
            }
            if is_of_disk {
                self.wait_for_room(fetcher.as_ref(), wait).await;
            } else {
                // A tenth more or less, so that nodes that started together do not ask together.
                let wait = wait.mul_f64(rand::rng().random_range(0.95..1.05));
                let _ = tokio::time::timeout(wait, self.wake.notified()).await;
            }
            tokio::time::sleep_until(began + APART_MIN).await;
        }
    }

    /// Waits until the disk takes as much again as it refused, and looks ever less often; an operator who refreshes the feed has it asked
    /// at once.
    async fn wait_for_room(&self, fetcher: Option<&Fetcher>, most: Duration) {
        let mut wait = RETRY_MIN;
        loop {
            if tokio::time::timeout(wait.min(most), self.wake.notified()).await.is_ok() {
                return;
            }
            match fetcher {
                Some(fetcher) if !fetcher.has_room().await => wait = (wait * 2).min(DISK_RETRY_MAX),
                // Opening the spool asks nobody, and says whether it can be.
                _ => return,
            }
        }
    }
}

async fn fetch(feed: &Feed, directory: &std::path::Path, fetcher: &mut Option<Fetcher>) -> Result<Fetched, FetchError> {
    if fetcher.is_none() {
        let (feed, directory) = (feed.clone(), directory.to_owned());
        let opened = tokio::task::spawn_blocking(move || Fetcher::new(&feed, &directory)).await;
        *fetcher = Some(opened.map_err(|error| FetchError { gate: Gate::Disk, detail: error.to_string(), source: None })??);
    }
    match fetcher {
        Some(fetcher) => fetcher.fetch().await,
        None => Ok(Fetched::Unchanged),
    }
}
