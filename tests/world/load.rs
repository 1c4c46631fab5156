//! Somebody who asks the same names again and again, and looks at every answer, while other things
//! happen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;

use super::line::Line;

/// Between two questions of one asker: a few hundred a second leave cores to what a test is about.
const PACE: Duration = Duration::from_millis(2);

/// Who asks.
pub struct Load {
    is_over: Arc<AtomicBool>,
    task: JoinHandle<Watched>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Watched {
    /// Answers.
    pub asked: u64,
    /// Those that were not the expected ones.
    pub wrong: Vec<String>,
}

impl Load {
    /// Asks `(NAME TYPE, the answer)` in a loop from now on.
    pub fn on(line: &Line, expected: Vec<(String, String)>) -> Self {
        let line = line.clone();
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
                let answer = line.ask(question).await;
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

    /// Stops asking. Fails the test if an answer was wrong; returns how many there were.
    pub async fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        let Watched { asked, wrong } = self.task.await.expect("whoever asks does not panic");
        assert!(
            wrong.is_empty(),
            "{} of {asked} answers were wrong: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(20)]
        );
        asked
    }
}
