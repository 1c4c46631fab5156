//! Damaged artefacts and deltas: they are refused, and even those with a right hash are read
//! without harm.

// A test that cannot continue fails.
#![allow(clippy::unwrap_used)]

use std::{
    hint::black_box,
    path::{Path, PathBuf},
};

use policy::{
    category::Taxonomy,
    lists::{
        artefact::{FeedSummary, Header},
        blocklist::Blocklist,
        builder::ArtefactBuilder,
        delta::Delta,
        entry::{
            EntryAction, ListEntry, LocalData, LocalRecord, NO_CATEGORY, Polarity, Scope, Tier,
        },
    },
    name::Name,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};

const NAMES: [&str; 6] = [
    "a.example",
    "b.a.example",
    "c.example",
    "d.c.example",
    "www.gamble.example",
    "x.test",
];
/// Files tried in each way.
const BENDINGS: usize = 4_000;
/// The offset of the header's length in an artefact; the header follows it.
const HEADER_LENGTH: usize = 12;
const HASH_OCTETS: usize = 32;

/// A fixed seed, so that failures are reproducible.
const SEED: u64 = 7;

fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::new();
    Name::parse(name).unwrap().borrow().write_key(&mut key);
    key
}

fn records(octet: u8) -> LocalData {
    LocalData(vec![LocalRecord {
        record_type: 1,
        ttl_s: 30,
        rdata: vec![192, 0, 2, octet],
    }])
}

fn header(generation: u64) -> Header {
    let feeds = vec![
        FeedSummary::new("orders", Tier::Mandatory),
        FeedSummary::new("choice", Tier::Choice),
    ];
    let categories = vec!["gambling".to_owned(), "ads".to_owned()];
    let arrivals = vec![jiff::Timestamp::UNIX_EPOCH];
    Header {
        feeds,
        categories,
        arrivals,
        ..Header::of(generation, jiff::Timestamp::UNIX_EPOCH)
    }
}

/// In memory if possible: thousands of files are written, and the disk is not what is tested.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Writes an artefact with marks of every kind, and a delta that continues it.
fn written(folder: &Path) -> (PathBuf, PathBuf) {
    let mut builder = ArtefactBuilder::new();
    for (place, name) in NAMES.iter().enumerate() {
        let mark = match place % 3 {
            0 => ListEntry::deny(0, NO_CATEGORY, Scope::Subtree),
            1 => ListEntry {
                polarity: Polarity::Allow,
                important: true,
                ..ListEntry::deny(1, 1, Scope::Exact)
            },
            _ => ListEntry {
                action: EntryAction::LocalData,
                data: builder.answer(records(1)).unwrap(),
                ..ListEntry::deny(1, 0, Scope::Descendants)
            },
        };
        builder
            .push(Name::parse(name).unwrap().borrow(), mark)
            .unwrap();
    }
    builder
        .push_path(
            Name::parse("c.example").unwrap().borrow(),
            b"/page",
            ListEntry::deny(1, 0, Scope::Exact),
        )
        .unwrap();
    let full = folder.join("full");
    builder.write(header(1), None, &full).unwrap();
    let records_mark = ListEntry {
        action: EntryAction::LocalData,
        data: 1,
        ..ListEntry::deny(1, 1, Scope::Exact)
    };
    let changes = vec![
        (key("a.example").into(), Vec::new()),
        (
            key("new.example").into(),
            vec![records_mark, ListEntry::deny(0, NO_CATEGORY, Scope::Exact)],
        ),
    ];
    let header = Header {
        parent: Some(1),
        answers: vec![records(2)],
        ..header(2)
    };
    let path = folder.join("delta");
    Delta {
        path: path.clone(),
        header,
        changes,
        sha256: String::new(),
    }
    .write()
    .unwrap();
    (full, path)
}

