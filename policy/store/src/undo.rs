//! Taking back a change of a household, as the audit has recorded it, in the document of today.
//!
//! A change is recorded as the differences of two documents. It can be taken back as long as no later
//! change touched one of its leaves, and each still has the value that the change gave it; what else
//! has changed since stays. A value alone says too little: two changes later it may be the same
//! again, by another author. The row of an undo has the action `undo`, and names the version of the
//! change beside the differences.

use std::collections::BTreeSet;

use policy::rules::household::Id;
use serde_json::{Map, Value};
use sqlx::FromRow;

use crate::{
    AuditRecord, Store,
    error::{StoreError, step},
};

/// A change that was undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoneChange {
    /// The version that the change had made.
    pub version: u64,
    /// Who has undone it.
    pub by: String,
}

#[derive(FromRow)]
struct Row {
    version: i64,
    actor: String,
}

impl Store {
    /// The changes of a household that were undone after row `since` of the audit.
    pub async fn undone_changes(
        &self,
        id: &Id,
        since: u64,
    ) -> Result<Vec<UndoneChange>, StoreError> {
        let select = "SELECT after ->> '$.undoes' AS version, actor FROM audit
            WHERE subject = ? AND sequence >= ? AND action = 'undo' ORDER BY sequence";
        let rows: Vec<Row> = sqlx::query_as(select)
            .bind(format!("household:{id}"))
            .bind(i64::try_from(since).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await
            .map_err(step("reading what was undone"))?;
        let undone = |row: Row| UndoneChange {
            version: row.version.unsigned_abs(),
            by: row.actor,
        };
        Ok(rows.into_iter().map(undone).collect())
    }
}

/// A member of the document has changed since.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{member} was changed since")]
pub struct ChangedSince {
    /// The path of the member, such as `categories.gambling.state`.
    pub member: String,
}

/// Why a change is not as it was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAsDone {
    /// It was undone, by its version.
    #[error("change {0} was undone already")]
    Undone(u64),
    #[error(transparent)]
    Changed(#[from] ChangedSince),
}

/// A member of every document that each change changes.
const VERSION: &str = "version";
/// A member that follows from the devices before and after each change.
const LEFT_ALONE: &str = "left_alone";
/// The member of a recorded change that names the version that it took back. It is no part of a
/// document.
pub const UNDOES: &str = "undoes";

/// The actions of rows that tell a household's document: all of them have its version.
const ACTIONS: [&str; 4] = ["create", "change", "undo", "delete"];

/// Whether a row of the audit says how a household's document changed.
fn is_of_document(record: &AuditRecord) -> bool {
    ACTIONS.contains(&record.action.as_str())
}

/// The version of the document that a row has made. `None` for a row of something else, and for the
/// end of a household.
#[must_use]
pub fn version_made(record: &AuditRecord) -> Option<u64> {
    let after = record.after.as_ref().filter(|_| is_of_document(record));
    after?.get(VERSION)?.as_u64()
}

/// Whether a change can be taken back as far as later rows say, the newest first: none has undone it
/// or touched a part of it. A later change that was undone itself counts for nothing, nor does its
/// undo.
///
/// # Errors
/// What has happened since.
pub fn untouched_since(change: &AuditRecord, later: &[AuditRecord]) -> Result<(), NotAsDone> {
    let (version, mut undone) = (version_made(change), BTreeSet::new());
    for record in later.iter().filter(|record| is_of_document(record)) {
        if version_made(record).is_some_and(|made| undone.contains(&made)) {
            continue;
        }
        let undoes = record.after.as_ref().and_then(|after| after.get(UNDOES));
        match undoes.and_then(Value::as_u64) {
            Some(of) if Some(of) == version => return Err(NotAsDone::Undone(of)),
            Some(of) if Some(of) > version => drop(undone.insert(of)),
            _ => match common(sides(change), sides(record), &mut Vec::new()) {
                Some(member) => return Err(ChangedSince { member }.into()),
                None => continue,
            },
        }
    }
    Ok(())
}

/// A value before and after a change; `None` where there was none.
type Sides<'v> = (Option<&'v Value>, Option<&'v Value>);

fn sides(record: &AuditRecord) -> Sides<'_> {
    (record.before.as_ref(), record.after.as_ref())
}

