//! `ox-protect lists rollback`: makes an earlier generation live again.

use std::process::ExitCode;

use anyhow::Context;
use blocklist_loader::{diff, generations, newest, rollback};
use control::lists::{
    definitions,
    generations::{difference, open_newest},
};
use jiff::Timestamp;
use policy::lists::artefact::Header;
use policy_store::{AuditEntry, Store};
use serde_json::{Value, json};

use super::super::common::{author, print};
use crate::{config::Checked, stores};

/// Names added and removed, each, in the audit of a rollback: as many as the API writes.
const AUDITED_NAMES_MAX: usize = 1_000;

/// Makes an earlier generation live again: a new one that repeats it. A daemon on the same folder
/// finds it within a second. The audit has it before it is done, as it has what the API does.
pub async fn run(checked: &Checked, to: Option<u64>) -> anyhow::Result<ExitCode> {
    let store = Store::open_existing(&stores::home(checked)).await?;
    let plan = definitions::load(
        checked.plan(),
        checked.config.lists.bounds(),
        &checked.taxonomy,
        &store,
    )
    .await?
    .plan;
    // A build under way would take the number that comes next.
    let _lock = generations::lock(&plan.directory).context("waiting for a build to end")?;
    let live = open_newest(&plan, &checked.taxonomy)?
        .context("no lists were built yet: ox-protect lists build")?;
    let to = match to {
        Some(to) => to,
        None => rollback::previous_generation(&plan.directory, live.header())?
            .context("no generation with other content is kept")?,
    };
    let then = generations::open(&plan.directory, to, &checked.taxonomy)?;
    audit(
        &store,
        "rollback",
        json!({ "generation": live.generation() }),
        json!({ "generation": to }),
    )
    .await?;
    let generation = newest(&plan.directory)?
        .first()
        .map_or(0, |artefact| artefact.generation)
        + 1;
    let mut delta = rollback::repeat_generation(
        &plan.directory,
        (&live, &then),
        &plan.feeds,
        generation,
        Timestamp::now(),
    );
    delta.write()?;
    let repeated = then.with_deltas(std::slice::from_ref(&delta), &checked.taxonomy)?;
    let difference = json!(difference(
        live.generation(),
        generation,
        diff::diff(&live, &repeated, AUDITED_NAMES_MAX)
    ));
    let after = json!({ "generation": generation, "content_of": to, "difference": difference });
    audit(
        &store,
        "rollback_done",
        json!({ "generation": live.generation() }),
        after,
    )
    .await?;
    store.close().await;
    print(&format!(
        "generation {generation} repeats {to}; held until they are approved to go on: {}",
        held(&delta.header).join(", ")
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The feeds that are held in a generation.
fn held(header: &Header) -> Vec<&str> {
    let held = header.feeds.iter().filter(|feed| feed.held);
    held.map(|feed| feed.name.as_str())
        .chain(header.held_back.iter().map(String::as_str))
        .collect()
}

/// Writes a step of the rollback into the audit.
async fn audit(store: &Store, action: &str, before: Value, after: Value) -> anyhow::Result<()> {
    let deed = AuditEntry {
        action,
        subject: "lists",
        before: Some(&before),
        after: Some(&after),
    };
    store.append_audit(&author(), deed).await?;
    Ok(())
}
