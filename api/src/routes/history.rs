//! How long a household's activity is kept.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use control::{
    Control,
    households::write::{change_existing, set_by},
};
use policy::rules::household::{History, Household, Id, Set};
use policy_store::Activity;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Context,
    auth::guards::{Holder, Member},
    extract::{Body, IfMatch, Segments, segment},
    problem::Problem,
    schema,
    versioned::{unknown_household, with_version, written},
};

/// What a household has that never said anything else.
const FIRST: History = History {
    days: 0,
    names: true,
    unknown_devices: false,
};

/// What is to be kept.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryBody {
    /// For how many days; 0 keeps nothing and forgets what is there. The most is the operator's to
    /// say, 90 where they said nothing.
    #[schema(maximum = 366)]
    days: u16,
    /// Whether names of what was blocked are kept beside the counts. Left out, it stays as it is;
    /// at first they are.
    #[serde(default)]
    names: Option<bool>,
    /// Whether devices that nobody named are counted, as one: guests, and those whose address has
    /// changed. Left out, it stays as it is; at first they are not.
    #[serde(default)]
    unknown_devices: Option<bool>,
}

/// Says for how many days counts of what is asked for are kept, and whether names of what was
/// blocked are. What is kept beyond that is forgotten at once, on disk, too.
#[utoipa::path(put, path = "/v1/households/{id}/history", tag = "activity", request_body = HistoryBody, params(("id" = String, Path)),
    responses((status = 200, description = "true from the next query on", body = schema::activity::HistoryWritten), (status = 422, description = "more days than the operator allows")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    Holder(author): Holder,
    Segments(id): Segments<String>,
    IfMatch(expected): IfMatch,
    Body(HistoryBody {
        days,
        names,
        unknown_devices,
    }): Body<HistoryBody>,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let days_max = context.control.history.days_max;
    if days > days_max {
        return Err(Problem::value("days", "limit", format!("0 to {days_max}")));
    }
    let actor = author.actor.clone();
    let (changed, ()) =
        change_existing(&context.control, &author, id, expected, move |household| {
            let was = household
                .history
                .as_ref()
                .map_or(FIRST, |history| history.value);
            let names = names.unwrap_or(was.names);
            let unknown_devices = unknown_devices.unwrap_or(was.unknown_devices);
            household.history = Some(set_by(
                History {
                    days,
                    names,
                    unknown_devices,
                },
                &actor,
            ));
            Ok(())
        })
        .await?;
    Ok(written(
        &changed,
        StatusCode::OK,
        json!({ "history": shown(&context.control, changed.household.as_ref()) }),
    ))
}

/// Keeps nothing any more, and forgets what is there.
#[utoipa::path(delete, path = "/v1/households/{id}/history", tag = "activity", params(("id" = String, Path)),
    responses((status = 200, description = "nothing is kept", body = schema::activity::HistoryWritten)))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Holder(author): Holder,
    Segments(id): Segments<String>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let (changed, ()) = change_existing(&context.control, &author, id, expected, |household| {
        household.history = None;
        Ok(())
    })
    .await?;
    Ok(written(
        &changed,
        StatusCode::OK,
        json!({ "history": shown(&context.control, changed.household.as_ref()) }),
    ))
}

/// What is kept. Everybody of the family may know it, a child too.
#[utoipa::path(get, path = "/v1/households/{id}/history", tag = "activity", params(("id" = String, Path)),
    responses((status = 200, description = "what is kept", body = schema::activity::History), (status = 404, description = "no such household")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    _member: Member,
    Segments(id): Segments<String>,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let household = context
        .control
        .store
        .household(&id)
        .await?
        .ok_or_else(|| unknown_household(&id))?;
    Ok(with_version(
        household.version,
        Json(shown(&context.control, Some(&household))).into_response(),
    ))
}

/// What is kept, with who said so; zeroes where nobody did. No more days than the operator allows
/// today.
pub fn shown(control: &Control, household: Option<&Household>) -> Value {
    match household.and_then(|household| household.history.as_ref()) {
        Some(history) => {
            let days = history.value.days.min(control.history.days_max);
            json!(Set {
                value: History {
                    days,
                    ..history.value
                },
                ..history.clone()
            })
        }
        None => {
            json!({ "days": 0, "names": false, "unknown_devices": false, "set_by": null, "set_at": null })
        }
    }
}

/// 503: the file of the activity could not be opened when this program started.
pub fn opened(control: &Control) -> Result<&Activity, Problem> {
    let unavailable = || {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "history_unavailable",
            "what is kept cannot be read at the moment; nothing is counted meanwhile",
        )
    };
    control.activity.as_deref().ok_or_else(unavailable)
}
