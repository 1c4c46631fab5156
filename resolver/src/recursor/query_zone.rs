//! One query to one zone: which of its servers is queried, for how long, and which one when that one
//! does not help.
//!
//! A server that does not reply within its retransmission timeout is not given up: its reply still
//! counts while the next server is queried. So a lost datagram, a dead server and a slow one all
//! cost one timeout, and the recursor need not guess which it was.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use hickory_proto::op::ResponseCode;
use policy::name::{Name, NameRef};

use crate::{limiter::Permit, message::types::Rtype};

use super::{
    cache::delegations::Delegation,
    environment::Environment,
    exchange::{ExchangeError, ServerQuery},
    failure::ResolutionFailure,
    lookup_chain::LookupChain,
    query_context::{QueryContext, QueryPurpose, describe},
    response::{Response, ResponseFault, ResponseKind},
    rrset::Credibility,
    select::{Candidates, Try},
    state::{Recursor, ZoneQuestion},
};

/// Name servers without an address that are looked up for one query to one zone. A count; Unbound
/// stops after 5 names that do not exist.
const SERVER_LOOKUPS_PER_ZONE_MAX: usize = 5;
/// How long a lookup of a name server goes on before the servers with known addresses are queried
/// again beside it.
const LOOKUP_ALONE: Duration = Duration::from_millis(500);
/// The longest wait of a nested lookup for another task's identical query. It ends the wait of two
/// lookups for each other.
const JOIN_MAX: Duration = Duration::from_secs(1);

/// The result of one exchange, and the index of its candidate.
type Exchanged = (usize, Result<Response, ExchangeError>);

type InFlight<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Exchanged> + Send + 'a>>>;

impl<E: Environment> Recursor<E> {
    /// Queries a zone, or waits for another task that does.
    pub(super) async fn query_zone(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
        delegation: &Delegation,
        name: NameRef<'_>,
        rtype: Rtype,
    ) -> Result<Arc<Response>, ResolutionFailure> {
        let key = ZoneQuestion {
            zone: delegation.zone.clone(),
            name: name.to_owned(),
            rtype,
        };
        let join_max = (!chain.is_client_query()).then_some(JOIN_MAX);
        let query = async {
            ZoneQuery::new(self, context, chain, delegation, (name, rtype))
                .run()
                .await
                .map(Arc::new)
        };
        // The budget of one client query says nothing about the budgets of those that wait.
        let is_shared = |result: &Result<_, ResolutionFailure>| !matches!(result, Err(failure) if failure.is_of_query() && *failure != ResolutionFailure::Busy);
        self.flights.join(&key, join_max, is_shared, query).await
    }
}

/// One query to one zone.
struct ZoneQuery<'a, E> {
    recursor: &'a Recursor<E>,
    context: &'a QueryContext,
    chain: &'a LookupChain<'a>,
    delegation: &'a Delegation,
    name: NameRef<'a>,
    rtype: Rtype,
    candidates: Candidates<'a>,
    /// Names of servers to look up, the first one last.
    unknown: Vec<Name>,
    lookups_left: usize,
    in_flight: InFlight<'a>,
    /// The response that serves when no server gives an authoritative one.
    last_resort: Option<Response>,
    failure: ResolutionFailure,
    /// Held by a query that waits, so that a zone that responds at once has no limit.
    permit: Option<Permit<Name>>,
}

