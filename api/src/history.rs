//! What a household wants kept of what its devices ask for: nothing, unless somebody of the family says so, and no longer than they say.
//!
//! What is kept is counted in `policy_store::Activity`; what a change of these settings means for what is there already is decided here,
//! by comparing the documents before and after, whatever route the change came by.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use policy::{
    household::{History, Household, Id, Set},
    rules::HouseholdRules,
};
use policy_store::activity::Forgotten;
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

/// What is to be kept.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryBody {
    /// For how many days; 0 keeps nothing and forgets what is there. The most is the operator's to say, 90 where they said nothing.
    #[schema(maximum = 366)]
    days: u16,
    /// Whether names of what was blocked are kept beside the counts; so where nothing is said.
    #[serde(default = "yes")]
    names: bool,
    /// Whether devices that nobody named are counted, as one; so where nothing is said. Guests are such.
    #[serde(default = "yes")]
    unknown_devices: bool,
}

fn yes() -> bool {
    true
}

/// Says for how many days counts of what is asked for are kept, and whether names of what was blocked are. What is kept beyond that is
/// forgotten at once, on disk, too.
#[utoipa::path(put, path = "/v1/households/{id}/history", tag = "activity", request_body = HistoryBody, params(("id" = String, Path)),
    responses((status = 200, description = "true from the next query on", body = shapes::activity::HistoryWritten), (status = 422, description = "more days than the operator allows")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    Holder(author): Holder,
    Segments(id): Segments<String>,
    IfMatch(expected): IfMatch,
    Body(HistoryBody { days, names, unknown_devices }): Body<HistoryBody>,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let days_max = context.history.days_max;
    if days > days_max {
        return Err(Problem::value("days", "limit", format!("0 to {days_max}")));
    }
    let history = History { days, names, unknown_devices };
    let actor = author.actor.clone();
    let (changed, ()) = change_existing(&context, &author, id, expected, move |household| {
        household.history = Some(set_by(history, &actor));
        Ok(())
    })
    .await?;
    Ok(written(&changed, StatusCode::OK, json!({ "history": shown(&context, changed.household.as_ref()) })))
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
    Ok(written(&changed, StatusCode::OK, json!({ "history": shown(&context, changed.household.as_ref()) })))
}

/// What is kept. Everybody of the family may know it, a child too.
#[utoipa::path(get, path = "/v1/households/{id}/history", tag = "activity", params(("id" = String, Path)),
    responses((status = 200, description = "what is kept", body = shapes::activity::History), (status = 404, description = "no such household")))]
pub async fn get(State(context): State<Arc<Context>>, _member: Member, Segments(id): Segments<String>) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let household = context.store.household(&id).await?.ok_or_else(|| unknown_household(&id))?;
    Ok(with_version(household.version, Json(shown(&context, Some(&household))).into_response()))
}

/// What is kept, with who said so; zeroes where nobody did. No more days than the operator allows today.
pub fn shown(context: &Context, household: Option<&Household>) -> Value {
    match household.and_then(|household| household.history.as_ref()) {
        Some(history) => {
            let days = history.value.days.min(context.history.days_max);
            json!(Set { value: History { days, ..history.value }, ..history.clone() })
        }
        None => json!({ "days": 0, "names": false, "unknown_devices": false, "set_by": null, "set_at": null }),
    }
}

/// How many days of a household are kept: what it wants, and the operator allows.
pub fn days_kept(context: &Context, rules: &HouseholdRules) -> u16 {
    rules.kept().map_or(0, |kept| kept.days.get()).min(context.history.days_max)
}

/// Something that a change of a household's document does to what is kept of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Duty {
    /// Other days than before.
    Keep,
    /// It is no longer to be there.
    Forget(Forgotten),
}

/// What a change does to what is kept.
pub fn duties(was: Option<&Household>, is: Option<&Household>) -> Vec<Duty> {
    let Some((was, history)) = was.and_then(|was| Some((was, was.kept()?))) else { return Vec::new() };
    let Some((is, now)) = is.and_then(|is| Some((is, is.kept()?))) else { return vec![Duty::Forget(Forgotten::All)] };
    let gone = |id: &Id| !is.devices.get(id).is_some_and(|device| device.log);
    let devices = was.devices.iter().filter(|(id, device)| device.log && gone(id));
    let mut duties: Vec<Duty> = devices.map(|(id, _)| Duty::Forget(Forgotten::Device(id.clone()))).collect();
    if history.unknown_devices && !now.unknown_devices {
        duties.push(Duty::Forget(Forgotten::Unknown));
    }
    if history.names && !now.names {
        duties.push(Duty::Forget(Forgotten::Names));
    }
    if history.days != now.days {
        duties.push(Duty::Keep);
    }
    duties
}

