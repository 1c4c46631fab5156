//! How full the file systems of the stores and of the lists are: a gauge, and an alarm before
//! nothing can be written any more.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use metrics::{describe_gauge, gauge};
use policy::lists::current::CurrentLists;
use tokio::time::MissedTickBehavior;

use crate::{
    lists::{model::EventKind, status::ListStatus},
    shutdown::Shutdown,
};

/// How often the file systems are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// The alarm ends this far below the share at which it begins, so that it does not flicker.
const ENDS_BELOW: f64 = 0.02;

/// The folders of one node, each with what it holds: `store`, `history`, `lists`.
pub type Folders = Vec<(&'static str, PathBuf)>;

/// Watches the file systems until the node shuts down. The alarm begins at `alarm_percent`.
pub async fn run(
    folders: Folders,
    alarm_percent: u8,
    status: Arc<ListStatus>,
    lists: Arc<CurrentLists>,
    shutdown: Shutdown,
) {
    describe_gauge!(
        "ox_protect_disk_used_ratio",
        "Share of a file system that is used, 0 to 1, by what it holds: store, history, lists"
    );
    let mut alarms: BTreeMap<&str, bool> = BTreeMap::new();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.tick(&mut tick).await {
        for (holds, folder) in &folders {
            let Some(used) = used(folder) else { continue };
            gauge!("ox_protect_disk_used_ratio", "holds" => *holds).set(used);
            let was = alarms.get(holds).copied().unwrap_or(false);
            let is = is_alarm(used, alarm_percent, was);
            alarms.insert(holds, is);
            if is == was {
                continue;
            }
            let folder = folder.display();
            let percent = (used * 100.0).round();
            let kind = if is {
                tracing::warn!(holds, %folder, percent, "the disk is filling up; at 100 % changes are refused");
                EventKind::DiskFilling
            } else {
                tracing::info!(holds, %folder, percent, "the disk has room again");
                EventKind::DiskHasRoom
            };
            let detail = format!("{holds}: {percent} % of the file system of {folder} is used");
            let generation = lists.load().generation();
            status.publish(kind, None, generation, Some(detail), Timestamp::now());
        }
    }
}

fn is_alarm(used: f64, alarm_percent: u8, was: bool) -> bool {
    let begins = f64::from(alarm_percent) / 100.0;
    used >= begins || was && used > begins - ENDS_BELOW
}

/// The used share of a file system, as `df` shows it: without what is reserved for root.
fn used(folder: &std::path::Path) -> Option<f64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    let used = found.f_blocks.saturating_sub(found.f_bfree) as f64;
    let all = used + found.f_bavail as f64;
    (all > 0.0).then_some(used / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_begins_at_its_share_and_ends_somewhat_below() {
        assert!(!is_alarm(0.79, 80, false) && is_alarm(0.80, 80, false));
        assert!(is_alarm(0.79, 80, true) && !is_alarm(0.78, 80, true));
    }

    #[test]
    fn a_file_system_says_how_full_it_is() {
        let used = used(std::path::Path::new("/")).unwrap();
        assert!((0.0..=1.0).contains(&used), "{used}");
        assert_eq!(super::used(std::path::Path::new("/no/such/folder")), None);
    }
}
