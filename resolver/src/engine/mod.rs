//! The life of a query. All branches of the data path stand in this file; the rooms beside it
//! compute.
//!
//! ```text
//! receive -> identify -> classify -> decide -> cache -> recurse -> review -> respond -> record
//! ```
//!
//! A hit runs on the listener's own thread and waits for nothing. A miss is handed back as a
//! [`Miss`] and finished on the runtime; it then takes the very same [`Engine::walk`], and so does
//! an explanation.

pub(crate) mod alias;
pub(crate) mod config;
pub(crate) mod explain;
pub(crate) mod meta;

use std::{
    error::Error as _,
    hint::black_box,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::Guard;
use policy::{
    decide::{Asker, Verdict},
    identity::directory::{IdentitySource, Reader, Trust},
    lists::{
        blocklist::Blocklist,
        entry::{Action, Records},
    },
    moment::Moment,
    name::WireName,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    cache::{AnswerCache, Entry, Key, KeyRef, Window, encode::encode},
    engine::alias::Alias,
    limiter::{self, Gate, Place},
    listener::access::Access,
    message::{
        addresses::{TYPE_A, TYPE_AAAA, TYPE_HTTPS, TYPE_SVCB},
        ede::Wording,
        query::{Query, Rcode, TYPE_ANY},
        reply::{self, BlockedAnswer, Reason, Transport},
    },
    single_flight::Flights,
    telemetry::metrics::{Count, Pen, Recorder},
    upstream::{Answer, Question, RecursionError},
};

pub use crate::engine::config::{Parts, Stale};

/// The longest a client waits for a resolution; stub resolvers give up at about five seconds and
/// ask again.
const RESOLUTION_MAX: Duration = Duration::from_secs(10);
/// Info-code of RFC 8914 section 4.23.
const NO_REACHABLE_AUTHORITY: u16 = 22;

pub(crate) const CLASS_IN: u16 = 1;

/// The data path.
pub struct Engine {
    pub(crate) parts: Parts,
    pub(crate) access: Access,
    pub(crate) cache: AnswerCache,
    flights: Flights<Key, Result<Arc<Entry>, Option<u16>>>,
    pub(crate) resolutions: Arc<Semaphore>,
    clients: Gate<IpAddr>,
    started: Instant,
    common: Mutex<Desk>,
    wording: Wording,
    /// The counters.
    pub recorder: Recorder,
}

/// What holds for all packets that one turn of a worker answers: loaded once, after they came in,
/// so that a change that was acknowledged before they were sent is in force for each of them.
pub struct Turn<'e> {
    lists: Guard<Arc<Blocklist>>,
    pub(crate) directory: Reader<'e>,
    /// Time since the start.
    now: Duration,
}

impl Turn<'_> {
    /// Has memory fetch what queries will need, all at once; worth it for several of them only.
    pub fn touch<'p>(
        &self,
        desk: &Desk,
        lines: impl Iterator<Item = IpAddr>,
        packets: impl Iterator<Item = &'p [u8]>,
    ) {
        black_box(self.directory.touch(lines));
        black_box(desk.window.touch(packets));
    }
}

/// What one thread answers with: counters that are its own, and a window onto the cache.
pub struct Desk {
    /// Its counters.
    pub pen: Pen,
    window: Window,
    /// What was answered near its end, and is to be asked again by whoever has time.
    pub due: Vec<Renewal>,
}

/// An answer that will soon be too old, and may be resolved again now.
pub struct Renewal {
    key: Key,
    question: Question,
    _permit: OwnedSemaphorePermit,
}

/// What is to be done with a packet.
#[expect(
    clippy::large_enum_variant,
    reason = "it is made once and taken apart at once; a box would cost each miss an allocation"
)]
pub enum Step {
    /// Nothing: it is no query, and who sends such is not listened to.
    Silent,
    /// Nothing, by the word of a list.
    Dropped,
    /// The reply is written.
    Reply,
    /// It must be resolved first.
    Miss(Miss),
}

