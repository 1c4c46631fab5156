//! The history of a household's changes, and undo.

mod what;

use std::{collections::BTreeSet, fmt::Debug, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use control::households::write::{Beside, WriteError, change_beside};
use jiff::{SignedDuration, Timestamp};
use policy::{
    name::Name,
    rules::{
        household::{DEVICES_MAX, Household, Id, PEOPLE_MAX, SwitchState},
        schedule::GrantTarget,
    },
};
use policy_store::{
    AuditRecord, ChangeError, Role, SortOrder, UNDOES, UndoneChange, take_back, untouched_since,
    version_made,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::what::ChangePart;
use crate::{
    Context,
    auth::{
        guards::{Anyone, Family},
        principal::{Principal, forbidden},
    },
    extract::{IfMatch, QueryParameters, Segments, segment},
    names,
    problem::Problem,
    routes::mandates::refuse_ordered,
    versioned::{Versioned, check_version, unknown_household},
    written::Written,
};

/// For how long a change can be undone.
const UNDO_WITHIN: SignedDuration = SignedDuration::from_hours(1);
/// Changes on a page: the default and the most.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 200;
/// Rows that are searched for the change of a version.
const SEARCHED_MAX: u32 = 1_000;
/// How often an undo reads what came later, if others write meanwhile.
const READS_MAX: u32 = 8;
/// Members that only the operator changes.
const OPERATORS: [&str; 2] = ["networks", "external_ref"];
/// Members that a second parent does not change.
const HOLDERS: [&str; 4] = ["filtering", "choice", "contact", "history"];

/// Which changes to show.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WhichChanges {
    /// The cursor of the page: `next` of the page before.
    #[param(minimum = 0)]
    cursor: Option<i64>,
    /// Changes on a page, 1 to 200. Default: 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// A change of a household.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ChangeEntry {
    /// The version that it made.
    version: u64,
    /// RFC 3339.
    at: Timestamp,
    /// The author: a key, or the subject of a token.
    by: String,
    /// The label of that key. Null if there is none.
    by_name: Option<String>,
    /// The author's role.
    role: String,
    what: Vec<ChangePart>,
    /// Until when this reader can undo it, RFC 3339, if nothing of it is changed before. Null if it
    /// cannot.
    undoable_until: Option<Timestamp>,
    /// Who has undone it. Null if it is as it was done.
    undone_by: Option<String>,
    /// The label of that key. Null if there is none.
    undone_by_name: Option<String>,
    /// The version of the change that this one has undone. Null for other changes.
    undoes: Option<u64>,
}

/// A page of changes, the newest first.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ChangePage {
    changes: Vec<ChangeEntry>,
    /// The cursor of the next page. Null on the last one.
    next: Option<u64>,
}

/// The changes of a household, the newest first, as far as the audit is kept: who has changed what,
/// and until when it can be undone.
#[utoipa::path(get, path = "/v1/households/{id}/changes", operation_id = "list_household_changes", tag = "changes", params(("id" = String, Path), WhichChanges),
    responses((status = 200, description = "a page", body = ChangePage), (status = 404, description = "no such household")))]
pub async fn list(
    State(context): State<Arc<Context>>,
    _family: Family,
    Anyone(principal): Anyone,
    Segments(id): Segments<String>,
    QueryParameters(which): QueryParameters<WhichChanges>,
) -> Result<Json<ChangePage>, Problem> {
    let id: Id = segment("id", &id)?;
    let limit = which.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::value("limit", "limit", format!("1 to {PAGE_MAX}")));
    }
    let cursor =
        which.cursor.map(u64::try_from).transpose().map_err(|_| {
            Problem::value("cursor", "cursor", "a cursor is `next` of the page before")
        })?;
    let store = &context.control.store;
    let household = store.household(&id).await?;
    let household = household.ok_or_else(|| unknown_household(&id))?;
    let subject = subject(&id);
    let page = store
        .audit(Some(&subject), SortOrder::Newest, cursor, limit)
        .await?;
    let since = page.records.last().map_or(0, |record| record.sequence);
    let undone = store.undone_changes(&id, since).await?;
    let authors = page.records.iter().map(|record| record.actor.clone());
    let authors = authors.chain(undone.iter().map(|undone| undone.by.clone()));
    let labels = names::labels(&context, &id, authors.collect()).await?;
    let reader = Reading {
        principal: &principal,
        household: &household,
        undone: &undone,
        labels: &labels,
        now: Timestamp::now(),
    };
    let changes = page
        .records
        .iter()
        .filter_map(|record| reader.entry(record));
    Ok(Json(ChangePage {
        changes: changes.collect(),
        next: page.next,
    }))
}

fn subject(id: &Id) -> String {
    format!("household:{id}")
}

/// What a reader needs to show changes.
struct Reading<'r> {
    principal: &'r Principal,
    household: &'r Household,
    undone: &'r [UndoneChange],
    labels: &'r names::KeyLabels,
    now: Timestamp,
}

