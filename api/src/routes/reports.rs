//! ReportList of the public about names that are blocked by mistake. A report opens a ticket with a
//! deadline. An answer may lift the block for a time.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date, tz::TimeZone};
use policy::{lists::public_suffix::is_at_or_above_suffix, text::Text};
use policy_store::{Report, ReportAge, ReportDecision, ReportOutcome};
use serde::{Deserialize, Serialize};

use crate::{
    Context,
    auth::{
        guards::{Operator, Reader},
        limits::counted,
        roles::Admits,
    },
    client_address,
    extract::{Body, QueryParameters, Segments, check_length},
    problem::Problem,
    routes::{
        mandates::{in_turn, refuse_ordered},
        switches::own_name,
    },
};

/// The longest reason, contact and note, in octets.
const TEXT_OCTETS_MAX: usize = 2_000;
const CONTACT_OCTETS_MAX: usize = 254;
/// The longest override, in days.
const OVERRIDE_DAYS_MAX: u32 = 3_650;
/// The default duration of an override, in days.
const OVERRIDE_DAYS: u32 = 90;
/// ReportList on a page: the default and the most.
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1_000;

/// A client without a key. It must wait if its address asks too often.
pub struct Public;

impl Admits for Public {}

impl FromRequestParts<Arc<Context>> for Public {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &Arc<Context>,
    ) -> Result<Self, Problem> {
        context
            .reports
            .admit(counted(client_address::of_request(parts)))?;
        Ok(Self)
    }
}

/// A report.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportBody {
    /// The name that is blocked by mistake.
    name: String,
    /// Why it should not be blocked, at most 2000 octets.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 2000)]
    reason: Option<Text>,
    /// The contact for an answer, at most 254 octets.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 254)]
    contact: Option<Text>,
}

impl ReportBody {
    /// A report about a name, from a page without a field for a contact.
    pub fn about(name: String, reason: Option<Text>) -> Self {
        Self {
            name,
            reason,
            contact: None,
        }
    }
}

/// The answer to a report.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutcomeBody {
    /// `unblocked`, `kept` or `duplicate`.
    #[schema(value_type = ReportOutcome)]
    outcome: String,
    /// A note, at most 2000 octets.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 2000)]
    note: Option<Text>,
    /// Lifts the block on this node for a time. Absent: the block is not lifted here.
    #[serde(default, rename = "override")]
    lifted: Option<OverrideBody>,
}

/// How long a name is not blocked.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideBody {
    /// Days, 1 to 3650. Default: 90.
    #[serde(default = "usual_days")]
    #[schema(minimum = 1, maximum = 3650, value_type = Option<u32>)]
    days: u32,
}

fn usual_days() -> u32 {
    OVERRIDE_DAYS
}

/// Which reports to show.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// Only `open`, `unblocked`, `kept` or `duplicate` ones, or those due for `review` because
    /// their override has ended.
    #[param(pattern = "^(open|unblocked|kept|duplicate|review)$")]
    state: Option<String>,
    /// The cursor of the page: `next` of the page before.
    cursor: Option<i64>,
    /// ReportList on a page, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// The month to export.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Month {
    /// The month in UTC, such as `2026-11`.
    month: String,
}

/// The ticket of a report.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Ticket)]
pub struct ReportTicket {
    /// When the report came, RFC 3339.
    at: Timestamp,
    /// When it is to be answered.
    due_at: Timestamp,
    /// Its identifier.
    pub id: String,
    /// The name.
    name: String,
    /// Always `open`.
    state: &'static str,
}

/// ReportList a name that is blocked by mistake. Needs no key.
#[utoipa::path(post, path = "/v1/reports", operation_id = "post_report", tag = "reports", request_body = ReportBody, security(()),
    responses((status = 201, description = "a ticket", body = ReportTicket), (status = 422, description = "a value cannot be used"),
        (status = 429, description = "too many from this address, or too many wait"), (status = 503, description = "too many reports wait")))]
pub async fn post(
    State(context): State<Arc<Context>>,
    _public: Public,
    Body(body): Body<ReportBody>,
) -> Result<(StatusCode, Json<ReportTicket>), Problem> {
    Ok((StatusCode::CREATED, Json(take(&context, body).await?)))
}

