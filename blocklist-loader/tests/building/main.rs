//! Tests of builds: the lists contain the entries of the feeds, and a failed build changes nothing.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers with it")]

mod back;
mod refused;
mod sources;

use std::path::{Path, PathBuf};

use blocklist_loader::{
    Bounds, BuildNeed, BuildOutcome, Built, Feed, Format, Plan, RefusedFeed, build, last_check,
    needs_building, newest, rollback, waiting,
};
use policy::{
    category::{CategorySet, Taxonomy},
    lists::{
        artefact::{FeedSummary, Header},
        blocklist::Blocklist,
        entry::{Scope, Tier},
    },
    name::Name,
};
use tempfile::TempDir;

/// A folder with feeds and the artefacts built from them.
struct BuildFixture {
    folder: TempDir,
    plan: Plan,
    taxonomy: Taxonomy,
}

impl BuildFixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plan = Plan {
            feeds: Vec::new(),
            directory: folder.path().join("artefacts"),
            force: false,
            ..Plan::default()
        };
        Self {
            folder,
            plan,
            taxonomy: Taxonomy::shipped(),
        }
    }

    /// Adds a feed with subtree scope, whose name, category and file name are equal.
    fn with(mut self, slug: &str, format: Format, text: impl AsRef<[u8]>) -> Self {
        self.write(slug, text);
        self.plan.feeds.push(Feed {
            scope: Some(Scope::Subtree),
            category: Some(slug.to_owned()),
            ..Feed::new(
                slug.to_owned(),
                self.path(slug).to_string_lossy().into_owned(),
                format,
            )
        });
        self
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        let path = self.path(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn try_build(&self, previous: Option<&Blocklist>) -> BuildOutcome {
        build(
            &self.plan,
            &self.taxonomy,
            previous,
            jiff::Timestamp::UNIX_EPOCH,
        )
        .unwrap()
    }

    fn build(&self, previous: Option<&Blocklist>) -> (Built, std::sync::Arc<Blocklist>) {
        let BuildOutcome::Built(built) = self.try_build(previous) else {
            panic!("nothing was built")
        };
        let lists = Blocklist::open(&built.written.path, &self.taxonomy).unwrap();
        (*built, lists)
    }

    /// The refused feeds of a build that must give no new generation.
    fn unchanged(&self, live: &Blocklist) -> Vec<RefusedFeed> {
        let files = || newest(&self.plan.directory).unwrap();
        let before = files();
        let BuildOutcome::Unchanged {
            generation,
            refused,
        } = self.try_build(Some(live))
        else {
            panic!("something was built")
        };
        assert_eq!(
            (generation, files()),
            (live.generation(), before),
            "the folder holds what it held"
        );
        refused
    }

    fn categories(&self, lists: &Blocklist, name: &str) -> Vec<String> {
        let classification = lists.classify(Name::parse(name).unwrap().borrow());
        self.taxonomy
            .slugs(classification.choice)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }
}

fn summary<'a>(header: &'a Header, feed: &str) -> &'a FeedSummary {
    header
        .feeds
        .iter()
        .find(|summary| summary.name == feed)
        .unwrap()
}

#[test]
fn mandates_and_never_block_names_need_no_category_even_if_carried_over() {
    let mut fixture = BuildFixture::new()
        .with("gambling", Format::Domains, "bets.example\n")
        .with("orders", Format::Domains, "pirate.example\n")
        .with("helplines", Format::Domains, "help.example\n");
    for (place, tier) in [(1, Tier::Mandatory), (2, Tier::NeverBlock)] {
        fixture.plan.feeds[place].category = None;
        fixture.plan.feeds[place].tier = tier;
    }
    let said = |lists: &Blocklist, name: &str| lists.classify(Name::parse(name).unwrap().borrow());
    let (_, first) = fixture.build(None);
    fixture.write("orders", "\0");
    fixture.write("gambling", "bets.example\nmore.example\n");
    let (built, second) = fixture.build(Some(&first));
    assert_eq!(built.refused[0].feed, "orders");
    for lists in [&first, &second] {
        assert!(
            said(lists, "www.pirate.example").mandatory && said(lists, "help.example").never_block
        );
        assert_eq!(
            fixture.categories(lists, "pirate.example"),
            Vec::<String>::new()
        );
        assert_eq!(fixture.categories(lists, "bets.example"), ["gambling"]);
    }
}

