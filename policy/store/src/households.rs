//! Households: read, listed, and changed one transaction at a time.

use std::convert::Infallible;

use ipnet::IpNet;
use policy::rules::household::{Household, Id};
use serde_json::Value;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    Author, Key, Store,
    audit::{AuditEntry, append},
    choices,
    error::{ChangeError, StoreError, step},
    keys::revoke_lost,
    notices::{self, NewNotice},
    pending_erasures::{self, Erasure},
    requests::{self, AccessRequest, RequestAnswer, RequestState},
};

/// A page of households, and from where the next one goes on.
#[derive(Debug)]
pub struct StoredHouseholds {
    /// The households, by identifier.
    pub households: Vec<Household>,
    /// The last identifier of this page, where there is more.
    pub next: Option<Id>,
}

/// Where a reading of all households stands; the default is the beginning.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScanPosition(i64);

/// Some of all households, as they are stored: reading them into documents is work for another
/// thread.
#[derive(Debug)]
pub struct HouseholdBatch {
    documents: Vec<(String, String)>,
    /// From where the next one goes on, where there may be more.
    pub next: Option<ScanPosition>,
}

impl HouseholdBatch {
    /// The documents. A document that cannot be read is [`StoreError::Document`], so that the other
    /// households keep their rules.
    pub fn households(&self) -> impl Iterator<Item = Result<Household, StoreError>> {
        self.documents.iter().map(|(id, text)| parse(id, text))
    }
}

/// What a change makes of a household, and what belongs to it.
#[derive(Debug, Clone, Default)]
pub struct HouseholdChange {
    /// The household as it shall be; none takes it away.
    pub household: Option<Household>,
    /// What the holder of its account must learn of.
    pub notices: Vec<NewNotice>,
    /// What becomes of what was counted of it.
    pub duties: Vec<Erasure>,
    /// The request that the change allows.
    pub allows: Option<(String, RequestAnswer)>,
}

/// What a change leaves behind.
#[derive(Debug, Clone)]
pub struct HouseholdChanged {
    /// The household as it is now; none once it is deleted.
    pub household: Option<Household>,
    /// The version that the change made.
    pub version: u64,
    /// Whether the household was not there before.
    pub is_new: bool,
    /// The request that it allowed.
    pub allowed: Option<AccessRequest>,
}

const LIST: &str = "SELECT id, document FROM household WHERE document IS NOT NULL AND id > ?1 ORDER BY id LIMIT ?2";
// The plus keeps SQLite from walking all identifiers in order where the few with this reference can
// be sorted.
const FIND: &str = "SELECT id, document FROM household WHERE document IS NOT NULL AND +id > ?1 AND external_ref = ?3 ORDER BY +id LIMIT ?2";

// In the order in which they lie in the file: in the order of identifiers, reading a million takes
// three times as long.
const ALL: &str = "SELECT rowid, id, document FROM household WHERE document IS NOT NULL AND rowid > ?1 ORDER BY rowid LIMIT ?2";

fn document(row: &SqliteRow) -> Result<Household, StoreError> {
    let read = |column: &str| {
        row.try_get::<String, _>(column)
            .map_err(step("reading a household"))
    };
    parse(&read("id")?, &read("document")?)
}

fn parse(id: &str, text: &str) -> Result<Household, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Document {
        household: id.to_owned(),
        source: error.into(),
    })
}

