//! Tests of the watcher: it detects every kind of change of a source. There are no sleeps; each
//! wait ends with the awaited event.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers with it")]

use std::{
    fs,
    path::Path,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use blocklist_loader::{Feed, Format, Watcher};
use policy::lists::entry::Scope;

/// Far above the quiet time and far below the rescan interval, so that only events can be the
/// cause.
const SOON: Duration = Duration::from_secs(60);

struct Watched {
    told: Receiver<()>,
    _watcher: Watcher,
}

impl Watched {
    fn new(source: &Path, format: Format) -> Self {
        let feed = Feed {
            scope: Some(Scope::Subtree),
            category: Some("ads".to_owned()),
            ..Feed::new(
                "feed".to_owned(),
                source.to_string_lossy().into_owned(),
                format,
            )
        };
        let (tell, told) = channel();
        let watcher =
            Watcher::start(vec![feed], move || tell.send(()).unwrap_or_default()).unwrap();
        let watched = Self {
            told,
            _watcher: watcher,
        };
        watched.expect("the start");
        watched
    }

    fn expect(&self, what: &str) {
        self.told
            .recv_timeout(SOON)
            .unwrap_or_else(|_| panic!("not told of {what}"));
    }
}

#[test]
fn a_file_is_watched_through_writes_renames_deletion_and_return() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    let aside = folder.path().join("aside");
    fs::write(&list, "a.example\n").unwrap();
    let watched = Watched::new(&list, Format::Domains);
    fs::write(&list, "a.example\nb.example\n").unwrap();
    watched.expect("a write in place");
    for round in 0..3 {
        fs::write(&aside, format!("{round}.example\n")).unwrap();
        fs::rename(&aside, &list).unwrap();
        watched.expect("a rename over it");
    }
    fs::remove_file(&list).unwrap();
    watched.expect("its deletion");
    fs::write(&list, "c.example\n").unwrap();
    watched.expect("its return");
}

#[test]
fn a_folder_is_watched_through_new_files_deletion_and_return() {
    let folder = tempfile::tempdir().unwrap();
    let lists = folder.path().join("deep/lists");
    let watched = Watched::new(&lists, Format::Domains);
    fs::create_dir_all(&lists).unwrap();
    watched.expect("the folder's first appearance");
    fs::write(lists.join("a"), "a.example\n").unwrap();
    watched.expect("a new file in it");
    for _ in 0..2 {
        fs::remove_dir_all(folder.path().join("deep")).unwrap();
        watched.expect("its deletion, with its parent");
        fs::create_dir_all(&lists).unwrap();
        watched.expect("its return");
        fs::write(lists.join("b"), "b.example\n").unwrap();
        watched.expect("a file in the folder that returned");
    }
}

#[test]
fn a_squidguard_folder_is_watched_to_its_bottom() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("games")).unwrap();
    fs::write(folder.path().join("games/domains"), "a.example\n").unwrap();
    let watched = Watched::new(folder.path(), Format::Squidguard);
    fs::write(
        folder.path().join("games/domains"),
        "b.example\nc.example\n",
    )
    .unwrap();
    watched.expect("a write in a sub-folder");
    fs::create_dir(folder.path().join("chat")).unwrap();
    fs::write(folder.path().join("chat/urls"), "d.example/e\n").unwrap();
    watched.expect("a new sub-folder");
    fs::write(folder.path().join("chat/domains"), "f.example\n").unwrap();
    watched.expect("a file in the new sub-folder");
}

#[test]
fn a_source_behind_a_symbolic_link_is_watched_at_its_far_end_too() {
    let folder = tempfile::tempdir().unwrap();
    for version in ["v1", "v2"] {
        fs::create_dir(folder.path().join(version)).unwrap();
        fs::write(folder.path().join(version).join("list"), "a.example\n").unwrap();
    }
    let current = folder.path().join("current");
    std::os::unix::fs::symlink("v1", &current).unwrap();
    let watched = Watched::new(&current.join("list"), Format::Domains);
    fs::write(folder.path().join("v1/list"), "b.example\nc.example\n").unwrap();
    watched.expect("a write at the far end");
    std::os::unix::fs::symlink("v2", folder.path().join("next")).unwrap();
    fs::rename(folder.path().join("next"), &current).unwrap();
    watched.expect("a link that points elsewhere now");
}
