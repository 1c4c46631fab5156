//! Whether a build would change anything.

use policy::lists::artefact::{FeedSummary, Header};

use crate::{feed::Feed, last_check, plan::Plan, source::fingerprint};

/// What differs between a plan and the current lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildNeed {
    Nothing,
    /// The content of a source.
    Content,
    /// A feed was added, removed, moved or redefined; or there are no lists yet.
    Definitions,
}

/// Whether a build would change anything. Examines file metadata only.
#[must_use]
pub fn needs_building(plan: &Plan, built: Option<&Header>) -> BuildNeed {
    let Some(built) = built else {
        return BuildNeed::Definitions;
    };
    // A withdrawn feed that is no longer defined, and a feed held back by a rollback to before it
    // existed, count as undefined.
    let defined = plan
        .feeds
        .iter()
        .filter(|feed| !is_held_back(plan, built, &feed.name));
    let live = built.feeds.iter().filter(|summary| !summary.withdrawn);
    let is_defined_so = |(feed, summary): (&Feed, &FeedSummary)| {
        feed.name == summary.name && is_of_definition(plan, feed, summary)
    };
    if defined.clone().count() != live.clone().count()
        || !defined.clone().zip(live.clone()).all(is_defined_so)
    {
        BuildNeed::Definitions
    } else if defined
        .zip(live)
        .any(|(feed, summary)| has_changed(plan, feed, summary))
    {
        BuildNeed::Content
    } else {
        BuildNeed::Nothing
    }
}

/// The feeds that need a build: their content or definition differs from the current lists.
#[must_use]
pub fn waiting(plan: &Plan, built: &Header) -> Vec<String> {
    let waits = |feed: &&Feed| match built
        .feeds
        .iter()
        .find(|summary| summary.name == feed.name && !summary.withdrawn)
    {
        Some(summary) => !is_of_definition(plan, feed, summary) || has_changed(plan, feed, summary),
        None => !is_held_back(plan, built, &feed.name),
    };
    plan.feeds
        .iter()
        .filter(waits)
        .map(|feed| feed.name.clone())
        .collect()
}

/// Whether a rollback led to before the feed existed and the feed has not been released since.
pub(super) fn is_held_back(plan: &Plan, built: &Header, feed: &str) -> bool {
    built.held_back.iter().any(|held| held == feed)
        && !plan.released.iter().any(|released| released == feed)
}

/// Whether the entries were read under the feed's current definition. A barred feed may keep
/// entries that an earlier version of the program read.
pub(super) fn is_of_definition(plan: &Plan, feed: &Feed, summary: &FeedSummary) -> bool {
    summary.definition == feed.definition()
        || plan.barred.contains(&feed.name) && feed.was_defined_so(&summary.definition)
}

/// Whether a feed's content must be read: it differs from the live content and from the content
/// that was read last and refused.
pub(super) fn has_changed(plan: &Plan, feed: &Feed, summary: &FeedSummary) -> bool {
    if plan.barred.contains(&feed.name) {
        return false;
    }
    if summary.held {
        return plan.released.contains(&feed.name);
    }
    let check = last_check::current(plan, feed, summary);
    let refused = check.as_ref().and_then(|check| check.refused.as_ref());
    if refused.is_some_and(|refused| plan.approved.get(&feed.name) == Some(&refused.version)) {
        return true;
    }
    // The last check is about the content read last, which may differ from the live content. If the
    // live content comes back, it is read once more, and the earlier result is replaced.
    let read_last = check
        .as_ref()
        .map_or(&summary.fingerprint, |check| &check.fingerprint);
    *read_last != fingerprint(feed, &plan.directory)
}
