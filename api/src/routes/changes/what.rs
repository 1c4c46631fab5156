//! What a change of a household has changed, in parts that an app can say in words: a category was
//! switched, a pause begun, a device added.

use policy::rules::household::Household;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A part of a change.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct ChangePart {
    /// What was changed, a stable word: `category`, `name`, `schedule`, `grant`, `pause`,
    /// `safe_search`, `search_unlock`, `bypass`, `person`, `device`, or another member of the
    /// household, person or device.
    pub text_key: String,
    /// Where: `household`, `person:ID` or `device:ID`.
    pub level: String,
    /// The person or device, by identifier. Null for the household.
    pub of: Option<String>,
    /// The name that the family uses for it.
    pub of_name: Option<String>,
    /// Which one: the category's slug, the domain name, the name of the schedule, of the person or
    /// of the device. Null if there is only one.
    pub subject: Option<String>,
    /// What it was: the state of a switch, or what differs of other settings. Null if it was not
    /// set.
    #[schema(value_type = Option<Value>)]
    pub before: Option<Value>,
    /// What it is. Null if it was removed.
    #[schema(value_type = Option<Value>)]
    pub after: Option<Value>,
}

/// Settings of which there are many, with the word for one.
const MANY: [(&str, &str); 5] = [
    ("categories", "category"),
    ("names", "name"),
    ("schedules", "schedule"),
    ("grants", "grant"),
    ("safe_search", "safe_search"),
];
/// The levels below the household, with the word for one.
const LEVELS: [(&str, &str); 2] = [("people", "person"), ("devices", "device")];
/// Members that say when and by whom something was set.
const PROVENANCE: [&str; 2] = ["set_by", "set_at"];
/// Members of the differences that are no setting.
const NO_SETTING: [&str; 4] = ["version", "undoes", "id", "left_alone"];

/// The level of a part.
#[derive(Clone, Copy)]
struct Place<'p> {
    level: &'static str,
    of: Option<&'p str>,
    name: Option<&'p str>,
}

/// The parts of a change. Settings that were set again to the same value are left out. `now` has the
/// names of people and devices.
pub fn parts(before: Option<&Value>, after: Option<&Value>, now: &Household) -> Vec<ChangePart> {
    let mut parts = Vec::new();
    let place = Place {
        level: "household",
        of: None,
        name: None,
    };
    for (member, was, is) in pairs(before, after) {
        match LEVELS.iter().find(|(plural, _)| *plural == member) {
            Some((_, word)) => pairs(was, is)
                .into_iter()
                .for_each(|(id, was, is)| below(&mut parts, (word, id), (was, is), now)),
            None => setting(&mut parts, place, member, (was, is)),
        }
    }
    parts
}

type Sides<'v> = (Option<&'v Value>, Option<&'v Value>);

