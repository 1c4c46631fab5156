//! The next manifest: the previous one, the artefacts of the publisher's folder, and its request.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use policy::lists::artefact::peek;

use super::{
    error::ShareError,
    local::DigestCache,
    manifest::{Manifest, ManifestEntry, StoredObject},
};
use crate::generations::{Artefact, ArtefactKind};

/// The requested state of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishRequest {
    /// The generation that this node uses: from now on the newest that followers take.
    pub live: u64,
    /// Generations to be withdrawn: nodes that use one leave it at once. They stay withdrawn until
    /// they are reinstated.
    pub withdraw: Vec<u64>,
    /// Generations to be reinstated. The delays of nodes start over.
    pub reinstate: Vec<u64>,
}

impl PublishRequest {
    /// Makes a generation live and changes nothing else.
    #[must_use]
    pub fn live(generation: u64) -> Self {
        Self {
            live: generation,
            ..Self::default()
        }
    }
}

/// An artefact of this folder.
pub(super) struct LocalArtefact {
    artefact: Artefact,
    object: StoredObject,
    parent: Option<u64>,
}

impl LocalArtefact {
    pub(super) fn read(
        artefact: Artefact,
        digests: &DigestCache,
    ) -> Result<Option<Self>, ShareError> {
        let Some(digested) = digests.of(&artefact.path)? else {
            return Ok(None);
        };
        let unusable = |what: String| {
            ShareError::Format(format!(
                "{} cannot be published: {what}",
                artefact.path.display()
            ))
        };
        if !digested.is_whole {
            return Err(unusable(
                "it is damaged, its hash does not match".to_owned(),
            ));
        }
        let header = peek(&artefact.path).map_err(|error| unusable(error.to_string()))?;
        let parent = header
            .parent
            .filter(|_| artefact.kind == ArtefactKind::Delta);
        if header.generation != artefact.generation
            || (artefact.kind == ArtefactKind::Delta && parent.is_none())
        {
            return Err(unusable(format!(
                "it says that it is generation {}",
                header.generation
            )));
        }
        Ok(Some(Self {
            artefact,
            object: digested.object,
            parent,
        }))
    }
}

/// A file to be published.
pub(super) struct ObjectFile {
    pub(super) kind: ArtefactKind,
    pub(super) object: StoredObject,
    pub(super) path: PathBuf,
}

/// The generations of the next manifest, and the local files that it needs by object name.
pub(super) struct Merged {
    pub(super) generations: Vec<ManifestEntry>,
    pub(super) files: BTreeMap<String, ObjectFile>,
}

/// Merges the artefacts of this folder into the manifest `before` and applies a request.
pub(super) fn merge(
    before: Option<&Manifest>,
    ours: &[LocalArtefact],
    request: &PublishRequest,
    keep: usize,
    directory: &Path,
    now: Timestamp,
) -> Result<Merged, ShareError> {
    let mut entries: BTreeMap<u64, ManifestEntry> = before
        .map(|manifest| manifest.generations.clone())
        .unwrap_or_default()
        .into_iter()
        .map(|entry| (entry.generation, entry))
        .collect();
    let mut files = BTreeMap::new();
    for local in ours {
        let entry = entries
            .entry(local.artefact.generation)
            .or_insert_with(|| ManifestEntry::new(local.artefact.generation, now));
        if add(entry, local, ours, directory)? {
            let kind = local.artefact.kind;
            let file = ObjectFile {
                kind,
                object: local.object.clone(),
                path: local.artefact.path.clone(),
            };
            files.insert(local.object.name(kind), file);
        }
    }
    for generation in &request.withdraw {
        if let Some(entry) = entries.get_mut(generation) {
            entry.withdrawn = true;
        }
    }
    for generation in &request.reinstate {
        if let Some(entry) = entries.get_mut(generation).filter(|entry| entry.withdrawn) {
            entry.withdrawn = false;
            entry.published_at = now;
        }
    }
    check_live(before, &entries, request)?;
    let mut manifest = Manifest::new(0, now, request.live, entries.into_values().collect());
    manifest.generations = kept_generations(&manifest, keep);
    if manifest.chain_to(request.live).is_none() {
        return Err(ShareError::Unreachable(request.live));
    }
    let objects = manifest.objects();
    files.retain(|name, _| objects.contains_key(name));
    Ok(Merged {
        generations: manifest.generations,
        files,
    })
}

