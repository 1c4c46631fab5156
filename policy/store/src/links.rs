//! Links that open the app once: 160 random bits in the fragment of an address, stored as SHA-256.
//!
//! ```text
//! made (audit) -> used: one transaction marks it and makes a key (audit) -> a session of that key
//! ```
//!
//! A link is good for one use, until it expires, and as long as the key that made it is in force.

use jiff::{SignedDuration, Timestamp};
use policy::rules::household::{Household, Id};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{FromRow, SqliteConnection};

use crate::{
    Author, Key, NewKey, NewNotice, Role, Store,
    audit::{AuditEntry, append},
    error::{KeyError, StoreError, step},
    keys::revoke_lost,
    secret::random_hex,
    sessions::IDLE_MAX,
    time::second,
};

/// The longest life of a link.
pub const LINK_AGE_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The most unused links of one household.
pub const LINKS_MAX: usize = 64;
/// How long a link is kept after its end, so that a late click is told why it fails.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long after its use a link's session may begin.
const BEGINS_WITHIN: SignedDuration = SignedDuration::from_hours(1);
/// Random octets of a link.
const SECRET_OCTETS: usize = 20;

/// A link, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Link {
    /// Its identifier, as in the audit.
    pub id: String,
    pub role: Role,
    /// The device of a child's link. Null for a parent's.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub device: Option<Id>,
    /// The label of the key that it makes.
    pub label: String,
    /// When it expires, RFC 3339.
    pub expires_at: Timestamp,
}

/// A link that can still be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OpenLink {
    #[serde(flatten)]
    pub link: Link,
    /// Who made it: `key:ID`, `jwt:SUBJECT`.
    pub made_by: String,
}

/// Why a link opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is no such link.
    #[error("there is no such link")]
    Unknown,
    /// It was used before.
    #[error("the link was used before")]
    Used,
    /// Its time is over, or the key that made it is not in force.
    #[error("the link has expired")]
    Expired,
}

impl From<StoreError> for LinkError {
    fn from(error: StoreError) -> Self {
        Self::Key(KeyError::Store(error))
    }
}

#[derive(FromRow)]
struct Row {
    id: String,
    household: String,
    role: String,
    device: Option<String>,
    label: String,
    made_by: String,
    maker_role: String,
    expires_at: i64,
    used_at: Option<i64>,
}

#[derive(FromRow)]
struct OpenRow {
    id: String,
    role: String,
    device: Option<String>,
    label: String,
    made_by: String,
    expires_at: i64,
}

impl OpenRow {
    /// `None` if the row cannot be read: such a link makes no key.
    fn open(self) -> Option<OpenLink> {
        let device = match self.device {
            Some(device) => Some(device.parse().ok()?),
            None => None,
        };
        let link = Link {
            id: self.id,
            role: self.role.parse().ok()?,
            device,
            label: self.label,
            expires_at: second(self.expires_at),
        };
        Some(OpenLink {
            link,
            made_by: self.made_by,
        })
    }
}

impl Row {
    /// The key that the link makes. `None` if the row cannot be read.
    fn new_key(&self) -> Option<NewKey> {
        let device = match &self.device {
            Some(device) => Some(device.parse().ok()?),
            None => None,
        };
        let household = Some(self.household.parse().ok()?);
        NewKey::new(self.role.parse().ok()?, household, device, &*self.label).ok()
    }
}

