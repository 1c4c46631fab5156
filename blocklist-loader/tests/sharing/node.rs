//! Nodes of the tests: one that builds, and followers.

use std::{
    collections::BTreeSet,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use blocklist_loader::{
    generations::{delta_path, open, path_of},
    share::{
        Follower, KeyFiles, PublishRequest, PublishResult, Publisher, ShareError, ShareRole,
        ShareSettings, generate_keys, random_fraction,
    },
};
use jiff::{SignedDuration, Timestamp};
use policy::{
    category::Taxonomy,
    lists::{
        artefact::{FeedSummary, Header},
        blocklist::Blocklist,
        builder::fold,
        delta::Delta,
        entry::{ListEntry, NO_CATEGORY, Scope, Tier},
    },
    name::Name,
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::place::TestStore;

/// This many seconds after the common start time.
pub fn after(seconds: impl Into<i64>) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds.into()).unwrap()
}

/// A name with a unique beginning, so that artefacts are as long as with real names.
fn key(name: u32) -> Vec<u8> {
    let mut key = Vec::new();
    let mixed = u64::from(name)
        .wrapping_add(1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Name::parse(&format!("{mixed:016x}n{name}.example"))
        .unwrap()
        .borrow()
        .write_key(&mut key);
    key
}

fn header(generation: u64) -> Header {
    let feeds = vec![FeedSummary::new("orders", Tier::Mandatory)];
    Header {
        feeds,
        arrivals: vec![Timestamp::UNIX_EPOCH],
        ..Header::of(generation, Timestamp::UNIX_EPOCH)
    }
}

const MARK: ListEntry = ListEntry {
    feed: 0,
    category: NO_CATEGORY,
    scope: Scope::Subtree,
    polarity: policy::lists::entry::Polarity::Deny,
    important: false,
    action: policy::lists::entry::EntryAction::OperatorPolicy,
    data: 0,
    arrival: 0,
};

/// A node that builds and publishes.
pub struct ArtefactBuilder {
    folder: TempDir,
    pub keys: KeyFiles,
    publisher: Publisher,
    names: BTreeSet<u32>,
    generation: u64,
    /// Octets of the newest full artefact.
    pub octets: u64,
    /// The folder of the keys.
    _keys: Arc<TempDir>,
}

impl ArtefactBuilder {
    pub fn new(place: &TestStore) -> Self {
        let home = Arc::new(tempfile::tempdir().unwrap());
        let keys = generate_keys(home.path()).unwrap();
        Self::with(place, keys, home)
    }

    fn with(place: &TestStore, keys: KeyFiles, home: Arc<TempDir>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = ShareSettings {
            secret_key: Some(keys.secret.clone()),
            ..place.settings(ShareRole::Publish)
        };
        settings.check().unwrap();
        let publisher = Publisher::new(&settings, folder.path()).unwrap();
        Self {
            folder,
            keys,
            publisher,
            names: BTreeSet::new(),
            generation: 0,
            octets: 0,
            _keys: home,
        }
    }

    /// Another node with the same key and the same generations.
    pub fn twin(&self, place: &TestStore) -> Self {
        let mut twin = Self::with(place, self.keys.clone(), Arc::clone(&self._keys));
        twin.adopt(self);
        twin
    }

    /// Copies the generations of another node.
    pub fn adopt(&mut self, other: &Self) {
        for entry in std::fs::read_dir(other.folder.path())
            .unwrap()
            .map(Result::unwrap)
        {
            let target = self.folder.path().join(entry.file_name());
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with("generation-")
                && !target.exists()
            {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
        (self.names, self.generation) = (other.names.clone(), other.generation);
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn names(&self) -> BTreeSet<u32> {
        self.names.clone()
    }

    /// The next generation lists these names.
    pub fn full(&mut self, names: Range<u32>) -> &mut Self {
        self.generation += 1;
        self.names = names.collect();
        let mut builder = policy::lists::builder::ArtefactBuilder::new();
        for &name in &self.names {
            builder.push_key(&key(name), MARK).unwrap();
        }
        self.octets = builder
            .write(
                header(self.generation),
                None,
                &path_of(self.folder.path(), self.generation),
            )
            .unwrap()
            .octets;
        self
    }

    /// Adds or removes these names in the next generation.
    pub fn delta(&mut self, changes: &[(u32, bool)]) -> &mut Self {
        self.delta_as(self.generation + 1, changes)
    }

    pub fn delta_as(&mut self, generation: u64, changes: &[(u32, bool)]) -> &mut Self {
        write_delta(self.folder.path(), generation, self.generation, changes);
        for &(name, is_listed) in changes {
            if is_listed {
                self.names.insert(name)
            } else {
                self.names.remove(&name)
            };
        }
        self.generation = generation;
        self
    }

    /// Writes the newest generation in folded form as well.
    pub fn fold(&mut self) -> &mut Self {
        let lists = open(self.folder.path(), self.generation, &Taxonomy::shipped()).unwrap();
        fold(&lists, &path_of(self.folder.path(), self.generation)).unwrap();
        self
    }

    pub async fn publish(&mut self, now: Timestamp) -> PublishResult {
        self.change(PublishRequest::live(self.generation), now)
            .await
            .unwrap()
    }

    pub async fn change(
        &mut self,
        change: PublishRequest,
        now: Timestamp,
    ) -> Result<PublishResult, ShareError> {
        self.publisher.publish(&change, now).await
    }

    /// The name of a delta in the store.
    pub fn object_of(&self, generation: u64) -> String {
        let octets = std::fs::read(delta_path(self.folder.path(), generation)).unwrap();
        format!(
            "objects/{}.oxd",
            policy::lists::artefact::hexadecimal(&Sha256::digest(&octets))
        )
    }
}

fn write_delta(folder: &Path, generation: u64, parent: u64, changes: &[(u32, bool)]) {
    let marks = |&(name, is_listed): &(u32, bool)| {
        (
            key(name).into_boxed_slice(),
            if is_listed { vec![MARK] } else { vec![] },
        )
    };
    let header = Header {
        parent: Some(parent),
        ..header(generation)
    };
    let path = delta_path(folder, generation);
    Delta {
        path,
        header,
        changes: changes.iter().map(marks).collect(),
        sha256: String::new(),
    }
    .write()
    .unwrap();
}

/// A following node.
pub struct Node {
    folder: Arc<TempDir>,
    pub follower: Follower,
    lists: Option<Arc<Blocklist>>,
    /// Files fetched for the last generation.
    pub fetched: usize,
}

impl Node {
    pub fn follow(place: &TestStore, builder: &ArtefactBuilder, delay_s: u64) -> Self {
        Self::with(&settings(place, builder, delay_s))
    }

    pub fn with(settings: &ShareSettings) -> Self {
        settings.check().unwrap();
        Self::at(Arc::new(tempfile::tempdir().unwrap()), settings, None)
    }

    fn at(folder: Arc<TempDir>, settings: &ShareSettings, lists: Option<Arc<Blocklist>>) -> Self {
        let follower = Follower::new(settings, folder.path()).unwrap();
        Self {
            folder,
            follower,
            lists,
            fetched: 0,
        }
    }

    pub fn settings(
        &self,
        place: &TestStore,
        builder: &ArtefactBuilder,
        delay_s: u64,
    ) -> ShareSettings {
        settings(place, builder, delay_s)
    }

    /// The same node after a restart.
    pub fn restarted(self, place: &TestStore, builder: &ArtefactBuilder) -> Self {
        let Self {
            folder,
            follower,
            lists,
            ..
        } = self;
        drop(follower);
        Self::at(folder, &settings(place, builder, 0), lists)
    }

    /// Polls once as a daemon does; returns the new live generation if it changed.
    pub async fn poll(&mut self, now: Timestamp) -> Result<Option<u64>, ShareError> {
        let current = self.lists.as_ref().map(|lists| lists.generation());
        let Some(offer) = self.follower.poll(current, now).await? else {
            return Ok(None);
        };
        let lists = open(self.folder.path(), offer.generation, &Taxonomy::shipped()).unwrap();
        assert_eq!(lists.generation(), offer.generation);
        assert!(offer.files.iter().all(|file| file.exists()));
        self.fetched = offer.fetched;
        self.lists = Some(lists);
        Ok(Some(offer.generation))
    }

    /// The gate that a poll fails at; the generation in use stays.
    pub async fn gate(&mut self, now: Timestamp) -> &'static str {
        let generation = self.generation();
        let failures = self.follower.status().failures;
        let error = self.poll(now).await.expect_err("a gate stops it");
        assert_eq!(
            (self.generation(), self.follower.status().failures),
            (generation, failures + 1)
        );
        error.gate().as_str()
    }

    pub fn generation(&self) -> u64 {
        self.lists.as_ref().map_or(0, |lists| lists.generation())
    }

    pub fn names(&self) -> BTreeSet<u32> {
        let mut names = BTreeSet::new();
        self.lists.as_ref().unwrap().for_each_name(|key, _| {
            let name = policy::name::name_of_key(key).unwrap().to_string();
            names.insert(name.split(['n', '.']).nth(1).unwrap().parse().unwrap());
        });
        names
    }

    /// How many files of a generation are in the folder under their final name.
    pub fn files_of(&self, generation: u64) -> usize {
        [
            path_of(self.folder.path(), generation),
            delta_path(self.folder.path(), generation),
        ]
        .iter()
        .filter(|path| path.exists())
        .count()
    }

    /// Leaves the temporary file of an interrupted fetch of a delta.
    pub fn begin(&self, generation: u64, object: &str, begun: &[u8]) {
        let path = delta_path(self.folder.path(), generation);
        let digest = object.strip_prefix("objects/").unwrap();
        std::fs::write(
            PathBuf::from(format!("{}.fetching-{}", path.display(), &digest[..16])),
            begun,
        )
        .unwrap();
    }

    /// Writes a delta that was never published.
    pub fn own_delta(&self, generation: u64) {
        write_delta(
            self.folder.path(),
            generation,
            generation - 1,
            &[(9999, true)],
        );
    }

    /// Follows in the background until it is dropped.
    pub fn run(mut self) -> Running {
        let seen = Arc::new((AtomicU64::new(0), AtomicU32::new(0)));
        let show = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let _ = self.poll(Timestamp::now()).await;
                show.0.store(self.generation(), Ordering::Release);
                show.1
                    .store(self.follower.status().failures, Ordering::Release);
                tokio::time::sleep(self.follower.pause(random_fraction())).await;
            }
        });
        Running { task, seen }
    }
}

fn settings(place: &TestStore, builder: &ArtefactBuilder, delay_s: u64) -> ShareSettings {
    ShareSettings {
        public_key: Some(builder.keys.public_key.clone()),
        delay_s,
        ..place.settings(ShareRole::Follow)
    }
}

/// A node that follows in the background.
pub struct Running {
    task: tokio::task::JoinHandle<()>,
    seen: Arc<(AtomicU64, AtomicU32)>,
}

impl Running {
    pub fn generation(&self) -> u64 {
        self.seen.0.load(Ordering::Acquire)
    }

    pub async fn has(&self, generation: u64, within: Duration) {
        eventually("the generation is live", within, || {
            self.generation() == generation
        })
        .await;
    }

    pub async fn failed(&self, times: u32, within: Duration) {
        eventually("polls fail", within, || {
            self.seen.1.load(Ordering::Acquire) >= times
        })
        .await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub async fn eventually(what: &str, within: Duration, holds: impl Fn() -> bool) {
    let began = Instant::now();
    let between = SignedDuration::from_millis(10).unsigned_abs();
    while !holds() {
        assert!(began.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(between).await;
    }
}
