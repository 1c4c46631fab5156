//! Work on whole lists, done by a process of its own in the scheduler's idle class: the resolver's
//! memory never sees it, and when it ends, by whatever cause, all it took is given back. It is this
//! very program, as it runs: another version that was installed meanwhile under the same name
//! speaks another language, and a name that is gone cannot be started.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};

use blocklist_loader::{Gate, Outcome, Plan};
use tokio::{io::AsyncWriteExt, sync::Notify};

/// This program as the kernel runs it, wherever its file is by now.
const PROGRAM: &str = "/proc/self/exe";
/// How much lower the priority of a build is than the resolver's: the most there is.
const NICENESS: i32 = 19;
/// How long a child may take in the idle class before it is let into the ordinary one, where it
/// gets its share of a busy core.
const IDLE_CLASS_MAX: Duration = Duration::from_secs(60);

/// Whether somebody is served meanwhile.
#[derive(Debug, Clone)]
pub enum Node {
    /// Queries come first.
    Serves,
    /// The node waits for this to begin to serve, or until it is told that it need not wait any
    /// longer.
    Starts(Arc<Notify>),
}

/// Why nothing came of it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// `disk` or `build`.
    pub gate: Gate,
    /// For people.
    pub detail: String,
}

impl Failure {
    /// A process that could not start, or did not come to its end.
    pub fn of_build(detail: impl fmt::Display) -> Self {
        Self {
            gate: Gate::Build,
            detail: detail.to_string(),
        }
    }
}

/// Runs `lists build` with this plan on its standard input.
pub async fn build(plan: &Plan, taxonomy: &Path, node: Node) -> Result<Outcome, Failure> {
    let plan = serde_json::to_vec(plan)
        .map_err(|error| Failure::of_build(format!("writing the plan: {error}")))?;
    let output = run(&["build", "--plan", "-", "--json"], taxonomy, &plan, node).await?;
    match serde_json::from_slice(&output.stdout) {
        Ok(Outcome::Failed { gate, detail }) => Err(Failure { gate, detail }),
        Ok(outcome) if output.status.success() => Ok(outcome),
        Err(error) if output.status.success() => Err(Failure::of_build(format!(
            "reading what the build said: {error}"
        ))),
        _ => Err(ended(&output)),
    }
}

/// Runs `lists fold`: writes a generation and the deltas that it stands on as one artefact.
pub async fn fold(directory: &Path, generation: u64, taxonomy: &Path) -> Result<(), Failure> {
    let directory = directory
        .to_str()
        .ok_or_else(|| Failure::of_build("the folder of the lists has a name that is not text"))?;
    let arguments = [
        "fold",
        "--directory",
        directory,
        "--generation",
        &generation.to_string(),
    ];
    let output = run(&arguments, taxonomy, b"", Node::Serves).await?;
    if output.status.success() {
        Ok(())
    } else {
        Err(ended(&output))
    }
}

fn ended(output: &Output) -> Failure {
    Failure::of_build(format!(
        "it ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

/// What a child does first that works while others are served.
pub fn lower_priority() {
    // Without it, it is slower for them and right all the same.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "a build keeps its priority");
    }
}

async fn run(
    arguments: &[&str],
    taxonomy: &Path,
    input: &[u8],
    node: Node,
) -> Result<Output, Failure> {
    // Where no proc file system is mounted, what lies under its name is better than nothing.
    let named = || std::env::current_exe().unwrap_or_default();
    let program = if Path::new(PROGRAM).exists() {
        PathBuf::from(PROGRAM)
    } else {
        named()
    };
    let mut command = tokio::process::Command::new(program);
    command.arg0("ox-protect").arg("lists").args(arguments);
    if !taxonomy.as_os_str().is_empty() {
        command.arg("--taxonomy").arg(taxonomy);
    }
    if matches!(node, Node::Serves) {
        command.arg("--background");
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let failed = |step: &str, error: std::io::Error| Failure::of_build(format!("{step}: {error}"));
    let mut child = command
        .spawn()
        .map_err(|error| failed("starting a process for the lists", error))?;
    let id = child.id();
    if matches!(node, Node::Serves) {
        enter_idle_class(id).await;
    }
    // A child that fails early closes its end; its own complaint below says more than a broken
    // pipe.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input).await;
    }
    let end = child.wait_with_output();
    tokio::pin!(end);
    if let Node::Starts(serves_now) = node {
        tokio::select! {
            output = &mut end => return output.map_err(|error| failed("waiting for a process for the lists", error)),
            () = serves_now.notified() => give_way(id).await,
        }
    }
    let output = match tokio::time::timeout(IDLE_CLASS_MAX, &mut end).await {
        Ok(output) => output,
        // A node without an idle moment must not keep yesterday's lists for ever.
        Err(_) => {
            leave_idle_class(id).await;
            end.await
        }
    };
    output.map_err(|error| failed("waiting for a process for the lists", error))
}

/// Lowers the priority of a child that others have stopped to wait for.
async fn give_way(id: Option<u32>) {
    let process = id.and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    if process.is_some_and(|process| {
        rustix::process::setpriority_process(Some(process), NICENESS).is_err()
    }) {
        tracing::warn!("a build keeps its priority");
    }
    enter_idle_class(id).await;
}

/// In the idle class a build gives way to a worker the moment that one has a packet; a nice process
/// ends its slice first. Best effort: only another program can do it, and where that is missing the
/// build is nice all the same.
async fn enter_idle_class(id: Option<u32>) {
    let Some(id) = id else { return };
    let _ = tokio::process::Command::new("chrt")
        .args(["--idle", "--pid", "0", &id.to_string()])
        .stderr(Stdio::null())
        .status()
        .await;
}

/// Lets a child into the ordinary class, at the lowest priority there.
async fn leave_idle_class(id: Option<u32>) {
    let Some(id) = id else { return };
    let moved = tokio::process::Command::new("chrt")
        .args(["--other", "--pid", "0", &id.to_string()])
        .stderr(Stdio::null())
        .status()
        .await;
    if moved.is_ok_and(|status| status.success()) {
        tracing::warn!(
            "a build of the lists has had no idle core for {IDLE_CLASS_MAX:?}; from now on it takes its share of busy ones"
        );
    }
}
