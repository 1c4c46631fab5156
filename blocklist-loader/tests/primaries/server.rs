//! Real primaries on loopback ports: BIND, Knot DNS and PowerDNS. Each gets a configuration from
//! here, runs in the foreground, and ends with the test in any case. All of them require the TSIG
//! key.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use blocklist_loader::fetch::notify::{Notify, answer_notify, read_notify};
use tempfile::TempDir;

use super::{
    waiting::eventually,
    zone::{Row, ZONE, Zone, parts},
};

/// BIND listens only on addresses of interfaces; this is the loopback interface's.
pub const ADDRESS: &str = "127.0.0.1";
pub const KEY: &str = "ox.key";
pub const ALGORITHM: &str = "hmac-sha256";
pub const SECRET: &str = "b3ggcHJvdGVjdCB0ZXN0cyBhIHRyYW5zZmVyIGtleQ==";
/// Records changed by one UPDATE; each UPDATE becomes one difference in the zone's journal.
const CHANGES_OF_AN_UPDATE: usize = 50;

/// How often a server that exits at once is started again.
const STARTS_MAX: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bind,
    Knot,
    PowerDns,
}

pub struct Primary {
    pub kind: Kind,
    pub zone: Zone,
    pub port: u16,
    pub notified: Notified,
    /// The port of the server's NOTIFY.
    tells: u16,
    folder: TempDir,
    process: Option<Process>,
}

/// The receiver of a primary's NOTIFY: answers each, and reports it with its transport.
pub struct Notified {
    port: u16,
    pub told: Receiver<(&'static str, Notify)>,
}

impl Notified {
    fn listen() -> Self {
        let (port, udp, tcp) = free_port();
        let (tell, told) = channel();
        let tell_too = tell.clone();
        thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((length, from)) = udp.recv_from(&mut packet) {
                let _ = tell.send(("udp", read_notify(&packet[..length]).unwrap()));
                udp.send_to(&answer_notify(&packet[..length]), from)
                    .unwrap();
            }
        });
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut packet = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut packet).unwrap();
                let answer = answer_notify(&packet);
                stream
                    .write_all(&[&(answer.len() as u16).to_be_bytes()[..], &answer].concat())
                    .unwrap();
                let _ = tell_too.send(("tcp", read_notify(&packet).unwrap()));
            }
        });
        Self { port, told }
    }
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free for UDP and TCP and held until both sockets are dropped. It is below the
/// range of ephemeral ports, so that no client takes it before the server binds it.
fn free_port() -> (u16, UdpSocket, TcpListener) {
    loop {
        let port = 20_000 + (RandomState::new().hash_one(0) % 12_000) as u16;
        if let (Ok(udp), Ok(tcp)) = (
            UdpSocket::bind((ADDRESS, port)),
            TcpListener::bind((ADDRESS, port)),
        ) {
            return (port, udp, tcp);
        }
    }
}

impl Primary {
    pub fn start(kind: Kind, zone: Zone) -> Self {
        let notified = Notified::listen();
        Self::begun(kind, zone, notified.port, notified)
    }

    /// A server whose NOTIFY goes elsewhere.
    pub fn telling(port: u16, kind: Kind, zone: Zone) -> Self {
        Self::begun(kind, zone, port, Notified::listen())
    }

