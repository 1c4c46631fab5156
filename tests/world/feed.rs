//! A feed: a file with names, and its entry in the configuration.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use toml::Table;

/// A feed with one category. Defaults: format `domains`, scope `subtree`, tier `choice`.
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
    /// A feed with the name of its category.
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

    /// Adds names, separated by spaces.
    pub fn names(mut self, names: &str) -> Self {
        self.text += &one_a_line(names);
        self
    }

    /// Sets the whole text of the file.
    pub fn text(self, text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..self
        }
    }

    /// Sets a source, a path or URL, in place of the written file.
    pub fn source(self, source: &str) -> Self {
        Self {
            source: Some(source.to_owned()),
            ..self
        }
    }

    /// Maps several categories: the feed's code or folder, and the slug.
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

    /// Adds keys as TOML; they take precedence.
    pub fn with(mut self, keys: &str) -> Self {
        self.extra.extend(
            keys.parse::<Table>()
                .unwrap_or_else(|error| panic!("{error} in\n{keys}")),
        );
        self
    }

    /// Fetches from a provider on this machine every second.
    pub fn fetched_from(self, url: &str) -> Self {
        self.source(url)
            .with("allow_private = true\ninterval_s = 1")
    }

    /// Removes the category, as for mandates and names that are never blocked.
    pub fn without_category(self) -> Self {
        Self {
            has_category: false,
            ..self
        }
    }

    /// Sets a name other than the category.
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

    /// Writes the file, unless the feed has another source.
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

/// The path of a written feed.
pub(super) fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join("feeds").join(format!("{name}.txt"))
}

/// Replaces a file by a rename, so that readers never see half of it.
pub(super) fn publish(path: &Path, text: &str) {
    let parent = path.parent().expect("a feed's file is in a folder");
    // The temporary file is in the parent folder, so that the watched folder has a single change,
    // the rename.
    let aside = parent.with_extension(path.file_name().expect("a feed's file has a name"));
    let published = fs::create_dir_all(parent)
        .and_then(|()| fs::write(&aside, text))
        .and_then(|()| fs::rename(&aside, path));
    published.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Names separated by spaces, one a line.
pub(super) fn one_a_line(names: &str) -> String {
    names
        .split_whitespace()
        .map(|name| format!("{name}\n"))
        .collect()
}
