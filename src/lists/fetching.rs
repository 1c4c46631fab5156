//! Asking providers: a task for each feed that is fetched, which goes on whatever happens to the others.

use std::{
    collections::HashMap,
    net::IpAddr,
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

/// How long the start of a node waits for a feed of which nothing is there yet.
const FIRST_FETCH_MAX: Duration = Duration::from_secs(30);
/// Between two times that a source is asked, however often somebody says that it has changed.
const APART_MIN: Duration = Duration::from_millis(200);
/// After a failure the next attempt comes after this, doubled each time, or after the feed's interval if that is longer.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Beyond this the wait is not doubled any more.
const RETRY_MAX: Duration = Duration::from_secs(300);

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

    /// Has all feeds asked now; says how many these are.
    pub fn wake_all(&self) -> usize {
        self.wakes().values().inspect(|wake| wake.wake.notify_one()).count()
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
    pub fn start(&self, feed: &Feed, plan: &Plan, acts: &mpsc::Sender<Act>, board: &Arc<Board>) {
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
        let follow = follow(feed.clone(), plan.directory.clone(), Arc::clone(&wake), acts.clone(), Arc::clone(board));
        let task = tokio::spawn(follow);
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

/// Asks one feed for ever.
async fn follow(feed: Feed, directory: std::path::PathBuf, wake: Arc<Notify>, acts: mpsc::Sender<Act>, board: Arc<Board>) {
    let mut fetcher = None;
    let mut failures = 0;
    loop {
        let began = tokio::time::Instant::now();
        let result = fetch(&feed, &directory, &mut fetcher).await;
        failures = if result.is_ok() { 0 } else { failures + 1 };
        let wait = match &result {
            Ok(_) => fetcher.as_ref().and_then(Fetcher::interval).or_else(|| feed.interval()).unwrap_or(RETRY_MAX),
            Err(_) => {
                feed.interval().unwrap_or(RETRY_MIN).min(RETRY_MAX).max(RETRY_MIN * 2_u32.saturating_pow(failures.min(8))).min(RETRY_MAX)
            }
        };
        let has_changed = !matches!(result, Ok(Fetched::Unchanged) | Err(_));
        match result {
            Ok(Fetched::Unchanged) => board.fetched(&feed.name, Timestamp::now()),
            Ok(fetched) => {
                board.fetched(&feed.name, Timestamp::now());
                // The next version is fetched when this one has been dealt with: rows continue what is live.
                let (done, is_done) = oneshot::channel();
                if acts.send(Act::Fetched { feed: feed.name.clone(), fetched, done }).await.is_err() {
                    return;
                }
                let _ = is_done.await;
            }
            Err(error) => board.stopped(&feed.name, error.gate, &crate::config::causes(&error), None, Timestamp::now()),
        }
        if has_changed
            && let Some(fetcher) = &mut fetcher
            && let Err(error) = fetcher.tidy().await
        {
            tracing::warn!(feed = feed.name, error = crate::config::causes(&error), "the spool could not be tidied");
        }
        // A tenth more or less, so that nodes that started together do not ask together.
        let wait = wait.mul_f64(rand::rng().random_range(0.95..1.05));
        let _ = tokio::time::timeout(wait, wake.notified()).await;
        tokio::time::sleep_until(began + APART_MIN).await;
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

/// Asks every feed of which nothing is there yet, all at once, and waits for a while: the first lists of a node shall not be empty
/// because its first build was quicker than its providers.
pub async fn fetch_first(plan: &Plan, board: &Board) {
    let asked = plan.feeds.iter().filter(|feed| feed.is_fetched()).map(|feed| async move {
        let result = tokio::time::timeout(FIRST_FETCH_MAX, fetch(feed, &plan.directory, &mut None)).await;
        match result {
            Ok(Ok(_)) => board.fetched(&feed.name, Timestamp::now()),
            Ok(Err(error)) => board.stopped(&feed.name, error.gate, &crate::config::causes(&error), None, Timestamp::now()),
            Err(_) => {
                let detail = format!("its source did not answer within {FIRST_FETCH_MAX:?}; the node starts without it");
                board.stopped(&feed.name, Gate::Time, &detail, None, Timestamp::now());
            }
        }
    });
    futures_util::future::join_all(asked).await;
}
