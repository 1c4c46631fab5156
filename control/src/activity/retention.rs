//! How long a household's activity is kept: never, unless the account holder says so (or the
//! operator, of which the holder is notified), and no longer than they say.
//!
//! The counts themselves are in `policy_store::Activity`. A change of a household's settings may
//! owe an erasure. That is decided here, by comparing the documents before and after the change,
//! whatever route the change came by. An erasure that fails stays owed in the store and is tried
//! again.

use std::sync::Arc;

use jiff::Timestamp;
use metrics::{counter, describe_counter};
use policy::rules::{
    compiled::HouseholdRules,
    household::{Household, Id},
};
use policy_store::{Erasure, PendingErasure, StoreError, activity::ErasureScope};

use crate::{Control, shutdown::Shutdown};

/// How often counts that have waited long enough are written, and expired ones removed.
const WRITE_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
/// Owed erasures that one pass reads.
const DUTIES_MAX: u32 = 100;

/// The days for which a household's activity is kept: what it wants, at most what the operator
/// allows.
pub fn days_kept(control: &Control, rules: &HouseholdRules) -> u16 {
    rules
        .kept()
        .map_or(0, |kept| kept.days.get())
        .min(control.history.days_max)
}

/// What a change of a household owes: activity that is no longer wanted.
pub fn duties(was: Option<&Household>, is: Option<&Household>) -> Vec<Erasure> {
    let Some((was, history)) = was.and_then(|was| Some((was, was.kept()?))) else {
        return Vec::new();
    };
    let Some((is, now)) = is.and_then(|is| Some((is, is.kept()?))) else {
        return vec![Erasure::Forget(ErasureScope::All)];
    };
    let gone = |id: &Id| !is.devices.get(id).is_some_and(|device| device.log);
    let devices = was
        .devices
        .iter()
        .filter(|(id, device)| device.log && gone(id));
    let mut duties: Vec<Erasure> = devices
        .map(|(id, _)| Erasure::Forget(ErasureScope::Device(id.clone())))
        .collect();
    if history.unknown_devices && !now.unknown_devices {
        duties.push(Erasure::Forget(ErasureScope::Unknown));
    }
    if history.names && !now.names {
        duties.push(Erasure::Forget(ErasureScope::Names));
    }
    if history.days != now.days {
        duties.push(Erasure::Keep);
    }
    duties
}

/// Does what changes owe: of one household, or of all. What fails stays owed.
pub async fn fulfil(control: &Control, household: Option<&Id>) {
    if let Err(error) = try_fulfil(control, household).await
        && !error.is_closed()
    {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "activity that is no longer wanted could not be forgotten yet"
        );
    }
}

async fn try_fulfil(control: &Control, household: Option<&Id>) -> Result<(), StoreError> {
    let Some(activity) = &control.activity else {
        return Ok(());
    };
    let now = Timestamp::now;
    for PendingErasure {
        sequence,
        household,
        duty,
    } in control.store.duties(household, DUTIES_MAX).await?
    {
        match duty {
            Erasure::Forget(forgotten) => activity.forget(&household, forgotten, now()).await?,
            // By the rules in force now: of two changes at a time the later one counts, whichever
            // arrives here first.
            Erasure::Keep => {
                let rules = control.directory.household(&household);
                let days = rules.map_or(0, |rules| days_kept(control, &rules));
                activity.keep(&household, days, now()).await?;
            }
        }
        control.store.duty_done(sequence).await?;
    }
    Ok(())
}

/// Writes counts, removes expired ones and does what changes owe, until the node shuts down.
pub async fn run(control: Arc<Control>, shutdown: Shutdown) {
    let Some(activity) = &control.activity else {
        return;
    };
    describe_counter!(
        "ox_protect_activity_crowded_total",
        "Queries missing in a household's counts: too many counts waited, or too many devices asked"
    );
    let mut tick = tokio::time::interval(WRITE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_bounded = false;
    let mut dropped = 0;
    while shutdown.tick(&mut tick).await {
        let now = Timestamp::now();
        if !is_bounded {
            // The operator may have lowered the limit since households chose their days.
            is_bounded = log_failure(
                activity.bound(control.history.days_max).await,
                "activity could not be shortened to history.days_max yet",
            );
        }
        log_failure(
            activity.write(now).await,
            "activity could not be written, and waits in memory",
        );
        log_failure(
            activity.expire(now).await,
            "expired activity could not be removed yet",
        );
        fulfil(&control, None).await;
        counter!("ox_protect_activity_crowded_total").increment(activity.dropped() - dropped);
        dropped = activity.dropped();
    }
}

/// Logs a failure. Returns true if there is none.
fn log_failure<T>(done: Result<T, StoreError>, what: &str) -> bool {
    done.inspect_err(|error| tracing::error!(error = error as &dyn std::error::Error, "{what}"))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use policy::rules::household::{Attributed, Device, HistorySettings};
    use serde_json::json;

    use super::*;

    fn household(
        days: u16,
        names: bool,
        unknown_devices: bool,
        devices: &[(&str, bool)],
    ) -> Household {
        let mut household = Household::new("home".parse().unwrap());
        let value = HistorySettings {
            days,
            names,
            unknown_devices,
        };
        household.history = Some(Attributed {
            value,
            set_by: "key:1".into(),
            set_at: Timestamp::UNIX_EPOCH,
        });
        let device = |log: bool| -> Device {
            serde_json::from_value(json!({ "name": "x", "log": log })).unwrap()
        };
        household.devices = devices
            .iter()
            .map(|(id, log)| (id.parse().unwrap(), device(*log)))
            .collect();
        household
    }

    #[test]
    fn what_is_no_longer_wanted_is_forgotten_and_nothing_else() {
        let all = household(7, true, true, &[("phone", true), ("guest", true)]);
        let forget = |what| vec![Erasure::Forget(what)];
        let devices = [("phone", true), ("guest", true)];
        assert_eq!(duties(Some(&all), Some(&all)), []);
        assert_eq!(duties(None, Some(&all)), []);
        assert_eq!(duties(Some(&all), None), forget(ErasureScope::All));
        assert_eq!(
            duties(Some(&all), Some(&household(0, true, true, &devices))),
            forget(ErasureScope::All)
        );
        assert_eq!(
            duties(Some(&all), Some(&Household::new("home".parse().unwrap()))),
            forget(ErasureScope::All)
        );
        assert_eq!(
            duties(Some(&all), Some(&household(3, true, true, &devices))),
            [Erasure::Keep]
        );
        assert_eq!(
            duties(Some(&all), Some(&household(7, false, true, &devices))),
            forget(ErasureScope::Names)
        );
        assert_eq!(
            duties(Some(&all), Some(&household(7, true, false, &devices))),
            forget(ErasureScope::Unknown)
        );
        let guest = || forget(ErasureScope::Device("guest".parse().unwrap()));
        assert_eq!(
            duties(
                Some(&all),
                Some(&household(
                    7,
                    true,
                    true,
                    &[("phone", true), ("guest", false)]
                ))
            ),
            guest()
        );
        assert_eq!(
            duties(
                Some(&all),
                Some(&household(7, true, true, &[("phone", true)]))
            ),
            guest(),
            "a device that is gone"
        );
        assert_eq!(
            duties(
                Some(&household(7, true, true, &[("guest", false)])),
                Some(&all)
            ),
            [],
            "counted from now on"
        );
    }
}
