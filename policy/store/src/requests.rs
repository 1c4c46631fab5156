//! Requests of children to unblock a name, and the answers. Kept for 30 days and never written to
//! the audit: what a child wanted to see is not recorded for good.

use jiff::{SignedDuration, Timestamp};
use policy::{
    name::Name,
    rules::household::{Household, Id},
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, SqliteConnection};

use crate::{
    Store,
    error::{ChangeError, StoreError, step},
    time::second,
};

/// The most open requests of one household.
pub const REQUESTS_OPEN_MAX: u32 = 200;
/// The most requests of one household that are kept: beyond, the oldest answered ones are forgotten.
pub const REQUESTS_KEPT_MAX: u32 = 1_000;
/// The most requests of one device in a day.
pub const REQUESTS_PER_DAY_MAX: u32 = 20;
/// How long a request is kept, answered or not.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The state of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    Open,
    Allowed,
    Denied,
}

impl RequestState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        }
    }
}

/// The content of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RequestDetails {
    /// The name.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub name: Name,
    /// The categories for which it is blocked, by slug.
    pub categories: Vec<String>,
    /// The reason, in the child's words.
    pub reason: Option<String>,
    /// The key that asked.
    pub asked_by: String,
    /// The answer. Null while the request is open.
    #[serde(default)]
    pub answer: Option<RequestAnswer>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RequestAnswer {
    /// `allow` or `deny`.
    pub answer: String,
    /// `domain` or `category`. Null if nothing was allowed.
    pub scope: Option<String>,
    /// For whom: `device`, `person` or `household`. Null if nothing was allowed.
    pub whose: Option<String>,
    /// Until when, RFC 3339. Null if it holds for good.
    pub until: Option<Timestamp>,
    /// A note to the child.
    pub note: Option<String>,
    /// The key that answered.
    pub answered_by: String,
    /// When it was answered, RFC 3339.
    pub answered_at: Timestamp,
}

/// A request to allow a blocked name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = Request))]
pub struct AccessRequest {
    /// The identifier.
    pub id: String,
    /// The device that it is for.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub device: Id,
    pub state: RequestState,
    /// When it was asked, RFC 3339.
    pub at: Timestamp,
    /// When it is removed, RFC 3339.
    pub expires_at: Timestamp,
    #[serde(flatten)]
    pub asked: RequestDetails,
}

#[derive(FromRow)]
struct Row {
    id: String,
    household: String,
    device: String,
    state: String,
    at: i64,
    document: String,
}

impl Row {
    fn request(self) -> Result<AccessRequest, StoreError> {
        type Fault = Box<dyn std::error::Error + Send + Sync>;
        let unreadable = |source: Fault| StoreError::Document {
            household: self.household.clone(),
            source,
        };
        let at = second(self.at);
        Ok(AccessRequest {
            device: self
                .device
                .parse()
                .map_err(|error: policy::rules::household::IdError| unreadable(error.into()))?,
            state: serde_json::from_value(self.state.clone().into())
                .map_err(|error| unreadable(error.into()))?,
            at,
            expires_at: at + KEPT,
            asked: serde_json::from_str(&self.document)
                .map_err(|error| unreadable(error.into()))?,
            id: self.id,
        })
    }
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The household has [`REQUESTS_OPEN_MAX`] open requests.
    #[error("a household has at most {REQUESTS_OPEN_MAX} requests that wait for an answer")]
    TooManyOpen,
    /// The device has made [`REQUESTS_PER_DAY_MAX`] requests in a day.
    #[error("a device asks at most {REQUESTS_PER_DAY_MAX} times a day")]
    TooManyToday,
}

