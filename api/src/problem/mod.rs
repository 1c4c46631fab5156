//! Refusals: `application/problem+json` (RFC 9457) with a stable `code`.
//!
//! HTTP status codes are chosen in this crate and nowhere below. A fault that the operator must
//! look into is logged; the caller only learns that it happened.

mod code;

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use policy_store::{ChangeError, StoreError};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

pub use self::code::ProblemCode;

/// In the extensions of an answer: the client has shown no credential that is in force, so that its
/// connection is closed. It cannot keep a place with further requests.
#[derive(Debug, Clone, Copy)]
pub struct ClosesConnection;

/// A refusal.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: ProblemCode,
    detail: String,
    field: Option<String>,
    retry_after_s: Option<u64>,
    closes: bool,
}

impl Problem {
    /// A refusal with a status, a stable code, and a sentence.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code: ProblemCode::new(code),
            detail: detail.into(),
            field: None,
            retry_after_s: None,
            closes: false,
        }
    }

    /// 422: a value cannot be used.
    pub fn value(field: &str, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            field: Some(field.to_owned()),
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
        }
    }

    /// 404.
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 409.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 429: too many requests; the client may come back after `wait`.
    pub fn too_often(wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let refusal = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate",
            "too many requests; Retry-After says in how many seconds to come back",
        );
        Self {
            retry_after_s: Some(seconds.max(1)),
            ..refusal
        }
    }

    /// 503: the client may come back after `wait`.
    pub fn later(code: &'static str, detail: impl Into<String>, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self {
            retry_after_s: Some(seconds.max(1)),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
        }
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable identifier of the problem.
    pub fn code(&self) -> &'static str {
        self.code.as_str()
    }

    /// The problem, for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Closes the client's connection behind this refusal.
    pub fn closing(self) -> Self {
        Self {
            closes: true,
            ..self
        }
    }

    /// Adds the field at fault.
    pub fn with_field(mut self, field: impl Into<Option<String>>) -> Self {
        self.field = field.into();
        self
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_closed() {
            return Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ending",
                "this node is about to end; ask again",
            );
        }
        if let StoreError::TooLongAgo { .. } = error {
            return Self::value("at", "limit", error.to_string());
        }
        if let StoreError::Archived { .. } = error {
            return Self::not_found("not_kept", error.to_string()).with_field("at".to_owned());
        }
        tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
        if matches!(error, StoreError::Vanished { .. }) {
            let detail =
                "the store was removed or replaced under the running node; nothing was changed";
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_vanished", detail);
        }
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "store_failed",
            "the change could not be stored; nothing was changed",
        )
    }
}

impl From<ChangeError<Self>> for Problem {
    fn from(error: ChangeError<Self>) -> Self {
        match error {
            ChangeError::Store(error) => error.into(),
            ChangeError::Refused(problem) => problem,
            ChangeError::TooMuch(too_much) => {
                Self::value("household", "limit", too_much.to_string())
            }
            ChangeError::Settled => Self::conflict("answered", "the request was answered before"),
            ChangeError::Grown => {
                Self::conflict("changed_since", error.to_string()).with_field("domains".to_owned())
            }
            ChangeError::Version { expected: 0, .. } => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "exists",
                "it exists already",
            ),
            ChangeError::Version { current: 0, .. } => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "version_mismatch",
                "there is none",
            ),
            ChangeError::Version { current, .. } => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "version_mismatch",
                format!("the version is {current}"),
            ),
            ChangeError::NetworkTaken { network, owner } => Self::conflict(
                "network_taken",
                format!("{network} belongs to household {owner}"),
            )
            .with_field("cidr".to_owned()),
        }
    }
}

/// The body of a problem (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'p> {
    /// Always `about:blank`; `code` says more.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    code: ProblemCode,
    /// The same, for people.
    detail: &'p str,
    /// The field at fault, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'p str>,
}

impl Problem {
    /// The JSON body.
    pub fn to_json(&self) -> Value {
        json!(ProblemBody {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("refused"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            field: self.field.as_deref(),
        })
    }
}

/// The media type of the body.
pub const MEDIA_TYPE: &str = "application/problem+json";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_json())).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.closes {
            response.extensions_mut().insert(ClosesConnection);
        }
        response
    }
}
