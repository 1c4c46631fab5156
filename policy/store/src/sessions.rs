//! Sessions of the app in browsers: 256 random bits in a cookie, stored as SHA-256.
//!
//! A session acts for a key, and ends with it; or for the subject of a token, and ends with the
//! household or the device. It also ends when it was not used for [`IDLE_MAX`], and in any case at
//! its end. Its beginning is not written to the audit: the key is, what the session changes, and its
//! end from afar (`logged_in`).

use jiff::{SignedDuration, Timestamp};
use policy::rules::household::{Household, Id};
use sha2::{Digest, Sha256};
use sqlx::{FromRow, SqliteConnection};

use crate::{
    Author, Key, Role, Store,
    error::{StoreError, step},
    in_force::leading,
    keys,
    secret::random_hex,
    time::second,
};

/// The longest time between two uses of a session.
pub const IDLE_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The longest life of a session for a key.
pub const AGE_MAX: SignedDuration = SignedDuration::from_hours(180 * 24);
/// The most sessions of one household, and for one key or subject. A further one ends the oldest of
/// the same key or subject, so that a child's log-ins do not log its parents out.
const SESSIONS_MAX: i64 = 512;
const SESSIONS_OF_ONE_MAX: i64 = 32;
/// How exactly the last use is known: a use within this time of the last one is not written.
const SEEN_WITHIN: SignedDuration = SignedDuration::from_hours(12);
/// The prefix of a session's secret.
const PREFIX: &str = "oxs_";
/// Random octets of an identifier.
const ID_OCTETS: usize = 6;
/// Random octets of a secret.
const SECRET_OCTETS: usize = 32;

/// For whom a session acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOwner {
    /// The author of what it changes.
    pub author: Author,
    pub role: Role,
    pub household: Id,
    /// The device of a child.
    pub device: Option<Id>,
}

impl SessionOwner {
    /// The owner of a session for a key. `None` for a key of no household.
    #[must_use]
    pub fn of_key(key: &Key) -> Option<Self> {
        Some(Self {
            author: Author {
                actor: format!("{KEY_ACTOR}{}", key.id),
                role: key.role.to_string(),
            },
            role: key.role,
            household: key.household.clone()?,
            device: key.device.clone(),
        })
    }
}

/// The prefix of a key's identifier in the name of its author.
pub(crate) const KEY_ACTOR: &str = "key:";

/// A session that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BegunSession {
    /// What the cookie holds.
    pub secret: String,
    pub session: Session,
    /// The fingerprints of the sessions that it has ended.
    pub ended: Vec<u64>,
}

/// What a browser has told of itself, in words of the program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ToldBrowser {
    pub browser: Option<&'static str>,
    pub system: Option<&'static str>,
}

/// A session in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub owner: SessionOwner,
    /// When it ends, unless it is used before.
    pub ends_at: Timestamp,
    /// Whether its last use should be written.
    pub is_due: bool,
}

#[derive(FromRow)]
struct Row {
    actor: String,
    role: String,
    household: String,
    device: Option<String>,
    seen_at: i64,
    ends_at: i64,
}

impl Row {
    /// `None` if the row cannot be read: it then grants nothing.
    fn session(self, now: Timestamp) -> Option<Session> {
        let role: Role = self.role.parse().ok()?;
        let device = self.device.map(|device| device.parse().ok());
        let seen_at = second(self.seen_at);
        let owner = SessionOwner {
            author: Author {
                actor: self.actor,
                role: role.to_string(),
            },
            role,
            household: self.household.parse().ok()?,
            device: match device {
                Some(device) => Some(device?),
                None => None,
            },
        };
        Some(Session {
            owner,
            ends_at: second(self.ends_at).min(seen_at + IDLE_MAX),
            is_due: now.duration_since(seen_at) >= SEEN_WITHIN,
        })
    }
}

/// Whether a text has the form of a session's secret. Other text is not looked up.
fn is_formed(secret: &str) -> bool {
    let is_digit = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
    secret
        .strip_prefix(PREFIX)
        .is_some_and(|digits| digits.len() == 2 * SECRET_OCTETS && digits.bytes().all(is_digit))
}

/// As [`crate::fingerprint`], of a session's secret.
#[must_use]
pub fn session_fingerprint(secret: &str) -> Option<u64> {
    is_formed(secret).then(|| leading(&Sha256::digest(secret)))
}

fn digest(secret: &str) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}

