//! The lists of a running node: opened at the start, renewed while it runs, swapped in by one
//! pointer.
//!
//! ```text
//! fetcher ── rows changed ───────> changes -> delta -> overlay ──┐
//!         └─ replaced ─┐                                         ├─> swap -> publish
//! a file changed ──────┴─> child: `lists build` ─> artefact ─────┤
//! operator: approve, roll back ──────────────────────────────────┤
//! the folder: somebody else's generation ────────────────────────┘
//! ```
//!
//! One task owns all decisions and takes what happens one after another ([`keeper`]); each feed
//! that is fetched has a task of its own ([`fetching`]); whole lists are worked on by another
//! process ([`child`]). A step that fails leaves the generation in use, and says so on the
//! [`board`].

mod board;
mod child;
mod control;
mod defined;
mod fetching;
mod keeper;
mod sharing;
mod swap;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use blocklist_loader::{Need, Plan, generations, needs_building, newest, share};
use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    lists::{artefact, blocklist::Blocklist, current::CurrentLists},
};

pub use self::{
    board::Board,
    child::lower_priority,
    control::{Control, Hits, Yesterday, difference},
    defined::defined,
    fetching::Wakes,
    keeper::{Act, Keeper},
};

/// How long a node that has last good lists waits at its start for those of feeds that are defined
/// otherwise.
const OTHER_FEEDS_MAX: Duration = Duration::from_secs(5);

/// What the keeping of lists is given.
pub struct Settings {
    /// What is to be built, and where.
    pub plan: Plan,
    /// How many whole generations are kept, with the deltas between them.
    pub keep: usize,
    /// A taxonomy document; empty is the shipped one.
    pub taxonomy_path: PathBuf,
    /// The taxonomy.
    pub taxonomy: Arc<Taxonomy>,
    /// How nodes share lists, if they do.
    pub share: Option<share::ShareSettings>,
}

/// The newest generation that can be opened; those that cannot are named in the log.
pub fn open_newest(plan: &Plan, taxonomy: &Taxonomy) -> anyhow::Result<Option<Arc<Blocklist>>> {
    for artefact in
        newest(&plan.directory).with_context(|| format!("listing {}", plan.directory.display()))?
    {
        match generations::open(&plan.directory, artefact.generation, taxonomy) {
            Ok(lists) => return Ok(Some(lists)),
            Err(error) => {
                tracing::error!(
                    error = crate::config::causes(&error),
                    "a generation cannot be used; the one before is tried"
                );
            }
        }
    }
    Ok(None)
}

/// The generation that was live at a time: the last one that was built before it. None where it is
/// no longer kept.
pub fn open_at(
    directory: &Path,
    taxonomy: &Taxonomy,
    at: Timestamp,
) -> anyhow::Result<Option<Arc<Blocklist>>> {
    let kept = newest(directory).with_context(|| format!("listing {}", directory.display()))?;
    let then = kept
        .iter()
        .find(|kept| artefact::peek(&kept.path).is_ok_and(|header| header.built_at <= at));
    then.map(|then| generations::open(directory, then.generation, taxonomy))
        .transpose()
        .map_err(Into::into)
}

/// Opens the newest generation: a query is never answered before lists are there. Where there are
/// none, the feeds are asked first, for a while, and what came is built, however long that takes.
/// Where the feeds are defined otherwise than the last good lists, a build is waited for, for a
/// while, and no provider is. A node that follows takes what is published.
pub async fn start(
    settings: Settings,
    board: Arc<Board>,
) -> anyhow::Result<(Keeper, Arc<CurrentLists>)> {
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
    let is_of_other_feeds =
        needs_building(&settings.plan, newest.as_deref().map(Blocklist::header))
            == Need::Definitions;
    let needs_build = is_of_other_feeds && follower.is_none();
    let has_lists = newest.is_some();
    let live =
        Arc::new(CurrentLists::new(newest.unwrap_or_else(|| {
            Arc::new(Blocklist::empty(&settings.taxonomy))
        })));
    let directory = settings.plan.directory.clone();
    let mut keeper = Keeper::new(settings, Arc::clone(&board), Arc::clone(&live))?;
    match (needs_build, has_lists) {
        (true, false) => {
            keeper.ask_first().await;
            keeper.build_now().await;
        }
        (true, true) => {
            keeper.show_live();
            keeper.build_within(OTHER_FEEDS_MAX).await;
        }
        (false, _) => keeper.show_live(),
    }
    // Generation 0 is no lists at all: whoever answered under it would let everything through.
    if live.load().generation() == 0 {
        bail!(
            "there are no lists to answer under: {}",
            board.last_error().unwrap_or_default()
        );
    }
    match (share, follower) {
        (_, Some(follower)) => {
            tokio::spawn(sharing::follow(
                follower,
                Arc::clone(&live),
                keeper.sender.clone(),
            ));
        }
        (Some(share), None) => {
            let publish = sharing::publish(share, directory, Arc::clone(&live), keeper.outbox());
            tokio::spawn(async move {
                if let Err(error) = publish.await {
                    tracing::error!(error = format!("{error:#}"), "the lists are not published");
                }
            });
        }
        (None, None) => {}
    }
    Ok((keeper, live))
}
