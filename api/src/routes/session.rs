//! Sessions of the app in a browser: log-in, log-out, and who is logged in.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{FromRequestParts, State},
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
};
use control::notifications::text::of_key;
use jiff::{SignedDuration, Timestamp};
use policy::rules::household::{Household, Id};
use policy_store::{
    Author, BegunSession, Key, LinkError, SESSION_AGE_MAX, SessionOwner, ToldBrowser,
    session_fingerprint,
};
use serde::{Deserialize, Serialize};

use crate::{
    Context,
    auth::{
        guards::{self, Asking, no_session},
        principal::Principal,
        roles::Admits,
        session::{self, ShownSession, check_origin, clear_cookie, left, set_cookie},
        user_agent,
    },
    client_address,
    extract::Body,
    problem::Problem,
    routes::{
        keys::SecretOf,
        me::{self, Me},
    },
};

/// What a log-in shows: a key, or the secret of a one-time link.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogInBody {
    /// A household's key, `ox_…`.
    #[serde(default)]
    key: Option<String>,
    /// The secret of a link, which it uses.
    #[serde(default)]
    link: Option<String>,
}

/// A log-in that a page of this origin sends.
pub struct LoggingIn {
    asking: Asking,
    client: std::net::IpAddr,
    is_secure: bool,
    browser: BrowserBefore,
}

/// The browser of a log-in.
pub struct BrowserBefore {
    told: ToldBrowser,
    /// The session that it has so far.
    session: Option<String>,
}

impl BrowserBefore {
    pub fn of(parts: &Parts) -> Self {
        Self {
            told: user_agent::told(&parts.headers),
            session: session::secret(parts),
        }
    }
}

impl Admits for LoggingIn {}

impl FromRequestParts<Arc<Context>> for LoggingIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Context>) -> Result<Self, Problem> {
        check_origin(parts)?;
        Ok(Self {
            asking: Asking::of(parts),
            client: client_address::of_request(parts),
            is_secure: session::is_secure(parts),
            browser: BrowserBefore::of(parts),
        })
    }
}

/// The session of the request's cookie.
pub struct OwnSession {
    pub principal: Principal,
    secret: String,
    is_secure: bool,
}

impl Admits for OwnSession {}

impl OwnSession {
    /// Its household and its fingerprint.
    pub fn of_household(&self) -> Result<(&Id, u64), Problem> {
        let shown = self.principal.session.as_ref();
        let session = shown.map(|shown| shown.fingerprint);
        let household = self.principal.household.as_ref();
        household.zip(session).ok_or_else(no_session)
    }
}

impl FromRequestParts<Arc<Context>> for OwnSession {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &Arc<Context>,
    ) -> Result<Self, Problem> {
        let Some(secret) = session::secret(parts) else {
            guards::fail(&context.limits, client_address::of_request(parts))?;
            return Err(no_session());
        };
        Ok(Self {
            principal: guards::of_session(&secret, parts, context).await?,
            is_secure: session::is_secure(parts),
            secret,
        })
    }
}

/// Who has logged in, with the session's cookie. Nothing on the way may store it.
type LoggedIn = (
    Extension<SecretOf>,
    [(HeaderName, HeaderValue); 2],
    Json<Me>,
);

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Begins a session by a key of a household, or by a one-time link, which makes a key of its own.
/// The answer sets the session's cookie: a new one each time; the session that the browser had
/// ends. Roles of the operator have no sessions.
#[utoipa::path(post, path = "/v1/session", operation_id = "post_session", tag = "session", request_body = LogInBody, security(()),
    responses((status = 200, description = "logged in", body = Me), (status = 401, description = "the key or the link is not in force"),
        (status = 403, description = "the request comes from another site: `csrf`"), (status = 410, description = "`link_used` or `link_expired`")))]
pub async fn post(
    State(context): State<Arc<Context>>,
    by: LoggingIn,
    Body(body): Body<LogInBody>,
) -> Result<LoggedIn, Problem> {
    let owner = match (body.key, body.link) {
        (Some(key), None) => owner_of_key(&context, &key, &by).await?,
        (None, Some(link)) => owner_of_link(&context, &link, &by).await?,
        _ => return Err(Problem::value("key", "one_of", "either a key or a link")),
    };
    begin(&context, owner, &by).await
}

async fn owner_of_key(
    context: &Context,
    key: &str,
    by: &LoggingIn,
) -> Result<SessionOwner, Problem> {
    let principal = guards::of_key(key, by.asking.clone(), context).await?;
    let Some(household) = principal.household else {
        let detail = "the app is for families: log in with a key of a household";
        return Err(Problem::value("key", "role", detail));
    };
    Ok(SessionOwner {
        author: principal.author,
        role: principal.role,
        household,
        device: principal.device,
    })
}

