//! What is in force, when it ends, and what is refused.

use std::sync::PoisonError;

use policy::{category::Taxonomy, lists::blocklist::Blocklist};
use policy_store::{Author, ChangeError, NegativeAnchorTerms};

use super::*;

/// What the data path was told, as `name` or `name until second`.
type Told = Arc<Mutex<Vec<Vec<String>>>>;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn settings() -> NegativeAnchorSettings {
    NegativeAnchorSettings {
        configured: vec![name("corp.test")],
        days_max: 7,
        validates: true,
    }
}

fn data_path() -> (Told, PutInForce) {
    let told = Told::default();
    let data_path = Arc::clone(&told);
    let note = move |anchors: Vec<NegativeTrustAnchor>| {
        let in_words = |anchor: NegativeTrustAnchor| match anchor.until_unix_s {
            Some(until) => format!("{} until {until}", anchor.name),
            None => anchor.name.to_string(),
        };
        let words = anchors.into_iter().map(in_words).collect();
        data_path.lock().unwrap().push(words);
    };
    (told, Box::new(note))
}

fn registry() -> (Told, Arc<NegativeAnchorRegistry>) {
    let (told, put_in_force) = data_path();
    let registry = NegativeAnchorRegistry::new(settings(), put_in_force);
    (told, Arc::new(registry))
}

/// What the data path was told since this was asked before.
fn told(told: &Told) -> Vec<Vec<String>> {
    std::mem::take(&mut told.lock().unwrap_or_else(PoisonError::into_inner))
}

#[tokio::test]
async fn each_change_puts_all_in_force_and_an_end_takes_one_away() {
    let (heard, registry) = registry();
    let now = Timestamp::now();
    let soon = now + SignedDuration::from_hours(1);
    let later = now + SignedDuration::from_hours(2);
    registry.put(name("de"), later).await.unwrap();
    registry.put(name("uk"), soon).await.unwrap();
    let word = |name: &str, until: Timestamp| format!("{name} until {}", full_seconds(until));
    let corp = "corp.test".to_owned();
    assert_eq!(
        told(&heard),
        [
            vec![corp.clone(), word("de", later)],
            vec![corp.clone(), word("de", later), word("uk", soon)],
        ]
    );
    assert_eq!(registry.end(soon - SignedDuration::from_nanos(1)), []);
    assert!(told(&heard).is_empty() && registry.is_in_force(&name("uk")));
    assert_eq!(registry.end(soon), [(name("uk"), soon)]);
    assert_eq!(told(&heard), [vec![corp.clone(), word("de", later)]]);
    assert!(!registry.is_in_force(&name("uk")));
    registry.remove(name("de")).await.unwrap();
    assert_eq!(told(&heard), [vec![corp]]);
}

#[tokio::test]
async fn one_that_is_renewed_after_its_end_was_away_in_between() {
    let (heard, registry) = registry();
    let now = Timestamp::now();
    let past = now - SignedDuration::from_secs(1);
    registry.put(name("de"), past).await.unwrap();
    told(&heard);
    let until = now + SignedDuration::from_hours(1);
    registry.put(name("de"), until).await.unwrap();
    let heard = told(&heard);
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert_eq!(heard[0], ["corp.test"]);
}

#[tokio::test]
async fn what_may_not_be_in_force_is_refused() {
    let (_, registry) = registry();
    let now = second(1_000);
    let check = |text: &str, until: i64| registry.check(&name(text), second(until), now);
    let week = 7 * 86_400;
    assert_eq!(check("de", 1_001), Ok(()));
    assert_eq!(check("de", 1_000 + week), Ok(()));
    for until in [0, 1_000, 1_001 + week] {
        assert_eq!(check("de", until), Err(AnchorRefusal::End(7)), "{until}");
    }
    assert_eq!(check(".", 1_001), Err(AnchorRefusal::Root));
    assert_eq!(check("corp.test", 1_001), Err(AnchorRefusal::Configured));
    assert_eq!(check("a.corp.test", 1_001), Ok(()));
    let until = Timestamp::now() + SignedDuration::from_hours(1);
    for number in 0..ANCHORS_MAX {
        registry
            .put(name(&format!("n{number}")), until)
            .await
            .unwrap();
    }
    assert_eq!(check("de", 1_001), Err(AnchorRefusal::TooMany));
    assert_eq!(check("n7", 1_001), Ok(()), "one that is there can change");
    let unvalidated = NegativeAnchorSettings {
        validates: false,
        ..settings()
    };
    let registry = NegativeAnchorRegistry::new(unvalidated, data_path().1);
    assert_eq!(
        registry.check(&name("de"), second(1_001), now),
        Err(AnchorRefusal::NothingValidated)
    );
}

#[tokio::test]
async fn a_start_takes_those_of_the_store_that_have_not_ended() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/store.db", folder.path().display());
    let store = Store::open(&url).await.unwrap();
    let by = Author {
        actor: "key:a".to_owned(),
        role: "operator".to_owned(),
    };
    let now = Timestamp::now();
    let later = now + SignedDuration::from_hours(1);
    let past = now - SignedDuration::from_secs(1);
    for (of, until) in [("uk", later), ("de", past), ("corp.test", later)] {
        let terms = NegativeAnchorTerms {
            until,
            reason: "broken".to_owned(),
        };
        let written: Result<_, ChangeError<()>> = store
            .change_negative_anchor(&by, &name(of), None, Some(&terms), now)
            .await;
        written.unwrap();
    }
    let (heard, put_in_force) = data_path();
    let registry = start(&store, settings(), put_in_force).await;
    let uk = format!("uk until {}", full_seconds(later));
    assert_eq!(told(&heard), [["corp.test".to_owned(), uk]]);
    assert!(registry.is_in_force(&name("uk")) && !registry.is_in_force(&name("de")));
    store.close().await;
    let (heard, put_in_force) = data_path();
    start(&store, settings(), put_in_force).await;
    assert_eq!(told(&heard), [["corp.test"]], "the store is away");
}

#[tokio::test]
async fn the_end_comes_by_itself_with_an_event() {
    let (heard, registry) = registry();
    let status = ListStatus::new();
    let mut events = status.subscribe();
    let lists = Arc::new(CurrentLists::new(Arc::new(Blocklist::empty(
        &Taxonomy::shipped(),
    ))));
    let until = Timestamp::now() + SignedDuration::from_millis(50);
    registry.put(name("de"), until).await.unwrap();
    let running = tokio::spawn(run(Arc::clone(&registry), status, lists));
    let event = events.recv().await.unwrap();
    assert_eq!(event.kind, EventKind::NegativeAnchorEnded);
    assert_eq!(event.detail, Some(format!("de, until {until}")));
    assert_eq!(told(&heard).last().unwrap(), &["corp.test"]);
    assert!(!registry.is_in_force(&name("de")));
    running.abort();
}
