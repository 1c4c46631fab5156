//! Streams of events: how many there may be, and when each must end.
//!
//! A stream outlives the request that opened it. While streams are open, one task checks five times
//! a second whether each may stay: the end of its token, the provider's key behind the token, its
//! household and device, and revocations by any process, which the audit records. An idle node has
//! no such task.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use control::Control;
use jiff::Timestamp;
use policy::rules::household::Id;
use policy_store::StoreError;
use tokio::{sync::oneshot, time::MissedTickBehavior};

use crate::{
    auth::{oidc::Tokens, principal::Principal},
    panics,
    problem::Problem,
};

/// The most streams of one principal, and of all.
const STREAMS_PER_PRINCIPAL_MAX: usize = 8;
const STREAMS_MAX: usize = 100_000;
/// How often the task checks the open streams.
const CHECK_EVERY: Duration = Duration::from_millis(200);
/// The prefix of a key's identifier in the name of its principal.
const KEY_ACTOR: &str = "key:";

/// All streams of a node.
#[derive(Clone)]
pub struct Streams(Arc<Shared>);

struct Shared {
    seats: Mutex<Seats>,
    control: Arc<Control>,
    tokens: Option<Tokens>,
}

#[derive(Default)]
struct Seats {
    open: HashMap<u64, Open>,
    by_actor: HashMap<String, usize>,
    taken: usize,
    next: u64,
    is_watched: bool,
}

/// An open stream, as it was admitted.
struct Open {
    principal: Principal,
    /// The household whose events it sends.
    household: Option<Id>,
    /// Whether its key or session was looked up since it was opened: it may have ended between the
    /// two.
    is_checked: bool,
    /// The stream ends when this is dropped.
    _ends: oneshot::Sender<Infallible>,
}

/// What a stream depends on, beside its household and device.
enum Credential {
    Key(String),
    Session(u64),
}

impl Open {
    /// `None` for a token, which says itself when it ends.
    fn credential(&self) -> Option<Credential> {
        let key = || self.principal.author.actor.strip_prefix(KEY_ACTOR);
        match &self.principal.session {
            Some(session) => Some(Credential::Session(session.fingerprint)),
            None => key().map(|key| Credential::Key(key.to_owned())),
        }
    }
}

impl Seats {
    fn end(&mut self, is_over: impl Fn(&Open) -> bool) {
        // The stream gives its seat back when it is dropped.
        self.open.retain(|_, open| !is_over(open));
    }
}

impl Streams {
    /// No stream yet. Streams of a household or device end when it is removed.
    pub fn new(control: &Arc<Control>, tokens: Option<Tokens>) -> Self {
        let shared = Arc::new(Shared {
            seats: Mutex::default(),
            control: Arc::clone(control),
            tokens,
        });
        let weak = Arc::downgrade(&shared);
        control.events.on_removal(move || {
            if let Some(shared) = weak.upgrade() {
                shared.seats().end(|open| !shared.may_stay(open));
            }
        });
        Self(shared)
    }

    /// Takes a seat for a stream. Refuses if there are too many streams.
    pub fn take(&self, principal: &Principal, household: Option<Id>) -> Result<Seat, Problem> {
        let mut seats = self.0.seats();
        let full = |detail: String| {
            Err(Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "streams_limit",
                detail,
            ))
        };
        let actor = principal.author.actor.clone();
        if seats
            .by_actor
            .get(&actor)
            .is_some_and(|streams| *streams >= STREAMS_PER_PRINCIPAL_MAX)
        {
            return full(format!(
                "at most {STREAMS_PER_PRINCIPAL_MAX} streams of one key"
            ));
        }
        if seats.taken >= STREAMS_MAX {
            return full("too many streams; ask again later".to_owned());
        }
        let number = seats.next;
        seats.next += 1;
        seats.taken += 1;
        *seats.by_actor.entry(actor.clone()).or_default() += 1;
        let (ends, ended) = oneshot::channel();
        seats.open.insert(
            number,
            Open {
                principal: principal.clone(),
                household,
                is_checked: false,
                _ends: ends,
            },
        );
        if !std::mem::replace(&mut seats.is_watched, true) {
            panics::spawn("the end of streams", watch(Arc::clone(&self.0)));
        }
        Ok(Seat {
            shared: Arc::clone(&self.0),
            number,
            actor,
            ended,
        })
    }

    /// Ends the streams of a principal: its key was revoked.
    pub fn end_of(&self, actor: &str) {
        self.0
            .seats()
            .end(|open| open.principal.author.actor == actor);
    }

    /// Ends the streams of a session: its browser has logged out.
    pub fn end_of_session(&self, fingerprint: u64) {
        let is_of = |open: &Open| {
            let session = open.principal.session.as_ref();
            session.is_some_and(|session| session.fingerprint == fingerprint)
        };
        self.0.seats().end(is_of);
    }

    /// Ends all streams: the node shuts down.
    pub fn close(&self) {
        self.0.seats().end(|_| true);
    }
}

