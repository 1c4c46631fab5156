//! Events of the lists, and for operators those of all households, as server-sent events.
//!
//! A client that reads too slowly loses the oldest events and is told how many. The publisher never
//! waits.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use control::{
    households::{
        event_channels::{Delivered, Subscription},
        events::HouseholdEvent,
    },
    lists::model::ListEvent,
};
use futures_util::{Stream, StreamExt, stream};
use policy::rules::household::Id;
use policy_store::Role;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    Context,
    auth::{
        guards::{Anyone, Reader},
        principal::forbidden,
    },
    event_streams::Seat,
    extract::QueryParameters,
    panics,
    problem::Problem,
    redact,
    routes::household_events::{LastEvent, begin},
};

/// How often a silent stream sends a comment: below the usual timeout of proxies, a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a stream of list events sends.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum StreamedListEvent {
    Event(ListEvent),
    Household(EventOfHousehold),
    Lost(LostListEvents),
}

/// An event of one of the households: `request`, `answer` or `silent`.
#[derive(Serialize, utoipa::ToSchema)]
pub struct EventOfHousehold {
    /// The household.
    #[schema(value_type = String)]
    household: Id,
    event: HouseholdEvent,
}

/// Which events to send.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WhichEvents {
    /// Also requests, answers and silent devices of all households. Only for operators.
    #[serde(default)]
    households: bool,
}

/// Events that a slow client missed.
#[derive(Serialize, utoipa::ToSchema)]
pub struct LostListEvents {
    /// How many were missed. Null if that is not known.
    lost: Option<u64>,
}

/// Events of feeds and lists, and alarms of the stores, from now on. The name of each event is its
/// `kind`. An event named `lost` says how many a slow client missed. With `households=true` an
/// operator also gets what the families wait for: requests, answers and silent devices of all
/// households; those have an `id`, and a client that sends the last one as `Last-Event-ID` gets what
/// it missed, up to 1,024 events of ten minutes. A stream ends at once with the key or the token
/// that opened it.
#[utoipa::path(get, path = "/v1/events", operation_id = "get_events", tag = "lists", params(WhichEvents),
    responses((status = 200, description = "server-sent events", content_type = "text/event-stream", body = StreamedListEvent),
        (status = 429, description = "too many streams: `streams_limit`")))]
pub async fn events(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    Anyone(principal): Anyone,
    QueryParameters(which): QueryParameters<WhichEvents>,
    LastEvent(last): LastEvent,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    if which.households && principal.role != Role::Operator {
        return Err(forbidden(principal.role).with_field("households".to_owned()));
    }
    let seat = context.streams.take(&principal, None)?;
    let (first, households) = which
        .households
        .then(|| context.control.events.subscribe_all(last))
        .unzip();
    let listener = Listener {
        lists: context.control.lists_control.subscribe(),
        households,
        seat,
    };
    let stream = stream::unfold(listener, |mut listener| async move {
        Some((Ok(listener.next().await?), listener))
    });
    let stream = stream::iter(first).flat_map(begin).chain(stream);
    Ok(Sse::new(panics::ended_by(stream)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// One client's stream.
struct Listener {
    lists: Receiver<ListEvent>,
    households: Option<Subscription>,
    seat: Seat,
}

impl Listener {
    /// The next event to send. `None` once the stream or the node ends.
    async fn next(&mut self) -> Option<Event> {
        let of_households = async {
            let Some(events) = &mut self.households else {
                return std::future::pending().await;
            };
            loop {
                match events.next().await {
                    Some(Delivered::Event(event)) if !event.event.is_for_operators() => {}
                    delivered => return delivered,
                }
            }
        };
        tokio::select! {
            biased;
            () = self.seat.ended() => None,
            heard = self.lists.recv() => of_lists(heard),
            delivered = of_households => Some(of_household(delivered?)),
        }
    }
}

fn of_lists(heard: Result<ListEvent, RecvError>) -> Option<Event> {
    let (name, event) = match heard {
        Ok(event) => {
            let event = ListEvent {
                detail: event.detail.as_deref().map(redact::sentence),
                ..event
            };
            (event.kind.as_str(), StreamedListEvent::Event(event))
        }
        Err(RecvError::Lagged(lost)) => {
            let lost = Some(lost);
            ("lost", StreamedListEvent::Lost(LostListEvents { lost }))
        }
        Err(RecvError::Closed) => return None,
    };
    Some(written(name, &event))
}

fn of_household(delivered: Delivered) -> Event {
    match delivered {
        Delivered::Event(numbered) => {
            let household = numbered.household;
            let event = numbered.event.into_event();
            let name = event.kind();
            let event = StreamedListEvent::Household(EventOfHousehold { household, event });
            written(name, &event).id(numbered.id.to_string())
        }
        Delivered::Lost(lost) => {
            let lost = StreamedListEvent::Lost(LostListEvents { lost });
            written("lost", &lost)
        }
    }
}

fn written(name: &str, event: &StreamedListEvent) -> Event {
    let data = serde_json::to_string(event).expect("an event is plain data");
    Event::default().event(name).data(data)
}
