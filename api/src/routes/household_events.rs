//! Events of a household, as server-sent events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use control::households::events::{Delivered, HouseholdEvent, OtherEvent, Subscription};
use futures_util::{Stream, stream};
use policy::rules::household::Id;
use tokio::time::{Instant, timeout_at};

use crate::{
    Context,
    auth::guards::Member,
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
                Delivered::Event(event)
                    if !event.is_visible_to(self.device.as_ref(), self.is_of_family) =>
                {
                    continue;
                }
                Delivered::Event(event) => event.into_event(),
                // A child does not learn how much the others do.
                Delivered::Lost(lost) => OtherEvent::Lost {
                    lost: self.device.is_none().then_some(lost),
                }
                .into(),
            };
            let data = serde_json::to_string(&event).expect("an event is plain data");
            return Some(Event::default().event(event.kind()).data(data));
        }
    }
}

/// Events of a household, from now on: `request`, `answer` and `change`; if its activity is kept,
/// also `block`, and `silent` for a device that asked for a bypass of the filter and then for
/// nothing more. A child sees events of its own device. An event named `lost` says how many a slow
/// client missed. A stream ends after ten minutes; its client may open another one. It ends at once
/// with the key or the token that opened it, its household or its device.
#[utoipa::path(get, path = "/v1/households/{id}/events", operation_id = "get_household_events", tag = "requests", params(("id" = String, Path)),
    responses((status = 200, description = "server-sent events", content_type = "text/event-stream", body = HouseholdEvent),
        (status = 404, description = "no such household"), (status = 429, description = "too many streams: `streams_limit`")))]
pub async fn events(
    State(context): State<Arc<Context>>,
    Member(principal): Member,
    Segments(id): Segments<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let id: Id = segment("id", &id)?;
    if context.control.directory.household(&id).is_none() {
        return Err(unknown_household(&id));
    }
    let seat = context.streams.take(&principal, Some(id.clone()))?;
    let listener = Listener {
        events: context.control.events.subscribe(id),
        is_of_family: principal.household.is_some(),
        device: principal.device,
        ends: Instant::now() + STREAM_ENDS,
        seat,
    };
    let stream = stream::unfold(listener, |mut listener| async move {
        Some((Ok(listener.next().await?), listener))
    });
    Ok(Sse::new(panics::ended_by(stream)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
