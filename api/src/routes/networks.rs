//! The networks from which a household's queries come.

use std::{net::IpAddr, sync::Arc};

use axum::{extract::State, http::StatusCode};
use control::{
    households::write::{Beside, change_beside, change_existing},
    notifications::text::of_part_lost,
};
use ipnet::IpNet;
use policy::rules::household::{Id, NETWORKS_MAX};
use policy_store::{Author, NewNotice};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Context,
    auth::guards::Operator,
    extract::{Body, IfMatch, QueryParameters, Segments, segment},
    problem::Problem,
    versioned::{Versioned, made_or_changed, unknown_household},
    written::NetworkWritten,
};

/// The widest networks of a household without `force`. A home has one address, or at most an IPv6
/// /48 (RFC 6177); an IPv4 /16 is a campus, an IPv6 /32 a provider.
const WIDEST_V4: u8 = 16;
const WIDEST_V6: u8 = 32;
/// Networks without host addresses (RFC 6890, RFC 5771, RFC 4291).
const NO_SOURCES: [&str; 4] = ["0.0.0.0/8", "224.0.0.0/4", "::/128", "ff00::/8"];
/// Link-local networks, which are different on each link, and reserved ones.
const NOBODYS_OWN: [&str; 3] = ["169.254.0.0/16", "240.0.0.0/4", "fe80::/10"];

/// Parses a network of a path. An address alone is a network of one address.
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

/// Whether a network is within one of these.
fn is_within(network: &IpNet, places: &[&str]) -> bool {
    places.iter().any(|place| {
        place
            .parse::<IpNet>()
            .is_ok_and(|place| place.contains(network))
    })
}

/// Refuses a network without host addresses, also with `force`.
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

/// Refuses a network that is too wide for a household.
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

/// Whether a network that is too wide is accepted.
#[derive(Deserialize, utoipa::ToSchema, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Force {
    /// Accepts a network wider than /16 (IPv6: /32), or a link-local or reserved one.
    #[serde(default)]
    #[schema(default = false)]
    #[param(default = false)]
    force: bool,
}

/// Gives a household a network. The most specific network of an address wins; one of equal length
/// belongs to one household. `force` may be in the body or in the query.
#[utoipa::path(put, path = "/v1/households/{id}/networks/{cidr}", operation_id = "put_household_network", tag = "households", params(("id" = String, Path), ("cidr" = String, Path), Force),
    request_body = Option<Force>,
    responses((status = 201, description = "given", body = NetworkWritten), (status = 200, description = "it had it", body = NetworkWritten),
        (status = 404, description = "no such household"), (status = 409, description = "another household has it"),
        (status = 422, description = "no network, or one that hardly is one household's")))]
pub async fn put_network(
    State(context): State<Arc<Context>>,
    Operator(author): Operator,
    Segments((id, cidr)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
    QueryParameters(asked): QueryParameters<Force>,
    Body(body): Body<serde_json::Map<String, Value>>,
) -> Result<Versioned<NetworkWritten>, Problem> {
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
    Ok(Versioned::of(
        &changed,
        made_or_changed(is_new),
        |version| NetworkWritten { network, version },
    ))
}

/// Reads `force` from the body. A body with anything else is refused, but after an unknown
/// household.
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

/// The notices to holders of other accounts: this network was a part of theirs.
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

/// Takes a network from a household. The account holder is notified.
#[utoipa::path(delete, path = "/v1/households/{id}/networks/{cidr}", operation_id = "delete_household_network", tag = "households", params(("id" = String, Path), ("cidr" = String, Path)),
    responses((status = 200, description = "taken", body = NetworkWritten), (status = 404, description = "it did not have it")))]
pub async fn delete_network(
    State(context): State<Arc<Context>>,
    Operator(author): Operator,
    Segments((id, cidr)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<NetworkWritten>, Problem> {
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
    Ok(Versioned::of(&changed, StatusCode::OK, |version| {
        NetworkWritten { network, version }
    }))
}
