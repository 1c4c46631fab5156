//! JSON schemas that no derive makes: of attributed values, of grants, and of few words.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, RefOr, SchemaFormat,
        schema::{AllOfBuilder, Object, ObjectBuilder, Schema, Type},
    },
};

use crate::{
    lists::{entry::EntryAction, mandate_basis::BASES},
    rules::{
        household::{Attributed, CHANNELS},
        schedule::GrantTarget,
    },
    verdict::Layer,
};

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
}

/// A text that is one of few words.
#[must_use]
pub fn words(description: &str, words: impl IntoIterator<Item = &'static str>) -> Object {
    text(description).enum_values(Some(words)).build()
}

/// The legal bases of mandates.
#[must_use]
pub fn bases() -> Object {
    words("The legal basis.", BASES.map(|(word, _)| word))
}

/// The ways in which a household is asked for its choice.
#[must_use]
pub fn channels() -> Object {
    words("How the household was asked.", CHANNELS)
}

/// The schema of the value, with its author beside its own properties.
impl<T: ToSchema> PartialSchema for Attributed<T> {
    fn schema() -> RefOr<Schema> {
        let at = text("When it was set, RFC 3339.")
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        let author = ObjectBuilder::new()
            .property("set_by", text("The key that set it."))
            .required("set_by")
            .property("set_at", at)
            .required("set_at")
            .build();
        match T::schema() {
            RefOr::T(Schema::Object(mut value)) => {
                value.properties.extend(author.properties);
                value.required.extend(author.required);
                RefOr::T(Schema::Object(value))
            }
            RefOr::T(Schema::AllOf(mut parts)) => {
                parts.items.push(author.into());
                RefOr::T(Schema::AllOf(parts))
            }
            value => AllOfBuilder::new().item(value).item(author).into(),
        }
    }
}

/// Documents hold values with their authors only, so the name of the value means both.
impl<T: ToSchema> ToSchema for Attributed<T> {
    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

/// One property of three: generators of clients know no choice within an object.
impl PartialSchema for GrantTarget {
    fn schema() -> RefOr<Schema> {
        let everything = ObjectBuilder::new()
            .schema_type(Type::Boolean)
            .description(Some("Whether everything is allowed."));
        ObjectBuilder::new()
            .property("category", text("The allowed category, by slug."))
            .property("domain", text("The allowed name, with all below it."))
            .property("everything", everything)
            .into()
    }
}

impl ToSchema for GrantTarget {}

impl PartialSchema for EntryAction {
    fn schema() -> RefOr<Schema> {
        let said = "How the entry answers a name: `policy` means as the operator configured.";
        words(said, Self::ALL.map(Self::as_str)).into()
    }
}

impl ToSchema for EntryAction {}

impl PartialSchema for Layer {
    fn schema() -> RefOr<Schema> {
        words("The layer that decided.", Self::ALL.map(Self::as_str)).into()
    }
}

impl ToSchema for Layer {}
