//! Asking providers: a task for each feed that is fetched, which goes on whatever happens to the
//! others.

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
/// After a failure the next attempt comes after this, doubled each time, or after the feed's
/// interval if that is longer.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// How often the addresses of a primary are looked up that the source names by a host name.
const LOOKED_UP_EVERY: Duration = Duration::from_secs(60);
/// Beyond this the wait is not doubled any more.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// The same where our own disk refused: what stood in the way is gone when somebody makes room, and
/// a provider is asked again only then.
const DISK_RETRY_MAX: Duration = Duration::from_secs(30);

/// Who is to be woken by whose NOTIFY.
#[derive(Default)]
pub struct Wakes(Mutex<HashMap<String, Wake>>);

struct Wake {
    zone: Option<Name>,
    /// Where its NOTIFYs come from.
    primary: Arc<Primary>,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Wakes {
    /// Has a feed asked now. False where it is not one that is asked.
    pub fn wake(&self, feed: &str) -> bool {
        self.wakes()
            .get(feed)
            .inspect(|wake| wake.wake.notify_one())
            .is_some()
    }

    /// Has all feeds asked now; says how many these are.
    pub fn wake_all(&self) -> usize {
        self.wakes()
            .values()
            .inspect(|wake| wake.wake.notify_one())
            .count()
    }

    /// A peer says that a zone has changed (RFC 1996). It is believed where the peer is the zone's
    /// primary (section 3.10), or is one that the operator names, `is_named`. It is a hint all the
    /// same, for what follows is asked of the configured primary. Hints that come while it is asked
    /// are one: it is asked once more.
    pub fn notified(&self, zone: &Name, peer: IpAddr, is_named: bool) -> bool {
        let mut is_ours = false;
        let is_from = |wake: &&Wake| is_named || wake.primary.has(peer.to_canonical());
        for wake in self
            .wakes()
            .values()
            .filter(|wake| wake.zone.as_ref() == Some(zone))
            .filter(is_from)
        {
            wake.wake.notify_one();
            is_ours = true;
        }
        is_ours
    }

    /// Asks a feed from now on, in place of what was asked under its name.
    ///
    /// `first` is told when it was asked once, whatever came of that.
    pub fn start(
        &self,
        feed: &Feed,
        plan: &Plan,
        acts: &mpsc::Sender<Act>,
        board: &Arc<Board>,
        first: Option<oneshot::Sender<()>>,
    ) {
        self.stop(&feed.name);
        if !feed.is_fetched() {
            return;
        }
        let wake = Arc::new(Notify::new());
        // A zone is the last part of its source; a definition without one was refused.
        let (host, zone) = feed
            .source
            .strip_prefix("rpz://")
            .and_then(|rest| rest.split_once('/'))
            .unwrap_or_default();
        let zone = Name::parse(zone).ok();
        let primary = Arc::new(Primary::of(host));
        let known = Arc::clone(&primary);
        let following = Following {
            feed: feed.clone(),
            directory: plan.directory.clone(),
            wake: Arc::clone(&wake),
            acts: acts.clone(),
            board: Arc::clone(board),
        };
        let follow = async move {
            // What a name leads to may change, so it is looked up again all the time.
            tokio::join!(following.follow(first), known.look_up());
        };
        let task = tokio::spawn(follow);
        self.wakes().insert(
            feed.name.clone(),
            Wake {
                zone,
                primary,
                wake,
                task,
            },
        );
    }

    /// Asks a feed no longer.
    pub fn stop(&self, feed: &str) {
        if let Some(wake) = self.wakes().remove(feed) {
            wake.task.abort();
        }
    }

    fn wakes(&self) -> std::sync::MutexGuard<'_, HashMap<String, Wake>> {
        self.0
            .lock()
            .expect("nothing panics while it holds the wakes")
    }
}

/// Where a zone is transferred from.
struct Primary {
    /// A host name; none where the source has an address.
    name: Option<String>,
    addresses: Mutex<Vec<IpAddr>>,
}

impl Primary {
    /// That of `HOST` or `HOST:PORT`, an IPv6 address in brackets.
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

    /// Keeps the addresses of a name for ever. Where it cannot be looked up, those that were known
    /// last go on to count.
    async fn look_up(&self) {
        let Some(name) = &self.name else { return };
        loop {
            if let Ok(found) = tokio::net::lookup_host((name.as_str(), 0)).await {
                *self.addresses() = found.map(|address| address.ip().to_canonical()).collect();
            }
            tokio::time::sleep(LOOKED_UP_EVERY).await;
        }
    }

