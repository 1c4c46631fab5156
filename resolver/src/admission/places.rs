//! Places: who holds them, and who loses one when all are taken.

use std::{fmt, sync::Arc, time::Duration};

use foldhash::{HashMap, HashMapExt};
use policy::name::Name;

use tokio::sync::Notify;

use super::client_key::ClientKey;
use crate::shares::Groups;

/// Groups that are remembered to be limited. A count.
const LIMITED_MAX: usize = 1_000;
/// How long a group is shown as limited after its last refusal.
const LIMITED_FOR: Duration = Duration::from_secs(60);

/// How many resolutions may be under way.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionSettings {
    /// Of all clients.
    pub places_max: usize,
    /// Of one client.
    pub per_client_max: usize,
}

/// What a resolution is told.
#[derive(Default)]
pub(super) struct PlaceSignals {
    pub(super) start: Notify,
    pub(super) evicted: Notify,
}

/// Why a query gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdmissionLimit {
    /// Its client has as many places as one client may have.
    ClientLimit,
    /// All places are taken, and its client or zone holds the most.
    Full,
}

/// A client or a zone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitedGroup {
    Client(ClientKey),
    Zone(Name),
}

impl fmt::Display for LimitedGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(ClientKey::Household(id)) => write!(f, "household {id}"),
            Self::Client(ClientKey::Address(address)) => write!(f, "client {address}"),
            Self::Client(ClientKey::Device(mac)) => write!(f, "device {mac}"),
            Self::Client(ClientKey::Explanation) => f.write_str("explanations"),
            Self::Zone(zone) => write!(f, "zone {zone}"),
        }
    }
}

/// How a group was limited. Times are since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    pub since: Duration,
    pub last: Duration,
    /// Queries that were refused, and resolutions that were evicted.
    pub queries: u64,
}

/// One taken place.
struct Holder {
    client: Option<ClientKey>,
    zone: Name,
    signals: Arc<PlaceSignals>,
}

/// All places.
pub(super) struct Places {
    settings: AdmissionSettings,
    holders: HashMap<u64, Holder>,
    clients: Groups<ClientKey>,
    zones: Groups<Name>,
    /// The number of the next place: a lower number is older.
    next: u64,
    limited: HashMap<LimitedGroup, Limited>,
}

impl Places {
    pub(super) fn new(settings: AdmissionSettings) -> Self {
        Self {
            settings,
            holders: HashMap::new(),
            clients: Groups::new(),
            zones: Groups::new(),
            next: 0,
            limited: HashMap::new(),
        }
    }

    /// Whether a fourth of all places is free.
    pub(super) fn taken(&self) -> usize {
        self.holders.len()
    }

    pub(super) fn has_spare(&self) -> bool {
        self.holders.len() < self.settings.places_max - self.settings.places_max / 4
    }

    /// Takes a place. If all are taken, the largest group loses its oldest one, provided that the
    /// new query's groups stay smaller than that.
    pub(super) fn take(
        &mut self,
        client: Option<ClientKey>,
        zone: Name,
        signals: Arc<PlaceSignals>,
        now: Duration,
    ) -> Result<(u64, Option<LimitedGroup>), AdmissionLimit> {
        let held = client
            .as_ref()
            .map_or(0, |client| self.clients.size(client));
        if let Some(client) = client
            .as_ref()
            .filter(|_| held >= self.settings.per_client_max)
        {
            self.note(LimitedGroup::Client(client.clone()), now);
            return Err(AdmissionLimit::ClientLimit);
        }
        let evicted = if self.holders.len() < self.settings.places_max {
            None
        } else {
            Some(self.evict_for(client.as_ref(), held, &zone, now)?)
        };
        let number = self.next;
        self.next += 1;
        if let Some(client) = &client {
            self.clients.add(client, number);
        }
        self.zones.add(&zone, number);
        self.holders.insert(
            number,
            Holder {
                client,
                zone,
                signals,
            },
        );
        Ok((number, evicted))
    }

    /// Frees a place for a query of this client and zone.
    fn evict_for(
        &mut self,
        client: Option<&ClientKey>,
        held: usize,
        zone: &Name,
        now: Duration,
    ) -> Result<LimitedGroup, AdmissionLimit> {
        let (of_client, largest_client) = match self.clients.largest() {
            Some((size, key)) => (size, Some(key.clone())),
            None => (0, None),
        };
        let (of_zone, largest_zone) = match self.zones.largest() {
            Some((size, key)) => (size, Some(key.clone())),
            None => (0, None),
        };
        let (group, victim, own) = match (largest_client, largest_zone) {
            (Some(key), _) if of_client >= of_zone => {
                let victim = self.clients.oldest(&key);
                let own =
                    client.map(|client| (LimitedGroup::Client(client.clone()), held, of_client));
                (LimitedGroup::Client(key), victim, own)
            }
            (_, Some(key)) => {
                let victim = self.zones.oldest(&key);
                let own = (
                    LimitedGroup::Zone(zone.clone()),
                    self.zones.size(zone),
                    of_zone,
                );
                (LimitedGroup::Zone(key), victim, Some(own))
            }
            _ => return Err(AdmissionLimit::Full),
        };
        if let Some((own, held, largest)) = own
            && held + 1 >= largest
        {
            self.note(own, now);
            return Err(AdmissionLimit::Full);
        }
        let Some(victim) = victim else {
            return Err(AdmissionLimit::Full);
        };
        if let Some(holder) = self.remove(victim) {
            holder.signals.evicted.notify_one();
        }
        self.note(group.clone(), now);
        Ok(group)
    }

    fn remove(&mut self, number: u64) -> Option<Holder> {
        let holder = self.holders.remove(&number)?;
        if let Some(client) = &holder.client {
            self.clients.remove(client, number);
        }
        self.zones.remove(&holder.zone, number);
        Some(holder)
    }

    /// Gives a place up, if it is not lost yet.
    pub(super) fn give_up(&mut self, number: u64) {
        self.remove(number);
    }

    pub(super) fn signals(&self, number: u64) -> Option<&PlaceSignals> {
        self.holders.get(&number).map(|holder| &*holder.signals)
    }

    /// The client and the zone of a place.
    pub(super) fn groups(&self, number: u64) -> Option<(Option<&ClientKey>, &Name)> {
        self.holders
            .get(&number)
            .map(|holder| (holder.client.as_ref(), &holder.zone))
    }

    /// Remembers that a group was limited.
    fn note(&mut self, group: LimitedGroup, now: Duration) {
        if self.limited.len() >= LIMITED_MAX && !self.limited.contains_key(&group) {
            self.forget_old(now);
            if self.limited.len() >= LIMITED_MAX {
                return;
            }
        }
        let limited = self.limited.entry(group).or_insert(Limited {
            since: now,
            last: now,
            queries: 0,
        });
        if now.saturating_sub(limited.last) > LIMITED_FOR {
            *limited = Limited {
                since: now,
                last: now,
                queries: 0,
            };
        }
        limited.last = now;
        limited.queries += 1;
    }

    fn forget_old(&mut self, now: Duration) {
        self.limited
            .retain(|_, limited| now.saturating_sub(limited.last) <= LIMITED_FOR);
    }

    /// The groups that are limited, longest first.
    pub(super) fn limited(&mut self, now: Duration) -> Vec<(LimitedGroup, Limited)> {
        self.forget_old(now);
        let mut limited: Vec<_> = self
            .limited
            .iter()
            .map(|(group, limited)| (group.clone(), *limited))
            .collect();
        limited.sort_by_key(|(_, limited)| limited.since);
        limited
    }
}
