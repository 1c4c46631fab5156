//! Hints: the names that devices gave to a household's DHCP server, as its router or the operator
//! tells them. They are shown beside sightings of the same identifier, and identify nothing. They
//! are forgotten as sightings are.

use jiff::Timestamp;
use policy::{
    rules::household::{DeviceIdentifier, Id},
    text::Text,
};

use crate::{
    SIGHTING_KEPT, SIGHTINGS_MAX, Store,
    error::{StoreError, step},
    sightings::key,
};

/// The longest name, in octets.
pub const DHCP_NAME_OCTETS_MAX: usize = 64;

const TELLING: &str = "storing hints";

/// What was told of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceHint {
    pub identifier: DeviceIdentifier,
    /// The name that the device gave. `None` takes an earlier one back.
    pub dhcp_name: Option<Text>,
}

impl Store {
    /// Stores what was told of a household's devices, in one transaction. Beyond the bound, what was
    /// told longest ago goes.
    pub async fn tell_device_hints(
        &self,
        household: &Id,
        hints: &[DeviceHint],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.begin(TELLING).await?;
        for hint in hints {
            let statement = match &hint.dhcp_name {
                Some(name) => sqlx::query(
                    "INSERT OR REPLACE INTO device_hint (household, identifier, dhcp_name, told_at) VALUES (?1, ?2, ?3, ?4)",
                )
                .bind(household.as_str())
                .bind(key(&hint.identifier))
                .bind(name.as_str())
                .bind(now.as_second()),
                None => sqlx::query("DELETE FROM device_hint WHERE household = ? AND identifier = ?")
                    .bind(household.as_str())
                    .bind(key(&hint.identifier)),
            };
            statement
                .execute(&mut *transaction)
                .await
                .map_err(step("storing a hint"))?;
        }
        let bound = "DELETE FROM device_hint WHERE household = ?1 AND rowid NOT IN
            (SELECT rowid FROM device_hint WHERE household = ?1 ORDER BY told_at DESC, rowid DESC LIMIT ?2)";
        sqlx::query(bound)
            .bind(household.as_str())
            .bind(i64::from(SIGHTINGS_MAX))
            .execute(&mut *transaction)
            .await
            .map_err(step("forgetting hints"))?;
        transaction.commit(TELLING).await
    }

    /// Deletes what was told too long ago.
    pub async fn expire_device_hints(&self, now: Timestamp) -> Result<(), StoreError> {
        let delete = sqlx::query("DELETE FROM device_hint WHERE told_at < ?")
            .bind((now - SIGHTING_KEPT).as_second());
        let done = self.database.execute(delete, "forgetting hints").await;
        done.map(drop)
    }
}
