//! What a household's devices asked for, as counts: as far as the household wants it kept, and
//! never what an order blocks.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use policy::rules::household::{Household, Id};
use policy_store::{
    AuditEntry,
    activity::{BlockedName, Counted, DeviceKey, Forgotten, Hour, Sign},
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
/// Different names, by device, that are added up for an answer; what is more is counted in
/// `blocked_names_more`.
const NAMES_MAX: usize = 20_000;
/// Answers that are added up at a time.
pub const SEATS: usize = 4;

/// Which part of the activity.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Of this device alone.
    device: Option<String>,
    /// From the hour (UTC) of this instant on; as far back as anything is kept where nothing is
    /// said.
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

/// Counts by device, category and hour, and the names most often blocked, as far as the household
/// wants them kept. A child sees its own device's.
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
    let asked: Option<Id> = which
        .device
        .as_deref()
        .map(|device| segment("device", device))
        .transpose()?;
    let device = asked.or_else(|| principal.device.clone());
    principal.must_see(Some(&id), device.as_ref())?;
    let top = which.top.unwrap_or(TOP);
    if top > TOP_MAX {
        return Err(Problem::value("top", "limit", format!("0 to {TOP_MAX}")));
    }
    let instant = |field: &'static str,
                   text: &Option<String>|
     -> Result<Option<Timestamp>, Problem> {
        let wrong = |_| Problem::value(field, "time", "an instant such as 2026-11-21T16:02:00Z");
        text.as_deref()
            .map(|text| text.parse().map_err(wrong))
            .transpose()
    };
    let from = instant("from", &which.from)?;
    let to = instant("to", &which.to)?;
    let now = Timestamp::now();
    if principal.household.is_none() {
        // Who is not of the family leaves a trace.
        let subject = format!("activity:{id}");
        let what = json!({ "device": device });
        let deed = AuditEntry {
            action: "read",
            subject: &subject,
            before: None,
            after: Some(&what),
        };
        context.store.append_audit(&principal.author, deed).await?;
    }
    let household = context
        .store
        .household(&id)
        .await?
        .ok_or_else(|| unknown_household(&id))?;
    if let Some(device) = device
        .as_ref()
        .filter(|device| !household.devices.contains_key(*device))
    {
        return Err(unknown_device(device));
    }
    let days = household
        .kept()
        .map_or(0, |kept| kept.days.min(context.history.days_max));
    let to = to.unwrap_or(now);
    let view = View {
        household: &household,
        device: device.as_ref(),
        is_childs: principal.device.is_some(),
        hours: (
            from.map_or(Timestamp::MIN, |from| {
                from.checked_sub(SignedDuration::from_mins(60))
                    .unwrap_or(Timestamp::MIN)
            }),
            to,
        ),
        now,
        silent_after: context.history.silent_after,
    };
    let mut sum = Sum::default();
    if let Some(begin) = now
        .checked_sub(SignedDuration::from_hours(24 * i64::from(days)))
        .ok()
        .filter(|_| days > 0)
    {
        let activity = history::opened(&context)?;
        // A few at a time: what is kept of ninety days is more than anybody may have read for them
        // as often as they like.
        let _seat = context.activity_seats.acquire().await;
        activity
            .visit(&id, None, begin, now, now, |hour| sum.add(&view, hour))
            .await?;
    } else {
        history::opened(&context)?;
    }
    let mut shown = sum.show(&view, top);
    shown["household"] = json!(id);
    shown["device"] = json!(device);
    shown["history"] = history::shown(&context, Some(&household));
    (shown["from"], shown["to"]) = (json!(from), json!(to));
    Ok(Json(shown).into_response())
}

/// Forgets what was asked for: of one device, or all of it. It is gone from the disk when this is
/// answered; what is asked from the next second on is counted as before.
#[utoipa::path(delete, path = "/v1/households/{id}/activity", tag = "activity", params(("id" = String, Path), WhatOf),
    responses((status = 200, description = "forgotten", body = shapes::activity::ActivityForgotten), (status = 404, description = "no such household or device")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Holder(author): Holder,
    Segments(id): Segments<String>,
    Asked(what): Asked<WhatOf>,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let device: Option<Id> = what
        .device
        .as_deref()
        .map(|device| segment("device", device))
        .transpose()?;
    let household = context
        .store
        .household(&id)
        .await?
        .ok_or_else(|| unknown_household(&id))?;
    if let Some(device) = device
        .as_ref()
        .filter(|device| !household.devices.contains_key(*device))
    {
        return Err(unknown_device(device));
    }
    history::opened(&context)?
        .forget(
            &id,
            device.clone().map_or(Forgotten::All, Forgotten::Device),
            Timestamp::now(),
        )
        .await?;
    // Not in the household's own rows: those say what its document was.
    let subject = format!("activity:{id}");
    let what = json!({ "device": device });
    context
        .store
        .append_audit(
            &author,
            AuditEntry {
                action: "forget",
                subject: &subject,
                before: None,
                after: Some(&what),
            },
        )
        .await?;
    Ok(with_version(
        household.version,
        Json(json!({ "device": device, "version": household.version })).into_response(),
    ))
}

/// What of it somebody may see.
struct View<'v> {
    household: &'v Household,
    /// Of this device alone.
    device: Option<&'v Id>,
    /// Whether a child looks, who learns nothing of the others.
    is_childs: bool,
    /// Hours that begin behind the first and before the second.
    hours: (Timestamp, Timestamp),
    now: Timestamp,
    silent_after: SignedDuration,
}

