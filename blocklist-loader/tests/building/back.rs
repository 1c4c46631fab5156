//! Going back to earlier lists while the feeds are defined otherwise by now.

use super::*;

/// Lists that were gone back to, as they are opened again.
fn back(house: &House, live: &Blocklist, then: &Blocklist) -> std::sync::Arc<Blocklist> {
    let generation = live.generation() + 1;
    let mut delta = rollback::repeat(
        &house.plan.directory,
        (live, then),
        &house.plan.feeds,
        generation,
        jiff::Timestamp::UNIX_EPOCH,
    );
    delta.write().unwrap();
    blocklist_loader::generations::open(&house.plan.directory, generation, &house.taxonomy).unwrap()
}

#[test]
fn a_deleted_feed_stays_deleted_in_lists_that_had_it() {
    let mut house = House::new()
        .with("gambling", Format::Domains, "bets.example\n")
        .with("ads", Format::Domains, "ads.example\n");
    let (_, first) = house.build(None);
    house.plan.feeds.remove(0);
    house.write("ads", "more.ads.example\n");
    let (_, second) = house.build(Some(&first));
    let back = back(&house, &second, &first);
    assert!(house.categories(&back, "bets.example").is_empty());
    assert_eq!(house.categories(&back, "ads.example"), ["ads"]);
    assert_eq!(
        (summary(back.header(), "ads").held, back.header().entries),
        (true, 1)
    );
    let mut names = Vec::new();
    back.for_each_name(|key, _| names.push(key.to_vec()));
    assert_eq!(names.len(), 1, "it is not among the names either");
    assert_eq!(
        needs_building(&house.plan, Some(back.header())),
        Need::Nothing,
        "and that needs no build"
    );
    house.plan.force = true;
    let (_, built) = house.build(Some(&back));
    assert!(
        !built
            .header()
            .feeds
            .iter()
            .any(|feed| feed.name == "gambling")
            && summary(built.header(), "ads").held
    );
    assert_eq!(house.categories(&built, "ads.example"), ["ads"]);
}

#[test]
fn a_feed_that_came_later_stays_out_until_it_is_let_go_on() {
    let mut house = House::new().with("ads", Format::Domains, "ads.example\n");
    let (_, first) = house.build(None);
    house = house.with("gambling", Format::Domains, "bets.example\n");
    let (_, second) = house.build(Some(&first));
    let back = back(&house, &second, &first);
    assert_eq!(back.header().held_back, ["gambling"]);
    assert!(house.categories(&back, "bets.example").is_empty());
    assert_eq!(
        needs_building(&house.plan, Some(back.header())),
        Need::Nothing
    );
    house.write("ads", "other.ads.example\n");
    house.plan.force = true;
    let (_, built) = house.build(Some(&back));
    house.plan.force = false;
    assert!(
        house.categories(&built, "bets.example").is_empty()
            && summary(built.header(), "gambling").held
    );
    for lists in [back, built] {
        house.plan.released = vec!["gambling".to_owned()];
        let (_, released) = house.build(Some(&lists));
        assert_eq!(house.categories(&released, "bets.example"), ["gambling"]);
        assert!(!summary(released.header(), "gambling").held);
    }
}

#[test]
fn a_feed_that_was_defined_otherwise_goes_back_and_is_held_as_it_was() {
    let mut house = House::new().with("gambling", Format::Domains, "bets.example\n");
    let (_, first) = house.build(None);
    house.plan.feeds[0].category = Some("ads".to_owned());
    let (_, second) = house.build(Some(&first));
    assert_eq!(house.categories(&second, "bets.example"), ["ads"]);
    let back = back(&house, &second, &first);
    house.plan.force = true;
    let (_, built) = house.build(Some(&back));
    for lists in [&back, &built] {
        assert_eq!(house.categories(lists, "bets.example"), ["gambling"]);
        assert!(summary(lists.header(), "gambling").held);
    }
    // Defined otherwise after that, it is what is defined.
    house.plan.feeds[0].category = Some("games".to_owned());
    assert_eq!(
        house.categories(&house.build(Some(&built)).1, "bets.example"),
        ["games"]
    );
}
