//! Things: the domains that a device such as a camera may reach.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, http::StatusCode};
use control::{
    detection::mud,
    households::write::{change_existing, set_by},
};
use jiff::Timestamp;
use policy::{
    lists::public_suffix::is_at_or_above_suffix,
    name::Name,
    rules::{
        household::{Device, Household, Id},
        thing::{AttributedDomain, THING_DOMAINS_MAX, Thing, ThingDomain, ThingMode, ThingSetting},
    },
};
use policy_store::{Author, HouseholdChanged};
use serde::{Deserialize, Serialize};

use crate::{
    Context,
    auth::guards::Family,
    extract::{Body, IfMatch, Segments, segment},
    problem::Problem,
    routes::devices::unknown_device,
    versioned::{Versioned, unknown_household},
};

/// The domains of a thing. A field that is left out keeps its value.
#[derive(Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ThingBody {
    /// `off`; `learning`: nothing more is blocked, and new domains are added to `allowed`; `asking`:
    /// only `allowed` is answered, and new domains are asked about; `locked`: only `allowed` is
    /// answered.
    #[serde(default)]
    mode: Option<ThingMode>,
    /// The domains that it may reach, each with all names below it; at most 256.
    #[serde(default)]
    allowed: Option<Vec<DomainBody>>,
    /// The domains that it may not reach, in every mode but `off`; at most 256.
    #[serde(default)]
    denied: Option<Vec<DomainBody>>,
}

/// A domain of a thing. Author and time of a domain that was there before stay as they were.
#[derive(Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainBody {
    domain: String,
    /// Not read.
    #[serde(default, rename = "set_by")]
    _set_by: Option<String>,
    /// Not read.
    #[serde(default, rename = "set_at")]
    _set_at: Option<String>,
}

/// A domain of a thing, with its author.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DomainOfThing)]
pub struct DomainView {
    #[schema(value_type = String)]
    domain: Name,
    /// The key that set it; `learning` for a learned one.
    set_by: String,
    /// When it was set, RFC 3339.
    set_at: Timestamp,
}

impl DomainView {
    /// The domains of a list, by name.
    pub fn all(domains: &BTreeMap<Name, AttributedDomain>) -> Vec<Self> {
        let domains = domains.iter().map(|(domain, entry)| Self {
            domain: domain.clone(),
            set_by: entry.set_by.clone(),
            set_at: entry.set_at,
        });
        let mut domains: Vec<Self> = domains.collect();
        domains.sort_by_cached_key(|view| view.domain.to_string());
        domains
    }
}

/// The domains of a thing.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Thing)]
pub struct ThingView {
    mode: ThingMode,
    /// The key that set the mode. Null if it was never set.
    set_by: Option<String>,
    /// When the mode was set, RFC 3339. Null if it was never set.
    set_at: Option<Timestamp>,
    /// The domains that it may reach.
    allowed: Vec<DomainView>,
    /// The domains that it may not reach.
    denied: Vec<DomainView>,
    /// The version of the household. Also the `ETag`.
    version: u64,
}

impl ThingView {
    fn of(household: &Household, device: &Id) -> Option<Self> {
        let thing = household.devices.get(device)?.thing.as_ref();
        let list = |domains: fn(&Thing) -> &BTreeMap<Name, AttributedDomain>| {
            thing.map_or_else(Vec::new, |thing| DomainView::all(domains(thing)))
        };
        Some(Self {
            mode: thing.map_or(ThingMode::Off, Thing::mode),
            set_by: thing.map(|thing| thing.mode.set_by.clone()),
            set_at: thing.map(|thing| thing.mode.set_at),
            allowed: list(|thing| &thing.allowed),
            denied: list(|thing| &thing.denied),
            version: household.version,
        })
    }

    fn answer(changed: &HouseholdChanged, device: &Id) -> Versioned<Self> {
        let household = changed.household.as_ref();
        let view = household.and_then(|household| Self::of(household, device));
        let view = view.expect("a change of a thing removes no device");
        Versioned::of(changed, StatusCode::OK, |_| view)
    }
}

/// The thing of a device, to change it.
pub fn thing_of<'h>(
    household: &'h mut Household,
    device: &Id,
    actor: &str,
) -> Option<&'h mut Thing> {
    let device: &mut Device = household.devices.get_mut(device)?;
    let mode = ThingMode::Off;
    Some(
        device
            .thing
            .get_or_insert_with(|| Thing::new(set_by(ThingSetting { mode }, actor))),
    )
}

/// Refuses a list with too many domains.
pub fn check_domains(
    field: &str,
    domains: &BTreeMap<Name, AttributedDomain>,
) -> Result<(), Problem> {
    match domains.len() > THING_DOMAINS_MAX {
        true => Err(Problem::value(
            field,
            "limit",
            format!("a thing has at most {THING_DOMAINS_MAX} domains of each kind"),
        )),
        false => Ok(()),
    }
}

