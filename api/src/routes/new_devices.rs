//! Devices that a household has not named: those that were seen, and whether the family hears of
//! them.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use control::{
    detection::new_device::NewDevice,
    households::write::{change_existing, set_by},
};
use jiff::Timestamp;
use policy::{
    rules::household::{DeviceIdentifier, Household, Id, NewDeviceSettings},
    text::Text,
};
use policy_store::{DHCP_NAME_OCTETS_MAX, DeviceHint, SIGHTINGS_MAX};
use serde::{Deserialize, Serialize};

use crate::{
    Context,
    auth::guards::Family,
    extract::{Body, IfMatch, Segments, check_name, segment},
    problem::Problem,
    versioned::{Versioned, check_version, unknown_household},
};

/// The devices that the household has not named.
#[derive(Serialize, utoipa::ToSchema)]
pub struct NewDevices {
    /// Whether there is an event of each.
    notify: bool,
    /// Those of the last seven days, the latest first; at most 64.
    devices: Vec<NewDevice>,
    /// The version of the household. Also the `ETag`.
    version: u64,
}

/// What the family hears of new devices.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDevicesBody {
    /// Whether there is an event of each, at first true. The rules of new devices are those of the
    /// person `unknown-devices`.
    notify: bool,
}

/// Whether the family wants to hear of a device.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DismissBody {
    /// The device stays on the list, and there is no event of it.
    dismissed: bool,
}

/// What the household's DHCP server knows of devices.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HintsBody {
    /// At most 64. Others that were told before stay.
    #[schema(max_items = 64)]
    hints: Vec<HintBody>,
}

/// What the household's DHCP server knows of a device.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HintBody {
    /// A `mac` or an `address`.
    identifier: DeviceIdentifier,
    /// The name that the device gave (DHCP option 12 or 81), at most 64 octets. Null takes an
    /// earlier one back.
    #[schema(value_type = Option<String>, max_length = 64)]
    dhcp_name: Option<Text>,
}

impl HintBody {
    fn read(self, place: usize) -> Result<DeviceHint, Problem> {
        let field = |name: &str| format!("hints[{place}].{name}");
        let Self {
            identifier,
            dhcp_name,
        } = self;
        let is_of_dhcp = matches!(
            identifier,
            DeviceIdentifier::Mac(_) | DeviceIdentifier::Address(_)
        );
        if !is_of_dhcp {
            let detail = "a DHCP server knows a mac and an address";
            return Err(Problem::value(&field("identifier"), "identifier", detail));
        }
        check_name(
            &field("dhcp_name"),
            dhcp_name.as_ref(),
            DHCP_NAME_OCTETS_MAX,
        )?;
        Ok(DeviceHint {
            identifier,
            dhcp_name,
        })
    }
}

/// A device that was dismissed.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Dismissed {
    #[serde(flatten)]
    device: NewDevice,
    /// The version of the household, which does not change. Also the `ETag`.
    version: u64,
}

async fn answer(context: &Context, household: &Household) -> Result<NewDevices, Problem> {
    let store = &context.control.store;
    let sightings = store.sightings(&household.id, Timestamp::now()).await?;
    Ok(NewDevices {
        notify: household.hears_of_new_devices(),
        devices: sightings.into_iter().map(NewDevice::from).collect(),
        version: household.version,
    })
}

/// The devices that the household has not named, with a guess what each is.
#[utoipa::path(get, path = "/v1/households/{id}/new-devices", operation_id = "list_new_devices", tag = "devices", params(("id" = String, Path)),
    responses((status = 200, description = "the devices", body = NewDevices), (status = 404, description = "no such household")))]
pub async fn list(
    State(context): State<Arc<Context>>,
    _family: Family,
    Segments(id): Segments<String>,
) -> Result<Versioned<NewDevices>, Problem> {
    let id: Id = segment("id", &id)?;
    let household = context.control.store.household(&id).await?;
    let household = household.ok_or_else(|| unknown_household(&id))?;
    let devices = answer(&context, &household).await?;
    Ok(Versioned::read(household.version, devices))
}

