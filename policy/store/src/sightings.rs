//! Sightings: devices that a household has not named, by the identifier that tells each from the
//! others. They are forgotten some days after the device was last seen, when the identifier becomes
//! a named device's, and with the household. So are the hints to them (`device_hints`).

use jiff::{SignedDuration, Timestamp};
use policy::rules::household::{DeviceIdentifier, Household, Id};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, SqliteConnection};

use crate::{
    Store,
    error::{StoreError, step},
    secret::random_hex,
    time::second,
};

/// The most sightings of one household. Beyond, the one that was seen longest ago goes.
pub const SIGHTINGS_MAX: u32 = 64;
/// How long a device is remembered after it was last seen.
pub const SIGHTING_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

const NOTING: &str = "storing sightings";

/// What an unnamed device may be, and why. Enforces nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DeviceGuess {
    /// The maker. Null if nothing tells.
    pub maker: Option<String>,
    /// The kind: `camera`, `television`, … Null if nothing tells.
    pub kind: Option<String>,
    /// What tells, in words.
    pub evidence: Vec<String>,
}

/// A device that the household has not named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    pub id: String,
    pub identifier: DeviceIdentifier,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// The household does not want to hear of it.
    pub dismissed: bool,
    /// `None` if nothing tells what it is.
    pub guess: Option<DeviceGuess>,
    /// The name that it gave to a DHCP server, as others tell.
    pub dhcp_name: Option<String>,
}

/// A device that was seen, to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenDevice {
    pub household: Id,
    pub identifier: DeviceIdentifier,
    pub seen: Timestamp,
    pub guess: Option<DeviceGuess>,
}

#[derive(FromRow)]
struct Row {
    id: String,
    identifier: String,
    first_seen: i64,
    last_seen: i64,
    dismissed: bool,
    guess: Option<String>,
    dhcp_name: Option<String>,
}

impl Row {
    /// The sighting; `None` for a row of a later version.
    fn sighting(self) -> Option<Sighting> {
        Some(Sighting {
            id: self.id,
            identifier: serde_json::from_str(&self.identifier).ok()?,
            first_seen: second(self.first_seen),
            last_seen: second(self.last_seen),
            dismissed: self.dismissed,
            dhcp_name: self.dhcp_name,
            guess: self
                .guess
                .and_then(|guess| serde_json::from_str(&guess).ok()),
        })
    }
}

pub(crate) fn key(identifier: &DeviceIdentifier) -> String {
    serde_json::to_string(identifier).expect("an identifier is plain data")
}

/// Deletes the sightings of identifiers that named devices have, and the hints to them, in the
/// transaction that names them; all of a household that is removed.
pub(crate) async fn forget_named(
    connection: &mut SqliteConnection,
    household: &Id,
    after: Option<&Household>,
) -> Result<(), StoreError> {
    let select = "SELECT identifier FROM sighting WHERE household = ?1
        UNION SELECT identifier FROM device_hint WHERE household = ?1";
    let seen: Vec<(String,)> = sqlx::query_as(select)
        .bind(household.as_str())
        .fetch_all(&mut *connection)
        .await
        .map_err(step("listing sightings"))?;
    for (identifier,) in seen {
        let is_named = after.is_none_or(|after| {
            let mut devices = after.devices.values();
            devices.any(|device| device.identifiers.iter().any(|own| key(own) == identifier))
        });
        if is_named {
            for delete in [
                "DELETE FROM sighting WHERE household = ? AND identifier = ?",
                "DELETE FROM device_hint WHERE household = ? AND identifier = ?",
            ] {
                sqlx::query(delete)
                    .bind(household.as_str())
                    .bind(&identifier)
                    .execute(&mut *connection)
                    .await
                    .map_err(step("forgetting sightings"))?;
            }
        }
    }
    Ok(())
}

