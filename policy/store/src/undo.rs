//! Taking back a change of a household, as the audit has recorded it, in the document of today.
//!
//! A change is recorded as the differences of two documents. It can be taken back if each of its
//! leaves still has the value that the change gave it; what else has changed since stays. The row of
//! an undo has the action `undo`, and names the version of the change beside the differences.

use policy::rules::household::Id;
use serde_json::{Map, Value};
use sqlx::FromRow;

use crate::{
    Store,
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

/// A member of every document that each change changes.
const VERSION: &str = "version";
/// A member that follows from the devices before and after each change.
const LEFT_ALONE: &str = "left_alone";
/// The member of a recorded change that names the version that it took back. It is no part of a
/// document.
pub const UNDOES: &str = "undoes";

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
