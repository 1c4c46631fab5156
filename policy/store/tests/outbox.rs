//! Notices and requests: stored with the change that makes them or not at all, and kept as long as
//! they are needed.

// A test that cannot continue fails.
#![allow(clippy::unwrap_used)]

use jiff::{SignedDuration, Timestamp};
use policy::{
    name::Name,
    rules::household::{Device, Household, Id, Settings},
};
use policy_store::{
    Author, ChangeError, Delivery, HouseholdChange, NewNotice, RequestAnswer, RequestDetails,
    RequestError, RequestState, Store,
};
use serde_json::json;

fn by() -> Author {
    Author {
        actor: "key:a".to_owned(),
        role: "parent".to_owned(),
    }
}

fn home() -> Household {
    let mut home = Household::new(id("home"));
    let device = Device {
        name: "Phone".to_owned(),
        kind: None,
        person: None,
        identifiers: Vec::new(),
        log: true,
        thing: None,
        settings: Settings::default(),
    };
    home.devices.insert(id("phone"), device);
    home
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

async fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(&format!("sqlite:{}/store.db", folder.path().display()))
        .await
        .unwrap()
}

fn notice(name: &str, at: Timestamp) -> NewNotice {
    let to = vec![
        ("webhook", None),
        ("email", Some("holder@example.org".to_owned())),
    ];
    NewNotice {
        id: name.to_owned(),
        household: id("home"),
        at,
        document: json!({ "id": name }),
        to,
    }
}

async fn change(
    store: &Store,
    notices: Vec<NewNotice>,
    allows: Option<(String, RequestAnswer)>,
) -> Result<(), ChangeError<&'static str>> {
    let change = move |_: Option<&Household>| {
        let change = HouseholdChange {
            household: Some(home()),
            notices,
            allows,
            ..HouseholdChange::default()
        };
        Ok((change, ()))
    };
    store
        .change_with(&by(), &id("home"), None, change)
        .await
        .map(drop)
}

#[tokio::test]
async fn a_notice_stays_from_its_change_until_it_is_delivered_or_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let now = Timestamp::from_second(2_000_000_000).unwrap();
    let later = now + SignedDuration::from_secs(60);
    change(&store, vec![notice("a", now)], None).await.unwrap();
    // A failed change sends no notice: the request that it allows does not exist.
    let lost = change(
        &store,
        vec![notice("b", now)],
        Some(("none".to_owned(), answer("allow"))),
    )
    .await;
    assert!(matches!(lost, Err(ChangeError::Settled)), "{lost:?}");
    let [web] = &store.notices_due("webhook", now, 9).await.unwrap()[..] else {
        panic!("one notice")
    };
    assert_eq!(
        (
            web.id.as_str(),
            web.recipient.as_ref(),
            web.attempts,
            web.queued_at
        ),
        ("a", None, 0, now)
    );
    let [mail] = &store.notices_due("email", now, 9).await.unwrap()[..] else {
        panic!("one notice")
    };
    assert_eq!(mail.recipient.as_deref(), Some("holder@example.org"));
    store
        .settle_notice(web, &Delivery::Later(later, "out of order".to_owned()))
        .await
        .unwrap();
    assert!(
        store
            .notices_due("webhook", now, 9)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        store.notices_due("webhook", later, 9).await.unwrap()[0].attempts,
        1
    );
    store
        .settle_notice(mail, &Delivery::Delivered)
        .await
        .unwrap();
    let counts = store.count_notices().await.unwrap();
    assert_eq!(
        (counts.queued, counts.dead, counts.oldest),
        (1, 0, Some(now))
    );
    store
        .settle_notice(web, &Delivery::Dead("three days".to_owned()))
        .await
        .unwrap();
    change(&store, vec![notice("c", now)], None).await.unwrap();
    for channel in ["webhook", "email"] {
        let due = store.notices_due(channel, later, 9).await.unwrap();
        assert_eq!(
            due.iter().map(|due| due.id.as_str()).collect::<Vec<_>>(),
            ["c"]
        );
        store
            .settle_notice(&due[0], &Delivery::Delivered)
            .await
            .unwrap();
    }
    store.forget_notices(later).await.unwrap();
    let counts = store.count_notices().await.unwrap();
    assert_eq!(
        (counts.queued, counts.dead, counts.oldest),
        (0, 1, None),
        "what was given up stays"
    );
}

