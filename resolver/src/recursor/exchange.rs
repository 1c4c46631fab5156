//! One server, asked once as well as we can, and again more plainly where it seems not to
//! understand that.
//!
//! ```text
//! what comes back                          what is left out next, one at a time
//! unreadable, or records delegation off           EDNS; then over TCP; then there without EDNS
//! FORMERR, NOTIMP, BADVERS                 options (where the reply has an OPT), EDNS, mixed letters; then over TCP
//! SERVFAIL, REFUSED, other codes           options, mixed letters, EDNS
//! a lame referral                          mixed letters
//! NXDOMAIN, no data                        mixed letters, to compare
//! silence                                  later tries of `ask.rs`: options and mixed letters, then EDNS
//! another id, letter case or cookie        nothing: over TCP, where nobody else can answer
//! ```
//!
//! What helped is remembered for the server, letter case for server and zone (`servers.rs`). What a
//! server has proved to understand is not left out, a cookie that it gave least of all: so a
//! stranger who forges one error cannot talk us out of our defences, and a server that denies
//! honestly is asked twice only until it found its first name in mixed letters.

use std::{io::ErrorKind, net::SocketAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use hickory_proto::op::{Message, ResponseCode};
use policy::name::NameRef;

use crate::{
    message::reader::{self, Extent, Reading},
    recursor::{
        budget::{QueryContext, describe},
        delegations::Delegation,
        environment::{Environment, TransportOutcome},
        infra::{DOUBTED_FOR, Server, UNABLE_FOR},
        scrub::{Response, ResponseFault, ResponseKind, ScrubContext, ServerRole, classify},
    },
};

use super::{
    Recursor, ResolutionFailure,
    wire::{CLIENT_COOKIE_OCTETS, Edns, ExpectedReply, OutgoingQuery, cookie_of},
};

/// Exchanges with one server for one try: as it comes, three ways that leave something out, and TCP
/// with and without EDNS.
const EXCHANGES_MAX: usize = 6;
/// How long one exchange over TCP may take, connecting included.
const STREAM_MAX: Duration = Duration::from_secs(3);
/// A denial is compared only where three times what it took is left, and the second answer is
/// waited for as long and a little.
const COMPARED_TIMES: u32 = 3;
const COMPARED_LEAST: Duration = Duration::from_millis(200);
/// A cookie with the server's part, which has 8 to 32 octets: RFC 7873 section 4.
const COOKIE_OCTETS: RangeInclusive<usize> = 16..=40;
/// BADVERS, RFC 6891 section 9, as the record library does not call it: it has the number from
/// BADSIG, which shares it.
const CODE_BADVERS: u16 = 16;
/// The flag of a truncated message, in the third octet of the header.
const FLAG_TC: u8 = 0x02;
/// What the system says where there is no way to a server at all, such as to IPv6 on a machine
/// without it.
const WITHOUT_WAY: [ErrorKind; 4] = [
    ErrorKind::NetworkUnreachable,
    ErrorKind::HostUnreachable,
    ErrorKind::AddrNotAvailable,
    ErrorKind::Unsupported,
];

/// Why one server did not help.
pub(super) enum ExchangeError {
    Timeout,
    Unreachable,
    Unreadable,
    Busy,
    Spent(ResolutionFailure),
}

/// What is left out from the start because earlier tries of the same question met silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plainness {
    /// Nothing.
    Full,
    /// Mixed letters and EDNS options.
    Small,
    /// EDNS as well.
    Bare,
}

/// One try at one server.
pub(super) struct Ask<'a> {
    pub delegation: &'a Delegation,
    pub address: SocketAddr,
    pub server: Arc<Server>,
    pub name: NameRef<'a>,
    pub record_type: u16,
    /// Whether it is for the address of another zone's server.
    pub is_for_server: bool,
    pub plainness: Plainness,
    /// How long a datagram's answer counts.
    pub wait: Duration,
}

/// The way in which a server is asked.
#[derive(Debug, Clone, Copy)]
struct Manner {
    mixes: bool,
    options: bool,
    edns: bool,
    over_tcp: bool,
}

/// What can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feature {
    Options,
    Letters,
    Edns,
}

/// Why a plainer query may help.
#[derive(Clone, Copy)]
enum Cause {
    Unreadable,
    NotUnderstood { is_formerr: bool, has_opt: bool },
    Refuses { has_opt: bool, has_cookie: bool },
    Lame,
}

