//! Tests of the spool: readers get what was written, and a writer that stops at any step leaves the
//! old or the new content.

use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;

struct BuildFixture {
    folder: tempfile::TempDir,
    spool: Spool,
}

impl BuildFixture {
    fn new(key: RowKey) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(&folder.path().join("feed"), key).unwrap();
        Self { folder, spool }
    }

    /// A spool with a first content.
    fn with(key: RowKey, rows: &[&str], state: u32) -> Self {
        let fixture = Self::new(key);
        fixture.replace(rows, state).unwrap();
        fixture
    }

    fn replace(&self, rows: &[&str], state: u32) -> io::Result<()> {
        let mut writer = self.spool.snapshot()?;
        rows.iter().try_for_each(|row| writer.row(row.as_bytes()))?;
        writer.commit(&state)
    }

    fn append(&self, changes: &[&str], state: u32) -> io::Result<()> {
        let rows: Vec<RowChange> = changes
            .iter()
            .map(|change| RowChange {
                added: change.starts_with('+'),
                row: change.as_bytes()[1..].to_owned(),
            })
            .collect();
        self.spool.append(&rows, &state)
    }

    /// Everything that a reader can see.
    fn seen(&self) -> (Vec<String>, Option<u32>) {
        let mut rows = Vec::new();
        let content = content_of(&self.folder.path().join("feed"));
        for_each_row(&content, self.spool.key, &mut |row| {
            rows.push(String::from_utf8(row.to_owned()).unwrap())
        })
        .unwrap();
        (rows, self.spool.state())
    }

    fn files(&self) -> usize {
        std::fs::read_dir(content_of(&self.folder.path().join("feed")))
            .unwrap()
            .count()
    }
}

#[test]
fn rows_stand_as_the_last_word_about_their_key_left_them() {
    let fixture = BuildFixture::new(RowKey::UpToTab);
    assert_eq!(fixture.seen(), (vec![], None));
    assert!(fixture.append(&["+a\t1"], 1).is_err());
    fixture.replace(&["a\t1", "b\t2", "c\t3"], 1).unwrap();
    assert_eq!(
        fixture.seen(),
        (vec!["a\t1".into(), "b\t2".into(), "c\t3".into()], Some(1))
    );
    fixture
        .append(&["-b", "+d\t4", "+a\t9", "-absent"], 2)
        .unwrap();
    fixture
        .append(&["+b\t5", "-d\t4", "-c", "+c\t6"], 3)
        .unwrap();
    let rows: Vec<String> = ["a\t9", "b\t5", "c\t6"].map(str::to_owned).into();
    assert_eq!(fixture.seen(), (rows.clone(), Some(3)));
    fixture.spool.fold().unwrap();
    assert_eq!(fixture.seen(), (rows, Some(3)));
    assert_eq!(fixture.files(), 1);

    let fixture = BuildFixture::with(RowKey::WholeRow, &["a\t1", "a\t2"], 1);
    fixture.append(&["-a\t1", "+a\t3", "+a\t2"], 2).unwrap();
    assert_eq!(fixture.seen().0, ["a\t2", "a\t3"]);
}

#[test]
fn a_row_that_would_be_two_is_refused_and_nothing_changes() {
    let fixture = BuildFixture::with(RowKey::WholeRow, &["a"], 1);
    assert!(fixture.append(&["+b", "+c\nd"], 2).is_err());
    assert!(fixture.replace(&["x\ny"], 2).is_err());
    assert_eq!(
        (fixture.seen(), fixture.files()),
        ((vec!["a".into()], Some(1)), 1)
    );
    // Nor does an uncommitted content.
    fixture.spool.snapshot().unwrap().row(b"z").unwrap();
    assert_eq!(
        (fixture.seen(), fixture.files()),
        ((vec!["a".into()], Some(1)), 1)
    );
}

