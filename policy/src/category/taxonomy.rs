//! The taxonomy: the document that defines the categories, the services and the presets.
//!
//! The shipped document is `taxonomy.toml` beside this crate. A category's bit is its index in the
//! document and never leaves the process: artefacts, the store and the API use slugs. The names of
//! services are compiled into [`crate::lists::services`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    category::set::{CATEGORIES_MAX, CategoryId, CategorySet},
    lists::{public_suffix::public_suffix, services::ServiceNames},
    name::{Name, NameError},
};

/// A category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Category {
    /// The identifier: lower-case letters, digits and hyphens.
    pub slug: String,
    /// The name for people.
    pub title: String,
    /// What it covers, with examples, in one or two sentences for families.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub about: Option<String>,
    /// The same in Welsh. Absent: the English texts are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub welsh: Option<CategoryTexts>,
    /// The heading under which a page lists it.
    pub group: String,
    /// The presets that block it, by slug.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub presets: Vec<String>,
    /// Whether it is one service, such as TikTok, and not a kind of content.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub service: bool,
    /// Its bundle: names that are listed for it without any feed, each with all below it.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub names: Vec<String>,
}

/// What a category is called, and what it covers, in another language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CategoryTexts {
    /// The name for people.
    pub title: String,
    /// What it covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub about: Option<String>,
}

/// A named starting point. The categories that it blocks follow from their `presets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// The identifier in JSON.
    pub slug: String,
    /// The name for people.
    pub title: String,
}

/// The taxonomy document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TaxonomyError {
    #[error("the taxonomy cannot be read")]
    Parse(#[source] Box<toml::de::Error>),
    #[error("the taxonomy has {0} categories; there is room for {CATEGORIES_MAX}")]
    TooMany(usize),
    /// A slug occurs twice.
    #[error("{0:?} stands twice in the taxonomy")]
    Twice(String),
    /// A slug has characters that a URL would escape.
    #[error("{0:?} is not a slug: lower-case letters, digits and hyphens, 1 to 64 of them")]
    Slug(String),
    /// A category names a preset that does not exist.
    #[error("category {category:?} names the preset {preset:?}, which is not in the taxonomy")]
    UnknownPreset { category: String, preset: String },
    /// A service name is invalid.
    #[error("category {category:?} brings {name:?}, which cannot be read as a name")]
    Name {
        category: String,
        name: String,
        source: NameError,
    },
    /// A category has the same name twice.
    #[error("category {category:?} brings the name {name} twice")]
    NameTwice { category: String, name: Name },
    /// A service name is a public suffix: the names below it belong to other owners.
    #[error(
        "category {category:?} brings {name}, a public suffix: what is below it belongs to many"
    )]
    PublicSuffix { category: String, name: Name },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "preset")]
    presets: Vec<Preset>,
    #[serde(default, rename = "category")]
    categories: Vec<Category>,
}

/// All categories and presets of an installation. Immutable.
#[derive(Debug, Clone)]
pub struct Taxonomy {
    categories: Vec<Category>,
    presets: Vec<(Preset, CategorySet)>,
    by_slug: HashMap<String, CategoryId>,
    services: Arc<ServiceNames>,
}

impl Taxonomy {
    /// The taxonomy shipped with the program.
    #[must_use]
    pub fn shipped() -> Self {
        Self::parse(include_str!("../../taxonomy.toml")).expect("a test reads the shipped taxonomy")
    }

    /// Reads and checks a taxonomy document.
    pub fn parse(text: &str) -> Result<Self, TaxonomyError> {
        let Document {
            presets,
            categories,
        } = toml::from_str(text).map_err(|error| TaxonomyError::Parse(Box::new(error)))?;
        if categories.len() > CATEGORIES_MAX {
            return Err(TaxonomyError::TooMany(categories.len()));
        }
        let mut masks = vec![CategorySet::EMPTY; presets.len()];
        let mut by_slug = HashMap::new();
        let mut services = BTreeMap::new();
        for (index, category) in categories.iter().enumerate() {
            check_slug(&category.slug)?;
            let id = CategoryId::new(u8::try_from(index).expect("checked above"));
            if by_slug.insert(category.slug.clone(), id).is_some() {
                return Err(TaxonomyError::Twice(category.slug.clone()));
            }
            for slug in &category.presets {
                let preset = presets.iter().position(|preset| preset.slug == *slug);
                let preset = preset.ok_or_else(|| TaxonomyError::UnknownPreset {
                    category: category.slug.clone(),
                    preset: slug.clone(),
                })?;
                masks[preset].insert(id);
            }
            read_names(category, id, &mut services)?;
        }
        for (index, preset) in presets.iter().enumerate() {
            check_slug(&preset.slug)?;
            if presets[..index]
                .iter()
                .any(|other| other.slug == preset.slug)
            {
                return Err(TaxonomyError::Twice(preset.slug.clone()));
            }
        }
        Ok(Self {
            categories,
            presets: presets.into_iter().zip(masks).collect(),
            by_slug,
            services: Arc::new(ServiceNames::of(&services)),
        })
    }

