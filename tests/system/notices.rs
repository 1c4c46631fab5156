//! Notifications: the account holder learns of every change that weakens the filter, signed, in
//! plain words, and also when delivery fails at first.

use std::time::Duration;

use crate::world::{Api, MailServer, Switch::*, WebhookReceiver, World, eventually};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

const SECRET: &str = "sixteen octets or more";

async fn world(hook: &WebhookReceiver, mailbox: Option<&MailServer>) -> World {
    let smtp = mailbox.map_or_else(String::new, |mailbox| {
        format!(
            "[notices.smtp]\nhost = \"127.0.0.1\"\nport = {}\nfrom = \"protect@isp.example\"\ntls = \"none\"\n[app]\nname = \"Teulu\"\n",
            mailbox.port()
        )
    });
    let notices = format!(
        "[notices]\nwebhook = \"{}\"\nsecret = \"{SECRET}\"\nretry_first_s = 1\n{smtp}",
        hook.url()
    );
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .config(&notices)
        .start()
        .await;
    let contact = json!({ "preset": "moderate", "time_zone": "Europe/London", "contact": { "email": "holder@example.org" } });
    world.api.household("home", contact).await.ok();
    world
        .device("home", "phone", ("address", "127.0.7.9"))
        .await;
    world
}

/// A new key, of which the holder was notified.
async fn parent(world: &World, hook: &WebhookReceiver, role: &str) -> Api {
    let told = hook.notices().len();
    let made = world
        .api
        .post(
            "/v1/households/home/keys",
            json!({ "role": role, "label": "Dad's laptop" }),
        )
        .await
        .ok();
    let notices = hook.wait_for(told + 1).await;
    assert_eq!(
        (notices.len(), &notices[told]["kind"]),
        (told + 1, &json!("key"))
    );
    world.api.with_key(made.json["secret"].as_str().unwrap())
}

/// Verifies a signature as its receiver does.
fn is_signed(signature: &str, body: &str) -> bool {
    let (time, hex) = signature
        .strip_prefix("t=")
        .unwrap()
        .split_once(",v1=")
        .unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{time}.{body}").as_bytes());
    mac.finalize()
        .into_bytes()
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect::<String>()
        == hex
}

