//! The exchange with one server for one try: a query, and the same query again in another way where
//! the server did not support this one (see `attempt.rs`).
//!
//! What helped is remembered for the server (`cache/server.rs`), mixed case for server and zone
//! (`cache/infra.rs`). What a server supports is not left out, its cookie least of all: so a spoofed
//! error cannot disable the defences against spoofing, and a server that denies a name correctly is
//! queried twice only until it has found its first name in mixed case.

use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use hickory_proto::op::{Message, ResponseCode};
use policy::name::NameRef;

use crate::message::{
    reader::{self, Extent, Reading},
    types::{DnssecBits, Rtype},
};

use super::{
    attempt::{Attempt, Feature, Features, InitialFallback, Proof, UpstreamTransport},
    cache::{delegations::Delegation, server::ServerState},
    environment::{Environment, TransportOutcome},
    failure::ResolutionFailure,
    problem::{QueryProblem, is_not_understood, problem_of},
    query_context::{QueryContext, QueryPurpose, describe},
    response::{Response, ResponseKind, ServerRole},
    rrset::Credibility,
    scrub::{ScrubContext, classify},
    server_memory::ServerMemory,
    state::Recursor,
    wire::{CLIENT_COOKIE_OCTETS, ExpectedReply, OutgoingQuery},
};

/// Queries to one server in one exchange. A count: the first, three fallbacks, and TCP with and
/// without EDNS.
const QUERIES_PER_EXCHANGE_MAX: usize = 6;
/// The timeout of one query over TCP or TLS, connecting included.
const STREAM_TIMEOUT: Duration = Duration::from_secs(3);
/// A denial is compared with the response in lower case only where at least this many times the
/// round-trip time is left. The second response is waited for as many times, and the extra.
const COMPARISON_RTTS: u32 = 3;
const COMPARISON_EXTRA: Duration = Duration::from_millis(200);
/// TC, in the third octet of the header.
const FLAG_TC: u8 = 0x02;
/// Errors of the system that mean that a server has no route, such as all IPv6 servers on a host
/// without IPv6.
const NO_ROUTE: [ErrorKind; 4] = [
    ErrorKind::NetworkUnreachable,
    ErrorKind::HostUnreachable,
    ErrorKind::AddrNotAvailable,
    ErrorKind::Unsupported,
];

/// Why an exchange has no response.
pub(super) enum ExchangeError {
    Timeout,
    Unreachable,
    /// No reply could be read.
    Unreadable,
    /// Too many queries to the server are in flight.
    Busy,
    /// The client query has used up its budget or its time.
    Exhausted(ResolutionFailure),
}

/// One try at one server.
pub(super) struct ServerQuery<'a> {
    pub delegation: &'a Delegation,
    pub address: SocketAddr,
    pub server: Arc<ServerState>,
    pub name: NameRef<'a>,
    pub rtype: Rtype,
    pub purpose: QueryPurpose,
    pub fallback: InitialFallback,
    /// How long a datagram is waited for.
    pub timeout: Duration,
}

impl<E: Environment> Recursor<E> {
    /// Queries one server, several times where that is needed.
    pub(super) async fn exchange(
        &self,
        context: &QueryContext,
        query: ServerQuery<'_>,
    ) -> Result<Response, ExchangeError> {
        let Some(_in_flight) = query
            .server
            .begin_query(self.settings.queries_per_server_max)
        else {
            self.counters.count_limited("server");
            return Err(ExchangeError::Busy);
        };
        let mut exchange = Exchange::begin(self, context, &query);
        for _ in 0..QUERIES_PER_EXCHANGE_MAX {
            match exchange.query().await {
                Ok(None) => {}
                Ok(Some(response)) => return exchange.conclude(Ok(response)),
                Err(error) => return exchange.conclude(Err(error)),
            }
        }
        exchange.conclude(Err(ExchangeError::Unreadable))
    }

