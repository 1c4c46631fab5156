//! What a household may hold in all: a clear refusal at the limit, and a household above it, from an
//! earlier version, that stays in force and can shrink.

use std::process::Command;

use policy::rules::{
    holdings::DOCUMENT_OCTETS_MAX,
    household::{Attributed, CustomName, Household},
};
use policy_store::ChangeError;
use serde_json::json;

use crate::world::{Answer, World, author};

const HOME: &str = "/v1/households/home";
/// The size of one name of these tests, with author and time.
const NAME_OCTETS: usize = 120;

/// Adds names to the lists of the household and its device, beside the API.
async fn add_names(world: &World, count: usize) -> Result<(), ChangeError<()>> {
    let entry: Attributed<CustomName> = serde_json::from_value(json!({
        "state": "block", "scope": "exact", "set_by": "key:0123456789ab", "set_at": "2026-01-01T00:00:00.123456789Z",
    }))
    .unwrap();
    let add = move |home: Option<Household>| {
        let mut home = home.unwrap();
        for number in 0..count {
            let name = policy::name::Name::parse(&format!("n{number}.example")).unwrap();
            let device = home.devices.first_entry().unwrap().into_mut();
            let settings = match number % 2 {
                0 => &mut home.settings,
                _ => &mut device.settings,
            };
            settings.names.insert(name, entry.clone());
        }
        Ok(Some(home))
    };
    let store = &world.context.control.store;
    store
        .change(&author(), &"home".parse().unwrap(), None, add)
        .await
        .map(drop)
}

/// Puts a document with this many names into the file, as a version without the limit left it.
fn grow_in_the_file(world: &World, names: usize) {
    let statement = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {names})
        UPDATE household SET document = json_set(document, '$.names', (SELECT json_group_object('n' || i || '.example',
        json('{{\"state\":\"block\",\"scope\":\"exact\",\"set_by\":\"key:0123456789ab\",\"set_at\":\"2026-01-01T00:00:00.5Z\"}}')) FROM n))
        WHERE id = 'home'"
    );
    let output = Command::new("sqlite3")
        .arg(world.store_file())
        .arg(statement)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn is_too_much(answer: &Answer) {
    answer.is_problem(422, "limit");
    assert_eq!(answer.json["field"], "household");
    let detail = answer.json["detail"].as_str().unwrap();
    for word in [&DOCUMENT_OCTETS_MAX.to_string(), "names on own lists"] {
        assert!(detail.contains(word), "{detail}");
    }
}

#[tokio::test]
async fn a_full_household_takes_no_more_and_says_what_takes_the_room() {
    let world = World::with_home().await;
    add_names(&world, DOCUMENT_OCTETS_MAX / NAME_OCTETS - 20)
        .await
        .unwrap();
    let refused = add_names(&world, 3_000).await.unwrap_err();
    assert!(matches!(refused, ChangeError::TooMuch(_)), "{refused}");
    let own = r#"{"state":"block"}"#;
    let mut number = 0;
    let refused = loop {
        let answer = world
            .put(&format!("{HOME}/names/more{number}.example"), own)
            .await;
        if answer.status != 201 {
            break answer;
        }
        number += 1;
    };
    assert!(number > 0, "it was full before");
    is_too_much(&refused);
    // The answer to a read has names beside the keys, the document has not.
    let store = &world.context.control.store;
    let home = store.household(&"home".parse().unwrap()).await.unwrap();
    let octets = serde_json::to_string(&home.unwrap()).unwrap().len();
    assert!(octets <= DOCUMENT_OCTETS_MAX);
    assert!(octets > DOCUMENT_OCTETS_MAX - 2 * NAME_OCTETS);
    world
        .delete(&format!("{HOME}/names/more0.example"))
        .await
        .ok();
    world
        .put(&format!("{HOME}/names/other.example"), own)
        .await
        .ok();
    world.assert_live_is_stored().await;
}

#[tokio::test]
async fn a_household_above_the_limit_stays_and_can_shrink_but_not_grow() {
    let world = World::with_home().await;
    let switch = format!("{HOME}/categories/gambling");
    world.put(&switch, r#"{"state":"block"}"#).await.ok();
    grow_in_the_file(&world, 5_000);
    let home = world.get(HOME).await.ok();
    assert!(home.text.len() > 2 * DOCUMENT_OCTETS_MAX);
    world.put(&switch, r#"{"state":"allow"}"#).await.ok();
    world
        .put(&format!("{HOME}/names/n1.example"), r#"{"state":"allow"}"#)
        .await
        .ok();
    is_too_much(&world.put(&format!("{HOME}/devices/tv"), "{}").await);
    is_too_much(
        &world
            .put(&format!("{HOME}/categories/ads"), r#"{"state":"block"}"#)
            .await,
    );
    world.delete(&format!("{HOME}/names/n2.example")).await.ok();
    let after = world.get(HOME).await.ok();
    assert_eq!(after.json["names"].as_object().unwrap().len(), 4_999);
    world.assert_live_is_stored().await;
}

#[tokio::test]
async fn an_import_goes_by_the_same_limit() {
    let world = World::with_home().await;
    let mut large = Household::new("large".parse().unwrap());
    large.locale = Some("x".repeat(DOCUMENT_OCTETS_MAX));
    let small = Household::new("small".parse().unwrap());
    let store = &world.context.control.store;
    let refused = store.add_all([small, large]).await.unwrap_err();
    assert!(matches!(refused, ChangeError::TooMuch(_)), "{refused}");
    let small = store.household(&"small".parse().unwrap()).await.unwrap();
    assert_eq!(small, None, "all or none");
}
