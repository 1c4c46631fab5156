//! A feed: a list of names in a file, and the entry of the configuration that reads it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use toml::Table;

/// A feed of one category. Unless told otherwise: plain domains, each with its subtree, the choice
/// of households.
#[derive(Clone, Debug)]
pub struct Feed {
    name: String,
    categories: BTreeMap<String, String>,
    format: String,
    scope: String,
    tier: String,
    text: String,
    source: Option<String>,
    extra: Table,
    has_category: bool,
}

impl Feed {
    /// A feed named like its category.
    pub fn new(category: &str) -> Self {
        Self {
            name: category.to_owned(),
            categories: BTreeMap::new(),
            format: "domains".to_owned(),
            scope: "subtree".to_owned(),
            tier: "choice".to_owned(),
            text: String::new(),
            source: None,
            extra: Table::new(),
            has_category: true,
        }
    }

    /// Lists these names, separated by spaces, beside those already listed.
    pub fn names(mut self, names: &str) -> Self {
        self.text += &one_a_line(names);
        self
    }

    /// Has exactly this text in its file.
    pub fn text(self, text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..self
        }
    }

    /// Is read from here, a path or URL, and not from a file the world writes.
    pub fn source(self, source: &str) -> Self {
        Self {
            source: Some(source.to_owned()),
            ..self
        }
    }

    /// Carries several categories: the feed's own code or folder, and our slug for it.
    pub fn categories(self, pairs: &[(&str, &str)]) -> Self {
        let categories = pairs
            .iter()
            .map(|(theirs, ours)| ((*theirs).to_owned(), (*ours).to_owned()))
            .collect();
        Self { categories, ..self }
    }

    /// `domains`, `hosts`, `wildcard`, `adblock`, `dnsmasq`, `unbound`, `squidguard`, …
    pub fn format(self, format: &str) -> Self {
        Self {
            format: format.to_owned(),
            ..self
        }
    }

    /// `exact`, `subtree`, `descendants`.
    pub fn scope(self, scope: &str) -> Self {
        Self {
            scope: scope.to_owned(),
            ..self
        }
    }

    /// `mandatory`, `security`, `choice`, `never-block`.
    pub fn tier(self, tier: &str) -> Self {
        Self {
            tier: tier.to_owned(),
            ..self
        }
    }

    /// Has further keys, as TOML; they go before what is said otherwise.
    pub fn with(mut self, keys: &str) -> Self {
        self.extra.extend(
            keys.parse::<Table>()
                .unwrap_or_else(|error| panic!("{error} in\n{keys}")),
        );
        self
    }

    /// Is fetched from a provider on this machine, every second.
    pub fn fetched_from(self, url: &str) -> Self {
        self.source(url)
            .with("allow_private = true\ninterval_s = 1")
    }

    /// Is about no category: an order, or names that are never blocked.
    pub fn without_category(self) -> Self {
        Self {
            has_category: false,
            ..self
        }
    }

    /// Has a name of its own, beside its category.
    pub fn called(self, name: &str) -> Self {
        let category = self.name.clone();
        let named = Self {
            name: name.to_owned(),
            ..self
        };
        if named.categories.is_empty() {
            named.with(&format!("category = {category:?}"))
        } else {
            named
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Writes the file, unless the feed comes from elsewhere.
    pub(super) fn write(&self, folder: &Path) {
        if self.source.is_none() {
            publish(&file(folder, &self.name), &self.text);
        }
    }

    /// The `[[feeds]]` entry.
    pub(super) fn entry(&self, folder: &Path) -> Table {
        let source = self
            .source
            .clone()
            .unwrap_or_else(|| file(folder, &self.name).display().to_string());
        let mut entry = json!({
            "name": self.name,
            "source": source,
            "format": self.format,
            "scope": self.scope,
            "tier": self.tier,
        });
        match self.categories.is_empty() {
            true if self.has_category => entry["category"] = json!(self.name),
            true => {}
            false => entry["categories"] = json!(self.categories),
        }
        let mut entry = Table::try_from(entry).expect("a feed has a TOML form");
        entry.extend(self.extra.clone());
        entry
    }
}

/// The file of a feed that the world writes.
pub(super) fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join("feeds").join(format!("{name}.txt"))
}

/// Replaces a file as a careful publisher does: written aside, then renamed, so that nobody reads
/// half of it.
pub(super) fn publish(path: &Path, text: &str) {
    let parent = path.parent().expect("a feed's file is in a folder");
    // Aside is the folder above, so that whoever watches this one sees a single change, the rename.
    let aside = parent.with_extension(path.file_name().expect("a feed's file has a name"));
    let published = fs::create_dir_all(parent)
        .and_then(|()| fs::write(&aside, text))
        .and_then(|()| fs::rename(&aside, path));
    published.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Names separated by spaces, each on a line of its own.
pub(super) fn one_a_line(names: &str) -> String {
    names
        .split_whitespace()
        .map(|name| format!("{name}\n"))
        .collect()
}