impl Store {
    /// Makes a link that expires after `age`, and writes that to the audit. Returns the secret here
    /// and never again. Removes links that are long over.
    ///
    /// # Errors
    /// [`KeyError::TooMany`] where the household has [`LINKS_MAX`] unused links.
    pub async fn make_link(
        &self,
        by: &Author,
        new: NewKey,
        age: SignedDuration,
        now: Timestamp,
    ) -> Result<(String, Link), KeyError> {
        let secret = random_hex(SECRET_OCTETS)?;
        let NewKey {
            role,
            household,
            device,
            label,
        } = new;
        let household = household.ok_or(KeyError::Unfit {
            field: "role",
            detail: "a link is one of a household",
        })?;
        let link = Link {
            id: random_hex(6)?,
            role,
            device,
            label,
            expires_at: second((now + age.min(LINK_AGE_MAX)).as_second()),
        };
        let mut transaction = self.begin_for(household.as_str()).await?;
        clear(&mut transaction, &household, now).await?;
        let count =
            "SELECT count(*) FROM link WHERE household = ? AND expires_at > ? AND used_at IS NULL";
        let open: i64 = sqlx::query_scalar(count)
            .bind(household.as_str())
            .bind(now.as_second())
            .fetch_one(&mut *transaction)
            .await
            .map_err(step("counting links"))?;
        if open >= LINKS_MAX as i64 {
            return Err(KeyError::TooMany);
        }
        insert(&mut transaction, by, &household, (&secret, &link)).await?;
        let told = json!({ "household": household, "link": link });
        let deed = AuditEntry {
            action: "create",
            subject: &format!("link:{}", link.id),
            before: None,
            after: Some(&told),
        };
        append(&mut transaction, by, &deed).await?;
        transaction.commit().await?;
        Ok((secret, link))
    }

    /// Uses a link: makes its key, whose secret nothing learns. `tell_holder` is called as by
    /// [`Self::create_key_and_tell`].
    ///
    /// # Errors
    /// The link stays as it was then.
    pub async fn use_link(
        &self,
        secret: &str,
        now: Timestamp,
        tell_holder: impl Fn(&Author, &Key, &Household) -> Result<Vec<NewNotice>, StoreError>
        + Send
        + Sync,
    ) -> Result<Key, LinkError> {
        let select = "SELECT id, household, role, device, label, made_by, maker_role, expires_at, used_at FROM link WHERE sha256 = ?";
        let row: Option<Row> = sqlx::query_as(select)
            .bind(Sha256::digest(secret).to_vec())
            .fetch_optional(&self.pool)
            .await
            .map_err(step("looking up a link"))?;
        let row = row.ok_or(LinkError::Unknown)?;
        if row.used_at.is_some() {
            return Err(LinkError::Used);
        }
        let is_of_key_in_force = match row.made_by.strip_prefix("key:") {
            Some(key) => self.is_in_force(key).await?,
            None => true,
        };
        if row.expires_at <= now.as_second() || !is_of_key_in_force {
            return Err(LinkError::Expired);
        }
        let new = row.new_key().ok_or(LinkError::Unknown)?;
        let by = Author {
            actor: row.made_by,
            role: row.maker_role,
        };
        let tell = |key: &Key, household: &Household| tell_holder(&by, key, household);
        match self.create_key_by(&by, new, Some(&row.id), tell).await {
            Ok((_, key)) => Ok(key),
            Err(KeyError::LinkUsed) => Err(LinkError::Used),
            Err(error) => Err(error.into()),
        }
    }

    /// The links of a household that can still be used, the first to expire first.
    pub async fn open_links(
        &self,
        household: &Id,
        now: Timestamp,
    ) -> Result<Vec<OpenLink>, StoreError> {
        let select = "SELECT id, role, device, label, made_by, expires_at FROM link
            WHERE household = ? AND expires_at > ? AND used_at IS NULL AND (made_by NOT LIKE 'key:%' OR EXISTS (
                SELECT 1 FROM api_key WHERE api_key.id = substr(made_by, 5) AND revoked_at IS NULL))
            ORDER BY expires_at, id";
        let rows: Vec<OpenRow> = sqlx::query_as(select)
            .bind(household.as_str())
            .bind(now.as_second())
            .fetch_all(&self.pool)
            .await
            .map_err(step("listing links"))?;
        Ok(rows.into_iter().filter_map(OpenRow::open).collect())
    }

    /// Removes the unused links of a household that this author has made; without a row in the
    /// audit, because nothing could be done with them since.
    pub async fn remove_links_of(&self, household: &Id, made_by: &str) -> Result<(), StoreError> {
        let delete = "DELETE FROM link WHERE household = ? AND made_by = ? AND used_at IS NULL";
        let delete = sqlx::query(delete).bind(household.as_str()).bind(made_by);
        self.database
            .execute(delete, "removing links")
            .await
            .map(drop)
    }

