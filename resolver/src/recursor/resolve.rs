//! The entry of the recursor: from a client's question to an answer or a failure.

use async_trait::async_trait;
use hickory_proto::{op::ResponseCode, rr::Record};
use policy::name::{Name, NameRef};

use crate::{
    message::types::{DnssecBits, EdeCode, Rtype},
    upstream::{Answer, Question, Recursion, RecursionError},
};

use super::{
    dnssec::denies_the_name,
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
            // Without validation it says nothing about what is bogus.
            Ok(_) if question.bits.checking_disabled => {}
            Ok(_) => self.failures.remove(name, question.rtype),
            Err(failure) => self.counters.count_failure(*failure),
        }
        let resolved = result?;
        Ok(answer_of(resolved, name, question.bits))
    }
}

/// The sections of an answer. With DO, each RRset has its signatures, and the authority section the
/// proofs (RFC 4035 section 3.1).
fn answer_of(resolved: Resolved, name: NameRef<'_>, bits: DnssecBits) -> Answer {
    let dnssec_ok = bits.dnssec_ok;
    let code = code_of(&resolved, name, bits);
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
        ..Answer::empty(code)
    }
}

/// The response code. A name that a compact denial denies is NXDOMAIN, except for a client that
/// expects the code to be as its proof says: one with DO and without CO (RFC 9824 section 5.1).
fn code_of(resolved: &Resolved, name: NameRef<'_>, bits: DnssecBits) -> ResponseCode {
    let mut aliases = resolved.sets.iter().rev();
    let end = aliases.find_map(|set| (set.rtype == Rtype::CNAME).then(|| set.alias_target())?);
    let end = end.as_ref().map_or(name, Name::borrow);
    let is_told = bits.compact_ok || !bits.dnssec_ok;
    if resolved.code == ResponseCode::NoError
        && resolved.security == SecurityStatus::Secure
        && is_told
        && denies_the_name(&resolved.denial.proofs, end)
    {
        ResponseCode::NXDomain
    } else {
        resolved.code
    }
}

#[async_trait]
impl<E: Environment> Recursion for Recursor<E> {
    fn known_failure(&self, question: &Question) -> Option<u16> {
        let now = self.environment.now();
        let name = question.name.borrow();
        let failure = self.failures.get(name, question.rtype, now)?;
        let is_hidden = question.bits.checking_disabled && failure.is_bogus();
        (!is_hidden).then(|| failure.code())
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recursor::{
        dnssec::{InsecurityCause, testing::set},
        response::Denial,
    };

    #[test]
    fn a_compact_denial_is_nxdomain_for_all_but_validators_without_co() {
        let bits = |dnssec_ok, compact_ok| DnssecBits {
            dnssec_ok,
            compact_ok,
            checking_disabled: false,
        };
        let resolved = |text: &str, security| Resolved {
            code: ResponseCode::NoError,
            sets: Vec::new(),
            denial: Denial {
                proofs: vec![set(text)],
                ..Denial::default()
            },
            security,
        };
        let compact = "a.test. 60 IN NSEC \\000.a.test. RRSIG NSEC TYPE128";
        let secure = resolved(compact, SecurityStatus::Secure);
        let name = Name::parse("a.test").unwrap();
        let code = |resolved: &Resolved, bits| code_of(resolved, name.borrow(), bits);
        assert_eq!(code(&secure, bits(false, false)), ResponseCode::NXDomain);
        assert_eq!(code(&secure, bits(true, true)), ResponseCode::NXDomain);
        assert_eq!(code(&secure, bits(true, false)), ResponseCode::NoError);
        // The record of another name says nothing about this one.
        let other = Name::parse("b.test").unwrap();
        let of_other = code_of(&secure, other.borrow(), bits(false, false));
        assert_eq!(of_other, ResponseCode::NoError);
        let insecure = SecurityStatus::Insecure(InsecurityCause::UnsignedDelegation);
        let plain = "a.test. 60 IN NSEC b.test. A RRSIG NSEC";
        for other in [
            resolved(compact, insecure),
            resolved(plain, SecurityStatus::Secure),
        ] {
            assert_eq!(code(&other, bits(false, false)), ResponseCode::NoError);
        }
    }
}