/// The path of a part that two changes have in common.
fn common<'v>(one: Sides<'v>, other: Sides<'v>, path: &mut Vec<&'v str>) -> Option<String> {
    let (Some([was, is]), Some([then, now])) = (maps(one), maps(other)) else {
        return Some(match path.is_empty() {
            true => "household".to_owned(),
            false => path.join("."),
        });
    };
    let is_top = path.is_empty();
    let added = is.keys().filter(|name| !was.contains_key(*name));
    was.keys().chain(added).find_map(|name| {
        let is_aside = is_top && [VERSION, UNDOES].contains(&name.as_str());
        let both = (then.get(name), now.get(name));
        if is_aside || both == (None, None) {
            return None;
        }
        path.push(name);
        let found = common((was.get(name), is.get(name)), both, path);
        path.pop();
        found
    })
}

/// The members before and after, if the change is one of members.
fn maps(sides: Sides<'_>) -> Option<[&Map<String, Value>; 2]> {
    Some([sides.0?.as_object()?, sides.1?.as_object()?])
}

/// Takes back the change from `before` to `after` in a document.
///
/// # Errors
/// The document is left half changed where a member has changed since.
pub fn take_back(document: &mut Value, before: &Value, after: &Value) -> Result<(), ChangedSince> {
    match (document, before, after) {
        (Value::Object(document), Value::Object(before), Value::Object(after)) => {
            members(document, before, after, &mut Vec::new())
        }
        _ => Err(ChangedSince {
            member: "household".to_owned(),
        }),
    }
}

fn members<'n>(
    document: &mut Map<String, Value>,
    before: &'n Map<String, Value>,
    after: &'n Map<String, Value>,
    path: &mut Vec<&'n str>,
) -> Result<(), ChangedSince> {
    let is_top = path.is_empty();
    let added = after.keys().filter(|name| !before.contains_key(*name));
    for name in before.keys().chain(added) {
        if is_top && [VERSION, UNDOES, LEFT_ALONE].contains(&name.as_str()) {
            continue;
        }
        path.push(name);
        member(document, (before.get(name), after.get(name)), path)?;
        path.pop();
    }
    Ok(())
}

