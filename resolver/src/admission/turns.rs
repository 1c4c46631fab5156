//! Turns: start-time fair queueing (Goyal, Vin and Cheng 1996) by client and by zone. Each start
//! moves the next turn of its client and of its zone back by one. The queue serves the lowest turn
//! first, so that a client or zone with many starts waits for those with few.

use std::{cmp::Reverse, collections::BinaryHeap};

use foldhash::{HashMap, HashMapExt};
use policy::name::Name;

use super::client_key::ClientKey;

/// Clients, and zones, whose next turn is remembered. Those that are not behind the present turn are
/// forgotten at this number.
const REMEMBERED_MAX: usize = 16_384;

/// The turns of clients and zones, and the places that wait for theirs.
pub(super) struct Turns {
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    clients: HashMap<ClientKey, u64>,
    zones: HashMap<Name, u64>,
    /// The turn that was served last.
    present: u64,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            queue: BinaryHeap::new(),
            clients: HashMap::new(),
            zones: HashMap::new(),
            present: 0,
        }
    }
}

impl Turns {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The turn of one more start of a client in a zone.
    pub(super) fn charge(&mut self, client: Option<&ClientKey>, zone: &Name) -> u64 {
        let present = self.present;
        let of_client = client.and_then(|client| self.clients.get(client));
        let of_zone = self.zones.get(zone);
        let turn = present
            .max(of_client.copied().unwrap_or(0))
            .max(of_zone.copied().unwrap_or(0));
        if let Some(client) = client {
            if self.clients.len() >= REMEMBERED_MAX {
                self.clients.retain(|_, next| *next > present);
            }
            self.clients.insert(client.clone(), turn + 1);
        }
        if self.zones.len() >= REMEMBERED_MAX {
            self.zones.retain(|_, next| *next > present);
        }
        self.zones.insert(zone.clone(), turn + 1);
        turn
    }

    /// A start that did not wait.
    pub(super) fn served(&mut self, turn: u64) {
        self.present = self.present.max(turn);
    }

    pub(super) fn push(&mut self, turn: u64, place: u64) {
        self.queue.push(Reverse((turn, place)));
    }

    /// The place whose turn is next.
    pub(super) fn pop(&mut self) -> Option<u64> {
        let Reverse((turn, place)) = self.queue.pop()?;
        self.served(turn);
        Some(place)
    }
}
