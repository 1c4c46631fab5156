//! The publishing side: sends objects first, then the manifest that names them.
//!
//! Two publishers may share a store. A manifest only replaces the one that was read before; a
//! publisher that lost the race reads again and decides again. A publisher never replaces the
//! content of a generation, and withdraws one only explicitly.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use policy::lists::artefact::peek;

use super::{
    ShareError, blocking, causes, disk,
    keys::Signer,
    local::{self, DigestCache, SeenManifest},
    manifest::{Manifest, ManifestEntry, StoredObject},
    settings::{ShareSettings, ShareSettingsFault},
    store::{LiveManifest, Store},
};
use crate::generations::{Artefact, ArtefactKind, kept};

/// How often a publisher retries after losing a race.
const ATTEMPTS: u32 = 8;
/// An unchanged manifest is signed again after this, so that followers can distinguish an idle
/// publisher from a stale store.
const HEARTBEAT: SignedDuration = SignedDuration::from_secs(60);
/// Objects that no manifest names are kept this long: a node may still fetch them by the previous
/// manifest.
const GRACE: SignedDuration = SignedDuration::from_hours(1);
/// How often unneeded objects are deleted.
const SWEEP: SignedDuration = SignedDuration::from_mins(10);

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

/// The result of publishing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishResult {
    /// The sequence of the current manifest.
    pub sequence: u64,
    /// Whether the manifest differs from the previous one.
    pub changed: bool,
    /// Number of objects that were sent.
    pub sent: usize,
    /// Number of octets that were sent.
    pub octets: u64,
    /// Number of unneeded objects that were deleted.
    pub deleted: usize,
}

/// The publishing side of sharing.
pub struct Publisher {
    store: Store,
    signer: Signer,
    public_key: String,
    directory: PathBuf,
    keep: usize,
    digests: DigestCache,
    sequence: u64,
    /// The current manifest, its digest, and its version in the store.
    seen: Option<(Manifest, String, Option<String>)>,
    swept_at: Option<Timestamp>,
    _lock: File,
}

impl Publisher {
    /// Reads the key and the stored sequence; does not contact the store.
    ///
    /// # Errors
    /// The settings, the key or the folder cannot be used.
    pub fn new(settings: &ShareSettings, directory: &Path) -> Result<Self, ShareError> {
        let signer = Signer::read(
            settings
                .secret_key
                .as_deref()
                .ok_or(ShareSettingsFault::SecretKeyMissing)?,
        )?;
        let lock = local::lock(directory)?;
        let public_key = signer.verifier.to_string();
        let sequence =
            SeenManifest::read(directory, &public_key)?.map_or(0, |memory| memory.sequence);
        Ok(Self {
            store: Store::open(settings)?,
            signer,
            public_key,
            directory: directory.to_owned(),
            keep: settings.keep,
            digests: DigestCache::default(),
            sequence,
            seen: None,
            swept_at: None,
            _lock: lock,
        })
    }

