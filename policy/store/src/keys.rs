//! API keys: 256 random bits, shown once, stored as SHA-256. Creation and revocation are written to
//! the audit in the same transaction.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use policy::{
    rules::household::{Household, Id},
    text::Text,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{Row, SqliteConnection};

use crate::{
    Author, Store,
    audit::{AuditEntry, append},
    error::{KEYS_MAX, KeyError, StoreError, step},
    notices::{NewNotice, queue},
    secret::random_hex,
};

/// The most revoked keys of one household that are still listed; older ones are in the audit only.
const REVOKED_KEPT: i64 = 64;
/// The longest label, in octets.
const LABEL_OCTETS_MAX: usize = 128;

/// The role of a key: the permissions of its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    Operator,
    /// Read access to everything.
    Auditor,
    /// One household, as the account holder.
    Parent,
    /// One household, except its choice of filtering, its keys and the deletion of its data.
    SecondParent,
    /// One device: reads its own state and asks for names.
    Child,
}

impl Role {
    pub const ALL: [Self; 5] = [
        Self::Operator,
        Self::Auditor,
        Self::Parent,
        Self::SecondParent,
        Self::Child,
    ];

    #[must_use]
    pub fn is_of_household(self) -> bool {
        !matches!(self, Self::Operator | Self::Auditor)
    }

    /// The word in JSON and in the audit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Parent => "parent",
            Self::SecondParent => "second-parent",
            Self::Child => "child",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::as_str).join(", ");
                format!("{text:?} is no role; one of {known}")
            })
    }
}

/// A key to be created: a role, and the household or device that it is limited to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    pub(crate) role: Role,
    pub(crate) household: Option<Id>,
    pub(crate) device: Option<Id>,
    pub(crate) label: String,
}

impl NewKey {
    /// Combines a role with its household and device.
    ///
    /// # Errors
    /// A family role without a household, a child without a device, another role with one; a label
    /// that is too long.
    pub fn new(
        role: Role,
        household: Option<Id>,
        device: Option<Id>,
        label: impl Into<String>,
    ) -> Result<Self, KeyError> {
        let label = label.into();
        let field = match (
            role.is_of_household(),
            &household,
            role == Role::Child,
            &device,
        ) {
            (true, None, ..) => Some(("household", "a key of this role is one of a household")),
            (false, Some(_), ..) => {
                Some(("household", "a key of this role belongs to no household"))
            }
            (_, _, true, None) => Some(("device", "a child's key is one of a device")),
            (_, _, false, Some(_)) => Some(("device", "only a child's key belongs to a device")),
            _ if label.len() > LABEL_OCTETS_MAX || label.parse::<Text>().is_err() => Some((
                "label",
                "at most 128 octets on one line, without control characters and characters that show nothing",
            )),
            _ => None,
        };
        match field {
            Some((field, detail)) => Err(KeyError::Unfit { field, detail }),
            None => Ok(Self {
                role,
                household,
                device,
                label,
            }),
        }
    }

    /// A key of the operator's role.
    #[must_use]
    pub fn operator(label: &str) -> Self {
        Self {
            role: Role::Operator,
            household: None,
            device: None,
            label: label.to_owned(),
        }
    }
}

/// A key as it is listed, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Key {
    /// Its identifier, as in `set_by`, the audit and logs.
    pub id: String,
    pub role: Role,
    /// The household for which it is valid. Null for a key of the operator.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub household: Option<Id>,
    /// The device of a child's key.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub device: Option<Id>,
    /// Its label.
    pub label: String,
    /// When it was made, RFC 3339.
    pub created_at: Timestamp,
    /// When it was revoked, RFC 3339. Null while it is in force.
    pub revoked_at: Option<Timestamp>,
}

/// The prefix of each key, by which scanners and people recognise a leaked one.
const PREFIX: &str = "ox_";

/// Random octets of a key.
const SECRET_OCTETS: usize = 32;

/// Whether a text has the form of a key. Other text is not looked up.
pub(crate) fn is_formed(secret: &str) -> bool {
    let is_digit = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
    secret
        .strip_prefix(PREFIX)
        .is_some_and(|digits| digits.len() == 2 * SECRET_OCTETS && digits.bytes().all(is_digit))
}

/// A statement that reads keys, with the given clauses.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, role, household, device, label, created_at, revoked_at FROM api_key ",
            $rest
        )
    };
}

