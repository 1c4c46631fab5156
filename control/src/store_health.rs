//! Whether the stores can be written: looked at every few seconds, and at once after a write that
//! failed; told as a metric, an event and a line in the log. Queries are answered all the same.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use metrics::{describe_gauge, gauge};
use policy::lists::current::LiveLists;
use policy_store::Health;
use tokio::time::Instant;

use crate::{
    lists::{model::EventKind, status::ListStatus},
    shutdown::Shutdown,
};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two looks, however many writes fail.
const APART_MIN: Duration = Duration::from_secs(1);

/// Watches one store until the node ends. `store` is `policy` or `history`.
pub async fn run(
    store: &'static str,
    health: Health,
    status: Arc<ListStatus>,
    lists: Arc<LiveLists>,
    shutdown: Shutdown,
) {
    describe_gauge!(
        "ox_protect_store_writable",
        "1 while writes to a store work, 0 while they fail: no room, read-only, I/O, the file gone"
    );
    let mut was = None;
    loop {
        let looked = Instant::now();
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
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = health.doubted() => tokio::time::sleep_until(looked + APART_MIN).await,
        }
    }
}
