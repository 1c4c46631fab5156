//! A secondary for one response policy zone. It queries a primary for the SOA, then for the changes
//! (IXFR, RFC 1995), and for the whole zone (AXFR, RFC 5936) where the primary offers no changes.
//!
//! ```text
//! SOA -- same serial ------------------------------------------- Unchanged
//!  |
//!  newer -- IXFR -- differences from ours -- rows appended ----- Changed
//!             |
//!             whole zone, error or no journal -- AXFR -- snapshot -- a quarter differs at most -- Changed
//!                                                          '-------- more -------------------- Replaced
//! ```
//!
//! The spool is written after the last message of a transfer has arrived and was verified. The
//! secondary does not follow a primary with an older serial: serials only grow (RFC 1982), and one
//! of several primaries may be late. To start over after a provider has reset its serial, the
//! operator deletes the spool.
//!
//! The interpreter takes a first message that has only the SOA for a complete answer to IXFR, as it
//! would be over UDP. PowerDNS, and BIND with `transfer-format one-answer`, begin a whole transfer
//! this way; their zones come by the AXFR that follows.
//!
//! The content stays after the zone's `expire` time, against RFC 1035: yesterday's list is better
//! than none, and security lists must not fail open. The feed's age raises the alarm.

mod answer;
mod compare;
mod row;
mod settings;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use domain::{base::Serial, tsig::Key};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

pub use self::settings::TransferSettings;
use self::{
    answer::{Event, ResponseEnd, SoaTimers, TransferResponse, first_soa},
    wire::{PrimaryConnection, TransferLimits, TransferQuery},
};
use super::{error::FetchError, fetched::Fetched};
use crate::{
    gate::Gate,
    row_change::RowChange,
    spool::{RowKey, SnapshotWriter, Spool, content_of, for_each_row},
};

/// Retry interval before the first successful transfer.
const FIRST_RETRY: Duration = Duration::from_secs(60);
/// Bounds of the interval that a zone can request.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(86_400);
/// The most octets of changed rows that wait in memory for the end of their transfer: half a
/// million rules. A larger change is fetched as a whole and written to disk as it arrives.
const CHANGES_OCTETS_MAX: u64 = 32 << 20;
/// The longest time that the stored time of the last success may lag behind, in seconds, so that
/// not every poll causes a write.
const LAST_SUCCESS_BEHIND_MAX_S: u64 = 60;

/// The state that is stored with the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    zone: String,
    #[serde(flatten)]
    timers: SoaTimers,
    /// When a primary last confirmed this content, in Unix seconds.
    last_success_s: u64,
}

/// The secondary of one feed.
#[derive(Debug)]
pub struct Transfer {
    settings: TransferSettings,
    folder: PathBuf,
    spool: Spool,
    state: Option<State>,
    /// Index of the primary that answered last.
    preferred: usize,
    has_failed: bool,
    /// The TSIG key of the current fetch, from the definition's secret.
    key: Option<Arc<Key>>,
}

impl Transfer {
    /// The secondary that uses this folder as its spool.
    ///
    /// # Errors
    /// Gate `disk`: the spool cannot be opened.
    pub fn new(settings: TransferSettings, folder: &Path) -> Result<Self, FetchError> {
        let spool = Spool::open(folder, RowKey::WholeRow).map_err(disk("opening the spool"))?;
        // Content of another zone can be neither continued nor compared with.
        let state = spool
            .state::<State>()
            .filter(|state| state.zone == settings.zone.to_string());
        Ok(Self {
            settings,
            folder: folder.to_owned(),
            spool,
            state,
            preferred: 0,
            has_failed: false,
            key: None,
        })
    }

    /// Tries the primaries, beginning with the one that answered last, until one succeeds.
    ///
    /// # Errors
    /// The error of the first primary, with the details of all. The spool is unchanged.
    pub async fn fetch(&mut self) -> Result<Fetched, FetchError> {
        self.key = self.settings.key()?;
        let bounds = TransferLimits {
            until: Instant::now() + self.settings.timeout,
            octets: self.settings.octets_max,
            public_only: self.settings.public_only,
        };
        let mut failure: Option<FetchError> = None;
        for step in 0..self.settings.primaries.len() {
            let place = (self.preferred + step) % self.settings.primaries.len();
            let primary = self.settings.primaries[place].clone();
            match self.fetch_from(&primary, bounds).await {
                Ok(fetched) => {
                    self.preferred = place;
                    self.has_failed = false;
                    return Ok(fetched);
                }
                Err(error) => {
                    let detail = format!("{primary}: {}", error.detail);
                    failure = Some(match failure {
                        Some(first) => FetchError {
                            detail: format!("{}; {detail}", first.detail),
                            ..first
                        },
                        None => FetchError { detail, ..error },
                    });
                }
            }
        }
        self.has_failed = true;
        Err(failure.expect("a source names at least one primary"))
    }

