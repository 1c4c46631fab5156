//! Asking one zone: which of its servers, for how long, and who else when that one does not help.
//!
//! Whoever does not answer in the time it should need is not given up: its answer still counts
//! while the next one is asked. So a lost datagram, a dead server and a slow one all cost one
//! patience, and nothing is decided by guessing which it was.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use hickory_proto::{op::ResponseCode, rr::RecordType};
use policy::name::{Name, NameRef};

use super::{
    Failure, Recursor,
    exchange::{Ask, Plainness, Trouble},
};
use crate::recursor::{
    budget::{Path, Quest, describe},
    delegations::Cut,
    environment::Surroundings,
    infra::{Outlook, Server},
    scrub::{Fault, Finding, Sifted},
};

/// Queries for one question to the servers of one zone. A count.
const TRIES_MAX: u32 = 16;
/// The same where all servers seem down: enough to notice that they came back.
const TRIES_AT_DOWN_MAX: u32 = 3;
/// Tries at a single server, and at least at each of several.
const TRIES_AT_ONE_MAX: u32 = 12;
const TRIES_AT_EACH_MIN: u32 = 2;
/// Names of servers that are looked up for one question to one zone; Unbound stops after 5 that do
/// not exist.
const SERVER_NAMES_MAX: usize = 5;
/// How long a datagram's answer still counts.
const DATAGRAM_MAX: Duration = Duration::from_millis(1_800);
/// The same for the first try at a server: some servers need seconds. Each such try holds a socket,
/// so of many servers only the first few get one, and a server that is down gets none. It ends
/// before the last try does, so a question to dead servers takes no longer for it.
const LATE_MAX: Duration = Duration::from_secs(6);
const LATE_TRIES_MAX: u32 = 4;
/// Of four tries that meet silence the third is without mixed letters and EDNS options, the fourth
/// without EDNS.
const PLAINNESS: [Plainness; 4] = [
    Plainness::Full,
    Plainness::Full,
    Plainness::Small,
    Plainness::Bare,
];
/// How long a look-up of a server's address goes on before those that are known are asked again
/// beside it.
const FIND_ALONE: Duration = Duration::from_millis(500);
/// How long those wait for another's flight who could be waited for themselves.
const JOIN_MAX: Duration = Duration::from_secs(1);
/// Addresses that are kept in view for one zone. A count.
const CANDIDATES_MAX: usize = 64;

/// A question to a zone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ZoneQuestion {
    zone: Name,
    name: Name,
    record_type: u16,
}

/// A server that may be asked.
struct Candidate {
    address: SocketAddr,
    server: Arc<Server>,
    tries: u32,
    is_out: bool,
}

/// The next try.
struct Try {
    place: usize,
    /// How long to wait for it before another one is asked too.
    patience: Duration,
    plainness: Plainness,
    /// How long its answer counts.
    wait: Duration,
}

/// The servers that may be asked, in one question to one zone.
struct Candidates<'z> {
    zone: &'z Name,
    question: (NameRef<'z>, u16),
    all: Vec<Candidate>,
    tries: u32,
    /// Why not everybody was asked who could have been: that is the question's doing, and says
    /// nothing of the zone.
    cut_short: Option<Failure>,
}

