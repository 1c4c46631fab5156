//! The infrastructure cache: how each server behaves, by address ([`ServerState`]), and by address
//! and zone ([`ServerQuirks`]).

use std::{hash::BuildHasher as _, net::SocketAddr, sync::Arc, time::Duration};

use foldhash::quality::RandomState;
use policy::name::Name;

use super::server::{ServerState, UNSUPPORTED_FOR};
use crate::weighed::{HeapWeigher, WeighedCache, arc_octets};

/// The share of the budget that is for pairs of a server and a zone: a fourth, enough for half as
/// many pairs as servers.
const QUIRKS_SHARE: u64 = 4;
/// How long a server is tried last in a zone that it is lame for, in seconds.
const LAME_FOR_S: u32 = 600;
/// How long a fallback query is known to bring the same error, in seconds.
const FALLBACK_FUTILE_FOR_S: u32 = 60;
/// Denials that are compared with the response to the name in lower case, per server and zone whose
/// handling of mixed case is unknown: a burst, and one more each second. It bounds the second
/// queries that a flood of names that do not exist costs.
const COMPARISONS_BURST: u32 = 16;

/// How one server behaves in one zone, each until a second of the recursor's clock. Kept by zone,
/// because different programs may serve the zones of one address, and because the owner of a zone
/// must not influence how the server is queried for other zones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerQuirks {
    lower_case_until_s: u32,
    mixed_case_until_s: u32,
    fallback_futile_until_s: u32,
    compared_until_s: u32,
    lame_until_s: u32,
}

impl ServerQuirks {
    /// Whether the server answers correctly only queries in lower case.
    #[must_use]
    pub fn needs_lower_case(&self, now: Duration) -> bool {
        seconds(now) < self.lower_case_until_s
    }

    pub fn set_needs_lower_case(&mut self, now: Duration, lifetime: Duration) {
        self.lower_case_until_s = seconds(now + lifetime);
        self.mixed_case_until_s = 0;
    }

    /// Whether the server has found a name in mixed case.
    #[must_use]
    pub fn supports_mixed_case(&self, now: Duration) -> bool {
        seconds(now) < self.mixed_case_until_s
    }

    pub fn set_supports_mixed_case(&mut self, now: Duration) {
        self.mixed_case_until_s = seconds(now + UNSUPPORTED_FOR);
    }

    /// Whether a fallback query brought the same error less than a minute ago.
    #[must_use]
    pub fn is_fallback_futile(&self, now: Duration) -> bool {
        seconds(now) < self.fallback_futile_until_s
    }

    pub fn set_fallback_futile(&mut self, now: Duration) {
        self.fallback_futile_until_s = seconds(now) + FALLBACK_FUTILE_FOR_S;
    }

    /// Whether the server does not serve the zone, although it is delegated to it.
    #[must_use]
    pub fn is_lame(&self, now: Duration) -> bool {
        seconds(now) < self.lame_until_s
    }

    pub fn set_lame(&mut self, now: Duration) {
        self.lame_until_s = seconds(now) + LAME_FOR_S;
    }

    /// Charges one comparison of a denial with the response in lower case. False where the rate
    /// limit is reached.
    pub fn try_compare(&mut self, now: Duration) -> bool {
        let until = self.compared_until_s.max(seconds(now)) + 1;
        let may = until <= seconds(now) + COMPARISONS_BURST;
        if may {
            self.compared_until_s = until;
        }
        may
    }
}

fn seconds(now: Duration) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

#[derive(Clone)]
struct FixedSizes;

impl HeapWeigher<SocketAddr, Arc<ServerState>> for FixedSizes {
    fn heap_octets(&self, _: &SocketAddr, _: &Arc<ServerState>) -> usize {
        arc_octets::<ServerState>()
    }
}

impl HeapWeigher<u64, ServerQuirks> for FixedSizes {
    fn heap_octets(&self, _: &u64, _: &ServerQuirks) -> usize {
        0
    }
}

/// The servers that were queried lately.
pub struct InfraCache {
    servers: WeighedCache<SocketAddr, Arc<ServerState>, FixedSizes>,
    /// By a hash of address and zone.
    quirks: WeighedCache<u64, ServerQuirks, FixedSizes>,
    hasher: RandomState,
}