    /// Brings the store to the state of this folder, as far as requested. The daemon calls this
    /// after each change, and periodically.
    ///
    /// # Errors
    /// The first failure; the manifest in the store is unchanged.
    pub async fn publish(
        &mut self,
        change: &PublishRequest,
        now: Timestamp,
    ) -> Result<PublishResult, ShareError> {
        self.store.prepare().await?;
        let ours = self.ours(change.live).await?;
        let mut sent = 0;
        let mut octets = 0;
        for _ in 0..ATTEMPTS {
            self.read().await?;
            let before = self.seen.as_ref().map(|(manifest, ..)| manifest);
            let (generations, paths) =
                merge(before, &ours, change, self.keep, &self.directory, now)?;
            let is_said = |manifest: &&Manifest| {
                manifest.live == change.live && manifest.generations == generations
            };
            if let Some(manifest) = before
                .filter(is_said)
                .filter(|manifest| now.duration_since(manifest.published_at).abs() < HEARTBEAT)
            {
                let sequence = manifest.sequence;
                return Ok(PublishResult {
                    sequence,
                    sent,
                    octets,
                    deleted: self.swept(now).await,
                    changed: false,
                });
            }
            let changed = before.filter(is_said).is_none();
            // If the store was reset, the sequence must continue nevertheless.
            let sequence = before
                .map_or(0, |manifest| manifest.sequence)
                .max(self.sequence)
                + 1;
            let manifest = Manifest::new(sequence, now, change.live, generations);
            let there = before.map(Manifest::objects).unwrap_or_default();
            let new: Vec<&(ArtefactKind, StoredObject, PathBuf)> = paths
                .iter()
                .filter(|(name, _)| !there.contains_key(*name))
                .map(|(_, file)| file)
                .collect();
            let (count, sum) = self.send(&new).await?;
            (sent, octets) = (sent + count, octets + sum);
            let (sealed, sha256) = manifest.seal(&self.signer)?;
            let known = self
                .seen
                .as_ref()
                .and_then(|(_, _, version)| version.clone());
            let is_written = self.store.write_live(sealed, known.as_deref()).await?;
            if !is_written {
                // A lost response looks like a race with this publisher itself.
                self.seen = None;
                self.read().await?;
                if self
                    .seen
                    .as_ref()
                    .is_none_or(|(_, there, _)| *there != sha256)
                {
                    continue;
                }
            }
            // Another publisher may just have deleted existing objects that no manifest named until
            // now.
            let (count, sum) = self.send(&new).await?;
            (sent, octets) = (sent + count, octets + sum);
            self.sequence = sequence;
            let memory = SeenManifest {
                public_key: self.public_key.clone(),
                sequence,
                sha256,
            };
            let directory = self.directory.clone();
            blocking(move || memory.write(&directory)).await?;
            self.read().await?;
            return Ok(PublishResult {
                sequence,
                changed,
                sent,
                octets,
                deleted: self.swept(now).await,
            });
        }
        Err(ShareError::Outrun(ATTEMPTS))
    }

    /// Sends the files that the store does not have; returns their number and octets.
    async fn send(
        &self,
        files: &[&(ArtefactKind, StoredObject, PathBuf)],
    ) -> Result<(usize, u64), ShareError> {
        let mut sent = 0;
        let mut octets = 0;
        for (kind, object, path) in files {
            if self.store.length(&object.name(*kind)).await? != Some(object.octets) {
                self.store.put(object, *kind, path).await?;
                (sent, octets) = (sent + 1, octets + object.octets);
            }
        }
        Ok((sent, octets))
    }

    /// Reads the manifest in the store if it changed.
    async fn read(&mut self) -> Result<(), ShareError> {
        let known = self
            .seen
            .as_ref()
            .and_then(|(_, _, version)| version.as_deref());
        match self.store.read_live(known).await? {
            LiveManifest::Unchanged => {}
            LiveManifest::Nothing => self.seen = None,
            LiveManifest::Here { sealed, version } => {
                let (manifest, sha256) = Manifest::open(&sealed, &self.signer.verifier)?;
                self.seen = Some((manifest, sha256, version));
            }
        }
        Ok(())
    }

    /// The files of this folder that are to be published, each read and verified.
    async fn ours(&self, live: u64) -> Result<Vec<LocalArtefact>, ShareError> {
        let directory = self.directory.clone();
        let keep = self.keep;
        let digests = self.digests.clone();
        blocking(move || {
            let files = kept(&directory, keep, live).map_err(disk("listing", &directory))?;
            let files = files
                .into_iter()
                .filter(|artefact| artefact.generation <= live);
            files
                .filter_map(|artefact| LocalArtefact::read(artefact, &digests).transpose())
                .collect()
        })
        .await
    }

    /// Deletes unneeded objects now and then. A failure is only logged: publishing must not depend
    /// on the permission to list and delete.
    async fn swept(&mut self, now: Timestamp) -> usize {
        if self
            .swept_at
            .is_some_and(|at| now.duration_since(at).abs() < SWEEP)
        {
            return 0;
        }
        self.swept_at = Some(now);
        self.sweep(now).await.unwrap_or_else(|error| {
            tracing::warn!(
                error = causes(&error),
                "unneeded objects could not be deleted from the store"
            );
            0
        })
    }

