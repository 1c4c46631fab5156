//! The table of a listener's connections: who holds which, in which state, and which one gives way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use foldhash::{HashMap, HashMapExt};
use tokio::sync::Notify;

use crate::{admission::ClientKey, shares::Groups};

/// How many connections that may give way are looked at for one of a larger client.
const LOOKED_AT_MAX: usize = 64;
/// Connections of one client that is recognised which strangers do not take: the devices of a
/// family, or a portal's pool.
const KEPT_OF_RECOGNISED: usize = 16;
/// The turns of clients that are recognised are behind those of all strangers.
const RECOGNISED: u64 = 1 << 63;

/// The connections that are open.
pub struct ConnectionTable {
    max: usize,
    /// Whether a request protects the connection of a stranger.
    protects_strangers: bool,
    holders: Groups<ConnectionHolder>,
    places: HashMap<u64, Place>,
    /// Connections that may give way, by turn: the one that has waited longest is the first.
    yielding: BTreeMap<u64, u64>,
    /// Their turns, by holder.
    turns: Groups<ConnectionHolder>,
    /// Connections of which nothing is known yet.
    new: usize,
    /// The next number of a connection or of a turn.
    next: u64,
    /// Octets of requests and answers in memory, how many there may be, and the turns of the
    /// connections that hold them and may give way.
    octets: usize,
    octets_max: usize,
    laden: BTreeSet<u64>,
}

struct Place {
    holder: ConnectionHolder,
    closing: Arc<Notify>,
    state: ConnectionState,
    /// The connection's turn among those that may give way.
    turn: Option<u64>,
    octets: usize,
}

/// What is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionState {
    /// The listener has not read from it, or has not found out whether a request is whole.
    pub is_new: bool,
    /// Requests that are whole and not answered.
    pub under_way: usize,
    /// The client does not read.
    pub is_deaf: bool,
    /// The client has shown a credential that is in force, or the listener knows none.
    pub is_recognised: bool,
}

impl ConnectionState {
    /// Whether the connection may be closed for another one.
    fn gives_way(self) -> bool {
        !self.is_new && (self.under_way == 0 || self.is_deaf || !self.is_recognised)
    }
}

/// Who holds connections.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConnectionHolder {
    Client(ClientKey),
    /// One connection with requests of many clients, by its number.
    Proxied(u64),
}

impl ConnectionTable {
    pub fn new(max: usize) -> Self {
        Self {
            max,
            protects_strangers: true,
            holders: Groups::new(),
            places: HashMap::new(),
            yielding: BTreeMap::new(),
            turns: Groups::new(),
            new: 0,
            next: 0,
            octets: 0,
            octets_max: usize::MAX,
            laden: BTreeSet::new(),
        }
    }

    /// Requests protect the connections of recognised clients alone, and all connections together
    /// hold so many octets.
    pub fn recognise_clients(&mut self, octets_max: usize) {
        (self.protects_strangers, self.octets_max) = (false, octets_max);
    }

