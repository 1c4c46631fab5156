//! The contract of the store, whatever the engine.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use jiff::Timestamp;
use policy::{
    name::Name,
    rules::household::{DeviceIdentifier, Household, Id},
};
use policy_store::{
    AttemptState, Author, ChangeError, DeviceHint, HouseholdChanged, NewKey, PromptDomain,
    PushSubscription, Role, SESSION_AGE_MAX, SIGHTING_KEPT, ScanPosition, SeenDevice, SessionOwner,
    Store, StoreError, StoredAnswer, ThingWants, ToldBrowser, WriteAttempt, session_fingerprint,
};

type Refusal = &'static str;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn url(&self) -> String {
        format!("sqlite:{}/deep/er/store.db", self.0.path().display())
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("deep/er/store.db")
    }

    async fn open(&self) -> Store {
        Store::open(&self.url()).await.unwrap()
    }
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn by() -> Author {
    Author {
        actor: "key:tests".into(),
        role: "operator".into(),
    }
}

/// Changes a household; creates it if it does not exist.
async fn edit(
    store: &Store,
    household: &str,
    edit: impl FnOnce(&mut Household) + Clone + Send + 'static,
) -> Result<HouseholdChanged, ChangeError<Refusal>> {
    let fresh = id(household);
    let change = move |before: Option<Household>| {
        let mut household = before.unwrap_or_else(|| Household::new(fresh));
        edit(&mut household);
        Ok(Some(household))
    };
    store.change(&by(), &id(household), None, change).await
}

async fn delete(store: &Store, household: &str) -> u64 {
    store
        .change::<Refusal>(&by(), &id(household), None, |_| Ok(None))
        .await
        .unwrap()
        .version
}