fn member<'n>(
    document: &mut Map<String, Value>,
    (before, after): (Option<&'n Value>, Option<&'n Value>),
    path: &mut Vec<&'n str>,
) -> Result<(), ChangedSince> {
    let name = path.last().copied().unwrap_or_default();
    if let (Some(Value::Object(was)), Some(Value::Object(is))) = (before, after)
        && let Some(Value::Object(now)) = document.get_mut(name)
    {
        return members(now, was, is, path);
    }
    if document.get(name) != after {
        let member = path.join(".");
        return Err(ChangedSince { member });
    }
    match before {
        Some(was) => drop(document.insert(name.to_owned(), was.clone())),
        None => drop(document.remove(name)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_taken_back_and_what_came_later_stays() {
        let mut document = json!({
            "version": 9, "preset": "strict", "later": true,
            "categories": { "gambling": { "state": "block", "set_at": "b" }, "adult": { "state": "block" } },
            "names": { "new.example": { "state": "block" }, "later.example": {} },
        });
        let before = json!({ "version": 7, "categories": { "gambling": { "state": "allow", "set_at": "a" } },
            "names": {}, "devices": { "tv": { "name": "TV" } } });
        let after = json!({ "version": 8, "preset": "strict", "undoes": 3,
            "categories": { "gambling": { "state": "block", "set_at": "b" } },
            "names": { "new.example": { "state": "block" } }, "devices": {} });
        document["devices"] = json!({});
        assert_eq!(take_back(&mut document, &before, &after), Ok(()));
        assert_eq!(
            document,
            json!({
                "version": 9, "later": true,
                "categories": { "gambling": { "state": "allow", "set_at": "a" }, "adult": { "state": "block" } },
                "names": { "later.example": {} }, "devices": { "tv": { "name": "TV" } },
            })
        );
    }

    /// The row of a change that made a version.
    fn row(version: u64, undoes: Option<u64>, before: Value, after: Value) -> AuditRecord {
        let (mut before, mut after) = (before, after);
        (before["version"], after["version"]) = ((version - 1).into(), version.into());
        if let Some(of) = undoes {
            after[UNDOES] = of.into();
        }
        AuditRecord {
            sequence: version,
            at: jiff::Timestamp::UNIX_EPOCH,
            actor: "key:a".to_owned(),
            role: "parent".to_owned(),
            action: if undoes.is_some() { "undo" } else { "change" }.to_owned(),
            subject: "household:home".to_owned(),
            before: Some(before),
            after: Some(after),
            previous: String::new(),
            hash: String::new(),
        }
    }

    #[test]
    fn a_later_row_that_touched_a_part_is_found_whatever_its_value() {
        let preset = |version, undoes, was: &str, is: &str| {
            let (was, is) = (json!({ "preset": was }), json!({ "preset": is }));
            row(version, undoes, was, is)
        };
        let strict = preset(2, None, "light", "strict");
        let changed = |member: &str| {
            let member = member.to_owned();
            Err(NotAsDone::Changed(ChangedSince { member }))
        };
        // There and back again, by someone else.
        let moderate = preset(3, None, "strict", "moderate");
        let again = preset(4, None, "moderate", "strict");
        let later = [again.clone(), moderate.clone()];
        assert_eq!(untouched_since(&strict, &later), changed("preset"));
        // The later change was undone, so the earlier one is in force as it was done.
        let back = preset(4, Some(3), "moderate", "strict");
        let later = [back.clone(), moderate.clone()];
        assert_eq!(untouched_since(&strict, &later), Ok(()));
        let redone = preset(5, Some(4), "strict", "moderate");
        let later = [redone, back, moderate];
        assert_eq!(untouched_since(&strict, &later), changed("preset"));
        // It was undone itself, and what came then is another's decision.
        let undone = preset(3, Some(2), "strict", "light");
        let later = [preset(4, None, "light", "strict"), undone.clone()];
        assert_eq!(untouched_since(&strict, &later), changed("preset"));
        assert_eq!(
            untouched_since(&strict, &[undone]),
            Err(NotAsDone::Undone(2))
        );
    }

    #[test]
    fn a_later_row_of_another_part_is_no_hindrance() {
        let names = |version, was: Value, is: Value| {
            row(
                version,
                None,
                json!({ "names": was }),
                json!({ "names": is }),
            )
        };
        let made = names(2, json!({}), json!({ "a.example": { "state": "block" } }));
        let other = names(3, json!({}), json!({ "b.example": { "state": "block" } }));
        let level = row(4, None, json!({}), json!({ "preset": "strict" }));
        let later = [level, other];
        assert_eq!(untouched_since(&made, &later), Ok(()));
        let removed = names(3, json!({ "a.example": { "state": "block" } }), json!({}));
        let inside = names(
            4,
            json!({ "a.example": { "state": "block" } }),
            json!({ "a.example": { "state": "allow" } }),
        );
        for later in [removed.clone(), inside] {
            let found = untouched_since(&made, &[later]).map_err(|error| error.to_string());
            assert!(found.unwrap_err().starts_with("names.a.example"));
        }
        // The household was removed, and made anew.
        let gone = AuditRecord {
            action: "delete".to_owned(),
            after: None,
            ..removed.clone()
        };
        assert!(untouched_since(&made, &[gone]).is_err());
        // A row that is no change of the document.
        let aside = AuditRecord {
            action: "erase".to_owned(),
            ..removed
        };
        assert_eq!(untouched_since(&made, &[aside]), Ok(()));
    }

    #[test]
    fn a_leaf_that_has_changed_since_is_named() {
        let of = |document: Value, before: Value, after: Value| {
            let mut document = document;
            take_back(&mut document, &before, &after).map_err(|error| error.member)
        };
        let err = |member: &str| Err(member.to_owned());
        let (one, two) = (json!({ "a": { "b": 1 } }), json!({ "a": { "b": 2 } }));
        assert_eq!(of(two.clone(), one.clone(), two.clone()), Ok(()));
        assert_eq!(
            of(json!({ "a": { "b": 3 } }), one.clone(), two.clone()),
            err("a.b")
        );
        assert_eq!(of(json!({}), one.clone(), two.clone()), err("a"));
        // What was made was changed, what was removed was made again.
        assert_eq!(of(two.clone(), json!({}), one.clone()), err("a"));
        assert_eq!(of(two, one, json!({})), err("a"));
        assert_eq!(of(json!([]), json!({}), json!({})), err("household"));
    }
}
