//! How much a household may hold in all: the size of its document, whatever it consists of.
//!
//! The limits of single lists bound what one place holds. A household has hundreds of places, so
//! this limit bounds the household, and with it the cost of each of its writes. A document that is
//! above the limit, from a version without it, stays in force and can be changed and reduced. It
//! cannot grow.

use std::fmt;

use serde::Serialize;

use crate::rules::household::{Household, Settings};

/// The most octets of a household's document as JSON, as the API shows it: about 2,000 custom names,
/// each of which takes about 110 octets and the name, because its author and its time stand beside
/// it. A household with six devices, 20 switches and 100 custom names has about 16 KiB.
pub const DOCUMENT_OCTETS_MAX: usize = 256 << 10;
/// By how much a document above the limit may grow when an entry is replaced: author and time of the
/// new one may be longer.
const REPLACED_OCTETS_MAX: usize = 512;

/// A document as stored, or as it is about to be stored.
#[derive(Debug, Clone, Copy)]
pub struct SizedDocument<'d> {
    pub household: &'d Household,
    /// Its length as JSON.
    pub octets: usize,
}

/// A household would hold too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooMuch {
    /// The size of the document after the change.
    pub octets: usize,
    /// The size before the change; 0 for a new household.
    pub before: usize,
    /// The part that takes the most room.
    pub largest: Part,
}

/// A part of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The entries, in words: `names on own lists`.
    pub entries: &'static str,
    pub count: usize,
    pub octets: usize,
}

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            octets,
            before,
            largest:
                Part {
                    entries,
                    count,
                    octets: taken,
                },
        } = self;
        write!(
            f,
            "the household would hold {octets} octets of settings, and holds {before} now; at most {DOCUMENT_OCTETS_MAX} are allowed. \
            {count} {entries} take {taken} of them: remove some first"
        )
    }
}

/// Checks that a change does not make a household hold too much.
///
/// # Errors
/// The document is above the limit, and has more entries or much more text than before.
pub fn check(before: Option<SizedDocument<'_>>, after: SizedDocument<'_>) -> Result<(), TooMuch> {
    if after.octets <= DOCUMENT_OCTETS_MAX {
        return Ok(());
    }
    if let Some(before) = before
        && after.octets <= before.octets + REPLACED_OCTETS_MAX
        && count(&parts(after.household)) <= count(&parts(before.household))
    {
        return Ok(());
    }
    let largest = parts(after.household)
        .into_iter()
        .max_by_key(|part| part.octets)
        .expect("a document has parts");
    Err(TooMuch {
        octets: after.octets,
        before: before.map_or(0, |before| before.octets),
        largest,
    })
}

fn count(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.count).sum()
}

/// The entries of a document by kind.
fn parts(household: &Household) -> Vec<Part> {
    let people = household.people.values().map(|person| &person.settings);
    let devices = household.devices.values().map(|device| &device.settings);
    let levels: Vec<&Settings> = std::iter::once(&household.settings)
        .chain(people)
        .chain(devices)
        .collect();
    let of_levels = |entries, count: fn(&Settings) -> usize, sized: fn(&Settings) -> usize| Part {
        entries,
        count: levels.iter().map(|settings| count(settings)).sum(),
        octets: levels.iter().map(|settings| sized(settings)).sum(),
    };
    let devices = household.devices.values();
    let things = devices.clone().filter_map(|device| device.thing.as_ref());
    vec![
        of_levels(
            "names on own lists",
            |settings| settings.names.len(),
            |settings| octets(&settings.names),
        ),
        of_levels("schedules and their exceptions", schedules, |settings| {
            octets(&settings.schedules)
        }),
        of_levels(
            "grants",
            |settings| settings.grants.len(),
            |settings| octets(&settings.grants),
        ),
        of_levels("switches", switches, |settings| {
            octets(&settings.categories) + octets(&settings.safe_search)
        }),
        Part {
            entries: "devices and their identifiers",
            count: devices
                .clone()
                .map(|device| 1 + device.identifiers.len())
                .sum(),
            octets: devices
                .map(|device| device.name.len() + octets(&device.identifiers))
                .sum(),
        },
        Part {
            entries: "domains of things",
            count: things
                .clone()
                .map(|thing| thing.allowed.len() + thing.denied.len())
                .sum(),
            octets: things.map(octets).sum(),
        },
        Part {
            entries: "people and networks",
            count: household.people.len() + household.networks.len(),
            octets: octets(&household.networks),
        },
    ]
}

fn schedules(settings: &Settings) -> usize {
    let each = settings.schedules.values();
    each.map(|schedule| 1 + schedule.value.except.len()).sum()
}

fn switches(settings: &Settings) -> usize {
    settings.categories.len()
        + settings.safe_search.len()
        + usize::from(settings.pause.is_some())
        + usize::from(settings.search_unlock.is_some())
        + usize::from(settings.bypass.is_some())
}

fn octets(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        lists::entry::Scope,
        name::Name,
        rules::household::{Attributed, CustomName, Switch, SwitchState},
    };

    fn with_names(count: usize) -> Household {
        let mut household = Household::new("home".parse().unwrap());
        let own = Attributed {
            value: CustomName {
                state: SwitchState::Block,
                scope: Scope::Subtree,
            },
            set_by: "key:0123456789ab".to_owned(),
            set_at: Timestamp::from_nanosecond(1_796_000_000_123_456_789).unwrap(),
        };
        household.settings.names = (0..count)
            .map(|number| {
                let name = Name::parse(&format!("n{number}.example")).unwrap();
                (name, own.clone())
            })
            .collect();
        household
    }

    fn sized(household: &Household) -> SizedDocument<'_> {
        SizedDocument {
            household,
            octets: octets(household),
        }
    }

    #[test]
    fn a_document_within_the_limit_holds_about_two_thousand_names() {
        assert_eq!(check(None, sized(&with_names(2_000))), Ok(()));
        let refused =
            check(Some(sized(&with_names(2_000))), sized(&with_names(2_300))).unwrap_err();
        assert_eq!(
            (refused.largest.entries, refused.largest.count),
            ("names on own lists", 2_300)
        );
        let text = refused.to_string();
        for word in [
            "262144",
            &refused.octets.to_string(),
            "2300 names on own lists",
        ] {
            assert!(text.contains(word), "{text}");
        }
        assert!(refused.before > 200_000 && refused.octets > DOCUMENT_OCTETS_MAX);
    }

    #[test]
    fn a_document_above_the_limit_can_be_changed_and_reduced_but_not_grow() {
        let large = with_names(5_000);
        let before = Some(sized(&large));
        assert_eq!(check(before, sized(&with_names(4_999))), Ok(()));
        let first = large.settings.names.first_key_value().unwrap().0.clone();
        let mut changed = large.clone();
        let own = changed.settings.names.get_mut(&first).unwrap();
        own.value.state = SwitchState::Allow;
        own.set_by = format!("jwt:{}", "s".repeat(200));
        assert_eq!(check(before, sized(&changed)), Ok(()));
        let mut more = large.clone();
        more.settings.categories.insert(
            "ads".to_owned(),
            Attributed {
                value: Switch {
                    state: SwitchState::Block,
                },
                set_by: "t".to_owned(),
                set_at: Timestamp::UNIX_EPOCH,
            },
        );
        assert!(check(before, sized(&more)).is_err());
        more.settings.names.remove(&first);
        assert_eq!(check(before, sized(&more)), Ok(()), "one for another");
        assert!(check(None, sized(&large)).is_err());
    }
}
