//! Fetches feeds from their providers: one task for each feed, independent of the others.

use std::{
    collections::HashMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use blocklist_loader::{Feed, FetchError, Fetched, Fetcher, Gate};
use jiff::Timestamp;
use policy::name::Name;
use rand::Rng;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{command::ListCommand, status::ListStatus};
use crate::{causes, shutdown::BackgroundTasks};

/// The least time between two fetches of a feed, however many NOTIFY messages arrive.
const APART_MIN: Duration = Duration::from_millis(200);
/// The wait after a failure, doubled with each further failure, or the feed's interval if that is
/// longer.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// How often the addresses of a primary with a host name are looked up.
const LOOKED_UP_EVERY: Duration = Duration::from_secs(60);
/// The longest wait after failures.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// The longest wait between checks of a full disk. The provider is asked again only once there is
/// room.
const DISK_RETRY_MAX: Duration = Duration::from_secs(30);

/// The fetchers of all feeds.
pub struct Fetchers {
    running: Mutex<HashMap<String, Running>>,
    /// The folder of the spools.
    directory: PathBuf,
    commands: mpsc::Sender<ListCommand>,
    status: Arc<ListStatus>,
    tasks: BackgroundTasks,
}

/// A fetcher that runs.
struct Running {
    /// The zone of a zone transfer.
    zone: Option<Name>,
    /// Where NOTIFY messages of the zone come from.
    primary: Arc<Primary>,
    /// Makes the fetcher fetch now.
    wake: Arc<Notify>,
    stop: CancellationToken,
}

impl Fetchers {
    /// No fetcher yet. `directory` is the folder of the lists.
    pub fn new(
        directory: &Path,
        commands: &mpsc::Sender<ListCommand>,
        status: &Arc<ListStatus>,
        tasks: &BackgroundTasks,
    ) -> Self {
        Self {
            running: Mutex::default(),
            directory: directory.to_owned(),
            commands: commands.clone(),
            status: Arc::clone(status),
            tasks: tasks.clone(),
        }
    }

    /// Fetches a feed now. Returns false if it has no fetcher.
    pub fn fetch_now(&self, feed: &str) -> bool {
        self.running()
            .get(feed)
            .inspect(|running| running.wake.notify_one())
            .is_some()
    }

    /// Fetches all feeds now. Returns their number.
    pub fn fetch_all_now(&self) -> usize {
        self.running()
            .values()
            .inspect(|running| running.wake.notify_one())
            .count()
    }

    /// A peer says that a zone has changed (NOTIFY, RFC 1996). Returns whether that is believed:
    /// the peer is the zone's primary (section 3.10), or one that the operator names (`is_named`).
    ///
    /// The NOTIFY is only a hint: the fetcher asks the configured primary. Hints that arrive during
    /// a fetch count as one more fetch.
    pub fn notified(&self, zone: &Name, peer: IpAddr, is_named: bool) -> bool {
        let mut is_ours = false;
        let is_from = |running: &&Running| is_named || running.primary.has(peer.to_canonical());
        for running in self
            .running()
            .values()
            .filter(|running| running.zone.as_ref() == Some(zone))
            .filter(is_from)
        {
            running.wake.notify_one();
            is_ours = true;
        }
        is_ours
    }

    /// Fetches a feed from now on, in place of an earlier definition of it.
    ///
    /// `first` is told after the first attempt, successful or not.
    pub fn start(&self, feed: &Feed, first: Option<oneshot::Sender<()>>) {
        self.stop(&feed.name);
        if !feed.is_fetched() {
            return;
        }
        let wake = Arc::new(Notify::new());
        // The zone is the last part of its source; a definition without one was refused.
        let (host, zone) = feed
            .source
            .strip_prefix("rpz://")
            .and_then(|rest| rest.split_once('/'))
            .unwrap_or_default();
        let zone = Name::parse(zone).ok();
        let primary = Arc::new(Primary::of(host));
        let known = Arc::clone(&primary);
        let fetching = Fetching {
            feed: feed.clone(),
            directory: self.directory.clone(),
            wake: Arc::clone(&wake),
            commands: self.commands.clone(),
            status: Arc::clone(&self.status),
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        self.tasks.spawn_endless(async move {
            // The addresses of the primary may change, so they are looked up again and again.
            let work = async { tokio::join!(fetching.run(first), known.look_up()) };
            let _ = stopped.run_until_cancelled(work).await;
        });
        self.running().insert(
            feed.name.clone(),
            Running {
                zone,
                primary,
                wake,
                stop,
            },
        );
    }

    /// Stops fetching a feed.
    pub fn stop(&self, feed: &str) {
        if let Some(running) = self.running().remove(feed) {
            running.stop.cancel();
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running
            .lock()
            .expect("no code panics while it holds the fetchers")
    }
}

/// The server from which a zone is transferred.
struct Primary {
    /// Its host name. `None` if the source has an address.
    name: Option<String>,
    addresses: Mutex<Vec<IpAddr>>,
}

impl Primary {
    /// Parses `HOST` or `HOST:PORT`, with an IPv6 address in brackets.
    fn of(host: &str) -> Self {
        let port_at = host
            .rfind(':')
            .filter(|_| !host.ends_with(']'))
            .unwrap_or(host.len());
        let host = host[..port_at]
            .trim_start_matches('[')
            .trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) => Self {
                name: None,
                addresses: Mutex::new(vec![address.to_canonical()]),
            },
            Err(_) => Self {
                name: Some(host.to_owned()).filter(|host| !host.is_empty()),
                addresses: Mutex::default(),
            },
        }
    }

    fn has(&self, peer: IpAddr) -> bool {
        self.addresses().contains(&peer)
    }

    /// Looks up the addresses of the host name again and again. If a lookup fails, the last known
    /// addresses stay.
    async fn look_up(&self) {
        let Some(name) = &self.name else { return };
        loop {
            if let Ok(found) = tokio::net::lookup_host((name.as_str(), 0)).await {
                *self.addresses() = found.map(|address| address.ip().to_canonical()).collect();
            }
            tokio::time::sleep(LOOKED_UP_EVERY).await;
        }
    }

    fn addresses(&self) -> MutexGuard<'_, Vec<IpAddr>> {
        self.addresses
            .lock()
            .expect("no code panics while it holds the addresses")
    }
}