impl Candidates<'_> {
    fn add<S: Surroundings>(&mut self, recursor: &Recursor<S>, address: SocketAddr) {
        if self.all.len() < CANDIDATES_MAX && self.all.iter().all(|known| known.address != address)
        {
            self.all.push(Candidate {
                address,
                server: recursor.servers.at(address),
                tries: 0,
                is_out: false,
            });
        }
    }

    /// Whether there is a server that was not asked yet.
    fn has_untried(&self) -> bool {
        self.all
            .iter()
            .any(|candidate| !candidate.is_out && candidate.tries == 0)
    }

    /// A try at a server, which is the question's `tries`th.
    fn attempt(place: usize, candidate: &Candidate, outlook: &Outlook, tries: u32) -> Try {
        let is_late = !outlook.is_down && candidate.tries == 1 && tries <= LATE_TRIES_MAX;
        Try {
            place,
            patience: outlook.patience,
            plainness: PLAINNESS[(tries.saturating_sub(1) as usize) % PLAINNESS.len()],
            wait: if is_late { LATE_MAX } else { DATAGRAM_MAX },
        }
    }

    /// The next to ask, and how.
    fn next<S: Surroundings>(&mut self, recursor: &Recursor<S>, now: Duration) -> Option<Try> {
        // Tries at one server of one are the usual case, and need no lottery.
        if let [only] = &mut self.all[..] {
            let outlook = only.server.outlook(self.zone, now);
            let max = if outlook.is_down {
                TRIES_AT_DOWN_MAX
            } else {
                TRIES_AT_ONE_MAX
            };
            let may_be_asked = !only.is_out && only.tries < max;
            only.tries += u32::from(may_be_asked);
            return may_be_asked.then(|| Self::attempt(0, only, &outlook, only.tries));
        }
        let outlooks: Vec<_> = self
            .all
            .iter()
            .map(|candidate| candidate.server.outlook(self.zone, now))
            .collect();
        let are_down = outlooks.iter().all(|outlook| outlook.is_down);
        if self.tries
            >= if are_down {
                TRIES_AT_DOWN_MAX
            } else {
                TRIES_MAX
            }
        {
            return None;
        }
        let each = (TRIES_AT_ONE_MAX / (self.all.len().max(1) as u32)).max(TRIES_AT_EACH_MIN);
        let mut chance = recursor.surroundings.random();
        let cost = |(place, candidate): (usize, &Candidate)| {
            let outlook = &outlooks[place];
            let burden =
                candidate.tries + 2 * u32::from(outlook.is_lame) + 3 * u32::from(outlook.is_down);
            // Half to three halves of what it needs: the fast ones are asked most, the others now
            // and then.
            chance = chance.rotate_left(11).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let share = 512 + (chance >> 54);
            (burden, outlook.rtt.as_micros() as u64 * share)
        };
        let mut costs: Vec<(usize, (u32, u64))> = Vec::with_capacity(self.all.len());
        let mut cost = cost;
        for (place, candidate) in self.all.iter().enumerate() {
            if !candidate.is_out && candidate.tries < each {
                costs.push((place, cost((place, candidate))));
            }
        }
        let (place, _) = costs.into_iter().min_by_key(|(_, cost)| *cost)?;
        self.tries += 1;
        self.all[place].tries += 1;
        Some(Self::attempt(
            place,
            &self.all[place],
            &outlooks[place],
            self.tries,
        ))
    }
}

impl<S: Surroundings> Recursor<S> {
    /// Asks a zone, or waits for whoever asks it the same.
    pub(super) async fn ask_zone(
        &self,
        quest: &Quest,
        path: &Path<'_>,
        cut: &Cut,
        name: NameRef<'_>,
        record_type: u16,
    ) -> Result<Arc<Sifted>, Failure> {
        let key = ZoneQuestion {
            zone: cut.zone.clone(),
            name: name.to_owned(),
            record_type,
        };
        let patience = (!path.is_first()).then_some(JOIN_MAX);
        let ask = async {
            self.ask_servers(quest, path, cut, name, record_type)
                .await
                .map(Arc::new)
        };
        // Another's purse may be empty where ours is not.
        let is_for_all = |result: &Result<_, Failure>| !matches!(result, Err(failure) if failure.is_of_question() && *failure != Failure::Busy);
        self.flights.join(&key, patience, is_for_all, ask).await
    }