impl<'a, E: Environment> ZoneQuery<'a, E> {
    fn new(
        recursor: &'a Recursor<E>,
        context: &'a QueryContext,
        chain: &'a LookupChain<'a>,
        delegation: &'a Delegation,
        (name, rtype): (NameRef<'a>, Rtype),
    ) -> Self {
        let mut candidates = Candidates::new(&delegation.zone);
        let unknown = recursor.known_addresses(delegation, |address| {
            candidates.add(&recursor.infra, address)
        });
        candidates.avoid(|address| context.is_distrusted(address));
        Self {
            recursor,
            context,
            chain,
            delegation,
            name,
            rtype,
            candidates,
            unknown,
            lookups_left: SERVER_LOOKUPS_PER_ZONE_MAX,
            in_flight: FuturesUnordered::new(),
            last_resort: None,
            failure: ResolutionFailure::NoServers,
            permit: None,
        }
    }

    async fn run(mut self) -> Result<Response, ResolutionFailure> {
        loop {
            let left = self.context.time_left(self.now())?;
            let may_look_up = self.lookups_left > 0 && !self.unknown.is_empty();
            // A server without a known address is looked up before any server is queried twice, and
            // when the servers with known addresses have had their tries.
            let next = if may_look_up && !self.candidates.has_untried() {
                None
            } else {
                self.next_try()
            };
            let responded = match next {
                Some(next) => {
                    let rto = next.rto.min(left);
                    let candidate = next.candidate;
                    self.start(next);
                    self.wait(rto, Some(candidate)).await?
                }
                None if may_look_up && let Some(server) = self.unknown.pop() => {
                    self.look_up(server).await?
                }
                None if self.in_flight.is_empty() => break,
                None => self.wait(left, None).await?,
            };
            if let Some(response) = responded {
                return Ok(response);
            }
        }
        if self.failure == ResolutionFailure::NoServers && self.candidates.are_probed_by_another {
            self.failure = match self.chain.purpose() {
                // No server was asked, and all names of the zone need its keys: nothing is cached.
                QueryPurpose::Validation => ResolutionFailure::Busy,
                _ => ResolutionFailure::Unreachable,
            };
        }
        self.last_resort
            .ok_or(self.candidates.cut_short.unwrap_or(self.failure))
    }

    fn now(&self) -> Duration {
        self.recursor.environment.now()
    }

    fn next_try(&mut self) -> Option<Try> {
        let environment = &self.recursor.environment;
        self.candidates
            .next(environment.now(), || environment.random())
    }

    /// Starts an exchange.
    fn start(&mut self, next: Try) {
        let recursor = self.recursor;
        let context = self.context;
        let index = next.candidate;
        let candidate = self.candidates.get(index);
        let query = ServerQuery {
            delegation: self.delegation,
            address: candidate.address,
            server: Arc::clone(&candidate.server),
            name: self.name,
            rtype: self.rtype,
            purpose: self.chain.purpose(),
            fallback: next.fallback,
            timeout: next.timeout,
        };
        self.in_flight.push(Box::pin(async move {
            (index, recursor.exchange(context, query).await)
        }));
    }

    /// Waits for the first response, or until the timeout of the candidate that was started last.
    async fn wait(
        &mut self,
        timeout: Duration,
        candidate: Option<usize>,
    ) -> Result<Option<Response>, ResolutionFailure> {
        let timer = self.recursor.environment.sleep(timeout);
        tokio::pin!(timer);
        tokio::select! {
            biased;
            Some((index, result)) = self.in_flight.next() => self.handle(index, result),
            () = &mut timer => {
                self.handle_timeout(candidate)?;
                Ok(None)
            }
        }
    }

    fn handle_timeout(&mut self, candidate: Option<usize>) -> Result<(), ResolutionFailure> {
        if self.permit.is_none() {
            let permit = self.recursor.waiting.try_acquire(&self.delegation.zone);
            self.permit = Some(permit.ok_or_else(|| {
                self.recursor.counters.count_limited("zone");
                ResolutionFailure::Busy
            })?);
        }
        if let Some(index) = candidate {
            self.candidates.get(index).server.timed_out(self.now());
            self.recursor.counters.timeouts.increment(1);
            if self.failure == ResolutionFailure::NoServers {
                self.failure = ResolutionFailure::Unreachable;
            }
        }
        Ok(())
    }

    /// Looks up the address of a name server and adds it to the candidates. The lookup may take long
    /// or fail, so known servers are queried again beside it; a response of theirs ends it.
    async fn look_up(&mut self, server: Name) -> Result<Option<Response>, ResolutionFailure> {
        self.lookups_left -= 1;
        let recursor = self.recursor;
        // Boxed, so that it takes no room in each resolution.
        let mut lookup = Box::pin(recursor.addresses_of(self.context, self.chain, &server));
        let addresses = loop {
            let alone = recursor.environment.sleep(LOOKUP_ALONE);
            tokio::select! {
                biased;
                Some((index, result)) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    if let Some(response) = self.handle(index, result)? {
                        return Ok(Some(response));
                    }
                }
                addresses = &mut lookup => break addresses,
                () = alone => {
                    if let Some(next) = self.next_try() {
                        self.start(next);
                    }
                }
            }
        };
        match addresses {
            Ok(addresses) => addresses
                .into_iter()
                .for_each(|address| self.candidates.add(&recursor.infra, address)),
            Err(ResolutionFailure::TooLong) => return Err(ResolutionFailure::TooLong),
            Err(failure @ (ResolutionFailure::TooMuchWork | ResolutionFailure::Busy)) => {
                if failure == ResolutionFailure::TooMuchWork {
                    self.lookups_left = 0;
                }
                self.candidates.cut_short.get_or_insert(failure);
            }
            Err(_) => {}
        }
        // The glue that the parent of the server's zone has may be better than the zone's own data.
        recursor
            .glue_of(&server)
            .into_iter()
            .for_each(|address| self.candidates.add(&recursor.infra, address));
        Ok(None)
    }

