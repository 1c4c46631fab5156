//! Deletion of activity counts: at the end of the retention, on request, and with a household or device.

use std::{fs, time::Duration};

use serde_json::json;

use super::{
    ACTIVITY, COMPUTER, GUEST, HISTORY, TABLET, VISITOR, activity, api_with_new_key, ask, counted,
    devices, home, is_on_disk, keep,
};
use crate::world::{Events, eventually};

#[tokio::test]
async fn the_eighth_day_is_gone_from_api_and_disk_and_guests_never_appear() {
    let world = home("2030-06-03 12:10:00").await;
    world
        .api
        .device(
            "home",
            "guest",
            json!({ "name": "Guest", "identifiers": [{ "address": GUEST }], "log": false }),
        )
        .await
        .ok();
    keep(&world, json!({ "days": 7 })).await;
    let child = api_with_new_key(&world, json!({ "role": "child", "device": "tablet" })).await;
    let other_parent = api_with_new_key(&world, json!({ "role": "second-parent" })).await;
    let parents = Events::of_household(&other_parent, "home").await;
    let childs = Events::of_household(&child, "home").await;
    let view = child
        .get("/v1/households/home/effective/tablet")
        .await
        .ok()
        .json;
    assert_eq!(
        (
            &view["recorded"],
            &view["history"]["days"],
            &view["history"]["names"]
        ),
        (&json!(true), &json!(7), &json!(true))
    );

    // Often enough that the anonymous query sample would include the guest's name.
    ask(&world, GUEST, "guest.fight.example", 300).await;
    ask(&world, VISITOR, "visitor.fight.example", 3).await;
    ask(&world, COMPUTER, "fight.example", 1).await;
    ask(&world, TABLET, "www.tube.example", 2).await;
    let shown = counted(&world.api, 3).await;
    assert_eq!(
        devices(&shown),
        [
            ("\"computer\"".to_owned(), 1, 1),
            ("\"tablet\"".to_owned(), 2, 2)
        ]
    );
    assert_eq!(
        devices(&activity(&child, "").await),
        [("\"tablet\"".to_owned(), 2, 2)],
        "a child sees its own"
    );
    let refused = child.get(&format!("{ACTIVITY}?device=computer")).await;
    assert_eq!((refused.status, refused.problem()), (403, "role"));
    parents.wait_for("block", &[("device", "computer")]).await;
    childs.wait_for("block", &[("device", "tablet")]).await;
    let names = |events: &Events| {
        events
            .received()
            .iter()
            .map(|event| event["name"].to_string())
            .collect::<String>()
    };
    assert!(
        !names(&parents).contains("guest") && !names(&parents).contains("visitor"),
        "{}",
        names(&parents)
    );
    assert!(
        !names(&childs).contains("fight"),
        "a child hears of its own: {}",
        names(&childs)
    );
    // A person who is excluded is not counted again at another parent's request.
    let refused = other_parent
        .device("home", "guest", json!({ "log": true }))
        .await;
    assert_eq!(
        (refused.status, refused.problem(), &refused.json["field"]),
        (403, "role", &json!("log"))
    );

    // In the same hour of the eighth day it is still seven days ago; an hour later it is not.
    world.clock().set("2030-06-10 12:50:00");
    assert_eq!(activity(&world.api, "").await["asked"], 3);
    world.daemon.terminate().await;
    assert!(
        is_on_disk(&world, "www.tube.example"),
        "the test looks where it is kept"
    );
    assert!(
        !is_on_disk(&world, "guest.fight.example"),
        "nowhere, and not without a name to it either"
    );
    world.daemon.restart().await;
    ask(&world, COMPUTER, "news.example", 1).await;
    world.clock().set("2030-06-10 13:00:01");
    let shown = counted(&world.api, 1).await;
    assert_eq!(shown["blocked_names"], json!([]));
    eventually(
        "the eighth day is gone from the disk",
        Duration::from_secs(20),
        async || !is_on_disk(&world, "www.tube.example"),
    )
    .await;
}

