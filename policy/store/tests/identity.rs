//! The identity of the store: a node that had one never gets an empty one, and the audit is as it
//! was written.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use policy_store::{
    AuditEntry, Author, SignedHead, SortOrder, Store, StoreError, StorePaths, verify_archive,
};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("data/store.db")
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.file().display())
    }

    async fn try_start(
        &self,
        is_new: bool,
        evidence: &[&Path],
    ) -> Result<(Store, Vec<String>), StoreError> {
        Store::serve(
            &StorePaths {
                url: &self.url(),
                lists: &self.path("data/lists"),
            },
            is_new,
            evidence,
        )
        .await
    }

    async fn start(&self) -> Store {
        self.start_with_findings().await.0
    }

    async fn start_with_findings(&self) -> (Store, Vec<String>) {
        self.try_start(false, &[]).await.unwrap()
    }

    /// A store that has run, with this number of rows in its audit.
    async fn with_rows(rows: u64) -> Self {
        let node = Self::new();
        let store = node.start().await;
        append(&store, rows).await;
        store.close().await;
        node
    }

    async fn command(&self) -> Result<Store, StoreError> {
        Store::open_existing(&StorePaths {
            url: &self.url(),
            lists: &self.path("data/lists"),
        })
        .await
    }

    /// Executes statements that bypass the store.
    async fn around(&self, statements: &str) {
        let mut raw = SqliteConnection::connect(&self.url()).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&mut raw)
            .await
            .unwrap();
        raw.close().await.unwrap();
    }

    /// Changes a row and recomputes the chain from there on, as an attacker can after removing the
    /// triggers.
    async fn forge(&self, sequence: u64) {
        let mut raw = SqliteConnection::connect(&self.url()).await.unwrap();
        let triggers = "DROP TRIGGER IF EXISTS audit_is_never_changed; DROP TRIGGER IF EXISTS audit_is_never_deleted;
            DROP TRIGGER IF EXISTS audit_only_grows";
        sqlx::raw_sql(triggers).execute(&mut raw).await.unwrap();
        let rows: Vec<(i64, String, String, String)> =
            sqlx::query_as("SELECT sequence, actor, action, subject FROM audit ORDER BY sequence")
                .fetch_all(&mut raw)
                .await
                .unwrap();
        let from = sequence.cast_signed();
        sqlx::query("DELETE FROM audit WHERE sequence >= ?")
            .bind(from)
            .execute(&mut raw)
            .await
            .unwrap();
        raw.close().await.unwrap();
        // Without the key, the forger can only open the store without `serve`, which signs nothing.
        let store = Store::open(&self.url()).await.unwrap();
        for (number, actor, action, subject) in
            rows.into_iter().filter(|(number, ..)| *number >= from)
        {
            let actor = if number == from {
                "key:forged".to_owned()
            } else {
                actor
            };
            let deed = AuditEntry {
                action: &action,
                subject: &subject,
                before: None,
                after: None,
            };
            store
                .append_audit(
                    &Author {
                        actor,
                        role: "operator".to_owned(),
                    },
                    deed,
                )
                .await
                .unwrap();
        }
        store.close().await;
    }
}

fn by() -> Author {
    Author {
        actor: "key:a".to_owned(),
        role: "operator".to_owned(),
    }
}

async fn append(store: &Store, rows: u64) {
    for number in 0..rows {
        let after = json!({ "number": number });
        let deed = AuditEntry {
            action: "change",
            subject: "lists",
            before: None,
            after: Some(&after),
        };
        store
            .append_audit(
                &Author {
                    actor: "key:a".to_owned(),
                    role: "operator".to_owned(),
                },
                deed,
            )
            .await
            .unwrap();
    }
}

/// The first row that does not fit, and the reason.
async fn fault(store: &Store) -> Option<(u64, String)> {
    store
        .verify_audit()
        .await
        .unwrap()
        .fault
        .map(|fault| (fault.sequence, fault.detail))
}

const DELETABLE: &str = "DROP TRIGGER audit_is_never_deleted;";

#[tokio::test]
async fn a_first_start_makes_a_store_and_the_next_one_finds_it() {
    let node = Node::new();
    let (store, findings) = node
        .try_start(false, &[&node.path("history.db")])
        .await
        .unwrap();
    assert!(findings.is_empty());
    append(&store, 3).await;
    store.close().await;
    let (store, findings) = node.try_start(false, &[&node.file()]).await.unwrap();
    assert_eq!(
        (findings, store.verify_audit().await.unwrap().signed),
        (vec![], Some(3))
    );
}