impl<S: Environment> Recursor<S> {
    /// Asks one server, and again in another way where it cannot answer in this one.
    pub(super) async fn exchange(
        &self,
        context: &QueryContext,
        ask: Ask<'_>,
    ) -> Result<Response, ExchangeError> {
        let Some(_visit) = ask.server.enter(self.settings.queries_per_server_max) else {
            self.counts.limited("server");
            return Err(ExchangeError::Busy);
        };
        let mut dialogue = Dialogue::begin(self, context, &ask);
        for _ in 0..EXCHANGES_MAX {
            match dialogue.turn().await {
                Ok(None) => {}
                Ok(Some(response)) => return dialogue.conclude(Ok(response)),
                Err(trouble) => return dialogue.conclude(Err(trouble)),
            }
        }
        dialogue.conclude(Err(ExchangeError::Unreadable))
    }
}

/// Exchanges with one server for one try.
struct Dialogue<'a, S> {
    recursor: &'a Recursor<S>,
    context: &'a QueryContext,
    ask: &'a Ask<'a>,
    asked: ScrubContext<'a>,
    client_cookie: [u8; CLIENT_COOKIE_OCTETS],
    manner: Manner,
    /// With EDNS at first.
    began_with_edns: bool,
    /// What the last plainer query left out.
    left_out: Option<Feature>,
    /// What was left out because of silence, which may have been a loss.
    doubted: Vec<Feature>,
    /// What counts if nothing better comes.
    fallback: Option<Response>,
    /// Whether that is a denial, and the query under way is the same in small letters.
    is_comparing: bool,
    has_cookie_trouble: bool,
    has_other_case: bool,
    may_be_plainer: Option<bool>,
    wait: Duration,
}

impl<'a, S: Environment> Dialogue<'a, S> {
    fn begin(recursor: &'a Recursor<S>, context: &'a QueryContext, ask: &'a Ask<'a>) -> Self {
        let (
            settings,
            now,
            Ask {
                delegation,
                address,
                server,
                ..
            },
        ) = (&recursor.settings, recursor.environment.now(), ask);
        let quirks = recursor.servers.quirks(*address, &delegation.zone);
        let mut manner = Manner {
            mixes: settings.case_randomisation
                && server.keeps_case(now)
                && !quirks.wants_small(now),
            options: settings.cookies && server.takes_options(now),
            edns: server.takes_edns(now),
            over_tcp: delegation.tls.is_some(),
        };
        let mut doubted = Vec::new();
        if ask.plainness != Plainness::Full && delegation.tls.is_none() {
            let may_doubt = [
                (Feature::Letters, manner.mixes && !quirks.finds_mixed(now)),
                (
                    Feature::Options,
                    manner.options && !server.has_taken_options(now),
                ),
                (
                    Feature::Edns,
                    ask.plainness == Plainness::Bare && manner.edns && !server.has_taken_edns(now),
                ),
            ];
            doubted.extend(
                may_doubt
                    .into_iter()
                    .filter(|(_, may)| *may)
                    .map(|(feature, _)| feature),
            );
            doubted
                .iter()
                .for_each(|feature| manner.leave_out(*feature));
        }
        let wants_apex = delegation.is_hint
            || !delegation.is_fixed && recursor.delegations.apex(&delegation.zone, now).is_none();
        let asked = ScrubContext {
            zone: delegation.zone.borrow(),
            name: ask.name,
            record_type: ask.record_type,
            role: delegation.role,
            harden_glue: settings.harden_glue,
            wants_apex,
        };
        Self {
            recursor,
            context,
            ask,
            asked,
            client_cookie: recursor.client_cookie(*address),
            manner,
            began_with_edns: manner.edns,
            left_out: None,
            doubted,
            fallback: None,
            is_comparing: false,
            has_cookie_trouble: false,
            has_other_case: false,
            may_be_plainer: None,
            wait: ask.wait,
        }
    }

    /// What counts in the end: an earlier answer, where the last query brought nothing better.
    fn conclude(self, result: Result<Response, ExchangeError>) -> Result<Response, ExchangeError> {
        match (result, self.fallback) {
            (
                Err(_)
                | Ok(Response {
                    finding: ResponseKind::Unusable(_),
                    ..
                }),
                Some(fallback),
            ) => Ok(fallback),
            (result, _) => result,
        }
    }