#[tokio::test]
async fn erased_or_unwanted_activity_is_deleted_at_once_and_for_good() {
    let world = home("2030-06-03 12:10:00").await;
    keep(&world, json!({ "days": 30 })).await;
    ask(&world, COMPUTER, "fight.example", 2).await;
    ask(&world, TABLET, "www.tube.example", 3).await;
    counted(&world.api, 5).await;
    // The file size does not depend on the counts.
    world.daemon.terminate().await;
    world.daemon.restart().await;
    world
        .api
        .delete(&format!("{ACTIVITY}?device=tablet"))
        .await
        .ok();
    assert!(!is_on_disk(&world, "www.tube.example"));
    assert_eq!(
        devices(&counted(&world.api, 2).await),
        [("\"computer\"".to_owned(), 2, 2)]
    );
    let audit = world
        .api
        .get("/v1/audit?subject=activity:home")
        .await
        .ok()
        .json;
    let mut deeds = audit["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|deed| (&deed["action"], &deed["after"]["device"]));
    assert!(
        deeds.any(|deed| deed == (&json!("forget"), &json!("tablet"))),
        "{audit}"
    );

    // A query in the same second as the deletion is deleted, too.
    world.clock().advance(Duration::from_secs(2));
    ask(&world, TABLET, "www.tube.example", 1).await;
    counted(&world.api, 3).await;
    keep(&world, json!({ "days": 30, "names": false })).await;
    let shown = counted(&world.api, 3).await;
    assert_eq!(
        (&shown["blocked"], &shown["blocked_names"]),
        (&json!(3), &json!([])),
        "counts stay, names go"
    );
    ask(&world, COMPUTER, "fight.example", 1).await;
    counted(&world.api, 4).await;

    world.api.delete(HISTORY).await.ok();
    assert_eq!(activity(&world.api, "").await["asked"], 0);
    for name in ["www.tube.example", "\"computer\":{\"asked\""] {
        assert!(!is_on_disk(&world, name), "{name}");
    }
    ask(&world, COMPUTER, "fight.example", 1).await;
    keep(&world, json!({ "days": 30 })).await;
    world.clock().advance(Duration::from_secs(2));
    ask(&world, COMPUTER, "fight.example", 1).await;
    counted(&world.api, 1).await;
}

#[tokio::test]
async fn pending_erasures_of_a_missing_file_are_done_later() {
    let world = home("2030-06-03 12:10:00").await;
    keep(&world, json!({ "days": 7 })).await;
    ask(&world, TABLET, "www.tube.example", 2).await;
    counted(&world.api, 2).await;
    world.daemon.terminate().await;
    let file = world.folder().join("ox-protect-history.db");
    let aside = world.folder().join("aside");
    fs::rename(&file, &aside).unwrap();
    fs::write(&file, "this is no database, and longer than nothing").unwrap();
    world.daemon.restart().await;
    assert!(
        world
            .client(TABLET)
            .ask("www.tube.example. A")
            .await
            .starts_with("blocked")
    );
    assert!(
        world
            .client(TABLET)
            .ask("news.example. A")
            .await
            .starts_with("192.0.2.9")
    );
    let refused = world.api.get(ACTIVITY).await;
    assert_eq!(
        (refused.status, refused.problem()),
        (503, "history_unavailable")
    );
    assert!(world.api.metric("ox_protect_history_available").await < 0.5);
    // The family turns the history off; the file that has it does not exist.
    world.api.delete(HISTORY).await.ok();
    world.daemon.terminate().await;
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "this is no database, and longer than nothing",
        "left as it was"
    );
    fs::rename(&aside, &file).unwrap();
    world.daemon.restart().await;
    eventually(
        "what was owed is done",
        Duration::from_secs(20),
        async || !is_on_disk(&world, "www.tube.example"),
    )
    .await;
    keep(&world, json!({ "days": 7 })).await;
    assert_eq!(activity(&world.api, "").await["asked"], 0);
}

#[tokio::test]
async fn a_shorter_limit_of_the_operator_shortens_earlier_choices() {
    let world = home("2030-06-03 12:10:00").await;
    keep(&world, json!({ "days": 30 })).await;
    ask(&world, TABLET, "www.tube.example", 2).await;
    counted(&world.api, 2).await;
    world.daemon.terminate().await;
    let config = fs::read_to_string(world.daemon.config()).unwrap();
    fs::write(
        world.daemon.config(),
        config + "\n[history]\ndays_max = 1\n",
    )
    .unwrap();
    world.daemon.restart().await;
    assert_eq!(activity(&world.api, "").await["history"]["days"], 1);
    ask(&world, COMPUTER, "news.example", 1).await;
    counted(&world.api, 3).await;
    world.clock().set("2030-06-04 13:00:01");
    assert_eq!(activity(&world.api, "").await["asked"], 0);
    eventually(
        "it is gone from the disk",
        Duration::from_secs(20),
        async || !is_on_disk(&world, "www.tube.example"),
    )
    .await;
}

#[tokio::test]
async fn a_household_or_device_made_again_has_nothing_of_the_one_before() {
    let world = home("2030-06-03 12:10:00").await;
    keep(&world, json!({ "days": 7 })).await;
    ask(&world, TABLET, "www.tube.example", 2).await;
    ask(&world, COMPUTER, "news.example", 1).await;
    counted(&world.api, 3).await;
    world
        .api
        .delete("/v1/households/home/devices/tablet")
        .await
        .ok();
    world.device("home", "tablet", ("address", TABLET)).await;
    assert_eq!(
        devices(&counted(&world.api, 1).await),
        [("\"computer\"".to_owned(), 1, 0)]
    );
    world.api.delete("/v1/households/home").await.ok();
    world.household("home", "127.0.7.0/24").await;
    world
        .device("home", "computer", ("address", COMPUTER))
        .await;
    keep(&world, json!({ "days": 7 })).await;
    assert_eq!(activity(&world.api, "").await["asked"], 0);
}
