//! What a household wants kept of what its devices ask for: nothing, unless the holder of its
//! account says so (or the operator, which the holder is told), and no longer than they say.
//!
//! What is kept is counted in `policy_store::Activity`; what a change of these settings means for
//! what is there already is decided here, by comparing the documents before and after, whatever
//! route the change came by.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use policy::rules::{
    compiled::HouseholdRules,
    household::{Attributed, HistorySettings, Household, Id},
};
use policy_store::{Activity, Erasure, PendingErasure, StoreError, activity::Forgotten};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Context,
    apply::{change_existing, set_by, unknown_household, with_version, written},
    principal::{Holder, Member},
    problem::Problem,
    request::{Body, IfMatch, Segments, segment},
    shapes,
};

/// What the operator lets households have kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most days.
    pub days_max: u16,
    /// How long a device says nothing before it is called silent.
    pub silent_after: SignedDuration,
}

/// What a household has that never said anything else.
const FIRST: HistorySettings = HistorySettings {
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
    responses((status = 200, description = "true from the next query on", body = shapes::activity::HistoryWritten), (status = 422, description = "more days than the operator allows")))]
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
    let days_max = context.history.days_max;
    if days > days_max {
        return Err(Problem::value("days", "limit", format!("0 to {days_max}")));
    }
    let actor = author.actor.clone();
    let (changed, ()) = change_existing(&context, &author, id, expected, move |household| {
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
    Ok(written(
        &changed,
        StatusCode::OK,
        json!({ "history": shown(&context, changed.household.as_ref()) }),
    ))
}

/// Keeps nothing any more, and forgets what is there.
#[utoipa::path(delete, path = "/v1/households/{id}/history", tag = "activity", params(("id" = String, Path)),
    responses((status = 200, description = "nothing is kept", body = shapes::activity::HistoryWritten)))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Holder(author): Holder,
    Segments(id): Segments<String>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let (changed, ()) = change_existing(&context, &author, id, expected, |household| {
        household.history = None;
        Ok(())
    })
    .await?;
    Ok(written(
        &changed,
        StatusCode::OK,
        json!({ "history": shown(&context, changed.household.as_ref()) }),
    ))
}

/// What is kept. Everybody of the family may know it, a child too.
#[utoipa::path(get, path = "/v1/households/{id}/history", tag = "activity", params(("id" = String, Path)),
    responses((status = 200, description = "what is kept", body = shapes::activity::History), (status = 404, description = "no such household")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    _member: Member,
    Segments(id): Segments<String>,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let household = context
        .store
        .household(&id)
        .await?
        .ok_or_else(|| unknown_household(&id))?;
    Ok(with_version(
        household.version,
        Json(shown(&context, Some(&household))).into_response(),
    ))
}

