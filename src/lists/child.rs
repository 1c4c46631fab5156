//! Work on whole lists, done by a process of its own in the scheduler's idle class: the resolver's memory never sees it, and when it
//! ends, by whatever cause, all it took is given back.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use blocklist_loader::{Outcome, Plan};
use tokio::io::AsyncWriteExt;

/// How much lower the priority of a build is than the resolver's: the most there is.
const NICENESS: &str = "19";

/// How long a child may take in the idle class before it is let into the ordinary one, where it gets its share of a busy core.
const IDLE_CLASS_MAX: Duration = Duration::from_secs(60);

/// Whether somebody is served meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// Queries come first.
    Serves,
    /// The node waits for this to begin to serve.
    Starts,
}

/// Runs `lists build` with this plan on its standard input.
pub async fn build(plan: &Plan, taxonomy: &Path, node: Node) -> anyhow::Result<Outcome> {
    let plan = serde_json::to_vec(plan).context("writing the plan")?;
    let output = run(&["build", "--plan", "-", "--json"], taxonomy, &plan, node).await?;
    serde_json::from_slice(&output.stdout).context("reading what the build said")
}

/// Runs `lists fold`: writes a generation and the deltas that it stands on as one artefact.
pub async fn fold(directory: &Path, generation: u64, taxonomy: &Path) -> anyhow::Result<()> {
    let directory = directory.to_str().context("the folder of the lists has a name that is not text")?;
    run(&["fold", "--directory", directory, "--generation", &generation.to_string()], taxonomy, b"", Node::Serves).await?;
    Ok(())
}

async fn run(arguments: &[&str], taxonomy: &Path, input: &[u8], node: Node) -> anyhow::Result<Output> {
    let program = std::env::current_exe().context("finding this program")?;
    let spawn = |launcher: &str, launch: &[&str]| {
        let mut command = tokio::process::Command::new(launcher);
        command.args(launch).arg(&program).arg("lists").args(arguments);
        if !taxonomy.as_os_str().is_empty() {
            command.arg("--taxonomy").arg(taxonomy);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()
    };
    let niceness = ["-n", NICENESS];
    // In the idle class a build gives way to a worker the moment that one has a packet; a nice process ends its slice first.
    let child = match node {
        Node::Starts => spawn("nice", &["-n", "0"]),
        Node::Serves => match spawn("chrt", &["--idle", "0", "nice", niceness[0], niceness[1]]) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => spawn("nice", &niceness),
            child => child,
        },
    };
    let mut child = child.context("starting a process for the lists")?;
    // A child that fails early closes its end; its own complaint below says more than a broken pipe.
    let _ = child.stdin.take().context("the child has a standard input")?.write_all(input).await;
    let id = child.id();
    let end = child.wait_with_output();
    tokio::pin!(end);
    let output = match tokio::time::timeout(IDLE_CLASS_MAX, &mut end).await {
        Ok(output) => output,
        // A node without an idle moment must not keep yesterday's lists for ever.
        Err(_) => {
            leave_idle_class(id).await;
            end.await
        }
    };
    let output = output.context("waiting for a process for the lists")?;
    if !output.status.success() {
        bail!("it ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}

/// Lets a child into the ordinary class, at the lowest priority there.
async fn leave_idle_class(id: Option<u32>) {
    let Some(id) = id else { return };
    tracing::warn!("a build of the lists has had no idle core for {IDLE_CLASS_MAX:?}; from now on it takes its share of busy ones");
    let moved = tokio::process::Command::new("chrt").args(["--other", "--pid", "0", &id.to_string()]).status().await;
    if !moved.is_ok_and(|status| status.success()) {
        tracing::warn!("the scheduler refuses; the build goes on when a core is idle");
    }
}
