//! Notices to account holders: of keys, lines, the removal of the household, and longer retention.
//! Text of others never makes a line of its own.

use axum::http::Method;
use jiff::{SignedDuration, Timestamp};
use policy::rules::household::{Attributed, CustomName, Household, SwitchState};
use policy_store::{DueDelivery, Role};
use serde_json::{Value, json};

use crate::world::{World, author};

const HOME: &str = "/v1/households/home";
const KEYS: &str = "/v1/households/home/keys";

/// A household whose holder has an e-mail address.
async fn home() -> World {
    let world = World::with_home().await;
    world
        .put(
            HOME,
            r#"{"contact":{"email":"holder@example.org"},"preset":"moderate"}"#,
        )
        .await
        .ok();
    world
}

impl World {
    /// The notices waiting for e-mail, oldest first.
    async fn mails(&self) -> Vec<DueDelivery> {
        let later = Timestamp::now() + SignedDuration::from_hours(1);
        let mut due = self
            .context
            .control
            .store
            .notices_due("email", later, 1_000)
            .await
            .unwrap();
        due.sort_by_key(|due| due.sequence);
        due
    }

    /// The kind and the text of each notice after the first ones.
    async fn told_since(&self, count: usize) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        self.mails().await[count..]
            .iter()
            .map(|due| (text(&due.document["kind"]), text(&due.document["text"])))
            .collect()
    }

    /// Stores the names of a device and a person as old versions did, unchecked.
    async fn store_names(&self, name: &str) {
        let name = name.to_owned();
        let edit = move |household: Option<Household>| {
            let mut household = household.unwrap();
            household.external_ref = Some(name.clone());
            household.devices.get_mut("phone").unwrap().name = name;
            Ok::<_, ()>(Some(household))
        };
        self.context
            .control
            .store
            .change(&author(), &"home".parse().unwrap(), None, edit)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_key_for_a_parent_is_told_when_it_is_made_and_when_it_ends() {
    let world = home().await;
    for (role, words) in [
        ("parent", "for the holder of the account (“Dad's laptop”)"),
        ("second-parent", "for another parent (“Dad's laptop”)"),
    ] {
        let told = world.mails().await.len();
        let made = world
            .post(
                KEYS,
                &json!({ "role": role, "label": "Dad's laptop" }).to_string(),
            )
            .await
            .ok();
        let [(kind, text)] = &world.told_since(told).await[..] else {
            panic!("one notice of a {role}'s key")
        };
        assert!(
            kind == "key" && text.contains(words) && text.contains("your provider"),
            "{text}"
        );
        let mail = &world.mails().await[told];
        assert_eq!(mail.recipient.as_deref(), Some("holder@example.org"));
        assert_eq!(
            mail.document["changes"][0]["key"], made.json["id"],
            "{}",
            mail.document
        );
        assert!(
            !mail
                .document
                .to_string()
                .contains(made.json["secret"].as_str().unwrap()),
            "the secret is told nobody"
        );
        world
            .delete(&format!("{KEYS}/{}", made.json["id"].as_str().unwrap()))
            .await
            .ok();
        let [_, (kind, text)] = &world.told_since(told).await[..] else {
            panic!("one notice more")
        };
        assert!(kind == "key" && text.contains("was revoked"), "{text}");
    }
}

#[tokio::test]
async fn a_parent_who_makes_a_key_is_named_and_a_childs_key_is_not_told() {
    let world = home().await;
    let (parent, _) = world.key_in(Role::Parent, "home").await;
    world
        .as_key(
            &parent,
            Method::POST,
            KEYS,
            r#"{"role":"child","device":"phone"}"#,
        )
        .await
        .ok();
    world
        .as_key(&parent, Method::POST, KEYS, r#"{"role":"second-parent"}"#)
        .await
        .ok();
    let told = world.told_since(0).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].1.contains("changed by the holder of the account"),
        "{}",
        told[0].1
    );
    // A failed write sends no notice.
    world
        .as_key(
            &parent,
            Method::POST,
            KEYS,
            r#"{"role":"child","device":"none"}"#,
        )
        .await
        .is_problem(422, "unknown_device");
    assert_eq!(world.told_since(0).await.len(), 1);
}

#[tokio::test]
async fn a_network_that_is_taken_away_is_told() {
    let world = home().await;
    let net = format!("{HOME}/networks/192.0.2.0%2F24");
    world.delete(&net).await.ok();
    let [(kind, text)] = &world.told_since(0).await[..] else {
        panic!("one notice")
    };
    assert!(
        kind == "network" && text.contains("192.0.2.0/24 is no longer your household's"),
        "{text}"
    );
    world.put(&net, "").await.ok();
    assert_eq!(
        world.told_since(0).await.len(),
        1,
        "a network that comes opens nothing"
    );
}

