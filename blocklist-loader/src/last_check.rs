//! The result of reading a feed's content that did not become live: a version that a gate refused,
//! or the live version in a file that was only touched. The result is stored beside the feed's
//! spool and in no artefact, because unchanged lists get no new generation. It keeps content from
//! being read twice, across restarts too.
//!
//! ```text
//! feeds/<name>/verdict.json
//! ```

use std::{
    io,
    path::{Path, PathBuf},
};

use policy::{
    lists::artefact::{FeedSummary, Header, RejectedVersion},
    name::Name,
};
use serde::{Deserialize, Serialize};

use crate::{
    build::result::RefusedFeed, feed::Feed, gate::Gate, plan::Plan, source::fingerprint,
    spool::folder_of,
};

const FILE_NAME: &str = "verdict.json";

/// The result for the content that was read last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCheck {
    /// Digest of the content, see [`crate::source`].
    pub(crate) fingerprint: String,
    /// Digest of the definition and the gates' settings.
    pub(crate) demands: String,
    /// The live version that the content was compared with.
    pub(crate) against: String,
    /// Why the content is not live; `None` where it equals the live version.
    pub refused: Option<RejectedVersion>,
}

impl LastCheck {
    /// The result for a feed's current content.
    pub(crate) fn of(
        feed: &Feed,
        own_names: &[Name],
        against: &str,
        fingerprint: String,
        refused: Option<RejectedVersion>,
    ) -> Self {
        Self {
            fingerprint,
            demands: feed.demands(own_names),
            against: against.to_owned(),
            refused,
        }
    }

    /// Whether the result still applies to a feed with this live version.
    fn is_current(&self, plan: &Plan, feed: &Feed, live: &FeedSummary) -> bool {
        self.against == live.version && self.demands == feed.demands(&plan.own_names)
    }

    /// Stores the result in place of the previous one.
    pub(crate) fn save(&self, directory: &Path, feed: &str) -> io::Result<()> {
        let path = path_of(directory, feed);
        let aside = path.with_extension(format!("writing-{}", std::process::id()));
        std::fs::create_dir_all(folder_of(directory, feed))?;
        std::fs::write(&aside, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&aside, &path)
    }
}

fn path_of(directory: &Path, feed: &str) -> PathBuf {
    folder_of(directory, feed).join(FILE_NAME)
}

/// The stored result for a feed's content; `None` where there is none that still applies.
pub(crate) fn current(plan: &Plan, feed: &Feed, live: &FeedSummary) -> Option<LastCheck> {
    let json = std::fs::read(path_of(&plan.directory, &feed.name)).ok()?;
    let check: LastCheck = serde_json::from_slice(&json).ok()?;
    check.is_current(plan, feed, live).then_some(check)
}

/// Deletes a feed's result: its content is live.
pub(crate) fn forget(directory: &Path, feed: &str) -> io::Result<()> {
    match std::fs::remove_file(path_of(directory, feed)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Stores that a gate refused the rows that lead to this version, so that it is known after a
/// restart.
///
/// # Errors
/// The file system's error.
pub fn keep_refusal(
    plan: &Plan,
    feed: &Feed,
    live: &FeedSummary,
    refused: RejectedVersion,
) -> io::Result<()> {
    let now = fingerprint(feed, &plan.directory);
    LastCheck::of(feed, &plan.own_names, &live.version, now, Some(refused))
        .save(&plan.directory, &feed.name)
}

/// The refused versions that no later one replaced, of feeds whose definitions and live versions
/// are unchanged.
#[must_use]
pub fn refusals(plan: &Plan, live: &Header) -> Vec<RefusedFeed> {
    let is_it = |feed: &Feed, summary: &FeedSummary| {
        summary.name == feed.name && summary.definition == feed.definition() && !summary.withdrawn
    };
    let of = |feed: &Feed| {
        live.feeds
            .iter()
            .find(|summary| is_it(feed, summary))
            .and_then(|summary| refusal(plan, feed, summary))
    };
    plan.feeds.iter().filter_map(of).collect()
}

/// The refused version of one feed that no later one replaced.
pub(crate) fn refusal(plan: &Plan, feed: &Feed, live: &FeedSummary) -> Option<RefusedFeed> {
    let RejectedVersion {
        version,
        gate,
        detail,
        entries,
        at,
    } = current(plan, feed, live)?.refused?;
    let gate: Gate = serde_json::from_value(gate.into()).ok()?;
    let carried = live.report.entries + live.report.paths;
    Some(RefusedFeed {
        feed: feed.name.clone(),
        version,
        gate,
        reason: detail,
        carried,
        entries,
        at,
    })
}
