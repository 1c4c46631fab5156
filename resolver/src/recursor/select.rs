//! Server selection: which server of a zone is queried next, and how long it is waited for.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use policy::name::Name;

use super::{
    attempt::InitialFallback,
    cache::{
        infra::{InfraCache, ServerQuirks},
        server::{ServerEstimate, ServerState},
    },
    failure::ResolutionFailure,
};

/// Tries for one query to the servers of one zone. A count.
const TRIES_MAX: u32 = 16;
/// The same where all servers seem down: enough to notice that one is up again.
const TRIES_AT_DOWN_MAX: u32 = 3;
/// Tries at a single server, and at least at each of several.
const TRIES_AT_ONE_MAX: u32 = 12;
const TRIES_AT_EACH_MIN: u32 = 2;
/// The timeout of a datagram.
const DATAGRAM_TIMEOUT: Duration = Duration::from_millis(1_800);
/// The timeout of the first try at a server: some servers need seconds. Each such try holds a
/// socket, so only the first few tries get it, and none at a server that is down. It is shorter than
/// all tries take together, so that it does not delay the failure of a zone whose servers are dead.
const SLOW_DATAGRAM_TIMEOUT: Duration = Duration::from_secs(6);
const SLOW_TRIES_MAX: u32 = 4;
/// Of four tries that time out, the third leaves out mixed case and EDNS options, the fourth EDNS.
const FALLBACKS: [InitialFallback; 4] = [
    InitialFallback::None,
    InitialFallback::None,
    InitialFallback::Options,
    InitialFallback::Edns,
];
/// Addresses that are considered for one zone. A count.
const CANDIDATES_MAX: usize = 64;

/// A server that may be queried.
pub(super) struct Candidate {
    pub address: SocketAddr,
    pub server: Arc<ServerState>,
    quirks: ServerQuirks,
    tries: u32,
    /// Whether the server has shown that it cannot help with this query.
    pub is_excluded: bool,
}

/// The next try at a server.
pub(super) struct Try {
    /// Index of the candidate.
    pub candidate: usize,
    /// After this time another server is queried as well (hedging).
    pub rto: Duration,
    pub fallback: InitialFallback,
    /// How long a reply is waited for.
    pub timeout: Duration,
}

/// The servers that may be queried, for one query to one zone.
pub(super) struct Candidates<'z> {
    zone: &'z Name,
    all: Vec<Candidate>,
    tries: u32,
    /// Why some servers were not queried, where a limit of the client query is the reason: then the
    /// failure says nothing about the zone.
    pub cut_short: Option<ResolutionFailure>,
    /// Whether a server was not queried because it is down and another resolution probes it.
    pub are_probed_by_another: bool,
}

impl<'z> Candidates<'z> {
    pub fn new(zone: &'z Name) -> Self {
        Self {
            zone,
            all: Vec::new(),
            tries: 0,
            cut_short: None,
            are_probed_by_another: false,
        }
    }

    pub fn add(&mut self, infra: &InfraCache, address: SocketAddr) {
        if self.all.len() < CANDIDATES_MAX && self.all.iter().all(|known| known.address != address)
        {
            self.all.push(Candidate {
                address,
                server: infra.server(address),
                quirks: infra.quirks(address, self.zone),
                tries: 0,
                is_excluded: false,
            });
        }
    }

    pub fn get(&self, candidate: usize) -> &Candidate {
        &self.all[candidate]
    }

    pub fn exclude(&mut self, candidate: usize) {
        self.all[candidate].is_excluded = true;
    }

    /// Excludes servers, unless no other is left.
    pub fn avoid(&mut self, is_avoided: impl Fn(SocketAddr) -> bool) {
        let avoided = |candidate: &&mut Candidate| is_avoided(candidate.address);
        if self.all.iter_mut().filter(avoided).count() < self.all.len() {
            self.all
                .iter_mut()
                .filter(avoided)
                .for_each(|candidate| candidate.is_excluded = true);
        }
    }

    /// Whether there is a server that was not queried yet.
    pub fn has_untried(&self) -> bool {
        self.all
            .iter()
            .any(|candidate| !candidate.is_excluded && candidate.tries == 0)
    }

