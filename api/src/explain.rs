//! Why a name is blocked or not: the data path's verdict, put into words and traced to who set what.

use std::sync::Arc;

use axum::{Json, extract::State};
use policy::{
    category::Taxonomy,
    decide::{Asker, Layer},
    explain::Explained,
    household::{Household, Id, State as SwitchState},
    name::Name,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Context,
    apply::unknown_household,
    devices::unknown_device,
    problem::Problem,
    request::{Asked, Operator, segment},
};

/// What to explain.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The name.
    name: String,
    /// The record type, a mnemonic or a number; A where nothing is said.
    #[serde(default, rename = "type")]
    record_type: Option<String>,
    /// The household that asks; nobody's line where nothing is said.
    household: Option<String>,
    /// Its device that asks.
    device: Option<String>,
    /// A past time. Not answered by this version.
    at: Option<String>,
}

/// An explanation.
#[derive(Debug, Serialize)]
pub struct Explanation {
    name: String,
    r#type: String,
    household: Option<Id>,
    device: Option<Id>,
    /// `block` or `allow`.
    verdict: &'static str,
    /// The layer that decided.
    layer: &'static str,
    /// One sentence to read out.
    reason: String,
    /// The first category for which it is blocked.
    category: Option<String>,
    /// All of them.
    categories: Vec<String>,
    /// The listed name that decided: in a feed, or in an own list.
    entry: Option<String>,
    feed: Option<String>,
    scope: Option<Value>,
    generation: u64,
    setter: Option<Setter>,
    hop: Hop,
    chain: Vec<Name>,
    matches: Vec<Matched>,
    answer: Answer,
}

/// Who set what decided.
#[derive(Debug, Serialize)]
struct Setter {
    layer: &'static str,
    by: String,
    at: Option<jiff::Timestamp>,
}

/// Which name decided: 0 is the one asked for, the others are its chain's.
#[derive(Debug, Serialize)]
struct Hop {
    index: usize,
    name: Name,
}

/// One entry that spoke for the name.
#[derive(Debug, Serialize)]
struct Matched {
    entry: String,
    feed: String,
    category: String,
    scope: Value,
    polarity: Value,
    tier: Value,
    counts: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    rcode: String,
    records: Vec<String>,
    ede: Option<Ede>,
}

#[derive(Debug, Serialize)]
struct Ede {
    code: u16,
    text: String,
}

/// Record types by the names people use; any other by number.
const TYPES: [(&str, u16); 16] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("NAPTR", 35),
    ("DS", 43),
    ("DNSKEY", 48),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("CAA", 257),
    ("ANY", 255),
];

/// Reads a record type: a mnemonic, a number, or `TYPE123` (RFC 3597).
pub fn record_type(text: &str) -> Option<u16> {
    let upper = text.to_ascii_uppercase();
    let known = TYPES.iter().find(|(mnemonic, _)| *mnemonic == upper).map(|&(_, number)| number);
    known.or_else(|| upper.strip_prefix("TYPE").unwrap_or(&upper).parse().ok())
}

fn mnemonic(record_type: u16) -> String {
    TYPES
        .iter()
        .find(|(_, number)| *number == record_type)
        .map_or_else(|| format!("TYPE{record_type}"), |(mnemonic, _)| (*mnemonic).to_owned())
}

/// What a query would be answered, and why. The verdict comes from the function that answers queries.
#[utoipa::path(get, path = "/v1/explain", tag = "explain", params(Question),
    responses((status = 200, description = "the explanation", body = Value), (status = 404, description = "no such household or device")))]
