//! A whole home in one read: what is set, what is in force on each device, what waits for an
//! answer, and what was stopped today.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Response};
use control::{demonstration::is_demonstration, households::write::read_with_rules};
use jiff::Timestamp;
use policy::rules::{
    household::{
        AccountContact, AttributedChoice, Device, Filtering, Household, Id, Person, Settings,
    },
    timeline::zone,
};
use policy_store::{PromptState, RequestState};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Context,
    auth::{guards::Member, principal::Principal},
    conditional::Known,
    extract::{Segments, segment},
    names::named,
    problem::Problem,
    routes::{
        activity::{self, Today},
        effective::{self, EffectiveSummary},
        history::History,
    },
};

/// A home, as far as its reader may see it.
#[derive(Serialize, ToSchema)]
pub struct Home {
    household: HomeHousehold,
    /// By identifier. A child sees its own device's person.
    people: Vec<HomePerson>,
    /// By identifier. A child sees its own device.
    devices: Vec<HomeDevice>,
    /// Requests that wait for an answer.
    requests_open: usize,
    /// Prompts of things that wait for an answer. 0 to a child.
    prompts_open: usize,
    /// Devices without a name that were seen and not dismissed. 0 to a child.
    new_devices: usize,
    /// What was asked for since midnight, by the clocks of the household. Null if nothing is kept,
    /// and for readers outside of the family.
    today: Option<Today>,
    /// Whether it is a demonstration, whose activity is made up.
    demonstration: bool,
    /// The version of the household.
    version: u64,
}

/// A household without its people and devices.
#[derive(Serialize, ToSchema)]
struct HomeHousehold {
    #[schema(value_type = String)]
    id: Id,
    /// The IANA name of its time zone.
    time_zone: String,
    /// The language of its pages, BCP 47. Null if it was not set.
    locale: Option<String>,
    /// Its preset. Null: the operator's default.
    preset: Option<String>,
    filtering: Filtering,
    /// Who made the choice, when, and how. Null until the household is asked.
    choice: Option<AttributedChoice>,
    /// Where notices go. Null if that is not known, and for a child.
    contact: Option<AccountContact>,
    history: History,
    #[serde(flatten)]
    settings: Settings,
}

/// A person of a home.
#[derive(Serialize, ToSchema)]
struct HomePerson {
    #[schema(value_type = String)]
    id: Id,
    #[serde(flatten)]
    person: Person,
}

/// A device of a home.
#[derive(Serialize, ToSchema)]
struct HomeDevice {
    #[schema(value_type = String)]
    id: Id,
    #[serde(flatten)]
    device: Device,
    effective: EffectiveSummary,
}

/// A whole home: settings, people, devices with what is in force on each, open requests, today's
/// counts. A child sees its own device and person. The answer to `If-None-Match` with its `ETag` is
/// 304 as long as nothing of it has changed.
#[utoipa::path(get, path = "/v1/households/{id}/home", operation_id = "get_household_home", tag = "households", params(("id" = String, Path)),
    responses((status = 200, description = "the home", body = Home), (status = 304, description = "it has not changed"), (status = 404, description = "no such household")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    Member(principal): Member,
    Segments(id): Segments<String>,
    known: Known,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let (household, rules) = read_with_rules(&context.control, &id).await?;
    let household = Arc::new(household);
    let now = Timestamp::now();
    let mine = |device: &&Id| principal.device.as_ref().is_none_or(|own| own == *device);
    let ids: Vec<Id> = household.devices.keys().filter(mine).cloned().collect();
    let summaries = effective::summaries(&context, &household, &rules, &ids, now);
    let requests = context
        .control
        .store
        .requests(&id, principal.device.as_ref(), now)
        .await?;
    let is_open = |state: RequestState| state == RequestState::Open;
    let (prompts_open, new_devices) = match principal.device {
        Some(_) => (0, 0),
        None => unanswered(&context, &id, now).await?,
    };
    let home = Home {
        requests_open: requests
            .iter()
            .filter(|request| is_open(request.state))
            .count(),
        today: today(&context, &household, &principal, now).await?,
        prompts_open,
        new_devices,
        version: household.version,
        demonstration: is_demonstration(&household),
        people: people(&household, &principal),
        devices: devices(&household, summaries),
        household: HomeHousehold::of(&context, &household, &principal),
    };
    let answer = named(&context, &id, &home).await?;
    Ok(known.of_content(household.version, &answer))
}

/// How many prompts and new devices wait for a parent.
async fn unanswered(context: &Context, id: &Id, now: Timestamp) -> Result<(usize, usize), Problem> {
    let store = &context.control.store;
    let prompts = store.prompts(id, Some(PromptState::Open), now).await?;
    let sightings = store.sightings(id, now).await?;
    let new = sightings.iter().filter(|sighting| !sighting.dismissed);
    Ok((prompts.len(), new.count()))
}

impl HomeHousehold {
    fn of(context: &Context, household: &Household, principal: &Principal) -> Self {
        let is_childs = principal.device.is_some();
        Self {
            id: household.id.clone(),
            time_zone: household.time_zone.clone(),
            locale: household.locale.clone(),
            preset: household.preset.clone(),
            filtering: household.filtering,
            choice: household.choice.clone(),
            contact: household.contact.clone().filter(|_| !is_childs),
            history: History::of(&context.control, Some(household)),
            settings: household.settings.clone(),
        }
    }
}

fn people(household: &Household, principal: &Principal) -> Vec<HomePerson> {
    let own = principal.device.as_ref().map(|device| {
        let device = household.devices.get(device);
        device.and_then(|device| device.person.clone())
    });
    let shown = household
        .people
        .iter()
        .filter(|(id, _)| own.as_ref().is_none_or(|own| own.as_ref() == Some(*id)));
    let person = |(id, person): (&Id, &Person)| HomePerson {
        id: id.clone(),
        person: person.clone(),
    };
    shown.map(person).collect()
}

fn devices(household: &Household, summaries: BTreeMap<Id, EffectiveSummary>) -> Vec<HomeDevice> {
    let device = |(id, effective): (Id, EffectiveSummary)| {
        let device = household.devices.get(&id)?.clone();
        Some(HomeDevice {
            id,
            device,
            effective,
        })
    };
    summaries.into_iter().filter_map(device).collect()
}

/// Today's counts, as far as they are kept and are the reader's to see.
async fn today(
    context: &Context,
    household: &Household,
    principal: &Principal,
    now: Timestamp,
) -> Result<Option<Today>, Problem> {
    if principal.household.is_none() {
        return Ok(None);
    }
    let midnight = now.to_zoned(zone(household)).start_of_day();
    let midnight = midnight.map_or(now, |midnight| midnight.timestamp());
    activity::since(
        context,
        household,
        principal.device.as_ref(),
        (midnight, now),
    )
    .await
}
