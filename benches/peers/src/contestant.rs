//! Who is measured, and how each is set up: one thread, no validation unless a trust anchor is given,
//! no logs, everything else as its makers ship it.
//!
//! A rival may be newer than this machine's: with a root folder (see `newer.sh`) it is run inside
//! of that by `chroot`.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::{
    reload::{Change, Tell},
    world::Anchor,
};

/// BIND's ports go up from here by the last octet of the address that another contestant would have.
const BIND_FIRST_PORT: u16 = 5_300;
/// BIND takes one change of a response-policy zone a minute (`min-update-interval`); the first
/// after a quiet minute at once.
const BIND_REST: Duration = Duration::from_secs(61);
/// What Knot Resolver needs to watch a file, inside of the root folder.
const KNOT_WATCHES_BY: &str = "usr/share/lua/5.1/cqueues/notify.lua";

/// A program to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The floor: datagrams sent back in batches.
    Echo,
    /// This project.
    Ox,
    /// Unbound; its list as local zones.
    Unbound,
    /// Unbound; its list as a response-policy zone.
    UnboundRpz,
    /// PowerDNS Recursor; RPZ.
    Pdns,
    /// dnsdist's packet cache in front of an Unbound; its list as a CDB file.
    Dnsdist,
    /// Knot Resolver; RPZ.
    Knot,
    /// BIND; RPZ.
    Bind,
}

impl Kind {
    /// All of them, the floor first.
    pub const ALL: [Self; 8] = [
        Self::Echo,
        Self::Ox,
        Self::Unbound,
        Self::UnboundRpz,
        Self::Pdns,
        Self::Dnsdist,
        Self::Knot,
        Self::Bind,
    ];

    /// The name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Ox => "ox-protect",
            Self::Unbound => "unbound",
            Self::UnboundRpz => "unbound-rpz",
            Self::Pdns => "pdns-recursor",
            Self::Dnsdist => "dnsdist-cdb",
            Self::Knot => "knot-resolver",
            Self::Bind => "bind",
        }
    }

    /// Where it is asked, given an address of its own. BIND listens only on addresses that an
    /// interface has, and of the loopback network that is 127.0.0.1 alone: there it has a port of
    /// its own.
    pub fn door(self, address: Ipv4Addr) -> SocketAddr {
        match self {
            Self::Bind => (
                Ipv4Addr::LOCALHOST,
                BIND_FIRST_PORT + u16::from(address.octets()[3]),
            )
                .into(),
            _ => (address, 53).into(),
        }
    }

    /// How long it must have run before its list is changed, so that a short run measures what a
    /// long one does.
    pub fn rest(self) -> Duration {
        if self == Self::Bind {
            BIND_REST
        } else {
            Duration::ZERO
        }
    }

    /// The program, and how it tells its version.
    fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Echo | Self::Ox => ("", "--version"),
            Self::Unbound | Self::UnboundRpz => ("unbound", "-V"),
            Self::Pdns => ("pdns_recursor", "--version"),
            Self::Dnsdist => ("dnsdist", "--version"),
            Self::Knot => ("kresd", "--version"),
            Self::Bind => ("named", "-v"),
        }
    }
}

/// Where rivals run and where their files lie, seen from outside and from inside of their root
/// folder.
pub struct Place {
    root: Option<PathBuf>,
    work: PathBuf,
}

impl Place {
    /// Files go into `work`; with a root folder, into a folder of that.
    pub fn new(root: Option<PathBuf>, work: PathBuf) -> anyhow::Result<Self> {
        let work = root.as_ref().map_or(work, |root| root.join("bench"));
        fs::create_dir_all(&work).with_context(|| format!("creating {}", work.display()))?;
        Ok(Self {
            work: work.canonicalize().context("the folder was just made")?,
            root,
        })
    }

