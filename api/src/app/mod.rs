//! The parents' app under `/app/`: files that are embedded in the program.
//!
//! ```text
//! /app/assets/NAME.HASH.js   a file, kept by browsers for good
//! /app/login/oidc            a log-in by the ISP's identity provider ([`login`])
//! /app/settings.json         what the app must know before a log-in
//! /app/anything.else         a file, or 404
//! /app/anything              the page, which shows what the path says
//! ```
//!
//! The page may load and connect to nothing but this origin, may not be framed, and has no inline
//! script or style ([`AppSettings::policy`]). The operator's name of the product stands in some files
//! (`brand`).

mod brand;
pub mod login;
pub mod settings;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use control::product_name::ProductName;
use memory_serve::MemoryServe;
use tower::ServiceExt;
use tracing::subscriber::NoSubscriber;

use self::{
    brand::{NamedFile, PAGE},
    settings::AppSettings,
};
use crate::{Context, bodies::SharedDocument, problem::Problem};

/// The prefix of files that are named after their content.
const HASHED: &str = "/assets/";
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Kept by browsers, and asked for again each time.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
/// Headers of every answer under `/app/`.
const SAFE: [(HeaderName, HeaderValue); 4] = [
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// The files that were embedded.
pub fn embedded() -> MemoryServe {
    memory_serve::load!()
}

/// What the handlers share.
struct Shared {
    files: Router,
    name: ProductName,
    policy: HeaderValue,
    public: settings::PublicSettings,
}

/// The routes of the app.
pub fn routes(settings: &AppSettings, files: MemoryServe) -> Router<Arc<Context>> {
    // The library logs each file that it serves.
    let files = tracing::subscriber::with_default(NoSubscriber::new(), || files.into_router());
    let shared = Arc::new(Shared {
        files,
        name: settings.name.clone(),
        policy: settings.policy(),
        public: settings.public(),
    });
    let logins = Router::new()
        .route("/app/login/oidc", get(login::begin))
        .route(login::CALLBACK, get(login::callback));
    Router::new()
        .route("/app", get(|| async { Redirect::permanent("/app/") }))
        .route("/app/settings.json", get(settings_of))
        .route("/app/", get(file))
        .route("/app/{*path}", get(file))
        .with_state(shared)
        .merge(logins)
}

async fn settings_of(State(shared): State<Arc<Shared>>) -> Response {
    let answer = ([(header::CACHE_CONTROL, ASK_AGAIN)], Json(&shared.public)).into_response();
    guarded(answer, &shared)
}

async fn file(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches("/app");
    let is_file = path
        .rsplit('/')
        .next()
        .is_some_and(|name| name.contains('.'));
    let path = if is_file { path } else { PAGE }.to_owned();
    let is_hashed = path.starts_with(HASHED);
    let (mut parts, body) = request.into_parts();
    let Ok(uri) = path.parse::<Uri>() else {
        return guarded(unknown().into_response(), &shared);
    };
    parts.uri = uri;
    // What the router above has found out about the request is not about the files.
    parts.extensions.clear();
    let named = NamedFile::of(&shared.name, &path, &mut parts);
    let answer = shared
        .files
        .clone()
        .oneshot(Request::from_parts(parts, body));
    let mut answer = answer.await.unwrap_or_else(|never| match never {});
    if answer.status() == StatusCode::NOT_FOUND {
        answer = unknown().into_response();
    } else {
        if let Some(named) = named {
            answer = named.rewrite(answer).await;
        }
        let kept = if is_hashed { FOR_GOOD } else { ASK_AGAIN };
        answer.headers_mut().insert(header::CACHE_CONTROL, kept);
        answer.extensions_mut().insert(SharedDocument);
    }
    guarded(answer, &shared)
}

fn unknown() -> Problem {
    Problem::not_found("unknown_route", "the app has no such file")
}

/// Adds the headers that limit what the page may do.
fn guarded(mut answer: Response, shared: &Shared) -> Response {
    let headers = answer.headers_mut();
    headers.extend(SAFE);
    headers.insert(header::CONTENT_SECURITY_POLICY, shared.policy.clone());
    answer
}
