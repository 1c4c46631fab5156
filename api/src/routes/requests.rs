//! Requests: a child asks for a blocked name, a parent answers, and the child is notified.

mod opening;

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use control::{
    Control,
    households::{
        events::{HouseholdEvent, RequestEventKind, ScopedEvent},
        write::{Beside, change_beside, set_by},
    },
};
use jiff::{SignedDuration, Timestamp};
use policy::{
    decide::EffectivePolicy,
    lists::entry::Scope,
    name::Name,
    rules::{
        household::{CUSTOM_NAMES_MAX, CustomName, Household, Id, Settings, Switch, SwitchState},
        schedule::{GRANT_MINUTES_MAX, Grant, GrantTarget},
    },
    text::Text,
    unix_seconds::UnixSeconds,
};
use policy_store::{AccessRequest, Author, RequestAnswer, RequestDetails, RequestError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::opening::{categories_of, check_open, refuse_pointless, refuse_wide, verdict_for};
use crate::{
    Context,
    auth::{
        guards::{Family, Member},
        principal::{Principal, forbidden},
    },
    extract::{Body, IfMatch, Segments, check_length, segment},
    names::named,
    problem::Problem,
    routes::{
        devices::unknown_device, mandates::refuse_ordered, people::unknown_person, schedules::open,
        switches::own_name,
    },
    versioned::{Versioned, check_version, made_or_changed, unknown_household},
};

/// The longest reason and the longest note, in octets.
const TEXT_OCTETS_MAX: usize = 500;

/// A request.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestBody {
    /// The name.
    name: String,
    /// The reason, at most 500 octets.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 500)]
    reason: Option<Text>,
    /// The device. Default: a child's own.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    device: Option<Id>,
}

/// The answer to a request.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerBody {
    answer: RequestVerdict,
    /// For how long, 1 to 10080 minutes. Default: for good.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10080)]
    minutes: Option<u32>,
    /// `domain` for the name and all below it (the default), or `category` for all categories for
    /// which it is blocked.
    #[serde(default)]
    scope: AnswerScope,
    /// For whom: `device` (the default), `person` or `household`.
    #[serde(default)]
    whose: AnswerLevel,
    /// A note to the child, at most 500 octets.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 500)]
    note: Option<Text>,
}

/// Whether what is asked for is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum RequestVerdict {
    Allow,
    Deny,
}

/// What an answer allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum AnswerScope {
    #[default]
    Domain,
    Category,
}

/// For whom an answer allows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum AnswerLevel {
    #[default]
    Device,
    Person,
    Household,
}

impl RequestBody {
    /// A request for a name, from a page that already knows the device.
    pub fn for_name(name: String, reason: Option<Text>) -> Self {
        Self {
            name,
            reason,
            device: None,
        }
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Store(error) => error.into(),
            RequestError::TooManyOpen | RequestError::TooManyToday => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "requests_limit",
                error.to_string(),
            ),
        }
    }
}

/// The device that a request is for: a child's own, or the one that a parent names.
fn asking_device(principal: &Principal, named: Option<Id>) -> Result<Id, Problem> {
    match (&principal.device, named) {
        (Some(own), Some(device)) if *own != device => {
            Err(forbidden(principal.role).with_field("device".to_owned()))
        }
        (Some(own), _) => Ok(own.clone()),
        (None, Some(device)) => Ok(device),
        (None, None) => Err(Problem::value("device", "device", "say for which device")),
    }
}

/// Asks for a blocked name. The parents are notified at once. If the device has an open request for
/// this name or one above it, that request is returned with 200, and no further notification is
/// sent.
#[utoipa::path(post, path = "/v1/households/{id}/requests", operation_id = "post_household_request", tag = "requests", params(("id" = String, Path)), request_body = RequestBody,
    responses((status = 201, description = "asked", body = AccessRequest),
        (status = 200, description = "asked before, and not answered yet: the open request", body = AccessRequest),
        (status = 404, description = "no such household or device"),
        (status = 409, description = "not blocked for this device: `not_blocked`; blocked by order: `mandatory`; by safe search: `safe_search`; an allow would open the way round the filter: `bypass`"), (status = 422, description = "a value cannot be used"),
        (status = 429, description = "too many requests: `requests_limit`")))]