impl Store {
    /// The sightings of a household, the latest first seen first.
    pub async fn sightings(
        &self,
        household: &Id,
        now: Timestamp,
    ) -> Result<Vec<Sighting>, StoreError> {
        let select =
            "SELECT id, sighting.identifier, first_seen, last_seen, dismissed, guess, dhcp_name
            FROM sighting LEFT JOIN device_hint ON device_hint.household = sighting.household
                AND device_hint.identifier = sighting.identifier AND told_at >= ?2
            WHERE sighting.household = ?1 AND last_seen >= ?2 ORDER BY first_seen DESC, id";
        let rows: Vec<Row> = sqlx::query_as(select)
            .bind(household.as_str())
            .bind((now - SIGHTING_KEPT).as_second())
            .fetch_all(&self.pool)
            .await
            .map_err(step("listing sightings"))?;
        Ok(rows.into_iter().filter_map(Row::sighting).collect())
    }

    /// Stores devices that were seen, in one transaction. A known one keeps its identifier here and
    /// its first time; its guess is replaced where there is a new one. Returns the devices that went
    /// because their household has more than [`SIGHTINGS_MAX`].
    pub async fn note_sightings(
        &self,
        seen: &[SeenDevice],
    ) -> Result<Vec<(Id, DeviceIdentifier)>, StoreError> {
        let mut transaction = self.database.begin(NOTING).await?;
        let mut gone = Vec::new();
        for device in seen {
            let insert = "INSERT INTO sighting (id, household, identifier, first_seen, last_seen, dismissed, guess)
                VALUES (?1, ?2, ?3, ?4, ?4, 0, ?5) ON CONFLICT (household, identifier) DO UPDATE SET
                last_seen = max(last_seen, excluded.last_seen), guess = coalesce(excluded.guess, guess)";
            let guess = device.guess.as_ref();
            let guess =
                guess.map(|guess| serde_json::to_string(guess).expect("a guess is plain data"));
            sqlx::query(insert)
                .bind(random_hex(8)?)
                .bind(device.household.as_str())
                .bind(key(&device.identifier))
                .bind(device.seen.as_second())
                .bind(guess)
                .execute(&mut *transaction)
                .await
                .map_err(step("storing a sighting"))?;
            let bound = "DELETE FROM sighting WHERE household = ?1 AND id NOT IN
                (SELECT id FROM sighting WHERE household = ?1 ORDER BY last_seen DESC, first_seen DESC LIMIT ?2)
                RETURNING identifier";
            let removed: Vec<(String,)> = sqlx::query_as(bound)
                .bind(device.household.as_str())
                .bind(i64::from(SIGHTINGS_MAX))
                .fetch_all(&mut *transaction)
                .await
                .map_err(step("forgetting sightings"))?;
            let removed = removed
                .iter()
                .filter_map(|(text,)| serde_json::from_str(text).ok());
            gone.extend(removed.map(|identifier| (device.household.clone(), identifier)));
        }
        transaction.commit(NOTING).await?;
        Ok(gone)
    }

    /// Sets whether the household wants to hear of a sighting. Returns `false` if there is none.
    pub async fn dismiss_sighting(
        &self,
        household: &Id,
        id: &str,
        dismissed: bool,
    ) -> Result<bool, StoreError> {
        let update = "UPDATE sighting SET dismissed = ? WHERE household = ? AND id = ?";
        let update = sqlx::query(update)
            .bind(dismissed)
            .bind(household.as_str())
            .bind(id);
        let done = self
            .database
            .execute(update, "dismissing a sighting")
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Deletes the sightings of devices that were last seen too long ago.
    pub async fn expire_sightings(&self, now: Timestamp) -> Result<(), StoreError> {
        let delete = sqlx::query("DELETE FROM sighting WHERE last_seen < ?")
            .bind((now - SIGHTING_KEPT).as_second());
        let done = self.database.execute(delete, "forgetting sightings").await;
        done.map(drop)
    }
}
