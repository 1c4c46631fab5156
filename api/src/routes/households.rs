//! Households and the networks their queries come from.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use control::{
    households::write::{Beside, change, change_beside, change_existing, set_by},
    notifications::text::of_part_lost,
};
use ipnet::IpNet;
use policy::{
    category::Taxonomy,
    rules::household::{CHANNELS, Choice, Contact, Filtering, Household, Id, NETWORKS_MAX},
    text::Text,
};
use policy_store::{Author, NewNotice, Role};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Context,
    auth::{
        guards::{Anyone, Family, Operator, Reader, Viewer},
        principal::{Principal, forbidden},
    },
    extract::{Asked, Body, IfMatch, Precondition, Segments, check_name, segment},
    problem::Problem,
    schema,
    versioned::{made_or_changed, unknown_household, with_version, written},
};

/// Households on a page where the request does not say, and at most.
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1_000;
/// The longest free text of a household, in octets.
const TEXT_OCTETS_MAX: usize = 256;
/// The widest networks that a household has without `force`. A home has one address, or an IPv6 /48
/// at most (RFC 6177); an IPv4 /16 is a campus, an IPv6 /32 a provider.
const WIDEST_V4: u8 = 16;
const WIDEST_V6: u8 = 32;
/// Networks from which no query can come: no host has an address there (RFC 6890, RFC 5771, RFC
/// 4291).
const NO_SOURCES: [&str; 4] = ["0.0.0.0/8", "224.0.0.0/4", "::/128", "ff00::/8"];
/// Networks that mean another home on each link, or nothing yet: link-local addresses and those
/// that are reserved.
const NOBODYS_OWN: [&str; 3] = ["169.254.0.0/16", "240.0.0.0/4", "fe80::/10"];

/// What can be set of a household. What is left out keeps its value; `null` takes back `preset`,
/// `external_ref` and `locale`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HouseholdBody {
    /// IANA name of its time zone, such as `Europe/London`.
    #[serde(default)]
    time_zone: Option<String>,
    /// Its starting point, one of `/v1/presets`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    preset: Option<Option<String>>,
    /// Its choice: `not_asked`, `on` or `off`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    filtering: Option<Filtering>,
    /// The operator's own key for it, at most 256 octets.
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
    channel: Option<String>,
    /// Where the holder of the account is reached, such as `{"email": "…"}`; `null` takes it back.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<schema::Contact>)]
    contact: Option<Option<Contact>>,
}

/// Tells `null` from nothing.
pub fn given<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Whether this can be an address of e-mail. Whether it is one, only a letter can tell.
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

    /// Refuses what is not this writer's to set: the operator's own key for a household, and by a
    /// second parent whether it is filtered.
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
            // Who says the same again without saying how was not asked again.
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
                household.choice = Some(set_by(Choice { channel }, &principal.author.actor));
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

/// Makes a household, or changes what is given of it; networks, devices and switches stay.
#[utoipa::path(put, path = "/v1/households/{id}", tag = "households", request_body = HouseholdBody, params(("id" = String, Path)),
    responses((status = 201, description = "made", body = schema::Household), (status = 200, description = "changed", body = schema::Household),
        (status = 412, description = "another version"), (status = 422, description = "a value cannot be used")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Anyone(principal): Anyone,
    Segments(id): Segments<String>,
    precondition: Precondition,
    Body(mut body): Body<HouseholdBody>,
) -> Result<Response, Problem> {
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
                // A family's household may have gone since the family was let in; it is not theirs
                // to make again.
                None if principal.household.is_some() => return Err(unknown_household(&fresh)),
                None => Household::new(fresh),
            };
            body.apply(&mut household, &principal);
            Ok((Some(household), ()))
        },
    )
    .await?;
    Ok(written(
        &changed,
        made_or_changed(changed.is_new),
        json!(changed.household),
    ))
}

/// A household with its networks, devices, switches and own names.
#[utoipa::path(get, path = "/v1/households/{id}", tag = "households", params(("id" = String, Path)),
    responses((status = 200, description = "the household", body = schema::Household), (status = 404, description = "there is none")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    _viewer: Viewer,
    Segments(id): Segments<String>,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let household = context
        .control
        .store
        .household(&id)
        .await?
        .ok_or_else(|| unknown_household(&id))?;
    Ok(with_version(
        household.version,
        Json(household).into_response(),
    ))
}

