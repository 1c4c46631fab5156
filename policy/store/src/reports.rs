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

/// The most open reports: a flood of the public form does not fill the disk.
pub const REPORTS_OPEN_MAX: u32 = 100_000;

/// A report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its identifier.
    pub id: String,
    /// What is said to be blocked by mistake.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Where who sent it is reached.
    pub contact: Option<String>,
    /// When it came.
    pub at: Timestamp,
    /// When it is to be answered: again, where an override has run out.
    pub due_at: Timestamp,
    /// `open`, `unblocked`, `kept`, `duplicate`, or `review` where an override has run out.
    pub state: &'static str,
    /// The note of the operator who answered.
    pub note: Option<String>,
    /// When it was answered.
    pub closed_at: Option<Timestamp>,
    /// Who answered.
    pub closed_by: Option<String>,
    /// Until when the name is never blocked.
    pub override_until: Option<Timestamp>,
}

/// How a report is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportDecision {
    /// `unblocked`, `kept` or `duplicate`.
    pub outcome: String,
    /// A word about it.
    pub note: Option<String>,
    /// Until when the name is never blocked.
    pub override_until: Option<Timestamp>,
}

/// A page of reports, the newest first.
#[derive(Debug)]
pub struct ReportPage {
    /// The reports.
    pub reports: Vec<Report>,
    /// From where the next page goes on, where there is more.
    pub next: Option<i64>,
}

/// The reports of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportAge {
    /// Seconds from its coming to its answer, or to now.
    pub age_s: i64,
    /// Whether it was answered, and how.
    pub outcome: Option<ReportOutcome>,
    /// Whether its answer came, or is, later than it was to be.
    pub is_late: bool,
}

/// How a report can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ReportOutcome {
    Unblocked,
    Kept,
    Duplicate,
}

impl ReportOutcome {
    /// All of them, with their words.
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
    /// Opens a ticket; none where too many wait.
    ///
    /// # Errors
    /// See [`StoreError`].
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

    /// Reports, the newest first, from behind `before`; only those in a state where one is given.
    ///
    /// # Errors
    /// See [`StoreError`].
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

    /// One report.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn report(&self, id: &str, now: Timestamp) -> Result<Option<Report>, StoreError> {
        let row: Option<Row> = sqlx::query_as("SELECT * FROM report WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(step("reading a report"))?;
        Ok(row.map(|row| row.report(now)))
    }

    /// Answers a report, also again, and writes that down in one transaction. What is due when an
    /// override runs out is `due`.
    ///
    /// # Errors
    /// See [`StoreError`].
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

    /// Forgets where those are reached whose reports were answered before this time.
    ///
    /// # Errors
    /// See [`StoreError`].
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

    /// Names that an accepted report keeps unblocked, each with the times from when and until when.
    ///
    /// # Errors
    /// See [`StoreError`].
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

    /// The reports that came between two times, with their ages.
    ///
    /// # Errors
    /// See [`StoreError`].
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
