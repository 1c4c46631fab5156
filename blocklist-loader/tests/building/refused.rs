//! Versions that are refused, unchanged or barred: what stays live, and what is read again.

use super::*;

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
            BuildNeed::Nothing
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
            BuildNeed::Content,
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
            BuildNeed::Nothing
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
            BuildNeed::Content
        );
        assert_eq!(fixture.unchanged(&live), []);
        assert_eq!(
            needs_building(&fixture.plan, Some(live.header())),
            BuildNeed::Nothing
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
            .contains("outside of lists.api_folder"),
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
        BuildNeed::Nothing
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
