//! The entry of the recursor: from a client's question to an answer or a failure.

use async_trait::async_trait;
use hickory_proto::{op::ResponseCode, rr::Record};
use policy::name::Name;

use crate::{
    message::types::{EdeCode, Rtype},
    upstream::{Answer, Question, Recursion, RecursionError},
};

use super::{
    environment::Environment,
    failure::ResolutionFailure,
    iterate::Resolved,
    lookup_chain::LookupChain,
    query_context::{QueryContext, TraceStep},
    rrset::{RrSet, SecurityStatus},
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
        let context = QueryContext::new(self.environment.now(), question, true);
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
        Ok(answer_of(resolved, question.bits.dnssec_ok))
    }
}

/// The sections of an answer. With DO, each RRset has its signatures, and the authority section the
/// proofs (RFC 4035 section 3.1).
fn answer_of(resolved: Resolved, dnssec_ok: bool) -> Answer {
    let mut answers = Vec::new();
    let mut authorities = Vec::new();
    let mut proofs = Vec::new();
    let add = |section: &mut Vec<Record>, set: RrSet| {
        section.extend(set.records);
        if dnssec_ok {
            section.extend(set.signatures);
        }
    };
    for mut set in resolved.sets {
        proofs.append(&mut set.proofs);
        add(&mut answers, set);
    }
    let is_usual = matches!(
        resolved.code,
        ResponseCode::NoError | ResponseCode::NXDomain
    );
    if let Some(soa) = resolved.denial.soa.filter(|_| is_usual) {
        add(&mut authorities, soa);
    }
    if dnssec_ok && is_usual {
        proofs.extend(resolved.denial.proofs);
        let mut sent: Vec<(Name, Rtype)> = Vec::new();
        for proof in proofs {
            let key = (proof.owner.clone(), proof.rtype);
            if !sent.contains(&key) {
                sent.push(key);
                add(&mut authorities, proof);
            }
        }
    }
    Answer {
        answers,
        authorities,
        is_secure: resolved.security == SecurityStatus::Secure,
        code: match resolved.security {
            SecurityStatus::Insecure(cause) => cause.ede().map(EdeCode::to_u16),
            _ => None,
        },
        ..Answer::empty(resolved.code)
    }
}

#[async_trait]
impl<E: Environment> Recursion for Recursor<E> {
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        let context = QueryContext::new(self.environment.now(), question, false);
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
