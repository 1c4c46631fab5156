//! Signed heads of the audit leave the machine: into the log and to the operator's webhook, every
//! few minutes while something is written, and at the shutdown.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use metrics::{describe_gauge, gauge};
use policy::lists::current::CurrentLists;
use policy_store::{Findings, SignedHead, Store};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    causes,
    lists::{model::EventKind, status::ListStatus},
    shutdown::Shutdown,
};

/// How often the task looks for faults that the store noticed, and for new rows.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A head is announced before its time after so many rows.
const ROWS_MAX: u64 = 1_000;

/// Announces signed heads of the audit.
pub struct HeadAnnouncer {
    pub store: Store,
    /// Publishes an event if the audit does not fit.
    pub status: Arc<ListStatus>,
    /// The live lists: every event names their generation.
    pub lists: Arc<CurrentLists>,
    /// The channel to the operator, if one is configured.
    pub channel: Option<&'static str>,
    /// How often a head is announced while rows are written.
    pub every: Duration,
}

impl HeadAnnouncer {
    /// Reports `findings`, the faults found at the start; verifies the whole audit once; then
    /// announces heads until the node shuts down.
    pub async fn run(&self, findings: Findings, shutdown: Shutdown) {
        describe_gauge!(
            "ox_protect_audit_whole",
            "1 while the audit is as it was written, 0 if rows, signed heads or triggers do not fit"
        );
        gauge!("ox_protect_audit_whole").set(f64::from(u8::from(findings.is_empty())));
        for finding in &findings {
            self.report(finding);
        }
        let verified = tokio::select! {
            verified = self.store.verify_audit() => verified,
            () = shutdown.begun() => return,
        };
        match verified {
            Ok(report) => {
                if let Some(fault) = report.fault {
                    gauge!("ox_protect_audit_whole").set(0.0);
                    self.report(&format!("row {}: {}", fault.sequence, fault.detail));
                }
            }
            Err(error) => tracing::error!(error = causes(&error), "the audit cannot be verified"),
        }
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut at = Instant::now();
        let mut announced = 0;
        while shutdown.tick(&mut tick).await {
            if self.store.take_audit_loss() {
                gauge!("ox_protect_audit_whole").set(0.0);
                self.report("rows that were signed are missing or changed; `ox-protect audit verify` says which");
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

    /// Announces the newest head, unless that was done already.
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

    fn report(&self, detail: &str) {
        tracing::error!(detail, "the audit does not fit");
        self.status.publish(
            EventKind::AuditBroken,
            None,
            self.lists.load().generation(),
            Some(detail.to_owned()),
            Timestamp::now(),
        );
    }
}
