//! Servers as child processes: started on cores, ended by their id, and their cost read from
//! `/proc`.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to end when it is asked to.
const ENDED_WITHIN: Duration = Duration::from_secs(3);

/// A running server; it ends with this value.
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts a command that may use these cores only, its output in a file of its own.
    pub fn start(command: &[String], cores: &[usize], log: &Path) -> anyhow::Result<Self> {
        let output = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let errors = output.try_clone().context("a second handle of the log")?;
        // It must not outlive this program however that ends: the next run would measure it.
        let mut pinned = Command::new("setpriv");
        pinned
            .args(["--pdeathsig", "KILL", "taskset", "-c", &core_list(cores)])
            .args(command)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        Ok(Self {
            child: pinned
                .spawn()
                .with_context(|| format!("starting {}", command.join(" ")))?,
        })
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Tells it by a signal to read its files again.
    pub fn hang_up(&self) -> anyhow::Result<()> {
        kill_process(self.pid(), Signal::HUP).context("sending SIGHUP")
    }

    /// CPU time of its threads, as the scheduler counted it.
    pub fn cpu_time(&self) -> CpuTime {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()))
            .into_iter()
            .flatten()
            .flatten();
        let time = |thread: fs::DirEntry| {
            Some((
                thread.file_name(),
                run_time_ns(&fs::read_to_string(thread.path().join("schedstat")).ok()?)?,
            ))
        };
        CpuTime {
            threads: threads.filter_map(time).collect(),
        }
    }

    /// Resident memory in octets.
    pub fn resident(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        field(&status, "VmRSS:").unwrap_or_default() * 1024
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32).expect("a child has an id")
    }
}

/// CPU time at one moment, of each thread in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuTime {
    threads: HashMap<OsString, u64>,
}

impl CpuTime {
    /// What was used since an earlier moment. A thread that has ended meanwhile takes with it what
    /// it had used: at a sum over all threads that would be less than nothing.
    pub fn since(&self, earlier: &Self) -> u64 {
        let before = |thread| earlier.threads.get(thread).copied().unwrap_or_default();
        self.threads
            .iter()
            .map(|(thread, now)| now.saturating_sub(before(thread)))
            .sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _it_may_have_ended = kill_process(self.pid(), Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < ENDED_WITHIN {
            if self.has_ended() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        let _it_may_have_ended = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cores as `taskset` reads them.
fn core_list(cores: &[usize]) -> String {
    cores
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

/// The first number of a `schedstat`: time spent on a core, in nanoseconds.
fn run_time_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// A line of `/proc/PID/status`, in kibibytes.
fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| {
        line.strip_prefix(name)?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    })
}

/// Time that the hypervisor kept from this machine's cores, in hundredths of a second since it
/// started.
pub fn stolen() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines()
        .next()
        .and_then(|line| line.split_whitespace().nth(8)?.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_read() {
        assert_eq!(run_time_ns("12345678 90 12\n"), Some(12_345_678));
        assert_eq!(run_time_ns(""), None);
        assert_eq!(
            field("Name:\tx\nVmHWM:\t  20 kB\nVmRSS:\t    1234 kB\n", "VmRSS:"),
            Some(1_234)
        );
    }

    #[test]
    fn a_thread_that_ended_is_not_counted_backwards() {
        let time = |threads: &[(&str, u64)]| CpuTime {
            threads: threads
                .iter()
                .map(|&(id, time)| (id.into(), time))
                .collect(),
        };
        let earlier = time(&[("1", 500), ("2", 900)]);
        let later = time(&[("1", 700), ("3", 40)]);
        assert_eq!(later.since(&earlier), 240);
        assert_eq!(core_list(&[0, 1]), "0,1");
    }

    #[test]
    fn a_server_ends_with_its_value() {
        let log = std::env::temp_dir().join(format!("ox-protect-peers-{}.log", std::process::id()));
        let server = Server::start(&["sleep".to_owned(), "60".to_owned()], &[0], &log).unwrap();
        let place = format!("/proc/{}", server.child.id());
        assert!(Path::new(&place).exists() && server.resident() > 0);
        drop(server);
        assert!(!Path::new(&place).exists());
        fs::remove_file(log).unwrap();
    }
}
