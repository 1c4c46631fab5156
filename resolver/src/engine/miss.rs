//! Misses: what a walk lacks is resolved on the runtime, once for all clients that ask the same.

use std::{error::Error as _, sync::Arc, time::Duration};

use policy::{
    decide::EffectivePolicy,
    lists::blocklist::Blocklist,
    name::{NameRef, WireName},
};
use tokio::time::Instant;

use crate::{
    admission::Place,
    cache::{AnswerEntry, QuestionKey, QuestionKeyRef, classified::Classified, encode::encode},
    engine::{
        core::Engine,
        walk::{CachedAnswer, Decision, Ended, Freshness, Lacking, Need, Unavailable, Walk},
        worker_state::Prefetch,
    },
    listener::client::Client,
    message::{
        cookie::FullCookie,
        query::Query,
        reply::Reply,
        types::{EdeCode, Rcode, Transport},
    },
    rates::Release,
    telemetry::{
        counters::Count,
        event::{QueryEvent, QueryOutcome},
    },
    upstream::{Answer, Question, RecursionError},
};

/// The longest resolution that a client waits for. Stub resolvers time out after about 5 s and ask
/// again.
const RESOLUTION_MAX: Duration = Duration::from_secs(10);

/// A query that waits for a resolution, with the lists and the rules that it arrived under.
pub struct Miss {
    pub(super) packet: Vec<u8>,
    pub(super) client: Client,
    pub(super) cookie: Option<FullCookie>,
    /// Since the start.
    pub(super) arrived: Duration,
    pub(super) policy: EffectivePolicy,
    pub(super) lists: Arc<Blocklist>,
    pub(super) lacking: Lacking,
    pub(super) place: Place,
}

/// A walk after its resolutions.
pub(crate) struct Completed {
    pub(crate) ended: Ended,
    /// The entry that was judged, if the answer was lacking and could be obtained.
    pub(crate) entry: Option<Arc<AnswerEntry>>,
    /// Whether any part of the reply is stale.
    pub(crate) is_stale: bool,
}

impl Engine {
    /// Finishes a miss: writes the reply into `buffer`, and nothing if no reply is to be sent. The
    /// lists and the rules under which the query arrived judge it.
    pub async fn finish(self: &Arc<Self>, miss: Box<Miss>, buffer: &mut Vec<u8>) {
        buffer.clear();
        let Miss {
            packet,
            client,
            cookie,
            arrived,
            policy,
            lists,
            lacking,
            place,
        } = *miss;
        let mut name_buffer = WireName::default();
        let Ok(query) = Query::parse(&packet, &mut name_buffer) else {
            unreachable!("the packet was parsed before it became a miss");
        };
        let mut reply = Reply::new(&query, client.transport, buffer);
        reply.cookie = cookie.as_ref();
        let mut walk = Walk {
            policy: &policy,
            lists: &lists,
            reply,
        };
        let completed = self.complete_or_evict(&mut walk, lacking, place).await;
        if completed.is_stale {
            self.metrics.stale.increment(1);
        }
        let outcome = match completed.ended {
            Ended::Answered(Decision { verdict, .. }) => QueryOutcome::Judged {
                verdict,
                lists_stamp: lists.stamp(),
            },
            Ended::Unresolved(_) => QueryOutcome::Unresolved,
        };
        self.runtime_state().metrics.record(&QueryEvent {
            policy: &policy,
            name: query.name(),
            at: self.config.clock.moment(),
            outcome,
        });
        if client.transport == Transport::Udp {
            self.release(&client, arrived, buffer).await;
        }
    }

    /// Waits until a late reply may leave, or discards it.
    async fn release(&self, client: &Client, arrived: Duration, buffer: &mut Vec<u8>) {
        match self
            .rates
            .release(client, buffer.len(), arrived, self.now())
        {
            Release::Now => {}
            Release::After(wait) => {
                self.runtime_state().metrics.count(Count::ReplySpread);
                tokio::time::sleep(wait).await;
            }
            Release::Discard => {
                self.runtime_state().metrics.count(Count::ReplyDiscarded);
                buffer.clear();
            }
        }
    }

    /// Resolves what a walk lacks when its turn comes, and writes the reply: of a miss, and of an
    /// explanation. A query that loses its place is answered SERVFAIL.
    pub(crate) async fn complete_or_evict(
        self: &Arc<Self>,
        walk: &mut Walk<'_, '_>,
        lacking: Lacking,
        place: Place,
    ) -> Completed {
        let place = Arc::new(place);
        tokio::select! {
            biased;
            () = place.evicted() => {}
            completed = async {
                place.turn().await;
                self.complete(walk, lacking, &place).await
            } => return completed,
        }
        // What the walk lacked is gone with its resolution: it is judged again, without an answer.
        let key = QuestionKeyRef::of(walk.reply.query);
        let unknown = AnswerEntry::placeholder(&key);
        let ended = match self.walk(walk, CachedAnswer::new(&unknown, self.now())) {
            Ok(decision) => Ended::Answered(decision),
            Err(lacking) => self.give_up(walk, lacking, Unavailable::SERVFAIL),
        };
        Completed {
            ended,
            entry: None,
            is_stale: false,
        }
    }

