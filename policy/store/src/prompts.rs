//! Prompts: what things want to reach, and what the household answered. A device has at most one
//! open prompt, which grows. Kept for 30 days, and never in the audit; an answer is there as the
//! change of the household that it makes.

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
    secret::random_hex,
    time::second,
};

/// The most domains of one prompt. Further ones are asked about in the next prompt.
pub const PROMPT_DOMAINS_MAX: usize = 64;
/// The most names that a prompt lists of one domain.
pub const PROMPT_NAMES_MAX: usize = 32;
/// How long a prompt waits for an answer.
const OPEN: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long a prompt is kept, answered or not.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
const GROWING: &str = "storing prompts";

/// The state of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PromptState {
    Open,
    Answered,
    /// It waited for seven days. Its domains are asked about again when the thing asks again.
    Expired,
}

impl PromptState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Answered => "answered",
            Self::Expired => "expired",
        }
    }
}

/// The answer to a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PromptAnswer {
    /// All domains are allowed.
    Yes,
    /// All domains are denied.
    No,
    /// Those of the thing's maker are allowed, the others are denied.
    Maker,
}

/// An answer, with its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AnsweredPrompt {
    pub answer: PromptAnswer,
    /// The key that answered.
    pub answered_by: String,
    /// When it was answered, RFC 3339.
    pub answered_at: Timestamp,
}

/// A domain that a thing wants to reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PromptDomain {
    /// The registrable domain.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub domain: Name,
    /// The names below it that were asked for, at most 32.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub names: Vec<Name>,
    /// When it was first asked for, RFC 3339.
    pub first_seen: Timestamp,
    /// How often it was asked for. Repetitions within some seconds may be missing.
    pub queries: u64,
}

impl PromptDomain {
    /// Adds what was seen later.
    fn merge(&mut self, later: &Self) {
        self.queries += later.queries;
        self.first_seen = self.first_seen.min(later.first_seen);
        for name in &later.names {
            if self.names.len() < PROMPT_NAMES_MAX && !self.names.contains(name) {
                self.names.push(name.clone());
            }
        }
    }
}

/// A question to the household: what one of its things wants to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    pub id: String,
    pub device: Id,
    pub state: PromptState,
    /// When it was first asked.
    pub at: Timestamp,
    pub domains: Vec<PromptDomain>,
    pub answer: Option<AnsweredPrompt>,
}

/// What a thing newly wants to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThingWants {
    pub household: Id,
    pub device: Id,
    pub domains: Vec<PromptDomain>,
}

/// The result of [`Store::grow_prompts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrownPrompt {
    pub household: Id,
    pub prompt: Prompt,
    /// Domains that the prompt did not have before.
    pub added: usize,
}

#[derive(Serialize, Deserialize)]
struct Document {
    domains: Vec<PromptDomain>,
    #[serde(default)]
    answer: Option<AnsweredPrompt>,
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
    fn prompt(self) -> Result<Prompt, StoreError> {
        type Fault = Box<dyn std::error::Error + Send + Sync>;
        let unreadable = |source: Fault| StoreError::Document {
            household: self.household.clone(),
            source,
        };
        let device = self.device.parse();
        let state = serde_json::from_value(self.state.clone().into());
        let document: Result<Document, _> = serde_json::from_str(&self.document);
        let Document { domains, answer } = document.map_err(|error| unreadable(error.into()))?;
        Ok(Prompt {
            device: device
                .map_err(|error: policy::rules::household::IdError| unreadable(error.into()))?,
            state: state.map_err(|error| unreadable(error.into()))?,
            at: second(self.at),
            domains,
            answer,
            id: self.id,
        })
    }
}

impl Prompt {
    fn document(&self) -> String {
        let document = Document {
            domains: self.domains.clone(),
            answer: self.answer.clone(),
        };
        serde_json::to_string(&document).expect("a prompt is plain data")
    }

    /// Adds domains. Returns how many are new.
    fn grow(&mut self, domains: &[PromptDomain]) -> usize {
        let mut added = 0;
        for domain in domains {
            let mut known = self.domains.iter_mut();
            if let Some(known) = known.find(|known| known.domain == domain.domain) {
                known.merge(domain);
            } else if self.domains.len() < PROMPT_DOMAINS_MAX {
                self.domains.push(domain.clone());
                added += 1;
            }
        }
        added
    }
}

