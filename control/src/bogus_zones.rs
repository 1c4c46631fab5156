//! An alarm for zones whose data do not verify: a registry that breaks its signatures breaks all
//! names below it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use metrics::{describe_gauge, gauge};
use policy::{lists::current::CurrentLists, name::Name};
use resolver::recursor::BogusZone;
use tokio::time::MissedTickBehavior;

use crate::{
    lists::{model::EventKind, status::ListStatus},
    shutdown::Shutdown,
};

/// How often the zones are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The alarm of a zone begins with so many different names in a minute. A count: one broken name is
/// its own operator's matter.
const NAMES_MIN: usize = 10;
/// Zones that have an alarm at a time, the worst ones. A count.
const ALARMS_MAX: usize = 20;

/// Watches the zones that failed in the last minute until the node shuts down.
pub async fn run(
    failed: impl Fn() -> Vec<BogusZone>,
    status: Arc<ListStatus>,
    lists: Arc<CurrentLists>,
    shutdown: Shutdown,
) {
    describe_gauge!(
        "ox_protect_bogus_alarm",
        "1 while at least ten names a minute are bogus because of this zone"
    );
    let mut alarms = Alarms::default();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.tick(&mut tick).await {
        let publish = |kind, detail| {
            let generation = lists.load().generation();
            status.publish(kind, None, generation, Some(detail), Timestamp::now());
        };
        for change in alarms.observe(&failed()) {
            match change {
                Change::Begins(BogusZone { zone, fault, names }) => {
                    let code = fault.ede().to_u16();
                    tracing::error!(%zone, names, code, %fault, "names below a zone are bogus");
                    gauge!("ox_protect_bogus_alarm", "zone" => zone.to_string()).set(1.0);
                    let detail = format!(
                        "{zone}: {names} names in a minute are bogus, {fault} (EDE {code})"
                    );
                    publish(EventKind::ZoneBogus, detail);
                }
                Change::Ends(zone) => {
                    tracing::info!(%zone, "the alarm of the zone ends: no name below it is bogus, or other zones are worse");
                    gauge!("ox_protect_bogus_alarm", "zone" => zone.to_string()).set(0.0);
                    publish(EventKind::ZoneNotBogus, zone.to_string());
                }
            }
        }
    }
}

/// The zones that have an alarm.
#[derive(Default)]
struct Alarms(BTreeSet<Name>);

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Begins(BogusZone),
    /// No name failed for a minute, or other zones are worse.
    Ends(Name),
}

impl Alarms {
    /// `failed` has the worst zones first. The worst ones have the alarm, so that an attacker's own
    /// broken zones hide no larger one.
    fn observe(&mut self, failed: &[BogusZone]) -> Vec<Change> {
        let is_known =
            |known: &&BogusZone| known.names >= NAMES_MIN || self.0.contains(&known.zone);
        let worst: Vec<&BogusZone> = failed.iter().filter(is_known).take(ALARMS_MAX).collect();
        let new = worst.iter().filter(|known| !self.0.contains(&known.zone));
        let begins: Vec<Change> = new.map(|known| Change::Begins((*known).clone())).collect();
        let now: BTreeSet<Name> = worst.iter().map(|known| known.zone.clone()).collect();
        let ended = self.0.difference(&now).cloned().map(Change::Ends);
        let changes = ended.chain(begins).collect();
        self.0 = now;
        changes
    }
}

#[cfg(test)]
mod tests {
    use resolver::recursor::ValidationFault;

    use super::*;

    fn failed(zone: &str, names: usize) -> BogusZone {
        BogusZone {
            zone: Name::parse(zone).unwrap(),
            fault: ValidationFault::SignatureExpired,
            names,
        }
    }

    #[test]
    fn an_alarm_begins_with_ten_names_and_ends_without_any() {
        let mut alarms = Alarms::default();
        assert_eq!(alarms.observe(&[failed("de", 9)]), []);
        let begins = alarms.observe(&[failed("de", 10), failed("test", 2)]);
        assert_eq!(begins, [Change::Begins(failed("de", 10))]);
        assert_eq!(alarms.observe(&[failed("de", 900)]), []);
        assert_eq!(alarms.observe(&[failed("de", 1)]), []);
        let ends = alarms.observe(&[failed("uk", 10)]);
        let de = Name::parse("de").unwrap();
        assert_eq!(ends, [Change::Ends(de), Change::Begins(failed("uk", 10))]);
    }

    #[test]
    fn alarms_are_bounded() {
        let mut alarms = Alarms::default();
        let many: Vec<_> = (0..30).map(|n| failed(&format!("z{n}.test"), 10)).collect();
        assert_eq!(alarms.observe(&many).len(), ALARMS_MAX);
        assert_eq!(alarms.observe(&many), []);
        assert_eq!(alarms.observe(&many[1..]).len(), 2, "one ends, one begins");
        let mut worse = vec![failed("de", 900)];
        worse.extend_from_slice(&many[1..]);
        let changes = alarms.observe(&worse);
        assert!(
            changes.contains(&Change::Begins(failed("de", 900))),
            "{changes:?}"
        );
        assert_eq!(changes.len(), 2, "it takes the place of another");
    }
}
