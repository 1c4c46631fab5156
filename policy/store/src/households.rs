//! Households: read, listed, and changed in one transaction each.

use std::{collections::BTreeSet, convert::Infallible};

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

/// A change of a household, with everything to be stored in the same transaction.
#[derive(Debug, Clone, Default)]
pub struct HouseholdChange {
    /// The household after the change; `None` deletes it.
    pub household: Option<Household>,
    /// Notices to the account holder.
    pub notices: Vec<NewNotice>,
    /// Erasures of its activity.
    pub duties: Vec<Erasure>,
    /// The request that the change allows, by identifier.
    pub allows: Option<(String, RequestAnswer)>,
}

/// The result of a change.
#[derive(Debug, Clone)]
pub struct HouseholdChanged {
    /// The household after the change; `None` once it is deleted.
    pub household: Option<Household>,
    /// The version after the change.
    pub version: u64,
    /// Whether the household did not exist before.
    pub is_new: bool,
    /// The request that was allowed.
    pub allowed: Option<AccessRequest>,
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

fn parse(id: &str, text: &str) -> Result<Household, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Document {
        household: id.to_owned(),
        source: error.into(),
    })
}

impl Store {
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

    /// Adds new households at version 1, all of them or none, in one transaction: for the import of
    /// an operator's existing households. They take effect at the next start.
    ///
    /// # Errors
    /// [`ChangeError::Version`] where a household exists. Nothing is changed then.
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

    /// Changes one household and writes that to the audit, in one transaction. `change` gets the
    /// current household and returns the new one. It runs under the database's write lock, so the
    /// caller needs no lock. Every change raises the version, even one without effect, so that each
    /// answer names a version of its own.
    ///
    /// # Errors
    /// Nothing is changed then.
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

    /// As [`Self::change`], with notices, erasures and the answer to a request in the same
    /// transaction.
    ///
    /// # Errors
    /// Nothing is changed then.
    pub async fn change_with<E>(
        &self,
        by: &Author,
        id: &Id,
        expected: Option<u64>,
        change: impl FnOnce(Option<Household>) -> Result<HouseholdChange, E> + Send,
    ) -> Result<HouseholdChanged, ChangeError<E>> {
        let mut transaction = self.begin().await?;
        let (version, before) = read_current(&mut transaction, id).await?;
        if let Some(expected) = expected {
            let current = before.as_ref().map_or(0, |household| household.version);
            if current != expected {
                return Err(ChangeError::Version { expected, current });
            }
        }
        let former = Former::of(before.as_ref());
        let is_new = before.is_none();
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
        write(&mut transaction, id, version, after.as_ref()).await?;
        former
            .move_networks(&mut transaction, id, after.as_ref())
            .await?;
        former
            .drop_lost(&mut transaction, by, id, after.as_ref())
            .await?;
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
            former.document,
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

/// Reads the version of a household, 0 where it never existed, and its document, `None` where it
/// does not exist now.
async fn read_current(
    connection: &mut SqliteConnection,
    id: &Id,
) -> Result<(i64, Option<Household>), StoreError> {
    let select = sqlx::query_as("SELECT version, document FROM household WHERE id = ?");
    let row: Option<(i64, Option<String>)> = select
        .bind(id.as_str())
        .fetch_optional(connection)
        .await
        .map_err(step("reading a household"))?;
    let Some((version, text)) = row else {
        return Ok((0, None));
    };
    let household = text.map(|text| parse(id.as_str(), &text)).transpose()?;
    Ok((version, household))
}

/// The parts of a household before a change that are compared with those after it.
struct Former {
    /// `None` where the household did not exist.
    document: Option<Value>,
    devices: Vec<Id>,
    networks: BTreeSet<IpNet>,
}

impl Former {
    fn of(before: Option<&Household>) -> Self {
        Self {
            document: before.map(plain),
            devices: before
                .map(|household| household.devices.keys().cloned().collect())
                .unwrap_or_default(),
            networks: networks_of(before),
        }
    }

    /// Releases the networks that the household loses, and claims those that are new.
    async fn move_networks<E>(
        &self,
        connection: &mut SqliteConnection,
        id: &Id,
        after: Option<&Household>,
    ) -> Result<(), ChangeError<E>> {
        let networks = networks_of(after);
        for network in self.networks.difference(&networks) {
            let delete =
                sqlx::query("DELETE FROM network WHERE cidr = ?").bind(network.to_string());
            delete
                .execute(&mut *connection)
                .await
                .map_err(step("releasing a network"))?;
        }
        for network in networks.difference(&self.networks) {
            claim(connection, id, *network).await?;
        }
        Ok(())
    }

    /// Revokes the keys, and removes the requests, of devices that the household loses.
    async fn drop_lost(
        &self,
        connection: &mut SqliteConnection,
        by: &Author,
        id: &Id,
        after: Option<&Household>,
    ) -> Result<(), StoreError> {
        let has_device =
            |device: &Id| after.is_some_and(|household| household.devices.contains_key(device));
        let is_removed = self.document.is_some() && after.is_none();
        if is_removed || !self.devices.iter().all(has_device) {
            let is_lost = |key: &Key| {
                let is_device_lost = |device: &Id| !has_device(device);
                after.is_none() || key.device.as_ref().is_some_and(is_device_lost)
            };
            revoke_lost(connection, by, id, is_lost).await?;
            requests::forget_lost(connection, id, after).await?;
        }
        Ok(())
    }
}

fn networks_of(household: Option<&Household>) -> BTreeSet<IpNet> {
    household
        .map(|household| household.networks.clone())
        .unwrap_or_default()
}

fn plain(household: &Household) -> Value {
    serde_json::to_value(household).expect("a household is plain data")
}

/// Writes a change to the audit: the whole document where a household is created or deleted,
/// otherwise the differences. A switch in a household with a long custom list then takes one line.
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

/// Removes from two documents what is the same in both.
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

/// Claims a network for a household, unless another one has it.
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
