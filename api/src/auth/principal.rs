//! Who asks, and what they may. Authorisation happens here and nowhere else.
//!
//! ```text
//! Authorization: Bearer … -> Principal (once a request) -> a guard in the handler's signature -> the handler
//! ```
//!
//! Every route under `/v1` has a guard in its signature, and that is all it does about it:
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
//! The guards read `{id}` and `{device}` of the path themselves. Who belongs to one household
//! learns nothing of another, not even whether it is there: whatever they ask of it, it is unknown.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts, MatchedPath, RawPathParams},
    http::{Method, StatusCode, header, request::Parts},
};
use jiff::Timestamp;
use policy::rules::household::Id;
use policy_store::{Author, Key, Role, fingerprint};

use crate::{
    Context,
    auth::{
        known::Actor,
        oidc::{Refused, Tokens},
    },
    extract::segment,
    problem::Problem,
    versioned::unknown_household,
};

/// Behind this begin the routes of one household.
const OF_HOUSEHOLD: &str = "/v1/households/{id}";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// How what they set and do is signed.
    pub author: Author,
    /// What they may.
    pub role: Role,
    /// The household in which; none for those who belong to none.
    pub household: Option<Id>,
    /// The device of a child.
    pub device: Option<Id>,
    /// When what it was let in by ends by itself; a key never does.
    pub expires_at: Option<Timestamp>,
    /// The provider's key behind its token.
    pub signed_by: Option<String>,
}

impl Principal {
    /// Who sends this request. Found once and kept with it.
    pub async fn of(parts: &mut Parts, context: &Context) -> Result<Self, Problem> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let principal = authenticate(parts, context).await?;
        parts.extensions.insert(principal.clone());
        Ok(principal)
    }

    /// Refuses what is not this principal's to see: another household, or of a child another
    /// device. `None` is everybody's line.
    pub fn must_see(&self, household: Option<&Id>, device: Option<&Id>) -> Result<(), Problem> {
        let Some(own) = &self.household else {
            return Ok(());
        };
        match household {
            Some(household) if household != own => Err(unknown_household(household)),
            None => Err(forbidden(self.role).with_field("household".to_owned())),
            _ if self.device.is_some() && self.device.as_ref() != device => {
                Err(forbidden(self.role).with_field("device".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// 403: the role is not one that may do this.
pub fn forbidden(role: Role) -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "role",
        format!("the role {role} may not do this"),
    )
}

/// Whoever is at the other end of the connection: what a header says of that may be anybody's
/// invention.
pub fn peer(parts: &Parts) -> IpAddr {
    parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(peer)| peer.ip())
}

async fn authenticate(parts: &Parts, context: &Context) -> Result<Principal, Problem> {
    let Some(secret) = bearer(parts) else {
        context
            .limits
            .fail(peer(parts))
            .map_err(Problem::too_often)?;
        return Err(unauthorized(
            "key_missing",
            "send the key as Authorization: Bearer KEY",
        ));
    };
    match context.tokens.as_ref().filter(|_| Tokens::is_token(secret)) {
        Some(tokens) => of_token(secret, tokens, peer(parts), context).await,
        None => of_key(secret, peer(parts), context).await,
    }
}

/// What stands behind `Authorization: Bearer`.
fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, secret) = parts
        .headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn unauthorized(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, code, detail)
}

/// Who has a key. One that is not known costs its peer a failure before the store is asked; one
/// that is known costs its own rate.
async fn of_key(secret: &str, peer: IpAddr, context: &Context) -> Result<Principal, Problem> {
    let limits = &context.limits;
    let known = &context.limits.known;
    let wrong = || unauthorized("key_wrong", "this key is not in force");
    let Some(fingerprint) = fingerprint(secret) else {
        limits.fail(peer).map_err(Problem::too_often)?;
        return Err(wrong());
    };
    let actor = known.actor(fingerprint);
    if actor.is_none() && !known.holds(fingerprint) {
        // It may be one that another process made a moment ago.
        limits.learn(&context.control.store).await?;
    }
    let is_known = actor.is_some() || known.holds(fingerprint);
    match &actor {
        Some(actor) => limits
            .ask(&actor.name, actor.is_of_household)
            .map_err(Problem::too_often)?,
        None if is_known => {}
        None => limits.fail(peer).map_err(Problem::too_often)?,
    }
    let key = context.control.store.authenticate(secret).await?;
    let is_in_force = key.is_some();
    let of_key = |key: Key| {
        let author = Author {
            actor: format!("key:{}", key.id),
            role: key.role.to_string(),
        };
        Principal {
            author,
            role: key.role,
            household: key.household,
            device: key.device,
            expires_at: None,
            signed_by: None,
        }
    };
    if let Some(principal) = key
        .map(of_key)
        .filter(|principal| is_somewhere(principal, context))
    {
        if actor.is_none() {
            admitted(&principal, fingerprint, context)?;
        }
        return Ok(principal);
    }
    if !is_in_force {
        known.forget(fingerprint);
    }
    if is_known {
        limits.fail(peer).map_err(Problem::too_often)?;
    }
    Err(wrong())
}

