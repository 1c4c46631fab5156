//! The state of the recursor: settings, caches, limits and counters. How it resolves stands in the
//! other files.

use std::{
    hash::BuildHasher as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwap;
use foldhash::{SharedSeed, quality::SeedableRandomState};
use metrics::gauge;
use policy::name::{Name, NameRef};

use crate::{limiter::Limiter, message::types::Rtype, single_flight::SingleFlight};

use super::{
    bogus_zones::{BogusZone, BogusZones},
    cache::{
        delegations::{Delegation, DelegationCache},
        denials::DenialCache,
        failures::FailureCache,
        infra::InfraCache,
        rrsets::RrSetCache,
        trust::TrustCache,
    },
    counters::UpstreamCounters,
    dnssec::{TrustAnchors, TrustPoint},
    environment::Environment,
    failure::ResolutionFailure,
    negative_anchors::{NegativeAnchorChanges, NegativeAnchors, NegativeTrustAnchor},
    response::Response,
    settings::{CacheBudgets, Settings, SetupError},
    wire::CLIENT_COOKIE_OCTETS,
};

/// A query to a zone: tasks that have the same one share its result.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct ZoneQuestion {
    pub zone: Name,
    pub name: Name,
    pub rtype: Rtype,
}

/// The recursor.
pub struct Recursor<E> {
    pub(super) environment: E,
    pub(super) settings: Settings,
    pub(super) rrsets: RrSetCache,
    pub(super) denials: DenialCache,
    pub(super) failures: FailureCache,
    pub(super) delegations: DelegationCache,
    pub(super) trust: TrustCache,
    /// What validation begins with.
    pub(super) anchors: ArcSwap<TrustAnchors>,
    pub(super) points: Mutex<Vec<TrustPoint>>,
    pub(super) negative_anchors: NegativeAnchors,
    pub(super) bogus_zones: BogusZones,
    pub(super) infra: InfraCache,
    pub(super) hints: Arc<Delegation>,
    pub(super) flights: SingleFlight<ZoneQuestion, Result<Arc<Response>, ResolutionFailure>>,
    /// Limits the queries that wait for the servers of one zone.
    pub(super) waiting: Limiter<Name>,
    pub(super) counters: UpstreamCounters,
    /// The secret that client cookies are made of, RFC 7873 section 4.1.
    secret: [u64; 2],
}

impl<E: Environment> Recursor<E> {
    /// Sets the recursor up. Nothing is sent yet.
    ///
    /// # Errors
    /// [`SetupError::NoRoots`] when there is no root server to begin with.
    pub fn new(mut settings: Settings, environment: E) -> Result<Self, SetupError> {
        let roots: Vec<SocketAddr> = settings
            .roots
            .iter()
            .filter(|root| settings.uses_family_of(**root))
            .map(|&root| SocketAddr::new(root, settings.authority_port))
            .collect();
        let needs_no_root = settings
            .configured_zones
            .iter()
            .any(|configured| configured.zone == Name::root() && !configured.then_recurse);
        if roots.is_empty() && !needs_no_root {
            return Err(SetupError::NoRoots);
        }
        Ok(Self {
            rrsets: RrSetCache::new(settings.caches.of_rrsets(), settings.ttl),
            denials: DenialCache::new(settings.caches.of_denials()),
            failures: FailureCache::new(settings.caches.failures),
            delegations: DelegationCache::new(
                settings.caches.delegations,
                &settings.configured_zones,
            ),
            trust: TrustCache::new(settings.caches.of_trust()),
            points: Mutex::new(points_of(&settings.anchors)),
            anchors: ArcSwap::from_pointee(std::mem::take(&mut settings.anchors)),
            negative_anchors: NegativeAnchors::default(),
            bogus_zones: BogusZones::new(),
            infra: InfraCache::new(settings.caches.servers),
            hints: Arc::new(Delegation::hints(roots)),
            flights: SingleFlight::default(),
            waiting: Limiter::new(settings.waiting_per_zone_max),
            counters: UpstreamCounters::new(),
            secret: [environment.random(), environment.random()],
            settings,
            environment,
        })
    }

    /// The client cookie for one server. Another one for each server, so that servers cannot
    /// recognise the recursor by it.
    pub(super) fn client_cookie(&self, server: SocketAddr) -> [u8; CLIENT_COOKIE_OCTETS] {
        let hasher = SeedableRandomState::with_seed(self.secret[0], SharedSeed::global_fixed());
        hasher.hash_one((self.secret[1], server.ip())).to_be_bytes()
    }

    /// Octets in use by each cache.
    #[must_use]
    pub fn usage(&self) -> CacheBudgets {
        CacheBudgets {
            rrsets: self.rrsets.usage().0 + self.denials.octets(),
            delegations: self.delegations.octets() + self.trust.octets(),
            servers: self.infra.octets(),
            failures: self.failures.octets(),
        }
    }

    /// Replaces the negative trust anchors. What is cached below those that are new or gone is
    /// forgotten. Returns their names.
    pub fn set_negative_anchors(&self, anchors: Vec<NegativeTrustAnchor>) -> NegativeAnchorChanges {
        let changed = self.negative_anchors.replace(anchors);
        for name in changed.begun.iter().chain(&changed.ended) {
            self.trust.remove_below(name.borrow());
            self.rrsets.remove_below(name.borrow());
            self.denials.remove_about(name.borrow());
            self.failures.remove_below(name.borrow());
        }
        changed
    }

    /// The zones because of which names were bogus in the last minute, worst first.
    #[must_use]
    pub fn bogus_zones(&self) -> Vec<BogusZone> {
        self.bogus_zones.current(self.environment.now())
    }

    /// Sets other budgets. What exceeds them is evicted at once.
    pub fn resize(&self, budgets: CacheBudgets) {
        self.rrsets.resize(budgets.of_rrsets());
        self.denials.resize(budgets.of_denials());
        self.delegations.resize(budgets.delegations);
        self.trust.resize(budgets.of_trust());
        self.infra.resize(budgets.servers);
        self.failures.resize(budgets.failures);
    }

    /// Sets the gauges of the caches' sizes.
    pub fn show_sizes(&self) {
        let (octets, entries) = self.rrsets.usage();
        gauge!("ox_protect_rrset_cache_bytes").set(octets as f64);
        gauge!("ox_protect_rrset_cache_entries").set(entries as f64);
        gauge!("ox_protect_nsec_cache_bytes").set(self.denials.octets() as f64);
        gauge!("ox_protect_nsec_cache_zones").set(self.denials.len() as f64);
        gauge!("ox_protect_delegations").set(self.delegations.len() as f64);
        gauge!("ox_protect_known_servers").set(self.infra.len() as f64);
    }
}

/// The zones with trust anchors. Nothing is known of their keys yet.
fn points_of(anchors: &TrustAnchors) -> Vec<TrustPoint> {
    let point = |(zone, anchors): (NameRef<'_>, &[_])| {
        TrustPoint::new(zone.to_owned(), anchors.to_vec(), Vec::new())
    };
    anchors.iter().map(point).collect()
}
