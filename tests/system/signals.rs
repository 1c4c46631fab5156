//! Signals: which ones end the node, and how orderly.

use std::{fs, os::unix::process::ExitStatusExt, time::Duration};

use reqwest::Method;
use serde_json::json;

use crate::world::{Switch::*, World, eventually};

/// The longest time until the node logs something.
const SAID_WITHIN: Duration = Duration::from_secs(20);

async fn said(world: &World, what: &str) {
    eventually(&format!("the log has {what:?}"), SAID_WITHIN, async || {
        world.daemon.stderr().contains(what)
    })
    .await;
}

#[tokio::test]
async fn no_signal_ends_the_node_that_is_not_meant_to() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    let home = world.client("127.0.7.9");
    let named = [
        "HUP", "USR1", "USR2", "PIPE", "ALRM", "VTALRM", "PROF", "XFSZ", "WINCH", "URG", "CHLD",
        "CONT",
    ];
    // STKFLT and IO have no name in some shells.
    let numbered = [16, 29]
        .into_iter()
        .chain(34..64)
        .map(|number: u32| number.to_string());
    for signal in named.into_iter().map(str::to_owned).chain(numbered) {
        world.daemon.signal(&signal);
        assert_eq!(
            home.ask("a.example. A").await,
            "192.0.2.1",
            "after SIG{signal}"
        );
    }
    said(&world, "number=63").await;
    assert_eq!(world.daemon.exit_status(), None);
    world.own_name("home", "a.example", Block).await;
}

#[tokio::test]
async fn a_hangup_logs_what_a_restart_would_change_and_changes_nothing() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    world.daemon.signal("HUP");
    said(&world, "the configuration is the one that runs").await;
    let config = fs::read_to_string(world.daemon.config()).unwrap();
    fs::write(
        world.daemon.config(),
        config.replace("[dns]", "[dns]\ncache_mib = 77"),
    )
    .unwrap();
    world.daemon.signal("HUP");
    said(&world, "dns.cache_mib").await;
    fs::write(
        world.daemon.config(),
        config.replace("[dns]", "[dns]\ncache_mbi = 77"),
    )
    .unwrap();
    world.daemon.signal("HUP");
    said(&world, "cache_mbi").await;
    assert_eq!(
        world.client("127.0.7.9").ask("a.example. A").await,
        "192.0.2.1"
    );
    fs::write(world.daemon.config(), config).unwrap();
    assert!(world.daemon.terminate().await.success());
}

#[tokio::test]
async fn each_ending_signal_ends_the_node_in_order_and_without_an_error() {
    for signal in ["TERM", "INT", "QUIT", "PWR", "XCPU"] {
        let world = World::with_zone("bets.example. 60 A 192.0.2.7")
            .listing("gambling", "bets.example")
            .start()
            .await;
        world
            .api
            .request(
                Method::PUT,
                "/v1/households/home/history",
                Some(json!({ "days": 7, "names": true }).to_string()),
            )
            .await;
        // A writer and a DNS client work until the end, and beyond.
        let api = world.api.clone();
        let writer = tokio::spawn(async move {
            let mut written = 0_u32;
            loop {
                let body =
                    json!({ "state": if written.is_multiple_of(2) { "block" } else { "allow" } })
                        .to_string();
                let answer = api
                    .attempt(
                        Method::PUT,
                        "/v1/households/home/categories/gambling",
                        Some(body),
                    )
                    .await;
                match answer {
                    Ok(answer) if answer.status < 300 => written += 1,
                    Ok(answer) => return (written, Some(answer.status)),
                    Err(_) => return (written, None),
                }
            }
        });
        let home = world.client("127.0.7.9");
        for _ in 0..20 {
            home.ask("bets.example. A").await;
        }
        world.daemon.signal(signal);
        let mut status = None;
        eventually("it ends", Duration::from_secs(40), async || {
            status = world.daemon.exit_status();
            status.is_some()
        })
        .await;
        assert!(status.unwrap().success(), "SIG{signal}: {status:?}");
        let (written, refused) = writer.await.unwrap();
        assert!(
            written > 0 && refused.is_none_or(|status| status == 503),
            "SIG{signal}: {written} {refused:?}"
        );
        let log = world.daemon.stderr();
        assert!(
            log.contains("ended in order")
                && !log.contains("ERROR")
                && !log.contains("closed pool"),
            "SIG{signal}: {log}"
        );
        assert!(
            !world.folder().join("ox-protect.db-wal").exists(),
            "SIG{signal}: the journal is folded in"
        );
    }
}

#[tokio::test]
async fn a_second_signal_ends_a_node_at_once_that_is_about_to_end() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    // An open event stream delays the shutdown no longer than a request in flight would; so the
    // test uses many clients.
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = tokio::net::TcpStream::connect(world.daemon.addresses().api())
            .await
            .unwrap();
        let begun = "PUT /v1/households/home HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n{";
        tokio::io::AsyncWriteExt::write_all(&mut stream, begun.as_bytes())
            .await
            .unwrap();
        held.push(stream);
    }
    world.api.get("/healthz").await.ok();
    world.daemon.signal("TERM");
    said(&world, "the node ends").await;
    world.daemon.signal("TERM");
    let mut status = None;
    eventually("it ends", SAID_WITHIN, async || {
        status = world.daemon.exit_status();
        status.is_some()
    })
    .await;
    let status = status.unwrap();
    assert_eq!(
        (status.code(), status.signal()),
        (Some(128 + 15), None),
        "{}",
        world.daemon.stderr()
    );
}