#[tokio::test]
async fn a_node_that_had_a_store_does_not_start_with_an_empty_one() {
    type Breaks = fn(&Node);
    let truncate: Breaks = |node| fs::write(node.file(), "").unwrap();
    let remove: Breaks = |node| fs::remove_file(node.file()).unwrap();
    let empty: Breaks = |node| {
        // A database with a header and no table.
        fs::remove_file(node.file()).unwrap();
        let made = std::process::Command::new("sqlite3")
            .arg(node.file())
            .arg("PRAGMA user_version = 1")
            .status();
        assert!(made.is_ok_and(|status| status.success()));
    };
    for (what, breaks, is_empty) in [
        ("truncated", truncate, true),
        ("removed", remove, false),
        ("without tables", empty, true),
    ] {
        for only in [
            "both markers",
            "the marker beside the store",
            "the marker of the lists",
            "the key",
            "none",
        ] {
            let node = Node::with_rows(2).await;
            breaks(&node);
            let gone: &[&str] = match only {
                "both markers" => &[],
                "the marker beside the store" => &["lists/store.node", "store.db.audit-key"],
                "the marker of the lists" => &["store.db.node", "store.db.audit-key"],
                "the key" => &["store.db.node", "lists/store.node"],
                _ => &["store.db.node", "lists/store.node", "store.db.audit-key"],
            };
            gone.iter()
                .for_each(|name| fs::remove_file(node.path("data").join(name)).unwrap());
            let octets = fs::read(node.file()).unwrap_or_default();
            let started = node.try_start(false, &[]).await;
            if only == "none" {
                assert!(
                    started.is_ok(),
                    "{what}: nothing shows that there was a store"
                );
                continue;
            }
            let refused = started
                .err()
                .unwrap_or_else(|| panic!("{what}, {only}: a first start"));
            let text = refused.to_string();
            assert!(
                matches!(refused, StoreError::Lost { is_empty: found, .. } if found == is_empty),
                "{what}, {only}: {text}"
            );
            assert!(
                text.contains("--new-store") && text.contains("store.db"),
                "{text}"
            );
            assert_eq!(
                fs::read(node.file()).unwrap_or_default(),
                octets,
                "{what}: nothing was made"
            );
            let (store, _) = node.try_start(true, &[]).await.unwrap();
            assert!(store.has_no_key().await.unwrap());
            store.close().await;
            node.start().await.close().await;
        }
    }
}

#[tokio::test]
async fn what_lies_beside_a_missing_store_shows_that_there_was_one() {
    let node = Node::new();
    fs::create_dir_all(node.path("data")).unwrap();
    fs::write(node.path("data/store.db-wal"), "a journal").unwrap();
    assert!(matches!(
        node.try_start(false, &[]).await,
        Err(StoreError::Lost { .. })
    ));
    let node = Node::new();
    fs::write(node.path("history.db"), "counts").unwrap();
    let refused = node
        .try_start(false, &[&node.path("history.db")])
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("history.db"), "{refused}");
}

#[tokio::test]
async fn a_new_store_is_never_begun_over_one_that_is_there() {
    let node = Node::with_rows(2).await;
    assert!(matches!(
        node.try_start(true, &[]).await,
        Err(StoreError::AlreadyThere { .. })
    ));
    assert_eq!(node.start().await.verify_audit().await.unwrap().rows, 2);
}

#[tokio::test]
async fn the_store_of_another_node_is_refused_until_the_marker_is_taken_away() {
    let node = Node::with_rows(1).await;
    let other = Node::with_rows(4).await;
    fs::copy(other.file(), node.file()).unwrap();
    let refused = node.try_start(false, &[]).await.err().unwrap();
    let text = refused.to_string();
    assert!(
        matches!(refused, StoreError::OtherNode { .. }) && text.contains("store.db.node"),
        "{text}"
    );
    assert!(matches!(
        node.command().await,
        Err(StoreError::OtherNode { .. })
    ));
    // Even with its own marker and key beside it, the marker in the folder of the lists differs.
    for name in ["data/store.db.node", "data/store.db.audit-key"] {
        fs::copy(other.path(name), node.path(name)).unwrap();
    }
    let text = node.try_start(false, &[]).await.err().unwrap().to_string();
    assert!(text.contains("lists/store.node"), "{text}");
    fs::remove_file(node.path("data/lists/store.node")).unwrap();
    assert_eq!(node.start().await.verify_audit().await.unwrap().rows, 4);
}

