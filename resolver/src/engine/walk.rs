//! The walk: judges one query and writes the reply, or says what it lacks.
//!
//! ```text
//!              walk ──> decision: the reply is written
//!                └────> lacking: the answer, or the target of an alias
//!                          │ supplied by the cache, a resolution, or not at all
//!              supply <────┘
//! ```
//!
//! Each reply about a name comes from here. The callers differ in how they supply a lacking answer:
//! a hit from the caches, a miss and an explanation by a resolution, a query without RD from the
//! shared cache alone.

use std::time::Duration;

use policy::{
    decide::{Action, EffectivePolicy, Verdict},
    lists::blocklist::Blocklist,
};

use crate::{
    cache::{AnswerEntry, QuestionKeyRef},
    engine::{alias::Alias, core::Engine, judge::Judging},
    message::{
        ede::Reason,
        query::Query,
        reply::{Reply, STALE_TTL_S},
        types::{EdeCode, Rcode, Rtype, Transport},
    },
    upstream::Question,
};

/// A query on its walk, under one version of lists and rules.
pub(crate) struct Walk<'w, 'r> {
    pub(crate) policy: &'w EffectivePolicy,
    pub(crate) lists: &'w Blocklist,
    pub(crate) reply: Reply<'r>,
}

/// How a cached answer may be used at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Not at all: there is no answer, or it is expired. The queried name can be judged.
    Unusable,
    /// The TTL is not over, or the answer was resolved for this query.
    Fresh,
    /// The TTL is over, and serving it stale is better than no answer (RFC 8767). With the
    /// info-code of a fresh answer that is bogus, if that is why.
    Stale(Option<EdeCode>),
}

/// A cached entry, and how it may be used.
#[derive(Clone, Copy)]
pub(crate) struct CachedAnswer<'e> {
    pub(crate) entry: &'e AnswerEntry,
    pub(crate) freshness: Freshness,
    /// Time since the start.
    pub(crate) now: Duration,
}

impl<'e> CachedAnswer<'e> {
    /// An entry as found in the cache.
    #[inline]
    pub(crate) fn new(entry: &'e AnswerEntry, now: Duration) -> Self {
        let freshness = if entry.is_fresh(now) {
            Freshness::Fresh
        } else {
            Freshness::Unusable
        };
        Self {
            entry,
            freshness,
            now,
        }
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.freshness != Freshness::Unusable
    }

    /// The same, but an answer that may be served stale is usable.
    pub(crate) fn or_stale(self, stale_max: Duration) -> Self {
        let is_stale = self.freshness == Freshness::Unusable
            && self.entry.is_stale_but_servable(self.now, stale_max);
        Self {
            freshness: if is_stale {
                Freshness::Stale(None)
            } else {
                self.freshness
            },
            ..self
        }
    }
}

/// A verdict, and the hop of the chain that decided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decision {
    pub(crate) verdict: Verdict,
    pub(crate) hop: usize,
}

/// What a walk needs to go on.
pub(crate) enum Need {
    /// The answer to the query.
    Answer,
    /// The answer of an alias target, beside the alias that replaces the query's own answer.
    Target(Alias),
}

impl Need {
    /// The cache key of the needed answer.
    pub(crate) fn key<'k>(&'k self, query: &'k Query<'_>) -> QuestionKeyRef<'k> {
        match self {
            Self::Answer => QuestionKeyRef::of(query),
            Self::Target(alias) => QuestionKeyRef::of(query).with_name(alias.target.borrow()),
        }
    }

    /// The question to resolve.
    pub(crate) fn question(&self, query: &Query<'_>) -> Question {
        match self {
            Self::Answer => Question::new(query.name().to_owned(), query.resolved_type()),
            Self::Target(alias) => Question::new(alias.target.clone(), query.rtype),
        }
        .with_bits(query.dnssec_bits())
    }
}

/// A walk that cannot go on, with the decision so far.
pub(crate) struct Lacking {
    pub(crate) need: Need,
    pub(crate) decision: Decision,
}

/// Why a need is not met: the reply to the client, if the walk has no other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unavailable {
    pub(crate) rcode: Rcode,
    pub(crate) code: Option<EdeCode>,
}

impl Unavailable {
    /// No resolution, for no reason that the client could use.
    pub(crate) const SERVFAIL: Self = Self {
        rcode: Rcode::ServFail,
        code: None,
    };
}

/// How a walk ended.
pub(crate) enum Ended {
    /// The reply is written, or discarded where no reply is the answer.
    Answered(Decision),
    /// The name may be resolved, but there is no answer. An error is written.
    Unresolved(Verdict),
}

