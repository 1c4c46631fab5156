//! Lists over time: arrival times of entries, fitting deltas, and mandates beside many categories.

// A test that cannot continue fails.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    lists::{
        artefact::{FeedSummary, Header},
        blocklist::Blocklist,
        builder::{ArtefactBuilder, fold},
        delta::Delta,
        entry::{EntryAction, ListEntry, NO_CATEGORY, Scope, Tier},
    },
    name::Name,
};

fn key_of(name: &Name) -> Vec<u8> {
    let mut key = Vec::new();
    name.borrow().write_key(&mut key);
    key
}

/// Lists of one feed, and the changes of deltas and folds.
struct Chronicle {
    folder: tempfile::TempDir,
    taxonomy: Taxonomy,
    lists: Arc<Blocklist>,
    names: BTreeSet<String>,
}

impl Chronicle {
    fn of(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let taxonomy = Taxonomy::shipped();
        let lists = Arc::new(Blocklist::empty(&taxonomy));
        let mut chronicle = Self {
            folder,
            taxonomy,
            lists,
            names: BTreeSet::new(),
        };
        chronicle
            .names
            .extend(names.iter().map(|&name| name.to_owned()));
        chronicle.build();
        chronicle
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("lists")
    }

    fn header(&self, generation: u64) -> Header {
        let now = Timestamp::from_second(generation as i64 * 60).unwrap();
        Header {
            feeds: vec![FeedSummary::new("f", Tier::Choice)],
            categories: vec!["ads".to_owned()],
            ..Header::of(generation, now)
        }
    }

    fn build(&mut self) {
        let mut builder = ArtefactBuilder::new();
        for name in &self.names {
            builder
                .push(
                    Name::parse(name).unwrap().borrow(),
                    ListEntry::deny(0, 0, Scope::Subtree),
                )
                .unwrap();
        }
        let header = self.header(self.lists.generation() + 1);
        builder
            .write(header, Some(&self.lists), &self.path())
            .unwrap();
        self.lists = Blocklist::open(&self.path(), &self.taxonomy).unwrap();
    }

    /// The delta that the loader would make of these changed rows.
    fn delta(&self, lists: &Blocklist, added: &[&str], removed: &[&str]) -> Delta {
        let header = self.header(lists.generation() + 1);
        let mut arrivals = lists.header().arrivals.clone();
        arrivals.push(header.built_at);
        let arrival = u16::try_from(arrivals.len() - 1).unwrap();
        let listed = vec![ListEntry {
            arrival,
            ..ListEntry::deny(0, 0, Scope::Subtree)
        }];
        let changes = added
            .iter()
            .map(|name| (name, listed.clone()))
            .chain(removed.iter().map(|name| (name, Vec::new())));
        let changes = changes
            .map(|(name, marks)| (key_of(&Name::parse(name).unwrap()).into(), marks))
            .collect();
        let header = Header {
            parent: Some(lists.generation()),
            arrivals,
            ..header
        };
        Delta {
            path: self.folder.path().join("delta"),
            header,
            changes,
            sha256: String::new(),
        }
    }

    fn change(&mut self, added: &[&str], removed: &[&str]) {
        let delta = self.delta(&self.lists, added, removed);
        self.lists = self.lists.with_deltas(&[delta], &self.taxonomy).unwrap();
        self.names.extend(added.iter().map(|&name| name.to_owned()));
        self.names.retain(|name| !removed.contains(&name.as_str()));
    }

    fn fold(&mut self) {
        fold(&self.lists, &self.path()).unwrap();
        self.lists = Blocklist::open(&self.path(), &self.taxonomy).unwrap();
    }

    /// The minute in which a name arrived.
    fn came_in(lists: &Blocklist, name: &str) -> Option<i64> {
        let name = Name::parse(name).unwrap();
        lists
            .matches(name.borrow())
            .first()
            .and_then(|found| found.since)
            .map(|since| since.as_second() / 60)
    }

    fn check(&self, name: &str, minute: Option<i64>) {
        assert_eq!(Self::came_in(&self.lists, name), minute, "{name}");
    }
}

#[test]
fn an_entry_that_stays_keeps_its_time_and_a_returning_one_has_a_new_one() {
    let mut lists = Chronicle::of(&["stays.example", "goes.example"]);
    lists.change(&["later.example"], &["goes.example"]);
    lists.check("goes.example", None);
    lists.change(&["goes.example"], &[]);
    for _ in 0..2 {
        lists.check("stays.example", Some(1));
        lists.check("later.example", Some(2));
        lists.check("goes.example", Some(3));
        lists.fold();
    }
    lists.names.remove("later.example");
    lists.build();
    lists.names.insert("later.example".to_owned());
    lists.build();
    lists.check("stays.example", Some(1));
    lists.check("goes.example", Some(3));
    lists.check("later.example", Some(5));
}