impl Store {
    /// A household.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn household(&self, id: &Id) -> Result<Option<Household>, StoreError> {
        let row =
            sqlx::query("SELECT id, document FROM household WHERE id = ? AND document IS NOT NULL")
                .bind(id.as_str());
        row.fetch_optional(&self.pool)
            .await
            .map_err(step("reading a household"))?
            .as_ref()
            .map(document)
            .transpose()
    }

    /// Households in the order of their identifiers, from behind `after`; only those with
    /// `external_ref` where it is given.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn households(
        &self,
        external_ref: Option<&str>,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<StoredHouseholds, StoreError> {
        // Two statements, because an OR would keep either index from being used.
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

    /// The next of all households, in the order in which they lie in the file: for the start.
    ///
    /// # Errors
    /// See [`StoreError`]; a document that cannot be read is [`HouseholdBatch::households`]' to tell.
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

    /// Puts in households that are not there yet, each at version 1, all of them or none, in one
    /// transaction: how an operator's first million get in. Nothing of it is live before the next
    /// start.
    ///
    /// # Errors
    /// See [`ChangeError`]; a household that is there already is a version that is not 0. Nothing
    /// is changed then.
    pub async fn add_all(
        &self,
        households: impl IntoIterator<Item = Household>,
    ) -> Result<(), ChangeError<Infallible>> {
        let mut transaction = self.begin().await?;
        for mut household in households {
            let there = sqlx::query("SELECT version FROM household WHERE id = ?")
                .bind(household.id.as_str());
            if let Some(row) = there
                .fetch_optional(&mut *transaction)
                .await
                .map_err(step("reading a household"))?
            {
                let version: i64 = row
                    .try_get("version")
                    .map_err(step("reading a household"))?;
                return Err(ChangeError::Version {
                    expected: 0,
                    current: version.unsigned_abs(),
                });
            }
            household.version = 1;
            write(&mut transaction, &household.id, 1, Some(&household)).await?;
            for network in &household.networks {
                claim(&mut transaction, &household.id, *network).await?;
            }
        }
        Ok(transaction.commit().await?)
    }

    /// Changes one household, and writes down who did it, in one transaction. `change` gets what is
    /// there and returns what shall be there instead; it may run under no lock of the caller's,
    /// because all of it happens inside the database's write lock. The version rises with every
    /// change, also with one that changes nothing, so that an answer always names a version of its
    /// own.
    ///
    /// # Errors
    /// See [`ChangeError`]; nothing is changed then.
    pub async fn change<E>(
        &self,
        by: &Author,
        id: &Id,
        expected: Option<u64>,
        change: impl FnOnce(Option<Household>) -> Result<Option<Household>, E> + Send,
    ) -> Result<HouseholdChanged, ChangeError<E>> {
        let change = |before| {
            change(before).map(|household| HouseholdChange {
                household,
                ..HouseholdChange::default()
            })
        };
        self.change_with(by, id, expected, change).await
    }

    /// The same, with notices that are queued and a request that is answered in the same
    /// transaction.
    ///
    /// # Errors
    /// See [`ChangeError`]; nothing is changed then.
    pub async fn change_with<E>(
        &self,
        by: &Author,
        id: &Id,
        expected: Option<u64>,
        change: impl FnOnce(Option<Household>) -> Result<HouseholdChange, E> + Send,
    ) -> Result<HouseholdChanged, ChangeError<E>> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query("SELECT id, version, document FROM household WHERE id = ?")
            .bind(id.as_str());
        let row = row
            .fetch_optional(&mut *transaction)
            .await
            .map_err(step("reading a household"))?;
        let version = row
            .as_ref()
            .map_or(Ok(0), |row| row.try_get::<i64, _>("version"))
            .map_err(step("reading a household"))?;
        let is_there = row.as_ref().map_or(Ok(false), |row| {
            row.try_get::<Option<String>, _>("document")
                .map(|text| text.is_some())
        });
        let before = if is_there.map_err(step("reading a household"))? {
            row.as_ref().map(document).transpose()?
        } else {
            None
        };
        if let Some(expected) = expected {
            let current = before.as_ref().map_or(0, |household| household.version);
            if current != expected {
                return Err(ChangeError::Version { expected, current });
            }
        }
        let is_new = before.is_none();
        let told_before = before.as_ref().map(plain);
        let devices_before: Vec<Id> = before
            .iter()
            .flat_map(|household| household.devices.keys().cloned())
            .collect();
        let networks_before = before
            .as_ref()
            .map(|household| household.networks.clone())
            .unwrap_or_default();
        let HouseholdChange {
            household: mut after,
            notices,
            duties,
            allows,
        } = change(before).map_err(ChangeError::Refused)?;
        let version = version + 1;
        if let Some(after) = &mut after {
            after.version = version.unsigned_abs();
        }
        let networks_after = after
            .as_ref()
            .map(|household| household.networks.clone())
            .unwrap_or_default();
        write(&mut transaction, id, version, after.as_ref()).await?;
        for network in networks_before.difference(&networks_after) {
            let delete =
                sqlx::query("DELETE FROM network WHERE cidr = ?").bind(network.to_string());
            delete
                .execute(&mut *transaction)
                .await
                .map_err(step("releasing a network"))?;
        }
        for network in networks_after.difference(&networks_before) {
            claim(&mut transaction, id, *network).await?;
        }
        let has_device = |device: &Id| {
            after
                .as_ref()
                .is_some_and(|household| household.devices.contains_key(device))
        };
        if (after.is_none() && !is_new) || !devices_before.iter().all(has_device) {
            let is_lost = |key: &Key| {
                after.is_none()
                    || key
                        .device
                        .as_ref()
                        .is_some_and(|device| !has_device(device))
            };
            revoke_lost(&mut transaction, by, id, is_lost).await?;
            requests::forget_lost(&mut transaction, id, after.as_ref()).await?;
        }
        for notice in &notices {
            notices::queue(&mut transaction, notice).await?;
        }
        for duty in &duties {
            pending_erasures::owe(&mut transaction, id, duty).await?;
        }
        let allowed = match &allows {
            Some((request, answer)) => Some(
                requests::answer(&mut transaction, id, request, RequestState::Allowed, answer)
                    .await?,
            ),
            None => None,
        };
        tell(
            &mut transaction,
            by,
            id,
            told_before,
            after.as_ref().map(plain),
        )
        .await?;
        transaction.commit().await?;
        Ok(HouseholdChanged {
            household: after,
            version: version.unsigned_abs(),
            is_new,
            allowed,
        })
    }
}

