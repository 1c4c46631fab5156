//! Households.

use std::{net::IpAddr, sync::Arc};

use axum::{Json, extract::State, http::StatusCode, response::Response};
use control::households::write::{change, set_by};
use policy::{
    category::Taxonomy,
    rules::household::{AccountContact, CHANNELS, Filtering, FilteringChoice, Household, Id},
    text::Text,
};
use policy_store::Role;
use serde::{Deserialize, Serialize};

use crate::{
    Context,
    auth::{
        guards::{Anyone, Family, Operator, Reader, Viewer},
        principal::{Principal, forbidden},
    },
    conditional::Known,
    extract::{Body, IfMatch, Precondition, QueryParameters, Segments, check_name, segment},
    names::named,
    problem::Problem,
    versioned::{Versioned, made_or_changed, unknown_household},
    written::Written,
};

/// Households on a page: the default and the most.
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1_000;
/// The longest free text of a household, in octets.
const TEXT_OCTETS_MAX: usize = 256;
/// The settings of a household. A field that is left out keeps its value; `null` removes `preset`,
/// `external_ref` and `locale`.
#[derive(Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HouseholdBody {
    /// The IANA name of its time zone, such as `Europe/London`.
    #[serde(default)]
    time_zone: Option<String>,
    /// Its preset, one of `/v1/presets`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    preset: Option<Option<String>>,
    /// Its choice between filtering and none.
    #[serde(default)]
    filtering: Option<Filtering>,
    /// The operator's own key of the household, at most 256 octets.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    external_ref: Option<Option<Text>>,
    /// The language of its pages, BCP 47.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    locale: Option<Option<String>>,
    /// How it was asked for its choice: `portal`, `app`, `call-centre`, `shop` or `operator`. Comes
    /// with `filtering`.
    #[serde(default)]
    #[schema(schema_with = policy::schema::channels)]
    channel: Option<String>,
    /// The contact of the account holder, such as `{"email": "…"}`; `null` removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<AccountContact>)]
    contact: Option<Option<AccountContact>>,
}

/// Distinguishes `null` from an absent field.
pub fn given<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Whether a text may be an e-mail address. Whether it is one, only an e-mail can tell.
fn is_address(text: &str) -> bool {
    let is_plain = text.len() <= 254
        && text
            .chars()
            .all(|letter| !letter.is_whitespace() && !"<>,;\"".contains(letter));
    is_plain
        && text.parse::<Text>().is_ok()
        && text.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && host.contains('.') && !host.contains('@')
        })
}

impl HouseholdBody {
    /// Checks all fields, and gives the time zone its usual letter case.
    fn check(&mut self, taxonomy: &Taxonomy) -> Result<(), Problem> {
        self.check_time_zone()?;
        self.check_preset(taxonomy)?;
        check_name(
            "external_ref",
            self.external_ref.iter().flatten().next(),
            TEXT_OCTETS_MAX,
        )?;
        let mut locales = self.locale.iter().flatten();
        if locales.any(|tag| tag.is_empty() || tag.len() > TEXT_OCTETS_MAX) {
            return Err(Problem::value(
                "locale",
                "limit",
                format!("1 to {TEXT_OCTETS_MAX} octets"),
            ));
        }
        self.check_channel()?;
        let mut contacts = self.contact.iter().flatten();
        if contacts.any(|contact| !is_address(&contact.email)) {
            return Err(Problem::value(
                "contact",
                "email",
                "an address of e-mail such as parent@example.org",
            ));
        }
        let is_tag = |tag: &String| {
            tag.bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        };
        match self.locale.iter().flatten().find(|tag| !is_tag(tag)) {
            Some(tag) => Err(Problem::value(
                "locale",
                "locale",
                format!("{tag:?} is no language tag such as en-GB"),
            )),
            None => Ok(()),
        }
    }

