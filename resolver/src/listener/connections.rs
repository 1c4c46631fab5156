//! The connections of one listener, of DNS or of the API, shared fairly by client. When all are
//! taken, a new connection replaces one that waits for its client's octets:
//!
//! 1. of the client with the most, if the new one has fewer: the one that waits longest;
//! 2. otherwise of any client that has no fewer: the one that waits longest. An attack from more
//!    addresses than there are places would otherwise keep all others out;
//! 3. if none waits, the client with the most loses its oldest one to a client with fewer. Among
//!    equal clients, a connection with a request under way is never closed.
//!
//! A connection waits from the first read that finds nothing, and while its client does not read
//! what it is sent. One whose first octets are in the kernel does not wait, however many connections
//! are accepted before its task runs. Under pressure, idle connections are closed sooner (RFC 7766
//! section 6.2.3).

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use foldhash::{HashMap, HashMapExt};
use tokio::{sync::Notify, task::yield_now};

use crate::{
    admission::{ClientKey, LimitCause, Limited, LimitedGroup, LimitedGroups},
    shares::Groups,
    time::Clock,
};

/// The longest time between two queries of a connection while half of all connections are free.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// The same while fewer are free: time for a client's next query on a slow line.
const IDLE_UNDER_PRESSURE: Duration = Duration::from_secs(2);

/// How many waiting connections are looked at for one that may be replaced.
const LOOKED_AT_MAX: usize = 64;

/// The connections that are open.
#[derive(Clone)]
pub struct Connections {
    open: Arc<Mutex<Open>>,
    limited: Option<Arc<LimitedConnections>>,
}

/// Clients whose connections were refused, or closed for others, in the last minute.
pub struct LimitedConnections {
    groups: Mutex<LimitedGroups>,
    clock: Arc<dyn Clock>,
}

impl LimitedConnections {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            groups: Mutex::default(),
            clock,
        }
    }

    fn note(&self, holder: &Holder) {
        if let Holder::Client(client) = holder {
            let group = LimitedGroup::Client(client.clone());
            let now = self.clock.elapsed();
            self.groups().note(group, LimitCause::Connections, now);
        }
    }

    /// Longest first.
    pub(crate) fn current(&self) -> Vec<(LimitedGroup, LimitCause, Limited)> {
        self.groups().current(self.clock.elapsed())
    }

    fn groups(&self) -> MutexGuard<'_, LimitedGroups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Open {
    max: usize,
    holders: Groups<Holder>,
    places: HashMap<u64, Place>,
    /// Connections that wait for their client, by turn: the one that waits longest is the first.
    waiting: BTreeMap<u64, u64>,
    /// Their turns, by holder.
    turns: Groups<Holder>,
    /// Connections of which nothing is known yet.
    new: usize,
    /// The next number of a connection or of a turn.
    next: u64,
}

struct Place {
    holder: Holder,
    closing: Arc<Notify>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The listener has not read from it, or has not found out whether a request is whole.
    New,
    /// The client owes octets. The connection's turn among the waiting ones.
    Waiting(u64),
    /// The number of requests under way.
    Working(usize),
    /// Requests are under way, and the client does not read. The number of requests, and the
    /// connection's turn among the waiting ones.
    Stalled(usize, u64),
}

impl State {
    /// The connection's turn among those that wait for their client.
    fn turn(self) -> Option<u64> {
        match self {
            Self::Waiting(turn) | Self::Stalled(_, turn) => Some(turn),
            Self::New | Self::Working(_) => None,
        }
    }
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
        let open = Arc::new(Mutex::new(Open {
            max,
            holders: Groups::new(),
            places: HashMap::new(),
            waiting: BTreeMap::new(),
            turns: Groups::new(),
            new: 0,
            next: 0,
        }));
        Self {
            open,
            limited: None,
        }
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
        self.hold(|_| Holder::Client(client.clone()))
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
            if opened.is_some() || self.open_ones().new == 0 {
                return opened;
            }
        }
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
            let closed = open.close_for(&holder);
            if let Some(limited) = &self.limited {
                limited.note(closed.as_ref().unwrap_or(&holder));
            }
            closed?;
        }
        let closing = Arc::<Notify>::default();
        open.holders.add(&holder, number);
        let place = Place {
            holder,
            closing: Arc::clone(&closing),
            state: State::New,
        };
        open.places.insert(number, place);
        open.new += 1;
        drop(open);
        Some(Connection {
            connections: self.clone(),
            number,
            closing,
        })
    }

    fn open_ones(&self) -> MutexGuard<'_, Open> {
        self.open
            .lock()
            .expect("no thread panics while it holds the lock")
    }
}

impl Open {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Closes a connection for a new one of this holder, which stays no larger than the other.
    /// Returns whose it was.
    fn close_for(&mut self, holder: &Holder) -> Option<Holder> {
        let own = self.holders.size(holder);
        let (most, largest) = self.holders.largest()?;
        let is_smaller = own + 1 < most;
        let of_largest = || self.turns.oldest(largest).filter(|_| is_smaller);
        let closed = of_largest()
            .or_else(|| self.longest_waiting(holder, own))
            .map(|turn| self.waiting[&turn])
            .or_else(|| self.holders.oldest(largest).filter(|_| is_smaller))?;
        let place = self.remove(closed)?;
        place.closing.notify_one();
        Some(place.holder)
    }

