//! What each part of the node gets of its memory.
//!
//! First the parts that cannot shrink: the program, lists, households. Then resolutions and
//! connections, whose number is bounded. The caches share the rest. A key of the configuration that
//! names a budget (`dns.cache_mib`, `recursion.cache_mib`) holds before all of this.

use resolver::recursor::CacheBudgets;

use crate::config::Config;

/// The program itself: code, threads, the databases' caches, HTTP. Measured: 37 MiB after the start.
const BASE_OCTETS: u64 = 44 << 20;
/// A worker: its buffers, its counters of rates, the slots of its own cache.
const WORKER_OCTETS: u64 = 2 << 20;
/// A household with four devices. Measured: `cargo bench --bench households`.
const HOUSEHOLD_OCTETS: u64 = 340;
/// Lists are in memory twice during a swap.
const GENERATIONS: u64 = 2;
/// A resolution under way, with its task, its packet and its sockets. Measured: 10 to 12 KiB.
const RESOLUTION_OCTETS: u64 = 16 << 10;
/// Resolutions get a fourth of the memory at most, and have no fewer places than this.
const RESOLUTIONS_DIVISOR: u64 = 4;
const PLACES_MIN: u64 = 256;
/// DNS over TCP: the connections of a listener, with their messages. Measured: 2 to 3 MiB.
const TCP_OCTETS: u64 = 8 << 20;
/// A connection of the API, or an event stream. Measured: 14 KiB. As many octets of requests and
/// answers are held for each, on average.
pub const API_CONNECTION_OCTETS: u64 = 16 << 10;
/// Connections get a sixteenth of the memory at most, DNS half of that at most.
const STREAMS_DIVISOR: u64 = 16;
/// Caches get a fourth of the memory at least, whatever the other parts need.
const CACHES_DIVISOR: u64 = 4;
/// Shares of the caches, in sixteenths: answers, RRsets, delegations, servers; failures have the
/// rest.
const ANSWERS: u64 = 8;
const RRSETS: u64 = 4;
const DELEGATIONS: u64 = 2;
const SERVERS: u64 = 1;
/// Of the answers' budget, the workers' own caches.
const LOCAL_DIVISOR: u64 = 8;

/// What a command divides.
const COMMAND_OCTETS: u64 = 256 << 20;

/// What is known when the node starts.
#[derive(Debug, Clone, Copy)]
pub struct KnownAtStart {
    /// Threads that answer over UDP.
    pub workers: usize,
    /// The live lists, in octets.
    pub lists: u64,
    pub households: u64,
}

/// What each part gets, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    pub total: u64,
    pub base: u64,
    pub lists: u64,
    pub households: u64,
    pub resolutions: u64,
    pub streams: u64,
    /// The shared answer cache.
    pub answers: u64,
    /// The answer caches of all workers.
    pub local_answers: u64,
    /// The one of each worker.
    pub worker_answers: u64,
    pub recursor: CacheBudgets,
    /// How many resolutions may be under way. A count.
    pub places: usize,
    /// How many connections the API may have. A count.
    pub api_connections: usize,
}

impl Budgets {
    /// Divides `total` octets.
    pub fn derive(total: u64, config: &Config, known: KnownAtStart) -> Self {
        let lists = known.lists * GENERATIONS;
        let households = known.households * HOUSEHOLD_OCTETS;
        let wanted = config.dns.resolutions_max as u64;
        let affordable = total / RESOLUTIONS_DIVISOR / RESOLUTION_OCTETS;
        let places = wanted.min(affordable.max(PLACES_MIN));
        let resolutions = places * RESOLUTION_OCTETS;
        let api_wanted = config.api.connections_max as u64 * API_CONNECTION_OCTETS;
        let streams = (total / STREAMS_DIVISOR).min(TCP_OCTETS + api_wanted);
        let api_connections = (streams - TCP_OCTETS.min(streams / 2)) / API_CONNECTION_OCTETS;
        let base = BASE_OCTETS + known.workers as u64 * WORKER_OCTETS;
        let others = base + lists + households + resolutions + streams;
        let caches = total.saturating_sub(others).max(total / CACHES_DIVISOR);
        let sixteenths = |share| caches / 16 * share;
        let explicit = |mib: u64| (mib > 0).then_some(mib << 20);
        let all_answers = explicit(config.dns.cache_mib).unwrap_or(sixteenths(ANSWERS));
        let local_answers = all_answers / LOCAL_DIVISOR;
        Self {
            total,
            base,
            lists,
            households,
            resolutions,
            streams,
            answers: all_answers - local_answers,
            local_answers,
            worker_answers: local_answers / known.workers.max(1) as u64,
            recursor: CacheBudgets {
                rrsets: explicit(config.recursion.cache_mib).unwrap_or(sixteenths(RRSETS)),
                delegations: sixteenths(DELEGATIONS),
                servers: sixteenths(SERVERS),
                failures: sixteenths(16 - ANSWERS - RRSETS - DELEGATIONS - SERVERS),
            },
            places: usize::try_from(places).unwrap_or(usize::MAX),
            api_connections: usize::try_from(api_connections).unwrap_or(usize::MAX),
        }
    }

