//! Approvals and rollbacks: what an operator commands.

use std::{sync::Arc, time::Instant};

use blocklist_loader::rollback;
use jiff::Timestamp;
use policy::lists::{artefact::FeedSummary, blocklist::Blocklist, delta::Delta};
use tokio::sync::oneshot;

use super::{
    job::NextBuild,
    manager::ListManager,
    model::{EventKind, ListError, RolledBack},
};
use crate::causes;

impl ListManager {
    /// Lets the refused version of a feed through, or a held feed go on. The next build does it.
    pub(super) fn approve(
        &mut self,
        feed: String,
        version: Option<String>,
        reply: oneshot::Sender<Result<(), ListError>>,
    ) {
        let lists = self.live.current();
        let summary = lists
            .header()
            .feeds
            .iter()
            .find(|summary| summary.name == feed);
        let is_held =
            summary.is_some_and(|summary| summary.held) || lists.header().held_back.contains(&feed);
        let refused = self.status.refused(&feed);
        match refused {
            _ if !self.plan.feeds.iter().any(|known| known.name == feed) => {
                let _ = reply.send(Err(ListError::UnknownFeed));
                return;
            }
            None if !is_held => {
                let _ = reply.send(Err(ListError::NothingRefused));
                return;
            }
            Some(refused)
                if version
                    .as_ref()
                    .is_some_and(|version| *version != refused.version) =>
            {
                let _ = reply.send(Err(ListError::AnotherVersion {
                    waiting: refused.version,
                }));
                return;
            }
            Some(refused) if !refused.may_be_approved => {
                let _ = reply.send(Err(ListError::NotApprovable { gate: refused.gate }));
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
        self.next_waiters.approvals.push((feed, reply));
        self.next_build = NextBuild::Now;
    }

    /// Makes the content of an earlier generation live, under a new number.
    pub(super) async fn roll_back(&mut self, to: Option<u64>) -> Result<RolledBack, ListError> {
        let began = Instant::now();
        let live = self.live.current();
        let to = match to {
            Some(to) => to,
            None => self.generation_before(&live)?,
        };
        if to == live.generation() {
            return Err(ListError::NothingBefore(format!("generation {to} is live")));
        }
        let then = self
            .open(to)
            .await
            .map_err(|_| ListError::UnknownGeneration(to))?;
        let generation = self.next_generation();
        let delta = rollback::repeat_generation(
            &self.plan.directory,
            (&live, &then),
            &self.plan.feeds,
            generation,
            Timestamp::now(),
        );
        let held = delta
            .header
            .feeds
            .iter()
            .filter(|feed| feed.held)
            .map(|feed| feed.name.clone());
        let held: Vec<String> = held.chain(delta.header.held_back.iter().cloned()).collect();
        self.install_delta(then, delta, began).await?;
        // Followers must not take what was rolled back, nor stay on it.
        self.outbox.withdraw(to + 1..=live.generation());
        self.report_rollback(
            None,
            generation,
            format!("generation {to} is live again"),
            &held,
        );
        Ok(RolledBack {
            from: live.generation(),
            to,
            live: generation,
            took_ms: began.elapsed().as_secs_f64() * 1e3,
        })
    }

    /// Gives a feed the entries that it had in an earlier generation, under a new number.
    pub(super) async fn roll_back_feed(
        &mut self,
        feed: &str,
        to: Option<u64>,
    ) -> Result<RolledBack, ListError> {
        let began = Instant::now();
        let live = self.live.current();
        if self.feed(feed).is_none() {
            return Err(ListError::UnknownFeed);
        }
        let now = live_summary(&live, feed).ok_or(ListError::UnknownFeed)?;
        let to = match to {
            Some(to) => to,
            None => self.generation_with_another(now, &live)?,
        };
        let then = self
            .open(to)
            .await
            .map_err(|_| ListError::UnknownGeneration(to))?;
        if live_summary(&then, feed).is_none_or(|then| then.version == now.version) {
            return Err(ListError::NothingBefore(format!(
                "in generation {to} the feed has the version that is live, or none"
            )));
        }
        let generation = self.next_generation();
        let (base, delta) = self.restored(&live, then, feed, generation).await?;
        self.install_delta(base, delta, began).await?;
        self.outbox.withdraw(to + 1..=live.generation());
        self.report_rollback(
            Some(feed),
            generation,
            format!("the entries of generation {to} are live again"),
            &[feed.to_owned()],
        );
        Ok(RolledBack {
            from: live.generation(),
            to,
            live: generation,
            took_ms: began.elapsed().as_secs_f64() * 1e3,
        })
    }

    /// The lists with the entries of one feed from the generation `then`: a base, and a delta to it.
    async fn restored(
        &self,
        live: &Arc<Blocklist>,
        then: Arc<Blocklist>,
        feed: &str,
        generation: u64,
    ) -> Result<(Arc<Blocklist>, Delta), ListError> {
        let directory = self.plan.directory.clone();
        // If no other feed has changed since, the whole earlier generation is wanted.
        if other_versions(live, feed) == other_versions(&then, feed) {
            let delta = rollback::repeat_generation(
                &directory,
                (live, &then),
                &self.plan.feeds,
                generation,
                Timestamp::now(),
            );
            return Ok((then, delta));
        }
        let on = Arc::clone(live);
        let live = Arc::clone(live);
        let name = feed.to_owned();
        let restored = tokio::task::spawn_blocking(move || {
            let now = Timestamp::now();
            rollback::restore_feed(&directory, &live, &then, &name, generation, now)
        })
        .await;
        let too_much = || {
            ListError::Failed(
                "more names would change than a single feed may; roll back the generation"
                    .to_owned(),
            )
        };
        Ok((on, restored.ok().flatten().ok_or_else(too_much)?))
    }

    fn report_rollback(
        &self,
        feed: Option<&str>,
        generation: u64,
        detail: String,
        held: &[String],
    ) {
        let now = Timestamp::now();
        tracing::warn!(feed, generation, detail, "rolled back");
        self.status
            .publish(EventKind::RolledBack, feed, generation, Some(detail), now);
        for feed in held {
            self.status
                .publish(EventKind::FeedHeld, Some(feed), generation, None, now);
        }
    }

    /// Writes a delta, applies it to `base`, and makes the result live.
    async fn install_delta(
        &self,
        base: Arc<Blocklist>,
        mut delta: Delta,
        began: Instant,
    ) -> Result<(), ListError> {
        let taxonomy = Arc::clone(&self.taxonomy);
        let work = move || {
            delta.write()?;
            base.with_deltas(&[delta], &taxonomy)
        };
        let next = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| ListError::Failed(error.to_string()))?;
        let next = next.map_err(|error| ListError::Failed(causes(&error)))?;
        self.install(next, began);
        Ok(())
    }

    /// The latest kept generation whose content differs from the live one.
    fn generation_before(&self, live: &Blocklist) -> Result<u64, ListError> {
        kept(rollback::previous_generation(
            &self.plan.directory,
            live.header(),
        ))
    }

    /// The latest kept generation in which a feed had another version.
    fn generation_with_another(
        &self,
        feed: &FeedSummary,
        live: &Blocklist,
    ) -> Result<u64, ListError> {
        kept(rollback::previous_of_feed(
            &self.plan.directory,
            live.header(),
            feed,
        ))
    }
}

/// The summary of a feed in lists.
fn live_summary<'l>(lists: &'l Blocklist, feed: &str) -> Option<&'l FeedSummary> {
    let mut feeds = lists.header().feeds.iter();
    feeds.find(|summary| summary.name == feed && !summary.withdrawn)
}

/// The versions of all other feeds in lists.
fn other_versions<'l>(lists: &'l Blocklist, feed: &str) -> Vec<(&'l str, &'l str)> {
    let feeds = lists.header().feeds.iter();
    feeds
        .filter(|summary| summary.name != feed && !summary.withdrawn)
        .map(|summary| (summary.name.as_str(), summary.version.as_str()))
        .collect()
}

fn kept(found: std::io::Result<Option<u64>>) -> Result<u64, ListError> {
    let found = found.map_err(|error| ListError::Failed(error.to_string()))?;
    found.ok_or_else(|| ListError::NothingBefore("no earlier version is kept".to_owned()))
}
