//! Mandates and overrides of a running node: read before the first answer, then begun and ended by
//! the clock.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use metrics::{describe_gauge, gauge};
use policy::lists::{
    blocklist::Blocklist,
    current::CurrentLists,
    mandate_registry::MandateRegistry,
    mandates::{Mandate, MandatePhase},
};
use policy_store::{Store, StoreError};

use crate::causes;

/// The longest sleep. If the wall clock is set during it, a mandate still begins within a second.
const SLEEP_MAX: Duration = Duration::from_millis(250);

/// Reads all mandates and overrides, and applies those in force to the lists.
pub async fn start(
    store: &Store,
    lists: &Arc<CurrentLists>,
) -> Result<Arc<MandateRegistry>, StoreError> {
    describe_gauge!(
        "ox_protect_mandates",
        "Mandates by state: active, pending or expired"
    );
    let register = Arc::new(MandateRegistry::new(Arc::clone(lists)));
    describe_gauge!(
        "ox_protect_overrides",
        "Names that only a mandate blocks, because a report of them was accepted"
    );
    fill(&register, store, read(store).await?, Timestamp::now()).await?;
    Ok(register)
}

/// Lists with the mandates and overrides of the store: those in force now, or those that were
/// written and in force at `past`.
pub async fn applied(
    lists: Arc<Blocklist>,
    store: &Store,
    past: Option<Timestamp>,
) -> Result<Arc<Blocklist>, StoreError> {
    let live = Arc::new(CurrentLists::new(lists));
    let mandates = match past {
        Some(at) => store.mandates_at(at).await?,
        None => read(store).await?,
    };
    fill(
        &MandateRegistry::new(Arc::clone(&live)),
        store,
        mandates,
        past.unwrap_or_else(Timestamp::now),
    )
    .await?;
    Ok(live.current())
}

async fn fill(
    register: &MandateRegistry,
    store: &Store,
    mandates: Vec<Mandate>,
    at: Timestamp,
) -> Result<(), StoreError> {
    register.fill(mandates, at);
    register.lift(store.overrides().await?, at);
    Ok(())
}

/// The mandates of the store. One that cannot be read is logged and left out.
async fn read(store: &Store) -> Result<Vec<Mandate>, StoreError> {
    let log = |error: &StoreError| {
        tracing::error!(
            error = causes(error),
            "a mandate cannot be read and is not in force"
        )
    };
    Ok(store
        .all_mandates()
        .await?
        .into_iter()
        .filter_map(|read| read.inspect_err(log).ok())
        .collect())
}

/// Begins and ends mandates, until the task is dropped.
pub async fn run(register: Arc<MandateRegistry>) {
    loop {
        let now = Timestamp::now();
        let next = register.refresh(now);
        let left =
            next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
        // Not a moment early: at an instant before `next`, its mandate is not in force yet.
        tokio::time::sleep(left.map_or(SLEEP_MAX, |left| left.min(SLEEP_MAX))).await;
    }
}

/// Sets the gauges of mandates and overrides.
pub fn show(register: &MandateRegistry) {
    let now = Timestamp::now();
    gauge!("ox_protect_overrides").set(register.count_lifted(now) as f64);
    for (phase, count) in register.count(now) {
        let state = match phase {
            MandatePhase::Active => "active",
            MandatePhase::Pending => "pending",
            MandatePhase::Expired => "expired",
        };
        gauge!("ox_protect_mandates", "state" => state).set(count as f64);
    }
}