/// The fetcher of one feed.
struct Fetching {
    feed: Feed,
    directory: PathBuf,
    wake: Arc<Notify>,
    commands: mpsc::Sender<ListCommand>,
    status: Arc<ListStatus>,
}

impl Fetching {
    /// Fetches until the task is dropped. `first` is told after the first attempt.
    async fn run(self, mut first: Option<oneshot::Sender<()>>) {
        let mut fetcher = None;
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let result = fetch(&self.feed, &self.directory, &mut fetcher).await;
            failures = if result.is_ok() { 0 } else { failures + 1 };
            let is_of_disk = result.as_ref().is_err_and(|error| error.gate == Gate::Disk);
            let wait = match failures {
                0 => self.interval(fetcher.as_ref()),
                failures => self.wait_after(failures),
            };
            self.report(&result);
            if let Some(first) = first.take() {
                let _ = first.send(());
            }
            if let Ok(fetched @ (Fetched::Replaced { .. } | Fetched::Changed { .. })) = result {
                if !self.hand_over(fetched).await {
                    return;
                }
                self.tidy(fetcher.as_mut()).await;
            }
            if is_of_disk {
                self.wait_for_room(fetcher.as_ref(), failures).await;
            } else {
                // Jitter of a twentieth, so that nodes that started together do not ask together.
                let wait = wait.mul_f64(rand::rng().random_range(0.95..1.05));
                let _ = tokio::time::timeout(wait, self.wake.notified()).await;
            }
            tokio::time::sleep_until(began + APART_MIN).await;
        }
    }

    /// The wait after a success.
    fn interval(&self, fetcher: Option<&Fetcher>) -> Duration {
        fetcher
            .and_then(Fetcher::interval)
            .or_else(|| self.feed.interval())
            .unwrap_or(RETRY_MAX)
    }

    /// The wait after consecutive failures.
    fn wait_after(&self, failures: u32) -> Duration {
        self.feed
            .interval()
            .unwrap_or(RETRY_MIN)
            .min(RETRY_MAX)
            .max(RETRY_MIN * 2_u32.saturating_pow(failures.min(8)))
            .min(RETRY_MAX)
    }

    /// Reports the outcome of an attempt in the status.
    fn report(&self, result: &Result<Fetched, FetchError>) {
        let now = Timestamp::now();
        match result {
            Ok(_) => self.status.fetched(&self.feed.name, now),
            Err(error) => {
                let detail = causes(error);
                self.status
                    .stopped(&self.feed.name, error.gate, &detail, None, now);
            }
        }
    }

    /// Hands a new version to the manager, and waits until it is live or refused: the rows of the
    /// next version must continue the live ones. Returns false if the manager has ended.
    async fn hand_over(&self, fetched: Fetched) -> bool {
        let (done, is_done) = oneshot::channel();
        let command = ListCommand::Fetched {
            feed: self.feed.name.clone(),
            fetched,
            done,
        };
        let is_sent = self.commands.send(command).await.is_ok();
        if is_sent {
            let _ = is_done.await;
        }
        is_sent
    }

    /// Removes what the spool no longer needs.
    async fn tidy(&self, fetcher: Option<&mut Fetcher>) {
        if let Some(fetcher) = fetcher
            && let Err(error) = fetcher.tidy().await
        {
            tracing::warn!(
                feed = self.feed.name,
                error = causes(&error),
                "the spool could not be tidied"
            );
        }
    }

    /// Waits until the disk has room for what it refused. Checks less and less often; an operator's
    /// refresh of the feed ends the wait.
    async fn wait_for_room(&self, fetcher: Option<&Fetcher>, failures: u32) {
        let mut wait = (RETRY_MIN * 2_u32.saturating_pow(failures.saturating_sub(1).min(8)))
            .min(DISK_RETRY_MAX);
        loop {
            if tokio::time::timeout(wait, self.wake.notified())
                .await
                .is_ok()
            {
                return;
            }
            match fetcher {
                Some(fetcher) if !fetcher.has_room().await => wait = (wait * 2).min(DISK_RETRY_MAX),
                // Opening the spool sends no query, and shows whether there is room.
                _ => return,
            }
        }
    }
}

async fn fetch(
    feed: &Feed,
    directory: &Path,
    fetcher: &mut Option<Fetcher>,
) -> Result<Fetched, FetchError> {
    if fetcher.is_none() {
        let feed = feed.clone();
        let directory = directory.to_owned();
        let opened = tokio::task::spawn_blocking(move || Fetcher::new(&feed, &directory)).await;
        *fetcher = Some(opened.map_err(|error| FetchError {
            gate: Gate::Disk,
            detail: error.to_string(),
            source: None,
        })??);
    }
    match fetcher {
        Some(fetcher) => fetcher.fetch().await,
        None => Ok(Fetched::Unchanged),
    }
}

#[cfg(test)]
mod tests;
