//! Adding up counts, and their limits.

use super::*;

fn told(device: Option<&str>, second: i64) -> CountedQuery {
    CountedQuery {
        household: "home".parse().unwrap(),
        device: device.map(|id| id.parse().unwrap()),
        at: Timestamp::from_second(second).unwrap(),
        days: 7,
        categories: vec!["games".into()],
        blocked: None,
        sign: None,
    }
}

fn blocked(name: &str, categories: &[&str]) -> Option<BlockedQuery> {
    let categories = categories.iter().map(|&slug| slug.into()).collect();
    Some(BlockedQuery {
        layer: "category",
        categories,
        name: Some(Name::parse(name).unwrap()),
    })
}

#[test]
fn a_document_says_what_was_counted_in_these_words() {
    let mut counts = Counts::default();
    counts.count(&told(None, 10), true);
    counts.count(
        &CountedQuery {
            sign: Some(BypassSign::Doh),
            ..told(Some("tv"), 20)
        },
        true,
    );
    // A duplicate category counts once; a category of the alias alone was queried as well.
    let categories = vec!["games".into(), "games".into()];
    let bet = CountedQuery {
        categories,
        blocked: blocked("bet.example", &["games", "casino"]),
        ..told(Some("tv"), 30)
    };
    counts.count(&bet, true);
    let text = counts.to_document();
    assert_eq!(
        text.trim_start(),
        r#"{"":{"asked":1,"last":10,"categories":{"games":[1,0]}},"tv":{"asked":2,"blocked":1,"last":30,"#.to_owned()
            + r#""sign":{"kind":"doh","at":20},"categories":{"casino":[1,1],"games":[2,1]},"#
            + r#""names":{"bet.example":{"count":1,"layer":"category","categories":["games","casino"],"last":30}}}}"#
    );
    assert_eq!(Counts::read(text.as_bytes()).unwrap(), counts);
}

