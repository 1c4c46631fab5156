//! Authentication and authorisation. Both happen here and nowhere else.
//!
//! ```text
//! Authorization: Bearer …, or a session's cookie -> Principal (once a request)
//!     -> a guard in the handler's signature -> the handler
//! ```
//!
//! Every route under `/v1` has a guard in its signature, which is all that the handler does about
//! authorisation:
//!
//! ```text
//!            operator  auditor  parent  second parent  child
//! Operator      x
//! Reader        x        x
//! Holder        x                 x*
//! Family        x                 x*         x*
//! Viewer        x       reads     x*         x*
//! Member        x       reads     x*         x*          x*, of its own device
//! Home          x                 x*         x*          x*, of its own device
//! Anyone        x        x        x          x           x
//!                                 * in their own household
//! ```
//!
//! The guards read `{id}` and `{device}` of the path themselves. A principal of one household learns
//! nothing of another, not even whether it exists: every other household is unknown to it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, MatchedPath, RawPathParams},
    http::{Method, StatusCode, header, request::Parts},
};
use jiff::Timestamp;
use policy::rules::household::Id;
use policy_store::{Author, Role, fingerprint};

use super::{
    known::{Actor, ActorKind},
    limits::Limits,
    oidc::{Refused, Tokens},
    principal::{Principal, forbidden},
    roles::Admits,
    session::{self, ShownSession},
};
use crate::{
    Context, client_address, extract::segment, problem::Problem, recognition::RequestConnection,
    versioned::unknown_household,
};

/// The prefix of the routes of one household.
const OF_HOUSEHOLD: &str = "/v1/households/{id}";

/// The principal of a request. It is authenticated once, and kept with the request.
pub async fn principal(parts: &mut Parts, context: &Context) -> Result<Principal, Problem> {
    if let Some(known) = parts.extensions.get::<Principal>() {
        return Ok(known.clone());
    }
    let principal = authenticate(parts, context).await?;
    parts.extensions.insert(principal.clone());
    Ok(principal)
}

async fn authenticate(parts: &Parts, context: &Context) -> Result<Principal, Problem> {
    let Some(secret) = bearer(parts) else {
        if !parts.headers.contains_key(header::AUTHORIZATION)
            && let Some(secret) = session::secret(parts)
        {
            return of_session(&secret, parts, context).await;
        }
        fail(&context.limits, client_address::of_request(parts))?;
        return Err(unauthorized(
            "key_missing",
            "send the key as Authorization: Bearer KEY",
        ));
    };
    let asking = Asking::of(parts);
    match context.tokens.as_ref().filter(|_| Tokens::is_token(secret)) {
        Some(tokens) => of_token(secret, tokens, asking, context).await,
        None => of_key(secret, asking, context).await,
    }
}

fn is_reading(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// What a request counts against, beside its principal.
#[derive(Clone)]
pub(crate) struct Asking {
    client: IpAddr,
    is_write: bool,
    connection: Option<RequestConnection>,
}

impl Asking {
    pub(crate) fn of(parts: &Parts) -> Self {
        Self {
            client: client_address::of_request(parts),
            is_write: !is_reading(&parts.method),
            connection: RequestConnection::of(&parts.extensions),
        }
    }

    /// Counts a request of a principal. Its connection is a recognised client's from then on.
    fn count(&self, limits: &Limits, actor: &Actor) -> Result<(), Problem> {
        let household = (actor.kind != ActorKind::Operator).then_some(&*actor.counted);
        self.recognised(household);
        limits.ask(actor, self.is_write).map_err(Problem::too_often)
    }

    fn recognised(&self, household: Option<&str>) {
        if let Some(connection) = &self.connection {
            connection.recognise(household);
        }
    }
}

/// The credential behind `Authorization: Bearer`.
fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, secret) = parts
        .headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

pub(crate) fn unauthorized(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, code, detail).closing()
}

/// Counts a failed authentication of an address.
pub(crate) fn fail(limits: &Limits, client: IpAddr) -> Result<(), Problem> {
    limits.fail(client).map_err(too_many_failures)
}

fn too_many_failures(wait: Duration) -> Problem {
    Problem::too_often(wait).closing()
}