fn networks(list: &[&str]) -> BTreeSet<ipnet::IpNet> {
    list.iter()
        .map(|network| network.parse().unwrap())
        .collect()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash_and_a_reopening() {
    let place = Place::new();
    let store = place.open().await;
    let changed = edit(&store, "home", |home| {
        home.networks = networks(&["192.0.2.0/24"])
    })
    .await
    .unwrap();
    let (secret, key) = store
        .create_key(&by(), NewKey::operator("first"))
        .await
        .unwrap();
    // As after a crash: the store is not closed, and the journal is not checkpointed.
    let crashed = place.0.path().join("crashed");
    std::fs::create_dir(&crashed).unwrap();
    for suffix in ["", "-wal"] {
        std::fs::copy(
            format!("{}{suffix}", place.file().display()),
            crashed.join(format!("store.db{suffix}")),
        )
        .unwrap();
    }
    let reopened = Store::open(&format!("sqlite:{}/store.db", crashed.display()))
        .await
        .unwrap();
    assert_eq!(
        reopened.household(&id("home")).await.unwrap(),
        changed.household
    );
    assert_eq!(reopened.authenticate(&secret).await.unwrap(), Some(key));
    store.close().await;
    assert_eq!(
        place.open().await.household(&id("home")).await.unwrap(),
        changed.household
    );
}

#[tokio::test]
async fn changes_at_the_same_time_each_see_the_one_before() {
    let place = Place::new();
    // Two stores on one file are two processes for the engine.
    let stores = [place.open().await, place.open().await];
    let change = |number: usize| {
        let store = stores[number % 2].clone();
        tokio::spawn(async move {
            edit(&store, "home", |home| {
                home.locale = Some(format!("{}x", home.locale.take().unwrap_or_default()))
            })
            .await
        })
    };
    let mut versions = BTreeSet::new();
    for changing in (0..40).map(change).collect::<Vec<_>>() {
        versions.insert(changing.await.unwrap().unwrap().version);
    }
    assert_eq!(
        versions,
        (1..=40).collect(),
        "each change has a version of its own"
    );
    assert_eq!(
        stores[0]
            .household(&id("home"))
            .await
            .unwrap()
            .unwrap()
            .locale
            .unwrap()
            .len(),
        40,
        "none was overwritten"
    );
}

#[tokio::test]
async fn an_unreadable_document_costs_no_other_household_its_rules() {
    let place = Place::new();
    let store = place.open().await;
    for household in ["a", "b", "c"] {
        edit(&store, household, |_| {}).await.unwrap();
    }
    let raw = sqlx::SqlitePool::connect(&format!("sqlite:{}", place.file().display()))
        .await
        .unwrap();
    sqlx::query("UPDATE household SET document = '{' WHERE id = 'b'")
        .execute(&raw)
        .await
        .unwrap();
    let mut read = Vec::new();
    let mut complaints = Vec::new();
    let mut position = Some(ScanPosition::default());
    while let Some(from) = position {
        let batch = store.batch(from, 2).await.unwrap();
        position = batch.next;
        batch.households().for_each(|household| match household {
            Ok(household) => read.push(household.id.to_string()),
            Err(error) => complaints.push(error.to_string()),
        });
    }
    assert_eq!(read, ["a", "c"]);
    assert_eq!(
        complaints,
        [r#"the stored document of household "b" cannot be read"#]
    );
}

#[tokio::test]
async fn a_write_that_expects_another_version_changes_nothing() {
    let place = Place::new();
    let store = place.open().await;
    edit(&store, "home", |_| {}).await.unwrap();
    for (expected, name) in [(0, "home"), (2, "home"), (1, "nowhere")] {
        let refused = store
            .change::<Refusal>(&by(), &id(name), Some(expected), |_| {
                panic!("not even asked")
            })
            .await;
        assert!(
            matches!(refused, Err(ChangeError::Version { .. })),
            "{expected} {name}: {refused:?}"
        );
    }
    assert_eq!(
        store
            .change::<Refusal>(&by(), &id("home"), Some(1), Ok)
            .await
            .unwrap()
            .version,
        2,
        "a change of nothing has a version too"
    );
}

#[tokio::test]
async fn a_refused_change_leaves_everything_as_it_was() {
    let place = Place::new();
    let store = place.open().await;
    edit(&store, "other", |other| {
        other.networks = networks(&["192.0.2.0/24"])
    })
    .await
    .unwrap();
    edit(&store, "home", |home| {
        home.networks = networks(&["198.51.100.0/24"])
    })
    .await
    .unwrap();
    let refused = store
        .change(&by(), &id("home"), None, |_| {
            Err::<Option<Household>, _>("no")
        })
        .await;
    assert!(matches!(refused, Err(ChangeError::Refused("no"))));
    // The first of the two networks is free and is not kept either.
    let taken = edit(&store, "home", |home| {
        home.networks = networks(&["10.0.0.0/8", "192.0.2.0/24"])
    })
    .await;
    assert!(matches!(taken, Err(ChangeError::NetworkTaken { owner, .. }) if owner == id("other")));
    let home = store.household(&id("home")).await.unwrap().unwrap();
    assert_eq!(
        (home.version, home.networks),
        (1, networks(&["198.51.100.0/24"]))
    );
    edit(&store, "third", |third| {
        third.networks = networks(&["10.0.0.0/8"])
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_network_that_a_household_gave_up_is_free() {
    let place = Place::new();
    let store = place.open().await;
    edit(&store, "a", |a| {
        a.networks = networks(&["192.0.2.0/24", "2001:db8::/56"])
    })
    .await
    .unwrap();
    edit(&store, "b", |b| b.networks = networks(&["192.0.2.0/25"]))
        .await
        .unwrap();
    edit(&store, "a", |a| a.networks = networks(&["2001:db8::/56"]))
        .await
        .unwrap();
    edit(&store, "b", |b| b.networks = networks(&["192.0.2.0/24"]))
        .await
        .unwrap();
    delete(&store, "a").await;
    edit(&store, "b", |b| {
        b.networks = networks(&["192.0.2.0/24", "2001:db8::/56"])
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_household_made_again_never_has_a_version_of_the_one_before() {
    let place = Place::new();
    let store = place.open().await;
    edit(&store, "home", |home| {
        home.external_ref = Some("crm-1".into())
    })
    .await
    .unwrap();
    assert_eq!(delete(&store, "home").await, 2);
    assert!(store.household(&id("home")).await.unwrap().is_none());
    assert!(
        store
            .households(None, None, 10)
            .await
            .unwrap()
            .households
            .is_empty()
    );
    assert!(
        store
            .households(Some("crm-1"), None, 10)
            .await
            .unwrap()
            .households
            .is_empty()
    );
    let again = edit(&store, "home", |_| {}).await.unwrap();
    assert_eq!((again.version, again.is_new), (3, true));
    let kept = again.household.unwrap();
    assert_eq!(
        kept,
        Household {
            version: 3,
            ..Household::new(id("home"))
        },
        "nothing of the one before is left"
    );
}

#[tokio::test]
async fn pages_show_every_household_once_and_a_reference_finds_its_own() {
    let place = Place::new();
    let store = place.open().await;
    for number in 0..25 {
        edit(&store, &format!("h{number:02}"), move |home| {
            home.external_ref = Some(format!("ref-{}", number % 5))
        })
        .await
        .unwrap();
    }
    for (reference, expected) in [(None, 25), (Some("ref-3"), 5), (Some("ref-9"), 0)] {
        let mut seen = Vec::new();
        let mut after = None;
        let mut pages = 0;
        loop {
            let page = store
                .households(reference, after.as_ref(), 5)
                .await
                .unwrap();
            seen.extend(page.households.into_iter().map(|household| household.id));
            (after, pages) = (page.next, pages + 1);
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), expected);
        assert_eq!(
            pages,
            expected.div_ceil(5).max(1),
            "no empty page at the end"
        );
        assert!(seen.is_sorted());
    }
}

#[tokio::test]
async fn many_households_come_in_together_or_not_at_all() {
    let place = Place::new();
    let store = place.open().await;
    let household = |number: u8| Household {
        networks: networks(&[&format!("192.0.2.{number}/32")]),
        ..Household::new(id(&format!("h{number:03}")))
    };
    store.add_all((0..100).map(household)).await.unwrap();
    let there = store.household(&id("h042")).await.unwrap().unwrap();
    assert_eq!(
        there,
        Household {
            version: 1,
            ..household(42)
        }
    );
    let again = store.add_all([household(200), household(7)]).await;
    assert!(
        matches!(
            again,
            Err(ChangeError::Version {
                expected: 0,
                current: 1
            })
        ),
        "{again:?}"
    );
    let taken = store
        .add_all([
            household(201),
            Household {
                networks: networks(&["192.0.2.7/32"]),
                ..household(202)
            },
        ])
        .await;
    assert!(
        matches!(taken, Err(ChangeError::NetworkTaken { .. })),
        "{taken:?}"
    );
    assert_eq!(
        store
            .households(None, None, 1_000)
            .await
            .unwrap()
            .households
            .len(),
        100,
        "nothing of what was refused is left"
    );
}

#[tokio::test]
async fn a_key_opens_until_it_is_revoked_by_whatever_process() {
    let place = Place::new();
    let daemon = place.open().await;
    let command_line = place.open().await;
    assert!(daemon.has_no_key().await.unwrap());
    let (secret, key) = daemon
        .create_key(&by(), NewKey::operator("ops"))
        .await
        .unwrap();
    assert!(!daemon.has_no_key().await.unwrap());
    assert!(
        secret.starts_with("ox_") && secret.len() == 3 + 64,
        "256 bits"
    );
    assert_eq!(
        daemon.authenticate(&secret).await.unwrap().as_ref(),
        Some(&key)
    );
    for wrong in [
        "",
        "ox_",
        &secret[1..],
        &key.id,
        &format!("{secret}0"),
        &secret.to_uppercase(),
    ] {
        assert_eq!(daemon.authenticate(wrong).await.unwrap(), None, "{wrong:?}");
    }
    assert!(
        command_line
            .revoke_key(&by(), None, &key.id)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(daemon.authenticate(&secret).await.unwrap(), None);
    assert!(
        command_line
            .revoke_key(&by(), None, &key.id)
            .await
            .unwrap()
            .is_none(),
        "once"
    );
    assert!(
        !daemon.has_no_key().await.unwrap(),
        "a revoked key does not make a first start"
    );
    assert!(daemon.keys(None).await.unwrap()[0].revoked_at.is_some());
}

#[tokio::test]
async fn a_key_is_stored_as_nothing_that_opens() {
    let place = Place::new();
    let store = place.open().await;
    let (secret, _) = store
        .create_key(&by(), NewKey::operator("ops"))
        .await
        .unwrap();
    let bare = secret.strip_prefix("ox_").unwrap().as_bytes();
    // Before the journal is checkpointed, and after it.
    let holds_the_key = || {
        let files = std::fs::read_dir(place.file().parent().unwrap())
            .unwrap()
            .map(|file| std::fs::read(file.unwrap().path()).unwrap());
        files.fold((0, false), |(length, holds), octets| {
            (
                length + octets.len(),
                holds || octets.windows(bare.len()).any(|window| window == bare),
            )
        })
    };
    let (length, holds) = holds_the_key();
    assert!(length > 10_000 && !holds);
    store.close().await;
    assert!(!holds_the_key().1);
}

#[tokio::test]
async fn a_file_that_is_no_store_of_ours_is_refused_and_left_as_it_is() {
    let foreign = tempfile::tempdir().unwrap();
    let foreign = foreign.path().join("foreign.db");
    let made = sqlx::SqlitePool::connect(&format!("sqlite:{}?mode=rwc", foreign.display()))
        .await
        .unwrap();
    sqlx::query("CREATE TABLE household (id INTEGER); ")
        .execute(&made)
        .await
        .unwrap();
    made.close().await;

    let ours = Place::new();
    let store = ours.open().await;
    for number in 0..200 {
        edit(&store, &format!("h{number}"), |_| {}).await.unwrap();
    }
    store.close().await;
    let whole = std::fs::read(ours.file()).unwrap();
    let newer = Place::new();
    newer.open().await.close().await;
    let raised = sqlx::SqlitePool::connect(&newer.url()).await.unwrap();
    let insert = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)";
    sqlx::query(insert).execute(&raised).await.unwrap();
    raised.close().await;

    let cases = [
        ("garbage", vec![0xa5; 8192]),
        ("text", b"not a database\n".to_vec()),
        ("another program's", std::fs::read(&foreign).unwrap()),
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("of a newer version", std::fs::read(newer.file()).unwrap()),
    ];
    for (what, octets) in cases {
        let place = Place::new();
        std::fs::create_dir_all(place.file().parent().unwrap()).unwrap();
        std::fs::write(place.file(), &octets).unwrap();
        let refused = Store::open(&place.url()).await.expect_err(what);
        let is_newer = matches!(refused, StoreError::Newer { version: 9999, .. });
        assert!(
            matches!(
                refused,
                StoreError::Foreign { .. } | StoreError::Open { .. }
            ) || is_newer,
            "{what}: {refused:?}"
        );
        assert_eq!(is_newer, what == "of a newer version", "{refused:?}");
        assert!(
            refused.to_string().contains("store.db"),
            "{what}: {refused}"
        );
        assert_eq!(
            std::fs::read(place.file()).unwrap(),
            octets,
            "{what} was touched"
        );
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_a_store_is_refused_without_showing_its_password() {
    for url in [
        "postgres://ox:hunter2@db/ox",
        "mysql://ox:hunter2@db/ox",
        "data/ox.db",
    ] {
        let refused = Store::open(url).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Engine { .. }),
            "{url}: {refused:?}"
        );
        assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    }
    for url in ["sqlite:", "sqlite::memory:", "sqlite://:memory:"] {
        assert!(
            matches!(Store::open(url).await, Err(StoreError::NoFile(_))),
            "{url}"
        );
    }
    // An empty file is a new store.
    let place = Place::new();
    std::fs::create_dir_all(place.file().parent().unwrap()).unwrap();
    std::fs::write(place.file(), b"").unwrap();
    place.open().await.close().await;
}

#[tokio::test]
async fn a_write_that_names_itself_begins_once() {
    let place = Place::new();
    let dead = place.open().await;
    let store = place.open().await;
    let attempt = |key: &str, body: &[u8], is_repeatable| {
        WriteAttempt::new(
            "key:a".into(),
            key.into(),
            &[b"PUT /"],
            &[body],
            is_repeatable,
        )
    };
    let kept = StoredAnswer {
        status: 201,
        headers: vec![("etag".into(), "\"1\"".into())],
        body: b"{}".to_vec(),
    };
    let first = attempt("k", b"1", false);
    assert_eq!(store.begin_once(&first).await.unwrap(), AttemptState::Fresh);
    assert_eq!(
        store.begin_once(&first).await.unwrap(),
        AttemptState::UnderWay
    );
    assert_eq!(
        store.begin_once(&attempt("k", b"2", false)).await.unwrap(),
        AttemptState::Other
    );
    store.keep_answer(&first, &kept).await.unwrap();
    for store in [&store, &dead] {
        assert_eq!(
            store.begin_once(&first).await.unwrap(),
            AttemptState::Done(kept.clone())
        );
    }
    let stranger = WriteAttempt::new("key:b".into(), "k".into(), &[b"PUT /"], &[b"1"], false);
    assert_eq!(
        store.begin_once(&stranger).await.unwrap(),
        AttemptState::Fresh
    );
    // Attempts that the other process began and did not finish: repeated if that has the same
    // effect, otherwise of unknown outcome.
    for (key, is_repeatable, expected) in [
        ("put", true, AttemptState::Fresh),
        ("post", false, AttemptState::Lost),
    ] {
        let attempt = attempt(key, b"", is_repeatable);
        assert_eq!(
            dead.begin_once(&attempt).await.unwrap(),
            AttemptState::Fresh
        );
        assert_eq!(store.begin_once(&attempt).await.unwrap(), expected);
    }
    let failed = attempt("failed", b"", false);
    store.begin_once(&failed).await.unwrap();
    store.forget_attempt(&failed).await.unwrap();
    assert_eq!(
        store.begin_once(&failed).await.unwrap(),
        AttemptState::Fresh
    );
    store.keep_secret(&failed, 201, "abc").await.unwrap();
    assert_eq!(
        store.begin_once(&failed).await.unwrap(),
        AttemptState::Secret("abc".into())
    );
}

#[tokio::test]
async fn answers_are_kept_for_a_day_and_so_many_of_one_principal() {
    let place = Place::new();
    let store = place.open().await;
    let raw = sqlx::SqlitePool::connect(&place.url()).await.unwrap();
    let count = async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM idempotency")
            .fetch_one(&raw)
            .await
            .unwrap()
    };
    let attempt =
        |number: usize| WriteAttempt::new("key:a".into(), format!("k{number}"), &[], &[], true);
    let kept = StoredAnswer {
        status: 200,
        headers: Vec::new(),
        body: vec![b'x'; 256 << 10],
    };
    for number in 0..200 {
        store.begin_once(&attempt(number)).await.unwrap();
        store.keep_answer(&attempt(number), &kept).await.unwrap();
    }
    assert!(
        count().await <= 64 + 64,
        "sixteen MiB are 64 of these, and counted is every 64th"
    );
    assert_eq!(
        store.begin_once(&attempt(199)).await.unwrap(),
        AttemptState::Done(kept),
        "the newest stay"
    );
    sqlx::query("UPDATE idempotency SET at = at - 86401")
        .execute(&raw)
        .await
        .unwrap();
    assert_eq!(
        store.begin_once(&attempt(199)).await.unwrap(),
        AttemptState::Fresh,
        "a day is over"
    );
    for number in 1_000..1_004 {
        store.begin_once(&attempt(number)).await.unwrap();
    }
    assert_eq!(count().await, 5, "old ones are gone in passing");
}

#[tokio::test]
async fn answers_of_a_household_are_bounded_whatever_its_keys() {
    let place = Place::new();
    let store = place.open().await;
    let household = id("home");
    let attempt = |number: usize| {
        WriteAttempt::new(format!("key:{number}"), "k".into(), &[], &[], true)
            .in_turn_of(Some(&household))
    };
    let kept = StoredAnswer {
        status: 200,
        headers: Vec::new(),
        body: vec![b'x'; 256 << 10],
    };
    for number in 0..200 {
        store.begin_once(&attempt(number)).await.unwrap();
        store.keep_answer(&attempt(number), &kept).await.unwrap();
    }
    let first = store.begin_once(&attempt(0)).await.unwrap();
    assert_eq!(first, AttemptState::Fresh, "forgotten");
    let last = store.begin_once(&attempt(199)).await.unwrap();
    assert_eq!(last, AttemptState::Done(kept));
}

async fn rows(place: &Place, table: &str) -> i64 {
    let raw = sqlx::SqlitePool::connect(&place.url()).await.unwrap();
    let count = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
    count.fetch_one(&raw).await.unwrap()
}

#[tokio::test]
async fn a_browsers_subscription_goes_with_its_session() {
    let place = Place::new();
    let store = place.open().await;
    edit(&store, "home", |_| ()).await.unwrap();
    let new = NewKey::new(Role::Parent, Some(id("home")), None, "").unwrap();
    let (_, key) = store.create_key(&by(), new).await.unwrap();
    let owner = SessionOwner::of_key(&key).unwrap();
    let now = Timestamp::now();
    let begun = store
        .begin_session(&owner, ToldBrowser::default(), SESSION_AGE_MAX, now)
        .await
        .unwrap();
    let session = session_fingerprint(&begun.secret).unwrap();
    let subscription = |endpoint: &str| PushSubscription {
        device: None,
        actor: owner.author.actor.clone(),
        endpoint: endpoint.to_owned(),
        public: vec![4],
        secret: vec![1],
        locale: String::new(),
    };
    for endpoint in ["https://push.example/1", "https://push.example/2"] {
        store
            .add_push_subscription(&id("home"), session, &subscription(endpoint), now)
            .await
            .unwrap();
    }
    assert_eq!(rows(&place, "push_subscription").await, 1);
    store.revoke_key(&by(), None, &key.id).await.unwrap();
    assert!(!store.has_session(session).await.unwrap());
    assert_eq!(rows(&place, "push_subscription").await, 0);
}

#[tokio::test]
async fn hints_are_bounded_and_forgotten() {
    let place = Place::new();
    let store = place.open().await;
    edit(&store, "home", |_| ()).await.unwrap();
    let now = Timestamp::now();
    let hint = |number: u8| DeviceHint {
        identifier: DeviceIdentifier::Address([192, 0, 2, number].into()),
        dhcp_name: Some("phone".parse().unwrap()),
    };
    for number in 0..70 {
        store
            .tell_device_hints(&id("home"), &[hint(number)], now)
            .await
            .unwrap();
    }
    assert_eq!(rows(&place, "device_hint").await, 64);
    store
        .expire_device_hints(now + SIGHTING_KEPT)
        .await
        .unwrap();
    assert_eq!(rows(&place, "device_hint").await, 64);
    let later = now + SIGHTING_KEPT + jiff::SignedDuration::from_secs(1);
    store.expire_device_hints(later).await.unwrap();
    assert_eq!(rows(&place, "device_hint").await, 0);
    store
        .tell_device_hints(&id("home"), &[hint(1)], now)
        .await
        .unwrap();
    let gone = |_: Option<Household>| Ok::<_, Refusal>(None);
    store.change(&by(), &id("home"), None, gone).await.unwrap();
    assert_eq!(rows(&place, "device_hint").await, 0);
}

fn seen(household: &str, last: u8, seconds: i64) -> SeenDevice {
    SeenDevice {
        household: id(household),
        identifier: DeviceIdentifier::Address([192, 0, 2, last].into()),
        seen: Timestamp::from_second(1_800_000_000 + seconds).unwrap(),
        guess: None,
    }
}

#[tokio::test]
async fn sightings_beyond_the_bound_of_a_household_are_told() {
    let place = Place::new();
    let store = place.open().await;
    let first = [seen("home", 200, 0), seen("other", 200, 0)];
    assert_eq!(store.note_sightings(&first).await.unwrap(), []);
    let flood: Vec<SeenDevice> = (0..64).map(|last| seen("home", last, 1)).collect();
    let gone = store.note_sightings(&flood).await.unwrap();
    assert_eq!(gone, [(id("home"), first[0].identifier.clone())]);
}

#[tokio::test]
async fn a_prompt_that_cannot_be_read_stops_no_other() {
    let place = Place::new();
    let store = place.open().await;
    let now = Timestamp::now();
    let wants = |device: &str, domain: &str| ThingWants {
        household: id("home"),
        device: id(device),
        domains: vec![PromptDomain {
            domain: Name::parse(domain).unwrap(),
            names: vec![Name::of_presentation(r"Living\032Room.example").unwrap()],
            first_seen: now,
            queries: 1,
        }],
    };
    let (broken, whole) = (wants("camera", "a.example"), wants("plug", "b.example"));
    let both = [broken.clone(), whole.clone()];
    assert_eq!(store.grow_prompts(&both, now).await.unwrap().len(), 2);
    let raw = sqlx::SqlitePool::connect(&format!("sqlite:{}", place.file().display()))
        .await
        .unwrap();
    sqlx::query("UPDATE prompt SET document = '{' WHERE device = 'camera'")
        .execute(&raw)
        .await
        .unwrap();
    let more = [broken, wants("plug", "c.example")];
    let grown = store.grow_prompts(&more, now).await.unwrap();
    assert_eq!((grown.len(), grown[0].added), (1, 1));
    let prompts = store.prompts(&id("home"), None, now).await.unwrap();
    assert_eq!(prompts.len(), 1);
    assert_eq!(prompts[0].domains[0], whole.domains[0]);
}