impl Reading<'_> {
    /// `None` for a row that tells nothing: a setting was set again to the same value.
    fn entry(&self, record: &AuditRecord) -> Option<ChangeEntry> {
        let version = version_made(record)?;
        let what = what::parts(
            record.before.as_ref(),
            record.after.as_ref(),
            self.household,
        );
        if what.is_empty() && record.before.is_some() {
            return None;
        }
        let undone = self.undone.iter().find(|undone| undone.version == version);
        let ends = record.at + UNDO_WITHIN;
        let is_undoable = undone.is_none()
            && self.now < ends
            && is_of_parts(record)
            && may_undo(record, self.principal.role).is_ok();
        let label = |author: &String| self.labels.get(author).cloned();
        Some(ChangeEntry {
            version,
            at: record.at,
            by: record.actor.clone(),
            by_name: label(&record.actor),
            role: record.role.clone(),
            // A household that was made is not told in parts.
            what: if record.before.is_some() {
                what
            } else {
                Vec::new()
            },
            undoable_until: is_undoable.then_some(ends),
            undone_by: undone.map(|undone| undone.by.clone()),
            undone_by_name: undone.and_then(|undone| label(&undone.by)),
            undoes: record.after.as_ref()?.get(UNDOES).and_then(Value::as_u64),
        })
    }
}

/// Whether a row is a change of parts of a household, neither its beginning nor its end.
fn is_of_parts(record: &AuditRecord) -> bool {
    record.before.is_some() && record.after.is_some()
}

/// Refuses a change of what this role may not change.
fn may_undo(record: &AuditRecord, role: Role) -> Result<(), Problem> {
    let has = |member: &str| {
        let sides = [&record.before, &record.after];
        let mut sides = sides.into_iter().flatten();
        sides.any(|side| side.get(member).is_some())
    };
    let log = |side: &Option<Value>, device: &str| {
        let log = side.as_ref()?.get("devices")?.get(device)?.get("log")?;
        log.as_bool()
    };
    // A device whose queries are counted again.
    let devices = record
        .before
        .as_ref()
        .and_then(|before| before.get("devices")?.as_object());
    let is_logged_again = devices.into_iter().flatten().any(|(device, _)| {
        let sides = (log(&record.before, device), log(&record.after, device));
        sides == (Some(true), Some(false))
    });
    let foreign = OPERATORS
        .into_iter()
        .filter(|_| role != Role::Operator)
        .chain(HOLDERS.into_iter().filter(|_| role == Role::SecondParent))
        .find(|member| has(member));
    let foreign = foreign.or_else(|| {
        let is_holders = role == Role::SecondParent && is_logged_again;
        is_holders.then_some("log")
    });
    match foreign {
        Some(member) => Err(forbidden(role).with_field(member.to_owned())),
        None => Ok(()),
    }
}

/// Undoes a change within an hour: what it changed gets the values that it had before, with their
/// authors. Later changes of other settings stay. Notices are sent as for every write.
#[utoipa::path(post, path = "/v1/households/{id}/changes/{version}/undo", operation_id = "undo_household_change", tag = "changes", params(("id" = String, Path), ("version" = u64, Path)),
    responses((status = 200, description = "undone", body = Written), (status = 404, description = "no such household, or it has no such change"),
        (status = 409, description = "a part of it was changed since, or it was undone: `changed_since`; it is too old: `too_late`; it would allow a name that is blocked by order: `mandatory`")))]