    /// The DNSSEC bits of upstream queries. A forwarder must not validate: its anchors may be others,
    /// and what is bogus is wanted as well.
    fn dnssec_bits(&self, role: ServerRole) -> DnssecBits {
        let validates = self.validates();
        DnssecBits {
            dnssec_ok: validates,
            checking_disabled: validates && role == ServerRole::Forwarder,
            ..DnssecBits::default()
        }
    }
}

/// A response that the exchange falls back to when the queries after it bring nothing better.
enum EarlierResponse {
    None,
    /// Its additional section was cut off.
    Incomplete(Response),
    /// It denies the name. The query in flight is the same in lower case, to compare.
    Denial(Response),
}

/// One exchange.
struct Exchange<'a, E> {
    recursor: &'a Recursor<E>,
    context: &'a QueryContext,
    query: &'a ServerQuery<'a>,
    scrub: ScrubContext<'a>,
    memory: ServerMemory<'a>,
    client_cookie: [u8; CLIENT_COOKIE_OCTETS],
    attempt: Attempt<'a>,
    earlier: EarlierResponse,
    /// Whether the rate limits allow a fallback query after an error. None before the first error.
    may_fall_back: Option<bool>,
    timeout: Duration,
}

/// A reply that could be read.
struct ReceivedReply {
    reading: Reading,
    expected: ExpectedReply,
    rtt: Duration,
    now: Duration,
}

impl<'a, E: Environment> Exchange<'a, E> {
    fn begin(
        recursor: &'a Recursor<E>,
        context: &'a QueryContext,
        query: &'a ServerQuery<'a>,
    ) -> Self {
        let now = recursor.environment.now();
        let delegation = query.delegation;
        let server = &query.server;
        let memory = ServerMemory {
            infra: &recursor.infra,
            address: query.address,
            server: &query.server,
            zone: &delegation.zone,
        };
        let settings = &recursor.settings;
        let features = Features {
            options: settings.cookies && server.may_support_options(now),
            mixed_case: settings.case_randomisation
                && server.may_repeat_case(now)
                && !memory.quirks().needs_lower_case(now),
            edns: server.may_support_edns(now),
        };
        let attempt = Attempt::first(
            delegation.tls(),
            features,
            query.fallback,
            memory.supported(now),
        );
        let wants_apex = delegation.is_hints()
            || !delegation.is_configured()
                && recursor.delegations.apex(&delegation.zone, now).is_none();
        let scrub = ScrubContext {
            zone: delegation.zone.borrow(),
            name: query.name,
            rtype: query.rtype,
            role: delegation.role(),
            harden_glue: settings.harden_glue,
            wants_apex,
        };
        Self {
            recursor,
            context,
            query,
            scrub,
            memory,
            client_cookie: recursor.client_cookie(query.address),
            attempt,
            earlier: EarlierResponse::None,
            may_fall_back: None,
            timeout: query.timeout,
        }
    }

    /// The result: the earlier response, where the last query brought nothing better.
    fn conclude(self, result: Result<Response, ExchangeError>) -> Result<Response, ExchangeError> {
        match (result, self.earlier) {
            (
                Err(_)
                | Ok(Response {
                    kind: ResponseKind::Unusable(_),
                    ..
                }),
                EarlierResponse::Incomplete(earlier) | EarlierResponse::Denial(earlier),
            ) => Ok(earlier),
            (result, _) => result,
        }
    }

