//! Streams of events: how many there may be, and when each must end.
//!
//! A stream outlives the request that opened it, so what let it in is looked at again, five times a
//! second, while streams are open: the end of its token, the provider's key behind the token, its
//! household and device, and revocations by any process, which the audit holds. One task looks for
//! all streams; an idle node has none.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use jiff::Timestamp;
use policy::rules::household::Id;
use policy_store::StoreError;
use tokio::{sync::oneshot, time::MissedTickBehavior};

use crate::{
    Context,
    auth::principal::{Principal, is_somewhere},
    panics,
    problem::Problem,
};

/// Streams at a time, of one principal and of all.
const STREAMS_PER_PRINCIPAL_MAX: usize = 8;
const STREAMS_MAX: usize = 100_000;
/// How often it is looked whether a stream may go on.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What stands before the identifier of a key in the name of its principal.
const KEY_ACTOR: &str = "key:";

/// All streams.
#[derive(Default)]
pub struct Streams(Mutex<Seats>);

#[derive(Default)]
struct Seats {
    open: HashMap<u64, Open>,
    by_actor: HashMap<String, usize>,
    taken: usize,
    next: u64,
    is_watched: bool,
}

/// One stream, as it was let in.
struct Open {
    principal: Principal,
    /// The household that it is about.
    household: Option<Id>,
    /// Whether its key was looked up since it was opened: the key may have ended between the two.
    is_checked: bool,
    /// The stream ends where this is dropped.
    _ends: oneshot::Sender<Infallible>,
}

impl Open {
    /// Whether it may go on, as far as that is known without the store.
    fn may_stay(&self, context: &Context) -> bool {
        let Principal {
            expires_at,
            signed_by,
            ..
        } = &self.principal;
        let is_signed = || match (signed_by, &context.tokens) {
            (Some(key), Some(tokens)) => tokens.has_key(key),
            (signed_by, _) => signed_by.is_none(),
        };
        expires_at.is_none_or(|at| Timestamp::now() < at)
            && is_signed()
            && is_somewhere(&self.principal, context)
            && self
                .household
                .as_ref()
                .is_none_or(|household| context.control.directory.household(household).is_some())
    }
}

impl Seats {
    fn end(&mut self, is_over: impl Fn(&Open) -> bool) {
        // The seat gives itself back when its stream is dropped.
        self.open.retain(|_, open| !is_over(open));
    }
}

impl Streams {
    /// Gives a principal a place for a stream, where there is one.
    pub fn take(
        context: &Arc<Context>,
        principal: &Principal,
        household: Option<Id>,
    ) -> Result<Seat, Problem> {
        let mut seats = context.streams.seats();
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
            panics::spawn("the end of streams", watch(Arc::clone(context)));
        }
        Ok(Seat {
            context: Arc::clone(context),
            number,
            actor,
            ended,
        })
    }

    /// Ends the streams of a principal: its key was revoked.
    pub fn end_of(&self, actor: &str) {
        self.seats()
            .end(|open| open.principal.author.actor == actor);
    }

    /// Ends the streams whose household, device or token is gone.
    pub fn end_lost(&self, context: &Context) {
        self.seats().end(|open| !open.may_stay(context));
    }

    /// Ends all streams: the program ends.
    pub fn close(&self) {
        self.seats().end(|_| true);
    }

    /// Streams whose key was not looked up yet: their numbers, and the identifiers of the keys.
    fn unchecked(&self) -> Vec<(u64, String)> {
        let of_key = |(number, open): (&u64, &Open)| {
            let id = open
                .principal
                .author
                .actor
                .strip_prefix(KEY_ACTOR)
                .filter(|_| !open.is_checked)?;
            Some((*number, id.to_owned()))
        };
        self.seats().open.iter().filter_map(of_key).collect()
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place for a stream; given back when the stream is dropped.
pub struct Seat {
    context: Arc<Context>,
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
        let mut seats = self.context.streams.seats();
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

/// Lets the next stream start the task again, also where it panicked.
struct Watching(Arc<Context>);

impl Drop for Watching {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.streams.seats().is_watched = false;
        }
    }
}

/// Looks after all streams while there are any.
async fn watch(context: Arc<Context>) {
    let watching = Watching(context);
    let context = &watching.0;
    let mut audited = None;
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        {
            let mut seats = context.streams.seats();
            seats.end(|open| !open.may_stay(context));
            if seats.open.is_empty() {
                seats.is_watched = false;
                return;
            }
        }
        if let Err(error) = look_up(context, &mut audited).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "whether keys of open streams were revoked cannot be read"
            );
        }
    }
}

/// Ends the streams of keys that were revoked.
async fn look_up(context: &Context, audited: &mut Option<u64>) -> Result<(), StoreError> {
    let streams = &context.streams;
    let revocations = context.control.store.revocations(*audited).await?;
    *audited = Some(revocations.next);
    if !revocations.actors.is_empty() {
        streams
            .seats()
            .end(|open| revocations.actors.contains(&open.principal.author.actor));
    }
    for (number, key) in streams.unchecked() {
        let is_in_force = context.control.store.is_in_force(&key).await?;
        let mut seats = streams.seats();
        match seats.open.get_mut(&number) {
            Some(open) if is_in_force => open.is_checked = true,
            _ => drop(seats.open.remove(&number)),
        }
    }
    Ok(())
}
