//! The API's event stream, received for the duration of a test.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::task::JoinHandle;

use super::{api::Api, waiting::eventually};

/// The longest wait for an event.
const HEARD_WITHIN: Duration = Duration::from_secs(60);

/// A receiver of events.
pub struct Events {
    heard: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl Events {
    /// Subscribes to the events of the lists.
    pub async fn listen(api: &Api) -> Self {
        Self::on(api, "/v1/events").await
    }

    /// Subscribes to the events of a household.
    pub async fn of_household(api: &Api, household: &str) -> Self {
        Self::on(api, &format!("/v1/households/{household}/events")).await
    }

    async fn on(api: &Api, path: &str) -> Self {
        let mut stream = api.stream(path).await;
        let heard = Arc::<Mutex<Vec<Value>>>::default();
        let tell = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut text = String::new();
            while let Ok(Some(chunk)) = stream.chunk().await {
                text += &String::from_utf8_lossy(&chunk);
                while let Some((event, rest)) = text.split_once("\n\n") {
                    let data = event.lines().find_map(|line| line.strip_prefix("data:"));
                    let event = data.and_then(|data| serde_json::from_str(data.trim()).ok());
                    tell.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend(event);
                    text = rest.to_owned();
                }
            }
        });
        Self { heard, task }
    }

    /// Waits until an event of this kind with these fields has arrived.
    pub async fn wait_for(&self, kind: &str, fields: &[(&str, &str)]) {
        let is_it = |event: &Value| {
            event["kind"] == kind && fields.iter().all(|(field, value)| event[*field] == *value)
        };
        let what = format!("an event {kind} {fields:?}");
        eventually(&what, HEARD_WITHIN, async || {
            self.received().iter().any(is_it)
        })
        .await;
    }

    /// Whether the daemon has ended the stream.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// All events so far.
    pub fn received(&self) -> Vec<Value> {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}
