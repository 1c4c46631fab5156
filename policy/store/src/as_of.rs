//! Households and mandates as of an earlier time: the current documents, with every later change in
//! the audit reverted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use policy::{
    lists::mandates::{Mandate, MandateDocument},
    rules::household::{Household, Id},
};
use serde_json::{Map, Value};
use sqlx::{Row as _, SqliteConnection};

use crate::{
    Store,
    audit_cut::cut,
    error::{StoreError, step},
};

/// Rows of the audit that are reverted at a time.
const BATCH: u32 = 500;
/// The most rows that are reverted for one answer: each is read and parsed, and one of the few
/// connections for reading is taken meanwhile.
const CHANGES_MAX: u32 = 20_000;
/// The prefix of a mandate's identifier in the subject of a row, and the first text after all such
/// subjects.
const MANDATE: &str = "mandate:";
const BEHIND_MANDATES: &str = "mandate;";

/// Refuses a time before the last row that was removed from the audit.
async fn check_kept(connection: &mut SqliteConnection, at: Timestamp) -> Result<(), StoreError> {
    match cut(connection).await? {
        Some(cut) if at < cut.at => Err(StoreError::Archived { until: cut.at }),
        _ => Ok(()),
    }
}

impl Store {
    /// All mandates as they were stored at a time, in force or not. Unreadable ones are left out.
    pub async fn mandates_at(&self, at: Timestamp) -> Result<Vec<Mandate>, StoreError> {
        let mut reading = self.pool.begin().await.map_err(step("reading the past"))?;
        check_kept(&mut reading, at).await?;
        let now = sqlx::query_as("SELECT id, document FROM mandate")
            .fetch_all(&mut *reading)
            .await;
        let now: Vec<(String, Option<String>)> = now.map_err(step("reading mandates"))?;
        let mut documents: BTreeMap<String, Option<String>> = now.into_iter().collect();
        let rows = sqlx::query_as(
            "SELECT at, subject, before FROM audit WHERE subject >= ? AND subject < ? ORDER BY sequence DESC",
        );
        let rows = rows
            .bind(MANDATE)
            .bind(BEHIND_MANDATES)
            .fetch_all(&mut *reading)
            .await;
        let rows: Vec<(String, String, Option<String>)> =
            rows.map_err(step("reading the audit"))?;
        for (done, subject, before) in rows {
            // A row holds the whole mandate before the change.
            if done.parse::<Timestamp>().is_ok_and(|done| done > at)
                && let Some(id) = subject.strip_prefix(MANDATE)
            {
                documents.insert(id.to_owned(), before);
            }
        }
        let read = |(id, text): (String, Option<String>)| {
            let document: MandateDocument = serde_json::from_str(&text?).ok()?;
            Mandate::read(id.parse().ok()?, document).ok()
        };
        Ok(documents.into_iter().filter_map(read).collect())
    }

    /// The household as of a time; `None` if it did not exist. Changes before the beginning of the
    /// audit cannot be reverted.
    ///
    /// # Errors
    /// [`StoreError::TooLongAgo`] where [`CHANGES_MAX`] changes or more were made since then.
    pub async fn household_at(
        &self,
        id: &Id,
        at: Timestamp,
    ) -> Result<Option<Household>, StoreError> {
        // One transaction: the document and the rows about it are of one moment.
        let mut reading = self.pool.begin().await.map_err(step("reading the past"))?;
        check_kept(&mut reading, at).await?;
        let now = sqlx::query("SELECT document FROM household WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&mut *reading)
            .await;
        let now: Option<String> = now
            .map_err(step("reading a household"))?
            .and_then(|row| row.get("document"));
        let unreadable = |error: serde_json::Error| StoreError::Document {
            household: id.to_string(),
            source: error.into(),
        };
        let mut document: Option<Value> = now
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(unreadable)?;
        let subject = format!("household:{id}");
        let mut below = i64::MAX;
        let mut reverted = 0;
        'rows: loop {
            let rows = sqlx::query(
                "SELECT sequence, at, before, after FROM audit WHERE subject = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?",
            );
            let rows = rows
                .bind(&subject)
                .bind(below)
                .bind(BATCH)
                .fetch_all(&mut *reading)
                .await
                .map_err(step("reading the audit"))?;
            for row in &rows {
                below = row.get("sequence");
                let done: Timestamp =
                    row.get::<String, _>("at")
                        .parse()
                        .map_err(|error: jiff::Error| StoreError::Document {
                            household: id.to_string(),
                            source: error.into(),
                        })?;
                if done <= at {
                    break 'rows;
                }
                let read = |column: &str| -> Result<Option<Value>, StoreError> {
                    row.get::<Option<String>, _>(column)
                        .map(|text| serde_json::from_str(&text))
                        .transpose()
                        .map_err(unreadable)
                };
                document = taken_back(document, read("before")?, read("after")?);
            }
            if rows.len() < BATCH as usize {
                break;
            }
            reverted += BATCH;
            if reverted >= CHANGES_MAX {
                return Err(StoreError::TooLongAgo {
                    changes: CHANGES_MAX,
                });
            }
        }
        document
            .map(serde_json::from_value)
            .transpose()
            .map_err(unreadable)
    }
}

