//! Tests of following a category feed: whatever its producer does, the spool ends with the
//! producer's rows or stays unchanged.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::{super::category_state, *};
use crate::{feed::Format, spool::content_of};

type Rows = BTreeMap<String, String>;

/// A producer's folder and its follower.
struct BuildFixture {
    folder: tempfile::TempDir,
    rows: Rows,
    sequence: u64,
    snapshots: Vec<serde_json::Value>,
    deltas: Vec<serde_json::Value>,
    runtime: tokio::runtime::Runtime,
}

impl BuildFixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("feed")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let fixture = Self {
            folder,
            rows: Rows::new(),
            sequence: 0,
            snapshots: Vec::new(),
            deltas: Vec::new(),
            runtime,
        };
        fixture.write(
            "feed-codes.json",
            br#"{"v":1,"codes":[{"code":1,"title":"One"}]}"#,
        );
        fixture
    }

    fn write(&self, name: &str, octets: &[u8]) {
        std::fs::write(self.folder.path().join("feed").join(name), octets).unwrap();
    }

    fn file(&self, kind: &str, text: &str, is_gzip: bool) -> serde_json::Value {
        let (octets, end) = if is_gzip {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            (encoder.finish().unwrap(), "gz")
        } else {
            (zstd::encode_all(text.as_bytes(), 1).unwrap(), "zst")
        };
        let name = format!("{kind}_{}.{end}", self.sequence);
        self.write(&name, &octets);
        json!({"file": name, "sequence": self.sequence, "sha256": sha256(&octets), "size": octets.len()})
    }

    fn snapshot(&mut self) {
        let text: String = self
            .rows
            .iter()
            .map(|(key, codes)| format!("{key}\t{codes}\n"))
            .collect();
        self.snapshots
            .push(self.file("snapshot", &text, self.sequence.is_multiple_of(2)));
    }

    /// Publishes the next version: keys with new codes, or without codes.
    fn change(&mut self, changes: &[(String, Option<String>)], is_signed: bool) {
        let from = self.sequence;
        let mut text = String::new();
        self.sequence += 1;
        for (key, codes) in changes {
            match codes {
                Some(codes) => drop(self.rows.insert(key.clone(), codes.clone())),
                None => drop(self.rows.remove(key)),
            }
            text += &match (codes, is_signed) {
                (Some(codes), true) => format!("+{key}\t{codes}\n"),
                (None, true) => format!("-{key}\n"),
                (Some(codes), false) => format!("{key}\t{codes}\n"),
                (None, false) => format!("{key}\t-\n"),
            };
        }
        let mut file = self.file("delta", &text, self.sequence.is_multiple_of(3));
        file["from"] = from.to_string().into();
        self.deltas.push(file);
    }

    fn set(&mut self, key: &str, codes: &str) {
        self.change(&[(key.to_owned(), Some(codes.to_owned()))], false);
    }

    fn publish(&self) {
        self.publish_with(|_| {});
    }

    fn publish_with(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let mut manifest = json!({"v": 1, "snapshots": self.snapshots, "deltas": self.deltas});
        change(&mut manifest);
        self.write("feed.json", manifest.to_string().as_bytes());
    }

    fn follower(&self) -> CategoryFeed {
        let feed = Feed::new(
            "feed",
            self.folder.path().join("feed").to_string_lossy(),
            Format::CategoryFeed,
        );
        CategoryFeed::new(&feed, self.folder.path()).unwrap()
    }

    fn fetch(&self) -> Result<Fetched, String> {
        self.runtime
            .block_on(self.follower().fetch())
            .map_err(|error| error.to_string())
    }

    /// The rows of the spool.
    fn have(&self) -> Rows {
        let mut rows = Rows::new();
        let mut count = 0;
        let content = content_of(&spool::folder_of(self.folder.path(), "feed"));
        spool::for_each_row(&content, RowKey::UpToTab, &mut |row| {
            let row = std::str::from_utf8(row).unwrap();
            let (key, codes) = row.split_once('\t').unwrap();
            rows.insert(key.to_owned(), codes.to_owned());
            count += 1;
        })
        .unwrap();
        assert_eq!(rows.len(), count, "a key stands twice");
        rows
    }

    #[track_caller]
    fn expect(&self, fetched: &str) {
        let found = match self.fetch().unwrap() {
            Fetched::Unchanged => "unchanged".to_owned(),
            Fetched::Replaced { version } => format!("replaced {version}"),
            Fetched::Changed {
                from,
                version,
                rows,
            } => format!("changed {from} to {version} by {}", rows.len()),
        };
        assert_eq!(found, fetched);
        assert_eq!(self.have(), self.rows);
    }

    /// The next fetch fails with this error, and the spool stays unchanged.
    #[track_caller]
    fn stays(&self, words: &str) {
        let before = self.have();
        let error = self.fetch().unwrap_err();
        assert!(error.contains(words), "{words:?} is not in {error:?}");
        assert_eq!(self.have(), before);
    }
}