/// Takes a household away: its lines belong to nobody from now on. The holder of its account is
/// told.
#[utoipa::path(delete, path = "/v1/households/{id}", tag = "households", params(("id" = String, Path)),
    responses((status = 200, description = "gone", body = schema::Written), (status = 404, description = "there was none")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Operator(author): Operator,
    Segments(id): Segments<String>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
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
    Ok(written(&changed, StatusCode::OK, json!({})))
}

/// How to look for households.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// Those with this key of the operator.
    external_ref: Option<String>,
    /// The one whose most specific network holds this address.
    address: Option<String>,
    /// From where a listing goes on: `next` of the page before.
    cursor: Option<String>,
    /// Households on a page, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Households, by page, by the operator's key, or by address.
#[utoipa::path(get, path = "/v1/households", tag = "households", params(Search), responses((status = 200, description = "a page", body = schema::HouseholdPage)))]
pub async fn list(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    Asked(search): Asked<Search>,
) -> Result<Json<Value>, Problem> {
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
        return Ok(Json(
            json!({ "households": household.into_iter().collect::<Vec<_>>(), "next": null }),
        ));
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
    Ok(Json(
        json!({ "households": page.households, "next": page.next }),
    ))
}

/// A network as it stands in a path: an address alone is the network of that one address.
fn network(text: &str) -> Result<IpNet, Problem> {
    let wrong = || {
        Problem::value(
            "cidr",
            "cidr",
            format!("{text:?} is no network such as 192.0.2.0/24 or 2001:db8::/56"),
        )
    };
    let network: IpNet = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| wrong())?;
    if matches!(network, IpNet::V6(six) if six.addr().to_ipv4_mapped().is_some()) {
        return Err(Problem::value(
            "cidr",
            "cidr",
            format!("{network} is IPv4 written as IPv6; write it as IPv4, as its queries are seen"),
        ));
    }
    if network != network.trunc() {
        return Err(Problem::value(
            "cidr",
            "cidr",
            format!(
                "{network} has bits set behind its prefix; {} is the network",
                network.trunc()
            ),
        ));
    }
    Ok(network)
}

/// Whether a network lies in one of these.
fn is_within(network: &IpNet, places: &[&str]) -> bool {
    places.iter().any(|place| {
        place
            .parse::<IpNet>()
            .is_ok_and(|place| place.contains(network))
    })
}

/// Refuses a network from which no query can come, whoever forces it.
fn refuse_no_source(network: &IpNet) -> Result<(), Problem> {
    match is_within(network, &NO_SOURCES) {
        true => Err(Problem::value(
            "cidr",
            "no_source",
            format!("no query comes from {network}"),
        )),
        false => Ok(()),
    }
}

/// Refuses a network that hardly is one household's.
fn refuse_too_much(network: &IpNet) -> Result<(), Problem> {
    let widest = if matches!(network, IpNet::V4(_)) {
        WIDEST_V4
    } else {
        WIDEST_V6
    };
    if network.prefix_len() < widest {
        let detail = format!(
            "{network} is wider than /{widest}: all in it would be one household; \"force\": true takes it"
        );
        return Err(Problem::value("cidr", "too_wide", detail));
    }
    match is_within(network, &NOBODYS_OWN) {
        true => Err(Problem::value(
            "cidr",
            "special_network",
            format!("{network} is link-local or reserved; \"force\": true takes it"),
        )),
        false => Ok(()),
    }
}

/// Whether a network is meant that hardly is one household's.
#[derive(Deserialize, utoipa::ToSchema, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Force {
    /// Takes a network wider than /16 (IPv6: /32), or one that is link-local or reserved.
    #[serde(default)]
    #[schema(default = false)]
    #[param(default = false)]
    force: bool,
}

