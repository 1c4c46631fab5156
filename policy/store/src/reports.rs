//! Public reports of names blocked by mistake: tickets with a due time, and their outcomes.

use jiff::Timestamp;
use policy::name::Name;
use serde::Serialize;
use serde_json::json;
use sqlx::{FromRow, sqlite::SqliteRow};

use crate::{
    Author, Store,
    audit::{AuditEntry, append},
    error::{StoreError, step},
    time::second,
};

/// The most open reports, so that a flood of the public form does not fill the disk.
pub const REPORTS_OPEN_MAX: u32 = 100_000;

/// A report of a name that is blocked by mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Report {
    /// The identifier.
    pub id: String,
    /// The name.
    pub name: String,
    /// Why it should not be blocked.
    pub reason: String,
    /// The contact for an answer.
    pub contact: Option<String>,
    /// When the report came, RFC 3339.
    pub at: Timestamp,
    /// When it is to be answered, RFC 3339: again, once an override has ended.
    pub due_at: Timestamp,
    /// `open`, `unblocked`, `kept`, `duplicate`, or `review` once an override has ended.
    #[cfg_attr(feature = "schema", schema(schema_with = state_words))]
    pub state: &'static str,
    /// The note of the operator.
    pub note: Option<String>,
    /// When it was answered, RFC 3339.
    pub closed_at: Option<Timestamp>,
    /// The key that answered.
    pub closed_by: Option<String>,
    /// Until when the name is never blocked, RFC 3339.
    pub override_until: Option<Timestamp>,
}

/// The answer to a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportDecision {
    /// `unblocked`, `kept` or `duplicate`.
    pub outcome: String,
    /// The operator's note.
    pub note: Option<String>,
    /// The end of the override: the name is not blocked until then.
    pub override_until: Option<Timestamp>,
}

/// A page of reports, newest first.
#[derive(Debug)]
pub struct ReportPage {
    pub reports: Vec<Report>,
    /// The position of the next page, if there is more.
    pub next: Option<i64>,
}

/// The age of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportAge {
    /// Seconds until its answer, or until now.
    pub age_s: i64,
    /// The outcome, if it was answered.
    pub outcome: Option<ReportOutcome>,
    /// Whether the answer came after the due time, or has not come although it is due.
    pub is_late: bool,
}

/// The outcome of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ReportOutcome {
    Unblocked,
    Kept,
    Duplicate,
}

#[cfg(feature = "schema")]
fn state_words() -> utoipa::openapi::Object {
    let outcomes = ReportOutcome::ALL.map(|(_, word)| word);
    policy::schema::words(
        "Whether it was answered, and how. `review`: its override has ended.",
        ["open", "review"].into_iter().chain(outcomes),
    )
}

#[cfg(feature = "schema")]
impl utoipa::PartialSchema for ReportOutcome {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        policy::schema::words(
            "How a report was answered.",
            Self::ALL.map(|(_, word)| word),
        )
        .into()
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for ReportOutcome {}

impl ReportOutcome {
    /// All outcomes, with their words.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Unblocked, "unblocked"),
        (Self::Kept, "kept"),
        (Self::Duplicate, "duplicate"),
    ];

    fn of(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, word)| *word == text)
            .map(|(outcome, _)| *outcome)
    }
}

#[derive(FromRow)]
struct Row {
    sequence: i64,
    id: String,
    name: String,
    reason: String,
    contact: Option<String>,
    at: i64,
    due: i64,
    outcome: Option<String>,
    note: Option<String>,
    closed_at: Option<i64>,
    closed_by: Option<String>,
    override_until: Option<i64>,
}

impl Row {
    fn report(self, now: Timestamp) -> Report {
        let word = self
            .outcome
            .as_deref()
            .and_then(|text| ReportOutcome::ALL.iter().find(|(_, word)| *word == text));
        let is_over = self
            .override_until
            .is_some_and(|until| until <= now.as_second());
        let state = match word {
            None => "open",
            Some((ReportOutcome::Unblocked, _)) if is_over => "review",
            Some((_, word)) => word,
        };
        Report {
            id: self.id,
            name: self.name,
            reason: self.reason,
            contact: self.contact,
            at: second(self.at),
            due_at: second(self.due),
            state,
            note: self.note,
            closed_at: self.closed_at.map(second),
            closed_by: self.closed_by,
            override_until: self.override_until.map(second),
        }
    }
}

impl Store {
    /// Opens a ticket; `None` where [`REPORTS_OPEN_MAX`] are open.
    pub async fn add_report(
        &self,
        name: &Name,
        reason: &str,
        contact: Option<&str>,
        at: Timestamp,
        due: Timestamp,
    ) -> Result<Option<Report>, StoreError> {
        let mut transaction = self.begin().await?;
        let count = sqlx::query_as("SELECT count(*) FROM report WHERE outcome IS NULL")
            .fetch_one(&mut *transaction)
            .await;
        let (open,): (i64,) = count.map_err(step("counting reports"))?;
        if open >= i64::from(REPORTS_OPEN_MAX) {
            return Ok(None);
        }
        let insert = "INSERT INTO report (id, name, reason, contact, at, due) VALUES (?, ?, ?, ?, ?, ?) RETURNING *";
        let insert = sqlx::query_as(insert)
            .bind(crate::secret::random_hex(8)?)
            .bind(name.to_string())
            .bind(reason)
            .bind(contact);
        let insert = insert.bind(at.as_second()).bind(due.as_second());
        let row: Row = insert
            .fetch_one(&mut *transaction)
            .await
            .map_err(step("storing a report"))?;
        transaction.commit().await?;
        Ok(Some(row.report(at)))
    }