pub async fn explain(
    State(context): State<Arc<Context>>,
    _operator: Operator,
    Asked(question): Asked<Question>,
) -> Result<Json<Explanation>, Problem> {
    let name = Name::parse(&question.name).map_err(|error| Problem::value("name", "name", format!("{:?}: {error}", question.name)))?;
    let text = question.record_type.as_deref().unwrap_or("A");
    let record_type = record_type(text).ok_or_else(|| Problem::value("type", "record_type", format!("{text:?} is no record type")))?;
    if question.at.is_some() {
        return Err(Problem::value("at", "not_built", "past times are not answered by this version"));
    }
    let (household, asker) = match &question.household {
        None if question.device.is_some() => return Err(Problem::value("household", "missing", "a device is one of a household")),
        None => (None, context.directory.unknown_line()),
        Some(id) => {
            let id: Id = segment("household", id)?;
            let household = context.store.household(&id).await?.ok_or_else(|| unknown_household(&id))?;
            let rules = context.directory.household(&id).ok_or_else(|| unknown_household(&id))?;
            let device: Option<Id> = question.device.as_deref().map(|device| segment("device", device)).transpose()?;
            let place = match &device {
                Some(device) => Some(rules.device_by_id(device).ok_or_else(|| unknown_device(device))?),
                None => None,
            };
            (Some(household), Asker { household: rules, device: place })
        }
    };
    let explained = context.explainer.explain(asker.clone(), name.clone(), record_type).await;
    Ok(Json(compose(&explained, record_type, household.as_ref(), &asker, &context.taxonomy)))
}

/// Puts an explanation together; the command line prints the same.
pub fn compose(explained: &Explained, record_type: u16, household: Option<&Household>, asker: &Asker, taxonomy: &Taxonomy) -> Explanation {
    let verdict = explained.verdict;
    let name = &explained.names[explained.hop];
    let device = asker.device().map(|device| device.id.clone());
    let header = explained.lists.header();
    let found = explained.lists.matches(name.borrow());
    let decisive = found.iter().find(|found| {
        found.counts
            && match verdict.layer {
                Layer::Mandatory => found.tier == policy::listing::Tier::Mandatory,
                Layer::NeverBlock => found.tier == policy::listing::Tier::NeverBlock,
                Layer::Security => found.tier == policy::listing::Tier::Security,
                Layer::Category => found.tier == policy::listing::Tier::Choice && verdict.categories.contains(found.category),
                _ => false,
            }
    });
    let own = own_entry(verdict.layer, asker, name);
    let categories: Vec<String> = taxonomy.slugs(verdict.categories).into_iter().map(str::to_owned).collect();
    let setter = setter(
        verdict.layer,
        categories.first().map(String::as_str),
        name,
        household,
        device.as_ref(),
        decisive.map(|found| feed_name(header, found)),
    );
    Explanation {
        name: explained.names[0].to_string(),
        r#type: mnemonic(record_type),
        household: asker.household.id.clone(),
        device,
        verdict: if verdict.is_block() { "block" } else { "allow" },
        layer: verdict.layer.as_str(),
        reason: reason(explained, &categories, setter.as_ref(), taxonomy),
        category: categories.first().cloned(),
        categories,
        entry: decisive.map(|found| found.entry.to_string()).or(own),
        feed: decisive.map(|found| feed_name(header, found)),
        scope: decisive.map(|found| word(&found.mark.scope)),
        generation: header.generation,
        setter,
        hop: Hop { index: explained.hop, name: name.clone() },
        chain: explained.names[1..].to_vec(),
        matches: found
            .iter()
            .map(|found| Matched {
                entry: found.entry.to_string(),
                feed: feed_name(header, found),
                category: taxonomy.category(found.category).slug.clone(),
                scope: word(&found.mark.scope),
                polarity: word(&found.mark.polarity),
                tier: word(&found.tier),
                counts: found.counts,
            })
            .collect(),
        answer: Answer {
            rcode: explained.answer.rcode.clone(),
            records: explained.answer.records.clone(),
            ede: explained.answer.error.clone().map(|(code, text)| Ede { code, text }),
        },
    }
}

/// The word that JSON has for a plain enum.
fn word(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("a plain enum is a word")
}

fn feed_name(header: &policy::artefact::Header, found: &policy::blocklist::Match<'_>) -> String {
    header.feeds[usize::from(found.mark.feed)].name.clone()
}

