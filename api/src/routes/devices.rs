//! A household's devices.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use control::households::write::change_existing;
use policy::{
    rules::household::{
        DEVICES_MAX, Device, DeviceIdentifier, Household, IDENTIFIERS_MAX, Id, Settings,
    },
    text::Text,
};
use policy_store::Role;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Context,
    auth::{
        guards::{Anyone, Family, Viewer},
        principal::forbidden,
    },
    conditional::Known,
    extract::{Body, IfMatch, Segments, check_name, segment},
    names::named,
    problem::Problem,
    routes::households::given,
    versioned::{Versioned, made_or_changed, unknown_household},
    written::Written,
};

/// The longest name, in octets.
const NAME_OCTETS_MAX: usize = 128;

/// The settings of a device. A field that is left out keeps its value.
#[derive(Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceBody {
    /// The name that the family uses, 1 to 128 octets. Default: the identifier.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    name: Option<Text>,
    /// The kind: phone, tablet, camera, …
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    kind: Option<Option<Text>>,
    /// The person who uses it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    person: Option<Option<Id>>,
    /// What tells it from the others: objects with one key of `mac`, `address`.
    #[serde(default)]
    identifiers: Option<Vec<DeviceIdentifier>>,
    /// Whether its queries are counted in the household's activity. `false` also erases those that
    /// were. Only the account holder may set it back to `true`.
    #[serde(default)]
    log: Option<bool>,
}

impl DeviceBody {
    fn check(&mut self) -> Result<(), Problem> {
        let texts = [
            ("name", self.name.as_ref()),
            ("kind", self.kind.as_ref().and_then(Option::as_ref)),
        ];
        for (field, text) in texts {
            check_name(field, text, NAME_OCTETS_MAX)?;
        }
        for (place, identifier) in self.identifiers.iter_mut().flatten().enumerate() {
            let unbuilt = match identifier {
                DeviceIdentifier::Address(address) => {
                    // An IPv4-mapped address is stored as IPv4: queries come from the IPv4 address.
                    *address = address.to_canonical();
                    continue;
                }
                DeviceIdentifier::Mac(_) => continue,
                DeviceIdentifier::Token(_) => "token",
                DeviceIdentifier::CpeId(_) => "cpe_id",
            };
            // If this were accepted, the device would have other rules than the family expects.
            let detail = format!(
                "no query is told from others by {unbuilt} in this version; use mac or address"
            );
            return Err(Problem::value(
                &format!("identifiers[{place}].{unbuilt}"),
                "not_built",
                detail,
            ));
        }
        if self
            .identifiers
            .as_ref()
            .is_some_and(|identifiers| identifiers.len() > IDENTIFIERS_MAX)
        {
            return Err(Problem::value(
                "identifiers",
                "limit",
                format!("a device has at most {IDENTIFIERS_MAX} identifiers"),
            ));
        }
        Ok(())
    }

    /// Applies the fields. Returns whether the device is new.
    fn apply(self, household: &mut Household, id: &Id) -> Result<bool, Problem> {
        let person = self.person.as_ref().and_then(Option::as_ref);
        if person.is_some_and(Id::is_unknown_devices) {
            return Err(Problem::value(
                "person",
                "unknown_devices",
                "unknown-devices is for devices without a name",
            ));
        }
        if let Some(person) = person.filter(|person| !household.people.contains_key(*person)) {
            let detail = format!("the household has no person {person}");
            return Err(Problem::value("person", "unknown_person", detail));
        }
        for identifier in self.identifiers.iter().flatten() {
            let owner = household
                .devices
                .iter()
                .find(|(other, device)| *other != id && device.identifiers.contains(identifier));
            if let Some((owner, _)) = owner {
                let detail = format!("{} belongs to device {owner}", json!(identifier));
                return Err(Problem::conflict("identifier_taken", detail)
                    .with_field("identifiers".to_owned()));
            }
        }
        let is_new = !household.devices.contains_key(id);
        if is_new && household.devices.len() >= DEVICES_MAX {
            return Err(Problem::value(
                "device",
                "limit",
                format!("a household has at most {DEVICES_MAX} devices"),
            ));
        }
        let gains_left_alone = self.gains_left_alone(&household.left_alone);
        let device = household
            .devices
            .entry(id.clone())
            .or_insert_with(|| Device {
                name: id.to_string(),
                kind: None,
                person: None,
                identifiers: Vec::new(),
                log: true,
                thing: None,
                settings: Settings::default(),
            });
        let Self {
            name,
            kind,
            person,
            identifiers,
            log,
        } = self;
        device.name = name.map_or_else(|| std::mem::take(&mut device.name), Text::into_string);
        device.kind = kind.map_or_else(|| device.kind.take(), |kind| kind.map(Text::into_string));
        device.person = person.unwrap_or_else(|| device.person.take());
        device.identifiers = identifiers.unwrap_or_else(|| std::mem::take(&mut device.identifiers));
        device.log = log.unwrap_or(device.log && !gains_left_alone);
        Ok(is_new)
    }

