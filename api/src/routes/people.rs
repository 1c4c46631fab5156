//! The people of a household. A person's settings apply to all of their devices. Each household has
//! the person `unknown-devices`, whose settings apply to devices that it has not named.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use control::households::write::change_existing;
use policy::{
    rules::household::{Household, Id, PEOPLE_MAX, Person, Settings},
    text::Text,
};
use serde::{Deserialize, Serialize};

use crate::{
    Context,
    auth::guards::{Family, Viewer},
    conditional::Known,
    extract::{Body, IfMatch, Segments, check_name, segment},
    names::named,
    problem::Problem,
    versioned::{Versioned, made_or_changed, unknown_household},
    written::Written,
};

/// The longest name, in octets.
const NAME_OCTETS_MAX: usize = 128;

/// The settings of a person. A field that is left out keeps its value.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonBody {
    /// The name that the family uses, 1 to 128 octets. Default: the identifier.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    name: Option<Text>,
}

/// 404 for a person.
pub fn unknown_person(id: &Id) -> Problem {
    Problem::not_found(
        "unknown_person",
        format!("the household has no person {id}"),
    )
}

/// A person with their devices and settings.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Person)]
pub struct PersonView {
    /// The identifier.
    #[schema(value_type = String)]
    id: Id,
    /// Their devices, by identifier.
    #[schema(value_type = Vec<String>)]
    devices: Vec<Id>,
    #[serde(flatten)]
    person: Person,
    /// The version of the household. Also the `ETag`.
    version: u64,
}

impl PersonView {
    fn of(household: &Household, id: &Id) -> Option<Self> {
        let devices = household
            .devices
            .iter()
            .filter(|(_, device)| device.person.as_ref() == Some(id));
        let person = household.people.get(id).cloned();
        let implicit = || id.is_unknown_devices().then(Person::of_unknown_devices);
        Some(Self {
            id: id.clone(),
            devices: devices.map(|(device, _)| device.clone()).collect(),
            person: person.or_else(implicit)?,
            version: household.version,
        })
    }
}

/// Makes a person, or changes the given fields. Their switches stay.
#[utoipa::path(put, path = "/v1/households/{id}/people/{person}", operation_id = "put_person", tag = "people", request_body = PersonBody,
    params(("id" = String, Path), ("person" = String, Path)),
    responses((status = 201, description = "made", body = PersonView), (status = 200, description = "changed", body = PersonView),
        (status = 404, description = "no such household")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, person)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
    Body(PersonBody { name }): Body<PersonBody>,
) -> Result<Versioned<PersonView>, Problem> {
    let id: Id = segment("id", &id)?;
    let person: Id = segment("person", &person)?;
    check_name("name", name.as_ref(), NAME_OCTETS_MAX)?;
    let whose = person.clone();
    let change = move |household: &mut Household| {
        let is_known = household.person_mut(&whose).is_some();
        let others = household
            .people
            .keys()
            .filter(|id| !id.is_unknown_devices());
        if !is_known && others.count() >= PEOPLE_MAX {
            return Err(Problem::value(
                "person",
                "limit",
                format!("a household has at most {PEOPLE_MAX} people"),
            ));
        }
        let entry = household.people.entry(whose.clone());
        let person = entry.or_insert_with(|| Person {
            name: whose.to_string(),
            settings: Settings::default(),
        });
        person.name = name.map_or_else(|| std::mem::take(&mut person.name), Text::into_string);
        Ok(!is_known)
    };
    let (changed, is_new) =
        change_existing(&context.control, &author, id, expected, change).await?;
    let household = changed
        .household
        .expect("a change of a person deletes no household");
    Ok(Versioned {
        status: made_or_changed(is_new),
        version: changed.version,
        body: PersonView::of(&household, &person).expect("they were put there"),
    })
}

/// A person with their settings and devices.
#[utoipa::path(get, path = "/v1/households/{id}/people/{person}", operation_id = "get_person", tag = "people", params(("id" = String, Path), ("person" = String, Path)),
    responses((status = 200, description = "the person", body = PersonView), (status = 404, description = "there is none")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    _viewer: Viewer,
    Segments((id, person)): Segments<(String, String)>,
    known: Known,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let person: Id = segment("person", &person)?;
    let household = context
        .control
        .store
        .household(&id)
        .await?
        .ok_or_else(|| unknown_household(&id))?;
    let view = PersonView::of(&household, &person).ok_or_else(|| unknown_person(&person))?;
    let answer = named(&context, &id, &view).await?;
    Ok(known.of_version(household.version, answer))
}

/// Removes a person and their settings. Their devices are assigned to no person from now on. The
/// person `unknown-devices` cannot be removed.
#[utoipa::path(delete, path = "/v1/households/{id}/people/{person}", operation_id = "delete_person", tag = "people", params(("id" = String, Path), ("person" = String, Path)),
    responses((status = 200, description = "gone", body = Written), (status = 404, description = "there was none"),
        (status = 409, description = "each household has this person")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, person)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<Written>, Problem> {
    let id: Id = segment("id", &id)?;
    let person: Id = segment("person", &person)?;
    if person.is_unknown_devices() {
        return Err(Problem::conflict(
            "unknown_devices",
            "each household has this person: the settings of devices that it has not named",
        ));
    }
    let change = move |household: &mut Household| {
        household
            .people
            .remove(&person)
            .ok_or_else(|| unknown_person(&person))?;
        let theirs = household
            .devices
            .values_mut()
            .filter(|device| device.person.as_ref() == Some(&person));
        theirs.for_each(|device| device.person = None);
        Ok(())
    };
    let (changed, ()) = change_existing(&context.control, &author, id, expected, change).await?;
    Ok(Versioned::of(&changed, StatusCode::OK, |version| Written {
        version,
    }))
}
