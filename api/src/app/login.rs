//! Log-in to the app by the ISP's identity provider: authorisation code with PKCE (RFC 6749, RFC
//! 7636, OpenID Connect Core).
//!
//! ```text
//! /app/login/oidc -> cookie with state, nonce, verifier -> the provider
//!     -> /app/login/oidc/callback?code&state -> state is the cookie's -> code for a token
//!     -> signature, issuer, audience, time, nonce -> role, household, device -> a session
//! ```
//!
//! What binds the answer to the browser is in a cookie, so the node keeps nothing of a log-in that
//! is under way.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use policy_store::{SessionOwner, Store};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{
    Context,
    auth::{
        guards,
        oidc::Refused,
        principal::Principal,
        provider::Login,
        session::{self, own_origin},
    },
    client_address,
    problem::Problem,
    routes::session::{BrowserBefore, begin_for},
};

/// The path to which the provider sends the browser back.
pub const CALLBACK: &str = "/app/login/oidc/callback";
/// The page behind a log-in, and the one behind a log-in that failed.
const PAGE: &str = "/app/";
const FAILED: &str = "/app/#/login/failed";
/// For how long a log-in may take.
const AGE_S: i64 = 600;
/// For how long a session lasts that began with a token: the provider is asked again afterwards,
/// because a token says nothing about later.
pub const SESSION_AGE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Letters of each of state, nonce and verifier: 256 random bits in hexadecimal (RFC 7636, section
/// 7.1).
const WORD_LETTERS: usize = 64;

/// What binds a log-in to its browser.
struct Binding {
    state: String,
    nonce: String,
    verifier: String,
}

fn cookie_name(is_secure: bool) -> &'static str {
    match is_secure {
        true => "__Host-ox_login",
        false => "ox_login",
    }
}

impl Binding {
    fn new() -> Result<Self, Problem> {
        let random = || Store::fresh_secret().map_err(Problem::from);
        Ok(Self {
            state: random()?,
            nonce: random()?,
            verifier: random()?,
        })
    }

    /// Reads the cookie of a request.
    fn of(parts: &Parts) -> Option<Self> {
        let text = session::cookie_of(parts, cookie_name(session::is_secure(parts)))?;
        let mut words = text.split('.').map(str::to_owned);
        let binding = Self {
            state: words.next()?,
            nonce: words.next()?,
            verifier: words.next()?,
        };
        let is_whole = [&binding.state, &binding.nonce, &binding.verifier]
            .iter()
            .all(|word| word.len() == WORD_LETTERS);
        (is_whole && words.next().is_none()).then_some(binding)
    }

    /// The cookie that holds it. The provider sends the browser back from another site, so that
    /// `SameSite=Strict` would keep it from being sent.
    fn cookie(&self, is_secure: bool) -> HeaderValue {
        let value = format!("{}.{}.{}", self.state, self.nonce, self.verifier);
        cookie(&value, AGE_S, is_secure)
    }

    /// The challenge of the verifier (RFC 7636, section 4.2).
    fn challenge(&self) -> String {
        data_encoding::BASE64URL_NOPAD.encode(&Sha256::digest(&self.verifier))
    }
}

fn cookie(value: &str, age_s: i64, is_secure: bool) -> HeaderValue {
    let name = cookie_name(is_secure);
    let secure = if is_secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&text).expect("digits and letters")
}

fn to(place: &str, cookies: impl IntoIterator<Item = HeaderValue>) -> Response {
    let mut headers = HeaderMap::new();
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
    let no_store = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    match HeaderValue::from_str(place) {
        Ok(place) => headers.insert(header::LOCATION, place),
        Err(_) => headers.insert(header::LOCATION, HeaderValue::from_static(FAILED)),
    };
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// A request of a browser that logs in.
pub struct Visitor(Parts);

impl FromRequestParts<Arc<Context>> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &Arc<Context>,
    ) -> Result<Self, Problem> {
        // Each step costs a request to the provider, and nothing is known of the client yet.
        guards::fail(&context.limits, client_address::of_request(parts))?;
        Ok(Self(parts.clone()))
    }
}

