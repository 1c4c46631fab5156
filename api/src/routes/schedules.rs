//! Settings for a time: schedules, grants and pauses, on each level. They begin and end by
//! themselves.

use std::{collections::BTreeSet, sync::Arc};

use axum::{extract::State, http::StatusCode};
use control::households::write::set_by;
use jiff::{SignedDuration, Timestamp, civil::Date};
use policy::{
    name::Name,
    rules::{
        household::{Id, SCHEDULES_MAX, Settings},
        schedule::{
            ClockTime, DayOfWeek, EXCEPTIONS_MAX, GRANT_MINUTES_MAX, Grant, GrantTarget, Pause,
            Schedule,
        },
    },
};
use serde::Deserialize;

use crate::{
    Context,
    auth::guards::Family,
    extract::{Body, IfMatch},
    problem::Problem,
    routes::{level::Level, mandates::refuse_ordered, switches::own_name},
    versioned::{Versioned, made_or_changed},
    written::{GrantWritten, PauseWritten, ScheduleWritten, Written},
};

/// The longest pause: a year. For longer, a device can be removed.
const PAUSE_DAYS_MAX: u32 = 366;
const PAUSE_MINUTES_MAX: u32 = PAUSE_DAYS_MAX * 24 * 60;

/// A schedule, in the household's time zone.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleBody {
    /// The days on which it begins. Default: all.
    #[serde(default = "all_days")]
    days: BTreeSet<DayOfWeek>,
    /// When it begins, such as `21:30`.
    #[schema(value_type = String, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    from: ClockTime,
    /// When it ends: on the next day, if that is not after its begin.
    #[schema(value_type = String, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    to: ClockTime,
    /// Categories that it blocks, by slug.
    #[serde(default)]
    block: BTreeSet<String>,
    /// Categories that it allows, by slug.
    #[serde(default)]
    allow: BTreeSet<String>,
    /// Whether it switches the Internet off.
    #[serde(default)]
    pause: bool,
    /// Dates on which it does not begin, at most 366, such as holidays.
    #[serde(default)]
    except: BTreeSet<Date>,
}

fn all_days() -> BTreeSet<DayOfWeek> {
    DayOfWeek::ALL.into()
}

impl ScheduleBody {
    fn read(self, context: &Context) -> Result<Schedule, Problem> {
        let Self {
            days,
            from,
            to,
            block,
            allow,
            pause,
            except,
        } = self;
        for (field, slugs) in [("block", &block), ("allow", &allow)] {
            if let Some(slug) = slugs
                .iter()
                .find(|slug| context.control.taxonomy.find(slug).is_none())
            {
                return Err(Problem::value(
                    field,
                    "unknown_category",
                    format!("{slug:?} is not in the taxonomy, see /v1/categories"),
                ));
            }
        }
        if let Some(slug) = block.intersection(&allow).next() {
            return Err(Problem::value(
                "allow",
                "contradiction",
                format!("{slug:?} cannot be blocked and allowed at once"),
            ));
        }
        if days.is_empty() {
            return Err(Problem::value("days", "empty", "name at least one day"));
        }
        if !pause && block.is_empty() && allow.is_empty() {
            return Err(Problem::value(
                "block",
                "empty",
                "a schedule blocks, allows or pauses something",
            ));
        }
        if except.len() > EXCEPTIONS_MAX {
            return Err(Problem::value(
                "except",
                "limit",
                format!("at most {EXCEPTIONS_MAX} dates"),
            ));
        }
        Ok(Schedule {
            days,
            from,
            to,
            block,
            allow,
            pause,
            except,
        })
    }
}

/// Makes a schedule, or replaces it.
#[utoipa::path(put, path = "/v1/households/{id}/schedules/{name}", operation_id = "put_household_schedule", tag = "time", request_body = ScheduleBody,
    params(("id" = String, Path), ("name" = String, Path)),
    responses((status = 201, description = "made, and true at once", body = ScheduleWritten), (status = 200, description = "replaced", body = ScheduleWritten),
        (status = 404, description = "no such place"), (status = 422, description = "a value cannot be used")))]
