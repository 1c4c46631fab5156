//! The shapes of answers about requests, choices and reports, for the OpenAPI document alone; see
//! `shapes.rs`.

#![expect(dead_code, reason = "shapes for the document")]

use utoipa::ToSchema;

/// A request.
#[derive(ToSchema)]
pub struct Request {
    /// Its identifier.
    id: String,
    /// The device that it is for.
    device: String,
    /// `open`, `allowed` or `denied`.
    state: String,
    /// When it was asked, RFC 3339.
    #[schema(format = DateTime)]
    at: String,
    /// When it is forgotten.
    #[schema(format = DateTime)]
    expires_at: String,
    /// The name.
    name: String,
    /// The categories for which it is blocked, by slug.
    categories: Vec<String>,
    /// Why, in the child's words.
    reason: Option<String>,
    /// The key that asked.
    asked_by: String,
    /// What it was answered; none while it waits.
    answer: Option<RequestAnswer>,
}

/// What a request was answered.
#[derive(ToSchema)]
struct RequestAnswer {
    /// `allow` or `deny`.
    answer: String,
    /// `domain` or `category`; none where nothing was allowed.
    scope: Option<String>,
    /// `device`, `person` or `household`; none where nothing was allowed.
    whose: Option<String>,
    /// Until when, RFC 3339; none for good.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// A word to the child.
    note: Option<String>,
    /// The key that answered.
    answered_by: String,
    /// When.
    #[schema(format = DateTime)]
    answered_at: String,
}

/// A request that was answered.
#[derive(ToSchema)]
pub struct RequestAnswered {
    #[schema(inline)]
    #[serde(flatten)]
    request: Request,
    /// The household's version; also the `ETag`.
    version: u64,
}

/// Requests.
#[derive(ToSchema)]
pub struct Requests {
    /// The newest first.
    requests: Vec<Request>,
}

/// Something that happened in a household: a request or its answer with all that they have, or a
/// change.
#[derive(ToSchema)]
pub struct HouseholdEvent {
    /// `request`, `answer`, `change`, `block`, `silent`, or `lost` with how many; the last without
    /// a number to a child.
    kind: String,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// The household's version, of a change.
    version: Option<u64>,
}

/// A report.
#[derive(ToSchema)]
pub struct Report {
    /// Its identifier.
    id: String,
    /// The name.
    name: String,
    /// Why it should not be blocked.
    reason: String,
    /// Where an answer goes.
    contact: Option<String>,
    /// When it came, RFC 3339.
    #[schema(format = DateTime)]
    at: String,
    /// When it is to be answered: again, where an override runs out.
    #[schema(format = DateTime)]
    due_at: String,
    /// `open`, `unblocked`, `kept`, `duplicate` or `review`.
    state: String,
    /// A word of whoever answered.
    note: Option<String>,
    /// When it was answered.
    #[schema(format = DateTime)]
    closed_at: Option<String>,
    /// The key that answered.
    closed_by: Option<String>,
    /// Until when the name is never blocked.
    #[schema(format = DateTime)]
    override_until: Option<String>,
}

/// A page of reports.
#[derive(ToSchema)]
pub struct ReportPage {
    /// The newest first.
    reports: Vec<Report>,
    /// The cursor of the next page; none where there is none.
    next: Option<i64>,
}

/// The reports of a month.
#[derive(ToSchema)]
pub struct ReportExport {
    /// The month.
    month: String,
    /// How many came.
    received: u64,
    /// How many of them wait.
    open: u64,
    /// How many were unblocked.
    unblocked: u64,
    /// How many stayed blocked.
    kept: u64,
    /// How many had been reported before.
    duplicate: u64,
    /// How many were answered, or still wait, later than they were to be.
    late: u64,
    /// Seconds to the answer: half took no longer.
    answered_after_median_s: Option<i64>,
    /// Seconds to the answer, at most.
    answered_after_max_s: Option<i64>,
    /// Seconds since those that wait came: half came later.
    open_since_median_s: Option<i64>,
    /// Seconds since the oldest one that waits came.
    open_since_max_s: Option<i64>,
}
