//! Turns: start-time fair queueing (Goyal, Vin and Cheng 1996) by client and by zone. Each start
//! moves the next turn of its client and of its zone back by one. The queue serves the lowest turn
//! first, so that a client or zone with many starts waits for those with few.

use std::{cmp::Reverse, collections::BinaryHeap, hash::Hash};

use foldhash::HashMap;
use policy::name::Name;

use super::client_key::ClientKey;

/// Clients, and zones, whose next turn is remembered. At this number all are forgotten: what waits
/// keeps its turn, and the memory stays bounded.
const REMEMBERED_MAX: usize = 16_384;

/// The turns of clients and zones, and the places that wait for theirs. Only what waits is charged:
/// while nothing waits, nothing is remembered.
#[derive(Default)]
pub(super) struct Turns {
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    clients: HashMap<ClientKey, u64>,
    zones: HashMap<Name, u64>,
    /// The turn that was served last.
    present: u64,
}

impl Turns {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Lets a place wait for the next turn of its client and its zone, which moves back by `cost`.
    pub(super) fn push(&mut self, client: Option<&ClientKey>, zone: &Name, place: u64, cost: u64) {
        let of_client = client.and_then(|client| self.clients.get(client));
        let of_zone = self.zones.get(zone);
        let turn = [of_client, of_zone]
            .into_iter()
            .flatten()
            .fold(self.present, |turn, next| turn.max(*next));
        if let Some(client) = client {
            remember(&mut self.clients, client, turn + cost);
        }
        remember(&mut self.zones, zone, turn + cost);
        self.queue.push(Reverse((turn, place)));
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Keeps the turns of these places only.
    pub(super) fn keep(&mut self, is_kept: impl Fn(u64) -> bool) {
        self.queue.retain(|Reverse((_, place))| is_kept(*place));
    }

    /// The place whose turn is next.
    pub(super) fn pop(&mut self) -> Option<u64> {
        let Reverse((turn, place)) = self.queue.pop()?;
        self.present = self.present.max(turn);
        if self.queue.is_empty() {
            self.clients.clear();
            self.zones.clear();
        }
        Some(place)
    }
}

fn remember<K: Clone + Eq + Hash>(next: &mut HashMap<K, u64>, key: &K, turn: u64) {
    if next.len() >= REMEMBERED_MAX {
        next.clear();
    }
    next.insert(key.clone(), turn);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_when_nothing_waits() {
        let mut turns = Turns::default();
        for number in 0..2 * REMEMBERED_MAX as u32 {
            let client = ClientKey::of_address(Ipv4Addr::from_bits(number).into());
            let zone = Name::parse(&format!("z{number}.test")).unwrap();
            turns.push(Some(&client), &zone, number.into(), 1);
            assert!(turns.clients.len() <= REMEMBERED_MAX && turns.zones.len() <= REMEMBERED_MAX);
        }
        let mut served = 0;
        while turns.pop().is_some() {
            served += 1;
        }
        assert_eq!(served, 2 * REMEMBERED_MAX);
        assert!(turns.clients.is_empty() && turns.zones.is_empty());
    }
}