/// Adds an artefact to its generation; returns whether it is to be published.
fn add(
    entry: &mut ManifestEntry,
    local: &LocalArtefact,
    ours: &[LocalArtefact],
    directory: &Path,
) -> Result<bool, ShareError> {
    let LocalArtefact {
        artefact,
        object,
        parent,
    } = local;
    let generation = artefact.generation;
    let kind = artefact.kind;
    if let Some(theirs) = entry.object(kind).filter(|theirs| *theirs != object) {
        // Two nodes may fold the same delta into different octets with equal meaning.
        let is_fold = kind == ArtefactKind::Full
            && entry.delta.is_some()
            && is_ours(ours, generation, entry.delta.as_ref());
        if is_fold {
            return Ok(false);
        }
        return Err(ShareError::Clash {
            generation,
            directory: directory.to_owned(),
            ours: object.sha256.clone(),
            theirs: theirs.sha256.clone(),
        });
    }
    match kind {
        ArtefactKind::Full => entry.full = Some(object.clone()),
        ArtefactKind::Delta => {
            entry.delta = Some(object.clone());
            entry.parent = *parent;
        }
    }
    Ok(true)
}

fn is_ours(ours: &[LocalArtefact], generation: u64, delta: Option<&StoredObject>) -> bool {
    ours.iter().any(|file| {
        file.artefact.generation == generation
            && file.artefact.kind == ArtefactKind::Delta
            && Some(&file.object) == delta
    })
}

/// Checks that the requested generation may become live.
fn check_live(
    before: Option<&Manifest>,
    entries: &BTreeMap<u64, ManifestEntry>,
    request: &PublishRequest,
) -> Result<(), ShareError> {
    match entries.get(&request.live) {
        None => return Err(ShareError::Unreachable(request.live)),
        Some(entry) if entry.withdrawn => return Err(ShareError::Withdrawn(request.live)),
        Some(_) => {}
    }
    let Some(live) = before
        .map(|manifest| manifest.live)
        .filter(|&live| live > request.live)
    else {
        return Ok(());
    };
    let mut newer = entries.range(request.live + 1..=live);
    match newer.find(|(_, entry)| !entry.withdrawn) {
        Some((&live, _)) => Err(ShareError::Overtaken {
            live,
            ours: request.live,
        }),
        None => Ok(()),
    }
}

/// The newest `keep` full artefacts, everything newer, and what is needed to open these.
fn kept_generations(manifest: &Manifest, keep: usize) -> Vec<ManifestEntry> {
    let mut full = manifest
        .generations
        .iter()
        .rev()
        .filter(|entry| entry.full.is_some() && entry.generation <= manifest.live);
    let oldest = full
        .nth(keep.max(1) - 1)
        .map_or(0, |entry| entry.generation);
    let mut needed: Vec<u64> = vec![];
    for entry in manifest
        .generations
        .iter()
        .filter(|entry| entry.generation >= oldest || entry.generation == manifest.live)
    {
        needed.push(entry.generation);
        // Most chains end at once or consist of needed generations; only those that lead below the
        // oldest are followed.
        if entry.full.is_none() && entry.parent.is_some_and(|parent| parent < oldest) {
            needed.extend(
                manifest
                    .chain_to(entry.generation)
                    .into_iter()
                    .flatten()
                    .map(|entry| entry.generation),
            );
        }
    }
    needed.sort_unstable();
    manifest
        .generations
        .iter()
        .filter(|entry| needed.binary_search(&entry.generation).is_ok())
        .cloned()
        .collect()
}