fn plain(household: &Household) -> Value {
    serde_json::to_value(household).expect("a household is plain data")
}

/// Writes a change down: whole where a household comes or goes, and otherwise what differs, because
/// a switch in a household with a long own list is one line and not the list twice.
async fn tell(
    connection: &mut SqliteConnection,
    by: &Author,
    id: &Id,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<(), StoreError> {
    let (action, before, after) = match (before, after) {
        (None, after) => ("create", None, after),
        (before, None) => ("delete", before, None),
        (Some(mut before), Some(mut after)) => {
            keep_differences(&mut before, &mut after);
            ("change", Some(before), Some(after))
        }
    };
    let subject = format!("household:{id}");
    let entry = AuditEntry {
        action,
        subject: &subject,
        before: before.as_ref(),
        after: after.as_ref(),
    };
    append(connection, by, &entry).await.map(drop)
}

/// Takes out of two documents what is the same in both.
fn keep_differences(before: &mut Value, after: &mut Value) {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return;
    };
    before.retain(|key, was| match after.get_mut(key) {
        Some(is) if is == was => {
            after.remove(key);
            false
        }
        Some(is) => {
            keep_differences(was, is);
            true
        }
        None => true,
    });
}

async fn write(
    connection: &mut SqliteConnection,
    id: &Id,
    version: i64,
    household: Option<&Household>,
) -> Result<(), StoreError> {
    let text = household
        .map(|household| serde_json::to_string(household).expect("a household is plain data"));
    let upsert = "INSERT INTO household (id, version, external_ref, document, filtering, preset, chosen_by, chosen_on)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
        ON CONFLICT (id) DO UPDATE SET version = ?2, external_ref = ?3, document = ?4, filtering = ?5, preset = ?6, chosen_by = ?7,
            chosen_on = ?8";
    let external_ref = household.and_then(|household| household.external_ref.as_deref());
    let (filtering, preset, chosen_by, chosen_on) =
        household.map(choices::columns).unwrap_or_default();
    let write = sqlx::query(upsert)
        .bind(id.as_str())
        .bind(version)
        .bind(external_ref)
        .bind(text);
    let write = write
        .bind(filtering)
        .bind(preset)
        .bind(chosen_by)
        .bind(chosen_on);
    write
        .execute(connection)
        .await
        .map(drop)
        .map_err(step("writing a household"))
}

/// Takes a network for a household, unless another one has it.
async fn claim<E>(
    connection: &mut SqliteConnection,
    id: &Id,
    network: IpNet,
) -> Result<(), ChangeError<E>> {
    let insert = sqlx::query(
        "INSERT INTO network (cidr, household) VALUES (?, ?) ON CONFLICT (cidr) DO NOTHING",
    );
    let inserted = insert
        .bind(network.to_string())
        .bind(id.as_str())
        .execute(&mut *connection)
        .await
        .map_err(step("claiming a network"))?;
    if inserted.rows_affected() == 1 {
        return Ok(());
    }
    let owner =
        sqlx::query("SELECT household FROM network WHERE cidr = ?").bind(network.to_string());
    let owner = owner
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get::<String, _>("household"))
        .map_err(step("reading a network"))?;
    let owner =
        owner.parse().map_err(
            |error: policy::rules::household::IdError| StoreError::Document {
                household: owner.clone(),
                source: error.into(),
            },
        )?;
    Err(ChangeError::NetworkTaken { network, owner })
}
