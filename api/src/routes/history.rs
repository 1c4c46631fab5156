//! How long a household's activity is kept.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use control::{
    Control,
    households::write::{change_existing, set_by},
};
use jiff::Timestamp;
use policy::rules::household::{HistorySettings, Household, Id};
use policy_store::{ActivityStore, HouseholdChanged};
use serde::{Deserialize, Serialize};

use crate::{
    Context,
    auth::guards::{Holder, Member},
    conditional::Known,
    extract::{Body, IfMatch, Segments, segment},
    names::named,
    problem::Problem,
    versioned::{Versioned, unknown_household},
};

/// The settings of a household that never set them.
const FIRST: HistorySettings = HistorySettings {
    days: 0,
    names: true,
    unknown_devices: false,
};

/// Which activity of the devices is kept, and who set it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct History {
    /// For how many days. 0 keeps nothing.
    days: u16,
    /// Whether the names of blocked queries are kept beside the counts.
    names: bool,
    /// When it was set, RFC 3339. Null if it was never set.
    set_at: Option<Timestamp>,
    /// The key that set it. Null if it was never set.
    set_by: Option<String>,
    /// Whether devices without a name are counted, as one.
    unknown_devices: bool,
}

impl History {
    /// Zeros if it was never set. At most what the operator allows now.
    pub fn of(control: &Control, household: Option<&Household>) -> Self {
        let set = household.and_then(|household| household.history.as_ref());
        Self {
            days: set.map_or(0, |set| set.value.days.min(control.history.days_max)),
            names: set.is_some_and(|set| set.value.names),
            set_at: set.map(|set| set.set_at),
            set_by: set.map(|set| set.set_by.clone()),
            unknown_devices: set.is_some_and(|set| set.value.unknown_devices),
        }
    }
}

/// What is kept from now on.
#[derive(Serialize, utoipa::ToSchema)]
pub struct HistoryWritten {
    history: History,
    /// The household's version; also the `ETag`.
    version: u64,
}

impl HistoryWritten {
    fn answer(control: &Control, changed: &HouseholdChanged) -> Versioned<Self> {
        let history = History::of(control, changed.household.as_ref());
        Versioned::of(changed, StatusCode::OK, |version| Self { history, version })
    }
}

/// How long to keep activity.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryBody {
    /// The days. 0 keeps nothing and erases what is kept. The operator sets the most; by default
    /// 90.
    #[schema(maximum = 366)]
    days: u16,
    /// Whether the names of blocked queries are kept beside the counts. Left out, it stays as it
    /// is; at first it is true.
    #[serde(default)]
    names: Option<bool>,
    /// Whether devices without a name are counted, as one: guests, and devices with a new address.
    /// Left out, it stays as it is; at first it is false.
    #[serde(default)]
    unknown_devices: Option<bool>,
}

/// Sets for how many days counts of queries are kept, and whether the names of blocked ones are.
/// Everything beyond that is erased at once, on disk, too.
#[utoipa::path(put, path = "/v1/households/{id}/history", operation_id = "put_household_history", tag = "activity", request_body = HistoryBody, params(("id" = String, Path)),
    responses((status = 200, description = "true from the next query on", body = HistoryWritten), (status = 422, description = "more days than the operator allows")))]
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
) -> Result<Versioned<HistoryWritten>, Problem> {
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
                HistorySettings {
                    days,
                    names,
                    unknown_devices,
                },
                &actor,
            ));
            Ok(())
        })
        .await?;
    Ok(HistoryWritten::answer(&context.control, &changed))
}

/// Keeps nothing from now on, and erases what is kept.
#[utoipa::path(delete, path = "/v1/households/{id}/history", operation_id = "delete_household_history", tag = "activity", params(("id" = String, Path)),
    responses((status = 200, description = "nothing is kept", body = HistoryWritten)))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Holder(author): Holder,
    Segments(id): Segments<String>,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<HistoryWritten>, Problem> {
    let id: Id = segment("id", &id)?;
    let (changed, ()) = change_existing(&context.control, &author, id, expected, |household| {
        household.history = None;
        Ok(())
    })
    .await?;
    Ok(HistoryWritten::answer(&context.control, &changed))
}

/// How long activity is kept. All members of the family may know it, including a child.
#[utoipa::path(get, path = "/v1/households/{id}/history", operation_id = "get_household_history", tag = "activity", params(("id" = String, Path)),
    responses((status = 200, description = "what is kept", body = History), (status = 404, description = "no such household")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    _member: Member,
    Segments(id): Segments<String>,
    known: Known,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let household = context
        .control
        .store
        .household(&id)
        .await?
        .ok_or_else(|| unknown_household(&id))?;
    let history = History::of(&context.control, Some(&household));
    let answer = named(&context, &id, &history).await?;
    Ok(known.of_version(household.version, answer))
}

/// 503 if the file of the activity could not be opened at the start of the node.
pub fn opened(control: &Control) -> Result<&ActivityStore, Problem> {
    let unavailable = || {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "history_unavailable",
            "what is kept cannot be read at the moment; nothing is counted meanwhile",
        )
    };
    control.activity.as_deref().ok_or_else(unavailable)
}
