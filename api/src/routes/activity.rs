//! Counts of what a household's devices asked for, as far as the household keeps them. Blocks by
//! mandates are never counted.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use axum::{Json, extract::State};
use control::{Control, activity::inactivity::Silence};
use jiff::{SignedDuration, Timestamp};
use policy::{
    rules::household::{Household, Id},
    verdict::Layer,
};
use policy_store::{
    AuditEntry, Author,
    activity::{BlockedName, BypassSign, DeviceKey, ErasureScope, HouseholdHour, QueryCount},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Context,
    auth::guards::{Holder, Home},
    extract::{QueryParameters, Segments, segment},
    problem::Problem,
    routes::{
        devices::unknown_device,
        history::{self, History},
    },
    versioned::{Versioned, unknown_household},
};

/// Names in an answer: the default and the most.
const TOP: usize = 20;
const TOP_MAX: usize = 1_000;
/// The most different names, by device, that are added up for an answer. Further ones are counted
/// in `blocked_names_more`.
const NAMES_MAX: usize = 20_000;

/// The part of the activity to show.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Only this device.
    device: Option<String>,
    /// From the hour (UTC) of this instant. Default: as far back as activity is kept.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Until this instant. Default: now.
    #[param(format = DateTime)]
    to: Option<String>,
    /// How many of the most often blocked names, 0 to 1000. Default: 20.
    #[param(minimum = 0, maximum = 1000)]
    top: Option<usize>,
}

/// The activity to erase.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WhatOf {
    /// Only that of this device. Default: everything.
    device: Option<String>,
}

/// Counts of what a household's devices asked for. Blocks by mandates are not among them.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Activity {
    /// Queries.
    asked: u64,
    /// Queries that were blocked.
    blocked: u64,
    /// Most often blocked first.
    blocked_names: Vec<BlockedNameCount>,
    /// Blocked queries for names that were too many to keep each, by device and hour.
    blocked_names_more: u64,
    /// Most asked for first. A query counts for each category that its name is listed for.
    categories: Vec<CategoryActivity>,
    /// Only this device. Null for all.
    #[schema(value_type = Option<String>)]
    device: Option<Id>,
    /// The devices of which anything is kept.
    devices: Vec<DeviceActivity>,
    /// From the hour of this instant, RFC 3339. Null: as far back as activity is kept.
    from: Option<Timestamp>,
    history: History,
    /// Hours (UTC) with queries, the oldest first.
    hours: Vec<HourActivity>,
    /// The household.
    #[schema(value_type = String)]
    household: Id,
    /// Until this instant, RFC 3339.
    to: Timestamp,
}

/// The counts of a device.
#[derive(Serialize, utoipa::ToSchema)]
struct DeviceActivity {
    /// Queries.
    asked: u64,
    /// Queries that were blocked.
    blocked: u64,
    /// The device. Null for all devices without a name, together.
    #[schema(value_type = Option<String>)]
    device: Option<Id>,
    /// The last query for anything but a bypass of the filter, RFC 3339.
    last_asked: Option<Timestamp>,
    /// The name that the family uses.
    name: Option<String>,
    /// That the device does not use the filter now, as far as a resolver can tell. Null if it does.
    silent: Option<Silence>,
}

/// The counts of a category.
#[derive(Serialize, utoipa::ToSchema)]
struct CategoryActivity {
    /// Queries for names that are listed for it.
    asked: u64,
    /// Queries that were blocked for it.
    blocked: u64,
    /// The category, by slug.
    #[schema(value_type = String)]
    category: Arc<str>,
}

/// The counts of an hour.
#[derive(Serialize, utoipa::ToSchema)]
struct HourActivity {
    /// Queries.
    asked: u64,
    /// Queries that were blocked.
    blocked: u64,
    /// When it begins, RFC 3339.
    hour: Timestamp,
}

