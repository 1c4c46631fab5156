//! Release of late replies: those of one client leave about as spread as its queries arrived.
//!
//! Many queries that wait for one slow server are answered at the same moment. Sent at once, their
//! replies would hit a client whose address was forged in one pulse (DNSBomb, CVE-2024-33655).

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use foldhash::HashMap;

use crate::admission::ClientKey;

/// A reply older than this is discarded behind a backlog: the client has asked again.
/// Unbound's `discard-timeout`.
const DISCARD_AFTER: Duration = Duration::from_millis(1_900);
/// Replies leave at most this many times as fast as their queries arrived.
const COMPRESSION_MAX: u32 = 4;
/// The longest pause between two replies, also to a client whose queries arrived slower.
const GAP_MAX: Duration = Duration::from_millis(5);
/// A reply that would wait longer has a backlog in front of it.
const BACKLOG: Duration = Duration::from_millis(50);
/// Clients that are remembered. A client with nothing waiting need not be.
const CLIENTS_MAX: usize = 16_384;

/// What is done with a late reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    Now,
    After(Duration),
    Discard,
}

/// When the next reply of each client may leave.
#[derive(Default)]
pub(super) struct Releases(Mutex<HashMap<ClientKey, Slot>>);

#[derive(Clone, Copy)]
struct Slot {
    /// The latest arrival of a query whose reply was released.
    arrived: Duration,
    next: Duration,
}

impl Releases {
    /// Takes the next slot of a client for the reply to a query that arrived at a time. Times are
    /// since the start.
    pub(super) fn take(&self, source: IpAddr, arrived: Duration, now: Duration) -> Release {
        let client = ClientKey::of_address(source);
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= CLIENTS_MAX && !slots.contains_key(&client) {
            slots.retain(|_, slot| slot.next > now);
            if slots.len() >= CLIENTS_MAX {
                return Release::Now;
            }
        }
        let fresh = Slot { arrived, next: now };
        let slot = slots.entry(client).or_insert(fresh);
        if slot.next + GAP_MAX < now {
            // No reply has left just before: this one follows none.
            *slot = fresh;
        }
        let wait = slot.next.saturating_sub(now);
        if wait > BACKLOG && (now + wait).saturating_sub(arrived) > DISCARD_AFTER {
            return Release::Discard;
        }
        let gap = arrived.saturating_sub(slot.arrived) / COMPRESSION_MAX;
        slot.arrived = slot.arrived.max(arrived);
        slot.next = now + wait + gap.min(GAP_MAX);
        if wait.is_zero() {
            Release::Now
        } else {
            Release::After(wait)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    /// When the replies of queries leave that arrived at these times, in milliseconds.
    fn released(arrivals: impl Iterator<Item = u64>, now: Duration) -> Vec<Option<Duration>> {
        let releases = Releases::default();
        arrivals
            .map(|arrived| match releases.take(CLIENT, ms(arrived), now) {
                Release::Now => Some(now),
                Release::After(wait) => Some(now + wait),
                Release::Discard => None,
            })
            .collect()
    }

    #[test]
    fn a_thousand_queries_of_a_second_are_not_answered_in_one_pulse() {
        let sent = released(0..1_000, ms(1_000));
        let last = sent.last().copied().flatten().unwrap();
        assert!((ms(1_240)..ms(1_260)).contains(&last), "{last:?}");
        let pulse = sent.iter().flatten().filter(|at| **at < ms(1_010)).count();
        assert!(pulse <= 42, "{pulse} in ten milliseconds");
    }

    #[test]
    fn old_replies_are_discarded_but_a_lone_one_is_sent_however_late() {
        // A quarter of a millisecond between two, and 50 ms without discarding.
        let sent = released(0..1_000, ms(3_000));
        let number = sent.iter().flatten().count();
        assert!((200..=205).contains(&number), "{number} of 1000");
        // Behind a backlog, only the young ones are sent.
        let sent = released((0..40).map(|number| number * 75), ms(3_000));
        let is_sent: Vec<bool> = sent.iter().map(Option::is_some).collect();
        assert_eq!(is_sent[..12], [true; 12], "{is_sent:?}");
        assert_eq!(is_sent[12..16], [false; 4], "{is_sent:?}");
        assert_eq!(is_sent[16..], [true; 24], "{is_sent:?}");
        assert_eq!(released([0].into_iter(), ms(9_000)), [Some(ms(9_000))]);
    }

    #[test]
    fn a_pair_of_queries_is_answered_at_once_whatever_came_before() {
        let releases = Releases::default();
        assert_eq!(releases.take(CLIENT, ms(0), ms(20)), Release::Now);
        for arrived in [ms(2_500), ms(2_501)] {
            assert_eq!(releases.take(CLIENT, arrived, ms(5_000)), Release::Now);
        }
    }

    #[test]
    fn a_client_that_is_answered_as_it_asks_never_waits() {
        let releases = Releases::default();
        for query in 0..10_000 {
            let arrived = Duration::from_micros(50 * query);
            assert_eq!(
                releases.take(CLIENT, arrived, arrived + ms(20)),
                Release::Now
            );
        }
    }

    #[test]
    fn clients_are_bounded_and_do_not_wait_for_each_other() {
        let releases = Releases::default();
        for number in 0..2 * CLIENTS_MAX as u32 {
            let source = IpAddr::V4(std::net::Ipv4Addr::from_bits(number));
            assert_eq!(releases.take(source, ms(0), ms(1)), Release::Now);
        }
        assert!(releases.0.lock().unwrap().len() <= CLIENTS_MAX);
    }
}
