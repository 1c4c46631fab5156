//! Asking one zone: which of its servers, for how long, and who else when that one does not help.
//!
//! Whoever does not answer in the time it should need is not given up: its answer still counts while the next one is asked. So a
//! lost datagram, a dead server and a slow one all cost one patience, and nothing is decided by guessing which it was.

use std::{io::ErrorKind, net::SocketAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RecordType,
};
use policy::name::{Name, NameRef};

use super::{
    Failure, Recursor,
    cuts::Cut,
    quest::{Path, Quest, describe},
    servers::Server,
    sift::{Asked, Fault, Finding, Role, Sifted, sift},
    surroundings::{Reception, Surroundings},
    wire::{CLIENT_COOKIE_OCTETS, Edns, Outgoing, cookie_of},
};

/// Queries for one question to the servers of one zone. A count.
const TRIES_MAX: u32 = 16;
/// The same where all servers seem down: enough to notice that they came back.
const TRIES_AT_DOWN_MAX: u32 = 3;
/// Tries at a single server, and at least at each of several.
const TRIES_AT_ONE_MAX: u32 = 12;
const TRIES_AT_EACH_MIN: u32 = 2;
/// Names of servers that are looked up for one question to one zone; Unbound stops after 5 that do not exist.
const SERVER_NAMES_MAX: usize = 5;
/// Exchanges with one server for one try: as it comes, without EDNS, with its cookie, over TCP, and one more.
const EXCHANGES_MAX: usize = 5;
/// How long a datagram's answer still counts.
const DATAGRAM_MAX: Duration = Duration::from_millis(1_800);
/// How long one exchange over TCP may take, connecting included.
const STREAM_MAX: Duration = Duration::from_secs(3);
/// A cookie with the server's part, which has 8 to 32 octets: RFC 7873 section 4.
const COOKIE_OCTETS: RangeInclusive<usize> = 16..=40;
/// What the system says where there is no way to a server at all, such as to IPv6 on a machine without it.
const WITHOUT_WAY: [ErrorKind; 4] =
    [ErrorKind::NetworkUnreachable, ErrorKind::HostUnreachable, ErrorKind::AddrNotAvailable, ErrorKind::Unsupported];
/// How long a look-up of a server's address goes on before those that are known are asked again beside it.
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

/// Why one server did not help.
enum Trouble {
    Silent,
    Unreachable,
    Unreadable,
    Busy,
    Spent(Failure),
}

/// A server that may be asked.
struct Candidate {
    address: SocketAddr,
    server: Arc<Server>,
    tries: u32,
    is_out: bool,
}

/// The servers that may be asked, in one question to one zone.
struct Candidates<'z> {
    zone: &'z Name,
    all: Vec<Candidate>,
    tries: u32,
    /// Why not everybody was asked who could have been: that is the question's doing, and says nothing of the zone.
    cut_short: Option<Failure>,
}

