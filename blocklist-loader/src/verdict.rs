//! What became of the content of a feed that was read and did not become live: a version that a
//! gate stopped, or the same version in a file that was only touched. It lies beside the feed's
//! spool and in no artefact, because lists that stay what they were get no new generation; and it
//! is why content that was judged once is not read again, neither before nor after a restart.
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
    build::{Plan, RefusedFeed},
    feed::Feed,
    gate::Gate,
    source::fingerprint,
    spool::folder_of,
};

const VERDICT: &str = "verdict.json";

/// What became of the content that was read last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Digest of the content, see [`crate::source`].
    pub(crate) fingerprint: String,
    /// Digest of how it was read and of what was asked of it.
    pub(crate) demands: String,
    /// The live version that it was compared with.
    pub(crate) against: String,
    /// Why it is not live; none where it is the live version itself.
    pub refused: Option<RejectedVersion>,
}

impl Verdict {
    /// What became of the content that a feed has now.
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

    /// Whether it still holds for a feed whose live version is this one.
    fn holds(&self, plan: &Plan, feed: &Feed, live: &FeedSummary) -> bool {
        self.against == live.version && self.demands == feed.demands(&plan.own_names)
    }

    /// Keeps it in the place of the one before.
    pub(crate) fn keep(&self, directory: &Path, feed: &str) -> io::Result<()> {
        let path = path_of(directory, feed);
        let aside = path.with_extension(format!("writing-{}", std::process::id()));
        std::fs::create_dir_all(folder_of(directory, feed))?;
        std::fs::write(&aside, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&aside, &path)
    }
}

fn path_of(directory: &Path, feed: &str) -> PathBuf {
    folder_of(directory, feed).join(VERDICT)
}

/// The verdict on what a feed has beside its live version; none where there is none that holds.
pub(crate) fn standing(plan: &Plan, feed: &Feed, live: &FeedSummary) -> Option<Verdict> {
    let json = std::fs::read(path_of(&plan.directory, &feed.name)).ok()?;
    let verdict: Verdict = serde_json::from_slice(&json).ok()?;
    verdict.holds(plan, feed, live).then_some(verdict)
}

/// Forgets what was said of a feed: its content is live.
pub(crate) fn forget(directory: &Path, feed: &str) -> io::Result<()> {
    match std::fs::remove_file(path_of(directory, feed)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Keeps that rows were refused which lead to this version, so that a restart knows it.
///
/// # Errors
/// The disk refused.
pub fn keep_refusal(
    plan: &Plan,
    feed: &Feed,
    live: &FeedSummary,
    refused: RejectedVersion,
) -> io::Result<()> {
    let now = fingerprint(feed, &plan.directory);
    Verdict::of(feed, &plan.own_names, &live.version, now, Some(refused))
        .keep(&plan.directory, &feed.name)
}

/// The versions that gates stopped and that nothing came after, of feeds as they are defined and
/// live now.
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

/// The version of one feed that a gate stopped and that nothing came after.
pub(crate) fn refusal(plan: &Plan, feed: &Feed, live: &FeedSummary) -> Option<RefusedFeed> {
    let RejectedVersion {
        version,
        gate,
        detail,
        entries,
        at,
    } = standing(plan, feed, live)?.refused?;
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
