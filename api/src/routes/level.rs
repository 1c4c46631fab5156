//! The levels of settings: a household, its people and its devices. All three have the same
//! settings, so one handler serves them.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::{StatusCode, request::Parts},
};
use control::{Control, households::write::change_existing};
use policy::rules::household::{Household, Id, Settings};
use policy_store::Author;
use utoipa::openapi::{
    Required,
    path::{ParameterBuilder, ParameterIn, PathItem, Paths},
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::{
    auth::roles::Admits,
    extract::segment,
    problem::Problem,
    routes::{devices::unknown_device, people::unknown_person},
    versioned::Versioned,
};

/// The prefix of paths to a person or a device.
const HOUSEHOLD: &str = "/v1/households/{id}";
/// The other levels: the next segment of their paths, the parameter in it, and the word for the
/// level.
const OTHERS: [(&str, &str); 2] = [("people", "person"), ("devices", "device")];

/// The level of a path, and what is set there.
#[derive(Debug, Clone)]
pub struct Level {
    pub household: Id,
    kind: LevelKind,
    /// The last segment of the path: what is set.
    item: Option<String>,
}

#[derive(Debug, Clone)]
enum LevelKind {
    Household,
    Person(Id),
    Device(Id),
}

impl Level {
    /// Parses the last segment of the path.
    pub fn item<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        field: &str,
    ) -> Result<T, Problem> {
        segment(field, self.item.as_deref().unwrap_or_default())
    }

    /// The settings of this level.
    pub fn settings<'h>(&self, household: &'h mut Household) -> Result<&'h mut Settings, Problem> {
        match &self.kind {
            LevelKind::Household => Ok(&mut household.settings),
            LevelKind::Person(id) => household
                .person_mut(id)
                .map(|person| &mut person.settings)
                .ok_or_else(|| unknown_person(id)),
            LevelKind::Device(id) => household
                .devices
                .get_mut(id)
                .map(|device| &mut device.settings)
                .ok_or_else(|| unknown_device(id)),
        }
    }

    /// Changes the settings of this level. `edit` returns the status of the answer, and what makes
    /// its body from the household's new version.
    pub async fn change<T, B: FnOnce(u64) -> T + Send + 'static>(
        self,
        control: &Arc<Control>,
        author: &Author,
        expected: Option<u64>,
        edit: impl FnOnce(&mut Settings) -> Result<(StatusCode, B), Problem> + Clone + Send + 'static,
    ) -> Result<Versioned<T>, Problem> {
        let household = self.household.clone();
        let change = move |household: &mut Household| edit(self.settings(household)?);
        let (changed, (status, body)) =
            change_existing(control, author, household, expected, change).await?;
        Ok(Versioned::of(&changed, status, body))
    }
}

impl Admits for Level {}

impl<S: Send + Sync> FromRequestParts<S> for Level {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segments = RawPathParams::from_request_parts(parts, state).await;
        let segments = segments.map_err(|rejection| {
            Problem::new(StatusCode::BAD_REQUEST, "path", rejection.body_text())
        })?;
        let mut household = None;
        let mut kind = LevelKind::Household;
        let mut item = None;
        for (key, text) in &segments {
            match key {
                "id" => household = Some(segment(key, text)?),
                "person" => kind = LevelKind::Person(segment(key, text)?),
                "device" => kind = LevelKind::Device(segment(key, text)?),
                _ => item = Some(text.to_owned()),
            }
        }
        let household = household.ok_or_else(|| {
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "path",
                "this route has no household",
            )
        })?;
        Ok(Self {
            household,
            kind,
            item,
        })
    }
}

/// Serves routes, which are described for a household, on all levels.
pub fn on_each_level<S: Clone + Send + Sync + 'static>(
    router: OpenApiRouter<S>,
    (schemas, paths, methods): UtoipaMethodRouter<S>,
) -> OpenApiRouter<S> {
    let mut router = router;
    for (plural, word) in OTHERS {
        let mut elsewhere = Paths::new();
        for (path, item) in &paths.paths {
            let rest = path
                .strip_prefix(HOUSEHOLD)
                .expect("what is set is set in a household");
            elsewhere.paths.insert(
                format!("{HOUSEHOLD}/{plural}/{{{word}}}{rest}"),
                moved(item, word),
            );
        }
        router = router.routes((schemas.clone(), elsewhere, methods.clone()));
    }
    router.routes((schemas, paths, methods))
}

/// The description of a route for a person or a device.
fn moved(item: &PathItem, word: &str) -> PathItem {
    let mut item = item.clone();
    for operation in [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
    {
        operation.operation_id = operation
            .operation_id
            .as_ref()
            .map(|id| id.replacen("household", word, 1));
        let parameter = ParameterBuilder::new()
            .name(word)
            .parameter_in(ParameterIn::Path)
            .required(Required::True);
        let text = utoipa::openapi::schema::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .build();
        operation
            .parameters
            .get_or_insert_default()
            .insert(0, parameter.schema(Some(text)).build().into());
        operation.summary = operation
            .summary
            .as_ref()
            .map(|summary| format!("{} For a {word}.", summary.trim_end()));
    }
    item
}