pub async fn undo(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Anyone(principal): Anyone,
    Segments((id, of)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<Written>, Problem> {
    let id: Id = segment("id", &id)?;
    let of: u64 = of.parse().map_err(|_| unknown(&of))?;
    let mut reads = READS_MAX;
    loop {
        reads -= 1;
        if context.control.directory.household(&id).is_none() {
            return Err(unknown_household(&id));
        }
        let (record, version) = in_force(&context, &id, of, principal.role).await?;
        check_version(expected, version)?;
        let beside = Beside {
            undoes: Some(of),
            ..Beside::default()
        };
        let (name, lists) = (id.clone(), Arc::clone(&context));
        let edit = move |now: Option<Household>| {
            let now = now.ok_or_else(|| unknown_household(&name))?;
            let undone = without(&record, &now)?;
            refuse_ordered_again(&lists, &now, &undone)?;
            Ok::<_, Problem>((Some(undone), ()))
        };
        // The rows that were read say nothing about a later version.
        let at = Some(version);
        match change_beside(&context.control, &author, id.clone(), at, beside, edit).await {
            Ok((changed, ())) => {
                let written = |version| Written { version };
                return Ok(Versioned::of(&changed, StatusCode::OK, written));
            }
            Err(WriteError::Change(ChangeError::Version { .. }))
                if expected.is_none() && reads > 0 => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The change that made a version, if this role may undo it and it is in force as it was done. Also
/// returns the version up to which that is known.
async fn in_force(
    context: &Context,
    id: &Id,
    of: u64,
    role: Role,
) -> Result<(AuditRecord, u64), Problem> {
    let page = context
        .control
        .store
        .audit(Some(&subject(id)), SortOrder::Newest, None, SEARCHED_MAX)
        .await?;
    let rows = page.records;
    let is_it = |record: &AuditRecord| version_made(record) == Some(of) && is_of_parts(record);
    let place = rows.iter().position(is_it).ok_or_else(|| unknown(of))?;
    let (later, record) = (&rows[..place], &rows[place]);
    if record.at + UNDO_WITHIN <= Timestamp::now() {
        let detail = "a change can be undone within an hour";
        return Err(Problem::conflict("too_late", detail));
    }
    may_undo(record, role)?;
    untouched_since(record, later)
        .map_err(|error| Problem::conflict("changed_since", error.to_string()))?;
    let version = rows.iter().find_map(version_made).unwrap_or(of);
    Ok((record.clone(), version))
}

/// 404 for a change.
fn unknown(of: impl Debug) -> Problem {
    Problem::not_found("unknown_change", format!("there is no change {of:?}"))
}

/// Refuses an undo that allows a name which is blocked by order and not allowed now: an allow that
/// was taken back cannot return under an order that came since.
fn refuse_ordered_again(
    context: &Context,
    now: &Household,
    undone: &Household,
) -> Result<(), Problem> {
    let at = Timestamp::now();
    let are = allowed(now, at);
    allowed(undone, at)
        .into_iter()
        .filter(|allow| !are.contains(allow))
        .try_for_each(|(_, _, name)| refuse_ordered(context, name.borrow()))
}

/// Each name that a household allows at an instant: the level, the person or device, and the name.
fn allowed(household: &Household, at: Timestamp) -> BTreeSet<(&'static str, Option<&Id>, &Name)> {
    let people = household.people.iter();
    let people = people.map(|(id, person)| (("person", Some(id)), &person.settings));
    let devices = household.devices.iter();
    let devices = devices.map(|(id, device)| (("device", Some(id)), &device.settings));
    let all = people.chain(devices);
    let all = all.chain([(("household", None), &household.settings)]);
    all.flat_map(|((level, of), settings)| {
        let names = settings.names.iter();
        let names = names.filter(|(_, own)| own.value.state == SwitchState::Allow);
        let grants = settings.grants.values();
        let running = grants.filter(|grant| grant.value.until > at);
        let grants = running.filter_map(|grant| match &grant.value.what {
            GrantTarget::Domain(name) => Some(name),
            _ => None,
        });
        let all = names.map(|(name, _)| name).chain(grants);
        all.map(move |name| (level, of, name))
    })
    .collect()
}

/// The household of today without a change.
fn without(record: &AuditRecord, now: &Household) -> Result<Household, Problem> {
    let since = |detail: String| Problem::conflict("changed_since", detail);
    let mut document = serde_json::to_value(now).expect("a household is plain data");
    let (before, after) = record.before.as_ref().zip(record.after.as_ref()).unzip();
    let nothing = Value::Null;
    take_back(
        &mut document,
        before.unwrap_or(&nothing),
        after.unwrap_or(&nothing),
    )
    .map_err(|error| since(error.to_string()))?;
    let mut household: Household =
        serde_json::from_value(document).map_err(|error| since(error.to_string()))?;
    check(&household, now).map_err(|detail| since(detail.to_owned()))?;
    // Since then, one of its identifiers may have been left alone on another device.
    let is_left_alone = |identifier| now.left_alone.contains(identifier);
    for device in household.devices.values_mut() {
        device.log &= !device.identifiers.iter().any(is_left_alone);
    }
    Ok(household)
}

/// What each write keeps, and a return of an earlier part may break.
fn check(household: &Household, now: &Household) -> Result<(), &'static str> {
    let has_person = |of: &Household, person: &Id| of.people.contains_key(person);
    let loses_person = household.devices.iter().any(|(id, device)| {
        let person = device.person.as_ref();
        // A device that already names a person the household does not have stays as it is.
        let as_before = now.devices.get(id).map(|now| &now.person) == Some(&device.person);
        person.is_some_and(|person| {
            !has_person(household, person) && (has_person(now, person) || !as_before)
        })
    });
    if loses_person {
        return Err("the person of a device is not in the household any more");
    }
    let mut identifiers = BTreeSet::new();
    let devices = household.devices.values();
    let is_own = devices
        .flat_map(|device| &device.identifiers)
        .all(|identifier| identifiers.insert(serde_json::json!(identifier).to_string()));
    if !is_own {
        return Err("an identifier of the device belongs to another one now");
    }
    match household.devices.len() <= DEVICES_MAX && household.people.len() <= PEOPLE_MAX {
        true => Ok(()),
        false => Err("the household has no room for it any more"),
    }
}
