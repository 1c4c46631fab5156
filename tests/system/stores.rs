//! The stores of a node when the disk is full, a file is missing, a second daemon starts, or rows
//! of the audit were removed.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::json;

use crate::world::{Answer, Events, Switch::*, WebhookReceiver, World, eventually, ox_protect};

/// The longest time until the node detects the state of its disk, which it checks every five
/// seconds.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);
/// More writes than a store has connections.
const WRITES: usize = 10;

/// A file system of two megabytes in memory; only root can create one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("ox-protect-disk-")
            .tempdir()
            .unwrap()
            .keep();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(&folder)
            .output();
        let is_mounted = mounted.is_ok_and(|output| output.status.success());
        if !is_mounted {
            eprintln!("NOT RUN: no file system can be mounted here");
            fs::remove_dir(&folder).unwrap();
        }
        is_mounted.then_some(Self(folder))
    }

    fn fill(&self) {
        let mut filler = fs::File::options()
            .create(true)
            .append(true)
            .open(self.0.join("filler"))
            .unwrap();
        while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }

    fn settings(&self) -> String {
        format!("[store]\nurl = \"sqlite:{}/store.db\"\n", self.0.display())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

/// A write that needs more space than the journal has left.
async fn write(world: &World) -> Answer {
    world
        .api
        .household(
            "home",
            json!({ "time_zone": "UTC", "external_ref": "x".repeat(100), "preset": "strict" }),
        )
        .await
}

/// Tries to start a node that must refuse to start.
fn serve(config: &Path) -> (bool, String) {
    let output = ox_protect(&["serve", "--config", config.to_str().unwrap()]);
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn store(world: &World) -> PathBuf {
    world.folder().join("ox-protect.db")
}

fn sqlite(file: &Path, statements: &str) {
    let output = Command::new("sqlite3")
        .arg(file)
        .arg(statements)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn a_full_disk_refuses_changes_until_there_is_room_and_no_longer() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .config(&disk.settings())
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let events = Events::listen(&world.api).await;
    assert_eq!(
        world
            .api
            .metric_of("ox_protect_store_writable", &[("store", "policy")])
            .await,
        1.0
    );
    disk.fill();
    let mut refused = 0;
    while refused < WRITES {
        let answer = write(&world).await;
        if answer.status < 300 {
            // The space left in the journal is used up first.
            continue;
        }
        assert_eq!((answer.status, answer.problem()), (500, "store_failed"));
        refused += 1;
    }
    eventually("readiness is lost", NOTICED_WITHIN, async || {
        world.api.get("/readyz").await.status == 503
    })
    .await;
    let not_ready = world.api.get("/readyz").await;
    assert!(
        not_ready.problem() == "store_not_writable" && not_ready.text.contains("full"),
        "{}",
        not_ready.text
    );
    assert_eq!(
        (
            world.api.get("/readyz/dns").await.status,
            world.api.get("/healthz").await.status
        ),
        (200, 200)
    );
    let metric = async || {
        world
            .api
            .metric_of("ox_protect_store_writable", &[("store", "policy")])
            .await
    };
    eventually("the metric says so", NOTICED_WITHIN, async || {
        metric().await == 0.0
    })
    .await;
    events.wait_for("store_failing", &[]).await;
    assert_eq!(
        world.client("127.0.7.9").ask("bets.example. A").await,
        "blocked: gambling"
    );
    disk.make_room();
    for _ in 0..WRITES {
        write(&world).await.ok();
    }
    eventually("the node is ready again", NOTICED_WITHIN, async || {
        world.api.get("/readyz").await.status == 200
    })
    .await;
    events.wait_for("store_writable", &[]).await;
    eventually("the metric says so", NOTICED_WITHIN, async || {
        metric().await == 1.0
    })
    .await;
    world.toggle("home", "gambling", Allow).await;
    assert_eq!(
        world.client("127.0.7.9").ask("bets.example. A").await,
        "192.0.2.7"
    );
    assert!(world.daemon.terminate().await.success());
}

#[tokio::test]
async fn a_store_that_is_removed_under_the_node_takes_no_change() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let events = Events::listen(&world.api).await;
    fs::remove_file(store(&world)).unwrap();
    for _ in 0..WRITES {
        let refused = world.api.toggle("home", "gambling", Allow).await;
        assert_eq!((refused.status, refused.problem()), (503, "store_vanished"));
    }
    events.wait_for("store_failing", &[]).await;
    let not_ready = world.api.get("/readyz").await;
    assert!(
        not_ready.status == 503 && not_ready.text.contains("vanished"),
        "{}",
        not_ready.text
    );
    assert_eq!(
        world.client("127.0.7.9").ask("bets.example. A").await,
        "blocked: gambling"
    );
    assert!(!store(&world).exists(), "nothing was made in its place");
    world.daemon.terminate().await;
    let (ok, complaint) = serve(&world.daemon.config());
    assert!(!ok && complaint.contains("--new-store"), "{complaint}");
}

#[tokio::test]
async fn a_node_whose_store_was_emptied_does_not_start_unfiltered() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .start()
        .await;
    assert!(world.daemon.terminate().await.success());
    let whole = fs::read(store(&world)).unwrap();
    fs::write(store(&world), "").unwrap();
    let (ok, complaint) = serve(&world.daemon.config());
    assert!(
        !ok && complaint.contains("ox-protect.db is empty") && complaint.contains("--new-store"),
        "{complaint}"
    );
    fs::remove_file(store(&world)).unwrap();
    // Without the markers, the key and the history, the lists still show it.
    for name in [
        "ox-protect.db.node",
        "ox-protect.db.audit-key",
        "lists/store.node",
        "ox-protect-history.db",
    ] {
        let (ok, complaint) = serve(&world.daemon.config());
        assert!(
            !ok && complaint.contains("ox-protect.db is missing"),
            "{complaint}"
        );
        fs::remove_file(world.folder().join(name)).unwrap();
    }
    let (ok, complaint) = serve(&world.daemon.config());
    assert!(
        !ok && complaint.contains("ox-protect.db is missing") && complaint.contains("/lists/"),
        "{complaint}"
    );
    fs::write(store(&world), whole).unwrap();
    world.daemon.restart().await;
    assert_eq!(
        world
            .daemon
            .stdout()
            .iter()
            .filter(|line| line.starts_with("operator key: "))
            .count(),
        1
    );
    assert_eq!(world.api.get("/v1/households/home").await.status, 200);
}

