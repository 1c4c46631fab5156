//! A change of one household: prepared aside, then stored in one short transaction.
//!
//! ```text
//! read (no lock) -> edit, compare, write as JSON (its own thread) -> turn -> statements -> commit
//!       ^                                                                        |
//!       '--------------- another writer changed the household meanwhile ---------'
//! ```
//!
//! Whatever depends on the size of the document happens before the transaction, so that one large
//! household does not hold up the writer that all share.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use ipnet::IpNet;
use policy::rules::{
    holdings::{self, SizedDocument},
    household::{Household, Id, Settings},
};
use serde_json::Value;
use sqlx::{Row, SqliteConnection};

use crate::{
    Author, Key, Store,
    audit::{RenderedEntry, append_rendered},
    choices,
    error::{ChangeError, StoreError, step},
    households::{StoredDocument, on_a_thread},
    keys::revoke_lost,
    notices::{self, NewNotice},
    pending_erasures::{self, Erasure},
    prompts::{self, GivenAnswer, Prompt},
    requests::{self, AccessRequest, RequestAnswer, RequestState},
    sessions, sightings,
    undo::UNDOES,
};

/// Documents with more octets are prepared a few at a time: many large households together take no
/// core from the small ones.
const LARGE_OCTETS: usize = 16 << 10;

/// A change of a household, with everything to be stored in the same transaction.
#[derive(Debug, Default)]
pub struct HouseholdChange {
    /// The household after the change; `None` deletes it.
    pub household: Option<Household>,
    /// Notices to the account holder.
    pub notices: Vec<NewNotice>,
    /// Erasures of its activity.
    pub duties: Vec<Erasure>,
    /// The request that the change allows, by identifier.
    pub allows: Option<(String, RequestAnswer)>,
    /// The version of the change that this one takes back.
    pub undoes: Option<u64>,
    /// The answer to a prompt that the change applies.
    pub answers: Option<GivenAnswer>,
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
    /// The prompt that was answered.
    pub answered: Option<Prompt>,
}

impl Store {
    /// Changes one household and writes that to the audit. `change` gets the current household and
    /// returns the new one; it is called again if another writer changed the household meanwhile.
    /// Every change raises the version, even one without effect, so that each answer names a
    /// version of its own.
    ///
    /// # Errors
    /// Nothing is changed then.
    pub async fn change<E: Send + 'static>(
        &self,
        by: &Author,
        id: &Id,
        expected: Option<u64>,
        change: impl FnOnce(Option<Household>) -> Result<Option<Household>, E> + Clone + Send + 'static,
    ) -> Result<HouseholdChanged, ChangeError<E>> {
        let change = move |before: Option<&Household>| {
            let change = change(before.cloned())?;
            let change = HouseholdChange {
                household: change,
                ..HouseholdChange::default()
            };
            Ok((change, ()))
        };
        let (changed, ()) = self.change_with(by, id, expected, change).await?;
        Ok(changed)
    }

    /// As [`Self::change`], with notices, erasures and the answer to a request in the same
    /// transaction. Also returns what `change` returned beside the change.
    ///
    /// # Errors
    /// Nothing is changed then.
    pub async fn change_with<T: Send + 'static, E: Send + 'static>(
        &self,
        by: &Author,
        id: &Id,
        expected: Option<u64>,
        change: impl FnOnce(Option<&Household>) -> Result<(HouseholdChange, T), E>
        + Clone
        + Send
        + 'static,
    ) -> Result<(HouseholdChanged, T), ChangeError<E>> {
        loop {
            let stored = self.stored_for_change(id).await?;
            let name = id.clone();
            let change = change.clone();
            let is_large = stored.octets() > LARGE_OCTETS;
            let prepare = move || Prepared::of(&name, &stored, expected, change);
            let (prepared, told) = {
                let _place = match is_large {
                    true => self.large.acquire().await.ok(),
                    false => None,
                };
                on_a_thread(prepare).await??
            };
            if let Some(changed) = self.store_prepared(by, id, prepared).await? {
                return Ok((changed, told));
            }
        }
    }

    /// Adds new households at version 1, all of them or none, in one transaction: for the import of
    /// an operator's existing households. They take effect at the next start.
    ///
    /// # Errors
    /// [`ChangeError::Version`] where a household exists, [`ChangeError::TooMuch`] where one is too
    /// large. Nothing is changed then.
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
            let document = NewDocument::of(&household);
            let sized = SizedDocument {
                household: &household,
                octets: document.text.len(),
            };
            holdings::check(None, sized).map_err(ChangeError::TooMuch)?;
            document.insert(&mut transaction, &household.id).await?;
            for network in &household.networks {
                claim(&mut transaction, &household.id, *network).await?;
            }
        }
        Ok(transaction.commit().await?)
    }

    /// Stores a change. Returns `None` if the household is no longer what it was prepared for.
    async fn store_prepared<E>(
        &self,
        by: &Author,
        id: &Id,
        prepared: Prepared,
    ) -> Result<Option<HouseholdChanged>, ChangeError<E>> {
        let Prepared {
            version,
            document,
            after,
            is_new,
            networks,
            loses,
            notices,
            duties,
            allows,
            answers,
            names,
            audit,
        } = prepared;
        let mut transaction = self.begin_for(id.as_str()).await?;
        if !replace(&mut transaction, id, version, document.as_ref()).await? {
            return Ok(None);
        }
        networks.apply(&mut transaction, id).await?;
        if loses {
            drop_lost(&mut transaction, by, id, after.as_ref()).await?;
        }
        if names {
            sightings::forget_named(&mut transaction, id, after.as_ref()).await?;
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
        let answered = match &answers {
            Some(given) => Some(prompts::answer(&mut transaction, id, given).await?),
            None => None,
        };
        append_rendered(&mut transaction, by, audit).await?;
        transaction.commit().await?;
        Ok(Some(HouseholdChanged {
            household: after,
            version: (version + 1).unsigned_abs(),
            is_new,
            allowed,
            answered,
        }))
    }
}

