//! How often the public may ask and report, and how soon an operator should answer.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use governor::{Quota, RateLimiter, clock::MonotonicClock, state::keyed::HashMapStateStore};
use jiff::SignedDuration;

use crate::problem::Problem;

/// The most addresses that are counted.
const COUNTED_MAX: usize = 100_000;

/// Takes reports of the public.
pub struct ReportIntake {
    pub(crate) answer_within: SignedDuration,
    limiter: AddressLimiter,
}

impl ReportIntake {
    /// Reports are due within `answer_within`; an address may send `per_minute` requests a minute.
    #[must_use]
    pub fn new(answer_within: Duration, per_minute: NonZeroU32) -> Self {
        let answer_within =
            SignedDuration::try_from(answer_within).unwrap_or(SignedDuration::from_hours(72));
        Self {
            answer_within,
            limiter: AddressLimiter::new(per_minute),
        }
    }

    /// Counts a request of an address, or refuses it.
    pub(crate) fn admit(&self, client: IpAddr) -> Result<(), Problem> {
        self.limiter.admit(client)
    }
}

/// Counts requests by address.
pub struct AddressLimiter(RateLimiter<IpAddr, HashMapStateStore<IpAddr>, MonotonicClock>);

impl AddressLimiter {
    /// An address may send `per_minute` requests a minute.
    #[must_use]
    pub fn new(per_minute: NonZeroU32) -> Self {
        Self(RateLimiter::hashmap_with_clock(
            Quota::per_minute(per_minute),
            MonotonicClock,
        ))
    }

    /// Counts a request of an address, or refuses it.
    pub(crate) fn admit(&self, client: IpAddr) -> Result<(), Problem> {
        if self.0.len() >= COUNTED_MAX {
            self.0.retain_recent();
        }
        if self.0.len() >= COUNTED_MAX {
            return Err(Problem::too_often(Duration::from_secs(60)));
        }
        self.0
            .check_key(&client)
            .map_err(|not_until| Problem::too_often(not_until.wait_time_from(Instant::now())))
    }
}