    /// Sends one query and handles its reply. None where the next attempt must follow.
    async fn query(&mut self) -> Result<Option<Response>, ExchangeError> {
        self.context
            .charge_query(self.query.purpose)
            .map_err(ExchangeError::Exhausted)?;
        let began = self.recursor.environment.now();
        let left = self
            .context
            .time_left(began)
            .map_err(ExchangeError::Exhausted)?;
        let server_cookie = if self.attempt.features.options {
            self.query.server.cookie()
        } else {
            Vec::new()
        };
        let (packet, expected) = self.encode(&server_cookie);
        let outcome = self.send(&packet, &expected, left).await;
        let now = self.recursor.environment.now();
        let Some(mut wire) = self.receive(outcome, now)? else {
            return Ok(None);
        };
        self.context
            .charge_octets(wire.len())
            .map_err(ExchangeError::Exhausted)?;
        let rtt = now.saturating_sub(began);
        self.query.server.replied(rtt);
        if !self.attempt.is_udp() && expected.differs_in_case_only(&wire) {
            self.query.server.set_folds_case(now);
        }
        expected.restore_case(&mut wire, self.query.name);
        let reading = reader::read(&wire).filter(|reading| reading.extent != Extent::Short);
        self.trace_reply(reading.as_ref(), rtt, now);
        let message = reading.as_ref().map(|reading| &reading.message);
        let is_cookie_right =
            self.memory
                .take_cookie(message, self.attempt, (&self.client_cookie, &server_cookie));
        if !is_cookie_right {
            self.recursor.counters.mismatches.increment(1);
            return self.retry(QueryProblem::MissingCookie);
        }
        match reading {
            None if wire[2] & FLAG_TC != 0 && self.attempt.is_udp() => {
                self.retry(QueryProblem::Truncated)
            }
            None => {
                if self.fall_back(QueryProblem::Malformed, &expected) {
                    Ok(None)
                } else {
                    Err(ExchangeError::Unreadable)
                }
            }
            Some(reading) => self.handle(ReceivedReply {
                reading,
                expected,
                rtt,
                now,
            }),
        }
    }

    fn encode(&self, server_cookie: &[u8]) -> (Vec<u8>, ExpectedReply) {
        let features = self.attempt.features;
        let environment = &self.recursor.environment;
        let cookie = if features.options {
            [&self.client_cookie[..], server_cookie].concat()
        } else {
            Vec::new()
        };
        let outgoing = OutgoingQuery {
            id: environment.random() as u16,
            name: self.query.name,
            rtype: self.query.rtype,
            recursion_desired: self.scrub.role == ServerRole::Forwarder,
            case: if features.mixed_case {
                environment.random()
            } else {
                0
            },
            cookie: features.edns.then_some(&cookie[..]),
            dnssec: self.recursor.dnssec_bits(self.scrub.role),
        };
        outgoing.encode()
    }

    async fn send(
        &self,
        packet: &[u8],
        expected: &ExpectedReply,
        left: Duration,
    ) -> TransportOutcome {
        let environment = &self.recursor.environment;
        let counters = &self.recursor.counters;
        let address = self.query.address;
        let timeout = STREAM_TIMEOUT.min(left);
        // Queries on streams are rare, and boxed so that they take no room in each exchange.
        match self.attempt.transport {
            UpstreamTransport::Tls { name } => {
                counters.tls.increment(1);
                Box::pin(environment.tls(address, name, packet, expected, timeout)).await
            }
            UpstreamTransport::Tcp { .. } => {
                counters.tcp.increment(1);
                Box::pin(environment.tcp(address, packet, expected, timeout)).await
            }
            UpstreamTransport::Udp => {
                counters.udp.increment(1);
                environment
                    .udp(address, packet, expected, self.timeout.min(left))
                    .await
            }
        }
    }

    /// The octets of a reply. None where the next attempt must follow.
    fn receive(
        &mut self,
        outcome: TransportOutcome,
        now: Duration,
    ) -> Result<Option<Vec<u8>>, ExchangeError> {
        match outcome {
            TransportOutcome::Reply(wire) => Ok(Some(wire)),
            TransportOutcome::Mismatch { is_case_only } => {
                self.recursor.counters.mismatches.increment(1);
                self.trace(now, "reply does not match, repeated over TCP");
                self.retry(QueryProblem::Mismatch { is_case_only })
            }
            TransportOutcome::Timeout | TransportOutcome::Unreachable(_)
                if let Some(next) = self.attempt.next(QueryProblem::NoReply, Proof::default()) =>
            {
                self.attempt = next;
                Ok(None)
            }
            TransportOutcome::Timeout => Err(ExchangeError::Timeout),
            TransportOutcome::Unreachable(error) => {
                if self.attempt.is_udp() && NO_ROUTE.contains(&error.kind()) {
                    self.query.server.set_unreachable(now);
                }
                self.context
                    .trace(now, || format!("{}: {error}", self.subject()));
                Err(ExchangeError::Unreachable)
            }
        }
    }

