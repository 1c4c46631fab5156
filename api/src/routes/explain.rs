//! Why a name is blocked or not.

use std::sync::Arc;

use axum::{Json, extract::State};
use control::{
    Control,
    explain::{Explanation, Sight, compose, record_type},
    households::{subscriber::Subscriber, write::read_with_rules},
};
use jiff::Timestamp;
use policy::{
    name::Name,
    rules::{compiled::HouseholdRules, household::Id},
};
use serde::Deserialize;

use crate::{
    Context,
    auth::{guards::Anyone, principal::Principal},
    extract::{QueryParameters, segment},
    past_reads::to_its_end,
    problem::Problem,
    routes::devices::unknown_device,
    versioned::unknown_household,
};

/// The question.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ExplainParameters {
    /// The name to look up.
    name: String,
    /// The record type, a mnemonic or a number. Default: A.
    #[serde(default, rename = "type")]
    record_type: Option<String>,
    /// The household that asks. Default: a line without a household.
    household: Option<String>,
    /// The device of the household that asks.
    device: Option<String>,
    /// A past time, RFC 3339: use the household, the lists and the mandates of that time. The name
    /// is resolved now, and the taxonomy is the current one.
    #[param(format = DateTime)]
    at: Option<String>,
}

/// Parses a past time.
fn past_time(text: &str) -> Result<Timestamp, Problem> {
    let at: Timestamp = text.parse().map_err(|error| {
        Problem::value(
            "at",
            "time",
            format!("{text:?} is no RFC 3339 time: {error}"),
        )
    })?;
    if at > Timestamp::now() {
        Err(Problem::value("at", "future", "a time that has been"))
    } else {
        Ok(at)
    }
}

/// How a query would be answered, and why. The verdict comes from the function that answers
/// queries.
#[utoipa::path(get, path = "/v1/explain", operation_id = "explain_name", tag = "explain", params(ExplainParameters),
    responses((status = 200, description = "the explanation", body = Explanation), (status = 404, description = "no such household or device")))]
pub async fn explain(
    State(context): State<Arc<Context>>,
    Anyone(principal): Anyone,
    QueryParameters(question): QueryParameters<ExplainParameters>,
) -> Result<Json<Explanation>, Problem> {
    let is_past = question.at.is_some();
    let answer = answer(context, principal, question);
    if is_past {
        // It opens a generation of the lists, which a client that goes does not end.
        to_its_end(answer).await
    } else {
        answer.await
    }
}

async fn answer(
    context: Arc<Context>,
    principal: Principal,
    question: ExplainParameters,
) -> Result<Json<Explanation>, Problem> {
    let household: Option<Id> = question
        .household
        .as_deref()
        .map(|id| segment("household", id))
        .transpose()?;
    let device: Option<Id> = question
        .device
        .as_deref()
        .map(|device| segment("device", device))
        .transpose()?;
    principal.must_see(household.as_ref(), device.as_ref())?;
    let name = Name::parse(&question.name)
        .map_err(|error| Problem::value("name", "name", format!("{:?}: {error}", question.name)))?;
    let text = question.record_type.as_deref().unwrap_or("A");
    let record_type = record_type(text).ok_or_else(|| {
        Problem::value("type", "record_type", format!("{text:?} is no record type"))
    })?;
    let past = question.at.as_deref().map(past_time).transpose()?;
    let _seat = match past {
        Some(_) => Some(
            context
                .past_reads
                .explanations
                .take(household.as_ref())
                .await?,
        ),
        None => None,
    };
    let control = &context.control;
    let subscriber = match &household {
        None if device.is_some() => {
            return Err(Problem::value(
                "household",
                "missing",
                "a device is one of a household",
            ));
        }
        None => None,
        Some(id) => Some(subscriber(control, id, device.as_ref(), past).await?),
    };
    let sight = if principal.household.is_some() {
        Sight::Family
    } else {
        Sight::Whole
    };
    let asker = subscriber
        .as_ref()
        .map_or_else(|| control.directory.unknown_line(), Subscriber::asker);
    let lists = match past {
        Some(at) => {
            let mandates = control.store.mandates_at(at).await?;
            Some(
                control
                    .mandates
                    .at(&control.lists_control.at(at).await?, mandates, at),
            )
        }
        None => None,
    };
    let explained = control
        .explainer
        .explain(asker, household.as_ref(), name.clone(), record_type, lists)
        .await;
    Ok(Json(compose(
        &explained,
        record_type,
        subscriber.as_ref(),
        &control.taxonomy,
        sight,
    )))
}

/// The household and the device of a question, now or at a past time.
async fn subscriber(
    control: &Arc<Control>,
    id: &Id,
    device: Option<&Id>,
    past: Option<Timestamp>,
) -> Result<Subscriber, Problem> {
    let (household, rules, at) = match past {
        None => {
            let (household, rules) = read_with_rules(control, id).await?;
            (household, rules, Timestamp::now())
        }
        Some(at) => {
            let household = control
                .store
                .household_at(id, at)
                .await?
                .ok_or_else(|| unknown_household(id))?;
            let rules =
                HouseholdRules::compile(&household, &control.taxonomy, control.defaults, at);
            (household, Arc::new(rules), at)
        }
    };
    let device = match device {
        Some(device) => Some(
            rules
                .device_by_id(device)
                .ok_or_else(|| unknown_device(device))?,
        ),
        None => None,
    };
    Ok(Subscriber {
        household: Arc::new(household),
        rules,
        device,
        at,
    })
}