/// Reads an open prompt: of this identifier, or of this device.
async fn find_open(
    connection: &mut SqliteConnection,
    household: &Id,
    (column, value): (&'static str, &str),
) -> Result<Option<Prompt>, StoreError> {
    let select = match column {
        "id" => "SELECT * FROM prompt WHERE household = ? AND state = 'open' AND id = ?",
        _ => "SELECT * FROM prompt WHERE household = ? AND state = 'open' AND device = ?",
    };
    let row: Option<Row> = sqlx::query_as(select)
        .bind(household.as_str())
        .bind(value)
        .fetch_optional(connection)
        .await
        .map_err(step("reading a prompt"))?;
    row.map(Row::prompt).transpose()
}

/// The prompt, if it can be read: one that cannot hides no other.
fn readable(prompt: Result<Prompt, StoreError>) -> Option<Prompt> {
    prompt
        .inspect_err(|error| tracing::error!(%error, "a prompt cannot be read"))
        .ok()
}

async fn update(connection: &mut SqliteConnection, prompt: &Prompt) -> Result<(), StoreError> {
    let update = sqlx::query("UPDATE prompt SET state = ?, document = ? WHERE id = ?")
        .bind(prompt.state.as_str())
        .bind(prompt.document())
        .bind(&prompt.id);
    let done = update.execute(connection).await;
    done.map(drop).map_err(step("changing a prompt"))
}

async fn insert(
    connection: &mut SqliteConnection,
    household: &Id,
    prompt: &Prompt,
) -> Result<(), StoreError> {
    let insert =
        "INSERT INTO prompt (id, household, device, state, at, document) VALUES (?, ?, ?, ?, ?, ?)";
    let insert = sqlx::query(insert)
        .bind(&prompt.id)
        .bind(household.as_str())
        .bind(prompt.device.as_str())
        .bind(prompt.state.as_str())
        .bind(prompt.at.as_second())
        .bind(prompt.document());
    let done = insert.execute(connection).await;
    done.map(drop).map_err(step("storing a prompt"))
}

/// Answers a prompt, in the transaction that applies the answer.
pub(crate) async fn answer<E>(
    connection: &mut SqliteConnection,
    household: &Id,
    id: &str,
    answered: &AnsweredPrompt,
) -> Result<Prompt, ChangeError<E>> {
    let open = find_open(connection, household, ("id", id)).await?;
    let mut prompt = open.ok_or(ChangeError::Settled)?;
    prompt.state = PromptState::Answered;
    prompt.answer = Some(answered.clone());
    update(connection, &prompt).await?;
    Ok(prompt)
}

/// Deletes the prompts of removed devices or of a removed household, in the transaction that removes
/// them.
pub(crate) async fn forget_lost(
    connection: &mut SqliteConnection,
    household: &Id,
    after: Option<&Household>,
) -> Result<(), StoreError> {
    let select = sqlx::query_as("SELECT DISTINCT device FROM prompt WHERE household = ?");
    let devices: Vec<(String,)> = select
        .bind(household.as_str())
        .fetch_all(&mut *connection)
        .await
        .map_err(step("listing prompts"))?;
    for (device,) in devices {
        if !after.is_some_and(|after| after.devices.contains_key(device.as_str())) {
            let delete = sqlx::query("DELETE FROM prompt WHERE household = ? AND device = ?")
                .bind(household.as_str())
                .bind(device);
            delete
                .execute(&mut *connection)
                .await
                .map_err(step("forgetting prompts"))?;
        }
    }
    Ok(())
}

impl Store {
    /// Adds what things want to their open prompts, in one transaction; makes the prompts that do
    /// not exist yet.
    pub async fn grow_prompts(
        &self,
        wanted: &[ThingWants],
        now: Timestamp,
    ) -> Result<Vec<GrownPrompt>, StoreError> {
        let mut transaction = self.database.begin(GROWING).await?;
        let mut grown = Vec::with_capacity(wanted.len());
        for wants in wanted {
            let (household, device) = (&wants.household, &wants.device);
            let by_device = ("device", device.as_str());
            let open = match find_open(&mut transaction, household, by_device).await {
                // One that cannot be read stops no other thing's.
                Err(StoreError::Document { household, source }) => {
                    tracing::error!(%household, %device, %source, "a prompt cannot be read");
                    continue;
                }
                open => open?,
            };
            let is_new = open.is_none();
            let mut prompt = match open {
                Some(open) => open,
                None => Prompt {
                    id: random_hex(8)?,
                    device: device.clone(),
                    state: PromptState::Open,
                    at: second(now.as_second()),
                    domains: Vec::new(),
                    answer: None,
                },
            };
            let added = prompt.grow(&wants.domains);
            if is_new {
                insert(&mut transaction, household, &prompt).await?;
            } else {
                update(&mut transaction, &prompt).await?;
            }
            grown.push(GrownPrompt {
                household: household.clone(),
                prompt,
                added,
            });
        }
        transaction.commit(GROWING).await?;
        Ok(grown)
    }

    /// The prompts of a household, newest first.
    pub async fn prompts(
        &self,
        household: &Id,
        state: Option<PromptState>,
        now: Timestamp,
    ) -> Result<Vec<Prompt>, StoreError> {
        let select = "SELECT * FROM prompt WHERE household = ?1 AND at >= ?2 AND (?3 IS NULL OR state = ?3) ORDER BY sequence DESC LIMIT 1000";
        let rows: Vec<Row> = sqlx::query_as(select)
            .bind(household.as_str())
            .bind((now - KEPT).as_second())
            .bind(state.map(PromptState::as_str))
            .fetch_all(&self.pool)
            .await
            .map_err(step("listing prompts"))?;
        let prompts = rows.into_iter().map(Row::prompt);
        Ok(prompts.filter_map(readable).collect())
    }

    pub async fn prompt(&self, household: &Id, id: &str) -> Result<Option<Prompt>, StoreError> {
        let select = sqlx::query_as("SELECT * FROM prompt WHERE household = ? AND id = ?");
        let row: Option<Row> = select
            .bind(household.as_str())
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(step("reading a prompt"))?;
        row.map(Row::prompt).transpose()
    }

    /// Ends prompts that have waited too long, and deletes old ones.
    pub async fn expire_prompts(&self, now: Timestamp) -> Result<(), StoreError> {
        let expire =
            sqlx::query("UPDATE prompt SET state = 'expired' WHERE state = 'open' AND at < ?")
                .bind((now - OPEN).as_second());
        self.database.execute(expire, "ending prompts").await?;
        let delete = sqlx::query("DELETE FROM prompt WHERE at < ?").bind((now - KEPT).as_second());
        let done = self.database.execute(delete, "forgetting prompts").await;
        done.map(drop)
    }
}
