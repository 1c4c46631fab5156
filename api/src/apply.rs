//! A write, from the first to the last step. When the answer leaves, the rules are live.
//!
//! ```text
//! authorise, validate -> store: one transaction (document, version, notices, audit) -> compile that household -> swap its record -> answer
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
    identity::directory::Directory,
    rules::{
        compiled::HouseholdRules,
        household::{Attributed, Household, Id},
        operator::OperatorDefaults,
    },
};
use policy_store::{
    Answer, Author, Batch, Change, Changed, NewNotice, Position, Store, StoreError,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Context,
    happenings::{Happening, touched},
    history, notices, panics,
    problem::Problem,
};

/// Households read at a time at the start: some megabytes of documents.
const START_BATCH: u32 = 5_000;
/// Batches that are compiled while the next one is read: neither the disk nor a core waits, and
/// memory is bounded.
const START_BATCHES_UNDER_WAY: usize = 2;
/// How many unreadable households the start names one by one; the count says the rest.
const NAMED_MAX: u64 = 20;

/// Changes a household: stored, compiled, live, in this order. Two writers take turns, so what is
/// stored last is live last. What `edit` returns beside the household is handed back once all of
/// that is done.
///
/// It runs as a task of its own: a client that goes away in the middle would otherwise take the
/// handler with it, and leave a change stored that is not live.
pub async fn change<T: Send + 'static>(
    context: &Arc<Context>,
    by: &Author,
    id: Id,
    expected: Option<u64>,
    edit: impl FnOnce(Option<Household>) -> Result<(Option<Household>, T), Problem> + Send + 'static,
) -> Result<(Changed, T), Problem> {
    change_beside(context, by, id, expected, Beside::default(), edit).await
}

/// What a change does beside the household, in the same transaction.
#[derive(Default)]
pub struct Beside {
    /// The request that it allows.
    pub allows: Option<(String, Answer)>,
    /// What holders of other accounts must learn of it.
    pub notices: Vec<NewNotice>,
}

/// The same, with what is done beside it.
pub async fn change_beside<T: Send + 'static>(
    context: &Arc<Context>,
    by: &Author,
    id: Id,
    expected: Option<u64>,
    beside: Beside,
    edit: impl FnOnce(Option<Household>) -> Result<(Option<Household>, T), Problem> + Send + 'static,
) -> Result<(Changed, T), Problem> {
    let context = Arc::clone(context);
    let by = by.clone();
    let written = tokio::spawn(async move {
        let turn = context.writes.lock().await;
        let label = context.store.label_of(&by.actor).await?;
        let mut told = None;
        let mut devices = None;
        let mut is_owed = false;
        let mut is_less = false;
        let edit = |before: Option<Household>| {
            let was = before.clone();
            let (after, tell) = edit(before)?;
            told = Some(tell);
            devices = touched(was.as_ref(), after.as_ref());
            let duties = history::duties(was.as_ref(), after.as_ref());
            is_owed = !duties.is_empty();
            is_less = takes_away(was.as_ref(), after.as_ref());
            let Beside {
                allows,
                mut notices,
            } = beside;
            if let Some(was) = &was {
                notices.extend(notices::of_change(
                    &context,
                    &by,
                    label.as_deref(),
                    was,
                    after.as_ref(),
                )?);
            }
            Ok(Change {
                household: after,
                notices,
                duties,
                allows,
            })
        };
        let changed = context.store.change_with(&by, &id, expected, edit).await?;
        match &changed.household {
            Some(household) => install(
                &context.directory,
                household,
                &context.taxonomy,
                context.defaults,
            ),
            None => context.directory.remove(&id),
        }
        context
            .happenings
            .tell(&id, Happening::change(changed.version, devices));
        if is_less {
            context.happenings.streams.end_lost(&context);
        }
        // From here on nothing is counted that is not wanted any more; what was counted before goes
        // while others may write.
        drop(turn);
        if is_owed {
            history::fulfil(&context, Some(&id)).await;
        }
        Ok((changed, told.expect("a change that was stored was edited")))
    });
    panics::of_task(written.await)?
}

/// Whether a change takes a household or one of its devices away.
fn takes_away(before: Option<&Household>, after: Option<&Household>) -> bool {
    let Some(before) = before else { return false };
    after.is_none_or(|after| {
        before
            .devices
            .keys()
            .any(|device| !after.devices.contains_key(device))
    })
}

