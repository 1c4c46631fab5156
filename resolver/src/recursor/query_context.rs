//! The context of one client query through its whole resolution: budget, deadline and trace.

use std::{
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use hickory_proto::rr::RecordType;
use policy::name::NameRef;

use crate::{message::types::Rtype, upstream::Question};

use super::{dnssec::ValidationBudget, failure::ResolutionFailure};

/// Queries to servers for one client query, those for addresses of name servers included. A count;
/// PowerDNS has 50, BIND 50 a fetch.
const QUERIES_MAX: i64 = 50;
/// Queries for the DS and DNSKEY RRsets that validate its answer, beside those. A count: two for each
/// zone of the longest chain of referrals. Unbound and BIND count such queries by themselves as well.
const VALIDATION_QUERIES_MAX: i64 = 48;
/// Name servers without an address that are looked up for one client query (NXNSAttack). A count;
/// PowerDNS has 10.
const SERVER_LOOKUPS_PER_QUERY_MAX: i64 = 10;
/// Of the queries, those for addresses of name servers. A count; a referral cannot direct more than
/// these to a victim.
const SERVER_QUERIES_MAX: i64 = 16;
/// Octets received from servers for one client query; PowerDNS has 100,000.
const OCTETS_MAX: i64 = 100_000;
/// The time of one client query: clients repeat it after five seconds, and few wait for longer than
/// ten.
const TIME_MAX: Duration = Duration::from_secs(9);

/// What a query to a server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryPurpose {
    /// The client's name.
    Answer,
    /// The address of a name server.
    ServerAddress,
    /// A DS or DNSKEY RRset.
    Validation,
}

/// The budget, the deadline and the trace of one client query.
pub struct QueryContext {
    queries: AtomicI64,
    server_lookups: AtomicI64,
    server_queries: AtomicI64,
    validation_queries: AtomicI64,
    octets: AtomicI64,
    began: Duration,
    deadline: Duration,
    /// Whether data near the end of their TTL are queried again.
    pub is_prefetch: bool,
    /// Whether the answer may be bogus: the client set CD.
    pub checking_disabled: bool,
    /// The work that validation may cause.
    pub validation: ValidationBudget,
    /// Servers whose data were bogus.
    distrusted: Mutex<Vec<SocketAddr>>,
    trace: Option<Mutex<Vec<TraceStep>>>,
}

/// One step of a resolution, for operators.
#[derive(Debug, Clone)]
pub struct TraceStep {
    /// Time since the client query arrived.
    pub at: Duration,
    pub text: String,
}

impl QueryContext {
    /// The context of a query that arrives now.
    #[must_use]
    pub fn new(now: Duration, question: &Question, is_traced: bool) -> Self {
        Self {
            queries: AtomicI64::new(QUERIES_MAX),
            server_lookups: AtomicI64::new(SERVER_LOOKUPS_PER_QUERY_MAX),
            server_queries: AtomicI64::new(SERVER_QUERIES_MAX),
            validation_queries: AtomicI64::new(VALIDATION_QUERIES_MAX),
            octets: AtomicI64::new(OCTETS_MAX),
            began: now,
            deadline: now + TIME_MAX,
            is_prefetch: question.prefetch,
            checking_disabled: question.bits.checking_disabled,
            validation: ValidationBudget::default(),
            distrusted: Mutex::default(),
            trace: is_traced.then(Mutex::default),
        }
    }

    /// Charges one query to a server.
    ///
    /// # Errors
    /// [`ResolutionFailure::TooMuchWork`] when the budget is used up.
    pub fn charge_query(&self, purpose: QueryPurpose) -> Result<(), ResolutionFailure> {
        match purpose {
            QueryPurpose::Validation => return charge(&self.validation_queries, 1),
            QueryPurpose::ServerAddress => charge(&self.server_queries, 1)?,
            QueryPurpose::Answer => {}
        }
        charge(&self.queries, 1)
    }

    /// The queries for DS and DNSKEY RRsets that are left.
    #[must_use]
    pub fn validation_queries_left(&self) -> i64 {
        self.validation_queries.load(Ordering::Relaxed)
    }

    /// Charges one lookup of a name server's address.
    ///
    /// # Errors
    /// [`ResolutionFailure::TooMuchWork`] when the budget is used up.
    pub fn charge_server_lookup(&self) -> Result<(), ResolutionFailure> {
        charge(&self.server_lookups, 1)
    }

    /// Charges received octets.
    ///
    /// # Errors
    /// [`ResolutionFailure::TooMuchWork`] when the budget is used up.
    pub fn charge_octets(&self, octets: usize) -> Result<(), ResolutionFailure> {
        charge(&self.octets, octets as i64)
    }

    /// Notes that a server sent bogus data: other servers of a zone are queried before it.
    pub fn distrust(&self, server: SocketAddr) {
        self.distrusted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(server);
    }

    pub fn is_distrusted(&self, server: SocketAddr) -> bool {
        self.distrusted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&server)
    }

    /// The time until the deadline.
    ///
    /// # Errors
    /// [`ResolutionFailure::TooLong`] at the deadline and after it.
    pub fn time_left(&self, now: Duration) -> Result<Duration, ResolutionFailure> {
        self.deadline
            .checked_sub(now)
            .filter(|left| !left.is_zero())
            .ok_or(ResolutionFailure::TooLong)
    }

    /// Adds a step to the trace and to the log of level TRACE. `text` runs only if one of them is
    /// wanted.
    pub fn trace(&self, now: Duration, text: impl FnOnce() -> String) {
        let is_logged = tracing::enabled!(tracing::Level::TRACE);
        if self.trace.is_none() && !is_logged {
            return;
        }
        let step = TraceStep {
            at: now.saturating_sub(self.began),
            text: text(),
        };
        if is_logged {
            tracing::trace!("{}", step.text);
        }
        if let Some(trace) = &self.trace {
            trace
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(step);
        }
    }

    /// The steps of the trace; none where the query is not traced.
    #[must_use]
    pub fn into_trace(self) -> Vec<TraceStep> {
        self.trace
            .map(|trace| trace.into_inner().unwrap_or_else(PoisonError::into_inner))
            .unwrap_or_default()
    }
}

fn charge(budget: &AtomicI64, amount: i64) -> Result<(), ResolutionFailure> {
    if budget.fetch_sub(amount, Ordering::Relaxed) >= amount {
        Ok(())
    } else {
        Err(ResolutionFailure::TooMuchWork)
    }
}

/// A server and a query to it, as a trace shows them.
pub fn describe(address: SocketAddr, zone: NameRef<'_>, name: NameRef<'_>, rtype: Rtype) -> String {
    let rtype = RecordType::from(rtype.to_u16());
    format!("{address} ({zone}): {name} {rtype}")
}

#[cfg(test)]
mod tests;
