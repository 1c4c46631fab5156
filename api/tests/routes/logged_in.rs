//! Who can get in: sessions and links of a household, listed and ended by those who may.

use axum::http::Method;
use policy_store::{Role, session_fingerprint};
use serde_json::{Value, json};

use crate::{
    sessions::Browser,
    streams::Listener,
    world::{Answer, World},
};

const SESSION: &str = "/v1/session";
const SESSIONS: &str = "/v1/households/home/sessions";
const LINKS: &str = "/v1/households/home/links";
const KEYS: &str = "/v1/households/home/keys";
const EVENTS: &str = "/v1/households/home/events";
const FIREFOX: &str = "Mozilla/5.0 (Android 16; Mobile; rv:150.0) Gecko/150.0 Firefox/150.0";

impl Browser {
    /// What the cookie holds.
    fn secret(&self) -> &str {
        self.cookie.split_once('=').unwrap().1
    }
}

impl World {
    /// A browser that a link has let in.
    async fn by_link(&self, link: Value) -> Browser {
        let made = self.link(link).await.ok();
        let body = json!({ "link": made.json["secret"] });
        let answer = self.logs_in(body, &[("user-agent", FIREFOX)]).await;
        Browser::of(&answer.ok())
    }

    /// What a browser sees of the household's sessions.
    async fn sessions_as(&self, browser: &Browser) -> Vec<Value> {
        let answer = self.browse(browser, Method::GET, SESSIONS, "").await.ok();
        answer.json["sessions"].as_array().unwrap().clone()
    }

    /// The session of a browser, as the operator sees it.
    async fn session_id(&self, browser: &Browser) -> String {
        let fingerprint = session_fingerprint(browser.secret());
        let store = &self.context.control.store;
        let now = jiff::Timestamp::now();
        let sessions = store.sessions_of(&"home".parse().unwrap(), now).await;
        let mut sessions = sessions.unwrap().into_iter();
        let found = sessions.find(|session| Some(session.fingerprint) == fingerprint);
        found.expect("the session is in force").id
    }

    async fn is_in(&self, browser: &Browser) -> bool {
        let answer = self.browse(browser, Method::GET, SESSION, "").await;
        if answer.status != 200 {
            answer.is_problem(401, "session_missing");
        }
        answer.status == 200
    }

    /// A stream of a browser's session.
    async fn listens(&self, browser: &Browser) -> Listener {
        Listener::with(self, &[("cookie", &browser.cookie)], EVENTS).await
    }

    /// The rows of the audit about a subject.
    async fn audit_of(&self, subject: &str) -> Vec<Value> {
        let answer = self.get(&format!("/v1/audit?subject={subject}")).await.ok();
        answer.json["records"].as_array().unwrap().clone()
    }
}

