//! The fetching side: reads the manifest and fetches the files that are missing locally.
//!
//! ```text
//! manifest -- signed? newer? -- which generation? -- missing files? -- fetch to a temporary file -- SHA-256 -- sync -- link -- ReadyGeneration
//! ```
//!
//! A file appears under its final name only when it is complete, synced and has the signed digest;
//! a full artefact appears before the deltas that continue it. An interrupted fetch resumes: its
//! temporary file stays and is hashed again.

use std::{
    collections::BTreeSet,
    fs::File,
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::{
    chain::{ChainFile, shortest},
    error::{ShareError, ShareSettingsFault, blocking, disk},
    keys::Verifier,
    local::{self, DigestCache, SeenManifest, hash_reader},
    manifest::{Manifest, ManifestEntry, StoredObject},
    settings::ShareSettings,
    store::{LiveManifest, ShareStore, failed, seconds_for, within},
};
use crate::digest::hexadecimal;

/// Between the final name of a file and the beginning of its digest, while it is fetched.
const FETCHING: &str = ".fetching-";
/// Objects that are fetched concurrently; a new node has hundreds of small deltas to fetch.
const AT_A_TIME: usize = 8;
/// How many generations one poll tries if the best one cannot be fetched.
const CANDIDATES: usize = 4;
/// The longest pause after failed polls. Short enough to notice soon that a store is back; long
/// enough that a thousand nodes send no more than a hundred requests a second.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Polls are early or late by up to a quarter, so that nodes that were started together spread out.
const JITTER: f64 = 0.25;

/// A generation that this node should use, with all its files in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyGeneration {
    pub generation: u64,
    /// The files of the generation, the full artefact first.
    pub files: Vec<PathBuf>,
    pub published_at: Timestamp,
    /// Number of files that were fetched for it.
    pub fetched: usize,
    /// Number of octets that were fetched for it.
    pub octets: u64,
}

/// The state of a follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowerStatus {
    /// The highest sequence that was seen; 0 before the first manifest.
    pub sequence: u64,
    /// The live generation of the manifest.
    pub live: Option<u64>,
    /// When the manifest was signed. Publishers sign at least once a minute; an older manifest
    /// means that no publisher runs or that the store is stale.
    pub published_at: Option<Timestamp>,
    /// Consecutive failed polls.
    pub failures: u32,
}

/// The fetching side of sharing.
pub struct Follower {
    store: ShareStore,
    verifier: Verifier,
    public_key: String,
    directory: PathBuf,
    delay: SignedDuration,
    poll: Duration,
    memory: Option<SeenManifest>,
    /// The last manifest, and its version in the store.
    manifest: Option<(Manifest, Option<String>)>,
    digests: DigestCache,
    refused: BTreeSet<u64>,
    failures: u32,
    _lock: File,
}

impl Follower {
    /// Reads the key and the stored sequence; does not contact the store.
    ///
    /// # Errors
    /// The settings, the key or the folder cannot be used.
    pub fn new(settings: &ShareSettings, directory: &Path) -> Result<Self, ShareError> {
        let verifier = Verifier::parse(
            settings
                .public_key
                .as_deref()
                .ok_or(ShareSettingsFault::PublicKeyMissing)?,
        )?;
        let lock = local::lock(directory)?;
        let public_key = verifier.to_string();
        Ok(Self {
            store: ShareStore::open(settings)?,
            verifier,
            memory: SeenManifest::read(directory, &public_key)?,
            public_key,
            directory: directory.to_owned(),
            delay: SignedDuration::from_secs(settings.delay_s.try_into().unwrap_or(i64::MAX)),
            poll: Duration::from_secs(settings.poll_s),
            manifest: None,
            digests: DigestCache::default(),
            refused: BTreeSet::new(),
            failures: 0,
            _lock: lock,
        })
    }

    /// Polls the store. `current` is the generation in use, if there is one. Returns the generation
    /// that should replace it, once all its files are in the folder.
    ///
    /// # Errors
    /// The first failure; nothing in use is changed.
    pub async fn poll(
        &mut self,
        current: Option<u64>,
        now: Timestamp,
    ) -> Result<Option<ReadyGeneration>, ShareError> {
        let polled = self
            .poll_once(current.filter(|&current| current > 0), now)
            .await;
        self.failures = if polled.is_ok() {
            0
        } else {
            self.failures.saturating_add(1)
        };
        polled
    }

    /// Marks a generation that the node could not open, so that it is not returned again while this
    /// process runs.
    pub fn refuse(&mut self, generation: u64) {
        self.refused.insert(generation);
    }

    /// The pause before the next poll. `random_fraction` is at least 0 and less than 1, see
    /// [`random_fraction`].
    #[must_use]
    pub fn pause(&self, random_fraction: f64) -> Duration {
        if self.failures == 0 {
            return self
                .poll
                .mul_f64(1.0 - JITTER + 2.0 * JITTER * random_fraction);
        }
        // The whole span, not its end: nodes that failed together must spread out.
        let longest = self
            .poll
            .saturating_mul(1 << self.failures.min(16))
            .min(PAUSE_MAX.max(self.poll));
        self.poll / 2
            + longest
                .saturating_sub(self.poll / 2)
                .mul_f64(random_fraction)
    }

