//! Devices that stopped using the filter, as far as a resolver can tell: one that goes round it
//! asks nothing any more. So does one that is switched off, or has left the house. What tells them
//! apart is what it asked for last: the name of a private relay, of a public resolver or of a VPN
//! is a sign.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use policy::rules::household::Id;
use policy_store::activity::Sign;
use serde::Serialize;

/// Devices that are watched at a time: those that gave a sign lately. What is more shows in the
/// activity, and is not told of.
const WATCHED_MAX: usize = 100_000;
/// A device that goes to and fro is told of once in this time.
const TOLD_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// Who gave no sign for so long is no longer watched.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// A device that does not ask any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// When it last asked for anything but a way round.
    pub since: Timestamp,
    /// The way round that it asked for then; none where nothing tells whether it is not just
    /// switched off.
    pub sign: Option<Sign>,
}

impl Silence {
    /// Whether a device is silent, by when it last asked, when it last gave a sign, and when the
    /// other devices of its house asked last. Without a sign a device is called silent only while
    /// the house goes on asking: otherwise the line may be down, or everybody asleep.
    pub fn of(
        last: Option<Timestamp>,
        sign: Option<(Sign, Timestamp)>,
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

/// A device that gave a sign.
struct Watched {
    sign: Sign,
    /// When it gave it, the last time.
    at: Timestamp,
    /// When it last asked for something else; at first when it gave the sign.
    last: Timestamp,
    told: Option<Timestamp>,
}

/// The devices that gave a sign lately, so that a family is told of the one that falls silent when
/// it does, and not when somebody looks.
pub struct Watch {
    after: SignedDuration,
    devices: HashMap<(Id, Id), Watched>,
}

impl Watch {
    /// Nobody yet. Who says nothing for so long is silent.
    pub fn new(after: SignedDuration) -> Self {
        Self {
            after,
            devices: HashMap::new(),
        }
    }

    /// A device asked for something, perhaps for a way round the filter.
    pub fn heard(&mut self, household: &Id, device: &Id, sign: Option<Sign>, at: Timestamp) {
        if sign.is_none() && self.devices.is_empty() {
            return;
        }
        let key = (household.clone(), device.clone());
        let is_room = self.devices.len() < WATCHED_MAX;
        match (self.devices.get_mut(&key), sign) {
            (Some(watched), Some(sign)) => (watched.sign, watched.at) = (sign, at),
            // Who goes on asking for so long after the sign uses the filter.
            (Some(watched), None) if watched.told.is_none() && at - self.after >= watched.at => {
                drop(self.devices.remove(&key))
            }
            (Some(watched), None) => watched.last = at,
            (None, Some(sign)) if is_room => {
                self.devices.insert(
                    key,
                    Watched {
                        sign,
                        at,
                        last: at,
                        told: None,
                    },
                );
            }
            (None, _) => {}
        }
    }

    /// Those that have fallen silent, each once.
    pub fn silent(&mut self, now: Timestamp) -> Vec<(Id, Id, Silence)> {
        let mut silent = Vec::new();
        let after = self.after;
        self.devices.retain(|(household, device), watched| {
            let was_told = watched
                .told
                .is_some_and(|told| now < told + TOLD_AGAIN || watched.last <= told);
            let silence = Silence::of(
                Some(watched.last),
                Some((watched.sign, watched.at)),
                None,
                now,
                after,
            );
            if let Some(silence) = silence.filter(|_| !was_told) {
                watched.told = Some(now);
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
                sign.map(|minute| (Sign::Relay, at(minute))),
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
        assert_eq!(of(Some(4), Some(4), None, 14), silent(4, Some(Sign::Relay)));
        assert_eq!(
            of(Some(4), Some(30), None, 40),
            silent(4, Some(Sign::Relay)),
            "signs are all that comes"
        );
        assert_eq!(
            of(None, Some(4), None, 14),
            silent(4, Some(Sign::Relay)),
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
    fn who_gave_a_sign_and_fell_silent_is_told_of_once() {
        let mut watch = Watch::new(AFTER);
        let home: Id = "home".parse().unwrap();
        let phone: Id = "phone".parse().unwrap();
        let tablet: Id = "tablet".parse().unwrap();
        watch.heard(&home, &phone, None, at(0));
        for device in [&phone, &tablet] {
            watch.heard(&home, device, Some(Sign::Doh), at(4));
        }
        watch.heard(&home, &tablet, None, at(9));
        assert_eq!(watch.silent(at(13)), []);
        watch.heard(&home, &tablet, None, at(15));
        assert_eq!(
            watch.silent(at(14)),
            [(
                home.clone(),
                phone.clone(),
                Silence {
                    since: at(4),
                    sign: Some(Sign::Doh)
                }
            )]
        );
        assert_eq!(
            watch.silent(at(30)),
            [],
            "the tablet went on, and the phone is known"
        );
        watch.heard(&home, &phone, None, at(31));
        watch.heard(&home, &phone, Some(Sign::Doh), at(32));
        assert_eq!(watch.silent(at(50)), [], "to and fro");
        let again = watch.silent(at(75));
        assert_eq!(
            again,
            [(
                home,
                phone,
                Silence {
                    since: at(31),
                    sign: Some(Sign::Doh)
                }
            )]
        );
        assert_eq!(watch.silent(at(60 * 24 + 33)), []);
        assert!(watch.devices.is_empty());
    }
}