    /// Whether the device gets an identifier of one that was left alone and is gone.
    fn gains_left_alone(&self, left_alone: &[DeviceIdentifier]) -> bool {
        let mut given = self.identifiers.iter().flatten();
        given.any(|identifier| left_alone.contains(identifier))
    }
}

/// 404 for a device.
pub fn unknown_device(id: &Id) -> Problem {
    Problem::not_found(
        "unknown_device",
        format!("the household has no device {id}"),
    )
}

/// Makes a device, or changes the given fields. Its switches and custom names stay.
#[utoipa::path(put, path = "/v1/households/{id}/devices/{device}", operation_id = "put_device", tag = "devices", request_body = DeviceBody,
    params(("id" = String, Path), ("device" = String, Path)),
    responses((status = 201, description = "made", body = DeviceView), (status = 200, description = "changed", body = DeviceView),
        (status = 404, description = "no such household"), (status = 409, description = "an identifier belongs to another device"), (status = 422, description = "a value cannot be used; no such person: `unknown_person`")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Anyone(principal): Anyone,
    Segments((id, device)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
    Body(mut body): Body<DeviceBody>,
) -> Result<Versioned<DeviceView>, Problem> {
    let id: Id = segment("id", &id)?;
    let device: Id = segment("device", &device)?;
    body.check()?;
    let name = device.clone();
    let (changed, is_new) =
        change_existing(&context.control, &author, id, expected, move |household| {
            let was_left_alone = body.gains_left_alone(&household.left_alone)
                || household
                    .devices
                    .get(&name)
                    .is_some_and(|device| !device.log);
            if was_left_alone && body.log == Some(true) && principal.role == Role::SecondParent {
                return Err(forbidden(principal.role).with_field("log".to_owned()));
            }
            body.apply(household, &name)
        })
        .await?;
    let household = changed
        .household
        .expect("a change of a device deletes no household");
    Ok(Versioned {
        status: made_or_changed(is_new),
        version: changed.version,
        body: DeviceView::of(&household, &device).expect("it was put there"),
    })
}

/// A device with its settings.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Device)]
pub struct DeviceView {
    /// The identifier.
    #[schema(value_type = String)]
    id: Id,
    #[serde(flatten)]
    device: Device,
    /// The version of the household. Also the `ETag`.
    version: u64,
}

impl DeviceView {
    fn of(household: &Household, id: &Id) -> Option<Self> {
        Some(Self {
            id: id.clone(),
            device: household.devices.get(id)?.clone(),
            version: household.version,
        })
    }
}

/// A device with its switches and custom names.
#[utoipa::path(get, path = "/v1/households/{id}/devices/{device}", operation_id = "get_device", tag = "devices", params(("id" = String, Path), ("device" = String, Path)),
    responses((status = 200, description = "the device", body = DeviceView), (status = 404, description = "there is none")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    _viewer: Viewer,
    Segments((id, device)): Segments<(String, String)>,
    known: Known,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let device: Id = segment("device", &device)?;
    let household = context
        .control
        .store
        .household(&id)
        .await?
        .ok_or_else(|| unknown_household(&id))?;
    let view = DeviceView::of(&household, &device).ok_or_else(|| unknown_device(&device))?;
    let answer = named(&context, &id, &view).await?;
    Ok(known.of_version(household.version, answer))
}

/// Removes a device. Its queries get the household's settings from now on.
#[utoipa::path(delete, path = "/v1/households/{id}/devices/{device}", operation_id = "delete_device", tag = "devices", params(("id" = String, Path), ("device" = String, Path)),
    responses((status = 200, description = "gone", body = Written), (status = 404, description = "there was none")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, device)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<Written>, Problem> {
    let id: Id = segment("id", &id)?;
    let device: Id = segment("device", &device)?;
    let (changed, ()) =
        change_existing(&context.control, &author, id, expected, move |household| {
            household
                .devices
                .remove(&device)
                .map(drop)
                .ok_or_else(|| unknown_device(&device))
        })
        .await?;
    Ok(Versioned::of(&changed, StatusCode::OK, |version| Written {
        version,
    }))
}