/// Reads the domains of a list. Those that were there keep author and time.
fn read(
    field: &str,
    bodies: &[DomainBody],
    before: &BTreeMap<Name, AttributedDomain>,
    actor: &str,
) -> Result<BTreeMap<Name, AttributedDomain>, Problem> {
    let mut domains = BTreeMap::new();
    for (place, body) in bodies.iter().enumerate() {
        let field = format!("{field}[{place}].domain");
        let name = Name::parse(&body.domain)
            .map_err(|error| Problem::value(&field, "name", error.to_string()))?;
        if is_at_or_above_suffix(name.borrow()) {
            let detail = format!("{name} is no domain of one company: names below it are others'");
            return Err(Problem::value(&field, "public_suffix", detail));
        }
        let entry = before.get(&name).cloned();
        domains.insert(name, entry.unwrap_or_else(|| set_by(ThingDomain {}, actor)));
    }
    check_domains(field, &domains)?;
    Ok(domains)
}

impl ThingBody {
    fn apply(&self, thing: &mut Thing, actor: &str) -> Result<(), Problem> {
        let lists = [
            ("allowed", &self.allowed, &mut thing.allowed),
            ("denied", &self.denied, &mut thing.denied),
        ];
        for (field, bodies, domains) in lists {
            if let Some(bodies) = bodies {
                *domains = read(field, bodies, domains, actor)?;
            }
        }
        if let Some(twice) = thing
            .denied
            .keys()
            .find(|name| thing.allowed.contains_key(*name))
        {
            let detail = format!("{twice} is both allowed and denied");
            return Err(Problem::value("denied", "contradiction", detail));
        }
        if let Some(mode) = self.mode {
            thing.mode = set_by(ThingSetting { mode }, actor);
        }
        Ok(())
    }
}

/// The domains that a device may reach. The mode of a device that was never a thing is `off`.
#[utoipa::path(get, path = "/v1/households/{id}/devices/{device}/thing", operation_id = "get_device_thing", tag = "things",
    params(("id" = String, Path), ("device" = String, Path)),
    responses((status = 200, description = "the thing", body = ThingView), (status = 404, description = "no such household or device")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    _family: Family,
    Segments((id, device)): Segments<(String, String)>,
) -> Result<Versioned<ThingView>, Problem> {
    let id: Id = segment("id", &id)?;
    let device: Id = segment("device", &device)?;
    let household = context.control.store.household(&id).await?;
    let household = household.ok_or_else(|| unknown_household(&id))?;
    let view = ThingView::of(&household, &device).ok_or_else(|| unknown_device(&device))?;
    Ok(Versioned::read(household.version, view))
}

/// Sets the mode of a thing, and the domains that it may and may not reach.
#[utoipa::path(put, path = "/v1/households/{id}/devices/{device}/thing", operation_id = "put_device_thing", tag = "things", request_body = ThingBody,
    params(("id" = String, Path), ("device" = String, Path)),
    responses((status = 200, description = "true from the next query on", body = ThingView), (status = 404, description = "no such household or device"),
        (status = 422, description = "a value cannot be used")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, device)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
    Body(body): Body<ThingBody>,
) -> Result<Versioned<ThingView>, Problem> {
    let edit = move |thing: &mut Thing, actor: &str| body.apply(thing, actor);
    change(&context, &author, (id, device), expected, edit).await
}

/// Adds the names of a manufacturer usage description (RFC 8520) to the domains that a thing may
/// reach. Ports, addresses and the signature are not considered.
#[utoipa::path(put, path = "/v1/households/{id}/devices/{device}/thing/mud", operation_id = "put_device_thing_mud", tag = "things",
    request_body(content = Object, description = "the MUD file"),
    params(("id" = String, Path), ("device" = String, Path)),
    responses((status = 200, description = "true from the next query on", body = ThingView), (status = 404, description = "no such household or device"),
        (status = 422, description = "the file cannot be used: `mud`")))]
pub async fn put_mud(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, device)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
    Body(file): Body<serde_json::Value>,
) -> Result<Versioned<ThingView>, Problem> {
    let names = mud::names(&file).map_err(|error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "mud", error.to_string())
    })?;
    let edit = move |thing: &mut Thing, actor: &str| {
        for name in &names {
            thing.denied.remove(name);
            let entry = thing.allowed.entry(name.clone());
            entry.or_insert_with(|| set_by(ThingDomain {}, actor));
        }
        check_domains("allowed", &thing.allowed)
    };
    change(&context, &author, (id, device), expected, edit).await
}

/// Changes the thing of a device.
async fn change(
    context: &Context,
    author: &Author,
    (id, device): (String, String),
    expected: Option<u64>,
    edit: impl FnOnce(&mut Thing, &str) -> Result<(), Problem> + Clone + Send + 'static,
) -> Result<Versioned<ThingView>, Problem> {
    let id: Id = segment("id", &id)?;
    let device: Id = segment("device", &device)?;
    let actor = author.actor.clone();
    let name = device.clone();
    let edit = move |household: &mut Household| {
        let thing = thing_of(household, &name, &actor).ok_or_else(|| unknown_device(&name))?;
        edit(thing, &actor)
    };
    let (changed, ()) = change_existing(&context.control, author, id, expected, edit).await?;
    Ok(ThingView::answer(&changed, &device))
}
