//! Feeds: their state, and what an operator does about them.
//!
//! A feed of the configuration is changed there, and only shown here. A feed of the API is defined
//! here and stored.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use control::lists::model::{
    Condition, DefinitionError, FeedDefinition, FeedState, ListControl, Origin, RolledBack, WhatIf,
};
use jiff::Timestamp;
use policy_store::{Author, StoredFeed};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    Context,
    audited::{Act, in_turn},
    auth::guards::{Operator, Reader},
    extract::{Body, IfMatch, Precondition, QueryParameters, Segments},
    problem::Problem,
    redact,
    routes::lists::RollbackBody,
    versioned::{Versioned, made_or_changed, with_version},
};

/// Feeds on a page: the default and the most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

/// The state and the definition of a feed.
#[derive(Serialize, ToSchema)]
pub struct FeedView {
    #[serde(flatten)]
    state: FeedState,
    /// The version of the definition, also as `ETag`. Null for a feed of the configuration.
    revision: Option<u64>,
    /// The last change of the definition, RFC 3339.
    updated_at: Option<Timestamp>,
    /// The author of the last change.
    updated_by: Option<String>,
}

impl FeedView {
    fn new(mut state: FeedState, stored: Option<StoredFeed>) -> Self {
        state.source = redact::address(&state.source);
        state.definition = redact::definition(&state.definition);
        if let Some(alarm) = &mut state.alarm {
            alarm.detail = redact::sentence(&alarm.detail);
        }
        if let Some(refused) = &mut state.refused {
            refused.detail = redact::sentence(&refused.detail);
        }
        // A feed of the configuration hides a stored feed of the same name.
        let stored = stored.filter(|_| state.origin == Origin::Api);
        let revision = stored.as_ref().map(|stored| stored.version);
        let updated = stored.map(|stored| (stored.updated_at, stored.updated_by));
        let (updated_at, updated_by) = updated.unzip();
        Self {
            state,
            revision,
            updated_at,
            updated_by,
        }
    }

    fn answer(self, status: StatusCode) -> FeedAnswer {
        FeedAnswer { status, view: self }
    }
}

/// An answer with a feed. A feed of the configuration has no version, and so no `ETag`.
pub struct FeedAnswer {
    status: StatusCode,
    view: FeedView,
}

impl IntoResponse for FeedAnswer {
    fn into_response(self) -> Response {
        let revision = self.view.revision;
        let response = (self.status, Json(self.view)).into_response();
        match revision {
            Some(revision) => with_version(revision, response),
            None => response,
        }
    }
}

/// A page of feeds, by name.
#[derive(Serialize, ToSchema)]
pub struct FeedPage {
    /// In the order of their names.
    feeds: Vec<FeedView>,
    /// The cursor of the next page. Null on the last one.
    next: Option<String>,
}

/// 404 for a feed.
fn unknown_feed(name: &str) -> Problem {
    Problem::not_found("unknown_feed", format!("there is no feed {name:?}"))
}

async fn state(control: &dyn ListControl, name: &str) -> Result<FeedState, Problem> {
    control.feed(name).await.ok_or_else(|| unknown_feed(name))
}

async fn view(context: &Context, name: &str) -> Result<FeedView, Problem> {
    let state = state(&*context.control.lists_control, name).await?;
    Ok(FeedView::new(
        state,
        context.control.store.feed(name).await?,
    ))
}

/// Which feeds to show.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// The cursor of the page: `next` of the page before.
    cursor: Option<String>,
    /// Feeds on a page, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// All feeds: state, age, generation, counts and alarms.
#[utoipa::path(get, path = "/v1/feeds", operation_id = "list_feeds", tag = "feeds", params(Pages),
    responses((status = 200, description = "a page", body = FeedPage), (status = 422, description = "a value cannot be used")))]
