//! The entry of the recursor: from a client's question to an answer or a failure.

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;

use crate::upstream::{Answer, Question, Recursion, RecursionError};

use super::{
    environment::Environment,
    failure::ResolutionFailure,
    lookup_chain::LookupChain,
    query_context::{QueryContext, TraceStep},
    state::Recursor,
};

/// The result of a resolution, and the steps that led to it, for operators.
pub struct ResolutionTrace {
    pub result: Result<Answer, ResolutionFailure>,
    pub steps: Vec<TraceStep>,
}

impl<E: Environment> Recursor<E> {
    /// Resolves a question and records each step.
    pub async fn trace(&self, question: &Question) -> ResolutionTrace {
        let context = QueryContext::new(self.environment.now(), question.prefetch, true);
        let result = self.answer(&context, question).await;
        ResolutionTrace {
            result,
            steps: context.into_trace(),
        }
    }

    async fn answer(
        &self,
        context: &QueryContext,
        question: &Question,
    ) -> Result<Answer, ResolutionFailure> {
        let name = question.name.borrow();
        let chain = LookupChain::new(name, question.rtype);
        let result = self
            .resolve_chain(context, &chain, name, question.rtype)
            .await;
        match &result {
            Ok(_) => self.failures.remove(name, question.rtype),
            Err(failure) => self.counters.count_failure(*failure),
        }
        let resolved = result?;
        let authorities = match resolved.code {
            ResponseCode::NoError | ResponseCode::NXDomain => resolved.soa.into_iter().collect(),
            _ => Vec::new(),
        };
        let answers = resolved
            .sets
            .into_iter()
            .flat_map(|set| set.records)
            .collect();
        Ok(Answer {
            rcode: resolved.code,
            answers,
            authorities,
        })
    }
}

#[async_trait]
impl<E: Environment> Recursion for Recursor<E> {
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        let context = QueryContext::new(self.environment.now(), question.prefetch, false);
        self.answer(&context, question)
            .await
            .map_err(|failure| RecursionError {
                name: question.name.clone(),
                rtype: question.rtype,
                code: Some(failure.code()),
                source: Box::new(failure),
            })
    }
}
