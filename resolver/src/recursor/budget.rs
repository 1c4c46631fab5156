//! One client's question on its way through the Internet: what it may still spend, and what was
//! done for it.

use std::{
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use policy::name::NameRef;

use super::ResolutionFailure;

/// Queries to servers for one question of a client, everything that it causes counted; PowerDNS has
/// 50, BIND 50 a fetch.
const QUERIES_MAX: i64 = 50;
/// Name servers without an address that are looked up for one question (NXNSAttack); PowerDNS has
/// 10.
const SERVER_NAMES_MAX: i64 = 10;
/// Queries that are spent on addresses of servers; so that a referral cannot send more than that to
/// a victim.
const SERVER_QUERIES_MAX: i64 = 16;
/// Octets taken from servers for one question; PowerDNS has 100,000.
const OCTETS_MAX: i64 = 100_000;
/// How long one question may take: a client asks again after five seconds, and nobody waits for
/// longer than ten.
const TIME_MAX: Duration = Duration::from_secs(9);

/// What one question may still spend.
pub struct QueryContext {
    queries: AtomicI64,
    server_names: AtomicI64,
    server_queries: AtomicI64,
    octets: AtomicI64,
    deadline: Duration,
    began: Duration,
    /// What is old is asked again even though it still holds.
    pub renews: bool,
    steps: Option<Mutex<Vec<TraceStep>>>,
}

/// One step of a resolution, for people.
#[derive(Debug, Clone)]
pub struct TraceStep {
    /// Time since the question came.
    pub at: Duration,
    /// What happened.
    pub text: String,
}

impl QueryContext {
    /// A question that comes now.
    #[must_use]
    pub fn new(now: Duration, renews: bool, is_traced: bool) -> Self {
        Self {
            queries: AtomicI64::new(QUERIES_MAX),
            server_names: AtomicI64::new(SERVER_NAMES_MAX),
            server_queries: AtomicI64::new(SERVER_QUERIES_MAX),
            octets: AtomicI64::new(OCTETS_MAX),
            deadline: now + TIME_MAX,
            began: now,
            renews,
            steps: is_traced.then(Mutex::default),
        }
    }

    /// Pays for a query: for what the client asked, or for the address of a server.
    ///
    /// # Errors
    /// [`ResolutionFailure::TooMuchWork`].
    pub fn charge_query(&self, is_for_server: bool) -> Result<(), ResolutionFailure> {
        if is_for_server {
            charge(&self.server_queries, 1)?;
        }
        charge(&self.queries, 1)
    }

    /// Pays for looking up a server's address.
    ///
    /// # Errors
    /// [`ResolutionFailure::TooMuchWork`].
    pub fn charge_server_name(&self) -> Result<(), ResolutionFailure> {
        charge(&self.server_names, 1)
    }

    /// Pays for what came.
    ///
    /// # Errors
    /// [`ResolutionFailure::TooMuchWork`].
    pub fn charge_octets(&self, octets: usize) -> Result<(), ResolutionFailure> {
        charge(&self.octets, octets as i64)
    }

    /// The time that is left.
    ///
    /// # Errors
    /// [`ResolutionFailure::TooLong`] where there is none.
    pub fn time_left(&self, now: Duration) -> Result<Duration, ResolutionFailure> {
        self.deadline
            .checked_sub(now)
            .filter(|left| !left.is_zero())
            .ok_or(ResolutionFailure::TooLong)
    }

    /// Notes a step, if anybody wants to know.
    pub fn trace(&self, now: Duration, text: impl FnOnce() -> String) {
        let is_logged = tracing::enabled!(tracing::Level::TRACE);
        if self.steps.is_none() && !is_logged {
            return;
        }
        let step = TraceStep {
            at: now.saturating_sub(self.began),
            text: text(),
        };
        if is_logged {
            tracing::trace!("{}", step.text);
        }
        if let Some(steps) = &self.steps {
            steps
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(step);
        }
    }

    /// The steps.
    #[must_use]
    pub fn into_steps(self) -> Vec<TraceStep> {
        self.steps
            .map(|steps| steps.into_inner().unwrap_or_else(PoisonError::into_inner))
            .unwrap_or_default()
    }
}

fn charge(budget: &AtomicI64, price: i64) -> Result<(), ResolutionFailure> {
    if budget.fetch_sub(price, Ordering::Relaxed) >= price {
        Ok(())
    } else {
        Err(ResolutionFailure::TooMuchWork)
    }
}

/// What is being looked up for the sake of what: so that nobody waits for himself.
#[derive(Clone, Copy)]
pub struct LookupChain<'p> {
    name: NameRef<'p>,
    record_type: u16,
    depth: usize,
    below: Option<&'p Self>,
}

/// Look-ups of servers for the sake of look-ups of servers. BIND has 7.
const DEPTH_MAX: usize = 6;

impl<'p> LookupChain<'p> {
    /// What a client asks for.
    #[must_use]
    pub fn new(name: NameRef<'p>, record_type: u16) -> Self {
        Self {
            name,
            record_type,
            depth: 0,
            below: None,
        }
    }

    /// What must be looked up for that.
    ///
    /// # Errors
    /// [`ResolutionFailure::Circular`] where it is on the chain already; [`ResolutionFailure::TooMuchWork`] where the
    /// chain is too long.
    pub fn nested(
        &'p self,
        name: NameRef<'p>,
        record_type: u16,
    ) -> Result<Self, ResolutionFailure> {
        let mut here = Some(self);
        while let Some(chain) = here {
            if chain.name == name && chain.record_type == record_type {
                return Err(ResolutionFailure::Circular);
            }
            here = chain.below;
        }
        if self.depth >= DEPTH_MAX {
            return Err(ResolutionFailure::TooMuchWork);
        }
        Ok(Self {
            name,
            record_type,
            depth: self.depth + 1,
            below: Some(self),
        })
    }

    /// What is looked up.
    #[must_use]
    pub fn name(&self) -> NameRef<'p> {
        self.name
    }

    /// Whether this is what a client asked for itself.
    #[must_use]
    pub fn is_client_query(&self) -> bool {
        self.depth == 0
    }
}

/// A server and a question in a line of a trace.
pub fn describe(
    address: SocketAddr,
    zone: NameRef<'_>,
    name: NameRef<'_>,
    record_type: u16,
) -> String {
    let record_type = hickory_proto::rr::RecordType::from(record_type);
    format!("{address} ({zone}): {name} {record_type}")
}

#[cfg(test)]
mod tests;