/// Does what a change asks for. What fails is said and left to the sweep, see [`sweep`]: the change itself is stored and live.
pub async fn fulfil(context: &Context, id: &Id, duties: Vec<Duty>) {
    for duty in duties {
        let done = match duty {
            Duty::Forget(forgotten) => context.activity.forget(id, forgotten, Timestamp::now()).await,
            // As of now: of two changes at a time the later one is true, whichever comes here first.
            Duty::Keep => context.activity.keep(id, days_now(context, id), Timestamp::now()).await,
        };
        if let Err(error) = done {
            tracing::error!(%id, error = &error as &dyn std::error::Error, "activity that is no longer wanted could not be forgotten yet");
        }
    }
}

fn days_now(context: &Context, id: &Id) -> u16 {
    context.directory.household(id).map_or(0, |rules| days_kept(context, &rules))
}

/// Households that are looked at before others may ask.
const SWEEP: u32 = 500;

/// Forgets what is kept of households that want nothing kept, or are gone: what a failure, or a `kill -9` between a change and what follows
/// from it, left behind.
///
/// # Errors
/// The store's.
pub async fn sweep(context: &Context) -> Result<(), policy_store::StoreError> {
    let mut after: Option<Id> = None;
    loop {
        let households = context.activity.households(after.as_ref(), SWEEP).await?;
        let Some(last) = households.last().cloned() else { return Ok(()) };
        for id in &households {
            let wanted = context.directory.household(id).and_then(|rules| rules.kept()).map_or(0, |kept| kept.days.get());
            match days_now(context, id) {
                0 => context.activity.forget(id, Forgotten::All, Timestamp::now()).await?,
                // The operator allows less than when that was written.
                days if days < wanted => context.activity.keep(id, days, Timestamp::now()).await?,
                _ => {}
            }
        }
        after = Some(last);
    }
}

#[cfg(test)]
mod tests {
    use policy::household::Device;

    use super::*;

    fn household(days: u16, names: bool, unknown_devices: bool, devices: &[(&str, bool)]) -> Household {
        let mut household = Household::new("home".parse().unwrap());
        let value = History { days, names, unknown_devices };
        household.history = Some(Set { value, set_by: "key:1".into(), set_at: Timestamp::UNIX_EPOCH });
        let device = |log: bool| -> Device { serde_json::from_value(json!({ "name": "x", "log": log })).unwrap() };
        household.devices = devices.iter().map(|(id, log)| (id.parse().unwrap(), device(*log))).collect();
        household
    }

    #[test]
    fn what_is_no_longer_wanted_is_forgotten_and_nothing_else() {
        let all = household(7, true, true, &[("phone", true), ("guest", true)]);
        let forget = |what| vec![Duty::Forget(what)];
        let devices = [("phone", true), ("guest", true)];
        assert_eq!(duties(Some(&all), Some(&all)), []);
        assert_eq!(duties(None, Some(&all)), []);
        assert_eq!(duties(Some(&all), None), forget(Forgotten::All));
        assert_eq!(duties(Some(&all), Some(&household(0, true, true, &devices))), forget(Forgotten::All));
        assert_eq!(duties(Some(&all), Some(&Household::new("home".parse().unwrap()))), forget(Forgotten::All));
        assert_eq!(duties(Some(&all), Some(&household(3, true, true, &devices))), [Duty::Keep]);
        assert_eq!(duties(Some(&all), Some(&household(7, false, true, &devices))), forget(Forgotten::Names));
        assert_eq!(duties(Some(&all), Some(&household(7, true, false, &devices))), forget(Forgotten::Unknown));
        let guest = || forget(Forgotten::Device("guest".parse().unwrap()));
        assert_eq!(duties(Some(&all), Some(&household(7, true, true, &[("phone", true), ("guest", false)]))), guest());
        assert_eq!(duties(Some(&all), Some(&household(7, true, true, &[("phone", true)]))), guest(), "a device that is gone");
        assert_eq!(duties(Some(&household(7, true, true, &[("guest", false)])), Some(&all)), [], "counted from now on");
    }
}