/// A query on its way through a resolution, with the lists and the rules it arrived under.
pub struct Miss {
    packet: Vec<u8>,
    client: Client,
    lists: Arc<Blocklist>,
    /// What it lacks.
    walked: Walked,
    permit: OwnedSemaphorePermit,
    place: Place<IpAddr>,
}

/// Who asks, and how.
struct Client {
    peer: IpAddr,
    asker: Asker,
    transport: Transport,
}

/// How a walk ended.
pub(crate) enum Walked {
    /// The reply is written, or nothing where that is the answer; which name decided, and how.
    Answered { verdict: Verdict, hop: usize },
    /// The name may be resolved, and the answer is not there yet.
    NoAnswer { verdict: Verdict },
    /// The answer is an alias of a feed's own, and what that leads to is not there yet.
    NoTarget { verdict: Verdict, hop: usize },
}

/// A query that is being resolved, with the lists and the rules it is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'q> {
    pub(crate) query: &'q Query<'q>,
    pub(crate) asker: &'q Asker,
    pub(crate) lists: &'q Blocklist,
    pub(crate) transport: Transport,
}

/// What became of it. Where it could not be resolved, the walk is still without an answer, and
/// SERVFAIL is written.
pub(crate) struct Completed {
    pub(crate) walked: Walked,
    /// What was judged, where it had to be resolved.
    pub(crate) entry: Option<Arc<Entry>>,
    /// Whether any of the answer is older than it should be.
    pub(crate) is_stale: bool,
}

/// What is known of a question at this moment.
#[derive(Clone, Copy)]
pub(crate) struct AtHand<'e> {
    pub(crate) entry: &'e Entry,
    /// Whether its answer may be used: it is fresh, was resolved for this very query, or is stale
    /// where that is better than none.
    pub(crate) is_usable: bool,
    /// Whether it is older than it should be.
    pub(crate) is_stale: bool,
    /// Time since the start.
    pub(crate) now: Duration,
}

