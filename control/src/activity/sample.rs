//! The query sample: taken from the workers, and written to disk every few minutes, at the end of a
//! day (UTC), and at the shutdown.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use jiff::Timestamp;
use resolver::{engine::Engine, telemetry::query_sample::QuerySample};

use crate::{
    causes,
    lists::handle::{QueryHits, Yesterday},
};

/// How often the workers' rings are emptied. A ring holds what a worker samples in this time.
const TAKE_EVERY: Duration = Duration::from_millis(100);
/// How often the sample is written: a killed node loses so much of it.
const WRITE_EVERY: Duration = Duration::from_secs(300);

/// Opens the sample of an earlier run in the folder of the lists. One of `sample_every` queries is
/// counted.
pub fn open(directory: &Path, sample_every: u32) -> anyhow::Result<Arc<QuerySample>> {
    let sample = QuerySample::open(directory.to_owned(), sample_every, Timestamp::now());
    Ok(Arc::new(sample.context("reading the sample of queries")?))
}

/// The names asked for yesterday, or today if the node did not run yesterday.
pub fn yesterday(sample: &Arc<QuerySample>) -> Yesterday {
    let sample = Arc::clone(sample);
    Arc::new(move || {
        match sample
            .yesterday(Timestamp::now())
            .map(Iterator::collect::<Vec<_>>)
        {
            Ok(names) if !names.is_empty() => names,
            Ok(_) => sample.today(),
            Err(error) => {
                tracing::warn!(
                    error = causes(&error),
                    "yesterday's sample of queries cannot be read"
                );
                Vec::new()
            }
        }
    })
}

/// The number of queries that each feed decided, since the start.
pub fn hits(engine: &Arc<Engine>) -> QueryHits {
    let engine = Arc::clone(engine);
    Box::new(move || {
        engine.metrics.publish();
        engine.metrics.feed_hits()
    })
}

/// Takes and writes samples until the task is dropped.
pub async fn run(engine: Arc<Engine>, sample: Arc<QuerySample>) {
    let mut tick = tokio::time::interval(TAKE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut written = Instant::now();
    loop {
        tick.tick().await;
        engine.metrics.drain_sample(|name| sample.note(name));
        if written.elapsed() >= WRITE_EVERY || sample.day_is_over(Timestamp::now()) {
            write(&sample).await;
            written = Instant::now();
        }
    }
}

/// Takes and writes the last samples at the shutdown.
pub async fn end(engine: &Engine, sample: &Arc<QuerySample>) {
    engine.metrics.drain_sample(|name| sample.note(name));
    write(sample).await;
}

/// Writes the sample. A failure, such as a full disk, is only logged.
async fn write(sample: &Arc<QuerySample>) {
    let sample = Arc::clone(sample);
    let written = tokio::task::spawn_blocking(move || sample.write(Timestamp::now())).await;
    if let Ok(Err(error)) = written {
        tracing::warn!(
            error = causes(&error),
            "the sample of queries could not be written"
        );
    }
}