/// Changes a household that must be there.
pub async fn change_existing<T: Send + 'static>(
    context: &Arc<Context>,
    by: &Author,
    id: Id,
    expected: Option<u64>,
    edit: impl FnOnce(&mut Household) -> Result<T, Problem> + Send + 'static,
) -> Result<(Changed, T), Problem> {
    let name = id.clone();
    change(context, by, id, expected, move |household| {
        let mut household = household.ok_or_else(|| unknown_household(&name))?;
        let told = edit(&mut household)?;
        Ok((Some(household), told))
    })
    .await
}

/// A household's document and the rules that are live, both of one version: no write is half done
/// while they are read.
pub async fn read_with_rules(
    context: &Context,
    id: &Id,
) -> Result<(Household, Arc<HouseholdRules>), Problem> {
    let _turn = context.writes.lock().await;
    let household = context
        .store
        .household(id)
        .await?
        .ok_or_else(|| unknown_household(id))?;
    let rules = context
        .directory
        .household(id)
        .ok_or_else(|| unknown_household(id))?;
    Ok((household, rules))
}

/// 404 for a household.
pub fn unknown_household(id: &Id) -> Problem {
    Problem::not_found("unknown_household", format!("there is no household {id}"))
}

fn install(
    directory: &Directory,
    household: &Household,
    taxonomy: &Taxonomy,
    defaults: OperatorDefaults,
) {
    directory.install(HouseholdRules::compile(
        household,
        taxonomy,
        defaults,
        Timestamp::now(),
    ));
}

/// Compiles households anew from what is stored: the clock has changed something for them. One that
/// cannot be read goes on by what is known of it.
pub async fn recompile(context: &Context, households: &[Id]) {
    let _turn = context.writes.lock().await;
    for id in households {
        match context.store.household(id).await {
            Ok(Some(household)) => install(
                &context.directory,
                &household,
                &context.taxonomy,
                context.defaults,
            ),
            Ok(None) => context.directory.remove(id),
            Err(error) => {
                tracing::error!(%id, error = &error as &dyn std::error::Error, "a household's schedules could not be compiled anew")
            }
        }
    }
}

/// Makes all stored households live: the start. Returns how many are. One whose document cannot be
/// read is logged, counted and left out, so that it does not take the rules of all others with it:
/// its lines have the operator's default. Reading, compiling and installing go on side by side,
/// because a million households stand between a restart and the first answer.
///
/// # Errors
/// The store cannot be read.
pub async fn load_all(
    store: &Store,
    directory: &Directory,
    taxonomy: &Taxonomy,
    defaults: OperatorDefaults,
) -> Result<u64, StoreError> {
    let taxonomy = Arc::new(taxonomy.clone());
    let read = |from| {
        let store = store.clone();
        tokio::spawn(async move { store.batch(from, START_BATCH).await })
    };
    let mut live = 0;
    let mut unreadable = 0;
    let mut reading = Some(read(Position::default()));
    let mut compiling = JoinSet::new();
    while reading.is_some() || !compiling.is_empty() {
        if let Some(batch) = reading.take() {
            let batch = batch
                .await
                .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
            reading = batch.next.map(read);
            let taxonomy = Arc::clone(&taxonomy);
            compiling.spawn_blocking(move || compile_all(&batch, &taxonomy, defaults));
        }
        while compiling.len()
            > if reading.is_some() {
                START_BATCHES_UNDER_WAY
            } else {
                0
            }
        {
            let compiled = compiling.join_next().await.expect("it is not empty");
            for compiled in
                compiled.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
            {
                match compiled {
                    Ok(rules) => {
                        directory.install(rules);
                        live += 1;
                    }
                    Err(error) => {
                        unreadable += 1;
                        if unreadable <= NAMED_MAX {
                            tracing::error!(
                                error = &error as &dyn std::error::Error,
                                "a household is not live"
                            );
                        }
                    }
                }
            }
        }
    }
    if unreadable > 0 {
        tracing::error!(
            live,
            unreadable,
            "some households are not live; their lines have the operator's default"
        );
    }
    Ok(live)
}

fn compile_all(
    batch: &Batch,
    taxonomy: &Taxonomy,
    defaults: OperatorDefaults,
) -> Vec<Result<HouseholdRules, StoreError>> {
    let now = Timestamp::now();
    let compile =
        |household: Household| HouseholdRules::compile(&household, taxonomy, defaults, now);
    batch
        .households()
        .map(|household| household.map(compile))
        .collect()
}

/// A value with the one who set it, now.
pub fn set_by<T>(value: T, actor: &str) -> Attributed<T> {
    Attributed {
        value,
        set_by: actor.to_owned(),
        set_at: Timestamp::now(),
    }
}

/// 201 for what was not there before, 200 for what was.
pub fn made_or_changed(is_new: bool) -> StatusCode {
    if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    }
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
