//! Test helpers of several modules: feeds whose rows are written into their spools without a
//! network, then built and changed.

use std::{collections::BTreeMap, sync::Arc};

use policy::{
    category::Taxonomy,
    lists::{
        blocklist::Blocklist,
        delta::Delta,
        entry::{EntryAction, ListEntry},
    },
};
use serde_json::json;

use crate::{
    build::{BuildOutcome, Built, RefusedFeed, build},
    changes::{ChangedRows, DeltaError, Proposal, propose},
    feed::{Feed, Format},
    generations::delta_path,
    plan::Plan,
    row_change::RowChange,
    spool::{RowKey, Spool, folder_of},
};

/// Feeds, their spools, and a folder for the artefacts.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) taxonomy: Taxonomy,
    /// The current time of the test.
    pub(crate) now: jiff::Timestamp,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn of(feeds: impl IntoIterator<Item = Feed>) -> Self {
        // Hundreds of cases sync dozens of files each; the disk is not under test.
        let folder = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let plan = Plan {
            feeds: feeds.into_iter().collect(),
            directory: folder.path().join("lists"),
            ..Plan::default()
        };
        std::fs::create_dir_all(&plan.directory).unwrap();
        Self {
            plan,
            taxonomy: Taxonomy::shipped(),
            now: jiff::Timestamp::UNIX_EPOCH,
            _folder: folder,
        }
    }

    /// A policy zone for a category.
    pub(crate) fn zone(category: &str) -> Feed {
        Feed {
            category: Some(category.to_owned()),
            ..Feed::new("zone", "rpz://127.0.0.1:53/rpz.example", Format::Rpz)
        }
    }

    /// A category feed.
    pub(crate) fn codes(categories: &[(&str, &str)]) -> Feed {
        let categories = categories
            .iter()
            .map(|(code, slug)| ((*code).to_owned(), (*slug).to_owned()))
            .collect();
        Feed {
            categories,
            ..Feed::new("codes", "http://127.0.0.1/feed/", Format::CategoryFeed)
        }
    }

    fn spool(&self, feed: usize) -> Spool {
        let feed = &self.plan.feeds[feed];
        let key = if feed.format == Format::Rpz {
            RowKey::WholeRow
        } else {
            RowKey::UpToTab
        };
        Spool::open(&folder_of(&self.plan.directory, &feed.name), key).unwrap()
    }

    /// The feed's provider publishes a full version.
    pub(crate) fn publish(
        &self,
        feed: usize,
        version: u64,
        rows: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) {
        let mut writer = self.spool(feed).snapshot().unwrap();
        rows.into_iter()
            .for_each(|row| writer.row(row.as_ref()).unwrap());
        writer.commit(&json!({"sequence": version})).unwrap();
    }

    /// The feed's provider publishes changes.
    pub(crate) fn publish_changes(&self, feed: usize, version: u64, rows: &[RowChange]) {
        self.spool(feed)
            .append(rows, &json!({"sequence": version}))
            .unwrap();
    }

    pub(crate) fn build(&self, previous: Option<&Blocklist>) -> (Built, Arc<Blocklist>) {
        let outcome = build(&self.plan, &self.taxonomy, previous, self.now).unwrap();
        let BuildOutcome::Built(built) = outcome else {
            panic!("nothing was built")
        };
        let lists = Blocklist::open(&built.written.path, &self.taxonomy).unwrap();
        (*built, lists)
    }

    /// Runs a build that must find nothing new; returns the refused feeds.
    pub(crate) fn unchanged(&self, live: &Blocklist) -> Vec<RefusedFeed> {
        let outcome = build(&self.plan, &self.taxonomy, Some(live), self.now).unwrap();
        let BuildOutcome::Unchanged {
            generation,
            refused,
        } = outcome
        else {
            panic!("something was built")
        };
        assert_eq!(generation, live.generation());
        refused
    }

    /// Turns changes into a delta without writing it.
    pub(crate) fn propose(
        &self,
        lists: &Blocklist,
        feed: usize,
        version: u64,
        rows: &[RowChange],
    ) -> Result<Proposal, DeltaError> {
        let from = &lists.header().feeds[feed].version;
        let generation = lists.generation() + 1;
        let path = delta_path(&self.plan.directory, generation);
        let version = version.to_string();
        let changed = ChangedRows {
            feed: &self.plan.feeds[feed],
            from,
            version: &version,
            rows,
        };
        propose(&self.plan, lists, changed, (generation, &path), self.now)
    }

    /// Writes a delta and lays it over the lists.
    pub(crate) fn apply(&self, lists: &Blocklist, mut delta: Delta) -> Arc<Blocklist> {
        delta.write().unwrap();
        lists.with_deltas(&[delta], &self.taxonomy).unwrap()
    }

    /// Publishes, proposes and applies changes.
    pub(crate) fn change(
        &self,
        lists: &Blocklist,
        feed: usize,
        version: u64,
        rows: &[RowChange],
    ) -> Arc<Blocklist> {
        self.publish_changes(feed, version, rows);
        self.apply(
            lists,
            self.propose(lists, feed, version, rows).unwrap().delta,
        )
    }
}

/// Changes from text: `+` or `-`, then the row.
pub(crate) fn changes(rows: &[&str]) -> Vec<RowChange> {
    let change = |row: &&str| match row.split_at(1) {
        ("+", row) => RowChange::added(row),
        ("-", row) => RowChange::removed(row),
        _ => panic!("neither came nor went: {row}"),
    };
    rows.iter().map(change).collect()
}

/// All entries of the lists by key, without arrival times. The labels of a key stand from the
/// top-level domain down.
pub(crate) fn all_entries(lists: &Blocklist) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    lists.for_each_name(|key, marks| {
        let mut marks: Vec<String> = marks.map(|mark| entry_text(lists, &mark)).collect();
        marks.sort();
        all.insert(
            String::from_utf8_lossy(key)
                .trim_end_matches('\0')
                .replace('\0', "."),
            marks,
        );
    });
    all
}

fn entry_text(lists: &Blocklist, mark: &ListEntry) -> String {
    let header = lists.header();
    let ListEntry {
        scope,
        polarity,
        important,
        action,
        data,
        ..
    } = mark;
    let feed = &header.feeds[usize::from(mark.feed)].name;
    let category = header
        .categories
        .get(usize::from(mark.category))
        .map_or("-", String::as_str);
    let data = match action {
        EntryAction::LocalData => {
            let records = lists.answers()[*data as usize].0.iter();
            let shown = records
                .map(|record| format!("{} {}", record.record_type, record.rdata.escape_ascii()));
            shown.collect::<Vec<_>>().join(", ")
        }
        _ => data.to_string(),
    };
    let words = format!(
        "{feed} {category} {scope:?} {polarity:?} {}{} {data}",
        if *important { "important " } else { "" },
        action.as_str()
    );
    words.to_lowercase()
}