    #[must_use]
    pub fn status(&self) -> FollowerStatus {
        let manifest = self.manifest.as_ref().map(|(manifest, _)| manifest);
        FollowerStatus {
            sequence: self.memory.as_ref().map_or(0, |memory| memory.sequence),
            live: manifest.map(|manifest| manifest.live),
            published_at: manifest.map(|manifest| manifest.published_at),
            failures: self.failures,
        }
    }

    async fn poll_once(
        &mut self,
        current: Option<u64>,
        now: Timestamp,
    ) -> Result<Option<ReadyGeneration>, ShareError> {
        self.read().await?;
        let Some((manifest, _)) = &self.manifest else {
            return Err(ShareError::NothingPublished(self.store.url().to_owned()));
        };
        let mut first_error = None;
        for generation in manifest
            .candidates(current, self.delay, now, &self.refused)
            .into_iter()
            .take(CANDIDATES)
        {
            match self.get(manifest, generation).await {
                Ok(offer) => return Ok(Some(offer)),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(None), Err)
    }

    /// Reads the manifest if it changed.
    async fn read(&mut self) -> Result<(), ShareError> {
        let known = self
            .manifest
            .as_ref()
            .and_then(|(_, version)| version.as_deref());
        let (sealed, version) = match self.store.read_live(known).await? {
            LiveManifest::Unchanged => return Ok(()),
            LiveManifest::Nothing => {
                return Err(ShareError::NothingPublished(self.store.url().to_owned()));
            }
            LiveManifest::Here { sealed, version } => (sealed, version),
        };
        let (manifest, sha256) = Manifest::open(&sealed, &self.verifier)?;
        if let Some(memory) = &self.memory {
            if manifest.sequence < memory.sequence {
                let offered = manifest.sequence;
                let seen = memory.sequence;
                return Err(ShareError::Replayed {
                    offered,
                    seen,
                    memory: SeenManifest::path(&self.directory),
                });
            }
            if manifest.sequence == memory.sequence && sha256 != memory.sha256 {
                return Err(ShareError::Forked(manifest.sequence));
            }
        }
        let memory = SeenManifest {
            public_key: self.public_key.clone(),
            sequence: manifest.sequence,
            sha256,
        };
        if self.memory.as_ref() != Some(&memory) {
            // Stored on disk before it has any effect.
            let directory = self.directory.clone();
            let written = memory.clone();
            blocking(move || written.write(&directory)).await?;
            self.memory = Some(memory);
        }
        self.manifest = Some((manifest, version));
        Ok(())
    }

    /// Fetches the missing files of a generation.
    async fn get(
        &self,
        manifest: &Manifest,
        generation: u64,
    ) -> Result<ReadyGeneration, ShareError> {
        let chain = self.chain(manifest, generation).await?;
        let missing: Vec<ChainFile> = chain
            .iter()
            .filter(|needed| !needed.is_here)
            .cloned()
            .collect();
        // Results come in the order of the chain, so a delta is never in place before its parent.
        let mut fetched =
            stream::iter(missing.clone().into_iter().map(|needed| self.fetch(needed)))
                .buffered(AT_A_TIME);
        let mut octets = 0;
        for needed in &missing {
            let aside = fetched.next().await.expect("one for each")?;
            let path = needed.path.clone();
            let digests = self.digests.clone();
            let object = needed.object.clone();
            let generation = needed.generation;
            let directory = self.directory.clone();
            blocking(move || install(&aside, &path, &object, generation, &directory, &digests))
                .await?;
            octets += needed.object.octets;
        }
        drop(fetched);
        let fetched = missing.len();
        let files = chain.iter().map(|needed| needed.path.clone()).collect();
        if fetched > 0 {
            let directory = self.directory.clone();
            blocking(move || sweep(&directory)).await;
        }
        let published_at = manifest
            .entry(generation)
            .map_or(manifest.published_at, |entry| entry.published_at);
        Ok(ReadyGeneration {
            generation,
            files,
            published_at,
            fetched,
            octets,
        })
    }

    /// The files of a generation, the full artefact first, by the chain with the least octets to
    /// fetch.
    async fn chain(
        &self,
        manifest: &Manifest,
        generation: u64,
    ) -> Result<Vec<ChainFile>, ShareError> {
        let mut entries: Vec<ManifestEntry> = Vec::new();
        let mut next = manifest.entry(generation);
        while let Some(entry) = next {
            entries.push(entry.clone());
            next = entry.parent.and_then(|parent| manifest.entry(parent));
        }
        let directory = self.directory.clone();
        let digests = self.digests.clone();
        let chain = blocking(move || shortest(&entries, &directory, &digests)).await?;
        chain.ok_or(ShareError::Unreachable(generation))
    }

    /// Fetches one object into a temporary file, resuming an earlier attempt; returns its path.
    async fn fetch(&self, needed: ChainFile) -> Result<PathBuf, ShareError> {
        let ChainFile {
            path, object, kind, ..
        } = needed;
        let name = object.name(kind);
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!("{FETCHING}{}", &object.sha256[..16]));
        let aside = PathBuf::from(aside);
        let (mut file, mut hash, mut have) = {
            let aside = aside.clone();
            let most = object.octets;
            blocking(move || resume(&aside, most).map_err(disk("opening", &aside))).await?
        };
        let fetch = async {
            if have < object.octets {
                let got = self.store.get(&name, have).await?;
                check_length(&name, got.meta.size, object.octets)?;
                let mut stream = got.into_stream();
                while let Some(octets) = stream.next().await {
                    let octets = octets.map_err(failed("fetching", &name))?;
                    have += octets.len() as u64;
                    if have > object.octets {
                        return Err(ShareError::TooLarge {
                            object: name.clone(),
                            most: object.octets,
                        });
                    }
                    hash.update(&octets);
                    file.write_all(&octets).map_err(disk("writing", &aside))?;
                }
            }
            check_length(&name, have, object.octets)
        };
        within(&name, seconds_for(object.octets), fetch).await?;
        let sha256 = hexadecimal(&hash.finalize());
        if sha256 != object.sha256 {
            // The next attempt starts over.
            std::fs::remove_file(&aside).map_err(disk("deleting", &aside))?;
            return Err(ShareError::Digest {
                object: name,
                sha256,
                expected: object.sha256.clone(),
            });
        }
        let path = aside.clone();
        blocking(move || file.sync_all().map_err(disk("syncing", &path))).await?;
        Ok(aside)
    }
}