impl Store {
    /// Creates a key and writes that to the audit. The secret is returned here and never again.
    ///
    /// # Errors
    /// No key is made then.
    pub async fn create_key(&self, by: &Author, new: NewKey) -> Result<(String, Key), KeyError> {
        self.create_key_and_tell(by, new, |_, _| Ok(Vec::new()))
            .await
    }

    /// As [`Self::create_key`], with notices that are queued in the same transaction: `tell` gets
    /// the key, and the household of a family's key. It is called again if the household changed
    /// meanwhile.
    ///
    /// # Errors
    /// No key is made then.
    pub async fn create_key_and_tell(
        &self,
        by: &Author,
        new: NewKey,
        tell_holder: impl Fn(&Key, &Household) -> Result<Vec<NewNotice>, StoreError> + Send,
    ) -> Result<(String, Key), KeyError> {
        self.create_key_by(by, new, None, tell_holder).await
    }

    /// As [`Self::create_key_and_tell`]; with `link`, the key is the one that this link makes.
    pub(crate) async fn create_key_by(
        &self,
        by: &Author,
        new: NewKey,
        link: Option<&str>,
        tell_holder: impl Fn(&Key, &Household) -> Result<Vec<NewNotice>, StoreError> + Send,
    ) -> Result<(String, Key), KeyError> {
        let secret = format!("{PREFIX}{}", random_hex(SECRET_OCTETS)?);
        let NewKey {
            role,
            household,
            device,
            label,
        } = new;
        let key = Key {
            id: random_hex(6)?,
            role,
            household,
            device,
            label,
            created_at: Timestamp::now(),
            revoked_at: None,
        };
        let (mut transaction, notices) = loop {
            let Some(id) = &key.household else {
                break (self.begin().await?, Vec::new());
            };
            // Outside of the transaction, because the document may be long.
            let stored = self.stored_for_change(id).await?;
            let version = stored.version;
            let household = stored.read(id).await?;
            let household = household.ok_or_else(|| KeyError::NoHousehold(id.clone()))?;
            if let Some(device) = key
                .device
                .as_ref()
                .filter(|device| !household.devices.contains_key(*device))
            {
                return Err(KeyError::NoDevice(device.clone()));
            }
            let notices = tell_holder(&key, &household)?;
            let mut transaction = self.begin_for(id.as_str()).await?;
            if has_version(&mut transaction, id, version).await? {
                make_room(&mut transaction, id).await?;
                break (transaction, notices);
            }
        };
        if let Some(link) = link
            && !claim_link(&mut transaction, link, &key).await?
        {
            return Err(KeyError::LinkUsed);
        }
        let insert = "INSERT INTO api_key (id, sha256, role, household, device, label, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let insert = sqlx::query(insert)
            .bind(&key.id)
            .bind(Sha256::digest(&secret).to_vec())
            .bind(role.as_str());
        let insert = insert
            .bind(key.household.as_ref().map(Id::as_str))
            .bind(key.device.as_ref().map(Id::as_str));
        let insert = insert.bind(&key.label).bind(key.created_at.to_string());
        insert
            .execute(&mut *transaction)
            .await
            .map_err(step("storing a key"))?;
        for notice in &notices {
            queue(&mut transaction, notice).await?;
        }
        tell(&mut transaction, by, "create", &key).await?;
        transaction.commit().await?;
        Ok((secret, key))
    }

    /// All keys, oldest first; with `household`, only those of the household.
    pub async fn keys(&self, household: Option<&Id>) -> Result<Vec<Key>, StoreError> {
        // Two statements, because an OR would prevent the use of the index.
        let query = match household {
            Some(household) => sqlx::query(select!("WHERE household = ? ORDER BY created_at, id"))
                .bind(household.as_str()),
            None => sqlx::query(select!("ORDER BY created_at, id")),
        };
        let rows = query
            .fetch_all(&self.pool)
            .await
            .map_err(step("listing keys"))?;
        rows.iter()
            .map(|row| read(row).map_err(step("reading a key")))
            .collect()
    }

    /// Revokes a key and writes that to the audit; it is refused from the next request on. Returns
    /// `None` where there is no such active key, or it is not one of the given household.
    pub async fn revoke_key(
        &self,
        by: &Author,
        household: Option<&Id>,
        id: &str,
    ) -> Result<Option<Key>, StoreError> {
        self.revoke_key_and_tell(by, household, id, |_, _| Ok(Vec::new()))
            .await
    }

