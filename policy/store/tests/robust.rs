//! The store when its file fails: no room, rollbacks of the engine, a removed file, read-only
//! folders, and access rights.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use policy::rules::household::{Household, Id};
use policy_store::{
    ActivityStore, AttemptState, Author, ChangeError, FailureReason, Health, HouseholdChanged,
    Lock, OpenFault, Store, StoreError, WriteAttempt,
    activity::{CountedQuery, ErasureScope},
};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

/// More writes than the pool has connections.
const WRITES: usize = 12;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("data/store.db")
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.file().display())
    }

    fn history(&self) -> String {
        format!("sqlite:{}/data/history.db", self.0.path().display())
    }

    async fn open(&self) -> Store {
        Store::open(&self.url()).await.unwrap()
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        format!("{}{suffix}", self.file().display()).into()
    }
}

fn by() -> Author {
    Author {
        actor: "key:tests".into(),
        role: "operator".into(),
    }
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

/// A change that writes this many octets.
async fn write(
    store: &Store,
    octets: usize,
) -> Result<HouseholdChanged, ChangeError<&'static str>> {
    let change = move |before: Option<Household>| {
        let mut home = before.unwrap_or_else(|| Household::new(id("home")));
        home.locale = Some("x".repeat(octets));
        Ok(Some(home))
    };
    store.change(&by(), &id("home"), None, change).await
}

/// The file, as another program opens it.
async fn raw(url: &str) -> SqliteConnection {
    SqliteConnection::connect(url).await.unwrap()
}

async fn run(url: &str, statement: &str) {
    let mut raw = raw(url).await;
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut raw)
        .await
        .unwrap();
    raw.close().await.unwrap();
}

fn told(now: Timestamp, home: &str) -> CountedQuery {
    CountedQuery {
        household: id(home),
        device: None,
        at: now,
        days: 7,
        categories: vec![],
        blocked: None,
        sign: None,
    }
}

#[tokio::test]
async fn writes_work_again_after_rollbacks_by_the_engine() {
    // By a trigger, by a constraint, and by a foreign trigger on the audit, each more often than
    // there are connections.
    let rolls_back = "SELECT RAISE(ROLLBACK, 'rolled back')";
    for (breaks, mends) in [
        (format!("CREATE TRIGGER fails BEFORE INSERT ON household BEGIN {rolls_back}; END"), "DROP TRIGGER fails"),
        (format!("CREATE TRIGGER fails AFTER INSERT ON audit BEGIN {rolls_back}; END"), "DROP TRIGGER fails"),
        (
            "CREATE TABLE once (one INTEGER UNIQUE ON CONFLICT ROLLBACK); INSERT INTO once VALUES (1);
             CREATE TRIGGER fails AFTER INSERT ON household BEGIN INSERT INTO once VALUES (1); END"
                .to_owned(),
            "DROP TRIGGER fails; DROP TABLE once",
        ),
    ] {
        let place = Place::new();
        let store = place.open().await;
        run(&place.url(), &breaks).await;
        for _ in 0..WRITES {
            assert!(matches!(write(&store, 5).await, Err(ChangeError::Store(_))), "{breaks}");
        }
        run(&place.url(), mends).await;
        for version in 1..=WRITES as u64 {
            assert_eq!(write(&store, 5).await.unwrap().version, version, "{breaks}");
        }
        assert_eq!(store.verify_audit().await.unwrap().fault, None);
    }
}

#[tokio::test]
async fn counts_are_written_again_after_rollbacks_by_the_engine() {
    let place = Place::new();
    let activity = ActivityStore::open(&place.history()).await.unwrap();
    let now = Timestamp::now();
    run(
        &place.history(),
        "CREATE TRIGGER fails BEFORE INSERT ON activity BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
    )
    .await;
    run(
        &place.history(),
        "CREATE TRIGGER stays BEFORE DELETE ON activity BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
    )
    .await;
    for _ in 0..WRITES {
        activity.note([told(now, "home")], |_| true, now);
        activity.write_all(now).await.unwrap_err();
    }
    run(&place.history(), "DROP TRIGGER fails").await;
    for _ in 0..WRITES {
        activity.note([told(now, "home")], |_| true, now);
        activity.write_all(now).await.unwrap();
    }
    for _ in 0..WRITES {
        activity
            .forget(&id("home"), ErasureScope::All, now)
            .await
            .unwrap_err();
        activity.keep(&id("home"), 0, now).await.unwrap_err();
    }
    run(&place.history(), "DROP TRIGGER stays").await;
    for _ in 0..WRITES {
        activity
            .forget(&id("home"), ErasureScope::All, now)
            .await
            .unwrap();
    }
}

