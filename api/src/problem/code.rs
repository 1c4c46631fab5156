//! The stable codes of problems.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, Type},
    },
};

/// Every code that this API answers with, in alphabetical order.
const CODES: [&str; 130] = [
    "another_version",
    "answer",
    "answered",
    "body",
    "by",
    "bypass",
    "changed_since",
    "channel",
    "cidr",
    "configured",
    "content_encoding",
    "contradiction",
    "csrf",
    "cursor",
    "definition",
    "device",
    "elsewhere",
    "email",
    "empty",
    "ending",
    "exists",
    "future",
    "header_twice",
    "headers_too_large",
    "hidden",
    "history_unavailable",
    "host",
    "household",
    "http",
    "http_version",
    "idempotency_in_progress",
    "idempotency_key",
    "idempotency_key_reused",
    "idempotency_secret",
    "idempotency_unknown",
    "identifier",
    "identifier_taken",
    "json",
    "key_missing",
    "key_wrong",
    "limit",
    "link_expired",
    "link_used",
    "link_wrong",
    "lists_failed",
    "local_source",
    "locale",
    "maker_unknown",
    "mandate",
    "mandatory",
    "media_type",
    "method",
    "method_unknown",
    "missing",
    "month",
    "mud",
    "name",
    "network_taken",
    "no_source",
    "not_approvable",
    "not_blocked",
    "not_built",
    "not_kept",
    "not_ready",
    "not_validating",
    "nothing_before",
    "nothing_refused",
    "one_of",
    "outcome",
    "override",
    "own_name",
    "panicked",
    "path",
    "person",
    "precondition",
    "private_address",
    "provider_unavailable",
    "public_suffix",
    "push",
    "query",
    "rate",
    "record_type",
    "reports_limit",
    "requests_limit",
    "role",
    "safe_search",
    "scope",
    "secret_reference",
    "session_missing",
    "special_network",
    "state",
    "still_blocked",
    "store_failed",
    "store_not_writable",
    "store_vanished",
    "streams_limit",
    "text",
    "time",
    "time_zone",
    "token_wrong",
    "too_large",
    "too_late",
    "too_wide",
    "unknown_category",
    "unknown_change",
    "unknown_device",
    "unknown_devices",
    "unknown_engine",
    "unknown_feed",
    "unknown_generation",
    "unknown_grant",
    "unknown_home_test",
    "unknown_household",
    "unknown_key",
    "unknown_link",
    "unknown_mandate",
    "unknown_name",
    "unknown_negative_trust_anchor",
    "unknown_network",
    "unknown_person",
    "unknown_preset",
    "unknown_prompt",
    "unknown_report",
    "unknown_request",
    "unknown_route",
    "unknown_schedule",
    "unknown_session",
    "unknown_sighting",
    "uri_too_long",
    "version_mismatch",
];

/// The code of a problem, one of [`CODES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ProblemCode(&'static str);

impl ProblemCode {
    /// A code. A new one is added to [`CODES`]; builds for tests refuse one that is not there.
    pub fn new(code: &'static str) -> Self {
        debug_assert!(
            CODES.contains(&code),
            "{code} is not in the list of problem codes"
        );
        Self(code)
    }

    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl PartialSchema for ProblemCode {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The problem, as a stable identifier."))
            .enum_values(Some(CODES))
            .build()
            .into()
    }
}

impl ToSchema for ProblemCode {
    fn name() -> Cow<'static, str> {
        "ProblemCode".into()
    }
}
