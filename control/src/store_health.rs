//! Whether a store can be written, checked every few seconds and after each write that failed;
//! reported as a gauge, an event and a log line. Queries are answered in any case.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use metrics::{describe_gauge, gauge};
use policy::lists::current::CurrentLists;
use policy_store::Health;
use tokio::time::Instant;

use crate::{
    lists::{model::EventKind, status::ListStatus},
    shutdown::Shutdown,
};

/// Between two checks of a store that works.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// The least time between two checks, however many writes fail.
const CHECKS_APART_MIN: Duration = Duration::from_secs(1);

/// Checks one store until the node shuts down. `store` is `policy` or `history`.
pub async fn run(
    store: &'static str,
    health: Health,
    status: Arc<ListStatus>,
    lists: Arc<CurrentLists>,
    shutdown: Shutdown,
) {
    describe_gauge!(
        "ox_protect_store_writable",
        "1 while a store can be written, 0 while writes fail (disk full, read-only, I/O error, file removed)"
    );
    let mut was = None;
    loop {
        let checked = Instant::now();
        let failure = health.look().await;
        gauge!("ox_protect_store_writable", "store" => store)
            .set(f64::from(u8::from(failure.is_none())));
        let reason = failure.as_ref().map(|failure| failure.reason);
        if reason != was {
            was = reason;
            let (kind, detail) = match &failure {
                Some(failure) => {
                    let reason = failure.reason.as_str();
                    let detail = &failure.detail;
                    tracing::error!(
                        store,
                        reason,
                        detail,
                        "the store cannot be written; queries are answered, changes are refused"
                    );
                    (
                        EventKind::StoreFailing,
                        format!("{store}: {reason}: {detail}"),
                    )
                }
                None => {
                    tracing::info!(store, "the store can be written again");
                    (EventKind::StoreWritable, store.to_owned())
                }
            };
            status.publish(
                kind,
                None,
                lists.load().generation(),
                Some(detail),
                Timestamp::now(),
            );
        }
        tokio::select! {
            () = shutdown.begun() => return,
            () = tokio::time::sleep(CHECK_EVERY) => {}
            () = health.doubted() => tokio::time::sleep_until(checked + CHECKS_APART_MIN).await,
        }
    }
}