#[test]
fn entries_built_under_another_definition_are_not_carried_over() {
    let mut fixture = BuildFixture::new().with("gambling", Format::Domains, "bets.example\n");
    let (_, first) = fixture.build(None);
    fixture.write("gambling", "");
    fixture.plan.feeds[0].scope = Some(Scope::Exact);
    let (built, second) = fixture.build(Some(&first));
    assert_eq!(built.refused[0].carried, 0);
    assert!(fixture.categories(&second, "bets.example").is_empty());
    assert_eq!(summary(second.header(), "gambling").report.entries, 0);
}

#[test]
fn only_its_definition_lets_a_feed_be_empty_or_cover_a_registry() {
    let mut fixture = BuildFixture::new()
        .with("gambling", Format::Domains, "# none today\n")
        .with("ads", Format::Domains, "com\n");
    fixture.plan.feeds[0].allow_empty = true;
    fixture.plan.feeds[1].force_public_suffixes = true;
    let (built, lists) = fixture.build(None);
    assert_eq!(built.refused, []);
    assert_eq!(fixture.categories(&lists, "anything.com"), ["ads"]);
}

#[test]
fn without_a_change_nothing_is_built_and_no_number_is_given_twice() {
    let mut fixture = BuildFixture::new().with("gambling", Format::Domains, "bets.example\n");
    let (built, lists) = fixture.build(None);
    assert!(built.written.path.ends_with("generation-0000000001.oxl"));
    assert_eq!(needs_building(&fixture.plan, None), BuildNeed::Definitions);
    assert_eq!(
        needs_building(&fixture.plan, Some(lists.header())),
        BuildNeed::Nothing
    );
    assert!(matches!(
        fixture.try_build(Some(&lists)),
        BuildOutcome::Unchanged { generation: 1, .. }
    ));

    fixture.write("beside", "not.a.source\n");
    assert_eq!(
        needs_building(&fixture.plan, Some(lists.header())),
        BuildNeed::Nothing
    );
    fixture.write("gambling", "bets.example\nmore.example\n");
    assert_eq!(
        needs_building(&fixture.plan, Some(lists.header())),
        BuildNeed::Content
    );
    fixture.plan.feeds[0].tier = Tier::Security;
    assert_eq!(
        needs_building(&fixture.plan, Some(lists.header())),
        BuildNeed::Definitions
    );

    // An unreadable file still occupies its number, and a build without previous lists continues
    // the count.
    std::fs::write(
        fixture.plan.directory.join("generation-0000000041.oxl"),
        "not an artefact",
    )
    .unwrap();
    assert_eq!(fixture.build(None).1.generation(), 42);
    fixture.plan.force = true;
    let (_, forced) = fixture.build(Some(&lists));
    assert_eq!(forced.generation(), 43);
    let found: Vec<u64> = newest(&fixture.plan.directory)
        .unwrap()
        .iter()
        .map(|artefact| artefact.generation)
        .collect();
    assert_eq!(found, [43, 42, 41, 1]);
}

#[test]
fn an_artefact_that_is_cut_short_or_bent_anywhere_is_refused() {
    let fixture = BuildFixture::new()
        .with("gambling", Format::Domains, "bets.example\nmore.example\n")
        .with("ads", Format::Adblock, "@@||a.example^\n");
    let (built, _) = fixture.build(None);
    let whole = std::fs::read(&built.written.path).unwrap();
    let path = fixture.path("bent.oxl");
    let is_refused = |octets: &[u8]| {
        std::fs::write(&path, octets).unwrap();
        Blocklist::open(&path, &fixture.taxonomy).is_err()
    };
    for length in 0..whole.len() {
        assert!(
            is_refused(&whole[..length]),
            "cut to {length} of {} octets",
            whole.len()
        );
    }
    for place in 0..whole.len() {
        let mut bent = whole.clone();
        bent[place] ^= 1 << (place % 8);
        assert!(is_refused(&bent), "octet {place} bent");
    }
    assert!(is_refused(&[whole.as_slice(), b"x"].concat()));
    assert!(!is_refused(&whole));
}

#[test]
fn what_cannot_be_written_is_told_and_leaves_no_trace() {
    let mut fixture = BuildFixture::new().with("gambling", Format::Domains, "bets.example\n");
    fixture.write("file", "");
    fixture.plan.directory = fixture.path("file").join("below");
    let error = build(
        &fixture.plan,
        &fixture.taxonomy,
        None,
        jiff::Timestamp::UNIX_EPOCH,
    )
    .unwrap_err();
    assert!(error.to_string().starts_with("creating /"), "{error}");
    fixture.plan.feeds[0].category = Some("gamling".to_owned());
    let error = build(
        &fixture.plan,
        &fixture.taxonomy,
        None,
        jiff::Timestamp::UNIX_EPOCH,
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("did you mean \"gambling\""),
        "{error}"
    );
}

