//! Builds and folds of whole lists, in a process of their own in the scheduler's idle class. They
//! never use the resolver's memory, and the system takes back all of theirs when they end.
//!
//! The process runs the same executable as the node. A file of the same name may be another version
//! by now, with another interface, or may have been removed.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};

use blocklist_loader::{BuildOutcome, Gate, Plan};
use tokio::{io::AsyncWriteExt, sync::Notify};

/// The executable of this process, wherever its file is by now.
const PROGRAM: &str = "/proc/self/exe";
/// The process with the highest score is ended first where memory runs out, `proc(5)`.
const OOM_SCORE_MAX: &str = "1000";
/// The niceness of a build: the lowest priority.
const NICENESS: i32 = 19;
/// A build that takes longer in the idle class is moved to the normal class, where it gets a share of
/// a busy core.
const IDLE_CLASS_MAX: Duration = Duration::from_secs(60);

/// Whether the node answers queries during a build.
#[derive(Debug, Clone)]
pub enum Node {
    /// It does: the build runs in the idle class.
    Serves,
    /// It does not yet: the build has normal priority until this is notified.
    Starts(Arc<Notify>),
}

/// Why a build or a fold failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// `disk` or `build`.
    pub gate: Gate,
    pub detail: String,
}

impl Failure {
    /// The process could not be started, or did not end normally.
    pub fn of_build(detail: impl fmt::Display) -> Self {
        Self {
            gate: Gate::Build,
            detail: detail.to_string(),
        }
    }
}

/// Runs `lists build` with this plan on its standard input.
pub async fn build(plan: &Plan, taxonomy: &Path, node: Node) -> Result<BuildOutcome, Failure> {
    let plan = serde_json::to_vec(plan)
        .map_err(|error| Failure::of_build(format!("writing the plan: {error}")))?;
    let output = run(&["build", "--plan", "-", "--json"], taxonomy, &plan, node).await?;
    match serde_json::from_slice(&output.stdout) {
        Ok(BuildOutcome::Failed { gate, detail }) => Err(Failure { gate, detail }),
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

/// Lowers the priority of this process: the first step of a build beside a serving node.
pub fn lower_priority() {
    // Without it, queries are slower during the build, and the result is the same.
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
    // Without a proc file system, the file with the name of the executable is used.
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
    end_first_without_memory(id);
    if matches!(node, Node::Serves) {
        enter_idle_class(id).await;
    }
    // A process that fails early closes its end of the pipe; its own message below says more than
    // a broken pipe.
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
        // Otherwise a node that is never idle would keep old lists for ever.
        Err(_) => {
            leave_idle_class(id).await;
            end.await
        }
    };
    output.map_err(|error| failed("waiting for a process for the lists", error))
}

/// Makes the kernel end the build, and not the node, where memory runs out: the last good lists
/// stay, and the build is tried again. Best effort: this takes a proc file system.
fn end_first_without_memory(id: Option<u32>) {
    let Some(id) = id else { return };
    let _ = std::fs::write(format!("/proc/{id}/oom_score_adj"), OOM_SCORE_MAX);
}

/// Lowers the priority of a build for which the node no longer waits.
async fn give_way(id: Option<u32>) {
    let process = id.and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    if process.is_some_and(|process| {
        rustix::process::setpriority_process(Some(process), NICENESS).is_err()
    }) {
        tracing::warn!("a build keeps its priority");
    }
    enter_idle_class(id).await;
}

/// Moves a process to the idle class, in which a worker with a packet preempts it at once; a process
/// that is only nice ends its time slice first. Best effort: this takes the program `chrt`, and
/// without it the process is still nice.
async fn enter_idle_class(id: Option<u32>) {
    let Some(id) = id else { return };
    let _ = tokio::process::Command::new("chrt")
        .args(["--idle", "--pid", "0", &id.to_string()])
        .stderr(Stdio::null())
        .status()
        .await;
}

/// Moves a process to the normal class, at the lowest priority there.
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