    /// One query, and what comes back: none where the next query is to be sent.
    async fn turn(&mut self) -> Result<Option<Response>, ExchangeError> {
        self.context
            .charge_query(self.ask.is_for_server)
            .map_err(ExchangeError::Spent)?;
        let began = self.recursor.environment.now();
        let left = self
            .context
            .time_left(began)
            .map_err(ExchangeError::Spent)?;
        let server_cookie = if self.manner.options {
            self.ask.server.cookie()
        } else {
            Vec::new()
        };
        let cookie = if self.manner.options {
            [&self.client_cookie[..], &server_cookie].concat()
        } else {
            Vec::new()
        };
        let edns = Edns { cookie };
        let outgoing = OutgoingQuery {
            id: self.recursor.environment.random() as u16,
            name: self.ask.name,
            record_type: self.ask.record_type,
            recursion_desired: self.ask.delegation.role == ServerRole::Forwarder,
            case: if self.manner.mixes {
                self.recursor.environment.random()
            } else {
                0
            },
            edns: self.manner.edns.then_some(&edns),
        };
        let (packet, expected) = outgoing.encode();
        let reception = self.send(&packet, &expected, left).await;
        let now = self.recursor.environment.now();
        let Some(mut wire) = self.receive(reception, now)? else {
            return Ok(None);
        };
        self.context
            .charge_octets(wire.len())
            .map_err(ExchangeError::Spent)?;
        let took = now.saturating_sub(began);
        self.ask.server.replied(took);
        if self.manner.over_tcp && expected.is_same_but_for_case(&wire) {
            self.ask.server.keeps_no_case(now);
        }
        expected.restore_case(&mut wire, self.ask.name);
        let reading = reader::read(&wire).filter(|reading| reading.extent != Extent::Short);
        self.tell(reading.as_ref(), took, now);
        if self.lacks_cookie(
            reading.as_ref().map(|reading| &reading.message),
            &server_cookie,
        ) {
            return Ok(None);
        }
        let is_truncated = wire[2] & FLAG_TC != 0;
        match reading {
            None if is_truncated && !self.manner.over_tcp => {
                self.manner.over_tcp = true;
                Ok(None)
            }
            None => self
                .plainer(Cause::Unreadable, &expected)
                .then_some(None)
                .ok_or(ExchangeError::Unreadable),
            Some(reading) => self.judge(reading, &expected, took, now),
        }
    }

    async fn send(
        &self,
        packet: &[u8],
        expected: &ExpectedReply,
        left: Duration,
    ) -> TransportOutcome {
        let recursor = self.recursor;
        let address = self.ask.address;
        if let Some(tls_name) = &self.ask.delegation.tls {
            recursor.counts.tls.increment(1);
            recursor
                .environment
                .tls(address, tls_name, packet, expected, STREAM_MAX.min(left))
                .await
        } else if self.manner.over_tcp {
            recursor.counts.tcp.increment(1);
            recursor
                .environment
                .tcp(address, packet, expected, STREAM_MAX.min(left))
                .await
        } else {
            recursor.counts.udp.increment(1);
            recursor
                .environment
                .udp(address, packet, expected, self.wait.min(left))
                .await
        }
    }

    /// The octets of a reply; none where another query is to be sent for want of one.
    fn receive(
        &mut self,
        reception: TransportOutcome,
        now: Duration,
    ) -> Result<Option<Vec<u8>>, ExchangeError> {
        match reception {
            TransportOutcome::Reply(wire) => Ok(Some(wire)),
            // Id and port were right, only the letters were not, and TCP leads nowhere: once more
            // in small letters.
            TransportOutcome::Timeout | TransportOutcome::Unreachable(_)
                if self.manner.over_tcp
                    && self.ask.delegation.tls.is_none()
                    && std::mem::take(&mut self.has_other_case) =>
            {
                (self.manner.over_tcp, self.manner.mixes) = (false, false);
                self.doubted.push(Feature::Letters);
                Ok(None)
            }
            TransportOutcome::Timeout => Err(ExchangeError::Timeout),
            TransportOutcome::Unreachable(error) => {
                if !self.manner.over_tcp && WITHOUT_WAY.contains(&error.kind()) {
                    self.ask.server.mark_unreachable(now);
                }
                self.context
                    .trace(now, || format!("{}: {error}", self.subject()));
                Err(ExchangeError::Unreachable)
            }
            TransportOutcome::Mismatch { is_case } => {
                self.has_other_case = is_case;
                self.recursor.counts.near_misses.increment(1);
                self.context.trace(now, || {
                    format!("{}: nearly a reply, so over TCP", self.subject())
                });
                self.manner.over_tcp = true;
                Ok(None)
            }
        }
    }

