//! The connections of one listener, of DNS or of the API, shared fairly by client. When all are
//! taken, a new connection replaces one that may give way:
//!
//! 1. of the client with the most, if the new one has fewer: the one that waits longest;
//! 2. otherwise of any client that has no fewer: the one that waits longest. An attack from more
//!    addresses than there are places would otherwise keep all others out;
//! 3. if none may give way, the client with the most loses its oldest one to a client with fewer.
//!
//! A connection waits from the first read that finds nothing, and while its client does not read
//! what it is sent. One whose first octets are in the kernel does not wait, however many connections
//! are accepted before its task runs. Under pressure, idle connections are closed sooner (RFC 7766
//! section 6.2.3).
//!
//! With a request under way, a connection does not wait, and is not closed among equal clients. A
//! listener that knows credentials ([`Connections::that_recognise`]) protects so only the clients
//! that it recognises: a stranger's connection waits from its beginning to its end, whatever it
//! asks, and is behind no recognised one. A recognised client is a household, whatever its
//! addresses.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{sync::Notify, task::yield_now};

use self::table::{ConnectionHolder, ConnectionState, ConnectionTable};
use crate::admission::ClientKey;

mod limited;
mod table;

pub use self::limited::LimitedConnections;

/// The longest time between two queries of a connection while half of all connections are free.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// The same while fewer are free: time for a client's next query on a slow line.
const IDLE_UNDER_PRESSURE: Duration = Duration::from_secs(2);

/// The connections that are open.
#[derive(Clone)]
pub struct Connections {
    open: Arc<Mutex<ConnectionTable>>,
    limited: Option<Arc<LimitedConnections>>,
}

/// One open connection, until it is dropped.
pub struct Connection {
    connections: Connections,
    number: u64,
    closing: Arc<Notify>,
}

impl Connections {
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            open: Arc::new(Mutex::new(ConnectionTable::new(max))),
            limited: None,
        }
    }

    /// For a listener that knows credentials: a request protects the connection of a client that
    /// was recognised, and no stranger's. All connections together hold `octets_max` octets of
    /// requests and answers.
    #[must_use]
    pub fn that_recognise(max: usize, octets_max: usize) -> Self {
        let connections = Self::new(max);
        connections.table().recognise_clients(octets_max);
        connections
    }

    /// Remembers there which clients are refused or lose a connection.
    #[must_use]
    pub fn noted_in(self, limited: Arc<LimitedConnections>) -> Self {
        Self {
            limited: Some(limited),
            ..self
        }
    }

    /// Opens a connection of a client that is known by its address alone. None if all are taken and
    /// none may be replaced.
    #[must_use]
    pub fn open(&self, peer: IpAddr) -> Option<Connection> {
        self.open_of(&ClientKey::of_address(peer))
    }

    /// The same for a client.
    #[must_use]
    pub fn open_of(&self, client: &ClientKey) -> Option<Connection> {
        self.hold(|_| ConnectionHolder::Client(client.clone()))
    }

    /// The same for a listener that accepts faster than the tasks of its connections run. Lets
    /// them run first, and again while new connections are all that could make room.
    pub async fn open_after(
        &self,
        open: impl Fn(&Self) -> Option<Connection>,
    ) -> Option<Connection> {
        loop {
            yield_now().await;
            let opened = open(self);
            if opened.is_some() || !self.table().has_new() {
                return opened;
            }
        }
    }

    /// Opens a connection of a proxy, which carries requests of many clients. It counts alone, so
    /// that the proxy's other connections do not close it.
    #[must_use]
    pub fn open_for_many(&self) -> Option<Connection> {
        self.hold(ConnectionHolder::Proxied)
    }

    fn hold(&self, holder: impl FnOnce(u64) -> ConnectionHolder) -> Option<Connection> {
        let mut table = self.table();
        let number = table.number();
        let holder = holder(number);
        if table.is_full() {
            let closed = table.close_for(&holder);
            self.note(closed.as_ref().unwrap_or(&holder));
            closed?;
        }
        let closing = Arc::<Notify>::default();
        table.insert(number, holder, Arc::clone(&closing));
        drop(table);
        Some(Connection {
            connections: self.clone(),
            number,
            closing,
        })
    }

    fn note(&self, holder: &ConnectionHolder) {
        if let Some(limited) = &self.limited {
            limited.note(holder);
        }
    }

    fn table(&self) -> MutexGuard<'_, ConnectionTable> {
        self.open
            .lock()
            .expect("no thread panics while it holds the lock")
    }
}

impl Connection {
    /// Waits until the connection must make room.
    pub async fn closing(&self) {
        self.closing.notified().await;
    }

    /// Says that a read found nothing. If no request is under way, the client owes octets; since
    /// when does not change by octets that make no request whole.
    pub fn find_nothing(&self) {
        self.change(|state| state.is_new = false);
    }

    /// Says that a request is whole: its client waits for an answer.
    pub fn work(&self) {
        self.change(|state| {
            state.is_new = false;
            state.under_way += 1;
        });
    }

    /// Says that a write made no progress: the client does not read. Until one does, the connection
    /// waits, whatever is under way.
    pub fn stall(&self) {
        self.change(|state| state.is_deaf = true);
    }

    /// Says that the client reads again.
    pub fn go_on(&self) {
        self.change(|state| state.is_deaf = false);
    }

    /// Says that a request is answered. Behind the last one, the connection waits for its client.
    pub fn wait(&self) {
        self.change(|state| {
            state.is_new = false;
            state.under_way = state.under_way.saturating_sub(1);
        });
    }

    /// Says that the client has shown a credential in force. A member of a household counts as
    /// the household from then on.
    pub fn recognise(&self, household: Option<&str>) {
        let mut table = self.connections.table();
        if let Some(household) = household {
            table.set_client(self.number, ClientKey::Household(household.into()));
        }
        table.change(self.number, |state| state.is_recognised = true);
    }

    /// Says that the connection holds more octets of a request or of an answer. May close others
    /// that hold some and wait.
    pub fn hold(&self, octets: usize) {
        let closed = self.connections.table().hold(self.number, octets);
        for holder in &closed {
            self.connections.note(holder);
        }
    }

    /// Says that the connection holds none any more.
    pub fn release(&self) {
        self.connections.table().release(self.number);
    }

    fn change(&self, change: impl FnOnce(&mut ConnectionState)) {
        self.connections.table().change(self.number, change);
    }

    /// How long the connection may wait for its next query.
    #[must_use]
    pub fn idle_max(&self) -> Duration {
        match self.connections.table().is_half_full() {
            false => IDLE_MAX,
            true => IDLE_UNDER_PRESSURE,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.table().end(self.number);
    }
}

#[cfg(test)]
mod tests;