    /// Removes an unused link of a household, and writes that to the audit.
    pub async fn remove_link(
        &self,
        by: &Author,
        household: &Id,
        id: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_for(household.as_str()).await?;
        let delete = "DELETE FROM link WHERE id = ? AND household = ? AND used_at IS NULL AND expires_at > ?";
        let deleted = sqlx::query(delete)
            .bind(id)
            .bind(household.as_str())
            .bind(now.as_second())
            .execute(&mut *transaction)
            .await
            .map_err(step("removing a link"))?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        tell_withdrawn(&mut transaction, by, household, id).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

/// The identifiers of the keys that links of a household have made.
pub(crate) async fn keys_of_links(
    connection: &mut SqliteConnection,
    household: &Id,
) -> Result<Vec<String>, StoreError> {
    let select = "SELECT key FROM link WHERE household = ? AND key IS NOT NULL";
    sqlx::query_scalar(select)
        .bind(household.as_str())
        .fetch_all(connection)
        .await
        .map_err(step("listing keys of links"))
}

/// Removes all unused links of a household, and writes that to the audit. Returns how many could
/// still be used.
pub(crate) async fn withdraw_all(
    connection: &mut SqliteConnection,
    by: &Author,
    household: &Id,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let delete =
        "DELETE FROM link WHERE household = ? AND used_at IS NULL AND expires_at > ? RETURNING id";
    let ids: Vec<String> = sqlx::query_scalar(delete)
        .bind(household.as_str())
        .bind(now.as_second())
        .fetch_all(&mut *connection)
        .await
        .map_err(step("removing links"))?;
    for id in &ids {
        tell_withdrawn(connection, by, household, id).await?;
    }
    Ok(ids.len())
}

/// Writes to the audit that a link was removed.
async fn tell_withdrawn(
    connection: &mut SqliteConnection,
    by: &Author,
    household: &Id,
    id: &str,
) -> Result<(), StoreError> {
    let told = json!({ "household": household });
    let deed = AuditEntry {
        action: "delete",
        subject: &format!("link:{id}"),
        before: Some(&told),
        after: None,
    };
    append(connection, by, &deed).await.map(drop)
}

/// Revokes the keys that links made for sessions which are over, because no other session can begin
/// with them; and forgets links that are long over.
async fn clear(
    connection: &mut SqliteConnection,
    household: &Id,
    now: Timestamp,
) -> Result<(), StoreError> {
    let idle = "SELECT key FROM link WHERE household = ?1 AND used_at < ?2 AND key IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM session WHERE session.key = link.key AND ends_at > ?3 AND seen_at > ?4)";
    let idle: Vec<String> = sqlx::query_scalar(idle)
        .bind(household.as_str())
        .bind((now - BEGINS_WITHIN).as_second())
        .bind(now.as_second())
        .bind((now - IDLE_MAX).as_second())
        .fetch_all(&mut *connection)
        .await
        .map_err(step("looking for keys without a session"))?;
    if !idle.is_empty() {
        let by = Author {
            actor: "end of sessions".to_owned(),
            role: Role::Operator.to_string(),
        };
        revoke_lost(connection, &by, household, |key| idle.contains(&key.id)).await?;
    }
    let forget = "DELETE FROM link WHERE expires_at < ? AND (key IS NULL OR NOT EXISTS (
        SELECT 1 FROM api_key WHERE api_key.id = link.key AND revoked_at IS NULL))";
    sqlx::query(forget)
        .bind((now - KEPT).as_second())
        .execute(connection)
        .await
        .map(drop)
        .map_err(step("forgetting links"))
}

async fn insert(
    connection: &mut SqliteConnection,
    by: &Author,
    household: &Id,
    (secret, link): (&str, &Link),
) -> Result<(), StoreError> {
    let insert = "INSERT INTO link (id, sha256, household, role, device, label, made_by, maker_role, expires_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let insert = sqlx::query(insert)
        .bind(&link.id)
        .bind(Sha256::digest(secret).to_vec())
        .bind(household.as_str())
        .bind(link.role.as_str())
        .bind(link.device.as_ref().map(Id::as_str))
        .bind(&link.label)
        .bind(&by.actor)
        .bind(&by.role)
        .bind(link.expires_at.as_second());
    insert
        .execute(connection)
        .await
        .map(drop)
        .map_err(step("storing a link"))
}
