//! Events of a household, as server-sent events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, State},
    http::{HeaderValue, request::Parts},
    response::sse::{Event, KeepAlive, Sse},
};
use control::households::{
    event_channels::{Delivered, EventId, Subscription},
    events::{HouseholdEvent, OtherEvent},
};
use futures_util::{Stream, StreamExt, stream};
use policy::rules::household::Id;
use tokio::time::{Instant, timeout_at};

use crate::{
    Context,
    auth::{guards::Member, roles::Admits},
    event_streams::Seat,
    extract::{Segments, segment},
    panics,
    problem::Problem,
    versioned::unknown_household,
};

/// A stream ends after this time; its client may open another one.
const STREAM_ENDS: Duration = Duration::from_secs(600);
/// How often a silent stream sends a comment.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One client's stream.
struct Listener {
    events: Subscription,
    device: Option<Id>,
    is_of_family: bool,
    ends: Instant,
    seat: Seat,
}

impl Listener {
    /// The next event to send. `None` once the stream ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let delivered = tokio::select! {
                // What happened after the end of a key is not sent, also if both are known at once.
                biased;
                () = self.seat.ended() => return None,
                delivered = timeout_at(self.ends, self.events.next()) => delivered.ok()??,
            };
            let event = match delivered {
                Delivered::Event(event) => {
                    let id = event.id;
                    let event = event.event;
                    if !event.is_visible_to(self.device.as_ref(), self.is_of_family) {
                        continue;
                    }
                    return Some(written(&event.into_event()).id(id.to_string()));
                }
                // A child does not learn how much the others do.
                Delivered::Lost(lost) => OtherEvent::Lost {
                    lost: lost.filter(|_| self.device.is_none()),
                },
            };
            return Some(written(&event.into()));
        }
    }
}

fn written(event: &HouseholdEvent) -> Event {
    let data = serde_json::to_string(event).expect("an event is plain data");
    Event::default().event(event.kind()).data(data)
}

/// The last event that a client has had, by `Last-Event-ID`. `Some(None)`: it cannot be read.
pub struct LastEvent(pub Option<Option<EventId>>);

impl Admits for LastEvent {}

impl<S: Send + Sync> FromRequestParts<S> for LastEvent {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let last = parts.headers.get("last-event-id");
        let read = |value: &HeaderValue| value.to_str().ok()?.parse().ok();
        Ok(Self(last.map(read)))
    }
}

/// What begins a stream: the identifier of the last event so far, so that a client that loses the
/// connection before the first event can resume, too.
pub fn begin(id: EventId) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::iter([Ok(Event::default().id(id.to_string()))])
}

/// Events of a household, from now on, or after the one of `Last-Event-ID`, if that was among the
/// last 64 and less than ten minutes ago: `request`, `answer` and `change`; if its activity is kept,
/// also `block`, and `silent` for a device that asked for a bypass of the filter and then for
/// nothing more. A child sees events of its own device. An event named `lost` says how many a slow
/// client missed; after a longer break their number is null. A stream ends after ten minutes; its client may open another one. It ends at once
/// with the key or the token that opened it, its household or its device.
#[utoipa::path(get, path = "/v1/households/{id}/events", operation_id = "get_household_events", tag = "requests", params(("id" = String, Path)),
    responses((status = 200, description = "server-sent events", content_type = "text/event-stream", body = HouseholdEvent),
        (status = 404, description = "no such household"), (status = 429, description = "too many streams: `streams_limit`")))]
pub async fn events(
    State(context): State<Arc<Context>>,
    Member(principal): Member,
    Segments(id): Segments<String>,
    LastEvent(last): LastEvent,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let id: Id = segment("id", &id)?;
    if context.control.directory.household(&id).is_none() {
        return Err(unknown_household(&id));
    }
    let seat = context.streams.take(&principal, Some(id.clone()))?;
    let (newest, events) = context.control.events.subscribe(id, last);
    let listener = Listener {
        events,
        is_of_family: principal.household.is_some(),
        device: principal.device,
        ends: Instant::now() + STREAM_ENDS,
        seat,
    };
    let stream = stream::unfold(listener, |mut listener| async move {
        Some((Ok(listener.next().await?), listener))
    });
    let stream = begin(newest).chain(stream);
    Ok(Sse::new(panics::ended_by(stream)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