    fn check_time_zone(&mut self) -> Result<(), Problem> {
        let Some(zone) = &mut self.time_zone else {
            return Ok(());
        };
        let wrong = || {
            let detail = format!("{zone:?} is no IANA time zone");
            Problem::value("time_zone", "time_zone", detail)
        };
        let found = jiff::tz::TimeZone::get(zone)
            .ok()
            .filter(|found| !found.is_unknown())
            .ok_or_else(wrong)?;
        // Zones are found in any letter case. The name of the database is stored.
        *zone = found.iana_name().ok_or_else(wrong)?.to_owned();
        Ok(())
    }

    fn check_preset(&self, taxonomy: &Taxonomy) -> Result<(), Problem> {
        let mut given = self.preset.iter().flatten();
        let Some(preset) = given.find(|preset| taxonomy.preset(preset).is_none()) else {
            return Ok(());
        };
        let known: Vec<&str> = taxonomy
            .presets()
            .map(|(preset, _)| preset.slug.as_str())
            .collect();
        Err(Problem::value(
            "preset",
            "unknown_preset",
            format!("{preset:?} is no preset; one of {}", known.join(", ")),
        ))
    }

    fn check_channel(&self) -> Result<(), Problem> {
        let Some(channel) = &self.channel else {
            return Ok(());
        };
        let refuse = |detail: String| Err(Problem::value("channel", "channel", detail));
        if !CHANNELS.contains(&channel.as_str()) {
            return refuse(format!(
                "{channel:?} is none; one of {}",
                CHANNELS.join(", ")
            ));
        }
        match self.filtering {
            None | Some(Filtering::NotAsked) => {
                refuse("a channel comes with a choice: filtering on or off".to_owned())
            }
            Some(_) => Ok(()),
        }
    }

    /// Refuses fields that this author may not set: the operator's own key, and for a second parent
    /// filtering and contact.
    fn must_be_of(&self, principal: &Principal) -> Result<(), Problem> {
        let fields = [
            (
                "external_ref",
                self.external_ref.is_some() && principal.role != Role::Operator,
            ),
            (
                "filtering",
                self.filtering.is_some() && principal.role == Role::SecondParent,
            ),
            (
                "contact",
                self.contact.is_some() && principal.role == Role::SecondParent,
            ),
        ];
        match fields.iter().find(|(_, is_foreign)| *is_foreign) {
            Some((field, _)) => Err(forbidden(principal.role).with_field((*field).to_owned())),
            None => Ok(()),
        }
    }

    fn apply(self, household: &mut Household, principal: &Principal) {
        match self.filtering {
            Some(Filtering::NotAsked) => household.choice = None,
            // The same choice again, without a channel, is not a new choice.
            Some(filtering)
                if filtering != household.filtering
                    || self.channel.is_some()
                    || household.choice.is_none() =>
            {
                let own = if principal.household.is_some() {
                    "portal"
                } else {
                    "operator"
                };
                let channel = self.channel.unwrap_or_else(|| own.to_owned());
                household.choice =
                    Some(set_by(FilteringChoice { channel }, &principal.author.actor));
            }
            _ => {}
        }
        if let Some(contact) = self.contact {
            household.contact = contact;
        }
        if let Some(time_zone) = self.time_zone {
            household.time_zone = time_zone;
        }
        if let Some(filtering) = self.filtering {
            household.filtering = filtering;
        }
        let external_ref = self.external_ref.map(|given| given.map(Text::into_string));
        for (given, place) in [
            (self.preset, &mut household.preset),
            (external_ref, &mut household.external_ref),
            (self.locale, &mut household.locale),
        ] {
            if let Some(value) = given {
                *place = value;
            }
        }
    }
}