    /// Goes on to the next attempt, without counting it as a fallback.
    fn retry<T>(&mut self, problem: QueryProblem) -> Result<Option<T>, ExchangeError> {
        self.attempt = self
            .attempt
            .next(problem, Proof::default())
            .ok_or(ExchangeError::Unreadable)?;
        Ok(None)
    }

    /// Handles a reply that could be read.
    fn handle(&mut self, reply: ReceivedReply) -> Result<Option<Response>, ExchangeError> {
        let message = &reply.reading.message;
        let code = message.metadata.response_code;
        if code == ResponseCode::BADCOOKIE && self.attempt.features.options && self.attempt.is_udp()
        {
            return self.retry(QueryProblem::BadCookie);
        }
        if message.metadata.truncation && !is_not_understood(code) {
            return self.retry(QueryProblem::Truncated);
        }
        let response = classify(message, self.scrub);
        if let Some(problem) = problem_of(&reply.reading, &response.kind) {
            let may_retry = matches!(self.earlier, EarlierResponse::None);
            return if may_retry && self.fall_back(problem, &reply.expected) {
                Ok(None)
            } else if problem == QueryProblem::Malformed {
                Err(ExchangeError::Unreadable)
            } else {
                Ok(Some(response))
            };
        }
        // Where the query had no EDNS to leave out, the response serves as it is.
        if reply.reading.extent == Extent::WithoutAdditionals
            && self.attempt.features.edns
            && self.fall_back(QueryProblem::Malformed, &reply.expected)
        {
            if matches!(self.earlier, EarlierResponse::None) {
                self.earlier = EarlierResponse::Incomplete(response);
            }
            return Ok(None);
        }
        Ok(match response.kind {
            ResponseKind::NxDomain { .. } | ResponseKind::NoData { .. } => {
                self.handle_denial(response, &reply)
            }
            _ => {
                self.handle_positive(&response.kind, &reply);
                Some(response)
            }
        })
    }

    /// Remembers what an answer, an alias or a referral shows of the server.
    fn handle_positive(&mut self, kind: &ResponseKind, reply: &ReceivedReply) {
        if matches!(self.earlier, EarlierResponse::Denial(_)) {
            self.attempt.left_out = Some(Feature::MixedCase);
        }
        self.memory
            .remember(self.attempt, self.may_fall_back, reply.now);
        let shows_mixed_case = matches!(
            kind,
            ResponseKind::Answer | ResponseKind::Alias { .. } | ResponseKind::Referral(_)
        ) && self.has_capitals_below_zone(&reply.expected);
        if shows_mixed_case {
            self.memory.remember_mixed_case(reply.now);
        }
    }

    /// A denial: the response, or None where it must be compared with the response in lower case.
    fn handle_denial(&mut self, response: Response, reply: &ReceivedReply) -> Option<Response> {
        let now = reply.now;
        match std::mem::replace(&mut self.earlier, EarlierResponse::None) {
            EarlierResponse::Denial(first) => {
                let is_same =
                    std::mem::discriminant(&first.kind) == std::mem::discriminant(&response.kind);
                if !is_same {
                    self.attempt.left_out = Some(Feature::MixedCase);
                }
                self.memory.remember(self.attempt, self.may_fall_back, now);
                let prefers_second = self.attempt.left_out == Some(Feature::MixedCase)
                    || first.credibility == Credibility::NonAuthoritative;
                return Some(if prefers_second { response } else { first });
            }
            earlier => self.earlier = earlier,
        }
        self.memory.remember(self.attempt, self.may_fall_back, now);
        if !self.must_compare(&response.kind, reply) {
            return Some(response);
        }
        self.earlier = EarlierResponse::Denial(response);
        if let Some(next) = self.attempt.next(QueryProblem::Denied, Proof::default()) {
            self.note_fallback(next);
            self.attempt = next;
        }
        self.timeout = self
            .timeout
            .min(reply.rtt * COMPARISON_RTTS + COMPARISON_EXTRA);
        None
    }