    /// The category with this slug.
    #[must_use]
    pub fn find(&self, slug: &str) -> Option<CategoryId> {
        self.by_slug.get(slug).copied()
    }

    #[must_use]
    pub fn category(&self, id: CategoryId) -> &Category {
        &self.categories[id.index()]
    }

    /// All categories, by index.
    #[must_use]
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// All presets, with the categories that each blocks.
    pub fn presets(&self) -> impl Iterator<Item = (&Preset, CategorySet)> {
        self.presets
            .iter()
            .map(|(preset, blocks)| (preset, *blocks))
    }

    /// The categories that a preset blocks.
    #[must_use]
    pub fn preset(&self, slug: &str) -> Option<CategorySet> {
        self.presets()
            .find(|(preset, _)| preset.slug == slug)
            .map(|(_, blocks)| blocks)
    }

    /// The same taxonomy with one more name for each category: its slug below `zone`. A page that asks
    /// for these names shows which categories are blocked, without a visit to a real site.
    pub fn with_names_below(self, zone: &Name) -> Result<Self, TaxonomyError> {
        let mut services = BTreeMap::new();
        for (id, category) in (0..).map(CategoryId::new).zip(&self.categories) {
            read_names(category, id, &mut services)?;
            let text = format!("{}.{zone}", category.slug);
            let name = Name::parse(&text).map_err(|source| TaxonomyError::Name {
                category: category.slug.clone(),
                name: text,
                source,
            })?;
            services
                .entry(name)
                .or_insert(CategorySet::EMPTY)
                .insert(id);
        }
        Ok(Self {
            services: Arc::new(ServiceNames::of(&services)),
            ..self
        })
    }

    /// The names of services.
    #[must_use]
    pub fn services(&self) -> &Arc<ServiceNames> {
        &self.services
    }

    /// The slugs of a set, by index.
    #[must_use]
    pub fn slugs(&self, set: CategorySet) -> Vec<&str> {
        set.iter()
            .map(|id| self.category(id).slug.as_str())
            .collect()
    }
}

fn check_slug(slug: &str) -> Result<(), TaxonomyError> {
    let is_slug = (1..=64).contains(&slug.len())
        && slug
            .bytes()
            .all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-');
    if is_slug {
        Ok(())
    } else {
        Err(TaxonomyError::Slug(slug.to_owned()))
    }
}

