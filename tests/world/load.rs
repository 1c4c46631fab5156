//! Background load: queries the same names repeatedly and checks every answer while a test does
//! other things.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;

use super::client::Client;

/// Pause between two queries of one client: a few hundred a second leave CPU time for the test
/// itself.
const PACE: Duration = Duration::from_millis(2);

/// A running load.
pub struct Load {
    is_over: Arc<AtomicBool>,
    task: JoinHandle<Watched>,
}

/// The results.
#[derive(Debug, Default)]
pub struct Watched {
    /// Number of answers.
    pub asked: u64,
    /// Unexpected answers.
    pub wrong: Vec<String>,
}

impl Load {
    /// Starts to query `(NAME TYPE, answer)` in a loop.
    pub fn on(client: &Client, expected: Vec<(String, String)>) -> Self {
        let client = client.clone();
        let is_over = Arc::new(AtomicBool::new(false));
        let shall_end = Arc::clone(&is_over);
        let task = tokio::spawn(async move {
            let mut watched = Watched::default();
            let mut pace = tokio::time::interval(PACE);
            for (question, expected) in expected.iter().cycle() {
                if shall_end.load(Ordering::Relaxed) {
                    break;
                }
                pace.tick().await;
                let answer = client.ask(question).await;
                watched.asked += 1;
                if answer != *expected {
                    watched
                        .wrong
                        .push(format!("{question}: {answer}, not {expected}"));
                }
            }
            watched
        });
        Self { is_over, task }
    }

    /// Stops. Fails the test if an answer was wrong; returns the number of answers.
    pub async fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        let Watched { asked, wrong } = self.task.await.expect("the query task does not panic");
        assert!(
            wrong.is_empty(),
            "{} of {asked} answers were wrong: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(20)]
        );
        asked
    }
}
