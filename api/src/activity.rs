//! What a household's devices asked for, as counts: as far as the household wants it kept, and never what an order blocks.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use policy::household::{Household, Id};
use policy_store::{
    Deed,
    activity::{Counted, DeviceHour, Forgotten, Hour},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Context,
    apply::{unknown_household, with_version},
    devices::unknown_device,
    history,
    principal::{Holder, Home},
    problem::Problem,
    request::{Asked, Segments, segment},
    shapes,
    silence::Silence,
};

/// Names in an answer, where the request does not say and at most.
const TOP: usize = 20;
const TOP_MAX: usize = 1_000;

/// Which part of the activity.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Of this device alone.
    device: Option<String>,
    /// From the hour (UTC) of this instant on; as far back as anything is kept where nothing is said.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Until this instant; now where nothing is said.
    #[param(format = DateTime)]
    to: Option<String>,
    /// How many of the names most often blocked, 0 to 1000; 20 where nothing is said.
    #[param(minimum = 0, maximum = 1000)]
    top: Option<usize>,
}

/// What is to be forgotten.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WhatOf {
    /// What this device asked for; everything where no device is named.
    device: Option<String>,
}

/// Counts by device, category and hour, and the names most often blocked, as far as the household wants them kept. A child sees its own
/// device's.
#[utoipa::path(get, path = "/v1/households/{id}/activity", tag = "activity", params(("id" = String, Path), Which),
    responses((status = 200, description = "the counts", body = shapes::activity::Activity), (status = 404, description = "no such household or device"),
        (status = 422, description = "a value cannot be used")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    Home(principal): Home,
    Segments(id): Segments<String>,
    Asked(which): Asked<Which>,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let asked: Option<Id> = which.device.as_deref().map(|device| segment("device", device)).transpose()?;
    let device = asked.or_else(|| principal.device.clone());
    principal.must_see(Some(&id), device.as_ref())?;
    let top = which.top.unwrap_or(TOP);
    if top > TOP_MAX {
        return Err(Problem::value("top", "limit", format!("0 to {TOP_MAX}")));
    }
    let instant = |field: &'static str, text: &Option<String>| -> Result<Option<Timestamp>, Problem> {
        let wrong = |_| Problem::value(field, "time", "an instant such as 2026-11-21T16:02:00Z");
        text.as_deref().map(|text| text.parse().map_err(wrong)).transpose()
    };
    let (from, to) = (instant("from", &which.from)?, instant("to", &which.to)?);
    let now = Timestamp::now();
    if principal.household.is_none() {
        // Who is not of the family leaves a trace.
        let (subject, what) = (format!("activity:{id}"), json!({ "device": device }));
        let deed = Deed { action: "read", subject: &subject, before: None, after: Some(&what) };
        context.store.append_audit(&principal.author, deed).await?;
    }
    let household = context.store.household(&id).await?.ok_or_else(|| unknown_household(&id))?;
    if let Some(device) = device.as_ref().filter(|device| !household.devices.contains_key(*device)) {
        return Err(unknown_device(device));
    }
    let days = household.kept().map_or(0, |kept| kept.days.min(context.history.days_max));
    let hours = match now.checked_sub(SignedDuration::from_hours(24 * i64::from(days))).ok().filter(|_| days > 0) {
        Some(begin) => history::opened(&context)?.read(&id, None, begin, now, now).await?,
        None => Vec::new(),
    };
    let view = View { household: &household, hours: &hours, device: device.as_ref(), now, after: context.history.silent_after };
    let mut shown = view.show(from, to.unwrap_or(now), top);
    shown["household"] = json!(id);
    shown["device"] = json!(device);
    shown["history"] = history::shown(&context, Some(&household));
    (shown["from"], shown["to"]) = (json!(from), json!(to.unwrap_or(now)));
    Ok(Json(shown).into_response())
}

/// Forgets what was asked for: of one device, or all of it. It is gone from the disk when this is answered; what is asked from the next
/// second on is counted as before.
#[utoipa::path(delete, path = "/v1/households/{id}/activity", tag = "activity", params(("id" = String, Path), WhatOf),
    responses((status = 200, description = "forgotten", body = shapes::activity::ActivityForgotten), (status = 404, description = "no such household or device")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Holder(author): Holder,
    Segments(id): Segments<String>,
    Asked(what): Asked<WhatOf>,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let device: Option<Id> = what.device.as_deref().map(|device| segment("device", device)).transpose()?;
    let household = context.store.household(&id).await?.ok_or_else(|| unknown_household(&id))?;
    if let Some(device) = device.as_ref().filter(|device| !household.devices.contains_key(*device)) {
        return Err(unknown_device(device));
    }
    history::opened(&context)?.forget(&id, device.clone().map_or(Forgotten::All, Forgotten::Device), Timestamp::now()).await?;
    // Not in the household's own rows: those say what its document was.
    let (subject, what) = (format!("activity:{id}"), json!({ "device": device }));
    context.store.append_audit(&author, Deed { action: "forget", subject: &subject, before: None, after: Some(&what) }).await?;
    Ok(with_version(household.version, Json(json!({ "device": device, "version": household.version })).into_response()))
}

