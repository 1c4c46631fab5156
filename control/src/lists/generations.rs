//! Kept generations of the lists: the newest one, the one of a past time, and how two of them
//! differ.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use blocklist_loader::{Plan, diff, generations, newest};
use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    lists::{artefact, blocklist::Blocklist},
};

use super::model::{Change, Difference, GenerationState, ListedName};
use crate::causes;

/// Opens the newest generation that can be opened. Each one that cannot is logged.
pub fn open_newest(plan: &Plan, taxonomy: &Taxonomy) -> anyhow::Result<Option<Arc<Blocklist>>> {
    for artefact in
        newest(&plan.directory).with_context(|| format!("listing {}", plan.directory.display()))?
    {
        match generations::open(&plan.directory, artefact.generation, taxonomy) {
            Ok(lists) => return Ok(Some(lists)),
            Err(error) => {
                tracing::error!(
                    error = causes(&error),
                    "a generation cannot be used; the one before is tried"
                );
            }
        }
    }
    Ok(None)
}

/// Opens the generation that was live at an instant: the last one built before it. `None` if it is
/// no longer kept.
pub fn open_at(
    directory: &Path,
    taxonomy: &Taxonomy,
    at: Timestamp,
) -> anyhow::Result<Option<Arc<Blocklist>>> {
    let kept = newest(directory).with_context(|| format!("listing {}", directory.display()))?;
    let then = kept
        .iter()
        .find(|kept| artefact::peek(&kept.path).is_ok_and(|header| header.built_at <= at));
    then.map(|then| generations::open(directory, then.generation, taxonomy))
        .transpose()
        .map_err(Into::into)
}

/// The state of a kept generation. `None` if its file cannot be read.
pub(super) fn state(kept: &generations::Artefact, live: u64) -> Option<GenerationState> {
    let header = artefact::peek(&kept.path).ok()?;
    let bytes = std::fs::metadata(&kept.path).ok()?.len();
    Some(GenerationState {
        generation: kept.generation,
        parent: header.parent,
        built_at: header.built_at,
        names: header.names,
        entries: header.entries,
        bytes,
        sha256: artefact::sha256_of(&kept.path).ok()?,
        is_live: kept.generation == live,
        versions: header
            .feeds
            .into_iter()
            .filter(|feed| !feed.withdrawn)
            .map(|feed| (feed.name, feed.version))
            .collect(),
    })
}

/// The difference between two generations, as the API writes it.
pub fn difference(from: u64, to: u64, differences: diff::Diff) -> Difference {
    let diff::Diff {
        counts,
        added,
        removed,
    } = differences;
    let listed = |names: Vec<diff::DiffName>| {
        names
            .into_iter()
            .map(
                |diff::DiffName {
                     name,
                     feed,
                     category,
                 }| ListedName {
                    name,
                    feed,
                    category,
                },
            )
            .collect()
    };
    let change =
        |((feed, category), counts): ((String, Option<String>), diff::EntryCounts)| Change {
            feed,
            category,
            added: counts.added,
            removed: counts.removed,
        };
    Difference {
        from,
        to,
        changes: counts.into_iter().map(change).collect(),
        added: listed(added),
        removed: listed(removed),
    }
}