/// Opens a ticket for a report.
pub async fn take(context: &Context, body: ReportBody) -> Result<ReportTicket, Problem> {
    let name = own_name(&body.name).map_err(|problem| problem.with_field("name".to_owned()))?;
    check_length("reason", body.reason.as_ref(), TEXT_OCTETS_MAX)?;
    check_length("contact", body.contact.as_ref(), CONTACT_OCTETS_MAX)?;
    let now = Timestamp::now();
    let reason = body.reason.unwrap_or_default();
    let contact = body.contact.as_ref().map(Text::as_str);
    let report = context
        .control
        .store
        .add_report(
            &name,
            reason.as_str(),
            contact,
            now,
            now + context.reports.answer_within,
        )
        .await?;
    let full = || {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "reports_limit",
            "too many reports wait for an answer",
        )
    };
    let report = report.ok_or_else(full)?;
    Ok(ReportTicket {
        at: report.at,
        due_at: report.due_at,
        id: report.id,
        name: report.name,
        state: report.state,
    })
}

/// A page of reports.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ReportPage)]
pub struct ReportList {
    /// The cursor of the next page. Null on the last one.
    next: Option<i64>,
    /// The newest first.
    reports: Vec<Report>,
}

/// ReportList, newest first.
#[utoipa::path(get, path = "/v1/reports", operation_id = "list_reports", tag = "reports", params(Pages),
    responses((status = 200, description = "a page", body = ReportList), (status = 422, description = "a value cannot be used")))]
pub async fn list(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    QueryParameters(pages): QueryParameters<Pages>,
) -> Result<Json<ReportList>, Problem> {
    let limit = pages.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::value("limit", "limit", format!("1 to {PAGE_MAX}")));
    }
    let states = ["open", "unblocked", "kept", "duplicate", "review"];
    if pages
        .state
        .as_deref()
        .is_some_and(|state| !states.contains(&state))
    {
        return Err(Problem::value(
            "state",
            "state",
            format!("one of {}", states.join(", ")),
        ));
    }
    let page = context
        .control
        .store
        .reports(
            pages.state.as_deref(),
            pages.cursor,
            limit,
            Timestamp::now(),
        )
        .await?;
    Ok(Json(ReportList {
        next: page.next,
        reports: page.reports,
    }))
}

/// One report.
#[utoipa::path(get, path = "/v1/reports/{report}", operation_id = "get_report", tag = "reports", params(("report" = String, Path)),
    responses((status = 200, description = "the report", body = Report), (status = 404, description = "there is none")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    Segments(id): Segments<String>,
) -> Result<Json<Report>, Problem> {
    let report = context
        .control
        .store
        .report(&id, Timestamp::now())
        .await?
        .ok_or_else(unknown_report)?;
    Ok(Json(report))
}

fn unknown_report() -> Problem {
    Problem::not_found("unknown_report", "there is no such report")
}

/// Checks that an override may cover the reported name.
async fn check_override(context: &Context, id: &str) -> Result<(), Problem> {
    let report = context
        .control
        .store
        .report(id, Timestamp::now())
        .await?
        .ok_or_else(unknown_report)?;
    let name = own_name(&report.name)?;
    refuse_ordered(context, name.borrow())?;
    if is_at_or_above_suffix(name.borrow()) {
        let detail =
            format!("{name} is a public suffix, or above one: all below it belongs to strangers");
        return Err(Problem::value("override", "public_suffix", detail));
    }
    Ok(())
}

/// Answers a report, also repeatedly. An override applies from the next query on, whatever feeds
/// list. When it ends, the report is due for review.
#[utoipa::path(put, path = "/v1/reports/{report}", operation_id = "put_report", tag = "reports", params(("report" = String, Path)), request_body = OutcomeBody,
    responses((status = 200, description = "answered", body = Report), (status = 404, description = "there is none"),
        (status = 409, description = "blocked by order: `mandatory`"), (status = 422, description = "a value cannot be used, or covers too much")))]
pub async fn put(
    State(context): State<Arc<Context>>,
    Operator(by): Operator,
    Segments(id): Segments<String>,
    Body(body): Body<OutcomeBody>,
) -> Result<Json<Report>, Problem> {
    if !ReportOutcome::ALL
        .iter()
        .any(|(_, word)| *word == body.outcome)
    {
        return Err(Problem::value(
            "outcome",
            "outcome",
            "one of unblocked, kept, duplicate",
        ));
    }
    check_length("note", body.note.as_ref(), TEXT_OCTETS_MAX)?;
    if let Some(OverrideBody { days }) = &body.lifted {
        if body.outcome != "unblocked" {
            return Err(Problem::value(
                "override",
                "override",
                "an override comes with the outcome unblocked",
            ));
        }
        if !(1..=OVERRIDE_DAYS_MAX).contains(days) {
            return Err(Problem::value(
                "override.days",
                "limit",
                format!("1 to {OVERRIDE_DAYS_MAX}"),
            ));
        }
        check_override(&context, &id).await?;
    }
    let OutcomeBody {
        outcome,
        note,
        lifted,
    } = body;
    let done = in_turn(&context, move |context| async move {
        let now = Timestamp::now();
        let until = lifted
            .map(|OverrideBody { days }| now + SignedDuration::from_hours(24 * i64::from(days)));
        let closing = ReportDecision {
            outcome,
            note: note.map(Text::into_string),
            override_until: until,
        };
        let due = until.map(|until| until + context.reports.answer_within);
        let report = context
            .control
            .store
            .close_report(&by, &id, &closing, due, now)
            .await?
            .ok_or_else(unknown_report)?;
        context
            .control
            .mandates
            .lift(context.control.store.overrides().await?, now);
        Ok(report)
    });
    Ok(Json(done.await?))
}