/// The entry of an own list that decided.
fn own_entry(layer: Layer, asker: &Asker, name: &Name) -> Option<String> {
    let names = match layer {
        Layer::DeviceAllow | Layer::DeviceDeny => &asker.device()?.rules.names,
        Layer::HouseholdAllow | Layer::HouseholdDeny => &asker.household.rules.names,
        _ => return None,
    };
    names.find(name.borrow()).map(|(entry, _)| entry.to_string())
}

/// Who set what decided: the nearest switch that says so, from the device up to the operator.
fn setter(
    layer: Layer,
    category: Option<&str>,
    name: &Name,
    household: Option<&Household>,
    device: Option<&Id>,
    feed: Option<String>,
) -> Option<Setter> {
    let of_device = household.zip(device).and_then(|(household, device)| household.devices.get(device));
    match layer {
        Layer::Mandatory | Layer::NeverBlock | Layer::Security => Some(Setter { layer: "feed", by: feed?, at: None }),
        Layer::DeviceAllow | Layer::DeviceDeny | Layer::HouseholdAllow | Layer::HouseholdDeny => {
            let is_device = matches!(layer, Layer::DeviceAllow | Layer::DeviceDeny);
            let (layer, names) = if is_device { ("device", &of_device?.names) } else { ("household", &household?.names) };
            let set = name.borrow().ancestors().find_map(|ancestor| names.get(&ancestor.to_owned()))?;
            Some(Setter { layer, by: set.set_by.clone(), at: Some(set.set_at) })
        }
        Layer::Category => {
            let category = category?;
            let switches =
                [("device", of_device.map(|device| &device.categories)), ("household", household.map(|household| &household.categories))];
            for (layer, switches) in switches {
                if let Some(set) = switches.and_then(|switches| switches.get(category)).filter(|set| set.value.state == SwitchState::Block)
                {
                    return Some(Setter { layer, by: set.set_by.clone(), at: Some(set.set_at) });
                }
            }
            let preset = household.and_then(|household| household.preset.clone());
            Some(match preset {
                Some(preset) => Setter { layer: "preset", by: preset, at: None },
                None => Setter { layer: "operator", by: "default preset".to_owned(), at: None },
            })
        }
        Layer::Default => None,
    }
}

/// One plain sentence.
fn reason(explained: &Explained, categories: &[String], setter: Option<&Setter>, taxonomy: &Taxonomy) -> String {
    let asked = &explained.names[0];
    let because_of = match explained.hop {
        0 => String::new(),
        hop => format!(" because it leads to {}", explained.names[hop]),
    };
    let titles: Vec<&str> =
        categories.iter().filter_map(|slug| taxonomy.find(slug)).map(|id| taxonomy.category(id).title.as_str()).collect();
    let titles = titles.join(", ");
    match explained.verdict.layer {
        Layer::Mandatory => format!("{asked} is blocked by order{because_of}; nobody can lift this."),
        Layer::NeverBlock => format!("{asked} is on the operator's list of names that are never blocked."),
        Layer::DeviceAllow => format!("{asked} is allowed by this device's own list."),
        Layer::HouseholdAllow => format!("{asked} is allowed by the household's own list."),
        Layer::DeviceDeny => format!("{asked} is blocked by this device's own list{because_of}."),
        Layer::HouseholdDeny => format!("{asked} is blocked by the household's own list{because_of}."),
        Layer::Security => format!("{asked} is blocked for everybody's security ({titles}){because_of}."),
        Layer::Category => {
            let by = setter.map_or("", |setter| match setter.layer {
                "device" => ", which is blocked for this device",
                "household" => ", which is blocked for this household",
                "preset" => ", which the household's preset blocks",
                _ => ", which the operator's default blocks",
            });
            format!("{asked} is blocked as {titles}{by}{because_of}.")
        }
        Layer::Default => format!("Nothing speaks against {asked}."),
    }
}
