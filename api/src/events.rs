//! What happens to the lists, told as it happens: server-sent events.
//!
//! A client that reads too slowly loses the oldest events and is told how many; nobody waits for it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{Context, control::ListEvent, principal::Reader, veil};

/// How often a silent stream says that it is alive: below the minute after which proxies give up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events of feeds and lists, and alarms of the stores, from now on. Each event's name is its `kind`; one named `lost` says how many a slow reader missed.
#[utoipa::path(get, path = "/v1/events", tag = "lists",
    responses((status = 200, description = "server-sent events", content_type = "text/event-stream", body = ListEvent)))]
pub async fn events(State(context): State<Arc<Context>>, _reader: Reader) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stream =
        stream::unfold(context.lists_control.subscribe(), |mut events| async move { Some((Ok(next(&mut events).await?), events)) });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// The next thing to tell; nothing once the node ends.
async fn next(events: &mut Receiver<ListEvent>) -> Option<Event> {
    let (name, data) = match events.recv().await {
        Ok(event) => {
            let event = ListEvent { detail: event.detail.as_deref().map(veil::sentence), ..event };
            (event.kind.as_str(), json!(event))
        }
        Err(RecvError::Lagged(lost)) => ("lost", json!({ "lost": lost })),
        Err(RecvError::Closed) => return None,
    };
    Some(Event::default().event(name).data(data.to_string()))
}
