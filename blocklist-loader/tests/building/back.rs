//! Tests of rollbacks to generations whose feeds were defined otherwise.

use super::*;

/// Repeats an earlier generation and opens the result.
fn back(fixture: &BuildFixture, live: &Blocklist, then: &Blocklist) -> std::sync::Arc<Blocklist> {
    let generation = live.generation() + 1;
    let mut delta = rollback::repeat_generation(
        &fixture.plan.directory,
        (live, then),
        &fixture.plan.feeds,
        generation,
        jiff::Timestamp::UNIX_EPOCH,
    );
    delta.write().unwrap();
    blocklist_loader::generations::open(&fixture.plan.directory, generation, &fixture.taxonomy)
        .unwrap()
}

#[test]
fn a_deleted_feed_stays_deleted_in_lists_that_had_it() {
    let mut fixture = BuildFixture::new()
        .with("gambling", Format::Domains, "bets.example\n")
        .with("ads", Format::Domains, "ads.example\n");
    let (_, first) = fixture.build(None);
    fixture.plan.feeds.remove(0);
    fixture.write("ads", "more.ads.example\n");
    let (_, second) = fixture.build(Some(&first));
    let back = back(&fixture, &second, &first);
    assert!(fixture.categories(&back, "bets.example").is_empty());
    assert_eq!(fixture.categories(&back, "ads.example"), ["ads"]);
    assert_eq!(
        (summary(back.header(), "ads").held, back.header().entries),
        (true, 1)
    );
    let mut names = Vec::new();
    back.for_each_name(|key, _| names.push(key.to_vec()));
    assert_eq!(names.len(), 1, "it is not among the names either");
    assert_eq!(
        needs_building(&fixture.plan, Some(back.header())),
        BuildNeed::Nothing,
        "and that needs no build"
    );
    fixture.plan.force = true;
    let (_, built) = fixture.build(Some(&back));
    assert!(
        !built
            .header()
            .feeds
            .iter()
            .any(|feed| feed.name == "gambling")
            && summary(built.header(), "ads").held
    );
    assert_eq!(fixture.categories(&built, "ads.example"), ["ads"]);
}

#[test]
fn a_feed_that_came_later_stays_out_until_it_is_let_go_on() {
    let mut fixture = BuildFixture::new().with("ads", Format::Domains, "ads.example\n");
    let (_, first) = fixture.build(None);
    fixture = fixture.with("gambling", Format::Domains, "bets.example\n");
    let (_, second) = fixture.build(Some(&first));
    let back = back(&fixture, &second, &first);
    assert_eq!(back.header().held_back, ["gambling"]);
    assert!(fixture.categories(&back, "bets.example").is_empty());
    assert_eq!(
        needs_building(&fixture.plan, Some(back.header())),
        BuildNeed::Nothing
    );
    fixture.write("ads", "other.ads.example\n");
    fixture.plan.force = true;
    let (_, built) = fixture.build(Some(&back));
    fixture.plan.force = false;
    assert!(
        fixture.categories(&built, "bets.example").is_empty()
            && summary(built.header(), "gambling").held
    );
    for lists in [back, built] {
        fixture.plan.released = vec!["gambling".to_owned()];
        let (_, released) = fixture.build(Some(&lists));
        assert_eq!(fixture.categories(&released, "bets.example"), ["gambling"]);
        assert!(!summary(released.header(), "gambling").held);
    }
}

#[test]
fn a_feed_that_was_defined_otherwise_goes_back_and_is_held_as_it_was() {
    let mut fixture = BuildFixture::new().with("gambling", Format::Domains, "bets.example\n");
    let (_, first) = fixture.build(None);
    fixture.plan.feeds[0].category = Some("ads".to_owned());
    let (_, second) = fixture.build(Some(&first));
    assert_eq!(fixture.categories(&second, "bets.example"), ["ads"]);
    let back = back(&fixture, &second, &first);
    fixture.plan.force = true;
    let (_, built) = fixture.build(Some(&back));
    for lists in [&back, &built] {
        assert_eq!(fixture.categories(lists, "bets.example"), ["gambling"]);
        assert!(summary(lists.header(), "gambling").held);
    }
    // After a redefinition, the new definition applies.
    fixture.plan.feeds[0].category = Some("games".to_owned());
    assert_eq!(
        fixture.categories(&fixture.build(Some(&built)).1, "bets.example"),
        ["games"]
    );
}
