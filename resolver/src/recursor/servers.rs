//! What is known of each server by its address: how fast it is, what it cannot do, whether it is there at all.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use foldhash::quality::RandomState;
use policy::name::Name;
use quick_cache::{UnitWeighter, sync::Cache};

use super::rrsets::counted;

/// Servers remembered. A count.
const SERVERS_MAX: usize = 200_000;
/// How long a server that was never asked is given before another one is asked too.
const UNKNOWN_PATIENCE: Duration = Duration::from_millis(300);
/// The least and the most of that patience for a server that is known.
const PATIENCE_MIN: Duration = Duration::from_millis(80);
const PATIENCE_MAX: Duration = Duration::from_millis(1_500);
/// How far silences lengthen it: a fourth each, up to this.
const BACKED_OFF_MAX: Duration = Duration::from_millis(700);
/// What a server that was never asked is taken to need: little, so that it gets its chance.
const UNKNOWN_RTT: Duration = Duration::from_millis(40);
/// So many silences in a row, over at least this time, and a server is down.
const DOWN_AFTER_SILENCES: u32 = 12;
const DOWN_AFTER: Duration = Duration::from_secs(5);
/// How long a server that is down is not counted on; doubled with each silence more.
const DOWN_FIRST: Duration = Duration::from_secs(2);
const DOWN_MAX: Duration = Duration::from_secs(120);
/// How long a server to which there is no way is asked last.
const UNREACHABLE_FOR: Duration = Duration::from_secs(60);
/// How long a server that has no authority for a zone is asked last there.
const LAME_FOR: Duration = Duration::from_secs(600);
/// Queries that may be under way to a server that is not known to answer. A count; a quarter of `dns.resolutions_max` as shipped.
const PLACES_ON_TRIAL: u32 = 1_000;
/// Zones that a server is remembered to be lame for. A count.
const LAME_ZONES_MAX: usize = 16;
/// How long it is remembered that a server cannot do something.
const UNABLE_FOR: Duration = Duration::from_secs(3_600);

/// One server.
#[derive(Debug, Default)]
pub struct Server(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Smoothed round-trip time and its variation, as in RFC 6298 section 2; none before the first reply.
    rtt: Option<(Duration, Duration)>,
    silences: u32,
    silent_since: Duration,
    down_until: Duration,
    without_edns_until: Duration,
    without_case_until: Duration,
    cookie: Vec<u8>,
    lame: Vec<(Name, Duration)>,
    in_flight: u32,
}

/// What to expect of a server now.
#[derive(Debug, Clone)]
pub struct Outlook {
    /// What it will probably need.
    pub rtt: Duration,
    /// How long to wait before somebody else is asked too.
    pub patience: Duration,
    /// It did not answer for long.
    pub is_down: bool,
    /// It has no authority for the zone.
    pub is_lame: bool,
}

impl Server {
    /// What to expect.
    #[must_use]
    pub fn outlook(&self, zone: &Name, now: Duration) -> Outlook {
        let state = self.state();
        let (rtt, patience) = match state.rtt {
            None => (UNKNOWN_RTT, UNKNOWN_PATIENCE),
            Some((rtt, variation)) => (rtt, (rtt + 4 * variation).clamp(PATIENCE_MIN, PATIENCE_MAX)),
        };
        let backed_off = patience * 5_u32.pow(state.silences.min(8)) / 4_u32.pow(state.silences.min(8));
        Outlook {
            rtt: rtt * (1 + state.silences.min(20)),
            patience: backed_off.min(patience.max(BACKED_OFF_MAX)),
            is_down: state.down_until > now,
            is_lame: state.lame.iter().any(|(lame, until)| lame == zone && *until > now),
        }
    }

    /// It replied, after so long.
    pub fn replied(&self, rtt: Duration) {
        let mut state = self.state();
        state.rtt = Some(match state.rtt {
            None => (rtt, rtt / 2),
            Some((smooth, variation)) => ((smooth * 7 + rtt) / 8, (variation * 3 + smooth.abs_diff(rtt)) / 4),
        });
        state.silences = 0;
        state.down_until = Duration::ZERO;
    }

    /// It did not reply in time.
    pub fn was_silent(&self, now: Duration) {
        let mut state = self.state();
        if state.silences == 0 {
            state.silent_since = now;
        }
        state.silences += 1;
        if state.silences >= DOWN_AFTER_SILENCES && now >= state.silent_since + DOWN_AFTER {
            let doubled = DOWN_FIRST * 2_u32.pow((state.silences - DOWN_AFTER_SILENCES).min(6));
            state.down_until = now + doubled.min(DOWN_MAX);
        }
    }

    /// The network has no way to it: it is asked last for a while.
    pub fn was_unreachable(&self, now: Duration) {
        self.state().down_until = now + UNREACHABLE_FOR;
    }

    /// It has no authority for a zone.
    pub fn is_lame_for(&self, zone: &Name, now: Duration) {
        let mut state = self.state();
        state.lame.retain(|(lame, until)| lame != zone && *until > now);
        state.lame.truncate(LAME_ZONES_MAX - 1);
        state.lame.push((zone.clone(), now + LAME_FOR));
    }

    /// Whether it takes EDNS, as far as is known.
    #[must_use]
    pub fn takes_edns(&self, now: Duration) -> bool {
        self.state().without_edns_until <= now
    }

    /// It does not take EDNS.
    pub fn takes_no_edns(&self, now: Duration) {
        self.state().without_edns_until = now + UNABLE_FOR;
    }

    /// Whether it repeats our letter case, as far as is known.
    #[must_use]
    pub fn keeps_case(&self, now: Duration) -> bool {
        self.state().without_case_until <= now
    }

    /// It does not repeat our letter case, which it said over TCP, where nobody else can.
    pub fn keeps_no_case(&self, now: Duration) {
        self.state().without_case_until = now + UNABLE_FOR;
    }

    /// The cookie it gave us; empty before that.
    #[must_use]
    pub fn cookie(&self) -> Vec<u8> {
        self.state().cookie.clone()
    }

    /// Takes the cookie it gave.
    pub fn gave_cookie(&self, cookie: &[u8]) {
        let mut state = self.state();
        if state.cookie != cookie {
            state.cookie = cookie.to_vec();
        }
    }

    /// Takes one of `max` places at this server; none when all are taken. Who never answered, or did not the last time, has
    /// fewer: a flood that waits for it must not take the places of everybody else.
    pub fn enter(self: &Arc<Self>, max: u32) -> Option<Visit> {
        let mut state = self.state();
        let is_in_good_standing = state.rtt.is_some() && state.silences == 0;
        (state.in_flight < if is_in_good_standing { max } else { max.min(PLACES_ON_TRIAL) }).then(|| {
            state.in_flight += 1;
            Visit(Arc::clone(self))
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds the lock")
    }
}

/// A place at a server; given back when it is dropped.
pub struct Visit(Arc<Server>);

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}

/// All servers that were asked lately.
pub struct Servers(Cache<SocketAddr, Arc<Server>, UnitWeighter, RandomState>);

impl Servers {
    /// Knows none yet.
    #[must_use]
    pub fn new() -> Self {
        Self(counted(SERVERS_MAX))
    }

    /// The server at an address.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Arc<Server> {
        self.0.get(&address).unwrap_or_else(|| {
            let server = Arc::new(Server::default());
            self.0.insert(address, Arc::clone(&server));
            server
        })
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
