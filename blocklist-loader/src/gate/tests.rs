//! Tests of the gates, for both ways into the lists: a build of all rows, and a delta of changed
//! rows.

use std::{collections::BTreeSet, sync::Arc};

use policy::{
    lists::{
        artefact::FeedSummary,
        blocklist::Blocklist,
        entry::{Scope, Tier},
    },
    name::Name,
};
use proptest::prelude::*;

use super::*;
use crate::{
    changes::{DeltaError, Proposal},
    feed::{Feed, Format},
    review, rollback,
    row_change::RowChange,
    rows::{EntryRule, ParsedEntry},
    testing::{World, all_entries, changes},
};

/// The two formats with row changes, and the row that covers everything below a name in each.
const KINDS: [(Format, &str, &str); 2] = [
    (Format::CategoryFeed, "", "\t1"),
    (Format::Rpz, "*.", "\tCNAME\t."),
];

/// A feed whose first version is live.
struct BuildFixture {
    world: World,
    kind: (Format, &'static str, &'static str),
    live: Arc<Blocklist>,
}

impl BuildFixture {
    fn new(
        kind: (Format, &'static str, &'static str),
        first: &[String],
        define: fn(&mut Feed),
    ) -> Self {
        let mut feed = if kind.0 == Format::Rpz {
            World::zone("gambling")
        } else {
            World::codes(&[("1", "gambling"), ("2", "ads")])
        };
        define(&mut feed);
        let mut world = World::of([feed]);
        world.plan.own_names = vec![Name::parse("www.own.example").unwrap()];
        world.publish(
            0,
            1,
            first
                .iter()
                .map(|name| format!("{}{name}{}", kind.1, kind.2)),
        );
        let (built, live) = world.build(None);
        assert!(built.refused.is_empty(), "{:?}", built.refused);
        Self { world, kind, live }
    }

