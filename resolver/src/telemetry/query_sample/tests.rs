//! The sample over days, with its files in a temporary folder.

use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn sampled(sample: &QuerySample, text: &str, times: usize) {
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
fn yesterdays_sample_has_no_names_that_were_sampled_once() {
    let folder = tempfile::tempdir().unwrap();
    let open = |now: &str| QuerySample::open(folder.path().to_owned(), 64, at(now)).unwrap();
    let sample = open("2026-11-20T22:00:00Z");
    sampled(&sample, "shop.example", 3);
    sampled(&sample, "news.example", 5);
    sampled(&sample, "only-once.example", 1);
    sample.write(at("2026-11-20T23:00:00Z")).unwrap();
    assert!(
        !sample.day_is_over(at("2026-11-20T23:59:59Z"))
            && sample.day_is_over(at("2026-11-21T00:00:00Z"))
    );

    // After a restart, the sample continues from its file.
    let sample = open("2026-11-20T23:30:00Z");
    sampled(&sample, "shop.example", 4);
    assert_eq!(sample.today().len(), 2);
    sample.write(at("2026-11-21T00:00:01Z")).unwrap();
    sampled(&sample, "late.example", 2);
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
fn local_names_and_names_that_are_no_hosts_are_not_counted() {
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
        sampled(&sample, text, 9);
    }
    sample.note(Name::root().borrow());
    (0..2).for_each(|_| sample.note(NameRef::from_wire(b"\x05a\tb.c\x07example\x00").unwrap()));
    sampled(&sample, "lan.example", 2);
    assert_eq!(sample.today(), [(name("lan.example"), 2)]);
}

#[test]
fn a_flood_of_names_fills_the_table_and_popular_names_stay() {
    let folder = tempfile::tempdir().unwrap();
    let sample =
        QuerySample::open(folder.path().to_owned(), 1, at("2026-11-20T22:00:00Z")).unwrap();
    for number in 0..1_000 {
        sampled(&sample, &format!("hot{number}.example"), 3);
    }
    for number in 0..3 * NAMES_MAX / 2 {
        sampled(&sample, &format!("cold{number}.example"), 1);
        assert!(number % 1_000 != 0 || sample.day().samples.len() <= NAMES_MAX);
    }
    let today = sample.today();
    assert_eq!(today.len(), 1_000, "names met once are not told");
    assert!(
        today
            .iter()
            .all(|(name, about)| name.to_string().starts_with("hot") && *about == 3)
    );
}
