//! Events of the lists, as server-sent events.
//!
//! A client that reads too slowly loses the oldest events and is told how many. The publisher never
//! waits.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use control::lists::model::ListEvent;
use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    Context,
    auth::guards::{Anyone, Reader},
    event_streams::Seat,
    panics,
    problem::Problem,
    redact,
};

/// How often a silent stream sends a comment: below the usual timeout of proxies, a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a stream of list events sends.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum StreamedListEvent {
    Event(ListEvent),
    Lost(LostListEvents),
}

/// Events that a slow client missed.
#[derive(Serialize, utoipa::ToSchema)]
pub struct LostListEvents {
    /// How many were missed.
    lost: u64,
}

/// Events of feeds and lists, and alarms of the stores, from now on. The name of each event is its
/// `kind`. An event named `lost` says how many a slow client missed. A stream ends at once with the
/// key or the token that opened it.
#[utoipa::path(get, path = "/v1/events", operation_id = "get_events", tag = "lists",
    responses((status = 200, description = "server-sent events", content_type = "text/event-stream", body = StreamedListEvent),
        (status = 429, description = "too many streams: `streams_limit`")))]
pub async fn events(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    Anyone(principal): Anyone,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let seat = context.streams.take(&principal, None)?;
    let listener = (context.control.lists_control.subscribe(), seat);
    let stream = stream::unfold(listener, |(mut events, mut seat)| async move {
        Some((Ok(next(&mut events, &mut seat).await?), (events, seat)))
    });
    Ok(Sse::new(panics::ended_by(stream)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// The next event to send. `None` once the stream or the node ends.
async fn next(events: &mut Receiver<ListEvent>, seat: &mut Seat) -> Option<Event> {
    let heard = tokio::select! {
        biased;
        () = seat.ended() => return None,
        heard = events.recv() => heard,
    };
    let (name, event) = match heard {
        Ok(event) => {
            let event = ListEvent {
                detail: event.detail.as_deref().map(redact::sentence),
                ..event
            };
            (event.kind.as_str(), StreamedListEvent::Event(event))
        }
        Err(RecvError::Lagged(lost)) => ("lost", StreamedListEvent::Lost(LostListEvents { lost })),
        Err(RecvError::Closed) => return None,
    };
    let data = serde_json::to_string(&event).expect("an event is plain data");
    Some(Event::default().event(name).data(data))
}
