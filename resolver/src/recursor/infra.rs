//! What is known of each server by its address: how fast it is, what it cannot do, whether it is
//! there at all. And what is known of a server in one zone: how it reads letter case there
//! ([`ZoneQuirks`]).

use std::{
    hash::BuildHasher as _,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use foldhash::quality::RandomState;
use policy::name::Name;
use quick_cache::{UnitWeighter, sync::Cache};

use super::rrsets::counted;

/// InfraCache remembered. A count.
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
/// Queries that may be under way to a server that is not known to answer. A count; a quarter of
/// `dns.resolutions_max` as shipped.
const PLACES_ON_TRIAL: u32 = 1_000;
/// Zones that a server is remembered to be lame for. A count.
const LAME_ZONES_MAX: usize = 16;
/// How long it is remembered that a server can, or cannot, do something.
pub const UNABLE_FOR: Duration = Duration::from_secs(3_600);
/// The same where that is only probable: a server that was silent answered a plainer query, or a
/// datagram was lost.
pub const DOUBTED_FOR: Duration = Duration::from_secs(300);
/// Pairs of a server and a zone whose quirks are remembered. A count.
const HABITS_MAX: usize = 100_000;
/// How long it is remembered that a plainer query brought the same error.
const IN_VAIN_FOR_S: u32 = 60;
/// Denials that are compared with the answer in small letters, for one server and zone of which
/// nothing is known yet: so many at once, and one more each second. A flood of names that do not
/// exist costs a zone no second query for each.
const COMPARISONS_AT_ONCE: u32 = 16;
/// Errors of one server that are asked about again more plainly: so many at once, and one more each
/// minute.
const PLAINER_AT_ONCE: u32 = 3;
const PLAINER_EACH: Duration = Duration::from_secs(60);

/// One server.
#[derive(Debug, Default)]
pub struct Server(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Smoothed round-trip time and its variation, as in RFC 6298 section 2; none before the first
    /// reply.
    rtt: Option<(Duration, Duration)>,
    silences: u32,
    silent_since: Duration,
    down_until: Duration,
    edns: Ability,
    options: Ability,
    without_case_until: Duration,
    /// Until when it is proved, by some zone, that it finds names in mixed letters.
    finds_mixed_until: Duration,
    /// When errors of it may be asked about again as often as at first.
    plainer_until: Duration,
    cookie: Vec<u8>,
    lame: Vec<(Name, Duration)>,
    in_flight: u32,
}

/// Whether a server can do something, as far as is known.
#[derive(Debug, Clone, Copy, Default)]
struct Ability {
    lacks_until: Duration,
    proved_until: Duration,
}

impl Ability {
    fn is_lacking(self, now: Duration) -> bool {
        self.lacks_until > now
    }

    fn is_proved(self, now: Duration) -> bool {
        self.proved_until > now
    }

    fn prove(&mut self, now: Duration) {
        *self = Self {
            lacks_until: Duration::ZERO,
            proved_until: now + UNABLE_FOR,
        };
    }

    fn lack(&mut self, now: Duration, lasts: Duration) {
        *self = Self {
            lacks_until: now + lasts,
            proved_until: Duration::ZERO,
        };
    }
}

/// What to expect of a server now.
#[derive(Debug, Clone)]
pub struct ServerEstimate {
    /// What it will probably need.
    pub rtt: Duration,
    /// How long to wait before somebody else is asked too.
    pub timeout: Duration,
    /// It did not answer for long.
    pub is_down: bool,
    /// It has no authority for the zone.
    pub is_lame: bool,
}

impl Server {
    /// What to expect.
    #[must_use]
    pub fn estimate(&self, zone: &Name, now: Duration) -> ServerEstimate {
        let state = self.state();
        let (rtt, patience) = match state.rtt {
            None => (UNKNOWN_RTT, UNKNOWN_PATIENCE),
            Some((rtt, variation)) => {
                (rtt, (rtt + 4 * variation).clamp(PATIENCE_MIN, PATIENCE_MAX))
            }
        };
        let backed_off =
            patience * 5_u32.pow(state.silences.min(8)) / 4_u32.pow(state.silences.min(8));
        ServerEstimate {
            rtt: rtt * (1 + state.silences.min(20)),
            timeout: backed_off.min(patience.max(BACKED_OFF_MAX)),
            is_down: state.down_until > now,
            is_lame: state
                .lame
                .iter()
                .any(|(lame, until)| lame == zone && *until > now),
        }
    }

    /// It replied, after so long.
    pub fn replied(&self, rtt: Duration) {
        let mut state = self.state();
        state.rtt = Some(match state.rtt {
            None => (rtt, rtt / 2),
            Some((smooth, variation)) => (
                (smooth * 7 + rtt) / 8,
                (variation * 3 + smooth.abs_diff(rtt)) / 4,
            ),
        });
        state.silences = 0;
        state.down_until = Duration::ZERO;
    }

    /// It did not reply in time.
    pub fn timed_out(&self, now: Duration) {
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
    pub fn mark_unreachable(&self, now: Duration) {
        self.state().down_until = now + UNREACHABLE_FOR;
    }

    /// It has no authority for a zone.
    pub fn mark_lame(&self, zone: &Name, now: Duration) {
        let mut state = self.state();
        state
            .lame
            .retain(|(lame, until)| lame != zone && *until > now);
        state.lame.truncate(LAME_ZONES_MAX - 1);
        state.lame.push((zone.clone(), now + LAME_FOR));
    }

    /// Whether it takes EDNS, as far as is known.
    #[must_use]
    pub fn takes_edns(&self, now: Duration) -> bool {
        !self.state().edns.is_lacking(now)
    }

    /// Whether it answered a query with EDNS lately.
    #[must_use]
    pub fn has_taken_edns(&self, now: Duration) -> bool {
        self.state().edns.is_proved(now)
    }

    /// It answers only queries without EDNS.
    pub fn takes_no_edns(&self, now: Duration, lasts: Duration) {
        self.state().edns.lack(now, lasts);
    }

    /// Whether it takes EDNS options, as far as is known.
    #[must_use]
    pub fn takes_options(&self, now: Duration) -> bool {
        !self.state().options.is_lacking(now)
    }

    /// Whether it answered a query with an option lately, or has given a cookie.
    #[must_use]
    pub fn has_taken_options(&self, now: Duration) -> bool {
        let state = self.state();
        state.options.is_proved(now) || !state.cookie.is_empty()
    }

    /// It answers only queries without EDNS options.
    pub fn takes_no_options(&self, now: Duration, lasts: Duration) {
        self.state().options.lack(now, lasts);
    }

    /// It answered, records or a denial, a query with EDNS, and with options.
    pub fn took(&self, has_options: bool, now: Duration) {
        let mut state = self.state();
        state.edns.prove(now);
        if has_options {
            state.options.prove(now);
        }
    }

    /// Whether it is proved, by some zone of its, that it finds names in mixed letters.
    #[must_use]
    pub fn finds_mixed(&self, now: Duration) -> bool {
        self.state().finds_mixed_until > now
    }

    /// It found a name in mixed letters.
    pub fn found_mixed(&self, now: Duration) {
        self.state().finds_mixed_until = now + UNABLE_FOR;
    }

    /// Whether an error of it may be asked about again, more plainly; that is taken to happen.
    pub fn may_be_asked_plainer(&self, now: Duration) -> bool {
        let mut state = self.state();
        let until = state.plainer_until.max(now) + PLAINER_EACH;
        let may = until <= now + PLAINER_EACH * PLAINER_AT_ONCE;
        if may {
            state.plainer_until = until;
        }
        may
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

    /// Being asked more plainly helped: that is not counted.
    pub fn plainer_helped(&self) {
        self.state().plainer_until = Duration::ZERO;
    }

    /// Takes one of `max` places at this server; none when all are taken. Who never answered, or
    /// did not the last time, has fewer: a flood that waits for it must not take the places of
    /// everybody else.
    pub fn enter(self: &Arc<Self>, max: u32) -> Option<InFlightGuard> {
        let mut state = self.state();
        let is_in_good_standing = state.rtt.is_some() && state.silences == 0;
        (state.in_flight
            < if is_in_good_standing {
                max
            } else {
                max.min(PLACES_ON_TRIAL)
            })
        .then(|| {
            state.in_flight += 1;
            InFlightGuard(Arc::clone(self))
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// A place at a server; given back when it is dropped.
pub struct InFlightGuard(Arc<Server>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}

/// How one server answers in one zone, each until a second of the recursor's clock. One address may
/// serve zones by different programs, and who owns a zone must not be able to say anything of
/// another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ZoneQuirks {
    small_until_s: u32,
    any_until_s: u32,
    in_vain_until_s: u32,
    compared_until_s: u32,
}

impl ZoneQuirks {
    /// Whether it answers rightly only what is asked in small letters.
    #[must_use]
    pub fn wants_small(&self, now: Duration) -> bool {
        seconds(now) < self.small_until_s
    }

    /// It answered otherwise in small letters.
    pub fn want_small(&mut self, now: Duration, lasts: Duration) {
        (self.small_until_s, self.any_until_s) = (seconds(now + lasts), 0);
    }

    /// Whether it found a name in mixed letters.
    #[must_use]
    pub fn finds_mixed(&self, now: Duration) -> bool {
        seconds(now) < self.any_until_s
    }

    /// It found a name in mixed letters.
    pub fn find_mixed(&mut self, now: Duration) {
        self.any_until_s = seconds(now + UNABLE_FOR);
    }

    /// Whether a plainer query brought the same error a moment ago.
    #[must_use]
    pub fn is_plainer_in_vain(&self, now: Duration) -> bool {
        seconds(now) < self.in_vain_until_s
    }

    /// A plainer query brought the same error.
    pub fn plainer_was_in_vain(&mut self, now: Duration) {
        self.in_vain_until_s = seconds(now) + IN_VAIN_FOR_S;
    }

    /// Whether one more denial may be compared with what is answered in small letters; that is
    /// taken to happen.
    pub fn may_compare(&mut self, now: Duration) -> bool {
        let until = self.compared_until_s.max(seconds(now)) + 1;
        let may = until <= seconds(now) + COMPARISONS_AT_ONCE;
        if may {
            self.compared_until_s = until;
        }
        may
    }
}

fn seconds(now: Duration) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

/// All servers that were asked lately.
pub struct InfraCache {
    servers: Cache<SocketAddr, Arc<Server>, UnitWeighter, RandomState>,
    /// By a fingerprint of server and zone.
    quirks: Cache<u64, ZoneQuirks, UnitWeighter, RandomState>,
    fingerprints: RandomState,
}

impl InfraCache {
    /// Knows none yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            servers: counted(SERVERS_MAX),
            quirks: counted(HABITS_MAX),
            fingerprints: RandomState::default(),
        }
    }

    /// The server at an address.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Arc<Server> {
        self.servers.get(&address).unwrap_or_else(|| {
            let server = Arc::new(Server::default());
            self.servers.insert(address, Arc::clone(&server));
            server
        })
    }

    /// How the server at an address answers in a zone.
    #[must_use]
    pub fn quirks(&self, address: SocketAddr, zone: &Name) -> ZoneQuirks {
        self.quirks
            .get(&self.fingerprint(address, zone))
            .unwrap_or_default()
    }

    /// Learns something of that. Two who learn at the same time may lose one lesson, which the next
    /// answer teaches again.
    pub fn learn<T>(
        &self,
        address: SocketAddr,
        zone: &Name,
        lesson: impl FnOnce(&mut ZoneQuirks) -> T,
    ) -> T {
        let mut quirks = self.quirks(address, zone);
        let before = quirks;
        let learnt = lesson(&mut quirks);
        if quirks != before {
            self.quirks.insert(self.fingerprint(address, zone), quirks);
        }
        learnt
    }

    fn fingerprint(&self, address: SocketAddr, zone: &Name) -> u64 {
        self.fingerprints.hash_one((address, zone))
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.servers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);

    fn zone(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn patience_ms(server: &Server) -> u128 {
        server.estimate(&Name::root(), S).timeout.as_millis()
    }

    #[test]
    fn a_stranger_gets_300_ms_and_a_known_server_its_round_trip_and_more() {
        let server = Server::default();
        assert_eq!(
            (patience_ms(&server), server.estimate(&Name::root(), S).rtt),
            (300, 40 * MS)
        );
        server.replied(100 * MS);
        // RFC 6298 section 2.2: the variation is half of the first, and four of it are added.
        assert_eq!(
            (patience_ms(&server), server.estimate(&Name::root(), S).rtt),
            (300, 100 * MS)
        );
        server.replied(180 * MS);
        // 7/8 of 100 and 1/8 of 180; 3/4 of 50 and 1/4 of the difference to 100.
        assert_eq!(
            (patience_ms(&server), server.estimate(&Name::root(), S).rtt),
            (110 + 4 * 57 + 2, 110 * MS)
        );
        let fast = Server::default();
        (0..50).for_each(|_| fast.replied(MS));
        assert_eq!(patience_ms(&fast), 80);
        let slow = Server::default();
        slow.replied(4 * S);
        assert_eq!(patience_ms(&slow), 1_500);
    }

    #[test]
    fn silence_lengthens_patience_by_a_fourth_up_to_700_ms() {
        let server = Server::default();
        let mut patience = Vec::new();
        for _ in 0..6 {
            server.timed_out(S);
            patience.push(patience_ms(&server));
        }
        assert_eq!(patience, [375, 468, 585, 700, 700, 700]);
        assert_eq!(
            server.estimate(&Name::root(), S).rtt,
            280 * MS,
            "who is silent is asked later than others"
        );
        server.replied(10 * MS);
        assert_eq!(server.estimate(&Name::root(), S).rtt, 10 * MS);
        let slow = Server::default();
        slow.replied(4 * S);
        slow.timed_out(S);
        assert_eq!(patience_ms(&slow), 1_500, "a longer patience is kept");
    }

    #[test]
    fn a_server_is_down_after_twelve_silences_over_five_seconds() {
        let is_down = |server: &Server, now| server.estimate(&Name::root(), now).is_down;
        let server = Server::default();
        (0..11).for_each(|_| server.timed_out(10 * S));
        assert!(!is_down(&server, 10 * S));
        server.timed_out(14 * S);
        assert!(
            !is_down(&server, 14 * S),
            "twelve, but within less than five seconds"
        );
        server.timed_out(15 * S);
        assert!(
            is_down(&server, 15 * S) && is_down(&server, 19 * S - MS) && !is_down(&server, 19 * S),
            "two seconds, doubled once"
        );
        server.timed_out(20 * S);
        assert!(is_down(&server, 28 * S - MS) && !is_down(&server, 28 * S));
        (0..20).for_each(|_| server.timed_out(30 * S));
        assert!(
            is_down(&server, 150 * S - MS) && !is_down(&server, 150 * S),
            "two minutes at most"
        );
        server.replied(MS);
        assert!(!is_down(&server, 31 * S));
        let few = Server::default();
        (0..11).for_each(|second| few.timed_out(second * S));
        assert!(!is_down(&few, 11 * S), "only eleven");
        let unreachable = Server::default();
        unreachable.mark_unreachable(S);
        assert!(is_down(&unreachable, 61 * S - MS) && !is_down(&unreachable, 61 * S));
    }

    #[test]
    fn a_server_is_lame_for_the_last_sixteen_zones_and_ten_minutes() {
        let server = Server::default();
        let is_lame = |name: &str, now| server.estimate(&zone(name), now).is_lame;
        server.mark_lame(&zone("a.example"), S);
        assert!(
            is_lame("a.example", 601 * S - MS)
                && !is_lame("a.example", 601 * S)
                && !is_lame("b.example", S)
        );
        for number in 0..40 {
            server.mark_lame(&zone(&format!("z{number}.example")), 2 * S);
        }
        assert!(server.state().lame.len() <= LAME_ZONES_MAX);
        assert!(is_lame("z39.example", 2 * S));
        server.mark_lame(&zone("z39.example"), 300 * S);
        assert_eq!(
            server
                .state()
                .lame
                .iter()
                .filter(|(lame, _)| *lame == zone("z39.example"))
                .count(),
            1
        );
    }

    #[test]
    fn what_a_server_cannot_do_is_known_for_as_long_as_said() {
        let server = Server::default();
        assert!(server.takes_edns(S) && server.takes_options(S) && server.keeps_case(S));
        assert!(
            !server.has_taken_edns(S) && !server.has_taken_options(S) && !server.finds_mixed(S)
        );
        server.takes_no_options(S, UNABLE_FOR);
        assert!(
            !server.takes_options(3_601 * S - MS)
                && server.takes_options(3_601 * S)
                && server.takes_edns(S)
        );
        server.takes_no_edns(S, DOUBTED_FOR);
        assert!(!server.takes_edns(301 * S - MS) && server.takes_edns(301 * S));
        server.took(false, 2 * S);
        assert!(server.takes_edns(2 * S) && server.has_taken_edns(2 * S));
        assert!(!server.takes_options(2 * S) && !server.has_taken_options(2 * S));
        server.took(true, 3 * S);
        assert!(server.has_taken_options(3_603 * S - MS) && !server.has_taken_options(3_603 * S));
        server.gave_cookie(b"server!!");
        assert!(
            server.has_taken_options(9_999 * S),
            "a cookie proves it for as long as it is there"
        );
        assert_eq!(server.cookie(), b"server!!");
        server.keeps_no_case(S);
        assert!(!server.keeps_case(3_601 * S - MS) && server.keeps_case(3_601 * S));
        server.found_mixed(S);
        assert!(server.finds_mixed(3_601 * S - MS) && !server.finds_mixed(3_601 * S));
    }

    #[test]
    fn errors_are_asked_about_more_plainly_three_times_and_once_a_minute() {
        let server = Server::default();
        let may = |now| server.may_be_asked_plainer(now);
        assert_eq!(
            [S, S, S, S, 60 * S].map(may),
            [true, true, true, false, false]
        );
        assert_eq!([61 * S, 61 * S, 121 * S].map(may), [true, false, true]);
        assert_eq!(
            [9_999 * S; 4].map(may),
            [true, true, true, false],
            "nothing is saved up"
        );
        server.plainer_helped();
        assert!(may(9_999 * S));
    }

    #[test]
    fn denials_are_compared_sixteen_times_and_once_a_second() {
        let mut quirks = ZoneQuirks::default();
        let mut compared = |second: u32| (0..30).filter(|_| quirks.may_compare(second * S)).count();
        assert_eq!([10, 10, 11, 14, 100].map(&mut compared), [16, 0, 1, 3, 16]);
    }

    #[test]
    fn habits_are_those_of_one_server_in_one_zone() {
        let servers = InfraCache::new();
        let [here, there] =
            ["192.0.2.1:53", "192.0.2.2:53"].map(|text| text.parse::<SocketAddr>().unwrap());
        let one = zone("one.example");
        let other = zone("other.example");
        servers.learn(here, &one, |quirks| quirks.want_small(S, DOUBTED_FOR));
        assert!(
            servers.quirks(here, &one).wants_small(300 * S)
                && !servers.quirks(here, &one).wants_small(301 * S)
        );
        assert!(
            !servers.quirks(here, &other).wants_small(S)
                && !servers.quirks(there, &one).wants_small(S)
        );
        servers.learn(here, &one, |quirks| quirks.find_mixed(2 * S));
        assert!(
            servers.quirks(here, &one).finds_mixed(3_601 * S)
                && !servers.quirks(here, &one).finds_mixed(3_602 * S)
        );
        servers.learn(here, &one, |quirks| quirks.want_small(3 * S, UNABLE_FOR));
        assert!(
            !servers.quirks(here, &one).finds_mixed(3 * S),
            "what it did last counts"
        );
        servers.learn(here, &one, |quirks| quirks.plainer_was_in_vain(3 * S));
        assert!(
            servers.quirks(here, &one).is_plainer_in_vain(62 * S)
                && !servers.quirks(here, &one).is_plainer_in_vain(63 * S)
        );
        assert!(
            Arc::ptr_eq(&servers.at(here), &servers.at(here))
                && !Arc::ptr_eq(&servers.at(here), &servers.at(there))
        );
        assert_eq!(servers.len(), 2);
    }

    #[test]
    fn a_server_in_good_standing_has_all_places_and_others_a_thousand() {
        let places = |server: &Arc<Server>, max| {
            let visits: Vec<_> = std::iter::from_fn(|| server.enter(max))
                .take(5_000)
                .collect();
            visits.len()
        };
        let server = Arc::new(Server::default());
        assert_eq!(
            (places(&server, 3_000), places(&server, 10)),
            (1_000, 10),
            "places are given back"
        );
        server.replied(MS);
        assert_eq!(places(&server, 3_000), 3_000);
        server.timed_out(S);
        assert_eq!(places(&server, 3_000), 1_000);
    }
}
