//! Who is limited, since when and why.

use std::{fmt, time::Duration};

use foldhash::HashMap;
use ipnet::IpNet;
use policy::name::Name;

use super::client_key::ClientKey;

/// Groups that are remembered to be limited. A count.
const LIMITED_MAX: usize = 1_000;
/// How long a group is shown as limited after its last refusal.
const LIMITED_FOR: Duration = Duration::from_secs(60);
/// When all are taken, old ones are looked for this often.
const SWEPT_EVERY: Duration = Duration::from_secs(1);

/// A client, a zone or a network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitedGroup {
    Client(ClientKey),
    Zone(Name),
    Network(IpNet),
}

impl fmt::Display for LimitedGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(ClientKey::Household(id)) => write!(f, "household {id}"),
            Self::Client(ClientKey::Address(address)) => write!(f, "client {address}"),
            Self::Client(ClientKey::Device(mac)) => write!(f, "device {mac}"),
            Self::Client(ClientKey::Operator) => f.write_str("operator"),
            Self::Zone(zone) => write!(f, "zone {zone}"),
            Self::Network(network) => write!(f, "network {network}"),
        }
    }
}

/// Why a group is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitCause {
    /// It holds the most resolutions, or as many as one client may have.
    Resolutions,
    /// Nearly all of its resolutions fail.
    Failures,
    /// The rate of its queries.
    Queries,
    /// The rate of the octets that are sent to it.
    Responses,
    /// Its connections are refused, or closed for others.
    Connections,
}

impl fmt::Display for LimitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolutions => "it holds the most resolutions",
            Self::Failures => "nearly all of its resolutions fail",
            Self::Queries => "the rate of its queries",
            Self::Responses => "the rate of the octets that are sent to it",
            Self::Connections => "its connections, while all are taken",
        })
    }
}

/// How a group was limited. Times are since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    pub since: Duration,
    pub last: Duration,
    /// Queries that were limited, resolutions that were evicted, and connections that were refused
    /// or closed.
    pub queries: u64,
}

impl Limited {
    fn at(now: Duration) -> Self {
        Self {
            since: now,
            last: now,
            queries: 0,
        }
    }
}

/// The groups that were limited in the last minute.
#[derive(Default)]
pub(crate) struct LimitedGroups {
    groups: HashMap<(LimitedGroup, LimitCause), Limited>,
    /// When old ones were forgotten last.
    swept: Duration,
}

impl LimitedGroups {
    /// Remembers that queries of a group were limited. The first time is logged.
    pub(crate) fn note(&mut self, group: LimitedGroup, cause: LimitCause, now: Duration) {
        let key = (group, cause);
        if self.groups.len() >= LIMITED_MAX && !self.groups.contains_key(&key) {
            if now.saturating_sub(self.swept) >= SWEPT_EVERY {
                self.forget_old(now);
                self.forget_light();
            }
            if self.groups.len() >= LIMITED_MAX {
                return;
            }
        }
        let is_over = |limited: &Limited| now.saturating_sub(limited.last) > LIMITED_FOR;
        if self.groups.get(&key).is_none_or(is_over) {
            tracing::info!(group = %key.0, %cause, "limited");
            self.groups.insert(key.clone(), Limited::at(now));
        }
        if let Some(limited) = self.groups.get_mut(&key) {
            limited.last = now;
            limited.queries += 1;
        }
    }

    /// Makes room among too many: those that were limited as often as half of all, or less often, are
    /// forgotten. A crowd in which each is limited once hides none that is limited all the time.
    fn forget_light(&mut self) {
        if self.groups.len() < LIMITED_MAX {
            return;
        }
        let mut queries: Vec<u64> = self
            .groups
            .values()
            .map(|limited| limited.queries)
            .collect();
        let (_, median, _) = queries.select_nth_unstable(LIMITED_MAX / 2);
        let median = *median;
        self.groups.retain(|_, limited| limited.queries > median);
    }

    fn forget_old(&mut self, now: Duration) {
        self.swept = now;
        self.groups
            .retain(|_, limited| now.saturating_sub(limited.last) <= LIMITED_FOR);
    }

    /// The groups that are limited, longest first.
    pub(crate) fn current(&mut self, now: Duration) -> Vec<(LimitedGroup, LimitCause, Limited)> {
        self.forget_old(now);
        let mut limited: Vec<_> = self
            .groups
            .iter()
            .map(|((group, cause), limited)| (group.clone(), *cause, *limited))
            .collect();
        limited.sort_by_key(|(_, _, limited)| limited.since);
        limited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_hides_no_group_that_is_limited_more() {
        let mut groups = LimitedGroups::default();
        let at = Duration::from_millis;
        let zone =
            |number: usize| LimitedGroup::Zone(Name::parse(&format!("z{number}.test")).unwrap());
        for number in 0..5 * LIMITED_MAX {
            groups.note(zone(number), LimitCause::Connections, at(number as u64));
            groups.note(zone(0), LimitCause::Connections, at(number as u64));
        }
        let last = zone(5 * LIMITED_MAX);
        let now = at(5 * LIMITED_MAX as u64 + 1_000);
        groups.note(last.clone(), LimitCause::Connections, now);
        let shown = groups.current(now);
        assert!(shown.len() <= LIMITED_MAX);
        assert_eq!(shown[0].0, zone(0), "from the beginning");
        assert_eq!(shown[0].2.queries as usize, 5 * LIMITED_MAX + 1);
        assert!(shown.iter().any(|(group, ..)| *group == last));
    }

    #[test]
    fn a_group_is_shown_for_a_minute_and_groups_are_bounded() {
        let mut groups = LimitedGroups::default();
        let at = Duration::from_secs;
        let zone =
            |number: usize| LimitedGroup::Zone(Name::parse(&format!("z{number}.test")).unwrap());
        groups.note(zone(0), LimitCause::Resolutions, at(1));
        groups.note(zone(0), LimitCause::Resolutions, at(60));
        groups.note(zone(0), LimitCause::Failures, at(70));
        let shown = groups.current(at(120));
        let queries: Vec<u64> = shown
            .iter()
            .map(|(_, _, limited)| limited.queries)
            .collect();
        assert_eq!((shown[0].2.since, queries), (at(1), vec![2, 1]));
        assert_eq!(groups.current(at(121)).len(), 1, "by failures");
        groups.note(zone(0), LimitCause::Resolutions, at(200));
        assert_eq!(
            groups.current(at(200))[0].2,
            Limited {
                queries: 1,
                ..Limited::at(at(200))
            }
        );
        for number in 0..2 * LIMITED_MAX {
            groups.note(zone(number), LimitCause::Resolutions, at(200));
        }
        assert_eq!(groups.current(at(200)).len(), LIMITED_MAX);
    }
}