/// Who has a token. To know whether it opens, its signature must be verified: for peers whose
/// failures are used up, one at a time.
async fn of_token(
    token: &str,
    tokens: &Tokens,
    peer: IpAddr,
    context: &Context,
) -> Result<Principal, Problem> {
    let limits = &context.limits;
    let known = &context.limits.known;
    let fingerprint = known.fingerprint(token);
    let actor = known.actor(fingerprint);
    let failures = match &actor {
        Some(actor) => {
            limits
                .ask(&actor.name, actor.is_of_household)
                .map_err(Problem::too_often)?;
            Ok(())
        }
        None => limits.fail(peer),
    };
    let refused = match tokens.read(token, failures.is_err()).await {
        Ok(principal) if is_somewhere(&principal, context) => {
            if actor.is_none() {
                admitted(&principal, fingerprint, context)?;
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
        limits.fail(peer)
    } else {
        failures
    };
    failures.map_err(Problem::too_often)?;
    Err(unauthorized("token_wrong", refused))
}

/// Counts a request of a principal that was not known before, and knows it from now on.
fn admitted(principal: &Principal, fingerprint: u64, context: &Context) -> Result<(), Problem> {
    let actor = Actor {
        name: principal.author.actor.as_str().into(),
        is_of_household: principal.household.is_some(),
    };
    let counted = context.limits.ask(&actor.name, actor.is_of_household);
    context.limits.known.remember(fingerprint, actor);
    counted.map_err(Problem::too_often)
}

/// Whether the household and the device of a principal are there.
pub fn is_somewhere(principal: &Principal, context: &Context) -> bool {
    let Some(household) = &principal.household else {
        return true;
    };
    let Some(rules) = context.control.directory.household(household) else {
        return false;
    };
    principal
        .device
        .as_ref()
        .is_none_or(|device| rules.device_by_id(device).is_some())
}

/// Lets in who has one of these roles and is at home where the path leads.
async fn admit(parts: &mut Parts, context: &Context, roles: &[Role]) -> Result<Principal, Problem> {
    let principal = Principal::of(parts, context).await?;
    let (household, device) = place(parts).await?;
    if let (Some(own), Some(household)) = (&principal.household, &household)
        && own != household
    {
        return Err(unknown_household(household));
    }
    let is_reading = matches!(parts.method, Method::GET | Method::HEAD);
    let is_elsewhere = principal.device.is_some() && device.is_some() && principal.device != device;
    match roles.contains(&principal.role)
        && !is_elsewhere
        && (is_reading || principal.role != Role::Auditor)
    {
        true => Ok(principal),
        false => Err(forbidden(principal.role)),
    }
}

/// The household and the device that a path leads to.
async fn place(parts: &mut Parts) -> Result<(Option<Id>, Option<Id>), Problem> {
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

/// Makes a guard that holds what the handler uses of the principal.
macro_rules! guard {
    ($(#[$said:meta])* $name:ident: $roles:expr $(, $held:ty: $take:expr)?) => {
        $(#[$said])*
        #[allow(dead_code, reason = "a guard is there before the first route that needs it")]
        pub struct $name$((pub $held))?;

        impl FromRequestParts<Arc<Context>> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, context: &Arc<Context>) -> Result<Self, Problem> {
                admit(parts, context, $roles).await.map(|_principal| Self$(($take(_principal)))?)
            }
        }
    };
}

guard! {
    /// The operator.
    Operator: &[Role::Operator], Author: |principal: Principal| principal.author
}
guard! {
    /// Who may read everything: the operator, or an auditor.
    Reader: &[Role::Operator, Role::Auditor]
}
guard! {
    /// Who may do everything in this household: the holder of its account, or the operator.
    Holder: &[Role::Operator, Role::Parent], Author: |principal: Principal| principal.author
}
guard! {
    /// Who may write in this household: its parents, or the operator.
    Family: &[Role::Operator, Role::Parent, Role::SecondParent], Author: |principal: Principal| principal.author
}
guard! {
    /// Who may read all of this household: its parents, the operator, or an auditor.
    Viewer: &[Role::Operator, Role::Auditor, Role::Parent, Role::SecondParent]
}
guard! {
    /// Who belongs to this household, a child too, and those who may read it. Where the path names
    /// no device, the handler looks at the principal's own.
    Member: &Role::ALL, Principal: |principal: Principal| principal
}
guard! {
    /// Who belongs to this household, and the operator; not who only looks after the operator.
    Home: &[Role::Operator, Role::Parent, Role::SecondParent, Role::Child], Principal: |principal: Principal| principal
}
guard! {
    /// Whoever has a key in force. What the path does not say, [`Principal::must_see`] looks at.
    Anyone: &Role::ALL, Principal: |principal: Principal| principal
}
