//! API keys: 256 random bits, shown once, stored as SHA-256.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::Row;

use crate::{
    Store,
    error::{StoreError, step},
};

/// What the holder of a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    Operator,
    /// Reading everything.
    Auditor,
    /// One household.
    Parent,
    /// One device: may see its own state and ask.
    Child,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Parent => "parent",
            Self::Child => "child",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Operator, Self::Auditor, Self::Parent, Self::Child]
            .into_iter()
            .find(|role| role.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no role; one of operator, auditor, parent, child"))
    }
}

/// A key as it is listed: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Its identifier: what `set_by` and logs name.
    pub id: String,
    /// What its holder may do.
    pub role: Role,
    /// What the operator calls it.
    pub label: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Before each key, so that a leaked one is recognised by scanners and people.
const PREFIX: &str = "ox_";

fn random_hex(octets: usize) -> Result<String, StoreError> {
    let mut random = vec![0; octets];
    getrandom::fill(&mut random).map_err(|error| StoreError::Random(std::io::Error::other(error.to_string())))?;
    Ok(random.iter().map(|octet| format!("{octet:02x}")).collect())
}

impl Store {
    /// Makes a key. The secret is returned here and never again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn create_key(&self, role: Role, label: &str, now: Timestamp) -> Result<(String, Key), StoreError> {
        let secret = format!("{PREFIX}{}", random_hex(32)?);
        let key = Key { id: random_hex(6)?, role, label: label.to_owned(), created_at: now, revoked_at: None };
        let insert = sqlx::query("INSERT INTO api_key (id, sha256, role, label, created_at) VALUES (?, ?, ?, ?, ?)");
        let insert = insert.bind(&key.id).bind(Sha256::digest(&secret).to_vec()).bind(role.to_string()).bind(label).bind(now.to_string());
        insert.execute(&self.pool).await.map_err(step("storing a key"))?;
        Ok((secret, key))
    }

    /// All keys, the oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keys(&self) -> Result<Vec<Key>, StoreError> {
        let rows = sqlx::query("SELECT id, role, label, created_at, revoked_at FROM api_key ORDER BY created_at, id");
        let rows = rows.fetch_all(&self.pool).await.map_err(step("listing keys"))?;
        rows.iter().map(|row| read(row).map_err(step("reading a key"))).collect()
    }

    /// Revokes a key; from the next request on it opens nothing. False where there is no such key in force.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn revoke_key(&self, id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let update = sqlx::query("UPDATE api_key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL").bind(now.to_string()).bind(id);
        Ok(update.execute(&self.pool).await.map_err(step("revoking a key"))?.rows_affected() == 1)
    }

    /// Whose key this is, while it is in force. Asked for every request, so that a revocation holds at once, also one by
    /// another process.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn authenticate(&self, secret: &str) -> Result<Option<Key>, StoreError> {
        let query = sqlx::query("SELECT id, role, label, created_at, revoked_at FROM api_key WHERE sha256 = ? AND revoked_at IS NULL");
        let row = query.bind(Sha256::digest(secret).to_vec()).fetch_optional(&self.pool).await.map_err(step("looking up a key"))?;
        row.as_ref().map(read).transpose().map_err(step("reading a key"))
    }

    /// Whether no key was ever made: the first start.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn has_no_key(&self) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT NOT EXISTS (SELECT 1 FROM api_key) AS fresh").fetch_one(&self.pool).await;
        row.and_then(|row| row.try_get("fresh")).map_err(step("looking for keys"))
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Result<Key, sqlx::Error> {
    let decode = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
    let time = |text: String| text.parse::<Timestamp>().map_err(|error| decode(error.into()));
    Ok(Key {
        id: row.try_get("id")?,
        role: row.try_get::<String, _>("role")?.parse().map_err(|error: String| decode(error.into()))?,
        label: row.try_get("label")?,
        created_at: time(row.try_get("created_at")?)?,
        revoked_at: row.try_get::<Option<String>, _>("revoked_at")?.map(time).transpose()?,
    })
}