    /// The time until the next fetch: the definition's interval, or the zone's refresh, or its
    /// retry after a failure.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let zone = self.state.as_ref().map(|State { timers, .. }| {
            if self.has_failed {
                timers.retry
            } else {
                timers.refresh
            }
        });
        let interval = self
            .settings
            .interval
            .or(zone.map(|seconds| Duration::from_secs(seconds.into())))
            .unwrap_or(FIRST_RETRY);
        interval.clamp(INTERVAL_MIN, INTERVAL_MAX)
    }

    /// When a primary last confirmed the spooled content, to within a minute; `None` before the
    /// first transfer.
    #[must_use]
    pub fn last_success(&self) -> Option<SystemTime> {
        self.state
            .as_ref()
            .map(|state| UNIX_EPOCH + Duration::from_secs(state.last_success_s))
    }

    /// The serial of the spooled content.
    #[must_use]
    pub fn serial(&self) -> Option<u32> {
        self.state.as_ref().map(|state| state.timers.serial)
    }

    /// Visits all spooled rows.
    ///
    /// # Errors
    /// The file system's error.
    pub fn for_each_row(&self, visit: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        for_each_row(&content_of(&self.folder), RowKey::WholeRow, visit).map(|_| ())
    }

    /// The zone, in lower case without a trailing dot. A NOTIFY for it concerns this feed.
    #[must_use]
    pub fn zone(&self) -> String {
        self.settings.zone.to_string()
    }

    pub(super) fn spool(&self) -> &Spool {
        &self.spool
    }

    async fn fetch_from(
        &mut self,
        primary: &str,
        bounds: TransferLimits,
    ) -> Result<Fetched, FetchError> {
        if let Some(have) = self.state.as_ref().map(|state| state.timers.serial) {
            let theirs = self.soa(primary, bounds).await?;
            match Serial::from(theirs.serial).partial_cmp(&Serial::from(have)) {
                Some(Ordering::Equal) => return self.confirm(theirs),
                Some(Ordering::Greater) => {}
                _ => {
                    return Err(FetchError::new(
                        Gate::Sequence,
                        format!(
                            "it has serial {}, which is older than the local {have}",
                            theirs.serial
                        ),
                    ));
                }
            }
            match self
                .transfer(primary, TransferQuery::Ixfr(have), bounds)
                .await
            {
                Ok(Some(fetched)) => return Ok(fetched),
                Ok(None) => {}
                // An inconsistent difference, or one larger than the limit, is a reason to fetch
                // the whole zone.
                Err(error) if matches!(error.gate, Gate::Format | Gate::Sequence | Gate::Size) => {}
                Err(error) => return Err(error),
            }
        }
        let fetched = self.transfer(primary, TransferQuery::Axfr, bounds).await?;
        fetched
            .ok_or_else(|| FetchError::new(Gate::Sequence, "the response to AXFR has only one SOA"))
    }

    async fn soa(&self, primary: &str, bounds: TransferLimits) -> Result<SoaTimers, FetchError> {
        let mut conversation = self.ask(primary, TransferQuery::Soa, bounds).await?;
        let message = conversation.message().await?;
        conversation.done()?;
        first_soa(&message, &self.settings.zone)
    }

    async fn ask(
        &self,
        primary: &str,
        asked: TransferQuery,
        bounds: TransferLimits,
    ) -> Result<PrimaryConnection, FetchError> {
        PrimaryConnection::open(
            primary,
            &self.settings.zone,
            self.key.as_ref(),
            asked,
            bounds,
        )
        .await
    }

    /// Runs one transfer into the spool; `None` where this primary does not provide the requested
    /// differences.
    async fn transfer(
        &mut self,
        primary: &str,
        asked: TransferQuery,
        bounds: TransferLimits,
    ) -> Result<Option<Fetched>, FetchError> {
        let mut conversation = self.ask(primary, asked, bounds).await?;
        let mut answer = TransferResponse::new(&self.settings.zone, asked);
        let mut intake = TransferBuffer {
            spool: &self.spool,
            octets: bounds.octets,
            whole: None,
            changes: BTreeMap::new(),
            changes_octets: 0,
        };
        let end = loop {
            let message = match conversation.message().await {
                Err(_) if asked != TransferQuery::Axfr && conversation.is_refused() => {
                    return Ok(None);
                }
                message => message?,
            };
            if let Some(end) = answer.message(message, &mut |event| intake.take(event))? {
                break end;
            }
        };
        conversation.done()?;
        let TransferBuffer { whole, changes, .. } = intake;
        match (end, whole) {
            (ResponseEnd::Whole(timers), Some(writer)) => {
                self.replace(writer, timers).await.map(Some)
            }
            (ResponseEnd::Difference(timers), None) => self.append(changes, timers).await.map(Some),
            (ResponseEnd::SoaAlone(timers), None)
                if TransferQuery::Ixfr(timers.serial) == asked =>
            {
                self.confirm(timers).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Stores that a primary has the same serial.
    fn confirm(&mut self, timers: SoaTimers) -> Result<Fetched, FetchError> {
        let state = self.state_of(timers);
        let is_worth_a_write = self.state.as_ref().is_none_or(|known| {
            state.last_success_s.abs_diff(known.last_success_s) > LAST_SUCCESS_BEHIND_MAX_S
        });
        if is_worth_a_write {
            self.spool
                .set_state(&state)
                .map_err(disk("remembering the last success"))?;
            self.state = Some(state);
        }
        Ok(Fetched::Unchanged)
    }

    async fn append(&mut self, changes: Changes, timers: SoaTimers) -> Result<Fetched, FetchError> {
        let from = self
            .state
            .as_ref()
            .map(|state| state.timers.serial.to_string())
            .unwrap_or_default();
        let state = self.state_of(timers);
        let spool = self.spool.clone();
        let rows: Vec<RowChange> = changes
            .into_iter()
            .filter_map(|(row, change)| change.net(row))
            .collect();
        let (state, rows) = run_blocking(move || {
            if rows.is_empty() {
                spool.set_state(&state)
            } else {
                spool.append(&rows, &state)
            }
            .map_err(disk("appending to the spool"))
            .map(|()| (state, rows))
        })
        .await?;
        self.state = Some(state);
        Ok(Fetched::Changed {
            from,
            version: timers.serial.to_string(),
            rows,
        })
    }

    async fn replace(
        &mut self,
        mut writer: SnapshotWriter,
        timers: SoaTimers,
    ) -> Result<Fetched, FetchError> {
        let before = self.state.as_ref().map(|state| state.timers.serial);
        if before.is_some_and(|before| {
            Serial::from(timers.serial).partial_cmp(&before.into()) != Some(Ordering::Greater)
        }) {
            return Err(FetchError::new(
                Gate::Sequence,
                format!(
                    "the transfer has serial {}, which is not newer than the local one",
                    timers.serial
                ),
            ));
        }
        let state = self.state_of(timers);
        let content = content_of(&self.folder);
        let (state, rows) = run_blocking(move || {
            let rows = match before {
                Some(_) => compare::difference(
                    &content,
                    writer.written().map_err(disk("reading the transfer"))?,
                )
                .map_err(disk("comparing"))?,
                None => None,
            };
            writer.commit(&state).map_err(disk("replacing the spool"))?;
            Ok((state, rows))
        })
        .await?;
        self.state = Some(state);
        let version = timers.serial.to_string();
        Ok(match (before, rows) {
            (Some(before), Some(rows)) => Fetched::Changed {
                from: before.to_string(),
                version,
                rows,
            },
            _ => Fetched::Replaced { version },
        })
    }

    fn state_of(&self, timers: SoaTimers) -> State {
        let last_success_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        State {
            zone: self.zone(),
            timers,
            last_success_s,
        }
    }
}

/// Net changes by row.
type Changes = BTreeMap<Vec<u8>, NetChange>;

/// The first and the last change of one row in several differences.
#[derive(Debug, Clone, Copy)]
struct NetChange {
    first_added: bool,
    last_added: bool,
}

impl NetChange {
    /// The net change; `None` for a row that was added and removed, or removed and added again.
    fn net(self, row: Vec<u8>) -> Option<RowChange> {
        (self.first_added == self.last_added).then_some(RowChange {
            added: self.last_added,
            row,
        })
    }
}

/// Collects the rows of a transfer until it ends.
struct TransferBuffer<'a> {
    spool: &'a Spool,
    /// Octets of rows that may still come. Names that are compressed in a message are not
    /// compressed in a row.
    octets: u64,
    whole: Option<SnapshotWriter>,
    changes: Changes,
    changes_octets: u64,
}

impl TransferBuffer<'_> {
    fn take(&mut self, event: Event<'_>) -> Result<(), FetchError> {
        let (row, added) = match event {
            Event::Whole => {
                self.whole = Some(
                    self.spool
                        .snapshot()
                        .map_err(disk("beginning a snapshot"))?,
                );
                return Ok(());
            }
            Event::Add(row) => (row, true),
            Event::Remove(row) => (row, false),
        };
        let left = self.octets.checked_sub(row.len() as u64);
        self.octets = left.ok_or_else(|| {
            FetchError::new(
                Gate::Size,
                "the rows of the transfer are larger than size_max_mib",
            )
        })?;
        match &mut self.whole {
            Some(writer) => writer.row(row).map_err(disk("writing the transfer")),
            None => {
                self.changes_octets += row.len() as u64;
                if self.changes_octets > CHANGES_OCTETS_MAX {
                    return Err(FetchError::new(
                        Gate::Size,
                        "the changes are too large to be applied row by row",
                    ));
                }
                let change = self.changes.entry(row.to_vec()).or_insert(NetChange {
                    first_added: added,
                    last_added: added,
                });
                change.last_added = added;
                Ok(())
            }
        }
    }
}

/// Runs work on whole files on a blocking thread.
async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    spawn_blocking(work).await.map_err(|error| {
        FetchError::because(Gate::Disk, "the work on the spool ended early", error)
    })?
}

fn disk(step: &'static str) -> impl Fn(io::Error) -> FetchError {
    move |error| FetchError::because(Gate::Disk, step, error)
}
