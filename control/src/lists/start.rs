//! The lists of a node at its start. No query is answered before lists are there.

use std::{sync::Arc, time::Duration};

use anyhow::bail;
use blocklist_loader::{BuildNeed, needs_building, share};
use policy::lists::{blocklist::Blocklist, current::CurrentLists};

use super::{
    generations::open_newest,
    manager::{ListManager, ListSettings},
    sharing,
    status::ListStatus,
};
use crate::shutdown::BackgroundTasks;

/// How long a node with last good lists waits at its start for lists of changed feed definitions.
const CHANGED_FEEDS_MAX: Duration = Duration::from_secs(5);

/// Opens the newest generation.
///
/// If there is none, the feeds are fetched first, for a limited time, and what came is built,
/// however long that takes. If the feeds are defined otherwise than those of the newest generation,
/// a build is waited for, for a limited time, and no provider is. A follower takes what is
/// published.
pub async fn start(
    settings: ListSettings,
    status: Arc<ListStatus>,
    tasks: &BackgroundTasks,
) -> anyhow::Result<(ListManager, Arc<CurrentLists>)> {
    let mut newest = open_newest(&settings.plan, &settings.taxonomy)?;
    let share = settings.share.clone();
    let mut follower = None;
    if let Some(share) = share
        .as_ref()
        .filter(|share| share.role == share::ShareRole::Follow)
    {
        follower =
            Some(sharing::follow_first(share, &settings.plan.directory, newest.is_some()).await?);
        newest = open_newest(&settings.plan, &settings.taxonomy)?;
    }
    let has_other_feeds = needs_building(&settings.plan, newest.as_deref().map(Blocklist::header))
        == BuildNeed::Definitions;
    let needs_build = has_other_feeds && follower.is_none();
    let has_lists = newest.is_some();
    let live =
        Arc::new(CurrentLists::new(newest.unwrap_or_else(|| {
            Arc::new(Blocklist::empty(&settings.taxonomy))
        })));
    let directory = settings.plan.directory.clone();
    let mut manager = ListManager::new(settings, Arc::clone(&status), Arc::clone(&live), tasks)?;
    match (needs_build, has_lists) {
        (true, false) => {
            manager.fetch_first().await;
            manager.build_now().await;
        }
        (true, true) => {
            manager.show_live();
            manager.build_within(CHANGED_FEEDS_MAX).await;
        }
        (false, _) => manager.show_live(),
    }
    // Generation 0 means no lists: a node that answered under it would let everything through.
    if live.load().generation() == 0 {
        bail!(
            "there are no lists to answer under: {}",
            status.last_error().unwrap_or_default()
        );
    }
    match (share, follower) {
        (_, Some(follower)) => {
            let follow = sharing::follow(follower, Arc::clone(&live), manager.sender());
            tasks.spawn_endless(follow);
        }
        (Some(share), None) => {
            let publish = sharing::publish(share, directory, Arc::clone(&live), manager.outbox());
            tasks.spawn_endless(async move {
                if let Err(error) = publish.await {
                    tracing::error!(error = format!("{error:#}"), "the lists are not published");
                }
            });
        }
        (None, None) => {}
    }
    Ok((manager, live))
}
