//! Operations on feeds and lists, and their rows in the audit.
//!
//! ```text
//! authorise, validate -> [a turn: audit "what shall be" -> do it -> where it failed: audit "…_failed"] -> answer
//! ```
//!
//! A change of the store is audited in its own transaction. An operation on the running node has no
//! transaction, so it is audited before it runs: a crash may leave a row for something that did not
//! happen, never the other way round. An operation runs in a task of its own, because a client that
//! disconnects cancels its handler.

use std::{future::Future, sync::Arc};

use control::lists::model::{ListError, RolledBack};
use policy_store::{AuditEntry, Author};
use serde_json::{Value, json};

use crate::{Context, panics, problem::Problem};

/// The most names, added and removed each, in the audit of a rollback: enough to see what it did,
/// and few enough to keep for ever.
const AUDITED_NAMES_MAX: usize = 1_000;

/// Runs an operation in its turn and to its end, whether the client waits or not.
pub async fn in_turn<T: Send + 'static, F: Future<Output = Result<T, Problem>> + Send>(
    context: &Arc<Context>,
    work: impl FnOnce(Arc<Context>) -> F + Send + 'static,
) -> Result<T, Problem> {
    let context = Arc::clone(context);
    let done = tokio::spawn(async move {
        let _turn = context.control.list_writes.lock().await;
        work(Arc::clone(&context)).await
    });
    panics::of_task(done.await)?
}

/// An operation as the audit names it: author, action and subject.
pub struct Act {
    pub by: Author,
    pub action: &'static str,
    pub subject: String,
}

impl Act {
    /// An operation on a feed.
    pub fn on_feed(by: Author, action: &'static str, feed: &str) -> Self {
        Self {
            by,
            action,
            subject: format!("feed:{feed}"),
        }
    }

    /// Audits the operation, runs it, and audits its failure.
    pub async fn done<T>(
        &self,
        context: &Context,
        before: Option<Value>,
        after: Option<Value>,
        doing: impl Future<Output = Result<T, ListError>> + Send,
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
        context.control.store.append_audit(&self.by, deed).await?;
        Ok(())
    }

    /// Rolls back. Returns as soon as the lists are live, and audits afterwards which names were
    /// added and removed: that takes longer than a rollback may.
    pub async fn rolled_back<F: Future<Output = Result<RolledBack, ListError>> + Send>(
        self,
        context: &Arc<Context>,
        before: Value,
        after: Value,
        doing: impl FnOnce(Arc<Context>, String) -> F + Send + 'static,
    ) -> Result<RolledBack, Problem> {
        let context = Arc::clone(context);
        let done = tokio::spawn(async move {
            let turn = context.control.list_writes.lock().await;
            let doing = doing(Arc::clone(&context), self.by.actor.clone());
            let result = self.done(&context, Some(before), Some(after), doing).await;
            drop(turn);
            if let Ok(rolled) = &result {
                let rolled = rolled.clone();
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
            .control
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
