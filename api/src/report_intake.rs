//! How often the public may report, and how soon an operator should answer.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{Quota, RateLimiter, clock::MonotonicClock, state::keyed::HashMapStateStore};
use jiff::SignedDuration;

/// Takes reports of the public.
pub struct ReportIntake {
    pub(crate) answer_within: SignedDuration,
    pub(crate) limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, MonotonicClock>,
}

impl ReportIntake {
    /// Reports are due within `answer_within`; an address may send `per_minute` requests a minute.
    #[must_use]
    pub fn new(answer_within: Duration, per_minute: NonZeroU32) -> Self {
        let answer_within =
            SignedDuration::try_from(answer_within).unwrap_or(SignedDuration::from_hours(72));
        Self {
            answer_within,
            limiter: RateLimiter::hashmap_with_clock(Quota::per_minute(per_minute), MonotonicClock),
        }
    }
}
