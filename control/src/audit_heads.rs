//! Signed heads of the audit leave the machine: into the log and to the operator's webhook, every
//! few minutes while something is written, and at the shutdown.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use metrics::{describe_gauge, gauge};
use policy::lists::current::LiveLists;
use policy_store::{Findings, SignedHead, Store};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    causes,
    lists::{model::EventKind, status::ListStatus},
    shutdown::Shutdown,
};

/// How often it is looked whether something was noticed, or enough was written.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Rows after which a head is announced before its time.
const ROWS_MAX: u64 = 1_000;

/// What the announcing of heads needs.
pub struct HeadAnnouncer {
    /// The store.
    pub store: Store,
    /// Who is told of what does not fit.
    pub status: Arc<ListStatus>,
    /// The live lists, whose generation stands in every event.
    pub lists: Arc<LiveLists>,
    /// The channel to the operator, where there is one.
    pub channel: Option<&'static str>,
    /// How often a head is announced while something is written.
    pub every: Duration,
}

impl HeadAnnouncer {
    /// Tells what was noticed at the start, verifies the whole audit once, then announces heads
    /// until the node ends.
    pub async fn run(&self, findings: Findings, shutdown: Shutdown) {
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
            () = shutdown.begun() => return,
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
        while shutdown.tick(&mut tick).await {
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
        self.status.publish(
            EventKind::AuditBroken,
            None,
            self.lists.load().generation(),
            Some(detail.to_owned()),
            Timestamp::now(),
        );
    }
}
