//! Words for tests of more than one room: feeds whose rows are put into their spools without a
//! network, built and changed.

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
    build::{Built, Outcome, Plan, RefusedFeed, build},
    changes::{ChangeError, Changed, Proposal, propose},
    feed::{Feed, Format},
    fetch::RowChange,
    generations::delta_path,
    spool::{RowKey, Spool, folder_of},
};

/// Feeds, their spools, and a folder for what is built of them.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) taxonomy: Taxonomy,
    /// The moment at which things happen.
    pub(crate) now: jiff::Timestamp,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn of(feeds: impl IntoIterator<Item = Feed>) -> Self {
        // Hundreds of cases sync dozens of files each, and it is not the disk that is asked.
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

    /// A feed of names with codes.
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

    /// A feed's provider publishes all rows anew.
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

    /// It publishes what changed.
    pub(crate) fn publish_changes(&self, feed: usize, version: u64, rows: &[RowChange]) {
        self.spool(feed)
            .append(rows, &json!({"sequence": version}))
            .unwrap();
    }

    pub(crate) fn build(&self, previous: Option<&Blocklist>) -> (Built, Arc<Blocklist>) {
        let outcome = build(&self.plan, &self.taxonomy, previous, self.now).unwrap();
        let Outcome::Built(built) = outcome else {
            panic!("nothing was built")
        };
        let lists = Blocklist::open(&built.written.path, &self.taxonomy).unwrap();
        (*built, lists)
    }

    /// A build that finds nothing to be made live, and what it refused.
    pub(crate) fn unchanged(&self, live: &Blocklist) -> Vec<RefusedFeed> {
        let outcome = build(&self.plan, &self.taxonomy, Some(live), self.now).unwrap();
        let Outcome::Unchanged {
            generation,
            refused,
        } = outcome
        else {
            panic!("something was built")
        };
        assert_eq!(generation, live.generation());
        refused
    }

    /// What changed becomes a delta, which nobody has written yet.
    pub(crate) fn propose(
        &self,
        lists: &Blocklist,
        feed: usize,
        version: u64,
        rows: &[RowChange],
    ) -> Result<Proposal, ChangeError> {
        let from = &lists.header().feeds[feed].version;
        let generation = lists.generation() + 1;
        let path = delta_path(&self.plan.directory, generation);
        let version = version.to_string();
        let changed = Changed {
            feed: &self.plan.feeds[feed],
            from,
            version: &version,
            rows,
        };
        propose(&self.plan, lists, changed, (generation, &path), self.now)
    }

    /// It is written, and laid over the lists.
    pub(crate) fn apply(&self, lists: &Blocklist, mut delta: Delta) -> Arc<Blocklist> {
        delta.write().unwrap();
        lists.with(&[delta], &self.taxonomy).unwrap()
    }

    /// The whole of it: published, proposed, applied.
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

/// Rows as people write them: `+` or `-`, then the row.
pub(crate) fn changes(rows: &[&str]) -> Vec<RowChange> {
    let change = |row: &&str| match row.split_at(1) {
        ("+", row) => RowChange::added(row),
        ("-", row) => RowChange::removed(row),
        _ => panic!("neither came nor went: {row}"),
    };
    rows.iter().map(change).collect()
}

/// All that lists say, by key, but for when it came. The labels of a key stand from the top.
pub(crate) fn said(lists: &Blocklist) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    lists.for_each_name(|key, marks| {
        let mut marks: Vec<String> = marks.map(|mark| said_by(lists, &mark)).collect();
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

fn said_by(lists: &Blocklist, mark: &ListEntry) -> String {
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