    async fn complete(
        self: &Arc<Self>,
        walk: &mut Walk<'_, '_>,
        mut lacking: Lacking,
        place: &Arc<Place>,
    ) -> Completed {
        let mut judged = None;
        let mut is_any_stale = false;
        loop {
            let query = walk.reply.query;
            let key = lacking.need.key(query).to_owned();
            let question = lacking.need.question(query);
            let is_answer = matches!(lacking.need, Need::Answer);
            let supplied = match self.obtain_in_time(key, question, place).await {
                Ok((mut entry, freshness)) => {
                    is_any_stale |= matches!(freshness, Freshness::Stale(_));
                    if is_answer {
                        if entry.rcode_low() == Rcode::NxDomain as u8 {
                            place.failed();
                        }
                        entry = self.classified_by(entry, walk.lists);
                        judged = Some(Arc::clone(&entry));
                    }
                    Ok((entry, freshness))
                }
                Err(code) => {
                    place.failed();
                    Err(Unavailable {
                        rcode: Rcode::ServFail,
                        code,
                    })
                }
            };
            let supplied = supplied.as_ref().map_err(|unavailable| *unavailable);
            let supplied = supplied.map(|(entry, freshness)| CachedAnswer {
                entry,
                freshness: *freshness,
                now: self.now(),
            });
            match self.supply(walk, lacking, supplied) {
                Ok(ended) => {
                    return Completed {
                        ended,
                        entry: judged,
                        is_stale: is_any_stale,
                    };
                }
                Err(next) => lacking = next,
            }
        }
    }

    /// The entry, or a copy of it if these lists are not the live ones: the cached entry must
    /// remember the classification of live lists only.
    pub(crate) fn classified_by(
        &self,
        entry: Arc<AnswerEntry>,
        lists: &Blocklist,
    ) -> Arc<AnswerEntry> {
        let is_live = lists.stamp() == self.config.lists.load().stamp();
        if is_live {
            entry
        } else {
            Arc::new(entry.unclassified())
        }
    }

    /// The answer to a question for a client that waits. A stale one, if there is one, when a fresh
    /// one fails or takes longer than the client timeout.
    async fn obtain_in_time(
        self: &Arc<Self>,
        key: QuestionKey,
        question: Question,
        place: &Arc<Place>,
    ) -> Result<(Arc<AnswerEntry>, Freshness), Option<EdeCode>> {
        let settings = self.config.stale;
        let now = self.now();
        let Some(stale) = self
            .cache
            .find_owned(&key)
            .filter(|entry| entry.is_stale_but_servable(now, settings.stale_max))
        else {
            let fresh = self.obtain(key, question).await?;
            return Ok((fresh, Freshness::Fresh));
        };
        // The resolution goes on after the client timeout, so that the next client gets a fresh
        // answer.
        let engine = Arc::clone(self);
        let place = Arc::clone(place);
        let resolution = tokio::spawn(async move {
            let fresh = engine.obtain(key, question).await;
            drop(place);
            fresh
        });
        match tokio::time::timeout(settings.client_timeout, resolution).await {
            Ok(Ok(Ok(fresh))) => Ok((fresh, Freshness::Fresh)),
            Ok(Ok(Err(code))) => {
                let bogus = code.filter(|code| code.is_of_bogus());
                Ok((stale, Freshness::Stale(bogus)))
            }
            _ => Ok((stale, Freshness::Stale(None))),
        }
    }

    /// Resolves an answer again before its TTL ends.
    pub async fn prefetch(&self, prefetch: Prefetch) {
        let Prefetch {
            key,
            question,
            _place,
        } = prefetch;
        self.metrics.prefetches.increment(1);
        // If it fails, the cached answer serves until its TTL ends.
        let _ = self.obtain(key, question).await;
    }

    /// The answer to a question: from the cache if it is fresh, else resolved once for all tasks
    /// that ask at the same time.
    ///
    /// # Errors
    /// The info-code of the Extended DNS Error, if there is one.
    async fn obtain(
        &self,
        key: QuestionKey,
        question: Question,
    ) -> Result<Arc<AnswerEntry>, Option<EdeCode>> {
        let fresh = self
            .cache
            .find_owned(&key)
            .filter(|entry| !question.prefetch && entry.is_fresh(self.now()));
        if let Some(entry) = fresh {
            return Ok(entry);
        }
        let flight = (self.cache.generation(), key);
        let (generation, key) = &flight;
        let resolve = async {
            let resolved = self.resolve(&question).await;
            let entry = resolved
                .and_then(|answer| encode(&question, answer, self.now()))
                .map_err(|error| {
                    let cause = error.source().map(tracing::field::display);
                    tracing::debug!(%error, cause, "resolution failed");
                    error.code.map(EdeCode::new)
                })?;
            let entry = Arc::new(entry);
            if entry.is_cacheable() {
                // Before the entry is weighed.
                self.classify(&entry, question.name.borrow());
                let entry = Arc::clone(&entry);
                self.cache.insert_of(*generation, key.clone(), entry);
            }
            Ok(entry)
        };
        self.flights.join(&flight, None, |_| true, resolve).await
    }

    /// Looks up in the live lists what they say of a new entry.
    fn classify(&self, entry: &AnswerEntry, name: NameRef<'_>) {
        let lists = self.config.lists.load();
        let classified = Classified::look_up(name, entry.chain(), entry.message(), &lists);
        self.cache.remember(entry, classified, false);
    }

    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        let began = Instant::now();
        self.metrics.in_flight.increment(1);
        let answer =
            tokio::time::timeout(RESOLUTION_MAX, self.config.recursion.resolve(question)).await;
        self.metrics.in_flight.decrement(1);
        self.metrics.resolution_s.record(began.elapsed());
        answer.unwrap_or_else(|elapsed| {
            Err(RecursionError {
                name: question.name.clone(),
                rtype: question.rtype,
                code: Some(EdeCode::NO_REACHABLE_AUTHORITY.to_u16()),
                source: elapsed.into(),
            })
        })
    }
}