impl Engine {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let recorder = Recorder::new(
            &parts.taxonomy,
            Arc::clone(&parts.lists),
            parts.sample_every,
        );
        Self {
            access: Access::of(&parts),
            common: Mutex::new(Desk {
                pen: recorder.pen(),
                window: Window::none(),
                due: Vec::new(),
            }),
            recorder,
            cache: AnswerCache::new(parts.cache_octets),
            flights: Flights::default(),
            resolutions: Arc::new(Semaphore::new(parts.resolutions_max)),
            clients: Gate::new(parts.waiting_per_client_max),
            started: Instant::now(),
            wording: Wording::new(Arc::clone(&parts.taxonomy), &parts.contact),
            parts,
        }
    }

    /// Octets and entries in the answer cache.
    #[must_use]
    pub fn cache_usage(&self) -> (u64, usize) {
        self.cache.usage()
    }

    /// A desk for a worker.
    #[must_use]
    pub fn desk(&self) -> Desk {
        Desk {
            pen: self.recorder.pen(),
            window: Window::new(),
            due: Vec::new(),
        }
    }

    /// The desk that the tasks of the runtime take turns at, which are off the fast path.
    pub fn common_desk(&self) -> MutexGuard<'_, Desk> {
        self.common
            .lock()
            .expect("nothing panics while it sits at the desk")
    }

    /// Begins a turn: call it when the packets are there.
    #[must_use]
    pub fn turn(&self) -> Turn<'_> {
        Turn {
            lists: self.parts.lists.load(),
            directory: self.parts.directory.reader(clock()),
            now: self.now(),
        }
    }

    /// Answers a packet, or says what is missing. Never waits, and allocates nothing on a hit.
    pub fn answer(
        &self,
        turn: &Turn<'_>,
        packet: &[u8],
        peer: IpAddr,
        transport: Transport,
        desk: &mut Desk,
        reply: &mut Vec<u8>,
    ) -> Step {
        let Desk { pen, window, due } = desk;
        pen.received(transport);
        let mut room = WireName::default();
        let query = match Query::parse(packet, &mut room) {
            Ok(query) => query,
            Err(rejection) => return self.reject(packet, rejection, turn, peer, pen, reply),
        };
        let mac = query.edns.and_then(|edns| edns.mac);
        let trust = if mac.is_some() {
            self.access.trust(peer)
        } else {
            Trust::Household
        };
        let identity = turn.directory.identify(peer, mac, trust);
        // The address of a household's line has just been looked up; only for all others the list
        // of networks is asked.
        if identity.source == IdentitySource::Unknown && !self.access.may_ask(peer) {
            return Self::refuse(&query, transport, pen, reply);
        }
        if self.answer_meta(&query, peer, transport, reply) {
            return Step::Reply;
        }
        pen.identified(&identity);
        if !identity.asker.standards().is_hidden() {
            pen.asked(query.name());
        }
        let key = KeyRef::of(&query);
        let found = window.find(&self.cache, &key);
        let is_known = found.is_some();
        let mut entry = found.unwrap_or_else(|| Arc::new(Entry::unresolved(&key)));
        let mut walk = |entry: &Entry| {
            let at_hand = AtHand {
                entry,
                is_usable: entry.is_fresh(turn.now),
                is_stale: false,
                now: turn.now,
            };
            self.walk(
                &query,
                &identity.asker,
                &turn.lists,
                at_hand,
                transport,
                reply,
            )
        };
        let mut walked = walk(&entry);
        if is_known
            && matches!(walked, Walked::NoAnswer { .. })
            && let Some(newer) = window.find_newer(&self.cache, &key, &entry)
        {
            walked = walk(&newer);
            entry = newer;
        }
        match walked {
            Walked::Answered { verdict, .. } => {
                if is_known {
                    pen.count(Count::CacheHit);
                    if entry.wants_renewal(turn.now) && self.parts.renews && !verdict.is_block() {
                        due.extend(self.renewal(&query, &key));
                    }
                } else {
                    // Blocked, and so never resolved: what the lists say of it is kept all the
                    // same.
                    self.cache.insert(key.to_owned(), entry);
                }
                pen.judged(&identity.asker, query.name(), verdict, turn.lists.stamp());
                if reply.is_empty() {
                    Step::Dropped
                } else {
                    Step::Reply
                }
            }
            lacking => {
                if !is_known && matches!(lacking, Walked::NoTarget { .. }) {
                    self.cache.insert(key.to_owned(), entry);
                }
                self.put_off(
                    &query,
                    Client {
                        peer,
                        asker: identity.asker,
                        transport,
                    },
                    turn,
                    lacking,
                    pen,
                    reply,
                )
            }
        }
    }

    /// What is to be done with a query that lacks something.
    #[cold]
    #[inline(never)]
    fn put_off(
        &self,
        query: &Query<'_>,
        client: Client,
        turn: &Turn<'_>,
        walked: Walked,
        pen: &mut Pen,
        reply: &mut Vec<u8>,
    ) -> Step {
        let lists = &turn.lists;
        let transport = client.transport;
        if query.recursion_desired() {
            match self.place(client.peer) {
                Ok((permit, place)) => {
                    pen.count(Count::CacheMiss);
                    return Step::Miss(Miss {
                        packet: query.packet().to_vec(),
                        client,
                        lists: Arc::clone(lists),
                        walked,
                        permit,
                        place,
                    });
                }
                Err(full) => pen.count(full),
            }
        }
        match walked {
            Walked::NoTarget { verdict, .. } => {
                self.lead(query, verdict, lists, None, transport, reply);
                pen.judged(&client.asker, query.name(), verdict, lists.stamp());
            }
            _ if query.recursion_desired() => {
                pen.unanswered(&client.asker, query.name());
                reply::write_error(reply, query, Rcode::ServFail, None, transport);
            }
            _ if self.look(query, &client.asker, turn, transport, reply) => {}
            _ => reply::write_error(reply, query, Rcode::NoError, None, transport),
        }
        if reply.is_empty() {
            Step::Dropped
        } else {
            Step::Reply
        }
    }

    /// Answers who asks without recursion, from what others asked for.
    fn look(
        &self,
        query: &Query<'_>,
        asker: &Asker,
        turn: &Turn<'_>,
        transport: Transport,
        reply: &mut Vec<u8>,
    ) -> bool {
        let Some(entry) = self.cache.find(&KeyRef::of(query)) else {
            return false;
        };
        let is_stale = entry.is_stale_but_servable(turn.now, self.parts.stale.longer);
        let at_hand = AtHand {
            entry: &entry,
            is_usable: entry.is_fresh(turn.now) || is_stale,
            is_stale,
            now: turn.now,
        };
        match self.walk(query, asker, &turn.lists, at_hand, transport, reply) {
            Walked::Answered { .. } => true,
            Walked::NoTarget { verdict, .. } => {
                self.lead(query, verdict, &turn.lists, None, transport, reply);
                true
            }
            Walked::NoAnswer { .. } => false,
        }
    }

    /// Finishes a miss; the reply is written when it returns, and empty where none is to be sent.
    /// It is judged by the lists and the rules under which it arrived.
    pub async fn finish(self: &Arc<Self>, miss: Miss, reply: &mut Vec<u8>) {
        reply.clear();
        let Miss {
            packet,
            client: Client {
                asker, transport, ..
            },
            lists,
            walked,
            permit,
            place: _place,
        } = miss;
        let mut room = WireName::default();
        let Ok(query) = Query::parse(&packet, &mut room) else {
            unreachable!("the packet was read before it became a miss");
        };
        let asked = Asked {
            query: &query,
            asker: &asker,
            lists: &lists,
            transport,
        };
        let Completed {
            walked, is_stale, ..
        } = self.complete(asked, walked, permit, reply).await;
        if is_stale {
            self.recorder.stale.increment(1);
        }
        let mut desk = self.common_desk();
        match walked {
            Walked::Answered { verdict, .. } | Walked::NoTarget { verdict, .. } => {
                desk.pen
                    .judged(&asker, query.name(), verdict, lists.stamp());
            }
            Walked::NoAnswer { .. } => desk.pen.unanswered(&asker, query.name()),
        }
    }

    /// Resolves what a query lacks, and writes the reply: of a miss, and of an explanation.
    pub(crate) async fn complete(
        self: &Arc<Self>,
        asked: Asked<'_>,
        walked: Walked,
        permit: OwnedSemaphorePermit,
        reply: &mut Vec<u8>,
    ) -> Completed {
        let Asked {
            query,
            asker,
            lists,
            transport,
        } = asked;
        let permit = Arc::new(permit);
        let mut completed = Completed {
            walked,
            entry: None,
            is_stale: false,
        };
        if matches!(completed.walked, Walked::NoAnswer { .. }) {
            let question = Question::new(query.name().to_owned(), query.resolved_type());
            match self
                .obtain_in_time(KeyRef::of(query).to_owned(), question, &permit)
                .await
            {
                Ok((entry, is_stale)) => {
                    // What other lists than the live ones say of an entry is not to be remembered
                    // with it.
                    let is_live = lists.stamp() == self.parts.lists.load().stamp();
                    let entry = if is_live {
                        entry
                    } else {
                        Arc::new(entry.unjudged())
                    };
                    let resolved = AtHand {
                        entry: &entry,
                        is_usable: true,
                        is_stale,
                        now: self.now(),
                    };
                    let walked = self.walk(query, asker, lists, resolved, transport, reply);
                    completed = Completed {
                        walked,
                        entry: Some(entry),
                        is_stale,
                    };
                }
                Err(code) => reply::write_error(
                    reply,
                    query,
                    Rcode::ServFail,
                    code.map(Reason::Code),
                    transport,
                ),
            }
        }
        if let Walked::NoTarget { verdict, .. } = completed.walked
            && let Some(alias) = Alias::wanted(query.name(), verdict, lists)
        {
            let obtained = self
                .obtain_in_time(alias.key(query).to_owned(), alias.question(query), &permit)
                .await
                .ok();
            let resolved = obtained.as_ref().map(|(entry, is_stale)| AtHand {
                entry,
                is_usable: true,
                is_stale: *is_stale,
                now: self.now(),
            });
            completed.is_stale |= resolved.is_some_and(|resolved| resolved.is_stale);
            self.lead(query, verdict, lists, resolved, transport, reply);
        }
        completed
    }

    /// The answer to a question for a client that waits, and whether it is older than it should be.
    async fn obtain_in_time(
        self: &Arc<Self>,
        key: Key,
        question: Question,
        permit: &Arc<OwnedSemaphorePermit>,
    ) -> Result<(Arc<Entry>, bool), Option<u16>> {
        let stale = self.parts.stale;
        let now = self.now();
        let Some(old) = self
            .cache
            .find_owned(&key)
            .filter(|entry| entry.is_stale_but_servable(now, stale.longer))
        else {
            return self.obtain(key, question).await.map(|entry| (entry, false));
        };
        // The resolution goes on when the client's patience is over: the next one shall have the
        // newer answer.
        let engine = Arc::clone(self);
        let permit = Arc::clone(permit);
        let newer = tokio::spawn(async move {
            let newer = engine.obtain(key, question).await;
            drop(permit);
            newer
        });
        match tokio::time::timeout(stale.client_patience, newer).await {
            Ok(Ok(Ok(newer))) => Ok((newer, false)),
            _ => Ok((old, true)),
        }
    }

    /// A place for a client among all resolutions and among its own; where there is none, what is
    /// full.
    fn place(&self, peer: IpAddr) -> Result<(OwnedSemaphorePermit, Place<IpAddr>), Count> {
        let place = self
            .clients
            .enter(&limiter::counted_as(peer))
            .ok_or(Count::ClientFull)?;
        let permit = Arc::clone(&self.resolutions)
            .try_acquire_owned()
            .map_err(|_| Count::Shed)?;
        Ok((permit, place))
    }

    /// Resolves again what will soon be too old.
    pub async fn renew(&self, renewal: Renewal) {
        let Renewal {
            key,
            question,
            _permit,
        } = renewal;
        self.recorder.renewed.increment(1);
        // Without a newer answer the old one serves until its end, and the next client asks again.
        let _ = self.obtain(key, question).await;
    }

    /// A renewal, where there is a place for one more resolution.
    fn renewal(&self, query: &Query<'_>, key: &KeyRef<'_>) -> Option<Renewal> {
        let permit = Arc::clone(&self.resolutions).try_acquire_owned().ok()?;
        let question = Question {
            prefetch: true,
            ..Question::new(query.name().to_owned(), query.resolved_type())
        };
        Some(Renewal {
            key: (*key).to_owned(),
            question,
            _permit: permit,
        })
    }

    /// Judges and answers: the one function behind every reply about a name, from the cache, after
    /// a resolution, and in an explanation.
    pub(crate) fn walk(
        &self,
        query: &Query<'_>,
        asker: &Asker,
        lists: &Blocklist,
        at_hand: AtHand<'_>,
        transport: Transport,
        reply: &mut Vec<u8>,
    ) -> Walked {
        let AtHand {
            entry,
            is_usable,
            is_stale,
            now,
        } = at_hand;
        let (mut verdict, hop) = entry.judge(asker, query.name(), lists, is_usable, transport);
        if verdict.is_block() {
            if !self.block(query, verdict, lists, transport, reply) {
                return Walked::NoTarget { verdict, hop };
            }
        } else if verdict.action != Action::Policy && self.leads_elsewhere(query, &mut verdict) {
            return self.lead_elsewhere(query, verdict, hop, transport, reply);
        } else {
            // What does not lead to the proxy is answered as if no path were listed.
            verdict.action = Action::Policy;
            if !is_usable {
                return Walked::NoAnswer { verdict };
            }
            if query.record_type == TYPE_ANY && entry.has_name() {
                reply::write_any(
                    reply,
                    query,
                    is_stale.then_some(Reason::Stale(Rcode::NoError)),
                    transport,
                );
            } else if is_stale {
                reply::write_stale(reply, query, entry, transport);
            } else {
                reply::write_cached(reply, query, entry, now, transport);
            }
        }
        Walked::Answered { verdict, hop }
    }

    /// Answers what is blocked in the way that the deciding entry wants. False where that is an
    /// alias whose target must be resolved first.
    fn block(
        &self,
        query: &Query<'_>,
        verdict: Verdict,
        lists: &Blocklist,
        transport: Transport,
        reply: &mut Vec<u8>,
    ) -> bool {
        let mandate = verdict
            .ordered()
            .and_then(|ordered| lists.mandates().get(ordered));
        let reason = Reason::Blocked(verdict, mandate, &self.wording);
        let answer = match verdict.action {
            Action::Drop => {
                reply.clear();
                return true;
            }
            Action::TcpOnly => {
                reply::write_truncated(reply, query, transport);
                return true;
            }
            Action::Records => match lists.answers().get(verdict.data as usize) {
                Some(records) => return self.answer_with(query, records, reason, transport, reply),
                None => BlockedAnswer::NoData,
            },
            Action::Nxdomain => BlockedAnswer::NxDomain,
            Action::Nodata => BlockedAnswer::NoData,
            Action::Policy | Action::Proxied | Action::Path | Action::Led | Action::Ordered => {
                self.parts.blocked.to(verdict, mandate)
            }
        };
        reply::write_blocked(reply, query, answer, reason, transport);
        true
    }

    /// Answers with records of a feed's own. False where they are an alias whose target must be
    /// resolved first.
    #[cold]
    #[inline(never)]
    fn answer_with(
        &self,
        query: &Query<'_>,
        records: &Records,
        reason: Reason<'_>,
        transport: Transport,
        reply: &mut Vec<u8>,
    ) -> bool {
        let Some(record) = alias::among(records) else {
            reply::write_records(reply, query, records, reason, transport);
            return true;
        };
        let Some(alias) = Alias::of(query.name(), record) else {
            reply::write_blocked(reply, query, BlockedAnswer::NxDomain, reason, transport);
            return true;
        };
        let now = self.now();
        let target = if alias::leads(query.record_type) {
            let Some(entry) = self
                .cache
                .find(&alias.key(query))
                .filter(|entry| entry.is_fresh(now))
            else {
                return false;
            };
            Some(entry)
        } else {
            None
        };
        let at_hand = target.as_ref().map(|entry| AtHand {
            entry,
            is_usable: true,
            is_stale: false,
            now,
        });
        reply::write_alias(
            reply,
            query,
            &alias,
            at_hand.and_then(alias::read).as_ref(),
            reason,
            transport,
        );
        true
    }

    /// Answers with the alias that a verdict wants, and with what its target has; where that cannot
    /// be had, with the alias alone, which keeps the name as blocked as it was.
    #[cold]
    #[inline(never)]
    pub(crate) fn lead(
        &self,
        query: &Query<'_>,
        verdict: Verdict,
        lists: &Blocklist,
        target: Option<AtHand<'_>>,
        transport: Transport,
        reply: &mut Vec<u8>,
    ) {
        // What lay in the buffer before must not leave the house, even if somebody asked us for an
        // alias that is none.
        let Some(alias) = Alias::wanted(query.name(), verdict, lists) else {
            return reply.clear();
        };
        let reason = Reason::Blocked(verdict, None, &self.wording);
        reply::write_alias(
            reply,
            query,
            &alias,
            target.and_then(alias::read).as_ref(),
            reason,
            transport,
        );
    }

    /// Whether a type leads to a host, and a name that is not blocked leads to another one than its
    /// own: to the proxy, if there is one, or to a search engine's address for families.
    #[cold]
    fn leads_elsewhere(&self, query: &Query<'_>, verdict: &mut Verdict) -> bool {
        if self.parts.url_proxy.is_empty() {
            *verdict = verdict.without_proxy();
        }
        let leads = verdict.action == Action::Led || verdict.action == Action::Proxied;
        leads
            && matches!(
                query.record_type,
                TYPE_A | TYPE_AAAA | TYPE_HTTPS | TYPE_SVCB
            )
    }

    /// Answers with where a name leads that leads elsewhere.
    #[cold]
    #[inline(never)]
    fn lead_elsewhere(
        &self,
        query: &Query<'_>,
        verdict: Verdict,
        hop: usize,
        transport: Transport,
        reply: &mut Vec<u8>,
    ) -> Walked {
        let reason = Reason::Blocked(verdict, None, &self.wording);
        let Some(target) = verdict.target() else {
            reply::write_proxied(reply, query, &self.parts.url_proxy, transport);
            return Walked::Answered { verdict, hop };
        };
        if matches!(query.record_type, TYPE_HTTPS | TYPE_SVCB) {
            // By the engine's own service record a client would go around the address.
            reply::write_blocked(reply, query, BlockedAnswer::NoData, reason, transport);
            return Walked::Answered { verdict, hop };
        }
        let alias = Alias {
            target: target.clone(),
            ttl_s: reply::LOCAL_TTL_MAX_S,
        };
        let now = self.now();
        let Some(entry) = self
            .cache
            .find(&alias.key(query))
            .filter(|entry| entry.is_fresh(now))
        else {
            return Walked::NoTarget { verdict, hop };
        };
        let answer = alias::read(AtHand {
            entry: &entry,
            is_usable: true,
            is_stale: false,
            now,
        });
        reply::write_alias(reply, query, &alias, answer.as_ref(), reason, transport);
        Walked::Answered { verdict, hop }
    }

    /// The answer to a question: from the cache, or resolved once for all who ask at the same time.
    ///
    /// # Errors
    /// The info-code of the Extended DNS Error, where there is one to tell.
    pub(crate) async fn obtain(
        &self,
        key: Key,
        question: Question,
    ) -> Result<Arc<Entry>, Option<u16>> {
        let fresh = self
            .cache
            .find_owned(&key)
            .filter(|entry| !question.prefetch && entry.is_fresh(self.now()));
        if let Some(entry) = fresh {
            return Ok(entry);
        }
        let resolve = async {
            let resolved = self.resolve(&question).await;
            let entry = resolved.and_then(|answer| encode(&question, answer, self.now())).map_err(|error| {
                tracing::debug!(%error, cause = error.source().map(tracing::field::display), "resolution failed");
                error.code
            })?;
            let entry = Arc::new(entry);
            if entry.may_be_kept() {
                self.cache.insert(key.clone(), Arc::clone(&entry));
            }
            Ok(entry)
        };
        self.flights.join(&key, None, |_| true, resolve).await
    }

    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        let began = Instant::now();
        self.recorder.in_flight.increment(1);
        let answer =
            tokio::time::timeout(RESOLUTION_MAX, self.parts.recursion.resolve(question)).await;
        self.recorder.in_flight.decrement(1);
        self.recorder.resolution_s.record(began.elapsed());
        answer.unwrap_or_else(|elapsed| {
            let name = question.name.clone();
            let record_type = question.record_type;
            Err(RecursionError {
                name,
                record_type,
                code: Some(NO_REACHABLE_AUTHORITY),
                source: elapsed.into(),
            })
        })
    }

    /// Time since the start: what the cache counts in.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// What the clock on the wall shows.
pub(crate) fn clock() -> Moment {
    Moment::from_unix(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    )
}
