//! Households: read and listed. `household_change` changes one.

use std::panic::resume_unwind;

use policy::rules::household::{Household, Id};
use sqlx::{Row, sqlite::SqliteRow};

use crate::{
    Store,
    error::{StoreError, step},
};

/// Documents with more octets take about a millisecond or more to read, so a thread of its own does
/// it.
const READ_INLINE_OCTETS_MAX: usize = 16 << 10;

/// A page of households.
#[derive(Debug)]
pub struct StoredHouseholds {
    /// The households, by identifier.
    pub households: Vec<Household>,
    /// The last identifier of this page, if there are more.
    pub next: Option<Id>,
}

/// The position in a scan of all households. Default: the beginning.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScanPosition(i64);

/// A batch of all households as stored. Parsing them is left to another thread.
#[derive(Debug)]
pub struct HouseholdBatch {
    documents: Vec<(String, String)>,
    /// The position of the next batch, if there may be more.
    pub next: Option<ScanPosition>,
}

impl HouseholdBatch {
    /// Parses the documents. One that cannot be read is [`StoreError::Document`], so that the other
    /// households keep their rules.
    pub fn households(&self) -> impl Iterator<Item = Result<Household, StoreError>> {
        self.documents.iter().map(|(id, text)| parse(id, text))
    }
}

/// A document as it is stored, not read yet.
#[derive(Debug)]
pub(crate) struct StoredDocument {
    /// 0 where the household never existed.
    pub(crate) version: i64,
    /// `None` where the household does not exist now.
    pub(crate) text: Option<String>,
}

impl StoredDocument {
    pub(crate) fn octets(&self) -> usize {
        self.text.as_ref().map_or(0, String::len)
    }

    pub(crate) fn parse(&self, id: &Id) -> Result<Option<Household>, StoreError> {
        self.text
            .as_deref()
            .map(|text| parse(id.as_str(), text))
            .transpose()
    }

    /// Parses the document; a long one on a thread of its own.
    pub(crate) async fn read(self, id: &Id) -> Result<Option<Household>, StoreError> {
        if self.octets() <= READ_INLINE_OCTETS_MAX {
            return self.parse(id);
        }
        let id = id.clone();
        on_a_thread(move || self.parse(&id)).await?
    }
}

/// Does work that takes long on a thread of its own, so that it holds up no other task.
///
/// # Errors
/// The program ends. A panic goes on in the caller.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(step("working on a household")(sqlx::Error::PoolClosed)),
        },
    }
}

const LIST: &str = "SELECT id, document FROM household WHERE document IS NOT NULL AND id > ?1 ORDER BY id LIMIT ?2";
// The plus keeps SQLite from walking all identifiers in order, where the few rows with this
// reference can be sorted.
const FIND: &str = "SELECT id, document FROM household WHERE document IS NOT NULL AND +id > ?1 AND external_ref = ?3 ORDER BY +id LIMIT ?2";

// In the order of the file: in the order of identifiers, reading a million takes three times as
// long.
const ALL: &str = "SELECT rowid, id, document FROM household WHERE document IS NOT NULL AND rowid > ?1 ORDER BY rowid LIMIT ?2";

fn document(row: &SqliteRow) -> Result<Household, StoreError> {
    let read = |column: &str| {
        row.try_get::<String, _>(column)
            .map_err(step("reading a household"))
    };
    parse(&read("id")?, &read("document")?)
}

pub(crate) fn parse(id: &str, text: &str) -> Result<Household, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Document {
        household: id.to_owned(),
        source: error.into(),
    })
}

impl Store {
    pub async fn household(&self, id: &Id) -> Result<Option<Household>, StoreError> {
        self.stored(id).await?.read(id).await
    }

    /// As [`Self::stored`], for a change, which is not begun in a store that is gone.
    pub(crate) async fn stored_for_change(&self, id: &Id) -> Result<StoredDocument, StoreError> {
        self.database.condition().check()?;
        self.stored(id).await
    }

    /// The document of a household as it is stored, with its version.
    pub(crate) async fn stored(&self, id: &Id) -> Result<StoredDocument, StoreError> {
        let select = sqlx::query_as("SELECT version, document FROM household WHERE id = ?");
        let row: Option<(i64, Option<String>)> = select
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(step("reading a household"))?;
        let (version, text) = row.unwrap_or_default();
        Ok(StoredDocument { version, text })
    }

    /// Households in the order of their identifiers, after `after`; with `external_ref`, only those
    /// with this reference.
    pub async fn households(
        &self,
        external_ref: Option<&str>,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<StoredHouseholds, StoreError> {
        // Two statements, because an OR would prevent the use of either index.
        let after = after.map_or("", Id::as_str);
        let limit_and_one = i64::from(limit) + 1;
        let rows = match external_ref {
            None => sqlx::query(LIST).bind(after).bind(limit_and_one),
            Some(external_ref) => sqlx::query(FIND)
                .bind(after)
                .bind(limit_and_one)
                .bind(external_ref),
        };
        let rows = rows
            .fetch_all(&self.pool)
            .await
            .map_err(step("listing households"))?;
        let has_more = rows.len() > limit as usize;
        let households = rows
            .iter()
            .take(limit as usize)
            .map(document)
            .collect::<Result<Vec<_>, _>>()?;
        let next = has_more
            .then(|| households.last().map(|household| household.id.clone()))
            .flatten();
        Ok(StoredHouseholds { households, next })
    }

    /// The next batch of all households, in the order of the file. For the start.
    ///
    /// # Errors
    /// The database cannot be read. A document that cannot be read is reported by
    /// [`HouseholdBatch::households`].
    pub async fn batch(
        &self,
        from: ScanPosition,
        limit: u32,
    ) -> Result<HouseholdBatch, StoreError> {
        let rows: Vec<(i64, String, String)> = sqlx::query_as(ALL)
            .bind(from.0)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(step("reading all households"))?;
        let next = rows
            .last()
            .filter(|_| rows.len() == limit as usize)
            .map(|(rowid, ..)| ScanPosition(*rowid));
        Ok(HouseholdBatch {
            documents: rows.into_iter().map(|(_, id, text)| (id, text)).collect(),
            next,
        })
    }
}