    /// Notes what came, for people.
    fn tell(&self, reading: Option<&Reading>, took: Duration, now: Duration) {
        self.context.trace(now, || {
            let way = match (&self.ask.delegation.tls, self.manner.over_tcp) {
                (Some(_), _) => "TLS",
                (None, true) => "TCP",
                (None, false) => "UDP",
            };
            let took = took.as_secs_f64() * 1e3;
            let Some(Reading { message, .. }) = reading else {
                return format!("{}: unreadable over {way} in {took:.1} ms", self.subject());
            };
            let counts =
                [&message.answers, &message.authorities, &message.additionals].map(Vec::len);
            format!(
                "{} -> {} {counts:?} over {way} in {took:.1} ms",
                self.subject(),
                message.metadata.response_code
            )
        });
    }

    /// Whether a reply by datagram lacks the cookie that its server gave us: somebody else may have
    /// sent it, so TCP is next. Takes the cookie otherwise.
    fn lacks_cookie(&mut self, message: Option<&Message>, server_cookie: &[u8]) -> bool {
        let cookie = message
            .and_then(|message| message.edns.as_ref())
            .and_then(cookie_of);
        let is_forged = match cookie {
            Some(cookie) => !cookie.starts_with(&self.client_cookie),
            None => self.manner.edns && !server_cookie.is_empty(),
        };
        if is_forged && !self.manner.over_tcp {
            self.recursor.counts.near_misses.increment(1);
            self.manner.over_tcp = true;
            return true;
        }
        let code = message.map(|message| message.metadata.response_code);
        match cookie {
            Some(cookie) if !is_forged && COOKIE_OCTETS.contains(&cookie.len()) => {
                self.ask.server.gave_cookie(&cookie[CLIENT_COOKIE_OCTETS..]);
            }
            // It says so where nobody else can: it has no cookies any more.
            None if is_forged
                && matches!(code, Some(ResponseCode::NoError | ResponseCode::NXDomain)) =>
            {
                self.ask.server.gave_cookie(&[])
            }
            _ => {}
        }
        false
    }

    /// Judges a reply that could be read.
    fn judge(
        &mut self,
        reading: Reading,
        expected: &ExpectedReply,
        took: Duration,
        now: Duration,
    ) -> Result<Option<Response>, ExchangeError> {
        let Reading {
            message,
            extent,
            broken_answers,
        } = reading;
        let code = message.metadata.response_code;
        let has_opt = message.edns.is_some();
        let has_cookie = message.edns.as_ref().and_then(cookie_of).is_some();
        if code == ResponseCode::BADCOOKIE && self.manner.options && !self.manner.over_tcp {
            self.manner.over_tcp = std::mem::replace(&mut self.has_cookie_trouble, true);
            return Ok(None);
        }
        let is_complaint = matches!(code, ResponseCode::FormErr | ResponseCode::NotImp)
            || u16::from(code) == CODE_BADVERS;
        if message.metadata.truncation && !is_complaint {
            return if std::mem::replace(&mut self.manner.over_tcp, true) {
                Err(ExchangeError::Unreadable)
            } else {
                Ok(None)
            };
        }
        let response = classify(&message, self.asked);
        let cause = match &response.finding {
            ResponseKind::Unusable(ResponseFault::Code(_)) if is_complaint => {
                Some(Cause::NotUnderstood {
                    is_formerr: code == ResponseCode::FormErr,
                    has_opt,
                })
            }
            ResponseKind::Unusable(ResponseFault::Code(_)) => Some(Cause::Refuses {
                has_opt,
                has_cookie,
            }),
            ResponseKind::Unusable(ResponseFault::Lame) => Some(Cause::Lame),
            // What was asked for may be among the records that make no sense.
            ResponseKind::NoData(..) if broken_answers > 0 => Some(Cause::Unreadable),
            _ => None,
        };
        if let Some(cause) = cause {
            if self.fallback.is_none() && self.plainer(cause, expected) {
                return Ok(None);
            }
            let is_unreadable = matches!(cause, Cause::Unreadable);
            return if is_unreadable {
                Err(ExchangeError::Unreadable)
            } else {
                Ok(Some(response))
            };
        }
        // Good as it is where no EDNS is left to blame.
        if extent == Extent::WithoutAdditionals
            && self.manner.edns
            && self.plainer(Cause::Unreadable, expected)
        {
            self.fallback.get_or_insert(response);
            return Ok(None);
        }
        if matches!(
            response.finding,
            ResponseKind::NxDomain(..) | ResponseKind::NoData(..)
        ) {
            return Ok(self.weigh_denial(response, expected, took, now));
        }
        if self.is_comparing {
            self.left_out = Some(Feature::Letters);
        }
        self.learn(now);
        if matches!(
            response.finding,
            ResponseKind::Answer(_) | ResponseKind::Alias(..) | ResponseKind::Referral(_)
        ) && self.has_capitals_below(expected)
        {
            self.ask.server.found_mixed(now);
            if !self.quirks().finds_mixed(now + UNABLE_FOR / 2) {
                self.recursor.servers.learn(
                    self.ask.address,
                    &self.ask.delegation.zone,
                    |quirks| quirks.find_mixed(now),
                );
            }
        }
        Ok(Some(response))
    }