pub async fn list(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    QueryParameters(pages): QueryParameters<Pages>,
) -> Result<Json<FeedPage>, Problem> {
    let limit = pages.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::value("limit", "limit", format!("1 to {PAGE_MAX}")));
    }
    let mut states = context.control.lists_control.feeds().await;
    states.sort_by(|left, right| left.name.cmp(&right.name));
    states.retain(|state| {
        pages
            .cursor
            .as_ref()
            .is_none_or(|cursor| state.name > *cursor)
    });
    let has_more = states.len() > limit;
    states.truncate(limit);
    let next = has_more
        .then(|| states.last().map(|state| state.name.clone()))
        .flatten();
    // A stored feed that cannot be read is shown without its stored version; the log says why.
    let stored = context
        .control
        .store
        .feeds()
        .await?
        .into_iter()
        .filter_map(|feed| {
            feed.inspect_err(|error| {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "a stored feed cannot be read"
                )
            })
            .ok()
        });
    let mut stored: Vec<StoredFeed> = stored.collect();
    let mut of = |name: &str| {
        stored
            .iter()
            .position(|feed| feed.name == name)
            .map(|place| stored.swap_remove(place))
    };
    let feeds = states.into_iter().map(|state| {
        let stored = of(&state.name);
        FeedView::new(state, stored)
    });
    Ok(Json(FeedPage {
        feeds: feeds.collect(),
        next,
    }))
}

/// One feed.
#[utoipa::path(get, path = "/v1/feeds/{name}", operation_id = "get_feed", tag = "feeds", params(("name" = String, Path)),
    responses((status = 200, description = "the feed", body = FeedView), (status = 404, description = "there is none")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    Segments(name): Segments<String>,
) -> Result<FeedAnswer, Problem> {
    Ok(view(&context, &name).await?.answer(StatusCode::OK))
}

/// Defines a new feed. It is fetched, checked by the gates, and then live.
#[utoipa::path(post, path = "/v1/feeds", operation_id = "post_feed", tag = "feeds", request_body = FeedDefinition,
    responses((status = 201, description = "defined", body = FeedView), (status = 409, description = "there is one of that name"),
        (status = 422, description = "the definition cannot be used")))]
pub async fn post(
    State(context): State<Arc<Context>>,
    Operator(by): Operator,
    Body(definition): Body<Value>,
) -> Result<([(HeaderName, HeaderValue); 1], FeedAnswer), Problem> {
    let name = definition.get("name").and_then(Value::as_str);
    let name = name
        .ok_or_else(|| Problem::value("name", "missing", "a feed needs a name"))?
        .to_owned();
    let made = in_turn(&context, move |context| async move {
        if context.control.lists_control.feed(&name).await.is_some() {
            return Err(
                Problem::conflict("exists", format!("there is a feed {name:?} already"))
                    .with_field("name".to_owned()),
            );
        }
        define(&context, &by, &name, None, definition).await
    });
    let (view, _) = made.await?;
    let location = HeaderValue::from_str(&format!("/v1/feeds/{}", path_segment(&view.state.name)))
        .expect("it is escaped");
    let answer = view.answer(StatusCode::CREATED);
    Ok(([(header::LOCATION, location)], answer))
}

/// Percent-encodes all but unreserved characters (RFC 3986, section 2.3).
fn path_segment(name: &str) -> String {
    let escape = |octet: u8| match octet {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(octet).to_string()
        }
        _ => format!("%{octet:02X}"),
    };
    name.bytes().map(escape).collect()
}

/// Defines a feed, or replaces its definition. The whole definition is given. A secret that is sent
/// back as `(hidden)` stays as it was, unless an address changes.
#[utoipa::path(put, path = "/v1/feeds/{name}", operation_id = "put_feed", tag = "feeds", params(("name" = String, Path)), request_body = FeedDefinition,
    responses((status = 201, description = "defined", body = FeedView), (status = 200, description = "changed", body = FeedView),
        (status = 409, description = "the configuration defines it"), (status = 412, description = "another version"),
        (status = 422, description = "the definition cannot be used")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    Operator(by): Operator,
    Segments(name): Segments<String>,
    precondition: Precondition,
    Body(mut definition): Body<Value>,
) -> Result<FeedAnswer, Problem> {
    match definition.get("name") {
        None => definition["name"] = name.as_str().into(),
        Some(given) if *given == name.as_str() => {}
        Some(_) => {
            return Err(Problem::value(
                "name",
                "name",
                "the path has another name; a feed is not renamed",
            ));
        }
    }
    let written = in_turn(&context, move |context| async move {
        let now = context.control.lists_control.feed(&name).await;
        refuse_configured(now.as_ref())?;
        if precondition.is_there && now.is_none() {
            return Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "version_mismatch",
                "there is no such feed",
            ));
        }
        define(&context, &by, &name, precondition.version, definition).await
    });
    let (view, is_new) = written.await?;
    Ok(view.answer(made_or_changed(is_new)))
}

