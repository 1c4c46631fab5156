//! Built-in names: names with a meaning that no feed gives them. Search engines with safe search,
//! and the bypass names by which software asks whether the network wants a filter. The names are
//! data: `builtin-names.toml`.

use std::{collections::HashMap, sync::LazyLock};

use foldhash::fast::FixedState;
use jiff::civil::Date;
use serde::Deserialize;

use crate::{
    name::{Name, NameRef},
    rules::{
        name_source::NameSource,
        safe_search::{ENGINES_MAX, SearchEngine},
    },
};

/// The built-in meaning of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BuiltinName {
    #[default]
    None,
    /// A search engine with safe search, by its index in [`BuiltinNames::engines`].
    Search(u8),
    /// A host of a search engine without a safe address, by the engine's index.
    SearchClosed(u8),
    /// NXDOMAIN tells software to keep the network's resolver.
    Canary,
    /// NXDOMAIN tells a device not to use its private relay in this network.
    Relay,
}

/// All built-in names.
#[derive(Debug)]
pub struct BuiltinNames {
    engines: Vec<SearchEngine>,
    /// The names are constant and no client's, so the hash needs no secret.
    names: HashMap<Box<[u8]>, BuiltinName, FixedState>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    canary: NamesDocument,
    relay: NamesDocument,
    #[serde(rename = "engine")]
    engines: Vec<EngineDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamesDocument {
    source: String,
    as_of: Date,
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EngineDocument {
    slug: String,
    title: String,
    source: String,
    as_of: Date,
    strict: String,
    moderate: Option<String>,
    names: Vec<String>,
    /// Appended to each of `prefixes`.
    #[serde(default)]
    suffixes: Vec<String>,
    #[serde(default)]
    prefixes: Vec<String>,
    /// Hosts without a safe address.
    #[serde(default)]
    closed: Vec<String>,
}

static SHIPPED: LazyLock<BuiltinNames> = LazyLock::new(|| {
    BuiltinNames::parse(include_str!("../../builtin-names.toml"))
        .expect("a test reads the shipped names")
});

impl BuiltinNames {
    /// The names shipped with the program.
    #[must_use]
    pub fn shipped() -> &'static Self {
        &SHIPPED
    }

    fn parse(text: &str) -> Result<Self, String> {
        let document: Document = toml::from_str(text).map_err(|error| error.to_string())?;
        if document.engines.len() > ENGINES_MAX {
            return Err(format!("more than {ENGINES_MAX} engines"));
        }
        let mut builtin = Self {
            engines: Vec::new(),
            names: HashMap::default(),
        };
        for (subject, document, meaning) in [
            ("canary", document.canary, BuiltinName::Canary),
            ("relay", document.relay, BuiltinName::Relay),
        ] {
            NameSource::read(subject, document.source, document.as_of)?;
            for name in &document.names {
                builtin.add(name, meaning)?;
            }
        }
        for (index, engine) in (0..).zip(document.engines) {
            builtin.add_engine(index, engine)?;
        }
        Ok(builtin)
    }

    fn add_engine(&mut self, index: u8, engine: EngineDocument) -> Result<(), String> {
        for name in &engine.closed {
            self.add(name, BuiltinName::SearchClosed(index))?;
        }
        for name in &engine.names {
            self.add(name, BuiltinName::Search(index))?;
        }
        for prefix in &engine.prefixes {
            for suffix in &engine.suffixes {
                self.add(&format!("{prefix}{suffix}"), BuiltinName::Search(index))?;
            }
        }
        let strict = read(&engine.strict)?;
        let moderate = engine.moderate.as_deref().map(read).transpose()?;
        let source = NameSource::read(&engine.slug, engine.source, engine.as_of)?;
        self.engines.push(SearchEngine {
            slug: engine.slug,
            title: engine.title,
            strict,
            moderate,
            source,
        });
        Ok(())
    }

    fn add(&mut self, text: &str, meaning: BuiltinName) -> Result<(), String> {
        let name = read(text)?;
        match self.names.insert(name.borrow().wire().into(), meaning) {
            Some(_) => Err(format!("{name} is listed twice")),
            None => Ok(()),
        }
    }

    /// The meaning of exactly this name.
    #[must_use]
    pub fn find(&self, name: NameRef<'_>) -> BuiltinName {
        self.names.get(name.wire()).copied().unwrap_or_default()
    }

    /// The bypass names at or below a name, each with its meaning.
    pub fn bypass_below(&self, name: NameRef<'_>) -> impl Iterator<Item = (Name, BuiltinName)> {
        let bypass = self
            .names
            .iter()
            .filter(|(_, meaning)| matches!(meaning, BuiltinName::Canary | BuiltinName::Relay));
        bypass.filter_map(move |(wire, meaning)| {
            let bypass = NameRef::from_wire(wire).ok()?;
            let mut ancestors = bypass.ancestors();
            ancestors
                .any(|ancestor| ancestor == name)
                .then(|| (bypass.to_owned(), *meaning))
        })
    }

    /// The engines, in the order of their indexes.
    #[must_use]
    pub fn engines(&self) -> &[SearchEngine] {
        &self.engines
    }

    /// The index of an engine.
    #[must_use]
    pub fn engine(&self, slug: &str) -> Option<u8> {
        self.engines
            .iter()
            .position(|engine| engine.slug == slug)
            .and_then(|index| u8::try_from(index).ok())
    }
}

fn read(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|error| format!("{text:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_names_are_sound() {
        let builtin = BuiltinNames::shipped();
        for slug in [
            "google",
            "bing",
            "youtube",
            "duckduckgo",
            "ecosia",
            "pixabay",
            "yandex",
            "brave",
        ] {
            assert!(builtin.engine(slug).is_some(), "{slug}");
        }
        let find = |name: &str| builtin.find(Name::parse(name).unwrap().borrow());
        assert_eq!(
            find("www.google.co.uk"),
            BuiltinName::Search(builtin.engine("google").unwrap())
        );
        assert_eq!(
            find("WWW.YouTube.com"),
            BuiltinName::Search(builtin.engine("youtube").unwrap())
        );
        assert_eq!(
            (find("use-application-dns.net"), find("mask.icloud.com")),
            (BuiltinName::Canary, BuiltinName::Relay)
        );
        assert_eq!(
            (find("mail.google.com"), find("example")),
            (BuiltinName::None, BuiltinName::None)
        );
        let targets = builtin
            .engines
            .iter()
            .flat_map(|engine| [Some(&engine.strict), engine.moderate.as_ref()])
            .flatten();
        for target in targets {
            assert_eq!(
                builtin.find(target.borrow()),
                BuiltinName::None,
                "{target} would lead to itself"
            );
        }
    }

    #[test]
    fn a_name_above_a_bypass_name_holds_it() {
        let builtin = BuiltinNames::shipped();
        let below = |name: &str| {
            let name = Name::parse(name).unwrap();
            let mut below: Vec<String> = builtin
                .bypass_below(name.borrow())
                .map(|(name, _)| name.to_string())
                .collect();
            below.sort();
            below
        };
        assert_eq!(below("mask.icloud.com"), ["mask.icloud.com"]);
        assert!(below("icloud.com").contains(&"mask.icloud.com".to_owned()));
        assert_eq!(below("www.icloud.com"), [""; 0]);
        assert_eq!(below("www.google.com"), [""; 0], "a search engine");
    }

    /// A document with one engine, in which one line is changed.
    fn document(line: &str, instead: &str) -> String {
        let text = "[canary]\nsource = \"https://a.example/\"\nas_of = \"2026-01-01\"\nnames = [\"a.example\"]\n\
            [relay]\nsource = \"https://b.example/\"\nas_of = \"2026-01-01\"\nnames = [\"b.example\"]\n\
            [[engine]]\nslug = \"e\"\ntitle = \"E\"\nsource = \"https://e.example/\"\nas_of = \"2026-01-01\"\n\
            strict = \"safe.e.example\"\nnames = [\"e.example\"]\nclosed = [\"lite.e.example\"]\n";
        assert!(text.contains(line), "{line}");
        text.replace(line, instead)
    }

    #[test]
    fn no_name_is_listed_twice_in_any_letter_case() {
        assert!(BuiltinNames::parse(&document("a.example", "a.example")).is_ok());
        for (line, instead) in [
            ("[\"b.example\"]", "[\"A.example\"]"),
            ("[\"e.example\"]", "[\"e.example\", \"E.Example.\"]"),
            ("lite.e.example", "e.example"),
            ("lite.e.example", "a.example"),
        ] {
            assert!(
                BuiltinNames::parse(&document(line, instead))
                    .unwrap_err()
                    .contains("twice"),
                "{instead}"
            );
        }
    }

    #[test]
    fn each_list_of_names_has_its_source_and_its_date() {
        for (line, instead, complaint) in [
            ("source = \"https://e.example/\"\n", "", "source"),
            ("source = \"https://b.example/\"\n", "", "source"),
            ("https://a.example/", "somewhere", "canary: source"),
            ("https://e.example/", "http://e.example/", "e: source"),
            ("as_of = \"2026-01-01\"\nstrict", "strict", "as_of"),
            (
                "as_of = \"2026-01-01\"\nstrict",
                "as_of = \"last year\"\nstrict",
                "last year",
            ),
        ] {
            let error = BuiltinNames::parse(&document(line, instead)).unwrap_err();
            assert!(error.contains(complaint), "{instead}: {error}");
        }
        let age = |source: &NameSource| source.as_of >= jiff::civil::date(2026, 11, 29);
        assert!(
            BuiltinNames::shipped()
                .engines()
                .iter()
                .all(|engine| age(&engine.source))
        );
    }

    #[test]
    fn each_known_host_of_an_engine_is_rewritten_or_closed() {
        let builtin = BuiltinNames::shipped();
        for (engine, rewritten, closed) in [
            (
                "google",
                "google.com WWW.google.com. www.google.co google.com.ai www.google.vg google.cat www.google.tk",
                "",
            ),
            (
                "yandex",
                "yandex.tm www.yandex.tm yandex.com.tr ya.ru yandex.co.il yandex.kg яндекс.рф xn--d1acpjx3f.xn--p1ai",
                "",
            ),
            (
                "duckduckgo",
                "duckduckgo.com start.duckduckgo.com duck.com",
                "html.duckduckgo.com lite.duckduckgo.com",
            ),
            (
                "bing",
                "bing.com www.bing.com edgeservices.bing.com",
                "cn.bing.com ts1.explicit.bing.net",
            ),
            (
                "youtube",
                "www.youtube.com m.youtube.com youtubei.googleapis.com youtube.googleapis.com www.youtube-nocookie.com",
                "",
            ),
            ("qwant", "api.qwant.com", "lite.qwant.com"),
            ("ecosia", "ecosia.org www.ecosia.org", ""),
            ("brave", "search.brave.com", ""),
            ("pixabay", "pixabay.com www.pixabay.com", ""),
        ] {
            let place = builtin.engine(engine).unwrap();
            let find = |name: &str| builtin.find(Name::parse(name).unwrap().borrow());
            rewritten
                .split_whitespace()
                .for_each(|name| assert_eq!(find(name), BuiltinName::Search(place), "{name}"));
            closed.split_whitespace().for_each(|name| {
                assert_eq!(find(name), BuiltinName::SearchClosed(place), "{name}")
            });
        }
    }
}
