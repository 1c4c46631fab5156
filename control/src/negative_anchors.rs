//! Negative trust anchors of a running node (RFC 7646): those of the configuration, and those of the
//! store until each one's end. The data path is told of each change.
//!
//! ```text
//! configuration ──┐
//! store, API ─────┼──> registry ──> all that are in force ──> recursor and caches
//! clock ──────────┘
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use metrics::{describe_gauge, gauge};
use policy::{lists::current::CurrentLists, name::Name};
use policy_store::{Store, StoreError};
use tokio::task::JoinError;

use crate::{
    causes,
    lists::{model::EventKind, status::ListStatus},
};

pub use resolver::recursor::NegativeTrustAnchor;

/// Negative trust anchors in force that are not of the configuration. A count: a resolution
/// compares each zone with all of them.
pub const ANCHORS_MAX: usize = 100;
/// The longest sleep. If the wall clock is set during it, an anchor still ends within a second.
const SLEEP_MAX: Duration = Duration::from_millis(250);

/// Puts anchors in force in place of all that were before. What is cached below those that are new
/// or gone is forgotten when it returns, which may take as long as the caches are large.
pub type PutInForce = Box<dyn Fn(Vec<NegativeTrustAnchor>) + Send + Sync>;

/// What the configuration says.
#[derive(Debug, Clone)]
pub struct NegativeAnchorSettings {
    /// `recursion.negative_trust_anchors`.
    pub configured: Vec<Name>,
    /// `recursion.nta_days_max`.
    pub days_max: u32,
    /// `recursion.dnssec`.
    pub validates: bool,
}

/// The negative trust anchors in force.
pub struct NegativeAnchorRegistry {
    configured: BTreeSet<Name>,
    days_max: u32,
    validates: bool,
    put_in_force: PutInForce,
    /// Those that are not of the configuration, with their ends.
    until: Mutex<BTreeMap<Name, Timestamp>>,
    /// The order in which the data path is told of changes.
    turns: Mutex<()>,
    /// Serialises writes: what is stored last is in force last.
    pub writes: tokio::sync::Mutex<()>,
}

/// Why an anchor cannot be put in force. Its text is for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnchorRefusal {
    #[error("nothing is validated with recursion.dnssec = false")]
    NothingValidated,
    #[error(
        "no zone is broken so far that all of the DNS must go without validation; recursion.dnssec = false turns it off"
    )]
    Root,
    #[error("the configuration has it, without an end (recursion.negative_trust_anchors)")]
    Configured,
    #[error(
        "an end that is to come, at most {0} days from now (recursion.nta_days_max, RFC 7646 section 4)"
    )]
    End(u32),
    #[error("{ANCHORS_MAX} are in force, the most that there may be; delete one first")]
    TooMany,
}

impl NegativeAnchorRegistry {
    /// A registry of the configured anchors, which the data path already has.
    #[must_use]
    pub fn new(settings: NegativeAnchorSettings, put_in_force: PutInForce) -> Self {
        Self {
            configured: settings.configured.into_iter().collect(),
            days_max: settings.days_max,
            validates: settings.validates,
            put_in_force,
            until: Mutex::default(),
            turns: Mutex::default(),
            writes: tokio::sync::Mutex::default(),
        }
    }

    /// The names of the configuration.
    pub fn configured(&self) -> impl Iterator<Item = &Name> {
        self.configured.iter()
    }

    #[must_use]
    pub fn is_configured(&self, name: &Name) -> bool {
        self.configured.contains(name)
    }

    /// Whether an anchor that is not of the configuration is in force.
    #[must_use]
    pub fn is_in_force(&self, name: &Name) -> bool {
        self.lock().contains_key(name)
    }