impl Shared {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a stream may stay open, as far as that is known without the store.
    fn may_stay(&self, open: &Open) -> bool {
        let Principal {
            expires_at,
            signed_by,
            ..
        } = &open.principal;
        let is_signed = || match (signed_by, &self.tokens) {
            (Some(key), Some(tokens)) => tokens.has_key(key),
            (signed_by, _) => signed_by.is_none(),
        };
        let directory = &self.control.directory;
        expires_at.is_none_or(|at| Timestamp::now() < at)
            && is_signed()
            && open.principal.exists_in(directory)
            && open
                .household
                .as_ref()
                .is_none_or(|household| directory.household(household).is_some())
    }

    /// Streams whose key or session was not looked up yet: their numbers, and what to look up.
    fn unchecked(&self) -> Vec<(u64, Credential)> {
        let seats = self.seats();
        let unchecked = seats.open.iter().filter(|(_, open)| !open.is_checked);
        unchecked
            .filter_map(|(number, open)| Some((*number, open.credential()?)))
            .collect()
    }

    /// Ends the streams of revoked keys. `audited` is the last row of the audit that was read.
    async fn end_revoked(&self, audited: &mut Option<u64>) -> Result<(), StoreError> {
        let store = &self.control.store;
        let revocations = store.revocations(*audited).await?;
        *audited = Some(revocations.next);
        if !revocations.actors.is_empty() {
            self.seats()
                .end(|open| revocations.actors.contains(&open.principal.author.actor));
        }
        for (number, credential) in self.unchecked() {
            let is_in_force = match credential {
                Credential::Key(key) => store.is_in_force(&key).await?,
                // A key that is revoked ends its sessions.
                Credential::Session(session) => store.has_session(session).await?,
            };
            let mut seats = self.seats();
            match seats.open.get_mut(&number) {
                Some(open) if is_in_force => open.is_checked = true,
                _ => drop(seats.open.remove(&number)),
            }
        }
        Ok(())
    }
}

/// A seat for a stream; given back when the stream is dropped.
pub struct Seat {
    shared: Arc<Shared>,
    number: u64,
    actor: String,
    ended: oneshot::Receiver<Infallible>,
}

impl Seat {
    /// Waits until the stream must end.
    pub async fn ended(&mut self) {
        let _dropped = (&mut self.ended).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.shared.seats();
        seats.open.remove(&self.number);
        seats.taken -= 1;
        if let Some(streams) = seats.by_actor.get_mut(&self.actor) {
            *streams -= 1;
            if *streams == 0 {
                seats.by_actor.remove(&self.actor);
            }
        }
    }
}

/// After a panic of the task, the next stream starts it again.
struct Watching(Arc<Shared>);

impl Drop for Watching {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.seats().is_watched = false;
        }
    }
}

/// Checks all streams while there are any.
async fn watch(shared: Arc<Shared>) {
    let watching = Watching(shared);
    let shared = &watching.0;
    let mut audited = None;
    let mut tick = tokio::time::interval(CHECK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        {
            let mut seats = shared.seats();
            seats.end(|open| !shared.may_stay(open));
            if seats.open.is_empty() {
                seats.is_watched = false;
                return;
            }
        }
        if let Err(error) = shared.end_revoked(&mut audited).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "whether keys of open streams were revoked cannot be read"
            );
        }
    }
}