    /// A folder for one contestant.
    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.work.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder)
    }

    /// The same path as the contestant sees it.
    fn inside(&self, path: &Path) -> String {
        let root = self.root.as_ref().and_then(|root| root.canonicalize().ok());
        let inner = root.and_then(|root| {
            path.strip_prefix(root)
                .ok()
                .map(|inner| Path::new("/").join(inner))
        });
        inner
            .unwrap_or_else(|| path.to_owned())
            .display()
            .to_string()
    }

    fn command(&self, kind: Kind, arguments: &[&str]) -> Vec<String> {
        self.run(kind.program().0, arguments)
    }

    /// A program of the root folder, or of this machine, or the one that a variable names.
    fn run(&self, program: &str, arguments: &[&str]) -> Vec<String> {
        let variable = format!("PEERS_{}", program.to_uppercase().replace('-', "_"));
        let program = std::env::var(variable).unwrap_or_else(|_| program.to_owned());
        let chroot = self
            .root
            .iter()
            .flat_map(|root| ["chroot".to_owned(), root.display().to_string()]);
        // Servers live where an ordinary user's PATH does not look.
        let path = [
            "env".to_owned(),
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            program,
        ];
        chroot
            .chain(path)
            .chain(arguments.iter().map(|argument| (*argument).to_owned()))
            .collect()
    }

    /// What the program says of its version.
    pub fn version(&self, kind: Kind) -> String {
        if matches!(kind, Kind::Echo | Kind::Ox) {
            return env!("CARGO_PKG_VERSION").to_owned();
        }
        let command = self.command(kind, &[kind.program().1]);
        let output = Command::new(&command[0]).args(&command[1..]).output();
        let said = output
            .map(|output| [output.stdout, output.stderr].concat())
            .unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        let is_version = |word: &&str| {
            word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit())
        };
        said.split(|character: char| character.is_whitespace() || character == '-')
            .find(is_version)
            .unwrap_or("unknown")
            .to_owned()
    }

    /// Writes the configuration of a rival and says how to start it.
    pub fn set_up(
        &self,
        kind: Kind,
        name: &str,
        address: &str,
        upstream: &str,
        (hints, anchor): (&str, Option<&Anchor>),
        list: Option<&[String]>,
    ) -> anyhow::Result<Vec<String>> {
        let folder = self.folder(name)?;
        let write = |file: &str, text: &str| -> anyhow::Result<String> {
            let path = folder.join(file);
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            Ok(self.inside(&path))
        };
        let place = self.inside(&folder);
        let hints = write("root.hints", hints)?;
        let anchor_file = anchor
            .map(|anchor| write("root.anchor", &(anchor.record() + "\n")))
            .transpose()?;
        let rpz = list
            .filter(|_| !matches!(kind, Kind::Unbound | Kind::Dnsdist))
            .map(|list| write("rpz.zone", &rpz(list, 1)))
            .transpose()?;
        Ok(match kind {
            Kind::Echo | Kind::Ox => unreachable!("they are no rivals"),
            Kind::Unbound | Kind::UnboundRpz => {
                let zones = list
                    .filter(|_| kind == Kind::Unbound)
                    .map(|list| write("list.conf", &local_zones(list)))
                    .transpose()?;
                let module = match (&rpz, &anchor_file) {
                    (Some(_), _) => "respip iterator",
                    (None, Some(_)) => "validator iterator",
                    (None, None) => "iterator",
                };
                let trust = anchor_file
                    .map(|file| format!(" trust-anchor-file: \"{file}\"\n"))
                    .unwrap_or_default();
                let include = zones
                    .map(|zones| format!(" include: \"{zones}\"\n"))
                    .unwrap_or_default();
                let policy = rpz
                    .map(|rpz| format!("rpz:\n name: rpz.local\n zonefile: \"{rpz}\"\n"))
                    .unwrap_or_default();
                let control = write("control.conf", &unbound_control(&place))?;
                let config = write(
                    "unbound.conf",
                    &format!(
                        "server:\n directory: \"{place}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"{place}/pid\"\n interface: {address}@53\n num-threads: 1\n \
                     so-reuseport: yes\n so-rcvbuf: 4m\n so-sndbuf: 4m\n msg-cache-size: 256m\n rrset-cache-size: 512m\n outgoing-range: 8192\n \
                     num-queries-per-thread: 4096\n minimal-responses: yes\n module-config: \"{module}\"\n access-control: 127.0.0.0/8 allow\n \
                     do-not-query-localhost: no\n root-hints: \"{hints}\"\n do-ip6: no\n use-syslog: no\n logfile: \"\"\n verbosity: 0\n{trust}{include}\
                     {policy}include: \"{control}\"\n"
                    ),
                )?;
                self.command(kind, &["-d", "-c", &config])
            }
            Kind::Pdns => {
                let policy =
                    rpz.map(|rpz| format!("rpzFile(\"{rpz}\", {{policyName=\"list\"}})\n"));
                let trust = anchor.map(|anchor| {
                    let record = anchor.record();
                    let data = record.split_once(" DS ").map(|(_, data)| data);
                    let data = data.unwrap_or_default();
                    format!("clearTA()\naddTA(\".\", \"{data}\")\n")
                });
                let lua = policy.into_iter().chain(trust).collect::<String>();
                let policy = match lua.is_empty() {
                    true => String::new(),
                    false => format!("lua-config-file={}\n", write("config.lua", &lua)?),
                };
                let dnssec = anchor.map_or("off", |_| "validate");
                write(
                    "recursor.conf",
                    &format!(
                        "local-address={address}\nlocal-port=53\nthreads=1\nhint-file={hints}\nallow-from=127.0.0.0/8\ndont-query=\ndnssec={dnssec}\n\
                     max-cache-entries=2000000\nmax-packetcache-entries=1000000\nreuseport=yes\ndaemon=no\nsocket-dir={place}\nquiet=yes\nloglevel=0\n\
                     disable-syslog=yes\nsecurity-poll-suffix=\nwrite-pid=no\n{policy}"
                    ),
                )?;
                let folder = format!("--config-dir={place}");
                // From 5.x on a file of this form is read only when it is asked for.
                let old_form = "--enable-old-settings=yes";
                let is_new = self
                    .version(kind)
                    .split('.')
                    .next()
                    .and_then(|major| major.parse::<u32>().ok())
                    .is_some_and(|major| major >= 5);
                if is_new {
                    self.command(kind, &[&folder, old_form])
                } else {
                    self.command(kind, &[&folder])
                }
            }
            Kind::Dnsdist => {
                let rule = list.map_or(Ok(String::new()), |list| -> anyhow::Result<String> {
                    let cdb = write_cdb(&folder, "list", list)?;
                    Ok(format!(
                        "kvs = newCDBKVStore(\"{}\", 1)\naddAction(KeyValueStoreLookupRule(kvs, KeyValueLookupKeySuffix(1, false)), RCodeAction(DNSRCode.NXDOMAIN))\n",
                        self.inside(&cdb)
                    ))
                })?;
                let config = write(
                    "dnsdist.conf",
                    &format!(
                        "setLocal(\"{address}:53\", {{reusePort=true}})\nsetACL(\"127.0.0.0/8\")\nsetSecurityPollSuffix(\"\")\nsetVerboseHealthChecks(false)\n\
                     newServer({{address=\"{upstream}:53\", healthCheckMode=\"up\", sockets=4}})\n\
                     cache = newPacketCache(1000000, {{maxTTL=86400, minTTL=0}})\ngetPool(\"\"):setCache(cache)\n{rule}"
                    ),
                )?;
                self.command(kind, &["--supervised", "--disable-syslog", "-C", &config])
            }
            Kind::Knot => {
                let policy = rpz
                    .map(|rpz| format!("policy.add(policy.rpz(policy.DENY, '{rpz}'))\n"))
                    .unwrap_or_default();
                let trust = anchor_file.map_or("trust_anchors.remove('.')".to_owned(), |file| {
                    // Its cache on disk has the keys of an earlier run.
                    let _it_may_not_be_there = fs::remove_dir_all(folder.join("cache"));
                    format!("trust_anchors.remove('.')\ntrust_anchors.add_file('{file}', true)")
                });
                let config = write(
                    "kresd.conf",
                    &format!(
                        "net.listen('{address}', 53, {{ kind = 'dns' }})\nlog_level('crit')\n{trust}\nmodules = {{ 'hints > iterate', 'policy' }}\n\
                     cache.open(1024 * MB, 'lmdb://{place}/cache')\nhints.root_file('{hints}')\n{policy}"
                    ),
                )?;
                self.command(kind, &["-n", "-c", &config, &place])
            }
            Kind::Bind => {
                let door = kind.door(address.parse().context("our own address")?);
                let listen = door.ip();
                let port = door.port();
                let (option, zone) = rpz.map_or_else(Default::default, |rpz| {
                    (
                        "response-policy { zone \"rpz.local\"; } qname-wait-recurse no;\n"
                            .to_owned(),
                        format!("zone \"rpz.local\" {{ type primary; file \"{rpz}\"; }};\n"),
                    )
                });
                let (validation, trust) = anchor.map_or(("no", String::new()), |anchor| {
                    let Anchor {
                        tag,
                        algorithm,
                        digest_type,
                        digest,
                    } = anchor;
                    let key = format!("static-ds {tag} {algorithm} {digest_type} \"{digest}\"");
                    ("yes", format!("trust-anchors {{ . {key}; }};\n"))
                });
                let config = write(
                    "named.conf",
                    &format!(
                        "options {{ directory \"{place}\"; listen-on port {port} {{ {listen}; }}; listen-on-v6 {{ none; }}; recursion yes; allow-query {{ 127.0.0.0/8; }};\n\
                     allow-recursion {{ 127.0.0.0/8; }}; dnssec-validation {validation}; minimal-responses yes; recursive-clients 20000; max-cache-size 1g;\n\
                     pid-file none; empty-zones-enable no; querylog no; {option} }};\nlogging {{ category default {{ null; }}; }};\ncontrols {{ }};\n{trust}\
                     zone \".\" {{ type hint; file \"{hints}\"; }};\n{zone}"
                    ),
                )?;
                self.command(kind, &["-f", "-n", "1", "-c", &config])
            }
        })
    }
}