/// Runs `work` in a process of its own whose files are limited to this number of octets, because
/// the limit applies to a whole process.
fn in_little_room(test: &str) -> bool {
    const INSIDE: &str = "STORE_TEST_IN_LITTLE_ROOM";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let own = std::env::current_exe().unwrap();
    let limited = "trap '' XFSZ; exec \"$0\" --exact \"$1\" --nocapture";
    let output = std::process::Command::new("sh")
        .args(["-c", limited])
        .arg(own)
        .arg(test)
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    false
}

/// Limits the size of files that this process writes.
fn limit_files(octets: Option<u64>) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(
        Resource::Fsize,
        Rlimit {
            current: octets,
            maximum,
        },
    )
    .unwrap();
}

#[tokio::test]
async fn writes_work_again_when_there_is_room_again() {
    if !in_little_room("writes_work_again_when_there_is_room_again") {
        return;
    }
    let place = Place::new();
    let store = place.open().await;
    let activity = ActivityStore::open(&place.history()).await.unwrap();
    let now = Timestamp::now();
    write(&store, 5).await.unwrap();
    let health = store.health();
    assert_eq!(health.look().await, None);
    // The journals of both stores are this long, or longer.
    let octets = |path: &Path| fs::metadata(path).unwrap().len();
    let of_history = place.file().with_file_name("history.db-wal");
    let journal = octets(&place.beside("-wal")).min(octets(&of_history));
    limit_files(Some(journal));
    for _ in 0..WRITES {
        assert!(matches!(
            write(&store, 20_000).await,
            Err(ChangeError::Store(_))
        ));
        for number in 0..300 {
            activity.note([told(now, &format!("home-{number}"))], |_| true, now);
        }
        activity.write_all(now).await.unwrap_err();
    }
    assert_eq!(health.look().await.unwrap().reason, FailureReason::Io);
    assert_eq!(
        activity.health().look().await.unwrap().reason,
        FailureReason::Io
    );
    limit_files(None);
    for _ in 0..WRITES {
        write(&store, 20_000).await.unwrap();
        activity.write_all(now).await.unwrap();
    }
    assert_eq!(
        (health.look().await, activity.health().look().await),
        (None, None)
    );
}