    /// A denial: the answer, or one to be compared with what is answered in small letters.
    fn weigh_denial(
        &mut self,
        response: Response,
        expected: &ExpectedReply,
        took: Duration,
        now: Duration,
    ) -> Option<Response> {
        if self.is_comparing
            && let Some(first) = self.fallback.take()
        {
            if std::mem::discriminant(&first.finding) != std::mem::discriminant(&response.finding) {
                self.left_out = Some(Feature::Letters);
            }
            self.learn(now);
            return Some(
                if self.left_out == Some(Feature::Letters) || !first.is_sound {
                    response
                } else {
                    first
                },
            );
        }
        self.learn(now);
        let quirks = self.quirks();
        let is_suspicious = self.has_capitals_below(expected)
            && !quirks.finds_mixed(now)
            && !quirks.wants_small(now);
        // A server that finds names in mixed letters elsewhere, and says that this one exists, has
        // nothing of this type.
        let is_plausible = matches!(response.finding, ResponseKind::NoData(..))
            && self.ask.server.finds_mixed(now);
        let has_time = self
            .context
            .time_left(now)
            .is_ok_and(|left| took * COMPARED_TIMES <= left);
        if !is_suspicious || is_plausible || !has_time {
            return Some(response);
        }
        if !self
            .recursor
            .servers
            .learn(self.ask.address, &self.ask.delegation.zone, |quirks| {
                quirks.may_compare(now)
            })
        {
            return Some(response);
        }
        (self.fallback, self.is_comparing) = (Some(response), true);
        self.leave_out(Feature::Letters);
        self.left_out = None;
        self.wait = self.wait.min(took * COMPARED_TIMES + COMPARED_LEAST);
        None
    }

    /// Whether the name was shown with capitals in what the server must look up inside its zone.
    fn has_capitals_below(&self, expected: &ExpectedReply) -> bool {
        let below = self
            .ask
            .name
            .label_count()
            .saturating_sub(self.ask.delegation.zone.borrow().label_count());
        self.manner.mixes && expected.has_capitals(below)
    }