/// The number of reports in a month, their outcomes, and how long they took. As CSV if the request
/// accepts `text/csv`.
#[utoipa::path(get, path = "/v1/reports/export", operation_id = "get_report_export", tag = "reports", params(Month),
    responses((status = 200, description = "the figures", body = ReportExport), (status = 422, description = "a value cannot be used")))]
pub async fn export(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    QueryParameters(Month { month }): QueryParameters<Month>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wrong = || {
        Problem::value(
            "month",
            "month",
            format!("{month:?} is no month such as 2026-11"),
        )
    };
    let first: Date = format!("{month}-01")
        .parse()
        .ok()
        .filter(|_| month.len() == 7)
        .ok_or_else(wrong)?;
    let at = |date: Date| {
        date.to_zoned(TimeZone::UTC)
            .map(|zoned| zoned.timestamp())
            .map_err(|_| wrong())
    };
    let from = at(first)?;
    let to = at(first.checked_add(1.month()).map_err(|_| wrong())?)?;
    let ages = context
        .control
        .store
        .report_ages(from, to, Timestamp::now())
        .await?;
    let export = ReportExport::of(month, &ages);
    if headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/csv"))
    {
        return Ok((
            [(header::CONTENT_TYPE, "text/csv; charset=utf-8")],
            export.csv(),
        )
            .into_response());
    }
    Ok(Json(export).into_response())
}

/// The reports of a month. Times are in seconds.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ReportExport {
    /// The longest time to an answer.
    answered_after_max_s: Option<i64>,
    /// The median time to an answer.
    answered_after_median_s: Option<i64>,
    /// How many had been reported before.
    duplicate: usize,
    /// How many stayed blocked.
    kept: usize,
    /// How many were answered, or still wait, later than they were to be.
    late: usize,
    /// The month.
    month: String,
    /// How many wait for an answer.
    open: usize,
    /// The longest time since a waiting one came.
    open_since_max_s: Option<i64>,
    /// The median time since waiting ones came.
    open_since_median_s: Option<i64>,
    /// How many came.
    received: usize,
    /// How many were unblocked.
    unblocked: usize,
}

impl ReportExport {
    fn of(month: String, ages: &[ReportAge]) -> Self {
        let count = |outcome: Option<ReportOutcome>| {
            ages.iter().filter(|age| age.outcome == outcome).count()
        };
        let sorted = |is_closed: bool| {
            let mut sorted: Vec<i64> = ages
                .iter()
                .filter(|age| age.outcome.is_some() == is_closed)
                .map(|age| age.age_s)
                .collect();
            sorted.sort_unstable();
            sorted
        };
        let closed = sorted(true);
        let open = sorted(false);
        let median = |sorted: &[i64]| sorted.get(sorted.len() / 2).copied();
        Self {
            answered_after_max_s: closed.last().copied(),
            answered_after_median_s: median(&closed),
            duplicate: count(Some(ReportOutcome::Duplicate)),
            kept: count(Some(ReportOutcome::Kept)),
            late: ages.iter().filter(|age| age.is_late).count(),
            month,
            open: count(None),
            open_since_max_s: open.last().copied(),
            open_since_median_s: median(&open),
            received: ages.len(),
            unblocked: count(Some(ReportOutcome::Unblocked)),
        }
    }

    fn csv(&self) -> String {
        let seconds = |time: Option<i64>| time.map(|time| time.to_string()).unwrap_or_default();
        let columns = [
            ("month", self.month.clone()),
            ("received", self.received.to_string()),
            ("open", self.open.to_string()),
            ("unblocked", self.unblocked.to_string()),
            ("kept", self.kept.to_string()),
            ("duplicate", self.duplicate.to_string()),
            ("late", self.late.to_string()),
            (
                "answered_after_median_s",
                seconds(self.answered_after_median_s),
            ),
            ("answered_after_max_s", seconds(self.answered_after_max_s)),
            ("open_since_median_s", seconds(self.open_since_median_s)),
            ("open_since_max_s", seconds(self.open_since_max_s)),
        ];
        let (names, values): (Vec<&str>, Vec<String>) = columns.into_iter().unzip();
        format!("{}\r\n{}\r\n", names.join(","), values.join(","))
    }
}
