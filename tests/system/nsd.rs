//! The tour of the README with NSD, a real authoritative server: root, top-level domain and zones
//! on one loopback address.

use std::{
    net::{TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::world::{Internet, Switch::*, World, client, eventually};

/// Debian's path, which is not in an ordinary user's PATH.
const NSD: &str = "/usr/sbin/nsd";
/// An address outside the ranges of the simulated Internet.
pub(super) const ADDRESS: &str = "127.60.0.53";

pub(super) struct Nsd(Child);

impl Drop for Nsd {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Nsd {
    /// Reads zone files that have changed.
    pub(super) fn reload(&self) {
        let pid = i32::try_from(self.0.id()).expect("a process id");
        let pid = Pid::from_raw(pid).expect("a process id");
        kill_process(pid, Signal::HUP).expect("it runs");
    }
}

pub(super) fn free_port() -> u16 {
    let tcp = TcpListener::bind((ADDRESS, 0)).unwrap();
    let port = tcp.local_addr().unwrap().port();
    UdpSocket::bind((ADDRESS, port))
        .map(|_| port)
        .unwrap_or_else(|_| free_port())
}

/// Serves the zones of the tour.
fn start(folder: &Path, port: u16) -> Nsd {
    let soa = "3600 SOA ns.nsd.example. hostmaster.nsd.example. 1 3600 600 86400 60";
    let zones = [
        (
            ".",
            format!(
                ". {soa}\n. 3600 NS ns.nsd.example.\nexample. 3600 NS ns.nsd.example.\nns.nsd.example. 3600 A {ADDRESS}\n"
            ),
        ),
        (
            "example.",
            format!(
                "example. {soa}\nexample. 3600 NS ns.nsd.example.\nns.nsd.example. 3600 A {ADDRESS}\nbets.example. 3600 NS ns.nsd.example.\nnews.example. 3600 NS ns.nsd.example.\n"
            ),
        ),
        (
            "bets.example.",
            format!(
                "bets.example. {soa}\nbets.example. 3600 NS ns.nsd.example.\nbets.example. 60 A 192.0.2.10\n"
            ),
        ),
        (
            "news.example.",
            format!(
                "news.example. {soa}\nnews.example. 3600 NS ns.nsd.example.\nnews.example. 60 A 192.0.2.40\nlucky.news.example. 60 CNAME bets.example.\n"
            ),
        ),
    ];
    for (place, (_, text)) in zones.iter().enumerate() {
        std::fs::write(folder.join(format!("{place}.zone")), text).unwrap();
    }
    let files: Vec<(String, String)> = zones
        .iter()
        .enumerate()
        .map(|(place, (name, _))| ((*name).to_owned(), format!("{place}.zone")))
        .collect();
    serve(folder, port, &files)
}

/// Serves zones, each by its name and its file in the folder.
pub(super) fn serve(folder: &Path, port: u16, zones: &[(String, String)]) -> Nsd {
    serve_at(folder, &format!("{ADDRESS}@{port}"), zones)
}

/// The same at any address, written `ADDRESS@PORT`.
pub(super) fn serve_at(folder: &Path, address: &str, zones: &[(String, String)]) -> Nsd {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut config = format!(
        "server:\n ip-address: {address}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{}\"\n pidfile: \"\"\n database: \"\"\n zonelistfile: \"{}\"\n xfrdfile: \"{}\"\n xfrdir: \"{}\"\n server-count: 1\nremote-control:\n control-enable: no\n",
        folder.display(),
        path("zone.list"),
        path("xfrd.state"),
        folder.display(),
    );
    for (name, file) in zones {
        config += &format!("zone:\n name: \"{name}\"\n zonefile: \"{file}\"\n");
    }
    std::fs::write(folder.join("nsd.conf"), config).unwrap();
    let log = std::fs::File::create(folder.join("nsd.log")).unwrap();
    let child = Command::new(NSD)
        .args(["-d", "-c", &path("nsd.conf")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    Nsd(child.unwrap_or_else(|error| panic!("{NSD}, which `make test` installs: {error}")))
}

#[tokio::test]
async fn the_tour_works_against_a_real_authority() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _nsd = start(folder.path(), port);
    let authority = client("127.0.7.9")
        .to(format!("{ADDRESS}:{port}").parse().unwrap())
        .with_timeout(Duration::from_millis(300));
    eventually("NSD answers", Duration::from_secs(20), async || {
        authority.ask("bets.example. A").await == "192.0.2.10"
    })
    .await;
    let hints = folder.path().join("hints");
    std::fs::write(
        &hints,
        format!(". 3600000 NS ns.nsd.example.\nns.nsd.example. 3600000 A {ADDRESS}\n"),
    )
    .unwrap();
    let recursion = format!(
        "[recursion]\nroot_hints = \"{}\"\nauthority_port = {port}\n",
        hints.display()
    );
    let world = World::builder(Internet::new())
        .listing("gambling", "bets.example")
        .config(&recursion)
        .start()
        .await;
    world
        .device("home", "phone", ("address", "127.0.7.10"))
        .await;
    let home = world.client("127.0.7.9");
    let phone = world.client("127.0.7.10");
    assert_eq!(phone.ask("bets.example. A").await, "192.0.2.10");
    assert_eq!(phone.ask("lucky.news.example. A").await, "192.0.2.10");
    world
        .toggle_device("home", "phone", "gambling", Block)
        .await;
    assert_eq!(phone.ask("bets.example. A").await, "blocked: gambling");
    assert_eq!(
        phone.ask("lucky.news.example. A").await,
        "blocked: gambling"
    );
    assert_eq!(home.ask("bets.example. A").await, "192.0.2.10");
    let explained = world
        .api
        .get("/v1/explain?name=lucky.news.example&household=home&device=phone")
        .await
        .ok()
        .json;
    assert_eq!(
        (&explained["verdict"], &explained["hop"]["name"]),
        (&"block".into(), &"bets.example".into())
    );
    assert_eq!(home.ask("absent.news.example. A").await, "NXDOMAIN");
}
