//! Sources of several files: folders, archives, category feeds.

use super::*;

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
