//! The engine's parts, and the snapshot of them that one batch of packets is answered with.

use std::{
    hint::black_box,
    net::IpAddr,
    sync::{Arc, MutexGuard},
    time::Duration,
};

use arc_swap::Guard;
use policy::{
    identity::directory::{DirectoryReader, Identity, Trust},
    lists::blocklist::Blocklist,
    name::Name,
    unix_seconds::UnixSeconds,
};

use crate::{
    admission::{Admission, ClientKey, LimitCause, Limited, LimitedGroup},
    cache::{AnswerCache, AnswerEntry, LocalCache, QuestionKey},
    engine::{
        config::EngineConfig,
        worker_state::{RuntimeStates, WorkerState},
    },
    listener::{access::Access, client::Client, connections::LimitedConnections},
    message::{cookie::ServerCookies, ede::EdeWords, types::EdeCode},
    rates::Rates,
    single_flight::SingleFlight,
    telemetry::metrics::QueryMetrics,
};

/// The data path.
pub struct Engine {
    pub(crate) config: EngineConfig,
    pub(crate) access: Access,
    pub(crate) cache: AnswerCache,
    /// Resolutions under way, by the generation of the cache that they are for.
    pub(crate) flights: SingleFlight<(u64, QuestionKey), Result<Arc<AnswerEntry>, Option<EdeCode>>>,
    /// Shares the resolutions that may be under way.
    pub(crate) admission: Admission,
    pub(crate) rates: Rates,
    limited_connections: Arc<LimitedConnections>,
    pub(crate) cookies: ServerCookies,
    runtime_states: RuntimeStates,
    pub(crate) ede_words: EdeWords,
    pub metrics: QueryMetrics,
}

/// Lists, directory and time for one batch of packets. Loaded after the batch is received, so that
/// an acknowledged change applies to each packet of it.
pub struct BatchSnapshot<'e> {
    pub(crate) lists: Guard<Arc<Blocklist>>,
    pub(crate) directory: DirectoryReader<'e>,
    /// Time since the start.
    pub(crate) now: Duration,
    /// Wall-clock time.
    pub(crate) at: UnixSeconds,
}

impl BatchSnapshot<'_> {
    /// Loads into the processor's cache what the queries of a batch will read, so that the memory
    /// accesses overlap. Worth it for four packets or more.
    pub fn load_memory<'p>(
        &self,
        state: &WorkerState,
        sources: impl Iterator<Item = IpAddr>,
        packets: impl Iterator<Item = &'p [u8]>,
    ) {
        let sources = sources.inspect(|source| {
            black_box(state.rates.touch(*source));
        });
        black_box(self.directory.touch(sources));
        black_box(state.local_cache.load_memory(packets));
    }
}

impl Engine {
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        let metrics = QueryMetrics::new(
            &config.taxonomy,
            Arc::clone(&config.lists),
            config.sample_every,
        );
        let rates = Rates::new(config.rates.clone());
        Self {
            access: Access::of(&config),
            runtime_states: RuntimeStates::new(&metrics, &rates),
            metrics,
            cache: AnswerCache::new(config.cache_octets),
            flights: SingleFlight::default(),
            admission: Admission::new(config.admission),
            cookies: ServerCookies::new(&config.cookie_secrets),
            rates,
            limited_connections: Arc::new(LimitedConnections::new(Arc::clone(&config.clock))),
            ede_words: EdeWords::new(Arc::clone(&config.taxonomy), &config.contact),
            config,
        }
    }

    /// Octets and entries in the answer cache.
    #[must_use]
    pub fn cache_usage(&self) -> (u64, usize) {
        self.cache.usage()
    }

    /// Sets another budget of the answer cache, in octets. What exceeds it is evicted at once.
    pub fn resize_cache(&self, budget: u64) {
        self.cache.resize(budget);
    }

    /// Forgets the answers about these names and names below them, also those that an alias leads
    /// to, in the shared cache and in the workers' own. What is being resolved now is not cached.
    /// Takes as long as the cache is large.
    pub fn forget_below(&self, names: &[Name]) {
        self.cache.forget_below(names);
    }

    /// Ends the TTLs of the same answers now, so that they are resolved anew and served stale only
    /// where that fails.
    pub fn expire_below(&self, names: &[Name]) {
        self.cache.expire_below(names, self.config.clock.elapsed());
    }

    /// The resolutions that are under way. A count.
    #[must_use]
    pub fn resolutions(&self) -> usize {
        self.admission.taken()
    }

    /// The state for one more worker thread.
    #[must_use]
    pub fn worker_state(&self) -> WorkerState {
        WorkerState::of_worker(
            &self.metrics,
            self.rates.worker_counters(),
            LocalCache::new(self.config.local_cache_octets),
        )
    }

    /// The state of the calling thread of the runtime. The caller must not hold it across an await.
    pub fn runtime_state(&self) -> MutexGuard<'_, WorkerState> {
        self.runtime_states.of_this_thread()
    }

    /// Takes the snapshot for a batch. Call it after the batch is received.
    #[must_use]
    pub fn snapshot(&self) -> BatchSnapshot<'_> {
        let (now, at) = self.config.clock.elapsed_and_moment();
        BatchSnapshot {
            lists: self.config.lists.load(),
            directory: self.config.directory.reader(at),
            now,
            at,
        }
    }

    /// Identifies a client by its address and the MAC address that its query asserts.
    #[inline]
    pub(crate) fn identify(&self, batch: &BatchSnapshot<'_>, client: &Client) -> Identity {
        let trust = if client.mac.is_some() {
            self.access.trust(client.source)
        } else {
            Trust::Household
        };
        batch.directory.identify(client.source, client.mac, trust)
    }

    /// The client whose share of the resolutions a query takes: the household of its line; behind a
    /// forwarder the device; otherwise the address.
    pub(crate) fn client_key(&self, client: &Client) -> ClientKey {
        if let Some(household) = self.config.directory.household_of(client.source) {
            return ClientKey::Household(household.id().into());
        }
        match client.mac {
            Some(mac) if self.access.trust(client.source) != Trust::Household => {
                ClientKey::Device(mac)
            }
            _ => ClientKey::of_address(client.source),
        }
    }

    /// Where the listeners note clients whose connections were refused, or closed for others.
    #[must_use]
    pub fn limited_connections(&self) -> Arc<LimitedConnections> {
        Arc::clone(&self.limited_connections)
    }

    /// Clients, zones and networks whose queries or connections were limited in the last minute, longest first, and
    /// the time since the start.
    #[must_use]
    pub fn limited(&self) -> (Vec<(LimitedGroup, LimitCause, Limited)>, Duration) {
        let now = self.now();
        let mut limited = self.admission.limited(now);
        limited.extend(self.rates.limited(now));
        limited.extend(self.limited_connections.current());
        limited.sort_by_key(|(_, _, limited)| limited.since);
        (limited, now)
    }

    /// Time since the start, in which the cache counts.
    pub(crate) fn now(&self) -> Duration {
        self.config.clock.elapsed()
    }
}
