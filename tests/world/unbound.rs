//! Unbound on the simulated Internet, for comparison with another resolver. It can only query port
//! 53, so it needs [`Internet::on_port_53`](super::Internet::on_port_53).

use std::{
    fs::{self, File},
    net::{SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    client::{Client, client},
    internet::Internet,
    waiting::eventually,
};

/// Debian's path, which is not in an ordinary user's PATH.
const PROGRAM: &str = "/usr/sbin/unbound";

/// Its address, outside the ranges of clients and of the simulated Internet.
const ADDRESS: &str = "127.60.0.54";

/// A running Unbound; it ends when this is dropped.
pub struct Unbound {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Unbound {
    /// Whether it is installed.
    pub fn is_installed() -> bool {
        std::path::Path::new(PROGRAM).exists()
    }

    /// Starts one that recurses on this Internet and waits until it answers. It does not validate,
    /// and it answers however late: by default it drops a query after 1.9 s and waits for a retry.
    pub async fn start(internet: &Internet) -> Self {
        let settings = " module-config: \"iterator\"\n discard-timeout: 0\n";
        Self::start_with(&internet.root_hints(), settings).await
    }

    /// Starts one that validates with these trust anchors, DS records, below these root hints.
    /// With the log level it says in Extended DNS Errors what it found.
    pub async fn start_validating(hints: &str, anchors: &[String]) -> Self {
        let anchors = anchors.iter();
        let anchors: String = anchors
            .map(|anchor| format!(" trust-anchor: \"{anchor}\"\n"))
            .collect();
        let settings = format!(
            " module-config: \"validator iterator\"\n{anchors} ede: yes\n \
             val-log-level: 2\n trust-anchor-signaling: no\n"
        );
        Self::start_with(hints, &settings).await
    }

    async fn start_with(hints_text: &str, further: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("ox-protect-unbound-")
            .tempdir()
            .expect("a temporary folder");
        let address = UdpSocket::bind((ADDRESS, 0))
            .and_then(|socket| socket.local_addr())
            .expect("a free port");
        let hints = folder.path().join("hints");
        let config = folder.path().join("unbound.conf");
        fs::write(&hints, hints_text).expect("the folder is ours");
        let settings = format!(
            "server:\n interface: {ADDRESS}@{}\n access-control: 127.0.0.0/8 allow\n do-daemonize: no\n use-syslog: no\n \
             username: \"\"\n chroot: \"\"\n directory: \"{}\"\n pidfile: \"\"\n root-hints: \"{}\"\n \
             do-not-query-localhost: no\n local-zone: \"test.\" nodefault\n do-ip6: no\n{further}remote-control:\n control-enable: no\n",
            address.port(),
            folder.path().display(),
            hints.display(),
        );
        fs::write(&config, settings).expect("the folder is ours");
        let log = File::create(folder.path().join("log")).expect("the folder is ours");
        let child = Command::new(PROGRAM)
            .args(["-d", "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let unbound = Self {
            child: child.expect("it is installed"),
            address,
            _folder: folder,
        };
        let short_wait = unbound
            .client("127.0.7.9")
            .with_timeout(Duration::from_millis(300));
        // Queries itself only, so that its cache is empty when it is ready.
        eventually("Unbound answers", Duration::from_secs(20), async || {
            short_wait.ask("localhost. A").await == "127.0.0.1"
        })
        .await;
        unbound
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client at this address that queries it.
    pub fn client(&self, from: &str) -> Client {
        client(from).to(self.address)
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _it_may_have_ended = self.child.kill();
        let _ = self.child.wait();
    }
}