/// Authenticates a key. An unknown key costs its client a failure before the store is asked; a known
/// key counts against its own rate.
pub(crate) async fn of_key(
    secret: &str,
    asking: Asking,
    context: &Context,
) -> Result<Principal, Problem> {
    let client = asking.client;
    let limits = &context.limits;
    let known = &context.limits.known;
    let wrong = || unauthorized("key_wrong", "this key is not in force");
    let Some(fingerprint) = fingerprint(secret) else {
        fail(limits, client)?;
        return Err(wrong());
    };
    let actor = known.actor(fingerprint);
    if actor.is_none() && !known.holds(fingerprint) {
        // Another process may have made the key a moment ago.
        limits.learn(&context.control.store).await?;
    }
    let is_known = actor.is_some() || known.holds(fingerprint);
    match &actor {
        Some(actor) => asking.count(limits, actor)?,
        None if is_known => asking.recognised(None),
        None => fail(limits, client)?,
    }
    let key = context.control.store.authenticate(secret).await?;
    let is_in_force = key.is_some();
    if let Some(principal) = key
        .map(Principal::of_key)
        .filter(|principal| principal.exists_in(&context.control.directory))
    {
        if actor.is_none() {
            admitted(&principal, fingerprint, &asking, context)?;
        }
        return Ok(principal);
    }
    if !is_in_force {
        known.forget(fingerprint);
    }
    if is_known {
        fail(limits, client)?;
    }
    Err(wrong())
}

/// Authenticates a session by its cookie, as [`of_key`] does a key. A write must show that the app
/// sent it.
pub(crate) async fn of_session(
    secret: &str,
    parts: &Parts,
    context: &Context,
) -> Result<Principal, Problem> {
    let asking = Asking::of(parts);
    let Asking {
        client, is_write, ..
    } = asking;
    let limits = &context.limits;
    let known = &context.limits.known;
    let Some(shown) = ShownSession::of(secret) else {
        fail(limits, client)?;
        return Err(no_session());
    };
    let fingerprint = shown.fingerprint;
    let actor = known.actor(fingerprint);
    let is_known = actor.is_some() || known.holds(fingerprint);
    match &actor {
        Some(actor) => asking.count(limits, actor)?,
        None if is_known => asking.recognised(None),
        None => fail(limits, client)?,
    }
    let now = Timestamp::now();
    let session = context.control.store.session(secret, now).await?;
    let is_in_force = session.is_some();
    let is_due = session.as_ref().is_some_and(|session| session.is_due);
    let principal = session
        .map(|session| Principal::of_session(session, shown))
        .filter(|principal| principal.exists_in(&context.control.directory));
    let Some(principal) = principal else {
        if !is_in_force {
            known.forget(fingerprint);
        }
        if is_known {
            fail(limits, client)?;
        }
        return Err(no_session());
    };
    if actor.is_none() {
        admitted(&principal, fingerprint, &asking, context)?;
    }
    if let Some(shown) = principal.session.as_ref().filter(|_| is_write) {
        shown.check_write(parts)?;
    }
    if is_due {
        context.control.store.session_was_used(secret, now).await?;
    }
    Ok(principal)
}

/// 401: the browser has no session, or one that has ended.
pub(crate) fn no_session() -> Problem {
    let detail = "there is no session, or it has ended; POST /v1/session begins one";
    unauthorized("session_missing", detail)
}

/// Authenticates a token. Its signature must be verified to know whether it is valid; for clients
/// without failures left, one token at a time is verified.
async fn of_token(
    token: &str,
    tokens: &Tokens,
    asking: Asking,
    context: &Context,
) -> Result<Principal, Problem> {
    let client = asking.client;
    let limits = &context.limits;
    let known = &context.limits.known;
    let fingerprint = known.fingerprint(token);
    let actor = known.actor(fingerprint);
    let failures = match &actor {
        Some(actor) => {
            asking.count(limits, actor)?;
            Ok(())
        }
        None => limits.fail(client),
    };
    let refused = match tokens.read(token, failures.is_err()).await {
        Ok(principal) if principal.exists_in(&context.control.directory) => {
            if actor.is_none() {
                admitted(&principal, fingerprint, &asking, context)?;
            }
            return Ok(principal);
        }
        Ok(_) => "the token's household or device is not here".to_owned(),
        Err(Refused::Wrong(detail)) => detail.to_owned(),
        Err(Refused::Unavailable(wait)) => {
            return Err(Problem::later(
                "provider_unavailable",
                "the keys of the OIDC provider cannot be read now; ask again",
                wait,
            ));
        }
    };
    known.forget(fingerprint);
    let failures = if actor.is_some() {
        limits.fail(client)
    } else {
        failures
    };
    failures.map_err(too_many_failures)?;
    Err(unauthorized("token_wrong", refused))
}