impl Visitor {
    fn redirect(&self, context: &Context) -> String {
        let app = context.app.as_ref();
        let origin = app.and_then(|app| app.origin.clone());
        origin.unwrap_or_else(|| own_origin(&self.0)) + CALLBACK
    }
}

fn unavailable(context: &Context) -> Result<&Login, Problem> {
    let none = || Problem::not_found("unknown_route", "this app has no provider to log in at");
    context.login.as_ref().ok_or_else(none)
}

/// Sends a browser to the provider.
pub async fn begin(State(context): State<Arc<Context>>, by: Visitor) -> Result<Response, Problem> {
    let login = unavailable(&context)?;
    let binding = Binding::new()?;
    let redirect = by.redirect(&context);
    let challenge = binding.challenge();
    let parameters = [
        ("response_type", "code"),
        ("client_id", login.client_id.as_str()),
        ("redirect_uri", redirect.as_str()),
        ("scope", login.scopes.as_str()),
        ("state", binding.state.as_str()),
        ("nonce", binding.nonce.as_str()),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    Ok(match login.provider.authorization_url(&parameters).await {
        Ok(place) => to(&place, [binding.cookie(session::is_secure(&by.0))]),
        Err(error) => failed(&error),
    })
}

/// What the provider sends back.
#[derive(Deserialize)]
pub struct ProviderAnswer {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
}

/// Takes a browser back from the provider, and begins its session.
pub async fn callback(
    State(context): State<Arc<Context>>,
    by: Visitor,
    Query(answer): Query<ProviderAnswer>,
) -> Result<Response, Problem> {
    let login = unavailable(&context)?;
    let parts = &by.0;
    let is_secure = session::is_secure(parts);
    let binding =
        Binding::of(parts).filter(|binding| answer.state.as_ref() == Some(&binding.state));
    let Some(binding) = binding else {
        return Ok(failed("the answer is not one to this browser's log-in"));
    };
    let Some(code) = answer.code.filter(|_| answer.error.is_none()) else {
        let error: String = answer.error.unwrap_or_default().chars().take(64).collect();
        return Ok(failed(&format!("the provider refused: {error:?}")));
    };
    let redirect = by.redirect(&context);
    let token = login
        .provider
        .exchange(&code, &binding.verifier, &redirect)
        .await;
    let principal = match token {
        Ok(token) => login.tokens.read_bound(&token, &binding.nonce).await,
        Err(error) => return Ok(failed(&error)),
    };
    let owner = match principal {
        Ok(principal) => owner(&context, principal),
        Err(Refused::Wrong(error)) => Err(error),
        Err(Refused::Unavailable(_)) => Err("the keys of the provider cannot be read"),
    };
    match owner {
        Ok(owner) => {
            let browser = BrowserBefore::of(parts);
            let begun = begin_for(&context, &owner, SESSION_AGE, &browser).await?;
            let session = session::set_cookie(&begun.secret, SESSION_AGE, is_secure);
            Ok(to(PAGE, [session, cookie("", 0, is_secure)]))
        }
        Err(error) => Ok(failed(error)),
    }
}

fn owner(context: &Context, principal: Principal) -> Result<SessionOwner, &'static str> {
    if !principal.exists_in(&context.control.directory) {
        return Err("the token's household or device is not here");
    }
    let household = principal.household;
    Ok(SessionOwner {
        household: household.ok_or("roles of the operator have no sessions")?,
        author: principal.author,
        role: principal.role,
        device: principal.device,
    })
}

/// Sends the browser to the page that says that the log-in failed. The reason is for the operator.
fn failed(error: &str) -> Response {
    tracing::info!(at = %Timestamp::now(), error, "a log-in by the OIDC provider failed");
    to(FAILED, [])
}