/// Reverts a change: a creation gives nothing, a deletion the document in the row, and any other
/// change puts back the differences.
fn taken_back(
    document: Option<Value>,
    before: Option<Value>,
    after: Option<Value>,
) -> Option<Value> {
    match (document, before, after) {
        (_, None, _) => None,
        (
            Some(Value::Object(mut document)),
            Some(Value::Object(before)),
            Some(Value::Object(after)),
        ) => {
            put_back(&mut document, before, &after);
            Some(Value::Object(document))
        }
        (_, before, _) => before,
    }
}

fn put_back(
    document: &mut Map<String, Value>,
    before: Map<String, Value>,
    after: &Map<String, Value>,
) {
    document.retain(|key, _| before.contains_key(key) || !after.contains_key(key));
    for (key, was) in before {
        match (document.get_mut(&key), was, after.get(&key)) {
            (Some(Value::Object(inner)), Value::Object(was), Some(Value::Object(is))) => {
                put_back(inner, was, is)
            }
            (_, was, _) => drop(document.insert(key, was)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Rows of a household that was made again and again.
    const ROWS: &str = "INSERT INTO audit (sequence, at, actor, role, action, subject, before, after, previous, hash)
        WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
        SELECT n, '2026-11-30T10:00:00Z', 'key:a', 'parent', 'change', 'household:home', NULL, '{\"version\":1}', x'', x'' FROM number";

    #[tokio::test]
    async fn a_time_that_is_too_many_changes_ago_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/store.db", folder.path().display());
        let home: Id = "home".parse().unwrap();
        let past: Timestamp = "2026-11-30T09:00:00Z".parse().unwrap();
        for (rows, is_told) in [(CHANGES_MAX - 1, true), (CHANGES_MAX, false)] {
            let file = url.replace(".db", &format!("-{rows}.db"));
            let store = Store::open(&file).await.unwrap();
            let insert = sqlx::query(ROWS).bind(rows);
            store
                .database
                .execute(insert, "rows of a test")
                .await
                .unwrap();
            let then = store.household_at(&home, past).await;
            match then {
                Ok(then) => assert!(is_told && then.is_none()),
                Err(StoreError::TooLongAgo { changes }) => {
                    assert!(!is_told && changes == CHANGES_MAX);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn additions_removals_and_changes_are_reverted() {
        let now = json!({ "a": { "x": 2, "new": 1, "same": 0 }, "made": {}, "list": [1, 2] });
        let before = json!({ "a": { "x": 1, "gone": { "deep": true } }, "list": [1], "away": 7 });
        let after = json!({ "a": { "x": 2, "new": 1 }, "made": {}, "list": [1, 2] });
        let was = taken_back(Some(now), Some(before), Some(after)).unwrap();
        assert_eq!(
            was,
            json!({ "a": { "x": 1, "same": 0, "gone": { "deep": true } }, "list": [1], "away": 7 })
        );
        assert_eq!(
            taken_back(Some(was), None, Some(json!({}))),
            None,
            "it was not made yet"
        );
        assert_eq!(
            taken_back(None, Some(json!({ "id": "home" })), None),
            Some(json!({ "id": "home" })),
            "it was not deleted yet"
        );
    }
}
