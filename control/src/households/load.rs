//! Stored households become live: all of them at the start, and again those whose schedules the
//! clock has changed.

use std::{panic::resume_unwind, sync::Arc};

use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    identity::directory::Directory,
    rules::{
        compiled::HouseholdRules,
        household::{Household, Id},
        operator::OperatorDefaults,
    },
};
use policy_store::{HouseholdBatch, ScanPosition, Store, StoreError};
use tokio::task::{JoinError, JoinSet};

use crate::Control;

/// Households read at a time at the start: some megabytes of documents.
const START_BATCH: u32 = 5_000;
/// Batches that are compiled while the next one is read. Neither the disk nor a core waits, and
/// memory is bounded.
const START_BATCHES_COMPILING: usize = 2;
/// Unreadable households that the start logs one by one; beyond, it logs their number.
const LOGGED_MAX: u64 = 20;

/// Compiles a household on a thread of its own, because a large one takes many milliseconds.
/// Returns it with its rules.
pub(super) async fn compile(
    control: &Arc<Control>,
    household: Household,
) -> (Household, HouseholdRules) {
    let control = Arc::clone(control);
    let compile = move || {
        let now = Timestamp::now();
        let rules = HouseholdRules::compile(&household, &control.taxonomy, control.defaults, now);
        (household, rules)
    };
    finished(tokio::task::spawn_blocking(compile).await)
}

/// Compiles a household and makes it live. The caller has its turn at the household. Returns the
/// household.
pub(super) async fn install(control: &Arc<Control>, household: Household) -> Household {
    let (household, rules) = compile(control, household).await;
    control.directory.install(rules);
    household
}

/// Compiles stored households again, because one of their schedules began or ended. A household
/// that cannot be read keeps its live rules.
pub async fn recompile(control: &Arc<Control>, households: &[Id]) {
    for id in households {
        let _turn = control.turns.wait(id).await;
        match control.store.household(id).await {
            Ok(Some(household)) => drop(install(control, household).await),
            Ok(None) => control.directory.remove(id),
            Err(error) => {
                tracing::error!(%id, error = &error as &dyn std::error::Error, "a household's schedules could not be compiled again")
            }
        }
    }
}

/// Makes all stored households live at the start. Returns their number.
///
/// A household whose document cannot be read is logged, counted and skipped: its lines have the
/// operator's default. Reading, compiling and installing overlap, because up to a million
/// households stand between a restart and the first answer.
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
    let mut loaded = Loaded::default();
    let mut reading = Some(read(ScanPosition::default()));
    let mut compiling = JoinSet::new();
    while reading.is_some() || !compiling.is_empty() {
        let mut compiling_max = 0;
        if let Some(batch) = reading.take() {
            let batch = finished(batch.await)?;
            reading = batch.next.map(read);
            let taxonomy = Arc::clone(&taxonomy);
            compiling.spawn_blocking(move || compile_all(&batch, &taxonomy, defaults));
        }
        if reading.is_some() {
            compiling_max = START_BATCHES_COMPILING;
        }
        while compiling.len() > compiling_max {
            let compiled = compiling.join_next().await.expect("it is not empty");
            loaded.install(directory, finished(compiled));
        }
    }
    loaded.log();
    Ok(loaded.live)
}

/// The result of a task; its panic goes on here.
fn finished<T>(joined: Result<T, JoinError>) -> T {
    joined.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

/// How many households are live so far, and how many could not be read.
#[derive(Default)]
struct Loaded {
    live: u64,
    unreadable: u64,
}

impl Loaded {
    fn install(&mut self, directory: &Directory, batch: Vec<Result<HouseholdRules, StoreError>>) {
        for compiled in batch {
            match compiled {
                Ok(rules) => {
                    directory.install(rules);
                    self.live += 1;
                }
                Err(error) => {
                    self.unreadable += 1;
                    if self.unreadable <= LOGGED_MAX {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "a household is not live"
                        );
                    }
                }
            }
        }
    }

    fn log(&self) {
        let &Self { live, unreadable } = self;
        if unreadable > 0 {
            tracing::error!(
                live,
                unreadable,
                "some households are not live; their lines have the operator's default"
            );
        }
    }
}

fn compile_all(
    batch: &HouseholdBatch,
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