impl Place {
    /// Puts a new list beside the one in use, in the form that the rival reads, and says how it
    /// wants to be told. `new` are the names that the list in use does not have.
    pub fn stage(
        &self,
        kind: Kind,
        name: &str,
        list: &[String],
        new: &[String],
    ) -> anyhow::Result<Change> {
        let folder = self.folder(name)?;
        let write = |file: &str, text: &str| -> anyhow::Result<PathBuf> {
            let path = folder.join(file);
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            Ok(path)
        };
        let (staged, target) = match kind {
            Kind::Echo | Kind::Ox => unreachable!("they are no rivals"),
            Kind::Unbound => (write("list.next", &local_zones(list))?, "list.conf"),
            Kind::Dnsdist => (write_cdb(&folder, "next", list)?, "list.cdb"),
            Kind::UnboundRpz | Kind::Pdns | Kind::Knot | Kind::Bind => {
                (write("rpz.next", &rpz(list, 2))?, "rpz.zone")
            }
        };
        Ok(Change {
            staged,
            target: folder.join(target),
            tell: self.tell(kind, &self.inside(&folder), new)?,
        })
    }

    fn tell(&self, kind: Kind, place: &str, new: &[String]) -> anyhow::Result<Tell> {
        Ok(match kind {
            Kind::Echo | Kind::Ox | Kind::Dnsdist => Tell::Nothing,
            Kind::Unbound | Kind::UnboundRpz => {
                let config = format!("{place}/control.conf");
                Tell::Commands(vec![self.run(
                    "unbound-control",
                    &["-c", &config, unbound_reload(&self.version(kind))],
                )])
            }
            Kind::Pdns => {
                let socket = format!("--socket-dir={place}");
                // Its packet cache goes on with what it knows of a name that is listed by now
                // (PowerDNS issue 14854), unless the operator takes the new names out.
                let wipe = [&*socket, "wipe-cache"]
                    .into_iter()
                    .chain(new.iter().map(String::as_str))
                    .collect::<Vec<_>>();
                Tell::Commands(vec![
                    self.run("rec_control", &[&socket, "reload-lua-config"]),
                    self.run("rec_control", &wipe),
                ])
            }
            Kind::Knot => {
                let watches_by = self
                    .root
                    .as_deref()
                    .unwrap_or(Path::new("/"))
                    .join(KNOT_WATCHES_BY);
                ensure!(
                    watches_by.exists(),
                    "it watches its file only with Debian's lua-cqueues, which is not installed"
                );
                Tell::Nothing
            }
            Kind::Bind => Tell::HangUp,
        })
    }
}