pub async fn put_schedule(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
    Body(body): Body<ScheduleBody>,
) -> Result<Versioned<ScheduleWritten>, Problem> {
    let name: Id = level.item("name")?;
    let schedule: Schedule = body.read(&context)?;
    let actor = author.actor.clone();
    let change = level.change(&context.control, &author, expected, move |settings| {
        let Schedule { days, from, to, .. } = schedule.clone();
        let is_new = settings
            .schedules
            .insert(name.clone(), set_by(schedule, &actor))
            .is_none();
        if is_new && settings.schedules.len() > SCHEDULES_MAX {
            return Err(Problem::value(
                "name",
                "limit",
                format!("at most {SCHEDULES_MAX} schedules in one place"),
            ));
        }
        let said = move |version| ScheduleWritten {
            days,
            from,
            schedule: name,
            to,
            version,
        };
        Ok((made_or_changed(is_new), said))
    });
    change.await
}

/// Removes a schedule.
#[utoipa::path(delete, path = "/v1/households/{id}/schedules/{name}", operation_id = "delete_household_schedule", tag = "time", params(("id" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "gone", body = Written), (status = 404, description = "no such place or schedule")))]
pub async fn delete_schedule(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<Written>, Problem> {
    let name: Id = level.item("name")?;
    let change = level.change(
        &context.control,
        &author,
        expected,
        move |settings| match settings.schedules.remove(&name) {
            Some(_) => Ok((StatusCode::OK, |version| Written { version })),
            None => Err(Problem::not_found(
                "unknown_schedule",
                format!("there is no schedule {name} here"),
            )),
        },
    );
    change.await
}

/// A grant: one of `category`, `domain` and `everything`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantBody {
    /// A category, by slug. Names that another blocked category lists stay blocked.
    #[serde(default)]
    category: Option<String>,
    /// A name and all below it.
    #[serde(default)]
    domain: Option<String>,
    /// `true` for everything.
    #[serde(default)]
    everything: Option<bool>,
    /// For how long, 1 to 10080 minutes (a week).
    #[schema(minimum = 1, maximum = 10080)]
    minutes: u32,
}

impl GrantBody {
    fn read(&self, context: &Context) -> Result<GrantTarget, Problem> {
        if !(1..=GRANT_MINUTES_MAX).contains(&self.minutes) {
            return Err(Problem::value(
                "minutes",
                "limit",
                format!("1 to {GRANT_MINUTES_MAX} minutes"),
            ));
        }
        match (&self.category, &self.domain, self.everything) {
            (Some(slug), None, None) => match context.control.taxonomy.find(slug) {
                Some(_) => Ok(GrantTarget::Category(slug.clone())),
                None => Err(Problem::value(
                    "category",
                    "unknown_category",
                    format!("{slug:?} is not in the taxonomy, see /v1/categories"),
                )),
            },
            (None, Some(domain), None) => {
                let name: Name = own_name(domain)?;
                refuse_ordered(context, name.borrow())?;
                Ok(GrantTarget::Domain(name))
            }
            (None, None, Some(true)) => Ok(GrantTarget::Everything(true)),
            _ => Err(Problem::value(
                "category",
                "one_of",
                "one of category, domain and \"everything\": true",
            )),
        }
    }
}

/// Makes a grant: opens something for a while, as a reward. It ends by itself.
#[utoipa::path(post, path = "/v1/households/{id}/grants", operation_id = "post_household_grant", tag = "time", request_body = GrantBody, params(("id" = String, Path)),
    responses((status = 201, description = "open from the next query on", body = GrantWritten), (status = 404, description = "no such place"),
        (status = 409, description = "blocked by order: `mandatory`"), (status = 422, description = "a value cannot be used")))]
pub async fn post_grant(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
    Body(body): Body<GrantBody>,
) -> Result<Versioned<GrantWritten>, Problem> {
    let what = body.read(&context)?;
    let minutes = body.minutes;
    let actor = author.actor.clone();
    let change = level.change(&context.control, &author, expected, move |settings| {
        let grant = Grant {
            what,
            until: Timestamp::now() + SignedDuration::from_mins(minutes.into()),
        };
        let (what, until) = (grant.what.clone(), grant.until);
        let id = open(settings, grant, &actor)?;
        let said = move |version| GrantWritten::new(id, what, until, version);
        Ok((StatusCode::CREATED, said))
    });
    change.await
}

