//! The connections of one listener, of DNS or of the API, shared fairly by client. When all are
//! taken, the client with the most loses its oldest one to a client with fewer. Under pressure, idle
//! connections are closed sooner (RFC 7766 section 6.2.3).

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use foldhash::{HashMap, HashMapExt};
use tokio::sync::Notify;

use crate::{admission::ClientKey, shares::Groups};

/// The longest time between two queries of a connection while half of all connections are free.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// The same while fewer are free: time for a client's next query on a slow line.
const IDLE_UNDER_PRESSURE: Duration = Duration::from_secs(2);

/// The connections that are open.
#[derive(Clone)]
pub struct Connections(Arc<Mutex<Open>>);

struct Open {
    max: usize,
    holders: Groups<Holder>,
    closing: HashMap<u64, (Holder, Arc<Notify>)>,
    next: u64,
}

/// Who holds connections.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Holder {
    Client(ClientKey),
    /// One connection with requests of many clients, by its number.
    Proxied(u64),
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
        Self(Arc::new(Mutex::new(Open {
            max,
            holders: Groups::new(),
            closing: HashMap::new(),
            next: 0,
        })))
    }

    /// Opens a connection of a client. None if all are taken and no client has more than this one.
    #[must_use]
    pub fn open(&self, peer: IpAddr) -> Option<Connection> {
        self.hold(|_| Holder::Client(ClientKey::of_address(peer)))
    }

    /// Opens a connection of a proxy, which carries requests of many clients. It counts alone, so
    /// that the proxy's other connections do not close it.
    #[must_use]
    pub fn open_for_many(&self) -> Option<Connection> {
        self.hold(Holder::Proxied)
    }

    fn hold(&self, holder: impl FnOnce(u64) -> Holder) -> Option<Connection> {
        let mut open = self.open_ones();
        let number = open.next;
        let holder = holder(number);
        if open.closing.len() >= open.max {
            open.close_for(&holder)?;
        }
        open.next += 1;
        let closing = Arc::<Notify>::default();
        open.holders.add(&holder, number);
        open.closing.insert(number, (holder, Arc::clone(&closing)));
        drop(open);
        Some(Connection {
            connections: self.clone(),
            number,
            closing,
        })
    }

    fn open_ones(&self) -> MutexGuard<'_, Open> {
        self.0
            .lock()
            .expect("no thread panics while it holds the lock")
    }
}

impl Open {
    /// Closes the oldest connection of the holder with the most, if this one stays smaller.
    fn close_for(&mut self, holder: &Holder) -> Option<()> {
        let (most, largest) = self.holders.largest()?;
        if self.holders.size(holder) + 1 >= most {
            return None;
        }
        let oldest = self.holders.oldest(&largest.clone())?;
        self.remove(oldest)?.notify_one();
        Some(())
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Notify>> {
        let (holder, closing) = self.closing.remove(&number)?;
        self.holders.remove(&holder, number);
        Some(closing)
    }
}

impl Connection {
    /// Waits until the connection must make room.
    pub async fn closing(&self) {
        self.closing.notified().await;
    }

    /// How long the connection may wait for its next query.
    #[must_use]
    pub fn idle_max(&self) -> Duration {
        let open = self.connections.open_ones();
        if open.closing.len() * 2 <= open.max {
            IDLE_MAX
        } else {
            IDLE_UNDER_PRESSURE
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.open_ones().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[tokio::test]
    async fn a_client_with_all_connections_loses_its_oldest_to_another() {
        let connections = Connections::new(4);
        let held: Vec<Connection> = (0..4)
            .map(|_| connections.open(address(1)).expect("room"))
            .collect();
        assert!(connections.open(address(1)).is_none(), "it has all");
        let other = connections.open(address(2)).expect("its share");
        held[0].closing().await;
        assert!(
            connections.open(address(1)).is_none(),
            "none from the other"
        );
        drop((held, other));
        assert!(connections.open(address(1)).is_some());
    }

    #[tokio::test]
    async fn connections_of_a_proxy_do_not_close_each_other() {
        let connections = Connections::new(4);
        let held: Vec<Connection> = (0..3)
            .map(|_| connections.open_for_many().expect("room"))
            .collect();
        let last = connections.open(address(1)).expect("room");
        assert!(connections.open_for_many().is_none(), "one each");
        assert!(connections.open(address(2)).is_none(), "one each");
        drop((held, last));
        let client: Vec<Connection> = (0..4)
            .map(|_| connections.open(address(1)).expect("room"))
            .collect();
        assert!(connections.open_for_many().is_some());
        client[0].closing().await;
    }

    #[test]
    fn idle_connections_are_closed_sooner_when_few_are_left() {
        let connections = Connections::new(4);
        let held: Vec<Connection> = (1..=2)
            .map(|client| connections.open(address(client)).expect("room"))
            .collect();
        assert_eq!(held[0].idle_max(), IDLE_MAX);
        let _third = connections.open(address(3));
        assert_eq!(held[0].idle_max(), IDLE_UNDER_PRESSURE);
    }
}
