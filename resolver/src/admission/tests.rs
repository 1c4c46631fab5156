//! Places and turns: what a small client and zone get beside large ones.

use std::collections::HashSet;

use policy::name::Name;

use super::*;

const NOW: Duration = Duration::from_secs(1_000);

fn admission(places_max: usize, per_client_max: usize) -> Admission {
    Admission::new(AdmissionSettings {
        places_max,
        per_client_max,
    })
}

fn client(last: u8) -> ClientKey {
    ClientKey::of_address([192, 0, 2, last].into())
}

fn admit(admission: &Admission, who: u8, name: &str) -> Result<Admitted, AdmissionLimit> {
    let name = Name::parse(name).unwrap();
    admission.admit(client(who), name.borrow(), NOW)
}

fn is_evicted(place: &Place) -> bool {
    let number = place.number;
    place.admission.state().places.signals(number).is_none()
}

#[test]
fn a_client_has_no_more_places_than_one_client_may() {
    let admission = admission(100, 2);
    let held: Vec<Admitted> = (0..2)
        .map(|index| {
            admit(&admission, 1, &format!("a.z{index}.test"))
                .ok()
                .unwrap()
        })
        .collect();
    assert_eq!(
        admit(&admission, 1, "b.test").err(),
        Some(AdmissionLimit::ClientLimit)
    );
    assert!(admit(&admission, 2, "b.test").is_ok());
    drop(held);
    assert!(admit(&admission, 1, "b.test").is_ok());
}

#[test]
fn when_all_places_are_taken_the_largest_client_loses_its_oldest() {
    let admission = admission(10, 100);
    let large: Vec<Place> = (0..8)
        .map(|index| {
            admit(&admission, 1, &format!("a.z{index}.test"))
                .ok()
                .unwrap()
                .place
        })
        .collect();
    let small: Vec<Place> = (2..4)
        .map(|who| {
            admit(&admission, who, &format!("a.s{who}.test"))
                .ok()
                .unwrap()
                .place
        })
        .collect();
    let admitted = admit(&admission, 4, "a.new.test").ok().unwrap();
    assert_eq!(admitted.evicted, Some(LimitedGroup::Client(client(1))));
    assert!(is_evicted(&large[0]) && !large[1..].iter().any(is_evicted));
    assert!(!small.iter().any(is_evicted));
    assert_eq!(
        admit(&admission, 1, "a.more.test").err(),
        Some(AdmissionLimit::Full),
        "the largest client gets no place of others"
    );
}

#[test]
fn a_zone_that_many_clients_ask_for_is_limited_as_a_client_is() {
    let admission = admission(100, 100);
    let held: Vec<Place> = (0..100)
        .map(|who| {
            admit(&admission, who, &format!("r{who}.dead.test"))
                .ok()
                .unwrap()
                .place
        })
        .collect();
    let cold = admit(&admission, 200, "www.other.test").ok().unwrap();
    assert_eq!(
        cold.evicted.unwrap().to_string(),
        "zone dead.test",
        "by name"
    );
    assert!(is_evicted(&held[0]));
    assert_eq!(
        admit(&admission, 201, "more.dead.test").err(),
        Some(AdmissionLimit::Full)
    );
    let (group, cause, limited) = admission.limited(NOW).remove(0);
    assert_eq!(cause, LimitCause::Resolutions);
    assert_eq!(group.to_string(), "zone dead.test");
    assert_eq!((limited.since, limited.queries), (NOW, 2));
    assert!(admission.limited(NOW + Duration::from_secs(61)).is_empty());
}

#[test]
fn groups_of_equal_size_take_nothing_from_each_other() {
    let admission = admission(10, 100);
    let held: Vec<Place> = (0..10)
        .map(|who| {
            admit(&admission, who, &format!("a.z{who}.test"))
                .ok()
                .unwrap()
                .place
        })
        .collect();
    assert_eq!(
        admit(&admission, 11, "a.z11.test").err(),
        Some(AdmissionLimit::Full)
    );
    assert!(!held.iter().any(is_evicted));
}

