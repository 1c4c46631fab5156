//! Events of the lists and the stores, for operators.

use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;
use tokio::sync::broadcast;

use super::model::{EventKind, ListEvent};

/// Events that are kept for a slow subscriber.
const EVENTS_MAX: usize = 256;

/// The channel of the events.
pub struct ListEvents(Mutex<Option<broadcast::Sender<ListEvent>>>);

impl Default for ListEvents {
    fn default() -> Self {
        Self(Mutex::new(Some(broadcast::Sender::new(EVENTS_MAX))))
    }
}

impl ListEvents {
    pub fn publish(&self, event: ListEvent) {
        if let Some(sender) = &*self.sender() {
            let _no_subscriber_is_needed = sender.send(event);
        }
    }

    /// Subscribes to events from now on. After [`Self::close`] the subscription ends at once.
    pub fn subscribe(&self) -> broadcast::Receiver<ListEvent> {
        self.sender().as_ref().map_or_else(
            || broadcast::Sender::new(1).subscribe(),
            broadcast::Sender::subscribe,
        )
    }

    /// Ends all subscriptions.
    pub fn close(&self) {
        self.sender().take();
    }

    fn sender(&self) -> MutexGuard<'_, Option<broadcast::Sender<ListEvent>>> {
        self.0
            .lock()
            .expect("no code panics while it holds the sender")
    }
}

/// An event without details.
pub fn event(kind: EventKind, feed: Option<&str>, at: Timestamp) -> ListEvent {
    ListEvent {
        at,
        kind,
        feed: feed.map(str::to_owned),
        version: None,
        generation: None,
        gate: None,
        detail: None,
    }
}