/// A name that was blocked.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = BlockedName)]
struct BlockedNameCount {
    /// The categories for which it was blocked the last time, by slug.
    #[schema(value_type = Vec<String>)]
    categories: Vec<Arc<str>>,
    /// How often it was blocked.
    count: u64,
    /// The device. Null for devices without a name.
    #[schema(value_type = Option<String>)]
    device: Option<Id>,
    /// The last time, RFC 3339.
    last: Timestamp,
    #[schema(value_type = Layer)]
    layer: Cow<'static, str>,
    /// The name that was asked for.
    #[schema(value_type = String)]
    name: Box<str>,
}

/// What was erased.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ActivityForgotten {
    /// The device. Null for everything.
    #[schema(value_type = Option<String>)]
    device: Option<Id>,
    /// The household's version, which does not change. Also the `ETag`.
    version: u64,
}

/// Counts by device, category and hour, and the most often blocked names, as far as the household
/// keeps them. A child sees those of its own device.
#[utoipa::path(get, path = "/v1/households/{id}/activity", operation_id = "get_household_activity", tag = "activity", params(("id" = String, Path), Which),
    responses((status = 200, description = "the counts", body = Activity), (status = 404, description = "no such household or device"),
        (status = 422, description = "a value cannot be used")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    Home(principal): Home,
    Segments(id): Segments<String>,
    QueryParameters(which): QueryParameters<Which>,
) -> Result<Json<Activity>, Problem> {
    let id: Id = segment("id", &id)?;
    let named = optional_device(which.device.as_deref())?;
    let device = named.or_else(|| principal.device.clone());
    principal.must_see(Some(&id), device.as_ref())?;
    let top = which.top.unwrap_or(TOP);
    if top > TOP_MAX {
        return Err(Problem::value("top", "limit", format!("0 to {TOP_MAX}")));
    }
    let from = instant("from", which.from.as_deref())?;
    let to = instant("to", which.to.as_deref())?;
    let now = Timestamp::now();
    let control = &context.control;
    if principal.household.is_none() {
        // Reads from outside the family are audited.
        let what = json!({ "device": device });
        audit(control, &principal.author, "read", &id, &what).await?;
    }
    let household = household_with(control, &id, device.as_ref()).await?;
    let to = to.unwrap_or(now);
    let an_hour_before = |from: Timestamp| from.checked_sub(SignedDuration::from_mins(60)).ok();
    let view = View {
        household: &household,
        device: device.as_ref(),
        is_childs: principal.device.is_some(),
        hours: (from.and_then(an_hour_before).unwrap_or(Timestamp::MIN), to),
        now,
        silent_after: control.history.silent_after,
    };
    let mut sum = Sum::default();
    let activity = history::opened(control)?;
    let days = household
        .kept()
        .map_or(0, |kept| kept.days.min(control.history.days_max));
    if let Some(begin) = now
        .checked_sub(SignedDuration::from_hours(24 * i64::from(days)))
        .ok()
        .filter(|_| days > 0)
    {
        // A few at a time: reading the counts of ninety days takes long.
        let _seat = context.past_reads.activity.take(Some(&id)).await?;
        activity
            .visit(&id, None, begin, now, now, |hour| sum.add(&view, hour))
            .await?;
    }
    let devices = sum.devices(&view);
    Ok(Json(Activity {
        asked: sum.all.asked,
        blocked: sum.all.blocked,
        blocked_names: blocked_names(sum.names, top),
        blocked_names_more: sum.names_more,
        categories: categories(sum.categories),
        device: device.clone(),
        devices,
        from,
        history: History::of(control, Some(&household)),
        hours: sum.hours,
        household: id,
        to,
    }))
}

/// Counts since an instant, such as midnight.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Today {
    /// Since the hour (UTC) of this instant, RFC 3339.
    since: Timestamp,
    /// Queries.
    queries: u64,
    /// Queries that were blocked.
    blocked: u64,
    /// Blocked queries by the slug of each category that they were blocked for.
    by_category: BTreeMap<String, u64>,
}

