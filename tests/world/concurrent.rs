//! Many queries or whole cases at once, and their results.

use std::{
    collections::VecDeque,
    future::Future,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::client::Client;

/// One query and its result.
#[derive(Clone, Debug)]
pub struct Asked {
    pub question: String,
    /// The result of [`Client::ask`].
    pub answer: String,
    pub took: Duration,
}

/// Sends all queries with limited concurrency; returns the results in order of completion.
pub async fn ask_all(
    client: &Client,
    questions: impl IntoIterator<Item = String>,
    at_once: usize,
) -> Vec<Asked> {
    let mut waiting: VecDeque<String> = questions.into_iter().collect();
    let mut under_way = JoinSet::new();
    let mut outcomes = Vec::with_capacity(waiting.len());
    loop {
        while under_way.len() < at_once
            && let Some(question) = waiting.pop_front()
        {
            let client = client.clone();
            under_way.spawn(async move { ask(&client, question).await });
        }
        match under_way.join_next().await {
            Some(outcome) => outcomes.push(outcome.expect("asking does not fail")),
            None => return outcomes,
        }
    }
}

/// Sends a query and measures the time.
async fn ask(client: &Client, question: String) -> Asked {
    let began = Instant::now();
    let answer = client.ask(&question).await;
    Asked {
        question,
        answer,
        took: began.elapsed(),
    }
}

/// The quantile of values at this share, 0 to 1.
pub fn quantile<T: Copy + Ord>(values: impl IntoIterator<Item = T>, share: f64) -> T {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_unstable();
    let place = (values.len() as f64 * share).ceil() as usize;
    *values
        .get(place.saturating_sub(1))
        .expect("there are values")
}

/// Runs each case in a world of its own, all concurrently; returns the failures.
pub async fn all_at_once<
    C: Send + 'static,
    F: Future<Output = Result<(), String>> + Send + 'static,
>(
    cases: impl IntoIterator<Item = C>,
    play: impl Fn(C) -> F,
) -> Vec<String> {
    let under_way: JoinSet<_> = cases.into_iter().map(play).collect();
    under_way
        .join_all()
        .await
        .into_iter()
        .filter_map(Result::err)
        .collect()
}

/// `Err` with what was found, unless the condition is true.
pub fn check(holds: bool, found: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(found()) }
}
