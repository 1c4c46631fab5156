//! Tests of builds: the lists contain the entries of the feeds, and a failed build changes nothing.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers with it")]

mod back;

use std::path::{Path, PathBuf};

use blocklist_loader::{
    Bounds, BuildOutcome, Built, Feed, Format, Need, Plan, RefusedFeed, build, last_check,
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
fn a_refused_feed_keeps_its_entries_while_others_go_on_changing() {
    let garbage: Vec<u8> = (0..2000)
        .map(|number: u32| (number * 7919 % 256) as u8)
        .collect();
    let page = "<html>\n<body>\n<h1>503</h1>\n<p>come back later</p>\n</body>\n</html>\n";
    for (text, reason) in [
        (
            garbage.as_slice(),
            "holds NUL octets: binary data, not a list",
        ),
        (page.as_bytes(), "6 of its 6 rows are bad"),
        (b"", "it holds no rows"),
        (b"# only a comment\n", "it holds no rows"),
        (b"com\n", "none of its 1 rows gave an entry"),
        ("x".repeat(2 << 20).as_bytes(), "line 1 of"),
    ] {
        let fixture = BuildFixture::new()
            .with("gambling", Format::Domains, "bets.example\n")
            .with("ads", Format::Domains, "ads.example\n");
        let (_, first) = fixture.build(None);
        fixture.write("gambling", text);
        fixture.write("ads", "more.ads.example\n");
        let (built, second) = fixture.build(Some(&first));
        assert_eq!(built.refused.len(), 1);
        assert_eq!(
            (built.refused[0].feed.as_str(), built.refused[0].carried),
            ("gambling", 1)
        );
        assert!(
            built.refused[0].reason.contains(reason),
            "{}",
            built.refused[0].reason
        );
        let told = summary(second.header(), "gambling");
        assert_eq!(told.refused, None, "an artefact says what is live");
        assert_eq!(
            last_check::refusals(&fixture.plan, second.header())[0].reason,
            built.refused[0].reason
        );
        assert_eq!(told.report, summary(first.header(), "gambling").report);
        assert_eq!(
            fixture.categories(&second, "www.bets.example"),
            ["gambling"]
        );
        assert!(fixture.categories(&second, "ads.example").is_empty());
        assert_eq!(fixture.categories(&second, "more.ads.example"), ["ads"]);

        // A refused version is not read again until it changes; the old entries are carried over
        // each time.
        assert_eq!(
            needs_building(&fixture.plan, Some(second.header())),
            Need::Nothing
        );
        assert_eq!(
            fixture.unchanged(&second)[0].reason,
            built.refused[0].reason
        );
        std::fs::remove_file(fixture.path("gambling")).unwrap();
        let refused = fixture.unchanged(&second);
        assert!(
            refused[0].reason.contains("No such file"),
            "{}",
            refused[0].reason
        );

        fixture.write("gambling", "other.example\n");
        let (built, third) = fixture.build(Some(&second));
        assert!(
            built.refused.is_empty()
                && last_check::refusals(&fixture.plan, third.header()).is_empty()
        );
        assert!(fixture.categories(&third, "bets.example").is_empty());
        assert_eq!(fixture.categories(&third, "other.example"), ["gambling"]);
    }
}

#[test]
fn a_version_that_is_refused_makes_no_generation_and_is_read_once() {
    let fixture = BuildFixture::new()
        .with("gambling", Format::Domains, "bets.example\n")
        .with("ads", Format::Domains, "ads.example\n");
    let (_, live) = fixture.build(None);
    for page in 0..12 {
        fixture.write("gambling", format!("<html>{page}</html>\n").repeat(9));
        assert_eq!(
            needs_building(&fixture.plan, Some(live.header())),
            Need::Content,
            "page {page} is a new one"
        );
        assert_eq!(waiting(&fixture.plan, live.header()), ["gambling"]);
        let refused = fixture.unchanged(&live);
        assert_eq!(
            (refused.len(), refused[0].gate.as_str(), refused[0].carried),
            (1, "bad-rows", 1),
            "page {page}"
        );
        // Neither another build nor a restart reads it again; the result is still known.
        assert_eq!(
            needs_building(&fixture.plan, Some(live.header())),
            Need::Nothing
        );
        assert_eq!(fixture.unchanged(&live), refused);
        assert_eq!(last_check::refusals(&fixture.plan, live.header()), refused);
        assert!(waiting(&fixture.plan, live.header()).is_empty());
    }
    // The good version is back: the same lists, and no refusal.
    fixture.write("gambling", "bets.example\n");
    assert_eq!(fixture.unchanged(&live), []);
    assert!(last_check::refusals(&fixture.plan, live.header()).is_empty());
    // Other feeds are updated beside a refused one.
    fixture.write("gambling", "");
    assert_eq!(fixture.unchanged(&live).len(), 1);
    fixture.write("ads", "more.ads.example\n");
    let (built, next) = fixture.build(Some(&live));
    assert_eq!(
        (
            built.refused.len(),
            built.refused[0].carried,
            next.generation()
        ),
        (1, 1, 2)
    );
    assert_eq!(last_check::refusals(&fixture.plan, next.header()).len(), 1);
    assert_eq!(fixture.categories(&next, "bets.example"), ["gambling"]);
}

#[test]
fn content_that_is_only_touched_makes_no_generation() {
    let mut fixture = BuildFixture::new().with("gambling", Format::Domains, "bets.example\n");
    fixture.write("folders/jeux/domains", "game.example\n");
    fixture.write("folders/paris/domains", "game.example\n");
    fixture = fixture.with("ads", Format::Squidguard, "");
    fixture.plan.feeds[1].source = fixture.path("folders").to_string_lossy().into_owned();
    fixture.plan.feeds[1].category = None;
    fixture.plan.feeds[1].categories = [("jeux", "games"), ("paris", "gambling")]
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .into();
    let (_, live) = fixture.build(None);
    for _ in 0..3 {
        fixture.write("gambling", "bets.example\n");
        fixture.write("folders/jeux/domains", "game.example\n");
        assert_eq!(
            needs_building(&fixture.plan, Some(live.header())),
            Need::Content
        );
        assert_eq!(fixture.unchanged(&live), []);
        assert_eq!(
            needs_building(&fixture.plan, Some(live.header())),
            Need::Nothing
        );
    }
    // The same rows under another folder's name are other entries.
    std::fs::remove_dir_all(fixture.path("folders/paris")).unwrap();
    fixture.build(Some(&live));
}

#[test]
fn what_is_asked_of_a_version_decides_anew_when_it_changes() {
    let many: String = (0..20)
        .map(|number| format!("n{number}.example\n"))
        .collect();
    let mut fixture = BuildFixture::new().with("gambling", Format::Domains, &many);
    let (_, live) = fixture.build(None);
    fixture.write("gambling", "n1.example\n");
    let refused = fixture.unchanged(&live);
    assert_eq!(refused[0].gate.as_str(), "shrink");
    fixture.plan.approved = [("gambling".to_owned(), refused[0].version.clone())].into();
    let mut approved = BuildFixture::new();
    std::mem::swap(&mut approved.plan, &mut fixture.plan);
    let (built, _) = approved.build(Some(&live));
    assert!(built.refused.is_empty(), "an operator lets it through");
    std::mem::swap(&mut approved.plan, &mut fixture.plan);
    fixture.plan.approved.clear();
    fixture.write("gambling", "n2.example\n");
    assert_eq!(fixture.unchanged(&live).len(), 1);
    fixture.plan.feeds[0].max_shrink_percent = 0;
    let (built, _) = fixture.build(Some(&live));
    assert!(
        built.refused.is_empty(),
        "it may be as small as it likes now"
    );
}

#[test]
fn a_feed_of_the_api_reads_no_file_outside_of_its_folder() {
    let mut fixture = BuildFixture::new();
    fixture.write("secret", "secret.example\n");
    fixture.write("api/own", "own.example\n");
    std::os::unix::fs::symlink(fixture.path("secret"), fixture.path("api/link")).unwrap();
    fixture = fixture.with("gambling", Format::Domains, "");
    fixture.plan.feeds[0].source = fixture.path("api").to_string_lossy().into_owned();
    let bounds = |folder: &str| Bounds {
        folder: Some(fixture.path(folder)),
        allow_private: false,
    };
    fixture.plan.bounds = [("gambling".to_owned(), bounds("api"))].into();
    // The feeds lack their limits, as in a plan that was sent over a pipe.
    let (built, lists) = fixture.build(None);
    assert!(
        built.refused[0]
            .reason
            .contains("leads out of lists.api_folder"),
        "{}",
        built.refused[0].reason
    );
    assert!(fixture.categories(&lists, "secret.example").is_empty());
    let kept: Vec<_> = std::fs::read_dir(
        fixture
            .plan
            .directory
            .join("feeds/gambling/refused/content"),
    )
    .unwrap()
    .collect();
    assert_eq!(
        kept.len(),
        1,
        "what lies outside is not kept for review: {kept:?}"
    );
    std::fs::remove_file(fixture.path("api/link")).unwrap();
    let (built, lists) = fixture.build(Some(&lists));
    assert!(built.refused.is_empty());
    assert_eq!(fixture.categories(&lists, "own.example"), ["gambling"]);
}

#[test]
fn a_feed_whose_definition_is_barred_goes_on_with_the_entries_it_had() {
    let mut fixture = BuildFixture::new()
        .with("gambling", Format::Domains, "bets.example\n")
        .with("ads", Format::Domains, "ads.example\n");
    let (_, first) = fixture.build(None);
    fixture.plan.barred = ["gambling".to_owned()].into();
    fixture.write("gambling", "secret.example\n");
    assert_eq!(
        needs_building(&fixture.plan, Some(first.header())),
        Need::Nothing
    );
    fixture.write("ads", "more.example\n");
    let (built, second) = fixture.build(Some(&first));
    assert!(built.refused.is_empty());
    assert_eq!(fixture.categories(&second, "bets.example"), ["gambling"]);
    assert!(fixture.categories(&second, "secret.example").is_empty());
    let (_, anew) = BuildFixture::build(&fixture, None);
    assert!(
        fixture.categories(&anew, "secret.example").is_empty(),
        "nothing is read of it, ever"
    );
}

#[test]
fn orders_and_never_block_names_need_no_category_also_when_carried_over() {
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
    assert_eq!(needs_building(&fixture.plan, None), Need::Definitions);
    assert_eq!(
        needs_building(&fixture.plan, Some(lists.header())),
        Need::Nothing
    );
    assert!(matches!(
        fixture.try_build(Some(&lists)),
        BuildOutcome::Unchanged { generation: 1, .. }
    ));

    fixture.write("beside", "not.a.source\n");
    assert_eq!(
        needs_building(&fixture.plan, Some(lists.header())),
        Need::Nothing
    );
    fixture.write("gambling", "bets.example\nmore.example\n");
    assert_eq!(
        needs_building(&fixture.plan, Some(lists.header())),
        Need::Content
    );
    fixture.plan.feeds[0].tier = Tier::Security;
    assert_eq!(
        needs_building(&fixture.plan, Some(lists.header())),
        Need::Definitions
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
fn a_folder_is_one_feed_of_all_its_files() {
    let fixture = BuildFixture::new();
    fixture.write("ads/b.txt", "b.example\n");
    fixture.write("ads/a.txt", "a.example\nbad row here\n");
    fixture.write("ads/.hidden", "hidden.example\n");
    fixture.write("ads/below/c.txt", "c.example\n");
    let mut fixture = fixture.with("gambling", Format::Domains, "");
    fixture.plan.feeds[0].source = fixture.path("ads").to_string_lossy().into_owned();
    let (_, lists) = fixture.build(None);
    let report = &lists.header().feeds[0].report;
    assert_eq!((report.entries, report.lines, report.bad), (2, 3, 1));
    assert_eq!(
        (report.samples[0].file.as_str(), report.samples[0].line),
        ("a.txt", 2)
    );
    assert!(fixture.categories(&lists, "hidden.example").is_empty());
    assert!(fixture.categories(&lists, "c.example").is_empty());
}

#[test]
fn squidguard_folders_are_mapped_one_by_one_and_an_unknown_one_is_told() {
    let fixture = BuildFixture::new();
    fixture.write("ut1/jeux/domains", "game.example\nhost.example/game\n");
    fixture.write("ut1/jeux/urls", "shared.example/~game\n# note\n");
    fixture.write("ut1/paris/domains", "bets.example\n");
    fixture.write("ut1/autre/domains", "a.example\nb.example\n\n");
    fixture.write("ut1/autre/urls", "c.example/d\n");
    fixture.write("ut1/README", "not a folder\n");
    let mut fixture = fixture.with("ads", Format::Squidguard, "");
    fixture.plan.feeds[0].source = fixture.path("ut1").to_string_lossy().into_owned();
    fixture.plan.feeds[0].category = None;
    fixture.plan.feeds[0].categories = [("jeux", "games"), ("paris", "gambling")]
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .into();
    let (_, lists) = fixture.build(None);
    assert_eq!(fixture.categories(&lists, "www.game.example"), ["games"]);
    assert_eq!(fixture.categories(&lists, "bets.example"), ["gambling"]);
    for never in ["host.example", "shared.example", "a.example"] {
        assert!(fixture.categories(&lists, never).is_empty(), "{never}");
    }
    let report = &lists.header().feeds[0].report;
    assert_eq!(
        (
            report.entries,
            report.paths,
            report.unmapped,
            report.samples.len()
        ),
        (2, 2, 3, 1)
    );
    assert_eq!(
        report.samples[0].reason,
        "categories has no entry for the folder \"autre\""
    );

    // One category for all, or a single folder, needs no map.
    fixture.plan.feeds[0].categories.clear();
    fixture.plan.feeds[0].category = Some("ads".to_owned());
    assert_eq!(fixture.build(None).1.header().feeds[0].report.entries, 4);
    fixture.plan.feeds[0].source = fixture.path("ut1/paris").to_string_lossy().into_owned();
    let (_, lists) = fixture.build(None);
    assert_eq!(fixture.categories(&lists, "bets.example"), ["ads"]);
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

#[test]
fn a_source_that_is_no_file_is_refused_without_being_opened() {
    let mut fixture = BuildFixture::new()
        .with("gambling", Format::Domains, "bets.example\n")
        .with("ads", Format::Squidguard, "");
    fixture.plan.feeds[0].source = Path::new("/dev/zero").to_string_lossy().into_owned();
    let (built, _) = fixture.build(None);
    assert_eq!(
        built.refused[0].reason,
        "/dev/zero is neither a file nor a folder"
    );
    assert!(
        built.refused[1].reason.contains("squidguard"),
        "{}",
        built.refused[1].reason
    );
}

#[test]
fn packed_lists_and_archives_on_our_own_disk_are_read_as_fetched_ones_are() {
    use std::io::Write;
    let gzip = |octets: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(octets).unwrap();
        encoder.finish().unwrap()
    };
    let mut fixture = BuildFixture::new()
        .with("ads", Format::Domains, gzip(b"ads.example\n"))
        .with("gambling", Format::Squidguard, "");
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in [
        ("lists/bets/domains", "bets.example\n"),
        ("lists/bets/urls", "whole.example\n"),
        ("lists/odd/domains", "odd.example\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, text.as_bytes())
            .unwrap();
    }
    let archive = builder.into_inner().unwrap();
    fixture.write("gambling", gzip(&archive));
    fixture.plan.feeds[1].category = None;
    fixture.plan.feeds[1].categories = [("bets".to_owned(), "gambling".to_owned())].into();
    let (built, lists) = fixture.build(None);
    assert!(built.refused.is_empty(), "{:?}", built.refused);
    assert_eq!(
        (
            fixture.categories(&lists, "ads.example"),
            fixture.categories(&lists, "bets.example")
        ),
        (vec!["ads".into()], vec!["gambling".into()])
    );
    assert_eq!(
        fixture.categories(&lists, "www.whole.example"),
        ["gambling"]
    );
    let report = &summary(lists.header(), "gambling").report;
    assert_eq!((report.entries, report.unmapped), (2, 1));
    assert_eq!(report.samples[0].file, "lists/odd/domains");

    for (feed, octets, reason) in [
        (
            0,
            gzip(b"ads.example\n")[..20].to_vec(),
            "it is cut short or damaged (gzip)",
        ),
        (
            0,
            gzip(&vec![b'a'; 2 << 20]),
            "it unpacks to more than 1048576 octets",
        ),
        (
            0,
            archive.clone(),
            "is an archive; only format \"squidguard\" is read from archives",
        ),
        (
            1,
            archive[..600].to_vec(),
            "it is cut short or damaged (tar)",
        ),
        (
            1,
            b"bets.example\n".to_vec(),
            "is a file; format \"squidguard\" is a folder",
        ),
    ] {
        let slug = fixture.plan.feeds[feed].name.clone();
        fixture.plan.feeds[0].size_max_mib = 1;
        fixture.write(&slug, octets);
        let (built, _) = fixture.build(Some(&lists));
        let refused = built
            .refused
            .iter()
            .find(|refused| refused.feed == slug)
            .unwrap();
        assert!(refused.reason.contains(reason), "{}", refused.reason);
    }
}

#[test]
fn codes_without_a_mapping_are_told_by_their_titles_and_paths_never_block() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join("feed").join(name);
    std::fs::create_dir(folder.path().join("feed")).unwrap();
    let rows = "a.example\t1\nb.example\t1,2,77\nc.example\t77\nd.example\t88\ne.example/page\t1\nf.example/page\t77\nbad..name\t1,2\nwww.a.example\t3\n";
    std::fs::write(path("snapshot_1"), rows).unwrap();
    let sha256 = {
        use sha2::Digest;
        sha2::Sha256::digest(rows)
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect::<String>()
    };
    std::fs::write(
        path("feed.json"),
        format!("{{\"v\":1,\"snapshots\":[{{\"file\":\"snapshot_1\",\"sequence\":1,\"sha256\":\"{sha256}\"}}]}}"),
    )
    .unwrap();
    std::fs::write(
        path("feed-codes.json"),
        "{\"v\":1,\"codes\":[{\"code\":77,\"title\":\"Odd things\"}]}",
    )
    .unwrap();
    let categories = [("1", "gambling"), ("2", "ads"), ("3", "none")]
        .map(|(code, slug)| (code.to_owned(), slug.to_owned()));
    let feed = Feed {
        categories: categories.into(),
        ..Feed::new(
            "feed",
            folder.path().join("feed").to_string_lossy(),
            Format::CategoryFeed,
        )
    };
    let mut fixture = BuildFixture::new();
    fixture.plan.feeds.push(feed.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let fetched = runtime
        .block_on(
            blocklist_loader::Fetcher::new(&feed, &fixture.plan.directory)
                .unwrap()
                .fetch(),
        )
        .unwrap();
    assert_eq!(
        fetched,
        blocklist_loader::Fetched::Replaced {
            version: "1".to_owned()
        }
    );
    let (built, lists) = fixture.build(None);
    assert!(built.refused.is_empty(), "{:?}", built.refused);
    assert_eq!(fixture.categories(&lists, "b.example").len(), 2);
    assert_eq!(fixture.categories(&lists, "x.a.example"), ["gambling"]);
    for clean in ["www.a.example", "c.example", "e.example", "f.example"] {
        assert!(fixture.categories(&lists, clean).is_empty(), "{clean}");
    }
    let report = &summary(lists.header(), "feed").report;
    assert_eq!(
        (report.entries, report.paths, report.unmapped, report.bad),
        (4, 1, 4, 1)
    );
    let told: Vec<&str> = report
        .samples
        .iter()
        .map(|sample| sample.reason.as_str())
        .collect();
    assert_eq!(
        told[..2],
        [
            "categories has no entry for the code 77 (Odd things)",
            "categories has no entry for the code 88"
        ]
    );
    assert_eq!(told.len(), 3);
}
