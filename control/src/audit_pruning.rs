//! Old rows of the audit leave the store every day: exported to the operator's folder, then removed.

use std::{path::PathBuf, time::Duration};

use jiff::{SignedDuration, Timestamp};
use policy_store::{Author, Store};
use tokio::time::MissedTickBehavior;

use crate::{causes, shutdown::Shutdown};

/// How often the task looks whether another day has passed.
const LOOK_EVERY: Duration = Duration::from_secs(600);
const DAY_S: i64 = 24 * 60 * 60;

/// Exports and removes rows that are older than a number of days.
pub struct AuditPruning {
    pub store: Store,
    /// Rows of so many days are kept in the store; 0: all.
    pub keep_days: u32,
    /// The folder of the archives, one file a day.
    pub folder: PathBuf,
}

impl AuditPruning {
    /// Runs until the node shuts down.
    pub async fn run(self, shutdown: Shutdown) {
        if self.keep_days == 0 {
            return;
        }
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.tick(&mut tick).await {
            self.prune(Timestamp::now()).await;
        }
    }

    async fn prune(&self, now: Timestamp) {
        let Some(before) = self.first_kept(now) else {
            return;
        };
        let day = before.strftime("%Y-%m-%d");
        let archive = self.folder.join(format!("audit-before-{day}.jsonl"));
        if archive.exists() {
            return;
        }
        let by = Author {
            actor: "audit pruning".to_owned(),
            role: "operator".to_owned(),
        };
        let made = std::fs::create_dir_all(&self.folder);
        if let Err(error) = made {
            tracing::error!(folder = %self.folder.display(), %error, "the folder of the audit's archives cannot be made; nothing is removed");
            return;
        }
        match self.store.prune_audit(&by, before, &archive).await {
            Ok(None) => {}
            Ok(Some(rows)) => {
                tracing::info!(first = rows.first, last = rows.last, archive = %archive.display(), head = %rows.head, "old rows of the audit were exported and removed")
            }
            Err(error) => {
                tracing::error!(
                    error = causes(&error),
                    "old rows of the audit could not be exported; they stay"
                )
            }
        }
    }

    /// The beginning of the first day, in UTC, whose rows stay.
    fn first_kept(&self, now: Timestamp) -> Option<Timestamp> {
        let today = now.as_second().div_euclid(DAY_S) * DAY_S;
        let kept = SignedDuration::from_hours(24 * i64::from(self.keep_days));
        Timestamp::from_second(today).ok()?.checked_sub(kept).ok()
    }
}