/// Answers a request, in the transaction that applies the answer.
pub(crate) async fn answer<E>(
    connection: &mut SqliteConnection,
    household: &Id,
    id: &str,
    state: RequestState,
    answer: &RequestAnswer,
) -> Result<AccessRequest, ChangeError<E>> {
    let select =
        sqlx::query_as("SELECT * FROM request WHERE id = ? AND household = ? AND state = 'open'")
            .bind(id)
            .bind(household.as_str());
    let row: Option<Row> = select
        .fetch_optional(&mut *connection)
        .await
        .map_err(step("reading a request"))?;
    let mut request = row
        .map(Row::request)
        .transpose()?
        .ok_or(ChangeError::Settled)?;
    (request.state, request.asked.answer) = (state, Some(answer.clone()));
    let document = serde_json::to_string(&request.asked).expect("a request is plain data");
    let update = sqlx::query("UPDATE request SET state = ?, document = ? WHERE id = ?")
        .bind(state.as_str())
        .bind(document)
        .bind(id);
    update
        .execute(connection)
        .await
        .map_err(step("answering a request"))?;
    Ok(request)
}

/// Deletes the requests of removed devices or of a removed household, in the transaction that
/// removes them: a later device with the same identifier must not inherit them.
pub(crate) async fn forget_lost(
    connection: &mut SqliteConnection,
    household: &Id,
    after: Option<&Household>,
) -> Result<(), StoreError> {
    let select = sqlx::query_as("SELECT DISTINCT device FROM request WHERE household = ?")
        .bind(household.as_str());
    let devices: Vec<(String,)> = select
        .fetch_all(&mut *connection)
        .await
        .map_err(step("listing requests"))?;
    for (device,) in devices {
        if !after.is_some_and(|after| after.devices.contains_key(device.as_str())) {
            let delete = sqlx::query("DELETE FROM request WHERE household = ? AND device = ?")
                .bind(household.as_str())
                .bind(device);
            delete
                .execute(&mut *connection)
                .await
                .map_err(step("forgetting requests"))?;
        }
    }
    Ok(())
}

/// The open request of a device that covers a name: its own name or one above it.
async fn find_open(
    connection: &mut SqliteConnection,
    household: &Id,
    device: &Id,
    name: &Name,
) -> Result<Option<AccessRequest>, StoreError> {
    let select = sqlx::query_as(
        "SELECT * FROM request WHERE household = ? AND device = ? AND state = 'open' ORDER BY sequence",
    );
    let select = select.bind(household.as_str()).bind(device.as_str());
    let open: Vec<Row> = select
        .fetch_all(connection)
        .await
        .map_err(step("listing requests"))?;
    Ok(open
        .into_iter()
        .filter_map(|row| row.request().ok())
        .find(|open| name.borrow().is_within(open.asked.name.borrow())))
}

/// Checks that a household has room for one more open request, and a device for one more today.
async fn check_limits(
    connection: &mut SqliteConnection,
    household: &Id,
    device: &Id,
    now: Timestamp,
) -> Result<(), RequestError> {
    let count = "SELECT count(*) FILTER (WHERE state = 'open'), count(*) FILTER (WHERE device = ? AND at > ?) FROM request WHERE household = ?";
    let day_ago = (now - SignedDuration::from_hours(24)).as_second();
    let count = sqlx::query_as(count)
        .bind(device.as_str())
        .bind(day_ago)
        .bind(household.as_str());
    let (open, today): (i64, i64) = count
        .fetch_one(connection)
        .await
        .map_err(step("counting requests"))?;
    if open >= i64::from(REQUESTS_OPEN_MAX) {
        return Err(RequestError::TooManyOpen);
    }
    if today >= i64::from(REQUESTS_PER_DAY_MAX) {
        return Err(RequestError::TooManyToday);
    }
    Ok(())
}

/// Forgets the oldest answered requests of a household with more than [`REQUESTS_KEPT_MAX`]. Fewer
/// than that are open, so that one is left.
async fn forget_answered(
    connection: &mut SqliteConnection,
    household: &Id,
) -> Result<(), StoreError> {
    let delete = "DELETE FROM request WHERE household = ?1 AND state <> 'open'
        AND (SELECT count(*) FROM request WHERE household = ?1) > ?2
        AND sequence <= (SELECT sequence FROM request WHERE household = ?1 AND state <> 'open'
            ORDER BY sequence LIMIT 1 OFFSET (SELECT count(*) FROM request WHERE household = ?1) - ?2 - 1)";
    let delete = sqlx::query(delete)
        .bind(household.as_str())
        .bind(REQUESTS_KEPT_MAX);
    delete
        .execute(connection)
        .await
        .map(drop)
        .map_err(step("forgetting requests"))
}

