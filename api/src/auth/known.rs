//! Credentials that open, by fingerprint: what a request may cost before anything is looked up.
//!
//! ```text
//! credential -> known?  yes -> rate of its principal -> look-up (a key may have been revoked)
//!                       no  -> failures of the peer  -> look-up, or 429 without one
//! ```
//!
//! A fingerprint opens nothing. It decides only whose rate is counted, so that a key in force opens
//! also from an address whose failures are used up. The store's own keys are read at the start;
//! keys that other processes make are read when an unknown key comes, some times at once and once a
//! second in a loop.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use policy_store::{Store, StoreError};

/// Principals whose last request is remembered; where there are more, all are forgotten, and each
/// is looked up once more.
const ACTORS_MAX: usize = 100_000;
/// How often keys of other processes are read: a second apart in a loop of unknown keys, and so
/// often at once before that.
const READ_EVERY: Duration = Duration::from_secs(1);
const READS_AT_ONCE: NonZeroU32 = NonZeroU32::new(8).expect("it is eight");

/// The principal behind a fingerprint, as far as rates count it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Its name in the audit.
    pub name: Arc<str>,
    /// Whether it belongs to a household.
    pub is_of_household: bool,
}

/// All fingerprints that are known.
pub struct Known {
    keys: RwLock<HashSet<u64>>,
    actors: Mutex<HashMap<u64, Actor>>,
    /// The last row of the store's keys that was read.
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
    /// The fingerprint of a token. Seeded, so that no token can be made to share one.
    pub fn fingerprint(&self, token: &str) -> u64 {
        self.hasher.hash_one(token)
    }

    /// The principal that a fingerprint stood for when it last opened.
    pub fn actor(&self, fingerprint: u64) -> Option<Actor> {
        self.actors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&fingerprint)
            .cloned()
    }

    /// Whether a key of this fingerprint was in force.
    pub fn holds(&self, fingerprint: u64) -> bool {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&fingerprint)
    }

    /// Takes a key that was just made.
    pub fn add_key(&self, fingerprint: u64) {
        self.keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(fingerprint);
    }

    /// Remembers what a credential opened as.
    pub fn remember(&self, fingerprint: u64, actor: Actor) {
        let mut actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        if actors.len() >= ACTORS_MAX {
            actors.clear();
        }
        actors.insert(fingerprint, actor);
    }

    /// Forgets a credential that opens nothing any more.
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

    /// Reads the keys that were made since the last reading, unless another request does so, or
    /// many did just now.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn read(&self, store: &Store) -> Result<(), StoreError> {
        let Ok(mut read) = self.read.try_lock() else {
            return Ok(());
        };
        if self.reads.check().is_err() {
            return Ok(());
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
