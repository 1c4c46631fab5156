//! Who is logged in to the app of a household, and the end of sessions from afar.
//!
//! ```text
//! list -> end one, or all but the caller's own: one transaction ends the sessions (audit),
//!         revokes the keys that links made for them (audit), and withdraws unused links (audit)
//! ```
//!
//! A key whose secret was given out stays in force: the one who has it can log in again.

use jiff::Timestamp;
use policy::rules::household::{Household, Id};
use serde::Serialize;
use serde_json::json;
use sqlx::{FromRow, SqliteConnection};

use crate::{
    Author, Key, NewNotice, Role, Store,
    audit::{AuditEntry, append},
    error::{StoreError, step},
    in_force::leading,
    keys::revoke_lost,
    links::{keys_of_links, withdraw_all},
    notices::queue,
    sessions::{IDLE_MAX, KEY_ACTOR},
    time::second,
};

/// A session, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ListedSession {
    /// Its identifier, as in the audit.
    pub id: String,
    pub role: Role,
    /// The device of a child's session. Null for a parent's.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub device: Option<Id>,
    /// For whom it acts, as in `set_by`: `key:ID`, or `jwt:SUBJECT` for a log-in at the provider.
    pub acts_for: String,
    /// The label of that key. Empty if it has none.
    pub label: String,
    /// Whether a link began it. The key then ends with the session.
    pub is_of_link: bool,
    /// The browser, as it has told. Null if that is not known.
    pub browser: Option<String>,
    /// The system below the browser, as it has told. Null if that is not known.
    pub system: Option<String>,
    /// When it began, RFC 3339.
    pub begun_at: Timestamp,
    /// When it was last used, RFC 3339: up to 12 hours before the last use.
    pub last_used_at: Timestamp,
    /// When it ends, RFC 3339, unless it is used before.
    pub ends_at: Timestamp,
    /// As [`crate::session_fingerprint`] of its secret.
    #[serde(skip)]
    pub fingerprint: u64,
}

/// Which sessions of a household end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionsToEnd<'s> {
    /// The one with this identifier.
    One(&'s str),
    /// All but the one with this fingerprint, and all unused links.
    AllBut(Option<u64>),
}

/// What has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedSessions {
    /// The fingerprints of the sessions.
    pub fingerprints: Vec<u64>,
    /// How many links were withdrawn.
    pub links: usize,
}

#[derive(FromRow)]
struct Row {
    sha256: Vec<u8>,
    id: String,
    actor: String,
    role: String,
    device: Option<String>,
    browser: Option<String>,
    system: Option<String>,
    begun_at: i64,
    seen_at: i64,
    ends_at: i64,
    label: String,
    is_of_link: bool,
}

impl Row {
    /// `None` if the row cannot be read: such a session grants nothing.
    fn listed(self) -> Option<ListedSession> {
        let last_used_at = second(self.seen_at);
        Some(ListedSession {
            fingerprint: leading(&self.sha256),
            id: self.id,
            role: self.role.parse().ok()?,
            device: match self.device {
                Some(device) => Some(device.parse().ok()?),
                None => None,
            },
            acts_for: self.actor,
            label: self.label,
            is_of_link: self.is_of_link,
            browser: self.browser,
            system: self.system,
            begun_at: second(self.begun_at),
            last_used_at,
            ends_at: second(self.ends_at).min(last_used_at + IDLE_MAX),
        })
    }
}

impl ListedSession {
    /// Whether it acts for a key that a link has made for it.
    fn has_made(&self, key: &Key) -> bool {
        self.is_of_link && self.acts_for.strip_prefix(KEY_ACTOR) == Some(&key.id)
    }
}

impl Store {
    /// The sessions of a household that are in force, newest first.
    pub async fn sessions_of(
        &self,
        household: &Id,
        now: Timestamp,
    ) -> Result<Vec<ListedSession>, StoreError> {
        let mut connection = self
            .pool
            .acquire()
            .await
            .map_err(step("listing sessions"))?;
        in_force(&mut connection, household, now).await
    }

    /// Whether a session with this fingerprint is there.
    pub async fn has_session(&self, fingerprint: u64) -> Result<bool, StoreError> {
        let first = fingerprint.to_be_bytes().to_vec();
        let last = [first.as_slice(), &[u8::MAX; 24]].concat();
        let select = "SELECT EXISTS (SELECT 1 FROM session WHERE sha256 BETWEEN ? AND ?)";
        sqlx::query_scalar(select)
            .bind(first)
            .bind(last)
            .fetch_one(&self.pool)
            .await
            .map_err(step("looking up a session"))
    }

