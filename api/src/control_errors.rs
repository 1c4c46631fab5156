//! Errors of the control plane, as problems.

use std::time::Duration;

use axum::http::StatusCode;
use control::{
    households::write::{ReadError, WriteError},
    lists::model::ListError,
};

use crate::{panics, problem::Problem, redact, versioned::unknown_household};

impl From<WriteError<Self>> for Problem {
    fn from(error: WriteError<Self>) -> Self {
        match error {
            WriteError::UnknownHousehold(id) => unknown_household(&id),
            WriteError::Change(error) => error.into(),
            // Each of them takes some milliseconds.
            WriteError::Crowded(_) => Self::too_often(Duration::from_secs(1)),
            WriteError::Task(error) => panics::of_failed_task(error),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::UnknownHousehold(id) => unknown_household(&id),
            ReadError::Store(error) => error.into(),
        }
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        match error {
            ListError::UnknownFeed => Self::not_found("unknown_feed", "there is no such feed"),
            ListError::NothingRefused => Self::conflict(
                "nothing_refused",
                "no version of this feed waits for an approval",
            ),
            ListError::AnotherVersion { waiting } => Self::conflict(
                "another_version",
                format!("the version that waits is {waiting}; look at it first"),
            )
            .with_field("version".to_owned()),
            ListError::NotApprovable { gate } => Self::conflict(
                "not_approvable",
                format!(
                    "the gate {gate} is not one that can be opened: what came is not what was sent"
                ),
            ),
            ListError::UnknownGeneration(number) => Self::not_found(
                "unknown_generation",
                format!("generation {number} is not kept"),
            ),
            ListError::NotKept(at) => Self::not_found(
                "not_kept",
                format!("no lists are kept that were live at {at}"),
            )
            .with_field("at".to_owned()),
            ListError::NothingBefore(detail) => {
                Self::conflict("nothing_before", redact::sentence(&detail))
            }
            ListError::Failed(detail) => {
                let detail = redact::sentence(&detail);
                tracing::error!(detail, "a step on the lists failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "lists_failed",
                    format!("what is live stays: {detail}"),
                )
            }
        }
    }
}