    /// Leaves out one thing more, or goes over TCP. False where nothing is left to try.
    fn plainer(&mut self, cause: Cause, expected: &ExpectedReply) -> bool {
        let manner = self.manner;
        let now = self.recursor.environment.now();
        let server = &self.ask.server;
        let quirks = self.quirks();
        let letters = manner.mixes && expected.has_capitals(usize::MAX) && !quirks.finds_mixed(now);
        let options = manner.edns && manner.options;
        let edns = manner.edns;
        // Nobody else can answer over TCP, so what is said there outweighs what was proved before.
        let is_certain = manner.over_tcp && self.ask.delegation.tls.is_none();
        let options_unproved = options && (is_certain || !server.has_taken_options(now));
        let edns_unproved = edns && (is_certain || !server.has_taken_edns(now));
        let ways = match cause {
            Cause::Unreadable => [
                (Feature::Edns, edns),
                (Feature::Edns, false),
                (Feature::Edns, false),
            ],
            Cause::NotUnderstood { has_opt: true, .. } => [
                (Feature::Options, options_unproved),
                (Feature::Edns, edns),
                (Feature::Letters, letters),
            ],
            Cause::NotUnderstood { .. } => [
                (Feature::Edns, edns),
                (Feature::Letters, letters),
                (Feature::Edns, false),
            ],
            Cause::Refuses {
                has_opt,
                has_cookie,
            } => [
                (Feature::Options, options_unproved && !has_cookie),
                (Feature::Letters, letters),
                (Feature::Edns, edns_unproved && !has_opt),
            ],
            Cause::Lame => [
                (Feature::Letters, letters),
                (Feature::Edns, false),
                (Feature::Edns, false),
            ],
        };
        let way = ways
            .into_iter()
            .find(|(_, may)| *may)
            .map(|(feature, _)| feature);
        // An error that is meant is what most servers have to say: only now and then is it asked
        // about again.
        if matches!(cause, Cause::Refuses { .. } | Cause::Lame) {
            let may = way.is_some()
                && *self.may_be_plainer.get_or_insert_with(|| {
                    !quirks.is_plainer_in_vain(now) && server.may_be_asked_plainer(now)
                });
            if !may {
                if self.left_out.is_some() {
                    self.recursor.servers.learn(
                        self.ask.address,
                        &self.ask.delegation.zone,
                        |quirks| quirks.plainer_was_in_vain(now),
                    );
                }
                return false;
            }
        }
        match (way, cause) {
            (Some(feature), _) => self.leave_out(feature),
            // Nonsense under the right id may be somebody's who wants the wait to end (TuDoor), and
            // so may a complaint about a query in which nothing is left that a server could not
            // read.
            (
                None,
                Cause::Unreadable
                | Cause::NotUnderstood {
                    is_formerr: true, ..
                },
            ) if !manner.over_tcp => {
                (self.manner.over_tcp, self.manner.edns, self.left_out) =
                    (true, self.began_with_edns, None);
                self.context
                    .trace(now, || format!("{}: asked again over TCP", self.subject()));
            }
            (None, _) => return false,
        }
        true
    }

    fn leave_out(&mut self, feature: Feature) {
        self.manner.leave_out(feature);
        self.left_out = Some(feature);
        self.recursor.counts.plainer(feature);
        self.context.trace(self.recursor.environment.now(), || {
            format!(
                "{}: asked again without {}",
                self.subject(),
                feature.label()
            )
        });
    }

    /// Remembers what a useful reply says of its server.
    fn learn(&self, now: Duration) {
        let server = &self.ask.server;
        if self.manner.edns {
            server.took(self.manner.options, now);
        }
        if self.left_out.is_some() && self.may_be_plainer == Some(true) {
            server.plainer_helped();
        }
        let lessons = self.left_out.map(|feature| (feature, UNABLE_FOR));
        for (feature, lasts) in lessons
            .into_iter()
            .chain(self.doubted.iter().map(|feature| (*feature, DOUBTED_FOR)))
        {
            match feature {
                Feature::Options => server.takes_no_options(now, lasts),
                Feature::Edns => server.takes_no_edns(now, lasts),
                Feature::Letters => {
                    self.recursor.servers.learn(
                        self.ask.address,
                        &self.ask.delegation.zone,
                        |quirks| quirks.want_small(now, lasts),
                    );
                }
            }
        }
    }

    fn quirks(&self) -> super::infra::ZoneQuirks {
        self.recursor
            .servers
            .quirks(self.ask.address, &self.ask.delegation.zone)
    }

    fn subject(&self) -> String {
        describe(
            self.ask.address,
            self.asked.zone,
            self.ask.name,
            self.ask.record_type,
        )
    }
}

impl Manner {
    fn leave_out(&mut self, feature: Feature) {
        match feature {
            Feature::Options => self.options = false,
            Feature::Letters => self.mixes = false,
            Feature::Edns => self.edns = false,
        }
    }
}

impl Feature {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Options => "options",
            Self::Letters => "mixed letters",
            Self::Edns => "EDNS",
        }
    }
}
