//! `ox-protect audit`: whether the audit is as it was written.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use policy_store::{PrunedRows, SignedHead, Store, verify_archive};
use serde_json::Value;

use super::{
    arguments::AuditCommand,
    common::{author, load, print, runtime},
};
use crate::{config::Checked, stores};

pub fn run(command: AuditCommand) -> anyhow::Result<ExitCode> {
    let (AuditCommand::Verify { config, .. }
    | AuditCommand::Prune { config, .. }
    | AuditCommand::Head { config }
    | AuditCommand::Acknowledge { config, .. }) = &command;
    let checked = load(config)?;
    runtime()?.block_on(run_audit(command, &checked))
}

async fn run_audit(command: AuditCommand, checked: &Checked) -> anyhow::Result<ExitCode> {
    let store = Store::open_existing(&stores::home(checked)).await?;
    let done = match command {
        AuditCommand::Verify {
            head,
            archive,
            key,
            json,
            ..
        } => match read_archives(&archive) {
            Ok(archived) => verify(&store, &head, archived, key.as_deref(), json).await,
            Err(error) => Err(error),
        },
        AuditCommand::Prune { before, to, .. } => {
            prune(&store, before, &to).await.map(|()| ExitCode::SUCCESS)
        }
        AuditCommand::Head { .. } => match store.signed_head()? {
            Some(head) => print(&head.to_string()).map(|()| ExitCode::SUCCESS),
            None => Err(anyhow::anyhow!(
                "no head of the audit was signed yet: a running daemon signs each change"
            )),
        },
        AuditCommand::Acknowledge { note, .. } => {
            acknowledge(&store, &note).await.map(|()| ExitCode::SUCCESS)
        }
    };
    store.close().await;
    done
}

async fn verify(
    store: &Store,
    elsewhere: &[String],
    archived: Vec<SignedHead>,
    key: Option<&str>,
    is_json: bool,
) -> anyhow::Result<ExitCode> {
    let heads: Vec<Vec<SignedHead>> = elsewhere
        .iter()
        .map(|given| read_heads(given))
        .chain([Ok(archived)])
        .collect::<Result<_, _>>()?;
    let heads = heads.concat();
    let report = store.verify_audit_with(&heads, key).await?;
    let code = if report.fault.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    if is_json {
        let mut told: Value = serde_json::to_value(&report)?;
        told["is_whole"] = report.fault.is_none().into();
        told["heads_given"] = heads.len().into();
        print(&serde_json::to_string_pretty(&told)?)?;
        return Ok(code);
    }
    let signed = report.signed.map_or_else(
        || "no signed head is known".to_owned(),
        |row| format!("signed up to row {row}"),
    );
    let given = if heads.is_empty() {
        String::new()
    } else {
        format!(", {} of them given", heads.len())
    };
    let archived = match report.archived {
        0 => String::new(),
        last => format!(" (rows 1 to {last} are in archives)"),
    };
    print(&format!(
        "{} rows fit{archived}, the last one with hash {}; {signed}{given}",
        report.rows, report.head
    ))?;
    match report.fault {
        None => print("the audit is whole")?,
        Some(fault) => eprintln!(
            "the audit is broken at row {}: {}",
            fault.sequence, fault.detail
        ),
    }
    Ok(code)
}

/// Verifies archives, each by itself and against the one before it. Returns their heads.
fn read_archives(paths: &[PathBuf]) -> anyhow::Result<Vec<SignedHead>> {
    let mut all = paths
        .iter()
        .map(|path| verify_archive(path))
        .collect::<Result<Vec<_>, _>>()?;
    all.sort_by_key(|archive| archive.first);
    for pair in all.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        if after.first != before.head.sequence + 1 || after.previous != before.head.hash {
            bail!(
                "the archive from row {} does not follow the one that ends with row {}",
                after.first,
                before.head.sequence
            );
        }
    }
    for archive in &all {
        let (first, last) = (archive.first, archive.head.sequence);
        print(&format!("rows {first} to {last} of an archive fit"))?;
    }
    Ok(all.into_iter().map(|archive| archive.head).collect())
}

async fn prune(store: &Store, before: jiff::Timestamp, to: &Path) -> anyhow::Result<()> {
    match store.prune_audit(&author(), before, to).await? {
        None => print(&format!("the audit has no rows before {before} to remove")),
        Some(PrunedRows { first, last, head }) => print(&format!(
            "rows {first} to {last} are in {} and no longer in the store; the head of the last one: {head}",
            to.display()
        )),
    }
}

/// The heads in an argument: one or more heads, or a file that holds some.
fn read_heads(given: &str) -> anyhow::Result<Vec<SignedHead>> {
    let mut heads = SignedHead::find_all(given);
    if heads.is_empty() {
        let text = std::fs::read(Path::new(given))
            .with_context(|| format!("{given:?} is no signed head, and as a file"))?;
        heads = SignedHead::find_all(&String::from_utf8_lossy(&text));
    }
    if heads.is_empty() {
        bail!("{given:?} holds no signed head");
    }
    Ok(heads)
}

async fn acknowledge(store: &Store, note: &str) -> anyhow::Result<()> {
    let heads = store.acknowledge_heads(&author(), note).await?;
    if heads.is_empty() {
        return print("all heads that are kept fit the rows; there is nothing to acknowledge");
    }
    let rows: Vec<String> = heads.iter().map(|head| head.sequence.to_string()).collect();
    print(&format!(
        "acknowledged, and written into the audit: heads of row {}",
        rows.join(", ")
    ))
}
