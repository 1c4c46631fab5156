//! Clients whose connections were refused, or closed for others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::table::ConnectionHolder;
use crate::{
    admission::{LimitCause, Limited, LimitedGroup, LimitedGroups},
    time::Clock,
};

/// Clients whose connections were refused, or closed for others, in the last minute.
pub struct LimitedConnections {
    groups: Mutex<LimitedGroups>,
    clock: Arc<dyn Clock>,
}

impl LimitedConnections {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            groups: Mutex::default(),
            clock,
        }
    }

    pub(super) fn note(&self, holder: &ConnectionHolder) {
        if let ConnectionHolder::Client(client) = holder {
            let group = LimitedGroup::Client(client.clone());
            let now = self.clock.elapsed();
            self.groups().note(group, LimitCause::Connections, now);
        }
    }

    /// Longest first.
    pub(crate) fn current(&self) -> Vec<(LimitedGroup, LimitCause, Limited)> {
        self.groups().current(self.clock.elapsed())
    }

    fn groups(&self) -> MutexGuard<'_, LimitedGroups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
