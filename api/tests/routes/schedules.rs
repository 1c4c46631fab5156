//! Settings for a time: the schedule they belong to, and their next change.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use crate::world::World;

const HOME: &str = "/v1/households/home";

/// The whole minute that lies so many minutes from now.
fn minute(from_now: i64) -> Timestamp {
    let now = Timestamp::now().as_second() / 60 * 60;
    Timestamp::from_second(now).unwrap() + SignedDuration::from_mins(from_now)
}

fn clock(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%H:%M").to_string()
}

#[tokio::test]
async fn each_schedule_and_what_it_does_say_when_they_change_next() {
    let world = World::with_home().await;
    world.put(HOME, r#"{"time_zone":"UTC"}"#).await.ok();
    world
        .put(
            &format!("{HOME}/categories/gambling"),
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    // A night that lasts a minute short of a day, a pause to come, and an allow that runs: it is an
    // hour from each end.
    let began = minute(-60);
    let night_ends = minute(-61) + SignedDuration::from_hours(24);
    let soon = minute(60);
    let later = minute(120);
    for (name, from, to, what) in [
        ("night", began, night_ends, json!({ "block": ["games"] })),
        ("rest", soon, later, json!({ "pause": true })),
        ("treat", began, soon, json!({ "allow": ["gambling"] })),
    ] {
        let mut schedule = what;
        (schedule["from"], schedule["to"]) = (json!(clock(from)), json!(clock(to)));
        world
            .put(&format!("{HOME}/schedules/{name}"), &schedule.to_string())
            .await
            .ok();
    }
    let shown = world
        .get(&format!("{HOME}/effective/phone"))
        .await
        .ok()
        .json;
    let instant = |value: &Value| {
        value
            .as_str()
            .map(|text| text.parse::<Timestamp>().unwrap())
    };
    for (name, is_running, next) in [
        ("night", true, night_ends),
        ("rest", false, soon),
        ("treat", true, soon),
    ] {
        let schedule = shown["schedules"]
            .as_array()
            .unwrap()
            .iter()
            .find(|schedule| schedule["id"] == name)
            .unwrap();
        assert_eq!(
            (&schedule["running"], instant(&schedule["next_change"])),
            (&json!(is_running), Some(next)),
            "{schedule}"
        );
    }
    let games = &shown["categories"]["games"];
    let gambling = &shown["categories"]["gambling"];
    let paused = &shown["paused"];
    for (what, state, schedule, next) in [
        (games, json!("block"), json!("night"), night_ends),
        (gambling, json!("allow"), json!("treat"), soon),
        (paused, json!(false), json!(null), soon),
    ] {
        assert_eq!(
            (
                &what["state"],
                &what["schedule"],
                instant(&what["next_change"])
            ),
            (&state, &schedule, Some(next)),
            "{what}"
        );
    }
}