#[test]
fn one_household_is_one_client_and_an_ipv6_line_one_56() {
    let of = |address: &str| ClientKey::of_address(address.parse().unwrap());
    assert_eq!(of("2001:db8:0:1a00::1"), of("2001:db8:0:1aff:ffff::2"));
    assert_ne!(of("2001:db8:0:1a00::1"), of("2001:db8:0:1b00::1"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
}

#[test]
fn spare_work_takes_no_place_when_few_are_left() {
    let admission = admission(8, 100);
    let name = Name::parse("a.test").unwrap();
    let held: Vec<Place> = (0..6)
        .map(|who| {
            admit(&admission, who, &format!("a.z{who}.test"))
                .ok()
                .unwrap()
                .place
        })
        .collect();
    assert!(admission.admit_spare(name.borrow(), NOW).is_none());
    drop(held);
    assert!(admission.admit_spare(name.borrow(), NOW).is_some());
}

#[tokio::test]
async fn an_evicted_resolution_is_told_at_once() {
    let admission = admission(2, 100);
    let first = admit(&admission, 1, "a.one.test").ok().unwrap().place;
    let _second = admit(&admission, 1, "a.two.test").ok().unwrap();
    let _other = admit(&admission, 2, "a.three.test").ok().unwrap();
    first.evicted().await;
    first.turn().await;
}

/// The order in which resolutions start that all wait at the same time.
async fn order(queries: &[(u8, &str)]) -> Vec<usize> {
    let admission = admission(1_000, 1_000);
    // The runtime has no time for more: this round has no start left.
    admission.state().starts_left = 0;
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = queries
        .iter()
        .enumerate()
        .map(|(index, (who, name))| {
            let place = admit(&admission, *who, name).ok().unwrap().place;
            let order = Arc::clone(&order);
            tokio::spawn(async move {
                place.turn().await;
                order.lock().unwrap().push(index);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let order = order.lock().unwrap().clone();
    assert_eq!(order.iter().collect::<HashSet<_>>().len(), queries.len());
    order
}

#[tokio::test]
async fn a_flood_below_one_zone_waits_behind_other_zones() {
    let flood: Vec<(u8, String)> = (0..200)
        .map(|index| (index as u8, format!("r{index}.flood.test")))
        .collect();
    let mut queries: Vec<(u8, &str)> = flood.iter().map(|(who, name)| (*who, &**name)).collect();
    queries.extend([(201, "www.one.test"), (202, "www.two.test")]);
    let order = order(&queries).await;
    let place_of = |index| order.iter().position(|other| *other == index).unwrap();
    assert!(place_of(200) < 5 && place_of(201) < 5, "{order:?}");
}

#[tokio::test]
async fn a_client_with_many_names_waits_behind_others() {
    let flood: Vec<String> = (0..200).map(|index| format!("www.z{index}.test")).collect();
    let mut queries: Vec<(u8, &str)> = flood.iter().map(|name| (1, &**name)).collect();
    queries.extend([(2, "www.one.test"), (3, "www.two.test")]);
    let order = order(&queries).await;
    let place_of = |index| order.iter().position(|other| *other == index).unwrap();
    assert!(place_of(200) < 5 && place_of(201) < 5, "{order:?}");
}

/// Ends so many resolutions of a client without records, each with a name of its own.
fn fail(admission: &Admission, who: u8, zone: &str, number: usize) {
    for index in 0..number {
        let admitted = admit(admission, who, &format!("n{index}.{zone}"))
            .ok()
            .unwrap();
        admitted.place.failed();
    }
}

/// Takes so many places for zones of their own, each for a client with one.
fn fill(admission: &Admission, number: u8) -> Vec<Admitted> {
    (0..number)
        .map(|index| {
            admit(admission, 100 + index, &format!("a.fill{index}.test"))
                .ok()
                .unwrap()
        })
        .collect()
}

#[test]
fn a_failing_client_has_an_eighth_of_the_places_once_they_are_scarce() {
    let admission = admission(80, 80);
    for zone in 0..64 {
        fail(&admission, 1, &format!("z{zone}.test"), 1);
    }
    let hold = |who, zone: &str, number| {
        (0..number)
            .map(|index| admit(&admission, who, &format!("a.{zone}{index}.test")))
            .collect::<Vec<_>>()
    };
    let held = hold(1, "w", 20);
    assert!(held.iter().all(Result::is_ok), "places are free");
    drop(held);
    let _half = fill(&admission, 40);
    // What it ended just now counts as success, so it fails again.
    for zone in 0..200 {
        fail(&admission, 1, &format!("z{zone}.test"), 1);
    }
    let held = hold(1, "x", 12);
    let refused: Vec<_> = held.iter().filter_map(|held| held.as_ref().err()).collect();
    assert_eq!(refused, [&AdmissionLimit::Failing; 2]);
    assert!(hold(2, "y", 12).iter().all(Result::is_ok), "another client");
    let (group, cause, _) = admission.limited(NOW).remove(0);
    assert_eq!(
        (group, cause),
        (LimitedGroup::Client(client(1)), LimitCause::Failures)
    );
}

#[test]
fn a_failing_zone_has_an_eighth_and_clients_without_a_place_are_served() {
    let admission = admission(80, 80);
    for who in 0..16 {
        fail(&admission, who, "flooded.test", 4);
    }
    let _half = fill(&admission, 40);
    let held: Vec<_> = (0..24)
        .map(|index| admit(&admission, index % 2, &format!("a{index}.flooded.test")))
        .collect();
    assert_eq!(held.iter().filter(|held| held.is_ok()).count(), 10);
    assert!(
        admit(&admission, 2, "www.flooded.test").is_ok(),
        "an honest client"
    );
    assert!(admit(&admission, 1, "a.other.test").is_ok(), "another zone");
    let (group, cause, _) = admission.limited(NOW).remove(0);
    let zone = Name::parse("flooded.test").unwrap();
    assert_eq!(
        (group, cause),
        (LimitedGroup::Zone(zone), LimitCause::Failures)
    );
}

#[test]
fn a_client_with_some_failures_is_not_limited() {
    let admission = admission(80, 80);
    for index in 0..200 {
        let admitted = admit(&admission, 1, &format!("z{index}.test"))
            .ok()
            .unwrap();
        if index % 2 == 0 {
            admitted.place.failed();
        }
    }
    let held: Vec<_> = (0..40)
        .map(|index| admit(&admission, 1, &format!("a{index}.test")))
        .collect();
    assert!(held.iter().all(Result::is_ok));
}