/// What is kept of a household, as one may see it.
struct View<'v> {
    household: &'v Household,
    hours: &'v [Hour],
    device: Option<&'v Id>,
    now: Timestamp,
    after: SignedDuration,
}

impl<'v> View<'v> {
    /// Whether what is kept of a device may be shown: a device that is not to be counted any more is not.
    fn may_show(&self, device: Option<&Id>) -> bool {
        match device {
            Some(id) => self.household.devices.get(id).is_some_and(|device| self.household.records(Some(device))),
            None => self.household.records(None),
        }
    }

    fn of(&'v self, hour: &'v Hour) -> impl Iterator<Item = (Option<&'v Id>, &'v DeviceHour)> {
        let devices = hour.devices.iter().map(|(device, counts)| (device.as_ref(), counts));
        devices.filter(|(device, _)| self.may_show(*device) && self.device.is_none_or(|only| Some(only) == *device))
    }

    fn show(&self, from: Option<Timestamp>, to: Timestamp, top: usize) -> Value {
        let begin = from.map_or(Timestamp::MIN, |from| from.checked_sub(SignedDuration::from_mins(60)).unwrap_or(Timestamp::MIN));
        let (mut all, mut by_device, mut by_category, mut by_hour) = (Counted::default(), BTreeMap::new(), BTreeMap::new(), Vec::new());
        let (mut names, mut more) = (BTreeMap::new(), 0);
        let has_names = self.household.kept().is_some_and(|history| history.names);
        for hour in self.hours.iter().filter(|hour| hour.hour > begin && hour.hour < to) {
            let mut of_hour = Counted::default();
            for (device, counts) in self.of(hour) {
                let count = Counted { asked: counts.asked, blocked: counts.blocked };
                add(&mut of_hour, count);
                add(by_device.entry(device).or_default(), count);
                counts.categories.iter().for_each(|(category, count)| add(by_category.entry(&**category).or_default(), *count));
                for (name, blocked) in counts.names.iter().filter(|_| has_names) {
                    let (count, last) = names.entry((name, device)).or_insert((0, blocked));
                    *count += blocked.count;
                    if blocked.last >= last.last {
                        *last = blocked;
                    }
                }
                more += counts.names_more;
            }
            add(&mut all, of_hour);
            if of_hour.asked > 0 {
                by_hour.push(json!({ "hour": hour.hour, "asked": of_hour.asked, "blocked": of_hour.blocked }));
            }
        }
        let mut categories: Vec<(&str, Counted)> = by_category.into_iter().collect();
        categories.sort_by_key(|(slug, count)| (Reverse((count.asked, count.blocked)), *slug));
        let categories: Vec<Value> =
            categories.iter().map(|(slug, count)| json!({ "category": slug, "asked": count.asked, "blocked": count.blocked })).collect();
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_by_key(|((name, device), (count, _))| (Reverse(*count), *name, *device));
        let names: Vec<Value> = names
            .into_iter()
            .take(top)
            .map(|((name, device), (count, said))| {
                json!({ "name": name, "device": device, "count": count, "layer": said.layer, "categories": said.categories, "last": said.last })
            })
            .collect();
        json!({
            "asked": all.asked,
            "blocked": all.blocked,
            "devices": self.devices(&by_device),
            "categories": categories,
            "hours": by_hour,
            "blocked_names": names,
            "blocked_names_more": more,
        })
    }

    /// Every device that is counted, with when it asked last: also one that did not ask in the hours that are shown.
    fn devices(&self, counts: &BTreeMap<Option<&Id>, Counted>) -> Vec<Value> {
        let mut last = BTreeMap::new();
        for (device, of_hour) in self.hours.iter().flat_map(|hour| hour.devices.iter()) {
            let (asked, sign) = last.entry(device.as_ref()).or_insert((None, None));
            *asked = (*asked).max(of_hour.last);
            if let Some(given) = of_hour.sign {
                *sign = Some((given.kind, given.at));
            }
        }
        let ids: BTreeSet<Option<&Id>> = last.keys().copied().filter(|device| self.may_show(*device)).collect();
        let ids = ids.into_iter().filter(|device| self.device.is_none_or(|only| Some(only) == *device));
        ids.map(|id| {
            let (asked, sign) = last[&id];
            let others = last
                .iter()
                .filter(|(other, _)| **other != id && self.device.is_none() && self.may_show(**other))
                .filter_map(|(_, (asked, _))| *asked)
                .max();
            // Many devices at once are never silent as one.
            let silence = id.and_then(|_| Silence::of(asked, sign, others, self.now, self.after));
            let count = counts.get(&id).copied().unwrap_or_default();
            json!({
                "device": id,
                "name": id.and_then(|id| self.household.devices.get(id)).map(|device| device.name.as_str()),
                "asked": count.asked,
                "blocked": count.blocked,
                "last_asked": asked,
                "silent": silence,
            })
        })
        .collect()
    }
}

fn add(sum: &mut Counted, count: Counted) {
    sum.asked = sum.asked.saturating_add(count.asked);
    sum.blocked = sum.blocked.saturating_add(count.blocked);
}