    /// The turn of the connection that waits longest, among those of this holder and of holders
    /// with more than it has.
    fn longest_waiting(&self, holder: &Holder, own: usize) -> Option<u64> {
        let is_larger = |number| self.holders.size(&self.places[number].holder) > own;
        let mut first = self.waiting.iter().take(LOOKED_AT_MAX);
        let of_larger = first.find(|(_, number)| is_larger(*number));
        let of_larger = of_larger.map(|(turn, _)| *turn);
        // The least, and either if only one is there.
        of_larger.into_iter().chain(self.turns.oldest(holder)).min()
    }

    /// Adds a connection to the waiting ones, or removes it from them.
    fn set_turn(&mut self, number: u64, turn: u64, waits: bool) {
        let holder = &self.places[&number].holder;
        if waits {
            self.waiting.insert(turn, number);
            self.turns.add(holder, turn);
        } else {
            self.waiting.remove(&turn);
            self.turns.remove(holder, turn);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Place> {
        let state = self.places.get(&number)?.state;
        self.new -= usize::from(state == State::New);
        if let Some(turn) = state.turn() {
            self.set_turn(number, turn, false);
        }
        let place = self.places.remove(&number)?;
        self.holders.remove(&place.holder, number);
        Some(place)
    }

    /// Changes the state of a connection. One that must close has no place any more.
    fn change(&mut self, number: u64, change: impl FnOnce(State, u64) -> State) {
        let turn = self.number();
        let Some(place) = self.places.get_mut(&number) else {
            return;
        };
        let before = place.state;
        let after = change(before, turn);
        place.state = after;
        if before == after {
            return;
        }
        self.new -= usize::from(before == State::New);
        if before.turn() == after.turn() {
            return;
        }
        if let Some(turn) = before.turn() {
            self.set_turn(number, turn, false);
        }
        if let Some(turn) = after.turn() {
            self.set_turn(number, turn, true);
        }
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
        self.change(|state, turn| match state {
            State::New => State::Waiting(turn),
            other => other,
        });
    }

    /// Says that a request is whole: its client waits for an answer.
    pub fn work(&self) {
        self.change(|state, _| match state {
            State::New | State::Waiting(_) => State::Working(1),
            State::Working(requests) => State::Working(requests + 1),
            State::Stalled(requests, turn) => State::Stalled(requests + 1, turn),
        });
    }

    /// Says that a write made no progress: the client does not read. Until one does, the connection
    /// waits, whatever is under way.
    pub fn stall(&self) {
        self.change(|state, turn| match state {
            State::Working(requests) => State::Stalled(requests, turn),
            other => other,
        });
    }

    /// Says that the client reads again.
    pub fn go_on(&self) {
        self.change(|state, _| match state {
            State::Stalled(requests, _) => State::Working(requests),
            other => other,
        });
    }

    /// Says that a request is answered. Behind the last one, the connection waits for its client.
    pub fn wait(&self) {
        self.change(|state, turn| match state {
            State::New | State::Working(0 | 1) => State::Waiting(turn),
            State::Working(requests) => State::Working(requests - 1),
            State::Stalled(0 | 1, turn) => State::Waiting(turn),
            State::Stalled(requests, turn) => State::Stalled(requests - 1, turn),
            waiting @ State::Waiting(_) => waiting,
        });
    }

    fn change(&self, change: impl FnOnce(State, u64) -> State) {
        self.connections.open_ones().change(self.number, change);
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
    use std::io::Write as _;

    use futures_util::FutureExt as _;
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

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
        held.iter().for_each(Connection::find_nothing);
        held[0].work();
        let fourth = open(4).expect("the second gives way");
        held[1].closing().await;
        let fifth = open(5).expect("the third gives way");
        held[2].closing().await;
        assert!(open(6).is_none(), "none of the others waits");
        held[0].wait();
        let sixth = open(6).expect("the first gives way");
        held[0].closing().await;
        sixth.find_nothing();
        let again = open(6).expect("it replaces its own");
        sixth.closing().await;
        assert!(open(7).is_none());
        drop((fourth, fifth, again));
    }

    #[tokio::test]
    async fn of_a_larger_client_the_one_that_waits_longest_gives_way() {
        let connections = Connections::new(3);
        let open = |last| connections.open(address(last));
        let held: Vec<Connection> = (0..3).map(|_| open(1).expect("room")).collect();
        held[0].work();
        held[2].find_nothing();
        held[1].find_nothing();
        let other = open(2).expect("its share");
        held[2].closing().await;
        // Two of the larger one against one: the equal waiting one gives way, not the working one.
        other.find_nothing();
        held[1].work();
        let third = open(3).expect("the other one gives way");
        other.closing().await;
        third.work();
        let fourth = open(4).expect("none waits, so that shares decide");
        held[0].closing().await;
        fourth.work();
        assert!(open(5).is_none(), "equal clients, all with a request");
    }

    #[tokio::test]
    async fn a_connection_that_was_not_read_yet_is_not_replaced() {
        let connections = Connections::new(2);
        let open = |last| connections.open(address(last));
        let silent = open(1).expect("room");
        let new = open(2).expect("room");
        silent.find_nothing();
        let third = open(3).expect("the silent one gives way");
        silent.closing().await;
        assert!(open(4).is_none(), "both are new");
        new.find_nothing();
        let _fourth = open(4).expect("the second is silent");
        new.closing().await;
        drop(third);
    }

    #[tokio::test]
    async fn a_full_listener_accepts_again_when_new_connections_are_read() {
        let connections = Connections::new(1);
        let new = connections.open(address(1)).expect("room");
        let reads = async {
            for _ in 0..10 {
                yield_now().await;
            }
            new.find_nothing();
        };
        let second = connections.open_after(|connections| connections.open(address(2)));
        let (second, ()) = tokio::join!(second, reads);
        let second = second.expect("the first is silent");
        second.work();
        let third = connections.open_after(|connections| connections.open(address(3)));
        assert!(third.await.is_none(), "the second works");
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_gives_way_whatever_is_under_way() {
        let connections = Connections::new(2);
        let open = |last| connections.open(address(last));
        let deaf = open(1).expect("room");
        let other = open(2).expect("room");
        for connection in [&deaf, &deaf, &other] {
            connection.work();
        }
        assert!(open(3).is_none(), "both work");
        deaf.stall();
        deaf.go_on();
        assert!(open(3).is_none(), "it has read");
        deaf.stall();
        deaf.work();
        deaf.wait();
        let third = open(3).expect("the deaf one gives way");
        deaf.closing().await;
        third.work();
        other.stall();
        other.wait();
        other.find_nothing();
        let _fourth = open(4).expect("answered, and not read");
        other.closing().await;
    }

    #[tokio::test]
    async fn who_is_refused_or_closed_is_noted() {
        let limited = Arc::new(LimitedConnections::new(Arc::new(
            crate::time::SystemClock::start(),
        )));
        let connections = Connections::new(2).noted_in(Arc::clone(&limited));
        let held: Vec<Connection> = (0..2)
            .map(|_| connections.open(address(1)).expect("room"))
            .collect();
        assert!(limited.current().is_empty());
        held.iter().for_each(Connection::work);
        assert!(connections.open(address(1)).is_none());
        let _other = connections.open(address(2)).expect("its share");
        let noted = limited.current();
        let [(group, cause, limited)] = &noted[..] else {
            panic!("{noted:?}");
        };
        assert_eq!(group.to_string(), "client 192.0.2.1");
        assert_eq!((*cause, limited.queries), (LimitCause::Connections, 2));
    }

    #[tokio::test]
    async fn octets_that_make_no_request_whole_do_not_prolong_the_wait() {
        let connections = Connections::new(2);
        let open = |last| connections.open(address(last));
        let slow = open(1).expect("room");
        let other = open(2).expect("room");
        slow.find_nothing();
        other.find_nothing();
        slow.find_nothing();
        let _third = open(3).expect("the slow one gives way");
        slow.closing().await;
    }

    #[tokio::test]
    async fn among_many_equal_clients_a_client_replaces_its_own() {
        let connections = Connections::new(100);
        let open = |last| connections.open(address(last)).expect("room");
        let held: Vec<Connection> = (1..=100).map(open).collect();
        held.iter().for_each(Connection::find_nothing);
        let next = connections.open(address(100)).expect("its own gives way");
        held[99].closing().await;
        next.work();
        assert!(connections.open(address(100)).is_none(), "its share");
    }

    #[tokio::test]
    async fn a_connection_works_until_its_last_request_is_answered() {
        let connections = Connections::new(1);
        let held = connections.open(address(1)).expect("room");
        held.work();
        held.work();
        held.wait();
        held.find_nothing();
        assert!(connections.open(address(2)).is_none(), "one is under way");
        held.wait();
        assert!(connections.open(address(2)).is_some());
        held.closing().await;
    }

    /// On this rest the states: the runtime believes that an accepted connection is readable until a
    /// read found nothing in the kernel.
    #[tokio::test]
    async fn the_first_read_of_an_accepted_connection_asks_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        for octets in [&b""[..], b"G"] {
            let mut client = std::net::TcpStream::connect(to).unwrap();
            client.write_all(octets).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0];
            let read = std::pin::pin!(stream.read(&mut buffer)).now_or_never();
            assert_eq!(read.is_some(), !octets.is_empty());
        }
    }

    #[tokio::test]
    async fn a_larger_client_replaces_no_waiting_connection_of_a_smaller_one() {
        let connections = Connections::new(3);
        let small = connections.open(address(1)).expect("room");
        small.find_nothing();
        let large: Vec<Connection> = (0..2)
            .map(|_| connections.open(address(2)).expect("room"))
            .collect();
        assert!(connections.open(address(2)).is_none());
        large[1].find_nothing();
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