/// Counts of a household, or of one of its devices, between two instants. `None` if nothing is
/// kept.
pub async fn since(
    context: &Context,
    household: &Household,
    device: Option<&Id>,
    (since, now): (Timestamp, Timestamp),
) -> Result<Option<Today>, Problem> {
    let control = &context.control;
    let is_kept = household
        .kept()
        .is_some_and(|kept| kept.days.min(control.history.days_max) > 0);
    let Some(activity) = control.activity.as_ref().filter(|_| is_kept) else {
        return Ok(None);
    };
    let before = since.saturating_sub(SignedDuration::from_mins(60));
    let before = before.unwrap_or(Timestamp::MIN);
    let view = View {
        household,
        device,
        is_childs: device.is_some(),
        hours: (before, now),
        now,
        silent_after: control.history.silent_after,
    };
    let mut sum = Sum::default();
    let seats = &context.past_reads.activity;
    let _seat = seats.take(Some(&household.id)).await?;
    let add = |hour| sum.add(&view, hour);
    activity
        .visit(&household.id, None, before, now, now, add)
        .await?;
    let blocked = sum.categories.iter().filter(|(_, count)| count.blocked > 0);
    Ok(Some(Today {
        since,
        queries: sum.all.asked,
        blocked: sum.all.blocked,
        by_category: blocked
            .map(|(category, count)| (category.to_string(), count.blocked))
            .collect(),
    }))
}

/// The device that the query names, if it names one.
fn optional_device(device: Option<&str>) -> Result<Option<Id>, Problem> {
    device.map(|device| segment("device", device)).transpose()
}

/// Parses an optional instant of the query.
fn instant(field: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let wrong = |_| Problem::value(field, "time", "an instant such as 2026-11-21T16:02:00Z");
    text.map(|text| text.parse().map_err(wrong)).transpose()
}

/// A household, which must have the device.
async fn household_with(
    control: &Control,
    id: &Id,
    device: Option<&Id>,
) -> Result<Household, Problem> {
    let household = control
        .store
        .household(id)
        .await?
        .ok_or_else(|| unknown_household(id))?;
    match device.filter(|device| !household.devices.contains_key(*device)) {
        Some(device) => Err(unknown_device(device)),
        None => Ok(household),
    }
}

/// Writes what is done to a household's activity into the audit. It is not one of the household's
/// own rows: those are about its document.
async fn audit(
    control: &Control,
    by: &Author,
    action: &str,
    id: &Id,
    what: &Value,
) -> Result<(), Problem> {
    let subject = format!("activity:{id}");
    let deed = AuditEntry {
        action,
        subject: &subject,
        before: None,
        after: Some(what),
    };
    control.store.append_audit(by, deed).await?;
    Ok(())
}

/// Erases activity: of one device, or all of it. It is erased from the disk when this is answered.
/// Queries from the next second on are counted as before.
#[utoipa::path(delete, path = "/v1/households/{id}/activity", operation_id = "delete_household_activity", tag = "activity", params(("id" = String, Path), WhatOf),
    responses((status = 200, description = "forgotten", body = ActivityForgotten), (status = 404, description = "no such household or device")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Holder(author): Holder,
    Segments(id): Segments<String>,
    QueryParameters(what): QueryParameters<WhatOf>,
) -> Result<Versioned<ActivityForgotten>, Problem> {
    let id: Id = segment("id", &id)?;
    let device = optional_device(what.device.as_deref())?;
    let control = &context.control;
    let household = household_with(control, &id, device.as_ref()).await?;
    let forgotten = device
        .clone()
        .map_or(ErasureScope::All, ErasureScope::Device);
    history::opened(control)?
        .forget(&id, forgotten, Timestamp::now())
        .await?;
    let what = json!({ "device": device });
    audit(control, &author, "forget", &id, &what).await?;
    let version = household.version;
    Ok(Versioned::read(
        version,
        ActivityForgotten { device, version },
    ))
}

/// The part of the activity that the reader may see, and asks for.
struct View<'v> {
    household: &'v Household,
    /// Of this device alone.
    device: Option<&'v Id>,
    /// Whether the reader is a child, who learns nothing of the others.
    is_childs: bool,
    /// Hours that begin after the first instant and before the second.
    hours: (Timestamp, Timestamp),
    now: Timestamp,
    silent_after: SignedDuration,
}

impl View<'_> {
    /// Whether counts of a device may be shown. Those of a device that is no longer recorded may
    /// not.
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