fn refuse_configured(state: Option<&FeedState>) -> Result<(), Problem> {
    match state {
        Some(FeedState {
            origin: Origin::Config,
            name,
            ..
        }) => Err(Problem::conflict(
            "configured",
            format!("the configuration defines {name:?}; it is changed there"),
        )),
        Some(FeedState {
            origin: Origin::Elsewhere,
            name,
            ..
        }) => Err(Problem::conflict(
            "elsewhere",
            format!(
                "{name:?} is in the lists and is not defined on this node; it is changed where it is"
            ),
        )),
        _ => Ok(()),
    }
}

/// Checks a definition, stores and audits it in one transaction, and uses it. Returns whether the
/// feed is new.
async fn define(
    context: &Context,
    by: &Author,
    name: &str,
    expected: Option<u64>,
    definition: Value,
) -> Result<(FeedView, bool), Problem> {
    let before = context.control.store.feed(name).await?;
    let definition = redact::lift(definition, before.as_ref().map(|before| &before.document)).map_err(|key| {
        Problem::value(
            &key,
            "hidden",
            format!("{key} is hidden and nothing is known to stand there, or it would go to another address: give it"),
        )
    })?;
    let definition = context
        .control
        .lists_control
        .check_definition(definition)
        .await
        .map_err(
            |DefinitionError {
                 field,
                 code,
                 message,
             }| {
                Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    code,
                    redact::sentence(&message),
                )
                .with_field(field)
            },
        )?;
    let changed = context
        .control
        .store
        .change_feed(by, name, expected, Some(&definition), redact::definition)
        .await?;
    context
        .control
        .lists_control
        .define(name, definition, changed.is_new)
        .await;
    Ok((view(context, name).await?, changed.is_new))
}

/// A feed that was removed.
#[derive(Serialize, ToSchema)]
#[schema(as = FeedGone)]
pub struct FeedRemoved {
    /// The version that the removal made. Also the `ETag`.
    revision: u64,
}

/// Removes a feed, and its entries from the lists.
#[utoipa::path(delete, path = "/v1/feeds/{name}", operation_id = "delete_feed", tag = "feeds", params(("name" = String, Path)),
    responses((status = 200, description = "gone", body = FeedRemoved), (status = 404, description = "there was none"),
        (status = 409, description = "the configuration defines it"), (status = 412, description = "another version")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Operator(by): Operator,
    Segments(name): Segments<String>,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<FeedRemoved>, Problem> {
    let gone = in_turn(&context, move |context| async move {
        refuse_configured(Some(&state(&*context.control.lists_control, &name).await?))?;
        let changed = context
            .control
            .store
            .change_feed(&by, &name, expected, None, redact::definition)
            .await?;
        context.control.lists_control.remove(&name).await;
        Ok(changed.version)
    });
    let revision = gone.await?;
    Ok(Versioned::read(revision, FeedRemoved { revision }))
}

/// Fetches the feed now, whatever its interval.
#[utoipa::path(post, path = "/v1/feeds/{name}/refresh", operation_id = "refresh_feed", tag = "feeds", params(("name" = String, Path)),
    responses((status = 202, description = "under way", body = FeedView), (status = 404, description = "there is none")))]
pub async fn refresh(
    State(context): State<Arc<Context>>,
    Operator(by): Operator,
    Segments(name): Segments<String>,
) -> Result<FeedAnswer, Problem> {
    let asked = in_turn(&context, move |context| async move {
        let control = &*context.control.lists_control;
        let now = state(control, &name).await?;
        let before = json!({ "version": now.version, "fetched_at": now.fetched_at });
        Act::on_feed(by, "refresh", &name)
            .done(&context, Some(before), None, control.refresh(&name))
            .await?;
        view(&context, &name).await
    });
    Ok(asked.await?.answer(StatusCode::ACCEPTED))
}