/// What is kept, with who said so; zeroes where nobody did. No more days than the operator allows
/// today.
pub fn shown(context: &Context, household: Option<&Household>) -> Value {
    match household.and_then(|household| household.history.as_ref()) {
        Some(history) => {
            let days = history.value.days.min(context.history.days_max);
            json!(Attributed {
                value: HistorySettings {
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

/// How many days of a household are kept: what it wants, and the operator allows.
pub fn days_kept(context: &Context, rules: &HouseholdRules) -> u16 {
    rules
        .kept()
        .map_or(0, |kept| kept.days.get())
        .min(context.history.days_max)
}

/// What a change does to what is kept.
pub fn duties(was: Option<&Household>, is: Option<&Household>) -> Vec<Erasure> {
    let Some((was, history)) = was.and_then(|was| Some((was, was.kept()?))) else {
        return Vec::new();
    };
    let Some((is, now)) = is.and_then(|is| Some((is, is.kept()?))) else {
        return vec![Erasure::Forget(Forgotten::All)];
    };
    let gone = |id: &Id| !is.devices.get(id).is_some_and(|device| device.log);
    let devices = was
        .devices
        .iter()
        .filter(|(id, device)| device.log && gone(id));
    let mut duties: Vec<Erasure> = devices
        .map(|(id, _)| Erasure::Forget(Forgotten::Device(id.clone())))
        .collect();
    if history.unknown_devices && !now.unknown_devices {
        duties.push(Erasure::Forget(Forgotten::Unknown));
    }
    if history.names && !now.names {
        duties.push(Erasure::Forget(Forgotten::Names));
    }
    if history.days != now.days {
        duties.push(Erasure::Keep);
    }
    duties
}

/// Duties that are done before others are looked for.
const DUTIES: u32 = 100;

/// Does what changes owe: of one household, or all that is left. What fails stays owed, and is
/// tried again by whoever keeps the activity.
pub async fn fulfil(context: &Context, household: Option<&Id>) {
    let Some(activity) = &context.activity else {
        return;
    };
    let done = async {
        for PendingErasure {
            sequence,
            household,
            duty,
        } in context.store.duties(household, DUTIES).await?
        {
            match duty {
                Erasure::Forget(forgotten) => {
                    activity
                        .forget(&household, forgotten, Timestamp::now())
                        .await?
                }
                // As of now: of two changes at a time the later one is true, whichever comes here
                // first.
                Erasure::Keep => {
                    let days = context
                        .directory
                        .household(&household)
                        .map_or(0, |rules| days_kept(context, &rules));
                    activity.keep(&household, days, Timestamp::now()).await?;
                }
            }
            context.store.duty_done(sequence).await?;
        }
        Ok::<(), StoreError>(())
    };
    if let Err(error) = done.await
        && !error.is_closed()
    {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "activity that is no longer wanted could not be forgotten yet"
        );
    }
}

/// 503: the file of the activity could not be opened when this program started.
pub fn opened(context: &Context) -> Result<&Activity, Problem> {
    let unavailable = || {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "history_unavailable",
            "what is kept cannot be read at the moment; nothing is counted meanwhile",
        )
    };
    context.activity.as_deref().ok_or_else(unavailable)
}

#[cfg(test)]
mod tests {
    use policy::rules::household::Device;

    use super::*;

    fn household(
        days: u16,
        names: bool,
        unknown_devices: bool,
        devices: &[(&str, bool)],
    ) -> Household {
        let mut household = Household::new("home".parse().unwrap());
        let value = HistorySettings {
            days,
            names,
            unknown_devices,
        };
        household.history = Some(Attributed {
            value,
            set_by: "key:1".into(),
            set_at: Timestamp::UNIX_EPOCH,
        });
        let device = |log: bool| -> Device {
            serde_json::from_value(json!({ "name": "x", "log": log })).unwrap()
        };
        household.devices = devices
            .iter()
            .map(|(id, log)| (id.parse().unwrap(), device(*log)))
            .collect();
        household
    }

    #[test]
    fn what_is_no_longer_wanted_is_forgotten_and_nothing_else() {
        let all = household(7, true, true, &[("phone", true), ("guest", true)]);
        let forget = |what| vec![Erasure::Forget(what)];
        let devices = [("phone", true), ("guest", true)];
        assert_eq!(duties(Some(&all), Some(&all)), []);
        assert_eq!(duties(None, Some(&all)), []);
        assert_eq!(duties(Some(&all), None), forget(Forgotten::All));
        assert_eq!(
            duties(Some(&all), Some(&household(0, true, true, &devices))),
            forget(Forgotten::All)
        );
        assert_eq!(
            duties(Some(&all), Some(&Household::new("home".parse().unwrap()))),
            forget(Forgotten::All)
        );
        assert_eq!(
            duties(Some(&all), Some(&household(3, true, true, &devices))),
            [Erasure::Keep]
        );
        assert_eq!(
            duties(Some(&all), Some(&household(7, false, true, &devices))),
            forget(Forgotten::Names)
        );
        assert_eq!(
            duties(Some(&all), Some(&household(7, true, false, &devices))),
            forget(Forgotten::Unknown)
        );
        let guest = || forget(Forgotten::Device("guest".parse().unwrap()));
        assert_eq!(
            duties(
                Some(&all),
                Some(&household(
                    7,
                    true,
                    true,
                    &[("phone", true), ("guest", false)]
                ))
            ),
            guest()
        );
        assert_eq!(
            duties(
                Some(&all),
                Some(&household(7, true, true, &[("phone", true)]))
            ),
            guest(),
            "a device that is gone"
        );
        assert_eq!(
            duties(
                Some(&household(7, true, true, &[("guest", false)])),
                Some(&all)
            ),
            [],
            "counted from now on"
        );
    }
}