pub async fn post(
    State(context): State<Arc<Context>>,
    Member(principal): Member,
    Segments(id): Segments<String>,
    Body(body): Body<RequestBody>,
) -> Result<(StatusCode, Json<AccessRequest>), Problem> {
    let id: Id = segment("id", &id)?;
    let device = asking_device(&principal, body.device.clone())?;
    let (request, is_new) = ask(&context, &id, &device, body, principal.author.actor).await?;
    Ok((made_or_changed(is_new), Json(request)))
}

/// Asks for a blocked name on behalf of a device. Also returns whether the request is new.
pub async fn ask(
    context: &Context,
    id: &Id,
    device: &Id,
    body: RequestBody,
    asked_by: String,
) -> Result<(AccessRequest, bool), Problem> {
    check_length("reason", body.reason.as_ref(), TEXT_OCTETS_MAX)?;
    let name = own_name(&body.name).map_err(|problem| problem.with_field("name".to_owned()))?;
    refuse_ordered(context, name.borrow())?;
    let rules = context
        .control
        .directory
        .household(id)
        .ok_or_else(|| unknown_household(id))?;
    let place = rules
        .device_by_id(device)
        .ok_or_else(|| unknown_device(device))?;
    let now = Timestamp::now();
    let asker = EffectivePolicy::of(&rules, Some(place), UnixSeconds::of(now));
    let listed = context.control.lists.load().classify(name.borrow());
    let verdict = verdict_for(context, &asker, id, &name, &listed).await;
    let categories = categories_of(&context.control.taxonomy, &asker, &listed, &verdict);
    refuse_pointless(&asker, &name, &listed, verdict)?;
    refuse_wide(&asker, &name)?;
    let reason = body.reason.map(Text::into_string);
    let asked = RequestDetails {
        name,
        categories,
        reason,
        asked_by,
        answer: None,
    };
    let (request, is_new) = context
        .control
        .store
        .add_request(id, device, asked, now)
        .await?;
    if is_new {
        let event = HouseholdEvent::of_request(RequestEventKind::Request, request.clone());
        context.control.events.publish(id, ScopedEvent::new(event));
    }
    Ok((request, is_new))
}

/// Requests.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Requests {
    /// The newest first.
    requests: Vec<AccessRequest>,
}

/// A request that was answered.
#[derive(Serialize, utoipa::ToSchema)]
pub struct RequestAnswered {
    #[serde(flatten)]
    request: AccessRequest,
    /// The household's version; also the `ETag`.
    version: u64,
}

/// The requests of the last month and their answers, newest first. A child sees its own.
#[utoipa::path(get, path = "/v1/households/{id}/requests", operation_id = "list_household_requests", tag = "requests", params(("id" = String, Path)),
    responses((status = 200, description = "the requests", body = Requests), (status = 404, description = "no such household")))]
pub async fn list(
    State(context): State<Arc<Context>>,
    Member(principal): Member,
    Segments(id): Segments<String>,
) -> Result<Json<Value>, Problem> {
    let id: Id = segment("id", &id)?;
    if context.control.directory.household(&id).is_none() {
        return Err(unknown_household(&id));
    }
    let requests = context
        .control
        .store
        .requests(&id, principal.device.as_ref(), Timestamp::now())
        .await?;
    let answer = named(&context, &id, &Requests { requests }).await?;
    Ok(Json(answer))
}

