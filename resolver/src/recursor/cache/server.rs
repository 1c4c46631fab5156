//! The state of one server, by its address: round-trip time, timeouts, supported features, cookie,
//! and queries in flight. Its size is fixed, so that a count of servers bounds their memory.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

/// The retransmission timeout of a server without a known round-trip time.
const UNKNOWN_RTO: Duration = Duration::from_millis(300);
/// Bounds of the retransmission timeout of a server with a known round-trip time.
const RTO_MIN: Duration = Duration::from_millis(80);
const RTO_MAX: Duration = Duration::from_millis(1_500);
/// Each timeout lengthens the retransmission timeout by a fourth, up to this.
const BACKED_OFF_MAX: Duration = Duration::from_millis(700);
/// The assumed round-trip time of a server without a known one: low, so that it is tried.
const UNKNOWN_RTT: Duration = Duration::from_millis(40);
/// A server is down after so many timeouts in a row, over at least this time.
const DOWN_AFTER_TIMEOUTS: u32 = 12;
const DOWN_AFTER: Duration = Duration::from_secs(5);
/// How long a server is down, doubled with each further timeout.
const DOWN_FIRST: Duration = Duration::from_secs(2);
const DOWN_MAX: Duration = Duration::from_secs(120);
/// A server that is down is queried once in this time, whatever the number of resolutions that need
/// it: enough to notice that it is up again. The others fail at once.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long a server is tried last to which the network has no route.
const UNREACHABLE_FOR: Duration = Duration::from_secs(60);
/// Queries in flight to a server that is not known to respond. A count; a quarter of
/// `dns.resolutions_max` as shipped.
const IN_FLIGHT_ON_TRIAL_MAX: u32 = 1_000;
/// The longest server cookie, in octets, RFC 7873 section 4.
const COOKIE_OCTETS_MAX: usize = 32;
/// How long a server is known to support a feature, or not to.
pub const UNSUPPORTED_FOR: Duration = Duration::from_secs(3_600);
/// The same where the feature is only suspected: a query without it was answered after timeouts,
/// which may be due to loss.
pub const SUSPECTED_FOR: Duration = Duration::from_secs(300);
/// Errors of one server that are followed by a fallback query: a burst, and one more each minute.
const FALLBACKS_BURST: u32 = 3;
const FALLBACKS_EVERY: Duration = Duration::from_secs(60);

/// The state of one server.
#[derive(Debug, Default)]
pub struct ServerState(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Smoothed round-trip time and its variation, RFC 6298 section 2. None before the first reply.
    rtt: Option<(Duration, Duration)>,
    /// Timeouts in a row, and when the first of them was.
    timeouts: u32,
    timeouts_since: Duration,
    down_until: Duration,
    next_probe: Duration,
    edns: Support,
    options: Support,
    folds_case_until: Duration,
    mixed_case_proved_until: Duration,
    /// The rate limit of fallback queries: when its burst is whole again.
    fallbacks_until: Duration,
    cookie: Cookie,
    in_flight: u32,
}

/// A server cookie; empty without one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cookie {
    octets: [u8; COOKIE_OCTETS_MAX],
    length: usize,
}

impl Cookie {
    /// A longer one is no cookie.
    fn new(cookie: &[u8]) -> Self {
        let mut kept = Self::default();
        if let Some(octets) = kept.octets.get_mut(..cookie.len()) {
            octets.copy_from_slice(cookie);
            kept.length = cookie.len();
        }
        kept
    }

    fn octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

/// What is known of the support of a feature.
#[derive(Debug, Clone, Copy, Default)]
struct Support {
    unsupported_until: Duration,
    proved_until: Duration,
}

impl Support {
    fn is_unsupported(self, now: Duration) -> bool {
        self.unsupported_until > now
    }

    fn is_proved(self, now: Duration) -> bool {
        self.proved_until > now
    }

    fn prove(&mut self, now: Duration) {
        *self = Self {
            unsupported_until: Duration::ZERO,
            proved_until: now + UNSUPPORTED_FOR,
        };
    }

    fn disprove(&mut self, now: Duration, lifetime: Duration) {
        *self = Self {
            unsupported_until: now + lifetime,
            proved_until: Duration::ZERO,
        };
    }
}

/// What to expect of a server.
#[derive(Debug, Clone)]
pub struct ServerEstimate {
    /// The round-trip time by which servers are ranked; timeouts lengthen it.
    pub rtt: Duration,
    /// The retransmission timeout: after it, another server is queried as well.
    pub rto: Duration,
    pub is_down: bool,
}

impl ServerState {
    #[must_use]
    pub fn estimate(&self, now: Duration) -> ServerEstimate {
        let state = self.state();
        let (rtt, rto) = match state.rtt {
            None => (UNKNOWN_RTT, UNKNOWN_RTO),
            Some((rtt, variation)) => (rtt, (rtt + 4 * variation).clamp(RTO_MIN, RTO_MAX)),
        };
        let exponent = state.timeouts.min(8);
        let backed_off = rto * 5_u32.pow(exponent) / 4_u32.pow(exponent);
        ServerEstimate {
            rtt: rtt * (1 + state.timeouts.min(20)),
            rto: backed_off.min(rto.max(BACKED_OFF_MAX)),
            is_down: state.down_until > now,
        }
    }

