//! Tests of deltas: rows laid over the live lists give the same entries as a build of all rows.

use std::collections::{BTreeMap, BTreeSet};

use policy::{
    lists::{
        builder::fold,
        entry::{Scope, Tier},
    },
    name::Name,
};
use proptest::prelude::*;

use super::*;
use crate::{
    feed::{Format, Matching},
    generations,
    parse::category_row::Row,
    row_change::RowChange,
    testing::{World, all_entries, changes},
};

const NAMES: [&str; 12] = [
    "a.example",
    "b.a.example",
    "c.b.a.example",
    "A.Example.",
    "own.a.example",
    "d.example",
    "co.uk",
    "x.co.uk",
    "github.io",
    "com",
    "bücher.example",
    "bad..name",
];
const PATHS: [&str; 4] = ["", "", "/x", "/y/Z,1"];
const CODES: [&str; 6] = ["1", "2", "3", "1,2", "9", "01;3 9"];
const OWNERS: [&str; 19] = [
    "a.example",
    "*.a.example",
    "b.a.example",
    "*.b.a.example",
    "own.a.example",
    "*.d.example",
    "co.uk",
    "*.co.uk",
    "github.io",
    "*.com",
    "*",
    "32.7.2.0.192.rpz-ip",
    "25.0.2.0.192.rpz-ip",
    "24.0.2.0.192.rpz-ip",
    "23.0.2.0.192.rpz-ip",
    "128.7.zz.db8.2001.rpz-ip",
    "46.zz.db8.2001.rpz-ip",
    "24.0.2.0.192.rpz-client-ip",
    "a\\.b.example",
];
const TARGETS: [&str; 9] = [
    ".",
    "*.",
    "rpz-passthru.",
    "a.example.",
    "rpz-drop.",
    "rpz-tcp-only.",
    "garden.example.",
    "*.garden.example.",
    "rpz-unheard-of.",
];
const DATA: [&str; 7] = [
    "A\t192.0.2.80",
    "A\t192.0.2.81",
    "AAAA\t2001:db8::80",
    "TXT\t\"see why\"",
    "MX\t10 mail.example.",
    "A\tno-address",
    "NOTYPE\tx",
];

/// The records of an owner of a zone: a CNAME, or others.
#[derive(Debug, Clone)]
enum Data {
    Nothing,
    Cname(usize),
    Records(BTreeSet<usize>),
}

#[derive(Debug, Clone)]
enum Step {
    /// Rows of the category feed in order; a row without codes is a removal.
    Codes(Vec<(usize, usize, Option<usize>)>),
    /// Owners of the zone with their new records.
    Zone(Vec<(usize, Data)>),
}

fn codes() -> impl Strategy<Value = Vec<(usize, usize, Option<usize>)>> {
    prop::collection::vec(
        (
            0..NAMES.len(),
            0..PATHS.len(),
            prop::option::weighted(0.7, 0..CODES.len()),
        ),
        0..8,
    )
}

fn zone() -> impl Strategy<Value = Vec<(usize, Data)>> {
    let data = prop_oneof![
        2 => Just(Data::Nothing),
        4 => (0..TARGETS.len()).prop_map(Data::Cname),
        2 => prop::collection::btree_set(0..DATA.len(), 1..4).prop_map(Data::Records),
    ];
    prop::collection::vec((0..OWNERS.len(), data), 0..8)
}

/// The current rows of both feeds at their providers.
#[derive(Debug, Clone, Default)]
struct Published {
    codes: BTreeMap<Vec<u8>, Vec<u8>>,
    zone: BTreeMap<usize, Data>,
}

impl Published {
    fn rows_of_zone(&self) -> BTreeSet<String> {
        let rows = |(owner, data): (&usize, &Data)| -> Vec<String> {
            let owner = OWNERS[*owner];
            match data {
                Data::Nothing => Vec::new(),
                Data::Cname(target) => vec![format!("{owner}\tCNAME\t{}", TARGETS[*target])],
                Data::Records(all) => all
                    .iter()
                    .map(|data| format!("{owner}\t{}", DATA[*data]))
                    .collect(),
            }
        };
        self.zone.iter().flat_map(rows).collect()
    }

    fn change_codes(&mut self, changes: &[(usize, usize, Option<usize>)]) -> Vec<RowChange> {
        let mut rows = Vec::new();
        for (name, path, codes) in changes {
            let text = format!(
                "{}{}\t{}",
                NAMES[*name],
                PATHS[*path],
                codes.map(|codes| CODES[codes]).unwrap_or_default()
            );
            let row = Row::parse(text.as_bytes());
            if codes.is_some() {
                self.codes.insert(row.key(), row.normal());
                rows.push(RowChange::added(row.normal()));
            } else {
                self.codes.remove(&row.key());
                rows.push(RowChange::removed(row.key()));
            }
        }
        rows
    }

    /// The changed rows in the order of a transfer.
    fn change_zone(&mut self, changes: &[(usize, Data)]) -> Vec<RowChange> {
        let before = self.rows_of_zone();
        self.zone.extend(changes.iter().cloned());
        let after = self.rows_of_zone();
        before
            .symmetric_difference(&after)
            .map(|row| RowChange {
                added: after.contains(row),
                row: row.clone().into(),
            })
            .collect()
    }
}

