//! The hit path: a packet is answered on the listener's thread, or handed back as a miss.

use std::{sync::Arc, time::Duration};

use policy::{
    decide::EffectivePolicy,
    identity::directory::{Identity, IdentitySource, Trust},
    name::WireName,
    rules::household::Mac,
};

use crate::{
    admission::{AdmissionLimit, Admitted},
    cache::{AnswerEntry, QuestionKeyRef},
    engine::{
        core::{BatchSnapshot, Engine},
        miss::Miss,
        walk::{CachedAnswer, Decision, Ended, Lacking, Need, Unavailable, Walk},
        worker_state::{Prefetch, WorkerState},
    },
    listener::client::Client,
    message::{
        ede::Reason,
        query::Query,
        reply::Reply,
        types::{EdeCode, Rcode},
    },
    rates::OverRate,
    telemetry::{
        counters::Count,
        event::{QueryEvent, QueryOutcome},
        metrics::WorkerMetrics,
    },
    upstream::Question,
};

/// What the caller must do with a packet.
pub enum Step {
    /// Send nothing, and end the connection if there is one: the packet is no query.
    Ignored,
    /// Send nothing: a list entry drops the query.
    Dropped,
    /// Send the reply, which is written.
    Reply,
    /// Finish the miss on the runtime.
    Miss(Box<Miss>),
}

impl Engine {
    /// Answers a packet into `buffer`, or hands back a miss. Never waits, and allocates nothing on
    /// a hit.
    pub fn answer(
        &self,
        batch: &BatchSnapshot<'_>,
        packet: &[u8],
        mut client: Client,
        state: &mut WorkerState,
        buffer: &mut Vec<u8>,
    ) -> Step {
        state.metrics.received(client.transport);
        let mut name_buffer = WireName::default();
        let query = match Query::parse(packet, &mut name_buffer) {
            Ok(query) => query,
            Err(rejection) => {
                if self.count(&client, state, batch.now).is_some() {
                    state.metrics.count(Count::RateDropped);
                    return Step::Dropped;
                }
                let metrics = &mut state.metrics;
                let step = self.reject(packet, rejection, batch, &client, metrics, buffer);
                state.rates.replied(buffer.len());
                return step;
            }
        };
        client.mac = query.edns.and_then(|edns| edns.mac);
        let identity = self.identify(batch, &client);
        if identity.source != IdentitySource::Mac {
            // An unknown device is no client of its own: a peer could make up any number of them.
            client.mac = None;
        }
        let mut reply = Reply::new(&query, client.transport, buffer);
        let returned;
        if let Some((asked, server)) = query.cookie() {
            let at_s = batch.at.to_u32();
            let answer = self.cookies.answer(asked, server, client.source, at_s);
            client.is_proven |= answer.is_valid;
            returned = answer.cookie;
            reply.cookie = Some(&returned);
        }
        if let Some(over) = self.count(&client, state, batch.now) {
            return Self::limit(reply, over, &mut state.metrics);
        }
        // Households may query. The networks of `dns.allow_from` are searched for others only.
        let step = if identity.source == IdentitySource::Unknown
            && !self.access.may_query(client.source)
        {
            Self::refuse(&mut reply, &mut state.metrics)
        } else if self.answer_meta(&mut reply, &client) {
            Step::Reply
        } else {
            self.answer_query(batch, reply, &identity, &client, state)
        };
        state.rates.replied(buffer.len());
        step
    }

    /// Counts a query against the rate of its client. A MAC address that the source may not assert
    /// does not make a client.
    #[inline]
    fn count(&self, client: &Client, state: &mut WorkerState, now: Duration) -> Option<OverRate> {
        let mac = client
            .mac
            .filter(|_| self.access.trust(client.source) != Trust::Household);
        let key = || self.client_key(client);
        self.rates.count(client, mac, &mut state.rates, now, key)
    }