impl InfraCache {
    /// A cache of at most `budget` octets.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        let quirks = budget / QUIRKS_SHARE;
        let server = arc_octets::<ServerState>();
        Self {
            servers: WeighedCache::new(budget - quirks, server, FixedSizes),
            quirks: WeighedCache::new(quirks, 0, FixedSizes),
            hasher: RandomState::default(),
        }
    }

    /// Sets another budget, in octets.
    pub fn resize(&self, budget: u64) {
        let quirks = budget / QUIRKS_SHARE;
        self.servers.resize(budget - quirks);
        self.quirks.resize(quirks);
    }

    /// Octets in use.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.servers.octets() + self.quirks.octets()
    }

    /// The state of the server at an address; a new one where there is none.
    #[must_use]
    pub fn server(&self, address: SocketAddr) -> Arc<ServerState> {
        self.servers.get(&address).unwrap_or_else(|| {
            let server = Arc::new(ServerState::default());
            self.servers.insert(address, Arc::clone(&server));
            server
        })
    }

    #[must_use]
    pub fn quirks(&self, address: SocketAddr, zone: &Name) -> ServerQuirks {
        self.quirks
            .get(&self.fingerprint(address, zone))
            .unwrap_or_default()
    }

    /// Updates the quirks of a server in a zone. Of two concurrent updates one may be lost; the next
    /// response repeats it.
    pub fn update<T>(
        &self,
        address: SocketAddr,
        zone: &Name,
        edit: impl FnOnce(&mut ServerQuirks) -> T,
    ) -> T {
        let mut quirks = self.quirks(address, zone);
        let before = quirks;
        let result = edit(&mut quirks);
        if quirks != before {
            self.quirks.insert(self.fingerprint(address, zone), quirks);
        }
        result
    }

    fn fingerprint(&self, address: SocketAddr, zone: &Name) -> u64 {
        self.hasher.hash_one((address, zone))
    }

    /// The count of servers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.servers.len()
    }
}

#[cfg(test)]
mod tests {
    use crate::recursor::cache::server::SUSPECTED_FOR;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn zone(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn denials_are_compared_sixteen_times_and_once_a_second() {
        let mut quirks = ServerQuirks::default();
        let mut compared = |second: u32| (0..30).filter(|_| quirks.try_compare(second * S)).count();
        assert_eq!([10, 10, 11, 14, 100].map(&mut compared), [16, 0, 1, 3, 16]);
    }

    #[test]
    fn quirks_are_those_of_one_server_in_one_zone() {
        let infra = InfraCache::new(1 << 20);
        let [here, there] =
            ["192.0.2.1:53", "192.0.2.2:53"].map(|text| text.parse::<SocketAddr>().unwrap());
        let one = zone("one.example");
        let other = zone("other.example");
        infra.update(here, &one, |quirks| {
            quirks.set_needs_lower_case(S, SUSPECTED_FOR)
        });
        assert!(
            infra.quirks(here, &one).needs_lower_case(300 * S)
                && !infra.quirks(here, &one).needs_lower_case(301 * S)
        );
        assert!(
            !infra.quirks(here, &other).needs_lower_case(S)
                && !infra.quirks(there, &one).needs_lower_case(S)
        );
        infra.update(here, &one, |quirks| quirks.set_supports_mixed_case(2 * S));
        assert!(
            infra.quirks(here, &one).supports_mixed_case(3_601 * S)
                && !infra.quirks(here, &one).supports_mixed_case(3_602 * S)
        );
        infra.update(here, &one, |quirks| {
            quirks.set_needs_lower_case(3 * S, UNSUPPORTED_FOR)
        });
        assert!(
            !infra.quirks(here, &one).supports_mixed_case(3 * S),
            "the latest response counts"
        );
        infra.update(here, &one, |quirks| quirks.set_fallback_futile(3 * S));
        assert!(
            infra.quirks(here, &one).is_fallback_futile(62 * S)
                && !infra.quirks(here, &one).is_fallback_futile(63 * S)
        );
        infra.update(here, &one, |quirks| quirks.set_lame(3 * S));
        assert!(
            infra.quirks(here, &one).is_lame(602 * S)
                && !infra.quirks(here, &one).is_lame(603 * S)
                && !infra.quirks(here, &other).is_lame(3 * S)
        );
        assert!(
            Arc::ptr_eq(&infra.server(here), &infra.server(here))
                && !Arc::ptr_eq(&infra.server(here), &infra.server(there))
        );
        assert_eq!(infra.len(), 2);
    }
}
