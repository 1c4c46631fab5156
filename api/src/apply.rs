//! A write, from the first to the last step. When the answer leaves, the rules are live.
//!
//! ```text
//! authorise, validate -> store: one transaction -> compile that household -> swap its record -> answer
//! ```

use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    directory::Directory,
    household::{Household, Id, Set},
    rules::{HouseholdRules, OperatorDefaults},
};
use policy_store::{Changed, Store, StoreError};
use serde_json::{Value, json};

use crate::{Context, problem::Problem};

/// Households read at a time at the start.
const START_PAGE: u32 = 10_000;

/// Changes a household: stored, compiled, live, in this order. Two writers take turns, so what is stored last is live last.
///
/// It runs as a task of its own: a client that goes away in the middle would otherwise take the handler with it, and leave
/// a change stored that is not live.
pub async fn change(
    context: &Arc<Context>,
    id: Id,
    expected: Option<u64>,
    change: impl FnOnce(Option<Household>) -> Result<Option<Household>, Problem> + Send + 'static,
) -> Result<Changed, Problem> {
    let context = Arc::clone(context);
    let written = tokio::spawn(async move {
        let _turn = context.writes.lock().await;
        let changed = context.store.change(&id, expected, change).await?;
        match &changed.household {
            Some(household) => install(&context.directory, household, &context.taxonomy, context.defaults),
            None => context.directory.remove(&id),
        }
        Ok(changed)
    });
    written.await.unwrap_or_else(|_| Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "panicked", "the change failed")))
}

/// Changes a household that must be there.
pub async fn change_existing(
    context: &Arc<Context>,
    id: Id,
    expected: Option<u64>,
    edit: impl FnOnce(&mut Household) -> Result<(), Problem> + Send + 'static,
) -> Result<Changed, Problem> {
    let name = id.clone();
    change(context, id, expected, move |household| {
        let mut household = household.ok_or_else(|| unknown_household(&name))?;
        edit(&mut household)?;
        Ok(Some(household))
    })
    .await
}

/// 404 for a household.
pub fn unknown_household(id: &Id) -> Problem {
    Problem::not_found("unknown_household", format!("there is no household {id}"))
}

fn install(directory: &Directory, household: &Household, taxonomy: &Taxonomy, defaults: OperatorDefaults) {
    directory.install(HouseholdRules::compile(household, taxonomy, defaults), &household.networks);
}

/// Makes all stored households live: the start. Returns how many there are.
///
/// # Errors
/// The store cannot be read.
pub async fn load_all(store: &Store, directory: &Directory, taxonomy: &Taxonomy, defaults: OperatorDefaults) -> Result<u64, StoreError> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = store.households(None, after.as_ref(), START_PAGE).await?;
        for household in &page.households {
            install(directory, household, taxonomy, defaults);
            count += 1;
        }
        after = page.next;
        if after.is_none() {
            return Ok(count);
        }
    }
}

/// A value with the one who set it, now.
pub fn set_by<T>(value: T, actor: &str) -> Set<T> {
    Set { value, set_by: actor.to_owned(), set_at: Timestamp::now() }
}

/// The answer to a write: what was written, and the household's version, also as `ETag`.
pub fn written(changed: &Changed, status: StatusCode, mut body: Value) -> Response {
    body["version"] = json!(changed.version);
    with_version(changed.version, (status, Json(body)).into_response())
}

/// Adds the version as `ETag`.
pub fn with_version(version: u64, mut response: Response) -> Response {
    let value = HeaderValue::from_str(&format!("\"{version}\"")).expect("digits and quotes");
    response.headers_mut().insert(header::ETAG, value);
    response
}