/// Sets whether the family hears of new devices.
#[utoipa::path(put, path = "/v1/households/{id}/new-devices", operation_id = "put_new_devices", tag = "devices", request_body = NewDevicesBody, params(("id" = String, Path)),
    responses((status = 200, description = "set", body = NewDevices), (status = 404, description = "no such household")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments(id): Segments<String>,
    IfMatch(expected): IfMatch,
    Body(NewDevicesBody { notify }): Body<NewDevicesBody>,
) -> Result<Versioned<NewDevices>, Problem> {
    let id: Id = segment("id", &id)?;
    let actor = author.actor.clone();
    let edit = move |household: &mut Household| {
        household.new_devices = Some(set_by(NewDeviceSettings { notify }, &actor));
        Ok::<_, Problem>(())
    };
    let (changed, ()) = change_existing(&context.control, &author, id, expected, edit).await?;
    let household = changed.household.as_ref();
    let household = household.expect("a change of a setting deletes no household");
    let devices = answer(&context, household).await?;
    Ok(Versioned::of(&changed, StatusCode::OK, |_| devices))
}

/// Tells names that devices gave to the household's DHCP server, before or after their first query.
/// They are evidence beside a new device of the same identifier, for seven days. No query is
/// identified by them.
#[utoipa::path(put, path = "/v1/households/{id}/new-devices/hints", operation_id = "put_new_device_hints", tag = "devices", request_body = HintsBody, params(("id" = String, Path)),
    responses((status = 200, description = "told", body = NewDevices), (status = 404, description = "no such household"), (status = 422, description = "a value cannot be used")))]
pub async fn put_hints(
    State(context): State<Arc<Context>>,
    _family: Family,
    Segments(id): Segments<String>,
    IfMatch(expected): IfMatch,
    Body(HintsBody { hints }): Body<HintsBody>,
) -> Result<Versioned<NewDevices>, Problem> {
    let id: Id = segment("id", &id)?;
    let store = &context.control.store;
    let household = store.household(&id).await?;
    let household = household.ok_or_else(|| unknown_household(&id))?;
    check_version(expected, household.version)?;
    if hints.len() > SIGHTINGS_MAX as usize {
        let detail = format!("at most {SIGHTINGS_MAX} at once");
        return Err(Problem::value("hints", "limit", detail));
    }
    let hints = (0..).zip(hints).map(|(place, hint)| hint.read(place));
    let mut hints: Vec<DeviceHint> = hints.collect::<Result<_, _>>()?;
    // Of a named device nothing need be guessed.
    hints.retain(|hint| {
        let mut devices = household.devices.values();
        !devices.any(|device| device.identifiers.contains(&hint.identifier))
    });
    store
        .tell_device_hints(&id, &hints, Timestamp::now())
        .await?;
    let devices = answer(&context, &household).await?;
    Ok(Versioned::read(household.version, devices))
}

/// Sets whether the family wants to hear of a device. To name it, put a device with its identifiers:
/// it then leaves this list.
#[utoipa::path(put, path = "/v1/households/{id}/new-devices/{sighting}", operation_id = "put_new_device", tag = "devices", request_body = DismissBody,
    params(("id" = String, Path), ("sighting" = String, Path)),
    responses((status = 200, description = "set", body = Dismissed), (status = 404, description = "no such household or device")))]
pub async fn dismiss(
    State(context): State<Arc<Context>>,
    _family: Family,
    Segments((id, sighting)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
    Body(DismissBody { dismissed }): Body<DismissBody>,
) -> Result<Versioned<Dismissed>, Problem> {
    let id: Id = segment("id", &id)?;
    let rules = context.control.directory.household(&id);
    let version = rules.ok_or_else(|| unknown_household(&id))?.version();
    check_version(expected, version)?;
    let store = &context.control.store;
    store.dismiss_sighting(&id, &sighting, dismissed).await?;
    let mut sightings = store.sightings(&id, Timestamp::now()).await?.into_iter();
    let found = sightings.find(|known| known.id == sighting);
    let device = found.map(NewDevice::from).ok_or_else(|| {
        Problem::not_found("unknown_sighting", "the household has no such new device")
    })?;
    Ok(Versioned::read(version, Dismissed { device, version }))
}