    /// Answers a query of a client that is over its rate.
    #[cold]
    #[inline(never)]
    fn limit(mut reply: Reply<'_>, over: OverRate, metrics: &mut WorkerMetrics) -> Step {
        match over {
            OverRate::Drop => {
                metrics.count(Count::RateDropped);
                return Step::Dropped;
            }
            OverRate::Slip => {
                metrics.count(Count::RateSlipped);
                if reply.cookie.is_some() {
                    reply.bad_cookie();
                } else {
                    reply.truncated();
                }
            }
            OverRate::Refuse => {
                metrics.count(Count::RateRefused);
                reply.error(Rcode::Refused, Some(Reason::Code(EdeCode::PROHIBITED)));
            }
        }
        Step::Reply
    }

    /// Answers the query of a client that may ask, from the caches.
    #[inline]
    fn answer_query(
        &self,
        batch: &BatchSnapshot<'_>,
        reply: Reply<'_>,
        identity: &Identity,
        client: &Client,
        state: &mut WorkerState,
    ) -> Step {
        let WorkerState {
            metrics,
            local_cache,
            prefetches,
            ..
        } = state;
        let query = reply.query;
        if metrics.identified(identity) {
            let mac = query.edns.and_then(|edns| edns.mac);
            self.report_unnamed(metrics, client, mac, query, batch);
        }
        let key = QuestionKeyRef::of(query);
        let found = local_cache.find(&self.cache, &key);
        let is_known = found.is_some();
        let mut entry = found.unwrap_or_else(|| Arc::new(AnswerEntry::placeholder(&key)));
        let mut walk = Walk {
            policy: &identity.policy,
            lists: &batch.lists,
            reply,
        };
        let mut walked = self.walk(&mut walk, CachedAnswer::new(&entry, batch.now));
        if is_known
            && lacks_answer(&walked)
            && let Some(newer) = local_cache.find_newer(&self.cache, &key, &entry)
        {
            walked = self.walk(&mut walk, CachedAnswer::new(&newer, batch.now));
            entry = newer;
        }
        match walked {
            Ok(Decision { verdict, .. }) => {
                if is_known {
                    metrics.count(Count::CacheHit);
                    if entry.claim_prefetch(batch.now)
                        && self.config.prefetch
                        && !verdict.is_block()
                    {
                        prefetches.extend(self.prefetch_of(query, &key, batch.now));
                    }
                } else {
                    // Blocked without an answer: the placeholder remembers the classification.
                    self.cache.insert(key.to_owned(), entry);
                }
                metrics.record(&QueryEvent {
                    policy: &identity.policy,
                    name: query.name(),
                    at: batch.at,
                    outcome: QueryOutcome::Judged {
                        verdict,
                        lists_stamp: batch.lists.stamp(),
                    },
                });
                sent(&walk.reply)
            }
            Err(lacking) => {
                if !is_known && matches!(lacking.need, Need::Target(_)) {
                    self.cache.insert(key.to_owned(), entry);
                }
                let Walk { reply, .. } = walk;
                self.defer(
                    reply,
                    identity.policy.clone(),
                    client,
                    batch,
                    lacking,
                    metrics,
                )
            }
        }
    }

    /// Reports the device of a query that its household has not named. A forwarder's own address is
    /// no device's.
    #[cold]
    #[inline(never)]
    fn report_unnamed(
        &self,
        metrics: &mut WorkerMetrics,
        client: &Client,
        mac: Option<Mac>,
        query: &Query<'_>,
        batch: &BatchSnapshot<'_>,
    ) {
        if mac.is_some() || self.access.trust(client.source) != Trust::Forwarder {
            metrics.unnamed(client, mac, query.name(), batch.at);
        }
    }