/// Counts the first request of a principal, and remembers the principal.
fn admitted(
    principal: &Principal,
    fingerprint: u64,
    asking: &Asking,
    context: &Context,
) -> Result<(), Problem> {
    let (counted, kind) = match &principal.household {
        None => (principal.author.actor.as_str(), ActorKind::Operator),
        Some(household) if principal.role == Role::Child => (household.as_str(), ActorKind::Child),
        Some(household) => (household.as_str(), ActorKind::Parent),
    };
    let actor = Actor {
        counted: counted.into(),
        kind,
    };
    let counted = asking.count(&context.limits, &actor);
    context.limits.known.remember(fingerprint, actor);
    counted
}

/// Admits a principal with one of these roles, if the path is in its household and device.
async fn admit(parts: &mut Parts, context: &Context, roles: &[Role]) -> Result<Principal, Problem> {
    let principal = principal(parts, context).await?;
    let (household, device) = target(parts).await?;
    if let (Some(own), Some(household)) = (&principal.household, &household)
        && own != household
    {
        return Err(unknown_household(household));
    }
    let is_reading = is_reading(&parts.method);
    let is_elsewhere = principal.device.is_some() && device.is_some() && principal.device != device;
    match roles.contains(&principal.role)
        && !is_elsewhere
        && (is_reading || principal.role != Role::Auditor)
    {
        true => Ok(principal),
        false => Err(forbidden(principal.role)),
    }
}

/// The household and the device of the path.
async fn target(parts: &mut Parts) -> Result<(Option<Id>, Option<Id>), Problem> {
    if !parts
        .extensions
        .get::<MatchedPath>()
        .is_some_and(|path| path.as_str().starts_with(OF_HOUSEHOLD))
    {
        return Ok((None, None));
    }
    let segments = RawPathParams::from_request_parts(parts, &()).await;
    let segments = segments.map_err(|rejection| {
        Problem::new(StatusCode::BAD_REQUEST, "path", rejection.body_text())
    })?;
    let named = |name: &str| {
        segments
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, text)| segment(name, text))
            .transpose()
    };
    Ok((named("id")?, named("device")?))
}

/// Defines a guard, with the part of the principal that the handler uses.
macro_rules! guard {
    ($(#[$said:meta])* $name:ident: $roles:expr $(, $held:ty: $take:expr)?) => {
        $(#[$said])*
        #[allow(dead_code, reason = "a guard is there before the first route that needs it")]
        pub struct $name$((pub $held))?;

        impl FromRequestParts<Arc<Context>> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, context: &Arc<Context>) -> Result<Self, Problem> {
                admit(parts, context, <Self as Admits>::ROLES.unwrap_or_default()).await.map(|_principal| Self$(($take(_principal)))?)
            }
        }

        impl Admits for $name {
            const ROLES: Option<&'static [Role]> = Some($roles);
        }
    };
}

guard! {
    /// The operator.
    Operator: &[Role::Operator], Author: |principal: Principal| principal.author
}
guard! {
    /// Those who may read everything: the operator and auditors.
    Reader: &[Role::Operator, Role::Auditor]
}
guard! {
    /// Those who may do everything in this household: the account holder and the operator.
    Holder: &[Role::Operator, Role::Parent], Author: |principal: Principal| principal.author
}
guard! {
    /// As [`Holder`], for handlers that ask in which session.
    HolderPrincipal: &[Role::Operator, Role::Parent], Principal: |principal: Principal| principal
}
guard! {
    /// Those who may write in this household: its parents and the operator.
    Family: &[Role::Operator, Role::Parent, Role::SecondParent], Author: |principal: Principal| principal.author
}
guard! {
    /// Those who may read all of this household: its parents, the operator and auditors.
    Viewer: &[Role::Operator, Role::Auditor, Role::Parent, Role::SecondParent]
}
guard! {
    /// Members of this household, including a child, and those who may read it. If the path names no
    /// device, the handler checks the principal's own.
    Member: &Role::ALL, Principal: |principal: Principal| principal
}
guard! {
    /// Members of this household, and the operator; not auditors.
    Home: &[Role::Operator, Role::Parent, Role::SecondParent, Role::Child], Principal: |principal: Principal| principal
}
guard! {
    /// All principals. The handler checks what the path does not say, by [`Principal::must_see`].
    Anyone: &Role::ALL, Principal: |principal: Principal| principal
}