    /// For a command, which asks little and ends.
    pub fn of_command(config: &Config) -> Self {
        let known = KnownAtStart {
            workers: 1,
            lists: 0,
            households: 0,
        };
        Self::derive(COMMAND_OCTETS, config, known)
    }

    /// The parts by name, as in metrics and in the log.
    pub fn parts(&self) -> [(&'static str, u64); 11] {
        [
            ("base", self.base),
            ("lists", self.lists),
            ("households", self.households),
            ("resolutions", self.resolutions),
            ("streams", self.streams),
            ("answers", self.answers),
            ("local_answers", self.local_answers),
            ("rrsets", self.recursor.rrsets),
            ("delegations", self.recursor.delegations),
            ("servers", self.recursor.servers),
            ("failures", self.recursor.failures),
        ]
    }

    /// The sum of all parts: more than the total where keys of the configuration demand more.
    pub fn sum(&self) -> u64 {
        self.parts().iter().map(|(_, octets)| octets).sum()
    }
}

/// The octets of one resolution under way, for what is shown in use.
pub const fn of_resolutions(count: u64) -> u64 {
    count * RESOLUTION_OCTETS
}

/// The octets of so many households.
pub const fn of_households(count: u64) -> u64 {
    count * HOUSEHOLD_OCTETS
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: KnownAtStart = KnownAtStart {
        workers: 2,
        lists: 0,
        households: 0,
    };

    fn derived(total_mib: u64, config: &Config, known: KnownAtStart) -> Budgets {
        Budgets::derive(total_mib << 20, config, known)
    }

    #[test]
    fn the_parts_fill_the_memory_and_no_more() {
        let config = Config::default();
        for mib in [192, 224, 512, 1_024, 4_096, 65_536] {
            let budgets = derived(mib, &config, KNOWN);
            assert!(
                budgets.sum() <= budgets.total && budgets.sum() + 16 >= budgets.total,
                "{mib} MiB: {budgets:?}"
            );
            assert!(budgets.answers + budgets.local_answers >= budgets.recursor.rrsets * 2 - 16);
            assert_eq!(budgets.worker_answers, budgets.local_answers / 2);
        }
        let large = derived(4_096, &config, KNOWN);
        assert_eq!((large.places, large.api_connections), (4_096, 10_000));
        let small = derived(64, &config, KNOWN);
        assert!(small.places == 1_024 && small.resolutions == 16 << 20);
        assert!(small.api_connections == 128 && small.streams == 4 << 20);
        assert!(
            small.answers + small.local_answers >= 64 << 17,
            "caches keep a fourth"
        );
    }

    #[test]
    fn lists_and_households_come_before_caches() {
        let config = Config::default();
        let empty = derived(1_024, &config, KNOWN);
        let known = KnownAtStart {
            lists: 50 << 20,
            households: 100_000,
            ..KNOWN
        };
        let full = derived(1_024, &config, known);
        assert_eq!((full.lists, full.households), (100 << 20, 34_000_000));
        assert!(full.answers < empty.answers && full.sum() <= full.total);
    }

    #[test]
    fn configured_budgets_hold() {
        let mut config = Config::default();
        config.dns.cache_mib = 64;
        config.recursion.cache_mib = 16;
        let budgets = derived(512, &config, KNOWN);
        assert_eq!(budgets.answers + budgets.local_answers, 64 << 20);
        assert_eq!(budgets.recursor.rrsets, 16 << 20);
        config.dns.cache_mib = 2_048;
        let budgets = derived(512, &config, KNOWN);
        assert!(budgets.sum() > budgets.total);
    }
}