    /// The next number of a connection or of a turn.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn is_full(&self) -> bool {
        self.places.len() >= self.max
    }

    pub fn is_half_full(&self) -> bool {
        self.places.len() * 2 > self.max
    }

    /// Whether there are connections of which nothing is known yet.
    pub fn has_new(&self) -> bool {
        self.new > 0
    }

    pub fn insert(&mut self, number: u64, holder: ConnectionHolder, closing: Arc<Notify>) {
        self.holders.add(&holder, number);
        let state = ConnectionState {
            is_new: true,
            under_way: 0,
            is_deaf: false,
            is_recognised: self.protects_strangers
                || matches!(holder, ConnectionHolder::Proxied(_)),
        };
        let place = Place {
            holder,
            closing,
            state,
            turn: None,
            octets: 0,
        };
        self.places.insert(number, place);
        self.new += 1;
    }

    /// Closes a connection for a new one of this holder, which stays no larger than the other.
    /// Returns whose it was.
    pub fn close_for(&mut self, holder: &ConnectionHolder) -> Option<ConnectionHolder> {
        let own = self.holders.size(holder);
        let (most, largest) = self.holders.largest()?;
        let is_smaller = own + 1 < most;
        let is_taken = |turn: &u64| *turn < RECOGNISED || most > KEPT_OF_RECOGNISED;
        let of_largest = || self.turns.oldest(largest).filter(|_| is_smaller);
        let closed = of_largest()
            .filter(is_taken)
            .or_else(|| self.longest_waiting(holder, own))
            .or_else(of_largest)
            .map(|turn| self.yielding[&turn])
            .or_else(|| self.holders.oldest(largest).filter(|_| is_smaller))?;
        self.close(closed)
    }

    /// The turn of the connection that has waited longest, among those of this holder and of holders
    /// with more than it has.
    fn longest_waiting(&self, holder: &ConnectionHolder, own: usize) -> Option<u64> {
        let is_larger = |number| self.holders.size(&self.places[number].holder) > own;
        let mut first = self.yielding.iter().take(LOOKED_AT_MAX);
        let of_larger = first.find(|(_, number)| is_larger(*number));
        let of_larger = of_larger.map(|(turn, _)| *turn);
        // The least, and either if only one is there.
        of_larger.into_iter().chain(self.turns.oldest(holder)).min()
    }

    fn close(&mut self, number: u64) -> Option<ConnectionHolder> {
        let place = self.remove(number)?;
        place.closing.notify_one();
        Some(place.holder)
    }

    /// Gives a connection its turn, or takes it out of those that may give way.
    fn set_turn(&mut self, number: u64, turn: Option<u64>) {
        let Some(place) = self.places.get_mut(&number) else {
            return;
        };
        if place.turn == turn {
            return;
        }
        if let Some(before) = std::mem::replace(&mut place.turn, turn) {
            self.yielding.remove(&before);
            self.laden.remove(&before);
            self.turns.remove(&place.holder, before);
        }
        if let Some(turn) = turn {
            self.yielding.insert(turn, number);
            self.turns.add(&place.holder, turn);
            if place.octets > 0 {
                self.laden.insert(turn);
            }
        }
    }

    fn remove(&mut self, number: u64) -> Option<Place> {
        self.set_turn(number, None);
        let place = self.places.remove(&number)?;
        self.new -= usize::from(place.state.is_new);
        self.octets -= place.octets;
        self.holders.remove(&place.holder, number);
        Some(place)
    }

    /// Closes a connection that its client or its listener ends.
    pub fn end(&mut self, number: u64) {
        self.remove(number);
    }

    /// Changes the state of a connection. One that must close has no place any more.
    pub fn change(&mut self, number: u64, change: impl FnOnce(&mut ConnectionState)) {
        let next = self.number();
        let Some(place) = self.places.get_mut(&number) else {
            return;
        };
        let before = place.state;
        change(&mut place.state);
        let after = place.state;
        if before == after {
            return;
        }
        self.new -= usize::from(before.is_new && !after.is_new);
        let since = place.turn.unwrap_or(next) & !RECOGNISED;
        let class = [0, RECOGNISED][usize::from(after.is_recognised)];
        let turn = after.gives_way().then_some(since | class);
        self.set_turn(number, turn);
    }

    /// Counts a connection for the client that it turned out to be of. A proxy's is many clients'.
    pub fn set_client(&mut self, number: u64, client: ClientKey) {
        let holder = ConnectionHolder::Client(client);
        let Some(place) = self.places.get_mut(&number) else {
            return;
        };
        if place.holder == holder || matches!(place.holder, ConnectionHolder::Proxied(_)) {
            return;
        }
        let before = std::mem::replace(&mut place.holder, holder.clone());
        let turn = place.turn;
        self.holders.remove(&before, number);
        self.holders.add(&holder, number);
        if let Some(turn) = turn {
            self.turns.remove(&before, turn);
            self.turns.add(&holder, turn);
        }
    }

    /// Says that a connection holds more octets of a request or of an answer. While all hold too
    /// many, closes the one of the others that has waited longest of those that hold some. Returns
    /// whose they were.
    pub fn hold(&mut self, number: u64, octets: usize) -> Vec<ConnectionHolder> {
        let Some(place) = self.places.get_mut(&number) else {
            return Vec::new();
        };
        self.octets += octets;
        place.octets += octets;
        if let Some(turn) = place.turn.filter(|_| place.octets > 0) {
            self.laden.insert(turn);
        }
        let mut closed = Vec::new();
        while self.octets > self.octets_max {
            let mut laden = self.laden.iter().map(|turn| self.yielding[turn]);
            let Some(other) = laden.find(|other| *other != number) else {
                break;
            };
            closed.extend(self.close(other));
        }
        closed
    }

    /// Says that a connection holds no octets any more.
    pub fn release(&mut self, number: u64) {
        let Some(place) = self.places.get_mut(&number) else {
            return;
        };
        self.octets -= std::mem::take(&mut place.octets);
        if let Some(turn) = place.turn {
            self.laden.remove(&turn);
        }
    }
}