    /// Whether a denial may be due to the mixed case of the query, and time and the rate limit allow
    /// a comparison.
    fn must_compare(&self, kind: &ResponseKind, reply: &ReceivedReply) -> bool {
        let now = reply.now;
        let quirks = self.memory.quirks();
        let is_suspicious = self.has_capitals_below_zone(&reply.expected)
            && !quirks.supports_mixed_case(now)
            && !quirks.needs_lower_case(now);
        // NODATA of a server that supports mixed case in another zone: the name exists, and has
        // nothing of this type.
        let is_plausible = matches!(kind, ResponseKind::NoData { .. })
            && self.query.server.supports_mixed_case(now);
        let has_time = self
            .context
            .time_left(now)
            .is_ok_and(|left| reply.rtt * COMPARISON_RTTS <= left);
        is_suspicious
            && !is_plausible
            && has_time
            && self.memory.update(|quirks| quirks.try_compare(now))
    }

    /// Whether the query has capitals in the labels that the server looks up within its zone.
    fn has_capitals_below_zone(&self, expected: &ExpectedReply) -> bool {
        let below = self
            .query
            .name
            .label_count()
            .saturating_sub(self.scrub.zone.label_count());
        self.attempt.features.mixed_case && expected.has_capitals(below)
    }

    /// Leaves out one more feature, or goes over TCP. False where nothing is left to try, or the
    /// rate limits do not allow it.
    fn fall_back(&mut self, problem: QueryProblem, expected: &ExpectedReply) -> bool {
        let now = self.recursor.environment.now();
        let server = &self.query.server;
        let quirks = self.memory.quirks();
        let proof = Proof {
            supported: self.memory.supported(now),
            has_capitals: expected.has_capitals(usize::MAX),
        };
        let next = self.attempt.next(problem, proof);
        if problem.is_usually_final() {
            let may = next.is_some()
                && *self.may_fall_back.get_or_insert_with(|| {
                    !quirks.is_fallback_futile(now) && server.try_fallback(now)
                });
            if !may {
                if self.attempt.left_out.is_some() {
                    self.memory.update(|quirks| quirks.set_fallback_futile(now));
                }
                return false;
            }
        }
        let Some(next) = next else {
            return false;
        };
        self.note_fallback(next);
        self.attempt = next;
        true
    }

    /// Counts and traces what the next attempt leaves out.
    fn note_fallback(&self, next: Attempt<'_>) {
        let now = self.recursor.environment.now();
        let sent = self.attempt.features;
        match sent.iter().find(|feature| !next.features.has(*feature)) {
            Some(feature) => {
                self.recursor.counters.count_fallback(feature);
                self.context.trace(now, || {
                    format!("{}: repeated without {}", self.subject(), feature.label())
                });
            }
            None => self.trace(now, "repeated over TCP"),
        }
    }

    fn trace_reply(&self, reading: Option<&Reading>, rtt: Duration, now: Duration) {
        self.context.trace(now, || {
            let transport = match self.attempt.transport {
                UpstreamTransport::Tls { .. } => "TLS",
                UpstreamTransport::Tcp { .. } => "TCP",
                UpstreamTransport::Udp => "UDP",
            };
            let subject = self.subject();
            let rtt_ms = rtt.as_secs_f64() * 1e3;
            let Some(Reading { message, .. }) = reading else {
                return format!("{subject}: unreadable over {transport} in {rtt_ms:.1} ms");
            };
            let counts = section_counts(message);
            let code = message.metadata.response_code;
            format!("{subject} -> {code} {counts:?} over {transport} in {rtt_ms:.1} ms")
        });
    }

    fn trace(&self, now: Duration, what: &str) {
        self.context
            .trace(now, || format!("{}: {what}", self.subject()));
    }

    fn subject(&self) -> String {
        describe(
            self.query.address,
            self.scrub.zone,
            self.query.name,
            self.query.rtype,
        )
    }
}

fn section_counts(message: &Message) -> [usize; 3] {
    [&message.answers, &message.authorities, &message.additionals].map(Vec::len)
}