#[tokio::test]
async fn a_store_of_an_earlier_version_is_taken_over_with_its_rows() {
    let node = Node::new();
    let store = Store::open(&node.url()).await.unwrap();
    append(&store, 3).await;
    store.close().await;
    fs::create_dir_all(node.path("data/lists")).unwrap();
    let (store, findings) = node
        .try_start(false, &[&node.path("data/lists")])
        .await
        .unwrap();
    let report = store.verify_audit().await.unwrap();
    assert_eq!(
        (findings, report.rows, report.signed, report.fault),
        (vec![], 3, Some(3), None)
    );
}

#[tokio::test]
async fn a_command_makes_no_store_and_names_the_place_where_it_looked() {
    let node = Node::new();
    let refused = node.command().await.err().unwrap();
    assert!(
        matches!(
            refused,
            StoreError::Missing {
                is_empty: false,
                ..
            }
        ) && refused.to_string().contains("data/store.db"),
        "{refused}"
    );
    assert!(!node.path("data").exists(), "not even its folder");
    fs::create_dir(node.path("data")).unwrap();
    fs::write(node.file(), "").unwrap();
    assert!(matches!(
        node.command().await,
        Err(StoreError::Missing { is_empty: true, .. })
    ));
    assert_eq!(fs::read_dir(node.path("data")).unwrap().count(), 1);
}

#[tokio::test]
async fn commands_beside_a_daemon_sign_what_they_write() {
    let node = Node::new();
    let daemon = node.start().await;
    append(&daemon, 2).await;
    let command = node.command().await.unwrap();
    append(&command, 2).await;
    append(&daemon, 2).await;
    append(&command, 1).await;
    command.close().await;
    let report = daemon.verify_audit().await.unwrap();
    assert_eq!(
        (report.rows, report.signed, report.fault),
        (7, Some(7), None)
    );
    daemon.close().await;
    assert_eq!(node.start_with_findings().await.1, Vec::<String>::new());
}

#[tokio::test]
async fn rows_that_are_cut_off_are_missed_at_once_and_after_a_start() {
    let node = Node::with_rows(8).await;
    node.around(&format!("{DELETABLE} DELETE FROM audit WHERE sequence > 5"))
        .await;
    let store = node.command().await.unwrap();
    let (row, detail) = fault(&store).await.unwrap();
    assert!(
        row == 6 && detail.contains("row 8 was signed"),
        "{row}: {detail}"
    );
    store.close().await;
    let (store, findings) = node.start_with_findings().await;
    assert!(
        findings
            .iter()
            .any(|finding| finding.contains("audit_is_never_deleted")),
        "{findings:?}"
    );
    assert!(
        findings.iter().any(|finding| finding.contains("row 8")),
        "{findings:?}"
    );
    // The rows that report it do not hide it.
    append(&store, 10).await;
    assert_eq!(fault(&store).await.unwrap().0, 6);
    let told = store
        .audit(Some("audit"), SortOrder::Oldest, None, 10)
        .await
        .unwrap()
        .records;
    assert_eq!(
        told.iter()
            .map(|row| row.action.as_str())
            .collect::<Vec<_>>(),
        ["head_lost", "triggers_restored"]
    );
    assert_eq!(told[0].before.as_ref().unwrap()["sequence"], 8);
    store.close().await;
    assert_eq!(
        node.start_with_findings().await.1,
        Vec::<String>::new(),
        "told once"
    );
}

