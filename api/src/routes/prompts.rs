//! Prompts: what the household's things want to reach, and the family's answers.

use std::{collections::BTreeSet, sync::Arc};

use axum::extract::State;
use control::{
    detection::prompt_groups::GroupedPrompt,
    households::write::{Beside, change_beside, set_by},
};
use jiff::Timestamp;
use policy::{
    name::Name,
    rules::{
        household::{Household, Id},
        thing::ThingDomain,
    },
};
use policy_store::{
    AnsweredPrompt, ChangeError, GivenAnswer, PROMPT_DOMAINS_MAX, PromptAnswer, PromptState,
};
use serde::{Deserialize, Serialize};

use crate::{
    Context,
    auth::guards::Family,
    extract::{Body, IfMatch, QueryParameters, Segments, segment},
    problem::Problem,
    routes::{
        devices::unknown_device,
        things::{check_domains, thing_of},
    },
    versioned::{Versioned, unknown_household},
};

/// Which prompts.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PromptFilter {
    /// Only those in this state.
    #[serde(default)]
    #[param(value_type = PromptState, required = false)]
    state: Option<PromptState>,
}

/// Prompts.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Prompts {
    /// Those of the last month, the newest first.
    prompts: Vec<GroupedPrompt>,
}

/// The answer to a prompt.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptBody {
    /// `yes` allows all of its domains, `no` denies all; `maker` allows those of the thing's maker
    /// and denies the others.
    answer: PromptAnswer,
    /// The domains that the family has seen in the prompt, all of them. If the thing has asked for
    /// another one since, nothing is answered.
    domains: Vec<String>,
}

impl PromptBody {
    fn seen(&self) -> Result<BTreeSet<Name>, Problem> {
        if self.domains.len() > PROMPT_DOMAINS_MAX {
            let detail = format!("a prompt has at most {PROMPT_DOMAINS_MAX} domains");
            return Err(Problem::value("domains", "limit", detail));
        }
        let read = |(place, text): (usize, &String)| {
            Name::parse(text).map_err(|error| {
                Problem::value(&format!("domains[{place}]"), "name", error.to_string())
            })
        };
        self.domains.iter().enumerate().map(read).collect()
    }
}

/// A prompt that was answered.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PromptAnswered {
    #[serde(flatten)]
    prompt: GroupedPrompt,
    /// The version of the household. Also the `ETag`.
    version: u64,
}

/// What the things of a household want to reach.
#[utoipa::path(get, path = "/v1/households/{id}/prompts", operation_id = "list_prompts", tag = "things", params(("id" = String, Path), PromptFilter),
    responses((status = 200, description = "the prompts", body = Prompts), (status = 404, description = "no such household")))]
pub async fn list(
    State(context): State<Arc<Context>>,
    _family: Family,
    Segments(id): Segments<String>,
    QueryParameters(PromptFilter { state }): QueryParameters<PromptFilter>,
) -> Result<Versioned<Prompts>, Problem> {
    let id: Id = segment("id", &id)?;
    let control = &context.control;
    let household = control.store.household(&id).await?;
    let household = household.ok_or_else(|| unknown_household(&id))?;
    let prompts = control.store.prompts(&id, state, Timestamp::now()).await?;
    let grouped = prompts.into_iter().map(|prompt| {
        let device = household.devices.get(&prompt.device);
        GroupedPrompt::of(control, prompt, device)
    });
    let prompts = grouped.collect();
    Ok(Versioned::read(household.version, Prompts { prompts }))
}

/// Answers a prompt, from the thing's next query on. The answer names the domains that the family
/// has seen, and holds for no others. Domains that the thing asks for afterwards are a new prompt.
#[utoipa::path(put, path = "/v1/households/{id}/prompts/{prompt}", operation_id = "put_prompt", tag = "things", request_body = PromptBody,
    params(("id" = String, Path), ("prompt" = String, Path)),
    responses((status = 200, description = "answered", body = PromptAnswered), (status = 404, description = "no such household or prompt"),
        (status = 409, description = "answered before: `answered`; the thing asked for more since: `changed_since`; the thing's maker is not known: `maker_unknown`")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, prompt)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
    Body(body): Body<PromptBody>,
) -> Result<Versioned<PromptAnswered>, Problem> {
    let id: Id = segment("id", &id)?;
    let domains = body.seen()?;
    let answer = body.answer;
    let control = &context.control;
    let household = control.store.household(&id).await?;
    let household = household.ok_or_else(|| unknown_household(&id))?;
    let asked = control.store.prompt(&id, &prompt).await?;
    let asked = asked
        .ok_or_else(|| Problem::not_found("unknown_prompt", "the household has no such prompt"))?;
    let device = asked.device.clone();
    // The store compares again, in the transaction that applies the answer.
    let shown: BTreeSet<&Name> = asked.domains.iter().map(|domain| &domain.domain).collect();
    if asked.state == PromptState::Open && !shown.into_iter().eq(&domains) {
        return Err(ChangeError::Grown.into());
    }
    let grouped = GroupedPrompt::of(control, asked, household.devices.get(&device));
    let (allowed, denied) = grouped.split(answer).ok_or_else(|| {
        Problem::conflict("maker_unknown", "nothing tells which maker the thing is of")
    })?;
    let answered = AnsweredPrompt {
        answer,
        answered_by: author.actor.clone(),
        answered_at: Timestamp::now(),
    };
    let given = GivenAnswer {
        prompt,
        answered,
        domains,
    };
    let beside = Beside {
        answers: Some(given),
        ..Beside::default()
    };
    let (name, actor, whose) = (id.clone(), author.actor.clone(), device.clone());
    let edit = move |household: Option<Household>| {
        let mut household = household.ok_or_else(|| unknown_household(&name))?;
        decide(&mut household, &whose, [&allowed, &denied], &actor)?;
        Ok::<_, Problem>((Some(household), ()))
    };
    let (changed, ()) = change_beside(control, &author, id, expected, beside, edit).await?;
    let prompt = changed.answered.expect("the change answers a prompt");
    let household = changed.household.as_ref();
    let device = household.and_then(|household| household.devices.get(&device));
    let version = changed.version;
    let prompt = GroupedPrompt::of(control, prompt, device);
    Ok(Versioned::read(version, PromptAnswered { prompt, version }))
}

/// Moves domains to the lists of a thing.
fn decide(
    household: &mut Household,
    device: &Id,
    [allowed, denied]: [&[Name]; 2],
    actor: &str,
) -> Result<(), Problem> {
    let thing = thing_of(household, device, actor).ok_or_else(|| unknown_device(device))?;
    for domain in allowed {
        thing.denied.remove(domain);
        let entry = set_by(ThingDomain {}, actor);
        thing.allowed.insert(domain.clone(), entry);
    }
    for domain in denied {
        thing.allowed.remove(domain);
        let entry = set_by(ThingDomain {}, actor);
        thing.denied.insert(domain.clone(), entry);
    }
    check_domains("allowed", &thing.allowed)?;
    check_domains("denied", &thing.denied)
}