fn has_no_secret(answer: &Answer, secrets: &[&str]) {
    for secret in secrets {
        assert!(!answer.text.contains(secret), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_parent_sees_who_is_logged_in_and_no_secret() {
    let world = World::with_home().await;
    let parent = world.browser_of(Role::Parent).await;
    let link = json!({ "role": "child", "device": "phone", "label": "Ella" });
    let child = world.by_link(link).await;
    let answer = world.browse(&parent, Method::GET, SESSIONS, "").await.ok();
    has_no_secret(&answer, &[parent.secret(), child.secret(), "oxs_"]);
    let sessions = answer.json["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let of = |is_own: bool| {
        let mut sessions = sessions.iter();
        sessions.find(|one| one["is_own"] == is_own).unwrap()
    };
    let own = of(true);
    assert_eq!(
        (&own["role"], &own["is_of_link"], &own["browser"]),
        (&json!("parent"), &json!(false), &json!(null))
    );
    let ella = of(false);
    for (field, value) in [
        ("role", json!("child")),
        ("device", json!("phone")),
        ("label", json!("Ella")),
        ("is_of_link", json!(true)),
        ("browser", json!("Firefox")),
        ("system", json!("Android")),
    ] {
        assert_eq!(ella[field], value, "{field}");
    }
    assert!(ella["acts_for"].as_str().unwrap().starts_with("key:"));
    assert!(ella["begun_at"].is_string() && ella["last_used_at"].is_string());
    // The operator has no session here; another household has others.
    let seen = world.get(SESSIONS).await.ok().json;
    let seen = seen["sessions"].as_array().unwrap();
    assert!(seen.len() == 2 && seen.iter().all(|one| one["is_own"] == false));
    world.put("/v1/households/other", "{}").await.ok();
    let other = world.get("/v1/households/other/sessions").await.ok();
    assert_eq!(other.json["sessions"], json!([]));
}

#[tokio::test]
async fn an_ended_session_is_refused_and_its_stream_ends() {
    let world = World::with_home().await;
    let parent = world.browser_of(Role::Parent).await;
    let second = world.by_link(json!({ "role": "second-parent" })).await;
    let mut stays = world.listens(&parent).await;
    let ends = world.listens(&second).await;
    let id = world.session_id(&second).await;
    let path = format!("{SESSIONS}/{id}");
    world.put("/v1/households/other", "{}").await.ok();
    world
        .delete(&format!("/v1/households/other/sessions/{id}"))
        .await
        .is_problem(404, "unknown_session");
    assert!(world.is_in(&second).await);
    let ended = world.browse(&parent, Method::DELETE, &path, "").await.ok();
    assert_eq!(ended.json, json!({ "id": id }));
    assert!(!world.is_in(&second).await);
    assert_eq!(ends.rest().await, "");
    assert!(stays.hears(&world).await, "another's goes on");
    let store = &world.context.control.store;
    let fingerprint = |browser: &Browser| session_fingerprint(browser.secret()).unwrap();
    assert!(!store.has_session(fingerprint(&second)).await.unwrap());
    assert!(store.has_session(fingerprint(&parent)).await.unwrap());
    // The key that the link has made is of no use to anything else.
    let keys = world.get(KEYS).await.json;
    let of_link = keys["keys"].as_array().unwrap().iter();
    let mut of_link = of_link.filter(|key| key["role"] == "second-parent");
    assert!(of_link.all(|key| key["revoked_at"].is_string()), "{keys}");
    let rows = world.audit_of(&format!("session:{id}")).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["action"], &rows[0]["before"]["household"]),
        (&json!("end"), &json!("home"))
    );
    assert_eq!(world.get("/v1/audit/verify").await.json["is_whole"], true);
    world
        .browse(&parent, Method::DELETE, &path, "")
        .await
        .is_problem(404, "unknown_session");
}

#[tokio::test]
async fn logging_all_others_out_leaves_only_the_callers_session() {
    let world = World::with_home().await;
    let parent = world.by_link(json!({ "role": "parent" })).await;
    let elsewhere = world.browser_of(Role::Parent).await;
    let child = world
        .by_link(json!({ "role": "child", "device": "phone" }))
        .await;
    let open = world.link(json!({ "role": "parent" })).await.ok().json;
    world.put("/v1/households/other", "{}").await.ok();
    let (neighbour, _) = world.key_in(Role::Parent, "other").await;
    let neighbour = neighbour.trim_start_matches("Bearer ");
    let neighbour = world.logs_in(json!({ "key": neighbour }), &[]).await.ok();
    let neighbour = Browser::of(&neighbour);
    // Whom another site sends does not.
    let forged = [("cookie", parent.cookie.as_str())];
    world
        .send(Method::DELETE, SESSIONS, &forged, "")
        .await
        .is_problem(403, "csrf");
    let ended = world.browse(&parent, Method::DELETE, SESSIONS, "").await;
    assert_eq!(ended.ok().json, json!({ "sessions": 2, "links": 1 }));
    for (browser, is_in) in [
        (&parent, true),
        (&elsewhere, false),
        (&child, false),
        (&neighbour, true),
    ] {
        assert_eq!(world.is_in(browser).await, is_in, "{browser:?}");
    }
    assert_eq!(world.sessions_as(&parent).await.len(), 1);
    world
        .logs_in(json!({ "link": open["secret"] }), &[])
        .await
        .is_problem(401, "link_wrong");
    let row = format!("link:{}", open["id"].as_str().unwrap());
    assert_eq!(world.audit_of(&row).await.len(), 2, "made and removed");
}

#[tokio::test]
async fn the_operator_ends_all_sessions_and_given_keys_stay() {
    let world = World::with_home().await;
    let (key, _) = world.key_in(Role::Parent, "home").await;
    let body = json!({ "key": key.trim_start_matches("Bearer ") });
    let parent = Browser::of(&world.logs_in(body.clone(), &[]).await.ok());
    let second = world.by_link(json!({ "role": "second-parent" })).await;
    let ended = world.delete(SESSIONS).await.ok();
    assert_eq!(ended.json, json!({ "sessions": 2, "links": 0 }));
    assert!(!world.is_in(&parent).await && !world.is_in(&second).await);
    let again = world.delete(SESSIONS).await.ok();
    assert_eq!(again.json, json!({ "sessions": 0, "links": 0 }));
    // A new log-in with the key is a new session.
    let parent = Browser::of(&world.logs_in(body, &[]).await.ok());
    assert!(world.is_in(&parent).await);
}

#[tokio::test]
async fn a_second_parents_removal_ends_all_their_sessions_at_once() {
    let world = World::with_home().await;
    let parent = world.browser_of(Role::Parent).await;
    let (key, id) = world.key_in(Role::SecondParent, "home").await;
    let body = json!({ "key": key.trim_start_matches("Bearer ") });
    let phone = Browser::of(&world.logs_in(body.clone(), &[]).await.ok());
    let laptop = Browser::of(&world.logs_in(body, &[]).await.ok());
    let (first, second) = (world.listens(&phone).await, world.listens(&laptop).await);
    assert_eq!(world.sessions_as(&parent).await.len(), 3);
    let path = format!("{KEYS}/{id}");
    world.browse(&parent, Method::DELETE, &path, "").await.ok();
    assert!(!world.is_in(&phone).await && !world.is_in(&laptop).await);
    assert_eq!(first.rest().await + &second.rest().await, "");
    assert_eq!(world.sessions_as(&parent).await.len(), 1);
}

#[tokio::test]
async fn a_childs_many_log_ins_end_its_own_sessions_and_no_parents() {
    let world = World::with_home().await;
    let parent = world.browser_of(Role::Parent).await;
    let (key, _) = world.key_in(Role::Child, "home").await;
    let body = json!({ "key": key.trim_start_matches("Bearer ") });
    let first = Browser::of(&world.logs_in(body.clone(), &[]).await.ok());
    let stream = world.listens(&first).await;
    for _ in 0..32 {
        world.logs_in(body.clone(), &[]).await.ok();
    }
    assert!(world.is_in(&parent).await);
    assert!(!world.is_in(&first).await, "the oldest of the child's");
    assert_eq!(stream.rest().await, "");
    assert_eq!(world.sessions_as(&parent).await.len(), 33);
}

#[tokio::test]
async fn open_links_are_listed_without_their_secrets() {
    let world = World::with_home().await;
    let (parent, id) = world.key_in(Role::Parent, "home").await;
    let body = r#"{"role":"second-parent","label":"Gran","minutes":60}"#;
    let by_parent = world.as_key(&parent, Method::POST, LINKS, body).await.ok();
    let by_operator = world.link(json!({ "role": "parent" })).await.ok();
    let used = world.link(json!({ "role": "parent" })).await.ok();
    let body = json!({ "link": used.json["secret"] });
    world.logs_in(body, &[]).await.ok();
    let listed = world.as_key(&parent, Method::GET, LINKS, "").await.ok();
    let secret = |made: &Answer| made.json["secret"].as_str().unwrap().to_owned();
    has_no_secret(&listed, &[&secret(&by_parent), &secret(&by_operator)]);
    let links = listed.json["links"].as_array().unwrap();
    assert_eq!(links.len(), 2, "{}", listed.text);
    assert_eq!(
        (&links[0]["label"], &links[0]["made_by"], &links[0]["id"]),
        (
            &json!("Gran"),
            &json!(format!("key:{id}")),
            &by_parent.json["id"]
        )
    );
    // With the key that made it a link ends, and leaves the list.
    world.delete(&format!("{KEYS}/{id}")).await.ok();
    let path = format!("{LINKS}/{}", by_operator.json["id"].as_str().unwrap());
    assert_eq!(
        world.get(LINKS).await.json["links"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    world.delete(&path).await.ok();
    assert_eq!(world.get(LINKS).await.json, json!({ "links": [] }));
}
