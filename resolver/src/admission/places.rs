//! Places: who holds them, and who loses one when all are taken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use foldhash::{HashMap, HashMapExt};
use policy::name::Name;

use tokio::sync::Notify;

use super::{
    client_key::ClientKey,
    failing::Failing,
    limited::{LimitCause, LimitedGroup, LimitedGroups},
};
use crate::shares::Groups;

/// A failing client or zone may have one of so many places.
const FAILING_PART: usize = 8;

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
    /// Set when the resolution ended without records: it failed, or the name does not exist.
    pub(super) has_failed: AtomicBool,
}

/// Why a query gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdmissionLimit {
    /// Its client has as many places as one client may have.
    ClientLimit,
    /// All places are taken, and its client or zone holds the most.
    Full,
    /// Half of all places are taken, an eighth by its client or zone, nearly all of whose resolutions
    /// fail.
    Failing,
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
    failing_clients: Failing<ClientKey>,
    failing_zones: Failing<Name>,
    pub(super) limited: LimitedGroups,
}

impl Places {
    pub(super) fn new(settings: AdmissionSettings) -> Self {
        Self {
            settings,
            holders: HashMap::new(),
            clients: Groups::new(),
            zones: Groups::new(),
            next: 0,
            failing_clients: Failing::default(),
            failing_zones: Failing::default(),
            limited: LimitedGroups::default(),
        }
    }

    /// Whether a fourth of all places is free.
    pub(super) fn taken(&self) -> usize {
        self.holders.len()
    }

    pub(super) fn has_spare(&self) -> bool {
        self.holders.len() < self.settings.places_max - self.settings.places_max / 4
    }

    /// Places that are taken.
    pub(super) fn len(&self) -> usize {
        self.holders.len()
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
            self.limited.note(
                LimitedGroup::Client(client.clone()),
                LimitCause::Resolutions,
                now,
            );
            return Err(AdmissionLimit::ClientLimit);
        }
        if let Some(group) = self.failing_group(client.as_ref(), &zone, now) {
            // A prefetch that is left out harms no client.
            if client.is_some() {
                self.limited.note(group, LimitCause::Failures, now);
            }
            return Err(AdmissionLimit::Failing);
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

    /// The client or the zone, if it has the share of places that a failing one may have while half of
    /// all places are taken.
    fn failing_group(
        &mut self,
        client: Option<&ClientKey>,
        zone: &Name,
        now: Duration,
    ) -> Option<LimitedGroup> {
        let share = self.settings.places_max.div_ceil(FAILING_PART);
        if self.holders.len() * 2 < self.settings.places_max {
            return None;
        }
        // A client without a resolution under way is no part of a flood.
        let held = client.map_or(1, |client| self.clients.size(client));
        if held == 0 {
            return None;
        }
        if let Some(client) = client
            && self.clients.size(client) >= share
            && self.failing_clients.is_failing(client, now)
        {
            return Some(LimitedGroup::Client(client.clone()));
        }
        (self.zones.size(zone) >= share && self.failing_zones.is_failing(zone, now))
            .then(|| LimitedGroup::Zone(zone.clone()))
    }

    /// Whether the client or the zone of a place is failing.
    pub(super) fn is_failing(&mut self, number: u64, now: Duration) -> bool {
        let Some(holder) = self.holders.get(&number) else {
            return false;
        };
        let is_client_failing = holder
            .client
            .as_ref()
            .is_some_and(|client| self.failing_clients.is_failing(client, now));
        is_client_failing || self.failing_zones.is_failing(&holder.zone, now)
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
            self.limited.note(own, LimitCause::Resolutions, now);
            return Err(AdmissionLimit::Full);
        }
        let Some(victim) = victim else {
            return Err(AdmissionLimit::Full);
        };
        if let Some(holder) = self.remove(victim) {
            holder.signals.evicted.notify_one();
        }
        self.limited
            .note(group.clone(), LimitCause::Resolutions, now);
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

    /// Gives a place up, if it is not lost yet, and counts how its resolution ended.
    pub(super) fn give_up(&mut self, number: u64, now: Duration) {
        let Some(holder) = self.remove(number) else {
            return;
        };
        let has_failed = holder.signals.has_failed.load(Ordering::Relaxed);
        if let Some(client) = &holder.client {
            self.failing_clients.count(client, has_failed, now);
        }
        self.failing_zones.count(&holder.zone, has_failed, now);
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
}
