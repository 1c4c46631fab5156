//! Answers to writes: the household's version, as a field and as `ETag`.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use policy::rules::household::Id;
use policy_store::HouseholdChanged;
use serde::Serialize;

use crate::problem::Problem;

/// 201 for what is new, 200 for what was changed.
pub fn made_or_changed(is_new: bool) -> StatusCode {
    if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    }
}

/// An answer with a version, which it carries as `ETag`, too.
pub struct Versioned<T> {
    pub status: StatusCode,
    pub version: u64,
    pub body: T,
}

impl<T> Versioned<T> {
    /// The answer to a read.
    pub fn read(version: u64, body: T) -> Self {
        Self {
            status: StatusCode::OK,
            version,
            body,
        }
    }

    /// The answer to a write. `body` gets the household's version.
    pub fn of(changed: &HouseholdChanged, status: StatusCode, body: impl FnOnce(u64) -> T) -> Self {
        Self {
            status,
            version: changed.version,
            body: body(changed.version),
        }
    }
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        with_version(self.version, (self.status, Json(self.body)).into_response())
    }
}

/// Adds the version as `ETag`.
pub fn with_version(version: u64, mut response: Response) -> Response {
    let value = HeaderValue::from_str(&format!("\"{version}\"")).expect("digits and quotes");
    response.headers_mut().insert(header::ETAG, value);
    response
}

/// 412 unless the version is the one that the caller expects, if it does.
pub fn check_version(expected: Option<u64>, version: u64) -> Result<(), Problem> {
    match expected.filter(|expected| *expected != version) {
        Some(expected) => Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "version_mismatch",
            format!("the version is {version}, not {expected}"),
        )),
        None => Ok(()),
    }
}

/// 404 for a household.
pub fn unknown_household(id: &Id) -> Problem {
    Problem::not_found("unknown_household", format!("there is no household {id}"))
}
