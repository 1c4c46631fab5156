//! What a gate stopped, or an operator held, is let go on by an operator: by the next build.

use api::control::ActError;
use tokio::sync::oneshot;

use super::keeper::Keeper;

impl Keeper {
    pub(super) fn approve(&mut self, feed: String, version: Option<String>, reply: oneshot::Sender<Result<(), ActError>>) {
        let lists = self.live.current();
        let summary = lists.header().feeds.iter().find(|summary| summary.name == feed);
        let is_held = summary.is_some_and(|summary| summary.held);
        let refused = self.board.refused(&feed);
        match refused {
            _ if !self.plan.feeds.iter().any(|known| known.name == feed) => {
                let _ = reply.send(Err(ActError::UnknownFeed));
                return;
            }
            None if !is_held => {
                let _ = reply.send(Err(ActError::NothingRefused));
                return;
            }
            Some(refused) if version.as_ref().is_some_and(|version| *version != refused.version) => {
                let _ = reply.send(Err(ActError::AnotherVersion { waiting: refused.version }));
                return;
            }
            Some(refused) if !refused.may_be_approved => {
                let _ = reply.send(Err(ActError::NotApprovable { gate: refused.gate }));
                return;
            }
            Some(refused) => {
                self.plan.approved.insert(feed.clone(), refused.version);
            }
            None => {}
        }
        if is_held {
            self.plan.released.push(feed.clone());
        }
        self.next.approvals.push((feed, reply));
        (self.again, self.not_before) = (true, None);
    }
}