#[test]
fn rows_that_go_live_clear_what_was_said_of_a_refused_version() {
    let world = World::of([World::codes(&[("1", "gambling")])]);
    world.publish(0, 1, ["a.example\t1"]);
    let (_, lists) = world.build(None);
    // Lists of an earlier version of the program state that in their header.
    let refused = policy::lists::artefact::RejectedVersion {
        version: "0".to_owned(),
        gate: "shrink".to_owned(),
        detail: "too small".to_owned(),
        entries: 1,
        at: world.now,
    };
    let mut header = lists.header().clone();
    header.feeds[0].refused = Some(refused);
    let header = Header {
        generation: 2,
        parent: Some(1),
        ..header
    };
    let path = generations::delta_path(&world.plan.directory, 2);
    let told = world.apply(
        &lists,
        Delta {
            path,
            header,
            changes: Vec::new(),
            sha256: String::new(),
        },
    );
    assert!(told.header().feeds[0].refused.is_some());
    let next = world.change(&told, 0, 2, &changes(&["+b.example\t1"]));
    assert_eq!(
        (
            next.header().feeds[0].version.as_str(),
            &next.header().feeds[0].refused
        ),
        ("2", &None)
    );
}

/// Two feeds with row changes, and one that lists the same names.
fn world(scope: Scope, tier: Tier, matching: Matching) -> World {
    let category = |category: &str| (tier == Tier::Choice).then(|| category.to_owned());
    let codes = Feed {
        scope: Some(scope),
        matching,
        allow_empty: true,
        ..World::codes(&[("1", "gambling"), ("2", "ads"), ("3", "none")])
    };
    let zone = Feed {
        tier,
        category: category("malware"),
        allow_empty: true,
        ..World::zone("malware")
    };
    let mut world = World::of([codes, zone]);
    let path = world.plan.directory.join("other");
    std::fs::write(&path, "a.example\nb.a.example\nd.example\nother.example\n").unwrap();
    let other = Feed {
        scope: Some(Scope::Exact),
        category: Some("games".to_owned()),
        ..Feed::new("other", path.to_string_lossy(), Format::Domains)
    };
    world.plan.feeds.push(other);
    world.plan.own_names = vec![
        Name::parse("own.a.example").unwrap(),
        Name::parse("www.own.a.example").unwrap(),
    ];
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn any_history_of_changes_says_name_by_name_what_a_build_of_its_end_says(
        scope in prop::sample::select(vec![Scope::Exact, Scope::Subtree, Scope::Descendants]),
        tier in prop::sample::select(vec![Tier::Choice, Tier::NeverBlock, Tier::Mandatory]),
        is_most_specific: bool,
        first in (codes(), zone()),
        steps in prop::collection::vec(prop_oneof![codes().prop_map(Step::Codes), zone().prop_map(Step::Zone)], 1..6),
    ) {
        let mut world = world(scope, tier, if is_most_specific { Matching::MostSpecific } else { Matching::Additive });
        let mut published = Published::default();
        published.change_codes(&first.0);
        published.change_zone(&first.1);
        world.publish(0, 1, published.codes.values());
        world.publish(1, 1, published.rows_of_zone());
        world.plan.approved = ["codes", "zone"].map(|feed| (feed.to_owned(), "1".to_owned())).into();
        let (_, mut lists) = world.build(None);
        for (step, version) in steps.iter().zip(2..) {
            let (feed, rows) = match step {
                Step::Codes(changes) => (0, published.change_codes(changes)),
                Step::Zone(changes) => (1, published.change_zone(changes)),
            };
            world.publish_changes(feed, version, &rows);
            // A version that a gate refuses is as good a change as any other here.
            let proposal = match world.propose(&lists, feed, version, &rows) {
                Err(DeltaError::Refused(_, proposal)) => *proposal,
                other => other.unwrap(),
            };
            lists = world.apply(&lists, proposal.delta);
        }
        // Random rows are bad in many ways; other tests check the gates.
        let versions = lists.header().feeds.iter().map(|feed| (feed.name.clone(), feed.version.clone()));
        world.plan.approved = versions.collect();
        let (built, whole) = world.build(None);
        prop_assert!(built.refused.is_empty(), "{:?}", built.refused);
        let expected = all_entries(&whole);
        prop_assert_eq!(&all_entries(&lists), &expected);
        prop_assert_eq!(lists.header().names, whole.header().names);
        for (changed, built) in lists.header().feeds.iter().zip(&whole.header().feeds) {
            let counts = |feed: &FeedSummary| {
                let FeedReport { entries, paths, addresses, own_names, .. } = feed.report;
                (entries, paths, addresses, own_names)
            };
            prop_assert_eq!(counts(changed), counts(built), "{}", changed.name);
            prop_assert_eq!(&changed.fingerprint, &built.fingerprint, "{}", changed.name);
            if changed.format == "rpz" {
                let counts = |feed: &FeedSummary| {
                    let FeedReport { lines, bad, unsupported, public_suffixes, registry_suffixes, .. } = feed.report;
                    (lines, bad, unsupported, public_suffixes, registry_suffixes)
                };
                prop_assert_eq!(counts(changed), counts(built));
            }
        }
        // The same after reading from disk, delta by delta and folded.
        let directory = &world.plan.directory;
        let generation = lists.generation();
        prop_assert_eq!(&all_entries(&generations::open(directory, generation, &world.taxonomy).unwrap()), &expected);
        fold(&lists, &generations::path_of(directory, generation)).unwrap();
        let folded = generations::open(directory, generation, &world.taxonomy).unwrap();
        prop_assert_eq!(folded.base_generation(), generation);
        prop_assert_eq!(&all_entries(&folded), &expected);
    }
}

