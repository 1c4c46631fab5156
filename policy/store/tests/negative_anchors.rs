//! Negative trust anchors in the store: versions, the audit, and what a reopened store has.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use jiff::Timestamp;
use policy::name::Name;
use policy_store::{
    Author, ChangeError, NegativeAnchorChanged, NegativeAnchorTerms, SortOrder, Store,
};

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn url(folder: &tempfile::TempDir) -> String {
    format!("sqlite:{}/store.db", folder.path().display())
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Writes an anchor until a second, or deletes it, at another second.
async fn write(
    store: &Store,
    of: &str,
    expected: Option<u64>,
    until: Option<i64>,
    now: i64,
) -> Result<NegativeAnchorChanged, ChangeError<()>> {
    let by = Author {
        actor: "key:a".to_owned(),
        role: "operator".to_owned(),
    };
    let terms = until.map(|until| NegativeAnchorTerms {
        until: second(until),
        reason: "ticket 7".to_owned(),
    });
    let (name, now) = (name(of), second(now));
    store
        .change_negative_anchor(&by, &name, expected, terms.as_ref(), now)
        .await
}

#[tokio::test]
async fn an_anchor_survives_and_each_write_is_in_the_audit() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&url(&folder)).await.unwrap();
    let made = write(&store, "de", None, Some(100), 1).await.unwrap();
    assert_eq!((made.version, made.is_new), (1, true));
    store.close().await;
    let store = Store::open(&url(&folder)).await.unwrap();
    let stored = store.negative_anchor(&name("DE.")).await.unwrap();
    assert_eq!(stored, made.stored);
    let stored = stored.unwrap();
    assert_eq!(
        (stored.terms.until, stored.terms.reason.as_str()),
        (second(100), "ticket 7")
    );
    write(&store, "de", Some(1), Some(200), 2).await.unwrap();
    let gone = write(&store, "de", Some(2), None, 3).await.unwrap();
    assert_eq!((gone.version, gone.stored), (3, None));
    assert_eq!(store.negative_anchor(&name("de")).await.unwrap(), None);
    assert!(store.negative_anchors().await.unwrap().is_empty());
    let subject = "negative_trust_anchor:de";
    let page = store.audit(Some(subject), SortOrder::Oldest, None, 9);
    let told: Vec<String> = page
        .await
        .unwrap()
        .records
        .iter()
        .map(|row| {
            let until = |state: &Option<serde_json::Value>| {
                let state = state.as_ref()?;
                assert_eq!(state["reason"], "ticket 7");
                Some(state["until"].as_str()?.to_owned())
            };
            let [before, after] = [&row.before, &row.after].map(until);
            let or_none = |until: Option<String>| until.unwrap_or_else(|| "none".to_owned());
            format!("{} {} {}", row.action, or_none(before), or_none(after))
        })
        .collect();
    assert_eq!(
        told,
        [
            "create none 1970-01-01T00:01:40Z",
            "change 1970-01-01T00:01:40Z 1970-01-01T00:03:20Z",
            "delete 1970-01-01T00:03:20Z none"
        ]
    );
    assert_eq!(store.verify_audit().await.unwrap().fault, None);
}

#[tokio::test]
async fn one_whose_time_is_over_counts_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&url(&folder)).await.unwrap();
    write(&store, "de", Some(0), Some(100), 1).await.unwrap();
    for expected in [0, 2] {
        let refused = write(&store, "de", Some(expected), Some(200), 99).await;
        assert!(
            matches!(refused, Err(ChangeError::Version { current: 1, .. })),
            "{refused:?}"
        );
    }
    let refused = write(&store, "de", Some(1), Some(200), 100).await;
    assert!(
        matches!(refused, Err(ChangeError::Version { current: 0, .. })),
        "{refused:?}"
    );
    let again = write(&store, "de", Some(0), Some(200), 100).await.unwrap();
    assert_eq!((again.version, again.is_new), (2, true));
    assert_eq!(again.stored.unwrap().created_at, second(100));
}

#[tokio::test]
async fn an_unreadable_anchor_costs_no_other_and_can_be_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&url(&folder)).await.unwrap();
    for of in ["uk", "de", "fr"] {
        write(&store, of, None, Some(100), 1).await.unwrap();
    }
    let raw = sqlx::SqlitePool::connect(&url(&folder)).await.unwrap();
    sqlx::query("UPDATE negative_trust_anchor SET until = 'noon' WHERE name = 'fr'")
        .execute(&raw)
        .await
        .unwrap();
    let found: Vec<String> = store
        .negative_anchors()
        .await
        .unwrap()
        .into_iter()
        .map(|read| read.map_or_else(|error| error.to_string(), |anchor| anchor.name.to_string()))
        .collect();
    assert_eq!(
        found,
        [
            "de",
            r#"the stored negative trust anchor "fr" cannot be read"#,
            "uk"
        ]
    );
    let anew = write(&store, "fr", None, Some(200), 2).await.unwrap();
    assert_eq!((anew.version, anew.is_new), (2, true));
}