#[tokio::test]
async fn a_second_daemon_on_the_same_store_is_refused_and_commands_are_not() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .listing("gambling", "bets.example")
        .start()
        .await;
    let (ok, complaint) = serve(&world.daemon.config());
    assert!(
        !ok && complaint.contains(&format!("process {}", world.daemon.id())),
        "{complaint}"
    );
    let config = world.daemon.config();
    for command in [
        &["keys", "create"][..],
        &["keys", "list"],
        &["audit", "verify"],
        &["audit", "head"],
        &["explain", "a.example", "--household", "home"],
    ] {
        let output = ox_protect(&[command, &["--config", config.to_str().unwrap()]].concat());
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(
        world.client("127.0.7.9").ask("a.example. A").await,
        "192.0.2.1"
    );
}

#[test]
fn no_command_but_serve_makes_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.toml");
    fs::write(
        &config,
        "[store]\nurl = \"sqlite:data/ox.db\"\n[lists]\ndirectory = \"lists\"\n",
    )
    .unwrap();
    for command in [
        &["keys", "create"][..],
        &["keys", "list"],
        &["keys", "revoke", "abc"],
        &["lists", "rollback"],
        &["audit", "verify"],
        &["audit", "head"],
        &["audit", "acknowledge", "--note", "x"],
    ] {
        let output = ox_protect(&[command, &["--config", config.to_str().unwrap()]].concat());
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            !output.status.success()
                && said.contains("data/ox.db")
                && said.contains("ox-protect serve"),
            "{command:?}: {said}"
        );
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "{command:?} made something"
        );
    }
}

#[tokio::test]
async fn the_files_of_a_node_are_readable_by_their_owner_only() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut files: Vec<PathBuf> = ["", "-wal", "-shm", ".node", ".audit-key", ".lock"]
        .map(|suffix| format!("{}{suffix}", store(&world).display()).into())
        .into();
    files.push(world.folder().join("ox-protect-history.db"));
    let mut folders = vec![world.folder().join("lists")];
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path)
            }
        }
    }
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    // An earlier version left the mode to the umask.
    assert!(world.daemon.terminate().await.success());
    fs::set_permissions(store(&world), fs::Permissions::from_mode(0o644)).unwrap();
    world.daemon.restart().await;
    assert_eq!(mode(&store(&world)), 0o600);
    assert!(world.daemon.stderr().contains("its mode is 600 now"));
    let is_root = fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .any(|line| line.starts_with("Uid:\t0\t"));
    assert_eq!(world.daemon.stderr().contains("running as root"), is_root);
}