    fn addresses(&self) -> std::sync::MutexGuard<'_, Vec<IpAddr>> {
        self.addresses
            .lock()
            .expect("nothing panics while it holds the addresses")
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
                Ok(_) => fetcher
                    .as_ref()
                    .and_then(Fetcher::interval)
                    .or_else(|| feed.interval())
                    .unwrap_or(RETRY_MAX),
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
                Err(error) => board.stopped(
                    &feed.name,
                    error.gate,
                    &crate::config::causes(error),
                    None,
                    Timestamp::now(),
                ),
            }
            if let Some(first) = first.take() {
                let _ = first.send(());
            }
            if let Ok(fetched @ (Fetched::Replaced { .. } | Fetched::Changed { .. })) = result {
                // The next version is fetched when this one has been dealt with: rows continue what
                // is live.
                let (done, is_done) = oneshot::channel();
                if self
                    .acts
                    .send(Act::Fetched {
                        feed: feed.name.clone(),
                        fetched,
                        done,
                    })
                    .await
                    .is_err()
                {
                    return;
                }
                let _ = is_done.await;
            }
            if has_changed
                && let Some(fetcher) = &mut fetcher
                && let Err(error) = fetcher.tidy().await
            {
                tracing::warn!(
                    feed = feed.name,
                    error = crate::config::causes(&error),
                    "the spool could not be tidied"
                );
            }
            if is_of_disk {
                self.wait_for_room(fetcher.as_ref(), failures).await;
            } else {
                // A tenth more or less, so that nodes that started together do not ask together.
                let wait = wait.mul_f64(rand::rng().random_range(0.95..1.05));
                let _ = tokio::time::timeout(wait, self.wake.notified()).await;
            }
            tokio::time::sleep_until(began + APART_MIN).await;
        }
    }

    /// Waits until the disk takes as much again as it refused, and looks ever less often, as it
    /// does after failures on end; an operator who refreshes the feed has it asked at once.
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
                // Opening the spool asks nobody, and says whether it can be.
                _ => return,
            }
        }
    }
}

async fn fetch(
    feed: &Feed,
    directory: &std::path::Path,
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
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn wakes(host: &str) -> (Wakes, Arc<Primary>, Arc<Notify>) {
        let primary = Arc::new(Primary::of(host));
        let wake = Arc::new(Notify::new());
        let zone = Some(Name::parse("rpz.example").unwrap());
        let known = Wake {
            zone,
            primary: Arc::clone(&primary),
            wake: Arc::clone(&wake),
            task: tokio::spawn(std::future::pending()),
        };
        (
            Wakes(Mutex::new([("feed".to_owned(), known)].into())),
            primary,
            wake,
        )
    }

    fn notified(wakes: &Wakes, peer: &str) -> bool {
        wakes.notified(
            &Name::parse("rpz.example").unwrap(),
            peer.parse().unwrap(),
            false,
        )
    }

    #[tokio::test]
    async fn a_notify_is_taken_from_the_address_of_the_primary_alone() {
        for host in [
            "192.0.2.53",
            "192.0.2.53:5353",
            "[::ffff:192.0.2.53]:53",
            "[2001:db8::53]",
            "[2001:db8::53]:5353",
        ] {
            let (wakes, ..) = wakes(host);
            let is_v4 = host.contains("192");
            for (peer, of_v4) in [
                ("192.0.2.53", true),
                ("::ffff:192.0.2.53", true),
                ("2001:db8::53", false),
            ] {
                assert_eq!(notified(&wakes, peer), of_v4 == is_v4, "{host} {peer}");
            }
            for stranger in ["192.0.2.54", "2001:db8::54", "::", "0.0.0.0", "127.0.0.1"] {
                assert!(!notified(&wakes, stranger), "{host} {stranger}");
            }
            let other = Name::parse("other.example").unwrap();
            assert!(
                !wakes.notified(&other, "192.0.2.53".parse().unwrap(), true),
                "a zone of nobody's"
            );
        }
    }

    #[tokio::test]
    async fn a_primary_with_a_host_name_is_known_by_what_that_leads_to() {
        let (wakes, primary, _) = wakes("localhost:53");
        assert!(
            !notified(&wakes, "127.0.0.1"),
            "nobody has looked it up yet"
        );
        let looking = tokio::spawn(async move { primary.look_up().await });
        while !notified(&wakes, "127.0.0.1") {
            tokio::task::yield_now().await;
        }
        for stranger in ["127.0.7.9", "192.0.2.53", "2001:db8::53"] {
            assert!(!notified(&wakes, stranger), "{stranger}");
        }
        looking.abort();
    }

    #[tokio::test]
    async fn a_named_sender_is_taken_for_each_zone_that_is_followed() {
        let of_a_list = wakes("").0;
        assert!(
            !notified(&of_a_list, "127.0.0.1"),
            "a source without a host has no primary"
        );
        let (wakes, ..) = wakes("192.0.2.53");
        let zone = Name::parse("RPZ.example").unwrap();
        assert!(wakes.notified(&zone, "198.51.100.1".parse().unwrap(), true));
    }

    #[tokio::test]
    async fn notifies_that_come_together_ask_the_primary_once_more() {
        let (wakes, _, wake) = wakes("192.0.2.53");
        for _ in 0..100 {
            assert!(notified(&wakes, "192.0.2.53"));
        }
        assert!(!notified(&wakes, "192.0.2.54"));
        let is_woken = || wake.notified().now_or_never().is_some();
        assert_eq!((is_woken(), is_woken()), (true, false));
        assert!(
            !notified(&wakes, "192.0.2.54") && !is_woken(),
            "a stranger wakes nobody"
        );
    }
}