/// A change with everything that the transaction needs.
struct Prepared {
    /// The version before the change; 0 where the household never existed.
    version: i64,
    /// `None` deletes the household.
    document: Option<NewDocument>,
    after: Option<Household>,
    is_new: bool,
    networks: Moves,
    /// Whether the household is removed, or loses a device.
    loses: bool,
    notices: Vec<NewNotice>,
    duties: Vec<Erasure>,
    allows: Option<(String, RequestAnswer)>,
    answers: Option<GivenAnswer>,
    /// Whether the household is removed, or the identifiers of its devices change.
    names: bool,
    audit: RenderedEntry,
}

impl Prepared {
    /// Edits a household and compares it with what it was. Takes time in proportion to the
    /// document.
    fn of<T, E>(
        id: &Id,
        stored: &StoredDocument,
        expected: Option<u64>,
        change: impl FnOnce(Option<&Household>) -> Result<(HouseholdChange, T), E>,
    ) -> Result<(Self, T), ChangeError<E>> {
        let before = stored.parse(id)?;
        if let Some(expected) = expected {
            let current = before.as_ref().map_or(0, |household| household.version);
            if current != expected {
                return Err(ChangeError::Version { expected, current });
            }
        }
        let (change, told) = change(before.as_ref()).map_err(ChangeError::Refused)?;
        let HouseholdChange {
            household: mut after,
            notices,
            duties,
            allows,
            undoes,
            answers,
        } = change;
        if let Some(after) = &mut after {
            after.version = (stored.version + 1).unsigned_abs();
        }
        let document = after.as_ref().map(NewDocument::of);
        if let (Some(after), Some(document)) = (&after, &document) {
            let sized = |household, octets| SizedDocument { household, octets };
            let was = before.as_ref().map(|before| sized(before, stored.octets()));
            holdings::check(was, sized(after, document.text.len()))
                .map_err(ChangeError::TooMuch)?;
        }
        let has_device = |device: &Id| {
            after
                .as_ref()
                .is_some_and(|after| after.devices.contains_key(device))
        };
        let prepared = Self {
            version: stored.version,
            is_new: before.is_none(),
            networks: Moves::between(before.as_ref(), after.as_ref()),
            loses: before
                .as_ref()
                .is_some_and(|before| after.is_none() || !before.devices.keys().all(has_device)),
            names: before
                .as_ref()
                .is_some_and(|before| has_other_identifiers(before, after.as_ref())),
            audit: audit(id, before, after.as_ref(), undoes),
            document,
            after,
            notices,
            duties,
            allows,
            answers,
        };
        Ok((prepared, told))
    }
}

