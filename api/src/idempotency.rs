//! Idempotent writes: a client that lost an answer repeats the request with the same
//! `Idempotency-Key`. It gets the first answer, and the write is not repeated.
//!
//! ```text
//! who asks -> begin (on disk) -> the handler -> keep the answer -> answer
//! ```
//!
//! The route authorises the first request. A repetition gets the kept answer only for the same
//! principal in the same role and place. Answers with status 5xx and 429 are not kept: the client may
//! try again.

use std::{str::FromStr, sync::Arc};

use axum::{
    body::{Body, HttpBody, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use policy_store::{AttemptState, StoredAnswer, WriteAttempt};

use crate::{
    Context,
    auth::{guards::principal, principal::Principal},
    extract::BODY_OCTETS_MAX,
    panics,
    problem::Problem,
    routes::keys::SecretOf,
};

/// The header with the key of a write.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest key, in octets.
pub const KEY_OCTETS_MAX: usize = 255;
/// The header that marks a repeated answer.
const REPLAYED: &str = "idempotency-replayed";
/// The largest answer that is kept, in octets. The write of a larger one is repeated.
const ANSWER_OCTETS_MAX: u64 = 256 << 10;
/// The headers that are kept with an answer.
const HEADERS: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::ETAG,
    header::LOCATION,
    header::CACHE_CONTROL,
];

/// Middleware before all routes. Handles writes with a key.
pub async fn once(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let is_write = matches!(
        *request.method(),
        Method::POST | Method::PUT | Method::DELETE | Method::PATCH
    );
    let is_ours = request
        .extensions()
        .get::<MatchedPath>()
        .is_some_and(|path| path.as_str().starts_with("/v1/"));
    if !is_write || !is_ours || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    answer(context, request, next)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn answer(context: Arc<Context>, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let principal = principal(&mut parts, &context).await?;
    let key = key(&parts)?;
    let too_large = |_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("a body has at most {BODY_OCTETS_MAX} octets"),
        )
    };
    let body = to_bytes(body, BODY_OCTETS_MAX).await.map_err(too_large)?;
    let attempt = attempt(&principal, key, &parts, &body);
    let conflict = |code, detail: &str| Err(Problem::conflict(code, detail));
    match context.control.store.begin_once(&attempt).await? {
        AttemptState::Fresh => Ok(run(
            context,
            attempt,
            Request::from_parts(parts, Body::from(body)),
            next,
        )
        .await),
        AttemptState::Done(kept) => Ok(again(kept)),
        AttemptState::Secret(key) => conflict(
            "idempotency_secret",
            &format!("this write made the key {key}; its secret was answered once and is not kept"),
        ),
        AttemptState::Other => {
            let detail = "another write had this Idempotency-Key; a new one needs a key of its own";
            Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                detail,
            )
            .with_field("Idempotency-Key".to_owned()))
        }
        AttemptState::UnderWay => conflict(
            "idempotency_in_progress",
            "this write is under way; ask again for its answer",
        ),
        AttemptState::Lost => conflict(
            "idempotency_unknown",
            "this node was stopped while it did this write; look whether it is done, and use another Idempotency-Key where it is not",
        ),
    }
}

/// The identity of a write: its principal, key and request.
fn key(parts: &Parts) -> Result<String, Problem> {
    let mut all = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
    let is_key = |text: &&str| {
        (1..=KEY_OCTETS_MAX).contains(&text.len())
            && text.bytes().all(|octet| octet.is_ascii_graphic())
    };
    match (
        all.next()
            .and_then(|value| value.to_str().ok())
            .filter(is_key),
        all.next(),
    ) {
        (Some(key), None) => Ok(key.to_owned()),
        _ => {
            let detail = format!("one Idempotency-Key of 1 to {KEY_OCTETS_MAX} visible characters");
            Err(
                Problem::new(StatusCode::BAD_REQUEST, "idempotency_key", detail)
                    .with_field("Idempotency-Key".to_owned()),
            )
        }
    }
}

fn attempt(principal: &Principal, key: String, parts: &Parts, body: &[u8]) -> WriteAttempt {
    // A token's subject with another role or household counts as another principal.
    let Principal {
        author,
        role,
        household,
        device,
        ..
    } = principal;
    let place = household
        .iter()
        .chain(device)
        .map(policy::rules::household::Id::as_str);
    let principal = [author.actor.as_str(), role.as_str()]
        .into_iter()
        .chain(place)
        .collect::<Vec<_>>()
        .join(" ");
    let header = |name| {
        parts
            .headers
            .get(name)
            .map_or(&[][..], HeaderValue::as_bytes)
    };
    let target = parts
        .uri
        .path_and_query()
        .map_or(parts.uri.path(), |target| target.as_str());
    let request = [
        header(header::IF_MATCH),
        header(header::IF_NONE_MATCH),
        header(header::CONTENT_TYPE),
        body,
    ];
    WriteAttempt::new(
        principal,
        key,
        &[parts.method.as_str().as_bytes(), target.as_bytes()],
        &request,
        parts.method != Method::POST,
    )
    .in_turn_of(household.as_ref())
}

/// Runs the write and keeps the answer, whether the client waits or not. Otherwise a client that
/// disconnects would leave the write unfinished.
async fn run(
    context: Arc<Context>,
    attempt: WriteAttempt,
    request: Request,
    next: Next,
) -> Response {
    let done = tokio::spawn(async move {
        let answer = panics::of_task(tokio::spawn(next.run(request)).await)
            .unwrap_or_else(IntoResponse::into_response);
        keep(&context, &attempt, answer).await
    });
    panics::of_task(done.await).unwrap_or_else(IntoResponse::into_response)
}

/// Whether an answer says that nothing was done, and that the same write may succeed later.
fn may_try_again(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

async fn keep(context: &Context, attempt: &WriteAttempt, answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    let is_small = body
        .size_hint()
        .upper()
        .is_some_and(|octets| octets <= ANSWER_OCTETS_MAX);
    let secret = parts.extensions.remove::<SecretOf>();
    let (kept, body) = match secret {
        Some(SecretOf(key)) => (
            context
                .control
                .store
                .keep_secret(attempt, parts.status.as_u16(), &key)
                .await,
            body,
        ),
        None if is_small && !may_try_again(parts.status) => {
            match to_bytes(body, usize::MAX).await {
                Ok(octets) => {
                    let text = |name: &HeaderName| {
                        Some((
                            name.to_string(),
                            parts.headers.get(name)?.to_str().ok()?.to_owned(),
                        ))
                    };
                    let headers = HEADERS.iter().filter_map(text).collect();
                    let kept = StoredAnswer {
                        status: parts.status.as_u16(),
                        headers,
                        body: octets.to_vec(),
                    };
                    (
                        context.control.store.keep_answer(attempt, &kept).await,
                        Body::from(octets),
                    )
                }
                Err(error) => {
                    let problem = Problem::new(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "answer",
                        error.to_string(),
                    );
                    return problem.into_response();
                }
            }
        }
        None => (context.control.store.forget_attempt(attempt).await, body),
    };
    if let Err(error) = kept
        && !error.is_closed()
    {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the answer to a write is not kept; its repetition is refused"
        );
    }
    Response::from_parts(parts, body)
}

/// A kept answer.
fn again(kept: StoredAnswer) -> Response {
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Body::from(kept.body)).into_response();
    for (name, value) in kept.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_str(&name), HeaderValue::from_str(&value))
        {
            response.headers_mut().insert(name, value);
        }
    }
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