/// Gives a household a network. The most specific network of an address wins; one of equal length
/// belongs to one household. `force` may stand in the body or in the query.
#[utoipa::path(put, path = "/v1/households/{id}/networks/{cidr}", tag = "households", params(("id" = String, Path), ("cidr" = String, Path), Force),
    request_body = Option<Force>,
    responses((status = 201, description = "given", body = schema::NetworkWritten), (status = 200, description = "it had it", body = schema::NetworkWritten),
        (status = 404, description = "no such household"), (status = 409, description = "another household has it"),
        (status = 422, description = "no network, or one that hardly is one household's")))]
pub async fn put_network(
    State(context): State<Arc<Context>>,
    Operator(author): Operator,
    Segments((id, cidr)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
    Asked(asked): Asked<Force>,
    Body(body): Body<serde_json::Map<String, Value>>,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let network: IpNet = network(&cidr)?;
    refuse_no_source(&network)?;
    let given = forced(&body);
    let notices = of_owner(&context, &author, &id, network).await?;
    let beside = Beside {
        notices,
        ..Beside::default()
    };
    let name = id.clone();
    let (changed, is_new) = change_beside(
        &context.control,
        &author,
        id,
        expected,
        beside,
        move |household| {
            let mut household = household.ok_or_else(|| unknown_household(&name))?;
            let is_forced = asked.force || given?;
            let is_new = household.networks.insert(network);
            if is_new && !is_forced {
                refuse_too_much(&network)?;
            }
            if household.networks.len() > NETWORKS_MAX {
                return Err(Problem::value(
                    "cidr",
                    "limit",
                    format!("a household has at most {NETWORKS_MAX} networks"),
                ));
            }
            Ok((Some(household), is_new))
        },
    )
    .await?;
    Ok(written(
        &changed,
        made_or_changed(is_new),
        json!({ "network": network }),
    ))
}

/// What the body says of `force`. A body with anything else is refused, but an unknown household is
/// told first.
fn forced(body: &serde_json::Map<String, Value>) -> Result<bool, Problem> {
    match body.keys().find(|key| *key != "force") {
        Some(unknown) => Err(Problem::value(
            unknown,
            "body",
            format!("unknown field `{unknown}`, expected `force`"),
        )),
        None => match body.get("force") {
            None => Ok(false),
            Some(force) => force
                .as_bool()
                .ok_or_else(|| Problem::value("force", "body", "true or false")),
        },
    }
}

/// What the holder of another account must learn: that this network is a part of theirs until now.
async fn of_owner(
    context: &Context,
    author: &Author,
    id: &Id,
    network: IpNet,
) -> Result<Vec<NewNotice>, Problem> {
    let owner = context
        .control
        .directory
        .household_of(network.addr())
        .filter(|owner| owner.id() != id.as_str());
    let Some(owner) = owner.filter(|owner| {
        owner
            .networks()
            .any(|own| own != network && own.contains(&network))
    }) else {
        return Ok(Vec::new());
    };
    let Some(household) = context
        .control
        .store
        .household(&segment("cidr", owner.id())?)
        .await?
    else {
        return Ok(Vec::new());
    };
    let label = context.control.store.label_of(&author.actor).await?;
    Ok(vec![of_part_lost(
        context.control.notices,
        author,
        label.as_deref(),
        &household,
        network,
    )?])
}

/// Takes a network from a household. The holder of its account is told.
#[utoipa::path(delete, path = "/v1/households/{id}/networks/{cidr}", tag = "households", params(("id" = String, Path), ("cidr" = String, Path)),
    responses((status = 200, description = "taken", body = schema::NetworkWritten), (status = 404, description = "it did not have it")))]
pub async fn delete_network(
    State(context): State<Arc<Context>>,
    Operator(author): Operator,
    Segments((id, cidr)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    let id = segment("id", &id)?;
    let network = network(&cidr)?;
    let (changed, ()) = change_existing(
        &context.control,
        &author,
        id,
        expected,
        move |household| match household.networks.remove(&network) {
            true => Ok(()),
            false => Err(Problem::not_found(
                "unknown_network",
                format!("the household does not have {network}"),
            )),
        },
    )
    .await?;
    Ok(written(
        &changed,
        StatusCode::OK,
        json!({ "network": network }),
    ))
}