#[tokio::test]
async fn rows_that_are_cut_off_with_all_heads_are_missed() {
    let node = Node::with_rows(8).await;
    node.around(&format!(
        "{DELETABLE} DELETE FROM audit WHERE sequence > 5; DELETE FROM audit_head;"
    ))
    .await;
    for marker in ["data/store.db.node", "data/lists/store.node"] {
        fs::remove_file(node.path(marker)).unwrap();
    }
    let store = node.command().await.unwrap();
    let (row, detail) = fault(&store).await.unwrap();
    assert!(
        row == 6 && detail.contains("no signed head"),
        "{row}: {detail}"
    );
    store.close().await;
    let (store, findings) = node.start_with_findings().await;
    let said = |findings: &[String]| findings.iter().any(|text| text.contains("no signed head"));
    assert!(said(&findings), "{findings:?}");
    let page = store
        .audit(Some("audit"), SortOrder::Oldest, None, 10)
        .await
        .unwrap();
    assert_eq!(page.records[0].action, "heads_missing");
    store.close().await;
    let (_store, findings) = node.start_with_findings().await;
    assert!(!said(&findings), "told once: {findings:?}");
}

#[tokio::test]
async fn rows_that_are_cut_off_under_a_running_daemon_are_missed() {
    let node = Node::new();
    let store = node.start().await;
    append(&store, 8).await;
    node.around(&format!("{DELETABLE} DELETE FROM audit WHERE sequence > 5"))
        .await;
    assert_eq!(fault(&store).await.unwrap().0, 6);
    assert!(!store.take_audit_loss());
    append(&store, 9).await;
    assert!(store.take_audit_loss() && !store.take_audit_loss());
    assert_eq!(
        fault(&store).await.unwrap().0,
        6,
        "new rows in their place do not fit"
    );
    node.around("DELETE FROM audit").await;
    append(&store, 1).await;
    assert!(fault(&store).await.is_some(), "all rows are gone");
}

#[tokio::test]
async fn a_changed_row_is_noticed_even_if_the_chain_is_recomputed() {
    for row in [1, 4, 8] {
        let node = Node::with_rows(8).await;
        node.forge(row).await;
        let store = node.command().await.unwrap();
        let report = store.verify_audit().await.unwrap();
        assert_eq!(
            (report.rows, report.fault.is_some()),
            (8, true),
            "row {row}: {report:?}"
        );
        assert!(
            report
                .fault
                .unwrap()
                .detail
                .contains("not the one that was signed")
        );
        store.close().await;
        let (store, findings) = node.start_with_findings().await;
        assert!(
            findings.iter().any(|finding| finding.contains("row 8")),
            "{findings:?}"
        );
        append(&store, 3).await;
        assert!(fault(&store).await.is_some());
    }
}

#[tokio::test]
async fn a_head_kept_elsewhere_tells_where_the_rows_differ() {
    let node = Node::new();
    let store = node.start().await;
    let mut heads = Vec::new();
    for _ in 0..3 {
        append(&store, 3).await;
        heads.push(store.signed_head().unwrap().unwrap());
    }
    assert_eq!(
        heads.iter().map(|head| head.sequence).collect::<Vec<_>>(),
        [3, 6, 9]
    );
    let text = heads
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(SignedHead::find_all(&text), heads);
    assert_eq!(
        store.verify_audit_with(&heads, None).await.unwrap().fault,
        None
    );
    store.close().await;
    node.forge(5).await;
    // Both markers are the forger's as well.
    for marker in ["data/store.db.node", "data/lists/store.node"] {
        fs::remove_file(node.path(marker)).unwrap();
    }
    node.around(concat!(
        "CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit\nBEGIN\n    ",
        "SELECT RAISE(ABORT, 'the audit is append-only: no row is changed');\nEND"
    ))
    .await;
    let store = node.command().await.unwrap();
    let report = store.verify_audit_with(&heads, None).await.unwrap();
    let fault = report.fault.unwrap();
    assert_eq!(
        (report.rows, report.signed, fault.sequence),
        (9, Some(3), 4),
        "{}",
        fault.detail
    );
}

#[tokio::test]
async fn a_head_that_is_forged_or_of_another_store_is_named() {
    let node = Node::with_rows(3).await;
    let other = Node::with_rows(3).await;
    let store = node.start().await;
    let foreign = other.start().await.signed_head().unwrap().unwrap();
    let head = store.signed_head().unwrap().unwrap();
    let forged: SignedHead = head
        .to_string()
        .replace(&head.hash, &"0".repeat(64))
        .parse()
        .unwrap();
    for (head, expected) in [
        (foreign.clone(), "another key or is another store's"),
        (forged, "was changed"),
    ] {
        let detail = store
            .verify_audit_with(&[head], None)
            .await
            .unwrap()
            .fault
            .unwrap()
            .detail;
        assert!(detail.contains(expected), "{detail}");
    }
    assert_eq!(
        store
            .verify_audit_with(&[], Some(&head.key))
            .await
            .unwrap()
            .fault,
        None
    );
    assert!(
        store
            .verify_audit_with(&[], Some(&foreign.key))
            .await
            .unwrap()
            .fault
            .is_some()
    );
}