async fn owner_of_link(
    context: &Context,
    link: &str,
    by: &LoggingIn,
) -> Result<SessionOwner, Problem> {
    // Counted before anything is looked up, as is a key that is not known.
    guards::fail(&context.limits, by.client)?;
    let control = &context.control;
    let tell = |by: &Author, key: &Key, household: &Household| {
        of_key(control.notices, by, None, household, key)
    };
    let key = control.store.use_link(link, Timestamp::now(), tell).await?;
    SessionOwner::of_key(&key).ok_or_else(no_session)
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        let gone = |code, error: LinkError| Self::new(StatusCode::GONE, code, error.to_string());
        match error {
            LinkError::Key(error) => error.into(),
            LinkError::Unknown => guards::unauthorized("link_wrong", error.to_string()),
            LinkError::Used => gone("link_used", error),
            LinkError::Expired => gone("link_expired", error),
        }
    }
}

/// A session that has begun, with its secret.
pub struct Begun {
    pub secret: String,
    principal: Principal,
}

/// Begins a session of at most this age, and ends the one that the browser had before.
pub async fn begin_for(
    context: &Context,
    owner: &SessionOwner,
    age: SignedDuration,
    browser: &BrowserBefore,
) -> Result<Begun, Problem> {
    let store = &context.control.store;
    let begun = store.begin_session(owner, browser.told, age, Timestamp::now());
    let BegunSession {
        secret,
        session,
        ended,
    } = begun.await?;
    for fingerprint in ended {
        has_ended(context, fingerprint);
    }
    if let Some(before) = &browser.session {
        end(context, before).await?;
    }
    let shown = ShownSession::of(&secret).ok_or_else(no_session)?;
    context.limits.known.add_key(shown.fingerprint);
    let principal = Principal::of_session(session, shown);
    Ok(Begun { secret, principal })
}

async fn begin(
    context: &Context,
    owner: SessionOwner,
    by: &LoggingIn,
) -> Result<LoggedIn, Problem> {
    let begun = begin_for(context, &owner, SESSION_AGE_MAX, &by.browser).await?;
    let Begun { secret, principal } = begun;
    let cookie = set_cookie(&secret, SESSION_AGE_MAX, by.is_secure);
    let me = me::of(context, &principal).await?;
    let headers = [
        (header::SET_COOKIE, cookie),
        (header::CACHE_CONTROL, NO_STORE),
    ];
    let secret_of = SecretOf(principal.author.actor);
    Ok((Extension(secret_of), headers, Json(me)))
}

async fn end(context: &Context, secret: &str) -> Result<(), Problem> {
    context.control.store.end_session(secret).await?;
    if let Some(fingerprint) = session_fingerprint(secret) {
        has_ended(context, fingerprint);
    }
    Ok(())
}

/// Ends the streams of a session that has ended.
pub fn has_ended(context: &Context, fingerprint: u64) {
    context.streams.end_of_session(fingerprint);
    context.limits.known.forget(fingerprint);
}

/// Who is logged in in this browser, with the token that each write carries as `X-CSRF-Token`.
#[utoipa::path(get, path = "/v1/session", operation_id = "get_session", tag = "session", security(()),
    responses((status = 200, description = "the session", body = Me), (status = 401, description = "no session: `session_missing`")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    own: OwnSession,
) -> Result<([(HeaderName, HeaderValue); 2], Json<Me>), Problem> {
    let me = me::of(&context, &own.principal).await?;
    let ends_at = own.principal.expires_at.unwrap_or_default();
    let headers = [
        // The cookie of a browser lasts as long as the session, which each use prolongs.
        (
            header::SET_COOKIE,
            set_cookie(&own.secret, left(ends_at, Timestamp::now()), own.is_secure),
        ),
        (header::CACHE_CONTROL, NO_STORE),
    ];
    Ok((headers, Json(me)))
}

/// A log-out.
#[derive(Serialize, utoipa::ToSchema)]
pub struct LoggedOut {}

/// Ends the session and its streams. The key that a one-time link made for it ends, too.
#[utoipa::path(delete, path = "/v1/session", operation_id = "delete_session", tag = "session", security(()),
    responses((status = 200, description = "logged out", body = LoggedOut), (status = 401, description = "no session: `session_missing`")))]
pub async fn delete(
    State(context): State<Arc<Context>>,
    own: OwnSession,
) -> Result<([(HeaderName, HeaderValue); 1], Json<LoggedOut>), Problem> {
    end(&context, &own.secret).await?;
    let cookie = (header::SET_COOKIE, clear_cookie(own.is_secure));
    Ok(([cookie], Json(LoggedOut {})))
}