    /// As [`Self::revoke_key`], with notices that are queued in the same transaction: `tell` gets
    /// the key, and the household of a family's key.
    pub async fn revoke_key_and_tell(
        &self,
        by: &Author,
        household: Option<&Id>,
        id: &str,
        tell_holder: impl FnOnce(&Key, &Household) -> Result<Vec<NewNotice>, StoreError> + Send,
    ) -> Result<Option<Key>, StoreError> {
        // A key is revoked even if its household's document cannot be read.
        let holder = match household {
            Some(household) => self.household(household).await.ok().flatten(),
            None => self.household_of_key(id).await?,
        };
        let whose = holder.as_ref().map_or("", |holder| holder.id.as_str());
        let mut transaction = self.begin_for(whose).await?;
        let query = sqlx::query(select!("WHERE id = ? AND revoked_at IS NULL")).bind(id);
        let row = query
            .fetch_optional(&mut *transaction)
            .await
            .map_err(step("looking up a key"))?;
        let key = row
            .as_ref()
            .map(read)
            .transpose()
            .map_err(step("reading a key"))?;
        let Some(key) =
            key.filter(|key| household.is_none() || key.household.as_ref() == household)
        else {
            return Ok(None);
        };
        let key = revoke(&mut transaction, by, key).await?;
        if let Some(holder) = holder.filter(|holder| key.household.as_ref() == Some(&holder.id)) {
            for notice in &tell_holder(&key, &holder)? {
                queue(&mut transaction, notice).await?;
            }
        }
        transaction.commit().await?;
        Ok(Some(key))
    }

    /// The household of a family's key; `None` if it cannot be read.
    async fn household_of_key(&self, key: &str) -> Result<Option<Household>, StoreError> {
        let select = sqlx::query_scalar("SELECT household FROM api_key WHERE id = ?").bind(key);
        let id: Option<Option<String>> = select
            .fetch_optional(&self.pool)
            .await
            .map_err(step("looking up a key"))?;
        match id.flatten().and_then(|id| id.parse().ok()) {
            Some(id) => Ok(self.household(&id).await.ok().flatten()),
            None => Ok(None),
        }
    }

    /// The key of a secret, if it is active. Called for every request, so that a revocation takes
    /// effect at once, even one by another process.
    pub async fn authenticate(&self, secret: &str) -> Result<Option<Key>, StoreError> {
        let query = sqlx::query(select!("WHERE sha256 = ? AND revoked_at IS NULL"));
        let query = query.bind(Sha256::digest(secret).to_vec());
        let found = query.fetch_optional(&self.pool).await;
        if found.is_err() {
            // The first connection that opens a file which is gone says only that it cannot.
            self.database.condition().check()?;
        }
        let row = found.map_err(step("looking up a key"))?;
        let key = row
            .as_ref()
            .map(read)
            .transpose()
            .map_err(step("reading a key"))?;
        // An earlier version could create a family key without a household; it grants nothing.
        Ok(key.filter(|key| {
            key.role.is_of_household() == key.household.is_some()
                && (key.role == Role::Child) == key.device.is_some()
        }))
    }

    /// Whether no key was ever created: the first start.
    pub async fn has_no_key(&self) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT NOT EXISTS (SELECT 1 FROM api_key) AS fresh")
            .fetch_one(&self.pool)
            .await;
        row.and_then(|row| row.try_get("fresh"))
            .map_err(step("looking for keys"))
    }
}

/// Marks a link as used by this key. Returns `false` if it was used before.
async fn claim_link(
    connection: &mut SqliteConnection,
    link: &str,
    key: &Key,
) -> Result<bool, StoreError> {
    let update =
        sqlx::query("UPDATE link SET used_at = ?, key = ? WHERE id = ? AND used_at IS NULL")
            .bind(key.created_at.as_second())
            .bind(&key.id)
            .bind(link);
    let updated = update
        .execute(connection)
        .await
        .map_err(step("using a link"))?;
    Ok(updated.rows_affected() == 1)
}

/// Whether the stored version of a household is this one.
async fn has_version(
    connection: &mut SqliteConnection,
    household: &Id,
    version: i64,
) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar("SELECT version FROM household WHERE id = ?")
        .bind(household.as_str())
        .fetch_optional(connection)
        .await;
    let found: Option<i64> = found.map_err(step("reading a household"))?;
    Ok(found == Some(version))
}