/// Makes a household, or changes the given fields. Networks, devices and switches stay.
#[utoipa::path(put, path = "/v1/households/{id}", operation_id = "put_household", tag = "households", request_body = HouseholdBody, params(("id" = String, Path)),
    responses((status = 201, description = "made", body = Household), (status = 200, description = "changed", body = Household),
        (status = 412, description = "another version"), (status = 422, description = "a value cannot be used")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Anyone(principal): Anyone,
    Segments(id): Segments<String>,
    precondition: Precondition,
    Body(mut body): Body<HouseholdBody>,
) -> Result<Versioned<Household>, Problem> {
    let id: Id = segment("id", &id)?;
    body.must_be_of(&principal)?;
    body.check(&context.control.taxonomy)?;
    let fresh = id.clone();
    let (changed, ()) = change(
        &context.control,
        &author,
        id,
        precondition.version,
        move |household| {
            let mut household = match household {
                Some(household) => household,
                None if precondition.is_there => {
                    return Err(Problem::new(
                        StatusCode::PRECONDITION_FAILED,
                        "version_mismatch",
                        "there is no such household",
                    ));
                }
                // A family's household may have been removed since the family was admitted. The
                // family may not make it again.
                None if principal.household.is_some() => return Err(unknown_household(&fresh)),
                None => Household::new(fresh),
            };
            body.apply(&mut household, &principal);
            Ok((Some(household), ()))
        },
    )
    .await?;
    Ok(Versioned {
        status: made_or_changed(changed.is_new),
        version: changed.version,
        body: changed
            .household
            .expect("a write of it deletes no household"),
    })
}

/// A household with its networks, devices, switches and custom names.
#[utoipa::path(get, path = "/v1/households/{id}", operation_id = "get_household", tag = "households", params(("id" = String, Path)),
    responses((status = 200, description = "the household", body = Household), (status = 404, description = "there is none")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    _viewer: Viewer,
    Segments(id): Segments<String>,
    known: Known,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let household = context
        .control
        .store
        .household(&id)
        .await?
        .ok_or_else(|| unknown_household(&id))?;
    let answer = named(&context, &id, &household).await?;
    Ok(known.of_version(household.version, answer))
}

/// Removes a household. Its lines have no household from now on. The account holder is notified.
#[utoipa::path(delete, path = "/v1/households/{id}", operation_id = "delete_household", tag = "households", params(("id" = String, Path)),
    responses((status = 200, description = "gone", body = Written), (status = 404, description = "there was none")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Operator(author): Operator,
    Segments(id): Segments<String>,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<Written>, Problem> {
    let id: Id = segment("id", &id)?;
    let name = id.clone();
    let (changed, ()) =
        change(
            &context.control,
            &author,
            id,
            expected,
            move |household| match household {
                Some(_) => Ok((None, ())),
                None => Err(unknown_household(&name)),
            },
        )
        .await?;
    Ok(Versioned::of(&changed, StatusCode::OK, |version| Written {
        version,
    }))
}

/// Which households to show.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// Only those with this key of the operator.
    external_ref: Option<String>,
    /// Only the one whose most specific network contains this address.
    address: Option<String>,
    /// The cursor of the page: `next` of the page before.
    cursor: Option<String>,
    /// Households on a page, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// A page of households, by identifier.
#[derive(Serialize, utoipa::ToSchema)]
pub struct HouseholdPage {
    households: Vec<Household>,
    /// The cursor of the next page. Null on the last one.
    #[schema(value_type = Option<String>)]
    next: Option<Id>,
}

/// Households: all of them by page, by the operator's key, or by address.
#[utoipa::path(get, path = "/v1/households", operation_id = "list_households", tag = "households", params(Search), responses((status = 200, description = "a page", body = HouseholdPage)))]
pub async fn list(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    QueryParameters(search): QueryParameters<Search>,
) -> Result<Json<HouseholdPage>, Problem> {
    let limit = search.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::value("limit", "limit", format!("1 to {PAGE_MAX}")));
    }
    if let Some(address) = &search.address {
        let address: IpAddr = segment("address", address)?;
        let household = match context.control.directory.household_of(address) {
            Some(rules) => {
                context
                    .control
                    .store
                    .household(&segment("address", rules.id())?)
                    .await?
            }
            None => None,
        };
        return Ok(Json(HouseholdPage {
            households: household.into_iter().collect(),
            next: None,
        }));
    }
    let after: Option<Id> = search
        .cursor
        .as_deref()
        .map(|cursor| segment("cursor", cursor))
        .transpose()?;
    let page = context
        .control
        .store
        .households(search.external_ref.as_deref(), after.as_ref(), limit)
        .await?;
    Ok(Json(HouseholdPage {
        households: page.households,
        next: page.next,
    }))
}