#[test]
fn the_error_of_a_document_does_not_quote_it() {
    for document in [
        &br#"{"tv":"secret.example"}"#[..],
        br#"{"secret example!":{"asked":1}}"#,
        b"{\"secret\xff",
        b"",
        b"[1]",
    ] {
        let error = Counts::read(document).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn names_and_devices_beyond_their_bounds_are_counted_and_not_kept() {
    let mut counts = Counts::default();
    for number in 0..NAMES_MAX + 50 {
        // Each twice, so that those with a place continue to be counted.
        for _ in 0..2 {
            counts.count(
                &CountedQuery {
                    blocked: blocked(&format!("n{number}.example"), &[]),
                    ..told(None, 5)
                },
                true,
            );
        }
    }
    let twice = {
        let mut twice = counts.clone();
        assert_eq!(twice.add(&counts), 0);
        twice
    };
    for (counts, times) in [(&counts, 1), (&twice, 2)] {
        let device = &counts.0[&None];
        assert_eq!(
            (device.names.len(), device.names_more, device.blocked),
            (NAMES_MAX, 100 * times, 500 * times)
        );
        assert_eq!(
            device.names.values().map(|name| name.count).sum::<u64>(),
            400 * times
        );
    }
    let mut counts = Counts::default();
    let taken = (0..HOUR_DEVICES_MAX + 7)
        .filter_map(|number| counts.count(&told(Some(&format!("d{number}")), 5), true))
        .count();
    assert_eq!(
        (taken, counts.0.len()),
        (HOUR_DEVICES_MAX, HOUR_DEVICES_MAX)
    );
    let mut other = Counts::default();
    other.count(&told(Some("d0"), 5), true);
    other.count(&told(Some("new"), 5), true);
    assert_eq!(
        (
            counts.add(&other),
            counts.0[&Some("d0".parse().unwrap())].asked
        ),
        (1, 2)
    );
}

#[test]
fn the_names_of_a_household_are_bounded_over_all_its_devices_and_rows() {
    let name = |number: usize| CountedQuery {
        blocked: blocked(&format!("n{number}.example"), &[]),
        ..told(Some(&format!("d{}", number % 40)), 5)
    };
    let sums = |counts: &Counts| {
        let sum = |of: fn(&DeviceHour) -> u64| counts.0.values().map(of).sum::<u64>();
        (
            sum(|device| device.names.len() as u64),
            sum(|device| device.names_more),
            sum(|device| device.blocked),
        )
    };
    let mut counts = Counts::default();
    for number in 0..HOUR_NAMES_MAX + 90 {
        counts.count(&name(number), true);
    }
    // A name with a place continues to be counted; a name without one on another device counts
    // in `names_more` there.
    counts.count(&name(0), true);
    counts.count(
        &CountedQuery {
            device: Some("d1".parse().unwrap()),
            ..name(0)
        },
        true,
    );
    assert_eq!(sums(&counts), (300, 91, 392));
    let mut first = Counts::default();
    let mut second = Counts::default();
    let mut unknown = Counts::default();
    for number in 0..200 {
        first.count(&name(number), true);
    }
    for number in 100..350 {
        second.count(&name(number), true);
    }
    for number in 0..NAMES_MAX {
        unknown.count(
            &CountedQuery {
                device: None,
                ..name(number)
            },
            true,
        );
    }
    assert_eq!(first.add(&second), 0);
    assert_eq!(sums(&first), (300, 50, 450));
    // A new device finds no more room than the others have left.
    assert_eq!((first.add(&unknown), sums(&first)), (0, (300, 250, 650)));
    assert_eq!(first.0[&None].names_more, 200);
    // No document of ours has more than that. Existing counts stay, and none are added.
    let mut many: Counts = unknown.clone();
    many.0
        .insert(Some("d0".parse().unwrap()), unknown.0[&None].clone());
    many.add(&first);
    assert_eq!(sums(&many).0, 400);
}

#[test]
fn whatever_numbers_a_document_holds_sums_end_where_numbers_do() {
    let most = u64::MAX;
    let text = format!(
        r#"{{"tv":{{"asked":{most},"blocked":{most},"categories":{{"games":[{most},{most}]}},"names_more":{most},
        "names":{{"bet.example":{{"count":{most},"layer":"category","last":5}}}}}},"pc":{{"asked":{most}}}}}"#
    );
    let mut counts = Counts::read(text.as_bytes()).unwrap();
    let again = counts.clone();
    assert_eq!(counts.add(&again), 0);
    let tv = Some("tv".parse().unwrap());
    counts.count(
        &CountedQuery {
            blocked: blocked("bet.example", &["games"]),
            ..told(Some("tv"), 6)
        },
        true,
    );
    counts.count(
        &CountedQuery {
            blocked: blocked("bet.example", &["games"]),
            ..told(Some("tv"), 6)
        },
        false,
    );
    let device = &counts.0[&tv];
    assert_eq!(
        (
            device.asked,
            device.blocked,
            device.names_more,
            device.names["bet.example"].count
        ),
        (most, most, most, most)
    );
    assert_eq!(
        (device.categories["games"], counts.asked()),
        (
            QueryCount {
                asked: most,
                blocked: most
            },
            most
        )
    );
    // Dropped queries are added up, too.
    let mut full = Counts::default();
    for number in 0..HOUR_DEVICES_MAX {
        full.count(&told(Some(&format!("d{number}")), 5), true);
    }
    assert_eq!(full.add(&again), most);
}

#[test]
fn the_pieces_that_are_new_are_those_that_are_there() {
    let mut counts = Counts::default();
    let mut pieces = 0;
    for (number, device) in [None, Some("tv"), Some("tv"), None].into_iter().enumerate() {
        let blocked = blocked(&format!("n{}.example", number / 2), &["casino"]);
        pieces += counts
            .count(
                &CountedQuery {
                    blocked,
                    ..told(device, 5)
                },
                true,
            )
            .unwrap();
        assert_eq!(pieces, counts.pieces());
    }
    // Without room, existing entries continue to count, and new ones are not added.
    assert_eq!(
        counts.count(
            &CountedQuery {
                blocked: blocked("new.example", &[]),
                ..told(None, 5)
            },
            false
        ),
        Some(0)
    );
    assert_eq!(counts.0[&None].names_more, 1);
    assert_eq!(counts.count(&told(Some("new"), 5), false), None);
}
