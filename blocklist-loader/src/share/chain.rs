//! The files that a generation is opened with, by the chain with the least octets to fetch.

use std::path::{Path, PathBuf};

use super::{
    error::ShareError,
    local::DigestCache,
    manifest::{ManifestEntry, StoredObject},
};
use crate::generations::{ArtefactKind, file_of};

/// A file of a generation's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChainFile {
    pub(super) generation: u64,
    pub(super) kind: ArtefactKind,
    pub(super) object: StoredObject,
    pub(super) path: PathBuf,
    pub(super) is_here: bool,
}

/// Of the chains from a generation (the first entry) back to a full artefact, the one with the
/// least octets to fetch. A local file counts only if it is the published one.
pub(super) fn shortest(
    entries: &[ManifestEntry],
    directory: &Path,
    digests: &DigestCache,
) -> Result<Option<Vec<ChainFile>>, ShareError> {
    let mut deltas: Vec<ChainFile> = Vec::new();
    let mut deltas_octets = 0;
    let mut best: Option<(u64, Vec<ChainFile>)> = None;
    for entry in entries {
        let delta = chain_file(entry, ArtefactKind::Delta, directory, digests, false)?;
        let is_delta_here = delta.as_ref().is_some_and(|delta| delta.is_here);
        if let Some(full) =
            chain_file(entry, ArtefactKind::Full, directory, digests, is_delta_here)?
        {
            let is_here = full.is_here;
            let octets = deltas_octets + if full.is_here { 0 } else { full.object.octets };
            if best.as_ref().is_none_or(|(least, _)| octets < *least) {
                best = Some((
                    octets,
                    std::iter::once(full)
                        .chain(deltas.iter().rev().cloned())
                        .collect(),
                ));
            }
            // No older full artefact can need less.
            if is_here {
                break;
            }
        }
        let Some(delta) = delta else {
            break;
        };
        deltas_octets += if delta.is_here {
            0
        } else {
            delta.object.octets
        };
        deltas.push(delta);
    }
    Ok(best.map(|(_, chain)| chain))
}

/// One file of a generation, if it exists locally or in the store. `is_known`: its delta is local
/// and is the published one; then a local full artefact can only be a fold of it.
fn chain_file(
    entry: &ManifestEntry,
    kind: ArtefactKind,
    directory: &Path,
    digests: &DigestCache,
    is_known: bool,
) -> Result<Option<ChainFile>, ShareError> {
    let path = file_of(directory, entry.generation, kind);
    let there = entry.object(kind);
    let here = match there.is_some() || is_known {
        true => digests.of(&path)?,
        false => None,
    };
    let generation = entry.generation;
    Ok(match (there, here) {
        (Some(there), Some(here)) if here.object == *there => Some(ChainFile {
            generation,
            kind,
            object: here.object,
            path,
            is_here: true,
        }),
        (_, Some(here)) if is_known => Some(ChainFile {
            generation,
            kind,
            object: here.object,
            path,
            is_here: true,
        }),
        (Some(there), Some(here)) => {
            let ours = here.object.sha256;
            let theirs = there.sha256.clone();
            return Err(ShareError::Clash {
                generation,
                directory: directory.to_owned(),
                ours,
                theirs,
            });
        }
        (Some(there), None) => Some(ChainFile {
            generation,
            kind,
            object: there.clone(),
            path,
            is_here: false,
        }),
        (None, _) => None,
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn the_chain_with_the_least_octets_to_fetch_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let object = |octets| {
            Some(StoredObject {
                sha256: format!("{octets:064}"),
                octets,
            })
        };
        let entry = |generation: u64, full, delta| {
            let parent = Some(generation - 1).filter(|_| delta > 0);
            let object = |octets| object(octets).filter(|_| octets > 0);
            ManifestEntry {
                full: object(full),
                delta: object(delta),
                parent,
                ..ManifestEntry::new(generation, Timestamp::UNIX_EPOCH)
            }
        };
        let chain = |entries: &[ManifestEntry]| {
            let chain = shortest(entries, folder.path(), &DigestCache::default()).unwrap();
            chain.map(|chain| {
                chain
                    .iter()
                    .map(|needed| (needed.generation, needed.kind))
                    .collect::<Vec<_>>()
            })
        };
        let full = ArtefactKind::Full;
        let delta = ArtefactKind::Delta;
        assert_eq!(
            chain(&[entry(3, 0, 5), entry(2, 0, 5), entry(1, 100, 0)]),
            Some(vec![(1, full), (2, delta), (3, delta)])
        );
        assert_eq!(
            chain(&[entry(3, 0, 5), entry(2, 90, 5), entry(1, 100, 0)]),
            Some(vec![(2, full), (3, delta)])
        );
        assert_eq!(
            chain(&[entry(3, 0, 5), entry(2, 120, 5), entry(1, 100, 0)]),
            Some(vec![(1, full), (2, delta), (3, delta)])
        );
        assert_eq!(chain(&[entry(3, 0, 5), entry(2, 0, 5)]), None);
        assert_eq!(chain(&[]), None);
    }
}
