//! Accountability: every change is in the audit, and the audit cannot be changed unnoticed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use policy::rules::household::{Filtering, Household, Id};
use policy_store::{AuditEntry, Author, ChangeError, FeedChanged, SortOrder, Store};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, SqlitePool};

type Refusal = &'static str;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn url(&self) -> String {
        format!("sqlite:{}/store.db", self.0.path().display())
    }

    async fn open(&self) -> Store {
        Store::open(&self.url()).await.unwrap()
    }

    /// A connection to the file that bypasses the store.
    async fn raw(&self) -> SqlitePool {
        SqlitePool::connect(&self.url()).await.unwrap()
    }
}

fn by(actor: &str) -> Author {
    Author {
        actor: actor.to_owned(),
        role: "operator".to_owned(),
    }
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

async fn append(store: &Store, subject: &str, number: u64) -> u64 {
    let before = json!({ "number": number });
    let after = json!({ "number": number + 1 });
    let deed = AuditEntry {
        action: "change",
        subject,
        before: Some(&before),
        after: number.is_multiple_of(2).then_some(&after),
    };
    store.append_audit(&by("key:a"), deed).await.unwrap()
}

async fn define(
    store: &Store,
    name: &str,
    expected: Option<u64>,
    document: Option<Value>,
) -> Result<FeedChanged, ChangeError<Refusal>> {
    let show = |document: &Value| json!({ "source": document["source"] });
    store
        .change_feed(&by("key:a"), name, expected, document.as_ref(), show)
        .await
}

#[tokio::test]
async fn audit_rows_come_back_page_by_page_in_order_and_each_once() {
    let place = Place::new();
    let store = place.open().await;
    for number in 0..25 {
        let subject = if number % 5 == 0 { "feed:a" } else { "lists" };
        assert_eq!(append(&store, subject, number).await, number + 1);
    }
    for (subject, expected) in [(None, 25_usize), (Some("feed:a"), 5), (Some("feed:b"), 0)] {
        for order in [SortOrder::Oldest, SortOrder::Newest] {
            let mut seen = Vec::new();
            let mut after = None;
            let mut pages = 0;
            loop {
                let page = store.audit(subject, order, after, 5).await.unwrap();
                pages += 1;
                seen.extend(page.records.into_iter().map(|record| record.sequence));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            if order == SortOrder::Newest {
                seen.reverse();
            }
            assert_eq!(
                (seen.len(), pages),
                (expected, expected.div_ceil(5).max(1)),
                "{subject:?}"
            );
            assert!(seen.is_sorted());
        }
    }
    let first = &store
        .audit(None, SortOrder::Oldest, None, 1)
        .await
        .unwrap()
        .records[0];
    assert_eq!(
        (
            first.actor.as_str(),
            first.role.as_str(),
            first.action.as_str()
        ),
        ("key:a", "operator", "change")
    );
    assert_eq!(
        (&first.before, &first.after),
        (&Some(json!({ "number": 0 })), &Some(json!({ "number": 1 })))
    );
    assert_eq!(first.previous, "0".repeat(64));
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_delete_or_replace_a_row() {
    let place = Place::new();
    let store = place.open().await;
    append(&store, "lists", 0).await;
    append(&store, "lists", 1).await;
    let raw = place.raw().await;
    let copy = |sequence: &str| {
        format!(
            "SELECT {sequence}, at, actor, role, action, subject, before, after, previous, hash FROM audit"
        )
    };
    let statements = [
        "UPDATE audit SET actor = 'nobody' WHERE sequence = 1".to_owned(),
        "DELETE FROM audit".to_owned(),
        "DELETE FROM audit WHERE sequence = 2".to_owned(),
        format!(
            "INSERT OR REPLACE INTO audit {} WHERE sequence = 1",
            copy("2")
        ),
        format!("INSERT INTO audit {} WHERE sequence = 2", copy("7")),
        format!("INSERT INTO audit {} WHERE sequence = 2", copy("0")),
    ];
    for statement in statements {
        let refused = sqlx::query(AssertSqlSafe(statement.clone()))
            .execute(&raw)
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains("append-only"), "{statement}: {refused}");
    }
    assert_eq!(store.verify_audit().await.unwrap().rows, 2);
}

#[tokio::test]
async fn a_row_changed_around_the_database_breaks_the_chain_there() {
    let forged = "INSERT INTO audit SELECT 4, at, 'key:b', role, action, subject, before, after, previous, hash FROM audit WHERE sequence = 3";
    let cases = [
        (
            "UPDATE audit SET actor = 'key:b' WHERE sequence = 4",
            3,
            4,
            "it was changed after it was written",
        ),
        (
            "UPDATE audit SET after = NULL WHERE sequence = 3",
            2,
            3,
            "it was changed after it was written",
        ),
        (
            "UPDATE audit SET action = 'changehouse', subject = 'lists' WHERE sequence = 2",
            1,
            2,
            "it was changed after it was written",
        ),
        (
            "UPDATE audit SET hash = zeroblob(32) WHERE sequence = 1",
            0,
            1,
            "it was changed after it was written",
        ),
        (
            "DELETE FROM audit WHERE sequence = 3",
            2,
            4,
            "a row before it is missing",
        ),
        (
            "DELETE FROM audit WHERE sequence = 1",
            0,
            2,
            "a row before it is missing",
        ),
        (
            "DELETE FROM audit WHERE sequence = 3; UPDATE audit SET sequence = sequence - 1 WHERE sequence > 3",
            2,
            3,
            "it does not follow the row before it",
        ),
        (
            "DELETE FROM audit WHERE sequence = 4",
            3,
            5,
            "a row before it is missing",
        ),
        (
            &format!("DELETE FROM audit WHERE sequence = 4; {forged}"),
            3,
            4,
            "it does not follow the row before it",
        ),
    ];
    for (statement, rows, sequence, detail) in cases {
        let place = Place::new();
        let store = place.open().await;
        for number in 0..5 {
            append(&store, "house", number).await;
        }
        let whole = store.verify_audit().await.unwrap();
        assert_eq!((whole.rows, whole.fault), (5, None));
        let raw = place.raw().await;
        for trigger in [
            "audit_is_never_changed",
            "audit_is_never_deleted",
            "audit_only_grows",
        ] {
            sqlx::query(AssertSqlSafe(format!("DROP TRIGGER {trigger}")))
                .execute(&raw)
                .await
                .unwrap();
        }
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&raw)
            .await
            .unwrap();
        let report = store.verify_audit().await.unwrap();
        let fault = report.fault.expect(statement);
        assert_eq!(
            (report.rows, fault.sequence, fault.detail.as_str()),
            (rows, sequence, detail),
            "{statement}"
        );
    }
}

#[tokio::test]
async fn a_chain_cut_off_at_its_end_fits_but_has_another_head() {
    let place = Place::new();
    let store = place.open().await;
    assert_eq!(store.verify_audit().await.unwrap().head, "0".repeat(64));
    for number in 0..3 {
        append(&store, "lists", number).await;
    }
    let head = store.verify_audit().await.unwrap().head;
    assert_eq!(
        head,
        store
            .audit(None, SortOrder::Oldest, Some(2), 1)
            .await
            .unwrap()
            .records[0]
            .hash
    );
    let raw = place.raw().await;
    sqlx::raw_sql("DROP TRIGGER audit_is_never_deleted; DELETE FROM audit WHERE sequence = 3")
        .execute(&raw)
        .await
        .unwrap();
    let cut = store.verify_audit().await.unwrap();
    assert!(cut.fault.is_none() && cut.rows == 2 && cut.head != head);
}

#[tokio::test]
async fn writers_at_the_same_time_make_one_chain() {
    let place = Place::new();
    // Two stores on one file are two processes for the engine.
    let stores = [place.open().await, place.open().await];
    let writing = (0..60).map(|number| {
        let store = stores[number % 2].clone();
        tokio::spawn(async move { append(&store, "lists", number as u64).await })
    });
    for writing in writing.collect::<Vec<_>>() {
        writing.await.unwrap();
    }
    let report = stores[0].verify_audit().await.unwrap();
    assert_eq!((report.rows, report.fault), (60, None));
}

#[tokio::test]
async fn a_long_chain_is_verified_to_its_end() {
    let place = Place::new();
    let store = place.open().await;
    // More rows than one batch of the verification.
    for number in 0..1_050 {
        append(&store, "lists", number).await;
    }
    assert_eq!(store.verify_audit().await.unwrap().rows, 1_050);
}

#[tokio::test]
async fn the_audit_holds_what_differs_and_no_refused_change() {
    let place = Place::new();
    let store = place.open().await;
    let make = |_| Ok::<_, Refusal>(Some(Household::new(id("home"))));
    store
        .change(&by("key:a"), &id("home"), None, make)
        .await
        .unwrap();
    let switch = |household: Option<Household>| {
        Ok::<_, Refusal>(Some(Household {
            filtering: Filtering::On,
            ..household.unwrap()
        }))
    };
    store
        .change(&by("key:b"), &id("home"), None, switch)
        .await
        .unwrap();
    assert!(
        store
            .change(&by("key:c"), &id("home"), None, |_| Err("no"))
            .await
            .is_err()
    );
    assert!(
        store
            .change(&by("key:c"), &id("home"), Some(9), switch)
            .await
            .is_err()
    );
    store
        .change(&by("key:d"), &id("home"), None, |_| Ok::<_, Refusal>(None))
        .await
        .unwrap();
    let records = store
        .audit(Some("household:home"), SortOrder::Oldest, None, 10)
        .await
        .unwrap()
        .records;
    let told: Vec<_> = records
        .iter()
        .map(|record| (record.actor.as_str(), record.action.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("key:a", "create"),
            ("key:b", "change"),
            ("key:d", "delete")
        ]
    );
    assert_eq!(
        (
            &records[0].before,
            &records[0].after.as_ref().unwrap()["version"]
        ),
        (&None, &json!(1))
    );
    assert_eq!(
        records[1].before,
        Some(json!({ "filtering": "not_asked", "version": 1 }))
    );
    assert_eq!(
        records[1].after,
        Some(json!({ "filtering": "on", "version": 2 }))
    );
    assert_eq!(
        (
            &records[2].before.as_ref().unwrap()["filtering"],
            &records[2].after
        ),
        (&json!("on"), &None)
    );
    assert_eq!(store.verify_audit().await.unwrap().rows, 3);
}

#[tokio::test]
async fn a_feed_is_kept_whole_and_its_secrets_are_not_in_the_audit() {
    let place = Place::new();
    let store = place.open().await;
    let document =
        json!({ "name": "bets", "source": "https://lists.example/bets", "password": "hunter2" });
    assert_eq!(
        define(&store, "bets", None, Some(document.clone()))
            .await
            .unwrap(),
        FeedChanged {
            version: 1,
            is_new: true
        }
    );
    store.close().await;
    let store = place.open().await;
    let feed = store.feed("bets").await.unwrap().unwrap();
    assert_eq!(
        (
            feed.name.as_str(),
            feed.version,
            &feed.document,
            feed.created_by.as_str()
        ),
        ("bets", 1, &document, "key:a")
    );
    assert_eq!(
        store
            .feeds()
            .await
            .unwrap()
            .into_iter()
            .map(Result::unwrap)
            .collect::<Vec<_>>(),
        [feed]
    );
    let records = store
        .audit(Some("feed:bets"), SortOrder::Oldest, None, 10)
        .await
        .unwrap()
        .records;
    assert_eq!(
        (records[0].action.as_str(), &records[0].after),
        (
            "create",
            &Some(json!({ "source": "https://lists.example/bets" }))
        )
    );
}

#[tokio::test]
async fn a_feed_defined_again_never_has_a_version_of_the_one_before() {
    let place = Place::new();
    let store = place.open().await;
    define(&store, "bets", Some(0), Some(json!({ "source": "a" })))
        .await
        .unwrap();
    for expected in [0, 2] {
        let refused = define(
            &store,
            "bets",
            Some(expected),
            Some(json!({ "source": "b" })),
        )
        .await;
        assert!(
            matches!(refused, Err(ChangeError::Version { current: 1, .. })),
            "{refused:?}"
        );
    }
    assert_eq!(
        define(&store, "bets", Some(1), Some(json!({ "source": "b" })))
            .await
            .unwrap(),
        FeedChanged {
            version: 2,
            is_new: false
        }
    );
    assert_eq!(
        define(&store, "bets", Some(2), None).await.unwrap().version,
        3
    );
    assert!(store.feed("bets").await.unwrap().is_none() && store.feeds().await.unwrap().is_empty());
    assert!(matches!(
        define(&store, "bets", Some(3), None).await,
        Err(ChangeError::Version { current: 0, .. })
    ));
    assert_eq!(
        define(&store, "bets", None, Some(json!({ "source": "c" })))
            .await
            .unwrap(),
        FeedChanged {
            version: 4,
            is_new: true
        }
    );
    let actions: Vec<_> = store
        .audit(None, SortOrder::Oldest, None, 10)
        .await
        .unwrap()
        .records
        .into_iter()
        .map(|record| record.action)
        .collect();
    assert_eq!(actions, ["create", "change", "delete", "create"]);
}

#[tokio::test]
async fn a_definition_that_cannot_be_read_costs_no_other_feed() {
    let place = Place::new();
    let store = place.open().await;
    for name in ["a", "b", "c"] {
        define(&store, name, None, Some(json!({ "source": name })))
            .await
            .unwrap();
    }
    sqlx::query("UPDATE feed SET document = '{' WHERE name = 'b'")
        .execute(&place.raw().await)
        .await
        .unwrap();
    let feeds = store.feeds().await.unwrap();
    let told: Vec<String> = feeds
        .into_iter()
        .map(|feed| feed.map_or_else(|error| error.to_string(), |feed| feed.name))
        .collect();
    assert_eq!(
        told,
        [
            "a",
            r#"the stored definition of feed "b" cannot be read"#,
            "c"
        ]
    );
}