/// A feed of which three versions were fetched.
fn followed() -> BuildFixture {
    let mut fixture = BuildFixture::new();
    fixture.sequence = 5;
    fixture.rows.insert("a.example".to_owned(), "1".to_owned());
    fixture.snapshot();
    fixture.set("b.example", "1,2");
    fixture.publish();
    fixture.expect("replaced 6");
    fixture.set("c.example/path", "2");
    fixture.publish();
    fixture.expect("changed 6 to 7 by 1");
    fixture.expect("unchanged");
    fixture
}

#[test]
fn versions_are_followed_by_deltas_as_long_as_they_lead_on() {
    let mut fixture = followed();
    fixture.change(
        &[
            ("a.example".to_owned(), None),
            ("d.example".to_owned(), Some("3".to_owned())),
        ],
        true,
    );
    fixture.set("d.example", "4");
    fixture.publish();
    fixture.expect("changed 7 to 9 by 3");
    // A follower that is late takes the newest snapshot and the deltas after it.
    fixture.snapshot();
    fixture.set("e.example", "1");
    fixture.deltas.remove(0);
    fixture.publish();
    fixture.expect("changed 9 to 10 by 1");
    std::fs::remove_dir_all(spool::folder_of(fixture.folder.path(), "feed")).unwrap();
    fixture.expect("replaced 10");
}

#[test]
fn where_the_chain_is_broken_the_newest_snapshot_is_taken() {
    let mut fixture = followed();
    fixture.set("d.example", "4");
    fixture.set("e.example", "4");
    fixture.deltas.remove(fixture.deltas.len() - 2);
    fixture.publish();
    fixture.stays("sequence: feed.json: no delta leads on from 7, and 9 is the newest version");
    fixture.snapshot();
    fixture.publish();
    fixture.expect("replaced 9");
}

#[test]
fn a_producer_that_begins_anew_is_followed_from_its_snapshot() {
    for kind in 0..3 {
        let mut fixture = followed();
        fixture.rows = [("new.example".to_owned(), "9".to_owned())].into();
        (fixture.snapshots, fixture.deltas) = (Vec::new(), Vec::new());
        match kind {
            // Lower numbers; the same number with other content; higher numbers of another feed.
            0 => fixture.sequence = 2,
            1 => fixture.sequence = 6,
            _ => fixture.sequence = 40,
        }
        fixture.snapshot();
        if kind == 1 {
            fixture.set("other.example", "9");
        }
        fixture.publish_with(|manifest| manifest["id"] = "another".into());
        fixture.expect(["replaced 2", "replaced 7", "replaced 40"][kind]);
    }
    let mut fixture = followed();
    fixture.rows.insert("x.example".to_owned(), "1".to_owned());
    fixture.sequence = 6;
    (fixture.snapshots, fixture.deltas) = (Vec::new(), Vec::new());
    fixture.snapshot();
    fixture.set("y.example", "1");
    fixture.publish();
    fixture.expect("replaced 7");
}

/// States of a producer that started over unobserved, as a follower at version 7 finds them.
#[test]
fn an_unobserved_reset_is_detected_however_high_its_numbers_are() {
    let begun_anew = |sequence: u64| {
        let mut fixture = followed();
        let delta = fixture.deltas.last().unwrap().clone();
        fixture.rows = [("new.example".to_owned(), "9".to_owned())].into();
        (fixture.snapshots, fixture.deltas, fixture.sequence) = (Vec::new(), Vec::new(), sequence);
        (fixture, delta)
    };
    // The follower's number with a snapshot only, which the follower reached by a delta.
    let (mut fixture, _) = begun_anew(7);
    fixture.snapshot();
    fixture.publish();
    fixture.expect("replaced 7");
    // The follower's number, reached by another delta.
    let (mut fixture, _) = begun_anew(6);
    fixture.snapshot();
    fixture.set("other.example", "9");
    fixture.publish();
    fixture.expect("replaced 7");
    // A higher number, by deltas that continue the follower's.
    let (mut fixture, _) = begun_anew(7);
    fixture.snapshot();
    fixture.set("other.example", "9");
    fixture.publish();
    fixture.expect("replaced 8");
    let (mut fixture, _) = begun_anew(4);
    fixture.snapshot();
    for key in ["v.example", "w.example", "x.example", "y.example"] {
        fixture.set(key, "9");
    }
    // The delta that led to the follower's number is gone.
    fixture.deltas.remove(2);
    fixture.snapshot();
    fixture.publish();
    fixture.expect("replaced 8");
    // The follower's number with the same delta, after another snapshot.
    let (mut fixture, delta) = begun_anew(6);
    fixture.snapshot();
    fixture.set("c.example/path", "2");
    assert_eq!(fixture.deltas, [delta]);
    fixture.publish();
    fixture.expect("replaced 7");
}

