//! All lists in `../shared/data`, or in the folder of `OX_PROTECT_DATA`: they load completely, and
//! each name of each list is found. Without the folder, the test prints a notice and checks
//! nothing.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers with it")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Instant,
};

use blocklist_loader::{BuildOutcome, Feed, Format, Plan, build};
use policy::{
    category::Taxonomy,
    lists::{blocklist::Blocklist, entry::Scope},
    name::Name,
};

const UT1: [(&str, &str); 36] = [
    ("agressif", "hate"),
    ("ai", "ai"),
    ("astrology", "astrology"),
    ("audio-video", "streaming"),
    ("bitcoin", "crypto"),
    ("celebrity", "celebrity"),
    ("chat", "chat"),
    ("child", "kids"),
    ("cryptojacking", "cryptojacking"),
    ("dangerous_material", "weapons"),
    ("dating", "dating"),
    ("ddos", "ddos"),
    ("doh", "doh"),
    ("drogue", "drugs"),
    ("fakenews", "fake-news"),
    ("filehosting", "file-hosting"),
    ("forums", "forums"),
    ("gambling", "gambling"),
    ("games", "games"),
    ("hacking", "hacking"),
    ("lingerie", "nudity"),
    ("malware", "malware"),
    ("manga", "manga"),
    ("mixed_adult", "mixed-adult"),
    ("phishing", "phishing"),
    ("remote-control", "remote-control"),
    ("sect", "cults"),
    ("shopping", "shopping"),
    ("shortener", "shortener"),
    ("social_networks", "social"),
    ("sports", "sports"),
    ("stalkerware", "malware"),
    ("tricheur", "cheating"),
    ("vpn", "vpn"),
    ("warez", "piracy"),
    ("webmail", "webmail"),
];

fn lists() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let lists = std::env::var_os("OX_PROTECT_DATA")
        .map_or_else(beside, PathBuf::from)
        .join("lists");
    if !lists.is_dir() {
        eprintln!(
            "NOT RUN: there are no real lists at {}; set OX_PROTECT_DATA to the folder that holds them",
            lists.display()
        );
        return None;
    }
    Some(lists)
}

fn feed(name: &str, source: &Path, format: Format, category: &str) -> Feed {
    let carries_scope = matches!(format, Format::Adblock | Format::Dnsmasq | Format::Unbound);
    Feed {
        scope: (!carries_scope).then_some(Scope::Subtree),
        category: Some(category.to_owned()),
        ..Feed::new(
            name.to_owned(),
            source.to_string_lossy().into_owned(),
            format,
        )
    }
}

fn feeds(lists: &Path) -> Vec<Feed> {
    let taxonomy = Taxonomy::shipped();
    let mut feeds = Vec::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(lists.join("blocklistproject"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let slug = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let category = if taxonomy.find(&slug).is_some() {
            slug.as_str()
        } else {
            "tobacco"
        };
        feeds.push(feed(&slug, &file, Format::Domains, category));
    }
    for (file, format) in [
        ("stevenblack.domains.txt", Format::Domains),
        ("adguarddns.hosts.txt", Format::Hosts),
        ("light.adblock.txt", Format::Adblock),
        ("light.wildcard.txt", Format::Wildcard),
        ("easylist.dnsmasq.txt", Format::Dnsmasq),
        ("easylist.unbound.conf", Format::Unbound),
    ] {
        feeds.push(feed(file, &lists.join("hagezi").join(file), format, "ads"));
    }
    let categories = UT1
        .iter()
        .map(|&(folder, slug)| (folder.to_owned(), slug.to_owned()))
        .collect();
    feeds.push(Feed {
        category: None,
        categories,
        ..feed("ut1", &lists.join("ut1"), Format::Squidguard, "")
    });
    feeds
}

/// The names of a file by a naive method: the longest word of each row that is not a comment.
fn naive_names(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let rows = text
        .lines()
        .filter(|row| !row.starts_with(['#', '!']) && !row.is_empty());
    let is_of_a_name =
        |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let longest = |row: &str| {
        let words = row
            .split(|character| !is_of_a_name(character))
            .filter(|word| !matches!(*word, "address" | "server" | "local-zone" | "0.0.0.0"));
        words
            .rev()
            .max_by_key(|word| (word.contains('.'), word.len()))
            .unwrap_or_default()
            .trim_matches('.')
            .to_owned()
    };
    rows.map(longest).filter(|name| !name.is_empty()).collect()
}

#[test]
fn every_name_of_every_real_list_is_found_again_in_its_category() {
    let Some(lists) = lists() else { return };
    let taxonomy = Taxonomy::shipped();
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        feeds: feeds(&lists),
        directory: folder.path().to_owned(),
        force: false,
        ..Plan::default()
    };
    let begun = Instant::now();
    let BuildOutcome::Built(built) =
        build(&plan, &taxonomy, None, jiff::Timestamp::UNIX_EPOCH).unwrap()
    else {
        panic!("nothing was built")
    };
    let took = begun.elapsed();
    let header = &built.written.header;
    let entries: u64 = header.feeds.iter().map(|feed| feed.report.entries).sum();
    let per_name = built.written.octets as f64 / header.names as f64;
    eprintln!(
        "{entries} entries, {} names, {:?}, {per_name:.2} octets a name",
        header.names, took
    );
    assert_eq!(built.refused, []);
    assert!(header.names > 800_000, "{} names", header.names);
    assert!(per_name <= 12.0, "{per_name} octets a name");

    let begun = Instant::now();
    let blocklist = Blocklist::open(&built.written.path, &taxonomy).unwrap();
    eprintln!("opened and verified in {:?}", begun.elapsed());

    let mut missing = BTreeSet::new();
    let mut bad = BTreeSet::new();
    let mut find = |file: &Path, slug: &str| {
        let category = taxonomy.find(slug).unwrap();
        for text in naive_names(file) {
            let Ok(name) = Name::parse(&text) else {
                bad.insert(text);
                continue;
            };
            if !blocklist.classify(name.borrow()).choice.contains(category) {
                missing.insert(name.to_string());
            }
        }
    };
    for feed in &plan.feeds[..plan.feeds.len() - 1] {
        find(Path::new(&feed.source), feed.category.as_ref().unwrap());
    }
    for (folder, slug) in UT1 {
        let domains = lists.join("ut1").join(folder).join("domains");
        if domains.exists() {
            find(&domains, slug);
        }
    }
    for feed in &header.feeds {
        let report = &feed.report;
        eprintln!(
            "{:24} lines {:7} entries {:7} paths {:6} unsupported {:3} bad {:3} public suffixes {:4}",
            feed.name,
            report.lines,
            report.entries,
            report.paths,
            report.unsupported,
            report.bad,
            report.public_suffixes
        );
        assert_eq!(
            (report.unsupported, report.unmapped),
            (0, 0),
            "{}: {:?}",
            feed.name,
            report.samples
        );
        for sample in &report.samples {
            eprintln!(
                "    {}:{} {} ({})",
                sample.file, sample.line, sample.text, sample.reason
            );
        }
    }
    eprintln!("bad {bad:?}");
    assert!(
        bad.len() as u64 >= header.feeds.iter().map(|feed| feed.report.bad).sum(),
        "a row is bad that the pencil can read"
    );
    // The guard narrows an entry at a public suffix to the name itself, so even those names are
    // found.
    assert!(missing.is_empty(), "listed, and not found: {missing:?}");
}
