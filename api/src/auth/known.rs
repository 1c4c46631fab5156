//! Fingerprints of valid credentials: which rate limit a request counts against, before anything is
//! looked up.
//!
//! ```text
//! credential -> known?  yes -> rate of its principal -> look-up (a key may have been revoked)
//!                       no  -> failures of the client -> look-up, or 429 without one
//! ```
//!
//! A fingerprint does not authenticate. It only decides whose rate is counted, so that a valid key
//! works also from an address without failures left. The keys of the store are read at the start.
//! Keys that other processes make are read when an unknown key arrives: a few times at once, and
//! then once a second.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use policy_store::{Store, StoreError};

/// The most principals that are remembered. Beyond, all are forgotten, and each is looked up once
/// more.
const ACTORS_MAX: usize = 100_000;
/// How often the keys of other processes are read for unknown keys: this far apart, after so many
/// readings at once.
const READ_EVERY: Duration = Duration::from_secs(1);
const READS_AT_ONCE: NonZeroU32 = NonZeroU32::new(8).expect("it is eight");

/// The principal of a fingerprint, for its rate limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The household whose rate it counts against; for a principal of none, its own name.
    pub counted: Arc<str>,
    pub kind: ActorKind,
}

/// Which rate a principal counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// An operator or an auditor.
    Operator,
    /// A parent, by household.
    Parent,
    /// A child, by household.
    Child,
}

/// All known fingerprints.
pub struct Known {
    keys: RwLock<HashSet<u64>>,
    actors: Mutex<HashMap<u64, Actor>>,
    /// The last row of the keys in the store that was read.
    read: tokio::sync::Mutex<i64>,
    reads: DefaultDirectRateLimiter,
    hasher: RandomState,
}

impl Default for Known {
    fn default() -> Self {
        let quota = Quota::with_period(READ_EVERY)
            .expect("a second is some time")
            .allow_burst(READS_AT_ONCE);
        let (keys, actors, read, hasher) = Default::default();
        Self {
            keys,
            actors,
            read,
            reads: RateLimiter::direct(quota),
            hasher,
        }
    }
}

impl Known {
    /// The fingerprint of a token. It is seeded, so that no token can be made to collide with
    /// another one.
    pub fn fingerprint(&self, token: &str) -> u64 {
        self.hasher.hash_one(token)
    }

    /// The principal of a fingerprint, at its last successful authentication.
    pub fn actor(&self, fingerprint: u64) -> Option<Actor> {
        self.actors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&fingerprint)
            .cloned()
    }

    /// Whether a key with this fingerprint was valid.
    pub fn holds(&self, fingerprint: u64) -> bool {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&fingerprint)
    }

    /// Adds a key that was just made, or a session that was just begun.
    pub fn add_key(&self, fingerprint: u64) {
        self.keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(fingerprint);
    }

    /// Remembers the principal of a credential.
    pub fn remember(&self, fingerprint: u64, actor: Actor) {
        let mut actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        if actors.len() >= ACTORS_MAX {
            actors.clear();
        }
        actors.insert(fingerprint, actor);
    }

    /// Forgets a credential that is no longer valid.
    pub fn forget(&self, fingerprint: u64) {
        self.actors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&fingerprint);
        self.keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&fingerprint);
    }

    /// Reads keys that were made since the last reading, unless another request does so, or many
    /// did a moment ago.
    pub async fn read(&self, store: &Store) -> Result<(), StoreError> {
        let Ok(mut read) = self.read.try_lock() else {
            return Ok(());
        };
        if self.reads.check().is_err() {
            return Ok(());
        }
        if *read == 0 {
            // Sessions are begun by this process alone, which adds them as it begins them.
            let sessions = store.session_fingerprints().await?;
            sessions
                .into_iter()
                .for_each(|session| self.add_key(session));
        }
        let (fingerprints, row) = store.fingerprints(*read).await?;
        *read = row;
        self.keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(fingerprints);
        Ok(())
    }
}