    /// Whether an anchor may be put in force until a time.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(
        &self,
        name: &Name,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), AnchorRefusal> {
        if !self.validates {
            return Err(AnchorRefusal::NothingValidated);
        }
        if name.borrow().is_root() {
            return Err(AnchorRefusal::Root);
        }
        if self.is_configured(name) {
            return Err(AnchorRefusal::Configured);
        }
        let lifetime = until.duration_since(now);
        let lifetime_max = SignedDuration::from_hours(24 * i64::from(self.days_max));
        if !lifetime.is_positive() || lifetime > lifetime_max {
            return Err(AnchorRefusal::End(self.days_max));
        }
        let all = self.lock();
        if all.len() >= ANCHORS_MAX && !all.contains_key(name) {
            return Err(AnchorRefusal::TooMany);
        }
        Ok(())
    }

    /// Puts an anchor in force, or changes its end. It holds when this returns.
    ///
    /// # Errors
    /// [`JoinError`] if the data path panicked.
    pub async fn put(self: &Arc<Self>, name: Name, until: Timestamp) -> Result<(), JoinError> {
        self.change(name, Some(until)).await
    }

    /// Ends an anchor. Its names are validated again when this returns.
    ///
    /// # Errors
    /// [`JoinError`] if the data path panicked.
    pub async fn remove(self: &Arc<Self>, name: Name) -> Result<(), JoinError> {
        self.change(name, None).await
    }

    /// Changes one anchor, on a thread that may wait.
    async fn change(
        self: &Arc<Self>,
        name: Name,
        until: Option<Timestamp>,
    ) -> Result<(), JoinError> {
        let registry = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let _turn = registry.turn();
            // What was validated since an end must go, even if the anchor comes back at once.
            let now = Timestamp::now();
            if registry
                .lock()
                .extract_if(.., |known, until| *known == name && *until <= now)
                .count()
                > 0
            {
                registry.apply();
            }
            match until {
                Some(until) => registry.lock().insert(name, until),
                None => registry.lock().remove(&name),
            };
            registry.apply();
        })
        .await
    }

    /// Ends the anchors whose time is over. Returns them with their ends.
    fn end(&self, now: Timestamp) -> Vec<(Name, Timestamp)> {
        let _turn = self.turn();
        let ended: Vec<_> = self
            .lock()
            .extract_if(.., |_, until| *until <= now)
            .collect();
        if !ended.is_empty() {
            self.apply();
        }
        ended
    }

    /// Tells the data path of all that are in force. The caller has the turn, so that the last
    /// change is the last that it is told of.
    fn apply(&self) {
        let configured = self.configured.iter().map(|name| NegativeTrustAnchor {
            name: name.clone(),
            until_unix_s: None,
        });
        let mut anchors: Vec<_> = configured.collect();
        anchors.extend(self.lock().iter().map(|(name, until)| NegativeTrustAnchor {
            name: name.clone(),
            until_unix_s: Some(full_seconds(*until)),
        }));
        (self.put_in_force)(anchors);
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time until the next end. None without one.
    fn left(&self, now: Timestamp) -> Option<Duration> {
        let next = self.lock().values().min().copied()?;
        Some(Duration::try_from(next.duration_since(now)).unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Timestamp>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The second in which a time is over.
fn full_seconds(at: Timestamp) -> u64 {
    let second = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
    second.unsigned_abs()
}

/// Puts the stored anchors in force, before the first answer. Those of the configuration hold even
/// if the store cannot be read.
pub async fn start(
    store: &Store,
    settings: NegativeAnchorSettings,
    put_in_force: PutInForce,
) -> Arc<NegativeAnchorRegistry> {
    describe_gauge!(
        "ox_protect_negative_trust_anchors",
        "Negative trust anchors in force, by source: configuration or api"
    );
    let registry = NegativeAnchorRegistry::new(settings, put_in_force);
    let log = |error: &StoreError| {
        tracing::error!(
            error = causes(error),
            "a negative trust anchor cannot be read and is not in force"
        )
    };
    let stored = store.negative_anchors().await.unwrap_or_else(|error| {
        log(&error);
        Vec::new()
    });
    let now = Timestamp::now();
    for anchor in stored
        .into_iter()
        .filter_map(|read| read.inspect_err(log).ok())
    {
        let until = anchor.terms.until;
        if now < until && !registry.is_configured(&anchor.name) {
            registry.lock().insert(anchor.name, until);
        }
    }
    registry.apply();
    Arc::new(registry)
}

/// Ends anchors by the clock, until the task is dropped.
pub async fn run(
    registry: Arc<NegativeAnchorRegistry>,
    status: Arc<ListStatus>,
    lists: Arc<CurrentLists>,
) {
    loop {
        let left = registry.left(Timestamp::now());
        if left == Some(Duration::ZERO) {
            let ending = Arc::clone(&registry);
            let ended = tokio::task::spawn_blocking(move || ending.end(Timestamp::now())).await;
            for (name, until) in ended.unwrap_or_default() {
                tracing::warn!(%name, %until, "a negative trust anchor has ended; its names are validated again");
                let detail = format!("{name}, until {until}");
                let generation = lists.load().generation();
                let kind = EventKind::NegativeAnchorEnded;
                status.publish(kind, None, generation, Some(detail), Timestamp::now());
            }
        }
        tokio::time::sleep(left.map_or(SLEEP_MAX, |left| left.min(SLEEP_MAX))).await;
    }
}

/// Sets the gauges.
pub fn show(registry: &NegativeAnchorRegistry) {
    let configured = registry.configured.len();
    let of_store = registry.lock().len();
    for (source, count) in [("configuration", configured), ("api", of_store)] {
        gauge!("ox_protect_negative_trust_anchors", "source" => source).set(count as f64);
    }
}

#[cfg(test)]
mod tests;