/// Whether a household is removed, or one of its devices has other identifiers.
fn has_other_identifiers(before: &Household, after: Option<&Household>) -> bool {
    let Some(after) = after else { return true };
    let identifiers = |household: &'_ Household, id: &Id| {
        let device = household.devices.get(id);
        device.map(|device| device.identifiers.clone())
    };
    let mut devices = after.devices.keys();
    devices.any(|id| identifiers(before, id) != identifiers(after, id))
}

/// A document as it is about to be stored, with the columns beside it.
struct NewDocument {
    text: String,
    version: i64,
    external_ref: Option<String>,
    choice: choices::Columns,
}

impl NewDocument {
    fn of(household: &Household) -> Self {
        Self {
            text: serde_json::to_string(household).expect("a household is plain data"),
            version: household.version.cast_signed(),
            external_ref: household.external_ref.clone(),
            choice: choices::columns(household),
        }
    }

    /// Stores the document of a household that never existed. Returns `false` if it did.
    async fn insert(&self, connection: &mut SqliteConnection, id: &Id) -> Result<bool, StoreError> {
        let insert = "INSERT INTO household (id, version, external_ref, document, filtering, preset, chosen_by, chosen_on)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING";
        self.run(connection, id, insert, None).await
    }

    /// Replaces the document with this version. Returns `false` if there is none.
    async fn update(
        &self,
        connection: &mut SqliteConnection,
        id: &Id,
        version: i64,
    ) -> Result<bool, StoreError> {
        let update = "UPDATE household SET version = ?2, external_ref = ?3, document = ?4, filtering = ?5, preset = ?6, chosen_by = ?7,
            chosen_on = ?8 WHERE id = ?1 AND version = ?9";
        self.run(connection, id, update, Some(version)).await
    }

    async fn run(
        &self,
        connection: &mut SqliteConnection,
        id: &Id,
        statement: &'static str,
        version: Option<i64>,
    ) -> Result<bool, StoreError> {
        let (filtering, preset, chosen_by, chosen_on) = &self.choice;
        let write = sqlx::query(statement)
            .bind(id.as_str())
            .bind(self.version)
            .bind(&self.external_ref)
            .bind(&self.text)
            .bind(filtering)
            .bind(preset)
            .bind(chosen_by)
            .bind(chosen_on);
        let write = match version {
            Some(version) => write.bind(version),
            None => write,
        };
        let written = write
            .execute(connection)
            .await
            .map_err(step("writing a household"))?;
        Ok(written.rows_affected() == 1)
    }
}

/// Replaces the document of a household, or deletes it. Returns `false` if its version is another
/// one; 0: it must not exist.
async fn replace(
    connection: &mut SqliteConnection,
    id: &Id,
    version: i64,
    document: Option<&NewDocument>,
) -> Result<bool, StoreError> {
    match document {
        Some(document) if version == 0 => document.insert(connection, id).await,
        Some(document) => document.update(connection, id, version).await,
        None => {
            let delete = "INSERT INTO household (id, version) VALUES (?1, ?2 + 1)
                ON CONFLICT (id) DO UPDATE SET version = ?2 + 1, external_ref = NULL, document = NULL, filtering = NULL, preset = NULL,
                chosen_by = NULL, chosen_on = NULL WHERE version = ?2";
            let delete = sqlx::query(delete).bind(id.as_str()).bind(version);
            let deleted = delete
                .execute(connection)
                .await
                .map_err(step("writing a household"))?;
            Ok(deleted.rows_affected() == 1)
        }
    }
}

/// The networks that a household loses and gains.
struct Moves {
    lost: Vec<IpNet>,
    gained: Vec<IpNet>,
}

