//! The sample of what is asked for: taken from the workers, and written down every few minutes, at
//! the end of a day (UTC) and at the end.

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
    lists::handle::{Hits, Yesterday},
};

/// How often the workers' rings are emptied; they hold what a worker samples in this time.
const TAKE_EVERY: Duration = Duration::from_millis(100);
/// How often what was counted is written: what a killed node forgets.
const WRITE_EVERY: Duration = Duration::from_secs(300);

/// Goes on with what this node counted before, in the folder of the lists.
pub fn open(directory: &Path, sample_every: u32) -> anyhow::Result<Arc<QuerySample>> {
    let sample = QuerySample::open(directory.to_owned(), sample_every, Timestamp::now());
    Ok(Arc::new(sample.context("reading the sample of queries")?))
}

/// What was asked yesterday; of a node that was not there yesterday, what was asked today.
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

/// Queries in which each feed decided, until now.
pub fn hits(engine: &Arc<Engine>) -> Hits {
    let engine = Arc::clone(engine);
    Box::new(move || {
        engine.recorder.publish();
        engine.recorder.feed_hits()
    })
}

/// Takes and writes until the process ends.
pub async fn run(engine: Arc<Engine>, sample: Arc<QuerySample>) {
    let mut tick = tokio::time::interval(TAKE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut written = Instant::now();
    loop {
        tick.tick().await;
        engine.recorder.take_asked(|name| sample.note(name));
        if written.elapsed() >= WRITE_EVERY || sample.day_is_over(Timestamp::now()) {
            write(&sample).await;
            written = Instant::now();
        }
    }
}

/// Takes what is there and writes it: the last thing a node does.
pub async fn end(engine: &Engine, sample: &Arc<QuerySample>) {
    engine.recorder.take_asked(|name| sample.note(name));
    write(sample).await;
}

/// A disk that is full costs the sample and nothing else.
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
