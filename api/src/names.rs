//! Names beside the keys of authors: a parent reads “Mum's phone” and not an identifier.
//!
//! Documents and answers name an author as `key:ID`. Each `set_by`, `asked_by`, `answered_by` and
//! `made_by` of an answer gets a neighbour `…_name` with the label of that key. It is absent where
//! there is no label: the key has none, it was made too long ago, or the author is no key.

use std::collections::{BTreeMap, BTreeSet};

use policy::rules::household::Id;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::openapi::{
    OpenApi as Document, RefOr, Schema,
    schema::{ObjectBuilder, Type},
};

use crate::{Context, problem::Problem};

/// The fields that name an author.
const AUTHORS: [&str; 4] = ["set_by", "asked_by", "answered_by", "made_by"];

/// The labels of keys, by author.
pub type KeyLabels = BTreeMap<String, String>;

/// The labels of these authors, as far as they have any.
pub async fn labels(
    context: &Context,
    household: &Id,
    authors: BTreeSet<String>,
) -> Result<KeyLabels, Problem> {
    let store = &context.control.store;
    let mut labels = KeyLabels::new();
    if authors.is_empty() {
        return Ok(labels);
    }
    let keys = store.keys(Some(household)).await?;
    for author in authors {
        let of_household = keys
            .iter()
            .find(|key| author.strip_prefix("key:") == Some(&key.id));
        let label = match of_household {
            Some(key) => Some(key.label.clone()).filter(|label| !label.is_empty()),
            None => store.label_of(&author).await?,
        };
        labels.extend(label.map(|label| (author, label)));
    }
    Ok(labels)
}

/// An answer as JSON, with names beside its authors.
pub async fn named<T: Serialize>(
    context: &Context,
    household: &Id,
    answer: &T,
) -> Result<Value, Problem> {
    let mut value = serde_json::to_value(answer).expect("an answer is plain data");
    let mut authors = BTreeSet::new();
    collect(&value, &mut authors);
    let labels = labels(context, household, authors).await?;
    add(&mut value, &labels);
    Ok(value)
}

/// The authors of a value.
fn collect(value: &Value, authors: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            authors.extend(own(members).map(|(_, author)| author.to_owned()));
            members.values().for_each(|value| collect(value, authors));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, authors)),
        _ => {}
    }
}

/// The authors that an object names itself.
fn own(members: &Map<String, Value>) -> impl Iterator<Item = (&'static str, &str)> {
    AUTHORS
        .into_iter()
        .filter_map(|field| Some((field, members.get(field)?.as_str()?)))
}

fn add(value: &mut Value, labels: &KeyLabels) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(|value| add(value, labels));
            let names: Vec<(String, Value)> = own(members)
                .filter_map(|(field, author)| {
                    let label = labels.get(author)?.as_str();
                    Some((format!("{field}_name"), label.into()))
                })
                .collect();
            members.extend(names);
        }
        Value::Array(items) => items.iter_mut().for_each(|value| add(value, labels)),
        _ => {}
    }
}

/// Describes the names in all schemas that have an author.
pub fn describe(document: &mut Document) {
    let schemas = document
        .components
        .iter_mut()
        .flat_map(|components| components.schemas.values_mut());
    schemas.for_each(describe_schema);
}

fn describe_schema(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            for field in AUTHORS {
                if object.properties.contains_key(field) {
                    let name = ObjectBuilder::new()
                        .schema_type(Type::String)
                        .description(Some("The label of that key. Absent if there is none."));
                    let name = RefOr::T(Schema::Object(name.build()));
                    object.properties.insert(format!("{field}_name"), name);
                }
            }
            object.properties.values_mut().for_each(describe_schema);
        }
        RefOr::T(Schema::AllOf(all)) => all.items.iter_mut().for_each(describe_schema),
        RefOr::T(Schema::OneOf(one)) => one.items.iter_mut().for_each(describe_schema),
        _ => {}
    }
}
