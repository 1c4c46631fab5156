//! The program under test: the real executable as a child process with a folder of its own.
//!
//! ```text
//! write config -> spawn `ox-protect serve` -> wait for the ready lines -> addresses and key are known
//! ```
//!
//! A test can kill it, terminate it and start it again on the same folder; it ends with the test.
//! Its standard error goes to `stderr.log` in the folder and is printed when the test fails.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::{sync::mpsc, time::timeout};
use toml::Table;

use super::{
    addresses::{ListenAddresses, Url},
    resource_usage::ResourceUsage,
    settings::dns_addresses,
    waiting::eventually,
};

/// Name of a copy of the program in a folder.
const COPY: &str = "ox-protect";

/// The longest start: unoptimised, on a busy machine, with all real lists.
const READY_WITHIN: Duration = Duration::from_secs(600);

/// The longest orderly shutdown.
const ENDED_WITHIN: Duration = Duration::from_secs(60);

/// The running program. All methods take `&self`, so that one task can kill it while another uses
/// it.
pub struct Daemon {
    folder: PathBuf,
    dns_addresses: usize,
    environment: Vec<(String, String)>,
    child: Mutex<Child>,
    doors: Arc<ListenAddresses>,
    key: Mutex<String>,
    said: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// Writes `settings` into `folder`, starts the program, and waits until it is ready.
    pub async fn start(folder: &Path, settings: &Table) -> Self {
        Self::start_in(folder, settings, Vec::new()).await
    }

    /// The same with additional environment variables at each start.
    pub async fn start_in(
        folder: &Path,
        settings: &Table,
        environment: Vec<(String, String)>,
    ) -> Self {
        let text = toml::to_string(settings).expect("settings have a TOML form");
        fs::write(config_file(folder), text)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let said = Arc::default();
        let (child, lines) = spawn(folder, &environment, &said);
        let daemon = Self {
            folder: folder.to_owned(),
            dns_addresses: dns_addresses(settings),
            environment,
            child: Mutex::new(child),
            doors: Arc::default(),
            key: Mutex::default(),
            said,
        };
        daemon.wait_until_ready(lines).await;
        daemon
    }

    /// Starts it again on the same folder; kills it first if it still runs.
    pub async fn restart(&self) {
        self.kill();
        let (child, lines) = spawn(&self.folder, &self.environment, &self.said);
        *lock(&self.child) = child;
        self.wait_until_ready(lines).await;
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        let mut child = lock(&self.child);
        let _it_may_have_ended_itself = child.kill();
        child.wait().expect("the child is ours to wait for");
    }

    /// Terminates it and waits for its end.
    pub async fn terminate(&self) -> ExitStatus {
        self.signal("TERM");
        let mut status = None;
        eventually("the daemon ends after SIGTERM", ENDED_WITHIN, async || {
            status = self.exit_status();
            status.is_some()
        })
        .await;
        status.expect("the wait ended because there is a status")
    }