#[tokio::test]
async fn switching_off_applies_at_once_and_notifies_the_account_holder() {
    let hook = WebhookReceiver::new().await;
    let mailbox = MailServer::new().await;
    let world = world(&hook, Some(&mailbox)).await;
    let holder = parent(&world, &hook, "parent").await;
    let home = world.client("127.0.7.9");
    assert_eq!(home.ask("bets.example. A").await, "blocked: gambling");
    holder
        .household("home", json!({ "filtering": "off", "channel": "app" }))
        .await
        .ok();
    assert_eq!(
        home.ask("bets.example. A").await,
        "192.0.2.7",
        "the next query"
    );

    let notices = hook.wait_for(2).await;
    let notice = &notices[1];
    assert_eq!(
        (&notice["kind"], &notice["household"], &notice["by"]["role"]),
        (&json!("filtering_off"), &json!("home"), &json!("parent"))
    );
    let text = notice["text"].as_str().unwrap();
    for word in [
        "Filtering was switched off",
        "Dad's laptop",
        "Europe/London",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let (signature, body) = &hook.received()[1];
    assert!(
        is_signed(signature, body) && !is_signed(signature, &format!("{body} ")),
        "{signature}"
    );
    let mail = &mailbox.wait_for(2).await[1];
    for word in [
        "RCPT TO:<holder@example.org>",
        "From: Teulu <protect@isp.example>",
        "\r\nTeulu\r\n",
        "Subject: Filtering was switched off",
        "Auto-Submitted: auto-generated",
    ] {
        assert!(mail.contains(word), "{word}: {mail}");
    }
    assert!(mail.contains(notice["id"].as_str().unwrap()), "{mail}");

    let audit = world
        .api
        .get("/v1/audit?subject=household:home&order=newest&limit=1")
        .await
        .ok()
        .json;
    let row = &audit["records"][0];
    assert_eq!(
        (
            &row["before"]["filtering"],
            &row["after"]["filtering"],
            &row["role"]
        ),
        (&json!("on"), &json!("off"), &json!("parent"))
    );
    assert!(
        row["actor"] == notice["by"]["actor"] && row["at"].is_string(),
        "{row}"
    );
    eventually("it is counted", Duration::from_secs(5), async || {
        world.api.metric("ox_protect_notices_delivered_total").await == 4.0
            && world.api.metric("ox_protect_notices_queued").await == 0.0
    })
    .await;
}

#[tokio::test]
async fn each_relaxation_sends_a_notice_and_no_restriction_does() {
    let hook = WebhookReceiver::new().await;
    let world = world(&hook, None).await;
    let second = parent(&world, &hook, "second-parent").await;
    let before = hook.notices().len();
    let home = "/v1/households/home";
    world
        .api
        .put(&format!("{home}/people/ella"), json!({ "name": "Ella" }))
        .await
        .ok();
    let bedtime = |to: &str| json!({ "from": "21:30", "to": to, "pause": true });
    let put = |path: &str, body: Value| (path.to_owned(), Some(body));
    let delete = |path: &str| (path.to_owned(), None);
    let block = || json!({ "state": "block" });
    let allow = || json!({ "state": "allow" });
    // The actions and their notifications; none for stricter rules.
    let steps = [
        (put("", json!({ "preset": "strict" })), None),
        (put("", json!({ "preset": "moderate" })), Some("category")),
        (put("/categories/gambling", allow()), Some("category")),
        (put("/categories/gambling", block()), None),
        (
            put("/devices/phone/categories/gambling", allow()),
            Some("category"),
        ),
        (delete("/devices/phone/categories/gambling"), None),
        (put("/names/news.example", block()), None),
        (delete("/names/news.example"), Some("unlisted")),
        (
            put("/devices/phone/names/bets.example", allow()),
            Some("allowed"),
        ),
        (delete("/devices/phone/names/bets.example"), None),
        (put("/people/ella/categories/games", block()), None),
        (
            put("/people/ella/schedules/bedtime", bedtime("06:30")),
            None,
        ),
        (put("/devices/phone", json!({ "person": "ella" })), None),
        (
            put("/people/ella/schedules/bedtime", bedtime("07:00")),
            None,
        ),
        (
            put("/people/ella/schedules/bedtime", bedtime("05:00")),
            Some("schedule"),
        ),
        (
            put("/devices/phone", json!({ "person": null })),
            Some("category"),
        ),
        (put("/devices/phone", json!({ "person": "ella" })), None),
        (delete("/people/ella/schedules/bedtime"), Some("schedule")),
        (put("/pause", json!({ "minutes": 60 })), None),
        (delete("/pause"), Some("pause")),
        (put("/safe-search", json!({ "google": "strict" })), None),
        (
            put("/safe-search", json!({ "google": "off" })),
            Some("safe_search"),
        ),
        (put("/search-unlock", block()), None),
        (put("/search-unlock", allow()), Some("search_unlock")),
        (delete("/search-unlock"), None),
        (put("/bypass", allow()), Some("bypass")),
        (put("/bypass", block()), None),
        (
            put(
                "/devices/phone",
                json!({ "name": "Ella's phone", "log": false }),
            ),
            None,
        ),
        (delete("/devices/phone"), Some("category")),
    ];
    let mut told = Vec::new();
    let mut expected = Vec::new();
    for ((path, body), what) in steps {
        let path = format!("{home}{path}");
        match body {
            Some(body) => second.put(&path, body).await.ok(),
            None => second.delete(&path).await.ok(),
        };
        expected.extend(what.map(|what| (path.clone(), what)));
        if what.is_some() {
            let notices = hook.wait_for(before + expected.len()).await;
            told.push((path, notices.last().unwrap()["changes"].clone()));
        }
    }
    second
        .post(
            &format!("{home}/grants"),
            json!({ "everything": true, "minutes": 30 }),
        )
        .await
        .ok();
    expected.push(("grants".to_owned(), "granted"));
    let last = hook.wait_for(before + expected.len()).await;
    told.push(("grants".to_owned(), last.last().unwrap()["changes"].clone()));
    for ((path, changes), (_, what)) in told.iter().zip(&expected) {
        let is_told = changes
            .as_array()
            .unwrap()
            .iter()
            .any(|change| change["what"] == *what);
        assert!(is_told, "{path}: {what} is not in {changes}");
    }
    assert_eq!(
        hook.notices().len(),
        before + expected.len(),
        "nothing else was told"
    );
    let foreign = second
        .household("home", json!({ "contact": { "email": "me@example.org" } }))
        .await;
    assert_eq!(
        (foreign.status, foreign.problem()),
        (403, "role"),
        "where notices go is not everybody's to say"
    );
}

#[tokio::test]
async fn a_notice_survives_a_broken_receiver_and_the_end_of_the_program() {
    let hook = WebhookReceiver::new().await;
    hook.is_broken(true);
    let world = world(&hook, None).await;
    world.toggle("home", "gambling", Allow).await;
    hook.wait_for(2).await;
    assert!(world.api.metric("ox_protect_notices_failed_total").await >= 1.0);
    world.daemon.kill();
    hook.is_broken(false);
    let before = hook.notices().len();
    world.daemon.restart().await;
    let notices = hook.wait_for(before + 1).await;
    assert!(
        notices
            .iter()
            .all(|notice| notice["id"] == notices[0]["id"]),
        "{notices:?}"
    );
    eventually("nothing waits", Duration::from_secs(5), async || {
        world.api.metric("ox_protect_notices_delivered_total").await == 1.0
            && world.api.metric("ox_protect_notices_queued").await == 0.0
    })
    .await;
    assert!(
        !world.daemon.stderr().contains("token=abc"),
        "an address may hold a secret"
    );
}

#[tokio::test]
async fn the_account_holder_is_notified_when_more_activity_is_kept() {
    let hook = WebhookReceiver::new().await;
    let world = world(&hook, None).await;
    let phone = |log: bool| json!({ "name": "Gran's phone", "log": log });
    let keep = async |history: Value| {
        world
            .api
            .put("/v1/households/home/history", history)
            .await
            .ok()
    };
    world.api.device("home", "phone", phone(false)).await.ok();
    keep(json!({ "days": 7, "names": false })).await;
    let notices = hook.wait_for(1).await;
    assert_eq!(
        (&notices[0]["kind"], &notices[0]["by"]["role"]),
        (&json!("history"), &json!("operator"))
    );
    assert_eq!(
        notices[0]["subject"],
        "More is kept of what your devices ask for"
    );
    let text = notices[0]["text"].as_str().unwrap();
    assert!(
        text.contains("counted and kept for 7 days.") && text.contains("your provider"),
        "{text}"
    );
    assert_eq!(
        (
            &notices[0]["changes"][0]["what"],
            &notices[0]["changes"][0]["days"]
        ),
        (&json!("history"), &json!(7))
    );
    // Less or the same: no notification.
    keep(json!({ "days": 3 })).await;
    world
        .api
        .device("home", "phone", json!({ "kind": "phone" }))
        .await
        .ok();
    for (more, body) in [
        ("longer", json!({ "days": 30 })),
        ("names", json!({ "days": 30, "names": true })),
        ("unknown", json!({ "days": 30, "unknown_devices": true })),
    ] {
        let told = hook.notices().len();
        keep(body).await;
        assert_eq!(
            hook.wait_for(told + 1).await[told]["kind"],
            "history",
            "{more}"
        );
    }
    world.api.device("home", "phone", phone(true)).await.ok();
    let notices = hook.wait_for(5).await;
    assert_eq!(
        (notices.len(), &notices[4]["kind"]),
        (5, &json!("history")),
        "a device that was left alone is counted"
    );
    // Without a history there is nothing to report; the next notification is about the weakened
    // filter.
    world
        .api
        .put("/v1/households/home/history", json!({ "days": 0 }))
        .await
        .ok();
    world.api.toggle("home", "gambling", Allow).await.ok();
    let notices = hook.wait_for(6).await;
    assert_eq!(
        (notices.len(), &notices[5]["kind"]),
        (6, &json!("loosened"))
    );
}

#[tokio::test]
async fn new_keys_and_removals_are_notified_by_mail() {
    let hook = WebhookReceiver::new().await;
    let mailbox = MailServer::new().await;
    let world = world(&hook, Some(&mailbox)).await;
    for name in [
        "x\r\nSubject: forged",
        "x\n\nCall 0900",
        "x\u{2028}y",
        "\u{202e}x",
    ] {
        let refused = [
            world
                .api
                .device("home", "phone", json!({ "name": name }))
                .await,
            world
                .api
                .post(
                    "/v1/households/home/keys",
                    json!({ "role": "parent", "label": name }),
                )
                .await,
        ];
        for refused in refused {
            assert_eq!(
                (refused.status, refused.problem()),
                (422, "text"),
                "{}",
                refused.text
            );
        }
    }
    let second = parent(&world, &hook, "second-parent").await;
    world
        .api
        .delete("/v1/households/home/networks/127.0.7.0%2F24")
        .await
        .ok();
    world.api.delete("/v1/households/home").await.ok();
    let kinds = |notices: &[Value]| {
        notices
            .iter()
            .map(|notice| notice["kind"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    // A notification that failed at first may arrive after the next one.
    let kinds: std::collections::BTreeSet<_> = kinds(&hook.wait_for(3).await).into_iter().collect();
    assert_eq!(
        kinds,
        ["household_deleted", "key", "network"]
            .map(str::to_owned)
            .into()
    );
    assert_eq!(
        second.get("/v1/households/home").await.status,
        401,
        "a key ends with its household"
    );
    let mails = mailbox.wait_for(3).await;
    for (subject, words) in [
        ("There is a new key to your filter", "Dad's laptop"),
        ("A line was taken from your household", "127.0.7.0/24"),
        ("Your household was deleted", "nothing that you set holds"),
    ] {
        let is_it = |mail: &&String| {
            mail.contains(&format!("Subject: {subject}"))
                && mail.contains("RCPT TO:<holder@example.org>")
        };
        let mail = mails
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{subject} is not in {mails:?}"));
        // Long lines of a mail may be folded.
        assert!(mail.replace("=\r\n", "").contains(words), "{mail}");
    }
}
