//! Admission: which queries are resolved when more arrive than can be resolved at a time.
//!
//! ```text
//! worker: miss ──admit──> place ──turn──> resolution ──drop──> place is free
//!            │ refused       │ evicted
//!            └──> SERVFAIL   └──> SERVFAIL
//! ```
//!
//! Two things are shared fairly, by client and by zone:
//!
//! - *Places* ([`places`]): at most `places_max` resolutions are under way. When all places are
//!   taken, the client or zone that holds the most loses its oldest one to a query of a smaller
//!   client and zone. So servers that do not respond, and the clients that query for their names,
//!   cannot hold what others need.
//! - *Turns* ([`turns`]): when resolutions start faster than the runtime can run them, the client
//!   and zone with the fewest recent starts are first. So a flood of names below one zone delays
//!   that zone.
//!
//! Clients and zones nearly all of whose resolutions fail are limited first ([`failing`]): once half
//! of the places are taken, they have an eighth at most, and each of their starts counts as eight.

mod client_key;
mod failing;
mod limited;
mod places;
mod turns;

use std::{
    sync::{Arc, Mutex, MutexGuard, atomic::Ordering},
    time::Duration,
};

use policy::{lists::public_suffix::registrable_domain, name::NameRef};

use self::{
    places::{PlaceSignals, Places},
    turns::Turns,
};

pub(crate) use self::limited::LimitedGroups;
pub use self::{
    client_key::ClientKey,
    limited::{LimitCause, Limited, LimitedGroup},
    places::{AdmissionLimit, AdmissionSettings},
};

/// Starts between two turns of the dispatcher, which runs after the tasks that are ready. A count:
/// some milliseconds of work.
const STARTS_PER_ROUND: usize = 16;
/// Turns of places that were lost meanwhile, which are kept until there are more.
const STALE_TURNS: usize = 1_024;
/// Turns that a resolution of a failing client or zone takes.
const FAILING_COST: u64 = 8;

/// Shares places and turns. Cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<Mutex<State>>);

struct State {
    places: Places,
    turns: Turns,
    /// Starts left in this round.
    starts_left: usize,
    /// The time of the latest admission, since the start.
    now: Duration,
    /// Whether a task gives turns. There is one while resolutions wait.
    is_dispatching: bool,
}

/// A place, from admission until it is dropped.
pub struct Place {
    admission: Admission,
    number: u64,
    signals: Arc<PlaceSignals>,
}

/// A query was admitted.
pub struct Admitted {
    pub place: Place,
    /// The group that lost a place to it.
    pub evicted: Option<LimitedGroup>,
}

impl Admission {
    #[must_use]
    pub fn new(settings: AdmissionSettings) -> Self {
        Self(Arc::new(Mutex::new(State {
            places: Places::new(settings),
            turns: Turns::default(),
            starts_left: STARTS_PER_ROUND,
            now: Duration::ZERO,
            is_dispatching: false,
        })))
    }

    /// Takes a place for one resolution. `now` is the time since the start.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn admit(
        &self,
        client: ClientKey,
        name: NameRef<'_>,
        now: Duration,
    ) -> Result<Admitted, AdmissionLimit> {
        let zone = registrable_domain(name).to_owned();
        let signals = Arc::<PlaceSignals>::default();
        let (number, evicted) = {
            let mut state = self.state();
            state.now = state.now.max(now);
            state
                .places
                .take(Some(client), zone, Arc::clone(&signals), now)?
        };
        Ok(Admitted {
            place: Place {
                admission: self.clone(),
                number,
                signals,
            },
            evicted,
        })
    }

    /// Takes a place for work that no client waits for: only where a fourth of all places is free.
    #[must_use]
    pub fn admit_spare(&self, name: NameRef<'_>, now: Duration) -> Option<Place> {
        let zone = registrable_domain(name).to_owned();
        let signals = Arc::<PlaceSignals>::default();
        let mut state = self.state();
        if !state.places.has_spare() {
            return None;
        }
        let taken = state.places.take(None, zone, Arc::clone(&signals), now);
        drop(state);
        taken.ok().map(|(number, _)| Place {
            admission: self.clone(),
            number,
            signals,
        })
    }

    /// The places that are taken. A count.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.state().places.taken()
    }

    /// Clients and zones that were limited in the last minute, longest first.
    #[must_use]
    pub fn limited(&self, now: Duration) -> Vec<(LimitedGroup, LimitCause, Limited)> {
        self.state().places.limited.current(now)
    }

    /// Gives turns, one round after the other, until no resolution waits. Between two rounds, tasks
    /// that are ready run.
    async fn dispatch(self) {
        let mut dispatcher = Dispatcher {
            admission: self,
            is_done: false,
        };
        loop {
            // A task that has just been woken may run before those that are ready.
            tokio::task::yield_now().await;
            let mut state = dispatcher.admission.state();
            state.starts_left = STARTS_PER_ROUND;
            state.start_next();
            // The flag changes under the same lock: a resolution that comes later starts a new task.
            let is_done = state.turns.is_empty();
            state.is_dispatching = !is_done;
            if is_done {
                drop(state);
                dispatcher.is_done = true;
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("no thread panics while it holds the lock")
    }
}

/// The task that gives turns. If its runtime ends, another task takes over.
struct Dispatcher {
    admission: Admission,
    is_done: bool,
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        if !self.is_done {
            self.admission.state().is_dispatching = false;
        }
    }
}

impl State {
    /// Starts resolutions that wait, as many as this round has left.
    fn start_next(&mut self) {
        while self.starts_left > 0
            && let Some(number) = self.turns.pop()
        {
            // A place that was given up while it waited has no signals any more.
            if let Some(signals) = self.places.signals(number) {
                signals.start.notify_one();
                self.starts_left -= 1;
            }
        }
    }
}

impl Place {
    /// Waits for the turn to start. Returns at once while the runtime keeps up.
    pub async fn turn(&self) {
        if !self.may_start() {
            self.signals.start.notified().await;
        }
    }

    /// Says that the resolution ended without records: it failed, or the name does not exist.
    pub fn failed(&self) {
        self.signals.has_failed.store(true, Ordering::Relaxed);
    }

    /// Waits until the place is lost. It may be awaited again after a cancelled wait.
    pub async fn evicted(&self) {
        self.signals.evicted.notified().await;
    }

    fn may_start(&self) -> bool {
        let mut state = self.admission.state();
        let State {
            places,
            turns,
            starts_left,
            now,
            is_dispatching,
        } = &mut *state;
        let is_failing = !turns.is_empty() && places.is_failing(self.number, *now);
        let Some((client, zone)) = places.groups(self.number) else {
            // Evicted before its turn: the caller is told at once.
            return true;
        };
        if *starts_left > 0 && turns.is_empty() {
            *starts_left -= 1;
            true
        } else {
            let cost = if is_failing { FAILING_COST } else { 1 };
            turns.push(client, zone, self.number, cost);
            if turns.len() > 2 * places.len() + STALE_TURNS {
                turns.keep(|number| places.signals(number).is_some());
            }
            if !std::mem::replace(is_dispatching, true) {
                tokio::spawn(self.admission.clone().dispatch());
            }
            false
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        let now = state.now;
        state.places.give_up(self.number, now);
    }
}

#[cfg(test)]
mod tests;