#[tokio::test]
async fn rows_that_are_taken_from_the_audit_are_missed() {
    let hook = WebhookReceiver::new().await;
    let notices = format!(
        "[notices]\nwebhook = \"{}\"\nsecret = \"sixteen octets or more\"\n",
        hook.url()
    );
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .listing("gambling", "bets.example")
        .config(&notices)
        .start()
        .await;
    for switch in [Block, Allow, Block, Allow] {
        world.toggle("home", "gambling", switch).await;
    }
    let config = world.daemon.config();
    let audit = |arguments: &[&str]| {
        let output = ox_protect(
            &[
                &["audit"],
                arguments,
                &["--config", config.to_str().unwrap()],
            ]
            .concat(),
        );
        (
            output.status.success(),
            format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
        )
    };
    let verified = world.api.get("/v1/audit/verify").await.ok().json;
    assert_eq!(
        (&verified["is_whole"], &verified["signed"]),
        (&json!(true), &verified["rows"])
    );
    let rows = verified["rows"].as_u64().unwrap();
    let (ok, head) = audit(&["head"]);
    assert!(ok && verified["signed_head"] == head.trim(), "{head}");
    assert!(audit(&["verify", "--head", head.trim()]).0);
    assert!(world.daemon.terminate().await.success());
    // At the end the head is in the log, and at the operator's receiver.
    let announced = hook
        .notices()
        .into_iter()
        .find(|notice| notice["kind"] == "audit_head")
        .unwrap();
    assert_eq!(
        (&announced["head"], announced["sequence"].as_u64()),
        (&json!(head.trim()), Some(rows))
    );
    let log = world.folder().join("stderr.log");
    let (ok, said) = audit(&["verify", "--head", log.to_str().unwrap()]);
    assert!(ok && said.contains("given"), "{said}");

    let last = rows - 2;
    sqlite(
        &store(&world),
        &format!(
            "DROP TRIGGER audit_is_never_deleted; DELETE FROM audit WHERE sequence >= {last}; DELETE FROM audit_head"
        ),
    );
    let (ok, said) = audit(&["verify"]);
    assert!(
        !ok && said.contains(&format!("broken at row {last}")),
        "{said}"
    );
    world.daemon.restart().await;
    let verified = world.api.get("/v1/audit/verify").await.ok().json;
    assert_eq!(
        (
            &verified["is_whole"],
            verified["fault"]["sequence"].as_u64()
        ),
        (&json!(false), Some(last)),
        "{verified}"
    );
    eventually("the metric says so", NOTICED_WITHIN, async || {
        world.api.metric("ox_protect_audit_whole").await == 0.0
    })
    .await;
    assert!(
        world.daemon.stderr().contains("audit_is_never_deleted"),
        "the trigger is told of"
    );
    // The intruder also controls the markers, but not the log.
    let (ok, said) = audit(&["verify", "--head", log.to_str().unwrap()]);
    assert!(!ok, "{said}");
    assert!(audit(&["acknowledge", "--note", "a drill"]).0);
    assert_eq!(
        world.api.get("/v1/audit/verify").await.ok().json["is_whole"],
        true
    );
    assert!(!audit(&["verify", "--head", "no head"]).0);
}

#[tokio::test]
async fn old_rows_of_the_audit_leave_for_a_file_and_the_rest_is_whole() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .start()
        .await;
    let config = world.daemon.config().display().to_string();
    let archive = world.folder().join("old.jsonl").display().to_string();
    let audit = |arguments: &[&str]| {
        let all = [&["audit"], arguments, &["--config", &config]].concat();
        let output = ox_protect(&all);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text} {output:?}");
        text
    };
    let rows = world.api.get("/v1/audit/verify").await.ok().json["rows"].clone();
    let later = "2100-01-01T00:00:00Z";
    audit(&["prune", "--before", later, "--to", &archive]);
    let told = audit(&["verify", "--archive", &archive]);
    assert!(told.contains("the audit is whole"), "{told}");
    // The daemon goes on with what is left.
    world
        .api
        .household("home", json!({ "locale": "fr" }))
        .await
        .ok();
    let verified = world.api.get("/v1/audit/verify").await.ok().json;
    assert_eq!(verified["is_whole"], true, "{verified}");
    assert_eq!(verified["archived"], rows.as_u64().unwrap() - 1);
    let past = "/v1/explain?name=a.example&household=home&at=2020-01-01T00:00:00Z";
    assert_eq!(world.api.get(past).await.problem(), "not_kept");
}