/// A control socket, in a file of its own: the tool that uses it need not read a million local
/// zones first.
fn unbound_control(place: &str) -> String {
    format!(
        "remote-control:\n control-enable: yes\n control-interface: \"{place}/control\"\n control-use-cert: no\n"
    )
}

/// The gentlest reload that a version of Unbound has. SIGHUP is the roughest: it stops answering
/// and forgets the cache.
fn unbound_reload(version: &str) -> &'static str {
    let mut numbers = version
        .split('.')
        .map(|number| number.parse::<u32>().unwrap_or_default());
    match (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    ) {
        (1, ..17) => "reload",
        (1, 17..23) => "reload_keep_cache",
        _ => "fast_reload",
    }
}

/// A response-policy zone: each name, and not what is below it, does not exist.
fn rpz(list: &[String], serial: u32) -> String {
    let mut zone = format!(
        "$TTL 60\n@ IN SOA localhost. root.localhost. {serial} 3600 600 86400 60\n@ IN NS localhost.\n"
    );
    list.iter()
        .for_each(|name| _ = writeln!(zone, "{name} CNAME ."));
    zone
}

fn local_zones(list: &[String]) -> String {
    let mut zones = String::new();
    list.iter()
        .for_each(|name| _ = writeln!(zones, "local-zone: \"{name}.\" always_nxdomain"));
    zones
}