/// Calls all lookups of lists.
fn ask(lists: &Blocklist) {
    for name in NAMES
        .iter()
        .chain(&["new.example", "below.new.example", "example"])
    {
        let name = Name::parse(name).unwrap();
        black_box((lists.classify(name.borrow()), lists.matches(name.borrow())));
    }
    black_box(lists.classify_address([192, 0, 2, 1].into()));
    lists.for_each_name(|key, marks| {
        for mark in marks {
            assert!(
                mark.action != EntryAction::LocalData
                    || (mark.data as usize) < lists.answers().len()
            );
        }
        black_box(lists.marks(key));
    });
}

/// A file with a few octets changed, removed or inserted within a range.
fn bent(chance: &mut StdRng, whole: &[u8], places: std::ops::Range<usize>) -> Vec<u8> {
    let mut octets = whole.to_vec();
    for _ in 0..chance.random_range(1..4) {
        let place = chance.random_range(places.clone()).min(octets.len() - 1);
        match chance.random_range(0..6) {
            0 => drop(octets.remove(place)),
            1 => octets.insert(place, chance.random()),
            2 => octets.truncate(place),
            3 => octets[place] = [0, 1, 127, 255, b'9', b'"'][chance.random_range(0..6)],
            _ => octets[place] ^= 1 << chance.random_range(0..8),
        }
        if octets.is_empty() {
            break;
        }
    }
    octets
}

/// The same with the right hash at its end.
fn hashed(mut octets: Vec<u8>) -> Vec<u8> {
    octets.truncate(octets.len().saturating_sub(HASH_OCTETS));
    let hash = Sha256::digest(&octets);
    octets.extend(hash);
    octets
}

#[test]
fn a_damaged_file_is_refused() {
    let folder = folder();
    let taxonomy = Taxonomy::shipped();
    let (full, delta) = written(folder.path());
    let mut chance = StdRng::seed_from_u64(SEED);
    let path = folder.path().join("bent");
    for file in [&full, &delta] {
        let whole = std::fs::read(file).unwrap();
        for _ in 0..BENDINGS {
            let octets = bent(&mut chance, &whole, 0..whole.len());
            std::fs::write(&path, &octets).unwrap();
            let is_read = if file == &full {
                Blocklist::open(&path, &taxonomy).is_ok()
            } else {
                Delta::read(&path).is_ok()
            };
            assert!(
                !is_read || octets == whole,
                "seed {SEED}: {}",
                octets.escape_ascii()
            );
        }
    }
}

#[test]
fn a_file_of_a_broken_writer_does_no_harm() {
    let folder = folder();
    let taxonomy = Taxonomy::shipped();
    let (full, delta) = written(folder.path());
    let base = Blocklist::open(&full, &taxonomy).unwrap();
    ask(&base);
    ask(&base
        .with_deltas(&[Delta::read(&delta).unwrap()], &taxonomy)
        .unwrap());
    let mut chance = StdRng::seed_from_u64(SEED);
    let path = folder.path().join("bent");
    let mut opened = 0;
    let mut laid = 0;
    for file in [&full, &delta] {
        let whole = std::fs::read(file).unwrap();
        for _ in 0..BENDINGS {
            std::fs::write(
                &path,
                hashed(bent(
                    &mut chance,
                    &whole,
                    HEADER_LENGTH..whole.len() - HASH_OCTETS,
                )),
            )
            .unwrap();
            if file == &full {
                if let Ok(lists) = Blocklist::open(&path, &taxonomy) {
                    ask(&lists);
                    opened += 1;
                }
            } else if let Ok(lists) =
                Delta::read(&path).and_then(|delta| base.with_deltas(&[delta], &taxonomy))
            {
                ask(&lists);
                laid += 1;
            }
        }
    }
    println!("seed {SEED}: {opened} artefacts and {laid} deltas of {BENDINGS} each were read");
    assert!(
        opened > 0 && laid > 0,
        "every bent file was refused: this tests nothing"
    );
}
