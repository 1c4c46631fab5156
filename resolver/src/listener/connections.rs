//! The connections of one listener, of DNS or of the API, shared fairly by client. When all are
//! taken, the client with the most loses its oldest one to a client with fewer. If no client has
//! fewer, a new connection may replace one that waits for its client's next octets: an attack from
//! more addresses than there are places would otherwise keep all others out. Under pressure, idle
//! connections are closed sooner (RFC 7766 section 6.2.3).

use std::{
    collections::BTreeMap,
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

/// How many waiting connections are looked at for one that may be replaced.
const LOOKED_AT_MAX: usize = 64;

/// The connections that are open.
#[derive(Clone)]
pub struct Connections(Arc<Mutex<Open>>);

struct Open {
    max: usize,
    holders: Groups<Holder>,
    places: HashMap<u64, Place>,
    /// Connections that wait for their client, by turn: the one that waits longest is the first.
    waiting: BTreeMap<u64, u64>,
    /// The next number of a connection or of a turn.
    next: u64,
}

struct Place {
    holder: Holder,
    closing: Arc<Notify>,
    /// Its turn while it waits.
    turn: Option<u64>,
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
            places: HashMap::new(),
            waiting: BTreeMap::new(),
            next: 0,
        })))
    }

    /// Opens a connection of a client. None if all are taken, no client has more than this one, and
    /// none may be replaced.
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
        let number = open.number();
        let holder = holder(number);
        if open.places.len() >= open.max {
            open.close_for(&holder)?;
        }
        let closing = Arc::<Notify>::default();
        open.holders.add(&holder, number);
        let place = Place {
            holder,
            closing: Arc::clone(&closing),
            turn: None,
        };
        open.places.insert(number, place);
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
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Closes the oldest connection of the holder with the most, if this one stays smaller;
    /// otherwise one that waits, of a holder that is not smaller.
    fn close_for(&mut self, holder: &Holder) -> Option<()> {
        let own = self.holders.size(holder);
        let (most, largest) = self.holders.largest()?;
        let closed = if own + 1 < most {
            self.holders.oldest(&largest.clone())?
        } else {
            let may_be_replaced = |number: &&u64| {
                let of = &self.places[*number].holder;
                of == holder || self.holders.size(of) > own
            };
            let mut waiting = self.waiting.values().take(LOOKED_AT_MAX);
            *waiting.find(may_be_replaced)?
        };
        self.remove(closed)?.notify_one();
        Some(())
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Notify>> {
        let place = self.places.remove(&number)?;
        self.holders.remove(&place.holder, number);
        if let Some(turn) = place.turn {
            self.waiting.remove(&turn);
        }
        Some(place.closing)
    }

    /// Gives a connection a turn among the waiting ones, or takes it.
    fn set_waiting(&mut self, number: u64, is_waiting: bool) {
        let turn = is_waiting.then(|| self.number());
        // A connection that must close has no place any more.
        let Some(place) = self.places.get_mut(&number) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut place.turn, turn) {
            self.waiting.remove(&before);
        }
        if let Some(turn) = turn {
            self.waiting.insert(turn, number);
        }
    }
}

impl Connection {
    /// Waits until the connection must make room.
    pub async fn closing(&self) {
        self.closing.notified().await;
    }

    /// Says that the connection waits for its client: for a request, or for the rest of one.
    pub fn wait(&self) {
        self.connections.open_ones().set_waiting(self.number, true);
    }

    /// Says that the client waits for an answer.
    pub fn work(&self) {
        self.connections.open_ones().set_waiting(self.number, false);
    }

    /// How long the connection may wait for its next query.
    #[must_use]
    pub fn idle_max(&self) -> Duration {
        let open = self.connections.open_ones();
        if open.places.len() * 2 <= open.max {
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
    async fn of_equal_clients_the_one_that_waits_longest_gives_way() {
        let connections = Connections::new(3);
        let open = |last| connections.open(address(last));
        let held: Vec<Connection> = (1..=3).map(|last| open(last).expect("room")).collect();
        held.iter().for_each(Connection::wait);
        held[0].work();
        let fourth = open(4).expect("the second gives way");
        held[1].closing().await;
        let fifth = open(5).expect("the third gives way");
        held[2].closing().await;
        assert!(open(6).is_none(), "none of the others waits");
        held[0].wait();
        let sixth = open(6).expect("the first gives way");
        held[0].closing().await;
        sixth.wait();
        let again = open(6).expect("it replaces its own");
        sixth.closing().await;
        assert!(open(7).is_none());
        drop((fourth, fifth, again));
    }

    #[tokio::test]
    async fn a_larger_client_replaces_no_waiting_connection_of_a_smaller_one() {
        let connections = Connections::new(3);
        let small = connections.open(address(1)).expect("room");
        small.wait();
        let large: Vec<Connection> = (0..2)
            .map(|_| connections.open(address(2)).expect("room"))
            .collect();
        assert!(connections.open(address(2)).is_none());
        large[1].wait();
        assert!(connections.open(address(2)).is_some(), "its own");
        large[1].closing().await;
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