async fn insert(
    connection: &mut SqliteConnection,
    household: &Id,
    request: &AccessRequest,
) -> Result<(), StoreError> {
    let document = serde_json::to_string(&request.asked).expect("a request is plain data");
    let insert = sqlx::query(
        "INSERT INTO request (id, household, device, state, at, document) VALUES (?, ?, ?, ?, ?, ?)",
    );
    let insert = insert
        .bind(&request.id)
        .bind(household.as_str())
        .bind(request.device.as_str())
        .bind(request.state.as_str());
    let insert = insert.bind(request.at.as_second()).bind(document);
    insert
        .execute(connection)
        .await
        .map(drop)
        .map_err(step("storing a request"))
}

impl Store {
    /// Adds a request, and returns it with `true`. If the device has an open request that covers the
    /// name, returns that one with `false`.
    ///
    /// # Errors
    /// [`RequestError::TooManyOpen`] and [`RequestError::TooManyToday`] at the limits.
    pub async fn add_request(
        &self,
        household: &Id,
        device: &Id,
        asked: RequestDetails,
        now: Timestamp,
    ) -> Result<(AccessRequest, bool), RequestError> {
        let mut transaction = self.begin_for(household.as_str()).await?;
        let forget = sqlx::query("DELETE FROM request WHERE at < ?").bind((now - KEPT).as_second());
        forget
            .execute(&mut *transaction)
            .await
            .map_err(step("forgetting requests"))?;
        // Inside the transaction: of two simultaneous requests the second one finds the first.
        if let Some(open) = find_open(&mut transaction, household, device, &asked.name).await? {
            return Ok((open, false));
        }
        check_limits(&mut transaction, household, device, now).await?;
        let at = second(now.as_second());
        let id = crate::secret::random_hex(8)?;
        let request = AccessRequest {
            id,
            device: device.clone(),
            state: RequestState::Open,
            at,
            expires_at: at + KEPT,
            asked,
        };
        insert(&mut transaction, household, &request).await?;
        forget_answered(&mut transaction, household).await?;
        transaction.commit().await?;
        Ok((request, true))
    }

    /// The requests of a household, newest first; with `device`, only those for it.
    pub async fn requests(
        &self,
        household: &Id,
        device: Option<&Id>,
        now: Timestamp,
    ) -> Result<Vec<AccessRequest>, StoreError> {
        let select = "SELECT * FROM request WHERE household = ?1 AND at >= ?2 AND (?3 IS NULL OR device = ?3) ORDER BY sequence DESC LIMIT ?4";
        let select = sqlx::query_as(select)
            .bind(household.as_str())
            .bind((now - KEPT).as_second())
            .bind(device.map(Id::as_str))
            .bind(REQUESTS_KEPT_MAX);
        let rows: Vec<Row> = select
            .fetch_all(&self.pool)
            .await
            .map_err(step("listing requests"))?;
        rows.into_iter().map(Row::request).collect()
    }

    pub async fn request(
        &self,
        household: &Id,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<AccessRequest>, StoreError> {
        let select =
            sqlx::query_as("SELECT * FROM request WHERE household = ? AND id = ? AND at >= ?");
        let select = select
            .bind(household.as_str())
            .bind(id)
            .bind((now - KEPT).as_second());
        let row: Option<Row> = select
            .fetch_optional(&self.pool)
            .await
            .map_err(step("reading a request"))?;
        row.map(Row::request).transpose()
    }

    /// Denies a request.
    ///
    /// # Errors
    /// [`ChangeError::Settled`] where the request was answered before.
    pub async fn deny_request<E>(
        &self,
        household: &Id,
        id: &str,
        with: &RequestAnswer,
    ) -> Result<AccessRequest, ChangeError<E>> {
        let mut transaction = self.begin_for(household.as_str()).await?;
        let request = answer(&mut transaction, household, id, RequestState::Denied, with).await?;
        transaction.commit().await?;
        Ok(request)
    }
}
