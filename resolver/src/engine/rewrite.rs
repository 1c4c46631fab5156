//! Replies of names that are blocked or redirected: the forms of a block, local data of a feed,
//! safe search, and the proxy that filters listed paths.

use hickory_proto::op::{Message, ResponseCode};
use policy::{
    decide::{Action, Verdict},
    lists::entry::LocalData,
};

use crate::{
    cache::QuestionKeyRef,
    engine::{
        alias::{self, Alias},
        core::Engine,
        walk::{CachedAnswer, Decision, Freshness, Lacking, Need, Walk},
    },
    message::{
        blocked::BlockedAnswer,
        ede::Reason,
        query::Query,
        reader,
        reply::{LOCAL_TTL_MAX_S, STALE_TTL_S},
        types::Rtype,
    },
};

impl Engine {
    /// Answers a blocked name in the form that the deciding entry or the operator wants.
    ///
    /// # Errors
    /// The target of an alias is lacking.
    pub(super) fn block(
        &self,
        walk: &mut Walk<'_, '_>,
        decision: Decision,
    ) -> Result<Decision, Lacking> {
        let verdict = decision.verdict;
        let mandate = verdict
            .mandate()
            .and_then(|ordered| walk.lists.mandates().get(ordered));
        let reason = Reason::Blocked(verdict, mandate, &self.ede_words);
        let answer = match verdict.action {
            Action::Drop => {
                walk.reply.discard();
                return Ok(decision);
            }
            Action::TcpOnly => {
                walk.reply.truncated();
                return Ok(decision);
            }
            Action::LocalData(index) => match walk.lists.answers().get(index as usize) {
                Some(records) => return self.answer_with(walk, decision, records),
                None => BlockedAnswer::NoData,
            },
            Action::Nxdomain => BlockedAnswer::NxDomain,
            Action::Nodata => BlockedAnswer::NoData,
            Action::OperatorPolicy
            | Action::RedirectToProxy { .. }
            | Action::SafeSearch(_)
            | Action::Mandate(_) => self.config.blocked.to(verdict, mandate),
        };
        walk.reply.block(answer, reason);
        Ok(decision)
    }

    /// Answers with local data of a feed.
    #[cold]
    #[inline(never)]
    fn answer_with(
        &self,
        walk: &mut Walk<'_, '_>,
        decision: Decision,
        records: &LocalData,
    ) -> Result<Decision, Lacking> {
        let query = walk.reply.query;
        let reason = Reason::Blocked(decision.verdict, None, &self.ede_words);
        let Some(record) = alias::find(records) else {
            walk.reply.records(records, reason);
            return Ok(decision);
        };
        let Some(alias) = Alias::of(query.name(), record) else {
            walk.reply.block(BlockedAnswer::NxDomain, reason);
            return Ok(decision);
        };
        if alias::is_followed(query.rtype) {
            return self.answer_with_alias(walk, decision, alias);
        }
        self.write_alias(walk, decision.verdict, &alias, None);
        Ok(decision)
    }

    /// Answers with an alias and its target's fresh answer from the cache.
    ///
    /// # Errors
    /// The cache has no fresh answer of the target.
    fn answer_with_alias(
        &self,
        walk: &mut Walk<'_, '_>,
        decision: Decision,
        alias: Alias,
    ) -> Result<Decision, Lacking> {
        let now = self.now();
        let key = QuestionKeyRef::of(walk.reply.query).with_name(alias.target.borrow());
        let Some(entry) = self.cache.find(&key).filter(|entry| entry.is_fresh(now)) else {
            return Err(Lacking {
                need: Need::Target(alias),
                decision,
            });
        };
        let target = CachedAnswer::new(&entry, now);
        self.write_alias(walk, decision.verdict, &alias, Some(target));
        Ok(decision)
    }

    /// Writes an alias, and the sections of its target's answer if there is one.
    #[cold]
    #[inline(never)]
    pub(super) fn write_alias(
        &self,
        walk: &mut Walk<'_, '_>,
        verdict: Verdict,
        alias: &Alias,
        target: Option<CachedAnswer<'_>>,
    ) {
        walk.reply.alias(
            alias.target.borrow(),
            alias.ttl_s,
            target.and_then(read_target).as_ref(),
            Reason::Blocked(verdict, None, &self.ede_words),
        );
    }

    /// Whether a name that is not blocked is redirected, to the proxy if there is one or to the safe
    /// search of a search engine, for query types that lead to a host.
    #[cold]
    pub(super) fn is_redirected(&self, query: &Query<'_>, verdict: &mut Verdict) -> bool {
        if self.config.url_proxy.is_empty() {
            *verdict = verdict.without_proxy();
        }
        let is_redirect = matches!(
            verdict.action,
            Action::SafeSearch(_) | Action::RedirectToProxy { .. }
        );
        is_redirect && query.rtype.leads_to_a_host()
    }

    /// Answers a redirected name.
    ///
    /// # Errors
    /// The target of an alias is lacking.
    #[cold]
    #[inline(never)]
    pub(super) fn redirect(
        &self,
        walk: &mut Walk<'_, '_>,
        decision: Decision,
    ) -> Result<Decision, Lacking> {
        let Some(target) = decision.verdict.safe_search_target() else {
            walk.reply.proxy(&self.config.url_proxy);
            return Ok(decision);
        };
        if matches!(walk.reply.query.rtype, Rtype::HTTPS | Rtype::SVCB) {
            // The search engine's service record would let a client bypass the address.
            let reason = Reason::Blocked(decision.verdict, None, &self.ede_words);
            walk.reply.block(BlockedAnswer::NoData, reason);
            return Ok(decision);
        }
        let alias = Alias {
            target: target.clone(),
            ttl_s: LOCAL_TTL_MAX_S,
        };
        self.answer_with_alias(walk, decision, alias)
    }
}

/// The target's answer, with TTLs of at most [`LOCAL_TTL_MAX_S`]. None if it is an error, which says
/// nothing about the target's records.
fn read_target(target: CachedAnswer<'_>) -> Option<Message> {
    let CachedAnswer {
        entry,
        freshness,
        now,
    } = target;
    let mut copy = entry.message().to_vec();
    if matches!(freshness, Freshness::Stale(_)) {
        entry.set_ttls(&mut copy, STALE_TTL_S);
    } else {
        entry.age_ttls(&mut copy, now);
    }
    let mut message = reader::read(&copy)?.message;
    message
        .answers
        .iter_mut()
        .chain(&mut message.authorities)
        .for_each(|record| record.ttl = record.ttl.min(LOCAL_TTL_MAX_S));
    let rcode = message.metadata.response_code;
    matches!(rcode, ResponseCode::NoError | ResponseCode::NXDomain).then_some(message)
}
