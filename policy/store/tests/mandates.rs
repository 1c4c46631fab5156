//! Mandates in the store, whatever the engine.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use policy::{
    lists::mandates::{Mandate, MandateDocument},
    rules::household::Id,
};
use policy_store::{Author, ChangeError, MandateChanged, SortOrder, Store};
use serde_json::{Value, json};

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
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn mandate(of: &str, name: &str) -> Mandate {
    let document = MandateDocument {
        name: Some(name.to_owned()),
        basis: "court-order".to_owned(),
        reference: Some("CO/1".to_owned()),
        not_after: Some("2030-01-01T17:15:00.5Z".parse().unwrap()),
        confidential: true,
        ..MandateDocument::default()
    };
    Mandate::read(id(of), document).unwrap()
}

async fn write(
    store: &Store,
    of: &str,
    expected: Option<u64>,
    name: Option<&str>,
) -> Result<MandateChanged, ChangeError<()>> {
    let by = Author {
        actor: "key:a".to_owned(),
        role: "operator".to_owned(),
    };
    store
        .change_mandate(
            &by,
            &id(of),
            expected,
            name.map(|name| mandate(of, name)).as_ref(),
        )
        .await
}

#[tokio::test]
async fn a_mandate_is_stored_with_author_and_time_and_is_in_the_audit() {
    let place = Place::new();
    assert!(!Store::is_there(&place.url()));
    let store = place.open().await;
    let changed = write(&store, "m", None, Some("a.example")).await.unwrap();
    store.close().await;
    assert!(Store::is_there(&place.url()));
    let store = place.open().await;
    let stored = store.mandate(&id("m")).await.unwrap().unwrap();
    assert_eq!(
        (&stored.mandate, stored.version, stored.created_by.as_str()),
        (&mandate("m", "a.example"), 1, "key:a")
    );
    assert_eq!(
        (changed.stored, changed.version, changed.is_new),
        (Some(stored.clone()), 1, true)
    );
    let again = write(&store, "m", Some(1), Some("b.example"))
        .await
        .unwrap()
        .stored
        .unwrap();
    assert_eq!((again.created_at, again.version), (stored.created_at, 2));
    assert!(again.updated_at >= stored.updated_at);
    write(&store, "m", None, None).await.unwrap();
    let records = store
        .audit(Some("mandate:m"), SortOrder::Oldest, None, 10)
        .await
        .unwrap()
        .records;
    let name =
        |document: &Option<Value>| document.as_ref().map(|document| document["name"].clone());
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            (
                record.action.as_str(),
                name(&record.before),
                name(&record.after),
            )
        })
        .collect();
    let [a, b] = ["a.example", "b.example"].map(|name| Some(json!(name)));
    assert_eq!(
        told,
        [
            ("create", None, a.clone()),
            ("change", a, b.clone()),
            ("delete", b, None)
        ]
    );
    assert_eq!(store.verify_audit().await.unwrap().fault, None);
}

#[tokio::test]
async fn a_mandate_written_again_never_has_a_version_of_the_one_before() {
    let place = Place::new();
    let store = place.open().await;
    write(&store, "m", Some(0), Some("a.example"))
        .await
        .unwrap();
    for expected in [0, 2] {
        let refused = write(&store, "m", Some(expected), Some("b.example")).await;
        assert!(
            matches!(refused, Err(ChangeError::Version { current: 1, .. })),
            "{refused:?}"
        );
    }
    assert_eq!(write(&store, "m", Some(1), None).await.unwrap().version, 2);
    assert!(
        store.mandate(&id("m")).await.unwrap().is_none()
            && store.all_mandates().await.unwrap().is_empty()
    );
    assert!(matches!(
        write(&store, "m", Some(2), None).await,
        Err(ChangeError::Version { current: 0, .. })
    ));
    let made = write(&store, "m", None, Some("c.example")).await.unwrap();
    assert_eq!((made.version, made.is_new), (3, true));
    assert_eq!(
        store
            .audit(None, SortOrder::Oldest, None, 10)
            .await
            .unwrap()
            .records
            .len(),
        3
    );
}

#[tokio::test]
async fn pages_are_complete_and_an_unreadable_one_costs_no_other() {
    let place = Place::new();
    let store = place.open().await;
    for of in ["c", "a", "b", "d"] {
        write(&store, of, None, Some("a.example")).await.unwrap();
    }
    let raw = sqlx::SqlitePool::connect(&place.url()).await.unwrap();
    sqlx::query("UPDATE mandate SET document = '{' WHERE id = 'b'")
        .execute(&raw)
        .await
        .unwrap();
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.mandates(after.as_deref(), 3).await.unwrap();
        found.extend(page.mandates.into_iter().map(|read| {
            read.map_or_else(
                |error| error.to_string(),
                |stored| stored.mandate.id.to_string(),
            )
        }));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(
        found,
        ["a", r#"the stored mandate "b" cannot be read"#, "c", "d"]
    );
    assert_eq!(
        store
            .all_mandates()
            .await
            .unwrap()
            .iter()
            .filter(|read| read.is_ok())
            .count(),
        3
    );
    assert_eq!(
        write(&store, "b", Some(1), Some("b.example"))
            .await
            .unwrap()
            .version,
        2,
        "it can be written anew"
    );
}
