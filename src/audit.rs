//! The audit's signed heads, carried out of the machine: into the log and to the operator's
//! webhook, every few minutes while something is written, and at the end. And the command that
//! compares them with the rows.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use api::control::EventKind;
use jiff::Timestamp;
use metrics::{describe_gauge, gauge};
use policy::lists::current::CurrentLists;
use policy_store::{Author, Findings, Home, SignedHead, Store};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    AuditCommand, commands::print, config::Checked, config::causes, ending::Ending, lists::Board,
};

/// How often it is looked whether something was noticed, or enough was written.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Rows after which a head is announced before its time.
const ROWS_MAX: u64 = 1_000;

/// What the announcing of heads needs.
pub struct Announcer {
    /// The store.
    pub store: Store,
    /// Who is told of what does not fit.
    pub board: Arc<Board>,
    /// The live lists, whose generation stands in every event.
    pub lists: Arc<CurrentLists>,
    /// The channel to the operator, where there is one.
    pub channel: Option<&'static str>,
    /// How often a head is announced while something is written.
    pub every: Duration,
}

impl Announcer {
    /// Tells what was noticed at the start, verifies the whole audit once, then announces heads
    /// until the node ends.
    pub async fn run(&self, findings: Findings, ending: Ending) {
        describe_gauge!(
            "ox_protect_audit_whole",
            "1 where the audit is as it was written, 0 where rows, signed heads or triggers do not fit"
        );
        gauge!("ox_protect_audit_whole").set(f64::from(u8::from(findings.is_empty())));
        for finding in &findings {
            self.tell(finding);
        }
        let verified = tokio::select! {
            verified = self.store.verify_audit() => verified,
            () = ending.begun() => return,
        };
        match verified {
            Ok(report) => {
                if let Some(fault) = report.fault {
                    gauge!("ox_protect_audit_whole").set(0.0);
                    self.tell(&format!("row {}: {}", fault.sequence, fault.detail));
                }
            }
            Err(error) => tracing::error!(error = causes(&error), "the audit cannot be verified"),
        }
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut at = Instant::now();
        let mut announced = 0;
        while ending.tick(&mut tick).await {
            if self.store.take_audit_loss() {
                gauge!("ox_protect_audit_whole").set(0.0);
                self.tell("rows that were signed are missing or changed; `ox-protect audit verify` says which");
            }
            let newest = self.store.newest_row();
            let is_time =
                at.elapsed() >= self.every || newest.saturating_sub(announced) >= ROWS_MAX;
            if is_time && newest != announced {
                self.announce().await;
                (at, announced) = (Instant::now(), newest);
            }
        }
    }

    /// Announces the newest head, unless it was.
    pub async fn announce(&self) {
        let document = |id: &str, head: &SignedHead| {
            let SignedHead {
                store,
                sequence,
                hash,
                at,
                key,
                ..
            } = head;
            json!({
                "id": id, "kind": "audit_head", "at": at, "store": store, "sequence": sequence, "hash": hash, "key": key,
                "head": head.to_string(),
            })
        };
        match self.store.announce_head(self.channel, document).await {
            Ok(Some(head)) => tracing::info!(sequence = head.sequence, %head, "head of the audit"),
            Ok(None) => {}
            Err(error) => tracing::error!(
                error = causes(&error),
                "the head of the audit could not be announced"
            ),
        }
    }

    fn tell(&self, detail: &str) {
        tracing::error!(detail, "the audit does not fit");
        self.board.say(
            EventKind::AuditBroken,
            None,
            self.lists.load().generation(),
            Some(detail.to_owned()),
            Timestamp::now(),
        );
    }
}

/// Runs `ox-protect audit …`.
pub async fn run_command(command: AuditCommand, checked: &Checked) -> anyhow::Result<ExitCode> {
    let home = Home {
        url: &checked.config.store.url,
        lists: &checked.config.lists.directory,
    };
    let store = Store::open_existing(&home).await?;
    let done = match command {
        AuditCommand::Verify {
            head, key, json, ..
        } => verify(&store, &head, key.as_deref(), json).await,
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
    key: Option<&str>,
    is_json: bool,
) -> anyhow::Result<ExitCode> {
    let heads: Vec<Vec<SignedHead>> = elsewhere
        .iter()
        .map(|given| read_heads(given))
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
    print(&format!(
        "{} rows fit, the last one with hash {}; {signed}{given}",
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
    let by = Author {
        actor: "command line".to_owned(),
        role: "operator".to_owned(),
    };
    let heads = store.acknowledge_heads(&by, note).await?;
    if heads.is_empty() {
        return print("all heads that are kept fit the rows; there is nothing to acknowledge");
    }
    let rows: Vec<String> = heads.iter().map(|head| head.sequence.to_string()).collect();
    print(&format!(
        "acknowledged, and written into the audit: heads of row {}",
        rows.join(", ")
    ))
}