#[test]
fn deltas_are_folded_when_they_weigh_on_the_reader() {
    let rows: Vec<String> = (0..1000).map(|number| format!("{number:04}\t1")).collect();
    let fixture = BuildFixture::with(
        RowKey::UpToTab,
        &rows.iter().map(String::as_str).collect::<Vec<_>>(),
        1,
    );
    assert!(!fixture.spool.should_be_folded());
    fixture.append(&["+new\t1"], 2).unwrap();
    assert!(!fixture.spool.should_be_folded());
    let many: Vec<String> = (0..300).map(|number| format!("+{number:04}\t2")).collect();
    fixture
        .append(&many.iter().map(String::as_str).collect::<Vec<_>>(), 3)
        .unwrap();
    assert!(fixture.spool.should_be_folded());
    fixture.spool.fold().unwrap();
    assert!(!fixture.spool.should_be_folded());
    (0..=DELTAS_MAX).for_each(|_| fixture.append(&["-x"], 4).unwrap());
    assert!(fixture.spool.should_be_folded());
}

#[test]
fn the_digest_follows_the_content_and_nothing_else() {
    let digest =
        |fixture: &BuildFixture| content_digest(&content_of(&fixture.spool.folder)).unwrap();
    let one = BuildFixture::with(RowKey::WholeRow, &["a"], 1);
    let other = BuildFixture::with(RowKey::WholeRow, &["a"], 2);
    assert_eq!(digest(&one), digest(&other));
    one.append(&["+b"], 3).unwrap();
    assert_ne!(digest(&one), digest(&other));
    let before = digest(&one);
    one.spool.set_state(&9).unwrap();
    one.spool.fold().unwrap();
    assert_eq!((digest(&one), one.seen().1), (before, Some(9)));
}

#[test]
fn a_state_of_another_version_or_a_damaged_one_means_fetching_anew() {
    let fixture = BuildFixture::with(RowKey::WholeRow, &["a"], 1);
    assert_eq!(fixture.spool.state::<String>(), None);
    std::fs::write(fixture.spool.folder.join(STATE), "{").unwrap();
    assert_eq!(fixture.spool.state::<u32>(), None);
    let spool = Spool::open(&fixture.spool.folder, RowKey::WholeRow).unwrap();
    assert_eq!((spool.state::<u32>(), fixture.files()), (None, 0));
    fixture.replace(&["b"], 2).unwrap();
    std::fs::remove_file(
        whole_file(&content_of(&fixture.spool.folder))
            .unwrap()
            .unwrap(),
    )
    .unwrap();
    assert_eq!(fixture.spool.state::<u32>(), None);
}

#[test]
fn a_feeds_folder_has_a_plain_name_whatever_the_feed_is_called() {
    let name = |feed| {
        folder_of(Path::new("/l"), feed)
            .to_string_lossy()
            .into_owned()
    };
    assert_eq!(name("ut1-adult_2.x"), "/l/feeds/ut1-adult_2.x");
    assert_eq!(name(".."), "/l/feeds/%2E.");
    assert_eq!(name("é a%"), "/l/feeds/%C3%A9%20a%25");
}

/// Stops the program after each step of `write` in turn, and checks what is there.
fn die_everywhere(
    before: impl Fn() -> BuildFixture,
    write: impl Fn(&BuildFixture) -> io::Result<()>,
    folds: bool,
) {
    let old = before().seen();
    let new = {
        let fixture = before();
        write(&fixture).unwrap();
        fixture.seen()
    };
    assert!(folds || old != new);
    let mut saw_old = false;
    let mut saw_new = false;
    for steps in 0.. {
        let fixture = before();
        crash::STEPS_LEFT.set(Some(steps));
        let result = write(&fixture);
        crash::STEPS_LEFT.set(None);
        for _ in 0..2 {
            let seen = fixture.seen();
            assert!(seen == old || seen == new, "after {steps} steps: {seen:?}");
            saw_old |= seen == old;
            saw_new |= seen == new;
            // The next start finds the same content, and a new write succeeds.
            Spool::open(&fixture.spool.folder, fixture.spool.key).unwrap();
            assert_eq!(fixture.seen(), seen, "after {steps} steps");
        }
        let named = SpoolState::read(&fixture.spool.folder)
            .unwrap()
            .files(Path::new(""))
            .len();
        assert_eq!(
            fixture.files(),
            named,
            "after {steps} steps something was left"
        );
        write(&fixture).unwrap();
        assert_eq!(fixture.seen(), new, "after {steps} steps");
        if result.is_ok() && steps > 20 {
            break;
        }
    }
    assert!(saw_old && saw_new);
}