impl Candidates<'_> {
    fn add<S: Surroundings>(&mut self, recursor: &Recursor<S>, address: SocketAddr) {
        if self.all.len() < CANDIDATES_MAX && self.all.iter().all(|known| known.address != address) {
            self.all.push(Candidate { address, server: recursor.servers.at(address), tries: 0, is_out: false });
        }
    }

    /// Whether there is a server that was not asked yet.
    fn has_untried(&self) -> bool {
        self.all.iter().any(|candidate| !candidate.is_out && candidate.tries == 0)
    }

    /// The next to ask, and how long to wait for it alone.
    fn next<S: Surroundings>(&mut self, recursor: &Recursor<S>, now: Duration) -> Option<(usize, Duration)> {
        // Tries at one server of one are the usual case, and need no lottery.
        if let [only] = &mut self.all[..] {
            let outlook = only.server.outlook(self.zone, now);
            let max = if outlook.is_down { TRIES_AT_DOWN_MAX } else { TRIES_AT_ONE_MAX };
            let may_be_asked = !only.is_out && only.tries < max;
            only.tries += u32::from(may_be_asked);
            return may_be_asked.then_some((0, outlook.patience));
        }
        let outlooks: Vec<_> = self.all.iter().map(|candidate| candidate.server.outlook(self.zone, now)).collect();
        let are_down = outlooks.iter().all(|outlook| outlook.is_down);
        if self.tries >= if are_down { TRIES_AT_DOWN_MAX } else { TRIES_MAX } {
            return None;
        }
        let each = (TRIES_AT_ONE_MAX / (self.all.len().max(1) as u32)).max(TRIES_AT_EACH_MIN);
        let mut chance = recursor.surroundings.random();
        let cost = |(place, candidate): (usize, &Candidate)| {
            let outlook = &outlooks[place];
            let burden = candidate.tries + 2 * u32::from(outlook.is_lame) + 3 * u32::from(outlook.is_down);
            // Half to three halves of what it needs: the fast ones are asked most, the others now and then.
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
        Some((place, outlooks[place].patience))
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
        let key = ZoneQuestion { zone: cut.zone.clone(), name: name.to_owned(), record_type };
        let patience = (!path.is_first()).then_some(JOIN_MAX);
        let ask = async { self.ask_servers(quest, path, cut, name, record_type).await.map(Arc::new) };
        // Another's purse may be empty where ours is not.
        let is_for_all =
            |result: &Result<_, Failure>| !matches!(result, Err(failure) if failure.is_of_question() && *failure != Failure::Busy);
        self.flights.join(&key, patience, is_for_all, ask).await
    }

    async fn ask_servers(&self, quest: &Quest, path: &Path<'_>, cut: &Cut, name: NameRef<'_>, record_type: u16) -> Result<Sifted, Failure> {
        let mut candidates = Candidates { zone: &cut.zone, all: Vec::new(), tries: 0, cut_short: None };
        let mut unknown = self.known_addresses(cut, |address| candidates.add(self, address));
        let (mut asked, mut hearsay, mut failure) = (FuturesUnordered::new(), None, Failure::NoServers);
        let (mut names_left, is_for_server) = (SERVER_NAMES_MAX, !path.is_first());
        let exchange = |candidates: &Candidates<'_>, place: usize| {
            let (address, server) = (candidates.all[place].address, Arc::clone(&candidates.all[place].server));
            async move { (place, self.exchange(quest, cut, (address, &server), (name, record_type), is_for_server).await) }
        };
        // Taken by whoever must wait: a zone that answers at once is never full.
        let mut place_in_queue = None;
        loop {
            let now = self.surroundings.now();
            let left = quest.time_left(now)?;
            let mut latest = None;
            let mut patience = left;
            // A server whose address must be found first may be the good one: before anybody is asked twice.
            let may_seek = names_left > 0 && !unknown.is_empty();
            let next = if may_seek && !candidates.has_untried() { None } else { candidates.next(self, now) };
            // Or those that are known seem down, and enough of them were tried.
            let seeks = may_seek && next.is_none();
            match next {
                Some((place, wait)) => {
                    latest = Some(place);
                    patience = wait.min(left);
                    asked.push(exchange(&candidates, place));
                }
                None if seeks && let Some(server) = unknown.pop() => {
                    names_left -= 1;
                    // Boxed, so that it takes no room in every other resolution.
                    let mut find = Box::pin(self.addresses_of(quest, path, &server));
                    let found = loop {
                        // The name may take long, or never be found: meanwhile the others are asked again.
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
                                if let Some((place, _)) = candidates.next(self, self.surroundings.now()) {
                                    asked.push(exchange(&candidates, place));
                                }
                            }
                        }
                    };
                    match found {
                        Ok(addresses) => addresses.into_iter().for_each(|address| candidates.add(self, address)),
                        Err(Failure::TooLong) => return Err(Failure::TooLong),
                        Err(failure @ (Failure::TooMuchWork | Failure::Busy)) => {
                            if failure == Failure::TooMuchWork {
                                names_left = 0;
                            }
                            candidates.cut_short.get_or_insert(failure);
                        }
                        Err(_) => {}
                    }
                    // What its own zone's parent says of its address may be better than what its zone says.
                    self.glue_of(&server).into_iter().for_each(|address| candidates.add(self, address));
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
                        place_in_queue = Some(self.gate.enter(&cut.zone).ok_or_else(|| self.counts.limited("zone"))?);
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
        let candidate = &mut candidates.all[place];
        let address = candidate.address;
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
                candidate.is_out |= matches!(trouble, Trouble::Unreachable | Trouble::Unreadable | Trouble::Busy);
                if matches!(trouble, Trouble::Busy) {
                    candidates.cut_short.get_or_insert(Failure::Busy);
                }
                quest.note(now, || format!("{address}: {what}"));
                if *failure != Failure::Useless {
                    *failure = becomes;
                }
                return Ok(None);
            }
        };
        match &sifted.finding {
            Finding::Bad(fault) => {
                let fault = *fault;
                quest.note(now, || format!("{address}: {fault:?}"));
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
                quest.note(now, || format!("{address}: says it without authority, or nothing"));
                candidate.is_out = true;
                *failure = Failure::Useless;
                hearsay.get_or_insert(sifted);
                Ok(None)
            }
            _ => Ok(Some(sifted)),
        }
    }

    /// Asks one server, and again in another way where it cannot answer in this one.
    async fn exchange(
        &self,
        quest: &Quest,
        cut: &Cut,
        (address, server): (SocketAddr, &Arc<Server>),
        (name, record_type): (NameRef<'_>, u16),
        is_for_server: bool,
    ) -> Result<Sifted, Trouble> {
        let Some(_visit) = server.enter(self.settings.queries_per_server_max) else {
            self.counts.limited("server");
            return Err(Trouble::Busy);
        };
        let wants_apex = cut.is_hint || !cut.is_fixed && self.cuts.apex(&cut.zone, self.surroundings.now()).is_none();
        let asked =
            Asked { zone: cut.zone.borrow(), name, record_type, role: cut.role, hardens_glue: self.settings.hardens_glue, wants_apex };
        let client_cookie = self.client_cookie(address);
        let (mut with_edns, mut over_tcp) = (server.takes_edns(self.surroundings.now()), cut.tls.is_some());
        let (mut has_cookie_trouble, mut has_other_case, mut plainly) = (false, false, false);
        for _ in 0..EXCHANGES_MAX {
            quest.pay_query(is_for_server).map_err(Trouble::Spent)?;
            let began = self.surroundings.now();
            let left = quest.time_left(began).map_err(Trouble::Spent)?;
            let server_cookie = server.cookie();
            let edns = Edns { cookie: [&client_cookie[..], &server_cookie].concat() };
            let mixes = self.settings.case_randomisation && !plainly && server.keeps_case(began);
            let outgoing = Outgoing {
                id: self.surroundings.random() as u16,
                name,
                record_type,
                recursion_desired: cut.role == Role::Forwarder,
                case: if mixes { self.surroundings.random() } else { 0 },
                edns: with_edns.then_some(&edns),
            };
            let (packet, expected) = outgoing.encode();
            let reception = if let Some(tls_name) = &cut.tls {
                self.counts.tls.increment(1);
                self.surroundings.tls(address, tls_name, &packet, &expected, STREAM_MAX.min(left)).await
            } else if over_tcp {
                self.counts.tcp.increment(1);
                self.surroundings.tcp(address, &packet, &expected, STREAM_MAX.min(left)).await
            } else {
                self.counts.udp.increment(1);
                self.surroundings.udp(address, &packet, &expected, DATAGRAM_MAX.min(left)).await
            };
            let now = self.surroundings.now();
            let mut wire = match reception {
                Reception::Reply(wire) => wire,
                // Id and port were right, only the letters were not, and TCP leads nowhere: once more in small letters.
                Reception::Silent | Reception::Unreachable(_) if over_tcp && cut.tls.is_none() && std::mem::take(&mut has_other_case) => {
                    (over_tcp, plainly) = (false, true);
                    continue;
                }
                Reception::Silent => return Err(Trouble::Silent),
                Reception::Unreachable(error) => {
                    if !over_tcp && WITHOUT_WAY.contains(&error.kind()) {
                        server.was_unreachable(now);
                    }
                    quest.note(now, || format!("{}: {error}", describe(address, asked.zone, name, record_type)));
                    return Err(Trouble::Unreachable);
                }
                Reception::NearMiss { is_case } => {
                    has_other_case = is_case;
                    self.counts.near_misses.increment(1);
                    quest.note(now, || format!("{}: nearly a reply, so over TCP", describe(address, asked.zone, name, record_type)));
                    over_tcp = true;
                    continue;
                }
            };
            quest.pay_octets(wire.len()).map_err(Trouble::Spent)?;
            server.replied(now.saturating_sub(began));
            if over_tcp && !expected.keeps_case(&wire) {
                server.keeps_no_case(now);
            }
            expected.restore_case(&mut wire, name);
            let Ok(message) = Message::from_vec(&wire) else {
                quest.note(now, || format!("{}: unreadable", describe(address, asked.zone, name, record_type)));
                // Nonsense under the right id may be somebody's who wants the wait to end (TuDoor).
                if std::mem::replace(&mut over_tcp, true) {
                    return Err(Trouble::Unreadable);
                }
                continue;
            };
            let code = message.metadata.response_code;
            quest.note(now, || {
                let way = match (&cut.tls, over_tcp) {
                    (Some(_), _) => "TLS",
                    (None, true) => "TCP",
                    (None, false) => "UDP",
                };
                let counts = [&message.answers, &message.authorities, &message.additionals].map(Vec::len);
                let took = (now - began).as_secs_f64() * 1e3;
                format!("{} -> {code} {counts:?} over {way} in {took:.1} ms", describe(address, asked.zone, name, record_type))
            });
            let cookie = message.edns.as_ref().and_then(cookie_of);
            let is_forged = match cookie {
                Some(cookie) => !cookie.starts_with(&client_cookie),
                None => with_edns && !server_cookie.is_empty(),
            };
            if is_forged && !over_tcp {
                self.counts.near_misses.increment(1);
                over_tcp = true;
                continue;
            }
            match cookie {
                Some(cookie) if !is_forged && COOKIE_OCTETS.contains(&cookie.len()) => server.gave_cookie(&cookie[CLIENT_COOKIE_OCTETS..]),
                // It says so where nobody else can: it has no cookies any more.
                None if is_forged && over_tcp && matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) => server.gave_cookie(&[]),
                _ => {}
            }
            match code {
                ResponseCode::BADCOOKIE if !over_tcp => {
                    over_tcp = std::mem::replace(&mut has_cookie_trouble, true);
                    continue;
                }
                ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS if with_edns => {
                    with_edns = false;
                    self.counts.without_edns.increment(1);
                    continue;
                }
                // Nothing is left that a server could not read: so it may not be the server's.
                ResponseCode::FormErr if !over_tcp => {
                    over_tcp = true;
                    continue;
                }
                _ if message.metadata.truncation && over_tcp => return Err(Trouble::Unreadable),
                _ if message.metadata.truncation => {
                    over_tcp = true;
                    continue;
                }
                _ => {}
            }
            if !with_edns && matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
                server.takes_no_edns(now);
            }
            return Ok(sift(&message, asked));
        }
        Err(Trouble::Unreadable)
    }

    /// Tells the addresses of a zone's servers that are known. Returns names to look up when those do not help: servers without
    /// address last, so that they are taken first, and servers elsewhere whose glue may be old.
    ///
    /// The glue of a delegation is the parent's word and counts alone, so that a server that the parent has exchanged cannot go on by what
    /// it says of its own address. What the server's own zone says is taken where there is no glue, and for a server outside of the zone
    /// that is asked also where its glue leads to no server of the zone.
    fn known_addresses(&self, cut: &Cut, mut add: impl FnMut(SocketAddr)) -> Vec<Name> {
        let now = self.surroundings.now();
        cut.addresses.iter().for_each(|&address| add(address));
        let apex = self.cuts.apex(&cut.zone, now);
        let further =
            apex.iter().flat_map(|apex| &apex.servers).filter(|server| !cut.servers.iter().any(|known| known.name == server.name));
        let (mut unknown, mut doubtful) = (Vec::new(), Vec::new());
        for server in cut.servers.iter().chain(further) {
            let is_inside = server.name.borrow().is_within(cut.zone.borrow());
            let mut glue: Vec<SocketAddr> = server.glue.iter().filter_map(|&address| self.address_to_ask(address)).collect();
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
                let kept = kept.filter_map(|record_type| self.rrsets.of_server(server.name.borrow(), record_type, now));
                said = kept.flat_map(|kept| self.addresses_in(&kept.fact)).collect();
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
        glue.into_iter().filter_map(|address| self.address_to_ask(address)).collect()
    }

    fn shuffle(&self, names: &mut [Name]) {
        for place in (1..names.len()).rev() {
            names.swap(place, (self.surroundings.random() % (place as u64 + 1)) as usize);
        }
    }
}