/// Answers a request. An allow applies from the next query on, for the given time.
#[utoipa::path(put, path = "/v1/households/{id}/requests/{request}", operation_id = "put_household_request", tag = "requests", request_body = AnswerBody,
    params(("id" = String, Path), ("request" = String, Path)),
    responses((status = 200, description = "answered", body = RequestAnswered), (status = 404, description = "no such household or request"),
        (status = 409, description = "answered before; blocked by order: `mandatory`; the allow does not open the name: `still_blocked`; or it would open the way round the filter: `bypass`"), (status = 422, description = "a value cannot be used")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, request)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
    Body(body): Body<AnswerBody>,
) -> Result<Versioned<RequestAnswered>, Problem> {
    let id: Id = segment("id", &id)?;
    body.check()?;
    let rules = context
        .control
        .directory
        .household(&id)
        .ok_or_else(|| unknown_household(&id))?;
    let now = Timestamp::now();
    let asked = context
        .control
        .store
        .request(&id, &request, now)
        .await?
        .ok_or_else(|| {
            Problem::not_found("unknown_request", "the household has no such request")
        })?;
    let writer = Writer {
        control: &context.control,
        author: &author,
        household: id,
        expected,
    };
    if body.answer == RequestVerdict::Deny {
        return writer
            .deny(rules.version(), asked, body.into_answer(&author, now))
            .await;
    }
    refuse_ordered(&context, asked.asked.name.borrow())?;
    if body.scope == AnswerScope::Domain {
        let device = rules.device_by_id(&asked.device);
        let asker = EffectivePolicy::of(&rules, device, UnixSeconds::of(now));
        refuse_wide(&asker, &asked.asked.name)?;
    }
    writer.allow(asked, body, now).await
}

impl AnswerBody {
    fn check(&self) -> Result<(), Problem> {
        check_length("note", self.note.as_ref(), TEXT_OCTETS_MAX)?;
        let is_wrong = |minutes| !(1..=GRANT_MINUTES_MAX).contains(&minutes);
        match self.minutes.is_some_and(is_wrong) {
            true => Err(Problem::value(
                "minutes",
                "limit",
                format!("1 to {GRANT_MINUTES_MAX} minutes"),
            )),
            false => Ok(()),
        }
    }

    /// When the answer ends. `None` if it holds for good.
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.minutes
            .map(|minutes| now + SignedDuration::from_mins(minutes.into()))
    }

    /// The answer as it is stored.
    fn into_answer(self, author: &Author, now: Timestamp) -> RequestAnswer {
        let is_allowed = self.answer == RequestVerdict::Allow;
        let word = |value: Value| value.as_str().map(str::to_owned).filter(|_| is_allowed);
        RequestAnswer {
            answer: if is_allowed { "allow" } else { "deny" }.to_owned(),
            scope: word(json!(self.scope)),
            whose: word(json!(self.whose)),
            until: self.until(now).filter(|_| is_allowed),
            note: self.note.map(Text::into_string),
            answered_by: author.actor.clone(),
            answered_at: now,
        }
    }
}

/// The author of an answer, and the household that it is about.
struct Writer<'w> {
    control: &'w Arc<Control>,
    author: &'w Author,
    household: Id,
    /// The version of the household that the author has seen.
    expected: Option<u64>,
}

