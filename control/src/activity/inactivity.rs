//! Devices that stopped using the filter, as far as a resolver can tell. A device that bypasses the
//! filter sends no more queries; neither does one that is switched off or has left the house. The
//! difference is its last queries: a name of a private relay, a public resolver or a VPN is a sign
//! of a bypass.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use policy::rules::household::Id;
use policy_store::activity::BypassSign;
use serde::Serialize;

/// Devices watched at a time: those with a recent sign. Silence of others is shown in the activity,
/// but not published as an event.
const WATCHED_MAX: usize = 100_000;
/// A device that falls silent repeatedly is reported once in this time.
const REPORTED_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// A device without a sign for so long is no longer watched.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// The silence of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = DeviceSilence))]
pub struct Silence {
    /// The bypass that the device asked for before. Null if it may just be switched off, or away.
    pub sign: Option<BypassSign>,
    /// The device's last query for anything but a bypass, RFC 3339.
    pub since: Timestamp,
}

impl Silence {
    /// Whether a device is silent: by its `last` query, its last `sign`, and the last query of the
    /// `others` in its household. Without a sign, a device is silent only while the others send
    /// queries: otherwise the line may be down, or the household asleep.
    pub fn of(
        last: Option<Timestamp>,
        sign: Option<(BypassSign, Timestamp)>,
        others: Option<Timestamp>,
        now: Timestamp,
        after: SignedDuration,
    ) -> Option<Self> {
        let since = last.or(sign.map(|(_, at)| at))?;
        if now - after < since {
            return None;
        }
        match sign.filter(|(_, at)| *at >= since - after) {
            Some((sign, _)) => Some(Self {
                since,
                sign: Some(sign),
            }),
            None => others
                .is_some_and(|others| others >= since + after)
                .then_some(Self { since, sign: None }),
        }
    }
}

/// A device with a recent sign.
struct Watched {
    sign: BypassSign,
    /// The last query with a sign.
    at: Timestamp,
    /// The last query without one; at first, the query with the sign.
    last: Timestamp,
    reported: Option<Timestamp>,
}

/// The devices with a recent sign, so that a family is notified when one of them falls silent, not
/// only when a parent opens the activity.
pub struct InactivityWatch {
    after: SignedDuration,
    devices: HashMap<(Id, Id), Watched>,
}

impl InactivityWatch {
    /// Watches no device yet. A device is silent after `after` without a query.
    pub fn new(after: SignedDuration) -> Self {
        Self {
            after,
            devices: HashMap::new(),
        }
    }

    /// A device sent a query, perhaps with a sign of a bypass.
    pub fn queried(
        &mut self,
        household: &Id,
        device: &Id,
        sign: Option<BypassSign>,
        at: Timestamp,
    ) {
        if sign.is_none() && self.devices.is_empty() {
            return;
        }
        let key = (household.clone(), device.clone());
        let is_room = self.devices.len() < WATCHED_MAX;
        match (self.devices.get_mut(&key), sign) {
            (Some(watched), Some(sign)) => (watched.sign, watched.at) = (sign, at),
            // A device that sends queries so long after the sign uses the filter.
            (Some(watched), None)
                if watched.reported.is_none() && at - self.after >= watched.at =>
            {
                self.devices.remove(&key);
            }
            (Some(watched), None) => watched.last = at,
            (None, Some(sign)) if is_room => {
                self.devices.insert(
                    key,
                    Watched {
                        sign,
                        at,
                        last: at,
                        reported: None,
                    },
                );
            }
            (None, _) => {}
        }
    }

    /// The devices that have fallen silent, each reported once.
    pub fn silent(&mut self, now: Timestamp) -> Vec<(Id, Id, Silence)> {
        let mut silent = Vec::new();
        let after = self.after;
        self.devices.retain(|(household, device), watched| {
            let was_reported = watched
                .reported
                .is_some_and(|at| now < at + REPORTED_AGAIN || watched.last <= at);
            let silence = Silence::of(
                Some(watched.last),
                Some((watched.sign, watched.at)),
                None,
                now,
                after,
            );
            if let Some(silence) = silence.filter(|_| !was_reported) {
                watched.reported = Some(now);
                silent.push((household.clone(), device.clone(), silence));
            }
            now < watched.at + FORGOTTEN_AFTER
        });
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: SignedDuration = SignedDuration::from_mins(10);

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_900_000_000 + 60 * minute).unwrap()
    }

    #[test]
    fn a_sign_or_the_others_make_a_quiet_device_a_silent_one() {
        let of = |last: Option<i64>, sign: Option<i64>, others: Option<i64>, now| {
            Silence::of(
                last.map(at),
                sign.map(|minute| (BypassSign::Relay, at(minute))),
                others.map(at),
                at(now),
                AFTER,
            )
        };
        let silent = |since, sign| {
            Some(Silence {
                since: at(since),
                sign,
            })
        };
        assert_eq!(of(None, None, None, 60), None, "it never asked");
        assert_eq!(of(Some(4), Some(4), None, 13), None, "not long enough");
        assert_eq!(
            of(Some(4), Some(4), None, 14),
            silent(4, Some(BypassSign::Relay))
        );
        assert_eq!(
            of(Some(4), Some(30), None, 40),
            silent(4, Some(BypassSign::Relay)),
            "signs are all that comes"
        );
        assert_eq!(
            of(None, Some(4), None, 14),
            silent(4, Some(BypassSign::Relay)),
            "they are all that ever came"
        );
        assert_eq!(
            of(Some(30), Some(4), None, 60),
            None,
            "it went on asking after the sign, and then went quiet, like the whole house"
        );
        assert_eq!(
            of(Some(30), Some(4), Some(39), 60),
            None,
            "the house is hardly awake without it"
        );
        assert_eq!(
            of(Some(30), Some(4), Some(40), 60),
            silent(30, None),
            "the others go on"
        );
    }

    #[test]
    fn a_device_that_gave_a_sign_and_fell_silent_is_reported_once() {
        let mut watch = InactivityWatch::new(AFTER);
        let home: Id = "home".parse().unwrap();
        let phone: Id = "phone".parse().unwrap();
        let tablet: Id = "tablet".parse().unwrap();
        watch.queried(&home, &phone, None, at(0));
        for device in [&phone, &tablet] {
            watch.queried(&home, device, Some(BypassSign::Doh), at(4));
        }
        watch.queried(&home, &tablet, None, at(9));
        assert_eq!(watch.silent(at(13)), []);
        watch.queried(&home, &tablet, None, at(15));
        assert_eq!(
            watch.silent(at(14)),
            [(
                home.clone(),
                phone.clone(),
                Silence {
                    since: at(4),
                    sign: Some(BypassSign::Doh)
                }
            )]
        );
        assert_eq!(
            watch.silent(at(30)),
            [],
            "the tablet went on, and the phone is known"
        );
        watch.queried(&home, &phone, None, at(31));
        watch.queried(&home, &phone, Some(BypassSign::Doh), at(32));
        assert_eq!(watch.silent(at(50)), [], "to and fro");
        let again = watch.silent(at(75));
        assert_eq!(
            again,
            [(
                home,
                phone,
                Silence {
                    since: at(31),
                    sign: Some(BypassSign::Doh)
                }
            )]
        );
        assert_eq!(watch.silent(at(60 * 24 + 33)), []);
        assert!(watch.devices.is_empty());
    }
}
