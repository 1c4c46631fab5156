//! Browsers that want notices of a household by web push, and the key by which push services know
//! this node. A subscription is good as long as the session that made it, and is removed with it (a
//! trigger of migration 15).

use jiff::Timestamp;
use policy::rules::household::Id;
use sha2::{Digest, Sha256};
use sqlx::FromRow;

use crate::{
    Store,
    error::{StoreError, step},
    sessions::IDLE_MAX,
};

/// A browser that wants notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushSubscription {
    /// The device of a child; `None` for a parent.
    pub device: Option<Id>,
    /// For whom the browser's session acts.
    pub actor: String,
    /// Its address at its push service.
    pub endpoint: String,
    /// Its public key: `p256dh`.
    pub public: Vec<u8>,
    /// Its secret: `auth`.
    pub secret: Vec<u8>,
    /// The language of the notices, BCP 47.
    pub locale: String,
}

#[derive(FromRow)]
struct Row {
    device: Option<String>,
    actor: String,
    endpoint: String,
    public: Vec<u8>,
    secret: Vec<u8>,
    locale: String,
}

/// The column of a session, from its fingerprint.
fn column(session: u64) -> Vec<u8> {
    session.to_be_bytes().to_vec()
}

impl Store {
    /// Stores the subscription of a session in place of the one that it had, and of any of this
    /// endpoint. A household has no more of them than sessions.
    pub async fn add_push_subscription(
        &self,
        household: &Id,
        session: u64,
        subscription: &PushSubscription,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin_for(household.as_str()).await?;
        // A child that subscribes often takes no place of its parents.
        sqlx::query("DELETE FROM push_subscription WHERE household = ? AND session = ?")
            .bind(household.as_str())
            .bind(column(session))
            .execute(&mut *transaction)
            .await
            .map_err(step("removing the subscription before"))?;
        let insert = "INSERT OR REPLACE INTO push_subscription (sha256, household, device, actor, session, endpoint, public, secret, locale, at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        sqlx::query(insert)
            .bind(Sha256::digest(&subscription.endpoint).to_vec())
            .bind(household.as_str())
            .bind(subscription.device.as_ref().map(Id::as_str))
            .bind(&subscription.actor)
            .bind(column(session))
            .bind(&subscription.endpoint)
            .bind(&subscription.public)
            .bind(&subscription.secret)
            .bind(&subscription.locale)
            .bind(now.as_second())
            .execute(&mut *transaction)
            .await
            .map_err(step("storing a subscription"))?;
        transaction.commit().await
    }

    /// Whether a session has a subscription.
    pub async fn has_push_subscription(&self, session: u64) -> Result<bool, StoreError> {
        let select = "SELECT EXISTS (SELECT 1 FROM push_subscription WHERE session = ?)";
        sqlx::query_scalar(select)
            .bind(column(session))
            .fetch_one(&self.pool)
            .await
            .map_err(step("reading the subscription of a session"))
    }

    /// Removes the subscriptions of a session.
    pub async fn remove_push_subscriptions(&self, session: u64) -> Result<(), StoreError> {
        let delete = sqlx::query("DELETE FROM push_subscription WHERE session = ?");
        let delete = delete.bind(column(session));
        self.database
            .execute(delete, "removing subscriptions")
            .await
            .map(drop)
    }

    /// Removes the subscription of an endpoint, which its push service no longer knows.
    pub async fn remove_push_endpoint(&self, endpoint: &str) -> Result<(), StoreError> {
        let delete = sqlx::query("DELETE FROM push_subscription WHERE sha256 = ?");
        let delete = delete.bind(Sha256::digest(endpoint).to_vec());
        self.database
            .execute(delete, "removing a subscription")
            .await
            .map(drop)
    }

    /// The subscriptions of a household whose sessions are in force.
    pub async fn push_subscriptions(
        &self,
        household: &Id,
        now: Timestamp,
    ) -> Result<Vec<PushSubscription>, StoreError> {
        let select = "SELECT device, actor, endpoint, public, secret, locale FROM push_subscription AS push
            WHERE household = ?1 AND EXISTS (SELECT 1 FROM session WHERE session.household = push.household
                AND substr(session.sha256, 1, 8) = push.session AND ends_at > ?2 AND seen_at > ?3
                AND (key IS NULL OR EXISTS (SELECT 1 FROM api_key WHERE api_key.id = session.key AND revoked_at IS NULL)))";
        let rows: Vec<Row> = sqlx::query_as(select)
            .bind(household.as_str())
            .bind(now.as_second())
            .bind((now - IDLE_MAX).as_second())
            .fetch_all(&self.pool)
            .await
            .map_err(step("reading subscriptions"))?;
        let read = |row: Row| {
            let device = row.device.map(|device| device.parse().ok());
            Some(PushSubscription {
                device: match device {
                    Some(device) => Some(device?),
                    None => None,
                },
                actor: row.actor,
                endpoint: row.endpoint,
                public: row.public,
                secret: row.secret,
                locale: row.locale,
            })
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// The key by which push services know this node, in PKCS #8: the stored one, or `fresh`, which
    /// is stored then.
    pub async fn push_key(&self, fresh: &[u8]) -> Result<Vec<u8>, StoreError> {
        let insert = "INSERT INTO push_key (only_row, pkcs8) VALUES (1, ?) ON CONFLICT DO NOTHING";
        let insert = sqlx::query(insert).bind(fresh);
        self.database
            .execute(insert, "storing the key of push messages")
            .await?;
        sqlx::query_scalar("SELECT pkcs8 FROM push_key")
            .fetch_one(&self.pool)
            .await
            .map_err(step("reading the key of push messages"))
    }
}