#[test]
fn a_thousand_changes_to_one_garden_need_its_answer_once() {
    let world = World::of([World::zone("malware")]);
    world.publish(
        0,
        1,
        [
            "a.example\tCNAME\tgarden.example.",
            "b.example\tA\t192.0.2.1",
        ],
    );
    let (_, mut lists) = world.build(None);
    assert_eq!(lists.answers().len(), 2);
    for version in 2..30 {
        let garden = format!("+n{version}.example\tCNAME\tgarden.example.");
        // Of a record set that grows record by record, only the last one is kept.
        let rows = changes(&[
            &garden,
            "+b.example\tA\t192.0.2.2",
            "+b.example\tA\t192.0.2.3",
        ]);
        lists = world.change(&lists, 0, version, &rows);
    }
    assert_eq!(lists.answers().len(), 3);
    assert_eq!(
        all_entries(&lists)["example.b"],
        [
            "zone malware exact deny records 1 \\xc0\\x00\\x02\\x01, 1 \\xc0\\x00\\x02\\x02, 1 \\xc0\\x00\\x02\\x03"
        ]
    );
    assert_eq!(
        all_entries(&lists)["example.n29"],
        ["zone malware exact deny records 5 \\x06garden\\x07example\\x00"]
    );
}

#[test]
fn what_stays_keeps_the_time_at_which_it_came_and_what_comes_has_its_own() {
    let mut world = World::of([World::codes(&[("1", "gambling"), ("2", "ads")])]);
    world.publish(0, 1, ["a.example\t1", "b.example\t1"]);
    let (_, lists) = world.build(None);
    let before = world.now;
    world.now += std::time::Duration::from_secs(3600);
    let lists = world.change(
        &lists,
        0,
        2,
        &changes(&["+a.example\t1,2", "+c.example\t1"]),
    );
    let since = |lists: &Blocklist, name: &str| -> Vec<jiff::Timestamp> {
        let name = Name::parse(name).unwrap();
        lists
            .matches(name.borrow())
            .iter()
            .map(|entry| entry.since.unwrap())
            .collect()
    };
    // A later build uses it as well.
    world.plan.force = true;
    let (_, built) = world.build(Some(&lists));
    for lists in [&lists, &built] {
        let mut of_a = since(lists, "a.example");
        of_a.sort();
        assert_eq!(of_a, [before, world.now]);
        assert_eq!(
            (since(lists, "b.example"), since(lists, "c.example")),
            (vec![before], vec![world.now])
        );
    }
}

#[test]
fn rows_that_do_not_continue_what_is_live_are_not_applied() {
    let mut world = World::of([World::zone("malware")]);
    world.publish(0, 5, ["a.example\tCNAME\t."]);
    let (_, lists) = world.build(None);
    let rows = changes(&["+b.example\tCNAME\t."]);
    let path = generations::delta_path(&world.plan.directory, 2);
    let mut changed = ChangedRows {
        feed: &world.plan.feeds[0],
        from: "4",
        version: "6",
        rows: &rows,
    };
    let proposed = propose(&world.plan, &lists, changed, (2, &path), world.now);
    assert!(matches!(proposed, Err(DeltaError::NotContinued)));
    // Lists with another definition are not continued.
    changed.from = "5";
    let feed = Feed {
        tier: Tier::Security,
        ..world.plan.feeds[0].clone()
    };
    let proposed = propose(
        &world.plan,
        &lists,
        ChangedRows {
            feed: &feed,
            ..changed
        },
        (2, &path),
        world.now,
    );
    assert!(matches!(proposed, Err(DeltaError::NotContinued)));
    // A held feed is not continued.
    let held = {
        let second = world.change(&lists, 0, 6, &rows);
        crate::rollback::repeat_generation(
            &world.plan.directory,
            (&second, &lists),
            &world.plan.feeds,
            3,
            world.now,
        )
    };
    assert!(held.header.feeds[0].held);
    let held = world.apply(&lists, held);
    assert!(matches!(
        world.propose(&held, 0, 7, &rows),
        Err(DeltaError::NotContinued)
    ));
    world.plan.feeds[0].name = "another".to_owned();
    assert!(matches!(
        world.propose(&lists, 0, 6, &rows),
        Err(DeltaError::NotContinued)
    ));
}