#[test]
fn thousands_of_arrivals_survive_a_fold_and_deltas_meanwhile() {
    const DELTAS: u64 = 4_200;
    let mut lists = Chronicle::of(&["first.example"]);
    let name = |generation: u64| format!("n{generation}.example");
    let check_all = |lists: &Blocklist, off_by: i64| {
        let mut last = 0;
        for generation in 2..=lists.generation() {
            let came = Chronicle::came_in(lists, &name(generation)).unwrap();
            let really = i64::try_from(generation).unwrap();
            assert!(
                (really..=really + off_by).contains(&came),
                "{generation} came {came}"
            );
            assert!(last <= came, "{generation} came before the one before");
            last = came;
        }
    };
    for generation in 2..DELTAS {
        lists.change(&[&name(generation)], &[]);
    }
    check_all(&lists.lists, 0);
    // While the lists are folded, two more deltas arrive, which refer to arrival times by the old
    // indices.
    let mut unfolded = Arc::clone(&lists.lists);
    let meanwhile = [DELTAS, DELTAS + 1].map(|generation| {
        let delta = lists.delta(&unfolded, &[&name(generation)], &["first.example"]);
        unfolded = unfolded
            .with_deltas(std::slice::from_ref(&delta), &lists.taxonomy)
            .unwrap();
        delta
    });
    lists.fold();
    assert_eq!(
        lists.lists.header().arrivals.len() as u64,
        DELTAS - 1,
        "a fold leaves the table as it is"
    );
    lists.lists = lists
        .lists
        .with_deltas(&meanwhile, &lists.taxonomy)
        .unwrap();
    check_all(&lists.lists, 0);
    lists.check(&name(DELTAS + 1), Some(i64::try_from(DELTAS).unwrap() + 1));
    // Another delta continues from there.
    lists.change(&[&name(DELTAS + 2)], &[]);
    check_all(&lists.lists, 0);
}

#[test]
fn a_delta_of_other_feeds_or_with_keys_that_are_none_is_refused() {
    let lists = Chronicle::of(&["a.example"]);
    let good = || lists.delta(&lists.lists, &["b.example"], &[]);
    let refused = |spoil: &dyn Fn(&mut Delta)| {
        let mut delta = good();
        spoil(&mut delta);
        delta.write().unwrap();
        let error = Delta::read(&delta.path)
            .and_then(|delta| lists.lists.with_deltas(&[delta], &lists.taxonomy))
            .unwrap_err();
        error.to_string()
    };
    assert!(lists.lists.with_deltas(&[good()], &lists.taxonomy).is_ok());
    // Otherwise marks would refer to feeds or categories that do not exist, or to others.
    assert!(refused(&|delta| delta.header.feeds.clear()).contains("cannot be read"));
    assert!(
        refused(&|delta| delta
            .header
            .feeds
            .push(FeedSummary::new("g", Tier::Mandatory)))
        .contains("not those of")
    );
    assert!(
        refused(&|delta| delta.header.feeds[0].tier = Tier::NeverBlock).contains("not those of")
    );
    assert!(refused(&|delta| delta.header.feeds[0].most_specific = true).contains("not those of"));
    assert!(
        refused(&|delta| delta.header.categories[0] = "gambling".to_owned())
            .contains("not those of")
    );
    assert!(
        refused(&|delta| delta.header.arrivals = vec![Timestamp::UNIX_EPOCH; (1 << 16) + 1])
            .contains("more than marks can name")
    );
    assert!(refused(&|delta| delta.header.parent = None).contains("no parent"));
    assert!(refused(&|delta| delta.header.parent = Some(7)).contains("generation 7"));
    for key in [
        b"example".as_slice(),
        b"example\0a",
        b"\0",
        b"example\0\0",
        b"a\x01\0",
        b"a\x01\x03\0",
        b"a\x01",
    ] {
        assert!(
            refused(&|delta| delta.changes[0].0 = key.into()).contains("cannot be read"),
            "{key:?}"
        );
    }
    let answered = |data| ListEntry {
        action: EntryAction::LocalData,
        data,
        ..ListEntry::deny(0, 0, Scope::Exact)
    };
    assert!(
        refused(&|delta| delta.changes[0].1 = vec![answered(0)])
            .contains("an answer that is not there")
    );
}

#[test]
fn a_mandate_blocks_over_tcp_whatever_the_number_of_categories() {
    let folder = tempfile::tempdir().unwrap();
    let taxonomy = Taxonomy::shipped();
    let path = folder.path().join("lists");
    let mut builder = ArtefactBuilder::new();
    let listed = Name::parse("listed.example").unwrap();
    for category in 0..5 {
        builder
            .push(
                listed.borrow(),
                ListEntry {
                    action: EntryAction::TcpOnly,
                    ..ListEntry::deny(0, category, Scope::Subtree)
                },
            )
            .unwrap();
    }
    builder
        .push(
            listed.borrow(),
            ListEntry {
                action: EntryAction::Nodata,
                ..ListEntry::deny(1, NO_CATEGORY, Scope::Subtree)
            },
        )
        .unwrap();
    let feeds = vec![
        FeedSummary::new("families", Tier::Choice),
        FeedSummary::new("court", Tier::Mandatory),
    ];
    let categories = ["gambling", "violence", "social", "games", "ads"]
        .map(str::to_owned)
        .to_vec();
    builder
        .write(
            Header {
                feeds,
                categories,
                ..Header::of(1, Timestamp::UNIX_EPOCH)
            },
            None,
            &path,
        )
        .unwrap();
    let said = Blocklist::open(&path, &taxonomy)
        .unwrap()
        .classify(listed.borrow());
    assert!(said.over_tcp().mandatory);
    assert_eq!(
        said.listing(Tier::Mandatory, None)
            .map(|listing| (listing.feed, listing.action)),
        Some((1, policy::decide::Action::Nodata))
    );
}
