//! Mandates, and names that are lifted, on a running node: read at the start, before anybody is
//! answered, and begun and ended by the clock.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use metrics::{describe_gauge, gauge};
use policy::lists::{
    blocklist::Blocklist,
    current::LiveLists,
    mandate_registry::Register,
    mandates::{Mandate, Phase},
};
use policy_store::{Store, StoreError};

use crate::causes;

/// The longest sleep. The wall clock may be set while it lasts, and an order begins within a second
/// all the same.
const SLEEP_MAX: Duration = Duration::from_millis(250);

/// Reads all mandates and hangs those in force on the lists.
pub async fn start(store: &Store, lists: &Arc<LiveLists>) -> Result<Arc<Register>, StoreError> {
    describe_gauge!(
        "ox_protect_mandates",
        "Mandates, by whether they are in force, to come, or over"
    );
    let register = Arc::new(Register::new(Arc::clone(lists)));
    describe_gauge!(
        "ox_protect_overrides",
        "Names that nothing but an order blocks, because somebody reported them"
    );
    fill(&register, store, read(store).await?, Timestamp::now()).await?;
    Ok(register)
}

/// Lists as they are under the mandates of the store that are in force now, or that were written
/// and in force at a time.
pub async fn applied(
    lists: Arc<Blocklist>,
    store: &Store,
    past: Option<Timestamp>,
) -> Result<Arc<Blocklist>, StoreError> {
    let live = Arc::new(LiveLists::new(lists));
    let mandates = match past {
        Some(at) => store.mandates_at(at).await?,
        None => read(store).await?,
    };
    fill(
        &Register::new(Arc::clone(&live)),
        store,
        mandates,
        past.unwrap_or_else(Timestamp::now),
    )
    .await?;
    Ok(live.current())
}

async fn fill(
    register: &Register,
    store: &Store,
    mandates: Vec<Mandate>,
    at: Timestamp,
) -> Result<(), StoreError> {
    register.fill(mandates, at);
    register.lift(store.overrides().await?, at);
    Ok(())
}

async fn read(store: &Store) -> Result<Vec<Mandate>, StoreError> {
    let tell = |error: &StoreError| {
        tracing::error!(
            error = causes(error),
            "a mandate cannot be read and is not in force"
        )
    };
    Ok(store
        .all_mandates()
        .await?
        .into_iter()
        .filter_map(|read| read.inspect_err(tell).ok())
        .collect())
}

/// Begins and ends mandates until the process ends.
pub async fn run(register: Arc<Register>) {
    loop {
        let now = Timestamp::now();
        let next = register.keep(now);
        let left =
            next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
        // Not a moment early: what comes before `next` by the clock is not there yet.
        tokio::time::sleep(left.map_or(SLEEP_MAX, |left| left.min(SLEEP_MAX))).await;
    }
}

/// Shows how many there are.
pub fn show(register: &Register) {
    gauge!("ox_protect_overrides").set(register.count_lifted(Timestamp::now()) as f64);
    for (phase, count) in register.count(Timestamp::now()) {
        let state = match phase {
            Phase::Active => "active",
            Phase::Pending => "pending",
            Phase::Expired => "expired",
        };
        gauge!("ox_protect_mandates", "state" => state).set(count as f64);
    }
}