/// The sums of all hours.
#[derive(Default)]
struct Sum {
    all: QueryCount,
    by_device: BTreeMap<DeviceKey, QueryCount>,
    categories: BTreeMap<Arc<str>, QueryCount>,
    hours: Vec<HourActivity>,
    names: BTreeMap<(Box<str>, DeviceKey), BlockedName>,
    names_more: u64,
    last: BTreeMap<DeviceKey, Last>,
}

/// The last queries of a device, in any hour.
#[derive(Default)]
struct Last {
    asked: Option<Timestamp>,
    sign: Option<(BypassSign, Timestamp)>,
}

impl Sum {
    fn add(&mut self, view: &View<'_>, hour: HouseholdHour) {
        let is_asked = hour.hour > view.hours.0 && hour.hour < view.hours.1;
        let has_names = view.household.kept().is_some_and(|history| history.names);
        let mut of_hour = QueryCount::default();
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
            let count = QueryCount {
                asked: counts.asked,
                blocked: counts.blocked,
            };
            add(&mut of_hour, count);
            add(self.by_device.entry(device.clone()).or_default(), count);
            counts.categories.into_iter().for_each(|(category, count)| {
                add(self.categories.entry(category).or_default(), count)
            });
            self.names_more = self.names_more.saturating_add(counts.names_more);
            for (name, blocked) in counts.names.into_iter().filter(|_| has_names) {
                let is_room = self.names.len() < NAMES_MAX;
                match self.names.entry((name, device.clone())) {
                    Entry::Occupied(mut there) => {
                        // Hours come in order: the later one has the last state.
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
            self.hours.push(HourActivity {
                asked: of_hour.asked,
                blocked: of_hour.blocked,
                hour: hour.hour,
            });
        }
    }

    /// All recorded devices with their last query, including those without one in the selected
    /// hours.
    fn devices(&self, view: &View<'_>) -> Vec<DeviceActivity> {
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
            // Devices without a name count as one, so their silence cannot be told.
            let silence = device.as_ref().and_then(|_| {
                Silence::of(last.asked, last.sign, others, view.now, view.silent_after)
            });
            let count = self.by_device.get(device).copied().unwrap_or_default();
            let named = device
                .as_ref()
                .and_then(|id| view.household.devices.get(id));
            DeviceActivity {
                asked: count.asked,
                blocked: count.blocked,
                device: device.clone(),
                last_asked: last.asked,
                name: named.map(|device| device.name.clone()),
                silent: silence,
            }
        };
        shown.map(row).collect()
    }
}

/// The categories, the most asked for first.
fn categories(counts: BTreeMap<Arc<str>, QueryCount>) -> Vec<CategoryActivity> {
    let mut categories: Vec<(Arc<str>, QueryCount)> = counts.into_iter().collect();
    categories.sort_by(|(a, of_a), (b, of_b)| {
        (of_b.asked, of_b.blocked, a).cmp(&(of_a.asked, of_a.blocked, b))
    });
    let row = |(category, count): (Arc<str>, QueryCount)| CategoryActivity {
        asked: count.asked,
        blocked: count.blocked,
        category,
    };
    categories.into_iter().map(row).collect()
}

/// The `top` names that were blocked most often. Names with equal counts stay in alphabetical order.
fn blocked_names(
    names: BTreeMap<(Box<str>, DeviceKey), BlockedName>,
    top: usize,
) -> Vec<BlockedNameCount> {
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|(_, blocked)| Reverse(blocked.count));
    let row = |((name, device), blocked): ((Box<str>, DeviceKey), BlockedName)| {
        let BlockedName {
            count,
            layer,
            categories,
            last,
        } = blocked;
        BlockedNameCount {
            categories,
            count,
            device,
            last,
            layer,
            name,
        }
    };
    names.into_iter().take(top).map(row).collect()
}

fn add(sum: &mut QueryCount, count: QueryCount) {
    sum.asked = sum.asked.saturating_add(count.asked);
    sum.blocked = sum.blocked.saturating_add(count.blocked);
}