#[tokio::test]
async fn a_key_that_is_exchanged_is_noticed() {
    let node = Node::with_rows(3).await;
    fs::remove_file(node.path("data/store.db.audit-key")).unwrap();
    let (store, findings) = node.start_with_findings().await;
    assert!(
        findings.iter().any(|finding| finding.contains("row 3")),
        "{findings:?}"
    );
    assert!(fault(&store).await.unwrap().1.contains("another key"));
}

#[tokio::test]
async fn triggers_are_restored_whatever_was_done_to_them() {
    for breaks in [
        "DROP TRIGGER audit_only_grows",
        "DROP TRIGGER audit_is_never_changed; DROP TRIGGER audit_is_never_deleted",
        "DROP TRIGGER audit_is_never_deleted; CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit BEGIN SELECT 1; END",
        "CREATE TRIGGER hides BEFORE INSERT ON audit BEGIN SELECT RAISE(IGNORE); END",
    ] {
        let node = Node::with_rows(2).await;
        node.around(breaks).await;
        let store = node.command().await.unwrap();
        assert!(
            fault(&store).await.unwrap().1.contains("trigger"),
            "{breaks}"
        );
        store.close().await;
        let (store, findings) = node.start_with_findings().await;
        assert_eq!(findings.len(), 1, "{breaks}: {findings:?}");
        assert_eq!(fault(&store).await, None, "{breaks}");
        append(&store, 1).await;
        store.close().await;
        let mut raw = SqliteConnection::connect(&node.url()).await.unwrap();
        for statement in [
            "UPDATE audit SET actor = 'x'",
            "DELETE FROM audit WHERE sequence = 1",
        ] {
            assert!(
                sqlx::query(statement).execute(&mut raw).await.is_err(),
                "{breaks}: {statement}"
            );
        }
        let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM audit")
            .fetch_one(&mut raw)
            .await
            .unwrap();
        assert_eq!(count, 4, "{breaks}");
    }
}

#[tokio::test]
async fn a_row_that_a_foreign_trigger_leaves_out_fails_its_change() {
    let node = Node::new();
    let store = node.start().await;
    node.around("CREATE TRIGGER hides BEFORE INSERT ON audit BEGIN SELECT RAISE(IGNORE); END")
        .await;
    let deed = AuditEntry {
        action: "change",
        subject: "lists",
        before: None,
        after: None,
    };
    assert!(
        store
            .append_audit(
                &Author {
                    actor: "key:a".to_owned(),
                    role: "operator".to_owned()
                },
                deed
            )
            .await
            .is_err()
    );
}

#[tokio::test]
async fn heads_that_do_not_fit_can_be_acknowledged_and_that_is_written_down() {
    let node = Node::with_rows(5).await;
    let backup = node.path("backup.db");
    fs::copy(node.file(), &backup).unwrap();
    let store = node.start().await;
    append(&store, 5).await;
    store.close().await;
    fs::copy(&backup, node.file()).unwrap();
    let (store, findings) = node.start_with_findings().await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(fault(&store).await.unwrap().0, 6);
    let by = Author {
        actor: "command line".to_owned(),
        role: "operator".to_owned(),
    };
    let heads = store
        .acknowledge_heads(&by, "restored the backup of Monday")
        .await
        .unwrap();
    assert_eq!(
        heads.iter().map(|head| head.sequence).collect::<Vec<_>>(),
        [10]
    );
    assert_eq!(fault(&store).await, None);
    assert!(
        store
            .acknowledge_heads(&by, "again")
            .await
            .unwrap()
            .is_empty()
    );
    let last = store
        .audit(Some("audit"), SortOrder::Newest, None, 1)
        .await
        .unwrap()
        .records
        .remove(0);
    assert_eq!(
        (last.action.as_str(), &last.after.unwrap()["note"]),
        ("acknowledge", &json!("restored the backup of Monday"))
    );
}

