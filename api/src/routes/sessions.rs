//! Who is logged in to the app of a household, and the end of sessions from afar.

use std::sync::Arc;

use axum::{Json, extract::State};
use control::notifications::text::of_key;
use jiff::Timestamp;
use policy::rules::household::{Household, Id};
use policy_store::{Author, EndedSessions, Key, ListedSession, SessionsToEnd};
use serde::Serialize;

use crate::{
    Context,
    auth::guards::{Holder, HolderPrincipal},
    extract::{Segments, segment},
    problem::Problem,
    routes::session::has_ended,
    versioned::unknown_household,
};

/// A session of the household.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SessionOfHousehold {
    #[serde(flatten)]
    session: ListedSession,
    /// Whether it is the one of this request.
    is_own: bool,
}

/// The sessions in force.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SessionsOfHousehold {
    /// The newest first.
    sessions: Vec<SessionOfHousehold>,
}

/// Who is logged in: the sessions of a household that are in force, without their secrets.
#[utoipa::path(get, path = "/v1/households/{id}/sessions", operation_id = "list_household_sessions", tag = "session", params(("id" = String, Path)),
    responses((status = 200, description = "the sessions", body = SessionsOfHousehold), (status = 404, description = "no such household")))]
pub async fn list(
    State(context): State<Arc<Context>>,
    HolderPrincipal(principal): HolderPrincipal,
    Segments(id): Segments<String>,
) -> Result<Json<SessionsOfHousehold>, Problem> {
    let id = known(&context, &id)?;
    let own = principal.session.map(|shown| shown.fingerprint);
    let store = &context.control.store;
    let sessions = store.sessions_of(&id, Timestamp::now()).await?;
    let sessions = sessions.into_iter().map(|session| SessionOfHousehold {
        is_own: own == Some(session.fingerprint),
        session,
    });
    Ok(Json(SessionsOfHousehold {
        sessions: sessions.collect(),
    }))
}

/// A session that was ended.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SessionEnded {
    /// Its identifier.
    id: String,
}

/// What was ended.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SessionsEnded {
    /// How many sessions were ended.
    sessions: usize,
    /// How many unused links were withdrawn.
    links: usize,
}

/// Ends a session and its streams, and the key that a link made for it. It is refused from the next
/// request on. The account holder is notified of a parent's key.
#[utoipa::path(delete, path = "/v1/households/{id}/sessions/{session}", operation_id = "delete_household_session", tag = "session", params(("id" = String, Path), ("session" = String, Path)),
    responses((status = 200, description = "ended", body = SessionEnded), (status = 404, description = "no such household, or it has no such session in force")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Holder(author): Holder,
    Segments((id, session)): Segments<(String, String)>,
) -> Result<Json<SessionEnded>, Problem> {
    let id = known(&context, &id)?;
    let ended = end(&context, &author, &id, SessionsToEnd::One(&session)).await?;
    match ended.fingerprints.is_empty() {
        false => Ok(Json(SessionEnded { id: session })),
        true => Err(Problem::not_found(
            "unknown_session",
            "the household has no such session in force",
        )),
    }
}

/// Ends all sessions of a household but the one of this request, with the keys that links made for
/// them, and withdraws all links that were not used. Keys that were given out as such stay.
#[utoipa::path(delete, path = "/v1/households/{id}/sessions", operation_id = "delete_household_sessions", tag = "session", params(("id" = String, Path)),
    responses((status = 200, description = "ended", body = SessionsEnded), (status = 404, description = "no such household")))]
pub async fn delete_all(
    State(context): State<Arc<Context>>,
    HolderPrincipal(principal): HolderPrincipal,
    Segments(id): Segments<String>,
) -> Result<Json<SessionsEnded>, Problem> {
    let id = known(&context, &id)?;
    let own = principal.session.map(|shown| shown.fingerprint);
    let which = SessionsToEnd::AllBut(own);
    let ended = end(&context, &principal.author, &id, which).await?;
    Ok(Json(SessionsEnded {
        sessions: ended.fingerprints.len(),
        links: ended.links,
    }))
}

fn known(context: &Context, id: &str) -> Result<Id, Problem> {
    let id: Id = segment("id", id)?;
    match context.control.directory.household(&id) {
        Some(_) => Ok(id),
        None => Err(unknown_household(&id)),
    }
}

async fn end(
    context: &Context,
    author: &Author,
    id: &Id,
    which: SessionsToEnd<'_>,
) -> Result<EndedSessions, Problem> {
    let control = &context.control;
    let label = control.store.label_of(&author.actor).await?;
    let tell = |key: &Key, household: &Household| {
        of_key(control.notices, author, label.as_deref(), household, key)
    };
    let store = &control.store;
    let ended = store
        .end_sessions(author, id, which, Timestamp::now(), tell)
        .await?;
    for fingerprint in &ended.fingerprints {
        has_ended(context, *fingerprint);
    }
    Ok(ended)
}