/// Adds a grant on one level. Returns its identifier.
pub fn open(settings: &mut Settings, grant: Grant, actor: &str) -> Result<Id, Problem> {
    let now = Timestamp::now();
    settings.grants.retain(|_, grant| grant.value.until > now);
    if settings.grants.len() >= SCHEDULES_MAX {
        return Err(Problem::conflict(
            "limit",
            format!("at most {SCHEDULES_MAX} grants run in one place"),
        ));
    }
    let mut ids = (1..).map(|number: u32| {
        format!("g{number}")
            .parse::<Id>()
            .expect("a letter and digits")
    });
    let id = ids
        .find(|id| !settings.grants.contains_key(id))
        .expect("numbers do not end");
    settings.grants.insert(id.clone(), set_by(grant, actor));
    Ok(id)
}

/// Ends a grant early.
#[utoipa::path(delete, path = "/v1/households/{id}/grants/{grant}", operation_id = "delete_household_grant", tag = "time", params(("id" = String, Path), ("grant" = String, Path)),
    responses((status = 200, description = "closed", body = Written), (status = 404, description = "no such place or grant")))]
pub async fn delete_grant(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<Written>, Problem> {
    let id: Id = level.item("grant")?;
    let change = level.change(
        &context.control,
        &author,
        expected,
        move |settings| match settings.grants.remove(&id) {
            Some(_) => Ok((StatusCode::OK, |version| Written { version })),
            None => Err(Problem::not_found(
                "unknown_grant",
                format!("there is no grant {id} here"),
            )),
        },
    );
    change.await
}

/// Ends all grants of this level.
#[utoipa::path(delete, path = "/v1/households/{id}/grants", operation_id = "delete_household_grants", tag = "time", params(("id" = String, Path)),
    responses((status = 200, description = "closed", body = Written), (status = 404, description = "no such place")))]
pub async fn delete_grants(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<Written>, Problem> {
    let change = level.change(&context.control, &author, expected, |settings| {
        settings.grants.clear();
        Ok((StatusCode::OK, |version| Written { version }))
    });
    change.await
}

/// When a pause ends: an instant, or minutes from now.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseBody {
    /// The instant, RFC 3339, within a year.
    #[serde(default)]
    until: Option<Timestamp>,
    /// Minutes from now.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 527040)]
    minutes: Option<u32>,
}

/// Switches the Internet off until a time.
#[utoipa::path(put, path = "/v1/households/{id}/pause", operation_id = "put_household_pause", tag = "time", request_body = PauseBody, params(("id" = String, Path)),
    responses((status = 200, description = "off from the next query on", body = PauseWritten), (status = 404, description = "no such place"), (status = 422, description = "a value cannot be used")))]
pub async fn put_pause(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
    Body(body): Body<PauseBody>,
) -> Result<Versioned<PauseWritten>, Problem> {
    let now = Timestamp::now();
    let until = match body {
        PauseBody {
            until: Some(until),
            minutes: None,
        } => until,
        // Checked in minutes before it is added to a time: the calendar ends.
        PauseBody {
            until: None,
            minutes: Some(minutes),
        } if !(1..=PAUSE_MINUTES_MAX).contains(&minutes) => {
            return Err(Problem::value(
                "minutes",
                "limit",
                format!("1 to {PAUSE_MINUTES_MAX} minutes"),
            ));
        }
        PauseBody {
            until: None,
            minutes: Some(minutes),
        } => now + SignedDuration::from_mins(minutes.into()),
        _ => {
            return Err(Problem::value(
                "until",
                "one_of",
                "one of until and minutes",
            ));
        }
    };
    if until <= now || until > now + SignedDuration::from_mins(PAUSE_MINUTES_MAX.into()) {
        return Err(Problem::value(
            "until",
            "limit",
            format!("a time to come, within {PAUSE_DAYS_MAX} days"),
        ));
    }
    let actor = author.actor.clone();
    let change = level.change(&context.control, &author, expected, move |settings| {
        settings.pause = Some(set_by(Pause { until }, &actor));
        let said = move |version| PauseWritten {
            until: Some(until),
            version,
        };
        Ok((StatusCode::OK, said))
    });
    change.await
}

/// Switches the Internet on again.
#[utoipa::path(delete, path = "/v1/households/{id}/pause", operation_id = "delete_household_pause", tag = "time", params(("id" = String, Path)),
    responses((status = 200, description = "on from the next query on", body = PauseWritten), (status = 404, description = "no such place")))]
pub async fn delete_pause(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<PauseWritten>, Problem> {
    let change = level.change(&context.control, &author, expected, |settings| {
        settings.pause = None;
        let said = |version| PauseWritten {
            until: None,
            version,
        };
        Ok((StatusCode::OK, said))
    });
    change.await
}