/// A random number for [`Follower::pause`], from the system's seed of hash tables.
#[must_use]
pub fn random_fraction() -> f64 {
    (RandomState::new().build_hasher().finish() >> 11) as f64 / (1u64 << 53) as f64
}

/// Opens a partly fetched object at its end; the hash covers its content.
fn resume(aside: &Path, most: u64) -> io::Result<(File, Sha256, u64)> {
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(aside)?;
    if file.metadata()?.len() > most {
        file.set_len(0)?;
    }
    let mut hash = Sha256::new();
    let have = hash_reader(&mut hash, &mut file, u64::MAX)?;
    file.seek(SeekFrom::End(0))?;
    Ok((file, hash, have))
}

fn check_length(object: &str, octets: u64, expected: u64) -> Result<(), ShareError> {
    let object = object.to_owned();
    match octets {
        octets if octets < expected => Err(ShareError::Truncated {
            object,
            octets,
            expected,
        }),
        octets if octets > expected => Err(ShareError::TooLarge {
            object,
            most: expected,
        }),
        _ => Ok(()),
    }
}

/// Gives a fetched file its final name. Uses a link, because a rename would replace an existing
/// file.
fn install(
    aside: &Path,
    path: &Path,
    object: &StoredObject,
    generation: u64,
    directory: &Path,
    digests: &DigestCache,
) -> Result<(), ShareError> {
    match std::fs::hard_link(aside, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let here = digests.of(path)?.map(|here| here.object);
            if here.as_ref() != Some(object) {
                let ours = here.map(|here| here.sha256).unwrap_or_default();
                let theirs = object.sha256.clone();
                return Err(ShareError::Clash {
                    generation,
                    directory: directory.to_owned(),
                    ours,
                    theirs,
                });
            }
        }
        Err(error) => return Err(disk("naming", path)(error)),
    }
    std::fs::remove_file(aside).map_err(disk("deleting", aside))?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(disk("syncing", directory))
}

/// Deletes temporary files that are not needed any more. Best effort: they only waste space.
fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains(FETCHING))
    {
        let _ = std::fs::remove_file(entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::{ShareRole, generate_keys};

    #[test]
    fn polls_keep_their_time_and_after_failures_nodes_come_back_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let key = generate_keys(folder.path()).unwrap().public_key;
        let mut follower = Follower::new(
            &ShareSettings {
                public_key: Some(key),
                ..ShareSettings::new("/absent", ShareRole::Follow)
            },
            folder.path(),
        )
        .unwrap();
        let span = |follower: &Follower| {
            (
                follower.pause(0.0).as_millis(),
                follower.pause(0.999_999).as_millis(),
            )
        };
        assert_eq!(span(&follower), (750, 1249));
        for (failures, longest) in [(1, 1999), (2, 3999), (3, 7999), (4, 9999), (1000, 9999)] {
            follower.failures = failures;
            assert_eq!(span(&follower), (500, longest));
        }
        // A thousand nodes that failed together: no tenth of a second gets more than a few.
        let mut tenths = [0; 100];
        (0..1000).for_each(|_| {
            tenths[usize::try_from(follower.pause(random_fraction()).as_millis() / 100).unwrap()] +=
                1
        });
        assert!(tenths.iter().all(|&nodes| nodes < 40), "{tenths:?}");
    }
}