/// Fills a database by limiting its pages to the present number. The limit applies to a connection,
/// so the store's own connections are used.
async fn fail_as_full(store: &Store, health: &Health) {
    for _ in 0..WRITES {
        write(store, 200_000).await.unwrap_err();
    }
    let failure = health.look().await.unwrap();
    assert!(
        matches!(failure.reason, FailureReason::Full | FailureReason::Io),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_full_file_system_is_reported_until_a_write_succeeds() {
    let Some(small) = SmallFileSystem::mount() else {
        eprintln!("NOT RUN: no file system can be mounted here");
        return;
    };
    let url = format!("sqlite:{}/store.db", small.0.path().display());
    let store = Store::open(&url).await.unwrap();
    write(&store, 5).await.unwrap();
    let health = store.health();
    assert_eq!(health.look().await, None);
    small.fill();
    fail_as_full(&store, &health).await;
    // Room left in the allocated journal does not count as room.
    let _ = write(&store, 1).await;
    assert!(health.look().await.is_some());
    assert_eq!(
        store
            .households(None, None, 10)
            .await
            .unwrap()
            .households
            .len(),
        1,
        "readers go on"
    );
    small.make_room();
    assert_eq!(health.look().await, None);
    for _ in 0..WRITES {
        write(&store, 5).await.unwrap();
    }
    store.close().await;
    small.fill();
    let refused = Store::open(&url).await.map(drop);
    assert!(
        matches!(
            &refused,
            Ok(())
                | Err(StoreError::Open {
                    fault: OpenFault::Full,
                    ..
                })
        ),
        "{refused:?}"
    );
}

/// A file system of a megabyte in memory; needs root.
struct SmallFileSystem(tempfile::TempDir);

impl SmallFileSystem {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(folder.path())
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self(folder))
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    fn fill(&self) {
        let mut filler = fs::File::options()
            .create(true)
            .append(true)
            .open(self.filler())
            .unwrap();
        while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .status();
    }
}

#[tokio::test]
async fn a_write_that_did_nothing_is_tried_again_under_its_name() {
    let place = Place::new();
    let store = place.open().await;
    let attempt =
        |body: &[u8]| WriteAttempt::new("key:a".into(), "k".into(), &[b"POST /"], &[body], false);
    assert_eq!(
        store.begin_once(&attempt(b"1")).await.unwrap(),
        AttemptState::Fresh
    );
    run(
        &place.url(),
        "CREATE TRIGGER stays BEFORE DELETE ON idempotency BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
    )
    .await;
    store.forget_attempt(&attempt(b"1")).await.unwrap_err();
    assert!(
        store
            .begin_once(&attempt(b"1"))
            .await
            .is_ok_and(|begun| begun == AttemptState::Fresh),
        "also while the file forgets nothing"
    );
    assert_eq!(
        store.begin_once(&attempt(b"1")).await.unwrap(),
        AttemptState::UnderWay
    );
    store.forget_attempt(&attempt(b"1")).await.unwrap_err();
    run(&place.url(), "DROP TRIGGER stays").await;
    assert_eq!(
        store.begin_once(&attempt(b"2")).await.unwrap(),
        AttemptState::Fresh
    );
    assert_eq!(
        store.begin_once(&attempt(b"1")).await.unwrap(),
        AttemptState::Other
    );
}

#[tokio::test]
async fn a_refused_change_is_no_failure_of_the_file() {
    let place = Place::new();
    let store = place.open().await;
    let health = store.health();
    store
        .change::<&str>(&by(), &id("home"), None, |_| Err("no"))
        .await
        .unwrap_err();
    store
        .change::<&str>(&by(), &id("home"), Some(9), |_| panic!("not asked"))
        .await
        .unwrap_err();
    assert_eq!((health.failure(), health.look().await), (None, None));
}

#[tokio::test]
async fn nothing_is_acknowledged_after_a_file_is_removed() {
    type Breaks = fn(&Place);
    let cases: [(&str, Breaks); 7] = [
        ("the database removed", |place| {
            fs::remove_file(place.file()).unwrap()
        }),
        ("the journal removed", |place| {
            fs::remove_file(place.beside("-wal")).unwrap()
        }),
        ("the index of the journal removed", |place| {
            fs::remove_file(place.beside("-shm")).unwrap()
        }),
        ("the folder removed", |place| {
            fs::remove_dir_all(place.0.path().join("data")).unwrap()
        }),
        ("the folder moved", |place| {
            fs::rename(place.0.path().join("data"), place.0.path().join("other")).unwrap()
        }),
        ("another database in its place", |place| {
            fs::copy(place.file(), place.beside(".copy")).unwrap();
            fs::rename(place.beside(".copy"), place.file()).unwrap();
        }),
        ("cut to nothing", |place| {
            fs::write(place.file(), "").unwrap()
        }),
    ];
    for (what, breaks) in cases {
        let place = Place::new();
        let store = place.open().await;
        write(&store, 5).await.unwrap();
        breaks(&place);
        // More writes than connections: none of them opens the path again.
        for _ in 0..WRITES {
            let refused = write(&store, 5).await;
            assert!(
                matches!(
                    refused,
                    Err(ChangeError::Store(StoreError::Vanished { .. }))
                ),
                "{what}: {refused:?}"
            );
        }
        assert_eq!(
            store.health().look().await.unwrap().reason,
            FailureReason::Vanished,
            "{what}"
        );
        if what.ends_with("removed") || what.ends_with("moved") {
            let made = place.file().exists()
                && what != "the journal removed"
                && what != "the index of the journal removed";
            assert!(!made, "{what}: a new file was made in its place");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_put_back_is_written_again() {
    let place = Place::new();
    let store = place.open().await;
    write(&store, 5).await.unwrap();
    let data = place.0.path().join("data");
    let aside = place.0.path().join("aside");
    fs::rename(&data, &aside).unwrap();
    write(&store, 5).await.unwrap_err();
    fs::rename(&aside, &data).unwrap();
    assert_eq!(write(&store, 5).await.unwrap().version, 2);
    assert_eq!(store.health().look().await, None);
}

#[tokio::test]
async fn the_message_says_what_is_wrong_with_the_place_of_the_store() {
    let place = Place::new();
    let folder = place.0.path().join("data");
    fs::create_dir(&folder).unwrap();
    let sound = {
        place.open().await.close().await;
        fs::read(place.file()).unwrap()
    };
    let said = async |url: &str| {
        let refused = Store::open(url).await.unwrap_err();
        let mut text = refused.to_string();
        let mut source = std::error::Error::source(&refused);
        while let Some(cause) = source {
            text += &format!(": {cause}");
            source = cause.source();
        }
        text
    };
    fs::remove_file(place.file()).unwrap();
    fs::create_dir(place.file()).unwrap();
    assert!(said(&place.url()).await.contains("is no file"));
    fs::remove_dir(place.file()).unwrap();
    let below_a_file = format!("sqlite:{}/data/plain/store.db", place.0.path().display());
    fs::write(folder.join("plain"), "x").unwrap();
    assert!(
        said(&below_a_file).await.contains("Not a directory")
            || said(&below_a_file).await.contains("File exists")
    );
    for (octets, expected) in [
        (
            b"no database at all, but long enough to have a header: ".repeat(20),
            "it is no SQLite database",
        ),
        (sound[..sound.len() / 2].to_vec(), "it is damaged"),
    ] {
        fs::write(place.file(), octets).unwrap();
        let text = said(&place.url()).await;
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(
        fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
        mode_of_new_folder(&place),
        "no mode of a foreign folder is changed"
    );
}

fn mode_of_new_folder(place: &Place) -> u32 {
    let path = place.0.path().join("new");
    fs::create_dir(&path).unwrap();
    fs::metadata(&path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_read_only_file_system_is_named_as_the_reason() {
    let Some(small) = SmallFileSystem::mount() else {
        eprintln!("NOT RUN: no file system can be mounted here");
        return;
    };
    let url = format!("sqlite:{}/store.db", small.0.path().display());
    let is_remounted = |how: &str| {
        let remounted = std::process::Command::new("mount")
            .args(["-o", how])
            .arg(small.0.path())
            .output();
        assert!(
            remounted.is_ok_and(|output| output.status.success()),
            "{how}"
        );
    };
    let reason = |refused: StoreError| {
        std::error::Error::source(&refused)
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    is_remounted("remount,ro");
    let refused = reason(Store::open(&url).await.unwrap_err());
    assert!(refused.contains("Read-only file system"), "{refused}");
    assert!(matches!(Lock::take(&url), Err(StoreError::Access { .. })));
    is_remounted("remount,rw");
    Store::open(&url).await.unwrap().close().await;
    is_remounted("remount,ro");
    let refused = reason(Store::open(&url).await.unwrap_err());
    assert!(refused.contains("Read-only file system"), "{refused}");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_files_of_the_stores_are_their_owners_alone() {
    let place = Place::new();
    let store = place.open().await;
    let activity = ActivityStore::open(&place.history()).await.unwrap();
    write(&store, 5).await.unwrap();
    let _lock = Lock::take(&place.url()).unwrap();
    let now = Timestamp::now();
    activity.note([told(now, "home")], |_| true, now);
    activity.write_all(now).await.unwrap();
    let data = place.0.path().join("data");
    assert_eq!(mode(&data), 0o700);
    let files: Vec<_> = fs::read_dir(&data)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_store_that_others_can_read_is_closed_to_them_at_the_start() {
    let place = Place::new();
    let store = place.open().await;
    write(&store, 5).await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        fs::set_permissions(place.beside(suffix), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let again = place.open().await;
    for suffix in ["", "-wal", "-shm"] {
        assert_eq!(mode(&place.beside(suffix)), 0o600, "{suffix}");
    }
    drop((store, again));
}

#[test]
fn one_store_has_one_daemon() {
    let place = Place::new();
    let lock = Lock::take(&place.url()).unwrap();
    let refused = Lock::take(&place.url()).unwrap_err();
    assert!(
        matches!(refused, StoreError::Locked { process, .. } if process == Some(std::process::id())),
        "{refused:?}"
    );
    // Another path of the same folder, and of the same file.
    let link = place.0.path().join("link");
    std::os::unix::fs::symlink(place.0.path().join("data"), &link).unwrap();
    assert!(matches!(
        Lock::take(&format!("sqlite:{}/store.db", link.display())),
        Err(StoreError::Locked { .. })
    ));
    fs::write(place.file(), "").unwrap();
    let alias = place.0.path().join("alias.db");
    std::os::unix::fs::symlink(place.file(), &alias).unwrap();
    assert!(matches!(
        Lock::take(&format!("sqlite:{}", alias.display())),
        Err(StoreError::Locked { .. })
    ));
    assert!(
        Lock::take(&place.history()).is_ok(),
        "another store is another lock"
    );
    drop(lock);
    assert!(Lock::take(&place.url()).is_ok());
}