impl Writer<'_> {
    /// Denies a request. The household, whose version is `version`, does not change.
    async fn deny(
        self,
        version: u64,
        request: AccessRequest,
        answer: RequestAnswer,
    ) -> Result<Versioned<RequestAnswered>, Problem> {
        check_version(self.expected, version)?;
        let store = &self.control.store;
        let denied = store
            .deny_request(&self.household, &request.id, &answer)
            .await
            .map_err(Problem::from)?;
        self.publish(&denied);
        let request = denied;
        Ok(Versioned::read(
            version,
            RequestAnswered { request, version },
        ))
    }

    /// Allows what a request asks for.
    async fn allow(
        self,
        request: AccessRequest,
        body: AnswerBody,
        now: Timestamp,
    ) -> Result<Versioned<RequestAnswered>, Problem> {
        let AccessRequest {
            id: number,
            device,
            asked,
            ..
        } = request;
        if body.scope == AnswerScope::Category && asked.categories.is_empty() {
            return Err(Problem::value(
                "scope",
                "scope",
                "the name is blocked for no category; allow it as a domain",
            ));
        }
        let scope = body.scope;
        let whose = body.whose;
        let until = body.until(now);
        let actor = self.author.actor.clone();
        let of = device;
        let control = Arc::clone(self.control);
        let edit = move |household: Option<Household>| {
            let mut household = household.ok_or_else(|| {
                Problem::not_found("unknown_household", "there is no such household")
            })?;
            let settings = settings_of(&mut household, &of, whose)?;
            allow(
                settings,
                &asked.name,
                &asked.categories,
                scope,
                until,
                &actor,
            )?;
            check_open(&control, &household, &of, &asked.name)?;
            Ok((Some(household), ()))
        };
        let beside = Beside {
            allows: Some((number, body.into_answer(self.author, now))),
            ..Beside::default()
        };
        let id = self.household.clone();
        let (changed, ()) =
            change_beside(self.control, self.author, id, self.expected, beside, edit).await?;
        let request = changed.allowed.expect("the change allows a request");
        self.publish(&request);
        let version = changed.version;
        Ok(Versioned::read(
            version,
            RequestAnswered { request, version },
        ))
    }

    fn publish(&self, answered: &AccessRequest) {
        let event = HouseholdEvent::of_request(RequestEventKind::Answer, answered.clone());
        let events = &self.control.events;
        events.publish(&self.household, ScopedEvent::new(event));
    }
}

/// The settings that an answer changes.
fn settings_of<'h>(
    household: &'h mut Household,
    device: &Id,
    whose: AnswerLevel,
) -> Result<&'h mut Settings, Problem> {
    if whose == AnswerLevel::Household {
        return Ok(&mut household.settings);
    }
    let of = household
        .devices
        .get_mut(device)
        .ok_or_else(|| unknown_device(device))?;
    if whose == AnswerLevel::Device {
        return Ok(&mut of.settings);
    }
    let person = of
        .person
        .clone()
        .ok_or_else(|| Problem::value("whose", "person", "the device is nobody's"))?;
    household
        .people
        .get_mut(&person)
        .map(|person| &mut person.settings)
        .ok_or_else(|| unknown_person(&person))
}

fn allow(
    settings: &mut Settings,
    name: &Name,
    categories: &[String],
    scope: AnswerScope,
    until: Option<Timestamp>,
    actor: &str,
) -> Result<(), Problem> {
    match (scope, until) {
        (AnswerScope::Domain, Some(until)) => open(
            settings,
            Grant {
                what: GrantTarget::Domain(name.clone()),
                until,
            },
            actor,
        )
        .map(drop),
        (AnswerScope::Category, Some(until)) => categories.iter().try_for_each(|slug| {
            open(
                settings,
                Grant {
                    what: GrantTarget::Category(slug.clone()),
                    until,
                },
                actor,
            )
            .map(drop)
        }),
        (AnswerScope::Domain, None) => {
            let known = settings.names.insert(
                name.clone(),
                set_by(
                    CustomName {
                        state: SwitchState::Allow,
                        scope: Scope::Subtree,
                    },
                    actor,
                ),
            );
            if known.is_none() && settings.names.len() > CUSTOM_NAMES_MAX {
                return Err(Problem::conflict(
                    "limit",
                    format!("an own list has at most {CUSTOM_NAMES_MAX} names"),
                ));
            }
            Ok(())
        }
        (AnswerScope::Category, None) => {
            for slug in categories {
                settings.categories.insert(
                    slug.clone(),
                    set_by(
                        Switch {
                            state: SwitchState::Allow,
                        },
                        actor,
                    ),
                );
            }
            Ok(())
        }
    }
}