#[test]
fn a_plan_and_its_outcome_cross_a_pipe_as_json() {
    let fixture = BuildFixture::new().with("gambling", Format::Domains, "bets.example\n");
    let plan: Plan = serde_json::from_slice(&serde_json::to_vec(&fixture.plan).unwrap()).unwrap();
    assert_eq!(plan, fixture.plan);
    let outcome = fixture.try_build(None);
    let BuildOutcome::Built(read) =
        serde_json::from_slice(&serde_json::to_vec(&outcome).unwrap()).unwrap()
    else {
        panic!("not built")
    };
    assert_eq!(read.written.header.names, 1);
}

/// One entry of the naive reference, as a row of a list.
type Row = (usize, String, Scope, bool, bool);

/// The rule at the head of `policy/src/lists/blocklist.rs`, implemented again over a plain list.
fn naive(rows: &[Row], name: &str) -> Vec<usize> {
    let covers = |entry: &str, scope| match scope {
        Scope::Exact => name == entry,
        Scope::Descendants => name.ends_with(&format!(".{entry}")),
        Scope::Subtree => name == entry || name.ends_with(&format!(".{entry}")),
    };
    let best_of = |feed: usize| {
        let speaking = rows
            .iter()
            .filter(|row| row.0 == feed && covers(&row.1, row.2));
        speaking
            .map(|(_, entry, _, allow, important)| (*important, entry.split('.').count(), *allow))
            .max()
    };
    (0..3)
        .filter(|&feed| best_of(feed).is_some_and(|(_, _, allow)| !allow))
        .collect()
}

mod random {
    use super::*;
    use proptest::prelude::*;

    const SLUGS: [&str; 3] = ["ads", "gambling", "games"];

    fn name() -> impl Strategy<Value = String> {
        prop::collection::vec("[ab]", 1..4).prop_map(|labels| labels.join(".") + ".example")
    }

    /// Adblock expresses polarity, importance and two scopes; scope `descendants` comes from a
    /// second, plain feed.
    fn text(rows: &[Row], feed: usize) -> String {
        let of_feed = rows.iter().filter(|row| row.0 == feed);
        let rule = |(_, name, scope, allow, important): &Row| match scope {
            Scope::Descendants => format!("*.{name}\n"),
            _ => format!(
                "{}{}{name}^{}\n",
                if *allow { "@@" } else { "" },
                if *scope == Scope::Exact { "|" } else { "||" },
                if *important { "$important" } else { "" }
            ),
        };
        of_feed.map(rule).collect()
    }

    fn row() -> impl Strategy<Value = Row> {
        (
            0..2_usize,
            name(),
            any::<bool>(),
            any::<bool>(),
            prop::bool::weighted(0.3),
            prop::bool::weighted(0.25),
        )
            .prop_map(|(feed, name, exact, allow, important, descendants)| {
                match descendants {
                    true => (2, name, Scope::Descendants, false, false),
                    false => (
                        feed,
                        name,
                        if exact { Scope::Exact } else { Scope::Subtree },
                        allow,
                        important,
                    ),
                }
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn what_random_lists_say_of_every_name_is_what_a_naive_reader_says(mut rows in prop::collection::vec(row(), 1..25), asked in prop::collection::vec(name(), 40)) {
            let build = |rows: &[Row]| {
                let mut fixture = BuildFixture::new();
                for (feed, format) in [Format::Adblock, Format::Adblock, Format::Wildcard].into_iter().enumerate() {
                    fixture = fixture.with(SLUGS[feed], format, text(rows, feed));
                    fixture.plan.feeds[feed].allow_empty = true;
                }
                fixture.plan.feeds[2].scope = Some(Scope::Descendants);
                let (built, lists) = fixture.build(None);
                assert!(built.refused.is_empty(), "{:?}", built.refused);
                (fixture, lists)
            };
            let (fixture, lists) = build(&rows);
            rows.reverse();
            let (_, reversed) = build(&rows);
            for name in &asked {
                let expected: CategorySet = naive(&rows, name).iter().map(|&feed| fixture.taxonomy.find(SLUGS[feed]).unwrap()).collect();
                let name = Name::parse(name).unwrap();
                prop_assert_eq!(lists.classify(name.borrow()).choice, expected, "{} in {:?}", name, rows);
                prop_assert_eq!(reversed.classify(name.borrow()).choice, expected, "the order of rows matters for {}", name);
            }
        }
    }
}