    /// Sends a signal; its name has no SIG prefix.
    pub fn signal(&self, name: &str) {
        // `kill` is built into the shell; this avoids a dependency and unsafe code.
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &self.id().to_string()])
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "SIG{name} could not be sent"
        );
    }

    /// The exit status; `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        lock(&self.child)
            .try_wait()
            .expect("the child is ours to wait for")
    }

    pub fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// Its current memory and CPU time.
    pub fn resource_usage(&self) -> ResourceUsage {
        ResourceUsage::of(self.id())
    }

    /// The addresses it listens on.
    pub fn addresses(&self) -> &Arc<ListenAddresses> {
        &self.doors
    }

    /// The operator key of the first start.
    pub fn key(&self) -> String {
        lock(&self.key).clone()
    }

    /// The path of its configuration file.
    pub fn config(&self) -> PathBuf {
        config_file(&self.folder)
    }

    /// The lines of standard output of all starts.
    pub fn stdout(&self) -> Vec<String> {
        lock(&self.said).clone()
    }

    /// Scheme and address of a page's listener, by the words of its last ready line.
    pub fn page_url(&self, name: &str) -> String {
        let ready = format!("{name} ready on ");
        let said = self.stdout();
        let url = said.iter().rev().find_map(|line| line.strip_prefix(&ready));
        let url = url.unwrap_or_else(|| panic!("{name} is not ready: {said:?}"));
        url.trim().to_owned()
    }

    /// Standard error of all starts.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.folder.join("stderr.log")).unwrap_or_default()
    }

    async fn wait_until_ready(&self, mut lines: mpsc::UnboundedReceiver<String>) {
        let mut dns = Vec::new();
        let mut api = None;
        let mut operator = None;
        let first_start = self.key().is_empty();
        let all = async {
            while dns.len() < self.dns_addresses
                || api.is_none()
                || (first_start && self.key().is_empty())
            {
                let Some(line) = lines.recv().await else {
                    return false;
                };
                if let Some(address) = line.strip_prefix("dns ready on ") {
                    dns.push(
                        address
                            .trim()
                            .parse::<SocketAddr>()
                            .unwrap_or_else(|_| panic!("no address in {line:?}")),
                    );
                } else if let Some(url) = line.strip_prefix("api ready on ") {
                    api = Url::parse(url);
                } else if let Some(url) = line.strip_prefix("operator api ready on ") {
                    operator = Url::parse(url);
                } else if let Some(key) = line.strip_prefix("operator key: ") {
                    *lock(&self.key) = key.trim().to_owned();
                }
            }
            true
        };
        match timeout(READY_WITHIN, all).await {
            Ok(true) => {
                let api = api.expect("the loop ends only with it");
                self.doors.moved(dns, api, operator);
            }
            Ok(false) => panic!("the daemon ended before it was ready: {:?}", self.stdout()),
            Err(_) => panic!(
                "the daemon was not ready within {READY_WITHIN:?}: {:?}",
                self.stdout()
            ),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!(
                "--- the daemon said\n{}\n--- and complained\n{}",
                self.stdout().join("\n"),
                self.stderr()
            );
        }
    }
}

/// Copies the program into this folder, where a test may replace it while it runs. A daemon in this
/// folder runs the copy.
pub fn copy_program(folder: &Path) -> PathBuf {
    let copy = folder.join(COPY);
    fs::copy(env!("CARGO_BIN_EXE_ox-protect"), &copy)
        .unwrap_or_else(|error| panic!("{}: {error}", copy.display()));
    copy
}

/// Writes a script into this folder in place of the program.
pub fn write_program(folder: &Path, script: &str) {
    let program = folder.join(COPY);
    let mode = fs::Permissions::from_mode(0o755);
    fs::write(&program, script)
        .and_then(|()| fs::set_permissions(&program, mode))
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
}

/// Runs the program with these arguments until it ends: `ox-protect check`, `explain`, `lists`, …
pub fn ox_protect(arguments: &[&str]) -> Output {
    program()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("cargo built the executable")
}

/// The executable, without the environment of the test run.
fn program() -> Command {
    without_own_settings(Command::new(env!("CARGO_BIN_EXE_ox-protect")))
}

fn without_own_settings(mut program: Command) -> Command {
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OX_PROTECT_"))
    {
        program.env_remove(name);
    }
    program
}

fn spawn(
    folder: &Path,
    environment: &[(String, String)],
    said: &Arc<Mutex<Vec<String>>>,
) -> (Child, mpsc::UnboundedReceiver<String>) {
    let complaints = File::options()
        .create(true)
        .append(true)
        .open(folder.join("stderr.log"));
    let copy = folder.join(COPY);
    let program = if copy.exists() {
        without_own_settings(Command::new(copy))
    } else {
        program()
    };
    let mut child = { program }
        .arg("serve")
        .arg("--config")
        .arg(config_file(folder))
        .current_dir(folder)
        .env("RUST_BACKTRACE", "1")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(complaints.expect("the folder can be written to"))
        .spawn()
        .expect("cargo built the executable");
    let (sender, lines) = mpsc::unbounded_channel();
    let output = child.stdout.take().expect("standard output is piped");
    let said = Arc::clone(said);
    // Reads to the end: a full pipe would block the daemon.
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            lock(&said).push(line.clone());
            let _receiver_is_gone_after_the_start = sender.send(line);
        }
    });
    (child, lines)
}

fn config_file(folder: &Path) -> PathBuf {
    folder.join("ox-protect.toml")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