    /// Rows for added and removed names.
    fn rows(&self, names: &[String]) -> Vec<RowChange> {
        let row = |name: &String| {
            let (sign, name) = name.split_at(1);
            let is_key = sign == "-" && self.kind.0 == Format::CategoryFeed;
            format!(
                "{sign}{}{name}{}",
                self.kind.1,
                if is_key { "" } else { self.kind.2 }
            )
        };
        let rows: Vec<String> = names.iter().map(row).collect();
        changes(&rows.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn directory(&self) -> &std::path::Path {
        &self.world.plan.directory
    }

    /// The version kept for review, and its changes.
    fn kept(&self) -> Option<(String, Vec<String>)> {
        let mut told = Vec::new();
        let version = review::changes(self.directory(), &self.world.plan.feeds[0].name, |change| {
            let category = change
                .category
                .map(|category| format!("{category} "))
                .unwrap_or_default();
            told.push(format!(
                "{}{category}{}",
                if change.blocked { '+' } else { '-' },
                change.name
            ));
        });
        told.sort();
        Some((version.unwrap()?, told))
    }

    /// The rows of the kept version.
    fn kept_rows(&self) -> String {
        let folder = crate::spool::folder_of(self.directory(), &self.world.plan.feeds[0].name)
            .join("refused/content");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
            .iter()
            .map(|file| std::fs::read_to_string(file).unwrap())
            .collect()
    }

    /// Publishes changes and proposes them as a delta.
    fn propose(&self, rows: &[RowChange]) -> Result<Proposal, DeltaError> {
        self.world.publish_changes(0, 2, rows);
        self.world.propose(&self.live, 0, 2, rows)
    }

    fn covers(&self, lists: &Blocklist, name: &str) -> bool {
        let said = lists.classify(Name::parse(name).unwrap().borrow());
        self.world.taxonomy.slugs(said.choice).contains(&"gambling")
    }
}

fn summary(lists: &Blocklist) -> &FeedSummary {
    &lists.header().feeds[0]
}

fn names(count: usize, sign: &str) -> Vec<String> {
    (0..count)
        .map(|number| format!("{sign}n{number}.example"))
        .collect()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A version with these differences is refused by this gate, as a delta and as a build, and
/// accepted once it is approved.
#[track_caller]
fn stops(gate: Gate, first: &[String], differs: &[String], define: fn(&mut Feed)) {
    for kind in KINDS {
        // As changed rows: nothing is applied, and the changes are kept.
        let mut fixture = BuildFixture::new(kind, first, define);
        let rows = fixture.rows(differs);
        let before = all_entries(&fixture.live);
        let Err(DeltaError::Refused(stop, proposal)) = fixture.propose(&rows) else {
            panic!("{gate}: the rows passed")
        };
        assert_eq!(
            (stop.gate, stop.gate.may_be_approved()),
            (gate, true),
            "{stop}"
        );
        review::keep_changes(
            fixture.directory(),
            &fixture.world.plan.feeds[0],
            "2",
            &proposal.changes,
        )
        .unwrap();
        let by_rows = fixture.kept().unwrap();
        let entries = proposal.entries;
        // As a build: the same result.
        let folder =
            crate::spool::folder_of(fixture.directory(), &fixture.world.plan.feeds[0].name)
                .join("refused");
        std::fs::remove_dir_all(folder).unwrap();
        let refused = fixture.world.unchanged(&fixture.live);
        assert_eq!(
            (
                refused[0].gate,
                refused[0].version.as_str(),
                refused[0].entries
            ),
            (gate, "2", entries),
            "{refused:?}"
        );
        let carried = Arc::clone(&fixture.live);
        // Names with an exception only, and names narrowed at a suffix, give the same result both
        // ways.
        assert_eq!(fixture.kept().unwrap(), by_rows, "{gate}");
        for RowChange { row, .. } in &rows {
            assert!(
                fixture
                    .kept_rows()
                    .contains(std::str::from_utf8(row).unwrap())
            );
        }
        // The version is not read again until an operator approves exactly this version.
        assert_eq!(
            crate::needs_building(&fixture.world.plan, Some(carried.header())),
            crate::BuildNeed::Nothing
        );
        fixture.world.plan.approved =
            [(fixture.world.plan.feeds[0].name.clone(), "3".to_owned())].into();
        assert_eq!(
            crate::needs_building(&fixture.world.plan, Some(carried.header())),
            crate::BuildNeed::Nothing
        );
        fixture.world.plan.force = true;
        let (built, goes_on) = fixture.world.build(Some(&carried));
        assert_eq!(built.refused[0].gate, gate, "another version was approved");
        assert_eq!(
            (all_entries(&goes_on), summary(&goes_on).version.as_str()),
            (before, "1"),
            "{gate}: what was live goes on"
        );
        fixture.world.plan.force = false;
        fixture.world.plan.approved =
            [(fixture.world.plan.feeds[0].name.clone(), "2".to_owned())].into();
        assert_eq!(
            crate::needs_building(&fixture.world.plan, Some(carried.header())),
            crate::BuildNeed::Content
        );
        let (built, approved) = fixture.world.build(Some(&carried));
        assert!(built.refused.is_empty(), "{:?}", built.refused);
        assert_eq!(
            (
                summary(&approved).version.as_str(),
                &summary(&approved).refused
            ),
            ("2", &None)
        );
        // The kept changes equal those of the delta.
        assert_eq!(
            all_entries(&fixture.world.apply(&fixture.live, proposal.delta)),
            all_entries(&approved),
            "{gate}"
        );
        assert!(!fixture.covers(&approved, "www.own.example"));
    }
}

/// A version with these differences is accepted, as a delta and as a build.
#[track_caller]
fn passes(first: &[String], differs: &[String], define: fn(&mut Feed)) {
    for kind in KINDS {
        let fixture = BuildFixture::new(kind, first, define);
        let proposal = fixture.propose(&fixture.rows(differs)).unwrap();
        let changed = fixture.world.apply(&fixture.live, proposal.delta);
        let (built, built_lists) = fixture.world.build(Some(&fixture.live));
        assert!(built.refused.is_empty(), "{:?}", built.refused);
        assert_eq!(all_entries(&changed), all_entries(&built_lists));
        assert_eq!(
            (
                summary(&changed).version.as_str(),
                summary(&changed).generation
            ),
            ("2", changed.generation())
        );
        assert_eq!(fixture.kept(), None);
    }
}

#[test]
fn a_version_that_says_nothing_is_stopped_unless_its_feed_may_be_empty() {
    let first = owned(&["a.example", "b.example"]);
    let all = owned(&["-a.example", "-b.example"]);
    stops(Gate::Empty, &first, &all, |_| ());
    passes(&first, &all, |feed| feed.allow_empty = true);
}

#[test]
fn a_version_with_many_bad_rows_is_stopped() {
    let bad: Vec<String> = (0..6)
        .map(|number| format!("+bad..{number}.example"))
        .collect();
    stops(Gate::BadRows, &names(10, ""), &bad, |_| ());
    passes(&names(10, ""), &bad[..4], |_| ());
}

#[test]
fn a_version_that_shrinks_or_grows_beyond_its_bound_is_stopped() {
    stops(Gate::Shrink, &names(20, ""), &names(7, "-"), |_| ());
    passes(&names(20, ""), &names(6, "-"), |_| ());
    passes(&names(20, ""), &names(19, "-"), |feed| {
        feed.max_shrink_percent = 0
    });
    passes(&names(9, ""), &names(8, "-"), |_| ());
    let more: Vec<String> = (100..302)
        .map(|number| format!("+n{number}.example"))
        .collect();
    stops(Gate::Growth, &names(100, ""), &more, |_| ());
    passes(&names(100, ""), &more[..200], |_| ());
    passes(&names(100, ""), &more, |feed| feed.max_growth_percent = 0);
    passes(&names(99, ""), &more, |_| ());
}

#[test]
fn a_version_that_lacks_or_holds_a_wrong_canary_is_stopped() {
    let canaries = |feed: &mut Feed| {
        feed.must_match = vec!["www.keep.example".to_owned()];
        feed.must_not_match = vec!["www.good.example".to_owned()];
    };
    let first = owned(&["keep.example", "a.example"]);
    stops(Gate::Canary, &first, &owned(&["-keep.example"]), canaries);
    stops(
        Gate::Canary,
        &first,
        &owned(&["+good.example", "+c.example"]),
        canaries,
    );
    passes(
        &first,
        &owned(&[
            "-a.example",
            "+c.example",
            "+www.keep.example",
            "+x.good.example",
        ]),
        canaries,
    );
}

#[test]
fn only_a_new_entry_at_a_registrys_suffix_is_stopped() {
    stops(
        Gate::PublicSuffix,
        &owned(&["a.example"]),
        &owned(&["+co.uk"]),
        |_| (),
    );
    passes(
        &owned(&["a.example"]),
        &owned(&["+github.io", "+x.co.uk"]),
        |_| (),
    );
    passes(&owned(&["a.example"]), &owned(&["+co.uk"]), |feed| {
        feed.force_public_suffixes = true
    });
    // The first version shows what kind of list it is.
    passes(
        &owned(&["a.example", "co.uk"]),
        &owned(&["+b.example"]),
        |_| (),
    );
    passes(
        &owned(&["a.example", "co.uk"]),
        &owned(&["-co.uk", "+com.au"]),
        |_| (),
    );
    stops(
        Gate::PublicSuffix,
        &owned(&["a.example", "co.uk"]),
        &owned(&["+com.au"]),
        |_| (),
    );
}

#[test]
fn only_a_later_version_that_newly_covers_an_own_name_is_stopped() {
    stops(
        Gate::OwnNames,
        &owned(&["a.example"]),
        &owned(&["+own.example"]),
        |_| (),
    );
    // Names of certificate revocation checks need no configuration.
    stops(
        Gate::OwnNames,
        &owned(&["a.example"]),
        &owned(&["+o.lencr.org", "+lencr.org"]),
        |_| (),
    );
    for kind in KINDS {
        let fixture = BuildFixture::new(kind, &owned(&["own.example"]), |_| ());
        assert!(
            !fixture.covers(&fixture.live, "www.own.example")
                && !fixture.covers(&fixture.live, "x.www.own.example")
        );
        assert!(fixture.covers(&fixture.live, "other.own.example"));
        assert_eq!(summary(&fixture.live).report.own_names, 1);
        // An entry of the last good version refuses nothing; when it is removed, its exception is
        // removed too.
        let changed =
            fixture
                .world
                .change(&fixture.live, 0, 2, &fixture.rows(&owned(&["+b.example"])));
        assert!(!fixture.covers(&changed, "www.own.example"));
        let changed =
            fixture
                .world
                .change(&changed, 0, 3, &fixture.rows(&owned(&["-own.example"])));
        let expected = if kind.0 == Format::Rpz {
            "descendants deny nxdomain"
        } else {
            "subtree deny policy"
        };
        assert_eq!(
            all_entries(&changed),
            [(
                "example.b".to_owned(),
                vec![format!("{} gambling {expected} 0", summary(&changed).name)]
            )]
            .into()
        );
    }
}

/// The guard's result for the own name `own.example` with these entries, added in both orders.
fn denies(entries: &[(&str, EntryRule)]) -> bool {
    let feed = World::codes(&[("1", "gambling")]);
    let own = [Name::parse("own.example").unwrap()];
    let is_denied = |entries: &mut dyn Iterator<Item = &(&str, EntryRule)>| {
        let mut guard = NameGuard::new(&feed, &own);
        for (name, rule) in entries {
            let name = Name::parse(name).unwrap();
            guard.observe(&ParsedEntry {
                name: name.borrow(),
                path: None,
                category: 0,
                rule: *rule,
                records: None,
            });
        }
        !guard.own_names_denied().is_empty()
    };
    let forwards = is_denied(&mut entries.iter());
    let backwards = is_denied(&mut entries.iter().rev());
    assert_eq!(forwards, backwards, "the order of rows means nothing");
    forwards
}

#[test]
fn a_name_that_is_both_denied_and_allowed_is_judged_as_lists_judge_it() {
    let deny = EntryRule::deny(Scope::Subtree);
    let allow = EntryRule::allow(Scope::Subtree);
    let important_deny = EntryRule {
        important: true,
        ..deny
    };
    let important_allow = EntryRule {
        important: true,
        ..allow
    };
    assert!(denies(&[("own.example", deny)]));
    assert!(
        !denies(&[("own.example", deny), ("own.example", allow)]),
        "of one depth, an exception speaks"
    );
    assert!(
        !denies(&[("example", deny), ("own.example", allow)]),
        "the deeper one speaks"
    );
    assert!(denies(&[("example", allow), ("own.example", deny)]));
    assert!(
        denies(&[("own.example", important_deny), ("own.example", allow)]),
        "importance comes first"
    );
    assert!(denies(&[
        ("example", important_deny),
        ("own.example", allow)
    ]));
    assert!(!denies(&[
        ("own.example", important_deny),
        ("own.example", important_allow)
    ]));
    assert!(
        !denies(&[(
            "own.example",
            EntryRule {
                scope: Scope::Descendants,
                ..deny
            }
        )]),
        "what is below it is another name"
    );
}

#[test]
fn a_feed_of_names_that_are_never_blocked_may_list_the_operators_own() {
    let feed = Feed {
        tier: Tier::NeverBlock,
        ..Feed::new("codes", "http://127.0.0.1/feed/", Format::CategoryFeed)
    };
    let mut world = World::of([feed]);
    world.plan.own_names = vec![Name::parse("own.example").unwrap()];
    world.publish(0, 1, ["a.example\t1"]);
    let (_, lists) = world.build(None);
    let lists = world.change(&lists, 0, 2, &changes(&["+own.example\t1"]));
    assert!(
        lists
            .classify(Name::parse("own.example").unwrap().borrow())
            .never_block
    );
    world.plan.force = true;
    assert!(world.build(Some(&lists)).0.refused.is_empty());
}

#[test]
fn a_feed_that_is_held_goes_on_as_it_was_until_it_is_released() {
    for kind in KINDS {
        let mut fixture = BuildFixture::new(kind, &owned(&["a.example"]), |_| ());
        let second =
            fixture
                .world
                .change(&fixture.live, 0, 2, &fixture.rows(&owned(&["+b.example"])));
        let held = rollback::repeat_generation(
            fixture.directory(),
            (&second, &fixture.live),
            &fixture.world.plan.feeds,
            3,
            fixture.world.now,
        );
        let held = fixture
            .live
            .with_deltas(&[held], &fixture.world.taxonomy)
            .unwrap();
        assert!(summary(&held).held);
        fixture
            .world
            .publish_changes(0, 3, &fixture.rows(&owned(&["+c.example"])));
        assert_eq!(
            crate::needs_building(&fixture.world.plan, Some(held.header())),
            crate::BuildNeed::Nothing
        );
        fixture.world.plan.force = true;
        let (built, still) = fixture.world.build(Some(&held));
        assert!(built.refused.is_empty());
        assert_eq!(
            (
                all_entries(&still),
                summary(&still).version.as_str(),
                summary(&still).held
            ),
            (all_entries(&fixture.live), "1", true)
        );
        fixture.world.plan.force = false;
        fixture.world.plan.released = vec![fixture.world.plan.feeds[0].name.clone()];
        let (built, released) = fixture.world.build(Some(&still));
        assert!(built.refused.is_empty());
        assert_eq!(
            (summary(&released).version.as_str(), summary(&released).held),
            ("3", false)
        );
        for name in ["www.a.example", "www.b.example", "www.c.example"] {
            assert!(fixture.covers(&released, name), "{name}");
        }
    }
}

/// Names with their codes; 0 means that the name has no row.
fn rows() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..4usize, 12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn what_is_kept_for_review_is_exactly_what_would_change(before in rows(), after in rows(), scope in prop::sample::select(vec![Scope::Exact, Scope::Subtree])) {
        const CODES: [&str; 4] = ["", "1", "2", "1,2"];
        let key = |place: usize| format!("n{}.example{}", place / 2, if place.is_multiple_of(2) { "" } else { "/page" });
        let all = |codes: &[usize]| -> BTreeSet<(String, &str)> {
            let slugs = |code: usize| CODES[code].split(',').filter_map(|code| match code { "1" => Some("gambling"), "2" => Some("ads"), _ => None });
            codes.iter().enumerate().flat_map(|(place, &code)| slugs(code).map(move |slug| (key(place), slug))).collect()
        };
        let feed = Feed {
            scope: Some(scope),
            must_not_match: vec!["tripwire.example".to_owned()],
            ..World::codes(&[("1", "gambling"), ("2", "ads")])
        };
        let fixture = {
            let world = World::of([feed]);
            let rows = before.iter().enumerate().filter(|(_, code)| **code > 0).map(|(place, &code)| format!("{}\t{}", key(place), CODES[code]));
            world.publish(0, 1, rows.chain(["always.example\t1".to_owned()]));
            let (_, live) = world.build(None);
            BuildFixture { world, kind: KINDS[0], live }
        };
        let mut rows = changes(&["+tripwire.example\t2"]);
        for (place, &code) in after.iter().enumerate().filter(|(place, code)| before[*place] != **code) {
            rows.push(if code > 0 { RowChange::added(format!("{}\t{}", key(place), CODES[code])) } else { RowChange::removed(key(place)) });
        }
        let had = all(&before);
        let mut has = all(&after);
        has.insert(("tripwire.example".to_owned(), "ads"));
        let told = |sign: char| move |(name, slug): &(String, &str)| format!("{sign}{slug} {name}");
        let mut expected: Vec<String> = had.difference(&has).map(told('-')).chain(has.difference(&had).map(told('+'))).collect();
        expected.sort();
        let Err(DeltaError::Refused(_, proposal)) = fixture.propose(&rows) else { panic!("the tripwire was not seen") };
        review::keep_changes(fixture.directory(), &fixture.world.plan.feeds[0], "of rows", &proposal.changes).unwrap();
        prop_assert_eq!(fixture.kept(), Some(("of rows".to_owned(), expected.clone())));
        prop_assert_eq!(fixture.world.unchanged(&fixture.live).len(), 1);
        prop_assert_eq!(fixture.kept(), Some(("2".to_owned(), expected)));
    }
}