/// Checks the limit of keys of a household, and deletes its oldest revoked keys beyond
/// [`REVOKED_KEPT`].
async fn make_room(connection: &mut SqliteConnection, household: &Id) -> Result<(), KeyError> {
    let forget = "DELETE FROM api_key WHERE id IN (SELECT id FROM api_key WHERE household = ?1 AND revoked_at IS NOT NULL
        ORDER BY revoked_at DESC, id LIMIT -1 OFFSET ?2)";
    let forget = sqlx::query(forget)
        .bind(household.as_str())
        .bind(REVOKED_KEPT);
    forget
        .execute(&mut *connection)
        .await
        .map_err(step("forgetting revoked keys"))?;
    let count = sqlx::query(
        "SELECT count(*) AS keys FROM api_key WHERE household = ? AND revoked_at IS NULL",
    )
    .bind(household.as_str());
    let count = count
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get::<i64, _>("keys"))
        .map_err(step("counting keys"))?;
    if count >= KEYS_MAX as i64 {
        Err(KeyError::TooMany)
    } else {
        Ok(())
    }
}

/// Revokes the keys of a removed household, or those of its removed devices, in the same
/// transaction: a later household or device with the same identifier must not inherit them. Returns
/// the revoked ones.
pub(crate) async fn revoke_lost(
    connection: &mut SqliteConnection,
    by: &Author,
    household: &Id,
    is_lost: impl Fn(&Key) -> bool,
) -> Result<Vec<Key>, StoreError> {
    let query =
        sqlx::query(select!("WHERE household = ? AND revoked_at IS NULL")).bind(household.as_str());
    let rows = query
        .fetch_all(&mut *connection)
        .await
        .map_err(step("listing keys"))?;
    let mut revoked = Vec::new();
    for row in &rows {
        let key = read(row).map_err(step("reading a key"))?;
        if is_lost(&key) {
            revoked.push(revoke(connection, by, key).await?);
        }
    }
    Ok(revoked)
}

/// Revokes a key, and ends its sessions.
async fn revoke(
    connection: &mut SqliteConnection,
    by: &Author,
    key: Key,
) -> Result<Key, StoreError> {
    let key = Key {
        revoked_at: Some(Timestamp::now()),
        ..key
    };
    let update = sqlx::query("UPDATE api_key SET revoked_at = ? WHERE id = ?");
    let update = update
        .bind(key.revoked_at.map(|at| at.to_string()))
        .bind(&key.id);
    update
        .execute(&mut *connection)
        .await
        .map_err(step("revoking a key"))?;
    let end = sqlx::query("DELETE FROM session WHERE key = ?").bind(&key.id);
    end.execute(&mut *connection)
        .await
        .map_err(step("ending the sessions of a key"))?;
    tell(connection, by, "revoke", &key).await?;
    Ok(key)
}

/// Writes the creation or revocation of a key to the audit, without the secret.
async fn tell(
    connection: &mut SqliteConnection,
    by: &Author,
    action: &str,
    key: &Key,
) -> Result<(), StoreError> {
    let subject = format!("key:{}", key.id);
    let told = json!(key);
    let (before, after) = if key.revoked_at.is_some() {
        (Some(&told), None)
    } else {
        (None, Some(&told))
    };
    append(
        connection,
        by,
        &AuditEntry {
            action,
            subject: &subject,
            before,
            after,
        },
    )
    .await
    .map(drop)
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Result<Key, sqlx::Error> {
    let decode = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
    let time = |text: String| {
        text.parse::<Timestamp>()
            .map_err(|error| decode(error.into()))
    };
    let id = |text: Option<String>| {
        text.map(|text| text.parse::<Id>())
            .transpose()
            .map_err(|error| decode(error.into()))
    };
    Ok(Key {
        id: row.try_get("id")?,
        role: row
            .try_get::<String, _>("role")?
            .parse()
            .map_err(|error: String| decode(error.into()))?,
        household: id(row.try_get("household")?)?,
        device: id(row.try_get("device")?)?,
        label: row.try_get("label")?,
        created_at: time(row.try_get("created_at")?)?,
        revoked_at: row
            .try_get::<Option<String>, _>("revoked_at")?
            .map(time)
            .transpose()?,
    })
}