    fn begun(kind: Kind, zone: Zone, tells: u16, notified: Notified) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut primary = Self {
            kind,
            zone,
            port: free_port().0,
            notified,
            tells,
            folder,
            process: None,
        };
        primary.begin();
        primary
    }

    /// Stops the server, deletes its journal, and starts it again with this zone.
    pub fn restart_without_journal(&mut self, zone: Zone) {
        self.process = None;
        self.folder = tempfile::tempdir().unwrap();
        self.zone = zone;
        self.begin();
    }

    fn begin(&mut self) {
        let Self {
            zone,
            port,
            folder,
            tells,
            ..
        } = &*self;
        let folder = folder.path();
        let notified = *tells;
        fs::write(folder.join("zone"), zone.text()).unwrap();
        let command = match self.kind {
            Kind::Bind => bind(folder, *port, notified),
            Kind::Knot => knot(folder, *port, notified),
            Kind::PowerDns => power_dns(folder, *port, notified),
        };
        let log = folder.join("log");
        let start = || {
            let file = fs::File::create(&log).unwrap();
            // The server ends with this test in any case.
            let mut by = Command::new("setpriv");
            by.args(["--pdeathsig", "KILL"])
                .args(&command)
                .current_dir(folder);
            Process(
                by.stdin(Stdio::null())
                    .stdout(file.try_clone().unwrap())
                    .stderr(file)
                    .spawn()
                    .unwrap(),
            )
        };
        let mut process = start();
        let mut starts = 1;
        eventually(&format!("{:?} answers", self.kind), || {
            if process.0.try_wait().unwrap().is_some() {
                // Another test that starts a server holds the port briefly, between its fork and
                // exec.
                let said = fs::read_to_string(&log).unwrap_or_default();
                assert!(
                    starts < STARTS_MAX,
                    "{:?}, which `make test` installs, ended: {said}",
                    self.kind
                );
                process = start();
                starts += 1;
            }
            self.dig("SOA").contains("SOA")
        });
        self.process = Some(process);
    }

    /// Changes the zone in steps of one serial each, and waits until the primary serves the last
    /// one.
    pub fn change(&mut self, gone: &[Row], came: &[Row]) {
        let changes: Vec<(&Row, bool)> = gone
            .iter()
            .map(|row| (row, false))
            .chain(came.iter().map(|row| (row, true)))
            .collect();
        for some in changes.chunks(CHANGES_OF_AN_UPDATE) {
            for (row, added) in some {
                let _ = if *added {
                    self.zone.rows.insert((*row).clone())
                } else {
                    self.zone.rows.remove(*row)
                };
            }
        }
        self.zone.serial = self
            .zone
            .serial
            .wrapping_add(changes.chunks(CHANGES_OF_AN_UPDATE).len() as u32);
        self.send(&changes, false);
    }

    /// Sets the zone's serial and adds rows.
    pub fn renumber(&mut self, serial: u32, came: &[Row]) {
        self.zone.serial = serial;
        self.zone.rows.extend(came.iter().cloned());
        self.send(
            &came.iter().map(|row| (row, true)).collect::<Vec<_>>(),
            true,
        );
    }

    fn send(&self, changes: &[(&Row, bool)], with_serial: bool) {
        match self.kind {
            Kind::Bind | Kind::Knot => self.update(changes, with_serial),
            Kind::PowerDns => self.sql(changes),
        }
        eventually("the primary serves the change", || {
            self.dig("SOA").contains(&format!(" {} ", self.zone.serial))
        });
    }

    /// By UPDATE (RFC 2136), with each server's own tool.
    fn update(&self, changes: &[(&Row, bool)], with_serial: bool) {
        let mut script = format!("server {ADDRESS} {}\nzone {ZONE}.\n", self.port);
        if with_serial {
            script += &format!("update add {ZONE}. 60 SOA {}\n", self.zone.soa());
        }
        for some in changes.chunks(CHANGES_OF_AN_UPDATE) {
            for (row, added) in some {
                let [owner, rtype, rdata] = parts(row);
                script += &match added {
                    true => format!("update add {owner}.{ZONE}. 60 {rtype} {rdata}\n"),
                    false => format!("update delete {owner}.{ZONE}. {rtype} {rdata}\n"),
                };
            }
            script += "send\n";
        }
        let path = self.folder.path().join("update");
        fs::write(&path, script).unwrap();
        let tool = if self.kind == Kind::Bind {
            "nsupdate"
        } else {
            "knsupdate"
        };
        succeed(
            Command::new(tool)
                .args(["-v", "-y", &format!("{ALGORITHM}:{KEY}:{SECRET}")])
                .arg(path),
        );
    }

    /// PowerDNS reads its database for each query.
    fn sql(&self, changes: &[(&Row, bool)]) {
        let mut script = "BEGIN;\n".to_owned();
        for (row, added) in changes {
            let [owner, rtype, rdata] = parts(row);
            let name = format!("{owner}.{ZONE}");
            let content = rdata.replace('\'', "''");
            let content = if content.len() > 1 {
                content.strip_suffix('.').unwrap_or(&content)
            } else {
                &content
            };
            script += &match added {
                true => format!(
                    "INSERT INTO records (domain_id, name, type, content, ttl, auth) VALUES (1, '{name}', '{rtype}', '{content}', 60, 1);\n"
                ),
                false => format!(
                    "DELETE FROM records WHERE name = '{name}' AND type = '{rtype}' AND rtrim(content, '.') = rtrim('{content}', '.');\n"
                ),
            };
        }
        script += &format!(
            "UPDATE records SET content = '{}' WHERE type = 'SOA';\nCOMMIT;\n",
            self.zone.soa()
        );
        run_sql(self.folder.path(), &script);
    }

    /// Makes the server send its NOTIFY, where it does not do so at once.
    pub fn notify(&self) {
        if self.kind == Kind::PowerDns {
            let folder = format!("--config-dir={}", self.folder.path().display());
            succeed(Command::new("pdns_control").args([
                &folder,
                &format!("--socket-dir={}", self.folder.path().display()),
                "notify",
                ZONE,
            ]));
        }
    }

    /// The zone as another client gets it: one record a line.
    fn dig(&self, rtype: &str) -> String {
        let key = format!("{ALGORITHM}:{KEY}:{SECRET}");
        let server = format!("@{ADDRESS}");
        let port = self.port.to_string();
        // Each primary is queried with the tool of another vendor.
        let (tool, once) = if self.kind == Kind::Knot {
            ("dig", ["+time=5", "+tries=1"])
        } else {
            ("kdig", ["+timeout=5", "+retry=0"])
        };
        let mut command = Command::new(tool);
        command
            .args([
                &server, "-p", &port, "-y", &key, "+tcp", "+noall", "+answer",
            ])
            .args(once)
            .args([ZONE, rtype]);
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("dig and kdig, which `make test` installs: {error}"));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The rows of the zone as an independent AXFR gets them.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for line in self
            .dig("AXFR")
            .lines()
            .filter(|line| !line.starts_with(';') && !line.is_empty())
        {
            // Owner, TTL, class and type, separated by any white space, then the data.
            let mut words = [""; 4];
            let mut rest = line;
            for word in &mut words {
                (*word, rest) = rest
                    .trim_start()
                    .split_once(char::is_whitespace)
                    .expect(line);
            }
            let owner = words[0].to_lowercase();
            let rtype = words[3];
            let rdata = rest.trim_start();
            match owner.strip_suffix(&format!(".{ZONE}.")) {
                Some(owner) => rows.push(format!("{owner}\t{rtype}\t{rdata}")),
                None => assert!(matches!(rtype, "SOA" | "NS"), "{line}"),
            }
        }
        rows.sort();
        rows
    }
}