/// A person or a device: as a whole, if it was made or removed.
fn below(
    parts: &mut Vec<ChangePart>,
    (word, id): (&'static str, &str),
    (was, is): Sides<'_>,
    now: &Household,
) {
    let known = match word {
        "person" => now.people.get(id).map(|person| person.name.as_str()),
        _ => now.devices.get(id).map(|device| device.name.as_str()),
    };
    let recorded = || was.or(is)?.get("name")?.as_str();
    let place = Place {
        level: word,
        of: Some(id),
        name: known.or_else(recorded),
    };
    match (was, is) {
        (Some(was), Some(is)) => pairs(Some(was), Some(is))
            .into_iter()
            .for_each(|(member, was, is)| setting(parts, place, member, (was, is))),
        (was, is) => parts.push(part(
            place,
            word,
            place.name,
            (was.map(brief), is.map(brief)),
        )),
    }
}

/// What is told of a person or a device as a whole.
fn brief(value: &Value) -> Value {
    let told = ["name", "kind", "person"]
        .into_iter()
        .filter_map(|member| Some((member.to_owned(), value.get(member)?.clone())));
    Value::Object(told.collect())
}

fn setting(parts: &mut Vec<ChangePart>, place: Place<'_>, member: &str, (was, is): Sides<'_>) {
    if place.of.is_none() && NO_SETTING.contains(&member) {
        return;
    }
    match MANY.iter().find(|(plural, _)| *plural == member) {
        Some((_, word)) => {
            for (subject, was, is) in pairs(was, is) {
                add(parts, place, (word, Some(subject)), (was, is));
            }
        }
        None => add(parts, place, (member, None), (was, is)),
    }
}

fn add(
    parts: &mut Vec<ChangePart>,
    place: Place<'_>,
    (key, subject): (&str, Option<&str>),
    (was, is): Sides<'_>,
) {
    let (was, is) = (was.map(plain), is.map(plain));
    if was != is {
        parts.push(part(place, key, subject, (was, is)));
    }
}

fn part(
    place: Place<'_>,
    key: &str,
    subject: Option<&str>,
    (before, after): (Option<Value>, Option<Value>),
) -> ChangePart {
    ChangePart {
        text_key: key.to_owned(),
        level: match place.of {
            Some(id) => format!("{}:{id}", place.level),
            None => place.level.to_owned(),
        },
        of: place.of.map(str::to_owned),
        of_name: place.name.map(str::to_owned),
        subject: subject.map(str::to_owned),
        before,
        after,
    }
}

/// A value without its provenance; of an object with one other member, that member's value.
fn plain(value: &Value) -> Value {
    let Value::Object(members) = value else {
        return value.clone();
    };
    let kept: Map<String, Value> = members
        .iter()
        .filter(|(name, _)| !PROVENANCE.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    match kept.iter().next() {
        Some((name, value)) if kept.len() == 1 && ["state", "level"].contains(&name.as_str()) => {
            value.clone()
        }
        _ => Value::Object(kept),
    }
}

/// The members of both sides, by name.
fn pairs<'v>(
    was: Option<&'v Value>,
    is: Option<&'v Value>,
) -> Vec<(&'v str, Option<&'v Value>, Option<&'v Value>)> {
    let members = |value: Option<&'v Value>| value.and_then(Value::as_object);
    let (was, is) = (members(was), members(is));
    let before = was.into_iter().flatten();
    let before =
        before.map(|(name, value)| (name.as_str(), Some(value), is.and_then(|is| is.get(name))));
    let added = is.into_iter().flatten();
    let added = added.filter(|(name, _)| was.is_none_or(|was| !was.contains_key(*name)));
    let added = added.map(|(name, value)| (name.as_str(), None, Some(value)));
    before.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(before: Value, after: Value) -> Vec<String> {
        let home = serde_json::from_value(json!({
            "id": "home", "version": 2, "time_zone": "Europe/London", "filtering": "on",
            "people": { "ella": { "name": "Ella" } },
        }));
        let text = |value: Option<Value>| value.unwrap_or_default().to_string();
        let parts = parts(Some(&before), Some(&after), &home.unwrap()).into_iter();
        parts
            .map(|part| {
                let whose = part.of_name.or(part.of).unwrap_or_default();
                let subject = part.subject.unwrap_or_default();
                let (was, is) = (text(part.before), text(part.after));
                format!(
                    "{} {whose} {} {subject}: {was} -> {is}",
                    part.level, part.text_key
                )
            })
            .collect()
    }

    #[test]
    fn each_part_of_a_change_is_told_with_its_place() {
        let before = json!({ "version": 1, "categories": { "gambling": { "state": "allow", "set_at": "a" } },
            "people": { "ella": { "schedules": { "bed": { "to": "07:00", "set_at": "a" } } } },
            "devices": { "tv": { "name": "TV", "log": true, "categories": {} } } });
        let after = json!({ "version": 2, "preset": "strict",
            "categories": { "gambling": { "state": "block", "set_at": "b" } },
            "people": { "ella": { "schedules": { "bed": { "to": "08:00", "set_at": "b" } },
                "pause": { "until": "c", "set_by": "key:a", "set_at": "b" } } },
            "devices": {} });
        assert_eq!(
            said(before, after),
            [
                r#"household  category gambling: "allow" -> "block""#,
                r#"device:tv TV device TV: {"name":"TV"} -> null"#,
                r#"person:ella Ella schedule bed: {"to":"07:00"} -> {"to":"08:00"}"#,
                r#"person:ella Ella pause : null -> {"until":"c"}"#,
                r#"household  preset : null -> "strict""#,
            ]
        );
    }

    #[test]
    fn what_was_set_again_to_the_same_is_no_change() {
        let before = json!({ "version": 1, "categories": { "gambling": { "set_at": "a" } } });
        let after =
            json!({ "version": 2, "undoes": 1, "categories": { "gambling": { "set_at": "b" } } });
        assert_eq!(said(before, after), [""; 0]);
    }
}