/// A constant database with each name as a key, made by Debian's `cdb`.
fn write_cdb(folder: &Path, name: &str, list: &[String]) -> anyhow::Result<PathBuf> {
    let text = folder.join(format!("{name}.txt"));
    let file = folder.join(format!("{name}.cdb"));
    fs::write(&text, cdb_rows(list)).with_context(|| format!("writing {}", text.display()))?;
    let status = Command::new("cdb")
        .arg("-c")
        .arg("-t")
        .arg(folder.join("list.tmp"))
        .arg(&file)
        .arg(&text)
        .status();
    ensure!(
        status.context("running cdb (Debian's tinycdb)")?.success(),
        "cdb could not write {}",
        file.display()
    );
    Ok(file)
}

fn cdb_rows(list: &[String]) -> String {
    let mut rows = String::new();
    list.iter()
        .for_each(|name| _ = writeln!(rows, "+{},1:{name}->1", name.len()));
    rows.push('\n');
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_written_as_each_rival_reads_it() {
        let list = ["a.tld0".to_owned(), "bc.tld1".to_owned()];
        assert!(
            rpz(&list, 2).contains(" root.localhost. 2 3600 ")
                && rpz(&list, 1).ends_with("a.tld0 CNAME .\nbc.tld1 CNAME .\n")
        );
        assert_eq!(
            local_zones(&list),
            "local-zone: \"a.tld0.\" always_nxdomain\nlocal-zone: \"bc.tld1.\" always_nxdomain\n"
        );
        assert_eq!(cdb_rows(&list), "+6,1:a.tld0->1\n+7,1:bc.tld1->1\n\n");
    }

    #[test]
    fn each_rival_is_told_as_it_wants() {
        let root = std::env::temp_dir().join(format!("ox-protect-tell-{}", std::process::id()));
        let place = Place::new(Some(root.clone()), "unused".into()).unwrap();
        let list = ["a.tld0".to_owned(), "b.tld1".to_owned()];
        let new = ["b.tld1".to_owned()];
        let change = place.stage(Kind::Bind, "bind", &list, &new).unwrap();
        assert!(change.tell == Tell::HangUp && change.target.ends_with("bench/bind/rpz.zone"));
        assert_eq!(fs::read_to_string(change.staged).unwrap(), rpz(&list, 2));
        let Tell::Commands(commands) = place.stage(Kind::Pdns, "pdns", &list, &new).unwrap().tell
        else {
            panic!("by commands")
        };
        assert!(
            commands[0].ends_with(&[
                "--socket-dir=/bench/pdns".to_owned(),
                "reload-lua-config".to_owned()
            ]),
            "{commands:?}"
        );
        assert!(
            commands[1].ends_with(&["wipe-cache".to_owned(), "b.tld1".to_owned()]),
            "{commands:?}"
        );
        assert!(
            place.stage(Kind::Knot, "knot", &list, &new).is_err(),
            "it has nothing to watch by"
        );
        fs::remove_dir_all(root).unwrap();
        let commands =
            ["1.13.1", "1.17.1", "1.22.0", "1.23.0", "1.26.2", "2.0"].map(unbound_reload);
        assert_eq!(
            commands,
            [
                "reload",
                "reload_keep_cache",
                "reload_keep_cache",
                "fast_reload",
                "fast_reload",
                "fast_reload"
            ]
        );
    }

    #[test]
    fn everybody_has_an_address_and_bind_a_port() {
        let door = |kind: Kind| kind.door("127.0.3.16".parse().unwrap()).to_string();
        assert_eq!(
            (door(Kind::Unbound), door(Kind::Bind)),
            ("127.0.3.16:53".to_owned(), "127.0.0.1:5316".to_owned())
        );
    }

    #[test]
    fn a_path_is_seen_from_inside_of_the_root_folder() {
        let root = std::env::temp_dir().join(format!("ox-protect-root-{}", std::process::id()));
        let place = Place::new(Some(root.clone()), "unused".into()).unwrap();
        let folder = place.folder("bind").unwrap();
        assert_eq!(place.inside(&folder), "/bench/bind");
        assert!(
            place
                .command(Kind::Bind, &["-v"])
                .starts_with(&["chroot".to_owned()])
        );
        fs::remove_dir_all(root).unwrap();
    }
}