impl View<'_> {
    /// Whether what is kept of a device may be shown: a device that is not to be counted any more
    /// is not.
    fn may_show(&self, device: Option<&Id>) -> bool {
        match device {
            Some(id) => self
                .household
                .devices
                .get(id)
                .is_some_and(|device| self.household.records(Some(device))),
            None => self.household.records(None),
        }
    }
}

/// What is counted, added up hour by hour.
#[derive(Default)]
struct Sum {
    all: Counted,
    devices: BTreeMap<DeviceKey, Counted>,
    categories: BTreeMap<Arc<str>, Counted>,
    hours: Vec<Value>,
    names: BTreeMap<(Box<str>, DeviceKey), BlockedName>,
    names_more: u64,
    last: BTreeMap<DeviceKey, Last>,
}

/// What a device did last, in whatever hours.
#[derive(Default)]
struct Last {
    asked: Option<Timestamp>,
    sign: Option<(Sign, Timestamp)>,
}

impl Sum {
    fn add(&mut self, view: &View<'_>, hour: Hour) {
        let is_asked = hour.hour > view.hours.0 && hour.hour < view.hours.1;
        let has_names = view.household.kept().is_some_and(|history| history.names);
        let mut of_hour = Counted::default();
        for (device, counts) in hour
            .devices
            .into_iter()
            .filter(|(device, _)| view.may_show(device.as_ref()))
        {
            let last = self.last.entry(device.clone()).or_default();
            last.asked = last.asked.max(counts.last);
            last.sign = counts
                .sign
                .map(|given| (given.kind, given.at))
                .or(last.sign);
            if !is_asked
                || view
                    .device
                    .is_some_and(|only| Some(only) != device.as_ref())
            {
                continue;
            }
            let count = Counted {
                asked: counts.asked,
                blocked: counts.blocked,
            };
            add(&mut of_hour, count);
            add(self.devices.entry(device.clone()).or_default(), count);
            counts.categories.into_iter().for_each(|(category, count)| {
                add(self.categories.entry(category).or_default(), count)
            });
            self.names_more = self.names_more.saturating_add(counts.names_more);
            for (name, blocked) in counts.names.into_iter().filter(|_| has_names) {
                let is_room = self.names.len() < NAMES_MAX;
                match self.names.entry((name, device.clone())) {
                    Entry::Occupied(mut there) => {
                        // Hours come in their order: the later one says how it was the last time.
                        let count = there.get().count.saturating_add(blocked.count);
                        there.insert(BlockedName { count, ..blocked });
                    }
                    Entry::Vacant(place) if is_room => drop(place.insert(blocked)),
                    Entry::Vacant(_) => {
                        self.names_more = self.names_more.saturating_add(blocked.count)
                    }
                }
            }
        }
        add(&mut self.all, of_hour);
        if of_hour.asked > 0 {
            self.hours.push(
                json!({ "hour": hour.hour, "asked": of_hour.asked, "blocked": of_hour.blocked }),
            );
        }
    }

    fn show(self, view: &View<'_>, top: usize) -> Value {
        let devices = self.show_devices(view);
        let mut categories: Vec<(Arc<str>, Counted)> = self.categories.into_iter().collect();
        categories.sort_by(|(a, of_a), (b, of_b)| {
            (of_b.asked, of_b.blocked, a).cmp(&(of_a.asked, of_a.blocked, b))
        });
        let categories: Vec<Value> =
            categories.iter().map(|(slug, count)| json!({ "category": slug, "asked": count.asked, "blocked": count.blocked })).collect();
        let mut names: Vec<_> = self.names.into_iter().collect();
        // Equally often: by name, as they come.
        names.sort_by_key(|(_, blocked)| Reverse(blocked.count));
        let name = |(
            (name, device),
            BlockedName {
                count,
                layer,
                categories,
                last,
            },
        ): ((Box<str>, DeviceKey), BlockedName)| json!({ "name": name, "device": device, "count": count, "layer": layer, "categories": categories, "last": last });
        json!({
            "asked": self.all.asked,
            "blocked": self.all.blocked,
            "devices": devices,
            "categories": categories,
            "hours": self.hours,
            "blocked_names": names.into_iter().take(top).map(name).collect::<Vec<_>>(),
            "blocked_names_more": self.names_more,
        })
    }

    /// Every device that is counted, with when it asked last: also one that did not ask in the
    /// hours that are shown.
    fn show_devices(&self, view: &View<'_>) -> Vec<Value> {
        let shown = self
            .last
            .iter()
            .filter(|(device, _)| view.device.is_none_or(|only| Some(only) == device.as_ref()));
        let row = |(device, last): (&DeviceKey, &Last)| {
            let others = self
                .last
                .iter()
                .filter(|(other, _)| *other != device && !view.is_childs)
                .filter_map(|(_, last)| last.asked)
                .max();
            // Many devices at once are never silent as one.
            let silence = device.as_ref().and_then(|_| {
                Silence::of(last.asked, last.sign, others, view.now, view.silent_after)
            });
            let count = self.devices.get(device).copied().unwrap_or_default();
            json!({
                "device": device,
                "name": device.as_ref().and_then(|id| view.household.devices.get(id)).map(|device| device.name.as_str()),
                "asked": count.asked,
                "blocked": count.blocked,
                "last_asked": last.asked,
                "silent": silence,
            })
        };
        shown.map(row).collect()
    }
}

fn add(sum: &mut Counted, count: Counted) {
    sum.asked = sum.asked.saturating_add(count.asked);
    sum.blocked = sum.blocked.saturating_add(count.blocked);
}