#[test]
fn a_producer_may_drop_old_files_as_long_as_one_stays_that_we_know() {
    let mut fixture = followed();
    fixture.snapshot();
    fixture.snapshots.remove(0);
    fixture.deltas.remove(0);
    fixture.publish();
    fixture.expect("unchanged");
    fixture.set("d.example", "4");
    fixture.deltas.remove(0);
    fixture.publish();
    fixture.expect("changed 7 to 8 by 1");
    // The same snapshot in two compressions.
    let other = fixture.file(
        "again",
        &fixture
            .rows
            .iter()
            .map(|(key, codes)| format!("{key}\t{codes}\n"))
            .collect::<String>(),
        true,
    );
    fixture.snapshot();
    fixture.snapshots.push(other);
    fixture.publish();
    fixture.expect("unchanged");
    fixture.snapshots.drain(..2);
    fixture.deltas.clear();
    fixture.publish();
    fixture.expect("unchanged");
    // All files at once: this may be another history, so its content is taken.
    fixture.set("e.example", "5");
    (fixture.snapshots, fixture.deltas) = (Vec::new(), Vec::new());
    fixture.snapshot();
    fixture.publish();
    fixture.expect("replaced 9");
}

#[test]
fn whatever_is_not_as_the_manifest_says_leaves_us_where_we_were() {
    let mut fixture = followed();
    fixture.set("d.example", "4");
    let name = fixture.deltas.last().unwrap()["file"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = fixture.folder.path().join("feed").join(&name);
    let good = std::fs::read(&path).unwrap();
    let mut damaged = good.clone();
    damaged[good.len() / 2] ^= 1;
    fixture.publish();
    for (octets, words) in [
        (damaged.as_slice(), "checksum: the SHA-256 of delta_8"),
        (&good[1..], "size: delta_8"),
        (b"", "size: delta_8"),
    ] {
        std::fs::write(&path, octets).unwrap();
        fixture.stays(words);
    }
    // Truncated at publication, with a matching digest.
    let cut = &good[..good.len() - 3];
    std::fs::write(&path, cut).unwrap();
    fixture.publish_with(|manifest| {
        let last = manifest["deltas"]
            .as_array_mut()
            .unwrap()
            .last_mut()
            .unwrap();
        (last["sha256"], last["size"]) = (sha256(cut).into(), cut.len().into());
    });
    fixture.stays("compression: delta_8");
    std::fs::remove_file(&path).unwrap();
    fixture.publish();
    fixture.stays("transport: reading");
    for (json, words) in [
        ("{", "format: feed.json: EOF"),
        ("{\"v\":2}", "version 2 of the format"),
        (
            "{\"v\":1}",
            "sequence: feed.json: it names neither snapshots nor deltas",
        ),
        (
            "{\"v\":1,\"snapshots\":[{\"file\":\"../x\",\"sequence\":9,\"sha256\":\"00\"}]}",
            "is no SHA-256",
        ),
    ] {
        fixture.write("feed.json", json.as_bytes());
        fixture.stays(words);
    }
    std::fs::write(&path, good).unwrap();
    fixture.publish();
    fixture.expect("changed 7 to 8 by 1");
}

#[test]
fn a_code_map_with_other_names_is_a_new_content_and_other_titles_are_not() {
    let fixture = followed();
    let content = content_of(&spool::folder_of(fixture.folder.path(), "feed"));
    fixture.write(
        "feed-codes.json",
        br#"{"v":1,"codes":[{"code":1,"title":"Uno"}]}"#,
    );
    fixture.expect("unchanged");
    assert_eq!(
        category_state::codes(&content).codes[0].title.as_deref(),
        Some("Uno")
    );
    fixture.write(
        "feed-codes.json",
        br#"{"v":1,"codes":[{"code":1,"codename":"uno","title":"Uno"}]}"#,
    );
    let before = category_state::codenames(&content);
    fixture.expect("replaced 7");
    assert_ne!(category_state::codenames(&content), before);
    fixture.write("feed-codes.json", b"[]");
    fixture.stays("format: feed-codes.json");
    fixture.publish_with(|manifest| {
        manifest["codes"] = json!({"file": "feed-codes.json", "sha256": "0".repeat(64)})
    });
    fixture.stays("checksum: the SHA-256 of feed-codes.json is");
}

proptest! {
    // Each case writes and reads some dozen files.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Random publishing and fetching: at the end the spool has the producer's rows.
    #[test]
    fn any_history_followed_at_any_moments_ends_with_the_producers_rows(
        steps in prop::collection::vec(
            (prop::collection::vec((0u8..12, prop::option::of(1u8..5)), 0..6), any::<bool>(), 0u8..10, any::<bool>()), 1..14,
        ),
    ) {
        let mut fixture = BuildFixture::new();
        fixture.snapshot();
        for (changes, is_signed, event, is_asked) in steps {
            let path = |key: u8| if key.is_multiple_of(4) { "/x" } else { "" };
            let changes: Vec<_> = changes.into_iter().map(|(key, codes)| (format!("n{key}.example{}", path(key)), codes.map(|codes| codes.to_string()))).collect();
            fixture.change(&changes, is_signed);
            match event {
                0 | 1 => fixture.snapshot(),
                // Old files expire; the newest snapshot and its deltas stay.
                2 => {
                    fixture.snapshot();
                    fixture.snapshots.drain(..fixture.snapshots.len() - 1);
                    fixture.deltas.clear();
                }
                // A reset: numbers start over.
                3 => {
                    fixture.sequence = 0;
                    (fixture.snapshots, fixture.deltas) = (Vec::new(), Vec::new());
                    fixture.snapshot();
                }
                _ => {}
            }
            fixture.publish();
            if is_asked {
                fixture.fetch().unwrap();
                prop_assert_eq!(fixture.have(), fixture.rows.clone());
            }
        }
        fixture.publish();
        fixture.fetch().unwrap();
        prop_assert_eq!(fixture.have(), fixture.rows);
    }

    #[test]
    fn no_manifest_code_map_or_row_panics_their_readers(noise in any::<Vec<u8>>(), pieces in prop::collection::vec(0usize..20, 0..40)) {
        const PIECES: [&str; 20] = [
            "{", "}", "[", "]", ",", ":", "\"v\"", "1", "\"snapshots\"", "\"deltas\"", "\"file\"", "\"a.gz\"", "\"sequence\"", "\"sha256\"",
            "\"18446744073709551616\"", "18446744073709551615", "\"from\"", "null", "\"codes\"", "\"code\"",
        ];
        let text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        for octets in [&noise[..], text.as_bytes()] {
            let _ = FeedManifest::parse(octets).map(|manifest| manifest.route(Some(3)).is_ok());
            let _ = Codes::parse(octets);
            let row = Row::parse(octets);
            let normal = row.normal();
            prop_assert!(normal.len() <= octets.len() + 1 || !octets.is_ascii());
            // The canonical form of a row is its own canonical form.
            prop_assert_eq!(Row::parse(&normal).codes().collect::<Vec<_>>(), row.codes().collect::<Vec<_>>());
        }
    }

    #[test]
    fn any_graph_of_deltas_is_followed_to_its_end_or_refused(edges in prop::collection::vec((0u64..12, 1u64..6), 0..20), snapshot in 0u64..12, have in prop::option::of(0u64..16)) {
        let digest = "0".repeat(64);
        let deltas: Vec<_> = edges.iter().map(|(from, step)| json!({"name": "d", "seq": from + step, "prev": from, "sha256sum": digest})).collect();
        let json = json!({"version": "1", "snapshot": {"filename": "s", "serial": snapshot.to_string(), "checksum": digest}, "deltas": deltas});
        let manifest = FeedManifest::parse(json.to_string().as_bytes()).unwrap();
        if let Ok(route) = manifest.route(have) {
            let start = if let Some(snapshot) = route.snapshot { snapshot.sequence } else { have.unwrap() };
            let end = route.deltas.last().map_or(start, |delta| delta.sequence);
            prop_assert_eq!(Some(end), manifest.newest());
        }
    }
}