impl Store {
    /// Begins a session, which ends after `age` at the latest. Returns its secret here and never
    /// again. Removes sessions that are over, and the oldest beyond the bounds.
    pub async fn begin_session(
        &self,
        owner: &SessionOwner,
        told: ToldBrowser,
        age: SignedDuration,
        now: Timestamp,
    ) -> Result<BegunSession, StoreError> {
        let secret = format!("{PREFIX}{}", random_hex(SECRET_OCTETS)?);
        let household = owner.household.as_str();
        let mut transaction = self.begin_for(household).await?;
        let over = sqlx::query("DELETE FROM session WHERE ends_at <= ? OR seen_at <= ?")
            .bind(now.as_second())
            .bind((now - IDLE_MAX).as_second());
        over.execute(&mut *transaction)
            .await
            .map_err(step("removing sessions that are over"))?;
        let of_one = Some(owner.author.actor.as_str());
        let mut ended = Vec::new();
        for (actor, max) in [(of_one, SESSIONS_OF_ONE_MAX), (None, SESSIONS_MAX)] {
            let excess = "DELETE FROM session WHERE sha256 IN (SELECT sha256 FROM session
                WHERE household = ?1 AND (?2 IS NULL OR actor = ?2)
                ORDER BY begun_at DESC, rowid DESC LIMIT -1 OFFSET ?3) RETURNING sha256";
            let hashes: Vec<Vec<u8>> = sqlx::query_scalar(excess)
                .bind(household)
                .bind(actor)
                .bind(max - 1)
                .fetch_all(&mut *transaction)
                .await
                .map_err(step("ending the oldest sessions"))?;
            ended.extend(hashes.iter().map(|hash| leading(hash)));
        }
        let insert = "INSERT INTO session (sha256, key, actor, role, household, device, begun_at, seen_at, ends_at, id, browser, system)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9, ?10, ?11)";
        let ends_at = second((now + age).as_second());
        let insert = sqlx::query(insert)
            .bind(digest(&secret))
            .bind(owner.author.actor.strip_prefix(KEY_ACTOR))
            .bind(&owner.author.actor)
            .bind(owner.role.as_str())
            .bind(household)
            .bind(owner.device.as_ref().map(Id::as_str))
            .bind(now.as_second())
            .bind(ends_at.as_second())
            .bind(random_hex(ID_OCTETS)?)
            .bind(told.browser)
            .bind(told.system);
        insert
            .execute(&mut *transaction)
            .await
            .map_err(step("beginning a session"))?;
        transaction.commit().await?;
        let session = Session {
            owner: owner.clone(),
            ends_at: ends_at.min(now + IDLE_MAX),
            is_due: false,
        };
        Ok(BegunSession {
            secret,
            session,
            ended,
        })
    }

    /// The session of a secret, if it is in force. Called for every request with the cookie.
    pub async fn session(
        &self,
        secret: &str,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        if !is_formed(secret) {
            return Ok(None);
        }
        let select = "SELECT actor, role, household, device, seen_at, ends_at FROM session
            WHERE sha256 = ? AND (key IS NULL OR EXISTS (
                SELECT 1 FROM api_key WHERE api_key.id = session.key AND revoked_at IS NULL))";
        let row: Option<Row> = sqlx::query_as(select)
            .bind(digest(secret))
            .fetch_optional(&self.pool)
            .await
            .map_err(step("looking up a session"))?;
        let session = row.and_then(|row| row.session(now));
        Ok(session.filter(|session| now < session.ends_at))
    }

    /// Writes that a session was used.
    pub async fn session_was_used(&self, secret: &str, now: Timestamp) -> Result<(), StoreError> {
        let update = sqlx::query("UPDATE session SET seen_at = ? WHERE sha256 = ?")
            .bind(now.as_second())
            .bind(digest(secret));
        self.database
            .execute(update, "writing the use of a session")
            .await
            .map(drop)
    }

    /// Ends a session. A key that a link made for this session ends with it, because no secret of
    /// that key was ever given out.
    pub async fn end_session(&self, secret: &str) -> Result<bool, StoreError> {
        let select =
            "SELECT actor, role, household, device, seen_at, ends_at FROM session WHERE sha256 = ?";
        let row: Option<Row> = sqlx::query_as(select)
            .bind(digest(secret))
            .fetch_optional(&self.pool)
            .await
            .map_err(step("looking up a session"))?;
        let Some(row) = row else { return Ok(false) };
        let by = Author {
            actor: row.actor,
            role: row.role,
        };
        let mut transaction = self.begin_for(&row.household).await?;
        let delete = sqlx::query("DELETE FROM session WHERE sha256 = ?").bind(digest(secret));
        let deleted = delete
            .execute(&mut *transaction)
            .await
            .map_err(step("ending a session"))?;
        if let Ok(household) = row.household.parse::<Id>() {
            let made = "SELECT EXISTS (SELECT 1 FROM link WHERE key = ?)";
            let id = by.actor.strip_prefix(KEY_ACTOR).unwrap_or_default();
            let is_of_link: bool = sqlx::query_scalar(made)
                .bind(id)
                .fetch_one(&mut *transaction)
                .await
                .map_err(step("looking up a link"))?;
            if is_of_link {
                keys::revoke_lost(&mut transaction, &by, &household, |key| key.id == id).await?;
            }
        }
        transaction.commit().await?;
        Ok(deleted.rows_affected() == 1)
    }

    /// The fingerprints of all sessions, read at the start.
    pub async fn session_fingerprints(&self) -> Result<Vec<u64>, StoreError> {
        let hashes: Vec<Vec<u8>> = sqlx::query_scalar("SELECT sha256 FROM session")
            .fetch_all(&self.pool)
            .await
            .map_err(step("reading sessions"))?;
        Ok(hashes.iter().map(|hash| leading(hash)).collect())
    }
}

/// Ends the sessions of a removed household, or of its removed devices, and their links, in the
/// transaction that removes them: a later household or device with the same identifier must not
/// inherit them.
pub(crate) async fn forget_lost(
    connection: &mut SqliteConnection,
    household: &Id,
    after: Option<&Household>,
) -> Result<(), StoreError> {
    for (select, delete) in [
        (
            "SELECT DISTINCT device FROM session WHERE household = ?",
            "DELETE FROM session WHERE household = ? AND device IS ?",
        ),
        (
            "SELECT DISTINCT device FROM link WHERE household = ?",
            "DELETE FROM link WHERE household = ? AND device IS ?",
        ),
    ] {
        let devices: Vec<Option<String>> = sqlx::query_scalar(select)
            .bind(household.as_str())
            .fetch_all(&mut *connection)
            .await
            .map_err(step("listing sessions"))?;
        for device in devices {
            let is_kept = after.is_some_and(|after| match &device {
                Some(device) => after.devices.contains_key(device.as_str()),
                None => true,
            });
            if !is_kept {
                let delete = sqlx::query(delete).bind(household.as_str()).bind(device);
                delete
                    .execute(&mut *connection)
                    .await
                    .map_err(step("ending sessions"))?;
            }
        }
    }
    Ok(())
}