fn succeed(command: &mut Command) {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}, which `make test` installs: {error}"));
    let said = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {said}");
}

fn bind(folder: &Path, port: u16, notified: u16) -> Vec<String> {
    let path = folder.display();
    let config = format!(
        "key \"{KEY}\" {{ algorithm {ALGORITHM}; secret \"{SECRET}\"; }};
controls {{ }};
options {{
    directory \"{path}\"; pid-file none; session-keyfile \"{path}/session.key\"; lock-file none;
    listen-on port {port} {{ {ADDRESS}; }}; listen-on-v6 {{ none; }};
    recursion no; empty-zones-enable no; notify-delay 0; startup-notify-rate 1000; notify-rate 1000;
}};
zone \"{ZONE}\" {{
    type primary; file \"zone\"; check-names ignore;
    allow-query {{ key \"{KEY}\"; }}; allow-transfer {{ key \"{KEY}\"; }}; allow-update {{ key \"{KEY}\"; }};
    notify explicit; also-notify {{ {ADDRESS} port {notified}; }};
}};
"
    );
    fs::write(folder.join("named.conf"), config).unwrap();
    ["/usr/sbin/named", "-g", "-n", "1", "-c", "named.conf"]
        .map(str::to_owned)
        .into()
}

fn knot(folder: &Path, port: u16, notified: u16) -> Vec<String> {
    let path = folder.display();
    let config = format!(
        "server:
    rundir: \"{path}\"
    pidfile: \"{path}/knot.pid\"
    listen: {ADDRESS}@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: \"{path}/knot.sock\"
database:
    storage: \"{path}\"
log:
  - target: stderr
    any: info
key:
  - id: {KEY}
    algorithm: {ALGORITHM}
    secret: {SECRET}
remote:
  - id: ox
    address: {ADDRESS}@{notified}
    key: {KEY}
acl:
  - id: ox
    key: {KEY}
    action: [query, transfer, update]
zone:
  - domain: {ZONE}
    file: \"{path}/zone\"
    semantic-checks: off
    zonefile-sync: -1
    notify: ox
    acl: ox
"
    );
    fs::write(folder.join("knot.conf"), config).unwrap();
    ["/usr/sbin/knotd", "-c", "knot.conf"]
        .map(str::to_owned)
        .into()
}

/// The tables of the Debian package.
const POWER_DNS_SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";

fn power_dns(folder: &Path, port: u16, notified: u16) -> Vec<String> {
    let path = folder.display();
    let config = format!(
        "launch=gsqlite3
gsqlite3-database={path}/database
gsqlite3-pragma-synchronous=0
socket-dir={path}
local-address={ADDRESS}
local-port={port}
primary=yes
disable-axfr=no
allow-axfr-ips=
also-notify={ADDRESS}:{notified}
only-notify=
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
zone-metadata-cache-ttl=0
receiver-threads=1
distributor-threads=1
security-poll-suffix=
guardian=no
daemon=no
"
    );
    fs::write(folder.join("pdns.conf"), config).unwrap();
    run_sql(
        folder,
        &fs::read_to_string(POWER_DNS_SCHEMA).unwrap_or_else(|error| {
            panic!("{POWER_DNS_SCHEMA}, which `make test` installs: {error}")
        }),
    );
    succeed(
        Command::new("pdnsutil")
            .args([&format!("--config-dir={path}"), "load-zone", ZONE])
            .arg(folder.join("zone")),
    );
    let key = format!(
        "UPDATE domains SET type = 'MASTER';
INSERT INTO tsigkeys (name, algorithm, secret) VALUES ('{KEY}', '{ALGORITHM}', '{SECRET}');
INSERT INTO domainmetadata (domain_id, kind, content) VALUES (1, 'TSIG-ALLOW-AXFR', '{KEY}');\n"
    );
    run_sql(folder, &key);
    vec![
        "/usr/sbin/pdns_server".to_owned(),
        format!("--config-dir={path}"),
    ]
}

fn run_sql(folder: &Path, script: &str) {
    let path = folder.join("sql");
    fs::write(&path, script).unwrap();
    let input = fs::File::open(path).unwrap();
    succeed(
        Command::new("sqlite3")
            .arg("-bail")
            .arg(folder.join("database"))
            .stdin(input),
    );
}