#[tokio::test]
async fn a_head_is_announced_once_and_again_when_rows_were_written() {
    let node = Node::new();
    let store = node.start().await;
    let document = |id: &str, head: &SignedHead| json!({ "id": id, "head": head.to_string() });
    assert!(
        store
            .announce_head(Some("webhook"), document)
            .await
            .unwrap()
            .is_none(),
        "there are no rows"
    );
    append(&store, 2).await;
    let head = store
        .announce_head(Some("webhook"), document)
        .await
        .unwrap()
        .unwrap();
    assert!(head.sequence == 2 && head.is_genuine());
    assert!(
        store
            .announce_head(Some("webhook"), document)
            .await
            .unwrap()
            .is_none()
    );
    append(&store, 1).await;
    assert_eq!(
        store
            .announce_head(None, document)
            .await
            .unwrap()
            .unwrap()
            .sequence,
        3
    );
    let due = store
        .notices_due("webhook", Timestamp::now(), 10)
        .await
        .unwrap();
    assert_eq!(
        due.iter()
            .map(|due| &due.document["head"])
            .collect::<Vec<_>>(),
        [&json!(head.to_string())]
    );
    assert_eq!(fault(&store).await, None);
}

#[tokio::test]
async fn old_rows_leave_for_an_archive_and_the_rest_is_proved_as_before() {
    let node = Node::with_rows(20).await;
    let store = node.start().await;
    let early = store.signed_head().unwrap().unwrap();
    let before = Timestamp::now();
    append(&store, 5).await;
    let (first, second) = (node.path("data/one.jsonl"), node.path("data/two.jsonl"));
    let pruned = store.prune_audit(&by(), before, &first).await.unwrap();
    let pruned = pruned.unwrap();
    assert_eq!((pruned.first, pruned.last), (1, early.sequence));
    assert_eq!(fault(&store).await, None);
    let page = store
        .audit(None, SortOrder::Oldest, None, 100)
        .await
        .unwrap();
    assert_eq!(page.records[0].sequence, early.sequence + 1);
    assert_eq!(page.records.last().unwrap().action, "prune");
    let home = "home".parse().unwrap();
    let past = store.household_at(&home, Timestamp::UNIX_EPOCH).await;
    assert!(matches!(past, Err(StoreError::Archived { .. })));
    // Nothing more is old; then all but the newest row is, and a second archive follows the first.
    assert_eq!(
        store.prune_audit(&by(), before, &second).await.unwrap(),
        None
    );
    let later = Timestamp::now() + jiff::SignedDuration::from_secs(60);
    let again = store.prune_audit(&by(), later, &second).await.unwrap();
    assert_eq!(again.unwrap().first, early.sequence + 1);
    let archives = [&first, &second].map(|path| verify_archive(path).unwrap());
    assert_eq!(archives[0].head.hash, archives[1].previous);
    assert_eq!(archives[0].head, pruned.head);
    // An existing file is never written over.
    let taken = store.prune_audit(&by(), later, &second).await;
    assert!(taken.is_err() || taken.unwrap().is_none());
    store.close().await;
    // A start and a verification beside it know the cut; so does a head from before it.
    let (store, findings) = node.start_with_findings().await;
    assert_eq!(findings, Vec::<String>::new());
    let report = store
        .verify_audit_with(std::slice::from_ref(&early), None)
        .await
        .unwrap();
    assert_eq!(report.fault, None);
    assert_eq!(report.archived, archives[1].head.sequence);
    let wrong = archives[1].head.to_string();
    let wrong = wrong.replace(&archives[1].head.hash, &"00".repeat(32));
    let wrong: SignedHead = wrong.parse().unwrap();
    let report = store.verify_audit_with(&[wrong], None).await.unwrap();
    assert!(report.fault.is_some());
    store.close().await;
    // A cut that the node did not sign is a fault, and an archive whose row was changed is none.
    node.around(
        "UPDATE audit_cut SET signed = (SELECT signed FROM audit_cut ORDER BY sequence LIMIT 1)",
    )
    .await;
    let store = node.start().await;
    assert!(fault(&store).await.is_some());
    store.close().await;
    let text = fs::read_to_string(&first).unwrap();
    fs::write(&first, text.replacen("\"role\":\"", "\"role\":\"x", 1)).unwrap();
    assert!(verify_archive(&first).is_err());
}