#[test]
fn a_writer_that_dies_at_any_step_leaves_the_old_content_or_the_new_one() {
    let full = || {
        let fixture = BuildFixture::with(RowKey::UpToTab, &["a\t1", "b\t2"], 1);
        fixture.append(&["+c\t3", "-a"], 2).unwrap();
        fixture
    };
    die_everywhere(
        || BuildFixture::new(RowKey::UpToTab),
        |fixture| fixture.replace(&["a\t1"], 7),
        false,
    );
    die_everywhere(full, |fixture| fixture.replace(&["x\t1", "b\t3"], 7), false);
    die_everywhere(full, |fixture| fixture.append(&["+x\t1", "-b"], 7), false);
    die_everywhere(full, |fixture| fixture.spool.fold(), true);
    die_everywhere(full, |fixture| fixture.spool.set_state(&8), false);
}

#[test]
fn a_reader_beside_a_busy_writer_sees_one_content_at_a_time() {
    let fixture = BuildFixture::with(RowKey::UpToTab, &["n\t0", "m\t0"], 0);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in (1..60).map(|round| round * 2) {
                fixture
                    .append(&[&format!("+n\t{round}"), &format!("+m\t{round}")], round)
                    .unwrap();
                let next = round + 1;
                fixture
                    .replace(&[&format!("n\t{next}"), &format!("m\t{next}")], next)
                    .unwrap();
            }
            is_done.store(true, Ordering::Release);
        });
        while !is_done.load(Ordering::Acquire) {
            let mut values = Vec::new();
            let content = content_of(&fixture.spool.folder);
            for_each_row(&content, RowKey::UpToTab, &mut |row| {
                values.push(row[2..].to_owned())
            })
            .unwrap();
            assert!(values.len() == 2 && values[0] == values[1], "{values:?}");
        }
    });
}

proptest! {
    // Each case writes and syncs a dozen files.
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_history_ends_with_the_rows_that_a_map_would_have(
        snapshot in prop::collection::btree_map(0u8..30, 0u8..9, 0..20),
        deltas in prop::collection::vec((prop::collection::vec((0u8..30, prop::option::of(0u8..9)), 0..9), any::<bool>()), 0..6),
    ) {
        let row = |key: u8, value: u8| format!("{key}\t{value}");
        let rows: Vec<String> = snapshot.iter().map(|(&key, &value)| row(key, value)).collect();
        let fixture = BuildFixture::with(RowKey::UpToTab, &rows.iter().map(String::as_str).collect::<Vec<_>>(), 0);
        let mut expected = snapshot;
        for (changes, fold) in deltas {
            let mut lines = Vec::new();
            for (key, value) in changes {
                match value {
                    Some(value) => drop((expected.insert(key, value), lines.push(RowChange::added(row(key, value))))),
                    None => drop((expected.remove(&key), lines.push(RowChange::removed(key.to_string())))),
                }
            }
            fixture.spool.append(&lines, &1).unwrap();
            if fold {
                fixture.spool.fold().unwrap();
            }
        }
        let mut seen = fixture.seen().0;
        let mut expected: Vec<String> = expected.into_iter().map(|(key, value)| row(key, value)).collect();
        seen.sort();
        expected.sort();
        prop_assert_eq!(seen, expected);
    }
}
