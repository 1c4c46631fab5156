//! What the sample promises, with times and folders of its own.

use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn met(sample: &QuerySample, text: &str, times: usize) {
    (0..times).for_each(|_| sample.note(name(text).borrow()));
}

fn yesterday(sample: &QuerySample, now: &str) -> Vec<(String, u64)> {
    sample
        .yesterday(at(now))
        .unwrap()
        .map(|(name, about)| (name.to_string(), about))
        .collect()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn one_of_so_many_queries_is_taken_and_a_full_ring_loses_the_rest() {
    let (mut asked, mut names) = Asked::one_of(64);
    for number in 0..640 {
        asked.note(name(&format!("n{number}.example")).borrow());
    }
    let taken: Vec<String> = std::iter::from_fn(|| names.pop().ok())
        .map(|name| name.borrow().to_string())
        .collect();
    assert_eq!(
        (taken.len(), taken[0].as_str(), taken[9].as_str()),
        (10, "n63.example", "n639.example")
    );
    (0..64 * (RING_NAMES + 9)).for_each(|_| asked.note(name("a.example").borrow()));
    assert_eq!(std::iter::from_fn(|| names.pop().ok()).count(), RING_NAMES);

    let (mut never, mut none) = Asked::one_of(0);
    (0..10_000).for_each(|_| never.note(name("a.example").borrow()));
    assert!(none.pop().is_err());
}

#[test]
fn yesterdays_sample_is_what_was_asked_then_without_names_met_once() {
    let folder = tempfile::tempdir().unwrap();
    let open = |now: &str| QuerySample::open(folder.path().to_owned(), 64, at(now)).unwrap();
    let sample = open("2026-11-20T22:00:00Z");
    met(&sample, "shop.example", 3);
    met(&sample, "news.example", 5);
    met(&sample, "only-once.example", 1);
    sample.write(at("2026-11-20T23:00:00Z")).unwrap();
    assert!(
        !sample.day_is_over(at("2026-11-20T23:59:59Z"))
            && sample.day_is_over(at("2026-11-21T00:00:00Z"))
    );

    // The node is started again, and goes on with what it had written.
    let sample = open("2026-11-20T23:30:00Z");
    met(&sample, "shop.example", 4);
    assert_eq!(sample.today().len(), 2);
    sample.write(at("2026-11-21T00:00:01Z")).unwrap();
    met(&sample, "late.example", 2);
    let expected = [
        ("shop.example".to_owned(), 7 * 64),
        ("news.example".to_owned(), 5 * 64),
    ];
    assert_eq!(yesterday(&sample, "2026-11-21T10:00:00Z"), expected);
    let text = fs::read_to_string(folder.path().join("queries-2026-11-20.tsv")).unwrap();
    assert_eq!(text, "shop.example\t448\nnews.example\t320\n");
    assert_eq!(sample.today(), [(name("late.example"), 128)]);

    sample.write(at("2026-11-21T10:00:00Z")).unwrap();
    assert_eq!(
        files(folder.path()),
        ["queries-2026-11-20.tsv", "queries-2026-11-21.tsv"]
    );
    sample.write(at("2026-11-22T00:00:00Z")).unwrap();
    assert_eq!(
        files(folder.path()),
        ["queries-2026-11-21.tsv"],
        "two days are kept"
    );
    assert_eq!(
        yesterday(&sample, "2026-11-22T10:00:00Z"),
        [("late.example".to_owned(), 128)]
    );
    assert_eq!(yesterday(&sample, "2026-12-22T10:00:00Z"), []);
}

#[test]
fn names_that_tell_of_a_home_or_are_no_hosts_are_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let sample =
        QuerySample::open(folder.path().to_owned(), 1, at("2026-11-20T22:00:00Z")).unwrap();
    for text in [
        "7.2.168.192.in-addr.arpa",
        "annas-phone.lan",
        "annas-phone",
        "printer.local",
        "1.0.8.b.d.0.1.0.0.2.ip6.arpa",
        "localhost",
    ] {
        met(&sample, text, 9);
    }
    sample.note(Name::root().borrow());
    (0..2).for_each(|_| sample.note(NameRef::from_wire(b"\x05a\tb.c\x07example\x00").unwrap()));
    met(&sample, "lan.example", 2);
    assert_eq!(sample.today(), [(name("lan.example"), 2)]);
}

#[test]
fn a_flood_of_names_fills_only_the_table_and_popular_names_stay() {
    let folder = tempfile::tempdir().unwrap();
    let sample =
        QuerySample::open(folder.path().to_owned(), 1, at("2026-11-20T22:00:00Z")).unwrap();
    for number in 0..1_000 {
        met(&sample, &format!("hot{number}.example"), 3);
    }
    for number in 0..3 * NAMES_MAX / 2 {
        met(&sample, &format!("cold{number}.example"), 1);
        assert!(number % 1_000 != 0 || sample.day().met.len() <= NAMES_MAX);
    }
    let today = sample.today();
    assert_eq!(today.len(), 1_000, "names met once are not told");
    assert!(
        today
            .iter()
            .all(|(name, about)| name.to_string().starts_with("hot") && *about == 3)
    );
}
