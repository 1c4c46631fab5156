//! The commands of the program.

use std::process::Output;

use serde_json::Value;

use crate::world::{Switch::*, World, ox_protect};

fn said(output: &Output) -> (bool, String) {
    (
        output.status.success(),
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    )
}

#[tokio::test]
async fn lists_and_explanations_work_beside_the_running_daemon_and_without_it() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let config = world.daemon.config();
    let run = |arguments: &[&str]| {
        said(&ox_protect(
            &[arguments, &["--config", config.to_str().unwrap()]].concat(),
        ))
    };
    for _ in ["beside it", "without it"] {
        let (ok, shown) = run(&["lists", "show"]);
        assert!(
            ok && shown.contains("gambling") && shown.contains("bytes a name"),
            "{shown}"
        );
        assert!(run(&["lists", "verify"]).0);
        let (ok, built) = run(&["lists", "build"]);
        assert!(ok && built.contains("nothing changed"), "{built}");
        let (ok, explained) = run(&["explain", "www.bets.example", "--household", "home"]);
        let explained: Value =
            serde_json::from_str(&explained).unwrap_or_else(|error| panic!("{error}: {explained}"));
        assert!(
            ok && explained["verdict"] == "block"
                && explained["entry"] == "bets.example"
                && explained["setter"]["layer"] == "household",
            "{explained}"
        );
        let (ok, complaint) = run(&["explain", "a.example", "--household", "nobody"]);
        assert!(!ok && complaint.contains("nobody"), "{complaint}");
        world.daemon.kill();
    }
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_from_the_next_request_on() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    let config = world.daemon.config();
    let run = |arguments: &[&str]| {
        said(&ox_protect(
            &[
                &["keys"],
                arguments,
                &["--config", config.to_str().unwrap()],
            ]
            .concat(),
        ))
    };
    let (_, created) = run(&["create", "--label", "script"]);
    let (id, key) = created.trim().split_once(": ").unwrap();
    assert_eq!(
        world.api.with_key(key).get("/v1/categories").await.status,
        200
    );
    let (_, listed) = run(&["list"]);
    assert!(
        listed.contains(id) && listed.contains("script") && !listed.contains(key),
        "{listed}"
    );
    assert!(run(&["revoke", id]).0);
    assert_eq!(
        world.api.with_key(key).get("/v1/categories").await.status,
        401
    );
    assert!(!run(&["revoke", id]).0, "it is revoked already");
    for (wrong, expected) in [
        (&["--role", "parent"][..], "household"),
        (&["--role", "parent", "--household", "nobody"], "nobody"),
        (&["--role", "child", "--household", "home"], "device"),
        (
            &["--role", "child", "--household", "home", "--device", "none"],
            "none",
        ),
        (&["--role", "operator", "--household", "home"], "household"),
        (&["--role", "king"], "second-parent"),
    ] {
        let (ok, complaint) = run(&[&["create"], wrong].concat());
        assert!(
            !ok && complaint.contains(expected),
            "{wrong:?}: {complaint}"
        );
    }
    let (ok, parent) = run(&["create", "--role", "parent", "--household", "home"]);
    let parent = world
        .api
        .with_key(parent.trim().split_once(": ").unwrap().1);
    assert!(ok && parent.get("/v1/households/home").await.status == 200);
    let (_, listed) = run(&["list"]);
    assert!(
        listed
            .lines()
            .any(|line| line.contains("parent") && line.contains("home")),
        "{listed}"
    );
    let audit = world
        .api
        .get(&format!("/v1/audit?subject=key:{id}"))
        .await
        .ok()
        .json;
    let told: Vec<_> = audit["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["action"].clone(), row["actor"].clone()))
        .collect();
    assert_eq!(
        told,
        [
            ("create".into(), "command line".into()),
            ("revoke".into(), "command line".into())
        ]
    );
    assert!(
        !world
            .api
            .get("/v1/audit")
            .await
            .ok()
            .text
            .contains(&key[3..])
    );
}

#[test]
fn a_bad_configuration_is_told_with_its_line_and_the_right_words() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let config = folder.path().join("c.toml");
        std::fs::write(&config, text).unwrap();
        said(&ox_protect(&[
            "check",
            "--config",
            config.to_str().unwrap(),
        ]))
    };
    std::fs::write(folder.path().join("list.txt"), "bets.example\n").unwrap();
    let feed = "[[feeds]]\nname = \"f\"\nsource = \"list.txt\"\nformat = \"domains\"\nscope = \"subtree\"\ncategory = \"gambling\"\n";
    let (ok, text) = check(feed);
    assert!(ok, "{text}");
    for (wrong, expected) in [
        (
            "[dns]\nlisten = [\"127.0.0.1:0\"]\nlisen = 1\n".to_owned(),
            "line 3",
        ),
        (
            feed.replace("gambling", "gamblign"),
            "did you mean \"gambling\"",
        ),
        (
            feed.replace("scope = \"subtree\"\n", ""),
            "scope is missing",
        ),
        (feed.replace("list.txt", "absent.txt"), "absent.txt"),
        (feed.replace("\"domains\"", "\"xml\""), "domains"),
        ("not toml".to_owned(), "line 1"),
    ] {
        let (ok, text) = check(&wrong);
        assert!(!ok && text.contains(expected), "{wrong}\n{text}");
    }
}