    async fn ask_servers(
        &self,
        quest: &Quest,
        path: &Path<'_>,
        cut: &Cut,
        name: NameRef<'_>,
        record_type: u16,
    ) -> Result<Sifted, Failure> {
        let mut candidates = Candidates {
            zone: &cut.zone,
            question: (name, record_type),
            all: Vec::new(),
            tries: 0,
            cut_short: None,
        };
        let mut unknown = self.known_addresses(cut, |address| candidates.add(self, address));
        let mut asked = FuturesUnordered::new();
        let mut hearsay = None;
        let mut failure = Failure::NoServers;
        let mut names_left = SERVER_NAMES_MAX;
        let is_for_server = !path.is_first();
        let exchange = |candidates: &Candidates<'_>,
                        Try {
                            place,
                            plainness,
                            wait,
                            ..
                        }: Try| {
            let address = candidates.all[place].address;
            let server = Arc::clone(&candidates.all[place].server);
            let ask = Ask {
                cut,
                address,
                server,
                name,
                record_type,
                is_for_server,
                plainness,
                wait,
            };
            async move { (place, self.exchange(quest, ask).await) }
        };
        // Taken by whoever must wait: a zone that answers at once is never full.
        let mut place_in_queue = None;
        loop {
            let now = self.surroundings.now();
            let left = quest.time_left(now)?;
            let mut latest = None;
            let mut patience = left;
            // A server whose address must be found first may be the good one: before anybody is
            // asked twice.
            let may_seek = names_left > 0 && !unknown.is_empty();
            let next = if may_seek && !candidates.has_untried() {
                None
            } else {
                candidates.next(self, now)
            };
            // Or those that are known seem down, and enough of them were tried.
            let seeks = may_seek && next.is_none();
            match next {
                Some(attempt) => {
                    latest = Some(attempt.place);
                    patience = attempt.patience.min(left);
                    asked.push(exchange(&candidates, attempt));
                }
                None if seeks && let Some(server) = unknown.pop() => {
                    names_left -= 1;
                    // Boxed, so that it takes no room in every other resolution.
                    let mut find = Box::pin(self.addresses_of(quest, path, &server));
                    let found = loop {
                        // The name may take long, or never be found: meanwhile the others are asked
                        // again.
                        let alone = self.surroundings.sleep(FIND_ALONE);
                        tokio::select! {
                            biased;
                            Some((place, result)) = asked.next(), if !asked.is_empty() => {
                                if let Some(sifted) = self.weigh(quest, &mut candidates, place, result, &mut hearsay, &mut failure)? {
                                    return Ok(sifted);
                                }
                            }
                            found = &mut find => break found,
                            () = alone => {
                                if let Some(attempt) = candidates.next(self, self.surroundings.now()) {
                                    asked.push(exchange(&candidates, attempt));
                                }
                            }
                        }
                    };
                    match found {
                        Ok(addresses) => addresses
                            .into_iter()
                            .for_each(|address| candidates.add(self, address)),
                        Err(Failure::TooLong) => return Err(Failure::TooLong),
                        Err(failure @ (Failure::TooMuchWork | Failure::Busy)) => {
                            if failure == Failure::TooMuchWork {
                                names_left = 0;
                            }
                            candidates.cut_short.get_or_insert(failure);
                        }
                        Err(_) => {}
                    }
                    // What its own zone's parent says of its address may be better than what its
                    // zone says.
                    self.glue_of(&server)
                        .into_iter()
                        .for_each(|address| candidates.add(self, address));
                    continue;
                }
                None if asked.is_empty() => break,
                None => {}
            }
            let timer = self.surroundings.sleep(patience);
            tokio::pin!(timer);
            tokio::select! {
                biased;
                Some((place, result)) = asked.next() => {
                    if let Some(sifted) = self.weigh(quest, &mut candidates, place, result, &mut hearsay, &mut failure)? {
                        return Ok(sifted);
                    }
                }
                () = &mut timer => {
                    if place_in_queue.is_none() {
                        place_in_queue = Some(self.gate.try_acquire(&cut.zone).ok_or_else(|| self.counts.limited("zone"))?);
                    }
                    if let Some(place) = latest {
                        candidates.all[place].server.was_silent(self.surroundings.now());
                        self.counts.silences.increment(1);
                        if failure == Failure::NoServers {
                            failure = Failure::Unreachable;
                        }
                    }
                }
            }
        }
        hearsay.ok_or(candidates.cut_short.unwrap_or(failure))
    }

    /// Judges what one server said: an answer to go on with, or none.
    fn weigh(
        &self,
        quest: &Quest,
        candidates: &mut Candidates<'_>,
        place: usize,
        result: Result<Sifted, Trouble>,
        hearsay: &mut Option<Sifted>,
        failure: &mut Failure,
    ) -> Result<Option<Sifted>, Failure> {
        let now = self.surroundings.now();
        let (zone, (name, record_type)) = (candidates.zone.borrow(), candidates.question);
        let candidate = &mut candidates.all[place];
        let address = candidate.address;
        let subject = || describe(address, zone, name, record_type);
        let sifted = match result {
            Ok(sifted) => sifted,
            Err(Trouble::Spent(spent)) => return Err(spent),
            Err(trouble) => {
                let (what, becomes) = match trouble {
                    Trouble::Silent => ("silent", Failure::Unreachable),
                    Trouble::Unreachable => ("unreachable", Failure::Network),
                    Trouble::Unreadable => ("unreadable", Failure::Useless),
                    Trouble::Busy | Trouble::Spent(_) => ("asked by too many", Failure::Busy),
                };
                candidate.is_out |= matches!(
                    trouble,
                    Trouble::Unreachable | Trouble::Unreadable | Trouble::Busy
                );
                if matches!(trouble, Trouble::Busy) {
                    candidates.cut_short.get_or_insert(Failure::Busy);
                }
                quest.note(now, || format!("{}: {what}", subject()));
                if *failure != Failure::Useless {
                    *failure = becomes;
                }
                return Ok(None);
            }
        };
        match &sifted.finding {
            Finding::Bad(fault) => {
                let fault = *fault;
                quest.note(now, || format!("{}: {fault:?}", subject()));
                self.counts.fault(fault);
                candidate.is_out = true;
                let refuses = matches!(fault, Fault::Lame | Fault::Code(ResponseCode::Refused));
                if refuses {
                    candidate.server.is_lame_for(candidates.zone, now);
                }
                *failure = Failure::Useless;
                Ok(None)
            }
            _ if !sifted.is_sound => {
                quest.note(now, || {
                    format!("{}: says it without authority, or nothing", subject())
                });
                candidate.is_out = true;
                *failure = Failure::Useless;
                hearsay.get_or_insert(sifted);
                Ok(None)
            }
            _ => Ok(Some(sifted)),
        }
    }

