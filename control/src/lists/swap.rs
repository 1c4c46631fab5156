//! Swaps the live lists for another generation, and sets the gauges of the live lists.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::gauge;
use policy::lists::{blocklist::Blocklist, current::CurrentLists};

/// How often a replaced generation is checked for remaining users.
const RETIRE_AFTER: Duration = Duration::from_millis(100);

/// Makes lists live. `began` is when their content arrived.
pub fn install(live: &CurrentLists, next: Arc<Blocklist>, began: Instant) {
    let before = live.install(next);
    let took = began.elapsed();
    live.record_swap(took);
    gauge!("ox_protect_list_swap_seconds").set(took.as_secs_f64());
    tokio::spawn(retire(before));
    show(live);
}

/// Sets the gauges of the live lists.
pub fn show(live: &CurrentLists) {
    let lists = live.current();
    let header = lists.header();
    let count = |value: u64| value as f64;
    gauge!("ox_protect_list_generation").set(count(header.generation));
    gauge!("ox_protect_list_names").set(count(header.names));
    gauge!("ox_protect_list_entries").set(count(header.entries));
    gauge!("ox_protect_list_bytes").set(lists.octets() as f64);
    gauge!("ox_protect_list_overlay_names").set(lists.overlay_size().0 as f64);
    gauge!("ox_protect_list_built_timestamp_seconds").set(header.built_at.as_second() as f64);
    for feed in header.feeds.iter().filter(|feed| !feed.withdrawn) {
        let name = feed.name.clone();
        gauge!("ox_protect_feed_entries", "feed" => name.clone()).set(count(feed.report.entries));
        gauge!("ox_protect_feed_bad_lines", "feed" => name.clone()).set(count(feed.report.bad));
        gauge!("ox_protect_feed_generation", "feed" => name.clone()).set(count(feed.generation));
        gauge!("ox_protect_feed_version", "feed" => name.clone()).set(number(&feed.version));
        gauge!("ox_protect_feed_held", "feed" => name).set(f64::from(u8::from(feed.held)));
    }
}

/// A version as a number that a gauge holds without loss: of a digest, the first twelve digits.
fn number(version: &str) -> f64 {
    let decimal = version.parse::<u64>().ok().filter(|_| version.len() < 16);
    decimal
        .or_else(|| u64::from_str_radix(version.get(..12)?, 16).ok())
        .unwrap_or(0) as f64
}

/// Frees a replaced generation on a blocking thread. Its last user frees tens of megabytes, and that
/// must not be a worker in the middle of a batch: so this task is the last user.
async fn retire(generation: Arc<Blocklist>) {
    while Arc::strong_count(&generation) > 1 {
        tokio::time::sleep(RETIRE_AFTER).await;
    }
    let _ = tokio::task::spawn_blocking(move || drop(generation)).await;
}