    /// Chooses the next server. None when the tries are used up, or when all servers are down and
    /// another resolution probes them. `random` is drawn where there is a choice.
    pub fn next(&mut self, now: Duration, random: impl FnOnce() -> u64) -> Option<Try> {
        let estimates: Vec<ServerEstimate> = self
            .all
            .iter()
            .map(|candidate| candidate.server.estimate(now))
            .collect();
        let max = if estimates.iter().all(|estimate| estimate.is_down) {
            TRIES_AT_DOWN_MAX
        } else if self.all.len() == 1 {
            TRIES_AT_ONE_MAX
        } else {
            TRIES_MAX
        };
        if self.tries >= max {
            return None;
        }
        let random = if self.all.len() > 1 { random() } else { 0 };
        let chosen = loop {
            let chosen = self.cheapest(&estimates, now, random)?;
            let candidate = &mut self.all[chosen];
            if !estimates[chosen].is_down || candidate.server.begin_probe(now) {
                break chosen;
            }
            candidate.is_excluded = true;
            self.are_probed_by_another = true;
        };
        self.tries += 1;
        self.all[chosen].tries += 1;
        Some(new_try(
            chosen,
            &self.all[chosen],
            &estimates[chosen],
            self.tries,
        ))
    }

    /// The server with the lowest cost: fewest tries and faults first, then the lowest round-trip
    /// time, multiplied by a random half to three halves, so that slower servers are queried now and
    /// then.
    fn cheapest(
        &self,
        estimates: &[ServerEstimate],
        now: Duration,
        mut random: u64,
    ) -> Option<usize> {
        let each = (TRIES_AT_ONE_MAX / (self.all.len().max(1) as u32)).max(TRIES_AT_EACH_MIN);
        let mut cheapest: Option<(usize, (u32, u64))> = None;
        for (index, (candidate, estimate)) in self.all.iter().zip(estimates).enumerate() {
            if candidate.is_excluded || candidate.tries >= each {
                continue;
            }
            let is_lame = candidate.quirks.is_lame(now);
            let burden = candidate.tries + 2 * u32::from(is_lame) + 3 * u32::from(estimate.is_down);
            random = random.rotate_left(11).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let share = 512 + (random >> 54);
            let cost = (burden, estimate.rtt.as_micros() as u64 * share);
            if cheapest.is_none_or(|(_, lowest)| cost < lowest) {
                cheapest = Some((index, cost));
            }
        }
        cheapest.map(|(index, _)| index)
    }
}

/// The try at a candidate that is the query's `tries`th, counted from 1.
fn new_try(index: usize, candidate: &Candidate, estimate: &ServerEstimate, tries: u32) -> Try {
    let is_slow = !estimate.is_down && candidate.tries == 1 && tries <= SLOW_TRIES_MAX;
    Try {
        candidate: index,
        rto: estimate.rto,
        fallback: FALLBACKS[(tries.saturating_sub(1) as usize) % FALLBACKS.len()],
        timeout: if is_slow {
            SLOW_DATAGRAM_TIMEOUT
        } else {
            DATAGRAM_TIMEOUT
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_of(tries_at_one: u32, tries: u32, is_down: bool) -> Try {
        let address = SocketAddr::from(([192, 0, 2, 1], 53));
        let candidate = Candidate {
            address,
            server: Arc::default(),
            quirks: ServerQuirks::default(),
            tries: tries_at_one,
            is_excluded: false,
        };
        let estimate = ServerEstimate {
            is_down,
            ..candidate.server.estimate(Duration::ZERO)
        };
        new_try(7, &candidate, &estimate, tries)
    }

    #[test]
    fn only_first_tries_at_few_servers_wait_for_slow_replies() {
        let timeout =
            |tries_at_one, tries, is_down| try_of(tries_at_one, tries, is_down).timeout.as_millis();
        assert_eq!([timeout(1, 1, false), timeout(1, 4, false)], [6_000; 2]);
        assert_eq!(
            [
                timeout(1, 5, false),
                timeout(2, 2, false),
                timeout(1, 1, true)
            ],
            [1_800; 3]
        );
        let first = try_of(1, 1, false);
        assert_eq!((first.candidate, first.rto.as_millis()), (7, 300));
    }

    #[test]
    fn of_four_tries_the_last_two_are_fallbacks() {
        use InitialFallback::{Edns, None, Options};
        let fallbacks: Vec<InitialFallback> = (1..=9)
            .map(|tries| try_of(tries, tries, false).fallback)
            .collect();
        assert_eq!(
            fallbacks,
            [None, None, Options, Edns, None, None, Options, Edns, None]
        );
    }
}