fn answer(word: &str) -> RequestAnswer {
    let (scope, whose, until, note) = Default::default();
    let answered_at = Timestamp::from_second(2_000_000_100).unwrap();
    RequestAnswer {
        answer: word.to_owned(),
        scope,
        whose,
        until,
        note,
        answered_by: "key:a".to_owned(),
        answered_at,
    }
}

#[tokio::test]
async fn a_request_is_answered_once_and_goes_with_its_device_and_with_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let now = Timestamp::from_second(2_000_000_000).unwrap();
    change(&store, Vec::new(), None).await.unwrap();
    let asked = |name: &str| RequestDetails {
        name: Name::parse(name).unwrap(),
        categories: Vec::new(),
        reason: None,
        asked_by: "key:c".to_owned(),
        answer: None,
    };
    let home = id("home");
    let (first, is_new) = store
        .add_request(&home, &id("phone"), asked("a.example"), now)
        .await
        .unwrap();
    let again = store
        .add_request(&home, &id("phone"), asked("www.a.example"), now)
        .await
        .unwrap();
    assert_eq!(
        (is_new, again),
        (true, (first.clone(), false)),
        "one that waits is not asked again"
    );
    change(
        &store,
        Vec::new(),
        Some((first.id.clone(), answer("allow"))),
    )
    .await
    .unwrap();
    let settled = store
        .deny_request::<()>(&home, &first.id, &answer("deny"))
        .await;
    assert!(matches!(settled, Err(ChangeError::Settled)), "{settled:?}");
    assert_eq!(
        store
            .request(&home, &first.id, now)
            .await
            .unwrap()
            .unwrap()
            .state,
        RequestState::Allowed
    );
    assert!(
        store
            .request(&id("other"), &first.id, now)
            .await
            .unwrap()
            .is_none()
    );
    for number in 1..20 {
        store
            .add_request(
                &home,
                &id("phone"),
                asked(&format!("n{number}.example")),
                now,
            )
            .await
            .unwrap();
    }
    let full = store
        .add_request(&home, &id("phone"), asked("a.example"), now)
        .await;
    assert!(matches!(full, Err(RequestError::TooManyToday)), "{full:?}");
    let tomorrow = now + SignedDuration::from_hours(25);
    store
        .add_request(&home, &id("phone"), asked("a.example"), tomorrow)
        .await
        .unwrap();
    assert_eq!(
        store.requests(&home, None, tomorrow).await.unwrap().len(),
        21
    );
    assert_eq!(
        store
            .requests(&home, Some(&id("tv")), tomorrow)
            .await
            .unwrap()
            .len(),
        0
    );
    let month = now + SignedDuration::from_hours(32 * 24);
    assert_eq!(store.requests(&home, None, month).await.unwrap().len(), 0);
    let (_, is_new) = store
        .add_request(&home, &id("phone"), asked("n1.example"), month)
        .await
        .unwrap();
    assert!(is_new, "what is forgotten waits for no answer");
    let empty = |_| Ok::<_, ()>(Some(Household::new(id("home"))));
    store.change(&by(), &home, None, empty).await.unwrap();
    assert_eq!(
        store.requests(&home, None, tomorrow).await.unwrap().len(),
        0,
        "the device is gone, and what it asked for"
    );
}