    /// Deletes objects that have been unneeded for [`GRACE`].
    async fn sweep(&mut self, now: Timestamp) -> Result<usize, ShareError> {
        let there = self.store.list().await?;
        // Read after the list, so that objects that another publisher named meanwhile are kept.
        self.read().await?;
        let needed = self
            .seen
            .as_ref()
            .map(|(manifest, ..)| manifest.objects())
            .unwrap_or_default();
        let mut deleted = 0;
        for (name, written) in there {
            let is_ours = [ArtefactKind::Full, ArtefactKind::Delta]
                .iter()
                .any(|kind| name.ends_with(kind.suffix()));
            if is_ours && !needed.contains_key(&name) && now.duration_since(written) >= GRACE {
                self.store.delete(&name).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}

/// An artefact of this folder.
struct LocalArtefact {
    artefact: Artefact,
    object: StoredObject,
    parent: Option<u64>,
}

impl LocalArtefact {
    fn read(artefact: Artefact, digests: &DigestCache) -> Result<Option<Self>, ShareError> {
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

/// Files to be published, by object name.
type Paths = BTreeMap<String, (ArtefactKind, StoredObject, PathBuf)>;

/// The generations of the next manifest, and the files that it needs.
fn merge(
    before: Option<&Manifest>,
    ours: &[LocalArtefact],
    change: &PublishRequest,
    keep: usize,
    directory: &Path,
    now: Timestamp,
) -> Result<(Vec<ManifestEntry>, Paths), ShareError> {
    let known = before
        .map(|manifest| manifest.generations.clone())
        .unwrap_or_default();
    let mut entries: BTreeMap<u64, ManifestEntry> = known
        .into_iter()
        .map(|entry| (entry.generation, entry))
        .collect();
    let mut paths = Paths::new();
    for LocalArtefact {
        artefact,
        object,
        parent,
    } in ours
    {
        let generation = artefact.generation;
        let kind = artefact.kind;
        let entry = entries
            .entry(generation)
            .or_insert_with(|| ManifestEntry::new(generation, now));
        if let Some(theirs) = entry.object(kind).filter(|theirs| *theirs != object) {
            // Two nodes may fold the same delta into different octets with equal meaning.
            let is_fold = kind == ArtefactKind::Full
                && entry.delta.is_some()
                && is_ours(ours, generation, entry.delta.as_ref());
            if is_fold {
                continue;
            }
            let ours = object.sha256.clone();
            let theirs = theirs.sha256.clone();
            return Err(ShareError::Clash {
                generation,
                directory: directory.to_owned(),
                ours,
                theirs,
            });
        }
        match kind {
            ArtefactKind::Full => entry.full = Some(object.clone()),
            ArtefactKind::Delta => (entry.delta, entry.parent) = (Some(object.clone()), *parent),
        }
        paths.insert(
            object.name(kind),
            (kind, object.clone(), artefact.path.clone()),
        );
    }
    for generation in &change.withdraw {
        if let Some(entry) = entries.get_mut(generation) {
            entry.withdrawn = true;
        }
    }
    for generation in &change.reinstate {
        if let Some(entry) = entries.get_mut(generation).filter(|entry| entry.withdrawn) {
            *entry = ManifestEntry {
                withdrawn: false,
                published_at: now,
                ..entry.clone()
            };
        }
    }
    judge(before, &entries, change)?;
    let mut manifest = Manifest::new(0, now, change.live, entries.into_values().collect());
    manifest.generations = bounded(&manifest, keep);
    if manifest.chain_to(change.live).is_none() {
        return Err(ShareError::Unreachable(change.live));
    }
    let objects = manifest.objects();
    paths.retain(|name, _| objects.contains_key(name));
    Ok((manifest.generations, paths))
}

fn is_ours(ours: &[LocalArtefact], generation: u64, delta: Option<&StoredObject>) -> bool {
    ours.iter().any(|file| {
        file.artefact.generation == generation
            && file.artefact.kind == ArtefactKind::Delta
            && Some(&file.object) == delta
    })
}

/// Checks that the requested generation may become live.
fn judge(
    before: Option<&Manifest>,
    entries: &BTreeMap<u64, ManifestEntry>,
    change: &PublishRequest,
) -> Result<(), ShareError> {
    match entries.get(&change.live) {
        None => return Err(ShareError::Unreachable(change.live)),
        Some(entry) if entry.withdrawn => return Err(ShareError::Withdrawn(change.live)),
        Some(_) => {}
    }
    let Some(live) = before
        .map(|manifest| manifest.live)
        .filter(|&live| live > change.live)
    else {
        return Ok(());
    };
    let mut newer = entries.range(change.live + 1..=live);
    match newer.find(|(_, entry)| !entry.withdrawn) {
        Some((&live, _)) => Err(ShareError::Overtaken {
            live,
            ours: change.live,
        }),
        None => Ok(()),
    }
}

/// The newest `keep` full artefacts, everything newer, and what is needed to open these.
fn bounded(manifest: &Manifest, keep: usize) -> Vec<ManifestEntry> {
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