    /// Handles the result of one exchange: the response to go on with, or None.
    fn handle(
        &mut self,
        index: usize,
        result: Result<Response, ExchangeError>,
    ) -> Result<Option<Response>, ResolutionFailure> {
        let response = match result {
            Ok(mut response) => {
                response.server = Some(self.candidates.get(index).address);
                response
            }
            Err(ExchangeError::Exhausted(failure)) => return Err(failure),
            Err(error) => {
                self.handle_error(index, &error);
                return Ok(None);
            }
        };
        if let ResponseKind::Unusable(fault) = response.kind {
            self.trace(index, || format!("{fault:?}"));
            self.recursor.counters.count_fault(fault);
            self.candidates.exclude(index);
            if matches!(
                fault,
                ResponseFault::Lame | ResponseFault::Code(ResponseCode::Refused)
            ) {
                let now = self.now();
                let address = self.candidates.get(index).address;
                let zone = &self.delegation.zone;
                let infra = &self.recursor.infra;
                infra.update(address, zone, |quirks| quirks.set_lame(now));
            }
            self.failure = ResolutionFailure::Useless;
            return Ok(None);
        }
        if response.credibility == Credibility::NonAuthoritative {
            self.trace(index, || "not authoritative, or empty".to_owned());
            self.candidates.exclude(index);
            self.failure = ResolutionFailure::Useless;
            self.last_resort.get_or_insert(response);
            return Ok(None);
        }
        Ok(Some(response))
    }

    fn handle_error(&mut self, index: usize, error: &ExchangeError) {
        let (what, failure) = match error {
            ExchangeError::Timeout => ("timeout", ResolutionFailure::Unreachable),
            ExchangeError::Unreachable => ("unreachable", ResolutionFailure::Network),
            ExchangeError::Unreadable => ("unreadable", ResolutionFailure::Useless),
            ExchangeError::Busy | ExchangeError::Exhausted(_) => {
                ("too many queries in flight", ResolutionFailure::Busy)
            }
        };
        if !matches!(error, ExchangeError::Timeout) {
            self.candidates.exclude(index);
        }
        if matches!(error, ExchangeError::Busy) {
            self.candidates
                .cut_short
                .get_or_insert(ResolutionFailure::Busy);
        }
        self.trace(index, || what.to_owned());
        if self.failure != ResolutionFailure::Useless {
            self.failure = failure;
        }
    }

    fn trace(&self, index: usize, what: impl FnOnce() -> String) {
        self.context.trace(self.now(), || {
            let address = self.candidates.get(index).address;
            let zone = self.delegation.zone.borrow();
            let subject = describe(address, zone, self.name, self.rtype);
            format!("{subject}: {}", what())
        });
    }
}
