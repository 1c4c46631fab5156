//! What is done to feeds and lists, and how it is written down.
//!
//! ```text
//! authorise, validate -> [a turn: audit "what shall be" -> do it -> where it failed: audit "…_failed"] -> answer
//! ```
//!
//! A change of what is stored is written down in the transaction that makes it. An act on the
//! running node has no transaction, so it is written down before it is done: a crash may leave a
//! row for something that did not happen, never the other way round. All of it runs in a task of
//! its own, because a client that goes away takes its handler with it.

use std::{future::Future, sync::Arc};

use axum::http::StatusCode;
use policy_store::{AuditEntry, Author};
use serde_json::{Value, json};

use crate::{
    Context,
    control::{ActError, RolledBack},
    panics,
    problem::Problem,
    veil,
};

/// Names each way in the audit of a rollback: enough to see what it did, little enough to keep for
/// ever.
const AUDITED_NAMES_MAX: usize = 1_000;

/// Does something in its turn, to the end, whether the client waits or not.
pub async fn in_turn<T: Send + 'static, F: Future<Output = Result<T, Problem>> + Send>(
    context: &Arc<Context>,
    work: impl FnOnce(Arc<Context>) -> F + Send + 'static,
) -> Result<T, Problem> {
    let context = Arc::clone(context);
    let done = tokio::spawn(async move {
        let _turn = context.list_writes.lock().await;
        work(Arc::clone(&context)).await
    });
    panics::of_task(done.await)?
}

/// Who does what to what. The words are the audit's.
pub struct Act {
    pub by: Author,
    pub action: &'static str,
    pub subject: String,
}

impl Act {
    /// An act on a feed.
    pub fn on_feed(by: Author, action: &'static str, feed: &str) -> Self {
        Self {
            by,
            action,
            subject: format!("feed:{feed}"),
        }
    }

    /// Writes the act down, does it, and writes down where it failed.
    pub async fn done<T>(
        &self,
        context: &Context,
        before: Option<Value>,
        after: Option<Value>,
        doing: impl Future<Output = Result<T, ActError>> + Send,
    ) -> Result<T, Problem> {
        self.tell(context, "", before, after).await?;
        match doing.await {
            Ok(done) => Ok(done),
            Err(error) => {
                let problem = Problem::from(error);
                self.tell(
                    context,
                    "_failed",
                    None,
                    Some(json!({ "code": problem.code(), "detail": problem.detail() })),
                )
                .await?;
                Err(problem)
            }
        }
    }

    async fn tell(
        &self,
        context: &Context,
        suffix: &str,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Result<(), Problem> {
        let action = format!("{}{suffix}", self.action);
        let deed = AuditEntry {
            action: &action,
            subject: &self.subject,
            before: before.as_ref(),
            after: after.as_ref(),
        };
        context.store.append_audit(&self.by, deed).await?;
        Ok(())
    }

    /// Rolls back, answers as soon as it is live, and then writes down which names came and went:
    /// that takes longer than going back may.
    pub async fn rolled_back<F: Future<Output = Result<RolledBack, ActError>> + Send>(
        self,
        context: &Arc<Context>,
        before: Value,
        after: Value,
        doing: impl FnOnce(Arc<Context>, String) -> F + Send + 'static,
    ) -> Result<RolledBack, Problem> {
        let context = Arc::clone(context);
        let done = tokio::spawn(async move {
            let turn = context.list_writes.lock().await;
            let doing = doing(Arc::clone(&context), self.by.actor.clone());
            let result = self.done(&context, Some(before), Some(after), doing).await;
            drop(turn);
            if let Ok(rolled) = result.as_ref().map(RolledBack::clone) {
                panics::spawn("the audit of a rollback", async move {
                    if let Err(problem) = self.tell_difference(&context, &rolled).await {
                        tracing::error!(
                            ?problem,
                            subject = self.subject,
                            "what a rollback did is not in the audit; that it was done is"
                        );
                    }
                });
            }
            result
        });
        panics::of_task(done.await)?
    }

    async fn tell_difference(&self, context: &Context, rolled: &RolledBack) -> Result<(), Problem> {
        let difference = match context
            .lists_control
            .diff(rolled.from, rolled.live, AUDITED_NAMES_MAX)
            .await
        {
            Ok(difference) => json!(difference),
            Err(error) => json!({ "error": Problem::from(error).detail() }),
        };
        let after =
            json!({ "generation": rolled.live, "content_of": rolled.to, "difference": difference });
        self.tell(
            context,
            "_done",
            Some(json!({ "generation": rolled.from })),
            Some(after),
        )
        .await
    }
}

impl From<ActError> for Problem {
    fn from(error: ActError) -> Self {
        match error {
            ActError::UnknownFeed => Self::not_found("unknown_feed", "there is no such feed"),
            ActError::NothingRefused => Self::conflict(
                "nothing_refused",
                "no version of this feed waits for an approval",
            ),
            ActError::AnotherVersion { waiting } => Self::conflict(
                "another_version",
                format!("the version that waits is {waiting}; look at it first"),
            )
            .with_field("version".to_owned()),
            ActError::NotApprovable { gate } => Self::conflict(
                "not_approvable",
                format!(
                    "the gate {gate} is not one that can be opened: what came is not what was sent"
                ),
            ),
            ActError::UnknownGeneration(number) => Self::not_found(
                "unknown_generation",
                format!("generation {number} is not kept"),
            ),
            ActError::NotKept(at) => Self::not_found(
                "not_kept",
                format!("no lists are kept that were live at {at}"),
            )
            .with_field("at".to_owned()),
            ActError::NothingBefore(detail) => {
                Self::conflict("nothing_before", veil::sentence(&detail))
            }
            ActError::Failed(detail) => {
                let detail = veil::sentence(&detail);
                tracing::error!(detail, "a step on the lists failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "lists_failed",
                    format!("what is live stays: {detail}"),
                )
            }
        }
    }
}