    /// Ends sessions of a household, and writes that to the audit. `tell_holder` gets each key that
    /// is revoked with them; its notices are queued in the same transaction.
    pub async fn end_sessions(
        &self,
        by: &Author,
        household: &Id,
        which: SessionsToEnd<'_>,
        now: Timestamp,
        tell_holder: impl Fn(&Key, &Household) -> Result<Vec<NewNotice>, StoreError> + Send,
    ) -> Result<EndedSessions, StoreError> {
        // Sessions end even if the household's document cannot be read.
        let holder = self.household(household).await.ok().flatten();
        let mut transaction = self.begin_for(household.as_str()).await?;
        let sessions = in_force(&mut transaction, household, now).await?;
        let (ended, kept): (Vec<_>, Vec<_>) =
            sessions.into_iter().partition(|session| match which {
                SessionsToEnd::One(id) => session.id == id,
                SessionsToEnd::AllBut(own) => Some(session.fingerprint) != own,
            });
        for session in &ended {
            end(&mut transaction, by, household, session).await?;
        }
        let revoked = match which {
            SessionsToEnd::One(_) => {
                let is_over = |key: &Key| ended.iter().any(|session| session.has_made(key));
                revoke_lost(&mut transaction, by, household, is_over).await?
            }
            SessionsToEnd::AllBut(_) => {
                // Also those whose session is about to begin, or is over.
                let made = keys_of_links(&mut transaction, household).await?;
                let is_own = |key: &Key| kept.iter().any(|session| session.has_made(key));
                let is_over = |key: &Key| made.contains(&key.id) && !is_own(key);
                revoke_lost(&mut transaction, by, household, is_over).await?
            }
        };
        for key in &revoked {
            let notices = holder.as_ref().map(|holder| tell_holder(key, holder));
            for notice in &notices.transpose()?.unwrap_or_default() {
                queue(&mut transaction, notice).await?;
            }
        }
        let links = match which {
            SessionsToEnd::One(_) => 0,
            SessionsToEnd::AllBut(_) => withdraw_all(&mut transaction, by, household, now).await?,
        };
        transaction.commit().await?;
        Ok(EndedSessions {
            fingerprints: ended.iter().map(|session| session.fingerprint).collect(),
            links,
        })
    }
}

async fn in_force(
    connection: &mut SqliteConnection,
    household: &Id,
    now: Timestamp,
) -> Result<Vec<ListedSession>, StoreError> {
    let select = "SELECT session.sha256, session.id, actor, session.role, session.device, browser, system, begun_at, seen_at, ends_at,
            coalesce(api_key.label, '') AS label, EXISTS (SELECT 1 FROM link WHERE link.key = session.key) AS is_of_link
        FROM session LEFT JOIN api_key ON api_key.id = session.key
        WHERE session.household = ? AND ends_at > ? AND seen_at > ?
            AND (session.key IS NULL OR api_key.id IS NOT NULL AND api_key.revoked_at IS NULL)
        ORDER BY begun_at DESC, session.id";
    let rows: Vec<Row> = sqlx::query_as(select)
        .bind(household.as_str())
        .bind(now.as_second())
        .bind((now - IDLE_MAX).as_second())
        .fetch_all(connection)
        .await
        .map_err(step("listing sessions"))?;
    Ok(rows.into_iter().filter_map(Row::listed).collect())
}

async fn end(
    connection: &mut SqliteConnection,
    by: &Author,
    household: &Id,
    session: &ListedSession,
) -> Result<(), StoreError> {
    let delete = "DELETE FROM session WHERE household = ? AND id = ?";
    sqlx::query(delete)
        .bind(household.as_str())
        .bind(&session.id)
        .execute(&mut *connection)
        .await
        .map_err(step("ending a session"))?;
    let told = json!({ "household": household, "role": session.role, "device": session.device,
        "acts_for": session.acts_for, "begun_at": session.begun_at });
    let deed = AuditEntry {
        action: "end",
        subject: &format!("session:{}", session.id),
        before: Some(&told),
        after: None,
    };
    append(connection, by, &deed).await.map(drop)
}
