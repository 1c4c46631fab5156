//! Killed at any instant: every acknowledged write is there, and the start succeeds.

use std::{sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::json;

use crate::world::{Switch::*, World, eventually, seed};

#[tokio::test]
async fn fifty_kills_in_the_middle_of_writes_lose_no_acknowledged_write() {
    let world = World::with_zone("names.example. 60 A 192.0.2.7\n* 60 A 192.0.2.8")
        .start()
        .await;
    let mut chance = StdRng::seed_from_u64(seed());
    let mut acknowledged: Vec<u64> = Vec::new();
    let mut next = 0;
    for round in 0..50 {
        // This many writes are acknowledged, however long that takes; then the kill comes at any
        // instant of the next one or two.
        let writes = chance.random_range(0..=6);
        let timeout = Duration::from_micros(chance.random_range(0..20_000));
        let api = world.api.clone();
        let written = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = Arc::clone(&written);
        let first = next;
        let writer = tokio::spawn(async move {
            for number in first.. {
                let body = json!({ "state": "block", "scope": "subtree" }).to_string();
                let answer = api
                    .attempt(
                        Method::PUT,
                        &format!("/v1/households/home/names/n{number}.names.example"),
                        Some(body),
                    )
                    .await;
                match answer {
                    Ok(answer) if matches!(answer.status, 200 | 201) => {
                        log.lock().unwrap().push(number)
                    }
                    Ok(answer) => panic!("{} {}", answer.status, answer.text),
                    // Killed in between: neither acknowledged nor refused.
                    Err(_) => return number + 1,
                }
            }
            unreachable!("the kill ends it")
        });
        eventually(
            "writes are acknowledged",
            Duration::from_secs(60),
            async || written.lock().unwrap().len() >= writes,
        )
        .await;
        tokio::time::sleep(timeout).await;
        world.daemon.kill();
        next = writer.await.unwrap();
        acknowledged.append(&mut written.lock().unwrap());
        world.daemon.restart().await;
        let household = world.api.get("/v1/households/home").await.ok().json;
        for number in &acknowledged {
            let name = format!("n{number}.names.example");
            assert!(
                household["names"].get(&name).is_some(),
                "round {round}: {name} was acknowledged and is gone"
            );
        }
        if let Some(last) = acknowledged.last() {
            assert_eq!(
                world
                    .client("127.0.7.9")
                    .ask(&format!("n{last}.names.example. A"))
                    .await,
                "blocked: own list",
                "round {round}"
            );
        }
    }
    println!(
        "{} acknowledged writes over 50 kills, none lost",
        acknowledged.len()
    );
    assert!(
        acknowledged.len() > 50,
        "too few writes for the test to mean anything: {}",
        acknowledged.len()
    );
}

#[tokio::test]
async fn a_restart_serves_the_same_rules_and_lists_and_prints_no_second_key() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let generation = world.api.get("/v1/lists").await.ok().json["generation"].clone();
    assert!(
        world.daemon.terminate().await.success(),
        "SIGTERM is an orderly end"
    );
    let began = std::time::Instant::now();
    world.daemon.restart().await;
    println!("restart to ready: {:?}", began.elapsed());
    assert_eq!(
        world.client("127.0.7.9").ask("bets.example. A").await,
        "blocked: gambling"
    );
    assert_eq!(
        world.api.get("/v1/lists").await.ok().json["generation"],
        generation
    );
    assert_eq!(
        world
            .daemon
            .stdout()
            .iter()
            .filter(|line| line.starts_with("operator key: "))
            .count(),
        1
    );
}

#[tokio::test]
async fn a_second_daemon_on_the_same_address_is_refused_and_steals_nothing() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    let address = world.daemon.addresses().dns();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("second.toml");
    std::fs::write(
        &config,
        format!("[dns]\nlisten = [\"{address}\"]\n[api]\nlisten = \"127.0.0.1:0\"\n"),
    )
    .unwrap();
    let output = crate::world::ox_protect(&["serve", "--config", config.to_str().unwrap()]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && complaint.contains(&address.to_string()),
        "{complaint}"
    );
    assert_eq!(
        world.client("127.0.7.9").ask("a.example. A").await,
        "192.0.2.1"
    );
}