#[tokio::test]
async fn a_part_of_a_network_that_goes_to_another_household_is_told() {
    let world = home().await;
    world
        .put(
            "/v1/households/other",
            r#"{"contact":{"email":"other@example.org"}}"#,
        )
        .await
        .ok();
    world
        .put("/v1/households/other/networks/192.0.2.64%2F26", "")
        .await
        .ok();
    let mails = world.mails().await;
    let [mail] = &mails[..] else {
        panic!("one notice: {mails:?}")
    };
    assert_eq!(
        (mail.household.as_str(), mail.recipient.as_deref()),
        ("home", Some("holder@example.org"))
    );
    let text = mail.document["text"].as_str().unwrap();
    assert!(
        text.contains("192.0.2.64/26 is no longer your household's") && !text.contains("other"),
        "{text}"
    );
    // The same network again, a part of the household's own, and a network around another
    // household's take nothing from anyone.
    for network in [
        "other/networks/192.0.2.64%2F26",
        "home/networks/192.0.2.0%2F28",
        "other/networks/192.0.0.0%2F16",
    ] {
        world
            .put(&format!("/v1/households/{network}"), "")
            .await
            .ok();
    }
    assert_eq!(world.mails().await.len(), 1);
}

#[tokio::test]
async fn the_end_of_a_household_is_told_once_to_its_holder() {
    let world = home().await;
    let (_parent, _) = world.key_in(Role::Parent, "home").await;
    world.delete(HOME).await.ok();
    let mails = world.mails().await;
    let [mail] = &mails[..] else {
        panic!("one notice: {mails:?}")
    };
    assert_eq!(
        (&mail.document["kind"], mail.recipient.as_deref()),
        (&json!("household_deleted"), Some("holder@example.org"))
    );
    assert!(
        mail.document["text"]
            .as_str()
            .unwrap()
            .contains("Your household was deleted"),
        "{}",
        mail.document
    );
    // A household made again under the same identifier is another one.
    world
        .put(HOME, r#"{"contact":{"email":"stranger@example.org"}}"#)
        .await
        .ok();
    assert_eq!(world.mails().await.len(), 1);
}

#[tokio::test]
async fn who_changes_the_address_does_not_choose_where_that_is_told() {
    let world = home().await;
    world
        .put(HOME, r#"{"contact":{"email":"new@example.org"}}"#)
        .await
        .ok();
    world
        .put(HOME, r#"{"contact":null,"filtering":"off"}"#)
        .await
        .ok();
    let mails = world.mails().await;
    let to: Vec<_> = mails
        .iter()
        .map(|mail| {
            (
                mail.recipient.as_deref().unwrap(),
                mail.document["contact_changed"].clone(),
            )
        })
        .collect();
    assert_eq!(
        to,
        [
            ("holder@example.org", json!(true)),
            ("new@example.org", json!(true))
        ]
    );
}

#[tokio::test]
async fn a_longer_history_is_told_and_a_shorter_one_is_not() {
    let world = home().await;
    // The retention, the number of notices after it, and the days in the last one.
    for (days, names, notices, told) in [
        (7, false, 1, "kept for 7 days."),
        (3, false, 1, ""),
        (4, false, 2, "kept for 4 days."),
        (4, true, 3, "kept for 4 days, with the names"),
        (0, true, 3, ""),
        (90, true, 4, "kept for 90 days, with the names"),
        (89, true, 4, ""),
    ] {
        world
            .put(
                &format!("{HOME}/history"),
                &json!({ "days": days, "names": names }).to_string(),
            )
            .await
            .ok();
        let all = world.told_since(0).await;
        assert_eq!(all.len(), notices, "{days} {names}: {all:?}");
        let (kind, text) = all.last().unwrap();
        assert!(
            kind == "history" && text.contains(told),
            "{days} {names}: {text}"
        );
        assert_eq!(text.matches("\n- ").count(), 1, "{text}");
    }
}

#[tokio::test]
async fn no_line_of_a_notice_is_of_another_persons_making() {
    let forged = "x\r\n\r\nYour account is locked.\nCall 0900\u{2028}now\u{202e}evil\u{0}\u{85}";
    let world = home().await;
    world.store_names(forged).await;
    let lines = |text: &str| text.lines().count();
    let mut plain = Vec::new();
    for name in [forged, "Phone"] {
        world.store_names(name).await;
        let told = world.mails().await.len();
        let path = format!("{HOME}/devices/phone/categories/gambling");
        world.put(&path, r#"{"state":"allow"}"#).await.ok();
        world.delete(&path).await.ok();
        let (_, text) = &world.told_since(told).await[0];
        assert!(
            text.chars()
                .all(|character| character == '\n' || !character.is_control()),
            "{text:?}"
        );
        assert!(!text.contains(['\u{2028}', '\u{202e}']), "{text:?}");
        plain.push(lines(text));
        let document = world.mails().await[told].document.to_string();
        assert!(
            !document.contains("\\r")
                && !document.contains('\u{202e}')
                && !document.contains("\\u0000"),
            "{document}"
        );
    }
    assert_eq!(plain[0], plain[1], "as many lines as with a harmless name");
}

#[test]
fn a_stored_document_with_such_names_is_still_read() {
    let set = Attributed {
        value: CustomName {
            state: SwitchState::Allow,
            scope: policy::lists::entry::Scope::Exact,
        },
        set_by: "a\nb".into(),
        set_at: Timestamp::UNIX_EPOCH,
    };
    let document = json!({
        "id": "home", "version": 1, "time_zone": "UTC", "filtering": "on", "external_ref": "a\r\nb", "names": { "a.example": set },
        "people": { "ella": { "name": "El\u{202e}la" } },
        "devices": { "phone": { "name": "a\u{0}b", "log": true, "identifiers": [{ "cpe_id": "line-7" }, { "token": "t0ken" }] } },
    });
    let household: Household = serde_json::from_value(document).unwrap();
    assert_eq!(household.devices["phone"].identifiers.len(), 2);
}