    /// Records a reply after this round-trip time.
    pub fn replied(&self, rtt: Duration) {
        let mut state = self.state();
        state.rtt = Some(match state.rtt {
            None => (rtt, rtt / 2),
            Some((smooth, variation)) => (
                (smooth * 7 + rtt) / 8,
                (variation * 3 + smooth.abs_diff(rtt)) / 4,
            ),
        });
        state.timeouts = 0;
        state.down_until = Duration::ZERO;
    }

    /// Records a query without a reply within the retransmission timeout.
    pub fn timed_out(&self, now: Duration) {
        let mut state = self.state();
        if state.timeouts == 0 {
            state.timeouts_since = now;
        }
        state.timeouts += 1;
        if state.timeouts >= DOWN_AFTER_TIMEOUTS && now >= state.timeouts_since + DOWN_AFTER {
            let doubled = DOWN_FIRST * 2_u32.pow((state.timeouts - DOWN_AFTER_TIMEOUTS).min(6));
            state.down_until = now + doubled.min(DOWN_MAX);
        }
    }

    /// Whether a resolution may query the server although it is down. One may in [`PROBE_EVERY`].
    #[must_use]
    pub fn begin_probe(&self, now: Duration) -> bool {
        let mut state = self.state();
        let may_probe = now >= state.next_probe;
        if may_probe {
            state.next_probe = now + PROBE_EVERY;
        }
        may_probe
    }

    /// Records that the network has no route to the server.
    pub fn set_unreachable(&self, now: Duration) {
        self.state().down_until = now + UNREACHABLE_FOR;
    }

    /// Whether queries to the server may have EDNS: false only where it is known not to support it.
    #[must_use]
    pub fn may_support_edns(&self, now: Duration) -> bool {
        !self.state().edns.is_unsupported(now)
    }

    /// Whether the server has given a useful response to a query with EDNS.
    #[must_use]
    pub fn supports_edns(&self, now: Duration) -> bool {
        self.state().edns.is_proved(now)
    }

    pub fn set_without_edns(&self, now: Duration, lifetime: Duration) {
        self.state().edns.disprove(now, lifetime);
    }

    /// Whether queries to the server may have EDNS options: false only where it is known not to
    /// support them.
    #[must_use]
    pub fn may_support_options(&self, now: Duration) -> bool {
        !self.state().options.is_unsupported(now)
    }

    /// Whether the server has given a useful response to a query with an EDNS option, or a cookie.
    #[must_use]
    pub fn supports_options(&self, now: Duration) -> bool {
        let state = self.state();
        state.options.is_proved(now) || state.cookie.length > 0
    }

    pub fn set_without_options(&self, now: Duration, lifetime: Duration) {
        self.state().options.disprove(now, lifetime);
    }

    /// Records a useful response to a query with EDNS, and perhaps with options.
    pub fn set_supports_edns(&self, with_options: bool, now: Duration) {
        let mut state = self.state();
        state.edns.prove(now);
        if with_options {
            state.options.prove(now);
        }
    }

    /// Whether the server has found a name in mixed case, in any zone.
    #[must_use]
    pub fn supports_mixed_case(&self, now: Duration) -> bool {
        self.state().mixed_case_proved_until > now
    }

    pub fn set_supports_mixed_case(&self, now: Duration) {
        self.state().mixed_case_proved_until = now + UNSUPPORTED_FOR;
    }

    /// Charges one fallback query after an error of the server. False where the rate limit is
    /// reached.
    pub fn try_fallback(&self, now: Duration) -> bool {
        let mut state = self.state();
        let until = state.fallbacks_until.max(now) + FALLBACKS_EVERY;
        let may = until <= now + FALLBACKS_EVERY * FALLBACKS_BURST;
        if may {
            state.fallbacks_until = until;
        }
        may
    }

    /// Gives the whole burst of fallback queries back, because one of them helped.
    pub fn refund_fallbacks(&self) {
        self.state().fallbacks_until = Duration::ZERO;
    }

    /// Whether the server may repeat the letter case of the query name: false only where it is known
    /// not to.
    #[must_use]
    pub fn may_repeat_case(&self, now: Duration) -> bool {
        self.state().folds_case_until <= now
    }

    /// Records over TCP, where replies cannot be spoofed, that the server does not repeat the letter
    /// case of the query name.
    pub fn set_folds_case(&self, now: Duration) {
        self.state().folds_case_until = now + UNSUPPORTED_FOR;
    }

    /// The server cookie, RFC 7873. Empty where the server has given none.
    #[must_use]
    pub fn cookie(&self) -> Vec<u8> {
        self.state().cookie.octets().to_vec()
    }

    pub fn set_cookie(&self, cookie: &[u8]) {
        self.state().cookie = Cookie::new(cookie);
    }

    /// Begins a query to the server. None where `max` queries are in flight. The limit is lower for
    /// a server that never responded, or not to the last query, so that a flood of queries to it
    /// does not use up the resolutions of the whole node.
    pub fn begin_query(self: &Arc<Self>, max: u32) -> Option<InFlightGuard> {
        let mut state = self.state();
        let is_responsive = state.rtt.is_some() && state.timeouts == 0;
        let max = if is_responsive {
            max
        } else {
            max.min(IN_FLIGHT_ON_TRIAL_MAX)
        };
        (state.in_flight < max).then(|| {
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

/// A query in flight to a server. Dropping it ends the query.
pub struct InFlightGuard(Arc<ServerState>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}

#[cfg(test)]
mod tests;