#[tokio::test]
async fn a_notice_that_waits_takes_up_those_that_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let at = |second: i64| Timestamp::from_second(2_000_000_000 + second).unwrap();
    let of = |name: &str, subject: &str, second| NewNotice {
        document: json!({ "id": name, "at": at(second), "text": name, "subject": subject }),
        ..notice(name, at(second))
    };
    let queue = async |notice| change(&store, vec![notice], None).await.unwrap();
    let due = async |second| store.notices_due("webhook", at(second), 99).await.unwrap();
    let names = async |second| {
        let due = due(second).await;
        due.into_iter().map(|due| due.id).collect::<Vec<_>>()
    };
    // A first attempt may be under way: nothing is added to it.
    queue(of("a", "loosened", 0)).await;
    queue(of("b", "loosened", 0)).await;
    assert_eq!(names(0).await, ["a", "b"]);
    for channel in ["webhook", "email"] {
        for due in store.notices_due(channel, at(0), 9).await.unwrap() {
            let later = Delivery::Later(at(60), "out of order".to_owned());
            store.settle_notice(&due, &later).await.unwrap();
        }
    }
    for number in 0..50 {
        queue(of(&format!("c{number}"), "loosened", 10)).await;
    }
    queue(of("d", "a new key", 10)).await;
    assert_eq!(names(10).await, ["d"]);
    let all = due(60).await;
    assert_eq!(all.len(), 3);
    let taken_up = all.iter().find(|due| due.id == "b").unwrap();
    assert_eq!(
        taken_up.document,
        json!({ "id": "b", "at": at(10), "text": "c49", "subject": "loosened", "times": 51, "first_at": at(0) })
    );
    assert_eq!((taken_up.attempts, taken_up.queued_at), (1, at(10)));
    // In that second their attempts may be under way.
    queue(of("e", "loosened", 60)).await;
    assert_eq!(due(60).await.len(), 4);
}

#[tokio::test]
async fn of_delivered_and_given_up_notices_the_newest_of_a_household_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let now = Timestamp::from_second(2_000_000_000).unwrap();
    let waits = notice("waits", now);
    change(&store, vec![waits], None).await.unwrap();
    for number in 0..120 {
        let name = format!("n{number}");
        change(&store, vec![notice(&name, now)], None)
            .await
            .unwrap();
        for channel in ["webhook", "email"] {
            let due = store.notices_due(channel, now, 9).await.unwrap();
            let due = due.into_iter().find(|due| due.id == name).unwrap();
            let dead = Delivery::Dead("no such mailbox".to_owned());
            store.settle_notice(&due, &dead).await.unwrap();
        }
    }
    let counts = store.count_notices().await.unwrap();
    assert_eq!((counts.queued, counts.dead), (2, 2 * 100));
}

#[tokio::test]
async fn a_household_keeps_a_bounded_number_of_requests_and_all_open_ones() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    change(&store, Vec::new(), None).await.unwrap();
    let home = id("home");
    let begin = Timestamp::from_second(2_000_000_000).unwrap();
    let ask = async |number: i64| {
        let asked = RequestDetails {
            name: Name::parse(&format!("n{number}.example")).unwrap(),
            categories: Vec::new(),
            reason: None,
            asked_by: "key:c".to_owned(),
            answer: None,
        };
        let device = id(&format!("phone-{}", number % 60));
        let at = begin + SignedDuration::from_secs(number);
        let asked = store.add_request(&home, &device, asked, at).await.unwrap();
        asked.0
    };
    let oldest = ask(0).await;
    for number in 1..1_020 {
        let asked = ask(number).await;
        store
            .deny_request::<()>(&home, &asked.id, &answer("deny"))
            .await
            .unwrap();
    }
    let last = ask(1_020).await;
    let kept = store.requests(&home, None, last.at).await.unwrap();
    assert_eq!(kept.len(), 1_000);
    assert_eq!(
        (&kept[0], &kept[999]),
        (&last, &oldest),
        "the open ones stay"
    );
    assert_eq!(kept[998].asked.name, Name::parse("n22.example").unwrap());
}