    /// Reports, newest first, before `before`; with a state, only those in it.
    pub async fn reports(
        &self,
        state: Option<&str>,
        before: Option<i64>,
        limit: u32,
        now: Timestamp,
    ) -> Result<ReportPage, StoreError> {
        let of_state = match state {
            None => "TRUE",
            Some("open") => "outcome IS NULL",
            Some("review") => "outcome = 'unblocked' AND override_until <= ?3",
            Some("unblocked") => {
                "outcome = 'unblocked' AND (override_until IS NULL OR override_until > ?3)"
            }
            Some("kept") => "outcome = 'kept'",
            _ => "outcome = 'duplicate'",
        };
        let select = format!(
            "SELECT * FROM report WHERE sequence < ?1 AND ?3 > 0 AND {of_state} ORDER BY sequence DESC LIMIT ?2"
        );
        let select = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(select));
        let select = select
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::from(limit) + 1)
            .bind(now.as_second());
        let mut rows = select
            .fetch_all(&self.pool)
            .await
            .map_err(step("listing reports"))?;
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| has_more).map(|row| row.sequence);
        Ok(ReportPage {
            reports: rows.into_iter().map(|row| row.report(now)).collect(),
            next,
        })
    }

    pub async fn report(&self, id: &str, now: Timestamp) -> Result<Option<Report>, StoreError> {
        let row: Option<Row> = sqlx::query_as("SELECT * FROM report WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(step("reading a report"))?;
        Ok(row.map(|row| row.report(now)))
    }

    /// Answers a report, also repeatedly, and writes that to the audit in one transaction. `due` is
    /// the time of the review when an override ends.
    pub async fn close_report(
        &self,
        by: &Author,
        id: &str,
        closing: &ReportDecision,
        due: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<Report>, StoreError> {
        let mut transaction = self.begin().await?;
        let before = sqlx::query_as("SELECT * FROM report WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut *transaction)
            .await;
        let before: Option<Row> = before.map_err(step("reading a report"))?;
        let Some(before) = before.map(|row| row.report(now)) else {
            return Ok(None);
        };
        let update =
            "UPDATE report SET outcome = ?2, note = ?3, closed_at = ?4, closed_by = ?5, override_until = ?6, due = coalesce(?7, due)
            WHERE id = ?1 RETURNING *";
        let update = sqlx::query_as(update)
            .bind(id)
            .bind(&closing.outcome)
            .bind(&closing.note)
            .bind(now.as_second())
            .bind(&by.actor);
        let update = update
            .bind(closing.override_until.map(Timestamp::as_second))
            .bind(due.map(Timestamp::as_second));
        let after: Row = update
            .fetch_one(&mut *transaction)
            .await
            .map_err(step("answering a report"))?;
        let after = after.report(now);
        // The audit is never erased, so it contains neither the sender nor the text of the report.
        let told = |report: &Report| json!({ "name": report.name, "state": report.state, "override_until": report.override_until });
        let subject = format!("report:{id}");
        let was = told(&before);
        let is = told(&after);
        append(
            &mut transaction,
            by,
            &AuditEntry {
                action: "answer",
                subject: &subject,
                before: Some(&was),
                after: Some(&is),
            },
        )
        .await?;
        transaction.commit().await?;
        Ok(Some(after))
    }

    /// Deletes the contacts of reports that were answered before this time.
    pub async fn forget_reporters(&self, before: Timestamp) -> Result<(), StoreError> {
        let update = sqlx::query(
            "UPDATE report SET contact = NULL WHERE contact IS NOT NULL AND closed_at < ?",
        )
        .bind(before.as_second());
        self.database
            .execute(update, "forgetting who reported")
            .await
            .map(drop)
    }

    /// Names that an accepted report keeps unblocked, each from one time until another.
    pub async fn overrides(&self) -> Result<Vec<(Name, (Timestamp, Timestamp))>, StoreError> {
        let select = "SELECT name, min(closed_at), max(override_until) FROM report
            WHERE override_until IS NOT NULL AND closed_at IS NOT NULL GROUP BY name";
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(select)
            .fetch_all(&self.pool)
            .await
            .map_err(step("reading the overrides"))?;
        let lifted = |(name, from, until): (String, i64, i64)| {
            Some((Name::parse(&name).ok()?, (second(from), second(until))))
        };
        Ok(rows.into_iter().filter_map(lifted).collect())
    }

    /// The reports sent between two times, with their ages.
    pub async fn report_ages(
        &self,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<ReportAge>, StoreError> {
        let select =
            sqlx::query("SELECT at, due, outcome, closed_at FROM report WHERE at >= ? AND at < ?");
        let rows = select
            .bind(from.as_second())
            .bind(to.as_second())
            .fetch_all(&self.pool)
            .await
            .map_err(step("reading the reports"))?;
        let age = |row: &SqliteRow| -> Result<ReportAge, sqlx::Error> {
            use sqlx::Row as _;
            let at: i64 = row.try_get("at")?;
            let due: i64 = row.try_get("due")?;
            let outcome: Option<String> = row.try_get("outcome")?;
            let closed: Option<i64> = row.try_get("closed_at")?;
            let end = closed.unwrap_or(now.as_second());
            Ok(ReportAge {
                age_s: (end - at).max(0),
                outcome: outcome.as_deref().and_then(ReportOutcome::of),
                is_late: end > due,
            })
        };
        rows.iter()
            .map(age)
            .collect::<Result<_, _>>()
            .map_err(step("reading the reports"))
    }
}
