//! The publishing side: sends objects first, then the manifest that names them.
//!
//! Two publishers may share a store. A manifest only replaces the one that was read before; a
//! publisher that lost the race reads again and decides again. A publisher never replaces the
//! content of a generation, and withdraws one only explicitly.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    error::{ShareError, ShareSettingsFault, blocking, causes, disk},
    keys::ManifestSigner,
    local::{self, DigestCache, SeenManifest},
    manifest::Manifest,
    merge::{LocalArtefact, Merged, ObjectFile, PublishRequest, merge},
    settings::ShareSettings,
    store::{LiveManifest, ShareStore},
};
use crate::generations::{ArtefactKind, kept};

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

/// The manifest in the store.
struct StoredManifest {
    manifest: Manifest,
    /// Digest of the signed document.
    sha256: String,
    /// Version of the object in the store.
    version: Option<String>,
}

/// The publishing side of sharing.
pub struct Publisher {
    store: ShareStore,
    signer: ManifestSigner,
    public_key: String,
    directory: PathBuf,
    keep: usize,
    digests: DigestCache,
    sequence: u64,
    /// The manifest in the store, as it was read last.
    seen: Option<StoredManifest>,
    swept_at: Option<Timestamp>,
    _lock: File,
}

impl Publisher {
    /// Reads the key and the stored sequence; does not contact the store.
    ///
    /// # Errors
    /// The settings, the key or the folder cannot be used.
    pub fn new(settings: &ShareSettings, directory: &Path) -> Result<Self, ShareError> {
        let signer = ManifestSigner::read(
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
            store: ShareStore::open(settings)?,
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
        request: &PublishRequest,
        now: Timestamp,
    ) -> Result<PublishResult, ShareError> {
        self.store.prepare().await?;
        let ours = self.ours(request.live).await?;
        let mut result = PublishResult::default();
        for _ in 0..ATTEMPTS {
            self.read().await?;
            let before = self.seen.as_ref().map(|seen| &seen.manifest);
            let Merged { generations, files } =
                merge(before, &ours, request, self.keep, &self.directory, now)?;
            let current = before.filter(|manifest| {
                manifest.live == request.live && manifest.generations == generations
            });
            if let Some(manifest) = current
                .filter(|manifest| now.duration_since(manifest.published_at).abs() < HEARTBEAT)
            {
                result.sequence = manifest.sequence;
                result.deleted = self.swept(now).await;
                return Ok(result);
            }
            let is_new = current.is_none();
            // If the store was reset, the sequence must continue nevertheless.
            let sequence = before
                .map_or(0, |manifest| manifest.sequence)
                .max(self.sequence)
                + 1;
            let there = before.map(Manifest::objects).unwrap_or_default();
            let new: Vec<&ObjectFile> = files
                .iter()
                .filter(|(name, _)| !there.contains_key(*name))
                .map(|(_, file)| file)
                .collect();
            let manifest = Manifest::new(sequence, now, request.live, generations);
            if self.replace(&manifest, &new, &mut result).await? {
                result.sequence = sequence;
                result.changed = is_new;
                result.deleted = self.swept(now).await;
                return Ok(result);
            }
        }
        Err(ShareError::Outrun(ATTEMPTS))
    }

    /// Sends the new objects and replaces the manifest that was read last. Returns false if another
    /// publisher was faster.
    async fn replace(
        &mut self,
        manifest: &Manifest,
        new: &[&ObjectFile],
        result: &mut PublishResult,
    ) -> Result<bool, ShareError> {
        self.send(new, result).await?;
        let (sealed, sha256) = manifest.seal(&self.signer)?;
        let known = self.seen.as_ref().and_then(|seen| seen.version.clone());
        let is_written = self.store.write_live(sealed, known.as_deref()).await?;
        if !is_written {
            // A lost response looks like a race with this publisher itself.
            self.seen = None;
            self.read().await?;
            if self.seen.as_ref().is_none_or(|seen| seen.sha256 != sha256) {
                return Ok(false);
            }
        }
        // Another publisher may just have deleted existing objects that no manifest named until
        // now.
        self.send(new, result).await?;
        self.sequence = manifest.sequence;
        let memory = SeenManifest {
            public_key: self.public_key.clone(),
            sequence: manifest.sequence,
            sha256,
        };
        let directory = self.directory.clone();
        blocking(move || memory.write(&directory)).await?;
        self.read().await?;
        Ok(true)
    }

    /// Sends the files that the store does not have, and counts them.
    async fn send(
        &self,
        files: &[&ObjectFile],
        result: &mut PublishResult,
    ) -> Result<(), ShareError> {
        for ObjectFile { kind, object, path } in files {
            if self.store.length(&object.name(*kind)).await? != Some(object.octets) {
                self.store.put(object, *kind, path).await?;
                result.sent += 1;
                result.octets += object.octets;
            }
        }
        Ok(())
    }

    /// Reads the manifest in the store if it changed.
    async fn read(&mut self) -> Result<(), ShareError> {
        let known = self.seen.as_ref().and_then(|seen| seen.version.as_deref());
        match self.store.read_live(known).await? {
            LiveManifest::Unchanged => {}
            LiveManifest::Nothing => self.seen = None,
            LiveManifest::Here { sealed, version } => {
                let (manifest, sha256) = Manifest::open(&sealed, &self.signer.verifier)?;
                self.seen = Some(StoredManifest {
                    manifest,
                    sha256,
                    version,
                });
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
            .map(|seen| seen.manifest.objects())
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
