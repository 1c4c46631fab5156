//! A new key of the root (RFC 5011): announced, kept over a restart, and trusted when its time is
//! over.

use serde_json::Value;

use super::*;

/// Keys of the root in this state.
async fn keys(world: &World, state: &str) -> f64 {
    let labels = [("zone", "."), ("state", state)];
    let metric = "ox_protect_trust_anchor_keys";
    world.api.metric_of(metric, &labels).await
}

async fn eventually_keys(world: &World, state: &str, count: f64) {
    eventually(state, Duration::from_secs(60), async || {
        keys(world, state).await == count
    })
    .await;
}

fn read(file: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[tokio::test]
async fn a_new_key_of_the_root_becomes_trusted_after_its_time() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("kept").join("anchors.json");
    let (_signed, world) = signed_world(&format!("trust_anchor_state = {file:?}\n")).await;
    let world = world.start().await;
    eventually_keys(&world, "pending", 1.0).await;
    assert_eq!(keys(&world, "valid").await, 1.0);
    // Its time is over when the node starts again.
    let mut kept = read(&file);
    let all = kept["trust_points"]["."]["keys"].as_array_mut().unwrap();
    let pending = all
        .iter_mut()
        .find(|key| key["state"] == "pending")
        .unwrap();
    let from: jiff::Timestamp = pending["trusted_from"].as_str().unwrap().parse().unwrap();
    let days = from.duration_since(jiff::Timestamp::now()).as_hours();
    assert!((29 * 24..=30 * 24).contains(&days), "{pending}");
    pending["trusted_from"] = "2020-01-01T00:00:00Z".into();
    fs::write(&file, kept.to_string()).unwrap();
    world.daemon.restart().await;
    eventually_keys(&world, "valid", 2.0).await;
    assert_eq!(keys(&world, "pending").await, 0.0);
    let states = |kept: &Value| kept["trust_points"]["."]["keys"].to_string();
    assert!(!states(&read(&file)).contains("pending"), "{}", read(&file));
    let home = world.client("127.0.7.9").with_dnssec();
    let sound = ("192.0.2.10".to_owned(), true, None);
    assert_eq!(seen(&home, "a.ok.example. A").await, sound);
    // A file that is damaged is set aside, and the configuration's anchors hold.
    fs::write(&file, "{").unwrap();
    world.daemon.restart().await;
    assert_eq!(seen(&home, "a.ok.example. A").await, sound);
    assert!(file.with_file_name("anchors.json.unreadable").exists());
    eventually_keys(&world, "pending", 1.0).await;
}