    /// Tells the addresses of a zone's servers that are known. Returns names to look up when those
    /// do not help: servers without address last, so that they are taken first, and servers
    /// elsewhere whose glue may be old.
    ///
    /// The glue of a delegation is the parent's word and counts alone, so that a server that the
    /// parent has exchanged cannot go on by what it says of its own address. What the server's own
    /// zone says is taken where there is no glue, and for a server outside of the zone that is
    /// asked also where its glue leads to no server of the zone.
    fn known_addresses(&self, cut: &Cut, mut add: impl FnMut(SocketAddr)) -> Vec<Name> {
        let now = self.surroundings.now();
        cut.addresses.iter().for_each(|&address| add(address));
        let apex = self.cuts.apex(&cut.zone, now);
        let further = apex
            .iter()
            .flat_map(|apex| &apex.servers)
            .filter(|server| !cut.servers.iter().any(|known| known.name == server.name));
        let mut unknown = Vec::new();
        let mut doubtful = Vec::new();
        for server in cut.servers.iter().chain(further) {
            let is_inside = server.name.borrow().is_within(cut.zone.borrow());
            let mut glue: Vec<SocketAddr> = server
                .glue
                .iter()
                .filter_map(|&address| self.address_to_ask(address))
                .collect();
            if glue.is_empty() {
                glue = self.glue_of(&server.name);
            }
            let leads_nowhere = |address: &SocketAddr| {
                let outlook = self.servers.at(*address).outlook(&cut.zone, now);
                outlook.is_down || outlook.is_lame
            };
            let mut said = Vec::new();
            if glue.is_empty() || !is_inside && glue.iter().all(leads_nowhere) {
                let kept = [RecordType::A, RecordType::AAAA].into_iter().map(u16::from);
                let kept = kept.filter_map(|record_type| {
                    self.rrsets
                        .of_server(server.name.borrow(), record_type, now)
                });
                said = kept
                    .flat_map(|kept| self.addresses_in(&kept.fact))
                    .collect();
            }
            match (said.is_empty(), glue.is_empty()) {
                (true, true) => unknown.push(server.name.clone()),
                // A server in its own zone could only be looked up at itself.
                (true, false) if !is_inside => doubtful.push(server.name.clone()),
                _ => {}
            }
            said.into_iter().chain(glue).for_each(&mut add);
        }
        self.shuffle(&mut unknown);
        doubtful.append(&mut unknown);
        doubtful
    }

    /// The addresses that came with a server's name when a zone it is in was delegated.
    fn glue_of(&self, server: &Name) -> Vec<SocketAddr> {
        let glue = self.cuts.glue_of(server, self.surroundings.now());
        glue.into_iter()
            .filter_map(|address| self.address_to_ask(address))
            .collect()
    }

    fn shuffle(&self, names: &mut [Name]) {
        for place in (1..names.len()).rev() {
            names.swap(
                place,
                (self.surroundings.random() % (place as u64 + 1)) as usize,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(tries_at_one: u32, tries: u32, is_down: bool) -> Try {
        let address = SocketAddr::from(([192, 0, 2, 1], 53));
        let candidate = Candidate {
            address,
            server: Arc::default(),
            tries: tries_at_one,
            is_out: false,
        };
        let outlook = Outlook {
            is_down,
            ..candidate.server.outlook(&Name::root(), Duration::ZERO)
        };
        Candidates::attempt(7, &candidate, &outlook, tries)
    }

    #[test]
    fn only_first_tries_at_few_servers_wait_for_late_answers() {
        let wait =
            |tries_at_one, tries, is_down| attempt(tries_at_one, tries, is_down).wait.as_millis();
        assert_eq!([wait(1, 1, false), wait(1, 4, false)], [6_000; 2]);
        assert_eq!(
            [wait(1, 5, false), wait(2, 2, false), wait(1, 1, true)],
            [1_800; 3]
        );
        let first = attempt(1, 1, false);
        assert_eq!((first.place, first.patience.as_millis()), (7, 300));
    }

    #[test]
    fn of_four_tries_the_last_two_are_plainer() {
        use Plainness::{Bare, Full, Small};
        let plainness: Vec<Plainness> = (1..=9)
            .map(|tries| attempt(tries, tries, false).plainness)
            .collect();
        assert_eq!(
            plainness,
            [Full, Full, Small, Bare, Full, Full, Small, Bare, Full]
        );
    }
}