/// Reads the service names of a category.
fn read_names(
    category: &Category,
    id: CategoryId,
    services: &mut BTreeMap<Name, CategorySet>,
) -> Result<(), TaxonomyError> {
    let slug = || category.slug.clone();
    for text in &category.names {
        let name = Name::parse(text).map_err(|source| TaxonomyError::Name {
            category: slug(),
            name: text.clone(),
            source,
        })?;
        if public_suffix(name.borrow()).is_some() {
            return Err(TaxonomyError::PublicSuffix {
                category: slug(),
                name,
            });
        }
        let categories = services.entry(name.clone()).or_default();
        if categories.contains(id) {
            return Err(TaxonomyError::NameTwice {
                category: slug(),
                name,
            });
        }
        categories.insert(id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Labels;

    #[test]
    fn each_category_has_a_name_below_a_test_zone() {
        let zone = Name::parse("test.isp.example").unwrap();
        let taxonomy = Taxonomy::shipped().with_names_below(&zone).unwrap();
        for (id, category) in (0..).map(CategoryId::new).zip(taxonomy.categories()) {
            let name = Name::parse(&format!("{}.{zone}", category.slug)).unwrap();
            let found = taxonomy.services().find(&Labels::of(name.borrow()));
            assert_eq!(found, CategorySet::from_iter([id]), "{name}");
        }
        let tiktok = Name::parse("www.tiktok.com").unwrap();
        let found = taxonomy.services().find(&Labels::of(tiktok.borrow()));
        assert!(found.contains(taxonomy.find("tiktok").unwrap()));
        assert!(
            taxonomy
                .services()
                .find(&Labels::of(zone.borrow()))
                .is_empty()
        );
    }

    /// A family that reads Welsh reads no English beside a switch.
    #[test]
    fn each_kind_of_content_is_described_in_both_languages() {
        for category in Taxonomy::shipped().categories() {
            let is_described = category.about.is_some()
                && category
                    .welsh
                    .as_ref()
                    .is_some_and(|texts| texts.about.is_some());
            assert!(category.service || is_described, "{}", category.slug);
        }
    }

    #[test]
    fn the_shipped_taxonomy_is_sound_and_leaves_room() {
        let taxonomy = Taxonomy::shipped();
        assert!(
            taxonomy.categories().len() < CATEGORIES_MAX - 12,
            "an operator adds some of his own to a copy of it"
        );
        assert!(taxonomy.preset("off").unwrap().is_empty());
        let [light, moderate, strict] =
            ["light", "moderate", "strict"].map(|slug| taxonomy.preset(slug).unwrap());
        assert!(!light.is_empty());
        assert_eq!(
            light.intersection(moderate),
            light,
            "moderate blocks all that light blocks"
        );
        assert_eq!(
            moderate.intersection(strict),
            moderate,
            "strict blocks all that moderate blocks"
        );
    }

    #[test]
    fn a_full_taxonomy_of_128_works_and_129_is_refused() {
        let document = |count: usize| {
            (0..count)
                .map(|index| {
                    format!("[[category]]\nslug = \"c{index}\"\ntitle = \"\"\ngroup = \"\"\n")
                })
                .collect::<String>()
        };
        let full = Taxonomy::parse(&document(128)).unwrap();
        let all: CategorySet = (0..128)
            .map(|index| full.find(&format!("c{index}")).unwrap())
            .collect();
        assert_eq!(all.iter().count(), 128);
        assert_eq!(full.slugs(all)[127], "c127");
        assert!(matches!(
            Taxonomy::parse(&document(129)),
            Err(TaxonomyError::TooMany(129))
        ));
    }

    #[test]
    fn a_taxonomy_that_contradicts_itself_is_refused() {
        let category = |slug: &str, presets: &str| {
            format!(
                "[[category]]\nslug = \"{slug}\"\ntitle = \"\"\ngroup = \"\"\npresets = [{presets}]\n"
            )
        };
        assert!(matches!(
            Taxonomy::parse(&(category("a", "") + &category("a", ""))),
            Err(TaxonomyError::Twice(_))
        ));
        assert!(matches!(
            Taxonomy::parse(&category("A", "")),
            Err(TaxonomyError::Slug(_))
        ));
        assert!(matches!(
            Taxonomy::parse(&category("a", "\"none\"")),
            Err(TaxonomyError::UnknownPreset { .. })
        ));
        assert!(matches!(
            Taxonomy::parse("[[categorie]]"),
            Err(TaxonomyError::Parse(_))
        ));
    }

    #[test]
    fn a_name_that_a_category_cannot_bring_is_refused_with_the_category() {
        let parse = |names: &str| {
            let category = |slug: &str, names: &str| {
                format!(
                    "[[category]]\nslug = \"{slug}\"\ntitle = \"\"\ngroup = \"\"\nnames = [{names}]\n"
                )
            };
            Taxonomy::parse(&(category("first", "\"a.example\"") + &category("second", names)))
        };
        for (names, expected) in [
            (
                r#""a b.example""#,
                "category \"second\" brings \"a b.example\", which cannot be read as a name",
            ),
            (
                r#""""#,
                "category \"second\" brings \"\", which cannot be read as a name",
            ),
            (
                r#""*.b.example""#,
                "category \"second\" brings \"*.b.example\", which cannot be read as a name",
            ),
            (
                r#""b.example", "B.Example.""#,
                "category \"second\" brings the name b.example twice",
            ),
            (
                r#"".""#,
                "category \"second\" brings ., a public suffix: what is below it belongs to many",
            ),
            (
                r#""com""#,
                "category \"second\" brings com, a public suffix: what is below it belongs to many",
            ),
            (
                r#""co.uk""#,
                "category \"second\" brings co.uk, a public suffix: what is below it belongs to many",
            ),
            (
                r#""github.io""#,
                "category \"second\" brings github.io, a public suffix: what is below it belongs to many",
            ),
        ] {
            assert_eq!(parse(names).unwrap_err().to_string(), expected);
        }
        // Several categories may have the same name; it counts once.
        assert_eq!(
            parse(r#""a.example", "www.a.example""#)
                .unwrap()
                .services()
                .len(),
            2
        );
    }
}
