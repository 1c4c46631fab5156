//! How soon is a changed list in force, and what do those notice who ask meanwhile?
//!
//! ```text
//! probes, 1 a millisecond:  old new old new old new old new old new ...          old: cached, on no list    new: on the new list only
//!                                    ^ the new file is renamed over the old,  ^ a new name is blocked    ^ a second later: the end
//!                                      and the server told
//! ```
//!
//! Open loop, as in `blast`: a probe leaves when it is due whatever came back, and its latency
//! counts from then. The clock starts at the renaming, so that writing the file (and making a CDB
//! of it) is not in the figure; it is printed.

use std::{
    fs,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{blast::FIRST_LINE, mix::packet, process::Server};

/// Names that are changed.
pub const CHANGED: usize = 1_000;
/// From one probe to the next.
const PACE: Duration = Duration::from_millis(1);
/// How long probes go before the change: both names must be answered by then.
const LEAD: Duration = Duration::from_millis(500);
/// How long a change may take.
const BLOCKED_WITHIN: Duration = Duration::from_secs(60);
/// How long probes go on when the change is in force: what is freed then belongs to the reload.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// A reply that takes longer is lost.
const LOST_AFTER: Duration = Duration::from_secs(1);
/// How long the commands that tell a server may take: longer than what is measured.
const TOLD_WITHIN: Duration = Duration::from_secs(90);
const SOCKET_BUFFER_OCTETS: usize = 8 << 20;
const A: u16 = 1;
const NXDOMAIN: u8 = 3;

/// A list that lies ready beside the one in use, and what makes the server read it.
pub struct Change {
    /// The new file.
    pub staged: PathBuf,
    /// The file that it replaces, in the same folder.
    pub target: PathBuf,
    /// What the server wants to be told.
    pub tell: Tell,
}

/// How a server is told that its list has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tell {
    /// Not at all: it watches the file.
    Nothing,
    /// By SIGHUP.
    HangUp,
    /// By commands, one after the other.
    Commands(Vec<Vec<String>>),
}

impl Tell {
    /// For people: what is done.
    pub fn label(&self) -> String {
        match self {
            Self::Nothing => "it watches the file".to_owned(),
            Self::HangUp => "SIGHUP".to_owned(),
            Self::Commands(commands) => commands
                .iter()
                .map(|command| shortened(command))
                .collect::<Vec<_>>()
                .join(", then "),
        }
    }
}

/// The program and its verb: no paths, options and names.
fn shortened(command: &[String]) -> String {
    let words = command
        .iter()
        .filter(|word| !word.starts_with('-') && !word.contains('/'));
    words
        .skip_while(|word| !word.contains("control"))
        .take(2)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

/// What came of a reload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reload {
    /// From the change until the first reply that blocks a new name, in milliseconds.
    pub ms: f64,
    /// The latest reply from the change on, in milliseconds, also where it counts as lost.
    pub worst_ms: f64,
    /// Probes without a reply within a second.
    pub lost: u64,
    /// Replies with another response code than either list gives.
    pub wrong: u64,
}

/// One query; moments are since the first.
#[derive(Debug, Clone, Copy)]
struct Probe {
    due: Duration,
    reply: Option<Reply>,
}

#[derive(Debug, Clone, Copy)]
struct Reply {
    at: Duration,
    rcode: u8,
}

/// Asks two names in turn from one socket. A probe's id is its number, so that none is mistaken for
/// another.
struct Prober {
    socket: UdpSocket,
    packets: [Box<[u8]>; 2],
    began: Instant,
    probes: Vec<Probe>,
}

/// Replaces the list's file, tells the server and probes until it blocks `new`, which only the new
/// list has; `old` is on neither.
pub fn measure(
    address: SocketAddr,
    server: &Server,
    change: &Change,
    old: &str,
    new: &str,
) -> anyhow::Result<Reload> {
    let mut prober = Prober::new(address, [packet(old, A), packet(new, A)])?;
    prober.probe_until(|prober| prober.began.elapsed() >= LEAD)?;
    ensure!(
        [0, 1].into_iter().all(|name| prober.is_answered(name)),
        "{old} or {new} has no address before the change"
    );
    let began = prober.began;
    let (changed, told) = thread::scope(|scope| -> anyhow::Result<_> {
        // Aside: whatever starting a command takes must not hold a probe up.
        let teller = scope.spawn(|| {
            let changed = began.elapsed();
            (changed, change.make(server))
        });
        prober.probe_until(|prober| {
            prober.first_blocked().is_some() || prober.began.elapsed() > LEAD + BLOCKED_WITHIN
        })?;
        let settled = prober.began.elapsed() + SETTLED_AFTER;
        prober.probe_until(|prober| prober.began.elapsed() >= settled)?;
        prober.collect_for(LOST_AFTER)?;
        teller
            .join()
            .map_err(|_| anyhow!("the thread that tells the server panicked"))
    })?;
    let untold = told
        .err()
        .map(|error| format!(" ({error:#})"))
        .unwrap_or_default();
    evaluate(&prober.probes, changed)
        .with_context(|| format!("{new} was not blocked within {BLOCKED_WITHIN:?}{untold}"))
}

