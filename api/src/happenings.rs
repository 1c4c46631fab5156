//! What happens in a household, told as it happens to those who belong to it: server-sent events.
//!
//! A household has a room while somebody listens. Who reads too slowly loses the oldest events and
//! is told how many; nobody waits. How many streams there may be, and when each must end, is
//! `streams`' affair.

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use jiff::Timestamp;
use policy::rules::household::{Device, Household, Id};
use serde_json::{Value, json};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, timeout_at},
};

use crate::{
    Context, asking_shapes, panics,
    principal::{Member, Principal},
    problem::Problem,
    request::{Segments, segment},
    streams::{Seat, Streams},
};

/// Events that wait for a slow reader.
const WAITING_MAX: usize = 64;
/// A stream ends after this time, and whoever still may comes again.
const STREAM_ENDS: Duration = Duration::from_secs(600);
/// How often a silent stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Something that happened in a household.
#[derive(Debug, Clone)]
pub struct Happening {
    kind: &'static str,
    /// The devices that it is about; none where it is about all.
    devices: Option<BTreeSet<Id>>,
    body: Value,
}

impl Happening {
    /// A request, or its answer: of one device.
    pub fn of_device(kind: &'static str, device: Id, body: Value) -> Self {
        Self {
            kind,
            devices: Some([device].into()),
            body,
        }
    }

    /// A name was blocked, for a device or for one that nobody named, which is none of a child's
    /// business.
    pub fn block(device: Option<Id>, body: Value) -> Self {
        Self {
            kind: "block",
            devices: Some(device.into_iter().collect()),
            body,
        }
    }

    /// What is set has changed.
    pub fn change(version: u64, devices: Option<BTreeSet<Id>>) -> Self {
        Self {
            kind: "change",
            devices,
            body: json!({ "version": version, "at": Timestamp::now() }),
        }
    }

    /// Whether somebody may hear of it: a child, what is its own device's; who is not of the
    /// family, nothing of what it asks for.
    fn is_for(&self, device: Option<&Id>, is_of_family: bool) -> bool {
        if !is_of_family && ["block", "silent"].contains(&self.kind) {
            return false;
        }
        match (device, &self.devices) {
            (Some(own), Some(devices)) => devices.contains(own),
            _ => true,
        }
    }
}

/// The devices for which a change may be felt; none where it may be all.
pub fn touched(before: Option<&Household>, after: Option<&Household>) -> Option<BTreeSet<Id>> {
    let (Some(before), Some(after)) = (before, after) else {
        return None;
    };
    let is_same = before.settings == after.settings
        && before.history == after.history
        && (before.preset.as_ref(), before.filtering, &before.time_zone)
            == (after.preset.as_ref(), after.filtering, &after.time_zone);
    if !is_same {
        return None;
    }
    let whole = |household: &Household,
                 id: &Id|
     -> Option<(Device, Option<policy::rules::household::Person>)> {
        let device = household.devices.get(id)?;
        Some((device.clone(), household.person_of(device).cloned()))
    };
    let ids: BTreeSet<&Id> = before.devices.keys().chain(after.devices.keys()).collect();
    Some(
        ids.into_iter()
            .filter(|id| whole(before, id) != whole(after, id))
            .cloned()
            .collect(),
    )
}

/// All rooms.
#[derive(Default)]
pub struct Happenings {
    rooms: Mutex<HashMap<Id, broadcast::Sender<Happening>>>,
    pub(crate) streams: Streams,
}

impl Happenings {
    /// Tells everybody who listens in a household.
    pub fn tell(&self, household: &Id, happening: Happening) {
        if let Some(room) = self.rooms().get(household) {
            let _nobody_may_be_left = room.send(happening);
        }
    }

    /// Whether anybody listens in a household.
    pub fn listens(&self, household: &Id) -> bool {
        self.rooms().contains_key(household)
    }

    /// Ends all streams: the program ends.
    pub fn close(&self) {
        self.rooms().clear();
        self.streams.close();
    }

    fn listen(
        context: &Arc<Context>,
        household: Id,
        principal: &Principal,
    ) -> Result<Listener, Problem> {
        let seat = Streams::take(context, principal, Some(household.clone()))?;
        let mut rooms = context.happenings.rooms();
        let events = rooms
            .entry(household.clone())
            .or_insert_with(|| broadcast::channel(WAITING_MAX).0)
            .subscribe();
        let device = principal.device.clone();
        let is_of_family = principal.household.is_some();
        let room = Room {
            context: Arc::clone(context),
            household,
        };
        Ok(Listener {
            events,
            device,
            is_of_family,
            ends: Instant::now() + STREAM_ENDS,
            seat,
            room,
        })
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Id, broadcast::Sender<Happening>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who listens.
struct Listener {
    events: broadcast::Receiver<Happening>,
    device: Option<Id>,
    is_of_family: bool,
    ends: Instant,
    seat: Seat,
    #[expect(dead_code, reason = "it is left when it is dropped")]
    room: Room,
}

/// Who listens is in a room. Behind the receiver, so that the room sees who is left.
struct Room {
    context: Arc<Context>,
    household: Id,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut rooms = self.context.happenings.rooms();
        if rooms
            .get(&self.household)
            .is_some_and(|room| room.receiver_count() == 0)
        {
            rooms.remove(&self.household);
        }
    }
}

impl Listener {
    /// The next thing to tell; nothing once the stream ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let heard = tokio::select! {
                // What happened after the end of a key is not told, also where both are known at
                // once.
                biased;
                () = self.seat.ended() => return None,
                heard = timeout_at(self.ends, self.events.recv()) => heard,
            };
            let (kind, data) = match heard {
                Ok(Ok(happening)) if happening.is_for(self.device.as_ref(), self.is_of_family) => {
                    (happening.kind, happening.body)
                }
                Ok(Ok(_)) => continue,
                // How much goes on is the others' affair.
                Ok(Err(RecvError::Lagged(lost))) => (
                    "lost",
                    json!({ "lost": self.device.is_none().then_some(lost) }),
                ),
                Ok(Err(RecvError::Closed)) | Err(_) => return None,
            };
            let mut data = data;
            data["kind"] = kind.into();
            return Some(Event::default().event(kind).data(data.to_string()));
        }
    }
}

/// What happens in a household, from now on: `request`, `answer` and `change`; as far as its
/// history is kept, `block`, and `silent` for a device that asked for a way round the filter and
/// then for nothing more. A child hears what is about its own device. An event named `lost` says
/// how many a slow reader missed. A stream ends after ten minutes; ask again. It ends at once with
/// the key or the token that opened it, its household or its device.
#[utoipa::path(get, path = "/v1/households/{id}/events", tag = "requests", params(("id" = String, Path)),
    responses((status = 200, description = "server-sent events", content_type = "text/event-stream", body = asking_shapes::HouseholdEvent),
        (status = 404, description = "no such household"), (status = 429, description = "too many streams: `streams_limit`")))]
pub async fn events(
    State(context): State<Arc<Context>>,
    Member(principal): Member,
    Segments(id): Segments<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let id: Id = segment("id", &id)?;
    if context.directory.household(&id).is_none() {
        return Err(crate::apply::unknown_household(&id));
    }
    let listener = Happenings::listen(&context, id, &principal)?;
    let stream = stream::unfold(listener, |mut listener| async move {
        Some((Ok(listener.next().await?), listener))
    });
    Ok(Sse::new(panics::ended_by(stream)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