/// What to approve.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveBody {
    /// The refused version that the operator has seen. Default: the one that waits.
    #[serde(default)]
    version: Option<String>,
}

/// Lets a refused version through, or a feed that was rolled back go on.
#[utoipa::path(post, path = "/v1/feeds/{name}/approve", operation_id = "approve_feed", tag = "feeds", params(("name" = String, Path)), request_body = ApproveBody,
    responses((status = 200, description = "live", body = FeedView), (status = 404, description = "there is none"),
        (status = 409, description = "nothing waits, another version does, or its gate cannot be opened")))]
pub async fn approve(
    State(context): State<Arc<Context>>,
    Operator(by): Operator,
    Segments(name): Segments<String>,
    Body(body): Body<ApproveBody>,
) -> Result<FeedAnswer, Problem> {
    use control::lists::model::ListError::{AnotherVersion, NotApprovable, NothingRefused};
    let approved = in_turn(&context, move |context| async move {
        let control = &*context.control.lists_control;
        let now = state(control, &name).await?;
        let version = match &now.refused {
            Some(refused)
                if body
                    .version
                    .as_ref()
                    .is_some_and(|version| *version != refused.version) =>
            {
                return Err(AnotherVersion {
                    waiting: refused.version.clone(),
                }
                .into());
            }
            Some(refused) if !refused.may_be_approved => {
                return Err(NotApprovable {
                    gate: refused.gate.clone(),
                }
                .into());
            }
            Some(refused) => Some(refused.version.clone()),
            None if now.state == Condition::Held => body.version,
            // An alarm without a version: nothing was fetched that could be approved.
            None => {
                let gate = now
                    .alarm
                    .filter(|alarm| alarm.version.is_none())
                    .map(|alarm| alarm.gate);
                return Err(gate
                    .map_or(NothingRefused, |gate| NotApprovable { gate })
                    .into());
            }
        };
        let before = json!({ "state": now.state, "version": now.version, "refused": FeedView::new(now, None).state.refused });
        let after = json!({ "version": version });
        let actor = by.actor.clone();
        let approving = control.approve(&name, version.as_deref(), &actor);
        Act::on_feed(by, "approve", &name)
            .done(&context, Some(before), Some(after), approving)
            .await?;
        view(&context, &name).await
    });
    Ok(approved.await?.answer(StatusCode::OK))
}

/// Gives a feed the entries of an earlier generation. The feed is held until it is approved to go
/// on.
#[utoipa::path(post, path = "/v1/feeds/{name}/rollback", operation_id = "roll_back_feed", tag = "feeds", params(("name" = String, Path)), request_body = RollbackBody,
    responses((status = 200, description = "live", body = RolledBack), (status = 404, description = "there is no such feed or generation"),
        (status = 409, description = "there is nothing to go back to")))]
pub async fn rollback(
    State(context): State<Arc<Context>>,
    Operator(by): Operator,
    Segments(name): Segments<String>,
    Body(body): Body<RollbackBody>,
) -> Result<Json<RolledBack>, Problem> {
    let now = state(&*context.control.lists_control, &name).await?;
    let to = body.generation;
    let before =
        json!({ "generation": context.control.lists.load().generation(), "version": now.version });
    let act = Act::on_feed(by, "rollback", &name);
    let doing = move |context: Arc<Context>, by: String| async move {
        context
            .control
            .lists_control
            .roll_back_feed(&name, to, &by)
            .await
    };
    Ok(Json(
        act.rolled_back(&context, before, json!({ "generation": to }), doing)
            .await?,
    ))
}

/// What the refused version would change: names by category, and yesterday's queries for them.
#[utoipa::path(get, path = "/v1/feeds/{name}/what-if", operation_id = "get_feed_what_if", tag = "feeds", params(("name" = String, Path)),
    responses((status = 200, description = "what would change", body = WhatIf), (status = 404, description = "there is no such feed"),
        (status = 409, description = "no version waits")))]
pub async fn what_if(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    Segments(name): Segments<String>,
) -> Result<Json<WhatIf>, Problem> {
    let control = &*context.control.lists_control;
    state(control, &name).await?;
    Ok(Json(control.what_if(&name).await?))
}