impl Engine {
    /// Judges a query with its cached answer, and writes the reply.
    ///
    /// # Errors
    /// What is lacking. A fresh alias target in the cache is not lacking.
    pub(crate) fn walk(
        &self,
        walk: &mut Walk<'_, '_>,
        answer: CachedAnswer<'_>,
    ) -> Result<Decision, Lacking> {
        let CachedAnswer {
            entry,
            freshness,
            now,
        } = answer;
        let query = walk.reply.query;
        let judging = Judging {
            policy: walk.policy,
            name: query.name(),
            with_answer: freshness != Freshness::Unusable,
            over_tcp: walk.reply.transport == Transport::Tcp,
            cache: &self.cache,
        };
        let (mut verdict, hop) = judging.verdict(entry, walk.lists);
        if verdict.is_block() {
            return self.block(walk, Decision { verdict, hop });
        }
        if verdict.action != Action::OperatorPolicy && self.is_redirected(query, &mut verdict) {
            return self.redirect(walk, Decision { verdict, hop });
        }
        // A host with listed paths that is not sent to the proxy is answered like any other.
        verdict.action = Action::OperatorPolicy;
        let decision = Decision { verdict, hop };
        match freshness {
            Freshness::Unusable => {
                return Err(Lacking {
                    need: Need::Answer,
                    decision,
                });
            }
            _ if query.rtype == Rtype::ANY && entry.has_name() => {
                let stale = match freshness {
                    Freshness::Stale(bogus) => Some(Reason::Stale(Rcode::NoError, bogus)),
                    Freshness::Fresh | Freshness::Unusable => None,
                };
                walk.reply.any(stale);
            }
            Freshness::Fresh => {
                if let Some(code) = entry.code {
                    write_with_code(&mut walk.reply, entry, now, code);
                    return Ok(decision);
                }
                walk.reply
                    .copy(entry.message(), |copy| entry.age_ttls(copy, now), None)
            }
            Freshness::Stale(bogus) => write_stale(&mut walk.reply, entry, bogus),
        }
        Ok(decision)
    }

    /// Continues with the lacking answer, or ends the walk without it.
    ///
    /// # Errors
    /// What is lacking next.
    pub(crate) fn supply(
        &self,
        walk: &mut Walk<'_, '_>,
        lacking: Lacking,
        supplied: Result<CachedAnswer<'_>, Unavailable>,
    ) -> Result<Ended, Lacking> {
        match (lacking.need, supplied) {
            (Need::Answer, Ok(answer)) => self.walk(walk, answer).map(Ended::Answered),
            (Need::Target(alias), Ok(target)) => {
                self.write_alias(walk, lacking.decision.verdict, &alias, Some(target));
                Ok(Ended::Answered(lacking.decision))
            }
            (need, Err(unavailable)) => {
                let lacking = Lacking { need, ..lacking };
                Ok(self.give_up(walk, lacking, unavailable))
            }
        }
    }

    /// Ends a walk without what it lacks. An alias without its target's answer is sent alone, and
    /// so keeps the name blocked.
    pub(crate) fn give_up(
        &self,
        walk: &mut Walk<'_, '_>,
        lacking: Lacking,
        unavailable: Unavailable,
    ) -> Ended {
        match lacking.need {
            Need::Answer => {
                let reason = unavailable.code.map(Reason::Code);
                walk.reply.error(unavailable.rcode, reason);
                Ended::Unresolved(lacking.decision.verdict)
            }
            Need::Target(alias) => {
                self.write_alias(walk, lacking.decision.verdict, &alias, None);
                Ended::Answered(lacking.decision)
            }
        }
    }
}

/// Writes an answer with its Extended DNS Error.
#[cold]
#[inline(never)]
fn write_with_code(reply: &mut Reply<'_>, entry: &AnswerEntry, now: Duration, code: EdeCode) {
    reply.copy(
        entry.message(),
        |copy| entry.age_ttls(copy, now),
        Some(Reason::Code(code)),
    );
}

/// Writes a stale answer, with a short TTL and the reason (RFC 8767 section 4); if the fresh one is
/// bogus, with that as well.
#[cold]
#[inline(never)]
fn write_stale(reply: &mut Reply<'_>, entry: &AnswerEntry, bogus: Option<EdeCode>) {
    let rcode = if entry.rcode_low() == Rcode::NxDomain as u8 {
        Rcode::NxDomain
    } else {
        Rcode::NoError
    };
    reply.copy(
        entry.message(),
        |copy| entry.set_ttls(copy, STALE_TTL_S),
        Some(Reason::Stale(rcode, bogus)),
    );
}