    /// Makes a miss of a query that lacks something. Without RD, or without a place for one more
    /// resolution, the query is answered at once.
    #[cold]
    #[inline(never)]
    fn defer(
        &self,
        reply: Reply<'_>,
        policy: EffectivePolicy,
        client: &Client,
        batch: &BatchSnapshot<'_>,
        lacking: Lacking,
        metrics: &mut WorkerMetrics,
    ) -> Step {
        let query = reply.query;
        if query.recursion_desired() {
            match self
                .admission
                .admit(self.client_key(client), query.name(), batch.now)
            {
                Ok(Admitted { place, evicted }) => {
                    metrics.count(Count::CacheMiss);
                    if let Some(group) = evicted {
                        metrics.count(Count::evicted(&group));
                    }
                    return Step::Miss(Box::new(Miss {
                        packet: query.packet().to_vec(),
                        client: *client,
                        cookie: reply.cookie.copied(),
                        arrived: batch.now,
                        policy,
                        lists: Arc::clone(&batch.lists),
                        lacking,
                        place,
                    }));
                }
                Err(AdmissionLimit::ClientLimit) => metrics.count(Count::ClientFull),
                Err(AdmissionLimit::Failing) => metrics.count(Count::FailingLimited),
                Err(AdmissionLimit::Full) => metrics.count(Count::Shed),
            }
        }
        let mut walk = Walk {
            policy: &policy,
            lists: &batch.lists,
            reply,
        };
        let outcome = if query.recursion_desired() || matches!(lacking.need, Need::Target(_)) {
            match self.give_up(&mut walk, lacking, Unavailable::SERVFAIL) {
                Ended::Answered(Decision { verdict, .. }) => QueryOutcome::Judged {
                    verdict,
                    lists_stamp: batch.lists.stamp(),
                },
                Ended::Unresolved(_) => QueryOutcome::Unresolved,
            }
        } else {
            self.answer_from_cache_alone(&mut walk, lacking, batch);
            QueryOutcome::CacheOnly
        };
        metrics.record(&QueryEvent {
            policy: &policy,
            name: query.name(),
            at: batch.at,
            outcome,
        });
        sent(&walk.reply)
    }

    /// Answers a query without RD from the shared cache, where an answer may be stale; if there is
    /// none, with SERVFAIL if it is known that the resolution fails, and else with NOERROR and no
    /// records.
    fn answer_from_cache_alone(
        &self,
        walk: &mut Walk<'_, '_>,
        mut lacking: Lacking,
        batch: &BatchSnapshot<'_>,
    ) {
        loop {
            let found = match &lacking.need {
                Need::Answer => self.cache.find(&lacking.need.key(walk.reply.query)),
                Need::Target(_) => None,
            };
            let answer = found
                .as_deref()
                .map(|entry| CachedAnswer::new(entry, batch.now))
                .map(|answer| answer.or_stale(self.config.stale.stale_max))
                .filter(|answer| answer.is_usable());
            let supplied = match answer {
                Some(answer) => Ok(answer),
                None => Err(self.known_unavailable(&lacking.need, walk.reply.query)),
            };
            match self.supply(walk, lacking, supplied) {
                Ok(_) => return,
                Err(next) => lacking = next,
            }
        }
    }

    /// Why there is no answer in the cache.
    fn known_unavailable(&self, need: &Need, query: &Query<'_>) -> Unavailable {
        let failure = matches!(need, Need::Answer)
            .then(|| self.config.recursion.known_failure(&need.question(query)))
            .flatten();
        match failure {
            Some(code) => Unavailable {
                rcode: Rcode::ServFail,
                code: Some(EdeCode::new(code)),
            },
            None => Unavailable {
                rcode: Rcode::NoError,
                code: None,
            },
        }
    }

    /// A prefetch, if places for resolutions are to spare.
    fn prefetch_of(
        &self,
        query: &Query<'_>,
        key: &QuestionKeyRef<'_>,
        now: Duration,
    ) -> Option<Prefetch> {
        let place = self.admission.admit_spare(query.name(), now)?;
        let question = Question {
            prefetch: true,
            bits: query.dnssec_bits(),
            ..Question::new(query.name().to_owned(), query.resolved_type())
        };
        Some(Prefetch {
            key: (*key).to_owned(),
            question,
            _place: place,
        })
    }
}

fn lacks_answer(walked: &Result<Decision, Lacking>) -> bool {
    matches!(
        walked,
        Err(Lacking {
            need: Need::Answer,
            ..
        })
    )
}

fn sent(reply: &Reply<'_>) -> Step {
    if reply.is_empty() {
        Step::Dropped
    } else {
        Step::Reply
    }
}