impl Change {
    fn make(&self, server: &Server) -> anyhow::Result<()> {
        fs::rename(&self.staged, &self.target)
            .with_context(|| format!("replacing {}", self.target.display()))?;
        match &self.tell {
            Tell::Nothing => Ok(()),
            Tell::HangUp => server.hang_up(),
            Tell::Commands(commands) => {
                let until = Instant::now() + TOLD_WITHIN;
                commands
                    .iter()
                    .try_for_each(|command| complete(command, until))
            }
        }
    }
}

/// Runs a command to its end, or ends it.
fn complete(command: &[String], until: Instant) -> anyhow::Result<()> {
    let silent = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let name = || {
        command
            .iter()
            .take(8)
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut child = silent.with_context(|| format!("starting {}", name()))?;
    loop {
        if let Some(status) = child.try_wait().context("waiting for a command")? {
            ensure!(status.success(), "{} ended with {status}", name());
            return Ok(());
        }
        if Instant::now() > until {
            child
                .kill()
                .and_then(|()| child.wait())
                .context("ending a command")?;
            bail!("{} did not end", name());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

impl Prober {
    fn new(server: SocketAddr, packets: [Box<[u8]>; 2]) -> anyhow::Result<Self> {
        // The first line: where there are households, it is one.
        let socket =
            UdpSocket::bind((Ipv4Addr::from(FIRST_LINE), 0)).context("binding a socket")?;
        let _without_privilege =
            resolver::listener::udp::force_receive_buffer(&socket, SOCKET_BUFFER_OCTETS);
        socket
            .connect(server)
            .with_context(|| format!("connecting to {server}"))?;
        socket
            .set_nonblocking(true)
            .context("a socket that does not wait")?;
        Ok(Self {
            socket,
            packets,
            began: Instant::now(),
            probes: Vec::new(),
        })
    }

    /// Sends what is due and takes what comes until `is_over`.
    fn probe_until(&mut self, is_over: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        while !is_over(self) {
            while self.next_due() <= self.began.elapsed() {
                self.send()?;
            }
            self.wait_until(self.next_due())?;
            self.take();
        }
        Ok(())
    }

    /// Takes what comes, and sends nothing more.
    fn collect_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = self.began.elapsed() + time;
        while self.began.elapsed() < end {
            self.wait_until(end)?;
            self.take();
        }
        Ok(())
    }

    fn next_due(&self) -> Duration {
        PACE * self.probes.len() as u32
    }

    fn send(&mut self) -> anyhow::Result<()> {
        let number = self.probes.len();
        let id = u16::try_from(number).context("there are no ids left")?;
        let packet = &mut self.packets[number % 2];
        packet[..2].copy_from_slice(&id.to_be_bytes());
        // A query that the kernel refuses has no reply: it is lost, as one that the server refuses.
        let _ = self.socket.send(packet);
        self.probes.push(Probe {
            due: self.next_due(),
            reply: None,
        });
        Ok(())
    }

    fn wait_until(&self, moment: Duration) -> anyhow::Result<()> {
        let rest = Timespec::try_from(moment.saturating_sub(self.began.elapsed()))
            .context("a short time")?;
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&rest)) {
            Err(error) if error != rustix::io::Errno::INTR => {
                Err(error).context("waiting for replies")
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self) {
        let mut packet = [0; 512];
        loop {
            match self.socket.recv(&mut packet) {
                Ok(octets) => self.note(&packet[..octets], self.began.elapsed()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // A server that is away for a moment: the kernel tells it once.
                Err(_) => {}
            }
        }
    }

    fn note(&mut self, packet: &[u8], at: Duration) {
        let (Some(id), Some(flags)) = (packet.first_chunk(), packet.get(3)) else {
            return;
        };
        if let Some(probe) = self.probes.get_mut(usize::from(u16::from_be_bytes(*id))) {
            probe.reply.get_or_insert(Reply {
                at,
                rcode: flags & 0x0f,
            });
        }
    }

    fn is_answered(&self, name: usize) -> bool {
        self.probes
            .iter()
            .skip(name)
            .step_by(2)
            .any(|probe| probe.reply.is_some_and(|reply| reply.rcode == 0))
    }

    fn first_blocked(&self) -> Option<Duration> {
        first_blocked(&self.probes)
    }
}

/// When the first reply came that blocks the new name: each second probe is for it.
fn first_blocked(probes: &[Probe]) -> Option<Duration> {
    let replies = probes
        .iter()
        .skip(1)
        .step_by(2)
        .filter_map(|probe| probe.reply);
    replies
        .filter(|reply| reply.rcode == NXDOMAIN)
        .map(|reply| reply.at)
        .min()
}

/// None where nothing was blocked.
fn evaluate(probes: &[Probe], changed: Duration) -> Option<Reload> {
    let blocked = first_blocked(probes)?;
    let during = || {
        probes
            .iter()
            .enumerate()
            .filter(|(_, probe)| probe.due >= changed)
    };
    let latencies =
        || during().map(|(_, probe)| probe.reply.map(|reply| reply.at.saturating_sub(probe.due)));
    let is_wrong =
        |number: usize, rcode: u8| rcode != 0 && (number.is_multiple_of(2) || rcode != NXDOMAIN);
    Some(Reload {
        ms: blocked.saturating_sub(changed).as_secs_f64() * 1e3,
        worst_ms: latencies()
            .flatten()
            .max()
            .unwrap_or_default()
            .as_secs_f64()
            * 1e3,
        lost: latencies()
            .filter(|latency| latency.is_none_or(|latency| latency > LOST_AFTER))
            .count() as u64,
        wrong: during()
            .filter(|(number, probe)| {
                probe
                    .reply
                    .is_some_and(|reply| is_wrong(*number, reply.rcode))
            })
            .count() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    /// Probes each millisecond, answered half a millisecond later; those for the new name are
    /// blocked from `blocked` on.
    fn probes(count: u64, blocked: u64) -> Vec<Probe> {
        let rcode = |due| {
            if due % 2 == 1 && due >= blocked {
                NXDOMAIN
            } else {
                0
            }
        };
        let reply = |due| Reply {
            at: ms(due) + Duration::from_micros(500),
            rcode: rcode(due),
        };
        (0..count)
            .map(|due| Probe {
                due: ms(due),
                reply: Some(reply(due)),
            })
            .collect()
    }

    #[test]
    fn a_reload_counts_from_the_change_to_the_first_blocked_reply() {
        let reload = evaluate(&probes(4_000, 1_301), ms(500)).unwrap();
        assert_eq!(
            reload,
            Reload {
                ms: 801.5,
                worst_ms: 0.5,
                lost: 0,
                wrong: 0
            }
        );
        assert_eq!(
            evaluate(&probes(4_000, 5_000), ms(500)),
            None,
            "it was never blocked"
        );
    }

    #[test]
    fn what_is_late_is_lost_and_seen_and_what_came_before_the_change_is_not() {
        let mut all = probes(4_000, 1_301);
        all[100].reply = None;
        all[600].reply = None;
        all[700].reply = Some(Reply {
            at: ms(3_200),
            rcode: 0,
        });
        all[702].reply = Some(Reply {
            at: ms(702 + 900),
            rcode: 2,
        });
        // The name that is on no list must not be blocked.
        all[704].reply = Some(Reply {
            at: ms(705),
            rcode: NXDOMAIN,
        });
        let reload = evaluate(&all, ms(500)).unwrap();
        assert_eq!(
            (reload.worst_ms, reload.lost, reload.wrong),
            (2_500.0, 2, 2)
        );
    }

    #[test]
    fn ids_last_for_the_longest_run() {
        let longest = LEAD + BLOCKED_WITHIN + SETTLED_AFTER + Duration::from_secs(2);
        assert!(longest.as_nanos() / PACE.as_nanos() < u128::from(u16::MAX));
    }

    #[test]
    fn a_server_that_blocks_by_a_file_is_measured() {
        let folder = std::env::temp_dir().join(format!("ox-protect-reload-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let staged = folder.join("new");
        let target = folder.join("list");
        fs::write(&staged, "new").unwrap();
        fs::write(&target, "old").unwrap();
        let socket = UdpSocket::bind("127.0.98.3:0").unwrap();
        let address = socket.local_addr().unwrap();
        let list = target.clone();
        thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((octets, peer)) = socket.recv_from(&mut packet) {
                let is_new = packet[..octets].windows(3).any(|part| part == b"new");
                packet[3] = if is_new && fs::read(&list).is_ok_and(|text| text == b"new") {
                    NXDOMAIN
                } else {
                    0
                };
                socket.send_to(&packet[..octets], peer).unwrap();
            }
        });
        let server = Server::start(
            &["sleep".to_owned(), "60".to_owned()],
            &[0],
            &folder.join("log"),
        )
        .unwrap();
        let commands = Tell::Commands(vec![vec!["true".to_owned()]]);
        let change = Change {
            staged,
            target,
            tell: commands,
        };
        let reload = measure(address, &server, &change, "old.tld0", "new.tld0").unwrap();
        assert!(
            reload.ms < 1_000.0 && reload.lost == 0 && reload.wrong == 0,
            "{reload:?}"
        );
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_command_is_run_to_its_end_or_ended() {
        let command = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let soon = || Instant::now() + Duration::from_millis(100);
        assert!(complete(&command(&["true"]), soon() + Duration::from_secs(5)).is_ok());
        assert!(complete(&command(&["false"]), soon() + Duration::from_secs(5)).is_err());
        let error = complete(&command(&["sleep", "60"]), soon()).unwrap_err();
        assert_eq!(error.to_string(), "sleep 60 did not end");
        let chroot = [
            "chroot",
            "/x/control",
            "env",
            "PATH=/bin",
            "unbound-control",
            "-c",
            "/bench/control.conf",
            "fast_reload",
        ];
        let tell = Tell::Commands(vec![
            command(&chroot),
            command(&["rec_control", "wipe-cache", "a.tld0"]),
        ]);
        assert_eq!(
            tell.label(),
            "unbound-control fast_reload, then rec_control wipe-cache"
        );
    }
}