impl Moves {
    fn between(before: Option<&Household>, after: Option<&Household>) -> Self {
        let none = BTreeSet::new();
        let networks = |household: Option<&'_ Household>| {
            household.map(|household| household.networks.clone())
        };
        let were = networks(before).unwrap_or_else(|| none.clone());
        let are = networks(after).unwrap_or(none);
        Self {
            lost: were.difference(&are).copied().collect(),
            gained: are.difference(&were).copied().collect(),
        }
    }

    /// Releases the networks that the household loses, and claims those that are new.
    async fn apply<E>(
        &self,
        connection: &mut SqliteConnection,
        id: &Id,
    ) -> Result<(), ChangeError<E>> {
        for network in &self.lost {
            let delete =
                sqlx::query("DELETE FROM network WHERE cidr = ?").bind(network.to_string());
            delete
                .execute(&mut *connection)
                .await
                .map_err(step("releasing a network"))?;
        }
        for network in &self.gained {
            claim(connection, id, *network).await?;
        }
        Ok(())
    }
}

/// Revokes the keys, ends the sessions, and removes the requests and prompts, of devices that the
/// household no longer has.
async fn drop_lost(
    connection: &mut SqliteConnection,
    by: &Author,
    id: &Id,
    after: Option<&Household>,
) -> Result<(), StoreError> {
    let has_device =
        |device: &Id| after.is_some_and(|household| household.devices.contains_key(device));
    let is_lost = |key: &Key| {
        let is_device_lost = |device: &Id| !has_device(device);
        after.is_none() || key.device.as_ref().is_some_and(is_device_lost)
    };
    revoke_lost(connection, by, id, is_lost).await?;
    sessions::forget_lost(connection, id, after).await?;
    requests::forget_lost(connection, id, after).await?;
    prompts::forget_lost(connection, id, after).await
}

/// The row of the audit: the whole document where a household is created or deleted, otherwise the
/// differences. A switch in a household with a long custom list then takes one line.
fn audit(
    id: &Id,
    before: Option<Household>,
    after: Option<&Household>,
    undoes: Option<u64>,
) -> RenderedEntry {
    let text = |household: &Household| plain(household).to_string();
    let (action, before, after) = match (before, after) {
        (None, after) => ("create", None, after.map(text)),
        (Some(before), None) => ("delete", Some(text(&before)), None),
        (Some(mut before), Some(after)) => {
            let mut after = after.clone();
            drop_same(&mut before, &mut after);
            let (mut before, mut after) = (plain(&before), plain(&after));
            keep_differences(&mut before, &mut after);
            let mut action = "change";
            if let Some(version) = undoes {
                action = "undo";
                after[UNDOES] = version.into();
            }
            (action, Some(before.to_string()), Some(after.to_string()))
        }
    };
    RenderedEntry {
        action: action.to_owned(),
        subject: format!("household:{id}"),
        before,
        after,
    }
}

fn plain(household: &Household) -> Value {
    serde_json::to_value(household).expect("a household is plain data")
}

/// Removes the long parts that are the same in both households, before they become JSON values. Only
/// maps that a document always has: an absent one would count as a difference.
fn drop_same(before: &mut Household, after: &mut Household) {
    let names =
        |was: &mut Settings, is: &mut Settings| keep_different(&mut was.names, &mut is.names);
    names(&mut before.settings, &mut after.settings);
    for (id, person) in &mut before.people {
        if let Some(after) = after.people.get_mut(id) {
            names(&mut person.settings, &mut after.settings);
        }
    }
    keep_different(&mut before.devices, &mut after.devices);
    for (id, device) in &mut before.devices {
        if let Some(after) = after.devices.get_mut(id) {
            names(&mut device.settings, &mut after.settings);
        }
    }
}

fn keep_different<K: Ord, V: PartialEq>(before: &mut BTreeMap<K, V>, after: &mut BTreeMap<K, V>) {
    before.retain(|key, was| {
        let is_same = after.get(key).is_some_and(|is| is == was);
        if is_same {
            after.remove(key);
        }
        !is_same
    });
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
